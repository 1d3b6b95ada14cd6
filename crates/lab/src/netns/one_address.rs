//! Clients that know one address only, and what leads them to a host that serves them.
//!
//! Either keepalived moves the address between the hosts that have the control plane, whose proxies listen at it
//! (`[endpoints] floating`), or a load balancer on a host of its own (HAProxy stands in for it) has it. The host
//! that serves the client loses its power while it writes.
//!
//! Invariant: the configuration is that of docs/fleet.md, with this site's addresses.
//!
//! Not here: faults that concern the primary (`super::trial`).

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::ground::{inside, ip};
use super::judge::{Judged, judge};
use super::site::{Host, SERVERS, Site};
use super::writer::{Target, Writer, WriterPlan, read_back, since};

/// The address that moves.
const FLOATING: Ipv4Addr = Ipv4Addr::new(10, 99, 9, 1);
/// The port of the load balancer.
const PORT: u16 = 17_000;
/// The host of the client and of the load balancer: nothing happens to it.
const OUTSIDE: usize = 3;
/// Undisturbed writing before the fault, and after everything is well again.
const UNDISTURBED: Duration = Duration::from_secs(2);
/// How long the host stays without power.
const WITHOUT_POWER: Duration = Duration::from_secs(15);
/// How long after the power is gone an answer may still be on its way.
const ECHO: Duration = Duration::from_millis(500);
/// How long anything may take that is not measured.
const PATIENCE: Duration = Duration::from_secs(75);
/// How often somebody looks who waits.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What leads clients to hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leads {
    /// keepalived, by VRRP on the hosts themselves.
    Keepalived,
    /// HAProxy, in front of them.
    Haproxy,
}

impl Leads {
    /// Its program; nothing, and said aloud, if it is not installed.
    fn program(self) -> Option<PathBuf> {
        let name = match self {
            Self::Keepalived => "keepalived",
            Self::Haproxy => "haproxy",
        };
        let works = |path: &PathBuf| {
            let mut command = Command::new(path);
            let quiet = command.arg("-v").stdout(Stdio::null()).stderr(Stdio::null());
            quiet.status().is_ok_and(|status| status.success())
        };
        // Debian keeps them where only root looks.
        let found =
            [PathBuf::from(name), Path::new("/usr/sbin").join(name)].into_iter().find(works);
        if found.is_none() {
            crate::skip(&format!("there is no {name} (scripts/install.sh test installs it)"));
        }
        found
    }
}

/// What came of it.
#[derive(Debug)]
pub struct Led {
    /// What the client was told, and what is there; or why that cannot be said.
    pub judged: Result<Judged, String>,
    /// The longest time without an acknowledged write, from the fault on.
    pub gap: Duration,
    /// Writes that were acknowledged while the host was without power.
    pub meanwhile: usize,
    /// Connections of the client that broke.
    pub disconnects: u64,
    /// Whether everything was well again at the end; if not, what was not.
    pub settled: Result<Duration, String>,
    /// What the fleet says of itself at the end.
    pub log: String,
}

/// A client writes at one address while the host that serves it loses its power; nothing if this machine
/// cannot do that.
///
/// # Panics
/// If not even an unbroken site can be had.
pub fn one_address(by: Leads) -> Option<Led> {
    let program = by.program().filter(|_| super::possible())?;
    let more = format!("[endpoints]\nfloating = [\"{FLOATING}\"]\n");
    let mut site = Site::fleet_with(&more);
    site.new_group("sync");
    let port = site.target(OUTSIDE).port();
    let (target, serving) = match by {
        Leads::Keepalived => site.float(&program, port),
        Leads::Haproxy => site.balance(&program, port),
    };
    if site.primary() == Some(serving) {
        // What is measured is the way to the group, not its failover.
        let heir = site.replicas().into_iter().find(|host| *host != serving);
        site.switch_over(heir.unwrap_or_else(|| panic!("no other host has a copy")));
    }
    site.settle(PATIENCE).unwrap_or_else(|why| panic!("the site is not well: {why}"));
    let origin = Instant::now();
    let plan = WriterPlan {
        number: 1,
        namespace: site.namespace(OUTSIDE).to_owned(),
        target: Target::Endpoint(target),
        wait: false,
        origin,
    };
    let writer = Writer::start(plan);
    // waits: a stretch of undisturbed writing.
    std::thread::sleep(UNDISTURBED);
    let struck = Instant::now();
    site.kill_host(serving);
    if by == Leads::Keepalived {
        // A machine without power does not answer for its addresses either.
        ip(&format!("-n {} addr del {FLOATING}/32 dev eth0", site.namespace(serving)));
    }
    // waits: the fault's own length.
    std::thread::sleep(WITHOUT_POWER);
    let back = Instant::now();
    site.start_host(serving);
    let settled = site.settle(PATIENCE);
    // waits: a stretch of undisturbed writing, also with a host that is back.
    std::thread::sleep(UNDISTURBED);
    let history = writer.stop();
    let gap = history.gap(since(origin, struck), since(origin, Instant::now()));
    let meanwhile = history.acked_between(since(origin, struck + ECHO), since(origin, back));
    let disconnects = history.disconnects;
    let histories = [history];
    let found = read_back(site.namespace(OUTSIDE), &site.target(OUTSIDE), &histories);
    let judged = found.map(|found| judge(&histories, &found));
    Some(Led { judged, gap, meanwhile, disconnects, settled, log: site.what_it_says() })
}

impl Site {
    /// Lets keepalived move an address between the hosts of the control plane; where clients dial then, and
    /// the host that has it.
    fn float(&mut self, keepalived: &Path, port: u16) -> (SocketAddr, usize) {
        for host in 0..SERVERS {
            let dir = self.dir(host);
            let file = dir.join("keepalived.conf");
            // With equal ones a run of five took 6.7 seconds.
            let priority = 150 - 50 * host;
            let Host { name, address, .. } = &self.hosts[host];
            let text = keepalived_file(name, *address, port, priority);
            std::fs::write(&file, text).unwrap_or_else(|err| panic!("{}: {err}", file.display()));
            let own = |name: &str| dir.join(name).display().to_string();
            let args = ["-n", "-l", "-D", "-P", "-f", &own("keepalived.conf")];
            let args = args.into_iter().map(str::to_owned);
            let pids = ["-p".to_owned(), own("keepalived.pid"), "-r".to_owned(), own("vrrp.pid")];
            self.run(host, "keepalived", keepalived, args.chain(pids).collect());
        }
        let has = |host: &usize| {
            let mut command = Command::new("ip");
            let shown = command.args(["-n", self.namespace(*host), "-4", "addr"]).output();
            let shown = shown.map(|shown| String::from_utf8_lossy(&shown.stdout).into_owned());
            shown.is_ok_and(|shown| shown.contains(&format!("{FLOATING}/32")))
        };
        let at = SocketAddr::from((FLOATING, port));
        let serving = self.until("somebody has the address", || (0..SERVERS).find(has));
        self.until("the address leads to the group", || self.leads(at));
        (at, serving)
    }

    /// Lets HAProxy lead clients to the hosts of the control plane; where they dial then, and the host that
    /// serves them.
    fn balance(&mut self, haproxy: &Path, port: u16) -> (SocketAddr, usize) {
        let file = self.dir(OUTSIDE).join("haproxy.cfg");
        let at = SocketAddr::from((self.hosts[OUTSIDE].address, PORT));
        let mut text = format!(
            "defaults\n    mode tcp\n    timeout connect 1s\n    timeout client 1h\n    \
             timeout server 1h\nlisten web\n    bind {at}\n    balance first\n    \
             default-server check inter 500ms fall 2 rise 2 on-marked-down shutdown-sessions\n"
        );
        for host in &self.hosts[..SERVERS] {
            text += &format!("    server {} {}:{port}\n", host.name, host.address);
        }
        std::fs::write(&file, text).unwrap_or_else(|err| panic!("{}: {err}", file.display()));
        let args = vec!["-db".to_owned(), "-f".to_owned(), file.display().to_string()];
        self.run(OUTSIDE, "haproxy", haproxy, args);
        self.until("the balancer leads to the group", || self.leads(at));
        // It fills the first one that is well before it uses the next.
        (at, 0)
    }

    /// Whether somebody who dials this from outside is answered.
    fn leads(&self, at: SocketAddr) -> Option<()> {
        let ask = async || {
            let mut stream = TcpStream::connect(at).await.ok()?;
            stream.write_all(b"PING\r\n").await.ok()?;
            let mut answer = [0; 5];
            tokio::io::AsyncReadExt::read_exact(&mut stream, &mut answer).await.ok()?;
            (&answer == b"+PONG").then_some(())
        };
        let ask = async || tokio::time::timeout(Duration::from_secs(1), ask()).await.ok().flatten();
        inside(self.namespace(OUTSIDE), ask)
    }

    fn until<T>(&self, what: &str, look: impl Fn() -> Option<T>) -> T {
        let started = Instant::now();
        loop {
            if let Some(found) = look() {
                return found;
            }
            assert!(started.elapsed() < PATIENCE, "{what}: never\n{}", self.what_it_says());
            // waits: neither program tells anybody.
            std::thread::sleep(LOOK_EVERY);
        }
    }
}

/// The file of docs/fleet.md.
fn keepalived_file(name: &str, address: Ipv4Addr, port: u16, priority: usize) -> String {
    format!(
        "global_defs {{
    router_id {name}
    script_user root
    enable_script_security
}}
vrrp_script tanist_proxy {{
    script \"/usr/bin/timeout 1 /usr/bin/redis-cli -h {address} -p {port} ping\"
    interval 1
    fall 2
    rise 1
}}
vrrp_instance web {{
    interface eth0
    state BACKUP
    nopreempt
    version 3
    advert_int 0.2
    virtual_router_id 51
    priority {priority}
    virtual_ipaddress {{ {FLOATING}/32 }}
    track_script {{ tanist_proxy }}
}}
"
    )
}
