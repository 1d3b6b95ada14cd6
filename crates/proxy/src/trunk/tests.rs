//! Trunks without sockets: what goes out, and whose what comes in is.

use std::rc::Rc;

use tanist_core::gate::HOLD_LIMIT;
use tanist_core::model::{Durability, Epoch};

use super::seat::{Seat, Ticket, Verdict};
use super::*;
use crate::shard::EndpointKind;
use crate::shard::tests::{route, serving, shard};

const TAG: &str = "n2.r.1";

/// A shard whose primary is n1 and whose writes n2 has to have.
fn sync_shard() -> Shard {
    let shard = shard();
    let mut route = route(1, 1, serving("n1", &[TAG], None));
    route.durability = Durability::Sync;
    shard.learn(route);
    shard
}

/// A trunk whose engine has greeted us.
fn trunk(shard: &Shard, proving: bool) -> Rc<Trunk> {
    let lane = shard.goal(&EndpointKind::Primary, None).unwrap();
    let key = Key { lane, user: None, db: 0, version: Version::Resp2, heavy: false, proving };
    let trunk = Rc::new(Trunk::new(key));
    trunk.begin(shard);
    sent(&trunk);
    come(&trunk, shard, "+OK\r\n*2\r\n$6\r\nserver\r\n$5\r\nredis\r\n").unwrap();
    assert_eq!(trunk.phase(), Phase::Ready);
    trunk
}

/// Everything that waits to be sent, as words; from now on it is sent.
fn sent(trunk: &Trunk) -> String {
    let text = String::from_utf8(sent_raw(trunk).into()).unwrap();
    let words = text.split("\r\n").filter(|word| !word.is_empty() && !word.starts_with(['*', '$']));
    words.collect::<Vec<_>>().join(" ")
}

/// The bytes that wait to be sent; from now on they are sent.
pub(crate) fn sent_raw(trunk: &Trunk) -> Bytes {
    let core = &mut *trunk.core.borrow_mut();
    let raw = core.out.copied();
    core.out.consume(raw.len());
    raw
}

/// The socket is connected.
pub(crate) fn begin(trunk: &Trunk, shard: &Shard) {
    trunk.begin(shard);
}

/// The socket is about to be written to.
pub(crate) fn flush(trunk: &Trunk, shard: &Shard, now: Instant) {
    trunk.flush(shard, now);
}

/// The engine has said something.
pub(crate) fn come(trunk: &Trunk, shard: &Shard, bytes: &str) -> Result<(), Unusable> {
    trunk.core.borrow_mut().input.extend_from_slice(bytes.as_bytes());
    trunk.read(shard, Instant::now())
}

fn role(position: u64, acked: u64) -> String {
    let (position, acked) = (position.to_string(), acked.to_string());
    format!(
        "*3\r\n$6\r\nmaster\r\n:{position}\r\n*1\r\n*3\r\n${}\r\n{TAG}\r\n$1\r\n0\r\n${}\r\n{acked}\r\n",
        TAG.len(),
        acked.len()
    )
}

fn ask(seat: &Seat, line: &str, writes: bool) -> Ticket {
    let mut words = line.split(' ');
    seat.hand_over(&Command::new(words.next().unwrap()).args(words).encode(), writes)
}

fn received(seat: &Seat) -> Vec<String> {
    let replies = std::iter::from_fn(|| seat.receive());
    let text = |piece: Piece| match piece {
        Piece::Whole(reply) => String::from_utf8_lossy(reply.raw()).trim_end().to_owned(),
        Piece::Part(part) => format!("a part of {} bytes", part.len()),
    };
    replies.map(text).collect()
}

#[test]
fn a_reply_is_of_the_seat_that_asked_even_if_others_leave() {
    let shard = sync_shard();
    let trunk = trunk(&shard, false);
    let (one, two) = (Seat::take(&trunk), Seat::take(&trunk));
    ask(&one, "GET a", false);
    ask(&two, "GET b", false);
    ask(&one, "GET c", false);
    assert_eq!(sent(&trunk), "GET a GET b GET c");
    drop(one);
    // The place is not given away while replies to its former owner are under way.
    let three = Seat::take(&trunk);
    ask(&three, "GET d", false);
    come(&trunk, &shard, "+a\r\n+b\r\n+c\r\n+d\r\n").unwrap();
    assert_eq!((received(&two), received(&three)), (vec!["+b".to_owned()], vec!["+d".to_owned()]));
    let four = Seat::take(&trunk);
    assert!(received(&four).is_empty(), "it is free now");
    assert!(come(&trunk, &shard, "+e\r\n").is_err(), "nobody asked for that");
}

#[test]
fn a_batch_is_released_when_everybody_has_it_and_the_next_waits_for_that() {
    let shard = sync_shard();
    let trunk = trunk(&shard, true);
    let seat = Seat::take(&trunk);
    let before = ask(&seat, "GET a", false);
    let write = ask(&seat, "SET a 1", true);
    let behind = ask(&seat, "GET a", false);
    assert_eq!([before.gated, write.gated, behind.gated], [false, true, true]);
    trunk.flush(&shard, Instant::now());
    assert_eq!(sent(&trunk), "GET a SET a 1 GET a ROLE WAIT 1 100 ROLE");
    let next = ask(&seat, "SET a 2", true);
    trunk.flush(&shard, Instant::now());
    assert_eq!(sent(&trunk), "", "one batch at a time");
    come(&trunk, &shard, "+0\r\n+OK\r\n+1\r\n").unwrap();
    come(&trunk, &shard, &format!("{}:1\r\n", role(100, 90))).unwrap();
    assert_eq!(seat.verdict(&shard, write.batch), Verdict::Open, "WAIT's number proves nothing");
    come(&trunk, &shard, &role(100, 99)).unwrap();
    assert_eq!(seat.verdict(&shard, write.batch), Verdict::Open);
    assert!(sent(&trunk).starts_with("WAIT "), "it asks again");
    come(&trunk, &shard, &format!(":1\r\n{}", role(100, 100))).unwrap();
    assert_eq!(seat.verdict(&shard, write.batch), Verdict::Proven);
    assert_eq!(seat.verdict(&shard, next.batch), Verdict::Open);
    trunk.flush(&shard, Instant::now());
    assert_eq!(sent(&trunk), "SET a 2 ROLE WAIT 1 100 ROLE");
}

#[test]
fn a_set_that_shrinks_to_nobody_releases_what_waits() {
    let shard = sync_shard();
    let trunk = trunk(&shard, true);
    let seat = Seat::take(&trunk);
    let write = ask(&seat, "SET a 1", true);
    trunk.flush(&shard, Instant::now());
    sent(&trunk);
    let mut alone = route(2, 1, serving("n1", &[], None));
    alone.durability = Durability::Sync;
    shard.learn(alone);
    assert_eq!(seat.verdict(&shard, write.batch), Verdict::Proven);
    let next = ask(&seat, "SET a 2", true);
    trunk.flush(&shard, Instant::now());
    assert_eq!(sent(&trunk), "SET a 2", "there is nobody to ask about");
    assert_eq!(seat.verdict(&shard, next.batch), Verdict::Proven);
    // Somebody joins before that was answered: now it has to be proven after all.
    let mut joined = route(3, 1, serving("n1", &[TAG], None));
    joined.durability = Durability::Sync;
    shard.learn(joined);
    assert_eq!(seat.verdict(&shard, next.batch), Verdict::Open);
    trunk.flush(&shard, Instant::now());
    assert_eq!(sent(&trunk), "ROLE WAIT 1 100 ROLE");
}

#[test]
fn what_is_not_proven_in_time_is_doubtful_and_others_go_on() {
    let shard = sync_shard();
    let trunk = trunk(&shard, true);
    let seat = Seat::take(&trunk);
    let write = ask(&seat, "SET a 1", true);
    trunk.flush(&shard, Instant::now());
    come(&trunk, &shard, &format!("+OK\r\n{}", role(100, 90))).unwrap();
    let next = ask(&seat, "SET a 2", true);
    sent(&trunk);
    trunk.flush(&shard, Instant::now() + HOLD_LIMIT);
    assert_eq!(seat.verdict(&shard, write.batch), Verdict::Doubtful);
    assert_eq!(seat.verdict(&shard, next.batch), Verdict::Open);
    assert!(sent(&trunk).starts_with("SET a 2 ROLE"));
}

#[test]
fn an_engine_that_is_no_primary_any_more_is_of_no_use() {
    let shard = sync_shard();
    let trunk = trunk(&shard, true);
    let seat = Seat::take(&trunk);
    ask(&seat, "SET a 1", true);
    trunk.flush(&shard, Instant::now());
    come(&trunk, &shard, "+OK\r\n").unwrap();
    assert!(come(&trunk, &shard, "*5\r\n$5\r\nslave\r\n+a\r\n:1\r\n+b\r\n:1\r\n").is_err());
}

#[test]
fn what_is_lost_is_told_by_what_the_engine_can_have_seen() {
    let shard = sync_shard();
    let trunk = trunk(&shard, true);
    let (one, two) = (Seat::take(&trunk), Seat::take(&trunk));
    ask(&one, "SET a 1", true);
    ask(&two, "SET b 1", true);
    trunk.flush(&shard, Instant::now());
    sent(&trunk);
    ask(&one, "SET a 2", true);
    come(&trunk, &shard, "+OK\r\n").unwrap();
    trunk.end();
    assert_eq!(received(&one), ["+OK"], "what had come before the end still counts");
    assert_eq!(one.forfeit(), [Sent::NotWhole], "it waited for its turn");
    assert_eq!(two.forfeit(), [Sent::Whole]);
    assert_eq!(trunk.phase(), Phase::Over);
    assert_eq!(trunk.key.lane.epoch, Epoch(1));
}

#[test]
fn a_strict_read_is_proven_by_what_the_replicas_hear_after_it() {
    let shard = shard();
    let mut asked = route(1, 1, serving("n1", &[TAG], None));
    asked.durability = Durability::Sync;
    asked.reads.strict = true;
    shard.learn(asked);
    let trunk = trunk(&shard, true);
    let seat = Seat::take(&trunk);
    let read = ask(&seat, "GET a", true);
    trunk.flush(&shard, Instant::now());
    assert_eq!(sent(&trunk), "GET a SPUBLISH __tanist:bell__ ROLE WAIT 1 100 ROLE");
    come(&trunk, &shard, &format!("+v\r\n:0\r\n{}:1\r\n{}", role(100, 60), role(100, 60))).unwrap();
    assert_eq!((read.gated, seat.verdict(&shard, read.batch)), (true, Verdict::Open));
    come(&trunk, &shard, &format!(":1\r\n{}", role(100, 100))).unwrap();
    assert_eq!(seat.verdict(&shard, read.batch), Verdict::Proven);
    assert_eq!(received(&seat), ["+v"]);
}

#[test]
fn replies_that_nobody_takes_are_not_read_and_end_whoever_does_not_take_them() {
    let shard = sync_shard();
    let trunk = trunk(&shard, false);
    let (greedy, modest) = (Seat::take(&trunk), Seat::take(&trunk));
    let large = format!("${}\r\n{}\r\n", FULL / 2, "x".repeat(FULL / 2));
    for _ in 0..2 {
        ask(&greedy, "GET large", false);
    }
    ask(&modest, "GET a", false);
    let start = Instant::now();
    assert!(trunk.has_room(start));
    come(&trunk, &shard, &format!("{large}{large}+a\r\n")).unwrap();
    assert!(!trunk.has_room(start));
    assert_eq!(trunk.deadline(), Some(start + PATIENCE));
    assert!(!trunk.has_room(start + PATIENCE / 2) && !greedy.is_choked());
    assert!(!trunk.has_room(start + PATIENCE));
    assert!(greedy.is_choked() && !modest.is_choked());
    drop(greedy);
    assert!(trunk.has_room(start + PATIENCE));
    assert_eq!(received(&modest), ["+a"]);
    assert_eq!(trunk.deadline(), None);
}

#[test]
fn replies_that_come_together_are_one_piece_unless_one_needs_care() {
    let shard = sync_shard();
    let trunk = trunk(&shard, false);
    let (one, two) = (Seat::take(&trunk), Seat::take(&trunk));
    for (seat, count) in [(&one, 3), (&two, 1), (&one, 4)] {
        ask_often(seat, count);
    }
    sent(&trunk);
    come(
        &trunk,
        &shard,
        "+a\r\n$2\r\nbc\r\n*1\r\n:1\r\n+d\r\n+e\r\n-ERR f\r\n>1\r\n+x\r\n+g\r\n+h",
    )
    .unwrap();
    let kept = trunk.core.borrow().kept;
    let Some(Come::Run(run)) = one.receive_any() else { panic!("a run") };
    assert_eq!((run.raw.len(), run.sizes), (20, vec![4, 8, 8]));
    assert_eq!(trunk.core.borrow().kept, kept - 20);
    assert_eq!((received(&two), received(&one)), (vec!["+d".to_owned()], words("+e -ERR_f +g")));
    come(&trunk, &shard, "\r\n").unwrap();
    assert_eq!((received(&one), trunk.core.borrow().kept), (words("+h"), 0));
}

fn ask_often(seat: &Seat, times: usize) {
    for _ in 0..times {
        ask(seat, "GET a", false);
    }
}

fn words(text: &str) -> Vec<String> {
    text.split(' ').map(|word| word.replace('_', " ")).collect()
}

#[test]
fn a_run_comes_apart_for_whoever_takes_replies_one_by_one() {
    let shard = sync_shard();
    let trunk = trunk(&shard, false);
    let seat = Seat::take(&trunk);
    ask_often(&seat, 4);
    sent(&trunk);
    come(&trunk, &shard, "+a\r\n+b\r\n+c\r\n").unwrap();
    assert!(matches!(seat.receive(), Some(Piece::Whole(reply)) if reply.raw() == "+a\r\n"));
    assert_eq!(trunk.core.borrow().kept, 8);
    assert_eq!(seat.forfeit(), [tanist_core::gate::Sent::Whole; 3], "two answered, one sent");
    assert_eq!(trunk.core.borrow().kept, 0);
}

#[test]
fn the_rest_of_a_large_reply_is_no_part_of_a_run() {
    let shard = sync_shard();
    let trunk = trunk(&shard, false);
    let seat = Seat::take(&trunk);
    ask_often(&seat, 3);
    sent(&trunk);
    let size = LARGE + 10;
    come(&trunk, &shard, &format!("${size}\r\n{}", "x".repeat(LARGE))).unwrap();
    come(&trunk, &shard, "xxxxxxxxxx\r\n+b\r\n+c\r\n").unwrap();
    let got = received(&seat);
    assert_eq!((got.len(), &got[1..]), (4, &words("xxxxxxxxxx +b +c")[..]));
}
