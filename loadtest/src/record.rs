//! The run record: everything that a report of a load test needs, as one JSON file. What is measured, and how, is
//! elsewhere; so is what a report looks like.
//!
//! Times of a run are counted from its start. Shares are between 0 and 1; a CPU share of 1 is one whole core.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::scenario::{Act, DatabaseAct, Scenario};

/// The version of this format. It grows when a field changes its meaning or goes away; new fields do not count.
pub const FORMAT: u32 = 1;

/// All runs of one scenario, and what came of them.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Record {
    /// [`FORMAT`].
    pub format: u32,
    /// What it all comes to.
    pub verdict: Verdict,
    /// What was asked for, with every choice that the command line made.
    pub scenario: Scenario,
    /// On what it ran.
    pub setup: Setup,
    /// The commands that reproduce it, from the root of the repository.
    pub commands: Vec<String>,
    /// The repeats, in the order in which they ran.
    pub runs: Vec<Run>,
}

/// Whether the promises held and the objectives were met, over all runs.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Verdict {
    /// `0 violations in N decisions`: the first line of every report.
    pub summary: String,
    /// No violation and no missed objective.
    pub passed: bool,
    /// Answers that were audited.
    pub decisions: u64,
    /// Violations found.
    pub violations: u64,
    /// Each objective that was missed, in words.
    pub missed: Vec<String>,
    /// What makes the figures doubtful, such as a generator at its limit.
    pub warnings: Vec<String>,
}

/// Machine, build and journal.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Setup {
    /// When the first run began, RFC 3339.
    pub started_at: String,
    /// The model of the processors of the machine that the generator ran on.
    pub processor: String,
    /// How many of them the generator's process may use.
    pub cores: usize,
    /// Memory of that machine, in bytes; 0 where the system does not say.
    pub memory_bytes: u64,
    /// Name and release of the system's kernel.
    pub kernel: String,
    /// The commit that was checked out, with `-dirty` where files were changed; empty outside a repository.
    pub commit: String,
    /// `release` or `debug`, of the generator.
    pub build: String,
    /// What the nodes say they are: the labels of `tollgate_build_info`, or nothing where there is no admin API.
    pub server: BTreeMap<String, String>,
    /// The journal of nodes started here; empty for `--target`.
    pub journal: String,
    /// The file system of that journal, such as `ext4`; empty where it is not known.
    pub file_system: String,
    /// Where requests went: one URL for each node.
    pub targets: Vec<String>,
    /// Whether the nodes were started by the load test, on the same machine as the generator.
    pub is_local: bool,
}

/// One run of the scenario.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Run {
    /// The seed of everything random in it.
    pub seed: u64,
    /// From the first intended send to the last answer, in seconds.
    pub seconds: f64,
    /// How many questions of each kind of ending.
    pub outcomes: Outcomes,
    /// All questions that were sent, from their intended send times. One that failed counts with as long as Stripe waits.
    pub latency: Latency,
    /// Deliveries to the regular endpoint (`.created`, `.updated`, transactions), from their intended send times.
    pub deliveries: Deliveries,
    /// Each second of the run.
    pub seconds_each: Vec<Second>,
    /// Each stage of the scenario: latency against offered load.
    pub stages: Vec<Stage>,
    /// Kills, restarts and reloads.
    pub marks: Vec<Mark>,
    /// The generator's own cost and punctuality.
    pub generator: Generator,
    /// What each node told of itself, once a second.
    pub nodes: Vec<Node>,
    /// What was credited to balances meanwhile; none of a scenario without budgets.
    #[serde(default)]
    pub credits: Option<Credits>,
    /// What the auditor found.
    pub audit: Audit,
}

/// Credits of balances over the admin API.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Credits {
    /// How many are durable.
    pub count: u64,
    /// How often one was sent again because no node had taken it.
    pub repeated: u64,
    /// How long the slowest took to be durable, with all that were sent again.
    pub longest_us: u64,
}

impl Run {
    /// By how much a counter of the nodes grew from the first sample to the last, all together.
    #[must_use]
    pub fn grown(&self, of: fn(&Sample) -> f64) -> f64 {
        self.nodes.iter().flat_map(|node| node.samples.windows(2)).map(|pair| grown(pair, of)).sum()
    }
}

/// By how much a counter grew between two samples. One that is smaller than before has begun anew.
pub(crate) fn grown(pair: &[Sample], of: fn(&Sample) -> f64) -> f64 {
    let [before, after] = pair else { return 0.0 };
    let (before, after) = (of(before), of(after));
    if after >= before { after - before } else { after }
}

/// How questions ended. `offered` is the sum of all others, without the forged ones.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Outcomes {
    /// Questions that were due.
    pub offered: u64,
    /// Approved in full.
    pub approved: u64,
    /// Approved in part.
    pub partial: u64,
    /// Declined on the books.
    pub declined: u64,
    /// Answered without the books (`stand_in_…`), approved or declined.
    pub stand_in: u64,
    /// Answered with something that Stripe takes for no decision.
    pub invalid: u64,
    /// Not answered within Stripe's deadline.
    pub late: u64,
    /// Ended by a broken or refused connection.
    pub failed: u64,
    /// Never started: every connection was in use.
    pub dropped: u64,
    /// The same question once more, answered.
    pub duplicates: u64,
    /// Sent again after a connection failure.
    pub retried: u64,
    /// Badly signed questions that were refused, as they should be.
    pub forged_refused: u64,
    /// By the reason in the reply's metadata.
    pub reasons: BTreeMap<String, u64>,
}

/// A distribution of times, in microseconds.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Latency {
    /// How many were measured. A question that was never answered counts with the time at which it was given up.
    pub count: u64,
    /// The mean.
    pub mean_us: f64,
    /// The smallest.
    pub min_us: u64,
    /// The median.
    pub p50_us: u64,
    /// 90 in 100 are at most this.
    pub p90_us: u64,
    /// 99 in 100.
    pub p99_us: u64,
    /// 999 in 1000.
    pub p999_us: u64,
    /// 9999 in 10,000.
    pub p9999_us: u64,
    /// The largest.
    pub max_us: u64,
    /// The curve for a plot: share of all, and the time that it stayed within.
    pub curve: Vec<(f64, u64)>,
}

/// Events to the regular endpoint.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Deliveries {
    /// Different events.
    pub events: u64,
    /// Attempts, duplicates and retries included.
    pub attempts: u64,
    /// Attempts that were not answered with a 2xx.
    pub failed: u64,
    /// Events that were still not acknowledged when the run was over.
    pub undelivered: u64,
    /// How long they took.
    pub latency: Latency,
}

/// One second of a run.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Second {
    /// Questions due in it.
    pub offered: u64,
    /// Questions answered in it.
    pub answered: u64,
    /// Questions due in it that never started.
    pub dropped: u64,
    /// Questions that ended in it without a valid answer in time: invalid, late, failed.
    pub unanswered: u64,
    /// Of those that ended in it: approvals, in full or in part.
    pub approved: u64,
    /// Of those that ended in it: declines.
    pub declined: u64,
    /// Of those that ended in it: answers without the books.
    pub stand_in: u64,
    /// Events delivered in it.
    pub delivered: u64,
    /// Median of those that ended in it.
    pub p50_us: u64,
    /// 99 in 100 of those that ended in it.
    pub p99_us: u64,
    /// 999 in 1000 of those that ended in it.
    #[serde(default)]
    pub p999_us: u64,
    /// The largest of those that ended in it.
    pub max_us: u64,
    /// The heat map's column: for each row that is not empty its number and its count. Row `n` ends at
    /// [`heat_row_end_us`]`(n)`.
    pub heat: Vec<(u32, u64)>,
}

/// Where a row of the heat map ends, in microseconds: two rows for each doubling, from 2^6.
#[must_use]
pub fn heat_row_end_us(row: u32) -> f64 {
    64.0 * 2.0_f64.powf(f64::from(row) / 2.0)
}

/// The row of the heat map that a time belongs to.
#[must_use]
pub fn heat_row(us: u64) -> u32 {
    // Half a doubling is a factor of the root of 2: a row ends where the square reaches the next power of 2.
    let square = u128::from(us.max(1)).saturating_pow(2);
    let halves = (square.saturating_sub(1)).checked_ilog2().map_or(0, |log| log.saturating_add(1));
    halves.saturating_sub(12)
}

/// One stage of the scenario.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Stage {
    /// When it began, in seconds.
    pub from_s: f64,
    /// How long it was, in seconds.
    pub seconds: f64,
    /// Questions that were due in it, a second.
    pub offered_per_second: f64,
    /// Of those that were due in it: answered, a second.
    pub achieved_per_second: f64,
    /// Of those that were due in it: never started.
    pub dropped: u64,
    /// Of those that were due in it: no valid answer in time.
    pub unanswered: u64,
    /// Latency of those that were due in it.
    pub latency: Latency,
    /// CPU seconds of all nodes in it, per second; none where the nodes do not tell.
    pub nodes_cpu: Option<f64>,
    /// CPU seconds of the generator in it, per second.
    pub generator_cpu: f64,
}

/// Something that was done to a node.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Mark {
    /// When, in seconds.
    pub at_s: f64,
    /// `kill`, `terminate`, `start` or `ready`; or what befell the database.
    pub what: String,
    /// Which node, from 0; none where it is the database.
    pub node: Option<usize>,
    /// From here to the end of the last question that was not answered, before the next mark of this kind; where it is the
    /// database, that was not decided. None where nothing ended here.
    pub normal_after_s: Option<f64>,
}

impl Mark {
    /// Whether a node ended here, or the database.
    #[must_use]
    pub fn is_end(&self) -> bool {
        let ends = [Act::Kill, Act::Terminate].map(Act::as_str);
        let database_ends = [DatabaseAct::Kill, DatabaseAct::Silence].map(DatabaseAct::as_str);
        ends.iter().chain(&database_ends).any(|end| *end == self.what)
    }

    /// What it was done to.
    #[must_use]
    pub fn target(&self) -> String {
        self.node.map_or_else(|| "the database".to_owned(), |node| format!("node {node}"))
    }
}

/// The generator's own side.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Generator {
    /// Its CPU share over the run.
    pub cpu: f64,
    /// The share of the time in which its loop was not waiting. Near 1 it is the bottleneck.
    pub busy: f64,
    /// How late requests left that could have left in time.
    pub lateness: Latency,
    /// The most connections open at once.
    pub connections_max: usize,
}

/// What one node told of itself.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Node {
    /// Its admin URL.
    pub admin: String,
    /// The program that it ran at first, and each other one that it was started as later; empty for `--target`.
    #[serde(default)]
    pub programs: Vec<String>,
    /// Samples of its metrics, in order.
    pub samples: Vec<Sample>,
}

/// One look at a node's `/metrics`. Counters are as the node tells them: they begin anew when it does.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Sample {
    /// When, in seconds.
    pub at_s: f64,
    /// `process_cpu_seconds_total`.
    pub cpu_seconds: f64,
    /// `process_resident_memory_bytes`.
    pub memory_bytes: f64,
    /// `tollgate_cards_resident`.
    pub cards_resident: f64,
    /// `tollgate_journal_batch_entries_sum`.
    pub journal_entries: f64,
    /// `tollgate_journal_batch_entries_count`.
    pub journal_batches: f64,
    /// `tollgate_journal_conflicts_total`.
    #[serde(default)]
    pub journal_conflicts: f64,
    /// Of `tollgate_forwards_total` what was not answered.
    #[serde(default)]
    pub forwards_failed: f64,
}

/// What the auditor found in a run.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Audit {
    /// Answers that were judged, repeats included.
    pub decisions: u64,
    /// Violations by kind.
    pub violations: BTreeMap<String, u64>,
    /// The first violations of each kind, in words.
    pub examples: Vec<String>,
    /// Declines and partial approvals that may or may not have had room, for what was in flight.
    pub ambiguous: u64,
    /// Cards whose books were compared with Stripe's at the end; none where there is no admin API.
    pub cards_compared: Option<u64>,
    /// Authorizations whose records were compared at the end; none where there is no admin API.
    pub authorizations_compared: Option<u64>,
    /// Accounts that cards share whose books were compared at the end; none where there are none.
    #[serde(default)]
    pub budgets_compared: Option<u64>,
    /// Why less was compared than could have been.
    pub notes: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_in_the_row_that_ends_at_it_or_next_after_it() {
        for us in [1, 63, 64, 65, 90, 91, 128, 129, 1_000, 2_000_000, 2_000_001] {
            let row = heat_row(us);
            let exact = f64::from(u32::try_from(us).unwrap());
            assert!(exact <= heat_row_end_us(row), "{us} us is not in row {row}");
            assert!(row == 0 || exact > heat_row_end_us(row - 1), "{us} us is after row {row}");
        }
        assert_eq!(heat_row(u64::MAX), 116);
    }
}
