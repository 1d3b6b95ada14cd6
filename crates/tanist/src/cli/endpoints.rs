//! The command line of `tanist endpoints` and `tanist reads`.
//!
//! Not here: what the commands do (`crate::commands`).

use clap::{Args, ValueEnum};
use tanist_core::model::ReaderFallback;

#[derive(Debug, Args)]
pub(crate) struct EndpointsArgs {
    /// The group.
    pub(crate) group: String,
    /// The latest requests that took ten milliseconds or more.
    #[arg(long)]
    pub(crate) slow: bool,
    /// Have them at these hosts of the fleet only, separated by commas, or at `all`; clients that are
    /// connected at others end.
    #[arg(long, value_delimiter = ',', conflicts_with = "slow")]
    pub(crate) hosts: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ReadsArgs {
    /// The group.
    pub(crate) group: String,
    /// Reads through the primary endpoint show only what every in-sync replica has; each waits for
    /// a proof, as a write does.
    #[arg(long, action = clap::ArgAction::Set, value_parser = clap::builder::BoolishValueParser::new(), value_name = "on|off")]
    pub(crate) strict: Option<bool>,
    /// How long a replica may be behind and still be read from, such as 500ms or 2s.
    #[arg(long, value_parser = super::parse_millis)]
    pub(crate) max_lag: Option<u32>,
    /// What the reader endpoint does without a replica that is fit.
    #[arg(long, value_enum)]
    pub(crate) fallback: Option<FallbackArg>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum FallbackArg {
    /// The primary answers.
    Primary,
    /// Reads wait for a replica, up to ten seconds.
    Wait,
}

impl From<FallbackArg> for ReaderFallback {
    fn from(fallback: FallbackArg) -> Self {
        match fallback {
            FallbackArg::Primary => Self::Primary,
            FallbackArg::Wait => Self::Wait,
        }
    }
}
