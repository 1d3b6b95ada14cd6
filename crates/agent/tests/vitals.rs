//! What is measured of engines, with real ones.

#![allow(clippy::unwrap_used, reason = "a failed expectation is a failed test")]

mod common;

use common::*;
use tanist_core::model::*;
use tanist_link::wire::Vitals;

with_both_engines!(what_is_measured_of_an_engine_is_what_it_does);

/// What was measured of a host's engine, at least `count` times.
async fn measured(host: &Host, count: usize) -> Vec<Vitals> {
    host.until("vitals", |said| (said.vitals.len() >= count).then(|| said.vitals.clone())).await
}

/// Starts an engine that takes writes.
async fn primary(host: &Host, node: &str) -> RunId {
    let run = host.up(node, 1, 1, DataOnStart::Load).await;
    host.order(node, 2, 1, promote(&run, &[], &[])).await;
    host.applied(node, 2).await;
    run
}

async fn what_is_measured_of_an_engine_is_what_it_does(engine: EngineKind) {
    let supervisor = Supervisor::start().await;
    let [busy, idle] = ["host-1", "host-2"].map(|name| Host::start(&supervisor, name, engine));
    let runs = [primary(&busy, "web-001").await, primary(&idle, "web-002").await];
    let mut client = busy.engine("web-001").await;
    for words in [&["SET", "a", "1"], &["SET", "b", "2"]] {
        client.call(words).await;
    }
    client.call(&["SELECT", "3"]).await;
    client.call(&["SET", "c", "3"]).await;
    for key in ["c", "c", "none"] {
        client.call(&["GET", key]).await;
    }
    let begun = [measured(&busy, 1).await.len(), measured(&idle, 1).await.len()];
    let enough = |host: &Host, begun: usize| host.said.borrow().vitals.len() >= begun + 3;
    while !(enough(&busy, begun[0]) && enough(&idle, begun[1])) {
        client.call(&["EVAL", "for i = 1, 300000 do end return 1", "0"]).await;
    }
    let (worked, rested) = (measured(&busy, 1).await, measured(&idle, 1).await);
    let last = |vitals: &[Vitals]| vitals.last().unwrap().clone();
    // Of a processor, since then.
    let since = |vitals: &[Vitals], begun: usize| {
        let (then, now) = (&vitals[begun], last(vitals));
        let share =
            |of: fn(&Vitals) -> u64| (of(&now) - of(then)) as f64 / (now.at_us - then.at_us) as f64;
        [share(|vitals| vitals.main_cpu_us), share(|vitals| vitals.process_cpu_us)]
    };
    let (work, rest) = (since(&worked, begun[0]), since(&rested, begun[1]));
    assert!(work[0] > 2.0 * rest[0] && work[1] > 2.0 * rest[1], "{work:?} {rest:?}");
    let (now, idle_now) = (last(&worked), last(&rested));
    assert_eq!([&now.run, &idle_now.run], [&runs[0], &runs[1]]);
    assert_eq!((now.node.as_str(), now.host.as_str()), ("web-001", "host-1"));
    assert_eq!((now.items, idle_now.items), (3, 0));
    assert_eq!((now.totals.hits, now.totals.misses), (2, 1));
    assert_eq!((idle_now.totals.hits, now.totals.evicted), (0, 0));
    assert_eq!(now.limit_bytes, 64 << 20);
    assert!(now.used_bytes > 100 << 10 && now.used_bytes < now.limit_bytes, "{now:?}");
    assert!(now.resident_bytes > 1 << 20 && now.swap_bytes.is_some(), "{now:?}");
    let grown = |of: fn(&Vitals) -> u64| of(&now) > of(&worked[begun[0]]);
    assert!(grown(|vitals| vitals.totals.commands), "{now:?}");
    assert!(grown(|vitals| vitals.totals.bytes_in) && grown(|vitals| vitals.totals.bytes_out));
    let cpu = now.host_cpu.unwrap();
    assert!(cpu.busy <= cpu.total && now.host_free_bytes.unwrap() > 0);
    for pair in worked.windows(2) {
        let apart = pair[1].at_us - pair[0].at_us;
        assert!(apart > 800_000, "about once a second, not after {apart} us");
    }
    end(&[&busy, &idle]).await;
}
