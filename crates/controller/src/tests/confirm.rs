//! A change is answered once the proxies obey it.
//!
//! Invariant: the proxies here are the test itself, so what is not confirmed stays so.
//!
//! Not here: what a proxy does before it confirms (`tanist-proxy`).

use tanist_core::model::{Access, EngineKind, Limits};
use tanist_link::api::{
    ApiError, CreateUser, CreateUserGroup, GroupStatus, ModifyGroup, ModifyUser, TokenChange,
};
use tanist_link::hash_of;
use tanist_link::wire::{FromProxy, ToProxy};
use tokio::sync::oneshot;

use super::rig::{LONG, Proxy, Rig, spec, topology};
use crate::inputs::Call;
use crate::user_calls::UsersCall;

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

#[tokio::test]
async fn a_token_is_answered_when_the_proxies_know_it_and_never_shown() {
    let rig = Rig::new(Limits::DEFAULT, spec(), topology()).await;
    let mut proxy = rig.proxy("p1", 1).await;
    let token = hash_of(b"a-token-0123456789");
    let change = Some(TokenChange::Set(token.clone()));
    let asked = ModifyGroup { token: change, ..ModifyGroup::default() };
    let answer = rig.asked(|reply| Call::Modify { name: "web".into(), asked, reply }).await;
    let (_, number) = told(&mut proxy).await;
    let known = proxy.accounts.clone().unwrap();
    assert!(!known.is_open() && known.0["default"].passwords == [token.clone()].into());
    proxy.say(&FromProxy::Echo(number));
    let status = tokio::time::timeout(LONG, answer).await.unwrap().unwrap().unwrap();
    assert_eq!((status.login.tokens, status.login.required), (1, true));
    assert!(!serde_json::to_string(&status).unwrap().contains(token.as_str()));
    assert!(!format!("{:?}", rig.held().await.0).contains(token.as_str()));
}

#[tokio::test]
async fn a_users_change_reaches_every_group_that_knows_it() {
    let rig = Rig::new(Limits::DEFAULT, spec(), topology()).await;
    let user = |id: &str, name: &str| CreateUser {
        id: id.to_owned(),
        name: name.to_owned(),
        engine: EngineKind::Redis,
        access: "on ~app:* +@read".to_owned(),
        no_password: false,
        passwords: [hash_of(id.as_bytes())].into(),
        attributes: Default::default(),
    };
    for (id, name) in [("all", "default"), ("app", "app")] {
        let asked = user(id, name);
        let made = |reply| Call::Users(UsersCall::Create { asked, reply });
        rig.ask(made).await.unwrap();
    }
    let users = ["all".to_owned(), "app".to_owned()].into();
    let (id, engine) = ("team".to_owned(), EngineKind::Redis);
    let asked = CreateUserGroup { id, engine, users, attributes: Default::default() };
    rig.ask(|reply| Call::Users(UsersCall::CreateGroup { asked, reply })).await.unwrap();
    let user_groups = Some(["team".to_owned()].into());
    let asked = ModifyGroup { user_groups, ..ModifyGroup::default() };
    rig.ask(|reply| Call::Modify { name: "web".into(), asked, reply }).await.unwrap();

    let mut proxy = rig.proxy("p1", 1).await;
    let asked = ModifyUser { append: Some("+set".to_owned()), ..ModifyUser::default() };
    let id = "app".to_owned();
    let mut answer = rig.asked(|reply| Call::Users(UsersCall::Modify { id, asked, reply })).await;
    let (_, number) = told(&mut proxy).await;
    let known = proxy.accounts.clone().unwrap();
    assert_eq!(known.0["app"].rules.0, [["~app:*", "+@read", "+set"].map(str::to_owned)]);
    assert!(answer.try_recv().is_err());
    proxy.say(&FromProxy::Echo(number));
    tokio::time::timeout(LONG, answer).await.unwrap().unwrap().unwrap();
    // One that everybody would be is not taken away.
    let id = "all".to_owned();
    let refused = rig.ask(|reply| Call::Users(UsersCall::Delete { id, reply })).await;
    assert_eq!(refused.unwrap_err().code, "T445");
    let id = "team".to_owned();
    let refused = rig.ask(|reply| Call::Users(UsersCall::DeleteGroup { id, reply })).await;
    assert_eq!(refused.unwrap_err().code, "T450");
    let id = "app".to_owned();
    let gone = rig.asked(|reply| Call::Users(UsersCall::Delete { id, reply })).await;
    let (_, number) = told(&mut proxy).await;
    assert!(!proxy.accounts.clone().unwrap().0.contains_key("app"));
    proxy.say(&FromProxy::Echo(number));
    let gone = tokio::time::timeout(LONG, gone).await.unwrap().unwrap().unwrap();
    assert_eq!(gone.id, "app");
}
