//! Start: from a directory to an engine that answers.
//!
//! A start that fails is tried again, ever more rarely, and says why in words until it succeeds.
//!
//! Invariant: data is never deleted by a start, only set aside, and only the oldest of what was set
//! aside is deleted.
//!
//! Not here: the process itself (`crate::supervisor`).

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tanist_core::model::{DataOnStart, EngineKind, Order, Origin, Process};
use tanist_link::wire::admin_label;
use tokio::time::Instant;
use tracing::debug;

use super::{Node, Woken};
use crate::conf::{self, Conf};
use crate::layout::{self, NodeDir};
use crate::record::{Record, StartedAs, Stopped};

/// Pauses after failed starts: the first and the longest.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));
/// A process that lives longer than this was started well.
const LIVED: Duration = Duration::from_secs(10);
/// How long the supervisor may take to say what became of a start.
const SUPERVISOR_DEADLINE: Duration = Duration::from_secs(5);
/// How long an engine may take to answer one attempt to connect.
const CONNECT_DEADLINE: Duration = Duration::from_millis(500);
/// Pause between two attempts to connect.
const CONNECT_PAUSE: Duration = Duration::from_millis(3);
/// Copies of data set aside that are kept per node.
const ASIDES: usize = 2;
/// A snapshot without entries is at most this long, in bytes.
const HEADERS: u64 = 4096;
/// How the supervisor's words for the end by SIGKILL end.
const KILLED: &str = "signal 9";
/// How much of the end of an engine's log is read for a reason, in bytes.
const LOG_TAIL: u64 = 4096;

/// How the last starts went.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    failures: u32,
    last: Option<Instant>,
    /// Since when the process exists.
    began: Option<Instant>,
    /// This agent has asked for the process, and it has not answered yet. An engine may already run
    /// in what was laid out for it, although nobody has said so.
    awaited: bool,
    noted: Option<String>,
}

impl Attempts {
    /// The process exists.
    pub(super) fn began(&mut self) {
        self.began = Some(Instant::now());
    }

    /// Whether this was not the last thing told already.
    pub(super) fn is_news(&mut self, reason: &str) -> bool {
        let news = self.noted.as_deref() != Some(reason);
        self.noted = Some(reason.to_owned());
        news
    }

    /// The process answers.
    pub(super) fn answered(&mut self) {
        self.awaited = false;
    }

    fn failed(&mut self) {
        self.awaited = false;
        self.failures = self.failures.saturating_add(1);
        self.last = Some(Instant::now());
    }

    /// The process has ended; it counts as failed if it did not live long.
    fn ended(&mut self) {
        if self.began.take().is_some_and(|began| began.elapsed() < LIVED) {
            self.failed();
        } else {
            *self = Self::default();
        }
    }

    /// Time until the next attempt may be made.
    fn due(&self) -> Duration {
        let Some(last) = self.last else { return Duration::ZERO };
        let doubled = BACK_OFF.0 * 2_u32.saturating_pow(self.failures.saturating_sub(1).min(20));
        doubled.min(BACK_OFF.1).saturating_sub(last.elapsed())
    }
}

impl Node {
    /// Starts the engine unless it runs; returns when it answers, or when a newer order arrives.
    pub(super) async fn start(
        &mut self,
        order: &Order,
        engine: EngineKind,
        address: SocketAddr,
        memory_bytes: u64,
        data: DataOnStart,
    ) {
        if !self.known().await {
            return;
        }
        let asked = StartedAs { engine, address, memory_bytes };
        let mut set_aside = data == DataOnStart::SetAside;
        loop {
            // An end that nobody has looked at yet counts as a failure before the next attempt.
            if self.process.has_changed().unwrap_or(false) {
                self.observe();
            }
            if let Some(process) = self.running() {
                if self.record.start.is_none() {
                    // The record of an engine that runs was lost; the order says the same.
                    self.record.start = Some(asked.clone());
                    self.save().await;
                    self.probe(process);
                }
                if self.up().await == Woken::Process {
                    continue;
                }
                return;
            }
            let due = self.attempts.due();
            if !due.is_zero() {
                match self.wait(due).await {
                    Woken::Superseded => return,
                    Woken::Process | Woken::Elapsed => continue,
                }
            }
            // A newer order must not take the directory away from an engine that just begins in it.
            if !self.attempts.awaited {
                if let Err(reason) = self.prepare(order, &asked, set_aside).await {
                    self.failed(reason);
                    continue;
                }
                set_aside = false;
                self.attempts.awaited = true;
            }
            let program = self.program(engine);
            let dir = self.dir.path().to_owned();
            self.context.supervised.start(&self.id, program, self.dir.conf(), dir);
            match self.wait(SUPERVISOR_DEADLINE).await {
                Woken::Superseded => return,
                Woken::Process => {}
                Woken::Elapsed => {
                    self.failed("the host's supervisor does not answer".to_owned());
                    // It may do what it was asked as soon as it can.
                    self.attempts.awaited = true;
                }
            }
        }
    }

    /// A start was asked for, and nothing is known yet of what became of it.
    pub(super) fn is_starting(&self) -> bool {
        self.attempts.awaited && self.running().is_none()
    }

    /// Waits until the running engine answers.
    async fn up(&mut self) -> Woken {
        loop {
            match self.greet(CONNECT_DEADLINE).await {
                Ok(()) => return Woken::Elapsed,
                Err(failure) => debug!(node = %self.id, %failure, "not up yet"),
            }
            // waits: an engine offers no event for beginning to listen.
            match self.wait(CONNECT_PAUSE).await {
                Woken::Elapsed => {}
                other => return other,
            }
        }
    }

    fn program(&self, engine: EngineKind) -> PathBuf {
        let engines = &self.context.config.engines;
        match engine {
            EngineKind::Redis => engines.redis.clone(),
            EngineKind::Valkey => engines.valkey.clone(),
        }
    }

    /// Makes everything that the process will need; the error is for the operator.
    async fn prepare(
        &mut self,
        order: &Order,
        asked: &StartedAs,
        set_aside: bool,
    ) -> Result<(), String> {
        let program = self.program(asked.engine);
        self.context.versions.check(asked.engine, &program).await?;
        let fence = self.context.fence().ok_or("no fence port is bound on this host")?;
        let admin_hash = self.context.config.secret.password_hash(&admin_label(&self.id));
        let conf = conf::render(&Conf {
            address: asked.address,
            fence,
            memory_bytes: asked.memory_bytes,
            admin_hash: &admin_hash,
        });
        let record = Record {
            group: order.group.clone(),
            shard: order.shard.clone(),
            start: Some(asked.clone()),
            origin: None,
            applied: None,
        };
        let name = format!("{}-epoch{}", layout::unix_millis(), order.epoch);
        let dir = self.dir.clone();
        let aside = set_aside.then_some(name);
        let lay_out = move || lay_out(&dir, record, &conf, aside.as_deref());
        let laid_out = tokio::task::spawn_blocking(lay_out).await.map_err(io::Error::other);
        let (record, moved) = laid_out
            .and_then(|laid_out| laid_out)
            .map_err(|err| format!("cannot write {}: {err}", self.dir.path().display()))?;
        self.record = record;
        let board = &self.context.board;
        if let Some(moved) = moved {
            let text = format!("its old data is in {}", moved.display());
            board.note(Some(&self.id), "DataSetAside", text);
        }
        board.change(&self.id, |report| report.data = true);
        Ok(())
    }

    /// A start has failed.
    pub(super) fn failed(&mut self, reason: String) {
        self.attempts.failed();
        if self.attempts.is_news(&reason) {
            self.context.board.note(Some(&self.id), "StartFailed", reason.clone());
        }
        if self.running().is_none() {
            self.context.board.change(&self.id, |report| report.process = Process::Failed(reason));
        }
    }

    /// The process has ended.
    pub(super) fn ended(&mut self, status: &str, killed: bool) {
        if killed {
            self.attempts.awaited = false;
            return;
        }
        if self.attempts.awaited {
            self.attempts.began = None;
            return self.failed(reason(&self.dir.log(), status));
        }
        // Whoever kills an engine by force wants it back; it is not the start that fails.
        if status.ends_with(KILLED) {
            self.attempts = Attempts::default();
        } else {
            self.attempts.ended();
        }
        let text = reason(&self.dir.log(), status);
        self.context.board.note(Some(&self.id), "EngineEnded", text);
    }
}

/// Makes the directory ready for a start; what is remembered, and where old data was moved to.
fn lay_out(
    dir: &NodeDir,
    mut record: Record,
    conf: &str,
    aside: Option<&str>,
) -> io::Result<(Record, Option<PathBuf>)> {
    dir.make()?;
    let mut moved = None;
    if let Some(name) = aside {
        // It describes data that is no longer in place; gone first, so that it never lies.
        remove(&dir.stopped())?;
        if is_worth_keeping(&dir.data())? {
            let to = dir.aside().join(name);
            fs::rename(dir.data(), &to)?;
            moved = Some(to);
        } else {
            fs::remove_dir_all(dir.data())?;
        }
        dir.make()?;
        for old in layout::oldest(&dir.aside(), ASIDES, |name| !name.contains('.')) {
            fs::remove_dir_all(old)?;
        }
    }
    record.origin = Some(if !has_data(&dir.data()) {
        Origin::Empty
    } else if Stopped::load(&dir.stopped()).is_some() {
        Origin::CleanStop
    } else {
        Origin::Crash
    });
    layout::replace(&dir.conf(), conf.as_bytes(), layout::Durable::No)?;
    record.save(&dir.record())?;
    Ok((record, moved))
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(err) if err.kind() != io::ErrorKind::NotFound => Err(err),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// The engine will load something: an append-only file exists.
fn has_data(data: &Path) -> bool {
    let Ok(entries) = fs::read_dir(data.join("appendonlydir")) else { return false };
    entries.flatten().any(|entry| entry.path().extension().is_some_and(|ext| ext == "manifest"))
}

/// The data holds a key or a function: it is more than what an engine writes when it starts with
/// nothing. What cannot be read is worth keeping.
fn is_worth_keeping(data: &Path) -> io::Result<bool> {
    let Ok(entries) = fs::read_dir(data.join("appendonlydir")) else { return Ok(false) };
    for entry in entries {
        let path = entry?.path();
        let name = path.to_string_lossy();
        let kept = if name.ends_with(".base.rdb") {
            fs::metadata(&path)?.len() > HEADERS
                || fs::read(&path).map_or(true, |snapshot| has_entries(&snapshot))
        } else if name.ends_with(".aof") {
            fs::metadata(&path)?.len() > 0
        } else {
            false
        };
        if kept {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The snapshot has an opcode that comes before keys or functions. One of those bytes in a header
/// field is taken for an opcode too, which only keeps too much.
fn has_entries(snapshot: &[u8]) -> bool {
    const SELECT_DB: u8 = 0xfe;
    const FUNCTION: u8 = 0xf5;
    const CHECKSUM: usize = 8;
    let body = snapshot.get(..snapshot.len().saturating_sub(CHECKSUM)).unwrap_or_default();
    body.iter().any(|byte| matches!(*byte, SELECT_DB | FUNCTION))
}

/// Why an engine ended, from how it ended and the end of its log.
fn reason(log: &Path, status: &str) -> String {
    let lines = last_lines(log);
    let said = |what: &str| lines.iter().rev().find(|line| line.contains(what));
    let remedy = [
        ("Address already in use", "another process listens on its port"),
        ("Cannot assign requested address", "its address is not one of this machine"),
        ("Can't open or create append-only dir", "its data directory cannot be written"),
        ("Bad file format reading the append only file", "its append-only file is damaged"),
        ("Can't open the append-only file", "its append-only file cannot be used"),
        ("FATAL CONFIG FILE ERROR", "the engine does not accept its configuration"),
        ("Out Of Memory", "the machine has too little memory"),
    ];
    for (what, meaning) in remedy {
        if let Some(line) = said(what) {
            return format!("{meaning} ({status}): {line}");
        }
    }
    if status.ends_with(KILLED) {
        return format!("{status}: by a person, or by the kernel for lack of memory");
    }
    match lines.last() {
        Some(line) => format!("{status}; its log ends with: {line}"),
        None => status.to_owned(),
    }
}

/// The last lines of a log, without process number, role and time.
pub(super) fn last_lines(log: &Path) -> Vec<String> {
    let read = || -> io::Result<Vec<u8>> {
        let file = fs::File::open(log)?;
        let length = file.metadata()?.len();
        let from = length.saturating_sub(LOG_TAIL);
        let mut tail = vec![0; usize::try_from(length - from).unwrap_or(0)];
        file.read_exact_at(&mut tail, from)?;
        Ok(tail)
    };
    let text = String::from_utf8_lossy(&read().unwrap_or_default()).into_owned();
    // Only what the last process said: each begins with a line of this kind.
    let began = text.rfind("just started").or_else(|| text.rfind("is starting")).unwrap_or(0);
    let said = text.get(began..).unwrap_or_default();
    let bare = |line: &str| {
        let marks = [" # ", " * ", " - ", " . "];
        let cut = marks.iter().filter_map(|mark| line.find(mark)).min().map_or(0, |at| at + 3);
        line.get(cut..).unwrap_or_default().trim().to_owned()
    };
    said.lines().map(bare).filter(|line| !line.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tanist_core::model::NodeId;

    fn node(root: &Path) -> (NodeDir, Record) {
        let dir = layout::Layout::prepare(root).unwrap().node(&NodeId::new("web-001"));
        dir.make().unwrap();
        (dir, Record::new("web".into(), "0001".into()))
    }

    fn with_data(dir: &NodeDir, bytes: usize) {
        let aof = dir.data().join("appendonlydir");
        fs::create_dir_all(&aof).unwrap();
        fs::write(aof.join("appendonly.aof.manifest"), b"m").unwrap();
        fs::write(aof.join("appendonly.aof.1.incr.aof"), vec![b'x'; bytes]).unwrap();
    }

    fn stopped(dir: &NodeDir) {
        let (epoch, offset) = (tanist_core::model::Epoch(3), tanist_core::model::Offset(9));
        let stopped = Stopped { epoch, run: "r".into(), replid: "h".into(), offset };
        stopped.save(&dir.stopped()).unwrap();
    }

    #[test]
    fn the_origin_tells_an_orderly_stop_from_a_crash_and_from_nothing() {
        let root = tempfile::tempdir().unwrap();
        let (dir, record) = node(root.path());
        let origin = |aside| lay_out(&dir, record.clone(), "", aside).unwrap().0.origin.unwrap();
        assert_eq!(origin(None), Origin::Empty);
        with_data(&dir, 0);
        assert_eq!(origin(None), Origin::Crash);
        stopped(&dir);
        assert_eq!(origin(None), Origin::CleanStop);
        assert_eq!(origin(Some("1-epoch1")), Origin::Empty);
        assert!(!dir.stopped().exists());
    }

    #[test]
    fn the_two_newest_copies_set_aside_are_kept_and_empty_ones_push_nothing_out() {
        let root = tempfile::tempdir().unwrap();
        let (dir, record) = node(root.path());
        let aside = |name| lay_out(&dir, record.clone(), "", Some(name)).unwrap().1;
        for name in ["1-epoch1", "2-epoch2", "10-epoch3"] {
            with_data(&dir, 4096);
            assert!(aside(name).is_some());
        }
        with_data(&dir, 0);
        assert_eq!(aside("11-epoch4"), None);
        let kept: Vec<bool> =
            ["1-epoch1", "2-epoch2", "10-epoch3"].map(|n| dir.aside().join(n).exists()).into();
        assert_eq!(kept, [false, true, true]);
    }

    #[test]
    fn pauses_double_up_to_a_limit_and_a_long_life_forgives() {
        let mut attempts = Attempts::default();
        assert_eq!(attempts.due(), Duration::ZERO);
        attempts.failed();
        assert!(attempts.due() <= BACK_OFF.0 && attempts.due() > BACK_OFF.0 / 2);
        for _ in 0..100 {
            attempts.failed();
        }
        assert!(attempts.due() <= BACK_OFF.1 && attempts.due() > BACK_OFF.1 / 2);
        attempts.ended();
        assert_eq!(attempts.due(), Duration::ZERO);
    }
}
