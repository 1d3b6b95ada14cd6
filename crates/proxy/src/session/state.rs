//! What a client's connection has become by the commands that were answered.
//!
//! It is what a new upstream has to be told before the client's next request, so only answered
//! commands count: what is in flight is sent again by itself.
//!
//! Invariant: the size of what is remembered is bounded; a client that exceeds a bound cannot be
//! moved ([`State::is_movable`]) and is disconnected instead.
//!
//! Not here: requests in flight (`super::flight`), transactions (`super::transaction`).

use std::collections::BTreeSet;

use bytes::Bytes;
use tanist_resp::{Command, Version};

use super::class::{Channels, Class, Pending};
use super::notices::Notices;
use crate::clients::Facts;
use crate::text;

/// Most bytes of channel names that are remembered for one client.
const MAX_CHANNEL_BYTES: usize = 16 << 20;
/// What a channel costs beside its name.
const CHANNEL_OVERHEAD: usize = 64;

/// The state of a connection.
#[derive(Debug, Default)]
pub(crate) struct State {
    /// The protocol version that the client chose.
    pub(crate) version: Version,
    /// A key that the client watches, and no EXEC since.
    pub(crate) watching: bool,
    /// It receives what every other client does.
    pub(crate) monitor: bool,
    /// Notices of failovers.
    pub(crate) notices: Notices,
    /// Grows with every change.
    pub(crate) changes: u32,
    pub(super) db: Option<Bytes>,
    pub(super) name: Option<Bytes>,
    /// The requests that set the rest, as the client sent them; the latest of each kind.
    pub(super) settings: Vec<(Class, Bytes)>,
    pub(super) channels: [BTreeSet<Bytes>; 3],
    pub(super) channel_bytes: usize,
}

/// The words that subscribe to each kind of channel.
const SUBSCRIBE: [&str; 3] = ["SUBSCRIBE", "PSUBSCRIBE", "SSUBSCRIBE"];

/// A request for a new upstream.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) raw: Bytes,
    /// How many frames answer it.
    pub(crate) frames: usize,
    /// Without it the client's requests would mean something else.
    pub(crate) needed: bool,
}

impl Step {
    fn needed(command: &Command, frames: usize) -> Self {
        Self { raw: command.encode(), frames, needed: true }
    }
}

impl State {
    /// Takes in a request that the engine has answered without an error.
    pub(crate) fn apply(&mut self, pending: &Pending) {
        if matches!(pending.class, Class::Plain | Class::Script) {
            return;
        }
        self.changes = self.changes.wrapping_add(1);
        let request = &pending.request;
        // Copies: a piece of the read buffer would keep the whole of it.
        let arg = |index| request.arg(index).map(Bytes::copy_from_slice);
        match pending.class {
            Class::Select => self.db = arg(1),
            Class::SetName => self.name = arg(2).filter(|name| !name.is_empty()),
            Class::Watch => self.watching = true,
            Class::Unwatch => {
                self.unwatch();
            }
            Class::Monitor => self.monitor = true,
            Class::Hello => self.hello(pending),
            Class::SetInfo => {
                let which = arg(2);
                let same =
                    |known: &Bytes| which.as_ref().is_some_and(|which| contains_word(known, which));
                self.settings.retain(|(class, raw)| *class != Class::SetInfo || !same(raw));
                self.remember(pending);
            }
            Class::Tracking | Class::NoEvict | Class::NoTouch => {
                self.settings.retain(|(class, _)| *class != pending.class);
                let off = request.arg(2).is_some_and(|mode| mode.eq_ignore_ascii_case(b"off"));
                if !off {
                    self.remember(pending);
                }
            }
            Class::Subscribe(kind) => {
                for channel in request.args().skip(1) {
                    if self.channels[kind as usize].insert(Bytes::copy_from_slice(channel)) {
                        self.channel_bytes += channel.len() + CHANNEL_OVERHEAD;
                    }
                }
            }
            Class::Unsubscribe(kind) => self.unsubscribe(kind, pending),
            _ => {}
        }
    }

    /// No key is watched any more; whether one was.
    pub(crate) fn unwatch(&mut self) -> bool {
        let watching = std::mem::take(&mut self.watching);
        self.changes = self.changes.wrapping_add(u32::from(watching));
        watching
    }

    fn remember(&mut self, pending: &Pending) {
        self.settings.push((pending.class, Bytes::copy_from_slice(pending.request.raw())));
        // A library sets two names; more are somebody's mistake.
        if self.settings.len() > 16 {
            self.settings.remove(0);
        }
    }

    fn hello(&mut self, pending: &Pending) {
        let request = &pending.request;
        match request.arg(1) {
            Some(b"3") => self.version = Version::Resp3,
            Some(b"2") => self.version = Version::Resp2,
            _ => {}
        }
        let mut options = request.args().skip(2);
        while let Some(option) = options.next() {
            if option.eq_ignore_ascii_case(b"auth") {
                options.nth(1);
            } else if option.eq_ignore_ascii_case(b"setname") {
                self.name =
                    options.next().filter(|name| !name.is_empty()).map(Bytes::copy_from_slice);
            }
        }
    }

    fn unsubscribe(&mut self, kind: Channels, pending: &Pending) {
        let set = &mut self.channels[kind as usize];
        if pending.request.argc() == 1 {
            set.clear();
        }
        for channel in pending.request.args().skip(1) {
            set.remove(channel);
        }
        self.measure_channels();
    }

    /// Counts the channels' bytes again.
    pub(super) fn measure_channels(&mut self) {
        let size = |set: &BTreeSet<Bytes>| {
            set.iter().map(|channel| channel.len() + CHANNEL_OVERHEAD).sum::<usize>()
        };
        self.channel_bytes = self.channels.iter().map(size).sum();
    }

    /// How many frames answer a (un)subscribing request, if it is not refused.
    pub(crate) fn confirmations(&self, pending: &Pending) -> usize {
        match pending.class {
            Class::Unsubscribe(kind) if pending.request.argc() == 1 => {
                self.channels[kind as usize].len().max(1)
            }
            Class::Subscribe(_) | Class::Unsubscribe(_) => pending.request.argc() - 1,
            _ => 1,
        }
    }

    /// It receives messages.
    pub(crate) fn is_subscribed(&self) -> bool {
        self.channels.iter().any(|set| !set.is_empty())
    }

    /// In RESP2 only a handful of commands are allowed while subscribed.
    pub(crate) fn is_limited(&self) -> bool {
        self.version == Version::Resp2 && self.is_subscribed()
    }

    /// Its engine keeps a table of what it has read.
    pub(crate) fn is_tracking(&self) -> bool {
        self.settings.iter().any(|(class, _)| *class == Class::Tracking)
    }

    /// It has to be connected although it asks for nothing.
    pub(crate) fn needs_lane(&self) -> bool {
        self.is_subscribed() || self.monitor || self.is_tracking()
    }

    /// Whether there is nothing about it but its database, version and name, so that requests mean the
    /// same on a connection of others.
    pub(crate) fn is_common(&self) -> bool {
        !self.watching
            && !self.monitor
            && !self.is_subscribed()
            && self.settings.iter().all(|(class, _)| *class == Class::SetInfo)
    }

    /// The database that it chose.
    pub(crate) fn db_number(&self) -> u32 {
        let text = self.db.as_ref().and_then(|db| std::str::from_utf8(db).ok());
        text.and_then(|text| text.parse().ok()).unwrap_or(0)
    }

    /// Its name.
    pub(crate) fn name(&self) -> Option<&Bytes> {
        self.name.as_ref()
    }

    /// Whether it can be told to another engine. Who redirects what its cache has to forget does so to
    /// another connection, which may come later.
    pub(crate) fn is_movable(&self) -> bool {
        self.channel_bytes <= MAX_CHANNEL_BYTES && self.redirect().is_none()
    }

    /// Who hears what this client's cache has to forget, if it is another one.
    pub(crate) fn redirect(&self) -> Option<u64> {
        let (_, raw) = self.settings.iter().find(|(class, _)| *class == Class::Tracking)?;
        let words: Vec<&[u8]> = raw.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).collect();
        let at = words.iter().position(|word| word.eq_ignore_ascii_case(b"redirect"))?;
        // Between two words is the second one's length.
        std::str::from_utf8(words.get(at + 2)?).ok()?.parse().ok().filter(|id| *id > 0)
    }

    /// What the connection has become, for others to see.
    pub(crate) fn facts(&self) -> Facts {
        let has = |wanted: Class| self.settings.iter().any(|(class, _)| *class == wanted);
        let library = |which: &str| {
            let set = |(class, raw): &&(Class, Bytes)| {
                *class == Class::SetInfo && contains_word(raw, which.as_bytes())
            };
            let raw = self.settings.iter().rev().find(set).map(|(_, raw)| raw);
            let word = raw.and_then(|raw| raw.rsplit(|byte| *byte == b'\n').nth(1));
            word.map_or_else(Bytes::new, |word| Bytes::copy_from_slice(word.trim_ascii()))
        };
        Facts {
            name: self.name.clone().unwrap_or_default(),
            library: [library("lib-name"), library("lib-ver")],
            db: self.db_number(),
            channels: [0, 1, 2].map(|kind| self.channels[kind].len()),
            resp3: self.version == Version::Resp3,
            monitor: self.monitor,
            tracking: self.is_tracking(),
            watching: self.watching,
            no_evict: has(Class::NoEvict),
            no_touch: has(Class::NoTouch),
            queued: None,
            redirect: self.redirect(),
        }
    }

    /// What a new upstream has to be told.
    pub(crate) fn restore(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        // HELLO is allowed whatever a user may do, and CLIENT is not.
        let version = if self.version == Version::Resp3 { "3" } else { "2" };
        let hello = Command::new("HELLO").arg(version);
        match &self.name {
            Some(name) => steps.push(Step::needed(&hello.arg("SETNAME").arg(name), 1)),
            None if self.version == Version::Resp3 => steps.push(Step::needed(&hello, 1)),
            None => {}
        }
        // Not every engine knows every setting.
        let settings = self.settings.iter();
        steps.extend(settings.map(|(_, raw)| Step { raw: raw.clone(), frames: 1, needed: false }));
        if let Some(db) = self.db.as_ref().filter(|db| db.as_ref() != b"0") {
            steps.push(Step::needed(&Command::new("SELECT").arg(db), 1));
        }
        for (word, channels) in SUBSCRIBE.iter().zip(&self.channels) {
            if !channels.is_empty() {
                steps.push(Step::needed(&Command::new(word).args(channels), channels.len()));
            }
        }
        if self.monitor {
            steps.push(Step::needed(&Command::new("MONITOR"), 1));
        }
        steps
    }

    /// What the client has to be told after a move: its cache is void.
    pub(crate) fn moved(&self) -> Option<&'static [u8]> {
        match self.version {
            Version::Resp3 if self.is_tracking() => Some(text::INVALIDATE_ALL),
            Version::Resp2
                if self.channels[Channels::Plain as usize].contains(text::INVALIDATE_CHANNEL) =>
            {
                Some(text::INVALIDATE_ALL_RESP2)
            }
            _ => None,
        }
    }
}

fn contains_word(raw: &[u8], word: &[u8]) -> bool {
    raw.windows(word.len()).any(|part| part.eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    fn after(lines: &[&str]) -> State {
        let mut state = State::default();
        for line in lines {
            state.apply(&pending(line));
        }
        state
    }

    fn pending(line: &str) -> Pending {
        let mut words = line.split(' ');
        let command = Command::new(words.next().unwrap()).args(words);
        Pending::new(command.to_request(), Instant::now())
    }

    fn steps(state: &State) -> Vec<String> {
        state
            .restore()
            .iter()
            .map(|step| {
                let text = String::from_utf8_lossy(&step.raw).into_owned();
                let words: Vec<&str> = text
                    .split("\r\n")
                    .filter(|part| !part.is_empty() && !part.starts_with(['*', '$']))
                    .collect();
                format!("{} {}", words.join(" "), step.frames)
            })
            .collect()
    }

    #[test]
    fn a_new_upstream_is_told_what_the_old_one_knew() {
        let state = after(&[
            "HELLO 3 AUTH default x SETNAME app",
            "CLIENT SETINFO lib-name a",
            "CLIENT SETINFO lib-ver 1",
            "CLIENT SETINFO lib-name b",
            "SELECT 3",
            "SUBSCRIBE c1 c2 c2",
            "PSUBSCRIBE p*",
            "UNSUBSCRIBE c1",
        ]);
        assert_eq!(
            steps(&state),
            [
                "HELLO 3 SETNAME app 1",
                "CLIENT SETINFO lib-ver 1 1",
                "CLIENT SETINFO lib-name b 1",
                "SELECT 3 1",
                "SUBSCRIBE c2 1",
                "PSUBSCRIBE p* 1",
            ]
        );
        assert!(state.needs_lane() && !state.is_limited());
    }

    #[test]
    fn a_fresh_client_needs_nothing() {
        assert!(steps(&State::default()).is_empty());
        assert!(steps(&after(&["SELECT 0", "SUBSCRIBE a", "UNSUBSCRIBE"])).is_empty());
    }

    #[test]
    fn a_tracking_client_hears_that_its_cache_is_void() {
        let on = after(&["HELLO 3", "CLIENT TRACKING ON"]);
        assert_eq!(on.moved(), Some(text::INVALIDATE_ALL));
        let off = after(&["HELLO 3", "CLIENT TRACKING ON", "CLIENT TRACKING OFF"]);
        assert_eq!(off.moved(), None);
        let redirected = after(&["SUBSCRIBE __redis__:invalidate"]);
        assert_eq!(redirected.moved(), Some(text::INVALIDATE_ALL_RESP2));
    }

    #[test]
    fn unsubscribing_from_everything_is_confirmed_once_per_channel() {
        let state = after(&["SUBSCRIBE a b c"]);
        assert_eq!(state.confirmations(&pending("UNSUBSCRIBE")), 3);
        assert_eq!(state.confirmations(&pending("PUNSUBSCRIBE")), 1);
        assert_eq!(state.confirmations(&pending("UNSUBSCRIBE x y")), 2);
    }

    #[test]
    fn a_client_with_too_many_channels_cannot_be_moved() {
        let mut state = State::default();
        let long = "x".repeat(1 << 20);
        for number in 0..17 {
            state.apply(&pending(&format!("SUBSCRIBE {number}{long}")));
        }
        assert!(!state.is_movable());
        state.apply(&pending("UNSUBSCRIBE"));
        assert!(state.is_movable());
    }
}
