//! HTTP as it comes: forms, order, ends, and bytes that are none of it.

use jiff::fmt::strtime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tanist_tls::DoorError;
use tokio::net::TcpListener;

use super::kit::{Draft, Got, House, Plan, WHO_AM_I, Wire, ask, ask_raw, config, open};
use crate::front::{Front, FrontError};
use crate::identity::AccessKey;

async fn house() -> (House, AccessKey) {
    let house = open(Plan::default()).await;
    let root = house.identity.root().unwrap();
    (house, root)
}

/// Has the answer what every answer has?
fn check_head(got: &Got) {
    check_ids(got);
    assert!(!got.headers.contains_key("x-tanist-unsigned"));
}

fn check_ids(got: &Got) {
    let broken = strtime::parse("%a, %d %b %Y %H:%M:%S GMT", &got.headers["date"]).unwrap();
    let at = broken.to_datetime().unwrap().to_zoned(TimeZone::UTC).unwrap().timestamp();
    let off = Timestamp::now().duration_since(at).abs();
    assert!(off <= SignedDuration::from_secs(5), "{got:?}");
    assert_eq!(got.headers["x-amzn-requestid"].len(), 36, "{got:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_request_is_answered() {
    let (house, root) = house().await;
    let got = ask(&house, &Draft::who_am_i().sign(&root)).await;
    check_head(&got);
    let account = house.identity.account();
    assert_eq!(got.status, 200);
    assert_eq!(got.headers["content-type"], "text/xml");
    assert_eq!(got.part("Account"), account);
    assert_eq!(got.part("Arn"), format!("arn:aws:iam::{account}:root"));
    assert_eq!(got.part("UserId"), root.access_key_id);
    assert_eq!(got.part("RequestId"), got.headers["x-amzn-requestid"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_may_stand_in_the_query() {
    let (house, root) = house().await;
    let mut get = Draft::new("sts", "").method("GET", &format!("/?{WHO_AM_I}"));
    get.headers.retain(|(name, _)| name == "host");
    assert_eq!(ask(&house, &get.sign(&root)).await.status, 200);
    let presigned = Draft::new("sts", "").presign(&root, WHO_AM_I);
    assert_eq!(ask(&house, &presigned).await.status, 200);
    let mut changed = presigned.clone();
    changed.target = changed.target.replace("2011-06-15", "2011-06-16");
    ask(&house, &changed).await.is(403, "SignatureDoesNotMatch");
}

#[tokio::test(flavor = "multi_thread")]
async fn head_is_answered_without_a_body() {
    let (house, root) = house().await;
    let mut wire = Wire::open(&house).await;
    wire.send(&Draft::who_am_i().method("HEAD", "/").sign(&root).bytes()).await;
    // The next answer follows at once: nothing stands between them.
    wire.send(&Draft::who_am_i().sign(&root).bytes()).await;
    wire.end_sending().await;
    let mut statuses = Vec::new();
    let text = wire.rest().await;
    for line in text.split("\r\n").filter(|line| line.starts_with("HTTP/1.1 ")) {
        statuses.push(line[9..12].to_owned());
    }
    assert_eq!(statuses, ["400", "200"], "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_answer_has_an_id_and_a_date_whatever_it_says() {
    let (house, root) = house().await;
    let mut ids = std::collections::BTreeSet::new();
    for draft in [
        Draft::who_am_i().sign(&root),
        Draft::who_am_i().sign(&root),
        Draft::who_am_i(),
        Draft::json("Nothing", "{}").sign(&root),
        Draft::new("ec2", "Action=Nothing&Version=2016-11-15").sign(&root),
        Draft::new("sts", vec![b'a'; 2_000_000]),
    ] {
        let got = ask(&house, &draft).await;
        check_head(&got);
        ids.insert(got.headers["x-amzn-requestid"].clone());
    }
    let garbage = ask_raw(&house, b"garbage\r\n\r\n").await.unwrap();
    check_head(&garbage);
    ids.insert(garbage.headers["x-amzn-requestid"].clone());
    assert_eq!(ids.len(), 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_is_kept_after_an_error() {
    let (house, root) = house().await;
    let mut wire = Wire::open(&house).await;
    for _ in 0..3 {
        wire.send(&Draft::who_am_i().bytes()).await;
        wire.next().await.unwrap().is(403, "MissingAuthenticationToken");
        wire.send(&Draft::who_am_i().region("mars-1").sign(&root).bytes()).await;
        wire.next().await.unwrap().is(403, "SignatureDoesNotMatch");
        wire.send(&Draft::new("sts", vec![b'a'; 1_100_000]).bytes()).await;
        wire.next().await.unwrap().is(413, "RequestEntityTooLarge");
        wire.send(&Draft::who_am_i().sign(&root).bytes()).await;
        assert_eq!(wire.next().await.unwrap().status, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pipelined_requests_are_answered_in_their_order() {
    let (house, root) = house().await;
    let mut wire = Wire::open(&house).await;
    let (good, bad) = (Draft::who_am_i().sign(&root).bytes(), Draft::who_am_i().bytes());
    let bytes: Vec<u8> = [&good, &bad].repeat(10).into_iter().flatten().copied().collect();
    wire.send(&[&bytes[..], b"garbage\r\n\r\n"].concat()).await;
    for _ in 0..10 {
        assert_eq!(wire.next().await.unwrap().status, 200);
        wire.next().await.unwrap().is(403, "MissingAuthenticationToken");
    }
    assert_eq!(wire.next().await.unwrap().status, 400);
    assert!(wire.next().await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_may_come_byte_by_byte_or_in_chunks() {
    let (house, root) = house().await;
    let draft = Draft::who_am_i().sign(&root);
    let mut wire = Wire::open(&house).await;
    for byte in draft.bytes() {
        wire.send(&[byte]).await;
    }
    assert_eq!(wire.next().await.unwrap().status, 200);
    let pieces = draft.body.chunks(7);
    let chunks: String = pieces
        .map(|piece| format!("{:x}\r\n{}\r\n", piece.len(), String::from_utf8_lossy(piece)))
        .collect();
    let chunked = format!("{}transfer-encoding: chunked\r\n\r\n{chunks}0\r\n\r\n", draft.head());
    wire.send(chunked.as_bytes()).await;
    assert_eq!(wire.next().await.unwrap().status, 200);
    wire.end_sending().await;
    assert!(wire.next().await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_stops_sending_still_gets_its_answer() {
    let (house, root) = house().await;
    let mut wire = Wire::open(&house).await;
    wire.send(&Draft::who_am_i().sign(&root).bytes()).await;
    wire.end_sending().await;
    assert_eq!(wire.next().await.unwrap().status, 200);
    assert!(wire.next().await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_http_is_refused_in_xml() {
    let (house, root) = house().await;
    let head = "POST / HTTP/1.1\r\nhost: a\r\n";
    let large = format!("{head}x: {}\r\n\r\n", "a".repeat(200_000));
    let many = format!("{head}{}\r\n", "x: a\r\n".repeat(200));
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(66_000));
    let lengths = format!("{head}content-length: 1\r\ncontent-length: 2\r\n\r\nab");
    let no_number = format!("{head}content-length: x\r\n\r\n");
    let negative = format!("{head}content-length: -1\r\n\r\n");
    let coding = format!("{head}transfer-encoding: gzip\r\n\r\n");
    let nul = format!("{head}x: a\0b\r\n\r\n");
    for (bytes, status) in [
        (&b"garbage\r\n\r\n"[..], 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        (b"POST / HTTP/9.9\r\n\r\n", 400),
        (b"POST  /  HTTP/1.1\r\n\r\n", 400),
        (b"P\xffST / HTTP/1.1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nno colon\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\n: no name\r\n\r\n", 400),
        (large.as_bytes(), 431),
        (many.as_bytes(), 431),
        (long.as_bytes(), 414),
        (lengths.as_bytes(), 400),
        (no_number.as_bytes(), 400),
        (negative.as_bytes(), 400),
        (coding.as_bytes(), 400),
        (nul.as_bytes(), 400),
    ] {
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(80)]).into_owned();
        let mut wire = Wire::open(&house).await;
        wire.send_what_goes(bytes).await;
        let got = wire.next().await.unwrap_or_else(|| panic!("no answer to {shown:?}"));
        assert_eq!(got.status, status, "{shown:?}");
        got.is(status, "MalformedHttpRequest");
        check_head(&got);
        assert!(wire.next().await.is_none(), "{shown:?}");
    }
    let chunk = format!("{head}transfer-encoding: chunked\r\n\r\nzz\r\n");
    ask_raw(&house, chunk.as_bytes()).await.unwrap().is(400, "MalformedHttpRequest");
    // Nobody else noticed.
    assert_eq!(ask(&house, &Draft::who_am_i().sign(&root)).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn http_2_with_prior_knowledge_is_ended_and_not_answered_in_http_1() {
    let (house, _) = house().await;
    let mut wire = Wire::open(&house).await;
    wire.send_what_goes(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await;
    assert!(wire.next().await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_asks_for_leave_gets_it() {
    let (house, root) = house().await;
    let draft = Draft::who_am_i().sign(&root).header("expect", "100-continue");
    let mut wire = Wire::open(&house).await;
    wire.send(&draft.bytes()).await;
    wire.end_sending().await;
    let text = wire.rest().await;
    assert!(text.starts_with("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_end_with_the_front() {
    let (house, root) = house().await;
    let mut wire = Wire::open(&house).await;
    wire.send(&Draft::who_am_i().sign(&root).bytes()).await;
    assert_eq!(wire.next().await.unwrap().status, 200);
    drop(house);
    assert!(wire.next().await.is_none());
}

/// The wire's own fuzzing is `tests/fuzz.rs`; this is HTTP's and the connection's.
#[tokio::test(flavor = "multi_thread")]
async fn broken_bytes_get_whole_answers_or_an_end_and_harm_nobody() {
    let house = open(Plan { unsigned: true, ..Plan::default() }).await;
    let mut lots = StdRng::seed_from_u64(20_261_121);
    let good = Draft::who_am_i().bytes();
    let mut statuses = std::collections::BTreeMap::<u16, u32>::new();
    for _ in 0..600 {
        let mut bytes = good.repeat(2);
        for _ in 0..lots.random_range(1..4) {
            let at = lots.random_range(0..bytes.len());
            match lots.random_range(0..4) {
                0 => bytes[at] = lots.random_range(0..=255),
                1 => drop(bytes.drain(at..(at + 5).min(bytes.len() - 1))),
                2 => drop(bytes.splice(at..at, *b"\r\n")),
                _ => bytes.truncate(at + 1),
            }
        }
        let mut wire = Wire::open(&house).await;
        wire.send_what_goes(&bytes).await;
        wire.end_sending().await;
        while let Some(got) = wire.next().await {
            check_ids(&got);
            *statuses.entry(got.status).or_default() += 1;
        }
    }
    // Every kind of end was met.
    assert!(statuses[&200] > 100 && statuses[&400] > 100, "{statuses:?}");
    assert!(statuses.keys().all(|status| *status < 500), "{statuses:?}");
    assert_eq!(ask_raw(&house, &good).await.unwrap().status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_connections_are_served_at_one_time() {
    let (house, root) = house().await;
    let mut wires = Vec::new();
    for _ in 0..200 {
        wires.push(Wire::open(&house).await);
    }
    let bytes = Draft::who_am_i().sign(&root).bytes();
    let mut served = tokio::task::JoinSet::new();
    for mut wire in wires {
        let bytes = bytes.clone();
        served.spawn(async move {
            for _ in 0..5 {
                wire.send(&bytes).await;
                assert_eq!(wire.next().await.unwrap().status, 200);
            }
        });
    }
    let mut count = 0;
    while let Some(ended) = served.join_next().await {
        ended.unwrap();
        count += 1;
    }
    assert_eq!(count, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_others_can_reach_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let options = tanist_store::Options::default();
    let store = tanist_store::SqliteStore::open(dir.path(), options).await.unwrap();
    let front = Front::new(config(&store, false)).await.unwrap();
    let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let refused = front.serve(listener).await;
    assert!(matches!(refused, Err(FrontError::Door(DoorError::NotEncrypted(_)))), "{refused:?}");
    let unsigned = Front::new(config(&store, true)).await.unwrap();
    let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let refused = unsigned.serve(listener).await;
    assert!(matches!(refused, Err(FrontError::Door(DoorError::NobodyKnown(_)))), "{refused:?}");
    let nowhere =
        Front::new(super::super::FrontConfig { regions: Vec::new(), ..config(&store, false) });
    assert!(matches!(nowhere.await, Err(FrontError::NoRegion)));
}
