//! `tanist events`: what happened.
//!
//! Invariant: `-f` shows every event once, in order.
//!
//! Not here: what is wrong now (`super::status`).

use tanist_link::Client;
use tanist_link::api::EventRecord;

use crate::failure::Failure;
use crate::output::{Output, Paint};
use crate::{Done, Outcome};

/// Shows events, oldest first.
pub(crate) async fn events(
    client: &Client,
    group: Option<&str>,
    follow: bool,
    out: &Output,
) -> Outcome {
    // Subscribed before the past is read, so that nothing falls between the two.
    let mut news = match follow {
        true => Some(client.follow::<EventRecord>("/v1/events/follow").await?),
        false => None,
    };
    let past: Vec<EventRecord> = client.get("/v1/events").await?;
    let of_group = |event: &EventRecord| {
        group.is_none_or(|name| event.group.as_ref().is_some_and(|group| group.as_str() == name))
    };
    let mut last = 0;
    let past: Vec<EventRecord> = past.into_iter().filter(of_group).collect();
    if out.is_json() && !follow {
        out.json(&past)?;
        return Ok(Done::Well);
    }
    for event in &past {
        last = event.id;
        show(event, out)?;
    }
    while let Some(events) = &mut news {
        let Some(event) = events.recv().await.map_err(Failure::from)? else {
            let message = "the controller has ended";
            return Err(Failure::new("T601", message, "start it again: tanist dev").exit(4));
        };
        if event.id > last && of_group(&event) {
            last = event.id;
            show(&event, out)?;
        }
    }
    Ok(Done::Well)
}

fn show(event: &EventRecord, out: &Output) -> Result<(), Failure> {
    if out.is_json() {
        return out.json_line(event);
    }
    out.line(event_line(event, out));
    Ok(())
}

/// An event on one line.
pub(crate) fn event_line(event: &EventRecord, out: &Output) -> String {
    use tanist_core::model::Severity;
    let group = event.group.as_ref().map_or("-", |group| group.as_str());
    let epoch = event.epoch.map_or(String::new(), |epoch| format!(" (epoch {epoch})"));
    let paint = match event.severity {
        Severity::Info => Paint::Dim,
        Severity::Warning => Paint::Warn,
        Severity::Error => Paint::Bad,
    };
    let name = out.paint(paint, &format!("{:<18}", event.name));
    format!("{}  {group:<10} {name} {}{epoch}", clock(event.at_ms), event.text)
}

/// Wall-clock time of day in UTC, with milliseconds.
pub(crate) fn clock(at_ms: u64) -> String {
    let (s, ms) = (at_ms / 1000 % 86_400, at_ms % 1000);
    format!("{:02}:{:02}:{:02}.{ms:03}", s / 3600, s / 60 % 60, s % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_day_is_utc() {
        assert_eq!(clock(1_000 * (86_400 + 3_661) + 7), "01:01:01.007");
    }
}
