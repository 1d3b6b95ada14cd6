//! A region's records, changed in transactions.
//!
//! Networks, security groups and instances are facts that clients rely on, so a change of several
//! records is one transaction of the store and whoever changes them sees all changes before his
//! own. Records are few and small: a region's are held whole, and an operation on them is a
//! function from one state to the next, which a test needs no store for.
//!
//! Invariant: every transaction on a region compares and replaces one key, so changes of a region
//! have one order; what [`Book::read`] answers was the whole truth at some moment of the call.
//!
//! Not here: what an operation does (`crate::ec2`, `crate::elasticache`), replication groups.

mod declared;
mod ground;
mod ids;
mod pages;
mod records;
mod shelf;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, PoisonError};

use serde::{Deserialize, Serialize};
use tanist_core::model::stored::Stored;
use tanist_store::{AnyStore, MAX_TXN_OPS, Revision, Store, StoreError, Txn};

use crate::error::{ApiError, Fault};
use crate::wire::Protocol;

pub use declared::{
    Declared, DeclaredError, DeclaredGroup, DeclaredRule, DeclaredSubnet, DeclaredVpc,
};
#[cfg(test)]
pub(crate) use ground::lay_region;
pub(crate) use ground::{DEFAULT_GROUP, NewSubnet, NewVpc, all_traffic, anywhere};
pub(crate) use ground::{lay_subnet, lay_vpc};
pub(crate) use ids::Ids;
pub(crate) use pages::Pages;
pub(crate) use records::*;

/// Most records of one region; each kind has a lower limit of its own.
const MAX_RECORDS: usize = 50_000;

/// How often a change is tried when others come first.
const ATTEMPTS: u32 = 64;

/// Why records could not be read or changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BookError {
    /// The operation refused; nothing was changed.
    #[error("{}: {}", .0.code, .0.message)]
    Refused(ApiError),
    /// The store failed.
    #[error("{doing} the records of {region}")]
    Store {
        /// What was being done.
        doing: &'static str,
        /// Whose records.
        region: String,
        /// Why it failed.
        #[source]
        source: StoreError,
    },
    /// A stored record cannot be read, or a new one cannot be written.
    #[error("the record {key} is not understood")]
    Record {
        /// Its key.
        key: String,
        /// Why not.
        #[source]
        source: serde_json::Error,
    },
    /// The change is larger than a transaction can be.
    #[error("a change of {records} records of {region} is too large")]
    TooLarge {
        /// Whose records.
        region: String,
        /// How many it would change.
        records: usize,
    },
    /// The region has as many records as are kept.
    #[error("{region} has its full number of records")]
    Full {
        /// The region.
        region: String,
    },
    /// Others changed the region each time before this change could be written.
    #[error("others kept changing the records of {region}")]
    Contended {
        /// The region.
        region: String,
    },
    /// A declared network cannot be had.
    #[error("declaring networks of {region}")]
    Declared {
        /// The region.
        region: String,
        /// Why not.
        #[source]
        source: DeclaredError,
    },
}

impl From<BookError> for ApiError {
    fn from(error: BookError) -> Self {
        match error {
            BookError::Refused(refused) => refused,
            other => {
                tracing::error!(error = &other as &dyn std::error::Error, "records");
                Fault::Internal.answer(Protocol::Query)
            }
        }
    }
}

impl From<ApiError> for BookError {
    fn from(refused: ApiError) -> Self {
        Self::Refused(refused)
    }
}

/// What the last transaction was: whoever does not learn whether his was written looks here.
#[derive(Debug, Serialize, Deserialize)]
struct Mark {
    by: String,
}

#[derive(Debug, Clone)]
struct Known {
    revision: Revision,
    pages: Arc<Pages>,
}

#[derive(Debug, Default)]
struct Region {
    /// Held over one change: those of one process take turns instead of trying again.
    turn: tokio::sync::Mutex<()>,
    known: std::sync::Mutex<Option<Known>>,
}

impl Region {
    fn known(&self) -> Option<Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Remembers a state, unless a later one is known.
    fn learn(&self, new: &Known) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.as_ref().is_none_or(|known| known.revision < new.revision) {
            *known = Some(new.clone());
        }
    }
}

struct Inner {
    store: AnyStore,
    zones: Arc<[String]>,
    regions: std::sync::Mutex<BTreeMap<String, Arc<Region>>>,
}

/// The records of every region. A clone is another handle of the same.
#[derive(Clone)]
pub struct Book {
    inner: Arc<Inner>,
}

impl fmt::Debug for Book {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Book").field("zones", &self.inner.zones).finish_non_exhaustive()
    }
}

impl Book {
    /// Opens the records in a store, and makes the networks that are declared and not there yet.
    /// `zones` are all that exist, with their regions' names in front (`us-east-1a`).
    ///
    /// # Errors
    /// [`BookError::Declared`] if a declared network is in conflict with what is there; otherwise
    /// that the store failed.
    pub async fn open(
        store: AnyStore,
        zones: Arc<[String]>,
        declared: &Declared,
    ) -> Result<Self, BookError> {
        let inner = Inner { store, zones, regions: std::sync::Mutex::default() };
        let book = Self { inner: Arc::new(inner) };
        for region in declared.regions() {
            let mut ids = Ids::new();
            let zones = book.zones(&region);
            let work = |pages: &mut Pages| {
                declared
                    .lay(&region, &zones, pages, &mut ids)
                    .map_err(|source| BookError::Declared { region: region.clone(), source })
            };
            book.write(&region, work).await?;
        }
        Ok(book)
    }

    /// The zones of a region.
    fn zones(&self, region: &str) -> Vec<String> {
        let zones = self.inner.zones.iter();
        zones.filter(|zone| zone_is_in(zone, region)).cloned().collect()
    }

    /// The records of a region as they are now. The caller vouches for the region: it exists.
    ///
    /// # Errors
    /// That the store failed, or that a record is not understood.
    pub(crate) async fn read(&self, region: &str) -> Result<Arc<Pages>, BookError> {
        let known = self.newest(region).await?;
        if known.revision == Revision::ABSENT {
            // The first touch: somebody has to write down the default network.
            self.write(region, |_| Ok(())).await?;
            return Ok(self.newest(region).await?.pages);
        }
        Ok(known.pages)
    }

    /// Changes the records of a region: `work` gets a copy of all, and what it has changed there is
    /// written as one transaction. If it refuses, nothing is. It may be called more than once.
    ///
    /// # Errors
    /// [`BookError::Refused`] with `work`'s own error; otherwise that the change could not be
    /// written. After a [`StoreError::Unknown`] inside it may have been.
    pub(crate) async fn change<T>(
        &self,
        region: &str,
        mut work: impl FnMut(&mut Pages) -> Result<T, ApiError>,
    ) -> Result<T, BookError> {
        self.write(region, |pages| work(pages).map_err(BookError::Refused)).await
    }

    async fn write<T>(
        &self,
        region: &str,
        mut work: impl FnMut(&mut Pages) -> Result<T, BookError>,
    ) -> Result<T, BookError> {
        let home = self.region(region);
        let _turn = home.turn.lock().await;
        for _ in 0..ATTEMPTS {
            let known = self.newest(region).await?;
            let mut pages = Pages::clone(&known.pages);
            if known.revision == Revision::ABSENT {
                let zones = self.zones(region);
                let zones = zones.iter().map(String::as_str);
                ground::lay_region(&mut pages, &mut Ids::new(), zones);
            }
            let answer = work(&mut pages)?;
            if self.commit(region, &known, pages).await? {
                return Ok(answer);
            }
        }
        Err(BookError::Contended { region: region.to_owned() })
    }

    /// Writes what differs between `known` and `pages`; false if somebody came first.
    async fn commit(&self, region: &str, known: &Known, pages: Pages) -> Result<bool, BookError> {
        if pages.len() > MAX_RECORDS && pages.len() > known.pages.len() {
            return Err(BookError::Full { region: region.to_owned() });
        }
        let not_written = |source| BookError::Record { key: prefix(region), source };
        let writes = pages.since(&known.pages).map_err(not_written)?;
        if writes.is_empty() {
            return Ok(true);
        }
        if writes.len() >= MAX_TXN_OPS {
            return Err(BookError::TooLarge { region: region.to_owned(), records: writes.len() });
        }
        let by = hex::encode(Ids::new().bytes::<16>());
        let mark = Stored::new(Mark { by: by.clone() });
        let mark = serde_json::to_vec(&mark).map_err(not_written)?;
        let rev = rev_key(region);
        let mut txn = Txn::new().when_unchanged(&rev, known.revision).put(&rev, mark);
        for write in writes {
            let key = format!("{}{}/{}", prefix(region), write.kind, write.id);
            txn = match write.document {
                Some(document) => txn.put(key, document),
                None => txn.delete(key),
            };
        }
        let revision = match self.inner.store.txn(txn).await {
            Ok(outcome) if !outcome.committed => return Ok(false),
            Ok(outcome) => outcome.revision,
            Err(source) if source.outcome_unknown() => {
                self.written(region, &by).await?.ok_or_else(|| failed("writing", region, source))?
            }
            Err(source) => return Err(failed("writing", region, source)),
        };
        self.region(region).learn(&Known { revision, pages: Arc::new(pages) });
        Ok(true)
    }

    /// The revision of the last transaction if it has this mark.
    async fn written(&self, region: &str, by: &str) -> Result<Option<Revision>, BookError> {
        let key = rev_key(region);
        let found = self.inner.store.get(&key).await;
        let (found, _) = found.map_err(|source| failed("reading", region, source))?;
        let Some(found) = found else { return Ok(None) };
        let mark: Stored<Mark> = serde_json::from_slice(&found.value)
            .map_err(|source| BookError::Record { key, source })?;
        Ok((mark.into_body().by == by).then_some(found.mod_revision))
    }

    /// What is known of a region, after a look whether it is still true.
    async fn newest(&self, region: &str) -> Result<Known, BookError> {
        let home = self.region(region);
        if let Some(known) = home.known() {
            let mark = self.inner.store.get(&rev_key(region)).await;
            let (mark, _) = mark.map_err(|source| failed("reading", region, source))?;
            if mark.is_some_and(|mark| mark.mod_revision == known.revision) {
                return Ok(known);
            }
        }
        let (prefix, rev) = (prefix(region), rev_key(region));
        let all = self.inner.store.range(&prefix).await;
        let (all, _) = all.map_err(|source| failed("reading", region, source))?;
        let (mut revision, mut pages) = (Revision::ABSENT, Pages::default());
        for kv in all {
            if kv.key == rev {
                revision = kv.mod_revision;
                continue;
            }
            let place = kv.key.strip_prefix(&prefix).and_then(|rest| rest.split_once('/'));
            let Some((kind, id)) = place else { continue };
            let placed = pages.restore(kind, id, &kv.value);
            // A kind of a later release is left alone: only what differs is ever written.
            placed.map_err(|source| BookError::Record { key: kv.key.clone(), source })?;
        }
        let known = Known { revision, pages: Arc::new(pages) };
        if revision != Revision::ABSENT {
            home.learn(&known);
        }
        Ok(known)
    }

    fn region(&self, region: &str) -> Arc<Region> {
        let mut regions = self.inner.regions.lock().unwrap_or_else(PoisonError::into_inner);
        match regions.get(region) {
            Some(known) => known.clone(),
            None => regions.entry(region.to_owned()).or_default().clone(),
        }
    }
}

/// Whether a zone's name is its region's and a letter more.
pub(crate) fn zone_is_in(zone: &str, region: &str) -> bool {
    zone.strip_prefix(region).is_some_and(|letter| letter.len() == 1)
}

fn prefix(region: &str) -> String {
    format!("aws/{region}/")
}

fn rev_key(region: &str) -> String {
    format!("aws/{region}/rev")
}

fn failed(doing: &'static str, region: &str, source: StoreError) -> BookError {
    BookError::Store { doing, region: region.to_owned(), source }
}

#[cfg(test)]
mod tests;
