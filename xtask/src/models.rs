//! `cargo xtask models`: the service models that `tanist-aws` is driven by.
//!
//! Names of operations, members and errors of the AWS APIs are facts with irregular spellings; one
//! written by hand is one that some client does not find. They are taken from botocore, cut down to
//! the operations that are served, and committed, so that a build needs no Python and a new botocore
//! is a diff to be read.
//!
//! Invariant: the same botocore gives the same bytes; only names and numbers are taken, no prose.
//! Not here: what is left out of a model and how it is written (`prune`); what the models mean
//! (`tanist-aws`).

mod prune;
mod served;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use crate::say;
use served::SERVICES;

/// Prints botocore's version and then one service's newest model. `members` becomes a list, because
/// its order is the order of an answer's elements and a JSON object has none.
const READ: &str = r#"
import gzip, json, pathlib, sys
import botocore

def ordered(pairs):
    object = dict(pairs)
    if isinstance(object.get("members"), dict) and "type" in object:
        object["members"] = [{"name": name, **ref} for name, ref in object["members"].items()]
    return object

newest = sorted(pathlib.Path(botocore.__path__[0], "data", sys.argv[1]).iterdir())[-1]
packed = newest / "service-2.json.gz"
text = gzip.decompress(packed.read_bytes()) if packed.exists() else (newest / "service-2.json").read_bytes()
print(botocore.__version__)
json.dump(json.loads(text, object_pairs_hook=ordered), sys.stdout)
"#;

const REMEDY: &str = "no Python here has botocore; run scripts/install.sh test, which puts the \
                      version of tests/requirements.txt into .venv";

/// Writes the models, or with `check` only says whether the committed ones differ.
pub(crate) fn run(check: bool) -> ExitCode {
    match models(check) {
        Ok(text) => {
            say(&text);
            ExitCode::SUCCESS
        }
        Err(error) => {
            say(&format!("models: {error}\n"));
            ExitCode::FAILURE
        }
    }
}

fn models(check: bool) -> Result<String, String> {
    let root = root()?;
    let python = python(&root)?;
    let mut written = String::new();
    for service in SERVICES {
        let (version, model) = read(&python, service.name)?;
        let text = prune::prune(service, &version, &model)
            .map_err(|error| format!("{}: {error}", service.name))?;
        let path = root.join(format!("crates/aws/models/{}.json", service.name));
        let shown = path.strip_prefix(&root).unwrap_or(&path).display().to_string();
        if check {
            let committed = std::fs::read_to_string(&path).unwrap_or_default();
            compare(&shown, &committed, &text, "botocore's model; run cargo xtask models")?;
        } else {
            std::fs::write(&path, &text).map_err(|error| format!("writing {shown}: {error}"))?;
        }
        let operations = service.operations.len();
        written += &format!("models: {shown}: {operations} operations of botocore {version}\n");
    }
    Ok(written)
}

/// An error that names the first line in which the two differ, and what it differs from.
pub(crate) fn compare(path: &str, committed: &str, fresh: &str, from: &str) -> Result<(), String> {
    if committed == fresh {
        return Ok(());
    }
    let mut lines = committed.lines().zip(fresh.lines());
    let line = lines
        .position(|(old, new)| old != new)
        .map_or_else(|| committed.lines().count().min(fresh.lines().count()) + 1, |at| at + 1);
    Err(format!("{path}:{line} differs from {from}"))
}

/// The top of the repository.
pub(crate) fn root() -> Result<PathBuf, String> {
    let output = Command::new("git").args(["rev-parse", "--show-toplevel"]).output();
    let output = output.map_err(|error| format!("starting git: {error}"))?;
    let top = String::from_utf8_lossy(&output.stdout).trim_end().to_owned();
    if output.status.success() { Ok(PathBuf::from(top)) } else { Err("not a repository".into()) }
}

/// The repository's own Python if it has botocore, else the machine's.
fn python(root: &Path) -> Result<PathBuf, String> {
    let candidates = [root.join(".venv/bin/python"), PathBuf::from("python3")];
    let has_botocore = |python: &PathBuf| {
        Command::new(python)
            .args(["-c", "import botocore"])
            .output()
            .is_ok_and(|output| output.status.success())
    };
    candidates.into_iter().find(has_botocore).ok_or_else(|| REMEDY.to_owned())
}

fn read(python: &Path, service: &str) -> Result<(String, serde_json::Value), String> {
    let output = Command::new(python).args(["-c", READ, service]).output();
    let output = output.map_err(|error| format!("starting {}: {error}", python.display()))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let last = said.lines().last().unwrap_or("nothing was said");
        return Err(format!("reading botocore's model of {service}: {last}"));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let (version, model) = text.split_once('\n').unwrap_or((&text, ""));
    let model = serde_json::from_str(model)
        .map_err(|error| format!("botocore's model of {service} is not JSON: {error}"))?;
    Ok((version.trim_end().to_owned(), model))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_named_by_its_line() {
        assert_eq!(compare("a.json", "1\n2\n", "1\n2\n", "x"), Ok(()));
        let line = |old: &str, new: &str| compare("a.json", old, new, "x").unwrap_err();
        assert!(line("1\n2\n", "1\n3\n").starts_with("a.json:2 differs"));
        assert!(line("1\n", "1\n3\n").starts_with("a.json:2 differs"));
        assert!(line("", "1\n").starts_with("a.json:1 differs"));
    }
}
