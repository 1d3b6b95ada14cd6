//! `tanist watch`: the status above the latest events, live.
//!
//! Invariant: the terminal is left as it was found.
//!
//! Not here: the lines (`super::status`, `super::events`).

use std::collections::VecDeque;
use std::io::Write;
use std::time::Duration;

use tanist_link::Client;
use tanist_link::api::{EventRecord, Status};
use tokio::time::MissedTickBehavior;

use super::events::event_line;
use super::status::lines;
use crate::failure::Failure;
use crate::output::Output;
use crate::{Done, Outcome};

/// How often the picture is renewed when nothing happens.
const EVERY: Duration = Duration::from_millis(500);
/// Events that are shown.
const TAIL: usize = 12;

/// Shows the status until interrupted.
pub(crate) async fn watch(client: &Client, group: Option<&str>, out: &Output) -> Outcome {
    let mut news = client.follow::<EventRecord>("/v1/events/follow").await?;
    let past: Vec<EventRecord> = client.get("/v1/events").await?;
    let of_group = |event: &EventRecord| {
        group.is_none_or(|name| event.group.as_ref().is_some_and(|group| group.as_str() == name))
    };
    let mut tail: VecDeque<EventRecord> = past.into_iter().filter(of_group).collect();
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let interrupted = tokio::signal::ctrl_c();
    tokio::pin!(interrupted);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = &mut interrupted => return Ok(Done::Well),
            event = news.recv() => match event.map_err(Failure::from)? {
                Some(event) if of_group(&event) => tail.push_back(event),
                Some(_) => {}
                None => {
                    let message = "the controller has ended";
                    return Err(Failure::new("T601", message, "start it again: tanist dev").exit(4));
                }
            },
        }
        while tail.len() > TAIL {
            tail.pop_front();
        }
        let mut status: Status = client.get("/v1/status").await?;
        status.groups.retain(|status| group.is_none_or(|name| status.name.as_str() == name));
        if out.is_json() {
            out.json_line(&status)?;
        } else {
            draw(&status, &tail, out);
        }
    }
}

fn draw(status: &Status, tail: &VecDeque<EventRecord>, out: &Output) {
    // Home, each line erased to its end, then everything below: no flicker, no scrolling.
    let mut picture = String::from("\u{1b}[H");
    let mut put = |line: &str| {
        picture.push_str(line);
        picture.push_str("\u{1b}[K\n");
    };
    for line in lines(status, out) {
        put(&line);
    }
    put("");
    for event in tail {
        put(&event_line(event, out));
    }
    put("");
    put("Ctrl-C ends");
    picture.push_str("\u{1b}[J");
    let mut stdout = std::io::stdout().lock();
    // A terminal that has gone away ends the process by its own signal.
    let _ = stdout.write_all(picture.as_bytes()).and_then(|()| stdout.flush());
}
