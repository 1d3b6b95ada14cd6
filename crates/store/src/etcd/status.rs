//! What people want to know of the cluster.
//!
//! Each member is asked on its own, at the same time, so that one that hangs hides nothing of the
//! others.
//!
//! Invariant: nothing here changes which member is used.
//!
//! Not here: judging it (`tanist doctor`).

use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::timeout;

use super::fault::Fault;
use super::keys::{number, revision};
use super::members::{Members, Use};
use super::pb::cluster_client::ClusterClient;
use super::pb::maintenance_client::MaintenanceClient;
use super::pb::{self, MemberListRequest, StatusRequest, StatusResponse};
use crate::model::Revision;

/// How long a member may take to describe itself.
const PATIENCE: Duration = Duration::from_secs(1);

/// The state of the cluster, as its members tell it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct EtcdStatus {
    /// What all keys of this store begin with.
    pub prefix: String,
    /// The configured endpoints, in their order.
    pub endpoints: Vec<EndpointStatus>,
    /// The members that the cluster has, as the first endpoint that answered lists them.
    pub members: Vec<EtcdMember>,
}

impl EtcdStatus {
    /// Whether some endpoint serves: there is a leader and a quorum.
    #[must_use]
    pub fn has_quorum(&self) -> bool {
        self.endpoints.iter().any(|endpoint| endpoint.serves.is_ok())
    }
}

/// One endpoint.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct EndpointStatus {
    /// Its address, as configured.
    pub endpoint: String,
    /// What the member behind it says of itself, or why nothing was heard.
    pub member: Result<MemberStatus, String>,
    /// Whether it answers linearizable reads now, or why not.
    pub serves: Result<(), String>,
}

/// What a member says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemberStatus {
    /// Its id.
    pub id: u64,
    /// Its release, such as `3.5.21`.
    pub version: String,
    /// Whether it is the leader.
    pub leads: bool,
    /// The member that it takes for the leader; `None`: it knows of none.
    pub leader: Option<u64>,
    /// Whether it only learns and has no vote.
    pub learner: bool,
    /// Bytes that its database takes on disk.
    pub db_bytes: u64,
    /// Bytes of it that are in use; the rest is freed by a defragmentation.
    pub db_bytes_in_use: u64,
    /// The raft term.
    pub raft_term: u64,
    /// The last index in its log.
    pub raft_index: u64,
    /// The last index that it applied.
    pub raft_applied_index: u64,
    /// Its revision.
    pub revision: Revision,
    /// Whether the store is full: no member takes writes until space was freed and the alarm
    /// disarmed.
    pub no_space: bool,
    /// Everything that it complains about, alarms included, in etcd's words.
    pub troubles: Vec<String>,
}

/// A member of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct EtcdMember {
    /// Its id.
    pub id: u64,
    /// Its name; empty if it never started.
    pub name: String,
    /// Where clients reach it, as it says.
    pub client_urls: Vec<String>,
    /// Where members reach it.
    pub peer_urls: Vec<String>,
    /// Whether it only learns and has no vote.
    pub learner: bool,
}

/// Asks everybody.
pub(super) async fn status(members: &Members, prefix: &str) -> EtcdStatus {
    let asked = join_all(members.listed().into_iter().map(|member| one(members, member))).await;
    let list = asked.iter().find_map(|(_, list)| list.clone()).unwrap_or_default();
    EtcdStatus {
        prefix: prefix.to_owned(),
        endpoints: asked.into_iter().map(|(endpoint, _)| endpoint).collect(),
        members: list,
    }
}

async fn one(members: &Members, member: usize) -> (EndpointStatus, Option<Vec<EtcdMember>>) {
    let late = || format!("no answer within {PATIENCE:?}");
    let described = timeout(PATIENCE, describe(members, member)).await;
    let described = described.unwrap_or_else(|_| Err(late()));
    let (serves, list) = if described.is_ok() {
        let (serves, list) = tokio::join!(
            timeout(PATIENCE, members.prove(member)),
            timeout(PATIENCE, list(members, member)),
        );
        let serves = serves.unwrap_or_else(|_| Err(Fault::Lost(late())));
        (serves.map(drop).map_err(|fault| fault.said().to_owned()), list.ok().flatten())
    } else {
        (described.as_ref().map(drop).map_err(Clone::clone), None)
    };
    if serves.is_err() {
        // Nobody else may use this connection, so nobody else would notice that it is dead.
        members.hang_up(member);
    }
    let endpoint = members.name(member).to_string();
    (EndpointStatus { endpoint, member: described, serves }, list)
}

/// What a member says of itself, also when it has no leader.
pub(super) async fn describe(members: &Members, member: usize) -> Result<MemberStatus, String> {
    let said = |fault: Fault| fault.said().to_owned();
    let channel = members.channel(member, Use::Streams).await.map_err(said)?;
    let answer = MaintenanceClient::new(channel).status(StatusRequest {}).await;
    let answer = answer.map_err(|status| said(Fault::of(&status)))?.into_inner();
    members.belongs(&answer).map_err(said)?;
    Ok(described(answer))
}

fn described(answer: StatusResponse) -> MemberStatus {
    let header = answer.header.unwrap_or_default();
    MemberStatus {
        id: header.member_id,
        version: answer.version,
        leads: answer.leader != 0 && answer.leader == header.member_id,
        leader: Some(answer.leader).filter(|id| *id != 0),
        learner: answer.is_learner,
        db_bytes: number(answer.db_size),
        db_bytes_in_use: number(answer.db_size_in_use),
        raft_term: answer.raft_term,
        raft_index: answer.raft_index,
        raft_applied_index: answer.raft_applied_index,
        revision: revision(header.revision),
        no_space: answer.errors.iter().any(|trouble| trouble.contains("NOSPACE")),
        troubles: answer.errors,
    }
}

async fn list(members: &Members, member: usize) -> Option<Vec<EtcdMember>> {
    let channel = members.channel(member, Use::Streams).await.ok()?;
    let answer = ClusterClient::new(channel).member_list(MemberListRequest {}).await.ok()?;
    Some(answer.into_inner().members.into_iter().map(as_member).collect())
}

/// A member as it is listed.
pub(super) fn as_member(member: pb::Member) -> EtcdMember {
    EtcdMember {
        id: member.id,
        name: member.name,
        client_urls: member.client_ur_ls,
        peer_urls: member.peer_ur_ls,
        learner: member.is_learner,
    }
}
