//! Everything that can be wrong with a shard, as a table.
//!
//! One row per kind: what it means, what to do about it, and a pure match. The same kind is the
//! heading in `docs/failure-modes.md`, so a reader of a log finds the page.
//!
//! Invariant: the table is complete: every [`ProblemKind`] has exactly one row, and a row finds only
//! its own kind.
//!
//! Not here: reactions (`super::vacate`, `super::elect`, `super::in_sync`, `super::heal`).

use std::collections::BTreeSet;

use super::{Verdict, View, drain, served, vacate, word};
use crate::model::{
    Cause, Durability, Health, Member, NodeId, Problem, ProblemKind, Process, RoleSeen, Stall,
    WaitKind,
};

/// Whom a problem concerns, and details in words.
type Finding = (Option<NodeId>, String);

/// One row: a problem, its meaning, its remedy and its match.
pub struct ProblemRule {
    /// What it finds.
    pub kind: ProblemKind,
    /// What it means, for people.
    pub meaning: &'static str,
    /// What Tanist does, and what a person can do.
    pub remedy: &'static str,
    find: fn(&View<'_>) -> Vec<Finding>,
}

/// Finds every problem of a shard.
pub(super) fn diagnose(view: &View<'_>) -> Vec<Problem> {
    let mut problems = Vec::new();
    // By a topology that is out of date, nothing else can be called right or wrong.
    let forgotten = view.forgotten().is_some();
    for rule in RULES.iter().filter(|rule| !forgotten || rule.kind == ProblemKind::StoreBehind) {
        for (node, detail) in (rule.find)(view) {
            problems.push(Problem { kind: rule.kind, node, detail });
        }
    }
    problems
}

/// The table.
pub const RULES: &[ProblemRule] = &[
    ProblemRule {
        kind: ProblemKind::PrimaryDown,
        meaning: "the primary's process is gone",
        remedy: "a replica that has every acknowledged write takes over; the process is restarted as a replica",
        find: |view| on_primary(view, |verdict, _| (verdict == Verdict::Gone).then(String::new)),
    },
    ProblemRule {
        kind: ProblemKind::PrimarySilent,
        meaning: "the primary's process exists, does not answer and makes no progress",
        remedy: "it is killed before a replica takes over, so that it can never answer again",
        find: |view| {
            on_primary(view, |verdict, why| (verdict == Verdict::Hung).then(|| why.to_owned()))
        },
    },
    ProblemRule {
        kind: ProblemKind::PrimaryBusy,
        meaning: "the primary does not answer because it works or waits for a processor",
        remedy: "tolerated up to the busy limit: another primary would run the same command. Look for slow commands (SLOWLOG GET)",
        find: |view| {
            on_primary(view, |verdict, why| (verdict == Verdict::Slow).then(|| why.to_owned()))
        },
    },
    ProblemRule {
        kind: ProblemKind::PrimaryHostLost,
        meaning: "nothing is heard from the primary's host",
        remedy: "a replica takes over once the old primary cannot acknowledge anything any more",
        find: primary_host_lost,
    },
    ProblemRule {
        kind: ProblemKind::TwoPrimaries,
        meaning: "an engine says that it is primary although it was not chosen",
        remedy: "it is fenced; no proxy leads to it and no replica follows it",
        find: two_primaries,
    },
    ProblemRule {
        kind: ProblemKind::NoCandidate,
        meaning: "nobody is primary, and nobody holds every acknowledged write for certain",
        remedy: "bring back who is named; if its host is gone for good, first tanist host remove HOST --dead; if nobody becomes primary then, accept the loss",
        find: no_candidate,
    },
    ProblemRule {
        kind: ProblemKind::StoreBehind,
        meaning: "the store is older than what the hosts were told: it was put back from a copy",
        remedy: "nothing is done for this group until a person says whose data counts: see which node has the newest, then tanist failover GROUP --to NODE --accept-loss",
        find: store_behind,
    },
    ProblemRule {
        kind: ProblemKind::WritesRefused,
        meaning: "the primary answers but refuses writes",
        remedy: "MISCONF: free disk space (a planned switchover follows if a replica's disk is well). OOM: raise the memory limit or delete keys. BUSY: SCRIPT KILL",
        find: writes_refused,
    },
    ProblemRule {
        kind: ProblemKind::InSyncSetEmpty,
        meaning: "writes are acknowledged by the primary alone",
        remedy: "ends by itself when a replica has caught up; until then the primary's loss may lose writes",
        find: in_sync_empty,
    },
    ProblemRule {
        kind: ProblemKind::ReplicaLost,
        meaning: "a replica's process is gone, or its host is not heard from",
        remedy: "the process is restarted; a node whose host stays away is placed on another",
        find: |view| {
            on_replicas(view, |verdict| matches!(verdict, Verdict::Gone | Verdict::HostLost))
        },
    },
    ProblemRule {
        kind: ProblemKind::ReplicaSilent,
        meaning: "a replica's process does not answer",
        remedy: "it leaves the in-sync set (at once if it hangs, after 2 s if it is slow) and comes back when it answers",
        find: |view| on_replicas(view, |verdict| matches!(verdict, Verdict::Slow | Verdict::Hung)),
    },
    ProblemRule {
        kind: ProblemKind::ReplicaFollowsWrongPrimary,
        meaning: "a replica follows somebody else than the primary",
        remedy: "it is told to follow the primary",
        find: wrong_primary,
    },
    ProblemRule {
        kind: ProblemKind::ReplicaBehind,
        meaning: "a replica runs but is not in sync",
        remedy: "it joins the in-sync set when it has caught up",
        find: behind,
    },
    ProblemRule {
        kind: ProblemKind::NodeCannotStart,
        meaning: "a node's process cannot be started",
        remedy: "see the reason; tanist doctor checks the usual ones",
        find: cannot_start,
    },
    ProblemRule {
        kind: ProblemKind::ForkFails,
        meaning: "an engine cannot start the child process that copies its data, so that no replica gets a full copy from it",
        remedy: "sysctl vm.overcommit_memory=1, free memory on its host, and look at limits of processes (ulimit -u, pids.max); it is tried again every second",
        find: fork_fails,
    },
    ProblemRule {
        kind: ProblemKind::ZoneSpreadBroken,
        meaning: "two nodes of the shard share a zone although another zone has a host",
        remedy: "the node is relocated when nothing has gone wrong for a while, and the wait says for how long; unless that is switched off, or its zone was chosen",
        find: zone_spread,
    },
    ProblemRule {
        kind: ProblemKind::NoRoom,
        meaning: "fewer nodes exist than were asked for, or one cannot leave a drained host, and no host has room",
        remedy: "add a host or lower the memory of a group",
        find: no_room,
    },
    ProblemRule {
        kind: ProblemKind::EndpointHostLost,
        meaning: "a host that was chosen for the group's endpoints is not there",
        remedy: "clients use the other addresses; if it does not come back, choose others: tanist endpoints GROUP --hosts h1,h2 (or all)",
        find: |view| served::lost(view).filter(|_| served::has_one(view)).collect(),
    },
    ProblemRule {
        kind: ProblemKind::NoEndpoint,
        meaning: "no client can connect: none of the hosts that were chosen for the group's endpoints is there",
        remedy: "choose others: tanist endpoints GROUP --hosts h1,h2 (or all)",
        find: |view| served::lost(view).filter(|_| !served::has_one(view)).collect(),
    },
];

fn stall_in_words(view: &View<'_>, node: &NodeId) -> String {
    let Some(seen) = view.report(node) else { return String::new() };
    let why = match seen.report.stall {
        Stall::None => "answers",
        Stall::Stopped => "its process is stopped",
        Stall::Stalled => "its process sleeps or waits for a device",
        Stall::Busy => "its process works",
        Stall::Starved => "its process gets no processor",
    };
    format!("silent for {} ms: {why}", seen.report.silent.as_millis())
}

fn on_primary(view: &View<'_>, matches: fn(Verdict, &str) -> Option<String>) -> Vec<Finding> {
    let Some(primary) = view.decided.primary() else { return Vec::new() };
    let verdict = if view.run_gone(primary) { Verdict::Gone } else { view.verdict(&primary.node) };
    let why = stall_in_words(view, &primary.node);
    matches(verdict, &why).map(|detail| (Some(primary.node.clone()), detail)).into_iter().collect()
}

fn primary_host_lost(view: &View<'_>) -> Vec<Finding> {
    let Some(primary) = view.decided.primary().filter(|run| !view.run_gone(run)) else {
        return Vec::new();
    };
    if view.verdict(&primary.node) != Verdict::HostLost {
        return Vec::new();
    }
    let mut detail = word::missed(view, primary);
    // In `async` the old primary may go on by itself: no word but that its host is dead helps.
    let is_sync = view.decided.durability == Durability::Sync;
    if is_sync && !vacate::anyone_could_take_over(view, primary) {
        let way_on = word::way_on(view, primary);
        detail = format!("{detail}; nobody who has every acknowledged write is there; {way_on}");
    }
    vec![(Some(primary.node.clone()), detail)]
}

fn replicas<'a>(view: &View<'a>) -> impl Iterator<Item = &'a NodeId> {
    let primary = view.decided.primary().map(|run| &run.node);
    view.decided
        .members
        .iter()
        .filter(move |(node, member)| Some(*node) != primary && !member.leaving)
        .map(|(node, _)| node)
}

fn on_replicas(view: &View<'_>, matches: fn(Verdict) -> bool) -> Vec<Finding> {
    if view.decided.primary().is_none() {
        return Vec::new();
    }
    replicas(view)
        .map(|node| (node, view.verdict(node)))
        .filter(|(_, verdict)| matches(*verdict))
        .map(|(node, verdict)| {
            let why = match verdict {
                Verdict::Gone => "its process is gone".to_owned(),
                Verdict::HostLost => "its host is silent".to_owned(),
                _ => stall_in_words(view, node),
            };
            (Some(node.clone()), why)
        })
        .collect()
}

fn two_primaries(view: &View<'_>) -> Vec<Finding> {
    // While the shard is vacant, the one before is about to be fenced: no second one, and no news.
    let vacated = view.decided.vacancy().and_then(|vacancy| vacancy.prev.as_ref());
    let chosen = view.decided.primary().or(vacated);
    let says_primary = |node: &&NodeId| {
        let chosen = chosen.is_some_and(|run| run.node == **node && !view.run_gone(run));
        let role = view.engine(node).map(|engine| &engine.role);
        // What a lost host said last says nothing about now.
        let lies = matches!(role, Some(RoleSeen::Primary { .. })) && view.reachable(node);
        !chosen && lies && view.answer(node).is_none()
    };
    let liars = view.decided.members.keys().filter(says_primary);
    liars.map(|node| (Some(node.clone()), String::new())).collect()
}

fn no_candidate(view: &View<'_>) -> Vec<Finding> {
    let Some(vacancy) = view.decided.vacancy() else { return Vec::new() };
    if matches!(vacancy.cause, Cause::Created | Cause::Deleted) {
        return Vec::new();
    }
    // The same judgment as the election's: what it waits for is what is missing.
    let mut draft = super::Draft::new(view);
    super::elect::elect(view, vacancy, &mut draft);
    let prev = vacancy.prev.as_ref();
    let lost = prev.is_some_and(|prev| !view.reachable(&prev.node));
    let waits = draft.waits.into_iter().filter(|wait| match wait.kind {
        WaitKind::Candidate => true,
        WaitKind::DiskRecovery => lost,
        _ => false,
    });
    // Who has named a node already has been told what it may cost.
    let prev = prev.filter(|_| super::elect::accepted_node(view).is_none());
    let way_on = prev.map(|prev| format!("; {}", word::way_on(view, prev))).unwrap_or_default();
    waits.map(|wait| (None, format!("{}{way_on}", wait.detail))).collect()
}

fn store_behind(view: &View<'_>) -> Vec<Finding> {
    let forgotten = view.forgotten();
    let detail = |promised| format!("revision {} after {promised}", view.decided.rev);
    forgotten.map(|promised| (None, detail(promised))).into_iter().collect()
}

fn writes_refused(view: &View<'_>) -> Vec<Finding> {
    let Some(primary) = view.decided.primary().filter(|run| view.promoted(run)) else {
        return Vec::new();
    };
    let why = match view.engine_of(primary).map(|engine| engine.health) {
        Some(Health::Misconf) => "MISCONF: the append-only file or a snapshot cannot be written",
        Some(Health::NoReplicas) => "NOREPLICAS: too few replicas",
        Some(Health::OutOfMemory) => "OOM: the memory limit is reached",
        Some(Health::BusyScript) => "BUSY: a script does not end",
        Some(Health::Loading) => "LOADING: it is loading its data",
        Some(Health::Odd) => "an answer that Tanist does not know",
        Some(Health::Writable | Health::ReadOnly) | None => return Vec::new(),
    };
    vec![(Some(primary.node.clone()), why.to_owned())]
}

fn fork_fails(view: &View<'_>) -> Vec<Finding> {
    let failed = |node: &NodeId| {
        let why = view.engine(node)?.fork_error.clone()?;
        view.reachable(node).then(|| (Some(node.clone()), why))
    };
    view.decided.members.keys().filter_map(failed).collect()
}

fn in_sync_empty(view: &View<'_>) -> Vec<Finding> {
    let serving = view.decided.primary().is_some();
    let empty = serving && view.asked.replicas > 0 && view.decided.in_sync.is_empty();
    if empty { vec![(None, String::new())] } else { Vec::new() }
}

fn wrong_primary(view: &View<'_>) -> Vec<Finding> {
    let Some(primary) = view.decided.primary().and_then(|run| view.member(&run.node)) else {
        return Vec::new();
    };
    let strays = replicas(view).filter_map(|node| {
        let RoleSeen::Replica { of: Some(address), .. } = &view.engine(node)?.role else {
            return None;
        };
        (*address != primary.address).then(|| (Some(node.clone()), format!("it follows {address}")))
    });
    strays.collect()
}

fn behind(view: &View<'_>) -> Vec<Finding> {
    if view.decided.primary().is_none() {
        return Vec::new();
    }
    let not_in_sync = |node: &&NodeId| {
        let attach = view.member(node).and_then(|member| member.attach.as_ref());
        let joined = attach.is_some_and(|tag| view.decided.in_sync.contains(tag));
        !joined && view.verdict(node) == Verdict::Alive
    };
    replicas(view).filter(not_in_sync).map(|node| (Some(node.clone()), String::new())).collect()
}

fn cannot_start(view: &View<'_>) -> Vec<Finding> {
    let failed =
        view.decided.members.keys().filter_map(|node| match &view.report(node)?.report.process {
            Process::Failed(reason) => Some((Some(node.clone()), reason.clone())),
            Process::Unknown | Process::Absent | Process::Running(_) => None,
        });
    failed.collect()
}

fn zone_spread(view: &View<'_>) -> Vec<Finding> {
    let allowed = |zone| view.asked.zones.is_empty() || view.asked.zones.contains(zone);
    let hosts = view.seen.hosts.values().filter(|host| !host.draining);
    let zones: BTreeSet<_> = hosts.map(|host| &host.zone).filter(|zone| allowed(zone)).collect();
    let mut used = BTreeSet::new();
    let mut doubled = Vec::new();
    let stays = |member: &Member| !member.leaving && !drain::is_displaced(view, member);
    for (node, member) in view.decided.members.iter().filter(|(_, member)| stays(member)) {
        // Where its owner wants it is where it belongs.
        if !used.insert(&member.zone) && !view.asked.zone_of.contains_key(node) {
            doubled.push((Some(node.clone()), format!("{} has another node", member.zone)));
        }
    }
    if used.len() < zones.len() { doubled } else { Vec::new() }
}

fn no_room(view: &View<'_>) -> Vec<Finding> {
    let present = view.decided.members.values().filter(|member| !member.leaving).count();
    let wanted = view.asked.nodes_per_shard();
    let mut members = view.decided.members.values();
    let displaced = members.any(|member| drain::is_displaced(view, member));
    let needed = wanted + usize::from(displaced);
    if view.decided.primary().is_none() || present >= needed || view.asked.deleting {
        return Vec::new();
    }
    let node = super::heal::free_name(view, view.decided);
    let site = node.and_then(|node| super::placement::site(view, view.decided, &node));
    let detail = if present < wanted {
        format!("{present} of {wanted} nodes exist")
    } else {
        "a node cannot leave its host, which is drained".to_owned()
    };
    if site.is_none() { vec![(None, detail)] } else { Vec::new() }
}
