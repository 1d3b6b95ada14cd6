//! Where a fleet's groups can be dialled: at every host, or at those that were chosen.
//!
//! Invariant: what the status says is where clients are served, and nowhere else.
//!
//! Not here: one address that moves between hosts (`tests/partitions`).

use std::io::ErrorKind;
use std::net::{Ipv4Addr, TcpStream};

use tanist_lab::Fleet;
use tanist_link::api::GroupStatus;

use super::fleet::connect;
use crate::{call, runtime};

/// The addresses that the status names for the primary endpoint.
fn shown(group: &GroupStatus) -> Vec<Ipv4Addr> {
    let at = &group.primary_endpoint;
    [at.address].into_iter().chain(at.also.iter().copied()).collect()
}

fn addresses(fleet: &Fleet, hosts: &[usize]) -> Vec<Ipv4Addr> {
    hosts.iter().map(|host| fleet.address(*host)).collect()
}

/// Whether somebody listens at the group's primary endpoint at a host.
fn listens(fleet: &Fleet, host: usize) -> bool {
    match TcpStream::connect(fleet.endpoint("web", host)) {
        Ok(_) => true,
        Err(err) => {
            assert_eq!(err.kind(), ErrorKind::ConnectionRefused, "{err}");
            false
        }
    }
}

/// What the Sentinel of a host says that the group's address is.
fn led(fleet: &Fleet, host: usize) -> String {
    runtime().block_on(async {
        let mut sentinel = connect((fleet.address(host), 26379).into()).await;
        let ask = ["SENTINEL", "get-master-addr-by-name", "web"];
        format!("{:?}", call(&mut sentinel, &ask).await)
    })
}

#[test]
fn a_group_is_served_at_the_hosts_that_were_chosen_and_at_no_other() {
    let mut fleet = Fleet::start(4);
    let refused = fleet.tanist(0, &["create", "web", "--endpoints", "h2,h9"]);
    assert!(refused.code == 1 && refused.err.contains("T475"), "{}", refused.err);
    fleet.tanist(0, &["create", "web", "--memory", "64mb", "--endpoints", "h2,h4"]).ok();
    assert_eq!(shown(&fleet.group("web")), addresses(&fleet, &[1, 3]));
    assert_eq!([0, 1, 2, 3].map(|host| listens(&fleet, host)), [false, true, false, true]);
    assert!(led(&fleet, 0).contains(&fleet.address(1).to_string()), "{}", led(&fleet, 0));
    let (stays, ends) = (fleet.endpoint("web", 3), fleet.endpoint("web", 1));
    runtime().block_on(async {
        let (mut stays, mut ends) = (connect(stays).await, connect(ends).await);
        assert!(call(&mut ends, &["SET", "k", "v"]).await.is_ok());
        assert_eq!(call(&mut stays, &["GET", "k"]).await.as_str(), Some("v"));
        // It returns when every proxy has taken it in.
        let said = fleet.tanist(0, &["endpoints", "web", "--hosts", "h1,h4"]).ok();
        assert!(said.contains(&fleet.address(0).to_string()), "{said}");
        assert_eq!([0, 1, 2, 3].map(|host| listens(&fleet, host)), [true, false, false, true]);
        assert_eq!(call(&mut stays, &["GET", "k"]).await.as_str(), Some("v"), "it is not touched");
        let command = tanist_resp::Command::new("PING");
        let broken = ends.call(&command, std::time::Duration::from_secs(20)).await;
        assert!(broken.is_err(), "it was connected where the group is not served: {broken:?}");
    });
    one_that_is_lost_is_named(&mut fleet);
}

/// A chosen host goes for good: its address is not shown, and somebody is told.
fn one_that_is_lost_is_named(fleet: &mut Fleet) {
    fleet.kill_host(3);
    let says = |fleet: &Fleet, what: &str| {
        fleet.wait(what, |fleet| fleet.tanist(0, &["status"]).out.contains(what).then_some(()));
    };
    says(fleet, "EndpointHostLost");
    fleet.wait("its address is not shown", |fleet| {
        let group = fleet.try_status()?.groups.pop()?;
        (shown(&group) == addresses(fleet, &[0])).then_some(())
    });
    fleet.tanist(0, &["host", "remove", "h4", "--dead"]).ok();
    says(fleet, "h4 is no host of the fleet any more");
    fleet.tanist(0, &["endpoints", "web", "--hosts", "all"]).ok();
    assert_eq!(shown(&fleet.group("web")), addresses(fleet, &[0, 1, 2]));
    let status = fleet.tanist(0, &["status"]).out;
    assert!(!status.contains("EndpointHostLost"), "{status}");
    assert!(listens(fleet, 2));
}
