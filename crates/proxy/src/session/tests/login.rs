//! Clients that have to say who they are.
//!
//! Invariant: as in `super`; nothing here has an engine.
//!
//! Not here: the engines' own texts (`tests/stories`).

use std::time::Duration;

use tanist_core::model::accounts::mark;
use tanist_core::model::{Account, Accounts, Rules};
use tanist_link::hash_of;

use super::*;

const TOKEN: &str = "a-token-0123456789";

/// A primary endpoint of a group with these users, whose engines have them.
fn rig(accounts: Accounts) -> Rig {
    let mut rig = Rig::new(EndpointKind::Primary);
    learn(&mut rig, 1, accounts);
    rig
}

fn learn(rig: &mut Rig, rev: u64, accounts: Accounts) {
    let mut route = route(rev, 1, serving("n1", &[], None));
    for node in &mut route.nodes {
        node.users = Some(mark(&accounts.lanes()));
    }
    route.accounts = accounts;
    rig.shard.learn(route);
    rig.advance();
}

fn with_token() -> Accounts {
    Accounts::with_tokens(&[hash_of(TOKEN.as_bytes())])
}

fn with_app() -> Accounts {
    let mut accounts = with_token();
    let app = Account {
        enabled: true,
        no_password: false,
        passwords: [hash_of(b"secret")].into(),
        rules: Rules(vec![vec!["~app:*".to_owned(), "+@read".to_owned()]]),
    };
    accounts.0.insert("app".to_owned(), app);
    accounts
}

const NOAUTH: &str = "-NOAUTH Authentication required.\r\n";

#[test]
fn nobodys_requests_reach_no_engine() {
    let mut rig = rig(with_token());
    let asked = ["GET a", "NOSUCH x", "CLIENT REPLY OFF", "MULTI", "CLIENT PAUSE 1", "SUBSCRIBE c"];
    rig.ask(&asked);
    assert_eq!(rig.client_got(), NOAUTH.repeat(asked.len()));
    assert_eq!(rig.session.link.phase, Phase::Down);
    rig.ask(&["AUTH wrong", "AUTH a-token-0123456789", "GET a"]);
    assert_eq!(rig.session.link.phase, Phase::Connecting, "the last one goes on");
    let got = rig.client_got();
    assert!(got.starts_with("-WRONGPASS ") && got.ends_with("+OK\r\n"), "{got}");
}

#[test]
fn what_comes_behind_a_password_is_read_by_the_limits_of_somebody() {
    let large = format!("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$20000\r\n{}\r\n", "x".repeat(20_000));
    let auth = format!("*2\r\n$4\r\nAUTH\r\n${}\r\n{TOKEN}\r\n", TOKEN.len());
    let mut rig = rig(with_token());
    rig.session.client_in.extend_from_slice(format!("{auth}{large}").as_bytes());
    rig.advance();
    assert_eq!(rig.client_got(), "+OK\r\n");
    assert_eq!(rig.session.link.phase, Phase::Connecting);
    for bytes in [large.as_str(), "*11\r\n"] {
        let mut rig = self::rig(with_token());
        rig.session.client_in.extend_from_slice(bytes.as_bytes());
        rig.advance();
        assert!(rig.client_got().starts_with("-ERR Protocol error: unauthenticated "));
        assert!(rig.session.is_closed());
    }
}

#[test]
fn nobody_has_ten_seconds() {
    let mut rig = rig(with_token());
    let until = rig.session.deadline().unwrap();
    assert_eq!(until, rig.now + Duration::from_secs(10));
    rig.now = until;
    rig.advance();
    assert!(rig.session.is_closed());
    let mut rig = self::rig(with_token());
    rig.ask(&["AUTH a-token-0123456789"]);
    assert_eq!(rig.session.deadline(), None);
    rig.ask(&["RESET"]);
    assert!(rig.session.deadline().is_some(), "it is nobody again");
}

#[test]
fn a_user_takes_its_own_lane_and_another_one_when_it_becomes_another() {
    let mut rig = rig(with_app());
    rig.ask(&["AUTH app secret", "GET app:1"]);
    rig.session.connected(&rig.shard);
    rig.write(usize::MAX);
    let sent = rig.engine_got();
    assert!(sent[0].starts_with("AUTH lane-1-p1:app "), "{sent:?}");
    rig.reply(&"+OK\r\n".repeat(sent.len()));
    assert_eq!(rig.engine_got(), ["GET app:1"]);
    // It becomes somebody else only when it has been answered.
    rig.ask(&["AUTH a-token-0123456789", "GET b"]);
    assert_eq!(rig.session.link.user.as_deref(), Some("app"));
    rig.reply("$1\r\nx\r\n");
    assert_eq!(rig.session.link.user, None);
    assert_eq!(rig.session.link.phase, Phase::Connecting);
    assert_eq!(rig.client_got(), "+OK\r\n$1\r\nx\r\n+OK\r\n");
}

#[test]
fn a_users_request_waits_for_an_engine_that_knows_its_rules() {
    let mut rig = rig(with_app());
    rig.ask(&["AUTH app secret"]);
    let mut next = with_app();
    next.0.get_mut("app").unwrap().rules.0[0].push("+set".to_owned());
    let mut route = route(2, 1, serving("n1", &[], None));
    for node in &mut route.nodes {
        node.users = Some(mark(&with_app().lanes()));
    }
    route.accounts = next.clone();
    rig.shard.learn(route);
    rig.ask(&["GET app:1"]);
    assert_eq!(rig.session.link.phase, Phase::Down, "the engine has the rules of before");
    learn(&mut rig, 3, next);
    assert_eq!(rig.session.link.phase, Phase::Connecting);
}

#[test]
fn who_is_gone_ends_and_who_has_another_password_stays() {
    let mut rig = rig(with_app());
    rig.ask(&["AUTH app secret"]);
    let mut next = with_app();
    next.0.get_mut("app").unwrap().passwords = [hash_of(b"other")].into();
    learn(&mut rig, 2, next);
    assert!(!rig.session.is_closed());
    learn(&mut rig, 3, with_token());
    assert!(rig.session.is_closed());
    // Who was let in before there was a token stays, and the next one is not.
    let mut rig = self::rig(Accounts::default());
    learn(&mut rig, 2, with_token());
    rig.ask(&["ACL WHOAMI", "AUTH default wrong"]);
    let got = rig.client_got();
    assert!(got.starts_with("$7\r\ndefault\r\n-WRONGPASS "), "{got}");
}

#[test]
fn what_the_proxy_answers_itself_is_refused_to_who_may_not_ask_it() {
    let mut rig = rig(with_app());
    rig.ask(&["AUTH app secret", "ROLE", "WAIT 0 0", "CLIENT LIST", "CLIENT PAUSE 1", "CLIENT ID"]);
    let got = rig.client_got();
    assert_eq!(got.matches("-NOPERM ").count(), 5, "{got}");
}
