//! Hosts: what there is on them, and letting their nodes go elsewhere.
//!
//! Draining is asked for once and holds until it is taken back, over restarts too. What follows from
//! it is decided shard by shard (`tanist_core::decide`); only the move of a primary is asked for here,
//! as a person would.
//!
//! Invariant: a host that is said to be empty has no engine and no data of any group.
//!
//! Not here: which hosts there are (`crate::ControllerConfig`, `crate::agents`).

use tanist_core::decide::{off_host, placed_because};
use tanist_core::model::{
    HostId, HostSeen, HostSpec, Instant, NodeId, PasswordHash, Severity, ShardKey, ShardTopology,
};
use tanist_link::api::{ApiError, DrainHost, HostStatus, JoinFleet, LabelHost, ServerHere};

use crate::archive::Held;
use crate::calls::internal_ref;
use crate::clock::boot_time;
use crate::error::ControllerError;
use crate::inputs::Reply;
use crate::observe::Touched;
use crate::reconciler::Controller;

/// A request about hosts, with where its answer goes.
#[derive(Debug)]
pub(crate) enum HostsCall {
    List(Reply<Vec<HostStatus>>),
    Drain {
        host: HostId,
        asked: DrainHost,
        reply: Reply<HostStatus>,
    },
    Label {
        host: HostId,
        asked: LabelHost,
        reply: Reply<HostStatus>,
    },
    /// The secret is known to whoever asks; only what tells it from others is kept.
    Invite {
        host: HostId,
        hash: PasswordHash,
        until_ms: u64,
        reply: Reply<()>,
    },
    Redeem {
        asked: JoinFleet,
        reply: Reply<()>,
    },
    Remove {
        host: HostId,
        dead: bool,
        reply: Reply<()>,
    },
    /// A server is there.
    Here {
        here: ServerHere,
        reply: Reply<()>,
    },
    /// Whether it was not removed.
    Known {
        host: HostId,
        reply: Reply<()>,
    },
}

impl Controller {
    pub(crate) async fn answer_about_hosts(
        &mut self,
        call: HostsCall,
        touched: &mut Touched,
    ) -> Result<(), ControllerError> {
        // A caller that has gone away needs no answer.
        match call {
            HostsCall::List(reply) => {
                let _ = reply.send(Ok(self.host_status(self.heard_until)));
            }
            HostsCall::Drain { host, asked, reply } => {
                let answer = self.drain(&host, asked.draining, touched).await?;
                let _ = reply.send(answer);
            }
            HostsCall::Label { host, asked, reply } => {
                let _ = reply.send(self.label(&host, &asked).await?);
            }
            HostsCall::Invite { host, hash, until_ms, reply } => {
                let _ = reply.send(self.invite(host, hash, until_ms).await?);
            }
            HostsCall::Redeem { asked, reply } => {
                let _ = reply.send(self.redeem(asked.host, &asked.secret).await?);
            }
            HostsCall::Here { here, reply } => {
                if let Some(wall_ms) = here.wall_ms {
                    self.clocks.note(here.host.clone(), wall_ms);
                }
                self.servers.note(here, boot_time());
                let _ = reply.send(Ok(()));
            }
            HostsCall::Known { host, reply } => {
                let gone = || {
                    let message = format!("{host} was removed from the fleet");
                    let remedy = format!("on a server: tanist host invite {host}");
                    ApiError::new("T481", message, remedy)
                };
                let _ = reply.send(if self.is_removed(&host) { Err(gone()) } else { Ok(()) });
            }
            HostsCall::Remove { host, dead, reply } => {
                let _ = reply.send(self.remove_host(host, dead).await?);
            }
        }
        Ok(())
    }

    /// Every host, and what is placed there.
    pub(crate) fn host_status(&self, now: Instant) -> Vec<HostStatus> {
        let hosts = self.observer.seen.hosts.iter();
        hosts.map(|(host, seen)| self.one_host(host, seen, now)).collect()
    }

    pub(crate) fn one_host(&self, id: &HostId, seen: &HostSeen, now: Instant) -> HostStatus {
        let shards = || self.archive.topologies.values().map(|held| &*held.body);
        let promised = self.observer.seen.promised_bytes.get(id).copied();
        HostStatus {
            host: id.clone(),
            zone: seen.zone.clone(),
            address: seen.address,
            // One that is only being given time to speak is not up yet.
            up: seen.at <= boot_time() && now.since(seen.at) <= self.config.limits.host,
            draining: seen.draining,
            memory_bytes: seen.memory_bytes,
            promised_bytes: promised.unwrap_or(0),
            nodes: shards().flat_map(|shard| placed_on(shard, id)).cloned().collect(),
            labels: self
                .archive
                .hosts
                .get(id)
                .map(|held| held.body.labels.clone())
                .unwrap_or_default(),
            placed: shards().flat_map(|shard| reasons(shard, id)).collect(),
            clock_ms: self.clocks.ahead(id, now),
        }
    }

    async fn drain(
        &mut self,
        host: &HostId,
        draining: bool,
        touched: &mut Touched,
    ) -> Result<Result<HostStatus, ApiError>, ControllerError> {
        let unknown = || {
            let message = format!("there is no host {host}");
            ApiError::new("T470", message, "tanist host list shows them")
        };
        if !self.observer.seen.hosts.contains_key(host) {
            return Ok(Err(unknown()));
        }
        let before = self.archive.hosts.get(host).is_some_and(|held| held.body.draining);
        if before != draining {
            let held = self.archive.hosts.get(host).map(|held| (*held.body).clone());
            let known = held.unwrap_or_else(|| HostSpec::new(host.clone()));
            let spec = HostSpec { draining, ..known };
            let (name, text) = if draining {
                ("HostDraining", format!("{host} is drained: its nodes move to other hosts"))
            } else {
                ("HostUsedAgain", format!("{host} is not drained any more"))
            };
            let record = self.archive.note(None, None, name, Severity::Info, text);
            if let Err(err) = self.archive.write_host(spec, std::slice::from_ref(&record)).await {
                let refusal = internal_ref(&err);
                self.survive(err)?;
                return Ok(Err(refusal));
            }
            self.publish(record);
            self.apply_host_specs();
            touched.shards.extend(self.archive.topologies.keys().cloned());
        }
        let seen = self.observer.seen.hosts.get(host);
        Ok(seen.map(|seen| self.one_host(host, seen, self.heard_until)).ok_or_else(unknown))
    }

    /// What was asked about hosts becomes part of what is known of them.
    pub(crate) fn apply_host_specs(&mut self) {
        for held in self.archive.hosts.values() {
            if let Some(seen) = self.observer.seen.hosts.get_mut(&held.body.host) {
                seen.draining = held.body.draining;
            }
        }
    }

    /// Asks, as a person would, for the moves of primaries that are to leave their hosts.
    pub(crate) async fn leave_hosts(
        &mut self,
        touched: &mut Touched,
    ) -> Result<(), ControllerError> {
        let relocated = |held: &Held<ShardTopology>| held.body.relocation.is_some();
        if !self.archive.hosts.values().any(|held| held.body.draining)
            && !self.archive.topologies.values().any(relocated)
        {
            return Ok(());
        }
        let now = self.heard_until;
        let keys: Vec<ShardKey> = self.archive.topologies.keys().cloned().collect();
        for key in keys {
            let Some((spec, shard)) = self.shard(&key) else { continue };
            let (seen, limits) = (&self.observer.seen, &self.config.limits);
            let heir = off_host(&spec, &shard, seen, limits, now);
            if self.departures.due(&key, heir.as_ref(), limits, now)
                && let Some(heir) = heir
            {
                let why = match &shard.relocation {
                    Some(relocation) => {
                        format!("{} takes the primary's place", relocation.newcomer)
                    }
                    None => "the primary's host is drained".to_owned(),
                };
                let text = format!("{why}; it moves to {heir}");
                self.move_unasked(key, heir, ("MovingOffHost", Severity::Info, text), touched)
                    .await?;
            }
        }
        Ok(())
    }
}

/// Why each node of a shard that is on the host is there.
fn reasons<'a>(
    shard: &'a ShardTopology,
    host: &'a HostId,
) -> impl Iterator<Item = (NodeId, String)> + 'a {
    placed_on(shard, host).map(|node| (node.clone(), placed_because(shard, node)))
}

pub(crate) fn placed_on<'a>(
    shard: &'a ShardTopology,
    host: &'a HostId,
) -> impl Iterator<Item = &'a NodeId> {
    let placed = shard.members.iter().filter(move |(_, member)| member.host == *host);
    placed.map(|(node, _)| node)
}
