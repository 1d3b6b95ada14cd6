//! The etcd that Tanist runs: one member on every server of a fleet, with the fleet's state in it.
//!
//! The member is a process of its own that outlives `tanist server`, kept by `tanist etcd`, which
//! outlives it as well. Whether it begins a cluster, asks the others for a place or goes on with its log is
//! decided by `tanist_core::quorum`. Members and clients show certificates of an authority that
//! only servers have: a host that is no server cannot reach the store, whatever it was given.
//!
//! Invariant: at most one etcd per data directory; restarting any part of Tanist restarts none.
//!
//! Not here: consensus (etcd), the store's client (`tanist-store`), an etcd of somebody else's.

mod keeper;
mod place;
mod start;
mod tend;

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::SystemTime;

use tanist_core::model::HostId;
use tanist_link::host_name;
use tanist_store::{EtcdConfig, EtcdIdentity, EtcdTls};
use tanist_tls::{Authority, TlsError};

pub(crate) use keeper::run;
pub(crate) use place::Place;
pub(crate) use tend::{kept, tend};

use super::Member;
use super::plan::{FleetPlan, Role};
use crate::failure::Failure;
use crate::store_file::{EtcdPorts, prefix};

/// The role's name.
pub(crate) const ROLE: &str = "etcd";

/// Where the members are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Site<'a> {
    member: &'a Member,
    ports: EtcdPorts,
    address: Ipv4Addr,
}

impl<'a> Site<'a> {
    /// This host's; nothing if the fleet has an etcd of somebody else's.
    pub(crate) fn of(member: &'a Member) -> Result<Option<Self>, Failure> {
        let Some(ports) = member.plan.etcd_ports() else { return Ok(None) };
        let address = member.plan.host(member.is.host.as_str())?.address;
        Ok(Some(Self { member, ports, address }))
    }

    /// Where this host's member listens: for clients, and for other members.
    fn listens(&self) -> [SocketAddr; 2] {
        [self.ports.client, self.ports.peer].map(|port| SocketAddr::from((self.address, port)))
    }

    /// This host's member, for clients and for other members.
    fn urls(&self) -> [String; 2] {
        self.listens().map(|at| format!("https://{at}"))
    }

    /// Where clients would reach a member on each server of the file, this host's first.
    pub(crate) fn endpoints(&self) -> Vec<String> {
        let own = self.address;
        let servers = self.member.plan.hosts.iter().filter(|planned| planned.is(Role::Server));
        let others = servers.map(|planned| planned.address).filter(|address| *address != own);
        let url = |address| format!("https://{}", SocketAddr::from((address, self.ports.client)));
        std::iter::once(own).chain(others).map(url).collect()
    }

    fn authority(&self) -> Result<Authority, Failure> {
        let dir = self.member.layout.store_authority();
        Authority::load(&dir).map_err(|err| match &err {
            TlsError::Absent(_) => {
                let message = "this host has no authority for etcd: the fleet was begun with an etcd of \
                               its owner's, or the host has joined as no server";
                let remedy = "name that etcd in [store] as before; or invite the host again";
                Failure::new("T722", message, remedy)
            }
            _ => Failure::caused("T723", &err, "restore the directory store-ca from another server"),
        })
    }

    /// How clients on this host reach members at these addresses. The certificate is made anew.
    pub(crate) fn access(&self, endpoints: Vec<String>) -> Result<EtcdConfig, Failure> {
        let authority = self.authority()?;
        let key = Place::of(&self.member.layout).key()?;
        let host = &self.member.is.host;
        let names = BTreeSet::from([host_name(host)]);
        let made = authority.member(host.as_str(), &names, &key.public(), SystemTime::now());
        let (chain, _) = made.map_err(|err| cannot_certify(&err))?;
        let identity =
            EtcdIdentity { certificate: chain.into_bytes(), key: key.pem().into_bytes() };
        let mut config = EtcdConfig::new(endpoints, prefix(&self.member.is.installation));
        config.near = Some(self.address.into());
        config.tls =
            Some(EtcdTls { ca: authority.pem().as_bytes().to_vec(), identity: Some(identity) });
        Ok(config)
    }
}

fn cannot_certify(err: &TlsError) -> Failure {
    Failure::caused("T723", err, "check the directory store-ca and the clock")
}

/// Where other members reach that of a host, if the file has it.
fn peer_url(plan: &FleetPlan, host: &HostId) -> Option<String> {
    let ports = plan.etcd_ports()?;
    let planned = plan.host(host.as_str()).ok()?;
    Some(format!("https://{}", SocketAddr::from((planned.address, ports.peer))))
}
