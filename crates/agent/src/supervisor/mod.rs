//! The supervisor: the small process that has a host's engines as its children.
//!
//! It does as little as possible, so that it never has to be restarted: it starts engines, watches
//! them, delivers signals and holds the ports that nobody may listen on. When it is restarted all
//! the same, engines live on and are recognised again by process number, start time and boot.
//!
//! Any number of agents may talk to it at once; everything that happens is told to all of them, and
//! each picks out its own. One task does all the work, so events have one order.
//!
//! Invariant: it never ends an engine of its own accord, but for a primary that goes on without a lease
//! and does not answer; no signal reaches a process other than the one that is meant.
//!
//! Not here: when an engine is to be started or killed (`crate::node`).

mod exec;
mod fence_port;
mod leases;
mod processes;
mod state;

use std::path::{Path, PathBuf};

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::post;
use axum::{Json, Router};
use tanist_core::model::NodeId;
use tanist_link::wire::{
    FromSupervisor, LEAD_ROUTE, LEAVE_ROUTE, Lead, Leading, Leave, ToSupervisor,
};
use tanist_link::{Duplex, Listener, Sender, accept, serve};
use tokio::sync::mpsc;
use tracing::{debug, info, warn};

use crate::SuperviseError;
use crate::layout;

pub use exec::exec_engine;
use fence_port::FencePorts;
pub use leases::LeaseConfig;
use leases::Leases;
use processes::Processes;

/// Where agents open their conversation.
pub(crate) const ROUTE: &str = "/link/v1/supervise";
/// Events that may wait for the one task; a full queue makes the senders wait.
const QUEUE: usize = 1024;

/// Where a supervisor works.
#[derive(Debug, Clone)]
pub struct SupervisorConfig {
    /// The socket on which agents reach it; also its lock: only one supervisor can have it.
    pub socket: PathBuf,
    /// Where it remembers processes and ports. Made if it does not exist.
    pub state_dir: PathBuf,
    /// How it has leases; on one host nobody needs them.
    pub leases: Option<LeaseConfig>,
}

/// What the supervisor's task is told.
enum Event {
    /// An agent has connected.
    Joined(Sender<FromSupervisor>),
    /// An agent asks for something.
    Asked(ToSupervisor),
    /// Something happened to a process.
    Process(processes::ProcessEvent),
    /// A primary's lease has ended, and it takes no more writes.
    LeaseEnded(NodeId),
    /// A primary's lease has ended, and it does not confirm that it takes no more writes.
    Kill(NodeId),
}

/// Starts, watches and signals engines for every agent that connects, until one asks it to end.
///
/// # Errors
/// [`SuperviseError`] if its socket, its record or the kernel's boot id cannot be used.
pub async fn supervise(config: SupervisorConfig) -> Result<(), SuperviseError> {
    let state = |source| SuperviseError::State { path: config.state_dir.clone(), source };
    layout::private_dir(&config.state_dir).map_err(state)?;
    let listener = Listener::bind(&config.socket).await.map_err(SuperviseError::Socket)?;
    let (events, waiting) = mpsc::channel(QUEUE);
    let processes = Processes::adopt(&config.state_dir, events.clone())?;
    let fences = FencePorts::restore(&config.state_dir)?;
    let mut routes = Router::new().route(ROUTE, post(converse)).with_state(events.clone());
    let runs = |node: &NodeId| processes.runs(node);
    let leases = match config.leases.clone() {
        Some(leased) => Some(Leases::restore(leased, &config.state_dir, events, runs)?),
        None => None,
    };
    if let Some(leases) = leases.clone() {
        routes = routes.merge(lease_routes(leases));
    }
    let supervisor = Supervisor { processes, fences, leases, agents: Vec::new() };
    info!(socket = %config.socket.display(), "the supervisor serves");
    tokio::select! {
        () = serve(listener, routes) => {}
        () = supervisor.work(waiting) => {}
    }
    Ok(())
}

async fn converse(State(events): State<mpsc::Sender<Event>>, request: Request) -> Response<Body> {
    let (duplex, response) = accept("an agent", request.into_body());
    tokio::spawn(listen(events, duplex));
    response
}

fn lease_routes(leases: Leases) -> Router {
    Router::new().route(LEAD_ROUTE, post(lead)).route(LEAVE_ROUTE, post(leave)).with_state(leases)
}

async fn lead(State(leases): State<Leases>, Json(asked): Json<Lead>) -> Json<Leading> {
    Json(Leading { leased: leases.lead(asked).await })
}

async fn leave(State(leases): State<Leases>, Json(asked): Json<Leave>) -> Json<()> {
    leases.leave(&asked);
    Json(())
}

async fn listen(events: mpsc::Sender<Event>, duplex: Duplex<FromSupervisor, ToSupervisor>) {
    let Duplex { sender, mut receiver } = duplex;
    if events.send(Event::Joined(sender)).await.is_err() {
        return;
    }
    loop {
        match receiver.recv().await {
            Ok(Some(message)) => {
                if events.send(Event::Asked(message)).await.is_err() {
                    return;
                }
            }
            Ok(None) => return,
            Err(err) => {
                debug!(err = &err as &dyn std::error::Error, "an agent's conversation ended");
                return;
            }
        }
    }
}

struct Supervisor {
    processes: Processes,
    fences: FencePorts,
    leases: Option<Leases>,
    agents: Vec<Sender<FromSupervisor>>,
}

impl Supervisor {
    async fn work(mut self, mut events: mpsc::Receiver<Event>) {
        while let Some(event) = events.recv().await {
            match event {
                Event::Joined(agent) => self.greet(agent),
                Event::Asked(ToSupervisor::Exit) => return info!("the supervisor ends as asked"),
                Event::Asked(message) => self.obey(message),
                Event::Process(event) => {
                    if let Some(news) = self.processes.happened(event) {
                        self.note_end(&news);
                        self.tell(&news);
                    }
                }
                Event::LeaseEnded(node) => self.tell(&FromSupervisor::LeaseEnded { node }),
                Event::Kill(node) => {
                    self.processes.kill(&node);
                    self.tell(&FromSupervisor::LeaseEnded { node });
                }
            }
        }
    }

    fn note_end(&self, news: &FromSupervisor) {
        if let (Some(leases), FromSupervisor::Exited { node, .. }) = (&self.leases, news) {
            leases.forget(node);
        }
    }

    fn greet(&mut self, agent: Sender<FromSupervisor>) {
        let known = self.processes.running().chain(self.fences.bound());
        for message in known.chain([FromSupervisor::Listed]) {
            if agent.send(&message).is_err() {
                return;
            }
        }
        self.agents.push(agent);
    }

    fn obey(&mut self, message: ToSupervisor) {
        let answer = match message {
            ToSupervisor::Start { node, program, config, dir } => {
                self.processes.start(node, &program, &config, &dir)
            }
            ToSupervisor::Signal { node, process, signal } => {
                self.processes.signal(&node, process, signal);
                None
            }
            ToSupervisor::BindFence { address } => Some(self.fences.bind(address)),
            ToSupervisor::Exit => None,
        };
        if let Some(answer) = answer {
            self.tell(&answer);
        }
    }

    /// Tells everybody; who does not listen any more, or too slowly, is forgotten.
    fn tell(&mut self, news: &FromSupervisor) {
        self.agents.retain(|agent| match agent.send(news) {
            Ok(()) => true,
            Err(err) => {
                warn!(err = &err as &dyn std::error::Error, "an agent is gone");
                false
            }
        });
    }
}

/// The path as text for people.
fn shown(path: &Path) -> String {
    path.display().to_string()
}
