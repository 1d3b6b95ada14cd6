//! The fields of primaries, replicas and Sentinels, with Sentinel's names and in Sentinel's order.
//!
//! Fields about Sentinel's own way of looking (pings, links to instances) have the values that they
//! would have if it had looked when the controller last did.
//!
//! Invariant: a field is there whenever redis 7.0 has it, and nowhere else; the repository's tests
//! compare the names with those of a real Sentinel.
//!
//! Not here: what is true (`super::view`).

use std::net::SocketAddr;
use std::time::Duration;

use bytes::BytesMut;
use tanist_resp::Encoder;

use super::settings::Advertise;
use super::view::{Node, Stand, State, Watched};
use super::{Shared, hex_id};

/// After how long Tanist takes a primary that does not answer for hung, in milliseconds.
const DOWN_AFTER: &str = "250";
/// How long endpoints hold requests, in milliseconds.
const FAILOVER_TIMEOUT: &str = "10000";

/// Names and values.
pub(super) type Fields = Vec<(&'static str, String)>;

/// Writes fields as a map.
pub(super) fn write(fields: &Fields, to: Encoder, out: &mut BytesMut) {
    to.map(out, fields.len());
    for (name, value) in fields {
        to.bulk(out, name);
        to.bulk(out, value);
    }
}

/// Whether clients should take the primary for lost. An endpoint that holds requests for the next
/// primary is not: a client that is sent there is served.
pub(super) fn is_down(watched: &Watched, advertise: Advertise) -> bool {
    let primary = || watched.primary.as_ref().is_some_and(|primary| primary.stand.is_down());
    watched.state == State::Down
        || (watched.state == State::Moving && advertise == Advertise::Nodes && primary())
}

/// A run's id: another one for each process.
fn run_id(node: &Node) -> String {
    hex_id(&[&node.id, &node.pid.unwrap_or_default().to_string()])
}

fn ms(time: Duration) -> String {
    time.as_millis().to_string()
}

/// What all kinds of instances begin with.
fn common(
    name: String,
    (ip, port): (String, u16),
    run: String,
    flags: &str,
    age: Duration,
) -> Fields {
    vec![
        ("name", name),
        ("ip", ip),
        ("port", port.to_string()),
        ("runid", run),
        ("flags", flags.to_owned()),
        ("link-pending-commands", "0".to_owned()),
        ("link-refcount", "1".to_owned()),
        ("last-ping-sent", "0".to_owned()),
        ("last-ok-ping-reply", ms(age)),
        ("last-ping-reply", ms(age)),
    ]
}

/// SENTINEL MASTER.
pub(super) fn primary(watched: &Watched, shared: &Shared, age: Duration) -> Fields {
    let down = is_down(watched, shared.settings.advertise);
    let mut flags = if down { "s_down,o_down,master" } else { "master" }.to_owned();
    if watched.state == State::Moving {
        flags.push_str(",failover_in_progress");
    }
    let place = (watched.address.ip().to_string(), watched.address.port());
    let run = watched.primary.as_ref().map(run_id).unwrap_or_default();
    let mut fields = common(watched.name.clone(), place, run, &flags, age);
    let since = watched.primary.as_ref().map(|primary| primary.since.elapsed()).unwrap_or_default();
    if watched.state == State::Moving {
        fields.insert(7, ("failover-state", "select_slave".to_owned()));
    }
    if down {
        fields.push(("s-down-time", ms(since)));
        fields.push(("o-down-time", ms(since)));
    }
    fields.extend([
        ("down-after-milliseconds", DOWN_AFTER.to_owned()),
        ("info-refresh", ms(age)),
        ("role-reported", "master".to_owned()),
        ("role-reported-time", ms(since)),
        ("config-epoch", watched.epoch.to_string()),
        ("num-slaves", watched.replicas.len().to_string()),
        ("num-other-sentinels", shared.others.len().to_string()),
        ("quorum", "1".to_owned()),
        ("failover-timeout", FAILOVER_TIMEOUT.to_owned()),
        // All replicas are told at once.
        ("parallel-syncs", watched.replicas.len().max(1).to_string()),
    ]);
    fields
}

/// An entry of SENTINEL REPLICAS.
pub(super) fn replica(node: &Node, watched: &Watched, age: Duration) -> Fields {
    let down = node.stand.is_down();
    let follows = node.stand == Stand::Well;
    let flags = if down { "s_down,slave,disconnected" } else { "slave" };
    let place = (node.address.ip().to_string(), node.address.port());
    let mut fields = common(node.address.to_string(), place, run_id(node), flags, age);
    let since = node.since.elapsed();
    if down {
        fields.push(("s-down-time", ms(since)));
    }
    fields.extend([
        ("down-after-milliseconds", DOWN_AFTER.to_owned()),
        ("info-refresh", ms(age)),
        ("role-reported", "slave".to_owned()),
        ("role-reported-time", ms(since)),
        ("master-link-down-time", if follows { "0".to_owned() } else { ms(since) }),
        ("master-link-status", if follows { "ok" } else { "err" }.to_owned()),
        ("master-host", watched.address.ip().to_string()),
        ("master-port", watched.address.port().to_string()),
        ("slave-priority", "100".to_owned()),
        ("slave-repl-offset", node.offset.to_string()),
        ("replica-announced", "1".to_owned()),
    ]);
    fields
}

/// An entry of SENTINEL SENTINELS.
pub(super) fn sentinel(id: &str, address: SocketAddr, age: Duration) -> Fields {
    let place = (address.ip().to_string(), address.port());
    let mut fields = common(id.to_owned(), place, id.to_owned(), "sentinel", age);
    fields.extend([
        ("down-after-milliseconds", DOWN_AFTER.to_owned()),
        ("last-hello-message", ms(age)),
        ("voted-leader", "?".to_owned()),
        ("voted-leader-epoch", "0".to_owned()),
    ]);
    fields
}
