//! The local API's part about hosts.
//!
//! Invariant: as in `super`.
//!
//! Not here: what the requests do (`crate::hosts`).

use axum::Router;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use tanist_core::model::HostId;

use super::{Api, Refusal, ask, body};
use crate::hosts::HostsCall;
use crate::inputs::Call;

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/v1/hosts", get(list))
        .route("/v1/hosts/{host}/drain", post(drain))
        .route("/v1/hosts/{host}/label", post(label))
}

async fn list(State(api): State<Api>) -> Response {
    ask(&api, |reply| Call::Hosts(HostsCall::List(reply))).await.into_response()
}

async fn drain(
    State(api): State<Api>,
    Path(host): Path<String>,
    request: Request,
) -> Result<Response, Refusal> {
    let asked = body(request).await?;
    let host = HostId::new(host);
    let call = |reply| Call::Hosts(HostsCall::Drain { host, asked, reply });
    Ok(ask(&api, call).await.into_response())
}

async fn label(
    State(api): State<Api>,
    Path(host): Path<String>,
    request: Request,
) -> Result<Response, Refusal> {
    let asked = body(request).await?;
    let host = HostId::new(host);
    let call = |reply| Call::Hosts(HostsCall::Label { host, asked, reply });
    Ok(ask(&api, call).await.into_response())
}
