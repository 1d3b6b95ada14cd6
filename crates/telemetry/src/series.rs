//! Every series, shared by who records and who asks.
//!
//! One lock, held for moments: a sample costs a look-up and three additions. A series may have more
//! than one name, because services publish the same numbers under several sets of dimensions.
//!
//! What bounds the memory: a series takes at most about 180 KiB (61 + 25 + 7 chunks of 60 points of
//! 32 bytes); one that gets a sample each second takes 50 to 100 KiB. [`Limits::bytes`] holds for all
//! of them together: beyond it less of the past is kept, the seconds first, down to one chunk of each
//! resolution. What is left then is at most about 12 KiB for each of [`Limits::series`], and a new
//! series is refused until there is room.
//!
//! Invariant: `bytes` is what the series take together.
//!
//! Not here: the snapshot's format ([`crate::snapshot`]).

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::key::{Dimensions, Key};
use crate::point::Point;
use crate::ring::{LEVELS, Ring};
use crate::unit::Unit;
use crate::window::{Datapoint, Window};

/// How long a series is kept that nobody records into, in milliseconds.
const KEPT_SILENT: i64 = 15 * 24 * 3_600_000;
/// How long a series has to be silent before another one may take its place, in milliseconds.
const REPLACED_SILENT: i64 = 15 * 60_000;
/// Names of one series.
pub(crate) const MOST_NAMES: usize = 4;
/// What services of AWS would publish themselves; the last quarter of the series is theirs.
const OWN: &str = "AWS/";

/// How much may be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Series. Of these a quarter is reserved for namespaces that begin with `AWS/`.
    pub series: usize,
    /// Bytes of all series together.
    pub bytes: usize,
}

impl Default for Limits {
    /// 10,000 series and 256 MiB.
    fn default() -> Self {
        Self { series: 10_000, bytes: 256 << 20 }
    }
}

/// How finely samples are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resolution {
    /// In seconds, minutes and hours.
    Second,
    /// In minutes and hours.
    Minute,
}

/// Something that was measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// When, in milliseconds since 1970.
    pub at: i64,
    /// What.
    pub point: Point,
    /// In which unit.
    pub unit: Unit,
    /// How finely it is kept.
    pub resolution: Resolution,
}

/// Why a sample was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// There are too many series, and none has been silent for long.
    #[error("there is no room for another series")]
    Full,
    /// Not a number, or infinite.
    #[error("the sample is not a finite number")]
    NotFinite,
}

/// Which series are listed.
#[derive(Debug, Clone)]
pub struct Filter<'a> {
    /// Those of this region.
    pub region: &'a Arc<str>,
    /// Those of this namespace.
    pub namespace: Option<&'a str>,
    /// Those of this metric.
    pub metric: Option<&'a str>,
    /// Those that have all of these dimensions, with any value or with this one.
    pub dimensions: &'a [(&'a str, Option<&'a str>)],
    /// Those with a sample of then or later, in milliseconds since 1970.
    pub since: i64,
}

/// How much is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Series.
    pub series: usize,
    /// Bytes that they take.
    pub bytes: usize,
    /// Whether less of the past is kept than usual, for lack of room.
    pub shortened: bool,
}

/// Every series. Shared by an `Arc`.
#[derive(Debug, Default)]
pub struct Series {
    pub(crate) limits: Limits,
    state: Mutex<State>,
    /// Held by whoever writes the snapshot.
    pub(crate) saving: Mutex<()>,
}

#[derive(Debug)]
pub(crate) struct State {
    names: BTreeMap<Arc<Key>, u64>,
    pub(crate) data: BTreeMap<u64, Data>,
    next: u64,
    bytes: usize,
    /// How many chunks of each level are kept.
    keep: [u16; 3],
}

impl Default for State {
    fn default() -> Self {
        let (names, data) = (BTreeMap::new(), BTreeMap::new());
        Self { names, data, next: 0, bytes: 0, keep: FULL }
    }
}

const FULL: [u16; 3] = [LEVELS[0].keep, LEVELS[1].keep, LEVELS[2].keep];

/// One series.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Data {
    pub(crate) names: Vec<Arc<Key>>,
    pub(crate) lanes: Vec<Lane>,
    /// When somebody last recorded into it, in milliseconds since 1970.
    pub(crate) touched: i64,
}

/// The samples of one unit.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Lane {
    pub(crate) unit: Unit,
    /// The time of the newest sample.
    pub(crate) newest: i64,
    pub(crate) rings: [Ring; 3],
}

impl Series {
    /// None yet.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// Records a sample, at `now` (milliseconds since 1970), into the series that is named `name`.
    ///
    /// # Errors
    /// [`Refused`] if it cannot be kept.
    pub fn record(&self, name: &Key, sample: &Sample, now: i64) -> Result<(), Refused> {
        self.record_as(std::slice::from_ref(name), sample, now)
    }

    /// As [`Series::record`], into the series that the first name names; the others become further
    /// names of it when it is new. At most four names are heeded.
    ///
    /// # Errors
    /// [`Refused`] if it cannot be kept.
    pub fn record_as(&self, names: &[Key], sample: &Sample, now: i64) -> Result<(), Refused> {
        let Some(name) = names.first() else { return Ok(()) };
        if !sample.point.is_finite() {
            return Err(Refused::NotFinite);
        }
        let mut state = self.state();
        let id = match state.names.get(name) {
            Some(id) => *id,
            None => state.open(names, &self.limits, now)?,
        };
        let keep = state.keep;
        if let Some(data) = state.data.get_mut(&id) {
            let before = data.bytes();
            data.merge(sample, keep, now);
            let after = data.bytes();
            state.bytes = state.bytes + after - before;
        }
        state.fit(self.limits.bytes);
        Ok(())
    }

    /// What the series has in the window, by unit, oldest first; nothing for one that is not known.
    #[must_use]
    pub fn statistics(&self, name: &Key, window: &Window) -> Vec<(Unit, Vec<Datapoint>)> {
        let state = self.state();
        let Some(data) = state.names.get(name).and_then(|id| state.data.get(id)) else {
            return Vec::new();
        };
        let (from, to) = window.bounds();
        let of = |lane: &Lane| {
            let ring = &lane.rings[window.level()];
            let slots = ring.between(LEVELS[window.level()], from, to);
            (lane.unit, window.periods(slots))
        };
        data.lanes.iter().map(of).filter(|(_, points)| !points.is_empty()).collect()
    }

    /// The names that pass, in order, at most `limit` of those behind `after`.
    #[must_use]
    pub fn list(&self, filter: &Filter<'_>, after: Option<&Key>, limit: usize) -> Vec<Arc<Key>> {
        let namespace = filter.namespace.unwrap_or_default().to_owned();
        let first = Key::new(filter.region, namespace, "", &Dimensions::default());
        let start = match after {
            Some(after) if *after >= first => Bound::Excluded(after),
            Some(_) | None => Bound::Included(&first),
        };
        let state = self.state();
        let near = state.names.range::<Key, _>((start, Bound::Unbounded)).take_while(|(key, _)| {
            key.region == *filter.region
                && filter.namespace.is_none_or(|asked| key.namespace == asked)
        });
        let passing = near.filter(|(key, id)| {
            let newest = || state.data.get(id).map(Data::newest);
            filter.passes(key) && newest().is_some_and(|newest| newest >= filter.since)
        });
        passing.map(|(key, _)| Arc::clone(key)).take(limit).collect()
    }

    /// Forgets series that nobody has recorded into for fifteen days, and keeps as much of the past
    /// as usual again if there is room. To be called every few minutes.
    pub fn tidy(&self, now: i64) {
        let mut state = self.state();
        state.forget(|data| data.touched < now.saturating_sub(KEPT_SILENT));
        if state.bytes < self.limits.bytes / 2 {
            state.keep = FULL;
        }
    }

    /// How much is kept.
    #[must_use]
    pub fn usage(&self) -> Usage {
        let state = self.state();
        Usage { series: state.data.len(), bytes: state.bytes, shortened: state.keep != FULL }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        // Whoever panicked with it left whole series behind.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Makes room for a series and gives its number.
    fn open(&mut self, names: &[Key], limits: &Limits, now: i64) -> Result<u64, Refused> {
        let own = names.first().is_some_and(|name| name.namespace.starts_with(OWN));
        let most = if own { limits.series } else { limits.series - limits.series / 4 };
        let few = |state: &Self| state.data.len() < most && state.bytes <= limits.bytes;
        if !few(self) {
            self.replace(now, limits.series);
        }
        if !few(self) {
            return Err(Refused::Full);
        }
        let mut fresh: Vec<Arc<Key>> = Vec::new();
        for name in names.iter().take(MOST_NAMES) {
            if !self.names.contains_key(name) && !fresh.iter().any(|known| **known == *name) {
                fresh.push(Arc::new(name.clone()));
            }
        }
        Ok(self.insert(Data { names: fresh, lanes: Vec::new(), touched: now }))
    }

    /// Takes in a series under its names, which nobody else has.
    pub(crate) fn insert(&mut self, data: Data) -> u64 {
        let id = self.next;
        self.next += 1;
        self.bytes += data.bytes();
        for name in &data.names {
            self.names.insert(Arc::clone(name), id);
        }
        self.data.insert(id, data);
        id
    }

    pub(crate) fn knows(&self, name: &Key) -> bool {
        self.names.contains_key(name)
    }

    /// Forgets the hundredth part that has been silent for longest, if it has been for a while. Many
    /// at once: finding them looks at all.
    fn replace(&mut self, now: i64, series: usize) {
        let silent = now.saturating_sub(REPLACED_SILENT);
        let mut touched: Vec<i64> = self.data.values().map(|data| data.touched).collect();
        touched.sort_unstable();
        let Some(last) = touched.get(series / 100).or(touched.last()) else { return };
        let until = (*last).min(silent);
        self.forget(|data| data.touched <= until);
    }

    fn forget(&mut self, is_old: impl Fn(&Data) -> bool) {
        let old: Vec<u64> =
            self.data.iter().filter(|(_, data)| is_old(data)).map(|(id, _)| *id).collect();
        for id in old {
            let Some(data) = self.data.remove(&id) else { continue };
            self.bytes -= data.bytes();
            for name in &data.names {
                self.names.remove(name);
            }
        }
    }

    /// Keeps less of the past until it fits.
    pub(crate) fn fit(&mut self, bytes: usize) {
        while self.bytes > bytes {
            let Some(level) = self.keep.iter().position(|keep| *keep > 1) else { return };
            self.keep[level] /= 2;
            let keep = self.keep;
            for data in self.data.values_mut() {
                let before = data.bytes();
                data.trim(keep);
                self.bytes = self.bytes + data.bytes() - before;
            }
        }
    }
}

impl Data {
    fn merge(&mut self, sample: &Sample, keep: [u16; 3], now: i64) {
        self.touched = self.touched.max(now);
        let lane = match self.lanes.iter().position(|lane| lane.unit == sample.unit) {
            Some(at) => &mut self.lanes[at],
            None => self.lanes.push_mut(Lane::new(sample.unit)),
        };
        lane.newest = lane.newest.max(sample.at);
        let skip = match sample.resolution {
            Resolution::Second => 0,
            Resolution::Minute => 1,
        };
        let levels = LEVELS.into_iter().zip(keep).zip(&mut lane.rings).skip(skip);
        for ((level, keep), ring) in levels {
            ring.merge(level, keep, sample.at, sample.point);
        }
    }

    pub(crate) fn trim(&mut self, keep: [u16; 3]) {
        for lane in &mut self.lanes {
            for ((level, keep), ring) in LEVELS.into_iter().zip(keep).zip(&mut lane.rings) {
                ring.trim(level, keep);
                ring.chunks.shrink_to_fit();
            }
        }
    }

    fn newest(&self) -> i64 {
        self.lanes.iter().map(|lane| lane.newest).max().unwrap_or(i64::MIN)
    }

    /// Memory that it takes, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        let names: usize = self.names.iter().map(|name| name.bytes()).sum();
        let rings = self.lanes.iter().flat_map(|lane| &lane.rings).map(Ring::bytes);
        let lanes = self.lanes.capacity() * size_of::<Lane>();
        size_of::<Self>() + names + lanes + rings.sum::<usize>()
    }
}

impl Lane {
    pub(crate) fn new(unit: Unit) -> Self {
        Self { unit, newest: i64::MIN, rings: Default::default() }
    }
}

impl Filter<'_> {
    fn passes(&self, key: &Key) -> bool {
        let has = |(name, value): &(&str, Option<&str>)| {
            key.dimensions
                .iter()
                .any(|(known, found)| known == *name && value.is_none_or(|value| value == found))
        };
        self.metric.is_none_or(|asked| key.metric == asked) && self.dimensions.iter().all(has)
    }
}
