//! An installation of one test, driven through the command line.
//!
//! Invariant: when it is dropped, no process of it is left and its directory is gone.
//!
//! Not here: what the installation should do.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use tanist_link::api::{EndpointStatus, GroupStatus, NodeStatus, ShardStatus, Status};
use tanist_resp::Connection;

use crate::Network;
use crate::processes::{engines_of, kill};
use crate::until::until;

/// How long anything may take before a test gives up.
const PATIENCE: Duration = Duration::from_secs(60);
/// A running installation.
#[derive(Debug)]
pub struct Installation {
    dir: tempfile::TempDir,
    network: Network,
    dev: Option<Child>,
    path: Option<std::ffi::OsString>,
    apart: Option<Apart>,
}

/// A mount namespace of its own for everything that the installation starts.
#[derive(Debug)]
struct Apart {
    /// Shell commands that make the mounts; `$1` and `$2` are the arguments.
    mounts: &'static str,
    args: [std::ffi::OsString; 2],
}

/// What a command said.
#[derive(Debug)]
pub struct Ran {
    /// Its exit code.
    pub code: i32,
    /// Its standard output.
    pub out: String,
    /// Its standard error.
    pub err: String,
}

impl Ran {
    pub(crate) fn new(output: &Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// The output, of a command that has to succeed.
    ///
    /// # Panics
    /// If it failed.
    pub fn ok(self) -> String {
        assert_eq!(self.code, 0, "stdout:\n{}\nstderr:\n{}", self.out, self.err);
        self.out
    }
}

/// The binary under test, built beside the test's own.
///
/// # Panics
/// If it is not built.
pub fn binary() -> PathBuf {
    let own = std::env::current_exe().unwrap_or_else(|err| panic!("this test's own path: {err}"));
    let target = own.ancestors().find(|dir| dir.join("tanist").is_file());
    let target = target.unwrap_or_else(|| {
        panic!("the tanist binary is not built beside {}: cargo build -p tanist", own.display())
    });
    target.join("tanist")
}

impl Installation {
    /// A directory and a network; nothing runs yet.
    ///
    /// # Panics
    /// If there is no room for them.
    pub fn empty() -> Self {
        let dir = tempfile::Builder::new().prefix("tanist-lab-").tempdir();
        let dir = dir.unwrap_or_else(|err| panic!("making a directory: {err}"));
        Self { dir, network: Network::take(), dev: None, path: None, apart: None }
    }

    /// A running one.
    ///
    /// # Panics
    /// If it does not start.
    pub fn start() -> Self {
        let mut installation = Self::empty();
        installation.dev();
        installation
    }

    /// Its directory.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Uses another `PATH` for what is started from now on.
    pub fn with_path(&mut self, path: impl Into<std::ffi::OsString>) {
        self.path = Some(path.into());
    }

    /// Puts what is below `at` on a small disk from the next start on, mounted with `options`
    /// (`size=48m`, `ro`). False, and said aloud, if this system allows no mount namespace.
    ///
    /// # Panics
    /// If the directory cannot be made.
    pub fn with_disk(&mut self, at: &str, options: &str) -> bool {
        let at = self.dir().join(at);
        let mut private = std::fs::DirBuilder::new();
        std::os::unix::fs::DirBuilderExt::mode(private.recursive(true), 0o700);
        private.create(&at).unwrap_or_else(|err| panic!("{}: {err}", at.display()));
        self.set_apart("mount -t tmpfs -o \"$1\" none \"$2\"", [options.into(), at.into()])
    }

    /// Gives what is started from now on a copy of /etc/hosts, which the test finds in the file.
    /// `None`, and said aloud, if this system allows no mount namespace.
    ///
    /// # Panics
    /// If the copy cannot be made.
    pub fn with_own_hosts_file(&mut self) -> Option<PathBuf> {
        let copy = self.dir().join("etc-hosts");
        let copied = std::fs::copy("/etc/hosts", &copy);
        copied.unwrap_or_else(|err| panic!("{}: {err}", copy.display()));
        let args = [copy.clone().into(), "/etc/hosts".into()];
        self.set_apart("mount --bind \"$1\" \"$2\"", args).then_some(copy)
    }

    fn set_apart(&mut self, mounts: &'static str, args: [std::ffi::OsString; 2]) -> bool {
        let probe = ["--user", "--map-root-user", "--mount", "true"];
        let status = Command::new("unshare").args(probe).status();
        if !status.is_ok_and(|status| status.success()) {
            crate::skip("no mount namespace (unshare --user --mount)");
            return false;
        }
        self.apart = Some(Apart { mounts, args });
        true
    }

    /// Runs a program where `tanist dev` runs.
    ///
    /// # Panics
    /// If `tanist dev` does not run, or the program cannot be started.
    pub fn beside_dev(&self, program: &str, args: &[&str]) -> Ran {
        let Some(dev) = &self.dev else { panic!("tanist dev does not run") };
        let mut command = self.equip(Command::new("nsenter"));
        command.args(["--user", "--mount", "--preserve-credentials", "--target"]);
        command.arg(dev.id().to_string()).arg(program).args(args);
        Ran::new(&command.output().unwrap_or_else(|err| panic!("running {program}: {err}")))
    }

    /// Where a path of the installation is found if it may lie on its small disk.
    ///
    /// # Panics
    /// If `tanist dev` does not run.
    pub fn seen_by_dev(&self, path: &str) -> PathBuf {
        let Some(dev) = &self.dev else { panic!("tanist dev does not run") };
        let root = PathBuf::from(format!("/proc/{}/root", dev.id()));
        let inside = self.dir().join(path);
        root.join(inside.strip_prefix("/").unwrap_or(&inside))
    }

    /// The command that starts the installation's processes.
    fn starter(&self) -> Command {
        let Some(apart) = &self.apart else { return self.command() };
        let mut command = self.equip(Command::new("unshare"));
        command.args(["--user", "--map-root-user", "--mount", "sh", "-c"]);
        // The mounts are in a namespace that ends with its last process.
        command.arg(format!("{} && shift 2 && exec \"$@\"", apart.mounts));
        command.arg("sh").args(&apart.args).arg(binary());
        command
    }

    fn command(&self) -> Command {
        self.equip(Command::new(binary()))
    }

    fn equip(&self, mut command: Command) -> Command {
        command.stdin(Stdio::null()).env("TANIST_DATA_DIR", self.dir()).env("NO_COLOR", "1");
        if let Some(path) = &self.path {
            command.env("PATH", path);
        }
        command
    }

    /// Starts a command of the binary and does not wait for it. As from a terminal it leads a process
    /// group of its own; what it keeps for a while lies in the installation's directory; its output is
    /// read by the caller.
    ///
    /// # Panics
    /// If the binary cannot be started.
    pub fn begin(&self, args: &[&str]) -> Child {
        let mut command = self.command();
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        command.args(args).env("TMPDIR", self.dir()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap_or_else(|err| panic!("running tanist: {err}"))
    }

    /// Runs a command of the binary.
    ///
    /// # Panics
    /// If the binary cannot be started.
    pub fn tanist(&self, args: &[&str]) -> Ran {
        let output = self.command().args(args).output();
        Ran::new(&output.unwrap_or_else(|err| panic!("running tanist: {err}")))
    }

    /// Starts `tanist dev` and waits until it answers and its proxy is connected.
    ///
    /// # Panics
    /// If it does not.
    pub fn dev(&mut self) {
        self.dev_with(&[]);
    }

    /// As [`Installation::dev`], with more arguments.
    ///
    /// # Panics
    /// If it does not start.
    pub fn dev_with(&mut self, args: &[&str]) {
        let log = std::fs::File::options().append(true).create(true).open(self.dir().join("out"));
        let log = log.unwrap_or_else(|err| panic!("the log: {err}"));
        let errors = log.try_clone().unwrap_or_else(|err| panic!("the log: {err}"));
        let number = self.network.number().to_string();
        let child = self
            .starter()
            .args(["dev", "--network", number.as_str()])
            .args(args)
            .stdout(log)
            .stderr(errors)
            .spawn();
        self.dev = Some(child.unwrap_or_else(|err| panic!("starting tanist dev: {err}")));
        self.wait("tanist dev answers", |installation| {
            let status = installation.try_status()?;
            status.proxies.iter().any(|proxy| proxy.up).then_some(())
        });
    }

    /// Runs `tanist dev` expecting that it ends by itself.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn dev_fails(&self) -> Ran {
        self.dev_fails_with(&[])
    }

    /// As [`Installation::dev_fails`], with more arguments.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn dev_fails_with(&self, args: &[&str]) -> Ran {
        let number = self.network.number().to_string();
        let output = self.starter().args(["dev", "--network", number.as_str()]).args(args).output();
        Ran::new(&output.unwrap_or_else(|err| panic!("running tanist dev: {err}")))
    }

    /// Tanist's own processes, engines not among them.
    ///
    /// # Panics
    /// If `tanist dev` does not run.
    pub fn own_processes(&self) -> Vec<u32> {
        let Some(dev) = &self.dev else { panic!("tanist dev does not run") };
        let is_own = |pid: &u32| {
            let exe = std::fs::read_link(format!("/proc/{pid}/exe"));
            *pid != dev.id() && exe.is_ok_and(|exe| exe.ends_with("tanist"))
        };
        // The first one's command line need not name the directory.
        let others = engines_of(self.dir()).into_iter().filter(is_own);
        std::iter::once(dev.id()).chain(others).collect()
    }

    /// The process of one of the roles that `tanist dev` starts: `supervise` or `proxy`.
    ///
    /// # Panics
    /// If it was never started.
    pub fn role(&self, name: &str) -> u32 {
        let lock = self.dir().join(format!("{name}.lock"));
        let text = std::fs::read_to_string(&lock);
        let text = text.unwrap_or_else(|err| panic!("{}: {err}", lock.display()));
        text.trim().parse().unwrap_or_else(|err| panic!("{}: {text:?}: {err}", lock.display()))
    }

    /// SIGKILLs `tanist dev`; everything else lives on.
    ///
    /// # Panics
    /// If it does not run.
    pub fn kill_dev(&mut self) {
        let Some(mut dev) = self.dev.take() else { panic!("tanist dev does not run") };
        dev.kill().and_then(|()| dev.wait()).unwrap_or_else(|err| panic!("killing dev: {err}"));
    }

    /// Waits for `tanist dev` to end by itself.
    ///
    /// # Panics
    /// If it does not run.
    pub fn dev_ended(&mut self) -> i32 {
        let Some(mut dev) = self.dev.take() else { panic!("tanist dev does not run") };
        let status = dev.wait().unwrap_or_else(|err| panic!("waiting for dev: {err}"));
        status.code().unwrap_or(-1)
    }

    /// SIGKILLs every process of the installation, engines too.
    ///
    /// # Panics
    /// If they do not end.
    pub fn kill_everything(&mut self) {
        if let Some(mut dev) = self.dev.take() {
            // It may have ended already.
            let _ = dev.kill();
            let _ = dev.wait();
        }
        let started = Instant::now();
        loop {
            let left = engines_of(self.dir());
            if left.is_empty() {
                return;
            }
            left.iter().for_each(|pid| kill(*pid));
            assert!(started.elapsed() < PATIENCE, "processes that cannot be killed: {left:?}");
            std::thread::yield_now();
        }
    }

    /// The status, if the installation answers.
    pub fn try_status(&self) -> Option<Status> {
        let ran = self.tanist(&["status", "-o", "json"]);
        serde_json::from_str(&ran.out).ok()
    }

    /// A group's status.
    ///
    /// # Panics
    /// If there is none.
    pub fn group(&self, name: &str) -> GroupStatus {
        let status =
            self.try_status().unwrap_or_else(|| panic!("the installation does not answer"));
        let group = status.groups.into_iter().find(|group| group.name.as_str() == name);
        group.unwrap_or_else(|| panic!("there is no group {name}"))
    }

    /// A group's only shard.
    ///
    /// # Panics
    /// If there is none.
    pub fn shard(&self, name: &str) -> ShardStatus {
        let shard = self.group(name).shards.into_iter().next();
        shard.unwrap_or_else(|| panic!("{name} has no shard"))
    }

    /// The primary of a group.
    ///
    /// # Panics
    /// If nobody is.
    pub fn primary(&self, name: &str) -> NodeStatus {
        let shard = self.shard(name);
        let primary = shard.nodes.into_iter().find(|node| node.role == "primary");
        primary.unwrap_or_else(|| panic!("{name} has no primary"))
    }

    /// Creates a group and waits until it is available.
    ///
    /// # Panics
    /// If it does not become so.
    pub fn create(&self, name: &str, args: &[&str]) -> GroupStatus {
        let mut all = vec!["create", name, "--memory", "64mb"];
        all.extend(args);
        self.tanist(&all).ok();
        self.group(name)
    }

    /// Waits until a group is available.
    ///
    /// # Panics
    /// If it does not become so.
    pub fn available(&self, name: &str) -> GroupStatus {
        self.wait(&format!("{name} is available"), |installation| {
            let status = installation.try_status()?;
            status.groups.into_iter().find(|g| g.name.as_str() == name && g.status == "available")
        })
    }

    /// Waits until `look` finds something.
    ///
    /// # Panics
    /// If it does not.
    pub fn wait<T>(&self, what: &str, look: impl Fn(&Self) -> Option<T>) -> T {
        until(what, PATIENCE, || look(self), || self.what_it_says())
    }

    /// Everything that helps to understand a failed test.
    pub fn what_it_says(&self) -> String {
        let mut said = self.tanist(&["status"]).out;
        said.push_str(&self.tanist(&["events"]).out);
        for name in ["out", "dev.log", "proxy.log", "supervise.log"] {
            let text = std::fs::read_to_string(self.dir().join(name)).unwrap_or_default();
            let tail: Vec<&str> = text.lines().rev().take(40).collect();
            said.push_str(&format!("--- {name}\n"));
            for line in tail.iter().rev() {
                said.push_str(line);
                said.push('\n');
            }
        }
        said
    }

    /// A connection to an endpoint.
    ///
    /// # Panics
    /// If nobody answers there.
    pub async fn connect(&self, endpoint: &EndpointStatus) -> Connection {
        let address = SocketAddr::from((endpoint.address, endpoint.port));
        let connection = Connection::connect(address, Duration::from_secs(5)).await;
        connection.unwrap_or_else(|err| panic!("connecting to {address}: {err}"))
    }

    /// A connection to a node's engine itself, as its agent has one.
    ///
    /// # Panics
    /// If it does not let us in.
    pub async fn engine(&self, node: &NodeStatus) -> Connection {
        let own = format!("hosts/{}/nodes/{}/node.conf", node.host, node.node);
        let conf = std::fs::read_to_string(self.dir().join(&own));
        let conf = conf.unwrap_or_else(|err| panic!("{own}: {err}"));
        let setting = |name: &str| conf.lines().find_map(|line| line.strip_prefix(name));
        let address = setting("bind ").zip(setting("port "));
        let address = address.map(|(ip, port)| format!("{ip}:{port}"));
        let address: SocketAddr = address
            .and_then(|address| address.parse().ok())
            .unwrap_or_else(|| panic!("no address in {own}"));
        let secret = tanist_link::Secret::load_or_create(&self.dir().join("secret"));
        let secret = secret.unwrap_or_else(|err| panic!("the secret: {err}"));
        let password = secret.password(&tanist_link::wire::admin_label(&node.node));
        let patience = Duration::from_secs(5);
        let connected = Connection::connect(address, patience).await;
        let mut connection = connected.unwrap_or_else(|err| panic!("{address}: {err}"));
        let auth =
            tanist_resp::Command::new("AUTH").arg(tanist_link::wire::ADMIN_USER).arg(password);
        let answer = connection.call(&auth, patience).await;
        assert!(answer.as_ref().is_ok_and(tanist_resp::Value::is_ok), "{answer:?}");
        connection
    }
}

impl Drop for Installation {
    fn drop(&mut self) {
        if std::thread::panicking() && std::env::var_os("TANIST_LAB_KEEP").is_some() {
            let kept = tempfile::Builder::new().prefix("tanist-kept-").tempdir().map(|d| d.keep());
            if let Ok(kept) = kept {
                // Only for a person who asked for it; the test has failed already.
                let _ = Command::new("cp").arg("-a").arg(self.dir()).arg(kept).status();
            }
        }
        self.kill_everything();
    }
}
