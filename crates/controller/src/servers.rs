//! The servers of a fleet, as the one that leads sees them.
//!
//! Nothing depends on it: who leads is settled in the store. It is for people, who want to know before
//! they stop a server whether there is another.
//!
//! Invariant: a server is shown as up only if it was heard, or is this one.
//!
//! Not here: who leads (`super::leadership`).

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use tanist_core::model::{HostId, Instant};
use tanist_link::api::{ServerHere, ServerStatus};

use crate::clocks::Clocks;

/// Silence after which a server counts as gone. They speak every second.
const SILENCE: Duration = Duration::from_secs(3);

/// The servers of a fleet, as the controller is told of them.
#[derive(Debug, Clone)]
pub struct Roster {
    /// The one that this controller is part of.
    pub own: HostId,
    /// All of them.
    pub all: Vec<(HostId, SocketAddr)>,
}

/// When each was heard, and what it said.
#[derive(Debug, Default)]
pub(crate) struct Heard(BTreeMap<HostId, (Instant, String)>);

impl Heard {
    pub(crate) fn note(&mut self, here: ServerHere, now: Instant) {
        self.0.insert(here.host, (now, here.version));
    }

    pub(crate) fn status(
        &self,
        roster: &Roster,
        clocks: &Clocks,
        now: Instant,
    ) -> Vec<ServerStatus> {
        let of = |(host, address): &(HostId, SocketAddr)| {
            let leads = *host == roster.own;
            let heard = self.0.get(host);
            let version = heard.map(|(_, version)| version.clone());
            ServerStatus {
                host: host.clone(),
                address: *address,
                leads,
                up: leads || heard.is_some_and(|(at, _)| now.since(*at) < SILENCE),
                version: version.or_else(|| leads.then(|| env!("CARGO_PKG_VERSION").to_owned())),
                // The one that leads is what the others are compared with.
                clock_ms: if leads { Some(0) } else { clocks.ahead(host, now) },
            }
        };
        roster.all.iter().map(of).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_falls_silent_is_not_shown_as_up() {
        let at = |port| SocketAddr::from(([10, 0, 0, 1], port));
        let all = vec![(HostId::new("h1"), at(1)), (HostId::new("h2"), at(2))];
        let roster = Roster { own: HostId::new("h1"), all };
        let mut heard = Heard::default();
        let up = |heard: &Heard, now| {
            let shown = heard.status(&roster, &Clocks::default(), now);
            shown.iter().map(|server| server.up).collect::<Vec<_>>()
        };
        let now = Instant::from_millis(10_000);
        assert_eq!(up(&heard, now), [true, false], "it has not been heard");
        let here = ServerHere { host: HostId::new("h2"), version: "1".to_owned(), wall_ms: None };
        heard.note(here, now);
        assert_eq!(up(&heard, now + Duration::from_secs(2)), [true, true]);
        assert_eq!(up(&heard, now + Duration::from_secs(4)), [true, false]);
        let shown = heard.status(&roster, &Clocks::default(), now);
        assert_eq!((shown[0].clock_ms, shown[1].clock_ms), (Some(0), None));
        assert_eq!(shown[1].version.as_deref(), Some("1"));
        assert!(shown[0].leads && !shown[1].leads);
    }
}
