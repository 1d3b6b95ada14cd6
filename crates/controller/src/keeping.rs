//! Sending hosts what their shards can be rebuilt from, should the store be lost.
//!
//! Each host of a shard is sent the group's documents whenever one of them has changed, and all of
//! them when its agent comes. Nothing waits for it: whoever decides on what hosts keep has to know
//! that the last one may not have arrived (`tanist_core::rebuild`).
//!
//! Invariant: nothing is sent that the store does not have.
//!
//! Not here: keeping (`tanist-agent`), asking for it back (`crate::rebuild`).

use std::collections::{BTreeMap, BTreeSet};

use tanist_core::model::stored::Stored;
use tanist_core::model::{GroupSpec, HostId, Rev, Severity, ShardKey, ShardTopology};
use tanist_link::wire::{Keep, ToAgent};
use tanist_store::Revision;

use crate::agents::Hand;
use crate::error::ControllerError;
use crate::reconciler::Controller;

/// What tells that something has changed: the store's revisions of the topology, of the spec, and of
/// the users.
type Mark = (Revision, Revision, u64);

/// What hosts were sent.
#[derive(Debug, Default)]
pub(crate) struct Keeping {
    sent: BTreeMap<ShardKey, BTreeMap<HostId, Mark>>,
    /// Hosts on the network whose agents keep such things.
    able: BTreeSet<HostId>,
    /// Shards that are too large to be kept; said once.
    large: BTreeSet<ShardKey>,
}

impl Keeping {
    /// A host's agent has come; what the one before was sent may be lost.
    pub(crate) fn greet(&mut self, host: &HostId, keeps: bool) {
        for hosts in self.sent.values_mut() {
            hosts.remove(host);
        }
        if keeps {
            self.able.insert(host.clone());
        } else {
            self.able.remove(host);
        }
    }
}

impl Controller {
    /// Whether a host's agent keeps what it is sent.
    pub(crate) fn keeps(&self, host: &HostId) -> bool {
        match self.agents.get(host) {
            Some(Hand::Near(_)) => true,
            Some(Hand::Far(..)) => self.keeping.able.contains(host),
            None => false,
        }
    }

    /// Sends the shard's hosts what they have to keep, if they were not sent it yet.
    pub(crate) async fn keep(
        &mut self,
        key: &ShardKey,
        spec: &GroupSpec,
        shard: &ShardTopology,
    ) -> Result<(), ControllerError> {
        let (Some(decided), Some(asked)) =
            (self.archive.topologies.get(key), self.archive.specs.get(&key.group))
        else {
            return Ok(());
        };
        let mark = (decided.revision, asked.revision, self.archive.users_turn);
        let sent = self.keeping.sent.get(key);
        let due = |host: &HostId| sent.is_none_or(|sent| sent.get(host) != Some(&mark));
        let hosts = shard.members.values().map(|member| &member.host);
        let due: BTreeSet<HostId> =
            hosts.filter(|host| due(host) && self.keeps(host)).cloned().collect();
        if due.is_empty() {
            return Ok(());
        }
        let at = decided.revision.max(asked.revision);
        let Some(message) = self.message(at, spec, shard) else {
            return self.too_large(key).await;
        };
        for host in due {
            // One whose queue is full is told at the next look.
            let told = self.agents.get(&host).is_some_and(|hand| hand.tell(message.clone()));
            if told {
                self.keeping.sent.entry(key.clone()).or_default().insert(host, mark);
            }
        }
        Ok(())
    }

    /// What hosts are to keep; nothing if that would be too large.
    fn message(&self, at: Revision, spec: &GroupSpec, shard: &ShardTopology) -> Option<ToAgent> {
        let names = spec.login.user_groups.iter();
        let groups = names.filter_map(|id| self.archive.user_groups.get(id));
        let groups: Vec<_> = groups.map(|held| (*held.body).clone()).collect();
        let members: BTreeSet<&String> = groups.iter().flat_map(|group| &group.users).collect();
        let users = members.into_iter().filter_map(|id| self.archive.users.get(id));
        let keep = Keep {
            at: at.0,
            spec: Stored::new(spec.clone()),
            shard: Stored::new(shard.clone()),
            users: users.map(|held| Stored::new((*held.body).clone())).collect(),
            user_groups: groups.into_iter().map(Stored::new).collect(),
        };
        let bytes = serde_json::to_vec(&keep).ok()?.len();
        (bytes <= Keep::MOST).then(|| ToAgent::Keep(Box::new(keep)))
    }

    async fn too_large(&mut self, key: &ShardKey) -> Result<(), ControllerError> {
        if !self.keeping.large.insert(key.clone()) {
            return Ok(());
        }
        let text = format!(
            "{key} could not be rebuilt if the store were lost: its group's documents and users have \
             more than {} bytes, so hosts do not keep them. Make backups: tanist backup",
            Keep::MOST
        );
        self.announce(Some(key.group.clone()), None, "NotKept", Severity::Warning, text).await
    }

    /// Tells hosts that the shard is gone.
    pub(crate) fn let_go(&mut self, key: &ShardKey, rev: Rev) {
        self.keeping.large.remove(key);
        let keeping = self.agents.keys().filter(|host| self.keeps(host));
        let hosts: Vec<HostId> = keeping.cloned().collect();
        for host in &hosts {
            self.tell(host, ToAgent::LetGo { key: key.clone(), rev });
        }
        self.keeping.sent.remove(key);
    }
}
