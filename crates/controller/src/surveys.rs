//! The status of everything, put together between other work.
//!
//! Of thousands of groups it takes longer than a decision may wait. So it is made in slices, one after
//! each pass of the loop: each group is shown as it is at one moment, and not all at the same one.
//!
//! Invariant: whoever asks is shown nothing from before the question.
//!
//! Not here: what is shown of a group (`crate::status`).

use std::ops::Bound;
use std::sync::Arc;

use tanist_core::model::GroupName;
use tanist_link::api::{GroupStatus, Status};

use crate::inputs::Reply;
use crate::names::Listed;
use crate::reconciler::Controller;

/// Groups of a slice: a few milliseconds' work.
const SLICE: usize = 64;

/// Who wants to know, and how far the answer is.
#[derive(Debug, Default)]
pub(crate) struct Surveys {
    /// They asked while another answer was being made.
    asked: Vec<Reply<Status>>,
    under_way: Option<Survey>,
}

#[derive(Debug)]
struct Survey {
    replies: Vec<Reply<Status>>,
    listed: Arc<Listed>,
    last: Option<GroupName>,
    groups: Vec<GroupStatus>,
}

impl Surveys {
    pub(crate) fn ask(&mut self, reply: Reply<Status>) {
        self.asked.push(reply);
    }

    /// Whether there is something to do.
    pub(crate) fn is_open(&self) -> bool {
        self.under_way.is_some() || !self.asked.is_empty()
    }
}

impl Controller {
    /// Makes the next slice; answers if it was the last one.
    pub(crate) fn survey(&mut self) {
        let under_way = self.surveys.under_way.take().or_else(|| {
            let replies = std::mem::take(&mut self.surveys.asked);
            let listed = self.config.names.listed();
            let begun = Survey { replies, listed, last: None, groups: Vec::new() };
            (!begun.replies.is_empty()).then_some(begun)
        });
        let Some(mut survey) = under_way else { return };
        let from = survey.last.take().map_or(Bound::Unbounded, Bound::Excluded);
        let slice = self.archive.specs.range((from, Bound::Unbounded)).take(SLICE);
        let mut count = 0;
        for (name, _) in slice {
            survey.groups.extend(self.group_status(name, &survey.listed));
            survey.last = Some(name.clone());
            count += 1;
        }
        if count == SLICE {
            self.surveys.under_way = Some(survey);
            return;
        }
        let status = self.status(survey.groups, self.heard_until);
        for reply in survey.replies {
            // A caller that has gone away needs no answer.
            let _ = reply.send(Ok(status.clone()));
        }
    }
}
