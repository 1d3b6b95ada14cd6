//! Ports that nobody listens on: where an engine points that must not follow anybody.
//!
//! The port is bound so that nobody else can listen on it, and never listened on, so that a
//! connection is refused at once. A restarted supervisor takes the same port again, because the
//! engines that it left behind still point at it.
//!
//! Invariant: a port that was handed out is held until the supervisor ends.
//!
//! Not here: pointing engines at it (`crate::node::fence`).

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use socket2::{Domain, Socket, Type};
use tanist_link::wire::FromSupervisor;
use tracing::warn;

use super::state::StateFile;
use crate::SuperviseError;

/// The ports by address.
pub(super) struct FencePorts {
    file: StateFile,
    held: BTreeMap<Ipv4Addr, (Socket, u16)>,
    /// What an earlier supervisor held; binding any of it again may fail.
    remembered: BTreeMap<Ipv4Addr, u16>,
}

impl FencePorts {
    /// Binds every port again that was held before, as far as they are free.
    pub(super) fn restore(dir: &Path) -> Result<Self, SuperviseError> {
        let file = StateFile::new(dir.join("fences.json"));
        let remembered: BTreeMap<Ipv4Addr, u16> = file.load()?;
        let mut ports = Self { file, held: BTreeMap::new(), remembered };
        for address in ports.remembered.keys().copied().collect::<Vec<_>>() {
            ports.bind(address);
        }
        Ok(ports)
    }

    /// Holds a port of `address`, the one from before if that is possible.
    pub(super) fn bind(&mut self, address: Ipv4Addr) -> FromSupervisor {
        if let Some((_, port)) = self.held.get(&address) {
            return FromSupervisor::FenceBound { address, port: *port };
        }
        let before = self.remembered.get(&address).copied().unwrap_or(0);
        let bound = match hold(address, before) {
            Err(err) if before != 0 => {
                warn!(%address, before, %err, "the fence port of before is taken");
                hold(address, 0)
            }
            other => other,
        };
        match bound {
            Ok((socket, port)) => {
                self.held.insert(address, (socket, port));
                self.remembered.insert(address, port);
                self.file.save(&self.remembered);
                FromSupervisor::FenceBound { address, port }
            }
            Err(err) => FromSupervisor::FenceFailed { address, reason: err.to_string() },
        }
    }

    /// Every port that is held, as events.
    pub(super) fn bound(&self) -> impl Iterator<Item = FromSupervisor> + '_ {
        self.held.iter().map(|(address, (_, port))| FromSupervisor::FenceBound {
            address: *address,
            port: *port,
        })
    }
}

/// Without SO_REUSEADDR: with it, somebody else could bind the same port and listen.
fn hold(address: Ipv4Addr, port: u16) -> io::Result<(Socket, u16)> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_cloexec(true)?;
    socket.bind(&SocketAddr::from((address, port)).into())?;
    let port = socket.local_addr()?.as_socket_ipv4().map_or(0, |bound| bound.port());
    Ok((socket, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(event: &FromSupervisor) -> u16 {
        match event {
            FromSupervisor::FenceBound { port, .. } => *port,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_fence_port_refuses_connections_and_cannot_be_listened_on() {
        let dir = tempfile::tempdir().unwrap();
        let mut ports = FencePorts::restore(dir.path()).unwrap();
        let port = port(&ports.bind(Ipv4Addr::LOCALHOST));
        let refused = std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        let taken = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap_err();
        assert_eq!(taken.kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn a_restarted_supervisor_holds_the_same_port_without_being_asked() {
        let dir = tempfile::tempdir().unwrap();
        let mut first = FencePorts::restore(dir.path()).unwrap();
        let before = port(&first.bind(Ipv4Addr::LOCALHOST));
        drop(first);
        let mut second = FencePorts::restore(dir.path()).unwrap();
        assert_eq!(second.bound().map(|event| port(&event)).collect::<Vec<_>>(), [before]);
        assert_eq!(port(&second.bind(Ipv4Addr::LOCALHOST)), before);
    }

    #[test]
    fn an_address_that_is_not_this_machines_is_refused_in_words() {
        let dir = tempfile::tempdir().unwrap();
        let mut ports = FencePorts::restore(dir.path()).unwrap();
        let event = ports.bind(Ipv4Addr::new(203, 0, 113, 7));
        assert!(matches!(event, FromSupervisor::FenceFailed { .. }), "{event:?}");
    }
}
