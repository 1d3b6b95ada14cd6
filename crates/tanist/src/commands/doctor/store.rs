//! The store of a fleet, as `tanist doctor` sees it: which members etcd has, and which are away.
//!
//! Invariant: one member that is away is told before a second one is, which would be the store's end.
//!
//! Not here: what a server does about members (`crate::fleet`).

use std::collections::BTreeMap;

use tanist_store::{EtcdMember, EtcdStatus, EtcdStore, MemberStatus};

use super::Check;
use crate::failure::chain;
use crate::fleet::Member;
use crate::fleet::server::store_config;
use crate::layout::Layout;

/// The checks of a server's store; none on a host that is no server.
pub(super) async fn checks(layout: &Layout) -> Vec<Check> {
    let member = match Member::load(layout) {
        Ok(Some(member)) => member,
        // That this file cannot be read is said by whatever needs it.
        Ok(None) | Err(_) => return Vec::new(),
    };
    if !layout.fleet_authority().exists() {
        return Vec::new();
    }
    let remedy =
        "start the servers; see etcd.log in their data directories, or that etcd's own log";
    let config = match store_config(&member) {
        Ok(config) => config,
        Err(failure) => return vec![Check::problem(failure.message, failure.remedy)],
    };
    match EtcdStore::open(&config).await {
        Ok(store) => vec![judge(&store.status().await)],
        Err(err) => vec![Check::problem(format!("etcd: {}", chain(&err)), remedy)],
    }
}

/// One line about all members.
fn judge(status: &EtcdStatus) -> Check {
    let said: BTreeMap<u64, &MemberStatus> = { status.endpoints.iter() }
        .filter_map(|endpoint| endpoint.member.as_ref().ok())
        .map(|member| (member.id, member))
        .collect();
    let mut away = 0;
    // etcd lists them by their ids, which say nothing to people.
    let mut members: Vec<&EtcdMember> = status.members.iter().collect();
    members.sort_by_key(|member| name(member));
    let shown: Vec<String> = { members.into_iter() }
        .map(|member| {
            let asked = { status.endpoints.iter() }
                .any(|endpoint| member.client_urls.contains(&endpoint.endpoint));
            let (word, is_away) = state(member, said.get(&member.id).copied(), asked);
            away += usize::from(is_away);
            format!("{}{word}", name(member))
        })
        .collect();
    let text = format!("etcd: {}", shown.join(", "));
    let full = said.values().any(|member| member.no_space);
    if full {
        let remedy = "compact and defragment it, then: etcdctl alarm disarm";
        return Check::problem(format!("{text}: its database is full"), remedy);
    }
    let voters = status.members.iter().filter(|member| !member.learner).count();
    match (away, voters) {
        (1.., _) => {
            let remedy =
                "start what is away; a host that never comes back: tanist host remove HOST --dead";
            Check::problem(text, remedy)
        }
        (0, 1 | 2) => {
            let remedy = "let more servers join: three survive the loss of one";
            Check::warning(format!("{text}: no loss of a member is survived"), remedy)
        }
        _ => Check::good(text),
    }
}

fn name(member: &EtcdMember) -> String {
    let url = member.client_urls.first().or(member.peer_urls.first());
    if member.name.is_empty() { url.cloned().unwrap_or_default() } else { member.name.clone() }
}

/// What is said of a member, and whether it is away.
fn state(member: &EtcdMember, said: Option<&MemberStatus>, asked: bool) -> (&'static str, bool) {
    match said {
        // Somebody else's etcd may have members that [store] does not name.
        None if !asked && !member.name.is_empty() => (" was not asked", false),
        None => (" is away", true),
        Some(_) if member.learner => (" learns", false),
        Some(said) if said.leads => (" leads", false),
        Some(_) => ("", false),
    }
}
