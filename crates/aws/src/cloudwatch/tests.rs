//! CloudWatch as its clients see it: putting metrics and asking for statistics.

mod pages;
mod wire;

use jiff::Timestamp;
use tanist_telemetry::{Limits, Series, Share};

use super::{Desk, OPERATIONS};
use crate::error::ApiError;
use crate::model::{Models, Service};
use crate::service::{Ask, Caller};
use crate::value::{Structure, Value};
use crate::wire::Protocol;

const ACCOUNT: &str = "123456789012";
const REQUEST_ID: &str = "the-request-id";
const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
/// A whole hour.
const NOW: i64 = 500_000 * HOUR;

fn service() -> &'static Service {
    &Models::load().unwrap().cloudwatch
}

fn at(time: i64) -> Timestamp {
    Timestamp::from_millisecond(time).unwrap()
}

fn ask(operation: &str, input: Structure) -> Ask {
    Ask {
        service: service(),
        operation: service().operation(operation).unwrap(),
        protocol: Protocol::Json { query_mode: true },
        input,
        region: "us-east-1".to_owned(),
        caller: Caller { access_key_id: String::new(), arn: String::new() },
        now: at(NOW),
        request_id: REQUEST_ID.to_owned(),
    }
}

fn answered(metrics: &Series, ask: &Ask) -> Result<Structure, ApiError> {
    Desk { metrics, account: ACCOUNT }.answer(ask)
}

fn call(metrics: &Series, operation: &str, input: Structure) -> Result<Structure, ApiError> {
    answered(metrics, &ask(operation, input))
}

/// The code and the message of a refusal.
fn refused(metrics: &Series, operation: &str, input: Structure) -> (String, String) {
    let error = call(metrics, operation, input).unwrap_err();
    assert_eq!(error.status, 400, "{error:?}");
    (error.code.into_owned(), error.message)
}

fn dimensions(pairs: &[(&str, &str)]) -> Value {
    let pair =
        |(name, value): &(&str, &str)| Structure::new().set("Name", *name).set("Value", *value);
    pairs.iter().map(pair).collect()
}

fn datum(name: &str, time: i64, value: f64) -> Structure {
    Structure::new().set("MetricName", name).set("Timestamp", at(time)).set("Value", value)
}

fn put(data: Vec<Structure>) -> Structure {
    Structure::new().set("Namespace", "Mine").list("MetricData", data)
}

fn statistics(name: &str, from: i64, period: i64) -> Structure {
    Structure::new()
        .set("Namespace", "Mine")
        .set("MetricName", name)
        .set("StartTime", at(from))
        .set("EndTime", at(NOW + HOUR))
        .set("Period", period)
        .list("Statistics", ["Sum", "Average"])
}

/// Sums by minutes before now.
fn sums(answer: &Structure) -> Vec<(i64, f64)> {
    let points = answer.structures("Datapoints");
    let sum = |point: &Structure| {
        let time = point.timestamp("Timestamp").unwrap().as_millisecond();
        ((NOW - time) / MINUTE, point.float("Sum").unwrap())
    };
    points.map(sum).collect()
}

#[test]
fn every_operation_is_one_of_the_model() {
    for name in OPERATIONS {
        let operation = service().operation(name).unwrap();
        let answer = call(&Series::default(), operation.name, Structure::new());
        assert!(answer.err().is_none_or(|error| error.code != "InvalidAction"), "{name}");
    }
    let alarms = call(&Series::default(), "DescribeAlarms", Structure::new()).unwrap_err();
    assert_eq!(alarms.code, "InvalidAction");
}

#[test]
fn what_was_put_is_found_by_period_and_unit() {
    let metrics = Series::default();
    let data = vec![
        datum("m", NOW - 5 * MINUTE, 1.0),
        datum("m", NOW - 5 * MINUTE + 59_000, 2.0),
        datum("m", NOW - 4 * MINUTE, 4.0),
        datum("m", NOW - 4 * MINUTE, 8.0).set("Unit", "Bytes"),
        datum("other", NOW, 9.0),
    ];
    call(&metrics, "PutMetricData", put(data)).unwrap();
    let found = |input| call(&metrics, "GetMetricStatistics", input).unwrap();
    let by_minute = found(statistics("m", NOW - 10 * MINUTE, 60).set("Unit", "None"));
    assert_eq!(sums(&by_minute), [(5, 3.0), (4, 4.0)]);
    assert_eq!(by_minute.text("Label"), Some("m"));
    let first = by_minute.structures("Datapoints").next().unwrap();
    assert_eq!((first.float("Average"), first.text("Unit")), (Some(1.5), Some("None")));
    assert!(!first.has("Minimum"));
    assert_eq!(sums(&found(statistics("m", NOW - 10 * MINUTE, 300))), [(5, 7.0), (5, 8.0)]);
    assert_eq!(sums(&found(statistics("m", NOW - HOUR, 60).set("Unit", "Bytes"))), [(4, 8.0)]);
    assert!(sums(&found(statistics("m", NOW - HOUR, 60).set("Unit", "Percent"))).is_empty());
    assert!(sums(&found(statistics("none", NOW - HOUR, 60))).is_empty());
    // Not of high resolution: nothing shorter than a minute.
    assert!(sums(&found(statistics("other", NOW - MINUTE, 30))).is_empty());
}

#[test]
fn seconds_are_found_where_they_were_asked_to_be_kept() {
    let metrics = Series::default();
    let fine = |time, value| datum("m", time, value).set("StorageResolution", 1);
    let data = vec![fine(NOW - 4_000, 1.0), fine(NOW - 2_000, 2.0), fine(NOW - 1_000, 3.0)];
    call(&metrics, "PutMetricData", put(data)).unwrap();
    let window = |period| {
        let answer = call(&metrics, "GetMetricStatistics", statistics("m", NOW - 7_000, period));
        let points = answer.unwrap();
        let point = |point: &Structure| {
            let time = point.timestamp("Timestamp").unwrap().as_millisecond();
            ((NOW - time) / 1_000, point.float("Sum").unwrap())
        };
        points.structures("Datapoints").map(point).collect::<Vec<_>>()
    };
    let by_second = call(
        &metrics,
        "GetMetricStatistics",
        statistics("m", NOW - 7_000, 1).set("EndTime", at(NOW)),
    );
    assert_eq!(by_second.unwrap().structures("Datapoints").count(), 3);
    assert_eq!(window(5), [(5, 6.0)]);
    assert_eq!(window(30), [(30, 6.0)]);
}

#[test]
fn times_of_two_weeks_ago_are_found_by_the_hour() {
    let metrics = Series::default();
    let time = NOW - 14 * 24 * HOUR + MINUTE;
    call(&metrics, "PutMetricData", put(vec![datum("m", time, 1.0)])).unwrap();
    let answer = call(&metrics, "GetMetricStatistics", statistics("m", time, 3_600)).unwrap();
    assert_eq!(sums(&answer), [(14 * 24 * 60, 1.0)]);
}

#[test]
fn sets_and_values_with_counts_are_put() {
    let metrics = Series::default();
    let set = Structure::new()
        .set("SampleCount", 4.0)
        .set("Sum", 10.0)
        .set("Minimum", 1.0)
        .set("Maximum", 5.0);
    let base = || Structure::new().set("MetricName", "m").set("Timestamp", at(NOW));
    let values = base().list("Values", [2.0, 7.0]).list("Counts", [3.0, 1.0]);
    let plain = base().list("Values", [0.5]);
    call(&metrics, "PutMetricData", put(vec![base().set("StatisticValues", set), values, plain]))
        .unwrap();
    let stats = ["SampleCount", "Average", "Sum", "Minimum", "Maximum"];
    let input = statistics("m", NOW - MINUTE, 60).list("Statistics", stats);
    let answer = call(&metrics, "GetMetricStatistics", input).unwrap();
    let point = answer.structures("Datapoints").next().unwrap();
    let found = stats.map(|stat| point.float(stat).unwrap());
    assert_eq!(found, [9.0, 23.5 / 9.0, 23.5, 0.5, 7.0]);
}

#[test]
fn too_many_datapoints_are_refused_in_the_words_of_aws() {
    let metrics = Series::default();
    let asked = |seconds: i64| statistics("m", NOW, 60).set("EndTime", at(NOW + seconds * 1_000));
    let (code, message) = refused(&metrics, "GetMetricStatistics", asked(1_000_000));
    assert_eq!(code, "InvalidParameterCombination");
    assert_eq!(
        message,
        "You have requested up to 16,666 datapoints, which exceeds the limit of 1,440. You may \
         reduce the datapoints requested by increasing Period, or decreasing the time range."
    );
    assert!(call(&metrics, "GetMetricStatistics", asked(1_440 * 60)).is_ok());
    assert_eq!(refused(&metrics, "GetMetricStatistics", asked(1_441 * 60)).0, code);
}

#[test]
fn statistics_that_cannot_be_had_are_refused() {
    let metrics = Series::default();
    let base = || statistics("m", NOW - HOUR, 60);
    let none = || Structure::new().set("Namespace", "N").set("MetricName", "m");
    let times = |input: Structure| {
        input.set("StartTime", at(NOW)).set("EndTime", at(NOW + 1)).set("Period", 60)
    };
    for (input, code, part) in [
        (times(none()), "InvalidParameterCombination", "Must specify either Statistics or"),
        (base().list("ExtendedStatistics", ["p90"]), "InvalidParameterCombination", "not both"),
        (
            times(none()).list("ExtendedStatistics", ["p90"]),
            "InvalidParameterValue",
            "The value p90 for parameter ExtendedStatistics.member.1 is invalid.",
        ),
        (
            base().list("Statistics", ["Sum", "Median"]),
            "InvalidParameterValue",
            "The parameter Statistics.member.2 must be a value in the set [ SampleCount, Average,",
        ),
        (base().set("EndTime", at(NOW - HOUR)), "InvalidParameterValue", "StartTime must be less"),
        (base().set("Period", 61), "InvalidParameterValue", "The parameter Period must be 1, 5"),
        (base().set("Period", 0), "InvalidParameterValue", "The parameter Period must be 1, 5"),
        (base().set("Unit", "Apples"), "InvalidParameterValue", "The parameter Unit must be a"),
    ] {
        let (found, message) = refused(&metrics, "GetMetricStatistics", input);
        assert_eq!(found, code, "{message}");
        assert!(message.contains(part), "{message}");
    }
}

/// Refusals of one metric: how it is wrong, the code, and a part of the message.
fn bad_data() -> Vec<(Structure, &'static str, &'static str)> {
    const VALUE: &str = "InvalidParameterValue";
    const BOTH: &str = "InvalidParameterCombination";
    let good = || datum("m", NOW, 1.0);
    let without = || Structure::new().set("MetricName", "m");
    let set = |max: f64, count: f64| {
        Structure::new()
            .set("SampleCount", count)
            .set("Sum", 1.0)
            .set("Minimum", 1.0)
            .set("Maximum", max)
    };
    let many = |count: usize| without().list("Values", (0..count).map(|value| value as f64));
    vec![
        (datum("m", NOW, f64::NAN), VALUE, "The value NaN for parameter MetricData.member.2.Value"),
        (datum("m", NOW, 1e200), VALUE, "for parameter MetricData.member.2.Value is invalid."),
        (good().set("MetricName", " "), VALUE, "MetricData.member.2.MetricName is invalid."),
        (datum("m", NOW + 2 * HOUR + 1, 1.0), VALUE, "no more than two hours in the future"),
        (datum("m", NOW - 336 * HOUR - 1, 1.0), VALUE, "no more than two weeks in the past"),
        (good().set("Unit", "bytes"), VALUE, "MetricData.member.2.Unit must be a value in the set"),
        (good().set("StorageResolution", 5), VALUE, "The value 5 for parameter"),
        (without(), "MissingParameter", "At least one of the parameters"),
        (
            good().list("Values", [1.0]),
            BOTH,
            "The parameters MetricData.member.2.Value and MetricData.member.2.Values are mutually \
             exclusive and you have specified both.",
        ),
        (good().set("StatisticValues", set(1.0, 1.0)), BOTH, "mutually exclusive"),
        (without().set("StatisticValues", set(0.0, 1.0)), VALUE, "must be greater than"),
        (without().set("StatisticValues", set(1.0, 0.0)), VALUE, "must be greater than 0"),
        (
            many(2).list("Counts", [1.0]),
            VALUE,
            "The parameters MetricData.member.2.Values and MetricData.member.2.Counts must be of \
             the same size.",
        ),
        (many(1).list("Counts", [-1.0]), VALUE, "The value -1 for parameter"),
        (many(151), VALUE, "MetricData.member.2.Values must not have a size greater than 150."),
        (good().set("Dimensions", dimensions(&[(":a", "b")])), VALUE, "Dimensions.member.1.Name"),
        (good().set("Dimensions", dimensions(&[("a", "ä")])), VALUE, "Dimensions.member.1.Value"),
        (
            good().set("Dimensions", dimensions(&[("a", "1"), ("a", "2")])),
            VALUE,
            "a more than once",
        ),
    ]
}

#[test]
fn nothing_of_a_bad_request_is_recorded() {
    let metrics = Series::default();
    for (bad, code, part) in bad_data() {
        let input = put(vec![datum("good", NOW, 1.0), bad]);
        let (found, message) = refused(&metrics, "PutMetricData", input);
        assert_eq!(found, code, "{message}");
        assert!(message.contains(part), "{message}");
    }
    let many = |count: usize| put((0..count).map(|_| datum("m", NOW, 1.0)).collect());
    for (input, code, part) in [
        (many(0), "MissingParameter", "The parameter MetricData is required."),
        (
            many(1_001),
            "InvalidParameterValue",
            "The collection MetricData must not have a size greater than 1000.",
        ),
        (
            many(1).set("Namespace", "AWS/ElastiCache"),
            "InvalidParameterValue",
            "The value AWS/ for parameter Namespace is invalid.",
        ),
        (many(1).set("Namespace", ":x"), "InvalidParameterValue", "The value :x for parameter"),
    ] {
        let (found, message) = refused(&metrics, "PutMetricData", input);
        assert_eq!((found.as_str(), message.contains(part)), (code, true), "{message}");
    }
    assert_eq!(metrics.usage().series, 0);
    call(&metrics, "PutMetricData", many(1_000)).unwrap();
    let entity = Structure::new().list("MetricData", [datum("of an entity", NOW, 1.0)]);
    let input = Structure::new().set("Namespace", "Mine").list("EntityMetricData", [entity]);
    call(&metrics, "PutMetricData", input).unwrap();
    assert_eq!(metrics.usage().series, 2);
}

#[test]
fn there_is_not_always_room_for_another_metric() {
    let clients = Share { series: 3, ..Limits::DEFAULT.clients };
    let metrics = Series::new(Limits { clients, ..Limits::DEFAULT });
    let data = ["a", "b", "c"].map(|name| datum(name, NOW, 1.0));
    call(&metrics, "PutMetricData", put(data.to_vec())).unwrap();
    let (code, message) = refused(&metrics, "PutMetricData", put(vec![datum("d", NOW, 1.0)]));
    assert_eq!(code, "LimitExceeded", "{message}");
}

#[test]
fn a_region_sees_its_own_metrics_alone() {
    let metrics = Series::default();
    call(&metrics, "PutMetricData", put(vec![datum("m", NOW, 1.0)])).unwrap();
    let elsewhere = |operation, input| {
        let ask = Ask { region: "eu-west-1".to_owned(), ..ask(operation, input) };
        answered(&metrics, &ask).unwrap()
    };
    assert!(elsewhere("ListMetrics", Structure::new()).items("Metrics").is_empty());
    let found = elsewhere("GetMetricStatistics", statistics("m", NOW - HOUR, 60));
    assert!(sums(&found).is_empty());
}
