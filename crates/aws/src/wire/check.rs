//! What the model asks of an input and of an answer, whatever the wire.
//!
//! A missing member or a number out of range is found here, so that an operation reads an input
//! that its model allows; and an answer with a misspelt member is found before a client misses it.
//!
//! Invariant: patterns and lists of known strings are not enforced: a model is older than the
//! services, and operations judge their own identifiers with their own words.
//!
//! Not here: types of an input's values; a decoder makes no others.

use crate::error::Fault;
use crate::model::{Kind, Operation, Service, Shape, ShapeId};
use crate::value::{Structure, Value};

/// Why an answer cannot be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// The model has no such member.
    #[error("the answer of {operation} has {member}, which its model does not have")]
    UnknownMember {
        /// The operation.
        operation: &'static str,
        /// Where.
        member: String,
    },
    /// The member's type is another one.
    #[error("the answer of {operation} has {member}, which is no {expected}")]
    WrongType {
        /// The operation.
        operation: &'static str,
        /// Where.
        member: String,
        /// The model's type.
        expected: &'static str,
    },
    /// The text could not be written.
    #[error("writing an answer")]
    Write(#[source] std::io::Error),
}

/// What is wrong, and where; the place grows on the way up.
struct Wrong<P> {
    place: Vec<String>,
    problem: P,
}

impl<P> Wrong<P> {
    const fn new(problem: P) -> Self {
        Self { place: Vec::new(), problem }
    }

    fn under(mut self, part: impl ToString) -> Self {
        self.place.push(part.to_string());
        self
    }

    fn member(&self) -> String {
        self.place.iter().rev().map(String::as_str).collect::<Vec<_>>().join(".")
    }
}

enum InputProblem {
    Missing,
    Limit(String),
}

/// Are all required members there, and all values within their limits?
pub(super) fn input(
    service: &Service,
    operation: &Operation,
    input: &Structure,
) -> Result<(), Fault> {
    let wrong = match operation.input.map(|id| members(service, id, input)) {
        None | Some(Ok(())) => return Ok(()),
        Some(Err(wrong)) => wrong,
    };
    let member = wrong.member();
    Err(match wrong.problem {
        InputProblem::Limit(wrong) => Fault::BadValue { member, wrong },
        InputProblem::Missing => {
            Fault::MissingMember { member, listed: service.failure("MissingParameter").is_some() }
        }
    })
}

fn members(
    service: &Service,
    id: ShapeId,
    structure: &Structure,
) -> Result<(), Wrong<InputProblem>> {
    for member in service.members(Some(id)) {
        match structure.get(member.name) {
            Some(inner) => {
                value(service, member.shape, inner).map_err(|wrong| wrong.under(member.name))?;
            }
            None if member.required => {
                return Err(Wrong::new(InputProblem::Missing).under(member.name));
            }
            None => {}
        }
    }
    Ok(())
}

fn value(service: &Service, id: ShapeId, given: &Value) -> Result<(), Wrong<InputProblem>> {
    let shape = service.shape(id);
    limits(shape, given).map_err(|wrong| Wrong::new(InputProblem::Limit(wrong)))?;
    match (&shape.kind, given) {
        (Kind::Structure(_), Value::Structure(inner)) => members(service, id, inner),
        (Kind::List { member, .. }, Value::List(items)) => {
            for (at, item) in items.iter().enumerate() {
                value(service, *member, item).map_err(|wrong| wrong.under(at + 1))?;
            }
            Ok(())
        }
        (Kind::Map { key, value: inner, .. }, Value::Structure(entries)) => {
            for (name, entry) in entries.iter() {
                limits(service.shape(key.0), &Value::from(name))
                    .map_err(|wrong| Wrong::new(InputProblem::Limit(wrong)).under("key"))?;
                value(service, inner.0, entry).map_err(|wrong| wrong.under("value"))?;
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

fn limits(shape: &Shape, given: &Value) -> Result<(), String> {
    if shape.min.is_none() && shape.max.is_none() {
        return Ok(());
    }
    #[expect(clippy::cast_precision_loss, reason = "limits of models are far below 2^52")]
    let (what, size) = match given {
        Value::Text(text) => ("its length", text.chars().count() as f64),
        Value::List(items) => ("its number of items", items.len() as f64),
        Value::Structure(entries) => ("its number of entries", entries.len() as f64),
        Value::Integer(number) => ("it", *number as f64),
        Value::Float(number) => ("it", *number),
        Value::Boolean(_) | Value::Timestamp(_) => return Ok(()),
    };
    match (shape.min, shape.max) {
        (Some(min), _) if size < min => Err(format!("{what} must be at least {min}")),
        (_, Some(max)) if size > max => Err(format!("{what} must be at most {max}")),
        _ => Ok(()),
    }
}

enum OutputProblem {
    Unknown,
    Expected(&'static str),
}

/// Has the answer only members that the model has, with their types?
pub(super) fn output(
    service: &Service,
    operation: &Operation,
    answer: &Structure,
) -> Result<(), EncodeError> {
    let Err(wrong) = known(service, operation.output, answer) else { return Ok(()) };
    let (operation, member) = (operation.name, wrong.member());
    Err(match wrong.problem {
        OutputProblem::Unknown => EncodeError::UnknownMember { operation, member },
        OutputProblem::Expected(expected) => EncodeError::WrongType { operation, member, expected },
    })
}

fn known(
    service: &Service,
    id: Option<ShapeId>,
    structure: &Structure,
) -> Result<(), Wrong<OutputProblem>> {
    let members = service.members(id);
    for (name, inner) in structure.iter() {
        let Some(member) = members.iter().find(|member| member.name == name) else {
            return Err(Wrong::new(OutputProblem::Unknown).under(name));
        };
        fits(service, member.shape, inner).map_err(|wrong| wrong.under(name))?;
    }
    Ok(())
}

fn fits(service: &Service, id: ShapeId, given: &Value) -> Result<(), Wrong<OutputProblem>> {
    let expected = match (&service.shape(id).kind, given) {
        (Kind::Structure(_), Value::Structure(inner)) => return known(service, Some(id), inner),
        (Kind::List { member, .. }, Value::List(items)) => {
            for (at, item) in items.iter().enumerate() {
                fits(service, *member, item).map_err(|wrong| wrong.under(at + 1))?;
            }
            return Ok(());
        }
        (Kind::Map { value, .. }, Value::Structure(entries)) => {
            for (name, entry) in entries.iter() {
                fits(service, value.0, entry).map_err(|wrong| wrong.under(name))?;
            }
            return Ok(());
        }
        (Kind::Text(_), Value::Text(_))
        | (Kind::Integer | Kind::Long | Kind::Float, Value::Integer(_))
        | (Kind::Float, Value::Float(_))
        | (Kind::Boolean, Value::Boolean(_))
        | (Kind::Timestamp, Value::Timestamp(_)) => return Ok(()),
        (Kind::Structure(_), _) => "structure",
        (Kind::List { .. }, _) => "list",
        (Kind::Map { .. }, _) => "map",
        (Kind::Text(_), _) => "string",
        (Kind::Integer | Kind::Long, _) => "whole number",
        (Kind::Float, _) => "number",
        (Kind::Boolean, _) => "boolean",
        (Kind::Timestamp, _) => "timestamp",
    };
    Err(Wrong::new(OutputProblem::Expected(expected)))
}
