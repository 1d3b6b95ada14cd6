//! `tanist etcd`: keeps this host's member of etcd running.
//!
//! It adopts the etcd that runs, or does what is due so that one can run, again and again. While one
//! runs it learns its id, gets it its vote and sees to its certificate.
//!
//! Invariant: etcd ends when this process is asked to end, and when nothing else does it is started
//! again; a member that cannot start says why in the log and is tried again.
//!
//! Not here: what is due (`tanist_core::quorum`), who leaves the cluster (`super::tend`).

use std::convert::Infallible;
use std::time::Duration;

use tanist_controller::removed_hosts;
use tanist_core::quorum::{Begin, Listed, Own, Step, Why, next};
use tanist_store::{EtcdMember, EtcdStore, EtcdTimeouts};
use tanist_tls::RENEW_AFTER_DAYS;
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, info, warn};

use super::place::State;
use super::{Place, Site};
use crate::failure::{Failure, chain};
use crate::fleet::Member;
use crate::fleet::server::{ended, signals};
use crate::layout::Layout;
use crate::{Done, Outcome, spawn};

/// Time between two turns; doubled as long as they come to nothing.
const AGAIN: Duration = Duration::from_millis(500);
const AGAIN_MOST: Duration = Duration::from_secs(2);
/// An etcd that runs for a shorter time than this has failed to start.
const QUICK: Duration = Duration::from_secs(5);
/// Time between two looks at an etcd that runs, until it is all that it has to be and after.
const LOOK_EVERY: Duration = Duration::from_secs(1);
const LOOK_SELDOM: Duration = Duration::from_secs(600);
/// How long the other members may take to answer together: one that may not be there at all is
/// asked before this host's own is started.
const OTHERS: Duration = Duration::from_secs(1);
/// How long etcd may take to end when it is asked.
const ENDING: Duration = Duration::from_secs(10);
/// Age at which its certificate is replaced.
const RENEW_AFTER: Duration = Duration::from_secs(RENEW_AFTER_DAYS as u64 * 24 * 3600);

/// What came of a turn.
enum Turn {
    /// Something was done; there is more to do at once.
    Done,
    /// An etcd has ended.
    Ended,
    /// Nothing can be done, for this reason.
    Waits(&'static str),
}

/// Runs it until a signal.
pub(crate) async fn run(layout: Layout) -> Outcome {
    let mut signals = signals()?;
    tokio::select! {
        never = keep(&layout) => match never {},
        () = ended(&mut signals) => {}
    }
    let Some(pid) = Place::of(&layout).running() else { return Ok(Done::Well) };
    info!(pid, "etcd is asked to end");
    spawn::terminate(pid);
    if timeout(ENDING, spawn::ended(pid)).await.is_err() {
        let message = format!("etcd (process {pid}) does not end");
        return Err(Failure::new("T723", message, format!("see its log, then: kill -9 {pid}")));
    }
    Ok(Done::Well)
}

async fn keep(layout: &Layout) -> Infallible {
    let (mut pause, mut said) = (AGAIN, String::new());
    loop {
        let began = Instant::now();
        let what = match turn(layout).await {
            Ok(Turn::Done) => continue,
            Ok(Turn::Ended) => "etcd has ended, and is started again".to_owned(),
            Ok(Turn::Waits(why)) => format!("etcd does not run: {why}"),
            Err(failure) => {
                format!("error[{}]: {} ({})", failure.code, failure.message, failure.remedy)
            }
        };
        if began.elapsed() >= QUICK {
            (pause, said) = (AGAIN, String::new());
        }
        if what != said {
            warn!("{what}");
            said = what;
        }
        // waits: nothing tells when whatever kept it from running is over.
        sleep(pause).await;
        pause = (pause * 2).min(AGAIN_MOST);
    }
}

/// Does what is due. Ends when there is something else to do.
async fn turn(layout: &Layout) -> Result<Turn, Failure> {
    let member = Member::need(layout)?;
    let Some(site) = Site::of(&member)? else {
        return Ok(Turn::Waits("the file does not say that Tanist runs etcd"));
    };
    let place = Place::of(layout);
    let mut state = place.state(&member.is.installation)?;
    if let Some(pid) = place.running() {
        info!(pid, "etcd runs");
        attend(site, &place, state, spawn::ended(pid)).await;
        return Ok(Turn::Ended);
    }
    let own = Own {
        peer: &site.urls()[1],
        log: place.has_log(),
        id: state.id,
        begin: state.begin,
        removed: false,
    };
    // Who begins the cluster has nobody to ask.
    let founds = !own.log && own.begin == Some(Begin::Found);
    let others = if founds { None } else { others(site).await? };
    let (store, list, removed) = match others {
        Some((store, list, removed)) => (Some(store), Some(list), removed),
        None => (None, None, false),
    };
    let step = next(Own { removed, ..own }, list.as_deref());
    debug!(?step, "what is due for etcd");
    match (step, store) {
        (Step::Start(begin), _) => {
            if begin.is_some()
                && let Some(aside) = place.set_aside()?
            {
                warn!(aside = %aside.display(), "what was left of an earlier start is set aside");
            }
            place.save(&state)?;
            let child = site.start(&place, begin, list.as_deref().unwrap_or_default())?;
            info!(pid = child.id(), ?begin, "etcd starts");
            attend(site, &place, state, reaped(child)).await;
            return Ok(Turn::Ended);
        }
        (Step::Add, Some(store)) => {
            let id = store.add_learner(own.peer).await.map_err(|err| refused(&err))?;
            info!(id = format!("{id:x}"), "the cluster has a place for this host");
            (state.id, state.begin) = (Some(id), Some(Begin::Join(id)));
        }
        (Step::TakeOut(id), Some(store)) => {
            warn!(id = format!("{id:x}"), "this host's log is lost; its member leaves the cluster");
            store.remove_member(id).await.map_err(|err| refused(&err))?;
            (state.id, state.begin) = (None, None);
        }
        (Step::SetAside, _) => {
            let aside = place.set_aside()?.unwrap_or_default();
            warn!(aside = %aside.display(), "the member of this log has left the cluster");
            (state.id, state.begin) = (None, None);
        }
        (Step::Wait(why), _) => return Ok(Turn::Waits(words(why))),
        (Step::Add | Step::TakeOut(_), None) => return Ok(Turn::Waits(words(Why::Alone))),
    }
    place.save(&state)?;
    Ok(Turn::Done)
}

fn words(why: Why) -> &'static str {
    match why {
        Why::Removed => "this host was removed from the fleet",
        Why::Alone => {
            "it has no data, and no other server's etcd answers that could give it a place. Start \
             the other servers; if all data of etcd is lost, so is the fleet's state"
        }
        Why::AnotherLearns => "another server is just joining; etcd takes one at a time",
    }
}

fn refused(err: &tanist_store::StoreError) -> Failure {
    Failure::caused(
        "T724",
        err,
        "it is tried again: etcd wants every member connected for 5 s first",
    )
}

async fn reaped(mut child: spawn::Child) {
    // An error of waiting means that somebody else reaped it: it has ended.
    drop(child.wait().await);
}

pub(super) fn listed(members: Vec<EtcdMember>) -> Vec<Listed> {
    let one = |member: EtcdMember| Listed {
        id: member.id,
        name: member.name,
        peer: member.peer_urls.into_iter().next().unwrap_or_default(),
        learner: member.learner,
    };
    members.into_iter().map(one).collect()
}

/// What the running members say: who is one, and whether this host was removed from the fleet.
/// Nothing if none of them serves.
async fn others(site: Site<'_>) -> Result<Option<(EtcdStore, Vec<Listed>, bool)>, Failure> {
    let mut config = site.access(site.endpoints())?;
    config.timeouts = EtcdTimeouts { call: OTHERS, ..EtcdTimeouts::default() };
    let store = match EtcdStore::open(&config).await {
        Ok(store) => store,
        Err(err) => {
            debug!("no other member serves: {}", chain(&err));
            return Ok(None);
        }
    };
    let list = listed(store.cluster().await.map_err(|err| refused(&err))?);
    let removed = removed_hosts(&store).await.map_err(|err| {
        Failure::caused("T724", &err, "it is tried again; see the message if it stays")
    })?;
    let removed = removed.contains(&site.member.is.host);
    Ok(Some((store, list, removed)))
}

/// Sees to an etcd until it has ended.
async fn attend(site: Site<'_>, place: &Place, state: State, end: impl Future<Output = ()>) {
    tokio::select! {
        () = end => {}
        never = see_to(site, place, state) => match never {},
    }
}

async fn see_to(site: Site<'_>, place: &Place, mut state: State) -> Infallible {
    let (mut votes, mut said) = (false, String::new());
    loop {
        let mut looked = look(site, place, &mut state, &mut votes).await;
        if place.certified().and_then(|at| at.elapsed().ok()).is_none_or(|age| age > RENEW_AFTER) {
            looked = looked.and(site.certify(place));
        }
        if let Err(failure) = looked
            && failure.message != said
        {
            warn!("error[{}]: {} ({})", failure.code, failure.message, failure.remedy);
            said = failure.message;
        }
        let settled = votes && state.id.is_some() && state.begin.is_none();
        // waits: neither a vote that is due nor a certificate's age has an event.
        sleep(if settled { LOOK_SELDOM } else { LOOK_EVERY }).await;
    }
}

/// Learns what is not known yet of the member, and gets it its vote.
async fn look(
    site: Site<'_>,
    place: &Place,
    state: &mut State,
    votes: &mut bool,
) -> Result<(), Failure> {
    if state.begin.is_some() && place.has_log() {
        // From now on its log is what it begins with; without it, it is another member.
        state.begin = None;
        place.save(state)?;
    }
    if *votes && state.id.is_some() {
        return Ok(());
    }
    let Some((store, list, _)) = others(site).await? else { return Ok(()) };
    let [_, peer] = site.urls();
    let Some(own) = list.iter().find(|member| member.peer == peer) else { return Ok(()) };
    if state.id != Some(own.id) && !own.name.is_empty() {
        state.id = Some(own.id);
        place.save(state)?;
    }
    *votes = !own.learner;
    if own.learner && store.promote(own.id).await.map_err(|err| refused(&err))? {
        info!("this host's etcd has a vote");
        *votes = true;
    }
    Ok(())
}
