//! The addresses that clients dial.
//!
//! Routes say which there should be; this makes it so. An address that cannot be bound is tried
//! again, because it may be a predecessor's that is just ending.
//!
//! Invariant: at most `max_clients` clients in all; one more is told so and closed. A client that the
//! group does not admit is closed without a word.
//!
//! Not here: what a client may do (`crate::session`).

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tanist_core::model::{Route, ShardKey, TransitMode, is_near};
use tanist_link::wire::{Meters, ShardMeters};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::sleep;
use tracing::{debug, warn};

use crate::client;
use crate::meter::Meter;
use crate::octets::Clock;
use crate::renewal::{EndpointEstate, Parcel};
use crate::session::{Endpoint, Pause};
use crate::shard::{EndpointKind, Identity, Shard};
use crate::text;
use crate::tls::Refused;

/// Connections that may wait to be accepted.
const BACKLOG: u32 = 4096;
/// Idle time after which a client's host is asked whether it is there.
const KEEPALIVE: Duration = Duration::from_secs(300);
/// How long to wait before accepting again when the process is out of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Least time between two lines of the log about refused clients.
const SAY_REFUSALS: Duration = Duration::from_secs(1);

/// Why an endpoint is not offered.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) key: ShardKey,
    pub(crate) address: SocketAddr,
    pub(crate) reason: String,
}

#[derive(Debug)]
struct Offered {
    key: ShardKey,
    endpoint: Rc<Endpoint>,
    shard: Rc<Shard>,
    /// The acceptor's, kept for the next program image.
    listener: Rc<TcpListener>,
    acceptor: JoinHandle<()>,
}

impl Drop for Offered {
    fn drop(&mut self) {
        self.acceptor.abort();
        self.endpoint.closed.set(true);
        self.shard.changed();
    }
}

/// Every endpoint of the proxy.
#[derive(Debug, Default)]
pub(crate) struct Endpoints {
    offered: BTreeMap<SocketAddr, Offered>,
}

impl Endpoints {
    /// Offers what the routes of `shards` name and nothing else; what could not be offered.
    pub(crate) async fn reconcile(
        &mut self,
        shards: &BTreeMap<ShardKey, Rc<Shard>>,
    ) -> Vec<Failed> {
        let mut wanted = BTreeMap::new();
        let mut failed = Vec::new();
        for shard in shards.values().filter(|shard| shard.is_offered_here()) {
            let Some(route) = shard.route() else { continue };
            for (address, kind) in addresses(&route, &shard.identity) {
                if is_open_to_the_world(&route, address) {
                    failed.push(Failed {
                        key: shard.key.clone(),
                        address,
                        reason: OPEN.to_owned(),
                    });
                } else {
                    wanted.entry(address).or_insert((kind, shard));
                }
            }
        }
        let over = self.offered.extract_if(.., |address, offered| {
            !wanted.get(address).is_some_and(|(kind, shard)| {
                *kind == offered.endpoint.kind && shard.key == offered.key
            })
        });
        for mut offered in over.map(|(_, offered)| offered).collect::<Vec<_>>() {
            offered.acceptor.abort();
            // Its listener lives until the task has ended, and the address may be another shard's
            // by now. The error says that it was aborted.
            let _ = (&mut offered.acceptor).await;
        }
        for (address, (kind, shard)) in wanted {
            if self.offered.contains_key(&address) {
                continue;
            }
            match offer(address, kind, shard) {
                Ok(endpoint) => {
                    self.offered.insert(address, endpoint);
                }
                Err(error) => failed.push(Failed {
                    key: shard.key.clone(),
                    address,
                    reason: error.to_string(),
                }),
            }
        }
        failed
    }
}

impl Endpoints {
    /// What was measured at a shard's endpoints.
    pub(crate) fn measured(&self, key: &ShardKey) -> ShardMeters {
        let of_shard = self.offered.values().filter(|offered| offered.key == *key);
        let endpoints = of_shard.map(|offered| meters(&offered.endpoint)).collect();
        ShardMeters { key: key.clone(), endpoints }
    }
}

fn meters(endpoint: &Endpoint) -> Meters {
    let meter = &endpoint.meter;
    let times = meter.times();
    Meters {
        address: endpoint.address,
        kind: match &endpoint.kind {
            EndpointKind::Primary => "primary".to_owned(),
            EndpointKind::Reader => "reader".to_owned(),
            EndpointKind::Node(node) => node.to_string(),
        },
        clients: endpoint.clients.count(),
        requests: times.count(),
        held: meter.held.get(),
        replayed: meter.replayed.get(),
        uncertain: meter.uncertain.get(),
        pinned: meter.pinned.get(),
        times,
        slow: meter.slow(),
    }
}

/// Why an endpoint at a public address is not offered.
const OPEN: &str = "it is a public address, and the group's clients need neither encrypt (tanist tls) nor \
                    say who they are (tanist token)";

/// Whether anybody at all could use it: others than those of this machine or of a private network, in
/// plain text or without a password.
fn is_open_to_the_world(route: &Route, address: SocketAddr) -> bool {
    let IpAddr::V4(ip) = address.ip() else { return true };
    // An address of its own is one that Tanist has chosen, on loopback.
    route.endpoints.are_everywhere()
        && !is_near(ip)
        && (route.transit.mode != TransitMode::Required || route.accounts.is_open())
}

fn addresses(route: &Route, identity: &Identity) -> Vec<(SocketAddr, EndpointKind)> {
    let mut all = vec![
        (route.endpoints.primary, EndpointKind::Primary),
        (route.endpoints.reader, EndpointKind::Reader),
    ];
    let nodes = route.nodes.iter();
    all.extend(nodes.map(|node| (node.endpoint, EndpointKind::Node(node.node.clone()))));
    // One that has an address of its own is at that alone.
    let floating = identity.floating.iter().filter(|_| route.endpoints.are_everywhere());
    let hosts: Vec<Ipv4Addr> = [identity.address].iter().chain(floating).copied().collect();
    let at = |(endpoint, kind): (Ipv4Addr, EndpointKind)| {
        hosts
            .iter()
            .map(move |host| (route.endpoints.at(endpoint, *host), kind.clone()))
            .collect::<Vec<_>>()
    };
    all.into_iter().flat_map(at).collect()
}

fn offer(address: SocketAddr, kind: EndpointKind, shard: &Rc<Shard>) -> io::Result<Offered> {
    if shard.identity.pass_through && !address.ip().is_loopback() {
        return Err(io::Error::other("it lets clients administer the engine, on loopback only"));
    }
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    let floats = shard.identity.floating.iter().any(|floating| address.ip() == *floating);
    // Its host may get the address later, and lose it again.
    SockRef::from(&socket).set_freebind_v4(floats)?;
    socket.bind(address)?;
    let listener = socket.listen(BACKLOG)?;
    Ok(open(listener, Endpoint::new(kind, address), shard))
}

fn open(listener: TcpListener, endpoint: Endpoint, shard: &Rc<Shard>) -> Offered {
    let (listener, endpoint) = (Rc::new(listener), Rc::new(endpoint));
    let accepting = accept(Rc::clone(&listener), Rc::clone(&endpoint), Rc::clone(shard));
    let acceptor = spawn_local(accepting);
    Offered { key: shard.key.clone(), endpoint, shard: Rc::clone(shard), listener, acceptor }
}

impl Endpoints {
    /// Writes the endpoints down, and adds their listeners.
    pub(crate) fn hand_over(
        &self,
        parcel: &mut Parcel,
        clock: Clock,
    ) -> io::Result<Vec<EndpointEstate>> {
        let all = self.offered.values().map(|offered| {
            let endpoint = &offered.endpoint;
            let pause = endpoint.pause.get();
            Ok(EndpointEstate {
                key: offered.key.clone(),
                address: endpoint.address,
                kind: endpoint.kind.clone(),
                listener: parcel.add(&*offered.listener)?,
                pause: pause.map(|pause| (clock.left(pause.until), pause.writes_only)),
                meters: Some(meters(endpoint)),
            })
        });
        all.collect()
    }

    /// Goes on offering an endpoint that the image before has offered.
    pub(crate) fn adopt(
        &mut self,
        estate: EndpointEstate,
        listener: OwnedFd,
        shard: &Rc<Shard>,
        clock: Clock,
    ) -> io::Result<()> {
        let EndpointEstate { key: _, address, kind, listener: _, pause, meters } = estate;
        let listener = TcpListener::from_std(listener.into())?;
        let mut endpoint = Endpoint::new(kind, address);
        if let Some(meters) = meters {
            endpoint.meter = Meter::from(&meters);
        }
        endpoint
            .pause
            .set(pause.map(|(left, writes_only)| Pause { until: clock.after(left), writes_only }));
        self.offered.insert(address, open(listener, endpoint, shard));
        Ok(())
    }

    /// The endpoint at an address, and its shard.
    pub(crate) fn at(&self, address: SocketAddr) -> Option<(Rc<Endpoint>, Rc<Shard>)> {
        let offered = self.offered.get(&address)?;
        Some((Rc::clone(&offered.endpoint), Rc::clone(&offered.shard)))
    }
}

async fn accept(listener: Rc<TcpListener>, endpoint: Rc<Endpoint>, shard: Rc<Shard>) {
    let identity = Rc::clone(&shard.identity);
    loop {
        let (socket, from) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                debug!(address = %endpoint.address, %error, "accepting");
                // waits: the kernel offers no event for a descriptor becoming free.
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        if !shard.admits(from) {
            shard.note_turned_away(from.ip());
            identity.strangers.note(&identity, endpoint.address, Why::Stranger);
            continue;
        }
        let Some(seat) = Seat::take(&identity) else {
            // A fresh socket takes a line at once; if not, closing says enough.
            let _ = SockRef::from(&socket).send(text::MAX_CLIENTS);
            identity.refusals.note(&identity, endpoint.address, Why::Full);
            continue;
        };
        if let Err(error) = prepare(&socket) {
            debug!(address = %endpoint.address, %error, "preparing a client's socket");
            continue;
        }
        let (endpoint, shard) = (Rc::clone(&endpoint), Rc::clone(&shard));
        spawn_local(client::Task::new(socket, from, endpoint, shard, seat));
    }
}

/// Why a client is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    /// Too many are connected.
    Full,
    /// It may not connect to this group.
    Stranger,
    /// It does not encrypt.
    Plain,
    /// Its handshake failed.
    Handshake,
}

/// Counts a client whose connection was not opened.
pub(crate) fn note_refused(identity: &Rc<Identity>, address: SocketAddr, refused: &Refused) {
    match refused {
        Refused::Gone => {}
        Refused::Plain => identity.plain.note(identity, address, Why::Plain),
        Refused::NoCertificate => {
            debug!(%address, "there is no certificate to show");
            identity.handshakes.note(identity, address, Why::Handshake);
        }
        Refused::Handshake(error) => {
            debug!(%address, %error, "a handshake failed");
            identity.handshakes.note(identity, address, Why::Handshake);
        }
        Refused::Late => {
            debug!(%address, "a handshake did not end in time");
            identity.handshakes.note(identity, address, Why::Handshake);
        }
    }
}

/// Clients that were refused for one reason.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    /// How many since the log said so last, and the endpoint of the latest.
    unsaid: Cell<Option<(u64, SocketAddr)>>,
    /// Somebody is about to say it.
    telling: Cell<bool>,
}

impl Refusals {
    /// Counts a client; `self` is the one of `identity` that `why` stands for.
    fn note(&self, identity: &Rc<Identity>, address: SocketAddr, why: Why) {
        let before = self.unsaid.get().map_or(0, |(count, _)| count);
        self.unsaid.set(Some((before + 1, address)));
        if !self.telling.replace(true) {
            spawn_local(tell_refusals(Rc::clone(identity), why));
        }
    }
}

/// Says how many clients are refused, for as long as some are: clients that dial again at once must
/// not fill the disk with lines.
async fn tell_refusals(identity: Rc<Identity>, why: Why) {
    let refusals = match why {
        Why::Full => &identity.refusals,
        Why::Stranger => &identity.strangers,
        Why::Plain => &identity.plain,
        Why::Handshake => &identity.handshakes,
    };
    while let Some((refused, address)) = refusals.unsaid.take() {
        match why {
            Why::Full => {
                let max_clients = identity.limits.max_clients;
                warn!(refused, latest = %address, max_clients, "clients refused: too many are connected");
            }
            Why::Stranger => {
                warn!(refused, latest = %address, "clients turned away: no security group admits them");
            }
            Why::Plain => {
                warn!(refused, latest = %address, "clients closed: their group takes encrypted connections only");
            }
            Why::Handshake => {
                warn!(refused, latest = %address, "TLS handshakes failed; TANIST_LOG=debug says why");
            }
        }
        // waits: for time itself; what is refused meanwhile goes into the next line.
        sleep(SAY_REFUSALS).await;
    }
    refusals.telling.set(false);
}

fn prepare(socket: &TcpStream) -> io::Result<()> {
    socket.set_nodelay(true)?;
    SockRef::from(socket).set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE))
}

/// One of the places for clients.
pub(crate) struct Seat(Rc<Identity>);

impl Seat {
    pub(crate) fn take(identity: &Rc<Identity>) -> Option<Self> {
        let taken = identity.clients.get();
        (taken < identity.limits.max_clients).then(|| {
            identity.clients.set(taken + 1);
            Self(Rc::clone(identity))
        })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.clients.set(self.0.clients.get().saturating_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;
    use tokio::sync::mpsc;
    use tokio::task::LocalSet;
    use tokio::time::{Instant, timeout};
    use tracing::field::{Field, Visit};
    use tracing::span::{Attributes, Id, Record};
    use tracing::{Event, Metadata, Subscriber};

    use super::*;
    use crate::shard::tests::{identity, route, serving};

    /// Takes the number out of every line of the log that says how many were refused.
    struct Lines(mpsc::UnboundedSender<u64>);

    impl Subscriber for Lines {
        fn enabled(&self, _: &Metadata<'_>) -> bool {
            true
        }
        fn new_span(&self, _: &Attributes<'_>) -> Id {
            Id::from_u64(1)
        }
        fn record(&self, _: &Id, _: &Record<'_>) {}
        fn record_follows_from(&self, _: &Id, _: &Id) {}
        fn event(&self, event: &Event<'_>) {
            event.record(&mut Number(&self.0));
        }
        fn enter(&self, _: &Id) {}
        fn exit(&self, _: &Id) {}
    }

    struct Number<'a>(&'a mpsc::UnboundedSender<u64>);

    impl Visit for Number<'_> {
        fn record_debug(&mut self, _: &Field, _: &dyn std::fmt::Debug) {}
        fn record_u64(&mut self, field: &Field, value: u64) {
            if field.name() == "refused" {
                self.0.send(value).unwrap();
            }
        }
    }

    #[tokio::test]
    async fn refused_clients_are_counted_in_one_line_a_second() {
        const REFUSED: u64 = 100;
        let (said, mut lines) = mpsc::unbounded_channel();
        let _log = tracing::subscriber::set_default(Lines(said));
        let mut identity = Rc::into_inner(identity()).unwrap();
        identity.limits.max_clients = 1;
        let key = ShardKey { group: "web".into(), shard: "0001".into() };
        let shard = Rc::new(Shard::new(key, Rc::new(identity)));
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let endpoint = Rc::new(Endpoint::new(EndpointKind::Primary, address));
        let clients = async {
            let started = Instant::now();
            let _seated = TcpStream::connect(address).await.unwrap();
            for _ in 0..REFUSED {
                let mut client = TcpStream::connect(address).await.unwrap();
                let mut answer = Vec::new();
                client.read_to_end(&mut answer).await.unwrap();
                assert_eq!(answer, text::MAX_CLIENTS);
            }
            let (mut count, mut sum) = (0, 0);
            while sum < REFUSED {
                let line = timeout(Duration::from_secs(10), lines.recv()).await;
                sum += line.expect("every refusal is counted").unwrap();
                count += 1;
            }
            assert_eq!(sum, REFUSED, "none is counted twice");
            assert!(count <= 1 + started.elapsed().as_secs(), "{count} lines");
        };
        let local = LocalSet::new();
        local.spawn_local(accept(Rc::new(listener), endpoint, shard));
        local.run_until(clients).await;
    }

    #[tokio::test]
    async fn an_endpoint_is_offered_at_the_hosts_that_are_chosen_for_it() {
        let mut own = Rc::into_inner(identity()).unwrap();
        own.proxy = "proxy-h1".into();
        own.address = Ipv4Addr::new(127, 9, 9, 7);
        // This machine does not have it.
        own.floating = vec![Ipv4Addr::new(10, 255, 255, 7)];
        let key = ShardKey { group: "web".into(), shard: "0001".into() };
        let shards = BTreeMap::from([(key.clone(), Rc::new(Shard::new(key, Rc::new(own))))]);
        let mut endpoints = Endpoints::default();
        let mut at = async |hosts: &[&str]| {
            let mut asked = route(1, 1, serving("n1", &[], None));
            asked.endpoints.ports_from = Some(20_000);
            asked.endpoint_hosts = hosts.iter().map(|host| (*host).into()).collect();
            // The same revision: it is no decision about the shard.
            shards.values().for_each(|shard| assert!(shard.learn(asked.clone())));
            let failed = endpoints.reconcile(&shards).await;
            assert!(failed.is_empty(), "{failed:?}");
            endpoints.offered.len()
        };
        let local = LocalSet::new();
        let all =
            local.run_until(async { [at(&[]).await, at(&["h2"]).await, at(&["h1", "h2"]).await] });
        assert_eq!(all.await, [10, 0, 10]);
    }

    #[test]
    fn only_what_is_encrypted_and_asks_for_a_password_is_offered_to_the_world() {
        let at = |ip: [u8; 4]| SocketAddr::from((ip, 7000));
        let mut open = route(1, 1, serving("web-001", &[], None));
        open.endpoints.ports_from = Some(7000);
        for near in [[127, 0, 0, 1], [10, 0, 1, 11], [192, 168, 1, 1], [100, 64, 0, 1]] {
            assert!(!is_open_to_the_world(&open, at(near)), "{near:?}");
        }
        for far in [[203, 0, 113, 7], [100, 128, 0, 1], [172, 32, 0, 1]] {
            assert!(is_open_to_the_world(&open, at(far)), "{far:?}");
        }
        let far = at([203, 0, 113, 7]);
        let mut closed = open;
        closed.transit.mode = TransitMode::Required;
        assert!(is_open_to_the_world(&closed, far), "anybody is let in");
        closed.accounts = Default::default();
        closed.accounts.0.clear();
        assert!(!is_open_to_the_world(&closed, far));
        closed.transit.mode = TransitMode::Preferred;
        assert!(is_open_to_the_world(&closed, far), "passwords would be in plain text");
    }
}
