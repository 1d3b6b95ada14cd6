//! What requests and answers are made of, between the wire and the operations.
//!
//! One small tree for every protocol: an operation that reads `input.text("ReplicationGroupId")`
//! need not know whether the client sent a form or JSON, and an answer is written once:
//!
//! ```
//! use tanist_aws::value::Structure;
//!
//! let description: Option<String> = None;
//! let answer = Structure::new()
//!     .set("ReplicationGroup", Structure::new()
//!         .set("ReplicationGroupId", "web")
//!         .set("Status", "available")
//!         .maybe("Description", description)
//!         .list("MemberClusters", ["web-001", "web-002"]));
//! assert_eq!(answer.structure("ReplicationGroup").unwrap().text("Status"), Some("available"));
//! ```
//!
//! Invariant: accessors are total: a member that is missing, or of another type, is `None` or empty.
//!
//! Not here: whether a name exists ([`crate::model`]); the wire protocols check that both ways.

use std::borrow::Cow;
use std::fmt;

use jiff::Timestamp;

/// A member's name: the model's, or a map's key.
pub type Name = Cow<'static, str>;

/// Members whose values are secrets; `Debug` does not show them.
const SECRET: [&str; 3] = ["AuthToken", "KeyMaterial", "Passwords"];

/// One value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A string.
    Text(String),
    /// A whole number.
    Integer(i64),
    /// A number.
    Float(f64),
    /// True or false.
    Boolean(bool),
    /// A point in time; milliseconds are what goes over the wire.
    Timestamp(Timestamp),
    /// Values in their order.
    List(Vec<Value>),
    /// Named values.
    Structure(Structure),
}

/// Named values: a structure of the model, or a map.
///
/// Two are equal if they have the same members, in whatever order.
#[derive(Clone, Default)]
pub struct Structure {
    members: Vec<(Name, Value)>,
}

impl Structure {
    /// One without members.
    #[must_use]
    pub const fn new() -> Self {
        Self { members: Vec::new() }
    }

    /// With a member; an earlier one of this name is replaced.
    #[must_use]
    pub fn set(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.members.retain(|(known, _)| known != name);
        self.members.push((name.into(), value.into()));
        self
    }

    /// With a member if there is a value for it.
    #[must_use]
    pub fn maybe(self, name: &'static str, value: Option<impl Into<Value>>) -> Self {
        match value {
            Some(value) => self.set(name, value),
            None => self,
        }
    }

    /// With a list, which may be empty.
    #[must_use]
    pub fn list<V: Into<Value>>(
        self,
        name: &'static str,
        values: impl IntoIterator<Item = V>,
    ) -> Self {
        self.set(name, values.into_iter().collect::<Value>())
    }

    /// Adds a member without looking for one of the same name: for decoders, which know.
    pub(crate) fn push(&mut self, name: Name, value: Value) {
        self.members.push((name, value));
    }

    /// Gives back room that was kept for more members: inputs have many small structures.
    pub(crate) fn shrink(&mut self) {
        self.members.shrink_to_fit();
    }

    /// A member's value.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.members.iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    /// Whether the member was given, with whatever value.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// A string.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.get(name).and_then(Value::as_text)
    }

    /// A whole number.
    #[must_use]
    pub fn integer(&self, name: &str) -> Option<i64> {
        match self.get(name)? {
            Value::Integer(number) => Some(*number),
            _ => None,
        }
    }

    /// A number; a whole one too.
    #[must_use]
    pub fn float(&self, name: &str) -> Option<f64> {
        match self.get(name)? {
            Value::Float(number) => Some(*number),
            #[expect(clippy::cast_precision_loss, reason = "whole numbers here are counts")]
            Value::Integer(number) => Some(*number as f64),
            _ => None,
        }
    }

    /// True or false.
    #[must_use]
    pub fn flag(&self, name: &str) -> Option<bool> {
        match self.get(name)? {
            Value::Boolean(flag) => Some(*flag),
            _ => None,
        }
    }

    /// A point in time.
    #[must_use]
    pub fn timestamp(&self, name: &str) -> Option<Timestamp> {
        match self.get(name)? {
            Value::Timestamp(at) => Some(*at),
            _ => None,
        }
    }

    /// A list's values; none if it is empty or was not given.
    #[must_use]
    pub fn items(&self, name: &str) -> &[Value] {
        match self.get(name) {
            Some(Value::List(values)) => values,
            _ => &[],
        }
    }

    /// A list's strings.
    pub fn texts(&self, name: &str) -> impl Iterator<Item = &str> {
        self.items(name).iter().filter_map(Value::as_text)
    }

    /// A list's structures.
    pub fn structures(&self, name: &str) -> impl Iterator<Item = &Self> {
        self.items(name).iter().filter_map(Value::as_structure)
    }

    /// A structure or a map.
    #[must_use]
    pub fn structure(&self, name: &str) -> Option<&Self> {
        self.get(name).and_then(Value::as_structure)
    }

    /// Every member, or every entry of a map.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.members.iter().map(|(name, value)| (name.as_ref(), value))
    }

    /// How many members there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }
}

impl PartialEq for Structure {
    fn eq(&self, other: &Self) -> bool {
        let same = |(name, value): (&str, &Value)| other.get(name) == Some(value);
        self.len() == other.len() && self.iter().all(same)
    }
}

impl fmt::Debug for Structure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_map();
        for (name, value) in &self.members {
            if SECRET.contains(&name.as_ref()) {
                shown.entry(name, &format_args!(".."));
            } else {
                shown.entry(name, value);
            }
        }
        shown.finish()
    }
}

impl Value {
    /// The string, if it is one.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The structure, if it is one.
    #[must_use]
    pub const fn as_structure(&self) -> Option<&Structure> {
        match self {
            Self::Structure(structure) => Some(structure),
            _ => None,
        }
    }
}

impl<V: Into<Value>> FromIterator<V> for Value {
    fn from_iter<I: IntoIterator<Item = V>>(values: I) -> Self {
        Self::List(values.into_iter().map(Into::into).collect())
    }
}

/// A map's entries; of two with one key the later one stays.
impl<V: Into<Value>> FromIterator<(String, V)> for Structure {
    fn from_iter<I: IntoIterator<Item = (String, V)>>(entries: I) -> Self {
        let mut members: Vec<(Name, Value)> = Vec::new();
        for (key, value) in entries {
            members.retain(|(known, _)| *known != key);
            members.push((key.into(), value.into()));
        }
        Self { members }
    }
}

macro_rules! value_from {
    ($($type:ty => $variant:ident),* $(,)?) => {
        $(impl From<$type> for Value {
            fn from(value: $type) -> Self {
                Self::$variant(value.into())
            }
        })*
    };
}

value_from! {
    String => Text, &str => Text, &String => Text, Cow<'_, str> => Text,
    i64 => Integer, i32 => Integer, i16 => Integer, u32 => Integer, u16 => Integer, u8 => Integer,
    f64 => Float, f32 => Float,
    bool => Boolean,
    Timestamp => Timestamp,
    Vec<Value> => List,
    Structure => Structure,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group() -> Structure {
        Structure::new()
            .set("Id", "web")
            .set("Port", 6379_u16)
            .set("Load", 0.5)
            .set("Flag", true)
            .set("At", Timestamp::UNIX_EPOCH)
            .list("Names", ["a", "b"])
            .list("Nodes", [Structure::new().set("Id", "1")])
            .set("Owner", Structure::new().set("Name", "x"))
    }

    #[test]
    fn members_are_read_by_their_type() {
        let group = group();
        assert_eq!(group.text("Id"), Some("web"));
        assert_eq!(group.integer("Port"), Some(6379));
        assert_eq!(group.float("Load"), Some(0.5));
        assert_eq!(group.float("Port"), Some(6379.0));
        assert_eq!(group.flag("Flag"), Some(true));
        assert_eq!(group.timestamp("At"), Some(Timestamp::UNIX_EPOCH));
        assert_eq!(group.texts("Names").collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(group.structures("Nodes").next().unwrap().text("Id"), Some("1"));
        assert_eq!(group.structure("Owner").unwrap().text("Name"), Some("x"));
    }

    #[test]
    fn what_is_missing_or_of_another_type_is_none() {
        let group = group();
        assert_eq!(group.text("Port"), None);
        assert_eq!(group.integer("Id"), None);
        assert_eq!(group.float("Id"), None);
        assert_eq!(group.flag("Id"), None);
        assert_eq!(group.timestamp("None"), None);
        assert_eq!(group.structure("Names"), None);
        assert!(group.items("Id").is_empty());
        assert!(!group.has("None") && group.has("Names"));
    }

    #[test]
    fn a_member_is_set_once() {
        let once = Structure::new().set("A", 1).set("A", 2).maybe("B", None::<String>);
        assert_eq!(once.iter().collect::<Vec<_>>(), [("A", &Value::Integer(2))]);
        let map: Structure = [("k".to_owned(), "1"), ("k".to_owned(), "2")].into_iter().collect();
        assert_eq!((map.len(), map.text("k")), (1, Some("2")));
    }

    #[test]
    fn secrets_are_not_shown() {
        let user = Structure::new().set("Name", "n").list("Passwords", ["hunter2"]);
        assert_eq!(format!("{user:?}"), r#"{"Name": Text("n"), "Passwords": ..}"#);
    }
}
