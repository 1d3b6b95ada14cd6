//! A control plane's store that is lost, put back from a backup, or rebuilt from what hosts keep.
//!
//! Invariant: no engine ends and no client's connection breaks because the store did; every write that
//! was acknowledged is there afterwards.
//!
//! Not here: damage that the store repairs by itself (`tanist-store`).

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use tanist_lab::{Fleet, Installation, alive};
use tanist_link::Secret;
use tanist_link::api::{EndpointStatus, RebuildProposal};
use tanist_link::wire::admin_label;

use crate::fleet::{Written, missing, write};
use crate::{call, runtime, text, web};

crate::on_both_engines!(
    a_lost_store_ends_nothing_and_is_rebuilt_while_a_client_writes,
    a_backup_brings_everything_back_and_goes_over_nothing,
    what_an_older_backup_lacks_is_rebuilt_from_the_hosts,
    everything_ends_and_the_store_is_lost_and_the_data_is_there_again,
);

fn at(endpoint: &EndpointStatus) -> SocketAddr {
    SocketAddr::from((endpoint.address, endpoint.port))
}

/// The processes of a group's engines.
fn engines(installation: &Installation) -> Vec<u32> {
    installation.shard("web").nodes.iter().filter_map(|node| node.pid).collect()
}

fn lose_store(installation: &mut Installation) {
    installation.kill_dev();
    let store = installation.dir().join("store");
    std::fs::remove_dir_all(&store).unwrap_or_else(|err| panic!("{}: {err}", store.display()));
}

/// Waits until the status says that there is a group that the store does not know.
fn is_missed(installation: &Installation) {
    installation.wait("the group is missed", |installation| {
        let status = installation.try_status()?;
        status.notes.iter().any(|note| note.contains("tanist rebuild: web")).then_some(())
    });
}

/// Waits until every node is in sync again, as before.
fn is_whole(installation: &Installation) {
    installation.wait("every replica is in sync", |installation| {
        let group = { installation.try_status()?.groups }.into_iter().next()?;
        let whole = |node: &tanist_link::api::NodeStatus| node.role == "primary" || node.in_sync;
        (group.status == "available" && group.shards[0].nodes.iter().all(whole)).then_some(())
    });
}

/// Lets the writer end, also when the story fails meanwhile.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn while_writing(
    installation: &mut Installation,
    happens: impl FnOnce(&mut Installation),
) -> Written {
    let endpoint = at(&installation.group("web").primary_endpoint);
    let over = AtomicBool::new(false);
    let written = std::thread::scope(|scope| {
        let writing = scope.spawn(|| write(endpoint, &over));
        let end = Ends(&over);
        happens(installation);
        drop(end);
        writing.join().unwrap_or_else(|_| panic!("{}", installation.what_it_says()))
    });
    assert!(written.errors.is_empty(), "{written:?}\n{}", installation.what_it_says());
    let missing = missing(endpoint, &written.acked);
    assert!(missing.is_empty(), "acknowledged and not there: {missing:?}");
    written
}

fn a_lost_store_ends_nothing_and_is_rebuilt_while_a_client_writes(engine: &str) {
    let mut installation = web(engine, &[]);
    is_whole(&installation);
    let (before, epoch) = (engines(&installation), installation.shard("web").epoch);
    assert_eq!(before.len(), 3);
    let written = while_writing(&mut installation, |installation| {
        lose_store(installation);
        installation.dev();
        is_missed(installation);
        let refused = installation.tanist(&["create", "other"]);
        assert!(refused.err.contains("T208"), "{refused:?}");
        let asked = installation.tanist(&["rebuild"]);
        assert_eq!(asked.code, 5, "nobody has agreed: {asked:?}");
        assert!(asked.out.contains("nobody was told of anything newer"), "{asked:?}");
        assert!(before.iter().all(|pid| alive(*pid)), "an empty store has ended an engine");
        installation.tanist(&["rebuild", "--yes"]).ok();
        is_whole(installation);
    });
    assert!(written.uncertain <= 1, "one write was in flight: {written:?}");
    assert_eq!(engines(&installation), before, "no engine was restarted");
    assert!(installation.shard("web").epoch > epoch);
    let again = installation.tanist(&["rebuild"]).ok();
    assert!(again.contains("the store knows everything"), "{again}");
    let note = installation.try_status().map(|status| status.notes).unwrap_or_default();
    assert!(!note.iter().any(|note| note.contains("rebuild")), "{note:?}");
}

fn file(installation: &Installation, name: &str) -> PathBuf {
    installation.dir().join(name)
}

fn a_backup_brings_everything_back_and_goes_over_nothing(engine: &str) {
    let mut installation = web(engine, &[]);
    is_whole(&installation);
    let path = file(&installation, "state.backup");
    let name = path.display().to_string();
    let said = installation.tanist(&["backup", &name]).ok();
    assert!(said.contains("passwords") && said.contains("secret"), "{said}");
    let mode = std::fs::metadata(&path).unwrap_or_else(|err| panic!("{err}")).permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let refused = installation.tanist(&["backup", &name]);
    assert!(refused.code == 2 && refused.err.contains("T680"), "{refused:?}");
    let refused = installation.tanist(&["restore", &name]);
    assert!(refused.code == 5 && refused.err.contains("T210"), "{refused:?}");
    let (before, shard) = (engines(&installation), installation.shard("web"));
    let key = installation.tanist(&["key", "list", "-o", "json"]).ok();
    let written = while_writing(&mut installation, |installation| {
        installation.kill_dev();
        let refused = installation.tanist(&["restore", &name]);
        assert!(refused.code == 5 && refused.err.contains("T211"), "{refused:?}");
        let store = installation.dir().join("store");
        std::fs::remove_dir_all(store).unwrap_or_else(|err| panic!("{err}"));
        installation.tanist(&["restore", &name]).ok();
        installation.dev();
        is_whole(installation);
    });
    assert_eq!(written.uncertain, 0, "nothing has moved: {written:?}");
    assert_eq!(engines(&installation), before);
    let after = installation.shard("web");
    assert_eq!((after.epoch, after.primary), (shard.epoch, shard.primary));
    assert_eq!(installation.tanist(&["key", "list", "-o", "json"]).ok(), key);
    let mut bytes = std::fs::read(&path).unwrap_or_else(|err| panic!("{err}"));
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, bytes).unwrap_or_else(|err| panic!("{err}"));
    let refused = installation.tanist(&["restore", &name]);
    assert!(refused.err.contains("T681"), "{refused:?}");
}

fn what_an_older_backup_lacks_is_rebuilt_from_the_hosts(engine: &str) {
    let mut installation = web(engine, &[]);
    is_whole(&installation);
    let name = file(&installation, "state.backup").display().to_string();
    installation.tanist(&["backup", &name]).ok();
    let old = installation.shard("web");
    // Somebody else is primary since, and a group is there that the backup does not know.
    installation.tanist(&["switchover", "web"]).ok();
    is_whole(&installation);
    assert_ne!(installation.shard("web").primary, old.primary);
    installation.create("later", &["--engine", engine, "--replicas", "1"]);
    let before = engines(&installation);
    while_writing(&mut installation, |installation| {
        lose_store(installation);
        installation.tanist(&["restore", &name]).ok();
        installation.dev();
        installation.wait("it is said that the store is older", |installation| {
            let events = installation.tanist(&["events"]).out;
            (events.contains("StoreBehind") && events.contains("GroupUnknown")).then_some(())
        });
        assert!(before.iter().all(|pid| alive(*pid)));
        let shown = installation.tanist(&["rebuild", "-o", "json"]);
        let proposal: RebuildProposal =
            serde_json::from_str(&shown.out).unwrap_or_else(|err| panic!("{err}: {shown:?}"));
        let groups: Vec<(&str, bool)> =
            proposal.shards.iter().map(|s| (s.group.as_str(), s.is_behind)).collect();
        assert_eq!(groups, [("later", false), ("web", true)], "{proposal:?}");
        assert!(proposal.shards.iter().all(|shard| shard.doubts.is_empty()), "{proposal:?}");
        installation.tanist(&["rebuild", "--yes"]).ok();
        for group in ["web", "later"] {
            installation.available(group);
        }
    });
    assert_eq!(engines(&installation), before);
}

fn everything_ends_and_the_store_is_lost_and_the_data_is_there_again(engine: &str) {
    let mut installation = web(engine, &[]);
    is_whole(&installation);
    let endpoint = installation.group("web").primary_endpoint;
    runtime().block_on(async {
        let mut client = installation.connect(&endpoint).await;
        for n in 0..100 {
            assert!(call(&mut client, &["SET", &format!("k{n}"), "v"]).await.is_ok());
        }
    });
    installation.tanist(&["down"]).ok();
    assert_eq!(installation.dev_ended(), 0);
    let store = installation.dir().join("store");
    std::fs::remove_dir_all(store).unwrap_or_else(|err| panic!("{err}"));
    installation.dev();
    is_missed(&installation);
    installation.tanist(&["rebuild", "--yes"]).ok();
    is_whole(&installation);
    let all: Vec<u64> = (0..100).collect();
    assert!(missing(at(&endpoint), &all).is_empty(), "{}", installation.what_it_says());
}

#[test]
fn a_fleet_goes_on_without_what_was_in_etcd_and_is_rebuilt() {
    let mut fleet = Fleet::start(3);
    fleet.tanist(0, &["create", "web", "--memory", "64mb"]).ok();
    let before: Vec<Option<u32>> =
        fleet.available("web").shards[0].nodes.iter().map(|node| node.pid).collect();
    let endpoint = fleet.endpoint("web", 1);
    let over = AtomicBool::new(false);
    let written = std::thread::scope(|scope| {
        let writing = scope.spawn(|| write(endpoint, &over));
        let end = Ends(&over);
        fleet.wipe_store();
        fleet.wait("the group is missed", |fleet| {
            let notes = fleet.try_status()?.notes;
            notes.iter().any(|note| note.contains("tanist rebuild: web")).then_some(())
        });
        fleet.wait("every host keeps it and every proxy is heard", |fleet| {
            let shown = fleet.tanist(0, &["rebuild", "-o", "json"]);
            let proposal: RebuildProposal = serde_json::from_str(&shown.out).ok()?;
            let certain = |shards: &[tanist_link::api::LostShard]| {
                !shards.is_empty() && shards.iter().all(|shard| shard.doubts.is_empty())
            };
            certain(&proposal.shards).then_some(())
        });
        fleet.tanist(0, &["rebuild", "--yes"]).ok();
        fleet.available("web");
        drop(end);
        writing.join().unwrap_or_else(|_| panic!("{}", fleet.what_it_says()))
    });
    assert!(written.errors.is_empty(), "{written:?}\n{}", fleet.what_it_says());
    assert!(written.uncertain <= 1 && written.acked.len() >= 200, "{written:?}");
    let lost = missing(endpoint, &written.acked);
    assert!(lost.is_empty(), "acknowledged and not there: {lost:?}");
    let after: Vec<Option<u32>> =
        fleet.group("web").shards[0].nodes.iter().map(|node| node.pid).collect();
    assert_eq!(after, before, "no engine was restarted");
    // A host that is lost afterwards is replaced as ever: numbers of before confuse nobody.
    let primary = fleet.primary("web");
    let host = fleet.number(primary.host.as_str());
    fleet.kill_host(host);
    if host == 0 {
        fleet.start_host(0);
    }
    fleet.wait("another node is primary", |fleet| {
        let status = fleet.try_status()?;
        let now = status.groups.first()?.shards.first()?.primary.clone()?;
        (now != primary.node).then_some(())
    });
}

const TOKEN: &str = "a-token-of-web-0123456789";
const PASSWORD: &str = "a-password-of-app-0123456789";

#[test]
fn a_support_bundle_helps_and_holds_no_secret() {
    let installation = web("redis", &[]);
    let secret_file = |name: &str, text: &str| {
        let path = file(&installation, name);
        std::fs::write(&path, text).unwrap_or_else(|err| panic!("{err}"));
        path.display().to_string()
    };
    let (token, password) = (secret_file("one", TOKEN), secret_file("app", PASSWORD));
    installation.tanist(&["token", "set", "web", "--file", &token]).ok();
    let user = ["user", "create", "app", "--access", "on ~* +@all", "--password-file", &password];
    installation.tanist(&user).ok();
    let key = installation.tanist(&["key", "create", "somebody", "-o", "json"]).ok();
    let key: serde_json::Value = serde_json::from_str(&key).unwrap_or_else(|err| panic!("{err}"));
    let endpoint = installation.group("web").primary_endpoint;
    runtime().block_on(async {
        let mut client = installation.connect(&endpoint).await;
        assert!(call(&mut client, &["AUTH", TOKEN]).await.is_ok());
        assert_eq!(text(&mut client, &["SET", "name-of-a-key", "value-of-a-key"]).await, "OK");
    });
    let bytes = std::fs::read(installation.dir().join("secret"));
    let digits: String = bytes
        .unwrap_or_else(|err| panic!("{err}"))
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let mut secrets = vec![TOKEN.to_owned(), PASSWORD.to_owned(), digits.clone()];
    secrets.extend(["name-of-a-key".to_owned(), "value-of-a-key".to_owned()]);
    secrets.extend(texts(&key).into_iter().filter(|text| text.len() >= 30));
    let primary = installation.primary("web");
    let node = installation.dir().join(format!("hosts/{}/nodes/{}", primary.host, primary.node));
    let hashes = passwords_in(&node);
    assert!(!hashes.is_empty(), "the node's configuration has its administrator's hash");
    secrets.extend(hashes);
    let secret = Secret::parse(&digits).unwrap_or_else(|| panic!("it is none: {digits}"));
    secrets.push(secret.password(&admin_label(&primary.node)));
    assert!(secrets.len() >= 8, "{}", secrets.len());
    // Whatever an engine or a role might ever write down.
    let log = node.join("engine.log");
    let mut words = std::fs::read_to_string(&log).unwrap_or_else(|err| panic!("{err}"));
    words.push_str(&format!("requirepass {TOKEN}\nuser app on >{PASSWORD} ~*\nsecret {digits}\n"));
    words.push_str(
        &secrets.iter().filter(|s| s.len() == 64).cloned().collect::<Vec<_>>().join("\n"),
    );
    words.push('\n');
    words.push_str("=== REDIS BUG REPORT START: x ===\nargv[1]: 'name-of-a-key'\n");
    std::fs::write(&log, words).unwrap_or_else(|err| panic!("{err}"));
    let path = file(&installation, "help.tar.gz");
    let said = installation.tanist(&["support-bundle", &path.display().to_string()]).ok();
    assert!(said.contains("status.json") && said.contains("before you send it"), "{said}");
    let all = unpacked(&path);
    for part in ["status.json", "events.json", "doctor.json", "history-web.json", "machine.txt"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(all.contains("web-001") && all.contains("MemAvailable"), "it helps");
    assert!(all.contains("Ready to accept connections"), "engines' logs are in it");
    for secret in &secrets {
        assert!(!all.contains(secret.as_str()), "{secret} is in the bundle");
    }
}

/// Every text of a document.
fn texts(value: &serde_json::Value) -> Vec<String> {
    match value {
        serde_json::Value::String(text) => vec![text.clone()],
        serde_json::Value::Object(fields) => fields.values().flat_map(texts).collect(),
        serde_json::Value::Array(all) => all.iter().flat_map(texts).collect(),
        _ => Vec::new(),
    }
}

/// The long words of a node's configuration and ACL files: passwords and their hashes.
fn passwords_in(node: &std::path::Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(node).unwrap_or_else(|err| panic!("{err}")).flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.ends_with(".conf") && !name.ends_with(".acl") {
            continue;
        }
        let text = std::fs::read_to_string(entry.path()).unwrap_or_default();
        let words = text.split(|c: char| !c.is_ascii_hexdigit());
        found.extend(words.filter(|word| word.len() >= 41).map(str::to_owned));
    }
    found
}

fn unpacked(path: &std::path::Path) -> String {
    let ran = Command::new("tar").arg("xzfO").arg(path).output();
    let ran = ran.unwrap_or_else(|err| panic!("tar: {err}"));
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    String::from_utf8_lossy(&ran.stdout).into_owned()
}
