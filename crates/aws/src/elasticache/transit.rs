//! Encryption in transit, in ElastiCache's words.
//!
//! A new group may require it at once. One that exists moves in steps, so that its clients can: from
//! none to `preferred`, where both kinds of clients are served, and from there to `required` or back.
//!
//! Invariant: what is shown comes from the controller, not from what was asked.
//!
//! Not here: certificates, and who speaks TLS (`tanist-controller`, `tanist-proxy`).

use tanist_core::model::{ClientCertificates, Transit, TransitMode};

use super::describe::named;
use super::refusal::{Refusal, bad_combination, bad_value};
use crate::groups::Group;
use crate::value::Structure;

/// The members' names.
const ENABLED: &str = "TransitEncryptionEnabled";
const MODE: &str = "TransitEncryptionMode";

fn mode(input: &Structure) -> Result<Option<TransitMode>, Refusal> {
    match named(input, MODE) {
        None => Ok(None),
        Some("preferred") => Ok(Some(TransitMode::Preferred)),
        Some("required") => Ok(Some(TransitMode::Required)),
        Some(word) => Err(bad_value(format_args!(
            "Invalid value {word} for {MODE}. Valid values: preferred, required."
        ))),
    }
}

/// What a new group is asked to have.
pub(super) fn asked(input: &Structure) -> Result<Transit, Refusal> {
    let mode = match (input.flag(ENABLED) == Some(true), mode(input)?) {
        (true, mode) => mode.unwrap_or(TransitMode::Required),
        (false, None) => TransitMode::Off,
        (false, Some(_)) => {
            return Err(bad_combination(format_args!(
                "{MODE} has a meaning only if {ENABLED} is true."
            )));
        }
    };
    Ok(Transit { mode, clients: ClientCertificates::Off })
}

/// What a group is asked to become; `None` leaves it as it is.
pub(super) fn change(group: &Group, input: &Structure) -> Result<Option<TransitMode>, Refusal> {
    let now = group.status.transit.mode;
    let wanted = match (input.flag(ENABLED), mode(input)?) {
        (None, None) => return Ok(None),
        (Some(false), Some(_)) => {
            return Err(bad_combination(format_args!("{MODE} needs {ENABLED} to be true.")));
        }
        (Some(false), None) => TransitMode::Off,
        (Some(true), None) if now == TransitMode::Off => TransitMode::Required,
        (Some(true), None) => now,
        (None, Some(_)) if now == TransitMode::Off => {
            return Err(bad_combination(format_args!(
                "Encryption in transit is not enabled: set {ENABLED} as well."
            )));
        }
        (_, Some(mode)) => mode,
    };
    match (now, wanted) {
        (TransitMode::Off, TransitMode::Required) => Err(bad_combination(format_args!(
            "To enable encryption in transit for an existing replication group, set {MODE} to \
             preferred first, and to required once its clients use it."
        ))),
        (TransitMode::Required, TransitMode::Off) => Err(bad_combination(format_args!(
            "To disable encryption in transit, set {MODE} to preferred first."
        ))),
        (_, TransitMode::Off) if group.status.transit.clients != ClientCertificates::Off => {
            Err(bad_combination(format_args!(
                "Clients of {} show certificates, which needs encryption: tanist tls {} \
                 --client-certificates off",
                group.name(),
                group.name()
            )))
        }
        (now, wanted) => Ok((now != wanted).then_some(wanted)),
    }
}

/// Adds both words to what is shown of a group or a node.
pub(super) fn show(group: &Group, shown: Structure) -> Structure {
    let mode = group.status.transit.mode;
    shown.set(ENABLED, mode.is_on()).maybe(MODE, mode.is_on().then(|| mode.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elasticache::kit::web;

    const COMBINATION: &str = "InvalidParameterCombination";

    fn input(enabled: Option<bool>, mode: Option<&str>) -> Structure {
        Structure::new().maybe(ENABLED, enabled).maybe(MODE, mode)
    }

    fn new(enabled: Option<bool>, mode: Option<&str>) -> Result<TransitMode, &'static str> {
        asked(&input(enabled, mode)).map(|transit| transit.mode).map_err(|refusal| refusal.code)
    }

    #[test]
    fn a_new_group_requires_it_unless_it_is_said_otherwise() {
        assert_eq!(new(None, None), Ok(TransitMode::Off));
        assert_eq!(new(Some(false), None), Ok(TransitMode::Off));
        assert_eq!(new(Some(true), None), Ok(TransitMode::Required));
        assert_eq!(new(Some(true), Some("preferred")), Ok(TransitMode::Preferred));
        assert_eq!(new(Some(true), Some("required")), Ok(TransitMode::Required));
        assert_eq!(new(None, Some("preferred")), Err(COMBINATION));
        assert_eq!(new(Some(true), Some("always")), Err("InvalidParameterValue"));
    }

    #[test]
    fn a_group_that_exists_moves_by_way_of_preferred() {
        use TransitMode::{Off, Preferred, Required};
        let to = |now, enabled, mode| {
            let mut web = web();
            web.status.transit.mode = now;
            change(&web, &input(enabled, mode)).map_err(|refusal| refusal.code)
        };
        assert_eq!(to(Off, None, None), Ok(None));
        assert_eq!(to(Off, Some(false), None), Ok(None));
        assert_eq!(to(Off, Some(true), Some("preferred")), Ok(Some(Preferred)));
        assert_eq!(to(Off, Some(true), None), Err(COMBINATION));
        assert_eq!(to(Off, Some(true), Some("required")), Err(COMBINATION));
        assert_eq!(to(Off, None, Some("preferred")), Err(COMBINATION));
        assert_eq!(to(Preferred, None, Some("required")), Ok(Some(Required)));
        assert_eq!(to(Preferred, Some(true), None), Ok(None));
        assert_eq!(to(Preferred, Some(false), None), Ok(Some(Off)));
        assert_eq!(to(Required, None, Some("preferred")), Ok(Some(Preferred)));
        assert_eq!(to(Required, Some(false), None), Err(COMBINATION));
        assert_eq!(to(Required, Some(false), Some("preferred")), Err(COMBINATION));
    }

    #[test]
    fn a_group_whose_clients_show_certificates_stays_encrypted() {
        let mut web = web();
        web.status.transit.mode = TransitMode::Preferred;
        web.status.transit.clients = ClientCertificates::Optional;
        let refused = change(&web, &input(Some(false), None)).unwrap_err();
        assert_eq!(refused.code, COMBINATION);
    }
}
