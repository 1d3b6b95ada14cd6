//! A series as bytes: numbers little-endian, texts and lists with their lengths in front.
//!
//! Invariant: what is read satisfies what [`crate::chunk`] and [`crate::ring`] rely on, or it is an
//! error.
//!
//! Not here: the file ([`super`]).

use std::io::{self, Read};
use std::sync::Arc;

use crate::chunk::{Body, Chunk, SLOTS};
use crate::key::{Dimensions, Key};
use crate::point::Point;
use crate::ring::{LEVELS, Level, Ring};
use crate::series::{Data, Lane, MOST_NAMES};
use crate::unit::Unit;

const SAME: u8 = 0;
const SINGLE: u8 = 1;
const ANY: u8 = 2;

pub(super) fn damaged(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

pub(super) fn write_data(out: &mut Vec<u8>, data: &Data) {
    // At most four names, and as many lanes as there are units.
    out.push(count(data.names.len()));
    for name in &data.names {
        for part in [&name.region, &*name.namespace, &*name.metric] {
            write_text(out, part);
        }
        out.push(count(name.dimensions.len()));
        for (name, value) in name.dimensions.iter().take(usize::from(u8::MAX)) {
            write_text(out, name);
            write_text(out, value);
        }
    }
    out.extend(data.touched.to_le_bytes());
    out.push(count(data.lanes.len()));
    for lane in &data.lanes {
        write_text(out, lane.unit.name());
        out.extend(lane.newest.to_le_bytes());
        for ring in &lane.rings {
            out.push(count(ring.chunks.len()));
            ring.chunks.iter().for_each(|chunk| write_chunk(out, chunk));
        }
    }
}

fn count(length: usize) -> u8 {
    u8::try_from(length).unwrap_or(u8::MAX)
}

fn write_text(out: &mut Vec<u8>, text: &str) {
    let length = text.floor_char_boundary(usize::from(u16::MAX));
    out.extend(u16::try_from(length).unwrap_or(u16::MAX).to_le_bytes());
    out.extend(&text.as_bytes()[..length]);
}

fn write_chunk(out: &mut Vec<u8>, chunk: &Chunk) {
    out.extend(chunk.start.to_le_bytes());
    out.extend(chunk.filled.to_le_bytes());
    match &chunk.body {
        Body::Same(point) => {
            out.push(SAME);
            write_point(out, point);
        }
        Body::Single(values) => {
            out.push(SINGLE);
            values.iter().for_each(|value| out.extend(value.to_le_bytes()));
        }
        Body::Any(points) => {
            out.push(ANY);
            points.iter().for_each(|point| write_point(out, point));
        }
    }
}

fn write_point(out: &mut Vec<u8>, point: &Point) {
    for part in [point.count, point.sum, point.min, point.max] {
        out.extend(part.to_le_bytes());
    }
}

/// Reads what was written.
pub(super) struct Reader<R> {
    from: R,
}

impl<R: Read> Reader<R> {
    pub(super) const fn new(from: R) -> Self {
        Self { from }
    }

    pub(super) fn into_inner(self) -> R {
        self.from
    }

    pub(super) fn array<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.from.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    pub(super) fn byte(&mut self) -> io::Result<u8> {
        Ok(self.array::<1>()?[0])
    }

    fn number(&mut self) -> io::Result<i64> {
        Ok(i64::from_le_bytes(self.array()?))
    }

    fn float(&mut self) -> io::Result<f64> {
        let float = f64::from_le_bytes(self.array()?);
        if float.is_finite() { Ok(float) } else { Err(damaged("a value is no finite number")) }
    }

    fn text(&mut self) -> io::Result<String> {
        let length = u16::from_le_bytes(self.array()?);
        let mut bytes = vec![0; usize::from(length)];
        self.from.read_exact(&mut bytes)?;
        String::from_utf8(bytes).map_err(|_| damaged("a name is no text"))
    }

    pub(super) fn data(&mut self) -> io::Result<Data> {
        let names = usize::from(self.byte()?);
        if !(1..=MOST_NAMES).contains(&names) {
            return Err(damaged("a series has no name or too many"));
        }
        let names = (0..names).map(|_| self.key().map(Arc::new)).collect::<io::Result<_>>()?;
        let touched = self.number()?;
        let lanes = (0..self.byte()?).map(|_| self.lane()).collect::<io::Result<Vec<_>>>()?;
        let twice = |at: usize| lanes[..at].iter().any(|lane| lane.unit == lanes[at].unit);
        if (0..lanes.len()).any(twice) {
            return Err(damaged("a series has a unit twice"));
        }
        Ok(Data { names, lanes, touched })
    }

    fn key(&mut self) -> io::Result<Key> {
        let (region, namespace, metric) = (self.text()?, self.text()?, self.text()?);
        let pairs = (0..self.byte()?).map(|_| Ok((self.text()?, self.text()?)));
        let dimensions = Dimensions::new(pairs.collect::<io::Result<Vec<_>>>()?);
        Ok(Key::new(&region.into(), namespace, metric, &dimensions))
    }

    fn lane(&mut self) -> io::Result<Lane> {
        let unit = Unit::named(&self.text()?).ok_or_else(|| damaged("a unit is not known"))?;
        let newest = self.number()?;
        let mut lane = Lane { newest, ..Lane::new(unit) };
        for (level, ring) in LEVELS.into_iter().zip(&mut lane.rings) {
            *ring = self.ring(level)?;
        }
        Ok(lane)
    }

    fn ring(&mut self, level: Level) -> io::Result<Ring> {
        let length = self.byte()?;
        if u16::from(length) > level.keep {
            return Err(damaged("a series has more than is kept"));
        }
        let mut ring = Ring::default();
        for _ in 0..length {
            let chunk = self.chunk()?;
            let aligned = chunk.start.rem_euclid(level.span()) == 0;
            let later = ring.chunks.back().is_none_or(|last: &Chunk| last.start < chunk.start);
            if !(aligned && later) {
                return Err(damaged("times are not in their order"));
            }
            ring.chunks.push_back(chunk);
        }
        Ok(ring)
    }

    fn chunk(&mut self) -> io::Result<Chunk> {
        let start = self.number()?;
        let filled = u64::from_le_bytes(self.array()?);
        // Times near the ends of the range have no neighbours to count with.
        if filled == 0 || filled >> SLOTS != 0 || start.unsigned_abs() > 1 << 60 {
            return Err(damaged("a span of time is not possible"));
        }
        let slots = filled.count_ones();
        let body = match self.byte()? {
            SAME => Body::Same(self.point()?),
            SINGLE => Body::Single((0..slots).map(|_| self.float()).collect::<io::Result<_>>()?),
            ANY => Body::Any((0..slots).map(|_| self.point()).collect::<io::Result<_>>()?),
            _ => return Err(damaged("a form of samples is not known")),
        };
        Ok(Chunk { start, filled, body })
    }

    fn point(&mut self) -> io::Result<Point> {
        let [count, sum, min, max] = [self.float()?, self.float()?, self.float()?, self.float()?];
        Ok(Point { count, sum, min, max })
    }
}
