//! The stand-in: what is answered when the books cannot be asked in time.

use crate::domain::{
    AnswerBy, AuthorizationRequest, Decision, DecisionId, Outcome, PolicyVersion, Reason, Source, Stages,
    held_if_approved,
};

/// Why there was no decision.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Cause {
    /// More work than fits.
    Overload,
    /// A decision would have come too late.
    Deadline,
    /// The journal did not take it, or the card's books could not be used.
    Journal,
}

impl Cause {
    /// Every cause.
    pub const ALL: [Self; 3] = [Self::Overload, Self::Deadline, Self::Journal];

    /// The word in settings and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Overload => "overload",
            Self::Deadline => "deadline",
            Self::Journal => "journal",
        }
    }

    pub(super) const fn reason(self) -> Reason {
        match self {
            Self::Overload => Reason::StandInOverload,
            Self::Deadline => Reason::StandInDeadline,
            Self::Journal => Reason::StandInJournal,
        }
    }
}

/// The rule for each cause.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct StandIn {
    /// For [`Cause::Overload`].
    pub overload: StandInRule,
    /// For [`Cause::Deadline`].
    pub deadline: StandInRule,
    /// For [`Cause::Journal`].
    pub journal: StandInRule,
}

/// What is answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum StandInRule {
    /// No.
    #[default]
    Decline,
    /// Yes, up to so many minor units.
    Approve {
        /// The most that is held on one question.
        amount_max: i64,
    },
}

impl StandIn {
    /// The answer to a request that could not be decided. The same request and cause give the same answer.
    #[must_use]
    pub fn decide(&self, request: &AuthorizationRequest, cause: Cause) -> Decision {
        let rule = match cause {
            Cause::Overload => self.overload,
            Cause::Deadline => self.deadline,
            Cause::Journal => self.journal,
        };
        let held = request.asked.ok().map(|asked| held_if_approved(&request.merchant.category, asked));
        let granted = match (rule, held) {
            (StandInRule::Approve { amount_max }, Some(held)) if held <= amount_max => Some(held),
            (StandInRule::Approve { .. } | StandInRule::Decline, _) => None,
        };
        Decision {
            id: DecisionId::of(&request.authorization, request.question()),
            at: request.received_at,
            outcome: if granted.is_some() { Outcome::Approved } else { Outcome::Declined },
            granted: granted.unwrap_or(0),
            reason: cause.reason(),
            violation: request.asked.err(),
            limits: Vec::new(),
            largest_approvable: None,
            challenge: false,
            policy: PolicyVersion::stand_in(),
            source: Source::StandIn,
            answer_by: AnswerBy::Direct,
            stages: Stages::default(),
        }
    }
}
