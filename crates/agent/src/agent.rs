//! The agent: orders in, reports out.
//!
//! It keeps a task per node and tells each what concerns it. What the supervisor says about
//! processes is reported from here at once, whatever the node's task is doing.
//!
//! Invariant: ending the agent ends no engine, unless everything was to be stopped.
//!
//! Not here: how orders are carried out (`crate::node`).

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tanist_core::model::{HostId, Limits, NodeId, Order, Process, RoleSeen, ShardKey};
use tanist_link::Secret;
use tanist_link::api::Fault;
use tanist_link::wire::{FromAgent, ProcessKey, Signal, ToAgent};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::{info, warn};

use crate::AgentError;
use crate::board::Board;
use crate::guards::Guards;
use crate::inbox::Inbox;
use crate::keeping::{Keeper, Question};
use crate::layout::{self, Layout, is_plain};
use crate::logs;
use crate::node::{Context, Errand, Handle, Node, Proc};
use crate::record::Record;
use crate::supervisor_link::{self, News};
use crate::versions::Versions;

/// The engines' binaries.
#[derive(Debug, Clone)]
pub struct Engines {
    /// `redis-server`, 7.0 or later.
    pub redis: PathBuf,
    /// `valkey-server`, 8.0 or later.
    pub valkey: PathBuf,
}

/// What an agent works by.
#[derive(Debug, Clone)]
pub struct AgentConfig {
    /// The host that it is the hands of.
    pub host: HostId,
    /// Where its engines listen; every host of one supervisor has its own.
    pub address: Ipv4Addr,
    /// The host's own directory. Made if it does not exist.
    pub dir: PathBuf,
    /// The installation's secret, from which every password follows.
    pub secret: Secret,
    /// The supervisor's socket.
    pub supervisor: PathBuf,
    /// The engines' binaries.
    pub engines: Engines,
    /// Deadlines of the installation.
    pub limits: Limits,
    /// Time between two probes of an engine; 50 ms unless tuned.
    pub probe_every: Duration,
    /// Primaries of `async` groups need leases: somebody else may be made primary where this host is
    /// not heard. Not so on one host.
    pub leases: bool,
}

/// Why an agent ended without an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Every engine was stopped, as asked.
    Stopped,
    /// Nobody gives orders or hears reports any more; engines live on.
    Dismissed,
}

/// Works until `inbox` is closed or everything was stopped as asked. After an error it is to be
/// called again with the same `inbox`: what was asked there still holds.
///
/// # Errors
/// [`AgentError`] if the host's directory or a fence port cannot be had.
pub async fn run(
    config: AgentConfig,
    inbox: &mut Inbox,
    outbox: mpsc::Sender<FromAgent>,
) -> Result<Ended, AgentError> {
    let directory = |source| AgentError::Directory { path: config.dir.clone(), source };
    let layout = Layout::prepare(&config.dir).map_err(directory)?;
    let known = layout.known_nodes().map_err(directory)?;
    let trash = layout.trash_left().map_err(directory)?;
    // Beside the work: what a large node has left takes long to delete, and nobody waits for it.
    drop(tokio::task::spawn_blocking(move || layout::delete_all(&trash)));
    let (supervised, news) =
        supervisor_link::connect(config.supervisor.clone(), config.host.clone(), config.address);
    let (fence, fence_heard) = watch::channel(None);
    let every = config.probe_every;
    let context = Arc::new(Context {
        board: Board::new(config.host.clone(), config.leases),
        supervised,
        fence: fence_heard,
        versions: Versions::default(),
        origin: Instant::now(),
        config,
    });
    let keeper = Arc::new(Keeper::new(layout.clone()));
    let mut agent = Agent {
        context: Arc::clone(&context),
        guards: Guards::new(layout.clone()),
        keeper: Arc::clone(&keeper),
        layout: layout.clone(),
        fence,
        nodes: BTreeMap::new(),
        tasks: JoinSet::new(),
        strays: BTreeMap::new(),
        listing: BTreeSet::new(),
        listed: false,
    };
    for node in known {
        agent.remember(&node);
    }
    tokio::select! {
        ended = agent.work(inbox, news) => {
            let ended = ended?;
            let host = context.config.host.clone();
            match ended {
                Ended::Stopped => {
                    context.board.flush(&outbox).await;
                    // Nobody to tell is no reason to fail: everything is stopped.
                    let _ = outbox.send(FromAgent::Stopped { host }).await;
                }
                Ended::Dismissed => info!(%host, "the agent ends, engines live on"),
            }
            Ok(ended)
        }
        () = context.board.report_to(&outbox, every) => Ok(Ended::Dismissed),
        () = keeper.work(&context.config.host, &outbox) => Ok(Ended::Dismissed),
        () = logs::keep_engines_short(layout) => Ok(Ended::Dismissed),
    }
}

/// How long the supervisor may take to say what runs before everything is stopped.
const LISTING: Duration = Duration::from_secs(10);
/// How long engines of unknown nodes may take to end when they are asked, and when they are killed.
const STRAYS: Duration = Duration::from_secs(10);

struct Agent {
    context: Arc<Context>,
    guards: Guards,
    keeper: Arc<Keeper>,
    layout: Layout,
    fence: watch::Sender<Option<u16>>,
    nodes: BTreeMap<NodeId, Handle>,
    /// The nodes' tasks; they end with the agent.
    tasks: JoinSet<()>,
    /// Engines of this host that run although nothing is known of their nodes.
    strays: BTreeMap<NodeId, ProcessKey>,
    /// What the supervisor has listed since the conversation was opened.
    listing: BTreeSet<NodeId>,
    /// The supervisor has said everything that exists, at least once.
    listed: bool,
}

impl Agent {
    async fn work(
        &mut self,
        inbox: &mut Inbox,
        mut news: mpsc::Receiver<News>,
    ) -> Result<Ended, AgentError> {
        loop {
            tokio::select! {
                biased;
                Some(news) = news.recv() => self.hear(news)?,
                message = inbox.recv() => match message {
                    None => return Ok(Ended::Dismissed),
                    Some(ToAgent::Order(order)) => self.order(*order),
                    Some(ToAgent::Echo(number)) => self.context.board.hear(number),
                    Some(ToAgent::Inject { node, fault }) => self.inject(&node, fault),
                    Some(ToAgent::Keep(keep)) => self.keeper.keep(keep),
                    Some(ToAgent::LetGo { key, rev }) => self.keeper.let_go(key, rev),
                    Some(ToAgent::Recall(number)) => self.recall(number),
                    // It concerns a conversation, and nobody here has one.
                    Some(ToAgent::Parts) => {}
                    Some(ToAgent::StopAll) => {
                        self.stop_all(&mut news).await?;
                        return Ok(Ended::Stopped);
                    }
                },
            }
        }
    }

    fn order(&mut self, order: Order) {
        let names = [order.group.as_str(), order.shard.as_str(), order.node.as_str()];
        if !names.into_iter().all(is_plain) {
            return warn!(node = %order.node, "an order with a name that cannot be a file's");
        }
        if !self.nodes.contains_key(&order.node) {
            let record = Record::new(order.group.clone(), order.shard.clone());
            self.open(&order.node, record);
        }
        if let Some(handle) = self.nodes.get(&order.node) {
            handle.order(order);
        }
    }

    /// Takes up a node that has a directory.
    fn remember(&mut self, node: &NodeId) {
        match Record::load(&self.layout.node(node).record()) {
            Some(record) => self.open(node, record),
            None => warn!(%node, "its directory has no record; it waits for an order"),
        }
    }

    fn open(&mut self, node: &NodeId, record: Record) {
        let key = ShardKey { group: record.group.clone(), shard: record.shard.clone() };
        let guard = self.guards.of(&key);
        let rev = guard.try_lock().map(|kept| kept.guard().rev).unwrap_or_default();
        let dir = self.layout.node(node);
        self.context.board.open(&key, node, rev, dir.exists());
        let context = Arc::clone(&self.context);
        let (task, handle) = Node::new(node.clone(), dir, record, guard, context);
        self.tasks.spawn(task.live());
        self.nodes.insert(node.clone(), handle);
        if let Some(process) = self.strays.remove(node) {
            self.runs(node, process);
        } else if self.listed {
            self.absent(node);
        }
    }

    fn runs(&self, node: &NodeId, process: ProcessKey) {
        let Some(handle) = self.nodes.get(node) else { return };
        if *handle.process.borrow() != Proc::Running(process) {
            self.context.board.process(node, Some(process), Process::Running(None));
            handle.process.send_replace(Proc::Running(process));
        }
    }

    fn hear(&mut self, news: News) -> Result<(), AgentError> {
        match news {
            News::Opened => {
                self.listing.clear();
                self.strays.clear();
            }
            News::Running(node, process) => {
                self.listing.insert(node.clone());
                if self.nodes.contains_key(&node) {
                    self.runs(&node, process);
                } else {
                    warn!(%node, pid = process.pid, "an engine runs whose node is not known");
                    self.strays.insert(node, process);
                }
            }
            News::NotStarted(node, reason) => {
                if let Some(handle) = self.nodes.get(&node) {
                    handle.process.send_replace(Proc::NotStarted(reason));
                }
            }
            News::Exited(node, process, status) => {
                self.strays.remove(&node);
                let handle = self.nodes.get(&node);
                let same = |handle: &&Handle| *handle.process.borrow() == Proc::Running(process);
                if let Some(handle) = handle.filter(same) {
                    self.context.board.process(&node, None, Process::Absent);
                    handle.process.send_replace(Proc::Exited(status));
                }
            }
            News::LeaseEnded(node) => {
                let text = "its lease has ended and nobody has renewed it: it takes no more writes";
                self.context.board.note(Some(&node), "LeaseEnded", text);
                // The controller that leads has to let it go on.
                self.context.board.change(&node, |report| report.applied = None);
            }
            News::Listed => self.listed(),
            News::Fence(port) => {
                let before = self.fence.send_replace(Some(port));
                if before.is_some_and(|before| before != port) {
                    warn!(port, "the fence port has changed");
                }
            }
            News::FenceFailed(reason) => {
                if self.fence.borrow().is_none() {
                    let address = self.context.config.address;
                    return Err(AgentError::Fence { address, reason });
                }
                warn!(reason, "the fence port is not held any more");
            }
        }
        Ok(())
    }

    /// Everything that exists was said: the rest does not.
    fn listed(&mut self) {
        self.listed = true;
        let rest: Vec<NodeId> =
            self.nodes.keys().filter(|node| !self.listing.contains(*node)).cloned().collect();
        for node in rest {
            self.absent(&node);
        }
    }

    fn absent(&self, node: &NodeId) {
        let Some(handle) = self.nodes.get(node) else { return };
        let now = match &*handle.process.borrow() {
            Proc::Unknown => Proc::Absent,
            Proc::Running(_) => Proc::Exited("ended while nobody watched".to_owned()),
            Proc::Absent | Proc::NotStarted(_) | Proc::Exited(_) => return,
        };
        self.context.board.process(node, None, Process::Absent);
        handle.process.send_replace(now);
    }

    /// Has it said what is kept, and what was promised.
    fn recall(&mut self, number: u64) {
        match self.layout.known_shards() {
            Ok(keys) => {
                let guards = &mut self.guards;
                let shards = keys.into_iter().map(|key| (key.clone(), guards.of(&key))).collect();
                self.keeper.ask(Question { number, shards });
            }
            // Not answered is not heard; the host is named then.
            Err(err) => warn!(%err, "what is kept cannot be looked through"),
        }
    }

    fn inject(&self, node: &NodeId, fault: Fault) {
        let process = self.nodes.get(node).map(|handle| handle.process.borrow().clone());
        let Some(Proc::Running(process)) = process else {
            return warn!(%node, ?fault, "nothing runs that the fault could be done to");
        };
        let signal = match fault {
            Fault::Kill => Signal::Kill,
            Fault::Freeze => Signal::Stop,
            Fault::Thaw => Signal::Continue,
        };
        info!(%node, ?fault, "a drill");
        self.context.supervised.signal(node, process, signal);
    }

    /// Stops every engine: first those that take writes, so that the others receive the last ones.
    async fn stop_all(&mut self, news: &mut mpsc::Receiver<News>) -> Result<(), AgentError> {
        self.wait_for_list(news).await?;
        let is_primary = |node: &NodeId| {
            let report = self.context.board.report(node);
            let engine = report.as_ref().and_then(|report| report.engine());
            engine.is_some_and(|engine| matches!(engine.role, RoleSeen::Primary { .. }))
        };
        let (first, rest): (Vec<NodeId>, Vec<NodeId>) =
            self.nodes.keys().cloned().partition(is_primary);
        for nodes in [first, rest] {
            let (done, mut finished) = mpsc::channel(nodes.len().max(1));
            for handle in nodes.iter().filter_map(|node| self.nodes.get(node)) {
                handle.errands.send_replace(Errand::Stop(done.clone()));
            }
            drop(done);
            let mut left: BTreeSet<NodeId> = nodes.into_iter().collect();
            while !left.is_empty() {
                tokio::select! {
                    biased;
                    Some(news) = news.recv() => self.hear(news)?,
                    node = finished.recv() => match node {
                        Some(node) => { left.remove(&node); }
                        None => break,
                    },
                }
            }
        }
        self.stop_strays(news).await
    }

    /// Right after its start an agent does not know yet what runs; ending then would leave engines
    /// running with nobody to end them.
    async fn wait_for_list(&mut self, news: &mut mpsc::Receiver<News>) -> Result<(), AgentError> {
        // waits: for the list, not longer than this.
        let over = tokio::time::sleep(LISTING);
        tokio::pin!(over);
        while !self.listed {
            tokio::select! {
                biased;
                Some(news) = news.recv() => self.hear(news)?,
                () = &mut over => {
                    warn!("the supervisor does not say what runs");
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Stops engines of which nothing else is known; what they write at their end is all that a
    /// person may find of them.
    async fn stop_strays(&mut self, news: &mut mpsc::Receiver<News>) -> Result<(), AgentError> {
        for (signal, patience) in [(Signal::Terminate, STRAYS), (Signal::Kill, STRAYS)] {
            for (node, process) in &self.strays {
                self.context.supervised.signal(node, *process, signal);
            }
            // waits: for the engines' ends, not longer than this.
            let over = tokio::time::sleep(patience);
            tokio::pin!(over);
            while !self.strays.is_empty() {
                tokio::select! {
                    biased;
                    Some(news) = news.recv() => self.hear(news)?,
                    () = &mut over => break,
                }
            }
        }
        Ok(())
    }
}
