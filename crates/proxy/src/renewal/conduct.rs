//! How far an upgrade is, and what comes next: asked for, tried out, warned of, at rest, done.
//!
//! Invariant: one at a time; whatever fails, the stage is [`Stage::Off`] afterwards.
//!
//! Not here: handing over (`crate::control`).

use std::path::PathBuf;
use std::rc::Rc;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tracing::warn;

use super::program::{self, Tried, Wanted};
use super::{GRACE, PATIENCE, PATIENCE_SEALED, Refused, Renewal, Stage, Succession};
use crate::client::Client;
use crate::shard::Shard;

/// An upgrade whose program was found fit.
#[derive(Debug)]
struct UnderWay {
    wanted: Wanted,
    /// When to look again although nobody says anything.
    look_at: Instant,
    /// When those who were told late that they have to leave have had their time as well.
    patient_until: Instant,
    /// When clients began to come to rest, on the machine's clock, in microseconds.
    since: u64,
}

/// What has happened.
#[derive(Debug)]
pub(crate) enum Next {
    /// Somebody has sent the signal.
    Asked,
    /// A program was tried out.
    Tried(Tried),
    /// A client has come to rest, or time has passed.
    Look,
}

/// The upgrades of a proxy.
#[derive(Debug)]
pub(crate) struct Conduct {
    succession: Option<Succession>,
    asked: Option<Signal>,
    told: mpsc::UnboundedSender<Tried>,
    tried: mpsc::UnboundedReceiver<Tried>,
    trying: bool,
    under_way: Option<UnderWay>,
    /// An `execve` has failed. It resets what the process does about SIGPIPE, and is not tried twice.
    spent: Option<Signal>,
}

impl Conduct {
    pub(crate) fn new(succession: Option<Succession>) -> Self {
        let (told, tried) = mpsc::unbounded_channel();
        Self { succession, asked: None, told, tried, trying: false, under_way: None, spent: None }
    }

    /// Begins to listen to SIGUSR2, if the proxy can do what it asks for.
    pub(crate) fn listen(&mut self) {
        if self.succession.is_some() {
            match signal(SignalKind::user_defined2()) {
                Ok(asked) => self.asked = Some(asked),
                Err(err) => warn!(%err, "SIGUSR2 cannot be heard"),
            }
        }
    }

    /// What tells this program from another, if it can become another one.
    pub(crate) fn build(&self) -> Option<String> {
        self.succession.as_ref().map(|succession| succession.build.clone())
    }

    /// What to become when nobody names another.
    pub(crate) fn own_program(&self) -> PathBuf {
        self.succession.as_ref().map(|own| own.program.clone()).unwrap_or_default()
    }

    /// What goes along.
    pub(crate) fn succession(&self) -> Result<&Succession, Refused> {
        self.succession.as_ref().ok_or(Refused::Unable)
    }

    /// Whether clients are coming to rest.
    pub(crate) fn is_under_way(&self) -> bool {
        self.under_way.is_some()
    }

    /// Waits for what happens next.
    pub(crate) async fn next(&mut self, renewal: &Renewal) -> Next {
        let look_at = self.under_way.as_ref().map(|under_way| under_way.look_at);
        let asked = async {
            match &mut self.asked {
                Some(asked) => asked.recv().await,
                None => std::future::pending().await,
            }
        };
        let look = async {
            match look_at {
                Some(at) => tokio::select! {
                    () = renewal.settled.notified() => {}
                    // waits: for the limit on what was just waited for.
                    () = sleep_until(at) => {}
                },
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = asked => Next::Asked,
            Some(tried) = self.tried.recv() => Next::Tried(tried),
            () = look => Next::Look,
        }
    }

    /// Begins to try a program out.
    pub(crate) fn ask(&mut self, wanted: &Wanted) -> Result<(), Refused> {
        let succession = self.succession.as_ref().ok_or(Refused::Unable)?;
        if self.spent.is_some() {
            return Err(Refused::Spent);
        }
        if self.trying || self.under_way.is_some() {
            return Err(Refused::Busy);
        }
        self.trying = true;
        program::try_out(wanted.clone(), succession, self.told.clone());
        Ok(())
    }

    /// The program was tried out.
    pub(crate) fn tried(&mut self) {
        self.trying = false;
    }

    /// The program is fit: encrypted clients are told that they have to leave, and if there are none the
    /// others come to rest.
    pub(crate) fn begin<'a>(
        &mut self,
        wanted: Wanted,
        renewal: &Renewal,
        shards: impl Iterator<Item = &'a Rc<Shard>> + Clone,
    ) {
        let now = Instant::now();
        let notice = renewal.next_notice();
        renewal.ended.set(0);
        for client in renewal.clients() {
            client.borrow_mut().warn(notice);
        }
        let patient_until = now + GRACE * 2;
        self.under_way = Some(UnderWay { wanted, look_at: now + GRACE, patient_until, since: 0 });
        if renewal.any(|client| client.may_leave(now)) {
            renewal.set_stage(Stage::Warning { notice });
            wake(shards);
        } else {
            self.come_to_rest(renewal, shards);
        }
    }

    fn come_to_rest<'a>(&mut self, renewal: &Renewal, shards: impl Iterator<Item = &'a Rc<Shard>>) {
        let now = Instant::now();
        if let Some(under_way) = &mut self.under_way {
            under_way.look_at = now + PATIENCE_SEALED;
            under_way.since = machine_micros();
        }
        renewal.set_stage(Stage::Quiet { since: now });
        wake(shards);
        // Where there are no clients, nobody comes to rest.
        renewal.settled.notify_one();
    }

    /// Looks how far it is: with what and since when to hand over, if everybody is at rest.
    pub(crate) fn look<'a>(
        &mut self,
        renewal: &Renewal,
        shards: impl Iterator<Item = &'a Rc<Shard>>,
    ) -> Result<Option<(Wanted, u64)>, (Wanted, Refused)> {
        let now = Instant::now();
        let Some(under_way) = &mut self.under_way else { return Ok(None) };
        match renewal.stage() {
            Stage::Off => Ok(None),
            Stage::Warning { .. } => {
                let patient_until = under_way.patient_until;
                if !renewal.any(|client| client.may_leave(now)) || patient_until <= now {
                    self.come_to_rest(renewal, shards);
                } else if under_way.look_at <= now {
                    under_way.look_at = (now + GRACE / 4).min(patient_until);
                }
                Ok(None)
            }
            Stage::Quiet { since } => {
                let restless = |client: &Client| !client.is_settled();
                if !renewal.any(restless) {
                    return Ok(Some((under_way.wanted.clone(), under_way.since)));
                }
                if since + PATIENCE > now {
                    if under_way.look_at <= now {
                        under_way.look_at = since + PATIENCE;
                        // Those that are given up now may say nothing by themselves.
                        wake(shards);
                    }
                    return Ok(None);
                }
                let clients = renewal.clients();
                let count = clients.iter().filter(|client| restless(&client.borrow())).count();
                Err((under_way.wanted.clone(), Refused::Restless(count, clients.len())))
            }
        }
    }

    /// Everything goes on as it was.
    pub(crate) fn give_up<'a>(
        &mut self,
        renewal: &Renewal,
        refused: &Refused,
        shards: impl Iterator<Item = &'a Rc<Shard>>,
    ) {
        if matches!(refused, Refused::Exec(..)) {
            // A handler of its own keeps a broken connection from ending the process.
            self.spent = signal(SignalKind::pipe()).ok();
        }
        self.under_way = None;
        renewal.set_stage(Stage::Off);
        for client in renewal.clients() {
            client.borrow_mut().unwarn();
        }
        wake(shards);
    }
}

/// Lets every client look what it is to do.
fn wake<'a>(shards: impl Iterator<Item = &'a Rc<Shard>>) {
    for shard in shards {
        shard.changed();
    }
}

/// The machine's monotonic clock, which the next image reads as well, in microseconds.
pub(crate) fn machine_micros() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let [secs, nanos] = [time.tv_sec, time.tv_nsec].map(|part| u64::try_from(part).unwrap_or(0));
    secs * 1_000_000 + nanos / 1000
}
