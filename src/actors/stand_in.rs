//! The stand-in: what is answered when the books cannot be asked in time.

use crate::domain::{
    AnswerBy, AuthorizationRequest, Decision, DecisionId, Outcome, PolicyVersion, Reason, Source, Stages,
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
    /// Yes, where nothing that is known without the ledger stands against it.
    Approve {
        /// The most that is held on one request, in minor units.
        amount_max: i64,
        /// How many requests of one card are approved in a day of UTC, by one node.
        approvals_max: u32,
    },
}

impl StandIn {
    /// The rule for a cause.
    #[must_use]
    pub const fn rule(&self, cause: Cause) -> StandInRule {
        match cause {
            Cause::Overload => self.overload,
            Cause::Deadline => self.deadline,
            Cause::Journal => self.journal,
        }
    }

    /// Whether anything is ever approved.
    #[must_use]
    pub fn approves(&self) -> bool {
        Cause::ALL.into_iter().any(|cause| self.rule(cause) != StandInRule::Decline)
    }
}

/// The stand-in's decision: an approval of what is `granted`, or a decline.
pub(super) fn decision(request: &AuthorizationRequest, cause: Cause, granted: Option<i64>) -> Decision {
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
        ruled: None,
        policy: PolicyVersion::stand_in(),
        source: Source::StandIn,
        answer_by: AnswerBy::Direct,
        stages: Stages::default(),
    }
}
