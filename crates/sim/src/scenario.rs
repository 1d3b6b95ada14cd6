//! Scenarios: stories of single failures, as a script and as an operator would read them.
//!
//! One line is one step: `kill primary`, `cut host-2 from all`, `run 2s`, `expect primary web-002`.
//! The told lines are kept beside the script and compared, so a change of behaviour is a change of
//! a file that a person can read.
//!
//! Invariant: the same script tells the same story; an expectation that fails is told as such.
//!
//! Not here: doing what a step says (`crate::steps`).

use std::time::Duration;

use tanist_core::model::{Durability, MoveKind};

use crate::config::{Config, MILLI, Mode, SECOND};
use crate::genesis;

/// Time in which a new group has to be complete.
pub(crate) const SETTLE: u64 = 10 * SECOND;

/// Why a script cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum ScriptError {
    /// A line is no step.
    #[error("line {line} is not a step: {text}")]
    UnknownStep {
        /// The line's number, from 1.
        line: usize,
        /// The line.
        text: String,
    },
    /// A scenario begins with the group that it is about.
    #[error("the first step has to be: group sync|async replicas N hosts N")]
    NoGroup,
}

/// A thing that a step names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    Primary,
    /// By index, from 0.
    Node(usize),
    Host(usize),
    Controller(usize),
    All,
    Controllers,
    Hosts,
}

/// One line of a script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    Group {
        durability: Durability,
        replicas: u8,
        hosts: usize,
        automatic: bool,
    },
    Run(u64),
    /// Let time pass without telling, until every replica is in sync.
    Settle,
    Kill(Target),
    KillAtWrite {
        controller: usize,
        after: bool,
    },
    Start(Target),
    Freeze(Target),
    Thaw(Target),
    Crash(Target),
    Return(Target),
    Cut(Target, Target),
    HealAll,
    Block(usize, u64),
    RestartGroup,
    Replicas(u8),
    Move {
        kind: MoveKind,
        to: Option<usize>,
        accept_loss: bool,
    },
    Expect(Expectation),
}

/// What has to be true now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Expectation {
    Primary(usize),
    NoPrimary,
    InSync(Vec<usize>),
    Acknowledged,
    NotAcknowledged,
    Epoch(u64),
    Wait(String),
    Problem(String),
    Lost(u64),
}

/// What a scenario told.
#[derive(Debug, Clone)]
pub struct Story {
    /// The lines, as an operator would read them.
    pub lines: Vec<String>,
    /// Every expectation was met and no promise was broken.
    pub fine: bool,
}

/// Runs a script.
///
/// # Errors
/// [`ScriptError`] names the line that is not understood.
pub fn tell(script: &str) -> Result<Story, ScriptError> {
    let steps = parse(script)?;
    let Some((_, Step::Group { durability, replicas, hosts, automatic })) = steps.first() else {
        return Err(ScriptError::NoGroup);
    };
    let mut config = Config::new(1, Mode::Safety, None);
    config.scripted = true;
    config.durability = *durability;
    config.replicas = *replicas;
    config.hosts = (*hosts).clamp(1, 6);
    config.zones = config.hosts;
    config.automatic_failover = *automatic;
    config.min_in_sync = 0;
    config.controllers = 1;
    config.proxies = 1;
    config.clients = 1;
    config.think = 20 * MILLI;
    config.net_usual = 400;
    config.net_slowest = 1000;
    config.net_loss = 0;
    config.net_repeat = 0;
    config.net_stuck = 0;
    config.backlog = 10_000;
    config.copy = 100 * MILLI;
    config.hands = 2 * MILLI;
    config.room = 4;
    config.limits = tanist_core::model::Limits::DEFAULT;
    config.end = steps.iter().map(|(_, step)| lasts(step)).sum::<u64>() + 2 * SECOND;
    let mut world = genesis::world(config);
    world.told = Some(title(script));
    let mut fine = true;
    for (text, step) in &steps {
        world.tell_step(text);
        fine &= world.step(step);
    }
    world.read_back();
    fine &= world.judge.violation.is_none();
    Ok(Story { lines: world.told.take().unwrap_or_default(), fine })
}

/// The longest time that a step takes.
fn lasts(step: &Step) -> u64 {
    match step {
        Step::Run(span) => *span,
        Step::Settle => SETTLE,
        _ => 0,
    }
}

/// What the script says about itself.
fn title(script: &str) -> Vec<String> {
    script.lines().take_while(|line| line.starts_with('#')).map(str::to_owned).collect()
}

fn parse(script: &str) -> Result<Vec<(String, Step)>, ScriptError> {
    let mut steps = Vec::new();
    for (index, line) in script.lines().enumerate() {
        let text = line.split('#').next().unwrap_or_default().trim();
        if text.is_empty() {
            continue;
        }
        let words: Vec<&str> = text.split_whitespace().collect();
        let step = step(&words)
            .ok_or_else(|| ScriptError::UnknownStep { line: index + 1, text: text.to_owned() })?;
        steps.push((text.to_owned(), step));
    }
    Ok(steps)
}

fn step(words: &[&str]) -> Option<Step> {
    Some(match words {
        ["group", durability, "replicas", replicas, "hosts", hosts, rest @ ..] => Step::Group {
            durability: if *durability == "async" { Durability::Async } else { Durability::Sync },
            replicas: replicas.parse().ok()?,
            hosts: hosts.parse().ok()?,
            automatic: rest != ["no-automatic-failover"],
        },
        ["run", time] => Step::Run(span(time)?),
        ["settle"] => Step::Settle,
        ["kill", controller, "after", "write"] => {
            Step::KillAtWrite { controller: number(controller, "controller-")?, after: true }
        }
        ["kill", controller, "before", "write"] => {
            Step::KillAtWrite { controller: number(controller, "controller-")?, after: false }
        }
        ["kill", target] => Step::Kill(self::target(target)?),
        ["start", target] => Step::Start(self::target(target)?),
        ["freeze", target] => Step::Freeze(self::target(target)?),
        ["thaw", target] => Step::Thaw(self::target(target)?),
        ["crash", target] => Step::Crash(self::target(target)?),
        ["return", target] => Step::Return(self::target(target)?),
        ["cut", one, "from", others] => Step::Cut(target(one)?, target(others)?),
        ["heal", "all"] => Step::HealAll,
        ["block", "link", "of", node, "for", time] => {
            Step::Block(number(node, "web-")?, span(time)?)
        }
        ["restart", "group"] => Step::RestartGroup,
        ["replicas", count] => Step::Replicas(count.parse().ok()?),
        ["switchover", rest @ ..] => moves(MoveKind::Switchover, rest)?,
        ["failover", rest @ ..] => moves(MoveKind::Failover, rest)?,
        ["expect", rest @ ..] => Step::Expect(expectation(rest)?),
        _ => return None,
    })
}

fn moves(kind: MoveKind, words: &[&str]) -> Option<Step> {
    let (to, accept_loss) = match words {
        [] => (None, false),
        ["to", node] => (Some(number(node, "web-")?), false),
        ["to", node, "accepting", "loss"] => (Some(number(node, "web-")?), true),
        _ => return None,
    };
    Some(Step::Move { kind, to, accept_loss })
}

fn expectation(words: &[&str]) -> Option<Expectation> {
    Some(match words {
        ["primary", node] => Expectation::Primary(number(node, "web-")?),
        ["no", "primary"] => Expectation::NoPrimary,
        ["in", "sync", nodes @ ..] => {
            let nodes: Option<Vec<usize>> = nodes.iter().map(|n| number(n, "web-")).collect();
            Expectation::InSync(nodes?)
        }
        ["acknowledged"] => Expectation::Acknowledged,
        ["not", "acknowledged"] => Expectation::NotAcknowledged,
        ["epoch", epoch] => Expectation::Epoch(epoch.parse().ok()?),
        ["wait", kind] => Expectation::Wait((*kind).to_owned()),
        ["problem", kind] => Expectation::Problem((*kind).to_owned()),
        ["lost", count] => Expectation::Lost(count.parse().ok()?),
        _ => return None,
    })
}

fn target(word: &str) -> Option<Target> {
    Some(match word {
        "primary" => Target::Primary,
        "all" => Target::All,
        "controllers" => Target::Controllers,
        "hosts" => Target::Hosts,
        _ => number(word, "web-")
            .map(Target::Node)
            .or_else(|| number(word, "host-").map(Target::Host))
            .or_else(|| number(word, "controller-").map(Target::Controller))?,
    })
}

/// The index (from 0) in a name that counts from 1.
fn number(word: &str, prefix: &str) -> Option<usize> {
    word.strip_prefix(prefix)?.parse::<usize>().ok()?.checked_sub(1)
}

/// A time in microseconds.
fn span(word: &str) -> Option<u64> {
    let span = match word.strip_suffix("ms") {
        Some(millis) => Duration::from_millis(millis.parse().ok()?),
        None => Duration::from_secs(word.strip_suffix('s')?.parse().ok()?),
    };
    u64::try_from(span.as_micros()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_no_step_is_named() {
        let error = tell("group sync replicas 1 hosts 2\nkill everybody\n").unwrap_err();
        assert_eq!(error.to_string(), "line 2 is not a step: kill everybody");
        assert!(matches!(tell("run 1s"), Err(ScriptError::NoGroup)));
    }

    #[test]
    fn an_expectation_that_is_not_met_is_told() {
        let story = tell("group sync replicas 1 hosts 2\nrun 3s\nexpect primary web-002\n");
        let story = story.unwrap();
        assert!(!story.fine);
        assert!(story.lines.last().unwrap().contains("NOT AS EXPECTED: the primary is web-001"));
    }
}
