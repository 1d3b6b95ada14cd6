//! The file of `tanist backup`: everything that the control plane's store has, at one revision.
//!
//! Lines of JSON: what it is, one line per key, and a checksum over everything before. Values are text
//! where they are text, so that a person can look at them. It is sent as it is written.
//!
//! Invariant: a file is read as a whole or not at all: a line that is missing, changed or too many is
//! an error; a format of a later release is said to be one.
//!
//! Not here: which keys are in it and putting it back (`tanist-controller`).

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The format that is written.
const FORMAT: u32 = 1;

/// A line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BackupLine {
    /// The first line: what it is.
    Tanist(BackupHead),
    /// A key.
    Key(BackupKey),
    /// The last line.
    End {
        /// SHA-256 of every line before, with their ends, in hexadecimal digits.
        sha256: String,
    },
}

/// What a backup is of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupHead {
    /// The format.
    pub format: u32,
    /// The release that has written it.
    pub release: String,
    /// The region.
    pub region: String,
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// The store's revision.
    pub revision: u64,
    /// How many keys follow.
    pub keys: u64,
}

impl BackupHead {
    /// What a backup of now is of.
    pub fn new(region: String, at_ms: u64, revision: u64, keys: u64) -> Self {
        let release = env!("CARGO_PKG_VERSION").to_owned();
        Self { format: FORMAT, release, region, at_ms, revision, keys }
    }
}

/// A key and its value: text, or hexadecimal digits.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupKey {
    /// The key.
    pub key: String,
    /// The value, if it is text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    /// The value, if it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hex: Option<String>,
}

impl std::fmt::Debug for BackupKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Values are as good as secrets.
        f.debug_struct("BackupKey").field("key", &self.key).finish_non_exhaustive()
    }
}

impl BackupKey {
    /// A key with its value.
    pub fn new(key: String, value: Vec<u8>) -> Self {
        match String::from_utf8(value) {
            Ok(text) => Self { key, text: Some(text), hex: None },
            Err(err) => Self { key, text: None, hex: Some(hex::encode(err.as_bytes())) },
        }
    }

    /// Its value; nothing if the line holds none.
    pub fn value(&self) -> Option<Vec<u8>> {
        match (&self.text, &self.hex) {
            (Some(text), None) => Some(text.clone().into_bytes()),
            (None, Some(digits)) => hex::decode(digits).ok(),
            _ => None,
        }
    }
}

/// Why a backup cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// It is nothing that `tanist backup` has written.
    #[error("it does not begin as a backup does")]
    NoBackup,
    /// A later release has written it.
    #[error("it has format {format}, and this release reads up to {FORMAT}")]
    Later {
        /// Its format.
        format: u32,
    },
    /// A line is none.
    #[error("line {number} is not understood")]
    Line {
        /// Its number, from 1.
        number: u64,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// It says that it has other keys than it has.
    #[error("it has {found} keys and says that it has {said}: it is not whole")]
    Count {
        /// How many it has.
        found: u64,
        /// How many it says it has.
        said: u64,
    },
    /// It ends too early, or goes on after its end.
    #[error("it does not end as a backup does: it is not whole")]
    NoEnd,
    /// A value is none.
    #[error("the value of {key} is neither text nor digits")]
    Value {
        /// Its key.
        key: String,
    },
    /// Something has changed since it was written.
    #[error("its checksum is not right: it has changed since it was written")]
    Sum,
}

/// Writes lines, one after the other, and checks that they are a backup.
#[derive(Debug, Default)]
pub struct BackupCheck {
    sum: Sha256,
    lines: u64,
    head: Option<BackupHead>,
    keys: u64,
    ended: bool,
}

impl BackupCheck {
    /// Takes a line in; its bytes, with its end.
    ///
    /// # Errors
    /// [`BackupError`] if this cannot be the next line of a backup.
    pub fn take(&mut self, line: &BackupLine) -> Result<Vec<u8>, BackupError> {
        self.lines += 1;
        let number = self.lines;
        let mut bytes =
            serde_json::to_vec(line).map_err(|source| BackupError::Line { number, source })?;
        bytes.push(b'\n');
        self.judge(line, &bytes)?;
        Ok(bytes)
    }

    fn judge(&mut self, line: &BackupLine, bytes: &[u8]) -> Result<(), BackupError> {
        match (line, &self.head) {
            (BackupLine::Tanist(head), None) if head.format > FORMAT => {
                return Err(BackupError::Later { format: head.format });
            }
            (BackupLine::Tanist(head), None) => self.head = Some(head.clone()),
            (_, None) => return Err(BackupError::NoBackup),
            _ if self.ended => return Err(BackupError::NoEnd),
            (BackupLine::Tanist(_), Some(_)) => return Err(BackupError::NoEnd),
            (BackupLine::Key(_), Some(_)) => self.keys += 1,
            (BackupLine::End { sha256 }, Some(_)) => {
                if *sha256 != self.digits() {
                    return Err(BackupError::Sum);
                }
                self.ended = true;
                return Ok(());
            }
        }
        self.sum.update(bytes);
        Ok(())
    }

    fn digits(&self) -> String {
        hex::encode(self.sum.clone().finalize())
    }

    /// The line that ends what was taken in.
    pub fn end(&self) -> BackupLine {
        BackupLine::End { sha256: self.digits() }
    }

    /// What it is of, once everything was taken in.
    ///
    /// # Errors
    /// [`BackupError`] if something is missing.
    pub fn finish(self) -> Result<BackupHead, BackupError> {
        let head = self.head.ok_or(BackupError::NoBackup)?;
        if !self.ended {
            return Err(BackupError::NoEnd);
        }
        if head.keys != self.keys {
            return Err(BackupError::Count { found: self.keys, said: head.keys });
        }
        Ok(head)
    }
}

/// What a backup holds.
#[derive(Debug)]
pub struct Backup {
    /// What it is of.
    pub head: BackupHead,
    /// Every key and its value.
    pub keys: Vec<(String, Vec<u8>)>,
    /// Tells it from any other.
    pub digest: String,
}

impl Backup {
    /// Reads a whole file.
    ///
    /// # Errors
    /// [`BackupError`] if anything of it is not as it was written.
    pub fn read(bytes: &[u8]) -> Result<Self, BackupError> {
        let mut check = BackupCheck::default();
        let mut keys = Vec::new();
        let mut rest = bytes;
        while !rest.is_empty() {
            let end = rest.iter().position(|byte| *byte == b'\n').ok_or(BackupError::NoEnd)?;
            let (line, after) = rest.split_at(end + 1);
            rest = after;
            check.lines += 1;
            let number = check.lines;
            let parsed: BackupLine = match serde_json::from_slice(line) {
                Ok(parsed) => parsed,
                // A later format may have other lines; the first one says that it is one.
                Err(_) if number == 1 => return Err(BackupError::NoBackup),
                Err(source) => return Err(BackupError::Line { number, source }),
            };
            // Over the bytes themselves: what a line has beside is a change as well.
            check.judge(&parsed, line)?;
            if let BackupLine::Key(key) = parsed {
                let value =
                    key.value().ok_or_else(|| BackupError::Value { key: key.key.clone() })?;
                keys.push((key.key, value));
            }
        }
        let digest = check.digits();
        Ok(Self { head: check.finish()?, keys, digest })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(keys: &[(&str, &[u8])], said: u64) -> Vec<u8> {
        let mut check = BackupCheck::default();
        let head = BackupHead::new("here".to_owned(), 5, 7, said);
        let mut bytes = check.take(&BackupLine::Tanist(head)).unwrap();
        for (key, value) in keys {
            let key = BackupKey::new((*key).to_owned(), value.to_vec());
            bytes.extend(check.take(&BackupLine::Key(key)).unwrap());
        }
        let end = check.end();
        bytes.extend(check.take(&end).unwrap());
        bytes
    }

    const KEYS: [(&str, &[u8]); 3] =
        [("spec/web", b"{\"a\":\"\\u00e9\"}"), ("b", b""), ("raw", &[0xff, 0x00, 0x0a])];

    #[test]
    fn what_is_read_is_what_was_written() {
        let read = Backup::read(&file(&KEYS, 3)).unwrap();
        let keys: Vec<(&str, &[u8])> =
            read.keys.iter().map(|(key, value)| (key.as_str(), value.as_slice())).collect();
        assert_eq!(keys, KEYS);
        assert_eq!((read.head.revision, read.head.region.as_str()), (7, "here"));
    }

    #[test]
    fn every_changed_or_missing_byte_is_noticed() {
        let good = file(&KEYS, 3);
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x01;
            assert!(Backup::read(&bad).is_err(), "byte {at}");
            assert!(Backup::read(&good[..at]).is_err(), "the first {at} bytes");
        }
        let twice = [good.as_slice(), good.as_slice()].concat();
        assert!(matches!(Backup::read(&twice), Err(BackupError::NoEnd)));
        assert!(matches!(Backup::read(&file(&KEYS, 4)), Err(BackupError::Count { .. })));
    }

    #[test]
    fn a_later_format_is_said_to_be_one() {
        let text = String::from_utf8(file(&KEYS, 3)).unwrap();
        let later = text.replacen("\"format\":1", "\"format\":2", 1);
        assert!(matches!(Backup::read(later.as_bytes()), Err(BackupError::Later { format: 2 })));
        assert!(matches!(Backup::read(b"hello\n"), Err(BackupError::NoBackup)));
        assert!(matches!(Backup::read(b""), Err(BackupError::NoBackup)));
    }

    #[test]
    fn what_is_printed_for_debugging_has_no_values() {
        let line = BackupLine::Key(BackupKey::new("k".to_owned(), b"secret".to_vec()));
        assert!(!format!("{line:?}").contains("secret"));
    }
}
