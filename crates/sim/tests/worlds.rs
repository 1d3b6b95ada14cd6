//! Worlds that always run: kept seeds, a few hundred fresh ones, and the mutation gate in small.

use tanist_sim::{Bug, Mode, many, mutants, world};

fn kept() -> Vec<(Mode, u64)> {
    let lines = include_str!("../seeds.txt").lines();
    let lines = lines.filter(|line| !line.starts_with('#') && !line.trim().is_empty());
    lines.map(seed).collect()
}

fn seed(line: &str) -> (Mode, u64) {
    let mut words = line.split_whitespace();
    let mode = match words.next() {
        Some("safety") => Mode::Safety,
        Some("liveness") => Mode::Liveness,
        other => panic!("no mode: {other:?} in {line}"),
    };
    let Some(Ok(seed)) = words.next().map(str::parse) else { panic!("no seed in {line}") };
    (mode, seed)
}

#[test]
fn kept_seeds_keep_every_promise() {
    assert!(kept().len() >= 10);
    for (mode, seed) in kept() {
        let ending = world(seed, mode, None, false);
        assert_eq!(ending.violation, None, "{} {seed}", mode.name());
    }
}

#[test]
fn fresh_worlds_keep_every_promise_for_a_minute_and_three_faults_each() {
    const WORLDS: u64 = 70;
    let sum = many::worlds(1, WORLDS, &[Mode::Safety, Mode::Liveness], None, 2);
    assert_eq!(sum.worlds, WORLDS);
    let broken: Vec<String> = sum
        .broken
        .iter()
        .map(|b| format!("{} {} {:?}", b.mode.name(), b.seed, b.violation))
        .collect();
    assert!(broken.is_empty(), "{}", broken.join("\n"));
    assert!(sum.acked > 300 * WORLDS, "only {} writes were acknowledged", sum.acked);
    assert!(sum.simulated >= WORLDS * 60_000_000);
    assert!(sum.faults() >= 3 * WORLDS, "only {} faults", sum.faults());
}

#[test]
fn the_same_seed_tells_the_same_story() {
    for (mode, seed) in [(Mode::Safety, 1), (Mode::Safety, 2), (Mode::Liveness, 3)] {
        let first = world(seed, mode, None, true);
        let again = world(seed, mode, None, true);
        assert_eq!(first.told, again.told, "seed {seed}");
        assert!(first.told.len() > 50, "seed {seed}");
        // To tell it does not change it.
        let untold = world(seed, mode, None, false);
        assert_eq!((first.hash, first.acked), (untold.hash, untold.acked), "seed {seed}");
        assert_eq!(first.census, untold.census);
        assert_ne!(first.hash, world(seed + 10, mode, None, false).hash);
    }
}

#[test]
fn a_run_reports_the_same_by_one_thread_and_by_two() {
    let run = |threads| many::worlds(40, 6, &[Mode::Safety, Mode::Liveness], None, threads);
    assert_eq!(run(1).lines(), run(2).lines());
}

#[test]
fn removed_fences_are_missed() {
    // The quick ones; `tanist-sim mutants` plants all.
    for bug in [Bug::NoProof, Bug::FakeFreeze, Bug::StartAsPrimary, Bug::ReplaySentWrite] {
        let caught = mutants::catch(bug, 16, 2);
        assert!(caught.is_some(), "{} was not caught", bug.name());
    }
}
