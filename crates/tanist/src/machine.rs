//! What this machine has, as far as Tanist shares it out.
//!
//! Invariant: the simulated hosts together never promise more memory than the machine has.
//!
//! Not here: checks of the machine (`crate::commands::doctor`).

/// Share of the memory that engines may be promised, in percent.
const ENGINE_SHARE: u64 = 75;
/// What a node gets when nobody says: as much as the smallest node type of AWS.
const NODE_BYTES: u64 = 512 << 20;

/// The machine.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Machine {
    /// Its memory, in bytes.
    pub(crate) memory_bytes: u64,
}

impl Machine {
    /// Reads `/proc/meminfo`; a machine that does not say is taken for a small one.
    pub(crate) fn read() -> Self {
        let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
        Self { memory_bytes: total(&text).unwrap_or(1 << 30) }
    }

    /// What each of `hosts` simulated hosts may promise.
    pub(crate) fn host_bytes(self, hosts: u8) -> u64 {
        self.memory_bytes / 100 * ENGINE_SHARE / u64::from(hosts.max(1))
    }

    /// What a node gets when nobody says.
    pub(crate) fn default_node_bytes(self, hosts: u8) -> u64 {
        NODE_BYTES.min(self.host_bytes(hosts))
    }
}

fn total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find(|line| line.starts_with("MemTotal:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_shared_out_among_simulated_hosts() {
        let machine = Machine { memory_bytes: total("MemTotal:  8388608 kB\n").unwrap() };
        assert_eq!(machine.memory_bytes, 8 << 30);
        assert!(machine.host_bytes(6) * 6 <= machine.memory_bytes);
        assert_eq!(machine.default_node_bytes(6), 512 << 20);
        assert_eq!(Machine { memory_bytes: 1 << 30 }.default_node_bytes(6) * 6 / (1 << 20), 767);
    }
}
