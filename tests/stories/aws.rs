//! A client of the AWS endpoint, for stories.
//!
//! Invariant: what is refused although it should be done ends the story.
//!
//! Not here: other clients (`tests/clients`).

use tanist_aws::{CallError, QueryClient};
use tanist_lab::Installation;

const EC2: &str = "2016-11-15";
const CACHE: &str = "2015-02-02";

/// A client of an installation's AWS endpoint.
pub(crate) struct Aws {
    query: QueryClient,
}

impl Aws {
    pub(crate) fn of(installation: &Installation) -> Self {
        Self { query: installation.aws() }
    }

    pub(crate) async fn ec2(&self, action: &str, parameters: &[(&str, &str)]) -> String {
        let called = self.query.call("ec2", EC2, action, parameters).await;
        called.unwrap_or_else(|err| panic!("{action}: {err}"))
    }

    pub(crate) async fn cache(&self, action: &str, parameters: &[(&str, &str)]) -> String {
        let called = self.query.call("elasticache", CACHE, action, parameters).await;
        called.unwrap_or_else(|err| panic!("{action}: {err}"))
    }

    /// The HTTP status and the code with which a request to ElastiCache is refused.
    pub(crate) async fn refused(&self, action: &str, parameters: &[(&str, &str)]) -> (u16, String) {
        match self.query.call("elasticache", CACHE, action, parameters).await {
            Err(CallError::Refused { status, code, .. }) => (status, code),
            other => panic!("{action} {parameters:?}: {other:?}"),
        }
    }
}
