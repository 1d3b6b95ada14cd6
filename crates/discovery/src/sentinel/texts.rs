//! What clients are told in words: the engine's where it has them, ours where it does what we do not.
//!
//! Invariant: an engine's text is its own to the letter, because clients compare it.
//!
//! Not here: unknown commands and wrong counts of arguments (`super::known`).

/// The version that clients adapt to: whose behaviour this is.
pub(super) const VERSION: &str = "7.0.15";

pub(super) const SYNTAX: &str = "ERR syntax error";
pub(super) const NO_AUTH: &str = "NOAUTH Authentication required.";
pub(super) const HELLO_NO_AUTH: &str = "NOAUTH HELLO must be called with the client already \
     authenticated, otherwise the HELLO AUTH <user> <pass> option can be used to authenticate the \
     client and select the RESP protocol version at the same time";
pub(super) const NO_PASSWORD: &str = "ERR AUTH <password> called without any password configured \
     for the default user. Are you sure your configuration is correct?";
pub(super) const WRONG_PASS: &str = "WRONGPASS invalid username-password pair or user is disabled.";
pub(super) const BAD_NAME: &str =
    "ERR Client names cannot contain spaces, newlines or special characters.";
pub(super) const NOT_AN_INTEGER: &str = "ERR value is not an integer or out of range";
pub(super) const NO_SUCH: &str = "ERR No such master with that name";
pub(super) const IN_PROGRESS: &str = "INPROG Failover already in progress";
pub(super) const NO_GOOD: &str = "NOGOODSLAVE No suitable replica to promote";
pub(super) const CONFIG: &str =
    "ERR Only SENTINEL CONFIG GET <option> / SET <option> <value> are supported.";
pub(super) const TOO_MANY_SUBSCRIPTIONS: &str = "ERR too many subscriptions";
pub(super) const NO_QUORUM: &str = "NOQUORUM 0 usable Sentinels. Not enough available Sentinels to \
     reach the specified quorum for this master. Not enough available Sentinels to reach the \
     majority and authorize a failover";

/// A subscriber's other requests, in RESP2.
pub(super) fn not_for_subscribers(name: &str) -> String {
    format!(
        "ERR Can't execute '{name}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET \
         are allowed in this context"
    )
}

/// Enough Sentinels are there.
pub(super) fn quorum(usable: usize) -> String {
    format!("OK {usable} usable Sentinels. Quorum and failover authorization can be reached")
}

/// An option of HELLO that there is not, or that lacks its value.
pub(super) fn hello_option(option: &[u8]) -> Vec<u8> {
    [b"ERR Syntax error in HELLO option '".as_slice(), option, b"'"].concat()
}

/// An attribute of CLIENT SETINFO that there is not.
pub(super) fn client_option(option: &[u8]) -> Vec<u8> {
    [b"ERR Unrecognized option '".as_slice(), option, b"'"].concat()
}

/// What Sentinel can do and Tanist does by other means.
pub(super) fn elsewhere(name: &str) -> &'static str {
    match name {
        "sentinel|monitor" => {
            "ERR groups are not added through Sentinel: a group is here from its creation on (tanist \
             create GROUP)"
        }
        "sentinel|remove" => {
            "ERR groups are not removed through Sentinel: a group is here until it is deleted (tanist \
             delete GROUP)"
        }
        "sentinel|set" => {
            "ERR groups are not changed through Sentinel; replicas and memory: tanist scale GROUP"
        }
        "sentinel|flushconfig" => {
            "ERR there is no Sentinel configuration to write: what is asked and decided is in the \
             store (tanist status)"
        }
        "sentinel|simulate-failure" => {
            "ERR failures are not simulated here; break a group under load: tanist drill GROUP --kill"
        }
        "sentinel|debug" => {
            "ERR there are no times to tune: Tanist's own limits are fixed (tanist history GROUP \
             shows what failovers took)"
        }
        _ => {
            "ERR the Sentinel endpoint is configured in the file of tanist dev --config, section \
             [sentinel]"
        }
    }
}

/// SENTINEL HELP: what is answered, and where to turn for the rest.
pub(super) const HELP: [&str; 33] = [
    "SENTINEL <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "CKQUORUM <master-name>",
    "    Check that the controller answers, so that it can carry out a failover.",
    "CONFIG GET <param>",
    "    Get global Sentinel configuration parameter.",
    "GET-MASTER-ADDR-BY-NAME <master-name>",
    "    Return the ip and port number of the master with that name.",
    "FAILOVER <master-name>",
    "    Manually failover a master node.",
    "INFO-CACHE <master-name>",
    "    Return what is known of the master and all its replicas, as INFO prints it.",
    "IS-MASTER-DOWN-BY-ADDR <ip> <port> <current-epoch> <runid>",
    "    Check if the master specified by ip:port is down from current Sentinel's",
    "    point of view.",
    "MASTER <master-name>",
    "    Show the state and info of the specified master.",
    "MASTERS",
    "    Show a list of monitored masters and their state.",
    "MYID",
    "    Return the ID of the Sentinel instance.",
    "PENDING-SCRIPTS",
    "    Get pending scripts information.",
    "REPLICAS <master-name>",
    "    Show a list of replicas for this master and their state.",
    "RESET <pattern>",
    "    Have clients look again at masters for specific master name matching this pattern.",
    "SENTINELS <master-name>",
    "    Show a list of Sentinel instances for this master and their state.",
    "SET, MONITOR, REMOVE, CONFIG SET, FLUSHCONFIG, SIMULATE-FAILURE, DEBUG",
    "    Refused: groups are made and changed with tanist create, scale and delete.",
    "HELP",
    "    Prints this help.",
    "Groups are masters under their names. See docs/sentinel.md.",
];
