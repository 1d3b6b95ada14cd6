//! What the runs say together.
//!
//! Invariant: losses and second primaries are sums over all runs, times are medians; a run that lost
//! nothing because nobody could write shows in the gap.
//!
//! Not here: targets; a reader compares the columns.

use serde_json::Value;

use super::options::{Column, Options};
use super::record::Records;

/// A run in a few words.
pub(crate) fn brief(line: &Value) -> String {
    if let Some(why) = line["unmade"].as_str() {
        return format!("NOT MADE: {}", why.lines().next().unwrap_or_default());
    }
    let number = |name: &str| line[name].as_u64().unwrap_or(0);
    let mut text = format!(
        "gap {} ms (inside {}), {} lost of {}, {} by a second primary, {} failovers",
        whole(&line["gap_ms"]),
        whole(&line["gap_inside_ms"]),
        number("lost"),
        number("acked"),
        number("two_primaries"),
        number("failovers"),
    );
    let revived = line["revived"].as_array().map(Vec::as_slice).unwrap_or_default();
    for program in revived.iter().filter_map(Value::as_str) {
        text += &format!(", ENDED BY ITSELF: {program}");
    }
    if let Some(why) = line["unread"].as_str() {
        text += &format!(", UNREAD: {why}");
    }
    match line["unsettled"].as_str() {
        Some(why) => text += &format!(", NOT WELL: {why}"),
        None => text += &format!(", well after {} ms", whole(&line["settled_ms"])),
    }
    text
}

fn whole(value: &Value) -> String {
    value.as_f64().map_or_else(|| "?".to_owned(), |ms| format!("{ms:.0}"))
}

/// All cells that have a run.
pub(crate) fn print(options: &Options, records: &Records) {
    println!(
        "\n| fault | held | system | durability | runs | write gap elsewhere, median (max) | \
         gap on the primary's host | acknowledged | lost | by a second primary | uncertain | \
         errors | failovers | engines gone | well again after, median |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|");
    for cell in &options.cells {
        for column in &options.columns {
            let hold = options.hold(cell);
            let runs = records.of(*column, cell.name, hold);
            if !runs.is_empty() {
                println!("{}", row(cell.what, hold.as_secs(), *column, &runs));
            }
        }
    }
}

fn row(what: &str, held: u64, column: Column, runs: &[&Value]) -> String {
    let made: Vec<&&Value> = runs.iter().filter(|line| line["unmade"].is_null()).collect();
    let times = |name: &str| {
        let mut all: Vec<f64> = made.iter().filter_map(|line| line[name].as_f64()).collect();
        all.sort_by(f64::total_cmp);
        all
    };
    let middle = |all: &[f64]| all.get(all.len() / 2).copied().map(seconds);
    let sum = |name: &str| made.iter().filter_map(|line| line[name].as_u64()).sum::<u64>();
    let (beside, inside, well) = (times("gap_ms"), times("gap_inside_ms"), times("settled_ms"));
    let unwell = made.iter().filter(|line| line["unsettled"].is_string()).count();
    let unread = made.iter().filter(|line| line["unread"].is_string()).count();
    let none = || "-".to_owned();
    let mut again = middle(&well).unwrap_or_else(none);
    if unwell + unread > 0 {
        again += &format!(" ({unwell} not, {unread} unread)");
    }
    let mut count = made.len().to_string();
    if made.len() < runs.len() {
        count += &format!(" ({} not made)", runs.len() - made.len());
    }
    let most = beside.last().copied().map_or_else(none, seconds);
    format!(
        "| {what} | {held} s | {} | {} | {count} | {} ({most}) | {} | {} | {} | {} | {} | {} | {} | \
         {} | {again} |",
        column.system(),
        column.durability.word(),
        middle(&beside).unwrap_or_else(none),
        middle(&inside).unwrap_or_else(none),
        sum("acked"),
        sum("lost"),
        sum("two_primaries"),
        sum("uncertain"),
        sum("failed"),
        sum("failovers"),
        sum("engines_gone"),
    )
}

fn seconds(ms: f64) -> String {
    if ms < 1000.0 { format!("{ms:.0} ms") } else { format!("{:.1} s", ms / 1000.0) }
}
