//! How the journal's database is, for those who watch it: operators, metrics, readiness, the cards.

use crate::journal::Lineage;

/// Whether entries are taken.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Phase {
    /// They are.
    Open,
    /// A new lineage has begun, and what it lacks is being given back: nothing new is taken.
    Restoring,
    /// No server can be used.
    Away,
}

impl Phase {
    /// Every phase.
    pub const ALL: [Self; 3] = [Self::Open, Self::Restoring, Self::Away];

    /// The word in metrics and answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Restoring => "restoring",
            Self::Away => "away",
        }
    }
}

/// How the journal's database is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Status {
    /// Whether entries are taken.
    pub phase: Phase,
    /// The highest lineage that was seen.
    pub lineage: Lineage,
    /// The server in force, as far as there is one.
    pub server: Option<String>,
    /// Standbys that are connected to it.
    pub standbys: u32,
    /// How many servers have an entry before it is acknowledged, that one included.
    pub copies: u32,
    /// Entries that it lacked and that this node gave back.
    pub restored: u64,
    /// Entries that it lacked and that are lost.
    pub lost: u64,
    /// How often a primary of before a failover was refused.
    pub refused: u64,
}
