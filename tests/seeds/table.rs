//! The tables beside this file: what a document tells its reader to type, and what comes of it.
//!
//! A table is data and not code, so that the documents can be counted without being replayed, and
//! so that a line that begins to work is a change of one word.
//!
//! Invariant: what a line may say depends on its status. One that works is typed as it stands, but
//! for the placeholders; one that does not says why.
//!
//! Not here: typing it (`crate::replay`).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Deserialize;

/// How long a line may take that says nothing else.
const DEADLINE: Duration = Duration::from_secs(30);
/// The longest that a line may ask for: the longest wait of the AWS CLI, 40 looks 15 s apart.
const LONGEST_S: u64 = 600;

/// One of the mission documents.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Document {
    /// What its first heading says.
    pub(crate) title: String,
    /// Why its lines are not replayed in the order in which they stand there.
    pub(crate) order: Option<String>,
    /// Programs without which it cannot be replayed.
    #[serde(default)]
    pub(crate) needs: Vec<String>,
    /// The group that is there before the first line.
    pub(crate) group: Option<Group>,
    /// The file of networks and other settings that the installation starts with.
    pub(crate) network: Option<String>,
    /// Shell variables that are set before the first line.
    #[serde(default)]
    pub(crate) variables: BTreeMap<String, String>,
    /// What the reader has to replace, and by what.
    #[serde(default)]
    pub(crate) placeholders: BTreeMap<String, String>,
    /// The same on one engine only.
    #[serde(default)]
    pub(crate) placeholders_on: BTreeMap<String, BTreeMap<String, String>>,
    /// The lines, in the order in which they are replayed.
    #[serde(rename = "line")]
    pub(crate) lines: Vec<Line>,
}

/// A group made by `tanist create`; `PRIMARY` and `READER` are the addresses of its endpoints, and
/// `SENTINEL` is that of the Sentinel endpoint.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Group {
    /// Its name.
    pub(crate) name: String,
    /// Nodes besides the primary.
    pub(crate) replicas: u8,
}

/// One command of a document, or one block that is not a shell's.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Line {
    /// Where it begins in the document: the number of its first line.
    pub(crate) at: u32,
    /// The headings that it stands below.
    pub(crate) step: String,
    /// The command as it stands there.
    pub(crate) text: String,
    /// Whether it works.
    pub(crate) status: Status,
    /// Why it is as the status says.
    pub(crate) why: Option<String>,
    /// What is typed instead of the text.
    pub(crate) run: Option<String>,
    /// The program at whose prompt the text is typed.
    pub(crate) prompt: Option<String>,
    /// What is typed once the program of the text runs.
    pub(crate) input: Option<String>,
    /// What comes of it: as in [`Expected`].
    #[serde(default)]
    pub(crate) expect: Vec<String>,
    /// As in [`Expected`].
    #[serde(default)]
    pub(crate) codes: Vec<i32>,
    /// What came of the text as it stands there.
    pub(crate) original: Option<Expected>,
    /// What the shell does next: keeps a part of `$OUTPUT`, or fails if that is not as it should be.
    pub(crate) then: Option<String>,
    /// How long it may take, in seconds.
    pub(crate) deadline_s: Option<u64>,
    /// It is repeated for so long until it comes out as expected, in seconds.
    pub(crate) within_s: Option<u64>,
}

/// What a command comes to.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Expected {
    /// Extended regular expressions, each of which some line of the output matches.
    #[serde(default)]
    pub(crate) expect: Vec<String>,
    /// The exit codes that are right; 0 if left out.
    #[serde(default)]
    pub(crate) codes: Vec<i32>,
}

/// Whether a line works.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Status {
    /// As it stands there.
    Works,
    /// Not as it stands there, on AWS neither; the corrected line does.
    Corrected,
    /// It cannot be typed on one host; something else stands in for it.
    StandIn,
    /// It will.
    NotYet,
}

impl Status {
    /// All of them.
    pub(crate) const ALL: [Self; 4] = [Self::Works, Self::Corrected, Self::StandIn, Self::NotYet];

    /// Whether a replay types such a line.
    pub(crate) fn is_typed(self) -> bool {
        self != Self::NotYet
    }

    /// As it is shown.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Works => "works",
            Self::Corrected => "corrected",
            Self::StandIn => "stand-in",
            Self::NotYet => "not yet",
        }
    }
}

impl Expected {
    /// Whether this exit code is right.
    pub(crate) fn allows(&self, code: i32) -> bool {
        if self.codes.is_empty() { code == 0 } else { self.codes.contains(&code) }
    }
}

impl Document {
    /// Reads a table.
    ///
    /// # Errors
    /// A sentence that names what is wrong, and the line of the document.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let document: Self = toml::from_str(text).map_err(|err| err.to_string())?;
        let mut places = BTreeSet::new();
        for line in &document.lines {
            let wrong = |what: &str| format!("the line at {}: {what}", line.at);
            line.check().map_err(|what| wrong(&what))?;
            if !places.insert(line.at) {
                return Err(wrong("is in the table twice"));
            }
        }
        Ok(document)
    }

    /// The same table while nobody replays it: nothing in it counts as working.
    pub(crate) fn held_back(mut self, until: &str) -> Self {
        for line in self.lines.iter_mut().filter(|line| line.status.is_typed()) {
            line.why = Some(format!("{} {until}", line.status.name()));
            line.status = Status::NotYet;
        }
        self
    }

    /// How many lines there are of each status.
    pub(crate) fn counts(&self) -> [usize; 4] {
        Status::ALL.map(|status| self.lines.iter().filter(|line| line.status == status).count())
    }

    /// The lines in the order of the document.
    pub(crate) fn in_order(&self) -> Vec<&Line> {
        let mut lines: Vec<&Line> = self.lines.iter().collect();
        lines.sort_by_key(|line| line.at);
        lines
    }

    /// A text with its placeholders replaced. The longest come first: one may begin like another.
    pub(crate) fn filled(&self, engine: &str, text: &str) -> String {
        let own = self.placeholders_on.get(engine).into_iter().flatten();
        let mut pairs: Vec<_> = self.placeholders.iter().chain(own).collect();
        pairs.sort_by_key(|(placeholder, _)| std::cmp::Reverse(placeholder.len()));
        pairs.iter().fold(text.to_owned(), |text, (placeholder, by)| text.replace(*placeholder, by))
    }
}

impl Line {
    /// The first line of the text.
    pub(crate) fn head(&self) -> &str {
        self.text.trim_end().lines().next().unwrap_or_default()
    }

    /// What comes of it.
    pub(crate) fn outcome(&self) -> Expected {
        Expected { expect: self.expect.clone(), codes: self.codes.clone() }
    }

    /// How long it may take.
    pub(crate) fn deadline(&self) -> Duration {
        self.deadline_s.map_or(DEADLINE, Duration::from_secs)
    }

    /// For how long it is repeated.
    pub(crate) fn within(&self) -> Duration {
        Duration::from_secs(self.within_s.unwrap_or(0))
    }

    fn check(&self) -> Result<(), String> {
        let (why, run, original) =
            (self.why.is_some(), self.run.is_some(), self.original.is_some());
        // Every status has exactly its own words, so that a line cannot work by being another one.
        let (wants, is) = match self.status {
            Status::Works => ("no why, run or original", !why && !run && !original),
            Status::Corrected => ("a why, a run and an original", why && run && original),
            Status::StandIn => ("a why, a run and no original", why && run && !original),
            Status::NotYet => ("a why and nothing to run", why && self.says_only_why()),
        };
        if !is {
            return Err(format!("one that is {:?} has {wants}", self.status.name()));
        }
        if self.text.trim().is_empty() || self.step.trim().is_empty() {
            return Err("has an empty text or step".to_owned());
        }
        if self.prompt.is_some() && (run || self.input.is_some()) {
            return Err("what is typed at a prompt is the text alone".to_owned());
        }
        if self.original.as_ref().is_some_and(|original| original.expect.is_empty()) {
            return Err("nothing is expected of the original".to_owned());
        }
        let longest = [self.deadline_s, self.within_s].into_iter().flatten().max();
        if longest.is_some_and(|seconds| !(1..=LONGEST_S).contains(&seconds)) {
            return Err(format!("times are from 1 to {LONGEST_S} s"));
        }
        Ok(())
    }

    fn says_only_why(&self) -> bool {
        let more = [&self.run, &self.prompt, &self.input, &self.then];
        more.iter().all(|word| word.is_none())
            && self.original.is_none()
            && self.expect.is_empty()
            && self.codes.is_empty()
            && self.deadline_s.or(self.within_s).is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Document, String> {
        Document::parse(&format!("title = 't'\n[[line]]\nat = 7\nstep = 's'\n{line}"))
    }

    fn refusal(line: &str) -> String {
        parsed(line).err().unwrap_or_else(|| panic!("not refused: {line}"))
    }

    #[test]
    fn a_line_that_works_is_typed_as_it_stands() {
        let document = parsed("text = 'true'\nstatus = 'works'\nexpect = ['a']").unwrap();
        assert_eq!(document.lines[0].expect, ["a"]);
        assert_eq!(document.counts(), [1, 0, 0, 0]);
        let said = refusal("text = 'x'\nstatus = 'works'\nrun = 'true'");
        assert!(said.contains("at 7") && said.contains("no why, run or original"), "{said}");
    }

    #[test]
    fn a_corrected_line_says_what_came_of_the_original() {
        let line = "text = 'x'\nstatus = 'corrected'\nwhy = 'w'\nrun = 'y'\n";
        assert!(refusal(line).contains("an original"));
        let none = refusal(&format!("{line}original = {{ codes = [1] }}"));
        assert!(none.contains("nothing is expected"), "{none}");
        let document = parsed(&format!("{line}original = {{ codes = [2, 252], expect = ['e'] }}"));
        let document = document.unwrap();
        let original = document.lines[0].original.as_ref().unwrap();
        assert!(original.allows(252) && !original.allows(0));
        assert!(document.lines[0].outcome().allows(0) && !document.lines[0].outcome().allows(1));
    }

    #[test]
    fn what_does_not_work_yet_says_why_and_is_not_typed() {
        assert_eq!(parsed("text='x'\nstatus='not-yet'\nwhy='w'").unwrap().counts(), [0, 0, 0, 1]);
        assert!(refusal("text = 'x'\nstatus = 'not-yet'").contains("a why"));
        let said = refusal("text = 'x'\nstatus = 'not-yet'\nwhy = 'w'\nexpect = ['a']");
        assert!(said.contains("nothing to run"), "{said}");
        assert!(refusal("text = 'x'\nstatus = 'stand-in'\nrun = 'y'").contains("a why"));
    }

    #[test]
    fn what_nobody_replays_does_not_count_as_working() {
        let document = parsed("text = 'x'\nstatus = 'works'").unwrap().held_back("later");
        assert_eq!(document.counts(), [0, 0, 0, 1]);
        assert_eq!(document.lines[0].why.as_deref(), Some("works later"));
    }

    #[test]
    fn a_word_that_nobody_knows_is_refused() {
        for line in ["text = 'x'\nstatus = 'maybe'", "text = 'x'\nstatus = 'works'\nexpct = ['a']"]
        {
            refusal(line);
        }
        assert!(refusal("text = 'x'\nstatus = 'works'\ndeadline_s = 601").contains("600 s"));
        let twice = "text='x'\nstatus='works'\n[[line]]\nat=7\nstep='s'\ntext='y'\nstatus='works'";
        assert!(refusal(twice).contains("twice"));
    }

    #[test]
    fn the_longest_placeholder_is_replaced_first() {
        let text = "title = 't'\nline = []\n[placeholders]\n'a.x' = '$A'\n'a.x.y' = '$B'\n\
                    [placeholders_on.valkey]\n'redis' = 'valkey'\n";
        let document = Document::parse(text).unwrap();
        assert_eq!(document.filled("redis", "redis a.x.y a.x"), "redis $B $A");
        assert_eq!(document.filled("valkey", "redis a.x"), "valkey $A");
    }
}
