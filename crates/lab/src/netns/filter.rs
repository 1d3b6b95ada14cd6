//! What passes between hosts: rules of the bridge, one for each fault that lasts.
//!
//! Address resolution always passes, as if routers were between the hosts: a cut looks like silence
//! and never like an unreachable neighbour.
//!
//! Invariant: the rules in force are those of `Filter`, replaced all at once.
//!
//! Not here: processes (`super::programs`).

/// Ports of the control plane: the link between roles, etcd, and Sentinel.
const CONTROL: &str = "{ 4460, 2379, 2380, 26379 }";

/// The faults of a network.
#[derive(Debug, Default, Clone)]
pub(super) struct Filter {
    faults: Vec<Fault>,
    /// Hosts that are off: they neither send nor hear, whatever is mended.
    off: Vec<String>,
}

#[derive(Debug, Clone)]
enum Fault {
    Cut(String),
    Between(String, String),
    /// Nothing that it sends arrives.
    Mute(String),
    /// Nothing that is sent to it arrives.
    Deaf(String),
    Lose(String, u8),
    Slow(String, u32),
    Control(String),
}

impl Fault {
    fn rules(&self) -> Vec<String> {
        let both = |host: &str, rest: &str| {
            vec![format!("iifname {host} {rest}"), format!("oifname {host} {rest}")]
        };
        match self {
            Self::Cut(host) => both(host, "drop"),
            Self::Between(a, b) => vec![
                format!("iifname {a} oifname {b} drop"),
                format!("iifname {b} oifname {a} drop"),
            ],
            Self::Mute(host) => vec![format!("iifname {host} drop")],
            Self::Deaf(host) => vec![format!("oifname {host} drop")],
            Self::Lose(host, percent) => {
                both(host, &format!("numgen random mod 100 < {percent} drop"))
            }
            Self::Slow(host, rate) => {
                let kilobytes = rate / 1000;
                let limit = format!("limit rate over {kilobytes} kbytes/second");
                both(host, &format!("{limit} burst 1 kbytes drop"))
            }
            Self::Control(host) => {
                let to = both(host, &format!("tcp dport {CONTROL} drop"));
                let from = both(host, &format!("tcp sport {CONTROL} drop"));
                [to, from].concat()
            }
        }
    }
}

impl Filter {
    pub(super) fn cut(&mut self, host: &str) {
        self.faults.push(Fault::Cut(host.to_owned()));
    }

    pub(super) fn cut_between(&mut self, a: &str, b: &str) {
        self.faults.push(Fault::Between(a.to_owned(), b.to_owned()));
    }

    pub(super) fn mute(&mut self, host: &str) {
        self.faults.push(Fault::Mute(host.to_owned()));
    }

    pub(super) fn deafen(&mut self, host: &str) {
        self.faults.push(Fault::Deaf(host.to_owned()));
    }

    pub(super) fn lose(&mut self, host: &str, percent: u8) {
        self.faults.push(Fault::Lose(host.to_owned(), percent));
    }

    /// Bytes a second, each way; what is more is dropped, as a full queue does. After silence a
    /// second's worth may pass at once: nft counts so.
    pub(super) fn slow(&mut self, host: &str, rate: u32) {
        self.faults.push(Fault::Slow(host.to_owned(), rate));
    }

    pub(super) fn cut_control(&mut self, host: &str) {
        self.faults.push(Fault::Control(host.to_owned()));
    }

    pub(super) fn heal(&mut self) {
        self.faults.clear();
    }

    pub(super) fn switch_off(&mut self, host: &str) {
        self.switch_on(host);
        self.off.push(host.to_owned());
    }

    pub(super) fn switch_on(&mut self, host: &str) {
        self.off.retain(|off| off != host);
    }

    /// What nft is to do, after which exactly these faults are in force.
    pub(super) fn script(&self) -> String {
        let off = self.off.iter().map(|host| Fault::Cut(host.clone()));
        let faults: Vec<Fault> = self.faults.iter().cloned().chain(off).collect();
        let rules = faults.iter().flat_map(Fault::rules);
        let head = "table bridge lab {\n chain faults {\n  type filter hook forward priority 0; \
                    policy accept;\n }\n}\nflush chain bridge lab faults\n\
                    add rule bridge lab faults ether type arp accept\n";
        rules.fold(head.to_owned(), |script, rule| {
            script + "add rule bridge lab faults " + &rule + "\n"
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Filter;

    #[test]
    fn what_is_mended_passes_but_not_to_a_host_that_is_off() {
        let mut filter = Filter::default();
        filter.cut("h1");
        filter.lose("h2", 5);
        filter.switch_off("h3");
        let script = filter.script();
        for rule in ["iifname h1 drop", "oifname h2 numgen random mod 100 < 5 drop"] {
            assert!(script.contains(rule), "{rule}\n{script}");
        }
        filter.heal();
        let script = filter.script();
        assert!(!script.contains("h1") && script.contains("iifname h3 drop"), "{script}");
        filter.switch_on("h3");
        assert!(!filter.script().contains("drop"));
    }
}
