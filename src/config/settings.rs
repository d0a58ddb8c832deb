//! What the rooms of a node are told at start, as plain values. Reading and checking them is elsewhere.

use std::{fmt, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use crate::domain::Policy;

/// Every setting of a node, room by room.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Sockets and bounds of requests.
    pub http: HttpSettings,
    /// Stripe's wire.
    pub stripe: StripeSettings,
    /// Card actors and their limits.
    pub actors: ActorsSettings,
    /// Where decisions are kept.
    pub journal: JournalSettings,
    /// What is said while running.
    pub log: LogSettings,
    /// How the process ends.
    pub node: NodeSettings,
    /// Where the policy comes from.
    pub policy_source: PolicySource,
}

/// Sockets and bounds of requests.
#[derive(Clone, Debug)]
pub struct HttpSettings {
    /// Where Stripe's webhook is answered. Port 0 lets the system choose.
    pub listen: SocketAddr,
    /// Where health, metrics and the admin API are served.
    pub admin_listen: SocketAddr,
    /// The bearer token of `/v1`; always there where `admin_listen` is not a loopback address.
    pub admin_token: Option<Secret>,
    /// How long after its headers were read a verified request is answered, at the latest.
    pub answer_within: Duration,
    /// Open connections of the webhook's port.
    pub connections_max: usize,
    /// The headers of one request, in bytes.
    pub header_bytes_max: usize,
    /// The body of one request, in bytes.
    pub body_bytes_max: usize,
    /// How long a connection may take to deliver a request's headers, the idle time before them included.
    pub header_read_timeout: Duration,
    /// How long a body may take after its headers.
    pub body_read_timeout: Duration,
}

/// Stripe's wire.
#[derive(Clone, Debug)]
pub struct StripeSettings {
    /// The signing secrets, all tried. None: one is to be made for this run.
    pub webhook_secrets: Vec<Secret>,
    /// The `Stripe-Version` of replies.
    pub api_version: String,
    /// How far a signature's time may be from ours, either way.
    pub signature_tolerance: Duration,
    /// Whether replies carry the decision's id and reason as metadata.
    pub reply_metadata: bool,
}

/// Card actors and their limits.
#[derive(Clone, Debug)]
pub struct ActorsSettings {
    /// Requests inside the node.
    pub in_flight_max: usize,
    /// Requests waiting at one card.
    pub card_queue_max: usize,
    /// How long a card without requests stays in memory.
    pub card_idle_after: Duration,
    /// Cards in memory.
    pub cards_resident_max: usize,
    /// Cards that are read from the journal at the same time.
    pub loads_max: usize,
    /// What is answered without the books.
    pub stand_in: StandIn,
}

/// What is answered where a decision cannot be made, by cause.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StandIn {
    /// More work than fits.
    pub overload: StandInAnswer,
    /// Too late for a decision.
    pub deadline: StandInAnswer,
    /// The journal did not take it.
    pub journal: StandInAnswer,
}

/// One answer without the books.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StandInAnswer {
    /// No.
    Decline,
    /// Yes up to so many minor units of the request's currency, else no.
    ApproveUpTo(i64),
}

/// Where decisions are kept.
#[derive(Clone, Debug)]
pub struct JournalSettings {
    /// Which journal.
    pub location: JournalLocation,
    /// Appends in one commit.
    pub batch_max: usize,
}

/// Which journal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum JournalLocation {
    /// An embedded database in this file.
    Sqlite(PathBuf),
    /// Nothing on disk: for tests and trials.
    Memory,
}

/// What is said while running.
#[derive(Clone, Debug)]
pub struct LogSettings {
    /// A level, or directives such as `info,tollgate::journal=debug`.
    pub filter: String,
    /// How lines look; where it is not said, pretty on a terminal and JSON elsewhere.
    pub format: Option<LogFormat>,
}

/// How log lines look.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogFormat {
    /// For people.
    Pretty,
    /// One JSON object a line.
    Json,
}

/// How the process ends.
#[derive(Clone, Debug)]
pub struct NodeSettings {
    /// How long requests are still taken after readiness went off.
    pub drain_delay: Duration,
}

/// Where the policy comes from.
#[derive(Clone, PartialEq, Debug)]
pub enum PolicySource {
    /// A policy file, read again when it changes.
    File(PathBuf),
    /// The limits that the environment gives, or the default one.
    Environment(Arc<Policy>),
}

/// A value that is never shown: not in logs, not in `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<str>);

impl Secret {
    /// Takes `text` as it is.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// The text, for the one place that needs it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}
