//! The fleet's configuration file: the same on every host, which finds itself in it by its name.
//!
//! Invariant: a plan has at least one server, no two hosts share a name or an address, and every role
//! finds in it whom it has to talk to.
//!
//! Not here: reading the file (`crate::config`), what a host was given when it joined
//! (`super::member`).

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use serde::Deserialize;
use tanist_core::model::{HostId, Limits, Listen, Region, TransitMode, Zone};
use tanist_link::Server;
use tanist_store::EtcdConfig;

use crate::config::Config;
use crate::failure::Failure;
use crate::store_file::{EtcdPorts, StoreFile};

/// The port at which servers are reached by the other hosts.
const LINK_PORT: u16 = 4460;
/// Ports of endpoints: below those of engines (31000 and up).
const ENDPOINT_PORTS: (u16, u16) = (7000, 30_999);
/// Most addresses that move between hosts.
const MOST_FLOATING: usize = 8;
/// Below which every name of an endpoint is.
const DOMAIN: &str = "cache.localhost";

/// What a host does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Role {
    /// It may lead: it decides, and has the API.
    Server,
    /// It runs engines.
    Agent,
    /// It has every group's endpoints.
    Proxy,
}

/// `[[host]]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct HostFile {
    name: String,
    #[serde(alias = "az")]
    zone: String,
    address: Ipv4Addr,
    #[serde(default)]
    roles: Option<BTreeSet<Role>>,
}

impl HostFile {
    /// Its address, if it is a server.
    pub(crate) fn server(&self) -> Option<Ipv4Addr> {
        let is = self.roles.as_ref().is_some_and(|roles| roles.contains(&Role::Server));
        is.then_some(self.address)
    }
}

/// `[link]`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PortFile {
    port: Option<u16>,
}

/// `[api]`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ApiFile {
    port: Option<u16>,
    /// Where it is offered.
    #[serde(default)]
    pub(crate) listen: Listen,
    /// Whether connections to the hosts' own addresses are encrypted; all of them if nothing is said.
    #[serde(default)]
    pub(crate) tls: Option<TransitMode>,
}

/// `[endpoints]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EndpointsFile {
    /// The first and the last port.
    #[serde(default)]
    ports: Option<(u16, u16)>,
    /// Addresses that something else moves between hosts.
    #[serde(default)]
    floating: Vec<Ipv4Addr>,
}

/// A host.
#[derive(Debug, Clone)]
pub(crate) struct Planned {
    pub(crate) host: HostId,
    pub(crate) zone: Zone,
    pub(crate) address: Ipv4Addr,
    roles: BTreeSet<Role>,
}

impl Planned {
    pub(crate) fn is(&self, role: Role) -> bool {
        self.roles.contains(&role)
    }
}

/// A fleet.
#[derive(Debug, Clone)]
pub(crate) struct FleetPlan {
    pub(crate) region: Region,
    pub(crate) domain: String,
    pub(crate) hosts: Vec<Planned>,
    pub(crate) endpoint_ports: (u16, u16),
    /// Where endpoints are offered beside the hosts' own addresses.
    pub(crate) floating: Vec<Ipv4Addr>,
    /// The port of the AWS endpoint.
    pub(crate) api_port: u16,
    link_port: u16,
    store: StoreFile,
    /// When nodes are placed elsewhere, among other times.
    pub(crate) limits: Limits,
}

fn bad(why: impl Into<String>, remedy: &str) -> Failure {
    Failure::new("T700", why, remedy).exit(2)
}

impl FleetPlan {
    /// What the file says about a fleet.
    pub(crate) fn of(config: &Config) -> Result<Self, Failure> {
        let shown = "docs/fleet.md shows a whole file";
        let Some(region) = &config.region else {
            return Err(bad("the file does not say which region this is", shown));
        };
        let Some(store) = config.store.clone() else {
            return Err(bad("the file has no [store]: several hosts share one", shown));
        };
        store.check()?;
        let hosts: Vec<Planned> = config.host.iter().map(planned).collect::<Result<_, _>>()?;
        check(&hosts)?;
        let endpoints = config.endpoints.as_ref();
        let ports = endpoints.and_then(|endpoints| endpoints.ports).unwrap_or(ENDPOINT_PORTS);
        let floating = endpoints.map(|endpoints| endpoints.floating.clone()).unwrap_or_default();
        check_floating(&floating, &hosts)?;
        if ports.0 < 1024 || ports.1 <= ports.0 || ports.1 > ENDPOINT_PORTS.1 {
            let why = format!("the endpoints' ports {} to {} cannot be used", ports.0, ports.1);
            return Err(bad(why, "use a range between 1024 and 30999; engines are above it"));
        }
        Ok(Self {
            region: Region::new(region),
            domain: config.domain.clone().unwrap_or_else(|| DOMAIN.to_owned()),
            hosts,
            endpoint_ports: ports,
            floating,
            api_port: config.api.port.unwrap_or(crate::front::PORT),
            link_port: config.link.port.unwrap_or(LINK_PORT),
            store,
            limits: config.placement.limits(),
        })
    }

    /// The host with this name.
    pub(crate) fn host(&self, name: &str) -> Result<&Planned, Failure> {
        self.hosts.iter().find(|planned| planned.host.as_str() == name).ok_or_else(|| {
            let names: Vec<&str> = self.hosts.iter().map(|planned| planned.host.as_str()).collect();
            let why = format!("the file has no [[host]] {name}; it has {}", names.join(", "));
            bad(why, "add it to the file, on every server; or name another: --host NAME")
        })
    }

    /// Where a server on this host is reached.
    pub(crate) fn link(&self, planned: &Planned) -> SocketAddr {
        SocketAddr::from((planned.address, self.link_port))
    }

    /// Every server, that of `own` first: whoever is nearest is asked first.
    pub(crate) fn servers(&self, own: &HostId) -> Vec<Server> {
        let of =
            |planned: &Planned| Server { host: planned.host.clone(), address: self.link(planned) };
        let (near, far): (Vec<_>, Vec<_>) = self
            .hosts
            .iter()
            .filter(|planned| planned.is(Role::Server))
            .map(of)
            .partition(|server| server.host == *own);
        near.into_iter().chain(far).collect()
    }

    /// How an etcd is reached that is somebody else's; files are named from where the configuration
    /// `file` is.
    pub(crate) fn etcd(&self, file: &Path, installation: &str) -> Result<EtcdConfig, Failure> {
        self.store.etcd(file, installation)
    }

    /// The ports of the etcd that Tanist runs on every server, if it does.
    pub(crate) fn etcd_ports(&self) -> Option<EtcdPorts> {
        self.store.managed()
    }
}

fn planned(file: &HostFile) -> Result<Planned, Failure> {
    let is_name = |text: &str| {
        (1..=40).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !text.starts_with('-')
            && !text.ends_with('-')
    };
    for (what, text) in [("host", &file.name), ("zone", &file.zone)] {
        if !is_name(text) {
            let why = format!("{text:?} cannot be the name of a {what}");
            return Err(bad(why, "use 1 to 40 lower-case letters, digits and hyphens"));
        }
    }
    if file.address.is_unspecified() || file.address.is_multicast() || file.address.is_broadcast() {
        let why = format!("{} cannot be the address of {}", file.address, file.name);
        return Err(bad(why, "give the address at which the other hosts reach it"));
    }
    let usual = || BTreeSet::from([Role::Agent, Role::Proxy]);
    let roles = file.roles.clone().unwrap_or_else(usual);
    if roles.contains(&Role::Proxy) && !roles.contains(&Role::Agent) {
        let why = format!("{} has a proxy and no agent, which runs it", file.name);
        return Err(bad(why, "give it both roles"));
    }
    Ok(Planned {
        host: HostId::new(&file.name),
        zone: Zone::new(&file.zone),
        address: file.address,
        roles,
    })
}

/// An address that moves is no host's, and there are few: every endpoint is at each of them.
fn check_floating(floating: &[Ipv4Addr], hosts: &[Planned]) -> Result<(), Failure> {
    let remedy =
        "name addresses that keepalived or the like moves between hosts, and no host's own";
    let taken = |address: &Ipv4Addr| hosts.iter().any(|planned| planned.address == *address);
    let odd = |address: &Ipv4Addr| {
        // Every host has those of loopback.
        let nobodys = address.is_unspecified() || address.is_multicast();
        nobodys || address.is_broadcast() || address.is_loopback()
    };
    if let Some(wrong) = floating.iter().find(|address| taken(address) || odd(address)) {
        return Err(bad(format!("{wrong} cannot be a floating address"), remedy));
    }
    let different: BTreeSet<_> = floating.iter().collect();
    if different.len() != floating.len() || floating.len() > MOST_FLOATING {
        let why = format!("floating addresses are at most {MOST_FLOATING} different ones");
        return Err(bad(why, remedy));
    }
    Ok(())
}

fn check(hosts: &[Planned]) -> Result<(), Failure> {
    let names: BTreeSet<_> = hosts.iter().map(|planned| &planned.host).collect();
    let addresses: BTreeSet<_> = hosts.iter().map(|planned| planned.address).collect();
    if names.len() != hosts.len() || addresses.len() != hosts.len() {
        return Err(bad("two [[host]]s share a name or an address", "give each its own"));
    }
    if !hosts.iter().any(|planned| planned.is(Role::Server)) {
        let remedy = "give three or five of them roles = [\"server\", \"agent\", \"proxy\"]";
        return Err(bad("no [[host]] is a server", remedy));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"
region = "us-east-1"
[store]
kind = "etcd"
endpoints = ["http://127.0.0.1:2379"]
[[host]]
name = "h1"
az = "us-east-1a"
address = "10.0.1.11"
roles = ["server", "agent", "proxy"]
[[host]]
name = "h2"
zone = "us-east-1b"
address = "10.0.2.11"
"#;

    fn plan(text: &str) -> Result<FleetPlan, Failure> {
        FleetPlan::of(&toml::from_str(text).unwrap())
    }

    #[test]
    fn a_host_finds_itself_and_the_servers() {
        let plan = plan(FILE).unwrap();
        let own = plan.host("h2").unwrap();
        assert!(own.is(Role::Agent) && own.is(Role::Proxy) && !own.is(Role::Server));
        let servers: Vec<_> = plan.servers(&own.host).iter().map(ToString::to_string).collect();
        assert_eq!(servers, ["h1 (10.0.1.11:4460)"]);
        let unknown = plan.host("h3").unwrap_err();
        assert!(unknown.message.contains("h1, h2"), "{}", unknown.message);
        let etcd = plan.etcd(Path::new("/etc/tanist.toml"), "abc").unwrap();
        assert_eq!(etcd.prefix, "/tanist/abc/");
        assert!(plan.floating.is_empty());
        let moved = "[endpoints]\nfloating = [\"10.0.9.1\"]\n[store]";
        let plan = self::plan(&FILE.replacen("[store]", moved, 1)).unwrap();
        assert_eq!(plan.floating, [Ipv4Addr::new(10, 0, 9, 1)]);
        assert_eq!(plan.endpoint_ports, ENDPOINT_PORTS);
    }

    #[test]
    fn the_nearest_server_is_asked_first() {
        let third = "[[host]]\nname = \"h0\"\nzone = \"c\"\naddress = \"10.0.3.1\"\n\
                     roles = [\"server\"]\n";
        let plan = plan(&format!("{FILE}{third}")).unwrap();
        let servers = plan.servers(&HostId::new("h0"));
        assert_eq!(servers.first().map(|server| server.host.as_str()), Some("h0"));
        assert_eq!(servers.len(), 2);
    }

    #[test]
    fn what_cannot_work_is_refused_and_says_why() {
        for (from, to, why) in [
            ("region = \"us-east-1\"", "", "which region"),
            ("10.0.2.11", "10.0.1.11", "share a name or an address"),
            ("\"h2\"", "\"h1\"", "share a name or an address"),
            ("\"h2\"", "\"H2\"", "cannot be the name of a host"),
            ("10.0.2.11", "0.0.0.0", "cannot be the address"),
            ("\"server\", ", "", "no [[host]] is a server"),
            ("\"agent\", ", "", "a proxy and no agent"),
            ("[store]", "[endpoints]\nports = [7000, 40000]\n[store]", "cannot be used"),
            ("[store]", "[endpoints]\nfloating = [\"10.0.2.11\"]\n[store]", "a floating address"),
            ("[store]", "[endpoints]\nfloating = [\"127.9.9.1\"]\n[store]", "a floating address"),
            (
                "[store]",
                "[endpoints]\nfloating = [\"10.0.9.1\", \"10.0.9.1\"]\n[store]",
                "different ones",
            ),
        ] {
            let text = FILE.replacen(from, to, 1);
            assert_ne!(text, FILE, "{from}");
            let refused = plan(&text).unwrap_err();
            assert!(refused.message.contains(why), "{why}: {}", refused.message);
            assert_eq!((refused.code.as_str(), refused.exit), ("T700", 2));
        }
    }
}
