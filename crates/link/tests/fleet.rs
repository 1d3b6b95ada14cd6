//! A fleet's servers as those see them who dial: who is who, who answers, and what becomes of a
//! question when somebody does not.

#![allow(clippy::unwrap_used, reason = "a failed expectation is a failed test")]

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use rustls::ClientConfig;
use tanist_lab::Members;
use tanist_link::api::ApiError;
use tanist_link::{
    Client, LinkError, Peer, SecureListener, Server, Servers, accept, host_name, serve_secure,
    server_name,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::timeout;

/// How long a test waits for something that must come.
const PATIENCE: Duration = Duration::from_secs(30);

/// How often somebody was asked.
type Count = Arc<AtomicU32>;

fn times(count: &Count) -> u32 {
    count.load(Ordering::SeqCst)
}

async fn listener(members: &Members, host: &str) -> SecureListener {
    let name = server_name(&host.into());
    let config = watch::channel(members.accepting(&[&name])).1;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    SecureListener::bind(address, config).await.unwrap()
}

/// A server that answers everything with what `answer` says, and counts the questions.
async fn server(members: &Members, host: &str, answer: fn() -> Response) -> (Server, Count) {
    let listener = listener(members, host).await;
    let count = Count::default();
    let known = Server { host: host.into(), address: listener.address() };
    let ask = move |State(count): State<Count>| async move {
        count.fetch_add(1, Ordering::SeqCst);
        answer()
    };
    let routes = Router::new().route("/ask", get(ask).post(ask)).with_state(Arc::clone(&count));
    tokio::spawn(serve_secure(listener, routes));
    (known, count)
}

fn leads() -> Response {
    Json(7).into_response()
}

fn follows() -> Response {
    let error = ApiError::new("T510", "another server leads", "ask that one");
    (StatusCode::MISDIRECTED_REQUEST, Json(error)).into_response()
}

fn client(all: Vec<Server>, config: Arc<ClientConfig>) -> Client {
    Client::fleet(Arc::new(Servers::new(all, watch::channel(config).1)))
}

fn dialler(members: &Members) -> Arc<ClientConfig> {
    members.dialling(&[&host_name(&"h9".into())])
}

#[tokio::test]
async fn who_asks_is_known_by_its_name_and_by_no_other() {
    let members = Members::new();
    let listener = listener(&members, "h1").await;
    let known = Server { host: "h1".into(), address: listener.address() };
    let who = |Extension(peer): Extension<Peer>| async move {
        let names = ["h9", "h8"].map(|host| host_name(&host.into()));
        let servers = server_name(&"h9".into());
        Json([peer.is(&names[0]), peer.is(&names[1]), peer.is(&servers), peer.is("")])
    };
    tokio::spawn(serve_secure(listener, Router::new().route("/who", get(who))));
    let ask = async |config| client(vec![known.clone()], config).get::<[bool; 4]>("/who").await;
    assert_eq!(ask(dialler(&members)).await.unwrap(), [true, false, false, false]);
    assert_eq!(ask(members.joining()).await.unwrap(), [false; 4], "who joins is nobody");
    let stranger = ask(dialler(&Members::new())).await.unwrap_err();
    assert!(stranger.is_unreachable() && stranger.to_string().contains("h1 (127.0.0.1:"));
}

#[tokio::test]
async fn a_server_is_who_its_certificate_says() {
    let members = Members::new();
    let (mut other, asked) = server(&members, "h1", leads).await;
    other.host = "h2".into();
    let refused = client(vec![other], dialler(&members)).get::<u8>("/ask").await.unwrap_err();
    assert!(matches!(refused, LinkError::Connect { .. }), "{refused}");
    assert_eq!(times(&asked), 0);
}

#[tokio::test]
async fn the_server_that_leads_is_found_and_asked_first_from_then_on() {
    let members = Members::new();
    let (first, firsts) = server(&members, "h1", follows).await;
    let (second, seconds) = server(&members, "h2", leads).await;
    let client = client(vec![first, second], dialler(&members));
    for _ in 0..3 {
        assert_eq!(client.post::<_, u8>("/ask", &1).await.unwrap(), 7);
    }
    assert_eq!((times(&firsts), times(&seconds)), (1, 3));
}

#[tokio::test]
async fn when_nobody_leads_the_last_ones_words_are_the_answer() {
    let members = Members::new();
    let (first, firsts) = server(&members, "h1", follows).await;
    let (second, seconds) = server(&members, "h2", follows).await;
    let refused = client(vec![first, second], dialler(&members)).get::<u8>("/ask").await;
    let refused = refused.unwrap_err();
    assert!(matches!(&refused, LinkError::Refused(error) if error.code == "T510"), "{refused}");
    assert_eq!((times(&firsts), times(&seconds)), (1, 1));
}

#[tokio::test]
async fn servers_that_are_gone_or_hang_are_passed_over() {
    let members = Members::new();
    let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let closed = TcpListener::bind(loopback).await.unwrap();
    let gone = Server { host: "h1".into(), address: closed.local_addr().unwrap() };
    drop(closed);
    // Its kernel takes the call; it never says anything.
    let hung = TcpListener::bind(loopback).await.unwrap();
    let mute = Server { host: "h2".into(), address: hung.local_addr().unwrap() };
    let (third, _) = server(&members, "h3", leads).await;
    let client = client(vec![gone, mute, third], dialler(&members));
    assert_eq!(timeout(PATIENCE, client.get::<u8>("/ask")).await.unwrap().unwrap(), 7);
    drop(hung);
}

#[tokio::test]
async fn while_a_server_hangs_one_that_begins_to_lead_is_found() {
    let members = Members::new();
    let hung = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await.unwrap();
    let mute = Server { host: "h1".into(), address: hung.local_addr().unwrap() };
    let begins = |State(asked): State<Count>| async move {
        if asked.fetch_add(1, Ordering::SeqCst) == 0 { follows() } else { leads() }
    };
    let listener = listener(&members, "h2").await;
    let second = Server { host: "h2".into(), address: listener.address() };
    let asked = Count::default();
    let routes = Router::new().route("/ask", get(begins)).with_state(Arc::clone(&asked));
    tokio::spawn(serve_secure(listener, routes));
    let client = client(vec![mute, second], dialler(&members));
    assert_eq!(timeout(PATIENCE, client.get::<u8>("/ask")).await.unwrap().unwrap(), 7);
    assert_eq!(times(&asked), 2, "the first round has not ended before");
    drop(hung);
}

/// Passes connections on to a server, counts them, and goes deaf when it is told to.
async fn relay(server: &Server) -> (Server, Count, watch::Sender<bool>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let near = Server { host: server.host.clone(), address: listener.local_addr().unwrap() };
    let (count, to) = (Count::default(), server.address);
    let (deaf, hears) = watch::channel(false);
    let counted = Arc::clone(&count);
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::SeqCst);
            let mut hears = hears.clone();
            tokio::spawn(async move {
                let mut far = TcpStream::connect(to).await.unwrap();
                let fell_silent = async { drop(hears.wait_for(|deaf| *deaf).await) };
                tokio::select! {
                    _ = copy_bidirectional(&mut near, &mut far) => return,
                    () = fell_silent => {}
                }
                std::future::pending::<()>().await;
            });
        }
    });
    (near, count, deaf)
}

#[tokio::test]
async fn a_kept_connection_is_used_until_its_server_leads_no_more_or_falls_silent() {
    static LEADS: AtomicU32 = AtomicU32::new(1);
    let first = || if LEADS.load(Ordering::SeqCst) == 1 { leads() } else { follows() };
    let second = || if LEADS.load(Ordering::SeqCst) == 2 { leads() } else { follows() };
    let members = Members::new();
    let (h1, asked_1) = server(&members, "h1", first).await;
    let (h2, asked_2) = server(&members, "h2", second).await;
    let (h1, dialled_1, _hears) = relay(&h1).await;
    let (h2, dialled_2, deaf) = relay(&h2).await;
    let client = client(vec![h1, h2], dialler(&members)).kept();
    let ask = async || client.clone().within(PATIENCE).post::<_, u8>("/ask", &0).await;
    for _ in 0..3 {
        assert_eq!(ask().await.unwrap(), 7);
    }
    assert_eq!((times(&asked_1), times(&dialled_1)), (3, 1), "one connection");
    LEADS.store(2, Ordering::SeqCst);
    for _ in 0..3 {
        assert_eq!(ask().await.unwrap(), 7);
    }
    assert_eq!((times(&asked_2), times(&dialled_2)), (3, 1));
    LEADS.store(1, Ordering::SeqCst);
    deaf.send_replace(true);
    assert_eq!(ask().await.unwrap(), 7, "nobody waits for the one that is silent");
}

#[tokio::test]
async fn what_may_have_been_done_is_not_asked_of_another() {
    let members = Members::new();
    let (behind, asked) = server(&members, "h1", || panic!("it breaks in the middle")).await;
    let (second, seconds) = server(&members, "h2", leads).await;
    let client = client(vec![behind, second], dialler(&members));
    let unknown = client.post::<_, u8>("/ask", &1).await.unwrap_err();
    assert!(matches!(unknown, LinkError::Http { .. }), "{unknown}");
    assert_eq!((times(&asked), times(&seconds)), (1, 0));
    // Whoever asks anew asks somebody else.
    assert_eq!(client.post::<_, u8>("/ask", &1).await.unwrap(), 7);
}

#[tokio::test]
async fn a_conversation_goes_both_ways_and_ends_when_the_peer_has_vanished() {
    let members = Members::new();
    let listener = listener(&members, "h1").await;
    let behind = listener.address();
    let echo = |request: axum::extract::Request| async move {
        let (duplex, response) = accept::<u32, u32>("test", request.into_body());
        tokio::spawn(async move {
            let (mut receiver, sender) = (duplex.receiver, duplex.sender);
            while let Ok(Some(number)) = receiver.recv().await {
                sender.send(&(number + 1)).unwrap();
            }
        });
        response
    };
    tokio::spawn(serve_secure(listener, Router::new().route("/talk", post(echo))));
    // A network that can be cut: nobody is told.
    let relay = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = relay.local_addr().unwrap();
    let (cut, mut is_cut) = watch::channel(false);
    tokio::spawn(async move {
        let (mut near, _) = relay.accept().await.unwrap();
        let mut far = TcpStream::connect(behind).await.unwrap();
        tokio::select! {
            _ = copy_bidirectional(&mut near, &mut far) => return,
            _ = is_cut.wait_for(|cut| *cut) => {}
        }
        // Nothing passes any more, and both ends stay open.
        std::future::pending::<()>().await;
    });
    let client = client(vec![Server { host: "h1".into(), address }], dialler(&members));
    let mut talk = client.open::<u32, u32>("/talk").await.unwrap();
    for number in 0..3 {
        talk.sender.send(&number).unwrap();
        let heard = timeout(PATIENCE, talk.receiver.recv()).await.unwrap().unwrap();
        assert_eq!(heard, Some(number + 1));
    }
    cut.send(true).unwrap();
    let ended = timeout(PATIENCE, talk.receiver.recv()).await.expect("it is noticed");
    assert!(matches!(ended, Err(LinkError::Closed)), "{ended:?}");
}

#[tokio::test]
async fn a_new_certificate_is_shown_and_asked_for_from_then_on() {
    let (before, after) = (Members::new(), Members::new());
    let name = server_name(&"h1".into());
    let (shown, config) = watch::channel(before.accepting(&[&name]));
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let listener = SecureListener::bind(address, config).await.unwrap();
    let known = Server { host: "h1".into(), address: listener.address() };
    tokio::spawn(serve_secure(listener, Router::new().route("/ask", get(|| async { Json(7) }))));
    let (trusted, config) = watch::channel(dialler(&before));
    let client = Client::fleet(Arc::new(Servers::new(vec![known], config)));
    assert_eq!(client.get::<u8>("/ask").await.unwrap(), 7);
    shown.send(after.accepting(&[&name])).unwrap();
    assert!(client.get::<u8>("/ask").await.is_err(), "it is another authority's");
    trusted.send(dialler(&after)).unwrap();
    assert_eq!(client.get::<u8>("/ask").await.unwrap(), 7);
}

#[tokio::test]
async fn who_does_not_encrypt_is_not_answered() {
    let members = Members::new();
    let (known, asked) = server(&members, "h1", leads).await;
    let mut plain = TcpStream::connect(known.address).await.unwrap();
    plain.write_all(b"GET /ask HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut said = Vec::new();
    // A reset is an end as well.
    let _ = timeout(PATIENCE, plain.read_to_end(&mut said)).await.expect("it is hung up");
    assert!(!String::from_utf8_lossy(&said).contains("HTTP"), "{said:?}");
    assert_eq!(times(&asked), 0);
}
