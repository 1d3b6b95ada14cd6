//! What a hop costs: Tanist's endpoint beside HAProxy, nutcracker, and no hop at all.
//!
//! Invariant: ratios are of medians over rounds in which all took their turns, in both orders.
//!
//! Not here: the peers (`super::peers`).

use std::collections::BTreeMap;

use tanist_bench::{Row, setting};

use super::load::{Measured, Shape, mean, median, run};
use super::peers::{Peers, Target};

type Found = BTreeMap<(&'static str, Shape), Vec<Measured>>;

fn shapes() -> Vec<Shape> {
    let mut all = Vec::new();
    for bytes in [64, 4096] {
        for connections in [50, 500] {
            for pipeline in [1, 16] {
                // What is read has to be there.
                for command in ["set", "get"] {
                    all.push(Shape { command, connections, pipeline, bytes });
                }
            }
        }
    }
    // Words that all have to be in a shape's name, with commas between them: "set,4096 B".
    if let Ok(some) = std::env::var("TANIST_BENCH_SHAPES") {
        all.retain(|shape| some.split(',').all(|word| name(shape).contains(word)));
    }
    all
}

fn name(shape: &Shape) -> String {
    let Shape { command, connections, pipeline, bytes } = shape;
    format!("{command} {bytes} B, {connections} connections, pipelines of {pipeline}")
}

/// All measurements.
fn measure(peers: &Peers) -> Found {
    let mut found = Found::new();
    let (rounds, requests) =
        (setting("TANIST_BENCH_ROUNDS", 7), setting("TANIST_BENCH_REQUESTS", 100_000));
    for round in 0..=rounds {
        println!("round {round} of {rounds}");
        for shape in shapes() {
            let mut order: Vec<&Target> = peers.targets.iter().collect();
            if round % 2 == 1 {
                order.reverse();
            }
            for target in order {
                let measured = run(target.address, shape, requests, target.hop, target.engine);
                // The first round warms up.
                if round > 0 {
                    found.entry((target.name, shape)).or_default().push(measured);
                }
            }
        }
    }
    found
}

/// The geometric mean over shapes of `of(ours) / of(theirs)`, and the extremes.
fn ratio(
    found: &Found,
    theirs: &'static str,
    shapes: impl Fn(&Shape) -> bool,
    of: impl Fn(&Measured) -> f64,
) -> String {
    let middle = |name, shape: Shape| {
        let all = found.get(&(name, shape))?;
        Some(median(all.iter().map(&of).collect()))
    };
    let all: Vec<f64> = self::shapes()
        .into_iter()
        .filter(shapes)
        .filter_map(|shape| Some(middle("tanist", shape)? / middle(theirs, shape)?))
        .collect();
    let (least, most) = all
        .iter()
        .fold((f64::MAX, 0.0_f64), |(least, most), ratio| (least.min(*ratio), most.max(*ratio)));
    format!("{:.2} ({least:.2} to {most:.2})", mean(all))
}

/// The part `hop`.
pub(crate) fn hop() -> Vec<Row> {
    let peers = Peers::start();
    let found = measure(&peers);
    let any = |_: &Shape| true;
    let row = |what: &str, measured, target| Row { what: what.to_owned(), measured, target };
    let small = |shape: &Shape| shape.bytes == 64;
    let deep = |shape: &Shape| shape.pipeline == 16;
    let mut rows = vec![
        row("requests/s, 64 B, to HAProxy", ratio(&found, "haproxy", small, |m| m.rate), ">= 1.15"),
        row(
            "requests/s, 4 KiB, to HAProxy",
            ratio(&found, "haproxy", |s| !small(s), |m| m.rate),
            ">= 1.00",
        ),
        row(
            "CPU per request of the hop, to HAProxy",
            ratio(&found, "haproxy", any, |m| m.hop),
            "<= 0.80",
        ),
        row(
            "CPU per request of hop and engine, to HAProxy",
            ratio(&found, "haproxy", any, |m| m.hop + m.engine),
            "<= 0.75",
        ),
        row("p50, 64 B, to HAProxy", ratio(&found, "haproxy", small, |m| m.p50), "<= 1.0"),
        row("p99, 64 B, to HAProxy", ratio(&found, "haproxy", small, |m| m.p99), "<= 1.0"),
        row(
            "CPU per request of the hop, to nutcracker",
            ratio(&found, "nutcracker", any, |m| m.hop),
            "<= 0.45",
        ),
        row(
            "requests/s in pipelines of 16, to nutcracker",
            ratio(&found, "nutcracker", deep, |m| m.rate),
            ">= 2.0",
        ),
    ];
    for (connections, target) in [(50, ">= 0.70"), (500, ">= 0.85")] {
        let of = |shape: &Shape| small(shape) && shape.connections == connections;
        rows.push(Row {
            what: format!("requests/s, 64 B, {connections} connections, to a direct connection"),
            measured: ratio(&found, "direct", of, |m| m.rate),
            target,
        });
    }
    table(&found);
    rows
}

/// Every cell, for those who want to look closer.
fn table(found: &Found) {
    println!("\n| | | | requests/s | p50 | p99 ms | CPU s per million: hop | engine |");
    for ((target, shape), all) in found {
        let middle = |of: fn(&Measured) -> f64| median(all.iter().map(of).collect());
        println!(
            "| {} | {target} | | {:.0} | {:.2} | {:.2} | {:.2} | {:.2} |",
            name(shape),
            middle(|m| m.rate),
            middle(|m| m.p50),
            middle(|m| m.p99),
            middle(|m| m.hop),
            middle(|m| m.engine),
        );
    }
}
