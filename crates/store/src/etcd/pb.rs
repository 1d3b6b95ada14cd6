//! etcd's messages and calls, as `cargo xtask etcd` makes them from `proto/etcd`.
//!
//! Included and not declared as modules, so that a generator's layout is its own.
//!
//! Invariant: nothing outside of this backend sees these types.
//!
//! Not here: what they mean; the modules beside this one say it where they use them.

// Whoever generates code for everybody generates more than we use, and explains none of it.
#![allow(missing_docs, unreachable_pub, unused, clippy::all, clippy::too_many_lines)]

/// Keys and events.
pub(super) mod mvccpb {
    include!("generated/mvccpb.rs");
}

/// Calls.
pub(super) mod etcdserverpb {
    include!("generated/etcdserverpb.rs");
}

pub(super) use etcdserverpb::*;

/// An answer that says which cluster gave it.
pub(super) trait Answer {
    /// Its header, if it has one.
    fn header(&self) -> Option<&ResponseHeader>;
}

macro_rules! answers {
    ($($name:ty)+) => {
        $(impl Answer for $name {
            fn header(&self) -> Option<&ResponseHeader> {
                self.header.as_ref()
            }
        })+
    };
}

answers! {
    RangeResponse TxnResponse CompactionResponse LeaseGrantResponse LeaseRevokeResponse
    LeaseKeepAliveResponse LeaseTimeToLiveResponse MemberListResponse StatusResponse WatchResponse
    MemberAddResponse MemberRemoveResponse MemberPromoteResponse
}
