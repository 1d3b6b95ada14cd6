//! `tanist ca`: the certificate that clients have to trust, and certificates for clients.
//!
//! It works on the files, whether or not the installation runs.
//!
//! Invariant: a key is written to a file of mode 0600, never printed; no file is written over.
//!
//! Not here: the endpoints' certificates, which the controller makes.

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use tanist_tls::{Authority, CERTIFICATE, KEY, TlsError, write_private};

use crate::cli::{CaCommand, IssueArgs};
use crate::failure::Failure;
use crate::layout::Layout;
use crate::output::{Output, Paint};
use crate::{Done, Outcome, bundle};

/// Longest name of a client.
const LONGEST: usize = 64;

/// Shows the authority, or makes a client's certificate.
pub(crate) fn ca(layout: &Layout, command: Option<CaCommand>, out: &Output) -> Outcome {
    let authority = load(layout)?;
    match command {
        None => show(layout, &authority, out),
        Some(CaCommand::Issue(args)) => issue(&authority, args, out),
    }
}

/// The authority of an installation.
pub(crate) fn load(layout: &Layout) -> Result<Authority, Failure> {
    let dir = layout.tls();
    Authority::load(&dir).map_err(|err| {
        let remedy = match &err {
            TlsError::Absent(_) => "tanist dev makes it when it starts".to_owned(),
            _ => format!(
                "put {CERTIFICATE} and {KEY} back from a copy; or remove {} and start tanist dev \
                 again: it makes a new authority, which every client has to be told to trust",
                dir.display()
            ),
        };
        Failure::caused("T670", &err, remedy)
    })
}

fn show(layout: &Layout, authority: &Authority, out: &Output) -> Outcome {
    let certificate = layout.tls().join(CERTIFICATE);
    let bundle = bundle::write(layout, authority)?;
    let (at, all) = (certificate.display(), bundle.display());
    if out.is_json() {
        out.json(&serde_json::json!({
            "certificate": certificate,
            "sha256": authority.fingerprint(),
            "bundle": bundle,
        }))?;
        return Ok(Done::Well);
    }
    out.line(format!("certificate  {at}"));
    out.line(format!("SHA-256      {}", with_colons(&authority.fingerprint())));
    out.line(format!("bundle       {all}  (whom this system trusts, and it)"));
    out.line("");
    for (who, how) in [
        ("this terminal", "eval \"$(tanist env)\"".to_owned()),
        ("redis-cli", format!("redis-cli --tls --cacert {at} -h ENDPOINT")),
        ("redis-py", format!("redis.Redis(host=ENDPOINT, ssl=True, ssl_ca_certs=\"{at}\")")),
        ("node", format!("NODE_EXTRA_CA_CERTS={at} node app.js")),
        (
            "Java",
            format!(
                "keytool -importcert -noprompt -alias tanist -file {at} -storetype PKCS12 \
                 -keystore truststore.p12 -storepass PASSWORD"
            ),
        ),
        (
            "Debian",
            format!(
                "cp {at} /usr/local/share/ca-certificates/tanist.crt && update-ca-certificates"
            ),
        ),
    ] {
        out.line(format!("{}  {how}", out.paint(Paint::Bold, &format!("{who:<13}"))));
    }
    Ok(Done::Well)
}

fn issue(authority: &Authority, args: IssueArgs, out: &Output) -> Outcome {
    let IssueArgs { name, out: dir, days } = args;
    let is_name = (1..=LONGEST).contains(&name.len())
        && name.starts_with(|first: char| first.is_ascii_alphanumeric())
        && name.chars().all(|char| char.is_ascii_alphanumeric() || "-_.".contains(char));
    if !is_name {
        let message = format!("{name:?} cannot be a client's name");
        let remedy = "use letters, digits, hyphens and dots, at most 64";
        return Err(Failure::new("T671", message, remedy).exit(2));
    }
    let certificate = dir.join(format!("{name}.pem"));
    let key = dir.join(format!("{name}.key"));
    if let Some(there) = [&certificate, &key].into_iter().find(|path| path.exists()) {
        let message = format!("{} exists already", there.display());
        return Err(Failure::new("T671", message, "remove it, or name another --out").exit(2));
    }
    let failed = |err: TlsError| Failure::caused("T671", &err, "name a directory that is yours");
    let issued = authority.client(&name, days, SystemTime::now()).map_err(failed)?;
    make_dir(&dir)?;
    write_private(&key, &issued.key).map_err(failed)?;
    write_private(&certificate, &issued.chain).map_err(failed)?;
    let trusted = dir.join(CERTIFICATE);
    write_private(&trusted, authority.pem()).map_err(failed)?;
    let ends_ms = issued.ends.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    if out.is_json() {
        out.json(&serde_json::json!({
            "certificate": certificate,
            "key": key,
            "authority": trusted,
            "sha256": issued.fingerprint,
            "ends_ms": u64::try_from(ends_ms).unwrap_or(u64::MAX),
        }))?;
    } else {
        out.line(format!("certificate  {}  ({days} days)", certificate.display()));
        out.line(format!("key          {}", key.display()));
        out.line(format!("trust        {}", trusted.display()));
        out.line(format!(
            "try          redis-cli --tls --cacert {} --cert {} --key {} -h ENDPOINT",
            trusted.display(),
            certificate.display(),
            key.display()
        ));
    }
    Ok(Done::Well)
}

fn make_dir(dir: &Path) -> Result<(), Failure> {
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.map_err(|err| {
        let message = format!("{} cannot be made: {err}", dir.display());
        Failure::new("T671", message, "name a directory that is yours: --out DIR")
    })
}

/// As other programs print it.
fn with_colons(hex: &str) -> String {
    let upper = hex.to_ascii_uppercase();
    let pairs: Vec<&str> =
        (0..upper.len()).step_by(2).filter_map(|at| upper.get(at..at + 2)).collect();
    pairs.join(":")
}

/// Where the authority's certificate is, if there is one that can be used.
pub(crate) fn known(layout: &Layout) -> Option<(Authority, PathBuf)> {
    let authority = Authority::load(&layout.tls()).ok()?;
    Some((authority, layout.tls().join(CERTIFICATE)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_shown_as_openssl_does() {
        assert_eq!(with_colons("00ff3a"), "00:FF:3A");
    }
}
