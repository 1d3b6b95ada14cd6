//! `tanist support-bundle`: one file with what somebody needs who helps, and nothing else.
//!
//! Answers of the API, what doctor finds, the ends of logs, facts about the machine. Everything that is
//! text is scrubbed, whatever it is; files that hold secrets are never opened, except to know what to
//! scrub.
//!
//! Invariant: no password, token, key of any kind, value or key's name is in it; it can be made while
//! nothing runs.
//!
//! Not here: what scrubbing takes out (`scrub`), the archive's format (`tar`).

mod facts;
mod scrub;
mod tar;

use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::Value;
use tanist_link::Client;

use self::scrub::Scrub;
use super::{backup, doctor, encoded};
use crate::cli::SupportArgs;
use crate::failure::Failure;
use crate::fleet::Member;
use crate::layout::Layout;
use crate::output::{Output, Paint};
use crate::{Done, Outcome};

/// How long the installation may take for one answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Of each log, so many bytes at its end.
const LOG_TAIL: u64 = 256 << 10;
/// Most logs.
const MOST_LOGS: usize = 200;
/// Most events, the latest.
const MOST_EVENTS: usize = 2000;

/// A file of the bundle.
#[derive(Debug, PartialEq, Eq)]
struct Part {
    name: String,
    text: String,
}

/// Makes the bundle.
pub(crate) async fn support(layout: &Layout, args: &SupportArgs, out: &Output) -> Outcome {
    let scrub = Scrub::new(layout);
    let member = Member::load(layout).ok().flatten();
    let client = client(layout, member.as_ref());
    let mut parts = vec![Part { name: "version.json".to_owned(), text: version() }];
    match &client {
        Ok(client) => {
            parts.extend(asked(client, &scrub).await);
        }
        Err(why) => parts.push(Part { name: "status.json".to_owned(), text: why.message.clone() }),
    }
    let checks = doctor::checks(client.as_ref(), layout).await;
    let checks = serde_json::to_value(checks).unwrap_or_default();
    parts.push(json("doctor.json", checks, &scrub));
    let config = member.map(|member| member.is.config).or_else(|| args.config.clone());
    let plain = config.map(|path| configuration(&path)).into_iter().chain(logs(layout));
    parts.extend(plain.chain(facts::all(layout)).map(|part| scrubbed(part, &scrub)));
    let path = args.file.clone().unwrap_or_else(named_by_time);
    let bytes = write(&path, &parts)?;
    report(&path, bytes, &parts, out)
}

/// The way to the installation; on a fleet only servers have one.
fn client(layout: &Layout, member: Option<&Member>) -> Result<Client, Failure> {
    let client = match member {
        Some(member) => member.administrator()?,
        None => Client::new(layout.controller_socket()),
    };
    Ok(client.within(PATIENCE))
}

fn version() -> String {
    let (version, os, arch) =
        (env!("CARGO_PKG_VERSION"), std::env::consts::OS, std::env::consts::ARCH);
    format!("{{\"version\": \"{version}\", \"os\": \"{os}\", \"arch\": \"{arch}\"}}\n")
}

fn scrubbed(part: Part, scrub: &Scrub) -> Part {
    Part { text: scrub.text(&part.text), ..part }
}

/// A document. Its texts are scrubbed one by one, so that it stays one.
fn json(name: &str, mut value: Value, scrub: &Scrub) -> Part {
    scrub_texts(&mut value, scrub);
    let text = serde_json::to_string_pretty(&value).unwrap_or_default();
    Part { name: name.to_owned(), text }
}

fn scrub_texts(value: &mut Value, scrub: &Scrub) {
    match value {
        Value::String(text) => *text = scrub.text(text).trim_end().to_owned(),
        // What people have written onto groups is theirs alone.
        Value::Object(fields) => {
            fields.remove("attributes");
            fields.values_mut().for_each(|value| scrub_texts(value, scrub));
        }
        Value::Array(all) => all.iter_mut().for_each(|value| scrub_texts(value, scrub)),
        _ => {}
    }
}

/// What the installation answers. What it does not answer is said to be so.
async fn asked(client: &Client, scrub: &Scrub) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut names = Vec::new();
    for (name, uri) in [("status", "/v1/status"), ("hosts", "/v1/hosts"), ("events", "/v1/events")]
    {
        let mut value = answer(client, uri).await;
        if name == "status" {
            names = group_names(&value);
        }
        if let (true, Some(events)) = (name == "events", value.as_array_mut()) {
            events.drain(..events.len().saturating_sub(MOST_EVENTS));
        }
        parts.push(json(&format!("{name}.json"), value, scrub));
    }
    for group in names {
        let value = answer(client, &format!("/v1/groups/{}/history", encoded(&group))).await;
        parts.push(json(&format!("history-{group}.json"), value, scrub));
    }
    parts
}

async fn answer(client: &Client, uri: &str) -> Value {
    let answered: Result<Value, _> = client.get(uri).await;
    answered.unwrap_or_else(|err| {
        let failure = Failure::from(err);
        serde_json::json!({ "not answered": failure.message, "code": failure.code })
    })
}

fn group_names(status: &Value) -> Vec<String> {
    let groups = status.get("groups").and_then(Value::as_array).into_iter().flatten();
    groups.filter_map(|group| Some(group.get("name")?.as_str()?.to_owned())).collect()
}

/// The configuration, without what may be secret in it.
fn configuration(path: &Path) -> Part {
    let name = "configuration.toml".to_owned();
    let text = std::fs::read_to_string(path)
        .unwrap_or_else(|err| format!("# {} cannot be read: {err}\n", path.display()));
    Part { name, text: scrub::configuration(&text) }
}

/// The ends of every log of this host: the roles' and the engines'.
fn logs(layout: &Layout) -> Vec<Part> {
    let mut found: Vec<PathBuf> = logs_in(layout.root());
    for host in directories(&layout.root().join("hosts")) {
        for node in directories(&host.join("nodes")) {
            found.extend(logs_in(&node));
        }
    }
    found.truncate(MOST_LOGS);
    let part = |path: PathBuf| {
        let below = path.strip_prefix(layout.root()).unwrap_or(&path);
        let name = format!("logs/{}", below.display());
        let text = tail(&path).unwrap_or_else(|err| format!("(cannot be read: {err})\n"));
        Part { name, text }
    };
    found.into_iter().map(part).collect()
}

fn directories(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    found.retain(|path| path.is_dir());
    found.sort();
    found
}

fn logs_in(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    let is_log = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        (name.ends_with(".log") || name.ends_with(".log.1")) && path.is_file()
    };
    found.retain(is_log);
    found.sort();
    found
}

/// The last whole lines of a file.
fn tail(path: &Path) -> std::io::Result<String> {
    let mut file = std::fs::File::open(path)?;
    let start = file.metadata()?.len().saturating_sub(LOG_TAIL);
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    file.take(LOG_TAIL).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let whole = if start > 0 { text.split_once('\n').map(|(_, rest)| rest) } else { None };
    Ok(whole.map_or(text.clone(), str::to_owned))
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn named_by_time() -> PathBuf {
    PathBuf::from(format!("tanist-support-{}.tar.gz", now()))
}

fn write(path: &Path, parts: &[Part]) -> Result<u64, Failure> {
    let file = backup::create(path)?;
    let packed = pack(file, parts).and_then(|file| Ok(file.metadata()?.len()));
    packed.map_err(|err| {
        // Half a bundle helps nobody.
        let _ = std::fs::remove_file(path);
        Failure::caused("T680", &err, "free disk space, then again")
    })
}

fn pack(file: std::fs::File, parts: &[Part]) -> std::io::Result<std::fs::File> {
    let mut out = GzEncoder::new(file, Compression::default());
    let at = now();
    for part in parts {
        tar::append(&mut out, &format!("tanist-support/{}", part.name), part.text.as_bytes(), at)?;
    }
    out.write_all(&tar::END)?;
    out.finish()
}

fn report(path: &Path, bytes: u64, parts: &[Part], out: &Output) -> Outcome {
    if out.is_json() {
        let names: Vec<&str> = parts.iter().map(|part| part.name.as_str()).collect();
        let body = serde_json::json!({ "file": path, "bytes": bytes, "parts": names });
        out.json(&body)?;
        return Ok(Done::Well);
    }
    for part in parts {
        out.line(format!("  {:>7} B  {}", part.text.len(), part.name));
    }
    out.line(format!("{}: {} files, {} KiB", path.display(), parts.len(), bytes.div_ceil(1024)));
    let hint = "look at it before you send it: what looks like a secret was taken out, but names of \
                hosts, groups, users and addresses are in it";
    out.line(out.paint(Paint::Warn, hint));
    Ok(Done::Well)
}

#[cfg(test)]
mod tests;
