//! Engines and what follows from their versions: families and default parameter groups.
//!
//! Invariant: what is offered is what is installed.
//!
//! Not here: parameters themselves.

use super::refusal::{Refusal, bad_combination, bad_value, refuse};
use crate::book::Pages;
use crate::service::Settings;

/// An installed engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Engine<'a> {
    /// `redis` or `valkey`.
    pub(super) name: &'a str,
    /// The whole version, such as `7.0.15`.
    pub(super) version: &'a str,
}

impl Engine<'_> {
    /// The family of its parameter groups, such as `redis7`.
    pub(super) fn family(&self) -> String {
        let major = self.version.split('.').next().unwrap_or_default();
        match (self.name, major) {
            ("redis", "6") => "redis6.x".to_owned(),
            (name, major) => format!("{name}{major}"),
        }
    }

    /// The parameter group of a group without another one.
    pub(super) fn default_parameters(&self) -> String {
        format!("default.{}", self.family())
    }

    /// Whether a request that names `asked` means this version: all of it, or its beginning.
    fn is(&self, asked: &str) -> bool {
        let rest = self.version.strip_prefix(asked);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    }
}

/// The installed engines.
pub(super) fn installed(settings: &Settings) -> impl Iterator<Item = Engine<'_>> {
    settings.engines.iter().map(|(name, version)| Engine { name, version })
}

/// The engine with a name.
pub(super) fn named<'a>(settings: &'a Settings, name: &str) -> Result<Engine<'a>, Refusal> {
    let engine = installed(settings).find(|engine| engine.name == name);
    engine.ok_or_else(|| {
        let names: Vec<&str> = installed(settings).map(|engine| engine.name).collect();
        let names = names.join(", ");
        bad_value(format_args!("The engine {name} is not installed; there is: {names}"))
    })
}

/// Is the version that is asked for the one that is installed?
pub(super) fn check_version(engine: Engine<'_>, asked: &str) -> Result<(), Refusal> {
    if asked.contains('.') && engine.is(asked) {
        return Ok(());
    }
    Err(bad_combination(format_args!("Cannot find version {asked} for {}", engine.name)))
}

/// A parameter group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Parameters {
    pub(super) name: String,
    pub(super) family: String,
    pub(super) description: String,
    pub(super) cluster: bool,
}

/// Every parameter group, by name.
pub(super) fn parameter_groups(settings: &Settings, pages: &Pages) -> Vec<Parameters> {
    let mut all = Vec::new();
    for engine in installed(settings) {
        let family = engine.family();
        let name = engine.default_parameters();
        all.push(Parameters {
            name: format!("{name}.cluster.on"),
            family: family.clone(),
            description: format!(
                "Customized default parameter group for {family} with cluster mode on"
            ),
            cluster: true,
        });
        all.push(Parameters {
            name,
            description: format!("Default parameter group for {family}"),
            family,
            cluster: false,
        });
    }
    all.extend(pages.cache_parameter_groups.values().map(|record| Parameters {
        name: record.name.clone(),
        family: record.family.clone(),
        description: record.description.clone(),
        cluster: false,
    }));
    all.sort_by(|one, other| one.name.cmp(&other.name));
    all
}

/// The refusal of a parameter group that does not exist.
pub(super) fn no_parameters(name: &str) -> Refusal {
    refuse("CacheParameterGroupNotFound", format_args!("CacheParameterGroup not found: {name}"))
}

/// Can a group of this engine use this parameter group?
pub(super) fn check_parameters(
    settings: &Settings,
    pages: &Pages,
    engine: Engine<'_>,
    name: &str,
) -> Result<(), Refusal> {
    let all = parameter_groups(settings, pages);
    let found = all.into_iter().find(|group| group.name == name);
    let found = found.ok_or_else(|| no_parameters(name))?;
    let family = engine.family();
    if found.family != family {
        return Err(bad_combination(format_args!(
            "Expected a parameter group of family {family} but found one of family {}",
            found.family
        )));
    }
    if found.cluster {
        let message = "Cluster mode is not offered yet: use a parameter group without it.";
        return Err(bad_combination(message));
    }
    Ok(())
}
