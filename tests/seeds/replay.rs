//! Typing a document, line by line, and judging what came of it.
//!
//! Invariant: a line is well only if it was typed and everything that its table expects was seen:
//! exit code, output, what the original came to, and what the shell checked afterwards.
//!
//! Not here: which lines there are (`crate::table`), how the result looks (`crate::report`).

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::session::{Came, Session};
use crate::table::{Document, Expected, Line, Status};

/// How often a line is repeated that is waited for.
const AGAIN: Duration = Duration::from_millis(500);
/// How long what follows a line may take.
const AFTERWARDS: Duration = Duration::from_secs(30);

/// What became of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// As its table says.
    Well {
        /// What it said.
        said: String,
    },
    /// Not so.
    Fell {
        /// What was wrong.
        why: String,
        /// What it said.
        said: String,
    },
    /// Nobody typed it.
    NotTyped {
        /// Why.
        why: String,
    },
}

/// Types all lines of a document; the verdicts are in the order of the table.
pub(crate) fn replay(document: &Document, engine: &str, session: &mut Session) -> Vec<Verdict> {
    let mut gone: Option<u32> = None;
    let mut verdicts = Vec::new();
    for line in &document.lines {
        let why = match (line.status, gone) {
            (Status::NotYet, _) => line.why.clone(),
            (_, Some(at)) => Some(format!("the shell ended at line {at}")),
            _ => None,
        };
        verdicts.push(match why {
            Some(why) => Verdict::NotTyped { why },
            None => {
                let (verdict, lives) = typed(document, engine, line, session);
                gone = (!lives).then_some(line.at);
                verdict
            }
        });
    }
    verdicts
}

/// Types one line. Says too whether there is a shell for the next one.
fn typed(document: &Document, engine: &str, line: &Line, session: &mut Session) -> (Verdict, bool) {
    let text = document.filled(engine, &line.text);
    let input = document.filled(engine, line.input.as_deref().unwrap_or_default());
    if let Some(original) = &line.original {
        let came = session.run(&text, &input, line.deadline());
        if let Some(wrong) = wrong(&came, original, line.deadline()) {
            let why = format!("the original, which should not work: {wrong}");
            return (Verdict::Fell { why, said: said(&came) }, lives(&came));
        }
    }
    let (command, input) = match (&line.prompt, &line.run) {
        (Some(prompt), _) => (prompt.clone(), format!("{text}\n")),
        (None, Some(run)) => (run.clone(), input),
        (None, None) => (text, input),
    };
    let begun = Instant::now();
    loop {
        let came = session.run(&command, &input, line.deadline());
        let (fault, lives) = match wrong(&came, &line.outcome(), line.deadline()) {
            Some(fault) => (Some(fault), lives(&came)),
            None => afterwards(line, &came, session),
        };
        let Some(fault) = fault else { return (Verdict::Well { said: said(&came) }, lives) };
        if !lives || begun.elapsed() >= line.within() {
            let after = line.within_s.map_or(String::new(), |s| format!(", still so after {s} s"));
            let why = format!("{fault}{after}");
            return (Verdict::Fell { why, said: said(&came) }, lives);
        }
        // waits: what a document's line shows tells nobody when it changes.
        std::thread::sleep(AGAIN);
    }
}

/// Does what follows a line that came out well.
fn afterwards(line: &Line, came: &Came, session: &mut Session) -> (Option<String>, bool) {
    let Some(then) = &line.then else { return (None, lives(came)) };
    // The output is the input of a command, so that no quoting can go wrong.
    let keep = session.run("OUTPUT=$(cat)", &said(came), AFTERWARDS);
    let next = if lives(&keep) { session.run(then, "", AFTERWARDS) } else { keep };
    let well = Expected { expect: Vec::new(), codes: Vec::new() };
    let fault = wrong(&next, &well, AFTERWARDS);
    let fault = fault.map(|fault| format!("afterwards, {then}: {fault}: {}", said(&next).trim()));
    (fault, lives(&next))
}

/// What is not as expected.
fn wrong(came: &Came, expected: &Expected, deadline: Duration) -> Option<String> {
    let (code, said) = match came {
        Came::Out { code, said } => (*code, said),
        Came::Hung { .. } => return Some(format!("ended after its deadline of {deadline:?}")),
        Came::ShellEnded => return Some("the shell ended".to_owned()),
    };
    if !expected.allows(code) {
        return Some(format!("exit code {code}"));
    }
    let missing = expected.expect.iter().find(|pattern| !matches(pattern, said));
    missing.map(|pattern| format!("no line matches {pattern}"))
}

fn said(came: &Came) -> String {
    match came {
        Came::Out { said, .. } | Came::Hung { said } => said.clone(),
        Came::ShellEnded => String::new(),
    }
}

fn lives(came: &Came) -> bool {
    matches!(came, Came::Out { .. })
}

/// Whether a line of the text matches an extended regular expression.
///
/// # Panics
/// If it is none.
pub(crate) fn matches(pattern: &str, text: &str) -> bool {
    let mut grep = Command::new("grep");
    // Without -q: that would end before it has read everything.
    grep.args(["-E", "-e", pattern]).stdin(Stdio::piped()).stdout(Stdio::null());
    let mut grep = grep.spawn().unwrap_or_else(|err| panic!("starting grep: {err}"));
    if let Some(mut input) = grep.stdin.take() {
        // It reads nothing if it does not understand the pattern; the exit code says so.
        let _ = input.write_all(text.as_bytes());
    }
    let status = grep.wait().unwrap_or_else(|err| panic!("waiting for grep: {err}"));
    match status.code() {
        Some(0) => true,
        Some(1) => false,
        code => panic!("grep ended with {code:?}: is {pattern:?} a regular expression?"),
    }
}
