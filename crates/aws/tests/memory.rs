//! No request needs much memory. Alone in its binary: the peak is the whole process's.

use std::fs;

use http::HeaderMap;
use tanist_aws::model::Models;
use tanist_aws::request::{MAX_BODY_BYTES, Request};
use tanist_aws::wire::{Protocol, decode};

const LIMIT_KIB: u64 = 8 * 1024;

/// A line of this process's status, in KiB.
fn status(name: &str) -> u64 {
    let text = fs::read_to_string("/proc/self/status").expect("the kernel tells");
    let line = text.lines().find_map(|line| line.strip_prefix(name)).expect("the kernel tells");
    line.trim_start_matches(':').trim().trim_end_matches(" kB").parse().expect("the kernel tells")
}

/// As much of `part` as a body may have, with the number of each part in place of `#`.
fn body(start: &str, part: &str, end: &str) -> Vec<u8> {
    let mut text = start.to_owned();
    let mut at = 0;
    loop {
        at += 1;
        let next = part.replace('#', &at.to_string());
        if text.len() + next.len() + end.len() > MAX_BODY_BYTES {
            text += end;
            return text.into_bytes();
        }
        text += &next;
    }
}

/// So many parts and no more.
fn few(count: usize, start: &str, part: &str, end: &str) -> Vec<u8> {
    let parts = (1..=count).map(|at| part.replace('#', &at.to_string()));
    format!("{start}{}{end}", parts.collect::<String>()).into_bytes()
}

const METRIC: &str = r#"{"MetricName":"abcdef","Values":[1,2],"Dimensions":[{"Name":"a"}]},"#;

/// The most costly values for their size: structures with one short text.
fn metric_with_dimensions(count: usize) -> String {
    let dimensions = vec![r#"{"Name":"a"}"#; count].join(",");
    format!(r#"{{"Dimensions":[{dimensions}]}},"#)
}

fn large_bodies() -> Vec<(Protocol, Vec<u8>)> {
    let json = Protocol::Json { query_mode: true };
    let put = "Action=PutMetricData&Version=2010-08-01&Namespace=a";
    let data = "{\"Namespace\":\"a\",\"MetricData\":[";
    vec![
        (Protocol::Query, vec![b'&'; MAX_BODY_BYTES]),
        (Protocol::Query, body(put, "&a", "")),
        (Protocol::Query, body(put, "&MetricData.member.#.MetricName=a", "")),
        (Protocol::Query, body(put, "&MetricData.member.#.Value=1", "")),
        (Protocol::Query, body(put, "&MetricData.member.1.Values.member.#=1", "")),
        (Protocol::Query, body(put, ".a", "=1")),
        (Protocol::Query, body(put, "%41", "=1")),
        (Protocol::Query, body(put, "+", "=1")),
        (Protocol::Query, [put.as_bytes(), b"&MetricData.member.999999999.Value=1"].concat()),
        (json, body(data, "[],", "[]]}")),
        (json, body(data, "{},", "{}]}")),
        (json, body(data, "{\"MetricName\":\"\"},", "{}]}")),
        (json, body(data, "{\"Dimensions\":[]},", "{}]}")),
        (json, body(&format!("{data}{{\"Values\":["), "0,", "0]}]}")),
        (json, body(&format!("{data}{{\"Values\":[0]}}"), ",{\"Values\":[0,0,0,0,0]}", "]}")),
        (json, body("{\"Namespace\":\"", "\\u00e4", "\"}")),
        (json, body("{\"Unknown\":", "[", "")),
        (json, body("{\"Unknown\":[", "{\"a#\":1},", "0]}")),
        (json, body("{", "\"a#\":1,", "\"a\":1}")),
        (
            Protocol::Query,
            few(9_997, put, "&MetricData.member.#.MetricName=abcdefghijklmnopqrstuvwxyz", ""),
        ),
        (Protocol::Query, few(9_997, put, "&MetricData.member.#.Values.member.1=1", "")),
        (json, few(9_900, data, METRIC, "{}]}")),
        (json, few(2_000, data, &metric_with_dimensions(15), "{}]}")),
        (json, few(9, data, &metric_with_dimensions(3_300), "{}]}")),
    ]
}

#[test]
fn no_body_needs_eight_mebibytes() {
    let models = Models::load().unwrap();
    let bodies = large_bodies();
    let mut headers = HeaderMap::new();
    let target = "GraniteServiceVersion20100801.PutMetricData";
    headers.insert("x-amz-target", target.parse().unwrap());
    let before = status("VmRSS");
    // This sets the peak back to what is used now.
    fs::write("/proc/self/clear_refs", "5").unwrap();
    for (at, (protocol, body)) in bodies.iter().enumerate() {
        let request = Request { method: "POST", path: "/", query: "", headers: &headers, body };
        let answer = decode(*protocol, &models.cloudwatch, &request).map(|call| call.input.len());
        let peak = status("VmHWM").saturating_sub(before);
        assert!(peak < LIMIT_KIB, "body {at}: {peak} KiB, {answer:?}");
    }
    // It measures: the largest bodies leave a trace.
    assert!(status("VmHWM").saturating_sub(before) > 1024);
}
