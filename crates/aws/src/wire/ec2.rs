//! EC2's kind of the Query protocol.
//!
//! Lists have no word before their numbers, names are capitalised, answers have no wrapper, and
//! errors have a form of their own.
//!
//! Invariant: an operation whose model has no answer says `<return>true</return>`, as EC2 does.
//!
//! Not here: what both kinds share (`query`, `params`, `xml`).

use super::check::EncodeError;
use super::params::Spelling;
use super::xml::Document;
use super::{Call, query};
use crate::error::{ApiError, Fault};
use crate::model::{Operation, Service};
use crate::request::Request;
use crate::value::Structure;

pub(super) fn decode(
    service: &'static Service,
    request: &Request<'_>,
    body: &[u8],
) -> Result<Call, Fault> {
    query::decode_as(Spelling::Ec2, service, request, body)
}

pub(super) fn encode(
    service: &Service,
    operation: &Operation,
    answer: &Structure,
    request_id: &str,
) -> Result<Vec<u8>, EncodeError> {
    let mut document = Document::new(service, "item");
    let root = format!("{}Response", operation.name);
    document.declare()?;
    document.open_root(&root, service.xml_namespace)?;
    document.leaf("requestId", request_id)?;
    match operation.output {
        Some(_) => document.members(operation.output, answer)?,
        None => document.leaf("return", "true")?,
    }
    document.close(&root)?;
    Ok(document.finish())
}

pub(super) fn encode_error(error: &ApiError, request_id: &str) -> Result<Vec<u8>, EncodeError> {
    let mut document = Document::plain();
    document.declare()?;
    document.open("Response")?;
    document.open("Errors")?;
    document.open("Error")?;
    document.leaf("Code", &error.code)?;
    document.leaf("Message", &error.message)?;
    document.close("Error")?;
    document.close("Errors")?;
    document.leaf("RequestID", request_id)?;
    document.close("Response")?;
    Ok(document.finish())
}
