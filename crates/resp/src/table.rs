//! What each command is: its flags, where its keys are, and what running it does.
//!
//! The built-in table is the union of what Redis 7.0 and Valkey 8.0 answer to `COMMAND`; a live
//! engine's own answer takes its place where one is at hand, because modules add commands. A
//! look-up is one hash of the name as the client wrote it; it neither allocates nor copies.
//!
//! Invariant: a command that the table does not know counts as a write, so that nothing is ever
//! repeated or sent to a replica by mistake.
//!
//! Not here: which commands are refused or answered locally (the `proxy` crate).

mod effect;
#[cfg(test)]
mod tests;

use std::fmt::Write as _;
use std::sync::LazyLock;

pub use effect::Effect;

use crate::request::Request;
use crate::value::Value;
use effect::Rule;

/// Longest name in bytes, `container|subcommand` included.
const MAX_NAME: usize = 128;
/// Most commands and subcommands of one table.
const MAX_COMMANDS: usize = 16_384;

/// One line per command: name, arity, first key, last key, step, flags.
const BUILTIN: &str = include_str!("table/builtin.txt");

static TABLE: LazyLock<CommandTable> = LazyLock::new(|| CommandTable::from_text(BUILTIN));

/// A set of command flags, under the engine's own names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Flags(u32);

impl Flags {
    /// May change data.
    pub const WRITE: Self = Self(1);
    /// Never changes data.
    pub const READONLY: Self = Self(1 << 1);
    /// May wait for another client.
    pub const BLOCKING: Self = Self(1 << 2);
    /// Not allowed in scripts.
    pub const NOSCRIPT: Self = Self(1 << 3);
    /// Belongs to publish and subscribe.
    pub const PUBSUB: Self = Self(1 << 4);
    /// For administrators.
    pub const ADMIN: Self = Self(1 << 5);
    /// Refused when the engine is out of memory.
    pub const DENYOOM: Self = Self(1 << 6);
    /// Allowed while the engine loads its data.
    pub const LOADING: Self = Self(1 << 7);
    /// Allowed on a replica with stale data.
    pub const STALE: Self = Self(1 << 8);
    /// Takes constant or logarithmic time.
    pub const FAST: Self = Self(1 << 9);
    /// The key positions depend on the arguments.
    pub const MOVABLEKEYS: Self = Self(1 << 10);
    /// Allowed before authentication.
    pub const NO_AUTH: Self = Self(1 << 11);
    /// Not allowed in a transaction.
    pub const NO_MULTI: Self = Self(1 << 12);
    /// Allowed while a script has run for too long.
    pub const ALLOW_BUSY: Self = Self(1 << 13);
    /// Its keys may be left out.
    pub const NO_MANDATORY_KEYS: Self = Self(1 << 14);
    /// Not allowed while the engine loads its data asynchronously.
    pub const NO_ASYNC_LOADING: Self = Self(1 << 15);
    /// Not shown to MONITOR.
    pub const SKIP_MONITOR: Self = Self(1 << 16);
    /// Not logged when slow.
    pub const SKIP_SLOWLOG: Self = Self(1 << 17);
    /// Allowed in cluster mode on an importing slot.
    pub const ASKING: Self = Self(1 << 18);
    /// May be replicated although it is not a write.
    pub const MAY_REPLICATE: Self = Self(1 << 19);

    const NAMES: [(&'static str, Self); 20] = [
        ("write", Self::WRITE),
        ("readonly", Self::READONLY),
        ("blocking", Self::BLOCKING),
        ("noscript", Self::NOSCRIPT),
        ("pubsub", Self::PUBSUB),
        ("admin", Self::ADMIN),
        ("denyoom", Self::DENYOOM),
        ("loading", Self::LOADING),
        ("stale", Self::STALE),
        ("fast", Self::FAST),
        ("movablekeys", Self::MOVABLEKEYS),
        ("no_auth", Self::NO_AUTH),
        ("no_multi", Self::NO_MULTI),
        ("allow_busy", Self::ALLOW_BUSY),
        ("no_mandatory_keys", Self::NO_MANDATORY_KEYS),
        ("no_async_loading", Self::NO_ASYNC_LOADING),
        ("skip_monitor", Self::SKIP_MONITOR),
        ("skip_slowlog", Self::SKIP_SLOWLOG),
        ("asking", Self::ASKING),
        ("may_replicate", Self::MAY_REPLICATE),
    ];

    /// Whether all of `other` are set.
    #[must_use]
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The flag of this name; none for a name that is not known, as later engines add some.
    fn named(name: &str) -> Self {
        Self::NAMES.iter().find(|(known, _)| *known == name).map_or(Self(0), |(_, flag)| *flag)
    }

    /// The names of the flags that are set.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Self::NAMES.iter().filter(move |(_, flag)| self.contains(*flag)).map(|(name, _)| *name)
    }
}

impl std::ops::BitOr for Flags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// One command or subcommand, as `COMMAND` describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandInfo {
    name: Box<str>,
    /// The number of arguments, the name included; negative for "at least".
    pub arity: i32,
    /// What the engine says about it.
    pub flags: Flags,
    /// Position of the first key; 0 for none.
    pub first_key: i32,
    /// Position of the last key; negative counts from the end.
    pub last_key: i32,
    /// Distance between two keys.
    pub step: i32,
    container: bool,
    rule: Rule,
}

impl CommandInfo {
    /// The name in lower case; a subcommand's is `container|subcommand`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether so many arguments (the name included) are allowed.
    #[must_use]
    pub fn accepts(&self, argc: usize) -> bool {
        let wanted = usize::try_from(self.arity.unsigned_abs()).unwrap_or(usize::MAX);
        if self.arity < 0 { argc >= wanted } else { argc == wanted }
    }

    /// What running a request of this command does.
    #[inline]
    #[must_use]
    pub fn effect(&self, request: &Request) -> Effect {
        self.rule.effect(request)
    }

    /// Whether it is only a family of subcommands, such as `CONFIG`.
    #[must_use]
    pub fn is_container(&self) -> bool {
        self.container
    }
}

/// Every command of one engine. It does not change once it is built.
#[derive(Clone, Debug)]
pub struct CommandTable {
    entries: Vec<CommandInfo>,
    /// Open addressing: an entry's index plus one, 0 for a free place. A power of two in size and
    /// at least twice as many places as entries, so that a search always ends.
    places: Vec<u16>,
}

impl CommandTable {
    /// The commands of Redis 7.0 and Valkey 8.0.
    #[must_use]
    pub fn builtin() -> &'static Self {
        &TABLE
    }

    /// Reads an engine's answer to `COMMAND`. Entries that are not of the known form, and what is
    /// beyond 16 384 commands, are left out; they then count as writes.
    #[must_use]
    pub fn from_reply(reply: &Value) -> Self {
        let mut entries = Vec::new();
        for command in reply.as_array().unwrap_or_default() {
            push_entry(&mut entries, command);
            let subcommands = command.as_array().and_then(|fields| fields.get(9));
            for subcommand in subcommands.and_then(Value::as_array).unwrap_or_default() {
                push_entry(&mut entries, subcommand);
            }
        }
        Self::from_entries(entries)
    }

    /// Reads the form that [`Self::to_text`] writes; other lines are left out.
    #[must_use]
    pub fn from_text(text: &str) -> Self {
        Self::from_entries(text.lines().filter_map(entry_from_line).collect())
    }

    /// One line per command, sorted by name: name, arity, first key, last key, step, flags.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut sorted: Vec<&CommandInfo> = self.entries.iter().collect();
        sorted.sort_by(|left, right| left.name.cmp(&right.name));
        let mut text = String::new();
        for entry in sorted {
            let CommandInfo { name, arity, first_key, last_key, step, .. } = entry;
            // Writing to a String cannot fail.
            let _ = write!(text, "{name} {arity} {first_key} {last_key} {step}");
            for flag in entry.flags.names() {
                let _ = write!(text, " {flag}");
            }
            text.push('\n');
        }
        text
    }

    /// This table, and what only `other` has.
    #[must_use]
    pub fn merged_with(&self, other: &Self) -> Self {
        let mut entries = self.entries.clone();
        let known = |entry: &&CommandInfo| self.lookup(entry.name.as_bytes()).is_none();
        entries.extend(other.entries.iter().filter(known).cloned());
        Self::from_entries(entries)
    }

    fn from_entries(mut entries: Vec<CommandInfo>) -> Self {
        entries.truncate(MAX_COMMANDS);
        let size = (entries.len() * 4).next_power_of_two().max(16);
        let mut table = Self { entries: Vec::with_capacity(entries.len()), places: vec![0; size] };
        for mut entry in entries {
            let (found, place) = table.search(entry.name.as_bytes(), None);
            if found.is_some() {
                continue;
            }
            entry.rule = effect::rule_of(&entry.name, entry.flags);
            table.entries.push(entry);
            table.places[place] = u16::try_from(table.entries.len()).unwrap_or_default();
        }
        table.mark_containers();
        table
    }

    fn mark_containers(&mut self) {
        let containers: Vec<Box<str>> = self
            .entries
            .iter()
            .filter_map(|entry| Some(entry.name.split_once('|')?.0.into()))
            .collect();
        for name in containers {
            if let (Some(index), _) = self.search(name.as_bytes(), None)
                && let Some(entry) = self.entries.get_mut(index)
            {
                entry.container = true;
            }
        }
    }

    /// The number of commands, subcommands included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Every command and subcommand.
    pub fn iter(&self) -> impl Iterator<Item = &CommandInfo> {
        self.entries.iter()
    }

    /// The command of this name, in any case. A subcommand is `container|subcommand`.
    #[inline]
    #[must_use]
    pub fn lookup(&self, name: &[u8]) -> Option<&CommandInfo> {
        self.entries.get(self.search(name, None).0?)
    }

    /// The subcommand of a container, both in any case.
    #[must_use]
    pub fn lookup_sub(&self, container: &[u8], subcommand: &[u8]) -> Option<&CommandInfo> {
        self.entries.get(self.search(container, Some(subcommand)).0?)
    }

    /// What a request runs, and what that does. A known subcommand is preferred over its
    /// container.
    #[inline]
    #[must_use]
    pub fn classify(&self, request: &Request) -> (Option<&CommandInfo>, Effect) {
        let (number, effect) = self.find(request);
        (number.and_then(|number| self.entries.get(number)), effect)
    }

    /// As [`Self::classify`], but with the command's number: its place in [`Self::iter`]. Whoever knows
    /// more about each command keeps that in the same order.
    #[inline]
    #[must_use]
    pub fn find(&self, request: &Request) -> (Option<usize>, Effect) {
        let mut args = request.args();
        let name = args.next().unwrap_or_default();
        let found = self.search(name, None).0.and_then(|number| self.numbered(number));
        // A client cannot name a subcommand with the bar; the engine does not know it either.
        let Some((mut number, mut entry)) = found.filter(|_| !name.contains(&b'|')) else {
            return (None, Effect::Write);
        };
        if entry.container
            && let Some(sub) = args.next().and_then(|sub| self.search(name, Some(sub)).0)
            && let Some(found) = self.numbered(sub)
        {
            (number, entry) = found;
        }
        (Some(number), entry.rule.effect(request))
    }

    #[inline]
    fn numbered(&self, number: usize) -> Option<(usize, &CommandInfo)> {
        self.entries.get(number).map(|entry| (number, entry))
    }

    /// What running a request does; a write when the command is not known.
    #[inline]
    #[must_use]
    pub fn effect(&self, request: &Request) -> Effect {
        self.classify(request).1
    }

    /// The entry of a name, and the place where the search ended.
    #[inline]
    fn search(&self, name: &[u8], sub: Option<&[u8]>) -> (Option<usize>, usize) {
        let mask = self.places.len() - 1;
        let len = name.len() + sub.map_or(0, |sub| sub.len() + 1);
        if len > MAX_NAME {
            return (None, 0);
        }
        let mut hash = hash(0x811c_9dc5, name);
        if let Some(sub) = sub {
            hash = self::hash(self::hash(hash, b"|"), sub);
        }
        let mut place = hash as usize & mask;
        loop {
            let index = usize::from(self.places[place]);
            let Some(entry) = index.checked_sub(1).and_then(|index| self.entries.get(index)) else {
                return (None, place);
            };
            if matches(entry.name.as_bytes(), name, sub) {
                return (Some(index - 1), place);
            }
            place = (place + 1) & mask;
        }
    }
}

/// FNV-1a over the lower-case bytes. Engines choose the names in the table, and clients cannot add
/// any, so collisions cannot be forced.
#[inline]
fn hash(seed: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(seed, |hash, byte| {
        (hash ^ u32::from(byte.to_ascii_lowercase())).wrapping_mul(0x0100_0193)
    })
}

#[inline]
fn matches(entry: &[u8], name: &[u8], sub: Option<&[u8]>) -> bool {
    match sub {
        None => entry.eq_ignore_ascii_case(name),
        Some(sub) => {
            entry.len() == name.len() + 1 + sub.len()
                && entry[..name.len()].eq_ignore_ascii_case(name)
                && entry[name.len()] == b'|'
                && entry[name.len() + 1..].eq_ignore_ascii_case(sub)
        }
    }
}

fn push_entry(entries: &mut Vec<CommandInfo>, command: &Value) {
    if entries.len() < MAX_COMMANDS
        && let Some(entry) = command.as_array().and_then(entry_from_fields)
    {
        entries.push(entry);
    }
}

fn entry_from_fields(fields: &[Value]) -> Option<CommandInfo> {
    let number = |index: usize| i32::try_from(fields.get(index)?.as_int()?).ok();
    let flags = fields.get(2)?.as_array()?;
    new_entry(
        fields.first()?.as_str()?,
        [number(1)?, number(3)?, number(4)?, number(5)?],
        flags.iter().filter_map(Value::as_str),
    )
}

fn entry_from_line(line: &str) -> Option<CommandInfo> {
    let mut words = line.split(' ');
    let name = words.next()?;
    let mut number = || words.next()?.parse().ok();
    let numbers = [number()?, number()?, number()?, number()?];
    new_entry(name, numbers, words)
}

fn new_entry<'a>(
    name: &str,
    [arity, first_key, last_key, step]: [i32; 4],
    flags: impl Iterator<Item = &'a str>,
) -> Option<CommandInfo> {
    let usable = !name.is_empty() && name.len() <= MAX_NAME && name.is_ascii();
    usable.then(|| CommandInfo {
        name: name.to_ascii_lowercase().into(),
        arity,
        flags: flags.fold(Flags::default(), |set, flag| set | Flags::named(flag)),
        first_key,
        last_key,
        step,
        container: false,
        rule: Rule::Unknown,
    })
}
