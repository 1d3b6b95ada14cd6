//! skeleton
use std::path::{Path, PathBuf};
use crate::SuperviseError;
/// Where a supervisor works.
#[derive(Debug, Clone)]
pub struct SupervisorConfig {
    /// The socket on which agents reach it.
    pub socket: PathBuf,
    /// Where it remembers processes and ports.
    pub state_dir: PathBuf,
}
/// Serves agents.
///
/// # Errors
/// [`SuperviseError`].
pub async fn supervise(_config: SupervisorConfig) -> Result<(), SuperviseError> { Ok(()) }
/// Becomes the engine `program`; returns only if that fails.
pub fn exec_engine(_program: &Path, _config: &Path) -> std::io::Error { std::io::Error::other("x") }
