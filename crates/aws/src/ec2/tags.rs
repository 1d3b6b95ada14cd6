//! Tags.
//!
//! Invariant: a resource has at most [`MAX_TAGS`] tags, and none of its own once it is gone.
//!
//! Not here: filters by tags (`super::select`).

use crate::book::{Ids, Pages, Tags};
use crate::error::ApiError;
use crate::service::Answer;
use crate::value::Structure;

use super::named::{exists, kind_of, not_found};
use super::select::{Fact, Seen, filters, one, page};
use super::site::Site;

/// Most tags of a resource.
const MAX_TAGS: usize = 50;

/// Most resources of one request; one transaction has to hold all of them.
const MAX_RESOURCES: usize = 100;

/// The tags of a resource as answers show them.
pub(super) fn shown(pages: &Pages, id: &str) -> Vec<Structure> {
    let tags = pages.tags.get(id).into_iter().flatten();
    tags.map(|(key, value)| Structure::new().set("Key", key).set("Value", value)).collect()
}

/// Gives a new resource its tags.
pub(super) fn put(pages: &mut Pages, id: &str, tags: Tags) {
    if !tags.is_empty() {
        pages.tags.insert(id, tags);
    }
}

/// The tags that a request gives to what it makes: `TagSpecifications` for this resource type, or
/// none. Those for a type that is not in `types` are refused.
pub(super) fn asked(site: &Site<'_>, types: &[&str], resource: &str) -> Result<Tags, ApiError> {
    let mut tags = Tags::new();
    for specification in site.input().structures("TagSpecifications") {
        let Some(kind) = specification.text("ResourceType") else {
            return Err(site.bad_value("Tag specification resource type must have a value"));
        };
        if !types.contains(&kind) {
            let text =
                format!("'{kind}' is not a valid taggable resource type for this operation.");
            return Err(site.bad_value(text));
        }
        if kind == resource {
            add(site, specification, &mut tags)?;
        }
    }
    Ok(tags)
}

/// Adds the list `Tags` of a structure.
fn add(site: &Site<'_>, from: &Structure, tags: &mut Tags) -> Result<(), ApiError> {
    let mut given = Tags::new();
    for tag in from.structures("Tags") {
        let key = tag.text("Key").unwrap_or_default();
        let value = tag.text("Value").unwrap_or_default();
        if key.is_empty() {
            return Err(site.bad_value("Tag key cannot be empty."));
        }
        if key.chars().count() > 128 {
            let text = format!("Tag key exceeds the maximum length of 128 characters: '{key}'");
            return Err(site.bad_value(text));
        }
        if value.chars().count() > 256 {
            let text = format!("Tag value exceeds the maximum length of 256 characters: '{value}'");
            return Err(site.bad_value(text));
        }
        if key.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("aws:")) {
            let text =
                format!("Tag keys starting with 'aws:' are reserved for internal use: '{key}'");
            return Err(site.bad_value(text));
        }
        if given.insert(key.to_owned(), value.to_owned()).is_some() {
            return Err(site.bad_value(format!("Duplicate tag key '{key}' specified.")));
        }
    }
    tags.append(&mut given);
    if tags.len() > MAX_TAGS {
        let text = format!("You have reached the maximum number of tags: {MAX_TAGS}");
        return Err(site.refuse("TagLimitExceeded", text));
    }
    Ok(())
}

/// The resources that a request names; all of them exist.
fn resources<'a>(site: &Site<'a>, pages: &Pages) -> Result<Vec<&'a str>, ApiError> {
    let mut ids: Vec<&str> = site.input().texts("Resources").collect();
    ids.sort_unstable();
    ids.dedup();
    if ids.is_empty() {
        return Err(site.missing("resourceIdSet"));
    }
    if ids.len() > MAX_RESOURCES {
        let text = format!("At most {MAX_RESOURCES} resources can be tagged in one request");
        return Err(site.bad_value(text));
    }
    match ids.iter().find(|id| !exists(site, pages, id)) {
        Some(id) => {
            let prefix = kind_of(id).map_or("", |kind| kind.prefix);
            Err(not_found(site, prefix, id))
        }
        None => Ok(ids),
    }
}

pub(super) fn create(pages: &mut Pages, site: &Site<'_>, _: &mut Ids) -> Answer {
    let ids = resources(site, pages)?;
    if site.input().items("Tags").is_empty() {
        return Err(site.missing("Tags"));
    }
    for id in ids {
        let mut tags = pages.tags.get(id).cloned().unwrap_or_default();
        add(site, site.input(), &mut tags)?;
        pages.tags.insert(id, tags);
    }
    Ok(Structure::new())
}

pub(super) fn delete(pages: &mut Pages, site: &Site<'_>, _: &mut Ids) -> Answer {
    let ids = resources(site, pages)?;
    let all = site.input().items("Tags").is_empty();
    for id in ids {
        let Some(tags) = pages.tags.get_mut(id) else { continue };
        for tag in site.input().structures("Tags") {
            let key = tag.text("Key").unwrap_or_default();
            // With a value it must be that one; an empty one counts.
            let same = |value: &String| tag.text("Value").is_none_or(|given| given == value);
            if tags.get(key).is_some_and(same) {
                tags.remove(key);
            }
        }
        if all || tags.is_empty() {
            pages.tags.remove(id);
        }
    }
    Ok(Structure::new())
}

/// One tag of one resource.
struct Tag {
    resource: String,
    kind: &'static str,
    key: String,
    value: String,
}

const FACTS: &[Fact<Tag>] = &[
    ("key", |seen: &Seen<'_, Tag>| one(&seen.record.key)),
    ("value", |seen| one(&seen.record.value)),
    ("resource-id", |seen| one(&seen.record.resource)),
    ("resource-type", |seen| one(seen.record.kind)),
];

pub(super) fn describe(pages: &Pages, site: &Site<'_>) -> Answer {
    let filters = filters(site, FACTS)?;
    let mut tags = Vec::new();
    for (id, known) in pages.tags.iter() {
        let Some(kind) = kind_of(id).filter(|_| exists(site, pages, id)) else { continue };
        tags.extend(known.iter().map(|(key, value)| {
            let (key, value) = (key.clone(), value.clone());
            let tag = Tag { resource: id.to_owned(), kind: kind.resource, key, value };
            (format!("{id} {}", tag.key), tag)
        }));
    }
    let all: Vec<(&str, &Tag)> = tags
        .iter()
        .map(|(id, tag)| (id.as_str(), tag))
        .filter(|(_, tag)| {
            let seen = Seen { site, pages, record: *tag };
            filters.iter().all(|filter| filter.admits(&tag.resource, &seen))
        })
        .collect();
    let view = |tag: &Tag| {
        Structure::new()
            .set("Key", &tag.key)
            .set("ResourceId", &tag.resource)
            .set("ResourceType", tag.kind)
            .set("Value", &tag.value)
    };
    Ok(page(site, all)?.answer("Tags", view))
}
