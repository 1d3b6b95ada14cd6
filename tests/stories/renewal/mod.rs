//! A proxy becomes another program, and its clients notice nothing.
//!
//! Invariant: a connection that ends, an error that is not expected or an effect that is missing or there
//! twice fails the story.
//!
//! Not here: encrypted clients (`clients/`), sessions byte by byte (`tanist-proxy`).

mod line;
mod program;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tanist_lab::{Installation, kill};
use tokio::task::JoinHandle;

use crate::{runtime, web};
use line::Line;

crate::on_both_engines!(
    nobody_notices_five_upgrades_in_a_row,
    an_upgrade_while_the_primary_dies_loses_and_repeats_nothing,
    who_a_client_is_and_what_it_chose_survives,
);

/// Clients that are connected and ask for something now and then.
const IDLE: usize = 150;
/// Clients that count, all the time.
const COUNTING: usize = 12;
/// How many requests each of them sends at once.
const PIPELINE: u64 = 8;

fn address(installation: &Installation) -> SocketAddr {
    let endpoint = installation.group("web").primary_endpoint;
    SocketAddr::new(endpoint.address.into(), endpoint.port)
}

/// Lets the proxy become the program that it is; how many clients it says it has kept.
fn renew(installation: &Installation) -> u64 {
    renew_and_end(installation, 0)
}

/// The same, where so many cannot be kept.
fn renew_and_end(installation: &Installation, ended: u64) -> u64 {
    let text = installation.tanist(&["renew", "-o", "json"]).ok();
    let said: serde_json::Value =
        serde_json::from_str(&text).unwrap_or_else(|err| panic!("{err}: {text}"));
    let renewed = &said["proxies"][0]["renewed"];
    assert_eq!(renewed["ended"], ended, "{text}");
    renewed["kept"].as_u64().unwrap_or_else(|| panic!("{text}"))
}

/// Counts under two keys of its own until it is told to stop, in pipelines; what was acknowledged and
/// what is uncertain. Every answer is checked against all that came before.
async fn count(address: SocketAddr, name: usize, ended: Arc<AtomicBool>) -> (u64, u64) {
    let mut line = Line::open(address).await;
    let id = line.call("CLIENT ID").await;
    let (mut sent, mut last, mut acknowledged, mut uncertain) = (0, 0, 0, 0);
    while !ended.load(Ordering::Relaxed) {
        let from = sent;
        sent += PIPELINE;
        let lines: Vec<String> = (from..sent)
            .flat_map(|number| [format!("INCR n{name}"), format!("RPUSH l{name} {number}")])
            .collect();
        line.send(&lines).await;
        for _ in from..sent {
            let counted = line.text().await;
            match counted.strip_prefix(':').map(str::parse::<u64>) {
                Some(Ok(value)) => {
                    assert!(value > last, "{value} after {last}");
                    (last, acknowledged) = (value, acknowledged + 1);
                }
                _ if counted.starts_with("-UNCERTAIN ") => uncertain += 1,
                _ => panic!("{counted}"),
            }
            let pushed = line.text().await;
            assert!(pushed.starts_with(':') || pushed.starts_with("-UNCERTAIN "), "{pushed}");
        }
    }
    assert_eq!(line.call("CLIENT ID").await, id, "it is still who it was");
    (acknowledged, uncertain)
}

type Counting = Vec<JoinHandle<(u64, u64)>>;

fn begin_to_count(address: SocketAddr, ended: &Arc<AtomicBool>) -> Counting {
    let count = |name| tokio::spawn(count(address, name, Arc::clone(ended)));
    (0..COUNTING).map(count).collect()
}

/// Compares what clients were told with what there is; how much is uncertain.
async fn add_up(address: SocketAddr, counting: Counting) -> u64 {
    let mut line = Line::open(address).await;
    let mut doubts = 0;
    for (name, counting) in counting.into_iter().enumerate() {
        let counted = counting.await;
        let (acknowledged, uncertain) = counted.unwrap_or_else(|err| panic!("a client: {err}"));
        assert!(acknowledged > 0, "client {name} was served");
        let kept = line.call(&format!("GET n{name}")).await;
        let kept: u64 = kept.rsplit(' ').next().and_then(|text| text.parse().ok()).unwrap_or(0);
        assert!(acknowledged <= kept, "{acknowledged} acknowledged, {kept} kept");
        assert!(kept <= acknowledged + uncertain, "{kept} kept of {acknowledged}+{uncertain}");
        // Nothing was pushed twice, and nothing has overtaken anything.
        let list = line.call(&format!("LRANGE l{name} 0 -1")).await;
        let mut last = None;
        for number in list.split(' ').skip(2).step_by(2) {
            let number: u64 = number.parse().unwrap_or_else(|err| panic!("{err}: {number}"));
            assert!(last.is_none_or(|last| last < number), "{number} after {last:?}");
            assert!(
                uncertain > 0 || number == last.map_or(0, |last| last + 1),
                "{number} is missing"
            );
            last = Some(number);
        }
        doubts += uncertain;
    }
    doubts
}

/// Publishes numbers until it is told to stop; how many.
async fn publish(address: SocketAddr, ended: Arc<AtomicBool>) -> u64 {
    let mut line = Line::open(address).await;
    let mut number = 0;
    while !ended.load(Ordering::Relaxed) {
        let heard = line.call(&format!("PUBLISH news {number}")).await;
        assert_eq!(heard, ":1", "the subscriber is there for number {number}");
        assert_eq!(line.call(&format!("SET mark {number}")).await, "+OK");
        number += 1;
    }
    assert_eq!(line.call("PUBLISH news end").await, ":1");
    assert_eq!(line.call("SET mark end").await, "+OK");
    number
}

/// Hears every number in its order, in what has these words, until the end; how many.
async fn hear(mut line: Line, about: &'static str) -> u64 {
    let mut number = 0;
    loop {
        let said = line.text().await;
        let word = said.rsplit(' ').next().unwrap_or_default().trim_matches('"');
        match word {
            _ if !said.contains(about) => continue,
            "end" => return number,
            word => assert_eq!(word, number.to_string(), "{said}"),
        }
        number += 1;
    }
}

/// One client of each kind that has something of its own, in the middle of it.
struct Middle {
    waits: Line,
    half: Line,
    transaction: Line,
    watched: Line,
    untouched: Line,
    tracks: Line,
    mute: Line,
}

impl Middle {
    async fn begin(address: SocketAddr) -> Self {
        let open = || Line::open(address);
        let (mut waits, mut half, mut transaction) = (open().await, open().await, open().await);
        let (mut watched, mut untouched) = (open().await, open().await);
        let (mut tracks, mut mute) = (open().await, open().await);
        waits.send(&["BLPOP queue 0".to_owned(), "ECHO after".to_owned()]).await;
        half.send_raw(b"*2\r\n$4\r\nECHO\r\n$10\r\n01234").await;
        assert_eq!(transaction.call("MULTI").await, "+OK");
        assert_eq!(transaction.call("INCR once").await, "+QUEUED");
        transaction.send_raw(b"*2\r\n$4\r\nIN").await;
        for (line, key) in [(&mut watched, "seen"), (&mut untouched, "unseen")] {
            assert_eq!(line.call(&format!("WATCH {key}")).await, "+OK");
        }
        assert!(tracks.call("HELLO 3").await.starts_with('%'));
        assert_eq!(tracks.call("CLIENT TRACKING ON").await, "+OK");
        assert_eq!(tracks.call("GET tracked").await, "_");
        mute.send(&["CLIENT REPLY OFF".to_owned(), "INCR mute".to_owned()]).await;
        assert!(half.is_silent().await);
        Self { waits, half, transaction, watched, untouched, tracks, mute }
    }

    async fn end(self, address: SocketAddr) {
        let Self { mut waits, mut half, mut transaction, .. } = self;
        let Self { mut watched, mut untouched, mut tracks, mut mute, .. } = self;
        let mut other = Line::open(address).await;
        assert!(waits.is_silent().await && tracks.is_silent().await, "nothing was made up");
        assert_eq!(other.call("RPUSH queue element").await, ":1");
        assert_eq!(waits.text().await, "*2 $5 queue $7 element");
        assert_eq!(waits.text().await, "$5 after");
        assert_eq!(other.call("LLEN queue").await, ":0");
        half.send_raw(b"56789\r\n").await;
        assert_eq!(half.text().await, "$10 0123456789");
        transaction.send_raw(b"CR\r\n$4\r\nonce\r\n*1\r\n$4\r\nEXEC\r\n").await;
        assert_eq!(transaction.text().await, "+QUEUED");
        assert_eq!(transaction.text().await, "*2 :1 :2");
        assert_eq!(other.call("SET seen 1").await, "+OK");
        for (line, answer) in [(&mut watched, "*-1"), (&mut untouched, "*1 +PONG")] {
            assert_eq!(line.call("MULTI").await, "+OK");
            assert_eq!(line.call("PING").await, "+QUEUED");
            assert_eq!(line.call("EXEC").await, answer);
        }
        assert_eq!(other.call("SET tracked 1").await, "+OK");
        assert_eq!(tracks.text().await, ">2 $10 invalidate *1 $7 tracked");
        mute.send(&["INCR mute".to_owned(), "CLIENT REPLY ON".to_owned()]).await;
        assert_eq!(mute.text().await, "+OK");
        assert_eq!(mute.call("GET mute").await, "$1 2");
    }
}

fn nobody_notices_five_upgrades_in_a_row(engine: &str) {
    let installation = web(engine, &[]);
    let (address, proxy) = (address(&installation), installation.role("proxy"));
    let runtime = runtime();
    let ended = Arc::new(AtomicBool::new(false));
    let at_once = Arc::clone(&ended);
    let (mut idle, ids, middle, hears, watches, publishing, counting) = runtime.block_on(async {
        let (mut idle, mut ids) = (Vec::new(), Vec::new());
        for _ in 0..IDLE {
            let mut line = Line::open(address).await;
            ids.push(line.call("CLIENT ID").await);
            idle.push(line);
        }
        let middle = Middle::begin(address).await;
        let (mut hears, mut watches) = (Line::open(address).await, Line::open(address).await);
        assert_eq!(hears.call("SUBSCRIBE news").await, "*3 $9 subscribe $4 news :1");
        assert_eq!(watches.call("MONITOR").await, "+OK");
        let hears = tokio::spawn(hear(hears, " news "));
        let watches = tokio::spawn(hear(watches, "\"SET\" \"mark\""));
        let publishing = tokio::spawn(publish(address, Arc::clone(&at_once)));
        (idle, ids, middle, hears, watches, publishing, begin_to_count(address, &at_once))
    });
    let renewing = std::thread::scope(|scope| {
        let renewing = scope.spawn(|| {
            let kept: Vec<u64> = (0..5).map(|_| renew(&installation)).collect();
            ended.store(true, Ordering::Relaxed);
            kept
        });
        runtime.block_on(async {
            let all = async {
                let sent = publishing.await.unwrap_or_else(|err| panic!("publishing: {err}"));
                assert!(sent > 5, "{sent}");
                for heard in [hears, watches] {
                    assert_eq!(heard.await.unwrap_or_else(|err| panic!("hearing: {err}")), sent);
                }
                assert_eq!(add_up(address, counting).await, 0, "nothing is uncertain");
                middle.end(address).await;
                for (line, id) in idle.iter_mut().zip(&ids) {
                    assert_eq!(line.call("CLIENT ID").await, *id);
                }
            };
            all.await;
        });
        renewing.join().unwrap_or_else(|_| panic!("an upgrade has failed"))
    });
    assert!(renewing.iter().all(|kept| *kept >= (IDLE + COUNTING) as u64), "{renewing:?}");
    assert_eq!(installation.role("proxy"), proxy, "it is still the same process");
    assert_eq!(installation.shard("web").epoch.0, 1, "no engine has noticed anything either");
}

fn an_upgrade_while_the_primary_dies_loses_and_repeats_nothing(engine: &str) {
    let installation = web(engine, &[]);
    let address = address(&installation);
    let runtime = runtime();
    let ended = Arc::new(AtomicBool::new(false));
    let counting = runtime.block_on(async { begin_to_count(address, &ended) });
    std::thread::scope(|scope| {
        let troubles = scope.spawn(|| {
            for _ in 0..2 {
                let primary = installation.primary("web");
                let pid = primary.pid.unwrap_or_else(|| panic!("{primary:?}"));
                kill(pid);
                // Clients may be at rest too late for one of these; then it goes on as it was.
                for _ in 0..3 {
                    let _ = installation.tanist(&["renew"]);
                }
                installation.available("web");
            }
            renew(&installation);
            ended.store(true, Ordering::Relaxed);
        });
        runtime.block_on(add_up(address, counting));
        troubles.join().unwrap_or_else(|_| panic!("an upgrade has failed"));
    });
}

fn who_a_client_is_and_what_it_chose_survives(engine: &str) {
    let installation = web(engine, &[]);
    let (address, reader) = (address(&installation), {
        let endpoint = installation.group("web").reader_endpoint;
        SocketAddr::new(endpoint.address.into(), endpoint.port)
    });
    let secrets =
        [("app", "a-password-of-app-0123456789"), ("all", "a-password-of-all-0123456789")];
    for (id, secret) in secrets {
        let file = installation.dir().join(id);
        std::fs::write(&file, secret).unwrap_or_else(|err| panic!("{err}"));
        let file = file.display().to_string();
        let (name, access) = match id {
            "app" => ("app", "on ~app:* +@all"),
            _ => ("default", "on ~* &* +@all"),
        };
        let words = ["user", "create", id, "--name", name, "--engine", engine];
        let more = ["--access", access, "--password-file", &file];
        installation.tanist(&[&words[..], &more[..]].concat()).ok();
    }
    let create = ["user-group", "create", "team", "--engine", engine, "--users", "app,all"];
    installation.tanist(&create).ok();
    installation.tanist(&["user-group", "attach", "web", "team"]).ok();
    runtime().block_on(async {
        let (mut app, mut nobody) = (Line::open(address).await, Line::open(address).await);
        let mut reads = Line::open(reader).await;
        let log_in = format!("HELLO 3 AUTH app {} SETNAME shop", secrets[0].1);
        assert!(app.call(&log_in).await.starts_with('%'));
        assert!(nobody.call("GET app:a").await.starts_with("-NOAUTH"));
        assert_eq!(reads.call(&format!("AUTH {}", secrets[1].1)).await, "+OK");
        assert_eq!(reads.call("SELECT 3").await, "+OK");
        for round in 0..3 {
            renew(&installation);
            assert_eq!(app.call("ACL WHOAMI").await, "$3 app");
            assert_eq!(app.call("CLIENT GETNAME").await, "$4 shop");
            assert_eq!(app.call(&format!("SET app:a {round}")).await, "+OK");
            assert!(app.call("SET other 1").await.starts_with("-NOPERM"), "it may do no more");
            assert!(nobody.call("GET app:a").await.starts_with("-NOAUTH"), "nobody is let in");
            assert!(reads.call("CLIENT INFO").await.contains(" db=3 "));
            assert!(reads.call("SET a 1").await.starts_with("-READONLY"));
        }
        assert_eq!(nobody.call(&format!("AUTH app {}", secrets[0].1)).await, "+OK");
        assert_eq!(nobody.call("GET app:a").await, "$1 2");
    });
    let log = std::fs::read_to_string(installation.dir().join("proxy.log")).unwrap_or_default();
    assert!(secrets.iter().all(|(_, secret)| !log.contains(secret)), "{log}");
}
