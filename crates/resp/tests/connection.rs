//! The connection when the other side misbehaves, over an in-memory stream.

use std::time::Duration;

use tanist_resp::{Command, Connection, ConnectionError, FrameError, Value};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

const DEADLINE: Duration = Duration::from_secs(10);
const SOON: Duration = Duration::from_millis(50);

fn pair() -> (Connection<DuplexStream>, DuplexStream) {
    let (ours, theirs) = tokio::io::duplex(1 << 16);
    (Connection::from_stream(ours), theirs)
}

async fn is_poisoned(connection: &mut Connection<DuplexStream>) -> bool {
    let outcome = connection.call(&Command::new("PING"), DEADLINE).await;
    connection.is_broken() && matches!(outcome, Err(ConnectionError::Broken))
}

#[tokio::test]
async fn a_late_reply_is_never_given_to_the_next_call() {
    let (mut connection, mut engine) = pair();
    let outcome = connection.call(&Command::new("GET").arg("secret"), SOON).await;
    assert!(matches!(outcome, Err(ConnectionError::Deadline(SOON))), "{outcome:?}");
    engine.write_all(b"$6\r\nsecret\r\n").await.unwrap();
    assert!(is_poisoned(&mut connection).await);
}

#[tokio::test]
async fn a_dropped_call_poisons_the_connection() {
    let (mut connection, _engine) = pair();
    let ping = Command::new("PING");
    let call = connection.call(&ping, DEADLINE);
    assert!(tokio::time::timeout(SOON, call).await.is_err());
    assert!(is_poisoned(&mut connection).await);
}

#[tokio::test]
async fn a_closed_connection_is_said_to_be_closed() {
    let (mut connection, mut engine) = pair();
    let peer = tokio::spawn(async move {
        let mut request = [0; 14];
        engine.read_exact(&mut request).await.unwrap();
        engine.write_all(b"+PO").await.unwrap();
        request
    });
    let outcome = connection.call(&Command::new("PING"), DEADLINE).await;
    assert!(matches!(outcome, Err(ConnectionError::Closed)), "{outcome:?}");
    assert_eq!(&peer.await.unwrap(), b"*1\r\n$4\r\nPING\r\n");
    assert!(is_poisoned(&mut connection).await);
}

#[tokio::test]
async fn a_reply_over_the_limit_is_refused_before_it_is_read() {
    let (connection, mut engine) = pair();
    let mut connection = connection.with_max_reply(1000);
    engine.write_all(b"$1001\r\n").await.unwrap();
    let outcome = connection.call(&Command::new("GET").arg("k"), DEADLINE).await;
    assert!(
        matches!(outcome, Err(ConnectionError::Frame(FrameError::TooLarge(1000)))),
        "{outcome:?}"
    );
    assert!(is_poisoned(&mut connection).await);
}

#[tokio::test]
async fn garbage_is_a_framing_error() {
    let (mut connection, mut engine) = pair();
    engine.write_all(b"HTTP/1.1 400 Bad Request\r\n").await.unwrap();
    let outcome = connection.call(&Command::new("PING"), DEADLINE).await;
    let expected = FrameError::UnknownType(b'H');
    assert!(matches!(outcome, Err(ConnectionError::Frame(error)) if error == expected));
}

#[tokio::test]
async fn pushes_between_replies_are_left_out() {
    let (mut connection, mut engine) = pair();
    engine.write_all(b">1\r\n+a\r\n:1\r\n>1\r\n+b\r\n|1\r\n+x\r\n+y\r\n:2\r\n").await.unwrap();
    let commands = [Command::new("INCR").arg("k"), Command::new("INCR").arg("k")];
    let values = connection.pipeline(&commands, DEADLINE).await.unwrap();
    assert_eq!(values, [Value::Integer(1), Value::Integer(2)]);
}

#[tokio::test]
async fn a_refused_connection_names_the_address() {
    let probe = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = probe.local_addr().unwrap();
    drop(probe);
    let error = Connection::connect(address, DEADLINE).await.unwrap_err();
    assert_eq!(error.to_string(), format!("connecting to {address}"));
}
