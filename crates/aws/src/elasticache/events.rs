//! `DescribeEvents`.
//!
//! Invariant: the newest event comes first; nothing older than 14 days is shown.
//!
//! Not here: the sentences (`super::story`).

use jiff::{SignedDuration, Timestamp};
use tanist_link::api::EventRecord;

use super::describe::named;
use super::page::page;
use super::refusal::{Refusal, bad_combination, bad_value};
use super::scene::Scene;
use super::story::{Sentence, tell};
use crate::value::Structure;

/// How far back events can be seen, in minutes.
const LONGEST: i64 = 14 * 24 * 60;
/// How far back they are seen if nobody says so, in minutes.
const USUALLY: i64 = 60;

/// What has events here or elsewhere.
const SOURCES: [&str; 9] = [
    "cache-cluster",
    "cache-parameter-group",
    "cache-security-group",
    "cache-subnet-group",
    "replication-group",
    "serverless-cache",
    "serverless-cache-snapshot",
    "user",
    "user-group",
];

/// The answer, from the controller's events.
pub(super) fn describe(
    scene: Scene<'_>,
    events: &[EventRecord],
    input: &Structure,
) -> Result<Structure, Refusal> {
    let kind = named(input, "SourceType");
    if let Some(word) = kind.filter(|word| !SOURCES.contains(word)) {
        return Err(bad_value(format_args!("Invalid value {word} for SourceType.")));
    }
    let name = named(input, "SourceIdentifier").map(str::to_ascii_lowercase);
    let (from, to) = span(scene.now, input)?;
    let zone = |node: &str| scene.cluster(node).ok().map(|(_, node)| node.zone.to_string());
    let wanted = |sentence: &Sentence| {
        let at = i64::try_from(sentence.at_ms).unwrap_or(i64::MAX);
        (from.as_millisecond()..=to.as_millisecond()).contains(&at)
            && kind.is_none_or(|word| word == sentence.source.word())
            && name.as_ref().is_none_or(|name| *name == sentence.name)
    };
    let told = tell(events, zone).into_iter().filter(wanted);
    let mut items: Vec<(String, Sentence)> =
        told.map(|sentence| (key(sentence.id), sentence)).collect();
    items.sort_by(|(one, _), (other, _)| one.cmp(other));
    let (shown, marker) = page("DescribeEvents", input, items)?;
    let shown = shown.into_iter().map(|sentence| {
        let at = i64::try_from(sentence.at_ms).ok().map(Timestamp::from_millisecond);
        Structure::new()
            .set("SourceIdentifier", sentence.name)
            .set("SourceType", sentence.source.word())
            .set("Message", sentence.text)
            .maybe("Date", at.and_then(Result::ok))
    });
    Ok(Structure::new().maybe("Marker", marker).list("Events", shown))
}

/// A key that is less, the newer the sentence.
fn key((event, place): (u64, usize)) -> String {
    format!("{:020}-{:06}", u64::MAX - event, 999_999_usize.saturating_sub(place))
}

/// From when to when events are asked for.
fn span(now: Timestamp, input: &Structure) -> Result<(Timestamp, Timestamp), Refusal> {
    let (start, end) = (input.timestamp("StartTime"), input.timestamp("EndTime"));
    let duration = input.integer("Duration");
    if let Some(minutes) = duration.filter(|minutes| !(1..=LONGEST).contains(minutes)) {
        return Err(bad_value(format_args!(
            "Invalid value {minutes} for Duration. Must be between 1 and {LONGEST} minutes."
        )));
    }
    if duration.is_some() && start.is_some() {
        let message = "Duration and StartTime cannot be specified together.";
        return Err(bad_combination(message));
    }
    if let (Some(start), Some(end)) = (start, end)
        && start > end
    {
        return Err(bad_combination("StartTime must not be later than EndTime."));
    }
    let before = |at: Timestamp, minutes: i64| {
        at.checked_sub(SignedDuration::from_mins(minutes)).unwrap_or(Timestamp::MIN)
    };
    let to = end.unwrap_or(now);
    let from = start.unwrap_or_else(|| before(to, duration.unwrap_or(USUALLY)));
    Ok((from.max(before(now, LONGEST)), to))
}

#[cfg(test)]
mod tests {
    use tanist_core::model::{Cause, EventKind, NodeId, Offset, Severity};

    use super::*;
    use crate::elasticache::kit::{NOW_MS, Stage, xml};

    const MINUTE: i64 = 60_000;

    fn event(id: u64, ago: i64, kind: &EventKind) -> EventRecord {
        EventRecord {
            id,
            at_ms: u64::try_from(NOW_MS - ago).unwrap(),
            group: Some("web".into()),
            node: kind.node().cloned(),
            epoch: None,
            name: kind.name().to_owned(),
            severity: Severity::Info,
            text: kind.sentence(),
        }
    }

    /// A failover each ten minutes, the last one just now.
    fn failovers(count: u64) -> Vec<EventRecord> {
        let mut events = Vec::new();
        for at in 0..count {
            let ago = i64::try_from(count - 1 - at).unwrap() * 10 * MINUTE;
            let (from, to) =
                if at % 2 == 0 { ("web-001", "web-002") } else { ("web-002", "web-001") };
            let (prev, cause) = (Some(NodeId::new(from)), Cause::Failover);
            let id = 2 * at + 1;
            events.push(event(id, ago, &EventKind::PrimaryVacated { prev, cause }));
            let (node, offset, in_sync) = (NodeId::new(to), Offset(1), Vec::new());
            let chosen = EventKind::PrimaryChosen { node, offset, in_sync };
            events.push(event(id + 1, ago, &chosen));
        }
        events
    }

    fn shown(events: &[EventRecord], input: &Structure) -> Vec<String> {
        let answer = describe(Stage::new().scene(), events, input).unwrap();
        xml("DescribeEvents", &answer);
        let text = |event: &Structure| {
            let (kind, name) = (event.text("SourceType")?, event.text("SourceIdentifier")?);
            Some(format!("{kind} {name} {}", event.text("Message")?))
        };
        answer.structures("Events").filter_map(text).collect()
    }

    #[test]
    fn the_newest_event_comes_first() {
        let events = failovers(1);
        let done = "Failover from primary node web-001 to replica node web-002 completed";
        assert_eq!(
            shown(&events, &Structure::new()),
            [
                format!("replication-group web {done}"),
                format!("cache-cluster web-001 {done}"),
                "replication-group web Test Failover API called for node group 0001".to_owned(),
            ]
        );
    }

    #[test]
    fn events_of_the_last_hour_are_shown_unless_others_are_asked_for() {
        let events = failovers(20);
        let count = |input: Structure| shown(&events, &input).len();
        assert_eq!(count(Structure::new()), 7 * 3);
        assert_eq!(count(Structure::new().set("Duration", 30)), 4 * 3);
        assert_eq!(count(Structure::new().set("Duration", 20_160)), 20 * 3);
        let at = |ago: i64| Timestamp::from_millisecond(NOW_MS - ago * MINUTE).unwrap();
        let input = Structure::new().set("StartTime", at(40)).set("EndTime", at(20));
        assert_eq!(count(input), 3 * 3);
        assert_eq!(count(Structure::new().set("EndTime", at(100))), 7 * 3);
        let long_ago = Structure::new().set("StartTime", Timestamp::MIN);
        assert_eq!(count(long_ago), 20 * 3);
    }

    #[test]
    fn events_are_those_of_the_source() {
        let events = failovers(2);
        let of = |kind: &str, name: &str| {
            let input = Structure::new().set("SourceType", kind).set("SourceIdentifier", name);
            shown(&events, &input).len()
        };
        assert_eq!(of("replication-group", "Web"), 4);
        assert_eq!(of("cache-cluster", "web-001"), 1);
        assert_eq!(of("cache-cluster", "web"), 0);
        assert_eq!(of("user", "web"), 0);
        let any = Structure::new().set("SourceIdentifier", "web-002");
        assert_eq!(shown(&events, &any).len(), 1);
    }

    #[test]
    fn spans_that_cannot_be_are_refused() {
        let code = |input: Structure| describe(Stage::new().scene(), &[], &input).unwrap_err().code;
        let (value, combination) = ("InvalidParameterValue", "InvalidParameterCombination");
        assert_eq!(code(Structure::new().set("SourceType", "dog")), value);
        assert_eq!(code(Structure::new().set("Duration", 0)), value);
        assert_eq!(code(Structure::new().set("Duration", 20_161)), value);
        let at = |ms: i64| Timestamp::from_millisecond(ms).unwrap();
        let input = Structure::new().set("StartTime", at(2)).set("EndTime", at(1));
        assert_eq!(code(input), combination);
        let input = Structure::new().set("StartTime", at(2)).set("Duration", 5);
        assert_eq!(code(input), combination);
    }

    #[test]
    fn pages_of_events_stay_while_new_ones_happen() {
        let mut events = failovers(10);
        let input = Structure::new().set("MaxRecords", 20).set("Duration", 1000);
        let answer = describe(Stage::new().scene(), &events, &input).unwrap();
        let rest = input.set("Marker", answer.text("Marker").unwrap());
        let before = shown(&events, &rest);
        assert_eq!(before.len(), 10);
        let (prev, cause) = (Some(NodeId::new("web-001")), Cause::Failover);
        events.push(event(99, 0, &EventKind::PrimaryVacated { prev, cause }));
        assert_eq!(shown(&events, &rest), before);
    }
}
