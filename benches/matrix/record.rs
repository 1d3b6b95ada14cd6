//! Finished runs: a file for each system and durability, a line of JSON for each run.
//!
//! Invariant: a line is written whole, once its run has ended; lines that were there stay.
//!
//! Not here: what the lines mean together (`super::table`).

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use super::options::Column;

/// As a line has it.
pub(crate) fn whole_ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Everything that is there.
#[derive(Debug)]
pub(crate) struct Records {
    dir: PathBuf,
    lines: BTreeMap<String, Vec<Value>>,
}

impl Records {
    pub(crate) fn open() -> Self {
        let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
        let beside = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target");
        let dir = target.unwrap_or(beside).join("matrix");
        std::fs::create_dir_all(dir.join("logs"))
            .unwrap_or_else(|err| panic!("{}: {err}", dir.display()));
        let mut lines = BTreeMap::new();
        let files = std::fs::read_dir(&dir).into_iter().flatten().flatten();
        for path in files.map(|entry| entry.path()) {
            let name = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".jsonl"));
            let Some(name) = name else { continue };
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            // The last line of an interrupted run may be half a line, which is no run.
            let runs = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
            lines.insert(name.to_owned(), runs);
        }
        Self { dir, lines }
    }

    /// Runs of a fault that lasted so long.
    pub(crate) fn of(&self, column: Column, cell: &str, hold: Duration) -> Vec<&Value> {
        let runs = self.lines.get(&column.name()).into_iter().flatten();
        let held = whole_ms(hold);
        runs.filter(|line| line["cell"] == cell && line["hold_ms"] == held).collect()
    }

    /// Adds a run, and what the system said of itself.
    pub(crate) fn add(&mut self, column: Column, line: Value, log: &str) {
        let path = self.dir.join(format!("{}.jsonl", column.name()));
        let file = File::options().append(true).create(true).open(&path);
        let written = file.and_then(|mut file| writeln!(file, "{line}"));
        written.unwrap_or_else(|err| panic!("{}: {err}", path.display()));
        let runs = self.lines.entry(column.name()).or_default();
        if !log.is_empty() {
            let cell = line["cell"].as_str().unwrap_or_default();
            let name = format!("{}-{cell}-{}.log", column.name(), runs.len());
            let path = self.dir.join("logs").join(name);
            std::fs::write(&path, log).unwrap_or_else(|err| panic!("{}: {err}", path.display()));
        }
        runs.push(line);
    }
}
