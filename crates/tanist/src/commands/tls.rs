//! `tanist tls`: whether a group's connections are encrypted, and whether clients show certificates.
//!
//! Invariant: when it says so, every proxy obeys it.
//!
//! Not here: the certificates themselves (`super::ca`).

use tanist_core::model::TransitMode;
use tanist_link::Client;
use tanist_link::api::{GroupStatus, ModifyGroup};

use super::{encoded, group_status};
use crate::cli::TlsArgs;
use crate::output::Output;
use crate::{Done, Outcome};

/// Changes it, or shows it if nothing is to be changed.
pub(crate) async fn tls(client: &Client, args: TlsArgs, out: &Output) -> Outcome {
    let asked = ModifyGroup {
        transit_mode: args.mode.map(Into::into),
        client_certificates: args.client_certificates.map(Into::into),
        ..ModifyGroup::default()
    };
    let group: GroupStatus = if asked == ModifyGroup::default() {
        group_status(client, &args.group).await?
    } else {
        client.post(&format!("/v1/groups/{}/modify", encoded(&args.group)), &asked).await?
    };
    if out.is_json() {
        out.json(&group)?;
        return Ok(Done::Well);
    }
    let transit = group.transit;
    out.line(format!(
        "{}  TLS {}, client certificates {}",
        group.name, transit.mode, transit.clients
    ));
    if let Some(shown) = &group.certificate {
        out.line(format!("shows  {}", shown.fingerprint));
        if shown.owners {
            out.line("       the owner's certificate; its names are its owner's");
        }
        shown.names.iter().for_each(|name| out.line(format!("       {name}")));
    }
    if transit.mode == TransitMode::Preferred {
        let name = &group.name;
        out.line(format!("once every client uses it:  tanist tls {name} --mode required"));
    }
    Ok(Done::Well)
}
