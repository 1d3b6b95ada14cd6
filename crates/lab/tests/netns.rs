//! Every fault of a site's network does what its name says, and a site leaves nothing behind.
//!
//! Invariant: only packets that arrive or do not are judged, no times.
//!
//! Not here: what Tanist makes of them (`tests/partitions`).

use std::net::SocketAddr;
use std::time::Duration;

use tanist_lab::netns::{Site, possible};
use tokio::net::{TcpStream, UdpSocket};

const PORT: u16 = 9000;
/// How long a packet may take that arrives.
const SOON: Duration = Duration::from_millis(300);
/// Two hosts that are talked about, and one beside them.
const A: usize = 0;
const B: usize = 1;
const C: usize = 2;

/// How many of so many datagrams arrive, with `size` bytes each.
fn arrive(site: &Site, from: usize, to: usize, count: usize, size: usize) -> usize {
    let at = SocketAddr::from((site.hosts()[to].address, PORT));
    let socket = site.inside(to, async || std::net::UdpSocket::bind(at));
    let socket = socket.expect("a socket");
    socket.set_nonblocking(true).expect("a socket that does not block");
    let receive = async || {
        let socket = UdpSocket::from_std(socket).expect("a socket");
        let mut buffer = vec![0; size];
        let mut arrived = 0;
        while tokio::time::timeout(SOON, socket.recv(&mut buffer)).await.is_ok() {
            arrived += 1;
        }
        arrived
    };
    let send = async || {
        let own = UdpSocket::bind("0.0.0.0:0").await.expect("a socket");
        for _ in 0..count {
            own.send_to(&vec![0; size], at).await.expect("a datagram is sent");
        }
    };
    std::thread::scope(|scope| {
        let receiver = scope.spawn(|| site.inside(to, receive));
        site.inside(from, send);
        receiver.join().expect("a receiver")
    })
}

fn hears(site: &Site, from: usize, to: usize) -> bool {
    arrive(site, from, to, 1, 10) == 1
}

/// Whether a connection can be had.
fn connects(site: &Site, from: usize, to: usize, port: u16) -> bool {
    let at = SocketAddr::from((site.hosts()[to].address, port));
    let listener = site.inside(to, async || std::net::TcpListener::bind(at));
    let listener = listener.expect("a listener");
    let opened = site.inside(from, async || {
        tokio::time::timeout(SOON, TcpStream::connect(at)).await.is_ok_and(|open| open.is_ok())
    });
    drop(listener);
    opened
}

#[test]
fn every_fault_does_what_its_name_says_and_healing_ends_it() {
    if !possible() {
        return;
    }
    let mut site = Site::empty();
    assert!(hears(&site, A, B) && hears(&site, B, A) && hears(&site, A, C));
    site.cut(A);
    assert!(!hears(&site, A, B) && !hears(&site, B, A) && hears(&site, B, C));
    assert!(hears(&site, A, A), "a host hears itself");
    site.heal();
    site.cut_between(A, B);
    assert!(!hears(&site, A, B) && !hears(&site, B, A));
    assert!(hears(&site, A, C) && hears(&site, C, B));
    site.heal();
    site.mute(A);
    assert!(!hears(&site, A, B) && hears(&site, B, A));
    site.heal();
    site.deafen(A);
    assert!(hears(&site, A, B) && !hears(&site, B, A));
    site.heal();
    site.cut_from_servers(A);
    assert!(!connects(&site, A, B, 4460) && !connects(&site, B, A, 2379));
    assert!(connects(&site, A, B, 7000) && connects(&site, B, C, 4460));
    site.heal();
    assert!(connects(&site, A, B, 4460));
}

#[test]
fn packets_are_lost_by_lot_or_when_there_are_too_many() {
    if !possible() {
        return;
    }
    let mut site = Site::empty();
    assert_eq!(arrive(&site, A, B, 100, 10), 100);
    site.lose(A, 30);
    // Of 150 that are to arrive with probability 0.7 fewer than 75 or more than 135 do once in 10^7.
    let arrived = arrive(&site, A, B, 150, 10);
    assert!((75..=135).contains(&arrived), "{arrived} of 150");
    site.heal();
    site.slow(A, 125_000);
    // What one second may carry passes at once.
    let arrived = arrive(&site, A, B, 300, 1000);
    assert!((20..280).contains(&arrived), "{arrived} of 300");
    // So many a socket keeps that nobody reads.
    assert_eq!(arrive(&site, B, C, 70, 1000), 70, "beside it nothing is slow");
}

#[test]
fn a_host_that_is_off_stays_silent_when_networks_heal_and_nothing_is_left_of_a_site() {
    if !possible() {
        return;
    }
    let mut site = Site::empty();
    let (names, dir) = (site.namespace(A).to_owned(), site.dir(A));
    site.kill_host(B);
    site.heal();
    assert!(!hears(&site, A, B) && hears(&site, A, C));
    assert_eq!(site.on(), [0, 2, 3]);
    site.restore();
    assert!(hears(&site, A, B));
    assert!(dir.is_dir());
    drop(site);
    let left = std::fs::read_dir("/run/netns").expect("namespaces").flatten();
    let left: Vec<_> = left.filter(|entry| *entry.file_name() == *names.as_str()).collect();
    assert!(left.is_empty() && !dir.exists(), "{left:?}");
}
