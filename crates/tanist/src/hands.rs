//! An agent that is always there: one that fails is started again, as a service manager would.
//!
//! Invariant: what was asked of an agent that failed is done by the next one.
//!
//! Not here: what an agent does (`tanist-agent`).

use std::time::Duration;

use tanist_agent::{AgentConfig, Ended, Inbox};
use tanist_core::model::HostId;
use tanist_link::wire::FromAgent;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// How often agents look at engines.
pub(crate) const PROBE_EVERY: Duration = Duration::from_millis(50);
/// Pauses before an agent that failed is started again: the first and the longest.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(10));

/// Runs a host's agent; one that fails is started again, as systemd would.
pub(crate) async fn agent(
    config: AgentConfig,
    mut orders: Inbox,
    reports: mpsc::Sender<FromAgent>,
) -> (HostId, Ended) {
    let host = config.host.clone();
    let mut pause = PAUSE.0;
    let mut said = String::new();
    loop {
        let began = Instant::now();
        let run = tanist_agent::run(config.clone(), &mut orders, reports.clone());
        let err = match run.await {
            Ok(ended) => return (host, ended),
            Err(err) => err,
        };
        let why = std::error::Error::source(&err).map(|why| format!(": {why}")).unwrap_or_default();
        tracing::error!(%host, "an agent has failed and is started again: {err}{why}");
        let text = format!("{err}{why}; it is started again until it works");
        if text != said {
            said.clone_from(&text);
            let (host, name) = (host.clone(), "AgentFailed".to_owned());
            // Nobody hears it once the controller has ended.
            let _ = reports.send(FromAgent::Note { host, node: None, name, text }).await;
        }
        if began.elapsed() > PAUSE.1 {
            pause = PAUSE.0;
        }
        tokio::select! {
            () = reports.closed() => return (host, Ended::Dismissed),
            never = orders.attend() => match never {},
            // waits: the pause is the event.
            () = tokio::time::sleep(pause) => {}
        }
        pause = (pause * 2).min(PAUSE.1);
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::path::Path;

    use tanist_core::model::Limits;
    use tanist_link::Secret;
    use tanist_link::wire::ToAgent;

    /// Orders that an agent may have waiting.
    const QUEUE: usize = 1024;

    use super::*;

    /// An agent that fails until the file that is in the place of its directory is removed.
    fn without_directory(root: &Path) -> AgentConfig {
        let dir = root.join("h1");
        std::fs::write(&dir, b"in the way").unwrap();
        AgentConfig {
            host: HostId::new("h1"),
            address: Ipv4Addr::LOCALHOST,
            dir,
            secret: Secret::from_bytes([1; 32]),
            supervisor: root.join("nobody"),
            engines: tanist_agent::Engines { redis: "none".into(), valkey: "none".into() },
            limits: Limits::DEFAULT,
            probe_every: PROBE_EVERY,
            leases: false,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_agent_that_fails_is_started_again_and_says_so() {
        let root = tempfile::tempdir().unwrap();
        let config = without_directory(root.path());
        let dir = config.dir.clone();
        let (outbox, orders) = mpsc::channel(QUEUE);
        let (reports, mut inbox) = mpsc::channel(QUEUE);
        let task = tokio::spawn(agent(config, Inbox::new(orders), reports));
        let Some(FromAgent::Note { name, text, .. }) = inbox.recv().await else {
            panic!("it reports although it has no directory")
        };
        assert_eq!(name, "AgentFailed");
        assert!(text.contains("using the host's directory"), "{text}");
        outbox.send(ToAgent::Echo(7)).await.unwrap();
        std::fs::remove_file(&dir).unwrap();
        // What was sent meanwhile is heard by the one that follows.
        loop {
            match inbox.recv().await {
                Some(FromAgent::Report(report)) if report.echo == 7 => break,
                Some(_) => {}
                None => panic!("it was not started again"),
            }
        }
        drop(outbox);
        assert_eq!(task.await.unwrap(), (HostId::new("h1"), Ended::Dismissed));
    }

    #[tokio::test(start_paused = true)]
    async fn an_agent_that_is_away_hears_that_everything_is_to_be_stopped() {
        let root = tempfile::tempdir().unwrap();
        let config = without_directory(root.path());
        let dir = config.dir.clone();
        let (outbox, orders) = mpsc::channel(1);
        let (reports, mut inbox) = mpsc::channel(QUEUE);
        let task = tokio::spawn(agent(config, Inbox::new(orders), reports));
        let Some(FromAgent::Note { .. }) = inbox.recv().await else { panic!("it has failed") };
        // More than its queue holds: whoever speaks to it does not wait for its next attempt.
        for number in 0..10 {
            outbox.send(ToAgent::Echo(number)).await.unwrap();
        }
        outbox.send(ToAgent::StopAll).await.unwrap();
        assert!(dir.is_file(), "it was away all the time");
        std::fs::remove_file(&dir).unwrap();
        let hearing = async { while inbox.recv().await.is_some() {} };
        let ((), ended) = tokio::join!(hearing, task);
        assert_eq!(ended.unwrap(), (HostId::new("h1"), Ended::Stopped));
    }
}
