//! What comes page by page: data of many metrics, and the list of metrics.

use tanist_telemetry::Series;

use super::*;

fn query(id: &str, metric: &str) -> Structure {
    let metric = Structure::new().set("Namespace", "Mine").set("MetricName", metric);
    let stat = Structure::new().set("Metric", metric).set("Period", 60).set("Stat", "Sum");
    Structure::new().set("Id", id).set("MetricStat", stat)
}

fn data(queries: Vec<Structure>) -> Structure {
    Structure::new()
        .list("MetricDataQueries", queries)
        .set("StartTime", at(NOW - HOUR))
        .set("EndTime", at(NOW))
}

/// Id, minutes before now and value of every datapoint, page after page.
fn pages(metrics: &Series, input: &Structure) -> Vec<(String, i64, f64)> {
    let mut found = Vec::new();
    let mut asked = input.clone();
    loop {
        let answer = call(metrics, "GetMetricData", asked).unwrap();
        let mut size = 0;
        for result in answer.structures("MetricDataResults") {
            let id = result.text("Id").unwrap();
            for (time, value) in result.items("Timestamps").iter().zip(result.items("Values")) {
                let (Value::Timestamp(time), Value::Float(value)) = (time, value) else {
                    panic!("{result:?}")
                };
                size += 1;
                found.push((id.to_owned(), (NOW - time.as_millisecond()) / MINUTE, *value));
            }
        }
        assert!(input.integer("MaxDatapoints").is_none_or(|most| size <= most));
        match answer.text("NextToken") {
            Some(token) => asked = input.clone().set("NextToken", token),
            None => return found,
        }
    }
}

#[test]
fn pages_of_data_hold_every_datapoint_once() {
    let metrics = Series::default();
    let sample = |name, minute: i64| datum(name, NOW - minute * MINUTE, minute as f64);
    let samples = [("x", 3), ("x", 2), ("x", 1), ("y", 5), ("z", 2), ("z", 1)];
    let samples = samples.map(|(name, minute)| sample(name, minute));
    call(&metrics, "PutMetricData", put(samples.to_vec())).unwrap();
    let queries = || {
        let hidden = query("hidden", "y").set("ReturnData", false);
        vec![query("x", "x"), query("none", "none"), hidden, query("z", "z"), query("y", "y")]
    };
    let order = |minutes: [i64; 6]| {
        let ids = ["x", "x", "x", "z", "z", "y"];
        let pairs = ids.into_iter().zip(minutes);
        pairs.map(|(id, minute)| (id.to_owned(), minute, minute as f64)).collect::<Vec<_>>()
    };
    for size in 1..8 {
        let input = data(queries()).set("MaxDatapoints", size);
        assert_eq!(pages(&metrics, &input), order([1, 2, 3, 1, 2, 5]), "newest first");
        let input = input.set("ScanBy", "TimestampAscending");
        assert_eq!(pages(&metrics, &input), order([3, 2, 1, 2, 1, 5]));
    }
    let answer = call(&metrics, "GetMetricData", data(queries())).unwrap();
    let results: Vec<_> = answer
        .structures("MetricDataResults")
        .map(|result| ["Id", "Label", "StatusCode"].map(|name| result.text(name).unwrap()))
        .collect();
    assert_eq!(results.len(), 4);
    assert_eq!(results[1], ["none", "none", "Complete"]);
}

#[test]
fn a_token_holds_for_its_own_request_alone() {
    let metrics = Series::default();
    let samples = [1, 2].map(|minute| datum("x", NOW - minute * MINUTE, 1.0));
    call(&metrics, "PutMetricData", put(samples.to_vec())).unwrap();
    let input = data(vec![query("x", "x")]).set("MaxDatapoints", 1);
    let answer = call(&metrics, "GetMetricData", input.clone()).unwrap();
    assert_eq!(
        answer.structures("MetricDataResults").next().unwrap().text("StatusCode"),
        Some("PartialData")
    );
    let token = answer.text("NextToken").unwrap();
    let other = data(vec![query("x", "y")]).set("NextToken", token);
    assert_eq!(refused(&metrics, "GetMetricData", other).0, "InvalidNextToken");
    for bad in ["", "x", "7b7d", &token[2..]] {
        let input = input.clone().set("NextToken", bad);
        assert_eq!(refused(&metrics, "GetMetricData", input).0, "InvalidNextToken", "{bad}");
        let input = Structure::new().set("NextToken", bad);
        assert_eq!(refused(&metrics, "ListMetrics", input).0, "InvalidNextToken", "{bad}");
    }
}

#[test]
fn queries_that_cannot_be_answered_are_refused() {
    let metrics = Series::default();
    let expression = Structure::new().set("Id", "e").set("Expression", "a + b");
    let with = |change: fn(Structure) -> Structure| {
        let query = query("a", "m");
        let stat = change(query.structure("MetricStat").unwrap().clone());
        query.set("MetricStat", stat)
    };
    for (queries, part) in [
        (vec![], "The parameter MetricDataQueries is required."),
        (vec![expression.clone()], "metric math and Metrics Insights are not offered"),
        (vec![query("a", "m").set("Expression", "a")], "member.1.Expression and MetricDataQueries"),
        (
            vec![query("a", "m").set("Period", 60)],
            "The parameters MetricDataQueries.member.1.Period and \
             MetricDataQueries.member.1.MetricStat are mutually exclusive and you have specified \
             both.",
        ),
        (vec![Structure::new().set("Id", "e")], "is required"),
        (vec![query("a", "m"), query("a", "n")], "are not unique"),
        (vec![query("A", "m")], "The value A for parameter MetricDataQueries.member.1.Id"),
        (vec![with(|stat| stat.set("Stat", "p99"))], "The value p99 for parameter"),
        (vec![with(|stat| stat.set("Period", 7))], "MetricStat.Period must be"),
        (vec![with(|stat| stat.set("Unit", "x"))], "MetricStat.Unit must be a value in"),
        (vec![with(|stat| stat.set("Metric", Structure::new()))], "Metric.Namespace is required"),
        (vec![query("a", "m").set("AccountId", "1")], "AccountId is not the account"),
        ((0..501).map(|n| query(&format!("a{n}"), "m")).collect(), "size greater than 500"),
    ] {
        let (code, message) = refused(&metrics, "GetMetricData", data(queries));
        assert_eq!((code.as_str(), message.contains(part)), ("ValidationError", true), "{message}");
    }
    let base = || data(vec![query("a", "m")]);
    for input in [
        base().set("MaxDatapoints", 0),
        base().set("MaxDatapoints", 100_801),
        base().set("ScanBy", "Random"),
        base().set("EndTime", at(NOW - HOUR)),
    ] {
        assert_eq!(refused(&metrics, "GetMetricData", input).0, "ValidationError");
    }
}

#[test]
fn metrics_are_listed_as_they_are_asked_for() {
    let metrics = Series::default();
    let many: Vec<Structure> =
        (0..1_000).map(|number| datum(&format!("m{number:04}"), NOW - 4 * HOUR, 1.0)).collect();
    call(&metrics, "PutMetricData", put(many)).unwrap();
    let of = |pairs| datum("d", NOW, 1.0).set("Dimensions", dimensions(pairs));
    let more = vec![of(&[("a", "1")]), of(&[("b", "2"), ("a", "2")])];
    call(&metrics, "PutMetricData", put(more).set("Namespace", "Other")).unwrap();
    let list = |input: Structure| {
        let mut sizes = Vec::new();
        let mut names = Vec::new();
        let mut asked = input.clone();
        loop {
            let answer = call(&metrics, "ListMetrics", asked).unwrap();
            sizes.push(answer.items("Metrics").len());
            names.extend(
                answer.structures("Metrics").map(|m| m.text("MetricName").unwrap().to_owned()),
            );
            match answer.text("NextToken") {
                Some(token) => asked = input.clone().set("NextToken", token),
                None => return (sizes, names),
            }
        }
    };
    let (sizes, names) = list(Structure::new());
    assert_eq!(sizes, [500, 500, 2]);
    assert!(names[..1_000].is_sorted() && names[0] == "m0000" && names[999] == "m0999");
    assert_eq!(list(Structure::new().set("Namespace", "Mine")).0, [500, 500]);
    assert_eq!(list(Structure::new().set("MetricName", "m0007")).1, ["m0007"]);
    assert_eq!(list(Structure::new().set("RecentlyActive", "PT3H")).1, ["d", "d"]);
    let filter = |filter: Structure| list(Structure::new().list("Dimensions", [filter])).1.len();
    let by = |name: &str| Structure::new().set("Name", name);
    assert_eq!([filter(by("a")), filter(by("b")), filter(by("c"))], [2, 1, 0]);
    assert_eq!(filter(by("a").set("Value", "1")), 1);
    let two = call(&metrics, "ListMetrics", Structure::new().set("Namespace", "Other")).unwrap();
    let last = two.structures("Metrics").nth(1).unwrap();
    let names: Vec<_> = last.structures("Dimensions").map(|d| d.text("Name").unwrap()).collect();
    assert_eq!(names, ["a", "b"], "{last:?}");
    let recently = Structure::new().set("RecentlyActive", "PT4H");
    assert_eq!(refused(&metrics, "ListMetrics", recently).0, "InvalidParameterValue");
    let linked = Structure::new().set("IncludeLinkedAccounts", true).set("Namespace", "Other");
    let answer = call(&metrics, "ListMetrics", linked.clone()).unwrap();
    assert_eq!(answer.texts("OwningAccounts").collect::<Vec<_>>(), [ACCOUNT; 2]);
    let foreign = call(&metrics, "ListMetrics", linked.set("OwningAccount", "1")).unwrap();
    assert!(foreign.items("Metrics").is_empty());
}
