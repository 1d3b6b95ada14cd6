//! Everything that is handed over, as it is written down.
//!
//! Invariant: a field that a release adds has a default, so that it reads what the one before wrote;
//! a field that it does not know is passed over.
//!
//! Not here: the parts (`crate::session`, `crate::shard`).

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use tanist_core::model::ShardKey;
use tanist_link::wire::{Certificate, Meters};

use crate::clients::CardEstate;
use crate::session::SessionEstate;
use crate::shard::{EndpointKind, ShardEstate};

/// The place of a descriptor among those that are handed over.
pub(crate) type Heirloom = usize;

/// Everything.
#[derive(Debug, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Estate {
    /// How it is written.
    pub(crate) format: u32,
    /// The controller's number for the upgrade.
    pub(crate) number: Option<u64>,
    /// When clients began to come to rest, on the machine's monotonic clock, in microseconds.
    pub(crate) since: u64,
    /// The number of the client that comes next.
    pub(crate) next_client: u64,
    /// Connections that could not go on and have ended.
    pub(crate) ended: u64,
    /// The number of the latest notice of it.
    pub(crate) notice: u64,
    pub(crate) lock: Option<Heirloom>,
    pub(crate) certificates: Vec<Certificate>,
    pub(crate) shards: Vec<ShardEstate>,
    pub(crate) endpoints: Vec<EndpointEstate>,
    pub(crate) clients: Vec<ClientEstate>,
}

impl Default for Estate {
    fn default() -> Self {
        Self {
            format: super::FORMAT,
            number: None,
            since: 0,
            next_client: 1,
            ended: 0,
            notice: 0,
            lock: None,
            certificates: Vec::new(),
            shards: Vec::new(),
            endpoints: Vec::new(),
            clients: Vec::new(),
        }
    }
}

/// An endpoint.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct EndpointEstate {
    pub(crate) key: ShardKey,
    pub(crate) address: SocketAddr,
    pub(crate) kind: EndpointKind,
    pub(crate) listener: Heirloom,
    /// For how long it is paused, in microseconds, and whether only writes are.
    #[serde(default)]
    pub(crate) pause: Option<(u64, bool)>,
    /// What was measured.
    #[serde(default)]
    pub(crate) meters: Option<Meters>,
}

/// A client.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ClientEstate {
    /// The address that it dialled.
    pub(crate) endpoint: SocketAddr,
    pub(crate) card: CardEstate,
    /// It is known not to be encrypted; otherwise it has said nothing yet.
    pub(crate) plain: bool,
    pub(crate) socket: Heirloom,
    #[serde(default)]
    pub(crate) upstream: Option<Heirloom>,
    #[serde(default)]
    pub(crate) session: SessionEstate,
}
