//! The peer: one primary, two replicas and three Sentinels on the same hosts, as they are shipped but
//! for the time after which a silent engine counts as down.
//!
//! Invariant: the same engine binary, hosts, faults and judge as Tanist's.
//!
//! Not here: its clients (`super::writer`).

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use tanist_resp::{Command, Connection, Value};

use super::ground::inside;
use super::site::{SERVERS, Site, Under};
use super::writer::Target;

/// What the Sentinels call the group.
pub(super) const NAME: &str = "web";
const ENGINE: u16 = 6379;
const SENTINEL: u16 = 26_379;
/// How long one question may take.
const QUESTION: Duration = Duration::from_millis(400);
/// How long it may take until all know each other.
const PATIENCE: Duration = Duration::from_secs(60);

/// What is known of the peer.
#[derive(Debug)]
pub(super) struct Peer;

impl Site {
    /// The peer, with this `down-after-milliseconds`.
    ///
    /// # Panics
    /// If it does not get ready.
    pub fn peer(down_after_ms: u32) -> Self {
        let mut site = Self::empty();
        for host in 0..SERVERS {
            let conf = site.dir(host).join("redis.conf");
            site.write(&conf, &site.engine_conf(host));
            site.run(host, "redis", Path::new("redis-server"), vec![conf.display().to_string()]);
        }
        for host in 0..SERVERS {
            let conf = site.dir(host).join("sentinel.conf");
            site.write(&conf, &site.sentinel_conf(host, down_after_ms));
            let args = vec![conf.display().to_string(), "--sentinel".to_owned()];
            site.run(host, "sentinel", Path::new("redis-server"), args);
        }
        site.under = Under::Peer(Peer);
        if let Err(why) = site.settle(PATIENCE) {
            panic!("the peer does not get ready: {why}");
        }
        site
    }

    fn write(&self, path: &Path, text: &str) {
        std::fs::write(path, text).unwrap_or_else(|err| panic!("{}: {err}", path.display()));
    }

    fn engine_conf(&self, host: usize) -> String {
        let (own, first) = (self.hosts[host].address, self.hosts[0].address);
        let mut conf = format!(
            "bind {own}\nport {ENGINE}\nprotected-mode no\ndir {}\nappendonly yes\nsave \"\"\n\
             repl-diskless-sync-delay 0\n",
            self.dir(host).display()
        );
        if host > 0 {
            conf += &format!("replicaof {first} {ENGINE}\n");
        }
        conf
    }

    fn sentinel_conf(&self, host: usize, down_after_ms: u32) -> String {
        let (own, first) = (self.hosts[host].address, self.hosts[0].address);
        format!(
            "bind {own}\nport {SENTINEL}\nprotected-mode no\ndir {}\n\
             sentinel monitor {NAME} {first} {ENGINE} 2\n\
             sentinel down-after-milliseconds {NAME} {down_after_ms}\n\
             sentinel failover-timeout {NAME} 10000\n",
            self.dir(host).display()
        )
    }

    /// Every Sentinel, that of a client's own host first.
    pub(super) fn peer_target(&self, host: usize) -> Target {
        let (near, far): (Vec<usize>, Vec<usize>) = (0..SERVERS).partition(|at| *at == host);
        let all = near.into_iter().chain(far);
        let at = |host: usize| SocketAddr::from((self.hosts[host].address, SENTINEL));
        Target::Sentinels(all.map(at).collect())
    }

    /// Asks a program of a host from the host itself.
    fn ask(&self, host: usize, port: u16, command: &Command) -> Option<Value> {
        let at = SocketAddr::from((self.hosts[host].address, port));
        inside(self.namespace(host), async || {
            let mut connection = Connection::connect(at, QUESTION).await.ok()?;
            connection.call(command, QUESTION).await.ok()
        })
    }

    /// Whom most Sentinels call the primary.
    pub(super) fn peer_primary(&self) -> Option<usize> {
        let ask = Command::new("SENTINEL").arg("get-master-addr-by-name").arg(NAME);
        let mut votes: BTreeMap<usize, usize> = BTreeMap::new();
        for host in 0..SERVERS {
            let named = self.ask(host, SENTINEL, &ask).and_then(|reply| {
                let address: Ipv4Addr = reply.as_array()?.first()?.as_str()?.parse().ok()?;
                self.hosts.iter().position(|host| host.address == address)
            });
            if let Some(named) = named {
                *votes.entry(named).or_default() += 1;
            }
        }
        let (named, _) = votes.into_iter().find(|(_, votes)| *votes * 2 > SERVERS)?;
        Some(named)
    }

    pub(super) fn peer_epoch(&self) -> u64 {
        let ask = Command::new("SENTINEL").arg("master").arg(NAME);
        let epoch = |host| {
            let known = self.ask(host, SENTINEL, &ask)?;
            known.get("config-epoch")?.as_str()?.parse().ok()
        };
        (0..SERVERS).filter_map(epoch).max().unwrap_or(0)
    }

    pub(super) fn peer_replicas(&self) -> Vec<usize> {
        let primary = self.peer_primary();
        (0..SERVERS).filter(|host| Some(*host) != primary).collect()
    }

    pub(super) fn peer_settled(&self) -> Result<(), String> {
        let Some(primary) = self.peer_primary() else {
            return Err("the Sentinels do not agree".to_owned());
        };
        for host in 0..SERVERS {
            let role = self.ask(host, ENGINE, &Command::new("ROLE"));
            let role = role.as_ref().and_then(Value::as_array).unwrap_or_default();
            let text = |at: usize| role.get(at).and_then(Value::as_str).unwrap_or_default();
            let well = if host == primary {
                let followers = role.get(2).and_then(Value::as_array).unwrap_or_default();
                text(0) == "master" && followers.len() + 1 == SERVERS
            } else {
                let first = self.hosts[primary].address.to_string();
                text(0) == "slave" && text(1) == first && text(3) == "connected"
            };
            if !well {
                return Err(format!("{}: {role:?}", self.hosts[host].name));
            }
            let known = self.ask(host, SENTINEL, &Command::new("SENTINEL").arg("master").arg(NAME));
            let of = |key: &str| known.as_ref()?.get(key)?.as_str()?.parse::<usize>().ok();
            let all = of("num-slaves") == Some(SERVERS - 1)
                && of("num-other-sentinels") == Some(SERVERS - 1);
            if !all {
                return Err(format!("{}'s Sentinel does not know all", self.hosts[host].name));
            }
        }
        Ok(())
    }
}
