//! What a request is to the proxy: forwarded as it is, or one of the few that need care.
//!
//! Everything about a request that later steps ask for is found once, when it is parsed.
//!
//! Invariant: a command that the table does not know is forwarded as a write.
//!
//! Not here: what is done about each class (`super::forward`, `super::local`).

use std::sync::LazyLock;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tanist_core::gate;
use tanist_resp::{CommandInfo, CommandTable, Effect, Flags, Request, command};
use tokio::time::Instant;

use crate::denied::is_denied;

/// Which set of channels a subscription belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Channels {
    /// `SUBSCRIBE`
    Plain = 0,
    /// `PSUBSCRIBE`
    Pattern = 1,
    /// `SSUBSCRIBE`
    Shard = 2,
}

/// The care that a request needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// None.
    Plain,
    /// Runs code, whose errors may carry any text.
    Script,
    Denied(&'static str),
    Auth,
    Hello,
    WhoAmI,
    Quit,
    Reset,
    Select,
    Multi,
    Exec,
    Discard,
    Watch,
    Unwatch,
    SetName,
    SetInfo,
    GetName,
    ClientId,
    ClientInfo,
    ClientList,
    ClientKill,
    ClientUnblock,
    ClientGetredir,
    MaintNotifications,
    /// `CLIENT NO-EVICT` and `CLIENT NO-TOUCH`.
    NoEvict,
    NoTouch,
    Tracking,
    TrackingInfo,
    ReplyMode,
    Pause,
    Unpause,
    Subscribe(Channels),
    Unsubscribe(Channels),
    Monitor,
    Info,
    Role,
    Publish,
    Wait,
    WaitAof,
}

impl Class {
    /// Whether its answer shows what connections have become, the client's own among them.
    pub(crate) fn shows_connections(self) -> bool {
        matches!(self, Self::ClientInfo | Self::ClientList | Self::ClientGetredir)
    }

    /// Whether it makes something else of a connection.
    pub(crate) fn changes_connection(self) -> bool {
        matches!(
            self,
            Self::Select
                | Self::Watch
                | Self::Unwatch
                | Self::SetName
                | Self::SetInfo
                | Self::NoEvict
                | Self::NoTouch
                | Self::Tracking
                | Self::Monitor
        )
    }

    fn of(name: &'static str) -> Self {
        match name {
            "eval" | "evalsha" | "fcall" | "eval_ro" | "evalsha_ro" | "fcall_ro" => Self::Script,
            "auth" => Self::Auth,
            "hello" => Self::Hello,
            "acl|whoami" => Self::WhoAmI,
            "quit" => Self::Quit,
            "reset" => Self::Reset,
            "select" => Self::Select,
            "multi" => Self::Multi,
            "exec" => Self::Exec,
            "discard" => Self::Discard,
            "watch" => Self::Watch,
            "unwatch" => Self::Unwatch,
            "subscribe" => Self::Subscribe(Channels::Plain),
            "psubscribe" => Self::Subscribe(Channels::Pattern),
            "ssubscribe" => Self::Subscribe(Channels::Shard),
            "unsubscribe" => Self::Unsubscribe(Channels::Plain),
            "punsubscribe" => Self::Unsubscribe(Channels::Pattern),
            "sunsubscribe" => Self::Unsubscribe(Channels::Shard),
            "monitor" => Self::Monitor,
            "info" => Self::Info,
            "role" => Self::Role,
            "publish" | "spublish" => Self::Publish,
            "wait" => Self::Wait,
            "waitaof" => Self::WaitAof,
            _ if name.starts_with("client|") => Self::of_client(name),
            _ if is_denied(name) => Self::Denied(name),
            _ => Self::Plain,
        }
    }

    fn of_client(name: &'static str) -> Self {
        match name {
            "client|setname" => Self::SetName,
            "client|setinfo" => Self::SetInfo,
            "client|getname" => Self::GetName,
            "client|id" => Self::ClientId,
            "client|info" => Self::ClientInfo,
            "client|list" => Self::ClientList,
            "client|kill" => Self::ClientKill,
            "client|unblock" => Self::ClientUnblock,
            "client|getredir" => Self::ClientGetredir,
            "client|no-evict" => Self::NoEvict,
            "client|no-touch" => Self::NoTouch,
            "client|tracking" => Self::Tracking,
            "client|trackinginfo" => Self::TrackingInfo,
            "client|reply" => Self::ReplyMode,
            "client|pause" => Self::Pause,
            "client|unpause" => Self::Unpause,
            _ => Self::Plain,
        }
    }
}

/// What is known of a command whatever its arguments are.
#[derive(Debug)]
pub(super) struct Profile {
    entry: &'static CommandInfo,
    class: Class,
    family_shares: bool,
    flagged_write: bool,
    /// It is no subcommand, so that its name is a request's first word.
    single: bool,
}

/// The profiles of all commands, by their numbers in the table.
static PROFILES: LazyLock<Vec<Profile>> = LazyLock::new(|| {
    let of = |entry: &'static CommandInfo| Profile {
        entry,
        class: Class::of(entry.name()),
        family_shares: super::shared::family_shares(entry.name()),
        flagged_write: entry.flags.contains(Flags::WRITE),
        single: !entry.name().contains('|') && !entry.is_container(),
    };
    CommandTable::builtin().iter().map(of).collect()
});

impl Profile {
    /// The profile of a request's command, and what the request does.
    fn of(request: &Request) -> (Option<&'static Self>, Effect) {
        let (number, effect) = CommandTable::builtin().find(request);
        (number.and_then(|number| PROFILES.get(number)), effect)
    }

    /// The command's name, as the table has it.
    pub(super) fn name(&self) -> &'static str {
        self.entry.name()
    }

    /// Whether so many arguments make a request of it that means something.
    fn is_usable(&self, argc: usize) -> bool {
        self.entry.accepts(argc) && !self.entry.is_container()
    }
}

/// A request that needs no care, so that whose it is and where it goes is all there is to know.
#[derive(Debug)]
pub(super) struct Ordinary {
    pub(super) profile: &'static Profile,
    pub(super) effect: Effect,
}

impl Ordinary {
    /// Looks at a request; `None` if [`Pending::new`] has to. Most are of the same command as the one
    /// `before`.
    pub(super) fn of(request: &Request, before: Option<&'static Profile>) -> Option<Self> {
        let same = before.filter(|before| before.single && request.is(before.name()));
        let (profile, effect) = match same {
            Some(profile) => (profile, profile.entry.effect(request)),
            None => {
                let (profile, effect) = Profile::of(request);
                (profile?, effect)
            }
        };
        let ordinary = profile.class == Class::Plain
            && profile.family_shares
            && profile.is_usable(request.argc())
            && matches!(effect, Effect::Read | Effect::Write);
        ordinary.then_some(Self { profile, effect })
    }

    /// Whether it may write, by what it does or by what the engine says of it.
    pub(super) fn may_write(&self) -> bool {
        self.effect.is_write() || self.profile.flagged_write
    }
}

/// Whether this is `CLIENT MAINT_NOTIFICATIONS`, which no table has.
fn asks_for_notices(request: &Request) -> bool {
    request.name().eq_ignore_ascii_case(b"client")
        && request.arg(1).is_some_and(|word| word.eq_ignore_ascii_case(b"maint_notifications"))
}

/// A request on its way.
#[derive(Debug, Clone)]
pub(crate) struct Pending {
    /// What the client sent.
    pub(crate) request: Request,
    /// The command's name, as the table has it.
    pub(crate) name: &'static str,
    /// The answer to give when the transaction that it is queued in is executed.
    pub(crate) instead: Option<Bytes>,
    /// What it does.
    pub(crate) effect: Effect,
    /// The care that it needs.
    pub(crate) class: Class,
    /// The table knows the command.
    pub(crate) known: bool,
    /// It is no subcommand, or one that may go over a connection of others.
    pub(crate) family_shares: bool,
    /// It may change keys: refused on replicas, and when too few members are in sync.
    pub(crate) changes_keys: bool,
    /// The engine has the flag `write` for it.
    pub(crate) flagged_write: bool,
    /// When it was parsed.
    pub(crate) parsed: Instant,
    /// When it was first forwarded.
    pub(crate) started: Option<Instant>,
    /// The client asked for no reply to it; `None` until its turn has come.
    pub(crate) mute: Option<bool>,
    /// What it will be answered within a transaction, if it says who the client is.
    pub(crate) login: Option<&'static [u8]>,
    /// The client has a lane of its own, so that the engine knows who it is.
    pub(crate) own_lane: bool,
    /// It is forwarded as it comes: what is here of it is its beginning.
    pub(crate) streamed: bool,
    /// Connections that ended with it in flight although the engine was still the right one.
    pub(crate) losses: u8,
}

impl Pending {
    /// Looks at a request.
    pub(crate) fn new(request: Request, now: Instant) -> Self {
        let (profile, effect) = Profile::of(&request);
        // With a wrong number of arguments the engine has the right words, and does nothing.
        let usable = profile.filter(|profile| profile.is_usable(request.argc()));
        let class = match usable {
            Some(profile) => profile.class,
            None if asks_for_notices(&request) => Class::MaintNotifications,
            None => Class::Plain,
        };
        // Of a container's subcommands, the table knows those that it has.
        let known = profile.is_some_and(|profile| !profile.entry.is_container());
        let family_shares = profile.is_none_or(|profile| profile.family_shares);
        let flagged_write = profile.is_some_and(|profile| profile.flagged_write);
        let changes_keys = match class {
            Class::Script => effect.is_write(),
            Class::Publish | Class::Exec => false,
            _ => flagged_write || profile.is_none(),
        };
        // It may wait for hours, and must not keep what others have sent for as long.
        let request = if effect.is_blocking() { request.detached() } else { request };
        Self {
            name: profile.map_or("NULL", Profile::name),
            instead: None,
            request,
            effect,
            class,
            known,
            family_shares,
            changes_keys,
            flagged_write,
            parsed: now,
            started: None,
            mute: None,
            login: None,
            own_lane: false,
            streamed: false,
            losses: 0,
        }
    }

    /// It is an EXEC that the engine refuses for its arguments, but takes for the transaction's end.
    pub(crate) fn is_bad_exec(&self) -> bool {
        self.class == Class::Plain && self.request.name().eq_ignore_ascii_case(b"exec")
    }

    /// Whether the client does not hear the reply.
    pub(crate) fn is_mute(&self) -> bool {
        self.mute == Some(true)
    }

    /// Its size, in bytes.
    pub(crate) fn size(&self) -> usize {
        self.request.raw().len()
    }

    /// Its effect as the gate understands it, on a lane to the primary or to a replica.
    pub(crate) fn gate_effect(&self, primary: bool) -> gate::Effect {
        match self.effect {
            // A replica is read-only, so a script there changes nothing either.
            _ if !primary => gate::Effect::Read,
            Effect::Write | Effect::BlockingWrite => gate::Effect::Write,
            Effect::Read
            | Effect::BlockingRead
            | Effect::Wait
            | Effect::Connection
            | Effect::Subscription => gate::Effect::Read,
        }
    }

    /// What a blocking request is to be sent as now: its timeout is counted from when it was
    /// first sent.
    pub(crate) fn blocking_form(&self, now: Instant) -> Bytes {
        let raw = self.request.raw().clone();
        let Some(started) = self.started else { return raw };
        shortened(&self.request, now.saturating_duration_since(started)).unwrap_or(raw)
    }
}

/// The request with `elapsed` less time to wait; `None` if it waits for ever or its timeout is not
/// where it should be.
fn shortened(request: &Request, elapsed: Duration) -> Option<Bytes> {
    let last = request.argc().checked_sub(1)?;
    let name = request.name().to_ascii_lowercase();
    let (at, in_seconds) = match name.as_slice() {
        b"blpop" | b"brpop" | b"brpoplpush" | b"blmove" | b"bzpopmin" | b"bzpopmax" => (last, true),
        b"blmpop" | b"bzmpop" => (1, true),
        b"xread" | b"xreadgroup" => {
            let block = request.args().position(|arg| arg.eq_ignore_ascii_case(b"block"))?;
            (block + 1, false)
        }
        _ => return None,
    };
    let text = std::str::from_utf8(request.arg(at)?).ok()?;
    let unit = if in_seconds { 1000.0 } else { 1.0 };
    let millis = text.parse::<f64>().ok().filter(|time| *time > 0.0 && time.is_finite())? * unit;
    // Zero would mean "for ever", so at least a millisecond is left.
    let left = (millis - elapsed.as_secs_f64() * 1000.0).max(1.0);
    let left =
        if in_seconds { format!("{:.3}", left / 1000.0) } else { format!("{:.0}", left.ceil()) };
    let args: Vec<&[u8]> = request
        .args()
        .enumerate()
        .map(|(index, arg)| if index == at { left.as_bytes() } else { arg })
        .collect();
    let mut out = BytesMut::with_capacity(request.raw().len() + left.len());
    command::encode(&mut out, &args);
    Some(out.freeze())
}

#[cfg(test)]
mod tests {
    use tanist_resp::Command;

    use super::*;

    fn pending(line: &str) -> Pending {
        let mut words = line.split(' ');
        let command = Command::new(words.next().unwrap()).args(words);
        Pending::new(command.to_request(), Instant::now())
    }

    #[test]
    fn administration_is_denied_by_its_own_name() {
        for (line, name) in [
            ("REPLICAOF NO ONE", "replicaof"),
            ("config set a b", "config|set"),
            ("ACL SETUSER x", "acl|setuser"),
            ("CLUSTER RESET", "cluster|reset"),
            ("DEBUG SLEEP 1", "debug"),
        ] {
            assert_eq!(pending(line).class, Class::Denied(name), "{line}");
        }
    }

    #[test]
    fn what_the_engine_words_better_is_forwarded() {
        for line in ["CONFIG", "CONFIG NOPE", "REPLICAOF", "ACL", "NOSUCH a", "CLIENT PAUSE"] {
            assert_eq!(pending(line).class, Class::Plain, "{line}");
        }
    }

    #[test]
    fn what_changes_keys_is_known() {
        for line in ["SET a b", "EVAL s 0", "NOSUCH", "BLPOP a 0", "FLUSHALL"] {
            assert!(pending(line).changes_keys, "{line}");
        }
        for line in ["GET a", "PUBLISH a b", "EVAL_RO s 0", "EXEC", "SUBSCRIBE a", "MULTI"] {
            assert!(!pending(line).changes_keys, "{line}");
        }
    }

    #[test]
    fn a_blocking_request_waits_no_longer_in_all_than_it_asked_for() {
        let after = |line: &str, millis| {
            let request = pending(line).request;
            let raw = shortened(&request, Duration::from_millis(millis))?;
            let mut input = BytesMut::from(&raw[..]);
            let again = tanist_resp::RequestFramer::new(tanist_resp::Limits::default())
                .next(&mut input)
                .unwrap()
                .unwrap();
            let words = again.args().map(|arg| String::from_utf8_lossy(arg).into_owned());
            Some(words.collect::<Vec<_>>().join(" "))
        };
        assert_eq!(after("BLPOP a b 5", 1500).as_deref(), Some("BLPOP a b 3.500"));
        assert_eq!(after("BLPOP a 1", 1500).as_deref(), Some("BLPOP a 0.001"));
        assert_eq!(after("BLMPOP 2.5 1 a LEFT", 500).as_deref(), Some("BLMPOP 2.000 1 a LEFT"));
        assert_eq!(
            after("XREAD BLOCK 900 STREAMS a 0", 400).as_deref(),
            Some("XREAD BLOCK 500 STREAMS a 0")
        );
        assert_eq!(after("BLPOP a 0", 1500), None);
        assert_eq!(after("BLPOP a x", 1500), None);
    }
}
