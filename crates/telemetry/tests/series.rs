//! What series answer, compared with a model that keeps every sample; limits; snapshots.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use tanist_telemetry::{
    Datapoint, Dimensions, Filter, Key, Limits, Loaded, Point, Refused, Resolution, Sample, Series,
    Share, Unit, Window,
};

const SECOND: i64 = 1_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
/// A time that is no round one.
const NOW: i64 = 20_000 * DAY + 12 * HOUR + 34 * MINUTE + 56_789;

fn region() -> Arc<str> {
    "us-east-1".into()
}

fn key(namespace: &'static str, metric: &str, node: &str) -> Key {
    let dimensions = Dimensions::new([("Node", node.to_owned())]);
    Key::new(&region(), namespace, metric.to_owned(), &dimensions)
}

fn sample(at: i64, value: f64) -> Sample {
    Sample { at, point: Point::of(value), unit: Unit::Count, resolution: Resolution::Second }
}

/// Every sample of one series.
#[derive(Debug, Clone)]
struct Naive(Vec<Sample>);

impl Naive {
    fn statistics(
        &self,
        from: i64,
        to: i64,
        seconds: i64,
        now: i64,
    ) -> Vec<(Unit, Vec<Datapoint>)> {
        let period = seconds * SECOND;
        let (slot, kept) = if period < MINUTE {
            (SECOND, 61)
        } else if period % HOUR == 0 && from < now - DAY {
            (HOUR, 7)
        } else {
            (MINUTE, 25)
        };
        let step = if period < MINUTE { period } else { slot };
        let from = from.div_euclid(step) * step;
        let fine = |sample: &&Sample| slot > SECOND || sample.resolution == Resolution::Second;
        let chunk = |sample: &Sample| sample.at.div_euclid(60 * slot);
        let mut units: BTreeMap<Unit, Vec<Datapoint>> = BTreeMap::new();
        for unit in Unit::ALL {
            let of: Vec<&Sample> =
                self.0.iter().filter(fine).filter(|sample| sample.unit == *unit).collect();
            let newest = of.iter().map(|sample| chunk(sample)).max().unwrap_or(0);
            let mut periods: BTreeMap<i64, Point> = BTreeMap::new();
            for sample in of.into_iter().filter(|sample| chunk(sample) > newest - kept) {
                let begins = sample.at.div_euclid(slot) * slot;
                if !(from..to).contains(&begins) {
                    continue;
                }
                let at = from + (begins - from).div_euclid(period) * period;
                let merged = periods.entry(at).or_insert(Point {
                    count: 0.0,
                    sum: 0.0,
                    min: f64::INFINITY,
                    max: f64::NEG_INFINITY,
                });
                merged.merge(&sample.point);
            }
            let points = periods.into_iter().map(|(at, point)| Datapoint { at, point }).collect();
            units.insert(*unit, points);
        }
        units.into_iter().filter(|(_, points)| !points.is_empty()).collect()
    }
}

fn sorted(mut answer: Vec<(Unit, Vec<Datapoint>)>) -> Vec<(Unit, Vec<Datapoint>)> {
    answer.sort_by_key(|(unit, _)| *unit);
    answer
}

/// Samples as they come: mostly one each second, with gaps, repetitions and late ones. The values are
/// whole numbers, whose sums do not depend on their order.
fn samples() -> impl Strategy<Value = Vec<Sample>> {
    let step = prop_oneof![
        8 => Just(SECOND),
        2 => 0..3 * SECOND,
        1 => 0..3 * MINUTE,
        1 => 0..3 * HOUR,
        1 => 0..2 * DAY,
        2 => -2 * HOUR..0,
    ];
    let value = prop_oneof![Just(0_i32), Just(1), -1_000..1_000];
    let unit = prop_oneof![9 => Just(Unit::Count), 1 => Just(Unit::Bytes)];
    let resolution = prop_oneof![5 => Just(Resolution::Second), 1 => Just(Resolution::Minute)];
    let count = prop_oneof![4 => Just(1_u8), 1 => 1..5_u8];
    let each = (step, value, count, unit, resolution);
    prop::collection::vec(each, 1..400).prop_map(|each| {
        let mut at = NOW - DAY;
        let sample = |(step, value, count, unit, resolution)| {
            at += step;
            Sample { at, point: Point::times(f64::from(value), f64::from(count)), unit, resolution }
        };
        each.into_iter().map(sample).collect()
    })
}

fn windows() -> impl Strategy<Value = (i64, i64, i64, i64)> {
    let seconds = prop_oneof![
        Just(1_i64),
        Just(5),
        Just(10),
        Just(30),
        Just(60),
        Just(300),
        Just(3_600),
        Just(86_400)
    ];
    let from = prop_oneof![-2 * HOUR..0, -20 * DAY..0_i64];
    let length = prop_oneof![1..2 * HOUR, 1..20 * DAY];
    (from, length, seconds, 0..3 * DAY).prop_map(|(from, length, seconds, later)| {
        let now = NOW + later;
        (now + from, now + from + length, seconds, now)
    })
}

/// Records samples by a clock that none of them is ahead of; its time at the end.
fn record_all(series: &Series, names: &[Key], samples: &[Sample]) -> i64 {
    samples.iter().fold(NOW, |clock, sample| {
        let clock = clock.max(sample.at);
        series.record_as(names, sample, clock).expect("there is room");
        clock
    })
}

/// A window around [`NOW`] around another time.
fn seen_from(last: i64, (from, to, seconds, now): (i64, i64, i64, i64)) -> (i64, i64, i64, i64) {
    let later = last - NOW;
    (from + later, to + later, seconds, now + later)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn statistics_are_those_of_the_samples_that_are_kept(
        samples in samples(),
        windows in prop::collection::vec(windows(), 1..8),
    ) {
        let series = Series::default();
        let name = key("N", "M", "a");
        let last = record_all(&series, std::slice::from_ref(&name), &samples);
        let naive = Naive(samples);
        for window in windows {
            let (from, to, seconds, now) = seen_from(last, window);
            let window = Window::new(from, to, seconds, now);
            let found = sorted(series.statistics(&name, &window));
            prop_assert_eq!(found, naive.statistics(from, to, seconds, now));
        }
    }

}

proptest! {
    // Each waits for the disk.
    #![proptest_config(ProptestConfig {
        cases: 48,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn a_snapshot_answers_as_its_original(
        lists in prop::collection::vec(samples(), 1..5),
        window in windows(),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("metrics");
        let series = Series::default();
        let name = |at: usize| [key("N", "M", &at.to_string()), key("N", "O", &at.to_string())];
        let mut last = NOW;
        for (at, samples) in lists.iter().enumerate() {
            last = last.max(record_all(&series, &name(at), samples));
        }
        series.save(&path).unwrap();
        let (read, loaded) = Series::load(&path, Limits::default(), last);
        prop_assert_eq!(loaded, Loaded::Read(lists.len()));
        let (from, to, seconds, now) = seen_from(last, window);
        let window = Window::new(from, to, seconds, now);
        for at in 0..lists.len() {
            for name in &name(at) {
                prop_assert_eq!(read.statistics(name, &window), series.statistics(name, &window));
            }
        }
        prop_assert_eq!(names(&read), names(&series));
    }

    #[test]
    fn a_damaged_snapshot_is_set_aside_and_said(at in 0.0..1.0_f64, bit in 0..8_u32, cut: bool) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("metrics");
        let series = Series::default();
        for second in 0..200 {
            let value = f64::from(second % 7);
            let sample = sample(NOW + i64::from(second) * SECOND, value);
            series.record(&key("N", "M", "a"), &sample, NOW).unwrap();
        }
        series.save(&path).unwrap();
        let mut bytes = std::fs::read(&path).unwrap();
        // Beyond the head of the compressed data, whose time and system mean nothing.
        let place = 10 + (at * (bytes.len() - 10) as f64) as usize;
        if cut {
            bytes.truncate(place);
        } else {
            bytes[place] ^= 1 << bit;
        }
        std::fs::write(&path, &bytes).unwrap();
        let (read, loaded) = Series::load(&path, Limits::default(), NOW);
        if loaded == Loaded::Read(1) {
            // Some bits of the compressed form mean nothing.
            let window = Window::new(NOW - HOUR, NOW + HOUR, 1, NOW);
            let name = key("N", "M", "a");
            prop_assert!(!cut);
            prop_assert_eq!(read.statistics(&name, &window), series.statistics(&name, &window));
            return Ok(());
        }
        let Loaded::SetAside { to: Some(to), .. } = loaded else { panic!("{loaded:?}") };
        prop_assert_eq!(std::fs::read(to).unwrap(), bytes);
        prop_assert!(!path.exists());
        prop_assert_eq!(read.usage().series, 0);
    }
}

fn names(series: &Series) -> Vec<String> {
    let region = region();
    let all =
        Filter { region: &region, namespace: None, metric: None, dimensions: &[], since: i64::MIN };
    series.list(&all, None, usize::MAX).iter().map(ToString::to_string).collect()
}

#[test]
fn what_is_no_snapshot_is_set_aside() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("metrics");
    assert_eq!(Series::load(&path, Limits::default(), NOW).1, Loaded::Nothing);
    std::fs::write(&path, b"something else").unwrap();
    assert!(matches!(Series::load(&path, Limits::default(), NOW).1, Loaded::SetAside { .. }));
    std::fs::remove_file(dir.path().join("metrics.damaged")).unwrap();
    std::fs::create_dir(&path).unwrap();
    let (series, loaded) = Series::load(&path, Limits::default(), NOW);
    assert!(matches!(loaded, Loaded::SetAside { .. }), "{loaded:?}");
    series.save(&path).unwrap();
    assert_eq!(Series::load(&path, Limits::default(), NOW).1, Loaded::Read(0));
}

#[test]
fn a_snapshot_that_cannot_be_written_leaves_the_one_before() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("metrics");
    let series = Series::default();
    series.record(&key("N", "M", "a"), &sample(NOW, 1.0), NOW).unwrap();
    series.save(&path).unwrap();
    std::fs::create_dir(dir.path().join("metrics.new")).unwrap();
    let error = series.save(&path).unwrap_err();
    assert!(error.to_string().contains("writing the series"), "{error}");
    assert_eq!(Series::load(&path, Limits::default(), NOW).1, Loaded::Read(1));
}

#[test]
fn series_are_listed_in_order_page_by_page() {
    let series = Series::default();
    for (namespace, metric, node) in
        [("B", "m", "a"), ("A", "m", "b"), ("A", "m", "a"), ("A", "l", "a"), ("AA", "m", "a")]
    {
        series.record(&key(namespace, metric, node), &sample(NOW, 1.0), NOW).unwrap();
    }
    let elsewhere: Arc<str> = "eu-west-1".into();
    let foreign = Key::new(&elsewhere, "A", "m", &Dimensions::default());
    series.record(&foreign, &sample(NOW, 1.0), NOW).unwrap();
    let all = ["A l Node=a", "A m Node=a", "A m Node=b", "AA m Node=a", "B m Node=a"];
    assert_eq!(names(&series), all);
    let region = region();
    let filter = |namespace, metric, dimensions, since| Filter {
        region: &region,
        namespace,
        metric,
        dimensions,
        since,
    };
    let list = |filter: &Filter<'_>| {
        let mut found = Vec::new();
        let mut after = None;
        loop {
            let page = series.list(filter, after.as_deref(), 2);
            found.extend(page.iter().map(ToString::to_string));
            match page.into_iter().nth(1) {
                Some(last) => after = Some(last),
                None => return found,
            }
        }
    };
    assert_eq!(list(&filter(None, None, &[], NOW)), all);
    assert_eq!(list(&filter(Some("A"), None, &[], NOW)), all[..3]);
    assert_eq!(list(&filter(None, Some("l"), &[], NOW)), all[..1]);
    assert_eq!(list(&filter(None, None, &[("Node", Some("b"))], NOW)), all[2..3]);
    assert_eq!(list(&filter(None, None, &[("Node", None)], NOW)), all);
    assert!(list(&filter(None, None, &[("Other", None)], NOW)).is_empty());
    assert!(list(&filter(None, None, &[], NOW + 1)).is_empty(), "nothing since");
}

#[test]
fn a_series_has_every_name_that_it_was_recorded_as() {
    let series = Series::default();
    let both = [key("N", "M", "a"), key("N", "M", "b")];
    series.record_as(&both, &sample(NOW, 1.0), NOW).unwrap();
    series.record_as(&both, &sample(NOW, 2.0), NOW).unwrap();
    let window = Window::new(NOW - MINUTE, NOW + MINUTE, 60, NOW);
    let found = series.statistics(&both[1], &window);
    assert_eq!(found, series.statistics(&both[0], &window));
    assert_eq!(found[0].1[0].point.sum, 3.0);
    assert_eq!(series.usage().series, 1);
}

#[test]
fn nothing_is_kept_that_is_not_a_number() {
    let series = Series::default();
    for value in [f64::NAN, f64::INFINITY] {
        let refused = series.record(&key("N", "M", "a"), &sample(NOW, value), NOW);
        assert_eq!(refused, Err(Refused::NotFinite));
    }
    assert_eq!(series.usage().series, 0);
}

fn limits(own: usize, clients: usize) -> Limits {
    let share = |series| Share { series, bytes: 64 << 20 };
    Limits { own: share(own), clients: share(clients) }
}

#[test]
fn silent_series_make_room_and_busy_ones_do_not() {
    let series = Series::new(limits(25, 75));
    let record = |namespace: &'static str, at: usize, now: i64| {
        series.record(&key(namespace, "M", &at.to_string()), &sample(now, 1.0), now)
    };
    for at in 0..75 {
        record("Mine", at, NOW).unwrap();
    }
    assert_eq!(record("Mine", 75, NOW), Err(Refused::Full));
    for at in 0..25 {
        record("AWS/ElastiCache", at, NOW).unwrap();
    }
    assert_eq!(record("AWS/ElastiCache", 25, NOW), Err(Refused::Full));
    for at in 0..74 {
        record("Mine", at, NOW + 20 * MINUTE).unwrap();
    }
    for at in 1..25 {
        record("AWS/ElastiCache", at, NOW + 20 * MINUTE).unwrap();
    }
    record("AWS/ElastiCache", 25, NOW + 20 * MINUTE).unwrap();
    let left = names(&series);
    assert_eq!(left.iter().filter(|name| name.starts_with("Mine")).count(), 75);
    let own: Vec<_> = (1..26).map(|at| format!("AWS/ElastiCache M Node={at}")).collect();
    assert!(own.iter().all(|name| left.contains(name)), "{left:?}");
}

#[test]
fn clients_take_nothing_from_what_tanist_records() {
    let clients = Share { series: 1_000, bytes: 200_000 };
    let series = Series::new(Limits { clients, ..limits(2, 0) });
    let own = key("AWS/ElastiCache", "M", "a");
    series.record(&own, &sample(NOW - 2 * HOUR, 1.0), NOW - 2 * HOUR).unwrap();
    for second in 0..3_600 {
        let at = NOW - HOUR + second * SECOND;
        series.record(&own, &sample(at, second as f64), at).unwrap();
    }
    let own_bytes = series.usage().bytes;
    let mut at = NOW;
    let refused = (0..).find_map(|step| {
        at += SECOND / 20;
        let name = key("Mine", "M", &(step % 500).to_string());
        series.record(&name, &sample(at, step as f64), at).err()
    });
    assert_eq!(refused, Some(Refused::Full));
    assert!(series.usage().shortened);
    assert!(series.usage().bytes <= own_bytes + clients.bytes + (16 << 10));
    let first = Window::new(NOW - HOUR, NOW - HOUR + MINUTE, 1, NOW);
    assert!(series.statistics(&own, &first)[0].1.len() >= 60, "the past of its own is whole");
    series.record(&key("AWS/ElastiCache", "M", "b"), &sample(at, 1.0), at).unwrap();
}

/// Years ahead, as a machine without a battery may be.
const WRONG: i64 = NOW + 4_000 * DAY;

#[test]
fn a_clock_that_was_ahead_does_not_keep_later_samples_out() {
    let series = Series::default();
    let name = key("N", "M", "a");
    series.record(&name, &sample(WRONG, 1.0), WRONG).unwrap();
    series.record(&name, &sample(NOW, 2.0), NOW).unwrap();
    for seconds in [1, 60, 3_600] {
        let window = Window::new(NOW - HOUR, NOW + HOUR, seconds, NOW);
        let found = series.statistics(&name, &window);
        assert_eq!(found.len(), 1, "{seconds}");
        assert_eq!(found[0].1[0].point, Point::of(2.0));
    }
    let wrong = Window::new(WRONG - HOUR, WRONG + HOUR, 60, WRONG);
    assert!(series.statistics(&name, &wrong).is_empty());
    let region = region();
    let since =
        Filter { region: &region, namespace: None, metric: None, dimensions: &[], since: NOW + 1 };
    assert!(series.list(&since, None, 10).is_empty());
}

#[test]
fn a_snapshot_of_a_clock_that_was_ahead_is_read_by_the_right_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("metrics");
    let series = Series::new(limits(0, 1));
    series.record(&key("N", "M", "a"), &sample(WRONG, 1.0), WRONG).unwrap();
    series.save(&path).unwrap();
    let (read, _) = Series::load(&path, limits(0, 1), NOW);
    let wrong = Window::new(WRONG - HOUR, WRONG + HOUR, 60, WRONG);
    assert!(read.statistics(&key("N", "M", "a"), &wrong).is_empty());
    let later = NOW + 20 * MINUTE;
    read.record(&key("N", "M", "b"), &sample(later, 1.0), later).unwrap();
    assert_eq!(names(&read), ["N M Node=b"], "it counts as silent since the right time");
}

#[test]
fn a_series_that_was_touched_by_a_clock_ahead_ends_all_the_same() {
    let series = Series::default();
    series.record(&key("N", "M", "a"), &sample(WRONG, 1.0), WRONG).unwrap();
    series.tidy(NOW);
    assert_eq!(series.usage().series, 1);
    series.tidy(NOW + 15 * DAY + 1);
    assert_eq!((series.usage().series, series.usage().bytes), (0, 0));
}

#[test]
fn fifteen_days_of_silence_end_a_series() {
    let series = Series::default();
    series.record(&key("N", "M", "a"), &sample(NOW, 1.0), NOW).unwrap();
    series.tidy(NOW + 15 * DAY);
    assert_eq!(series.usage().series, 1);
    series.tidy(NOW + 15 * DAY + 1);
    assert_eq!((series.usage().series, series.usage().bytes), (0, 0));
}

#[test]
fn memory_is_bounded_by_the_past_that_is_kept() {
    let share = Share { series: 20, bytes: 400_000 };
    let series = Series::new(Limits { own: share, clients: share });
    // Two in each second and none the same: the largest form.
    let mut most = 0;
    for step in 0..2 * 3_600 * 2 {
        let at = NOW + i64::from(step) * SECOND / 2;
        for node in ["a", "b", "c", "d", "e", "f"] {
            series.record(&key("N", "M", node), &sample(at, f64::from(step)), at).unwrap();
        }
        most = most.max(series.usage().bytes);
    }
    assert!(most <= share.bytes, "{most}");
    assert!(series.usage().shortened);
    let now = NOW + 2 * HOUR;
    let recent = Window::new(now - 30 * SECOND, now, 1, now);
    assert!(!series.statistics(&key("N", "M", "a"), &recent)[0].1.is_empty());
}

#[test]
fn a_day_is_answered_from_hours_where_minutes_had_to_go() {
    let share = Share { series: 20, bytes: 100_000 };
    let series = Series::new(Limits { own: share, clients: share });
    let nodes = ["a", "b", "c", "d"].map(|node| key("N", "M", node));
    for minute in 0..24 * 60 {
        let at = NOW - DAY + minute * MINUTE;
        for (node, name) in nodes.iter().enumerate() {
            // Two in each minute and none the same: the largest form.
            for value in [minute, minute + node as i64] {
                series.record(name, &sample(at, value as f64), at).unwrap();
            }
        }
    }
    let day = |seconds| Window::new(NOW - DAY, NOW, seconds, NOW);
    let count = |seconds| -> f64 {
        let found = series.statistics(&nodes[1], &day(seconds));
        found[0].1.iter().map(|point| point.point.count).sum()
    };
    assert!(count(60) < 2.0 * 20.0 * 60.0, "minutes had to go: {}", count(60));
    assert_eq!(count(3_600), 2.0 * 24.0 * 60.0);
    assert_eq!(count(86_400), 2.0 * 24.0 * 60.0);
}

#[test]
fn a_full_series_takes_what_is_said() {
    let series = Series::default();
    let mut at = NOW;
    // Sixteen days of hours, then a day of minutes, then an hour of seconds; two different samples
    // in each.
    for (step, count) in [(HOUR, 16 * 24), (MINUTE, 25 * 60), (SECOND, 61 * 60)] {
        for number in 0..count {
            at += step;
            for value in [number, number + 1] {
                series.record(&key("N", "M", "a"), &sample(at, value as f64), at).unwrap();
            }
        }
    }
    let bytes = series.usage().bytes;
    assert!((150 << 10..200 << 10).contains(&bytes), "{bytes}");
}

#[test]
fn a_series_of_one_sample_each_second_is_small() {
    let series = Series::default();
    for second in 0..26 * 3_600 {
        let at = NOW + i64::from(second) * SECOND;
        series.record(&key("N", "M", "dull"), &sample(at, 0.0), at).unwrap();
    }
    let dull = series.usage().bytes;
    assert!(dull < 60 << 10, "{dull}");
    for second in 0..26 * 3_600 {
        let at = NOW + i64::from(second) * SECOND;
        series.record(&key("N", "M", "lively"), &sample(at, f64::from(second)), at).unwrap();
    }
    let lively = series.usage().bytes - dull;
    assert!(lively < 100 << 10, "{lively}");
}
