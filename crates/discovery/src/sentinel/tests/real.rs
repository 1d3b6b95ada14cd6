//! Beside a real Sentinel: the same questions, and the names and order of what they are answered.
//!
//! Invariant: the other one is `redis-server --sentinel` as installed, watching real engines.
//!
//! Not here: the values, which are about other instances.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tanist_resp::Value;

use super::super::rig::group;
use super::wire::{Controller, Wire};

/// Questions to which the answers are the same. `LONG` is a word of 300 bytes, `LINES` and `BLANK`
/// are words with line ends and a blank in them.
const QUESTIONS: &str = "\
SENTINEL
SENTINEL nothing
SENTINEL LONG
SENTINEL LINES
SENTINEL master
SENTINEL master none
SENTINEL masters x
SENTINEL replicas none
SENTINEL sentinels none
SENTINEL failover none
SENTINEL ckquorum none
SENTINEL ckquorum web
SENTINEL get-master-addr-by-name none
SENTINEL get-master-addr-by-name
SENTINEL is-master-down-by-addr 127.0.0.1 1 0 *
SENTINEL is-master-down-by-addr 127.0.0.1 x 0 *
SENTINEL is-master-down-by-addr 127.0.0.1 1 0
SENTINEL reset none
SENTINEL info-cache none
SENTINEL info-cache
SENTINEL pending-scripts
SENTINEL config
SENTINEL config x
SENTINEL config get *
SENTINEL config get x
SENTINEL monitor x
SENTINEL remove none
SENTINEL set none a b
SENTINEL set none
SENTINEL flushconfig x
SENTINEL simulate-failure
FOO
foo bar LONG baz
LONG LINES
GET a
CLIENT
CLIENT MAINT_NOTIFICATIONS ON
CLIENT GETNAME
CLIENT SETNAME BLANK
PING
PING x
PING x y
AUTH x
AUTH a b
AUTH default b
AUTH a b c
AUTH
HELLO 9
HELLO x
HELLO 3 x
HELLO 3 AUTH a b
PUBLISH a b
ROLE
ROLE x
INFO nothing
SUBSCRIBE
UNSUBSCRIBE
PUNSUBSCRIBE x
COMMAND x";

/// Processes that end with the test.
#[derive(Default)]
struct Started(Vec<Child>);

impl Drop for Started {
    fn drop(&mut self) {
        for child in &mut self.0 {
            // It may have ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Started {
    fn server(&mut self, dir: &Path, args: &[&str]) {
        let started = Command::new("redis-server")
            .args(args)
            .current_dir(dir)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        self.0.push(started.expect("redis-server is not installed; run scripts/install.sh test"));
    }

    fn engine(&mut self, dir: &Path, port: u16, primary: Option<u16>) {
        let port = port.to_string();
        let primary = primary.map(|port| port.to_string());
        let mut args = vec!["--port", &port, "--bind", "127.0.0.1", "--save", ""];
        if let Some(primary) = &primary {
            args.extend(["--replicaof", "127.0.0.1", primary]);
        }
        self.server(dir, &args);
    }

    fn sentinel(&mut self, dir: &Path, port: u16, primary: u16) {
        let text = format!(
            "port {port}\nbind 127.0.0.1\nsentinel monitor web 127.0.0.1 {primary} 1\n\
             sentinel down-after-milliseconds web 60000\n"
        );
        let file = dir.join(format!("sentinel-{port}.conf"));
        std::fs::write(&file, text).unwrap();
        self.server(dir, &[file.to_str().unwrap(), "--sentinel"]);
    }
}

/// A client, as soon as somebody answers there.
async fn dial(port: u16) -> Wire {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let started = Instant::now();
    while tokio::net::TcpStream::connect(address).await.is_err() {
        assert!(started.elapsed() < Duration::from_secs(20), "nobody answers at {address}");
        // waits: a process that starts does not say when it listens.
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Wire::connect(address).await
}

/// A Sentinel that has found a replica and another Sentinel.
async fn real(started: &mut Started, dir: &Path) -> Wire {
    let [primary, replica, one, two] = [(); 4].map(|()| free_port());
    started.engine(dir, primary, None);
    started.engine(dir, replica, Some(primary));
    dial(primary).await;
    dial(replica).await;
    for port in [one, two] {
        started.sentinel(dir, port, primary);
    }
    let mut client = dial(one).await;
    let quick = ["SENTINEL", "DEBUG", "INFO-PERIOD", "50", "PUBLISH-PERIOD", "50"];
    for port in [one, two] {
        assert_eq!(dial(port).await.text(&quick).await, "OK");
    }
    let began = Instant::now();
    loop {
        let web = client.ask(&["SENTINEL", "MASTER", "web"]).await;
        let count = |name: &str| web.get(name).and_then(Value::as_int);
        let follows = client.ask(&["SENTINEL", "REPLICAS", "web"]).await;
        let is_linked = follows.as_array().unwrap().first().is_some_and(|replica| {
            replica.get("master-link-status").and_then(Value::as_str) == Some("ok")
        });
        if is_linked && count("num-slaves") == Some(1) && count("num-other-sentinels") == Some(1) {
            return client;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "it finds nobody: {web:?}");
        // waits: Sentinel finds others when it looks.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn names(map: &Value) -> Vec<String> {
    map.pairs().map(|(name, _)| name.as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn fields_have_the_names_and_the_order_of_a_real_sentinels() {
    let dir = tempfile::tempdir().unwrap();
    let mut started = Started::default();
    let mut real = real(&mut started, dir.path()).await;
    let controller = Controller::with(&[group("web", 1, Some(1))]).await;
    let mut ours = controller.asked_by_a_client().await;
    for version in ["2", "3"] {
        let hello = [real.ask(&["HELLO", version]).await, ours.ask(&["HELLO", version]).await];
        assert_eq!(names(&hello[0]), names(&hello[1]));
        for words in
            [&["masters"][..], &["replicas", "web"], &["slaves", "web"], &["sentinels", "web"]]
        {
            let words = [&["SENTINEL"], words].concat();
            let (theirs, ours) = (real.ask(&words).await, ours.ask(&words).await);
            let first = |of: &Value| names(&of.as_array().unwrap()[0]);
            assert_eq!(first(&theirs), first(&ours), "{words:?}");
        }
        let words = ["SENTINEL", "master", "web"];
        let (theirs, ours_is) = (real.ask(&words).await, ours.ask(&words).await);
        assert_eq!(names(&theirs), names(&ours_is));
    }
}

#[tokio::test]
async fn errors_are_a_real_sentinels_to_the_letter() {
    let dir = tempfile::tempdir().unwrap();
    let mut started = Started::default();
    let mut real = real(&mut started, dir.path()).await;
    let controller = Controller::with(&[group("web", 1, Some(1))]).await;
    let mut ours = controller.asked_by_a_client().await;
    let long = "x".repeat(300);
    for version in ["2", "3"] {
        real.ask(&["HELLO", version]).await;
        ours.ask(&["HELLO", version]).await;
        for line in QUESTIONS.lines() {
            let words = line.split(' ').map(|word| match word {
                "LONG" => long.as_str(),
                "LINES" => "a\r\nb",
                "BLANK" => "a b",
                word => word,
            });
            let words: Vec<&str> = words.collect();
            assert_eq!(real.ask(&words).await, ours.ask(&words).await, "{line}");
        }
    }
}
