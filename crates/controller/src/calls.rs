//! Answers to the API's requests, given by the loop that owns the state.
//!
//! Invariant: a request changes specs and nothing else; what follows is decided like everything.
//!
//! Not here: reading requests off the wire (`super::api`).

use std::collections::BTreeSet;

use tanist_core::decide::{heir_missing, promised_beyond};
use tanist_core::model::{
    Cause, GroupName, GroupSpec, HostId, Instant, MoveKind, NodeId, Process, ProxyId, Severity,
    ShardKey, ShardTopology,
};
use tanist_link::api::{
    ApiError, CreateGroup, EndpointName, EndpointsStatus, Fault, GroupStatus, ModifyGroup,
    MoveAccepted, MovePrimary,
};
use tanist_link::wire::{ToAgent, ToProxy};

use crate::clock::boot_time;
use crate::confirm::Ready;
use crate::error::ControllerError;
use crate::inputs::{Call, Reply};
use crate::observe::Touched;
use crate::reconciler::Controller;
use crate::stopping::Stopping;
use crate::{create, modify, requests};

impl Controller {
    pub(crate) async fn answer(
        &mut self,
        call: Call,
        touched: &mut Touched,
    ) -> Result<(), ControllerError> {
        // A caller that has gone away needs no answer.
        match call {
            Call::Status(reply) => self.surveys.ask(reply),
            Call::Names(reply) => {
                let _ = reply.send(Ok(self.names()));
            }
            Call::Group { name, reply } => {
                let _ = reply.send(self.group(&name));
            }
            Call::Create { asked, reply } => {
                let answer = self.create(&asked, touched).await?;
                let _ = reply.send(answer);
            }
            Call::Modify { name, asked, reply } => {
                // Whoever asks relies on it from the answer on.
                let logs_in = asked.token.is_some() || asked.user_groups.is_some();
                let encrypts = asked.transit_mode.is_some() || asked.client_certificates.is_some();
                let protects =
                    asked.access.is_some() || asked.reads.is_some() || logs_in || encrypts;
                let awaited = match asked.endpoint_hosts {
                    _ if protects => Some(self.proxies_of(&name)),
                    // One that cannot be reached leads nobody astray: its address is not shown.
                    Some(_) => Some(self.proxies_up()),
                    None => None,
                };
                match (self.modify(&name, &asked, touched).await?, awaited) {
                    (Ok(status), Some(proxies)) => {
                        self.confirmations.keep(proxies, Ready::Group(Box::new(status), reply));
                    }
                    (answer, _) => drop(reply.send(answer)),
                }
            }
            Call::Delete { name, reply } => {
                let answer = self.delete(&name, touched).await?;
                let _ = reply.send(answer);
            }
            Call::Move { name, kind, asked, reply } => {
                let answer = self.move_primary(&name, kind, &asked, touched).await?;
                let _ = reply.send(answer);
            }
            Call::Endpoints { name, reply } => self.measure(&name, reply),
            Call::Renew { asked, reply } => self.renew(&asked, reply),
            Call::History { name, reply } => {
                let answer = self.history(&name).await;
                let _ = reply.send(answer);
            }
            Call::Fault { name, node, fault, reply } => {
                let _ = reply.send(self.fault(&name, &node, fault));
            }
            Call::Events { after, reply } => {
                let _ = reply.send(self.archive.events(after).await.map_err(internal));
            }
            Call::Users(call) => self.answer_about_users(call, touched).await?,
            Call::Hosts(call) => self.answer_about_hosts(call, touched).await?,
            Call::Rebuild(call) => self.ask_to_rebuild(call),
            Call::Store(reply) => {
                let region = self.config.region.to_string();
                drop(reply.send(Ok((self.archive.store(), region))));
            }
            Call::Down(reply) => self.stop_all(reply),
        }
        Ok(())
    }

    /// Asks the proxies to confirm what was just published, if somebody waits for that, and gives
    /// the answers that are due.
    pub(crate) fn confirm(&mut self, now: Instant) {
        if let Some(number) = self.confirmations.publish(now) {
            for session in self.proxies.values_mut().filter(|session| session.up) {
                session.tell(&ToProxy::Echo(number));
            }
        }
        self.confirmations.settle(now);
        self.measurements.settle(now);
        self.renewals.settle(now);
    }

    /// Asks the proxies that are connected what they have measured.
    fn measure(&mut self, name: &GroupName, reply: Reply<EndpointsStatus>) {
        if let Err(error) = self.group(name) {
            return drop(reply.send(Err(error)));
        }
        let shards: Vec<ShardKey> = self.archive.shards_of(name).map(ShardTopology::key).collect();
        let asked = self.proxies_up();
        let number = self.measurements.ask(asked, reply, boot_time());
        for session in self.proxies.values_mut().filter(|session| session.up) {
            session.tell(&ToProxy::Measure { number, shards: shards.clone() });
        }
    }

    fn proxies_up(&self) -> BTreeSet<ProxyId> {
        let up = self.proxies.iter().filter(|(_, session)| session.up);
        up.map(|(proxy, _)| proxy.clone()).collect()
    }

    /// The proxies that may be serving a group's clients: those that have ever talked to this
    /// controller, and those that have lanes to the group's engines from an earlier one.
    pub(crate) fn proxies_of(&self, name: &GroupName) -> BTreeSet<ProxyId> {
        let lanes = self.archive.shards_of(name).flat_map(|shard| shard.lanes.iter());
        self.proxies.keys().chain(lanes).cloned().collect()
    }

    fn group(&self, name: &GroupName) -> Result<GroupStatus, ApiError> {
        let listed = self.config.names.listed();
        self.group_status(name, &listed).ok_or_else(|| {
            let message = format!("there is no group {name}");
            ApiError::new("T410", message, "tanist status lists the groups")
        })
    }

    /// Every endpoint's name and address.
    fn names(&self) -> Vec<EndpointName> {
        let names = &self.config.names;
        let mut all = Vec::new();
        for held in self.archive.specs.values() {
            let spec = &held.body;
            let endpoints = &spec.endpoints;
            let mut add = |name: String, endpoint| {
                let places = self.places(spec, endpoint).into_iter();
                all.extend(places.map(|address| EndpointName { name: name.clone(), address }));
            };
            add(names.primary(spec), endpoints.primary);
            add(names.reader(spec), endpoints.reader);
            let shards = self.archive.shards_of(&spec.name);
            for (node, member) in shards.flat_map(|shard| &shard.members) {
                add(names.node(spec, node), member.endpoint);
            }
            all.extend(self.aliases_of(spec));
        }
        all
    }

    async fn history(
        &self,
        name: &GroupName,
    ) -> Result<Vec<tanist_link::api::FailoverRecord>, ApiError> {
        requests::known(&self.archive, name)?;
        let mut records = self.archive.failovers(name).await.map_err(internal)?;
        let open = self.archive.topologies.keys().filter(|key| key.group == *name);
        records.extend(open.filter_map(|key| self.timelines.get(key)).cloned());
        Ok(records)
    }

    async fn create(
        &mut self,
        asked: &CreateGroup,
        touched: &mut Touched,
    ) -> Result<Result<GroupStatus, ApiError>, ControllerError> {
        let now = boot_time();
        if let Some(refusal) = self.has_unknown() {
            return Ok(Err(refusal));
        }
        let possible = self
            .check_transit(asked.transit)
            .and_then(|()| self.check_endpoint_hosts(&asked.endpoint_hosts));
        if let Err(err) = possible {
            return Ok(Err(err));
        }
        let judged = self.heard_until;
        let planned = create::plan(asked, &self.config, &self.archive, &self.observer, judged);
        let (spec, shards) = match planned {
            Ok(planned) => planned,
            Err(err) => return Ok(Err(err)),
        };
        let name = spec.name.clone();
        let text = format!("{} with {} replicas, {}", spec.engine, spec.replicas, spec.durability);
        let record =
            self.archive.note(Some(name.clone()), None, "GroupCreated", Severity::Info, text);
        let written = self.archive.write_spec(spec, shards, std::slice::from_ref(&record)).await;
        if let Err(err) = written {
            let refusal = internal_ref(&err);
            self.survive(err)?;
            return Ok(Err(refusal));
        }
        self.publish(record);
        self.observer.recount(&self.archive);
        for key in self.keys_of(&name) {
            if let Some((_, shard)) = self.shard(&key) {
                self.observer.seen.rev_since.insert(key.clone(), (shard.rev, now));
            }
            touched.shards.insert(key);
        }
        Ok(self.group(&name))
    }

    async fn modify(
        &mut self,
        name: &GroupName,
        asked: &ModifyGroup,
        touched: &mut Touched,
    ) -> Result<Result<GroupStatus, ApiError>, ControllerError> {
        if self.keys_of(name).iter().any(|key| self.has_forgotten(key)) {
            return Ok(Err(forgotten(name)));
        }
        let judged = self.heard_until;
        let planned =
            modify::plan(name, asked, &self.config, &self.archive, &self.observer, judged);
        let spec = match planned {
            Ok(spec) => spec,
            Err(err) => return Ok(Err(err)),
        };
        let asks = asked.transit_mode.is_some() || asked.client_certificates.is_some();
        if asks && let Err(err) = self.check_transit(spec.transit) {
            return Ok(Err(err));
        }
        let hosts = asked.endpoint_hosts.as_ref();
        if let Some(Err(err)) = hosts.map(|hosts| self.check_endpoint_hosts(hosts)) {
            return Ok(Err(err));
        }
        let before = self.archive.specs.get(name).map(|held| held.body.clone());
        if before.as_deref() != Some(&spec) {
            let said = before.and_then(|before| said_of(&before, &spec));
            let record = said.map(|text| {
                self.archive.note(Some(name.clone()), None, "GroupModified", Severity::Info, text)
            });
            let written = self.archive.write_spec(spec, Vec::new(), record.as_slice()).await;
            if let Err(err) = written {
                let refusal = internal_ref(&err);
                self.survive(err)?;
                return Ok(Err(refusal));
            }
            record.into_iter().for_each(|record| self.publish(record));
            self.observer.recount(&self.archive);
            touched.shards.extend(self.keys_of(name));
        }
        Ok(self.group(name))
    }

    async fn delete(
        &mut self,
        name: &GroupName,
        touched: &mut Touched,
    ) -> Result<Result<(), ApiError>, ControllerError> {
        let mut spec = match requests::known(&self.archive, name) {
            Ok(spec) => spec.clone(),
            Err(err) => return Ok(Err(err)),
        };
        if self.keys_of(name).iter().any(|key| self.has_forgotten(key)) {
            return Ok(Err(forgotten(name)));
        }
        spec.deleting = true;
        if let Err(err) = self.archive.write_spec(spec, Vec::new(), &[]).await {
            let refusal = internal_ref(&err);
            self.survive(err)?;
            return Ok(Err(refusal));
        }
        touched.shards.extend(self.keys_of(name));
        Ok(Ok(()))
    }

    async fn move_primary(
        &mut self,
        name: &GroupName,
        kind: MoveKind,
        asked: &MovePrimary,
        touched: &mut Touched,
    ) -> Result<Result<MoveAccepted, ApiError>, ControllerError> {
        let forgotten = |shard: &ShardTopology| promised_beyond(shard, &self.observer.seen);
        let added = requests::add(&self.archive, name, kind, asked, forgotten);
        let (spec, shard, request) = match added {
            Ok(added) => added,
            Err(err) => return Ok(Err(err)),
        };
        let key = ShardKey { group: name.clone(), shard: shard.clone() };
        if let Some(refusal) = self.would_only_wait(&key, asked) {
            return Ok(Err(refusal));
        }
        if let Err(err) = self.archive.write_spec(spec, Vec::new(), &[]).await {
            let refusal = internal_ref(&err);
            self.survive(err)?;
            return Ok(Err(refusal));
        }
        touched.shards.insert(key);
        Ok(Ok(MoveAccepted { shard, request }))
    }

    /// Requests a switchover because the primary's engine cannot write to its disk.
    pub(crate) async fn move_for_health(
        &mut self,
        key: ShardKey,
        heir: NodeId,
        touched: &mut Touched,
    ) -> Result<(), ControllerError> {
        let text = format!(
            "the primary refuses writes because its append-only file or a snapshot cannot be \
             written; it moves to {heir}"
        );
        let said = ("MovingForHealth", Severity::Warning, text);
        self.move_unasked(key, heir, said, touched).await
    }

    /// Asks for a move as a person would, and says why.
    pub(crate) async fn move_unasked(
        &mut self,
        key: ShardKey,
        heir: NodeId,
        (name, severity, text): (&str, Severity, String),
        touched: &mut Touched,
    ) -> Result<(), ControllerError> {
        let shard = Some(key.shard.clone());
        let asked = MovePrimary { shard, to: Some(heir), accept_loss: false };
        let kind = MoveKind::Switchover;
        if self.move_primary(&key.group, kind, &asked, touched).await?.is_ok() {
            self.announce(Some(key.group), None, name, severity, text).await?;
        }
        Ok(())
    }

    /// The refusal of a request that nobody could carry out as things are.
    fn would_only_wait(&self, key: &ShardKey, asked: &MovePrimary) -> Option<ApiError> {
        let (spec, shard) = self.shard(key)?;
        let (seen, limits) = (&self.observer.seen, &self.config.limits);
        // As in every judgment: what could not be heard meanwhile is nobody's silence.
        let judged = self.heard_until;
        let missing = heir_missing(&spec, &shard, seen, limits, judged, asked.to.as_ref());
        let missing = missing.filter(|_| !asked.accept_loss)?;
        let name = &key.group;
        let remedy = format!(
            "wait: tanist status {name}    or lose what it lacks: \
             tanist failover {name} --to NODE --accept-loss"
        );
        Some(ApiError::new("T204", format!("{name}: {missing}"), remedy))
    }

    fn has_forgotten(&self, key: &ShardKey) -> bool {
        self.shard(key)
            .is_some_and(|(_, shard)| promised_beyond(&shard, &self.observer.seen).is_some())
    }

    /// Drops a request that has waited for too long, and says so.
    pub(crate) async fn drop_request(&mut self, key: &ShardKey) -> Result<(), ControllerError> {
        let Some((spec, _)) = self.shard(key) else { return Ok(()) };
        let mut spec = GroupSpec::clone(&spec);
        spec.requests.remove(&key.shard);
        let waits = self.plans.get(key).map(|plan| plan.waits.clone()).unwrap_or_default();
        let why: Vec<String> = waits.into_iter().map(|wait| wait.detail).collect();
        let text = format!("the request to move the primary was dropped: {}", why.join("; "));
        let group = Some(key.group.clone());
        let record = self.archive.note(group, None, "RequestDropped", Severity::Warning, text);
        match self.archive.write_spec(spec, Vec::new(), std::slice::from_ref(&record)).await {
            Ok(()) => {
                self.observer.seen.holds.remove(key);
                self.publish(record);
                Ok(())
            }
            Err(err) => self.survive(err),
        }
    }

    fn fault(&mut self, name: &GroupName, node: &NodeId, fault: Fault) -> Result<(), ApiError> {
        requests::known(&self.archive, name)?;
        let shards = self.archive.topologies.values().filter(|held| held.body.group == *name);
        let member = shards.filter_map(|held| held.body.members.get(node)).next();
        let Some(member) = member else {
            let message = format!("{name} has no node {node}");
            return Err(ApiError::new("T414", message, "see tanist status"));
        };
        let host = member.host.clone();
        self.tell(&host, ToAgent::Inject { node: node.clone(), fault });
        Ok(())
    }

    fn stop_all(&mut self, reply: Reply<()>) {
        self.ending.send_replace(true);
        for session in self.proxies.values().filter(|session| session.up) {
            // A proxy that is gone already has ended, which is what is asked.
            let _ = session.sender.send(&ToProxy::Exit);
        }
        let waiting: BTreeSet<_> = self.agents.keys().cloned().collect();
        for host in &waiting {
            self.tell(host, ToAgent::StopAll);
        }
        let until = boot_time() + self.config.stopping;
        self.stopping = Some(Stopping { reply, waiting, until });
    }

    pub(crate) fn keys_of(&self, name: &GroupName) -> Vec<ShardKey> {
        self.archive.topologies.keys().filter(|key| key.group == *name).cloned().collect()
    }

    pub(crate) fn group_of(&self, node: &NodeId) -> Option<GroupName> {
        self.observer.shard_of(node).map(|key| key.group.clone())
    }

    /// Nothing is left of a deleted shard on any host.
    pub(crate) fn is_gone(&self, shard: &ShardTopology) -> bool {
        let deleted = shard.vacancy().is_some_and(|vacancy| vacancy.cause == Cause::Deleted);
        deleted
            && shard.members.iter().all(|(node, member)| {
                self.observer.seen.node(node, &member.host).is_some_and(|seen| {
                    let ended = matches!(seen.report.process, Process::Absent | Process::Failed(_));
                    ended && !seen.report.data
                })
            })
    }
}

/// What people are told of a change; nothing of one that says nothing to them.
fn said_of(before: &GroupSpec, after: &GroupSpec) -> Option<String> {
    let mut said = Vec::new();
    if before.replicas != after.replicas {
        said.push(format!("{} replicas are asked for, not {}", after.replicas, before.replicas));
    }
    if before.transit != after.transit {
        let (was, is) = (before.transit, after.transit);
        said.push(format!("TLS {}, not {}; client certificates {}", is.mode, was.mode, is.clients));
    }
    if before.endpoint_hosts != after.endpoint_hosts {
        let hosts: Vec<&str> = after.endpoint_hosts.iter().map(HostId::as_str).collect();
        let at = if hosts.is_empty() { "every host".to_owned() } else { hosts.join(", ") };
        said.push(format!("endpoints are at {at}"));
    }
    (!said.is_empty()).then(|| said.join("; "))
}

fn forgotten(name: &GroupName) -> ApiError {
    let message = format!("{name}: the store was put back from an older copy");
    let remedy = format!(
        "first: tanist rebuild, if the hosts keep what is missing; otherwise tanist failover {name} \
         --to NODE --accept-loss"
    );
    ApiError::new("T415", message, remedy)
}

fn internal(err: ControllerError) -> ApiError {
    internal_ref(&err)
}

pub(crate) fn internal_ref(err: &ControllerError) -> ApiError {
    let mut message = err.to_string();
    let mut source = std::error::Error::source(err);
    while let Some(cause) = source {
        message.push_str(": ");
        message.push_str(&cause.to_string());
        source = cause.source();
    }
    ApiError::new("T501", message, "nothing was changed; free disk space or see tanist doctor")
}
