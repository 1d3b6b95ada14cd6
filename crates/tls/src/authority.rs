//! The authority: one key, one certificate, and what it signs.
//!
//! Its directory is made aside and renamed, so that it has both files or does not exist. The name in
//! the certificate follows from the key, so that nothing but the two files is needed to sign. What is
//! loaded is tried out: a certificate is issued and verified as a client would.
//!
//! Invariant: an authority that is there is never replaced; whoever wants a new one removes the old.
//!
//! Not here: when certificates are renewed (`tanist-controller`).

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKeyData, date_time_ymd,
};
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use sha2::{Digest, Sha256};

use crate::files::{CERTIFICATE, KEY, fresh_dir, read, write_private};
use crate::fleet::PublicKey;
use crate::{TlsError, fingerprint, provider};

/// How long a certificate of endpoints lives, in days: as long as the control plane may be away.
pub const ENDPOINT_DAYS: u32 = 30;
/// How long the certificate of a fleet's host lives, in days.
pub const MEMBER_DAYS: u32 = 30;
/// After how many days another takes its place.
pub const RENEW_AFTER_DAYS: u32 = 10;
/// How long the authority itself lives, in days.
const AUTHORITY_DAYS: u32 = 3650;
/// Certificates begin so long before they are made: clocks differ.
const EARLIER: Duration = Duration::from_secs(3600);
/// A name to try the authority out with.
const TRIAL: &str = "trial.invalid";

const DAY: Duration = Duration::from_secs(24 * 3600);

/// A certificate authority.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
    der: CertificateDer<'static>,
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority")
            .field("fingerprint", &self.fingerprint())
            .finish_non_exhaustive()
    }
}

/// A certificate with its key.
#[derive(Clone, PartialEq, Eq)]
pub struct Issued {
    /// The certificate, PEM.
    pub chain: String,
    /// Its key, PEM.
    pub key: String,
    /// Its SHA-256, 64 hexadecimal digits.
    pub fingerprint: String,
    /// When it ends.
    pub ends: SystemTime,
}

impl fmt::Debug for Issued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issued").field("fingerprint", &self.fingerprint).finish_non_exhaustive()
    }
}

impl Authority {
    /// The authority in `dir`, or a new one there if the directory does not exist.
    ///
    /// # Errors
    /// [`TlsError`] if what is there cannot be used, or nothing can be made there.
    pub fn load_or_create(dir: &Path) -> Result<Self, TlsError> {
        match Self::load(dir) {
            Err(TlsError::Absent(_)) => Self::create(dir),
            loaded => loaded,
        }
    }

    /// The authority in `dir`.
    ///
    /// # Errors
    /// [`TlsError::Absent`] if the directory does not exist, others if it is not whole.
    pub fn load(dir: &Path) -> Result<Self, TlsError> {
        let (at, key_at) = (dir.join(CERTIFICATE), dir.join(KEY));
        let (pem, key) = match (read(&at)?, read(&key_at)?) {
            (Some(pem), Some(key)) => (pem, key),
            (None, None) if !dir.exists() => return Err(TlsError::Absent(dir.to_owned())),
            (None, _) => return Err(TlsError::Missing(at)),
            (Some(_), None) => return Err(TlsError::Missing(key_at)),
        };
        let damaged = |path: &Path, why: String| TlsError::Damaged { path: path.to_owned(), why };
        let der = CertificateDer::from_pem_slice(pem.as_bytes())
            .map_err(|err| damaged(&at, err.to_string()))?;
        let key = KeyPair::from_pem(&key).map_err(|err| damaged(&key_at, err.to_string()))?;
        let authority = Self::new(key, pem, der);
        authority.try_out(SystemTime::now()).map_err(|why| TlsError::Unusable {
            certificate: at,
            key: key_at,
            why,
        })?;
        Ok(authority)
    }

    fn create(dir: &Path) -> Result<Self, TlsError> {
        let failed = |err: rcgen::Error| TlsError::Issue {
            name: "the certificate authority".to_owned(),
            why: err.to_string(),
        };
        let key = KeyPair::generate().map_err(failed)?;
        let params = during(authority_params(&key), SystemTime::now(), AUTHORITY_DAYS).0;
        let certificate = params.self_signed(&key).map_err(failed)?;
        let draft = dir.with_extension("new");
        fresh_dir(&draft)?;
        write_private(&draft.join(KEY), &key.serialize_pem())?;
        write_private(&draft.join(CERTIFICATE), &certificate.pem())?;
        let rename = std::fs::rename(&draft, dir);
        rename.map_err(|source| TlsError::File { path: dir.to_owned(), source })?;
        Ok(Self::new(key, certificate.pem(), certificate.der().clone()))
    }

    fn new(key: KeyPair, pem: String, der: CertificateDer<'static>) -> Self {
        let params = authority_params(&key);
        Self { issuer: Issuer::new(params, key), pem, der }
    }

    /// Whether what it issues now is accepted by those who trust it.
    fn try_out(&self, now: SystemTime) -> Result<(), String> {
        let names = BTreeSet::from([TRIAL.to_owned()]);
        let issued = self.endpoint("trial", &names, now).map_err(|err| err.to_string())?;
        let leaf = CertificateDer::from_pem_slice(issued.chain.as_bytes());
        let leaf = leaf.map_err(|err| err.to_string())?;
        let name = ServerName::try_from(TRIAL).map_err(|err| err.to_string())?;
        let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let verifier = self.verifier().map_err(|err| err.to_string())?;
        let verified =
            verifier.verify_server_cert(&leaf, &[], &name, &[], UnixTime::since_unix_epoch(since));
        verified.map(drop).map_err(|err| err.to_string())
    }

    fn verifier(&self) -> Result<Arc<WebPkiServerVerifier>, TlsError> {
        let mut roots = RootCertStore::empty();
        let trust = |err: &dyn fmt::Display| TlsError::Trust(err.to_string());
        roots.add(self.der.clone()).map_err(|err| trust(&err))?;
        let builder = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider());
        builder.build().map_err(|err| trust(&err))
    }

    /// Its certificate, PEM.
    #[must_use]
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// The SHA-256 of its certificate, 64 hexadecimal digits.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        fingerprint(&self.der)
    }

    /// A certificate for endpoints with these names and addresses.
    ///
    /// # Errors
    /// [`TlsError::Issue`], such as for a name that cannot be in a certificate.
    pub fn endpoint(
        &self,
        group: &str,
        names: &BTreeSet<String>,
        now: SystemTime,
    ) -> Result<Issued, TlsError> {
        let names: Vec<String> = names.iter().cloned().collect();
        self.issue(group, names, ExtendedKeyUsagePurpose::ServerAuth, ENDPOINT_DAYS, now)
    }

    /// A certificate for both ends of the link between a fleet's roles: whoever has `key` is known
    /// by these names to those who are dialled and to those who dial. PEM, with the authority's own
    /// behind it, and its end.
    ///
    /// # Errors
    /// [`TlsError::Issue`], such as for a name that cannot be in a certificate.
    pub fn member(
        &self,
        name: &str,
        names: &BTreeSet<String>,
        key: &PublicKey,
        now: SystemTime,
    ) -> Result<(String, SystemTime), TlsError> {
        let names: Vec<String> = names.iter().cloned().collect();
        let usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let (certificate, ends) = self.sign(name, names, usages, MEMBER_DAYS, now, key)?;
        Ok((format!("{}{}", certificate.pem(), self.pem), ends))
    }

    /// A certificate by which a client says who it is.
    ///
    /// # Errors
    /// [`TlsError::Issue`].
    pub fn client(&self, name: &str, days: u32, now: SystemTime) -> Result<Issued, TlsError> {
        self.issue(name, Vec::new(), ExtendedKeyUsagePurpose::ClientAuth, days, now)
    }

    fn issue(
        &self,
        name: &str,
        names: Vec<String>,
        usage: ExtendedKeyUsagePurpose,
        days: u32,
        now: SystemTime,
    ) -> Result<Issued, TlsError> {
        let key = KeyPair::generate()
            .map_err(|err| TlsError::Issue { name: name.to_owned(), why: err.to_string() })?;
        let (certificate, ends) = self.sign(name, names, vec![usage], days, now, &key)?;
        Ok(Issued {
            chain: certificate.pem(),
            key: key.serialize_pem(),
            fingerprint: fingerprint(certificate.der()),
            ends,
        })
    }

    fn sign(
        &self,
        name: &str,
        names: Vec<String>,
        usages: Vec<ExtendedKeyUsagePurpose>,
        days: u32,
        now: SystemTime,
        key: &impl PublicKeyData,
    ) -> Result<(Certificate, SystemTime), TlsError> {
        let failed =
            |err: rcgen::Error| TlsError::Issue { name: name.to_owned(), why: err.to_string() };
        let mut params = CertificateParams::new(names).map_err(failed)?;
        params.distinguished_name = DistinguishedName::new();
        // More has no place in this field.
        let short: String = name.chars().take(64).collect();
        params.distinguished_name.push(DnType::CommonName, short);
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = usages;
        params.use_authority_key_identifier_extension = true;
        let (params, ends) = during(params, now, days);
        let certificate = params.signed_by(key, &self.issuer).map_err(failed)?;
        Ok((certificate, ends))
    }
}

/// What the authority's certificate says, but for its time.
fn authority_params(key: &KeyPair) -> CertificateParams {
    let mut params = CertificateParams::default();
    let digest = hex::encode(Sha256::digest(key.public_key_raw()));
    let mut name = DistinguishedName::new();
    name.push(DnType::OrganizationName, "Tanist");
    // Two installations' authorities are told apart by whoever trusts both.
    name.push(DnType::CommonName, format!("Tanist CA {}", digest.get(..8).unwrap_or_default()));
    params.distinguished_name = name;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

/// The parameters for some days from now on, and their end.
fn during(
    mut params: CertificateParams,
    now: SystemTime,
    days: u32,
) -> (CertificateParams, SystemTime) {
    let epoch = date_time_ymd(1970, 1, 1);
    let since = |at: SystemTime| at.duration_since(UNIX_EPOCH).unwrap_or_default();
    // Whole seconds: a certificate cannot say more.
    let ends = UNIX_EPOCH + Duration::from_secs((since(now) + DAY * days).as_secs());
    let begins = since(now).saturating_sub(EARLIER);
    params.not_before = epoch + Duration::from_secs(begins.as_secs());
    params.not_after = epoch + since(ends);
    (params, ends)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn mode(path: &Path) -> u32 {
        path.metadata().unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn the_authority_is_made_once_and_is_private() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("tls");
        assert!(matches!(Authority::load(&dir), Err(TlsError::Absent(_))));
        let first = Authority::load_or_create(&dir).unwrap();
        let second = Authority::load_or_create(&dir).unwrap();
        assert_eq!(first.fingerprint(), second.fingerprint());
        assert_eq!((mode(&dir), mode(&dir.join(KEY))), (0o700, 0o600));
        assert!(!root.path().join("tls.new").exists());
        let printed = format!("{first:?}");
        assert!(
            printed.contains(&first.fingerprint()) && !printed.contains("PRIVATE"),
            "{printed}"
        );
    }

    #[test]
    fn what_is_damaged_or_missing_is_named_and_not_replaced() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("tls");
        let other = root.path().join("other");
        Authority::load_or_create(&dir).unwrap();
        Authority::load_or_create(&other).unwrap();
        let key = std::fs::read_to_string(dir.join(KEY)).unwrap();
        let why = || Authority::load_or_create(&dir).unwrap_err().to_string();
        std::fs::write(dir.join(KEY), &key[..key.len() / 2]).unwrap();
        assert!(why().contains("ca.key is damaged"), "{}", why());
        std::fs::copy(other.join(KEY), dir.join(KEY)).unwrap();
        assert!(why().contains("cannot be used together"), "{}", why());
        std::fs::remove_file(dir.join(KEY)).unwrap();
        assert!(why().contains("ca.key is missing"), "{}", why());
        std::fs::write(dir.join(KEY), &key).unwrap();
        std::fs::remove_file(dir.join(CERTIFICATE)).unwrap();
        assert!(why().contains("ca.pem is missing"), "{}", why());
        std::fs::write(dir.join(CERTIFICATE), [0xff; 8]).unwrap();
        assert!(why().contains("ca.pem is damaged"), "{}", why());
        assert_eq!(std::fs::read_to_string(dir.join(KEY)).unwrap(), key);
    }

    #[test]
    fn an_endpoints_certificate_is_for_its_names_and_addresses_for_thirty_days() {
        let root = tempfile::tempdir().unwrap();
        let authority = Authority::load_or_create(&root.path().join("tls")).unwrap();
        let now = SystemTime::now();
        let names = BTreeSet::from(["127.80.1.1".to_owned(), "web.x".to_owned()]);
        let issued = authority.endpoint("web", &names, now).unwrap();
        assert!(!format!("{issued:?}").contains("PRIVATE"));
        let leaf = CertificateDer::from_pem_slice(issued.chain.as_bytes()).unwrap();
        let verifier = authority.verifier().unwrap();
        let good = |name: &str, at: SystemTime| {
            let name = ServerName::try_from(name.to_owned()).unwrap();
            let at = UnixTime::since_unix_epoch(at.duration_since(UNIX_EPOCH).unwrap());
            verifier.verify_server_cert(&leaf, &[], &name, &[], at).is_ok()
        };
        assert!(good("127.80.1.1", now) && good("web.x", now));
        assert!(!good("127.80.1.2", now) && !good("other.x", now));
        assert!(good("web.x", issued.ends - DAY) && !good("web.x", issued.ends + DAY));
        assert!(issued.ends > now + DAY * (ENDPOINT_DAYS - 1));
    }

    #[test]
    fn a_name_that_no_certificate_can_have_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let authority = Authority::load_or_create(&root.path().join("tls")).unwrap();
        let names = BTreeSet::from(["wéb".to_owned()]);
        let refused = authority.endpoint("web", &names, SystemTime::now()).unwrap_err();
        assert!(refused.to_string().contains("making a certificate for web"), "{refused}");
    }
}
