//! `tanist renew`: the proxies become this program, and their clients notice nothing.
//!
//! Invariant: what it says was kept is what the proxies themselves have counted.
//!
//! Not here: how a proxy does that (`tanist-proxy`).

use std::path::PathBuf;

use tanist_link::Client;
use tanist_link::api::{ProxyRenewals, RenewProxies};

use crate::failure::Failure;
use crate::output::{Output, Paint};
use crate::{Done, Outcome};

/// Asks for it and says what came of it.
pub(crate) async fn renew(client: &Client, program: Option<PathBuf>, out: &Output) -> Outcome {
    let found = match program {
        Some(program) => std::path::absolute(program),
        None => std::env::current_exe(),
    };
    let program = found
        .map_err(|err| Failure::caused("T628", &err, "name it: tanist renew --program PATH"))?;
    let found: ProxyRenewals = client.post("/v1/proxies/renew", &RenewProxies { program }).await?;
    if out.is_json() {
        out.json(&found)?;
    }
    let mut done = Done::Well;
    for one in &found.proxies {
        let line = match (&one.renewed, &one.reason) {
            (Some(renewed), _) => format!(
                "{}: {} connections kept, {} ended, took {} ms",
                one.proxy, renewed.kept, renewed.ended, renewed.millis
            ),
            (None, reason) => {
                done = Done::Failed;
                let reason = reason.as_deref().unwrap_or("it does not say why");
                let text = format!("{}: goes on as it was: {reason}", one.proxy);
                out.paint(Paint::Warn, &text)
            }
        };
        if !out.is_json() {
            out.line(line);
        }
    }
    if found.proxies.is_empty() {
        let remedy = "tanist dev starts one; tanist doctor says why there is none";
        return Err(Failure::new("T629", "no proxy is connected".to_owned(), remedy));
    }
    Ok(done)
}
