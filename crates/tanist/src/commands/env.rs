//! `tanist env`: what another terminal needs to talk to this installation.
//!
//! Invariant: its output is a shell script that only sets variables.
//!
//! Not here: other keys than the root one (`super::key`).

use tanist_link::Client;
use tanist_link::api::AwsEndpoint;

use super::ca;
use crate::bundle;
use crate::layout::Layout;
use crate::output::Output;
use crate::{Done, Outcome};

/// Prints the variables. What AWS clients need is known only while the installation runs.
pub(crate) async fn env(client: &Client, layout: &Layout, output: &Output) -> Outcome {
    let dir = layout.root().to_string_lossy().into_owned();
    let mut variables = vec![("TANIST_DATA_DIR", dir)];
    match client.get::<AwsEndpoint>("/v1/aws").await {
        Ok(aws) => variables.extend([
            ("AWS_ENDPOINT_URL", aws.endpoint),
            ("AWS_DEFAULT_REGION", aws.region.clone()),
            ("AWS_REGION", aws.region),
            ("AWS_ACCESS_KEY_ID", aws.root.access_key_id),
            ("AWS_SECRET_ACCESS_KEY", aws.root.secret_access_key),
        ]),
        Err(err) => {
            tracing::debug!(err = &err as &dyn std::error::Error, "asking for the endpoint")
        }
    }
    let known = variables.len() > 1;
    if let Some((authority, certificate)) = ca::known(layout) {
        let bundle = bundle::write(layout, &authority)?;
        variables.extend([
            (bundle::VARIABLE, bundle.to_string_lossy().into_owned()),
            // Beside those that it brings along.
            ("NODE_EXTRA_CA_CERTS", certificate.to_string_lossy().into_owned()),
        ]);
    }
    if output.is_json() {
        let all: serde_json::Map<String, serde_json::Value> =
            variables.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
        output.json(&all)?;
        return Ok(Done::Well);
    }
    for (name, value) in variables {
        output.line(format!("export {name}={}", quoted(&value)));
    }
    if !known {
        output.line("# it does not run: what AWS clients need is known while tanist dev runs");
    }
    Ok(Done::Well)
}

/// A word that a POSIX shell takes as it is.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_with_quotes_stays_one_word() {
        assert_eq!(quoted("/a b/it's"), r"'/a b/it'\''s'");
    }
}
