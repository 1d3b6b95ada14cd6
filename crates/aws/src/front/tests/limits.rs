//! Sizes, deadlines, numbers; operations that panic, hang or lie.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::kit::{Draft, House, Plan, Wire, ask, open};
use crate::front::limits::Limits;
use crate::front::services::{Answering, Services};
use crate::request::MAX_BODY_BYTES;
use crate::service::{Ask, Context};
use crate::value::Structure;

const SOON: Duration = Duration::from_millis(300);

fn limited(change: impl FnOnce(&mut Limits)) -> Plan {
    let mut limits = Limits::DEFAULT;
    change(&mut limits);
    Plan { limits, ..Plan::default() }
}

fn serving(answer: fn(Context, Ask) -> Answering) -> Services {
    Services { is_built: |_, _| true, answer, ..Services::ALL }
}

/// A good request is answered.
async fn works(house: &House) {
    let root = house.identity.root().unwrap();
    let got = ask(house, &Draft::who_am_i().sign(&root)).await;
    assert_eq!(got.status, 200, "{got:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_may_be_one_mebibyte_and_no_more() {
    let house = open(Plan::default()).await;
    let root = house.identity.root().unwrap();
    let padded = |length: usize| {
        let mut body = format!("{}&Padding=", super::kit::WHO_AM_I).into_bytes();
        body.resize(length, b'a');
        Draft::new("sts", body).sign(&root)
    };
    assert_eq!(ask(&house, &padded(MAX_BODY_BYTES)).await.status, 200);
    let got = ask(&house, &padded(MAX_BODY_BYTES + 1)).await;
    got.is(413, "RequestEntityTooLarge").says("1048576");
    // The dialect is known from the header alone.
    let large = Draft::json("DescribeAlarms", &" ".repeat(MAX_BODY_BYTES + 1)).sign(&root);
    ask(&house, &large).await.is(413, "RequestEntityTooLargeException");
    let large = Draft::new("ec2", vec![b'a'; MAX_BODY_BYTES + 1]).sign(&root);
    ask(&house, &large).await.is(413, "RequestEntityTooLarge").says("<Response>");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_announced_as_far_too_large_is_not_waited_for() {
    let house = open(Plan::default()).await;
    for more in ["content-length: 1000000000", "content-length: 2000000\r\nexpect: 100-continue"] {
        let mut wire = Wire::open(&house).await;
        let head = Draft::who_am_i().head();
        let begun = Instant::now();
        wire.send(format!("{head}{more}\r\n\r\n").as_bytes()).await;
        let got = wire.next().await.unwrap();
        got.is(413, "RequestEntityTooLarge");
        assert_eq!(got.headers["connection"], "close");
        assert!(wire.next().await.is_none());
        assert!(begun.elapsed() < Duration::from_secs(5), "{more}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_without_an_end_is_cut_off_with_an_answer() {
    let house = open(Plan::default()).await;
    let mut wire = Wire::open(&house).await;
    let head = Draft::who_am_i().head();
    wire.send(format!("{head}transfer-encoding: chunked\r\n\r\n").as_bytes()).await;
    let chunk = [&b"100000\r\n"[..], &vec![b'a'; 0x10_0000], b"\r\n"].concat();
    for _ in 0..9 {
        wire.send_what_goes(&chunk).await;
    }
    wire.next().await.unwrap().is(413, "RequestEntityTooLarge");
    works(&house).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_body_is_a_timeout_in_its_dialect() {
    let house = open(limited(|limits| limits.request = SOON)).await;
    for (draft, code) in Draft::of_each_dialect().into_iter().zip([
        "RequestTimeout",
        "RequestTimeout",
        "RequestTimeoutException",
    ]) {
        let draft = draft.sign(&house.identity.root().unwrap());
        let mut wire = Wire::open(&house).await;
        let begun = Instant::now();
        wire.send(format!("{}content-length: 100\r\n\r\nAction=", draft.head()).as_bytes()).await;
        let got = wire.next().await.unwrap();
        got.is(408, code);
        assert_eq!(got.headers["connection"], "close");
        assert!(begun.elapsed() >= SOON);
        assert!(wire.next().await.is_none());
    }
    works(&house).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_head_is_a_timeout_too_and_drops_do_not_help() {
    let house = open(limited(|limits| limits.request = SOON)).await;
    let mut wire = Wire::open(&house).await;
    let begun = Instant::now();
    let (mut reader, mut writer) = wire.split();
    // Each byte comes well within the time; the whole does not.
    let dripping = async {
        for byte in Draft::who_am_i().bytes() {
            if tokio::io::AsyncWriteExt::write_all(&mut writer, &[byte]).await.is_err() {
                break;
            }
            // waits: slowness is what is tested.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let mut text = String::new();
    tokio::select! {
        () = dripping => panic!("the whole request was taken"),
        read = tokio::io::AsyncReadExt::read_to_string(&mut reader, &mut text) => { read.unwrap(); }
    }
    assert!(begun.elapsed() >= SOON && begun.elapsed() < Duration::from_secs(3));
    assert!(text.starts_with("HTTP/1.1 408 Request Timeout\r\n"), "{text}");
    assert!(text.contains("<Code>RequestTimeout</Code>"), "{text}");
    works(&house).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_seconds_are_the_time_of_a_request() {
    let house = open(Plan::default()).await;
    let mut wire = Wire::open(&house).await;
    let begun = Instant::now();
    let head = Draft::who_am_i().head();
    wire.send(format!("{head}content-length: 100\r\n\r\nAction=").as_bytes()).await;
    wire.next().await.unwrap().is(408, "RequestTimeout").says("within 10 seconds");
    assert!((9..15).contains(&begun.elapsed().as_secs()));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_connection_is_ended_without_a_word() {
    let house = open(limited(|limits| limits.idle = SOON)).await;
    let mut silent = Wire::open(&house).await;
    assert!(silent.next().await.is_none());
    let mut used = Wire::open(&house).await;
    used.send(&Draft::who_am_i().bytes()).await;
    used.next().await.unwrap();
    let begun = Instant::now();
    assert!(used.next().await.is_none());
    assert!(begun.elapsed() >= SOON - Duration::from_millis(50));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_read_is_ended() {
    let house = open(Plan {
        limits: Limits { answer: SOON, idle: Duration::from_secs(600), ..Limits::DEFAULT },
        services: serving(|_, _| {
            let all = "a".repeat(4 << 20);
            Box::pin(async move { Ok(Structure::new().set("Account", all)) })
        }),
        unsigned: true,
    })
    .await;
    let mut wire = Wire::open(&house).await;
    let bytes = Draft::who_am_i().bytes();
    // Together they are more than the kernel's buffers take.
    for _ in 0..8 {
        wire.send_what_goes(&bytes).await;
    }
    let (_unread, mut writer) = wire.split();
    // It is noticed without reading: the other side resets the connection at last.
    let noticed = async {
        while tokio::io::AsyncWriteExt::write_all(&mut writer, b"\r\n").await.is_ok() {
            // waits: a socket that is written to offers no event for its end.
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), noticed).await.expect("it is ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_connection_makes_room_for_a_new_one() {
    let forever = Duration::from_secs(600);
    let limits = Limits { connections: 4, idle: forever, ..Limits::DEFAULT };
    let house = open(Plan { limits, ..Plan::default() }).await;
    let mut idle = Vec::new();
    for _ in 0..4 {
        let mut wire = Wire::open(&house).await;
        wire.send(&Draft::who_am_i().bytes()).await;
        wire.next().await.unwrap();
        idle.push(wire);
    }
    let soon = tokio::time::timeout(Duration::from_secs(20), works(&house)).await;
    soon.expect("there is room");
    // One of them had to go, and the others go on.
    let mut going_on = 0;
    for wire in &mut idle {
        wire.send_what_goes(&Draft::who_am_i().bytes()).await;
        going_on += usize::from(wire.next().await.is_some());
    }
    assert_eq!(going_on, 3);
}

/// Waits until the bodies' memory is as `is_so` says.
async fn until(house: &House, is_so: impl Fn(usize) -> bool) {
    let waiting = async {
        while !is_so(house.bodies.left()) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), waiting).await.expect("it is so at last");
}

#[tokio::test(flavor = "multi_thread")]
async fn all_bodies_together_have_a_limit() {
    const ALL: usize = 1 << 20;
    let house = open(limited(|limits| limits.all_bodies_bytes = ALL)).await;
    let large = Draft::new("sts", vec![b'a'; 900_000]);
    ask(&house, &large).await.is(403, "MissingAuthenticationToken");
    until(&house, |left| left == ALL).await;
    let mut holding = Wire::open(&house).await;
    let head = Draft::who_am_i().head();
    holding.send(format!("{head}content-length: 1000000\r\n\r\n").as_bytes()).await;
    holding.send(&vec![b'a'; 900_000]).await;
    until(&house, |left| left <= ALL - 900_000).await;
    ask(&house, &large).await.is(503, "ServiceUnavailable");
    drop(holding);
    until(&house, |left| left == ALL).await;
    ask(&house, &large).await.is(403, "MissingAuthenticationToken");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operation_at_work_does_not_hold_its_requests_body() {
    let services = serving(|_, _| Box::pin(std::future::pending()));
    let house = open(Plan { services, unsigned: true, ..Plan::default() }).await;
    let mut body = format!("{}&Padding=", super::kit::WHO_AM_I).into_bytes();
    body.resize(900_000, b'a');
    let mut wire = Wire::open(&house).await;
    let head = Draft::who_am_i().head();
    wire.send(format!("{head}content-length: 900000\r\n\r\n").as_bytes()).await;
    let (most, rest) = body.split_at(800_000);
    wire.send(most).await;
    let all = Limits::DEFAULT.all_bodies_bytes;
    until(&house, |left| left <= all - 800_000).await;
    wire.send(rest).await;
    until(&house, |left| left == all).await;
}

static DECODED: AtomicUsize = AtomicUsize::new(0);

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_waits_for_its_turn_counts_as_much_as_its_body() {
    let services = Services {
        resources: |_, _| {
            DECODED.fetch_add(1, Ordering::SeqCst);
            Vec::new()
        },
        ..serving(|_, _| Box::pin(std::future::pending()))
    };
    let limits = Limits { operations: 1, ..Limits::DEFAULT };
    let house = open(Plan { services, limits, unsigned: true }).await;
    let all = Limits::DEFAULT.all_bodies_bytes;
    let mut draft = Draft::of_each_dialect()[0].clone();
    draft.body.extend_from_slice(b"&Padding=");
    draft.body.resize(900_000, b'a');
    let mut first = Wire::open(&house).await;
    first.send(&draft.bytes()).await;
    // It has its turn, and keeps it.
    until(&house, |left| DECODED.load(Ordering::SeqCst) == 1 && left == all).await;
    let mut second = Wire::open(&house).await;
    second.send(&draft.bytes()).await;
    until(&house, |_| DECODED.load(Ordering::SeqCst) == 2).await;
    assert!(house.bodies.left() <= all - 900_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_is_an_internal_failure_in_its_dialect() {
    let services = serving(|_, ask| {
        Box::pin(async move {
            if ask.service.scope == "sts" {
                return Ok(Structure::new().set("Account", "1"));
            }
            panic!("a planted panic in {}", ask.operation.name)
        })
    });
    let house = open(Plan { services, ..Plan::default() }).await;
    let root = house.identity.root().unwrap();
    for (draft, code) in Draft::of_each_dialect().into_iter().zip([
        "InternalFailure",
        "InternalError",
        "InternalFailure",
    ]) {
        let mut wire = Wire::open(&house).await;
        wire.send(&draft.sign(&root).bytes()).await;
        let got = wire.next().await.unwrap();
        got.is(500, code);
        assert!(!got.body.contains("planted"), "{got:?}");
        // The connection goes on.
        wire.send(&Draft::who_am_i().sign(&root).bytes()).await;
        assert_eq!(wire.next().await.unwrap().status, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_not_in_the_model_is_an_internal_failure() {
    let services = serving(|_, _| Box::pin(async { Ok(Structure::new().set("Nonsense", "a")) }));
    let house = open(Plan { services, ..Plan::default() }).await;
    let root = house.identity.root().unwrap();
    ask(&house, &Draft::who_am_i().sign(&root)).await.is(500, "InternalFailure");
}

static ENDED: AtomicUsize = AtomicUsize::new(0);

#[tokio::test(flavor = "multi_thread")]
async fn an_operation_that_takes_long_goes_on_and_its_client_is_told() {
    let services = serving(|_, _| {
        Box::pin(async {
            // waits: slowness is what is tested.
            tokio::time::sleep(SOON * 3).await;
            ENDED.fetch_add(1, Ordering::SeqCst);
            Ok(Structure::new())
        })
    });
    let limits = Limits { operation: SOON, operations: 1, turn: SOON, ..Limits::DEFAULT };
    let house = open(Plan { services, limits, unsigned: true }).await;
    let draft = Draft::who_am_i();
    let (first, second) = tokio::join!(ask(&house, &draft), ask(&house, &draft));
    for got in [first, second] {
        got.is(503, "ServiceUnavailable");
    }
    // A client that goes away does not cut an operation off.
    drop(house_after_one_more(&house).await);
    let begun = Instant::now();
    while ENDED.load(Ordering::SeqCst) < 2 {
        assert!(begun.elapsed() < Duration::from_secs(20));
        tokio::task::yield_now().await;
    }
}

/// A client that sends a request and leaves.
async fn house_after_one_more(house: &House) -> Wire {
    // waits: for the operations before it to end, so that it has its turn.
    tokio::time::sleep(SOON * 4).await;
    let mut wire = Wire::open(house).await;
    wire.send(&Draft::who_am_i().bytes()).await;
    wire.end_sending().await;
    wire
}
