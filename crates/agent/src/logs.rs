//! Logs do not grow without a limit.
//!
//! Whoever writes a log was given it open, as an engine's or a role's standard output, so it cannot
//! be taken away from its writer: its end is copied to an older file and the log itself is emptied.
//! Since every writer appends, the next line is written at the beginning. Only lines that are
//! written meanwhile are lost.
//!
//! A full disk is the reason why the limit exists, so the log is emptied even if nothing of it could
//! be kept.
//!
//! Invariant: at most one older file per log, of at most the limit, and of whole lines.
//!
//! Not here: what a log says (`crate::node`), setting one aside at a start (`crate::supervisor`).

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use tracing::{info, warn};

use crate::layout::Layout;

/// The length at which a log is begun anew, in bytes; as much of it is kept in an older file.
pub const LIMIT: u64 = 64 << 20;
/// Time between two looks at the length of a log.
pub const LOOK_EVERY: Duration = Duration::from_secs(60);

/// Sets a log aside that is longer than `limit` bytes: its last whole lines are kept in the older
/// file beside it, in place of what that had (`engine.log.1` for `engine.log`), and the log begins
/// anew. Whether it was longer; a log that does not exist is short.
///
/// # Errors
/// That it could not be emptied, or not be kept. In the second case it is empty all the same, and
/// there is no older file, because half a copy would lack the newest lines and take room.
pub fn shorten(log: &Path, limit: u64) -> io::Result<bool> {
    let mut now = match OpenOptions::new().read(true).write(true).open(log) {
        Ok(file) => file,
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(err) => return Err(err),
    };
    let length = now.metadata()?.len();
    if length <= limit {
        return Ok(false);
    }
    let older = log.with_added_extension("1");
    let kept = keep_end(&mut now, length - limit, limit, &older);
    if kept.is_err() {
        // It may not have been made at all.
        let _ = fs::remove_file(&older);
    }
    now.set_len(0)?;
    kept.map(|()| true)
}

/// Copies the whole lines after `start`, at most `limit` bytes, to a file in place of what it had.
///
/// In place, not as a draft that is renamed: on a full disk the copy needs the older one's room.
fn keep_end(log: &mut File, start: u64, limit: u64, to: &Path) -> io::Result<()> {
    let mut replace = OpenOptions::new();
    let mut older = replace.write(true).create(true).truncate(true).mode(0o600).open(to)?;
    // One byte earlier: a line that begins right at `start` is whole.
    log.seek(SeekFrom::Start(start.saturating_sub(1)))?;
    // Not to the end: its writer may be faster than the copy.
    let mut rest = BufReader::new(io::Read::take(log, limit.saturating_add(1)));
    rest.skip_until(b'\n')?;
    io::copy(&mut rest, &mut older).map(drop)
}

/// Keeps every engine's log of a host short; never ends.
pub(crate) async fn keep_engines_short(layout: Layout) {
    let mut due = interval(LOOK_EVERY);
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
        match shorten(&layout.node(&node).log(), limit) {
            Ok(true) => info!(%node, "the engine's log was long: it begins anew"),
            Ok(false) => {}
            Err(err) => {
                warn!(%node, err = &err as &dyn std::error::Error, "shortening the engine's log");
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::path::PathBuf;
    use std::process::{Command, Stdio};

    use tanist_core::model::NodeId;

    use crate::layout;

    /// A log in a directory of its own, and a writer that stays open.
    fn log(text: &str) -> (tempfile::TempDir, PathBuf, File) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("proxy.log");
        let mut writer = OpenOptions::new().append(true).create(true).open(&path).unwrap();
        writer.write_all(text.as_bytes()).unwrap();
        (dir, path, writer)
    }

    fn read(path: &Path) -> String {
        fs::read_to_string(path).unwrap()
    }

    #[test]
    fn a_log_over_its_limit_is_set_aside_and_its_writer_goes_on_at_the_start() {
        let (dir, path, mut writer) = log("one\ntwo\n");
        assert!(!shorten(&path, 8).unwrap(), "as long as the limit is not longer");
        assert!(shorten(&path, 7).unwrap());
        writer.write_all(b"three\n").unwrap();
        assert_eq!(read(&path), "three\n", "no hole where the old lines were");
        let older = dir.path().join("proxy.log.1");
        assert_eq!(read(&older), "two\n");
        assert!(!shorten(&path, 7).unwrap());
        writer.write_all(b"four\n").unwrap();
        assert!(shorten(&path, 10).unwrap());
        assert_eq!((read(&path).as_str(), read(&older).as_str()), ("", "four\n"));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2, "one older file is kept");
    }

    #[test]
    fn of_a_log_far_over_its_limit_the_last_whole_lines_are_kept() {
        let lines: String = (0..10_000).map(|number| format!("line {number}\n")).collect();
        let (dir, path, _writer) = log(&lines);
        assert!(shorten(&path, 1_000).unwrap());
        let older = read(&dir.path().join("proxy.log.1"));
        assert!(older.len() <= 1_000 && lines.ends_with(&older));
        assert!(older.starts_with("line ") && older.len() > 980);
    }

    #[test]
    fn a_line_that_begins_where_the_kept_part_begins_is_kept() {
        let (dir, path, _writer) = log("one\ntwo\n");
        assert!(shorten(&path, 4).unwrap());
        assert_eq!(read(&dir.path().join("proxy.log.1")), "two\n");
    }

    #[test]
    fn a_log_that_cannot_be_kept_is_emptied_all_the_same() {
        let (dir, path, _writer) = log("one\ntwo\n");
        fs::create_dir(dir.path().join("proxy.log.1")).unwrap();
        assert!(shorten(&path, 4).is_err());
        assert_eq!(read(&path), "");
    }

    #[test]
    fn a_log_on_a_full_disk_is_emptied_and_leaves_no_half_copy() {
        let (dir, path, mut writer) = log("one\ntwo\n");
        let older = dir.path().join("proxy.log.1");
        // The kernel's own full disk: it can be opened, and no byte has room.
        std::os::unix::fs::symlink("/dev/full", &older).unwrap();
        let err = shorten(&path, 4).unwrap_err();
        assert_eq!(err.kind(), io::ErrorKind::StorageFull);
        assert_eq!(read(&path), "");
        assert!(older.symlink_metadata().is_err(), "what was not copied is not kept");
        writer.write_all(b"three\nfour\n").unwrap();
        assert!(shorten(&path, 5).unwrap(), "the next one is kept again");
        assert_eq!((read(&path).as_str(), read(&older).as_str()), ("", "four\n"));
    }

    #[test]
    fn a_log_that_does_not_exist_yet_is_short() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!shorten(&dir.path().join("dev.log"), 0).unwrap());
    }

    #[test]
    fn a_long_engine_log_is_emptied_under_its_writer_and_its_end_is_kept() {
        let root = tempfile::tempdir().unwrap();
        let layout = Layout::prepare(root.path()).unwrap();
        let node = layout.node(&NodeId::new("web-001"));
        // A node without a log, or with one that cannot be kept, is no reason to leave the others.
        layout.node(&NodeId::new("web-000")).make().unwrap();
        let full = layout.node(&NodeId::new("web-0000"));
        full.make().unwrap();
        fs::write(full.log(), "0123456789abc\n").unwrap();
        fs::create_dir(full.path().join(layout::ENGINE_LOG_BEFORE)).unwrap();
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
        say("012\n45678\n", 10);
        shorten_all(&layout, 10).unwrap();
        assert!(!before.exists(), "not longer than the limit");
        say("abc\n", 14);
        shorten_all(&layout, 10).unwrap();
        assert_eq!(read(&before), "45678\nabc\n");
        say("next\n", 5);
        assert_eq!(read(&node.log()), "next\n", "no hole before it");
        assert_eq!(read(&full.log()), "", "the room counts for more than the log");
        drop(says);
        engine.wait().unwrap();
    }
}
