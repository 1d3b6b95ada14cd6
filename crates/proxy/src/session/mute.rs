//! `CLIENT REPLY`: whether the client wants to hear answers.
//!
//! The mode is decided request by request, in their order, when each one's turn has come: a subscriber
//! of RESP2 may not change it, and whether the client is one is known only then.
//!
//! Invariant: whether a request is muted is decided once, however often it is sent.
//!
//! Not here: messages and confirmations of subscriptions, which are heard all the same
//! (`super::replies`).

use bytes::{Bytes, BytesMut};
use serde::{Deserialize, Serialize};

use super::class::{Class, Pending};
use super::flight::Answer;
use super::{Session, transaction};
use crate::text;

/// Which answers the client wants to hear.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Hearing {
    #[default]
    All,
    None,
    /// All but the next one.
    AllButNext,
}

impl Hearing {
    /// Decides whether a request is muted, unless that is decided.
    pub(super) fn mark(&mut self, pending: &mut Pending) {
        if pending.mute.is_some() {
            return;
        }
        let mute = match *self {
            Self::All => false,
            // It ends the silence, and is heard.
            Self::None => pending.class != Class::Reset,
            Self::AllButNext => true,
        };
        if *self == Self::AllButNext || pending.class == Class::Reset {
            *self = Self::All;
        }
        pending.mute = Some(mute);
    }
}

/// What is heard of an EXEC's answer by somebody who wants no replies.
pub(super) fn confirmations(raw: &Bytes) -> Bytes {
    let elements = transaction::elements(raw).unwrap_or_default();
    let mut heard = BytesMut::new();
    for element in elements {
        let mut lines = element.split(|byte| *byte == b'\n');
        if lines.nth(2).is_some_and(|word| word.ends_with(b"subscribe\r")) {
            heard.extend_from_slice(&element);
        }
    }
    heard.freeze()
}

impl Session {
    /// The answer to `CLIENT REPLY`; `None` if the engine has the words for it.
    pub(super) fn answer_reply_mode(&mut self, pending: &Pending) -> Option<Answer> {
        let mode = pending.request.arg(2).unwrap_or_default();
        let is = |word: &[u8]| mode.eq_ignore_ascii_case(word);
        if is(b"on") {
            self.hearing = Hearing::All;
            // Heard even if everything before it was not.
            return Some(Answer { bytes: Bytes::from_static(text::OK), ..Answer::default() });
        }
        if is(b"off") {
            self.hearing = Hearing::None;
        } else if !is(b"skip") {
            return None;
        } else if self.hearing == Hearing::All {
            self.hearing = Hearing::AllButNext;
        }
        Some(Answer::default())
    }
}
