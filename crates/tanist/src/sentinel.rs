//! The Sentinel endpoint of an installation: where it listens, and what the command line asks about it.
//!
//! As the AWS endpoint, it has an address of its own in the installation's network, which never
//! changes, and is also at 127.0.0.1 as long as nobody else is; on a fleet every server has one, and offers
//! it at its own address if the file says so.
//!
//! Invariant: an address that is named is listened on.
//!
//! Not here: the protocol (`tanist-discovery`).

use std::net::SocketAddr;

use axum::Router;
use axum::routing::get;
use tanist_discovery::sentinel::{Sentinel, SentinelConfig};
use tanist_link::Client;
use tanist_link::api::SentinelEndpoint;
use tracing::warn;

use crate::config::Config;
use crate::doors::Places;
use crate::failure::{Failure, chain};

/// The port that the ecosystem expects.
pub(crate) const PORT: u16 = 26379;

/// What the endpoint is made from.
pub(crate) struct SentinelGround<'a> {
    /// Where it is.
    pub(crate) places: Places,
    /// Where clients elsewhere find it, and the others.
    pub(crate) own: Option<SocketAddr>,
    pub(crate) others: Vec<SocketAddr>,
    pub(crate) controller: Client,
    /// The installation's id, from which its own follows.
    pub(crate) installation: String,
    pub(crate) config: &'a Config,
}

/// Opens the endpoint and serves it for as long as the process lives; its part of the local API.
pub(crate) async fn open(ground: SentinelGround<'_>) -> Result<Router, Failure> {
    let (doors, opened) = ground.places.open(PORT, "the Sentinel endpoint", "T633").await?;
    let mut addresses = opened.iter().map(|opened| opened.address.to_string());
    let endpoint = addresses.next().unwrap_or_default();
    let shown = SentinelEndpoint { endpoint, also: addresses.collect() };
    let sentinel = Sentinel::new(SentinelConfig {
        controller: ground.controller,
        installation: ground.installation,
        own: ground.own,
        others: ground.others,
        settings: ground.config.sentinel.clone(),
    });
    tokio::spawn(async move {
        if let Err(err) = sentinel.serve(doors).await {
            warn!("the Sentinel endpoint is not served: {}", chain(&err));
        }
    });
    let describe = || async move { axum::Json(shown) };
    Ok(Router::new().route("/v1/sentinel", get(describe)))
}
