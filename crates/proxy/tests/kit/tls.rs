//! Certificates of a test's own, and a client that encrypts.

use std::net::SocketAddr;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tanist_core::model::ClientCertificates;
use tanist_link::wire::{Certificate, PrivateKey, ToProxy};
use tanist_resp::Connection;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{LIMIT, World};

pub type Tls = Connection<TlsStream<TcpStream>>;

/// An authority.
pub struct Ca {
    issuer: Issuer<'static, KeyPair>,
    pub pem: String,
}

impl Ca {
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.distinguished_name.push(DnType::CommonName, "a test's authority");
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// A certificate and its key for the names.
    pub fn issue(&self, names: &[&str], usage: ExtendedKeyUsagePurpose) -> (String, String) {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }

    /// What a controller tells a proxy.
    pub fn certificate(&self, name: &str, clients: ClientCertificates) -> ToProxy {
        let (chain, key) = self.issue(&[name], ExtendedKeyUsagePurpose::ServerAuth);
        ToProxy::Certificate(Box::new(Certificate {
            group: "web".into(),
            chain,
            key: PrivateKey(key),
            clients,
            authority: self.pem.clone(),
        }))
    }

    /// A client that trusts it and may show a certificate.
    pub fn client(&self, shown: Option<(String, String)>) -> Client {
        self.client_of(shown, rustls::ALL_VERSIONS)
    }

    pub fn client_of(
        &self,
        shown: Option<(String, String)>,
        versions: &[&'static rustls::SupportedProtocolVersion],
    ) -> Client {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.pem.as_bytes()).unwrap()).unwrap();
        let builder =
            ClientConfig::builder_with_protocol_versions(versions).with_root_certificates(roots);
        let config = match shown {
            None => builder.with_no_client_auth(),
            Some((chain, key)) => {
                let chain = CertificateDer::from_pem_slice(chain.as_bytes()).unwrap();
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
                builder.with_client_auth_cert(vec![chain], key).unwrap()
            }
        };
        Client(TlsConnector::from(Arc::new(config)))
    }
}

/// A client.
#[derive(Clone)]
pub struct Client(TlsConnector);

impl Client {
    /// Dials an endpoint by a name.
    pub async fn dial(&self, address: SocketAddr, name: &str) -> std::io::Result<Tls> {
        self.dial_raw(address, name).await.map(Connection::from_stream)
    }

    /// The same, for who writes and reads bytes.
    pub async fn dial_raw(
        &self,
        address: SocketAddr,
        name: &str,
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let dial = async {
            let socket = TcpStream::connect(address).await?;
            socket.set_nodelay(true)?;
            self.0.connect(name, socket).await
        };
        timeout(LIMIT, dial).await.expect("a handshake ends")
    }
}

impl World {
    /// Another transit from now on.
    pub async fn transit(&mut self, transit: tanist_core::model::Transit) {
        self.route.transit = transit;
        self.publish();
        self.obeyed().await;
    }
}
