//! The Query protocol: a form in, XML out. ElastiCache, STS, and CloudWatch of older clients.
//!
//! Invariant: an answer's elements stand in the model's order.
//!
//! Not here: how a form's names go through a model (`params`), how values become elements (`xml`).

use super::check::EncodeError;
use super::params::{self, Spelling};
use super::xml::Document;
use super::{Call, form};
use crate::error::{ApiError, Fault};
use crate::model::{Operation, Service};
use crate::request::Request;
use crate::value::Structure;

pub(super) fn decode(
    service: &'static Service,
    request: &Request<'_>,
    body: &[u8],
) -> Result<Call, Fault> {
    decode_as(Spelling::Query, service, request, body)
}

/// Reads a form in either spelling; parameters may stand in the query string, the body or both.
pub(super) fn decode_as(
    spelling: Spelling,
    service: &'static Service,
    request: &Request<'_>,
    body: &[u8],
) -> Result<Call, Fault> {
    let body = if is_form(request) { body } else { b"" };
    let pairs = form::pairs(request.query.as_bytes(), body)?;
    let named = |name: &str| {
        let found = pairs.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_ref()).filter(|value| !value.is_empty())
    };
    let action = named("Action").ok_or(Fault::MissingAction)?;
    let version = named("Version").unwrap_or("(none)");
    let operation = service
        .operation(action)
        .filter(|_| version == service.api_version)
        .ok_or_else(|| unknown(action, version))?;
    let input = match operation.input {
        Some(id) => params::read(service, spelling, id, &pairs)?,
        None => Structure::new(),
    };
    Ok(Call { operation, input })
}

/// Parameters and charset of the type do not matter, nor does it have to be there. A body of any
/// other type is not looked at, so that only the query string can name an action.
fn is_form(request: &Request<'_>) -> bool {
    const FORM: &str = "application/x-www-form-urlencoded";
    let Some(given) = request.header("content-type") else {
        return !request.headers.contains_key("content-type");
    };
    given.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case(FORM))
}

pub(super) fn unknown(action: &str, version: &str) -> Fault {
    let short = |text: &str| text.chars().take(128).collect();
    Fault::UnknownAction { action: short(action), version: short(version) }
}

pub(super) fn encode(
    service: &Service,
    operation: &Operation,
    answer: &Structure,
    request_id: &str,
) -> Result<Vec<u8>, EncodeError> {
    let mut document = Document::new(service, "member");
    let root = format!("{}Response", operation.name);
    document.open_root(&root, service.xml_namespace)?;
    if let Some(wrapper) = operation.result_wrapper {
        document.open(wrapper)?;
        document.members(operation.output, answer)?;
        document.close(wrapper)?;
    }
    document.open("ResponseMetadata")?;
    document.leaf("RequestId", request_id)?;
    document.close("ResponseMetadata")?;
    document.close(&root)?;
    Ok(document.finish())
}

pub(super) fn encode_error(
    service: Option<&Service>,
    error: &ApiError,
    request_id: &str,
) -> Result<Vec<u8>, EncodeError> {
    // Of no service: AWS's front door has its own namespace.
    const NOWHERE: &str = "http://webservices.amazon.com/AWSFault/2005-15-09";
    let namespace = service.map_or(NOWHERE, |service| service.xml_namespace);
    let mut document = Document::plain();
    document.open_root("ErrorResponse", namespace)?;
    document.open("Error")?;
    document.leaf("Type", if error.is_senders() { "Sender" } else { "Receiver" })?;
    document.leaf("Code", &error.code)?;
    document.leaf("Message", &error.message)?;
    document.close("Error")?;
    document.leaf("RequestId", request_id)?;
    document.close("ErrorResponse")?;
    Ok(document.finish())
}
