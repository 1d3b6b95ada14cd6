//! `tanist backup` and `tanist restore`: the control plane's store as one file, and back.
//!
//! Invariant: a file under the name that was asked for is a whole backup, and no file of before is
//! overwritten; nothing is put back over anything.
//!
//! Not here: the format (`tanist_link::backup`), which keys there are (`tanist-controller`).

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use tanist_controller::{RestoreError, Restored};
use tanist_link::Client;
use tanist_link::backup::{Backup, BackupCheck, BackupError, BackupHead, BackupLine};
use tanist_store::{AnyStore, EtcdStore, Options, SqliteStore, StoreError};

use crate::cli::{BackupArgs, RestoreArgs};
use crate::failure::{Failure, chain};
use crate::fleet::Member;
use crate::layout::Layout;
use crate::moved::{Moved, refuse_note};
use crate::output::{Output, Paint};
use crate::{Done, Outcome};

/// The largest file that is read, in bytes: a store that is all digits takes twice its size.
const MOST: u64 = 3 * tanist_store::MAX_RANGE_BYTES as u64;
/// How long an etcd may take to be reached.
const PATIENCE: Duration = Duration::from_secs(10);

/// Writes a backup.
pub(crate) async fn backup(
    client: &Client,
    layout: &Layout,
    args: &BackupArgs,
    out: &Output,
) -> Outcome {
    let file = create(&args.file)?;
    let written = write(client, file, out).await;
    let (head, bytes) = match written {
        Ok(written) => written,
        Err(failure) => {
            // Half a backup is none.
            let _ = std::fs::remove_file(&args.file);
            return Err(failure);
        }
    };
    if out.is_json() {
        let body = serde_json::json!({
            "file": args.file, "keys": head.keys, "revision": head.revision, "bytes": bytes,
            "at_ms": head.at_ms, "release": head.release,
        });
        out.json(&body)?;
        return Ok(Done::Well);
    }
    let name = args.file.display();
    out.line(format!(
        "{name}: {} keys of revision {}, {} KiB",
        head.keys,
        head.revision,
        bytes.div_ceil(1024)
    ));
    out.line(out.paint(
        Paint::Warn,
        "it holds the hashes of users' passwords and the access keys: keep it as you keep those",
    ));
    out.line(format!(
        "it does not hold what is in {}: keep secret and tls (on a fleet also fleet) as well",
        layout.root().display()
    ));
    Ok(Done::Well)
}

/// A new file that only its owner can read.
pub(super) fn create(path: &Path) -> Result<File, Failure> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(|err| {
        let message = format!("{} cannot be written: {err}", path.display());
        let remedy = match err.kind() {
            io::ErrorKind::AlreadyExists => "name another file: none is overwritten",
            _ => "name a file in a directory that is yours",
        };
        Failure::new("T680", message, remedy).exit(2)
    })
}

async fn write(client: &Client, file: File, out: &Output) -> Result<(BackupHead, u64), Failure> {
    let disk = |err: io::Error| Failure::caused("T680", &err, "free disk space, then again");
    let mut lines = client.follow::<BackupLine>("/v1/backup").await?;
    let mut check = BackupCheck::default();
    let mut writer = BufWriter::new(file);
    let (mut bytes, mut keys) = (0, 0);
    while let Some(line) = lines.recv().await.map_err(Failure::from)? {
        let line = check.take(&line).map_err(|err| unusable(&err))?;
        writer.write_all(&line).map_err(disk)?;
        bytes += line.len() as u64;
        keys += 1;
        progress(keys, "lines", out);
    }
    let head = check.finish().map_err(|err| unusable(&err))?;
    let file = writer.into_inner().map_err(|err| disk(err.into_error()))?;
    file.sync_all().map_err(disk)?;
    Ok((head, bytes))
}

/// Says now and then how far it is.
fn progress(done: usize, what: &str, out: &Output) {
    if done.is_multiple_of(5000) {
        out.line(out.paint(Paint::Dim, &format!("{done} {what} …")));
    }
}

fn unusable(err: &BackupError) -> Failure {
    let remedy = match err {
        BackupError::Later { .. } => "use the release that has written it, or a later one",
        _ => "make it again, or use another one",
    };
    Failure::new("T681", format!("the backup cannot be used: {}", chain(err)), remedy)
}

fn read(path: &Path) -> Result<Backup, Failure> {
    let unread = |err: &dyn std::fmt::Display| {
        let message = format!("{} cannot be read: {err}", path.display());
        Failure::new("T681", message, "name a file that tanist backup has written").exit(2)
    };
    let length = std::fs::metadata(path).map_err(|err| unread(&err))?.len();
    if length > MOST {
        return Err(unread(&format!("it has {length} bytes, and a backup at most {MOST}")));
    }
    let bytes = std::fs::read(path).map_err(|err| unread(&err))?;
    Backup::read(&bytes).map_err(|err| unusable(&err))
}

/// Puts a backup back.
pub(crate) async fn restore(layout: &Layout, args: &RestoreArgs, out: &Output) -> Outcome {
    let backup = read(&args.file)?;
    let member = Member::load(layout)?;
    let restored = match &member {
        Some(member) => {
            let store = AnyStore::from(of_fleet(member).await?);
            put_back(&store, &backup, out).await?
        }
        None => {
            layout.create()?;
            refuse_moved(layout)?;
            let opened = SqliteStore::open(layout.store(), Options::default()).await;
            let store = opened.map_err(|err| in_use(&err))?;
            let restored = put_back(&AnyStore::from(store.clone()), &backup, out).await;
            store.close().await;
            restored?
        }
    };
    report(&backup.head, restored, member.is_some(), out)
}

/// A store that was moved to etcd holds a mark, and is put back where it was before.
fn refuse_moved(layout: &Layout) -> Result<(), Failure> {
    let Some(moved) = Moved::load(layout)? else { return refuse_note(layout) };
    let message = format!("the store of this installation is in etcd ({})", moved.store.place());
    let remedy = "docs/recovery.md: \"A store that was moved to etcd\"; nothing was changed";
    Err(Failure::new("T734", message, remedy))
}

async fn put_back(store: &AnyStore, backup: &Backup, out: &Output) -> Result<Restored, Failure> {
    let said = |keys| progress(keys, "keys", out);
    tanist_controller::restore(store, backup, said).await.map_err(|err| refused(&err))
}

fn report(head: &BackupHead, restored: Restored, fleet: bool, out: &Output) -> Outcome {
    let Restored { keys, groups } = restored;
    if out.is_json() {
        let body = serde_json::json!({
            "keys": keys, "groups": groups, "revision": head.revision, "at_ms": head.at_ms,
        });
        out.json(&body)?;
        return Ok(Done::Well);
    }
    let start = if fleet { "tanist server, on every server" } else { "tanist dev" };
    out.line(format!("{keys} keys are back, {groups} groups among them"));
    out.line(format!("now: {start}"));
    out.line(
        "where the hosts were told of something newer, status says StoreBehind or names the group \
         as one that is not known: then tanist rebuild",
    );
    Ok(Done::Well)
}

async fn of_fleet(member: &Member) -> Result<EtcdStore, Failure> {
    let config = crate::fleet::server::store_config(member)?;
    let remedy = "check [store] in the file, and etcd";
    let opened = tokio::time::timeout(PATIENCE, EtcdStore::open(&config)).await;
    let opened = opened.map_err(|_| {
        Failure::new("T682", format!("etcd does not answer within {PATIENCE:?}"), remedy)
    })?;
    opened.map_err(|err| Failure::caused("T682", &err, remedy))
}

fn in_use(err: &StoreError) -> Failure {
    match err {
        StoreError::InUse { .. } => refused(&RestoreError::Led),
        _ => Failure::caused("T682", err, "see the message; nothing was changed"),
    }
}

fn refused(err: &RestoreError) -> Failure {
    let remedy = match err {
        RestoreError::Led => "stop tanist dev, or tanist server on every server, and try again",
        RestoreError::NotEmpty { .. } => {
            "a backup goes into an empty store only: docs/recovery.md says how to empty one"
        }
        RestoreError::Another => "give that file, or empty the store: docs/recovery.md",
        RestoreError::Disturbed => "stop whoever writes to it, and give the same file again",
        RestoreError::Store(_) => "see to the store, then give the same file again",
    };
    let (code, exit) = match err {
        RestoreError::Led => ("T210", 5),
        RestoreError::NotEmpty { .. } | RestoreError::Another => ("T211", 5),
        RestoreError::Disturbed | RestoreError::Store(_) => ("T682", 1),
    };
    Failure::caused(code, err, remedy).exit(exit)
}
