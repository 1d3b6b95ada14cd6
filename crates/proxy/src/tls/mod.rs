//! TLS at the endpoints: what they show, and how a connection is told apart and encrypted.
//!
//! A group has one certificate for all of its endpoints. Another one takes its place for handshakes
//! that begin from then on; connections that exist keep the one with which they began, so that a
//! renewal is nothing that a client could notice.
//!
//! Invariant: a client that did not have to show a certificate when its ticket was given cannot use the
//! ticket where one is asked for.
//!
//! Not here: making certificates (`tanist-tls`), who speaks TLS (`tanist_core::model::Transit`).

mod sealed;
#[cfg(test)]
mod tests;
mod wire;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{NoServerSessionStorage, ProducesTickets, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use tanist_core::model::{ClientCertificates, GroupName};
use tanist_link::wire::Certificate;

pub(crate) use sealed::Room;
pub(crate) use wire::{Refused, Wire};

/// Tickets for each full handshake; a client that wants more gets one with each resumption.
const TICKETS: usize = 1;

/// Why a certificate cannot be shown.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CertificateError {
    /// It is no PEM, or not what it should be.
    #[error("reading the certificate or its key: {0}")]
    Pem(#[from] pem::Error),
    /// They do not go together, or the authority is none.
    #[error("using the certificate and its key: {0}")]
    Unusable(#[from] rustls::Error),
    /// Clients' certificates cannot be judged.
    #[error("judging clients' certificates: {0}")]
    Clients(#[from] rustls::server::VerifierBuilderError),
}

/// What each group's endpoints show.
#[derive(Default)]
pub(crate) struct Certificates(RefCell<BTreeMap<GroupName, Held>>);

struct Held {
    /// As it was told.
    told: Certificate,
    tickets: Arc<dyn ProducesTickets>,
    config: Arc<ServerConfig>,
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.borrow().keys()).finish()
    }
}

impl Certificates {
    /// Shows this from now on; what was shown before stays if it cannot be used.
    pub(crate) fn learn(&self, certificate: &Certificate) -> Result<(), CertificateError> {
        let mut all = self.0.borrow_mut();
        let Certificate { group, clients, authority, .. } = certificate;
        let known = all.get(group);
        // Tickets outlive a renewal, but not a change of what clients have to show.
        let same =
            |held: &&Held| held.told.clients == *clients && held.told.authority == *authority;
        let tickets = match known.filter(same) {
            Some(held) => Arc::clone(&held.tickets),
            None => aws_lc_rs::Ticketer::new()?,
        };
        let config = Arc::new(config(certificate, Arc::clone(&tickets))?);
        all.insert(group.clone(), Held { told: certificate.clone(), tickets, config });
        Ok(())
    }

    /// What a group's endpoints show now.
    pub(crate) fn of(&self, group: &GroupName) -> Option<Arc<ServerConfig>> {
        self.0.borrow().get(group).map(|held| Arc::clone(&held.config))
    }

    /// Every certificate, as it was told.
    pub(crate) fn told(&self) -> Vec<Certificate> {
        self.0.borrow().values().map(|held| held.told.clone()).collect()
    }

    /// Forgets those of groups that do not exist.
    pub(crate) fn keep(&self, exists: impl Fn(&GroupName) -> bool) {
        self.0.borrow_mut().retain(|group, _| exists(group));
    }
}

fn config(
    certificate: &Certificate,
    tickets: Arc<dyn ProducesTickets>,
) -> Result<ServerConfig, CertificateError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?;
    let builder = match certificate.clients {
        ClientCertificates::Off => builder.with_no_client_auth(),
        asked => {
            let mut roots = RootCertStore::empty();
            roots.add(CertificateDer::from_pem_slice(certificate.authority.as_bytes())?)?;
            let judge = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            let judge = match asked {
                ClientCertificates::Optional => judge.allow_unauthenticated(),
                _ => judge,
            };
            builder.with_client_cert_verifier(judge.build()?)
        }
    };
    let chain: Result<Vec<_>, _> =
        CertificateDer::pem_slice_iter(certificate.chain.as_bytes()).collect();
    let key = PrivateKeyDer::from_pem_slice(certificate.key.0.as_bytes())?;
    let mut config = builder.with_single_cert(chain?, key)?;
    config.ticketer = tickets;
    config.send_tls13_tickets = TICKETS;
    // A ticket is kept by its client: idle sessions cost no memory here.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(config)
}
