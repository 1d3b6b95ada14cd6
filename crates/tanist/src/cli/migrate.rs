//! The command line of `tanist migrate-store`.
//!
//! Not here: what it does (`crate::commands::migrate`).

use std::path::PathBuf;

use clap::Args;

/// Where the store goes.
#[derive(Debug, Args)]
pub(crate) struct MigrateArgs {
    /// The configuration file whose [store] says where etcd is.
    #[arg(long, env = "TANIST_CONFIG", required_unless_present = "back")]
    pub(crate) config: Option<PathBuf>,
    /// Move a store that is in etcd back into the data directory.
    #[arg(long)]
    pub(crate) back: bool,
}
