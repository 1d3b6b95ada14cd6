//! A loopback network that no other test uses at the same time.
//!
//! Invariant: a network is held by a lock that ends with the process, whatever becomes of the test.
//!
//! Not here: network namespaces.

use std::fs::{File, OpenOptions};

use rustix::fs::{FlockOperation, flock};

/// 127.N.0.0/16, held for as long as the value lives.
#[derive(Debug)]
pub struct Network {
    number: u8,
    _lock: File,
}

impl Network {
    /// Takes a free one.
    ///
    /// # Panics
    /// If all are taken or the lock files cannot be used.
    pub fn take() -> Self {
        for number in 130..=250 {
            let path = std::env::temp_dir().join(format!("tanist-lab-network-{number}.lock"));
            let file = OpenOptions::new().write(true).create(true).truncate(false).open(&path);
            let file = file.unwrap_or_else(|err| panic!("opening {}: {err}", path.display()));
            if flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
                return Self { number, _lock: file };
            }
        }
        panic!("every loopback network is in use by another test");
    }

    /// N.
    pub fn number(&self) -> u8 {
        self.number
    }
}
