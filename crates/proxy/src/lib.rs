//! What clients dial: endpoints that always lead to the right engine.
//!
//! A proxy works by the routes that the controller publishes. It forwards, holds while nobody is
//! primary, replays what cannot have been executed, and says `-UNCERTAIN` where it cannot know. In
//! a `sync` shard it lets a write's answer go only when every member that must have the write has
//! it.
//!
//! Invariant: a proxy never infers a primary; it keeps nothing that a restart would have to recover. (An
//! upgrade is no restart: there everything is handed over that can be.)
//!
//! Not here: who is primary (`tanist_core::decide`, by way of the controller); engines
//! (`tanist-agent`).

mod bell;
mod client;
mod clients;
mod config;
mod control;
mod denied;
mod endpoint;
mod login;
mod meter;
mod octets;
mod out;
mod probe;
mod proof;
mod renewal;
mod rewrite;
mod session;
mod shard;
mod text;
mod tls;
mod trunk;
mod trunks;

pub use config::{ProxyConfig, ProxyLimits};
pub use renewal::{Inheritance, Succession, answer};

/// Runs a proxy until the controller says that it should end.
///
/// It must run on a current-thread runtime with time and I/O enabled. A controller that cannot be
/// reached is no error: the proxy goes on by its last routes and looks for it for ever.
pub async fn run(config: ProxyConfig) {
    go_on(config, None, None).await;
}

/// As [`run`], for a proxy that can become another program, and may have been one: it goes on with
/// what it inherits.
pub async fn go_on(
    config: ProxyConfig,
    succession: Option<Succession>,
    inheritance: Option<Inheritance>,
) {
    let mut control = control::Control::new(config, succession, inheritance);
    let local = tokio::task::LocalSet::new();
    // As a task among the clients' it is looked at when it is concerned, not whenever one of them is.
    let control = local.spawn_local(async move { control.run().await });
    if let Err(ended) = local.run_until(control).await
        && ended.is_panic()
    {
        std::panic::resume_unwind(ended.into_panic());
    }
}
