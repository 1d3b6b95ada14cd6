//! An upgrade in place: the process becomes another program image and its clients notice nothing.
//!
//! `execve` keeps the process, its number and its parent. Everything else is handed over: what the
//! proxy knows is written into memory that has a descriptor ([`estate`]), and this descriptor and those
//! of all sockets wait in a socket that is the next image's standard input ([`parcel`]). All of them
//! close at the `execve`; what is in the queue of that socket is all that is left of them.
//!
//! Before that clients come to rest: nothing more is read from them, and what engines owe on shared
//! connections is waited for. The engine's side of a client's own connection cannot tell the
//! difference.
//!
//! Invariant: until the moment of the `execve` everything can go on as it was, and does if anything is
//! not as it should be.
//!
//! Not here: what is handed over of each part (`crate::session`, `crate::shard`, `crate::client`).

mod conduct;
mod estate;
mod parcel;
mod program;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::rc::{Rc, Weak};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::client::Client;
pub(crate) use conduct::{Conduct, Next, machine_micros};
pub(crate) use estate::{ClientEstate, EndpointEstate, Estate};
pub use parcel::Inheritance;
pub(crate) use parcel::{Laid, Parcel};
pub(crate) use program::{Wanted, become_it};

/// The format in which things are written down. A release reads its own and the one before.
pub(crate) const FORMAT: u32 = 1;
/// How long clients may take to come to rest.
const PATIENCE: Duration = Duration::from_secs(2);
/// After what part of that an encrypted client that only waits is given up.
const PATIENCE_SEALED: Duration = Duration::from_secs(1);
/// How many seconds an encrypted client is told that it has.
pub(crate) const NOTICE: u64 = 1;
/// How long those that were told so have to leave by themselves: a little more than half of that,
/// which is when they dial again.
pub(crate) const GRACE: Duration = Duration::from_millis(600);

/// How a proxy can go on as another program.
#[derive(Debug)]
pub struct Succession {
    /// What to become when nobody names another.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// The arguments with which a program says whether it can take over from this format (which
    /// follows as the last argument), by [`answer`].
    pub trial: Vec<OsString>,
    /// What tells this program from another.
    pub build: String,
    /// Something that is to stay open, such as a lock.
    pub lock: Option<OwnedFd>,
}

/// What a program says that can take over from a proxy that writes this format; `None` if it cannot.
#[must_use]
pub fn answer(format: u32) -> Option<String> {
    is_read(format).then(|| format!("takes over {format}"))
}

/// Whether a format can be read.
fn is_read(format: u32) -> bool {
    (FORMAT.saturating_sub(1).max(1)..=FORMAT).contains(&format)
}

/// Why a proxy goes on as it is.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refused {
    #[error(
        "it was not started in a way that lets it become another program; restart it (clients dial again)"
    )]
    Unable,
    #[error("an upgrade is under way; ask again when it is over")]
    Busy,
    #[error("the upgrade before has failed at its last step; restart it (clients dial again)")]
    Spent,
    #[error("the program {0} must be named by an absolute path")]
    Relative(PathBuf),
    #[error("the program {0} could not be tried out: {1}")]
    Trial(PathBuf, io::Error),
    #[error(
        "the program {0} does not say that it can take over: {1}; if it is the one that is meant, restart the proxy (clients dial again)"
    )]
    Unfit(PathBuf, String),
    #[error("{0} of {1} clients did not come to rest within {PATIENCE:?}; ask again")]
    Restless(usize, usize),
    #[error("handing over: {0}")]
    Parcel(#[from] io::Error),
    #[error("writing down what is handed over: {0}")]
    Estate(#[from] serde_json::Error),
    #[error("the program {0} could not be started: {1}")]
    Exec(PathBuf, io::Error),
}

/// How far an upgrade is, as clients see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Stage {
    /// There is none.
    #[default]
    Off,
    /// Encrypted clients are told, and whoever connects waits for the next image.
    Warning {
        /// The number of what they are told.
        notice: u64,
    },
    /// Clients come to rest.
    Quiet {
        /// Since when.
        since: Instant,
    },
}

impl Stage {
    /// Whether encrypted clients that only wait are given up.
    pub(crate) fn is_late(self, now: Instant) -> bool {
        matches!(self, Self::Quiet { since } if since + PATIENCE_SEALED <= now)
    }
}

/// What all parts of a proxy know of an upgrade.
#[derive(Debug, Default)]
pub(crate) struct Renewal {
    stage: Cell<Stage>,
    /// A client has come to rest, or has left.
    pub(crate) settled: Notify,
    clients: RefCell<BTreeMap<u64, Weak<RefCell<Client>>>>,
    /// Clients that could not go on and have ended for it.
    ended: Cell<u64>,
    /// The number of the latest notice.
    notice: Cell<u64>,
}

impl Renewal {
    /// How far it is.
    pub(crate) fn stage(&self) -> Stage {
        self.stage.get()
    }

    fn set_stage(&self, stage: Stage) {
        self.stage.set(stage);
    }

    /// The number of the latest notice that clients were given, by this image or one before.
    pub(crate) fn notice(&self) -> u64 {
        self.notice.get()
    }

    /// The image before has given this one last.
    pub(crate) fn follow_notice(&self, last: u64) {
        self.notice.set(self.notice.get().max(last));
    }

    /// The number of the next notice. It grows with every upgrade of every image, also of one that came
    /// after a crash: clients pass over a number that they know.
    fn next_notice(&self) -> u64 {
        let seconds = std::time::UNIX_EPOCH.elapsed().unwrap_or_default().as_secs();
        self.notice.set(seconds.max(self.notice.get() + 1));
        self.notice.get()
    }

    /// A client ends that cannot go on.
    pub(crate) fn note_ended(&self) {
        self.ended.set(self.ended.get() + 1);
    }

    /// How many of them have.
    pub(crate) fn ended(&self) -> u64 {
        self.ended.get()
    }

    /// A client is connected.
    pub(crate) fn enter(&self, id: u64, client: &Rc<RefCell<Client>>) {
        self.clients.borrow_mut().insert(id, Rc::downgrade(client));
    }

    /// A client has left.
    pub(crate) fn leave(&self, id: u64) {
        self.clients.borrow_mut().remove(&id);
        if self.stage.get() != Stage::Off {
            self.settled.notify_one();
        }
    }

    /// Whether this is so of any client; most looks end at the first.
    fn any(&self, is_so: impl Fn(&Client) -> bool) -> bool {
        let clients = self.clients.borrow();
        // Each one's task keeps it, so none ends here.
        clients.values().filter_map(Weak::upgrade).any(|client| is_so(&client.borrow()))
    }

    /// Every client that is connected.
    pub(crate) fn clients(&self) -> Vec<Rc<RefCell<Client>>> {
        self.clients.borrow().values().filter_map(Weak::upgrade).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_upgrades_in_one_second_have_two_numbers() {
        let (image, next) = (Renewal::default(), Renewal::default());
        let first = image.next_notice();
        next.follow_notice(first);
        assert!(next.next_notice() > first);
        let later = next.notice();
        next.follow_notice(first);
        assert_eq!(next.notice(), later, "it never goes back");
    }

    #[test]
    fn a_release_takes_over_from_its_own_kind_and_from_the_one_before() {
        assert_eq!(answer(FORMAT).as_deref(), Some(format!("takes over {FORMAT}").as_str()));
        assert_eq!(answer(FORMAT + 1), None);
        assert_eq!(answer(0), None);
    }
}
