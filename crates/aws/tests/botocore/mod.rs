//! botocore as the judge: it writes requests and reads answers as the real clients do.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

const REMEDY: &str = "no Python here has botocore; run scripts/install.sh test";

fn python() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let has_botocore = |python: &PathBuf| {
        let import = Command::new(python).args(["-c", "import botocore"]).output();
        import.is_ok_and(|output| output.status.success())
    };
    let candidates = [root.join(".venv/bin/python"), PathBuf::from("python3")];
    candidates.into_iter().find(has_botocore).expect(REMEDY)
}

/// Runs `tests/oracle.py` and gives the lines that it printed.
pub(crate) fn oracle(args: &[&str], input: &[u8]) -> Vec<String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oracle.py");
    // A file and not a pipe: both sides could wait for each other.
    let mut told = tempfile::tempfile().expect("a temporary file");
    told.write_all(input).expect("the file takes it");
    std::io::Seek::rewind(&mut told).expect("the file goes back");
    let output = Command::new(python())
        .arg(script)
        .args(args)
        .stdin(Stdio::from(told))
        .stderr(Stdio::inherit())
        .output()
        .expect("Python runs");
    assert!(output.status.success(), "oracle.py {args:?}");
    let text = String::from_utf8(output.stdout).expect("it prints text");
    text.lines().map(str::to_owned).collect()
}

/// A line as JSON.
pub(crate) fn parsed(line: &str) -> Value {
    serde_json::from_str(line).expect("it prints JSON")
}

/// A text of a JSON object.
pub(crate) fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    value[name].as_str().unwrap_or_else(|| panic!("{name} in {value}"))
}

/// Bytes of a JSON object, in hexadecimal there.
pub(crate) fn bytes(value: &Value, name: &str) -> Vec<u8> {
    hex::decode(text(value, name)).expect("hexadecimal")
}
