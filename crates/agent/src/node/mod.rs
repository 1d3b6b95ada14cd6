//! One node: a task that makes orders true for one engine.
//!
//! Orders arrive at any time and are carried out one after the other; the newest wins, and a wait
//! on behalf of an older one ends when it arrives. The task has its own connection to the engine; a
//! second one belongs to the probe, so that neither waits for the other.
//!
//! Invariant: nothing is done and nothing is answered for an order before the shard's guard has its
//! revision on the disk.
//!
//! Not here: knowing whether the process exists (`crate::supervisor`), reporting (`crate::board`).

mod admin;
mod fence;
mod follow;
mod lease;
mod probe;
mod promote;
mod stall;
mod start;
mod stop;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tanist_core::model::{Action, Epoch, NodeId, Order, Process, RunId};
use tanist_link::wire::ProcessKey;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep};
use tracing::{debug, info, warn};

use crate::AgentConfig;
use crate::board::Board;
use crate::guards::{GuardError, SharedGuard};
use crate::layout::NodeDir;
use crate::record::Record;
use crate::supervisor_link::Supervised;
use crate::versions::Versions;
use admin::{Admin, Failure};
use start::Attempts;

/// Pauses between attempts to connect to an engine that nobody needs just now.
const CONNECT_PAUSE: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(100));
/// How long an engine may take to answer when nobody waits for it.
const CALM_DEADLINE: Duration = Duration::from_secs(1);
/// How long a call under way may go on when a newer order has arrived.
const GRACE: Duration = Duration::from_millis(5);

/// What all nodes of a host share.
pub(crate) struct Context {
    pub(crate) config: AgentConfig,
    pub(crate) board: Board,
    pub(crate) supervised: Supervised,
    /// The fence's port, once it is bound.
    pub(crate) fence: watch::Receiver<Option<u16>>,
    pub(crate) versions: Versions,
    /// Where the probes' common beat begins.
    pub(crate) origin: Instant,
}

impl Context {
    /// Where an engine points that must not follow anybody.
    fn fence(&self) -> Option<SocketAddr> {
        let port = *self.fence.borrow();
        port.map(|port| SocketAddr::from((self.config.address, port)))
    }
}

/// What a node's task has to do.
#[derive(Debug, Clone)]
pub(crate) enum Errand {
    /// Nothing yet.
    None,
    /// Make an order true.
    Order(Arc<Order>),
    /// Stop the engine in order and say so.
    Stop(mpsc::Sender<NodeId>),
}

/// What is known of a node's process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Proc {
    /// The supervisor has not said yet.
    Unknown,
    /// There is none.
    Absent,
    /// It could not be started; why.
    NotStarted(String),
    /// It has ended; how.
    Exited(String),
    /// It runs.
    Running(ProcessKey),
}

/// The agent's side of a node's task.
pub(crate) struct Handle {
    pub(crate) errands: watch::Sender<Errand>,
    pub(crate) process: watch::Sender<Proc>,
    busy: Arc<AtomicBool>,
}

impl Handle {
    /// Hands an order over, unless it is older than the last one or being carried out.
    pub(crate) fn order(&self, order: Order) {
        self.errands.send_if_modified(|errand| {
            match errand {
                Errand::Stop(_) => return false,
                Errand::Order(known) if known.rev > order.rev => return false,
                Errand::Order(known) if **known == order && self.busy.load(Ordering::Acquire) => {
                    return false;
                }
                Errand::Order(_) | Errand::None => {}
            }
            // Busy from now on, not from when the task gets to it: repetitions fall in between.
            self.busy.store(true, Ordering::Release);
            *errand = Errand::Order(Arc::new(order));
            true
        });
    }
}

/// How a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Woken {
    /// Something about the process changed.
    Process,
    /// There is something newer to do.
    Superseded,
    /// The time is over.
    Elapsed,
}

/// A node's task.
pub(crate) struct Node {
    id: NodeId,
    dir: NodeDir,
    context: Arc<Context>,
    guard: SharedGuard,
    errands: watch::Receiver<Errand>,
    process: watch::Receiver<Proc>,
    busy: Arc<AtomicBool>,
    record: Record,
    admin: Option<Admin>,
    /// The run id of the process, once it has told.
    run: Option<RunId>,
    /// The engine's users besides the agent's: exact, since nobody else can change them.
    users: BTreeSet<String>,
    attempts: Attempts,
    /// The run of which everything that a following of this epoch's primary would destroy is saved.
    parted: Option<(RunId, Epoch)>,
    /// The process is being ended by this agent.
    killing: bool,
}

impl Node {
    /// A node's task, to be run by [`Node::live`], and the handle to it.
    pub(crate) fn new(
        id: NodeId,
        dir: NodeDir,
        record: Record,
        guard: SharedGuard,
        context: Arc<Context>,
    ) -> (Self, Handle) {
        let (errands, errands_heard) = watch::channel(Errand::None);
        let (process, process_heard) = watch::channel(Proc::Unknown);
        let busy = Arc::new(AtomicBool::new(false));
        let node = Self {
            id,
            dir,
            context,
            guard,
            errands: errands_heard,
            process: process_heard,
            busy: Arc::clone(&busy),
            record,
            admin: None,
            run: None,
            users: BTreeSet::new(),
            attempts: Attempts::default(),
            parted: None,
            killing: false,
        };
        (node, Handle { errands, process, busy })
    }

    /// Works until the agent ends.
    pub(crate) async fn live(mut self) {
        let mut pause = CONNECT_PAUSE.0;
        loop {
            let alone = self.running().is_some() && self.admin.is_none();
            tokio::select! {
                biased;
                changed = self.errands.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    Box::pin(self.carry_out()).await;
                    if !self.errands.has_changed().unwrap_or(false) {
                        self.busy.store(false, Ordering::Release);
                    }
                    pause = CONNECT_PAUSE.0;
                }
                changed = self.process.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    self.observe();
                    pause = CONNECT_PAUSE.0;
                }
                // waits: an engine offers no event for beginning to listen.
                () = sleep(pause), if alone => {
                    if let Err(failure) = self.greet(CALM_DEADLINE).await {
                        debug!(node = %self.id, %failure, "connecting");
                    }
                    pause = (pause * 2).min(CONNECT_PAUSE.1);
                }
            }
        }
    }

    async fn carry_out(&mut self) {
        let errand = self.errands.borrow_and_update().clone();
        let order = match errand {
            Errand::None => return,
            Errand::Stop(done) => {
                self.stop().await;
                // The agent counts those that are done; if it is gone, nobody does.
                let _ = done.send(self.id.clone()).await;
                return;
            }
            Errand::Order(order) => order,
        };
        if !self.admit(&order).await {
            return;
        }
        debug!(node = %self.id, action = order.action.name(), rev = %order.rev, "order");
        let done = match &order.action {
            Action::Start { engine, address, memory_bytes, data } => {
                self.start(&order, *engine, *address, *memory_bytes, *data).await;
                Ok(())
            }
            Action::Fence { was_primary, drain_to } => {
                self.fence(&order, *was_primary, *drain_to).await;
                Ok(())
            }
            Action::Promote { run, replicas, lanes, stand_ins } => {
                self.lead(&order, run, replicas, lanes, stand_ins.as_ref(), true).await
            }
            Action::Admit { run, replicas, lanes, stand_ins } => {
                self.lead(&order, run, replicas, lanes, stand_ins.as_ref(), false).await
            }
            Action::Follow { tag, primary, base, lanes } => {
                self.follow(&order, tag, *primary, base.as_ref(), lanes).await
            }
            Action::Configure { memory_bytes } => self.configure(*memory_bytes).await,
            Action::Remove => {
                self.remove().await;
                Ok(())
            }
        };
        match done {
            Ok(()) => {}
            Err(Failure::Superseded) => debug!(node = %self.id, "superseded"),
            // It is sent again until it is true.
            Err(failure) => {
                let text = format!("{}: {failure}", order.action.name());
                if self.attempts.is_news(&text) {
                    warn!(node = %self.id, text, "an order was not carried out");
                }
            }
        }
    }

    /// Asks the shard's guard; what it admits is on the disk then.
    async fn admit(&mut self, order: &Order) -> bool {
        let (verdict, guard) = {
            let mut kept = self.guard.lock().await;
            (kept.admit(order.rev, order.epoch).await, kept.guard())
        };
        match verdict {
            Ok(true) => {
                self.context.board.change(&self.id, |report| report.rev = guard.rev);
                true
            }
            Ok(false) => {
                let rev = order.rev;
                debug!(node = %self.id, %rev, seen = %guard.rev, "an older order is refused");
                false
            }
            Err(err) => {
                let name = match err {
                    GuardError::Damaged { .. } => "GuardDamaged",
                    GuardError::File { .. } => "GuardNotWritable",
                };
                self.refuse(name, err.to_string());
                false
            }
        }
    }

    /// Says that no order can be obeyed, and why.
    fn refuse(&mut self, name: &str, reason: String) {
        let board = &self.context.board;
        if self.attempts.is_news(&reason) {
            board.note(Some(&self.id), name, reason.clone());
        }
        if self.running().is_none() {
            board.change(&self.id, |report| report.process = Process::Failed(reason));
        }
    }

    fn running(&self) -> Option<ProcessKey> {
        match *self.process.borrow() {
            Proc::Running(process) => Some(process),
            Proc::Unknown | Proc::Absent | Proc::NotStarted(_) | Proc::Exited(_) => None,
        }
    }

    /// Takes in what has become of the process. To be called once for every change.
    fn observe(&mut self) {
        let now = self.process.borrow_and_update().clone();
        self.admin = None;
        self.users.clear();
        self.run = None;
        match now {
            Proc::Unknown | Proc::Absent => self.killing = false,
            Proc::Running(process) => {
                self.attempts.began();
                self.probe(process);
            }
            Proc::NotStarted(reason) => self.failed(reason),
            Proc::Exited(status) => {
                let killed = std::mem::take(&mut self.killing);
                self.ended(&status, killed);
            }
        }
    }

    /// Begins to probe the process, if it is known where it listens.
    fn probe(&self, process: ProcessKey) {
        let Some(start) = &self.record.start else { return };
        let (heard, context) = (self.process.clone(), Arc::clone(&self.context));
        let log = self.dir.log();
        tokio::spawn(probe::watch(self.id.clone(), process, start.address, log, heard, context));
    }

    /// Waits until something happens or `limit` is over.
    async fn wait(&mut self, limit: Duration) -> Woken {
        let mut newer = self.errands.clone();
        tokio::select! {
            biased;
            // An error means that the agent ends: that, too, is something newer.
            _ = newer.changed() => Woken::Superseded,
            changed = self.process.changed() => {
                if changed.is_err() {
                    return Woken::Superseded;
                }
                self.observe();
                Woken::Process
            }
            // waits: the limit is the event.
            () = sleep(limit) => Woken::Elapsed,
        }
    }

    /// Waits while the supervisor has not said whether the process exists; false if superseded.
    async fn known(&mut self) -> bool {
        while *self.process.borrow() == Proc::Unknown {
            if self.wait(Duration::from_secs(1)).await == Woken::Superseded {
                return false;
            }
        }
        true
    }

    /// Writes the node's record beside the other work.
    async fn save(&self) {
        let (record, path) = (self.record.clone(), self.dir.record());
        let saved = tokio::task::spawn_blocking(move || record.save(&path)).await;
        let saved = saved.map_err(std::io::Error::other).and_then(|saved| saved);
        if let Err(err) = saved {
            info!(node = %self.id, %err, "the node's record is not written");
        }
    }
}
