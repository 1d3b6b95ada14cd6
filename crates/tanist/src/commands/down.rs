//! `tanist down`: the orderly end of everything.
//!
//! Invariant: when it returns well, no process of the installation is left and every engine has
//! written what it had.
//!
//! Not here: deleting data, which nothing but `tanist delete` does.

use std::time::Duration;

use tanist_link::{Client, LinkError};

use crate::failure::Failure;
use crate::layout::Layout;
use crate::output::Output;
use crate::{Done, Outcome, dev, spawn};

/// How long a role may take to end by itself.
const GRACE: Duration = Duration::from_secs(2);
/// How long the last processes may take to end once everything was told to.
const PATIENCE: Duration = Duration::from_secs(30);

/// Ends everything.
pub(crate) async fn down(layout: &Layout, output: &Output) -> Outcome {
    if !layout.root().exists() {
        let message = format!("there is no installation in {}", layout.root().display());
        return Err(Failure::new("T601", message, "name it: --data-dir DIR").exit(4));
    }
    let roles: Vec<u32> =
        ["supervise", "proxy"].iter().filter_map(|role| spawn::holder(layout, role)).collect();
    output.line("stopping engines and endpoints; data is kept");
    let client = Client::new(layout.controller_socket());
    match client.post::<_, ()>("/v1/down", &()).await {
        Ok(()) => {}
        // Nobody leads: lead just long enough to stop what is left.
        Err(LinkError::Connect { .. }) => dev::start_and_stop(layout).await?,
        Err(err) => return Err(err.into()),
    }
    let left = roles.into_iter().chain(spawn::holder(layout, "supervise"));
    for pid in left {
        if tokio::time::timeout(GRACE, spawn::ended(pid)).await.is_ok() {
            continue;
        }
        // It never heard that it should end: nobody leads it, or it hangs.
        spawn::terminate(pid);
        if tokio::time::timeout(PATIENCE, spawn::ended(pid)).await.is_err() {
            let message = format!("process {pid} does not end");
            return Err(Failure::new("T641", message, format!("see its log, then: kill {pid}")));
        }
    }
    output.line("everything has ended");
    Ok(Done::Well)
}
