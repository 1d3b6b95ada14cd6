//! `cargo bench -p tanist-bench --bench matrix [-- OPTION ...]`: what becomes of acknowledged writes
//! and of availability when something breaks, fault by fault, beside Sentinel.
//!
//! `--runs N` (3) of each cell, `--cell NAME` (may be repeated) for some of the faults, `--system
//! tanist|sentinel|sentinel-5000` and `--durability sync|async` for some of the columns, `--short` for
//! the faults that the tests try, `--list` for the names, `--table` for what is there already.
//! `--hold SECONDS` lets the faults last longer or shorter than they do by themselves; such runs count apart.
//! Finished runs are lines of `target/matrix/SYSTEM-DURABILITY.jsonl`; only those that are missing
//! are made, so that it can be interrupted at any time. What Tanist said of itself at the end of each
//! lies in `target/matrix/logs`. `TANIST_LAB_ETCD` names more arguments for etcd.
//!
//! Invariant: every figure of the table comes from a line of those files; a run that could not be
//! made is a line that says so.
//!
//! Not here: the faults and the judgment (`tanist_lab::netns`).

#![expect(clippy::print_stdout, reason = "a benchmark's output is its result")]

mod options;
mod record;
mod table;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use serde_json::{Value, json};
use tanist_lab::netns::{Trial, possible};

use self::options::{Column, Options};
use self::record::Records;

fn main() {
    let options = Options::read();
    let mut records = Records::open();
    if options.list {
        options.cells.iter().for_each(|cell| println!("{:18} {}", cell.name, cell.what));
        return;
    }
    if !options.table && possible() {
        run_all(&options, &mut records);
    }
    table::print(&options, &records);
}

fn run_all(options: &Options, records: &mut Records) {
    let planned = || {
        let rounds = 1..=options.runs;
        rounds.flat_map(|round| options.cells.iter().map(move |cell| (round, *cell)))
    };
    let all = |records: &Records| -> Vec<(usize, Column, &'static tanist_lab::netns::Cell)> {
        planned()
            .flat_map(|(round, cell)| options.columns.iter().map(move |c| (round, *c, cell)))
            .filter(|(_, column, cell)| cell.peer || !column.is_peer())
            .filter(|(round, column, cell)| {
                records.of(*column, cell.name, options.hold(cell)).len() < *round
            })
            .collect()
    };
    let missing = all(records);
    let total = missing.len();
    let mut kept = None;
    for (done, (round, column, cell)) in missing.into_iter().enumerate() {
        let name = column.name();
        print!("[{}/{total}] {} {name} run {round}: ", done + 1, cell.name);
        // What is printed is progress; one that nobody sees yet is none.
        let _ = std::io::Write::flush(&mut std::io::stdout());
        let started = Instant::now();
        let (system, durability, hold) = (column.system, column.durability, options.hold(cell));
        let trial = Trial { cell, system, durability, hold };
        let ran = catch_unwind(AssertUnwindSafe(|| trial.run_on(&mut kept)));
        let (mut line, log) = match ran {
            Ok(outcome) => (outcome.json(), outcome.log),
            Err(panic) => (json!({ "unmade": said(panic.as_ref()) }), String::new()),
        };
        line["cell"] = Value::from(cell.name);
        line["hold_ms"] = Value::from(record::whole_ms(hold));
        println!("{} ({:.0} s)", table::brief(&line), started.elapsed().as_secs_f64());
        records.add(column, line, &log);
    }
}

fn said(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
}
