//! The story: steps in words, for whoever has to understand a trace.
//!
//! Invariant: a line names everything that the step depended on; nobody has to read the model.
//!
//! Not here: what steps do (`crate::decision`, `crate::hands`, `crate::engine`, `crate::lanes`).

use std::fmt::Write;

use tanist_core::model::RouteState;

use crate::nouns::{Act, Decided};
use crate::state::{Answer, ProbeRole, Report, Role, State};
use crate::step::Step;
use crate::world::World;

fn name(node: u8) -> String {
    format!("web-{:03}", node + 1)
}

fn bits(set: u32) -> String {
    let names: Vec<String> =
        (0..32).filter(|bit| set & (1 << bit) != 0).map(|bit| bit.to_string()).collect();
    format!("{{{}}}", names.join(","))
}

impl Step {
    /// The kinds of steps.
    pub(crate) const KINDS: [&'static str; 15] = [
        "send", "look", "release", "give up", "learn", "beat", "commit", "lead", "reread",
        "deliver", "attach", "copied", "pull", "crash", "recopy",
    ];

    /// The index of its kind.
    pub(crate) fn kind(self) -> usize {
        match self {
            Self::Send { .. } => 0,
            Self::Look { .. } => 1,
            Self::Release { .. } => 2,
            Self::GiveUp { .. } => 3,
            Self::Learn { .. } => 4,
            Self::Beat { .. } => 5,
            Self::Commit { .. } => 6,
            Self::Lead { .. } => 7,
            Self::Reread { .. } => 8,
            Self::Deliver { .. } => 9,
            Self::Attach { .. } => 10,
            Self::Copied { .. } => 11,
            Self::Pull { .. } => 12,
            Self::Crash { .. } => 13,
            Self::Recopy { .. } => 14,
        }
    }
}

impl World {
    /// A step taken in `state`, in words.
    pub(crate) fn tell(&mut self, state: &State, step: Step) -> String {
        let after = self.apply(state, step).map_or(*state, |next| next.state);
        match step {
            Step::Send { proxy, .. } => {
                let flight = self.proxies.get(after.proxies[usize::from(proxy)]).flight;
                let what = flight.map_or(String::new(), |flight| {
                    format!(
                        "w{} under epoch {}; {} executes it at offset {}",
                        flight.write,
                        flight.epoch,
                        name(flight.node),
                        flight.position
                    )
                });
                format!("proxy-{proxy} sends {what}")
            }
            Step::Look { proxy } => {
                let flight = self.proxies.get(after.proxies[usize::from(proxy)]).flight;
                let seen = flight.and_then(|flight| flight.seen);
                let tags = seen.map_or(String::new(), |seen| {
                    let tags: Vec<String> =
                        self.lists.get(seen).iter().map(|at| at.tag().to_string()).collect();
                    tags.join(", ")
                });
                format!("proxy-{proxy} reads ROLE: past its write are [{tags}]")
            }
            Step::Release { proxy } => self.tell_release(state, proxy),
            Step::GiveUp { proxy } => {
                format!("proxy-{proxy} finds its lane broken and answers -UNCERTAIN")
            }
            Step::Learn { proxy, route } => self.tell_route(proxy, route),
            Step::Beat { controller, proxy } => {
                format!("ctl-{controller} hears that proxy-{proxy} works by its revision")
            }
            Step::Commit { controller, choice } => self.tell_commit(state, controller, choice),
            Step::Lead { controller } => {
                format!("ctl-{controller} takes the leadership (term {})", after.term)
            }
            Step::Reread { controller } => format!("ctl-{controller} reads the store again"),
            Step::Deliver { order } => self.tell_order(state, &after, order),
            Step::Attach { node } => {
                let what = match self.node(&after, node).role {
                    Role::Replica { link: crate::state::Link::Copying, .. } => {
                        "begins a full copy; what it had is gone"
                    }
                    _ => "attaches and goes on where it was",
                };
                format!("{} {what}", name(node))
            }
            Step::Copied { node } => format!("{} has its full copy", name(node)),
            Step::Pull { node } => {
                let history = self.node(&after, node).history;
                let write = history.at(history.len().saturating_sub(1));
                format!("{} receives w{write}", name(node))
            }
            Step::Crash { node, kept } => {
                let disk = if kept { "its disk has everything" } else { "its disk lacks the last" };
                format!("the process of {} DIES; {disk}", name(node))
            }
            Step::Recopy { node } => {
                format!("{} loses its place in the stream and begins a full copy", name(node))
            }
        }
    }

    fn tell_commit(&mut self, state: &State, controller: u8, choice: u32) -> String {
        let number = state.controllers[usize::from(controller)];
        let lists = self.controllers.get(number).heard;
        let choices = self.choices(number);
        let Some(choice) = choices.get(choice as usize) else { return String::new() };
        let told = tell_topology(self.topologies.get(choice.outcome.topology));
        let mut text = format!("ctl-{controller} COMMITS {told}");
        for ((node, list), used) in (0_u8..).zip(lists).zip(choice.used) {
            let all = self.heard.get(list);
            let used = usize::from(used);
            let Some(heard) = all.get(used) else { continue };
            let what = heard.report.as_ref().map_or("nothing yet".to_owned(), tell_report);
            let late = all.len() - 1 - used;
            let late =
                if late == 0 { String::new() } else { format!(" ({late} newer on the way)") };
            let _ = write!(text, "\n        heard of {}: {what}{late}", name(node));
        }
        text
    }

    fn tell_release(&self, state: &State, proxy: u8) -> String {
        let Some(flight) = self.proxies.get(state.proxies[usize::from(proxy)]).flight else {
            return String::new();
        };
        let gate = &self.gates.get(self.proxies.get(state.proxies[usize::from(proxy)]).gate).gate;
        format!(
            "proxy-{proxy} ACKNOWLEDGES w{} of epoch {} under the route of revision {} (required: \
             {:?})",
            flight.write,
            flight.epoch,
            gate.rev(),
            gate.required()
        )
    }

    fn tell_route(&self, proxy: u8, route: u32) -> String {
        let route = &self.routes.get(route).route;
        let what = match &route.state {
            RouteState::Vacant => "nobody is primary".to_owned(),
            RouteState::Serving { primary, required, .. } => {
                format!("{primary} is primary, required: {required:?}")
            }
        };
        format!(
            "proxy-{proxy} learns the route of revision {} epoch {}: {what}",
            route.rev, route.epoch
        )
    }

    fn tell_order(&self, state: &State, after: &State, order: u32) -> String {
        let asked = &self.asked[order as usize];
        let node = self.node(after, asked.node);
        let what = match asked.act {
            Act::Start { load } => {
                format!("Start {}", if load { "from its disk" } else { "empty" })
            }
            Act::Fence { was_primary: true } => "Fence".to_owned(),
            Act::Fence { was_primary: false } => "Freeze".to_owned(),
            Act::Lead { users, promote, .. } => {
                let verb = if promote { "Promote" } else { "Admit" };
                format!("{verb}, letting in attachments {}", bits(users))
            }
            Act::Follow { of, seq, .. } => format!("Follow {} by attachment {seq}", name(of)),
            Act::Other => String::new(),
        };
        let was = self.node(state, asked.node);
        let refused = asked.rev < was.guard_rev;
        let answer = match (asked.act, node.answer) {
            (Act::Fence { .. }, Some((_, answer))) => {
                format!("; it answers {}", tell_answer(answer))
            }
            _ => String::new(),
        };
        let late = if refused { " (older than what it promised!)" } else { "" };
        let (at, rev, epoch) = (name(asked.node), asked.rev, asked.epoch);
        format!("{at} carries out, of revision {rev} epoch {epoch}{late}: {what}{answer}")
    }
}

fn tell_answer(answer: Answer) -> String {
    match answer {
        Answer::Dead => "dead".to_owned(),
        Answer::Frozen { run, offset, .. } => format!("run {run} frozen at offset {offset}"),
        Answer::Unusable { run } => format!("run {run} cannot be compared"),
    }
}

fn tell_report(report: &Report) -> String {
    let Some(run) = report.run else { return "no process".to_owned() };
    let mut text = format!("run {run}");
    if let Some(probe) = report.probe {
        let role = match probe.role {
            ProbeRole::Primary { online } => format!("primary with {} online", bits(online)),
            ProbeRole::Replica { up: true, .. } => "replica, link up".to_owned(),
            ProbeRole::Replica { copying: true, .. } => "replica, copying".to_owned(),
            ProbeRole::Replica { .. } => "replica, link down".to_owned(),
        };
        let _ = write!(text, ", {role}, offset {}", probe.offset);
    }
    if let Some((rev, answer)) = report.answer {
        let _ = write!(text, ", answered revision {rev}: {}", tell_answer(answer));
    }
    if let Some(done) = report.done {
        let what = if done.primary { "made primary, lets in" } else { "follows by" };
        let lanes = bits(u32::from(done.lanes));
        let _ = write!(text, ", {what} {} with lanes {lanes}", bits(done.seqs));
    }
    text
}

fn tell_topology(decided: &Decided) -> String {
    let who = match decided.primary {
        Some((node, run)) => format!("{} run {run} is primary", name(node)),
        None => "nobody is primary".to_owned(),
    };
    let topology = &decided.topology;
    let tags: Vec<String> = topology.in_sync.iter().map(ToString::to_string).collect();
    let pending = topology.pending.as_ref().map_or(String::new(), |tag| format!(", pending {tag}"));
    let lanes: Vec<&str> = topology.lanes.iter().map(tanist_core::model::ProxyId::as_str).collect();
    format!(
        "revision {} epoch {}: {who}, S = [{}]{pending}, lanes [{}]",
        decided.rev,
        decided.epoch,
        tags.join(", "),
        lanes.join(", ")
    )
}
