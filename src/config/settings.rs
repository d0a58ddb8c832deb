//! The sum of what the rooms of a node are told at start. Each room says itself what it is told; reading and checking
//! is elsewhere.

use std::{path::PathBuf, sync::Arc, time::Duration};

use crate::{actors, cluster, domain::Policy, http, journal, log, stripe};

/// Every setting of a node, room by room.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Sockets and bounds of requests.
    pub http: http::Settings,
    /// Stripe's wire.
    pub stripe: stripe::Settings,
    /// The nodes that share a journal.
    pub cluster: cluster::Settings,
    /// Card actors and their limits.
    pub actors: actors::Settings,
    /// Where decisions are kept.
    pub journal: journal::Settings,
    /// What is said while running.
    pub log: log::Settings,
    /// How long requests are still taken after readiness went off.
    pub drain_delay: Duration,
    /// Where the policy comes from.
    pub policy_source: PolicySource,
    /// Whether a second operator has to approve a policy that comes over the admin API.
    pub policy_needs_approval: bool,
    /// The file of the endpoints of outgoing webhooks, if there is one.
    pub webhooks: Option<PathBuf>,
    /// A policy file that is tried beside it.
    pub shadow_policy: Option<PathBuf>,
}

/// Where the policy comes from.
#[derive(Clone, Debug)]
pub enum PolicySource {
    /// A policy file, read again when it changes.
    File(PathBuf),
    /// The limits that the environment gives.
    Environment(Arc<Policy>),
    /// The newest policy in the journal; until there is one, this.
    Journal(Arc<Policy>),
}
