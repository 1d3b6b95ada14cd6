//! HTTP: requests in, answers out.
//!
//! One address for every service and region: `AWS_ENDPOINT_URL` alone steers clients here, and the
//! signature's scope says the rest. A client hears the truth in its own dialect, also of a request
//! that is too large, too slow or no HTTP at all.
//!
//! Invariant: beyond loopback every request is signed, and connections are encrypted unless a private network
//! was said to do; whatever a client sends, it gets an answer or its connection is ended, and
//! [`Front::serve`] goes on.
//!
//! Not here: operations (the services), keys and policies (`crate::identity`).

mod accept;
mod body;
mod desk;
mod limits;
mod services;
mod socket;

use std::sync::Arc;
use std::time::Duration;

use tanist_link::{Client, Secret};
use tanist_store::AnyStore;
use tanist_telemetry::Series;
use tanist_tls::{Door, DoorError};
use tokio::sync::{Mutex, Semaphore};
use tokio::time::MissedTickBehavior;
use tracing::{info, warn};

use crate::access;
use crate::book::{Book, BookError, Declared};
use crate::groups::Groups;
use crate::identity::{Identity, IdentityError};
use crate::model::{ModelError, Models};
use crate::service::{Context, Settings};
use crate::sigv4::Verifier;
use body::Budget;
use desk::Desk;
use limits::Limits;
use services::Services;

/// How often groups' access lists are compared with their security groups.
const ACCESS_EVERY: Duration = Duration::from_secs(10);

/// What a front door needs.
#[derive(Debug)]
pub struct FrontConfig {
    /// Where keys and records are kept.
    pub store: AnyStore,
    /// The controller's local API.
    pub controller: Client,
    /// The installation's secret, from which the secrets of access keys follow.
    pub secret: Secret,
    /// The store's installation id, from which the account's number follows.
    pub installation: String,
    /// The regions that exist; the first one is that of requests without a scope.
    pub regions: Vec<String>,
    /// The zones that exist, with their regions' names in front, such as `us-east-1a`.
    pub zones: Vec<String>,
    /// Networks that exist from the start, with ids of their owner's choice.
    pub declared: Declared,
    /// What can be set.
    pub settings: Settings,
    /// What was measured.
    pub metrics: Arc<Series>,
    /// Requests without a signature act as the root user.
    pub unsigned: bool,
}

/// Why the front door does not open.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FrontError {
    /// The embedded models are not what this version expects.
    #[error("loading the service models")]
    Models(#[source] &'static ModelError),
    /// The access keys cannot be had.
    #[error("opening the access keys")]
    Identity(#[source] IdentityError),
    /// The records cannot be had, or the declared networks are in conflict with them.
    #[error("opening the records")]
    Book(#[source] BookError),
    /// There is no region to serve.
    #[error("no region is configured")]
    NoRegion,
    /// The door must not be opened.
    #[error(transparent)]
    Door(#[from] DoorError),
}

/// The front door.
#[derive(Debug)]
pub struct Front {
    desk: Arc<Desk>,
}

impl Front {
    /// Opens the access keys and gets everything ready; makes the root key at the first start.
    ///
    /// # Errors
    /// [`FrontError`].
    pub async fn new(config: FrontConfig) -> Result<Self, FrontError> {
        Self::with(config, Limits::DEFAULT, Services::ALL).await
    }

    async fn with(
        config: FrontConfig,
        limits: Limits,
        services: Services,
    ) -> Result<Self, FrontError> {
        let models = Models::load().map_err(FrontError::Models)?;
        if config.regions.is_empty() {
            return Err(FrontError::NoRegion);
        }
        let identity = Identity::open(config.store.clone(), config.secret, &config.installation)
            .await
            .map_err(FrontError::Identity)?;
        let zones: Arc<[String]> = config.zones.into();
        let book = Book::open(config.store, Arc::clone(&zones), &config.declared)
            .await
            .map_err(FrontError::Book)?;
        let context = Context {
            models,
            account: identity.account().into(),
            regions: config.regions.into(),
            zones,
            book,
            groups: Groups::new(config.controller),
            metrics: config.metrics,
            settings: Arc::new(config.settings),
            changing: Arc::new(Mutex::new(())),
            unconfirmed: Default::default(),
        };
        let desk = Desk {
            verifier: Verifier::new(identity.clone()),
            identity,
            context,
            unsigned: config.unsigned,
            bodies: Budget::new(limits.all_bodies_bytes),
            turns: Arc::new(Semaphore::new(limits.operations)),
            limits,
            services,
        };
        Ok(Self { desk: Arc::new(desk) })
    }

    /// The access keys, for the command line.
    #[must_use]
    pub fn identity(&self) -> Identity {
        self.desk.identity.clone()
    }

    /// Serves clients at `door` until the future is dropped; then their connections end too. May be
    /// called for several doors.
    ///
    /// # Errors
    /// [`FrontError`] if the door must not be opened, before anything is accepted.
    pub async fn serve(&self, door: impl Into<Door>) -> Result<(), FrontError> {
        let door = door.into();
        let address = door.checked(!self.desk.unsigned)?;
        info!(%address, account = self.desk.identity.account(), "the AWS endpoint is open");
        if self.desk.unsigned {
            warn!(%address, "signatures are not checked: whoever can reach it is the root user");
        }
        accept::serve(Arc::clone(&self.desk), door).await;
        Ok(())
    }

    /// Keeps the access lists of all groups what their security groups say, until the future is
    /// dropped. A change is told to the groups before its caller is answered; this is for whatever
    /// prevented that, and for groups that were changed by other means.
    pub async fn keep_access(&self) {
        let mut due = tokio::time::interval(ACCESS_EVERY);
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            due.tick().await;
            for region in self.desk.context.regions.iter() {
                if let Err(error) = access::sync(&self.desk.context, region).await {
                    warn!(region, error = &error as &dyn std::error::Error, "comparing access");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
