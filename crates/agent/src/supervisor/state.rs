//! The supervisor's small files: replaced as a whole, so that a reader sees the old or the new one.
//!
//! They need not survive a power cut (no process does), so nothing is synced.
//!
//! Invariant: a file that exists and is not understood is an error, never an empty record.
//!
//! Not here: what is remembered (`super::processes`, `super::fence_port`).

use std::path::PathBuf;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::SuperviseError;
use crate::layout;

/// One small file.
#[derive(Debug)]
pub(super) struct StateFile {
    path: PathBuf,
}

impl StateFile {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// What it holds; the default if it does not exist.
    pub(super) fn load<T: DeserializeOwned + Default>(&self) -> Result<T, SuperviseError> {
        match std::fs::read(&self.path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map_err(|source| SuperviseError::Damaged { path: self.path.clone(), source }),
            Err(err) if err.kind() == std::io::ErrorKind::NotFound => Ok(T::default()),
            Err(source) => Err(SuperviseError::State { path: self.path.clone(), source }),
        }
    }

    /// Replaces it. A failure is logged: losing the record costs re-adoption, not an engine.
    pub(super) fn save<T: Serialize>(&self, content: &T) {
        let written = serde_json::to_vec_pretty(content)
            .map_err(std::io::Error::from)
            .and_then(|bytes| layout::replace(&self.path, &bytes, layout::Durable::No));
        if let Err(err) = written {
            let path = self.path.display();
            tracing::error!(%path, err = &err as &dyn std::error::Error, "writing the record");
        }
    }
}
