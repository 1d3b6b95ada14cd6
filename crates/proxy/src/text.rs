//! The errors and answers that the proxy gives itself, in the engine's own words where it has any.
//!
//! Libraries match these texts, so each is byte for byte what Redis 7.0.15 sends.
//!
//! Invariant: every text is one whole reply, valid in RESP2 and RESP3.
//!
//! Not here: when they are given (`crate::session`).

use bytes::Bytes;
use tanist_core::model::Epoch;

pub(crate) const OK: &[u8] = b"+OK\r\n";
pub(crate) const QUEUED: &[u8] = b"+QUEUED\r\n";
pub(crate) const RESET: &[u8] = b"+RESET\r\n";
pub(crate) const WHOAMI: &[u8] = b"$7\r\ndefault\r\n";
/// WAIT whose connection is gone: nobody is known to have confirmed anything.
pub(crate) const NO_COPIES: &[u8] = b":0\r\n";
/// WAITAOF in the same case.
pub(crate) const NO_COPIES_AOF: &[u8] = b"*2\r\n:0\r\n:0\r\n";
pub(crate) const TRYAGAIN: &[u8] = b"-TRYAGAIN primary unavailable, request not executed\r\n";
/// No node that a reader endpoint leads to could be asked.
pub(crate) const TRYAGAIN_READER: &[u8] =
    b"-TRYAGAIN no replica can be read from, request not executed\r\n";
/// A read whose answer could not be proven to be acknowledged.
pub(crate) const UNPROVEN_READ: &[u8] =
    b"-TRYAGAIN the group's reads are strict and this one could not be proven in time\r\n";
pub(crate) const NO_PASSWORD: &[u8] = b"-ERR AUTH <password> called without any password \
configured for the default user. Are you sure your configuration is correct?\r\n";
pub(crate) const WRONGPASS: &[u8] =
    b"-WRONGPASS invalid username-password pair or user is disabled.\r\n";
pub(crate) const NOAUTH: &[u8] = b"-NOAUTH Authentication required.\r\n";
pub(crate) const HELLO_NOAUTH: &[u8] = b"-NOAUTH HELLO must be called with the client already \
authenticated, otherwise the HELLO <proto> AUTH <user> <pass> option can be used to authenticate the \
client and select the RESP protocol version at the same time\r\n";
/// The same from Redis 7.0.
pub(crate) const HELLO_NOAUTH_OLDER: &[u8] = b"-NOAUTH HELLO must be called with the client already \
authenticated, otherwise the HELLO AUTH <user> <pass> option can be used to authenticate the client \
and select the RESP protocol version at the same time\r\n";
pub(crate) const EXECABORT_NOAUTH: &[u8] =
    b"-EXECABORT Transaction discarded because of: NOAUTH Authentication required.\r\n";
pub(crate) const NOPROTO: &[u8] = b"-NOPROTO unsupported protocol version\r\n";
pub(crate) const PROTO_NUMBER: &[u8] =
    b"-ERR Protocol version is not an integer or out of range\r\n";
pub(crate) const CLIENT_NAME: &[u8] =
    b"-ERR Client names cannot contain spaces, newlines or special characters.\r\n";
pub(crate) const SYNTAX: &[u8] = b"-ERR syntax error\r\n";
pub(crate) const AUTH_ARGUMENTS: &[u8] = b"-ERR wrong number of arguments for 'auth' command\r\n";
/// An engine would let the rest of the transaction run as somebody else.
pub(crate) const AUTH_IN_MULTI: &[u8] =
    b"-ERR AUTH as another user is not possible within MULTI\r\n";
pub(crate) const READONLY: &[u8] = b"-READONLY You can't write against a read only replica.\r\n";
pub(crate) const NOREPLICAS: &[u8] = b"-NOREPLICAS Not enough good replicas to write.\r\n";
pub(crate) const EXECABORT: &[u8] =
    b"-EXECABORT Transaction discarded because of previous errors.\r\n";
pub(crate) const EXECABORT_CHANGED: &[u8] =
    b"-EXECABORT Transaction discarded because the primary changed\r\n";
pub(crate) const EXECABORT_NOREPLICAS: &[u8] = b"-EXECABORT Transaction discarded because of: \
NOREPLICAS Not enough good replicas to write.\r\n";
pub(crate) const MAX_CLIENTS: &[u8] = b"-ERR max number of clients reached\r\n";
/// To a plain client where connections are encrypted. The engine has no words for it: it closes.
pub(crate) const TLS_REQUIRED: &[u8] =
    b"-ERR this endpoint takes encrypted connections only: connect with TLS\r\n";
pub(crate) const PAUSE_TIMEOUT: &[u8] = b"-ERR timeout is not an integer or out of range\r\n";
pub(crate) const PAUSE_NEGATIVE: &[u8] = b"-ERR timeout is negative\r\n";
pub(crate) const PAUSE_MODE: &[u8] = b"-ERR CLIENT PAUSE mode must be WRITE or ALL\r\n";
pub(crate) const PAUSE_WORDS: &[u8] =
    b"-ERR unknown subcommand or wrong number of arguments for 'PAUSE'. Try CLIENT HELP.\r\n";
/// Everything that a client has cached is void.
pub(crate) const INVALIDATE_ALL: &[u8] = b">2\r\n$10\r\ninvalidate\r\n_\r\n";
/// The channel on which RESP2 clients hear of invalidations.
pub(crate) const INVALIDATE_CHANNEL: &[u8] = b"__redis__:invalidate";
/// [`INVALIDATE_ALL`] on that channel.
pub(crate) const INVALIDATE_ALL_RESP2: &[u8] =
    b"*3\r\n$7\r\nmessage\r\n$20\r\n__redis__:invalidate\r\n*-1\r\n";

/// An error in the engine's words; what a client wrote itself cannot end it early.
pub(crate) fn error(words: &str) -> Bytes {
    format!("-ERR {}\r\n", words.replace(['\r', '\n'], " ")).into()
}

/// The refusal of a command by permission.
pub(crate) fn noperm(command: &str) -> Bytes {
    format!("-NOPERM this user has no permissions to run the '{command}' command\r\n").into()
}

/// The refusal of a command by permission, as the engine words it for a user.
pub(crate) fn noperm_of(command: &str, user: &str, names_users: bool) -> Bytes {
    if !names_users {
        return noperm(command);
    }
    format!("-NOPERM User {user} has no permissions to run the '{command}' command\r\n").into()
}

/// An option of HELLO that there is not.
pub(crate) fn hello_option(option: &[u8]) -> Bytes {
    let shown = option.iter().take(128).map(|byte| match byte {
        b'\r' | b'\n' => b' ',
        byte => *byte,
    });
    let (before, after) = (b"-ERR Syntax error in HELLO option '".iter(), b"'\r\n".iter());
    before.copied().chain(shown).chain(after.copied()).collect()
}

/// The outcome of a write is not known; `to` is the epoch after, if it is known.
pub(crate) fn uncertain(from: Epoch, to: Option<Epoch>) -> Bytes {
    match to {
        Some(to) => format!("-UNCERTAIN write outcome unknown (epoch {from}->{to}), not retried"),
        None => format!("-UNCERTAIN write outcome unknown (epoch {from}->?), not retried"),
    }
    .into_bytes()
    .into_iter()
    .chain(*b"\r\n")
    .collect()
}

#[cfg(test)]
mod tests {
    use tanist_resp::ReplyFramer;

    use super::*;

    #[test]
    fn every_text_is_one_whole_reply() {
        for text in [
            OK,
            QUEUED,
            RESET,
            WHOAMI,
            NO_COPIES,
            NO_COPIES_AOF,
            TRYAGAIN,
            TRYAGAIN_READER,
            UNPROVEN_READ,
            NO_PASSWORD,
            WRONGPASS,
            NOAUTH,
            HELLO_NOAUTH,
            HELLO_NOAUTH_OLDER,
            EXECABORT_NOAUTH,
            NOPROTO,
            PROTO_NUMBER,
            CLIENT_NAME,
            SYNTAX,
            AUTH_ARGUMENTS,
            AUTH_IN_MULTI,
            READONLY,
            NOREPLICAS,
            EXECABORT,
            EXECABORT_CHANGED,
            EXECABORT_NOREPLICAS,
            MAX_CLIENTS,
            PAUSE_TIMEOUT,
            PAUSE_NEGATIVE,
            PAUSE_MODE,
            PAUSE_WORDS,
            INVALIDATE_ALL,
            INVALIDATE_ALL_RESP2,
        ] {
            let mut input = bytes::BytesMut::from(text);
            assert!(ReplyFramer::default().next(&mut input).unwrap().is_some());
            assert!(input.is_empty(), "{}", text.escape_ascii());
        }
    }

    #[test]
    fn an_uncertain_answer_names_both_epochs() {
        let known = uncertain(Epoch(41), Some(Epoch(42)));
        assert_eq!(known, "-UNCERTAIN write outcome unknown (epoch 41->42), not retried\r\n");
        let unknown = uncertain(Epoch(41), None);
        assert_eq!(unknown, "-UNCERTAIN write outcome unknown (epoch 41->?), not retried\r\n");
    }
}
