//! `tanist demo`: the main job, end to end, on a throw-away installation.
//!
//! It runs the very commands that a person would: `dev`, `create`, `drill`, `down`.
//!
//! Invariant: it ends everything that it started, whatever happens, Ctrl-C too, and exits 0 only if
//! the report passes; data that a process may still use is never removed.
//!
//! Not here: the drill itself (`crate::drill`).

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tanist_aws::{AccessKey, QueryClient};
use tanist_core::model::EngineKind;
use tanist_link::Client;
use tanist_link::api::{AwsEndpoint, GroupStatus, Status};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{create, down, pause};
use crate::cli::{DemoArgs, EngineArg};
use crate::dial::Dialler;
use crate::drill::{self, Drill, FaultKind};
use crate::failure::Failure;
use crate::layout::Layout;
use crate::output::{Output, Paint};
use crate::spawn::Child;
use crate::{Done, Outcome, engines, spawn};

/// The demo's group.
const GROUP: &str = "demo";
/// How long the installation may take to start.
const START: Duration = Duration::from_secs(20);
/// Longest gap that the demo accepts, in milliseconds.
const LIMIT_MS: u64 = 1000;

/// Runs the demo.
pub(crate) async fn demo(args: DemoArgs, out: &Output) -> Outcome {
    let dir = std::env::temp_dir().join(format!("tanist-demo-{}", std::process::id()));
    let layout = Layout::new(Some(dir.clone()))?;
    out.line(out.paint(Paint::Bold, "tanist demo"));
    out.line(format!("data      {} (thrown away)", dir.display()));
    let mut interrupts = Interrupts::new()?;
    let mut dev = start(&dir).await?;
    let client = Client::new(layout.controller_socket());
    // Not to be interrupted: what has not started yet cannot be ended.
    let shown = match ready(&client, &mut dev).await {
        Ok(()) => tokio::select! {
            shown = show(&args, &client, &layout, out) => shown,
            () = interrupts.next() => {
                Err(Failure::new("T666", "the demo was interrupted", "run it again"))
            }
        },
        Err(failure) => Err(failure),
    };
    let ended = end(&layout, &mut dev, out).await;
    match &ended {
        Ok(()) if !args.keep => remove(&dir)?,
        Ok(()) => {}
        Err(_) => {
            let at = dir.display();
            out.line(format!("left      {at}: it may still run"));
            out.line(format!("          tanist down --data-dir {at}, then remove it"));
        }
    }
    let passed = shown?;
    ended?;
    out.line("");
    out.line("Next, an installation of your own:");
    out.line("  ./target/release/tanist dev");
    out.line("  ./target/release/tanist create web     (in another terminal)");
    Ok(if passed { Done::Well } else { Done::Failed })
}

async fn start(dir: &Path) -> Result<Child, Failure> {
    let args = [OsStr::new("dev"), OsStr::new("--data-dir"), dir.as_os_str()];
    spawn::own(&args).map_err(|err| Failure::caused("T660", &err, "raise the limit on processes"))
}

/// What a person or a system interrupts the demo by. It is noted from the beginning on.
struct Interrupts([Signal; 3]);

impl Interrupts {
    fn new() -> Result<Self, Failure> {
        let failed = |err| Failure::caused("T667", &err, "raise the limit on descriptors");
        let of = |kind| signal(kind).map_err(failed);
        let terminate = of(SignalKind::terminate())?;
        Ok(Self([of(SignalKind::interrupt())?, terminate, of(SignalKind::hangup())?]))
    }

    async fn next(&mut self) {
        let Self([interrupt, terminate, hangup]) = self;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}

async fn show(
    args: &DemoArgs,
    client: &Client,
    layout: &Layout,
    out: &Output,
) -> Result<bool, Failure> {
    create_group(client, args.engine, out).await?;
    let whole = |group: &GroupStatus| group.status == "available";
    let started = std::time::Instant::now();
    let group = create::wait(client, "creating", GROUP, started, &whole, out).await?;
    let faults = [FaultKind::Kill, FaultKind::Freeze, FaultKind::Switchover];
    let plan = Drill {
        group: &group,
        dialler: Dialler::of(layout, &group)?,
        faults: &faults,
        writes_per_second: args.load,
        connections: 50,
        limit_ms: LIMIT_MS,
    };
    let report = drill::run(client, &plan, out).await?;
    if out.is_json() {
        out.json(&report)?;
    } else {
        report.print(out);
    }
    Ok(report.passed)
}

/// Creates the group as an AWS client does: with a signed request to the endpoint.
async fn create_group(
    client: &Client,
    engine: Option<EngineArg>,
    out: &Output,
) -> Result<(), Failure> {
    let aws: AwsEndpoint = client.get("/v1/aws").await?;
    let engine: EngineKind = match engine {
        Some(engine) => engine.into(),
        None => engines::find()?.default_kind(),
    };
    let at = aws.endpoint.strip_prefix("http://").and_then(|at| at.parse().ok());
    let endpoint = at.ok_or_else(|| {
        let message = format!("{} is no address", aws.endpoint);
        Failure::new("T664", message, "report this as a fault of Tanist")
    })?;
    let key =
        AccessKey { access_key_id: aws.root.access_key_id, secret: aws.root.secret_access_key };
    let query = QueryClient { endpoint, region: aws.region, key };
    out.line(format!("API       {}  CreateReplicationGroup {GROUP}", aws.endpoint));
    let engine = engine.to_string();
    let parameters = [
        ("ReplicationGroupId", GROUP),
        ("ReplicationGroupDescription", "a group to break"),
        ("Engine", engine.as_str()),
        ("CacheNodeType", "cache.t3.micro"),
        ("NumCacheClusters", "3"),
        ("AutomaticFailoverEnabled", "true"),
        ("MultiAZEnabled", "true"),
    ];
    let called = query.call("elasticache", "2015-02-02", "CreateReplicationGroup", &parameters);
    called.await.map(drop).map_err(|err| Failure::caused("T665", &err, "see dev.log with --keep"))
}

/// Waits until the installation answers.
async fn ready(client: &Client, dev: &mut Child) -> Result<(), Failure> {
    let started = tokio::time::Instant::now();
    loop {
        match client.get::<Status>("/v1/status").await {
            Ok(status) if status.proxies.iter().any(|proxy| proxy.up) => return Ok(()),
            Ok(_) | Err(_) => {}
        }
        let gone = dev.try_wait().is_ok_and(|status| status.is_some());
        if gone || started.elapsed() > START {
            let mut said = String::new();
            if let Some(stderr) = dev.stderr.take() {
                let mut lines = BufReader::new(stderr).lines();
                while let Ok(Ok(Some(line))) =
                    tokio::time::timeout(Duration::from_millis(200), lines.next_line()).await
                {
                    said.push_str(&line);
                    said.push('\n');
                }
            }
            let message = format!("the installation did not start:\n{said}");
            return Err(Failure::new("T661", message, "follow its own advice above"));
        }
        pause().await;
    }
}

/// Ends the installation and makes sure that it has ended.
async fn end(layout: &Layout, dev: &mut Child, out: &Output) -> Result<(), Failure> {
    out.line("");
    let gone = dev.try_wait().is_ok_and(|status| status.is_some());
    if gone && ["supervise", "proxy"].iter().all(|role| spawn::holder(layout, role).is_none()) {
        // It ended before it had started anything.
        return Ok(());
    }
    down::down(layout, out).await?;
    match tokio::time::timeout(START, dev.wait()).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(err)) => Err(Failure::caused("T662", &err, "see ps for a process left behind")),
        Err(_) => {
            let message = "tanist dev did not end";
            Err(Failure::new("T662", message, "see ps for a process left behind"))
        }
    }
}

fn remove(dir: &PathBuf) -> Result<(), Failure> {
    let removed = match std::fs::remove_dir_all(dir) {
        Err(err) if err.kind() == std::io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    };
    removed.map_err(|err| {
        let message = format!("{} could not be removed: {err}", dir.display());
        Failure::new("T663", message, "remove it by hand")
    })
}
