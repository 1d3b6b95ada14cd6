//! What a controller with much to do does once, and in which pieces.
//!
//! Invariant: nothing here depends on how fast the machine is.
//!
//! Not here: which shards a tick looks at (`crate::attention`).

use std::collections::BTreeSet;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tanist_core::model::stored::Stored;
use tanist_core::model::{GroupSpec, Limits, NodeReport, Process, ShardTopology};
use tanist_link::wire::{FromAgent, HostReport, ToAgent};
use tanist_store::Store;

use super::rig::{Rig, config, key, said, spec, store, topology, well};
use crate::archive::Archive;
use crate::inputs::Call;
use crate::keys;
use crate::leadership::Claim;

#[tokio::test]
async fn the_status_of_many_groups_has_each_of_them_once_for_everybody_who_asks() {
    let home = tempfile::tempdir().unwrap();
    let store = store(&home, spec(), topology()).await;
    let claim = Claim::alone(&store).await.unwrap();
    let mut archive = Archive::open(store.clone(), claim).await.unwrap();
    for number in 0..130 {
        let name = format!("g{number:03}").as_str().into();
        archive.write_spec(GroupSpec { name, ..spec() }, Vec::new(), &[]).await.unwrap();
    }
    let rig = Rig::over(config(Limits::DEFAULT), home, store).await;
    let asked = [rig.asked(Call::Status).await, rig.asked(Call::Status).await];
    for answer in asked {
        let status = answer.await.unwrap().unwrap();
        let names: Vec<&str> = status.groups.iter().map(|group| group.name.as_str()).collect();
        let expected: Vec<String> = (0..130).map(|number| format!("g{number:03}")).collect();
        assert!(names.len() == 131 && names[..130] == expected && names[130] == "web");
    }
}

#[tokio::test]
async fn an_order_is_given_again_only_after_a_while_however_often_its_host_speaks() {
    let mut rig = Rig::new(Limits::DEFAULT, spec(), topology()).await;
    for n in 1..=3 {
        rig.report(n, well(n)).await;
    }
    let gone = || NodeReport { process: Process::Absent, engine: None, ..well(1) };
    rig.report(1, gone()).await;
    rig.event("PrimaryVacated").await;
    rig.ticks(1).await;
    let (mut ticks, mut orders) = (0, 0);
    while ticks < 4 {
        // Each of them has the shard looked at.
        rig.hosts.send(FromAgent::Report(said(1, gone()))).await.unwrap();
        tokio::task::yield_now().await;
        while let Ok(told) = rig.told.try_recv() {
            ticks += usize::from(matches!(told, ToAgent::Echo(_)));
            orders += usize::from(matches!(told, ToAgent::Order(_)));
        }
    }
    assert!((1..=ticks + 1).contains(&orders), "{orders} orders in {ticks} ticks");
}

/// The same of another group.
fn of_group<T: Serialize + DeserializeOwned>(number: usize, of: &T) -> T {
    let text = serde_json::to_string(of).unwrap();
    serde_json::from_str(&text.replace("web", &format!("g{number:03}"))).unwrap()
}

#[tokio::test]
async fn what_a_lost_host_leads_to_in_many_groups_is_written_at_once() {
    const GROUPS: usize = 20;
    let home = tempfile::tempdir().unwrap();
    let store = store(&home, spec(), topology()).await;
    let claim = Claim::alone(&store).await.unwrap();
    let mut archive = Archive::open(store.clone(), claim).await.unwrap();
    for number in 0..GROUPS {
        let (spec, shard) = (of_group(number, &spec()), of_group(number, &topology()));
        archive.write_spec(spec, vec![shard], &[]).await.unwrap();
    }
    let mut rig = Rig::over(config(Limits::DEFAULT), home, store).await;
    let of_all = |n: usize, report: &NodeReport| {
        let nodes = (0..GROUPS).flat_map(|number| of_group(number, &said(n, report.clone()).nodes));
        FromAgent::Report(HostReport { nodes: nodes.collect(), ..said(n, report.clone()) })
    };
    for n in 1..=3 {
        rig.hosts.send(of_all(n, &well(n))).await.unwrap();
    }
    let gone = NodeReport { process: Process::Absent, engine: None, ..well(1) };
    rig.hosts.send(of_all(1, &gone)).await.unwrap();
    for _ in 0..GROUPS {
        rig.event("PrimaryVacated").await;
    }
    let mut written = BTreeSet::new();
    for number in 0..GROUPS {
        let (held, _) = rig.store.get(&keys::topology(&of_group(number, &key()))).await.unwrap();
        let held = held.unwrap();
        let vacated: Stored<ShardTopology> = serde_json::from_slice(&held.value).unwrap();
        assert_eq!(vacated.into_body().primary(), None);
        written.insert(held.mod_revision);
    }
    // How much is gathered depends on how long that takes; each alone would be as many as groups.
    assert!(written.len() < GROUPS / 2, "{written:?}");
}
