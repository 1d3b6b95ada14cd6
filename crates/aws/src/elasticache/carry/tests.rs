//! Operations from a request to the controller's API and back.
//!
//! The other side speaks the real API over a real socket and keeps specs as the controller does; it
//! starts no engines. What a group becomes is tested where engines run.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use jiff::Timestamp;
use tanist_core::model::{EngineKind, EventKind, NodeId, RequestId, Severity};
use tanist_link::api::{self, CreateGroup, EventRecord, GroupStatus, MoveAccepted, Status};
use tanist_link::{Client, Listener};
use tanist_store::{AnyStore, Options, SqliteStore};

use super::*;
use crate::book::{Book, Declared};
use crate::elasticache::kit::{NOW_MS, Stage, group_of, operation, service, xml};
use crate::elasticache::{OPERATIONS, answer};
use crate::groups::Groups;
use crate::model::Models;
use crate::service::Caller;
use crate::wire::Protocol;

/// What the controller keeps.
#[derive(Default)]
struct Specs {
    groups: BTreeMap<String, GroupStatus>,
    /// What it was asked, in order.
    asked: Vec<String>,
    events: Vec<EventRecord>,
    /// How many changes find that somebody has changed the group before.
    races: u32,
    /// Refuse the next request to move a primaryship with this code.
    no_move: Option<&'static str>,
    /// Requests to move a primaryship are not answered.
    silent: bool,
}

type Shared = Arc<Mutex<Specs>>;

fn refused(code: &str) -> Response {
    let error = api::ApiError::new(code, format!("refused with {code}"), "wait");
    (http::StatusCode::CONFLICT, axum::Json(error)).into_response()
}

fn shape(status: &mut GroupStatus, replicas: u8) {
    let name = status.name.as_str().to_owned();
    let shards = group_of(&name, replicas + 1).status.shards;
    (status.replicas, status.shards) = (replicas, shards);
}

async fn status(State(specs): State<Shared>) -> Response {
    let specs = specs.lock().unwrap();
    axum::Json(Status {
        version: "0".to_owned(),
        region: "us-east-1".to_owned(),
        hosts: Vec::new(),
        groups: specs.groups.values().cloned().collect(),
        proxies: Vec::new(),
        notes: Vec::new(),
        servers: Vec::new(),
    })
    .into_response()
}

async fn create(
    State(specs): State<Shared>,
    axum::Json(asked): axum::Json<CreateGroup>,
) -> Response {
    let mut specs = specs.lock().unwrap();
    if specs.groups.contains_key(&asked.name) {
        return refused("T402");
    }
    if asked.memory_bytes > 1 << 40 {
        return refused("T420");
    }
    let mut status = group_of(&asked.name, asked.replicas + 1).status;
    status.engine = asked.engine;
    status.automatic_failover = asked.automatic_failover;
    status.access = asked.access;
    status.attributes = asked.attributes;
    status.status = "creating".to_owned();
    specs.groups.insert(asked.name, status.clone());
    axum::Json(status).into_response()
}

async fn modify(
    State(specs): State<Shared>,
    Path(name): Path<String>,
    axum::Json(asked): axum::Json<ModifyGroup>,
) -> Response {
    let mut specs = specs.lock().unwrap();
    specs.asked.push(format!("modify {name} {}", serde_json::to_string(&asked).unwrap()));
    let specs = &mut *specs;
    let Some(status) = specs.groups.get_mut(&name) else { return refused("T410") };
    status.revision += 1;
    if specs.races > 0 {
        specs.races -= 1;
        return refused("T417");
    }
    if asked.expect.is_some_and(|expect| expect != status.revision - 1) {
        return refused("T417");
    }
    if let Some(replicas) = asked.replicas {
        shape(status, replicas);
    }
    status.automatic_failover = asked.automatic_failover.unwrap_or(status.automatic_failover);
    status.memory_bytes = asked.memory_bytes.unwrap_or(status.memory_bytes);
    if let Some(access) = asked.access {
        status.access = access;
    }
    for (key, text) in asked.attributes {
        match text {
            Some(text) => status.attributes.insert(key, text),
            None => status.attributes.remove(&key),
        };
    }
    axum::Json(status.clone()).into_response()
}

async fn delete(State(specs): State<Shared>, Path(name): Path<String>) -> Response {
    let mut specs = specs.lock().unwrap();
    match specs.groups.get_mut(&name) {
        Some(status) => {
            status.status = "deleting".to_owned();
            axum::Json(()).into_response()
        }
        None => refused("T410"),
    }
}

async fn move_primary(
    State(specs): State<Shared>,
    Path((name, how)): Path<(String, String)>,
    axum::Json(asked): axum::Json<MovePrimary>,
) -> Response {
    if specs.lock().unwrap().silent {
        return std::future::pending().await;
    }
    let mut specs = specs.lock().unwrap();
    let to = asked.to.as_ref().map_or("", NodeId::as_str);
    specs.asked.push(format!("{how} {name} {to}"));
    if let Some(code) = specs.no_move.take() {
        return refused(code);
    }
    let shard = "0001".into();
    axum::Json(MoveAccepted { shard, request: RequestId(1) }).into_response()
}

async fn events(State(specs): State<Shared>) -> Response {
    axum::Json(specs.lock().unwrap().events.clone()).into_response()
}

/// A region with a controller.
struct House {
    context: Context,
    specs: Shared,
    _home: tempfile::TempDir,
}

const NETWORK: &str = r#"
[[vpcs]]
id = "vpc-22222222"
region = "us-east-1"
cidr = "10.0.0.0/16"

[[subnets]]
id = "subnet-11111111"
vpc = "vpc-22222222"
cidr = "10.0.11.0/24"
zone = "us-east-1a"

[[subnets]]
id = "subnet-22222222"
vpc = "vpc-22222222"
cidr = "10.0.12.0/24"
zone = "us-east-1b"
"#;

impl House {
    async fn open() -> Self {
        let home = tempfile::tempdir().unwrap();
        let specs = Shared::default();
        let routes = Router::new()
            .route("/v1/status", get(status))
            .route("/v1/events", get(events))
            .route("/v1/groups", post(create))
            .route("/v1/groups/{group}", axum::routing::delete(delete))
            .route("/v1/groups/{group}/modify", post(modify))
            .route("/v1/groups/{group}/{how}", post(move_primary))
            .with_state(specs.clone());
        let socket = home.path().join("controller.sock");
        tokio::spawn(tanist_link::serve(Listener::bind(&socket).await.unwrap(), routes));
        let options = Options { copy_every: None, ..Options::default() };
        let store = SqliteStore::open(home.path().join("store"), options).await.unwrap();
        let Stage { settings, zones, .. } = Stage::new();
        let zones: Arc<[String]> = zones.into();
        let declared: Declared = toml::from_str(NETWORK).unwrap();
        let book = Book::open(AnyStore::from(store), zones.clone(), &declared).await.unwrap();
        let context = Context {
            models: Models::load().unwrap(),
            account: "123456789012".into(),
            regions: ["us-east-1".to_owned(), "us-west-2".to_owned()].into(),
            zones,
            book,
            groups: Groups::new(Client::new(socket)),
            metrics: Arc::default(),
            settings: Arc::new(settings),
            changing: Arc::default(),
            unconfirmed: Default::default(),
        };
        Self { context, specs, _home: home }
    }

    /// With a subnet group and the group `web` of three nodes, all well.
    async fn with_web() -> Self {
        let house = Self::open().await;
        house.ok("CreateCacheSubnetGroup", &subnets()).await;
        house.ok("CreateReplicationGroup", &web()).await;
        house.settle();
        house
    }

    async fn ask(&self, name: &str, input: &Structure) -> Answer {
        self.ask_in("us-east-1", name, input).await
    }

    async fn ask_in(&self, region: &str, name: &str, input: &Structure) -> Answer {
        let ask = Ask {
            service: service(),
            operation: operation(name),
            protocol: Protocol::Query,
            input: input.clone(),
            region: region.to_owned(),
            caller: Caller { access_key_id: String::new(), arn: String::new() },
            now: Timestamp::from_millisecond(NOW_MS).unwrap(),
            request_id: "r-1".to_owned(),
        };
        answer(&self.context, &ask).await
    }

    /// The answer, which the model knows, as XML.
    async fn ok(&self, name: &str, input: &Structure) -> String {
        xml(name, &self.ask(name, input).await.unwrap())
    }

    async fn code(&self, name: &str, input: &Structure) -> String {
        self.ask(name, input).await.unwrap_err().code.into_owned()
    }

    fn specs(&self) -> std::sync::MutexGuard<'_, Specs> {
        self.specs.lock().unwrap()
    }

    /// Everything that was begun is done.
    fn settle(&self) {
        let mut specs = self.specs();
        specs.groups.retain(|_, status| status.status != "deleting");
        for status in specs.groups.values_mut() {
            status.status = "available".to_owned();
        }
    }
}

fn subnets() -> Structure {
    Structure::new()
        .set("CacheSubnetGroupName", "Practice")
        .set("CacheSubnetGroupDescription", "Multi-AZ Redis")
        .list("SubnetIds", ["subnet-11111111", "subnet-22222222"])
}

fn web() -> Structure {
    named()
        .set("ReplicationGroupDescription", "Redis replication with failover")
        .set("Engine", "redis")
        .set("EngineVersion", "7.0")
        .set("CacheNodeType", "cache.t3.micro")
        .set("NumCacheClusters", 3)
        .set("AutomaticFailoverEnabled", true)
        .set("MultiAZEnabled", true)
        .set("CacheSubnetGroupName", "practice")
}

fn named() -> Structure {
    Structure::new().set("ReplicationGroupId", "Web")
}

#[tokio::test]
async fn the_practice_group_lives_and_goes() {
    let house = House::open().await;
    let created = house.ok("CreateCacheSubnetGroup", &subnets()).await;
    assert!(created.contains("<VpcId>vpc-22222222</VpcId>"), "{created}");
    let created = house.ok("CreateReplicationGroup", &web()).await;
    assert!(created.contains("<Status>creating</Status>"), "{created}");
    {
        let specs = house.specs();
        let status = &specs.groups["web"];
        assert_eq!((status.engine, status.replicas), (EngineKind::Redis, 2));
        assert!(matches!(status.access, Access::Only { .. }), "security groups are heeded");
    }
    assert_eq!(house.code("CreateReplicationGroup", &web()).await, "ReplicationGroupAlreadyExists");
    house.settle();
    let shown = house.ok("DescribeReplicationGroups", &named()).await;
    assert!(shown.contains("<Status>available</Status>"), "{shown}");
    assert!(shown.contains("<MultiAZ>enabled</MultiAZ>"), "{shown}");
    let moved = house.ok("TestFailover", &named().set("NodeGroupId", "0001")).await;
    assert!(moved.contains("<Status>modifying</Status>"), "{moved}");
    let name = Structure::new().set("CacheSubnetGroupName", "practice");
    assert_eq!(house.code("DeleteCacheSubnetGroup", &name).await, "CacheSubnetGroupInUse");
    let gone = house.ok("DeleteReplicationGroup", &named()).await;
    assert!(gone.contains("<Status>deleting</Status>"), "{gone}");
    let again = house.code("DeleteReplicationGroup", &named()).await;
    assert_eq!(again, "InvalidReplicationGroupState");
    house.settle();
    let code = house.code("DescribeReplicationGroups", &named()).await;
    assert_eq!(code, "ReplicationGroupNotFoundFault");
    house.ok("DeleteCacheSubnetGroup", &name).await;
}

#[tokio::test]
async fn a_retained_primary_is_a_cache_cluster_until_it_is_deleted() {
    let house = House::with_web().await;
    let keep = named().set("RetainPrimaryCluster", true);
    let answer = house.ok("DeleteReplicationGroup", &keep).await;
    assert!(answer.contains("<Status>deleting</Status>"), "{answer}");
    let code = house.code("DescribeReplicationGroups", &named()).await;
    assert_eq!(code, "ReplicationGroupNotFoundFault");
    let alone = Structure::new().set("ShowCacheClustersNotInReplicationGroups", true);
    let shown = house.ok("DescribeCacheClusters", &alone).await;
    assert!(shown.contains("<CacheClusterId>web-001</CacheClusterId>"), "{shown}");
    assert!(!shown.contains("<ReplicationGroupId>"), "{shown}");
    let name = Structure::new().set("CacheSubnetGroupName", "practice");
    assert_eq!(house.code("DeleteCacheSubnetGroup", &name).await, "CacheSubnetGroupInUse");
    let left = Structure::new().set("CacheClusterId", "web-001");
    let gone = house.ok("DeleteCacheCluster", &left).await;
    assert!(gone.contains("<CacheClusterStatus>deleting</CacheClusterStatus>"), "{gone}");
    house.settle();
    assert_eq!(house.code("DescribeCacheClusters", &left).await, "CacheClusterNotFound");
    house.ok("DeleteCacheSubnetGroup", &name).await;
}

#[tokio::test]
async fn a_change_is_decided_again_when_somebody_came_first() {
    let house = House::with_web().await;
    house.specs().races = 2;
    let change = named().set("ReplicationGroupDescription", "new").set("MultiAZEnabled", false);
    let shown = house.ok("ModifyReplicationGroup", &change).await;
    assert!(shown.contains("<Description>new</Description>"), "{shown}");
    assert_eq!(house.specs().asked.len(), 3);
    house.specs().races = 99;
    let change = named().set("ReplicationGroupDescription", "newer");
    let code = house.code("ModifyReplicationGroup", &change).await;
    assert_eq!(code, "InvalidReplicationGroupState");
}

#[tokio::test]
async fn a_change_that_changes_nothing_is_not_sent() {
    let house = House::with_web().await;
    house.ok("ModifyReplicationGroup", &named().set("ApplyImmediately", true)).await;
    assert!(house.specs().asked.is_empty());
}

#[tokio::test]
async fn a_promotion_is_a_switchover_to_the_node_that_is_named() {
    let house = House::with_web().await;
    let input = named().set("PrimaryClusterId", "web-003").set("ApplyImmediately", true);
    let shown = house.ok("ModifyReplicationGroup", &input).await;
    assert!(shown.contains("<PrimaryClusterId>web-003</PrimaryClusterId>"), "{shown}");
    assert_eq!(house.specs().asked, ["switchover web web-003"]);
    house.specs().no_move = Some("T204");
    let code = house.code("ModifyReplicationGroup", &input).await;
    assert_eq!(code, "InvalidReplicationGroupState");
}

#[tokio::test]
async fn replicas_come_and_go_by_number_and_by_name() {
    let house = House::with_web().await;
    let now = named().set("ApplyImmediately", true);
    let more = now.clone().set("NewReplicaCount", 3);
    assert!(house.ok("IncreaseReplicaCount", &more).await.contains("web-004"));
    assert_eq!(house.code("IncreaseReplicaCount", &more).await, "NoOperationFault");
    let fewer = now.list("ReplicasToRemove", ["web-002"]);
    house.ok("DecreaseReplicaCount", &fewer).await;
    assert!(house.specs().asked[1].contains(r#""remove":["web-002"]"#));
    let node = Structure::new().set("CacheClusterId", "web-003");
    let gone = house.ok("DeleteCacheCluster", &node).await;
    assert!(gone.contains("<CacheClusterId>web-003</CacheClusterId>"), "{gone}");
    assert!(house.specs().asked[2].contains(r#""replicas":1"#));
}

#[tokio::test]
async fn tags_travel_with_their_group() {
    let house = House::with_web().await;
    let arn = |kind: &str, name: &str| {
        let arn = format!("arn:aws:elasticache:us-east-1:123456789012:{kind}:{name}");
        Structure::new().set("ResourceName", arn)
    };
    let tag = |key: &str| [Structure::new().set("Key", key).set("Value", "v")];
    for (kind, name) in
        [("replicationgroup", "web"), ("cluster", "web-002"), ("subnetgroup", "practice")]
    {
        let input = arn(kind, name).list("Tags", tag(kind));
        let listed = house.ok("AddTagsToResource", &input).await;
        assert!(listed.contains(&format!("<Key>{kind}</Key>")), "{listed}");
    }
    let listed = house.ok("ListTagsForResource", &arn("cluster", "web-002")).await;
    assert_eq!(listed.matches("<Tag>").count(), 2, "{listed}");
    let listed = house.ok("ListTagsForResource", &arn("cluster", "web-001")).await;
    assert_eq!(listed.matches("<Tag>").count(), 1, "{listed}");
    let remove = arn("replicationgroup", "web").list("TagKeys", ["replicationgroup"]);
    assert!(!house.ok("RemoveTagsFromResource", &remove).await.contains("<Tag>"));
    assert_eq!(house.code("RemoveTagsFromResource", &remove).await, "TagNotFound");
}

#[tokio::test]
async fn what_is_remembered_in_another_form_is_not_overwritten() {
    let house = House::with_web().await;
    let later = r#"{"format":"9","body":{"everything":"else"}}"#;
    let attribute = ("aws".to_owned(), later.to_owned());
    house.specs().groups.get_mut("web").unwrap().attributes.extend([attribute]);
    let shown = house.ok("DescribeReplicationGroups", &named()).await;
    assert!(shown.contains("<Status>available</Status>"), "{shown}");
    let now = named().set("ApplyImmediately", true);
    let arn = "arn:aws:elasticache:us-east-1:123456789012:replicationgroup:web";
    let tagged = Structure::new().set("ResourceName", arn);
    let tag = [Structure::new().set("Key", "k").set("Value", "v")];
    for (operation, input) in [
        ("ModifyReplicationGroup", now.clone().set("ReplicationGroupDescription", "new")),
        ("ModifyReplicationGroup", now.clone().set("PrimaryClusterId", "web-002")),
        ("IncreaseReplicaCount", now.clone().set("NewReplicaCount", 3)),
        ("DecreaseReplicaCount", now.set("NewReplicaCount", 1)),
        ("DeleteCacheCluster", Structure::new().set("CacheClusterId", "web-003")),
        ("DeleteReplicationGroup", named().set("RetainPrimaryCluster", true)),
        ("AddTagsToResource", tagged.clone().list("Tags", tag)),
        ("RemoveTagsFromResource", tagged.list("TagKeys", ["k"])),
    ] {
        let code = house.code(operation, &input).await;
        assert_eq!(code, "InvalidReplicationGroupState", "{operation}");
    }
    assert!(house.specs().asked.is_empty());
    assert_eq!(house.specs().groups["web"].attributes["aws"], later);
    // It can be got rid of, of course.
    house.ok("DeleteReplicationGroup", &named()).await;
}

#[tokio::test]
async fn what_is_too_large_to_be_remembered_is_refused_before_anything_is_asked() {
    let house = House::with_web().await;
    let groups = house.specs().groups.len();
    let long = named().set("ReplicationGroupDescription", "x".repeat(2049));
    let topic = named().set("NotificationTopicArn", "x".repeat(1_000_000));
    for input in [long, topic.clone()] {
        assert_eq!(house.code("ModifyReplicationGroup", &input).await, "InvalidParameterValue");
    }
    let create = topic.set("ReplicationGroupId", "other").set("CacheNodeType", "cache.t3.micro");
    let create = create.set("ReplicationGroupDescription", "d");
    assert_eq!(house.code("CreateReplicationGroup", &create).await, "InvalidParameterValue");
    assert!(house.specs().asked.is_empty());
    assert_eq!(house.specs().groups.len(), groups);
}

#[tokio::test]
async fn another_region_has_no_groups_and_no_events() {
    let house = House::with_web().await;
    let (kind, node) = (EventKind::GroupDeleted, None);
    house.specs().events.push(EventRecord {
        id: 1,
        at_ms: u64::try_from(NOW_MS).unwrap(),
        group: Some("web".into()),
        node,
        epoch: None,
        name: kind.name().to_owned(),
        severity: Severity::Info,
        text: kind.sentence(),
    });
    let none = Structure::new();
    for (region, count) in [("us-east-1", 1), ("us-west-2", 0)] {
        let groups = house.ask_in(region, "DescribeReplicationGroups", &none).await.unwrap();
        assert_eq!(groups.items("ReplicationGroups").len(), count, "{region}");
        let events = house.ask_in(region, "DescribeEvents", &none).await.unwrap();
        assert_eq!(events.items("Events").len(), count, "{region}");
    }
}

#[tokio::test]
async fn without_a_controller_clients_are_told_to_come_back() {
    let mut house = House::open().await;
    house.context.groups = Groups::new(Client::new("/nonexistent/socket"));
    let error = house.ask("DescribeReplicationGroups", &Structure::new()).await.unwrap_err();
    assert_eq!((error.code.as_ref(), error.status), ("ServiceUnavailable", 503));
}

#[tokio::test]
async fn a_controller_that_does_not_answer_holds_nobody_for_ever() {
    let mut house = House::with_web().await;
    let limit = Duration::from_millis(200);
    house.context.groups.client = house.context.groups.client.clone().within(limit);
    house.specs().silent = true;
    let input = named().set("NodeGroupId", "0001");
    let error = house.ask("TestFailover", &input).await.unwrap_err();
    assert_eq!((error.code.as_ref(), error.status), ("ServiceUnavailable", 503));
    assert!(error.message.contains("look before you repeat it"), "{}", error.message);
    // The others have their turn.
    house.ok("ModifyReplicationGroup", &named().set("ReplicationGroupDescription", "new")).await;
}

#[tokio::test]
async fn no_operation_panics_on_an_empty_input() {
    let house = House::with_web().await;
    for name in OPERATIONS {
        // Whatever the answer is, there is one.
        let _answer = house.ask(name, &Structure::new()).await;
    }
}
