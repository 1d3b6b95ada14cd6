//! Starting etcd: the program, what has to be free for it, and how it is told what it is.
//!
//! It is told everything by arguments, which hold no secret, and nothing by its environment.
//!
//! Invariant: what cannot work is found out before anything is started, and says what to do.
//!
//! Not here: when it is started (`super::keeper`).

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use tanist_core::quorum::{Begin, Listed};

use super::{Place, ROLE, Site, cannot_certify};
use crate::failure::Failure;
use crate::{engines, spawn};

/// Where Debian has it, for whoever starts us without a PATH.
const USUAL: &str = "/usr/bin/etcd";
/// The largest size of its database, in bytes. The store forgets all but a minute of its history, so
/// that it stays far below.
const QUOTA_BYTES: u64 = 2 << 30;
/// Entries of the log after which it is replaced by a snapshot.
const SNAPSHOT_COUNT: u32 = 10_000;

/// How often etcd's leader says that it is there, and after how long without a word another member
/// wants to lead, in milliseconds. Members are in one region; with etcd's own 1000 a fleet that loses
/// both leaders at once would wait for etcd alone for up to two seconds. `--pre-vote` sees to it that
/// a member that hears late disturbs nobody.
const HEARTBEAT_MS: u32 = 50;
const ELECTION_MS: u32 = 500;

/// The program.
pub(super) fn program() -> Result<PathBuf, Failure> {
    let usual = || Some(PathBuf::from(USUAL)).filter(|path| path.exists());
    let found = engines::named("TANIST_ETCD").or_else(|| engines::on_path("etcd")).or_else(usual);
    found.ok_or_else(|| {
        let message = "etcd is not installed, and this server is to run one: none is on PATH";
        let remedy = "install it: apt install etcd-server (and do not let systemd start it)";
        Failure::new("T720", message, remedy)
    })
}

impl Site<'_> {
    /// Refuses ports that somebody else has.
    pub(super) fn ports_are_free(&self) -> Result<(), Failure> {
        for at in self.listens() {
            match TcpListener::bind(at) {
                Ok(_) => {}
                Err(err) if err.kind() == ErrorKind::AddrInUse => {
                    let message = format!("etcd cannot listen at {at}: something else does");
                    let remedy = "end it (systemctl disable --now etcd), or set client_port and \
                                  peer_port in [store] on every server";
                    return Err(Failure::new("T721", message, remedy));
                }
                Err(err) => {
                    let message = format!("etcd cannot listen at {at}: {err}");
                    return Err(Failure::new("T721", message, "correct the host's address"));
                }
            }
        }
        Ok(())
    }

    /// Gives the member another certificate. etcd reads the files at every handshake.
    pub(super) fn certify(&self, place: &Place) -> Result<(), Failure> {
        let authority = self.authority()?;
        let names = BTreeSet::from([self.address.to_string()]);
        let key = place.key()?;
        let made = authority.member(
            self.member.is.host.as_str(),
            &names,
            &key.public(),
            SystemTime::now(),
        );
        let (chain, _) = made.map_err(|err| cannot_certify(&err))?;
        place.certify(&chain, authority.pem())
    }

    /// Starts it. `list`: the members that the cluster has, for one that joins.
    pub(super) fn start(
        &self,
        place: &Place,
        begin: Option<Begin>,
        list: &[Listed],
    ) -> Result<spawn::Child, Failure> {
        let program = program()?;
        self.ports_are_free()?;
        self.certify(place)?;
        let log_path = self.member.layout.log(ROLE);
        let failed = |err: std::io::Error| {
            let message = format!("{} could not be started: {err}", program.display());
            Failure::new("T723", message, format!("see {}", log_path.display()))
        };
        spawn::etcd(&program, &self.args(place, begin, list), &log_path).map_err(failed)
    }

    fn args(&self, place: &Place, begin: Option<Begin>, list: &[Listed]) -> Vec<String> {
        let [client, peer] = self.urls();
        let name = self.member.is.host.to_string();
        let shown = |path: &Path| path.display().to_string();
        let (chain, key) = (shown(&place.chain_path()), shown(&place.key_path()));
        let authority = shown(&place.authority_path());
        // etcd compares addresses; a name is only what stands before one.
        let others = list.iter().filter(|member| member.peer != peer).map(|member| {
            let id = format!("{:x}", member.id);
            format!("{}={}", if member.name.is_empty() { &id } else { &member.name }, member.peer)
        });
        let cluster: Vec<String> =
            std::iter::once(format!("{name}={peer}")).chain(others).collect();
        let state = if begin == Some(Begin::Found) { "new" } else { "existing" };
        let pairs = [
            ("--data-dir", shown(&place.data())),
            ("--name", name),
            ("--listen-client-urls", client.clone()),
            ("--advertise-client-urls", client),
            ("--listen-peer-urls", peer.clone()),
            ("--initial-advertise-peer-urls", peer),
            ("--initial-cluster", cluster.join(",")),
            ("--initial-cluster-state", state.to_owned()),
            ("--initial-cluster-token", self.member.is.installation.clone()),
            ("--cert-file", chain.clone()),
            ("--key-file", key.clone()),
            ("--trusted-ca-file", authority.clone()),
            ("--peer-cert-file", chain),
            ("--peer-key-file", key),
            ("--peer-trusted-ca-file", authority),
            ("--quota-backend-bytes", QUOTA_BYTES.to_string()),
            ("--snapshot-count", SNAPSHOT_COUNT.to_string()),
            ("--heartbeat-interval", HEARTBEAT_MS.to_string()),
            ("--election-timeout", ELECTION_MS.to_string()),
            ("--logger", "zap".to_owned()),
        ];
        let mut args: Vec<String> =
            pairs.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]).collect();
        args.extend(
            [
                "--client-cert-auth",
                "--peer-client-cert-auth",
                "--pre-vote",
                // A host may have more addresses than the one in its certificate; whom it comes
                // from is proven by the certificate's authority, which only servers have.
                "--experimental-peer-skip-client-san-verification",
            ]
            .map(str::to_owned),
        );
        args
    }
}
