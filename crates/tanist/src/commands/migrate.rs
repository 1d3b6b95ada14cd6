//! `tanist migrate-store`: moves the state of a one-host installation into etcd, or back.
//!
//! Engines, the supervisor and the proxy go on meanwhile; only `tanist dev` has to be stopped, because
//! nobody may decide anything while its memory is copied.
//!
//! Invariant: the place that was left is not worked with any more, and before the new one is whole
//! and read back nothing is left.
//!
//! Not here: copying (`tanist_store::moving`), opening what was moved (`crate::dev`).

use std::io::IsTerminal;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::json;
use tanist_store::moving::{self, Mark, MoveError, Progress, Stage};
use tanist_store::{Options, SqliteStore};

use crate::cli::MigrateArgs;
use crate::dev::store as dev_store;
use crate::failure::Failure;
use crate::layout::Layout;
use crate::moved::Moved;
use crate::output::Output;
use crate::{Done, Outcome, config};

/// Time between two lines of progress.
const SAY_EVERY: Duration = Duration::from_millis(500);

pub(crate) async fn migrate(layout: &Layout, args: &MigrateArgs, out: &Output) -> Outcome {
    if args.back {
        back(layout, out).await
    } else {
        there(layout, args.config.as_deref(), out).await
    }
}

async fn there(layout: &Layout, file: Option<&Path>, out: &Output) -> Outcome {
    if let Some(moved) = Moved::load(layout)? {
        let message = format!("the store is in etcd already: {}", moved.store.place());
        let remedy = "go on: tanist dev; the way back: tanist migrate-store --back";
        return Err(Failure::new("T735", message, remedy).exit(2));
    }
    let declared = config::read(file)?.for_one_host()?;
    let (Some(store), Some(file)) = (&declared.store, file) else {
        let message = "the file does not say where etcd is: it has no [store]";
        return Err(Failure::new("T735", message, "docs/how-to.md shows one").exit(2));
    };
    store.check()?;
    if !layout.store().is_dir() && !layout.store().is_file() {
        let message = format!("there is no store in {}", layout.root().display());
        let remedy = "begin with tanist dev, or name the directory: --data-dir DIR";
        return Err(Failure::new("T735", message, remedy).exit(2));
    }
    let old = dev_store::embedded(layout).await.map_err(in_use)?;
    let installation = old.status().installation;
    let file = std::path::absolute(file)
        .map_err(|err| Failure::caused("T735", &err, "name a file that exists").exit(2))?;
    let moved =
        Moved { store: store.settled(&file, &installation), installation: installation.clone() };
    let new = dev_store::reach(&moved).await?;
    let place = moved.store.place();
    out.line(format!("moving the store to etcd ({place}); engines and endpoints go on"));
    let copied = moving::copy(&old, &new, &installation, teller(out)).await;
    let copied = copied.map_err(|err| failed(&err, &place))?;
    // Before the old one is closed: whoever waits for it finds this.
    moved.save(layout)?;
    old.close().await;
    moved.retire_old(layout)?;
    told(out, copied, &place, "go on: tanist dev     the way back: tanist migrate-store --back")
}

async fn back(layout: &Layout, out: &Output) -> Outcome {
    let Some(moved) = Moved::load(layout)? else {
        let message = format!("the store of {} was not moved", layout.root().display());
        return Err(Failure::new("T735", message, "there is nothing to do").exit(2));
    };
    let _lock = dev_store::lock(layout).map_err(in_use)?;
    let place = moved.store.place();
    let etcd = dev_store::reach(&moved).await?;
    let mark = moving::mark(&etcd).await.map_err(|err| failed(&err.into(), &place))?;
    let ours = mark.as_ref().is_some_and(|mark| mark.installation == moved.installation);
    if !ours || mark.is_some_and(|mark| mark.stage == Stage::Copying) {
        let message = format!("etcd ({place}) does not hold the whole state of this installation");
        return Err(Failure::new("T734", message, "restore etcd from its backup"));
    }
    let dir = if layout.old_store().is_dir() { layout.old_store() } else { layout.store() };
    let old = SqliteStore::open(&dir, Options::default()).await.map_err(|err| {
        Failure::caused("T615", &err, "restore the directory store.moved from a copy")
    })?;
    if old.status().installation != moved.installation {
        let message = format!("{} is the store of another installation", dir.display());
        return Err(Failure::new("T734", message, "restore the directory from a copy"));
    }
    out.line(format!("moving the store back from etcd ({place}); engines and endpoints go on"));
    let is = |stage| Mark { installation: moved.installation.clone(), stage };
    // It is our own, whatever it was when it was left.
    let begun = moving::put_mark(&old, &is(Stage::Left)).await;
    begun.map_err(|err| failed(&err.into(), &place))?;
    let copied = moving::copy(&etcd, &old, &moved.installation, teller(out)).await;
    let copied = copied.map_err(|err| failed(&err, &place))?;
    let left = moving::put_mark(&etcd, &is(Stage::Left)).await;
    left.map_err(|err| failed(&err.into(), &place))?;
    old.close().await;
    Moved::put_old_back(layout)?;
    let at = layout.store().display().to_string();
    told(out, copied, &at, "go on: tanist dev (without [store] in its file)")
}

fn in_use(failure: Failure) -> Failure {
    if failure.code != "T615" {
        return failure;
    }
    let remedy = "end tanist dev first (Ctrl-C, or systemctl stop tanist): engines, endpoints and \
                  clients go on; then try again";
    Failure { remedy: remedy.to_owned(), ..failure }
}

fn failed(err: &MoveError, place: &str) -> Failure {
    let (code, remedy) = match err {
        MoveError::NotEmpty { .. } | MoveError::OfAnother { .. } => {
            ("T731", "name another prefix in [store], or another etcd; nothing was changed")
        }
        MoveError::Changed => (
            "T731",
            "this directory's store is the older one. If it is the right one all the same, name \
             another prefix in [store]; nothing was changed",
        ),
        MoveError::Disturbed => ("T732", "let only one tanist migrate-store run, and try again"),
        MoveError::Differs { .. } => ("T733", "nothing was switched; try again"),
        MoveError::Store(_) => ("T732", "nothing was switched; the same command goes on"),
    };
    let failure = Failure::caused(code, err, remedy);
    Failure { message: format!("etcd ({place}): {}", failure.message), ..failure }
}

/// Says now and then how far it is: on one line for people who watch.
fn teller(out: &Output) -> impl FnMut(Progress) {
    let (out, mut last) = (*out, None::<(Instant, usize)>);
    move |now| {
        let is_due = last.is_none_or(|(at, done)| {
            done != now.done && (at.elapsed() >= SAY_EVERY || now.done == now.keys)
        });
        if is_due && now.bytes > 0 {
            last = Some((Instant::now(), now.done));
            let kib = now.bytes >> 10;
            let line = format!("copied  {} of {} keys   {kib} KiB", now.done, now.keys);
            if std::io::stdout().is_terminal() && !out.is_json() {
                out.part(&format!("\r{line}"));
                if now.done == now.keys {
                    out.line("");
                }
            } else {
                out.line(line);
            }
        }
    }
}

fn told(out: &Output, copied: Progress, place: &str, next: &str) -> Outcome {
    if out.is_json() {
        out.json(&json!({ "keys": copied.keys, "bytes": copied.bytes, "store": place }))?;
        return Ok(Done::Well);
    }
    out.line(format!("read back  {} of {} keys are the same", copied.done, copied.keys));
    out.line(format!("the store is in {place} now"));
    out.line(format!("  {next}"));
    Ok(Done::Well)
}
