//! The configuration file: of `tanist dev`, or of a fleet.
//!
//! Invariant: what is not understood is refused with its line; nothing in the file is guessed.
//!
//! Not here: what the sections mean (`crate::fleet` for hosts, `tanist-aws` for networks, `tanist-discovery` for
//! Sentinel, `tanist-controller` for names), and when they are read again (`crate::live`).

use std::path::{Path, PathBuf};

use serde::Deserialize;
use tanist_aws::Declared;
use tanist_controller::Aliases;
use tanist_core::model::Listen;
use tanist_discovery::sentinel::Settings;
use toml::de::DeTable;

use crate::doors;
use crate::failure::Failure;
use crate::fleet::plan::{ApiFile, EndpointsFile, HostFile, PortFile};
use crate::placement::PlacementFile;
use crate::store_file::StoreFile;

/// The largest file that is read, in bytes.
const MOST: u64 = 1 << 20;

/// The file.
#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// Networks that exist from the start.
    #[serde(default)]
    pub(crate) network: Declared,
    /// How clients are judged.
    #[serde(default)]
    pub(crate) clients: Clients,
    /// What Sentinel-aware clients are told.
    #[serde(default)]
    pub(crate) sentinel: Settings,
    /// Further names of endpoints.
    #[serde(default)]
    pub(crate) names: Aliases,
    /// When nodes are placed elsewhere.
    #[serde(default)]
    pub(crate) placement: PlacementFile,
    /// The owner's certificate.
    #[serde(default)]
    pub(crate) tls: Option<OwnersFiles>,
    /// A fleet's region.
    #[serde(default)]
    pub(crate) region: Option<String>,
    /// The domain below which the names of a fleet's endpoints are.
    #[serde(default)]
    pub(crate) domain: Option<String>,
    /// What a fleet's servers share.
    #[serde(default)]
    pub(crate) store: Option<StoreFile>,
    /// A fleet's hosts.
    #[serde(default)]
    pub(crate) host: Vec<HostFile>,
    /// Where a fleet's endpoints are.
    #[serde(default)]
    pub(crate) endpoints: Option<EndpointsFile>,
    /// Where a fleet's servers are reached.
    #[serde(default)]
    pub(crate) link: PortFile,
    /// Where a fleet's API is.
    #[serde(default)]
    pub(crate) api: ApiFile,
}

impl Config {
    /// Refuses what is said about several hosts, of which there are none in `tanist dev`.
    pub(crate) fn for_one_host(self) -> Result<Self, Failure> {
        let managed = self.store.as_ref().is_some_and(|store| store.managed().is_some());
        let fleet = managed || !self.host.is_empty() || self.endpoints.is_some();
        let ports = self.link != PortFile::default() || self.api != ApiFile::default();
        let beyond = self.sentinel.listen != Listen::Loopback;
        if !fleet && self.region.is_none() && !ports && !beyond {
            return Ok(self);
        }
        let why = "the file is a fleet's: tanist dev is one host, which simulates others";
        let remedy = "run tanist server and tanist agent with it, or name another file";
        Err(Failure::new("T639", why, remedy).exit(2))
    }
}

/// Where the owner's certificate is.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OwnersFiles {
    /// The certificate and those between it and its authority, PEM.
    pub(crate) certificate: PathBuf,
    /// Its key, PEM.
    pub(crate) key: PathBuf,
}

/// How clients are judged.
#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Clients {
    /// Where clients of this machine count as being.
    #[serde(default)]
    pub(crate) loopback: Loopback,
}

/// Where clients with a loopback address count as being, for security groups.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Loopback {
    /// Somewhere in the group's VPC.
    #[default]
    Inside,
    /// Nowhere in particular: only a rule for their own address admits them.
    Outside,
}

impl Loopback {
    pub(crate) fn is_inside(self) -> bool {
        self == Self::Inside
    }
}

/// Reads the file; the defaults without one.
pub(crate) fn read(path: Option<&Path>) -> Result<Config, Failure> {
    let Some(path) = path else { return Ok(Config::default()) };
    let shown = path.display();
    let bad = |why: String, remedy: &str| Failure::new("T639", why, remedy).exit(2);
    let length = std::fs::metadata(path).map(|meta| meta.len());
    let text = match length {
        Ok(length) if length > MOST => {
            return Err(bad(format!("{shown} has more than {MOST} bytes"), "name another file"));
        }
        Ok(_) => std::fs::read_to_string(path),
        Err(err) => Err(err),
    };
    let text = text.map_err(|err| bad(format!("{shown}: {err}"), "name a file that exists"))?;
    let config: Config = toml::from_str(&text).map_err(|err| {
        let line = err.span().map_or(1, |span| line(&text, span.start));
        let remedy = "correct that line; docs/how-to.md shows what may stand there";
        bad(format!("{shown}:{line}: {}", err.message()), remedy)
    })?;
    doors::check(&config).map_err(|wrong| {
        let line = line_of(&text, wrong.section, wrong.key);
        let message = format!("{shown}:{line}: {}", wrong.why);
        Failure::new("T708", message, wrong.remedy).exit(2)
    })?;
    Ok(config)
}

/// The line of a place in a text.
fn line(text: &str, at: usize) -> usize {
    1 + text.get(..at).map_or(0, |before| before.matches('\n').count())
}

/// The line at which a section's key has its value.
fn line_of(text: &str, section: &str, key: &str) -> usize {
    let parsed = DeTable::parse(text).ok();
    let table = parsed.as_ref().and_then(|whole| whole.get_ref().get(section));
    let value = table.and_then(|table| table.get_ref().as_table()?.get(key));
    value.or(table).map_or(1, |found| line(text, found.span().start))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<Config, Failure> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        read(Some(file.path()))
    }

    #[test]
    fn what_is_left_out_has_its_default() {
        assert_eq!(read(None).unwrap(), Config::default());
        assert_eq!(of("").unwrap(), Config::default());
        let outside = of("[clients]\nloopback = \"outside\"\n").unwrap();
        assert!(!outside.clients.loopback.is_inside());
    }

    #[test]
    fn aliases_are_names_of_groups() {
        let config = of("[sentinel.aliases]\nmymaster = \"web\"\n").unwrap();
        let all: Vec<_> = config.sentinel.aliases.iter().collect();
        assert_eq!(all, [("mymaster", "web")]);
    }

    #[test]
    fn a_line_that_is_not_understood_is_named() {
        let network = "[[network.subnets]]\nid = \"subnet-11111111\"\n";
        for (text, line) in [
            ("[clients]\n\nloopback = \"elsewhere\"\n", ":3: "),
            ("[clients]\nlopback = \"inside\"\n", ":2: "),
            ("[clients]\nloopback = \"inside\"\nloopback = \"inside\"\n", ":3: "),
            ("\n[client]\n", ":2: "),
            ("[network\n", ":1: "),
            (network, ":1: "),
            ("[sentinel]\nadvertise = \"engines\"\n", ":2: "),
            ("[sentinel]\n\n[sentinel.aliases]\n\"a b\" = \"web\"\n", ":3: "),
            ("\n[names]\n\"a b\" = \"web\"\n", ":2: "),
            ("[tls]\ncertificate = \"c.pem\"\n", ":1: "),
            ("[placement]\n\nreplace_after = 0\n", ":3: "),
        ] {
            let refused = of(text).unwrap_err();
            assert!(refused.message.contains(line), "{text:?}: {}", refused.message);
            assert_eq!((refused.code.as_str(), refused.exit), ("T639", 2));
        }
        for (text, line) in [
            ("[api]\nport = 4566\ntls = \"required\"\n", ":3: "),
            ("\n[sentinel]\nadvertise = \"nodes\"\nlisten = \"host\"\n", ":4: "),
            ("[api]\nlisten = \"host\"\n\ntls = \"off\"\n", ":4: "),
        ] {
            let refused = of(text).unwrap_err();
            assert!(refused.message.contains(line), "{text:?}: {}", refused.message);
            assert_eq!((refused.code.as_str(), refused.exit), ("T708", 2));
        }
        let beyond = "[sentinel]\nlisten = \"host\"\npassword = \"p\"\n";
        for fleets in [beyond, "[api]\nlisten = \"host\"\n"] {
            let refused = of(fleets).unwrap().for_one_host().unwrap_err();
            assert!(refused.message.contains("a fleet's"), "{}", refused.message);
        }
        assert_eq!(read(Some(Path::new("/nowhere/tanist.toml"))).unwrap_err().exit, 2);
    }
}
