//! What can stop a controller.
//!
//! Invariant: a controller that cannot read its memory does not start; one that cannot write it goes
//! on watching and says so.
//!
//! Not here: refusals of requests (`tanist_link::api::ApiError`).

use tanist_store::StoreError;

/// Why a controller could not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum ControllerError {
    /// The store failed.
    #[error("{doing}")]
    Store {
        /// What was being done.
        doing: &'static str,
        /// Why.
        #[source]
        source: StoreError,
    },
    /// A stored document is not understood.
    #[error("the stored document {key} is not understood; a newer release may have written it")]
    Document {
        /// Its key.
        key: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// A copy was put back in part only.
    #[error(
        "the store holds a part of a copy that was being put back: tanist restore FILE, once more"
    )]
    Half,
    /// Another controller has taken over.
    #[error("another controller leads now")]
    Deposed,
}
