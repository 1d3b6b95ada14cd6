//! What a controller is given from outside and may change while it runs.
//!
//! Whoever wires it reads files and watches them; the controller takes what was read.
//!
//! Invariant: what is in here was checked when it was read.
//!
//! Not here: the files (`tanist`).

use std::sync::Arc;

use tanist_tls::{Authority, Owners};

use crate::aliases::Aliases;

/// Who makes certificates; or why nobody does.
#[derive(Debug, Clone)]
pub enum Certifier {
    /// The installation's authority.
    Authority(Arc<Authority>),
    /// It cannot be used, for this reason.
    Nobody(String),
}

/// What its owner may change.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outside {
    /// Further names of endpoints.
    pub aliases: Aliases,
    /// The owner's certificate, in place of the authority's.
    pub owners: Option<Owners>,
    /// What was changed last and could not be taken; what was there before holds.
    pub trouble: Option<String>,
}
