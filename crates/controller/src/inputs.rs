//! What happens to a controller, and what it takes in of it.
//!
//! Everything arrives as a message in one queue: an agent's word, a proxy's, a request. Taking one in
//! changes what is known and says which shards that touches; what follows is decided afterwards.
//!
//! Invariant: of two conversations with one peer only the later one's words count.
//!
//! Not here: looking at the shards (`crate::reconciler`), answers to requests (`crate::calls`).

use tanist_core::model::{GroupName, HostId, MoveKind, NodeId, ProxyId, Severity, ShardKey};
use tanist_link::Sender;
use tanist_link::api::{
    ApiError, CreateGroup, EndpointName, EndpointsStatus, EventRecord, FailoverRecord, Fault,
    GroupStatus, ModifyGroup, MoveAccepted, MovePrimary, ProxyRenewals, RenewProxies, Status,
};
use tanist_link::wire::{AgentHello, FromAgent, ProxyShard, ShardMeters, ToAgent};
use tanist_store::AnyStore;
use tokio::sync::oneshot;
use tracing::info;

use crate::clock::boot_time;
use crate::error::ControllerError;
use crate::hosts::HostsCall;
use crate::observe::Touched;
use crate::proxies::Session;
use crate::rebuild::RebuildCall;
use crate::reconciler::Controller;
use crate::renewals::Outcome;
use crate::user_calls::UsersCall;

/// A request of the API, with where its answer goes.
#[derive(Debug)]
pub(crate) enum Call {
    Status(Reply<Status>),
    Names(Reply<Vec<EndpointName>>),
    Group { name: GroupName, reply: Reply<GroupStatus> },
    Create { asked: CreateGroup, reply: Reply<GroupStatus> },
    Modify { name: GroupName, asked: ModifyGroup, reply: Reply<GroupStatus> },
    Delete { name: GroupName, reply: Reply<()> },
    Move { name: GroupName, kind: MoveKind, asked: MovePrimary, reply: Reply<MoveAccepted> },
    Endpoints { name: GroupName, reply: Reply<EndpointsStatus> },
    Renew { asked: RenewProxies, reply: Reply<ProxyRenewals> },
    History { name: GroupName, reply: Reply<Vec<FailoverRecord>> },
    Fault { name: GroupName, node: NodeId, fault: Fault, reply: Reply<()> },
    Events { after: u64, reply: Reply<Vec<EventRecord>> },
    Users(UsersCall),
    Hosts(HostsCall),
    Rebuild(RebuildCall),
    Store(Reply<(AnyStore, String)>),
    Down(Reply<()>),
}

/// Where an answer goes.
pub(crate) type Reply<T> = oneshot::Sender<Result<T, ApiError>>;

/// Something that happened.
#[derive(Debug)]
pub(crate) enum Input {
    Agent(FromAgent),
    /// As `Agent`, in one of the conversations over the network.
    AgentSaid {
        message: FromAgent,
        host: HostId,
        generation: u64,
    },
    AgentHello {
        hello: AgentHello,
        sender: Sender<ToAgent>,
        generation: u64,
    },
    AgentGone {
        host: HostId,
        generation: u64,
    },
    ProxyHello {
        proxy: ProxyId,
        session: Session,
    },
    ProxyBeat {
        proxy: ProxyId,
        generation: u64,
        shards: Vec<ProxyShard>,
        part: bool,
    },
    ProxyEcho {
        proxy: ProxyId,
        number: u64,
    },
    ProxyMeasured {
        proxy: ProxyId,
        number: u64,
        shards: Vec<ShardMeters>,
    },
    ProxyRenewal(Outcome),
    ProxyGone {
        proxy: ProxyId,
        generation: u64,
    },
    EndpointFailed {
        key: ShardKey,
        address: String,
        reason: String,
    },
    Call(Call),
}

impl Controller {
    /// Takes in what happened.
    pub(crate) async fn take(
        &mut self,
        input: Input,
        touched: &mut Touched,
    ) -> Result<(), ControllerError> {
        let now = boot_time();
        if self.is_of_nobody(&input) {
            return Ok(());
        }
        match input {
            Input::Agent(message) => self.take_word(message, touched).await?,
            Input::AgentSaid { host, generation, message } => {
                // What an earlier conversation has left behind is not what this one goes on from.
                if self.agents.get(&host).is_some_and(|hand| hand.is(generation)) {
                    self.take_word(message, touched).await?;
                }
            }
            Input::AgentHello { hello, sender, generation } => {
                self.greet_agent(hello, sender, generation).await?;
            }
            Input::AgentGone { host, generation } => self.lose_agent(&host, generation),
            Input::ProxyHello { proxy, mut session } => {
                self.certificates.tell(&mut session);
                for message in self.routes.values().filter_map(|route| route.message.as_ref()) {
                    session.tell_encoded(message);
                }
                self.renewals.greet(self.config.program.as_ref(), &proxy, &mut session);
                self.proxies.insert(proxy, session);
            }
            Input::ProxyBeat { proxy, generation, shards, part } => {
                let known = self.proxies.get(&proxy);
                if known.is_some_and(|session| session.generation != generation) {
                    return Ok(());
                }
                self.tell_known(&proxy, &shards);
                touched.news.extend(self.outside(&proxy, &shards));
                touched.add(self.observer.beat(&proxy, shards, part, now));
            }
            Input::ProxyEcho { proxy, number } => self.confirmations.hear(&proxy, number),
            Input::ProxyMeasured { proxy, number, shards } => {
                self.measurements.hear(&proxy, number, shards);
            }
            Input::ProxyRenewal(outcome) => self.heard_of_renewal(&outcome).await?,
            Input::ProxyGone { proxy, generation } => {
                if let Some(session) = self.proxies.get_mut(&proxy)
                    && session.generation == generation
                {
                    session.up = false;
                    info!(peer = %proxy, "proxy disconnected");
                }
            }
            Input::EndpointFailed { key, address, reason } => {
                let text = format!("the endpoint {address} cannot be offered: {reason}");
                let group = Some(key.group);
                self.announce(group, None, "EndpointFailed", Severity::Error, text).await?;
            }
            Input::Call(call) => self.answer(call, touched).await?,
        }
        Ok(())
    }

    /// The shards of a beat to whose engines the proxy is not let in: it may be now.
    fn outside(&self, proxy: &ProxyId, shards: &[ProxyShard]) -> Vec<ShardKey> {
        let keys = shards.iter().map(|shard| &shard.key);
        let outside = keys.filter(|key| {
            let held = self.archive.topologies.get(key);
            held.is_some_and(|held| !held.body.lanes.contains(proxy))
        });
        outside.cloned().collect()
    }

    /// Takes in what an agent says.
    async fn take_word(
        &mut self,
        message: FromAgent,
        touched: &mut Touched,
    ) -> Result<(), ControllerError> {
        match message {
            FromAgent::Report(report) => {
                let host = report.host.clone();
                let heard = self.observer.report(report, boot_time());
                if heard.forgotten {
                    // It calls again, and says everything.
                    self.hang_up(&host);
                }
                touched.add(heard);
            }
            FromAgent::Note { host, node, name, text } => {
                info!(%host, ?node, name, "{text}");
                let group = node.as_ref().and_then(|node| self.group_of(node));
                self.announce(group, node, &name, Severity::Warning, text).await?;
            }
            FromAgent::Stopped { host } => {
                if let Some(stopping) = &mut self.stopping {
                    stopping.waiting.remove(&host);
                }
            }
            FromAgent::Clock { host, wall_ms } => self.clocks.note(host, wall_ms),
            FromAgent::Vitals(vitals) => self.measured(*vitals),
            FromAgent::Recalled(recalled) => self.recalls.hear(*recalled),
            // Of a later release, and nothing that had to be understood; or said at the beginning.
            FromAgent::Unknown | FromAgent::Hello(_) => {}
        }
        Ok(())
    }
}
