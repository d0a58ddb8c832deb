//! A whole cluster from one seed: nodes with one journal, Stripe with its stories, a network and a disk that fail, and the
//! auditor of the load test, in one thread on a clock of its own. The same seed gives the same run to the last byte of its
//! story, so that whatever a seed finds can be looked at again.
//!
//! What is real: the reading of events, the directory, its actors and ledgers, group commit, the journal's fence, the views
//! of the admin API. What is played: time, Stripe, the database's failures, processes that end or hang. Sockets are not in
//! it: the tests of the cluster have them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a simulation that is surprised by itself stops, and says where"
)]

mod books;
mod budgets;
mod deliveries;
mod nodes;
mod placement;
mod plan;
mod stripe;

use std::{collections::BTreeMap, fmt};

use tokio::runtime::Builder;
pub use tollgate::planted::Planted;

pub use plan::Plan;

/// What a run was like.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Run {
    /// Its seed.
    pub seed: u64,
    /// Violations by kind.
    pub violations: BTreeMap<String, u64>,
    /// Some of them in words.
    pub examples: Vec<String>,
    /// What happened, line by line, with the time in milliseconds.
    pub story: Vec<String>,
    /// Requests that were asked, and how many of them a policy answered.
    pub requests: u64,
    /// Of those, the ones that were decided by policy.
    pub decided: u64,
    /// Repeats that got a stand-in decision, since the first answer could not be looked up in time.
    pub gaps: u64,
    /// Entries in the journal at the end.
    pub entries: u64,
}

impl Run {
    /// Whether nothing was found.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.violations.is_empty()
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.story {
            writeln!(f, "{line}")?;
        }
        writeln!(
            f,
            "seed {}: {} requests, {} decided by policy, {} entries; violations: {:?}",
            self.seed, self.requests, self.decided, self.entries, self.violations
        )?;
        for example in &self.examples {
            writeln!(f, "  {example}")?;
        }
        Ok(())
    }
}

/// Runs a seed, with a fault planted in the engine if one is named.
///
/// # Panics
/// Where the simulation itself is at fault.
#[must_use]
pub fn run(seed: u64, planted: Option<Planted>) -> Run {
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    tollgate::planted::plant(planted);
    // Ids of entries are drawn from the thread's own.
    fastrand::seed(seed);
    let run = runtime.block_on(stripe::play(Plan::draw(seed)));
    tollgate::planted::plant(None);
    run
}
