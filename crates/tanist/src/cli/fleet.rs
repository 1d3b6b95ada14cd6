//! The command line of `tanist init` and `tanist join`.
//!
//! Not here: what the commands do (`crate::fleet`).

use std::path::PathBuf;

use clap::Args;

/// How a fleet begins.
#[derive(Debug, Args)]
pub(crate) struct InitArgs {
    /// The fleet's configuration file, the same on every host.
    #[arg(long, env = "TANIST_CONFIG", default_value = "/etc/tanist/tanist.toml")]
    pub(crate) config: PathBuf,
    /// Which of its hosts this is [default: the one with this machine's name].
    #[arg(long)]
    pub(crate) host: Option<String>,
}

/// How a host joins.
#[derive(Debug, Args)]
pub(crate) struct JoinArgs {
    /// A file with the token [default: the standard input].
    #[arg(long)]
    pub(crate) token_file: Option<PathBuf>,
    /// The fleet's configuration file [default: a copy of the server's, in the data directory].
    #[arg(long, env = "TANIST_CONFIG")]
    pub(crate) config: Option<PathBuf>,
}
