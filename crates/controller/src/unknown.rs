//! Groups that hosts have and the store does not know: the store was lost, or put back from a copy
//! that is older than they are.
//!
//! What is not known is not touched: its engines run, its endpoints serve, its hosts keep what it can
//! be rebuilt from. It is not to be mistaken for what was deleted, which the store remembers.
//!
//! Invariant: nothing is ordered for a group that the store does not know, and no proxy is told that it
//! is gone.
//!
//! Not here: rebuilding it (`crate::rebuild`), what is remembered of deleted groups (`crate::archive`).

use std::collections::BTreeSet;

use tanist_core::model::{GroupName, ProxyId, Rev, Severity, ShardKey};
use tanist_link::api::ApiError;
use tanist_link::wire::{ProxyShard, ToProxy};

use crate::error::ControllerError;
use crate::reconciler::Controller;

impl Controller {
    /// Whether the store knows nothing of a shard, not even that it is gone. What is at a newer
    /// revision than the one that was deleted is another of the same name.
    fn is_unknown(&self, key: &ShardKey, rev: Rev) -> bool {
        let gone = || self.archive.retired.get(key).is_some_and(|gone| *gone >= rev);
        !self.archive.topologies.contains_key(key) && !gone()
    }

    /// The groups that hosts have and the store does not know.
    pub(crate) fn unknown_groups(&self) -> BTreeSet<GroupName> {
        let there = self.observer.there.values().flatten();
        there
            .filter(|(key, rev)| self.is_unknown(key, **rev))
            .map(|(key, _)| key.group.clone())
            .collect()
    }

    /// Somebody has said something of a shard that the store does not have; says so once.
    pub(crate) async fn miss(&mut self, key: &ShardKey) -> Result<(), ControllerError> {
        let mut there = self.observer.there.values().filter_map(|keys| keys.get(key));
        let unknown = there.any(|rev| self.is_unknown(key, *rev));
        if !unknown || !self.missed.insert(key.clone()) {
            return Ok(());
        }
        let group = &key.group;
        let text = format!(
            "hosts have {group}, and the store does not know it: the store was lost, or put back \
             from an older copy. Its engines and endpoints go on as they are, and nobody repairs \
             them. tanist rebuild shows what the hosts keep of it"
        );
        self.announce(Some(group.clone()), None, "GroupUnknown", Severity::Error, text).await
    }

    /// What `status` says of them.
    pub(crate) fn note_of_unknown(&self) -> Option<String> {
        let names = self.unknown_groups();
        let names: Vec<&str> = names.iter().map(GroupName::as_str).collect();
        let text =
            "go on, but the store does not know them and nobody repairs them: tanist rebuild";
        (!names.is_empty()).then(|| format!("these groups {text}: {}", names.join(", ")))
    }

    /// Why nothing new may be made now: it could be given what a group has that is not known.
    pub(crate) fn has_unknown(&self) -> Option<ApiError> {
        let names = self.unknown_groups();
        let names: Vec<&str> = names.iter().map(GroupName::as_str).collect();
        let message = format!(
            "hosts have groups that the store does not know ({}): a new one could be given their \
             addresses",
            names.join(", ")
        );
        let remedy = "first: tanist rebuild; what is not wanted can be deleted then";
        (!names.is_empty()).then(|| ApiError::new("T208", message, remedy))
    }

    /// Tells a proxy that has said which shards it serves which of them exist. One that the store
    /// does not know is none that is gone.
    pub(crate) fn tell_known(&mut self, proxy: &ProxyId, said: &[ProxyShard]) {
        let told = self.proxies.get(proxy).is_none_or(|session| session.told);
        if told {
            return;
        }
        let unknown = said.iter().filter(|shard| self.is_unknown(&shard.key, shard.rev));
        let unknown = unknown.map(|shard| &shard.key);
        let all: BTreeSet<&ShardKey> = self.archive.topologies.keys().chain(unknown).collect();
        let known = ToProxy::Known(all.into_iter().cloned().collect());
        if let Some(session) = self.proxies.get_mut(proxy) {
            session.told = true;
            session.tell(&known);
            if let Some(number) = self.confirmations.awaited(proxy) {
                session.tell(&ToProxy::Echo(number));
            }
        }
    }
}
