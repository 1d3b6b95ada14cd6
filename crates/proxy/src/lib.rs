//! Being written.

mod config;

pub use config::{ProxyConfig, ProxyError, ProxyLimits};

/// Runs a proxy until the controller says that it should end.
///
/// # Errors
/// [`ProxyError`] when it cannot start.
pub async fn run(config: ProxyConfig) -> Result<(), ProxyError> {
    if config.controller.as_os_str().is_empty() {
        return Err(ProxyError::NoController);
    }
    std::future::pending().await
}
