//! The command line of `tanist backup`, `restore`, `rebuild` and `support-bundle`.
//!
//! Not here: what the commands do (`crate::commands`).

use std::path::PathBuf;

use clap::Args;

#[derive(Debug, Args)]
pub(crate) struct BackupArgs {
    /// The file to write; it must not exist.
    pub(crate) file: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct RestoreArgs {
    /// A file that `tanist backup` has written.
    pub(crate) file: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct RebuildArgs {
    /// Do not ask.
    #[arg(long)]
    pub(crate) yes: bool,
    /// Rebuild this group although something newer may have been decided; of its nodes you have to
    /// name one then. May be given several times.
    #[arg(long, value_name = "GROUP")]
    pub(crate) in_doubt: Vec<String>,
    /// Do not wait until the groups have primaries.
    #[arg(long)]
    pub(crate) no_wait: bool,
}

#[derive(Debug, Args)]
pub(crate) struct SupportArgs {
    /// The file to write; it must not exist [default: tanist-support-TIME.tar.gz].
    pub(crate) file: Option<PathBuf>,
    /// The configuration file of `tanist dev`; a fleet's is found.
    #[arg(long)]
    pub(crate) config: Option<PathBuf>,
}
