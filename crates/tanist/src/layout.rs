//! Where an installation keeps what.
//!
//! Invariant: everything is below one directory of mode 0700; nothing in it is readable by others.
//!
//! Not here: the layout of a host's directory (`tanist-agent`), of the store (`tanist-store`).

use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::failure::Failure;

/// An installation's directory.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    root: PathBuf,
}

impl Layout {
    /// The directory that was named, or the default one.
    pub(crate) fn new(data_dir: Option<PathBuf>) -> Result<Self, Failure> {
        let root = match data_dir {
            Some(dir) => dir,
            None => {
                let home = std::env::var_os("HOME").map(PathBuf::from).ok_or_else(|| {
                    let message = "no data directory: neither --data-dir nor HOME is set";
                    Failure::new("T610", message, "name one: --data-dir DIR").exit(2)
                })?;
                home.join(".local/share/tanist/dev")
            }
        };
        let root = std::path::absolute(&root).map_err(|err| {
            Failure::caused("T610", &err, "name another directory: --data-dir DIR").exit(2)
        })?;
        Ok(Self { root })
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn secret(&self) -> PathBuf {
        self.root.join("secret")
    }

    /// Certificates: the authority's, and what clients trust.
    pub(crate) fn tls(&self) -> PathBuf {
        self.root.join(tanist_tls::DIRECTORY)
    }

    /// What says that this host is a fleet's, and which one it is.
    pub(crate) fn membership(&self) -> PathBuf {
        self.root.join("member.json")
    }

    /// The host's key as a member, which never leaves it.
    pub(crate) fn member_key(&self) -> PathBuf {
        self.root.join("member.key")
    }

    /// The host's certificate as a member.
    pub(crate) fn member_chain(&self) -> PathBuf {
        self.root.join("member.pem")
    }

    /// The certificate of the authority of all members.
    pub(crate) fn member_authority(&self) -> PathBuf {
        self.root.join("fleet-ca.pem")
    }

    /// That authority, on servers.
    pub(crate) fn fleet_authority(&self) -> PathBuf {
        self.root.join("fleet")
    }

    /// The authority of those who keep the fleet's store, on servers.
    pub(crate) fn store_authority(&self) -> PathBuf {
        self.root.join("store-ca")
    }

    /// Where this host's etcd is, if Tanist runs it.
    pub(crate) fn etcd(&self) -> PathBuf {
        self.root.join("etcd")
    }

    /// The fleet's configuration, where it came with joining.
    pub(crate) fn fleet_config(&self) -> PathBuf {
        self.root.join("tanist.toml")
    }

    /// Whom clients on this machine trust, in one file.
    pub(crate) fn bundle(&self) -> PathBuf {
        self.tls().join("bundle.pem")
    }

    /// The file of what was measured.
    pub(crate) fn metrics(&self) -> PathBuf {
        self.root.join("metrics")
    }

    /// The file that keeps the installation's loopback network.
    pub(crate) fn network(&self) -> PathBuf {
        self.root.join("network")
    }

    /// The file that keeps the installation's id.
    pub(crate) fn identity(&self) -> PathBuf {
        self.root.join("installation")
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.root.join("store")
    }

    /// What says that the store was moved to etcd.
    pub(crate) fn moved(&self) -> PathBuf {
        self.root.join("store.json")
    }

    /// The store as it was when it was moved.
    pub(crate) fn old_store(&self) -> PathBuf {
        self.root.join("store.moved")
    }

    pub(crate) fn host(&self, host: &str) -> PathBuf {
        self.root.join("hosts").join(host)
    }

    pub(crate) fn supervisor_state(&self) -> PathBuf {
        self.root.join("supervisor")
    }

    pub(crate) fn reports(&self) -> PathBuf {
        self.root.join("drills")
    }

    /// The file that a role holds locked while it runs.
    pub(crate) fn lock(&self, role: &str) -> PathBuf {
        self.root.join(format!("{role}.lock"))
    }

    pub(crate) fn log(&self, role: &str) -> PathBuf {
        self.root.join(format!("{role}.log"))
    }

    /// The controller's socket, which is the installation's address.
    ///
    /// A unix socket's path has at most 107 bytes; a deep data directory gets its sockets in the
    /// run-time directory instead, under a name that follows from its path.
    pub(crate) fn controller_socket(&self) -> PathBuf {
        self.socket("tanist.sock")
    }

    pub(crate) fn supervisor_socket(&self) -> PathBuf {
        self.socket("supervise.sock")
    }

    fn socket(&self, name: &str) -> PathBuf {
        let path = self.root.join(name);
        if path.as_os_str().len() <= 100 {
            return path;
        }
        let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
        for byte in self.root.as_os_str().as_encoded_bytes() {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
        let uid = rustix::process::getuid().as_raw();
        std::env::temp_dir().join(format!("tanist-{uid}-{hash:016x}")).join(name)
    }

    /// Makes the directories.
    pub(crate) fn create(&self) -> Result<(), Failure> {
        let socket_dir = self.controller_socket().parent().map(Path::to_owned);
        let dirs = [Some(self.root.clone()), socket_dir, Some(self.supervisor_state())];
        for dir in dirs.into_iter().flatten() {
            private_dir(&dir).map_err(|err| {
                let message = format!("the data directory {} cannot be used: {err}", dir.display());
                Failure::new("T611", message, "name one that is yours: --data-dir DIR")
            })?;
        }
        Ok(())
    }
}

/// Makes a directory of mode 0700, or makes one that is there so.
pub(crate) fn private_dir(dir: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let meta = std::fs::metadata(dir)?;
    if std::os::unix::fs::MetadataExt::uid(&meta) != rustix::process::getuid().as_raw() {
        return Err(io::Error::other("it belongs to another user"));
    }
    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o700))?;
    // A directory on a read-only or full disk is better found out now than at the first write.
    // Two roles may start at the same time.
    let trial = dir.join(format!(".writable-{}", std::process::id()));
    std::fs::write(&trial, b"tanist")?;
    std::fs::remove_file(&trial)
}
