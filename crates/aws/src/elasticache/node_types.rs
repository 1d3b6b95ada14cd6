//! Node types: how much data a node of each may hold.
//!
//! A node type is a name for an amount of memory here; processors are what the machine has. The
//! amounts are the `maxmemory` that the ElastiCache user guide gives for each type ("node-type
//! specific parameters" of Redis OSS and Valkey).
//!
//! Invariant: a name has one amount for ever, because a group keeps only the name.
//!
//! Not here: how much of it the machine has (the controller caps it and says so).

use super::refusal::{Refusal, bad_combination, bad_value};

/// Names and bytes.
const TYPES: [(&str, u64); 88] = [
    ("cache.t2.micro", 581_959_680),
    ("cache.t2.small", 1_665_138_688),
    ("cache.t2.medium", 3_461_349_376),
    ("cache.t3.micro", 536_870_912),
    ("cache.t3.small", 1_471_026_299),
    ("cache.t3.medium", 3_317_862_236),
    ("cache.t4g.micro", 536_870_912),
    ("cache.t4g.small", 1_471_026_299),
    ("cache.t4g.medium", 3_317_862_236),
    ("cache.m4.large", 6_892_593_152),
    ("cache.m4.xlarge", 15_328_501_760),
    ("cache.m4.2xlarge", 31_889_126_359),
    ("cache.m4.4xlarge", 65_257_290_629),
    ("cache.m4.10xlarge", 166_047_614_239),
    ("cache.m5.large", 6_854_542_746),
    ("cache.m5.xlarge", 13_891_921_715),
    ("cache.m5.2xlarge", 27_966_669_210),
    ("cache.m5.4xlarge", 56_116_178_125),
    ("cache.m5.12xlarge", 168_715_971_994),
    ("cache.m5.24xlarge", 337_500_562_842),
    ("cache.m6g.large", 6_854_542_746),
    ("cache.m6g.xlarge", 13_891_921_715),
    ("cache.m6g.2xlarge", 27_966_669_210),
    ("cache.m6g.4xlarge", 56_116_178_125),
    ("cache.m6g.8xlarge", 111_325_552_312),
    ("cache.m6g.12xlarge", 168_715_971_994),
    ("cache.m6g.16xlarge", 225_000_375_228),
    ("cache.m7g.large", 6_854_542_746),
    ("cache.m7g.xlarge", 13_891_921_715),
    ("cache.m7g.2xlarge", 27_966_669_210),
    ("cache.m7g.4xlarge", 56_116_178_125),
    ("cache.m7g.8xlarge", 111_325_552_312),
    ("cache.m7g.12xlarge", 168_715_971_994),
    ("cache.m7g.16xlarge", 225_000_375_228),
    ("cache.m8g.large", 7_294_178_820),
    ("cache.m8g.xlarge", 15_222_495_510),
    ("cache.m8g.2xlarge", 31_866_224_640),
    ("cache.m8g.4xlarge", 65_856_864_256),
    ("cache.m8g.8xlarge", 133_838_143_488),
    ("cache.m8g.12xlarge", 201_819_422_720),
    ("cache.m8g.16xlarge", 269_800_701_952),
    ("cache.r4.large", 13_201_781_556),
    ("cache.r4.xlarge", 26_898_228_839),
    ("cache.r4.2xlarge", 54_197_537_997),
    ("cache.r4.4xlarge", 108_858_546_586),
    ("cache.r4.8xlarge", 218_255_432_090),
    ("cache.r4.16xlarge", 437_021_573_120),
    ("cache.r5.large", 14_037_181_030),
    ("cache.r5.xlarge", 28_261_849_702),
    ("cache.r5.2xlarge", 56_711_183_565),
    ("cache.r5.4xlarge", 113_609_865_216),
    ("cache.r5.12xlarge", 341_206_346_547),
    ("cache.r5.24xlarge", 682_485_973_811),
    ("cache.r6g.large", 14_037_181_030),
    ("cache.r6g.xlarge", 28_261_849_702),
    ("cache.r6g.2xlarge", 56_711_183_565),
    ("cache.r6g.4xlarge", 113_609_865_216),
    ("cache.r6g.8xlarge", 225_000_375_228),
    ("cache.r6g.12xlarge", 341_206_346_547),
    ("cache.r6g.16xlarge", 450_000_750_456),
    ("cache.r7g.large", 14_037_181_030),
    ("cache.r7g.xlarge", 28_261_849_702),
    ("cache.r7g.2xlarge", 56_711_183_565),
    ("cache.r7g.4xlarge", 113_609_865_216),
    ("cache.r7g.8xlarge", 225_000_375_228),
    ("cache.r7g.12xlarge", 341_206_346_547),
    ("cache.r7g.16xlarge", 450_000_750_456),
    ("cache.r8g.large", 15_222_495_510),
    ("cache.r8g.xlarge", 31_866_224_640),
    ("cache.r8g.2xlarge", 65_856_864_256),
    ("cache.r8g.4xlarge", 133_838_143_488),
    ("cache.r8g.8xlarge", 269_800_701_952),
    ("cache.r8g.12xlarge", 405_763_260_416),
    ("cache.r8g.16xlarge", 541_725_818_880),
    ("cache.c7gn.large", 3_317_862_236),
    ("cache.c7gn.xlarge", 6_854_542_746),
    ("cache.c7gn.2xlarge", 13_891_921_715),
    ("cache.c7gn.4xlarge", 27_966_669_210),
    ("cache.c7gn.8xlarge", 56_116_178_125),
    ("cache.c7gn.12xlarge", 84_357_985_997),
    ("cache.c7gn.16xlarge", 113_609_865_216),
    ("cache.c8gn.large", 3_330_020_474),
    ("cache.c8gn.xlarge", 7_294_178_820),
    ("cache.c8gn.2xlarge", 15_222_495_510),
    ("cache.c8gn.4xlarge", 31_866_224_640),
    ("cache.c8gn.8xlarge", 65_856_864_256),
    ("cache.c8gn.12xlarge", 99_847_503_872),
    ("cache.c8gn.16xlarge", 133_838_143_488),
];

/// In whose names a group is shown that was made without a node type: the cheapest of the current
/// generation first.
const FAMILIES: [&str; 3] = ["cache.t4g.", "cache.m7g.", "cache.r7g."];

/// The bytes that a node of a type may hold.
pub(super) fn bytes(name: &str) -> Result<u64, Refusal> {
    if name.starts_with("cache.r6gd.") {
        let message = "Node types with data tiering are not offered: all data is in memory.";
        return Err(bad_combination(message));
    }
    let known = TYPES.iter().find(|(known, _)| *known == name);
    known
        .map(|(_, bytes)| *bytes)
        .ok_or_else(|| bad_value(format_args!("{name} is not a valid cache node type.")))
}

/// The type in whose name a group with so much memory is shown: the smallest that is large enough.
pub(super) fn name_for(memory: u64) -> &'static str {
    let fits = |(name, bytes): &&(&str, u64)| {
        *bytes >= memory && FAMILIES.iter().any(|family| name.starts_with(family))
    };
    TYPES.iter().filter(fits).min_by_key(|(_, bytes)| *bytes).map_or("cache.r7g.16xlarge", |t| t.0)
}

/// Types with more memory, and types with less that is still enough for `used` bytes.
pub(super) fn around(name: &str, used: u64) -> (Vec<&'static str>, Vec<&'static str>) {
    let own = bytes(name).unwrap_or(0);
    let those = |wanted: &dyn Fn(u64) -> bool| {
        let mut names: Vec<&str> =
            TYPES.iter().filter(|(_, bytes)| wanted(*bytes)).map(|(name, _)| *name).collect();
        names.sort_unstable();
        names
    };
    (those(&|bytes| bytes > own), those(&|bytes| bytes < own && bytes >= used))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_amounts_are_given() {
        assert_eq!(bytes("cache.t3.micro").unwrap(), 536_870_912);
        assert_eq!(bytes("cache.r7g.large").unwrap(), 14_037_181_030);
        assert_eq!(bytes("cache.x9.huge").unwrap_err().code, "InvalidParameterValue");
        assert_eq!(bytes("t3.micro").unwrap_err().code, "InvalidParameterValue");
        assert_eq!(bytes("cache.r6gd.xlarge").unwrap_err().code, "InvalidParameterCombination");
    }

    #[test]
    fn names_are_unique_and_each_size_holds_more_than_the_one_before() {
        for (at, (name, bytes)) in TYPES.iter().enumerate() {
            let Some((next, more)) = TYPES.get(at + 1) else { break };
            assert_ne!(name, next);
            let family = |name: &str| name.rsplit_once('.').map(|(family, _)| family.to_owned());
            if family(name) == family(next) {
                assert!(more > bytes, "{name} {next}");
            }
        }
    }

    #[test]
    fn a_group_without_a_type_is_shown_with_the_smallest_that_is_enough() {
        assert_eq!(name_for(64 << 20), "cache.t4g.micro");
        assert_eq!(name_for(1 << 30), "cache.t4g.small");
        assert_eq!(name_for(8 << 30), "cache.m7g.xlarge");
        assert_eq!(name_for(u64::MAX), "cache.r7g.16xlarge");
    }

    #[test]
    fn neighbours_do_not_lose_data() {
        let (up, down) = around("cache.t3.small", 600 << 20);
        assert!(up.contains(&"cache.t3.medium") && !up.contains(&"cache.t3.small"));
        assert!(!down.contains(&"cache.t3.micro"), "it is too small for the data");
        let (_, down) = around("cache.t3.small", 1);
        assert!(down.contains(&"cache.t3.micro"));
    }
}
