//! A fleet, as `tanist doctor` sees it: this host as a member, its servers, its hosts and their clocks,
//! and where the nodes of each shard are.
//!
//! Disk, kernel, ports and the certificate are looked at on this host alone: no host is asked about
//! those of another.
//!
//! Invariant: what is not known is said to be unknown, and whoever looks at one host is told which
//! others that leaves out.
//!
//! Not here: etcd's members (`super::store`), groups (`super::groups`).

mod certificate;
mod clocks;
mod ports;
mod spread;

use std::collections::BTreeSet;
use std::time::SystemTime;

use tanist_core::model::{HostId, Limits, Zone};
use tanist_link::api::{HostStatus, ServerStatus, Status};

use super::Check;
use crate::fleet::Member;
use crate::fleet::plan::{FleetPlan, Role};

/// What is looked at on this host.
pub(super) fn own(member: &Member) -> Vec<Check> {
    let own = &member.is.host;
    let mut checks = vec![certificate::judge(own, member.certificate_ends(), SystemTime::now())];
    match member.plan.host(own.as_str()) {
        Ok(planned) => checks.push(ports::check(&member.plan, planned)),
        Err(failure) => checks.push(Check::problem(failure.message, failure.remedy)),
    }
    checks.extend(elsewhere(&member.plan, own));
    checks
}

/// What is seen of the whole fleet.
pub(super) fn whole(member: &Member, status: &Status) -> Vec<Check> {
    let plan = &member.plan;
    let mut checks = servers(&status.servers, plan);
    checks.extend(hosts(&status.hosts, plan));
    checks.push(clocks::judge(status));
    checks.extend(spread::checks(status, plan.limits.calm != Limits::NEVER));
    checks
}

/// Whether this host has what administrators need.
pub(super) fn is_server(member: &Member) -> bool {
    member.layout.fleet_authority().exists()
}

/// On a host that has not got what administrators need.
pub(super) fn not_asked(member: &Member) -> Check {
    let own = &member.is.host;
    let planned = member.plan.host(own.as_str());
    if planned.is_ok_and(|planned| planned.is(Role::Server)) {
        return Check::problem(
            format!("{own} is a server in the file, and has not got what servers have"),
            format!(
                "on a server: tanist host invite {own}; here: remove member.json from the data \
                 directory, and tanist join"
            ),
        );
    }
    Check::good(format!(
        "{own} is no server: the fleet as a whole is looked at by tanist doctor on a server"
    ))
}

fn elsewhere(plan: &FleetPlan, own: &HostId) -> Option<Check> {
    let others: Vec<&str> = { plan.hosts.iter() }
        .map(|planned| planned.host.as_str())
        .filter(|host| *host != own.as_str())
        .collect();
    (!others.is_empty()).then(|| {
        Check::good(format!(
            "disk, kernel, ports and certificate are those of {own}; run tanist doctor on each of \
             the others too: {}",
            others.join(", ")
        ))
    })
}

/// "Can a server be lost?"
fn servers(all: &[ServerStatus], plan: &FleetPlan) -> Vec<Check> {
    let mut checks = Vec::new();
    for server in all.iter().filter(|server| !server.up) {
        let (host, at) = (&server.host, server.address);
        checks.push(Check::problem(
            format!("the server on {host} is not heard from"),
            format!(
                "start tanist server on {host}; if it runs, see whether it reaches the others at \
                 their port ({at} is its own)"
            ),
        ));
    }
    checks.extend(count(all.len(), plan.etcd_ports().is_some()));
    checks.extend(same_zone(all, plan));
    checks.extend(releases(all));
    if checks.is_empty() {
        let shown = all.iter().map(|server| match server.leads {
            true => format!("{} leads", server.host),
            false => server.host.to_string(),
        });
        checks.push(Check::good(format!("servers: {}", shown.collect::<Vec<_>>().join(", "))));
    }
    checks
}

/// Of servers that run etcd most have to live; of others one.
fn count(servers: usize, managed: bool) -> Option<Check> {
    let remedy = "give three or five hosts the role of a server in the file, and invite them \
                  (docs/fleet.md)";
    match servers {
        1 => Some(Check::warning("there is one server: without it nothing is decided", remedy)),
        2 if managed => Some(Check::warning(
            "there are two servers: both are needed for anything to be decided",
            remedy,
        )),
        even if managed && even % 2 == 0 => Some(Check::warning(
            format!("there are {even} servers: they survive no more losses than {}", even - 1),
            remedy,
        )),
        _ => None,
    }
}

/// "Does it survive the loss of a zone?"
fn same_zone(all: &[ServerStatus], plan: &FleetPlan) -> Option<Check> {
    let of = |server: &ServerStatus| plan.host(server.host.as_str()).ok();
    let zones: BTreeSet<&Zone> = all.iter().filter_map(of).map(|planned| &planned.zone).collect();
    let everywhere: BTreeSet<&Zone> = plan.hosts.iter().map(|planned| &planned.zone).collect();
    let mut zones = zones.into_iter();
    let (Some(zone), None) = (zones.next(), zones.next()) else { return None };
    // One server is in one zone whatever is done, and is warned of already.
    if all.len() < 2 {
        return None;
    }
    let remedy = if everywhere.len() > 1 {
        "give hosts of other zones the role of a server in the file, and invite them"
    } else {
        "every host of the file is there: put hosts into other zones, or say in the file which they \
         are in"
    };
    Some(Check::warning(
        format!("every server is in {zone}: without that zone nothing is decided"),
        remedy,
    ))
}

fn releases(all: &[ServerStatus]) -> Option<Check> {
    let said = || all.iter().filter_map(|server| Some((&server.host, server.version.as_ref()?)));
    let different: BTreeSet<&String> = said().map(|(_, version)| version).collect();
    (different.len() > 1).then(|| {
        let shown: Vec<String> =
            said().map(|(host, version)| format!("{host} {version}")).collect();
        Check::warning(
            format!("the servers are of different releases: {}", shown.join(", ")),
            "upgrade the others too, one host after the other (docs/fleet.md)",
        )
    })
}

/// "Is everybody there?"
fn hosts(all: &[HostStatus], plan: &FleetPlan) -> Vec<Check> {
    let mut checks = Vec::new();
    for host in all.iter().filter(|host| !host.up).map(|host| &host.host) {
        checks.push(Check::problem(
            format!("nothing is heard from {host}"),
            format!(
                "start tanist agent there; of a host that never comes back: tanist host remove \
                 {host} --dead"
            ),
        ));
    }
    let known: BTreeSet<&HostId> = all.iter().map(|host| &host.host).collect();
    let agents = || plan.hosts.iter().filter(|planned| planned.is(Role::Agent));
    for host in agents().map(|planned| &planned.host).filter(|host| !known.contains(host)) {
        checks.push(Check::warning(
            format!("{host} is in the file and not in the fleet: it has not joined, or was removed"),
            format!(
                "tanist host invite {host}, let it join, start tanist agent there; or take it out of \
                 the file"
            ),
        ));
    }
    if checks.is_empty() {
        let zones: BTreeSet<&Zone> = all.iter().map(|host| &host.zone).collect();
        let drained = all.iter().filter(|host| host.draining).map(|host| host.host.as_str());
        let drained: Vec<&str> = drained.collect();
        let mut text = format!("hosts: all {} are heard, zones: {}", all.len(), zones.len());
        if !drained.is_empty() {
            text.push_str(&format!("; drained, which is no problem: {}", drained.join(", ")));
        }
        checks.push(Check::good(text));
    }
    checks
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};

    use super::super::Mark;
    use super::*;

    /// A plan of hosts: names, zones, whether each is a server.
    fn plan(managed: bool, hosts: &[(&str, &str, bool)]) -> FleetPlan {
        let store = if managed { "managed = true" } else { "endpoints = [\"http://127.0.0.1:1\"]" };
        let mut text = format!("region = \"r\"\n[store]\nkind = \"etcd\"\n{store}\n");
        for (number, (name, zone, server)) in hosts.iter().enumerate() {
            let server = if *server { "\"server\", " } else { "" };
            text.push_str(&format!(
                "[[host]]\nname = \"{name}\"\naz = \"{zone}\"\naddress = \"10.0.0.{}\"\n\
                 roles = [{server}\"agent\", \"proxy\"]\n",
                number + 1
            ));
        }
        FleetPlan::of(&toml::from_str(&text).unwrap()).unwrap()
    }

    fn server(host: &str) -> ServerStatus {
        ServerStatus {
            host: HostId::new(host),
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, 4460)),
            leads: host == "h1",
            up: true,
            version: Some("1.0.0".to_owned()),
            clock_ms: Some(0),
        }
    }

    fn host(name: &str, zone: &str) -> HostStatus {
        HostStatus {
            host: HostId::new(name),
            zone: Zone::new(zone),
            address: Ipv4Addr::LOCALHOST,
            up: true,
            draining: false,
            memory_bytes: 0,
            promised_bytes: 0,
            nodes: Vec::new(),
            labels: Default::default(),
            placed: Default::default(),
            clock_ms: Some(0),
        }
    }

    fn one(mut checks: Vec<Check>) -> Check {
        assert_eq!(checks.len(), 1, "{checks:?}");
        checks.remove(0)
    }

    const THREE: [(&str, &str, bool); 3] =
        [("h1", "a", true), ("h2", "b", true), ("h3", "c", true)];

    #[test]
    fn three_servers_in_three_zones_are_good() {
        for managed in [true, false] {
            let all: Vec<_> = ["h1", "h2", "h3"].map(server).into();
            let check = one(servers(&all, &plan(managed, &THREE)));
            assert_eq!(
                (check.mark, check.what.as_str()),
                (Mark::Good, "servers: h1 leads, h2, h3")
            );
        }
    }

    #[test]
    fn a_server_that_is_away_is_a_problem() {
        let mut all: Vec<_> = ["h1", "h2", "h3"].map(server).into();
        all[1].up = false;
        let check = one(servers(&all, &plan(true, &THREE)));
        assert_eq!(check.mark, Mark::Problem);
        assert!(check.what.contains("on h2") && check.remedy.contains("tanist server on h2"));
    }

    #[test]
    fn how_many_servers_are_enough_depends_on_who_runs_etcd() {
        let warned = |servers, managed| count(servers, managed).map(|check| check.mark);
        for managed in [true, false] {
            assert_eq!(warned(1, managed), Some(Mark::Warning));
            assert_eq!((warned(3, managed), warned(5, managed)), (None, None));
        }
        assert_eq!((warned(2, true), warned(4, true)), (Some(Mark::Warning), Some(Mark::Warning)));
        // Any one of them goes on with an etcd that is elsewhere.
        assert_eq!((warned(2, false), warned(4, false)), (None, None));
    }

    #[test]
    fn servers_in_one_zone_are_warned_of_and_the_remedy_fits_the_file() {
        let servers_of = |zones: [&'static str; 4]| {
            let hosts: Vec<_> = { zones.into_iter().enumerate() }
                .map(|(at, zone)| (["h1", "h2", "h3", "h4"][at], zone, at < 3))
                .collect();
            servers(&["h1", "h2", "h3"].map(server), &plan(true, &hosts))
        };
        let check = one(servers_of(["a", "a", "a", "b"]));
        assert_eq!(check.mark, Mark::Warning);
        assert!(check.what.contains("every server is in a"), "{check:?}");
        assert!(check.remedy.contains("hosts of other zones"), "{check:?}");
        let check = one(servers_of(["a"; 4]));
        assert!(check.mark == Mark::Warning && check.remedy.contains("put hosts into other zones"));
        assert_eq!(one(servers_of(["a", "a", "b", "b"])).mark, Mark::Good);
    }

    #[test]
    fn servers_of_different_releases_are_named() {
        let mut all: Vec<_> = ["h1", "h2", "h3"].map(server).into();
        all[2].version = None;
        assert_eq!(one(servers(&all, &plan(true, &THREE))).mark, Mark::Good, "one did not say");
        all[1].version = Some("1.1.0".to_owned());
        let check = one(servers(&all, &plan(true, &THREE)));
        assert_eq!(check.mark, Mark::Warning);
        assert!(check.what.contains("h1 1.0.0, h2 1.1.0"), "{check:?}");
    }

    #[test]
    fn a_silent_host_is_a_problem_one_that_has_not_joined_a_warning_a_drained_one_neither() {
        let plan = plan(true, &THREE);
        let mut all = vec![host("h1", "a"), host("h2", "b"), host("h3", "c")];
        all[2].draining = true;
        let check = one(hosts(&all, &plan));
        assert_eq!(check.mark, Mark::Good);
        assert_eq!(
            check.what,
            "hosts: all 3 are heard, zones: 3; drained, which is no problem: h3"
        );
        all[2].up = false;
        let check = one(hosts(&all, &plan));
        assert_eq!(check.mark, Mark::Problem);
        assert!(check.remedy.contains("tanist host remove h3 --dead"), "{check:?}");
        all.truncate(2);
        let check = one(hosts(&all, &plan));
        assert_eq!(check.mark, Mark::Warning);
        assert!(check.remedy.contains("tanist host invite h3"), "{check:?}");
    }

    #[test]
    fn whoever_looks_at_one_host_is_told_of_the_others() {
        let own = HostId::new("h2");
        let check = elsewhere(&plan(true, &THREE), &own).unwrap();
        assert!(check.what.ends_with("on each of the others too: h1, h3"), "{check:?}");
        assert!(elsewhere(&plan(true, &THREE[1..2]), &own).is_none());
    }
}
