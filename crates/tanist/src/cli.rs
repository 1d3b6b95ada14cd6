//! The command line.
//!
//! Invariant: `dev`, `env` and `down` with `--data-dir` keep their meaning for ever.
//!
//! Not here: what the commands do (`super::commands`).

mod endpoints;
mod fleet;
mod host;
mod login;
mod migrate;
mod recovery;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use tanist_core::model::{ClientCertificates, Durability, EngineKind, TransitMode};

pub(crate) use endpoints::{EndpointsArgs, ReadsArgs};
pub(crate) use fleet::{InitArgs, JoinArgs};
pub(crate) use host::HostCommand;
pub(crate) use login::{
    CliArgs, PasswordArgs, SecretArgs, TokenCommand, UserCommand, UserGroupCommand,
};
pub(crate) use migrate::MigrateArgs;
pub(crate) use recovery::{BackupArgs, RebuildArgs, RestoreArgs, SupportArgs};

/// Writes per second of a drill: more than any engine takes, and far from a pause of no time.
const LOAD: std::ops::RangeInclusive<i64> = 1..=1_000_000;

/// Replication groups of real Redis and Valkey engines that stay writable.
#[derive(Debug, Parser)]
#[command(name = "tanist", version, max_term_width = 100)]
pub(crate) struct Cli {
    /// Where the installation keeps everything [default: ~/.local/share/tanist/dev].
    #[arg(long, global = true, env = "TANIST_DATA_DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// What to print.
    #[arg(short, long, global = true, value_enum, default_value_t = Format::Table)]
    pub(crate) output: Format,
    /// No colours.
    #[arg(long, global = true, env = "NO_COLOR", value_parser = clap::builder::FalseyValueParser::new())]
    pub(crate) no_color: bool,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// For people or for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Table,
    /// For programs.
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run everything on this host, in the foreground; engines outlive it.
    Dev(DevArgs),
    /// Make a fleet of several hosts, of which this one is the first server.
    Init(InitArgs),
    /// Let this host into a fleet, with the token of `tanist host invite`.
    Join(JoinArgs),
    /// Run one of a fleet's servers, in the foreground.
    Server,
    /// Run this host's agent, in the foreground; engines and endpoints outlive it.
    Agent,
    /// Print what another terminal needs: eval "$(tanist env)".
    Env,
    /// End everything, engines too; the data stays.
    Down,
    /// Move the state of an installation on one host to etcd, or back; engines and clients go on.
    MigrateStore(MigrateArgs),
    /// Create a replication group and wait until it is available.
    Create(CreateArgs),
    /// Change how many replicas a group has, or how much memory, and wait until it is so.
    Scale(ScaleArgs),
    /// Show what was measured at a group's endpoints, or choose the hosts that have them.
    Endpoints(EndpointsArgs),
    /// Show or change what a group promises about reads.
    Reads(ReadsArgs),
    /// Delete a replication group and its data.
    Delete {
        /// The group.
        group: String,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
        /// Do not wait until it is gone.
        #[arg(long)]
        no_wait: bool,
    },
    /// Show groups, nodes, problems.
    Status {
        /// Only this group.
        group: Option<String>,
    },
    /// The status and the latest events, live.
    Watch {
        /// Only this group.
        group: Option<String>,
    },
    /// Move the primaryship as after a crash.
    Failover(FailoverArgs),
    /// Move the primaryship without any client noticing.
    Switchover(MoveArgs),
    /// Break something under load and report what clients noticed.
    Drill(DrillArgs),
    /// What happened.
    Events {
        /// Only this group.
        group: Option<String>,
        /// Go on showing what happens.
        #[arg(short, long)]
        follow: bool,
    },
    /// The failovers of a group and how long each step took.
    History {
        /// The group.
        group: String,
    },
    /// redis-cli at a group's primary endpoint.
    Cli(CliArgs),
    /// Whether a group's connections are encrypted; shows it if nothing is to be changed.
    Tls(TlsArgs),
    /// The certificate that clients have to trust, and how to make them.
    Ca {
        /// What to do; shows it if left out.
        #[command(subcommand)]
        command: Option<CaCommand>,
    },
    /// Access keys for AWS clients; `tanist env` prints the root one.
    Key {
        /// What to do.
        #[command(subcommand)]
        command: KeyCommand,
    },
    /// The token by which clients of a group are its default user.
    Token {
        /// What to do.
        #[command(subcommand)]
        command: TokenCommand,
    },
    /// Users that clients can be.
    User {
        /// What to do.
        #[command(subcommand)]
        command: UserCommand,
    },
    /// Sets of users, which a group's clients can be.
    UserGroup {
        /// What to do.
        #[command(subcommand)]
        command: UserGroupCommand,
    },
    /// Check this host and the installation for what often goes wrong.
    Doctor,
    /// Write what the control plane knows to one file; data is not in it.
    Backup(BackupArgs),
    /// Put a backup into an empty store, while nothing leads.
    Restore(RestoreArgs),
    /// Rebuild a store that was lost from what the hosts keep.
    Rebuild(RebuildArgs),
    /// Write one file for whoever helps, without secrets and data.
    SupportBundle(SupportArgs),
    /// Create, break and repair a group on a throw-away installation, and report.
    Demo(DemoArgs),
    /// Run a host's supervisor (started by `dev`).
    #[command(hide = true)]
    Supervise,
    /// Keep a server's etcd running (started by `server`).
    #[command(hide = true)]
    Etcd,
    /// Show the hosts, or let the nodes of one go elsewhere.
    Host {
        /// What to do.
        #[command(subcommand)]
        command: HostCommand,
    },
    /// Let the proxies become this program, or another, without their clients noticing.
    Renew {
        /// What they are to become [default: the program that you run now].
        #[arg(long)]
        program: Option<PathBuf>,
    },
    /// Run a host's proxy (started by `dev`).
    #[command(hide = true)]
    Proxy(ProxyArgs),
    /// Become an engine in a session of its own (used by the supervisor).
    #[command(hide = true)]
    ExecEngine {
        /// The engine's binary.
        program: PathBuf,
        /// Its configuration file.
        config: PathBuf,
    },
}

/// How a proxy begins.
#[derive(Debug, Args)]
pub(crate) struct ProxyArgs {
    /// Go on with what the program before has handed over.
    #[arg(long)]
    pub(crate) inherits: bool,
    /// Only say whether this program can take over from one that writes this format.
    #[arg(long, value_name = "FORMAT", conflicts_with = "inherits")]
    pub(crate) takes_over: Option<u32>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// Make a key and print it, with its secret, once.
    Create {
        /// Whose it is.
        name: String,
        /// A file with a policy in IAM's language; everything is allowed without one.
        #[arg(long)]
        policy: Option<PathBuf>,
    },
    /// Show the keys, without their secrets.
    List,
    /// Take a key back, at once.
    Revoke {
        /// The key's id.
        access_key_id: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum CaCommand {
    /// Make a certificate and a key for a client.
    Issue(IssueArgs),
}

#[derive(Debug, Args)]
pub(crate) struct IssueArgs {
    /// Whose it is.
    pub(crate) name: String,
    /// The directory to write NAME.pem, NAME.key and ca.pem to.
    #[arg(long)]
    pub(crate) out: PathBuf,
    /// Days until it ends; it cannot be taken back before.
    #[arg(long, default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..=3650))]
    pub(crate) days: u32,
}

#[derive(Debug, Args)]
pub(crate) struct TlsArgs {
    /// The group.
    pub(crate) group: String,
    /// Whether connections are encrypted.
    #[arg(long, value_enum)]
    pub(crate) mode: Option<ModeArg>,
    /// Whether clients show certificates that `tanist ca issue` made.
    #[arg(long, value_enum)]
    pub(crate) client_certificates: Option<ClientsArg>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ModeArg {
    /// None is.
    Off,
    /// Those that begin with TLS are; plain ones are served too.
    Preferred,
    /// All are; plain ones are closed.
    Required,
}

impl From<ModeArg> for TransitMode {
    fn from(mode: ModeArg) -> Self {
        match mode {
            ModeArg::Off => Self::Off,
            ModeArg::Preferred => Self::Preferred,
            ModeArg::Required => Self::Required,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ClientsArg {
    /// None is asked for.
    Off,
    /// One that is shown has to be good.
    Optional,
    /// Nobody connects without one.
    Required,
}

impl From<ClientsArg> for ClientCertificates {
    fn from(clients: ClientsArg) -> Self {
        match clients {
            ClientsArg::Off => Self::Off,
            ClientsArg::Optional => Self::Optional,
            ClientsArg::Required => Self::Required,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct DevArgs {
    /// Keep the endpoints' names in /etc/hosts while it runs (needs to be root).
    #[arg(long)]
    pub(crate) hosts: bool,
    /// Simulated hosts; they are spread over three zones.
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u8).range(1..=60))]
    pub(crate) simulated_hosts: u8,
    /// The loopback network of every address: N for 127.N.0.0/16 [default: a free one, kept].
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=254))]
    pub(crate) network: Option<u8>,
    /// The port of every endpoint.
    #[arg(long, default_value_t = 6379)]
    pub(crate) port: u16,
    /// A file that declares networks, names and certificates, and how clients are judged.
    #[arg(long)]
    pub(crate) config: Option<PathBuf>,
    /// Take AWS requests without a signature for the root user's: whoever can reach this machine's
    /// loopback may do everything.
    #[arg(long)]
    pub(crate) insecure_unsigned: bool,
    /// Seconds that all engines may take to write everything and end at `tanist down`; one that
    /// does not end by itself is killed after 30.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub(crate) stop_within: u64,
}

#[derive(Debug, Args)]
pub(crate) struct ScaleArgs {
    /// The group.
    pub(crate) group: String,
    /// Replicas beside the primary.
    #[arg(long, value_parser = clap::value_parser!(u8).range(0..=5), required_unless_present = "memory")]
    pub(crate) replicas: Option<u8>,
    /// Memory limit of each node, such as 512mb or 2gb.
    #[arg(long, value_parser = parse_bytes)]
    pub(crate) memory: Option<u64>,
    /// The zone of each added replica, in order [default: Tanist's choice].
    #[arg(long = "zone")]
    pub(crate) zones: Vec<String>,
    /// Replicas to remove before others.
    #[arg(long)]
    pub(crate) remove: Vec<String>,
    /// Do not wait.
    #[arg(long)]
    pub(crate) no_wait: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum EngineArg {
    /// redis-server.
    Redis,
    /// valkey-server.
    Valkey,
}

impl From<EngineArg> for EngineKind {
    fn from(engine: EngineArg) -> Self {
        match engine {
            EngineArg::Redis => Self::Redis,
            EngineArg::Valkey => Self::Valkey,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum DurabilityArg {
    /// Acknowledged when every in-sync replica has it.
    Sync,
    /// Acknowledged when the primary has it.
    Async,
}

impl From<DurabilityArg> for Durability {
    fn from(durability: DurabilityArg) -> Self {
        match durability {
            DurabilityArg::Sync => Self::Sync,
            DurabilityArg::Async => Self::Async,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// Its name: lower-case letters, digits and hyphens.
    pub(crate) group: String,
    /// Replicas beside the primary.
    #[arg(long, default_value_t = 2)]
    pub(crate) replicas: u8,
    /// The engine [default: redis if it is installed].
    #[arg(long, value_enum)]
    pub(crate) engine: Option<EngineArg>,
    /// What an acknowledged write means [default: sync if there is a replica].
    #[arg(long, value_enum)]
    pub(crate) durability: Option<DurabilityArg>,
    /// Replicas that must be in sync for writes to be taken: 0 or 1.
    #[arg(long, default_value_t = 0)]
    pub(crate) min_in_sync: u8,
    /// Zones to use, separated by commas [default: all].
    #[arg(long, value_delimiter = ',')]
    pub(crate) zones: Vec<String>,
    /// The hosts of a fleet that have its endpoints, separated by commas [default: all].
    #[arg(long, value_delimiter = ',', value_name = "HOSTS")]
    pub(crate) endpoints: Vec<String>,
    /// Memory limit of each node, such as 512mb or 2gb.
    #[arg(long, value_parser = parse_bytes)]
    pub(crate) memory: Option<u64>,
    /// Encrypt connections; with `=preferred` plain ones are served too.
    #[arg(long, value_enum, num_args = 0..=1, require_equals = true, default_missing_value = "required")]
    pub(crate) tls: Option<ModeArg>,
    /// Whether clients show certificates that `tanist ca issue` made [default: off].
    #[arg(long, value_enum)]
    pub(crate) client_certificates: Option<ClientsArg>,
    /// Do not replace a lost primary automatically.
    #[arg(long)]
    pub(crate) no_automatic_failover: bool,
    /// Spread over zones; always done, accepted for the habit's sake.
    #[arg(long, hide = true)]
    pub(crate) multi_az: bool,
    /// Reads through the primary endpoint show only what is acknowledged; see tanist reads.
    #[arg(long)]
    pub(crate) strict_reads: bool,
    /// Do not wait until it is available.
    #[arg(long)]
    pub(crate) no_wait: bool,
}

#[derive(Debug, Args)]
pub(crate) struct MoveArgs {
    /// The group.
    pub(crate) group: String,
    /// The heir [default: the best].
    #[arg(long)]
    pub(crate) to: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct FailoverArgs {
    #[command(flatten)]
    pub(crate) moved: MoveArgs,
    /// Go on although acknowledged writes may be lost; needs --to.
    #[arg(long, requires = "to")]
    pub(crate) accept_loss: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DrillArgs {
    /// The group.
    pub(crate) group: String,
    /// SIGKILL the primary.
    #[arg(long)]
    pub(crate) kill: bool,
    /// SIGSTOP the primary.
    #[arg(long)]
    pub(crate) freeze: bool,
    /// A planned switchover.
    #[arg(long)]
    pub(crate) switchover: bool,
    /// Writes per second through the primary endpoint.
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u32).range(LOAD))]
    pub(crate) load: u32,
    /// Connections that write.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    pub(crate) connections: u16,
    /// How often to repeat.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) runs: u16,
    /// Fail if the longest gap between acknowledged writes is longer, in milliseconds.
    #[arg(long, default_value_t = 1000)]
    pub(crate) limit_ms: u64,
}

#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// The engine [default: redis if it is installed].
    #[arg(long, value_enum)]
    pub(crate) engine: Option<EngineArg>,
    /// Writes per second.
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u32).range(LOAD))]
    pub(crate) load: u32,
    /// Keep the data directory afterwards.
    #[arg(long)]
    pub(crate) keep: bool,
}

/// `512mb`, `2gb`, `1048576`.
fn parse_bytes(text: &str) -> Result<u64, String> {
    let lower = text.trim().to_ascii_lowercase();
    let digits = lower.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = lower.get(digits.len()..).unwrap_or_default();
    let factor: u64 = match unit {
        "" | "b" => 1,
        "k" | "kb" | "kib" => 1 << 10,
        "m" | "mb" | "mib" => 1 << 20,
        "g" | "gb" | "gib" => 1 << 30,
        _ => return Err(format!("unknown unit {unit:?}; use kb, mb or gb")),
    };
    let number: u64 = digits.parse().map_err(|_| format!("{text:?} is not a size like 512mb"))?;
    number.checked_mul(factor).ok_or_else(|| format!("{text:?} is too large"))
}

fn parse_millis(text: &str) -> Result<u32, String> {
    let lower = text.trim().to_ascii_lowercase();
    let (digits, factor) = match lower.strip_suffix("ms") {
        Some(digits) => (digits, 1),
        None => (lower.strip_suffix('s').unwrap_or_default(), 1000),
    };
    let number: u32 = digits.parse().map_err(|_| format!("{text:?} is not a time like 500ms"))?;
    number.checked_mul(factor).ok_or_else(|| format!("{text:?} is too long"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        assert_eq!(parse_millis("500ms"), Ok(500));
        assert_eq!(parse_millis("2S"), Ok(2000));
        for bad in ["", "ms", "s", "5", "-1s", "1h", "9999999s"] {
            assert!(parse_millis(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_have_units() {
        assert_eq!(parse_bytes("512mb"), Ok(512 << 20));
        assert_eq!(parse_bytes("2GB"), Ok(2 << 30));
        assert_eq!(parse_bytes("77"), Ok(77));
        for bad in ["", "mb", "1tb", "-1", "99999999999gb"] {
            assert!(parse_bytes(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_drill_has_a_load_that_can_be() {
        let parsed = |args: &[&str]| {
            let all = ["tanist", "drill", "web", "--kill"].iter().chain(args);
            Cli::try_parse_from(all).map(drop)
        };
        assert!(parsed(&["--load", "1000000", "--connections", "1"]).is_ok());
        for bad in [
            ["--load", "4000000000"],
            ["--load", "0"],
            ["--connections", "0"],
            ["--connections", "20000"],
            ["--runs", "0"],
        ] {
            assert!(parsed(&bad).is_err(), "{bad:?}");
        }
        assert!(Cli::try_parse_from(["tanist", "demo", "--load", "4000000000"]).is_err());
    }

    #[test]
    fn the_command_line_is_well_formed() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }
}
