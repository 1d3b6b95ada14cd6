//! Opening the store of `tanist dev`: in its directory, or in etcd once it was moved there.
//!
//! Invariant: one process works with a data directory's store; an etcd that does not hold this
//! installation's state is never taken for a new one.
//!
//! Not here: moving it (`crate::commands`).

use std::path::Path;
use std::time::Duration;

use tanist_controller::{Candidate, Claim};
use tanist_core::model::HostId;
use tanist_store::moving::{Mark, Stage, mark};
use tanist_store::{AnyStore, EtcdStore, Options, SqliteStore, StoreError};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::config::Config;
use crate::failure::Failure;
use crate::layout::Layout;
use crate::moved::{Moved, refuse_note};
use crate::roles;
use crate::spawn::RoleLock;

/// How long another one that works with the same state may take to be silent: one that was killed is
/// for less than a second.
const PATIENCE: Duration = Duration::from_secs(5);

/// An open store.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) store: AnyStore,
    /// The installation's id.
    pub(crate) installation: String,
    /// The right to lead, where others could open the store as well.
    pub(crate) claim: Option<Claim>,
    /// Ends with whoever works with it.
    _lock: Option<RoleLock>,
}

impl Opened {
    /// Ends its use: what was asked is done, and the files are released.
    pub(crate) async fn close(self) {
        if let AnyStore::Sqlite(store) = &self.store {
            store.close().await;
        }
    }
}

/// Opens it. `file` is the configuration that `declared` comes from.
pub(crate) async fn open(
    layout: &Layout,
    declared: &Config,
    file: Option<&Path>,
) -> Result<Opened, Failure> {
    match Moved::load(layout)? {
        Some(moved) => moved_one(layout, &moved, declared, file).await,
        None => {
            if let Some(store) = &declared.store {
                let message = format!(
                    "the file says that the store is in etcd ({}), and it is in {}",
                    store.place(),
                    layout.store().display()
                );
                let remedy = "move it there: tanist migrate-store --config FILE; or take [store] out \
                              of the file";
                return Err(Failure::new("T735", message, remedy).exit(2));
            }
            let store = embedded(layout).await?;
            if Moved::load(layout)?.is_some() {
                // It was moved while this process waited for it.
                store.close().await;
                let message = "the store has just been moved to etcd";
                return Err(Failure::new("T734", message, "start it again: tanist dev"));
            }
            let installation = store.status().installation;
            Ok(Opened { store: store.into(), installation, claim: None, _lock: None })
        }
    }
}

/// The store in the directory.
pub(crate) async fn embedded(layout: &Layout) -> Result<SqliteStore, Failure> {
    refuse_note(layout)?;
    SqliteStore::open(layout.store(), Options::default()).await.map_err(|err| {
        let remedy = match &err {
            StoreError::InUse { .. } => {
                "one installation per data directory: use the running one, or name another --data-dir"
            }
            StoreError::Damaged { .. } => "put the last good copy in place of the damaged file",
            _ => "see the message; nothing was changed",
        };
        Failure::caused("T615", &err, remedy)
    })
}

/// The lock of whoever works with a store that was moved.
pub(crate) fn lock(layout: &Layout) -> Result<RoleLock, Failure> {
    roles::alone(layout, "dev")?.ok_or_else(|| {
        let message =
            format!("the store of {} is in use by another process", layout.root().display());
        let remedy = "one tanist dev per data directory: use the running one, or end it first";
        Failure::new("T615", message, remedy)
    })
}

async fn moved_one(
    layout: &Layout,
    moved: &Moved,
    declared: &Config,
    file: Option<&Path>,
) -> Result<Opened, Failure> {
    let lock = lock(layout)?;
    let named = match (&declared.store, file) {
        (Some(store), Some(file)) => {
            store.check()?;
            store.settled(file, &moved.installation)
        }
        _ => moved.store.clone(),
    };
    let place = named.place();
    let store = reach(&Moved { store: named, ..moved.clone() }).await?;
    let found = mark(&store).await.map_err(|err| unreachable(&place, &err))?;
    let whole = Mark { installation: moved.installation.clone(), stage: Stage::Whole };
    if found.as_ref() != Some(&whole) {
        return Err(not_ours(&place, found.as_ref()));
    }
    moved.retire_old(layout)?;
    let claim = lead(store.clone().into()).await?;
    let installation = moved.installation.clone();
    Ok(Opened { store: store.into(), installation, claim: Some(claim), _lock: Some(lock) })
}

/// The etcd to which the store was moved.
pub(crate) async fn reach(moved: &Moved) -> Result<EtcdStore, Failure> {
    // Every file is named in full.
    let config = moved.store.etcd(Path::new("/"), &moved.installation)?;
    EtcdStore::open(&config).await.map_err(|err| unreachable(&moved.store.place(), &err))
}

fn unreachable(place: &str, err: &StoreError) -> Failure {
    let remedy = format!("start etcd ({place}); engines and endpoints go on serving meanwhile");
    Failure::caused("T736", err, remedy)
}

fn not_ours(place: &str, found: Option<&Mark>) -> Failure {
    let what = match found {
        None => "holds no state of any installation".to_owned(),
        Some(Mark { stage: Stage::Copying, .. }) => "holds a copy that is not whole".to_owned(),
        Some(Mark { stage: Stage::Left, .. }) => {
            "was left: the store is being moved back".to_owned()
        }
        Some(mark) => format!("holds the state of another installation ({})", mark.installation),
    };
    let message = format!("the store was moved to etcd ({place}), and what is there {what}");
    let remedy = "nothing was changed. Point [store] at the etcd with the state, restore etcd from \
                  its backup, or finish moving: tanist migrate-store (--back)";
    Failure::new("T734", message, remedy)
}

/// Waits until nobody else works with the state, and leads.
async fn lead(store: AnyStore) -> Result<Claim, Failure> {
    let (known, _) = watch::channel(None);
    let candidate = Candidate { host: HostId::new("dev"), known };
    match timeout(PATIENCE, candidate.stand_by(&store)).await {
        Ok(claim) => claim.map_err(|err| {
            Failure::caused("T631", &err, "run the release that has written it, or a later one")
        }),
        Err(_) => {
            let message = "another tanist dev works with the same state in etcd";
            let remedy = "end that one first; it may run on another machine, from a copy of this \
                          data directory";
            Err(Failure::new("T615", message, remedy))
        }
    }
}
