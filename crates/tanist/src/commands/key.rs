//! `tanist key`: access keys for AWS clients.
//!
//! Invariant: a secret is printed once, when its key is made, and only to standard output.
//!
//! Not here: what a policy says (`tanist-aws`).

use tanist_link::Client;
use tanist_link::api::{AccessKey, CreateKey, KeyStatus};

use super::encoded;
use crate::cli::KeyCommand;
use crate::failure::Failure;
use crate::output::Output;
use crate::{Done, Outcome};

/// Carries out what is asked.
pub(crate) async fn key(client: &Client, command: KeyCommand, out: &Output) -> Outcome {
    match command {
        KeyCommand::Create { name, policy } => create(client, name, policy, out).await,
        KeyCommand::List => list(client, out).await,
        KeyCommand::Revoke { access_key_id } => {
            client.delete::<()>(&format!("/v1/keys/{}", encoded(&access_key_id))).await?;
            if out.is_json() {
                out.json(&serde_json::json!({ "revoked": access_key_id }))?;
            } else {
                out.line(format!("{access_key_id} revoked"));
            }
            Ok(Done::Well)
        }
    }
}

async fn create(
    client: &Client,
    name: String,
    policy: Option<std::path::PathBuf>,
    out: &Output,
) -> Outcome {
    let policy = policy.map(std::fs::read_to_string).transpose().map_err(|err| {
        let message = format!("the policy cannot be read: {err}");
        Failure::new("T649", message, "name a file with a policy in IAM's language").exit(2)
    })?;
    let key: AccessKey = client.post("/v1/keys", &CreateKey { name, policy }).await?;
    if out.is_json() {
        out.json(&key)?;
    } else {
        out.line(format!("export AWS_ACCESS_KEY_ID={}", key.access_key_id));
        out.line(format!("export AWS_SECRET_ACCESS_KEY={}", key.secret_access_key));
    }
    Ok(Done::Well)
}

async fn list(client: &Client, out: &Output) -> Outcome {
    let keys: Vec<KeyStatus> = client.get("/v1/keys").await?;
    if out.is_json() {
        out.json(&keys)?;
        return Ok(Done::Well);
    }
    let width = keys.iter().map(|key| key.name.chars().count()).max().unwrap_or(0);
    for key in keys {
        let may = if key.policy.is_some() { "by its policy" } else { "everything" };
        out.line(format!("{}  {:<width$}  may do {may}", key.access_key_id, key.name));
    }
    Ok(Done::Well)
}
