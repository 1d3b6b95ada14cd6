//! The local API: requests in, answers out; everything is asked of the one loop.
//!
//! Invariant: a handler holds no state; an unknown path or a bad body is an answer, never a panic.
//!
//! Not here: what the requests do (`super::reconciler`), the documents (`tanist_link::api`).

mod hosts;
mod join;
mod recovery;
mod users;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Query, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http_body_util::BodyExt;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tanist_core::model::{GroupName, MoveKind, NodeId};
use tanist_link::api::{ApiError, EventRecord, Fault, MAX_REQUEST_BYTES};
use tanist_link::{ADMIN_NAME, Peer};
use tokio::sync::{broadcast, oneshot};

use crate::handle::Handle;
use crate::inputs::{Call, Input};
use crate::{agents, proxies};

#[derive(Debug, Clone)]
struct Api {
    handle: Handle,
    generations: Arc<AtomicU64>,
}

/// Every route that a controller offers.
pub fn routes(handle: Handle) -> Router {
    let api = Api { handle, generations: Arc::default() };
    Router::new()
        .route("/v1/status", get(status))
        .route("/v1/names", get(names))
        .route("/v1/groups", post(create))
        .route("/v1/groups/{group}", get(group).delete(delete))
        .route("/v1/groups/{group}/modify", post(modify))
        .route("/v1/groups/{group}/failover", post(failover))
        .route("/v1/groups/{group}/switchover", post(switchover))
        .route("/v1/groups/{group}/history", get(history))
        .route("/v1/groups/{group}/endpoints", get(endpoints))
        .route("/v1/groups/{group}/nodes/{node}/fault", post(fault))
        .merge(hosts::routes())
        .merge(join::routes())
        .merge(recovery::routes())
        .merge(users::routes())
        .route("/v1/events", get(events))
        .route("/v1/events/follow", get(follow))
        .route("/v1/proxies/renew", post(renew))
        .route("/v1/down", post(down))
        .route("/link/v1/proxy", post(proxy))
        .route("/link/v1/agent", post(agent))
        .fallback(unknown)
        .layer(middleware::from_fn(admit))
        .with_state(api)
}

/// An error as a response; the status follows from the code's first digits.
struct Refusal(ApiError);

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = match self.0.code.as_str() {
            "T410" | "T411" | "T414" | "T440" | "T441" | "T470" => http::StatusCode::NOT_FOUND,
            "T204" | "T208" | "T209" | "T402" | "T472" | "T473" | "T476" | "T412" | "T413"
            | "T415" | "T416" | "T417" | "T442" | "T443" | "T445" | "T450" | "T452" | "T461"
            | "T462" => http::StatusCode::CONFLICT,
            "T511" => http::StatusCode::MISDIRECTED_REQUEST,
            "T480" | "T481" => http::StatusCode::FORBIDDEN,
            code if code.starts_with("T5") => http::StatusCode::SERVICE_UNAVAILABLE,
            _ => http::StatusCode::BAD_REQUEST,
        };
        (status, axum::Json(self.0)).into_response()
    }
}

type Answer<T> = Result<axum::Json<T>, Refusal>;

async fn ask<T: Serialize>(
    api: &Api,
    call: impl FnOnce(oneshot::Sender<Result<T, ApiError>>) -> Call,
) -> Answer<T> {
    let (reply, answer) = oneshot::channel();
    let again = "start it again: tanist dev, or tanist server";
    let ended = || Refusal(ApiError::new("T503", "the controller is ending", again));
    let gone = || Refusal(ApiError::new("T511", "the controller has ended", again));
    // Nobody has heard it: another server may be asked.
    api.handle.inbox.send(Input::Call(call(reply))).await.map_err(|_| gone())?;
    match answer.await {
        Ok(Ok(value)) => Ok(axum::Json(value)),
        Ok(Err(error)) => Err(Refusal(error)),
        Err(_) => Err(ended()),
    }
}

async fn body<T: DeserializeOwned>(request: Request) -> Result<T, Refusal> {
    let limited = http_body_util::Limited::new(request.into_body(), MAX_REQUEST_BYTES);
    let bytes = limited.collect().await.map_err(|_| {
        let message =
            format!("the request's body could not be read or has over {MAX_REQUEST_BYTES} bytes");
        Refusal(ApiError::new("T400", message, "send a smaller body"))
    })?;
    serde_json::from_slice(&bytes.to_bytes()).map_err(|err| {
        let message = format!("the request's body is not understood: {err}");
        Refusal(ApiError::new("T400", message, "see docs/local-api.md"))
    })
}

fn group_name(text: &str) -> Result<GroupName, Refusal> {
    GroupName::parse(text)
        .map_err(|err| Refusal(ApiError::new("T401", err.to_string(), "check the name")))
}

async fn status(State(api): State<Api>) -> Response {
    match ask(&api, Call::Status).await {
        // Of thousands of groups that takes long, and the loop shares its threads with others.
        Ok(status) => {
            let written = tokio::task::spawn_blocking(move || status.into_response()).await;
            written.unwrap_or_else(|_| http::StatusCode::INTERNAL_SERVER_ERROR.into_response())
        }
        Err(refusal) => refusal.into_response(),
    }
}

async fn names(State(api): State<Api>) -> Response {
    ask(&api, Call::Names).await.into_response()
}

async fn group(State(api): State<Api>, Path(name): Path<String>) -> Result<Response, Refusal> {
    let name = group_name(&name)?;
    Ok(ask(&api, |reply| Call::Group { name, reply }).await.into_response())
}

async fn create(State(api): State<Api>, request: Request) -> Result<Response, Refusal> {
    let asked = body(request).await?;
    Ok(ask(&api, |reply| Call::Create { asked, reply }).await.into_response())
}

async fn modify(
    State(api): State<Api>,
    Path(name): Path<String>,
    request: Request,
) -> Result<Response, Refusal> {
    let name = group_name(&name)?;
    let asked = body(request).await?;
    Ok(ask(&api, |reply| Call::Modify { name, asked, reply }).await.into_response())
}

async fn delete(State(api): State<Api>, Path(name): Path<String>) -> Result<Response, Refusal> {
    let name = group_name(&name)?;
    Ok(ask(&api, |reply| Call::Delete { name, reply }).await.into_response())
}

async fn failover(
    State(api): State<Api>,
    Path(name): Path<String>,
    request: Request,
) -> Result<Response, Refusal> {
    move_primary(api, name, MoveKind::Failover, request).await
}

async fn switchover(
    State(api): State<Api>,
    Path(name): Path<String>,
    request: Request,
) -> Result<Response, Refusal> {
    move_primary(api, name, MoveKind::Switchover, request).await
}

async fn move_primary(
    api: Api,
    name: String,
    kind: MoveKind,
    request: Request,
) -> Result<Response, Refusal> {
    let name = group_name(&name)?;
    let asked = body(request).await?;
    Ok(ask(&api, |reply| Call::Move { name, kind, asked, reply }).await.into_response())
}

async fn history(State(api): State<Api>, Path(name): Path<String>) -> Result<Response, Refusal> {
    let name = group_name(&name)?;
    Ok(ask(&api, |reply| Call::History { name, reply }).await.into_response())
}

async fn endpoints(State(api): State<Api>, Path(name): Path<String>) -> Result<Response, Refusal> {
    let name = group_name(&name)?;
    Ok(ask(&api, |reply| Call::Endpoints { name, reply }).await.into_response())
}

async fn renew(State(api): State<Api>, request: Request) -> Result<Response, Refusal> {
    let asked = body(request).await?;
    Ok(ask(&api, |reply| Call::Renew { asked, reply }).await.into_response())
}

async fn fault(
    State(api): State<Api>,
    Path((name, node)): Path<(String, String)>,
    request: Request,
) -> Result<Response, Refusal> {
    let name = group_name(&name)?;
    let node = NodeId::new(node);
    let fault: Fault = body(request).await?;
    Ok(ask(&api, |reply| Call::Fault { name, node, fault, reply }).await.into_response())
}

#[derive(Debug, Deserialize)]
struct After {
    #[serde(default)]
    after: u64,
}

async fn events(State(api): State<Api>, Query(query): Query<After>) -> Response {
    ask(&api, |reply| Call::Events { after: query.after, reply }).await.into_response()
}

async fn down(State(api): State<Api>) -> Response {
    ask(&api, Call::Down).await.into_response()
}

/// Events as they happen, as JSON lines.
async fn follow(State(api): State<Api>, request: Request) -> Response {
    let mut news = api.handle.events.subscribe();
    let name = "events";
    let (duplex, response) = tanist_link::accept::<EventRecord, ()>(name, request.into_body());
    tokio::spawn(async move {
        let sender = duplex.sender;
        loop {
            let record = tokio::select! {
                () = sender.closed() => break,
                record = news.recv() => record,
            };
            match record {
                Ok(record) if sender.send(&record).is_ok() => {}
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Ok(_) | Err(broadcast::error::RecvError::Closed) => break,
            }
        }
    });
    response
}

/// Who sent a request that came over the network.
fn peer(request: &Request) -> Option<Peer> {
    request.extensions().get().cloned()
}

async fn proxy(State(api): State<Api>, request: Request) -> Response<Body> {
    let generation = api.generations.fetch_add(1, Ordering::Relaxed);
    let peer = peer(&request);
    proxies::converse(request.into_body(), api.handle.inbox.clone(), generation, peer)
}

async fn agent(State(api): State<Api>, request: Request) -> Response<Body> {
    let generation = api.generations.fetch_add(1, Ordering::Relaxed);
    let peer = peer(&request);
    agents::converse(request.into_body(), api.handle.inbox.clone(), generation, peer)
}

/// These routes as they are offered over the network, where only administrators may use them.
pub fn guarded(routes: Router) -> Router {
    routes.layer(middleware::from_fn(admit))
}

/// Over the network, roles have their conversations, and whoever administers the fleet the rest.
async fn admit(request: Request, next: Next) -> Response {
    let refused = peer(&request).is_some_and(|peer| {
        let path = request.uri().path();
        let converses = path.starts_with("/link/") && (!peer.is_nobody() || path == join::JOIN);
        !converses && !peer.is(ADMIN_NAME)
    });
    if !refused {
        return next.run(request).await;
    }
    let remedy = "ask on a host that serves, or with the administrator's certificate";
    Refusal(ApiError::new("T480", "that is for administrators", remedy)).into_response()
}

async fn unknown(request: Request) -> Response {
    let message = format!("there is no {} {}", request.method(), request.uri().path());
    Refusal(ApiError::new("T410", message, "see docs/local-api.md")).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_request_may_be_as_large_as_the_api_says_and_no_larger() {
        let request =
            |bytes: usize| Request::new(Body::from(format!("\"{}\"", "x".repeat(bytes - 2))));
        let most = body::<String>(request(MAX_REQUEST_BYTES)).await;
        assert!(most.is_ok_and(|text| text.len() == MAX_REQUEST_BYTES - 2));
        let more = body::<String>(request(MAX_REQUEST_BYTES + 1)).await;
        assert!(more.is_err_and(|refusal| refusal.0.code == "T400"));
    }
}
