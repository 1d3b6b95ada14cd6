//! A trunk's socket.
//!
//! One task per trunk: it reads what has come, hands replies to the clients' tasks, and writes
//! everything that these have handed over in one call. It runs after them, since they wake it.
//!
//! Invariant: a trunk whose lane is not valid any more is ended before anything else of it happens.
//!
//! Not here: what the bytes mean (`super`).

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep_until, timeout};

use super::{Phase, Trunk};
use crate::client::{CONNECT_LIMIT, poll_read, poll_write};
use crate::shard::Shard;

/// How long a trunk without clients is kept.
const IDLE: Duration = Duration::from_secs(10);
/// How long the engine may take to say that it knows us.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(2);
/// Reads before others get their turn.
const MAX_PASSES: usize = 16;

/// Connects a trunk and works for it until it is over.
pub(crate) async fn run(trunk: Rc<Trunk>, shard: Rc<Shard>) {
    let place = shard.enroll();
    let socket = connect(&trunk, &shard).await;
    let mut opened = false;
    let worked = match socket {
        Some(socket) => {
            trunk.begin(&shard);
            let mut wire = Wire { trunk: &trunk, shard: &shard, socket, place, timer: None };
            let until = Instant::now() + HANDSHAKE_LIMIT;
            poll_fn(|cx| wire.poll(cx, until, &mut opened)).await
        }
        None => false,
    };
    trunk.end();
    shard.leave(place);
    shard.trunks.forget(&trunk);
    // A user who is gone takes its connections along, and the engine is well; whether it is, the next
    // attempt shows.
    if !worked && (trunk.key.user.is_none() || !opened) {
        shard.mark_down(&trunk.key.lane);
    }
}

async fn connect(trunk: &Trunk, shard: &Shard) -> Option<TcpStream> {
    let _permit = shard.connecting.acquire().await.ok()?;
    let connecting = TcpStream::connect(trunk.key.lane.address);
    let socket = timeout(CONNECT_LIMIT, connecting).await.ok()?.ok()?;
    socket.set_nodelay(true).ok()?;
    shard.is_valid(&trunk.key.lane).then_some(socket)
}

struct Wire<'a> {
    trunk: &'a Rc<Trunk>,
    shard: &'a Shard,
    socket: TcpStream,
    place: usize,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Wire<'_> {
    /// Ready when the trunk is over; whether the engine is not to blame.
    fn poll(&mut self, cx: &mut Context<'_>, until: Instant, opened: &mut bool) -> Poll<bool> {
        self.shard.keep_waker(self.place, cx.waker());
        self.trunk.keep_task(cx.waker());
        let mut passes = 0;
        let now = loop {
            if self.trunk.phase() == Phase::Over || !self.shard.is_valid(&self.trunk.key.lane) {
                return Poll::Ready(true);
            }
            let now = Instant::now();
            *opened |= self.trunk.phase() == Phase::Ready;
            let Ok(read) = self.read(cx, now) else { return Poll::Ready(false) };
            self.trunk.flush(self.shard, now);
            if self.write(cx).is_err() {
                return Poll::Ready(false);
            }
            if !read {
                break now;
            }
            passes += 1;
            if passes == MAX_PASSES {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
        };
        self.wait(cx, now, until, *opened)
    }

    /// Reads once; whether there was something. `Err` at the end.
    fn read(&mut self, cx: &mut Context<'_>, now: Instant) -> Result<bool, ()> {
        if !self.trunk.has_room(now) {
            return Ok(false);
        }
        {
            let core = &mut *self.trunk.core.borrow_mut();
            let wanted = core.framer.wanted(core.input.len());
            match poll_read(&self.socket, cx, &mut core.input, wanted) {
                Poll::Pending => return Ok(false),
                Poll::Ready(Ok(more)) if more > 0 => {}
                Poll::Ready(_) => return Err(()),
            }
        }
        self.trunk.read(self.shard, now).map_err(|_| ())?;
        Ok(true)
    }

    fn write(&mut self, cx: &mut Context<'_>) -> Result<(), ()> {
        let core = &mut *self.trunk.core.borrow_mut();
        poll_write(&self.socket, cx, &mut core.out).map_err(|_| ())?;
        core.uncrowd();
        Ok(())
    }

    /// Waits for the next deadline, if there is one.
    fn wait(
        &mut self,
        cx: &mut Context<'_>,
        now: Instant,
        until: Instant,
        opened: bool,
    ) -> Poll<bool> {
        let idle = (self.trunk.seats() == 0).then(|| now + IDLE);
        let handshake = (!opened).then_some(until);
        let due = [idle, handshake, self.trunk.deadline()].into_iter().flatten().min();
        let Some(due) = due else {
            self.timer = None;
            return Poll::Pending;
        };
        // waits: the deadline is the event.
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(due)));
        if timer.deadline() > due {
            timer.as_mut().reset(due);
        }
        if timer.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        self.timer = None;
        if handshake.is_some_and(|at| at <= now) {
            return Poll::Ready(false);
        }
        if self.trunk.seats() == 0 {
            return Poll::Ready(true);
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}
