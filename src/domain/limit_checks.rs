//! What each limit that counts a purchase holds, and what it would hold with the purchase.

use std::sync::Arc;

use super::{
    authorization::Authorization,
    card::Card,
    controls::Controls,
    decision::LimitCheck,
    exception::{Exceptions, Granted, Lifted},
    money::{Currency, Money},
    policy::{CardPolicy, Interval, Limit, Measure, Window},
    request::AuthorizationRequest,
    rule::Rule,
    settling::book_listed,
    time::Timestamp,
    window::{Spend, Tally, Uses},
};

/// Looks at every limit that counts this purchase: what it holds now, and what it would hold with the purchase.
pub(super) fn checks(
    card: &Card,
    policy: &CardPolicy,
    request: &AuthorizationRequest,
    asked: Money,
    (at, grant): (Timestamp, Option<Granted<'_>>),
) -> Vec<LimitCheck> {
    let full = request.held_if_approved();
    let own = request.card_currency.or(card.currency).or(Some(asked.currency));
    let change = Change::of(card, request, at, card.refunds_restore);
    // Those of Stripe are Stripe's to lift.
    let of_policy = policy.controls.spending_limits.len();
    limits_in_force(policy, request.stripe_controls.as_deref())
        .enumerate()
        .filter(|(_, limit)| limit.window.admits(&request.merchant, Some(asked.currency), own))
        .map(|(place, limit)| {
            let tally = card.tallies.iter().find(|tally| tally.is_of(&limit.window));
            let check = check(limit, tally, change.as_ref(), full, (own, asked.currency), at);
            if place < of_policy { check.lifted(lift(&card.exceptions, limit, at, grant)) } else { check }
        })
        .collect()
}

/// By how much exceptions of an account, and a grant, lift a limit of it.
pub(super) fn lift(
    exceptions: &Exceptions,
    limit: &Limit,
    at: Timestamp,
    grant: Option<Granted<'_>>,
) -> Lifted {
    let granted = grant.map_or(0, |grant| grant.of(limit.window.measure));
    Lifted { granted, ..exceptions.raised(&limit.window, at) }
}

/// What a limit holds now, and what it would hold with the purchase.
pub(super) fn check(
    limit: &Limit,
    tally: Option<&Tally>,
    change: Option<&Change>,
    full: i64,
    (own, asked): (Option<Currency>, Currency),
    at: Timestamp,
) -> LimitCheck {
    let measure = limit.window.measure;
    let adds = match measure {
        Measure::Amount(_) => full,
        Measure::Count => 1,
    };
    let (before, after) = match (change, limit.window.interval) {
        (None, Interval::PerAuthorization) => (0, adds),
        (Some(change), Interval::PerAuthorization) => change.of_authorization(limit, own),
        (
            change,
            Interval::Daily
            | Interval::Weekly
            | Interval::Monthly
            | Interval::Yearly
            | Interval::AllTime
            | Interval::Rolling(_),
        ) => match (tally, change) {
            (Some(tally), Some(change)) => change.of_window(tally, own, at),
            (Some(tally), None) => {
                let used = tally.used(at);
                (used, used.saturating_add(adds))
            }
            (None, _) => (0, adds),
        },
    };
    LimitCheck {
        account: None,
        is_balance: false,
        measure: match measure {
            Measure::Amount(_) => Measure::Amount(Some(asked)),
            Measure::Count => Measure::Count,
        },
        interval: limit.window.interval,
        before,
        after,
        max: limit.max,
        lifted: None,
        resets_at: tally.and_then(|tally| tally.resets_at(at)),
        owners: None,
    }
}

/// What an approval would change where more is known of the authorization than this request: the request tells of what
/// came before it, or Stripe has told of the request.
pub(super) struct Change {
    before: Counted,
    after: Counted,
}

/// What windows count of an authorization, and what of it is the request's own.
struct Counted {
    currency: Option<Currency>,
    spends: Vec<Spend>,
    /// Without refunds.
    whole: Vec<Spend>,
    own: Option<Spend>,
    own_whole: Option<Spend>,
}

impl Counted {
    fn of(authorization: &Authorization, refunds_restore: bool) -> Self {
        Self {
            currency: authorization.currency,
            spends: authorization.spends(refunds_restore),
            whole: authorization.spends(false),
            own: authorization.own_spend(refunds_restore),
            own_whole: authorization.own_spend(false),
        }
    }

    fn uses(&self) -> Uses<'_> {
        Uses { spends: &self.spends, currency: self.currency }
    }
}

impl Change {
    /// None where the request is the first that is known of its authorization.
    pub(super) fn of(
        card: &Card,
        request: &AuthorizationRequest,
        at: Timestamp,
        refunds_restore: bool,
    ) -> Option<Self> {
        let known = card.authorizations.get(&request.authorization);
        let is_first = request.history_entries == 0 && request.told.transactions.is_empty();
        if known.is_none() && is_first {
            return None;
        }
        let known = known.cloned().unwrap_or_default();
        let before = Counted::of(&known, refunds_restore);
        let mut after = known;
        let listed = card.not_elsewhere(&request.authorization, &request.told.transactions);
        book_listed(&mut after, &listed, request.told.at, request.received_at, &request.event);
        let after = Counted::of(&after.with_approval(request, at), refunds_restore);
        Some(Self { before, after })
    }

    /// The same for an account that counts nothing of the authorization yet.
    pub(super) fn of_new(self) -> Self {
        let before =
            Counted { spends: Vec::new(), whole: Vec::new(), own: None, own_whole: None, ..self.before };
        Self { before, ..self }
    }

    /// What a balance has used, without the request and with it.
    pub(super) fn of_balance(&self, used: i64) -> (i64, i64) {
        let sum =
            |spends: &[Spend]| spends.iter().fold(0, |sum: i64, spend| sum.saturating_add(spend.amount));
        let after = used.saturating_sub(sum(&self.before.spends)).saturating_add(sum(&self.after.spends));
        (after.saturating_sub(self.after.own.as_ref().map_or(0, |own| own.amount)), after)
    }

    /// What the authorization with all its increments uses, without the request and with it.
    fn of_authorization(&self, limit: &Limit, own: Option<Currency>) -> (i64, i64) {
        let measure = |spend: &Spend| {
            let is_counted = limit.window.admits(&spend.merchant, self.after.currency, own);
            if is_counted { limit.window.measure.of(spend) } else { 0 }
        };
        let after = self.after.whole.iter().fold(0, |sum: i64, spend| sum.saturating_add(measure(spend)));
        (after.saturating_sub(self.after.own_whole.as_ref().map_or(0, measure)), after)
    }

    /// What a window holds, without the request and with it.
    fn of_window(&self, tally: &Tally, own: Option<Currency>, at: Timestamp) -> (i64, i64) {
        let after = tally.used_with(self.before.uses(), self.after.uses(), own, at);
        let counted = self.after.own.iter().filter(|own| tally.counts(own.at, at));
        let counted = counted.map(|own| tally.window.measure.of(own)).sum::<i64>();
        (after.saturating_sub(counted), after)
    }
}

/// The policy's limits and, where it mirrors them, the card's own at Stripe.
pub fn limits_in_force<'a>(
    policy: &'a CardPolicy,
    stripe_controls: Option<&'a Controls>,
) -> impl Iterator<Item = &'a Limit> {
    let mirrored = stripe_controls.filter(|_| policy.mirror_stripe_controls);
    let mirrored = mirrored.into_iter().flat_map(|controls| controls.spending_limits.iter());
    policy.controls.spending_limits.iter().chain(mirrored)
}

/// The windows that a card keeps sums of: those of the limits in force and those that rules look into.
pub fn windows_in_force<'a>(
    policy: &'a CardPolicy,
    stripe_controls: Option<&'a Controls>,
) -> impl Iterator<Item = &'a Arc<Window>> {
    let of_limits = limits_in_force(policy, stripe_controls).map(|limit| &limit.window);
    of_limits.chain(policy.rules.iter().flat_map(Rule::windows))
}
