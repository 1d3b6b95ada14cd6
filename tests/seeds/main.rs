//! The mission documents, typed as their readers would type them.
//!
//! Each table beside this file holds every command and every block of one document, word for word,
//! and what is to come of it. `make seeds` shows them all.
//!
//! Invariant: a line of a table that is said to work was typed, and came out as the table says.
//!
//! Not here: what Tanist does under faults (`stories/`).

mod claims;
mod replay;
mod report;
mod session;
mod table;
mod terminal;

use tanist_lab::Installation;

use replay::{Verdict, replay};
use session::Session;
use table::Document;

/// The documents' tables.
const TABLES: [&str; 5] = [
    include_str!("000-failover-and-replication.toml"),
    include_str!("001-global-datastore.toml"),
    include_str!("002-cluster-mode.toml"),
    include_str!("003-failover-runbook.toml"),
    include_str!("004-cluster-on-instances.toml"),
];

/// What is shown after the replays: its name sorts behind theirs.
mod summary {
    use super::{TABLES, document, held_back, report};

    #[test]
    #[allow(clippy::print_stdout, reason = "the table is what `make seeds` is for")]
    fn of_all_documents() {
        let mut counts = String::new();
        for number in 0..TABLES.len() {
            let document = held_back(document(number));
            if document.lines.iter().all(|line| !line.status.is_typed()) {
                println!("{}", report::table(&document, None, &[]));
            }
            counts.push_str(&format!("{number:03}  {}\n", document.title));
            counts.push_str(&format!("     {}\n", report::counted(&document)));
        }
        println!("\n{counts}");
    }
}

/// Replays a document on both engines.
macro_rules! seeds {
    ($($name:ident $number:literal),* $(,)?) => { $(
        mod $name {
            #[test] fn redis() { super::seed($number, "redis"); }
            #[test] fn valkey() { super::seed($number, "valkey"); }
        }
    )* };
}

#[cfg(feature = "surface")]
seeds!(seed_000 0);
seeds!(seed_003 3);

/// A document as far as it is replayed here: what is not does not count as working.
fn held_back(document: Document) -> Document {
    let missing = missing(&document);
    if !cfg!(feature = "surface") && document.needs.iter().any(|program| program == "aws") {
        document.held_back("once the AWS surface is served")
    } else if missing.is_empty() {
        document
    } else {
        document.held_back(&format!("where {} is installed", missing.join(", ")))
    }
}

fn missing(document: &Document) -> Vec<String> {
    document.needs.iter().filter(|program| !terminal::has(program)).cloned().collect()
}

fn document(number: usize) -> Document {
    Document::parse(TABLES[number]).unwrap_or_else(|err| panic!("document {number:03}: {err}"))
}

#[allow(clippy::print_stdout, reason = "the table is what `make seeds` is for")]
fn seed(number: usize, engine: &str) {
    let document = document(number);
    let missing = missing(&document);
    if !missing.is_empty() {
        tanist_lab::skip(&format!("document {number:03} needs {}", missing.join(", ")));
        return;
    }
    let (installation, verdicts) = replayed_on(&document, engine);
    println!("{}", report::table(&document, Some(engine), &verdicts));
    if let Some(fallen) = report::fallen(&document, &verdicts) {
        panic!("on {engine} these lines fell back:\n{fallen}\n{}", installation.what_it_says());
    }
}

/// An installation of its own, and what came of the document's lines there.
fn replayed_on(document: &Document, engine: &str) -> (Installation, Vec<Verdict>) {
    let mut installation = Installation::empty();
    match &document.network {
        None => installation.dev(),
        Some(network) => {
            let file = installation.dir().join("network.toml");
            std::fs::write(&file, network).unwrap_or_else(|err| panic!("the network: {err}"));
            installation.dev_with(&["--config", &file.to_string_lossy()]);
        }
    }
    let env = installation.tanist(&["env"]).ok();
    let mut variables = terminal::exported(&env).unwrap_or_else(|err| panic!("tanist env: {err}"));
    if document.needs.iter().any(|program| program == "aws") {
        assert!(variables.contains_key("AWS_ENDPOINT_URL"), "tanist env names no endpoint:\n{env}");
    }
    variables.extend(document.variables.clone());
    variables.insert("ENGINE".to_owned(), engine.to_owned());
    variables.insert("PATH".to_owned(), path(engine, installation.dir()));
    let own = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../.venv/bin/python");
    variables.insert("PYTHON".to_owned(), own.display().to_string());
    variables.insert("SENTINEL".to_owned(), sentinel(&installation));
    if let Some(group) = &document.group {
        let replicas = group.replicas.to_string();
        let made = installation.create(&group.name, &["--engine", engine, "--replicas", &replicas]);
        variables.insert("PRIMARY".to_owned(), made.primary_endpoint.address.to_string());
        variables.insert("READER".to_owned(), made.reader_endpoint.address.to_string());
    }
    let terminal = installation.dir().join("terminal");
    std::fs::create_dir(&terminal).unwrap_or_else(|err| panic!("the terminal: {err}"));
    let mut session = Session::start(&terminal, |shell| {
        terminal::equip(shell, &terminal, &variables);
    });
    let verdicts = replay(document, engine, &mut session);
    drop(session);
    (installation, verdicts)
}

/// The address at which Sentinel-aware clients ask.
fn sentinel(installation: &Installation) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.unwrap_or_else(|err| panic!("a runtime: {err}"));
    runtime.block_on(installation.sentinel()).ip().to_string()
}

/// Both versions of the AWS CLI: on redis version 1, that of `tests/requirements.txt`; on valkey
/// version 2, Debian's. That one is too old to know `AWS_ENDPOINT_URL` (2.13 was the first), so here
/// it is told by the option, as its users have to.
fn path(engine: &str, dir: &std::path::Path) -> String {
    let path = std::env::var("PATH").unwrap_or_default();
    if engine == "valkey" {
        let script = "#!/bin/sh\nexec /usr/bin/aws --endpoint-url \"$AWS_ENDPOINT_URL\" \"$@\"\n";
        let mut options = std::fs::File::options();
        let mut made = std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o755)
            .write(true)
            .create_new(true)
            .open(dir.join("aws"))
            .unwrap_or_else(|err| panic!("the script: {err}"));
        std::io::Write::write_all(&mut made, script.as_bytes())
            .unwrap_or_else(|err| panic!("the script: {err}"));
        return format!("{}:{path}", dir.display());
    }
    let own = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../.venv/bin");
    format!("{}:{path}", own.display())
}
