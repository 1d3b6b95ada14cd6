//! Names of groups that would lead to another group's endpoints.
//!
//! Invariant: the group `web` exists.
//!
//! Not here: which names are names (`tanist_core::model`).

use std::collections::BTreeMap;

use tanist_core::model::{Access, EngineKind, Limits, Reads};
use tanist_link::api::CreateGroup;

use super::rig::{Rig, spec, topology};
use crate::inputs::Call;

fn named(name: &str) -> CreateGroup {
    CreateGroup {
        name: name.to_owned(),
        engine: EngineKind::Redis,
        replicas: 0,
        zones: Vec::new(),
        durability: None,
        min_in_sync: 0,
        automatic_failover: false,
        memory_bytes: 16 << 20,
        node_zones: Vec::new(),
        endpoint_hosts: Default::default(),
        access: Access::Everyone,
        tokens: Vec::new(),
        user_groups: Default::default(),
        transit: Default::default(),
        reads: Reads::default(),
        attributes: BTreeMap::new(),
    }
}

#[tokio::test]
async fn no_groups_endpoint_has_the_name_of_anothers() {
    let rig = Rig::new(Limits::DEFAULT, spec(), topology()).await;
    let create = async |name| rig.ask(|reply| Call::Create { asked: named(name), reply }).await;
    assert_eq!(create("web-ro").await.unwrap_err().code, "T401", "it is web's reader endpoint");
    create("shop-ro").await.unwrap();
    let refused = create("shop").await.unwrap_err();
    assert!(refused.message.contains("shop-ro"), "{refused:?}");
    create("web-rows").await.unwrap();
}
