//! What one client has subscribed to.
//!
//! Invariant: names and patterns are bounded in number and in bytes; a client hears a notice once for
//! its channel and once for each pattern that it matches, in this order, as from an engine.
//!
//! Not here: where notices come from (`super::story`).

use bytes::BytesMut;
use tanist_resp::Encoder;

use super::glob;
use super::notice::Notice;

/// Most subscriptions of one client.
const MOST: usize = 1024;
/// Most bytes of all their names.
const MOST_BYTES: usize = 64 << 10;

/// One client's subscriptions, in the order in which they were made.
#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    channels: Vec<Vec<u8>>,
    patterns: Vec<Vec<u8>>,
}

/// What is subscribed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    /// A channel by its name.
    Channel,
    /// All channels that match.
    Pattern,
}

impl Subscriptions {
    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.channels.len() + self.patterns.len()
    }

    fn list(&mut self, by: By) -> &mut Vec<Vec<u8>> {
        match by {
            By::Channel => &mut self.channels,
            By::Pattern => &mut self.patterns,
        }
    }

    /// Adds one and confirms it; `false` if there is no room for it.
    pub(super) fn add(&mut self, by: By, name: &[u8], to: Encoder, out: &mut BytesMut) -> bool {
        if !self.list(by).iter().any(|known| known == name) {
            let bytes: usize = self.channels.iter().chain(&self.patterns).map(Vec::len).sum();
            if self.count() >= MOST || bytes + name.len() > MOST_BYTES {
                return false;
            }
            self.list(by).push(name.to_vec());
        }
        let word = if by == By::Channel { "subscribe" } else { "psubscribe" };
        self.confirm(word, Some(name), to, out);
        true
    }

    /// Ends one and confirms it, whether or not it was there.
    pub(super) fn remove(&mut self, by: By, name: &[u8], to: Encoder, out: &mut BytesMut) {
        self.list(by).retain(|known| known != name);
        let word = if by == By::Channel { "unsubscribe" } else { "punsubscribe" };
        self.confirm(word, Some(name), to, out);
    }

    /// Ends all of a kind and confirms each; that there were none is confirmed as well.
    pub(super) fn clear(&mut self, by: By, to: Encoder, out: &mut BytesMut) {
        let names = self.list(by).clone();
        for name in &names {
            self.remove(by, name, to, out);
        }
        if names.is_empty() {
            let word = if by == By::Channel { "unsubscribe" } else { "punsubscribe" };
            self.confirm(word, None, to, out);
        }
    }

    fn confirm(&self, word: &str, name: Option<&[u8]>, to: Encoder, out: &mut BytesMut) {
        to.push(out, 3);
        to.bulk(out, word);
        match name {
            Some(name) => to.bulk(out, name),
            None => to.null(out),
        }
        to.integer(out, i64::try_from(self.count()).unwrap_or(i64::MAX));
    }

    /// Writes a notice as often as the client is to hear it.
    pub(super) fn deliver(&self, notice: &Notice, to: Encoder, out: &mut BytesMut) {
        let channel = notice.channel.as_bytes();
        if self.channels.iter().any(|known| known == channel) {
            to.push(out, 3);
            to.bulk(out, "message");
            to.bulk(out, channel);
            to.bulk(out, &notice.payload);
        }
        for pattern in self.patterns.iter().filter(|pattern| glob::matches(pattern, channel)) {
            to.push(out, 4);
            to.bulk(out, "pmessage");
            to.bulk(out, pattern);
            to.bulk(out, channel);
            to.bulk(out, &notice.payload);
        }
    }
}

#[cfg(test)]
mod tests {
    use tanist_resp::Version;

    use super::*;

    #[test]
    fn a_notice_is_heard_by_its_channel_and_by_each_pattern() {
        let (to, mut out) = (Encoder::new(Version::Resp3), BytesMut::new());
        let mut subscriptions = Subscriptions::default();
        for (by, name) in
            [(By::Channel, "+sdown"), (By::Pattern, "[-+]sdown"), (By::Pattern, "+o*")]
        {
            assert!(subscriptions.add(by, name.as_bytes(), to, &mut out));
        }
        out.clear();
        let notice = Notice { channel: "+sdown", payload: "x".to_owned() };
        subscriptions.deliver(&notice, to, &mut out);
        assert_eq!(
            out,
            ">3\r\n$7\r\nmessage\r\n$6\r\n+sdown\r\n$1\r\nx\r\n\
             >4\r\n$8\r\npmessage\r\n$9\r\n[-+]sdown\r\n$6\r\n+sdown\r\n$1\r\nx\r\n"
        );
    }

    #[test]
    fn a_client_cannot_subscribe_to_more_than_there_is_room_for() {
        let (to, mut out) = (Encoder::default(), BytesMut::new());
        let mut many = Subscriptions::default();
        for number in 0..MOST {
            assert!(many.add(By::Channel, number.to_string().as_bytes(), to, &mut out));
        }
        assert!(!many.add(By::Pattern, b"*", to, &mut out));
        assert!(many.add(By::Channel, b"0", to, &mut out), "it is there already");
        let mut long = Subscriptions::default();
        assert!(!long.add(By::Channel, &vec![b'x'; MOST_BYTES + 1], to, &mut out));
        assert_eq!(long.count(), 0);
    }
}
