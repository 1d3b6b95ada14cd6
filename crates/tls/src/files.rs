//! Files of certificates and keys.
//!
//! Invariant: a file is complete or absent, of mode 0600, and no longer than [`MOST`] when it is read.
//!
//! Not here: what is in them.

use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use crate::TlsError;

/// The directory of certificates within an installation's.
pub const DIRECTORY: &str = "tls";
/// The authority's certificate, in that directory.
pub const CERTIFICATE: &str = "ca.pem";
/// The authority's key.
pub const KEY: &str = "ca.key";

/// The largest file that is read, in bytes.
const MOST: u64 = 1 << 20;

/// Reads a file as text; `None` if there is none.
pub(crate) fn read(path: &Path) -> Result<Option<String>, TlsError> {
    let failed = |source| TlsError::File { path: path.to_owned(), source };
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(err) => return Err(failed(err)),
    };
    let mut text = String::new();
    let read = file.take(MOST + 1).read_to_string(&mut text);
    match read {
        Ok(_) if text.len() as u64 > MOST => {
            let why = format!("it has more than {MOST} bytes");
            Err(TlsError::Damaged { path: path.to_owned(), why })
        }
        Ok(_) => Ok(Some(text)),
        Err(err) if err.kind() == io::ErrorKind::InvalidData => {
            let why = "it is no text (PEM is wanted)".to_owned();
            Err(TlsError::Damaged { path: path.to_owned(), why })
        }
        Err(err) => Err(failed(err)),
    }
}

/// Writes a file of mode 0600, complete or not at all.
///
/// # Errors
/// [`TlsError::File`].
pub fn write_private(path: &Path, text: &str) -> Result<(), TlsError> {
    let draft = path.with_extension("new");
    let write = || {
        // One that a crash has left behind may have another mode.
        match std::fs::remove_file(&draft) {
            Err(err) if err.kind() != io::ErrorKind::NotFound => return Err(err),
            _ => {}
        }
        let mut file =
            std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&draft, path)
    };
    write().map_err(|source| TlsError::File { path: path.to_owned(), source })
}

/// Makes an empty directory of mode 0700 in place of whatever is there.
pub(crate) fn fresh_dir(path: &Path) -> Result<(), TlsError> {
    let make = || {
        match std::fs::remove_dir_all(path) {
            Err(err) if err.kind() != io::ErrorKind::NotFound => return Err(err),
            _ => {}
        }
        std::fs::DirBuilder::new().mode(0o700).create(path)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700))
    };
    make().map_err(|source| TlsError::File { path: path.to_owned(), source })
}
