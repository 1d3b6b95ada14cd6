//! A change is answered once the proxies obey it.
//!
//! Invariant: the proxies here are the test itself, so what is not confirmed stays so.
//!
//! Not here: what a proxy does before it confirms (`tanist-proxy`).

use tanist_core::model::{Access, Limits};
use tanist_link::api::{ApiError, GroupStatus, ModifyGroup};
use tanist_link::wire::{FromProxy, ToProxy};
use tokio::sync::oneshot;

use super::rig::{LONG, Proxy, Rig, spec, topology};
use crate::reconciler::Call;

type Answer = oneshot::Receiver<Result<GroupStatus, ApiError>>;

fn nobody() -> Access {
    Access::Only { sources: Vec::new(), loopback: false }
}

/// A group that everybody may connect to, and one who asks that nobody may.
async fn shut(rig: &Rig) -> Answer {
    let asked = ModifyGroup { access: Some(nobody()), ..ModifyGroup::default() };
    rig.asked(|reply| Call::Modify { name: "web".into(), asked, reply }).await
}

/// What a proxy is told up to the number that it has to say; the number.
async fn told(proxy: &mut Proxy) -> (Option<Access>, u64) {
    loop {
        if let ToProxy::Echo(number) = proxy.hear().await {
            return (proxy.access.clone(), number);
        }
    }
}

#[tokio::test]
async fn a_change_of_access_is_answered_only_when_the_proxies_obey_it() {
    let rig = Rig::new(Limits::DEFAULT, spec(), topology()).await;
    let (mut first, mut second) = (rig.proxy("p1", 1).await, rig.proxy("p2", 2).await);
    let mut answer = shut(&rig).await;
    let (access, number) = told(&mut first).await;
    assert_eq!(access, Some(nobody()), "the rule comes before the number");
    assert_eq!(told(&mut second).await, (Some(nobody()), number));
    first.say(&FromProxy::Echo(number));
    // Asked and answered after the number has been taken in.
    rig.ask(Call::Status).await.unwrap();
    assert!(answer.try_recv().is_err(), "the second has not said anything");
    second.say(&FromProxy::Echo(number));
    let status = tokio::time::timeout(LONG, answer).await.unwrap().unwrap().unwrap();
    assert_eq!(status.access, nobody());
}

#[tokio::test]
async fn a_proxy_that_connects_anew_is_asked_again() {
    let rig = Rig::new(Limits::DEFAULT, spec(), topology()).await;
    let mut before = rig.proxy("p1", 1).await;
    let answer = shut(&rig).await;
    let (_, number) = told(&mut before).await;
    drop(before);
    let mut after = rig.proxy("p1", 2).await;
    let (access, again) = told(&mut after).await;
    assert_eq!((access, again), (Some(nobody()), number));
    after.say(&FromProxy::Echo(again));
    tokio::time::timeout(LONG, answer).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn a_proxy_that_does_not_confirm_is_named_and_the_change_is_kept() {
    let rig = Rig::new(Limits::DEFAULT, spec(), topology()).await;
    let _silent = rig.proxy("p1", 1).await;
    let answer = shut(&rig).await;
    let refusal = tokio::time::timeout(LONG, answer).await.unwrap().unwrap().unwrap_err();
    assert_eq!(refusal.code, "T504");
    assert!(refusal.message.contains("web is changed") && refusal.message.contains("p1"));
    assert_eq!(rig.held().await.0.access, nobody());
}

#[tokio::test]
async fn a_proxy_that_has_lanes_and_does_not_talk_is_waited_for_too() {
    let mut served = topology();
    served.lanes.insert("p1".into());
    let rig = Rig::new(Limits::DEFAULT, spec(), served).await;
    let mut answer = shut(&rig).await;
    rig.ask(Call::Status).await.unwrap();
    assert!(answer.try_recv().is_err(), "it serves by what another controller told it");
    let mut back = rig.proxy("p1", 1).await;
    let (access, number) = told(&mut back).await;
    assert_eq!(access, Some(nobody()));
    back.say(&FromProxy::Echo(number));
    tokio::time::timeout(LONG, answer).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn what_no_proxy_has_to_obey_waits_for_none() {
    let rig = Rig::new(Limits::DEFAULT, spec(), topology()).await;
    let _silent = rig.proxy("p1", 1).await;
    let asked = ModifyGroup { automatic_failover: Some(false), ..ModifyGroup::default() };
    let answered = rig.ask(|reply| Call::Modify { name: "web".into(), asked, reply }).await;
    assert!(!answered.unwrap().automatic_failover);
}

#[tokio::test]
async fn without_a_proxy_nobody_is_waited_for() {
    let rig = Rig::new(Limits::DEFAULT, spec(), topology()).await;
    let asked = ModifyGroup { access: Some(nobody()), ..ModifyGroup::default() };
    let answered = rig.ask(|reply| Call::Modify { name: "web".into(), asked, reply }).await;
    assert_eq!(answered.unwrap().access, nobody());
}
