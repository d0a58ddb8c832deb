//! What befalls the database of nodes in a scenario. How that is done is elsewhere.

use serde::{Deserialize, Serialize};

/// A PostgreSQL primary with one standby.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Database {
    /// Whether a commit waits until the standby has it.
    pub standby: Standby,
    /// What befalls them.
    pub faults: Vec<Fault>,
    /// How often, one time after the other: each has its part of the duration.
    #[serde(default = "once")]
    pub repeat: u32,
}

const fn once() -> u32 {
    1
}

/// How a standby follows its primary.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standby {
    /// A commit is acknowledged when the standby has it too.
    Synchronous,
    /// The standby has it a moment later.
    Asynchronous,
    /// Patroni decides what a commit waits for and when the standby takes over; nodes have the address of `HAProxy`. Of what may
    /// befall a database, `kill`, `silence` and `return` happen to the machine of the first primary.
    Patroni,
}

/// Something that befalls the database.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// When, as a share of the whole duration, or of each repetition.
    pub at: f64,
    /// What.
    #[serde(rename = "do")]
    pub act: DatabaseAct,
}

/// What befalls a database.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DatabaseAct {
    /// The first primary ends at once, as by a power cut.
    Kill,
    /// The first primary hangs: its connections stay open, and nothing comes over them.
    Silence,
    /// The first primary, which hung, goes on.
    Return,
    /// From now on the standby receives nothing.
    Lag,
    /// The standby becomes a primary, with what it has received.
    Promote,
    /// What is left of the primary that ended is made anew as the standby of the one that took over. From now on that one is
    /// the first primary.
    Rejoin,
}

impl DatabaseAct {
    /// The word for it in the record.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Kill => "database-kill",
            Self::Silence => "database-silence",
            Self::Return => "database-return",
            Self::Lag => "database-lag",
            Self::Promote => "database-promote",
            Self::Rejoin => "database-rejoin",
        }
    }
}
