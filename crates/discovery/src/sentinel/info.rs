//! INFO: what exporters and people read.
//!
//! Invariant: the section `Sentinel` is Redis' own, line for line; the others have those of its lines
//! that mean something here.
//!
//! Not here: the fields of SENTINEL MASTERS (`super::fields`).

use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;

use super::view::{Node, Stand, Watched};
use super::{Seen, Shared, fields, texts};

const SECTIONS: [&str; 4] = ["server", "clients", "stats", "sentinel"];

/// The sections that were asked for, all of them for none; nothing for those that there are not.
pub(super) fn text(
    shared: &Shared,
    seen: &Seen,
    dialled: Option<SocketAddr>,
    asked: &[&[u8]],
) -> String {
    let all = [b"all".as_slice(), b"default", b"everything"];
    let is = |names: &[&[u8]]| {
        asked.iter().any(|asked| names.iter().any(|name| asked.eq_ignore_ascii_case(name)))
    };
    let mut text = String::new();
    for section in SECTIONS {
        if asked.is_empty() || is(&all) || is(&[section.as_bytes()]) {
            if !text.is_empty() {
                text.push_str("\r\n");
            }
            text.push_str(&match section {
                "server" => server(shared, dialled),
                "clients" => clients(shared),
                "stats" => stats(shared),
                _ => sentinel(shared, seen),
            });
        }
    }
    text
}

fn server(shared: &Shared, dialled: Option<SocketAddr>) -> String {
    let up = shared.started.elapsed().as_secs();
    let port = dialled.map_or(0, |address| address.port());
    format!(
        "# Server\r\nredis_version:{}\r\nredis_mode:sentinel\r\ntanist_version:{}\r\n\
         process_id:{}\r\nrun_id:{}\r\ntcp_port:{port}\r\nuptime_in_seconds:{up}\r\n\
         uptime_in_days:{}\r\n",
        texts::VERSION,
        env!("CARGO_PKG_VERSION"),
        std::process::id(),
        shared.id,
        up / 86_400,
    )
}

fn clients(shared: &Shared) -> String {
    let most = shared.limits.connections;
    let connected = most.saturating_sub(shared.room.available_permits());
    format!("# Clients\r\nconnected_clients:{connected}\r\nmaxclients:{most}\r\n")
}

fn stats(shared: &Shared) -> String {
    let received = shared.connected.load(Ordering::Relaxed);
    format!("# Stats\r\ntotal_connections_received:{received}\r\n")
}

fn sentinel(shared: &Shared, seen: &Seen) -> String {
    let watched = &seen.view.watched;
    let mut text = format!(
        "# Sentinel\r\nsentinel_masters:{}\r\nsentinel_tilt:0\r\nsentinel_tilt_since_seconds:-1\r\n\
         sentinel_running_scripts:0\r\nsentinel_scripts_queue_length:0\r\n\
         sentinel_simulate_failure_flags:0\r\n",
        watched.len()
    );
    for (number, watched) in watched.iter().enumerate() {
        let down = fields::is_down(watched, shared.settings.advertise);
        // Writing to a String cannot fail.
        let _always_ok = write!(
            text,
            "master{number}:name={},status={},address={},slaves={},sentinels={}\r\n",
            watched.name,
            if down { "odown" } else { "ok" },
            watched.address,
            watched.replicas.len(),
            shared.others.len() + 1,
        );
    }
    text
}

/// What Sentinel would have kept of a node's own INFO, as far as it is known.
pub(super) fn of_node(node: &Node, watched: &Watched) -> String {
    let is_primary = watched.primary.as_ref().is_some_and(|primary| primary.id == node.id);
    let mut text = format!(
        "# Server\r\nredis_mode:standalone\r\nprocess_id:{}\r\ntcp_port:{}\r\n\r\n# Replication\r\n",
        node.pid.unwrap_or_default(),
        node.address.port(),
    );
    let _always_ok = if is_primary {
        let follow = watched.replicas.iter().filter(|node| node.stand == Stand::Well).count();
        write!(
            text,
            "role:master\r\nconnected_slaves:{follow}\r\nmaster_repl_offset:{}\r\n",
            node.offset
        )
    } else {
        let (ip, port) = (watched.address.ip(), watched.address.port());
        let link = if node.stand == Stand::Well { "up" } else { "down" };
        write!(
            text,
            "role:slave\r\nmaster_host:{ip}\r\nmaster_port:{port}\r\nmaster_link_status:{link}\r\n\
             slave_repl_offset:{0}\r\nslave_priority:100\r\nreplica_announced:1\r\n\
             connected_slaves:0\r\nmaster_repl_offset:{0}\r\n",
            node.offset
        )
    };
    text
}
