//! What a host has of its member of etcd, on its disk.
//!
//! Everything is below one directory: etcd's own data, its certificate, and `state.json`, which says whose
//! cluster this is, which member, and what a member without a log may begin with.
//!
//! Invariant: data is set aside, never deleted; what is of another installation is not touched.
//!
//! Not here: what follows from it (`tanist_core::quorum`).

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use tanist_core::quorum::Begin;
use tanist_tls::{MemberKey, write_private};

use crate::failure::Failure;
use crate::layout::{Layout, private_dir};

/// The most directories of data that are kept aside: many times what any host gets in its life.
const MOST_ASIDE: u32 = 1000;

/// A member's directory.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    dir: PathBuf,
}

/// What is remembered of a member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct State {
    /// The installation whose store it keeps.
    pub(crate) installation: String,
    /// The member's id, once it is known.
    #[serde(default)]
    pub(crate) id: Option<u64>,
    /// What it may begin with as long as it has no log.
    #[serde(default)]
    pub(crate) begin: Option<Begin>,
}

fn broken(path: &Path, err: &dyn std::error::Error) -> Failure {
    let message = format!("{}: {}", path.display(), crate::failure::chain(err));
    Failure::new("T723", message, "check the data directory's owner and disk")
}

impl Place {
    pub(crate) fn of(layout: &Layout) -> Self {
        Self { dir: layout.etcd() }
    }

    /// Lets this host begin the cluster, when it starts its member for the first time.
    pub(crate) fn found(layout: &Layout, installation: &str) -> Result<(), Failure> {
        let begin = Some(Begin::Found);
        Self::of(layout).save(&State { installation: installation.to_owned(), id: None, begin })
    }

    /// What is remembered; nothing is known of a member that was never here.
    pub(crate) fn state(&self, installation: &str) -> Result<State, Failure> {
        let path = self.dir.join("state.json");
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(err) if err.kind() == ErrorKind::NotFound && !self.has_log() => {
                let installation = installation.to_owned();
                return Ok(State { installation, id: None, begin: None });
            }
            Err(err) => return Err(broken(&path, &err)),
        };
        let state: State = serde_json::from_slice(&text).map_err(|err| broken(&path, &err))?;
        if state.installation == installation {
            return Ok(state);
        }
        let message = format!("{} holds an etcd of another installation", self.dir.display());
        Err(Failure::new("T722", message, "move that directory away, or name another --data-dir"))
    }

    pub(crate) fn save(&self, state: &State) -> Result<(), Failure> {
        let path = self.dir.join("state.json");
        private_dir(&self.dir).map_err(|err| broken(&self.dir, &err))?;
        let text = serde_json::to_string_pretty(state).map_err(|err| broken(&path, &err))?;
        write_private(&path, &text).map_err(|err| broken(&path, &err))
    }

    /// Where etcd has its data.
    pub(crate) fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// Whether the member has a log.
    pub(crate) fn has_log(&self) -> bool {
        std::fs::read_dir(self.data().join("member").join("wal"))
            .is_ok_and(|mut files| files.next().is_some())
    }

    /// Sets the data aside; answers where it is now, if there was any.
    pub(crate) fn set_aside(&self) -> Result<Option<PathBuf>, Failure> {
        let data = self.data();
        if !data.exists() {
            return Ok(None);
        }
        let free = (1..=MOST_ASIDE).map(|n| self.dir.join(format!("aside-{n}")));
        let to = { free }.find(|path| !path.exists()).ok_or_else(|| {
            let message = format!("{} holds too much that was set aside", self.dir.display());
            Failure::new("T723", message, "remove what is not needed of it")
        })?;
        std::fs::rename(&data, &to).map_err(|err| broken(&to, &err))?;
        Ok(Some(to))
    }

    /// The key by which this host's member and its clients are known.
    pub(crate) fn key(&self) -> Result<MemberKey, Failure> {
        private_dir(&self.dir).map_err(|err| broken(&self.dir, &err))?;
        let path = self.key_path();
        MemberKey::load_or_create(&path).map_err(|err| broken(&path, &err))
    }

    pub(crate) fn key_path(&self) -> PathBuf {
        self.dir.join("member.key")
    }

    pub(crate) fn chain_path(&self) -> PathBuf {
        self.dir.join("member.pem")
    }

    pub(crate) fn authority_path(&self) -> PathBuf {
        self.dir.join("ca.pem")
    }

    /// Writes the certificate that the member shows, and whom it trusts.
    pub(crate) fn certify(&self, chain: &str, authority: &str) -> Result<(), Failure> {
        for (path, text) in [(self.authority_path(), authority), (self.chain_path(), chain)] {
            write_private(&path, text).map_err(|err| broken(&path, &err))?;
        }
        Ok(())
    }

    /// When the certificate was written.
    pub(crate) fn certified(&self) -> Option<SystemTime> {
        std::fs::metadata(self.chain_path()).and_then(|meta| meta.modified()).ok()
    }

    /// The process that keeps this data, whoever has started it.
    pub(crate) fn running(&self) -> Option<u32> {
        let data = self.data();
        let is_ours = |pid: &u32| {
            let words = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let words: Vec<&[u8]> = words.split(|byte| *byte == 0).collect();
            let named =
                |pair: &[&[u8]]| pair == [b"--data-dir", data.as_os_str().as_encoded_bytes()];
            words.windows(2).any(named)
        };
        let all = std::fs::read_dir("/proc").ok()?.flatten();
        { all }.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).find(is_ours)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_of_another_installation_is_refused_and_nothing_is_guessed() {
        let root = tempfile::tempdir().unwrap();
        let layout = Layout::new(Some(root.path().to_owned())).unwrap();
        let place = Place::of(&layout);
        assert_eq!(place.state("abc").unwrap().begin, None, "nobody said that it may begin one");
        Place::found(&layout, "abc").unwrap();
        assert_eq!(place.state("abc").unwrap().begin, Some(Begin::Found));
        assert_eq!(place.state("other").unwrap_err().code, "T722");
        std::fs::create_dir_all(place.data().join("member/wal")).unwrap();
        assert!(!place.has_log());
        std::fs::write(place.data().join("member/wal/0.wal"), b"x").unwrap();
        assert!(place.has_log());
        std::fs::remove_file(layout.etcd().join("state.json")).unwrap();
        assert_eq!(place.state("abc").unwrap_err().code, "T723", "whose log that is nobody knows");
        assert!(place.running().is_none());
    }

    #[test]
    fn data_is_set_aside_and_stays() {
        let root = tempfile::tempdir().unwrap();
        let place = Place::of(&Layout::new(Some(root.path().to_owned())).unwrap());
        assert_eq!(place.set_aside().unwrap(), None);
        for number in 1..3 {
            std::fs::create_dir_all(place.data()).unwrap();
            std::fs::write(place.data().join("x"), format!("{number}")).unwrap();
            let aside = place.set_aside().unwrap().unwrap();
            assert!(aside.ends_with(format!("aside-{number}")));
            assert_eq!(std::fs::read_to_string(aside.join("x")).unwrap(), format!("{number}"));
        }
    }
}
