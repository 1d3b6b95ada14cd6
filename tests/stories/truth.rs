//! What endpoints say about the group, and what nobody may find out.
//!
//! Invariant: no engine's own address reaches a client.
//!
//! Not here: the exact answers to bad input (`tanist-proxy`).

use std::path::Path;

use crate::{call, runtime, text, web};

crate::on_both_engines!(
    role_and_info_name_node_endpoints_and_no_engine,
    a_write_at_the_reader_endpoint_gets_the_engines_own_refusal,
    nobody_gets_at_an_engine_without_its_password,
    no_secret_is_in_a_log_a_command_line_or_an_event,
);

fn role_and_info_name_node_endpoints_and_no_engine(engine: &str) {
    let installation = web(engine, &[]);
    let group = installation.group("web");
    let shard = &group.shards[0];
    let endpoints: Vec<String> =
        shard.nodes.iter().map(|node| node.endpoint.address.to_string()).collect();
    runtime().block_on(async {
        for endpoint in [&group.primary_endpoint, &group.reader_endpoint] {
            let mut client = installation.connect(endpoint).await;
            let role = format!("{:?}", call(&mut client, &["ROLE"]).await);
            let info = text(&mut client, &["INFO", "replication"]).await;
            for said in [&role, &info] {
                assert!(endpoints.iter().any(|ip| said.contains(ip)), "{engine}: {said}");
                assert!(!said.contains(".0.1") || !said.contains(":31"), "{engine}: {said}");
                for node in &shard.nodes {
                    let tag = format!("{}.", node.node);
                    assert!(!said.contains(&tag), "{engine}: {said}");
                }
            }
        }
    });
}

fn a_write_at_the_reader_endpoint_gets_the_engines_own_refusal(engine: &str) {
    let installation = web(engine, &[]);
    let group = installation.group("web");
    runtime().block_on(async {
        let mut client = installation.connect(&group.reader_endpoint).await;
        let reply = call(&mut client, &["SET", "k", "v"]).await;
        let expected = "READONLY You can't write against a read only replica.";
        assert_eq!(reply.as_error().as_deref(), Some(expected), "{engine}");
        assert!(call(&mut client, &["GET", "k"]).await.is_null(), "{engine}");
    });
}

fn nobody_gets_at_an_engine_without_its_password(engine: &str) {
    let installation = web(engine, &[]);
    let network = installation.primary("web").endpoint.address.octets()[1];
    let status = installation.try_status().unwrap_or_else(|| panic!("no status"));
    let sockets = std::fs::read_to_string("/proc/net/tcp").unwrap_or_default();
    // What other tests have closed on these addresses is remembered there for a while.
    let listens = |socket: &&str| socket.split_whitespace().nth(3) == Some("0A");
    let local = |socket: &str| socket.split_whitespace().nth(1).unwrap_or_default().to_owned();
    let listening: Vec<String> = sockets.lines().filter(listens).map(local).collect();
    let mut engines = 0;
    runtime().block_on(async {
        for host in &status.hosts {
            assert_eq!(host.address.octets()[1], network);
            for port in 31_000..31_010 {
                let hex = format!("{:08X}:{port:04X}", u32::from_le_bytes(host.address.octets()));
                if !listening.contains(&hex) {
                    continue;
                }
                engines += 1;
                let endpoint = tanist_link::api::EndpointStatus {
                    host: host.address.to_string(),
                    address: host.address,
                    port,
                    also: Vec::new(),
                };
                let mut client = installation.connect(&endpoint).await;
                for words in [&["PING"][..], &["GET", "k"], &["REPLICAOF", "NO", "ONE"]] {
                    let reply = call(&mut client, words).await;
                    let code = reply.error_code().map(str::to_owned);
                    assert_eq!(code.as_deref(), Some("NOAUTH"), "{engine}: {reply:?}");
                }
            }
        }
    });
    assert_eq!(engines, 3, "{engine}: {listening:?}");
}

fn no_secret_is_in_a_log_a_command_line_or_an_event(engine: &str) {
    let installation = web(engine, &[]);
    installation.tanist(&["switchover", "web"]).ok();
    let secret = tanist_link::Secret::load_or_create(&installation.dir().join("secret"));
    let secret = secret.unwrap_or_else(|err| panic!("{err}"));
    let mut secrets = Vec::new();
    for node in &installation.shard("web").nodes {
        secrets.push(secret.password(&tanist_link::wire::admin_label(&node.node)));
    }
    let events = installation.tanist(&["events", "-o", "json"]).ok();
    let mut texts = vec![("events".to_owned(), events)];
    logs(installation.dir(), &mut texts);
    for pid in tanist_lab::engines_of(installation.dir()) {
        let cmdline = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        texts.push((pid.to_string(), String::from_utf8_lossy(&cmdline).into_owned()));
    }
    assert!(texts.len() > 8, "too little was searched: {}", texts.len());
    for (name, text) in &texts {
        assert!(!secrets.iter().any(|secret| text.contains(secret)), "a secret is in {name}");
    }
}

fn logs(dir: &Path, texts: &mut Vec<(String, String)>) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            logs(&path, texts);
        } else if path.extension().is_some_and(|extension| extension == "log") {
            let text = std::fs::read(&path).unwrap_or_default();
            texts.push((path.display().to_string(), String::from_utf8_lossy(&text).into_owned()));
        }
    }
}
