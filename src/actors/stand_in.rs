//! The stand-in: what is answered when the books cannot be asked in time.

use crate::{
    domain::{
        AnswerBy, AuthorizationRequest, Decision, DecisionId, Outcome, PolicyVersion, Reason, Source, Stages,
    },
    ledger::Cause,
};

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
        turn: 0,
        id: DecisionId::of(&request.authorization, request.question()),
        at: request.received_at,
        outcome: if granted.is_some() { Outcome::Approved } else { Outcome::Declined },
        granted: granted.unwrap_or(0),
        reason: reason(cause),
        violation: request.asked.err(),
        limits: Vec::new(),
        largest_approvable: None,
        would_pass: None,
        challenge: false,
        ruled: None,
        excepted: None,
        policy: PolicyVersion::stand_in(),
        source: Source::StandIn,
        answer_by: AnswerBy::Direct,
        stages: Stages::default(),
    }
}

/// The reason of a stand-in decision for this cause.
pub(super) const fn reason(cause: Cause) -> Reason {
    match cause {
        Cause::Overload => Reason::StandInOverload,
        Cause::Deadline => Reason::StandInDeadline,
        Cause::Journal => Reason::StandInJournal,
    }
}
