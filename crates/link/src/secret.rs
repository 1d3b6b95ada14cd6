//! The installation's secret, and the passwords that follow from it.
//!
//! Every password between Tanist's own parts and the engines is derived (HMAC-SHA-256) from one
//! secret and a label such as `lane/web/0001/7/proxy-1`, so none is stored, sent in an order or
//! written to a log, and each expires with the thing that its label names.
//!
//! Invariant: neither the secret nor a derived password appears in `Debug` output.
//!
//! Clients' passwords are nobody's to derive: of them there is a hash, and the comparison with it.
//!
//! Not here: who has which password (`tanist_core::model::Accounts`).

use std::fmt;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use hmac::{Hmac, KeyInit, Mac};
use rand::RngExt;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tanist_core::model::PasswordHash;

/// Bytes of the secret.
const LENGTH: usize = 32;

/// The installation's secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret([u8; LENGTH]);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Why the secret could not be had.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file could not be read, made or written.
    #[error("using the secret file {path}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file holds something else.
    #[error("the secret file {path} does not hold {LENGTH} bytes; restore it from a copy")]
    Damaged {
        /// The file.
        path: PathBuf,
    },
}

impl Secret {
    /// Reads the secret from `path`, or makes one there (mode 0600) if the file does not exist.
    ///
    /// # Errors
    /// [`SecretError`] if the file cannot be used or holds something else.
    pub fn load_or_create(path: &Path) -> Result<Self, SecretError> {
        let file = |source| SecretError::File { path: path.to_owned(), source };
        match std::fs::read(path) {
            Ok(bytes) => match <[u8; LENGTH]>::try_from(bytes.as_slice()) {
                Ok(secret) => Ok(Self(secret)),
                Err(_) => Err(SecretError::Damaged { path: path.to_owned() }),
            },
            Err(err) if err.kind() == io::ErrorKind::NotFound => {
                let secret = Self::random();
                secret.write(path)?;
                Ok(secret)
            }
            Err(err) => Err(file(err)),
        }
    }

    /// A secret from its bytes.
    pub fn from_bytes(bytes: [u8; LENGTH]) -> Self {
        Self(bytes)
    }

    /// One that nobody has seen.
    pub fn random() -> Self {
        let mut bytes = [0; LENGTH];
        rand::rng().fill(&mut bytes);
        Self(bytes)
    }

    /// The secret in hexadecimal digits, for a host that joins.
    pub fn digits(&self) -> String {
        hex::encode(self.0)
    }

    /// The secret that these hexadecimal digits are; nothing if they are none.
    pub fn parse(digits: &str) -> Option<Self> {
        hex::decode(digits).ok()?.try_into().ok().map(Self)
    }

    /// Writes the secret to `path` (mode 0600), complete or not at all.
    ///
    /// # Errors
    /// [`SecretError::File`].
    pub fn write(&self, path: &Path) -> Result<(), SecretError> {
        let file = |source| SecretError::File { path: path.to_owned(), source };
        let draft = path.with_extension("new");
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let mut out = options.open(&draft).map_err(file)?;
        out.write_all(&self.0).and_then(|()| out.sync_all()).map_err(file)?;
        std::fs::rename(&draft, path).map_err(file)
    }

    /// The password for `label`: 64 hexadecimal digits.
    pub fn password(&self, label: &str) -> String {
        // HMAC takes keys of every length, so this cannot fail; an empty key would be no secret.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.0) else { return String::new() };
        mac.update(label.as_bytes());
        hex::encode(mac.finalize().into_bytes())
    }

    /// The SHA-256 of the password for `label`, as ACL files and `ACL SETUSER #...` take it.
    pub fn password_hash(&self, label: &str) -> String {
        hex::encode(Sha256::digest(self.password(label).as_bytes()))
    }
}

/// The SHA-256 of a client's password.
pub fn hash_of(password: &[u8]) -> PasswordHash {
    PasswordHash::from_digest(Sha256::digest(password).into())
}

/// Whether this is one of the passwords; takes the same time whichever it is, and however wrong.
pub fn is_one_of<'a>(password: &[u8], hashes: impl IntoIterator<Item = &'a PasswordHash>) -> bool {
    let given = hash_of(password);
    let mut found = subtle::Choice::from(0);
    for hash in hashes {
        found |= hash.as_str().as_bytes().ct_eq(given.as_str().as_bytes());
    }
    found.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_secret_survives_and_is_private() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        let first = Secret::load_or_create(&path).unwrap();
        assert_eq!(Secret::load_or_create(&path).unwrap(), first);
        let mode = std::os::unix::fs::PermissionsExt::mode(&path.metadata().unwrap().permissions());
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(format!("{first:?}"), "Secret(..)");
    }

    #[test]
    fn a_damaged_secret_is_refused_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        std::fs::write(&path, b"short").unwrap();
        assert!(matches!(Secret::load_or_create(&path), Err(SecretError::Damaged { .. })));
        assert_eq!(std::fs::read(&path).unwrap(), b"short");
    }

    #[test]
    fn a_password_is_found_among_hashes_as_the_engine_would() {
        // echo -n secret | sha256sum
        let known = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";
        assert_eq!(hash_of(b"secret").as_str(), known);
        let hashes = [hash_of(b"other"), hash_of(b"secret")];
        assert!(is_one_of(b"secret", &hashes) && is_one_of(b"other", &hashes));
        assert!(!is_one_of(b"", &hashes) && !is_one_of(b"secret ", &hashes));
        assert!(!is_one_of(b"secret", &[]));
    }

    #[test]
    fn labels_give_unrelated_passwords() {
        let secret = Secret::from_bytes([7; LENGTH]);
        assert_eq!(secret.password("a"), secret.password("a"));
        assert_ne!(secret.password("a"), secret.password("b"));
        assert_eq!(secret.password("a").len(), 64);
        // echo -n "$password" | sha256sum is what the engine compares with.
        assert_ne!(secret.password_hash("a"), secret.password("a"));
    }
}
