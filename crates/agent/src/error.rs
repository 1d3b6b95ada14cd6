//! Why an agent or a supervisor cannot work at all.
//!
//! Faults of one engine are not errors of the role: they are reported (`Process::Failed`, notes).
//!
//! Invariant: an error names the thing that failed and leaves the cause to its source.
//!
//! Not here: failures of an order, which end in a report.

use std::io;
use std::path::PathBuf;

use tanist_link::LinkError;

/// Why an agent cannot work.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The host's directory cannot be used.
    #[error("using the host's directory {path}")]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A port that nobody listens on could not be had, so no engine may be started.
    #[error("binding the fence port on {address}: {reason}")]
    Fence {
        /// The host's address.
        address: std::net::Ipv4Addr,
        /// Why, in the supervisor's words.
        reason: String,
    },
}

/// Why a supervisor cannot work.
#[derive(Debug, thiserror::Error)]
pub enum SuperviseError {
    /// Its socket cannot be offered.
    #[error("offering the supervisor's socket")]
    Socket(#[source] LinkError),
    /// Its record of processes cannot be used.
    #[error("using the supervisor's record {path}")]
    State {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Its record of processes holds something else.
    #[error("the supervisor's record {path} is damaged; move it away only when no engine runs")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The kernel's name of this boot, without which no process can be recognised, is unreadable.
    #[error("reading the boot id")]
    BootId(#[source] io::Error),
}
