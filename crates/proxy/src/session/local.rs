//! Requests that the proxy answers itself.
//!
//! The lane's user is the proxy's, so a client's credentials must not reach the engine.
//!
//! Invariant: nothing here sends anything to an engine.
//!
//! Not here: denied commands (`crate::denied`), who the client is (`super::login`).

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tanist_resp::{Request, command};

use crate::text;

/// `HELLO` without its credentials, for the engine, whose words are best for everything else.
pub(crate) fn hello(request: &Request) -> Bytes {
    let mut kept: Vec<&[u8]> = request.args().take(2).collect();
    let mut options = request.args().skip(2);
    while let Some(option) = options.next() {
        let is_auth = option.eq_ignore_ascii_case(b"auth");
        if is_auth && options.len() >= 2 {
            options.nth(1);
        } else if option.eq_ignore_ascii_case(b"setname") && options.len() >= 1 {
            kept.push(option);
            kept.extend(options.next());
        } else {
            kept.push(option);
            kept.extend(options.filter(|_| !is_auth));
            break;
        }
    }
    let mut out = BytesMut::with_capacity(request.raw().len());
    command::encode(&mut out, &kept);
    out.freeze()
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
            assert_eq!(hello(&request(line)), request(sent).raw(), "{line}");
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
