//! `tanist agent`: this host's hands, and the processes that outlive them.
//!
//! The supervisor and the proxy are processes of their own, as in `tanist dev`: stopping the agent, or
//! starting another release of it, ends no engine and disconnects no client.
//!
//! Invariant: at most one agent per data directory; it ends when it is asked to, and nothing else does.
//!
//! Not here: what an agent does (`tanist-agent`), what it is asked (`tanist-controller`).

use tanist_agent::{AgentConfig, Ended, Inbox, converse};
use tanist_core::model::Limits;
use tanist_link::wire::AgentHello;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::Member;
use super::plan::{Planned, Role};
use super::server::{ended, only_one, signals};
use crate::engines;
use crate::failure::Failure;
use crate::hands::{PROBE_EVERY, agent as hands};
use crate::layout::Layout;
use crate::machine::Machine;
use crate::output::Output;
use crate::{Done, Outcome, spawn};

/// Orders or reports that may wait.
const QUEUE: usize = 1024;

/// Runs it until a signal.
pub(crate) async fn agent(layout: Layout, out: &Output) -> Outcome {
    let member = Member::need(&layout)?;
    let own = member.plan.host(member.is.host.as_str())?.clone();
    if !own.is(Role::Agent) {
        let message = format!("{} has not the role of an agent", own.host);
        return Err(Failure::new("T700", message, "add it to the host's roles in the file").exit(2));
    }
    layout.create()?;
    let _lock = only_one(&layout, "agent")?;
    let mut signals = signals()?;
    let config = config(&member, &own)?;
    let hello = AgentHello {
        host: own.host.clone(),
        zone: own.zone.clone(),
        address: own.address,
        memory_bytes: Machine::read().host_bytes(1),
        keeps: true,
        parts: true,
    };
    let client = member.client()?;
    tokio::spawn(member.clone().keep_certificate(client.clone()));
    // Nothing here ends everything; a person stops services.
    let (_going_on, ending) = watch::channel(false);
    let mut keepers = JoinSet::new();
    keepers.spawn(spawn::keep(layout.clone(), "supervise", ending.clone()));
    if own.is(Role::Proxy) {
        spawn::renew_proxy(&layout);
        keepers.spawn(spawn::keep(layout.clone(), "proxy", ending));
    }
    let (orders, inbox) = mpsc::channel(QUEUE);
    let (outbox, reports) = mpsc::channel(QUEUE);
    tokio::spawn(converse(client, hello, orders, reports));
    out.line(format!("{} in {}: the agent works; engines outlive it", own.host, own.zone));
    tokio::select! {
        (_, how) = hands(config, Inbox::new(inbox), outbox) => match how {
            Ended::Stopped => out.line("every engine has been stopped, as asked"),
            Ended::Dismissed => out.line("nobody gives orders any more"),
        },
        Some(failed) = keepers.join_next() => {
            return failed.map_or_else(|err| Err(broken(&err)), Err);
        }
        () = ended(&mut signals) => out.line("the agent stops; engines and endpoints go on serving"),
    }
    Ok(Done::Well)
}

fn config(member: &Member, own: &Planned) -> Result<AgentConfig, Failure> {
    let layout = &member.layout;
    Ok(AgentConfig {
        host: own.host.clone(),
        address: own.address,
        dir: layout.host(own.host.as_str()),
        secret: member.secret()?,
        supervisor: layout.supervisor_socket(),
        engines: engines::find()?.paths(),
        limits: Limits::DEFAULT,
        probe_every: PROBE_EVERY,
        leases: true,
    })
}

fn broken(err: &tokio::task::JoinError) -> Failure {
    Failure::caused("T632", err, "report this as a fault of Tanist, with the log; start it again")
}
