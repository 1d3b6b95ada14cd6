//! What a data directory says of a store that was moved to etcd.
//!
//! The file `store.json` is what counts. Where the old store was there is then a file in its place,
//! so that whoever knows nothing of `store.json` finds a text that says where it went, and makes no new
//! one there.
//!
//! Invariant: from the moment that `store.json` is there the old store is not opened any more.
//!
//! Not here: copying (`tanist_store::moving`), moving (`crate::commands`).

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tanist_tls::write_private;

use crate::failure::{Failure, chain};
use crate::layout::Layout;
use crate::store_file::StoreFile;

/// Where the store is now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Moved {
    /// The installation's id, which was the old store's to keep.
    pub(crate) installation: String,
    /// How etcd is reached.
    pub(crate) store: StoreFile,
}

fn broken(path: &Path, err: &dyn std::error::Error) -> Failure {
    let message = format!("{}: {}", path.display(), chain(err));
    Failure::new("T734", message, "check the data directory's owner and disk; restore the file")
}

impl Moved {
    /// What the directory says; nothing if its store is where it always was.
    pub(crate) fn load(layout: &Layout) -> Result<Option<Self>, Failure> {
        let path = layout.moved();
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(err) if matches!(err.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                return Ok(None);
            }
            Err(err) => return Err(broken(&path, &err)),
        };
        serde_json::from_slice(&text).map(Some).map_err(|err| broken(&path, &err))
    }

    /// Writes it down; after this the store is there.
    pub(crate) fn save(&self, layout: &Layout) -> Result<(), Failure> {
        let path = layout.moved();
        let text = serde_json::to_string_pretty(self).map_err(|err| broken(&path, &err))?;
        write_private(&path, &text).map_err(|err| broken(&path, &err))
    }

    /// Puts the old store, which is closed, out of the way. Done twice it is done once.
    pub(crate) fn retire_old(&self, layout: &Layout) -> Result<(), Failure> {
        let (store, old) = (layout.store(), layout.old_store());
        if store.is_dir() {
            std::fs::rename(&store, &old).map_err(|err| broken(&old, &err))?;
        }
        if store.exists() {
            return Ok(());
        }
        let text = format!(
            "The store of this installation is in etcd now: {}\n\
             `tanist dev` goes on with it there. What it was on the day of the move is in {}.\n",
            self.store.place(),
            old.display()
        );
        write_private(&store, &text).map_err(|err| broken(&store, &err))
    }

    /// Puts the old store back in its place. Done twice it is done once.
    pub(crate) fn put_old_back(layout: &Layout) -> Result<(), Failure> {
        let (store, old) = (layout.store(), layout.old_store());
        if old.is_dir() {
            if store.is_file() {
                std::fs::remove_file(&store).map_err(|err| broken(&store, &err))?;
            }
            std::fs::rename(&old, &store).map_err(|err| broken(&store, &err))?;
        }
        let path = layout.moved();
        std::fs::remove_file(&path).map_err(|err| broken(&path, &err))
    }
}

/// Refuses a directory whose store was moved, and that has lost the file which says where to.
pub(crate) fn refuse_note(layout: &Layout) -> Result<(), Failure> {
    let store: PathBuf = layout.store();
    if !store.is_file() {
        return Ok(());
    }
    let path = layout.moved();
    let note = std::fs::read_to_string(&store).unwrap_or_default();
    let first = note.lines().next().unwrap_or("it does not say where to");
    let message = format!("the store was moved, and {} is gone. {first}", path.display());
    Err(Failure::new("T734", message, "restore that file from a copy of the data directory"))
}
