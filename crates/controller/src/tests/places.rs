//! Hosts that are chosen for a group's endpoints.
//!
//! Invariant: the proxies here are the test itself; they only say what they are asked to.
//!
//! Not here: who listens (`tanist-proxy`), what is said when one is lost (`tanist_core::decide`).

use std::collections::BTreeSet;
use std::time::Duration;

use tanist_core::model::{EndpointPlan, Epoch, HostId, Limits, TransitMode};
use tanist_link::api::{ApiError, GroupStatus, ModifyGroup};
use tanist_link::wire::{FromProxy, ToProxy};
use tokio::sync::oneshot;

use super::rig::{LONG, Proxy, Rig, config, spec, topology};
use crate::ControllerConfig;
use crate::hosts::HostsCall;
use crate::inputs::Call;

/// A fleet's group that is served everywhere.
async fn fleet() -> Rig {
    let endpoints = EndpointPlan { ports: Some((7000, 8000)), ..EndpointPlan::default() };
    let config = ControllerConfig { endpoints, ..config(Limits::DEFAULT) };
    let mut served = spec();
    served.endpoints.ports_from = Some(7000);
    Rig::with(config, served, topology()).await
}

async fn choose(rig: &Rig, hosts: &[&str]) -> oneshot::Receiver<Result<GroupStatus, ApiError>> {
    let hosts: BTreeSet<HostId> = hosts.iter().map(HostId::new).collect();
    let asked = ModifyGroup { endpoint_hosts: Some(hosts), ..ModifyGroup::default() };
    rig.asked(|reply| Call::Modify { name: "web".into(), asked, reply }).await
}

/// What a proxy is told before the number that it says then: the hosts of the latest route.
async fn obey(proxy: &mut Proxy) -> Option<BTreeSet<HostId>> {
    let mut hosts = None;
    loop {
        match proxy.hear().await {
            ToProxy::Route(route) => hosts = Some(route.endpoint_hosts),
            ToProxy::Echo(0) => {}
            ToProxy::Echo(number) => {
                proxy.say(&FromProxy::Echo(number));
                return hosts;
            }
            _ => {}
        }
    }
}

async fn within<T>(answer: oneshot::Receiver<T>) -> T {
    tokio::time::timeout(LONG, answer).await.unwrap().unwrap()
}

fn places(status: &GroupStatus) -> Vec<String> {
    let shown = &status.primary_endpoint;
    [shown.address].iter().chain(&shown.also).map(ToString::to_string).collect()
}

#[tokio::test]
async fn chosen_hosts_are_where_the_group_is_shown_and_every_proxy_knows_it() {
    let rig = fleet().await;
    let mut first = rig.proxy("proxy-h1", 1).await;
    let mut second = rig.proxy("proxy-h2", 2).await;
    let status = rig.ask(|reply| Call::Group { name: "web".into(), reply }).await.unwrap();
    assert_eq!(places(&status), ["127.80.0.1", "127.80.0.2"]);
    let mut answer = choose(&rig, &["h2"]).await;
    let chosen = Some(BTreeSet::from([HostId::new("h2")]));
    assert_eq!(obey(&mut first).await, chosen, "who is to end hears it as well");
    rig.ask(Call::Status).await.unwrap();
    assert!(answer.try_recv().is_err(), "the second has not obeyed yet");
    assert_eq!(obey(&mut second).await, chosen);
    let status = within(answer).await.unwrap();
    assert_eq!(places(&status), ["127.80.0.2"]);
    let answer = choose(&rig, &[]).await;
    assert_eq!(obey(&mut first).await, Some(BTreeSet::new()));
    assert_eq!(obey(&mut second).await, Some(BTreeSet::new()));
    assert_eq!(places(&within(answer).await.unwrap()).len(), 2);
}

#[tokio::test]
async fn a_new_leader_shows_what_was_there_until_proxies_had_time_to_call() {
    let mut served = spec();
    served.endpoints.ports_from = Some(7000);
    let mut shard = topology();
    shard.lanes = ["proxy-h1".into(), "proxy-h3".into()].into();
    // Its first primary, whom the leader before has seen in sync with everybody.
    shard.epoch = Epoch(1);
    let endpoints = EndpointPlan { ports: Some((7000, 8000)), ..EndpointPlan::default() };
    // As long as a slow machine may take for what comes before its end.
    let limits = Limits { host: Duration::from_secs(3), ..Limits::DEFAULT };
    let config = ControllerConfig { endpoints, ..config(limits) };
    let mut rig = Rig::with(config, served, shard).await;
    let ask = async |rig: &Rig| {
        let status = rig.ask(|reply| Call::Group { name: "web".into(), reply }).await.unwrap();
        assert_ne!(status.status, "creating", "it has been there");
        places(&status)
    };
    assert_eq!(ask(&rig).await, ["127.80.0.1", "127.80.0.3"]);
    let _proxy = rig.proxy("proxy-h3", 1).await;
    assert_eq!(ask(&rig).await, ["127.80.0.1", "127.80.0.3"], "the other may be about to call");
    let silent = async {
        while ask(&rig).await.len() > 1 {
            rig.ticks(1).await;
        }
        ask(&rig).await
    };
    let left = tokio::time::timeout(LONG, silent).await.expect("it did not call");
    assert_eq!(left, ["127.80.0.3"]);
}

#[tokio::test]
async fn a_host_without_a_proxy_or_an_unknown_one_cannot_be_chosen() {
    let rig = fleet().await;
    let _proxy = rig.proxy("proxy-h1", 1).await;
    for (hosts, why) in [(&["h1", "h2"], "h2 has no proxy"), (&["h1", "h9"], "no host h9")] {
        let refused = within(choose(&rig, hosts).await).await.unwrap_err();
        assert_eq!(refused.code, "T475");
        assert!(refused.message.contains(why), "{}", refused.message);
    }
    let alone = Rig::new(Limits::DEFAULT, spec(), topology()).await;
    let refused = within(choose(&alone, &["h1"]).await).await.unwrap_err();
    assert!(refused.message.contains("on a fleet only"), "{}", refused.message);
}

#[tokio::test]
async fn the_last_host_that_has_a_groups_endpoints_is_not_removed_while_it_is_there() {
    let mut served = spec();
    served.endpoints.ports_from = Some(7000);
    served.endpoint_hosts = [HostId::new("h9"), HostId::new("h3")].into();
    served.transit.mode = TransitMode::Off;
    let mut shard = topology();
    // Its node is elsewhere: only the endpoints are in the way.
    shard.members.values_mut().for_each(|member| member.host = HostId::new("h1"));
    let endpoints = EndpointPlan { ports: Some((7000, 8000)), ..EndpointPlan::default() };
    let config = ControllerConfig { endpoints, ..config(Limits::DEFAULT) };
    let rig = Rig::with(config, served, shard).await;
    let _proxy = rig.proxy("proxy-h3", 1).await;
    let remove = |host: &str, dead| {
        let host = HostId::new(host);
        rig.ask(move |reply| Call::Hosts(HostsCall::Remove { host, dead, reply }))
    };
    let refused = remove("h3", false).await.unwrap_err();
    assert_eq!(refused.code, "T476");
    assert!(refused.message.contains("endpoints of web"), "{}", refused.message);
    remove("h2", false).await.unwrap();
    assert_eq!(remove("h3", true).await.unwrap_err().code, "T473", "it is not dead");
}
