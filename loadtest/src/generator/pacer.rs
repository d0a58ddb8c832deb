//! When questions are due: an open loop, which does not wait for answers.

use crate::scenario::{Arrivals, Scenario};

/// The times at which questions are due, in order.
pub(super) struct Pacer {
    stages: Vec<Span>,
    place: usize,
    at_s: f64,
    arrivals: Arrivals,
    random: fastrand::Rng,
}

/// A stage, in seconds and questions a second.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Span {
    pub(super) from_s: f64,
    pub(super) to_s: f64,
    rate_from: f64,
    rate_to: f64,
}

impl Pacer {
    pub(super) fn new(scenario: &Scenario) -> Self {
        let mut from_s = 0.0;
        let stages = scenario.stages.iter().map(|stage| {
            let to_s = from_s + stage.share * scenario.duration_s;
            let span = Span {
                from_s,
                to_s,
                rate_from: stage.from * scenario.rate,
                rate_to: stage.to.unwrap_or(stage.from) * scenario.rate,
            };
            from_s = to_s;
            span
        });
        let mut pacer = Self {
            stages: stages.collect(),
            place: 0,
            at_s: 0.0,
            arrivals: scenario.arrivals,
            random: fastrand::Rng::with_seed(scenario.seed),
        };
        pacer.advance();
        pacer
    }

    pub(super) fn stages(&self) -> &[Span] {
        &self.stages
    }

    /// When the next question is due, and in which stage; nothing at the end.
    pub(super) fn next(&self) -> Option<(u64, usize)> {
        self.stages.get(self.place).map(|_| (microseconds(self.at_s), self.place))
    }

    /// Goes on to the one after.
    pub(super) fn advance(&mut self) {
        while let Some(stage) = self.stages.get(self.place) {
            let slope = (stage.rate_to - stage.rate_from) / (stage.to_s - stage.from_s);
            let rate = stage.rate_from + slope * (self.at_s - stage.from_s);
            let questions = match self.arrivals {
                Arrivals::Poisson => -(1.0 - self.random.f64()).ln(),
                Arrivals::Constant => 1.0,
            };
            // After so long that many questions would have come: `rate t + slope t² / 2`, solved for `t`. Not a number
            // where the rate falls to nothing before.
            let at_s = self.at_s + 2.0 * questions / (rate + (rate * rate + 2.0 * slope * questions).sqrt());
            if at_s < stage.to_s {
                self.at_s = at_s;
                return;
            }
            self.at_s = stage.to_s;
            self.place = self.place.saturating_add(1);
        }
    }
}

#[allow(
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a day has less than 2^53 microseconds"
)]
fn microseconds(seconds: f64) -> u64 {
    (seconds * 1e6) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due(change: &str) -> Vec<(u64, usize)> {
        let text = format!(
            "about = 'x'\nrate = 100\nduration_s = 20\ncards = 5\n{change}\n[limits]\nall_time = 100\n\
            [objectives]\nunanswered_max = 0\nstand_in_max = 0\n"
        );
        let mut pacer = Pacer::new(&Scenario::parse("x", &text).unwrap());
        std::iter::from_fn(|| {
            let due = pacer.next();
            pacer.advance();
            due
        })
        .collect()
    }

    #[test]
    fn questions_are_due_at_the_rate_of_their_stage() {
        let even = due("arrivals = 'constant'");
        assert!((1_998..=2_000).contains(&even.len()), "{}", even.len());
        assert!(even.windows(2).all(|two| (9_999..=10_001).contains(&(two[1].0 - two[0].0))));
        // With chance in it, 2000 come with a deviation of 45.
        let chance = due("");
        assert!((1_800..2_200).contains(&chance.len()), "{}", chance.len());
        assert!(chance.windows(2).all(|two| two[0].0 <= two[1].0));
        assert_eq!(chance, due(""), "the same seed, the same times");
    }

    #[test]
    fn the_rate_may_rise_from_nothing_and_jump() {
        let stages = "stages = [{share = 0.5, from = 0, to = 1}, {share = 0.5, from = 2}]";
        let due = due(stages);
        let in_stage = |stage: usize| due.iter().filter(|(_, place)| *place == stage).count();
        assert!((400..620).contains(&in_stage(0)), "{}", in_stage(0));
        assert!((1_800..2_200).contains(&in_stage(1)), "{}", in_stage(1));
        let early = due.iter().filter(|(us, _)| *us < 2_000_000).count();
        assert!(early < 60, "{early} of the ramp's first fifth");
    }
}
