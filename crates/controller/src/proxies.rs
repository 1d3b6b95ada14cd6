//! Conversations with proxies: routes out, beats in.
//!
//! Invariant: a proxy that connects is told every route at once, and which shards exist once it has
//! said which ones it serves; it needs no memory of its own. One that could not be told something is disconnected, so that it connects
//! anew.
//!
//! Not here: what a route says (`tanist_core::decide::route`).

use axum::body::Body;
use axum::response::Response;
use tanist_core::model::ProxyId;
use tanist_link::wire::{FromProxy, ToProxy};
use tanist_link::{Encoded, LinkError, Peer, Sender, host_name, host_of};
use tokio::sync::mpsc;
use tracing::{debug, info, warn};

use crate::inputs::Input;
use crate::renewals::Outcome;

/// A proxy that is or was connected.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) pid: u32,
    pub(crate) up: bool,
    /// Grows with every connection of the same proxy, so that the end of an old one is not taken
    /// for the end of a new one.
    pub(crate) generation: u64,
    pub(crate) sender: Outgoing,
    /// It understands certificates.
    pub(crate) certificates: bool,
    /// What tells its program from another, if it can become another one.
    pub(crate) build: Option<String>,
    /// It was told which shards exist.
    pub(crate) told: bool,
}

/// The way to a proxy, until it is cut.
#[derive(Debug)]
pub(crate) struct Outgoing(Option<Sender<ToProxy>>);

impl Outgoing {
    /// Queues a message.
    pub(crate) fn send(&self, message: &ToProxy) -> Result<(), LinkError> {
        self.0.as_ref().ok_or(LinkError::Closed)?.send(message)
    }
}

impl Session {
    /// Tells the proxy something; ends the conversation if that is not possible.
    pub(crate) fn tell(&mut self, message: &ToProxy) {
        let sent = self.sender.send(message);
        self.heed(sent);
    }

    /// As [`Session::tell`], something that many are told.
    pub(crate) fn tell_encoded(&mut self, message: &Encoded<ToProxy>) {
        let sent = self.sender.0.as_ref().ok_or(LinkError::Closed);
        let sent = sent.and_then(|sender| sender.send_encoded(message));
        self.heed(sent);
    }

    fn heed(&mut self, sent: Result<(), LinkError>) {
        let Err(err) = sent else { return };
        debug!(err = &err as &dyn std::error::Error, "a proxy does not take messages");
        // What it misses is never said again within a conversation. This is the only sender, so
        // the stream ends after what is queued; the proxy then connects anew and is told all.
        self.sender.0 = None;
        self.up = false;
    }
}

/// Holds one conversation; its messages go to the loop.
pub(crate) fn converse(
    body: Body,
    inbox: mpsc::Sender<Input>,
    generation: u64,
    peer: Option<Peer>,
) -> Response {
    let (duplex, response) = tanist_link::accept::<ToProxy, FromProxy>("proxy", body);
    tokio::spawn(async move {
        let mut receiver = duplex.receiver;
        let mut caller = Caller { sender: Some(duplex.sender), who: None, generation, peer };
        loop {
            let message = match receiver.recv().await {
                Ok(Some(message)) => message,
                Ok(None) => break,
                Err(err) => {
                    warn!(err = &err as &dyn std::error::Error, "a proxy's message");
                    break;
                }
            };
            let Some(inputs) = caller.inputs(message) else { break };
            for input in inputs.into_iter().flatten() {
                if inbox.send(input).await.is_err() {
                    return;
                }
            }
        }
        if let Some(proxy) = caller.who {
            // The loop ends before its conversations do: nobody is left to tell then.
            let _ = inbox.send(Input::ProxyGone { proxy, generation }).await;
        }
    });
    response
}

/// Who talks in one conversation.
struct Caller {
    /// Until it has said who it is.
    sender: Option<Sender<ToProxy>>,
    who: Option<ProxyId>,
    generation: u64,
    peer: Option<Peer>,
}

impl Caller {
    /// What a message is to the loop; `None` ends the conversation.
    fn inputs(&mut self, message: FromProxy) -> Option<[Option<Input>; 2]> {
        let input = match message {
            FromProxy::Hello { proxy, pid, certificates, build, renewed, parts } => {
                // Given away, not shared: the session alone says when the stream ends.
                let sender = Outgoing(Some(self.sender.take()?));
                if self.peer.as_ref().is_some_and(|peer| !is_of(&proxy, peer)) {
                    warn!(peer = %proxy, "somebody else speaks for a proxy");
                    return None;
                }
                info!(peer = %proxy, pid, "proxy connected");
                self.who = Some(proxy.clone());
                let generation = self.generation;
                let told = false;
                let mut session =
                    Session { pid, up: true, generation, sender, certificates, build, told };
                if parts {
                    // Before the loop has time for it: whoever says everything says very much.
                    session.tell(&ToProxy::Parts);
                }
                let outcome = renewed.map(|renewed| {
                    Input::ProxyRenewal(Outcome::of(&proxy, renewed.number, Ok(renewed)))
                });
                return Some([outcome, Some(Input::ProxyHello { proxy, session })]);
            }
            FromProxy::Beat { shards, part } => {
                let (proxy, generation) = (self.who.clone()?, self.generation);
                Input::ProxyBeat { proxy, generation, shards, part }
            }
            FromProxy::Echo(number) => Input::ProxyEcho { proxy: self.who.clone()?, number },
            FromProxy::Measured { number, shards } => {
                Input::ProxyMeasured { proxy: self.who.clone()?, number, shards }
            }
            FromProxy::NotRenewed { number, reason } => {
                Input::ProxyRenewal(Outcome::of(self.who.as_ref()?, Some(number), Err(reason)))
            }
            FromProxy::EndpointFailed { key, address, reason } => {
                self.who.as_ref()?;
                Input::EndpointFailed { key, address, reason }
            }
        };
        Some([Some(input), None])
    }
}

/// Whether a proxy is of the host that speaks: it has its name.
fn is_of(proxy: &ProxyId, peer: &Peer) -> bool {
    host_of(proxy).is_some_and(|host| peer.is(&host_name(&host)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::net::Ipv4Addr;
    use std::path::PathBuf;
    use std::sync::Arc;
    use std::time::Duration;

    use tanist_core::model::{
        Access, Durability, EndpointPlan, EngineKind, HostId, Limits, Reads, ShardKey,
    };
    use tanist_link::api::CreateGroup;
    use tanist_link::{Duplex, accept};
    use tanist_store::{AnyStore, Options, SqliteStore};
    use tokio::sync::oneshot;
    use tokio::time::timeout;

    use super::*;
    use crate::inputs::Call;
    use crate::{Agents, ControllerConfig, HostConfig, Names, Parts};

    fn hello(proxy: &str) -> FromProxy {
        let (build, renewed) = (None, None);
        let (proxy, parts) = (proxy.into(), false);
        FromProxy::Hello { proxy, pid: 1, certificates: true, build, renewed, parts }
    }

    /// What a proxy says that serves nothing yet.
    fn beat(generation: u64) -> Input {
        Input::ProxyBeat { proxy: "p1".into(), generation, shards: Vec::new(), part: false }
    }

    /// A proxy's end of a conversation whose messages go to `inbox`.
    fn call(inbox: mpsc::Sender<Input>, generation: u64) -> Duplex<FromProxy, ToProxy> {
        let (there, request) = accept::<FromProxy, ToProxy>("proxy", Body::empty());
        let response = converse(request.into_body(), inbox, generation, None);
        let (back, _) = accept::<FromProxy, ToProxy>("proxy", response.into_body());
        there.sender.send(&hello("p1")).unwrap();
        Duplex { sender: there.sender, receiver: back.receiver }
    }

    async fn hear(proxy: &mut Duplex<FromProxy, ToProxy>) -> Option<ToProxy> {
        let heard = timeout(Duration::from_secs(10), proxy.receiver.recv()).await;
        heard.expect("the controller says something or ends").unwrap()
    }

    fn key(group: &str) -> ShardKey {
        ShardKey { group: group.into(), shard: "0001".into() }
    }

    #[tokio::test]
    async fn a_proxy_that_does_not_read_is_disconnected_after_what_is_queued() {
        let (inbox, mut inputs) = mpsc::channel(8);
        let mut proxy = call(inbox.clone(), 1);
        let Some(Input::ProxyHello { mut session, .. }) = inputs.recv().await else {
            panic!("no hello");
        };
        let mut told = 0;
        while session.up {
            session.tell(&ToProxy::Gone(key(&format!("g{told}"))));
            told += 1;
            assert!(told < 100_000, "the queue has a limit");
        }
        assert!(session.sender.send(&ToProxy::Exit).is_err());
        for number in 0..told - 1 {
            assert_eq!(hear(&mut proxy).await, Some(ToProxy::Gone(key(&format!("g{number}")))));
        }
        assert_eq!(hear(&mut proxy).await, None, "the conversation has ended");
        drop(proxy);
        let gone = inputs.recv().await;
        assert!(matches!(gone, Some(Input::ProxyGone { generation: 1, .. })), "{gone:?}");
    }

    #[tokio::test]
    async fn a_second_hello_ends_the_conversation() {
        let (inbox, mut inputs) = mpsc::channel(8);
        let proxy = call(inbox, 1);
        proxy.sender.send(&hello("p2")).unwrap();
        assert!(matches!(inputs.recv().await, Some(Input::ProxyHello { .. })));
        let Some(Input::ProxyGone { proxy, .. }) = inputs.recv().await else {
            panic!("it goes on");
        };
        assert_eq!(proxy, "p1".into());
    }

    /// A directory that ends with the test.
    struct Dir(PathBuf);

    impl Drop for Dir {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    /// A controller of one host whose agent never says anything; the receiver is the agent's.
    fn parts(store: &SqliteStore) -> (Parts, mpsc::Receiver<tanist_link::wire::ToAgent>) {
        let host = HostConfig {
            host: HostId::new("h1"),
            zone: "a".into(),
            address: Ipv4Addr::LOCALHOST,
            memory_bytes: 1 << 30,
        };
        let (outbox, orders) = mpsc::channel(1024);
        let (_, inbox) = mpsc::channel(1);
        let agents = Agents { outboxes: BTreeMap::from([(host.host.clone(), outbox)]), inbox };
        let config = ControllerConfig {
            region: "here".into(),
            hosts: vec![host],
            limits: Limits::DEFAULT,
            endpoints: EndpointPlan::default(),
            floating: Vec::new(),
            port: 6379,
            default_memory_bytes: 64 << 20,
            stopping: Duration::from_secs(60),
            names: Names {
                installation: "abc".to_owned(),
                domain: "localhost".to_owned(),
                hosts_file: "/dev/null".into(),
            },
            certifier: crate::Certifier::Nobody("there is none".to_owned()),
            outside: tokio::sync::watch::channel(Arc::default()).1,
            program: None,
            admission: None,
            servers: None,
            notes: Vec::new(),
        };
        (
            Parts {
                config,
                store: AnyStore::from(store.clone()),
                agents,
                metrics: Arc::default(),
                claim: None,
            },
            orders,
        )
    }

    #[tokio::test]
    async fn a_proxy_is_told_every_shard_that_exists_before_any_route_is_known() {
        let name = format!("tanist-controller-hello-{}", std::process::id());
        let dir = Dir(std::env::temp_dir().join(name));
        let store = SqliteStore::open(&dir.0, Options::default()).await.unwrap();
        let (first, _orders) = parts(&store);
        let (handle, task) = crate::run(first).await.unwrap();
        let (reply, created) = oneshot::channel();
        let asked = CreateGroup {
            name: "web".to_owned(),
            engine: EngineKind::Redis,
            replicas: 0,
            zones: Vec::new(),
            durability: Some(Durability::Async),
            min_in_sync: 0,
            automatic_failover: false,
            memory_bytes: 0,
            node_zones: Vec::new(),
            endpoint_hosts: Default::default(),
            access: Access::default(),
            tokens: Vec::new(),
            user_groups: Default::default(),
            transit: Default::default(),
            reads: Reads::default(),
            attributes: BTreeMap::new(),
        };
        handle.inbox.send(Input::Call(Call::Create { asked, reply })).await.unwrap();
        created.await.unwrap().unwrap();
        task.abort();
        assert!(task.await.unwrap_err().is_cancelled());
        // The next one finds the call of a proxy in front of its first tick.
        let (inbox, mut inputs) = mpsc::channel(8);
        let mut proxy = call(inbox, 1);
        let said = [inputs.recv().await.unwrap(), beat(1)];
        let (second, _orders) = parts(&store);
        let (handle, task) = crate::run(second).await.unwrap();
        said.into_iter().for_each(|input| handle.inbox.try_send(input).unwrap());
        assert_eq!(hear(&mut proxy).await, Some(ToProxy::Known(vec![key("web")])));
        let Some(ToProxy::Route(route)) = hear(&mut proxy).await else {
            panic!("the route follows");
        };
        assert_eq!(route.group, "web".into());
        // One that connects later is told the routes first, and what exists once it has spoken.
        let (inbox, mut inputs) = mpsc::channel(8);
        let mut later = call(inbox, 2);
        handle.inbox.send(inputs.recv().await.unwrap()).await.unwrap();
        assert!(matches!(hear(&mut later).await, Some(ToProxy::Route(_))));
        handle.inbox.send(beat(2)).await.unwrap();
        assert_eq!(hear(&mut later).await, Some(ToProxy::Known(vec![key("web")])));
        task.abort();
        store.close().await;
    }
}
