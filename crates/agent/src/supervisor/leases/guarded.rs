//! One primary and its lease: while there is one nothing is done; at its end the primary takes no more
//! writes.
//!
//! It is made a replica of the fence, which it confirms within a millisecond, and is killed if it does
//! not. What became of it is told to the agent: the controller that leads may let it go on.
//!
//! Invariant: from 50 ms after the end of its lease on, the engine takes no writes.
//!
//! Not here: where leases come from (`super`).

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tanist_core::guard::Due;
use tanist_core::model::{NodeId, StandIn};
use tanist_link::Secret;
use tanist_link::wire::{ADMIN_USER, Lead, admin_label, stand_in_label, stand_in_user};
use tanist_resp::{Command, Connection, ConnectionError};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tracing::{debug, info, warn};

use super::{Primary, Shared};
use crate::clock::boot_time;
use crate::supervisor::Event;

/// How long the engine may take to confirm that it takes no more writes.
const CONFIRM: Duration = Duration::from_millis(50);
/// Pause between two looks at an engine without a lease: an order to lead may be on its way to it.
const LOOK: Duration = Duration::from_millis(25);
/// How long a connection to an engine may take when there is time.
const CALM: Duration = Duration::from_millis(100);

/// Guards the primary until it is to be guarded no more.
pub(super) async fn guard(shared: Arc<Shared>, primary: Arc<Primary>, grace: Option<Duration>) {
    let (mut leads, mut leases) = (primary.lead.subscribe(), primary.lease.subscribe());
    let mut engine = Engine::default();
    match grace {
        // waits: for the first lease since the supervisor was started again, not longer than this.
        Some(grace) => drop(timeout(grace, leases.changed()).await),
        // Nobody is told to take writes before that.
        None if leases.changed().await.is_err() => return,
        None => {}
    }
    let mut known_stopped = false;
    loop {
        let Some(lead) = leads.borrow_and_update().clone() else { return };
        let lease = *leases.borrow_and_update();
        let (due, pause) = lease.due(lead.epoch, boot_time(), &shared.config.limits);
        // From here on: what is done meanwhile takes time, and a lease does not wait for it.
        let mut again = Instant::now() + pause;
        match due {
            Due::Stop => {
                let stopped = stop(&mut engine, &lead, known_stopped, &primary.name, &shared);
                known_stopped = stopped.await;
                again = Instant::now() + LOOK;
            }
            Due::Ask => {
                known_stopped = false;
                tokio::spawn(ask(lead, Arc::clone(&primary), Arc::clone(&shared)));
            }
            Due::Wait => {
                known_stopped = false;
                // So that its end takes no time to dial in.
                let reached = engine.reach(&lead, &shared.config.secret, CALM);
                if let Ok(Err(err)) = timeout_at(again, reached).await {
                    debug!(node = %primary.name, %err, "dialling a primary");
                }
            }
        }
        tokio::select! {
            changed = leads.changed() => if changed.is_err() { return },
            changed = leases.changed() => if changed.is_err() { return },
            // waits: the end of a lease is a time.
            () = sleep_until(again) => {}
        }
    }
}

/// Sees to it that the engine takes no writes; whether it is known to take none. One that is known to
/// is looked at again, because an order to lead may be on its way to it, but not killed for being slow:
/// it may have the newest data there is.
async fn stop(
    engine: &mut Engine,
    lead: &Lead,
    known_stopped: bool,
    name: &NodeId,
    shared: &Shared,
) -> bool {
    let Shared { config, events, .. } = shared;
    engine.leads = false;
    let stopped = timeout(CONFIRM, engine.stop(lead, &config.secret)).await;
    let event = match stopped {
        Ok(Ok(Stopped::Before)) => return true,
        Ok(Ok(Stopped::Now)) => {
            warn!(node = %name, "its lease has ended: it takes no more writes");
            Event::LeaseEnded(name.clone())
        }
        Ok(Err(err)) if is_absent(&err) => return known_stopped,
        Ok(Ok(Stopped::Refused) | Err(_)) | Err(_) => {
            let leads = std::mem::take(engine).leads;
            if known_stopped && !leads {
                return true;
            }
            warn!(node = %name, "its lease has ended and it does not confirm that it stops: killed");
            Event::Kill(name.clone())
        }
    };
    if events.send(event).await.is_err() {
        info!("the supervisor ends");
    }
    true
}

/// Nobody listens there: a process that is about to be known as ended.
fn is_absent(err: &ConnectionError) -> bool {
    let ConnectionError::Connect { source, .. } = err else { return false };
    source.kind() == ErrorKind::ConnectionRefused
}

/// What has become of an engine that is to take no writes.
enum Stopped {
    /// It took none.
    Before,
    /// It takes none from now on.
    Now,
    /// It says that it will not.
    Refused,
}

/// The supervisor's own connection to an engine.
#[derive(Default)]
struct Engine {
    line: Option<(SocketAddr, Connection)>,
    /// It has just said that it takes writes.
    leads: bool,
}

impl Engine {
    async fn reach(
        &mut self,
        lead: &Lead,
        secret: &Secret,
        limit: Duration,
    ) -> Result<&mut Connection, ConnectionError> {
        let good = |(address, connection): &(SocketAddr, Connection)| {
            *address == lead.address && !connection.is_broken()
        };
        let open = match self.line.take().filter(good) {
            Some(open) => open,
            None => {
                let until = Instant::now() + limit;
                let mut connection = Connection::connect(lead.address, limit).await?;
                let password = secret.password(&admin_label(&lead.node));
                let auth = Command::new("AUTH").arg(ADMIN_USER).arg(password);
                let left = until.saturating_duration_since(Instant::now());
                connection.call(&auth, left).await?;
                (lead.address, connection)
            }
        };
        Ok(&mut self.line.insert(open).1)
    }

    /// Makes sure that the engine takes no writes.
    async fn stop(&mut self, lead: &Lead, secret: &Secret) -> Result<Stopped, ConnectionError> {
        let connection = self.reach(lead, secret, CONFIRM).await?;
        let role = connection.call(&Command::new("ROLE"), CONFIRM).await?;
        let word = role.as_array().and_then(|role| role.first()?.as_str());
        if word.is_some_and(|word| word != "master") {
            return Ok(Stopped::Before);
        }
        self.leads = true;
        let connection = self.reach(lead, secret, CONFIRM).await?;
        let (host, port) = (lead.fence.ip().to_string(), i64::from(lead.fence.port()));
        let fence = Command::new("REPLICAOF").arg(host).int(port);
        let answer = connection.call(&fence, CONFIRM).await?;
        Ok(if answer.as_error().is_none() { Stopped::Now } else { Stopped::Refused })
    }
}

/// Asks everybody who could take over; if all confirm, that is as good as a controller's word. Without
/// anybody nobody else can.
async fn ask(lead: Lead, primary: Arc<Primary>, shared: Arc<Shared>) {
    let asked_at = boot_time();
    let limits = shared.config.limits;
    let mut words = JoinSet::new();
    for one in lead.stand_ins.clone() {
        words.spawn(confirms(one, lead.clone(), shared.config.secret.clone(), limits.lease));
    }
    while let Some(word) = words.join_next().await {
        if !word.is_ok_and(|word| word) {
            return;
        }
    }
    debug!(node = %primary.name, "no controller grants a lease: whoever could take over confirms it");
    primary.grant(lead.epoch, asked_at, &limits);
}

/// Whether the replica gives its word: it lets its primary's supervisor in only while it does.
async fn confirms(one: StandIn, lead: Lead, secret: Secret, limit: Duration) -> bool {
    let user = stand_in_user(&one.tag);
    let password = secret.password(&stand_in_label(&lead.group, &lead.shard, &user));
    let word = async {
        let mut connection = Connection::connect(one.address, limit).await?;
        let auth = Command::new("AUTH").arg(user).arg(password);
        let answers = connection.pipeline(&[auth, Command::new("PING")], limit).await?;
        let refused = answers.iter().any(|answer| answer.as_error().is_some());
        Ok::<_, ConnectionError>(!refused)
    };
    timeout(limit, word).await.is_ok_and(|word| word.unwrap_or(false))
}
