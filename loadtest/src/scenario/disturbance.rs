//! What is done to nodes in a scenario. How that is done is elsewhere.

use serde::{Deserialize, Serialize};

/// Something that is done to a node that the load test has started.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Disturbance {
    /// When, as a share of the whole duration.
    pub at: f64,
    /// How the node ends.
    #[serde(rename = "do")]
    pub act: Act,
    /// Which node, from 0. Where there are fewer, they are counted round.
    pub node: usize,
    /// How long it is away.
    pub away_ms: u64,
    /// How long it then knows only the first primary of its database: it is started with that one's address, and again with
    /// those of all servers. A node that comes up there stays there.
    #[serde(default)]
    pub astray_ms: u64,
}

/// How a node is made to end. Then it is started again.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Act {
    /// At once, as by a power cut.
    Kill,
    /// In order, as by a deployment.
    Terminate,
}

impl Act {
    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Terminate => "terminate",
        }
    }
}
