//! Finding the engines' binaries on this host.
//!
//! Invariant: a binary that is reported exists and is executable at the path that is shown.
//!
//! Not here: whether it is new enough (`tanist-agent` checks before it starts one).

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tanist_agent::Engines;
use tanist_core::model::EngineKind;

use crate::failure::Failure;

/// The engines that were found.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    redis: Option<PathBuf>,
    valkey: Option<PathBuf>,
}

/// Looks for the engines along `PATH`, or where `TANIST_REDIS` and `TANIST_VALKEY` say.
pub(crate) fn find() -> Result<Found, Failure> {
    let found = Found {
        redis: named("TANIST_REDIS").or_else(|| on_path("redis-server")),
        valkey: named("TANIST_VALKEY").or_else(|| on_path("valkey-server")),
    };
    if found.redis.is_none() && found.valkey.is_none() {
        let message = "no engine is installed: neither redis-server nor valkey-server is on PATH";
        return Err(Failure::new("T616", message, "install one: apt install redis-server"));
    }
    Ok(found)
}

pub(crate) fn named(variable: &str) -> Option<PathBuf> {
    std::env::var_os(variable).map(PathBuf::from).filter(|path| is_program(path))
}

pub(crate) fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(name)).find(|path| is_program(path))
}

fn is_program(path: &Path) -> bool {
    std::fs::metadata(path)
        .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

impl Found {
    /// The engine to use when nobody says.
    pub(crate) fn default_kind(&self) -> EngineKind {
        if self.redis.is_some() { EngineKind::Redis } else { EngineKind::Valkey }
    }

    /// The binaries for the agents; one that is not installed is named, so that starting it says so.
    pub(crate) fn paths(&self) -> Engines {
        let path = |found: &Option<PathBuf>, name: &str| {
            found.clone().unwrap_or_else(|| PathBuf::from(format!("/usr/bin/{name}")))
        };
        Engines {
            redis: path(&self.redis, "redis-server"),
            valkey: path(&self.valkey, "valkey-server"),
        }
    }

    /// The binaries that were found, for people.
    pub(crate) fn list(&self) -> Vec<&Path> {
        [self.redis.as_deref(), self.valkey.as_deref()].into_iter().flatten().collect()
    }
}
