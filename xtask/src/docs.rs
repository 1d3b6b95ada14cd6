//! The project's text: links that lead somewhere, and nothing of the place it was written at.
//!
//! A document that points to a file which was moved is worse than none.
//!
//! Invariant: a link is judged against the repository's own files, not against the disk.
//! Not here: addresses on the network; they would make the check depend on the day.

use crate::repo::{File, Repo, Violation};

/// Parts of machines and networks that are not the reader's. In two halves, so that this file does
/// not contain them.
const FOREIGN: [&str; 2] = [concat!("/wo", "rk/"), concat!("artif", "actory")];

pub(crate) fn check(repo: &Repo) -> Vec<Violation> {
    let mut found = Vec::new();
    for file in &repo.files {
        found.extend(foreign_words(file));
        if file.path.ends_with(".md") {
            found.extend(broken_links(repo, file));
        }
    }
    found
}

fn foreign_words(file: &File) -> Vec<Violation> {
    let mut found = Vec::new();
    for (at, line) in file.text.lines().enumerate() {
        let lower = line.to_lowercase();
        for word in FOREIGN.iter().filter(|word| lower.contains(**word)) {
            let what = format!("`{word}` names a place that readers do not have");
            found.push(Violation::new(&file.path, at + 1, what, "say it without the place"));
        }
    }
    found
}

fn broken_links(repo: &Repo, file: &File) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut fenced = false;
    for (at, line) in file.text.lines().enumerate() {
        let fence = line.trim_start();
        if fence.starts_with("```") || fence.starts_with("~~~") {
            fenced = !fenced;
        }
        if fenced {
            continue;
        }
        for target in targets(line).iter().filter(|target| !resolves(repo, &file.path, target)) {
            let what = format!("the link to `{target}` leads nowhere");
            let fix = "correct the path; it is relative to this file";
            found.push(Violation::new(&file.path, at + 1, what, fix));
        }
    }
    found
}

/// The targets of the links in a line: `[text](target "title")` and `[label]: target`.
fn targets(line: &str) -> Vec<String> {
    // Every second part is `code`; what is in it is not a link. A quoted link text leaves `[](…)`.
    let prose: String = line.split('`').step_by(2).collect();
    let mut found: Vec<String> = prose
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
        .map(str::to_owned)
        .collect();
    if prose.starts_with('[')
        && let Some((_, target)) = prose.split_once("]: ")
    {
        found.push(target.to_owned());
    }
    let bare = |target: String| {
        let target = target.split_whitespace().next().unwrap_or("");
        target.trim_matches(['<', '>']).to_owned()
    };
    found.into_iter().map(bare).filter(|target| !target.is_empty()).collect()
}

fn resolves(repo: &Repo, from: &str, target: &str) -> bool {
    let elsewhere = target.contains("://") || target.starts_with("mailto:");
    let path = target.split(['#', '?']).next().unwrap_or("");
    if elsewhere || path.is_empty() {
        return true;
    }
    let mut parts: Vec<&str> = if path.starts_with('/') {
        Vec::new()
    } else {
        from.split('/').rev().skip(1).collect::<Vec<_>>().into_iter().rev().collect()
    };
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.pop().is_none() => return false,
            ".." => {}
            name => parts.push(name),
        }
    }
    let wanted = parts.join("/");
    let inside = format!("{wanted}/");
    let is_there = |file: &File| file.path == wanted || file.path.starts_with(&inside);
    wanted.is_empty() || repo.files.iter().any(is_there)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> usize {
        let files = vec![
            File::new(path, text),
            File::new("docs/guide/first.md", ""),
            File::new("src/main.rs", ""),
        ];
        check(&Repo::new(files, Vec::new())).len()
    }

    #[test]
    fn links_are_relative_to_their_file() {
        assert_eq!(found("README.md", "[a](docs/guide/first.md#top) [b](docs/guide/)"), 0);
        assert_eq!(found("README.md", "see [a](guide/first.md)"), 1);
        assert_eq!(found("docs/a.md", "[a](guide/first.md) [b](../src/main.rs \"title\")"), 0);
        assert_eq!(found("docs/a.md", "[a](<../src/none.rs>)"), 1);
        assert_eq!(found("docs/a.md", "[`main`](../src/none.rs)"), 1);
        assert_eq!(found("docs/a.md", "[a](../../outside.md)"), 1);
        assert_eq!(found("docs/a.md", "[label]: guide/none.md"), 1);
    }

    #[test]
    fn addresses_anchors_and_code_are_not_files() {
        let text = "[a](https://example.org/x) [b](#part) `[c](none.md)`\n```\n[d](none.md)\n```\n";
        assert_eq!(found("README.md", text), 0);
    }

    #[test]
    fn the_text_names_no_foreign_place() {
        let foreign = FOREIGN[0];
        assert_eq!(found("scripts/a.sh", &format!("cd {foreign}main\n")), 1);
        assert_eq!(found("a.toml", &format!("url = \"{}\"", FOREIGN[1].to_uppercase())), 1);
        assert_eq!(found("scripts/a.sh", "cd /var/lib/tanist\n"), 0);
    }
}
