//! Certificates on their way to proxies.
//!
//! Invariant: the group `web` exists and asks its clients to encrypt.
//!
//! Not here: when a certificate is made anew (`crate::certificates`).

use std::collections::BTreeMap;
use std::sync::Arc;

use tanist_core::model::{ClientCertificates, Limits, Transit, TransitMode};
use tanist_link::api::ModifyGroup;
use tanist_link::wire::{Certificate, ToProxy};
use tanist_tls::Authority;
use tokio::sync::watch;

use super::rig::{Proxy, Rig, config, spec, topology};
use crate::inputs::Call;
use crate::{Certifier, Outside};

struct Sealed {
    rig: Rig,
    outside: watch::Sender<Arc<Outside>>,
    _home: tempfile::TempDir,
}

async fn sealed() -> Sealed {
    let home = tempfile::tempdir().unwrap();
    let authority = Authority::load_or_create(&home.path().join("tls")).unwrap();
    let (outside, receiver) = watch::channel(Arc::default());
    let mut config = config(Limits::DEFAULT);
    config.certifier = Certifier::Authority(Arc::new(authority));
    config.outside = receiver;
    let mut spec = spec();
    spec.transit = Transit { mode: TransitMode::Required, clients: ClientCertificates::Off };
    Sealed { rig: Rig::with(config, spec, topology()).await, outside, _home: home }
}

async fn next_certificate(proxy: &mut Proxy) -> Certificate {
    loop {
        if let ToProxy::Certificate(certificate) = proxy.hear().await {
            return *certificate;
        }
    }
}

fn modify(
    asked: ModifyGroup,
) -> impl FnOnce(crate::inputs::Reply<tanist_link::api::GroupStatus>) -> Call {
    move |reply| Call::Modify { name: "web".into(), asked, reply }
}

#[tokio::test]
async fn a_proxy_is_told_the_certificate_before_the_route_that_needs_it() {
    let mut sealed = sealed().await;
    sealed.rig.event("CertificateShown").await;
    let mut proxy = sealed.rig.connect("p1", 1, true);
    assert!(matches!(proxy.hear().await, ToProxy::Certificate(_)));
    assert!(matches!(proxy.hear().await, ToProxy::Route(_)));
}

#[tokio::test]
async fn a_proxy_of_an_earlier_release_is_told_none_and_nobody_is_asked_to_encrypt() {
    let mut sealed = sealed().await;
    sealed.rig.event("CertificateShown").await;
    let mut old = sealed.rig.connect("p1", 1, false);
    assert!(matches!(old.hear().await, ToProxy::Route(_)));
    assert!(matches!(old.hear().await, ToProxy::Known(_)));
    let asked =
        ModifyGroup { transit_mode: Some(TransitMode::Preferred), ..ModifyGroup::default() };
    let refused = sealed.rig.ask(modify(asked)).await.unwrap_err();
    assert_eq!(refused.code, "T462");
}

#[tokio::test]
async fn an_alias_and_a_demand_for_certificates_make_another_certificate() {
    let mut sealed = sealed().await;
    sealed.rig.event("CertificateShown").await;
    let mut proxy = sealed.rig.connect("p1", 1, true);
    let first = next_certificate(&mut proxy).await;
    let aliases = BTreeMap::from([("redis.home".to_owned(), "web:reader".to_owned())]);
    let aliases = aliases.try_into().unwrap();
    sealed.outside.send_replace(Arc::new(Outside { aliases, ..Outside::default() }));
    let second = next_certificate(&mut proxy).await;
    assert_ne!(first.chain, second.chain);
    sealed.rig.event("ConfigurationRead").await;
    let names = sealed.rig.ask(Call::Names).await.unwrap();
    assert!(names.iter().any(|name| name.name == "redis.home"), "{names:?}");
    let group = sealed.rig.ask(|reply| Call::Group { name: "web".into(), reply }).await.unwrap();
    assert!(group.certificate.unwrap().names.contains(&"redis.home".to_owned()));
    let clients = Some(ClientCertificates::Required);
    let asked = ModifyGroup { client_certificates: clients, ..ModifyGroup::default() };
    let _answer = sealed.rig.asked(modify(asked)).await;
    let third = next_certificate(&mut proxy).await;
    assert_eq!(third.clients, ClientCertificates::Required);
    let ToProxy::Route(route) = proxy.hear().await else { panic!("the route follows") };
    assert_eq!(route.transit.clients, ClientCertificates::Required);
}
