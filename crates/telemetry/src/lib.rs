//! What was measured: named series of numbers over time, in memory, with a snapshot on the disk.
//!
//! A sample is never kept as such: it is merged into the aggregates of its second, its minute and
//! its hour, each of which is kept for its own time (an hour, a day, fifteen days). That is enough
//! for every statistic but percentiles, it bounds the memory, and it makes recording cheap enough to
//! be done from any loop: a lock, a look-up, three additions, never a wait.
//!
//! Invariant: no more than [`Limits`] allow is ever kept, whatever is recorded; time is passed in
//! (milliseconds since 1970), no clock is read.
//!
//! Not here: who measures (`tanist-agent`), what is made of it (`tanist-controller`), and the API
//! that reads it (`tanist-aws`).

mod chunk;
mod key;
mod point;
mod ring;
mod series;
mod snapshot;
mod unit;
mod window;

pub use key::{Dimensions, Key, Name};
pub use point::Point;
pub use series::{Filter, Limits, Place, Refused, Resolution, Sample, Series, Share, Usage};
pub use snapshot::{Loaded, SnapshotError};
pub use unit::Unit;
pub use window::{Datapoint, Window};
