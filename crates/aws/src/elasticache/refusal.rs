//! Why a request is refused, before anybody knows how that is written.
//!
//! Invariant: a code is one that the service's model has, in the model's own spelling.
//!
//! Not here: the codes' HTTP status and the wire's spelling (`crate::error`).

use std::error::Error;
use std::fmt::{self, Display};

use tanist_link::LinkError;

use crate::error::ApiError;
use crate::service::Ask;

/// What most refusals are.
const VALUE: &str = "InvalidParameterValue";

/// A refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    /// What clients branch on.
    pub(super) code: &'static str,
    /// For people.
    pub(super) message: String,
}

impl Refusal {
    /// The refusal as the service's error.
    pub(super) fn answer(&self, ask: &Ask) -> ApiError {
        ask.refuse(self.code, &self.message)
    }
}

impl Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

/// A refusal with a code.
pub(super) fn refuse(code: &'static str, message: impl Display) -> Refusal {
    Refusal { code, message: message.to_string() }
}

/// A value that cannot be.
pub(super) fn bad_value(message: impl Display) -> Refusal {
    refuse(VALUE, message)
}

/// Values that cannot be together.
pub(super) fn bad_combination(message: impl Display) -> Refusal {
    refuse("InvalidParameterCombination", message)
}

/// There is no such replication group.
pub(super) fn no_group(name: &str) -> Refusal {
    refuse("ReplicationGroupNotFoundFault", format_args!("ReplicationGroup {name} not found."))
}

/// There is no such cache cluster.
pub(super) fn no_cluster(name: &str) -> Refusal {
    refuse("CacheClusterNotFound", format_args!("CacheCluster not found: {name}"))
}

/// The group is not in a state in which this could be done.
pub(super) fn bad_state(message: impl Display) -> Refusal {
    refuse("InvalidReplicationGroupState", message)
}

/// The controller's refusal in this service's words; anything else is not the client's fault, and
/// the client may ask again.
pub(super) fn of_link(ask: &Ask, error: &LinkError) -> ApiError {
    match error {
        LinkError::Refused(refusal) => match code(&refusal.code) {
            Some(code) => refuse(code, &refusal.message).answer(ask),
            None => unavailable(error),
        },
        // A look that was not answered has changed nothing.
        LinkError::TimedOut { method, limit, .. } if *method != "GET" => ApiError {
            message: format!(
                "The controller has not answered within {} seconds. It is not known whether the \
                 request was carried out: look before you repeat it.",
                limit.as_secs()
            ),
            ..unavailable(error)
        },
        _ => unavailable(error),
    }
}

/// This service's code for one of the controller's.
fn code(theirs: &str) -> Option<&'static str> {
    Some(match theirs {
        "T402" => "ReplicationGroupAlreadyExists",
        "T403" => "ClusterQuotaForCustomerExceeded",
        "T404" => "NodeQuotaForClusterExceeded",
        "T407" | "T408" => "InvalidParameterCombination",
        "T410" => "ReplicationGroupNotFoundFault",
        "T411" => "NodeGroupNotFoundFault",
        "T204" | "T412" | "T415" | "T417" => "InvalidReplicationGroupState",
        "T420" | "T421" => "InsufficientCacheClusterCapacity",
        // Something that was asked is not possible; the controller says what.
        other if other.starts_with("T4") => VALUE,
        _ => return None,
    })
}

/// Something that this service needs did not answer.
fn unavailable(error: &(dyn Error + 'static)) -> ApiError {
    let mut causes = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        causes.push_str(": ");
        causes.push_str(&cause.to_string());
        source = cause.source();
    }
    tracing::error!("{causes}");
    ApiError {
        code: "ServiceUnavailable".into(),
        kind: "ServiceUnavailable".into(),
        status: 503,
        message: "The request has failed due to a temporary failure of the server.".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Models;

    #[test]
    fn every_code_of_the_controller_becomes_one_of_the_model() {
        let service = &Models::load().unwrap().elasticache;
        for theirs in [
            "T204", "T400", "T401", "T402", "T403", "T404", "T405", "T406", "T407", "T408", "T410",
            "T411", "T412", "T413", "T414", "T415", "T416", "T417", "T420", "T421",
        ] {
            let ours = code(theirs).unwrap();
            assert!(service.failure(ours).is_some(), "{theirs} {ours}");
        }
        assert_eq!(code("T501"), None);
        assert_eq!(code("T503"), None);
    }
}
