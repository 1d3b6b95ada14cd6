//! `PutMetricData`: clients' own measurements.
//!
//! Invariant: nothing of a request is recorded before all of it was found good.
//!
//! Not here: Tanist's own measurements, which come from the controller.

use tanist_telemetry::{Key, Point, Refused, Resolution, Sample, Unit};

use super::{COMBINATION, Desk, MISSING, VALUE};
use crate::error::ApiError;
use crate::service::{Answer, Ask};
use crate::value::{Structure, Value};

/// Metrics of one request.
const MOST_METRICS: usize = 1_000;
/// Values of one metric.
const MOST_VALUES: usize = 150;
const HOUR: i64 = 3_600_000;
/// How far a time may lie ahead and behind, in milliseconds.
const AHEAD: i64 = 2 * HOUR;
const BEHIND: i64 = 14 * 24 * HOUR;

impl Desk<'_> {
    pub(super) fn put(&self, ask: &Ask) -> Answer {
        let namespace = namespace(ask)?;
        let listed = |of: &'_ str, at: usize| format!("{of}MetricData.member.{}", at + 1);
        let mut data: Vec<(String, &Structure)> = ask
            .input
            .structures("MetricData")
            .enumerate()
            .map(|(at, datum)| (listed("", at), datum))
            .collect();
        for (number, entity) in ask.input.structures("EntityMetricData").enumerate() {
            let of = format!("EntityMetricData.member.{}.", number + 1);
            let inner = entity.structures("MetricData").enumerate();
            data.extend(inner.map(|(at, datum)| (listed(&of, at), datum)));
        }
        if data.is_empty() {
            return Err(ask.refuse(MISSING, "The parameter MetricData is required."));
        }
        if data.len() > MOST_METRICS {
            return Err(ask.refuse(VALUE, too_many("MetricData", MOST_METRICS)));
        }
        let samples: Vec<(Key, Sample)> = data
            .iter()
            .map(|(path, datum)| Datum { ask, path, datum }.read(namespace))
            .collect::<Result<_, _>>()?;
        for (name, sample) in &samples {
            let recorded = self.metrics.record(name, sample, super::now(ask));
            recorded.map_err(|refused| match refused {
                Refused::Full => {
                    let what = "There is no room for another metric; see the limits of Tanist.";
                    ask.refuse("LimitExceeded", what)
                }
                Refused::NotFinite => ask.refuse(VALUE, refused),
            })?;
        }
        Ok(Structure::new())
    }
}

fn namespace(ask: &Ask) -> Result<&str, ApiError> {
    let namespace = ask.input.text("Namespace").unwrap_or_default();
    if namespace.starts_with("AWS/") {
        let what = "The value AWS/ for parameter Namespace is invalid.";
        return Err(ask.refuse(VALUE, what));
    }
    if namespace.starts_with(':') || !is_plain(namespace) {
        return Err(ask.refuse(VALUE, invalid(namespace, "Namespace")));
    }
    Ok(namespace)
}

/// ASCII without control characters, and not blank.
fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) && !text.trim().is_empty()
}

fn too_many(at: &str, most: usize) -> String {
    format!("The collection {at} must not have a size greater than {most}.")
}

fn invalid(value: impl std::fmt::Display, at: &str) -> String {
    format!("The value {value} for parameter {at} is invalid.")
}

/// One metric of a request, and where it stands.
struct Datum<'a> {
    ask: &'a Ask,
    path: &'a str,
    datum: &'a Structure,
}

impl Datum<'_> {
    fn read(&self, namespace: &str) -> Result<(Key, Sample), ApiError> {
        let metric = self.datum.text("MetricName").unwrap_or_default();
        if !is_plain(metric) {
            return Err(self.wrong(invalid(metric, &self.at("MetricName"))));
        }
        self.check_dimensions()?;
        let given = self.datum.text("Unit");
        let unit = super::unit(self.ask, given, VALUE, &self.at("Unit"))?.unwrap_or(Unit::None);
        let resolution = match self.datum.integer("StorageResolution") {
            Some(1) => Resolution::Second,
            None | Some(60) => Resolution::Minute,
            Some(other) => {
                return Err(self.wrong(invalid(other, &self.at("StorageResolution"))));
            }
        };
        let sample = Sample { at: self.time()?, point: self.point()?, unit, resolution };
        Ok((super::key(self.ask, namespace, self.datum), sample))
    }

    fn at(&self, name: &str) -> String {
        format!("{}.{name}", self.path)
    }

    fn wrong(&self, what: impl std::fmt::Display) -> ApiError {
        self.ask.refuse(VALUE, what)
    }

    fn check_dimensions(&self) -> Result<(), ApiError> {
        let mut names: Vec<&str> = Vec::new();
        for (number, dimension) in self.datum.structures("Dimensions").enumerate() {
            for part in ["Name", "Value"] {
                let text = dimension.text(part).unwrap_or_default();
                if !is_plain(text) || (part == "Name" && text.starts_with(':')) {
                    let at = self.at(&format!("Dimensions.member.{}.{part}", number + 1));
                    return Err(self.wrong(invalid(text, &at)));
                }
            }
            let name = dimension.text("Name").unwrap_or_default();
            if names.contains(&name) {
                let at = self.at("Dimensions");
                return Err(self.wrong(format!("The parameter {at} has {name} more than once.")));
            }
            names.push(name);
        }
        Ok(())
    }

    fn time(&self) -> Result<i64, ApiError> {
        let now = super::now(self.ask);
        let Some(at) = self.datum.timestamp("Timestamp") else { return Ok(now) };
        let at = at.as_millisecond();
        let limit = if at > now + AHEAD {
            "two hours in the future"
        } else if at < now - BEHIND {
            "two weeks in the past"
        } else {
            return Ok(at);
        };
        let place = self.at("Timestamp");
        Err(self.wrong(format!("The parameter {place} must specify a time no more than {limit}.")))
    }

    fn point(&self) -> Result<Point, ApiError> {
        const FORMS: [&str; 3] = ["Value", "StatisticValues", "Values"];
        let given: Vec<&str> = FORMS
            .into_iter()
            .filter(|form| match self.datum.get(form) {
                Some(Value::List(values)) => !values.is_empty(),
                Some(_) => true,
                None => false,
            })
            .collect();
        if let [one, other, ..] = given[..] {
            let what = super::both(&self.at(one), &self.at(other));
            return Err(self.ask.refuse(COMBINATION, what));
        }
        match given.first() {
            Some(&"Value") => self.number(self.datum.float("Value"), "Value").map(Point::of),
            Some(&"StatisticValues") => self.aggregate(),
            Some(_) => self.values(),
            None => {
                let places = FORMS.map(|form| self.at(form)).join(" or ");
                let what = format!("At least one of the parameters {places} must be specified.");
                Err(self.ask.refuse(MISSING, what))
            }
        }
    }

    /// A number that CloudWatch takes.
    fn number(&self, given: Option<f64>, name: &str) -> Result<f64, ApiError> {
        let most = 2_f64.powi(360);
        match given {
            Some(number) if number.abs() <= most => Ok(number),
            Some(number) => Err(self.wrong(invalid(number, &self.at(name)))),
            None => {
                let what = format!("The parameter {} is required.", self.at(name));
                Err(self.ask.refuse(MISSING, what))
            }
        }
    }

    fn aggregate(&self) -> Result<Point, ApiError> {
        let part = |name: &str| {
            let values = self.datum.structure("StatisticValues");
            let given = values.and_then(|values| values.float(name));
            self.number(given, &format!("StatisticValues.{name}"))
        };
        let (count, sum) = (part("SampleCount")?, part("Sum")?);
        let (min, max) = (part("Minimum")?, part("Maximum")?);
        if count <= 0.0 {
            let at = self.at("StatisticValues.SampleCount");
            return Err(self.wrong(format!("The parameter {at} must be greater than 0.")));
        }
        if max < min {
            let [max, min] =
                ["Maximum", "Minimum"].map(|n| self.at(&format!("StatisticValues.{n}")));
            return Err(self.wrong(format!("The parameter {max} must be greater than {min}.")));
        }
        Ok(Point { count, sum, min, max })
    }

    fn values(&self) -> Result<Point, ApiError> {
        let (values, counts) = (self.datum.items("Values"), self.datum.items("Counts"));
        if values.len() > MOST_VALUES {
            return Err(self.wrong(too_many(&self.at("Values"), MOST_VALUES)));
        }
        if !counts.is_empty() && counts.len() != values.len() {
            let (one, other) = (self.at("Values"), self.at("Counts"));
            let what = format!("The parameters {one} and {other} must be of the same size.");
            return Err(self.wrong(what));
        }
        let mut merged: Option<Point> = None;
        for (number, value) in values.iter().enumerate() {
            let place = |of: &str| format!("{of}.member.{}", number + 1);
            let value = self.number(float(value), &place("Values"))?;
            let count = match counts.get(number) {
                Some(count) => self.number(float(count), &place("Counts"))?,
                None => 1.0,
            };
            if count <= 0.0 {
                return Err(self.wrong(invalid(count, &self.at(&place("Counts")))));
            }
            let point = Point::times(value, count);
            match &mut merged {
                Some(merged) => merged.merge(&point),
                None => merged = Some(point),
            }
        }
        merged.ok_or_else(|| self.wrong(invalid("", &self.at("Values"))))
    }
}

#[expect(clippy::cast_precision_loss, reason = "a double is what the model says")]
fn float(value: &Value) -> Option<f64> {
    match value {
        Value::Float(number) => Some(*number),
        Value::Integer(number) => Some(*number as f64),
        _ => None,
    }
}
