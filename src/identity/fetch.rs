//! Reading an issuer's keys over HTTP, from a place that the configuration names and nothing else.
//!
//! The address comes from the settings only, never from a token. https, no redirects, no proxy; the name is resolved here
//! and addresses of the machine or of private networks are refused, so that a name whose owner turns hostile reaches
//! nothing inside. One host can be exempted by name, for a user service next door.

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::Policy;
use reqwest::{Client, Url};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

/// Most bytes of an answer.
const MAX_BODY: usize = 256 * 1_024;
/// Longest wait for a whole answer.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Why no keys were read. Says nothing of the answer's content.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FetchError {
    /// Not https, or an address inside, of a host that is not exempted.
    #[error(
        "{0} may not be read from: https and a public address are needed, unless the setting jwks_trusted_host names the host"
    )]
    Forbidden(String),
    /// The connection, TLS, or the time-out.
    #[error("no answer: {0}")]
    Connection(String),
    /// An answer other than 200; redirects are not followed.
    #[error("answered with status {0}")]
    Status(u16),
    /// Too long an answer.
    #[error("the answer is longer than {MAX_BODY} bytes")]
    TooLong,
}

/// Reads one address. Cheap to keep: it holds a connection at most.
#[derive(Clone, Debug)]
pub struct Fetcher {
    client: Client,
    url: Url,
}

impl Fetcher {
    /// A reader of `url`, with a host that may be private and speak plain HTTP.
    ///
    /// # Errors
    /// [`FetchError::Forbidden`] at once where the address alone says so.
    pub fn new(url: Url, trusted_host: Option<&str>) -> Result<Self, FetchError> {
        let host = url.host_str().unwrap_or_default().to_owned();
        let trusted = trusted_host.is_some_and(|trusted| trusted.eq_ignore_ascii_case(&host));
        let literal = host.trim_matches(['[', ']']).parse::<IpAddr>().ok();
        let bare = url.username().is_empty() && url.password().is_none();
        let inside = literal.is_some_and(|address| !is_public(address));
        if !bare || !trusted && (url.scheme() != "https" || inside) || !matches!(url.scheme(), "http" | "https") {
            return Err(FetchError::Forbidden(host));
        }
        let client = Client::builder()
            .redirect(Policy::none())
            .no_proxy()
            .no_gzip()
            .timeout(TIMEOUT)
            .https_only(!trusted)
            .user_agent(concat!("tickfan/", env!("CARGO_PKG_VERSION")))
            .dns_resolver(Resolver { trusted });
        let client = client.build().map_err(|error| FetchError::Connection(error.to_string()))?;
        Ok(Self { client, url })
    }

    /// The answer's body.
    ///
    /// # Errors
    /// See [`FetchError`].
    pub async fn fetch(&self) -> Result<Vec<u8>, FetchError> {
        // The address is ours and in the settings; a query in it stays out of the logs all the same.
        let failed = |error: reqwest::Error| FetchError::Connection(describe(&error.without_url()));
        let mut response = self.client.get(self.url.clone()).send().await.map_err(failed)?;
        if response.status().as_u16() != 200 {
            return Err(FetchError::Status(response.status().as_u16()));
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            if body.len() + chunk.len() > MAX_BODY {
                return Err(FetchError::TooLong);
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }
}

/// An error with its causes.
fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text += &format!(": {next}");
        cause = next.source();
    }
    text
}

/// Resolves names as the system does and keeps what is outside.
struct Resolver {
    trusted: bool,
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let trusted = self.trusted;
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let allowed: Vec<_> = found.filter(|address| trusted || is_public(address.ip())).collect();
            if allowed.is_empty() {
                return Err(FetchError::Forbidden(name.as_str().to_owned()).into());
            }
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

/// Whether an address is of the public internet.
pub fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => is_public_v6(v6),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, ..] = address.octets();
    let inside = address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_broadcast()
        || address.is_documentation()
        || address.is_multicast();
    // This network, carrier-grade NAT, protocol assignments, benchmarking, reserved.
    let special = a == 0
        || (a == 100 && (64..128).contains(&b))
        || (a == 192 && b == 0)
        || (a == 198 && (18..20).contains(&b))
        || a >= 240;
    !inside && !special
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let [first, second, ..] = address.segments();
    // Global unicast only, without what is mapped or tunnelled to an IPv4 address (64:ff9b::, 2002::, 2001::) or for
    // documentation (2001:db8::).
    (first & 0xe000) == 0x2000 && first != 0x2002 && !(first == 0x2001 && (second < 0x200 || second == 0xdb8))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_inside_are_not_public() {
        let inside = [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "224.0.0.1",
            "255.255.255.255",
            "198.18.0.1",
            "::1",
            "::",
            "fe80::1",
            "fc00::1",
            "fd00:ec2::254",
            "::ffff:127.0.0.1",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
            "2001::1",
            "2001:db8::1",
            "ff02::1",
        ];
        for address in inside {
            assert!(!is_public(address.parse().unwrap()), "{address}");
        }
        for address in ["8.8.8.8", "1.1.1.1", "172.32.0.1", "2606:4700::1111", "2404:6800::1"] {
            assert!(is_public(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn only_the_host_named_may_be_inside_or_without_tls() {
        let make = |url: &str, trusted| Fetcher::new(url.parse().unwrap(), trusted).map(drop);
        for url in [
            "http://keys.example.com/jwks",
            "https://127.0.0.1/jwks",
            "https://[::1]/jwks",
            "https://169.254.169.254/latest/meta-data",
            "https://user:pass@keys.example.com/",
            "ftp://keys.example.com/",
        ] {
            assert!(matches!(make(url, Some("user-service")), Err(FetchError::Forbidden(_))), "{url}");
        }
        make("https://keys.example.com/jwks", None).unwrap();
        make("http://user-service:8000/jwks", Some("User-Service")).unwrap();
        make("http://127.0.0.1:8000/jwks", Some("127.0.0.1")).unwrap();
    }

    #[tokio::test]
    async fn a_name_that_leads_inside_is_refused_after_it_is_resolved() {
        let fetcher = Fetcher::new("https://localhost:9/jwks".parse().unwrap(), None).unwrap();
        let error = fetcher.fetch().await.unwrap_err();
        assert!(matches!(&error, FetchError::Connection(text) if text.contains("jwks_trusted_host")), "{error}");
    }
}
