//! The faults that are tried, one after the other.
//!
//! Invariant: a cell breaks one thing, or the same thing again and again; `Site::restore` mends it.
//!
//! Not here: what has to come of it (`tests/`), how it is tried (`super::trial`).

use std::time::{Duration, Instant};

use super::site::Site;

/// Who is who when a fault begins.
#[derive(Debug, Clone, Copy)]
pub struct Cast {
    /// The primary's host.
    pub primary: usize,
    /// A replica's host; of those where nobody leads if there is one.
    pub replica: usize,
    /// The host whose server leads; with Sentinel the replica's.
    pub leader: usize,
    /// The host whose etcd member leads; without etcd the replica's.
    pub etcd: usize,
}

/// Who else has to be on the primary's host when a fault begins: that decides how much has to be
/// elected before a primary can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beside {
    /// Neither the leading server nor etcd's leader.
    Nobody,
    /// The leading server.
    Server,
    /// Etcd's leader.
    Etcd,
}

/// A fault.
#[derive(Debug, Clone, Copy)]
pub struct Cell {
    /// Its name.
    pub name: &'static str,
    /// It in words.
    pub what: &'static str,
    /// How long it lasts.
    pub hold: Duration,
    /// Who else is on the primary's host.
    pub beside: Beside,
    /// Whether the peer can have it, too.
    pub peer: bool,
    /// Hosts that it touches.
    pub touches: fn(&Site, &Cast) -> Vec<usize>,
    /// Makes it happen.
    pub strike: fn(&mut Site, &Cast),
    /// What goes on while it lasts.
    pub during: fn(&mut Site, Duration),
}

/// Nothing goes on.
fn lasts(_: &mut Site, hold: Duration) {
    // waits: the fault's own length.
    std::thread::sleep(hold);
}

/// Bytes a second of a link of 1 Mbit/s.
const SLOW: u32 = 125_000;
/// Between two roles that are killed.
const KILL_EVERY: Duration = Duration::from_secs(5);
/// Hundredths of a processor that a starved host has.
const STARVED: u32 = 5;

/// A fault that touches the primary's host.
const fn at_primary(
    name: &'static str,
    what: &'static str,
    seconds: u64,
    strike: fn(&mut Site, &Cast),
) -> Cell {
    let hold = Duration::from_secs(seconds);
    let touches: fn(&Site, &Cast) -> Vec<usize> = |_, cast| vec![cast.primary];
    Cell { name, what, hold, beside: Beside::Nobody, peer: true, touches, strike, during: lasts }
}

/// A fault that touches no host with a writer.
const fn beside(
    name: &'static str,
    what: &'static str,
    seconds: u64,
    strike: fn(&mut Site, &Cast),
) -> Cell {
    let touches: fn(&Site, &Cast) -> Vec<usize> = |_, cast| vec![cast.replica, cast.leader];
    Cell { touches, ..at_primary(name, what, seconds, strike) }
}

/// Every fault.
pub const CELLS: [Cell; 25] = [
    at_primary("kill", "the primary is killed", 12, |site, _| site.kill_primary()),
    at_primary("freeze", "the primary hangs", 10, |site, _| site.freeze_primary()),
    at_primary("host-kill", "the primary's host loses power", 10, |site, cast| {
        site.kill_host(cast.primary);
    }),
    Cell {
        beside: Beside::Server,
        peer: false,
        ..at_primary(
            "host-kill-leader",
            "its power fails, and the leading server is on it",
            15,
            |s, c| {
                s.kill_host(c.primary);
            },
        )
    },
    Cell {
        beside: Beside::Etcd,
        peer: false,
        ..at_primary("host-kill-etcd", "its power fails, and etcd's leader is on it", 15, |s, c| {
            s.kill_host(c.primary);
        })
    },
    at_primary("host-cut", "the primary's host is cut off", 12, |site, cast| {
        site.cut(cast.primary);
    }),
    Cell {
        beside: Beside::Etcd,
        peer: false,
        ..at_primary("host-cut-etcd", "it is cut off, and etcd's leader is on it", 15, |s, c| {
            s.cut(c.primary);
        })
    },
    beside("replica-cut", "a replica's host is cut off", 12, |site, cast| site.cut(cast.replica)),
    at_primary("control-cut", "the primary's host is cut off from the servers", 12, |s, c| {
        s.cut_from_servers(c.primary);
    }),
    at_primary(
        "replication-cut",
        "the primary's host is cut off from its replicas' hosts",
        12,
        |s, c| {
            for replica in s.replicas() {
                s.cut_between(c.primary, replica);
            }
        },
    ),
    beside("leader-kill", "the leading server's host loses power", 12, |site, cast| {
        site.kill_host(cast.leader);
    }),
    beside("servers-kill", "every server (or Sentinel) is killed", 30, |site, _| {
        site.kill_servers();
    }),
    Cell {
        peer: false,
        ..beside("etcd-kill", "the etcd member on the leader's host is killed", 10, |site, cast| {
            site.kill_program(cast.leader, "etcd");
        })
    },
    Cell {
        peer: false,
        touches: |_, cast| vec![cast.etcd],
        ..beside("etcd-cut", "the host of etcd's leader is cut off", 12, |s, c| s.cut(c.etcd))
    },
    Cell {
        peer: false,
        ..beside("etcd-quorum", "two etcd members are killed", 20, |site, cast| {
            site.kill_program(cast.leader, "etcd");
            let other = site.servers().into_iter().find(|host| *host != cast.leader);
            other.into_iter().for_each(|host| site.kill_program(host, "etcd"));
        })
    },
    at_primary("mute", "the primary's host is not heard any more", 12, |site, cast| {
        site.mute(cast.primary);
    }),
    at_primary("deaf", "the primary's host hears nobody any more", 12, |site, cast| {
        site.deafen(cast.primary);
    }),
    at_primary("loss-5", "5 % of the primary's packets are lost", 15, |site, cast| {
        site.lose(cast.primary, 5);
    }),
    at_primary("loss-30", "30 % of the primary's packets are lost", 15, |site, cast| {
        site.lose(cast.primary, 30);
    }),
    at_primary("slow", "the primary's host has a link of 1 Mbit/s", 15, |site, cast| {
        site.slow(cast.primary, SLOW);
    }),
    at_primary("starve", "the primary's host has 5 % of a processor", 12, |site, cast| {
        site.starve(cast.primary, STARVED);
    }),
    at_primary("starve-10", "the primary's host has 10 % of a processor", 12, |site, cast| {
        site.starve(cast.primary, 10);
    }),
    // Nothing but Tanist's own programs, one of them every few seconds; clients of a killed proxy have
    // to dial again.
    Cell {
        peer: false,
        touches: |_, _| Vec::new(),
        during: |site, hold| {
            let started = Instant::now();
            while started.elapsed() < hold {
                site.kill_some_role();
                // waits: the fault's own rhythm.
                std::thread::sleep(KILL_EVERY.min(hold.saturating_sub(started.elapsed())));
            }
        },
        ..at_primary(
            "roles-kill",
            "an agent, a server or a proxy is killed every 5 s",
            30,
            |_, _| {},
        )
    },
    // The first server leads when nothing was broken yet, and its zone is the one with two hosts.
    Cell {
        beside: Beside::Server,
        touches: |site, cast| site.zone(&site.hosts()[cast.primary].zone),
        ..at_primary(
            "zone",
            "the primary's zone loses power, with the leading server",
            12,
            |site, cast| {
                let zone = site.zone(&site.hosts()[cast.primary].zone);
                site.kill_hosts(&zone);
            },
        )
    },
    Cell {
        touches: |site, _| (0..site.hosts().len()).collect(),
        ..at_primary("site", "every host loses power", 5, |site, _| {
            site.kill_hosts(&(0..site.hosts().len()).collect::<Vec<_>>());
        })
    },
];

/// Those that are tried with every change.
pub const SHORT: [&str; 5] = ["kill", "host-kill", "host-cut", "mute", "control-cut"];

/// The fault of that name.
pub fn cell(name: &str) -> Option<&'static Cell> {
    CELLS.iter().find(|cell| cell.name == name)
}
