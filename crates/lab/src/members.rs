//! A fleet's authority for tests, and what its members dial and accept with.
//!
//! Not here: how a host gets its certificate (`tanist`).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::{ClientConfig, ServerConfig};
use tanist_tls::{Authority, Identity, MemberKey, accepting, dialling, joining};
use tempfile::TempDir;

/// The members of a fleet, by their names.
#[derive(Debug)]
pub struct Members {
    _dir: TempDir,
    authority: Authority,
    key: MemberKey,
}

impl Default for Members {
    fn default() -> Self {
        Self::new()
    }
}

impl Members {
    /// A fleet with an authority of its own.
    ///
    /// # Panics
    /// If none can be made.
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap_or_else(|err| panic!("a directory: {err}"));
        let authority = Authority::load_or_create(&dir.path().join("fleet"));
        let authority = authority.unwrap_or_else(|err| panic!("an authority: {err}"));
        let key = MemberKey::load_or_create(&dir.path().join("member.key"));
        let key = key.unwrap_or_else(|err| panic!("a key: {err}"));
        Self { _dir: dir, authority, key }
    }

    /// How a member with these names accepts.
    ///
    /// # Panics
    /// If the names cannot be in a certificate.
    pub fn accepting(&self, names: &[&str]) -> Arc<ServerConfig> {
        let (chain, key) = self.certificate(names);
        let config = accepting(self.authority.pem(), Identity { chain: &chain, key: &key });
        config.unwrap_or_else(|err| panic!("accepting: {err}"))
    }

    /// How a member with these names dials.
    ///
    /// # Panics
    /// If the names cannot be in a certificate.
    pub fn dialling(&self, names: &[&str]) -> Arc<ClientConfig> {
        let (chain, key) = self.certificate(names);
        let config = dialling(self.authority.pem(), Identity { chain: &chain, key: &key });
        config.unwrap_or_else(|err| panic!("dialling: {err}"))
    }

    /// How somebody dials who is to join.
    ///
    /// # Panics
    /// If that cannot be.
    pub fn joining(&self) -> Arc<ClientConfig> {
        joining(&self.authority.fingerprint()).unwrap_or_else(|err| panic!("joining: {err}"))
    }

    fn certificate(&self, names: &[&str]) -> (String, String) {
        let names: BTreeSet<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let made = self.authority.member("test", &names, &self.key.public(), SystemTime::now());
        let (chain, _) = made.unwrap_or_else(|err| panic!("a certificate: {err}"));
        (chain, self.key.pem())
    }
}
