//! The repository as the checks see it: text files, and the workspace's packages.
//!
//! Files come from git (tracked, or new and not ignored), so that a new file is judged before its
//! first commit and a build directory never is. Checks take a `Repo` value and not a path: their
//! tests build small ones in memory.
//!
//! Invariant: `files` is sorted by path, so that the output does not depend on the machine.
//! Not here: what a file must look like (the other modules).

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::scan;

/// Packages whose whole code is test code: it never runs in production.
const TEST_PACKAGES: [&str; 3] = ["tanist-lab", "tanist-tests", "tanist-bench"];

/// Everything that the checks read.
#[derive(Default)]
pub(crate) struct Repo {
    pub(crate) files: Vec<File>,
    pub(crate) packages: Vec<Package>,
}

/// One text file.
pub(crate) struct File {
    /// Relative to the repository's root, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
    /// Only for `.rs` files.
    pub(crate) rust: Option<Rust>,
}

/// What the scanner knows of a Rust file.
pub(crate) struct Rust {
    /// The text with comments and the insides of literals blanked; same lines and columns.
    pub(crate) code: Vec<String>,
    /// The text with everything blanked except comments.
    pub(crate) comments: Vec<String>,
    /// For each line: is it test code?
    pub(crate) test: Vec<bool>,
}

/// One workspace package, from `cargo metadata`.
#[derive(Clone, Default)]
pub(crate) struct Package {
    pub(crate) name: String,
    /// The directory of its `Cargo.toml`, relative to the root.
    pub(crate) dir: String,
    pub(crate) dependencies: Vec<Dependency>,
}

/// One direct dependency of a package.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    /// Lives in this repository.
    pub(crate) local: bool,
}

/// When a dependency is needed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Normal,
    Dev,
    Build,
}

/// One broken rule. `what` says what is there and why it is wrong, `fix` what to do.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Violation {
    pub(crate) path: String,
    /// Counted from one.
    pub(crate) line: usize,
    pub(crate) what: String,
    pub(crate) fix: String,
}

impl Violation {
    pub(crate) fn new(
        path: &str,
        line: usize,
        what: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self { path: path.to_owned(), line, what: what.into(), fix: fix.into() }
    }
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}: {}; {}", self.path, self.line, self.what, self.fix)
    }
}

impl File {
    pub(crate) fn new(path: &str, text: &str) -> Self {
        let rust = path.ends_with(".rs").then(|| Rust::new(path, text));
        Self { path: path.to_owned(), text: text.to_owned(), rust }
    }

    /// Written by a program: exempt from the rules of size and naming.
    pub(crate) fn generated(&self) -> bool {
        self.path.split('/').any(|part| part == "generated")
    }
}

impl Rust {
    fn new(path: &str, text: &str) -> Self {
        let masked = scan::mask(text);
        let mut test = scan::test_lines(&masked.code);
        if path
            .split('/')
            .any(|part| matches!(part, "tests" | "benches" | "conformance" | "tests.rs"))
        {
            test.fill(true);
        }
        Self { code: lines(&masked.code), comments: lines(&masked.comments), test }
    }
}

fn lines(text: &str) -> Vec<String> {
    text.lines().map(str::to_owned).collect()
}

impl Repo {
    /// Reads the repository that `start` is in.
    pub(crate) fn read(start: &Path) -> Result<Self, String> {
        let top =
            output(Command::new("git").current_dir(start).args(["rev-parse", "--show-toplevel"]))?;
        let root = PathBuf::from(top.trim_end());
        let listed = output(Command::new("git").current_dir(&root).args([
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ]))?;
        let metadata = output(Command::new("cargo").current_dir(&root).args([
            "metadata",
            "--format-version",
            "1",
            "--no-deps",
        ]))?;
        let mut files = Vec::new();
        for path in listed.split('\0').filter(|path| !path.is_empty()) {
            match std::fs::read(root.join(path)) {
                Ok(bytes) => {
                    // A file that is not UTF-8 text has no words to judge.
                    if let Ok(text) = String::from_utf8(bytes) {
                        files.push(File::new(path, &text));
                    }
                }
                // Deleted in the work tree but still in the index.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                // A link to a directory, which git lists as a file.
                Err(error) if error.kind() == std::io::ErrorKind::IsADirectory => {}
                Err(error) => return Err(format!("reading {path}: {error}")),
            }
        }
        Ok(Self::new(files, packages(&metadata, &root)?))
    }

    pub(crate) fn new(mut files: Vec<File>, packages: Vec<Package>) -> Self {
        files.sort_by(|a, b| a.path.cmp(&b.path));
        let mut repo = Self { files, packages };
        repo.mark_test_modules();
        repo
    }

    /// The file at `path`, if the repository has it.
    pub(crate) fn file(&self, path: &str) -> Option<&File> {
        self.files.iter().find(|file| file.path == path)
    }

    /// The package that owns `path`: the one with the longest directory above it.
    pub(crate) fn owner(&self, path: &str) -> Option<&Package> {
        let above = |package: &&Package| {
            path.strip_prefix(package.dir.as_str()).is_some_and(|rest| rest.starts_with('/'))
        };
        self.packages.iter().filter(above).max_by_key(|package| package.dir.len())
    }

    /// Every Rust file with what the scanner knows of it.
    pub(crate) fn rust(&self) -> impl Iterator<Item = (&File, &Rust)> {
        self.files.iter().filter_map(|file| Some((file, file.rust.as_ref()?)))
    }

    /// `#[cfg(test)] mod name;` makes another file test code; that file does not say so itself.
    fn mark_test_modules(&mut self) {
        let mut marked: Vec<String> = Vec::new();
        for (file, rust) in self.rust() {
            for (line, code) in rust.code.iter().enumerate() {
                let declared = code.trim().strip_suffix(';').and_then(|s| s.rsplit_once("mod "));
                if let Some((_visibility, name)) = declared
                    && rust.test[line]
                {
                    let home = module_directory(&file.path);
                    marked.push(format!("{home}/{name}.rs"));
                    marked.push(format!("{home}/{name}/"));
                }
            }
        }
        let test_dirs: Vec<String> = self
            .packages
            .iter()
            .filter(|package| TEST_PACKAGES.contains(&package.name.as_str()))
            .map(|package| format!("{}/", package.dir))
            .collect();
        marked.extend(test_dirs);
        for file in &mut self.files {
            let Some(rust) = &mut file.rust else { continue };
            if marked
                .iter()
                .any(|m| file.path == *m || m.ends_with('/') && file.path.starts_with(m))
            {
                rust.test.fill(true);
            }
        }
    }
}

/// Where the files of `mod name;` inside `path` are.
fn module_directory(path: &str) -> String {
    let (dir, name) = path.rsplit_once('/').unwrap_or(("", path));
    match name {
        "lib.rs" | "main.rs" | "mod.rs" => dir.to_owned(),
        _ => path.trim_end_matches(".rs").to_owned(),
    }
}

fn output(command: &mut Command) -> Result<String, String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| format!("starting {program}: {error}"))?;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{program} failed: {}", errors.trim_end()));
    }
    String::from_utf8(output.stdout).map_err(|_| format!("{program} did not answer in UTF-8"))
}

fn packages(metadata: &str, root: &Path) -> Result<Vec<Package>, String> {
    let metadata: serde_json::Value = serde_json::from_str(metadata)
        .map_err(|error| format!("reading the answer of cargo metadata: {error}"))?;
    let listed = metadata["packages"].as_array().ok_or("cargo metadata names no packages")?;
    listed.iter().map(|package| read_package(package, root)).collect()
}

fn read_package(package: &serde_json::Value, root: &Path) -> Result<Package, String> {
    let name = package["name"].as_str().ok_or("cargo metadata has a package without a name")?;
    let dir = package["manifest_path"]
        .as_str()
        .and_then(|path| Path::new(path).parent())
        .and_then(|dir| dir.strip_prefix(root).ok())
        .ok_or_else(|| format!("{name} is outside of the repository"))?;
    let dependencies = package["dependencies"].as_array().map_or(&[][..], Vec::as_slice);
    Ok(Package {
        name: name.to_owned(),
        dir: dir.to_string_lossy().into_owned(),
        dependencies: dependencies
            .iter()
            .map(|dependency| Dependency {
                name: dependency["name"].as_str().unwrap_or_default().to_owned(),
                kind: match dependency["kind"].as_str() {
                    Some("dev") => Kind::Dev,
                    Some("build") => Kind::Build,
                    _ => Kind::Normal,
                },
                local: dependency["path"].is_string(),
            })
            .collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_owns_the_files_below_its_directory_and_no_others() {
        let package = |name: &str, dir: &str| Package {
            name: name.to_owned(),
            dir: dir.to_owned(),
            ..Package::default()
        };
        let repo = Repo::new(
            Vec::new(),
            vec![package("tanist", "crates/tanist"), package("tanist-core", "crates/core")],
        );
        let owner = |path: &str| repo.owner(path).map(|package| package.name.clone());
        assert_eq!(owner("crates/core/src/lib.rs").as_deref(), Some("tanist-core"));
        assert_eq!(owner("crates/core2/src/lib.rs"), None);
        assert_eq!(owner("README.md"), None);
    }

    #[test]
    fn a_module_declared_for_tests_is_test_code_in_its_own_file() {
        let repo = Repo::new(
            vec![
                File::new("crates/x/src/lib.rs", "//! x\n#[cfg(test)]\nmod fixture;\nmod real;\n"),
                File::new("crates/x/src/fixture.rs", "//! f\nfn f() {}\n"),
                File::new("crates/x/src/fixture/deep.rs", "//! d\n"),
                File::new("crates/x/src/real.rs", "//! r\nfn r() {}\n"),
            ],
            Vec::new(),
        );
        let tests: Vec<(&str, bool)> =
            repo.rust().map(|(file, rust)| (file.path.as_str(), rust.test[0])).collect();
        assert_eq!(
            tests,
            [
                ("crates/x/src/fixture.rs", true),
                ("crates/x/src/fixture/deep.rs", true),
                ("crates/x/src/lib.rs", false),
                ("crates/x/src/real.rs", false),
            ]
        );
    }

    #[test]
    fn metadata_tells_kinds_and_local_packages() {
        let text = r#"{"packages":[{"name":"a","manifest_path":"/r/crates/a/Cargo.toml",
            "dependencies":[{"name":"b","kind":null,"path":"/r/crates/b"},
                            {"name":"c","kind":"dev"},{"name":"d","kind":"build"}]}]}"#;
        let packages = packages(text, Path::new("/r")).unwrap();
        assert_eq!(packages[0].dir, "crates/a");
        let seen: Vec<_> =
            packages[0].dependencies.iter().map(|d| (d.name.as_str(), d.local)).collect();
        assert_eq!(seen, [("b", true), ("c", false), ("d", false)]);
        assert!(packages[0].dependencies[1].kind == Kind::Dev);
        assert!(packages[0].dependencies[2].kind == Kind::Build);
    }

    #[test]
    fn metadata_that_is_not_json_is_an_error() {
        assert!(packages("oops", Path::new("/r")).is_err());
    }
}
