//! The agent's connection to an engine, by which orders are carried out.
//!
//! Invariant: a connection belongs to one process; the first thing learned on it is that the
//! process at the other end is the one that the supervisor started.
//!
//! Not here: the probe's connection (`super::probe`).

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tanist_core::model::RunId;
use tanist_link::Secret;
use tanist_link::wire::{ADMIN_USER, ProcessKey, admin_label};
use tanist_resp::{Command, Connection, ConnectionError, Info, Value};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::{Errand, GRACE, Node};
use crate::acl;

/// Why something asked of an engine was not done.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// A newer order has arrived.
    #[error("superseded")]
    Superseded,
    /// There is no process, or not the one that was meant.
    #[error("no such process")]
    Gone,
    /// The engine did not answer, or the connection broke.
    #[error("{0}")]
    Engine(#[from] ConnectionError),
    /// The engine answered with an error.
    #[error("the engine refused: {0}")]
    Refused(String),
    /// Somebody else answers at the engine's address.
    #[error("process {0} answers at the engine's address")]
    Foreign(u64),
    /// The data past the new history could not be saved.
    #[error("the divergent tail is not saved: {0}")]
    Tail(String),
    /// No fence port is bound yet.
    #[error("no fence port is bound")]
    NoFence,
    /// Nobody grants the lease without which a primary does not begin.
    #[error("no controller grants a lease")]
    NoLease,
    /// The supervisor cannot be asked, or is of a release that has no leases.
    #[error("the supervisor does not guard it ({0})")]
    Supervisor(String),
}

/// An open connection.
pub(super) struct Admin {
    pub(super) connection: Connection,
    pub(super) process: ProcessKey,
    pub(super) run: RunId,
}

/// Opens a connection as the agent's user.
pub(super) async fn connect(
    address: SocketAddr,
    secret: &Secret,
    node: &tanist_core::model::NodeId,
    deadline: Duration,
) -> Result<Connection, Failure> {
    let until = Instant::now() + deadline;
    let mut connection = Connection::connect(address, deadline).await?;
    let password = secret.password(&admin_label(node));
    let auth = Command::new("AUTH").arg(ADMIN_USER).arg(password);
    let left = until.saturating_duration_since(Instant::now());
    accepted(&connection.call(&auth, left).await?)?;
    Ok(connection)
}

/// The run id in `INFO server`, if the process is the one that is meant.
pub(super) fn identity(server: &Value, process: ProcessKey) -> Result<RunId, Failure> {
    let info = info(server)?;
    let pid = info.get_u64("process_id").unwrap_or(0);
    if pid != u64::from(process.pid) {
        return Err(Failure::Foreign(pid));
    }
    info.get("run_id").map(RunId::new).ok_or_else(|| Failure::Refused("no run_id".to_owned()))
}

/// An `INFO` answer.
pub(super) fn info(answer: &Value) -> Result<Info, Failure> {
    accepted(answer)?;
    Ok(Info::parse(answer.as_str().unwrap_or_default()))
}

/// The answer is not an error.
pub(super) fn accepted(answer: &Value) -> Result<(), Failure> {
    match answer.as_error() {
        Some(text) => Err(Failure::Refused(text.into_owned())),
        None => Ok(()),
    }
}

/// `REPLICAOF` an address.
pub(super) fn replica_of(address: SocketAddr) -> Command {
    Command::new("REPLICAOF").arg(address.ip().to_string()).int(i64::from(address.port()))
}

/// `INFO` of one section.
pub(super) fn info_of(section: &str) -> Command {
    Command::new("INFO").arg(section)
}

impl Node {
    /// Makes sure that there is a connection to the process, and learns what the engine is when
    /// it is opened.
    pub(super) async fn greet(&mut self, deadline: Duration) -> Result<(), Failure> {
        let process = self.running().ok_or(Failure::Gone)?;
        let usable = |admin: &Admin| admin.process == process && !admin.connection.is_broken();
        if self.admin.as_ref().is_some_and(usable) {
            return Ok(());
        }
        self.admin = None;
        let address = self.record.start.as_ref().map(|start| start.address);
        let address = address.ok_or(Failure::Gone)?;
        let newer = superseded(self.errands.clone());
        let secret = &self.context.config.secret;
        let opened = async {
            let until = Instant::now() + deadline;
            let mut connection = connect(address, secret, &self.id, deadline).await?;
            let questions = [
                info_of("server"),
                Command::new("ACL").arg("USERS"),
                Command::new("ROLE"),
                Command::new("CONFIG").arg("GET").arg("masteruser"),
            ];
            let left = until.saturating_duration_since(Instant::now());
            let answers = connection.pipeline(&questions, left).await?;
            Ok::<_, Failure>((connection, answers))
        };
        let (connection, answers) = tokio::select! {
            biased;
            opened = opened => opened?,
            () = newer => return Err(Failure::Superseded),
        };
        let [server, users, role, user] = answers.as_slice() else { return Err(Failure::Gone) };
        let run = identity(server, process)?;
        accepted(users)?;
        self.users = acl::from_answer(users).unwrap_or_default();
        self.admin = Some(Admin { connection, process, run: run.clone() });
        self.attempts.answered();
        self.context.board.learn(&self.id, process, &run);
        if self.run.as_ref() != Some(&run) {
            self.run = Some(run);
            self.confirm(role, user);
        }
        Ok(())
    }

    /// Sends a pipeline; a newer order ends it after a moment.
    pub(super) async fn ask(
        &mut self,
        commands: &[Command],
        deadline: Duration,
    ) -> Result<Vec<Value>, Failure> {
        let newer = superseded(self.errands.clone());
        let admin = self.admin.as_mut().ok_or(Failure::Gone)?;
        let answered = tokio::select! {
            biased;
            answered = admin.connection.pipeline(commands, deadline) => answered.map_err(Failure::from),
            () = newer => Err(Failure::Superseded),
        };
        if answered.is_err() {
            self.admin = None;
        }
        answered
    }

    /// As [`Node::ask`], for commands that change something: each has to succeed.
    pub(super) async fn make(
        &mut self,
        commands: &[Command],
        deadline: Duration,
    ) -> Result<Vec<Value>, Failure> {
        let answers = self.ask(commands, deadline).await?;
        for answer in &answers {
            if let Err(failure) = accepted(answer) {
                // Part of it may be done: look again before the next attempt.
                self.admin = None;
                return Err(failure);
            }
        }
        Ok(answers)
    }

    /// Takes over what an earlier agent had made true, if the engine says that it still is.
    fn confirm(&mut self, role: &Value, user: &Value) {
        let Some(stored) = self.record.applied.clone() else { return };
        let same_run = self.run.as_ref() == Some(&stored.applied.run);
        let role = role.as_array().unwrap_or_default();
        let word = role.first().and_then(Value::as_str).unwrap_or_default();
        let in_role = match &stored.follows {
            None => stored.applied.primary && word == "master",
            Some((tag, primary)) => {
                let host = role.get(1).and_then(Value::as_str).unwrap_or_default();
                let port = role.get(2).and_then(Value::as_int);
                let user = user.get("masteruser").and_then(Value::as_str);
                let there = host == primary.ip().to_string() && port == Some(primary.port().into());
                word == "slave" && there && user == Some(tag.as_str())
            }
        };
        if !(same_run && in_role && stored.users == self.users) {
            self.record.applied = None;
            return;
        }
        if !stored.applied.primary {
            self.parted = Some((stored.applied.run.clone(), stored.applied.epoch));
        }
        let lanes: BTreeSet<&String> = acl::lanes_of(&stored.users).collect();
        let replicas = stored.users.iter().filter(|name| !lanes.contains(name)).cloned();
        self.context.board.admit_names(&self.id, replicas);
        self.context.board.change(&self.id, |report| {
            report.applied = Some(Arc::new(stored.applied.clone()));
        });
    }
}

/// Resolves a moment after something newer was asked for.
pub(super) async fn superseded(mut errands: watch::Receiver<Errand>) {
    if errands.changed().await.is_err() {
        return;
    }
    // waits: the moment that the older work is given to end by itself.
    sleep(GRACE).await;
}
