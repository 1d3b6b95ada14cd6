//! What is remembered of a group, on its way to the controller.
//!
//! A group's record travels with the group: in requests, in the store and in every status. Each of
//! those has a limit, and whoever comes to it hears of it here, in words about descriptions and tags.
//!
//! Invariant: a record that is accepted fits into a request with room for all else in it
//! ([`MAX_REQUEST_BYTES`]), and the records of all groups into half of an answer of the link (64 MiB).
//!
//! Not here: what a record says (`crate::groups`).

use tanist_link::api::MAX_REQUEST_BYTES;

use super::refusal::{Refusal, bad_value, refuse};
use super::scene::Scene;
use crate::groups::{ATTRIBUTE, Group, GroupRecord};

/// Most characters of a description. AWS documents no limit; one that serves as a page of a wiki is
/// in the wrong place.
const MAX_DESCRIPTION: usize = 2048;
/// Most bytes of a record as it stands in a request. 50 tags of the largest size for a group and for
/// each of six nodes are 530 KiB, in scripts with four bytes for a letter.
const MAX_BYTES: usize = MAX_REQUEST_BYTES / 8 * 5;
/// Most bytes of the records of all groups together. In an answer each may be twice as long.
const MAX_BYTES_OF_ALL: usize = 16 << 20;

/// A description that is not too long.
pub(super) fn description(text: &str) -> Result<String, Refusal> {
    if text.chars().count() <= MAX_DESCRIPTION {
        return Ok(text.to_owned());
    }
    Err(bad_value(format_args!(
        "The parameter ReplicationGroupDescription must have {MAX_DESCRIPTION} characters at most."
    )))
}

/// The attribute that remembers `record` of the group `name`.
///
/// # Errors
/// `TagQuotaPerResourceExceeded` or `InvalidParameterValue`, if it is too large.
pub(super) fn attribute(
    scene: Scene<'_>,
    name: &str,
    record: &GroupRecord,
) -> Result<(String, String), Refusal> {
    let unwritten =
        |err| bad_value(format_args!("What is to be remembered cannot be written: {err}"));
    let text = record.text().map_err(unwritten)?;
    let sent = serde_json::to_string(&text).map_err(unwritten)?.len();
    if sent > MAX_BYTES {
        return Err(too_large(
            record,
            format!(
                "Tags and all else that is to be remembered of replication group {name} have \
                 {sent} bytes together; {MAX_BYTES} are the most."
            ),
        ));
    }
    let bytes = |group: &Group| group.status.attributes.get(ATTRIBUTE).map_or(0, String::len);
    let before = scene.any_group(name).map_or(0, bytes);
    let all = scene.groups.iter().map(bytes).sum::<usize>() - before + text.len();
    // Whoever makes it less is not kept from it.
    if all > MAX_BYTES_OF_ALL && text.len() > before {
        return Err(too_large(
            record,
            format!(
                "Tags and all else that is remembered of replication groups would have {all} bytes \
                 together; {MAX_BYTES_OF_ALL} are the most."
            ),
        ));
    }
    Ok((ATTRIBUTE.to_owned(), text))
}

fn too_large(record: &GroupRecord, message: String) -> Refusal {
    if record.tags.is_empty() && record.node_tags.is_empty() {
        return bad_value(message);
    }
    refuse("TagQuotaPerResourceExceeded", message)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use tanist_link::api::ModifyGroup;

    use super::*;
    use crate::elasticache::kit::{Stage, group_of};

    /// As many tags as there may be, of the largest size.
    fn tags() -> BTreeMap<String, String> {
        let key = |n: u32| format!("{n:02}{}", "𠀀".repeat(126));
        (0..50).map(|n| (key(n), "𠀀".repeat(256))).collect()
    }

    fn largest() -> GroupRecord {
        GroupRecord {
            description: Some("\"".repeat(MAX_DESCRIPTION)),
            tags: tags(),
            node_tags: (1..=6).map(|n| (format!("web-{n:03}"), tags())).collect(),
            ..group_of("web", 6).record
        }
    }

    #[test]
    fn every_tag_that_there_may_be_fits_into_a_request() {
        let stage = Stage::new();
        let (key, text) = attribute(stage.scene(), "web", &largest()).unwrap();
        let asked = ModifyGroup { attributes: [(key, Some(text))].into(), ..Default::default() };
        let sent = serde_json::to_vec(&asked).unwrap().len();
        assert!((MAX_REQUEST_BYTES / 2..MAX_REQUEST_BYTES).contains(&sent), "{sent}");
    }

    #[test]
    fn what_is_too_large_is_refused_by_what_makes_it_so() {
        let stage = Stage::new();
        let code = |record: &GroupRecord| {
            attribute(stage.scene(), "web", record).map(|_| ()).map_err(|refusal| refusal.code)
        };
        let mut record = GroupRecord {
            notification_topic: Some("x".repeat(MAX_BYTES)),
            ..GroupRecord::default()
        };
        assert_eq!(code(&record), Err("InvalidParameterValue"));
        record.tags = tags();
        assert_eq!(code(&record), Err("TagQuotaPerResourceExceeded"));
        record.notification_topic = None;
        assert_eq!(code(&record), Ok(()));
    }

    #[test]
    fn what_all_groups_have_together_can_always_be_read_at_once() {
        let mut stage = Stage::new();
        let (key, text) = attribute(stage.scene(), "web", &largest()).unwrap();
        let mut count = 0;
        let refusal = loop {
            let name = format!("g{count}");
            if let Err(refusal) = attribute(stage.scene(), &name, &largest()) {
                break refusal;
            }
            count += 1;
            let mut group = group_of(&name, 6);
            group.status.attributes.insert(key.clone(), text.clone());
            stage.groups.push(group);
        };
        assert_eq!(refusal.code, "TagQuotaPerResourceExceeded");
        assert!((20..40).contains(&count), "{count}");
        // One that is there may become smaller, also if others were too large before.
        let large = "x".repeat(MAX_BYTES_OF_ALL);
        stage.groups[0].status.attributes.insert(key, large);
        let fewer = GroupRecord { node_tags: BTreeMap::new(), ..largest() };
        assert!(attribute(stage.scene(), "g0", &fewer).is_ok());
        assert!(attribute(stage.scene(), "new", &fewer).is_err());
    }

    #[test]
    fn a_description_has_an_end() {
        assert!(description(&"ä".repeat(MAX_DESCRIPTION)).is_ok());
        let refusal = description(&"ä".repeat(MAX_DESCRIPTION + 1)).unwrap_err();
        assert_eq!(refusal.code, "InvalidParameterValue");
    }
}
