//! How code speaks: names, headers, and the reasons that some lines have to give.
//!
//! A lint that is switched off, or a sleep, may be right; without its reason nobody can tell.
//!
//! Invariant: judges only the form; whether a reason is good is the reviewer's part.
//! Not here: words that belong to one crate (`words`); sizes (`sizes`); Markdown (`docs`).

use crate::repo::{File, Repo, Rust, Violation};
use crate::scan;

const BAD_ENDINGS: [&str; 5] = ["Manager", "Helper", "Helpers", "Util", "Utils"];
const NAMED: [&str; 6] = ["struct", "enum", "trait", "type", "union", "mod"];
const OUTDATED: [&str; 2] = ["master", "slave"];
/// Names in other people's libraries, which are theirs to choose.
const THEIRS: [&str; 1] = ["SentinelServerType::Master"];

pub(crate) fn check(repo: &Repo) -> Vec<Violation> {
    let mut found = Vec::new();
    for (file, rust) in repo.rust() {
        found.extend(silenced_lints(file, rust));
        found.extend(sleeps(file, rust));
        if !file.generated() {
            found.extend(header(file));
            found.extend(names(file, rust));
        }
    }
    found
}

fn header(file: &File) -> Option<Violation> {
    let what = "the file does not say what it is";
    let fix = "begin it with a `//!` header: what, why so, Invariant, Not here";
    (!file.text.starts_with("//!")).then(|| Violation::new(&file.path, 1, what, fix))
}

fn names(file: &File, rust: &Rust) -> Vec<Violation> {
    let mut found = Vec::new();
    for (at, line) in rust.code.iter().enumerate() {
        let own = THEIRS.iter().fold(line.clone(), |line, name| line.replace(name, ""));
        let words: Vec<&str> = scan::identifiers(&own).collect();
        for pair in words.windows(2).filter(|pair| NAMED.contains(&pair[0])) {
            if says_nothing(pair[1]) {
                let what = format!("the name `{}` says nothing of what it does", pair[1]);
                let fix = "name it for its one task";
                found.push(Violation::new(&file.path, at + 1, what, fix));
            }
        }
        for word in words {
            let lower = word.to_lowercase();
            if OUTDATED.iter().any(|outdated| lower.contains(outdated)) {
                let what = format!("`{word}`: these words are for bytes on the wire only");
                let fix = "say primary and replica, or put the wire word into a literal";
                found.push(Violation::new(&file.path, at + 1, what, fix));
            }
        }
    }
    found
}

/// Types are `CamelCase`, modules are `snake_case`; both may end badly.
fn says_nothing(name: &str) -> bool {
    let ends = |ending: &str| {
        name.ends_with(ending)
            || name
                .strip_suffix(ending.to_lowercase().as_str())
                .is_some_and(|rest| rest.is_empty() || rest.ends_with('_'))
    };
    BAD_ENDINGS.iter().any(|ending| ends(ending))
}

/// `allow` without a reason. `expect` is bound by the same rule: it silences as much.
fn silenced_lints(file: &File, rust: &Rust) -> Vec<Violation> {
    let code = rust.code.join("\n");
    let mut found = Vec::new();
    for start in ["#[allow(", "#![allow(", "#[expect(", "#![expect("] {
        for at in scan::find(&code, start) {
            let open = at + start.find('[').unwrap_or(0);
            let end = scan::closing(&code, open).unwrap_or(code.len() - 1);
            let line = scan::line_of(&code, at);
            if scan::says(&code[at..=end], "reason =") || explained(rust, line, "//") {
                continue;
            }
            let what = "a lint is silenced without a reason";
            let fix = "say why: `reason = \"…\"`, or a comment on the line above";
            found.push(Violation::new(&file.path, line, what, fix));
        }
    }
    found
}

/// Is there an ordinary comment that begins with `start` in the block right above `line`?
fn explained(rust: &Rust, line: usize, start: &str) -> bool {
    let above = (0..line - 1).rev();
    above
        .take_while(|at| rust.code[*at].trim().is_empty())
        .map(|at| rust.comments[at].trim())
        .take_while(|comment| comment.starts_with("//"))
        .any(|comment| {
            let documents = comment.starts_with("///") || comment.starts_with("//!");
            !documents && comment.starts_with(start)
        })
}

fn sleeps(file: &File, rust: &Rust) -> Vec<Violation> {
    let lines = rust.code.iter().enumerate();
    lines
        .filter(|(_, line)| ["sleep(", "sleep_until("].iter().any(|word| calls(line, word)))
        .filter(|(at, _)| !explained(rust, at + 1, "// waits:"))
        .map(|(at, _)| {
            let what = "a sleep: time passes whether or not the thing happened";
            let fix = "await the event, or say above why there is none: `// waits: …`";
            Violation::new(&file.path, at + 1, what, fix)
        })
        .collect()
}

/// A call of the free function `word`; a method or a definition with its name is something else.
fn calls(line: &str, word: &str) -> bool {
    scan::find(line, word).iter().any(|at| {
        let before = line[..*at].trim_end();
        !before.ends_with('.') && scan::identifiers(before).last() != Some("fn")
            || before.ends_with("::")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<usize> {
        let file = File::new("crates/x/src/a.rs", &format!("//! x\n{text}\n"));
        check(&Repo::new(vec![file], Vec::new())).iter().map(|violation| violation.line).collect()
    }

    const NONE: [usize; 0] = [];

    #[test]
    fn a_file_begins_with_its_header() {
        let check = |path: &str, text: &str| {
            check(&Repo::new(vec![File::new(path, text)], Vec::new())).len()
        };
        assert_eq!(check("a.rs", "//! What it is.\nfn f() {}\n"), 0);
        assert_eq!(check("a.rs", "fn f() {}\n"), 1);
        assert_eq!(check("a.rs", "// no header\n"), 1);
        assert_eq!(check("src/generated/a.rs", "fn f() {}\n"), 0);
    }

    #[test]
    fn names_that_say_nothing_are_refused() {
        assert_eq!(found("struct NodeManager;"), [2]);
        assert_eq!(found("pub(crate) enum Helper { A }\ntrait TimeUtil {}\nmod utils;"), [2, 3, 4]);
        assert_eq!(found("mod test_helpers {}"), [2]);
        assert_eq!(found("struct Utilisation;\nstruct Managers;\nlet utils = 1;"), NONE);
    }

    #[test]
    fn outdated_words_are_for_the_wire() {
        assert_eq!(found("let master_link = 1;"), [2]);
        assert_eq!(found("struct SlaveOffset;"), [2]);
        assert_eq!(found("const LINK: &str = \"master_link_status\"; // of the master"), NONE);
        assert_eq!(found("f(SentinelServerType::Master);"), NONE);
        assert_eq!(found("f(SentinelServerType::Master, master);"), [2]);
    }

    #[test]
    fn a_silenced_lint_gives_its_reason() {
        assert_eq!(found("#[allow(dead_code)]\nfn f() {}"), [2]);
        assert_eq!(found("/// Documents f.\n#[allow(dead_code)]\nfn f() {}"), [3]);
        assert_eq!(found("#![expect(\n    dead_code\n)]"), [2]);
        assert_eq!(found("// read by the debugger\n#[allow(dead_code)]\nfn f() {}"), NONE);
        assert_eq!(found("#[allow(\n    dead_code,\n    reason = \"x\"\n)]\nfn f() {}"), NONE);
    }

    #[test]
    fn a_sleep_says_why_no_event_can_be_awaited() {
        assert_eq!(found("std::thread::sleep(d);"), [2]);
        assert_eq!(found("// a moment\ntokio::time::sleep(d).await;"), [3]);
        assert_eq!(found("sleep_until(t).await;"), [2]);
        assert_eq!(
            found("// waits: redis tells nobody\n// when it is done\nsleep(d).await;"),
            NONE
        );
        assert_eq!(found("use tokio::time::sleep;\nworld.sleep(d);\nfn sleep(d: D) {}"), NONE);
    }
}
