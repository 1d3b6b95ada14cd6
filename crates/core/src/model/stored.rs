//! The envelope of everything that is written to the store.
//!
//! A stored document names its format, so that a later release can read what an earlier one wrote
//! and an earlier one refuses what it cannot understand, instead of guessing.
//!
//! Invariant: a format that was ever released is readable for ever.
//!
//! Not here: keys and transactions (`tanist-store`).

use serde::{Deserialize, Serialize};

/// A document with its format version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "format")]
pub enum Stored<T> {
    /// The first format.
    #[serde(rename = "1")]
    V1 {
        /// The document.
        body: T,
    },
}

impl<T> Stored<T> {
    /// Wraps a document in the current format.
    pub fn new(body: T) -> Self {
        Self::V1 { body }
    }

    /// The document, as it is in the current form.
    pub fn body(&self) -> &T {
        match self {
            Self::V1 { body } => body,
        }
    }

    /// The document, brought to the current form.
    pub fn into_body(self) -> T {
        match self {
            Self::V1 { body } => body,
        }
    }
}
