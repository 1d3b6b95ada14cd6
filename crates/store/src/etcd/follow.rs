//! Following the store: one watch over many streams.
//!
//! A stream of etcd's ends with its member, with its member's leader, with the network. The task here
//! opens the next one at another member, from the revision after the last one delivered, for as long
//! as somebody listens.
//!
//! A stream is asked for the changes from one revision *earlier*, and what was seen is left out. So
//! it begins at a revision that exists even if nothing has happened since (a watch that waits for the
//! future gets no progress notifications), and history is refused one revision earlier than etcd
//! would: at the revision of a compaction, etcd before 3.4.36 and 3.5.18 leaves deletions out.
//!
//! A quiet stream is asked for a sign of life: its progress, and a second watch that is made and
//! cancelled, because in some releases not every watch has progress to report.
//!
//! Invariant: `next` is the first revision that was not yet delivered, or passed without a change;
//! a revision is delivered whole, in one batch.
//!
//! Not here: putting a revision together (`assemble`).

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};
use tonic::{Code, Streaming};

use super::assemble::{Assembly, Bad};
use super::fault::{Fault, at};
use super::keys::{Prefix, number, signed};
use super::members::{MAX_ANSWER, Members, Use, nothing, request};
use super::pb::watch_client::WatchClient;
use super::pb::watch_request::RequestUnion;
use super::pb::{
    WatchCancelRequest, WatchCreateRequest, WatchProgressRequest, WatchRequest, WatchResponse,
};
use super::status::describe;
use crate::error::StoreError;
use crate::model::{EventBatch, Revision};
use crate::watch::Watch;

/// Batches that wait for the listener; then etcd waits.
const QUEUE: usize = 16;
/// The watch, and the one that is only a sign of life.
const CHANGES: i64 = 1;
const SIGN: i64 = 2;
/// What an answer says that is about no single watch of a stream.
const ALL: i64 = -1;
/// Questions that wait for the stream: one round of signs, and one that is late.
const QUESTIONS: usize = 8;
/// Signs of life that are asked for within the time of silence.
const SIGNS: u32 = 3;
/// Pauses after a stream broke; doubled each time until one works.
const PAUSE: Duration = Duration::from_millis(25);
const PAUSE_MOST: Duration = Duration::from_millis(500);
const DOING: &str = "watching keys";

type Item = Result<EventBatch, StoreError>;

/// Why a stream came to its end.
enum End {
    /// Go on elsewhere.
    Broken(String),
    /// The watch is over.
    Over(StoreError),
    /// Nobody listens.
    Unheard,
}

/// A watch's place in the history.
pub(super) struct Follow {
    members: Arc<Members>,
    own: Prefix,
    prefix: String,
    assembly: Assembly,
    out: mpsc::Sender<Item>,
    /// Whether the stream that is open now has the watch.
    made: bool,
    /// Told once: the watch was made, or cannot be.
    ready: Option<oneshot::Sender<Result<(), StoreError>>>,
}

impl Follow {
    /// Starts a watch of `prefix` with the changes of revision `from`.
    pub(super) async fn start(
        members: Arc<Members>,
        own: Prefix,
        prefix: String,
        from: Revision,
    ) -> Result<Watch, StoreError> {
        let (out, batches) = mpsc::channel(QUEUE);
        let (ready, made) = oneshot::channel();
        let assembly = Assembly::new(own.clone(), from.0.max(1));
        let follow = Self { members, own, prefix, assembly, out, made: false, ready: Some(ready) };
        tokio::spawn(follow.run());
        made.await.map_err(|_| StoreError::Closed)??;
        Ok(Watch::new(stream::unfold(batches, |mut batches| async {
            Some((batches.recv().await?, batches))
        })))
    }

    async fn run(mut self) {
        let until = Instant::now() + self.members.timeouts.call;
        let mut pause = PAUSE;
        loop {
            let Some(member) = self.members.order().first().copied() else { return };
            let begun = self.assembly.next();
            let end = self.stream(member).await;
            self.assembly.drop_partial();
            let said = match end {
                End::Unheard => return,
                End::Over(error) => return self.over(error).await,
                End::Broken(said) => said,
            };
            self.members.fails(member, Use::Streams);
            let endpoint = self.members.name(member);
            tracing::debug!(endpoint = &*endpoint, said, prefix = self.prefix, "a watch moves on");
            if self.ready.is_some() && Instant::now() >= until {
                let source = at(&endpoint, &said);
                return self.over(StoreError::Backend { doing: DOING, source }).await;
            }
            pause = if self.assembly.next() > begun { PAUSE } else { (pause * 2).min(PAUSE_MOST) };
            let paused = async {
                // waits: nobody tells when a member can be reached again.
                tokio::time::sleep(pause).await;
            };
            tokio::select! {
                () = self.out.closed() => return,
                () = paused => {}
            }
        }
    }

    /// Tells whoever waits: for the watch to begin, or for its next batch.
    async fn over(&mut self, error: StoreError) {
        match self.ready.take() {
            Some(ready) => {
                // A caller that gave up does not need it.
                let _ = ready.send(Err(error));
            }
            None => {
                let _ = self.out.send(Err(error)).await;
            }
        }
    }

    /// One stream at one member, to its end.
    async fn stream(&mut self, member: usize) -> End {
        self.made = false;
        let (asking, asked) = mpsc::channel(QUESTIONS);
        // There is room for it.
        let _ = asking.try_send(self.changes());
        let patience = self.members.timeouts.attempt;
        let opened = timeout(patience * 2, open(&self.members, member, asked)).await;
        let (mut answers, in_step) = match opened {
            Ok(Ok(opened)) => opened,
            Ok(Err(said)) => return End::Broken(said),
            Err(_) => return End::Broken(format!("no watch within {:?}", patience * 2)),
        };
        let silence = self.members.timeouts.silence;
        let every = silence / SIGNS;
        let mut signs = interval_at(Instant::now() + every, every);
        signs.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut heard = Instant::now();
        loop {
            tokio::select! {
                () = self.out.closed() => return End::Unheard,
                answer = answers.message() => {
                    match answer {
                        Ok(Some(answer)) => {
                            if let Err(end) = self.heard(member, answer, in_step).await {
                                return end;
                            }
                        }
                        Ok(None) => return End::Broken("the stream ended".to_owned()),
                        Err(status) => return self.failed(member, &status),
                    }
                    // Only now: the listener may have let us wait.
                    heard = Instant::now();
                }
                _ = signs.tick() => {
                    if heard.elapsed() >= silence || !self.made {
                        return End::Broken(format!("nothing was heard for {:?}", heard.elapsed()));
                    }
                    self.ask_for_a_sign(&asking);
                }
            }
        }
    }

    fn failed(&self, member: usize, status: &tonic::Status) -> End {
        let fault = Fault::of(status);
        match status.code() {
            // No other member would let us.
            Code::PermissionDenied | Code::Unauthenticated => {
                let source = at(&self.members.name(member), fault.said());
                End::Over(StoreError::Backend { doing: DOING, source })
            }
            _ => End::Broken(fault.said().to_owned()),
        }
    }

    fn changes(&self) -> WatchRequest {
        create(WatchCreateRequest {
            key: self.own.key(&self.prefix),
            range_end: self.own.end(&self.prefix),
            start_revision: signed(self.assembly.next().saturating_sub(1).max(1)),
            progress_notify: true,
            watch_id: CHANGES,
            fragment: true,
        })
    }

    fn ask_for_a_sign(&self, asking: &mpsc::Sender<WatchRequest>) {
        let progress = RequestUnion::ProgressRequest(WatchProgressRequest {});
        let sign = create(WatchCreateRequest {
            key: nothing(&self.own.0),
            watch_id: SIGN,
            ..WatchCreateRequest::default()
        });
        let cancel = RequestUnion::CancelRequest(WatchCancelRequest { watch_id: SIGN });
        for question in [wrap(progress), sign, wrap(cancel)] {
            // Without room, earlier questions are unanswered, and silence is counted anyway.
            let _ = asking.try_send(question);
        }
    }

    /// Takes in what a stream says. `in_step`: progress of the whole stream is told in step with
    /// its events.
    async fn heard(
        &mut self,
        member: usize,
        answer: WatchResponse,
        in_step: bool,
    ) -> Result<(), End> {
        self.members.belongs(&answer).map_err(|fault| End::Broken(fault.said().to_owned()))?;
        let refused = answer.canceled && answer.created && answer.watch_id == ALL;
        let ours = answer.watch_id == CHANGES || refused && !self.made;
        if answer.canceled && ours {
            return Err(self.cancelled(member, &answer));
        }
        if answer.created {
            self.made |= answer.watch_id == CHANGES;
            if self.made
                && let Some(ready) = self.ready.take()
            {
                // A caller that gave up also closed the channel.
                let _ = ready.send(Ok(()));
            }
            return Ok(());
        }
        if answer.canceled || !(ours || answer.watch_id == ALL) {
            return Ok(());
        }
        let at = number(answer.header.map_or(0, |header| header.revision));
        if answer.events.is_empty() && !answer.fragment {
            if ours || in_step {
                self.assembly.passed(at);
            }
            return Ok(());
        }
        let fragment = answer.fragment;
        for event in answer.events {
            let done = match self.assembly.take(event) {
                Ok(done) => done,
                Err(Bad::Disorder) => {
                    return Err(End::Broken("events came out of order".to_owned()));
                }
                Err(Bad::Foreign(at, error)) => {
                    if let Some(batch) = self.assembly.complete().filter(|b| b.revision < at) {
                        self.deliver(batch).await?;
                    }
                    return Err(End::Over(error));
                }
            };
            if let Some(batch) = done {
                self.deliver(batch).await?;
            }
        }
        if !fragment && let Some(batch) = self.assembly.complete() {
            self.deliver(batch).await?;
        }
        Ok(())
    }

    fn cancelled(&self, member: usize, answer: &WatchResponse) -> End {
        let compacted = number(answer.compact_revision);
        if compacted > 0 {
            return End::Over(StoreError::Compacted { oldest: Revision(compacted).next() });
        }
        if answer.cancel_reason.contains("permission denied") {
            let source = at(&self.members.name(member), &answer.cancel_reason);
            return End::Over(StoreError::Backend { doing: DOING, source });
        }
        End::Broken(format!("the watch was cancelled: {}", answer.cancel_reason))
    }

    async fn deliver(&mut self, batch: EventBatch) -> Result<(), End> {
        let at = batch.revision;
        self.out.send(Ok(batch)).await.map_err(|_| End::Unheard)?;
        self.assembly.delivered(at);
        Ok(())
    }
}

/// Opens a stream whose first question lies in `asked`, and says whether it tells progress in step.
async fn open(
    members: &Members,
    member: usize,
    asked: mpsc::Receiver<WatchRequest>,
) -> Result<(Streaming<WatchResponse>, bool), String> {
    let in_step = tells_progress_in_step(&describe(members, member).await?.version);
    let said = |fault: Fault| fault.said().to_owned();
    let channel = members.channel(member, Use::Streams).await.map_err(said)?;
    let asked = stream::unfold(asked, |mut asked| async { Some((asked.recv().await?, asked)) });
    let mut client = WatchClient::new(channel).max_decoding_message_size(MAX_ANSWER);
    let answers = client.watch(request(asked)).await;
    Ok((answers.map_err(|status| said(Fault::of(&status)))?.into_inner(), in_step))
}

fn create(create: WatchCreateRequest) -> WatchRequest {
    wrap(RequestUnion::CreateRequest(create))
}

fn wrap(union: RequestUnion) -> WatchRequest {
    WatchRequest { request_union: Some(union) }
}

/// Before 3.4.25 and 3.5.8, progress that is asked for overtakes events that it should follow
/// (etcd's changelog: "requested watcher progress notifications are not synchronised with stream").
fn tells_progress_in_step(version: &str) -> bool {
    let mut numbers = version.split(['.', '-', '+']).map(|part| part.parse::<u32>().unwrap_or(0));
    let mut number = || numbers.next().unwrap_or(0);
    match (number(), number(), number()) {
        (3, 4, patch) => patch >= 25,
        (3, 5, patch) => patch >= 8,
        release => release >= (3, 6, 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_counts_only_where_it_follows_the_events() {
        for old in ["3.4.23", "3.4.0", "3.5.0", "3.5.7", "3.3.25", "", "x"] {
            assert!(!tells_progress_in_step(old), "{old}");
        }
        for new in ["3.4.25", "3.5.8", "3.5.21", "3.6.0", "3.6.0-rc.1", "3.7.1", "4.0.0"] {
            assert!(tells_progress_in_step(new), "{new}");
        }
    }
}
