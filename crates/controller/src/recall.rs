//! Asking hosts what they keep: one question at a time, to all that are connected.
//!
//! Invariant: no answer waits longer than [`PATIENCE`]; a host counts as heard only when it has said
//! that it has said everything.
//!
//! Not here: what follows from the answers (`crate::rebuild`), answering (`tanist-agent`).

use std::collections::BTreeSet;
use std::time::Duration;

use tanist_core::model::{HostId, Instant};
use tanist_link::api::ApiError;
use tanist_link::wire::{KeptShard, Recalled, ToAgent};

use crate::clock::boot_time;
use crate::error::ControllerError;
use crate::rebuild::RebuildCall;
use crate::reconciler::Controller;

/// How long hosts may take to say what they keep.
const PATIENCE: Duration = Duration::from_secs(5);
/// Most callers of one question.
const MOST_CALLERS: usize = 16;
/// Most shards that one question takes in: those of the most groups that there can be, several times.
const MOST_SHARDS: usize = 10_000;
/// Numbers that one leader has for its questions.
const NUMBER_BITS: u32 = 20;

/// What hosts have said.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    pub(crate) heard: BTreeSet<HostId>,
    pub(crate) silent: BTreeSet<HostId>,
    pub(crate) shards: Vec<(HostId, KeptShard)>,
}

#[derive(Debug)]
struct Waiting {
    number: u64,
    until: Instant,
    answers: Answers,
    callers: Vec<RebuildCall>,
}

/// The question that is not answered yet.
#[derive(Debug, Default)]
pub(crate) struct Recalls {
    waiting: Option<Waiting>,
    last: u64,
}

impl Recalls {
    /// Takes a part of an answer in.
    pub(crate) fn hear(&mut self, recalled: Recalled) {
        let Recalled { host, number, shard } = recalled;
        let Some(waiting) = self.waiting.as_mut().filter(|waiting| waiting.number == number) else {
            return;
        };
        let answers = &mut waiting.answers;
        match shard {
            Some(shard) if answers.shards.len() < MOST_SHARDS => {
                answers.shards.push((host, *shard));
            }
            // It stays silent: what it has more would be left out.
            Some(_) => {
                answers.heard.remove(&host);
            }
            None if answers.shards.len() < MOST_SHARDS => {
                answers.silent.remove(&host);
                answers.heard.insert(host);
            }
            None => {}
        }
    }
}

impl Controller {
    /// Asks every host what it keeps; the caller is answered when all have said it.
    pub(crate) fn ask_to_rebuild(&mut self, call: RebuildCall) {
        if let Some(waiting) = &mut self.recalls.waiting {
            if waiting.callers.len() < MOST_CALLERS {
                return waiting.callers.push(call);
            }
            let message = "too many ask at the same time what hosts keep";
            return call.refuse(ApiError::new("T504", message, "ask again in a moment"));
        }
        self.recalls.last += 1;
        // None means what one of an earlier leader meant.
        let number = (self.archive.term().0 << NUMBER_BITS) + self.recalls.last;
        let known = self.observer.seen.hosts.keys().cloned();
        let silent: BTreeSet<HostId> = known.chain(self.agents.keys().cloned()).collect();
        let keeping = self.agents.keys().filter(|host| self.keeps(host));
        let keeping: Vec<HostId> = keeping.cloned().collect();
        for host in &keeping {
            self.tell(host, ToAgent::Recall(number));
        }
        let answers = Answers { silent, ..Answers::default() };
        let (until, callers) = (boot_time() + PATIENCE, vec![call]);
        self.recalls.waiting = Some(Waiting { number, until, answers, callers });
    }

    /// Answers the question if all have been heard, or nobody waits any longer for those who have not.
    pub(crate) async fn settle_recalls(&mut self, now: Instant) -> Result<(), ControllerError> {
        let connected = |host: &HostId| self.keeps(host);
        let due = |waiting: &Waiting| {
            now >= waiting.until || !waiting.answers.silent.iter().any(connected)
        };
        let due = self.recalls.waiting.as_ref().is_some_and(due);
        let Some(waiting) = self.recalls.waiting.take_if(|_| due) else { return Ok(()) };
        for call in waiting.callers {
            self.answer_to_rebuild(call, &waiting.answers).await?;
        }
        Ok(())
    }
}
