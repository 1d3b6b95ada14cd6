//! Proxies that become another program.
//!
//! Invariant: an answer names every proxy that was asked, whatever came of it.
//!
//! Not here: how a proxy does that (`tanist-proxy`).

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use tanist_core::model::ProxyId;

use crate::wire::Renewed;

/// `POST /v1/proxies/renew`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RenewProxies {
    /// The absolute path of what they are to become.
    pub program: PathBuf,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProxyRenewals {
    /// Every proxy that is connected.
    pub proxies: Vec<ProxyRenewal>,
}

/// What came of it at one proxy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProxyRenewal {
    /// Who.
    pub proxy: ProxyId,
    /// What it has kept; `None` if it goes on as it was.
    pub renewed: Option<Renewed>,
    /// Why it does.
    pub reason: Option<String>,
}
