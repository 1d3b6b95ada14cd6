//! `tanist down`: the orderly end of everything, and what it says when that cannot be had.
//!
//! Invariant: what still runs is named, and nothing claims that it has ended.
//!
//! Not here: what comes back afterwards (`super::persistence`).

use rustix::process::Signal;
use tanist_lab::{Installation, alive, engines_of, signal};

/// Nothing of it depends on the engine.
#[test]
fn a_host_that_cannot_stop_its_engines_in_time_is_named_and_stopped_by_the_next_down() {
    let mut installation = Installation::empty();
    installation.dev_with(&["--stop-within", "2"]);
    installation.create("web", &["--engine", "redis", "--replicas", "0"]);
    let primary = installation.primary("web");
    let pid = primary.pid.unwrap_or_else(|| panic!("{primary:?}"));
    let supervisor = installation.role("supervise");
    // Only the supervisor can end an engine.
    signal(supervisor, Signal::STOP);
    let down = installation.tanist(&["down"]);
    assert_eq!(down.code, 1, "{down:?}");
    let left = format!("{}\n", primary.host);
    assert!(down.err.contains("T502") && down.err.contains(&left), "{down:?}");
    assert!(!down.out.contains("everything has ended"), "{down:?}");
    assert_eq!(installation.dev_ended(), 1);
    let said = std::fs::read_to_string(installation.dir().join("out"));
    let said = said.unwrap_or_else(|err| panic!("{err}"));
    assert!(said.contains("T502") && said.contains(&left), "{said}");
    assert!(!said.contains("everything has ended"), "{said}");
    assert!(alive(pid), "what was named does run");
    signal(supervisor, Signal::CONT);
    installation.tanist(&["down"]).ok();
    assert_eq!(engines_of(installation.dir()), Vec::<u32>::new());
}

#[test]
fn down_without_dev_ends_what_is_left_and_leaves_nothing_that_it_started_itself() {
    let mut installation = Installation::start();
    installation.create("web", &["--replicas", "0"]);
    installation.kill_dev();
    // The second time there is nothing left but what it starts in order to look.
    for time in ["first", "second"] {
        installation.tanist(&["down"]).ok();
        assert_eq!(engines_of(installation.dir()), Vec::<u32>::new(), "{time}");
    }
}
