//! `[store]` of a configuration file: where the state of an installation is kept, if it is etcd.
//!
//! Invariant: either etcd is somebody else's, and then it is named, or Tanist runs it, and then
//! nothing else has to be said.
//!
//! Not here: running etcd (`crate::fleet::etcd`), using it (`tanist-store`).

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tanist_store::{EtcdConfig, EtcdIdentity, EtcdTls};

use crate::failure::Failure;

/// The ports at which an etcd that Tanist runs is reached, by clients and by other members.
const CLIENT_PORT: u16 = 2379;
const PEER_PORT: u16 = 2380;
/// The lowest port that needs no rights.
const LOWEST_PORT: u16 = 1024;

/// `[store]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StoreFile {
    kind: StoreKind,
    /// Tanist runs it, on every server.
    #[serde(default)]
    managed: bool,
    #[serde(default)]
    client_port: Option<u16>,
    #[serde(default)]
    peer_port: Option<u16>,
    #[serde(default)]
    endpoints: Vec<String>,
    /// What all keys begin with; the installation's own if left out.
    #[serde(default)]
    prefix: Option<String>,
    #[serde(default)]
    ca: Option<PathBuf>,
    #[serde(default)]
    certificate: Option<PathBuf>,
    #[serde(default)]
    key: Option<PathBuf>,
    #[serde(default)]
    allow_plaintext: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum StoreKind {
    Etcd,
}

/// Where an etcd that Tanist runs is reached on each server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EtcdPorts {
    pub(crate) client: u16,
    pub(crate) peer: u16,
}

fn bad(why: impl Into<String>, remedy: &str) -> Failure {
    Failure::new("T700", why, remedy).exit(2)
}

impl StoreFile {
    /// Refuses what cannot be meant.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        let StoreKind::Etcd = self.kind;
        let named = !self.endpoints.is_empty()
            || self.prefix.is_some()
            || self.ca.is_some()
            || self.certificate.is_some()
            || self.key.is_some()
            || self.allow_plaintext;
        let ports = self.client_port.is_some() || self.peer_port.is_some();
        let why = match (self.managed, named, ports) {
            (true, true, _) => "[store] is managed and names an etcd of somebody else's too",
            (false, _, true) => "[store] has ports of an etcd that Tanist does not run",
            (false, _, _) if self.endpoints.is_empty() => {
                "[store] says neither managed = true nor where etcd is (endpoints)"
            }
            _ => return self.check_ports(),
        };
        Err(bad(why, "docs/fleet.md shows both ways; choose one"))
    }

    fn check_ports(&self) -> Result<(), Failure> {
        let EtcdPorts { client, peer } = self.ports();
        if client != peer && client.min(peer) >= LOWEST_PORT {
            return Ok(());
        }
        let why = format!("etcd's ports {client} and {peer} cannot be used");
        Err(bad(why, "give two different ones of 1024 or more in [store]"))
    }

    /// The ports of the etcd that Tanist runs; nothing if it is somebody else's.
    pub(crate) fn managed(&self) -> Option<EtcdPorts> {
        self.managed.then(|| self.ports())
    }

    fn ports(&self) -> EtcdPorts {
        EtcdPorts {
            client: self.client_port.unwrap_or(CLIENT_PORT),
            peer: self.peer_port.unwrap_or(PEER_PORT),
        }
    }

    /// How somebody else's etcd is reached; files are named from where the configuration `file` is.
    pub(crate) fn etcd(&self, file: &Path, installation: &str) -> Result<EtcdConfig, Failure> {
        let mut config = EtcdConfig::new(self.endpoints.clone(), self.prefix(installation));
        config.allow_plaintext = self.allow_plaintext;
        let read = |path: &Path| {
            let path = beside(file, path);
            std::fs::read(&path).map_err(|err| {
                bad(format!("[store]: {}: {err}", path.display()), "correct the file's [store]")
            })
        };
        if let Some(ca) = &self.ca {
            let identity = match (&self.certificate, &self.key) {
                (Some(certificate), Some(key)) => {
                    Some(EtcdIdentity { certificate: read(certificate)?, key: read(key)? })
                }
                (None, None) => None,
                _ => {
                    let why = "[store] has a certificate without a key, or a key alone";
                    return Err(bad(why, "give both or none"));
                }
            };
            config.tls = Some(EtcdTls { ca: read(ca)?, identity });
        }
        Ok(config)
    }

    /// What all keys of the installation begin with.
    pub(crate) fn prefix(&self, installation: &str) -> String {
        self.prefix.clone().unwrap_or_else(|| prefix(installation))
    }

    /// The same, with every file named in full, so that it can be kept elsewhere.
    pub(crate) fn settled(&self, file: &Path, installation: &str) -> Self {
        let full = |path: &Option<PathBuf>| path.as_deref().map(|path| beside(file, path));
        Self {
            prefix: Some(self.prefix(installation)),
            ca: full(&self.ca),
            certificate: full(&self.certificate),
            key: full(&self.key),
            ..self.clone()
        }
    }

    /// Where it is, in words.
    pub(crate) fn place(&self) -> String {
        self.endpoints.join(", ")
    }
}

/// What all keys of an installation begin with that says nothing else.
pub(crate) fn prefix(installation: &str) -> String {
    format!("/tanist/{installation}/")
}

fn beside(file: &Path, path: &Path) -> PathBuf {
    file.parent().map_or_else(|| path.to_owned(), |dir| dir.join(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> StoreFile {
        toml::from_str(&format!("kind = \"etcd\"\n{text}")).unwrap()
    }

    #[test]
    fn either_tanist_runs_etcd_or_it_is_named() {
        let managed = read("managed = true\n");
        managed.check().unwrap();
        assert_eq!(managed.managed(), Some(EtcdPorts { client: 2379, peer: 2380 }));
        let moved = read("managed = true\nclient_port = 12379\npeer_port = 12380\n");
        moved.check().unwrap();
        assert_eq!(moved.managed(), Some(EtcdPorts { client: 12_379, peer: 12_380 }));
        let named = read("endpoints = [\"http://127.0.0.1:2379\"]\n");
        named.check().unwrap();
        assert_eq!(named.managed(), None);
        for (text, why) in [
            ("", "neither managed"),
            ("managed = true\nendpoints = [\"http://127.0.0.1:2379\"]\n", "somebody else's too"),
            ("managed = true\nca = \"ca.pem\"\n", "somebody else's too"),
            ("endpoints = [\"http://127.0.0.1:2379\"]\npeer_port = 2380\n", "does not run"),
            ("managed = true\npeer_port = 2379\n", "cannot be used"),
            ("managed = true\nclient_port = 79\n", "cannot be used"),
        ] {
            let refused = read(text).check().unwrap_err();
            assert!(refused.message.contains(why), "{text:?}: {}", refused.message);
            assert_eq!((refused.code.as_str(), refused.exit), ("T700", 2));
        }
    }

    #[test]
    fn what_is_kept_elsewhere_names_its_files_in_full() {
        let store = read("endpoints = [\"https://a:2379\"]\nca = \"ca.pem\"\n");
        let settled = store.settled(Path::new("/etc/tanist/tanist.toml"), "abc");
        assert_eq!(settled.ca.as_deref(), Some(Path::new("/etc/tanist/ca.pem")));
        assert_eq!(settled.prefix.as_deref(), Some("/tanist/abc/"));
        assert_eq!(settled.settled(Path::new("/elsewhere/x"), "other"), settled);
    }
}
