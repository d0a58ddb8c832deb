//! What operators see of the endpoints of outgoing webhooks, as the node that is asked has it. Delivering is elsewhere.

use std::sync::{Mutex, PoisonError};

use schemars::JsonSchema;
use serde::Serialize;

use super::reply::Rfc3339;
use crate::{
    domain::Timestamp,
    metrics::{Endpoint, Metrics},
};

/// The endpoints of a node.
#[derive(Default)]
pub struct EndpointsHere(Mutex<Vec<EndpointStatus>>);

/// The endpoints of outgoing webhooks.
#[derive(Serialize, JsonSchema, Clone, Debug, Default)]
pub(super) struct EndpointsBody {
    /// In the order of the file.
    pub(super) endpoints: Vec<EndpointStatus>,
}

/// An endpoint, and how deliveries to it go on this node since it started.
#[derive(Serialize, JsonSchema, Clone, Debug)]
pub struct EndpointStatus {
    /// Its name in the file.
    pub name: String,
    /// The host of its URL. The rest may be a secret.
    pub host: String,
    /// `json` or `slack`.
    pub format: &'static str,
    /// `starting`, `up`, `failing`, or `elsewhere`: another node of the cluster delivers to it.
    #[schemars(with = "String")]
    pub state: EndpointState,
    /// Events that it took.
    pub delivered: u64,
    /// Attempts that failed.
    pub failed: u64,
    /// Events that it did not take within three days.
    pub given_up: u64,
    /// Events that were read from the journal and not taken yet, at most a few hundred.
    pub waiting: usize,
    /// When the oldest of them happened.
    pub oldest: Option<Rfc3339>,
    /// Why the last failed attempt failed.
    pub last_failure: Option<String>,
}

/// How deliveries to an endpoint go.
#[derive(Serialize, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "snake_case")]
pub enum EndpointState {
    /// The node has just started to look after it.
    Starting,
    /// It takes events, or there are none.
    Up,
    /// The last attempts failed.
    Failing,
    /// Another node of the cluster delivers to it.
    Elsewhere,
}

impl EndpointsHere {
    /// From now on there are these.
    pub fn keep(&self, statuses: impl Iterator<Item = EndpointStatus>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = statuses.collect();
    }

    /// Changes what is shown of one.
    pub fn update(&self, name: &str, change: impl FnOnce(&mut EndpointStatus)) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(status) = all.iter_mut().find(|status| status.name == name) {
            change(status);
        }
    }

    /// Counts them for the metrics.
    pub fn count(&self, metrics: &Metrics, now: Timestamp) {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (state, label) in [(EndpointState::Up, Endpoint::Up), (EndpointState::Failing, Endpoint::Failing)]
        {
            let count = all.iter().filter(|status| status.state == state).count();
            metrics.outgoing.endpoints.get(label).set(f64::from(u32::try_from(count).unwrap_or(u32::MAX)));
        }
        let oldest = all.iter().filter_map(|status| status.oldest).map(|Rfc3339(at)| at).min();
        metrics.outgoing.oldest.set(oldest.map_or(0.0, |oldest| now.since(oldest).as_secs_f64()));
    }

    /// All of them.
    pub(super) fn body(&self) -> EndpointsBody {
        EndpointsBody { endpoints: self.0.lock().unwrap_or_else(PoisonError::into_inner).clone() }
    }
}
