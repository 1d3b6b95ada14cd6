//! What an agent measures of an engine once a second, and how a controller reads agents of a later
//! release.
//!
//! Measurements are for people and their alarms; nothing is decided by them, so they are a message of
//! their own and not a part of a report. They are totals since the engine's process began: whoever
//! hears two of one run knows what happened in between, whether or not a third was lost.
//!
//! Invariant: a message that this release does not know is [`FromAgent::Unknown`], never an error, if
//! it carries something as all of them do.
//!
//! Not here: what the numbers mean (`tanist-controller`).

use std::fmt;

use serde::de::{Deserializer, EnumAccess, IgnoredAny, VariantAccess, Visitor};
use serde::{Deserialize, Serialize};
use tanist_core::model::{HostId, NodeId, RunId};

use super::{FromAgent, HostReport};

/// One look at an engine and its host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vitals {
    /// The host.
    pub host: HostId,
    /// The node.
    pub node: NodeId,
    /// The node's process.
    pub run: RunId,
    /// When, in microseconds since the host was booted.
    pub at_us: u64,
    /// Processor time of the engine's main thread, in microseconds.
    #[serde(default)]
    pub main_cpu_us: u64,
    /// Processor time of the engine's process, in microseconds.
    #[serde(default)]
    pub process_cpu_us: u64,
    /// Processor time of the whole host, if it could be read.
    #[serde(default)]
    pub host_cpu: Option<HostCpu>,
    /// Memory that the host could still give, in bytes, if it could be read.
    #[serde(default)]
    pub host_free_bytes: Option<u64>,
    /// The process's memory that is swapped out, in bytes, if it could be read.
    #[serde(default)]
    pub swap_bytes: Option<u64>,
    /// The process's memory in RAM, in bytes.
    #[serde(default)]
    pub resident_bytes: u64,
    /// Memory that the engine has allocated, in bytes.
    #[serde(default)]
    pub used_bytes: u64,
    /// What it may allocate, in bytes; 0 for no limit.
    #[serde(default)]
    pub limit_bytes: u64,
    /// Keys.
    #[serde(default)]
    pub items: u64,
    /// What has happened since the process began.
    #[serde(default)]
    pub totals: Totals,
}

/// Processor time of a host since it was booted, in clock ticks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostCpu {
    /// Of all processors, in use.
    pub busy: u64,
    /// Of all processors, in use or not.
    pub total: u64,
}

/// What an engine has counted since its process began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Totals {
    /// Commands processed.
    #[serde(default)]
    pub commands: u64,
    /// Bytes received.
    #[serde(default)]
    pub bytes_in: u64,
    /// Bytes sent.
    #[serde(default)]
    pub bytes_out: u64,
    /// Keys removed for lack of memory.
    #[serde(default)]
    pub evicted: u64,
    /// Keys that were looked up and found.
    #[serde(default)]
    pub hits: u64,
    /// Keys that were looked up and not found.
    #[serde(default)]
    pub misses: u64,
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "lowercase")]
enum Word {
    Hello,
    Report,
    Note,
    Stopped,
    Clock,
    Vitals,
    Recalled,
    #[serde(other)]
    Unknown,
}

#[derive(Deserialize)]
struct Note {
    host: HostId,
    node: Option<NodeId>,
    name: String,
    text: String,
}

#[derive(Deserialize)]
struct Stopped {
    host: HostId,
}

#[derive(Deserialize)]
struct Clock {
    host: HostId,
    wall_ms: u64,
}

struct Messages;

impl<'de> Visitor<'de> for Messages {
    type Value = FromAgent;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a message of an agent")
    }

    fn visit_enum<A: EnumAccess<'de>>(self, message: A) -> Result<FromAgent, A::Error> {
        let (word, content) = message.variant::<Word>()?;
        Ok(match word {
            Word::Hello => FromAgent::Hello(content.newtype_variant()?),
            Word::Report => FromAgent::Report(content.newtype_variant::<HostReport>()?),
            Word::Note => {
                let Note { host, node, name, text } = content.newtype_variant()?;
                FromAgent::Note { host, node, name, text }
            }
            Word::Stopped => {
                let Stopped { host } = content.newtype_variant()?;
                FromAgent::Stopped { host }
            }
            Word::Clock => {
                let Clock { host, wall_ms } = content.newtype_variant()?;
                FromAgent::Clock { host, wall_ms }
            }
            Word::Vitals => FromAgent::Vitals(content.newtype_variant()?),
            Word::Recalled => FromAgent::Recalled(content.newtype_variant()?),
            Word::Unknown => {
                content.newtype_variant::<IgnoredAny>()?;
                FromAgent::Unknown
            }
        })
    }
}

impl<'de> Deserialize<'de> for FromAgent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        const WORDS: &[&str] =
            &["hello", "report", "note", "stopped", "clock", "vitals", "recalled"];
        deserializer.deserialize_enum("FromAgent", WORDS, Messages)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{AgentHello, Recalled};
    use super::*;

    fn vitals() -> Vitals {
        Vitals {
            host: "h1".into(),
            node: "web-001".into(),
            run: RunId::new("r"),
            at_us: 7,
            main_cpu_us: 1,
            process_cpu_us: 2,
            host_cpu: Some(HostCpu { busy: 1, total: 2 }),
            host_free_bytes: None,
            swap_bytes: Some(0),
            resident_bytes: 3,
            used_bytes: 4,
            limit_bytes: 5,
            items: 7,
            totals: Totals { hits: 8, ..Totals::default() },
        }
    }

    #[test]
    fn every_message_is_read_as_it_was_written() {
        let (host, node) = (HostId::new("h1"), NodeId::new("web-001"));
        let note = |node| FromAgent::Note {
            host: host.clone(),
            node,
            name: "EngineExited".to_owned(),
            text: "status 1".to_owned(),
        };
        let report = HostReport { host: host.clone(), echo: 3, nodes: Vec::new(), part: false };
        let hello = AgentHello {
            host: host.clone(),
            zone: "a".into(),
            address: std::net::Ipv4Addr::LOCALHOST,
            memory_bytes: 1,
            keeps: true,
            parts: true,
        };
        let recalled = Recalled { host: host.clone(), number: 4, shard: None };
        let recalled = FromAgent::Recalled(Box::new(recalled));
        for message in [
            FromAgent::Hello(hello),
            FromAgent::Report(report),
            note(Some(node)),
            note(None),
            FromAgent::Stopped { host: host.clone() },
            FromAgent::Clock { host: host.clone(), wall_ms: 1_790_000_000_000 },
            FromAgent::Vitals(Box::new(vitals())),
            recalled,
        ] {
            let text = serde_json::to_string(&message).unwrap();
            assert_eq!(serde_json::from_str::<FromAgent>(&text).unwrap(), message, "{text}");
        }
    }

    #[test]
    fn messages_and_fields_of_a_later_release_are_passed_over() {
        let read = |text: &str| serde_json::from_str::<FromAgent>(text);
        assert_eq!(read(r#"{"weather":{"rain":[1,{"a":null}]}}"#).unwrap(), FromAgent::Unknown);
        let later = r#"{"vitals":{"host":"h","node":"n","run":"r","at_us":1,"weather":"rain"}}"#;
        assert!(matches!(read(later).unwrap(), FromAgent::Vitals(_)));
        // What is known has to be whole.
        assert!(read(r#"{"stopped":{}}"#).is_err());
        assert!(read(r#"{"vitals":{"host":"h"}}"#).is_err());
    }
}
