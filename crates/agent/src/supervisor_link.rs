//! The agent's conversation with its host's supervisor, opened again whenever it ends.
//!
//! Several agents may share one supervisor (simulated hosts), so nodes are named `HOST/NODE` in
//! this conversation, and what concerns other hosts is left out here.
//!
//! Invariant: nothing is queued for a supervisor that is away: whoever wants something asks again
//! until it is true.
//!
//! Not here: the supervisor itself (`crate::supervisor`).

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use tanist_core::model::{HostId, NodeId};
use tanist_link::wire::{FromSupervisor, ProcessKey, Signal, ToSupervisor};
use tanist_link::{Client, Duplex, LinkError};
use tokio::sync::mpsc;
use tokio::time::sleep;
use tracing::{debug, info, warn};

use crate::supervisor::ROUTE;

/// Pauses between attempts to reach the supervisor: the first and the longest.
const PAUSE: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(500));
/// Requests and news that may wait.
const QUEUE: usize = 256;

/// What the supervisor says about this host.
#[derive(Debug)]
pub(crate) enum News {
    Running(NodeId, ProcessKey),
    NotStarted(NodeId, String),
    Exited(NodeId, ProcessKey, String),
    /// Everything that exists has been said.
    Listed,
    /// The conversation was opened again: a new list begins.
    Opened,
    Fence(u16),
    FenceFailed(String),
    /// The node takes no more writes, or was killed, because its lease has ended.
    LeaseEnded(NodeId),
}

/// The agent's side: asks for things.
#[derive(Debug, Clone)]
pub(crate) struct Supervised {
    host: HostId,
    requests: mpsc::Sender<ToSupervisor>,
    client: Client,
}

impl Supervised {
    /// For what is asked and answered beside the conversation.
    pub(crate) fn client(&self) -> Client {
        self.client.clone()
    }

    fn name(&self, node: &NodeId) -> NodeId {
        NodeId::new(format!("{}/{node}", self.host))
    }

    pub(crate) fn start(&self, node: &NodeId, program: PathBuf, config: PathBuf, dir: PathBuf) {
        self.ask(ToSupervisor::Start { node: self.name(node), program, config, dir });
    }

    pub(crate) fn signal(&self, node: &NodeId, process: ProcessKey, signal: Signal) {
        self.ask(ToSupervisor::Signal { node: self.name(node), process, signal });
    }

    fn ask(&self, request: ToSupervisor) {
        if self.requests.try_send(request).is_err() {
            debug!("the supervisor does not take requests");
        }
    }
}

/// Opens the conversation and keeps it open; ends when the news are not read any more.
pub(crate) fn connect(
    socket: PathBuf,
    host: HostId,
    address: Ipv4Addr,
) -> (Supervised, mpsc::Receiver<News>) {
    let (requests, asked) = mpsc::channel(QUEUE);
    let (news, heard) = mpsc::channel(QUEUE);
    let client = Client::new(socket);
    let link = Link { client: client.clone(), host: host.clone(), address, asked, news };
    tokio::spawn(link.keep());
    (Supervised { host, requests, client }, heard)
}

struct Link {
    client: Client,
    host: HostId,
    address: Ipv4Addr,
    asked: mpsc::Receiver<ToSupervisor>,
    news: mpsc::Sender<News>,
}

impl Link {
    async fn keep(mut self) {
        let mut pause = PAUSE.0;
        while !self.news.is_closed() {
            match self.client.open::<ToSupervisor, FromSupervisor>(ROUTE).await {
                Ok(duplex) => {
                    pause = PAUSE.0;
                    info!(host = %self.host, "the supervisor is reached");
                    match self.talk(duplex).await {
                        Ok(()) => warn!(host = %self.host, "the supervisor has ended"),
                        Err(err) => {
                            let err = &err as &dyn std::error::Error;
                            warn!(host = %self.host, err, "the supervisor is lost");
                        }
                    }
                }
                Err(err) => debug!(err = &err as &dyn std::error::Error, "no supervisor"),
            }
            tokio::select! {
                // waits: nothing tells when a socket will be offered again.
                () = sleep(pause) => pause = (pause * 2).min(PAUSE.1),
                () = self.news.closed() => return,
            }
            while self.asked.try_recv().is_ok() {}
        }
    }

    async fn talk(
        &mut self,
        duplex: Duplex<ToSupervisor, FromSupervisor>,
    ) -> Result<(), LinkError> {
        let Duplex { sender, mut receiver } = duplex;
        let _ = self.news.send(News::Opened).await;
        sender.send(&ToSupervisor::BindFence { address: self.address })?;
        loop {
            tokio::select! {
                said = receiver.recv() => match said? {
                    Some(said) => if let Some(news) = self.mine(said)
                        && self.news.send(news).await.is_err() {
                            return Ok(());
                        },
                    None => return Ok(()),
                },
                request = self.asked.recv() => match request {
                    Some(request) => sender.send(&request)?,
                    None => return Ok(()),
                },
                () = self.news.closed() => return Ok(()),
            }
        }
    }

    /// What concerns this host.
    fn mine(&self, said: FromSupervisor) -> Option<News> {
        let node = |name: NodeId| {
            let (host, node) = name.as_str().split_once('/')?;
            (host == self.host.as_str()).then(|| NodeId::new(node))
        };
        match said {
            FromSupervisor::Running { node: name, process } => {
                Some(News::Running(node(name)?, process))
            }
            FromSupervisor::Listed => Some(News::Listed),
            FromSupervisor::NotStarted { node: name, reason } => {
                Some(News::NotStarted(node(name)?, reason))
            }
            FromSupervisor::Exited { node: name, process, status } => {
                Some(News::Exited(node(name)?, process, status))
            }
            FromSupervisor::LeaseEnded { node: name } => Some(News::LeaseEnded(node(name)?)),
            FromSupervisor::FenceBound { address, port } => {
                (address == self.address).then_some(News::Fence(port))
            }
            FromSupervisor::FenceFailed { address, reason } => {
                (address == self.address).then_some(News::FenceFailed(reason))
            }
        }
    }
}
