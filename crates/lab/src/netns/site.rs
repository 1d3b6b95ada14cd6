//! Hosts, what runs on them, and the faults that they may have.
//!
//! Invariant: a fault is in force when its method returns; `restore` ends every one of them.
//!
//! Not here: what Tanist is asked (`super::fleet`), what Sentinel is asked (`super::peer`).

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::filter::Filter;
use super::fleet::Fleet;
use super::ground::{self, Ground};
use super::peer::Peer;
use super::programs::{Program, Programs, end};
use super::writer::Target;
use crate::processes::signal;

/// Name, zone and address of every host; the first three hold the control plane.
const HOSTS: [(&str, &str, Ipv4Addr); 4] = [
    ("h1", "a", Ipv4Addr::new(10, 99, 1, 1)),
    ("h2", "b", Ipv4Addr::new(10, 99, 2, 2)),
    ("h3", "c", Ipv4Addr::new(10, 99, 3, 3)),
    ("h4", "a", Ipv4Addr::new(10, 99, 1, 4)),
];
/// How many of them hold it.
pub(super) const SERVERS: usize = 3;
/// How often somebody looks who waits.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A host.
#[derive(Debug, Clone)]
pub struct Host {
    /// Its name.
    pub name: String,
    /// Its zone.
    pub zone: String,
    /// Its address.
    pub address: Ipv4Addr,
}

/// What is under test.
#[derive(Debug)]
pub(super) enum Under {
    Nothing,
    Fleet(Fleet),
    Peer(Peer),
}

/// Hosts in namespaces of their own; dropped, nothing is left of them.
#[derive(Debug)]
pub struct Site {
    pub(super) hosts: Vec<Host>,
    pub(super) programs: Vec<Programs>,
    pub(super) under: Under,
    off: Vec<bool>,
    revived: Vec<String>,
    filter: Filter,
    ground: Ground,
    dir: tempfile::TempDir,
}

impl Site {
    /// Hosts on which nothing runs.
    ///
    /// # Panics
    /// If this machine does not let us; see [`super::possible`].
    pub fn empty() -> Self {
        let hosts: Vec<Host> = HOSTS
            .map(|(name, zone, address)| Host {
                name: name.to_owned(),
                zone: zone.to_owned(),
                address,
            })
            .to_vec();
        let ground = Ground::make(&HOSTS.map(|(name, _, address)| (name, address)));
        let dir = tempfile::Builder::new().prefix(&ground::prefix()).tempdir();
        let dir = dir.unwrap_or_else(|err| panic!("making a directory: {err}"));
        let programs = (0..hosts.len()).map(|host| Programs::new(ground.host(host))).collect();
        let off = vec![false; hosts.len()];
        let (filter, under, revived) = (Filter::default(), Under::Nothing, Vec::new());
        let site = Self { hosts, programs, under, off, revived, filter, ground, dir };
        for host in 0..site.hosts.len() {
            let dir = site.dir(host);
            std::fs::create_dir(&dir).unwrap_or_else(|err| panic!("{}: {err}", dir.display()));
        }
        site.set_filter();
        site
    }

    /// Every host.
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// Hosts of a zone.
    pub fn zone(&self, name: &str) -> Vec<usize> {
        (0..self.hosts.len()).filter(|host| self.hosts[*host].zone == name).collect()
    }

    /// The namespace of a host, as iproute2 calls it.
    pub fn namespace(&self, host: usize) -> &str {
        self.ground.host(host)
    }

    /// Runs something on a host: sockets that it opens are the host's.
    pub fn inside<T: Send>(&self, host: usize, run: impl AsyncFnOnce() -> T + Send) -> T {
        ground::inside(self.namespace(host), run)
    }

    /// A host's own directory.
    pub fn dir(&self, host: usize) -> PathBuf {
        self.dir.path().join(&self.hosts[host].name)
    }

    /// The directory of everything.
    pub fn root(&self) -> &Path {
        self.dir.path()
    }

    /// Hosts that are switched on.
    pub fn on(&self) -> Vec<usize> {
        (0..self.hosts.len()).filter(|host| !self.off[*host]).collect()
    }

    /// Cuts a host off: it hears nobody and nobody hears it.
    pub fn cut(&mut self, host: usize) {
        self.filter.cut(&self.hosts[host].name);
        self.set_filter();
    }

    /// Cuts two hosts off from each other.
    pub fn cut_between(&mut self, a: usize, b: usize) {
        self.filter.cut_between(&self.hosts[a].name, &self.hosts[b].name);
        self.set_filter();
    }

    /// Nobody hears a host any more; it hears everybody.
    pub fn mute(&mut self, host: usize) {
        self.filter.mute(&self.hosts[host].name);
        self.set_filter();
    }

    /// A host hears nobody any more; everybody hears it.
    pub fn deafen(&mut self, host: usize) {
        self.filter.deafen(&self.hosts[host].name);
        self.set_filter();
    }

    /// Loses so many of a hundred packets to and from a host.
    pub fn lose(&mut self, host: usize, percent: u8) {
        self.filter.lose(&self.hosts[host].name, percent);
        self.set_filter();
    }

    /// Lets only so many bytes a second to and from a host.
    pub fn slow(&mut self, host: usize, rate: u32) {
        self.filter.slow(&self.hosts[host].name, rate);
        self.set_filter();
    }

    /// Cuts a host off from the control plane only.
    pub fn cut_from_servers(&mut self, host: usize) {
        self.filter.cut_control(&self.hosts[host].name);
        self.set_filter();
    }

    /// Ends every fault of the network.
    pub fn heal(&mut self) {
        self.filter.heal();
        self.set_filter();
    }

    /// Ends every process of a host. Nobody hears of it: the host falls silent first, as one whose
    /// power failed. What was written but not yet on the disk is not lost, as it would be then.
    pub fn kill_host(&mut self, host: usize) {
        self.filter.switch_off(&self.hosts[host].name);
        self.set_filter();
        self.off[host] = true;
        self.programs[host].kill_all();
    }

    /// Several hosts at once.
    pub fn kill_hosts(&mut self, hosts: &[usize]) {
        for host in hosts {
            self.filter.switch_off(&self.hosts[*host].name);
            self.off[*host] = true;
        }
        self.set_filter();
        hosts.iter().for_each(|host| self.programs[*host].kill_all());
    }

    /// Switches a host on again; or lets it go on.
    pub fn start_host(&mut self, host: usize) {
        self.filter.switch_on(&self.hosts[host].name);
        self.set_filter();
        self.off[host] = false;
        self.programs[host].thaw();
        self.programs[host].start();
    }

    /// Stops every process of a host.
    pub fn freeze_host(&mut self, host: usize) {
        self.programs[host].freeze();
    }

    /// Lets a host use only so many hundredths of a processor; see [`Site::restore`].
    pub fn starve(&mut self, host: usize, percent: u32) -> bool {
        self.programs[host].starve(percent)
    }

    /// SIGKILLs one of a host's programs; [`Site::restore`] starts it again.
    pub fn kill_program(&mut self, host: usize, name: &str) {
        self.programs[host].kill(name);
    }

    /// SIGKILLs an agent, a server or a proxy, whichever chance wants, and starts it again at once.
    pub fn kill_some_role(&mut self) {
        let roles = ["agent", "server", "proxy"];
        let role = roles[rand::random_range(0..roles.len())];
        let count = if role == "server" { SERVERS } else { self.hosts.len() };
        let programs = &mut self.programs[rand::random_range(0..count)];
        if role == "proxy" {
            // Its agent starts it again.
            programs.started(role).into_iter().for_each(end);
        } else {
            programs.kill(role);
            programs.start();
        }
    }

    /// Every engine that runs.
    pub fn engines(&self) -> BTreeSet<u32> {
        self.programs.iter().flat_map(Programs::engines).collect()
    }

    /// SIGKILLs every server: those of Tanist, or the Sentinels.
    pub fn kill_servers(&mut self) {
        for programs in &mut self.programs {
            programs.kill("server");
            programs.kill("sentinel");
        }
    }

    /// SIGKILLs the primary's engine.
    ///
    /// # Panics
    /// If there is no primary.
    pub fn kill_primary(&mut self) {
        end(self.primary_engine());
    }

    /// Stops the primary's engine.
    ///
    /// # Panics
    /// If there is no primary.
    pub fn freeze_primary(&mut self) {
        signal(self.primary_engine(), Signal::STOP);
    }

    /// Ends every fault: networks pass everything, hosts and their programs run.
    pub fn restore(&mut self) {
        self.filter.heal();
        self.set_filter();
        for host in 0..self.hosts.len() {
            self.programs[host].feed();
            self.start_host(host);
        }
    }

    /// The host of the primary, as the system says that is under test.
    pub fn primary(&mut self) -> Option<usize> {
        match &self.under {
            Under::Nothing => None,
            Under::Fleet(_) => self.fleet_primary(),
            Under::Peer(_) => self.peer_primary(),
        }
    }

    /// Hosts with a copy that follows the primary.
    pub fn replicas(&mut self) -> Vec<usize> {
        match &self.under {
            Under::Nothing => Vec::new(),
            Under::Fleet(_) => self.fleet_replicas(),
            Under::Peer(_) => self.peer_replicas(),
        }
    }

    /// The host whose server leads; with Sentinel none does.
    pub fn leader(&self) -> Option<usize> {
        match &self.under {
            Under::Fleet(_) => self.fleet_leader(),
            Under::Nothing | Under::Peer(_) => None,
        }
    }

    /// Hosts of the control plane.
    pub fn servers(&self) -> Vec<usize> {
        (0..SERVERS).collect()
    }

    /// How often the primary's role has moved.
    pub fn epoch(&self) -> u64 {
        match &self.under {
            Under::Nothing => 0,
            Under::Fleet(_) => self.fleet_epoch(),
            Under::Peer(_) => self.peer_epoch(),
        }
    }

    /// Whether everything is as it should be: one primary, and every replica follows it.
    ///
    /// # Errors
    /// What is not.
    pub fn settled(&mut self) -> Result<(), String> {
        match &self.under {
            Under::Nothing => Ok(()),
            Under::Fleet(_) => self.fleet_settled(),
            Under::Peer(_) => self.peer_settled(),
        }
    }

    /// Starts programs again that have ended by themselves, on hosts that are on.
    pub(super) fn revive(&mut self) {
        for host in self.on() {
            let names = self.programs[host].revive();
            let name = &self.hosts[host].name;
            self.revived.extend(names.iter().map(|program| format!("{program} of {name}")));
        }
    }

    /// Programs that have ended by themselves, which none should, and were started again.
    pub fn revived(&self) -> &[String] {
        &self.revived
    }

    /// Waits until it is so; how long that took. Meanwhile programs that end by themselves are started
    /// again.
    ///
    /// # Errors
    /// What is not as it should be after `limit`.
    pub fn settle(&mut self, limit: Duration) -> Result<Duration, String> {
        let started = Instant::now();
        loop {
            self.revive();
            match self.settled() {
                Ok(()) => return Ok(started.elapsed()),
                Err(why) if started.elapsed() > limit => return Err(why),
                Err(_) => {}
            }
            // waits: neither system has an event for "everything is well".
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// What a client on a host dials.
    pub fn target(&self, host: usize) -> Target {
        match &self.under {
            Under::Nothing => Target::Sentinels(Vec::new()),
            Under::Fleet(fleet) => fleet.target(&self.hosts[host]),
            Under::Peer(_) => self.peer_target(host),
        }
    }

    /// What helps to understand a run that went wrong.
    pub fn what_it_says(&self) -> String {
        match &self.under {
            Under::Fleet(_) => self.fleet_says(),
            Under::Nothing | Under::Peer(_) => String::new(),
        }
    }

    fn primary_engine(&mut self) -> u32 {
        let found = match &self.under {
            Under::Nothing => None,
            Under::Fleet(_) => self.fleet_engine(),
            Under::Peer(_) => self.peer_primary().and_then(|host| self.programs[host].pid("redis")),
        };
        found.unwrap_or_else(|| panic!("no primary runs"))
    }

    /// Adds a program to a host, with a directory of the host for it.
    pub(super) fn run(
        &mut self,
        host: usize,
        name: &'static str,
        program: &Path,
        args: Vec<String>,
    ) {
        let log = self.dir(host).join(format!("{name}.out"));
        let program = Program { name, program: program.to_owned(), args, log };
        self.programs[host].add(program);
    }

    fn set_filter(&self) {
        ground::filter(self.ground.bridge(), &self.filter.script());
    }
}
