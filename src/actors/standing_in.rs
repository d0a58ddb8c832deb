//! Answering in place of a decision: what is checked without the ledger, how often a card is approved, and that the answer
//! gets into the ledger. Which rule holds for which cause is `stand_in.rs`.

use std::sync::Arc;

use dashmap::DashMap;

use super::{
    Cause, StandInRule,
    directory::{Shared, Undecided},
    places::Backlog,
    reply::Reply,
    stand_in,
    unconfirmed::view,
};
use crate::{
    domain::{
        Account, Answer, AuthorizationRequest, Decided, Decision, Outcome, Timestamp, decide_without_ledger,
    },
    ledger::{Hops, StoodIn, Work},
    metrics::Shed,
};

const DAY_SECONDS: i64 = 24 * 60 * 60;

/// How many requests of each card the stand-in has approved today, by the days of UTC. A card that finds no room is not
/// approved.
pub(super) struct Approvals {
    cards: DashMap<Account, Today>,
    cards_max: usize,
}

struct Today {
    day: i64,
    approvals: u32,
}

impl Approvals {
    pub(super) fn new(cards_max: usize) -> Self {
        Self { cards: DashMap::new(), cards_max }
    }

    /// Counts one more approval, unless there are as many as there may be.
    pub(super) fn take(&self, account: &Account, at: Timestamp, approvals_max: u32) -> bool {
        let day = day(at);
        if self.cards.len() >= self.cards_max && !self.cards.contains_key(account) {
            return false;
        }
        let mut today = self.cards.entry(account.clone()).or_insert(Today { day, approvals: 0 });
        if today.day < day {
            *today = Today { day, approvals: 0 };
        }
        let has_room = today.approvals < approvals_max;
        today.approvals = today.approvals.saturating_add(u32::from(has_room));
        has_room
    }

    /// The last one was not given after all.
    fn give_back(&self, account: &Account) {
        if let Some(mut today) = self.cards.get_mut(account) {
            today.approvals = today.approvals.saturating_sub(1);
        }
    }

    /// Forgets the days before.
    pub(super) fn sweep(&self, now: Timestamp) {
        let day = day(now);
        self.cards.retain(|_, today| today.day >= day);
    }
}

fn day(at: Timestamp) -> i64 {
    at.as_seconds().div_euclid(DAY_SECONDS)
}

/// An answer of the stand-in's that nothing known here stands against.
pub(super) struct Proposal {
    decided: Decided,
    backlog: Option<Backlog>,
    cause: Cause,
}

impl Proposal {
    /// What would be answered.
    pub(super) fn answer(&self) -> Answer {
        self.decided.decision.answer(self.decided.request.is_amount_controllable)
    }
}

impl Shared {
    /// Answers in place of a decision, and records the answer.
    pub(super) fn stand_in(self: &Arc<Self>, undecided: &Undecided) -> Answer {
        match self.propose(undecided) {
            Ok(proposal) => self.give(proposal),
            Err(before) => before,
        }
    }

    /// What the stand-in would answer, unless an answer to the request is known: that one. From here on this one is. An
    /// approval that the ledger could not count is none, nor is one of what was declined in memory.
    pub(super) fn propose(self: &Arc<Self>, undecided: &Undecided) -> Result<Proposal, Answer> {
        let Undecided { request, cause, is_declined } = undecided;
        if let Some(before) = self.unconfirmed.answer_to(request) {
            self.metrics.decisions.repeats.increment(1);
            return Err(before);
        }
        let backlog = Backlog::take(self, &request.authorization);
        let may_approve = backlog.is_some() && !is_declined && !self.is_failing(&request.account());
        let decision = self.decide_without_ledger(request, *cause, may_approve);
        let decided = Decided { request: Arc::clone(request), decision };
        let proposal = Proposal { decided, backlog, cause: *cause };
        match self.unconfirmed.agree(view(&proposal.decided), &proposal.answer()) {
            Ok(()) => Ok(proposal),
            Err(before) => {
                self.give_back(&proposal.decided.decision, request);
                self.metrics.decisions.repeats.increment(1);
                Err(before)
            }
        }
    }

    /// Gives the answer that was proposed, and sends it on its way into the ledger.
    pub(super) fn give(self: &Arc<Self>, proposal: Proposal) -> Answer {
        let answer = proposal.answer();
        let Proposal { decided, backlog, cause } = proposal;
        self.told(&decided.decision);
        match cause {
            Cause::Overload => {}
            Cause::Deadline => self.metrics.decisions.shed.get(Shed::Deadline).increment(1),
            Cause::Journal => self.metrics.decisions.shed.get(Shed::Journal).increment(1),
        }
        let (root, account) = (self.root_of(&decided.request), decided.request.account());
        let is_recorded = backlog.is_some_and(|place| {
            let caller = Some(Reply::StandIn { _place: place });
            let stood_in = StoodIn { decided, hops: Hops::default(), caller };
            self.send(root, account, |_| Work::StandIn(Box::new(stood_in))).is_ok()
        });
        if !is_recorded {
            self.metrics.decisions.shed.get(Shed::StandInBacklog).increment(1);
        }
        answer
    }

    /// Another node has answered before: its answer leaves.
    pub(super) fn withdraw(&self, proposal: &Proposal) {
        self.give_back(&proposal.decided.decision, &proposal.decided.request);
        self.metrics.decisions.repeats.increment(1);
    }

    /// Records that the stand-in's answer of another node takes the place of a decision of this one.
    pub(super) fn overrule(&self, request: &Arc<AuthorizationRequest>, answer: &Answer) {
        let decision = self.as_before(request, answer);
        let decided = Decided { request: Arc::clone(request), decision };
        let stood_in = StoodIn { decided, hops: Hops::default(), caller: None };
        // The other node records it as well.
        let _ = self.send(self.root_of(request), request.account(), |_| Work::StandIn(Box::new(stood_in)));
    }

    /// The stand-in's decision that this answer was made of.
    pub(super) fn as_before(&self, request: &AuthorizationRequest, before: &Answer) -> Decision {
        let cause = Cause::ALL.into_iter().find(|cause| stand_in::reason(*cause) == before.reason);
        let granted = (before.outcome != Outcome::Declined).then(|| held(request)).flatten();
        self.addressed(stand_in::decision(request, cause.unwrap_or(Cause::Deadline), granted), request)
    }

    fn decide_without_ledger(
        &self,
        request: &AuthorizationRequest,
        cause: Cause,
        may_approve: bool,
    ) -> Decision {
        let granted = may_approve.then(|| self.granted_without_ledger(request, cause)).flatten();
        self.addressed(stand_in::decision(request, cause, granted), request)
    }

    /// What the rule for the cause approves: what the policy approves on a card without a history, as often as a card may
    /// be approved in a day.
    fn granted_without_ledger(&self, request: &AuthorizationRequest, cause: Cause) -> Option<i64> {
        let StandInRule::Approve { amount_max, approvals_max } = self.settings.stand_in.rule(cause) else {
            return None;
        };
        let held = held(request).filter(|held| *held <= amount_max)?;
        let source = Arc::clone(&self.policy.borrow());
        let policy = source.for_card_of(
            request.connected_account.as_ref(),
            request.card.as_ref(),
            request.group.as_deref(),
        );
        let outcome = decide_without_ledger(&policy, request).outcome;
        (outcome == Outcome::Approved
            && self.approvals.take(&request.account(), request.received_at, approvals_max))
        .then_some(held)
    }

    /// A decision that knows how its answer goes to Stripe.
    fn addressed(&self, decision: Decision, request: &AuthorizationRequest) -> Decision {
        let answer_by = self.settings.answering.way(&request.authorization, decision.challenge);
        Decision { answer_by, ..decision }
    }

    fn give_back(&self, decision: &Decision, request: &AuthorizationRequest) {
        if decision.outcome != Outcome::Declined {
            self.approvals.give_back(&request.account());
        }
    }
}

fn held(request: &AuthorizationRequest) -> Option<i64> {
    request.asked.ok().map(|_| request.held_if_approved())
}
