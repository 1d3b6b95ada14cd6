//! Requests that the proxy answers itself.
//!
//! The lane's user is the proxy's, so whatever concerns the client's own identity must not reach
//! the engine; the answers are those of an engine whose default user needs no password.
//!
//! Invariant: nothing here sends anything to an engine.
//!
//! Not here: denied commands (`crate::denied`).

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tanist_resp::{Request, command};

use crate::text;

/// What to do about `HELLO`.
#[derive(Debug)]
pub(crate) enum Hello {
    /// Send this: the request without its credentials.
    Forward(Bytes),
    /// Answer this.
    Refuse(&'static [u8]),
}

/// The answer to `AUTH`; `None` if the engine has the words for what is wrong with it.
pub(crate) fn auth(request: &Request) -> Option<&'static [u8]> {
    match request.argc() {
        2 => Some(text::NO_PASSWORD),
        3 => Some(credentials(request.arg(1))),
        _ => None,
    }
}

/// The default user takes every password, and there is no other.
fn credentials(user: Option<&[u8]>) -> &'static [u8] {
    if user == Some(b"default") { text::OK } else { text::WRONGPASS }
}

/// Takes the credentials out of `HELLO`.
pub(crate) fn hello(request: &Request) -> Hello {
    let mut kept: Vec<&[u8]> = request.args().take(2).collect();
    let mut refused = false;
    let mut options = request.args().skip(2);
    while let Some(option) = options.next() {
        let is_auth = option.eq_ignore_ascii_case(b"auth");
        if is_auth && options.len() >= 2 {
            refused = credentials(options.next()) != text::OK;
            options.next();
        } else if option.eq_ignore_ascii_case(b"setname") && options.len() >= 1 {
            kept.push(option);
            kept.extend(options.next());
        } else {
            // An error of syntax, which comes before any look at the credentials.
            refused = false;
            kept.push(option);
            kept.extend(options.filter(|_| !is_auth));
            break;
        }
    }
    let known = matches!(kept.get(1), Some(&b"2" | &b"3") | None);
    if refused && known {
        return Hello::Refuse(text::WRONGPASS);
    }
    let mut out = BytesMut::with_capacity(request.raw().len());
    command::encode(&mut out, &kept);
    Hello::Forward(out.freeze())
}

/// How long `CLIENT PAUSE` pauses, and whether only writes.
pub(crate) fn pause(request: &Request) -> Result<(Duration, bool), &'static [u8]> {
    let writes_only = match (request.argc(), request.arg(3)) {
        (3, _) => false,
        (4, Some(mode)) if mode.eq_ignore_ascii_case(b"all") => false,
        (4, Some(mode)) if mode.eq_ignore_ascii_case(b"write") => true,
        (4, _) => return Err(text::PAUSE_MODE),
        _ => return Err(text::PAUSE_WORDS),
    };
    let number = request.arg(2).and_then(|text| std::str::from_utf8(text).ok());
    match number.and_then(|text| text.parse::<i64>().ok()) {
        None => Err(text::PAUSE_TIMEOUT),
        Some(millis) => match u64::try_from(millis) {
            // A century is for ever, and can be added to any instant.
            Ok(millis) => Ok((Duration::from_millis(millis.min(3_155_760_000_000)), writes_only)),
            Err(_) => Err(text::PAUSE_NEGATIVE),
        },
    }
}

#[cfg(test)]
mod tests {
    use tanist_resp::Command;

    use super::*;

    fn request(line: &str) -> Request {
        let mut words = line.split(' ');
        Command::new(words.next().unwrap()).args(words).to_request()
    }

    #[test]
    fn auth_is_that_of_an_engine_without_a_password() {
        assert_eq!(auth(&request("AUTH x")), Some(text::NO_PASSWORD));
        assert_eq!(auth(&request("AUTH default anything")), Some(text::OK));
        assert_eq!(auth(&request("AUTH tanist x")), Some(text::WRONGPASS));
        assert_eq!(auth(&request("AUTH a b c")), None);
    }

    #[test]
    fn hello_reaches_the_engine_without_credentials() {
        for (line, sent) in [
            ("HELLO", "HELLO"),
            ("HELLO 3 AUTH default x", "HELLO 3"),
            ("HELLO 3 AUTH default x SETNAME a AUTH default y", "HELLO 3 SETNAME a"),
            ("HELLO 3 SETNAME AUTH", "HELLO 3 SETNAME AUTH"),
            ("HELLO 3 FOO", "HELLO 3 FOO"),
            ("HELLO 3 AUTH tanist", "HELLO 3 AUTH"),
            ("HELLO 4 AUTH tanist x", "HELLO 4"),
        ] {
            let Hello::Forward(raw) = hello(&request(line)) else { panic!("{line}") };
            assert_eq!(raw, request(sent).raw(), "{line}");
        }
        for line in ["HELLO 3 AUTH tanist x", "HELLO 2 SETNAME a AUTH lane-1-p1 x"] {
            assert!(matches!(hello(&request(line)), Hello::Refuse(_)), "{line}");
        }
    }

    #[test]
    fn a_pause_is_read_as_the_engine_does() {
        let all = Duration::from_millis(10);
        assert_eq!(pause(&request("CLIENT PAUSE 10")), Ok((all, false)));
        assert_eq!(pause(&request("CLIENT PAUSE 10 write")), Ok((all, true)));
        assert_eq!(pause(&request("CLIENT PAUSE 10 foo")), Err(text::PAUSE_MODE));
        assert_eq!(pause(&request("CLIENT PAUSE x")), Err(text::PAUSE_TIMEOUT));
        assert_eq!(pause(&request("CLIENT PAUSE -1")), Err(text::PAUSE_NEGATIVE));
        assert_eq!(pause(&request("CLIENT PAUSE 1 2 3")), Err(text::PAUSE_WORDS));
        assert!(pause(&request(&format!("CLIENT PAUSE {}", i64::MAX))).is_ok());
    }
}
