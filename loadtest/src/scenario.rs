//! A scenario: what is sent, how fast, to what kind of cards, and what must come of it. Read from TOML; the command
//! line may change the main figures. How it is played is elsewhere.

mod database;
mod disturbance;

use std::{fs, io, path::Path};

use serde::{Deserialize, Serialize};

use crate::budgets::Budgets;

pub use {
    database::{Database, DatabaseAct, Fault, Standby},
    disturbance::{Act, Disturbance},
};

/// The scenarios that come with the load test, by name.
const BUNDLED: [(&str, &str); 24] = [
    ("smoke", include_str!("../scenarios/smoke.toml")),
    ("steady", include_str!("../scenarios/steady.toml")),
    ("spike", include_str!("../scenarios/spike.toml")),
    ("ramp", include_str!("../scenarios/ramp.toml")),
    ("saturation", include_str!("../scenarios/saturation.toml")),
    ("hot-card", include_str!("../scenarios/hot-card.toml")),
    ("cold-cards", include_str!("../scenarios/cold-cards.toml")),
    ("duplicates", include_str!("../scenarios/duplicates.toml")),
    ("bad-signatures", include_str!("../scenarios/bad-signatures.toml")),
    ("lifecycle", include_str!("../scenarios/lifecycle.toml")),
    ("budgets", include_str!("../scenarios/budgets.toml")),
    ("over-the-api", include_str!("../scenarios/over-the-api.toml")),
    ("node-kill", include_str!("../scenarios/node-kill.toml")),
    ("rolling-restart", include_str!("../scenarios/rolling-restart.toml")),
    ("database-failover", include_str!("../scenarios/database-failover.toml")),
    ("database-silent", include_str!("../scenarios/database-silent.toml")),
    ("database-behind", include_str!("../scenarios/database-behind.toml")),
    ("database-split", include_str!("../scenarios/database-split.toml")),
    ("database-failovers", include_str!("../scenarios/database-failovers.toml")),
    ("patroni", include_str!("../scenarios/patroni.toml")),
    ("slow-disk", include_str!("../scenarios/slow-disk.toml")),
    ("overload", include_str!("../scenarios/overload.toml")),
    ("soak", include_str!("../scenarios/soak.toml")),
    ("half-load", include_str!("../scenarios/half-load.toml")),
];

/// All that a run needs to know, but where the nodes are.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// Its name: that of its file.
    #[serde(default)]
    pub name: String,
    /// What it shows, in a sentence.
    pub about: String,
    /// Questions a second where a stage says 1.
    pub rate: f64,
    /// How long all stages take together, in seconds.
    pub duration_s: f64,
    /// How long after the last question all stories may take to end, in seconds.
    #[serde(default = "Scenario::default_drain_s")]
    pub drain_s: f64,
    /// How many different cards there are.
    pub cards: usize,
    /// The seed of everything random.
    #[serde(default = "Scenario::default_seed")]
    pub seed: u64,
    /// Connections to each node at most. A question that finds them all in use is dropped, and counts as a failure;
    /// events take half of them at most.
    #[serde(default = "Scenario::default_connections")]
    pub connections: usize,
    /// Whether the nodes' metrics are read each second. Of nodes without a reader only CPU and memory are seen, as the
    /// system tells them: their metrics have to keep without being fetched.
    #[serde(default = "Scenario::default_is_scraped")]
    pub is_scraped: bool,
    /// When questions leave.
    #[serde(default)]
    pub arrivals: Arrivals,
    /// How the rate goes; one even stage if there are none.
    #[serde(default)]
    pub stages: Vec<Stage>,
    /// How Stripe behaves towards us.
    #[serde(default)]
    pub stripe: Stripe,
    /// The limits that every card has.
    pub limits: Limits,
    /// Money that cards share.
    #[serde(default)]
    pub budgets: Option<Budgets>,
    /// What is asked.
    #[serde(default)]
    pub questions: Questions,
    /// What becomes of what was approved.
    #[serde(default)]
    pub lives: Lives,
    /// How many bytes a second the journal's disk takes, if that is to be few. Only a journal in a file is slowed.
    #[serde(default)]
    pub disk_bytes_per_s: Option<u32>,
    /// What is done to the nodes meanwhile.
    #[serde(default)]
    pub disturbances: Vec<Disturbance>,
    /// The database of nodes that the load test has started, and what befalls it. Without it, one that nothing befalls.
    #[serde(default)]
    pub database: Option<Database>,
    /// What must come of it, beside no violation.
    pub objectives: Objectives,
}

/// How questions are spread over time.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Arrivals {
    /// Independent of each other, as people are.
    #[default]
    Poisson,
    /// Evenly.
    Constant,
}

/// A part of the run in which the rate is even, or goes evenly from one to another.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stage {
    /// Its length, as a share of the whole duration.
    pub share: f64,
    /// The rate at its beginning, in multiples of `rate`.
    pub from: f64,
    /// The rate at its end; as at its beginning if there is none.
    pub to: Option<f64>,
}

/// Stripe's own behaviour.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Stripe {
    /// How long it waits for an answer.
    pub deadline_ms: u64,
    /// What it does without one: the account's timeout setting.
    pub timeout_approves: bool,
    /// Whether a question whose connection failed is sent once more, to the next node: what a load balancer does.
    pub retry: bool,
    /// The share of questions that are sent twice.
    pub duplicated_questions: f64,
    /// The share of additional questions that are not signed as they should be.
    pub forged_questions: f64,
    /// The share of events that are delivered twice.
    pub duplicated_events: f64,
    /// The share of events that are overtaken by later ones.
    pub unordered_events: f64,
    /// The share of events that come much later.
    pub late_events: f64,
    /// The share of events that never come: nodes learn from Stripe's API what they tell, at the end.
    pub lost_events: f64,
    /// Whether nodes answer over Stripe's API, its older way.
    pub answers_over_api: bool,
    /// The mean time from one step in the life of an authorization to its next.
    pub step_ms: u64,
}

impl Default for Stripe {
    fn default() -> Self {
        Self {
            deadline_ms: 2_000,
            timeout_approves: false,
            retry: false,
            duplicated_questions: 0.01,
            forged_questions: 0.0,
            duplicated_events: 0.02,
            unordered_events: 0.2,
            late_events: 0.01,
            lost_events: 0.0,
            answers_over_api: false,
            step_ms: 400,
        }
    }
}

impl Stripe {
    /// Whether Stripe's API has a part in it.
    #[must_use]
    pub fn needs_api(&self) -> bool {
        self.answers_over_api || self.lost_events > 0.0
    }
}

/// Limits in minor units of the card's currency; all of them hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// For one authorization with its increments.
    pub per_authorization: Option<i64>,
    /// For a day (UTC).
    pub daily: Option<i64>,
    /// For ever.
    pub all_time: Option<i64>,
}

/// What is asked. Shares are of all questions.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Questions {
    /// How unequally cards are used: 0 is equally, 1 is as words in a language.
    pub zipf: f64,
    /// Each card is used once before any is used again; `zipf` has no meaning then.
    pub each_card_once: bool,
    /// The median amount of a purchase, in minor units.
    pub median_amount: i64,
    /// Those whose amount may be approved in part.
    pub controllable: f64,
    /// Those with cash back.
    pub cash_back: f64,
    /// Fuel dispensers, which ask for one unit of currency and hold a hundred.
    pub fuel: f64,
    /// Purchases in another currency than the card's.
    pub foreign: f64,
    /// Authorizations that are incremented, up to three times.
    pub incremented: f64,
    /// Authorizations that Stripe declines itself, without a question.
    pub declined_before: f64,
    /// Authorizations that the network approves without a question.
    pub network_fallback: f64,
    /// Declined authorizations whose merchant takes the money all the same, and captures without any authorization.
    pub forced: f64,
}

impl Default for Questions {
    fn default() -> Self {
        Self {
            zipf: 0.9,
            each_card_once: false,
            median_amount: 2_500,
            controllable: 0.1,
            cash_back: 0.02,
            fuel: 0.03,
            foreign: 0.1,
            incremented: 0.05,
            declined_before: 0.02,
            network_fallback: 0.005,
            forced: 0.01,
        }
    }
}

/// What becomes of an approved authorization during the run, by weight.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs, reason = "the names say it, and they are the keys of the file")]
pub struct Lives {
    pub held: f64,
    pub captured: f64,
    pub captured_in_part: f64,
    pub over_captured: f64,
    pub captured_twice: f64,
    pub reversed: f64,
    pub reversed_in_part: f64,
    pub expired: f64,
    pub expired_then_captured: f64,
    pub refunded: f64,
    pub refund_reversed: f64,
}

impl Default for Lives {
    fn default() -> Self {
        Self {
            held: 30.0,
            captured: 40.0,
            captured_in_part: 5.0,
            over_captured: 5.0,
            captured_twice: 4.0,
            reversed: 5.0,
            reversed_in_part: 4.0,
            expired: 2.0,
            expired_then_captured: 1.0,
            refunded: 3.0,
            refund_reversed: 1.0,
        }
    }
}

/// What must come of a run. Violations fail it in any case.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Objectives {
    /// 99 in 100 questions are answered within this.
    pub p99_ms: Option<f64>,
    /// The share of questions that may go without a valid answer in time, dropped ones included.
    pub unanswered_max: f64,
    /// The same where there are several nodes, so that another one can answer.
    pub unanswered_of_several_max: Option<f64>,
    /// The share of questions that may be answered without the books.
    pub stand_in_max: f64,
    /// How many questions may be answered after Stripe's deadline.
    pub late_max: Option<u64>,
    /// In each stage that offers more than the nodes decide at most: the share of that which they have to decide. One stage
    /// has to offer twice that.
    pub goodput_min: Option<f64>,
    /// How long it may take after a disturbance until everything is answered again.
    pub normal_within_s: Option<f64>,
    /// How long after the beginning of the last stage every request has to be decided again, in time and by the policy.
    pub calm_within_s: Option<f64>,
    /// 99 in 100 questions of each second from then on are answered within this.
    pub calm_p99_ms: Option<f64>,
    /// By which share a node's memory in the last quarter of the run may be above that in the second, on average.
    pub memory_growth_max: Option<f64>,
}

/// Why there is no scenario.
#[derive(Debug, thiserror::Error)]
pub enum NoScenario {
    /// There is none of this name.
    #[error("expected {known} or the path of a .toml file, found `{found}`", known = names())]
    Unknown {
        /// What was asked for.
        found: String,
    },
    /// The file cannot be read.
    #[error("cannot read {0}: {1}")]
    Unreadable(String, io::Error),
    /// The file is no scenario.
    #[error("{0} is no scenario: {1}")]
    Malformed(String, String),
}

fn names() -> String {
    BUNDLED.map(|(name, _)| name).join(", ")
}

impl Scenario {
    /// A scenario by the name of a bundled one or by the path of a file.
    ///
    /// # Errors
    /// There is no such scenario, or the file has a mistake.
    pub fn load(name: &str) -> Result<Self, NoScenario> {
        let is_file = Path::new(name).extension().is_some_and(|ending| ending == "toml");
        let text = match BUNDLED.iter().find(|(bundled, _)| *bundled == name) {
            Some((_, text)) => (*text).to_owned(),
            None if is_file => {
                fs::read_to_string(name).map_err(|cause| NoScenario::Unreadable(name.to_owned(), cause))?
            }
            None => return Err(NoScenario::Unknown { found: name.to_owned() }),
        };
        let stem = Path::new(name).file_stem().and_then(|stem| stem.to_str()).unwrap_or(name);
        Self::parse(stem, &text)
    }

    /// Reads a scenario of this name.
    ///
    /// # Errors
    /// It has a mistake.
    pub fn parse(name: &str, text: &str) -> Result<Self, NoScenario> {
        let malformed = |cause: String| NoScenario::Malformed(name.to_owned(), cause);
        let mut scenario: Self = toml::from_str(text).map_err(|cause| malformed(cause.to_string()))?;
        name.clone_into(&mut scenario.name);
        if scenario.stages.is_empty() {
            scenario.stages.push(Stage { share: 1.0, from: 1.0, to: None });
        }
        scenario.check().map_err(malformed)?;
        Ok(scenario)
    }

    /// What is wrong with it, in words: what was expected, and what was found.
    ///
    /// # Errors
    /// Something is.
    pub fn check(&self) -> Result<(), String> {
        let expect = |is_so: bool, what: &str, found: &dyn std::fmt::Debug| {
            if is_so { Ok(()) } else { Err(format!("expected {what}, found {found:?}")) }
        };
        expect(self.rate > 0.0 && self.rate <= 1_000_000.0, "a rate above 0 and up to 1000000", &self.rate)?;
        expect(
            self.duration_s > 0.0 && self.duration_s <= 86_400.0,
            "a duration above 0 and up to 86400 seconds",
            &self.duration_s,
        )?;
        expect((0.0..=3_600.0).contains(&self.drain_s), "a drain of 0 to 3600 seconds", &self.drain_s)?;
        expect((1..=10_000_000).contains(&self.cards), "1 to 10000000 cards", &self.cards)?;
        expect((1..=60_000).contains(&self.connections), "1 to 60000 connections", &self.connections)?;
        expect(
            (1..=60_000).contains(&self.stripe.deadline_ms),
            "a deadline of 1 to 60000 ms",
            &self.stripe.deadline_ms,
        )?;
        expect(self.questions.median_amount > 0, "a median amount above 0", &self.questions.median_amount)?;
        let shares: f64 = self.stages.iter().map(|stage| stage.share).sum();
        expect((shares - 1.0).abs() < 1e-6, "stages whose shares come to 1", &shares)?;
        for stage in &self.stages {
            let rates = [stage.from, stage.to.unwrap_or(stage.from)];
            let is_usable = stage.share > 0.0 && rates.iter().all(|rate| *rate >= 0.0 && rate.is_finite());
            expect(is_usable, "a stage with a share above 0 and rates from 0", stage)?;
        }
        for share in self.shares() {
            expect((0.0..=1.0).contains(&share.1), &format!("`{}` from 0 to 1", share.0), &share.1)?;
        }
        let weights = self.lives.weights().map(|(_, weight)| weight);
        let is_usable = weights.iter().all(|weight| *weight >= 0.0) && weights.iter().sum::<f64>() > 0.0;
        expect(is_usable, "lives with weights from 0, and one above it", &self.lives)?;
        if let Some(budgets) = &self.budgets {
            budgets.check().map_err(|expected| format!("expected {expected}, found {budgets:?}"))?;
        }
        if let Some(database) = &self.database {
            expect((1..=10_000).contains(&database.repeat), "faults 1 to 10000 times", &database.repeat)?;
        }
        let limits = [self.limits.per_authorization, self.limits.daily, self.limits.all_time];
        let is_usable = limits.iter().flatten().all(|limit| *limit > 0);
        expect(is_usable && limits.iter().any(Option::is_some), "limits above 0, at least one", &self.limits)
    }

    /// Every share in it, by its key.
    fn shares(&self) -> Vec<(&'static str, f64)> {
        let (stripe, questions) = (&self.stripe, &self.questions);
        let mut shares = vec![
            ("stripe.duplicated_questions", stripe.duplicated_questions),
            ("stripe.forged_questions", stripe.forged_questions),
            ("stripe.duplicated_events", stripe.duplicated_events),
            ("stripe.unordered_events", stripe.unordered_events),
            ("stripe.late_events", stripe.late_events),
            ("stripe.lost_events", stripe.lost_events),
            ("questions.controllable", questions.controllable),
            ("questions.cash_back", questions.cash_back),
            ("questions.fuel", questions.fuel),
            ("questions.foreign", questions.foreign),
            ("questions.incremented", questions.incremented),
            ("questions.declined_before", questions.declined_before),
            ("questions.network_fallback", questions.network_fallback),
            ("questions.forced", questions.forced),
            ("objectives.unanswered_max", self.objectives.unanswered_max),
            ("objectives.stand_in_max", self.objectives.stand_in_max),
            ("objectives.goodput_min", self.objectives.goodput_min.unwrap_or_default()),
            ("objectives.memory_growth_max", self.objectives.memory_growth_max.unwrap_or_default()),
        ];
        shares.extend(self.disturbances.iter().map(|disturbance| ("disturbances.at", disturbance.at)));
        let faults = self.database.iter().flat_map(|database| &database.faults);
        shares.extend(faults.map(|fault| ("database.faults.at", fault.at)));
        shares
    }

    const fn default_seed() -> u64 {
        1
    }

    const fn default_drain_s() -> f64 {
        30.0
    }

    const fn default_connections() -> usize {
        512
    }

    const fn default_is_scraped() -> bool {
        true
    }
}

/// What becomes of an approved authorization.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Life {
    Held,
    Captured,
    CapturedInPart,
    OverCaptured,
    CapturedTwice,
    Reversed,
    ReversedInPart,
    Expired,
    ExpiredThenCaptured,
    Refunded,
    RefundReversed,
}

impl Lives {
    /// Each life with its weight.
    #[must_use]
    pub const fn weights(&self) -> [(Life, f64); 11] {
        [
            (Life::Held, self.held),
            (Life::Captured, self.captured),
            (Life::CapturedInPart, self.captured_in_part),
            (Life::OverCaptured, self.over_captured),
            (Life::CapturedTwice, self.captured_twice),
            (Life::Reversed, self.reversed),
            (Life::ReversedInPart, self.reversed_in_part),
            (Life::Expired, self.expired),
            (Life::ExpiredThenCaptured, self.expired_then_captured),
            (Life::Refunded, self.refunded),
            (Life::RefundReversed, self.refund_reversed),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bundled_scenario_is_sound_and_says_what_it_shows() {
        for (name, _) in BUNDLED {
            let scenario = Scenario::load(name).unwrap_or_else(|cause| panic!("{cause}"));
            assert_eq!(scenario.name, name);
            assert!(scenario.about.ends_with('.'), "{name}: {}", scenario.about);
        }
    }

    #[test]
    fn a_mistake_says_what_was_expected_and_what_was_found() {
        const SOUND: &str = "about = 'x'\nrate = 10\nduration_s = 1\ncards = 5\n[limits]\nall_time = 100\n\
            [objectives]\nunanswered_max = 0\nstand_in_max = 0\n";
        assert!(Scenario::parse("x", SOUND).is_ok());
        let check = |from: &str, to: &str, expected: &str| {
            let cause = Scenario::parse("mine", &SOUND.replace(from, to)).unwrap_err().to_string();
            assert!(cause.starts_with("mine is no scenario: ") && cause.contains(expected), "{cause}");
        };
        check("rate = 10", "rate = 0", "expected a rate above 0 and up to 1000000, found 0.0");
        check("cards = 5", "cards = 0", "expected 1 to 10000000 cards, found 0");
        check("all_time = 100", "", "expected limits above 0, at least one");
        check("all_time", "hourly", "unknown field `hourly`");
        check("stand_in_max = 0", "stand_in_max = 2", "`objectives.stand_in_max` from 0 to 1");
        check("[limits]", "stages = [{share = 0.5, from = 1}]\n[limits]", "stages whose shares come to 1");
        let cause = Scenario::load("smok").unwrap_err().to_string();
        assert!(cause.contains("expected smoke, steady"), "{cause}");
    }
}
