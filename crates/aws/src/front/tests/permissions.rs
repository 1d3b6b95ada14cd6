//! What a key may do, from one request to the next.

use super::kit::{Draft, House, Plan, Wire, ask, open};
use crate::front::services::Services;
use crate::identity::{AccessKey, IdentityError};
use crate::value::Structure;

/// Every operation is built and answers nothing, about the group that its input names.
const PERMISSIVE: Services = Services {
    is_built: |_, _| true,
    resources: |context, ask| match ask.input.text("ReplicationGroupId") {
        Some(id) => {
            let group = format!("replicationgroup:{id}");
            let cluster = format!("cluster:{id}-001");
            [group, cluster].map(|name| context.arn("elasticache", &ask.region, &name)).to_vec()
        }
        None => Vec::new(),
    },
    answer: |_, _| Box::pin(async { Ok(Structure::new()) }),
};

async fn house() -> House {
    open(Plan { services: PERMISSIVE, ..Plan::default() }).await
}

async fn key(house: &House, statements: &str) -> AccessKey {
    let policy = format!(r#"{{"Version":"2012-10-17","Statement":[{statements}]}}"#);
    house.identity.create("ci", Some(&policy)).await.unwrap()
}

fn delete(id: &str) -> Draft {
    let body = format!("Action=DeleteReplicationGroup&Version=2015-02-02&ReplicationGroupId={id}");
    Draft::new("elasticache", body)
}

const EVERYTHING: &str = r#"{"Effect":"Allow","Action":"*","Resource":"*"}"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_key_may_do_what_its_policy_allows_and_nothing_else() {
    let house = house().await;
    let web = r#"{"Effect":"Allow","Action":"elasticache:Delete*","Resource":[
        "arn:aws:elasticache:*:*:replicationgroup:web*","arn:aws:elasticache:*:*:cluster:web-*"]}"#;
    let east = r#"{"Effect":"Allow","Action":"elasticache:*",
        "Resource":"arn:aws:elasticache:us-east-1:*:*"}"#;
    let no_web = r#"{"Effect":"Deny","Action":"elasticache:deletereplicationgroup",
        "Resource":"arn:aws:elasticache:*:*:replicationgroup:web"}"#;
    let group_only = r#"{"Effect":"Allow","Action":"elasticache:*",
        "Resource":"arn:aws:elasticache:*:*:replicationgroup:*"}"#;
    for (statements, draft, allowed) in [
        (EVERYTHING.to_owned(), delete("web"), true),
        (web.to_owned(), delete("web"), true),
        (web.to_owned(), delete("other"), false),
        (east.to_owned(), delete("web"), true),
        (east.to_owned(), delete("web").region("eu-central-1"), false),
        // A request without a resource of its own is about `*`.
        (east.to_owned(), Draft::of_each_dialect()[0].clone(), false),
        (format!("{EVERYTHING},{no_web}"), delete("web"), false),
        (format!("{no_web},{EVERYTHING}"), delete("web"), false),
        (format!("{no_web},{EVERYTHING}"), delete("web2"), true),
        // Each of the resources has to be allowed.
        (group_only.to_owned(), delete("web"), false),
    ] {
        let key = key(&house, &statements).await;
        let got = ask(&house, &draft.sign(&key)).await;
        if allowed {
            assert_eq!(got.status, 200, "{statements} {got:?}");
        } else {
            got.is(403, "AccessDenied").says("is not authorized to perform: elasticache:");
        }
        // Everybody may ask who they are.
        assert_eq!(ask(&house, &Draft::who_am_i().sign(&key)).await.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_denied_is_said_in_the_words_of_each_dialect() {
    let house = house().await;
    let key = key(&house, r#"{"Effect":"Deny","Action":"*","Resource":"*"}"#).await;
    let account = house.identity.account();
    let expected = [
        (403, "AccessDenied", "elasticache:DescribeReplicationGroups"),
        (403, "UnauthorizedOperation", "ec2:DescribeVpcs"),
        (400, "AccessDeniedException", "cloudwatch:DescribeAlarms"),
    ];
    for (draft, (status, code, action)) in Draft::of_each_dialect().into_iter().zip(expected) {
        let got = ask(&house, &draft.sign(&key)).await;
        got.is(status, code).says(&format!(
            "User: arn:aws:iam::{account}:user/ci is not authorized to perform: {action} on \
             resource: * with an explicit deny"
        ));
        let query_code = got.headers.get("x-amzn-query-error").map(String::as_str);
        assert_eq!(query_code, (status == 400).then_some("AccessDenied;Sender"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_without_a_policy_may_do_everything_under_its_name() {
    let house = house().await;
    let key = house.identity.create("dana", None).await.unwrap();
    assert_eq!(ask(&house, &delete("web").sign(&key)).await.status, 200);
    let me = open(Plan::default()).await;
    let key = me.identity.create("dana", None).await.unwrap();
    let got = ask(&me, &Draft::who_am_i().sign(&key)).await;
    assert_eq!(got.part("UserId"), key.access_key_id);
    assert_eq!(got.part("Arn"), format!("arn:aws:iam::{}:user/dana", me.identity.account()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_key_is_refused_from_the_next_request_on() {
    let house = house().await;
    for _ in 0..20 {
        let key = house.identity.create("ci", None).await.unwrap();
        let request = Draft::who_am_i().sign(&key).bytes();
        let mut wire = Wire::open(&house).await;
        wire.send(&request).await;
        assert_eq!(wire.next().await.unwrap().status, 200);
        house.identity.revoke(&key.access_key_id).await.unwrap();
        wire.send(&request).await;
        wire.next().await.unwrap().is(403, "InvalidClientTokenId");
    }
    assert_eq!(house.identity.list().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_root_key_is_replaced_and_not_revoked() {
    let house = house().await;
    let old = house.identity.root().unwrap();
    let refused = house.identity.revoke(&old.access_key_id).await;
    assert!(matches!(refused, Err(IdentityError::IsRoot(_))));
    assert_eq!(ask(&house, &Draft::who_am_i().sign(&old)).await.status, 200);
    let new = house.identity.rotate_root().await.unwrap();
    assert_ne!(new, old);
    ask(&house, &Draft::who_am_i().sign(&old)).await.is(403, "InvalidClientTokenId");
    assert_eq!(ask(&house, &Draft::who_am_i().sign(&new)).await.status, 200);
    assert_eq!(house.identity.root().unwrap(), new);
}
