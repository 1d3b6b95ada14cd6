//! What a server gives to hosts that join, and to those that need another certificate.
//!
//! The configuration file is read anew each time: a host that was added to it needs no restart of a
//! server.
//!
//! Invariant: only a host of the file gets a certificate, with the names that its roles give it.
//!
//! Not here: whether it was invited (`tanist-controller`).

use std::sync::Arc;
use std::time::SystemTime;

use tanist_controller::{Admission, Guest};
use tanist_core::model::HostId;
use tanist_link::api::{ApiError, MemberCertificate, ServerAddress, Welcome};
use tanist_tls::{Authority, PublicKey};

use super::member::{Member, pair, words};
use super::plan::{FleetPlan, Role};
use crate::config;
use crate::failure::{Failure, chain};

/// A server's desk for hosts.
#[derive(Debug)]
pub(crate) struct Desk {
    member: Member,
    authority: Arc<Authority>,
}

fn refused(failure: &Failure) -> ApiError {
    ApiError::new("T483", failure.message.clone(), failure.remedy.clone())
}

fn failed(why: impl Into<String>) -> ApiError {
    ApiError::new("T501", why, "see the server's log and data directory")
}

impl Desk {
    pub(crate) fn new(member: Member, authority: Arc<Authority>) -> Self {
        Self { member, authority }
    }

    /// What the file says now.
    fn plan(&self) -> Result<FleetPlan, ApiError> {
        let read = config::read(Some(&self.member.is.config));
        read.and_then(|config| FleetPlan::of(&config)).map_err(|failure| refused(&failure))
    }

    fn issue(&self, plan: &FleetPlan, host: &HostId, key: &str) -> Result<String, ApiError> {
        let key = PublicKey::parse(key).ok_or_else(|| {
            let message = "that is no public key of P-256";
            ApiError::new("T400", message, "let tanist join make the request")
        })?;
        let names = Member::names(plan, host).map_err(|failure| refused(&failure))?;
        let issued = self.authority.member(host.as_str(), &names, &key, SystemTime::now());
        Ok(issued.map_err(|err| failed(chain(&err)))?.0)
    }
}

impl Admission for Desk {
    fn guest(&self, host: &HostId) -> Result<Guest, ApiError> {
        let plan = self.plan()?;
        plan.host(host.as_str()).map_err(|failure| refused(&failure))?;
        // Not itself: it is not there yet.
        let servers = plan.servers(&self.member.is.host).into_iter();
        let servers = servers
            .filter(|server| server.host != *host)
            .map(|server| ServerAddress { host: server.host, address: server.address });
        Ok(Guest { authority: self.authority.fingerprint(), servers: servers.collect() })
    }

    fn welcome(&self, host: &HostId, key: &str) -> Result<Welcome, ApiError> {
        let plan = self.plan()?;
        let layout = &self.member.layout;
        let is_server =
            plan.host(host.as_str()).map_err(|failure| refused(&failure))?.is(Role::Server);
        let authorities = if is_server {
            let fleet = pair(&layout.fleet_authority()).map_err(failed)?;
            Some((fleet, pair(&layout.tls()).map_err(failed)?))
        } else {
            None
        };
        // A fleet that was made by an earlier release has none, and an etcd of its owner's.
        let keepers = layout.store_authority();
        let keepers = if is_server && keepers.exists() {
            Some(pair(&keepers).map_err(failed)?)
        } else {
            None
        };
        let config = std::fs::read_to_string(&self.member.is.config);
        let secret = self.member.secret().map_err(|failure| failed(words(&failure)))?;
        Ok(Welcome {
            chain: self.issue(&plan, host, key)?,
            authority: self.authority.pem().to_owned(),
            installation: self.member.is.installation.clone(),
            secret: secret.digits(),
            config: config.map_err(|err| failed(err.to_string()))?,
            authorities,
            keepers,
        })
    }

    fn certificate(&self, host: &HostId, key: &str) -> Result<MemberCertificate, ApiError> {
        Ok(MemberCertificate { chain: self.issue(&self.plan()?, host, key)? })
    }
}
