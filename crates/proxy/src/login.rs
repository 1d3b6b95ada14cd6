//! Who a client is, by what the group's owner has said.
//!
//! A client is nobody, the `default` user with every right (who uses the proxy's own lane), a user
//! with a lane of its own, or one of the installation's own programs. Engines enforce what a user may
//! do; the proxy only decides whose lane a request takes.
//!
//! Invariant: a lane is used by its own user alone; passwords are compared in constant time and kept
//! nowhere.
//!
//! Not here: the requests by which clients say who they are (`crate::session`).

use std::rc::Rc;

use serde::{Deserialize, Serialize};
use tanist_core::model::accounts::mark;
use tanist_core::model::{Accounts, DEFAULT_USER};
use tanist_link::wire::{
    HOUSE_USER, house_label, lane_label, lane_user, own_lane_label, own_lane_user,
};
use tanist_link::{hash_of, is_one_of};
use tanist_resp::{Command, Version};

use crate::shard::{EndpointKind, Lane, Shard};
use crate::trunk::Key;

/// Who a client is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Who {
    /// It has to say so first.
    #[default]
    Nobody,
    /// `default`, with every right.
    Default,
    /// A program of the installation's own.
    House,
    /// A user with a lane of its own.
    Own(Rc<str>),
}

impl Who {
    /// The user whose lane it takes; `None` for the proxy's own.
    pub(crate) fn lane_user(&self) -> Option<&Rc<str>> {
        match self {
            Self::Own(name) => Some(name),
            Self::Nobody | Self::Default | Self::House => None,
        }
    }

    /// Its name, as it knows it.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Own(name) => name,
            Self::Nobody | Self::Default | Self::House => DEFAULT_USER,
        }
    }

    /// The user of this name; `None` if there is none, or it may not be used.
    fn of(accounts: &Accounts, name: &str) -> Option<Self> {
        let account = accounts.0.get(name).filter(|account| account.enabled)?;
        Some(match Accounts::has_own_lane(name, account) {
            true => Self::Own(Rc::from(name)),
            false => Self::Default,
        })
    }
}

/// What is known of a group's users.
#[derive(Debug, Default)]
pub(crate) struct Known {
    pub(crate) accounts: Rc<Accounts>,
    /// Stands for the lane users that engines should have.
    mark: u64,
}

impl Known {
    pub(crate) fn new(accounts: &Accounts) -> Self {
        Self { accounts: Rc::new(accounts.clone()), mark: mark(&accounts.lanes()) }
    }
}

impl Shard {
    /// Who a client is that has not said anything.
    pub(crate) fn stranger(&self) -> Who {
        let accounts = Rc::clone(&self.users.borrow().accounts);
        let open = accounts.is_open().then(|| Who::of(&accounts, DEFAULT_USER));
        open.flatten().unwrap_or(Who::Nobody)
    }

    /// Who somebody is that was this before; `None` if that user is gone or off. As in the engine,
    /// another password does not end a connection.
    pub(crate) fn still(&self, who: &Who) -> Option<Who> {
        match who {
            Who::Nobody => Some(self.stranger()),
            Who::House => Some(Who::House),
            Who::Default | Who::Own(_) => Who::of(&self.users.borrow().accounts, who.name()),
        }
    }

    /// Whether `default` is so without a password.
    pub(crate) fn is_open(&self) -> bool {
        self.users.borrow().accounts.is_open()
    }

    /// Who somebody is that gives this name and password; `None` if they do not fit together.
    pub(crate) fn log_in(&self, name: &[u8], password: &[u8]) -> Option<Who> {
        if name == HOUSE_USER.as_bytes() {
            let secret = self.identity.secret.password(&house_label(&self.key.group));
            return is_one_of(password, [&hash_of(secret.as_bytes())]).then_some(Who::House);
        }
        let accounts = Rc::clone(&self.users.borrow().accounts);
        let name = std::str::from_utf8(name).ok()?;
        let Some(account) = accounts.0.get(name) else {
            // Takes as long for a user that does not exist as for one with a password.
            std::hint::black_box(is_one_of(password, [&hash_of(b"")]));
            return None;
        };
        let fits = is_one_of(password, &account.passwords) || account.no_password;
        if fits { Who::of(&accounts, name) } else { None }
    }

    /// Whether a user may run a command that the proxy asks for itself on the user's lane.
    pub(crate) fn allows(&self, who: &Who, command: &str, categories: &[&str]) -> bool {
        let Some(name) = who.lane_user() else { return true };
        let users = self.users.borrow();
        let account = users.accounts.0.get(&**name);
        // Of later engines WAIT is in one more category.
        account.is_some_and(|account| account.rules.allow(command, categories, &["blocking"]))
    }

    /// Lets the primary's engine say what it is: what clients are refused before they have reached one is
    /// worded as by it.
    pub(crate) fn greet(&self) {
        let ordinary = *self.users.borrow().accounts == Accounts::default();
        if ordinary || !self.greetings.borrow().is_empty() {
            return;
        }
        if let Some(lane) = self.goal(&EndpointKind::Primary, None) {
            let (user, version) = (None, Version::Resp2);
            self.trunks.pick(Key { lane, user, db: 0, version, heavy: false, proving: false }, 1);
        }
    }

    /// Whether there is a user of this name.
    pub(crate) fn has_user(&self, name: &[u8]) -> bool {
        let name = std::str::from_utf8(name).unwrap_or_default();
        self.users.borrow().accounts.0.contains_key(name)
    }

    /// Whether a node's engine has the lane users that there should be. What is not known (a
    /// controller that has just started) is taken for so.
    pub(crate) fn has_users(&self, lane: &Lane) -> bool {
        let Some(route) = self.route() else { return false };
        let node = route.nodes.iter().find(|node| node.node == lane.node);
        node.is_some_and(|node| node.users.is_none_or(|mark| mark == self.users.borrow().mark))
    }

    /// The request that authenticates on a lane, the proxy's own or a user's.
    pub(crate) fn credentials(&self, lane: &Lane, user: Option<&str>) -> Command {
        let (group, shard) = (&self.key.group, &self.key.shard);
        let (proxy, epoch) = (&self.identity.proxy, lane.epoch);
        let (name, label) = match user {
            None => (lane_user(epoch, proxy), lane_label(group, shard, epoch, proxy)),
            Some(user) => (
                own_lane_user(epoch, proxy, user),
                own_lane_label(group, shard, epoch, proxy, user),
            ),
        };
        Command::new("AUTH").arg(name).arg(self.identity.secret.password(&label))
    }
}
