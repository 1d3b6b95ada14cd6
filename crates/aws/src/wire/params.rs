//! A form's pairs to a tree, as a model says: the part that Query and EC2 share.
//!
//! `Nodes.Node.2.Id=a` names its way through the model. The pairs are sorted, so that what is under
//! one name is one piece of them, and no tree has to be built for names that nobody knows.
//!
//! Invariant: parameters that the model does not have are ignored, as the services do; the order of
//! a list is that of its numbers, and gaps close.
//!
//! Not here: missing members and limits (`check`).

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use super::form::Pair;
use crate::error::Fault;
use crate::model::{Kind, Member, Service, ShapeId};
use crate::value::{Structure, Value};

/// Most items of a list, and its highest number.
pub const MAX_LIST_ITEMS: usize = 10_000;

/// Deeper than any model; a name with more parts names nothing.
const MAX_DEPTH: usize = 32;

/// How a protocol spells the way through a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spelling {
    /// Lists are `Name.member.1`, or with their own word for `member`.
    Query,
    /// Lists are `Name.1`, and names are capitalised.
    Ec2,
}

/// Pairs whose names begin alike, up to and with the dot before `at`.
#[derive(Clone, Copy)]
struct Under<'p> {
    pairs: &'p [Pair<'p>],
    at: usize,
}

/// One part of the names: what is given for exactly it, and what is under it.
struct Part<'p> {
    name: &'p str,
    /// The whole name, for people.
    full: &'p str,
    exact: Option<&'p str>,
    under: Under<'p>,
}

impl<'p> Under<'p> {
    fn parts(self) -> impl Iterator<Item = Part<'p>> {
        let Under { mut pairs, at } = self;
        std::iter::from_fn(move || {
            let name = part(&pairs.first()?.0, at);
            let same = pairs.iter().take_while(|(full, _)| part(full, at) == name).count();
            let (group, rest) = pairs.split_at(same);
            pairs = rest;
            let end = at + name.len();
            // Sorted: the shortest name comes first, and a name occurs once.
            let exact = group.first().filter(|(full, _)| full.len() == end);
            let under = if exact.is_some() { &group[1..] } else { group };
            Some(Part {
                name,
                full: &group.first()?.0[..end],
                exact: exact.map(|(_, value)| value.as_ref()),
                under: Under { pairs: under, at: end + 1 },
            })
        })
    }
}

/// The part of a name that begins at `at`.
fn part(full: &str, at: usize) -> &str {
    let rest = full.get(at..).unwrap_or("");
    rest.split('.').next().unwrap_or("")
}

/// Reads the input of the shape `id` from all pairs of a form.
pub(super) fn read(
    service: &'static Service,
    spelling: Spelling,
    id: ShapeId,
    pairs: &[Pair<'_>],
) -> Result<Structure, Fault> {
    Reader { service, spelling }.structure(service.members(Some(id)), Under { pairs, at: 0 }, 0)
}

#[derive(Clone, Copy)]
struct Reader {
    service: &'static Service,
    spelling: Spelling,
}

impl Reader {
    fn structure(
        self,
        members: &'static [Member],
        under: Under<'_>,
        depth: usize,
    ) -> Result<Structure, Fault> {
        let mut structure = Structure::new();
        for part in under.parts() {
            let named = |member: &&Member| self.is_named(member, part.name);
            let Some(member) = members.iter().find(named) else { continue };
            if let Some(value) = self.value(member.shape, &part, depth)? {
                structure.push(member.name.into(), value);
            }
        }
        structure.shrink();
        Ok(structure)
    }

    /// Is this a member's name in a form?
    fn is_named(self, member: &Member, name: &str) -> bool {
        match (self.spelling, member.query_name, member.location) {
            (Spelling::Ec2, Some(query_name), _) => query_name == name,
            (Spelling::Ec2, None, Some(location)) => is_capitalised(location, name),
            (Spelling::Ec2, None, None) => member.name == name,
            // A flattened list stands under its items' name.
            (Spelling::Query, ..) => match self.service.shape(member.shape).kind {
                Kind::List { location: Some(item), flattened: true, .. } => item == name,
                _ => member.element() == name,
            },
        }
    }

    fn value(self, id: ShapeId, part: &Part<'_>, depth: usize) -> Result<Option<Value>, Fault> {
        if depth == MAX_DEPTH {
            return Ok(None);
        }
        match &self.service.shape(id).kind {
            Kind::Structure(members) => {
                let structure = self.structure(members, part.under, depth + 1)?;
                Ok((!structure.is_empty()).then_some(Value::Structure(structure)))
            }
            Kind::List { member, location, flattened } => {
                self.list(*member, location.unwrap_or("member"), *flattened, part, depth)
            }
            Kind::Map { key, value, flattened } => {
                self.map((key.1, *value), *flattened, part, depth)
            }
            kind => part.exact.map(|text| scalar(kind, part.full, text)).transpose(),
        }
    }

    fn list(
        self,
        member: ShapeId,
        word: &str,
        flattened: bool,
        part: &Part<'_>,
        depth: usize,
    ) -> Result<Option<Value>, Fault> {
        let mut items: BTreeMap<usize, Value> = BTreeMap::new();
        let mut add = |under: Under<'_>| -> Result<(), Fault> {
            for part in under.parts() {
                if let Some(number) = number(&part)?
                    && let Some(value) = self.value(member, &part, depth + 1)?
                {
                    items.insert(number, value);
                }
            }
            Ok(())
        };
        if flattened || self.spelling == Spelling::Ec2 {
            add(part.under)?;
        } else {
            // Services take `member` for every list, too. One request uses one of the words.
            for inner in part.under.parts().filter(|inner| [word, "member"].contains(&inner.name)) {
                add(inner.under)?;
            }
        }
        match part.exact {
            _ if !items.is_empty() => Ok(Some(items.into_values().collect())),
            // This is how an empty list is sent.
            Some("") => Ok(Some(Value::List(Vec::new()))),
            Some(text) => Err(bad(part.full, text, "It must be a list")),
            None => Ok(None),
        }
    }

    fn map(
        self,
        (key, value): (&str, (ShapeId, &str)),
        flattened: bool,
        part: &Part<'_>,
        depth: usize,
    ) -> Result<Option<Value>, Fault> {
        let mut entries: BTreeMap<String, Value> = BTreeMap::new();
        let mut add = |under: Under<'_>| -> Result<(), Fault> {
            for entry in under.parts() {
                if number(&entry)?.is_none() {
                    continue;
                }
                let named = |name: &str| entry.under.parts().find(|part| part.name == name);
                if let Some(name) = named(key).and_then(|part| part.exact)
                    && let Some(part) = named(value.1)
                    && let Some(value) = self.value(value.0, &part, depth + 1)?
                {
                    entries.insert(name.to_owned(), value);
                }
            }
            Ok(())
        };
        if flattened {
            add(part.under)?;
        } else {
            for inner in part.under.parts().filter(|inner| inner.name == "entry") {
                add(inner.under)?;
            }
        }
        let mut structure = Structure::new();
        for (name, value) in entries {
            structure.push(name.into(), value);
        }
        let given = part.exact == Some("") || !structure.is_empty();
        Ok(given.then_some(Value::Structure(structure)))
    }
}

/// Is `name` the `word` with its first letter in upper case?
fn is_capitalised(word: &str, name: &str) -> bool {
    let (mut word, mut name) = (word.chars(), name.chars());
    word.next().map(|letter| letter.to_ascii_uppercase()) == name.next()
        && word.as_str() == name.as_str()
}

/// The number of a list's item; what is no number names nothing.
fn number(part: &Part<'_>) -> Result<Option<usize>, Fault> {
    if part.name.is_empty() || !part.name.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(None);
    }
    let number = part.name.parse().ok().filter(|number| (1..=MAX_LIST_ITEMS).contains(number));
    match number {
        Some(number) if !part.name.starts_with('0') => Ok(Some(number)),
        _ => Err(bad(part.full, part.name, "The items of a list are numbered from 1 to 10000")),
    }
}

fn bad(member: &str, value: &str, wrong: &'static str) -> Fault {
    let short = |text: &str| text.chars().take(128).collect();
    Fault::BadType { member: short(member), value: short(value), wrong }
}

fn scalar(kind: &Kind, name: &str, text: &str) -> Result<Value, Fault> {
    let wrong = match kind {
        Kind::Integer => match text.parse::<i32>() {
            Ok(number) => return Ok(Value::Integer(number.into())),
            Err(_) => "It must be a whole number of 32 bits",
        },
        Kind::Long => match text.parse() {
            Ok(number) => return Ok(Value::Integer(number)),
            Err(_) => "It must be a whole number of 64 bits",
        },
        Kind::Float => match float(text) {
            Some(number) => return Ok(Value::Float(number)),
            None => "It must be a number",
        },
        Kind::Boolean => match text {
            _ if text.eq_ignore_ascii_case("true") => return Ok(Value::Boolean(true)),
            _ if text.eq_ignore_ascii_case("false") => return Ok(Value::Boolean(false)),
            _ => "It must be true or false",
        },
        Kind::Timestamp => match timestamp(text) {
            Some(at) => return Ok(Value::Timestamp(at)),
            None => "It must be a time such as 2026-01-31T23:59:59Z",
        },
        Kind::Text(_) | Kind::Structure(_) | Kind::List { .. } | Kind::Map { .. } => {
            return Ok(Value::Text(text.to_owned()));
        }
    };
    Err(bad(name, text, wrong))
}

/// A number in decimal, or one of the three words that clients send; `1e999` is neither.
pub(super) fn float(text: &str) -> Option<f64> {
    match text {
        "NaN" => Some(f64::NAN),
        "Infinity" => Some(f64::INFINITY),
        "-Infinity" => Some(f64::NEG_INFINITY),
        _ => text.parse().ok().filter(|number: &f64| number.is_finite()),
    }
}

/// A time in ISO 8601; without a zone it is in UTC.
pub(super) fn timestamp(text: &str) -> Option<Timestamp> {
    let zoned = text.parse::<Timestamp>().ok();
    let plain = || text.parse::<DateTime>().ok()?.to_zoned(TimeZone::UTC).ok();
    zoned.or_else(|| Some(plain()?.timestamp()))
}

#[cfg(test)]
mod tests;
