//! Engines' logs do not grow without a limit.
//!
//! An engine writes to a descriptor that it was given, so its log cannot be taken away from it: the
//! end of the log is copied, and the log itself is emptied. Since the descriptor appends, the next
//! line is written at the beginning. Lines that are written between the two steps are lost.
//!
//! Invariant: at most one older file per engine, of at most the limit.
//!
//! Not here: what a log says (`crate::node`), setting one aside at a start (`crate::supervisor`).

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use tracing::{info, warn};

use crate::layout::{self, Layout};

/// A log that is longer than this is emptied, in bytes.
const LIMIT: u64 = 64 << 20;
/// How often logs are looked at.
const EVERY: Duration = Duration::from_secs(60);

/// Looks at every engine's log from time to time; never ends.
pub(crate) async fn keep_short(layout: Layout) {
    let mut due = interval(EVERY);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        due.tick().await;
        let layout = layout.clone();
        let looked = tokio::task::spawn_blocking(move || shorten_all(&layout, LIMIT)).await;
        if let Err(err) = looked.map_err(io::Error::other).and_then(|looked| looked) {
            warn!(err = &err as &dyn std::error::Error, "looking at the engines' logs");
        }
    }
}

fn shorten_all(layout: &Layout, limit: u64) -> io::Result<()> {
    for node in layout.known_nodes()? {
        match shorten(layout.node(&node).path(), limit) {
            Ok(true) => info!(%node, "the engine's log was long: it begins anew"),
            Ok(false) => {}
            Err(err) => {
                warn!(%node, err = &err as &dyn std::error::Error, "shortening the engine's log");
            }
        }
    }
    Ok(())
}

/// Empties the log in a node's directory if it is longer than `limit`, and keeps that many bytes of
/// its end; whether it did.
fn shorten(dir: &Path, limit: u64) -> io::Result<bool> {
    let mut log = match OpenOptions::new().read(true).write(true).open(dir.join(layout::ENGINE_LOG))
    {
        Ok(log) => log,
        // A node that has not been started, or is being deleted.
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(err) => return Err(err),
    };
    let length = log.metadata()?.len();
    if length <= limit {
        return Ok(false);
    }
    log.seek(SeekFrom::Start(length - limit))?;
    let draft = dir.join(DRAFT);
    let kept = keep(&mut log, limit, &draft)
        .and_then(|()| fs::rename(&draft, dir.join(layout::ENGINE_LOG_BEFORE)));
    if let Err(err) = kept {
        // Most likely the disk is full: half a copy must not make that worse.
        let _ = fs::remove_file(&draft);
        return Err(err);
    }
    log.set_len(0)?;
    Ok(true)
}

/// The copy until it is complete.
const DRAFT: &str = "engine.log.1.new";

fn keep(log: &mut File, limit: u64, draft: &Path) -> io::Result<()> {
    let mut copy =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(draft)?;
    io::copy(&mut log.take(limit), &mut copy)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::process::{Command, Stdio};

    use tanist_core::model::NodeId;

    #[test]
    fn a_long_log_is_emptied_under_its_writer_and_its_end_is_kept() {
        let root = tempfile::tempdir().unwrap();
        let layout = Layout::prepare(root.path()).unwrap();
        let node = layout.node(&NodeId::new("web-001"));
        // A node without a log is no reason to leave the others alone.
        layout.node(&NodeId::new("web-000")).make().unwrap();
        node.make().unwrap();
        let before = node.path().join(layout::ENGINE_LOG_BEFORE);
        let log = OpenOptions::new().append(true).create(true).open(node.log()).unwrap();
        // Another process writes by the descriptor that it was given, as an engine does.
        let mut engine =
            Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::from(log)).spawn().unwrap();
        let mut says = engine.stdin.take().unwrap();
        let mut say = |text: &str, length: u64| {
            says.write_all(text.as_bytes()).unwrap();
            // waits: nothing tells when another process has written.
            while fs::metadata(node.log()).unwrap().len() != length {
                std::thread::yield_now();
            }
        };
        say("0123456789", 10);
        shorten_all(&layout, 10).unwrap();
        assert!(!before.exists(), "not longer than the limit");
        say("abc", 13);
        shorten_all(&layout, 10).unwrap();
        assert_eq!(fs::read_to_string(&before).unwrap(), "3456789abc");
        say("next", 4);
        assert_eq!(fs::read_to_string(node.log()).unwrap(), "next", "no hole before it");
        shorten_all(&layout, 3).unwrap();
        assert_eq!(fs::read_to_string(&before).unwrap(), "ext", "one older file is kept");
        assert!(!node.path().join(DRAFT).exists());
        drop(says);
        engine.wait().unwrap();
    }
}
