//! A recorded exchange as a list of steps.
//!
//! A file has a header of comments and then one step a line; connections are letters.
//!
//! ```text
//! connect A sentinel            or primary, replica, endpoint
//! send A BYTES                  as the client has written them at once; \r, \n and \\ are escaped
//! take A = BYTES                the answer is exactly this
//! take A address                address and port of the primary
//! take A map name flags=master  pairs, with these among them; `leads`: ip and port are the primary's
//! take A maps 2 name            so many of them; `replicas`: and one can be read from
//! take A refused                or well, or any: an error, none, either
//! hear A = BYTES                a message; others are skipped
//! hear A switch                 +switch-master, from where the primary was to where it is
//! hear A notice FAILING_OVER
//! fault kill                    or failover, switchover: another node becomes primary
//! closed A                      by the server
//! leave A                       by the client
//! ```
//!
//! Invariant: a line that is not understood ends the test.
//!
//! Not here: what a step does (`super::replay`).

/// Where a client connects to.
#[derive(Debug, Clone, Copy)]
pub(super) enum To {
    /// The Sentinel endpoint.
    Sentinel,
    /// The address that Sentinel gives for the primary.
    Primary,
    /// One that it gives for a replica.
    Replica,
    /// The group's primary endpoint, without asking Sentinel.
    Endpoint,
}

/// A field that a client reads, and what it has to be.
pub(super) type Field = (String, Option<String>);

/// What a client needs to hear.
#[derive(Debug)]
pub(super) enum Answer {
    Exactly(Vec<u8>),
    Any,
    Well,
    Refused,
    Address,
    Map { leads: bool, fields: Vec<Field> },
    Maps { count: usize, replicas: bool, fields: Vec<Field> },
}

/// What comes by itself.
#[derive(Debug)]
pub(super) enum Message {
    Exactly(Vec<u8>),
    Switch,
    Notice(String),
}

#[derive(Debug)]
pub(super) enum Step {
    Connect(To),
    Send(Vec<u8>),
    Take(Answer),
    Hear(Message),
    Fault(String),
    Closed,
    Leave,
}

/// The steps of a file, each with its line and its connection.
pub(super) fn steps(text: &str) -> Vec<(&str, &str, Step)> {
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| step(line).unwrap_or_else(|| panic!("what is {line:?}?"))).collect()
}

fn step(line: &str) -> Option<(&str, &str, Step)> {
    let (verb, rest) = line.split_once(' ')?;
    let (name, rest) = rest.split_once(' ').unwrap_or((rest, ""));
    let step = match verb {
        "connect" => Step::Connect(match rest {
            "sentinel" => To::Sentinel,
            "primary" => To::Primary,
            "replica" => To::Replica,
            "endpoint" => To::Endpoint,
            _ => return None,
        }),
        "send" => Step::Send(bytes(rest)?),
        "take" => Step::Take(answer(rest)?),
        "hear" => Step::Hear(match rest.split_once(' ') {
            Some(("=", raw)) => Message::Exactly(bytes(raw)?),
            Some(("notice", name)) => Message::Notice(name.to_owned()),
            None if rest == "switch" => Message::Switch,
            _ => return None,
        }),
        "fault" => Step::Fault(name.to_owned()),
        "closed" => Step::Closed,
        "leave" => Step::Leave,
        _ => return None,
    };
    Some((line, name, step))
}

fn answer(text: &str) -> Option<Answer> {
    let (kind, rest) = text.split_once(' ').unwrap_or((text, ""));
    Some(match kind {
        "=" => Answer::Exactly(bytes(rest)?),
        "any" => Answer::Any,
        "well" => Answer::Well,
        "refused" => Answer::Refused,
        "address" => Answer::Address,
        "map" => match rest.strip_prefix("leads ") {
            Some(rest) => Answer::Map { leads: true, fields: fields(rest) },
            None => Answer::Map { leads: false, fields: fields(rest) },
        },
        "maps" | "replicas" => {
            let (count, rest) = rest.split_once(' ')?;
            let count = count.parse().ok()?;
            Answer::Maps { count, replicas: kind == "replicas", fields: fields(rest) }
        }
        _ => return None,
    })
}

fn fields(text: &str) -> Vec<Field> {
    let field = |word: &str| match word.split_once('=') {
        Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
        None => (word.to_owned(), None),
    };
    text.split(' ').map(field).collect()
}

fn bytes(text: &str) -> Option<Vec<u8>> {
    let mut all = Vec::new();
    let mut left = text.bytes();
    while let Some(byte) = left.next() {
        all.push(match byte {
            b'\\' => match left.next()? {
                b'r' => b'\r',
                b'n' => b'\n',
                b'\\' => b'\\',
                _ => return None,
            },
            byte => byte,
        });
    }
    Some(all)
}
