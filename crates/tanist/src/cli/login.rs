//! The command line's part about tokens and users.
//!
//! Invariant: no argument is a secret.
//!
//! Not here: what the commands do (`crate::commands`).

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::EngineArg;

/// How a group is asked with redis-cli.
#[derive(Debug, Args)]
pub(crate) struct CliArgs {
    /// The group.
    pub(crate) group: String,
    /// Use the reader endpoint.
    #[arg(long)]
    pub(crate) reader: bool,
    /// The command; a prompt if left out.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) args: Vec<String>,
}

/// Where a secret comes from; never the command line, which everybody on the machine can read.
#[derive(Debug, Args)]
pub(crate) struct SecretArgs {
    /// A file whose first line it is.
    #[arg(long, conflicts_with = "stdin")]
    pub(crate) file: Option<PathBuf>,
    /// Read it from the standard input.
    #[arg(long)]
    pub(crate) stdin: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Only this token from now on; one is made and printed once if none is given.
    Set {
        /// The group.
        group: String,
        #[command(flatten)]
        secret: SecretArgs,
    },
    /// Another token beside the one that there is, until `finish`.
    Rotate {
        /// The group.
        group: String,
        #[command(flatten)]
        secret: SecretArgs,
    },
    /// Of two tokens only the newer one from now on.
    Finish {
        /// The group.
        group: String,
    },
    /// No token: everybody is the default user again.
    Remove {
        /// The group.
        group: String,
    },
}

/// Passwords of a user.
#[derive(Debug, Args)]
pub(crate) struct PasswordArgs {
    /// A file with a password on each line, two at most.
    #[arg(long, group = "password")]
    pub(crate) password_file: Option<PathBuf>,
    /// Read them from the standard input, one on each line.
    #[arg(long, group = "password")]
    pub(crate) password_stdin: bool,
    /// Make one and print it once.
    #[arg(long, group = "password")]
    pub(crate) generate: bool,
    /// Every password is right.
    #[arg(long, group = "password")]
    pub(crate) no_password: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum UserCommand {
    /// Make a user.
    Create {
        /// How it is referred to: lower-case letters, digits and hyphens.
        id: String,
        /// How its clients call themselves [default: the id].
        #[arg(long)]
        name: Option<String>,
        /// Of which engine the groups are that it may be used in.
        #[arg(long, value_enum, default_value_t = EngineArg::Redis)]
        engine: EngineArg,
        /// What it may do, in the engine's language, such as "on ~app:* +@read".
        #[arg(long, allow_hyphen_values = true)]
        access: String,
        #[command(flatten)]
        password: PasswordArgs,
    },
    /// Change a user; what is not named stays.
    Modify {
        /// The user.
        id: String,
        /// What it may do.
        #[arg(long, allow_hyphen_values = true)]
        access: Option<String>,
        /// Rules behind those that there are.
        #[arg(long, allow_hyphen_values = true)]
        append: Option<String>,
        #[command(flatten)]
        password: PasswordArgs,
    },
    /// Delete a user; its clients are disconnected.
    Delete {
        /// The user.
        id: String,
    },
    /// Show the users, without their passwords.
    List,
}

#[derive(Debug, Subcommand)]
pub(crate) enum UserGroupCommand {
    /// Make a set of users.
    Create {
        /// How it is referred to: lower-case letters, digits and hyphens.
        id: String,
        /// Of which engine the groups are that it may be used in.
        #[arg(long, value_enum, default_value_t = EngineArg::Redis)]
        engine: EngineArg,
        /// Its users, separated by commas; one of them is named `default`.
        #[arg(long, value_delimiter = ',', required = true)]
        users: Vec<String>,
    },
    /// Change who is in a set of users.
    Modify {
        /// The user group.
        id: String,
        /// Users that come, separated by commas.
        #[arg(long, value_delimiter = ',')]
        add: Vec<String>,
        /// Users that go, separated by commas.
        #[arg(long, value_delimiter = ',')]
        remove: Vec<String>,
    },
    /// Delete a set of users that no group uses; the users stay.
    Delete {
        /// The user group.
        id: String,
    },
    /// Show the sets of users.
    List,
    /// From now on a group's clients are these users; a token of the group is removed.
    Attach {
        /// The group.
        group: String,
        /// The user group.
        id: String,
    },
    /// Everybody is a group's default user again.
    Detach {
        /// The group.
        group: String,
    },
}
