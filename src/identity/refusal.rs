//! Why a client is not let in: one table of reasons, close codes and metric labels.

use crate::wire::close::Close;

macro_rules! refusals {
    ($($(#[doc = $doc:literal])+ $variant:ident = $label:literal, $close:expr;)+) => {
        /// See the module. None carries anything that the client sent.
        #[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
        #[error("{}", self.close().reason())]
        pub enum Refusal { $($(#[doc = $doc])+ $variant,)+ }

        impl Refusal {
            /// All of them, in the order of [`Refusal::index`].
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The label in metrics.
            pub const fn label(self) -> &'static str {
                match self { $(Self::$variant => $label,)+ }
            }

            /// How a connection ends for it.
            pub const fn close(self) -> Close {
                match self { $(Self::$variant => $close,)+ }
            }
        }
    };
}

refusals! {
    /// No token where one is required.
    Missing = "missing", Close::Policy("Authentication required");
    /// No token where indicators are asked for.
    MissingJwt = "missing_jwt", Close::Policy("Missing JWT token");
    /// Indicators are asked for with a token, and nothing is configured that could tell whose it is.
    Unconfigured = "unconfigured", Close::Policy("No token key is configured");
    /// No token came within the time for it.
    Late = "late", Close::Unauthenticated;
    /// A token in the query where that is switched off.
    Query = "query", Close::Policy("Token in the query is not accepted");
    /// Not three parts of JSON, or longer than any honest one.
    Malformed = "malformed", Close::Policy("Invalid token");
    /// A header that would have us fetch or understand something.
    Header = "header", Close::Policy("Invalid token header");
    /// An algorithm that is not that of the key.
    Algorithm = "algorithm", Close::Policy("Invalid token algorithm");
    /// A key that the issuer has not published.
    UnknownKey = "unknown_key", Close::Policy("Unknown token key");
    /// The signature is not that of the key.
    Signature = "signature", Close::Policy("Invalid token signature");
    /// A claim is missing or of the wrong type.
    Claims = "claims", Close::Policy("Invalid token claims");
    /// Another issuer.
    Issuer = "issuer", Close::Policy("Invalid token issuer");
    /// Another audience.
    Audience = "audience", Close::Policy("Invalid token audience");
    /// `exp` has passed.
    Expired = "expired", Close::Policy("Token expired");
    /// `nbf` is to come.
    NotYet = "not_yet", Close::Policy("Token not yet valid");
    /// `exp` is further ahead than any token of the issuer's lives.
    Lifetime = "lifetime", Close::Policy("Token lifetime too long");
    /// The token or its user was revoked.
    Revoked = "revoked", Close::Revoked;
    /// No such API key.
    ApiKey = "api_key", Close::Policy("Invalid API key");
    /// A refreshed token of somebody else.
    OtherSubject = "other_subject", Close::Policy("Token of another user");
    /// As many connections of the user as allowed.
    UserConnections = "user_connections", Close::TooMany("Too many connections of this user");
    /// As many connections with the token as allowed.
    TokenConnections = "token_connections", Close::TooMany("Too many connections with this token");
    /// Too many wrong tokens from this address, or from everywhere.
    Failures = "failures", Close::TooMany("Too many failed attempts");
    /// As many signature checks wait as allowed.
    Busy = "busy", Close::Unavailable;
    /// The issuer's keys could not be read yet, or are too old.
    KeysUnavailable = "keys_unavailable", Close::Unavailable;
    /// A page of a site that may not connect.
    Origin = "origin", Close::Policy("Origin not allowed");
    /// Another host's name.
    Host = "host", Close::Policy("Host not allowed");
}

impl Refusal {
    /// Its place in a list of counters.
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The status of an HTTP answer, where there is no WebSocket to close.
    pub const fn status(self) -> u16 {
        match self {
            Self::Origin | Self::Host | Self::Revoked | Self::OtherSubject => 403,
            Self::UserConnections | Self::TokenConnections | Self::Failures => 429,
            Self::Busy | Self::KeysUnavailable => 503,
            _ => 401,
        }
    }

    /// Whether it is told instead of an upgrade: a foreign page and a flood get no WebSocket; all others do, since a
    /// browser shows its page the close reason only.
    pub const fn is_before_upgrade(self) -> bool {
        matches!(self, Self::Origin | Self::Host | Self::Failures)
    }

    /// Whether arithmetic came before it: the signature was checked.
    pub const fn was_checked(self) -> bool {
        matches!(self, Self::Signature | Self::Audience | Self::Expired | Self::NotYet | Self::Lifetime | Self::Revoked)
    }

    /// Whether the token is at fault, so that it counts against the address.
    pub const fn is_failure(self) -> bool {
        !matches!(
            self,
            Self::Missing
                | Self::MissingJwt
                | Self::Unconfigured
                | Self::Late
                | Self::UserConnections
                | Self::TokenConnections
                | Self::Failures
                | Self::Busy
                | Self::KeysUnavailable
                | Self::Origin
                | Self::Host
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_contract_s_reasons_stand() {
        let frame = |refusal: Refusal| (refusal.close().code(), refusal.close().reason());
        assert_eq!(frame(Refusal::Missing), (1008, "Authentication required"));
        assert_eq!(frame(Refusal::Expired), (1008, "Token expired"));
        assert_eq!(frame(Refusal::Audience), (1008, "Invalid token audience"));
        assert_eq!(frame(Refusal::ApiKey), (1008, "Invalid API key"));
        assert_eq!(frame(Refusal::Revoked).0, 4403);
        assert_eq!(frame(Refusal::Late), (4401, "Authentication required"));
        for (at, refusal) in Refusal::ALL.iter().enumerate() {
            assert_eq!(refusal.index(), at);
            assert!(refusal.close().reason().len() <= 123 && (400..600).contains(&refusal.status()));
        }
    }
}
