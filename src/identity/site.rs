//! Which pages may connect, and by which names the server may be called.
//!
//! A browser connects a WebSocket for any page; only the header `Origin` tells whose page it was. And a hostile name that
//! resolves to this machine (DNS rebinding) makes a page of its own origin: only the header `Host` tells that.

use super::refusal::Refusal;
use axum::http::{HeaderMap, header};
use reqwest::Url;

/// The lists; an empty one allows everything.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Site {
    /// Origins as browsers write them: `https://app.example.com`, `http://localhost:3000`.
    origins: Vec<String>,
    /// Host names, with the port where it is not the scheme's own; in lower case.
    hosts: Vec<String>,
}

/// An entry that is no origin or no host.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SiteError {
    /// No origin.
    #[error("{0:?} is no origin; allowed is SCHEME://HOST or SCHEME://HOST:PORT, such as https://app.example.com")]
    Origin(String),
    /// No host.
    #[error("{0:?} is no host; allowed is HOST or HOST:PORT, such as ticks.example.com")]
    Host(String),
}

impl Site {
    /// Takes the lists over.
    ///
    /// # Errors
    /// Names the entry that cannot be meant.
    pub fn new<'a>(
        origins: impl IntoIterator<Item = &'a str>,
        hosts: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, SiteError> {
        let origin = |text: &str| origin(text).ok_or_else(|| SiteError::Origin(text.into()));
        let host = |text: &str| host(text).ok_or_else(|| SiteError::Host(text.into()));
        Ok(Self {
            origins: origins.into_iter().map(origin).collect::<Result<_, _>>()?,
            hosts: hosts.into_iter().map(host).collect::<Result<_, _>>()?,
        })
    }

    /// Whether the server may be called by the name in these headers.
    ///
    /// # Errors
    /// [`Refusal::Host`].
    pub fn check_host(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        if self.hosts.is_empty() {
            return Ok(());
        }
        let named = only(headers, header::HOST).and_then(host);
        named.filter(|host| self.hosts.contains(host)).map(drop).ok_or(Refusal::Host)
    }

    /// Whether a page of the origin in these headers may connect. No origin is no browser: such a program shows a token.
    ///
    /// # Errors
    /// [`Refusal::Origin`].
    pub fn check_origin(&self, headers: &HeaderMap, has_token: bool) -> Result<(), Refusal> {
        let allowed = if self.origins.is_empty() {
            true
        } else if headers.contains_key(header::ORIGIN) {
            only(headers, header::ORIGIN).and_then(origin).is_some_and(|origin| self.origins.contains(&origin))
        } else {
            has_token
        };
        if allowed { Ok(()) } else { Err(Refusal::Origin) }
    }
}

/// The value of a header that stands exactly once.
fn only(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

/// An origin in the one spelling that is compared: a whole URL is parsed, so no prefix or suffix passes for another.
fn origin(text: &str) -> Option<String> {
    let url = Url::parse(text).ok()?;
    let bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none() && url.username().is_empty();
    let origin = url.origin();
    (bare && url.password().is_none() && !text.ends_with('/') && origin.is_tuple())
        .then(|| origin.ascii_serialization())
}

/// A host in the one spelling that is compared. Port 80 or 443 is that of the scheme, which the header does not tell.
fn host(text: &str) -> Option<String> {
    let url = Url::parse(&format!("http://{text}")).ok()?;
    let bare = url.path() == "/" && !text.contains(['/', '@', '?', '#', '\\']) && url.has_host();
    let port = url.port().filter(|port| *port != 443);
    let host = url.host_str().filter(|_| bare)?;
    Some(port.map_or_else(|| host.to_owned(), |port| format!("{host}:{port}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(header::HeaderName, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect()
    }

    #[test]
    fn only_listed_origins_pass() {
        let site = Site::new(["https://good.com", "http://localhost:3000", "https://App.Example.com:443"], []).unwrap();
        let check = |origin: &str| site.check_origin(&headers(&[(header::ORIGIN, origin)]), true);
        for good in ["https://good.com", "HTTPS://GOOD.COM", "http://localhost:3000", "https://app.example.com"] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in [
            "https://evil.com",
            "null",
            "",
            "https://good.com.evil.com",
            "https://evilgood.com",
            "https://good.com:8443",
            "http://good.com",
            "https://good.com@evil.com",
            "https://good.com/",
            "https://good.com/x",
            "https://good.co",
            "https://sub.good.com",
            "http://localhost:3001",
            "good.com",
        ] {
            assert_eq!(check(bad), Err(Refusal::Origin), "{bad}");
        }
        let twice = [(header::ORIGIN, "https://good.com"), (header::ORIGIN, "https://evil.com")];
        let mut both = HeaderMap::new();
        for (name, value) in twice {
            both.append(name, value.parse().unwrap());
        }
        assert_eq!(site.check_origin(&both, true), Err(Refusal::Origin));
        assert_eq!(site.check_origin(&HeaderMap::new(), true), Ok(()), "a program with a token");
        assert_eq!(site.check_origin(&HeaderMap::new(), false), Err(Refusal::Origin));
        assert_eq!(Site::default().check_origin(&headers(&[(header::ORIGIN, "null")]), false), Ok(()));
    }

    #[test]
    fn only_listed_hosts_pass() {
        let site = Site::new([], ["ticks.example.com", "127.0.0.1:8081"]).unwrap();
        let check = |host: &str| site.check_host(&headers(&[(header::HOST, host)]));
        for good in ["ticks.example.com", "TICKS.example.com:443", "ticks.example.com:80", "127.0.0.1:8081"] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in [
            "evil.com",
            "ticks.example.com.evil.com",
            "127.0.0.1",
            "127.0.0.1:8082",
            "ticks.example.com:8081",
            "",
            "a@b",
        ] {
            assert_eq!(check(bad), Err(Refusal::Host), "{bad}");
        }
        assert_eq!(site.check_host(&HeaderMap::new()), Err(Refusal::Host));
        assert_eq!(Site::default().check_host(&HeaderMap::new()), Ok(()));
    }

    #[test]
    fn entries_that_cannot_be_meant_are_named() {
        for wrong in ["good.com", "https://good.com/", "https://good.com/path", "*", "https://*.good.com/"] {
            assert!(matches!(Site::new([wrong], []), Err(SiteError::Origin(_))), "{wrong}");
        }
        for wrong in ["http://good.com", "good.com/", "a b", ""] {
            assert!(matches!(Site::new([], [wrong]), Err(SiteError::Host(_))), "{wrong}");
        }
    }
}
