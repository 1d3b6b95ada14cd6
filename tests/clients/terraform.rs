//! Terraform's AWS provider: apply, no drift, scale, import, destroy.
//!
//! The provider itself waits half a minute before it looks at a group that it has created, changed
//! or deleted, so this is slow, however fast Tanist is.
//!
//! Invariant: after every apply a plan has nothing to do; after the end nothing is left.
//!
//! Not here: the provider's own rules.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tanist_lab::{Installation, skip};

use super::{asked_version, with_environment};
use crate::terraform::Exit::{Clean, Done};

/// Where packages and people put providers on a machine without the registry.
const MIRRORS: [&str; 4] = [
    "/opt/tf-plugins",
    "/usr/local/share/terraform/plugins",
    "/usr/share/terraform/plugins",
    "/var/lib/terraform/plugins",
];

/// The provider's place in a mirror.
const PROVIDER: &str = "registry.terraform.io/hashicorp/aws/5.100.0";

#[test]
fn redis_is_applied_scaled_imported_and_destroyed_without_drift() {
    story("redis");
}

#[test]
fn valkey_is_applied_scaled_imported_and_destroyed_without_drift() {
    story("valkey");
}

/// What a run of Terraform should end with.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Exit {
    /// Success.
    Done,
    /// A plan with nothing to do; with `-detailed-exitcode`, changes would be 2.
    Clean,
}

struct Terraform<'a> {
    installation: &'a Installation,
    dir: tempfile::TempDir,
    engine: &'a str,
}

impl<'a> Terraform<'a> {
    /// `None`, and said aloud, where Terraform or the provider is missing.
    fn new(installation: &'a Installation, engine: &'a str) -> Option<Self> {
        if Command::new("terraform").arg("version").output().is_err() {
            skip("terraform is not on PATH");
            return None;
        }
        let Some(mirror) = MIRRORS.into_iter().find(|dir| Path::new(dir).join(PROVIDER).exists())
        else {
            skip("no directory of providers has hashicorp/aws 5.100.0");
            return None;
        };
        let dir = tempfile::tempdir().unwrap_or_else(|err| panic!("a directory: {err}"));
        let write = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).unwrap_or_else(|err| panic!("{}: {err}", path.display()));
        };
        write("main.tf", include_str!("network.tf"));
        write(
            "mirror.tfrc",
            &format!(
                "provider_installation {{\n  filesystem_mirror {{\n    path = \"{mirror}\"\n  }}\n}}\n"
            ),
        );
        Some(Self { installation, dir, engine })
    }

    fn run(&self, args: &[&str]) -> Output {
        let mut command = Command::new("terraform");
        with_environment(&mut command, self.installation);
        let version = asked_version(self.engine);
        command
            .current_dir(self.dir.path())
            .env("TF_CLI_CONFIG_FILE", self.dir.path().join("mirror.tfrc"))
            .env("TF_IN_AUTOMATION", "1")
            .env("CHECKPOINT_DISABLE", "1")
            .env("TF_VAR_engine", self.engine)
            .env("TF_VAR_engine_version", version)
            .args(args);
        command.output().unwrap_or_else(|err| panic!("terraform: {err}"))
    }

    fn with_nodes(&self, words: &[&str], nodes: u8, exit: Exit) -> String {
        let nodes = format!("nodes={nodes}");
        let mut args = words.to_vec();
        args.extend(["-no-color", "-input=false", "-var", &nodes]);
        if exit == Clean {
            args.push("-detailed-exitcode");
        }
        let output = self.run(&args);
        let said = format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        let status = output.status.code();
        assert_eq!(status, Some(0), "{} {words:?}: {said}", self.engine);
        said
    }

    fn output(&self, name: &str) -> serde_json::Value {
        let output = self.run(&["output", "-json", name]);
        serde_json::from_slice(&output.stdout).unwrap_or_else(|err| panic!("{name}: {err}"))
    }
}

fn story(engine: &str) {
    let installation = Installation::start();
    let Some(terraform) = Terraform::new(&installation, engine) else { return };
    let apply = ["apply", "-auto-approve"];
    let initialised = terraform.run(&["init", "-no-color", "-input=false"]);
    assert!(initialised.status.success(), "{}", String::from_utf8_lossy(&initialised.stderr));
    terraform.with_nodes(&apply, 3, Done);
    terraform.with_nodes(&["plan"], 3, Clean);
    let group = installation.available("practice-redis-replication-multi");
    let primary = terraform.output("primary");
    assert_eq!(primary.as_str(), Some(group.primary_endpoint.host.as_str()), "{engine}");

    terraform.with_nodes(&apply, 4, Done);
    terraform.with_nodes(&["plan"], 4, Clean);
    let members = terraform.output("members");
    assert_eq!(members.as_array().map(Vec::len), Some(4), "{members}");
    terraform.with_nodes(&apply, 2, Done);
    terraform.with_nodes(&["plan"], 2, Clean);
    let nodes = installation.shard("practice-redis-replication-multi").nodes;
    assert_eq!(nodes.len(), 2, "{nodes:?}");

    let id = "aws_elasticache_replication_group.multi";
    let forgotten = terraform.run(&["state", "rm", id]);
    assert!(forgotten.status.success(), "{}", String::from_utf8_lossy(&forgotten.stderr));
    let nodes = "nodes=2";
    let imported = terraform.run(&[
        "import",
        "-no-color",
        "-input=false",
        "-var",
        nodes,
        id,
        "practice-redis-replication-multi",
    ]);
    assert!(imported.status.success(), "{}", String::from_utf8_lossy(&imported.stderr));
    // What only the configuration says, such as apply_immediately, is written to the state once.
    terraform.with_nodes(&apply, 2, Done);
    terraform.with_nodes(&["plan"], 2, Clean);

    terraform.with_nodes(&["destroy", "-auto-approve"], 2, Done);
    nothing_is_left(&installation);
}

/// No group, no process, and no network but the default one.
fn nothing_is_left(installation: &Installation) {
    let status = installation.try_status().unwrap_or_else(|| panic!("it does not answer"));
    assert!(status.groups.is_empty(), "{:?}", status.groups);
    let own = installation.own_processes();
    let mut engines = tanist_lab::engines_of(installation.dir());
    engines.retain(|pid| !own.contains(pid));
    assert_eq!(engines, Vec::<u32>::new());
    let aws = |args: &[&str]| {
        let mut command = Command::new(python("aws"));
        with_environment(&mut command, installation);
        let output = command.args(args).output().unwrap_or_else(|err| panic!("aws: {err}"));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    let vpcs = "Vpcs[?!IsDefault].VpcId";
    assert_eq!(aws(&["ec2", "describe-vpcs", "--query", vpcs, "--output", "text"]), "");
    let groups = "CacheSubnetGroups[].CacheSubnetGroupName";
    let left = aws(&[
        "elasticache",
        "describe-cache-subnet-groups",
        "--query",
        groups,
        "--output",
        "text",
    ]);
    assert_eq!(left, "default");
}

/// A command of the tests' own Python, or the one on `PATH`.
fn python(name: &str) -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.venv/bin").join(name);
    if own.exists() { own } else { PathBuf::from(name) }
}
