//! `tanist token`: how clients of a group are its default user.
//!
//! Invariant: a token is read from a file or the standard input, or made here and printed once; only
//! its hash leaves this process.
//!
//! Not here: what a proxy makes of it (`tanist-proxy`).

use std::io::Read;
use std::path::Path;

use tanist_core::model::accounts::token_fault;
use tanist_link::api::{GroupStatus, ModifyGroup, TokenChange};
use tanist_link::{Client, hash_of};

use super::encoded;
use crate::cli::{SecretArgs, TokenCommand};
use crate::failure::Failure;
use crate::output::Output;
use crate::{Done, Outcome};

/// Most bytes of a file with secrets.
const MOST: u64 = 4096;
/// Bytes of chance in a secret that is made.
const CHANCE: usize = 24;

/// Carries out what is asked.
pub(crate) async fn token(client: &Client, command: TokenCommand, out: &Output) -> Outcome {
    let (group, change, made) = match command {
        TokenCommand::Set { group, secret } => {
            let (token, made) = given(&secret, out)?;
            (group, TokenChange::Set(hash_of(token.as_bytes())), made.then_some(token))
        }
        TokenCommand::Rotate { group, secret } => {
            let (token, made) = given(&secret, out)?;
            (group, TokenChange::Rotate(hash_of(token.as_bytes())), made.then_some(token))
        }
        TokenCommand::Finish { group } => (group, TokenChange::Finish, None),
        TokenCommand::Remove { group } => (group, TokenChange::Remove, None),
    };
    let asked = ModifyGroup { token: Some(change), ..ModifyGroup::default() };
    let status: GroupStatus =
        client.post(&format!("/v1/groups/{}/modify", encoded(&group)), &asked).await?;
    if let Some(token) = made {
        out.line(format!("token     {token}    (it is not shown again)"));
    }
    if out.is_json() {
        out.json(&serde_json::json!({ "group": group, "tokens": status.login.tokens }))?;
        return Ok(Done::Well);
    }
    out.line(match status.login.tokens {
        0 => format!("{group}: no token, everybody is the default user"),
        1 => format!("{group}: one token"),
        more => format!(
            "{group}: {more} tokens; when every client has the new one: tanist token finish {group}"
        ),
    });
    Ok(Done::Well)
}

/// The token that is given, or one that is made now (true).
fn given(from: &SecretArgs, out: &Output) -> Result<(String, bool), Failure> {
    let lines = match (&from.file, from.stdin) {
        (Some(path), _) => lines_of_file(path)?,
        (None, true) => lines_of(std::io::stdin().lock(), "the standard input")?,
        (None, false) => return make(out).map(|token| (token, true)),
    };
    let [token] = lines.as_slice() else {
        let message = format!("{} lines were given, a token is one", lines.len());
        return Err(Failure::new("T670", message, "give one line").exit(2));
    };
    if let Some(fault) = token_fault(token) {
        let message = format!("this cannot be a token: {fault}");
        let remedy = "leave --file and --stdin out to have one made";
        return Err(Failure::new("T670", message, remedy).exit(2));
    }
    Ok((token.clone(), false))
}

/// The lines of a file with secrets.
pub(super) fn lines_of_file(path: &Path) -> Result<Vec<String>, Failure> {
    let name = path.display().to_string();
    let file = std::fs::File::open(path).map_err(|err| {
        let message = format!("{name} cannot be read: {err}");
        Failure::new("T670", message, "name a file that holds it").exit(2)
    })?;
    lines_of(file, &name)
}

/// The lines of a source of secrets.
pub(super) fn lines_of(source: impl Read, name: &str) -> Result<Vec<String>, Failure> {
    let mut text = String::new();
    let bad = |why: String| Failure::new("T670", why, "give it as one line of ASCII").exit(2);
    let read = source.take(MOST + 1).read_to_string(&mut text);
    read.map_err(|err| bad(format!("{name} cannot be read: {err}")))?;
    if text.len() as u64 > MOST {
        return Err(bad(format!("{name} has more than {MOST} bytes")));
    }
    Ok(text.lines().map(str::to_owned).collect())
}

/// A secret of letters and digits. It is for people to copy: programs bring their own.
pub(super) fn make(out: &Output) -> Result<String, Failure> {
    if out.is_json() {
        let message = "a secret that is made here is not for -o json, which programs keep";
        return Err(Failure::new("T671", message, "give one in a file or on stdin").exit(2));
    }
    let mut chance = [0; CHANCE];
    std::fs::File::open("/dev/urandom")
        .and_then(|mut random| random.read_exact(&mut chance))
        .map_err(|err| Failure::caused("T672", &err, "raise the limit on descriptors"))?;
    Ok(chance.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_lines_of_a_bounded_text() {
        assert_eq!(lines_of(&b"one\ntwo\n"[..], "x").unwrap(), ["one", "two"]);
        assert_eq!(lines_of(&b"one\r\n"[..], "x").unwrap(), ["one"]);
        assert!(lines_of(&vec![b'a'; 5000][..], "x").is_err());
        assert!(lines_of(&b"\xff\n"[..], "x").is_err());
    }
}
