//! `GetMetricData`: one statistic each of many metrics, page by page.
//!
//! Queries are answered one after the other. A page ends when it is full; the next one goes on with
//! the query and the time where it ended, so that new samples meanwhile neither repeat nor hide any.
//!
//! Invariant: a page has at most `MaxDatapoints` datapoints, and never more than [`MOST_POINTS`].
//!
//! Not here: metric math and Metrics Insights, which are refused.

use std::collections::{BTreeMap, BTreeSet};

use tanist_telemetry::{Key, Point, Unit, Window};

use super::{Desk, Stat, VALIDATION, token};
use crate::error::ApiError;
use crate::service::{Answer, Ask};
use crate::value::Structure;

/// Queries of one request.
const MOST_QUERIES: usize = 500;
/// Datapoints of one page.
const MOST_POINTS: usize = 100_800;

/// The query that the page begins in, and the time of the last datapoint before it.
type Place = (usize, Option<i64>);

/// One query.
struct Query<'a> {
    id: &'a str,
    label: &'a str,
    name: Key,
    window: Window,
    stat: Stat,
    unit: Option<Unit>,
    /// Its data are asked for.
    shown: bool,
}

impl Desk<'_> {
    pub(super) fn data(&self, ask: &Ask) -> Answer {
        let queries = self.queries(ask)?;
        let descending = match ask.input.text("ScanBy") {
            None | Some("TimestampDescending") => true,
            Some("TimestampAscending") => false,
            Some(_) => {
                let names = ["TimestampDescending", "TimestampAscending"];
                return Err(ask.refuse(VALIDATION, super::one_of("ScanBy", &names)));
            }
        };
        let mut left = most_points(ask)?;
        let (first, mut after) = token::read::<Place>(ask)?.unwrap_or_default();
        let mut results = Vec::new();
        let mut next: Option<Place> = None;
        for (at, query) in queries.iter().enumerate().skip(first) {
            if !query.shown {
                continue;
            }
            if left == 0 {
                next = Some((at, None));
                break;
            }
            let mut points = self.points(query, descending, after.take());
            let partial = points.len() > left;
            points.truncate(left);
            left -= points.len();
            results.push(result(query, &points, partial));
            if partial {
                next = Some((at, points.last().map(|(at, _)| *at)));
                break;
            }
        }
        let next = next.and_then(|place| token::write(ask, place));
        Ok(Structure::new().list("MetricDataResults", results).maybe("NextToken", next))
    }

    /// The query's datapoints behind the time `after`, in the order asked for.
    fn points(&self, query: &Query<'_>, descending: bool, after: Option<i64>) -> Vec<(i64, f64)> {
        let found = self.metrics.statistics(&query.name, &query.window);
        let wanted = found.iter().filter(|(of, _)| query.unit.is_none_or(|unit| unit == *of));
        let mut periods: BTreeMap<i64, Point> = BTreeMap::new();
        for point in wanted.flat_map(|(_, points)| points) {
            let known = periods.entry(point.at);
            known.and_modify(|known| known.merge(&point.point)).or_insert(point.point);
        }
        let value = |(at, point): (i64, Point)| (at, query.stat.of(&point));
        let periods = periods.into_iter().map(value);
        let behind = |(at, _): &(i64, f64)| match after {
            Some(after) if descending => *at < after,
            Some(after) => *at > after,
            None => true,
        };
        if descending {
            periods.rev().filter(behind).collect()
        } else {
            periods.filter(behind).collect()
        }
    }

    fn queries<'a>(&self, ask: &'a Ask) -> Result<Vec<Query<'a>>, ApiError> {
        let asked: Vec<&Structure> = ask.input.structures("MetricDataQueries").collect();
        let wrong = |what: &str| Err(ask.refuse(VALIDATION, what));
        if asked.is_empty() {
            return wrong("The parameter MetricDataQueries is required.");
        }
        if asked.len() > MOST_QUERIES {
            return wrong(
                "The collection MetricDataQueries must not have a size greater than 500.",
            );
        }
        let times = super::times(ask, VALIDATION)?;
        let read = |(at, query): (usize, &&'a Structure)| {
            let path = format!("MetricDataQueries.member.{}", at + 1);
            self.query(ask, query, &path, times)
        };
        let queries: Vec<Query<'a>> =
            asked.iter().enumerate().map(read).collect::<Result<_, _>>()?;
        let ids: BTreeSet<&str> = queries.iter().map(|query| query.id).collect();
        if ids.len() < queries.len() {
            return wrong("The values for parameter id in MetricDataQueries are not unique.");
        }
        Ok(queries)
    }

    fn query<'a>(
        &self,
        ask: &'a Ask,
        query: &'a Structure,
        path: &str,
        (from, to): (i64, i64),
    ) -> Result<Query<'a>, ApiError> {
        let wrong = |what: String| ask.refuse(VALIDATION, what);
        let id = query.text("Id").unwrap_or_default();
        if !is_id(id) {
            let rule = "begin with a lower-case letter and have letters, digits and underscores";
            return Err(wrong(format!("The value {id} for parameter {path}.Id must {rule}.")));
        }
        let place = |name: &str| format!("{path}.{name}");
        let Some(wanted) = query.structure("MetricStat") else {
            return Err(wrong(match query.text("Expression") {
                Some(_) => format!(
                    "{path}.Expression: metric math and Metrics Insights are not offered by \
                     Tanist; specify MetricStat."
                ),
                None => format!("Either {path}.Expression or {path}.MetricStat is required."),
            }));
        };
        for name in ["Expression", "Period"] {
            if query.has(name) {
                return Err(wrong(super::both(&place(name), &place("MetricStat"))));
            }
        }
        if query.text("AccountId").is_some_and(|account| account != self.account) {
            return Err(wrong(format!(
                "{path}.AccountId is not the account of this installation."
            )));
        }
        let path = place("MetricStat");
        let at = format!("{path}.Stat");
        let stat = wanted.text("Stat").unwrap_or_default();
        let stat =
            Stat::named(stat).ok_or_else(|| super::no_such_stat(ask, VALIDATION, stat, &at))?;
        let at = format!("{path}.Period");
        let period = super::period(ask, wanted.integer("Period"), VALIDATION, &at)?;
        let unit = super::unit(ask, wanted.text("Unit"), VALIDATION, &format!("{path}.Unit"))?;
        let metric = wanted.structure("Metric");
        let part = |name| {
            let found = metric.and_then(|metric| metric.text(name));
            found.ok_or_else(|| wrong(format!("The parameter {path}.Metric.{name} is required.")))
        };
        let (namespace, name) = (part("Namespace")?, part("MetricName")?);
        let empty = Structure::new();
        Ok(Query {
            id,
            label: query.text("Label").unwrap_or(name),
            name: super::key(ask, namespace, metric.unwrap_or(&empty)),
            window: Window::new(from, to, period, super::now(ask)),
            stat,
            unit,
            shown: query.flag("ReturnData").unwrap_or(true),
        })
    }
}

fn most_points(ask: &Ask) -> Result<usize, ApiError> {
    match ask.input.integer("MaxDatapoints").map(usize::try_from) {
        None => Ok(MOST_POINTS),
        Some(Ok(most @ 1..=MOST_POINTS)) => Ok(most),
        Some(_) => {
            let what = format!("The parameter MaxDatapoints must be between 1 and {MOST_POINTS}.");
            Err(ask.refuse(VALIDATION, what))
        }
    }
}

fn is_id(id: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    id.starts_with(|first: char| first.is_ascii_lowercase()) && id.bytes().all(plain)
}

fn result(query: &Query<'_>, points: &[(i64, f64)], partial: bool) -> Structure {
    Structure::new()
        .set("Id", query.id)
        .set("Label", query.label)
        .list("Timestamps", points.iter().map(|(at, _)| super::timestamp(*at)))
        .list("Values", points.iter().map(|(_, value)| *value))
        .set("StatusCode", if partial { "PartialData" } else { "Complete" })
}
