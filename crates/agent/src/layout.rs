//! Where things are in a host's directory, and how its small files are written.
//!
//! ```text
//! guards/GROUP.SHARD        what the host has promised (`crate::guards`)
//! kept/GROUP.SHARD          what the shard can be rebuilt from (`crate::keeping`)
//! nodes/NODE/node.json      what the node is and what was last made true (`crate::record`)
//! nodes/NODE/node.conf      the engine's configuration
//! nodes/NODE/engine.log     the engine's own words
//! nodes/NODE/stopped.json   what the data held at an orderly stop
//! nodes/NODE/data/          the engine's data
//! nodes/NODE/aside/         data that was set aside
//! trash/                    what is being deleted
//! ```
//!
//! Invariant: a name that comes from outside becomes a path only if it is a plain file name.
//!
//! Not here: the contents.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use tanist_core::model::{NodeId, ShardKey};
use tracing::warn;

/// The engine's log.
pub(crate) const ENGINE_LOG: &str = "engine.log";
/// The log of before, when it had become long.
pub(crate) const ENGINE_LOG_BEFORE: &str = "engine.log.1";
/// The longest name that becomes a file name.
const NAME_LIMIT: usize = 100;

/// Whether a file has to survive a power cut from the moment at which it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Durable {
    /// It has to.
    Yes,
    /// It need not.
    No,
}

/// A host's directory.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    root: PathBuf,
}

/// A node's directory.
#[derive(Debug, Clone)]
pub(crate) struct NodeDir {
    path: PathBuf,
    trash: PathBuf,
}

impl Layout {
    /// Makes the directories that do not exist.
    pub(crate) fn prepare(root: &Path) -> io::Result<Self> {
        let layout = Self { root: root.to_owned() };
        for dir in
            [root.to_owned(), layout.guards(), layout.kept_all(), layout.nodes(), layout.trash()]
        {
            private_dir(&dir).map_err(|err| {
                io::Error::new(err.kind(), format!("making {}: {err}", dir.display()))
            })?;
        }
        // A promise must not be lost with the directory that it is in.
        File::open(root)?.sync_all()?;
        Ok(layout)
    }

    /// What was being deleted when the last agent ended. To be listed before any node is deleted by
    /// this one, so that nothing is deleted by two at once.
    pub(crate) fn trash_left(&self) -> io::Result<Vec<PathBuf>> {
        fs::read_dir(self.trash())?.map(|left| Ok(left?.path())).collect()
    }

    fn guards(&self) -> PathBuf {
        self.root.join("guards")
    }

    fn kept_all(&self) -> PathBuf {
        self.root.join("kept")
    }

    fn nodes(&self) -> PathBuf {
        self.root.join("nodes")
    }

    fn trash(&self) -> PathBuf {
        self.root.join("trash")
    }

    /// The file of a shard's guard.
    pub(crate) fn guard(&self, key: &ShardKey) -> PathBuf {
        self.guards().join(format!("{}.{}", key.group, key.shard))
    }

    /// The file of what is kept of a shard.
    pub(crate) fn kept(&self, key: &ShardKey) -> PathBuf {
        self.kept_all().join(format!("{}.{}", key.group, key.shard))
    }

    /// The shards of which there is a guard, or something kept.
    pub(crate) fn known_shards(&self) -> io::Result<BTreeSet<ShardKey>> {
        let mut keys = BTreeSet::new();
        for dir in [self.guards(), self.kept_all()] {
            for entry in fs::read_dir(dir)? {
                let name = entry?.file_name();
                // One with another dot is a draft.
                let names = name.to_str().and_then(|name| name.split_once('.'));
                let key = names.filter(|(group, shard)| is_plain(group) && is_plain(shard));
                keys.extend(
                    key.map(|(group, shard)| ShardKey { group: group.into(), shard: shard.into() }),
                );
            }
        }
        Ok(keys)
    }

    /// A node's directory.
    pub(crate) fn node(&self, node: &NodeId) -> NodeDir {
        NodeDir { path: self.nodes().join(node.as_str()), trash: self.trash() }
    }

    /// The nodes that have a directory.
    pub(crate) fn known_nodes(&self) -> io::Result<Vec<NodeId>> {
        let mut nodes = Vec::new();
        for entry in fs::read_dir(self.nodes())? {
            let name = entry?.file_name();
            nodes.extend(name.to_str().filter(|name| is_plain(name)).map(NodeId::new));
        }
        nodes.sort();
        Ok(nodes)
    }
}

impl NodeDir {
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn record(&self) -> PathBuf {
        self.path.join("node.json")
    }

    pub(crate) fn conf(&self) -> PathBuf {
        self.path.join("node.conf")
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.path.join(ENGINE_LOG)
    }

    pub(crate) fn stopped(&self) -> PathBuf {
        self.path.join("stopped.json")
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.path.join("data")
    }

    pub(crate) fn aside(&self) -> PathBuf {
        self.path.join("aside")
    }

    /// It exists.
    pub(crate) fn exists(&self) -> bool {
        self.path.exists()
    }

    /// Makes it and the directories in it.
    pub(crate) fn make(&self) -> io::Result<()> {
        for dir in [self.path.clone(), self.data(), self.aside()] {
            private_dir(&dir)?;
        }
        Ok(())
    }

    /// Deletes it. It disappears at once, as a whole; the space comes back a little later.
    pub(crate) fn delete(&self) -> io::Result<()> {
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        let doomed = self.trash.join(format!("{name}-{}", unix_millis()));
        match fs::rename(&self.path, &doomed) {
            Ok(()) => fs::remove_dir_all(&doomed),
            Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(err) => Err(err),
        }
    }
}

/// Deletes what is left of nodes.
pub(crate) fn delete_all(left: &[PathBuf]) {
    for path in left {
        if let Err(err) = fs::remove_dir_all(path) {
            warn!(path = %path.display(), %err, "deleting what is left of a node");
        }
    }
}

/// Whether a name may be a file's name.
pub(crate) fn is_plain(name: &str) -> bool {
    let charset = name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
    charset && !name.is_empty() && name.len() <= NAME_LIMIT
}

/// Makes a directory that only its owner can look into; its parents, too, if need be.
pub(crate) fn private_dir(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Replaces a file: a reader sees the old content or the new one, also after a crash.
pub(crate) fn replace(path: &Path, content: &[u8], durable: Durable) -> io::Result<()> {
    let mut draft = path.as_os_str().to_owned();
    draft.push(".new");
    let draft = PathBuf::from(draft);
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
    file.write_all(content)?;
    if durable == Durable::Yes {
        file.sync_all()?;
    }
    fs::rename(&draft, path)?;
    match (durable, path.parent()) {
        (Durable::Yes, Some(dir)) => File::open(dir)?.sync_all(),
        (Durable::Yes | Durable::No, _) => Ok(()),
    }
}

/// All but the `keep` newest of the entries whose names begin with a time and are wanted.
pub(crate) fn oldest(dir: &Path, keep: usize, wanted: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let stamp = |name: &str| name.split('-').next().and_then(|text| text.parse::<u128>().ok());
    let mut found: Vec<(u128, PathBuf)> = entries
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name();
            let name = name.to_str().filter(|name| wanted(name))?;
            Some((stamp(name)?, entry.path()))
        })
        .collect();
    found.sort();
    found.truncate(found.len().saturating_sub(keep));
    found.into_iter().map(|(_, path)| path).collect()
}

/// Milliseconds since 1970, for names that people read.
pub(crate) fn unix_millis() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_names_become_paths() {
        for bad in ["", ".", "..", "a/b", "a.b", "a\0", "é", &"a".repeat(NAME_LIMIT + 1)] {
            assert!(!is_plain(bad), "{bad:?}");
        }
        assert!(is_plain("web-001"));
    }

    #[test]
    fn preparing_deletes_nothing_and_what_was_left_is_deleted_afterwards() {
        let dir = tempfile::tempdir().unwrap();
        let left = dir.path().join("trash/web-001-5");
        fs::create_dir_all(left.join("data")).unwrap();
        let layout = Layout::prepare(dir.path()).unwrap();
        assert!(left.exists(), "deleting takes long, and nothing is reported before");
        let trash = layout.trash_left().unwrap();
        assert_eq!(trash, std::slice::from_ref(&left));
        delete_all(&trash);
        assert!(!left.exists());
    }

    #[test]
    fn a_deleted_node_is_gone_and_deleting_it_twice_is_no_error() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::prepare(dir.path()).unwrap();
        let node = layout.node(&NodeId::new("web-001"));
        node.make().unwrap();
        fs::write(node.data().join("x"), b"x").unwrap();
        assert_eq!(layout.known_nodes().unwrap(), [NodeId::new("web-001")]);
        node.delete().unwrap();
        node.delete().unwrap();
        assert!(!node.exists());
        assert!(layout.known_nodes().unwrap().is_empty());
    }
}
