//! What every backend must do, as claims that are generic over `Store`.
//!
//! The embedded store and etcd are exchangeable only as far as something checks it; each claim here
//! is one thing that the controller relies on. They use nothing that only one backend has.
//!
//! Invariant: a claim asserts only what etcd's v3 semantics promise, and waits with a deadline.
//!
//! Not here: crashes, damage and full disks (`tests/` of each backend).

// A claim answers by panicking, as tests do.
#![allow(clippy::unwrap_used, clippy::missing_panics_doc)]

mod history;
mod keys;
mod leases;

use std::time::Duration;

pub use history::*;
pub use keys::*;
pub use leases::*;

use crate::{EventBatch, Revision, Store, StoreError, Txn, Watch};

/// How long a claim waits for something that must come.
const PATIENCE: Duration = Duration::from_secs(20);

/// Makes one `#[tokio::test]` of every claim. `$open` names an `async fn` without arguments that
/// answers `(guard, store)`: a store that no other test uses (revisions and compaction are
/// global), and something that is kept until the claim was checked.
#[macro_export]
macro_rules! conformance {
    ($open:path) => {
        $crate::conformance! { @each $open:
            a_key_has_its_create_and_mod_revision_and_version
            any_bytes_come_back_as_they_were_put
            of_two_commits_on_one_revision_one_wins
            concurrent_increments_are_all_counted
            each_compare_holds_exactly_when_it_says
            a_failed_compare_changes_nothing
            a_transaction_is_one_revision
            a_transaction_that_changes_nothing_is_no_revision
            a_range_has_exactly_the_keys_of_its_prefix_in_order
            a_range_from_a_key_begins_there_and_ends_with_its_prefix
            a_range_is_one_snapshot
            a_read_sees_what_was_acknowledged_before_it
            what_is_over_a_limit_is_refused_by_name
            a_watch_replays_history_and_goes_on_live
            a_watch_sees_only_its_prefix_and_a_revision_at_once
            a_watch_has_no_gap_and_no_duplicate_under_concurrent_writers
            a_watch_from_the_future_waits_for_it
            compaction_drops_history_and_keeps_keys
            a_watch_from_compacted_history_is_refused
            a_lease_that_ends_takes_its_keys_in_one_revision
            a_lease_that_is_kept_alive_does_not_end
            a_revoked_lease_is_gone_with_its_keys
            a_key_put_without_its_lease_outlives_it
            a_put_with_an_unknown_lease_changes_nothing
        }
    };
    (@each $open:path: $($claim:ident)+) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $claim() {
                let (_guard, store) = $open().await;
                $crate::conformance::$claim(&store).await;
            }
        )+
    };
}

async fn put<S: Store>(store: &S, key: &str, value: &str) -> Revision {
    let outcome = store.txn(Txn::new().put(key, value)).await.unwrap();
    assert!(outcome.committed);
    outcome.revision
}

async fn next(watch: &mut Watch) -> Result<EventBatch, StoreError> {
    let batch = tokio::time::timeout(PATIENCE, watch.next()).await;
    batch.expect("a batch must come").expect("a watch has no end without an error")
}
