//! The smallest worlds as a whole, planted bugs, and that everything is repeatable.
//!
//! Not here: the standard configurations, which take minutes (`tanist-check exhaustive`).

use std::process::Command;

use tanist_check::{Budget, Configuration, Found, Tooth, Wish, exhaust, walk};

fn named(name: &str) -> Configuration {
    Configuration::named(name).unwrap_or_else(|| panic!("no configuration {name}"))
}

/// One write, and what else is given.
fn small(budget: Budget) -> Configuration {
    Configuration { budget: Budget { writes: 1, ..budget }, proxies: 1, ..named("failover") }
}

fn all(configuration: Configuration) -> Found {
    exhaust(configuration, u64::MAX)
}

fn taken(found: &Found, kind: &str) -> u64 {
    let of_kind = found.census.iter().filter(|(name, _)| *name == kind);
    of_kind.map(|(_, count)| count).sum()
}

/// Searches as a whole, and fails with the story if a promise breaks.
fn holds(configuration: Configuration) -> Found {
    let found = all(configuration);
    if let Some(trace) = &found.trace {
        panic!("{}: {trace}", configuration.name);
    }
    assert!(found.complete);
    found
}

#[test]
fn a_failover_beside_a_crash_loses_nothing_acknowledged() {
    let found = holds(small(Budget { failovers: 1, crashes: 1, ..Budget::default() }));
    assert!(taken(&found, "release") > 0 && taken(&found, "crash") > 0, "{:?}", found.census);
}

#[test]
fn a_planned_switchover_loses_nothing_acknowledged() {
    let quiet = Budget { failovers: 1, ..Budget::default() };
    let unasked = holds(small(quiet));
    let asked = holds(Configuration { wishes: &[Wish::Switchover], ..small(quiet) });
    assert!(asked.states > unasked.states, "nobody acted on the request");
}

#[test]
fn a_learner_joins_only_with_everything_while_a_proxy_is_cut() {
    let found = holds(Configuration {
        in_sync: 1,
        ..small(Budget { sets: 1, cuts: 1, ..Budget::default() })
    });
    assert!(taken(&found, "beat") > 0 && taken(&found, "release") > 0, "{:?}", found.census);
}

#[test]
fn a_leader_that_begins_anew_loses_nothing_acknowledged() {
    let found = holds(Configuration {
        leader_restarts: true,
        ..small(Budget { failovers: 1, leaders: 1, ..Budget::default() })
    });
    assert!(taken(&found, "lead") > 0, "{:?}", found.census);
}

#[test]
fn a_process_that_is_started_again_is_a_new_run() {
    let found = holds(small(Budget { failovers: 1, crashes: 1, restarts: 1, ..Budget::default() }));
    assert!(taken(&found, "copied") > 0, "nobody came back: {:?}", found.census);
}

#[test]
fn the_short_cuts_of_the_search_hide_nothing() {
    let short =
        Configuration { in_sync: 1, ..small(Budget { sets: 1, cuts: 1, ..Budget::default() }) };
    let plain = Configuration { plain: true, ..short };
    assert!(holds(plain).states > holds(short).states);
    for tooth in [Tooth::UsersSurvive, Tooth::ProbeOlderThanUsers, Tooth::AnonymousWait] {
        for configuration in [short, plain] {
            let found = all(Configuration { tooth: Some(tooth), ..configuration });
            assert!(found.trace.is_some(), "{} (plain: {})", tooth.name(), configuration.plain);
        }
    }
}

#[test]
fn planted_bugs_are_found_with_the_fewest_steps() {
    let expected = [
        (Tooth::OneShortProof, 4),
        (Tooth::LateRelease, 4),
        (Tooth::GrowWithoutPending, 4),
        (Tooth::AnonymousWait, 5),
        (Tooth::NewRunIsMember, 8),
        (Tooth::OlderAnswerCounts, 8),
    ];
    for (tooth, steps) in expected {
        let found = all(tooth.configuration());
        let trace = found.trace.unwrap_or_else(|| panic!("{} bites nothing", tooth.name()));
        assert_eq!(trace.steps.len(), steps, "{}: {trace}", tooth.name());
    }
}

#[test]
fn a_story_is_told_the_same_way_every_time() {
    let configuration = Tooth::NewRunIsMember.configuration();
    let (one, two) = (all(configuration), all(configuration));
    assert_eq!((one.states, one.transitions, one.depth), (two.states, two.transitions, two.depth));
    let told = one.trace.unwrap();
    assert_eq!(Some(&told), two.trace.as_ref());
    assert!(told.to_string().contains("DIES"), "{told}");
}

#[test]
fn a_search_that_gave_up_does_not_call_itself_complete() {
    let found = exhaust(named("failover"), 100);
    assert!(!found.complete && found.trace.is_none());
}

#[test]
fn a_walk_follows_from_its_seed_and_keeps_every_promise() {
    let (one, two) = (walk(named("large"), 5, 300, 100), walk(named("large"), 5, 300, 100));
    assert_eq!((one.census, one.depth), (two.census, two.depth));
    assert_eq!((one.trace, two.trace), (None, None));
}

#[test]
fn a_walk_stumbles_over_a_planted_bug() {
    let configuration = Configuration { tooth: Some(Tooth::OneShortProof), ..named("failover") };
    assert!(walk(configuration, 1, 5_000, 100).trace.is_some());
}

#[test]
fn every_planted_bug_has_a_name_and_a_place() {
    for tooth in Tooth::ALL.into_iter().chain(Tooth::REDUNDANT) {
        assert_eq!(Tooth::parse(tooth.name()), Some(tooth));
        assert_eq!(tooth.configuration().tooth, Some(tooth));
        assert!(Configuration::named(tooth.configuration().name).is_some(), "{}", tooth.name());
    }
}

#[test]
fn the_exit_code_is_the_verdict() {
    let succeeds = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tanist-check"));
        command.args(arguments).output().unwrap().status.success()
    };
    assert!(succeeds(&["teeth", "late-release", "one-short-proof"]));
    assert!(succeeds(&["trace", "failover", "late-release"]));
    assert!(!succeeds(&["exhaustive", "failover", "--limit", "100"]));
    assert!(!succeeds(&["trace", "no-such-world", "late-release"]));
}
