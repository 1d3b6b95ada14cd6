//! What a client is told when its request is refused.
//!
//! Clients branch on codes, and each protocol spells the same refusal in its own way: a bad
//! signature is `SignatureDoesNotMatch` (403) on the Query wire, `AuthFailure` (401) of EC2 and
//! `InvalidSignatureException` (400) in JSON. The spellings are one table here.
//!
//! Invariant: a message is at most [`MAX_MESSAGE_CHARS`] long, whatever a client sent.
//!
//! Not here: how an error is written on the wire ([`crate::wire`]).

use std::borrow::Cow;
use std::fmt;

use crate::model::Service;
use crate::wire::Protocol;

/// Most characters of a message; a request's own text in it must not make an answer large.
pub const MAX_MESSAGE_CHARS: usize = 512;

/// An error as a client sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    /// What clients of the Query and EC2 protocols branch on, such as `CacheClusterNotFound`.
    pub code: Cow<'static, str>,
    /// What JSON calls it: the shape's name, such as `CacheClusterNotFoundFault`.
    pub kind: Cow<'static, str>,
    /// The HTTP status.
    pub status: u16,
    /// For people.
    pub message: String,
}

impl ApiError {
    /// The error that a service's model names `name` (its code or its shape), with the model's
    /// spelling and status. EC2's model names none; there, and for a name that the model does not
    /// have, the code is `name` and the status 400.
    #[must_use]
    pub fn new(service: &Service, name: &'static str, message: impl fmt::Display) -> Self {
        let message = cut(&message.to_string());
        match service.failure(name) {
            Some(failure) => Self {
                code: failure.code.into(),
                kind: failure.name.into(),
                status: failure.status,
                message,
            },
            None => Self { code: name.into(), kind: name.into(), status: 400, message },
        }
    }

    /// Whether the fault is the client's; clients repeat a request otherwise.
    #[must_use]
    pub const fn is_senders(&self) -> bool {
        self.status < 500
    }
}

/// The first [`MAX_MESSAGE_CHARS`] characters.
pub(crate) fn cut(text: &str) -> String {
    text.chars().take(MAX_MESSAGE_CHARS).collect()
}

/// Why a request was refused before any operation saw it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// The request is not signed.
    #[error("Request is missing Authentication Token")]
    NotSigned,
    /// The signature's parts are missing or not well formed.
    #[error("{0}")]
    IncompleteSignature(String),
    /// Nobody has this access key.
    #[error("The security token included in the request is invalid.")]
    UnknownKey,
    /// The signature does not belong to this request.
    #[error("{0}")]
    BadSignature(String),
    /// The signature's time is over or has not come.
    #[error("{0}")]
    BadTime(String),
    /// The body or the query is too large.
    #[error("the request is larger than {limit} bytes")]
    TooLarge {
        /// The limit, in bytes.
        limit: usize,
    },
    /// The request cannot be read as its protocol says.
    #[error("{0}")]
    Malformed(String),
    /// The request names no operation.
    #[error("The request must contain the parameter Action")]
    MissingAction,
    /// The service does not have this operation in this version.
    #[error("Could not find operation {action} for version {version}")]
    UnknownAction {
        /// The operation's name as it came.
        action: String,
        /// The version as it came.
        version: String,
    },
    /// A member that the model requires is missing.
    #[error("The parameter {member} must be provided and must not be blank.")]
    MissingMember {
        /// Where, such as `Tags.1.Key`.
        member: String,
        /// The service's model has an error for just this (`MissingParameter`).
        listed: bool,
    },
    /// A value is not of the model's type.
    #[error("Value ({value}) for parameter {member} is invalid. {wrong}")]
    BadType {
        /// Where.
        member: String,
        /// The value as it came.
        value: String,
        /// What it should be.
        wrong: &'static str,
    },
    /// A value is outside of the model's limits.
    #[error("The parameter {member} is invalid: {wrong}")]
    BadValue {
        /// Where.
        member: String,
        /// What is wrong with it.
        wrong: String,
    },
    /// The request could be read, but its answer could not be written. Ours, not the client's.
    #[error("The request processing has failed because of an unknown error.")]
    Internal,
    /// The bytes are not HTTP, or a head of it is larger than the limits.
    #[error("{what}")]
    NotHttp {
        /// The HTTP status.
        status: u16,
        /// What is wrong.
        what: &'static str,
    },
    /// The request did not come within its time.
    #[error("Reading the request timed out: it must be whole within {seconds} seconds.")]
    TimedOut {
        /// The time that it had.
        seconds: u64,
    },
    /// There is more to do than there is room for. Clients try again by themselves.
    #[error("{0}")]
    Busy(&'static str),
    /// The signature names a service that is not served.
    #[error("The service {0} is not served here; there are elasticache, ec2, sts and monitoring.")]
    UnknownService(String),
    /// The caller's policy does not allow it.
    #[error("{0}")]
    Denied(String),
}

/// A refusal's spellings: code and status on the Query wire, then of EC2, then type and status in
/// JSON. JSON's `x-amzn-query-error` is the Query code.
type Spelling = [(&'static str, u16); 3];

impl Fault {
    /// The error in the spelling of a protocol.
    ///
    /// Sources: the common errors of the ElastiCache and EC2 API references, DynamoDB's for JSON.
    /// `MalformedQueryString` is documented with status 404 there; 400 is what a client can use.
    #[must_use]
    pub fn answer(&self, protocol: Protocol) -> ApiError {
        let spelling = self.spelling();
        let (code, status) = match protocol {
            Protocol::Ec2 => spelling[1],
            Protocol::Query | Protocol::Json { .. } => spelling[0],
        };
        let message = match (self, protocol) {
            (Self::MissingMember { member, .. }, Protocol::Ec2) => {
                format!("The request must contain the parameter {member}")
            }
            (Self::MissingMember { member, listed: true }, _) => {
                format!("The parameter {member} is required.")
            }
            (Self::UnknownAction { action, .. }, Protocol::Ec2) => {
                format!("The action {action} is not valid for this web service.")
            }
            _ => self.to_string(),
        };
        let (kind, status) = match protocol {
            Protocol::Json { .. } => spelling[2],
            Protocol::Query | Protocol::Ec2 => (code, status),
        };
        ApiError { code: code.into(), kind: kind.into(), status, message: cut(&message) }
    }

    const fn spelling(&self) -> Spelling {
        const AUTH: (&str, u16) = ("AuthFailure", 401);
        const VALUE: (&str, u16) = ("InvalidParameterValue", 400);
        const JSON_VALUE: (&str, u16) = ("InvalidParameterValueException", 400);
        const JSON_SYNTAX: (&str, u16) = ("SerializationException", 400);
        match self {
            Self::NotSigned => [
                ("MissingAuthenticationToken", 403),
                AUTH,
                ("MissingAuthenticationTokenException", 400),
            ],
            Self::IncompleteSignature(_) => {
                [("IncompleteSignature", 400), AUTH, ("IncompleteSignatureException", 400)]
            }
            Self::UnknownKey => {
                [("InvalidClientTokenId", 403), AUTH, ("UnrecognizedClientException", 400)]
            }
            Self::BadSignature(_) => {
                [("SignatureDoesNotMatch", 403), AUTH, ("InvalidSignatureException", 400)]
            }
            Self::BadTime(_) => [
                ("SignatureDoesNotMatch", 403),
                ("RequestExpired", 400),
                ("InvalidSignatureException", 400),
            ],
            Self::TooLarge { .. } => {
                let code = ("RequestEntityTooLarge", 413);
                [code, code, ("RequestEntityTooLargeException", 413)]
            }
            Self::Malformed(_) => {
                [("MalformedQueryString", 400), ("MalformedQueryString", 400), JSON_SYNTAX]
            }
            Self::MissingAction => {
                let code = ("MissingAction", 400);
                [code, code, ("UnknownOperationException", 400)]
            }
            Self::UnknownAction { .. } | Self::UnknownService(_) => {
                let code = ("InvalidAction", 400);
                [code, code, ("UnknownOperationException", 400)]
            }
            Self::MissingMember { listed: true, .. } => {
                let code = ("MissingParameter", 400);
                [code, code, ("MissingRequiredParameterException", 400)]
            }
            Self::MissingMember { listed: false, .. } => {
                [VALUE, ("MissingParameter", 400), ("ValidationException", 400)]
            }
            Self::BadType { .. } => [VALUE, VALUE, JSON_SYNTAX],
            Self::BadValue { .. } => [VALUE, VALUE, JSON_VALUE],
            Self::Internal => {
                let code = ("InternalFailure", 500);
                [code, ("InternalError", 500), code]
            }
            Self::NotHttp { .. } | Self::TimedOut { .. } | Self::Busy(_) | Self::Denied(_) => {
                self.spelling_of_the_front()
            }
        }
    }
}

impl Fault {
    /// Those of HTTP and of permissions.
    const fn spelling_of_the_front(&self) -> Spelling {
        match self {
            Self::NotHttp { status, .. } => {
                let code = ("MalformedHttpRequest", *status);
                [code, code, ("MalformedHttpRequestException", *status)]
            }
            Self::TimedOut { .. } => {
                let code = ("RequestTimeout", 408);
                [code, code, ("RequestTimeoutException", 408)]
            }
            Self::Denied(_) => [
                ("AccessDenied", 403),
                ("UnauthorizedOperation", 403),
                ("AccessDeniedException", 400),
            ],
            _ => [
                ("ServiceUnavailable", 503),
                ("Unavailable", 503),
                ("ServiceUnavailableException", 503),
            ],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_protocol_spells_a_refusal_in_its_own_way() {
        let spelled = |fault: &Fault, protocol| {
            let error = fault.answer(protocol);
            (error.code.into_owned(), error.kind.into_owned(), error.status)
        };
        let expected = |code: &str, kind: &str, status| (code.to_owned(), kind.to_owned(), status);
        let json = Protocol::Json { query_mode: true };
        let fault = Fault::UnknownKey;
        assert_eq!(
            spelled(&fault, Protocol::Query),
            expected("InvalidClientTokenId", "InvalidClientTokenId", 403)
        );
        assert_eq!(spelled(&fault, Protocol::Ec2), expected("AuthFailure", "AuthFailure", 401));
        assert_eq!(
            spelled(&fault, json),
            expected("InvalidClientTokenId", "UnrecognizedClientException", 400)
        );
    }

    #[test]
    fn a_long_request_does_not_make_a_long_message() {
        let fault = Fault::Malformed("ä".repeat(1_000_000));
        assert_eq!(fault.answer(Protocol::Query).message.chars().count(), MAX_MESSAGE_CHARS);
    }
}
