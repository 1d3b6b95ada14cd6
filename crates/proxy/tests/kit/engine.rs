//! A real engine, and what an agent does to it.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Command as Process, Stdio};
use std::time::Duration;

use tanist_core::model::Epoch;
use tanist_link::wire::{lane_label, lane_user};
use tanist_resp::{Command, Connection, Info, Value};
use tokio::time::{sleep, timeout};

use super::{LIMIT, PROXY, free_port, secret};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Binary {
    Redis,
    Valkey,
}

pub struct Engine {
    pub name: String,
    pub address: SocketAddr,
    process: Child,
    _dir: tempfile::TempDir,
}

/// What a lane's user may not do, as agents create it.
const RULES: &str = "~* &* +@all -replicaof -slaveof -sync -psync -replconf -failover -shutdown \
    -debug -module -config -save -bgsave -bgrewriteaof -migrate -acl +acl|whoami +acl|cat \
    +acl|genpass +acl|dryrun -cluster|addslots -cluster|bumpepoch -cluster|delslots \
    -cluster|failover -cluster|flushslots -cluster|forget -cluster|meet -cluster|replicate \
    -cluster|reset -cluster|saveconfig -cluster|set-config-epoch -cluster|setslot -client|pause \
    -client|unpause";

impl Engine {
    pub async fn start(binary: Binary, name: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let port = free_port(Ipv4Addr::LOCALHOST);
        let config = dir.path().join("engine.conf");
        let text = format!(
            "bind 127.0.0.1\nport {port}\nsave \"\"\nappendonly no\ndir {}\nlogfile engine.log\n\
             repl-diskless-sync-delay 0\nrepl-ping-replica-period 1\nrepl-timeout 60\n\
             masteruser tanist\nmasterauth secret\nuser default off\n\
             user tanist on >secret ~* &* +@all\n",
            dir.path().display()
        );
        std::fs::write(&config, text).unwrap();
        let program = match binary {
            Binary::Redis => "redis-server",
            Binary::Valkey => "valkey-server",
        };
        let process = Process::new(program)
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let engine = Self { name: name.to_owned(), address, process, _dir: dir };
        engine.until("it answers", |_| true).await;
        engine
    }

    /// Asks as an agent; `None` while it does not answer.
    pub async fn try_admin(&self, words: &[&str]) -> Option<Value> {
        let second = Duration::from_secs(1);
        let mut engine = Connection::connect(self.address, second).await.ok()?;
        let auth = Command::new("AUTH").arg("tanist").arg("secret");
        let command = Command::new(words[0]).args(&words[1..]);
        engine.pipeline(&[auth, command], second).await.ok()?.pop()
    }

    pub async fn admin(&self, words: &[&str]) -> Value {
        let value = self.try_admin(words).await.unwrap();
        assert!(!matches!(value, Value::Error(_)), "{words:?}: {value:?}");
        value
    }

    pub async fn info(&self) -> Info {
        let text = self.admin(&["INFO"]).await;
        Info::parse(text.as_str().unwrap())
    }

    pub async fn offset(&self) -> u64 {
        self.info().await.get_u64("master_repl_offset").unwrap()
    }

    pub async fn until(&self, what: &str, is: impl Fn(&Info) -> bool) {
        let poll = async {
            loop {
                if let Some(text) = self.try_admin(&["INFO"]).await
                    && text.as_str().is_some_and(|text| is(&Info::parse(text)))
                {
                    return;
                }
                // waits: an engine announces nothing.
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(LIMIT, poll)
            .await
            .unwrap_or_else(|_| panic!("{}: waiting until {what}", self.name));
    }

    pub async fn until_offset(&self, target: u64) {
        self.until("it has caught up", |info| {
            info.get_u64("slave_repl_offset").is_some_and(|offset| offset >= target)
        })
        .await;
    }

    /// Attaches it to a primary under a tag.
    pub async fn follow(&self, primary: &Self, tag: &str) {
        self.admin(&["CONFIG", "SET", "replica-announce-ip", tag]).await;
        let port = primary.address.port().to_string();
        self.admin(&["REPLICAOF", "127.0.0.1", &port]).await;
        self.until("it is linked", |info| info.get("master_link_status") == Some("up")).await;
        let tag = tag.to_owned();
        primary
            .until("the replica is online", |info| {
                info.replicas().iter().any(|seen| seen.ip == tag && seen.state == "online")
            })
            .await;
    }

    /// Creates the proxy's user of an epoch.
    pub async fn lane(&self, epoch: Epoch) {
        self.lane_with(epoch, RULES).await;
    }

    /// Creates it with rights of its own.
    pub async fn lane_with(&self, epoch: Epoch, rules: &str) {
        let label = lane_label(&"web".into(), &"0001".into(), epoch, &PROXY.into());
        let user = lane_user(epoch, &PROXY.into());
        let hash = format!("#{}", secret().password_hash(&label));
        let mut words = vec!["ACL", "SETUSER", &user, "reset", "on", &hash];
        words.extend(rules.split(' ').filter(|word| !word.is_empty()));
        self.admin(&words).await;
    }

    /// Deletes it.
    pub async fn no_lane(&self, epoch: Epoch) {
        self.admin(&["ACL", "DELUSER", &lane_user(epoch, &PROXY.into())]).await;
    }

    pub fn signal(&self, signal: &str) {
        let pid = self.process.id().to_string();
        let status = Process::new("kill").args([signal, &pid]).status().unwrap();
        assert!(status.success());
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
