//! Connections: accepted, counted, and ended when their time is over.
//!
//! HTTP/1.1 only: every AWS client speaks it, and the many streams of HTTP/2 would be a second way to
//! hold memory.
//!
//! Invariant: one connection is one task; at most `Limits::connections` of them exist, none outlives
//! the loop, and each ends by itself in bounded time unless an operation is at work for it.
//!
//! Not here: what is answered (`desk`).

use std::error::Error;
use std::fmt::Write;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use jiff::Timestamp;
use tanist_tls::{Admitted, Door, Entrance, NotAdmitted};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::{timeout, timeout_at};
use tracing::{debug, error, info};

use super::desk::{Desk, refuse_bytes};
use super::limits::Limits;
use super::socket::{Doing, Phase, Phases, Socket};
use crate::error::Fault;
use crate::wire::Reply;

/// How long to wait before accepting again when the process is out of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How long a connection that we end is listened to, so that its client can read our last words.
const LINGER: Duration = Duration::from_secs(1);

/// What a client hears that does not encrypt.
const PLAIN: &str = "This address takes encrypted connections only: use https://.";

/// hyper's own limit of its buffer, above that of the head.
const BUFFER_BYTES: usize = 128 * 1024;

/// Serves until it is dropped; its connections end with it.
pub(super) async fn serve(desk: Arc<Desk>, door: Door) {
    let Door { listener, entrance } = door;
    let mut connections = JoinSet::new();
    let crowded = Arc::new(Notify::new());
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(ended) = connections.join_next() => {
                note(ended);
                continue;
            }
        };
        match accepted {
            Ok((stream, source)) => {
                while connections.len() >= desk.limits.connections {
                    // The first that became idle makes room: it has waited here for the longest time.
                    crowded.notify_one();
                    connections.join_next().await.into_iter().for_each(note);
                }
                let (desk, crowded) = (Arc::clone(&desk), Arc::clone(&crowded));
                let entrance = entrance.clone();
                connections.spawn(Box::pin(async move {
                    if let Some(stream) = admitted(&desk, &entrance, stream, source.ip()).await {
                        connection(desk, stream, source.ip(), crowded).await;
                    }
                }));
            }
            Err(err) => {
                debug!(err = &err as &dyn Error, "accepting");
                // waits: the kernel offers no event for a descriptor becoming free.
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn note(ended: Result<(), tokio::task::JoinError>) {
    if let Err(err) = ended {
        error!(err = &err as &dyn Error, "a connection's task failed");
    }
}

/// Why a connection ends.
enum End {
    /// hyper has ended it.
    Http(hyper::Result<()>),
    /// Its client had nothing to say, or did not take what we said.
    Quiet,
    /// Its client began a request and did not go on.
    Slow,
}

/// The connection, if it may come in; one that is not encrypted where it has to be is told so.
async fn admitted(
    desk: &Desk,
    entrance: &Entrance,
    stream: TcpStream,
    source: IpAddr,
) -> Option<Admitted> {
    // Answers are written whole; waiting for more of them would only add to each.
    if let Err(err) = stream.set_nodelay(true) {
        debug!(err = &err as &dyn Error, "a connection without TCP_NODELAY");
    }
    match entrance.admit(stream).await {
        Ok(stream) => Some(stream),
        Err(NotAdmitted::Plain(stream)) => {
            let fault = Fault::NotHttp { status: 400, what: PLAIN };
            refuse(desk, Admitted::Plain(stream), source, &fault).await;
            None
        }
        Err(err) => {
            debug!(%source, err = &err as &dyn Error, "a client was not let in");
            None
        }
    }
}

async fn connection(desk: Arc<Desk>, stream: Admitted, source: IpAddr, crowded: Arc<Notify>) {
    let phases = Phases::new();
    let mut watching = phases.subscribe();
    let io = TokioIo::new(Socket::new(stream, phases.clone()));
    let service = {
        let desk = Arc::clone(&desk);
        service_fn(move |request| {
            Box::pin(Arc::clone(&desk).respond(request, source, phases.clone()))
        })
    };
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        // Ours begins with the first byte, and tells the client.
        .header_read_timeout(None)
        .half_close(true)
        .max_headers(desk.limits.headers)
        .max_header_size(desk.limits.head_bytes)
        .max_buf_size(BUFFER_BYTES);
    let mut http = http.serve_connection(io, service);
    let end = loop {
        let phase = *watching.borrow_and_update();
        let is_idle = phase.doing == Doing::Idle;
        tokio::select! {
            biased;
            ended = &mut http => break End::Http(ended),
            () = crowded.notified(), if is_idle => break End::Quiet,
            is_over = is_over(&mut watching, phase, &desk.limits) => {
                if is_over {
                    break if phase.doing == Doing::Head { End::Slow } else { End::Quiet };
                }
            }
        }
    };
    let (stream, kept_back) = http.into_parts().io.into_inner().into_parts();
    close(&desk, stream, source, end, kept_back).await;
}

/// Waits until the phase changes (`false`) or its time is over (`true`).
async fn is_over(watching: &mut watch::Receiver<Phase>, phase: Phase, limits: &Limits) -> bool {
    let life = match phase.doing {
        Doing::Idle => limits.idle,
        Doing::Head => limits.request,
        Doing::Answering | Doing::Written => limits.answer,
        // The desk has its own deadlines.
        Doing::Serving => {
            // It fails only without a sender, and hyper's service holds one.
            let _ = watching.changed().await;
            return false;
        }
    };
    timeout_at(phase.since + life, watching.changed()).await.is_err()
}

async fn close(desk: &Desk, stream: Admitted, source: IpAddr, end: End, kept_back: Option<u16>) {
    let fault = match (end, kept_back) {
        (End::Quiet, _) => return,
        (End::Slow, _) => Fault::TimedOut { seconds: desk.limits.request.as_secs() },
        (End::Http(_), Some(status)) => Fault::NotHttp { status, what: what_is_wrong(status) },
        (End::Http(ended), None) => {
            if let Err(err) = ended {
                debug!(%source, err = &err as &dyn Error, "a connection broke");
            }
            linger(stream).await;
            return;
        }
    };
    refuse(desk, stream, source, &fault).await;
}

/// Says what is wrong, and ends the connection.
async fn refuse(desk: &Desk, mut stream: Admitted, source: IpAddr, fault: &Fault) {
    info!(%source, fault = fault as &dyn Error, "a connection was ended");
    let bytes = written(&refuse_bytes(fault, desk.unsigned), Timestamp::now());
    if let Ok(Ok(())) = timeout(LINGER, stream.write_all(&bytes)).await {
        linger(stream).await;
    }
}

const fn what_is_wrong(status: u16) -> &'static str {
    match status {
        414 => "The request's URI is too long.",
        431 => "The request's header fields are too large or too many.",
        _ => "The bytes are not an HTTP/1.1 request; is the address https:// and not http://?",
    }
}

/// An answer as bytes, for a connection that hyper has let go of.
fn written(reply: &Reply, now: Timestamp) -> Vec<u8> {
    let status = http::StatusCode::from_u16(reply.status).unwrap_or(http::StatusCode::BAD_REQUEST);
    let date = now.strftime("%a, %d %b %Y %H:%M:%S GMT");
    let length = reply.body.len();
    // A status is shown with its reason. Writing to a String cannot fail.
    let mut head = format!("HTTP/1.1 {status}\r\ndate: {date}\r\nconnection: close\r\n");
    for (name, value) in &reply.headers {
        let _always_ok = write!(head, "{name}: {value}\r\n");
    }
    let _always_ok = write!(head, "content-length: {length}\r\n\r\n");
    [head.as_bytes(), &reply.body].concat()
}

/// Ends a connection without a reset: a client that is still sending would lose our answer to it.
async fn linger(mut stream: Admitted) {
    // It fails if the client is gone, and then there is nobody to wait for.
    if stream.shutdown().await.is_err() {
        return;
    }
    let mut thrown_away = vec![0; 4096];
    let drain = async { while matches!(stream.read(&mut thrown_away).await, Ok(1..)) {} };
    // Over or not, the socket is dropped now.
    let _over = timeout(LINGER, drain).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_of_our_own_is_whole_http() {
        let reply = Reply {
            status: 408,
            headers: vec![("content-type", "text/xml".to_owned())],
            body: b"<a/>".to_vec(),
        };
        let now = "2026-01-31T12:00:00Z".parse().unwrap();
        assert_eq!(
            String::from_utf8(written(&reply, now)).unwrap(),
            "HTTP/1.1 408 Request Timeout\r\ndate: Sat, 31 Jan 2026 12:00:00 GMT\r\n\
             connection: close\r\ncontent-type: text/xml\r\ncontent-length: 4\r\n\r\n<a/>"
        );
    }
}
