//! `cargo xtask ci`: what a change has to pass, here and on the CI machine.
//!
//! One list, so that "it passes at home" and "it passes there" are the same sentence. The cheap
//! checks come first.
//!
//! Invariant: stops at the first step that fails, with that step's exit code.
//! Not here: what must be installed for the tests (`scripts/install.sh`).

use std::io::{BufRead, BufReader};
use std::process::{Command, ExitCode, ExitStatus, Stdio};
use std::time::Instant;

use crate::{say, tidy};

/// Names the file in which tests note that they were skipped (`tanist_lab::SKIPPED`).
const SKIPPED: &str = "TANIST_SKIPPED";

type Step = fn() -> ExitCode;

const STEPS: [(&str, Step); 9] = [
    ("fmt", fmt),
    ("clippy", clippy),
    ("tidy", tidy::run),
    ("models", models),
    ("etcd", etcd),
    ("build", build),
    ("tests", tests),
    ("simulation", simulation),
    ("exhaustive check", exhaustive_check),
];

pub(crate) fn run() -> ExitCode {
    let begun = Instant::now();
    for (name, step) in STEPS {
        say(&format!("ci: {name}\n"));
        let started = Instant::now();
        let code = step();
        let seconds = started.elapsed().as_secs_f64();
        if code != ExitCode::SUCCESS {
            say(&format!("ci: {name} failed after {seconds:.1} s\n"));
            return code;
        }
        say(&format!("ci: {name} passed in {seconds:.1} s\n"));
    }
    say(&format!("ci: all passed in {:.1} s\n", begun.elapsed().as_secs_f64()));
    ExitCode::SUCCESS
}

fn fmt() -> ExitCode {
    status(cargo(&["fmt", "--all", "--check"]))
}

fn clippy() -> ExitCode {
    status(cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))
}

/// What is generated from botocore is what botocore says now.
fn models() -> ExitCode {
    crate::models::run(true)
}

/// What is generated from etcd's definitions is what they give now.
fn etcd() -> ExitCode {
    crate::etcd::run(true)
}

/// The stories drive the binary, which no test target builds for them.
fn build() -> ExitCode {
    status(cargo(&["build", "--package", "tanist"]))
}

/// Many worlds in which every promise has to hold, and planted bugs, each of which has to break one.
fn simulation() -> ExitCode {
    both("tanist-sim", &["run", "--seeds", "20000"], &["mutants"])
}

/// Every state of small worlds, and planted bugs that have to be found there.
fn exhaustive_check() -> ExitCode {
    both("tanist-check", &["exhaustive"], &["teeth"])
}

/// Two commands of a package's binary, built for speed.
fn both(package: &str, first: &[&str], second: &[&str]) -> ExitCode {
    let run = ["run", "--release", "--package", package, "--"];
    for args in [first, second] {
        let code = status(cargo(&[&run[..], args].concat()));
        if code != ExitCode::SUCCESS {
            return code;
        }
    }
    ExitCode::SUCCESS
}

/// nextest isolates each test in a process and sums up by itself; without it, we sum up.
fn tests() -> ExitCode {
    let has_nextest = cargo(&["nextest", "--version"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    let skipped = std::env::temp_dir().join(format!("tanist-skipped-{}", std::process::id()));
    let code = if has_nextest {
        let mut all = cargo(&["nextest", "run", "--workspace", "--no-fail-fast"]);
        all.env(SKIPPED, &skipped);
        status(all)
    } else {
        let mut all = cargo(&["test", "--workspace", "--no-fail-fast"]);
        all.env(SKIPPED, &skipped);
        sum_up(all)
    };
    say(&std::fs::read_to_string(&skipped).unwrap_or_default());
    // It is only there if something was skipped.
    let _ = std::fs::remove_file(&skipped);
    code
}

fn sum_up(command: Command) -> ExitCode {
    match counted(command, say) {
        Ok((code, counts)) => {
            say(&format!("{} passed, {} failed\n", counts.passed, counts.failed));
            code
        }
        Err(error) => {
            say(&format!("ci: running cargo test: {error}\n"));
            ExitCode::FAILURE
        }
    }
}

/// The cargo that runs us, so that `cargo +toolchain xtask ci` is one toolchain throughout.
fn cargo(args: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(args);
    command
}

fn status(mut command: Command) -> ExitCode {
    match command.status() {
        Ok(status) => exit_code(status),
        Err(error) => {
            say(&format!("ci: starting {}: {error}\n", command.get_program().to_string_lossy()));
            ExitCode::FAILURE
        }
    }
}

/// A child that a signal ended has no code; that is a failure all the same.
fn exit_code(status: ExitStatus) -> ExitCode {
    status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from)
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Counts {
    passed: u64,
    failed: u64,
}

impl Counts {
    /// Takes in a line like `test result: ok. 3 passed; 0 failed; …`; other lines say nothing.
    fn add(&mut self, line: &str) {
        let Some(result) = line.strip_prefix("test result: ") else { return };
        let words: Vec<&str> = result.split([' ', ';', '.']).filter(|w| !w.is_empty()).collect();
        for pair in words.windows(2) {
            let count = pair[0].parse::<u64>().unwrap_or(0);
            match pair[1] {
                "passed" => self.passed += count,
                "failed" => self.failed += count,
                _ => {}
            }
        }
    }
}

/// Runs the command, passes its output on, and counts the tests in it.
fn counted(mut command: Command, echo: impl Fn(&str)) -> std::io::Result<(ExitCode, Counts)> {
    let mut child = command.stdout(Stdio::piped()).spawn()?;
    let mut counts = Counts::default();
    if let Some(stdout) = child.stdout.take() {
        let mut reader = BufReader::new(stdout);
        let mut line = Vec::new();
        // Bytes and not `lines()`: a test may print what is not UTF-8.
        while reader.read_until(b'\n', &mut line)? > 0 {
            let text = String::from_utf8_lossy(&line);
            counts.add(&text);
            echo(&text);
            line.clear();
        }
    }
    Ok((exit_code(child.wait()?), counts))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_results_of_all_test_binaries_are_summed() {
        let mut counts = Counts::default();
        counts.add("test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out;");
        counts.add("test a ... ok");
        counts.add("test result: FAILED. 2 passed; 4 failed; 0 ignored; 0 measured;");
        assert_eq!(counts, Counts { passed: 5, failed: 4 });
    }

    #[test]
    fn the_exit_code_of_the_tests_is_passed_on_with_their_output() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo 'test result: FAILED. 1 passed; 2 failed;'; exit 101"]);
        let heard = std::cell::RefCell::new(String::new());
        let (code, counts) = counted(command, |line| heard.borrow_mut().push_str(line)).unwrap();
        assert_eq!(code, ExitCode::from(101));
        assert_eq!(counts, Counts { passed: 1, failed: 2 });
        assert_eq!(heard.into_inner(), "test result: FAILED. 1 passed; 2 failed;\n");
    }

    #[test]
    fn the_exit_code_of_a_step_is_passed_on() {
        let shell = |script: &str| {
            let mut command = Command::new("sh");
            command.args(["-c", script]);
            status(command)
        };
        assert_eq!(shell("exit 0"), ExitCode::SUCCESS);
        assert_eq!(shell("exit 7"), ExitCode::from(7));
        assert_eq!(shell("kill -9 $$"), ExitCode::FAILURE);
    }
}
