//! `tanist history`: each failover of a group and how long each step took.
//!
//! Invariant: a step that did not happen is shown as missing, not as zero.
//!
//! Not here: what clients noticed (drills).

use tanist_link::Client;
use tanist_link::api::{FailoverRecord, Step};

use super::{encoded, events};
use crate::output::Output;
use crate::{Done, Outcome};

const STEPS: [Step; 7] = [
    Step::Detected,
    Step::Vacated,
    Step::Fenced,
    Step::Chosen,
    Step::Promoted,
    Step::Released,
    Step::Replaced,
];

/// Shows the failovers, oldest first.
pub(crate) async fn history(client: &Client, group: &str, out: &Output) -> Outcome {
    let uri = format!("/v1/groups/{}/history", encoded(group));
    let records: Vec<FailoverRecord> = client.get(&uri).await?;
    if out.is_json() {
        out.json(&records)?;
        return Ok(Done::Well);
    }
    if records.is_empty() {
        out.line(format!("{group} has had no failover; try one: tanist drill {group} --kill"));
        return Ok(Done::Well);
    }
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    let mut head = vec!["EPOCH", "AT (UTC)", "CAUSE", "FROM", "TO"];
    head.extend(STEPS.iter().skip(1).map(|step| step_name(*step)));
    table.set_header(head);
    for record in &records {
        let name = |node: &Option<tanist_core::model::NodeId>| {
            node.as_ref().map_or("-".to_owned(), ToString::to_string)
        };
        let mut row = vec![
            record.epoch.to_string(),
            events::clock(record.at_ms),
            record.cause.to_string(),
            name(&record.from),
            name(&record.to),
        ];
        row.extend(STEPS.iter().skip(1).map(|step| step_ms(record, *step)));
        table.add_row(row);
    }
    out.line(table.to_string());
    out.line("times in milliseconds since the detection");
    Ok(Done::Well)
}

/// A step's name.
pub(crate) fn step_name(step: Step) -> &'static str {
    match step {
        Step::Detected => "DETECTED",
        Step::Vacated => "VACATED",
        Step::Fenced => "FENCED",
        Step::Chosen => "CHOSEN",
        Step::Promoted => "PROMOTED",
        Step::Released => "RELEASED",
        Step::Replaced => "REPLACED",
    }
}

fn step_ms(record: &FailoverRecord, step: Step) -> String {
    let found = record.steps.iter().find(|(known, _)| *known == step);
    found.map_or("-".to_owned(), |(_, micros)| format!("{}.{}", micros / 1000, micros % 1000 / 100))
}
