//! Which package may use which: the direction of the architecture as a table.
//!
//! A dependency that points the wrong way is the one mistake that cannot be taken back later, and
//! cargo refuses only circles. A new package, or a new direction, is a change of this table.
//!
//! Invariant: a package uses only packages of rows above its own; siblings never use each other.
//! Not here: dependencies from outside of the repository (`manifest`).

use crate::repo::{Dependency, Kind, Package, Repo, Violation};

/// From the top; each row may use the rows before it.
const ROWS: [&[&str]; 4] = [
    &["tanist-core", "tanist-resp"],
    &["tanist-store", "tanist-link", "tanist-telemetry", "tanist-tls"],
    &[
        "tanist-controller",
        "tanist-agent",
        "tanist-proxy",
        "tanist-discovery",
        "tanist-aws",
        "tanist-console",
    ],
    &["tanist"],
];

/// Packages whose answer is not their row's.
const SPECIAL: [(&str, Uses); 7] = [
    // A proxy that could read the store could act on a decision before its fence holds.
    ("tanist-proxy", Uses::Only(&["tanist-core", "tanist-resp", "tanist-link"])),
    // The simulated world proves the pure parts; whatever else it used would not be simulated.
    ("tanist-check", Uses::Only(&["tanist-core"])),
    ("tanist-sim", Uses::Only(&["tanist-core", "tanist-resp"])),
    ("tanist-lab", Uses::Everything),
    ("tanist-tests", Uses::Everything),
    ("tanist-bench", Uses::Everything),
    // It checks the others: it must build when none of them does.
    ("xtask", Uses::Only(&[])),
];

/// The test kit: others name it only under `[dev-dependencies]`.
const TESTS_ONLY: &str = "tanist-lab";

const TABLE: &str = "the table in xtask/src/rows.rs";

#[derive(Clone, Copy)]
enum Uses {
    Only(&'static [&'static str]),
    Everything,
}

pub(crate) fn check(repo: &Repo) -> Vec<Violation> {
    repo.packages.iter().flat_map(check_package).collect()
}

fn check_package(package: &Package) -> Vec<Violation> {
    let manifest = format!("{}/Cargo.toml", package.dir);
    if !known(&package.name) {
        let what = format!("{} has no place in the architecture", package.name);
        return vec![Violation::new(&manifest, 1, what, format!("add it to {TABLE}"))];
    }
    let local = package.dependencies.iter().filter(|dependency| dependency.local);
    local
        .filter(|dependency| !may_use(&package.name, dependency))
        .map(|dependency| {
            let what = format!(
                "{} may not use {}: rows use only rows above them, and tests' packages never go \
                 into a build",
                package.name, dependency.name
            );
            let fix = format!("turn the dependency round, or change {TABLE}");
            Violation::new(&manifest, 1, what, fix)
        })
        .collect()
}

fn known(package: &str) -> bool {
    row(package).is_some() || SPECIAL.iter().any(|(name, _)| *name == package)
}

fn row(package: &str) -> Option<usize> {
    ROWS.iter().position(|row| row.contains(&package))
}

fn may_use(package: &str, dependency: &Dependency) -> bool {
    let used = dependency.name.as_str();
    let special = SPECIAL.iter().find(|(name, _)| *name == package).map(|(_, uses)| *uses);
    if used == TESTS_ONLY {
        // The tests of xtask, too, must build when nothing else does.
        return dependency.kind == Kind::Dev && package != "xtask";
    }
    if used == package {
        // A crate's tests may switch on its own features; cargo allows it for tests only.
        return dependency.kind == Kind::Dev;
    }
    match special {
        Some(Uses::Everything) => true,
        Some(Uses::Only(names)) => names.contains(&used),
        // `None < Some(_)`: what is beside the rows is above none of them.
        None => row(used).is_some_and(|above| row(package).is_some_and(|below| above < below)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(package: &str, used: &str, kind: Kind) -> usize {
        let dependency = Dependency { name: used.to_owned(), kind, local: true };
        let package = Package {
            name: package.to_owned(),
            dir: "crates/x".to_owned(),
            dependencies: vec![dependency],
        };
        check(&Repo::new(Vec::new(), vec![package])).len()
    }

    #[test]
    fn a_row_may_use_the_rows_above() {
        assert_eq!(answer("tanist-store", "tanist-core", Kind::Normal), 0);
        assert_eq!(answer("tanist-controller", "tanist-store", Kind::Normal), 0);
        assert_eq!(answer("tanist", "tanist-agent", Kind::Normal), 0);
        assert_eq!(answer("tanist-tests", "tanist", Kind::Normal), 0);
        assert_eq!(answer("tanist-resp", "tanist-resp", Kind::Dev), 0);
    }

    #[test]
    fn neither_siblings_nor_rows_below_may_be_used() {
        assert_eq!(answer("tanist-core", "tanist-resp", Kind::Normal), 1);
        assert_eq!(answer("tanist-core", "tanist-store", Kind::Normal), 1);
        assert_eq!(answer("tanist-agent", "tanist-controller", Kind::Dev), 1);
        assert_eq!(answer("tanist-aws", "tanist", Kind::Normal), 1);
        assert_eq!(answer("tanist", "tanist-sim", Kind::Normal), 1);
    }

    #[test]
    fn the_proxy_and_the_simulation_have_narrower_tables() {
        assert_eq!(answer("tanist-proxy", "tanist-link", Kind::Normal), 0);
        assert_eq!(answer("tanist-proxy", "tanist-store", Kind::Normal), 1);
        assert_eq!(answer("tanist-proxy", "tanist-telemetry", Kind::Normal), 1);
        assert_eq!(answer("tanist-sim", "tanist-resp", Kind::Normal), 0);
        assert_eq!(answer("tanist-sim", "tanist-store", Kind::Normal), 1);
        assert_eq!(answer("xtask", "tanist-core", Kind::Normal), 1);
    }

    #[test]
    fn the_test_kit_is_for_tests_only() {
        assert_eq!(answer("tanist-agent", "tanist-lab", Kind::Dev), 0);
        assert_eq!(answer("tanist-proxy", "tanist-lab", Kind::Dev), 0);
        assert_eq!(answer("tanist-agent", "tanist-lab", Kind::Normal), 1);
        assert_eq!(answer("tanist-tests", "tanist-lab", Kind::Normal), 1);
        assert_eq!(answer("tanist-lab", "tanist-agent", Kind::Normal), 0);
    }

    #[test]
    fn an_unknown_package_fails_even_without_dependencies() {
        let package = |name: &str| Package { name: name.to_owned(), ..Package::default() };
        let found = check(&Repo::new(Vec::new(), vec![package("tanist-new"), package("tanist")]));
        assert_eq!(found.len(), 1);
        assert!(found[0].to_string().contains("add it to the table in xtask/src/rows.rs"));
    }
}
