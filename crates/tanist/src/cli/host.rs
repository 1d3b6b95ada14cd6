//! The command line of `tanist host`.
//!
//! Not here: what the commands do (`crate::commands::host`).

use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub(crate) enum HostCommand {
    /// Show every host, what it promises to nodes, and which nodes are there.
    List,
    /// Give a host labels, or take some away: they are shown, and change nothing else.
    Label {
        /// The host.
        host: String,
        /// `NAME=VALUE` sets a label, `NAME-` removes one; without any, they are shown.
        labels: Vec<String>,
    },
    /// Let a host of the configuration file join the fleet, once, within an hour: prints the token.
    Invite {
        /// The host.
        host: String,
    },
    /// Let a host go for good: nothing is placed there any more, and nobody hears it.
    Remove {
        /// The host.
        host: String,
        /// Nothing runs there and never will again: its primaries are replaced at once. If that
        /// is not so, two primaries may take writes.
        #[arg(long)]
        dead: bool,
    },
    /// Let every node leave a host, without clients noticing, and wait until it is empty.
    Drain {
        /// The host.
        host: String,
        /// Use it again.
        #[arg(long)]
        undo: bool,
        /// Do not wait.
        #[arg(long)]
        no_wait: bool,
    },
}
