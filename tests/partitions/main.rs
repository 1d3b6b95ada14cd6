//! A fleet on hosts of its own, of which one loses its power, its network or its primary while
//! clients write on both sides.
//!
//! Invariant: each test is named as a claim and holds however slow the machine is: only what was
//! acknowledged and what came back is judged, never how long it took. One runs at a time.
//!
//! Not here: how long clients are without a primary, more faults, Sentinel (`benches/matrix`).

use std::sync::{Mutex, PoisonError};

use tanist_lab::netns::{
    Durability, Leads, Led, Outcome, System, Trial, cell, one_address, possible,
};

/// Held by the test that runs; nextest has a group for it (`.config/nextest.toml`).
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Tries a fault; nothing, and said aloud, if this machine has no namespaces.
fn outcome(name: &str, system: System, durability: Durability) -> Option<Outcome> {
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let cell = cell(name).unwrap_or_else(|| panic!("there is no fault {name}"));
    possible().then(|| Trial { cell, system, durability, hold: cell.hold }.run())
}

/// Tries a fault on a group whose writes are acknowledged in sync.
fn tried(name: &str) {
    let Some(outcome) = outcome(name, System::Tanist, Durability::Sync) else { return };
    let Outcome { judged, settled, log, .. } = outcome;
    let judged = judged.unwrap_or_else(|why| panic!("{why}\n{log}"));
    assert!(judged.verdict.acked > 0, "nobody wrote\n{log}");
    assert_eq!(judged.verdict.lost, 0, "acknowledged writes are gone: {judged:?}\n{log}");
    assert_eq!(judged.two_primaries, 0, "two primaries acknowledged: {judged:?}\n{log}");
    assert_eq!(judged.verdict.phantoms, 0, "what was refused is there: {judged:?}\n{log}");
    if let Err(why) = settled {
        panic!("the group is not available again: {why}\n{log}");
    }
}

#[test]
fn a_killed_primary_takes_no_acknowledged_write_with_it() {
    tried("kill");
}

#[test]
fn a_host_that_loses_its_power_takes_no_acknowledged_write_with_it() {
    tried("host-kill");
}

#[test]
fn a_primary_whose_host_is_cut_off_acknowledges_nothing_that_its_heir_has_not() {
    tried("host-cut");
}

#[test]
fn a_primary_that_hears_but_is_not_heard_acknowledges_nothing_that_its_heir_has_not() {
    tried("mute");
}

/// What only the old primary had is lost: that is what `async` means. But it had to stop before the
/// other began.
#[test]
fn an_async_primary_whose_host_is_cut_off_has_stopped_before_another_begins() {
    let Some(outcome) = outcome("host-cut", System::Tanist, Durability::Async) else { return };
    let Outcome { judged, settled, log, .. } = outcome;
    let judged = judged.unwrap_or_else(|why| panic!("{why}\n{log}"));
    assert!(judged.verdict.acked > 0, "nobody wrote\n{log}");
    assert_eq!(judged.two_primaries, 0, "two primaries acknowledged: {judged:?}\n{log}");
    if let Err(why) = settled {
        panic!("the group is not available again: {why}\n{log}");
    }
}

#[test]
fn who_knows_an_address_that_keepalived_moves_goes_on_when_its_host_loses_its_power() {
    goes_on(Leads::Keepalived);
}

#[test]
fn who_knows_a_load_balancer_goes_on_when_the_host_behind_it_loses_its_power() {
    goes_on(Leads::Haproxy);
}

#[expect(clippy::print_stderr, reason = "the figure is the test's own output")]
fn goes_on(by: Leads) {
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(led) = one_address(by) else { return };
    let Led { judged, gap, meanwhile, disconnects, settled, log } = led;
    let judged = judged.unwrap_or_else(|why| panic!("{why}\n{log}"));
    assert_eq!(judged.verdict.lost, 0, "acknowledged writes are gone: {judged:?}\n{log}");
    assert!(disconnects > 0, "the host did not serve the client\n{log}");
    if let Err(why) = settled {
        panic!("the group is not available again: {why}\n{log}");
    }
    let acked = judged.verdict.acked;
    eprintln!("{by:?}: {} ms without an acknowledgement, {acked} acknowledged", gap.as_millis());
    assert!(meanwhile > 0, "the client did not go on before its host was back: {gap:?}\n{log}");
}

/// Otherwise the tests above would pass whatever happens.
#[test]
fn what_sentinel_loses_when_its_primary_is_cut_off_is_found() {
    let sentinel = System::Sentinel { down_after_ms: 1000 };
    let Some(outcome) = outcome("host-cut", sentinel, Durability::Async) else { return };
    let judged = outcome.judged.unwrap_or_else(|why| panic!("{why}"));
    assert!(judged.verdict.lost > 0 && judged.two_primaries > 0, "{judged:?}");
}
