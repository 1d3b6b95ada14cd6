//! What Sentinel-aware clients are told: where the primary is, and what happens to it.
//!
//! Invariant: everything is asked of the Sentinel endpoint on the wire, as clients ask.
//!
//! Not here: the clients themselves (`clients/`).

use std::net::SocketAddr;
use std::time::Duration;

use bytes::BytesMut;
use tanist_lab::{Installation, kill};
use tanist_link::api::{EndpointStatus, GroupStatus, NodeStatus};
use tanist_resp::{Command, Connection, ReplyFramer, ReplyLimits, Value};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::{call, runtime, text};

crate::on_both_engines!(
    a_failover_that_sentinel_is_asked_for_is_told_in_its_own_order,
    a_killed_primary_is_told_as_lost_as_replaced_and_as_back,
    clients_that_want_to_see_nodes_are_led_from_one_to_the_next,
);

const PATIENCE: Duration = Duration::from_secs(30);

/// An installation with a group `web`, whose alias is `mymaster`.
fn web(engine: &str, settings: &str) -> Installation {
    let mut installation = Installation::empty();
    let file = installation.dir().join("tanist.toml");
    let text = format!("[sentinel]\n{settings}\n[sentinel.aliases]\nmymaster = \"web\"\n");
    std::fs::write(&file, text).unwrap_or_else(|err| panic!("{}: {err}", file.display()));
    installation.dev_with(&["--config", &file.display().to_string()]);
    installation.create("web", &["--engine", engine]);
    installation
}

async fn ask(at: SocketAddr) -> Connection {
    let connected = Connection::connect(at, Duration::from_secs(5)).await;
    connected.unwrap_or_else(|err| panic!("connecting to {at}: {err}"))
}

/// Where clients are led for a name.
async fn address(sentinel: &mut Connection, name: &str) -> SocketAddr {
    let answer = call(sentinel, &["SENTINEL", "get-master-addr-by-name", name]).await;
    let parts: Vec<&str> =
        answer.as_array().unwrap_or_default().iter().filter_map(Value::as_str).collect();
    let [ip, port] = parts.as_slice() else { panic!("{name}: {answer:?}") };
    format!("{ip}:{port}").parse().unwrap_or_else(|err| panic!("{answer:?}: {err}"))
}

fn socket(endpoint: &EndpointStatus) -> SocketAddr {
    (endpoint.address, endpoint.port).into()
}

/// A subscriber to everything.
struct Subscriber {
    stream: TcpStream,
    input: BytesMut,
    framer: ReplyFramer,
}

impl Subscriber {
    async fn at(sentinel: SocketAddr) -> Self {
        let connected = TcpStream::connect(sentinel).await;
        let stream = connected.unwrap_or_else(|err| panic!("connecting to {sentinel}: {err}"));
        let framer = ReplyFramer::new(&ReplyLimits::default());
        let mut subscriber = Self { stream, input: BytesMut::new(), framer };
        let all = Command::new("PSUBSCRIBE").arg("*").encode();
        let sent = subscriber.stream.write_all(&all).await;
        sent.unwrap_or_else(|err| panic!("subscribing: {err}"));
        let confirmed = subscriber.next().await;
        assert_eq!(confirmed[0], "psubscribe", "{confirmed:?}");
        subscriber
    }

    async fn next(&mut self) -> Vec<String> {
        loop {
            let framed = self.framer.next(&mut self.input);
            if let Some(reply) = framed.unwrap_or_else(|err| panic!("a message: {err}")) {
                let value = reply.value().unwrap_or_else(|err| panic!("a message: {err}"));
                let parts = value.as_array().unwrap_or_default().iter().filter_map(Value::as_str);
                return parts.map(str::to_owned).collect();
            }
            let read = tokio::time::timeout(PATIENCE, self.stream.read_buf(&mut self.input)).await;
            assert!(matches!(read, Ok(Ok(1..))), "no message: {read:?}");
        }
    }

    /// Channels and payloads up to the message that has all of this.
    async fn until(&mut self, last: &[&str]) -> Vec<String> {
        let mut heard = Vec::new();
        loop {
            let message = self.next().await;
            let [_, _, channel, payload] = message.as_slice() else { panic!("{message:?}") };
            let said = format!("{channel} {payload}");
            let is_last = last.iter().all(|part| said.contains(part));
            heard.push(said);
            if is_last {
                return heard;
            }
        }
    }
}

/// Asserts that these were heard in this order, with anything between them.
fn assert_in_order(heard: &[String], expected: &[String]) {
    let mut rest = heard.iter();
    for said in expected {
        assert!(rest.any(|heard| heard == said), "{said:?} is missing or late in {heard:#?}");
    }
}

/// What a replica's messages say of it.
fn replica(node: &NodeStatus, group: &GroupStatus) -> String {
    let (at, of) = (&node.endpoint, &group.primary_endpoint);
    let ip = at.address;
    format!("slave {ip}:{} {ip} {} @ web {} {}", at.port, at.port, of.address, of.port)
}

/// The messages of a failover from one node to another.
fn failover(before: &GroupStatus, after: &GroupStatus) -> Vec<String> {
    let shard = &after.shards[0];
    let find = |id: &str| shard.nodes.iter().find(|node| node.node.as_str() == id);
    let id = |group: &GroupStatus| group.shards[0].primary.clone();
    let (Some(from), Some(to)) = (id(before), id(after)) else { panic!("{before:?} {after:?}") };
    let (Some(old), Some(new)) = (find(from.as_str()), find(to.as_str())) else {
        panic!("{shard:?}");
    };
    let other = shard.nodes.iter().find(|node| node.node != from && node.node != to);
    let other = other.unwrap_or_else(|| panic!("{shard:?}"));
    let at = format!("{} {}", after.primary_endpoint.address, after.primary_endpoint.port);
    let (web, heir) = (format!("master web {at}"), replica(new, after));
    let (other, old) = (replica(other, after), replica(old, after));
    vec![
        format!("+new-epoch {}", shard.epoch),
        format!("+try-failover {web}"),
        format!("+elected-leader {web}"),
        format!("+failover-state-select-slave {web}"),
        format!("+selected-slave {heir}"),
        format!("+failover-state-send-slaveof-noone {heir}"),
        format!("+failover-state-wait-promotion {heir}"),
        format!("+promoted-slave {heir}"),
        format!("+failover-state-reconf-slaves {web}"),
        format!("+slave-reconf-sent {other}"),
        format!("+failover-end {web}"),
        format!("+switch-master web {at} {at}"),
        format!("+slave {old}"),
        format!("+convert-to-slave {old}"),
    ]
}

fn a_failover_that_sentinel_is_asked_for_is_told_in_its_own_order(engine: &str) {
    let installation = web(engine, "");
    let before = installation.group("web");
    let heard = runtime().block_on(async {
        let at = installation.sentinel().await;
        let mut sentinel = ask(at).await;
        for name in ["web", "mymaster"] {
            assert_eq!(address(&mut sentinel, name).await, socket(&before.primary_endpoint));
        }
        let mut subscriber = Subscriber::at(at).await;
        assert_eq!(text(&mut sentinel, &["SENTINEL", "failover", "mymaster"]).await, "OK");
        let heard = subscriber.until(&["+convert-to-slave", "@ mymaster"]).await;
        assert_eq!(address(&mut sentinel, "web").await, socket(&before.primary_endpoint));
        heard
    });
    let after = installation.available("web");
    assert_ne!(before.shards[0].primary, after.shards[0].primary, "{engine}");
    assert_in_order(&heard, &failover(&before, &after));
    assert!(!heard.iter().any(|said| said.starts_with("+sdown")), "nobody was down: {heard:#?}");
    let alias = "+switch-master mymaster ";
    assert!(heard.iter().any(|said| said.starts_with(alias)), "{heard:#?}");
}

fn a_killed_primary_is_told_as_lost_as_replaced_and_as_back(engine: &str) {
    let installation = web(engine, "");
    let before = installation.group("web");
    let primary = installation.primary("web");
    let heard = runtime().block_on(async {
        let mut subscriber = Subscriber::at(installation.sentinel().await).await;
        kill(primary.pid.unwrap_or_else(|| panic!("{primary:?}")));
        subscriber.until(&["+convert-to-slave", "@ web"]).await
    });
    let after = installation.available("web");
    let of = &after.primary_endpoint;
    let mut expected = vec![
        format!("+sdown master web {} {}", of.address, of.port),
        format!("+odown master web {} {} #quorum 1/1", of.address, of.port),
    ];
    expected.extend(failover(&before, &after));
    let last = expected.pop().unwrap_or_default();
    expected.push(format!("+sdown {}", replica(&primary, &after)));
    expected.push(format!("-sdown {}", replica(&primary, &after)));
    expected.push(last);
    assert_in_order(&heard, &expected);
}

fn clients_that_want_to_see_nodes_are_led_from_one_to_the_next(engine: &str) {
    let installation = web(engine, "advertise = \"nodes\"");
    let primary = installation.primary("web");
    runtime().block_on(async {
        let at = installation.sentinel().await;
        let mut sentinel = ask(at).await;
        assert_eq!(address(&mut sentinel, "web").await, socket(&primary.endpoint), "{engine}");
        let mut subscriber = Subscriber::at(at).await;
        kill(primary.pid.unwrap_or_else(|| panic!("{primary:?}")));
        let heard = subscriber.until(&["+switch-master web"]).await;
        let to = address(&mut sentinel, "web").await;
        assert_ne!(to, socket(&primary.endpoint));
        let (from, ip) = (&primary.endpoint, to.ip());
        let said = format!("+switch-master web {} {} {ip} {}", from.address, from.port, to.port());
        assert_eq!(heard.last(), Some(&said));
        let mut next = ask(to).await;
        assert!(call(&mut next, &["SET", "k", "v"]).await.is_ok(), "{engine}");
        assert_eq!(text(&mut next, &["GET", "k"]).await, "v");
    });
}
