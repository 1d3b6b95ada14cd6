//! Promote and Admit: being the primary of an epoch, with exactly the users that it wants.
//!
//! Invariant: users of older epochs are gone before the engine takes writes, and no order is
//! reported as true before the engine has confirmed every part of it.
//!
//! Not here: which run is promoted (`tanist_core::decide`).

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use tanist_core::model::accounts::mark;
use tanist_core::model::{Applied, Order, ProxyId, RunId, StandIn, Tag};
use tanist_link::wire::lane_owner;
use tanist_resp::{Command, Value};
use tracing::debug;

use super::admin::Failure;
use super::{CALM_DEADLINE, Node};
use crate::acl::Users;
use crate::conf;
use crate::record::AppliedAs;

impl Node {
    /// Gives the engine settings that were asked for after it was started.
    pub(super) async fn configure(&mut self, memory_bytes: u64) -> Result<(), Failure> {
        if !self.known().await {
            return Err(Failure::Superseded);
        }
        self.greet(CALM_DEADLINE).await?;
        let set = |name: &str, bytes: u64| {
            let bytes = bytes.to_string();
            Command::new("CONFIG").arg("SET").args([name, bytes.as_str()])
        };
        let limit = set("maxmemory", memory_bytes);
        let backlog = set("repl-backlog-size", conf::backlog(memory_bytes));
        self.make(&[backlog, limit], CALM_DEADLINE).await.map(drop)
    }

    /// Makes `run` the primary (or confirms that it is) and lets in exactly these.
    pub(super) async fn lead(
        &mut self,
        order: &Order,
        run: &RunId,
        replicas: &BTreeSet<Tag>,
        lanes: &BTreeSet<ProxyId>,
        stand_ins: Option<&BTreeSet<StandIn>>,
        promote: bool,
    ) -> Result<(), Failure> {
        if !self.known().await {
            return Err(Failure::Superseded);
        }
        self.greet(CALM_DEADLINE).await?;
        if self.run.as_ref() != Some(run) {
            debug!(node = %self.id, meant = %run, "another process runs");
            return Ok(());
        }
        if let Some(stand_ins) = stand_ins {
            self.lease(order, run, stand_ins, promote).await?;
        }
        let users = Users::wanted(&self.context.config.secret, order, lanes, replicas);
        let mut commands: Vec<Command> = users.delete_others(&self.users).into_iter().collect();
        if promote {
            self.data_will_change()
                .map_err(|err| Failure::Refused(format!("the record of the last stop: {err}")))?;
            commands.push(Command::new("REPLICAOF").arg("NO").arg("ONE"));
        }
        commands.extend(users.create_missing(&self.users));
        commands.push(Command::new("ROLE"));
        // The probe judges new attachments from when they were admitted.
        self.context.board.admit(&self.id, replicas.iter());
        let answers = self.make(&commands, CALM_DEADLINE).await?;
        self.let_users_in(&users).await?;
        self.users = users.names();
        let role = answers.last().and_then(role_word);
        if role != Some("master") {
            // Not what was reported before either: it has to be promoted again.
            self.forget_applied();
            return Err(Failure::Refused(format!("its role is {}", role.unwrap_or("unknown"))));
        }
        let applied = Applied {
            rev: order.rev,
            epoch: order.epoch,
            run: run.clone(),
            primary: true,
            seqs: replicas.iter().map(|tag| tag.seq).collect(),
            lanes: lanes.clone(),
            users: mark(&order.users),
            stand_ins: stand_ins.into_iter().flatten().map(|one| one.tag.seq).collect(),
        };
        self.applied(AppliedAs { applied, users: users.names(), follows: None }).await;
        Ok(())
    }

    /// Tells the engine what clients' users may do. Rules were read before anybody accepted them; an
    /// engine of another version may still not know a command that they name. That user may do nothing
    /// then, and an operator hears of it.
    pub(super) async fn let_users_in(&mut self, users: &Users) -> Result<(), Failure> {
        let own = users.own_lanes();
        if own.is_empty() {
            return Ok(());
        }
        let commands: Vec<Command> = own.iter().map(|(_, command, _)| command.clone()).collect();
        let answers = self.ask(&commands, CALM_DEADLINE).await?;
        let mut instead = Vec::new();
        for ((name, _, nothing), answer) in own.into_iter().zip(&answers) {
            let Some(text) = answer.as_error() else { continue };
            let user = lane_owner(name).unwrap_or(name);
            let text = format!("the engine does not take the rules of user {user}: {text}");
            if self.attempts.is_news(&text) {
                self.context.board.note(Some(&self.id), "UserRulesRefused", text);
            }
            instead.push(nothing);
        }
        if !instead.is_empty() {
            self.make(&instead, CALM_DEADLINE).await?;
        }
        Ok(())
    }

    /// Reports an order as true, and remembers it for an agent that is started again.
    pub(super) async fn applied(&mut self, done: AppliedAs) {
        let applied = done.applied.clone();
        self.context.board.change(&self.id, |report| {
            report.applied = Some(Arc::new(applied));
        });
        self.record.applied = Some(done);
        self.save().await;
    }

    /// The data is about to differ from what the last orderly stop left: forget that there was one.
    pub(super) fn data_will_change(&self) -> io::Result<()> {
        match std::fs::remove_file(self.dir.stopped()) {
            Err(err) if err.kind() != io::ErrorKind::NotFound => Err(err),
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

/// The engine's role as `ROLE` says: its first element.
pub(super) fn role_word(role: &Value) -> Option<&str> {
    role.as_array()?.first()?.as_str()
}
