//! A server among others: it leads when it is its turn, and says who does when it is not.
//!
//! Whoever asks a server that does not lead is told so and asks the next one; nothing is passed on,
//! so that nobody is answered by two.
//!
//! Invariant: the doors are a controller's own only while its loop runs.
//!
//! Not here: whose turn it is (`super::leadership`), the loop (`super::reconciler`).

use axum::Router;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use tanist_link::api::ApiError;
use tanist_store::AnyStore;
use tokio::sync::watch;
use tracing::{error, info, warn};

use crate::error::ControllerError;
use crate::leadership::{Candidate, Claim, Leader};
use crate::{Parts, routes, run};

/// What a server needs to take its turns.
#[derive(Debug)]
pub struct Turns {
    /// What the servers share.
    pub store: AnyStore,
    /// This one.
    pub candidate: Candidate,
    /// What it offers at the moment (see [`doors`]).
    pub offered: watch::Sender<Router>,
}

/// Routes that are whatever `offered` is when a request comes.
pub fn doors(offered: watch::Receiver<Router>) -> Router {
    Router::new().fallback(move |request: Request| {
        let now = TowerToHyperService::new(offered.borrow().clone());
        async move {
            match now.call(request).await {
                Ok(response) => response,
                Err(never) => match never {},
            }
        }
    })
}

/// What a server offers that does not lead.
fn standing_by(known: watch::Receiver<Option<Leader>>) -> Router {
    Router::new().fallback(move || {
        let leader = known.borrow().clone();
        async move { refuse(leader.as_ref()) }
    })
}

fn refuse(leader: Option<&Leader>) -> Response {
    let message = match leader {
        Some(leader) => format!("this server does not lead; {} does, or did last", leader.host),
        None => "this server does not lead, and knows nobody who does".to_owned(),
    };
    let error = ApiError::new("T510", message, "ask another server, or again in a moment");
    (http::StatusCode::MISDIRECTED_REQUEST, axum::Json(error)).into_response()
}

impl Turns {
    /// Leads whenever it is this server's turn, until `over` or until everything was asked to end and
    /// has. `parts` gives what a controller works with, each time that one begins. When it is over it
    /// gives its turn up.
    ///
    /// # Errors
    /// [`ControllerError::Document`] if the store holds what this release does not understand,
    /// [`ControllerError::Half`] if a copy was put back in part only.
    pub async fn take(
        self,
        mut parts: impl FnMut() -> Parts,
        over: impl Future<Output = ()>,
    ) -> Result<(), ControllerError> {
        tokio::pin!(over);
        loop {
            let known = self.candidate.known.subscribe();
            drop(self.offered.send_replace(standing_by(known)));
            let claim = tokio::select! {
                claim = self.candidate.stand_by(&self.store) => claim?,
                () = &mut over => return Ok(()),
            };
            let led = tokio::select! {
                led = self.lead(Parts { claim: Some(claim.clone()), ..parts() }) => led,
                () = &mut over => return self.leave(&claim).await,
            };
            match led {
                Ok(()) => return self.leave(&claim).await,
                Err(ControllerError::Deposed) => info!("this server does not lead any more"),
                Err(err @ (ControllerError::Document { .. } | ControllerError::Half)) => {
                    return Err(err);
                }
                Err(err) => {
                    error!(err = &err as &dyn std::error::Error, "leading failed");
                    self.leave(&claim).await?;
                }
            }
        }
    }

    async fn lead(&self, parts: Parts) -> Result<(), ControllerError> {
        let (handle, task) = run(parts).await?;
        // A turn that is taken back, by a signal for example, takes its loop along.
        let task = Ending(task);
        drop(self.offered.send_replace(routes(handle)));
        task.await
    }

    /// Gives the leadership up, so that nobody waits for this server.
    async fn leave(&self, claim: &Claim) -> Result<(), ControllerError> {
        if let Err(err) = claim.resign(&self.store).await {
            let err = &err as &dyn std::error::Error;
            warn!(err, "the leadership could not be given up; it ends by silence");
        }
        Ok(())
    }
}

/// A loop that ends with whoever waits for it.
struct Ending(tokio::task::JoinHandle<Result<(), ControllerError>>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl std::future::Future for Ending {
    type Output = Result<(), ControllerError>;

    fn poll(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Self::Output> {
        let joined = std::task::ready!(std::pin::Pin::new(&mut self.0).poll(cx));
        std::task::Poll::Ready(joined.unwrap_or_else(|err| {
            error!(err = &err as &dyn std::error::Error, "the loop has broken");
            Err(ControllerError::Deposed)
        }))
    }
}
