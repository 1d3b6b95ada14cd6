//! Drills and demos that do not go to their end, and those that are better not begun.
//!
//! Invariant: whatever ends a drill or a demo, nothing of it stays.
//!
//! Not here: what drills show (`super::faults`).

use std::io::{BufRead, BufReader};
use std::process::Child;

use rustix::process::{Pid, Signal, kill_process_group};
use tanist_lab::{Installation, engines_of, kill, signal};

use crate::{call, runtime, web};

/// Reads what a command says until there is a line with this.
fn until(child: &mut Child, part: &str) {
    let out = child.stdout.take().unwrap_or_else(|| panic!("its output is read already"));
    let mut lines = BufReader::new(out).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.contains(part)), "it never says {part}");
}

#[test]
fn a_drill_that_ends_early_leaves_no_key_for_ever() {
    let installation = web("redis", &[]);
    let mut drill = installation.begin(&["drill", "web", "--switchover", "--runs", "100"]);
    until(&mut drill, "serves");
    kill(drill.id());
    drill.wait().unwrap_or_else(|err| panic!("{err}"));
    let group = installation.available("web");
    runtime().block_on(async {
        let mut client = installation.connect(&group.primary_endpoint).await;
        let found = call(&mut client, &["SCAN", "0", "COUNT", "100"]).await;
        let keys = found.as_array().and_then(|parts| parts[1].as_array()).unwrap_or_default();
        assert!(!keys.is_empty(), "{found:?}");
        for key in keys {
            let ttl = call(&mut client, &["TTL", key.as_str().unwrap_or_default()]).await;
            assert!(ttl.as_int().is_some_and(|ttl| ttl > 3_000), "{key:?}: {ttl:?}");
        }
    });
}

#[test]
fn a_crash_is_not_drilled_where_nobody_would_take_over() {
    let installation = web("redis", &["--replicas", "0"]);
    installation.create("manual", &["--replicas", "1", "--no-automatic-failover"]);
    for (group, why) in [("web", "no replica"), ("manual", "no automatic failover")] {
        let before = installation.primary(group);
        for fault in ["--kill", "--freeze"] {
            let ran = installation.tanist(&["drill", group, "--switchover", fault]);
            assert_eq!(ran.code, 5, "{ran:?}");
            assert!(ran.err.contains("T207") && ran.err.contains(why), "{}", ran.err);
        }
        assert_eq!(installation.primary(group).pid, before.pid);
    }
}

#[test]
fn a_demo_that_is_interrupted_ends_all_that_it_started() {
    for from_terminal in [true, false] {
        let place = Installation::empty();
        let mut demo = place.begin(&["demo"]);
        until(&mut demo, "load ");
        if from_terminal {
            // To everybody who did not leave the group.
            let group = i32::try_from(demo.id()).ok().and_then(Pid::from_raw);
            group.map(|group| kill_process_group(group, Signal::INT));
        } else {
            signal(demo.id(), Signal::TERM);
        }
        let ended = demo.wait_with_output().unwrap_or_else(|err| panic!("{err}"));
        let said = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(1), "{said}");
        assert!(said.contains("T666"), "{said}");
        assert_eq!(engines_of(place.dir()), Vec::<u32>::new());
        let left: Vec<_> = std::fs::read_dir(place.dir()).into_iter().flatten().collect();
        assert!(left.is_empty(), "{left:?}");
    }
}
