//! What the command line asks for.
//!
//! Not here: what is done with it (`super::phases`).

use std::time::Duration;

/// What is to be done.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    pub(crate) groups: usize,
    pub(crate) hosts: usize,
    pub(crate) replicas: u8,
    /// Of a hundred groups, so many have clients that write.
    pub(crate) loaded: usize,
    pub(crate) quiet: Duration,
    pub(crate) failures: usize,
    pub(crate) every: Duration,
    /// So many groups may be created that are not whole yet.
    pub(crate) building: usize,
    pub(crate) etcd: usize,
    pub(crate) json: bool,
    /// What the processes have said is not deleted at the end.
    pub(crate) keep: bool,
}

impl Options {
    pub(crate) fn read() -> Self {
        let mut options = Self {
            groups: 2000,
            hosts: 40,
            replicas: 2,
            loaded: 10,
            quiet: Duration::from_secs(60),
            failures: 300,
            every: Duration::from_millis(200),
            building: 8,
            etcd: 1,
            json: false,
            keep: false,
        };
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            let mut value = || -> u64 {
                let text = words.next().unwrap_or_else(|| panic!("{word} needs a value"));
                text.parse().unwrap_or_else(|err| panic!("{word} {text}: {err}"))
            };
            match word.as_str() {
                "--groups" => options.groups = whole(value()),
                "--hosts" => options.hosts = whole(value()),
                "--replicas" => {
                    options.replicas = u8::try_from(value()).unwrap_or_else(|err| panic!("{err}"));
                }
                "--loaded" => options.loaded = whole(value()),
                "--quiet" => options.quiet = Duration::from_secs(value()),
                "--failures" => options.failures = whole(value()),
                "--every" => options.every = Duration::from_millis(value().max(1)),
                "--building" => options.building = whole(value()).max(1),
                "--etcd" => options.etcd = whole(value()),
                "--json" => options.json = true,
                "-o" => {
                    let form = words.next().unwrap_or_default();
                    assert!(form == "json", "-o knows json only, not {form:?}");
                    options.json = true;
                }
                "--keep" => options.keep = true,
                // Cargo adds it.
                "--bench" => {}
                other => panic!("there is no option {other}"),
            }
        }
        options.check();
        options
    }

    fn check(&self) {
        let nodes = usize::from(self.replicas) + 1;
        assert!(self.hosts > nodes, "with {nodes} nodes a group needs more than {nodes} hosts");
        assert!(self.etcd == 1 || self.etcd == 3, "--etcd is 1 or 3");
        assert!(self.loaded <= 100, "--loaded is a percentage");
        assert!(self.groups > 0, "without groups there is nothing to measure");
    }
}

fn whole(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
