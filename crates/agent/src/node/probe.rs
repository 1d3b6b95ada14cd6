//! The heartbeat: is the engine alive, what is its role, does it take writes, how far is it?
//!
//! Any answer proves life. The question is a write (`DEL` of a key that does not exist), because an
//! engine that answers PING may refuse every write; it is checked like one and changes nothing. An
//! answer that is late is still awaited: while it is, the silence is measured and explained.
//!
//! Invariant: time in which the agent itself did not run never counts as the engine's silence.
//!
//! Not here: what follows from silence (`tanist_core::decide`).

mod forks;
mod reading;
mod streams;
mod vitals;
mod word;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tanist_core::lag::LagMeter;
use tanist_core::model::{NodeId, ReplId, RunId, Stall};
use tanist_link::wire::ProcessKey;
use tanist_resp::{Command, Connection, Value};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tracing::debug;

use super::admin::{Failure, accepted, connect, identity, info_of};
use super::stall::Look;
use super::{Context, Proc};
use crate::board::Begun;
use forks::Forks;
use reading::{Measured, Reading, read};
use streams::Streams;
use word::Word;

/// A key that nobody uses; deleting it is checked like every write and does nothing.
const PROBE_KEY: &str = "__tanist:probe__";
/// How the answer to every question begins, INFO included, while a script runs for too long.
const BUSY: &str = "BUSY ";
/// Silence from which on the process is looked at.
const SUSPICIOUS: Duration = Duration::from_millis(100);
/// An own timer that is later than this was not late because of the engine.
const OWN_DELAY: Duration = Duration::from_millis(50);
/// How long an answer is awaited before the connection is given up.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long opening a connection may take.
const CONNECT_DEADLINE: Duration = Duration::from_secs(1);
/// How often memory and errors are asked for.
const SLOW_EVERY: Duration = Duration::from_secs(1);

/// Probes the process until it ends.
pub(super) async fn watch(
    node: NodeId,
    process: ProcessKey,
    address: SocketAddr,
    log: PathBuf,
    mut heard: watch::Receiver<Proc>,
    context: Arc<Context>,
) {
    let mut probe = Probe {
        node,
        process,
        address,
        context,
        lag: Lag::default(),
        streams: Streams::default(),
        slow: Slow::default(),
        forks: Forks::of(log),
    };
    tokio::select! {
        _ = heard.wait_for(|now| *now != Proc::Running(process)) => {}
        () = probe.go_on() => {}
    }
}

struct Probe {
    node: NodeId,
    process: ProcessKey,
    address: SocketAddr,
    context: Arc<Context>,
    lag: Lag,
    streams: Streams,
    slow: Slow,
    forks: Forks,
}

/// The engine's recent positions in the history that it has now, in the role that it has now.
#[derive(Debug, Default)]
struct Lag {
    meter: LagMeter,
    of: Option<(ReplId, bool)>,
}

impl Lag {
    fn note(&mut self, now: tanist_core::model::Instant, reading: &Reading) {
        let of = (reading.replid.clone(), reading.is_primary());
        if self.of.as_ref() != Some(&of) {
            *self = Self { meter: LagMeter::default(), of: Some(of) };
        }
        self.meter.note(now, reading.offset);
    }
}

/// What is asked for less often.
#[derive(Debug, Default)]
struct Slow {
    asked: Option<Instant>,
    memory_bytes: u64,
    memory_limit: Option<u64>,
    /// Writes refused for lack of memory, since the engine started.
    refused: Option<u64>,
    /// Some were in the last interval.
    out_of_memory: bool,
}

/// An open connection of the probe.
struct Line {
    connection: Connection,
    run: RunId,
    word: Word,
}

/// How a round ended.
enum Outcome {
    /// With the engine's state.
    Read(RunId, Box<Reading>),
    /// With the answer that it runs a script, which is all that it says until the script ends.
    Busy,
    /// With an answer that says nothing but that it lives.
    Alive(String),
    /// Without an answer.
    Lost(Failure),
}

impl Probe {
    async fn go_on(&mut self) {
        let every = self.context.config.probe_every;
        // All probes of a host share one beat, so that one report tells of them all.
        let passed = self.context.origin.elapsed();
        let beats = passed.as_micros() / every.as_micros().max(1) + 1;
        let first = every * u32::try_from(beats).unwrap_or(u32::MAX);
        let mut beat = interval_at(self.context.origin + first, every);
        beat.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut silence = Silence::new();
        let mut line = None;
        loop {
            silence.beat(beat.tick().await);
            let begun = self.context.board.begin(&self.node);
            let slow = self.slow.due();
            let fresh = {
                let round = round(&mut line, &self.context, &self.node, self, slow);
                tokio::pin!(round);
                loop {
                    tokio::select! {
                        biased;
                        outcome = &mut round => break outcome,
                        due = beat.tick() => {
                            silence.beat(due);
                            silence.report(&self.context, &self.node, self.process);
                        }
                    }
                }
            };
            match fresh {
                Outcome::Read(run, reading) => {
                    silence.broken();
                    self.post(begun, run, *reading, slow);
                }
                Outcome::Busy => {
                    silence.broken();
                    self.context.board.busy(&self.node, self.process);
                }
                Outcome::Alive(text) => {
                    debug!(node = %self.node, text, "a probe was refused");
                    silence.broken();
                    silence.report(&self.context, &self.node, self.process);
                    line = None;
                }
                Outcome::Lost(failure) => {
                    debug!(node = %self.node, %failure, "a probe was not answered");
                    silence.report(&self.context, &self.node, self.process);
                    line = None;
                }
            }
        }
    }

    fn post(&mut self, begun: Begun, run: RunId, reading: Reading, slow: bool) {
        if slow {
            self.slow.note(&reading);
            self.forks.look(reading.forks.unwrap_or(0), Instant::now());
        }
        let now = Instant::now();
        let admitted = self.context.board.admitted(&self.node);
        let clock = |at: Instant| {
            let micros = at.duration_since(self.context.origin).as_micros();
            tanist_core::model::Instant::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
        };
        self.lag.note(clock(now), &reading);
        self.streams.note(reading.listed().unwrap_or(&BTreeMap::new()));
        let engine = reading.engine(Measured {
            run,
            admitted: &admitted,
            now,
            streams: &self.streams,
            behind: &|acked| self.lag.meter.behind(clock(now), acked),
            memory_bytes: self.slow.memory_bytes,
            memory_limit: self.slow.memory_limit,
            out_of_memory: self.slow.out_of_memory,
            fork_error: self.forks.failed().map(str::to_owned),
        });
        self.context.board.sample(&self.node, self.process, begun, engine);
    }
}

impl Slow {
    fn due(&mut self) -> bool {
        let due = self.asked.is_none_or(|asked| asked.elapsed() >= SLOW_EVERY);
        if due {
            self.asked = Some(Instant::now());
        }
        due
    }

    fn note(&mut self, reading: &Reading) {
        self.memory_bytes = reading.memory_bytes.unwrap_or(self.memory_bytes);
        self.memory_limit = reading.memory_limit.or(self.memory_limit);
        let refused = reading.refused.unwrap_or(0);
        self.out_of_memory = self.refused.is_some_and(|before| refused > before);
        self.refused = Some(refused);
    }
}

/// One question and its answer, on an open connection or a new one.
async fn round(
    line: &mut Option<Line>,
    context: &Context,
    node: &NodeId,
    probe: &Probe,
    slow: bool,
) -> Outcome {
    match ask(line, context, node, probe, slow).await {
        Ok((run, reading)) => Outcome::Read(run, Box::new(reading)),
        Err(Failure::Refused(text)) if text.starts_with(BUSY) => Outcome::Busy,
        Err(Failure::Refused(text)) => Outcome::Alive(text),
        Err(failure) => Outcome::Lost(failure),
    }
}

async fn ask(
    line: &mut Option<Line>,
    context: &Context,
    node: &NodeId,
    probe: &Probe,
    slow: bool,
) -> Result<(RunId, Reading), Failure> {
    let open = match line {
        Some(open) => open,
        None => line.insert(dial(context, node, probe).await?),
    };
    let mut questions = vec![
        Command::new("PING"),
        Command::new("DEL").arg(PROBE_KEY),
        Command::new("ROLE"),
        info_of("replication"),
    ];
    if slow {
        questions.extend([info_of("memory"), info_of("errorstats"), info_of("stats")]);
        questions.push(vitals::question());
    }
    questions.extend(probe.streams.nudge());
    questions.extend(open.word.due(context, node, &open.run));
    let answers: Vec<Value> = open.connection.pipeline(&questions, PATIENCE).await?;
    if slow {
        vitals::tell(context, node, probe.process, &open.run, &answers);
    }
    open.word.done(context, node);
    let fence = context.fence();
    Ok((open.run.clone(), read(&answers, fence)?))
}

async fn dial(context: &Context, node: &NodeId, probe: &Probe) -> Result<Line, Failure> {
    let secret = &context.config.secret;
    let mut connection = connect(probe.address, secret, node, CONNECT_DEADLINE).await?;
    let server = connection.call(&info_of("server"), PATIENCE).await?;
    let run = identity(&server, probe.process)?;
    let users = connection.call(&Command::new("ACL").arg("USERS"), PATIENCE).await?;
    if let Some(take_back) = Word::take_all_back(&users) {
        accepted(&connection.call(&take_back, PATIENCE).await?)?;
    }
    Ok(Line { connection, run, word: Word::default() })
}

/// For how long the engine has not answered.
struct Silence {
    since: Instant,
    /// Time since then in which the agent itself did not run.
    excused: Duration,
    /// The process, when it was last looked at, and what it did until then.
    last: Option<(Instant, Look)>,
}

impl Silence {
    fn new() -> Self {
        Self { since: Instant::now(), excused: Duration::ZERO, last: None }
    }

    /// The own timer, due at `due`, has rung.
    fn beat(&mut self, due: Instant) {
        let late = due.elapsed();
        if late > OWN_DELAY {
            // Only this round: an agent that is always late must still see an engine die.
            self.excused += late;
        }
    }

    fn broken(&mut self) {
        *self = Self::new();
    }

    fn length(&self) -> Duration {
        self.since.elapsed().saturating_sub(self.excused)
    }

    fn report(&mut self, context: &Context, node: &NodeId, process: ProcessKey) {
        let silent = self.length();
        let now = Instant::now();
        let look = Look::at(process.pid);
        let stall = match (look, self.last) {
            (Some(look), Some((then, before))) if silent >= SUSPICIOUS => {
                let nanos = now.duration_since(then).as_nanos();
                look.since(before, u64::try_from(nanos).unwrap_or(u64::MAX))
            }
            // Gone: its end is about to be told by the supervisor.
            (None, _) if silent >= SUSPICIOUS => Stall::Stalled,
            (Some(_) | None, _) => Stall::None,
        };
        self.last = look.map(|look| (now, look));
        context.board.silence(node, process, silent, stall);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tanist_core::model::{Instant, Offset};
    use tanist_resp::Value::{Array, Bulk, Integer, Simple};

    fn reading(role: &str, replid: &str, offset: u64) -> Reading {
        let text = |text: &str| Bulk(text.to_owned().into());
        let replication = format!("master_replid:{replid}\r\nmaster_repl_offset:{offset}\r\n");
        let role = Array(vec![text(role)]);
        read(&[Simple("PONG".into()), Integer(0), role, text(&replication)], None).unwrap()
    }

    #[test]
    fn positions_of_another_history_or_role_are_forgotten_though_they_are_lower() {
        let at = Instant::from_millis;
        let behind = |then: &Reading| {
            let mut lag = Lag::default();
            lag.note(at(0), &reading("slave", "aa", 1000));
            lag.note(at(60_000), then);
            lag.meter.behind(at(60_000), Offset(900))
        };
        assert_eq!(behind(&reading("slave", "aa", 2000)), Duration::from_secs(60));
        assert_eq!(behind(&reading("slave", "bb", 2000)), Duration::ZERO);
        assert_eq!(behind(&reading("master", "aa", 2000)), Duration::ZERO);
    }
}
