//! Reading a generated model.
//!
//! The file's form is `xtask`'s; what is read here is checked against it, so that a model with
//! something new fails in a test and not on the wire.
//!
//! Invariant: every reference of a loaded model leads to a shape of the same model.
//!
//! Not here: what the parts mean (`model`).

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Failure, Kind, Member, Operation, Service, Shape, ShapeId};

/// Why a model cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// The text is not a model, or has a property that nothing here would heed.
    #[error("reading a service model")]
    Form(#[source] serde_json::Error),
    /// A shape is named that is not there.
    #[error("the service model names the shape {0}, which it does not have")]
    NoShape(String),
    /// A shape lacks a part that its type needs, or has a type that is not known.
    #[error("the shape {name} is no {kind}")]
    BadShape {
        /// The shape.
        name: String,
        /// The type that it says.
        kind: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(rename = "botocore")]
    _botocore: &'static str,
    metadata: Metadata,
    errors: BTreeMap<&'static str, RawFailure>,
    operations: BTreeMap<&'static str, RawOperation>,
    shapes: BTreeMap<&'static str, RawShape>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    api_version: &'static str,
    endpoint_prefix: &'static str,
    signing_name: Option<&'static str>,
    xml_namespace: &'static str,
    target_prefix: Option<&'static str>,
    json_version: Option<&'static str>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFailure {
    code: &'static str,
    status: u16,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawOperation {
    input: Option<&'static str>,
    output: Option<&'static str>,
    result_wrapper: Option<&'static str>,
    #[serde(default)]
    errors: Vec<&'static str>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawShape {
    #[serde(rename = "type")]
    kind: &'static str,
    /// Of every member with this shape that has no name of its own.
    #[serde(rename = "locationName")]
    location: Option<&'static str>,
    #[serde(default)]
    members: Vec<Reference>,
    #[serde(default)]
    required: Vec<&'static str>,
    member: Option<Reference>,
    key: Option<Reference>,
    value: Option<Reference>,
    #[serde(default)]
    flattened: bool,
    #[serde(default, rename = "enum")]
    values: Vec<&'static str>,
    min: Option<f64>,
    max: Option<f64>,
    // With escapes, so it is not a piece of the file.
    #[serde(default, borrow)]
    pattern: Option<Cow<'static, str>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Reference {
    shape: &'static str,
    #[serde(default)]
    name: &'static str,
    location_name: Option<&'static str>,
    query_name: Option<&'static str>,
}

/// Where a shape is, and the name that it gives to members.
type Index = BTreeMap<&'static str, (ShapeId, Option<&'static str>)>;

impl Service {
    /// Reads a generated model.
    ///
    /// # Errors
    /// [`ModelError`] if it is not one, or names shapes that it does not have.
    pub fn parse(text: &'static str) -> Result<Self, ModelError> {
        let file: File = serde_json::from_str(text).map_err(ModelError::Form)?;
        let shapes = file.shapes.iter().enumerate();
        let index: Index =
            shapes.map(|(at, (name, raw))| (*name, (ShapeId(at), raw.location))).collect();
        let shapes = file
            .shapes
            .into_iter()
            .map(|(name, raw)| shape(&index, name, raw))
            .collect::<Result<_, _>>()?;
        let operations = file
            .operations
            .into_iter()
            .map(|(name, raw)| Ok((name, operation(&index, name, raw)?)))
            .collect::<Result<_, ModelError>>()?;
        let failures = file
            .errors
            .into_iter()
            .map(|(name, raw)| (name, Failure { name, code: raw.code, status: raw.status }));
        Ok(Self {
            scope: file.metadata.signing_name.unwrap_or(file.metadata.endpoint_prefix),
            api_version: file.metadata.api_version,
            xml_namespace: file.metadata.xml_namespace,
            target_prefix: file.metadata.target_prefix,
            json_version: file.metadata.json_version,
            operations,
            shapes,
            failures: failures.collect(),
        })
    }
}

fn id(index: &Index, name: &str) -> Result<ShapeId, ModelError> {
    let found = index.get(name).map(|(id, _)| *id);
    found.ok_or_else(|| ModelError::NoShape(name.to_owned()))
}

fn operation(
    index: &Index,
    name: &'static str,
    raw: RawOperation,
) -> Result<Operation, ModelError> {
    Ok(Operation {
        name,
        input: raw.input.map(|shape| id(index, shape)).transpose()?,
        output: raw.output.map(|shape| id(index, shape)).transpose()?,
        result_wrapper: raw.result_wrapper,
        errors: raw.errors,
    })
}

fn shape(index: &Index, name: &'static str, raw: RawShape) -> Result<Shape, ModelError> {
    let bad = || ModelError::BadShape { name: name.to_owned(), kind: raw.kind.to_owned() };
    let kind = match raw.kind {
        "structure" => Kind::Structure(members(index, &raw)?),
        "list" => {
            let member = raw.member.as_ref().ok_or_else(bad)?;
            let location = member.location_name;
            Kind::List { member: id(index, member.shape)?, location, flattened: raw.flattened }
        }
        "map" => {
            let key = raw.key.as_ref().ok_or_else(bad)?;
            let value = raw.value.as_ref().ok_or_else(bad)?;
            Kind::Map {
                key: (id(index, key.shape)?, key.location_name.unwrap_or("key")),
                value: (id(index, value.shape)?, value.location_name.unwrap_or("value")),
                flattened: raw.flattened,
            }
        }
        // Bytes go over every wire as base64, which is what an operation reads.
        "string" | "blob" => Kind::Text(raw.values),
        "integer" => Kind::Integer,
        "long" => Kind::Long,
        "double" | "float" => Kind::Float,
        "boolean" => Kind::Boolean,
        "timestamp" => Kind::Timestamp,
        _ => return Err(bad()),
    };
    let pattern = raw.pattern.map(Cow::into_owned);
    Ok(Shape { name, kind, min: raw.min, max: raw.max, pattern })
}

fn members(index: &Index, raw: &RawShape) -> Result<Vec<Member>, ModelError> {
    let member = |reference: &Reference| {
        Ok(Member {
            name: reference.name,
            location: reference
                .location_name
                .or(index.get(reference.shape).and_then(|found| found.1)),
            query_name: reference.query_name,
            required: raw.required.contains(&reference.name),
            shape: id(index, reference.shape)?,
        })
    };
    raw.members.iter().map(member).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_with_something_new_does_not_load() {
        const NEW: &str = r#"{"botocore":"1","metadata":{"apiVersion":"1","endpointPrefix":"z",
            "xmlNamespace":"n"},"errors":{},"operations":{},
            "shapes":{"A":{"type":"timestamp","timestampFormat":"rfc822"}}}"#;
        assert!(matches!(Service::parse(NEW), Err(ModelError::Form(_))));
    }

    #[test]
    fn a_model_with_a_gap_does_not_load() {
        const GAP: &str = r#"{"botocore":"1","metadata":{"apiVersion":"1","endpointPrefix":"z",
            "xmlNamespace":"n"},"errors":{},"operations":{"Feed":{"input":"Food"}},"shapes":{}}"#;
        let error = Service::parse(GAP).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the service model names the shape Food, which it does not have"
        );
        const OTHER: &str = r#"{"botocore":"1","metadata":{"apiVersion":"1","endpointPrefix":"z",
            "xmlNamespace":"n"},"errors":{},"operations":{},"shapes":{"A":{"type":"document"}}}"#;
        assert_eq!(Service::parse(OTHER).unwrap_err().to_string(), "the shape A is no document");
    }
}
