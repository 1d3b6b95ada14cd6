//! Reading many keys: page after page of one revision.
//!
//! etcd has no limit of bytes for an answer, only one of keys, and it builds an answer whole before it
//! sends it. So pages are small, grow while values are small, and one that is too long is asked for
//! again as a shorter one.
//!
//! Invariant: all pages are of the first page's revision; what is kept in memory stays below
//! `MAX_RANGE_BYTES` and one page.
//!
//! Not here: reading one key (`crate::etcd`).

use super::fault::{Fault, Refusal, at};
use super::keys::{Prefix, number, revision};
use super::members::{AskError, MAX_ANSWER, Manner, Members, request};
use super::pb::kv_client::KvClient;
use super::pb::{RangeRequest, RangeResponse};
use crate::error::StoreError;
use crate::model::{KeyValue, MAX_RANGE_BYTES, Revision};

/// Keys of the first page.
const FIRST: i64 = 32;
/// Most keys of a page.
const MOST: i64 = 512;
/// Pages of fewer bytes than half of it grow, those of more than twice shrink.
const PAGE_BYTES: usize = 1 << 20;
/// How often a range is begun anew because its revision was compacted away between two pages.
const RESTARTS: usize = 3;
pub(super) const DOING: &str = "reading keys";

/// Reads every key that begins with `prefix` and does not come before `start`.
pub(super) async fn range(
    members: &Members,
    own: &Prefix,
    prefix: &str,
    start: &str,
) -> Result<(Vec<KeyValue>, Revision), StoreError> {
    let mut restarts = 0;
    loop {
        match pages(members, own, prefix, start).await {
            Ok(keys) => return Ok(keys),
            Err(AskError::Refused { fault: Fault::Refused(Refusal::Compacted, _), .. })
                if restarts < RESTARTS =>
            {
                restarts += 1;
            }
            Err(error) => return Err(error.error(members, DOING, None)),
        }
    }
}

async fn pages(
    members: &Members,
    own: &Prefix,
    prefix: &str,
    start: &str,
) -> Result<(Vec<KeyValue>, Revision), AskError> {
    let (mut key, range_end) = (own.key(start), own.end(prefix));
    let (mut snapshot, mut limit) = (0, FIRST);
    let (mut keys, mut bytes) = (Vec::new(), 0);
    loop {
        let message = RangeRequest {
            key: key.clone(),
            range_end: range_end.clone(),
            limit,
            revision: snapshot,
            count_only: false,
        };
        let page = match read(members, DOING, &message).await {
            Err(AskError::Refused { fault: Fault::TooLong(_), .. }) if limit > 1 => {
                limit = (limit / 8).max(1);
                continue;
            }
            page => page?,
        };
        if snapshot == 0 {
            snapshot = page.header.map_or(0, |header| header.revision);
        }
        let before = bytes;
        for kv in page.kvs {
            key = [kv.key.as_slice(), b"\0"].concat();
            let kv = own.key_value(kv).map_err(AskError::Store)?;
            bytes += kv.key.len() + kv.value.len();
            if bytes > MAX_RANGE_BYTES {
                let prefix = prefix.to_owned();
                return Err(AskError::Store(StoreError::RangeTooLarge { prefix }));
            }
            keys.push(kv);
        }
        if !page.more {
            return Ok((keys, revision(snapshot)));
        }
        limit = adapted(limit, bytes - before);
    }
}

/// One linearizable read.
pub(super) async fn read(
    members: &Members,
    doing: &'static str,
    message: &RangeRequest,
) -> Result<RangeResponse, AskError> {
    let call = |channel| {
        let message = message.clone();
        async {
            let client = KvClient::new(channel).max_decoding_message_size(MAX_ANSWER);
            client.max_encoding_message_size(MAX_ANSWER).range(request(message)).await
        }
    };
    let page = members.ask(doing, Manner::Read, call).await?;
    // A revision is what makes pages one snapshot, and what commits compare with.
    if number(page.answer.header.map_or(0, |header| header.revision)) == 0 {
        let source = at(&members.name(page.member), "the answer to a read has no revision");
        return Err(AskError::Store(StoreError::Backend { doing, source }));
    }
    Ok(page.answer)
}

fn adapted(limit: i64, bytes: usize) -> i64 {
    if bytes < PAGE_BYTES / 2 {
        (limit * 2).min(MOST)
    } else if bytes > PAGE_BYTES * 2 {
        (limit / 2).max(1)
    } else {
        limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_follow_the_size_of_values() {
        assert_eq!(adapted(32, 1000), 64);
        assert_eq!(adapted(512, 1000), 512);
        assert_eq!(adapted(32, PAGE_BYTES), 32);
        assert_eq!(adapted(32, 32 << 20), 16);
        assert_eq!(adapted(1, 32 << 20), 1);
    }
}
