//! The requests of a card, approved or not: when the latest were, and what windows of attempts and declines count.

use super::{
    authorization::{Answered, Authorization},
    card::Card,
    decision::Outcome,
    policy::Occurrence,
    time::Timestamp,
    window::Spend,
};

/// When the latest requests were.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Latest {
    /// Of any request.
    pub attempt: Timestamp,
    /// Of a request that was approved, at least in part.
    pub approval: Timestamp,
}

impl Default for Latest {
    fn default() -> Self {
        Self { attempt: Timestamp::MIN, approval: Timestamp::MIN }
    }
}

impl Latest {
    /// The later of each.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        Self { attempt: self.attempt.max(other.attempt), approval: self.approval.max(other.approval) }
    }

    fn of(answered: &Answered) -> Self {
        let approval = if answered.is_approval() { answered.at } else { Timestamp::MIN };
        Self { attempt: answered.at, approval }
    }
}

impl Authorization {
    /// When its latest requests were.
    #[must_use]
    pub fn latest(&self) -> Latest {
        self.answers.iter().map(Latest::of).fold(Latest::default(), Latest::max)
    }

    /// What windows of these occurrences count of it.
    #[must_use]
    pub fn counted_as(&self, occurrence: Occurrence, refunds_restore: bool) -> Vec<Spend> {
        let is_counted = |answered: &&Answered| match occurrence {
            Occurrence::Approval | Occurrence::Different(_) => false,
            Occurrence::Attempt => true,
            Occurrence::Decline => answered.answer.outcome == Outcome::Declined,
        };
        match occurrence {
            Occurrence::Approval | Occurrence::Different(_) => self.spends(refunds_restore),
            Occurrence::Attempt | Occurrence::Decline => {
                let counted = self.answers.iter().filter(is_counted);
                let spend = |answered: &Answered| Spend {
                    at: answered.at,
                    amount: 0,
                    count: 1,
                    merchant: self.merchant.clone(),
                };
                counted.map(spend).collect()
            }
        }
    }
}

impl Card {
    /// Notes the latest requests of an authorization that were `before` a change and are `after` it. Where the latest of all
    /// was taken back, the one before it counts again.
    pub(super) fn note_latest(&mut self, before: Latest, after: Latest) {
        let is_taken_back = (before.approval == self.latest.approval && after.approval < before.approval)
            || (before.attempt == self.latest.attempt && after.attempt < before.attempt);
        self.latest = if is_taken_back {
            let known = self.authorizations.values().map(Authorization::latest);
            known.fold(self.forgotten.latest, Latest::max)
        } else {
            self.latest.max(after)
        };
    }
}
