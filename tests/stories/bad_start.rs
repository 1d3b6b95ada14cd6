//! Installations that cannot start: each says why and what to do, and nothing is lost.
//!
//! Invariant: a refused start changes nothing.
//!
//! Not here: bad requests to a running one.

use std::os::unix::fs::PermissionsExt;

use tanist_lab::Installation;

use crate::{call, runtime, web};

crate::on_both_engines!(a_group_on_a_taken_port_says_so_and_others_are_not_disturbed,);

fn assert_refused(ran: &tanist_lab::Ran, code: &str, says: &[&str]) {
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.err.contains(&format!("error[{code}]")), "{}", ran.err);
    assert!(ran.err.contains("what to do:"), "{}", ran.err);
    for word in says {
        assert!(ran.err.contains(word), "{word:?} is not in: {}", ran.err);
    }
}

#[test]
fn a_machine_without_an_engine_is_told_what_to_install() {
    let mut installation = Installation::empty();
    installation.with_path("/nonexistent");
    assert_refused(&installation.dev_fails(), "T616", &["redis-server", "apt install"]);
}

#[test]
fn a_data_directory_in_use_names_who_uses_it() {
    let installation = Installation::start();
    assert_refused(&installation.dev_fails(), "T615", &["in use by process"]);
    assert!(installation.try_status().is_some(), "the running one was disturbed");
}

#[test]
fn a_data_directory_that_is_a_file_is_refused() {
    let installation = Installation::empty();
    let file = installation.dir().join("file");
    std::fs::write(&file, b"precious").unwrap_or_else(|err| panic!("{err}"));
    let path = file.display().to_string();
    let ran = installation.tanist(&["dev", "--data-dir", &path]);
    assert_refused(&ran, "T611", &[&path]);
    assert_eq!(std::fs::read(&file).ok().as_deref(), Some(&b"precious"[..]));
}

#[test]
fn a_data_directory_that_cannot_be_written_is_refused() {
    let mut installation = Installation::empty();
    if !installation.with_disk(".", "ro") {
        return;
    }
    let path = installation.dir().display().to_string();
    assert_refused(&installation.dev_fails(), "T611", &[&path, "Read-only"]);
}

#[test]
fn names_that_could_not_be_kept_are_refused_before_anything_starts() {
    let mut installation = Installation::empty();
    // A disk that is mounted over /etc, read-only and without any file.
    if !installation.with_disk("/etc", "ro") {
        return;
    }
    let ran = installation.dev_fails_with(&["--hosts"]);
    assert_refused(&ran, "T642", &["/etc/hosts", "root"]);
    assert!(!installation.dir().join("store").exists(), "something was started");
}

#[test]
fn a_damaged_store_is_refused_with_the_place_of_its_last_copy_and_left_alone() {
    let mut installation = web("redis", &["--replicas", "0"]);
    installation.tanist(&["down"]).ok();
    installation.dev_ended();
    let path = installation.dir().join("store/store.db");
    let mut bytes = std::fs::read(&path).unwrap_or_else(|err| panic!("{err}"));
    let middle = bytes.len() / 2;
    bytes[middle..middle + 64].fill(0xee);
    std::fs::write(&path, &bytes).unwrap_or_else(|err| panic!("{err}"));
    assert_refused(&installation.dev_fails(), "T615", &["damaged", "last-good"]);
    assert_eq!(std::fs::read(&path).ok(), Some(bytes), "the damaged file was changed");
}

#[test]
fn a_damaged_secret_is_refused() {
    let installation = Installation::empty();
    std::fs::write(installation.dir().join("secret"), b"short")
        .unwrap_or_else(|err| panic!("{err}"));
    assert_refused(&installation.dev_fails(), "T612", &["secret"]);
}

#[test]
fn an_engine_that_is_too_old_is_named_with_the_remedy() {
    let mut installation = Installation::empty();
    let bin = installation.dir().join("bin");
    std::fs::create_dir(&bin).unwrap_or_else(|err| panic!("{err}"));
    let old = bin.join("redis-server");
    std::fs::write(
        &old,
        "#!/bin/sh\necho 'Redis server v=6.0.16 sha=00000000:0 malloc=x bits=64'\n",
    )
    .and_then(|()| std::fs::set_permissions(&old, std::fs::Permissions::from_mode(0o755)))
    .unwrap_or_else(|err| panic!("{err}"));
    installation.with_path(format!("{}:/usr/bin:/bin", bin.display()));
    installation.dev();
    installation.tanist(&["create", "web", "--engine", "redis", "--no-wait"]).ok();
    let problem = installation.wait("the problem is named", |installation| {
        let shard = installation.shard("web");
        let problem = shard.problems.into_iter().find(|p| p.kind.name() == "NodeCannotStart");
        problem.map(|problem| problem.detail)
    });
    assert!(problem.contains("6.0.16") && problem.contains("7.0"), "{problem}");
}

fn a_group_on_a_taken_port_says_so_and_others_are_not_disturbed(engine: &str) {
    let installation = web(engine, &["--replicas", "0"]);
    let status = installation.try_status().unwrap_or_else(|| panic!("no status"));
    let used = installation.primary("web").host;
    let other = status.hosts.iter().find(|host| host.host != used);
    let other = other.unwrap_or_else(|| panic!("{status:?}"));
    // The next group's node goes to an empty host, to the first port there.
    let taken: Vec<_> = status
        .hosts
        .iter()
        .filter(|host| host.host != used)
        .map(|host| std::net::TcpListener::bind((host.address, 31_000)))
        .collect();
    assert!(taken.iter().all(Result::is_ok), "{taken:?}, {other:?}");
    installation
        .tanist(&[
            "create",
            "late",
            "--engine",
            engine,
            "--replicas",
            "0",
            "--memory",
            "64mb",
            "--no-wait",
        ])
        .ok();
    let problem = installation.wait("the problem is named", |installation| {
        let shard = installation.shard("late");
        let problem = shard.problems.into_iter().find(|p| p.kind.name() == "NodeCannotStart");
        problem.map(|problem| problem.detail)
    });
    assert!(problem.to_lowercase().contains("in use"), "{problem}");
    drop(taken);
    installation.available("late");
    let endpoint = installation.group("web").primary_endpoint;
    runtime().block_on(async {
        let mut client = installation.connect(&endpoint).await;
        assert!(call(&mut client, &["SET", "k", "v"]).await.is_ok());
    });
}
