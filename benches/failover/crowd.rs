//! Ten thousand clients that do nothing, and a primary that fails beside them.
//!
//! Invariant: every idle client asks for something afterwards, on the connection that it had.
//!
//! Not here: clients that work (`super::tanist`).

use std::time::Duration;

use tanist_bench::{Row, setting, spread};
use tanist_lab::Installation;
use tanist_resp::{Command, Connection};

use super::tanist::{Totals, faults_of};

/// Clients; a few more write meanwhile, and a proxy takes ten thousand in all.
const IDLE: usize = 9_900;

/// Kills primaries beside idle clients.
pub(crate) fn crowd() -> Vec<Row> {
    let installation = Installation::start();
    println!("{}", installation.tanist(&["create", "bench"]).ok());
    let endpoint = installation.group("bench").primary_endpoint;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.unwrap_or_else(|err| panic!("a runtime: {err}"));
    let mut idle: Vec<Connection> = runtime.block_on(async {
        let mut idle = Vec::with_capacity(IDLE);
        for _ in 0..IDLE {
            let mut client = installation.connect(&endpoint).await;
            assert!(asks(&mut client).await, "a client that has just connected");
            idle.push(client);
        }
        idle
    });
    let runs = setting("TANIST_BENCH_RUNS", 30).min(10);
    let (gaps, totals): (Vec<u64>, Totals) = faults_of(&installation, "--kill", runs);
    let gone = runtime.block_on(async {
        let mut gone = 0;
        for client in &mut idle {
            gone += usize::from(!asks(client).await);
        }
        gone
    });
    vec![
        Row {
            what: format!("kill beside {IDLE} idle clients: longest write gap"),
            measured: spread(gaps),
            target: "0 disconnects",
        },
        Row {
            what: "the same: what clients saw".to_owned(),
            measured: format!("{gone} of {IDLE} idle clients disconnected; {totals}"),
            target: "0 disconnects",
        },
    ]
}

async fn asks(client: &mut Connection) -> bool {
    client.call(&Command::new("PING"), Duration::from_secs(20)).await.is_ok()
}
