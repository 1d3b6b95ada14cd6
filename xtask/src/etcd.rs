//! `cargo xtask etcd`: the messages and calls of etcd that `tanist-store` is built with.
//!
//! They are made from committed definitions and committed themselves, so that a build needs neither
//! protoc nor a build script, and a new generator is a diff to be read.
//!
//! Invariant: the same definitions and the same Cargo.lock give the same bytes.
//! Not here: what is left out of etcd's definitions (`crates/store/proto/etcd/README.md`); how the
//! calls are used (`tanist-store`).

use std::path::Path;
use std::process::ExitCode;

use crate::models::{compare, root};
use crate::say;

/// The definitions, and the directory that imports in them start from.
const PROTO: &str = "crates/store/proto/etcd";
const DEFINITIONS: &str = "rpc.proto";
/// What is made of them.
const GENERATED: &str = "crates/store/src/etcd/generated";
/// A file for each package of the definitions.
const FILES: [&str; 2] = ["etcdserverpb.rs", "mvccpb.rs"];
/// Whoever opens such a file has to learn where it comes from.
const NOTE: &str = "// Made by `cargo xtask etcd`; see crates/store/proto/etcd/README.md.\n";
const REMEDY: &str = "what etcd's definitions give; run cargo xtask etcd";

/// Writes the files, or with `check` only says whether the committed ones differ.
pub(crate) fn run(check: bool) -> ExitCode {
    match made(check) {
        Ok(text) => {
            say(&text);
            ExitCode::SUCCESS
        }
        Err(error) => {
            say(&format!("etcd: {error}\n"));
            ExitCode::FAILURE
        }
    }
}

fn made(check: bool) -> Result<String, String> {
    let root = root()?;
    let draft = root.join("target/xtask-etcd");
    std::fs::create_dir_all(&draft)
        .map_err(|error| format!("making {}: {error}", draft.display()))?;
    generate(&root.join(PROTO), &draft)?;
    let mut written = String::new();
    for name in FILES {
        let shown = format!("{GENERATED}/{name}");
        let fresh = std::fs::read_to_string(draft.join(name))
            .map_err(|error| format!("reading the draft of {shown}: {error}"))?;
        let fresh = finish(&fresh);
        let path = root.join(&shown);
        if check {
            let committed = std::fs::read_to_string(&path).unwrap_or_default();
            compare(&shown, &committed, &fresh, REMEDY)?;
        } else {
            std::fs::create_dir_all(root.join(GENERATED))
                .and_then(|()| std::fs::write(&path, &fresh))
                .map_err(|error| format!("writing {shown}: {error}"))?;
        }
        written += &format!("etcd: {shown}: {} lines\n", fresh.lines().count());
    }
    Ok(written)
}

fn generate(proto: &Path, to: &Path) -> Result<(), String> {
    let definitions = protox::compile([DEFINITIONS], [proto])
        .map_err(|error| format!("reading {PROTO}/{DEFINITIONS}: {error}"))?;
    tonic_prost_build::configure()
        .build_server(false)
        .build_transport(false)
        .emit_rerun_if_changed(false)
        .disable_comments(["."])
        .out_dir(to)
        .compile_fds(definitions)
        .map_err(|error| format!("generating from {PROTO}: {error}"))
}

/// Adds where it comes from, and takes out the lints that it silences: whoever includes the file
/// does that, with a reason.
fn finish(generated: &str) -> String {
    let mut text = NOTE.to_owned();
    let mut silencing = false;
    for line in generated.lines() {
        silencing |= line.trim_start().starts_with("#![allow(");
        if !silencing {
            text += line;
            text.push('\n');
        }
        silencing &= !line.trim_end().ends_with(")]");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_generated_says_so_and_silences_no_lint() {
        let raw = "// This file is @generated.\npub mod a {\n    #![allow(\n        x,\n    )]\n    \
                   pub struct A;\n}\n#![allow(y)]\nfn f() {}\n";
        let kept = "// This file is @generated.\npub mod a {\n    pub struct A;\n}\nfn f() {}\n";
        assert_eq!(finish(raw), format!("{NOTE}{kept}"));
    }
}
