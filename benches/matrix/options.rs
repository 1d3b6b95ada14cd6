//! What the command line asks for.
//!
//! Not here: what is there already (`super::record`).

use std::time::Duration;

use tanist_lab::netns::{CELLS, Cell, Durability, SHORT, System, cell};

/// A system with a durability.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Column {
    pub(crate) system: System,
    pub(crate) durability: Durability,
}

impl Column {
    pub(crate) fn is_peer(self) -> bool {
        self.system != System::Tanist
    }

    pub(crate) fn system(self) -> String {
        match self.system {
            System::Tanist => "tanist".to_owned(),
            System::Sentinel { down_after_ms: 1000 } => "sentinel".to_owned(),
            System::Sentinel { down_after_ms } => format!("sentinel-{down_after_ms}"),
        }
    }

    pub(crate) fn name(self) -> String {
        format!("{}-{}", self.system(), self.durability.word())
    }
}

/// What is to be done.
#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) runs: usize,
    pub(crate) cells: Vec<&'static Cell>,
    hold: Option<Duration>,
    pub(crate) columns: Vec<Column>,
    pub(crate) list: bool,
    pub(crate) table: bool,
}

impl Options {
    pub(crate) fn read() -> Self {
        let (mut runs, mut cells) = (3, Vec::new());
        let (mut systems, mut durabilities) = (Vec::new(), Vec::new());
        let (mut list, mut table, mut hold) = (false, false, None);
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            let mut value = || words.next().unwrap_or_else(|| panic!("{word} needs a value"));
            match word.as_str() {
                "--runs" => {
                    let text = value();
                    runs = text.parse().unwrap_or_else(|err| panic!("--runs {text}: {err}"));
                }
                "--cell" => {
                    let name = value();
                    cells.push(cell(&name).unwrap_or_else(|| panic!("no cell {name}; --list")));
                }
                "--hold" => {
                    let text = value();
                    let seconds = text.parse().unwrap_or_else(|err| panic!("--hold {text}: {err}"));
                    hold = Some(Duration::from_secs(seconds));
                }
                "--short" => cells.extend(SHORT.iter().filter_map(|name| cell(name))),
                "--system" => systems.push(system(&value())),
                "--durability" => durabilities.push(durability(&value())),
                "--list" => list = true,
                "--table" => table = true,
                // Cargo adds it.
                "--bench" => {}
                other => panic!("there is no option {other}"),
            }
        }
        if cells.is_empty() {
            cells = CELLS.iter().collect();
        }
        if systems.is_empty() {
            systems = vec![System::Tanist, system("sentinel")];
        }
        if durabilities.is_empty() {
            durabilities = vec![Durability::Sync, Durability::Async];
        }
        let columns = systems.iter().flat_map(|system| {
            durabilities
                .iter()
                .map(|durability| Column { system: *system, durability: *durability })
        });
        Self { runs, cells, hold, columns: columns.collect(), list, table }
    }

    /// How long a fault lasts.
    pub(crate) fn hold(&self, cell: &Cell) -> Duration {
        self.hold.unwrap_or(cell.hold)
    }
}

fn system(name: &str) -> System {
    match name {
        "tanist" => System::Tanist,
        "sentinel" => System::Sentinel { down_after_ms: 1000 },
        "sentinel-5000" => System::Sentinel { down_after_ms: 5000 },
        other => panic!("there is no system {other}"),
    }
}

fn durability(name: &str) -> Durability {
    match name {
        "sync" => Durability::Sync,
        "async" => Durability::Async,
        other => panic!("there is no durability {other}"),
    }
}
