//! What happens to engines, and what is said about it.

#![allow(clippy::unwrap_used, reason = "a failed expectation is a failed test")]

mod common;

use std::time::Duration;

use common::*;
use tanist_agent::AgentConfig;
use tanist_core::model::*;
use tanist_link::api::Fault;
use tanist_link::wire::ToAgent;

with_both_engines!(
    a_killed_engine_is_reported_at_once,
    a_stopped_primary_is_seen_and_killed_by_the_fence,
    a_fence_of_a_dead_node_says_dead,
    a_busy_engine_is_not_called_hung,
    a_taken_port_is_named_and_the_start_goes_on_trying,
    an_unwritable_directory_is_named,
    a_damaged_promise_refuses_every_order,
    writes_refused_for_lack_of_memory_are_seen,
    a_loading_engine_is_alive_and_its_answer_unusable,
    reports_say_the_number_heard_before_their_samples,
    a_script_that_does_not_end_is_named,
);

async fn alone(supervisor: &Supervisor, engine: EngineKind) -> (Host, RunId) {
    let host = Host::start(supervisor, "host-1", engine);
    let run = host.up("web-001", 1, 1, DataOnStart::Load).await;
    host.order("web-001", 2, 1, promote(&run, &[], &[])).await;
    host.applied("web-001", 2).await;
    (host, run)
}

async fn a_killed_engine_is_reported_at_once(engine: EngineKind) {
    let supervisor = Supervisor::start().await;
    let (host, run) = alone(&supervisor, engine).await;
    let pid = host.pid("web-001");
    host.send(ToAgent::Inject { node: "web-001".into(), fault: Fault::Kill }).await;
    let gone = |report: &NodeReport| (report.process == Process::Absent).then_some(());
    host.node("web-001", "no process", gone).await;
    assert!(!alive(pid));
    let text = host.note("EngineEnded").await;
    assert!(text.contains("killed by signal 9"), "{text}");
    assert_eq!(host.said.borrow().nodes["web-001"].report.applied, None);
    let again = host.up("web-001", 3, 1, DataOnStart::Load).await;
    assert_ne!(again, run);
    end(&[&host]).await;
}

async fn a_stopped_primary_is_seen_and_killed_by_the_fence(engine: EngineKind) {
    let supervisor = Supervisor::start().await;
    let (host, _) = alone(&supervisor, engine).await;
    let pid = host.pid("web-001");
    host.node("web-001", "a probe", |report| report.engine().map(|_| ())).await;
    host.send(ToAgent::Inject { node: "web-001".into(), fault: Fault::Freeze }).await;
    let silent = host
        .node("web-001", "a stopped process", |report| {
            (report.stall == Stall::Stopped).then_some(report.silent)
        })
        .await;
    assert!(silent >= Duration::from_millis(100), "{silent:?}");
    assert!(alive(pid));
    assert_eq!(host.fence("web-001", 3, 2, true).await, Fenced::Dead);
    assert!(!alive(pid));
    let why = host.note("EngineKilled").await;
    assert!(why.contains("stopped"), "{why}");
    end(&[&host]).await;
}

async fn a_fence_of_a_dead_node_says_dead(engine: EngineKind) {
    let supervisor = Supervisor::start().await;
    let (host, _) = alone(&supervisor, engine).await;
    signal(host.pid("web-001"), "KILL");
    let gone = |report: &NodeReport| (report.process == Process::Absent).then_some(());
    host.node("web-001", "no process", gone).await;
    assert_eq!(host.fence("web-001", 3, 2, true).await, Fenced::Dead);
    // Of a node that was never here, too.
    assert_eq!(host.fence("web-009", 3, 2, false).await, Fenced::Dead);
    end(&[&host]).await;
}

async fn a_busy_engine_is_not_called_hung(engine: EngineKind) {
    let supervisor = Supervisor::start().await;
    let (host, run) = alone(&supervisor, engine).await;
    let mut busy = host.engine("web-001").await;
    let script = "local n = 0 while n < 1e8 do n = n + 1 end return n";
    let (_, seen) = tokio::join!(
        async { busy.call(&["EVAL", script, "0"]).await },
        host.node("web-001", "a long command", |report| {
            assert!(!matches!(report.stall, Stall::Stopped | Stall::Stalled), "{report:?}");
            matches!(report.stall, Stall::Busy | Stall::Starved).then_some(report.silent)
        })
    );
    assert!(seen >= Duration::from_millis(100));
    host.node("web-001", "an answer", |report| (report.stall == Stall::None).then_some(())).await;
    assert_eq!(host.said.borrow().nodes["web-001"].report.run(), Some(&run));
    end(&[&host]).await;
}

async fn a_taken_port_is_named_and_the_start_goes_on_trying(engine: EngineKind) {
    let supervisor = Supervisor::start().await;
    let host = Host::start(&supervisor, "host-1", engine);
    let taken = std::net::TcpListener::bind(host.address()).unwrap();
    host.order("web-001", 1, 1, host.start_action(DataOnStart::Load)).await;
    let reason = host.node("web-001", "a failed start", failed).await;
    assert!(reason.contains("another process listens on its port"), "{reason}");
    assert!(host.note("StartFailed").await.contains("another process"));
    drop(taken);
    host.node("web-001", "a run id", |report| report.run().cloned()).await;
    end(&[&host]).await;
}

fn failed(report: &NodeReport) -> Option<String> {
    match &report.process {
        Process::Failed(reason) => Some(reason.clone()),
        _ => None,
    }
}

async fn an_unwritable_directory_is_named(engine: EngineKind) {
    let supervisor = Supervisor::start().await;
    let host = Host::start(&supervisor, "host-1", engine);
    // Not by permissions, which do not concern the superuser.
    std::fs::create_dir_all(host.config.dir.join("nodes")).unwrap();
    std::fs::write(host.dir("web-001"), b"in the way").unwrap();
    host.order("web-001", 1, 1, host.start_action(DataOnStart::Load)).await;
    let reason = host.node("web-001", "a failed start", failed).await;
    assert!(reason.contains("cannot write") && reason.contains("web-001"), "{reason}");
    std::fs::remove_file(host.dir("web-001")).unwrap();
    host.node("web-001", "a run id", |report| report.run().cloned()).await;
    end(&[&host]).await;
}

async fn a_damaged_promise_refuses_every_order(engine: EngineKind) {
    let supervisor = Supervisor::start().await;
    let host = Host::start(&supervisor, "host-1", engine);
    let guard = host.config.dir.join("guards/web.0001");
    std::fs::create_dir_all(guard.parent().unwrap()).unwrap();
    std::fs::write(&guard, b"something else").unwrap();
    host.order("web-001", 9, 9, host.start_action(DataOnStart::Load)).await;
    let reason = host.node("web-001", "a refusal", failed).await;
    assert!(reason.contains("is damaged"), "{reason}");
    host.note("GuardDamaged").await;
    assert!(!host.dir("web-001").exists());
    assert_eq!(std::fs::read(&guard).unwrap(), b"something else");
    end(&[&host]).await;
}

async fn writes_refused_for_lack_of_memory_are_seen(engine: EngineKind) {
    let supervisor = Supervisor::start().await;
    let (host, _) = alone(&supervisor, engine).await;
    let mut client = host.engine("web-001").await;
    let value = "x".repeat(1 << 20);
    let health = |report: &NodeReport| report.engine().map(|engine| engine.health);
    let mut filling = 0;
    host.until("a full memory", |said| {
        (health(&said.nodes["web-001"].report) == Some(Health::Writable)).then_some(())
    })
    .await;
    while client.call(&["SET", &format!("k{filling}"), &value]).await.is_ok() {
        filling += 1;
        assert!(filling < 100, "the limit holds");
    }
    let full = |report: &NodeReport| (health(report) == Some(Health::OutOfMemory)).then_some(());
    let refusing = async {
        loop {
            assert_eq!(client.call(&["SET", "k", &value]).await.error_code(), Some("OOM"));
            // waits: the pace of a client that goes on trying.
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::select! {
        () = host.node("web-001", "OutOfMemory", full) => {}
        () = refusing => {}
    }
    let memory = host.node("web-001", "memory", |r| r.engine().map(|e| e.memory_bytes)).await;
    assert!(memory > 60 << 20, "{memory}");
    end(&[&host]).await;
}

async fn a_loading_engine_is_alive_and_its_answer_unusable(engine: EngineKind) {
    let supervisor = Supervisor::start().await;
    let (host, _) = alone(&supervisor, engine).await;
    let mut client = host.engine("web-001").await;
    let fill = "for n = 1, 400000 do redis.call('SET', 'k' .. n, n) end";
    client.call(&["EVAL", fill, "0"]).await;
    client.flushed().await;
    signal(host.pid("web-001"), "KILL");
    let gone = |report: &NodeReport| (report.process == Process::Absent).then_some(());
    host.node("web-001", "no process", gone).await;
    let run = host.up("web-001", 3, 1, DataOnStart::Load).await;
    let state = host.fence("web-001", 4, 2, true).await;
    // Depending on the machine it may have loaded by now.
    match state {
        Fenced::Unusable { run: Some(of) } => assert_eq!(of, run),
        Fenced::Frozen { run: of, origin, .. } => assert_eq!((of, origin), (run, Origin::Crash)),
        other => panic!("{other:?}"),
    }
    host.loaded("web-001").await;
    assert_eq!(client_keys(&host).await, Some(400_000));
    end(&[&host]).await;
}

async fn client_keys(host: &Host) -> Option<i64> {
    host.engine("web-001").await.call(&["DBSIZE"]).await.as_int()
}

async fn reports_say_the_number_heard_before_their_samples(engine: EngineKind) {
    let supervisor = Supervisor::start().await;
    let (host, _) = alone(&supervisor, engine).await;
    let echo = |said: &common::Said| said.nodes["web-001"].echo;
    host.send(ToAgent::Echo(7)).await;
    host.until("the number", |said| (echo(said) == 7).then_some(())).await;
    signal(host.pid("web-001"), "STOP");
    host.node("web-001", "silence", |report| (report.stall == Stall::Stopped).then_some(())).await;
    host.send(ToAgent::Echo(8)).await;
    let reports = host.said.borrow().reports;
    let later = |said: &common::Said| (said.reports > reports + 5).then_some(echo(said));
    assert_eq!(host.until("more reports", later).await, 7, "the sample is older than the number");
    signal(host.pid("web-001"), "CONT");
    host.until("the number", |said| (echo(said) == 8).then_some(())).await;
    end(&[&host]).await;
}

async fn a_script_that_does_not_end_is_named(engine: EngineKind) {
    let supervisor = Supervisor::start().await;
    let (host, run) = alone(&supervisor, engine).await;
    let is = |wanted: Health| {
        move |report: &NodeReport| (report.engine()?.health == wanted).then(|| report.clone())
    };
    host.node("web-001", "Writable", is(Health::Writable)).await;
    let mut runs = host.engine("web-001").await;
    let mut ends = host.engine("web-001").await;
    assert!(runs.call(&["CONFIG", "SET", "busy-reply-threshold", "100"]).await.is_ok());
    let (killed, ()) = tokio::join!(runs.call(&["EVAL", "while true do end", "0"]), async {
        let report = host.node("web-001", "BusyScript", is(Health::BusyScript)).await;
        assert_eq!(report.run(), Some(&run));
        assert_eq!((report.silent, report.stall), (Duration::ZERO, Stall::None), "it answers");
        let role = report.engine().map(|engine| &engine.role);
        assert!(matches!(role, Some(RoleSeen::Primary { .. })), "as it was last: {role:?}");
        assert!(ends.call(&["SCRIPT", "KILL"]).await.is_ok());
    });
    assert!(killed.as_error().is_some());
    host.node("web-001", "Writable", is(Health::Writable)).await;
    end(&[&host]).await;
}

#[tokio::test]
async fn what_was_being_deleted_is_deleted_beside_the_work() {
    let supervisor = Supervisor::start().await;
    let config = Host::start(&supervisor, "host-0", EngineKind::Redis).config;
    let dir = supervisor.dir.path().join("host-1");
    let left = dir.join("trash/web-001-5");
    std::fs::create_dir_all(left.join("data")).unwrap();
    let host = Host::with(AgentConfig { dir, ..config }, EngineKind::Redis);
    host.until("a report", |said| (said.reports > 0).then_some(())).await;
    host.until("an empty trash", |_| (!left.exists()).then_some(())).await;
    end(&[&host]).await;
}

#[tokio::test]
async fn a_missing_binary_is_named_with_its_remedy() {
    let supervisor = Supervisor::start().await;
    let mut config = Host::start(&supervisor, "host-0", EngineKind::Redis).config;
    config.host = HostId::new("host-1");
    config.dir = supervisor.dir.path().join("host-1");
    config.engines.redis = "/nowhere/redis-server".into();
    let host = Host::with(config, EngineKind::Redis);
    host.order("web-001", 1, 1, host.start_action(DataOnStart::Load)).await;
    let reason = host.node("web-001", "a failed start", failed).await;
    assert!(reason.contains("/nowhere/redis-server"), "{reason}");
    assert!(reason.contains("install Redis 7.0 or later"), "{reason}");
    end(&[&host]).await;
}
