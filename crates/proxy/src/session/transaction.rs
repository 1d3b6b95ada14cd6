//! A transaction that an engine is queueing for the client.
//!
//! Until EXEC is sent nothing has happened, so the whole of it can be queued again elsewhere; that
//! is why the commands are kept, up to a limit. What EXEC answers is an array whose elements are
//! answers to these commands, some of which need the same care as outside a transaction.
//!
//! Invariant: a command counts as queued only when the engine has said so.
//!
//! Not here: commands that are still in flight (`super::flight`).

use bytes::{Bytes, BytesMut};
use tanist_resp::{Command, ReplyFramer};

use super::class::{Class, Pending};
use super::local;

/// Most queued commands whose answers need care.
const MAX_SPECIAL: usize = 1024;

/// What an answer within EXEC's needs.
#[derive(Debug, Clone)]
pub(crate) struct Special {
    /// Which queued command it answers, from 0.
    pub(crate) index: usize,
    /// That command.
    pub(crate) pending: Pending,
    /// The answer to give in place of the engine's.
    pub(crate) instead: Option<Bytes>,
}

/// The transaction that is open, as far as it has been answered.
#[derive(Debug, Default)]
pub(crate) struct Transaction {
    pub(super) open: bool,
    /// Commands as they were sent, MULTI first; `None` when they were too many.
    pub(super) sent: Option<Vec<Bytes>>,
    pub(super) bytes: usize,
    pub(super) queued: usize,
    pub(super) special: Vec<Special>,
    /// It cannot succeed any more.
    pub(crate) failed: bool,
    /// A command that may change keys is queued.
    pub(crate) changes_keys: bool,
}

/// How a command is sent within a transaction, and what to answer in place of the engine's answer.
pub(crate) fn queued_form(pending: &Pending) -> (Bytes, Option<Bytes>) {
    let raw = pending.request.raw().clone();
    let stand_in = || Command::new("PING").encode();
    if let Some(answer) = &pending.instead {
        return (stand_in(), Some(answer.clone()));
    }
    match pending.class {
        Class::WhoAmI if !pending.own_lane => (Command::new("ECHO").arg("default").encode(), None),
        Class::Auth | Class::Hello => match pending.login {
            Some(answer) => (stand_in(), Some(Bytes::from_static(answer))),
            None if pending.class == Class::Hello => (local::hello(&pending.request), None),
            None => (raw, None),
        },
        _ => (raw, None),
    }
}

impl Transaction {
    /// Whether MULTI has been answered, and neither EXEC nor DISCARD.
    pub(crate) fn is_open(&self) -> bool {
        self.open
    }

    /// Commands that are queued.
    pub(crate) fn queued(&self) -> usize {
        self.queued
    }

    /// Whether it may leave the connection with nothing allowed but subscriptions.
    pub(crate) fn subscribes(&self) -> bool {
        let may =
            |entry: &Special| matches!(entry.pending.class, Class::Subscribe(_) | Class::Hello);
        self.special.iter().any(may)
    }

    /// The engine has answered MULTI.
    pub(crate) fn begin(&mut self, multi: &Bytes) {
        *self = Self {
            open: true,
            sent: Some(vec![multi.clone()]),
            bytes: multi.len(),
            ..Self::default()
        };
    }

    /// The engine has queued a command.
    pub(crate) fn queue(&mut self, pending: &Pending, limit: usize) {
        let (raw, instead) = queued_form(pending);
        self.changes_keys |= pending.changes_keys;
        let special = instead.is_some()
            || matches!(
                pending.class,
                Class::Info
                    | Class::Role
                    | Class::WhoAmI
                    | Class::Hello
                    | Class::Select
                    | Class::SetName
                    | Class::SetInfo
                    | Class::NoEvict
                    | Class::NoTouch
                    | Class::Tracking
                    | Class::TrackingInfo
                    | Class::Subscribe(_)
                    | Class::Unsubscribe(_)
            );
        if special {
            let index = self.queued;
            self.special.push(Special { index, pending: pending.clone(), instead });
            // Without a look at each of these the answer cannot be given.
            self.failed |= self.special.len() > MAX_SPECIAL;
            self.special.truncate(MAX_SPECIAL);
        }
        self.queued += 1;
        self.bytes += raw.len();
        if self.bytes > limit {
            self.sent = None;
        } else if let Some(sent) = &mut self.sent {
            sent.push(raw);
        }
    }

    /// It is over.
    pub(crate) fn end(&mut self) -> Vec<Special> {
        std::mem::take(self).special
    }

    /// What queues it again on another upstream; `None` when it was too large to be kept.
    pub(crate) fn rebuild(&self) -> Option<&[Bytes]> {
        self.sent.as_deref()
    }
}

/// Splits EXEC's answer into its elements; `None` if it is not an array.
pub(crate) fn elements(raw: &Bytes) -> Option<Vec<Bytes>> {
    let header = raw.iter().position(|byte| *byte == b'\n')? + 1;
    if raw.first() != Some(&b'*') {
        return None;
    }
    let mut rest = BytesMut::from(raw.get(header..)?);
    let mut framer = ReplyFramer::default();
    let mut elements = Vec::new();
    while let Ok(Some(element)) = framer.next(&mut rest) {
        elements.push(element.into_raw());
    }
    Some(elements)
}

/// The opposite of [`elements`].
pub(crate) fn array(elements: &[Bytes]) -> Bytes {
    let mut out = BytesMut::with_capacity(elements.iter().map(Bytes::len).sum::<usize>() + 16);
    out.extend_from_slice(format!("*{}\r\n", elements.len()).as_bytes());
    for element in elements {
        out.extend_from_slice(element);
    }
    out.freeze()
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    fn pending(line: &str) -> Pending {
        let mut words = line.split(' ');
        let command = Command::new(words.next().unwrap()).args(words);
        Pending::new(command.to_request(), Instant::now())
    }

    #[test]
    fn what_was_queued_can_be_queued_again_up_to_a_limit() {
        let mut transaction = Transaction::default();
        transaction.begin(pending("MULTI").request.raw());
        transaction.queue(&pending("SET a b"), 100);
        let login = Pending { login: Some(b"+OK\r\n"), ..pending("AUTH default x") };
        transaction.queue(&login, 100);
        let sent = transaction.rebuild().unwrap();
        assert_eq!(sent.len(), 3);
        assert_eq!(sent[2], "*1\r\n$4\r\nPING\r\n");
        transaction.queue(&pending(&format!("SET a {}", "x".repeat(100))), 100);
        assert!(transaction.rebuild().is_none());
        assert_eq!((transaction.queued, transaction.changes_keys), (3, true));
        let special = transaction.end();
        assert_eq!((special.len(), special[0].index), (1, 1));
        assert!(!transaction.is_open());
    }

    #[test]
    fn an_exec_answer_comes_apart_and_together_again() {
        let raw = Bytes::from_static(b"*3\r\n+OK\r\n*1\r\n:1\r\n$2\r\nab\r\n");
        let parts = elements(&raw).unwrap();
        assert_eq!(parts, ["+OK\r\n", "*1\r\n:1\r\n", "$2\r\nab\r\n"]);
        assert_eq!(array(&parts), raw);
        assert_eq!(elements(&Bytes::from_static(b"-EXECABORT x\r\n")), None);
    }
}
