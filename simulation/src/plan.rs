//! What a seed stands for: how many nodes, how wild Stripe is, what fails and when.

use std::time::Duration;

use fastrand::Rng;
use tollgate::journal::Odds;
use tollgate_loadtest::scenario::Scenario;

use crate::budgets::Budgets;

/// A run, before it begins.
pub struct Plan {
    pub(crate) seed: u64,
    pub(crate) scenario: Scenario,
    /// Requests that begin a story.
    pub(crate) stories: u64,
    pub(crate) nodes: usize,
    pub(crate) odds: Odds,
    /// What each batch of appends takes at least and at most, in microseconds.
    pub(crate) commit_us: (u64, u64),
    /// Accounts that nobody asks for leave memory after so long.
    pub(crate) idle_after: Duration,
    pub(crate) resident_max: usize,
    /// Whether a node is replaced by a new one now and then, while the old one goes on as a process that hung does.
    pub(crate) restarts: bool,
    /// How far the clocks of nodes are apart, in milliseconds.
    pub(crate) skew_ms: i64,
    pub(crate) budgets: Budgets,
    pub(crate) random: Rng,
}

impl Plan {
    /// The plan of a seed.
    pub(crate) fn draw(seed: u64) -> Self {
        let mut random = Rng::with_seed(seed);
        let odds = match random.u8(..4) {
            0 => Odds::NONE,
            1 => Odds {
                rejected: 0,
                lost_before: 10,
                lost_after: 10,
                half_lost: 10,
                overtaken: 10,
                unreadable: 0,
            },
            2 => Odds { unreadable: 2, ..Odds::ROUGH },
            _ => Odds { overtaken: 30, ..Odds::NONE },
        };
        let commit_us = [(0, 1), (100, 2_000), (2_000, 40_000), (10_000, 300_000)][random.usize(..4)];
        Self {
            seed,
            scenario: scenario(seed, &mut random),
            stories: random.u64(20..120),
            nodes: random.usize(1..4),
            odds,
            commit_us,
            idle_after: [Duration::from_millis(5), Duration::from_millis(200), Duration::from_mins(10)]
                [random.usize(..3)],
            resident_max: if random.u8(..4) == 0 { 2 } else { 1_000 },
            restarts: random.bool(),
            skew_ms: if random.bool() { 0 } else { 3_000 },
            budgets: Budgets::of(seed),
            random,
        }
    }
}

/// Stories as the load test tells them, in a scenario of this seed's own.
fn scenario(seed: u64, random: &mut Rng) -> Scenario {
    let cards = [1, 2, 5][random.usize(..3)];
    let all_time = [3_000, 10_000, 1_000_000][random.usize(..3)];
    let per_authorization = if random.bool() { "per_authorization = 4_000\n" } else { "" };
    let median = [500, 2_000][random.usize(..2)];
    let step_ms = [20, 400, 90_000_000][random.usize(..3)];
    let text = format!(
        r#"
about = "one seed"
rate = 50.0
duration_s = 10.0
drain_s = 10.0
cards = {cards}
seed = {seed}

[stripe]
duplicated_questions = 0.3
duplicated_events = 0.2
unordered_events = 0.4
late_events = 0.1
step_ms = {step_ms}

[limits]
all_time = {all_time}
{per_authorization}
[questions]
median_amount = {median}
controllable = 0.3
incremented = 0.4
declined_before = 0.05
network_fallback = 0.1
forced = 0.2

[lives]
held = 1.0
captured = 2.0
captured_in_part = 1.0
over_captured = 1.0
captured_twice = 1.0
reversed = 1.0
reversed_in_part = 2.0
expired = 1.0
expired_then_captured = 1.0
refunded = 1.0
refund_reversed = 1.0

[objectives]
unanswered_max = 1.0
stand_in_max = 1.0
"#
    );
    Scenario::parse("simulation", &text).expect("the scenario is one")
}
