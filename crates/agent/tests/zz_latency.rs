mod common;
use common::*;
use std::time::*;
use tanist_core::model::*;
use tanist_link::wire::ToAgent;
with_both_engines!(latency);
async fn latency(engine: EngineKind) {
    let supervisor = Supervisor::start().await;
    let [a, b, c] = ["host-1", "host-2", "host-3"].map(|n| Host::start(&supervisor, n, engine));
    let ra = a.up("web-001", 1, 1, DataOnStart::Load).await;
    let rb = b.up("web-002", 1, 1, DataOnStart::Load).await;
    let _rc = c.up("web-003", 1, 1, DataOnStart::Load).await;
    let mut fences = vec![];
    let mut promotes = vec![];
    let mut follows = vec![];
    for i in 0..50u64 {
        tokio::time::sleep(Duration::from_millis(7)).await;
        let rev = 10 + 3 * i;
        let t = Instant::now();
        let f = a.fence("web-001", rev, i + 2, true).await;
        fences.push(t.elapsed());
        assert!(matches!(f, Fenced::Frozen { .. }), "{f:?}");
        b.fence("web-002", rev, i + 2, false).await;
        let tg = tag("web-002", &rb, rev);
        let t = Instant::now();
        a.order("web-001", rev + 1, i + 2, promote(&ra, &[&tg], &["proxy-1", "proxy-2"])).await;
        a.applied("web-001", rev + 1).await;
        promotes.push(t.elapsed());
        let t = Instant::now();
        b.order("web-002", rev + 1, i + 2, follow(&tg, a.address(), None)).await;
        b.applied("web-002", rev + 1).await;
        follows.push(t.elapsed());
    }
    for (n, v) in [("fence", &mut fences), ("promote", &mut promotes), ("follow", &mut follows)] {
        v.sort();
        println!(
            "{engine:?} {n}: min {:?} median {:?} p90 {:?} max {:?}",
            v[0], v[25], v[45], v[49]
        );
    }
    let mut ex = vec![];
    for i in 0..10u64 {
        let pid = a.pid("web-001");
        tokio::time::sleep(Duration::from_millis(100)).await;
        let t = Instant::now();
        rustix_kill(pid);
        a.node("web-001", "gone", |r| (r.process == Process::Absent).then_some(())).await;
        ex.push(t.elapsed());
        a.up("web-001", 1000 + i, 1000 + i, DataOnStart::Load).await;
    }
    ex.sort();
    println!("{engine:?} exit: {:?} {:?} {:?}", ex[0], ex[5], ex[9]);
    // cpu
    let cpu = || {
        let s = std::fs::read_to_string("/proc/self/stat").unwrap();
        let f: Vec<u64> = s
            .rsplit(')')
            .next()
            .unwrap()
            .split_whitespace()
            .skip(11)
            .take(2)
            .map(|x| x.parse().unwrap())
            .collect();
        f[0] + f[1]
    };
    let c0 = cpu();
    let n0 = a.said.borrow().reports;
    tokio::time::sleep(Duration::from_secs(10)).await;
    println!(
        "{engine:?} cpu: {}% reports/s of one host {}",
        (cpu() - c0) as f64 / 10.0,
        (a.said.borrow().reports - n0) / 10
    );
    for h in [&a, &b, &c] {
        h.send(ToAgent::StopAll).await;
    }
    for h in [&a, &b, &c] {
        h.until("s", |s| s.stopped.then_some(())).await;
    }
}
fn rustix_kill(pid: u32) {
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(pid as i32).unwrap(),
        rustix::process::Signal::KILL,
    )
    .unwrap()
}
