//! The types of settings that say who is where on the network.

use super::value::{Allowed, Value};
use ipnet::IpNet;
use std::net::IpAddr;

/// Networks, one behind the other with spaces or commas between.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Networks(pub Vec<IpNet>);

impl Value for Networks {
    fn read(text: &str, _: &Allowed) -> Option<Self> {
        let words = text.split([' ', ',']).filter(|word| !word.is_empty());
        let networks: Option<Vec<IpNet>> =
            words.map(|word| word.parse().ok().or_else(|| word.parse::<IpAddr>().ok().map(IpNet::from))).collect();
        networks.filter(|networks| !networks.is_empty()).map(Self)
    }

    fn show(&self) -> String {
        self.0.iter().map(IpNet::to_string).collect::<Vec<_>>().join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_read_as_written() {
        let read = |text: &str| Networks::read(text, &Allowed::Form("")).map(|networks| networks.show());
        assert_eq!(read("10.0.0.0/8, ::1 192.168.1.1").as_deref(), Some("10.0.0.0/8 ::1/128 192.168.1.1/32"));
        for bad in ["", " ", "10.0.0.0/33", "proxy.example.com", "10.0.0.0/8;10.1.0.0/16"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
