//! What can be set about the Sentinel endpoint.
//!
//! Invariant: a name or password that could not be used is refused where it is read.
//!
//! Not here: the file that it stands in (`tanist`).

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use subtle::ConstantTimeEq;
use tanist_core::model::{Listen, TransitMode};

/// Longest name of an alias, in bytes.
const NAME_BYTES: usize = 128;
/// Most aliases: each is announced with every change of its group.
const MOST_ALIASES: usize = 100;

/// What can be set.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Which addresses clients are told.
    #[serde(default)]
    pub advertise: Advertise,
    /// Further names of groups: the alias, and the group that it leads to.
    #[serde(default)]
    pub aliases: Aliases,
    /// The password of the user `default`; everybody may ask without one.
    #[serde(default)]
    pub password: Option<Password>,
    /// Where it is offered.
    #[serde(default)]
    pub listen: Listen,
    /// Whether connections to the hosts' own addresses are encrypted; all of them if nothing is said.
    #[serde(default)]
    pub tls: Option<TransitMode>,
}

/// Which addresses clients are told for a primary.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Advertise {
    /// The group's primary endpoint, which never changes.
    #[default]
    Endpoint,
    /// The node endpoint of whoever is primary.
    Nodes,
}

/// Further names of groups.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "BTreeMap<String, String>")]
pub struct Aliases(BTreeMap<String, String>);

impl Aliases {
    /// Each alias with the group that it leads to, in the order of the aliases.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(alias, group)| (alias.as_str(), group.as_str()))
    }
}

impl TryFrom<BTreeMap<String, String>> for Aliases {
    type Error = BadSetting;

    fn try_from(aliases: BTreeMap<String, String>) -> Result<Self, BadSetting> {
        if aliases.len() > MOST_ALIASES {
            return Err(BadSetting::TooManyAliases);
        }
        let is_name = |name: &String| {
            (1..=NAME_BYTES).contains(&name.len())
                && name.bytes().all(|byte| byte.is_ascii_graphic())
        };
        let mut names = aliases.iter().flat_map(|(alias, group)| [alias, group]);
        if let Some(name) = names.find(|name| !is_name(name)) {
            return Err(BadSetting::Name(name.clone()));
        }
        drop(names);
        Ok(Self(aliases))
    }
}

/// A password, which nothing prints.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Password(String);

impl Password {
    /// Whether this is it; the time taken does not say how much of it is right.
    pub(super) fn is(&self, given: &[u8]) -> bool {
        self.0.as_bytes().ct_eq(given).into()
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password")
    }
}

impl TryFrom<String> for Password {
    type Error = BadSetting;

    fn try_from(text: String) -> Result<Self, BadSetting> {
        if text.is_empty() { Err(BadSetting::EmptyPassword) } else { Ok(Self(text)) }
    }
}

/// Why a setting cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadSetting {
    /// The name of an alias or of its group.
    #[error("{0:?} cannot be a name: 1 to {NAME_BYTES} printable characters without blanks")]
    Name(String),
    /// There are too many of them.
    #[error("there are more than {MOST_ALIASES} aliases")]
    TooManyAliases,
    /// An empty password would let everybody in who gives one.
    #[error("the password is empty; leave it out to need none")]
    EmptyPassword,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_has_its_default() {
        let settings: Settings = toml::from_str("").unwrap();
        assert_eq!(settings, Settings::default());
        assert_eq!(settings.advertise, Advertise::Endpoint);
    }

    #[test]
    fn aliases_lead_to_groups() {
        let text = "advertise = \"nodes\"\n[aliases]\nmymaster = \"web\"\nb = \"web\"\n";
        let settings: Settings = toml::from_str(text).unwrap();
        assert_eq!(settings.advertise, Advertise::Nodes);
        let all: Vec<_> = settings.aliases.iter().collect();
        assert_eq!(all, [("b", "web"), ("mymaster", "web")]);
    }

    #[test]
    fn what_cannot_be_used_is_refused() {
        let long = "x".repeat(NAME_BYTES + 1);
        for text in [
            "[aliases]\n\"\" = \"web\"".to_owned(),
            "[aliases]\nmine = \"\"".to_owned(),
            "[aliases]\n\"my name\" = \"web\"".to_owned(),
            format!("[aliases]\n{long} = \"web\""),
            "password = \"\"".to_owned(),
            "advertise = \"engines\"".to_owned(),
            "alias = {}".to_owned(),
        ] {
            assert!(toml::from_str::<Settings>(&text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_password_is_compared_and_never_shown() {
        let password = Password::try_from("s3cret".to_owned()).unwrap();
        assert!(password.is(b"s3cret") && !password.is(b"s3cre") && !password.is(b""));
        assert!(!format!("{password:?}").contains("s3cret"));
    }
}
