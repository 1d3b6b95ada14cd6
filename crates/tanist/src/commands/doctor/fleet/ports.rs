//! The ports that this host listens at, and those that its kernel gives to outgoing connections.
//!
//! A port that an outgoing connection has at the moment cannot be listened at: an engine or an endpoint
//! does not start then, once in a while, on a busy host.
//!
//! Invariant: what is told to be reserved has everything in it that is reserved already.
//!
//! Not here: which ports are used (`crate::fleet::plan`, `tanist_core::decide`).

use tanist_core::decide::ENGINE_PORTS;

use super::Check;
use crate::commands::doctor::read;
use crate::fleet::plan::{FleetPlan, Planned, Role};

const GIVEN: &str = "/proc/sys/net/ipv4/ip_local_port_range";
const RESERVED: &str = "/proc/sys/net/ipv4/ip_local_reserved_ports";

/// The first and the last.
type Ports = (u16, u16);

/// Looks at this host's.
pub(super) fn check(plan: &FleetPlan, own: &Planned) -> Check {
    judge(&used(plan, own), read(GIVEN).as_deref(), read(RESERVED).as_deref())
}

/// What this host listens at, by what it does.
fn used(plan: &FleetPlan, own: &Planned) -> Vec<(&'static str, Ports)> {
    let mut used = Vec::new();
    if own.is(Role::Server) {
        let link = plan.link(own).port();
        used.push(("servers", (link, link)));
        if let Some(etcd) = plan.etcd_ports() {
            used.extend([etcd.client, etcd.peer].map(|port| ("etcd", (port, port))));
        }
    }
    if own.is(Role::Proxy) {
        used.push(("endpoints", plan.endpoint_ports));
    }
    if own.is(Role::Agent) {
        used.push(("engines", ENGINE_PORTS));
    }
    used
}

fn judge(used: &[(&str, Ports)], given: Option<&str>, reserved: Option<&str>) -> Check {
    let given_ports = given.and_then(range);
    // A kernel without the second file reserves nothing.
    let (Some(given), Some(reserved)) = (given_ports, ranges(reserved.unwrap_or_default())) else {
        let what = "which ports outgoing connections are given cannot be read";
        return Check::warning(what, format!("look at {GIVEN} and {RESERVED} by hand"));
    };
    let open: Vec<&(&str, Ports)> = { used.iter() }
        .filter(|(_, ports)| both(*ports, given).is_some_and(|both| !within(both, &reserved)))
        .collect();
    if open.is_empty() {
        let list: Vec<String> =
            used.iter().map(|(what, ports)| format!("{what} {}", shown(*ports))).collect();
        return Check::good(format!("ports: no outgoing connection gets {}", list.join(", ")));
    }
    let list: Vec<String> =
        open.iter().map(|(what, ports)| format!("{} ({what})", shown(*ports))).collect();
    let wanted = open.iter().map(|(_, ports)| *ports).chain(reserved.iter().copied());
    let wanted: Vec<String> = merged(wanted.collect()).into_iter().map(shown).collect();
    Check::warning(
        format!(
            "ports: outgoing connections may be given {}: what listens there cannot start then (they \
             are given {})",
            list.join(", "),
            shown(given)
        ),
        format!(
            "sysctl -w net.ipv4.ip_local_reserved_ports={} (and in /etc/sysctl.d to keep it)",
            wanted.join(",")
        ),
    )
}

fn shown((first, last): Ports) -> String {
    if first == last { first.to_string() } else { format!("{first}-{last}") }
}

/// As the kernel writes a range: two numbers.
fn range(text: &str) -> Option<Ports> {
    let mut words = text.split_whitespace().map(str::parse);
    match (words.next()?, words.next()?, words.next()) {
        (Ok(first), Ok(last), None) => Some((first, last)),
        _ => None,
    }
}

/// As the kernel writes several: numbers and ranges with commas.
fn ranges(text: &str) -> Option<Vec<Ports>> {
    let each = text.split(',').map(str::trim).filter(|one| !one.is_empty()).map(|one| {
        let (first, last) = one.split_once('-').unwrap_or((one, one));
        Some((first.parse().ok()?, last.parse().ok()?))
    });
    each.collect::<Option<Vec<Ports>>>().map(merged)
}

/// What two ranges share.
fn both(one: Ports, other: Ports) -> Option<Ports> {
    let shared = (one.0.max(other.0), one.1.min(other.1));
    (shared.0 <= shared.1).then_some(shared)
}

/// Whether all of a range is in one of these, which touch nowhere.
fn within(ports: Ports, merged: &[Ports]) -> bool {
    merged.iter().any(|(first, last)| *first <= ports.0 && ports.1 <= *last)
}

/// The same ports in as few ranges as can be.
fn merged(mut all: Vec<Ports>) -> Vec<Ports> {
    all.sort_unstable();
    let mut merged: Vec<Ports> = Vec::new();
    for (first, last) in all {
        match merged.last_mut() {
            Some((_, end)) if first <= end.saturating_add(1) => *end = (*end).max(last),
            _ => merged.push((first, last)),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::super::super::Mark;
    use super::*;

    const USED: [(&str, Ports); 3] =
        [("servers", (4460, 4460)), ("endpoints", (7000, 30_999)), ("engines", (31_000, 32_700))];

    #[test]
    fn the_usual_range_is_above_all_ports() {
        let check = judge(&USED, Some("32768\t60999"), Some(""));
        assert_eq!(check.mark, Mark::Good, "{check:?}");
        assert!(check.what.contains("engines 31000-32700"), "{check:?}");
        assert_eq!(judge(&USED, Some("32768 60999"), None).mark, Mark::Good);
    }

    #[test]
    fn ports_that_may_be_taken_are_named_with_the_line_that_reserves_them() {
        let check = judge(&USED, Some("32000 60999"), Some("8080,40000-40010"));
        assert_eq!(check.mark, Mark::Warning);
        assert!(check.what.contains("31000-32700 (engines)"), "{check:?}");
        assert!(!check.what.contains("endpoints"), "{check:?}");
        assert!(check.remedy.starts_with(
            "sysctl -w net.ipv4.ip_local_reserved_ports=8080,31000-32700,40000-40010 "
        ));
        let check = judge(&USED, Some("1024 65535"), Some("31000-32000"));
        let line = "ip_local_reserved_ports=4460,7000-32700 ";
        assert!(check.mark == Mark::Warning && check.remedy.contains(line), "{check:?}");
    }

    #[test]
    fn what_is_reserved_is_no_trouble() {
        // In pieces that touch, and only as far as it has to be.
        for reserved in ["31000-32700", "32000-32300,32301-40000", "1-65535"] {
            let check = judge(&USED, Some("32000 60999"), Some(reserved));
            assert_eq!(check.mark, Mark::Good, "{reserved}: {check:?}");
        }
        let check = judge(&USED, Some("32000 60999"), Some("32000-32300,32302-40000"));
        assert_eq!(check.mark, Mark::Warning, "one port is left");
    }

    #[test]
    fn what_cannot_be_read_is_said() {
        for (given, reserved) in [(None, Some("")), (Some("all"), None), (Some("1 2"), Some("x-9"))]
        {
            let check = judge(&USED, given, reserved);
            assert_eq!(check.mark, Mark::Warning);
            assert!(check.what.contains("cannot be read"), "{check:?}");
        }
    }

    #[test]
    fn a_host_is_asked_for_the_ports_of_what_it_does() {
        let text = "region = \"r\"\n[store]\nkind = \"etcd\"\nmanaged = true\n\
            [[host]]\nname = \"h1\"\naz = \"a\"\naddress = \"10.0.0.1\"\nroles = [\"server\"]\n\
            [[host]]\nname = \"h2\"\naz = \"a\"\naddress = \"10.0.0.2\"\n";
        let plan = FleetPlan::of(&toml::from_str(text).unwrap()).unwrap();
        let of = |host| used(&plan, plan.host(host).unwrap());
        let server = [("servers", (4460, 4460)), ("etcd", (2379, 2379)), ("etcd", (2380, 2380))];
        assert_eq!(of("h1"), server);
        assert_eq!(of("h2"), [("endpoints", (7000, 30_999)), ("engines", (31_000, 32_700))]);
    }
}
