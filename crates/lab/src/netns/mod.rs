//! A fleet's hosts as network namespaces of this machine, and ways to break what is between them.
//!
//! A `Site` has four hosts in three zones. Each is a namespace of its own with one address
//! (10.99.ZONE.HOST); a bridge in one more namespace joins them, and there every packet between two
//! hosts passes the filter that faults are made of. On such hosts runs either a fleet of Tanist, with
//! etcd, or the peer: redis with Sentinel. A `Trial` breaks one thing while writers inside the hosts
//! go on, mends it, and judges what they were told against what is there afterwards.
//!
//! Invariant: nothing of this machine's own network is touched or reached, and what a `Site` started
//! ends with it; what a killed run left behind is removed by the next.
//!
//! Not here: which trials have to pass (`tests/`), tables of many (`benches/matrix`).

mod cells;
mod filter;
mod fleet;
mod ground;
mod judge;
mod one_address;
mod peer;
mod programs;
mod site;
mod trial;
mod writer;

pub use cells::{Beside, CELLS, Cast, Cell, SHORT, cell};
pub use ground::possible;
pub use judge::{History, Judged, Op, judge};
pub use one_address::{Leads, Led, one_address};
pub use site::{Host, Site};
pub use trial::{Durability, Outcome, System, Trial};
pub use writer::{Target, Writer, WriterPlan};
