//! Whether an engine's binary is one that Tanist can keep: it exists, runs and is recent enough.
//!
//! Invariant: a binary is asked again when its file changes.
//!
//! Not here: starting it as an engine (`crate::node::start`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, SystemTime};

use tanist_core::model::EngineKind;
use tokio::process::Command;
use tokio::sync::Mutex;
use tokio::time::timeout;

/// How long a binary may take to say its version.
const DEADLINE: Duration = Duration::from_secs(5);

/// The version of a usable one, or why it is not.
type Verdict = Result<String, String>;

/// What was found out about binaries, with the time of the file that was asked.
#[derive(Debug, Default)]
pub(crate) struct Versions {
    known: Mutex<BTreeMap<(EngineKind, PathBuf), (SystemTime, Verdict)>>,
}

impl Versions {
    /// The binary's version, if it can be used.
    ///
    /// # Errors
    /// Why not and what to do, for the operator.
    pub(crate) async fn check(&self, kind: EngineKind, program: &Path) -> Verdict {
        let (name, package) = names(kind);
        let changed = match tokio::fs::metadata(program).await.and_then(|meta| meta.modified()) {
            Ok(changed) => changed,
            Err(err) => {
                let shown = program.display();
                return Err(format!(
                    "{shown} cannot be used ({err}): install {package}, or name its {name} in the \
                     configuration"
                ));
            }
        };
        let asked = (kind, program.to_owned());
        let mut known = self.known.lock().await;
        if let Some((then, verdict)) = known.get(&asked)
            && *then == changed
        {
            return verdict.clone();
        }
        let verdict = ask(kind, program).await;
        known.insert(asked, (changed, verdict.clone()));
        verdict
    }
}

fn names(kind: EngineKind) -> (&'static str, &'static str) {
    match kind {
        EngineKind::Redis => ("redis-server", "Redis 7.0 or later"),
        EngineKind::Valkey => ("valkey-server", "Valkey 8.0 or later"),
    }
}

/// The version of an engine's binary, such as `7.0.15`.
///
/// # Errors
/// Why it cannot be used and what to do, for the operator.
pub async fn engine_version(kind: EngineKind, program: &Path) -> Result<String, String> {
    ask(kind, program).await
}

async fn ask(kind: EngineKind, program: &Path) -> Verdict {
    let shown = program.display();
    let mut command = Command::new(program);
    command.arg("--version").stdin(Stdio::null()).kill_on_drop(true);
    let output = match timeout(DEADLINE, command.output()).await {
        Ok(Ok(output)) => output,
        Ok(Err(err)) => return Err(format!("{shown} cannot be executed: {err}")),
        Err(_) => return Err(format!("{shown} --version does not answer within {DEADLINE:?}")),
    };
    judge(kind, program, &String::from_utf8_lossy(&output.stdout))
}

/// Judges the text of `--version`, such as `Redis server v=7.0.15 sha=00000000:0 ...`.
fn judge(kind: EngineKind, program: &Path, text: &str) -> Verdict {
    let (_, package) = names(kind);
    let (title, least) = match kind {
        EngineKind::Redis => ("Redis", 7),
        EngineKind::Valkey => ("Valkey", 8),
    };
    let shown = program.display();
    let version = text
        .strip_prefix(title)
        .and_then(|rest| rest.split_whitespace().find_map(|word| word.strip_prefix("v=")));
    let Some(version) = version else {
        let said: String = text.chars().take(100).collect();
        return Err(format!(
            "{shown} is not {title}: it says {:?}; install {package}",
            said.trim()
        ));
    };
    let major = version.split('.').next().and_then(|major| major.parse::<u32>().ok());
    if major.is_some_and(|major| major >= least) {
        return Ok(version.to_owned());
    }
    Err(format!("{shown} is {title} {version}, which is too old: install {package}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const REDIS: &str = "Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64";

    #[test]
    fn old_and_foreign_binaries_are_refused_with_a_remedy() {
        let path = Path::new("/x/redis-server");
        assert_eq!(judge(EngineKind::Redis, path, REDIS), Ok("7.0.15".to_owned()));
        let old = judge(EngineKind::Redis, path, "Redis server v=6.2.7 sha=0").unwrap_err();
        assert!(old.contains("6.2.7") && old.contains("install Redis 7.0"), "{old}");
        let foreign = judge(EngineKind::Valkey, path, REDIS).unwrap_err();
        assert!(foreign.contains("not Valkey"), "{foreign}");
        assert!(judge(EngineKind::Redis, path, "").is_err());
    }

    #[tokio::test]
    async fn the_engines_of_this_machine_are_accepted() {
        let versions = Versions::default();
        let redis = Path::new("/usr/bin/redis-server");
        let valkey = Path::new("/usr/bin/valkey-server");
        assert!(versions.check(EngineKind::Redis, redis).await.is_ok_and(|v| v.starts_with("7.")));
        assert!(
            versions.check(EngineKind::Valkey, valkey).await.is_ok_and(|v| v.starts_with("8."))
        );
        assert!(versions.check(EngineKind::Redis, valkey).await.is_err());
        let missing = versions.check(EngineKind::Redis, Path::new("/nowhere/redis-server")).await;
        assert!(missing.unwrap_err().contains("install Redis 7.0"));
    }
}
