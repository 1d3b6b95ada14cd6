//! What can be wrong with certificates.
//!
//! Invariant: every variant names the file or the name that it is about.
//!
//! Not here: codes and remedies for people (`tanist`).

use std::io;
use std::path::PathBuf;

/// Why something about certificates failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file could not be read, made or written.
    #[error("using {path}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// There is no authority yet.
    #[error("there is no certificate authority in {0}")]
    Absent(PathBuf),
    /// One of the authority's two files is gone.
    #[error("{0} is missing, and the other file of the certificate authority is there")]
    Missing(PathBuf),
    /// A file does not hold what it should.
    #[error("{path} is damaged: {why}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was found.
        why: String,
    },
    /// A certificate and a key do not belong together, or cannot be used.
    #[error("{certificate} and {key} cannot be used together: {why}")]
    Unusable {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// Why.
        why: String,
    },
    /// A certificate could not be made.
    #[error("making a certificate for {name}: {why}")]
    Issue {
        /// For whom.
        name: String,
        /// Why.
        why: String,
    },
    /// What is trusted could not be put together.
    #[error("trusting the certificate authority: {0}")]
    Trust(String),
}
