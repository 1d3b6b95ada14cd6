//! The installation's own certificate authority, what it issues, and who trusts it.
//!
//! Clients of an installation trust one certificate, made once and kept in its directory. Everything
//! that endpoints show of themselves follows from it and lives for weeks only, so that nothing has to
//! be renewed by hand.
//!
//! Invariant: a private key is written to files of mode 0600 only, and is in no `Debug` output.
//!
//! Not here: which names a group has (`tanist-controller`), handshakes with clients (`tanist-proxy`).

mod authority;
mod door;
mod error;
mod files;
mod fleet;
mod owners;
mod trust;

pub use authority::{Authority, ENDPOINT_DAYS, Issued, MEMBER_DAYS, RENEW_AFTER_DAYS};
pub use door::{Admitted, Door, DoorError, Entrance, NotAdmitted, showing};
pub use error::TlsError;
pub use files::{CERTIFICATE, DIRECTORY, KEY, write_private};
pub use fleet::{MemberKey, PublicKey, accepting, dialling, ends, joining};
pub use owners::Owners;
pub use trust::{Identity, Stream, Trust};

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use sha2::{Digest, Sha256};

/// The one provider of cryptography.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// A certificate's SHA-256 as 64 hexadecimal digits.
fn fingerprint(certificate: &CertificateDer<'_>) -> String {
    hex::encode(Sha256::digest(certificate))
}
