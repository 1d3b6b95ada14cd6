//! The wire protocols: bytes of a request to an operation and its input, an answer to bytes.
//!
//! Three of them, driven by one model: Query (a form in, XML out), EC2's own kind of Query, and
//! JSON 1.0 of CloudWatch. Which one a request speaks follows from its service and its headers.
//!
//! Invariant: every input gives a call or a [`Fault`]; at most [`MAX_PARAMETERS`] parameters of a
//! form and [`MAX_JSON_VALUES`] values of JSON are taken in; an answer that is not in the model is
//! an [`EncodeError`] and never sent.
//!
//! Not here: signatures ([`crate::sigv4`]), which are checked before anything is decoded.

mod check;
mod ec2;
mod form;
mod json;
mod params;
mod query;
mod xml;

use http::HeaderMap;

use crate::error::{ApiError, Fault};
use crate::model::{Operation, Service};
use crate::request::Request;
use crate::value::Structure;

pub use check::EncodeError;
pub use form::MAX_PARAMETERS;
pub use json::MAX_JSON_VALUES;
pub use params::MAX_LIST_ITEMS;

/// How a request is written and its answer will be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// A form in, XML out: ElastiCache, STS, and CloudWatch of older clients.
    Query,
    /// EC2's kind of it: no `member`, no result wrapper, other errors.
    Ec2,
    /// JSON both ways: CloudWatch.
    Json {
        /// The client wants the Query protocol's error codes too (`x-amzn-query-mode: true`).
        query_mode: bool,
    },
}

impl Protocol {
    /// The protocol of a request to the service that is `scope` in signatures. For an answer to a
    /// request whose signature is not good, what the request claims is good enough.
    #[must_use]
    pub fn of(scope: Option<&str>, headers: &HeaderMap) -> Self {
        let says = |name: &str, start: &str| {
            let value = headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("");
            value.get(..start.len()).is_some_and(|begun| begun.eq_ignore_ascii_case(start))
        };
        if headers.contains_key("x-amz-target") || says("content-type", "application/x-amz-json") {
            return Self::Json { query_mode: says("x-amzn-query-mode", "true") };
        }
        if scope == Some("ec2") { Self::Ec2 } else { Self::Query }
    }
}

/// What a request asks for.
#[derive(Debug)]
pub struct Call {
    /// The operation.
    pub operation: &'static Operation,
    /// Its input, with every member that the model requires and none that it does not know.
    pub input: Structure,
}

/// An HTTP answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// The header fields, in lower case.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: Vec<u8>,
}

/// Reads a request whose signature was verified.
///
/// # Errors
/// A [`Fault`]; [`Fault::answer`] says it in the protocol's words.
pub fn decode(
    protocol: Protocol,
    service: &'static Service,
    request: &Request<'_>,
) -> Result<Call, Fault> {
    let body = request.plain_body()?;
    let call = match protocol {
        Protocol::Query => query::decode(service, request, &body)?,
        Protocol::Ec2 => ec2::decode(service, request, &body)?,
        Protocol::Json { .. } => json::decode(service, request, &body)?,
    };
    check::input(service, call.operation, &call.input)?;
    Ok(call)
}

/// Writes an operation's answer.
///
/// # Errors
/// [`EncodeError`] if the answer is not what the model says; that is a mistake of the operation.
pub fn encode(
    protocol: Protocol,
    service: &Service,
    operation: &Operation,
    answer: &Structure,
    request_id: &str,
) -> Result<Reply, EncodeError> {
    check::output(service, operation, answer)?;
    let body = match protocol {
        Protocol::Query => query::encode(service, operation, answer, request_id)?,
        Protocol::Ec2 => ec2::encode(service, operation, answer, request_id)?,
        Protocol::Json { .. } => json::encode(service, operation, answer)?,
    };
    Ok(reply(protocol, 200, body, request_id))
}

/// Writes an error. `service` is `None` while nobody knows which one is meant.
///
/// # Errors
/// [`EncodeError::Write`] if the text cannot be written.
pub fn encode_error(
    protocol: Protocol,
    service: Option<&Service>,
    error: &ApiError,
    request_id: &str,
) -> Result<Reply, EncodeError> {
    let body = match protocol {
        Protocol::Query => query::encode_error(service, error, request_id)?,
        Protocol::Ec2 => ec2::encode_error(error, request_id)?,
        Protocol::Json { .. } => json::encode_error(error)?,
    };
    let mut reply = reply(protocol, error.status, body, request_id);
    if protocol == (Protocol::Json { query_mode: true }) {
        let whose = if error.is_senders() { "Sender" } else { "Receiver" };
        reply.headers.push(("x-amzn-query-error", format!("{};{whose}", error.code)));
    }
    Ok(reply)
}

fn reply(protocol: Protocol, status: u16, body: Vec<u8>, request_id: &str) -> Reply {
    let content_type = match protocol {
        Protocol::Query => "text/xml",
        Protocol::Ec2 => "text/xml;charset=UTF-8",
        Protocol::Json { .. } => "application/x-amz-json-1.0",
    };
    let headers = vec![
        ("content-type", content_type.to_owned()),
        ("x-amzn-requestid", request_id.to_owned()),
    ];
    Reply { status, headers, body }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_protocol_follows_from_service_and_headers() {
        let mut headers = HeaderMap::new();
        assert_eq!(Protocol::of(Some("elasticache"), &headers), Protocol::Query);
        assert_eq!(Protocol::of(Some("ec2"), &headers), Protocol::Ec2);
        assert_eq!(Protocol::of(None, &headers), Protocol::Query);
        headers.insert("content-type", "application/X-Amz-Json-1.0".parse().unwrap());
        let json = |query_mode| Protocol::Json { query_mode };
        assert_eq!(Protocol::of(Some("monitoring"), &headers), json(false));
        headers.insert("x-amzn-query-mode", "true".parse().unwrap());
        assert_eq!(Protocol::of(Some("monitoring"), &headers), json(true));
    }
}
