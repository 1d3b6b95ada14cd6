//! The local API's part about users and user groups.
//!
//! Invariant: as in `super`.
//!
//! Not here: what the requests do (`crate::user_calls`).

use axum::Router;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};

use super::{Api, Refusal, ask, body};
use crate::inputs::Call;
use crate::user_calls::UsersCall;

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/v1/users", get(list).post(create))
        .route("/v1/users/{id}", axum::routing::delete(delete))
        .route("/v1/users/{id}/modify", post(modify))
        .route("/v1/user-groups", get(list_groups).post(create_group))
        .route("/v1/user-groups/{id}", axum::routing::delete(delete_group))
        .route("/v1/user-groups/{id}/modify", post(modify_group))
}

async fn list(State(api): State<Api>) -> Response {
    ask(&api, |reply| Call::Users(UsersCall::List(reply))).await.into_response()
}

async fn create(State(api): State<Api>, request: Request) -> Result<Response, Refusal> {
    let asked = body(request).await?;
    let call = |reply| Call::Users(UsersCall::Create { asked, reply });
    Ok(ask(&api, call).await.into_response())
}

async fn modify(
    State(api): State<Api>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, Refusal> {
    let asked = body(request).await?;
    let call = |reply| Call::Users(UsersCall::Modify { id, asked, reply });
    Ok(ask(&api, call).await.into_response())
}

async fn delete(State(api): State<Api>, Path(id): Path<String>) -> Response {
    ask(&api, |reply| Call::Users(UsersCall::Delete { id, reply })).await.into_response()
}

async fn list_groups(State(api): State<Api>) -> Response {
    ask(&api, |reply| Call::Users(UsersCall::ListGroups(reply))).await.into_response()
}

async fn create_group(State(api): State<Api>, request: Request) -> Result<Response, Refusal> {
    let asked = body(request).await?;
    let call = |reply| Call::Users(UsersCall::CreateGroup { asked, reply });
    Ok(ask(&api, call).await.into_response())
}

async fn modify_group(
    State(api): State<Api>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, Refusal> {
    let asked = body(request).await?;
    let call = |reply| Call::Users(UsersCall::ModifyGroup { id, asked, reply });
    Ok(ask(&api, call).await.into_response())
}

async fn delete_group(State(api): State<Api>, Path(id): Path<String>) -> Response {
    ask(&api, |reply| Call::Users(UsersCall::DeleteGroup { id, reply })).await.into_response()
}
