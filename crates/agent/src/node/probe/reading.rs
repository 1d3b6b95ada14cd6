//! What a probe's answers say about the engine.
//!
//! Invariant: an answer that lacks something gives no reading rather than a guess.
//!
//! Not here: asking (`super`).

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use tanist_core::model::{EngineSeen, Health, Offset, ReplId, ReplicaSeen, RoleSeen, RunId};
use tanist_resp::{Info, Value};
use tokio::time::Instant;

use super::streams::Streams;
use crate::node::admin::{Failure, info};
use crate::node::promote::role_word;

/// One probe's answers.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Reading {
    health: Health,
    role: Role,
    pub(super) replid: ReplId,
    pub(super) offset: Offset,
    /// Memory that the data uses, if it was asked for.
    pub(super) memory_bytes: Option<u64>,
    /// Its limit on that, if it was asked for.
    pub(super) memory_limit: Option<u64>,
    /// Writes refused for lack of memory, if it was asked for.
    pub(super) refused: Option<u64>,
    /// Forks that succeeded, if it was asked for.
    pub(super) forks: Option<u64>,
}

#[derive(Debug, PartialEq, Eq)]
enum Role {
    /// With the acknowledged offset of every attachment whose link is up.
    Primary(BTreeMap<String, Offset>),
    Replica {
        link_up: bool,
        syncing: bool,
        of: Option<SocketAddr>,
    },
}

/// The memory that an engine compares with its limit: all but the buffers of its replicas and of its
/// append-only file.
fn limited_memory(memory: &Info) -> Option<u64> {
    let free = memory.get_u64("mem_not_counted_for_evict").unwrap_or(0);
    Some(memory.get_u64("used_memory")?.saturating_sub(free))
}

/// What is known besides the answers.
pub(super) struct Measured<'a> {
    pub(super) run: RunId,
    /// Attachments that are let in, and since when.
    pub(super) admitted: &'a BTreeMap<String, Instant>,
    pub(super) now: Instant,
    /// Which attachments the engine feeds.
    pub(super) streams: &'a Streams,
    /// How long the engine has been ahead of a position.
    pub(super) behind: &'a dyn Fn(Offset) -> Duration,
    pub(super) memory_bytes: u64,
    pub(super) memory_limit: Option<u64>,
    pub(super) out_of_memory: bool,
    pub(super) fork_error: Option<String>,
}

/// Reads the answers to PING, DEL, ROLE, INFO replication and perhaps INFO memory, errorstats and
/// stats.
pub(super) fn read(answers: &[Value], fence: Option<SocketAddr>) -> Result<Reading, Failure> {
    let [ping, write, role, replication, more @ ..] = answers else { return Err(Failure::Gone) };
    let health = health(ping, write);
    let replication = info(replication)?;
    let unreadable = || Failure::Refused("an INFO or ROLE that is not understood".to_owned());
    let number = |name| replication.get_u64(name).map(Offset);
    let (role, offset) = match role_word(role) {
        Some("master") => (Role::Primary(attachments(role)), number("master_repl_offset")),
        Some("slave") => {
            let role = replica(&replication, fence);
            (role, number("master_repl_offset"))
        }
        Some(_) | None => return Err(unreadable()),
    };
    let (memory, errors, stats) = match more {
        [memory, errors, stats, ..] => {
            (Some(info(memory)?), Some(info(errors)?), Some(info(stats)?))
        }
        _ => (None, None, None),
    };
    let refused = |errors: Info| {
        let count = errors.parts("errorstat_OOM").find(|(name, _)| *name == "count");
        count.and_then(|(_, count)| count.parse().ok()).unwrap_or(0)
    };
    Ok(Reading {
        health,
        role,
        replid: replication.get("master_replid").map(ReplId::new).ok_or_else(unreadable)?,
        offset: offset.ok_or_else(unreadable)?,
        memory_bytes: memory.as_ref().and_then(limited_memory),
        memory_limit: memory.as_ref().and_then(|memory| memory.get_u64("maxmemory")),
        refused: errors.map(refused),
        forks: stats.and_then(|stats| stats.get_u64("total_forks")),
    })
}

/// What the answers to PING and to the probe's write mean.
fn health(ping: &Value, write: &Value) -> Health {
    // A replica that loads refuses writes as a replica; only PING tells that it loads.
    match ping.error_code().or(write.error_code()) {
        None => Health::Writable,
        Some("READONLY" | "MASTERDOWN") => Health::ReadOnly,
        Some("LOADING") => Health::Loading,
        Some("MISCONF") => Health::Misconf,
        Some("NOREPLICAS") => Health::NoReplicas,
        Some("OOM") => Health::OutOfMemory,
        Some("BUSY") => Health::BusyScript,
        Some(_) => Health::Odd,
    }
}

fn attachments(role: &Value) -> BTreeMap<String, Offset> {
    let listed = role.as_array().and_then(|role| role.get(2)?.as_array()).unwrap_or_default();
    let mut acked = BTreeMap::new();
    for replica in listed {
        let Some([name, _, offset, ..]) = replica.as_array() else { continue };
        let (Some(name), Some(offset)) = (name.as_str(), offset.as_int()) else { continue };
        // Twice while an old link of the same run is not yet known to be dead; what the run
        // acknowledged by either it has.
        let offset = Offset(u64::try_from(offset).unwrap_or(0));
        let known = acked.entry(name.to_owned()).or_insert(offset);
        *known = offset.max(*known);
    }
    acked
}

fn replica(replication: &Info, fence: Option<SocketAddr>) -> Role {
    let host = replication.get("master_host").and_then(|host| host.parse().ok());
    let port = replication.get("master_port").and_then(|port| port.parse().ok());
    let of = host.zip(port).map(|(host, port)| SocketAddr::new(host, port));
    Role::Replica {
        link_up: replication.get("master_link_status") == Some("up"),
        syncing: replication.get("master_sync_in_progress") == Some("1"),
        of: of.filter(|of| Some(*of) != fence),
    }
}

impl Reading {
    pub(super) fn is_primary(&self) -> bool {
        matches!(self.role, Role::Primary(_))
    }

    /// The attachments that a primary lists.
    pub(super) fn listed(&self) -> Option<&BTreeMap<String, Offset>> {
        match &self.role {
            Role::Primary(listed) => Some(listed),
            Role::Replica { .. } => None,
        }
    }

    /// The engine as it is reported.
    pub(super) fn engine(self, measured: Measured<'_>) -> EngineSeen {
        let role = match self.role {
            Role::Replica { link_up, syncing, of } => RoleSeen::Replica { link_up, syncing, of },
            Role::Primary(listed) => RoleSeen::Primary {
                replicas: measured
                    .admitted
                    .iter()
                    .map(|(tag, since)| {
                        let acked = listed.get(tag).copied();
                        let age = measured.now.saturating_duration_since(*since);
                        let behind = (measured.behind)(acked.unwrap_or_default()).min(age);
                        ReplicaSeen {
                            tag: tag.clone(),
                            online: measured.streams.feeds(tag),
                            acked: acked.unwrap_or_default(),
                            behind,
                        }
                    })
                    .collect(),
            },
        };
        let full = measured.out_of_memory && self.health == Health::Writable;
        EngineSeen {
            run: measured.run,
            role,
            replid: self.replid,
            offset: self.offset,
            health: if full { Health::OutOfMemory } else { self.health },
            memory_bytes: measured.memory_bytes,
            memory_limit: measured.memory_limit,
            fork_error: measured.fork_error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tanist_resp::Value::{Array, Bulk, Error, Integer, Simple};

    fn text(text: &str) -> Value {
        Bulk(text.to_owned().into())
    }

    fn primary() -> Vec<Value> {
        let replica =
            |name: &str, offset: &str| Array(vec![text(name), text("6379"), text(offset)]);
        let listed = Array(vec![replica("web-002.a.1", "70"), replica("web-002.a.1", "90")]);
        vec![
            Simple("PONG".into()),
            Integer(0),
            Array(vec![text("master"), Integer(100), listed]),
            text("role:master\r\nmaster_replid:aa\r\nmaster_repl_offset:100\r\n"),
        ]
    }

    fn measured<'a>(
        admitted: &'a BTreeMap<String, Instant>,
        streams: &'a Streams,
        behind: &'a dyn Fn(Offset) -> Duration,
    ) -> Measured<'a> {
        let run = RunId::new("r");
        let now = Instant::now();
        Measured {
            run,
            admitted,
            now,
            streams,
            behind,
            memory_bytes: 7,
            memory_limit: None,
            out_of_memory: false,
            fork_error: None,
        }
    }

    #[test]
    fn a_primary_shows_every_admitted_attachment_and_no_other() {
        let now = Instant::now();
        let long_ago = now.checked_sub(Duration::from_secs(60)).unwrap_or(now);
        let admitted =
            BTreeMap::from([("web-002.a.1".to_owned(), long_ago), ("web-003.b.2".to_owned(), now)]);
        let behind = |acked: Offset| Duration::from_millis(100 - acked.0);
        let reading = read(&primary(), None).unwrap();
        let mut streams = Streams::default();
        streams.note(&BTreeMap::from([("web-002.a.1".to_owned(), Offset(80))]));
        streams.note(reading.listed().unwrap());
        let engine = reading.engine(measured(&admitted, &streams, &behind));
        let RoleSeen::Primary { replicas } = engine.role else { panic!("not a primary") };
        let [first, second] = replicas.as_slice() else { panic!("{replicas:?}") };
        assert_eq!((first.online, first.acked), (true, Offset(90)));
        assert_eq!((second.online, second.acked), (false, Offset(0)));
        assert!(second.behind < Duration::from_millis(100), "as old as its admission at most");
        assert_eq!((engine.health, engine.memory_bytes), (Health::Writable, 7));
    }

    #[test]
    fn a_replica_of_the_fence_follows_nobody() {
        let mut answers = primary();
        answers[1] = Error("READONLY You can't write against a read only replica.".into());
        answers[2] = Array(vec![text("slave"), text("127.0.0.9"), Integer(4000)]);
        answers[3] = text(
            "master_host:127.0.0.9\r\nmaster_port:4000\r\nmaster_link_status:down\r\n\
             master_sync_in_progress:0\r\nmaster_replid:aa\r\nmaster_repl_offset:5\r\n",
        );
        let of = |fence: &str| match read(&answers, Some(fence.parse().unwrap())).unwrap().role {
            Role::Replica { of, .. } => of,
            Role::Primary(_) => panic!("a primary"),
        };
        assert_eq!(of("127.0.0.9:4000"), None);
        assert_eq!(of("127.0.0.9:4001"), Some("127.0.0.9:4000".parse().unwrap()));
    }

    #[test]
    fn refused_writes_are_named() {
        for (error, expected) in [
            ("LOADING x", Health::Loading),
            ("MISCONF x", Health::Misconf),
            ("NOREPLICAS x", Health::NoReplicas),
            ("OOM x", Health::OutOfMemory),
            ("BUSY x", Health::BusyScript),
            ("WHATEVER x", Health::Odd),
        ] {
            let pong = Simple("PONG".into());
            assert_eq!(health(&pong, &Error(error.into())), expected, "{error}");
        }
        let refused = Error("READONLY x".into());
        assert_eq!(health(&Error("LOADING x".into()), &refused), Health::Loading);
    }

    #[test]
    fn answers_that_are_not_understood_give_no_reading() {
        let mut answers = primary();
        answers[3] = text("role:master\r\n");
        assert!(read(&answers, None).is_err());
        assert!(read(&answers[..3], None).is_err());
    }
}
