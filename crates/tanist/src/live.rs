//! What of the configuration takes effect while `tanist dev` runs: names, and the owner's certificate.
//!
//! A certificate is renewed by whoever made it, and a name is added when an application needs it;
//! neither is worth a restart. So the files are looked at once a second.
//!
//! Invariant: what cannot be read changes nothing; what was there before holds, and people are told.
//!
//! Not here: the other sections, which hold from the start on (`crate::config`).

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tanist_controller::Outside;
use tanist_tls::Owners;
use tokio::sync::watch;
use tracing::{info, warn};

use crate::config::{self, Config};
use crate::failure::{Failure, chain};

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What tells that a file has changed: time of the last change, length, number. Nothing if it is not
/// there.
type Mark = Option<(SystemTime, u64, u64)>;

/// Reads what may change, and goes on looking for as long as somebody listens.
pub(crate) fn watch(
    path: Option<PathBuf>,
    config: &Config,
) -> Result<watch::Receiver<Arc<Outside>>, Failure> {
    let outside = outside(path.as_deref(), config)?;
    let (sender, receiver) = watch::channel(Arc::new(outside));
    if let Some(path) = path {
        let files = files(&path, config);
        tokio::spawn(follow(path, files, sender));
    }
    Ok(receiver)
}

/// The file, and those that it names.
fn files(path: &Path, config: &Config) -> Vec<PathBuf> {
    let mut all = vec![path.to_owned()];
    if let Some(tls) = &config.tls {
        all.extend([beside(path, &tls.certificate), beside(path, &tls.key)]);
    }
    all
}

/// A path that the file names: from where the file is.
fn beside(path: &Path, named: &Path) -> PathBuf {
    path.parent().map_or_else(|| named.to_owned(), |dir| dir.join(named))
}

fn outside(path: Option<&Path>, config: &Config) -> Result<Outside, Failure> {
    let owners = match (&config.tls, path) {
        (Some(tls), Some(path)) => {
            let read = Owners::read(&beside(path, &tls.certificate), &beside(path, &tls.key));
            Some(read.map_err(|err| {
                let remedy = "correct [tls] in the file that --config names, or leave it out";
                Failure::new("T672", chain(&err), remedy).exit(2)
            })?)
        }
        _ => None,
    };
    Ok(Outside { aliases: config.names.clone(), owners, trouble: None })
}

async fn follow(path: PathBuf, mut files: Vec<PathBuf>, sender: watch::Sender<Arc<Outside>>) {
    // The first look reads in any case: something may have changed since the start read it.
    let mut taken = Vec::new();
    // What could not be read; it is said if it is still so at the next look.
    let mut failing: Option<Vec<Mark>> = None;
    loop {
        tokio::select! {
            () = sender.closed() => return,
            // waits: files are replaced in many ways, of which not all make an event for a watcher.
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        let now = marks(&files).await;
        if now == taken {
            continue;
        }
        let at = path.clone();
        // A thread of its own: a disk may take its time.
        let read = tokio::task::spawn_blocking(move || reread(&at)).await;
        match read {
            Ok(Ok((next, named))) => {
                // Files that are new here are marked, and so read, at the next look.
                taken = if named == files { now } else { Vec::new() };
                files = named;
                failing = None;
                let held = sender.borrow().clone();
                if next != *held {
                    info!(file = %path.display(), "names and certificates are taken from the file");
                    sender.send_replace(Arc::new(next));
                }
            }
            // It may have been half written; the next look finds the rest.
            Ok(Err(_)) if failing.as_ref() != Some(&now) => failing = Some(now),
            Ok(Err(why)) => {
                warn!("{why}");
                taken = now;
                failing = None;
                sender.send_modify(|outside| {
                    *outside = Arc::new(Outside { trouble: Some(why), ..Outside::clone(outside) });
                });
            }
            Err(err) => warn!(%err, "reading the configuration again"),
        }
    }
}

fn reread(path: &Path) -> Result<(Outside, Vec<PathBuf>), String> {
    let config = config::read(Some(path)).map_err(|failure| failure.message)?;
    let next = outside(Some(path), &config).map_err(|failure| failure.message)?;
    Ok((next, files(path, &config)))
}

async fn marks(files: &[PathBuf]) -> Vec<Mark> {
    let mut all = Vec::new();
    for file in files {
        let found = tokio::fs::metadata(file).await.ok();
        all.push(found.and_then(|found| {
            let number = std::os::unix::fs::MetadataExt::ino(&found);
            Some((found.modified().ok()?, found.len(), number))
        }));
    }
    all
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use tanist_tls::Authority;

    use super::*;

    /// Long enough for two looks.
    const PATIENCE: Duration = Duration::from_secs(20);

    async fn next(receiver: &mut watch::Receiver<Arc<Outside>>) -> Arc<Outside> {
        tokio::time::timeout(PATIENCE, receiver.changed()).await.unwrap().unwrap();
        Arc::clone(&receiver.borrow_and_update())
    }

    #[tokio::test]
    async fn names_and_certificates_follow_the_files_and_what_is_bad_changes_nothing() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("tanist.toml");
        let write = |text: &str| std::fs::write(&path, text).unwrap();
        let authority = Authority::load_or_create(&root.path().join("tls")).unwrap();
        let put = || {
            let names = BTreeSet::from(["own.x".to_owned()]);
            let issued = authority.endpoint("own", &names, SystemTime::now()).unwrap();
            std::fs::write(root.path().join("k.pem"), &issued.key).unwrap();
            std::fs::write(root.path().join("c.pem"), &issued.chain).unwrap();
            issued.fingerprint
        };
        write("");
        let config = config::read(Some(&path)).unwrap();
        let mut receiver = watch(Some(path.clone()), &config).unwrap();
        assert!(receiver.borrow().owners.is_none());
        let first = put();
        write("[names]\n\"r.x\" = \"web\"\n[tls]\ncertificate = \"c.pem\"\nkey = \"k.pem\"\n");
        let read = next(&mut receiver).await;
        assert_eq!(read.owners.as_ref().unwrap().fingerprint, first);
        let aliases = read.aliases.clone();
        assert_ne!(aliases, Default::default());
        let second = put();
        assert_eq!(next(&mut receiver).await.owners.as_ref().unwrap().fingerprint, second);
        std::fs::write(root.path().join("k.pem"), "nonsense").unwrap();
        let kept = next(&mut receiver).await;
        assert!(kept.trouble.as_ref().unwrap().contains("k.pem"), "{kept:?}");
        assert_eq!(
            (kept.owners.as_ref().unwrap().fingerprint.clone(), &kept.aliases),
            (second, &aliases)
        );
        let third = put();
        let healed = next(&mut receiver).await;
        assert_eq!(healed.owners.as_ref().unwrap().fingerprint, third);
        assert!(healed.trouble.is_none());
    }

    #[test]
    fn a_bad_certificate_is_refused_at_the_start() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("tanist.toml");
        std::fs::write(&path, "[tls]\ncertificate = \"c.pem\"\nkey = \"k.pem\"\n").unwrap();
        let config = config::read(Some(&path)).unwrap();
        let refused = watch(Some(path), &config).unwrap_err();
        assert_eq!((refused.code.as_str(), refused.exit), ("T672", 2));
        assert!(refused.message.contains("c.pem"), "{}", refused.message);
    }
}
