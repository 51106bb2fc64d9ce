//! The addresses that a VPN server gives to its clients.

use std::{fmt, net::Ipv4Addr, str::FromStr};

/// A network of IPv4, such as `192.168.10.0/24`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cidr {
    network: u32,
    length: u8,
}

impl Cidr {
    pub(crate) fn contains(self, address: Ipv4Addr) -> bool {
        u32::from(address) & mask(self.length) == self.network
    }

    /// The first host, which is the server's own address.
    pub(crate) fn gateway(self) -> Ipv4Addr {
        Ipv4Addr::from(self.network.saturating_add(1))
    }
}

fn mask(length: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0)
}

impl FromStr for Cidr {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no network of IPv4 such as 192.168.10.0/24");
        let (address, length) = text.split_once('/').ok_or_else(wrong)?;
        let address: Ipv4Addr = address.parse().map_err(|_| wrong())?;
        let length: u8 = length.parse().ok().filter(|length| *length <= 32).ok_or_else(wrong)?;
        Ok(Self {
            network: u32::from(address) & mask(length),
            length,
        })
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", Ipv4Addr::from(self.network), self.length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_contains_its_addresses() {
        let cidr: Cidr = "192.168.10.0/24".parse().unwrap();
        assert_eq!(cidr.gateway(), Ipv4Addr::new(192, 168, 10, 1));
        assert!(cidr.contains(Ipv4Addr::new(192, 168, 10, 255)));
        assert!(!cidr.contains(Ipv4Addr::new(192, 168, 11, 0)));
        assert_eq!(cidr.to_string(), "192.168.10.0/24");
        assert!("0.0.0.0/0".parse::<Cidr>().unwrap().contains(Ipv4Addr::BROADCAST));
        assert_eq!("10.1.2.3/32".parse::<Cidr>().unwrap().to_string(), "10.1.2.3/32");
    }

    #[test]
    fn an_invalid_network_is_refused() {
        for text in ["", "10.0.0.0", "10.0.0.0/33", "10.0.0/8", "10.0.0.0/-1", "fd00::/8"] {
            assert!(text.parse::<Cidr>().is_err(), "{text}");
        }
    }
}
