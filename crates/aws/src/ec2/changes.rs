//! Instances change: `ModifyInstanceAttribute`.
//!
//! Invariant: a request changes one attribute, of an instance that runs; what cannot change is
//! refused and not ignored.
//!
//! Not here: how instances come (`super::launch`), are shown and go (`super::instances`).

use crate::book::{Ids, Pages};
use crate::error::ApiError;
use crate::service::Answer;
use crate::value::Structure;

use super::launch::groups_of;
use super::named::{not_found, remembered, runs};
use super::site::Site;

/// Attributes that stay as they were when the instance came.
const FIXED: [&str; 11] = [
    "BlockDeviceMappings",
    "EbsOptimized",
    "EnaSupport",
    "EnclaveOptions",
    "InstanceInitiatedShutdownBehavior",
    "InstanceType",
    "Kernel",
    "Ramdisk",
    "SourceDestCheck",
    "SriovNetSupport",
    "UserData",
];

/// What a request changes.
enum Change {
    /// Whether it may not be terminated.
    Keep(bool),
    /// Whether it may not be stopped.
    KeepRunning(bool),
    /// Ids of security groups.
    Groups(Vec<String>),
}

/// An attribute as `Attribute` and `Value` give it.
fn by_name(site: &Site<'_>) -> Result<Option<Change>, ApiError> {
    let Some(name) = site.text("Attribute") else { return Ok(None) };
    let flag = || match site.text("Value") {
        Some("true") => Ok(true),
        Some("false") => Ok(false),
        Some(other) => Err(site.bad_value(format!("Invalid value '{other}' for {name}."))),
        None => Err(site.missing("Value")),
    };
    match name {
        "disableApiTermination" => flag().map(Change::Keep).map(Some),
        "disableApiStop" => flag().map(Change::KeepRunning).map(Some),
        other => Err(site.unsupported(&format!("changing {other}"))),
    }
}

fn asked(site: &Site<'_>) -> Result<Change, ApiError> {
    if let Some(name) = FIXED.iter().find(|name| site.input().has(name)) {
        return Err(site.unsupported(&format!("changing {name}")));
    }
    let groups: Vec<String> = site.input().texts("Groups").map(str::to_owned).collect();
    let mut all = [
        by_name(site)?,
        site.attribute("DisableApiTermination").map(Change::Keep),
        site.attribute("DisableApiStop").map(Change::KeepRunning),
        (!groups.is_empty()).then_some(Change::Groups(groups)),
    ]
    .into_iter()
    .flatten();
    match (all.next(), all.next()) {
        (Some(change), None) => Ok(change),
        (Some(_), Some(_)) => {
            let text = "Fields for multiple attribute types specified";
            Err(site.refuse("InvalidParameterCombination", text))
        }
        (None, _) => Err(site.refuse("InvalidParameterCombination", "No attributes specified.")),
    }
}

pub(super) fn modify(pages: &mut Pages, site: &Site<'_>, _: &mut Ids) -> Answer {
    let id = site.need("InstanceId")?;
    let known = pages.instances.get(id).filter(|known| remembered(known, site.now_ms()));
    let known = known.ok_or_else(|| not_found(site, "i", id))?;
    if !runs(known) {
        let text = format!("The instance '{id}' is not in a state from which it can be modified.");
        return Err(site.refuse("IncorrectInstanceState", text));
    }
    let change = match asked(site)? {
        Change::Groups(ids) => {
            let ids = ids.iter().map(String::as_str);
            Change::Groups(groups_of(pages, site, ids, &known.vpc, &known.subnet)?)
        }
        change => change,
    };
    if let Some(instance) = pages.instances.get_mut(id) {
        match change {
            Change::Keep(keep) => instance.keep = keep,
            Change::KeepRunning(keep) => instance.keep_running = keep,
            Change::Groups(groups) => instance.security_groups = groups,
        }
    }
    Ok(Structure::new())
}
