//! One access key: its record in the store, its id, its secret.
//!
//! The record never holds the secret. It follows from the installation's secret and the key's id, so
//! a copy of the store lets nobody in. Ids are drawn and not chosen, so a revoked key comes back only
//! if an older copy of the store is restored.
//!
//! Invariant: neither a secret nor anything that it follows from is in a record or in `Debug`.
//!
//! Not here: which keys there are (`view`).

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tanist_core::model::stored::Stored;
use tanist_link::Secret;

use super::policy::{Policy, PolicyError};

/// Where keys are kept.
pub(super) const PREFIX: &str = "aws/key/";

/// The root key's place under [`PREFIX`], so that there is never more than one.
pub(super) const ROOT: &str = "root";

/// Letters of a secret: hexadecimal digits, 160 bits.
const SECRET_LETTERS: usize = 40;

/// An access key with its secret.
#[derive(Clone, PartialEq, Eq)]
pub struct AccessKey {
    /// Such as `AKIA2QXYZ5ABCDEF7GHI`.
    pub access_key_id: String,
    /// The secret access key. It can be computed again, so losing it is no loss.
    pub secret: String,
}

impl fmt::Debug for AccessKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = &self.access_key_id;
        f.debug_struct("AccessKey").field("access_key_id", id).finish_non_exhaustive()
    }
}

/// What the store keeps of a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) id: String,
    pub(super) name: String,
    /// The policy's document as it was given; none allows everything.
    pub(super) policy: Option<String>,
    /// Seconds since 1970.
    pub(super) created: i64,
}

/// Why a record is not a key.
#[derive(Debug, thiserror::Error)]
pub(super) enum RecordError {
    #[error("reading it as JSON")]
    Syntax(#[source] serde_json::Error),
    #[error("reading its policy")]
    Policy(#[source] PolicyError),
    #[error("it holds the key of another place")]
    Misplaced,
}

/// A key that may be used.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) record: Record,
    pub(super) policy: Option<Policy>,
    pub(super) is_root: bool,
}

impl Record {
    pub(super) fn write(self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(&Stored::new(self))
    }
}

impl Key {
    /// Reads the record at a place under [`PREFIX`].
    pub(super) fn read(place: &str, bytes: &[u8]) -> Result<Self, RecordError> {
        let stored: Stored<Record> = serde_json::from_slice(bytes).map_err(RecordError::Syntax)?;
        let record = stored.into_body();
        let is_root = place == ROOT;
        if !is_root && record.id != place {
            return Err(RecordError::Misplaced);
        }
        let policy = record.policy.as_deref().map(Policy::parse).transpose();
        Ok(Self { policy: policy.map_err(RecordError::Policy)?, record, is_root })
    }

    pub(super) fn arn(&self, account: &str) -> String {
        if self.is_root {
            return root_arn(account);
        }
        format!("arn:aws:iam::{account}:user/{}", self.record.name)
    }

    pub(super) fn created(&self) -> Timestamp {
        Timestamp::from_second(self.record.created).unwrap_or_default()
    }
}

pub(super) fn root_arn(account: &str) -> String {
    format!("arn:aws:iam::{account}:root")
}

/// An id that nobody can foresee: `AKIA` and 16 letters of base32, 80 bits.
pub(super) fn fresh_id() -> String {
    const LETTERS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let drawn = rand::random::<u128>();
    let letters = (0..16).map(|at| usize::try_from((drawn >> (at * 5)) & 31).unwrap_or(0));
    "AKIA".chars().chain(letters.map(|letter| char::from(LETTERS[letter]))).collect()
}

/// The secret of a key.
pub(super) fn secret_of(installation: &Secret, id: &str) -> String {
    let mut secret = installation.password(&format!("tanist-access-key/{id}"));
    secret.truncate(SECRET_LETTERS);
    secret
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_look_like_those_of_clients_and_differ() {
        let ids: std::collections::BTreeSet<String> = (0..1000).map(|_| fresh_id()).collect();
        assert_eq!(ids.len(), 1000);
        for id in ids {
            assert!(id.starts_with("AKIA") && id.len() == 20, "{id}");
            assert!(id.chars().all(|c| c.is_ascii_uppercase() || ('2'..='7').contains(&c)), "{id}");
        }
    }

    #[test]
    fn a_secret_follows_from_the_installation_and_the_id() {
        let secret = |installation, id| secret_of(&Secret::from_bytes([installation; 32]), id);
        assert_eq!(secret(1, "AKIAA").len(), SECRET_LETTERS);
        assert_eq!(secret(1, "AKIAA"), secret(1, "AKIAA"));
        assert_ne!(secret(1, "AKIAA"), secret(1, "AKIAB"));
        assert_ne!(secret(1, "AKIAA"), secret(2, "AKIAA"));
    }

    #[test]
    fn a_record_is_read_back_and_only_in_its_place() {
        let record = Record {
            id: "AKIAA".to_owned(),
            name: "web".to_owned(),
            policy: None,
            created: 1_769_860_800,
        };
        let bytes = record.clone().write().unwrap();
        assert_eq!(Key::read("AKIAA", &bytes).unwrap().record, record);
        assert_eq!(Key::read("AKIAA", &bytes).unwrap().arn("1"), "arn:aws:iam::1:user/web");
        assert_eq!(Key::read(ROOT, &bytes).unwrap().arn("1"), "arn:aws:iam::1:root");
        assert!(matches!(Key::read("AKIAB", &bytes), Err(RecordError::Misplaced)));
        assert!(matches!(Key::read("AKIAA", b"{}"), Err(RecordError::Syntax(_))));
        let later = br#"{"format":"2","body":{}}"#;
        assert!(matches!(Key::read("AKIAA", later), Err(RecordError::Syntax(_))));
    }
}
