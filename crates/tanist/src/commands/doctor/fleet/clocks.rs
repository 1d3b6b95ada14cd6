//! The hosts' wall clocks, compared with that of the server that leads.
//!
//! Invariant: a clock that nobody has told is unknown.
//!
//! Not here: comparing them (`tanist-controller`).

use std::collections::BTreeMap;

use tanist_core::model::HostId;
use tanist_link::api::Status;

use super::Check;

/// A difference from which on it is worth a word, in milliseconds.
const APART: u64 = 500;

/// Every host's and every server's clock; those that are silent are told of elsewhere.
pub(super) fn judge(status: &Status) -> Check {
    let hosts = status.hosts.iter().filter(|host| host.up);
    let servers = status.servers.iter().filter(|server| server.up);
    let said = { hosts.map(|host| (&host.host, host.clock_ms)) }
        .chain(servers.map(|server| (&server.host, server.clock_ms)));
    let mut clocks: BTreeMap<&HostId, Option<i64>> = BTreeMap::new();
    for (host, ahead) in said {
        let known = clocks.entry(host).or_default();
        // One machine has one clock: whichever was told is as good as the other.
        *known = known.or(ahead);
    }
    judge_all(&clocks)
}

fn judge_all(clocks: &BTreeMap<&HostId, Option<i64>>) -> Check {
    let apart: Vec<String> = { clocks.iter() }
        .filter_map(|(host, ahead)| Some((host, (*ahead)?)))
        .filter(|(_, ahead)| ahead.unsigned_abs() >= APART)
        .map(|(host, ahead)| shown(host, ahead))
        .collect();
    let unknown: Vec<&str> = { clocks.iter() }
        .filter(|(_, ahead)| ahead.is_none())
        .map(|(host, _)| host.as_str())
        .collect();
    let unknown = match unknown.is_empty() {
        true => String::new(),
        false => format!("clocks: unknown of {}", unknown.join(", ")),
    };
    if !apart.is_empty() {
        let unknown = if unknown.is_empty() { unknown } else { format!("; {unknown}") };
        return Check::warning(
            format!("clocks: {}, compared with the server that leads{unknown}", apart.join(", ")),
            "let chrony or systemd-timesyncd set them: certificates, times of events and logs \
             disagree until then. Leases do not depend on it",
        );
    }
    if !unknown.is_empty() {
        return Check::warning(
            unknown,
            "ask again in a moment; an earlier release does not tell its clock: upgrade it",
        );
    }
    let most = clocks.values().flatten().map(|ahead| ahead.unsigned_abs()).max().unwrap_or(0);
    Check::good(format!("clocks: at most {most} ms from that of the server that leads"))
}

fn shown(host: &HostId, ahead: i64) -> String {
    let by = ahead.unsigned_abs();
    let by = if by < 10_000 { format!("{by} ms") } else { format!("{} s", by / 1000) };
    let word = if ahead < 0 { "behind" } else { "ahead" };
    format!("{host} is {by} {word}")
}

#[cfg(test)]
mod tests {
    use super::super::super::Mark;
    use super::*;

    fn of(clocks: &[(&str, Option<i64>)]) -> Check {
        let hosts: Vec<HostId> = clocks.iter().map(|(host, _)| HostId::new(*host)).collect();
        let ahead = clocks.iter().map(|(_, ahead)| *ahead);
        judge_all(&hosts.iter().zip(ahead).collect())
    }

    #[test]
    fn clocks_that_are_apart_are_named_and_those_unknown_too() {
        let check = of(&[("h1", Some(0)), ("h2", Some(-499)), ("h3", Some(499))]);
        assert_eq!((check.mark, check.remedy.as_str()), (Mark::Good, ""));
        assert!(check.what.contains("at most 499 ms"), "{check:?}");
        let check = of(&[("h1", Some(0)), ("h2", Some(-500)), ("h3", Some(61_200)), ("h4", None)]);
        assert_eq!(check.mark, Mark::Warning);
        assert!(check.what.contains("h2 is 500 ms behind, h3 is 61 s ahead,"), "{check:?}");
        assert!(check.what.ends_with("; clocks: unknown of h4"), "{check:?}");
        let check = of(&[("h1", Some(0)), ("h2", None)]);
        assert_eq!(check.mark, Mark::Warning);
        assert_eq!(check.what, "clocks: unknown of h2");
    }

    #[test]
    fn a_host_with_a_server_has_one_clock_and_a_silent_one_is_not_asked() {
        let status = |agent: Option<i64>, server: Option<i64>, up: bool| -> Status {
            serde_json::from_value(serde_json::json!({
                "version": "1", "region": "r", "groups": [], "proxies": [], "notes": [],
                "hosts": [{"host": "h1", "zone": "a", "address": "10.0.0.1", "up": up,
                           "clock_ms": agent}],
                "servers": [{"host": "h1", "address": "10.0.0.1:4460", "leads": true, "up": up,
                             "clock_ms": server}],
            }))
            .unwrap()
        };
        assert_eq!(judge(&status(None, Some(3), true)).mark, Mark::Good);
        assert_eq!(judge(&status(Some(700), None, true)).mark, Mark::Warning);
        assert!(judge(&status(None, None, true)).what.contains("unknown of h1"));
        assert_eq!(judge(&status(None, None, false)).mark, Mark::Good);
    }
}
