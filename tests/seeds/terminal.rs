//! The terminal of a reader who has just typed `eval "$(tanist env)"`.
//!
//! What a developer's own terminal holds must neither help a document nor be touched by it: with
//! credentials of a real account in the environment, its lines would create real groups.
//!
//! Invariant: the AWS clients find an endpoint on a loopback address, or none that answers.
//!
//! Not here: the shell itself (`crate::session`).

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};

/// An address on which nobody listens.
const NOWHERE: &str = "http://127.0.0.1:9";

/// What the AWS clients find unless `tanist env` says something else.
const NO_ACCOUNT: [(&str, &str); 5] = [
    ("AWS_ENDPOINT_URL", NOWHERE),
    ("AWS_ACCESS_KEY_ID", "none"),
    ("AWS_SECRET_ACCESS_KEY", "none"),
    ("AWS_EC2_METADATA_DISABLED", "true"),
    ("AWS_PAGER", ""),
];

/// Reads a script that only sets variables: lines of `export NAME='value'`.
///
/// # Errors
/// The line that is something else.
pub(crate) fn exported(script: &str) -> Result<BTreeMap<String, String>, String> {
    let mut variables = BTreeMap::new();
    for line in script.lines().filter(|line| !line.trim().is_empty()) {
        let pair = line.strip_prefix("export ").and_then(|rest| rest.split_once('='));
        let set = pair.and_then(|(name, word)| Some((name, unquoted(word)?)));
        let (name, value) = set.ok_or_else(|| format!("sets no variable: {line}"))?;
        if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            return Err(format!("is no variable's name: {name}"));
        }
        variables.insert(name.to_owned(), value);
    }
    Ok(variables)
}

/// The value of a word as a POSIX shell reads it, if it is quoted as `tanist env` does or plain.
fn unquoted(word: &str) -> Option<String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:,+@%".contains(c);
    if word.chars().all(plain) {
        return Some(word.to_owned());
    }
    let inner = word.strip_prefix('\'')?.strip_suffix('\'')?;
    let parts: Vec<&str> = inner.split(r"'\''").collect();
    (!parts.iter().any(|part| part.contains('\''))).then(|| parts.join("'"))
}

/// Whether an endpoint can be nobody's but this host's.
fn is_loopback(url: &str) -> bool {
    let host = url.split_once("://").map_or(url, |(_, rest)| rest);
    let host = host.split('/').next().unwrap_or_default();
    let host = host.rsplit_once(':').map_or(host, |(host, _)| host);
    let address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// Gives a shell the variables of `tanist env`, and nothing that leads elsewhere.
///
/// # Panics
/// If the AWS clients would talk to something that is not this host.
pub(crate) fn equip(shell: &mut Command, dir: &Path, variables: &BTreeMap<String, String>) {
    let foreign = |name: &str| name.starts_with("AWS_") || name.to_lowercase().ends_with("_proxy");
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(foreign) {
            shell.env_remove(name);
        }
    }
    shell.envs(NO_ACCOUNT).envs([("NO_COLOR", "1"), ("TERM", "dumb"), ("LC_ALL", "C.UTF-8")]);
    shell.env("AWS_CONFIG_FILE", dir.join("aws-config"));
    shell.env("AWS_SHARED_CREDENTIALS_FILE", dir.join("aws-credentials"));
    let endpoints = variables.iter().filter(|(name, _)| name.starts_with("AWS_ENDPOINT_URL"));
    for (name, url) in endpoints {
        assert!(is_loopback(url), "{name} leads away from this host: {url}");
    }
    shell.envs(variables);
}

/// Whether a program can be started.
pub(crate) fn has(program: &str) -> bool {
    let mut look = Command::new("sh");
    look.args(["-c", "command -v -- \"$1\"", "sh", program]).stdout(Stdio::null());
    look.status().is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_env_prints_is_read_as_a_shell_reads_it() {
        let script = "export A='/a b'\n\nexport B='it'\\''s'\nexport C=http://127.0.0.1:4566\n";
        let variables = exported(script).unwrap();
        let pairs: Vec<(&str, &str)> =
            variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(pairs, [("A", "/a b"), ("B", "it's"), ("C", "http://127.0.0.1:4566")]);
    }

    #[test]
    fn a_script_that_does_more_than_set_variables_is_refused() {
        for script in ["rm -r x", "export A=$(id)", "export A='a' b='c'", "export A-B='c'", "A=1"] {
            assert!(exported(script).is_err(), "{script}");
        }
    }

    #[test]
    fn clients_never_talk_to_another_host() {
        for url in ["http://127.80.0.1:4566", "http://localhost:4566/", "http://[::1]:4566"] {
            assert!(is_loopback(url), "{url}");
        }
        for url in ["https://elasticache.us-east-1.amazonaws.com", "http://10.0.0.1:4566", ""] {
            assert!(!is_loopback(url), "{url}");
        }
        let mut shell = Command::new("true");
        equip(&mut shell, Path::new("/nowhere"), &BTreeMap::new());
        let set = |name: &str| {
            let mut all = shell.get_envs();
            all.find(|(key, _)| *key == name).and_then(|(_, value)| value?.to_str())
        };
        assert_eq!(set("AWS_ENDPOINT_URL"), Some(NOWHERE));
        assert_eq!(set("AWS_CONFIG_FILE"), Some("/nowhere/aws-config"));
    }
}
