//! The books of one card: its authorizations, what they use of its windows, and nothing that has settled and left
//! every window. Events go in; they cannot be refused.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    attempts::Latest,
    authorization::{Answered, Authorization},
    authorizations::Authorizations,
    budget::{Side, Sums},
    controls::Controls,
    decision::Source,
    event::{Decided, Event, Joined},
    evicted::Forgotten,
    exception::{Excepted, Exceptions, Use},
    ids::{Account, AuthorizationId, CardId, ConnectedAccountId, Mention, TransactionId},
    merchant::Merchant,
    money::Currency,
    observed::{Fact, Observation},
    policy::{Measure, Occurrence, Window},
    request::AuthorizationRequest,
    settling::book_listed,
    standing::{Standing, State},
    time::Timestamp,
    transaction::Transaction,
    window::{Spend, Tally, Uses},
};

/// Everything that is known of one card.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Card {
    /// The card's currency, from the first amount that was seen.
    pub currency: Option<Currency>,
    /// The latest time that anything was decided at. It never goes back, whatever a node's clock says.
    pub time: Timestamp,
    /// Open authorizations, and the settled ones that may still be asked about.
    pub authorizations: Authorizations,
    /// Captures and refunds that name no authorization.
    pub unlinked: BTreeMap<TransactionId, Unlinked>,
    /// The authorizations of transactions that are known by a listing or a correction: their next version may say that
    /// they belong elsewhere.
    pub places: BTreeMap<TransactionId, AuthorizationId>,
    /// The running sums of the windows in force.
    pub tallies: Vec<Tally>,
    /// Whether the sums count refunds as given back.
    pub refunds_restore: bool,
    /// The group that the card joined last.
    pub group: Option<Arc<str>>,
    /// What Stripe said last of the card itself; of the cardholder, in its own books.
    pub standing: Option<Standing>,
    /// The connected account that it belongs to, from the first event that names one.
    pub connected_account: Option<ConnectedAccountId>,
    /// The `spending_controls` at Stripe that its last request carried, where the policy mirrors them.
    pub stripe_controls: Option<Arc<Controls>>,
    /// The card that it replaces, whose books have its purchases.
    pub joined: Option<Joined>,
    /// Cards that have joined these books with purchases, and up to which entry those are here.
    pub carried: Vec<(CardId, u64)>,
    /// How far back these books no longer reach.
    pub forgotten: Forgotten,
    /// What the authorizations and transactions came to that the books have let go.
    pub let_go: Totals,
    /// When its latest requests were.
    pub latest: Latest,
    /// The rule that declines all its requests, and until when.
    pub blocked: Option<(Arc<str>, Timestamp)>,
    /// The budgets that it charged last.
    pub charges: Arc<[Account]>,
    /// What operators have done to it.
    pub exceptions: Exceptions,
}

/// Minor units over the life of a card, in its currency.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Totals {
    /// Captured, linked or not.
    pub captured: i64,
    /// Refunded.
    pub refunded: i64,
    /// Held or captured beyond what the policy granted.
    pub overrun: i64,
}

impl Totals {
    pub(super) fn plus(self, other: Self) -> Self {
        Self {
            captured: self.captured.saturating_add(other.captured),
            refunded: self.refunded.saturating_add(other.refunded),
            overrun: self.overrun.saturating_add(other.overrun),
        }
    }

    pub(super) fn minus(self, other: Self) -> Self {
        Self {
            captured: self.captured.saturating_sub(other.captured),
            refunded: self.refunded.saturating_sub(other.refunded),
            overrun: self.overrun.saturating_sub(other.overrun),
        }
    }
}

/// A capture or refund without an authorization.
#[derive(Clone, PartialEq, Debug)]
pub struct Unlinked {
    /// The transaction.
    pub transaction: Transaction,
    /// Its currency.
    pub currency: Option<Currency>,
    /// Where.
    pub merchant: Merchant,
    /// The budgets that it charges.
    pub charges: Arc<[Account]>,
}

/// What changed of what the budgets of a card are charged.
pub type Moves = Vec<Move>;

/// An authorization, or a transaction without one, uses something else of its budgets than before.
#[derive(Clone, PartialEq, Debug)]
pub struct Move {
    /// The authorization or transaction.
    pub of: Mention,
    /// The budgets.
    pub charges: Arc<[Account]>,
    /// What it used.
    pub before: Side,
    /// What it uses now.
    pub after: Side,
}

/// A window reaches further back than the books do: fold the journal from its first entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a window of the policy reaches further back than the card's snapshot")]
pub struct NeedsHistory;

impl Card {
    /// The answer that was given to the same question before.
    #[must_use]
    pub fn answer_to(&self, request: &AuthorizationRequest) -> Option<&Answered> {
        self.authorizations.get(&request.authorization)?.answer_to(request)
    }

    /// Books an event. What happened, happened: this cannot fail.
    pub fn apply(&mut self, event: &Event) {
        self.apply_moving(event, &mut Moves::new());
    }

    /// Books an event, and adds to `moves` what that changes for the budgets.
    pub fn apply_moving(&mut self, event: &Event, moves: &mut Moves) {
        match event {
            Event::Decided(decided) | Event::StoodIn(decided) => self.answered(decided, moves),
            Event::Observed(observation) => self.observed(observation, moves),
            Event::Recalled(recalled) => self.recalled(recalled),
            Event::Joined(joined) => self.join(joined),
            Event::Carried(carried) => self.carry(carried),
            Event::Controls(controls) => self.stripe_controls = Some(Arc::clone(controls)),
            Event::Charges(charges) => self.charges = Arc::clone(charges),
            Event::Command(command) => drop(self.exceptions.apply(command)),
            Event::Policy(_) | Event::Delivered(_) | Event::Budget(_) => {}
            Event::Snapshot(card) => self.clone_from(card),
        }
    }

    /// Keeps sums for exactly these windows from now on. Sums that are there are kept; a new one is made from what
    /// the books have.
    ///
    /// # Errors
    /// [`NeedsHistory`] where the books do not reach back far enough; the card is unchanged then.
    pub fn adopt<'a>(
        &mut self,
        windows: impl Iterator<Item = &'a Arc<Window>>,
        refunds_restore: bool,
        now: Timestamp,
    ) -> Result<(), NeedsHistory> {
        let now = now.max(self.time);
        let count = |tally| self.counted(tally, refunds_restore, now);
        let tallies = Tally::of_windows(&self.tallies, windows, refunds_restore, now, count)?;
        self.tallies = tallies;
        self.refunds_restore = refunds_restore;
        Ok(())
    }

    /// What the card came to in its life: what the books have, and what they have let go.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let records = self.authorizations.values().map(Authorization::totals);
        let loose = self.unlinked.values().map(Unlinked::totals);
        records.chain(loose).fold(self.let_go, Totals::plus)
    }

    /// Minor units held, over all authorizations.
    #[must_use]
    pub fn held(&self) -> i64 {
        self.authorizations.values().fold(0, |sum: i64, one| sum.saturating_add(one.hold()))
    }

    fn answered(&mut self, decided: &Decided, moves: &mut Moves) {
        let Decided { request, decision } = decided;
        if let Some(ruled) = &decision.ruled
            && let (Some(rule), Some(until)) = (&ruled.marks.rule, ruled.blocks_until)
        {
            self.blocked = Some((Arc::clone(rule), until));
        }
        match (decision.source, decision.excepted.as_deref()) {
            (Source::StandIn, _) => self.exceptions.give_back(decision.id),
            (Source::Policy | Source::Forced, Some(Excepted::Granted { id, is_check, .. })) => {
                self.exceptions.use_grant(id, Use { decision: decision.id, is_check: *is_check });
            }
            (Source::Policy | Source::Forced, Some(Excepted::Paused { .. }) | None) => {}
        }
        self.learn_account(request.connected_account.as_ref());
        self.learn_currency(request.card_currency, request.asked.ok().map(|asked| asked.currency));
        self.group.clone_from(&request.group);
        self.move_on(decision.at);
        let listed = self.not_elsewhere(&request.authorization, &request.told.transactions);
        self.change(&request.authorization, moves, |authorization| {
            book_listed(authorization, &listed, request.told.at, request.received_at, &request.event);
            authorization.answered(decided);
        });
        self.remember_places(&request.authorization, &listed);
    }

    fn observed(&mut self, observation: &Observation, moves: &mut Moves) {
        let Observation { event, created, received_at, connected_account, fact, .. } = observation;
        self.learn_account(connected_account.as_ref());
        let (created, received_at) = (*created, *received_at);
        self.move_on(received_at);
        match fact {
            Fact::Authorization(seen) => {
                self.learn_currency(None, Some(seen.amount.currency));
                let listed = self.not_elsewhere(&seen.id, &seen.listed);
                self.change(&seen.id, moves, |authorization| {
                    authorization.observed(seen, created, received_at, event);
                    book_listed(authorization, &listed, created, received_at, event);
                });
                self.remember_places(&seen.id, &listed);
            }
            Fact::Transaction(seen) => {
                self.settled(seen, (created, received_at), event, moves);
            }
            Fact::Card(seen) => {
                self.learn_currency(seen.currency, None);
                // Cards are born inactive; one that asks was made active since.
                let is_active = seen.is_active || !seen.is_update;
                let state = State { is_active, group: seen.group.clone() };
                let before = seen.before.clone().unwrap_or_else(|| state.clone());
                self.stand(state, before, (seen.is_update, created, event.clone()));
            }
            Fact::Cardholder(seen) => {
                let version = (seen.is_update, created, event.clone());
                let state = State { is_active: seen.is_active, group: seen.group.clone() };
                let before = seen.before.clone().unwrap_or_else(|| state.clone());
                self.stand(state, before, version);
            }
            Fact::Other(_) => {}
        }
    }

    /// Changes one authorization, and the sums by the difference. A change may also tell where it belongs at all: a
    /// sum gives back what it counted, and counts what it has to count now.
    pub(super) fn change(
        &mut self,
        id: &AuthorizationId,
        moves: &mut Moves,
        change: impl FnOnce(&mut Authorization),
    ) {
        let (refunds_restore, own) = (self.refunds_restore, self.currency);
        let charges = &self.charges;
        let mut latest = (Latest::default(), Latest::default());
        let tallies = &mut self.tallies;
        self.authorizations.change(id, |authorization| {
            // What windows of attempts count is worked out only where there is one.
            let others: Vec<Vec<Spend>> = counted_as(tallies, authorization, refunds_restore);
            let (before, currency_before) = (authorization.spends(refunds_restore), authorization.currency);
            latest.0 = authorization.latest();
            let is_charged = !authorization.charges.is_empty() || !charges.is_empty();
            let side_before = is_charged.then(|| authorization.side());
            change(authorization);
            latest.1 = authorization.latest();
            let after = authorization.spends(refunds_restore);
            if let Some(side_before) = side_before {
                moves.extend(authorization.moved(id, charges, side_before, own));
            }
            let before = Uses { spends: &before, currency: currency_before };
            let after = Uses { spends: &after, currency: authorization.currency };
            if before != after {
                for tally in tallies.iter_mut().filter(|tally| tally.window.occurrence.is_spent()) {
                    tally.exchange(before, after, own);
                }
            }
            let now = counted_as(tallies, authorization, refunds_restore);
            let tallies = tallies.iter_mut().filter(|tally| !tally.window.occurrence.is_spent());
            for (tally, (before, after)) in tallies.zip(others.iter().zip(&now)) {
                let uses = |spends| Uses { spends, currency: None };
                tally.exchange(uses(before), uses(after), own);
            }
        });
        self.note_latest(latest.0, latest.1);
    }

    /// Counts a transaction without an authorization, or takes it out of the sums again.
    pub(super) fn count_unlinked(
        &mut self,
        id: &TransactionId,
        unlinked: &Unlinked,
        sign: i64,
        moves: &mut Moves,
    ) {
        for tally in &mut self.tallies {
            unlinked.count(tally, self.currency, sign);
        }
        if !unlinked.charges.is_empty() {
            let (mut before, mut after) = (Side::default(), unlinked.side());
            if sign < 0 {
                std::mem::swap(&mut before, &mut after);
            }
            let charges = Arc::clone(&unlinked.charges);
            moves.push(Move { of: Mention::from(id), charges, before, after });
        }
    }

    /// Fills a new sum from what the books have.
    fn counted(
        &self,
        mut tally: Tally,
        refunds_restore: bool,
        now: Timestamp,
    ) -> Result<Tally, NeedsHistory> {
        let occurrence = tally.window.occurrence;
        let through = match occurrence {
            Occurrence::Approval | Occurrence::Different(_) => self.forgotten.spent_through,
            Occurrence::Attempt | Occurrence::Decline => self.forgotten.latest.attempt,
        };
        if through != Timestamp::MIN && tally.opens_at(now) <= through {
            return Err(NeedsHistory);
        }
        for authorization in self.authorizations.values() {
            let spends = authorization.counted_as(occurrence, refunds_restore);
            let uses = Uses { spends: &spends, currency: authorization.currency };
            tally.exchange(Uses::NONE, uses, self.currency);
        }
        for unlinked in self.unlinked.values() {
            unlinked.count(&mut tally, self.currency, 1);
        }
        tally.advance(now);
        Ok(tally)
    }

    /// Learns the card's currency: from the card itself, or else from the first amount that is seen. Where an amount
    /// was misleading, or came without its currency, what it is counted in changes.
    pub(super) fn learn_currency(&mut self, told: Option<Currency>, seen: Option<Currency>) {
        let learnt = told.or(self.currency).or(seen);
        if learnt == self.currency {
            return;
        }
        let before = std::mem::replace(&mut self.currency, learnt);
        for tally in self.tallies.iter_mut().filter(|tally| tally.window.occurrence.is_spent()) {
            for authorization in self.authorizations.values() {
                let spends = authorization.spends(self.refunds_restore);
                let uses = Uses { spends: &spends, currency: authorization.currency };
                tally.exchange(uses, Uses::NONE, before);
                tally.exchange(Uses::NONE, uses, learnt);
            }
            for unlinked in self.unlinked.values() {
                unlinked.count(tally, before, -1);
                unlinked.count(tally, learnt, 1);
            }
        }
    }

    fn move_on(&mut self, now: Timestamp) {
        self.time = self.time.max(now);
        self.exceptions.expire(self.time);
        for tally in &mut self.tallies {
            tally.advance(self.time);
        }
    }
}

/// What an authorization uses of each window of attempts or declines.
fn counted_as(tallies: &[Tally], authorization: &Authorization, refunds_restore: bool) -> Vec<Vec<Spend>> {
    let occurrences = tallies.iter().map(|tally| tally.window.occurrence);
    let others = occurrences.filter(|occurrence| !occurrence.is_spent());
    others.map(|occurrence| authorization.counted_as(occurrence, refunds_restore)).collect()
}

impl Authorization {
    /// What it uses of its budgets.
    pub(super) fn side(&self) -> Side {
        let (spends, restored) = (self.spends(false), self.spends(true));
        let sums = Sums { held: self.hold(), captured: self.captured(), refunded: self.refunded() };
        let restored = (restored != spends).then_some(restored);
        Side { currency: self.currency, spends, restored, incoming: None, sums }
    }

    /// The change for its budgets since it used `before`. It charges those that its card charges when it is first counted.
    fn moved(
        &mut self,
        id: &AuthorizationId,
        charges: &Arc<[Account]>,
        before: Side,
        own: Option<Currency>,
    ) -> Option<Move> {
        let after = self.side();
        if before == after || (self.charges.is_empty() && (!before.is_nothing() || after.is_nothing())) {
            return None;
        }
        if self.charges.is_empty() {
            self.charges = Arc::clone(charges);
            self.currency = self.currency.or(own);
        }
        Some(Move { of: Mention::from(id), charges: Arc::clone(&self.charges), before, after: self.side() })
    }
}

impl Unlinked {
    /// What it uses of its budgets. A refund that was reversed takes where refunds give back.
    fn side(&self) -> Side {
        let (captured, refunded) = (self.transaction.captured(), self.transaction.refunded());
        let spend = |amount: i64| Spend {
            at: self.transaction.at,
            amount,
            count: 0,
            merchant: self.merchant.clone(),
        };
        let some = |amount: i64| (amount != 0).then(|| spend(amount));
        Side {
            currency: self.currency,
            spends: some(captured).into_iter().collect(),
            restored: (refunded < 0).then(|| vec![spend(captured.saturating_sub(refunded))]),
            incoming: some(refunded.max(0)),
            sums: Sums { held: 0, captured, refunded },
        }
    }

    /// A transaction without an authorization was never granted.
    pub(super) fn totals(&self) -> Totals {
        let captured = self.transaction.captured();
        Totals { captured, refunded: self.transaction.refunded(), overrun: captured }
    }

    /// Adds it to a sum, or takes it away again, on a card of the currency `own`. A refund that was reversed takes.
    fn count(&self, tally: &mut Tally, own: Option<Currency>, sign: i64) {
        let is_counted = match tally.window.measure {
            Measure::Amount(_) => tally.window.admits(&self.merchant, self.currency, own),
            Measure::Count => false,
        };
        if !is_counted {
            return;
        }
        let Transaction { at, .. } = self.transaction;
        let refunded = if tally.refunds_restore { self.transaction.refunded() } else { 0 };
        let spent = self.transaction.captured().saturating_sub(refunded.min(0));
        tally.shift(at, spent.saturating_mul(sign));
        tally.restore(at, refunded.max(0).saturating_mul(sign));
    }
}
