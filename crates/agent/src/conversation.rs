//! An agent's conversation with the server that leads its fleet, opened again whenever it ends.
//!
//! The leader says something every few milliseconds. One that falls silent may be hung, or cut off, or
//! not lead any more: after a while (`tanist_link::Patience`) another server is asked, and whoever leads
//! takes the call.
//!
//! Invariant: nobody who reports waits for a server; what is reported while there is none is dropped,
//! because the first report of the next conversation says everything again.
//!
//! Not here: what is said (`crate::agent`), what of it is known already (`crate::said`), who leads
//! (`tanist-controller`).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tanist_link::wire::{AgentHello, FromAgent, ToAgent};
use tanist_link::{Client, Duplex, LinkError, Patience};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until, timeout};
use tracing::{debug, info, warn};

use crate::said::Said;

/// Where a controller talks to agents.
const ROUTE: &str = "/link/v1/agent";
/// How often the host's wall clock is told.
const CLOCK_EVERY: Duration = Duration::from_secs(1);
/// Pauses between attempts to find who leads: the first and the longest.
const PAUSE: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(100));
/// How long all servers may take to say whether they lead.
const CALL_LIMIT: Duration = Duration::from_secs(5);

/// Talks until nobody takes the orders or makes reports any more.
pub async fn converse(
    client: Client,
    hello: AgentHello,
    orders: mpsc::Sender<ToAgent>,
    mut reports: mpsc::Receiver<FromAgent>,
) {
    let mut pause = PAUSE.0;
    let mut reachable = true;
    let mut patience = Patience::default();
    while !orders.is_closed() && !reports.is_closed() {
        let opened = tokio::select! {
            opened = timeout(CALL_LIMIT, client.open::<FromAgent, ToAgent>(ROUTE)) => opened,
            () = unheard(&mut reports) => return,
        };
        match opened {
            Ok(Ok(duplex)) => {
                info!(host = %hello.host, servers = client.peer(), "talking");
                reachable = true;
                match talk(&hello, duplex, &orders, &mut reports, &patience).await {
                    Ok(End::Done) => return,
                    Ok(End::Lost) => info!("the server has ended the conversation"),
                    Ok(End::Silent) => {
                        warn!("the server that led says nothing: another one is asked");
                        patience.give_up(Instant::now());
                        client.pass_over();
                    }
                    Err(err) => warn!(err = &err as &dyn std::error::Error, "talking failed"),
                }
            }
            Ok(Err(err)) => {
                let err = &err as &dyn std::error::Error;
                if std::mem::take(&mut reachable) {
                    warn!(err, "no server leads that can be reached: engines go on");
                } else {
                    debug!(err, "no server leads that can be reached");
                }
            }
            Err(_) => debug!("the servers do not answer"),
        }
        tokio::select! {
            // waits: nothing tells when a server will lead.
            () = sleep(pause) => pause = (pause * 2).min(PAUSE.1),
            () = unheard(&mut reports) => return,
        }
    }
}

/// Takes reports that nobody hears; ends when no more are made.
async fn unheard(reports: &mut mpsc::Receiver<FromAgent>) {
    while reports.recv().await.is_some() {}
}

/// Why a conversation is over.
enum End {
    /// Nobody here wants one any more.
    Done,
    Lost,
    Silent,
}

async fn talk(
    hello: &AgentHello,
    duplex: Duplex<FromAgent, ToAgent>,
    orders: &mpsc::Sender<ToAgent>,
    reports: &mut mpsc::Receiver<FromAgent>,
    patience: &Patience,
) -> Result<End, LinkError> {
    let Duplex { sender, mut receiver } = duplex;
    sender.send(&FromAgent::Hello(hello.clone()))?;
    let mut said = Said::default();
    let mut clock = interval(CLOCK_EVERY);
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // waits: for the leader's next word, not longer than this.
    let silence = sleep_until(patience.end(Instant::now()));
    tokio::pin!(silence);
    loop {
        tokio::select! {
            heard = receiver.recv() => {
                silence.as_mut().reset(patience.end(Instant::now()));
                said.heard();
                match heard? {
                    Some(ToAgent::Parts) => said.remember(),
                    Some(order) => {
                        if orders.send(order).await.is_err() {
                            return Ok(End::Done);
                        }
                    }
                    None => return Ok(End::Lost),
                }
            }
            report = reports.recv() => match report {
                Some(FromAgent::Report(report)) => {
                    if let Some(news) = said.news(report, Instant::now()) {
                        sender.send(&FromAgent::Report(news))?;
                    }
                }
                Some(other) => sender.send(&other)?,
                None => return Ok(End::Done),
            },
            _ = clock.tick() => {
                // At the last moment: what waits here would make the clock look slow.
                sender.send(&FromAgent::Clock { host: hello.host.clone(), wall_ms: wall_ms() })?;
            }
            () = &mut silence => return Ok(End::Silent),
        }
    }
}

/// Now, in milliseconds since 1970.
fn wall_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
