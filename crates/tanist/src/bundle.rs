//! One file with everybody whom a client on this machine should trust: those whom its system trusts,
//! and the installation's own authority.
//!
//! Programs take one file in place of the system's, so one with our own alone would make them distrust
//! everybody else.
//!
//! Invariant: the system's own files are only read.
//!
//! Not here: the authority (`tanist-tls`).

use std::path::{Path, PathBuf};

use tanist_tls::{Authority, write_private};

use crate::failure::Failure;
use crate::layout::Layout;

/// Where systems keep it: Debian, Red Hat, SUSE, Alpine.
const SYSTEM: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];
/// The largest that is taken over, in bytes.
const MOST: u64 = 16 << 20;
/// The variable by which a person has named another.
pub(crate) const VARIABLE: &str = "SSL_CERT_FILE";

/// Writes the file, if it is not there as it should be, and gives its path.
pub(crate) fn write(layout: &Layout, authority: &Authority) -> Result<PathBuf, Failure> {
    let path = layout.bundle();
    let named = std::env::var_os(VARIABLE).map(PathBuf::from).filter(|named| *named != path);
    let places = named.into_iter().chain(SYSTEM.into_iter().map(PathBuf::from));
    let text = joined(places.filter_map(|place| read(&place)).next(), authority.pem());
    if std::fs::read_to_string(&path).is_ok_and(|known| known == text) {
        return Ok(path);
    }
    write_private(&path, &text)
        .map_err(|err| Failure::caused("T611", &err, "free disk space or check the directory"))?;
    Ok(path)
}

fn read(path: &Path) -> Option<String> {
    let length = std::fs::metadata(path).ok()?.len();
    let text = (length <= MOST).then(|| std::fs::read_to_string(path).ok()).flatten()?;
    text.contains("BEGIN CERTIFICATE").then_some(text)
}

fn joined(system: Option<String>, own: &str) -> String {
    let mut text = system.unwrap_or_default();
    if text.contains(own.trim()) {
        return text;
    }
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    text.push_str(own);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_comes_after_the_systems_and_once() {
        let own = "-----BEGIN CERTIFICATE-----\nown\n-----END CERTIFICATE-----\n";
        assert_eq!(joined(None, own), own);
        let both = joined(Some("system".to_owned()), own);
        assert_eq!(both, format!("system\n{own}"));
        assert_eq!(joined(Some(both.clone()), own), both);
    }
}
