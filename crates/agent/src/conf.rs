//! The engine's configuration file.
//!
//! Invariant: an engine that reads it is a replica of nobody, read-only and closed to everyone but
//! its agent; no password is in it, only a hash.
//!
//! Not here: users and roles that are given later, by orders (`crate::acl`, `crate::node`).

use std::net::SocketAddr;

use tanist_link::wire::ADMIN_USER;

/// Announced as the replica's address until an attachment gives a name.
pub(crate) const UNATTACHED: &str = "unattached";

/// What differs from node to node.
#[derive(Debug)]
pub(crate) struct Conf<'a> {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// Where it points before it is given a role; nobody listens there.
    pub(crate) fence: SocketAddr,
    /// `maxmemory`, in bytes.
    pub(crate) memory_bytes: u64,
    /// SHA-256 of the agent's password.
    pub(crate) admin_hash: &'a str,
}

/// Nobody can be this user: it is off and has no password. It must have every permission all the
/// same, because engines load their append-only file as this user, and check it at every EXEC: a
/// user without permissions would silently lose every transaction and every script's writes.
const DEFAULT_USER: &str = "user default off sanitize-payload ~* &* +@all";

/// The same for every node. Each line is understood by Redis 7.0 and Valkey 8.0 and later.
const COMMON: &str = "\
protected-mode no
tcp-keepalive 60
daemonize no
logfile \"\"

# It never listens to anybody who can reach its port: users decide.
enable-debug-command no
enable-module-command no
enable-protected-configs no
sanitize-dump-payload yes

# A frozen node has to answer INFO, and must never take a write that was not replicated to it.
replica-serve-stale-data yes
replica-read-only yes

# Kept for ever: a primary whose backlog expires changes its history, and every replica would need a
# full copy after the next failover.
repl-backlog-ttl 0
repl-diskless-sync yes
repl-diskless-sync-delay 0
# A replica keeps its old data until the new copy has arrived completely.
repl-diskless-load disabled

dir data
appendonly yes
appendfsync everysec
aof-use-rdb-preamble yes
save \"\"

maxmemory-policy volatile-lru
client-output-buffer-limit replica 256mb 128mb 60
# A reply may be as large as the largest value (512 MB); a connection that leaves more than that
# unread, or much for a minute (MONITOR, tracking), would take the data's memory.
client-output-buffer-limit normal 1gb 256mb 60
";

/// Smallest and largest backlog of what replicas were sent, in bytes.
const BACKLOG: (u64, u64) = (1 << 20, 64 << 20);

/// How much of what replicas were sent is kept for those that come back, in bytes. An engine counts it
/// as memory that is used: where little is allowed, a large backlog would leave nothing for data.
pub(crate) fn backlog(memory_bytes: u64) -> u64 {
    (memory_bytes / 8).clamp(BACKLOG.0, BACKLOG.1)
}

/// The text of the file.
pub(crate) fn render(conf: &Conf<'_>) -> String {
    let Conf { address, fence, memory_bytes, admin_hash } = conf;
    format!(
        "# Written by Tanist at every start; changes are lost.\n\
         bind {ip}\n\
         port {port}\n\
         replicaof {fence_ip} {fence_port}\n\
         replica-announce-ip \"{UNATTACHED}\"\n\
         maxmemory {memory_bytes}\n\
         repl-backlog-size {backlog}\n\
         {DEFAULT_USER}\n\
         user {ADMIN_USER} on #{admin_hash} ~* &* +@all\n\
         \n{COMMON}",
        backlog = backlog(*memory_bytes),
        ip = address.ip(),
        port = address.port(),
        fence_ip = fence.ip(),
        fence_port = fence.port(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_begins_with_what_differs_and_holds_a_hash_only() {
        let address = "127.0.0.9:6379".parse().unwrap();
        let fence = "127.0.0.9:4000".parse().unwrap();
        let admin_hash = "0f".repeat(32);
        let conf = Conf { address, fence, memory_bytes: 1 << 30, admin_hash: &admin_hash };
        let text = render(&conf);
        for line in [
            "bind 127.0.0.9",
            "port 6379",
            "replicaof 127.0.0.9 4000",
            "maxmemory 1073741824",
            "repl-backlog-size 67108864",
            "user default off sanitize-payload ~* &* +@all",
            &format!("user tanist on #{admin_hash} ~* &* +@all"),
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        assert_eq!(backlog(64 << 20), 8 << 20, "a small group's backlog leaves room for data");
        assert!(!text.contains("nopass") && !text.contains(" >"), "{text}");
    }
}
