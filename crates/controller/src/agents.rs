//! Conversations with the agents of a fleet: orders out, reports in.
//!
//! A host makes itself known by its first message: where it is and how much memory it has. That it is
//! this host its certificate has proven, and by that alone it may speak.
//!
//! Invariant: nobody speaks for another host; of two conversations with one host the later one counts.
//!
//! Not here: agents in this process (`tanist dev` has them), what orders say
//! (`tanist_core::decide::converge`).

use std::net::SocketAddr;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use tanist_core::model::{HostFacts, HostId, HostSpec};
use tanist_core::presence::unheard;
use tanist_link::wire::{AgentHello, FromAgent, ToAgent};
use tanist_link::{LinkError, Peer, Sender, host_name};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tracing::{debug, info, warn};

use crate::HostConfig;
use crate::clock::boot_time;
use crate::error::ControllerError;
use crate::inputs::Input;
use crate::reconciler::Controller;

/// How long an agent may take to say who it is.
const HELLO_LIMIT: Duration = Duration::from_secs(5);

/// The way to a host's agent.
#[derive(Debug)]
pub(crate) enum Hand {
    /// It is in this process.
    Near(mpsc::Sender<ToAgent>),
    /// It is on another host; with the number of the conversation.
    Far(Sender<ToAgent>, u64),
}

impl Hand {
    /// Whether it is this conversation.
    pub(crate) fn is(&self, generation: u64) -> bool {
        matches!(self, Self::Far(_, number) if *number == generation)
    }

    /// Says something; whether it was taken.
    pub(crate) fn tell(&self, message: ToAgent) -> bool {
        match self {
            Self::Near(outbox) => outbox.try_send(message).is_ok(),
            Self::Far(sender, _) => sender.send(&message).is_ok(),
        }
    }
}

/// Holds one conversation; its messages go to the loop.
pub(crate) fn converse(
    body: Body,
    inbox: mpsc::Sender<Input>,
    generation: u64,
    peer: Option<Peer>,
) -> Response {
    let (duplex, response) = tanist_link::accept::<ToAgent, FromAgent>("agent", body);
    tokio::spawn(async move {
        let mut receiver = duplex.receiver;
        let hello = match timeout(HELLO_LIMIT, receiver.recv()).await {
            Ok(Ok(Some(FromAgent::Hello(hello)))) => hello,
            heard => return debug!(?heard, "somebody who does not say who it is"),
        };
        if peer.as_ref().is_some_and(|peer| !peer.is(&host_name(&hello.host))) {
            let from: Option<SocketAddr> = peer.map(|peer| peer.address);
            return warn!(host = %hello.host, ?from, "somebody else speaks for a host");
        }
        let host = hello.host.clone();
        info!(peer = %host, "agent connected");
        let sender = duplex.sender;
        if hello.parts && sender.send(&ToAgent::Parts).is_err() {
            // It has gone, and comes again.
            return;
        }
        if inbox.send(Input::AgentHello { hello, sender, generation }).await.is_ok() {
            if let Err(err) = listen(&host, generation, receiver, &inbox).await {
                warn!(peer = %host, err = &err as &dyn std::error::Error, "an agent's message");
            }
            // The loop ends before its conversations do: nobody is left to tell then.
            let _ = inbox.send(Input::AgentGone { host, generation }).await;
        }
    });
    response
}

async fn listen(
    host: &HostId,
    generation: u64,
    mut receiver: tanist_link::Receiver<FromAgent>,
    inbox: &mpsc::Sender<Input>,
) -> Result<(), LinkError> {
    while let Some(message) = receiver.recv().await? {
        let of = message.host();
        if of.is_some_and(|of| of != host) {
            warn!(%host, ?of, "a host speaks for another one");
            return Ok(());
        }
        let said = Input::AgentSaid { host: host.clone(), generation, message };
        if inbox.send(said).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}

impl Controller {
    /// A host's agent has come.
    pub(crate) async fn greet_agent(
        &mut self,
        hello: AgentHello,
        sender: Sender<ToAgent>,
        generation: u64,
    ) -> Result<(), ControllerError> {
        let host = hello.host.clone();
        if matches!(self.agents.get(&host), Some(Hand::Near(_))) {
            warn!(%host, "a host that is in this process does not come over the network");
            return Ok(());
        }
        let AgentHello { host: _, zone, address, memory_bytes, keeps, parts: _ } = hello;
        self.keeping.greet(&host, keeps);
        let facts = HostFacts { zone, address, memory_bytes };
        let known = self.archive.hosts.get(&host).map(|held| (*held.body).clone());
        let mut spec = known.unwrap_or_else(|| HostSpec::new(host.clone()));
        if spec.facts.as_ref() != Some(&facts) {
            spec.facts = Some(facts);
            if let Err(err) = self.archive.write_host(spec, &[]).await {
                // It comes again.
                return self.survive(err);
            }
            self.adopt_hosts();
        }
        self.observer.hear(&host, boot_time());
        // What it was told before may not have arrived.
        self.ordered.values_mut().for_each(|given| given.retain(|given| given.host != host));
        self.agents.insert(host, Hand::Far(sender, generation));
        Ok(())
    }

    /// A host's agent has gone; silence says whether its host has, too.
    pub(crate) fn lose_agent(&mut self, host: &HostId, generation: u64) {
        if self.agents.get(host).is_some_and(|hand| hand.is(generation)) {
            info!(peer = %host, "agent disconnected");
            self.agents.remove(host);
        }
    }

    /// Ends the conversation with an agent on another host, which then calls again.
    pub(crate) fn hang_up(&mut self, host: &HostId) {
        if matches!(self.agents.get(host), Some(Hand::Far(..))) {
            self.agents.remove(host);
        }
    }

    /// Hosts that have made themselves known are used as those that were declared. One that has not
    /// spoken to this leader yet is given time to find it.
    pub(crate) fn adopt_hosts(&mut self) {
        let removed = self.archive.hosts.values().filter(|held| held.body.removed);
        self.observer.dead = removed.map(|held| held.body.host.clone()).collect();
        for held in self.archive.hosts.values() {
            let HostSpec { host, facts: Some(facts), .. } = &*held.body else { continue };
            let config = HostConfig {
                host: host.clone(),
                zone: facts.zone.clone(),
                address: facts.address,
                memory_bytes: facts.memory_bytes,
            };
            self.observer.place(&config, &self.config.region, unheard(boot_time()));
        }
        self.apply_host_specs();
    }
}
