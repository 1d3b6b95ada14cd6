//! Keeps what clients are told current: the controller's events, and its status after each.
//!
//! Events say when to look, and at which group; the status says what there is. All of it is read once a
//! second as well, because a node can be up or down without an event, and a group's more often while its
//! failover is being told, because a promotion has none. A client that asks for what is not known waits
//! for a fresh look. Where looking takes long, because there are very many groups, it is done less often.
//!
//! Invariant: one status is read at a time, however many reasons there are; what subscribers are told
//! is true of the status that is shown when they hear of it.
//!
//! Not here: what they are told (`super::story`).

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use tanist_link::api::{EventRecord, GroupStatus, Status};
use tanist_link::{Client, LinkError, Receiver};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::{debug, warn};

use super::notice::Notice;
use super::story::Story;
use super::view::View;
use super::{Seen, Shared};

/// How long between two looks if nothing happens.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The same while a failover is being told.
const HURRY: Duration = Duration::from_millis(20);
/// A look is followed by a pause of so many times its own length at least.
const REST: u32 = 10;
/// One at everything by so many times: of thousands of groups it is a load for whoever is asked.
const WHOLE_REST: u32 = 30;
/// Where more groups than this have news, all are read.
const FEW: usize = 32;
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
    /// What was read last.
    known: Option<Status>,
    /// When all of it is to be read again.
    whole_at: Instant,
    /// Groups of which events have told since.
    news: BTreeSet<String>,
    /// Why the controller did not answer, as it was logged last.
    trouble: Option<String>,
    pause: Duration,
    /// When it has rested after the look before.
    rested_at: Instant,
}

/// Keeps the view current until the future is dropped.
pub(super) async fn follow(shared: &Shared, refreshes: mpsc::Receiver<Refresh>) -> Infallible {
    let story = Story::new(shared.id.clone());
    let mut watcher = Watcher {
        shared,
        story,
        refreshes,
        asked: Vec::new(),
        known: None,
        whole_at: Instant::now(),
        news: BTreeSet::new(),
        trouble: None,
        pause: LOOK_EVERY,
        rested_at: Instant::now(),
    };
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
        let began = Instant::now();
        let mut again = false;
        let client = self.shared.controller.clone();
        let of = std::mem::take(&mut self.news);
        let of = self.few(of, !asked.is_empty(), began);
        let get = timeout(PATIENCE, read(&client, of));
        tokio::pin!(get);
        let read = loop {
            tokio::select! {
                biased;
                event = events.recv() => {
                    self.hear(&event?.ok_or(LinkError::Closed)?);
                    again = true;
                }
                read = &mut get => break read.unwrap_or(Err(LinkError::Closed))?,
            }
        };
        let now = Instant::now();
        let before = self.shared.seen.borrow().clone();
        let before = before.map(|seen| seen.view).unwrap_or_default();
        let status = self.combined(read, began);
        let view = Arc::new(View::of(&status, &before, &self.shared.settings, now));
        self.known = Some(status);
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
        self.rested_at = Instant::now() + began.elapsed() * REST;
        self.publish(notices).await;
        for refresh in asked {
            // Whoever has asked may be gone.
            let _gone = refresh.send(());
        }
        Ok(())
    }

    /// Waits until the next look is due.
    async fn pause(&mut self, events: &mut Receiver<EventRecord>) -> Result<(), LinkError> {
        let mut due = Instant::now() + self.pause;
        loop {
            tokio::select! {
                biased;
                event = events.recv() => {
                    self.hear(&event?.ok_or(LinkError::Closed)?);
                    self.pause = HURRY;
                    due = Instant::now();
                }
                Some(refresh) = self.refreshes.recv() => {
                    self.asked.push(refresh);
                    return Ok(());
                }
                // waits: not everything that changes has an event.
                () = sleep_until(due.max(self.rested_at)) => return Ok(()),
            }
        }
    }

    /// The groups that are enough to look at now; nothing if all are to be read.
    fn few(
        &self,
        mut news: BTreeSet<String>,
        asked: bool,
        now: Instant,
    ) -> Option<BTreeSet<String>> {
        news.extend(self.story.moving().map(str::to_owned));
        let few = !asked && now < self.whole_at && self.known.is_some();
        (few && !news.is_empty() && news.len() <= FEW).then_some(news)
    }

    /// What is known after something was read, which began at `began`.
    fn combined(&mut self, read: Read, began: Instant) -> Status {
        match read {
            Read::All(status) => {
                self.whole_at = Instant::now() + LOOK_EVERY.max(began.elapsed() * WHOLE_REST);
                *status
            }
            Read::Of(groups) => {
                let mut known = self.known.take().unwrap_or_default();
                for group in groups {
                    match known.groups.iter_mut().find(|before| before.name == group.name) {
                        Some(before) => *before = group,
                        None => known.groups.push(group),
                    }
                }
                known
            }
        }
    }

    fn hear(&mut self, event: &EventRecord) {
        match &event.group {
            Some(group) => drop(self.news.insert(group.to_string())),
            None => self.whole_at = Instant::now(),
        }
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
        // Of what happened meanwhile nobody tells.
        self.whole_at = Instant::now();
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

/// What was read.
enum Read {
    All(Box<Status>),
    Of(Vec<GroupStatus>),
}

/// Reads what there is of some groups; of all, if one of them is not there.
async fn read(client: &Client, of: Option<BTreeSet<String>>) -> Result<Read, LinkError> {
    let mut groups = Vec::new();
    for name in of.iter().flatten() {
        match client.get::<GroupStatus>(&format!("/v1/groups/{name}")).await {
            Ok(group) => groups.push(group),
            Err(LinkError::Refused(_)) => {
                groups.clear();
                break;
            }
            Err(err) => return Err(err),
        }
    }
    if groups.is_empty() {
        return Ok(Read::All(Box::new(client.get("/v1/status").await?)));
    }
    Ok(Read::Of(groups))
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
