//! The store's keys and etcd's: a prefix, bytes, and revisions.
//!
//! Others may write under the prefix what is no key of ours. That must stop nobody but be found by
//! its name, so it is an error and no panic.
//!
//! Invariant: what leaves this module has no prefix, what goes to etcd has it.
//!
//! Not here: limits of keys and values (`crate::model`).

use super::pb::compare::{CompareResult, CompareTarget, TargetUnion};
use super::pb::mvccpb::event::EventType;
use super::pb::request_op::Request as Asked;
use super::pb::{DeleteRangeRequest, PutRequest, RequestOp, TxnRequest, mvccpb};
use crate::error::StoreError;
use crate::model::{Compare, Event, KeyValue, LeaseId, Op, Revision, Txn, prefix_end};

/// Most bytes of a foreign key that an error shows.
const SHOWN: usize = 64;

/// The installation's part of etcd's keys.
#[derive(Debug, Clone)]
pub(super) struct Prefix(pub(super) String);

impl Prefix {
    /// etcd's key.
    pub(super) fn key(&self, key: &str) -> Vec<u8> {
        [self.0.as_bytes(), key.as_bytes()].concat()
    }

    /// The first key that is past every key that begins with `prefix`.
    pub(super) fn end(&self, prefix: &str) -> Vec<u8> {
        // No UTF-8 consists of 0xff only, so there is an end; `[0]` means "all that follow".
        prefix_end(&format!("{}{prefix}", self.0)).unwrap_or_else(|| vec![0])
    }

    /// Our key.
    fn own(&self, key: &[u8]) -> Result<String, StoreError> {
        let foreign = |wrong| {
            let shown = key.get(..SHOWN).unwrap_or(key).escape_ascii().to_string();
            StoreError::ForeignKey { key: shown, wrong }
        };
        let own =
            key.strip_prefix(self.0.as_bytes()).ok_or_else(|| foreign("it was not asked for"))?;
        if own.is_empty() {
            return Err(foreign("it is the prefix itself"));
        }
        String::from_utf8(own.to_vec()).map_err(|_| foreign("it is not UTF-8"))
    }

    /// A key with its value.
    pub(super) fn key_value(&self, kv: mvccpb::KeyValue) -> Result<KeyValue, StoreError> {
        Ok(KeyValue {
            key: self.own(&kv.key)?,
            value: kv.value,
            create_revision: revision(kv.create_revision),
            mod_revision: revision(kv.mod_revision),
            version: number(kv.version),
            lease: Some(LeaseId(number(kv.lease))).filter(|id| id.0 != 0),
        })
    }

    /// A change, with the revision that made it.
    pub(super) fn event(&self, event: mvccpb::Event) -> Result<(Revision, Event), StoreError> {
        let deleted = event.r#type() == EventType::Delete;
        let kv = event.kv.unwrap_or_default();
        let at = revision(kv.mod_revision);
        let event = if deleted {
            Event::Delete { key: self.own(&kv.key)?, mod_revision: at }
        } else {
            Event::Put(self.key_value(kv)?)
        };
        Ok((at, event))
    }

    /// A transaction.
    pub(super) fn txn(&self, txn: &Txn) -> TxnRequest {
        TxnRequest {
            compare: txn.compares.iter().map(|compare| self.compare(compare)).collect(),
            success: txn.then.iter().map(|op| self.op(op)).collect(),
            failure: Vec::new(),
        }
    }

    fn compare(&self, compare: &Compare) -> super::pb::Compare {
        let (result, target, union) = match compare {
            Compare::ModRevision { revision, .. } => {
                let revision = TargetUnion::ModRevision(signed(revision.0));
                (CompareResult::Equal, CompareTarget::Mod, revision)
            }
            // A key that does not exist has version 0.
            Compare::Exists { .. } => {
                (CompareResult::Greater, CompareTarget::Version, TargetUnion::Version(0))
            }
            Compare::NotExists { .. } => {
                (CompareResult::Equal, CompareTarget::Version, TargetUnion::Version(0))
            }
            Compare::Value { value, .. } => {
                (CompareResult::Equal, CompareTarget::Value, TargetUnion::Value(value.clone()))
            }
        };
        super::pb::Compare {
            result: result.into(),
            target: target.into(),
            key: self.key(compare.key()),
            target_union: Some(union),
        }
    }

    fn op(&self, op: &Op) -> RequestOp {
        let key = self.key(op.key());
        let asked = match op {
            Op::Put { value, lease, .. } => Asked::RequestPut(PutRequest {
                key,
                value: value.clone(),
                lease: lease.map_or(0, |id| signed(id.0)),
            }),
            Op::Delete { .. } => Asked::RequestDeleteRange(DeleteRangeRequest { key }),
        };
        RequestOp { request: Some(asked) }
    }
}

/// etcd's number; a negative one has no meaning there, and becomes 0.
pub(super) fn number(signed: i64) -> u64 {
    u64::try_from(signed).unwrap_or(0)
}

/// etcd's revision.
pub(super) fn revision(signed: i64) -> Revision {
    Revision(number(signed))
}

/// Our number for etcd; what etcd cannot count becomes the largest that it can.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(key: &[u8]) -> mvccpb::Event {
        let kv = mvccpb::KeyValue { key: key.to_vec(), mod_revision: 7, ..Default::default() };
        mvccpb::Event { r#type: EventType::Put.into(), kv: Some(kv) }
    }

    #[test]
    fn what_others_wrote_under_the_prefix_is_an_error_with_its_name() {
        let prefix = Prefix("/t/a/".to_owned());
        for (key, shown) in [
            (&b"/t/a/\xff\xfe"[..], r"/t/a/\xff\xfe"),
            (b"/t/a/", "/t/a/"),
            (b"/t/b/x", "/t/b/x"),
            (b"", ""),
        ] {
            let error = prefix.event(put(key)).unwrap_err();
            assert!(
                matches!(&error, StoreError::ForeignKey { key, .. } if key == shown),
                "{error}"
            );
        }
        let (at, event) = prefix.event(put("/t/a/é".as_bytes())).unwrap();
        assert_eq!((at, event.key()), (Revision(7), "é"));
    }

    #[test]
    fn events_without_a_key_and_numbers_below_zero_are_no_panic() {
        let prefix = Prefix("/t/a/".to_owned());
        assert!(prefix.event(mvccpb::Event::default()).is_err());
        let kv = mvccpb::KeyValue {
            key: b"/t/a/x".to_vec(),
            version: -1,
            lease: -5,
            ..Default::default()
        };
        let kv = prefix.key_value(kv).unwrap();
        assert_eq!((kv.version, kv.lease), (0, None));
        assert_eq!(signed(u64::MAX), i64::MAX);
    }
}
