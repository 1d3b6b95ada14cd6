//! What clients cannot make the endpoint do: wait, grow or fall silent towards others.
//!
//! Invariant: each of these clients is answered in the engine's words or ended, and the next one is
//! served.
//!
//! Not here: the framer's own errors, all of them (`tanist-resp`).

use std::time::Duration;

use super::super::Limits;
use super::super::rig::{group, with_aliases};
use super::super::settings::Settings;
use super::wire::{Controller, Wire};

async fn web() -> Controller {
    Controller::with(&[group("web", 1, Some(1))]).await
}

#[tokio::test]
async fn bytes_that_are_no_request_are_answered_as_an_engine_answers_them() {
    let controller = web().await;
    let address = controller.served(Settings::default(), Limits::DEFAULT).await;
    for (bytes, expected) in [
        (&b"*1\r\n+x\r\n"[..], "-ERR Protocol error: expected '$', got '+'\r\n"),
        (b"*x\r\n", "-ERR Protocol error: invalid multibulk length\r\n"),
        (b"*1\r\n$-1\r\n", "-ERR Protocol error: invalid bulk length\r\n"),
        (b"PING 'a\r\n", "-ERR Protocol error: unbalanced quotes in request\r\n"),
        (b"*1\r\n$70000\r\n", "-ERR Protocol error: invalid bulk length\r\n"),
        (
            b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
            "-ERR unknown command 'GET', with args beginning \
             with: '/' 'HTTP/1.1' \r\n",
        ),
    ] {
        let mut client = Wire::connect(address).await;
        client.send(bytes).await;
        client.hears(expected).await;
        client.hears_the_end().await;
    }
    // Many small arguments, which are too large together.
    let mut client = Wire::connect(address).await;
    client.send(b"*40000\r\n").await;
    client.send("$1\r\na\r\n".repeat(10_000).as_bytes()).await;
    client.hears_the_end().await;
    assert_eq!(Wire::connect(address).await.text(&["PING"]).await, "PONG");
}

#[tokio::test]
async fn inline_and_pipelined_requests_are_answered_in_their_order() {
    let mut client = web().await.asked_by_a_client().await;
    client.send(b"PING\r\nPING a\r\n*1\r\n$4\r\nPING\r\n\r\nPI").await;
    client.hears("+PONG\r\n$1\r\na\r\n+PONG\r\n").await;
    client.send(b"NG b\r\n").await;
    client.hears("$1\r\nb\r\n").await;
}

#[tokio::test]
async fn one_client_too_many_is_told_so_and_comes_in_when_another_leaves() {
    let controller = web().await;
    let limits = Limits { connections: 2, ..Limits::DEFAULT };
    let address = controller.served(Settings::default(), limits).await;
    let mut first = Wire::connect(address).await;
    let mut second = Wire::connect(address).await;
    assert_eq!(first.text(&["PING"]).await, "PONG");
    assert_eq!(second.text(&["PING"]).await, "PONG");
    let mut third = Wire::connect(address).await;
    third.hears("-ERR max number of clients reached\r\n").await;
    third.hears_the_end().await;
    assert_eq!(first.text(&["QUIT"]).await, "OK");
    first.hears_the_end().await;
    drop(first);
    loop {
        let mut next = Wire::connect(address).await;
        next.say(&["PING"]).await;
        // A reset comes before the answer if it was turned away while it was speaking.
        match next.next_or_end().await {
            Some(answer) if answer.as_str() == Some("PONG") => break,
            _ => tokio::task::yield_now().await,
        }
    }
}

#[tokio::test]
async fn a_request_that_stays_incomplete_ends_its_connection_and_an_idle_one_does_not() {
    let controller = web().await;
    let limits = Limits { patience: Duration::from_millis(50), ..Limits::DEFAULT };
    let address = controller.served(Settings::default(), limits).await;
    let mut idle = Wire::connect(address).await;
    assert_eq!(idle.text(&["PING"]).await, "PONG");
    let mut slow = Wire::connect(address).await;
    slow.send(b"*1\r\n$4\r\nPI").await;
    slow.hears_the_end().await;
    assert_eq!(idle.text(&["PING"]).await, "PONG");
}

#[tokio::test]
async fn a_client_that_does_not_read_is_ended_and_costs_others_nothing() {
    let controller = web().await;
    let limits = Limits { patience: Duration::from_millis(200), ..Limits::DEFAULT };
    let address = controller.served(Settings::default(), limits).await;
    let mut deaf = Wire::connect(address).await;
    let questions = "SENTINEL masters\r\n".repeat(1000);
    // The sockets' own buffers hold some megabytes; then nobody takes anything any more.
    let mut asked = 0;
    loop {
        use tokio::io::AsyncWriteExt;
        let write = deaf.stream.write_all(questions.as_bytes());
        match tokio::time::timeout(Duration::from_secs(10), write).await {
            Ok(Ok(())) => asked += 1,
            Ok(Err(_)) => break,
            Err(_) => panic!("it is neither read nor ended after {asked} thousand questions"),
        }
        assert!(asked < 1000, "it is read for ever");
        let mut other = Wire::connect(address).await;
        assert_eq!(other.text(&["PING"]).await, "PONG");
    }
}

#[tokio::test]
async fn a_subscriber_that_falls_behind_is_dropped_and_others_hear_everything() {
    let controller = web().await;
    let patience = Duration::from_secs(600);
    let limits = Limits { patience, news: 256, ..Limits::DEFAULT };
    // Many long names, so that one request makes much news.
    let long = "x".repeat(120);
    let names: Vec<String> = (0..99).map(|number| format!("{long}{number}")).collect();
    let aliases: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "web")).collect();
    let address = controller.served(with_aliases(&aliases), limits).await;
    let mut deaf = Wire::connect_narrowly(address).await;
    deaf.ask(&["SUBSCRIBE", "+reset-master"]).await;
    let mut attentive = Wire::connect(address).await;
    attentive.ask(&["SUBSCRIBE", "+reset-master"]).await;
    let mut source = Wire::connect(address).await;
    // More than all buffers on the way to it hold.
    let rounds = 300;
    for _ in 0..rounds {
        assert_eq!(source.ask(&["SENTINEL", "reset", "*"]).await.as_int(), Some(100));
        for _ in 0..100 {
            let heard = attentive.next().await;
            assert_eq!(heard.as_array().unwrap()[0].as_str(), Some("message"));
        }
    }
    // What it missed cannot be told any more.
    let mut heard = 0;
    while deaf.next_or_end().await.is_some() {
        heard += 1;
    }
    assert!(heard < rounds * 100, "it was not behind");
    assert_eq!(attentive.ask(&["PING"]).await.as_array().unwrap()[0].as_str(), Some("pong"));
}
