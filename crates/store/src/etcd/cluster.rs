//! Who is a member of the cluster, for whoever runs etcd: listing, adding, promoting, removing.
//!
//! A new member learns first and has no vote, so that one that never comes up costs the others nothing.
//! etcd itself refuses what would leave the cluster without a quorum.
//!
//! Invariant: a list is at least as new as everything that was acknowledged before it was asked for.
//!
//! Not here: when which of these is due (`tanist_core::quorum`), running members (`tanist`).

use super::EtcdStore;
use super::config::EtcdConfig;
use super::fault::{Fault, Refusal, at};
use super::members::{AskError, Manner, request};
use super::pb::cluster_client::ClusterClient;
use super::pb::{MemberAddRequest, MemberListRequest, MemberPromoteRequest, MemberRemoveRequest};
use super::status::{EtcdMember, as_member};
use crate::error::StoreError;

const LISTING: &str = "listing the members of etcd";
const ADDING: &str = "adding a member to etcd";
const PROMOTING: &str = "giving a member of etcd its vote";
const REMOVING: &str = "removing a member of etcd";
/// What etcd says of a learner that does not have enough of the log yet.
const NOT_YET: &str = "in sync with leader";
/// What it says of one that is none.
const NO_MEMBER: &str = "member not found";

impl EtcdStore {
    /// From now on the members are these, and this is how they are dialled: others have joined, or the
    /// certificate to show is a new one.
    ///
    /// # Errors
    /// `BadEtcdConfig`, also for another prefix; then nothing has changed.
    pub fn redirect(&self, config: &EtcdConfig) -> Result<(), StoreError> {
        if config.prefix != self.inner.own.0 {
            let what = config.prefix.clone();
            return Err(StoreError::BadEtcdConfig { what, wrong: "it is another store's prefix" });
        }
        self.members().redirect(config)
    }

    /// The members of the cluster.
    ///
    /// # Errors
    /// `Backend`.
    pub async fn cluster(&self) -> Result<Vec<EtcdMember>, StoreError> {
        // etcd 3.4 answers from what the asked member has applied. A linearizable read before makes
        // sure that this is everything, and `Repeatable` sends to who has just answered one; but that
        // may be a second old.
        for member in self.members().listed() {
            self.members().doubt(member);
        }
        let call = |channel| async {
            ClusterClient::new(channel).member_list(request(MemberListRequest {})).await
        };
        let answered = self.members().ask(LISTING, Manner::Repeatable, call).await;
        let answered = answered.map_err(|error| error.error(self.members(), LISTING, None))?;
        Ok(answered.answer.members.into_iter().map(as_member).collect())
    }

    /// Adds a member without a vote, which others reach at `peer_url`; answers its id.
    ///
    /// # Errors
    /// `Backend`, such as when another one is learning already; `Unknown`: it may have been added.
    pub async fn add_learner(&self, peer_url: &str) -> Result<u64, StoreError> {
        let message = MemberAddRequest { peer_ur_ls: vec![peer_url.to_owned()], is_learner: true };
        let call = |channel| {
            let message = message.clone();
            async { ClusterClient::new(channel).member_add(request(message)).await }
        };
        let answered = self.members().ask(ADDING, Manner::Once, call).await;
        let answered = answered.map_err(|error| error.error(self.members(), ADDING, None))?;
        let id = answered.answer.member.map_or(0, |member| member.id);
        if id == 0 {
            let source = at(&self.members().name(answered.member), "the new member has no id");
            return Err(StoreError::Unknown { doing: ADDING, source: Some(source) });
        }
        Ok(id)
    }

    /// Gives a learner its vote; `false` if it does not have enough of the log yet.
    ///
    /// # Errors
    /// `Backend`, `Unknown`.
    pub async fn promote(&self, id: u64) -> Result<bool, StoreError> {
        let message = MemberPromoteRequest { id };
        let call = |channel| async move {
            ClusterClient::new(channel).member_promote(request(message)).await
        };
        match self.members().ask(PROMOTING, Manner::Once, call).await {
            Ok(_) => Ok(true),
            Err(AskError::Refused { fault: Fault::Refused(Refusal::Other, said), .. })
                if said.contains(NOT_YET) =>
            {
                Ok(false)
            }
            Err(error) => Err(error.error(self.members(), PROMOTING, None)),
        }
    }

    /// Removes a member; it is well if there is none.
    ///
    /// # Errors
    /// `Backend`, such as when the others would have no quorum; `Unknown`.
    pub async fn remove_member(&self, id: u64) -> Result<(), StoreError> {
        let message = MemberRemoveRequest { id };
        let call = |channel| async move {
            ClusterClient::new(channel).member_remove(request(message)).await
        };
        match self.members().ask(REMOVING, Manner::Once, call).await {
            Ok(_) => Ok(()),
            Err(AskError::Refused { fault, .. }) if fault.said().contains(NO_MEMBER) => Ok(()),
            Err(error) => Err(error.error(self.members(), REMOVING, None)),
        }
    }
}
