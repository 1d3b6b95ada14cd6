//! The manifests: where dependencies come from, how many the pure crates have, who has the lints.
//!
//! Versions stand once, in the root `Cargo.toml`, so that two crates never disagree on one; and
//! what is added there is a decision that somebody wrote down.
//!
//! Invariant: reads manifests as TOML, never as lines, except to find the line to report.
//! Not here: dependencies between the packages of the repository (`rows`).

use toml::{Table, Value};

use crate::approved::APPROVED;
use crate::repo::{File, Kind, Package, Repo, Violation};

/// The pure crates stay small enough to be read whole, with what they stand on.
const AT_MOST_FIVE: [&str; 2] = ["tanist-core", "tanist-resp"];
const FIVE: usize = 5;

/// What core may stand on: neither does I/O, reads a clock or draws a random number.
const FOR_CORE: [&str; 3] = ["ipnet", "serde", "thiserror"];

const SECTIONS: [&str; 3] = ["dependencies", "dev-dependencies", "build-dependencies"];

pub(crate) fn check(repo: &Repo) -> Vec<Violation> {
    let mut found = Vec::new();
    if let Some(root) = repo.file("Cargo.toml") {
        found.extend(check_root(repo, root));
    }
    for package in &repo.packages {
        found.extend(check_count(package));
        let manifest = format!("{}/Cargo.toml", package.dir);
        if let Some(file) = repo.file(&manifest) {
            found.extend(check_manifest(file));
        }
        let clippy = format!("{}/clippy.toml", package.dir);
        if let (Some(own), Some(shared)) = (repo.file(&clippy), repo.file("clippy.toml")) {
            found.extend(check_clippy(own, shared));
        }
    }
    found
}

fn parse(file: &File) -> Result<Table, Violation> {
    file.text.parse::<Table>().map_err(|error| {
        Violation::new(&file.path, 1, format!("is not TOML: {}", error.message()), "correct it")
    })
}

/// The first line that begins with `start`, or the first line of all.
fn line_with(file: &File, start: &str) -> usize {
    file.text.lines().position(|line| line.trim_start().starts_with(start)).map_or(1, |at| at + 1)
}

fn check_root(repo: &Repo, root: &File) -> Vec<Violation> {
    let table = match parse(root) {
        Ok(table) => table,
        Err(violation) => return vec![violation],
    };
    let shared = table.get("workspace").and_then(|workspace| workspace.get("dependencies"));
    let Some(shared) = shared.and_then(Value::as_table) else { return Vec::new() };
    shared
        .iter()
        .filter(|(_, value)| value.get("path").is_none())
        // `x = { package = "y" }` is a dependency on y.
        .map(|(key, value)| (key, value.get("package").and_then(Value::as_str).unwrap_or(key)))
        .filter(|(_, name)| !APPROVED.contains(name) && !decided(repo, name))
        .map(|(key, name)| {
            let what = format!("{name} is a dependency that no decision explains");
            let fix = format!("write why in docs/decisions/ and name `{name}` there");
            Violation::new(&root.path, line_with(root, key), what, fix)
        })
        .collect()
}

fn decided(repo: &Repo, name: &str) -> bool {
    let quoted = format!("`{name}`");
    let mut notes = repo.files.iter().filter(|file| file.path.starts_with("docs/decisions/"));
    notes.any(|note| note.text.contains(&quoted))
}

fn check_count(package: &Package) -> Vec<Violation> {
    let manifest = format!("{}/Cargo.toml", package.dir);
    let normal: Vec<&str> = package
        .dependencies
        .iter()
        .filter(|dependency| dependency.kind != Kind::Dev)
        .map(|dependency| dependency.name.as_str())
        .collect();
    let mut found = Vec::new();
    if AT_MOST_FIVE.contains(&package.name.as_str()) && normal.len() > FIVE {
        let what = format!("{} has {} dependencies, more than {FIVE}", package.name, normal.len());
        found.push(Violation::new(&manifest, 1, what, "do without, or move the code to a hand"));
    }
    if package.name == "tanist-core" {
        for name in normal.iter().filter(|name| !FOR_CORE.contains(name)) {
            let what = format!("core may not stand on {name}: it does no I/O and draws no lots");
            let fix = format!("core uses only {}; move the code to a hand", FOR_CORE.join(" and "));
            found.push(Violation::new(&manifest, 1, what, fix));
        }
    }
    found
}

fn check_manifest(file: &File) -> Vec<Violation> {
    let table = match parse(file) {
        Ok(table) => table,
        Err(violation) => return vec![violation],
    };
    let mut found = Vec::new();
    let lints = table.get("lints").and_then(|lints| lints.get("workspace"));
    if lints != Some(&Value::Boolean(true)) {
        let what = "the crate does not have the lints of the workspace";
        let fix = "add `[lints]` with `workspace = true`";
        found.push(Violation::new(&file.path, 1, what, fix));
    }
    let mut sections: Vec<&Table> = vec![&table];
    if let Some(targets) = table.get("target").and_then(Value::as_table) {
        sections.extend(targets.values().filter_map(Value::as_table));
    }
    for section in sections {
        for (name, value) in SECTIONS
            .iter()
            .filter_map(|key| section.get(*key).and_then(Value::as_table))
            .flat_map(Table::iter)
        {
            if value.get("workspace") != Some(&Value::Boolean(true)) {
                let what = format!("{name} is not declared with `workspace = true`");
                let fix = "versions and paths stand in the root Cargo.toml only";
                found.push(Violation::new(&file.path, line_with(file, name), what, fix));
            }
        }
    }
    found
}

/// A crate's own clippy.toml replaces the shared one, so it has to repeat it.
fn check_clippy(own: &File, shared: &File) -> Vec<Violation> {
    let setting = |line: &&str| !line.is_empty() && !line.starts_with('#');
    let repeated: Vec<&str> = own.text.lines().map(str::trim).collect();
    let lines = shared.text.lines().map(str::trim).filter(setting);
    lines
        .filter(|line| !repeated.contains(line))
        .map(|line| {
            let what = format!("`{line}` of the root clippy.toml is missing");
            Violation::new(&own.path, 1, what, "repeat it: this file replaces the root one")
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repo::Dependency;

    fn root(dependency: &str, note: &str) -> Vec<Violation> {
        let text = format!("[workspace.dependencies]\n{dependency}\n");
        let files =
            vec![File::new("Cargo.toml", &text), File::new("docs/decisions/0001-x.md", note)];
        check(&Repo::new(files, Vec::new()))
    }

    #[test]
    fn a_shared_dependency_is_approved_local_or_decided() {
        assert_eq!(root("tokio = \"1\"", ""), []);
        assert_eq!(root("tanist-core = { path = \"crates/core\" }", ""), []);
        assert_eq!(root("left-pad = \"1\"", "We use `left-pad` because"), []);
        let found = root("left-pad = \"1\"", "left-padding is fun");
        assert_eq!((found.len(), found[0].line), (1, 2));
        assert_eq!(root("tokio = { package = \"left-pad\", version = \"1\" }", "").len(), 1);
    }

    fn count(package: &str, kind: Kind, names: &[&str]) -> usize {
        let dependencies = names
            .iter()
            .map(|name| Dependency { name: (*name).to_owned(), kind, local: false })
            .collect();
        let package =
            Package { name: package.to_owned(), dir: "crates/x".to_owned(), dependencies };
        check(&Repo::new(Vec::new(), vec![package])).len()
    }

    #[test]
    fn the_pure_crates_have_at_most_five_dependencies() {
        let six = ["a", "b", "c", "d", "e", "f"];
        assert_eq!(count("tanist-resp", Kind::Normal, &six), 1);
        assert_eq!(count("tanist-resp", Kind::Normal, &six[..5]), 0);
        assert_eq!(count("tanist-resp", Kind::Dev, &six), 0);
        assert_eq!(count("tanist-agent", Kind::Normal, &six), 0);
    }

    #[test]
    fn core_stands_on_nothing_that_does_io() {
        assert_eq!(count("tanist-core", Kind::Normal, &["serde", "thiserror"]), 0);
        assert_eq!(count("tanist-core", Kind::Normal, &["serde", "tokio", "rand"]), 2);
        assert_eq!(count("tanist-core", Kind::Dev, &["proptest"]), 0);
    }

    fn manifest(text: &str) -> Vec<usize> {
        check_manifest(&File::new("crates/x/Cargo.toml", text)).iter().map(|v| v.line).collect()
    }

    #[test]
    fn a_crate_takes_versions_and_lints_from_the_workspace() {
        let lints = "[lints]\nworkspace = true\n";
        let good = format!("{lints}[dependencies]\nserde = {{ workspace = true }}\n");
        assert_eq!(manifest(&good), [0_usize; 0]);
        assert_eq!(manifest("[package]\nname = \"x\"\n"), [1]);
        assert_eq!(manifest(&format!("{lints}[dev-dependencies]\nserde = \"1\"\n")), [4]);
        let target = format!("{lints}[target.'cfg(unix)'.dependencies]\nb = {{ path = \"b\" }}\n");
        assert_eq!(manifest(&target), [4]);
        assert_eq!(manifest("not toml"), [1]);
    }

    #[test]
    fn a_crates_clippy_file_repeats_the_shared_one() {
        let shared = File::new("clippy.toml", "# why\n\na = 1\nb = true\n");
        let own =
            |text: &str| check_clippy(&File::new("crates/x/clippy.toml", text), &shared).len();
        assert_eq!(own("b = true\nc = 3\na = 1\n"), 0);
        assert_eq!(own("a = 2\nb = true\n"), 1);
    }
}
