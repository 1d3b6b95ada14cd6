//! Who a caller is and what it may do: access keys, their policies, the account.
//!
//! A key is a name, a policy and an id in the store; its secret is computed. The root key is made at
//! the first start and may do everything. It cannot be revoked, only replaced
//! ([`Identity::rotate_root`]): otherwise one wrong command would leave an installation that nobody
//! may use. Whoever can reach the controller's socket can replace it at any time.
//!
//! Invariant: once [`Identity::revoke`] or [`Identity::rotate_root`] has answered, no request with
//! the old key is verified or allowed any more; secrets are never logged or shown by `Debug`.
//!
//! Not here: signatures (`crate::sigv4`), and the routes by which the command line comes here.

mod key;
mod policy;
mod view;

use std::sync::Arc;

use jiff::Timestamp;
use sha2::{Digest, Sha256};
use tanist_link::Secret;
use tanist_store::{AnyStore, Revision, Store, StoreError, Txn, TxnOutcome};
use tracing::info;

use crate::service::Caller;
use crate::sigv4::{Keys, SecretKey};
use key::{Key, PREFIX, ROOT, Record, fresh_id, root_arn, secret_of};
use policy::{Policy, Verdict};
use view::{View, follow};

pub use key::AccessKey;
pub use policy::{MAX_PATTERNS, MAX_POLICY_BYTES, MAX_STATEMENTS, PolicyError};

/// Most access keys of an installation.
pub const MAX_KEYS: usize = 1000;

/// Most characters of a name.
pub const MAX_NAME_CHARS: usize = 64;

/// How often a write is tried when somebody else wrote at the same time.
const ATTEMPTS: usize = 4;

/// Why a key could not be made, changed or found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// The name is not one of IAM's.
    #[error(
        "{0:?} is no name: 1 to {MAX_NAME_CHARS} letters, digits and _+=,.@- are, except \"root\""
    )]
    BadName(String),
    /// The policy is not taken.
    #[error("the policy of the key is not usable")]
    BadPolicy(#[source] PolicyError),
    /// There are as many keys as there may be.
    #[error("there are {MAX_KEYS} access keys already; revoke one first")]
    TooMany,
    /// Nobody has this key.
    #[error("there is no access key {0}")]
    NoSuchKey(String),
    /// The root key is replaced and not revoked.
    #[error("{0} is the root key, which cannot be revoked; rotate it to get another one")]
    IsRoot(String),
    /// The root key is not there; the next start makes one.
    #[error("the root key's record is missing or unusable")]
    NoRoot,
    /// Others wrote the same key at the same time, again and again.
    #[error("the access keys are being changed by somebody else; try again")]
    Contended,
    /// The record cannot be written as JSON.
    #[error("writing an access key's record")]
    Record(#[source] serde_json::Error),
    /// The store failed.
    #[error("{doing}")]
    Store {
        /// What was being done.
        doing: &'static str,
        /// Why it failed.
        #[source]
        source: StoreError,
    },
}

/// A key without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeySummary {
    /// Its id.
    pub access_key_id: String,
    /// Whose it is; `root` for the root key.
    pub name: String,
    /// Its owner as an ARN.
    pub arn: String,
    /// When it was made.
    pub created: Timestamp,
    /// Whether it is the root key.
    pub is_root: bool,
    /// Its policy as it was given; `None` allows everything.
    pub policy: Option<String>,
}

/// The access keys of this installation. A clone is another handle of the same.
#[derive(Debug, Clone)]
pub struct Identity {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    store: AnyStore,
    secret: Secret,
    account: Arc<str>,
    view: Arc<View>,
    /// Ends with the last handle.
    following: tokio::task::JoinHandle<()>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.following.abort();
    }
}

fn failed(doing: &'static str) -> impl FnOnce(StoreError) -> IdentityError {
    move |source| IdentityError::Store { doing, source }
}

/// Every write of this module. A key is a fact of its own, which no decision about groups is made of.
async fn commit(
    store: &AnyStore,
    txn: Txn,
    doing: &'static str,
) -> Result<TxnOutcome, IdentityError> {
    store.txn(txn).await.map_err(failed(doing))
}

impl Identity {
    /// Reads the keys, makes the root key if there is none, and follows the store from now on.
    ///
    /// `installation` is the store's id, from which the account's number follows.
    ///
    /// # Errors
    /// [`IdentityError::Store`] if the store fails; [`IdentityError::NoRoot`] if there is a root key
    /// that this version cannot read.
    pub async fn open(
        store: AnyStore,
        secret: Secret,
        installation: &str,
    ) -> Result<Self, IdentityError> {
        let (mut records, mut revision) =
            store.range(PREFIX).await.map_err(failed("reading the access keys"))?;
        let place = format!("{PREFIX}{ROOT}");
        if !records.iter().any(|record| record.key == place) {
            let bytes = new_record(ROOT, None).write().map_err(IdentityError::Record)?;
            let txn = Txn::new().when_absent(&place).put(&place, bytes);
            // If it was not committed then another process was faster; its key is read below.
            commit(&store, txn, "making the root key").await?;
            (records, revision) =
                store.range(PREFIX).await.map_err(failed("reading the access keys"))?;
        }
        let view = Arc::new(View::default());
        view.load(&records, revision);
        if view.root().is_none() {
            return Err(IdentityError::NoRoot);
        }
        let watching = follow(store.clone(), Arc::downgrade(&view), revision.next());
        let following = tokio::spawn(watching);
        let account = account(installation).into();
        Ok(Self { inner: Arc::new(Inner { store, secret, account, view, following }) })
    }

    /// The account's number: twelve digits.
    #[must_use]
    pub fn account(&self) -> &str {
        &self.inner.account
    }

    /// The root key.
    ///
    /// # Errors
    /// [`IdentityError::NoRoot`] if somebody took its record out of the store.
    pub fn root(&self) -> Result<AccessKey, IdentityError> {
        let (_, key) = self.inner.view.root().ok_or(IdentityError::NoRoot)?;
        Ok(self.with_secret(&key.record.id))
    }

    /// Makes a key for `name`; several keys may have one name. `policy` is a document in IAM's
    /// language; without one, the key may do everything.
    ///
    /// # Errors
    /// [`IdentityError`]; after a [`StoreError::Unknown`] the key may exist, and `list` shows it.
    pub async fn create(
        &self,
        name: &str,
        policy: Option<&str>,
    ) -> Result<AccessKey, IdentityError> {
        check_name(name)?;
        policy.map(Policy::parse).transpose().map_err(IdentityError::BadPolicy)?;
        if self.inner.view.keys().len() >= MAX_KEYS {
            return Err(IdentityError::TooMany);
        }
        for _ in 0..ATTEMPTS {
            let record = new_record(name, policy);
            let id = record.id.clone();
            if self.write(&id, Revision::ABSENT, record).await? {
                info!(name, key = id, "an access key was made");
                return Ok(self.with_secret(&id));
            }
        }
        Err(IdentityError::Contended)
    }

    /// Every key, the root key too.
    #[must_use]
    pub fn list(&self) -> Vec<KeySummary> {
        let summary = |key: &Key| KeySummary {
            access_key_id: key.record.id.clone(),
            name: key.record.name.clone(),
            arn: key.arn(&self.inner.account),
            created: key.created(),
            is_root: key.is_root,
            policy: key.record.policy.clone(),
        };
        self.inner.view.keys().iter().map(|key| summary(key)).collect()
    }

    /// Takes a key back. When this has answered, no request with it is accepted any more.
    ///
    /// # Errors
    /// [`IdentityError::NoSuchKey`], [`IdentityError::IsRoot`], or that the store failed; after a
    /// [`StoreError::Unknown`] the key may still work, and `list` shows it then.
    pub async fn revoke(&self, access_key_id: &str) -> Result<(), IdentityError> {
        let Inner { store, view, .. } = &*self.inner;
        let missing = || IdentityError::NoSuchKey(crate::error::cut(access_key_id));
        let key = view.key(access_key_id).ok_or_else(missing)?;
        if key.is_root {
            return Err(IdentityError::IsRoot(access_key_id.to_owned()));
        }
        let txn = Txn::new().delete(format!("{PREFIX}{access_key_id}"));
        let outcome = commit(store, txn, "revoking an access key").await?;
        view.apply(access_key_id, outcome.revision, None);
        info!(name = key.record.name, key = access_key_id, "an access key was revoked");
        Ok(())
    }

    /// Replaces the root key. When this has answered, the former one is not accepted any more.
    ///
    /// # Errors
    /// [`IdentityError::NoRoot`], or that the store failed; after a [`StoreError::Unknown`], `root`
    /// gives the one that works.
    pub async fn rotate_root(&self) -> Result<AccessKey, IdentityError> {
        for _ in 0..ATTEMPTS {
            let (revision, _) = self.inner.view.root().ok_or(IdentityError::NoRoot)?;
            let record = new_record(ROOT, None);
            let id = record.id.clone();
            if self.write(ROOT, revision, record).await? {
                info!(key = id, "the root key was replaced");
                return Ok(self.with_secret(&id));
            }
        }
        Err(IdentityError::Contended)
    }

    /// Writes a record if its place was last written at `expected`; the view has it afterwards.
    async fn write(
        &self,
        place: &str,
        expected: Revision,
        record: Record,
    ) -> Result<bool, IdentityError> {
        let bytes = record.write().map_err(IdentityError::Record)?;
        let path = format!("{PREFIX}{place}");
        let txn = Txn::new().when_unchanged(&path, expected).put(&path, bytes.clone());
        let Inner { store, view, .. } = &*self.inner;
        let outcome = commit(store, txn, "writing an access key").await?;
        if outcome.committed {
            // What was just written can be read; if not, nobody can use it, which is safe.
            view.apply(place, outcome.revision, Key::read(place, &bytes).ok());
        } else {
            let (records, revision) =
                store.range(PREFIX).await.map_err(failed("reading the access keys"))?;
            view.load(&records, revision);
        }
        Ok(outcome.committed)
    }

    fn with_secret(&self, id: &str) -> AccessKey {
        AccessKey { access_key_id: id.to_owned(), secret: secret_of(&self.inner.secret, id) }
    }

    /// Whose key it is, if it may still be used.
    pub(crate) fn caller(&self, access_key_id: &str) -> Option<Caller> {
        let key = self.inner.view.key(access_key_id)?;
        Some(Caller { access_key_id: key.record.id.clone(), arn: key.arn(&self.inner.account) })
    }

    /// The caller of requests that nobody signed.
    pub(crate) fn unsigned(&self) -> Caller {
        Caller { access_key_id: String::new(), arn: root_arn(&self.inner.account) }
    }

    /// May the caller do this to every one of these resources? `Err` says why not, as IAM does.
    pub(crate) fn check(
        &self,
        caller: &Caller,
        action: &str,
        resources: &[String],
    ) -> Result<(), String> {
        if *caller == self.unsigned() {
            return Ok(());
        }
        // The key may have been revoked since its signature was verified.
        let key = self.inner.view.key(&caller.access_key_id);
        let denied = |resource: &str, why: &str| {
            let arn = &caller.arn;
            format!(
                "User: {arn} is not authorized to perform: {action} on resource: {resource} {why}"
            )
        };
        let nothing = ["*".to_owned()];
        let resources = if resources.is_empty() { &nothing } else { resources };
        for resource in resources {
            let verdict = match &key {
                None => Verdict::NotAllowed,
                Some(key) => {
                    let judge = |policy: &Policy| policy.judge(action, resource);
                    key.policy.as_ref().map_or(Verdict::Allowed, judge)
                }
            };
            match verdict {
                Verdict::Allowed => {}
                Verdict::NotAllowed => {
                    let why = format!("because no policy of its key allows the {action} action");
                    return Err(denied(resource, &why));
                }
                Verdict::Forbidden => {
                    return Err(denied(resource, "with an explicit deny in the policy of its key"));
                }
            }
        }
        Ok(())
    }
}

impl Keys for Identity {
    fn secret(&self, access_key_id: &str) -> Option<SecretKey> {
        let key = self.inner.view.key(access_key_id)?;
        Some(SecretKey::new(secret_of(&self.inner.secret, &key.record.id)))
    }
}

fn new_record(name: &str, policy: Option<&str>) -> Record {
    Record {
        id: fresh_id(),
        name: name.to_owned(),
        policy: policy.map(str::to_owned),
        created: Timestamp::now().as_second(),
    }
}

fn check_name(name: &str) -> Result<(), IdentityError> {
    let known = |letter: char| letter.is_ascii_alphanumeric() || "_+=,.@-".contains(letter);
    let good = (1..=MAX_NAME_CHARS).contains(&name.len()) && name.chars().all(known);
    if good && name != ROOT { Ok(()) } else { Err(IdentityError::BadName(crate::error::cut(name))) }
}

/// Twelve digits that do not begin with 0: some tools take the number for a number.
fn account(installation: &str) -> String {
    let hash = Sha256::digest(format!("tanist-account/{installation}"));
    let number = hash.iter().take(8).fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    (100_000_000_000 + number % 900_000_000_000).to_string()
}

#[cfg(test)]
mod tests;
