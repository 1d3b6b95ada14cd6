//! Who may connect to a group's endpoints.
//!
//! The outcome of security groups, not the groups themselves: a list of networks. Clients on this
//! machine are judged apart, because their address says nothing about where in a network they are
//! meant to be.
//!
//! Invariant: an IPv4 address that is written as an IPv6 one is judged as the IPv4 address.
//!
//! Not here: security groups and their rules (`tanist-aws`), turning a client away (`tanist-proxy`).

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// Who may connect.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Access {
    /// Everybody who reaches the address.
    #[default]
    Everyone,
    /// These.
    Only {
        /// Networks whose addresses may.
        sources: Vec<IpNet>,
        /// Whether clients with a loopback address may; `sources` are not asked about them.
        loopback: bool,
    },
}

impl Access {
    /// Whether a client with this address may connect.
    #[must_use]
    pub fn admits(&self, client: IpAddr) -> bool {
        let client = client.to_canonical();
        match self {
            Self::Everyone => true,
            Self::Only { loopback, .. } if client.is_loopback() => *loopback,
            Self::Only { sources, .. } => sources.iter().any(|network| network.contains(&client)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_named_networks_and_loopback_if_it_is_said() {
        let only = |sources: &[&str], loopback| Access::Only {
            sources: sources.iter().map(|text| text.parse().unwrap()).collect(),
            loopback,
        };
        let admits = |access: &Access, client: &str| access.admits(client.parse().unwrap());
        let access = only(&["10.0.0.0/16", "2001:db8::/32"], false);
        assert!(admits(&access, "10.0.255.1") && admits(&access, "::ffff:10.0.0.1"));
        assert!(admits(&access, "2001:db8::7"));
        assert!(!admits(&access, "10.1.0.1") && !admits(&access, "2001:db9::7"));
        assert!(!admits(&access, "127.0.0.1") && !admits(&access, "::1"));
        // A network that holds every address says nothing about this machine's own clients.
        assert!(!admits(&only(&["0.0.0.0/0"], false), "127.0.0.1"));
        assert!(admits(&only(&[], true), "127.9.0.1"));
        assert!(!admits(&only(&[], true), "10.0.0.1"));
        assert!(admits(&Access::Everyone, "192.0.2.1"));
    }
}
