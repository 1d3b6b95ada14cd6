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

use super::Ground;
use super::config::Config;
use crate::failure::{Failure, chain};

/// The port that the ecosystem expects.
const PORT: u16 = 26379;

/// Opens the endpoint and serves it for as long as the process lives; its part of the local API.
pub(super) async fn open(ground: &Ground<'_>, config: &Config) -> Result<Router, Failure> {
    let [a, b] = ground.network;
    let own = Ipv4Addr::new(a, b, 0, 254);
    let listener = TcpListener::bind((own, PORT)).await.map_err(|err| {
        let message = format!("the Sentinel endpoint {own}:{PORT} cannot be listened on: {err}");
        Failure::new("T633", message, "end what listens there, or use another --network")
    })?;
    // Whoever was first has it; the other address is there in any case.
    let common = TcpListener::bind((Ipv4Addr::LOCALHOST, PORT)).await.ok();
    let endpoint = |ip: Ipv4Addr| format!("{ip}:{PORT}");
    let shown = SentinelEndpoint {
        endpoint: endpoint(own),
        also: common.iter().map(|_| endpoint(Ipv4Addr::LOCALHOST)).collect(),
    };
    let sentinel = Sentinel::new(SentinelConfig {
        controller: Client::new(ground.layout.controller_socket()),
        installation: ground.store.status().installation,
        // Both addresses are this one.
        others: Vec::new(),
        settings: config.sentinel.clone(),
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
