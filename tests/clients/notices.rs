//! redis-py and node-redis, which ask every server for notices of what moves.
//!
//! Invariant: the clients are the real ones, as their users configure them.
//!
//! Not here: the notices' bytes (`tanist-proxy`).

use std::path::PathBuf;

use serde_json::Value;
use tanist_lab::{Installation, kill};

use super::beside::Running;

/// A client and its words for each notice.
struct Client {
    program: PathBuf,
    script: &'static str,
    planned: [&'static str; 2],
    sudden: [&'static str; 2],
}

#[test]
fn redis_py_hears_of_what_moves_and_notices_nothing_else() {
    story(&Client {
        program: super::boto3::python(),
        script: "redis_py.py",
        planned: ["NodeMigratingNotification", "NodeMigratedNotification"],
        sudden: ["NodeFailingOverNotification", "NodeFailedOverNotification"],
    });
}

#[test]
fn node_redis_hears_of_what_moves_and_notices_nothing_else() {
    story(&Client {
        program: "node".into(),
        script: "node_redis.mjs",
        planned: ["MIGRATING", "MIGRATED"],
        sudden: ["FAILING_OVER", "FAILED_OVER"],
    });
}

fn story(client: &Client) {
    for engine in ["redis", "valkey"] {
        let installation = Installation::start();
        installation.create("web", &["--engine", engine]);
        let report = beside(client, &installation, || {
            for _ in 0..2 {
                installation.tanist(&["switchover", "web"]).ok();
                installation.available("web");
            }
        });
        assert_eq!(report["errors"], serde_json::json!([]), "{engine}: {report}");
        assert_eq!(report["acknowledged"], report["counted"], "{engine}: {report}");
        assert_pairs(&report, client.planned, 2);
        let report = beside(client, &installation, || {
            let primary = installation.primary("web");
            kill(primary.pid.unwrap_or_else(|| panic!("{primary:?}")));
            installation.wait("another is primary", |installation| {
                let now = installation.shard("web").primary;
                now.is_some_and(|node| node != primary.node).then_some(())
            });
            installation.available("web");
        });
        let errors = report["errors"].as_array().map_or(0, Vec::len);
        let uncertain = report["errors"].to_string().matches("UNCERTAIN").count();
        assert!(errors <= 1 && errors == uncertain, "{engine}: {report}");
        assert_pairs(&report, client.sudden, 1);
    }
}

/// What was heard begins and ends, so many times at least.
fn assert_pairs(report: &Value, pair: [&str; 2], least: usize) {
    let heard = report["heard"].as_array().unwrap_or_else(|| panic!("{report}"));
    let heard: Vec<&str> = heard.iter().filter_map(Value::as_str).collect();
    assert!(heard.len() >= 2 * least && heard.len().is_multiple_of(2), "{report}");
    assert!(heard.chunks(2).all(|heard| heard == pair), "{report}");
}

/// Runs the client while something happens; its report.
fn beside(client: &Client, installation: &Installation, happens: impl FnOnce()) -> Value {
    let running = Running::start(installation, &client.program, client.script, &[]);
    happens();
    let report = running.report();
    let ends = report["socketErrors"].as_array().map_or(0, Vec::len);
    assert_eq!(ends, 0, "its connection has ended: {report}");
    report
}
