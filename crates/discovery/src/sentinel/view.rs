//! What clients may be told now: the controller's status, seen as Sentinel sees the world.
//!
//! Each group is a primary with replicas under the group's name, and once more under each alias. Until
//! a group has had its first primary there is nothing to lead anybody to, and it is not shown.
//!
//! Invariant: every address that is shown is an endpoint, never an engine's own: what fences a former
//! primary fences its endpoints.
//!
//! Not here: what is said when something changes (`super::story`), how it is written (`super::fields`).

use std::net::SocketAddrV4;

use tanist_core::model::ProblemKind;
use tanist_link::api::{EndpointStatus, GroupStatus, NodeStatus, ShardStatus, Status};
use tokio::time::Instant;

use super::settings::{Advertise, Settings};

/// Everything that clients may ask about.
#[derive(Debug, Clone, Default)]
pub(super) struct View {
    /// Groups in the order of their names, then aliases in theirs.
    pub(super) watched: Vec<Watched>,
}

/// A name under which clients ask.
#[derive(Debug, Clone)]
pub(super) struct Watched {
    /// The name.
    pub(super) name: String,
    /// The group that it leads to.
    pub(super) group: String,
    /// It is not the group's own name.
    pub(super) is_alias: bool,
    /// What clients are told to dial.
    pub(super) address: SocketAddrV4,
    /// The shard's epoch.
    pub(super) epoch: u64,
    /// Whoever is primary, or was the last to be.
    pub(super) primary: Option<Node>,
    /// Everybody else.
    pub(super) replicas: Vec<Node>,
    /// Whether clients are served.
    pub(super) state: State,
}

/// Whether a group's clients are served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Somebody is primary.
    Serving,
    /// Nobody is, and somebody will be in a moment; endpoints hold requests meanwhile.
    Moving,
    /// Nobody is, and clients that are sent there would wait in vain.
    Down,
}

/// A node.
#[derive(Debug, Clone)]
pub(super) struct Node {
    /// Its id.
    pub(super) id: String,
    /// Its node endpoint.
    pub(super) address: SocketAddrV4,
    /// Its process.
    pub(super) pid: Option<u32>,
    /// Its position.
    pub(super) offset: u64,
    /// How far it has come.
    pub(super) stand: Stand,
    /// Since when it has had its role.
    pub(super) since: Instant,
}

/// What a node is doing, as far as clients are concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stand {
    /// It is the primary, or a replica that follows it.
    Well,
    /// It is up and does not follow: it syncs, or waits to be told whom.
    Behind,
    /// Its process starts.
    Starting,
    /// It does not answer.
    Down,
}

impl Stand {
    fn of(role: &str) -> Self {
        match role {
            "primary" | "replica" => Self::Well,
            "syncing" | "frozen" => Self::Behind,
            "starting" => Self::Starting,
            _ => Self::Down,
        }
    }

    /// Whether clients should be kept away from it.
    pub(super) fn is_down(self) -> bool {
        matches!(self, Self::Starting | Self::Down)
    }
}

impl View {
    /// What a status says. What it leaves out, such as who was the last primary, is as it was before.
    pub(super) fn of(status: &Status, before: &Self, settings: &Settings, now: Instant) -> Self {
        let group = |group: &GroupStatus| {
            let name = group.name.as_str();
            watched(group, name, before.find(name.as_bytes()), settings, now)
        };
        let mut all: Vec<Watched> = status.groups.iter().filter_map(group).collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        let groups = all.len();
        for (alias, leads_to) in settings.aliases.iter() {
            // A group that has the name itself keeps it.
            let is_taken = all[..groups].iter().any(|watched| watched.name == alias);
            let target = all[..groups].iter().find(|watched| watched.group == leads_to);
            if let Some(target) = target.filter(|_| !is_taken) {
                let name = alias.to_owned();
                all.push(Watched { name, is_alias: true, ..target.clone() });
            }
        }
        Self { watched: all }
    }

    /// What is known under a name.
    pub(super) fn find(&self, name: &[u8]) -> Option<&Watched> {
        self.watched.iter().find(|watched| watched.name.as_bytes() == name)
    }
}

fn watched(
    group: &GroupStatus,
    name: &str,
    before: Option<&Watched>,
    settings: &Settings,
    now: Instant,
) -> Option<Watched> {
    // Sentinel has no word for several shards.
    let [shard] = group.shards.as_slice() else { return None };
    if group.status == "deleting" || (group.status == "creating" && shard.primary.is_none()) {
        return None;
    }
    let nodes = shard.nodes.iter().filter(|node| node.role != "leaving");
    let mut nodes: Vec<Node> = nodes.map(|of| node(of, before, now)).collect();
    let named = shard.primary.as_ref().map(|primary| primary.as_str().to_owned());
    let last = before.and_then(|before| before.primary.as_ref()).map(|primary| primary.id.clone());
    let primary = named.or(last);
    let at = nodes.iter().position(|node| Some(&node.id) == primary.as_ref());
    let primary = at.map(|at| nodes.remove(at));
    let address = match settings.advertise {
        Advertise::Endpoint => address(&group.primary_endpoint),
        Advertise::Nodes => primary.as_ref()?.address,
    };
    let (epoch, state) = (shard.epoch.0, state(shard));
    let name = name.to_owned();
    let group = name.clone();
    Some(Watched { name, group, is_alias: false, address, epoch, primary, replicas: nodes, state })
}

fn state(shard: &ShardStatus) -> State {
    if shard.primary.is_some() {
        State::Serving
    } else if shard.problems.iter().any(|problem| problem.kind == ProblemKind::NoCandidate) {
        State::Down
    } else {
        State::Moving
    }
}

fn node(of: &NodeStatus, before: Option<&Watched>, now: Instant) -> Node {
    let id = of.node.as_str();
    let stand = Stand::of(&of.role);
    let before = before.and_then(|before| before.nodes().find(|node| node.id == id));
    let since = before.filter(|before| before.stand == stand).map_or(now, |before| before.since);
    Node {
        id: id.to_owned(),
        address: address(&of.endpoint),
        pid: of.pid,
        offset: of.offset.map_or(0, |offset| offset.0),
        stand,
        since,
    }
}

/// Always the address: a name need not resolve where the client is.
fn address(endpoint: &EndpointStatus) -> SocketAddrV4 {
    SocketAddrV4::new(endpoint.address, endpoint.port)
}

impl Watched {
    /// All nodes, the primary first.
    pub(super) fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.primary.iter().chain(&self.replicas)
    }

    /// A node.
    pub(super) fn node(&self, id: &str) -> Option<&Node> {
        self.nodes().find(|node| node.id == id)
    }
}

#[cfg(test)]
mod tests {
    use super::super::rig::{group, status, with_aliases};
    use super::*;

    fn view(status: &Status, before: &View, settings: &Settings) -> View {
        View::of(status, before, settings, Instant::now())
    }

    #[tokio::test]
    async fn a_group_is_shown_under_its_name_and_its_aliases() {
        let settings = with_aliases(&[("mymaster", "web"), ("b", "a"), ("a", "web"), ("x", "no")]);
        let now = status(&[group("web", 1, Some(1)), group("a", 1, Some(1))]);
        let view = view(&now, &View::default(), &settings);
        let names: Vec<_> =
            view.watched.iter().map(|w| (w.name.as_str(), w.group.as_str(), w.is_alias)).collect();
        let expected =
            [("a", "a", false), ("web", "web", false), ("b", "a", true), ("mymaster", "web", true)];
        assert_eq!(names, expected, "a group keeps its own name, and nothing leads nowhere");
    }

    #[tokio::test]
    async fn clients_are_led_to_the_primary_endpoint_whoever_is_primary() {
        let settings = Settings::default();
        let first = view(&status(&[group("web", 1, Some(1))]), &View::default(), &settings);
        let second = view(&status(&[group("web", 2, Some(2))]), &first, &settings);
        let of = |view: &View| view.find(b"web").unwrap().clone();
        assert_eq!(of(&first).address, of(&second).address);
        assert_eq!(of(&first).address.to_string(), "127.80.1.1:6379");
        assert_eq!(of(&second).primary.unwrap().id, "web-002");
        let ids: Vec<_> = of(&second).replicas.iter().map(|node| node.id.clone()).collect();
        assert_eq!(ids, ["web-001", "web-003"]);
    }

    #[tokio::test]
    async fn with_nodes_advertised_clients_are_led_to_the_primarys_own_endpoint() {
        let settings = Settings { advertise: Advertise::Nodes, ..Settings::default() };
        let first = view(&status(&[group("web", 1, Some(1))]), &View::default(), &settings);
        assert_eq!(first.find(b"web").unwrap().address.to_string(), "127.80.1.11:6379");
        let second = view(&status(&[group("web", 2, Some(2))]), &first, &settings);
        assert_eq!(second.find(b"web").unwrap().address.to_string(), "127.80.1.12:6379");
    }

    #[tokio::test]
    async fn while_nobody_is_primary_the_last_one_is_shown() {
        let settings = Settings::default();
        let first = view(&status(&[group("web", 1, Some(3))]), &View::default(), &settings);
        let second = view(&status(&[group("web", 2, None)]), &first, &settings);
        let web = second.find(b"web").unwrap();
        assert_eq!(
            (web.primary.as_ref().unwrap().id.as_str(), web.state),
            ("web-003", State::Moving)
        );
    }

    #[tokio::test]
    async fn a_group_that_has_had_no_primary_and_one_that_is_deleted_are_not_shown() {
        let mut new = group("web", 1, None);
        new.status = "creating".to_owned();
        let mut old = group("old", 1, Some(1));
        old.status = "deleting".to_owned();
        let view = view(&status(&[new, old]), &View::default(), &Settings::default());
        assert!(view.watched.is_empty());
    }
}
