//! Keeping leases alive, over streams that stay open.
//!
//! etcd takes keep-alives on a stream only, and answers them there one after the other. Each stream
//! here serves one caller at a time, so that no caller waits behind another one's member that hangs,
//! and so that an answer can only be to the question that was asked last.
//!
//! Invariant: a stream goes back to the others only after it answered what it was asked; one whose
//! caller gave up is closed, because its next answer would be an old one.
//!
//! Not here: granting and revoking, which are plain calls (`crate::etcd`).

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::stream;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tonic::{Status, Streaming};

use super::fault::{Fault, at};
use super::keys::{number, signed};
use super::members::{Members, Use, request};
use super::pb::lease_client::LeaseClient;
use super::pb::{LeaseKeepAliveRequest, LeaseKeepAliveResponse};
use crate::error::StoreError;
use crate::model::LeaseId;

/// Streams that are kept open while nobody asks.
const IDLE: usize = 4;
/// Pause after every member failed.
const PAUSE: Duration = Duration::from_millis(100);
const DOING: &str = "keeping a lease alive";

struct Open {
    member: usize,
    questions: mpsc::Sender<LeaseKeepAliveRequest>,
    answers: Streaming<LeaseKeepAliveResponse>,
}

/// The streams that nobody uses now.
#[derive(Default)]
pub(super) struct KeepAlives {
    idle: Mutex<Vec<Open>>,
}

impl KeepAlives {
    fn idle(&self) -> MutexGuard<'_, Vec<Open>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets a lease last for its full time again; answers that time. It does no harm twice, so it
    /// goes from member to member until the call's time is up.
    pub(super) async fn keep_alive(
        &self,
        members: &Members,
        id: LeaseId,
    ) -> Result<Duration, StoreError> {
        let until = Instant::now() + members.timeouts.call;
        let mut last = None;
        loop {
            let open = self.idle().pop();
            let order = match &open {
                Some(open) => vec![open.member],
                None => members.order(),
            };
            let opened_before = open.is_some();
            let mut open = open;
            for member in order {
                if Instant::now() >= until {
                    break;
                }
                let patience = members.timeouts.attempt;
                match timeout(patience, ask(members, member, open.take(), id)).await {
                    Ok(Ok((open, ttl))) => {
                        self.put_back(open);
                        let left = Duration::from_secs(ttl);
                        return if ttl == 0 {
                            Err(StoreError::LeaseNotFound(id))
                        } else {
                            Ok(left)
                        };
                    }
                    Ok(Err(fault)) => last = Some((member, fault)),
                    Err(_) => {
                        last =
                            Some((member, Fault::Lost(format!("no answer within {patience:?}"))));
                    }
                }
                members.fails(member, Use::Streams);
                self.idle().retain(|other| other.member != member);
            }
            if Instant::now() >= until {
                break;
            }
            if !opened_before {
                // waits: nobody tells when a cluster has a leader again.
                tokio::time::sleep(PAUSE).await;
            }
        }
        let (member, fault) = last.unwrap_or((0, Fault::Lost("not asked".to_owned())));
        let source = at(&members.name(member), fault.said());
        Err(StoreError::Backend { doing: DOING, source })
    }

    fn put_back(&self, open: Open) {
        let mut idle = self.idle();
        if idle.len() < IDLE {
            idle.push(open);
        }
    }
}

async fn ask(
    members: &Members,
    member: usize,
    open: Option<Open>,
    id: LeaseId,
) -> Result<(Open, u64), Fault> {
    let question = LeaseKeepAliveRequest { id: signed(id.0) };
    let mut open = match open {
        Some(open) => {
            let gone = || Fault::Lost("the stream of keep-alives ended".to_owned());
            open.questions.send(question).await.map_err(|_| gone())?;
            open
        }
        None => self::open(members, member, question).await?,
    };
    let answer = open.answers.message().await.map_err(|status| Fault::of(&status))?;
    let Some(answer) = answer else { return Err(Fault::of(&Status::unavailable("it ended"))) };
    members.belongs(&answer)?;
    if answer.id != question.id {
        return Err(Fault::Lost("the answer is about another lease".to_owned()));
    }
    Ok((open, number(answer.ttl)))
}

/// Opens a stream with its first question: etcd says nothing before it has one.
async fn open(
    members: &Members,
    member: usize,
    first: LeaseKeepAliveRequest,
) -> Result<Open, Fault> {
    let channel = members.channel(member, Use::Streams).await?;
    let (questions, asked) = mpsc::channel(1);
    // There is room for one.
    let _ = questions.try_send(first);
    let asked = stream::unfold(asked, |mut asked| async { Some((asked.recv().await?, asked)) });
    let answers = LeaseClient::new(channel).lease_keep_alive(request(asked)).await;
    let answers = answers.map_err(|status| Fault::of(&status))?.into_inner();
    Ok(Open { member, questions, answers })
}
