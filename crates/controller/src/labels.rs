//! Labels of hosts: kept with what was asked about them, and shown.
//!
//! Invariant: a label changes nothing but what is shown.
//!
//! Not here: which labels can be (`tanist_core::model::Labels`).

use tanist_core::model::{HostId, HostSpec};
use tanist_link::api::{ApiError, HostStatus, LabelHost};

use crate::calls::internal_ref;
use crate::error::ControllerError;
use crate::reconciler::Controller;

impl Controller {
    /// Changes the labels of a host.
    pub(crate) async fn label(
        &mut self,
        host: &HostId,
        asked: &LabelHost,
    ) -> Result<Result<HostStatus, ApiError>, ControllerError> {
        let Some(seen) = self.observer.seen.hosts.get(host) else {
            let message = format!("there is no host {host}");
            return Ok(Err(ApiError::new("T470", message, "tanist host list shows them")));
        };
        let known = self.archive.hosts.get(host).map(|held| (*held.body).clone());
        let known = known.unwrap_or_else(|| HostSpec::new(host.clone()));
        let labels = match known.labels.changed(&asked.set, &asked.remove) {
            Ok(labels) => labels,
            Err(err) => {
                let remedy = "tanist host label HOST NAME=VALUE ... sets, NAME- removes";
                return Ok(Err(ApiError::new("T474", err.to_string(), remedy)));
            }
        };
        if labels != known.labels
            && let Err(err) = self.archive.write_host(HostSpec { labels, ..known }, &[]).await
        {
            let refusal = internal_ref(&err);
            self.survive(err)?;
            return Ok(Err(refusal));
        }
        Ok(Ok(self.one_host(host, seen, self.heard_until)))
    }
}
