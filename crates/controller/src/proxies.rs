//! Conversations with proxies: routes out, beats in.
//!
//! Invariant: a proxy that connects is told every route at once; it needs no memory of its own.
//!
//! Not here: what a route says (`tanist_core::decide::route`).

use axum::body::Body;
use axum::response::Response;
use tanist_core::model::ProxyId;
use tanist_link::Sender;
use tanist_link::wire::{FromProxy, ToProxy};
use tokio::sync::mpsc;
use tracing::{info, warn};

use crate::reconciler::Input;

/// A proxy that is or was connected.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) pid: u32,
    pub(crate) up: bool,
    /// Grows with every connection of the same proxy, so that the end of an old one is not taken
    /// for the end of a new one.
    pub(crate) generation: u64,
    pub(crate) sender: Sender<ToProxy>,
}

/// Holds one conversation; its messages go to the loop.
pub(crate) fn converse(body: Body, inbox: mpsc::Sender<Input>, generation: u64) -> Response {
    let (duplex, response) = tanist_link::accept::<ToProxy, FromProxy>("proxy", body);
    tokio::spawn(async move {
        let mut receiver = duplex.receiver;
        let mut who: Option<ProxyId> = None;
        loop {
            let message = match receiver.recv().await {
                Ok(Some(message)) => message,
                Ok(None) => break,
                Err(err) => {
                    warn!(err = &err as &dyn std::error::Error, "a proxy's message");
                    break;
                }
            };
            let input = match message {
                FromProxy::Hello { proxy, pid } => {
                    info!(peer = %proxy, pid, "proxy connected");
                    who = Some(proxy.clone());
                    let session =
                        Session { pid, up: true, generation, sender: duplex.sender.clone() };
                    Input::ProxyHello { proxy, session }
                }
                FromProxy::Beat { shards } => match &who {
                    Some(proxy) => Input::ProxyBeat { proxy: proxy.clone(), shards },
                    None => break,
                },
                FromProxy::EndpointFailed { key, address, reason } => {
                    Input::EndpointFailed { key, address, reason }
                }
            };
            if inbox.send(input).await.is_err() {
                break;
            }
        }
        if let Some(proxy) = who {
            // The loop ends before its conversations do: nobody is left to tell then.
            let _ = inbox.send(Input::ProxyGone { proxy, generation }).await;
        }
    });
    response
}
