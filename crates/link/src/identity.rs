//! Who somebody at the other end of a connection is.
//!
//! Names are in the certificates that the fleet's authority has issued; they are made here, so that
//! who issues them and who asks for them agree. They end in a domain that nobody resolves.
//!
//! Invariant: nobody has a name that the authority has not vouched for. On a unix socket everybody is
//! its owner.
//!
//! Not here: who may do what (`tanist`).

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::client::verify_server_name;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::ParsedCertificate;
use tanist_core::model::{HostId, ProxyId};

/// The name of those who may do everything.
pub const ADMIN_NAME: &str = "admin.tanist";
/// What the name of a host's proxy begins with.
const PROXY: &str = "proxy-";

/// A host's name as one of the fleet's: its agent, its supervisor and its proxy have it.
pub fn host_name(host: &HostId) -> String {
    format!("{host}.host.tanist")
}

/// A host's proxy.
pub fn proxy_of(host: &HostId) -> ProxyId {
    ProxyId::new(format!("{PROXY}{host}"))
}

/// The host of a fleet's proxy; nothing for one that has another kind of name.
pub fn host_of(proxy: &ProxyId) -> Option<HostId> {
    proxy.as_str().strip_prefix(PROXY).map(HostId::new)
}

/// A host's name as one of those that may lead.
pub fn server_name(host: &HostId) -> String {
    format!("{host}.server.tanist")
}

/// Who sent a request that came over the network.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Where it is.
    pub address: SocketAddr,
    certificate: Option<Arc<CertificateDer<'static>>>,
}

impl Peer {
    /// Who has shown this certificate, which was found to be good; nobody, if it is none.
    pub(crate) fn new(address: SocketAddr, certificate: Option<CertificateDer<'static>>) -> Self {
        Self { address, certificate: certificate.map(Arc::new) }
    }

    /// Whether it has shown no certificate.
    pub fn is_nobody(&self) -> bool {
        self.certificate.is_none()
    }

    /// Whether it has this name.
    pub fn is(&self, name: &str) -> bool {
        let Some(certificate) = &self.certificate else { return false };
        let Ok(parsed) = ParsedCertificate::try_from(&**certificate) else { return false };
        ServerName::try_from(name).is_ok_and(|name| verify_server_name(&parsed, &name).is_ok())
    }
}
