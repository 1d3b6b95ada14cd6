//! Who may be a host of the fleet: invitations, and hosts that are removed.
//!
//! An invitation is for one host, once, for a time. Whoever comes with it has proven nothing else, so
//! its secret is as good as a password: the store keeps only its hash.
//!
//! Invariant: an invitation is used up before anything is given for it; a host that was removed is not
//! heard, whatever it can show, until it is invited again.
//!
//! Not here: what a host that joins is given (whoever wires the controller gives an [`Admission`]),
//! certificates (`tanist-tls`).

use std::collections::BTreeSet;
use std::fmt;

use tanist_core::model::{HostId, HostSpec, Invited, PasswordHash, Severity};
use tanist_link::api::{ApiError, MemberCertificate, ServerAddress, Welcome};
use tanist_link::{host_of, is_one_of, proxy_of};
use tanist_store::Store;

use crate::archive::parse;
use crate::calls::internal_ref;
use crate::clock::{boot_time, wall_ms};
use crate::error::ControllerError;
use crate::hosts::placed_on;
use crate::inputs::Input;
use crate::keys;
use crate::reconciler::Controller;

/// How long an invitation is good for, in milliseconds.
pub(crate) const INVITED_MS: u64 = 3_600_000;

/// What a host that is invited has to know beside its secret.
#[derive(Debug, Clone)]
pub struct Guest {
    /// The fingerprint of the fleet's authority.
    pub authority: String,
    /// Whom it may ask.
    pub servers: Vec<ServerAddress>,
}

/// Gives hosts what they need to be of the fleet. It may read files.
pub trait Admission: fmt::Debug + Send + Sync {
    /// What the host has to know.
    ///
    /// # Errors
    /// An answer for whoever invites, for a host that the configuration does not know for example.
    fn guest(&self, host: &HostId) -> Result<Guest, ApiError>;

    /// Everything that the host needs, for the key with these digits.
    ///
    /// # Errors
    /// An answer for whoever joins.
    fn welcome(&self, host: &HostId, key: &str) -> Result<Welcome, ApiError>;

    /// Another certificate for a host that has one.
    ///
    /// # Errors
    /// An answer for whoever asks.
    fn certificate(&self, host: &HostId, key: &str) -> Result<MemberCertificate, ApiError>;
}

type Answer = Result<Result<(), ApiError>, ControllerError>;

impl Controller {
    /// Lets a host come, once, with a secret that has this hash.
    pub(crate) async fn invite(
        &mut self,
        host: HostId,
        hash: PasswordHash,
        until_ms: u64,
    ) -> Answer {
        let text = format!("{host} is invited into the fleet");
        let spec = HostSpec { invited: Some(Invited { hash, until_ms }), ..self.known_host(&host) };
        self.change_host(spec, "HostInvited", Severity::Info, text).await
    }

    /// Takes an invitation back, for good, if the secret is its own.
    pub(crate) async fn redeem(&mut self, host: HostId, secret: &str) -> Answer {
        let spec = self.known_host(&host);
        let good = spec.invited.as_ref().is_some_and(|invited| {
            is_one_of(secret.as_bytes(), [&invited.hash]) && wall_ms() < invited.until_ms
        });
        if !good {
            // The same words for each reason: who guesses learns nothing.
            let message = format!("{host} is not invited, or was, or its invitation has ended");
            let remedy = format!("on a server: tanist host invite {host}");
            return Ok(Err(ApiError::new("T481", message, remedy)));
        }
        let text = format!("{host} has joined the fleet");
        let spec = HostSpec { invited: None, removed: false, ..spec };
        let answer = self.change_host(spec, "HostJoined", Severity::Info, text).await?;
        if answer.is_ok() {
            self.observer.dead.remove(&host);
        }
        Ok(answer)
    }

    /// Lets a host go for good: nothing is placed on it, and nobody hears it. One that is `dead` may
    /// still have nodes: whoever says so knows that nothing runs there and never will again.
    pub(crate) async fn remove_host(&mut self, host: HostId, dead: bool) -> Answer {
        if !self.observer.seen.hosts.contains_key(&host) {
            let message = format!("there is no host {host}");
            return Ok(Err(ApiError::new("T470", message, "tanist host list shows them")));
        }
        if dead && self.is_up(&host) {
            let message = format!("{host} is not dead: it was heard just now");
            let remedy = format!("end everything there, or tanist host drain {host}");
            return Ok(Err(ApiError::new("T473", message, remedy)));
        }
        let shards = self.archive.topologies.values().map(|held| &*held.body);
        let left: Vec<_> = shards.flat_map(|shard| placed_on(shard, &host)).cloned().collect();
        if !left.is_empty() && !dead {
            let nodes: Vec<String> = left.iter().map(ToString::to_string).collect();
            let message = format!("{host} cannot be removed: there are {}", nodes.join(", "));
            let remedy = format!(
                "let them go elsewhere first: tanist host drain {host}; or, of a host that will never \
                 come back: --dead"
            );
            return Ok(Err(ApiError::new("T472", message, remedy)));
        }
        let served: Vec<String> =
            self.served_only_at(&host).iter().map(ToString::to_string).collect();
        if !served.is_empty() && !dead {
            let message = format!(
                "{host} cannot be removed: no other host has the endpoints of {}",
                served.join(", ")
            );
            let remedy = "choose others first: tanist endpoints GROUP --hosts h1,h2 (or all)";
            return Ok(Err(ApiError::new("T476", message, remedy)));
        }
        let how = if dead { ", on the word that it is dead" } else { "" };
        let text = format!("{host} is removed from the fleet{how}");
        let spec = HostSpec { removed: true, ..HostSpec::new(host.clone()) };
        let answer = self.change_host(spec, "HostRemoved", Severity::Info, text).await?;
        if answer.is_ok() {
            // Its conversations end with their senders.
            self.agents.remove(&host);
            let proxy = proxy_of(&host);
            self.proxies.remove(&proxy);
            self.observer.forget_proxy(&proxy);
            self.observer.seen.hosts.remove(&host);
            self.observer.dead.insert(host);
        }
        Ok(answer)
    }

    fn is_up(&self, host: &HostId) -> bool {
        let seen = self.observer.seen.hosts.get(host);
        seen.is_some_and(|seen| boot_time().since(seen.at) <= self.config.limits.host)
    }

    fn known_host(&self, host: &HostId) -> HostSpec {
        let known = self.archive.hosts.get(host).map(|held| (*held.body).clone());
        known.unwrap_or_else(|| HostSpec::new(host.clone()))
    }

    /// Whether a host was removed.
    pub(crate) fn is_removed(&self, host: &HostId) -> bool {
        self.archive.hosts.get(host).is_some_and(|held| held.body.removed)
    }

    /// Whether this comes from a host that was removed: its agent and its proxy may go on talking.
    pub(crate) fn is_of_nobody(&self, input: &Input) -> bool {
        let host = match input {
            Input::Agent(message) => message.host().cloned(),
            Input::AgentSaid { host, .. } => Some(host.clone()),
            Input::AgentHello { hello, .. } => Some(hello.host.clone()),
            Input::ProxyHello { proxy, .. }
            | Input::ProxyBeat { proxy, .. }
            | Input::ProxyEcho { proxy, .. }
            | Input::ProxyMeasured { proxy, .. } => host_of(proxy),
            _ => None,
        };
        host.is_some_and(|host| self.is_removed(&host))
    }

    async fn change_host(
        &mut self,
        spec: HostSpec,
        name: &str,
        severity: Severity,
        text: String,
    ) -> Answer {
        let record = self.archive.note(None, None, name, severity, text);
        if let Err(err) = self.archive.write_host(spec, std::slice::from_ref(&record)).await {
            let refusal = internal_ref(&err);
            self.survive(err)?;
            return Ok(Err(refusal));
        }
        self.publish(record);
        Ok(Ok(()))
    }
}

/// The hosts that were removed from the fleet, as the store has them.
///
/// # Errors
/// [`ControllerError`] if the store does not answer, or holds what this release does not understand.
pub async fn removed_hosts(store: &impl Store) -> Result<BTreeSet<HostId>, ControllerError> {
    let failed =
        |source| ControllerError::Store { doing: "reading which hosts were removed", source };
    let (all, _) = store.range(keys::HOSTS).await.map_err(failed)?;
    let specs: Vec<HostSpec> = all.iter().map(parse).collect::<Result<_, _>>()?;
    Ok(specs.into_iter().filter(|spec| spec.removed).map(|spec| spec.host).collect())
}
