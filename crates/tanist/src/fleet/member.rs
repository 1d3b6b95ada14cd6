//! What makes this host a member of its fleet, and the ways that it has to the others.
//!
//! Invariant: the key never leaves the host; a certificate is replaced long before it ends, and those
//! that dial or accept use the new one from then on.
//!
//! Not here: how it is given (`super::join`), who may do what with it (`tanist-controller`).

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use tanist_core::model::HostId;
use tanist_link::api::{MemberCertificate, RenewMember};
use tanist_link::{ADMIN_NAME, Client, Secret, Servers, host_name, server_name};
use tanist_tls::{Authority, Identity, MemberKey, RENEW_AFTER_DAYS, accepting, dialling, ends};
use tokio::sync::watch;
use tracing::{info, warn};

use super::plan::{FleetPlan, Role};
use crate::config;
use crate::failure::{Failure, chain};
use crate::layout::Layout;

/// How often the certificate's file is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// How long a command waits for somebody to lead: longer than it takes when nothing else is lost.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often a certificate's age is looked at, and how soon one that could not be replaced is tried again.
const AGE_EVERY: Duration = Duration::from_secs(3600);
const RENEW_AGAIN: Duration = Duration::from_secs(60);
/// Age at which a certificate is replaced.
const RENEW_AFTER: Duration = Duration::from_secs(RENEW_AFTER_DAYS as u64 * 24 * 3600);

/// What is remembered of joining.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Membership {
    /// This host.
    pub(crate) host: HostId,
    /// The installation's id.
    pub(crate) installation: String,
    /// The configuration file.
    pub(crate) config: PathBuf,
}

/// This host as a member.
#[derive(Debug, Clone)]
pub(crate) struct Member {
    pub(crate) is: Membership,
    pub(crate) plan: FleetPlan,
    pub(crate) layout: Layout,
}

/// Something about the files that make a member.
fn broken(err: &dyn std::error::Error) -> Failure {
    Failure::caused("T703", err, "restore the file, or invite the host again and let it join")
}

impl Member {
    /// This host's membership; nothing if it is of no fleet.
    pub(crate) fn load(layout: &Layout) -> Result<Option<Self>, Failure> {
        let path = layout.membership();
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(err) if matches!(err.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                return Ok(None);
            }
            Err(err) => {
                let message = format!("{}: {err}", path.display());
                return Err(Failure::new("T703", message, "run it as the user who joined"));
            }
        };
        let is: Membership = serde_json::from_slice(&text).map_err(|err| broken(&err))?;
        let plan = FleetPlan::of(&config::read(Some(&is.config))?)?;
        Ok(Some(Self { is, plan, layout: layout.clone() }))
    }

    /// This host's membership, for what only a member does.
    pub(crate) fn need(layout: &Layout) -> Result<Self, Failure> {
        Self::load(layout)?.ok_or_else(|| {
            let message = format!("{} holds no member of a fleet", layout.root().display());
            let remedy = "tanist init on the first server, tanist join on every other host";
            Failure::new("T701", message, remedy)
        })
    }

    /// Writes down what this host is; after this it is a member.
    pub(crate) fn save(is: &Membership, layout: &Layout) -> Result<(), Failure> {
        let text = serde_json::to_string_pretty(is).map_err(|err| broken(&err))?;
        tanist_tls::write_private(&layout.membership(), &text).map_err(|err| broken(&err))
    }

    /// The host's key.
    pub(crate) fn key(layout: &Layout) -> Result<MemberKey, Failure> {
        MemberKey::load_or_create(&layout.member_key()).map_err(|err| broken(&err))
    }

    /// The fleet's authority, which only servers have.
    pub(crate) fn authority(&self) -> Result<Option<Authority>, Failure> {
        match Authority::load(&self.layout.fleet_authority()) {
            Ok(authority) => Ok(Some(authority)),
            Err(tanist_tls::TlsError::Absent(_)) => Ok(None),
            Err(err) => Err(broken(&err)),
        }
    }

    pub(crate) fn secret(&self) -> Result<Secret, Failure> {
        Secret::load_or_create(&self.layout.secret())
            .map_err(|err| Failure::caused("T612", &err, "restore the secret file from a copy"))
    }

    /// The way to the server that leads, as this host.
    pub(crate) fn client(&self) -> Result<Client, Failure> {
        let dialled = self.followed(Self::dialled)?;
        Ok(Client::fleet(Arc::new(Servers::new(self.plan.servers(&self.is.host), dialled))))
    }

    /// The way to the server that leads, as an administrator; only a server can.
    pub(crate) fn administrator(&self) -> Result<Client, Failure> {
        let Some(authority) = self.authority()? else {
            let message = format!("{} is no server: it may not administer the fleet", self.is.host);
            return Err(Failure::new("T702", message, "ask on a server"));
        };
        let key = Self::key(&self.layout)?;
        let make = move || {
            let names = BTreeSet::from([ADMIN_NAME.to_owned()]);
            let made = authority.member("admin", &names, &key.public(), SystemTime::now());
            let (chain, _) = made.map_err(|err| broken(&err))?;
            let identity = Identity { chain: &chain, key: &key.pem() };
            dialling(authority.pem(), identity).map_err(|err| broken(&err))
        };
        let (sender, receiver) = watch::channel(make()?);
        // Long before it ends, for as long as anybody dials with it.
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    () = sender.closed() => return,
                    // waits: a certificate's age is a time.
                    () = tokio::time::sleep(RENEW_AFTER) => {}
                }
                match make() {
                    Ok(next) => drop(sender.send_replace(next)),
                    Err(failure) => warn!("no certificate to administer with: {}", failure.message),
                }
            }
        });
        let servers = Servers::new(self.plan.servers(&self.is.host), receiver);
        Ok(Client::fleet(Arc::new(servers)).patient(PATIENCE))
    }

    /// How a server on this host accepts the others.
    pub(crate) fn accepts(&self) -> Result<watch::Receiver<Arc<rustls::ServerConfig>>, Failure> {
        self.followed(Self::accepted)
    }

    fn files(&self) -> Result<(String, String, MemberKey), Failure> {
        let read = |path: PathBuf| {
            std::fs::read_to_string(&path).map_err(|err| {
                let message = format!("{}: {err}", path.display());
                Failure::new("T703", message, "restore the file, or let the host join again")
            })
        };
        let chain = read(self.layout.member_chain())?;
        Ok((chain, read(self.layout.member_authority())?, Self::key(&self.layout)?))
    }

    /// When this host's certificate ends; a failure if it is not one that others believe.
    pub(crate) fn certificate_ends(&self) -> Result<SystemTime, Failure> {
        let key = self.layout.member_key();
        if !key.exists() {
            // It would be made, and looking changes nothing.
            let message = format!("{} is not there", key.display());
            return Err(Failure::new(
                "T703",
                message,
                "restore the file, or let the host join again",
            ));
        }
        // The key is the certificate's own.
        self.dialled()?;
        let (chain, authority, _) = self.files()?;
        let until = |name: &String| ends(&chain, &authority, name, SystemTime::now());
        let names = Self::names(&self.plan, &self.is.host)?;
        let all: Result<Vec<_>, _> = names.iter().map(until).collect();
        let earliest = all.map_err(|err| broken(&err))?.into_iter().min();
        earliest.ok_or_else(|| Failure::new("T703", "the host has no name", "let it join again"))
    }

    fn dialled(&self) -> Result<Arc<rustls::ClientConfig>, Failure> {
        let (chain, authority, key) = self.files()?;
        let identity = Identity { chain: &chain, key: &key.pem() };
        dialling(&authority, identity).map_err(|err| broken(&err))
    }

    fn accepted(&self) -> Result<Arc<rustls::ServerConfig>, Failure> {
        let (chain, authority, key) = self.files()?;
        let identity = Identity { chain: &chain, key: &key.pem() };
        accepting(&authority, identity).map_err(|err| broken(&err))
    }

    /// What is made from the certificate, now and whenever its file has changed.
    fn followed<T: Send + Sync + 'static>(
        &self,
        make: fn(&Self) -> Result<Arc<T>, Failure>,
    ) -> Result<watch::Receiver<Arc<T>>, Failure> {
        let path = self.layout.member_chain();
        let mut known = written(&path);
        let (sender, receiver) = watch::channel(make(self)?);
        let own = self.clone();
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    () = sender.closed() => return,
                    // waits: another process may have replaced the file.
                    () = tokio::time::sleep(LOOK_EVERY) => {}
                }
                let now = written(&path);
                if now != known {
                    known = now;
                    match make(&own) {
                        Ok(next) => drop(sender.send_replace(next)),
                        Err(failure) => warn!("no use of the certificate: {}", failure.message),
                    }
                }
            }
        });
        Ok(receiver)
    }

    /// The names that a host has in its certificate.
    pub(crate) fn names(plan: &FleetPlan, host: &HostId) -> Result<BTreeSet<String>, Failure> {
        let planned = plan.host(host.as_str())?;
        let mut names = BTreeSet::from([host_name(host)]);
        if planned.is(Role::Server) {
            names.insert(server_name(host));
        }
        Ok(names)
    }

    /// Has the certificate replaced when it is old, for as long as the process lives.
    pub(crate) async fn keep_certificate(self, client: Client) {
        let client = client.patient(PATIENCE);
        loop {
            let age = written(&self.layout.member_chain()).and_then(|at| at.elapsed().ok());
            let mut pause = AGE_EVERY;
            if age.is_some_and(|age| age > RENEW_AFTER) {
                match self.renew(&client).await {
                    Ok(()) => info!("this host has a new certificate"),
                    Err(failure) => {
                        warn!("no new certificate: {}", failure.message);
                        pause = RENEW_AGAIN;
                    }
                }
            }
            // waits: a certificate's age is a time.
            tokio::time::sleep(pause).await;
        }
    }

    async fn renew(&self, client: &Client) -> Result<(), Failure> {
        let key = Self::key(&self.layout)?;
        let asked = RenewMember { host: self.is.host.clone(), key: key.public().digits() };
        let given: MemberCertificate = client.post("/link/v1/certificate", &asked).await?;
        let path = self.layout.member_chain();
        tanist_tls::write_private(&path, &given.chain).map_err(|err| broken(&err))
    }
}

/// When a file was written.
fn written(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path).and_then(|meta| meta.modified()).ok()
}

/// A failure in words, for an answer.
pub(super) fn words(failure: &Failure) -> String {
    format!("{} ({})", failure.message, failure.remedy)
}

/// An authority's two files.
pub(super) fn pair(dir: &Path) -> Result<tanist_link::api::AuthorityPair, String> {
    let read = |name: &str| {
        let path = dir.join(name);
        std::fs::read_to_string(&path).map_err(|err| format!("{}: {}", path.display(), chain(&err)))
    };
    Ok(tanist_link::api::AuthorityPair {
        certificate: read(tanist_tls::CERTIFICATE)?,
        key: read(tanist_tls::KEY)?,
    })
}
