//! The front door as the world's clients see it: boto3, and the AWS CLI where it is installed.

mod botocore;

use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;

use botocore::{bytes, oracle, parsed, text};
use serde_json::{Value, json};
use tanist_aws::{AccessKey, Declared, Front, FrontConfig, Identity, Settings};
use tanist_link::{Client, Secret};
use tanist_store::{Options, SqliteStore};
use tanist_telemetry::Series;
use tokio::net::TcpListener;

struct House {
    address: SocketAddr,
    identity: Identity,
    _dir: tempfile::TempDir,
}

async fn open(unsigned: bool) -> House {
    let dir = tempfile::tempdir().expect("it goes well");
    let store = SqliteStore::open(dir.path().join("store"), Options::default())
        .await
        .expect("it goes well");
    let front = Front::new(FrontConfig {
        installation: store.status().installation,
        store: store.into(),
        controller: Client::new(dir.path().join("controller.sock")),
        secret: Secret::from_bytes([9; 32]),
        regions: vec!["us-east-1".to_owned()],
        zones: vec!["us-east-1a".to_owned()],
        declared: Declared::default(),
        settings: Settings { loopback_inside: true, port: 6379, engines: Vec::new() },
        metrics: Arc::new(Series::default()),
        unsigned,
    });
    let front = front.await.expect("it goes well");
    let identity = front.identity();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("it goes well");
    let address = listener.local_addr().expect("it goes well");
    tokio::spawn(async move { front.serve(listener).await });
    House { address, identity, _dir: dir }
}

async fn boto3(house: &House, key: AccessKey) -> Vec<Value> {
    let url = format!("http://{}", house.address);
    let called = move || {
        let lines = oracle(&["client", &url, &key.access_key_id, &key.secret], b"");
        lines.iter().map(|line| parsed(line)).collect::<Vec<Value>>()
    };
    tokio::task::spawn_blocking(called).await.expect("it goes well")
}

#[tokio::test(flavor = "multi_thread")]
async fn boto3_is_answered_and_understands_every_refusal() {
    let house = open(false).await;
    let root = house.identity.root().expect("it goes well");
    let said = boto3(&house, root.clone()).await;
    let account = house.identity.account();
    assert_eq!(text(&said[0], "Account"), account);
    assert_eq!(text(&said[0], "Arn"), format!("arn:aws:iam::{account}:root"));
    assert_eq!(text(&said[0], "UserId"), root.access_key_id);
    let expected = [
        ("InvalidClientTokenId", 403),
        ("SignatureDoesNotMatch", 403),
        ("SignatureDoesNotMatch", 403),
        ("AuthFailure", 401),
        ("AuthFailure", 401),
        ("SignatureDoesNotMatch", 400),
        ("SignatureDoesNotMatch", 400),
        ("InvalidAction", 400),
        ("RequestEntityTooLarge", 413),
    ];
    for (said, (code, status)) in said[1..].iter().zip(expected) {
        assert_eq!((&said[0], &said[1]), (&json!(code), &json!(status)), "{said}");
        assert_eq!(said[2].as_str().map(str::len), Some(36), "{said}");
    }
    assert_eq!((&said[10]["status"], &said[10]["type"]), (&json!(200), &json!("text/xml")));
    let body = String::from_utf8(bytes(&said[10], "body")).expect("text");
    assert!(body.contains(&format!("<Account>{account}</Account>")), "{body}");
    assert_eq!(said.len(), 11);
}

/// `aws sts get-caller-identity`; `None` where the AWS CLI is not installed.
async fn cli(house: &House, key: AccessKey) -> Option<(bool, String)> {
    let url = format!("http://{}", house.address);
    let run = move || {
        Command::new("aws")
            .args(["sts", "get-caller-identity", "--output", "json"])
            .env("AWS_ENDPOINT_URL", url)
            .env("AWS_ACCESS_KEY_ID", key.access_key_id)
            .env("AWS_SECRET_ACCESS_KEY", key.secret)
            .env("AWS_DEFAULT_REGION", "us-east-1")
            .env("AWS_CONFIG_FILE", "/nonexistent/config")
            .env("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent/credentials")
            .output()
    };
    let output = tokio::task::spawn_blocking(run).await.expect("it goes well").ok()?;
    let said = [output.stdout, output.stderr].concat();
    Some((output.status.success(), String::from_utf8(said).expect("it goes well")))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_aws_cli_is_told_who_calls() {
    let house = open(false).await;
    let key = house.identity.create("dana", None).await.expect("it goes well");
    let Some((good, said)) = cli(&house, key.clone()).await else {
        println!("SKIPPED: the AWS CLI is not installed");
        return;
    };
    assert!(good, "{said}");
    let arn = format!("arn:aws:iam::{}:user/dana", house.identity.account());
    assert_eq!(text(&parsed(&said), "Arn"), arn);
    house.identity.revoke(&key.access_key_id).await.expect("it goes well");
    let (good, said) = cli(&house, key).await.expect("it goes well");
    assert!(!good && said.contains("InvalidClientTokenId"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn any_key_will_do_where_signatures_are_not_needed() {
    let house = open(true).await;
    let any = AccessKey { access_key_id: "test".to_owned(), secret: "test".to_owned() };
    let Some((good, said)) = cli(&house, any).await else {
        println!("SKIPPED: the AWS CLI is not installed");
        return;
    };
    assert!(good && said.contains(":root"), "{said}");
}
