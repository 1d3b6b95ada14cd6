//! How the installation's own commands dial its endpoints.
//!
//! They trust the installation's authority, and beside it the one certificate that the controller says
//! is shown now: that is the owner's, whose authority and names nobody here knows.
//!
//! Invariant: nobody else's certificate is accepted.
//!
//! Not here: the requests that are sent then.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::{TlsError, fingerprint, provider};

/// An encrypted connection.
pub type Stream = tokio_rustls::client::TlsStream<TcpStream>;

/// Who dials: a certificate and its key, PEM.
#[derive(Clone, Copy)]
pub struct Identity<'a> {
    /// The certificate.
    pub chain: &'a str,
    /// Its key.
    pub key: &'a str,
}

impl fmt::Debug for Identity<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Identity(..)")
    }
}

impl Identity<'_> {
    /// The certificates and the key.
    pub(crate) fn read(
        self,
    ) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), TlsError> {
        let chain: Result<Vec<_>, _> =
            CertificateDer::pem_slice_iter(self.chain.as_bytes()).collect();
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes());
        Ok((chain.map_err(|err| failed(&err))?, key.map_err(|err| failed(&err))?))
    }
}

pub(crate) fn failed(err: &dyn fmt::Display) -> TlsError {
    TlsError::Trust(err.to_string())
}

/// The authority (PEM) as the only root.
pub(crate) fn roots(authority: &str) -> Result<Arc<RootCertStore>, TlsError> {
    let mut roots = RootCertStore::empty();
    let root = CertificateDer::from_pem_slice(authority.as_bytes()).map_err(|err| failed(&err))?;
    roots.add(root).map_err(|err| failed(&err))?;
    Ok(Arc::new(roots))
}

/// Whom to trust when an endpoint is dialled.
#[derive(Debug, Clone)]
pub struct Trust(Arc<ClientConfig>);

impl Trust {
    /// Trusts the authority (PEM), and the certificate with the fingerprint `shown` if there is one.
    ///
    /// # Errors
    /// [`TlsError::Trust`] if these are no certificates.
    pub fn new(
        authority: &str,
        shown: Option<String>,
        identity: Option<Identity<'_>>,
    ) -> Result<Self, TlsError> {
        let inner = WebPkiServerVerifier::builder_with_provider(roots(authority)?, provider())
            .build()
            .map_err(|err| failed(&err))?;
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|err| failed(&err))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Verifier { inner, shown }));
        let config = match identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                let (chain, key) = identity.read()?;
                builder.with_client_auth_cert(chain, key).map_err(|err| failed(&err))?
            }
        };
        Ok(Self(Arc::new(config)))
    }

    /// Dials and shakes hands; the endpoint has to be who is at this address.
    ///
    /// # Errors
    /// What the system or the handshake says, or that `deadline` has passed.
    pub async fn connect(&self, address: SocketAddr, deadline: Duration) -> io::Result<Stream> {
        let connector = TlsConnector::from(Arc::clone(&self.0));
        let dial = async {
            let socket = TcpStream::connect(address).await?;
            socket.set_nodelay(true)?;
            connector.connect(ServerName::from(address.ip()), socket).await
        };
        match timeout(deadline, dial).await {
            Ok(dialled) => dialled,
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }
}

#[derive(Debug)]
struct Verifier {
    inner: Arc<WebPkiServerVerifier>,
    shown: Option<String>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if self.shown.as_ref().is_some_and(|shown| *shown == fingerprint(end_entity)) {
            return Ok(ServerCertVerified::assertion());
        }
        self.inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}
