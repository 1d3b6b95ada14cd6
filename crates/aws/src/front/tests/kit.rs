//! A front door of a test's own, a signer that shares no code with the verifier, and raw HTTP.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use hmac::{Hmac, KeyInit, Mac};
use jiff::{SignedDuration, Timestamp};
use sha2::{Digest, Sha256};
use tanist_link::{Client, Secret};
use tanist_store::{Options, SqliteStore};
use tanist_telemetry::Series;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::book::Declared;
use crate::front::body::Budget;
use crate::front::limits::Limits;
use crate::front::services::Services;
use crate::front::{Front, FrontConfig};
use crate::identity::{AccessKey, Identity};
use crate::service::Settings;

pub(super) const FORM: &str = "application/x-www-form-urlencoded; charset=utf-8";
pub(super) const WHO_AM_I: &str = "Action=GetCallerIdentity&Version=2011-06-15";

/// A front door that is open for as long as it lives.
pub(super) struct House {
    pub(super) address: SocketAddr,
    pub(super) identity: Identity,
    pub(super) bodies: Budget,
    serving: JoinHandle<()>,
    _dir: tempfile::TempDir,
}

impl Drop for House {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// What a test may want otherwise.
pub(super) struct Plan {
    pub(super) limits: Limits,
    pub(super) services: Services,
    pub(super) unsigned: bool,
}

impl Default for Plan {
    fn default() -> Self {
        Self { limits: Limits::DEFAULT, services: Services::ALL, unsigned: false }
    }
}

pub(super) fn config(store: &SqliteStore, unsigned: bool) -> FrontConfig {
    FrontConfig {
        store: store.clone().into(),
        controller: Client::new("/nonexistent/controller.sock"),
        secret: Secret::from_bytes([7; 32]),
        installation: store.status().installation,
        regions: vec!["us-east-1".to_owned(), "eu-central-1".to_owned()],
        zones: vec!["us-east-1a".to_owned(), "eu-central-1a".to_owned()],
        declared: Declared::default(),
        settings: Settings { loopback_inside: true, port: 6379, engines: Vec::new() },
        metrics: Arc::new(Series::default()),
        unsigned,
    }
}

pub(super) async fn open(plan: Plan) -> House {
    let dir = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(dir.path().join("store"), Options::default()).await.unwrap();
    let config = config(&store, plan.unsigned);
    let front = Front::with(config, plan.limits, plan.services).await.unwrap();
    let (identity, bodies) = (front.identity(), front.desk.bodies.clone());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tokio::spawn(async move { front.serve(listener).await.unwrap() });
    House { address, identity, bodies, serving, _dir: dir }
}

/// A request that can be changed before and after it is signed.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    pub(super) method: &'static str,
    pub(super) target: String,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
    region: String,
    service: String,
    at: Timestamp,
}

impl Draft {
    pub(super) fn new(service: &str, body: impl Into<Vec<u8>>) -> Self {
        let kind = ("content-type".to_owned(), FORM.to_owned());
        Self {
            method: "POST",
            target: "/".to_owned(),
            headers: vec![("host".to_owned(), "localhost:4566".to_owned()), kind],
            body: body.into(),
            region: "us-east-1".to_owned(),
            service: service.to_owned(),
            at: Timestamp::now(),
        }
    }

    /// `GetCallerIdentity`.
    pub(super) fn who_am_i() -> Self {
        Self::new("sts", WHO_AM_I)
    }

    /// A request of the JSON protocol.
    pub(super) fn json(operation: &str, body: &str) -> Self {
        let target = format!("GraniteServiceVersion20100801.{operation}");
        Self::new("monitoring", body)
            .header("content-type", "application/x-amz-json-1.0")
            .header("x-amz-target", &target)
            .header("x-amzn-query-mode", "true")
    }

    /// One request of each dialect.
    pub(super) fn of_each_dialect() -> [Self; 3] {
        [
            Self::new("elasticache", "Action=DescribeReplicationGroups&Version=2015-02-02"),
            Self::new("ec2", "Action=DescribeVpcs&Version=2016-11-15"),
            Self::json("DescribeAlarms", "{}"),
        ]
    }

    pub(super) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.retain(|(known, _)| known != name);
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(super) fn method(mut self, method: &'static str, target: &str) -> Self {
        self.method = method;
        self.target = target.to_owned();
        self
    }

    pub(super) fn region(mut self, region: &str) -> Self {
        self.region = region.to_owned();
        self
    }

    pub(super) fn shifted(mut self, by: SignedDuration) -> Self {
        self.at += by;
        self
    }

    /// With the query of `target` as it stands: it has to be sorted and escaped already.
    pub(super) fn sign(self, key: &AccessKey) -> Self {
        let stamp = self.at.strftime("%Y%m%dT%H%M%SZ").to_string();
        let mut draft = self.header("x-amz-date", &stamp);
        let mut signed: Vec<(String, String)> = draft
            .headers
            .iter()
            .map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()))
            .filter(|(name, _)| name != "content-length")
            .collect();
        signed.sort();
        let names: Vec<&str> = signed.iter().map(|(name, _)| name.as_str()).collect();
        let names = names.join(";");
        let lines: String =
            signed.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
        let (path, query) = draft.target.split_once('?').unwrap_or((&draft.target, ""));
        let hash = hex::encode(Sha256::digest(&draft.body));
        let canonical = format!("{}\n{path}\n{query}\n{lines}\n{names}\n{hash}", draft.method);
        let (scope, signature) = draft.signature(key, &stamp, &canonical);
        let value = format!(
            "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={names}, Signature={signature}",
            key.access_key_id
        );
        draft.headers.push(("authorization".to_owned(), value));
        draft
    }

    /// Presigned: everything stands in the query.
    pub(super) fn presign(mut self, key: &AccessKey, form: &str) -> Self {
        let stamp = self.at.strftime("%Y%m%dT%H%M%SZ").to_string();
        let scope = format!("{}/{}/{}/aws4_request", &stamp[..8], self.region, self.service);
        let credential = format!("{}/{scope}", key.access_key_id).replace('/', "%2F");
        let mut pairs: Vec<String> = form.split('&').map(str::to_owned).collect();
        pairs.extend([
            "X-Amz-Algorithm=AWS4-HMAC-SHA256".to_owned(),
            format!("X-Amz-Credential={credential}"),
            format!("X-Amz-Date={stamp}"),
            "X-Amz-Expires=60".to_owned(),
            "X-Amz-SignedHeaders=host".to_owned(),
        ]);
        pairs.sort();
        let query = pairs.join("&");
        self.method = "GET";
        self.body.clear();
        self.headers.retain(|(name, _)| name == "host");
        let hash = hex::encode(Sha256::digest(b""));
        let host = &self.headers[0].1;
        let canonical = format!("GET\n/\n{query}\nhost:{host}\n\nhost\n{hash}");
        let (_, signature) = self.signature(key, &stamp, &canonical);
        self.target = format!("/?{query}&X-Amz-Signature={signature}");
        self
    }

    fn signature(&self, key: &AccessKey, stamp: &str, canonical: &str) -> (String, String) {
        let hmac = |key: &[u8], text: &str| {
            let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
            mac.update(text.as_bytes());
            mac.finalize().into_bytes()
        };
        let date = &stamp[..8];
        let scope = format!("{date}/{}/{}/aws4_request", self.region, self.service);
        let text = format!(
            "AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{}",
            hex::encode(Sha256::digest(canonical))
        );
        let mut signing = hmac(format!("AWS4{}", key.secret).as_bytes(), date);
        for part in [&self.region, &self.service, "aws4_request"] {
            signing = hmac(&signing, part);
        }
        (scope, hex::encode(hmac(&signing, &text)))
    }

    /// As it goes over the wire.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let length = self.body.len();
        let head = format!("{}content-length: {length}\r\n\r\n", self.head());
        [head.as_bytes(), &self.body].concat()
    }

    /// First line and header fields.
    pub(super) fn head(&self) -> String {
        let fields = self.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n"));
        format!("{} {} HTTP/1.1\r\n{}", self.method, self.target, fields.collect::<String>())
    }
}

/// An answer.
#[derive(Debug)]
pub(super) struct Got {
    pub(super) status: u16,
    pub(super) headers: BTreeMap<String, String>,
    pub(super) body: String,
}

impl Got {
    /// The text of an element, or a JSON string.
    pub(super) fn part(&self, name: &str) -> &str {
        let between = |start: &str, end: char| {
            let rest = self.body.split_once(start).map(|(_, rest)| rest);
            rest.and_then(|rest| rest.split(end).next())
        };
        between(&format!("<{name}>"), '<')
            .or_else(|| between(&format!("\"{name}\":\""), '"'))
            .unwrap_or_else(|| panic!("{name} in {self:?}"))
    }

    #[track_caller]
    pub(super) fn is(&self, status: u16, code: &str) -> &Self {
        let name = if self.body.starts_with('{') { "__type" } else { "Code" };
        assert_eq!((self.status, self.part(name)), (status, code), "{self:?}");
        self
    }

    #[track_caller]
    pub(super) fn says(&self, words: &str) {
        assert!(self.body.contains(words), "{words} in {self:?}");
    }
}

/// One connection.
pub(super) struct Wire {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Wire {
    pub(super) async fn open(house: &House) -> Self {
        Self { stream: TcpStream::connect(house.address).await.unwrap(), read: Vec::new() }
    }

    pub(super) async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// Sends until the other side does not take any more.
    pub(super) async fn send_what_goes(&mut self, bytes: &[u8]) {
        for piece in bytes.chunks(64 * 1024) {
            if self.stream.write_all(piece).await.is_err() {
                return;
            }
        }
    }

    pub(super) async fn end_sending(&mut self) {
        self.stream.shutdown().await.unwrap();
    }

    /// The next answer; `None` if the connection has ended.
    pub(super) async fn next(&mut self) -> Option<Got> {
        let end = |read: &[u8]| read.windows(4).position(|four| four == b"\r\n\r\n");
        let head = loop {
            match end(&self.read) {
                Some(at) => break at,
                None if self.more().await => {}
                None => {
                    assert!(self.read.is_empty(), "{:?}", String::from_utf8_lossy(&self.read));
                    return None;
                }
            }
        };
        let text = String::from_utf8(self.read[..head].to_vec()).unwrap();
        let mut lines = text.split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers: BTreeMap<String, String> = lines
            .map(|line| line.split_once(": ").unwrap())
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let length: usize = headers["content-length"].parse().unwrap();
        while self.read.len() < head + 4 + length {
            assert!(self.more().await, "the body ends early: {text}");
        }
        let body = String::from_utf8(self.read[head + 4..head + 4 + length].to_vec()).unwrap();
        self.read.drain(..head + 4 + length);
        Some(Got { status, headers, body })
    }

    /// Both directions, for a test that uses them at one time.
    pub(super) fn split(&mut self) -> (ReadHalf<'_>, WriteHalf<'_>) {
        self.stream.split()
    }

    /// Everything up to the end of the connection.
    pub(super) async fn rest(mut self) -> String {
        while self.more().await {}
        String::from_utf8(self.read).unwrap()
    }

    async fn more(&mut self) -> bool {
        let mut piece = vec![0; 16 * 1024];
        let count = self.stream.read(&mut piece).await.unwrap_or(0);
        self.read.extend_from_slice(&piece[..count]);
        count > 0
    }
}

/// One request on a connection of its own.
pub(super) async fn ask(house: &House, draft: &Draft) -> Got {
    ask_raw(house, &draft.bytes()).await.expect("an answer")
}

/// Bytes on a connection of their own, and the first answer to them.
pub(super) async fn ask_raw(house: &House, bytes: &[u8]) -> Option<Got> {
    let mut wire = Wire::open(house).await;
    wire.send_what_goes(bytes).await;
    wire.next().await
}
