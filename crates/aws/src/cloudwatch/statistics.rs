//! `GetMetricStatistics`: some statistics of one metric.
//!
//! Invariant: an answer has at most [`MOST`] periods of each unit, and one for the partial one.
//!
//! Not here: many metrics at once ([`super::data`]).

use tanist_telemetry::{Datapoint, Unit, Window};

use super::{COMBINATION, Desk, Stat, VALUE};
use crate::error::ApiError;
use crate::service::{Answer, Ask};
use crate::value::Structure;

/// Most datapoints of one answer.
const MOST: i64 = 1_440;

impl Desk<'_> {
    pub(super) fn statistics(&self, ask: &Ask) -> Answer {
        let input = &ask.input;
        let stats = asked(ask)?;
        let period = super::period(ask, input.integer("Period"), VALUE, "Period")?;
        let (from, to) = super::times(ask, VALUE)?;
        let asked = to.saturating_sub(from) / (period * 1_000);
        if asked > MOST {
            let what = format!(
                "You have requested up to {} datapoints, which exceeds the limit of {}. You may \
                 reduce the datapoints requested by increasing Period, or decreasing the time range.",
                grouped(asked),
                grouped(MOST),
            );
            return Err(ask.refuse(COMBINATION, what));
        }
        let unit = super::unit(ask, input.text("Unit"), VALUE, "Unit")?;
        let name = super::key(ask, input.text("Namespace").unwrap_or_default(), input);
        let window = Window::new(from, to, period, super::now(ask));
        let found = self.metrics.statistics(&name, &window);
        let wanted = found.iter().filter(|(of, _)| unit.is_none_or(|unit| unit == *of));
        let points = wanted
            .flat_map(|(unit, points)| points.iter().map(|point| datapoint(point, *unit, &stats)));
        Ok(Structure::new().set("Label", name.metric.as_ref()).list("Datapoints", points))
    }
}

fn asked(ask: &Ask) -> Result<Vec<Stat>, ApiError> {
    let plain = !ask.input.items("Statistics").is_empty();
    let extended = ask.input.items("ExtendedStatistics").first();
    match (plain, extended) {
        (true, Some(_)) => {
            let what = "Must specify either Statistics or ExtendedStatistics, but not both";
            Err(ask.refuse(COMBINATION, what))
        }
        (false, None) => {
            let what = "Must specify either Statistics or ExtendedStatistics";
            Err(ask.refuse(COMBINATION, what))
        }
        (false, Some(name)) => {
            let name = name.as_text().unwrap_or_default();
            Err(super::no_such_stat(ask, VALUE, name, "ExtendedStatistics.member.1"))
        }
        (true, None) => {
            let stat = |(at, name): (usize, &str)| {
                let at = format!("Statistics.member.{}", at + 1);
                let names = Stat::ALL.map(|(name, _)| name);
                Stat::named(name).ok_or_else(|| ask.refuse(VALUE, super::one_of(&at, &names)))
            };
            ask.input.texts("Statistics").enumerate().map(stat).collect()
        }
    }
}

fn datapoint(point: &Datapoint, unit: Unit, stats: &[Stat]) -> Structure {
    let shown =
        Structure::new().set("Timestamp", super::timestamp(point.at)).set("Unit", unit.name());
    stats.iter().fold(shown, |shown, stat| shown.set(stat.name(), stat.of(&point.point)))
}

/// A number that is not negative, as `16,666`.
fn grouped(number: i64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
