//! Taking out of text what must not be in a bundle.
//!
//! By three rules, none of which relies on the others: what this installation's secrets are, word by
//! word; what looks like one (a long run of digits, a URL's password, what follows a word such as
//! `requirepass`); and what engines print when they crash, in which there may be anything.
//!
//! Invariant: more is taken out than need be, rather than less.
//!
//! Not here: which files are read (`super`).

use std::path::Path;

use tanist_link::Secret;

use crate::layout::Layout;

/// What is in the place of what was taken out.
const GONE: &str = "(taken out)";
/// Hexadecimal digits in a row that are one too many: a replication id and a run's have 40.
const LONG: usize = 41;
/// Whatever follows one of these on a line may be a password or a list of them.
const WORDS: [&str; 12] = [
    "requirepass",
    "masterauth",
    "masteruser",
    "password",
    "passwd",
    "secret",
    "token",
    "authorization",
    "auth ",
    "acl setuser",
    "user ",
    "private key",
];
/// What frames an engine's words about its own crash.
const CRASH: [(&str, &str); 2] =
    [("BUG REPORT START", "BUG REPORT END"), ("ASSERTION FAILED", "BUG REPORT END")];

/// What to take out, of this installation.
#[derive(Debug)]
pub(super) struct Scrub {
    known: Vec<String>,
}

impl Scrub {
    /// What is secret here.
    pub(super) fn new(layout: &Layout) -> Self {
        let mut known = Vec::new();
        // Not made if it is not there: a bundle makes nothing.
        if layout.secret().exists()
            && let Ok(secret) = Secret::load_or_create(&layout.secret())
        {
            known.push(secret.digits());
        }
        for dir in [layout.tls(), layout.fleet_authority()] {
            known.extend(keys_in(&dir));
        }
        known.extend(std::fs::read_to_string(layout.member_key()).ok().into_iter().flat_map(lines));
        Self { known }
    }

    /// The text without it.
    pub(super) fn text(&self, text: &str) -> String {
        let mut clean = String::with_capacity(text.len());
        let mut crash: Option<&str> = None;
        for line in text.lines() {
            let upper = line.to_ascii_uppercase();
            if let Some(end) = crash {
                if upper.contains(end) {
                    crash = None;
                }
                continue;
            }
            if let Some((_, end)) = CRASH.iter().find(|(start, _)| upper.contains(start)) {
                crash = Some(end);
                clean.push_str("(an engine's report of its crash was taken out)\n");
                continue;
            }
            clean.push_str(&self.line(line));
            clean.push('\n');
        }
        clean
    }

    fn line(&self, line: &str) -> String {
        let mut line = line.to_owned();
        for known in &self.known {
            line = line.replace(known.as_str(), GONE);
        }
        after_words(&without_logins(&without_long(&line)))
    }
}

fn lines(text: String) -> Vec<String> {
    let all = text.lines().map(str::trim);
    all.filter(|line| line.len() > 16 && !line.starts_with("-----")).map(str::to_owned).collect()
}

/// The lines of every private key of a directory.
fn keys_in(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let paths = entries.map(|entry| entry.path());
    let keys =
        paths.filter(|path| path.extension().is_some_and(|end| end == "key" || end == "pem"));
    let text = keys.filter_map(|path| std::fs::read_to_string(path).ok());
    text.filter(|text| text.contains("PRIVATE KEY")).flat_map(lines).collect()
}

/// Without runs of hexadecimal digits that are as long as passwords, their hashes and keys.
fn without_long(line: &str) -> String {
    let mut clean = String::with_capacity(line.len());
    let mut run = String::new();
    let flush = |run: &mut String, clean: &mut String| {
        clean.push_str(if run.len() >= LONG { GONE } else { run });
        run.clear();
    };
    for letter in line.chars() {
        if letter.is_ascii_hexdigit() {
            run.push(letter);
        } else {
            flush(&mut run, &mut clean);
            clean.push(letter);
        }
    }
    flush(&mut run, &mut clean);
    clean
}

/// Without what stands before the `@` of a URL.
fn without_logins(line: &str) -> String {
    let mut clean = String::new();
    let mut rest = line;
    while let Some((before, after)) = rest.split_once("://") {
        clean.push_str(before);
        clean.push_str("://");
        let end = after.find(|c: char| c.is_whitespace() || matches!(c, '/' | '"' | '\'' | ','));
        let (place, tail) = after.split_at(end.unwrap_or(after.len()));
        match place.rsplit_once('@') {
            Some((_, host)) => clean.push_str(&format!("{GONE}@{host}")),
            None => clean.push_str(place),
        }
        rest = tail;
    }
    clean.push_str(rest);
    clean
}

/// Without the values that follow words after which passwords stand: `word value`, `word=value`,
/// `"word": "value"`.
fn after_words(line: &str) -> String {
    let lower = line.to_ascii_lowercase();
    let found = WORDS.iter().filter_map(|word| Some((lower.find(word)?, word.len())));
    let Some((at, length)) = found.min() else { return line.to_owned() };
    let end = at + length;
    let (before, after) = line.split_at(end);
    let value = after.trim_start_matches(['"', ' ', '=', ':', '\'']);
    // A sentence about a password is none: what is secret has a digit or a sign in it.
    let telling = |word: &str| {
        word.len() >= 6
            && word.bytes().any(|byte| !byte.is_ascii_alphabetic() && !b".,;:".contains(&byte))
            || word.starts_with(['>', '#', '<'])
    };
    if !value.split_whitespace().any(telling) {
        return line.to_owned();
    }
    format!("{before} {GONE}")
}

/// A configuration file without values whose names say that they are secret, and without logins in
/// URLs.
pub(super) fn configuration(text: &str) -> String {
    let mut clean = String::new();
    for line in text.lines() {
        let name = line.split('=').next().unwrap_or_default().trim().to_ascii_lowercase();
        let secret = ["secret", "password", "passwd", "token", "key", "auth"];
        if line.contains('=') && secret.iter().any(|word| name.contains(word)) {
            clean.push_str(&format!("{name} = \"{GONE}\"\n"));
        } else {
            clean.push_str(&without_logins(line));
            clean.push('\n');
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scrub() -> Scrub {
        Scrub { known: vec!["installation-secret".to_owned()] }
    }

    #[test]
    fn what_is_secret_here_and_what_looks_like_it_is_taken_out() {
        let digits = "a1".repeat(32);
        for (line, secret) in [
            ("a line with installation-secret in it".to_owned(), "installation-secret"),
            (format!("AUTH with {digits} failed"), digits.as_str()),
            ("requirepass hunter2-x".to_owned(), "hunter2-x"),
            (">>> 'masterauth \"s3cr3t!\"'".to_owned(), "s3cr3t!"),
            ("user default on >pa55word ~* +@all".to_owned(), "pa55word"),
            ("redis://app:my-pass@10.0.0.1:6379/0".to_owned(), "my-pass"),
            ("{\"token\": \"abc-123-def\"}".to_owned(), "abc-123-def"),
            ("PASSWORD=Hunter22".to_owned(), "Hunter22"),
        ] {
            let clean = scrub().text(&line);
            assert!(!clean.contains(secret), "{line} became {clean}");
        }
    }

    #[test]
    fn what_helps_stays() {
        let replid = "0123456789".repeat(4);
        for line in [
            format!("Successful partial resynchronization with {replid}"),
            "17:M 30 Nov 2026 03:47:50.001 * Ready to accept connections tcp".to_owned(),
            "connection to http://10.0.0.1:2379/v3 failed".to_owned(),
            "  \"primary\": \"web-001\",".to_owned(),
        ] {
            assert_eq!(scrub().text(&line).trim_end(), line);
        }
    }

    #[test]
    fn an_engines_words_about_its_crash_are_left_out_up_to_their_end() {
        let text = "before\n=== REDIS BUG REPORT START: Cut ===\nargv[1]: 'customer:7'\n\
                    === REDIS BUG REPORT END. ===\nafter\n";
        let clean = scrub().text(text);
        assert!(clean.starts_with("before\n") && clean.ends_with("after\n"), "{clean}");
        assert!(!clean.contains("customer:7"), "{clean}");
        let cut_off = scrub().text("ASSERTION FAILED\nkey 'customer:7'\n");
        assert!(!cut_off.contains("customer:7"), "{cut_off}");
    }

    #[test]
    fn a_configuration_keeps_its_shape_and_loses_its_secrets() {
        let text = "region = \"here\"\n[store]\nendpoints = [\"https://root:pw1@10.0.0.1:2379\"]\n\
                    key = \"etcd.key\"\npassword = \"pw2\"\n";
        let clean = configuration(text);
        assert!(clean.contains("region = \"here\"") && clean.contains("[store]"), "{clean}");
        assert!(clean.contains("@10.0.0.1:2379"), "{clean}");
        assert!(!clean.contains("pw1") && !clean.contains("pw2"), "{clean}");
    }
}
