//! Which records a request is about: ids, filters and pages.
//!
//! Each kind of record has a table of what can be filtered by; a name that is in no table is
//! refused, because a filter that is ignored shows a client what it did not ask for.
//!
//! Invariant: every filter of a request is looked at, also if there is nothing to filter.
//!
//! Not here: how a record looks in an answer.

use crate::book::Pages;
use crate::error::ApiError;
use crate::value::Structure;

use super::named::not_found;
use super::site::Site;

/// Most values of all filters together.
const MAX_VALUES: usize = 200;

/// A record in its surroundings.
pub(super) struct Seen<'a, T> {
    pub(super) site: &'a Site<'a>,
    pub(super) pages: &'a Pages,
    pub(super) record: &'a T,
}

/// What a filter of this name is compared with: any of the values that a record has for it.
pub(super) type Fact<T> = (&'static str, fn(&Seen<'_, T>) -> Vec<String>);

/// How records of one kind are asked for.
pub(super) struct Kind<T: 'static> {
    /// The input's list of ids.
    pub(super) ids: &'static str,
    /// What its ids begin with.
    pub(super) prefix: &'static str,
    /// What can be filtered by, beside tags.
    pub(super) facts: &'static [Fact<T>],
}

/// The records of one page, and where the next one begins.
pub(super) struct Chosen<'a, T> {
    pub(super) records: Vec<(&'a str, &'a T)>,
    pub(super) next: Option<String>,
}

impl<'a, T> Chosen<'a, T> {
    /// The answer: the records under this name, as `view` shows them.
    pub(super) fn answer(self, name: &'static str, view: impl Fn(&'a T) -> Structure) -> Structure {
        let records = self.records.into_iter().map(|(_, record)| view(record));
        Structure::new().list(name, records).maybe("NextToken", self.next)
    }
}

/// The records that a request is about. `records` are all of them.
pub(super) fn select<'a, T>(
    site: &Site<'_>,
    pages: &Pages,
    kind: &Kind<T>,
    records: impl Iterator<Item = (&'a str, &'a T)>,
) -> Result<Chosen<'a, T>, ApiError> {
    let filters = filters(site, kind.facts)?;
    let ids: Vec<&str> = site.input().texts(kind.ids).collect();
    let mut records: Vec<(&str, &T)> =
        records.filter(|(id, _)| ids.is_empty() || ids.contains(id)).collect();
    if let Some(missing) = ids.iter().find(|id| !records.iter().any(|(known, _)| known == *id)) {
        return Err(not_found(site, kind.prefix, missing));
    }
    records.retain(|(id, record)| {
        let seen = Seen { site, pages, record: *record };
        filters.iter().all(|filter| filter.admits(id, &seen))
    });
    page(site, records)
}

/// One page of what was selected.
pub(super) fn page<'a, T>(
    site: &Site<'_>,
    mut records: Vec<(&'a str, &'a T)>,
) -> Result<Chosen<'a, T>, ApiError> {
    records.sort_by_key(|(id, _)| *id);
    if let Some(token) = site.text("NextToken") {
        let from = hex::decode(token).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let Some(from) = from.filter(|from| !from.is_empty()) else {
            return Err(site.refuse("InvalidNextToken", "The specified token is not valid."));
        };
        records.retain(|(id, _)| *id >= from.as_str());
    }
    let most = most(site)?;
    let next = records.get(most).map(|(id, _)| hex::encode(id));
    records.truncate(most);
    Ok(Chosen { records, next })
}

/// Most records of an answer. Where the model has limits they were looked at before.
fn most(site: &Site<'_>) -> Result<usize, ApiError> {
    let Some(most) = site.input().integer("MaxResults") else { return Ok(usize::MAX) };
    let wrong = match most {
        ..5 => "Expecting a value greater than 5.",
        5..=1000 => return Ok(usize::try_from(most).unwrap_or(usize::MAX)),
        1001.. => "Expecting a value less than 1000.",
    };
    let text = format!("Value ( {most} ) for parameter maxResults is invalid. {wrong}");
    Err(site.bad_value(text))
}

enum By<T> {
    Tag(String),
    TagKey,
    Fact(fn(&Seen<'_, T>) -> Vec<String>),
}

/// A filter of a request.
pub(super) struct Filter<'a, T> {
    by: By<T>,
    values: Vec<&'a str>,
}

impl<T> Filter<'_, T> {
    /// Whether a record is wanted.
    pub(super) fn admits(&self, id: &str, seen: &Seen<'_, T>) -> bool {
        let tags = seen.pages.tags.get(id);
        let wanted = |value: &str| self.values.iter().any(|pattern| like(pattern, value));
        match &self.by {
            By::Tag(key) => tags.and_then(|tags| tags.get(key)).is_some_and(|value| wanted(value)),
            By::TagKey => tags.is_some_and(|tags| tags.keys().any(|key| wanted(key))),
            By::Fact(fact) => fact(seen).iter().any(|value| wanted(value)),
        }
    }
}

/// The filters of a request.
pub(super) fn filters<'a, T>(
    site: &Site<'a>,
    facts: &[Fact<T>],
) -> Result<Vec<Filter<'a, T>>, ApiError> {
    let mut found = Vec::new();
    let mut count = 0;
    for filter in site.input().structures("Filters") {
        let name = filter.text("Name").unwrap_or_default();
        let values: Vec<&str> = filter.texts("Values").collect();
        if values.is_empty() {
            return Err(site.bad_value("The filter 'null' is invalid"));
        }
        count += values.len();
        if count > MAX_VALUES {
            let text = "The maximum number of filter values specified on a single call is 200";
            return Err(site.refuse("FilterLimitExceeded", text));
        }
        let by = match (name, name.strip_prefix("tag:")) {
            (_, Some(key)) => By::Tag(key.to_owned()),
            ("tag-key", _) => By::TagKey,
            _ => match facts.iter().find(|(known, _)| *known == name) {
                Some((_, fact)) => By::Fact(*fact),
                None => return Err(site.bad_value(format!("The filter '{name}' is invalid"))),
            },
        };
        found.push(Filter { by, values });
    }
    Ok(found)
}

/// Whether a value is like a pattern: `*` stands for any characters, `?` for one, and a backslash
/// takes the meaning from the character after it.
///
/// Each `*` gives back characters one by one, and only the last of them has to, so the time grows
/// with the product of both lengths at most.
fn like(pattern: &str, value: &str) -> bool {
    #[derive(PartialEq)]
    enum Part {
        Any,
        One,
        This(char),
    }
    let mut parts = Vec::new();
    let mut characters = pattern.chars();
    while let Some(character) = characters.next() {
        parts.push(match character {
            '*' => Part::Any,
            '?' => Part::One,
            '\\' => Part::This(characters.next().unwrap_or('\\')),
            other => Part::This(other),
        });
    }
    let value: Vec<char> = value.chars().collect();
    let (mut at, mut part) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while at < value.len() {
        match parts.get(part) {
            Some(Part::Any) => {
                star = Some((part, at));
                part += 1;
            }
            Some(Part::One) => (at, part) = (at + 1, part + 1),
            Some(Part::This(character)) if *character == value[at] => {
                (at, part) = (at + 1, part + 1);
            }
            _ => match star {
                Some((back, from)) => {
                    star = Some((back, from + 1));
                    (at, part) = (from + 1, back + 1);
                }
                None => return false,
            },
        }
    }
    parts[part..].iter().all(|part| *part == Part::Any)
}

/// True or false as filters spell it.
pub(super) fn flag(value: bool) -> Vec<String> {
    vec![value.to_string()]
}

/// One value.
pub(super) fn one(value: impl Into<String>) -> Vec<String> {
    vec![value.into()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_matched_whole() {
        let yes = [
            ("web", "web"),
            ("w*", "web"),
            ("*", ""),
            ("w?b", "web"),
            ("*b*b", "abcb"),
            ("a\\*", "a*"),
            ("*a*a*", "banana"),
            ("AWS Lambda VPC ENI*", "AWS Lambda VPC ENI-x"),
        ];
        for (pattern, value) in yes {
            assert!(like(pattern, value), "{pattern} {value}");
        }
        let no = [("web", "webs"), ("w?b", "wb"), ("a\\*", "ab"), ("", "a"), ("*a", "b")];
        for (pattern, value) in no {
            assert!(!like(pattern, value), "{pattern} {value}");
        }
    }

    #[test]
    fn a_pattern_of_many_stars_is_quick() {
        let pattern = "*a".repeat(100) + "b";
        assert!(!like(&pattern, &"a".repeat(2000)));
    }
}
