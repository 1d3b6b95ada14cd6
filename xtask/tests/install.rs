//! `scripts/install.sh` on machines that are not this one.
//!
//! Each test makes a machine out of a directory: a PATH with only the commands that it names, an
//! os-release, apt sources. The package tools are small scripts that write down what they were told;
//! everything else (sed, awk, find) is real.
//!
//! Invariant: nothing outside of the test's own directory is changed, and nothing is downloaded.
//! Not here: whether Debian has the packages; a run of the script on a fresh machine shows that.

#![allow(clippy::unwrap_used, reason = "a test that cannot set its scene has failed")]

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const BOOKWORM: &str = "ID=debian\nVERSION_ID=\"12\"\nVERSION_CODENAME=bookworm\n";

const BASE: [&str; 19] = [
    "awk", "cat", "chmod", "cmp", "comm", "cp", "dirname", "env", "find", "grep", "head", "mktemp",
    "rm", "sed", "sh", "sort", "tee", "touch", "tr",
];

/// Installs what it is told as empty commands, and enables a unit as Debian's packages do.
const APT_GET: &str = r#"
echo "apt-get $*" >>"$ROOT/log"
[ "$1" = install ] || exit 0
[ -x "$ROOT/policy-rc.d" ] && "$ROOT/policy-rc.d" || echo "policy $?" >>"$ROOT/log"
ln -s /lib/redis-server.service "$ROOT/units/multi-user.target.wants/redis-server.service"
ln -s /lib/redis-server.service "$ROOT/units/redis.service"
exit "${APT_FAILS:-0}"
"#;

const APT_CACHE: &str = r#"
case "$2" in
valkey-server) [ -e "$ROOT/apt/sources.list.d/tanist-backports.sources" ] || { echo "  Candidate: (none)"; exit; } ;;
esac
echo "  Candidate: 1.0"
"#;

struct Machine {
    root: PathBuf,
}

impl Machine {
    /// A Debian 12 with Rust, apt and a C compiler, and one service that was enabled before.
    fn new(name: &str) -> Self {
        let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("install-{name}"));
        let _absent = fs::remove_dir_all(&root);
        for dir in [
            "bin",
            "scripts",
            "tests/clients",
            "apt/sources.list.d",
            "units/multi-user.target.wants",
        ] {
            fs::create_dir_all(root.join(dir)).unwrap();
        }
        let machine = Self { root };
        let repository = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let clients = ["tests/clients/package.json", "tests/clients/package-lock.json"];
        for file in ["scripts/install.sh", "tests/requirements.txt"].iter().chain(&clients) {
            fs::copy(repository.join(file), machine.root.join(file)).unwrap();
        }
        machine.write("os-release", BOOKWORM);
        let enabled = machine.root.join("units/multi-user.target.wants/old.service");
        symlink("/lib/old.service", enabled).unwrap();
        for tool in BASE.iter().chain(&["ln"]) {
            let found = ["/usr/bin", "/bin"].iter().map(|dir| Path::new(dir).join(tool));
            let real = found.into_iter().find(|path| path.exists()).unwrap();
            symlink(real, machine.root.join("bin").join(tool)).unwrap();
        }
        for command in ["cargo", "cc"] {
            machine.command(command, "");
        }
        machine.command("id", "echo ${FAKE_UID:-0}");
        machine.command("apt-get", APT_GET);
        machine.command("apt-cache", APT_CACHE);
        machine.command("systemctl", r#"echo "systemctl $*" >>"$ROOT/log""#);
        machine
    }

    fn write(&self, path: &str, text: &str) {
        fs::write(self.root.join(path), text).unwrap();
    }

    fn command(&self, name: &str, script: &str) {
        let path = self.root.join("bin").join(name);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn without(self, command: &str) -> Self {
        fs::remove_file(self.root.join("bin").join(command)).unwrap();
        self
    }

    fn with_venv(self) -> Self {
        fs::create_dir_all(self.root.join(".venv/bin")).unwrap();
        symlink("/bin/true", self.root.join(".venv/bin/python")).unwrap();
        fs::copy(
            self.root.join("tests/requirements.txt"),
            self.root.join(".venv/requirements.txt"),
        )
        .unwrap();
        self
    }

    fn run(&self, purpose: &str, environment: &[(&str, &str)]) -> Output {
        Command::new("/bin/sh")
            .arg(self.root.join("scripts/install.sh"))
            .arg(purpose)
            .env_clear()
            .env("PATH", self.root.join("bin"))
            .env("ROOT", &self.root)
            .env("OS_RELEASE", self.root.join("os-release"))
            .env("APT_SOURCES", self.root.join("apt"))
            .env("POLICY_RC_D", self.root.join("policy-rc.d"))
            .env("SYSTEMD_UNITS", self.root.join("units"))
            .envs(environment.iter().copied())
            .output()
            .unwrap()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.root.join("log")).unwrap_or_default()
    }

    /// The script named `missing`, changed nothing, and ended with 2.
    fn refuses(&self, environment: &[(&str, &str)], missing: &str) {
        let output = self.run("demo", environment);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(&format!("missing: {missing}")), "{said}");
        assert_eq!(self.log(), "");
    }
}

#[test]
fn nothing_to_do_is_one_line_and_needs_neither_root_nor_apt() {
    let machine = Machine::new("nothing").without("apt-get").with_venv();
    for command in ["redis-server", "valkey-server", "etcd", "nft", "ip", "keepalived", "haproxy"] {
        machine.command(command, "");
    }
    for purpose in ["demo", "test"] {
        let output = machine.run(purpose, &[("FAKE_UID", "1000")]);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(0));
        assert!(said.starts_with("install.sh: nothing to do"), "{said}");
        assert_eq!((said.lines().count(), output.stderr.len()), (1, 0));
    }
    assert_eq!(machine.log(), "");
}

/// Puts a directory where npm would, and writes down what it was told.
const NPM: &str = r#"echo "npm $1 $2 $3" >>"$ROOT/log"; mkdir -p "$3/node_modules""#;

#[test]
fn clients_for_node_are_installed_once_where_there_is_a_node_that_runs_them() {
    for (name, version, expected) in
        [("node", "v20.20.2", "npm ci --prefix tests/clients\n"), ("old-node", "v18.20.4", "")]
    {
        let machine = Machine::new(name).with_venv();
        for command in
            ["redis-server", "valkey-server", "etcd", "nft", "ip", "keepalived", "haproxy"]
        {
            machine.command(command, "");
        }
        symlink("/bin/mkdir", machine.root.join("bin/mkdir")).unwrap();
        machine.command("node", &format!("echo {version}"));
        machine.command("npm", NPM);
        let runs = [machine.run("test", &[]), machine.run("test", &[])];
        assert!(runs.iter().all(|output| output.status.success()), "{runs:?}");
        assert_eq!(machine.log(), expected);
        let said = String::from_utf8_lossy(&runs[1].stdout).into_owned();
        assert!(said.starts_with("install.sh: nothing to do"), "{said}");
        assert_eq!(said.contains("tests with its clients are skipped"), expected.is_empty());
    }
}

#[test]
fn a_machine_that_cannot_be_helped_is_told_what_it_lacks() {
    Machine::new("no-rust").without("cargo").refuses(&[], "Rust");
    Machine::new("no-apt").without("apt-get").refuses(&[], "redis-server");
    Machine::new("no-sudo").refuses(&[("FAKE_UID", "1000")], "redis-server");
    let fedora = Machine::new("fedora");
    fedora.write("os-release", "ID=fedora\nVERSION_ID=40\n");
    fedora.refuses(&[], "redis-server");
    let old = Machine::new("old-debian");
    old.write("os-release", "ID=debian\nVERSION_ID=\"11\"\n");
    old.without("cc").refuses(&[], "gcc libc6-dev redis-server");
}

#[test]
fn an_unknown_purpose_is_refused() {
    assert_eq!(Machine::new("purpose").run("all", &[]).status.code(), Some(2));
}

#[test]
fn an_installation_starts_nothing_and_leaves_nothing_enabled() {
    let machine = Machine::new("install");
    let output = machine.run("demo", &[]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(said.contains("redis-server: the engine that Tanist supervises"), "{said}");
    assert_eq!(
        machine.log(),
        "apt-get update -q\n\
         apt-get install -y -q --no-install-recommends redis-server\n\
         policy 101\n\
         systemctl disable --now redis-server.service\n"
    );
    assert!(!machine.root.join("policy-rc.d").exists());
}

#[test]
fn a_machine_without_systemd_keeps_no_enabled_unit_for_later() {
    let machine = Machine::new("no-systemd").without("systemctl");
    machine.command("update-rc.d", r#"echo "update-rc.d $*" >>"$ROOT/log""#);
    assert_eq!(machine.run("demo", &[]).status.code(), Some(0));
    assert!(machine.log().ends_with("update-rc.d redis-server disable\n"), "{}", machine.log());
    let units = fs::read_dir(machine.root.join("units/multi-user.target.wants")).unwrap();
    let names: Vec<_> = units.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["old.service"]);
}

#[test]
fn a_failed_installation_is_cleaned_up_too() {
    let machine = Machine::new("fails");
    let output = machine.run("demo", &[("APT_FAILS", "100")]);
    assert_eq!(output.status.code(), Some(1));
    assert!(machine.log().ends_with("systemctl disable --now redis-server.service\n"));
    assert!(!machine.root.join("policy-rc.d").exists());
}

#[test]
fn a_policy_of_the_machines_own_stays() {
    let machine = Machine::new("policy");
    machine.write("policy-rc.d", "#!/bin/sh\nexit 104\n");
    let mode = fs::Permissions::from_mode(0o755);
    fs::set_permissions(machine.root.join("policy-rc.d"), mode).unwrap();
    assert_eq!(machine.run("demo", &[]).status.code(), Some(0));
    assert!(machine.log().contains("policy 104\n"));
    assert!(machine.root.join("policy-rc.d").exists());
}

#[test]
fn a_user_who_is_not_root_installs_with_sudo() {
    let machine = Machine::new("sudo");
    machine.command("sudo", r#"echo "sudo $1" >>"$ROOT/log"; exec "$@""#);
    let output = machine.run("demo", &[("FAKE_UID", "1000")]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(machine.log().starts_with("sudo apt-get\napt-get update"), "{}", machine.log());
    assert!(!machine.root.join("policy-rc.d").exists());
}

/// What the script writes as source for backports on a machine with these sources.
fn backports(name: &str, file: &str, sources: &str) -> String {
    let machine = Machine::new(name).with_venv();
    for command in ["redis-server", "etcd", "nft", "ip", "keepalived", "haproxy"] {
        machine.command(command, "");
    }
    machine.write(&format!("apt/{file}"), sources);
    let output = machine.run("test", &[]);
    let written = machine.root.join("apt/sources.list.d/tanist-backports.sources");
    let Ok(text) = fs::read_to_string(written) else {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains("missing: valkey-server"), "{said}");
        return String::new();
    };
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    text.lines().skip(1).map(|line| format!("{line}\n")).collect()
}

#[test]
fn backports_come_from_the_mirror_of_the_machine_itself() {
    let expected = |signed: &str| {
        format!(
            "Types: deb\nURIs: http://mirror.test/debian\nSuites: bookworm-backports\n\
             Components: main\n{signed}"
        )
    };
    let stanzas = "Types: deb\nURIs: http://security.test/debian\nSuites: bookworm-security\n\
         Components: main\n\n# the archive\nTypes: deb\nURIs: http://mirror.test/debian\n\
         Suites: bookworm bookworm-updates\nComponents: main contrib\nSigned-By: /keys/a.gpg\n";
    let text = backports("deb822", "sources.list.d/debian.sources", stanzas);
    assert_eq!(text, expected("Signed-By: /keys/a.gpg\n"));

    let inline = stanzas.replace(" /keys/a.gpg", "\n -----BEGIN KEY-----\n .\n abc");
    let text = backports("deb822-key", "sources.list.d/debian.sources", &inline);
    assert_eq!(text, expected("Signed-By:\n -----BEGIN KEY-----\n .\n abc\n"));

    let lines = "# deb http://old.test/debian bookworm main\n\
         deb-src http://src.test/debian bookworm main\n\
         deb http://security.test/debian bookworm-security main\n\
         deb [arch=amd64 signed-by=/keys/a.gpg] http://mirror.test/debian bookworm main contrib\n";
    let text = backports("one-line", "sources.list", lines);
    assert_eq!(text, expected("Signed-By: /keys/a.gpg\n"));

    let plain = "deb http://mirror.test/debian bookworm main\n";
    assert_eq!(backports("plain", "sources.list.d/a.list", plain), expected(""));
}

#[test]
fn without_a_source_for_the_release_there_are_no_backports() {
    let disabled = "Enabled: no\nTypes: deb\nURIs: http://mirror.test/debian\nSuites: bookworm\n\
         Components: main\n";
    assert_eq!(backports("disabled", "sources.list.d/debian.sources", disabled), "");
    let other = "deb http://mirror.test/debian trixie main\n";
    assert_eq!(backports("other", "sources.list", other), "");
}
