//! `cargo xtask tidy`: the test of the architecture.
//!
//! Prints one line for each broken rule (file, line, what, why, what to do) and fails if there is
//! one. It takes a second, so it can run before every commit.
//!
//! Invariant: every check runs, so that one run names everything that is wrong.
//! Not here: the rules themselves (one module each).

use std::fmt::Write;
use std::path::Path;
use std::process::ExitCode;

use crate::repo::{Repo, Violation};
use crate::{docs, manifest, rows, say, sizes, speech, words};

pub(crate) fn run() -> ExitCode {
    match Repo::read(Path::new(".")) {
        Ok(repo) => {
            let found = check(&repo);
            say(&report(&repo, &found));
            ExitCode::from(u8::from(!found.is_empty()))
        }
        Err(error) => {
            say(&format!("tidy: {error}\n"));
            ExitCode::FAILURE
        }
    }
}

fn check(repo: &Repo) -> Vec<Violation> {
    let checks =
        [rows::check, manifest::check, sizes::check, words::check, speech::check, docs::check];
    let mut found: Vec<Violation> = checks.iter().flat_map(|check| check(repo)).collect();
    found.sort();
    found
}

fn report(repo: &Repo, found: &[Violation]) -> String {
    if found.is_empty() {
        return format!("tidy: {} files, nothing to say\n", repo.files.len());
    }
    let mut text = String::new();
    for violation in found {
        // Writing to a String cannot fail.
        let _always_ok = writeln!(text, "{violation}");
    }
    let _always_ok = writeln!(text, "tidy: {} to put right", found.len());
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repo::File;

    #[test]
    fn each_violation_is_one_line_with_its_place() {
        let files = vec![File::new("crates/x/src/a.rs", "fn f() {\n    x.unwrap();\n}\n")];
        let repo = Repo::new(files, Vec::new());
        let text = report(&repo, &check(&repo));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3, "{text}");
        assert!(lines[0].starts_with("crates/x/src/a.rs:1: the file does not say what it is; "));
        assert!(lines[1].starts_with("crates/x/src/a.rs:2: `.unwrap()` here: "));
        assert_eq!(lines[2], "tidy: 2 to put right");
    }

    #[test]
    fn a_tidy_repository_has_nothing_to_say() {
        let repo = Repo::new(vec![File::new("a.rs", "//! A file.\n")], Vec::new());
        assert_eq!(report(&repo, &check(&repo)), "tidy: 1 files, nothing to say\n");
    }
}
