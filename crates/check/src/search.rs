//! Searches: every state by breadth, or one way through at random.
//!
//! Breadth first, so that the first fault found is one with the fewest steps. States are remembered
//! by 64 bits, each with its predecessor's, from which a trace is found again.
//!
//! Invariant: a search that reports "complete" has met every state that its configuration can
//! reach, up to a collision of fingerprints (for 30 million states: one in 40 000 searches).
//!
//! Not here: what follows from a state (`crate::step`).

use std::fmt;
use std::time::{Duration, Instant};

use crate::config::Configuration;
use crate::dice::Dice;
use crate::intern::Fingerprints;
use crate::state::State;
use crate::step::{Fault, Next, Step};
use crate::world::World;

/// Parts in the tables of a walk beyond which it begins anew with empty ones.
const PARTS: usize = 2_000_000;

/// A broken promise and the way to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    /// What happened, one line for each step.
    pub steps: Vec<String>,
    /// What does not hold after the last one.
    pub fault: Fault,
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, step) in self.steps.iter().enumerate() {
            writeln!(f, "{:3}  {step}", index + 1)?;
        }
        write!(f, "BROKEN: {}: {}", self.fault.promise, self.fault.detail)
    }
}

/// What a search found.
#[derive(Debug, Clone)]
pub struct Found {
    /// Different states (of a walk: steps).
    pub states: u64,
    /// Steps tried that changed something.
    pub transitions: u64,
    /// States that were not followed further: no promise about writes can break after them.
    pub quiet: u64,
    /// The most steps from the beginning (of a walk: the longest one).
    pub depth: u32,
    /// Every state that can be reached was met.
    pub complete: bool,
    /// How long it took.
    pub took: Duration,
    /// How often each kind of step was taken, by name.
    pub census: Vec<(&'static str, u64)>,
    /// The first broken promise.
    pub trace: Option<Trace>,
}

struct Search {
    world: World,
    first: State,
    met: Fingerprints<u64>,
    transitions: u64,
    quiet: u64,
    census: [u64; Step::KINDS.len()],
    began: Instant,
}

/// Meets every state, or `limit` of them, or those up to the first broken promise.
pub fn exhaust(config: Configuration, limit: u64) -> Found {
    let mut world = World::new(config);
    let first = world.first_state();
    let mut search = Search {
        world,
        first,
        met: Fingerprints::default(),
        transitions: 0,
        quiet: 0,
        census: [0; Step::KINDS.len()],
        began: Instant::now(),
    };
    search.met.insert(first.fingerprint(), 0);
    let (mut level, mut depth) = (vec![first], 0);
    while !level.is_empty() {
        if search.met.len() as u64 >= limit {
            return search.found(depth, false, None);
        }
        match search.widen(&level) {
            Ok(next) => level = next,
            Err((at, step, fault)) => {
                let trace = search.retrace(&at, step, fault);
                return search.found(depth + 1, false, Some(trace));
            }
        }
        depth += u32::from(!level.is_empty());
    }
    search.found(depth, true, None)
}

impl Search {
    /// The states one step further that were not met before.
    fn widen(&mut self, level: &[State]) -> Result<Vec<State>, (State, Step, Fault)> {
        let mut next_level = Vec::new();
        let mut steps = Vec::new();
        for state in level {
            if self.world.is_quiet(state) {
                self.quiet += 1;
                continue;
            }
            let own = state.fingerprint();
            self.world.steps(state, &mut steps);
            for step in &steps {
                let Some(next) = self.world.apply(state, *step) else { continue };
                self.transitions += 1;
                self.census[step.kind()] += 1;
                if let Some(fault) = next.fault {
                    return Err((*state, *step, fault));
                }
                if let std::collections::hash_map::Entry::Vacant(slot) =
                    self.met.entry(next.state.fingerprint())
                {
                    slot.insert(own);
                    next_level.push(next.state);
                }
            }
        }
        Ok(next_level)
    }

    /// Finds the way to a state again and tells it.
    fn retrace(&mut self, last: &State, step: Step, fault: Fault) -> Trace {
        let mut way = vec![last.fingerprint()];
        let first = self.first.fingerprint();
        while let Some(at) = way.last().copied().filter(|at| *at != first) {
            match self.met.get(&at) {
                Some(before) => way.push(*before),
                None => break,
            }
        }
        let (mut state, mut told, mut steps) = (self.first, Vec::new(), Vec::new());
        for wanted in way.into_iter().rev().skip(1) {
            self.world.steps(&state, &mut steps);
            let found = steps.iter().find_map(|step| {
                let next = self.world.apply(&state, *step)?.state;
                (next.fingerprint() == wanted).then_some((*step, next))
            });
            let Some((step, next)) = found else { break };
            told.push(self.world.tell(&state, step));
            state = next;
        }
        told.push(self.world.tell(&state, step));
        Trace { steps: told, fault }
    }

    fn found(&self, depth: u32, complete: bool, trace: Option<Trace>) -> Found {
        Found {
            states: self.met.len() as u64,
            transitions: self.transitions,
            quiet: self.quiet,
            depth,
            complete,
            took: self.began.elapsed(),
            census: Step::KINDS.iter().copied().zip(self.census).collect(),
            trace,
        }
    }
}

/// Takes `total` random steps, at most `length` from each beginning.
pub fn walk(config: Configuration, seed: u64, total: u64, length: u32) -> Found {
    let began = Instant::now();
    let mut dice = Dice::new(seed.rotate_left(32));
    let mut world = World::new(config);
    world.dice = Dice::new(seed);
    let mut first = world.first_state();
    let (mut taken, mut longest) = (0, 0);
    let mut census = [0; Step::KINDS.len()];
    let mut trace = None;
    let mut steps = Vec::new();
    while taken < total && trace.is_none() {
        if world.size() > PARTS {
            let dice = world.dice;
            world = World::new(config);
            world.dice = dice;
            first = world.first_state();
        }
        world.choices.clear();
        let (mut state, mut way) = (first, Vec::new());
        for _ in 0..length {
            world.steps(&state, &mut steps);
            let Some((step, next)) = any(&mut world, &state, &mut steps, &mut dice) else { break };
            taken += 1;
            census[step.kind()] += 1;
            way.push((state, step));
            state = next.state;
            if let Some(fault) = next.fault {
                let told = way.iter().map(|(state, step)| world.tell(state, *step)).collect();
                trace = Some(Trace { steps: told, fault });
                break;
            }
        }
        longest = longest.max(u32::try_from(way.len()).unwrap_or(u32::MAX));
    }
    Found {
        states: taken,
        transitions: taken,
        quiet: 0,
        depth: longest,
        complete: false,
        took: began.elapsed(),
        census: Step::KINDS.iter().copied().zip(census).collect(),
        trace,
    }
}

/// One of the steps that change something: first of which kind, then which, because there are far
/// more orders than anything else.
fn any(
    world: &mut World,
    state: &State,
    steps: &mut Vec<Step>,
    dice: &mut Dice,
) -> Option<(Step, Next)> {
    while !steps.is_empty() {
        let mut kinds: Vec<usize> = steps.iter().map(|step| step.kind()).collect();
        kinds.sort_unstable();
        kinds.dedup();
        let kind = kinds[dice.below(kinds.len())];
        let alike: Vec<usize> =
            (0..steps.len()).filter(|index| steps[*index].kind() == kind).collect();
        let step = steps.swap_remove(alike[dice.below(alike.len())]);
        if let Some(next) = world.apply(state, step) {
            return Some((step, next));
        }
    }
    None
}
