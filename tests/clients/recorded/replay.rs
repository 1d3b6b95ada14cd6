//! The client's side of a recorded exchange, against a real installation.
//!
//! Invariant: what is sent is what was recorded, byte for byte; only the addresses are this
//! installation's. What comes is judged by what the client needs.
//!
//! Not here: how an exchange is written down (`super::script`).

use std::collections::{BTreeMap, VecDeque};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use bytes::BytesMut;
use tanist_lab::Installation;
use tanist_link::api::EndpointStatus;
use tanist_resp::{Reply, ReplyFramer, ReplyLimits, Value};

use super::script::{Answer, Field, Message, Step, To};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// A client's connection.
struct Wire {
    stream: TcpStream,
    input: BytesMut,
    framer: ReplyFramer,
    /// Messages that came before an answer.
    heard: VecDeque<Reply>,
}

impl Wire {
    fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap_or_else(|err| panic!("{address}: {err}"));
        let patient = stream.set_read_timeout(Some(PATIENCE));
        patient.unwrap_or_else(|err| panic!("{address}: {err}"));
        let framer = ReplyFramer::new(&ReplyLimits::default());
        Self { stream, input: BytesMut::new(), framer, heard: VecDeque::new() }
    }

    /// The next frame; `None` if the connection was ended.
    fn next(&mut self) -> Option<Reply> {
        loop {
            let framed = self.framer.next(&mut self.input);
            if let Some(reply) = framed.unwrap_or_else(|err| panic!("a frame: {err}")) {
                return Some(reply);
            }
            let mut buffer = [0; 4096];
            match self.stream.read(&mut buffer) {
                Ok(0) => return None,
                Ok(count) => self.input.extend_from_slice(&buffer[..count]),
                Err(err) if err.kind() == std::io::ErrorKind::ConnectionReset => return None,
                Err(err) => panic!("reading: {err}"),
            }
        }
    }

    /// The next answer.
    fn answer(&mut self) -> Reply {
        loop {
            let reply = self.next().unwrap_or_else(|| panic!("the connection was ended"));
            if !is_message(&reply) {
                return reply;
            }
            self.heard.push_back(reply);
        }
    }

    /// The next message for which there is something.
    fn hear<T>(&mut self, mut looks: impl FnMut(&Reply) -> Option<T>) -> T {
        loop {
            let reply = self.heard.pop_front().or_else(|| self.next());
            let reply = reply.unwrap_or_else(|| panic!("the connection was ended"));
            assert!(is_message(&reply), "nobody has asked: {reply:?}");
            if let Some(found) = looks(&reply) {
                return found;
            }
        }
    }
}

fn value(reply: &Reply) -> Value {
    reply.value().unwrap_or_else(|err| panic!("{reply:?}: {err}"))
}

/// The texts of a message or an answer that is a list.
fn texts(reply: &Reply) -> Vec<String> {
    let value = value(reply);
    let parts = value.as_array().unwrap_or_default();
    parts.iter().filter_map(|part| part.as_str().map(str::to_owned)).collect()
}

/// Whether nobody has asked for it.
fn is_message(reply: &Reply) -> bool {
    let texts = texts(reply);
    let Some(first) = texts.first().map(String::as_str) else { return false };
    let pushed = reply.is_push() && !first.ends_with("subscribe");
    pushed || matches!((first, texts.len()), ("message", 3) | ("pmessage", 4))
}

/// The installation and the client's connections.
pub(super) struct Replay<'a> {
    installation: &'a Installation,
    sentinel: SocketAddr,
    /// Whether Sentinel names nodes.
    nodes: bool,
    wires: BTreeMap<String, Wire>,
    /// Where the primary was before the latest fault, and where it is.
    leads: [SocketAddr; 2],
    replicas: VecDeque<SocketAddr>,
}

impl<'a> Replay<'a> {
    pub(super) fn of(installation: &'a Installation, sentinel: SocketAddr, nodes: bool) -> Self {
        let (wires, replicas) = (BTreeMap::new(), VecDeque::new());
        let leads = [sentinel; 2];
        let mut replay = Self { installation, sentinel, nodes, wires, leads, replicas };
        replay.leads = [replay.lead(); 2];
        replay
    }

    /// The address that Sentinel should give for the primary.
    fn lead(&self) -> SocketAddr {
        let at = |endpoint: &EndpointStatus| (endpoint.address, endpoint.port).into();
        if self.nodes {
            at(&self.installation.primary("web").endpoint)
        } else {
            at(&self.installation.group("web").primary_endpoint)
        }
    }

    pub(super) fn step(&mut self, name: &str, step: &Step) {
        match step {
            Step::Connect(to) => {
                let address = self.address(*to);
                self.wires.insert(name.to_owned(), Wire::open(address));
            }
            Step::Send(bytes) => {
                let sent = self.wire(name).stream.write_all(bytes);
                sent.unwrap_or_else(|err| panic!("sending: {err}"));
            }
            Step::Take(answer) => self.take(name, answer),
            Step::Hear(message) => self.hear(name, message),
            Step::Fault(fault) => self.strike(fault == "kill", fault),
            Step::Closed => {
                let wire = self.wire(name);
                while let Some(reply) = wire.next() {
                    assert!(is_message(&reply), "nobody has asked: {reply:?}");
                }
            }
            Step::Leave => drop(self.wires.remove(name)),
        }
    }

    fn wire(&mut self, name: &str) -> &mut Wire {
        self.wires.get_mut(name).unwrap_or_else(|| panic!("{name} is not connected"))
    }

    fn address(&mut self, to: To) -> SocketAddr {
        match to {
            To::Sentinel => self.sentinel,
            To::Primary => self.leads[1],
            To::Endpoint => {
                let endpoint = self.installation.group("web").primary_endpoint;
                (endpoint.address, endpoint.port).into()
            }
            To::Replica => {
                self.replicas.rotate_left(1.min(self.replicas.len()));
                let replica = self.replicas.front().copied();
                replica.unwrap_or_else(|| panic!("Sentinel has named no replica"))
            }
        }
    }

    /// Another node becomes primary, and the group is whole again.
    fn strike(&mut self, is_crash: bool, request: &str) {
        let before = self.installation.primary("web");
        if is_crash {
            super::super::sentinel::kill_primary(self.installation);
        } else {
            self.installation.tanist(&[request, "web"]).ok();
        }
        self.installation.available("web");
        assert_ne!(self.installation.primary("web").node, before.node, "{request}");
        self.leads = [self.leads[1], self.lead()];
        assert_eq!(self.leads[0] != self.leads[1], self.nodes, "where the primary is");
    }

    fn take(&mut self, name: &str, answer: &Answer) {
        let lead = self.leads[1];
        let reply = self.wire(name).answer();
        let found = value(&reply);
        match answer {
            Answer::Exactly(bytes) => {
                let (found, expected) = (reply.raw(), bytes);
                assert_eq!(String::from_utf8_lossy(found), String::from_utf8_lossy(expected));
            }
            Answer::Any => {}
            Answer::Well => assert!(!reply.is_error(), "{found:?}"),
            Answer::Refused => assert!(reply.is_error(), "{found:?}"),
            Answer::Address => {
                let expected = [lead.ip().to_string(), lead.port().to_string()];
                assert_eq!(texts(&reply), expected);
            }
            Answer::Map { leads, fields } => {
                has(&found, fields);
                assert!(!leads || socket(&found) == lead, "{lead}: {found:?}");
            }
            Answer::Maps { count, replicas, fields } => {
                let maps = found.as_array().unwrap_or_default();
                assert_eq!(maps.len(), *count, "{found:?}");
                maps.iter().for_each(|map| has(map, fields));
                if *replicas {
                    self.replicas = maps.iter().filter(|map| is_up(map)).map(socket).collect();
                    assert!(!self.replicas.is_empty(), "none can be read from: {found:?}");
                    assert!(!self.replicas.contains(&lead), "{lead} is the primary: {found:?}");
                }
            }
        }
    }

    fn hear(&mut self, name: &str, message: &Message) {
        let leads = self.leads;
        let wire = self.wire(name);
        match message {
            Message::Exactly(bytes) => {
                wire.hear(|reply| (reply.raw().as_ref() == bytes.as_slice()).then_some(()));
            }
            Message::Notice(name) => {
                let notice =
                    wire.hear(|reply| (texts(reply).first() == Some(name)).then(|| value(reply)));
                let parts = notice.as_array().unwrap_or_default();
                let begins = matches!(name.as_str(), "MIGRATING" | "FAILING_OVER");
                assert_eq!(parts.len(), if begins { 4 } else { 3 }, "{notice:?}");
                // What Lettuce reads: which shards.
                assert!(parts.last().is_some_and(|last| last.as_str().is_some()), "{notice:?}");
            }
            Message::Switch => {
                let payload = wire.hear(|reply| match texts(reply).as_slice() {
                    [.., channel, payload]
                        if channel == "+switch-master" && payload.starts_with("mymaster ") =>
                    {
                        Some(payload.clone())
                    }
                    _ => None,
                });
                let [from, to] = leads.map(|at| format!("{} {}", at.ip(), at.port()));
                assert_eq!(payload, format!("mymaster {from} {to}"));
            }
        }
    }
}

/// Whether clients take it for a replica that can be read from.
fn is_up(map: &Value) -> bool {
    let flags = map.get("flags").and_then(Value::as_str).unwrap_or_default();
    !flags.split(',').any(|flag| matches!(flag, "s_down" | "o_down" | "disconnected"))
}

/// The address that stands in a map.
fn socket(map: &Value) -> SocketAddr {
    let text = |name| map.get(name).and_then(Value::as_str).unwrap_or_default();
    let (ip, port) = (text("ip").parse(), text("port").parse());
    let (Ok(ip), Ok(port)) = (ip, port) else { panic!("no address: {map:?}") };
    SocketAddr::new(ip, port)
}

fn has(map: &Value, fields: &[Field]) {
    for (name, expected) in fields {
        let Some(found) = map.get(name) else { panic!("no {name}: {map:?}") };
        let number = found.as_int().map(|number| number.to_string());
        let text = found.as_str().map(str::to_owned).or(number);
        assert!(expected.is_none() || text == *expected, "{name}: {map:?}");
    }
}
