//! Who clients are: tokens, users, and what engines make of them.
//!
//! Invariant: what an engine would say is asked of a bare engine in the same test, byte for byte.
//!
//! Not here: the AWS API for it, redis-py (`clients/`).

use std::collections::BTreeMap;
use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command as Process, Stdio};
use std::time::Duration;

use tanist_lab::{Installation, kill};
use tanist_link::Secret;
use tanist_link::api::GroupStatus;
use tanist_link::wire::{ADMIN_USER, BELL_CHANNEL, admin_label};
use tanist_resp::{Command, Connection, Value};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::{call, runtime, text, web};

crate::on_both_engines!(
    a_client_hears_what_a_bare_engine_says,
    a_token_is_replaced_and_the_primary_moves_and_no_client_notices,
    users_share_no_connection_to_an_engine,
    a_user_with_few_rights_is_proven_what_it_reads_and_writes,
    a_user_that_changes_or_goes_does_so_for_living_connections,
    what_cannot_be_is_refused_and_nothing_else_stops,
    users_outlive_every_part_of_tanist,
);

const ONE: &str = "the-first-token-0123456789";
const TWO: &str = "the-second-token-0123456789";
const PASSWORD: &str = "a-password-of-app-0123456789";
const LIMIT: Duration = Duration::from_secs(20);

/// A file with secrets.
fn file(installation: &Installation, name: &str, lines: &str) -> String {
    let path = installation.dir().join(name);
    let written =
        std::fs::File::create(&path).and_then(|mut file| file.write_all(lines.as_bytes()));
    written.unwrap_or_else(|err| panic!("{}: {err}", path.display()));
    path.display().to_string()
}

fn primary(group: &GroupStatus) -> SocketAddr {
    (group.primary_endpoint.address, group.primary_endpoint.port).into()
}

async fn connect(to: SocketAddr) -> Connection {
    let connected = Connection::connect(to, LIMIT).await;
    connected.unwrap_or_else(|err| panic!("connecting to {to}: {err}"))
}

/// A connection of a user, or of `default` with a token.
async fn log_in(to: SocketAddr, words: &[&str]) -> Connection {
    let mut connection = connect(to).await;
    let all: Vec<&str> = std::iter::once("AUTH").chain(words.iter().copied()).collect();
    assert!(call(&mut connection, &all).await.is_ok(), "{}", words[0]);
    connection
}

async fn error(connection: &mut Connection, words: &[&str]) -> String {
    let value = call(connection, words).await;
    value.as_error().unwrap_or_else(|| panic!("{words:?}: {value:?}")).into_owned()
}

/// The user `app`, a `default` with the first token for a password, and the group whose clients they
/// are.
fn with_users(installation: &Installation, engine: &str, access: &str) {
    let token = file(installation, "one", ONE);
    let password = file(installation, "app", PASSWORD);
    let make = |id: &str, name: &str, access: &str, file: &str| {
        let args = ["user", "create", id, "--name", name, "--engine", engine, "--access", access];
        let args: Vec<&str> = args.iter().chain(&["--password-file", file]).copied().collect();
        installation.tanist(&args).ok();
    };
    make("app", "app", access, &password);
    make("all", "default", "on ~* &* +@all", &token);
    let create = ["user-group", "create", "team", "--engine", engine, "--users", "app,all"];
    installation.tanist(&create).ok();
    installation.tanist(&["user-group", "attach", "web", "team"]).ok();
}

/// An engine that nobody manages.
struct Bare {
    child: Child,
    address: SocketAddr,
    _dir: tempfile::TempDir,
}

impl Drop for Bare {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn bare(engine: &str, users: &[&str]) -> Bare {
    let port = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr());
    let port = port.unwrap_or_else(|err| panic!("a port: {err}")).port();
    let dir = tempfile::tempdir().unwrap_or_else(|err| panic!("a directory: {err}"));
    let mut process = Process::new(format!("{engine}-server"));
    process.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""]);
    process.args(["--appendonly", "no"]).current_dir(dir.path()).stdout(Stdio::null());
    let child = process.spawn().unwrap_or_else(|err| panic!("{engine}-server: {err}"));
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let bare = Bare { child, address, _dir: dir };
    let started = std::time::Instant::now();
    let mut connection = loop {
        match Connection::connect(address, LIMIT).await {
            Ok(connection) => break connection,
            Err(err) => assert!(started.elapsed() < LIMIT, "the bare engine: {err}"),
        }
        // waits: an engine offers no event for beginning to listen.
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    for user in users {
        let words: Vec<&str> = ["ACL", "SETUSER"].into_iter().chain(user.split(' ')).collect();
        assert!(call(&mut connection, &words).await.is_ok(), "{user}");
    }
    bare
}

/// Everything that is answered to these bytes, up to the end of the connection.
async fn conversation(to: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(to).await.unwrap_or_else(|err| panic!("{to}: {err}"));
    stream.write_all(bytes).await.unwrap_or_else(|err| panic!("{to}: {err}"));
    let mut answer = Vec::new();
    let read = tokio::time::timeout(LIMIT, stream.read_to_end(&mut answer)).await;
    let shown = String::from_utf8_lossy(bytes).into_owned();
    // An engine that is left with unread bytes resets the connection after its last word.
    let _ = read.unwrap_or_else(|_| panic!("{to} does not end {shown}"));
    String::from_utf8_lossy(&answer).into_owned()
}

/// Lines of words as requests, and QUIT behind them.
fn requests(lines: &[&str]) -> Vec<u8> {
    let encode = |line: &&str| {
        let mut words = line.split(' ');
        Command::new(words.next().unwrap_or_default()).args(words).encode().to_vec()
    };
    lines.iter().chain(&["QUIT"]).flat_map(encode).collect()
}

const BEFORE: &[&[&str]] = &[
    &["PING"],
    &["GET a", "SET a b"],
    &["AUTH wrong"],
    &["AUTH nobody wrong"],
    &["AUTH app wrong", "PING"],
    &["AUTH"],
    &["AUTH a b c"],
    &["HELLO"],
    &["HELLO 3"],
    &["HELLO 4"],
    &["HELLO x"],
    &["HELLO 3 FOO"],
    &["HELLO 3 AUTH default"],
    &["HELLO 3 AUTH default wrong"],
    &["HELLO 2 SETNAME x"],
    &["MULTI", "SET a b", "EXEC"],
    &["SUBSCRIBE c"],
    &["CLIENT REPLY OFF", "PING"],
    &["CLIENT SETNAME x"],
    &["ACL WHOAMI"],
    &["RESET", "PING"],
    &["AUTH the-first-token-0123456789", "ACL WHOAMI", "RESET", "PING"],
    &["AUTH default the-first-token-0123456789", "SET k v", "GET k"],
];

const AS_APP: &[&str] = &[
    "GET app:1",
    "SET app:1 x",
    "GET other",
    "MGET app:1 other",
    "PING",
    "ACL WHOAMI",
    "ACL LIST",
    "SELECT 1",
    "ROLE",
    "WAIT 0 0",
    "EVAL return 0",
    "SUBSCRIBE news",
    "CLIENT LIST",
    "CLIENT GETNAME",
    "CLIENT SETNAME me",
    "CLIENT REPLY ON",
    "CLIENT REPLY OFF",
    "CLIENT REPLY SKIP",
    "MULTI",
    "FLUSHALL",
    "DEL app:1",
    "RESET",
];

fn a_client_hears_what_a_bare_engine_says(engine: &str) {
    let installation = web(engine, &["--replicas", "1"]);
    with_users(&installation, engine, "on ~app:* +@read +@transaction");
    let to = primary(&installation.group("web"));
    runtime().block_on(async {
        let users = [
            format!("app on >{PASSWORD} ~app:* +@read +@transaction"),
            format!("default resetpass on >{ONE} ~* &* +@all"),
        ];
        let bare = bare(engine, &users.each_ref().map(String::as_str)).await;
        let compare = async |bytes: Vec<u8>| {
            let here = conversation(to, &bytes).await;
            let there = conversation(bare.address, &bytes).await;
            assert_eq!(here, there, "{}", String::from_utf8_lossy(&bytes));
            assert!(!here.is_empty());
        };
        for lines in BEFORE {
            compare(requests(lines)).await;
        }
        for raw in ["*11\r\n", "*2\r\n$16385\r\n", "*1\r\n$16385\r\n", "PING\r\nQUIT\r\n"] {
            compare(raw.as_bytes().to_vec()).await;
        }
        let auth = format!("AUTH app {PASSWORD}");
        for line in AS_APP.iter().filter(|line| !line.starts_with("ACL LIST")) {
            compare(requests(&[&auth, line])).await;
        }
        let in_multi = [&*auth, "MULTI", "GET app:1", "SET app:1 x", "GET other", "EXEC"];
        compare(requests(&in_multi)).await;
        // Who fails is who it was before. (Later engines do not answer it behind another reply.)
        for at in [to, bare.address] {
            let mut client = log_in(at, &[ONE]).await;
            assert!(error(&mut client, &["AUTH", "wrong"]).await.starts_with("WRONGPASS"));
            assert_eq!(text(&mut client, &["ACL", "WHOAMI"]).await, "default");
        }
        // What is Tanist's business is nobody's, whatever a user's rules are.
        let mut app = log_in(to, &["app", PASSWORD]).await;
        let refused = error(&mut app, &["ACL", "LIST"]).await;
        assert!(refused.starts_with("NOPERM"), "{refused}");
    });
}

/// A client that counts, until it is told to stop: how often it was answered.
fn counter(to: SocketAddr, words: Vec<String>, stop: watch::Receiver<bool>) -> JoinHandle<u64> {
    tokio::spawn(async move {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let mut connection = log_in(to, &words).await;
        let mut count = 0;
        while !*stop.borrow() {
            let answer = call(&mut connection, &["INCR", "count"]).await;
            assert!(answer.as_int().is_some(), "{answer:?}");
            count += 1;
        }
        count
    })
}

fn a_token_is_replaced_and_the_primary_moves_and_no_client_notices(engine: &str) {
    let installation = web(engine, &["--replicas", "2"]);
    let (one, two) = (file(&installation, "one", ONE), file(&installation, "two", TWO));
    installation.tanist(&["token", "set", "web", "--file", &one]).ok();
    let to = primary(&installation.group("web"));
    // Clients go on while the command line works.
    let several =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    several.unwrap_or_else(|err| panic!("a runtime: {err}")).block_on(async {
        let (stop, stopped) = watch::channel(false);
        let clients: Vec<JoinHandle<u64>> =
            (0..8).map(|_| counter(to, vec![ONE.to_owned()], stopped.clone())).collect();
        let work =
            async |args: &[&str]| tokio::task::block_in_place(|| installation.tanist(args).ok());
        work(&["token", "rotate", "web", "--file", &two]).await;
        for token in [ONE, TWO] {
            log_in(to, &[token]).await;
        }
        work(&["switchover", "web"]).await;
        work(&["token", "finish", "web"]).await;
        let mut late = connect(to).await;
        let refused = error(&mut late, &["AUTH", ONE]).await;
        assert!(refused.starts_with("WRONGPASS"), "{refused}");
        let newer: Vec<JoinHandle<u64>> =
            (0..4).map(|_| counter(to, vec![TWO.to_owned()], stopped.clone())).collect();
        work(&["switchover", "web"]).await;
        assert!(work(&["cli", "web", "PING"]).await.contains("PONG"));
        stop.send_replace(true);
        let mut sum = 0;
        for client in clients.into_iter().chain(newer) {
            let counted = client.await.unwrap_or_else(|err| panic!("a client: {err}"));
            assert!(counted > 0, "it was served");
            sum += counted;
        }
        let mut reader = log_in(to, &[TWO]).await;
        assert_eq!(text(&mut reader, &["GET", "count"]).await, sum.to_string(), "{engine}");
        // After a crash, too, a client is still who it was.
        let before = installation.primary("web");
        kill(before.pid.unwrap_or_else(|| panic!("{before:?}")));
        assert_eq!(text(&mut reader, &["GET", "count"]).await, sum.to_string(), "{engine}");
    });
    installation.tanist(&["token", "remove", "web"]).ok();
    runtime().block_on(async {
        let mut anybody = connect(to).await;
        assert!(call(&mut anybody, &["SET", "a", "b"]).await.is_ok());
    });
}

/// Where the primary's engine itself is, and the password of its agent's user.
async fn engine(installation: &Installation, endpoint: &mut Connection) -> (SocketAddr, String) {
    let info = text(endpoint, &["INFO", "server"]).await;
    let port = info.lines().find_map(|line| line.strip_prefix("tcp_port:"));
    let port: u16 = port.and_then(|port| port.trim().parse().ok()).unwrap_or_default();
    let node = installation.primary("web");
    let status = installation.try_status().unwrap_or_else(|| panic!("no status"));
    let host = status.hosts.into_iter().find(|host| host.host == node.host);
    let address = host.unwrap_or_else(|| panic!("{node:?}")).address;
    let path: PathBuf = installation.dir().join("secret");
    let secret = Secret::load_or_create(&path).unwrap_or_else(|err| panic!("{err}"));
    let password = secret.password(&admin_label(&node.node));
    ((address, port).into(), password)
}

/// The user of each of an engine's connections, by its address.
async fn users_of_connections(admin: &mut Connection) -> BTreeMap<String, String> {
    let list = text(admin, &["CLIENT", "LIST"]).await;
    let field = |line: &str, name: &str| {
        let found = line.split(' ').find_map(|part| part.strip_prefix(name));
        found.map(str::to_owned).unwrap_or_default()
    };
    list.lines().map(|line| (field(line, "addr="), field(line, "user="))).collect()
}

/// Looks at every request that an engine was asked: its key says whose it is, and it came as that
/// user. How many of each there were.
async fn judge(
    monitored: &mut Lines<BufReader<TcpStream>>,
    users: &BTreeMap<String, String>,
) -> BTreeMap<String, u32> {
    let mut seen: BTreeMap<String, u32> = BTreeMap::new();
    loop {
        let heard = tokio::time::timeout(LIMIT, monitored.next_line()).await;
        let line = heard.ok().and_then(Result::ok).flatten();
        let line = line.unwrap_or_else(|| panic!("the last request is heard"));
        if line.contains("\"root:last\"") {
            return seen;
        }
        let Some(address) = line.split(['[', ']']).nth(1).and_then(|at| at.split(' ').nth(1))
        else {
            continue;
        };
        let owner = ["app:", "other:", "root:"].iter().find(|key| line.contains(*key));
        if let (Some(owner), Some(user)) = (owner, users.get(address)) {
            let name = owner.trim_end_matches(':');
            *seen.entry(name.to_owned()).or_default() += 1;
            match name {
                "root" => assert!(!user.contains(':'), "{user} asked {line}"),
                name => assert!(user.ends_with(&format!(":{name}")), "{user} asked {line}"),
            }
        }
    }
}

/// What the proxy asks for the sake of a proof needs no right of the client's.
fn a_user_with_few_rights_is_proven_what_it_reads_and_writes(engine: &str) {
    let installation = web(engine, &["--strict-reads"]);
    with_users(&installation, engine, "on ~app:* -@all +get +set +multi +exec +blpop");
    let to = primary(&installation.group("web"));
    runtime().block_on(async {
        let mut app = log_in(to, &["app", PASSWORD]).await;
        assert!(call(&mut app, &["SET", "app:a", "1"]).await.is_ok());
        assert_eq!(text(&mut app, &["GET", "app:a"]).await, "1");
        for words in [&["MULTI"][..], &["GET", "app:a"]] {
            assert!(call(&mut app, words).await.as_error().is_none());
        }
        let answers = call(&mut app, &["EXEC"]).await;
        assert_eq!(answers.as_array().map(<[Value]>::len), Some(1), "{answers:?}");
        assert!(error(&mut app, &["SPUBLISH", BELL_CHANNEL, ""]).await.starts_with("NOPERM"));
        assert!(error(&mut app, &["CLIENT", "ID"]).await.starts_with("NOPERM"));
        // Its own connection is known to the engine by a number, by which others may wake it.
        let mut default = log_in(to, &[ONE]).await;
        let listed = text(&mut default, &["CLIENT", "LIST"]).await;
        let line = listed.lines().find(|line| line.contains("user=app "));
        let line = line.unwrap_or_else(|| panic!("{listed}"));
        let id = line.split_once(' ').map_or(line, |(id, _)| id).trim_start_matches("id=");
        let waits = tokio::spawn(async move { call(&mut app, &["BLPOP", "app:q", "0"]).await });
        while call(&mut default, &["CLIENT", "UNBLOCK", id]).await.as_int() != Some(1) {}
        let answer = waits.await.unwrap_or_else(|err| panic!("{err}"));
        assert!(answer.is_null(), "{answer:?}");
    });
}

fn users_share_no_connection_to_an_engine(engine_name: &str) {
    let installation = web(engine_name, &["--replicas", "1"]);
    with_users(&installation, engine_name, "on ~app:* +@all");
    let password = file(&installation, "other", "a-password-of-other-0123456789");
    let args =
        ["user", "create", "other", "--engine", engine_name, "--access", "on ~other:* +@all"];
    let args: Vec<&str> = args.iter().chain(&["--password-file", &password]).copied().collect();
    installation.tanist(&args).ok();
    installation.tanist(&["user-group", "modify", "team", "--add", "other"]).ok();
    let to = primary(&installation.group("web"));
    runtime().block_on(async {
        let mut root = log_in(to, &[ONE]).await;
        let (at, secret) = engine(&installation, &mut root).await;
        let mut admin = log_in(at, &[ADMIN_USER, &secret]).await;
        let connected = TcpStream::connect(at).await;
        let mut monitor = connected.unwrap_or_else(|err| panic!("{at}: {err}"));
        let auth = Command::new("AUTH").arg(ADMIN_USER).arg(&secret).encode();
        let begin = [auth, Command::new("MONITOR").encode()].concat();
        monitor.write_all(&begin).await.unwrap_or_else(|err| panic!("{at}: {err}"));
        let mut monitored = BufReader::new(monitor).lines();
        for _ in 0..2 {
            assert_eq!(monitored.next_line().await.ok().flatten().as_deref(), Some("+OK"));
        }
        let mut clients = Vec::new();
        for _ in 0..6 {
            clients.push(("app", log_in(to, &["app", PASSWORD]).await));
            clients.push(("other", log_in(to, &["other", "a-password-of-other-0123456789"]).await));
            clients.push(("root", log_in(to, &[ONE]).await));
        }
        for round in 0..5 {
            for (name, client) in &mut clients {
                let key = format!("{name}:{round}");
                assert!(call(client, &["SET", &key, "v"]).await.is_ok(), "{key}");
                assert_eq!(text(client, &["GET", &key]).await, "v");
                let queued = [["MULTI", ""], ["INCR", "n"], ["EXEC", ""]];
                for [word, arg] in queued {
                    let key = format!("{name}:{arg}");
                    let words = if arg.is_empty() { vec![word] } else { vec![word, &key] };
                    assert!(call(client, &words).await.as_error().is_none(), "{words:?}");
                }
            }
        }
        let users = users_of_connections(&mut admin).await;
        // The last request of all: everything before it has been heard then.
        assert!(call(&mut root, &["SET", "root:last", "v"]).await.is_ok());
        let seen = judge(&mut monitored, &users).await;
        assert!(seen.len() == 3 && seen.values().all(|count| *count >= 60), "{seen:?}");
        // And each is told its own name alone.
        let (_, app) = &mut clients[0];
        let list = text(app, &["CLIENT", "LIST"]).await;
        assert!(list.contains("user=app ") && !list.contains("lane-"), "{list}");
        assert_eq!(text(app, &["ACL", "WHOAMI"]).await, "app");
    });
}

fn a_user_that_changes_or_goes_does_so_for_living_connections(engine: &str) {
    let installation = web(engine, &["--replicas", "1"]);
    with_users(&installation, engine, "on ~app:* +@read");
    let to = primary(&installation.group("web"));
    runtime().block_on(async {
        let mut app = log_in(to, &["app", PASSWORD]).await;
        let mut root = log_in(to, &[ONE]).await;
        assert!(error(&mut app, &["SET", "app:1", "x"]).await.starts_with("NOPERM"));
        installation.tanist(&["user", "modify", "app", "--append", "+set"]).ok();
        assert!(call(&mut app, &["SET", "app:1", "x"]).await.is_ok());
        installation.tanist(&["switchover", "web"]).ok();
        assert_eq!(
            text(&mut app, &["GET", "app:1"]).await,
            "x",
            "it is itself on the next primary"
        );
        assert!(error(&mut app, &["GET", "other"]).await.starts_with("NOPERM"));
        installation.tanist(&["user", "modify", "app", "--append", "-set"]).ok();
        assert!(error(&mut app, &["SET", "app:1", "y"]).await.starts_with("NOPERM"));
        // Another password does not end who has logged in with the one before.
        let next = file(&installation, "next", "another-password-0123456789");
        installation.tanist(&["user", "modify", "app", "--password-file", &next]).ok();
        assert_eq!(text(&mut app, &["GET", "app:1"]).await, "x");
        let mut late = connect(to).await;
        assert!(error(&mut late, &["AUTH", "app", PASSWORD]).await.starts_with("WRONGPASS"));
        // One that is switched off, or gone, ends.
        installation.tanist(&["user", "modify", "app", "--append", "off"]).ok();
        let ping = Command::new("GET").arg("app:1");
        assert!(app.call(&ping, LIMIT).await.is_err(), "{engine}: its connection has ended");
        installation.tanist(&["user", "modify", "app", "--append", "on"]).ok();
        let mut again = log_in(to, &["app", "another-password-0123456789"]).await;
        installation.tanist(&["user", "delete", "app"]).ok();
        assert!(again.call(&ping, LIMIT).await.is_err(), "{engine}: its connection has ended");
        assert_eq!(text(&mut root, &["GET", "app:1"]).await, "x", "nobody else notices");
    });
}

/// Access strings, and whether they can be.
const STRINGS: &[(&str, bool)] = &[
    ("on ~* +@all", true),
    ("on ~a:* ~b:* &c +get -set +config|get (~x %R~y +@read)", true),
    ("off", true),
    ("on allkeys allchannels allcommands -@dangerous", true),
    ("on %RW~a resetkeys ~b", true),
    ("", false),
    ("on +nosuchcommand", false),
    ("on +@nosuchcategory", false),
    ("on +config|nosuch", false),
    ("on ~* ~a", false),
    ("on >secret", false),
    ("on #0000000000000000000000000000000000000000000000000000000000000000", false),
    ("nopass", false),
    ("reset", false),
    ("on (+get", false),
    ("on (+get))", false),
    ("on +get)", false),
    ("on ~a\nSHUTDOWN", false),
    ("on \u{e4}", false),
    ("sanitize-payload", false),
];

fn what_cannot_be_is_refused_and_nothing_else_stops(engine: &str) {
    let installation = web(engine, &["--replicas", "1"]);
    with_users(&installation, engine, "on ~app:* +@read");
    let to = primary(&installation.group("web"));
    let password = file(&installation, "some", "some-password-0123456789");
    for (number, (access, can_be)) in STRINGS.iter().enumerate() {
        let id = format!("u{number}");
        let args = ["user", "create", &id, "--engine", engine, "--access", access];
        let args: Vec<&str> = args.iter().chain(&["--password-file", &password]).copied().collect();
        let ran = installation.tanist(&args);
        assert_eq!(ran.code == 0, *can_be, "{access:?}: {}{}", ran.out, ran.err);
        if !can_be {
            assert!(ran.err.contains("T444"), "{access:?}: {}", ran.err);
            continue;
        }
        installation.tanist(&["user-group", "modify", "team", "--add", &id]).ok();
        if access.starts_with("off") {
            continue;
        }
        // The engine has taken it: whoever it is may log in, and hears the engine's own words.
        runtime().block_on(async {
            let mut user = log_in(to, &[&id, "some-password-0123456789"]).await;
            let answer = call(&mut user, &["DEBUG", "SLEEP", "0"]).await;
            assert_eq!(answer.error_code(), Some("NOPERM"), "{access:?}: {answer:?}");
            let answer = call(&mut user, &["EVAL", "return redis.call('config','get','x')", "0"]);
            assert!(matches!(answer.await, Value::Error(_)), "{access:?}");
        });
    }
    let events = installation.tanist(&["events"]).ok();
    assert!(!events.contains("UserRulesRefused"), "{events}");
    let secrets = [PASSWORD, ONE, "some-password-0123456789"];
    for log in ["dev.log", "proxy.log", "supervise.log"] {
        let said = std::fs::read_to_string(installation.dir().join(log)).unwrap_or_default();
        assert!(!secrets.iter().any(|secret| said.contains(secret)), "{log}");
    }
    let shown = installation.tanist(&["user", "list", "-o", "json"]).ok();
    assert!(!shown.contains("hash") && !secrets.iter().any(|secret| shown.contains(secret)));
    runtime().block_on(async {
        let mut app = log_in(to, &["app", PASSWORD]).await;
        assert!(call(&mut app, &["GET", "app:1"]).await.as_error().is_none());
    });
}

fn users_outlive_every_part_of_tanist(engine: &str) {
    let mut installation = web(engine, &["--replicas", "1"]);
    with_users(&installation, engine, "on ~app:* +@read +set");
    let to = primary(&installation.group("web"));
    runtime().block_on(async {
        let mut app = log_in(to, &["app", PASSWORD]).await;
        assert!(call(&mut app, &["SET", "app:1", "x"]).await.is_ok());
        installation.kill_dev();
        assert_eq!(text(&mut app, &["GET", "app:1"]).await, "x");
        log_in(to, &["app", PASSWORD]).await;
        installation.dev();
        installation.available("web");
        assert_eq!(text(&mut app, &["GET", "app:1"]).await, "x", "{engine}: it is still itself");
        assert!(error(&mut app, &["GET", "other"]).await.starts_with("NOPERM"));
        // What is changed now is changed for connections of before, too.
        installation.tanist(&["user", "modify", "app", "--append", "-set"]).ok();
        assert!(error(&mut app, &["SET", "app:1", "y"]).await.starts_with("NOPERM"));
        kill(installation.role("proxy"));
        let auth = Command::new("AUTH").arg("app").arg(PASSWORD);
        let mut again = loop {
            // waits: the next proxy's endpoint offers no event for beginning to listen.
            tokio::time::sleep(Duration::from_millis(20)).await;
            if let Ok(mut connection) = Connection::connect(to, LIMIT).await
                && connection.call(&auth, LIMIT).await.is_ok_and(|answer| answer.is_ok())
            {
                break connection;
            }
        };
        assert_eq!(text(&mut again, &["GET", "app:1"]).await, "x");
        let mut stranger = connect(to).await;
        assert!(error(&mut stranger, &["GET", "app:1"]).await.starts_with("NOAUTH"));
    });
    assert_eq!(installation.tanist(&["down"]).code, 0);
    installation.dev_ended();
    installation.dev();
    installation.available("web");
    runtime().block_on(async {
        let mut app = log_in(to, &["app", PASSWORD]).await;
        assert_eq!(text(&mut app, &["GET", "app:1"]).await, "x", "{engine}: after an orderly end");
        assert!(error(&mut app, &["SET", "app:1", "y"]).await.starts_with("NOPERM"));
    });
}
