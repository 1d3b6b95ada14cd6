//! The text that `INFO` answers.
//!
//! Agents read replication ids, offsets and the list of replicas from it. The fields differ from
//! version to version, so they are looked up by name and nothing is required.
//!
//! Invariant: a line that is not `name:value` is left out, never an error.
//!
//! Not here: what the fields mean for a node's health (`core`).

use std::collections::BTreeMap;
use std::ops::Bound;

/// The fields of one `INFO` answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Info {
    fields: BTreeMap<Box<str>, Box<str>>,
}

/// One `slaveN` line: a replica as its primary sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InfoReplica {
    /// The address or name that the replica announced.
    pub ip: String,
    /// The port that the replica announced.
    pub port: u16,
    /// `online`, `wait_bgsave`, `send_bulk` and so on, as the engine says it.
    pub state: String,
    /// The replication offset in bytes that the replica confirmed last.
    pub offset: u64,
    /// Seconds since then; `None` when the engine does not say.
    pub lag: Option<u64>,
}

impl Info {
    /// Reads the text. Section titles are left out, and of two fields with one name the last one
    /// stays.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let fields = text
            .lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.into(), value.into()))
            .collect();
        Self { fields }
    }

    /// A field's text, such as that of `master_replid`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.fields.get(name).map(AsRef::as_ref)
    }

    /// A field that is a number and not negative; `None` when it is absent or anything else.
    #[must_use]
    pub fn get_u64(&self, name: &str) -> Option<u64> {
        self.get(name)?.parse().ok()
    }

    /// A field that is a number; `None` when it is absent or anything else. Some offsets are -1
    /// while they are unknown.
    #[must_use]
    pub fn get_i64(&self, name: &str) -> Option<i64> {
        self.get(name)?.parse().ok()
    }

    /// The parts of a field of the form `a=1,b=2`, such as `db0`; none when it is absent.
    pub fn parts(&self, name: &str) -> impl Iterator<Item = (&str, &str)> {
        parts(self.get(name).unwrap_or_default())
    }

    /// The replicas in the order of their numbers. A line without a usable address is left out.
    #[must_use]
    pub fn replicas(&self) -> Vec<InfoReplica> {
        let mut numbered: Vec<(u32, InfoReplica)> = self
            .fields
            .range::<str, _>((Bound::Included("slave"), Bound::Unbounded))
            .take_while(|(name, _)| name.starts_with("slave"))
            .filter_map(|(name, value)| {
                let number = name.strip_prefix("slave")?.parse().ok()?;
                Some((number, replica(value)?))
            })
            .collect();
        numbered.sort_by_key(|(number, _)| *number);
        numbered.into_iter().map(|(_, replica)| replica).collect()
    }

    /// Every field, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.fields.iter().map(|(name, value)| (name.as_ref(), value.as_ref()))
    }
}

fn parts(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.split(',').filter_map(|part| part.split_once('='))
}

fn replica(value: &str) -> Option<InfoReplica> {
    let find = |key: &str| parts(value).find(|(name, _)| *name == key).map(|(_, text)| text);
    Some(InfoReplica {
        ip: find("ip")?.to_owned(),
        port: find("port")?.parse().ok()?,
        state: find("state")?.to_owned(),
        offset: find("offset")?.parse().ok()?,
        lag: find("lag").and_then(|lag| lag.parse().ok()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# Replication\r\nrole:master\r\nconnected_slaves:11\r\n\
        slave0:ip=127.0.0.1,port=6380,state=online,offset=140,lag=1\r\n\
        slave10:ip=::1,port=6390,state=wait_bgsave,offset=0\r\n\
        slave2:ip=host-2,port=6382,state=online,offset=99,lag=0\r\n\
        slave3:ip=host-3,port=99999,state=online,offset=99,lag=0\r\n\
        slave_expires_tracked_keys:0\r\n\
        master_replid:54fa\r\nsecond_repl_offset:-1\r\nmaster_repl_offset:140\r\n\
        \r\n# Keyspace\r\ndb0:keys=2,expires=0,avg_ttl=0\r\nnonsense\r\n";

    #[test]
    fn fields_are_found_by_name_and_type() {
        let info = Info::parse(TEXT);
        assert_eq!(info.get("role"), Some("master"));
        assert_eq!(info.get("master_replid"), Some("54fa"));
        assert_eq!(info.get_u64("master_repl_offset"), Some(140));
        assert_eq!(info.get_u64("second_repl_offset"), None);
        assert_eq!(info.get_i64("second_repl_offset"), Some(-1));
        assert_eq!(info.get_u64("role"), None);
        assert_eq!(info.get("nonsense"), None);
        assert_eq!(info.get("# Keyspace"), None);
        assert_eq!(info.parts("db0").next(), Some(("keys", "2")));
        assert_eq!(info.parts("db1").next(), None);
    }

    #[test]
    fn replicas_come_in_numeric_order_and_bad_lines_are_left_out() {
        let replicas = Info::parse(TEXT).replicas();
        let ports: Vec<u16> = replicas.iter().map(|replica| replica.port).collect();
        assert_eq!(ports, [6380, 6382, 6390]);
        assert_eq!(replicas[0].lag, Some(1));
        assert_eq!(replicas[2].ip, "::1");
        assert_eq!(replicas[2].lag, None);
        assert_eq!(replicas[2].state, "wait_bgsave");
    }

    #[test]
    fn an_empty_text_has_no_fields() {
        let info = Info::parse("");
        assert_eq!(info.iter().count(), 0);
        assert!(info.replicas().is_empty());
    }
}
