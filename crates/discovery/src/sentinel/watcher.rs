//! Keeps what clients are told current: the controller's events, and its status after each.
//!
//! Events say when to look; the status says what there is. It is read once a second as well, because a
//! node can be up or down without an event, and more often while a failover is being told, because a
//! promotion has none. A client that asks for what is not known waits for a fresh look.
//!
//! Invariant: one status is read at a time, however many reasons there are; what subscribers are told
//! is true of the status that is shown when they hear of it.
//!
//! Not here: what they are told (`super::story`).

use std::convert::Infallible;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use tanist_link::api::{EventRecord, Status};
use tanist_link::{LinkError, Receiver};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, warn};

use super::notice::Notice;
use super::story::Story;
use super::view::View;
use super::{Seen, Shared};

/// How long between two looks if nothing happens.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The same while a failover is being told.
const HURRY: Duration = Duration::from_millis(20);
/// How long a status may take before the controller counts as not answering.
const PATIENCE: Duration = Duration::from_secs(5);

/// Somebody waits for a fresh look.
pub(super) type Refresh = oneshot::Sender<()>;

struct Watcher<'a> {
    shared: &'a Shared,
    story: Story,
    refreshes: mpsc::Receiver<Refresh>,
    /// Who waits for the next look.
    asked: Vec<Refresh>,
    /// Why the controller did not answer, as it was logged last.
    trouble: Option<String>,
    pause: Duration,
}

/// Keeps the view current until the future is dropped.
pub(super) async fn follow(shared: &Shared, refreshes: mpsc::Receiver<Refresh>) -> Infallible {
    let story = Story::new(shared.id.clone());
    let asked = Vec::new();
    let mut watcher = Watcher { shared, story, refreshes, asked, trouble: None, pause: LOOK_EVERY };
    loop {
        let events = shared.controller.follow::<EventRecord>("/v1/events/follow").await;
        let ended = match events {
            Ok(mut events) => watcher.attend(&mut events).await,
            Err(err) => err,
        };
        watcher.unreachable(&ended);
        // waits: a controller that is away does not say when it is back.
        sleep(LOOK_EVERY).await;
    }
}

impl Watcher<'_> {
    /// Follows one stream of events; gives why it ended.
    async fn attend(&mut self, events: &mut Receiver<EventRecord>) -> LinkError {
        loop {
            let waiting = match self.look(events).await {
                Ok(()) => self.pause(events).await,
                Err(err) => Err(err),
            };
            if let Err(err) = waiting {
                return err;
            }
        }
    }

    /// Reads the status once and tells what is new in it. Events that come meanwhile are told at
    /// once: what they say is newer.
    async fn look(&mut self, events: &mut Receiver<EventRecord>) -> Result<(), LinkError> {
        let mut asked = std::mem::take(&mut self.asked);
        while let Ok(refresh) = self.refreshes.try_recv() {
            asked.push(refresh);
        }
        let mut again = false;
        let client = self.shared.controller.clone();
        let get = timeout(PATIENCE, client.get::<Status>("/v1/status"));
        tokio::pin!(get);
        let status = loop {
            tokio::select! {
                biased;
                event = events.recv() => {
                    self.hear(&event?.ok_or(LinkError::Closed)?);
                    again = true;
                }
                status = &mut get => break status.unwrap_or(Err(LinkError::Closed))?,
            }
        };
        let now = Instant::now();
        let before = self.shared.seen.borrow().clone();
        let before = before.map(|seen| seen.view).unwrap_or_default();
        let view = Arc::new(View::of(&status, &before, &self.shared.settings, now));
        let notices = self.story.look(&view, now);
        self.shared.seen.send_replace(Some(Seen { view, at: now, answers: true }));
        self.trouble = None;
        self.pause = if !self.story.is_moving() && !again {
            LOOK_EVERY
        } else if again || !notices.is_empty() {
            HURRY
        } else {
            // A failover that nobody can carry out may take hours.
            (self.pause * 2).min(LOOK_EVERY)
        };
        self.publish(notices).await;
        for refresh in asked {
            // Whoever has asked may be gone.
            let _gone = refresh.send(());
        }
        Ok(())
    }

    /// Waits until the next look is due.
    async fn pause(&mut self, events: &mut Receiver<EventRecord>) -> Result<(), LinkError> {
        tokio::select! {
            biased;
            event = events.recv() => self.hear(&event?.ok_or(LinkError::Closed)?),
            Some(refresh) = self.refreshes.recv() => self.asked.push(refresh),
            // waits: not everything that changes has an event.
            () = sleep(self.pause) => {}
        }
        Ok(())
    }

    fn hear(&mut self, event: &EventRecord) {
        self.pause = HURRY;
        for notice in self.story.hear(event) {
            self.tell(notice);
        }
    }

    async fn publish(&self, notices: Vec<Arc<Notice>>) {
        for (count, notice) in notices.into_iter().enumerate() {
            if count % 100 == 99 {
                // So that subscribers can keep up when many groups fail over together.
                tokio::task::yield_now().await;
            }
            self.tell(notice);
        }
    }

    fn tell(&self, notice: Arc<Notice>) {
        debug!(channel = notice.channel, payload = notice.payload, "news");
        // It fails if nobody has subscribed.
        let _nobody = self.shared.news.send(notice);
    }

    fn unreachable(&mut self, err: &LinkError) {
        self.shared.seen.send_if_modified(|seen| {
            let answered = seen.as_mut().filter(|seen| seen.answers);
            answered.map(|seen| seen.answers = false).is_some()
        });
        let text = err.to_string();
        if self.trouble.as_ref() != Some(&text) {
            warn!(err = err as &dyn Error, "the Sentinel endpoint does not hear the controller");
            self.trouble = Some(text);
        }
        // They are told what is known.
        self.asked.clear();
        while self.refreshes.try_recv().is_ok() {}
    }
}

impl Shared {
    /// What was seen at the latest look; the first one is waited for.
    pub(super) async fn seen(&self) -> Seen {
        let mut seen = self.seen.subscribe();
        let known = seen.wait_for(Option::is_some).await.map(|seen| seen.clone());
        match known {
            Ok(Some(seen)) => seen,
            // The sender is `self`'s, and what it holds is never taken away.
            _ => std::future::pending().await,
        }
    }

    /// What is seen by a look that begins after this call, if the controller answers.
    pub(super) async fn fresh(&self) -> Seen {
        let (asked, looked) = oneshot::channel();
        if self.refresh.try_send(asked).is_ok() {
            // It fails when the controller does not answer; then what is known has to do.
            let _unanswered = timeout(PATIENCE, looked).await;
        }
        self.seen().await
    }
}
