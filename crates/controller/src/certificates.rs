//! Which certificate each group's endpoints show.
//!
//! One for each group, with every name and address that leads to one of its endpoints. It is made anew
//! when one is added, when what clients have to show changes, and long before it ends; the proxies get
//! it before the route that needs it. It is kept in memory only: a controller that starts makes new
//! ones, and proxies go on with the old ones until then.
//!
//! Invariant: a proxy is told of a certificate only if it understands it; a key goes nowhere else.
//!
//! Not here: the authority (`tanist-tls`), handshakes (`tanist-proxy`).

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tanist_core::model::{
    ClientCertificates, GroupName, GroupSpec, Instant, Severity, Transit, TransitMode,
};
use tanist_link::api::{ApiError, CertificateStatus, EndpointName};
use tanist_link::wire::{Certificate, PrivateKey, ToProxy};
use tanist_tls::RENEW_AFTER_DAYS;
use tracing::{info, warn};

use crate::error::ControllerError;
use crate::outside::{Certifier, Outside};
use crate::proxies::Session;
use crate::reconciler::Controller;

/// How often every certificate's age is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// After this time a certificate is made anew.
const RENEW_AFTER: Duration = Duration::from_secs(RENEW_AFTER_DAYS as u64 * 24 * 3600);
/// A certificate that was made later than now by more than this: the clock was set back.
const SET_BACK: Duration = Duration::from_secs(600);

/// What a certificate is made for.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Wanted {
    names: BTreeSet<String>,
    clients: ClientCertificates,
    /// The fingerprint of the owner's certificate, if that is to be shown.
    owners: Option<String>,
}

/// A certificate that is shown.
#[derive(Debug)]
struct Held {
    wanted: Wanted,
    made: SystemTime,
    message: ToProxy,
    status: CertificateStatus,
}

impl Held {
    /// Whether it can be shown for a while still.
    fn fits(&self, wanted: &Wanted, now: SystemTime) -> bool {
        let fresh = match now.duration_since(self.made) {
            Ok(age) => self.wanted.owners.is_some() || age < RENEW_AFTER,
            Err(ahead) => ahead.duration() < SET_BACK,
        };
        fresh && self.wanted == *wanted
    }
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Certificates {
    held: BTreeMap<GroupName, Held>,
    /// Why a group's could not be made; said once.
    failed: BTreeMap<GroupName, String>,
    looked: Option<Instant>,
}

impl Certificates {
    /// What a group's endpoints show.
    pub(crate) fn status(&self, group: &GroupName) -> Option<CertificateStatus> {
        self.held.get(group).map(|held| held.status.clone())
    }

    /// Tells a proxy that has connected everything that it needs for handshakes.
    pub(crate) fn tell(&self, session: &mut Session) {
        if session.certificates {
            self.held.values().for_each(|held| session.tell(&held.message));
        }
    }

    /// The group is gone.
    pub(crate) fn forget(&mut self, group: &GroupName) {
        self.held.remove(group);
        self.failed.remove(group);
    }
}

impl Controller {
    /// Refuses what could not come true.
    pub(crate) fn check_transit(&self, asked: Transit) -> Result<(), ApiError> {
        if asked.mode == TransitMode::Off {
            if asked.clients == ClientCertificates::Off {
                return Ok(());
            }
            let message = "client certificates are shown in encrypted connections only";
            return Err(ApiError::new("T460", message, "switch TLS on as well: --tls"));
        }
        let needless = self.config.outside.borrow().owners.is_some()
            && asked.clients == ClientCertificates::Off;
        if let Certifier::Nobody(why) = &self.config.certifier
            && !needless
        {
            let message = format!("the certificate authority cannot be used: {why}");
            let remedy = "put its files back from a copy and start tanist dev again; tanist ca \
                          says how to make a new one";
            return Err(ApiError::new("T461", message, remedy));
        }
        let old = |session: &&Session| session.up && !session.certificates;
        if self.proxies.values().any(|session| old(&session)) {
            let message = "the proxy that runs is of an earlier release and speaks no TLS";
            return Err(ApiError::new("T462", message, "tanist down, then tanist dev again"));
        }
        Ok(())
    }

    /// The aliases of a group's endpoints.
    pub(crate) fn aliases_of(&self, spec: &GroupSpec) -> Vec<EndpointName> {
        let node = |id: &_| {
            let mut shards = self.archive.shards_of(&spec.name);
            shards.find_map(|shard| shard.members.get(id)).map(|member| member.endpoint)
        };
        let named = self.config.outside.borrow().aliases.of(spec, node);
        let placed = named.into_iter().flat_map(|alias| {
            let places = self.places(spec, alias.address).into_iter();
            places.map(move |address| EndpointName { name: alias.name.clone(), address })
        });
        placed.collect()
    }

    /// Takes in what the owner has changed, and looks at every certificate's age now and then.
    pub(crate) async fn certify_all(&mut self, now: Instant) -> Result<(), ControllerError> {
        // A sender that is gone has nothing more to say.
        let changed = self.config.outside.has_changed().unwrap_or(false);
        let due = self.certificates.looked.is_none_or(|at| now.since(at) >= LOOK_EVERY);
        if !changed && !due {
            return Ok(());
        }
        self.certificates.looked = Some(now);
        let trouble = self.config.outside.borrow_and_update().trouble.clone();
        let groups: Vec<GroupName> = self.archive.specs.keys().cloned().collect();
        for group in &groups {
            self.certify(group).await?;
        }
        if !changed {
            return Ok(());
        }
        let (severity, text) = match trouble {
            None => (Severity::Info, "names and certificates are taken from the file".to_owned()),
            Some(why) => (Severity::Warning, format!("what was there before holds: {why}")),
        };
        self.announce(None, None, "ConfigurationRead", severity, text).await
    }

    /// Makes sure that a group's endpoints show what they should.
    pub(crate) async fn certify(&mut self, group: &GroupName) -> Result<(), ControllerError> {
        let Some(spec) = self.archive.specs.get(group).map(|held| held.body.clone()) else {
            return Ok(());
        };
        if !spec.transit.mode.is_on() {
            self.certificates.forget(group);
            return Ok(());
        }
        let outside = self.config.outside.borrow().clone();
        let wanted = self.wanted(&spec, &outside);
        let now = SystemTime::now();
        if self.certificates.held.get(group).is_some_and(|held| held.fits(&wanted, now)) {
            return Ok(());
        }
        match make(group, wanted, &outside, &self.config.certifier, now) {
            Ok(held) => {
                self.certificates.failed.remove(group);
                for session in self.proxies.values_mut() {
                    if session.up && session.certificates {
                        session.tell(&held.message);
                    }
                }
                let print = held.status.fingerprint.get(..16).unwrap_or_default();
                let text = match held.status.owners {
                    true => format!("the owner's certificate {print}… is shown"),
                    false => format!(
                        "a certificate {print}… for {} names and addresses is shown",
                        held.status.names.len()
                    ),
                };
                info!(%group, "{text}");
                self.certificates.held.insert(group.clone(), held);
                let (group, severity) = (Some(group.clone()), Severity::Info);
                self.announce(group, None, "CertificateShown", severity, text).await
            }
            Err(why) => {
                let said = self.certificates.failed.insert(group.clone(), why.clone());
                if said.as_ref() == Some(&why) {
                    return Ok(());
                }
                warn!(%group, "no certificate: {why}");
                let text = format!("no certificate could be made: {why}");
                let (group, severity) = (Some(group.clone()), Severity::Error);
                self.announce(group, None, "CertificateFailed", severity, text).await
            }
        }
    }

    /// Every name and address that leads to one of the group's endpoints.
    fn wanted(&self, spec: &GroupSpec, outside: &Outside) -> Wanted {
        let names = &self.config.names;
        let mut all = BTreeSet::from([names.primary(spec), names.reader(spec)]);
        let mut endpoints = vec![spec.endpoints.primary, spec.endpoints.reader];
        let shards = self.archive.shards_of(&spec.name);
        for (node, member) in shards.flat_map(|shard| &shard.members) {
            all.insert(names.node(spec, node));
            endpoints.push(member.endpoint);
        }
        let places = endpoints.into_iter().flat_map(|endpoint| self.every_place(spec, endpoint));
        all.extend(places.map(|address| address.to_string()));
        all.extend(self.aliases_of(spec).into_iter().map(|alias| alias.name));
        let owners = outside.owners.as_ref().map(|owners| owners.fingerprint.clone());
        Wanted { names: all, clients: spec.transit.clients, owners }
    }
}

fn make(
    group: &GroupName,
    wanted: Wanted,
    outside: &Outside,
    certifier: &Certifier,
    now: SystemTime,
) -> Result<Held, String> {
    let authority = match certifier {
        Certifier::Authority(authority) => Ok(authority),
        Certifier::Nobody(why) => Err(why.clone()),
    };
    let judge = match (&authority, wanted.clients) {
        (Ok(authority), _) => authority.pem().to_owned(),
        (Err(_), ClientCertificates::Off) => String::new(),
        (Err(why), _) => return Err(why.clone()),
    };
    let (chain, key, status) = match &outside.owners {
        Some(owners) => {
            let status = CertificateStatus {
                fingerprint: owners.fingerprint.clone(),
                names: Vec::new(),
                ends_ms: None,
                owners: true,
            };
            (owners.chain.clone(), owners.key.clone(), status)
        }
        None => {
            let issued = authority?.endpoint(group.as_str(), &wanted.names, now);
            let issued = issued.map_err(|err| err.to_string())?;
            let ends = issued.ends.duration_since(UNIX_EPOCH).unwrap_or_default();
            let status = CertificateStatus {
                fingerprint: issued.fingerprint,
                names: wanted.names.iter().cloned().collect(),
                ends_ms: u64::try_from(ends.as_millis()).ok(),
                owners: false,
            };
            (issued.chain, issued.key, status)
        }
    };
    let message = ToProxy::Certificate(Box::new(Certificate {
        group: group.clone(),
        chain,
        key: PrivateKey(key),
        clients: wanted.clients,
        authority: judge,
    }));
    Ok(Held { wanted, made: now, message, status })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tanist_tls::Authority;

    use super::*;

    fn wanted(names: &[&str]) -> Wanted {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        Wanted { names, clients: ClientCertificates::Off, owners: None }
    }

    fn certifier(root: &std::path::Path) -> Certifier {
        Certifier::Authority(Arc::new(Authority::load_or_create(&root.join("tls")).unwrap()))
    }

    #[test]
    fn a_certificate_is_made_anew_after_ten_days_and_for_every_new_name() {
        let root = tempfile::tempdir().unwrap();
        let now = SystemTime::now();
        let one = wanted(&["web.x"]);
        let outside = Outside::default();
        let held =
            make(&"web".into(), one.clone(), &outside, &certifier(root.path()), now).unwrap();
        assert!(held.fits(&one, now) && held.fits(&one, now + RENEW_AFTER - SET_BACK));
        assert!(!held.fits(&one, now + RENEW_AFTER));
        assert!(!held.fits(&wanted(&["web.x", "alias.x"]), now));
        assert!(!held.fits(&Wanted { clients: ClientCertificates::Optional, ..one.clone() }, now));
        // The clock was set back: it would not be valid yet.
        assert!(held.fits(&one, now - SET_BACK / 2) && !held.fits(&one, now - SET_BACK * 2));
        assert_eq!(held.status.names, ["web.x"]);
    }

    #[test]
    fn without_an_authority_only_the_owners_certificate_is_shown() {
        let root = tempfile::tempdir().unwrap();
        let now = SystemTime::now();
        let nobody = Certifier::Nobody("ca.key is missing".to_owned());
        let none = make(&"web".into(), wanted(&["web.x"]), &Outside::default(), &nobody, now);
        assert_eq!(none.unwrap_err(), "ca.key is missing");
        let Certifier::Authority(authority) = certifier(root.path()) else { panic!("it is one") };
        let issued = authority.endpoint("x", &BTreeSet::from(["o.x".to_owned()]), now).unwrap();
        let (certificate, key) = (root.path().join("c"), root.path().join("k"));
        std::fs::write(&certificate, &issued.chain).unwrap();
        std::fs::write(&key, &issued.key).unwrap();
        let owners = Some(tanist_tls::Owners::read(&certificate, &key).unwrap());
        let outside = Outside { owners, ..Outside::default() };
        let own = Wanted { owners: Some(issued.fingerprint.clone()), ..wanted(&["web.x"]) };
        let held = make(&"web".into(), own.clone(), &outside, &nobody, now).unwrap();
        assert!(held.status.owners && held.status.fingerprint == issued.fingerprint);
        // Its owner renews it.
        assert!(held.fits(&own, now + RENEW_AFTER * 2));
        let judged = Wanted { clients: ClientCertificates::Required, ..own };
        assert!(make(&"web".into(), judged, &outside, &nobody, now).is_err());
    }
}
