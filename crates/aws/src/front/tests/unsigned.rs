//! The mode without signatures.

use super::kit::{Draft, House, Plan, WHO_AM_I, Wire, ask, ask_raw, open};
use crate::front::services::Services;
use crate::identity::AccessKey;
use crate::value::Structure;

async fn house() -> House {
    open(Plan { unsigned: true, ..Plan::default() }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_without_a_signature_is_roots_and_says_so_aloud() {
    let house = house().await;
    let account = house.identity.account();
    for bytes in [
        Draft::who_am_i().bytes(),
        format!("GET /?{WHO_AM_I} HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n").into_bytes(),
    ] {
        let got = ask_raw(&house, &bytes).await.unwrap();
        assert_eq!(got.status, 200, "{got:?}");
        assert_eq!(got.part("Arn"), format!("arn:aws:iam::{account}:root"));
        assert_eq!(got.part("UserId"), account);
        assert_eq!(got.headers["x-tanist-unsigned"], "true");
    }
    let garbage = ask_raw(&house, b"garbage\r\n\r\n").await.unwrap();
    assert_eq!(garbage.headers["x-tanist-unsigned"], "true");
    let nothing = ask_raw(&house, b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    nothing.is(400, "MissingAction");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_in_a_browser_is_nobody() {
    let house = house().await;
    for (name, value) in [
        ("origin", "https://elsewhere.example"),
        ("origin", "null"),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-origin"),
    ] {
        let got = ask(&house, &Draft::who_am_i().header(name, value)).await;
        got.is(403, "MissingAuthenticationToken");
    }
    let typed = Draft::who_am_i().header("sec-fetch-site", "none");
    assert_eq!(ask(&house, &typed).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_others_can_make_lead_here_is_nobodys() {
    let house = house().await;
    for host in [
        "elsewhere.example",
        "elsewhere.example:4566",
        "localhost.elsewhere.example",
        "notlocalhost",
        "127.0.0.1.elsewhere.example",
        "user@localhost.elsewhere.example",
        "",
    ] {
        let got = ask(&house, &Draft::who_am_i().header("host", host)).await;
        got.is(403, "MissingAuthenticationToken");
    }
    // A request that needs no signature does not get along without a name, either.
    let nameless = format!("GET /?{WHO_AM_I} HTTP/1.1\r\n\r\n");
    let got = ask_raw(&house, nameless.as_bytes()).await.unwrap();
    got.is(403, "MissingAuthenticationToken");
    for host in ["127.0.0.1:4566", "127.7.0.254", "[::1]:4566", "LocalHost:4566", "aws.localhost"] {
        assert_eq!(
            ask(&house, &Draft::who_am_i().header("host", host)).await.status,
            200,
            "{host}"
        );
    }
    // A signature is as good under any name.
    let root = house.identity.root().unwrap();
    let signed = Draft::who_am_i().header("host", "elsewhere.example").sign(&root);
    assert_eq!(ask(&house, &signed).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_follows_from_what_the_request_names() {
    let services = Services {
        is_built: |_, _| true,
        answer: |_, ask| {
            let said = format!("{} {} in {}", ask.service.scope, ask.operation.name, ask.region);
            Box::pin(async move { Err(ask.refuse("Seen", said)) })
        },
        ..Services::ALL
    };
    let house = open(Plan { unsigned: true, services, ..Plan::default() }).await;
    let expected = [
        "elasticache DescribeReplicationGroups in us-east-1",
        "ec2 DescribeVpcs in us-east-1",
        "monitoring DescribeAlarms in us-east-1",
    ];
    for (draft, said) in Draft::of_each_dialect().into_iter().zip(expected) {
        ask(&house, &draft).await.is(400, "Seen").says(said);
    }
    // With any key that nobody has, the scope says where.
    let key = AccessKey { access_key_id: "test".to_owned(), secret: "test".to_owned() };
    let draft = Draft::of_each_dialect()[0].clone().region("eu-central-1").sign(&key);
    ask(&house, &draft).await.says("in eu-central-1");
    let nowhere = Draft::of_each_dialect()[0].clone().region("mars-1").sign(&key);
    ask(&house, &nowhere).await.is(403, "SignatureDoesNotMatch").says("valid region");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_the_installation_is_verified_and_bound_to_its_policy_even_so() {
    let services = Services {
        is_built: |_, _| true,
        answer: |_, _| Box::pin(async { Ok(Structure::new()) }),
        ..Services::ALL
    };
    let house = open(Plan { unsigned: true, services, ..Plan::default() }).await;
    let policy = r#"{"Statement":{"Effect":"Allow","Action":"ec2:*","Resource":"*"}}"#;
    let key = house.identity.create("net", Some(policy)).await.unwrap();
    let [cache, ec2, _] = Draft::of_each_dialect();
    ask(&house, &cache.clone().sign(&key)).await.is(403, "AccessDenied");
    assert_eq!(ask(&house, &ec2.clone().sign(&key)).await.status, 200);
    let wrong = AccessKey { secret: "guessed".to_owned(), ..key };
    ask(&house, &ec2.sign(&wrong)).await.is(401, "AuthFailure");
    assert_eq!(ask(&house, &cache).await.status, 200);
    let mut wire = Wire::open(&house).await;
    wire.send(b"GET / HTTP/1.1\r\nauthorization: Basic YTpi\r\n\r\n").await;
    wire.next().await.unwrap().is(400, "IncompleteSignature");
}
