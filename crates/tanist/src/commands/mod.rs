//! One file per command; this one leads each to its own.
//!
//! Invariant: a command that asks a running installation changes nothing by asking.
//!
//! Not here: the roles (`crate::dev`, `crate::roles`), drills (`crate::drill`).

mod backup;
pub(crate) mod ca;
mod create;
mod delete;
mod demo;
mod doctor;
mod down;
mod endpoints;
mod env;
pub(crate) mod events;
mod history;
mod host;
mod key;
mod migrate;
mod mover;
mod reads;
mod rebuild;
mod renew;
mod scale;
mod status;
mod support;
mod tls;
mod token;
mod users;
mod watch;

use std::time::Duration;

use tanist_core::model::MoveKind;
use tanist_link::Client;
use tanist_link::api::GroupStatus;

use crate::cli::{Cli, CliArgs, Command};
use crate::failure::Failure;
use crate::fleet::{self, Member, join};
use crate::house;
use crate::layout::Layout;
use crate::output::Output;
use crate::{Outcome, dev, dial, drill, roles, spawn};

/// How often a waiting command asks for the status.
const ASK_EVERY: Duration = Duration::from_millis(50);

/// Runs the command.
pub(crate) fn run(cli: Cli, output: &Output) -> Outcome {
    match cli.command {
        Command::ExecEngine { program, config } => {
            let err = tanist_agent::exec_engine(&program, &config);
            let message = format!("{} could not be started: {err}", program.display());
            Err(Failure::new("T627", message, "install the engine").exit(127))
        }
        Command::Supervise => roles::supervise(&Layout::new(cli.data_dir)?),
        Command::Etcd => roles::etcd(&Layout::new(cli.data_dir)?),
        Command::Proxy(args) => match args.takes_over {
            Some(format) => roles::takes_over(format, output),
            None => roles::proxy(&Layout::new(cli.data_dir)?, args.inherits),
        },
        Command::Demo(args) => runtime()?.block_on(demo::demo(args, output)),
        Command::Init(args) => join::init(&Layout::new(cli.data_dir)?, &args, output),
        Command::Join(args) => {
            runtime()?.block_on(join::join(&Layout::new(cli.data_dir)?, &args, output))
        }
        Command::Restore(args) => {
            runtime()?.block_on(backup::restore(&Layout::new(cli.data_dir)?, &args, output))
        }
        Command::SupportBundle(args) => {
            runtime()?.block_on(support::support(&Layout::new(cli.data_dir)?, &args, output))
        }
        // It also looks at a host that may not ask, and at one whose files are damaged.
        Command::Doctor => runtime()?.block_on(doctor::doctor(&Layout::new(cli.data_dir)?, output)),
        Command::Server => {
            roles::log_to_stderr("info");
            runtime()?.block_on(fleet::server::server(Layout::new(cli.data_dir)?, output))
        }
        Command::Agent => {
            roles::log_to_stderr("info");
            runtime()?.block_on(fleet::agent::agent(Layout::new(cli.data_dir)?, output))
        }
        command => {
            let layout = Layout::new(cli.data_dir)?;
            runtime()?.block_on(ask(command, layout, output))
        }
    }
}

fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|err| Failure::caused("T622", &err, "raise the limits on threads"))
}

async fn ask(command: Command, layout: Layout, output: &Output) -> Outcome {
    let member = Member::load(&layout)?;
    let client = match &member {
        Some(member) => member.administrator()?,
        None => Client::new(layout.controller_socket()),
    };
    match command {
        Command::Dev(_) | Command::Down | Command::MigrateStore(_) if member.is_some() => {
            Err(of_a_fleet(&layout))
        }
        Command::Dev(args) => {
            layout.create()?;
            log_to_file(&layout)?;
            Box::pin(dev::dev(layout, &args, output)).await
        }
        Command::Env => env::env(&client, &layout, output).await,
        Command::Tls(args) => tls::tls(&client, args, output).await,
        Command::Ca { command } => ca::ca(&layout, command, output),
        Command::Key { command } => key::key(&client, command, output).await,
        Command::Token { command } => token::token(&client, command, output).await,
        Command::User { command } => users::user(&client, command, output).await,
        Command::UserGroup { command } => users::user_group(&client, command, output).await,
        Command::Down => down::down(&layout, output).await,
        Command::MigrateStore(args) => migrate::migrate(&layout, &args, output).await,
        Command::Create(args) => create::create(&client, args, output).await,
        Command::Endpoints(args) => endpoints::endpoints(&client, args, output).await,
        Command::Host { command } => host::host(&client, command, output).await,
        Command::Renew { program } => renew::renew(&client, program, output).await,
        Command::Reads(args) => reads::reads(&client, args, output).await,
        Command::Scale(args) => scale::scale(&client, args, output).await,
        Command::Delete { group, yes, no_wait } => {
            delete::delete(&client, &group, yes, no_wait, output).await
        }
        Command::Status { group } => status::status(&client, group.as_deref(), output).await,
        Command::Watch { group } => watch::watch(&client, group.as_deref(), output).await,
        Command::Failover(args) => {
            let how = (MoveKind::Failover, args.accept_loss);
            mover::move_primary(&client, args.moved, how, output).await
        }
        Command::Switchover(args) => {
            mover::move_primary(&client, args, (MoveKind::Switchover, false), output).await
        }
        Command::Drill(args) => drill::drill(&client, &layout, &args, output).await,
        Command::Events { group, follow } => {
            events::events(&client, group.as_deref(), follow, output).await
        }
        Command::History { group } => history::history(&client, &group, output).await,
        Command::Cli(args) => redis_cli(&client, &layout, &args).await,
        Command::Backup(args) => backup::backup(&client, &layout, &args, output).await,
        Command::Rebuild(args) => rebuild::rebuild(&client, &args, output).await,
        Command::Demo(_)
        | Command::Supervise
        | Command::Etcd
        | Command::Proxy(_)
        | Command::ExecEngine { .. }
        | Command::Init(_)
        | Command::Join(_)
        | Command::Restore(_)
        | Command::SupportBundle(_)
        | Command::Doctor
        | Command::Server
        | Command::Agent => unreachable!("these do not ask a running installation"),
    }
}

/// Becomes redis-cli at a group's endpoint.
async fn redis_cli(client: &Client, layout: &Layout, args: &CliArgs) -> Outcome {
    let group = group_status(client, &args.group).await?;
    let secure = dial::cli_arguments(layout, &group)?;
    let house = house::of(layout, &group.name, &group.login)?;
    let endpoint = if args.reader { &group.reader_endpoint } else { &group.primary_endpoint };
    let dial = (endpoint.host.as_str(), endpoint.port);
    Err(spawn::become_cli(dial, &secure, house.as_ref(), &args.args))
}

fn of_a_fleet(layout: &Layout) -> Failure {
    let message = format!("{} is a fleet's host", layout.root().display());
    let remedy = "stop tanist agent and tanist server there; tanist host drain empties a host";
    Failure::new("T707", message, remedy).exit(2)
}

fn log_to_file(layout: &Layout) -> Result<(), Failure> {
    let path = layout.log("dev");
    let file = spawn::open_log(&path).map_err(|err| {
        let message = format!("the log {} cannot be written: {err}", path.display());
        Failure::new("T611", message, "free disk space or name another --data-dir")
    })?;
    let filter = tracing_subscriber::EnvFilter::try_from_env("TANIST_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    // Only the first of several in one process counts.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::sync::Mutex::new(file))
        .with_ansi(false)
        .try_init();
    spawn::keep_short(path)
}

/// A group's status.
pub(crate) async fn group_status(client: &Client, group: &str) -> Result<GroupStatus, Failure> {
    Ok(client.get(&format!("/v1/groups/{}", encoded(group))).await?)
}

/// A name as one segment of a path.
pub(crate) fn encoded(name: &str) -> String {
    let mut text = String::new();
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.') {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

/// Waits for a moment before asking again.
pub(crate) async fn pause() {
    // waits: the status has no stream of its own; the events say less than what is waited for.
    tokio::time::sleep(ASK_EVERY).await;
}
