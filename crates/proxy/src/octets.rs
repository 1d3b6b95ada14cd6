//! Bytes and moments as they are written down for the next program image.
//!
//! JSON has no bytes, and what clients send is any: hexadecimal digits cost twice the size and no
//! thought. A moment is written as the time from or until now, because a clock's own numbers mean
//! nothing to another process.
//!
//! Invariant: what is read is what was written; a moment is off by no more than the handover took.
//!
//! Not here: what is written (`crate::session`, `crate::renewal`).

use std::time::Duration;

use bytes::Bytes;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tokio::time::Instant;

/// Bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Octets(pub(crate) Bytes);

impl Octets {
    /// A copy.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        Self(Bytes::copy_from_slice(bytes))
    }
}

impl From<Bytes> for Octets {
    fn from(bytes: Bytes) -> Self {
        Self(bytes)
    }
}

impl From<&Bytes> for Octets {
    fn from(bytes: &Bytes) -> Self {
        Self(bytes.clone())
    }
}

impl Serialize for Octets {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Octets {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        hex::decode(text).map(|bytes| Self(bytes.into())).map_err(D::Error::custom)
    }
}

/// The moment to which others are written down as distances, in microseconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock(pub(crate) Instant);

impl Clock {
    /// How long ago it was.
    pub(crate) fn ago(self, moment: Instant) -> u64 {
        micros(self.0.saturating_duration_since(moment))
    }

    /// How long it is until then.
    pub(crate) fn left(self, moment: Instant) -> u64 {
        micros(moment.saturating_duration_since(self.0))
    }

    /// The moment so long ago.
    pub(crate) fn before(self, micros: u64) -> Instant {
        self.0.checked_sub(Duration::from_micros(micros)).unwrap_or(self.0)
    }

    /// The moment so long from now.
    pub(crate) fn after(self, micros: u64) -> Instant {
        // Nobody waits for a century; a number that is larger comes from no clock.
        let century = 3_155_760_000_000_000;
        self.0 + Duration::from_micros(micros.min(century))
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_bytes_are_read_as_they_were_written() {
        let bytes = Octets::of(&(0..=255).collect::<Vec<u8>>());
        let text = serde_json::to_string(&bytes).unwrap();
        assert_eq!(serde_json::from_str::<Octets>(&text).unwrap(), bytes);
        assert!(serde_json::from_str::<Octets>("\"0g\"").is_err());
    }

    #[test]
    fn moments_keep_their_distance() {
        let (then, now) = (Clock(Instant::now()), Clock(Instant::now() + Duration::from_secs(9)));
        let past = then.0 - Duration::from_millis(5);
        assert_eq!(now.0 - now.before(then.ago(past)), Duration::from_millis(5));
        let future = then.0 + Duration::from_millis(7);
        assert_eq!(now.after(then.left(future)) - now.0, Duration::from_millis(7));
        assert!(now.after(u64::MAX) > now.0 && now.before(u64::MAX) <= now.0);
    }
}
