//! Typed names and numbers, so that a host can never be passed where a node is meant.
//!
//! Names are `Arc<str>` inside: they are copied into every observation, order and event, and a copy
//! must cost nothing. Names that people choose are checked where they enter
//! ([`GroupName::parse`]); the others are made by Tanist.
//!
//! Invariant: a [`GroupName`] that exists is valid as a file name, a DNS label and an ACL user part.
//!
//! Not here: attachment tags (`super::Tag`), which name a run's link rather than a thing.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Wraps a name made by Tanist or already checked.
            pub fn new(text: impl AsRef<str>) -> Self {
                Self(Arc::from(text.as_ref()))
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self::new(text)
            }
        }
    };
}

macro_rules! number {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize,
            Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl $name {
            /// The number after this one.
            pub const fn next(self) -> Self {
                Self(self.0 + 1)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }
    };
}

name! {
    /// A replication group's name, as its owner chose it.
    GroupName
}
name! {
    /// A shard's id within its group, four digits as in AWS's node group ids (`0001`).
    ShardId
}
name! {
    /// A node: one engine process's identity across restarts (`web-001`).
    NodeId
}
name! {
    /// A machine with an agent.
    HostId
}
name! {
    /// An availability zone.
    Zone
}
name! {
    /// A region.
    Region
}
name! {
    /// A proxy process that holds lanes to engines.
    ProxyId
}
name! {
    /// An engine's `run_id`: one per process start, never re-used (INFO server).
    RunId
}
name! {
    /// An engine's replication id: the name of a history of writes (INFO replication).
    ReplId
}

number! {
    /// Revision of a shard's topology: the one number that agents and proxies compare.
    Rev
}
number! {
    /// Number of a shard's primaryship; grows with every failover and switchover.
    Epoch
}
number! {
    /// Number of a controller's leadership.
    Term
}
number! {
    /// Position in a replication stream, in bytes.
    Offset
}
number! {
    /// Number of an operator's request to move a primaryship; grows per group.
    RequestId
}

/// A shard, named across groups.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ShardKey {
    /// Its group.
    pub group: GroupName,
    /// Its id within the group.
    pub shard: ShardId,
}

impl fmt::Display for ShardKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.group, self.shard)
    }
}

/// Why a name that a person chose was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// The name breaks the rule of ElastiCache's replication group ids.
    #[error(
        "the name {0:?} is not valid: 1 to 40 lower-case letters, digits and hyphens, \
         first a letter, no hyphen at the end and no two in a row"
    )]
    BadGroupName(String),
}

impl GroupName {
    /// Checks a name given by a person.
    ///
    /// # Errors
    /// [`IdError::BadGroupName`] unless it is 1 to 40 characters of `a-z0-9-`, starts with a letter,
    /// does not end with a hyphen and has no two hyphens in a row (ElastiCache's own rule).
    pub fn parse(text: &str) -> Result<Self, IdError> {
        let charset = text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'));
        let start = text.bytes().next().is_some_and(|b| b.is_ascii_lowercase());
        let valid =
            charset && start && text.len() <= 40 && !text.ends_with('-') && !text.contains("--");
        if valid { Ok(Self::new(text)) } else { Err(IdError::BadGroupName(text.to_owned())) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn group_names_follow_the_rule_of_the_api() {
        for good in ["web", "a", "a1-b2", &"a".repeat(40)] {
            assert!(GroupName::parse(good).is_ok(), "{good}");
        }
        for bad in ["", "1web", "-a", "a-", "a--b", "Web", "a.b", "../x", "a\0", &"a".repeat(41)] {
            assert!(GroupName::parse(bad).is_err(), "{bad:?}");
        }
    }
}
