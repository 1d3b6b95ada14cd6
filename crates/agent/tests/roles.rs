//! Roles: start, freeze, promote, follow, admit, and what each leaves behind.

#![allow(clippy::unwrap_used, reason = "a failed expectation is a failed test")]

mod common;

use common::*;
use tanist_core::model::*;
use tanist_link::wire::{lane_label, lane_user};

with_both_engines!(
    a_started_engine_is_a_closed_replica_of_nobody,
    a_group_fails_over_and_back_without_a_full_copy,
    lanes_and_attachments_exist_only_as_long_as_they_are_wanted,
    writes_past_the_promotion_are_saved_before_they_are_overwritten,
    an_order_that_comes_while_a_tail_is_saved_does_not_lose_it,
    a_primary_that_missed_two_epochs_is_saved_before_it_is_overwritten,
    a_replica_that_attaches_again_has_nothing_to_save,
    an_attachment_is_online_once_something_came_by_its_stream,
    a_drained_replica_answers_with_the_old_primarys_offset,
    no_password_is_in_arguments_or_logs,
    a_removed_node_leaves_nothing_but_the_promise,
    transactions_and_scripts_survive_replication_and_a_reload,
);

async fn a_started_engine_is_a_closed_replica_of_nobody(engine: EngineKind) {
    let supervisor = Supervisor::start().await;
    let host = Host::start(&supervisor, "host-1", engine);
    let run = host.up("web-001", 1, 1, DataOnStart::Load).await;
    let seen = host.node("web-001", "a probe", |report| report.engine().cloned()).await;
    assert_eq!(seen.run, run);
    assert_eq!(seen.health, Health::ReadOnly);
    assert_eq!(seen.role, RoleSeen::Replica { link_up: false, syncing: false, of: None });
    for password in ["", "x", "default"] {
        assert!(Engine::open(host.address(), "default", password).await.is_none());
    }
    let mut stranger = Engine::anonymous(host.address()).await;
    assert_eq!(stranger.call(&["PING"]).await.error_code(), Some("NOAUTH"));
    assert_eq!(stranger.call(&["PSYNC", "?", "-1"]).await.error_code(), Some("NOAUTH"));
    let Fenced::Frozen { origin, offset, before, run: frozen, .. } =
        host.fence("web-001", 2, 1, false).await
    else {
        panic!("not frozen")
    };
    assert_eq!((frozen, origin, offset, before), (run, Origin::Empty, Offset(0), None));
    end(&[&host]).await;
}

/// Promotes the first of the hosts and attaches the others; gives their runs.
async fn group(hosts: &[&Host]) -> Vec<RunId> {
    let mut runs = Vec::new();
    for (n, host) in hosts.iter().enumerate() {
        runs.push(host.up(&name(n), 1, 1, DataOnStart::Load).await);
    }
    lead(hosts, &runs, 0, 2, 1, None).await;
    runs
}

fn name(n: usize) -> String {
    format!("web-{:03}", n + 1)
}

/// Makes the `leader`-th host's node primary and all others its replicas, linked.
async fn lead(
    hosts: &[&Host],
    runs: &[RunId],
    leader: usize,
    rev: u64,
    epoch: u64,
    base: Option<(ReplId, Offset)>,
) {
    let others: Vec<usize> = (0..hosts.len()).filter(|n| *n != leader).collect();
    let seq = |n: usize| rev * 10 + u64::try_from(n).unwrap();
    let tags: Vec<Tag> = others.iter().map(|n| tag(&name(*n), &runs[*n], seq(*n))).collect();
    let tags: Vec<&Tag> = tags.iter().collect();
    let first = hosts[leader];
    first.order(&name(leader), rev, epoch, promote(&runs[leader], &tags, &["proxy-1"])).await;
    let applied = first.applied(&name(leader), rev).await;
    assert!(applied.primary && applied.run == runs[leader]);
    for (n, tag) in others.iter().zip(&tags) {
        let order = follow(tag, first.address(), base.clone());
        hosts[*n].order(&name(*n), rev, epoch, order).await;
        assert!(!hosts[*n].applied(&name(*n), rev).await.primary);
    }
    for (n, tag) in others.iter().zip(&tags) {
        hosts[*n].node(&name(*n), "a link", linked).await;
        first
            .node(&name(leader), "an online attachment", |report| {
                let RoleSeen::Primary { replicas } = &report.engine()?.role else { return None };
                let wire = tag.to_string();
                replicas.iter().find(|replica| replica.tag == wire && replica.online).map(|_| ())
            })
            .await;
    }
}

async fn full_copies(host: &Host, node: &str) -> u64 {
    host.engine(node).await.info("stats").await.get_u64("sync_full").unwrap()
}

fn position(state: &Fenced) -> (ReplId, Offset) {
    match state {
        Fenced::Frozen { replid, offset, .. } => (replid.clone(), *offset),
        other => panic!("{other:?}"),
    }
}

async fn a_group_fails_over_and_back_without_a_full_copy(engine: EngineKind) {
    let supervisor = Supervisor::start().await;
    let [a, b, c] = ["host-1", "host-2", "host-3"].map(|n| Host::start(&supervisor, n, engine));
    let hosts = [&a, &b, &c];
    let runs = group(&hosts).await;
    let mut first = a.engine("web-001").await;
    first.call(&["SET", "k", "v1"]).await;
    assert_eq!(first.call(&["WAIT", "2", "5000"]).await.as_int(), Some(2));
    let copies = full_copies(&a, "web-001").await;
    assert_eq!(copies, 2, "each newcomer has had one");
    for (round, (from, to)) in [(0_usize, 1_usize), (1, 0), (0, 2)].into_iter().enumerate() {
        let round = u64::try_from(round).unwrap();
        let (rev, epoch) = (10 + 2 * round, 2 + round);
        let old = hosts[from].fence(&name(from), rev, epoch, true).await;
        let mut base = None;
        for n in (0..3).filter(|n| *n != from) {
            let drain_to = Some(position(&old).1);
            let order = Action::Fence { was_primary: false, drain_to };
            hosts[n].order(&name(n), rev, epoch, order).await;
            let state = hosts[n].answer(&name(n), rev).await;
            assert_eq!(position(&state), position(&old), "round {round}, node {n}");
            base = Some(position(&state));
        }
        lead(&hosts, &runs, to, rev + 1, epoch, base).await;
        let mut engine = hosts[to].engine(&name(to)).await;
        assert!(engine.call(&["SET", "k", &format!("after {round}")]).await.is_ok());
        assert_eq!(engine.call(&["WAIT", "2", "5000"]).await.as_int(), Some(2));
    }
    for host in hosts {
        assert_eq!(host.said.borrow().notes, [], "nothing was to be saved");
    }
    assert_eq!(full_copies(&a, "web-001").await, copies);
    assert_eq!(full_copies(&b, "web-002").await, 0);
    assert_eq!(full_copies(&c, "web-003").await, 0);
    let value = b.engine("web-002").await.call(&["GET", "k"]).await;
    assert_eq!(value.as_str(), Some("after 2"));
    end(&hosts).await;
}

async fn lanes_and_attachments_exist_only_as_long_as_they_are_wanted(engine: EngineKind) {
    let supervisor = Supervisor::start().await;
    let host = Host::start(&supervisor, "host-1", engine);
    let run = host.up("web-001", 1, 1, DataOnStart::Load).await;
    let replica = tag("web-002", &RunId::new("0123456789abcdef"), 4);
    host.order("web-001", 2, 1, promote(&run, &[&replica], &["proxy-1", "proxy-2"])).await;
    let applied = host.applied("web-001", 2).await;
    assert_eq!(applied.seqs, [4].into());
    assert_eq!(applied.lanes, proxies(&["proxy-1", "proxy-2"]));
    let lane = |epoch: u64, proxy: &str| {
        let (epoch, proxy) = (Epoch(epoch), ProxyId::new(proxy));
        let label = lane_label(&"web".into(), &"0001".into(), epoch, &proxy);
        (lane_user(epoch, &proxy), secret().password(&label))
    };
    let (user, password) = lane(1, "proxy-1");
    let mut first = Engine::open(host.address(), &user, &password).await.expect("a lane");
    assert!(first.call(&["SET", "k", "v"]).await.is_ok());
    assert_eq!(first.call(&["WAIT", "0", "0"]).await.as_int(), Some(0));
    assert_eq!(first.call(&["ROLE"]).await.as_error(), None);
    for denied in [
        &["REPLICAOF", "NO", "ONE"][..],
        &["SHUTDOWN"],
        &["CONFIG", "GET", "masterauth"],
        &["ACL", "LIST"],
        &["CLIENT", "PAUSE", "1"],
        &["MODULE", "LIST"],
        &["BGSAVE"],
        &["CLUSTER", "RESET"],
    ] {
        assert_eq!(first.call(denied).await.error_code(), Some("NOPERM"), "{denied:?}");
    }
    // Another proxy's lane and the attachment go; this lane's connection stays.
    let admit = Action::Admit {
        run: run.clone(),
        replicas: [].into(),
        lanes: proxies(&["proxy-1"]),
        stand_ins: None,
    };
    host.order("web-001", 3, 1, admit).await;
    host.applied("web-001", 3).await;
    assert_eq!(first.call(&["GET", "k"]).await.as_str(), Some("v"));
    let users = host.engine("web-001").await.call(&["ACL", "USERS"]).await;
    let users: Vec<_> = users.as_array().unwrap().iter().filter_map(|u| u.as_str()).collect();
    assert_eq!(users, ["default", "lane-1-proxy-1", "tanist"]);
    // The next epoch's promotion cuts what belongs to this one.
    host.fence("web-001", 4, 2, true).await;
    host.order("web-001", 5, 2, promote(&run, &[], &["proxy-1"])).await;
    host.applied("web-001", 5).await;
    assert!(Engine::open(host.address(), &user, &password).await.is_none());
    let (user, password) = lane(2, "proxy-1");
    assert!(Engine::open(host.address(), &user, &password).await.is_some());
    // Another run's orders concern nobody here.
    let other = RunId::new("ffffffffffffffff");
    host.order("web-001", 6, 2, promote(&other, &[], &[])).await;
    host.node("web-001", "the promise", |report| (report.rev == Rev(6)).then_some(())).await;
    host.fence("web-001", 7, 3, true).await;
    assert_eq!(host.said.borrow().nodes["web-001"].report.applied, None);
    end(&[&host]).await;
}

async fn writes_past_the_promotion_are_saved_before_they_are_overwritten(engine: EngineKind) {
    let supervisor = Supervisor::start().await;
    let [a, b] = ["host-1", "host-2"].map(|n| Host::start(&supervisor, n, engine));
    let runs = group(&[&a, &b]).await;
    let mut old = a.engine("web-001").await;
    old.call(&["SET", "both", "1"]).await;
    assert_eq!(old.call(&["WAIT", "1", "5000"]).await.as_int(), Some(1));
    let base = position(&b.fence("web-002", 10, 2, false).await);
    // The old primary was not reached, and goes on writing.
    old.call(&["SET", "lost", "1"]).await;
    lead(&[&a, &b], &runs, 1, 11, 2, Some(base)).await;
    let text = a.note("DivergentTailSaved").await;
    assert!(text.contains("bytes of writes that the new primary never received"), "{text}");
    assert_eq!(a.engine("web-001").await.call(&["GET", "lost"]).await.as_str(), None);
    assert!(is_aside(&a, "web-001", "lost"));
    end(&[&a, &b]).await;
}

/// Whether the only thing that is set aside holds this text.
fn is_aside(host: &Host, node: &str, text: &str) -> bool {
    let saved: Vec<_> = std::fs::read_dir(host.dir(node).join("aside")).unwrap().collect();
    let [Ok(saved)] = saved.as_slice() else { panic!("{saved:?}") };
    let bytes = std::fs::read(saved.path()).unwrap();
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

async fn an_order_that_comes_while_a_tail_is_saved_does_not_lose_it(engine: EngineKind) {
    let supervisor = Supervisor::start().await;
    let [a, b] = ["host-1", "host-2"].map(|n| Host::start(&supervisor, n, engine));
    let runs = group(&[&a, &b]).await;
    let mut old = a.engine("web-001").await;
    old.call(&["SET", "both", "1"]).await;
    assert_eq!(old.call(&["WAIT", "1", "5000"]).await.as_int(), Some(1));
    let base = position(&b.fence("web-002", 10, 2, false).await);
    old.call(&["SET", "lost", "1"]).await;
    let tag = tag("web-001", &runs[0], 110);
    b.order("web-002", 11, 2, promote(&runs[1], &[&tag], &[])).await;
    b.applied("web-002", 11).await;
    // Long enough for the orders below, short enough to wait for.
    assert!(old.call(&["CONFIG", "SET", "rdb-key-save-delay", "300000"]).await.is_ok());
    let order = follow(&tag, b.address(), Some(base));
    a.order("web-001", 11, 2, order.clone()).await;
    let saving = async {
        while old.info("persistence").await.get("rdb_bgsave_in_progress") != Some("1") {
            // waits: the engine offers no event for the beginning of a snapshot.
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, saving).await.expect("a snapshot");
    a.order("web-001", 12, 2, order).await;
    assert!(!a.applied("web-001", 12).await.primary);
    a.note("DivergentTailSaved").await;
    assert!(is_aside(&a, "web-001", "lost"));
    a.node("web-001", "a link", linked).await;
    assert_eq!(a.engine("web-001").await.call(&["GET", "lost"]).await.as_str(), None);
    end(&[&a, &b]).await;
}

async fn a_primary_that_missed_two_epochs_is_saved_before_it_is_overwritten(engine: EngineKind) {
    let supervisor = Supervisor::start().await;
    let [a, b, c] = ["host-1", "host-2", "host-3"].map(|n| Host::start(&supervisor, n, engine));
    let runs = group(&[&a, &b, &c]).await;
    let mut old = a.engine("web-001").await;
    old.call(&["SET", "all", "1"]).await;
    assert_eq!(old.call(&["WAIT", "2", "5000"]).await.as_int(), Some(2));
    // The second epoch, without the first one's primary, which goes on writing.
    let base = position(&b.fence("web-002", 10, 2, false).await);
    c.fence("web-003", 10, 2, false).await;
    old.call(&["SET", "lost", "1"]).await;
    let third = tag("web-003", &runs[2], 110);
    b.order("web-002", 11, 2, promote(&runs[1], &[&third], &[])).await;
    b.applied("web-002", 11).await;
    c.order("web-003", 11, 2, follow(&third, b.address(), Some(base))).await;
    c.node("web-003", "a link", linked).await;
    let mut second = b.engine("web-002").await;
    second.call(&["SET", "two", "1"]).await;
    assert_eq!(second.call(&["WAIT", "1", "5000"]).await.as_int(), Some(1));
    // The third epoch begins where the second one's history ends, of which the first knows nothing.
    let base = position(&c.fence("web-003", 20, 3, false).await);
    b.fence("web-002", 20, 3, true).await;
    lead(&[&a, &b, &c], &runs, 2, 21, 3, Some(base)).await;
    a.note("DivergentTailSaved").await;
    assert_eq!(a.engine("web-001").await.call(&["GET", "lost"]).await.as_str(), None);
    assert!(is_aside(&a, "web-001", "lost"));
    assert_eq!(b.said.borrow().notes, [], "it had missed nothing");
    end(&[&a, &b, &c]).await;
}

async fn a_replica_that_attaches_again_has_nothing_to_save(engine: EngineKind) {
    let supervisor = Supervisor::start().await;
    let [a, b, c] = ["host-1", "host-2", "host-3"].map(|n| Host::start(&supervisor, n, engine));
    let runs = group(&[&a, &b]).await;
    let newcomer = c.up("web-003", 1, 1, DataOnStart::Load).await;
    a.fence("web-001", 10, 2, true).await;
    let base = position(&b.fence("web-002", 10, 2, false).await);
    let runs = [runs[0].clone(), runs[1].clone(), newcomer];
    // The newcomer gets a full copy of a history that has a name which no order says.
    lead(&[&a, &b, &c], &runs, 1, 11, 2, Some(base.clone())).await;
    let mut primary = b.engine("web-002").await;
    primary.call(&["SET", "k", "1"]).await;
    assert_eq!(primary.call(&["WAIT", "2", "10000"]).await.as_int(), Some(2));
    // By other attachments within the epoch, and to another agent, too.
    lead(&[&a, &b, &c], &runs, 1, 12, 2, Some(base.clone())).await;
    let c = c.restart().await;
    c.applied("web-003", 12).await;
    lead(&[&a, &b, &c], &runs, 1, 13, 2, Some(base)).await;
    for host in [&a, &c] {
        assert_eq!(host.said.borrow().notes, [], "{:?}", host.config.host);
    }
    end(&[&a, &b, &c]).await;
}

async fn an_attachment_is_online_once_something_came_by_its_stream(engine: EngineKind) {
    let supervisor = Supervisor::start().await;
    let [a, b] = ["host-1", "host-2"].map(|n| Host::start(&supervisor, n, engine));
    let runs = [
        a.up("web-001", 1, 1, DataOnStart::Load).await,
        b.up("web-002", 1, 1, DataOnStart::Load).await,
    ];
    // Nobody writes: all that moves the primary's position is what it has to send.
    let before = a.node("web-001", "a probe", |report| Some(report.engine()?.offset)).await;
    lead(&[&a, &b], &runs, 0, 2, 1, None).await;
    let acked = a.node("web-001", "an attachment", |report| {
        let RoleSeen::Primary { replicas } = &report.engine()?.role else { return None };
        replicas.first().filter(|replica| replica.online).map(|replica| replica.acked)
    });
    assert!(acked.await > before);
    assert_eq!(full_copies(&a, "web-001").await, 1);
    end(&[&a, &b]).await;
}

async fn a_drained_replica_answers_with_the_old_primarys_offset(engine: EngineKind) {
    let supervisor = Supervisor::start().await;
    let [a, b] = ["host-1", "host-2"].map(|n| Host::start(&supervisor, n, engine));
    group(&[&a, &b]).await;
    let mut primary = a.engine("web-001").await;
    let value = "x".repeat(1 << 20);
    for n in 0..20 {
        primary.call(&["SET", &format!("k{n}"), &value]).await;
    }
    let (_, end_of_old) = position(&a.fence("web-001", 10, 2, true).await);
    let order = Action::Fence { was_primary: false, drain_to: Some(end_of_old) };
    b.order("web-002", 10, 2, order).await;
    assert_eq!(position(&b.answer("web-002", 10).await).1, end_of_old);
    end(&[&a, &b]).await;
}

async fn no_password_is_in_arguments_or_logs(engine: EngineKind) {
    let supervisor = Supervisor::start().await;
    let [a, b] = ["host-1", "host-2"].map(|n| Host::start(&supervisor, n, engine));
    let runs = group(&[&a, &b]).await;
    let replica = tag("web-002", &runs[1], 21);
    let (group, shard) = ("web".into(), "0001".into());
    let mut secrets = vec![
        secret().password(&tanist_link::wire::admin_label(&"web-001".into())),
        secret().password(&tanist_link::wire::admin_label(&"web-002".into())),
        secret().password(&tanist_link::wire::replica_label(&group, &shard, &replica)),
        secret().password(&lane_label(&group, &shard, Epoch(1), &"proxy-1".into())),
    ];
    // The password itself is in use: the attachment is up.
    let user = b.engine("web-002").await.call(&["CONFIG", "GET", "masterauth"]).await;
    assert_eq!(user.get("masterauth").unwrap().as_str(), Some(secrets[2].as_str()));
    secrets.dedup();
    let holds = |text: &[u8]| {
        secrets.iter().any(|secret| text.windows(secret.len()).any(|w| w == secret.as_bytes()))
    };
    for (host, node) in [(&a, "web-001"), (&b, "web-002")] {
        let pid = host.pid(node);
        for file in ["cmdline", "environ"] {
            assert!(!holds(&std::fs::read(format!("/proc/{pid}/{file}")).unwrap()), "{file}");
        }
        for file in ["engine.log", "node.conf", "node.json"] {
            assert!(!holds(&std::fs::read(host.dir(node).join(file)).unwrap()), "{file}");
        }
        use std::os::unix::fs::PermissionsExt;
        for file in ["engine.log", "node.conf", "node.json"] {
            let mode = host.dir(node).join(file).metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o077, 0, "{file}");
        }
    }
    end(&[&a, &b]).await;
}

async fn a_removed_node_leaves_nothing_but_the_promise(engine: EngineKind) {
    let supervisor = Supervisor::start().await;
    let host = Host::start(&supervisor, "host-1", engine);
    host.up("web-001", 5, 1, DataOnStart::Load).await;
    let pid = host.pid("web-001");
    host.order("web-001", 6, 1, Action::Remove).await;
    host.node("web-001", "nothing", |report| {
        (!report.data && report.process == Process::Absent).then_some(())
    })
    .await;
    assert!(!alive(pid));
    assert!(!host.dir("web-001").exists());
    // An order from before must not bring it back.
    host.order("web-001", 5, 1, host.start_action(DataOnStart::Load)).await;
    assert_eq!(host.fence("web-001", 7, 2, false).await, Fenced::Dead);
    assert!(!host.dir("web-001").exists());
    end(&[&host]).await;
}

async fn transactions_and_scripts_survive_replication_and_a_reload(engine: EngineKind) {
    let supervisor = Supervisor::start().await;
    let [a, b] = ["host-1", "host-2"].map(|n| Host::start(&supervisor, n, engine));
    group(&[&a, &b]).await;
    let mut primary = a.engine("web-001").await;
    primary.call(&["MULTI"]).await;
    primary.call(&["SET", "one", "1"]).await;
    primary.call(&["SET", "two", "2"]).await;
    assert_eq!(primary.call(&["EXEC"]).await.as_array().map(<[_]>::len), Some(2));
    let script = "redis.call('SET', 'three', 3) redis.call('SET', 'four', 4)";
    assert_eq!(primary.call(&["EVAL", script, "0"]).await.as_error(), None);
    let function = "#!lua name=lib\nredis.register_function('f', function() return 5 end)";
    assert_eq!(primary.call(&["FUNCTION", "LOAD", function]).await.as_str(), Some("lib"));
    assert_eq!(primary.call(&["WAIT", "1", "5000"]).await.as_int(), Some(1));
    primary.flushed().await;
    assert_eq!(b.engine("web-002").await.call(&["DBSIZE"]).await.as_int(), Some(4));
    signal(a.pid("web-001"), "KILL");
    let gone = |report: &NodeReport| (report.process == Process::Absent).then_some(());
    a.node("web-001", "no process", gone).await;
    a.up("web-001", 10, 2, DataOnStart::Load).await;
    a.loaded("web-001").await;
    let mut again = a.engine("web-001").await;
    assert_eq!(again.call(&["DBSIZE"]).await.as_int(), Some(4));
    assert_eq!(again.call(&["FUNCTION", "LIST"]).await.as_array().map(<[_]>::len), Some(1));
    end(&[&a, &b]).await;
}
