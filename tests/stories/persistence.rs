//! What is still there after a restart of a part, of everything, in order or not.
//!
//! Invariant: data is compared key by key, not by a status word.
//!
//! Not here: faults of single processes (`super::faults`).

use tanist_lab::{Installation, engines_of};

use crate::{call, runtime, text, web};

crate::on_both_engines!(
    a_restart_of_the_control_plane_restarts_no_engine_and_drops_no_client,
    everything_comes_back_after_an_orderly_end,
    everything_comes_back_after_the_sudden_end_of_every_process,
    down_ends_what_a_killed_control_plane_left_running,
    a_deleted_group_leaves_no_process_and_no_data,
);

const KEYS: usize = 300;

fn fill(installation: &Installation) {
    let group = installation.group("web");
    runtime().block_on(async {
        let mut client = installation.connect(&group.primary_endpoint).await;
        for n in 0..KEYS {
            let reply = call(&mut client, &["SET", &format!("key:{n}"), &format!("v{n}")]).await;
            assert!(reply.is_ok(), "{reply:?}");
        }
    });
}

fn assert_filled(installation: &Installation) {
    let group = installation.group("web");
    runtime().block_on(async {
        let mut client = installation.connect(&group.primary_endpoint).await;
        for n in 0..KEYS {
            let value = call(&mut client, &["GET", &format!("key:{n}")]).await;
            let expected = format!("v{n}");
            assert_eq!(value.as_str(), Some(expected.as_str()), "{}", installation.what_it_says());
        }
    });
}

fn pids(installation: &Installation) -> Vec<Option<u32>> {
    installation.shard("web").nodes.iter().map(|node| node.pid).collect()
}

fn a_restart_of_the_control_plane_restarts_no_engine_and_drops_no_client(engine: &str) {
    let mut installation = web(engine, &[]);
    fill(&installation);
    let group = installation.group("web");
    let before = pids(&installation);
    runtime().block_on(async {
        let mut client = installation.connect(&group.primary_endpoint).await;
        let id = text_of_id(&mut client).await;
        installation.kill_dev();
        assert!(call(&mut client, &["SET", "while", "down"]).await.is_ok(), "{engine}");
        installation.dev();
        assert_eq!(text_of_id(&mut client).await, id, "the connection was replaced");
        assert_eq!(text(&mut client, &["GET", "while"]).await, "down");
    });
    installation.available("web");
    assert_eq!(pids(&installation), before, "{engine}");
    assert_eq!(installation.shard("web").epoch, group.shards[0].epoch, "{engine}");
    assert_filled(&installation);
}

async fn text_of_id(client: &mut tanist_resp::Connection) -> String {
    format!("{:?}", call(client, &["CLIENT", "ID"]).await)
}

fn everything_comes_back_after_an_orderly_end(engine: &str) {
    let mut installation = web(engine, &[]);
    fill(&installation);
    installation.tanist(&["down"]).ok();
    assert_eq!(installation.dev_ended(), 0);
    let left = engines_of(installation.dir());
    assert!(left.is_empty(), "processes left behind: {left:?}");
    installation.dev();
    installation.available("web");
    assert_filled(&installation);
    let events = installation.tanist(&["events"]).ok();
    assert!(events.contains("nothing is missing"), "{events}");
}

fn everything_comes_back_after_the_sudden_end_of_every_process(engine: &str) {
    let mut installation = web(engine, &[]);
    fill(&installation);
    installation.kill_everything();
    installation.dev();
    installation.available("web");
    assert_filled(&installation);
    let events = installation.tanist(&["events"]).ok();
    assert!(events.contains("RecoveredFromDisk"), "{events}");
}

fn down_ends_what_a_killed_control_plane_left_running(engine: &str) {
    let mut installation = web(engine, &[]);
    fill(&installation);
    installation.kill_dev();
    assert!(!engines_of(installation.dir()).is_empty());
    installation.tanist(&["down"]).ok();
    let left = engines_of(installation.dir());
    assert!(left.is_empty(), "processes left behind: {left:?}");
    installation.dev();
    installation.available("web");
    assert_filled(&installation);
}

fn a_deleted_group_leaves_no_process_and_no_data(engine: &str) {
    let installation = web(engine, &[]);
    fill(&installation);
    let group = installation.group("web");
    let refused = installation.tanist(&["delete", "web"]);
    assert_eq!(refused.code, 5, "{refused:?}");
    installation.tanist(&["delete", "web", "--yes"]).ok();
    for node in &group.shards[0].nodes {
        let pid = node.pid.unwrap_or_else(|| panic!("{node:?}"));
        assert!(!tanist_lab::alive(pid), "{node:?}");
        let dir = installation.dir().join("hosts").join(node.host.as_str()).join("nodes");
        assert!(!dir.join(node.node.as_str()).exists(), "{node:?}");
    }
    installation.create("web", &["--engine", engine]);
    runtime().block_on(async {
        let endpoint = installation.group("web").primary_endpoint;
        let mut client = installation.connect(&endpoint).await;
        assert_eq!(call(&mut client, &["DBSIZE"]).await.as_int(), Some(0), "{engine}");
    });
}
