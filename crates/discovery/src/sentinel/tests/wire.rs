//! A controller's local API, a Sentinel endpoint beside it, and a client's end of a connection.
//!
//! Invariant: what a client reads is compared with nothing but what was sent.
//!
//! Not here: statuses (`super::super::rig`).

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use bytes::BytesMut;
use tanist_core::model::{RequestId, ShardId};
use tanist_link::api::{ApiError, EventRecord, GroupStatus, MoveAccepted, Status};
use tanist_link::{Client, Listener};
use tanist_resp::{Command, ReplyFramer, ReplyLimits, Value};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::broadcast;
use tokio::time::timeout;

use super::super::rig::status;
use super::super::settings::Settings;
use super::super::{Limits, Sentinel, SentinelConfig};

const PATIENCE: Duration = Duration::from_secs(20);

/// A controller.
#[derive(Clone)]
pub(super) struct Controller {
    dir: Arc<tempfile::TempDir>,
    status: Arc<Mutex<Status>>,
    events: broadcast::Sender<EventRecord>,
    refusal: Arc<Mutex<Option<ApiError>>>,
    /// Groups for which a failover was asked for.
    pub(super) asked: Arc<Mutex<Vec<String>>>,
}

impl Controller {
    pub(super) async fn with(groups: &[GroupStatus]) -> Self {
        let controller = Self {
            dir: Arc::new(tempfile::tempdir().unwrap()),
            status: Arc::new(Mutex::new(status(groups))),
            events: broadcast::Sender::new(100),
            refusal: Arc::default(),
            asked: Arc::default(),
        };
        let routes = Router::new()
            .route("/v1/status", get(tell))
            .route("/v1/events/follow", get(follow))
            .route("/v1/groups/{group}/failover", post(fail_over))
            .with_state(controller.clone());
        let listener = Listener::bind(&controller.socket()).await.unwrap();
        tokio::spawn(tanist_link::serve(listener, routes));
        controller
    }

    fn socket(&self) -> std::path::PathBuf {
        self.dir.path().join("tanist.sock")
    }

    /// What it says from now on.
    pub(super) fn says(&self, groups: &[GroupStatus]) {
        *self.status.lock().unwrap() = status(groups);
    }

    /// Something has happened.
    pub(super) fn happens(&self, event: EventRecord) {
        self.events.send(event).unwrap();
    }

    /// Failovers are refused from now on.
    pub(super) fn refuses(&self, code: &str) {
        *self.refusal.lock().unwrap() = Some(ApiError::new(code, "why", "what now"));
    }

    /// A Sentinel endpoint beside it.
    pub(super) async fn served(&self, settings: Settings, limits: Limits) -> SocketAddr {
        let config = SentinelConfig {
            controller: Client::new(self.socket()),
            installation: "0123456789abcdef".to_owned(),
            own: None,
            others: vec!["127.80.0.253:26379".parse().unwrap()],
            settings,
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(Sentinel::with(config, limits).serve(vec![listener]));
        address
    }

    /// As [`Self::served`], with nothing set, and a client.
    pub(super) async fn asked_by_a_client(&self) -> Wire {
        Wire::connect(self.served(Settings::default(), Limits::DEFAULT).await).await
    }
}

async fn tell(State(controller): State<Controller>) -> Json<Status> {
    let status = controller.status.lock().unwrap().clone();
    Json(status)
}

async fn follow(State(controller): State<Controller>, request: Request) -> Response {
    let mut news = controller.events.subscribe();
    let (duplex, response) = tanist_link::accept::<EventRecord, ()>("events", request.into_body());
    tokio::spawn(async move {
        while let Ok(event) = news.recv().await {
            if duplex.sender.send(&event).is_err() {
                break;
            }
        }
    });
    response
}

async fn fail_over(State(controller): State<Controller>, Path(group): Path<String>) -> Response {
    if let Some(error) = controller.refusal.lock().unwrap().clone() {
        return (StatusCode::CONFLICT, Json(error)).into_response();
    }
    controller.asked.lock().unwrap().push(group);
    let accepted = MoveAccepted { shard: ShardId::new("0001"), request: RequestId(1) };
    Json(accepted).into_response()
}

/// A client's end of a connection.
pub(super) struct Wire {
    pub(super) stream: TcpStream,
    input: BytesMut,
    framer: ReplyFramer,
}

impl Wire {
    pub(super) async fn connect(address: SocketAddr) -> Self {
        Self::of(TcpStream::connect(address).await.unwrap())
    }

    /// One whose system keeps little of what it does not read.
    pub(super) async fn connect_narrowly(address: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(2048).unwrap();
        Self::of(socket.connect(address).await.unwrap())
    }

    fn of(stream: TcpStream) -> Self {
        let framer = ReplyFramer::new(&ReplyLimits::default());
        Self { stream, input: BytesMut::new(), framer }
    }

    pub(super) async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    pub(super) async fn say(&mut self, words: &[&str]) {
        let command = Command::new(words[0]).args(&words[1..]);
        self.send(&command.encode()).await;
    }

    /// The next answer or message.
    pub(super) async fn next(&mut self) -> Value {
        self.next_or_end().await.unwrap_or_else(|| panic!("the connection was ended"))
    }

    /// The same; `None` if the connection was ended.
    pub(super) async fn next_or_end(&mut self) -> Option<Value> {
        loop {
            if let Some(reply) = self.framer.next(&mut self.input).unwrap() {
                return Some(reply.value().unwrap());
            }
            let read = timeout(PATIENCE, self.stream.read_buf(&mut self.input)).await;
            if !matches!(read.expect("no answer"), Ok(1..)) {
                return None;
            }
        }
    }

    pub(super) async fn ask(&mut self, words: &[&str]) -> Value {
        self.say(words).await;
        self.next().await
    }

    /// The text of an answer, an error's without its dash.
    pub(super) async fn text(&mut self, words: &[&str]) -> String {
        let answer = self.ask(words).await;
        let error = answer.as_error().map(std::borrow::Cow::into_owned);
        error.or_else(|| answer.as_str().map(str::to_owned)).unwrap_or_else(|| panic!("{answer:?}"))
    }

    /// Reads exactly these bytes.
    pub(super) async fn hears(&mut self, expected: &str) {
        while self.input.len() < expected.len() {
            let read = timeout(PATIENCE, self.stream.read_buf(&mut self.input)).await;
            let heard = String::from_utf8_lossy(&self.input).into_owned();
            assert!(matches!(read, Ok(Ok(1..))), "{heard:?} and then nothing, not {expected:?}");
        }
        let heard = self.input.split_to(expected.len());
        assert_eq!(String::from_utf8_lossy(&heard), expected);
    }

    /// Nothing more comes before the end.
    pub(super) async fn hears_the_end(&mut self) {
        let more = self.next_or_end().await;
        assert!(more.is_none(), "{more:?}");
    }
}
