//! What a server does for the etcd that Tanist runs, beside using it.
//!
//! Invariant: a server that ends takes no etcd along; a member leaves the cluster only because its host
//! was removed from the fleet.
//!
//! Not here: this host's member (`super::keeper`).

use std::time::Duration;

use tanist_controller::{Leader, removed_hosts};
use tanist_core::quorum::leavers;
use tanist_store::{EtcdMember, EtcdStore};
use tanist_tls::RENEW_AFTER_DAYS;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use super::keeper::listed;
use super::start::program;
use super::{Place, ROLE, Site, peer_url};
use crate::failure::Failure;
use crate::fleet::Member;
use crate::spawn;

/// How often the members are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Age at which the certificate of the store's client is replaced.
const RENEW_AFTER: Duration = Duration::from_secs(RENEW_AFTER_DAYS as u64 * 24 * 3600);

/// Keeps this host's etcd running, if Tanist runs it; resolves when that cannot be done.
///
/// # Errors
/// What can be known before: that etcd is not installed, that a port is taken, that its data is of another
/// installation.
pub(crate) fn kept(member: &Member) -> Result<impl Future<Output = Failure> + use<>, Failure> {
    let site = Site::of(member)?;
    if let Some(site) = site {
        let place = Place::of(&member.layout);
        site.authority()?;
        place.state(&member.is.installation)?;
        if place.running().is_none() && spawn::holder(&member.layout, ROLE).is_none() {
            program()?;
            site.ports_are_free()?;
        }
    }
    let (layout, managed) = (member.layout.clone(), site.is_some());
    Ok(async move {
        if !managed {
            return std::future::pending().await;
        }
        // Nothing here ends it: the others need its vote.
        let (_going_on, ending) = watch::channel(false);
        spawn::keep(layout, ROLE, ending).await
    })
}

/// What was told of the way to the members.
struct Way {
    endpoints: Vec<String>,
    since: Instant,
}

/// Follows who is a member, and lets members go whose hosts are gone, if this server leads. Ends only
/// where etcd is somebody else's.
pub(crate) async fn tend(member: Member, store: EtcdStore, known: watch::Receiver<Option<Leader>>) {
    if member.plan.etcd_ports().is_none() {
        return;
    }
    let mut way = Way { endpoints: Vec::new(), since: Instant::now() };
    let mut said = String::new();
    loop {
        match round(&member, &store, &known, &mut way).await {
            Ok(()) => said.clear(),
            Err(failure) if failure.message == said => {}
            Err(failure) => {
                warn!("error[{}]: {} ({})", failure.code, failure.message, failure.remedy);
                said = failure.message;
            }
        }
        // waits: etcd has no event for a change of members.
        sleep(LOOK_EVERY).await;
    }
}

async fn round(
    member: &Member,
    store: &EtcdStore,
    known: &watch::Receiver<Option<Leader>>,
    way: &mut Way,
) -> Result<(), Failure> {
    let Some(site) = Site::of(member)? else { return Ok(()) };
    let failed = |err: &dyn std::error::Error| {
        Failure::caused("T724", err, "it is tried again; most members have to run for it")
    };
    let members = store.cluster().await.map_err(|err| failed(&err))?;
    let endpoints = voters(&members, &site.urls()[0]);
    if !endpoints.is_empty() && (endpoints != way.endpoints || way.since.elapsed() > RENEW_AFTER) {
        let config = site.access(endpoints.clone())?;
        store.redirect(&config).map_err(|err| failed(&err))?;
        info!(?endpoints, "the store is reached at these");
        *way = Way { endpoints, since: Instant::now() };
    }
    let leads = known.borrow().as_ref().is_some_and(|leader| leader.host == member.is.host);
    if !leads {
        return Ok(());
    }
    let removed = removed_hosts(store).await.map_err(|err| failed(&err))?;
    // As the file is now: a host may have come since this server started.
    let now = Member::need(&member.layout)?;
    for id in leavers(&listed(members), &removed, |host| peer_url(&now.plan, host)) {
        store.remove_member(id).await.map_err(|err| failed(&err))?;
        info!(id = format!("{id:x}"), "the etcd of a removed host has left the cluster");
    }
    Ok(())
}

/// Where clients reach the members that have a vote, this host's own first.
fn voters(members: &[EtcdMember], own: &str) -> Vec<String> {
    let votes = members.iter().filter(|member| !member.learner);
    let urls = votes.filter_map(|member| member.client_urls.first().cloned());
    let (near, far): (Vec<_>, Vec<_>) = { urls }.partition(|url| url == own);
    near.into_iter().chain(far).collect()
}
