//! Restarts of everything but the engine, and of the engine.

#![allow(clippy::unwrap_used, reason = "a failed expectation is a failed test")]

mod common;

use std::net::Ipv4Addr;
use std::time::Duration;

use common::*;
use tanist_agent::{AgentConfig, AgentError, Ended, Inbox, run};
use tanist_core::model::*;
use tanist_link::wire::{
    FromAgent, FromSupervisor, ProcessKey, Signal, ToAgent, ToSupervisor, lane_label, lane_user,
};
use tanist_link::{Client, Duplex};

with_both_engines!(
    a_restarted_agent_takes_over_what_is_still_true,
    a_restarted_agent_reports_nothing_that_is_not_true_any_more,
    a_restarted_agent_refuses_what_it_refused_before,
    a_killed_supervisor_leaves_engines_running_and_its_successor_recognises_them,
    an_end_that_nobody_watched_is_noticed,
    an_engine_that_just_begins_keeps_its_directory_when_it_is_ordered_again,
    everything_is_stopped_although_the_agent_that_was_asked_has_failed,
    an_orderly_stop_is_remembered_until_something_is_written,
    after_a_crash_of_everything_the_data_is_there_and_the_crash_is_known,
    data_that_was_not_chosen_is_set_aside,
);

async fn primary_with_replica(a: &Host, b: &Host) -> (RunId, RunId) {
    let first = a.up("web-001", 1, 1, DataOnStart::Load).await;
    let second = b.up("web-002", 1, 1, DataOnStart::Load).await;
    let tag = tag("web-002", &second, 4);
    a.order("web-001", 2, 1, promote(&first, &[&tag], &["proxy-1"])).await;
    a.applied("web-001", 2).await;
    b.order("web-002", 2, 1, follow(&tag, a.address(), None)).await;
    b.applied("web-002", 2).await;
    b.node("web-002", "a link", linked).await;
    (first, second)
}

async fn a_restarted_agent_takes_over_what_is_still_true(engine: EngineKind) {
    let supervisor = Supervisor::start().await;
    let [a, b] = ["host-1", "host-2"].map(|n| Host::start(&supervisor, n, engine));
    let (first, second) = primary_with_replica(&a, &b).await;
    let (pid, stranger) = (a.pid("web-001"), b.pid("web-002"));
    let before = a.applied("web-001", 2).await;
    let [a, b] = [a.restart().await, b.restart().await];
    assert_eq!(a.applied("web-001", 2).await, before);
    let follower = b.applied("web-002", 2).await;
    assert_eq!((follower.primary, follower.seqs), (false, [4].into()));
    assert_eq!((a.pid("web-001"), b.pid("web-002")), (pid, stranger));
    let run = |host: &Host, node: &str| host.said.borrow().nodes[node].report.run().cloned();
    assert_eq!((run(&a, "web-001"), run(&b, "web-002")), (Some(first), Some(second)));
    // It still knows whom the primary lets in, and that the attachment is up.
    a.node("web-001", "the attachment", |report| {
        let RoleSeen::Primary { replicas } = &report.engine()?.role else { return None };
        matches!(replicas.as_slice(), [replica] if replica.online).then_some(())
    })
    .await;
    end(&[&a, &b]).await;
}

async fn a_restarted_agent_reports_nothing_that_is_not_true_any_more(engine: EngineKind) {
    let supervisor = Supervisor::start().await;
    let [a, b] = ["host-1", "host-2"].map(|n| Host::start(&supervisor, n, engine));
    primary_with_replica(&a, &b).await;
    let [mut primary, mut replica] = [a.engine("web-001").await, b.engine("web-002").await];
    primary.call(&["ACL", "DELUSER", "lane-1-proxy-1"]).await;
    replica.call(&["REPLICAOF", "127.0.0.1", "1"]).await;
    let [a, b] = [a.restart().await, b.restart().await];
    for (host, node) in [(&a, "web-001"), (&b, "web-002")] {
        let run = host.node(node, "a probe", |report| report.engine().map(|e| e.run.clone())).await;
        // The next order comes after the engine was asked: nothing was taken over by then.
        host.order(
            node,
            3,
            1,
            Action::Admit { run, replicas: [].into(), lanes: [].into(), stand_ins: None },
        )
        .await;
        host.node(node, "the promise", |report| (report.rev == Rev(3)).then_some(())).await;
        let applied = host.said.borrow().nodes[node].report.applied.clone();
        assert!(applied.is_none_or(|applied| applied.rev == Rev(3)), "{node}");
    }
    end(&[&a, &b]).await;
}

async fn a_restarted_agent_refuses_what_it_refused_before(engine: EngineKind) {
    let supervisor = Supervisor::start().await;
    let host = Host::start(&supervisor, "host-1", engine);
    let run = host.up("web-001", 1, 1, DataOnStart::Load).await;
    host.fence("web-001", 8, 2, true).await;
    let host = host.restart().await;
    host.node("web-001", "the promise", |report| (report.rev == Rev(8)).then_some(())).await;
    host.node("web-001", "a run id", |report| report.run().cloned()).await;
    host.order("web-001", 7, 2, promote(&run, &[], &["proxy-1"])).await;
    // Orders are carried out one after the other, so by the answer the older one was refused.
    host.fence("web-001", 9, 3, false).await;
    let role = host.engine("web-001").await.call(&["ROLE"]).await;
    assert_eq!(role.as_array().unwrap()[0].as_str(), Some("slave"));
    let label = lane_label(&"web".into(), &"0001".into(), Epoch(2), &"proxy-1".into());
    let user = lane_user(Epoch(2), &"proxy-1".into());
    let lane = Engine::open(host.address(), &user, &secret().password(&label)).await;
    assert!(lane.is_none());
    end(&[&host]).await;
}

async fn a_killed_supervisor_leaves_engines_running_and_its_successor_recognises_them(
    engine: EngineKind,
) {
    let mut supervisor = Supervisor::start().await;
    let [a, b] = ["host-1", "host-2"].map(|n| Host::start(&supervisor, n, engine));
    let (first, _) = primary_with_replica(&a, &b).await;
    let pid = a.pid("web-001");
    supervisor.kill();
    assert!(alive(pid));
    let mut client = a.engine("web-001").await;
    client.call(&["SET", "k", "v"]).await;
    client.flushed().await;
    supervisor.restart_dead().await;
    // The successor's signals and news reach the right process, so it was recognised.
    let fault = tanist_link::api::Fault::Kill;
    let killed = async {
        let gone = |report: &NodeReport| (report.process == Process::Absent).then_some(());
        a.node("web-001", "no process", gone).await;
    };
    let asking = async {
        loop {
            // Requests to a supervisor that is away are lost; whoever wants something asks again.
            a.send(ToAgent::Inject { node: "web-001".into(), fault }).await;
            // waits: the pace of somebody who goes on asking.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::select! { () = killed => {} () = asking => {} }
    assert!(!alive(pid));
    // The replica still points at the fence's old port when it is frozen: the port is the same.
    assert!(matches!(b.fence("web-002", 3, 2, false).await, Fenced::Frozen { .. }));
    let again = a.up("web-001", 4, 2, DataOnStart::Load).await;
    assert_ne!(again, first);
    a.loaded("web-001").await;
    assert_eq!(a.engine("web-001").await.call(&["GET", "k"]).await.as_str(), Some("v"));
    end(&[&a, &b]).await;
}

async fn an_engine_that_just_begins_keeps_its_directory_when_it_is_ordered_again(
    engine: EngineKind,
) {
    let supervisor = Supervisor::start().await;
    let host = Host::start(&supervisor, "host-1", engine);
    host.up("web-000", 1, 1, DataOnStart::SetAside).await;
    host.order("web-000", 2, 1, Action::Remove).await;
    let gone = |report: &NodeReport| (report.process == Process::Absent).then_some(());
    host.node("web-000", "no process", gone).await;
    // From now on nobody says what has become of a start.
    supervisor.signal("STOP");
    let promised = async |rev: u64| {
        let start = host.start_action(DataOnStart::SetAside);
        host.order("web-001", rev, 1, start).await;
        host.node("web-001", "the promise", |said| (said.rev == Rev(rev)).then_some(())).await;
    };
    // Each promise but the first shows that the order before it has asked for its process.
    promised(3).await;
    promised(4).await;
    let begun = host.dir("web-001").join("data/begun");
    std::fs::write(&begun, "as an engine does that nobody knows of yet").unwrap();
    promised(5).await;
    promised(6).await;
    supervisor.signal("CONT");
    host.node("web-001", "a run id", |report| report.run().cloned()).await;
    let pid = host.pid("web-001");
    let works_in = std::fs::read_link(format!("/proc/{pid}/cwd")).unwrap();
    assert!(works_in.is_dir() && begun.exists(), "{}", works_in.display());
    end(&[&host]).await;
}

async fn everything_is_stopped_although_the_agent_that_was_asked_has_failed(engine: EngineKind) {
    let supervisor = Supervisor::start().await;
    let host = Host::start(&supervisor, "host-1", engine);
    host.up("web-001", 1, 1, DataOnStart::Load).await;
    host.loaded("web-001").await;
    let (pid, dir, config) = (host.pid("web-001"), host.dir("web-001"), host.config.clone());
    host.abort();
    // Whatever the agent that fails gets to do, the engine hears nothing of it.
    signal(pid, "STOP");
    let (says, messages) = tokio::sync::mpsc::channel(1);
    let mut inbox = Inbox::new(messages);
    says.send(ToAgent::StopAll).await.unwrap();
    let (outbox, mut heard) = tokio::sync::mpsc::channel(64);
    let hearing = tokio::spawn(async move {
        let mut stopped = 0;
        while let Some(message) = heard.recv().await {
            stopped += u32::from(matches!(message, FromAgent::Stopped { .. }));
        }
        stopped
    });
    // No fence port can be had on an address of nobody's.
    let nowhere = AgentConfig { address: Ipv4Addr::new(192, 0, 2, 1), ..config.clone() };
    let failed = run(nowhere, &mut inbox, outbox.clone()).await;
    assert!(matches!(failed, Err(AgentError::Fence { .. })), "{failed:?}");
    assert!(alive(pid) && !dir.join("stopped.json").exists());
    signal(pid, "CONT");
    let next = tokio::time::timeout(PATIENCE, run(config, &mut inbox, outbox)).await;
    assert_eq!(next.expect("it hears what was asked before").unwrap(), Ended::Stopped);
    assert!(!alive(pid) && dir.join("stopped.json").exists());
    assert_eq!(hearing.await.unwrap(), 1, "whoever asked is told once");
}

async fn an_end_that_nobody_watched_is_noticed(engine: EngineKind) {
    let mut supervisor = Supervisor::start().await;
    let host = Host::start(&supervisor, "host-1", engine);
    host.up("web-001", 1, 1, DataOnStart::Load).await;
    let pid = host.pid("web-001");
    supervisor.kill();
    signal(pid, "KILL");
    supervisor.restart_dead().await;
    let gone = |report: &NodeReport| (report.process == Process::Absent).then_some(());
    host.node("web-001", "no process", gone).await;
    end(&[&host]).await;
}

async fn origin(host: &Host, rev: u64) -> Origin {
    host.loaded("web-001").await;
    match host.fence("web-001", rev, rev, false).await {
        Fenced::Frozen { origin, .. } => origin,
        other => panic!("{other:?}"),
    }
}

async fn an_orderly_stop_is_remembered_until_something_is_written(engine: EngineKind) {
    let supervisor = Supervisor::start().await;
    let [a, b] = ["host-1", "host-2"].map(|n| Host::start(&supervisor, n, engine));
    primary_with_replica(&a, &b).await;
    let mut client = a.engine("web-001").await;
    streaming(&mut client).await;
    for n in 0..1000 {
        client.call(&["SET", &format!("k{n}"), "v"]).await;
    }
    let [one, two] = [a.pid("web-001"), b.pid("web-002")];
    end(&[&a, &b]).await;
    assert!(!alive(one) && !alive(two));
    let (config, second) = (a.config.clone(), b.config.clone());
    a.end().await.unwrap();
    b.end().await.unwrap();
    let host = Host::with(config.clone(), engine);
    host.up("web-001", 3, 2, DataOnStart::Load).await;
    assert_eq!(origin(&host, 4).await, Origin::CleanStop);
    assert_eq!(host.engine("web-001").await.call(&["DBSIZE"]).await.as_int(), Some(1001));
    // Loaded but never given a role, it may be stopped by force and is still what was stopped.
    signal(host.pid("web-001"), "KILL");
    let gone = |report: &NodeReport| (report.process == Process::Absent).then_some(());
    host.node("web-001", "no process", gone).await;
    let run = host.up("web-001", 5, 5, DataOnStart::Load).await;
    assert_eq!(origin(&host, 6).await, Origin::CleanStop);
    host.order("web-001", 7, 6, promote(&run, &[], &[])).await;
    host.applied("web-001", 7).await;
    signal(host.pid("web-001"), "KILL");
    host.node("web-001", "no process", gone).await;
    host.up("web-001", 8, 8, DataOnStart::Load).await;
    assert_eq!(origin(&host, 9).await, Origin::Crash);
    // The replica received everything before it was stopped.
    let b = Host::with(second, engine);
    b.up("web-002", 3, 2, DataOnStart::Load).await;
    b.loaded("web-002").await;
    assert_eq!(b.engine("web-002").await.call(&["DBSIZE"]).await.as_int(), Some(1001));
    end(&[&host, &b]).await;
}

async fn after_a_crash_of_everything_the_data_is_there_and_the_crash_is_known(engine: EngineKind) {
    let mut supervisor = Supervisor::start().await;
    let host = Host::start(&supervisor, "host-1", engine);
    let run = host.up("web-001", 1, 1, DataOnStart::Load).await;
    host.order("web-001", 2, 1, promote(&run, &[], &[])).await;
    host.applied("web-001", 2).await;
    let mut client = host.engine("web-001").await;
    client.call(&["SET", "k", "v"]).await;
    client.flushed().await;
    let pid = host.pid("web-001");
    let host = {
        let config = host.config.clone();
        host.abort();
        supervisor.kill();
        signal(pid, "KILL");
        supervisor.restart_dead().await;
        Host::with(config, engine)
    };
    host.node("web-001", "no process", |report| {
        (report.process == Process::Absent && report.data).then_some(())
    })
    .await;
    host.up("web-001", 3, 2, DataOnStart::Load).await;
    assert_eq!(origin(&host, 4).await, Origin::Crash);
    assert_eq!(host.engine("web-001").await.call(&["GET", "k"]).await.as_str(), Some("v"));
    // Stopping it in order makes what the crash left no better, as long as it had no role.
    let host = stop_and_begin_anew(host, engine).await;
    let run = host.up("web-001", 5, 3, DataOnStart::Load).await;
    assert_eq!(origin(&host, 6).await, Origin::Crash);
    host.order("web-001", 7, 4, promote(&run, &[], &[])).await;
    let primary = |report: &NodeReport| match report.engine()?.role {
        RoleSeen::Primary { .. } => Some(()),
        RoleSeen::Replica { .. } => None,
    };
    host.node("web-001", "a primary", primary).await;
    let host = stop_and_begin_anew(host, engine).await;
    host.up("web-001", 8, 5, DataOnStart::Load).await;
    assert_eq!(origin(&host, 9).await, Origin::CleanStop);
    end(&[&host]).await;
}

async fn stop_and_begin_anew(host: Host, engine: EngineKind) -> Host {
    end(&[&host]).await;
    let config = host.config.clone();
    host.end().await.unwrap();
    Host::with(config, engine)
}

async fn data_that_was_not_chosen_is_set_aside(engine: EngineKind) {
    let supervisor = Supervisor::start().await;
    let host = Host::start(&supervisor, "host-1", engine);
    let run = host.up("web-001", 1, 1, DataOnStart::Load).await;
    host.order("web-001", 2, 1, promote(&run, &[], &[])).await;
    host.applied("web-001", 2).await;
    host.engine("web-001").await.call(&["SET", "k", &"v".repeat(4096)]).await;
    signal(host.pid("web-001"), "KILL");
    let gone = |report: &NodeReport| (report.process == Process::Absent).then_some(());
    host.node("web-001", "no process", gone).await;
    host.up("web-001", 3, 2, DataOnStart::SetAside).await;
    assert_eq!(origin(&host, 4).await, Origin::Empty);
    assert_eq!(host.engine("web-001").await.call(&["DBSIZE"]).await.as_int(), Some(0));
    let kept: Vec<_> =
        std::fs::read_dir(host.dir("web-001").join("aside")).unwrap().flatten().collect();
    assert_eq!(kept.len(), 1);
    assert!(kept[0].path().join("appendonlydir").exists());
    host.note("DataSetAside").await;
    end(&[&host]).await;
}

/// A conversation with a supervisor as an agent has it.
async fn talk(supervisor: &Supervisor) -> Duplex<ToSupervisor, FromSupervisor> {
    Client::new(supervisor.socket()).open("/link/v1/supervise").await.unwrap()
}

async fn hear<T>(
    duplex: &mut Duplex<ToSupervisor, FromSupervisor>,
    mut wanted: impl FnMut(FromSupervisor) -> Option<T>,
) -> T {
    let heard = async {
        loop {
            let said = duplex.receiver.recv().await.unwrap().expect("the supervisor serves");
            if let Some(found) = wanted(said) {
                return found;
            }
        }
    };
    tokio::time::timeout(PATIENCE, heard).await.expect("it is said")
}

#[tokio::test]
async fn a_program_that_cannot_be_executed_is_a_clear_failure() {
    let supervisor = Supervisor::start().await;
    let mut duplex = talk(&supervisor).await;
    let dir = supervisor.dir.path().to_owned();
    let start = |program: &str| ToSupervisor::Start {
        node: "h/n".into(),
        program: program.into(),
        config: "x.conf".into(),
        dir: dir.clone(),
    };
    duplex.sender.send(&start("/nowhere/redis-server")).unwrap();
    let not_started = |said| match said {
        FromSupervisor::NotStarted { reason, .. } => Some(reason),
        FromSupervisor::Listed => None,
        other => panic!("{other:?}"),
    };
    let reason = hear(&mut duplex, not_started).await;
    assert!(reason.contains("cannot execute /nowhere/redis-server: No such file"), "{reason}");
    duplex.sender.send(&start("/etc/passwd")).unwrap();
    let reason = hear(&mut duplex, not_started).await;
    assert!(reason.contains("Permission denied"), "{reason}");
    // An engine that ends at once by itself was started, and how it ended is said.
    duplex.sender.send(&start("/bin/false")).unwrap();
    let status = hear(&mut duplex, |said| match said {
        FromSupervisor::Exited { status, .. } => Some(status),
        _ => None,
    })
    .await;
    assert_eq!(status, "exited with status 1");
}

#[tokio::test]
async fn a_process_is_a_session_of_its_own_and_no_other_gets_its_signals() {
    let supervisor = Supervisor::start().await;
    let protected = supervisor.protect();
    let mut duplex = talk(&supervisor).await;
    let script = supervisor.dir.path().join("engine");
    std::fs::write(
        &script,
        "#!/bin/sh\nulimit -n; ulimit -Hn; cat /proc/self/oom_score_adj\nexec sleep 1000\n",
    )
    .unwrap();
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let node: NodeId = "h/n".into();
    let start = ToSupervisor::Start {
        node: node.clone(),
        program: script,
        config: "x.conf".into(),
        dir: supervisor.dir.path().to_owned(),
    };
    duplex.sender.send(&start).unwrap();
    let process = hear(&mut duplex, |said| match said {
        FromSupervisor::Running { process, .. } => Some(process),
        _ => None,
    })
    .await;
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.pid)).unwrap();
    let session = stat.rsplit(')').next().unwrap().split_whitespace().nth(3).unwrap();
    assert_eq!(session, process.pid.to_string());
    // A second agent hears of it; a second start starts nothing.
    let mut second = talk(&supervisor).await;
    second.sender.send(&start).unwrap();
    for _ in 0..2 {
        let again = hear(&mut second, |said| match said {
            FromSupervisor::Running { process, .. } => Some(process),
            _ => None,
        })
        .await;
        assert_eq!(again, process);
    }
    // The number's next owner would have another start time.
    let other = ProcessKey { started: process.started + 1, ..process };
    let kill = |process| ToSupervisor::Signal { node: node.clone(), process, signal: Signal::Kill };
    duplex.sender.send(&kill(other)).unwrap();
    duplex.sender.send(&start).unwrap();
    hear(&mut duplex, |said| matches!(said, FromSupervisor::Running { .. }).then_some(())).await;
    assert!(alive(process.pid));
    let log = supervisor.dir.path().join("engine.log");
    let said = async {
        loop {
            let log = std::fs::read_to_string(&log).unwrap();
            if log.lines().count() == 3 {
                return log;
            }
            // waits: nothing tells when another process has written a line.
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let log = tokio::time::timeout(PATIENCE, said).await.expect("the process says its limits");
    duplex.sender.send(&kill(process)).unwrap();
    let status = hear(&mut duplex, |said| match said {
        FromSupervisor::Exited { status, process: of, .. } if of == process => Some(status),
        _ => None,
    })
    .await;
    assert_eq!(status, "killed by signal 9");
    let limits: Vec<&str> = log.lines().collect();
    assert_eq!(limits[0], limits[1], "the limit of descriptors is raised");
    assert!(!protected || limits[2] == "0", "the engine is no more protected than others");
}

#[tokio::test]
async fn an_engine_that_was_started_but_not_recorded_is_recognised() {
    let mut supervisor = Supervisor::start().await;
    let host = Host::start(&supervisor, "host-1", EngineKind::Redis);
    host.up("web-001", 1, 1, DataOnStart::Load).await;
    let pid = host.pid("web-001");
    let config = host.config.clone();
    host.abort();
    supervisor.kill();
    std::fs::remove_file(supervisor.dir.path().join("state/processes.json")).unwrap();
    supervisor.restart_dead().await;
    let host = Host::with(config, EngineKind::Redis);
    host.up("web-001", 1, 1, DataOnStart::Load).await;
    assert_eq!(host.pid("web-001"), pid);
    end(&[&host]).await;
}

#[tokio::test]
async fn an_engine_whose_node_is_not_known_is_not_started_over() {
    let supervisor = Supervisor::start().await;
    let host = Host::start(&supervisor, "host-1", EngineKind::Redis);
    let run = host.up("web-001", 1, 1, DataOnStart::Load).await;
    std::fs::remove_file(host.dir("web-001").join("node.json")).unwrap();
    let host = host.restart().await;
    assert_eq!(host.up("web-001", 1, 1, DataOnStart::SetAside).await, run);
    host.loaded("web-001").await;
    assert!(std::fs::read_dir(host.dir("web-001").join("aside")).unwrap().next().is_none());
    end(&[&host]).await;
}

#[tokio::test]
async fn what_runs_is_stopped_even_if_nothing_was_known_of_it_when_the_stop_was_asked_for() {
    for forgotten in [false, true] {
        let supervisor = Supervisor::start().await;
        let host = Host::start(&supervisor, "host-1", EngineKind::Redis);
        host.up("web-001", 1, 1, DataOnStart::Load).await;
        let pid = host.pid("web-001");
        if forgotten {
            std::fs::remove_file(host.dir("web-001").join("node.json")).unwrap();
        }
        let host = host.restart().await;
        end(&[&host]).await;
        assert!(!alive(pid), "forgotten: {forgotten}");
    }
}

#[tokio::test]
async fn a_damaged_record_stops_the_supervisor_rather_than_being_forgotten() {
    let mut supervisor = Supervisor::start().await;
    supervisor.kill();
    let record = supervisor.dir.path().join("state/processes.json");
    std::fs::write(&record, b"{").unwrap();
    let config = tanist_agent::SupervisorConfig {
        socket: supervisor.socket(),
        state_dir: supervisor.dir.path().join("state"),
        leases: None,
    };
    let err = tanist_agent::supervise(config).await.unwrap_err();
    assert!(err.to_string().contains("processes.json is damaged"), "{err}");
    assert_eq!(std::fs::read(record).unwrap(), b"{");
}
