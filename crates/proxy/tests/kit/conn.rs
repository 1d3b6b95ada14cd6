//! A client as simple as can be: frames in, frames out.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tanist_resp::{Command, ReplyFramer, Value};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{sleep, timeout};

use super::LIMIT;

pub struct Conn {
    socket: TcpStream,
    framer: ReplyFramer,
    input: BytesMut,
}

impl Conn {
    /// Connects; an endpoint that is about to be offered is waited for.
    pub async fn open(address: SocketAddr) -> Self {
        let connect = async {
            loop {
                match TcpStream::connect(address).await {
                    Ok(socket) => break socket,
                    // waits: nobody says when a port begins to listen.
                    Err(_) => sleep(Duration::from_millis(5)).await,
                }
            }
        };
        Self::over(timeout(LIMIT, connect).await.expect("the endpoint is offered"))
    }

    /// Connects from an address of this machine.
    pub async fn open_from(source: IpAddr, address: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((source, 0).into()).unwrap();
        Self::over(timeout(LIMIT, socket.connect(address)).await.unwrap().unwrap())
    }

    fn over(socket: TcpStream) -> Self {
        socket.set_nodelay(true).unwrap();
        Self { socket, framer: ReplyFramer::default(), input: BytesMut::new() }
    }

    pub async fn send_raw(&mut self, raw: &[u8]) {
        self.socket.write_all(raw).await.unwrap();
    }

    /// Sends commands written as lines of words, in one write.
    pub async fn send(&mut self, lines: &[&str]) {
        let mut out = BytesMut::new();
        for line in lines {
            let mut words = line.split(' ');
            Command::new(words.next().unwrap()).args(words).encode_into(&mut out);
        }
        self.send_raw(&out).await;
    }

    /// The next frame as it is; `None` at the end of the connection.
    pub async fn next(&mut self) -> Option<Bytes> {
        timeout(LIMIT, self.read()).await.expect("a reply comes")
    }

    async fn read(&mut self) -> Option<Bytes> {
        loop {
            if let Some(reply) = self.framer.next(&mut self.input).unwrap() {
                return Some(reply.into_raw());
            }
            match self.socket.read_buf(&mut self.input).await {
                Ok(0) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }

    /// The next frame as text, lines joined by blanks.
    pub async fn text(&mut self) -> String {
        let raw = self.next().await.expect("the connection is open");
        String::from_utf8_lossy(&raw).trim_end().replace("\r\n", " ")
    }

    /// Sends pieces, and reads frames at the same time until one is the last.
    pub async fn exchange(
        &mut self,
        pieces: &[&[u8]],
        mut is_last: impl FnMut(&[u8]) -> bool,
    ) -> Vec<Bytes> {
        let (mut reading, mut writing) = self.socket.split();
        let send = async {
            for piece in pieces {
                // Whoever has closed the connection has said why.
                let _ = writing.write_all(piece).await;
            }
        };
        let (framer, input) = (&mut self.framer, &mut self.input);
        let receive = async {
            let mut frames = Vec::new();
            loop {
                while let Some(reply) = framer.next(input).unwrap() {
                    frames.push(reply.into_raw());
                    if frames.last().is_some_and(|frame| is_last(frame)) {
                        return frames;
                    }
                }
                if !matches!(reading.read_buf(input).await, Ok(1..)) {
                    return frames;
                }
            }
        };
        tokio::join!(send, receive).1
    }

    /// One command and its reply as text.
    pub async fn call(&mut self, line: &str) -> String {
        self.send(&[line]).await;
        self.text().await
    }

    /// One command and its reply.
    pub async fn value(&mut self, line: &str) -> Value {
        self.send(&[line]).await;
        Value::decode(&self.next().await.expect("the connection is open")).unwrap()
    }

    /// Whether nothing comes for a while.
    pub async fn is_silent(&mut self, millis: u64) -> bool {
        timeout(Duration::from_millis(millis), self.read()).await.is_err()
    }

    /// Everything until the end of the connection.
    pub async fn rest(&mut self) -> Vec<u8> {
        let mut all = self.input.split().to_vec();
        let reading = async {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = self.socket.read(&mut buffer).await {
                all.extend_from_slice(&buffer[..count]);
            }
        };
        timeout(LIMIT, reading).await.expect("the connection ends");
        all
    }

    /// Says that nothing more will be sent.
    pub async fn finish(&mut self) {
        self.socket.shutdown().await.unwrap();
    }
}
