//! Who may say what: words of code and the places that may use them.
//!
//! Some sentences of the architecture are about verbs and not about dependencies ("only the agent
//! starts engines"). Each is a row of a table here, with its reason.
//!
//! Invariant: looks at code only, never at comments or the insides of literals.
//! Not here: how a word is written or explained (`speech`).

use crate::repo::{File, Repo, Rust, Violation};
use crate::scan;

/// A rule about words. A line breaks it when it has every part of one of `words`.
struct Rule {
    words: &'static [&'static [&'static str]],
    place: Place,
    why: &'static str,
    fix: &'static str,
}

enum Place {
    /// Forbidden in every line of every package, test code excepted.
    Nowhere,
    /// Forbidden below this directory, in tests too: what is impure makes a test unrepeatable.
    NotBelow(&'static str),
    /// Only these may say it: a package's name, or the path of one file. Test code may.
    Only(&'static [&'static str]),
}

const PURE: Place = Place::NotBelow("crates/core/src/");

const RULES: [Rule; 11] = [
    Rule {
        words: &[&[".unwrap()"], &["todo!"], &["unimplemented!"], &["dbg!"]],
        place: Place::Nowhere,
        why: "production code neither panics on what it did not expect nor is half written",
        fix: "return a typed error, or finish it",
    },
    Rule {
        words: &[&["HashMap"], &["HashSet"]],
        place: PURE,
        why: "the iteration order differs between two runs",
        fix: "use BTreeMap or BTreeSet",
    },
    Rule {
        words: &[&["Instant::now"], &["SystemTime"]],
        place: PURE,
        why: "core is told the time",
        fix: "take `now` as an argument",
    },
    Rule {
        words: &[&["std::net::TcpStream"], &["std::fs"], &["std::process"], &["println!"]],
        place: PURE,
        why: "core does no I/O",
        fix: "return a value and let a hand act on it",
    },
    Rule {
        words: &[&["tokio"], &["async fn"], &["async move"], &["async {"], &[".await"]],
        place: PURE,
        why: "core is called, it never waits",
        fix: "make it a step: (state, event, now) -> state and effects",
    },
    Rule {
        words: &[&["rand"]],
        place: PURE,
        why: "core draws no lots: the same input gives the same plan",
        fix: "take what was drawn as an argument",
    },
    Rule {
        words: &[
            &["process::Command"],
            &["process::{", "Command"],
            &["tokio::process"],
            &["kill_process"],
            &["kill_process_group"],
            &["pidfd_send_signal"],
        ],
        // spawn.rs: the binary starts its own roles and etcd there, never an engine. program.rs: a proxy
        // tries its own successor out there, and becomes it.
        place: Place::Only(&[
            "tanist-agent",
            "xtask",
            "crates/tanist/src/spawn.rs",
            "crates/proxy/src/renewal/program.rs",
        ]),
        why: "only the agent starts and signals processes: one hand, one fence",
        fix: "send the agent an action",
    },
    Rule {
        words: &[&["decide("]],
        place: Place::Only(&["tanist-core", "tanist-controller", "tanist-sim", "tanist-check"]),
        why: "one head decides; a second one would be a second opinion",
        fix: "change the spec and let the controller decide",
    },
    Rule {
        words: &[&[".txn("]],
        // Records of networks and access keys are facts of their own, which no decision is made of.
        place: Place::Only(&[
            "tanist-store",
            "tanist-controller",
            "crates/aws/src/book.rs",
            "crates/aws/src/identity.rs",
        ]),
        why: "a decision is committed by compare-and-set in one place",
        fix: "write through the store's own operations",
    },
    Rule {
        words: &[&["quick_xml"]],
        place: Place::Only(&["tanist-aws"]),
        why: "nothing outside of aws knows XML",
        fix: "return a value and let aws write it",
    },
    Rule {
        words: &[&["rusqlite"]],
        place: Place::Only(&["tanist-store"]),
        why: "nothing outside of store knows how state is kept",
        fix: "use the store's trait",
    },
];

pub(crate) fn check(repo: &Repo) -> Vec<Violation> {
    let mut found = Vec::new();
    for (file, rust) in repo.rust() {
        let owner = repo.owner(&file.path).map_or("", |package| package.name.as_str());
        for rule in RULES.iter().filter(|rule| !rule.allows(file, owner)) {
            found.extend(breaches(rule, file, rust));
        }
    }
    found
}

impl Rule {
    fn allows(&self, file: &File, owner: &str) -> bool {
        match self.place {
            Place::Nowhere => false,
            Place::NotBelow(dir) => !file.path.starts_with(dir),
            Place::Only(places) => {
                places.iter().any(|place| *place == owner || *place == file.path)
            }
        }
    }

    fn binds_tests(&self) -> bool {
        matches!(self.place, Place::NotBelow(_))
    }

    /// What the line says that it must not.
    fn said(&self, line: &str) -> Option<String> {
        let broken = |words: &&&[&str]| words.iter().all(|word| scan::says(line, word));
        self.words.iter().find(broken).map(|words| words.join(" "))
    }
}

fn breaches(rule: &Rule, file: &File, rust: &Rust) -> Vec<Violation> {
    let lines = rust.code.iter().enumerate();
    lines
        .filter(|(at, _)| rule.binds_tests() || !rust.test[*at])
        .filter_map(|(at, line)| Some((at, rule.said(line)?)))
        .map(|(at, said)| {
            Violation::new(&file.path, at + 1, format!("`{said}` here: {}", rule.why), rule.fix)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repo::Package;

    fn found(path: &str, text: &str) -> usize {
        let package = |name: &str, dir: &str| Package {
            name: name.to_owned(),
            dir: dir.to_owned(),
            ..Package::default()
        };
        let packages = vec![
            package("tanist-core", "crates/core"),
            package("tanist-store", "crates/store"),
            package("tanist-controller", "crates/controller"),
            package("tanist-agent", "crates/agent"),
            package("tanist-aws", "crates/aws"),
            package("tanist-lab", "crates/lab"),
            package("tanist", "crates/tanist"),
        ];
        check(&Repo::new(vec![File::new(path, text)], packages)).len()
    }

    #[test]
    fn production_code_is_finished_and_does_not_unwrap() {
        let aws = "crates/aws/src/a.rs";
        assert_eq!(found(aws, "fn f() { x.unwrap(); }"), 1);
        assert_eq!(found(aws, "fn f() { todo!() }\nfn g() { unimplemented!() }"), 2);
        assert_eq!(found(aws, "fn f() { dbg!(x); }"), 1);
        assert_eq!(found(aws, "fn f() { x.unwrap_or(1); } // never .unwrap() or todo!"), 0);
        assert_eq!(found(aws, "#[cfg(test)]\nmod tests {\n fn f() { x.unwrap(); }\n}"), 0);
        assert_eq!(found("crates/aws/tests/a.rs", "fn f() { x.unwrap(); }"), 0);
    }

    #[test]
    fn core_is_pure_in_its_tests_too() {
        for impure in [
            "use std::collections::HashMap;",
            "fn f(x: HashSet<u8>) {}",
            "let a = std::time::Instant::now();",
            "use std::time::SystemTime;",
            "use std::net::TcpStream;\nlet s = std::net::TcpStream::connect(a);",
            "use tokio::time;",
            "use rand::Rng;",
            "async fn f() {}",
            "use std::fs;",
            "std::process::abort();",
            "fn f() { println!(); }",
        ] {
            assert_ne!(found("crates/core/src/a.rs", impure), 0, "{impure}");
            let in_tests = format!("#[cfg(test)]\nmod tests {{\n{impure}\n}}\n");
            assert_ne!(found("crates/core/src/a.rs", &in_tests), 0, "{impure}");
        }
        let pure = "// unlike a HashMap\nuse std::collections::BTreeMap;\nlet s = \"tokio rand\";";
        assert_eq!(found("crates/core/src/a.rs", pure), 0);
        assert_eq!(found("crates/agent/src/a.rs", "use std::collections::HashMap;"), 0);
    }

    #[test]
    fn only_the_agent_starts_processes() {
        for start in [
            "use std::process::Command;",
            "use std::process::{Command, Stdio};",
            "use tokio::process::Child;",
            "rustix::process::kill_process(pid, signal);",
            "pidfd_send_signal(fd, signal);",
        ] {
            assert_eq!(found("crates/agent/src/a.rs", start), 0, "{start}");
            assert_eq!(found("crates/lab/src/a.rs", start), 0, "{start}");
            assert_eq!(found("crates/aws/tests/a.rs", start), 0, "{start}");
            assert_eq!(found("crates/tanist/src/spawn.rs", start), 0, "{start}");
            assert_eq!(found("crates/tanist/src/main.rs", start), 1, "{start}");
            assert_eq!(found("crates/aws/src/a.rs", start), 1, "{start}");
        }
        assert_eq!(found("crates/aws/src/a.rs", "use std::process::ExitCode;"), 0);
    }

    #[test]
    fn only_heads_decide_and_only_the_store_and_its_controller_commit() {
        assert_eq!(found("crates/controller/src/a.rs", "let plan = decide(a, b, c, now);"), 0);
        assert_eq!(found("crates/aws/src/a.rs", "let plan = core::decide(a, b, c, now);"), 1);
        assert_eq!(found("crates/store/src/a.rs", "store.txn(t)"), 0);
        assert_eq!(found("crates/aws/src/a.rs", "store.txn(t)"), 1);
    }

    #[test]
    fn libraries_with_one_home_stay_there() {
        assert_eq!(found("crates/aws/src/a.rs", "use quick_xml::Writer;"), 0);
        assert_eq!(found("crates/agent/src/a.rs", "use quick_xml::Writer;"), 1);
        assert_eq!(found("crates/store/src/a.rs", "use rusqlite::Connection;"), 0);
        assert_eq!(found("crates/agent/src/a.rs", "use rusqlite::Connection;"), 1);
    }
}
