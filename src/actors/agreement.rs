//! One answer to one request, whichever nodes were asked and whatever became of them: before an answer leaves, the arbiter of
//! the account is asked whether another one has left already. Which node is the arbiter is not known here.

use std::{sync::Arc, time::Duration};

use super::{
    Arrival, TimedAnswer,
    directory::{Directory, Undecided},
    standing_in::Proposal,
    unconfirmed::Claim,
};
use crate::{
    domain::{Answer, AuthorizationRequest, Source},
    planted::{self, Planted},
};

/// How long the arbiter of an account may take to say whether it knows of another answer.
pub const CLAIM_WITHIN: Duration = Duration::from_millis(200);

impl Directory {
    /// Decides a request, or answers it by stand-in. The answer is there by the deadline of `arrival`. Where several nodes
    /// answer, this is for the one that all of them ask about this account, the arbiter; the others use
    /// [`ask_with`](Self::ask_with).
    pub async fn ask(&self, request: impl Into<Arc<AuthorizationRequest>>, arrival: Arrival) -> TimedAnswer {
        match self.decide(request, arrival).await {
            Ok(answer) => answer,
            Err(undecided) => self.stand_in(&undecided),
        }
    }

    /// The same where another node is the arbiter of the account: `claim` tells it what is about to be answered, and gives
    /// what it says, which is the first answer that it was told. Nothing: it does not say.
    pub async fn ask_with(
        &self,
        request: impl Into<Arc<AuthorizationRequest>>,
        arrival: Arrival,
        claim: impl AsyncFnOnce(Claim) -> Option<Answer>,
    ) -> TimedAnswer {
        let request = request.into();
        match self.decide(Arc::clone(&request), before_claiming(arrival)).await {
            Ok(timed) => self.confirm(&request, timed, claim).await,
            Err(undecided) => self.stand_in_with(&undecided, claim).await,
        }
    }

    /// Gives a decision only if the arbiter knows of no other answer.
    pub async fn confirm(
        &self,
        request: &Arc<AuthorizationRequest>,
        timed: TimedAnswer,
        claim: impl AsyncFnOnce(Claim) -> Option<Answer>,
    ) -> TimedAnswer {
        // What the journal has of the stand-in's is settled.
        if timed.answer.source == Source::StandIn || planted::is(Planted::ClaimSkipped) {
            return timed;
        }
        let claimed = Claim::of(request, &timed.answer);
        let decision = claimed.view.decision;
        match claim(claimed.clone()).await {
            Some(first) if first.source == Source::StandIn => {
                self.shared().unconfirmed.set(claimed.view, first.clone());
                self.shared().overrule(request, &first);
                first.into()
            }
            Some(_) => {
                self.shared().unconfirmed.hand_over(decision);
                timed
            }
            None => timed,
        }
    }

    /// Stands in for what was not decided, where another node is the arbiter of the account.
    pub async fn stand_in_with(
        &self,
        undecided: &Undecided,
        claim: impl AsyncFnOnce(Claim) -> Option<Answer>,
    ) -> TimedAnswer {
        let shared = self.shared();
        let proposed = shared.propose(undecided);
        let answer = proposed.as_ref().map_or_else(Clone::clone, Proposal::answer);
        let claimed = Claim::of(&undecided.request, &answer);
        let decision = claimed.view.decision;
        let first =
            if planted::is(Planted::ClaimSkipped) { Some(answer.clone()) } else { claim(claimed).await };
        if first.is_some() {
            shared.unconfirmed.hand_over(decision);
        }
        match (proposed, first) {
            (Ok(proposal), Some(first)) if first != answer => {
                shared.withdraw(&proposal);
                first.into()
            }
            (Ok(proposal), _) => shared.give(proposal).into(),
            (Err(before), first) => first.unwrap_or(before).into(),
        }
    }

    /// As the arbiter of its account: the first answer to a request that this node has given or was told.
    #[must_use]
    pub fn agree(&self, claim: Claim) -> Answer {
        let Claim { view, answer } = claim;
        self.shared().unconfirmed.agree(view, &answer).err().unwrap_or(answer)
    }

    /// Answers without the ledger what is not decided.
    #[must_use]
    pub fn stand_in(&self, undecided: &Undecided) -> TimedAnswer {
        self.shared().stand_in(undecided).into()
    }
}

/// The arrival of a request, with time left to ask the arbiter.
fn before_claiming(arrival: Arrival) -> Arrival {
    let deadline = arrival.deadline.checked_sub(CLAIM_WITHIN).unwrap_or(arrival.received);
    Arrival { deadline, ..arrival }
}
