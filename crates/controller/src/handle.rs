//! How others reach a running controller.
//!
//! Not here: what is done with what they send (`super::reconciler`).

use std::sync::Arc;

use tanist_link::api::EventRecord;
use tokio::sync::{broadcast, mpsc, watch};

use crate::admission::Admission;
use crate::inputs::Input;
use crate::leases::Leases;

/// How others reach a running controller.
#[derive(Debug, Clone)]
pub struct Handle {
    pub(crate) inbox: mpsc::Sender<Input>,
    pub(crate) events: broadcast::Sender<EventRecord>,
    pub(crate) admission: Option<Arc<dyn Admission>>,
    pub(crate) leases: Leases,
    pub(crate) ending: watch::Receiver<bool>,
}

impl Handle {
    /// Becomes true when everything is asked to end, before anything is told so.
    pub fn ending(&self) -> watch::Receiver<bool> {
        self.ending.clone()
    }
}
