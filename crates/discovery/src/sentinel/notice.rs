//! What subscribers are told: channels and payloads, letter for letter as Sentinel writes them.
//!
//! Invariant: one notice is one message; its payload's words are separated by single blanks, and
//! clients count them.
//!
//! Not here: when something is told (`super::story`), to whom (`super::subscriptions`).

use std::net::SocketAddrV4;
use std::sync::Arc;

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Notice {
    /// The channel, which is the event's name.
    pub(super) channel: &'static str,
    /// What happened to whom.
    pub(super) payload: String,
}

/// A name under which clients ask, and the address that they are told for it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lead<'a> {
    pub(super) name: &'a str,
    pub(super) address: SocketAddrV4,
}

impl Lead<'_> {
    /// Something about the primary.
    pub(super) fn told(self, channel: &'static str) -> Arc<Notice> {
        self.told_with(channel, "")
    }

    /// As [`Lead::told`], with more words at the end.
    pub(super) fn told_with(self, channel: &'static str, more: &str) -> Arc<Notice> {
        let (name, ip, port) = (self.name, self.address.ip(), self.address.port());
        said(channel, format!("master {name} {ip} {port}{more}"))
    }

    /// Something about a replica.
    pub(super) fn told_of(self, channel: &'static str, replica: SocketAddrV4) -> Arc<Notice> {
        let (name, ip, port) = (self.name, self.address.ip(), self.address.port());
        let (of, at) = (replica.ip(), replica.port());
        said(channel, format!("slave {of}:{at} {of} {at} @ {name} {ip} {port}"))
    }

    /// Clients have to go from another address to this one.
    pub(super) fn switched(self, from: SocketAddrV4) -> Arc<Notice> {
        let (name, ip, port) = (self.name, self.address.ip(), self.address.port());
        said("+switch-master", format!("{name} {} {} {ip} {port}", from.ip(), from.port()))
    }
}

/// A notice.
pub(super) fn said(channel: &'static str, payload: String) -> Arc<Notice> {
    Arc::new(Notice { channel, payload })
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const fn at(last: u8) -> SocketAddrV4 {
        SocketAddrV4::new(Ipv4Addr::new(127, 80, 0, last), 6379)
    }

    #[test]
    fn payloads_have_the_words_that_clients_count() {
        let web = Lead { name: "web", address: at(1) };
        assert_eq!(web.told("+try-failover").payload, "master web 127.80.0.1 6379");
        assert_eq!(
            web.told_of("+slave", at(2)).payload,
            "slave 127.80.0.2:6379 127.80.0.2 6379 @ web 127.80.0.1 6379"
        );
        assert_eq!(web.switched(at(3)).payload, "web 127.80.0.3 6379 127.80.0.1 6379");
        assert_eq!(
            web.told_with("+odown", " #quorum 1/1").payload,
            "master web 127.80.0.1 6379 #quorum 1/1"
        );
    }
}
