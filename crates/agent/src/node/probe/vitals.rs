//! What is measured of an engine once a second: its processor time, memory and counters.
//!
//! The probe asks for most of it anyway; the rest is one more question in the same pipeline and three
//! short files of the kernel, together a few hundredths of a millisecond of the agent and the engine.
//!
//! Invariant: an answer that lacks something gives zero for it, and an answer that is an error gives
//! no measurement; neither ever fails a probe.
//!
//! Not here: rates and percentages (`tanist-controller`).

use tanist_core::model::{NodeId, RunId};
use tanist_link::wire::{HostCpu, ProcessKey, Totals, Vitals};
use tanist_resp::{Command, Info, Value};

use crate::clock::boot_time;
use crate::node::Context;
use crate::node::admin::{info, info_of};

/// Where the answers to INFO memory, to INFO stats and to [`question`] are among a probe's answers.
const PLACES: [usize; 3] = [4, 6, 7];

/// What a probe asks besides.
pub(super) fn question() -> Command {
    info_of("cpu").arg("keyspace")
}

/// Has it said what the answers of a slow probe and the kernel tell.
pub(super) fn tell(
    context: &Context,
    node: &NodeId,
    process: ProcessKey,
    run: &RunId,
    answers: &[Value],
) {
    let Some([memory, stats, rest]) = answered(answers) else { return };
    let kernel = |name: &str| std::fs::read_to_string(name).unwrap_or_default();
    let status = kernel(&format!("/proc/{}/status", process.pid));
    let number = |info: &Info, name| info.get_u64(name).unwrap_or(0);
    let vitals = Vitals {
        host: context.config.host.clone(),
        node: node.clone(),
        run: run.clone(),
        at_us: boot_time().as_micros(),
        main_cpu_us: seconds(&rest, "used_cpu_user_main_thread")
            + seconds(&rest, "used_cpu_sys_main_thread"),
        process_cpu_us: seconds(&rest, "used_cpu_user") + seconds(&rest, "used_cpu_sys"),
        host_cpu: host_cpu(&kernel("/proc/stat")),
        host_free_bytes: kilobytes(&kernel("/proc/meminfo"), "MemAvailable:"),
        swap_bytes: kilobytes(&status, "VmSwap:"),
        resident_bytes: number(&memory, "used_memory_rss"),
        used_bytes: number(&memory, "used_memory"),
        limit_bytes: number(&memory, "maxmemory"),
        items: keys(&rest),
        totals: Totals {
            commands: number(&stats, "total_commands_processed"),
            bytes_in: number(&stats, "total_net_input_bytes"),
            bytes_out: number(&stats, "total_net_output_bytes"),
            evicted: number(&stats, "evicted_keys"),
            hits: number(&stats, "keyspace_hits"),
            misses: number(&stats, "keyspace_misses"),
        },
    };
    context.board.measured(Box::new(vitals));
}

fn answered(answers: &[Value]) -> Option<[Info; 3]> {
    let [memory, stats, rest] = PLACES.map(|at| info(answers.get(at)?).ok());
    Some([memory?, stats?, rest?])
}

/// A field in seconds with a fraction, in microseconds.
fn seconds(info: &Info, name: &str) -> u64 {
    let (whole, fraction) =
        info.get(name).and_then(|text| text.split_once('.')).unwrap_or(("", ""));
    let micros = format!("{fraction:0<6.6}");
    whole.parse::<u64>().unwrap_or(0) * 1_000_000 + micros.parse::<u64>().unwrap_or(0)
}

/// The keys of all databases.
fn keys(info: &Info) -> u64 {
    let keys = (0..16).filter_map(|number| {
        let name = format!("db{number}");
        let mut parts = info.parts(&name);
        parts.find(|(name, _)| *name == "keys")?.1.parse::<u64>().ok()
    });
    keys.sum()
}

/// A line of a file of the kernel, such as `VmSwap:  12 kB`, in bytes.
fn kilobytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let number: u64 = line.split_whitespace().next()?.parse().ok()?;
    number.checked_mul(1024)
}

/// The first line of `/proc/stat`: user, nice, system, idle, waiting for devices, and so on.
fn host_cpu(text: &str) -> Option<HostCpu> {
    let ticks: Vec<u64> = text
        .lines()
        .next()?
        .strip_prefix("cpu ")?
        .split_whitespace()
        // What guests used is in `user` already.
        .take(8)
        .map_while(|tick| tick.parse().ok())
        .collect();
    let [_, _, _, idle, waiting, ..] = ticks.as_slice() else { return None };
    let total: u64 = ticks.iter().sum();
    Some(HostCpu { busy: total - idle - waiting, total })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_engines_say_is_read() {
        let info = Info::parse(
            "# CPU\r\nused_cpu_user:12.3456\r\nused_cpu_sys:0.000007\r\nodd:x\r\n\
             # Keyspace\r\ndb0:keys=3,expires=0\r\ndb15:keys=4,expires=1\r\n",
        );
        assert_eq!(seconds(&info, "used_cpu_user"), 12_345_600);
        assert_eq!(seconds(&info, "used_cpu_sys"), 7);
        assert_eq!((seconds(&info, "odd"), seconds(&info, "none")), (0, 0));
        assert_eq!(keys(&info), 7);
    }

    #[test]
    fn what_the_kernel_says_is_read() {
        let status = "Name:\tx\nVmRSS:\t    12 kB\nVmSwap:\t     4 kB\n";
        assert_eq!(kilobytes(status, "VmSwap:"), Some(4096));
        assert_eq!(kilobytes(status, "VmLck:"), None);
        let stat = "cpu  10 1 20 100 9 0 3 1 5 0\ncpu0 1 1 1 1\n";
        assert_eq!(host_cpu(stat), Some(HostCpu { busy: 35, total: 144 }));
        assert_eq!(host_cpu("cpu  1 2\n"), None);
        let here = |name: &str| std::fs::read_to_string(name).unwrap();
        assert!(host_cpu(&here("/proc/stat")).unwrap().busy > 0);
        assert!(kilobytes(&here("/proc/meminfo"), "MemAvailable:").unwrap() > 0);
        assert!(kilobytes(&here("/proc/self/status"), "VmRSS:").unwrap() > 0);
    }

    #[test]
    fn a_probe_that_asked_for_less_tells_nothing() {
        let texts = |count| vec![Value::Bulk("a:1\r\n".into()); count];
        assert!(answered(&texts(8)).is_some());
        assert!(answered(&texts(4)).is_none());
        let mut refused = texts(8);
        refused[7] = Value::Error("NOPERM".into());
        assert!(answered(&refused).is_none());
    }
}
