//! Which program a proxy becomes, and what it is given.
//!
//! Invariant: a program that does not say that it can take over is never become.
//!
//! Not here: what clients notice (`super`).

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::process::Signal;
use tanist_lab::signal;

use super::{Line, address, renew, renew_and_end};
use crate::{runtime, web};

/// The program that a process is.
fn program_of(pid: u32) -> PathBuf {
    let link = format!("/proc/{pid}/exe");
    std::fs::read_link(&link).unwrap_or_else(|err| panic!("{link}: {err}"))
}

fn write_script(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap_or_else(|err| panic!("{}: {err}", path.display()));
    let all = std::fs::Permissions::from_mode(0o700);
    std::fs::set_permissions(path, all).unwrap_or_else(|err| panic!("{}: {err}", path.display()));
}

#[test]
fn a_broken_program_is_refused_and_clients_go_on() {
    let installation = web("redis", &[]);
    let script = installation.dir().join("hangs-up");
    // It says what it should, and is no program any more when it is to be become.
    write_script(&script, "#!/bin/sh\nrm \"$0\"\necho \"takes over $3\"\n");
    let runtime = runtime();
    runtime.block_on(async {
        let mut line = Line::open(address(&installation)).await;
        let id = line.call("CLIENT ID").await;
        assert_eq!(line.call("WATCH a").await, "+OK");
        let broken = ["/bin/false", "/bin/true", "/no/such/program", &script.display().to_string()];
        for program in broken {
            let ran = installation.tanist(&["renew", "--program", program]);
            assert_eq!(ran.code, 1, "{ran:?}");
            assert!(
                ran.out.contains("goes on as it was: ") && ran.out.contains(program),
                "{ran:?}"
            );
            assert_eq!(line.call("CLIENT ID").await, id);
        }
        let mut other = Line::open(address(&installation)).await;
        assert_eq!(other.call("SET a 1").await, "+OK", "new clients are served");
        assert_eq!(line.call("MULTI").await, "+OK");
        assert_eq!(line.call("PING").await, "+QUEUED");
        assert_eq!(line.call("EXEC").await, "*-1", "what was watched still is");
    });
    let events = installation.tanist(&["events"]).ok();
    assert_eq!(events.matches("ProxyNotRenewed").count(), 4, "{events}");
}

#[test]
fn nothing_is_inherited_but_standard_input() {
    let installation = web("redis", &[]);
    let (script, seen) = (installation.dir().join("looks"), installation.dir().join("seen"));
    let real = program_of(installation.role("proxy"));
    // Itself the program that is tried out and become; what it was given is what a program that has
    // nothing to do with all this would be given. (10 and 255 are the shell's own.)
    let text = format!(
        "#!/bin/bash\necho \"= $2\" >> {seen}\nfor fd in /proc/$$/fd/*; do \
         echo \"${{fd##*/}} $(readlink $fd)\" >> {seen}; done\nexec {real} \"$@\"\n",
        seen = seen.display(),
        real = real.display()
    );
    write_script(&script, &text);
    runtime().block_on(async {
        let mut line = Line::open(address(&installation)).await;
        assert_eq!(line.call("SET a secret-of-a-client").await, "+OK");
        line.send(&["BLPOP q 0".to_owned()]).await;
        assert!(line.is_silent().await);
        let ran = installation.tanist(&["renew", "--program", &script.display().to_string()]);
        assert!(ran.out.contains("1 connections kept"), "{ran:?}");
        let mut other = Line::open(address(&installation)).await;
        assert_eq!(other.call("RPUSH q e").await, ":1");
        assert_eq!(line.text().await, "*2 $1 q $1 e");
    });
    let seen = std::fs::read_to_string(&seen).unwrap_or_else(|err| panic!("{err}"));
    let (trial, taking) = seen.split_once("= --inherits").unwrap_or_else(|| panic!("{seen}"));
    let sockets = |text: &str| text.lines().filter(|line| line.contains("socket:")).count();
    assert_eq!((sockets(trial), sockets(taking)), (0, 1), "{seen}");
    assert!(taking.lines().any(|line| line.starts_with("0 socket:")), "{seen}");
    assert!(!seen.contains("memfd") && !seen.contains("proxy.lock"), "{seen}");
    let proxy = installation.role("proxy");
    let proc = |name: &str| std::fs::read(format!("/proc/{proxy}/{name}")).unwrap_or_default();
    let said = [proc("cmdline"), proc("environ")].concat();
    assert!(!String::from_utf8_lossy(&said).contains("secret-of-a-client"));
    let input = std::fs::read_link(format!("/proc/{proxy}/fd/0"));
    assert_eq!(input.unwrap_or_default(), Path::new("/dev/null"), "it is taken and gone");
}

#[test]
fn a_program_that_loses_what_it_was_given_serves_whoever_dials_again() {
    let installation = web("redis", &[]);
    let (address, proxy) = (address(&installation), installation.role("proxy"));
    let script = installation.dir().join("loses");
    let real = program_of(proxy);
    let text = format!("#!/bin/sh\nexec {} \"$@\" < /dev/null\n", real.display());
    write_script(&script, &text);
    runtime().block_on(async {
        let mut line = Line::open(address).await;
        assert_eq!(line.call("SET a 1").await, "+OK");
        // It says nothing about what it has kept: that is nothing.
        let mut renewing =
            installation.begin(&["renew", "--program", &script.display().to_string()]);
        assert_eq!(line.next().await, None);
        installation.wait("it serves", |_| std::net::TcpStream::connect(address).ok());
        let mut other = Line::open(address).await;
        assert_eq!(other.call("GET a").await, "$1 1");
        let _ = renewing.kill();
        let _ = renewing.wait();
    });
    assert_eq!(installation.role("proxy"), proxy);
    renew(&installation);
}

#[test]
fn descriptors_do_not_pile_up() {
    let installation = web("redis", &[]);
    let proxy = installation.role("proxy");
    let count = || std::fs::read_dir(format!("/proc/{proxy}/fd")).map_or(0, Iterator::count);
    renew(&installation);
    let before = count();
    for _ in 0..4 {
        renew(&installation);
    }
    // What is opened when somebody needs it, or is just being closed.
    assert!(count() <= before + 3, "{before} became {}", count());
}

#[test]
fn who_does_not_end_a_large_request_is_not_waited_for_and_who_does_is() {
    const LARGE: usize = 4 << 20;
    let installation = web("redis", &[]);
    let (address, runtime) = (address(&installation), runtime());
    let half = vec![b'x'; LARGE / 2];
    let begin = async |key: &str| {
        let mut line = Line::open(address).await;
        let head = format!("*3\r\n$3\r\nSET\r\n$4\r\n{key}\r\n${LARGE}\r\n");
        line.send_raw(head.as_bytes()).await;
        line.send_raw(&half).await;
        line
    };
    let (mut slow, mut quick) =
        runtime.block_on(async { (begin("slow").await, begin("fast").await) });
    std::thread::scope(|scope| {
        let renewal = scope.spawn(|| renew_and_end(&installation, 1));
        runtime.block_on(async {
            quick.send_raw(&half).await;
            quick.send_raw(b"\r\n").await;
            assert_eq!(quick.text().await, "+OK");
        });
        assert_eq!(renewal.join().unwrap_or(0), 1, "the quick one is kept");
    });
    runtime.block_on(async {
        assert_eq!(slow.next().await, None, "the slow one learns it by its connection's end");
        assert_eq!(quick.call("STRLEN fast").await, format!(":{LARGE}"));
        assert_eq!(quick.call("EXISTS slow").await, ":0", "half a request does nothing");
    });
}

#[test]
fn without_a_controller_a_signal_is_enough_and_clients_are_served_at_once() {
    let mut installation = web("redis", &[]);
    let (address, proxy) = (address(&installation), installation.role("proxy"));
    installation.kill_dev();
    runtime().block_on(async {
        let mut line = Line::open(address).await;
        let id = line.call("CLIENT ID").await;
        signal(proxy, Signal::USR2);
        let log = installation.dir().join("proxy.log");
        installation.wait("it has become the next image", |_| {
            let log = std::fs::read_to_string(&log).unwrap_or_default();
            log.contains("upgraded: the clients of the image before go on").then_some(())
        });
        assert_eq!(line.call("CLIENT ID").await, id);
        assert_eq!(line.call("SET a 1").await, "+OK");
        let mut other = Line::open(address).await;
        assert_eq!(other.call("GET a").await, "$1 1", "who comes now is served as well");
    });
    installation.dev();
    assert_eq!(installation.role("proxy"), proxy, "dev finds it as it was");
}

#[test]
fn a_replaced_binary_is_what_everything_runs_after_dev_was_started_again() {
    let mut installation = web("redis", &[]);
    let proxy = installation.role("proxy");
    let address = address(&installation);
    runtime().block_on(async {
        let mut line = Line::open(address).await;
        let id = line.call("CLIENT ID").await;
        // The proxy becomes a copy, as if an earlier release had been installed elsewhere.
        let copy = installation.dir().join("tanist");
        std::fs::copy(program_of(proxy), &copy).unwrap_or_else(|err| panic!("{err}"));
        installation.tanist(&["renew", "--program", &copy.display().to_string()]).ok();
        assert_eq!(program_of(proxy), copy);
        installation.kill_dev();
        installation.dev();
        installation.wait("it is what dev is", |_| (program_of(proxy) != copy).then_some(()));
        assert_eq!(line.call("CLIENT ID").await, id);
    });
    installation.wait("it says so", |installation| {
        let events = installation.tanist(&["events"]).ok();
        (events.matches("ProxyRenewed").count() >= 2).then_some(())
    });
}
