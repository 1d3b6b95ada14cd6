//! The AWS endpoint of an installation: where it listens, and what the command line asks about it.
//!
//! In `tanist dev` it has an address of its own in the installation's network, which never changes, and
//! is also at 127.0.0.1 as long as nobody else is, because that is where the ecosystem looks first. On
//! a fleet every server has one, and offers it at its own address if the file says so.
//!
//! Invariant: an address that is named is listened on.
//!
//! Not here: HTTP and the operations (`tanist-aws`).

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Path as Segment, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get};
use tanist_aws::{Front, FrontConfig, Identity, IdentityError, Settings};
use tanist_core::model::EngineKind;
use tanist_link::api::{AccessKey, ApiError, AwsEndpoint, CreateKey, KeyStatus};
use tanist_link::{Client, Secret};
use tanist_store::AnyStore;
use tanist_telemetry::Series;
use tracing::warn;

use crate::config::Config;
use crate::doors::{Opened, Places};
use crate::engines::Found;
use crate::failure::{Failure, chain};

/// The port that the ecosystem expects.
pub(crate) const PORT: u16 = 4566;

/// What the endpoint is made from.
pub(crate) struct FrontGround<'a> {
    /// Where it is.
    pub(crate) places: Places,
    pub(crate) port: u16,
    pub(crate) store: AnyStore,
    pub(crate) controller: Client,
    pub(crate) secret: Secret,
    /// The installation's id, from which its account follows.
    pub(crate) installation: String,
    pub(crate) region: &'a str,
    pub(crate) zones: BTreeSet<String>,
    /// The port of endpoints that have an address of their own.
    pub(crate) endpoint_port: u16,
    pub(crate) engines: &'a Found,
    pub(crate) metrics: Arc<Series>,
    /// Requests need no signature.
    pub(crate) unsigned: bool,
}

/// Opens the endpoint and serves it for as long as the process lives; its part of the local API.
pub(crate) async fn open(ground: FrontGround<'_>, config: &Config) -> Result<Router, Failure> {
    let places = ground.places.clone();
    let (doors, opened) = places.open(ground.port, "the AWS endpoint", "T637").await?;
    let mut urls = opened.iter().map(Opened::url);
    let endpoint = urls.next().unwrap_or_default();
    let also = urls.collect();
    let (region, unsigned) = (ground.region.to_owned(), ground.unsigned);
    let front = Front::new(front_config(ground, config).await).await.map_err(|err| {
        Failure::caused("T638", &err, "correct the file that --config names, or see the log")
    })?;
    let desk = Desk { identity: front.identity(), endpoint, also, region, unsigned };
    let front = Arc::new(front);
    for door in doors {
        let front = Arc::clone(&front);
        tokio::spawn(async move {
            if let Err(err) = front.serve(door).await {
                warn!("the AWS endpoint is not served: {}", chain(&err));
            }
        });
    }
    tokio::spawn(async move { front.keep_access().await });
    Ok(routes(desk))
}

async fn front_config(ground: FrontGround<'_>, config: &Config) -> FrontConfig {
    FrontConfig {
        store: ground.store,
        controller: ground.controller,
        secret: ground.secret,
        installation: ground.installation,
        regions: vec![ground.region.to_owned()],
        zones: ground.zones.into_iter().collect(),
        declared: config.network.clone(),
        settings: Settings {
            loopback_inside: config.clients.loopback.is_inside(),
            port: ground.endpoint_port,
            engines: engines(ground.engines).await,
        },
        metrics: ground.metrics,
        unsigned: ground.unsigned,
    }
}

/// The versions of the engines that can be used.
async fn engines(found: &Found) -> Vec<(String, String)> {
    let paths = found.paths();
    let mut versions = Vec::new();
    for (kind, program) in [(EngineKind::Redis, &paths.redis), (EngineKind::Valkey, &paths.valkey)]
    {
        if let Ok(version) = tanist_agent::engine_version(kind, Path::new(program)).await {
            versions.push((kind.to_string(), version));
        }
    }
    versions
}

#[derive(Clone)]
struct Desk {
    identity: Identity,
    endpoint: String,
    also: Vec<String>,
    region: String,
    unsigned: bool,
}

fn routes(desk: Desk) -> Router {
    Router::new()
        .route("/v1/aws", get(describe))
        .route("/v1/keys", get(list).post(create))
        .route("/v1/keys/{id}", delete(revoke))
        .with_state(Arc::new(desk))
}

struct Refusal(StatusCode, ApiError);

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.0, axum::Json(self.1)).into_response()
    }
}

impl From<IdentityError> for Refusal {
    fn from(err: IdentityError) -> Self {
        let (status, code, remedy) = match &err {
            IdentityError::NoSuchKey(_) => {
                (StatusCode::NOT_FOUND, "T430", "tanist key list shows them")
            }
            IdentityError::IsRoot(_) => {
                (StatusCode::CONFLICT, "T431", "revoke others; the root key stays")
            }
            IdentityError::Store { .. } | IdentityError::NoRoot | IdentityError::Contended => {
                (StatusCode::SERVICE_UNAVAILABLE, "T501", "free disk space or see tanist doctor")
            }
            _ => (StatusCode::BAD_REQUEST, "T432", "see docs/how-to.md, access keys"),
        };
        Self(status, ApiError::new(code, chain(&err), remedy))
    }
}

type Answer<T> = Result<axum::Json<T>, Refusal>;

fn shown(key: tanist_aws::AccessKey) -> AccessKey {
    AccessKey { access_key_id: key.access_key_id, secret_access_key: key.secret }
}

async fn describe(State(desk): State<Arc<Desk>>) -> Answer<AwsEndpoint> {
    Ok(axum::Json(AwsEndpoint {
        endpoint: desk.endpoint.clone(),
        also: desk.also.clone(),
        region: desk.region.clone(),
        account: desk.identity.account().to_owned(),
        root: shown(desk.identity.root()?),
        unsigned: desk.unsigned,
    }))
}

async fn list(State(desk): State<Arc<Desk>>) -> Answer<Vec<KeyStatus>> {
    let status = |key: tanist_aws::KeySummary| KeyStatus {
        access_key_id: key.access_key_id,
        name: key.name,
        arn: key.arn,
        created_ms: key.created.as_millisecond(),
        policy: key.policy,
    };
    Ok(axum::Json(desk.identity.list().into_iter().map(status).collect()))
}

async fn create(
    State(desk): State<Arc<Desk>>,
    axum::Json(asked): axum::Json<CreateKey>,
) -> Answer<AccessKey> {
    Ok(axum::Json(shown(desk.identity.create(&asked.name, asked.policy.as_deref()).await?)))
}

async fn revoke(State(desk): State<Arc<Desk>>, Segment(id): Segment<String>) -> Answer<()> {
    Ok(axum::Json(desk.identity.revoke(&id).await?))
}
