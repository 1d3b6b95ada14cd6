//! `tanist reads`: what a group promises about reads, shown and changed.
//!
//! Invariant: what it shows is in force at every proxy when it returns.
//!
//! Not here: whether the group can promise it; the controller says so.

use tanist_core::model::ReaderFallback;
use tanist_link::Client;
use tanist_link::api::{GroupStatus, ModifyGroup};

use super::{encoded, group_status};
use crate::cli::ReadsArgs;
use crate::output::Output;
use crate::{Done, Outcome};

/// Changes what is named, and shows what holds.
pub(crate) async fn reads(client: &Client, args: ReadsArgs, out: &Output) -> Outcome {
    let mut group = group_status(client, &args.group).await?;
    let mut wanted = group.reads;
    if let Some(strict) = args.strict {
        wanted.strict = strict;
    }
    if let Some(millis) = args.max_lag {
        wanted.max_lag_millis = millis;
    }
    if let Some(fallback) = args.fallback {
        wanted.fallback = fallback.into();
    }
    if wanted != group.reads {
        let asked = ModifyGroup {
            expect: Some(group.revision),
            reads: Some(wanted),
            ..ModifyGroup::default()
        };
        let path = format!("/v1/groups/{}/modify", encoded(&args.group));
        group = client.post(&path, &asked).await?;
    }
    show(&group, out)?;
    Ok(Done::Well)
}

fn show(group: &GroupStatus, out: &Output) -> Result<(), crate::failure::Failure> {
    if out.is_json() {
        return out.json(&group.reads);
    }
    let reads = group.reads;
    let strict = if reads.strict {
        "strict: they show only what every in-sync replica has"
    } else {
        "as an engine answers: they may show a write that is not acknowledged yet"
    };
    let fallback = match reads.fallback {
        ReaderFallback::Primary => "the primary answers",
        ReaderFallback::Wait => "reads wait up to ten seconds",
    };
    out.line(format!("primary endpoint   {strict}"));
    out.line(format!("reader endpoint    replicas at most {} ms behind", reads.max_lag_millis));
    out.line(format!("                   without one, {fallback}"));
    Ok(())
}
