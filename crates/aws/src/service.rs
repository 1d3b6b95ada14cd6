//! What the services have in common: a request that may be carried out, and what they work with.
//!
//! Invariant: an [`Ask`] was verified and decoded before it exists, and allowed before a service's
//! `answer` sees it.
//!
//! Not here: how a request became one (`crate::front`), what an operation does.

use std::sync::Arc;

use jiff::Timestamp;
use tanist_telemetry::Series;
use tokio::sync::Mutex;

use crate::access::Unconfirmed;
use crate::book::Book;
use crate::error::{ApiError, Fault};
use crate::groups::Groups;
use crate::model::{Models, Operation, Service};
use crate::value::Structure;
use crate::wire::Protocol;

/// What an operation answers.
pub(crate) type Answer = Result<Structure, ApiError>;

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Caller {
    /// The access key that signed; empty for an unsigned request where those are allowed.
    pub(crate) access_key_id: String,
    /// The caller's name as an ARN.
    pub(crate) arn: String,
}

/// One request.
#[derive(Debug)]
pub(crate) struct Ask {
    /// The service's model.
    pub(crate) service: &'static Service,
    /// The operation.
    pub(crate) operation: &'static Operation,
    /// How it came, for errors that protocols spell differently.
    pub(crate) protocol: Protocol,
    /// Its input.
    pub(crate) input: Structure,
    /// The region that its signature names.
    pub(crate) region: String,
    /// Who asks.
    pub(crate) caller: Caller,
    /// When it came.
    pub(crate) now: Timestamp,
    /// Unique; in the answer.
    pub(crate) request_id: String,
}

impl Ask {
    /// An error of the service's model.
    pub(crate) fn refuse(&self, name: &'static str, message: impl std::fmt::Display) -> ApiError {
        ApiError::new(self.service, name, message)
    }

    /// The refusal of an operation that is not built.
    pub(crate) fn unknown(&self) -> ApiError {
        let action = self.operation.name.to_owned();
        let version = self.service.api_version.to_owned();
        Fault::UnknownAction { action, version }.answer(self.protocol)
    }
}

/// What can be set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Clients with a loopback address count as inside of each group's VPC.
    pub loopback_inside: bool,
    /// The port of every endpoint.
    pub port: u16,
    /// The engines that are installed: `redis` or `valkey`, and the whole version, such as `7.0.15`.
    pub engines: Vec<(String, String)>,
}

/// What services work with. A clone is another handle of the same.
#[derive(Debug, Clone)]
pub(crate) struct Context {
    pub(crate) models: &'static Models,
    /// Twelve digits.
    pub(crate) account: Arc<str>,
    /// The regions that exist.
    pub(crate) regions: Arc<[String]>,
    /// The zones that exist, with their regions' names in front, such as `us-east-1a`.
    pub(crate) zones: Arc<[String]>,
    pub(crate) book: Book,
    pub(crate) groups: Groups,
    pub(crate) metrics: Arc<Series>,
    pub(crate) settings: Arc<Settings>,
    /// Held by an operation from its checks to its last write where it changes groups and records
    /// together, so that nothing that it relies on vanishes meanwhile.
    pub(crate) changing: Arc<Mutex<()>>,
    pub(crate) unconfirmed: Unconfirmed,
}

impl Context {
    /// An ARN of this installation.
    pub(crate) fn arn(&self, service: &str, region: &str, resource: &str) -> String {
        format!("arn:aws:{service}:{region}:{}:{resource}", self.account)
    }
}
