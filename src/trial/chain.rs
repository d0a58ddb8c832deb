//! The states of all accounts at some place in the journal, on which a request can be decided under any policy.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use crate::domain::{
    Account, AuthorizationRequest, Budget, BudgetEvent, BudgetPolicy, Card, CardPolicy, Charged, Decision,
    Event, Holder, Leg, Move, Moves, NeedsHistory, Policy, Timestamp, decide_charging, windows_in_force,
};

/// The state of one account.
#[derive(Default)]
struct Chain {
    card: Card,
    budget: Budget,
    /// Everything that happened so far, if it may be needed once more.
    history: Vec<Event>,
}

/// The states of all accounts.
#[derive(Default)]
pub(crate) struct Chains {
    by_account: HashMap<Account, Chain>,
    /// Accounts whose whole history is kept.
    with_history: HashSet<Account>,
    /// Accounts whose whole history turned out to be needed.
    pub(crate) missed: HashSet<Account>,
    /// Whether only accounts that were taken in are known; otherwise each begins empty.
    is_partial: bool,
    /// Whether what cards change for budgets follows from the cards, under the policy that they are decided under, and not from
    /// the journal.
    derives_legs: bool,
}

/// A request that can be decided.
pub(super) struct Ready {
    /// With what was mirrored of Stripe's own controls.
    request: Arc<AuthorizationRequest>,
    of_card: Arc<CardPolicy>,
    charges: Arc<[Account]>,
    is_counted: bool,
}

/// How a pass over a journal ended.
pub enum Ended<Pass, Found> {
    /// It missed the history of some cards: another pass over the same entries is needed.
    Again(Pass),
    /// It was the last one: here is what it found.
    Found(Box<Found>),
}

/// Why a recorded request is not decided.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Undecided {
    /// The chain does not hold the `spending_controls` that the request carried.
    NoControls,
    /// A window of the policy reaches further back than a state: it is among the missed ones now.
    NeedsHistory,
}

impl Chains {
    /// States that keep the whole history of some accounts.
    pub(crate) fn new(with_history: HashSet<Account>, derives_legs: bool) -> Self {
        Self { with_history, derives_legs, ..Self::default() }
    }

    /// States of the accounts that are taken in.
    pub(super) fn partial() -> Self {
        Self { is_partial: true, derives_legs: true, ..Self::default() }
    }

    /// Whether the state of an account is here.
    pub(super) fn has(&self, account: &Account) -> bool {
        self.by_account.contains_key(account)
    }

    /// Takes an account in with the state that it has.
    pub(super) fn enter(&mut self, account: Account, card: Card, budget: Budget) {
        self.missed.remove(&account);
        self.by_account.insert(account, Chain { card, budget, history: Vec::new() });
    }

    /// Forgets an account.
    pub(super) fn leave(&mut self, account: &Account) {
        self.by_account.remove(account);
    }

    /// The budgets that a request charges under `policy`.
    pub(super) fn charged(
        &self,
        account: &Account,
        policy: &Policy,
        request: &AuthorizationRequest,
    ) -> Arc<[Account]> {
        let counted = self.by_account.get(account).and_then(|chain| chain.counted(request));
        counted.unwrap_or_else(|| {
            let of_card = policy.for_card_of(
                request.connected_account.as_ref(),
                request.card.as_ref(),
                request.group.as_deref(),
            );
            policy.budgets().charged(&of_card.budgets, &Holder::from(request))
        })
    }

    /// Decides a recorded request under `policy`. Nothing changes but the windows that are summed, and what the card charges.
    pub(crate) fn decide(
        &mut self,
        account: &Account,
        policy: &Policy,
        request: &Arc<AuthorizationRequest>,
    ) -> Result<Decision, Undecided> {
        let Ready { request, of_card, charges, is_counted } = self.prepare(account, policy, request)?;
        let accounts = charges.iter().filter_map(|one| {
            let budget = &self.by_account.get(one)?.budget;
            let policy = policy.budgets().of(one).map(|policy| &**policy);
            Some(Charged { account: one, policy, budget, is_counted })
        });
        let accounts: Vec<Charged<'_>> = accounts.collect();
        let card = self.by_account.get(account).map(|chain| &chain.card);
        let empty = Card::default();
        Ok(decide_charging(card.unwrap_or(&empty), &accounts, &of_card, &request))
    }

    /// Puts the windows in place that `policy` has for a request, of the card and of the budgets that it charges.
    pub(super) fn prepare(
        &mut self,
        account: &Account,
        policy: &Policy,
        request: &Arc<AuthorizationRequest>,
    ) -> Result<Ready, Undecided> {
        let chain = self.by_account.entry(account.clone()).or_default();
        let mut request = Arc::clone(request);
        if let Some(fingerprint) = request.details.controls {
            let controls = chain.card.stripe_controls.clone();
            let controls = controls.filter(|controls| controls.fingerprint() == fingerprint);
            Arc::make_mut(&mut request).stripe_controls = Some(controls.ok_or(Undecided::NoControls)?);
        }
        let of_card = policy.for_card_of(
            request.connected_account.as_ref(),
            request.card.as_ref(),
            request.group.as_deref(),
        );
        if chain.adopt(&of_card, &request).is_err() {
            self.missed.insert(account.clone());
            return Err(Undecided::NeedsHistory);
        }
        let charges = policy.budgets().charged(&of_card.budgets, &Holder::from(&*request));
        if self.derives_legs {
            chain.card.charges = Arc::clone(&charges);
        }
        let counted = chain.counted(&request);
        let is_counted = counted.is_some();
        let charges = counted.unwrap_or(charges);
        for one in charges.iter() {
            let budget = self.by_account.entry(one.clone()).or_default();
            if let Some(of_budget) = policy.budgets().of(one)
                && budget.adopt_budget(of_budget, request.received_at).is_err()
            {
                self.missed.insert(one.clone());
                return Err(Undecided::NeedsHistory);
            }
        }
        Ok(Ready { request, of_card, charges, is_counted })
    }

    /// Applies an event.
    pub(crate) fn apply(&mut self, account: &Account, event: &Event) {
        let is_derived = match event {
            Event::Charges(_) => true,
            Event::Budget(event) => matches!(**event, BudgetEvent::Leg(_)),
            Event::Decided(_)
            | Event::StoodIn(_)
            | Event::Observed(_)
            | Event::Recalled(_)
            | Event::Joined(_)
            | Event::Carried(_)
            | Event::Controls(_)
            | Event::Command(_)
            | Event::Policy(_)
            | Event::Delivered(_)
            | Event::Snapshot(_) => false,
        };
        if self.derives_legs && is_derived {
            return;
        }
        let mut moves = Moves::new();
        self.put(account, event, &mut moves);
        if !self.derives_legs {
            return;
        }
        let at = self.by_account.get(account).map_or_else(Timestamp::default, |chain| chain.card.time);
        for Move { of, charges, before, after } in moves {
            for budget in charges.iter() {
                let leg = Leg {
                    of: of.clone(),
                    card: account.clone(),
                    at,
                    turn: 0,
                    before: before.clone(),
                    after: after.clone(),
                };
                let event = Event::Budget(Box::new(BudgetEvent::Leg(leg)));
                self.put(budget, &event, &mut Moves::new());
            }
        }
    }

    fn put(&mut self, account: &Account, event: &Event, moves: &mut Moves) {
        if self.is_partial && !self.has(account) {
            return;
        }
        let chain = self.by_account.entry(account.clone()).or_default();
        let mut is_snapshot = false;
        match event {
            // The state is here already. What the snapshot no longer has is evicted here as well.
            Event::Snapshot(card) => {
                is_snapshot = true;
                chain.card.forget_like(card);
            }
            Event::Budget(event) => match &**event {
                BudgetEvent::Snapshot(_) => is_snapshot = true,
                event @ (BudgetEvent::Leg(_) | BudgetEvent::Command(_) | BudgetEvent::Warned(_)) => {
                    chain.budget.apply(event);
                }
            },
            Event::Decided(_)
            | Event::StoodIn(_)
            | Event::Observed(_)
            | Event::Recalled(_)
            | Event::Joined(_)
            | Event::Carried(_)
            | Event::Controls(_)
            | Event::Charges(_)
            | Event::Command(_)
            | Event::Policy(_)
            | Event::Delivered(_) => chain.card.apply_moving(event, moves),
        }
        if !is_snapshot && self.with_history.contains(account) && !matches!(event, Event::Recalled(_)) {
            chain.history.push(event.clone());
        }
    }
}

impl Chain {
    /// The budgets that the authorization of a request charges already.
    fn counted(&self, request: &AuthorizationRequest) -> Option<Arc<[Account]>> {
        let known = self.card.authorizations.get(&request.authorization)?;
        (!known.charges.is_empty()).then(|| Arc::clone(&known.charges))
    }

    /// Puts the policy's windows in place, from the whole history where the card's state does not reach back far enough.
    fn adopt(&mut self, policy: &CardPolicy, request: &AuthorizationRequest) -> Result<(), NeedsHistory> {
        let windows = || windows_in_force(policy, request.stripe_controls.as_deref());
        let adopted = self.card.adopt(windows(), policy.refunds_restore, request.received_at);
        if adopted.is_ok() || self.history.is_empty() {
            return adopted;
        }
        let mut card = Card::default();
        card.adopt(windows(), policy.refunds_restore, Timestamp::default())?;
        for event in &self.history {
            card.apply(event);
        }
        card.charges = Arc::clone(&self.card.charges);
        self.card = card;
        Ok(())
    }

    /// The same for a budget.
    fn adopt_budget(&mut self, policy: &BudgetPolicy, now: Timestamp) -> Result<(), NeedsHistory> {
        if self.budget.keeps(policy.windows(), policy.refunds_restore) {
            return Ok(());
        }
        let adopted = self.budget.adopt(policy.windows(), policy.refunds_restore, now);
        if adopted.is_ok() || self.history.is_empty() {
            return adopted;
        }
        let mut budget = Budget::default();
        budget.adopt(policy.windows(), policy.refunds_restore, Timestamp::default())?;
        for event in &self.history {
            if let Event::Budget(event) = event {
                budget.apply(event);
            }
        }
        self.budget = budget;
        Ok(())
    }
}
