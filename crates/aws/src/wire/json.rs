//! JSON 1.0 of CloudWatch: `X-Amz-Target` names the operation, the body is its input.
//!
//! The body is read along the model and never into a tree of its own: a megabyte of `[[],[],…]`
//! under a name that nobody knows costs nothing.
//!
//! Invariant: at most [`MAX_JSON_VALUES`] values are kept of one body.
//!
//! Not here: missing members and limits (`check`); the second error code, which is a header
//! ([`super::encode_error`]).

use std::borrow::Cow;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Serialize, Serializer};

use super::check::EncodeError;
use super::params::{MAX_LIST_ITEMS, float, timestamp};
use super::query::unknown;
use super::{Call, xml};
use crate::error::{ApiError, Fault, cut};
use crate::model::{Kind, Operation, Service, ShapeId};
use crate::request::Request;
use crate::value::{Structure, Value};

/// Most values of one body: about 60 for each of the 1000 metrics that a `PutMetricData` may have.
pub const MAX_JSON_VALUES: usize = 60_000;

pub(super) fn decode(
    service: &'static Service,
    request: &Request<'_>,
    body: &[u8],
) -> Result<Call, Fault> {
    let target = request.header("x-amz-target").ok_or(Fault::MissingAction)?;
    let (prefix, action) = target.rsplit_once('.').unwrap_or(("", target));
    let operation = service
        .operation(action)
        .filter(|_| service.target_prefix == Some(prefix))
        .ok_or_else(|| unknown(action, if prefix.is_empty() { "(none)" } else { prefix }))?;
    let body = if body.trim_ascii().is_empty() { b"{}" } else { body };
    let malformed = |error: serde_json::Error| Fault::Malformed(cut(&error.to_string()));
    let left = Cell::new(MAX_JSON_VALUES);
    let Some(id) = operation.input else {
        serde_json::from_slice::<IgnoredAny>(body).map_err(malformed)?;
        return Ok(Call { operation, input: Structure::new() });
    };
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let input = Seed { service, id, left: &left }.deserialize(&mut deserializer);
    match input.and_then(|input| deserializer.end().map(|()| input)).map_err(malformed)? {
        Some(Value::Structure(input)) => Ok(Call { operation, input }),
        _ => Err(Fault::Malformed("the body is not an object".to_owned())),
    }
}

/// One value that the model has; `null` is none.
#[derive(Clone, Copy)]
struct Seed<'c> {
    service: &'static Service,
    id: ShapeId,
    left: &'c Cell<usize>,
}

impl Seed<'_> {
    const fn at(self, id: ShapeId) -> Self {
        Self { id, ..self }
    }

    fn kind(self) -> &'static Kind {
        &self.service.shape(self.id).kind
    }

    /// Counts a value that will be kept.
    fn keep<E: Error>(self, value: Value) -> Result<Option<Value>, E> {
        let left = self.left.get().checked_sub(1);
        let what = || E::custom(format_args!("more than {MAX_JSON_VALUES} values"));
        self.left.set(left.ok_or_else(what)?);
        Ok(Some(value))
    }

    /// What is there is not what the model says; its text is not repeated.
    fn wrong<E: Error>(self, found: &str) -> E {
        E::custom(format_args!(
            "a value of the type {} is {found}",
            self.service.shape(self.id).name
        ))
    }
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Option<Value>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Option<Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.service.shape(self.id).name)
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_bool<E: Error>(self, flag: bool) -> Result<Self::Value, E> {
        match self.kind() {
            Kind::Boolean => self.keep(Value::Boolean(flag)),
            _ => Err(self.wrong("true or false")),
        }
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Self::Value, E> {
        match self.kind() {
            Kind::Integer if i32::try_from(number).is_ok() => self.keep(Value::Integer(number)),
            Kind::Long => self.keep(Value::Integer(number)),
            #[expect(clippy::cast_precision_loss, reason = "a double is what the model says")]
            Kind::Float => self.keep(Value::Float(number as f64)),
            Kind::Timestamp => match Timestamp::from_second(number) {
                Ok(at) => self.keep(Value::Timestamp(at)),
                Err(_) => Err(self.wrong("a time out of range")),
            },
            _ => Err(self.wrong("a whole number")),
        }
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Self::Value, E> {
        match i64::try_from(number) {
            Ok(number) => self.visit_i64(number),
            #[expect(clippy::cast_precision_loss, reason = "a double is what the model says")]
            Err(_) => self.visit_f64(number as f64),
        }
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Self::Value, E> {
        match self.kind() {
            Kind::Float => self.keep(Value::Float(number)),
            Kind::Timestamp => match milliseconds(number) {
                Some(at) => self.keep(Value::Timestamp(at)),
                None => Err(self.wrong("a time out of range")),
            },
            _ => Err(self.wrong("a number with a fraction")),
        }
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        match self.kind() {
            Kind::Text(_) if text.contains('\0') => Err(self.wrong("text with a NUL character")),
            Kind::Text(_) => self.keep(Value::Text(text.to_owned())),
            Kind::Float if matches!(text, "NaN" | "Infinity" | "-Infinity") => {
                self.keep(Value::Float(float(text).unwrap_or(f64::NAN)))
            }
            Kind::Timestamp => match timestamp(text) {
                Some(at) => self.keep(Value::Timestamp(at)),
                None => Err(self.wrong("text that is no time")),
            },
            _ => Err(self.wrong("text")),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let Kind::List { member, .. } = self.kind() else { return Err(self.wrong("a list")) };
        let mut values = Vec::new();
        while let Some(item) = items.next_element_seed(self.at(*member))? {
            if values.len() == MAX_LIST_ITEMS {
                let what = format_args!("a list has more than {MAX_LIST_ITEMS} items");
                return Err(A::Error::custom(what));
            }
            values.extend(item);
        }
        values.shrink_to_fit();
        self.keep(Value::List(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        let mut structure = Structure::new();
        match self.kind() {
            Kind::Structure(members) => {
                while let Some(key) = entries.next_key::<Cow<'_, str>>()? {
                    let Some(member) = members.iter().find(|member| member.element() == key) else {
                        entries.next_value::<IgnoredAny>()?;
                        continue;
                    };
                    let value = entries.next_value_seed(self.at(member.shape))?;
                    if structure.has(member.name) {
                        let what = format_args!("{} is given more than once", member.name);
                        return Err(A::Error::custom(what));
                    }
                    if let Some(value) = value {
                        structure.push(member.name.into(), value);
                    }
                }
            }
            Kind::Map { value, .. } => {
                let mut sorted: BTreeMap<String, Value> = BTreeMap::new();
                while let Some(key) = entries.next_key::<String>()? {
                    if let Some(value) = entries.next_value_seed(self.at(value.0))?
                        && sorted.insert(key, value).is_some()
                    {
                        return Err(A::Error::custom("a map has a key more than once"));
                    }
                }
                for (name, value) in sorted {
                    structure.push(name.into(), value);
                }
            }
            _ => return Err(self.wrong("an object")),
        }
        structure.shrink();
        self.keep(Value::Structure(structure))
    }
}

/// Seconds since 1970 with a fraction, to the next millisecond.
fn milliseconds(seconds: f64) -> Option<Timestamp> {
    let milliseconds = (seconds * 1000.0).round();
    // Beyond this, a conversion would give the nearest number and not fail.
    if !milliseconds.is_finite() || milliseconds.abs() > 1e15 {
        return None;
    }
    #[expect(clippy::cast_possible_truncation, reason = "the range was checked")]
    Timestamp::from_millisecond(milliseconds as i64).ok()
}

pub(super) fn encode(
    service: &Service,
    operation: &Operation,
    answer: &Structure,
) -> Result<Vec<u8>, EncodeError> {
    let id = operation.output;
    let text = serde_json::to_vec(&Members { service, id, structure: answer });
    text.map_err(|error| EncodeError::Write(error.into()))
}

pub(super) fn encode_error(error: &ApiError) -> Result<Vec<u8>, EncodeError> {
    let body = serde_json::json!({ "__type": error.kind, "message": error.message });
    serde_json::to_vec(&body).map_err(|error| EncodeError::Write(error.into()))
}

struct Members<'a> {
    service: &'a Service,
    id: Option<ShapeId>,
    structure: &'a Structure,
}

impl Serialize for Members<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let service = self.service;
        let mut map = serializer.serialize_map(None)?;
        for member in service.members(self.id) {
            if let Some(value) = self.structure.get(member.name) {
                map.serialize_entry(
                    member.element(),
                    &Shaped { service, id: member.shape, value },
                )?;
            }
        }
        map.end()
    }
}

struct Shaped<'a> {
    service: &'a Service,
    id: ShapeId,
    value: &'a Value,
}

impl Serialize for Shaped<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let service = self.service;
        match (&service.shape(self.id).kind, self.value) {
            (Kind::Map { value, .. }, Value::Structure(entries)) => {
                let id = value.0;
                let mut map = serializer.serialize_map(Some(entries.len()))?;
                for (name, value) in entries.iter() {
                    map.serialize_entry(name, &Shaped { service, id, value })?;
                }
                map.end()
            }
            (_, Value::Structure(structure)) => {
                Members { service, id: Some(self.id), structure }.serialize(serializer)
            }
            (Kind::List { member, .. }, Value::List(items)) => {
                let mut seq = serializer.serialize_seq(Some(items.len()))?;
                for value in items {
                    seq.serialize_element(&Shaped { service, id: *member, value })?;
                }
                seq.end()
            }
            // The check of the answer lets no such list come here.
            (_, Value::List(_)) => serializer.serialize_unit(),
            (_, Value::Text(text)) => serializer.serialize_str(text),
            (_, Value::Integer(number)) => serializer.serialize_i64(*number),
            (_, Value::Float(number)) if number.is_finite() => serializer.serialize_f64(*number),
            (_, Value::Float(number)) => serializer.serialize_str(&xml::float(*number)),
            (_, Value::Boolean(flag)) => serializer.serialize_bool(*flag),
            (_, Value::Timestamp(at)) => {
                let milliseconds = xml::millisecond(*at);
                if milliseconds % 1000 == 0 {
                    serializer.serialize_i64(milliseconds / 1000)
                } else {
                    #[expect(clippy::cast_precision_loss, reason = "exact below the year 200000")]
                    serializer.serialize_f64(milliseconds as f64 / 1000.0)
                }
            }
        }
    }
}
