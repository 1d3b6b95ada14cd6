//! What running a command does, as far as the proxy has to know.
//!
//! The engine's `write` and `readonly` flags say nothing about a third of the commands: scripts,
//! transactions, publishing, administration. The rules here decide those by hand. The question
//! behind every rule is: if the reply is lost, may the request be sent again?
//!
//! Invariant: [`Effect::Read`] is given only to what may run twice, and on a replica.
//!
//! Not here: the flags themselves ([`super::CommandTable`]).

use super::Flags;
use crate::request::Request;

/// What running a request does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Changes nothing: it may run again, and on a replica.
    Read,
    /// May change data, or what other clients see: it must never run twice.
    Write,
    /// As [`Self::Read`], but may wait for data to arrive (`XREAD BLOCK`).
    BlockingRead,
    /// As [`Self::Write`], but may wait for data to arrive (`BLPOP`, `XREADGROUP BLOCK`).
    BlockingWrite,
    /// Waits until this connection's own earlier writes are copied (`WAIT`, `WAITAOF`). On any
    /// other connection the answer would be meaningless.
    Wait,
    /// Reads or changes the state of the client's connection alone (`HELLO`, `SELECT`, `MULTI`,
    /// `WATCH`, `CLIENT`).
    Connection,
    /// Makes the connection receive messages, or stop it (`SUBSCRIBE` family, `MONITOR`).
    Subscription,
}

impl Effect {
    /// Whether it may change data or what other clients see.
    #[must_use]
    pub fn is_write(self) -> bool {
        matches!(self, Self::Write | Self::BlockingWrite)
    }

    /// Whether it changes nothing, so that it may run again and on a replica.
    #[must_use]
    pub fn is_read(self) -> bool {
        matches!(self, Self::Read | Self::BlockingRead)
    }

    /// Whether the reply may be a long time in coming although the engine is well.
    #[must_use]
    pub fn is_blocking(self) -> bool {
        matches!(self, Self::BlockingRead | Self::BlockingWrite | Self::Wait)
    }
}

/// How a command's effect is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    /// Always the same.
    Fixed(Effect),
    /// `XREAD` and `XREADGROUP`: blocking only with the option BLOCK.
    Stream(Effect),
    /// Nothing is known, so it is a write.
    Unknown,
}

impl Rule {
    #[inline]
    pub(super) fn effect(self, request: &Request) -> Effect {
        match self {
            Self::Fixed(effect) => effect,
            Self::Stream(effect) if has_block_option(request) => match effect {
                Effect::Read => Effect::BlockingRead,
                _ => Effect::BlockingWrite,
            },
            Self::Stream(effect) => effect,
            Self::Unknown => Effect::Write,
        }
    }
}

/// Whole commands and whole families by hand; these come before the flags.
const BY_NAME: &[(&str, Effect)] = &[
    ("asking", Effect::Connection),
    ("auth", Effect::Connection),
    ("client", Effect::Connection),
    ("command", Effect::Read),
    ("config", Effect::Write),
    ("discard", Effect::Connection),
    ("echo", Effect::Read),
    ("eval", Effect::Write),
    ("eval_ro", Effect::Read),
    ("evalsha", Effect::Write),
    ("evalsha_ro", Effect::Read),
    ("exec", Effect::Write),
    ("fcall", Effect::Write),
    ("fcall_ro", Effect::Read),
    ("function", Effect::Write),
    ("hello", Effect::Connection),
    ("info", Effect::Read),
    ("lastsave", Effect::Read),
    ("monitor", Effect::Subscription),
    ("multi", Effect::Connection),
    ("ping", Effect::Read),
    ("psubscribe", Effect::Subscription),
    ("publish", Effect::Write),
    ("pubsub", Effect::Read),
    ("punsubscribe", Effect::Subscription),
    ("quit", Effect::Connection),
    ("readonly", Effect::Connection),
    ("readwrite", Effect::Connection),
    ("reset", Effect::Connection),
    ("role", Effect::Read),
    ("script", Effect::Write),
    ("select", Effect::Connection),
    ("spublish", Effect::Write),
    ("ssubscribe", Effect::Subscription),
    ("subscribe", Effect::Subscription),
    ("sunsubscribe", Effect::Subscription),
    ("time", Effect::Read),
    ("unsubscribe", Effect::Subscription),
    ("unwatch", Effect::Connection),
    ("wait", Effect::Wait),
    ("waitaof", Effect::Wait),
    ("watch", Effect::Connection),
    ("xgroup", Effect::Write),
];

/// Subcommands that change nothing, though no flag says so; the rest of their families are writes
/// unless a flag says otherwise.
const READ_SUBCOMMANDS: &[&str] = &[
    "acl|cat",
    "acl|dryrun",
    "acl|genpass",
    "acl|getuser",
    "acl|help",
    "acl|list",
    "acl|users",
    "acl|whoami",
    "cluster|count-failure-reports",
    "cluster|countkeysinslot",
    "cluster|getkeysinslot",
    "cluster|help",
    "cluster|info",
    "cluster|keyslot",
    "cluster|links",
    "cluster|myid",
    "cluster|myshardid",
    "cluster|nodes",
    "cluster|replicas",
    "cluster|shards",
    "cluster|slaves",
    "cluster|slot-stats",
    "cluster|slots",
    "latency|doctor",
    "latency|graph",
    "latency|help",
    "latency|histogram",
    "latency|history",
    "latency|latest",
    "memory|doctor",
    "memory|help",
    "memory|malloc-stats",
    "memory|stats",
    "module|help",
    "module|list",
    "object|help",
    "slowlog|get",
    "slowlog|help",
    "slowlog|len",
    "xinfo|help",
];

/// The rule of one command, from its lower-case name and its flags.
pub(super) fn rule_of(name: &str, flags: Flags) -> Rule {
    match name {
        "xread" => return Rule::Stream(Effect::Read),
        "xreadgroup" => return Rule::Stream(Effect::Write),
        _ => {}
    }
    let family = name.split('|').next().unwrap_or(name);
    if let Some((_, effect)) = BY_NAME.iter().find(|(known, _)| *known == family) {
        return Rule::Fixed(*effect);
    }
    let blocking = flags.contains(Flags::BLOCKING);
    // A command that claims both is a write.
    if flags.contains(Flags::WRITE) {
        return Rule::Fixed(if blocking { Effect::BlockingWrite } else { Effect::Write });
    }
    if flags.contains(Flags::READONLY) {
        return Rule::Fixed(if blocking { Effect::BlockingRead } else { Effect::Read });
    }
    if READ_SUBCOMMANDS.contains(&name) {
        return Rule::Fixed(Effect::Read);
    }
    if blocking { Rule::Fixed(Effect::BlockingWrite) } else { Rule::Unknown }
}

/// Whether XREAD or XREADGROUP has the option BLOCK: in front of STREAMS, and not as the value of
/// another option (a consumer group may be called "block").
fn has_block_option(request: &Request) -> bool {
    let mut args = request.args().skip(1);
    while let Some(option) = args.next() {
        if option.eq_ignore_ascii_case(b"block") {
            return true;
        }
        if option.eq_ignore_ascii_case(b"streams") {
            return false;
        }
        if option.eq_ignore_ascii_case(b"group") {
            args.nth(1);
        } else if option.eq_ignore_ascii_case(b"count") {
            args.next();
        }
    }
    false
}
