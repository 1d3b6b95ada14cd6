//! Names of endpoints, in the form of ElastiCache's.
//!
//! A name is shown only where it leads to the endpoint: on a machine whose resolver does not know it,
//! the address is the honest answer. `tanist dev --hosts` keeps the names in `/etc/hosts`.
//!
//! Invariant: a name that is shown resolves on this host to the address beside it.
//!
//! Not here: a DNS server.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use tanist_core::model::{GroupSpec, NodeId, Region};
use tanist_link::api::EndpointStatus;

/// How names are made and checked.
#[derive(Debug, Clone)]
pub struct Names {
    /// The installation's six characters.
    pub installation: String,
    /// The domain below which all names are.
    pub domain: String,
    /// The file of names that the host's resolver reads.
    pub hosts_file: PathBuf,
}

/// What a group's name is followed by in its reader endpoint's.
pub(crate) const READER_SUFFIX: &str = "-ro";

impl Names {
    pub(crate) fn primary(&self, spec: &GroupSpec) -> String {
        format!(
            "{}.{}.ng.0001.{}.{}",
            spec.name,
            self.installation,
            short(&spec.region),
            self.domain
        )
    }

    pub(crate) fn reader(&self, spec: &GroupSpec) -> String {
        let region = short(&spec.region);
        let Self { installation, domain, .. } = self;
        format!("{}{READER_SUFFIX}.{installation}.ng.0001.{region}.{domain}", spec.name)
    }

    pub(crate) fn node(&self, spec: &GroupSpec, node: &NodeId) -> String {
        format!("{node}.{}.0001.{}.{}", self.installation, short(&spec.region), self.domain)
    }

    /// The endpoint under its name, if this host resolves it; otherwise under its address.
    pub(crate) fn endpoint(
        &self,
        listed: &Listed,
        name: String,
        address: Ipv4Addr,
        port: u16,
    ) -> EndpointStatus {
        let host = if listed.has(&name, address) { name } else { address.to_string() };
        EndpointStatus { host, address, port }
    }

    /// What the host's file of names says; nothing if it cannot be read.
    pub(crate) fn listed(&self) -> Listed {
        Listed::read(&std::fs::read_to_string(&self.hosts_file).unwrap_or_default())
    }
}

/// Names and the addresses that they lead to. Read once for each answer: one answer asks for every
/// endpoint there is, and the file may have a line for each.
#[derive(Debug, Default)]
pub(crate) struct Listed(HashMap<String, Vec<Ipv4Addr>>);

impl Listed {
    fn read(hosts: &str) -> Self {
        let mut all: HashMap<String, Vec<Ipv4Addr>> = HashMap::new();
        for line in hosts.lines() {
            let line = line.split('#').next().unwrap_or_default();
            let mut words = line.split_whitespace();
            if let Some(address) = words.next().and_then(|word| word.parse().ok()) {
                words.for_each(|name| all.entry(name.to_owned()).or_default().push(address));
            }
        }
        Self(all)
    }

    fn has(&self, name: &str, address: Ipv4Addr) -> bool {
        self.0.get(name).is_some_and(|addresses| addresses.contains(&address))
    }
}

/// `us-east-1` as `use1`: AWS's short form in endpoint names.
fn short(region: &Region) -> String {
    let mut parts = region.as_str().split('-');
    let mut short: String = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        short.extend(part.chars().next());
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_are_shortened_as_aws_does() {
        assert_eq!(short(&"us-east-1".into()), "use1");
        assert_eq!(short(&"ap-southeast-2".into()), "aps2");
    }

    #[test]
    fn a_name_is_shown_only_if_it_leads_there() {
        let ip = Ipv4Addr::new(127, 80, 1, 1);
        let listed =
            Listed::read("127.0.0.1 localhost\n127.80.1.1 web.x  other # c\n127.80.1.2 wrong.x\n");
        assert!(listed.has("web.x", ip));
        assert!(listed.has("other", ip));
        assert!(!listed.has("wrong.x", ip));
        assert!(!listed.has("c", ip));
    }
}
