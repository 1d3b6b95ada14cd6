//! Where endpoints are: at an address of their own, or, on a fleet, at that of every host, or of those that
//! were chosen for the group.
//!
//! Invariant: a place that is shown has a proxy that works, if any has, or had one a moment ago under another
//! leader; a group that is accepted has one.
//!
//! Not here: who listens there (`tanist-proxy`), names (`super::names`).

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use tanist_core::model::{GroupName, GroupSpec, HostId, HostSeen, Instant};
use tanist_link::api::ApiError;
use tanist_link::proxy_of;

use crate::clock::boot_time;
use crate::reconciler::Controller;

/// How many times the time after which a host is silent proxies have to find a new leader: they notice
/// after 800 ms that the one before says nothing any more.
const CALLS: u32 = 4;

impl Controller {
    /// The addresses at which `endpoint`, one of the group's, can be dialled now.
    pub(crate) fn places(&self, spec: &GroupSpec, endpoint: Ipv4Addr) -> Vec<Ipv4Addr> {
        if !spec.endpoints.are_everywhere() {
            return vec![endpoint];
        }
        let now = boot_time();
        let hosts = self.observer.seen.hosts.iter().filter(|(host, _)| spec.is_served_at(host));
        let seen = hosts.filter(|(host, seen)| self.has_proxy(spec, host, seen, now));
        let places: Vec<_> = seen.map(|(_, seen)| seen.address).collect();
        if places.is_empty() { self.hosts_of(spec) } else { places }
    }

    /// The addresses at which it can ever be dialled, as far as hosts are known.
    pub(crate) fn every_place(&self, spec: &GroupSpec, endpoint: Ipv4Addr) -> Vec<Ipv4Addr> {
        if !spec.endpoints.are_everywhere() {
            return vec![endpoint];
        }
        // Who has a floating address is not known; whoever dials it may come to any host.
        self.hosts_of(spec).into_iter().chain(self.config.floating.iter().copied()).collect()
    }

    /// Whether a host's proxy works. One that a new leader has not heard yet is taken for what it was until
    /// it had time to call: otherwise clients were led elsewhere whenever the leader changes.
    fn has_proxy(&self, spec: &GroupSpec, host: &HostId, seen: &HostSeen, now: Instant) -> bool {
        let proxy = proxy_of(host);
        let limits = &self.config.limits;
        match self.proxies.get(&proxy) {
            Some(session) => session.up,
            None => {
                now.since(self.observer.seen.began) < limits.host * CALLS
                    && now.since(seen.at) <= limits.host
                    && self.proxies_of(&spec.name).contains(&proxy)
            }
        }
    }

    /// The addresses of the hosts that are to have a group's endpoints.
    fn hosts_of(&self, spec: &GroupSpec) -> Vec<Ipv4Addr> {
        let hosts = self.observer.seen.hosts.iter().filter(|(host, _)| spec.is_served_at(host));
        // A host without a proxy, one that has left for example, serves nobody.
        let proxies = self.proxies_of(&spec.name);
        let served = hosts.filter(|(host, _)| proxies.contains(&proxy_of(host)));
        served.map(|(_, host)| host.address).collect()
    }

    /// Refuses hosts that could not have endpoints; to choose none is to choose all.
    pub(crate) fn check_endpoint_hosts(&self, hosts: &BTreeSet<HostId>) -> Result<(), ApiError> {
        if hosts.is_empty() {
            return Ok(());
        }
        let refused = |message: String, remedy: &str| Err(ApiError::new("T475", message, remedy));
        if self.config.endpoints.ports.is_none() {
            let message = "endpoints are at hosts on a fleet only; here each has its own address";
            return refused(message.to_owned(), "leave the hosts out");
        }
        let bad = hosts.iter().find(|host| !self.has_endpoints(host));
        bad.map_or(Ok(()), |host| {
            if self.observer.seen.hosts.contains_key(host) {
                let remedy =
                    "start its agent, give it the role \"proxy\" in the file, or name others";
                refused(format!("{host} has no proxy, or none that is heard"), remedy)
            } else {
                refused(format!("there is no host {host}"), "tanist host list shows them")
            }
        })
    }

    fn has_endpoints(&self, host: &HostId) -> bool {
        self.observer.seen.hosts.contains_key(host) && self.proxies.contains_key(&proxy_of(host))
    }

    /// The groups that nobody could connect to without this host.
    pub(crate) fn served_only_at(&self, host: &HostId) -> Vec<GroupName> {
        let specs = self.archive.specs.values().map(|held| &held.body);
        let only = specs.filter(|spec| {
            let mut others = spec.endpoint_hosts.iter().filter(|other| *other != host);
            spec.endpoint_hosts.contains(host) && !others.any(|other| self.has_endpoints(other))
        });
        only.map(|spec| spec.name.clone()).collect()
    }
}
