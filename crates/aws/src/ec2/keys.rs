//! Key pairs.
//!
//! Nothing here can be logged in to, but what a client is given is what it says: a private key that
//! nobody else has, so that a script which goes on with it works.
//!
//! Invariant: the private half is answered once and neither stored nor logged.
//!
//! Not here: the arithmetic (`rsa`).

mod encode;
mod rsa;

use std::fmt;

use crate::book::{Ids, KeyPair, Pages};
use crate::error::ApiError;
use crate::service::Answer;
use crate::value::Structure;

use super::instances::moment;
use super::select::{Fact, Seen, filters, one};
use super::site::Site;
use super::tags;

/// Most key pairs of a region.
const MAX_KEYS: usize = 1_000;

/// Bits of a new key's modulus.
const BITS: u32 = 2048;

/// A key pair that nobody has yet.
pub(crate) struct FreshKey {
    private_pem: String,
    public_key: String,
    fingerprint: String,
}

impl fmt::Debug for FreshKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FreshKey").field("fingerprint", &self.fingerprint).finish_non_exhaustive()
    }
}

impl FreshKey {
    /// Draws one. Takes some tenths of a second of computing.
    pub(crate) fn draw() -> Self {
        Self::of_bits(BITS)
    }

    pub(super) fn of_bits(bits: u32) -> Self {
        let key = rsa::Key::draw(bits, &mut rand::rng());
        Self {
            private_pem: encode::pem(&key),
            public_key: encode::openssh(&key),
            fingerprint: encode::fingerprint(&key),
        }
    }
}

fn no_such(site: &Site<'_>, name: &str) -> ApiError {
    site.refuse("InvalidKeyPair.NotFound", format!("The key pair '{name}' does not exist"))
}

pub(super) fn create(pages: &mut Pages, site: &Site<'_>, ids: &mut Ids) -> Answer {
    let name = site.need("KeyName")?;
    if name.len() > 255 || name.chars().any(|c| !c.is_ascii() || c.is_ascii_control()) {
        return Err(site.bad_value("Value for parameter KeyName is invalid."));
    }
    match site.text("KeyType") {
        None | Some("rsa") => {}
        Some("ed25519") => return Err(site.unsupported("keys of the type ed25519")),
        Some(other) => {
            let text = format!("Value ({other}) for parameter KeyType is invalid.");
            return Err(site.bad_value(text));
        }
    }
    if site.text("KeyFormat").is_some_and(|format| format != "pem") {
        return Err(site.unsupported("key formats beside pem"));
    }
    if pages.key_pairs.values().any(|key| key.name == name) {
        return Err(site.refuse("InvalidKeyPair.Duplicate", "The keypair already exists"));
    }
    if pages.key_pairs.len() >= MAX_KEYS {
        let text = "The maximum number of key pairs has been reached.";
        return Err(site.refuse("KeyPairLimitExceeded", text));
    }
    let tags = tags::asked(site, &["key-pair"], "key-pair")?;
    let Some(fresh) = site.key else {
        return Err(site.refuse("InternalError", "There is no new key to be given out"));
    };
    let id = ids.draw("key");
    let made = KeyPair {
        id: id.clone(),
        name: name.to_owned(),
        kind: "rsa".to_owned(),
        fingerprint: fresh.fingerprint.clone(),
        public_key: format!("{} {name}", fresh.public_key),
        created_ms: site.now_ms(),
    };
    pages.key_pairs.insert(&id, made);
    tags::put(pages, &id, tags);
    Ok(Structure::new()
        .set("KeyPairId", &id)
        .set("KeyName", name)
        .set("KeyFingerprint", &fresh.fingerprint)
        .set("KeyMaterial", &fresh.private_pem)
        .list("Tags", tags::shown(pages, &id)))
}

const FACTS: &[Fact<KeyPair>] = &[
    ("fingerprint", |seen: &Seen<'_, KeyPair>| one(&seen.record.fingerprint)),
    ("key-name", |seen| one(&seen.record.name)),
    ("key-pair-id", |seen| one(&seen.record.id)),
];

pub(super) fn describe(pages: &Pages, site: &Site<'_>) -> Answer {
    let filters = filters(site, FACTS)?;
    let names: Vec<&str> = site.input().texts("KeyNames").collect();
    let ids: Vec<&str> = site.input().texts("KeyPairIds").collect();
    if let Some(name) = names.iter().find(|n| !pages.key_pairs.values().any(|k| k.name == **n)) {
        return Err(no_such(site, name));
    }
    if let Some(id) = ids.iter().find(|id| !pages.key_pairs.contains(id)) {
        return Err(super::named::not_found(site, "key", id));
    }
    let public = site.input().flag("IncludePublicKey") == Some(true);
    let keys = pages.key_pairs.iter().filter(|(id, key)| {
        let seen = Seen { site, pages, record: *key };
        (names.is_empty() || names.contains(&key.name.as_str()))
            && (ids.is_empty() || ids.contains(id))
            && filters.iter().all(|filter| filter.admits(id, &seen))
    });
    let views = keys.map(|(id, key)| {
        Structure::new()
            .set("KeyPairId", id)
            .set("KeyName", &key.name)
            .set("KeyType", &key.kind)
            .set("KeyFingerprint", &key.fingerprint)
            .set("CreateTime", moment(key.created_ms))
            .maybe("PublicKey", public.then_some(key.public_key.as_str()))
            .list("Tags", tags::shown(pages, id))
    });
    Ok(Structure::new().list("KeyPairs", views))
}

pub(super) fn delete(pages: &mut Pages, site: &Site<'_>, _: &mut Ids) -> Answer {
    let id = match (site.text("KeyPairId"), site.text("KeyName")) {
        (Some(id), _) => pages.key_pairs.get(id).map(|key| key.id.clone()),
        (None, Some(name)) => {
            let mut keys = pages.key_pairs.values();
            keys.find(|key| key.name == name).map(|key| key.id.clone())
        }
        (None, None) => return Err(site.missing("KeyName")),
    };
    // A key pair that is not there is deleted already: this answers the same for both.
    if let Some(id) = &id {
        pages.key_pairs.remove(id);
        pages.tags.remove(id);
    }
    Ok(Structure::new().set("Return", true).maybe("KeyPairId", id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fresh_key_has_both_halves_in_their_forms() {
        let key = FreshKey::of_bits(512);
        assert!(key.private_pem.starts_with("-----BEGIN RSA PRIVATE KEY-----\n"));
        assert!(key.private_pem.ends_with("\n-----END RSA PRIVATE KEY-----\n"));
        assert!(key.private_pem.lines().all(|line| line.len() <= 64));
        assert!(key.public_key.starts_with("ssh-rsa AAAAB3NzaC1yc2EAAAADAQAB"));
        assert_eq!(key.fingerprint.split(':').count(), 20);
        assert!(!format!("{key:?}").contains("PRIVATE"));
        assert_ne!(key.public_key, FreshKey::of_bits(512).public_key);
    }
}
