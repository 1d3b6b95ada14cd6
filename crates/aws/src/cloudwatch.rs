//! CloudWatch: what was measured, and clients' own measurements.
//!
//! Tanist publishes what it measures of its nodes under `AWS/ElastiCache`; clients publish what they
//! like under any other namespace. Differences from AWS, all on the generous side or said clearly: a
//! metric is listed and answered at once; `AWS/ElastiCache` has periods shorter than a minute (for an
//! hour); minutes are kept for a day, hours for fifteen days; percentiles, metric math and Metrics
//! Insights are refused.
//!
//! Invariant: a request is carried out whole or refused before anything is recorded, unless there is
//! no room for a new metric; a region sees its own metrics alone.
//!
//! Not here: keeping numbers (`tanist-telemetry`), alarms.

mod data;
mod list;
mod put;
mod statistics;
#[cfg(test)]
mod tests;
mod token;

use std::sync::Arc;

use tanist_telemetry::{Dimensions, Key, Point, Series, Unit};

use crate::error::ApiError;
use crate::service::{Answer, Ask, Context};
use crate::value::Structure;

/// Operations that are built; every other is an invalid action.
pub(crate) const OPERATIONS: &[&str] =
    &["GetMetricData", "GetMetricStatistics", "ListMetrics", "PutMetricData"];

/// The refusals of CloudWatch, by their codes.
const VALUE: &str = "InvalidParameterValue";
const COMBINATION: &str = "InvalidParameterCombination";
const MISSING: &str = "MissingParameter";
const TOKEN: &str = "InvalidNextToken";
const VALIDATION: &str = "ValidationError";

/// What a request is about, as ARNs, for the policies of its caller: metrics have none.
pub(crate) fn resources(_context: &Context, _ask: &Ask) -> Vec<String> {
    vec!["*".to_owned()]
}

/// Carries a request out.
pub(crate) async fn answer(context: &Context, ask: &Ask) -> Answer {
    Desk { metrics: &context.metrics, account: &context.account }.answer(ask)
}

/// What the operations work with.
struct Desk<'c> {
    metrics: &'c Series,
    /// Twelve digits.
    account: &'c str,
}

impl Desk<'_> {
    fn answer(&self, ask: &Ask) -> Answer {
        match ask.operation.name {
            "GetMetricData" => self.data(ask),
            "GetMetricStatistics" => self.statistics(ask),
            "ListMetrics" => self.list(ask),
            "PutMetricData" => self.put(ask),
            _ => Err(ask.unknown()),
        }
    }
}

/// A statistic that aggregates have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stat {
    SampleCount,
    Average,
    Sum,
    Minimum,
    Maximum,
}

impl Stat {
    const ALL: [(&'static str, Self); 5] = [
        ("SampleCount", Self::SampleCount),
        ("Average", Self::Average),
        ("Sum", Self::Sum),
        ("Minimum", Self::Minimum),
        ("Maximum", Self::Maximum),
    ];

    fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|(known, _)| *known == name).map(|(_, stat)| stat)
    }

    fn name(self) -> &'static str {
        Self::ALL[self as usize].0
    }

    fn of(self, point: &Point) -> f64 {
        match self {
            Self::SampleCount => point.count,
            Self::Average => point.average(),
            Self::Sum => point.sum,
            Self::Minimum => point.min,
            Self::Maximum => point.max,
        }
    }
}

/// When a request came, in milliseconds since 1970.
fn now(ask: &Ask) -> i64 {
    ask.now.as_millisecond()
}

/// The name of a series in the request's region: the members of `metric` without its namespace.
fn key(ask: &Ask, namespace: &str, metric: &Structure) -> Key {
    let pair = |dimension: &Structure| {
        let part = |name| dimension.text(name).unwrap_or_default().to_owned();
        (part("Name"), part("Value"))
    };
    let dimensions = Dimensions::new(metric.structures("Dimensions").map(pair));
    let region: Arc<str> = ask.region.as_str().into();
    let name = metric.text("MetricName").unwrap_or_default().to_owned();
    Key::new(&region, namespace.to_owned(), name, &dimensions)
}

/// A unit that a request names, if it does.
fn unit(
    ask: &Ask,
    given: Option<&str>,
    code: &'static str,
    at: &str,
) -> Result<Option<Unit>, ApiError> {
    let Some(name) = given else { return Ok(None) };
    Unit::named(name).map(Some).ok_or_else(|| {
        let names: Vec<&str> = Unit::ALL.iter().map(|unit| unit.name()).collect();
        ask.refuse(code, one_of(at, &names))
    })
}

fn one_of(at: &str, names: &[&str]) -> String {
    format!("The parameter {at} must be a value in the set [ {} ].", names.join(", "))
}

fn both(one: &str, other: &str) -> String {
    format!("The parameters {one} and {other} are mutually exclusive and you have specified both.")
}

/// A period that CloudWatch knows, in seconds.
fn period(ask: &Ask, given: Option<i64>, code: &'static str, at: &str) -> Result<i64, ApiError> {
    match given {
        Some(seconds @ (1 | 5 | 10 | 20 | 30)) => Ok(seconds),
        Some(seconds) if seconds > 0 && seconds % 60 == 0 => Ok(seconds),
        _ => Err(ask.refuse(
            code,
            format!("The parameter {at} must be 1, 5, 10, 20, 30 or a multiple of 60."),
        )),
    }
}

/// The times of a query, in milliseconds since 1970.
fn times(ask: &Ask, code: &'static str) -> Result<(i64, i64), ApiError> {
    let time = |name| ask.input.timestamp(name).map(jiff::Timestamp::as_millisecond);
    match (time("StartTime"), time("EndTime")) {
        (Some(from), Some(to)) if from < to => Ok((from, to)),
        (Some(_), Some(_)) => {
            let what = "The parameter StartTime must be less than the parameter EndTime.";
            Err(ask.refuse(code, what))
        }
        (None, _) => Err(ask.refuse(MISSING, "The parameter StartTime is required.")),
        (_, None) => Err(ask.refuse(MISSING, "The parameter EndTime is required.")),
    }
}

/// A time as answers have it.
fn timestamp(at: i64) -> jiff::Timestamp {
    // A kept time came as a timestamp.
    jiff::Timestamp::from_millisecond(at).unwrap_or_default()
}

/// The refusal of a statistic that is not computed.
fn no_such_stat(ask: &Ask, code: &'static str, name: &str, at: &str) -> ApiError {
    let names = Stat::ALL.map(|(name, _)| name);
    let why = "Tanist keeps no single samples and has no percentiles or trimmed statistics.";
    let known = one_of(at, &names);
    ask.refuse(code, format!("The value {name} for parameter {at} is invalid. {known} {why}"))
}
