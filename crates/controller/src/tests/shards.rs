//! Which shards are a group's.
//!
//! Invariant: the names of the groups begin alike.
//!
//! Not here: what the shards are like.

use std::collections::BTreeMap;

use tanist_core::model::{GroupName, Limits};

use super::rig::{config, key, spec, store, topology};
use crate::leadership::Claim;
use crate::reconciler::lead;

#[tokio::test]
async fn a_group_has_its_own_shards_and_none_of_a_neighbour_in_the_alphabet() {
    let home = tempfile::tempdir().unwrap();
    let store = store(&home, spec(), topology()).await;
    let claim = Claim::alone(&store).await.unwrap();
    let (mut controller, _handle, _inputs) =
        lead(config(Limits::DEFAULT), store, claim, BTreeMap::new(), Default::default())
            .await
            .unwrap();
    let web = controller.archive.topologies.get(&key()).unwrap().clone();
    for (group, shard) in [("we", "0001"), ("web", "0002"), ("web-2", "0001"), ("webb", "0001")] {
        let mut held = web.clone();
        let body = std::sync::Arc::make_mut(&mut held.body);
        (body.group, body.shard) = (group.into(), shard.into());
        controller.archive.topologies.insert(held.body.key(), held);
    }
    let shards = |group: &str| {
        let group = GroupName::from(group);
        let all = controller.archive.shards_of(&group);
        all.map(|shard| shard.key().to_string()).collect::<Vec<_>>()
    };
    let of = |names: [&str; 2]| names.map(|shard| format!("web/{shard}")).to_vec();
    assert_eq!(shards("web"), of(["0001", "0002"]));
    for (group, number) in [("we", 1), ("web-2", 1), ("webb", 1), ("w", 0), ("web-", 0)] {
        assert_eq!(shards(group).len(), number, "{group}");
    }
}
