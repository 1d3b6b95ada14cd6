//! The local API's part about the store itself: a copy of it, and what is left when it is lost.
//!
//! Invariant: as in `super`.
//!
//! Not here: what the requests do (`crate::backup`, `crate::rebuild`).

use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tanist_link::api::ApiError;
use tokio::sync::oneshot;

use super::{Api, Refusal, ask, body};
use crate::backup::stream_of;
use crate::inputs::{Call, Input};
use crate::rebuild::RebuildCall;

pub(super) fn routes() -> Router<Api> {
    Router::new().route("/v1/backup", get(backup)).route("/v1/rebuild", get(look).post(go))
}

/// The store's keys, as lines of JSON. The loop is asked for the store only, and goes on.
async fn backup(State(api): State<Api>) -> Result<Response, Refusal> {
    let (reply, answer) = oneshot::channel();
    let gone = || {
        let again = "start it again: tanist dev, or tanist server";
        Refusal(ApiError::new("T511", "the controller has ended", again))
    };
    api.handle.inbox.send(Input::Call(Call::Store(reply))).await.map_err(|_| gone())?;
    let (store, region) = answer.await.map_err(|_| gone())?.map_err(Refusal)?;
    stream_of(&store, region).await.map_err(|err| {
        let remedy = "nothing was changed; see tanist doctor";
        Refusal(ApiError::new("T501", format!("reading the store: {err}"), remedy))
    })
}

async fn look(State(api): State<Api>) -> Response {
    ask(&api, |reply| Call::Rebuild(RebuildCall::Look(reply))).await.into_response()
}

async fn go(State(api): State<Api>, request: Request) -> Result<Response, Refusal> {
    let asked = body(request).await?;
    let call = |reply| Call::Rebuild(RebuildCall::Go { asked, reply });
    Ok(ask(&api, call).await.into_response())
}
