//! The Sentinel endpoint of an installation: where it listens, and what the command line asks about it.
//!
//! As the AWS endpoint, it has an address of its own in the installation's network, which never
//! changes, and is also at 127.0.0.1 as long as nobody else is.
//!
//! Invariant: an address that is named is listened on.
//!
//! Not here: the protocol (`tanist-discovery`).

use std::net::Ipv4Addr;

use axum::Router;
use axum::routing::get;
use tanist_discovery::sentinel::{Sentinel, SentinelConfig};
use tanist_link::Client;
use tanist_link::api::SentinelEndpoint;
use tokio::net::TcpListener;
use tracing::warn;

use crate::config::Config;
use crate::failure::{Failure, chain};

/// The port that the ecosystem expects.
const PORT: u16 = 26379;

/// What the endpoint is made from.
pub(crate) struct SentinelGround<'a> {
    /// Where it is, and where else if nobody else is.
    pub(crate) own: Ipv4Addr,
    pub(crate) also: Option<Ipv4Addr>,
    pub(crate) controller: Client,
    /// The installation's id, from which its own follows.
    pub(crate) installation: String,
    pub(crate) config: &'a Config,
}

/// Opens the endpoint and serves it for as long as the process lives; its part of the local API.
pub(crate) async fn open(ground: SentinelGround<'_>) -> Result<Router, Failure> {
    let own = ground.own;
    let listener = TcpListener::bind((own, PORT)).await.map_err(|err| {
        let message = format!("the Sentinel endpoint {own}:{PORT} cannot be listened on: {err}");
        Failure::new("T633", message, "end what listens there, or use another address")
    })?;
    let common = match ground.also {
        // Whoever was first has it; the other address is there in any case.
        Some(also) => TcpListener::bind((also, PORT)).await.ok(),
        None => None,
    };
    let shown = SentinelEndpoint {
        endpoint: format!("{own}:{PORT}"),
        also: common
            .iter()
            .filter_map(|at| at.local_addr().ok())
            .map(|at| at.to_string())
            .collect(),
    };
    let sentinel = Sentinel::new(SentinelConfig {
        controller: ground.controller,
        installation: ground.installation,
        // Both addresses are this one.
        others: Vec::new(),
        settings: ground.config.sentinel.clone(),
    });
    let listeners = [Some(listener), common].into_iter().flatten().collect();
    tokio::spawn(async move {
        if let Err(err) = sentinel.serve(listeners).await {
            warn!("the Sentinel endpoint is not served: {}", chain(&err));
        }
    });
    let describe = || async move { axum::Json(shown) };
    Ok(Router::new().route("/v1/sentinel", get(describe)))
}
