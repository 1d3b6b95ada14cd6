//! Times of the week and of the day that an owner finds convenient.
//!
//! Nothing happens in them yet. They are checked because a client that is told of a mistake later
//! is told too late.
//!
//! Invariant: a window that is accepted lasts for an hour at least.
//!
//! Not here: doing anything in a window.

use super::refusal::{Refusal, bad_combination, bad_value};

const HOUR: u32 = 60;
const DAY: u32 = 24 * HOUR;
const WEEK: u32 = 7 * DAY;
const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// A stretch of the day or of the week, in minutes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Window {
    start: u32,
    length: u32,
    period: u32,
}

impl Window {
    fn holds(self, minute: u32) -> bool {
        (minute + self.period - self.start) % self.period < self.length
    }
}

fn time(text: &str) -> Option<u32> {
    let (hours, minutes) = text.split_once(':')?;
    let number = |text: &str| {
        let digits = text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit());
        text.parse::<u32>().ok().filter(|_| digits)
    };
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    (hours < 24 && minutes < 60).then_some(hours * HOUR + minutes)
}

fn weekly_time(text: &str) -> Option<u32> {
    let (day, rest) = text.split_once(':')?;
    let day = DAYS.iter().position(|known| *known == day)?;
    Some(u32::try_from(day).ok()? * DAY + time(rest)?)
}

fn window(text: &str, of: impl Fn(&str) -> Option<u32>, period: u32) -> Option<Window> {
    let (start, end) = text.split_once('-')?;
    let (start, end) = (of(start)?, of(end)?);
    let length = (end + period - start) % period;
    (length >= HOUR).then_some(Window { start, length, period })
}

/// A maintenance window as it is kept: `sun:05:00-sun:06:00`.
pub(super) fn maintenance(text: &str) -> Result<String, Refusal> {
    let text = text.to_ascii_lowercase();
    match window(&text, weekly_time, WEEK) {
        Some(window) if window.length <= DAY => Ok(text),
        _ => Err(bad_value(format_args!(
            "Invalid maintenance window {text}: it must be ddd:hh24:mi-ddd:hh24:mi and last for \
             60 minutes to 24 hours."
        ))),
    }
}

/// A snapshot window as it is kept: `03:00-04:00`.
pub(super) fn snapshot(text: &str) -> Result<String, Refusal> {
    match window(text, time, DAY) {
        Some(_) => Ok(text.to_owned()),
        None => Err(bad_value(format_args!(
            "Invalid snapshot window {text}: it must be hh24:mi-hh24:mi and last for 60 minutes \
             at least."
        ))),
    }
}

/// Are the two apart?
pub(super) fn check_apart(maintenance: &str, snapshot: &str) -> Result<(), Refusal> {
    let weekly = window(maintenance, weekly_time, WEEK);
    let (Some(weekly), Some(daily)) = (weekly, window(snapshot, time, DAY)) else { return Ok(()) };
    let together = (0..weekly.length).any(|past| daily.holds((weekly.start + past) % DAY));
    if together {
        let message = "The snapshot window and maintenance window must not overlap.";
        return Err(bad_combination(message));
    }
    Ok(())
}

/// Windows for a group whose owner named none or one: some hour of the week that follows from the
/// group's name, and one that does not overlap with it.
pub(super) fn choose(
    name: &str,
    maintenance: Option<String>,
    snapshot: Option<String>,
) -> (String, String) {
    // FNV-1a: spread over the week, and the same for the same name.
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let day = DAYS[usize::try_from(hash % 7).unwrap_or(0)];
    let first = u32::try_from(hash / 7 % 24).unwrap_or(0);
    let hour = |hour: u32| format!("{:02}:00-{:02}:00", hour % 24, (hour + 1) % 24);
    let weekly = |hour: u32| {
        // The hour before midnight would end on another day.
        let hour = hour % 23;
        format!("{day}:{hour:02}:00-{day}:{:02}:00", hour + 1)
    };
    let apart = |maintenance: &str, snapshot: &str| check_apart(maintenance, snapshot).is_ok();
    match (maintenance, snapshot) {
        (Some(maintenance), Some(snapshot)) => (maintenance, snapshot),
        (maintenance, Some(snapshot)) => {
            let mut hours = (first..first + 23).map(weekly);
            let other =
                hours.find(|other| apart(other, &snapshot)).unwrap_or_else(|| weekly(first));
            (maintenance.unwrap_or(other), snapshot)
        }
        (maintenance, None) => {
            let maintenance = maintenance.unwrap_or_else(|| weekly(first));
            let mut hours = (first + 2..first + 26).map(hour);
            let snapshot = hours.find(|other| apart(&maintenance, other));
            (maintenance, snapshot.unwrap_or_else(|| hour(first + 2)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_have_the_services_form_and_last_for_an_hour() {
        assert_eq!(maintenance("Sun:23:00-mon:01:30").unwrap(), "sun:23:00-mon:01:30");
        for bad in [
            "",
            "sun:05:00",
            "sun:05:00-sun:05:59",
            "sun:5:00-sun:06:00",
            "sun:05:00-sun:24:00",
            "day:05:00-day:06:00",
            "sun:05:00-mon:06:00",
            "sun:+5:00-sun:07:00",
        ] {
            assert_eq!(maintenance(bad).unwrap_err().code, "InvalidParameterValue", "{bad}");
        }
        assert_eq!(snapshot("23:30-00:30").unwrap(), "23:30-00:30");
        for bad in ["", "03:00", "03:00-03:59", "3:00-4:00", "03:60-05:00"] {
            assert_eq!(snapshot(bad).unwrap_err().code, "InvalidParameterValue", "{bad}");
        }
    }

    #[test]
    fn windows_that_meet_are_refused() {
        assert!(check_apart("sun:05:00-sun:06:00", "06:00-07:00").is_ok());
        assert!(check_apart("sun:05:00-sun:06:00", "04:00-05:01").is_err());
        assert!(check_apart("sun:23:30-mon:00:30", "00:00-01:00").is_err());
        assert!(check_apart("sun:23:30-mon:00:30", "23:00-00:00").is_err());
    }

    #[test]
    fn chosen_windows_are_good_and_apart() {
        for name in ["web", "a", "practice-redis-replication-multi", "b1", "b2", "b3", "b4"] {
            for given in [None, Some("12:00-11:00".to_owned()), Some("00:00-02:00".to_owned())] {
                let (weekly, daily) = choose(name, None, given.clone());
                assert!(maintenance(&weekly).is_ok() && snapshot(&daily).is_ok());
                assert!(check_apart(&weekly, &daily).is_ok(), "{name} {weekly} {daily}");
                assert!(given.is_none_or(|given| given == daily));
            }
            let asked = "sun:05:00-sun:06:00".to_owned();
            let (weekly, daily) = choose(name, Some(asked.clone()), None);
            assert_eq!(weekly, asked);
            assert!(check_apart(&weekly, &daily).is_ok());
        }
    }
}
