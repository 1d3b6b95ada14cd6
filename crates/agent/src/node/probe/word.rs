//! A replica's word for its primary's lease (`async` groups): the primary's supervisor may go on by the
//! words of all replicas together when no controller can be had.
//!
//! The word is a user of the engine, which is there while the agent hears no controller that leads.
//! So it is given without anybody between the two hosts, is taken back at once, and is nobody's but
//! one attachment's.
//!
//! Invariant: what is reported as withheld cannot be had at the engine; in doubt it is reported as given.
//!
//! Not here: who asks (`crate::supervisor`), what follows from a word (`tanist_core::decide`).

use tanist_core::model::{NodeId, RunId};
use tanist_link::wire::{stand_in_label, stand_in_user};
use tanist_resp::{Command, Value};

use super::Context;
use crate::acl;

/// The word on one connection.
#[derive(Debug, Default)]
pub(super) struct Word {
    /// The user that is there.
    given: Option<String>,
}

impl Word {
    /// What takes back what an earlier connection, or an earlier agent, has left behind.
    pub(super) fn take_all_back(users: &Value) -> Option<Command> {
        acl::delete(acl::stand_ins(users).iter())
    }

    /// What has to be changed now, if anything. What is about to be given counts as given from here on.
    pub(super) fn due(&mut self, context: &Context, node: &NodeId, run: &RunId) -> Option<Command> {
        let due = context.board.word_due(node, run).map(|tag| stand_in_user(&tag));
        if !context.config.leases || due == self.given {
            return None;
        }
        if let Some(given) = self.given.take() {
            return Some(Command::new("ACL").arg("DELUSER").arg(given));
        }
        let user = due?;
        context.board.stand(node, true);
        let key = context.board.shard(node)?;
        let label = stand_in_label(&key.group, &key.shard, &user);
        let given = acl::stand_in(&user, &context.config.secret.password_hash(&label));
        self.given = Some(user);
        Some(given)
    }

    /// The engine has answered everything that was asked.
    pub(super) fn done(&self, context: &Context, node: &NodeId) {
        if context.config.leases && self.given.is_none() {
            context.board.stand(node, false);
        }
    }
}
