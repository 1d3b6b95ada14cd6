//! Names of endpoints, in the form of ElastiCache's.
//!
//! A name is shown only where it leads to the endpoint: on a machine whose resolver does not know it,
//! the address is the honest answer. `tanist dev --hosts` keeps the names in `/etc/hosts`.
//!
//! Invariant: a name that is shown resolves on this host to the address beside it.
//!
//! Not here: a DNS server.

use std::collections::HashMap;
use std::fs::Metadata;
use std::net::Ipv4Addr;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tanist_core::model::{GroupSpec, NodeId, Region};
use tanist_link::api::EndpointStatus;

/// How names are made and checked.
#[derive(Debug, Clone)]
pub struct Names {
    /// The installation's six characters.
    pub installation: String,
    /// The domain below which all names are.
    pub domain: String,
    /// The file of names that the host's resolver reads.
    pub hosts_file: HostsFile,
}

/// What a group's name is followed by in its reader endpoint's.
pub(crate) const READER_SUFFIX: &str = "-ro";

impl Names {
    pub(crate) fn primary(&self, spec: &GroupSpec) -> String {
        format!(
            "{}.{}.ng.0001.{}.{}",
            spec.name,
            self.installation,
            short(&spec.region),
            self.domain
        )
    }

    pub(crate) fn reader(&self, spec: &GroupSpec) -> String {
        let region = short(&spec.region);
        let Self { installation, domain, .. } = self;
        format!("{}{READER_SUFFIX}.{installation}.ng.0001.{region}.{domain}", spec.name)
    }

    pub(crate) fn node(&self, spec: &GroupSpec, node: &NodeId) -> String {
        format!("{node}.{}.0001.{}.{}", self.installation, short(&spec.region), self.domain)
    }

    /// The endpoint under its name, if this host resolves it; otherwise under its address, the first
    /// of those at which it is.
    pub(crate) fn endpoint(
        &self,
        listed: &Listed,
        name: String,
        places: &[Ipv4Addr],
        port: u16,
    ) -> EndpointStatus {
        let (address, also) = match places {
            [first, others @ ..] => (*first, others.to_vec()),
            [] => (Ipv4Addr::UNSPECIFIED, Vec::new()),
        };
        let host = if listed.has(&name, address) { name } else { address.to_string() };
        EndpointStatus { host, address, port, also }
    }

    /// What the host's file of names says; nothing if it cannot be read.
    pub(crate) fn listed(&self) -> Arc<Listed> {
        self.hosts_file.listed()
    }
}

/// A change of a file within this time of the one before need not show in its time.
const COARSE: Duration = Duration::from_secs(1);

/// The file of names that the host's resolver reads. It is read again only when it has changed: the
/// loop that answers is the one that decides, and the file may have a line for each endpoint.
#[derive(Debug, Clone)]
pub struct HostsFile {
    path: PathBuf,
    known: Arc<Mutex<Option<Known>>>,
}

/// What the file said, and what tells whether it says it still.
#[derive(Debug)]
struct Known {
    mark: Mark,
    listed: Arc<Listed>,
}

/// Time of the last change, length and number of a file.
type Mark = (SystemTime, u64, u64);

impl From<&str> for HostsFile {
    fn from(path: &str) -> Self {
        PathBuf::from(path).into()
    }
}

impl From<PathBuf> for HostsFile {
    fn from(path: PathBuf) -> Self {
        Self { path, known: Arc::default() }
    }
}

impl HostsFile {
    fn listed(&self) -> Arc<Listed> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        // Before it is read: what is written meanwhile is found the next time.
        let mark = std::fs::metadata(&self.path).ok().and_then(|found| mark(&found));
        if let (Some(mark), Some(known)) = (mark, &*known)
            && known.mark == mark
        {
            return Arc::clone(&known.listed);
        }
        let text = std::fs::read_to_string(&self.path).unwrap_or_default();
        let listed = Arc::new(Listed::read(&text));
        *known = mark.map(|mark| Known { mark, listed: Arc::clone(&listed) });
        listed
    }
}

/// What tells that a file has changed; nothing for one that changed just now.
fn mark(found: &Metadata) -> Option<Mark> {
    let changed = found.modified().ok()?;
    let settled = changed.elapsed().is_ok_and(|age| age > COARSE);
    settled.then_some((changed, found.len(), found.ino()))
}

/// Names and the addresses that they lead to. Taken once for each answer: one answer asks for every
/// endpoint there is.
#[derive(Debug, Default)]
pub(crate) struct Listed(HashMap<String, Vec<Ipv4Addr>>);

impl Listed {
    fn read(hosts: &str) -> Self {
        let mut all: HashMap<String, Vec<Ipv4Addr>> = HashMap::new();
        for line in hosts.lines() {
            let line = line.split('#').next().unwrap_or_default();
            let mut words = line.split_whitespace();
            if let Some(address) = words.next().and_then(|word| word.parse().ok()) {
                words.for_each(|name| all.entry(name.to_owned()).or_default().push(address));
            }
        }
        Self(all)
    }

    fn has(&self, name: &str, address: Ipv4Addr) -> bool {
        self.0.get(name).is_some_and(|addresses| addresses.contains(&address))
    }
}

/// `us-east-1` as `use1`: AWS's short form in endpoint names.
fn short(region: &Region) -> String {
    let mut parts = region.as_str().split('-');
    let mut short: String = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        short.extend(part.chars().next());
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_are_shortened_as_aws_does() {
        assert_eq!(short(&"us-east-1".into()), "use1");
        assert_eq!(short(&"ap-southeast-2".into()), "aps2");
    }

    #[test]
    fn the_file_is_read_again_only_when_it_has_changed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("hosts");
        let file = HostsFile::from(path.clone());
        let web = Ipv4Addr::new(127, 80, 1, 1);
        assert!(!file.listed().has("web.x", web), "there is none");
        let now = SystemTime::now();
        let write = |text: &str, at: SystemTime| {
            std::fs::write(&path, text).unwrap();
            let written = std::fs::File::options().write(true).open(&path).unwrap();
            written.set_modified(at).unwrap();
        };
        write("127.80.1.1 web.x\n", now - COARSE * 60);
        let first = file.listed();
        assert!(first.has("web.x", web));
        assert!(Arc::ptr_eq(&first, &file.listed()));
        assert!(Arc::ptr_eq(&first, &file.clone().listed()));
        write("127.80.1.1 api.x\n", now - COARSE * 50);
        let second = file.listed();
        assert!(second.has("api.x", web) && !second.has("web.x", web));
        // Another change at once might have the same time and length. Nobody is that late.
        write("127.80.1.1 web.x\n", now + COARSE * 3_600);
        assert!(file.listed().has("web.x", web));
        assert!(!Arc::ptr_eq(&file.listed(), &file.listed()));
        std::fs::remove_file(&path).unwrap();
        assert!(!file.listed().has("web.x", web));
    }

    #[test]
    fn a_name_is_shown_only_if_it_leads_there() {
        let ip = Ipv4Addr::new(127, 80, 1, 1);
        let listed =
            Listed::read("127.0.0.1 localhost\n127.80.1.1 web.x  other # c\n127.80.1.2 wrong.x\n");
        assert!(listed.has("web.x", ip));
        assert!(listed.has("other", ip));
        assert!(!listed.has("wrong.x", ip));
        assert!(!listed.has("c", ip));
    }
}
