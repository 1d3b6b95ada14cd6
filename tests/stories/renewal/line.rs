//! A client's connection as bytes: what is sent can be half a request, and what comes can be pushed.
//!
//! Invariant: a connection that ends is a failed story, whoever waits for what.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::BytesMut;
use tanist_resp::{Command, ReplyFramer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long anything may take.
const LIMIT: Duration = Duration::from_secs(20);

pub(super) struct Line {
    socket: TcpStream,
    framer: ReplyFramer,
    input: BytesMut,
}

impl Line {
    pub(super) async fn open(address: SocketAddr) -> Self {
        let socket = TcpStream::connect(address).await;
        let socket = socket.unwrap_or_else(|err| panic!("{address}: {err}"));
        socket.set_nodelay(true).unwrap_or_else(|err| panic!("{address}: {err}"));
        Self { socket, framer: ReplyFramer::default(), input: BytesMut::new() }
    }

    pub(super) async fn send_raw(&mut self, raw: &[u8]) {
        self.socket.write_all(raw).await.unwrap_or_else(|err| panic!("sending: {err}"));
    }

    /// Sends commands written as lines of words, in one write.
    pub(super) async fn send(&mut self, lines: &[String]) {
        let mut out = BytesMut::new();
        for line in lines {
            let mut words = line.split(' ');
            let name = words.next().unwrap_or_default();
            Command::new(name).args(words).encode_into(&mut out);
        }
        self.send_raw(&out).await;
    }

    /// The next frame as text, its lines joined by blanks; `None` at the end of the connection.
    pub(super) async fn next(&mut self) -> Option<String> {
        loop {
            let framed = self.framer.next(&mut self.input);
            if let Some(reply) = framed.unwrap_or_else(|err| panic!("a reply: {err}")) {
                let text = String::from_utf8_lossy(reply.raw()).into_owned();
                return Some(text.trim_end().replace("\r\n", " "));
            }
            match self.socket.read_buf(&mut self.input).await {
                Ok(0) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }

    /// As [`Line::next`], of a connection that goes on.
    pub(super) async fn text(&mut self) -> String {
        let next = timeout(LIMIT, self.next()).await;
        let next = next.unwrap_or_else(|_| panic!("nothing comes"));
        next.unwrap_or_else(|| panic!("the connection has ended"))
    }

    pub(super) async fn call(&mut self, line: &str) -> String {
        self.send(&[line.to_owned()]).await;
        self.text().await
    }

    /// Whether nothing comes for a moment.
    pub(super) async fn is_silent(&mut self) -> bool {
        timeout(Duration::from_millis(100), self.next()).await.is_err()
    }
}
