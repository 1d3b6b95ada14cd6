//! Proxies that become another program: because somebody asks, or because this program is another than
//! theirs.
//!
//! Whoever replaces the binary and starts `tanist dev` again expects that everything runs it. A proxy
//! outlives its controller, so it is the next one that finds it out and asks for it.
//!
//! Invariant: a proxy is asked once at most for each build that it says it is; one that cannot become
//! this program is left alone, and goes on serving.
//!
//! Not here: how a proxy does that (`tanist-proxy`).

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use tanist_core::model::{Instant, ProxyId, Severity};
use tanist_link::api::{ProxyRenewal, ProxyRenewals, RenewProxies};
use tanist_link::wire::{Renewed, ToProxy};

use crate::clock::boot_time;
use crate::error::ControllerError;
use crate::inputs::Reply;
use crate::proxies::Session;
use crate::reconciler::Controller;

/// How long proxies may take: a program is tried out, clients come to rest, and the proxy calls again.
const PATIENCE: Duration = Duration::from_secs(15);

/// The program that this controller is part of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// Where it is.
    pub path: PathBuf,
    /// What tells it from another.
    pub build: String,
}

/// What a proxy says about an upgrade.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) proxy: ProxyId,
    pub(crate) number: Option<u64>,
    pub(crate) renewed: Result<Renewed, String>,
}

impl Outcome {
    pub(crate) fn of(
        proxy: &ProxyId,
        number: Option<u64>,
        renewed: Result<Renewed, String>,
    ) -> Self {
        Self { proxy: proxy.clone(), number, renewed }
    }
}

#[derive(Debug)]
struct Waiting {
    number: u64,
    until: Instant,
    proxies: BTreeSet<ProxyId>,
    found: Vec<ProxyRenewal>,
    reply: Reply<ProxyRenewals>,
}

/// Upgrades that were asked for.
#[derive(Debug, Default)]
pub(crate) struct Renewals {
    waiting: Vec<Waiting>,
    last: u64,
    /// Proxies, and the builds that they said they were when they were asked.
    asked: BTreeSet<(ProxyId, String)>,
}

impl Renewals {
    /// Asks a proxy that has just called to become this program, if it is another one and can.
    pub(crate) fn greet(&mut self, ours: Option<&Program>, proxy: &ProxyId, session: &mut Session) {
        let (Some(ours), Some(theirs)) = (ours, session.build.clone()) else { return };
        if theirs != ours.build && self.asked.insert((proxy.clone(), theirs)) {
            self.last += 1;
            session.tell(&ToProxy::Renew { number: self.last, program: ours.path.clone() });
        }
    }

    /// A proxy has said what came of it.
    fn hear(&mut self, outcome: &Outcome) {
        let asked = self.waiting.iter_mut().find(|waiting| Some(waiting.number) == outcome.number);
        let Some(waiting) = asked else { return };
        if waiting.proxies.remove(&outcome.proxy) {
            waiting.found.push(ProxyRenewal {
                proxy: outcome.proxy.clone(),
                renewed: outcome.renewed.as_ref().ok().copied(),
                reason: outcome.renewed.as_ref().err().cloned(),
            });
        }
    }

    /// Gives the answers that are due.
    pub(crate) fn settle(&mut self, now: Instant) {
        let due = |waiting: &mut Waiting| waiting.proxies.is_empty() || now >= waiting.until;
        for waiting in self.waiting.extract_if(.., due) {
            let Waiting { proxies, mut found, reply, .. } = waiting;
            found.extend(proxies.into_iter().map(|proxy| {
                silent(proxy, "it has not said what came of it; see its log and tanist doctor")
            }));
            // A caller that has gone away needs no answer.
            let _ = reply.send(Ok(ProxyRenewals { proxies: found }));
        }
    }
}

fn silent(proxy: ProxyId, why: &str) -> ProxyRenewal {
    ProxyRenewal { proxy, renewed: None, reason: Some(why.to_owned()) }
}

impl Controller {
    /// Asks every proxy that is connected.
    pub(crate) fn renew(&mut self, asked: &RenewProxies, reply: Reply<ProxyRenewals>) {
        self.renewals.last += 1;
        let number = self.renewals.last;
        let (mut proxies, mut found) = (BTreeSet::new(), Vec::new());
        for (proxy, session) in self.proxies.iter_mut().filter(|(_, session)| session.up) {
            if session.build.is_none() {
                let why = "it is of a release that can only be restarted";
                found.push(silent(proxy.clone(), why));
                continue;
            }
            session.tell(&ToProxy::Renew { number, program: asked.program.clone() });
            proxies.insert(proxy.clone());
        }
        let until = boot_time() + PATIENCE;
        self.renewals.waiting.push(Waiting { number, until, proxies, found, reply });
    }

    /// A proxy has become another program, or could not.
    pub(crate) async fn heard_of_renewal(
        &mut self,
        outcome: &Outcome,
    ) -> Result<(), ControllerError> {
        self.renewals.hear(outcome);
        let proxy = &outcome.proxy;
        let (name, severity, text) = match &outcome.renewed {
            Ok(Renewed { kept, ended, millis, .. }) => (
                "ProxyRenewed",
                Severity::Info,
                format!(
                    "{proxy} runs another program: {kept} connections kept, {ended} ended, \
                     took {millis} ms"
                ),
            ),
            Err(reason) => (
                "ProxyNotRenewed",
                Severity::Warning,
                format!("{proxy} goes on with the program that it has: {reason}"),
            ),
        };
        self.announce(None, None, name, severity, text).await
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    fn waiting(reply: Reply<ProxyRenewals>) -> Renewals {
        let proxies = BTreeSet::from(["p1".into(), "p2".into()]);
        let until = Instant::from_millis(2000);
        let waiting = Waiting { number: 3, until, proxies, found: Vec::new(), reply };
        Renewals { waiting: vec![waiting], last: 3, asked: BTreeSet::new() }
    }

    #[test]
    fn an_answer_names_every_proxy_whatever_came_of_it() {
        let (reply, mut answer) = oneshot::channel();
        let mut renewals = waiting(reply);
        let renewed = Renewed { number: Some(3), kept: 5, ended: 1, millis: 4 };
        let other = Outcome { proxy: "p1".into(), number: Some(2), renewed: Ok(renewed) };
        renewals.hear(&other);
        renewals.hear(&Outcome { number: Some(3), ..other });
        renewals.settle(Instant::from_millis(1999));
        assert!(answer.try_recv().is_err(), "one is missing");
        renewals.settle(Instant::from_millis(2000));
        let found = answer.try_recv().unwrap().unwrap().proxies;
        assert_eq!((found[0].proxy.as_str(), found[0].renewed), ("p1", Some(renewed)));
        assert_eq!((found[1].proxy.as_str(), found[1].renewed), ("p2", None));
        assert!(found[1].reason.is_some());
    }
}
