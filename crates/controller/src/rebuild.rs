//! A store that was lost: showing what hosts keep, and writing it to the store when a person says so.
//!
//! Whoever agrees names the proposal that was looked at. The hosts are asked again then; if they say
//! anything else, nothing is written.
//!
//! Invariant: a group is written whole or not at all, and never over one of which the store knows as
//! much as the hosts.
//!
//! Not here: what can be rebuilt and how it goes on (`tanist_core::rebuild`), asking the hosts
//! (`crate::recall`).

use std::collections::{BTreeMap, BTreeSet};

use tanist_core::model::{
    GroupName, GroupSpec, NodeId, Process, Rev, Severity, ShardKey, ShardTopology,
};
use tanist_core::rebuild::{Evidence, Kept, Lost, Told, lost};
use tanist_link::api::{ApiError, LostNode, LostShard, Rebuild, RebuildProposal, Rebuilt};
use tanist_link::hash_of;

use crate::calls::internal_ref;
use crate::clock::boot_time;
use crate::error::ControllerError;
use crate::inputs::Reply;
use crate::recall::Answers;
use crate::reconciler::Controller;

/// A request about a lost store, with where its answer goes.
#[derive(Debug)]
pub(crate) enum RebuildCall {
    Look(Reply<RebuildProposal>),
    Go { asked: Rebuild, reply: Reply<Rebuilt> },
}

impl RebuildCall {
    /// Answers with a refusal. A caller that has gone away needs no answer.
    pub(crate) fn refuse(self, error: ApiError) {
        match self {
            Self::Look(reply) => drop(reply.send(Err(error))),
            Self::Go { reply, .. } => drop(reply.send(Err(error))),
        }
    }
}

impl Controller {
    /// Answers a caller with what hosts have said.
    pub(crate) async fn answer_to_rebuild(
        &mut self,
        call: RebuildCall,
        answers: &Answers,
    ) -> Result<(), ControllerError> {
        let found = lost(&self.evidence(answers), |key| self.known_rev(key));
        let proposal = self.proposal(answers, &found);
        match call {
            RebuildCall::Look(reply) => drop(reply.send(Ok(proposal))),
            RebuildCall::Go { asked, reply } if asked.digest != proposal.digest => {
                let message = "the hosts say something else by now than what was looked at";
                let remedy = "look again: tanist rebuild";
                drop(reply.send(Err(ApiError::new("T209", message, remedy))));
            }
            RebuildCall::Go { asked, reply } => {
                let answer = self.rebuild(&asked, answers, found).await?;
                drop(reply.send(answer));
            }
        }
        Ok(())
    }

    fn known_rev(&self, key: &ShardKey) -> Option<Rev> {
        let decided = self.archive.topologies.get(key).map(|held| held.body.rev);
        decided.or_else(|| self.archive.retired.get(key).copied())
    }

    fn evidence(&self, answers: &Answers) -> Evidence {
        let told = answers.shards.iter().map(|(host, said)| {
            let kept = said.kept.as_ref().filter(|_| said.trouble.is_none());
            let kept = kept.map(|kept| Kept {
                at: kept.at,
                spec: kept.spec.body().clone(),
                shard: kept.shard.body().clone(),
            });
            Told { host: host.clone(), key: said.key.clone(), promised: said.promised, kept }
        });
        let up = self.proxies.iter().filter(|(_, session)| session.up).map(|(proxy, _)| proxy);
        let routes = up.filter_map(|proxy| {
            // Whether it has said anything: one that has only just come may know something newer.
            Some((proxy.clone(), self.observer.routes_of(proxy)?))
        });
        Evidence { hosts: answers.heard.clone(), told: told.collect(), routes: routes.collect() }
    }

    fn proposal(&self, answers: &Answers, found: &[Lost]) -> RebuildProposal {
        let shards: Vec<LostShard> = found.iter().map(|lost| self.shown(lost)).collect();
        let members = found.iter().flat_map(|lost| lost.shard.members.values());
        let members = members.map(|member| member.host.clone());
        let silent = members.chain(answers.silent.iter().cloned());
        let kept: BTreeSet<&GroupName> = found.iter().map(|lost| &lost.spec.name).collect();
        let nothing_kept = self.unknown_groups().into_iter().filter(|name| !kept.contains(name));
        let trouble = answers.shards.iter().filter_map(|(host, said)| {
            Some(format!("{host}, {}: {}", said.key, said.trouble.as_ref()?))
        });
        RebuildProposal {
            digest: digest(found),
            shards,
            heard: answers.heard.clone(),
            silent: silent.filter(|host| !answers.heard.contains(host)).collect(),
            nothing_kept: nothing_kept.collect(),
            trouble: trouble.collect(),
        }
    }

    fn shown(&self, lost: &Lost) -> LostShard {
        let Lost { shard, .. } = lost;
        let prev = shard.vacancy().and_then(|vacancy| vacancy.prev.as_ref());
        let holds = |node: &NodeId| {
            let runs = shard.in_sync.iter().map(|tag| &tag.run).chain(shard.primary()).chain(prev);
            { runs }.any(|run| run.node == *node)
        };
        let node = |(node, member): (&NodeId, &tanist_core::model::Member)| LostNode {
            node: node.clone(),
            host: member.host.clone(),
            had_everything: holds(node),
            runs: self
                .observer
                .seen
                .node(node, &member.host)
                .is_some_and(|seen| matches!(seen.report.process, Process::Running(_))),
        };
        LostShard {
            group: shard.group.clone(),
            shard: shard.shard.clone(),
            primary: shard.primary().map(|run| run.node.clone()),
            epoch: shard.epoch,
            rev: shard.rev,
            newest: lost.newest,
            kept_by: lost.by.clone(),
            nodes: shard.members.iter().map(node).collect(),
            is_behind: self.archive.topologies.contains_key(&shard.key()),
            doubts: lost.doubts.iter().map(ToString::to_string).collect(),
            obstacle: self.obstacle(lost),
        }
    }

    /// Why the shard cannot be written: somebody else has by now what it had.
    fn obstacle(&self, lost: &Lost) -> Option<String> {
        let Some(next) = lost.next() else {
            return Some("no number is left to go on with".to_owned());
        };
        if let Some(fault) = next.check().into_iter().next() {
            return Some(format!("what is kept contradicts itself: {fault}"));
        }
        let others = self.archive.specs.values().filter(|held| held.body.name != lost.spec.name);
        let ends = &lost.spec.endpoints;
        let same = |spec: &GroupSpec| {
            let own = [spec.endpoints.primary, spec.endpoints.reader];
            own.contains(&ends.primary) || own.contains(&ends.reader)
        };
        if let Some(other) = { others }.find(|held| same(&held.body)) {
            return Some(format!("{} has its endpoints by now", other.body.name));
        }
        let shards = self.archive.topologies.values().filter(|held| held.body.group != next.group);
        let taken: BTreeMap<_, _> = shards
            .flat_map(|held| held.body.members.iter().map(|(node, member)| (member.address, node)))
            .collect();
        let other = next.members.values().find_map(|member| taken.get(&member.address));
        other.map(|node| format!("{node} has one of its nodes' addresses by now"))
    }

    async fn rebuild(
        &mut self,
        asked: &Rebuild,
        answers: &Answers,
        found: Vec<Lost>,
    ) -> Result<Result<Rebuilt, ApiError>, ControllerError> {
        let mut by_group: BTreeMap<GroupName, Vec<Lost>> = BTreeMap::new();
        for lost in found {
            by_group.entry(lost.spec.name.clone()).or_default().push(lost);
        }
        let mut done =
            Rebuilt { groups: BTreeSet::new(), to_name: BTreeSet::new(), left: BTreeSet::new() };
        for (name, shards) in by_group {
            let certain = shards.iter().all(Lost::is_certain);
            let wanted = certain || asked.in_doubt.contains(&name);
            if !wanted || shards.iter().any(|lost| self.obstacle(lost).is_some()) {
                done.left.insert(name);
                continue;
            }
            if let Err(err) = self.write_again(&shards, answers).await {
                let refusal = internal_ref(&err);
                self.survive(err)?;
                return Ok(Err(refusal));
            }
            let kind = if certain { &mut done.groups } else { &mut done.to_name };
            kind.insert(name);
        }
        Ok(Ok(done))
    }

    /// Writes a group's users, then the group.
    async fn write_again(
        &mut self,
        shards: &[Lost],
        answers: &Answers,
    ) -> Result<(), ControllerError> {
        let Some(newest) = shards.iter().max_by_key(|lost| (lost.shard.rev, lost.at)) else {
            return Ok(());
        };
        self.write_users(newest, answers).await?;
        let name = newest.spec.name.clone();
        let next: Vec<ShardTopology> = shards.iter().filter_map(Lost::next).collect();
        let doubts: Vec<String> =
            shards.iter().flat_map(|lost| &lost.doubts).map(ToString::to_string).collect();
        let text = if doubts.is_empty() {
            "the group is rebuilt from what its hosts kept".to_owned()
        } else {
            format!(
                "the group is rebuilt from what its hosts kept, in doubt ({}): see which node has \
                 the newest data, then: tanist failover {name} --to NODE --accept-loss",
                doubts.join("; ")
            )
        };
        let severity = if doubts.is_empty() { Severity::Info } else { Severity::Error };
        let group = Some(name.clone());
        let record = self.archive.note(group, None, "GroupRebuilt", severity, text);
        let records = std::slice::from_ref(&record);
        self.archive.write_rebuilt(newest.asked(), next, records).await?;
        self.publish(record);
        self.observer.recount(&self.archive);
        let now = boot_time();
        for key in self.keys_of(&name) {
            self.missed.remove(&key);
            if let Some((_, shard)) = self.shard(&key) {
                self.observer.seen.rev_since.insert(key, (shard.rev, now));
            }
        }
        Ok(())
    }

    /// Writes the users of a group that the store does not have.
    async fn write_users(&mut self, lost: &Lost, answers: &Answers) -> Result<(), ControllerError> {
        let key = lost.shard.key();
        let of =
            |(host, said): &&(_, tanist_link::wire::KeptShard)| *host == lost.by && said.key == key;
        let kept = answers.shards.iter().find(of).and_then(|(_, said)| said.kept.as_ref());
        let Some(kept) = kept else { return Ok(()) };
        for user in kept.users.iter().map(|stored| stored.body()) {
            if !self.archive.users.contains_key(&user.id) {
                self.archive.write_user(user.clone(), &[]).await?;
            }
        }
        for group in kept.user_groups.iter().map(|stored| stored.body()) {
            if !self.archive.user_groups.contains_key(&group.id) {
                self.archive.write_user_group(group.clone(), &[]).await?;
            }
        }
        Ok(())
    }
}

/// What tells one proposal from another: everything from which a shard would go on.
fn digest(found: &[Lost]) -> String {
    let parts: Vec<String> = found.iter().map(|lost| format!("{lost:?}")).collect();
    hash_of(parts.join("\n").as_bytes()).as_str().to_owned()
}
