//! Where a request comes from.
//!
//! A proxy says it in `X-Forwarded-For`, and so can anybody: it is believed only of the peers in `trusted_proxies`. The
//! PROXY protocol is not spoken: its line is a bad request.

use hyper::HeaderMap;
use ipnet::IpNet;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// The client of a request; an extension of every one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Peer {
    /// Its address.
    pub ip: IpAddr,
    /// Its port; 0 when a proxy stands between.
    pub port: u16,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.port == 0 { self.ip.fmt(f) } else { SocketAddr::new(self.ip, self.port).fmt(f) }
    }
}

/// Networks whose peers are believed.
#[derive(Clone, Default, Debug)]
pub struct TrustedProxies(pub Vec<IpNet>);

/// Longest chain of proxies that is looked at.
const LONGEST_CHAIN: usize = 32;

impl TrustedProxies {
    /// Whether this is one of them.
    pub fn contains(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        self.0.iter().any(|network| network.contains(&ip))
    }

    /// The client behind a socket: of what trusted proxies say, the last address that is not one of theirs.
    pub fn client(&self, socket: SocketAddr, headers: &HeaderMap) -> Peer {
        let mut peer = Peer { ip: socket.ip().to_canonical(), port: socket.port() };
        let lines = headers.get_all("x-forwarded-for").into_iter().rev();
        let hops = lines.flat_map(|line| line.to_str().unwrap_or("?").rsplit(','));
        for hop in hops.take(LONGEST_CHAIN) {
            if !self.contains(peer.ip) {
                break;
            }
            // What cannot be read is of no use, nor what stands before it.
            let Ok(ip) = hop.trim().parse::<IpAddr>() else { break };
            peer = Peer { ip: ip.to_canonical(), port: 0 };
        }
        peer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(trusted: &str, socket: &str, forwarded: &[&str]) -> String {
        let trusted = TrustedProxies(trusted.split_whitespace().map(|net| net.parse().unwrap()).collect());
        let mut headers = HeaderMap::new();
        for line in forwarded {
            headers.append("x-forwarded-for", line.parse().unwrap());
        }
        trusted.client(socket.parse().unwrap(), &headers).to_string()
    }

    #[test]
    fn only_trusted_peers_are_believed() {
        assert_eq!(client("", "10.0.0.1:7", &["1.2.3.4"]), "10.0.0.1:7");
        assert_eq!(client("10.0.0.2/32", "10.0.0.1:7", &["1.2.3.4"]), "10.0.0.1:7");
        assert_eq!(client("10.0.0.0/8", "10.0.0.1:7", &["1.2.3.4"]), "1.2.3.4");
        assert_eq!(client("10.0.0.0/8", "[::ffff:10.0.0.1]:7", &["2001:db8::1"]), "2001:db8::1");
        assert_eq!(client("10.0.0.0/8", "10.0.0.1:7", &[]), "10.0.0.1:7");
    }

    #[test]
    fn what_the_client_itself_wrote_is_not_believed() {
        // The client forged the first; its proxy added the second; ours the third.
        assert_eq!(client("10.0.0.0/8", "10.0.0.1:7", &["6.6.6.6, 1.2.3.4, 10.0.0.9"]), "1.2.3.4");
        assert_eq!(client("10.0.0.0/8", "10.0.0.1:7", &["6.6.6.6", "1.2.3.4", "10.0.0.9"]), "1.2.3.4");
        assert_eq!(client("10.0.0.0/8", "10.0.0.1:7", &["1.2.3.4, nonsense, 10.0.0.9"]), "10.0.0.9");
        assert_eq!(client("10.0.0.0/8", "10.0.0.1:7", &["nonsense"]), "10.0.0.1:7");
    }
}
