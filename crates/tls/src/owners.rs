//! A certificate that the owner gives in place of the installation's own.
//!
//! Invariant: what was read can be used: the key belongs to the certificate.
//!
//! Not here: which names are in it; its clients find out.

use std::fmt;
use std::path::{Path, PathBuf};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use crate::files::read;
use crate::{TlsError, fingerprint, provider};

/// The owner's certificate and key.
#[derive(Clone, PartialEq, Eq)]
pub struct Owners {
    /// The certificate and those between it and its authority, PEM.
    pub chain: String,
    /// Its key, PEM.
    pub key: String,
    /// The certificate's SHA-256, 64 hexadecimal digits.
    pub fingerprint: String,
}

impl fmt::Debug for Owners {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Owners").field("fingerprint", &self.fingerprint).finish_non_exhaustive()
    }
}

impl Owners {
    /// Reads the two files.
    ///
    /// # Errors
    /// [`TlsError`] if one is not there or damaged, or they do not belong together.
    pub fn read(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let text = |path: &Path| {
            let absent = || std::io::Error::from(std::io::ErrorKind::NotFound);
            read(path)?.ok_or_else(|| TlsError::File { path: path.to_owned(), source: absent() })
        };
        let (chain, secret) = (text(certificate)?, text(key)?);
        let damaged = |path: PathBuf, why: String| TlsError::Damaged { path, why };
        let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(chain.as_bytes()).collect();
        let all = all.map_err(|err| damaged(certificate.to_owned(), err.to_string()))?;
        let Some(first) = all.first() else {
            return Err(damaged(certificate.to_owned(), "it has no certificate".to_owned()));
        };
        let fingerprint = fingerprint(first);
        let der = PrivateKeyDer::from_pem_slice(secret.as_bytes())
            .map_err(|err| damaged(key.to_owned(), err.to_string()))?;
        // It fails if the key is another certificate's.
        CertifiedKey::from_der(all, der, &provider()).map_err(|err| TlsError::Unusable {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
            why: err.to_string(),
        })?;
        Ok(Self { chain, key: secret, fingerprint })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::SystemTime;

    use super::*;
    use crate::Authority;

    #[test]
    fn only_a_certificate_with_its_own_key_is_taken() {
        let root = tempfile::tempdir().unwrap();
        let authority = Authority::load_or_create(&root.path().join("tls")).unwrap();
        let names = BTreeSet::from(["web.x".to_owned()]);
        let issue = || authority.endpoint("web", &names, SystemTime::now()).unwrap();
        let (one, other) = (issue(), issue());
        let (certificate, key) = (root.path().join("c.pem"), root.path().join("k.pem"));
        std::fs::write(&certificate, &one.chain).unwrap();
        let why = || Owners::read(&certificate, &key).unwrap_err().to_string();
        assert!(why().contains("k.pem"), "{}", why());
        std::fs::write(&key, &other.key).unwrap();
        assert!(why().contains("cannot be used together"), "{}", why());
        std::fs::write(&key, "nonsense").unwrap();
        assert!(why().contains("k.pem is damaged"), "{}", why());
        std::fs::write(&key, &one.key).unwrap();
        let read = Owners::read(&certificate, &key).unwrap();
        assert_eq!(read.fingerprint, one.fingerprint);
        assert!(!format!("{read:?}").contains("PRIVATE"));
        std::fs::write(&certificate, "").unwrap();
        assert!(why().contains("it has no certificate"), "{}", why());
    }
}
