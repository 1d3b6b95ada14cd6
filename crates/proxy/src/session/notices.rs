//! Notices of a failover or a planned move, for clients that ask for them (`CLIENT MAINT_NOTIFICATIONS`).
//!
//! redis-py, node-redis, go-redis and Lettuce ask every server for them. While a notice says that the
//! primary is moving, they give a request more time instead of giving up on a connection that is about
//! to be served again. Each notice ends with the shard that moves: Lettuce warns of one without it.
//!
//! Invariant: a client that heard `FAILING_OVER` or `MIGRATING` hears that it is over before the next one,
//! and never that something is over of whose beginning it has not heard.
//!
//! Not here: when the primary moves (`crate::shard`).

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tanist_core::gate::HOLD_LIMIT;
use tanist_resp::{Request, Version};

use super::Session;
use super::class::Pending;
use crate::shard::{EndpointKind, Shard};
use crate::text;

/// What a client has asked for and heard.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Notices {
    pub(super) asked: bool,
    /// The notice that it heard last.
    heard: u64,
    /// It heard the beginning of a planned move.
    planned: bool,
    /// When its connection is about to end it wants to be told an address to dial.
    wants_address: bool,
}

/// The forms in which a client may want to be told where to dial when its connection is about to end, and
/// whether it wants to be told at all. What an endpoint is called only its group's owner knows; its
/// address is in its certificate. (node-redis ends its whole process if it hears of no address and
/// has not said `none`.)
const ENDPOINTS: [(&[u8], bool); 5] = [
    (b"internal-ip", true),
    (b"internal-fqdn", true),
    (b"external-ip", true),
    (b"external-fqdn", true),
    (b"none", false),
];

/// Whether the request is well-formed, and what it asks for: notices, and an address in those of a move.
fn asks(request: &Request) -> Option<(bool, bool)> {
    let on = request.arg(2)?;
    let on = match on {
        _ if on.eq_ignore_ascii_case(b"on") => true,
        _ if on.eq_ignore_ascii_case(b"off") => false,
        _ => return None,
    };
    match (request.argc(), request.arg(3), request.arg(4)) {
        (3, ..) => Some((on, false)),
        (5, Some(option), Some(kind)) if option.eq_ignore_ascii_case(b"moving-endpoint-type") => {
            let known = ENDPOINTS.iter().find(|(word, _)| word.eq_ignore_ascii_case(kind))?;
            Some((on, known.1))
        }
        _ => None,
    }
}

impl Session {
    /// The answer to a request for notices; `None` if an engine has the words for it. Notices are
    /// pushes, which there are none of in RESP2.
    pub(super) fn answer_notices(
        &mut self,
        pending: &Pending,
        shard: &Shard,
    ) -> Option<&'static [u8]> {
        if self.state.version != Version::Resp3 {
            return None;
        }
        let (asked, wants_address) = asks(&pending.request)?;
        self.state.notices =
            Notices { asked, heard: shard.notice(), planned: false, wants_address };
        Some(text::OK)
    }

    /// Tells the client that the primary has begun or ceased to move.
    pub(super) fn tell_notices(&mut self, shard: &Shard) {
        let (notice, moving) = (shard.notice(), shard.is_moving());
        let heard = self.state.notices.heard;
        let asked = self.state.notices.asked && self.endpoint.kind != EndpointKind::Reader;
        if !asked || heard == notice {
            return;
        }
        self.state.notices.heard = notice;
        // They alternate. A proxy that has much to do may see the end of a move together with its
        // beginning; what lies between two of the same kind was missed altogether.
        if (notice - heard).is_multiple_of(2) {
            self.tell(notice - 1, !moving, shard);
        }
        self.tell(notice, moving, shard);
    }

    fn tell(&mut self, notice: u64, begins: bool, shard: &Shard) {
        let planned = &mut self.state.notices.planned;
        if begins {
            *planned = shard.counters.planned.get();
        }
        let name = match (begins, *planned) {
            (true, true) => "MIGRATING",
            (true, false) => "FAILING_OVER",
            (false, true) => "MIGRATED",
            (false, false) => "FAILED_OVER",
        };
        let (parts, time) =
            if begins { (4, format!(":{}\r\n", HOLD_LIMIT.as_secs())) } else { (3, String::new()) };
        let (length, shard) = (name.len(), shard.key.shard.as_str());
        let push = format!(
            ">{parts}\r\n${length}\r\n{name}\r\n:{notice}\r\n{time}${}\r\n{shard}\r\n",
            shard.len()
        );
        self.client_out.push(Bytes::from(push));
    }

    /// Tells the client that its connection ends in so many seconds and that it should dial the same
    /// address again; whether it has asked for such notices.
    pub(crate) fn tell_moving(&mut self, notice: u64, seconds: u64) -> bool {
        let Notices { asked, wants_address, .. } = self.state.notices;
        if !asked || self.state.version != Version::Resp3 {
            return false;
        }
        let place = if wants_address {
            let address = self.endpoint.address.to_string();
            format!("${}\r\n{address}\r\n", address.len())
        } else {
            "_\r\n".to_owned()
        };
        let push = format!(">4\r\n$6\r\nMOVING\r\n:{notice}\r\n:{seconds}\r\n{place}");
        self.client_out.push(Bytes::from(push));
        true
    }
}

#[cfg(test)]
mod tests {
    use tanist_resp::Command;

    use super::*;

    #[test]
    fn only_what_clients_send_is_understood() {
        let request = |line: &str| {
            let mut words = line.split(' ');
            Command::new(words.next().unwrap()).args(words).to_request()
        };
        for (line, asked) in [
            ("CLIENT MAINT_NOTIFICATIONS ON", Some((true, false))),
            ("client maint_notifications on moving-endpoint-type internal-ip", Some((true, true))),
            (
                "client maint_notifications on Moving-Endpoint-Type External-FQDN",
                Some((true, true)),
            ),
            ("CLIENT MAINT_NOTIFICATIONS OFF", Some((false, false))),
            ("CLIENT MAINT_NOTIFICATIONS", None),
            ("CLIENT MAINT_NOTIFICATIONS PERHAPS", None),
            ("CLIENT MAINT_NOTIFICATIONS ON moving-endpoint-type", None),
            ("CLIENT MAINT_NOTIFICATIONS ON moving-endpoint-type moon", None),
        ] {
            assert_eq!(asks(&request(line)), asked, "{line}");
        }
    }
}
