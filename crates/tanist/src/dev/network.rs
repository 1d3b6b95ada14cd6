//! Which loopback addresses an installation uses: 127.N.0.0/16, with an N of its own.
//!
//! All of 127/8 is this machine, so every endpoint can have an address of its own on port 6379. Two
//! installations must not share them, and an endpoint's address must never change; so N is chosen
//! once, among those on which nobody listens, and kept with the data.
//!
//! Invariant: an installation's addresses stay the same for as long as its data.
//!
//! Not here: which address an endpoint gets (`tanist_core::decide`).

use std::collections::BTreeSet;
use std::io;

use crate::failure::Failure;
use crate::layout::Layout;

/// The first N that is tried.
const FIRST: u8 = 80;
/// The last one.
const LAST: u8 = 120;

/// The installation's network; chosen and kept at its first start.
pub(super) fn choose(layout: &Layout, asked: Option<u8>) -> Result<[u8; 2], Failure> {
    let path = layout.network();
    let failed = |err: &dyn std::error::Error| {
        let remedy = format!("check {}; it holds one number, N of 127.N.0.0/16", path.display());
        Failure::caused("T617", err, remedy)
    };
    let kept = match std::fs::read_to_string(&path) {
        Ok(text) => Some(text.trim().parse::<u8>().map_err(|err| failed(&err))?),
        Err(err) if err.kind() == io::ErrorKind::NotFound => None,
        Err(err) => return Err(failed(&err)),
    };
    let network = match (kept, asked) {
        (Some(kept), Some(asked)) if kept != asked => {
            let message =
                format!("this installation uses 127.{kept}.0.0/16, not 127.{asked}.0.0/16");
            let remedy = "addresses never change; leave --network out, or use another --data-dir";
            return Err(Failure::new("T618", message, remedy).exit(2));
        }
        (Some(kept), _) => kept,
        (None, Some(asked)) => asked,
        (None, None) => free(&listening()).ok_or_else(|| {
            let message = "no loopback network is free";
            Failure::new("T619", message, "name one that may be shared: --network N")
        })?,
    };
    std::fs::write(&path, network.to_string()).map_err(|err| failed(&err))?;
    Ok([127, network])
}

fn free(used: &BTreeSet<[u8; 2]>) -> Option<u8> {
    (FIRST..=LAST).find(|network| !used.contains(&[127, *network]))
}

/// The first two bytes of every address that somebody listens on.
fn listening() -> BTreeSet<[u8; 2]> {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap_or_default();
    table.lines().skip(1).filter_map(local_network).collect()
}

/// A line of `/proc/net/tcp`: the address is hexadecimal, its last byte first.
fn local_network(line: &str) -> Option<[u8; 2]> {
    let local = line.split_whitespace().nth(1)?;
    let address = u32::from_str_radix(local.split(':').next()?, 16).ok()?;
    let [a, b, _, _] = address.to_le_bytes();
    Some([a, b])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_on_which_somebody_listens_is_not_free() {
        let line = "  0: 0101507F:18EB 00000000:0000 0A 00000000:00000000 00:00000000 00000000";
        assert_eq!(local_network(line), Some([127, 80]));
        assert_eq!(free(&BTreeSet::from([[127, 80]])), Some(81));
        assert_eq!(free(&BTreeSet::new()), Some(80));
    }
}
