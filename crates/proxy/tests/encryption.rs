//! Clients that encrypt, clients that do not, and clients that pretend to.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod kit;

use std::time::{Duration, Instant};

use kit::tls::{Ca, Client, Tls};
use kit::{Binary, Conn, LIMIT, World};
use rcgen::ExtendedKeyUsagePurpose;
use tanist_core::model::{ClientCertificates, Durability, Transit, TransitMode};
use tanist_link::wire::ToProxy;
use tanist_proxy::ProxyLimits;
use tanist_resp::{Command, ConnectionError, Value};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

const NAME: &str = "web.test";

fn transit(mode: TransitMode, clients: ClientCertificates) -> Transit {
    Transit { mode, clients }
}

/// A world whose endpoints show a certificate of an authority, and a client that trusts it.
async fn world(mode: TransitMode, clients: ClientCertificates) -> (World, Ca, Client) {
    let mut world = World::new(2, Durability::Async).await;
    let ca = Ca::new();
    world.order(ca.certificate(NAME, clients));
    world.transit(transit(mode, clients)).await;
    let client = ca.client(None);
    (world, ca, client)
}

async fn call(client: &mut Tls, line: &str) -> Result<Value, ConnectionError> {
    let mut words = line.split(' ');
    client.call(&Command::new(words.next().unwrap()).args(words), LIMIT).await
}

async fn text(client: &mut Tls, line: &str) -> String {
    let value = call(client, line).await.unwrap();
    value.as_bytes().map(|text| String::from_utf8_lossy(text).into_owned()).unwrap_or_default()
}

async fn ok(client: &mut Tls, line: &str) {
    let value = call(client, line).await.unwrap();
    assert!(value.is_ok() || is(&value, b"PONG"), "{line}: {value:?}");
}

fn is(value: &Value, bytes: &[u8]) -> bool {
    value.as_bytes().is_some_and(|found| found == bytes)
}

#[tokio::test]
async fn one_port_serves_clients_that_encrypt_and_clients_that_do_not() {
    let (world, ca, client) = world(TransitMode::Preferred, ClientCertificates::Off).await;
    let mut plain = world.primary().await;
    let mut tls = client.dial(world.primary_address(), NAME).await.unwrap();
    ok(&mut tls, "SET k 1").await;
    assert_eq!(plain.call("GET k").await, "$1 1");
    let older = ca.client_of(None, &[&rustls::version::TLS12]);
    let mut older = older.dial(world.primary_address(), NAME).await.unwrap();
    assert_eq!(text(&mut older, "GET k").await, "1");
    assert!(client.dial(world.primary_address(), "other.test").await.is_err());
}

#[tokio::test]
async fn large_values_and_long_pipelines_come_through_whole() {
    let (world, _, client) = world(TransitMode::Required, ClientCertificates::Off).await;
    let mut tls = client.dial(world.primary_address(), NAME).await.unwrap();
    let value: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
    let set = Command::new("SET").arg("big").arg(&value);
    assert!(tls.call(&set, LIMIT).await.unwrap().is_ok());
    let got = tls.call(&Command::new("GET").arg("big"), LIMIT).await.unwrap();
    assert!(is(&got, &value));
    let many: Vec<Command> =
        (0..20_000).map(|n| Command::new("ECHO").arg(format!("{n:08}"))).collect();
    let echoes = tls.pipeline(&many, LIMIT).await.unwrap();
    for (n, echo) in echoes.iter().enumerate() {
        assert!(is(echo, format!("{n:08}").as_bytes()), "{n}: {echo:?}");
    }
}

#[tokio::test]
async fn more_replies_than_all_buffers_hold_all_come() {
    const REPLIES: usize = 300;
    let (world, _, client) = world(TransitMode::Required, ClientCertificates::Off).await;
    let mut tls = client.dial(world.primary_address(), NAME).await.unwrap();
    let value = vec![b'v'; 100_000];
    tls.call(&Command::new("SET").arg("k").arg(&value), LIMIT).await.unwrap();
    // More than all buffers between the engine and here: something has to wait.
    let gets: Vec<Command> = (0..REPLIES).map(|_| Command::new("GET").arg("k")).collect();
    let replies = tls.pipeline(&gets, LIMIT * 2).await.unwrap();
    assert!(replies.iter().all(|reply| is(reply, &value)));
    assert_eq!(replies.len(), REPLIES);
}

#[tokio::test]
async fn a_plain_client_is_told_why_it_is_closed_and_the_proxys_own_are_served() {
    let (world, _, client) = world(TransitMode::Required, ClientCertificates::Off).await;
    let mut plain = world.primary().await;
    plain.send(&["PING"]).await;
    assert_eq!(
        plain.rest().await,
        b"-ERR this endpoint takes encrypted connections only: connect with TLS\r\n"
    );
    // A reader's PUBLISH is asked of the primary's own endpoint, by the proxy itself.
    let address = (world.route.endpoints.reader, world.route.endpoints.port);
    let mut reader = client.dial(address.into(), NAME).await.unwrap();
    let heard = call(&mut reader, "PUBLISH channel x").await.unwrap();
    assert_eq!(heard.as_int(), Some(0), "{heard:?}");
}

#[tokio::test]
async fn garbage_is_closed_and_harms_nobody() {
    let (world, _, client) = world(TransitMode::Required, ClientCertificates::Off).await;
    let mut witness = client.dial(world.primary_address(), NAME).await.unwrap();
    for round in 0..200_u32 {
        let mut socket = TcpStream::connect(world.primary_address()).await.unwrap();
        let mut bytes: Vec<u8> = (0..rand::random_range(1..400)).map(|_| rand::random()).collect();
        if round % 4 != 0 {
            // As if a handshake came; sometimes with a length that is believable.
            bytes[0] = 22;
        }
        if round % 2 == 0 && bytes.len() > 5 {
            bytes[1..5].copy_from_slice(&[3, 1, 0, 100]);
        }
        let _ = socket.write_all(&bytes).await;
        let _ = socket.shutdown().await;
        let mut rest = Vec::new();
        // A reset is as good as an end.
        let _ = timeout(LIMIT, socket.read_to_end(&mut rest)).await.expect("it is closed");
        ok(&mut witness, "PING").await;
    }
    assert!(client.dial(world.primary_address(), NAME).await.is_ok());
}

#[tokio::test]
async fn another_certificate_is_for_new_handshakes_and_a_bad_one_for_nobody() {
    let (world, ca, client) = world(TransitMode::Required, ClientCertificates::Off).await;
    let mut old = client.dial(world.primary_address(), NAME).await.unwrap();
    ok(&mut old, "SET k 1").await;
    world.order(ca.certificate("new.test", ClientCertificates::Off));
    world.obeyed().await;
    let mut new = ca.client(None).dial(world.primary_address(), "new.test").await.unwrap();
    assert_eq!(text(&mut new, "GET k").await, "1");
    assert_eq!(text(&mut old, "GET k").await, "1", "it goes on as it began");
    let ToProxy::Certificate(mut bad) = ca.certificate("bad.test", ClientCertificates::Off) else {
        panic!("it is one")
    };
    bad.key.0 = "nonsense".to_owned();
    world.order(ToProxy::Certificate(bad));
    world.obeyed().await;
    assert!(ca.client(None).dial(world.primary_address(), "new.test").await.is_ok());
}

#[tokio::test]
async fn sessions_are_resumed_even_after_a_renewal_but_not_past_a_demand_for_certificates() {
    let (mut world, ca, client) = world(TransitMode::Required, ClientCertificates::Off).await;
    let kind = |tls: &Tls| tls.stream().get_ref().1.handshake_kind().unwrap();
    let mut first = client.dial(world.primary_address(), NAME).await.unwrap();
    ok(&mut first, "PING").await;
    assert_ne!(kind(&first), rustls::HandshakeKind::Resumed);
    world.order(ca.certificate(NAME, ClientCertificates::Off));
    world.obeyed().await;
    let mut second = client.dial(world.primary_address(), NAME).await.unwrap();
    ok(&mut second, "PING").await;
    assert_eq!(kind(&second), rustls::HandshakeKind::Resumed);
    world.order(ca.certificate(NAME, ClientCertificates::Required));
    world.transit(transit(TransitMode::Required, ClientCertificates::Required)).await;
    // In TLS 1.3 the client's side of the handshake ends before it hears that it is refused.
    if let Ok(mut third) = client.dial(world.primary_address(), NAME).await {
        assert!(call(&mut third, "PING").await.is_err());
    }
    assert!(call(&mut second, "PING").await.is_err(), "it has shown none and is closed");
}

#[tokio::test]
async fn clients_show_certificates_of_the_authority_where_they_have_to() {
    let (world, ca, stranger) = world(TransitMode::Required, ClientCertificates::Required).await;
    let may = async |client: Client| match client.dial(world.primary_address(), NAME).await {
        Ok(mut tls) => call(&mut tls, "PING").await.is_ok(),
        Err(_) => false,
    };
    assert!(!may(stranger).await, "it shows none");
    let good = ca.issue(&[], ExtendedKeyUsagePurpose::ClientAuth);
    assert!(may(ca.client(Some(good))).await);
    let endpoints = ca.issue(&[NAME], ExtendedKeyUsagePurpose::ServerAuth);
    assert!(!may(ca.client(Some(endpoints))).await, "an endpoint is no client");
    let forged = Ca::new().issue(&[], ExtendedKeyUsagePurpose::ClientAuth);
    assert!(!may(ca.client(Some(forged))).await, "another authority's");
}

#[tokio::test]
async fn an_optional_certificate_may_be_left_out_but_not_be_forged() {
    let (world, ca, client) = world(TransitMode::Preferred, ClientCertificates::Optional).await;
    let mut without = client.dial(world.primary_address(), NAME).await.unwrap();
    ok(&mut without, "PING").await;
    let forged = Ca::new().issue(&[], ExtendedKeyUsagePurpose::ClientAuth);
    if let Ok(mut tls) = ca.client(Some(forged)).dial(world.primary_address(), NAME).await {
        assert!(call(&mut tls, "PING").await.is_err());
    }
}

#[tokio::test]
async fn a_group_that_becomes_required_keeps_those_who_encrypt_and_closes_the_others() {
    let (mut world, _, client) = world(TransitMode::Preferred, ClientCertificates::Off).await;
    let mut silent = world.primary().await;
    let mut plain = world.primary().await;
    assert_eq!(plain.call("PING").await, "+PONG");
    let mut tls = client.dial(world.primary_address(), NAME).await.unwrap();
    ok(&mut tls, "SET k 1").await;
    world.transit(transit(TransitMode::Required, ClientCertificates::Off)).await;
    assert_eq!(plain.rest().await, b"");
    assert_eq!(text(&mut tls, "GET k").await, "1");
    silent.send(&["PING"]).await;
    assert!(silent.rest().await.starts_with(b"-ERR this endpoint takes encrypted"));
    world.transit(transit(TransitMode::Off, ClientCertificates::Off)).await;
    assert_eq!(world.primary().await.call("GET k").await, "$1 1");
    assert_eq!(text(&mut tls, "GET k").await, "1", "who encrypts may go on");
}

#[tokio::test]
async fn a_planned_move_breaks_no_encrypted_connection() {
    let (mut world, _, client) = world(TransitMode::Required, ClientCertificates::Off).await;
    let mut tls = client.dial(world.primary_address(), NAME).await.unwrap();
    for n in 0..20 {
        ok(&mut tls, &format!("SET k{n} {n}")).await;
    }
    let writing = async {
        for n in 20..400 {
            ok(&mut tls, &format!("SET k{n} {n}")).await;
        }
        tls
    };
    let (mut tls, ()) = tokio::join!(writing, world.switch_over("n1", "n2"));
    for n in 0..400 {
        assert_eq!(text(&mut tls, &format!("GET k{n}")).await, n.to_string());
    }
}

#[tokio::test]
async fn a_handshake_that_does_not_end_is_closed_and_takes_a_place_until_then() {
    let limits = ProxyLimits { max_clients: 1, ..ProxyLimits::default() };
    let mut world = World::with(1, Durability::Async, Binary::Redis, limits).await;
    let ca = Ca::new();
    world.order(ca.certificate(NAME, ClientCertificates::Off));
    world.transit(transit(TransitMode::Required, ClientCertificates::Off)).await;
    let started = Instant::now();
    let mut lazy = TcpStream::connect(world.primary_address()).await.unwrap();
    lazy.write_all(&[22, 3, 1, 2, 0]).await.unwrap();
    world.until("it is a client", |beat| beat.clients == 1).await;
    let mut other = Conn::open(world.primary_address()).await;
    assert_eq!(other.rest().await, b"-ERR max number of clients reached\r\n");
    let mut rest = Vec::new();
    timeout(LIMIT, lazy.read_to_end(&mut rest)).await.expect("it is closed").unwrap();
    let took = started.elapsed();
    assert!(took > Duration::from_secs(9) && took < Duration::from_secs(13), "{took:?}");
    world.until("its place is free", |beat| beat.clients == 0).await;
    assert!(ca.client(None).dial(world.primary_address(), NAME).await.is_ok());
}

#[tokio::test]
async fn a_record_that_does_not_end_is_closed_and_an_idle_client_is_not() {
    let (world, _, client) = world(TransitMode::Required, ClientCertificates::Off).await;
    let mut tls = client.dial(world.primary_address(), NAME).await.unwrap();
    ok(&mut tls, "PING").await;
    let mut idle = client.dial(world.primary_address(), NAME).await.unwrap();
    ok(&mut idle, "PING").await;
    // Below the encryption: the header of a record of 16 KiB, and nothing more.
    let socket = std::os::fd::AsFd::as_fd(tls.stream().get_ref().0).try_clone_to_owned().unwrap();
    let mut socket = std::net::TcpStream::from(socket);
    let started = Instant::now();
    std::io::Write::write_all(&mut socket, &[23, 3, 3, 0x40, 0]).unwrap();
    world.until("both are clients", |beat| beat.clients == 2).await;
    world.until("one is closed", |beat| beat.clients == 1).await;
    let took = started.elapsed();
    assert!(took > Duration::from_secs(9) && took < Duration::from_secs(13), "{took:?}");
    ok(&mut idle, "PING").await;
}

#[tokio::test]
async fn a_handshake_at_a_plain_endpoint_does_not_hang() {
    let world = World::new(1, Durability::Async).await;
    let ca = Ca::new();
    let started = Instant::now();
    let refused = ca.client(None).dial(world.primary_address(), NAME).await;
    assert!(refused.is_err());
    assert!(started.elapsed() < Duration::from_secs(14), "{:?}", started.elapsed());
}
