//! How the roles of a fleet know each other.
//!
//! Every host has a key that never leaves it, and a certificate of the fleet's own authority with the
//! host's names. That authority is another one than that of endpoints: what clients trust says
//! nothing about who may give orders. A host that joins has no certificate yet; it knows the
//! authority by its fingerprint, which is in the token that it was given.
//!
//! Invariant: both ends of a connection have proven their names, except that who joins is nobody
//! yet; nothing older than TLS 1.3 is spoken.
//!
//! Not here: who may do what (`tanist`), the connections themselves (`tanist-link`).

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData, SignatureAlgorithm};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig,
    SignatureScheme,
};

use crate::files::{read, write_private};
use crate::trust::{Identity, failed, roots};
use crate::{TlsError, fingerprint, provider};

/// What is spoken on the link.
const PROTOCOL: &[u8] = b"h2";
/// Later than any certificate ends, in seconds since 1970: the last second of the year 9999.
const NEVER: u64 = 253_402_300_799;
/// Bytes of a public key: an uncompressed point of P-256.
const POINT_BYTES: usize = 65;

/// A host's key.
pub struct MemberKey(KeyPair);

impl fmt::Debug for MemberKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MemberKey(..)")
    }
}

impl MemberKey {
    /// The key in the file, or a new one there (mode 0600) if the file does not exist.
    ///
    /// # Errors
    /// [`TlsError`] if the file cannot be used.
    pub fn load_or_create(path: &Path) -> Result<Self, TlsError> {
        let damaged =
            |err: rcgen::Error| TlsError::Damaged { path: path.to_owned(), why: err.to_string() };
        if let Some(pem) = read(path)? {
            return KeyPair::from_pem(&pem).map(Self).map_err(damaged);
        }
        let key = KeyPair::generate().map_err(damaged)?;
        write_private(path, &key.serialize_pem())?;
        Ok(Self(key))
    }

    /// Its public half.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.public_key_raw().to_vec())
    }

    /// The key, PEM.
    #[must_use]
    pub fn pem(&self) -> String {
        self.0.serialize_pem()
    }
}

/// The public half of a host's key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey(Vec<u8>);

impl PublicKey {
    /// A key from its hexadecimal digits; `None` if it is no point of P-256 in its long form.
    #[must_use]
    pub fn parse(digits: &str) -> Option<Self> {
        let bytes = hex::decode(digits).ok()?;
        (bytes.len() == POINT_BYTES && bytes.first() == Some(&4)).then_some(Self(bytes))
    }

    /// As hexadecimal digits.
    #[must_use]
    pub fn digits(&self) -> String {
        hex::encode(&self.0)
    }
}

impl PublicKeyData for PublicKey {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

/// How a server accepts: whoever shows a certificate has to be of the authority (PEM); who shows none
/// is nobody.
///
/// # Errors
/// [`TlsError::Trust`] if these are no certificates or do not go together.
pub fn accepting(authority: &str, identity: Identity<'_>) -> Result<Arc<ServerConfig>, TlsError> {
    let clients = WebPkiClientVerifier::builder_with_provider(roots(authority)?, provider())
        .allow_unauthenticated()
        .build()
        .map_err(|err| failed(&err))?;
    let (chain, key) = identity.read()?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|err| failed(&err))?
        .with_client_cert_verifier(clients)
        .with_single_cert(chain, key)
        .map_err(|err| failed(&err))?;
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    Ok(Arc::new(config))
}

/// How a member of the fleet dials: the authority (PEM) has to vouch for who answers.
///
/// # Errors
/// As of [`accepting`].
pub fn dialling(authority: &str, identity: Identity<'_>) -> Result<Arc<ClientConfig>, TlsError> {
    let (chain, key) = identity.read()?;
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|err| failed(&err))?
        .with_root_certificates(roots(authority)?)
        .with_client_auth_cert(chain, key)
        .map_err(|err| failed(&err))?;
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    Ok(Arc::new(config))
}

/// When a member's certificate (PEM) ends, or has ended.
///
/// It is asked for at the end of time, and the refusal says when it ends.
///
/// # Errors
/// [`TlsError::Trust`] if the authority (PEM) has not issued it, if it is not for `name`, or if it is
/// not good yet at `now`.
pub fn ends(
    chain: &str,
    authority: &str,
    name: &str,
    now: SystemTime,
) -> Result<SystemTime, TlsError> {
    let verifier = WebPkiServerVerifier::builder_with_provider(roots(authority)?, provider());
    let verifier = verifier.build().map_err(|err| failed(&err))?;
    let shown: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(chain.as_bytes()).collect();
    let shown = shown.map_err(|err| failed(&err))?;
    let (first, behind) = shown.split_first().ok_or_else(|| failed(&"there is no certificate"))?;
    let name = ServerName::try_from(name).map_err(|err| failed(&err))?;
    let verify = |at: Duration| {
        let at = UnixTime::since_unix_epoch(at);
        verifier.verify_server_cert(first, behind, &name, &[], at)
    };
    let not_after = match verify(Duration::from_secs(NEVER)) {
        Err(rustls::Error::InvalidCertificate(CertificateError::ExpiredContext {
            not_after,
            ..
        })) => Duration::from_secs(not_after.as_secs()),
        Err(err) => return Err(failed(&err)),
        Ok(_) => return Err(failed(&"it does not end")),
    };
    // Its time was looked at first. Everything else is as at a time at which it is good.
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    verify(now.min(not_after)).map_err(|err| failed(&err))?;
    Ok(UNIX_EPOCH + not_after)
}

/// How who joins dials: it knows the authority by its fingerprint alone (64 hexadecimal digits), and
/// has no certificate.
///
/// # Errors
/// [`TlsError::Trust`].
pub fn joining(authority: &str) -> Result<Arc<ClientConfig>, TlsError> {
    let verifier = Arc::new(Pinned { authority: authority.to_owned() });
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|err| failed(&err))?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    Ok(Arc::new(config))
}

/// Accepts what the authority with this fingerprint has issued; it has to come with the chain.
#[derive(Debug)]
struct Pinned {
    authority: String,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let unknown = || rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer);
        let root = intermediates.iter().find(|shown| fingerprint(shown) == self.authority);
        let root = root.ok_or_else(unknown)?;
        let mut roots = RootCertStore::empty();
        roots.add(root.clone().into_owned())?;
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider());
        let verifier = verifier.build().map_err(|_| unknown())?;
        verifier.verify_server_cert(end_entity, &[], server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("TLS 1.2 is not spoken here".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = provider().signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, &known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::io;
    use std::os::unix::fs::PermissionsExt;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
    use tokio_rustls::{TlsAcceptor, TlsConnector};

    use super::*;
    use crate::{Authority, MEMBER_DAYS};

    struct Fleet {
        _dir: tempfile::TempDir,
        authority: Authority,
        other: Authority,
        key: MemberKey,
    }

    fn fleet() -> Fleet {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::load_or_create(&dir.path().join("fleet")).unwrap();
        let other = Authority::load_or_create(&dir.path().join("other")).unwrap();
        let key = MemberKey::load_or_create(&dir.path().join("host.key")).unwrap();
        let again = MemberKey::load_or_create(&dir.path().join("host.key")).unwrap();
        assert_eq!(key.public(), again.public());
        let mode = dir.path().join("host.key").metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        Fleet { _dir: dir, authority, other, key }
    }

    impl Fleet {
        fn chain(&self, by: &Authority, name: &str) -> String {
            let names = BTreeSet::from([name.to_owned()]);
            let (chain, ends) =
                by.member("h1", &names, &self.key.public(), SystemTime::now()).unwrap();
            let days = Duration::from_secs(24 * 3600) * (MEMBER_DAYS - 1);
            assert!(ends > SystemTime::now() + days);
            chain
        }

        fn accepting(&self) -> Arc<ServerConfig> {
            let chain = self.chain(&self.authority, "h1.server.tanist");
            let key = self.key.pem();
            let identity = Identity { chain: &chain, key: &key };
            accepting(self.authority.pem(), identity).unwrap()
        }

        fn dialling(&self, by: &Authority) -> Arc<ClientConfig> {
            let chain = self.chain(by, "h2.host.tanist");
            let key = self.key.pem();
            dialling(self.authority.pem(), Identity { chain: &chain, key: &key }).unwrap()
        }
    }

    /// Whether both ends agree, and whether the dialled one knows who dials.
    async fn meet(
        server: Arc<ServerConfig>,
        client: Arc<ClientConfig>,
        name: &'static str,
    ) -> io::Result<bool> {
        let (near, far) = duplex(1 << 16);
        let accepted = async {
            let mut stream = TlsAcceptor::from(server).accept(far).await?;
            let known = stream.get_ref().1.peer_certificates().is_some();
            stream.write_all(b"x").await?;
            stream.flush().await?;
            Ok::<_, io::Error>(known)
        };
        let dialled = async {
            let name = ServerName::try_from(name).unwrap();
            let mut stream = TlsConnector::from(client).connect(name, near).await?;
            // The dialled one judges last; what it says shows that it has agreed.
            stream.read_u8().await
        };
        let (known, dialled) = tokio::join!(accepted, dialled);
        dialled?;
        known
    }

    #[tokio::test]
    async fn members_know_each_other_by_name() {
        let fleet = fleet();
        let dialled = meet(fleet.accepting(), fleet.dialling(&fleet.authority), "h1.server.tanist");
        assert!(dialled.await.unwrap(), "the server knows who dials");
        let other = meet(fleet.accepting(), fleet.dialling(&fleet.authority), "h2.server.tanist");
        assert!(other.await.is_err(), "it is not who was meant");
    }

    #[tokio::test]
    async fn a_certificate_of_another_authority_is_nobodys() {
        let fleet = fleet();
        let stranger = meet(fleet.accepting(), fleet.dialling(&fleet.other), "h1.server.tanist");
        assert!(stranger.await.is_err());
    }

    #[tokio::test]
    async fn who_joins_knows_the_authority_by_its_fingerprint() {
        let fleet = fleet();
        let pinned = joining(&fleet.authority.fingerprint()).unwrap();
        let known = meet(fleet.accepting(), pinned, "h1.server.tanist").await.unwrap();
        assert!(!known, "and is nobody yet");
        let wrong = joining(&fleet.other.fingerprint()).unwrap();
        assert!(meet(fleet.accepting(), wrong, "h1.server.tanist").await.is_err());
        let pinned = joining(&fleet.authority.fingerprint()).unwrap();
        assert!(meet(fleet.accepting(), pinned, "h9.server.tanist").await.is_err());
    }

    #[test]
    fn when_a_certificate_ends_is_known_whether_or_not_it_has() {
        let fleet = fleet();
        let names = BTreeSet::from(["h1.host.tanist".to_owned()]);
        let day = Duration::from_secs(24 * 3600);
        let now = SystemTime::now();
        let root = fleet.authority.pem();
        for made in [now, now - 40 * day] {
            let issued = fleet.authority.member("h1", &names, &fleet.key.public(), made);
            let (chain, until) = issued.unwrap();
            assert_eq!(ends(&chain, root, "h1.host.tanist", now).unwrap(), until);
            for (root, name) in [(root, "h2.host.tanist"), (fleet.other.pem(), "h1.host.tanist")] {
                let why = ends(&chain, root, name, now).unwrap_err();
                assert!(matches!(why, TlsError::Trust(_)), "{why}");
            }
            let before = made - day;
            assert!(ends(&chain, root, "h1.host.tanist", before).is_err(), "it is not good yet");
        }
        for nothing in ["", "nonsense", root] {
            assert!(ends(nothing, root, "h1.host.tanist", now).is_err(), "{nothing}");
        }
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let fleet = fleet();
        let digits = fleet.key.public().digits();
        assert_eq!(PublicKey::parse(&digits), Some(fleet.key.public()));
        for wrong in ["", "04", &digits[2..], &format!("05{}", &digits[2..]), "zz"] {
            assert_eq!(PublicKey::parse(wrong), None, "{wrong}");
        }
        assert_eq!(format!("{:?}", fleet.key), "MemberKey(..)");
    }
}
