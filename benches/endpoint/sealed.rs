//! What encryption costs: Tanist's endpoint beside HAProxy, both of which end TLS before one engine.
//!
//! Invariant: as in `super::hop`; both show a certificate with a P-256 key.
//!
//! Not here: handshakes, which clients make once.

use std::collections::BTreeMap;

use tanist_bench::{Row, setting};

use super::load::{Measured, Shape, mean, median, run_with};
use super::peers::{Sealed, Target};

fn shapes() -> Vec<Shape> {
    let mut all = Vec::new();
    for bytes in [64, 4096] {
        for pipeline in [1, 16] {
            // What is read has to be there.
            for command in ["set", "get"] {
                all.push(Shape { command, connections: 50, pipeline, bytes });
            }
        }
    }
    all
}

/// The part `tls`.
pub(crate) fn sealed() -> Vec<Row> {
    let peers = Sealed::start();
    let (rounds, requests) =
        (setting("TANIST_BENCH_ROUNDS", 7), setting("TANIST_BENCH_REQUESTS", 100_000));
    let mut found: BTreeMap<(&'static str, Shape), Vec<Measured>> = BTreeMap::new();
    let trust = peers.trust();
    for round in 0..=rounds {
        println!("round {round} of {rounds}");
        for shape in shapes() {
            let mut order: Vec<&Target> = peers.targets.iter().collect();
            if round % 2 == 1 {
                order.reverse();
            }
            for target in order {
                let with = ["--tls", "--cacert", trust.as_str()];
                let (hop, engine) = (target.hop, target.engine);
                let measured = run_with(&with, target.address, shape, requests, hop, engine);
                // The first round warms up.
                if round > 0 {
                    found.entry((target.name, shape)).or_default().push(measured);
                }
            }
        }
    }
    let middle = |name, shape: Shape, of: fn(&Measured) -> f64| {
        Some(median(found.get(&(name, shape))?.iter().map(of).collect()))
    };
    let ratio = |of: fn(&Measured) -> f64| {
        let all = shapes()
            .into_iter()
            .filter_map(|shape| Some(middle("tanist", shape, of)? / middle("haproxy", shape, of)?));
        format!("{:.2}", mean(all))
    };
    println!("\n| | | requests/s | CPU s per million: hop | engine |");
    for (name, shape) in found.keys() {
        let cell = |of| middle(name, *shape, of).unwrap_or(f64::NAN);
        println!(
            "| {} {} B, pipelines of {} | {name} | {:.0} | {:.2} | {:.2} |",
            shape.command,
            shape.bytes,
            shape.pipeline,
            cell(|m| m.rate),
            cell(|m| m.hop),
            cell(|m| m.engine),
        );
    }
    let row = |what: &str, measured, target| Row { what: what.to_owned(), measured, target };
    vec![
        row("CPU per encrypted request of the hop, to HAProxy", ratio(|m| m.hop), "<= 0.95"),
        row(
            "CPU per encrypted request of hop and engine, to HAProxy",
            ratio(|m| m.hop + m.engine),
            "<= 0.90",
        ),
        row("encrypted requests/s, to HAProxy", ratio(|m| m.rate), ">= 1.0"),
    ]
}
