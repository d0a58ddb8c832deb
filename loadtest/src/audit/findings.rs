//! The kinds of violations, and those that were found. How they are found is not here.

use std::collections::BTreeMap;

/// How many of each kind are kept in words.
const EXAMPLES_MAX: u64 = 5;

/// A promise that was broken.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Kind {
    /// An approval above a limit.
    OverLimit,
    /// A decline, or less than what was asked, where there was room.
    DeclinedWithRoom,
    /// An approval of an amount that was not asked for.
    WrongAmount,
    /// A duplicate that was answered differently.
    AnsweredDifferently,
    /// An answer that came too late, and is in the books as if it had counted.
    LateAnswerCounted,
    /// A hold, a captured, a refunded or a remaining amount that differs from Stripe's.
    BooksDiffer,
    /// A decision that was acknowledged, and is not in the books.
    DecisionMissing,
    /// A badly signed question that was answered.
    ForgeryAnswered,
}

impl Kind {
    /// The word in the run record.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OverLimit => "over_limit",
            Self::DeclinedWithRoom => "declined_with_room",
            Self::WrongAmount => "wrong_amount",
            Self::AnsweredDifferently => "answered_differently",
            Self::LateAnswerCounted => "late_answer_counted",
            Self::BooksDiffer => "books_differ",
            Self::DecisionMissing => "decision_missing",
            Self::ForgeryAnswered => "forgery_answered",
        }
    }
}

/// What was found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Findings {
    counts: BTreeMap<Kind, u64>,
    examples: Vec<(Kind, String)>,
}

impl Findings {
    /// A violation was found.
    pub fn found(&mut self, kind: Kind, what: String) {
        let count = self.counts.entry(kind).or_default();
        *count = count.saturating_add(1);
        if *count <= EXAMPLES_MAX {
            self.examples.push((kind, what));
        }
    }

    /// How many of each kind; kinds of which there are none are left out.
    #[must_use]
    pub const fn counts(&self) -> &BTreeMap<Kind, u64> {
        &self.counts
    }

    /// All of them.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.counts.values().fold(0, |sum: u64, count| sum.saturating_add(*count))
    }

    /// The first of each kind, in words.
    pub fn examples(&self) -> impl Iterator<Item = String> {
        self.examples.iter().map(|(kind, what)| format!("{}: {what}", kind.as_str()))
    }
}
