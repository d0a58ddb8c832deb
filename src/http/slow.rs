//! The slowest decisions of the last hour, for `GET /v1/slow`. Telling of one that is not among them costs two loads.

use std::{
    collections::VecDeque,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use schemars::JsonSchema;
use serde::Serialize;

use super::{reply::Rfc3339, trace::TraceParent};
use crate::{
    clock::{self, Instant},
    cluster::TimedAnswer,
    domain::{AuthorizationId, CardId, EventId, Timestamp},
};

/// How many are shown.
const DECISIONS_MAX: usize = 100;
/// How far back.
const WITHIN: Duration = Duration::from_hours(1);
/// The hour is kept in spells, each with its own slowest, so that old ones can be dropped as a whole: whatever is among
/// the slowest of the hour is among the slowest of its spell.
const SPELL_MINUTES: u64 = 5;
/// The hour ends in the middle of a spell.
const SPELLS_MAX: usize = 13;

/// Remembers the slowest.
pub struct Slow {
    started: Instant,
    /// The spell that is being kept, and the time that a decision must have taken to get into it.
    spell: AtomicU64,
    floor_us: AtomicU32,
    spells: Mutex<VecDeque<Spell>>,
}

struct Spell {
    number: u64,
    decisions: Vec<(Instant, DecisionTimes)>,
}

/// The slowest decisions of the last hour.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub(super) struct SlowBody {
    /// Slowest first, at most 100.
    pub(super) slow: Vec<DecisionTimes>,
}

/// A decision, and where its time went.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(super) struct DecisionTimes {
    /// The decision.
    pub(super) decision: String,
    /// When the request arrived.
    pub(super) at: Rfc3339,
    /// The event that brought the request.
    pub(super) event: String,
    /// The authorization.
    pub(super) authorization: String,
    /// The card; null if the request named none.
    pub(super) card: Option<String>,
    /// The outcome.
    pub(super) outcome: &'static str,
    /// The reason.
    pub(super) reason: &'static str,
    /// What decided.
    pub(super) source: &'static str,
    /// From the headers of the request to its reply, in microseconds.
    pub(super) taken_us: u32,
    /// The duration of each stage, in microseconds.
    pub(super) stage_us: StageTimes,
    /// The trace that the request came with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) trace_id: Option<String>,
}

/// The duration of each stage, in microseconds.
#[derive(Clone, Copy, Debug, Default, Serialize, JsonSchema)]
pub(super) struct StageTimes {
    /// Verification of the signature.
    pub(super) verify: u32,
    /// Parsing.
    pub(super) parse: u32,
    /// Finding the owner of the card.
    pub(super) route: u32,
    /// Waiting for earlier requests on the card.
    pub(super) queue: u32,
    /// Deciding.
    pub(super) decide: u32,
    /// Until the entry was durable.
    pub(super) commit: u32,
    /// Making the reply.
    pub(super) respond: u32,
}

impl DecisionTimes {
    pub(super) fn new(
        timed: &TimedAnswer,
        (event, authorization, card): (&EventId, &AuthorizationId, Option<&CardId>),
        at: Timestamp,
        (taken_us, stage_us): (u32, StageTimes),
        trace: Option<TraceParent>,
    ) -> Self {
        let answer = &timed.answer;
        Self {
            decision: answer.decision.to_string(),
            at: Rfc3339(at),
            event: event.to_string(),
            authorization: authorization.to_string(),
            card: card.map(ToString::to_string),
            outcome: answer.outcome.as_str(),
            reason: answer.reason.as_str(),
            source: answer.source.as_str(),
            taken_us,
            stage_us,
            trace_id: trace.map(|trace| trace.to_string()),
        }
    }
}

impl Default for Slow {
    fn default() -> Self {
        Self {
            started: clock::instant(),
            spell: AtomicU64::new(0),
            floor_us: AtomicU32::new(0),
            spells: Mutex::default(),
        }
    }
}

impl Slow {
    /// Takes a decision in if it is one of the slowest; only then it is written down.
    pub(super) fn tell(&self, taken_us: u32, now: Instant, write: impl FnOnce() -> DecisionTimes) {
        let minutes = now.saturating_duration_since(self.started).as_secs() / 60;
        let number = minutes / SPELL_MINUTES;
        let is_new_spell = number > self.spell.load(Ordering::Relaxed);
        if taken_us <= self.floor_us.load(Ordering::Relaxed) && !is_new_spell {
            return;
        }
        let mut spells = self.spells.lock().unwrap_or_else(PoisonError::into_inner);
        if spells.back().is_none_or(|last| last.number < number) {
            spells.push_back(Spell { number, decisions: Vec::new() });
            if spells.len() > SPELLS_MAX {
                spells.pop_front();
            }
        }
        let Some(Spell { number, decisions }) = spells.back_mut() else { return };
        let quickest = |decisions: &[(Instant, DecisionTimes)]| {
            let places = decisions.iter().enumerate();
            places.map(|(place, (_, one))| (one.taken_us, place)).min().unwrap_or((0, 0))
        };
        if decisions.len() >= DECISIONS_MAX {
            let (floor_us, place) = quickest(decisions);
            if taken_us > floor_us {
                decisions.swap_remove(place);
                decisions.push((now, write()));
            }
        } else {
            decisions.push((now, write()));
        }
        let floor_us = if decisions.len() < DECISIONS_MAX { 0 } else { quickest(decisions).0 };
        self.floor_us.store(floor_us, Ordering::Relaxed);
        self.spell.store(*number, Ordering::Relaxed);
    }

    /// The slowest of the hour before `now`, slowest first.
    pub(super) fn list(&self, now: Instant) -> Vec<DecisionTimes> {
        let spells = self.spells.lock().unwrap_or_else(PoisonError::into_inner);
        let all = spells.iter().flat_map(|spell| &spell.decisions);
        let late = all.filter(|(at, _)| now.saturating_duration_since(*at) <= WITHIN);
        let mut slowest: Vec<DecisionTimes> = late.map(|(_, decision)| decision.clone()).collect();
        drop(spells);
        slowest.sort_by_key(|decision| std::cmp::Reverse(decision.taken_us));
        slowest.truncate(DECISIONS_MAX);
        slowest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decision(taken_us: u32) -> DecisionTimes {
        DecisionTimes {
            decision: "dec_1".into(),
            at: Rfc3339(Timestamp::default()),
            event: "evt_1".into(),
            authorization: "iauth_1".into(),
            card: None,
            outcome: "approved",
            reason: "approved",
            source: "policy",
            taken_us,
            stage_us: StageTimes::default(),
            trace_id: None,
        }
    }

    /// Tells of a decision; whether it was written down.
    fn tell(slow: &Slow, minutes: u64, taken_us: u32) -> bool {
        let mut is_written = false;
        slow.tell(taken_us, at(slow, minutes), || {
            is_written = true;
            decision(taken_us)
        });
        is_written
    }

    fn at(slow: &Slow, minutes: u64) -> Instant {
        slow.started.checked_add(Duration::from_mins(minutes)).unwrap()
    }

    fn listed(slow: &Slow, minutes: u64) -> Vec<u32> {
        slow.list(at(slow, minutes)).iter().map(|one| one.taken_us).collect()
    }

    #[test]
    fn the_slowest_hundred_are_kept_whatever_the_order() {
        let seed = fastrand::u64(..);
        println!("seed {seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        let slow = Slow::default();
        let mut told: Vec<u32> = (1..=5_000).collect();
        random.shuffle(&mut told);
        for (place, taken_us) in told.iter().enumerate() {
            tell(&slow, u64::try_from(place).unwrap() / 100, *taken_us);
        }
        let expected: Vec<u32> = (4_901..=5_000).rev().collect();
        assert_eq!(listed(&slow, 50), expected);
    }

    #[test]
    fn what_is_older_than_an_hour_is_gone_and_memory_is_bounded() {
        let slow = Slow::default();
        for hour in 0..5_u64 {
            for minute in 0..60 {
                for taken_us in 1..=150 {
                    tell(&slow, hour * 60 + minute, taken_us + if hour == 0 { 1_000 } else { 0 });
                }
            }
        }
        assert!(listed(&slow, 299).iter().all(|taken_us| *taken_us <= 150));
        let kept: usize = slow.spells.lock().unwrap().iter().map(|spell| spell.decisions.len()).sum();
        assert_eq!(kept, SPELLS_MAX * DECISIONS_MAX);
        assert_eq!(listed(&slow, 1_000), [0_u32; 0]);
    }

    #[test]
    fn a_quick_one_is_not_even_written_down() {
        let slow = Slow::default();
        for _ in 0..DECISIONS_MAX {
            assert!(tell(&slow, 0, 500));
        }
        assert!(!tell(&slow, 0, 500));
        assert!(tell(&slow, 0, 501));
        assert!(tell(&slow, 5, 1), "a new spell begins with whatever comes");
    }
}
