//! The tables as people read them.
//!
//! Invariant: every line of a document is shown, whatever became of it.
//!
//! Not here: verdicts (`crate::replay`).

use crate::replay::Verdict;
use crate::table::{Document, Line, Status};

/// The columns that a line, and what came of it, may fill.
const TEXT: usize = 64;
const CAME: usize = 80;

/// A document, and what came of its lines if it was replayed.
pub(crate) fn table(document: &Document, engine: Option<&str>, verdicts: &[Verdict]) -> String {
    let heading = match engine {
        Some(engine) => format!("{}, on {engine}", document.title),
        None => document.title.clone(),
    };
    let mut out = format!("\n{heading}\n{}\n", "=".repeat(heading.chars().count()));
    if let Some(order) = &document.order {
        out.push_str(&format!("{order}\n"));
    }
    let mut step = "";
    for line in document.in_order() {
        if line.step != step {
            step = &line.step;
            out.push_str(&format!("\n  {step}\n"));
        }
        let place = document.lines.iter().position(|other| other.at == line.at);
        let verdict = place.and_then(|place| verdicts.get(place));
        out.push_str(&row(line, verdict));
    }
    out.push_str(&format!("\n  {}\n", counted(document)));
    out
}

/// How many lines there are of each status, in words.
pub(crate) fn counted(document: &Document) -> String {
    let counts = Status::ALL.iter().zip(document.counts());
    let words: Vec<String> =
        counts.map(|(status, count)| format!("{count} {}", status.name())).collect();
    format!("{} lines: {}", document.lines.len(), words.join(", "))
}

fn row(line: &Line, verdict: Option<&Verdict>) -> String {
    let came = match verdict {
        Some(Verdict::Well { said }) => format!("ok    {}", head(said)),
        Some(Verdict::Fell { why, .. }) => format!("FELL  {why}"),
        Some(Verdict::NotTyped { why }) => format!("-     {why}"),
        None => line.why.as_ref().map_or(String::new(), |why| format!("-     {why}")),
    };
    let (text, status) = (cut(&shown(line), TEXT), line.status.name());
    let row = format!("  {:>4}  {status:<9}  {text:<TEXT$}  {}", line.at, cut(&came, CAME));
    let mut out = format!("{}\n", row.trim_end());
    if let (Some(run), Status::Corrected) = (&line.run, line.status) {
        out.push_str(&format!("        instead    {}\n", cut(&folded(run), TEXT + CAME)));
    }
    out
}

/// A command of several lines on one.
fn folded(text: &str) -> String {
    text.replace("\\\n", " ").split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Commands are shown whole, programs by their first line.
fn shown(line: &Line) -> String {
    let lines = line.text.trim_end().lines().count();
    let continued = line.text.trim_end().lines().take(lines - 1).all(|part| part.ends_with('\\'));
    if continued { folded(&line.text) } else { format!("{} … ({lines} lines)", line.head()) }
}

fn head(said: &str) -> String {
    let mut lines = said.lines().filter(|line| !line.trim().is_empty());
    let first = lines.next().unwrap_or_default();
    match lines.count() {
        0 => first.to_owned(),
        more => format!("{first} … (+{more})"),
    }
}

fn cut(text: &str, columns: usize) -> String {
    if text.chars().count() <= columns {
        return text.to_owned();
    }
    text.chars().take(columns - 1).chain(['…']).collect()
}

/// Every line that fell back, with all that it said; nothing if none did.
pub(crate) fn fallen(document: &Document, verdicts: &[Verdict]) -> Option<String> {
    let mut out = String::new();
    for (line, verdict) in document.lines.iter().zip(verdicts) {
        let (why, said) = match verdict {
            Verdict::Fell { why, said } => (why, said.as_str()),
            Verdict::NotTyped { why } if line.status.is_typed() => (why, ""),
            _ => continue,
        };
        let (at, step, status) = (line.at, &line.step, line.status.name());
        out.push_str(&format!("line {at} ({step}), which {status}: {}\n  {why}\n", line.text));
        for said in said.lines().take(40) {
            out.push_str(&format!("  | {said}\n"));
        }
    }
    (!out.is_empty()).then_some(out)
}
