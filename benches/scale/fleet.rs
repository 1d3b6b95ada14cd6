//! What is real: etcd, the one server that leads, and every host's certificate.
//!
//! The server is the program itself, in a directory and at an address of its own. Hosts are invited by
//! an administrator and join by the link, as `tanist host invite` and `tanist join` have it.
//!
//! Invariant: every process ends with the value that holds it.
//!
//! Not here: what the hosts say then (`super::host`).

use std::collections::BTreeSet;
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tanist_core::model::{HostId, Zone};
use tanist_lab::etcd::{EtcdCluster, EtcdPlan};
use tanist_lab::{Network, binary};
use tanist_link::api::{Invitation, JoinFleet, Welcome};
use tanist_link::{ADMIN_NAME, Client, Server, Servers};
use tanist_tls::{Authority, Identity, MemberKey, dialling, joining};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::time::sleep;

use super::host;
use super::options::Options;
use super::process;

/// The port at which the server is reached.
const LINK_PORT: u16 = 4460;
/// How long the server may take to begin.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a request of an administrator may take.
const REQUEST: Duration = Duration::from_secs(120);
/// Pause between two looks.
const AGAIN: Duration = Duration::from_millis(50);
/// Hosts in each third byte of their addresses.
const IN_BYTE: usize = 250;

/// A fleet of which only the server runs.
pub(crate) struct Fleet {
    /// The way to the leader, as an administrator.
    pub(crate) client: Client,
    server: Child,
    _dir: Option<TempDir>,
    root: PathBuf,
    network: Network,
    _etcd: EtcdCluster,
}

fn name(index: usize) -> HostId {
    HostId::new(format!("h{}", index + 1))
}

fn zone(index: usize) -> Zone {
    Zone::new(format!("us-east-1{}", ["a", "b", "c"][index % 3]))
}

impl Fleet {
    /// Starts it, and waits until the server leads.
    ///
    /// # Panics
    /// If it does not come up.
    pub(crate) async fn start(options: &Options) -> Self {
        let plan = EtcdPlan { members: options.etcd, ..EtcdPlan::default() };
        let etcd = EtcdCluster::start(plan).await;
        let network = Network::take();
        let dir = tempfile::Builder::new().prefix("tanist-scale-").tempdir();
        let dir = dir.unwrap_or_else(|err| panic!("making a directory: {err}"));
        let root = dir.path().to_owned();
        let mut text = format!(
            "region = \"us-east-1\"\n[store]\nkind = \"etcd\"\nendpoints = {:?}\n",
            etcd.endpoints()
        );
        for index in 0..options.hosts {
            let server = if index == 0 { "\"server\", " } else { "" };
            text.push_str(&format!(
                "[[host]]\nname = \"{}\"\naz = \"{}\"\naddress = \"{}\"\n\
                 roles = [{server}\"agent\", \"proxy\"]\n",
                name(index),
                zone(index),
                address(&network, index),
            ));
        }
        let file = root.join("tanist.toml");
        std::fs::write(&file, text).unwrap_or_else(|err| panic!("the file: {err}"));
        let data = root.join("h1");
        let mut init = program(&data);
        init.args(["init", "--host", "h1", "--config"]).arg(&file);
        let made = init.output().unwrap_or_else(|err| panic!("running tanist: {err}"));
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let server = serve(&root);
        let client = administrator(&data, SocketAddr::from((address(&network, 0), LINK_PORT)));
        let dir = if options.keep {
            // Whoever keeps it deletes it.
            let _ = dir.keep();
            None
        } else {
            Some(dir)
        };
        let fleet = Self { client, server, root, network, _dir: dir, _etcd: etcd };
        fleet.leads().await;
        fleet
    }

    /// Kills the server and starts it again; returns once it leads.
    ///
    /// # Panics
    /// If it does not.
    pub(crate) async fn restart(&mut self) {
        // It may have ended by itself.
        let _ = self.server.kill();
        let _ = self.server.wait();
        self.server = serve(&self.root);
        self.leads().await;
    }

    async fn leads(&self) {
        let began = Instant::now();
        while let Err(err) = self.client.get::<serde_json::Value>("/v1/events").await {
            assert!(began.elapsed() < PATIENCE, "nobody leads ({err})\n{}", self.said());
            // waits: nothing tells when a server will lead.
            sleep(AGAIN).await;
        }
    }

    /// The server's process.
    pub(crate) fn server(&self) -> u32 {
        self.server.id()
    }

    /// Those of etcd.
    pub(crate) fn etcd() -> Vec<u32> {
        process::children("etcd")
    }

    /// The last lines that the server has said.
    pub(crate) fn said(&self) -> String {
        let text = std::fs::read_to_string(self.root.join("server.out")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().rev().take(20).collect();
        lines.into_iter().rev().map(|line| format!("{line}\n")).collect()
    }

    /// Where everything lies.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// A host, once it is a member.
    ///
    /// # Panics
    /// If it is not let in.
    pub(crate) async fn member(&self, index: usize) -> host::Identity {
        let host = name(index);
        let at = SocketAddr::from((address(&self.network, 0), LINK_PORT));
        let (chain, authority, key) = if index == 0 {
            // It is the server's own.
            let data = self.root.join("h1");
            (read(&data.join("member.pem")), read(&data.join("fleet-ca.pem")), key(&data))
        } else {
            let data = self.root.join(host.as_str());
            std::fs::create_dir(&data).unwrap_or_else(|err| panic!("a directory: {err}"));
            let key = key(&data);
            let welcome = self.join(&host, &key, at).await;
            (welcome.chain, welcome.authority, key)
        };
        let identity = Identity { chain: &chain, key: &key.pem() };
        let config = dialling(&authority, identity);
        let config = config.unwrap_or_else(|err| panic!("{host}'s certificate: {err}"));
        let server = vec![Server { host: name(0), address: at }];
        let servers = Servers::new(server, watch::channel(config).1);
        let client = Client::fleet(Arc::new(servers));
        let address = address(&self.network, index);
        host::Identity { index, host, zone: zone(index), address, client }
    }

    async fn join(&self, host: &HostId, key: &MemberKey, at: SocketAddr) -> Welcome {
        let uri = format!("/v1/hosts/{host}/invite");
        let invitation: Result<Invitation, _> = self.client.post(&uri, &()).await;
        let invitation = invitation.unwrap_or_else(|err| panic!("inviting {host}: {err}"));
        let trust = joining(&invitation.authority);
        let trust = trust.unwrap_or_else(|err| panic!("{host}'s invitation: {err}"));
        let servers =
            Servers::new(vec![Server { host: name(0), address: at }], watch::channel(trust).1);
        let client = Client::fleet(Arc::new(servers)).within(REQUEST);
        let asked = JoinFleet {
            host: host.clone(),
            secret: invitation.secret.clone(),
            key: key.public().digits(),
        };
        let welcome = client.post("/link/v1/join", &asked).await;
        welcome.unwrap_or_else(|err| panic!("{host} joins: {err}"))
    }
}

fn address(network: &Network, index: usize) -> Ipv4Addr {
    let byte = |number: usize| u8::try_from(number).unwrap_or_else(|err| panic!("hosts: {err}"));
    Ipv4Addr::new(127, network.number(), byte(index / IN_BYTE), byte(index % IN_BYTE + 1))
}

fn program(data: &Path) -> Command {
    let mut command = Command::new(binary());
    command.env_remove("TANIST_DATA_DIR").arg("--data-dir").arg(data);
    command
}

/// Starts the server, which says what it says where it said it before.
fn serve(root: &Path) -> Child {
    let log = File::options().create(true).append(true).open(root.join("server.out"));
    let log = log.and_then(|log| Ok((log.try_clone()?, log)));
    let (out, err) = log.unwrap_or_else(|err| panic!("the log: {err}"));
    let mut server = program(&root.join("h1"));
    server.arg("server").stdin(Stdio::null()).stdout(out).stderr(err);
    server.spawn().unwrap_or_else(|err| panic!("starting the server: {err}"))
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|err| panic!("{}: {err}", path.display()))
}

fn key(data: &Path) -> MemberKey {
    let key = MemberKey::load_or_create(&data.join("member.key"));
    key.unwrap_or_else(|err| panic!("a key in {}: {err}", data.display()))
}

/// The way to the server, as one who may do everything.
fn administrator(data: &Path, at: SocketAddr) -> Client {
    let authority = Authority::load(&data.join("fleet"));
    let authority = authority.unwrap_or_else(|err| panic!("the fleet's authority: {err}"));
    let names = BTreeSet::from([ADMIN_NAME.to_owned()]);
    let key = key(data);
    let made = authority.member("admin", &names, &key.public(), SystemTime::now());
    let (chain, _) = made.unwrap_or_else(|err| panic!("an administrator's certificate: {err}"));
    let config = dialling(authority.pem(), Identity { chain: &chain, key: &key.pem() });
    let config = config.unwrap_or_else(|err| panic!("an administrator's certificate: {err}"));
    let servers = vec![Server { host: name(0), address: at }];
    let servers = Servers::new(servers, watch::channel(config).1);
    Client::fleet(Arc::new(servers)).patient(PATIENCE).within(REQUEST)
}

impl Drop for Fleet {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}
