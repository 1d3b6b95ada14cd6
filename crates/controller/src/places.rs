//! Where endpoints are: at an address of their own, or, on a fleet, at that of every host.
//!
//! Invariant: a place that is shown has a proxy that works, if any has.
//!
//! Not here: who listens there (`tanist-proxy`), names (`super::names`).

use std::net::Ipv4Addr;

use tanist_core::model::GroupSpec;
use tanist_link::{host_of, proxy_of};

use crate::reconciler::Controller;

impl Controller {
    /// The addresses at which `endpoint`, one of the group's, can be dialled now.
    pub(crate) fn places(&self, spec: &GroupSpec, endpoint: Ipv4Addr) -> Vec<Ipv4Addr> {
        if !spec.endpoints.are_everywhere() {
            return vec![endpoint];
        }
        let up = self.proxies.iter().filter(|(_, session)| session.up);
        let hosts = up.filter_map(|(proxy, _)| self.observer.seen.hosts.get(&host_of(proxy)?));
        let places: Vec<_> = hosts.map(|host| host.address).collect();
        if places.is_empty() { self.every_place(spec, endpoint) } else { places }
    }

    /// The addresses at which it can ever be dialled, as far as hosts are known.
    pub(crate) fn every_place(&self, spec: &GroupSpec, endpoint: Ipv4Addr) -> Vec<Ipv4Addr> {
        if !spec.endpoints.are_everywhere() {
            return vec![endpoint];
        }
        let hosts = self.observer.seen.hosts.iter();
        // A host without a proxy, one that has left for example, serves nobody.
        let served = hosts.filter(|(host, _)| self.proxies.contains_key(&proxy_of(host)));
        served.map(|(_, host)| host.address).collect()
    }
}
