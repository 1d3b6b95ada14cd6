//! What tells this installation from another: its id, in names of endpoints and in the account's number.
//!
//! It is made with the store and kept beside it, so that clients find their names again when the store
//! was lost and another one is in its place.
//!
//! Invariant: an id stays the same for as long as the data directory.
//!
//! Not here: what is made from it (`tanist-aws`, `tanist-controller`).

use crate::failure::Failure;
use crate::layout::Layout;

/// Digits of an id.
const DIGITS: usize = 32;

/// The installation's id, which is its first store's; kept at its first start.
pub(super) fn of(layout: &Layout, store: &str) -> Result<String, Failure> {
    let path = layout.identity();
    let kept = std::fs::read_to_string(&path).map(|text| text.trim().to_owned());
    let is_id = |id: &String| id.len() == DIGITS && id.bytes().all(|b| b.is_ascii_hexdigit());
    if let Some(id) = kept.ok().filter(is_id) {
        return Ok(id);
    }
    let id = store.to_owned();
    tanist_tls::write_private(&path, &id).map_err(|err| {
        Failure::caused("T611", &err, "free disk space or name another --data-dir")
    })?;
    Ok(id)
}
