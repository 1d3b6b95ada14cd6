//! The local API's part about who may be of the fleet.
//!
//! Invariant: who joins is nobody until its invitation is used up; who asks for a certificate has one
//! of the host that it asks for.
//!
//! Not here: invitations (`crate::admission`).

use axum::Router;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde::Serialize;
use tanist_core::model::HostId;
use tanist_link::api::{ApiError, Invitation, JoinFleet, RemoveHost, RenewMember, ServerHere};
use tanist_link::wire::{AskLeases, LEASE_ROUTE};
use tanist_link::{Secret, hash_of, host_name, server_name};

use super::{Answer, Api, Refusal, ask, body, peer};
use crate::admission::{Admission, INVITED_MS};
use crate::clock::{boot_time, wall_ms};
use crate::hosts::HostsCall;
use crate::inputs::Call;

/// Where a host asks that has no certificate yet.
pub(super) const JOIN: &str = "/link/v1/join";

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/v1/hosts/{host}/invite", post(invite))
        .route("/v1/hosts/{host}/remove", post(remove))
        .route(JOIN, post(join))
        .route("/link/v1/certificate", post(certificate))
        .route("/link/v1/server", post(here))
        .route(LEASE_ROUTE, post(lease))
}

/// What is asked of whoever admits hosts; it may read files, so it has a thread.
async fn admitting<T: Serialize + Send + 'static>(
    api: &Api,
    work: impl FnOnce(&dyn Admission) -> Result<T, ApiError> + Send + 'static,
) -> Answer<T> {
    let Some(admission) = api.handle.admission.clone() else {
        let message = "this installation is on one host: nobody joins it";
        return Err(Refusal(ApiError::new("T482", message, "docs/fleet.md begins one on several")));
    };
    let done = tokio::task::spawn_blocking(move || work(&*admission)).await;
    let broken = |_| ApiError::new("T501", "it could not be done", "see the server's log");
    Ok(axum::Json(done.map_err(broken).and_then(|answer| answer).map_err(Refusal)?))
}

async fn invite(State(api): State<Api>, Path(host): Path<String>) -> Result<Response, Refusal> {
    let host = HostId::new(host);
    let at = host.clone();
    let axum::Json(guest) = admitting(&api, move |admission| {
        let guest = admission.guest(&at)?;
        Ok((guest.authority, guest.servers))
    })
    .await?;
    let (authority, servers) = guest;
    // A password that nobody can derive again.
    let secret = Secret::random().password("invitation");
    let until_ms = wall_ms() + INVITED_MS;
    let (invited, hash) = (host.clone(), hash_of(secret.as_bytes()));
    let call = |reply| Call::Hosts(HostsCall::Invite { host: invited, hash, until_ms, reply });
    let axum::Json(()) = ask(&api, call).await?;
    let invitation = Invitation { host, secret, until_ms, authority, servers };
    Ok(axum::Json(invitation).into_response())
}

async fn remove(
    State(api): State<Api>,
    Path(host): Path<String>,
    request: Request,
) -> Result<Response, Refusal> {
    let RemoveHost { dead } = body(request).await?;
    let host = HostId::new(host);
    let call = |reply| Call::Hosts(HostsCall::Remove { host, dead, reply });
    Ok(ask(&api, call).await.into_response())
}

async fn join(State(api): State<Api>, request: Request) -> Result<Response, Refusal> {
    let asked: JoinFleet = body(request).await?;
    let (host, key) = (asked.host.clone(), asked.key.clone());
    let call = |reply| Call::Hosts(HostsCall::Redeem { asked, reply });
    let axum::Json(()) = ask(&api, call).await?;
    Ok(admitting(&api, move |admission| admission.welcome(&host, &key)).await.into_response())
}

async fn here(State(api): State<Api>, request: Request) -> Result<Response, Refusal> {
    let from = peer(&request);
    let here: ServerHere = body(request).await?;
    if from.is_some_and(|peer| !peer.is(&server_name(&here.host))) {
        let message = format!("only the server on {} says that it is there", here.host);
        return Err(Refusal(ApiError::new("T480", message, "ask on that host")));
    }
    Ok(ask(&api, |reply| Call::Hosts(HostsCall::Here { here, reply })).await.into_response())
}

/// Asked ten times a second by each host that has primaries of `async` groups.
async fn lease(State(api): State<Api>, request: Request) -> Result<Response, Refusal> {
    let from = peer(&request);
    let asked: AskLeases = body(request).await?;
    if from.is_some_and(|peer| !peer.is(&host_name(&asked.host))) {
        let message = format!("only {} gets leases for {}", asked.host, asked.host);
        return Err(Refusal(ApiError::new("T480", message, "ask on that host")));
    }
    Ok(axum::Json(api.handle.leases.give(&asked, boot_time())).into_response())
}

async fn certificate(State(api): State<Api>, request: Request) -> Result<Response, Refusal> {
    let from = peer(&request);
    let RenewMember { host, key } = body(request).await?;
    if from.is_some_and(|peer| !peer.is(&host_name(&host))) {
        let message = format!("only {host} gets a certificate for {host}");
        return Err(Refusal(ApiError::new("T480", message, "ask on that host")));
    }
    let call = |reply| Call::Hosts(HostsCall::Known { host: host.clone(), reply });
    let axum::Json(()) = ask(&api, call).await?;
    Ok(admitting(&api, move |admission| admission.certificate(&host, &key)).await.into_response())
}
