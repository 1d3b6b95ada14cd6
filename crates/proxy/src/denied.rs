//! What clients may not do to an engine that Tanist runs.
//!
//! A role, a user, a file or a module of an engine is Tanist's business. The engine's own rules
//! deny the same to the lane's user; the door denies it first, so that the text is the same with
//! every engine and names no user of ours.
//!
//! Invariant: what is denied is answered, never a reason to disconnect.
//!
//! Not here: what the proxy answers itself although it is allowed (`crate::session`).

/// Commands denied as a whole, subcommands included.
const COMMANDS: &[&str] = &[
    "bgrewriteaof",
    "bgsave",
    "config",
    "debug",
    "failover",
    "migrate",
    "module",
    "psync",
    "replconf",
    "replicaof",
    "save",
    "shutdown",
    "slaveof",
    "sync",
];

/// Subcommands of `ACL` that say nothing about other users and change nothing.
const ACL_ALLOWED: &[&str] = &["cat", "dryrun", "genpass", "whoami"];

/// Subcommands of `CLUSTER` that change something.
const CLUSTER: &[&str] = &[
    "addslots",
    "addslotsrange",
    "bumpepoch",
    "delslots",
    "delslotsrange",
    "failover",
    "flushslots",
    "forget",
    "meet",
    "replicate",
    "reset",
    "saveconfig",
    "set-config-epoch",
    "setslot",
];

/// Whether the command of this name (lower case, `container|subcommand`) is denied.
pub(crate) fn is_denied(name: &str) -> bool {
    match name.split_once('|') {
        Some(("acl", sub)) => !ACL_ALLOWED.contains(&sub),
        Some(("cluster", sub)) => CLUSTER.contains(&sub),
        // It stops the engine as DEBUG does.
        Some(("script", sub)) => sub == "debug",
        Some((family, _)) => COMMANDS.contains(&family),
        // A family without a subcommand is an error that the engine words best.
        None => COMMANDS.contains(&name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_denied_name_is_one_that_the_engines_know() {
        let table = tanist_resp::CommandTable::builtin();
        for name in COMMANDS {
            assert!(table.lookup(name.as_bytes()).is_some(), "{name}");
        }
        for (family, subs) in [("acl", ACL_ALLOWED), ("cluster", CLUSTER)] {
            for sub in subs {
                let found = table.lookup_sub(family.as_bytes(), sub.as_bytes());
                assert!(found.is_some(), "{family} {sub}");
            }
        }
    }

    #[test]
    fn roles_files_and_users_are_denied_and_data_is_not() {
        for name in [
            "replicaof",
            "config|set",
            "acl|setuser",
            "module|load",
            "cluster|failover",
            "script|debug",
        ] {
            assert!(is_denied(name), "{name}");
        }
        for name in ["get", "acl|whoami", "cluster|slots", "client|list", "eval", "cluster", "acl"]
        {
            assert!(!is_denied(name), "{name}");
        }
    }
}
