//! The store on etcd passes the suite that every backend must pass, each claim on an etcd of its own.

// A test may stop at what it did not expect.
#![allow(clippy::unwrap_used)]

use tanist_lab::etcd::{EtcdCluster, EtcdPlan};
use tanist_store::{AnyStore, EtcdConfig, EtcdStore};

async fn open() -> (EtcdCluster, AnyStore) {
    let cluster = EtcdCluster::start(EtcdPlan::default()).await;
    let config = EtcdConfig::new(cluster.endpoints(), "/tanist/conformance/");
    let store = EtcdStore::open(&config).await.unwrap();
    (cluster, AnyStore::from(store))
}

tanist_store::conformance!(open);
