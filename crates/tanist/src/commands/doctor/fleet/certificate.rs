//! This host's certificate in its fleet: whether the others believe it, and for how long.
//!
//! Invariant: a certificate that was not replaced when it should have been is told long before it ends.
//!
//! Not here: replacing it (`crate::fleet::member`).

use std::time::{Duration, SystemTime};

use tanist_core::model::HostId;
use tanist_tls::{MEMBER_DAYS, RENEW_AFTER_DAYS};

use super::Check;
use crate::failure::Failure;

const DAY: Duration = Duration::from_secs(24 * 3600);
/// Days that are left when another takes its place.
const LEFT: u32 = MEMBER_DAYS - RENEW_AFTER_DAYS;
/// Its age is looked at once an hour.
const GRACE: Duration = Duration::from_secs(2 * 3600);

/// Judges when it ends.
pub(super) fn judge(own: &HostId, ends: Result<SystemTime, Failure>, now: SystemTime) -> Check {
    let ends = match ends {
        Ok(ends) => ends,
        Err(failure) => {
            let what = format!("the others do not believe that this is {own}: {}", failure.message);
            return Check::problem(what, failure.remedy);
        }
    };
    let days = |time: Duration| time.as_secs() / DAY.as_secs();
    match ends.duration_since(now) {
        Err(ended) => Check::problem(
            format!(
                "{own}'s certificate ended {} days ago: the others do not believe that it is {own}",
                days(ended.duration())
            ),
            format!(
                "see whether the clock is right; then, on a server: tanist host invite {own}; here: \
                 remove member.json from the data directory, and tanist join"
            ),
        ),
        Ok(left) if left + GRACE < DAY * LEFT => Check::warning(
            format!(
                "{own}'s certificate ends in {} days, and another should have taken its place when \
                 {LEFT} were left",
                days(left)
            ),
            "start tanist agent or tanist server here, and see that a server leads; their log says \
             why there is no new one",
        ),
        Ok(left) => Check::good(format!(
            "{own}'s certificate is good for {} more days; another takes its place when {LEFT} are \
             left",
            days(left)
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::Mark;
    use super::*;

    #[test]
    fn a_certificate_is_told_of_before_it_ends() {
        let now = SystemTime::now();
        let own = HostId::new("h1");
        let hour = Duration::from_secs(3600);
        let of = |ends| judge(&own, Ok(ends), now);
        for (ends, mark, says) in [
            (now + 30 * DAY, Mark::Good, "30 more days"),
            // It is being replaced within the hour.
            (now + 20 * DAY - hour, Mark::Good, "19 more days"),
            (now + 20 * DAY - 3 * hour, Mark::Warning, "ends in 19 days"),
            (now + hour, Mark::Warning, "ends in 0 days"),
            (now - 3 * DAY, Mark::Problem, "ended 3 days ago"),
        ] {
            let check = of(ends);
            assert_eq!(check.mark, mark, "{check:?}");
            assert!(check.what.contains(says) && check.what.contains("h1"), "{check:?}");
        }
        let broken = judge(&own, Err(Failure::new("T703", "member.pem: gone", "restore it")), now);
        assert_eq!((broken.mark, broken.remedy.as_str()), (Mark::Problem, "restore it"));
        assert!(broken.what.contains("member.pem: gone"), "{broken:?}");
    }
}
