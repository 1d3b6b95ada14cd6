//! Requests with a store and a controller behind them: what follows a change, and what stops one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use axum::Router;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::json;
use tanist_core::model::{Access, Durability, EngineKind, Reads};
use tanist_link::api::{EndpointStatus, GroupStatus, ModifyGroup, Status};
use tanist_link::{Client, Listener};
use tanist_store::{AnyStore, Options, SqliteStore};

use super::*;
use crate::book::{Book, Declared};
use crate::groups::{GroupRecord, Groups};
use crate::service::Settings;

/// What the controller has, and how often it says that a group has changed meanwhile.
#[derive(Default)]
struct Specs {
    groups: BTreeMap<String, GroupStatus>,
    conflicts: u32,
    /// Proxies do not confirm.
    silent: bool,
    changes: u32,
}

type Shared = Arc<Mutex<Specs>>;

fn refused(code: &str) -> Response {
    let error = tanist_link::api::ApiError::new(code, "", "");
    (http::StatusCode::CONFLICT, axum::Json(error)).into_response()
}

async fn status(State(specs): State<Shared>) -> Response {
    let groups = specs.lock().unwrap().groups.values().cloned().collect();
    let status = Status {
        version: String::new(),
        region: REGION.to_owned(),
        hosts: Vec::new(),
        groups,
        proxies: Vec::new(),
        notes: Vec::new(),
        servers: Vec::new(),
    };
    axum::Json(status).into_response()
}

async fn group(State(specs): State<Shared>, Path(name): Path<String>) -> Response {
    match specs.lock().unwrap().groups.get(&name) {
        Some(group) => axum::Json(group).into_response(),
        None => refused("T410"),
    }
}

async fn modify(
    State(specs): State<Shared>,
    Path(name): Path<String>,
    axum::Json(asked): axum::Json<ModifyGroup>,
) -> Response {
    let mut specs = specs.lock().unwrap();
    if specs.silent {
        return refused("T504");
    }
    let conflict = specs.conflicts > 0;
    specs.conflicts = specs.conflicts.saturating_sub(1);
    specs.changes += 1;
    let Some(group) = specs.groups.get_mut(&name) else { return refused("T410") };
    if conflict {
        group.revision += 1;
    }
    if asked.expect != Some(group.revision) {
        return refused("T417");
    }
    group.revision += 1;
    group.access = asked.access.unwrap();
    axum::Json(&*group).into_response()
}

fn endpoint() -> EndpointStatus {
    let address = std::net::Ipv4Addr::LOCALHOST;
    EndpointStatus { host: address.to_string(), address, port: 6379, also: Vec::new() }
}

/// A group with these security groups, as the controller has it.
fn web(security_groups: Vec<String>) -> GroupStatus {
    let record = GroupRecord { security_groups, ..GroupRecord::default() };
    GroupStatus {
        name: "web".into(),
        status: "available".to_owned(),
        engine: EngineKind::Redis,
        durability: Durability::Sync,
        memory_bytes: 1 << 28,
        revision: 3,
        replicas: 2,
        automatic_failover: true,
        zones: Vec::new(),
        endpoint_hosts: Default::default(),
        access: Access::Everyone,
        login: Default::default(),
        transit: Default::default(),
        certificate: None,
        reads: Reads::default(),
        attributes: BTreeMap::from([("aws".to_owned(), record.text().unwrap())]),
        primary_endpoint: endpoint(),
        reader_endpoint: endpoint(),
        shards: Vec::new(),
    }
}

struct House {
    context: Context,
    specs: Shared,
    server: tokio::task::JoinHandle<()>,
    _home: tempfile::TempDir,
}

impl House {
    async fn open() -> Self {
        let home = tempfile::tempdir().unwrap();
        let specs = Shared::default();
        let routes = Router::new()
            .route("/v1/status", get(status))
            .route("/v1/groups/{group}", get(group))
            .route("/v1/groups/{group}/modify", post(modify))
            .with_state(specs.clone());
        let socket = home.path().join("controller.sock");
        let listener = Listener::bind(&socket).await.unwrap();
        let server = tokio::spawn(tanist_link::serve(listener, routes));
        let options = Options { copy_every: None, ..Options::default() };
        let store = SqliteStore::open(home.path().join("store"), options).await.unwrap();
        let zones: Arc<[String]> = zones().into();
        let declared = Declared::default();
        let book = Book::open(AnyStore::from(store), zones.clone(), &declared).await.unwrap();
        let settings = Settings { loopback_inside: true, port: 6379, engines: Vec::new() };
        let context = Context {
            models: Models::load().unwrap(),
            account: ACCOUNT.into(),
            regions: [REGION.to_owned()].into(),
            zones,
            book,
            groups: Groups { client: Client::new(socket) },
            metrics: Arc::default(),
            settings: Arc::new(settings),
            changing: Arc::default(),
            unconfirmed: Default::default(),
        };
        Self { context, specs, server, _home: home }
    }

    fn ask(&self, operation: &str, input: Json) -> Ask {
        let service = &self.context.models.ec2;
        Ask {
            service,
            operation: service.operation(operation).unwrap(),
            protocol: Protocol::Ec2,
            input: structure(&input),
            region: REGION.to_owned(),
            caller: Caller { access_key_id: String::new(), arn: String::new() },
            now: jiff::Timestamp::from_millisecond(1_790_000_000_000).unwrap(),
            request_id: "the-request-id".to_owned(),
        }
    }

    async fn call(&self, operation: &str, input: Json) -> Answer {
        answer(&self.context, &self.ask(operation, input)).await
    }

    async fn code(&self, operation: &str, input: Json) -> (String, u16) {
        let error = self.call(operation, input).await.unwrap_err();
        (error.code.into_owned(), error.status)
    }

    /// A security group, and `web` which has it.
    async fn with_group(&self) -> String {
        let input = json!({"GroupName": "redis", "Description": "x"});
        let made = self.call("CreateSecurityGroup", input).await.unwrap();
        let id = made.text("GroupId").unwrap().to_owned();
        self.specs().groups.insert("web".to_owned(), web(vec![id.clone()]));
        id
    }

    fn specs(&self) -> MutexGuard<'_, Specs> {
        self.specs.lock().unwrap()
    }

    fn access(&self) -> Access {
        self.specs().groups["web"].access.clone()
    }
}

fn rule(group: &str) -> Json {
    json!({"GroupId": group, "IpProtocol": "tcp", "FromPort": 6379, "ToPort": 6379,
        "CidrIp": "172.31.0.0/16"})
}

fn only(sources: &[&str], loopback: bool) -> Access {
    let sources = sources.iter().map(|source| source.parse().unwrap()).collect();
    Access::Only { sources, loopback }
}

#[tokio::test]
async fn a_group_is_told_before_the_change_is_answered() {
    let house = House::open().await;
    let id = house.with_group().await;
    house.call("AuthorizeSecurityGroupIngress", rule(&id)).await.unwrap();
    assert_eq!(house.access(), only(&["172.31.0.0/16"], true));
    house.call("RevokeSecurityGroupIngress", rule(&id)).await.unwrap();
    assert_eq!(house.access(), only(&[], false));
    let pair = json!([{"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": id}]}]);
    let input = json!({"GroupId": id, "IpPermissions": pair});
    house.call("AuthorizeSecurityGroupIngress", input).await.unwrap();
    let run = json!({"ImageId": "ami-11111111", "MinCount": 1, "MaxCount": 1,
        "InstanceType": "t3.micro", "SecurityGroupIds": [id]});
    let made = house.call("RunInstances", run).await.unwrap();
    assert_eq!(house.access(), only(&["172.31.0.4/32"], true));
    let instance = made.structures("Instances").next().unwrap().text("InstanceId").unwrap();
    let default = house.call("DescribeSecurityGroups", json!({"GroupNames": ["default"]})).await;
    let default = default.unwrap();
    let default = default.structures("SecurityGroups").next().unwrap().text("GroupId").unwrap();
    for (group, sources) in [(default, &[][..]), (&id, &["172.31.0.4/32"])] {
        let input = json!({"InstanceId": instance, "Groups": [group]});
        house.call("ModifyInstanceAttribute", input).await.unwrap();
        assert_eq!(house.access(), only(sources, !sources.is_empty()));
    }
    house.call("TerminateInstances", json!({"InstanceIds": [instance]})).await.unwrap();
    assert_eq!(house.access(), only(&[], false));
}

#[tokio::test]
async fn a_pass_changes_what_differs_and_nothing_else() {
    let house = House::open().await;
    let id = house.with_group().await;
    house.specs().groups.insert("by-hand".to_owned(), {
        let mut group = web(Vec::new());
        group.name = "by-hand".into();
        group
    });
    access::sync(&house.context, REGION).await.unwrap();
    assert_eq!((house.access(), house.specs().changes), (only(&[], false), 1));
    access::sync(&house.context, REGION).await.unwrap();
    assert_eq!(house.specs().changes, 1);
    assert_eq!(house.specs().groups["by-hand"].access, Access::Everyone);
    house.specs().conflicts = 2;
    house.call("AuthorizeSecurityGroupIngress", rule(&id)).await.unwrap();
    assert_eq!(house.specs().changes, 4);
    assert_eq!(house.access(), only(&["172.31.0.0/16"], true));
    house.specs().conflicts = 100;
    house.specs().groups.get_mut("web").unwrap().access = Access::Everyone;
    let error = access::sync(&house.context, REGION).await.unwrap_err();
    assert_eq!(error.to_string(), "telling web who may connect");
}

#[tokio::test]
async fn whoever_shuts_somebody_out_hears_when_that_is_not_confirmed() {
    let house = House::open().await;
    let id = house.with_group().await;
    house.specs().silent = true;
    house.call("AuthorizeSecurityGroupIngress", rule(&id)).await.unwrap();
    let refused = house.code("RevokeSecurityGroupIngress", rule(&id)).await;
    assert_eq!(refused, ("Unavailable".to_owned(), 503));
    // What was written meanwhile looks as if there were nothing to tell.
    house.specs().groups.get_mut("web").unwrap().access = only(&[], false);
    access::sync(&house.context, REGION).await.unwrap_err();
    house.specs().silent = false;
    let before = house.specs().changes;
    access::sync(&house.context, REGION).await.unwrap();
    access::sync(&house.context, REGION).await.unwrap();
    assert_eq!(house.specs().changes, before + 1, "told again until it is confirmed, and once");
}

#[tokio::test]
async fn a_security_group_of_a_group_is_not_deleted() {
    let house = House::open().await;
    let id = house.with_group().await;
    let delete = json!({"GroupId": id});
    let refused = house.code("DeleteSecurityGroup", delete.clone()).await;
    assert_eq!(refused, ("DependencyViolation".to_owned(), 400));
    house.specs().groups.clear();
    house.call("DeleteSecurityGroup", delete).await.unwrap();
}

#[tokio::test]
async fn without_a_controller_nothing_that_concerns_groups_is_changed() {
    let house = House::open().await;
    let id = house.with_group().await;
    house.server.abort();
    let socket = std::path::PathBuf::from(house.context.groups.client.peer());
    std::fs::remove_file(socket).unwrap();
    let before = house.context.book.read(REGION).await.unwrap();
    let refused = house.code("AuthorizeSecurityGroupIngress", rule(&id)).await;
    assert_eq!(refused, ("Unavailable".to_owned(), 503));
    assert_eq!(house.context.book.read(REGION).await.unwrap(), before);
    house.call("CreateVpc", json!({"CidrBlock": "10.0.0.0/16"})).await.unwrap();
}

#[tokio::test]
async fn a_dry_run_says_what_would_happen_and_changes_nothing() {
    let house = House::open().await;
    let before = house.context.book.read(REGION).await.unwrap();
    let input = json!({"CidrBlock": "10.0.0.0/16", "DryRun": true});
    let refused = house.code("CreateVpc", input).await;
    assert_eq!(refused, ("DryRunOperation".to_owned(), 412));
    let refused = house.code("DescribeVpcs", json!({"DryRun": true})).await;
    assert_eq!(refused, ("DryRunOperation".to_owned(), 412));
    let input = json!({"CidrBlock": "10.0.0.0/8", "DryRun": true});
    assert_eq!(house.code("CreateVpc", input).await.0, "InvalidVpc.Range");
    assert_eq!(house.context.book.read(REGION).await.unwrap(), before);
}

#[tokio::test]
async fn policies_see_what_a_request_names() {
    let house = House::open().await;
    let named =
        |operation: &str, input: Json| resources(&house.context, &house.ask(operation, input));
    let arn = |resource: &str| format!("arn:aws:ec2:{REGION}:{ACCOUNT}:{resource}");
    let input = json!({"GroupId": "sg-1"});
    let found = named("AuthorizeSecurityGroupIngress", input);
    assert_eq!(found, [arn("security-group/sg-1")]);
    let found = named("TerminateInstances", json!({"InstanceIds": ["i-1", "i-2"]}));
    assert_eq!(found, [arn("instance/i-1"), arn("instance/i-2")]);
    let input = json!({"InstanceId": "i-1", "Groups": ["sg-1"]});
    let found = named("ModifyInstanceAttribute", input);
    assert_eq!(found, [arn("instance/i-1"), arn("security-group/sg-1")]);
    assert_eq!(named("CreateVpc", json!({"CidrBlock": "10.0.0.0/16"})), ["*"]);
    assert_eq!(named("DescribeSecurityGroups", json!({"GroupIds": ["sg-1"]})), ["*"]);
}
