//! The commands that there are, and the engine's words for those that there are not.
//!
//! Invariant: a request is refused here with the text that a Sentinel of redis 7.0 has for it, in the
//! order in which it checks; what passes has as many arguments as its command takes.
//!
//! Not here: what a command does (`super::desk`, `super::asked`).

use bytes::BytesMut;
use tanist_resp::{Encoder, Request};

/// A command or a subcommand.
#[derive(Debug)]
pub(super) struct Known {
    /// Its name; a subcommand's with its command's before it.
    pub(super) name: &'static str,
    /// As engines count: the name included, negative for "at least".
    arity: i32,
    /// It may be used before the client has given a password.
    pub(super) is_open: bool,
    /// It may be used by a subscriber that speaks RESP2.
    pub(super) is_for_subscribers: bool,
    flags: &'static [&'static str],
    parts: &'static [Known],
}

const FAST: &[&str] = &["loading", "stale", "fast"];
const PLAIN: &[&str] = &["loading", "stale"];
const ADMIN: &[&str] = &["admin", "only_sentinel"];
const PUBSUB: &[&str] = &["pubsub", "noscript", "loading", "stale"];

const fn command(name: &'static str, arity: i32, flags: &'static [&'static str]) -> Known {
    Known { name, arity, is_open: false, is_for_subscribers: false, flags, parts: &[] }
}

const fn open(known: Known) -> Known {
    Known { is_open: true, ..known }
}

const fn for_subscribers(known: Known) -> Known {
    Known { is_for_subscribers: true, ..known }
}

const fn with(known: Known, parts: &'static [Known]) -> Known {
    Known { parts, ..known }
}

static COMMANDS: [Known; 15] = [
    open(command("auth", -2, FAST)),
    with(command("client", -2, PLAIN), &CLIENT),
    with(command("command", -1, PLAIN), &COMMAND),
    open(command("hello", -1, FAST)),
    command("info", -1, PLAIN),
    for_subscribers(command("ping", -1, FAST)),
    for_subscribers(command("psubscribe", -2, PUBSUB)),
    command("publish", 3, PUBSUB),
    for_subscribers(command("punsubscribe", -1, PUBSUB)),
    open(for_subscribers(command("quit", -1, FAST))),
    open(for_subscribers(command("reset", 1, FAST))),
    command("role", 1, FAST),
    with(command("sentinel", -2, ADMIN), &SENTINEL),
    for_subscribers(command("subscribe", -2, PUBSUB)),
    for_subscribers(command("unsubscribe", -1, PUBSUB)),
];

static CLIENT: [Known; 4] = [
    command("client|getname", 2, PLAIN),
    command("client|id", 2, PLAIN),
    command("client|setinfo", 4, PLAIN),
    command("client|setname", 3, PLAIN),
];

static COMMAND: [Known; 4] = [
    command("command|count", 2, PLAIN),
    command("command|docs", -2, PLAIN),
    command("command|info", -2, PLAIN),
    command("command|list", -2, PLAIN),
];

static SENTINEL: [Known; 21] = [
    command("sentinel|ckquorum", 3, ADMIN),
    command("sentinel|config", -3, ADMIN),
    command("sentinel|debug", -2, ADMIN),
    command("sentinel|failover", 3, ADMIN),
    command("sentinel|flushconfig", 2, ADMIN),
    command("sentinel|get-master-addr-by-name", 3, ADMIN),
    command("sentinel|help", 2, PLAIN),
    command("sentinel|info-cache", -3, ADMIN),
    command("sentinel|is-master-down-by-addr", 6, ADMIN),
    command("sentinel|master", 3, ADMIN),
    command("sentinel|masters", 2, ADMIN),
    command("sentinel|monitor", 6, ADMIN),
    command("sentinel|myid", 2, ADMIN),
    command("sentinel|pending-scripts", 2, ADMIN),
    command("sentinel|remove", 3, ADMIN),
    command("sentinel|replicas", 3, ADMIN),
    command("sentinel|reset", 3, ADMIN),
    command("sentinel|sentinels", 3, ADMIN),
    command("sentinel|set", -5, ADMIN),
    command("sentinel|simulate-failure", -3, ADMIN),
    command("sentinel|slaves", 3, ADMIN),
];

/// The command that a request asks for.
///
/// # Errors
/// The error's text, without its dash.
pub(super) fn find(request: &Request) -> Result<&'static Known, Vec<u8>> {
    let name = request.name();
    let command = COMMANDS.iter().find(|known| name.eq_ignore_ascii_case(known.name.as_bytes()));
    let Some(command) = command else { return Err(unknown(request)) };
    let part = request.arg(1).filter(|_| !command.parts.is_empty());
    let Some(part) = part else { return counted(command, request) };
    let found = command.parts.iter().find(|known| {
        let own = known.name.split('|').next_back().unwrap_or_default();
        part.eq_ignore_ascii_case(own.as_bytes())
    });
    match found {
        Some(known) => counted(known, request),
        None => Err(unknown_part(part, command)),
    }
}

fn counted(known: &'static Known, request: &Request) -> Result<&'static Known, Vec<u8>> {
    let count = i32::try_from(request.argc()).unwrap_or(i32::MAX);
    if count == known.arity || (known.arity < 0 && count >= -known.arity) {
        return Ok(known);
    }
    Err(format!("ERR wrong number of arguments for '{}' command", known.name).into_bytes())
}

/// A text as the engine prints it: up to the first NUL, and no more than so many bytes.
fn shown(text: &[u8], most: usize) -> &[u8] {
    let end = text.iter().position(|byte| *byte == 0).unwrap_or(text.len());
    &text[..end.min(most)]
}

fn unknown(request: &Request) -> Vec<u8> {
    let mut args = Vec::new();
    for arg in request.args().skip(1) {
        if args.len() >= 128 {
            break;
        }
        let room = 128 - args.len();
        args.extend_from_slice(b"'");
        args.extend_from_slice(shown(arg, room));
        args.extend_from_slice(b"' ");
    }
    [
        b"ERR unknown command '",
        shown(request.name(), 128),
        b"', with args beginning with: ",
        args.as_slice(),
    ]
    .concat()
}

fn unknown_part(part: &[u8], command: &Known) -> Vec<u8> {
    let upper = command.name.to_uppercase();
    let text = [b"ERR unknown subcommand '", shown(part, 128), b"'. Try ", upper.as_bytes()];
    [&text.concat(), b" HELP.".as_slice()].concat()
}

/// How many commands there are.
pub(super) fn count() -> usize {
    COMMANDS.len()
}

/// All commands, with their parts.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    COMMANDS.iter().flat_map(|known| {
        std::iter::once(known.name).chain(known.parts.iter().map(|part| part.name))
    })
}

/// Every command's entry of `COMMAND`.
pub(super) fn describe_all(to: Encoder, out: &mut BytesMut) {
    to.array(out, COMMANDS.len());
    COMMANDS.iter().for_each(|known| describe(known, to, out));
}

/// One command's entry; nothing for one that is not there.
pub(super) fn describe_one(name: &[u8], to: Encoder, out: &mut BytesMut) {
    let mut parts = COMMANDS.iter().flat_map(|known| known.parts);
    let known = COMMANDS.iter().find(|known| name.eq_ignore_ascii_case(known.name.as_bytes()));
    let part = || parts.find(|known| name.eq_ignore_ascii_case(known.name.as_bytes()));
    match known.or_else(part) {
        Some(known) => describe(known, to, out),
        None => to.null_array(out),
    }
}

fn describe(known: &Known, to: Encoder, out: &mut BytesMut) {
    to.array(out, 10);
    to.bulk(out, known.name);
    to.integer(out, i64::from(known.arity));
    to.set(out, known.flags.len());
    known.flags.iter().for_each(|flag| to.simple(out, flag));
    // No key is among the arguments: the first, the last and the step.
    for _ in 0..3 {
        to.integer(out, 0);
    }
    to.set(out, 0);
    to.array(out, 0);
    to.array(out, 0);
    to.array(out, known.parts.len());
    known.parts.iter().for_each(|part| describe(part, to, out));
}

#[cfg(test)]
mod tests {
    use tanist_resp::Command;

    use super::*;

    fn refused(words: &[&str]) -> String {
        let command = words[1..].iter().fold(Command::new(words[0]), |c, word| c.arg(word));
        let text = find(&command.to_request()).unwrap_err();
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn what_is_not_known_is_refused_in_the_engines_words() {
        let long = "a".repeat(200);
        for (words, expected) in [
            (vec!["FOO"], "ERR unknown command 'FOO', with args beginning with: ".to_owned()),
            (
                vec!["foo", "bar", "baz"],
                "ERR unknown command 'foo', with args beginning with: 'bar' 'baz' ".to_owned(),
            ),
            (
                vec!["FOO", &long, "b"],
                format!("ERR unknown command 'FOO', with args beginning with: '{}' ", &long[..128]),
            ),
            (
                vec!["SENTINEL", "foo"],
                "ERR unknown subcommand 'foo'. Try SENTINEL HELP.".to_owned(),
            ),
            (
                vec!["CLIENT", "MAINT_NOTIFICATIONS", "ON"],
                "ERR unknown subcommand 'MAINT_NOTIFICATIONS'. Try CLIENT HELP.".to_owned(),
            ),
            (vec!["SENTINEL"], "ERR wrong number of arguments for 'sentinel' command".to_owned()),
            (
                vec!["SENTINEL", "MASTER"],
                "ERR wrong number of arguments for 'sentinel|master' command".to_owned(),
            ),
            (
                vec!["SENTINEL", "simulate-failure"],
                "ERR wrong number of arguments for 'sentinel|simulate-failure' command".to_owned(),
            ),
        ] {
            assert_eq!(refused(&words), expected);
        }
    }

    #[test]
    fn the_tables_are_sorted_so_that_nothing_is_told_twice() {
        for table in [&COMMANDS[..], &CLIENT, &COMMAND, &SENTINEL] {
            assert!(table.windows(2).all(|pair| pair[0].name < pair[1].name));
        }
    }
}
