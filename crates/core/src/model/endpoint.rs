//! Where clients dial a group.
//!
//! On one host every endpoint has a loopback address of its own, so that each keeps the engines' usual
//! port. On a fleet each host has one address; there the loopback address is an endpoint's number, and
//! its port, the same at every host, follows from it.
//!
//! Invariant: what a group was given at its creation never changes, and no two endpoints of an
//! installation are at the same address and port.
//!
//! Not here: who is given which (`crate::decide::found`), who listens there (`tanist-proxy`).

use std::net::{Ipv4Addr, SocketAddr};

use serde::{Deserialize, Serialize};

/// Addresses that begin with the same two bytes, but for those that end in a byte of 0 or 255.
const IN_NETWORK: u16 = 254 * 254;

/// Where a group's clients dial.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupEndpoints {
    /// Always leads to the primary.
    pub primary: Ipv4Addr,
    /// Leads to a replica.
    pub reader: Ipv4Addr,
    /// The port of both, and of the node endpoints, if each is at its own address.
    pub port: u16,
    /// On a fleet: endpoints are at every host's address, and their ports are counted from here.
    #[serde(default)]
    pub ports_from: Option<u16>,
}

impl GroupEndpoints {
    /// Where `endpoint`, one of this group's, is at a host with this address.
    pub fn at(&self, endpoint: Ipv4Addr, host: Ipv4Addr) -> SocketAddr {
        match self.ports_from {
            None => SocketAddr::from((endpoint, self.port)),
            Some(_) => SocketAddr::from((host, self.port_of(endpoint))),
        }
    }

    /// The port of `endpoint`, one of this group's.
    pub fn port_of(&self, endpoint: Ipv4Addr) -> u16 {
        self.ports_from.map_or(self.port, |first| first.saturating_add(number(endpoint)))
    }

    /// Whether the endpoints are at every host's address.
    pub fn are_everywhere(&self) -> bool {
        self.ports_from.is_some()
    }
}

/// Where one of an installation's own surfaces (the AWS endpoint, Sentinel) is offered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Listen {
    /// To this machine alone.
    #[default]
    Loopback,
    /// At each server's own address, too.
    Host,
}

/// Whether an address is of this machine or of a private network: not every stranger can dial it.
pub fn is_near(address: Ipv4Addr) -> bool {
    // 100.64.0.0/10 is shared by carriers and overlay networks, never routed.
    let is_shared = address.octets()[0] == 100 && address.octets()[1] & 0xc0 == 64;
    address.is_loopback() || address.is_private() || address.is_link_local() || is_shared
}

/// How many addresses before it an endpoint may have.
fn number(endpoint: Ipv4Addr) -> u16 {
    let [_, _, c, d] = endpoint.octets();
    u16::from(c).saturating_sub(1).saturating_mul(254) + u16::from(d).saturating_sub(1)
}

/// How endpoints are given out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndpointPlan {
    /// The first two bytes of every endpoint's address.
    pub network: [u8; 2],
    /// The ports of a fleet's endpoints, the first and the last; `None` if each has an address.
    pub ports: Option<(u16, u16)>,
}

impl EndpointPlan {
    /// Every address that an endpoint may get, in the order in which they are handed out.
    pub fn addresses(&self) -> impl Iterator<Item = Ipv4Addr> + use<> {
        let [a, b] = self.network;
        let most = self.ports.map_or(IN_NETWORK, |(first, last)| {
            last.saturating_sub(first).saturating_add(1).min(IN_NETWORK)
        });
        let all = (1..=254).flat_map(move |c| (1..=254).map(move |d| Ipv4Addr::new(a, b, c, d)));
        all.take(usize::from(most))
    }
}

impl Default for EndpointPlan {
    fn default() -> Self {
        Self { network: [127, 80], ports: None }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn endpoints(ports_from: Option<u16>) -> GroupEndpoints {
        let primary = Ipv4Addr::new(127, 80, 1, 1);
        GroupEndpoints { primary, reader: Ipv4Addr::new(127, 80, 1, 2), port: 6379, ports_from }
    }

    #[test]
    fn on_one_host_each_has_an_address_and_the_usual_port() {
        let own = endpoints(None);
        let at = own.at(own.reader, Ipv4Addr::new(10, 0, 0, 1));
        assert_eq!(at.to_string(), "127.80.1.2:6379");
        assert!(!own.are_everywhere());
    }

    #[test]
    fn on_a_fleet_each_has_a_port_at_every_host() {
        let own = endpoints(Some(7000));
        let host = Ipv4Addr::new(10, 0, 0, 1);
        assert_eq!(own.at(own.primary, host).to_string(), "10.0.0.1:7000");
        assert_eq!(own.at(own.reader, host).to_string(), "10.0.0.1:7001");
        assert_eq!(own.port_of(Ipv4Addr::new(127, 80, 2, 1)), 7254);
        assert!(own.are_everywhere());
    }

    #[test]
    fn no_two_endpoints_share_a_port_and_none_leaves_the_range() {
        let plan = EndpointPlan { network: [127, 80], ports: Some((7000, 30_999)) };
        let own = endpoints(Some(7000));
        let ports: BTreeSet<u16> = plan.addresses().map(|ip| own.port_of(ip)).collect();
        assert_eq!(ports.len(), plan.addresses().count());
        assert_eq!((ports.first(), ports.last()), (Some(&7000), Some(&30_999)));
        assert_eq!(EndpointPlan::default().addresses().count(), 254 * 254);
    }

    #[test]
    fn what_an_earlier_release_has_stored_is_on_one_host() {
        let stored = r#"{"primary":"127.80.1.1","reader":"127.80.1.2","port":6379}"#;
        let read: GroupEndpoints = serde_json::from_str(stored).unwrap();
        assert_eq!(read, endpoints(None));
    }
}
