//! Values as XML elements.
//!
//! Invariant: whatever a value holds, the document is well formed: characters that XML 1.0 cannot
//! carry become U+FFFD.
//!
//! Not here: what stands around an answer (`query`, `ec2`).

use std::borrow::Cow;

use jiff::Timestamp;
use quick_xml::Writer;
use quick_xml::escape::escape;
use quick_xml::events::{BytesDecl, BytesEnd, BytesStart, BytesText, Event};

use super::check::EncodeError;
use crate::model::{Kind, Member, Service, ShapeId};
use crate::value::{Structure, Value};

/// A document that is being written.
pub(super) struct Document<'a> {
    writer: Writer<Vec<u8>>,
    /// The model, and the name of a list's items where the model has none.
    model: Option<(&'a Service, &'static str)>,
}

type Written = Result<(), EncodeError>;

impl<'a> Document<'a> {
    pub(super) fn new(service: &'a Service, item: &'static str) -> Self {
        Self { writer: Writer::new(Vec::new()), model: Some((service, item)) }
    }

    /// One without values of a model.
    pub(super) fn plain() -> Self {
        Self { writer: Writer::new(Vec::new()), model: None }
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.writer.into_inner()
    }

    fn event(&mut self, event: Event<'_>) -> Written {
        self.writer.write_event(event).map_err(EncodeError::Write)
    }

    pub(super) fn declare(&mut self) -> Written {
        self.event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))
    }

    pub(super) fn open_root(&mut self, name: &str, namespace: &str) -> Written {
        let root = BytesStart::new(name).with_attributes([("xmlns", namespace)]);
        self.event(Event::Start(root))
    }

    pub(super) fn open(&mut self, name: &str) -> Written {
        self.event(Event::Start(BytesStart::new(name)))
    }

    pub(super) fn close(&mut self, name: &str) -> Written {
        self.event(Event::End(BytesEnd::new(name)))
    }

    pub(super) fn leaf(&mut self, name: &str, text: &str) -> Written {
        self.open(name)?;
        self.event(Event::Text(BytesText::from_escaped(clean(text))))?;
        self.close(name)
    }

    /// A structure's members in the model's order.
    pub(super) fn members(&mut self, id: Option<ShapeId>, structure: &Structure) -> Written {
        let Some((service, _)) = self.model else { return Ok(()) };
        for member in service.members(id) {
            if let Some(value) = structure.get(member.name) {
                self.member(service, member, value)?;
            }
        }
        Ok(())
    }

    fn member(&mut self, service: &Service, member: &Member, value: &Value) -> Written {
        match (&service.shape(member.shape).kind, value) {
            (Kind::List { member: inner, location, flattened: true }, Value::List(items)) => {
                let name = location.unwrap_or(member.element());
                items.iter().try_for_each(|item| self.value(service, name, *inner, item))
            }
            (Kind::Map { key, value, flattened: true }, Value::Structure(entries)) => entries
                .iter()
                .try_for_each(|entry| self.entry(service, member.element(), *key, *value, entry)),
            _ => self.value(service, member.element(), member.shape, value),
        }
    }

    fn value(&mut self, service: &Service, name: &str, id: ShapeId, value: &Value) -> Written {
        match (&service.shape(id).kind, value) {
            (Kind::Structure(_), Value::Structure(structure)) => {
                self.open(name)?;
                self.members(Some(id), structure)?;
                self.close(name)
            }
            (Kind::List { member, location, .. }, Value::List(items)) => {
                let item = location.or(self.model.map(|(_, item)| item)).unwrap_or("member");
                self.open(name)?;
                for inner in items {
                    self.value(service, item, *member, inner)?;
                }
                self.close(name)
            }
            (Kind::Map { key, value, .. }, Value::Structure(entries)) => {
                self.open(name)?;
                for entry in entries.iter() {
                    self.entry(service, "entry", *key, *value, entry)?;
                }
                self.close(name)
            }
            _ => self.leaf(name, &text(value)),
        }
    }

    fn entry(
        &mut self,
        service: &Service,
        name: &str,
        key: (ShapeId, &str),
        value: (ShapeId, &str),
        entry: (&str, &Value),
    ) -> Written {
        self.open(name)?;
        self.leaf(key.1, entry.0)?;
        self.value(service, value.1, value.0, entry.1)?;
        self.close(name)
    }
}

/// A value that has no parts, as text.
fn text(value: &Value) -> Cow<'_, str> {
    match value {
        Value::Text(text) => Cow::Borrowed(text),
        Value::Integer(number) => Cow::Owned(number.to_string()),
        Value::Float(number) => Cow::Owned(float(*number)),
        Value::Boolean(flag) => Cow::Borrowed(if *flag { "true" } else { "false" }),
        Value::Timestamp(at) => Cow::Owned(iso8601(*at)),
        // The check of the answer lets none of these come here.
        Value::List(_) | Value::Structure(_) => Cow::Borrowed(""),
    }
}

/// A number that every client reads; Rust's own words for the infinite are others.
pub(super) fn float(number: f64) -> String {
    if number.is_nan() {
        "NaN".to_owned()
    } else if number.is_infinite() {
        if number > 0.0 { "Infinity" } else { "-Infinity" }.to_owned()
    } else {
        format!("{number:?}")
    }
}

/// Such as `2026-01-31T23:59:59.000Z`: always milliseconds, and what is below them is cut off.
fn iso8601(at: Timestamp) -> String {
    let at = Timestamp::from_millisecond(millisecond(at)).unwrap_or(at);
    at.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}

/// Milliseconds since 1970, rounded down also before it.
pub(super) fn millisecond(at: Timestamp) -> i64 {
    i64::try_from(at.as_nanosecond().div_euclid(1_000_000)).unwrap_or_else(|_| at.as_millisecond())
}

/// Text without what XML 1.0 cannot carry, escaped. A carriage return needs an escape, or a reader
/// makes a line feed of it.
fn clean(raw: &str) -> String {
    let carried = |letter: char| match letter {
        '\t' | '\n' | '\r' => letter,
        '\0'..'\u{20}' | '\u{FFFE}' | '\u{FFFF}' => '\u{FFFD}',
        _ => letter,
    };
    escape(raw.chars().map(carried).collect::<String>()).replace('\r', "&#13;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_milliseconds_and_nothing_below() {
        let at = |text: &str| iso8601(text.parse().unwrap());
        assert_eq!(at("2026-01-31T23:59:59Z"), "2026-01-31T23:59:59.000Z");
        assert_eq!(at("2026-01-31T23:59:59.9999999Z"), "2026-01-31T23:59:59.999Z");
        assert_eq!(at("1969-12-31T23:59:59.9999999Z"), "1969-12-31T23:59:59.999Z");
    }

    #[test]
    fn numbers_are_written_so_that_clients_read_them() {
        let numbers = [5.0, 0.1, 1e300, -1e-300, f64::NAN, f64::INFINITY, f64::NEG_INFINITY];
        let written = numbers.map(float);
        assert_eq!(written, ["5.0", "0.1", "1e300", "-1e-300", "NaN", "Infinity", "-Infinity"]);
    }

    #[test]
    fn text_is_escaped_and_can_be_carried() {
        assert_eq!(clean("<a & \"b\">\r\n\t"), "&lt;a &amp; &quot;b&quot;&gt;&#13;\n\t");
        assert_eq!(clean("\0\u{1b}\u{FFFE}ä"), "\u{FFFD}\u{FFFD}\u{FFFD}ä");
    }
}
