//! Every series, shared by who records and who asks.
//!
//! One lock, held for moments: a sample costs a look-up and three additions. A series may have more
//! than one name, because services publish the same numbers under several sets of dimensions.
//!
//! What bounds the memory: a series takes at most about 180 KiB (61 + 25 + 7 chunks of 60 points of
//! 32 bytes); one that gets a sample each second takes 50 to 100 KiB. [`Share::bytes`] holds for all
//! of one owner together: beyond it less of the past is kept, the seconds first, down to one chunk of
//! each resolution. What is left then is at most about 12 KiB for each of [`Share::series`], and a new
//! series is refused until there is room. Nothing that clients record takes anything from what Tanist
//! records: neither a place nor a part of its past.
//!
//! Invariant: a [`Held`] is what the series of its owner take together.
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
/// How far ahead of the clock a sample may be, in milliseconds: clients may be two hours ahead. What
/// is further ahead was recorded by a clock that has been set back since.
const AHEAD: i64 = 3 * 3_600_000;
/// Names of one series.
pub(crate) const MOST_NAMES: usize = 4;
/// What services of AWS would publish themselves.
const OWN: &str = "AWS/";

/// How much may be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Of Tanist's own: of namespaces that begin with `AWS/`.
    pub own: Share,
    /// Of all others, which are clients'.
    pub clients: Share,
}

/// How much may be kept of one owner's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// Series.
    pub series: usize,
    /// Bytes of all of them together.
    pub bytes: usize,
}

impl Limits {
    /// 130,000 series of Tanist's own in 256 MiB, which is enough for every node of the most groups with
    /// two replicas each; 7,500 series of clients in 128 MiB.
    pub const DEFAULT: Self = Self {
        own: Share { series: 130_000, bytes: 256 << 20 },
        clients: Share { series: 7_500, bytes: 128 << 20 },
    };

    pub(crate) const fn of(&self, owner: Owner) -> Share {
        match owner {
            Owner::Tanist => self.own,
            Owner::Clients => self.clients,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// Who records into a series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owner {
    Tanist,
    Clients,
}

impl Owner {
    const ALL: [Self; 2] = [Self::Tanist, Self::Clients];

    fn of(name: &Key) -> Self {
        if name.namespace.starts_with(OWN) { Self::Tanist } else { Self::Clients }
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

/// Where a series was found, for whoever records into it again and again. No other series is ever found
/// there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place(u64);

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
    /// By [`Owner`].
    held: [Held; 2],
}

/// What is kept of one owner's.
#[derive(Debug, Clone, Copy)]
struct Held {
    series: usize,
    bytes: usize,
    /// How many chunks of each level are kept.
    keep: [u16; 3],
    /// Before then none of the series can have been silent for long enough to be replaced, in
    /// milliseconds since 1970.
    full_until: i64,
}

impl Default for State {
    fn default() -> Self {
        let (names, data) = (BTreeMap::new(), BTreeMap::new());
        let none = Held { series: 0, bytes: 0, keep: FULL, full_until: i64::MIN };
        Self { names, data, next: 0, held: [none; 2] }
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

    /// Records a sample, at `now` (milliseconds since 1970), into the series that is named `name`. One
    /// of more than three hours later is dropped.
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
        self.record_at(&mut None, || names, sample, now)
    }

    /// As [`Series::record_as`], at the place where the series was found before, if it is there still;
    /// where it is found is noted there. `names` are asked for only if it has to be looked for.
    ///
    /// # Errors
    /// [`Refused`] if it cannot be kept.
    pub fn record_at<N: AsRef<[Key]>>(
        &self,
        place: &mut Option<Place>,
        names: impl FnOnce() -> N,
        sample: &Sample,
        now: i64,
    ) -> Result<(), Refused> {
        if !sample.point.is_finite() {
            return Err(Refused::NotFinite);
        }
        let mut state = self.state();
        let id = match place.filter(|place| state.data.contains_key(&place.0)) {
            Some(Place(id)) => id,
            None => {
                let names = names();
                let names = names.as_ref();
                let Some(name) = names.first() else { return Ok(()) };
                match state.names.get(name) {
                    Some(id) => *id,
                    None => state.open(names, &self.limits, now)?,
                }
            }
        };
        *place = Some(Place(id));
        let State { data, held, .. } = &mut *state;
        let Some(data) = data.get_mut(&id) else { return Ok(()) };
        let owner = data.owner();
        let held = &mut held[owner as usize];
        let before = data.bytes();
        data.merge(sample, held.keep, now);
        held.bytes = held.bytes + data.bytes() - before;
        state.fit(owner, &self.limits);
        Ok(())
    }

    /// What the series has in the window, by unit, oldest first; nothing for one that is not known.
    #[must_use]
    pub fn statistics(&self, name: &Key, window: &Window) -> Vec<(Unit, Vec<Datapoint>)> {
        let state = self.state();
        let Some(data) = state.names.get(name).and_then(|id| state.data.get(id)) else {
            return Vec::new();
        };
        let of = |lane: &Lane| {
            let window = lane.answering(window);
            let (from, to) = window.bounds();
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

    /// Forgets series that nobody has recorded into for fifteen days and what a clock that was ahead
    /// has left, and keeps as much of the past as usual again if there is room. To be called every few
    /// minutes.
    pub fn tidy(&self, now: i64) {
        let mut state = self.state();
        state.settle(now);
        state.forget(|data| data.touched < now.saturating_sub(KEPT_SILENT));
        for owner in Owner::ALL {
            let held = &mut state.held[owner as usize];
            if held.bytes < self.limits.of(owner).bytes / 2 {
                held.keep = FULL;
            }
        }
    }

    /// How much is kept.
    #[must_use]
    pub fn usage(&self) -> Usage {
        let state = self.state();
        let bytes = state.held.iter().map(|held| held.bytes).sum();
        let shortened = state.held.iter().any(|held| held.keep != FULL);
        Usage { series: state.data.len(), bytes, shortened }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        // Whoever panicked with it left whole series behind.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Makes room for a series and gives its number.
    fn open(&mut self, names: &[Key], limits: &Limits, now: i64) -> Result<u64, Refused> {
        let Some(owner) = names.first().map(Owner::of) else { return Err(Refused::Full) };
        if !self.has_room(owner, limits) {
            self.replace(owner, limits, now);
        }
        if !self.has_room(owner, limits) {
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

    /// Forgets what a clock that was ahead of `now` has left.
    fn settle(&mut self, now: i64) {
        // Counting bytes costs more than looking, and hardly ever is any of them ahead.
        for data in self.data.values_mut().filter(|data| data.is_ahead(now)) {
            let held = &mut self.held[data.owner() as usize];
            let before = data.bytes();
            data.settle(now);
            held.bytes = held.bytes + data.bytes() - before;
        }
        for held in &mut self.held {
            held.full_until = held.full_until.min(now.saturating_add(REPLACED_SILENT));
        }
    }

    /// Takes in a series under its names, which nobody else has.
    pub(crate) fn insert(&mut self, data: Data) -> u64 {
        let id = self.next;
        self.next += 1;
        let held = self.held_mut(data.owner());
        held.series += 1;
        held.bytes += data.bytes();
        for name in &data.names {
            self.names.insert(Arc::clone(name), id);
        }
        self.data.insert(id, data);
        id
    }

    pub(crate) fn knows(&self, name: &Key) -> bool {
        self.names.contains_key(name)
    }

    fn held_mut(&mut self, owner: Owner) -> &mut Held {
        &mut self.held[owner as usize]
    }

    /// Whether there is a place for another series.
    pub(crate) fn has_room(&self, owner: Owner, limits: &Limits) -> bool {
        let (held, most) = (&self.held[owner as usize], limits.of(owner));
        held.series < most.series && held.bytes <= most.bytes
    }

    /// Forgets the hundredth part that has been silent for longest, if it has been for a while. Many
    /// at once: finding them looks at all. If none is found, nobody looks again before there can be
    /// one: whoever records more than there is room for does so all the time, and others wait.
    fn replace(&mut self, owner: Owner, limits: &Limits, now: i64) {
        if now < self.held_mut(owner).full_until {
            return;
        }
        let silent = now.saturating_sub(REPLACED_SILENT);
        let all = self.data.values().filter(|data| data.owner() == owner);
        let mut touched: Vec<i64> = all.map(|data| data.touched).collect();
        touched.sort_unstable();
        let (Some(first), Some(last)) = (touched.first(), touched.last()) else { return };
        if *first > silent {
            self.held_mut(owner).full_until = first.saturating_add(REPLACED_SILENT);
            return;
        }
        let until = silent.min(*touched.get(limits.of(owner).series / 100).unwrap_or(last));
        self.forget(|data| data.owner() == owner && data.touched <= until);
    }

    fn forget(&mut self, is_old: impl Fn(&Data) -> bool) {
        let old: Vec<u64> =
            self.data.iter().filter(|(_, data)| is_old(data)).map(|(id, _)| *id).collect();
        for id in old {
            let Some(data) = self.data.remove(&id) else { continue };
            let held = self.held_mut(data.owner());
            held.series -= 1;
            held.bytes -= data.bytes();
            for name in &data.names {
                self.names.remove(name);
            }
        }
    }

    /// Keeps less of an owner's past until it fits.
    pub(crate) fn fit(&mut self, owner: Owner, limits: &Limits) {
        let held = &mut self.held[owner as usize];
        while held.bytes > limits.of(owner).bytes {
            let Some(level) = held.keep.iter().position(|keep| *keep > 1) else { return };
            held.keep[level] /= 2;
            for data in self.data.values_mut().filter(|data| data.owner() == owner) {
                let before = data.bytes();
                data.trim(held.keep);
                held.bytes = held.bytes + data.bytes() - before;
            }
        }
    }
}

impl Data {
    fn merge(&mut self, sample: &Sample, keep: [u16; 3], now: i64) {
        self.touched = now;
        if sample.at > now.saturating_add(AHEAD) {
            return;
        }
        let lane = match self.lanes.iter().position(|lane| lane.unit == sample.unit) {
            Some(at) => &mut self.lanes[at],
            None => self.lanes.push_mut(Lane::new(sample.unit)),
        };
        // Or nothing would be kept until the clock is where it was.
        lane.settle(now);
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

    fn is_ahead(&self, now: i64) -> bool {
        self.touched > now || self.newest() > now.saturating_add(AHEAD)
    }

    /// Forgets what a clock that was ahead of `now` has left.
    pub(crate) fn settle(&mut self, now: i64) {
        self.touched = self.touched.min(now);
        self.lanes.iter_mut().for_each(|lane| lane.settle(now));
    }

    /// Whose it is: whose its first name is.
    pub(crate) fn owner(&self) -> Owner {
        self.names.first().map_or(Owner::Clients, |name| Owner::of(name))
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

    /// The window as it is answered: from hours where minutes would be and are not kept that long.
    fn answering(&self, window: &Window) -> Window {
        let Some(by_the_hour) = window.by_the_hour() else { return *window };
        let [_, minutes, hours] = &self.rings;
        let (from, to) = by_the_hour.bounds();
        let first = hours.between(LEVELS[2], from, to).next();
        match (first, minutes.chunks.front()) {
            (Some((first, _)), Some(kept)) if first < kept.start => by_the_hour,
            (Some(_), None) => by_the_hour,
            (Some(_) | None, _) => *window,
        }
    }

    fn settle(&mut self, now: i64) {
        let latest = now.saturating_add(AHEAD);
        if self.newest > latest {
            self.newest = now;
        }
        self.rings.iter_mut().for_each(|ring| ring.forget_after(latest));
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

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_000 * KEPT_SILENT;

    fn record(series: &Series, metric: usize, now: i64) -> Result<(), Refused> {
        let name = Key::new(&"here".into(), "Mine", metric.to_string(), &Dimensions::default());
        let (unit, resolution) = (Unit::None, Resolution::Second);
        series.record(&name, &Sample { at: now, point: Point::of(1.0), unit, resolution }, now)
    }

    #[test]
    fn nobody_looks_for_a_silent_series_before_there_can_be_one() {
        let clients = Share { series: 2, ..Limits::DEFAULT.clients };
        let series = Series::new(Limits { clients, ..Limits::DEFAULT });
        record(&series, 0, NOW).unwrap();
        record(&series, 1, NOW + 1).unwrap();
        assert_eq!(record(&series, 2, NOW + 2), Err(Refused::Full));
        // Whoever looked now would find these.
        series.state().data.values_mut().for_each(|data| data.touched = 0);
        let until = NOW + REPLACED_SILENT;
        assert_eq!(record(&series, 2, until - 1), Err(Refused::Full));
        assert_eq!(record(&series, 2, until), Ok(()));
    }
}
