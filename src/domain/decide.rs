//! The decision: a pure function of the card's books, the policy and the question.

use std::sync::Arc;

use super::{
    answering::AnswerBy,
    authorization::Authorization,
    budget::Charged,
    budget_checks::{budgets_block, shared_checks},
    card::Card,
    controls::Controls,
    decision::{Decision, LimitCheck, Outcome, Reason, Source, Stages},
    ids::DecisionId,
    money::{Currency, Money},
    policy::{CardPolicy, Interval, Limit, Measure, UnknownGroup, Window},
    request::AuthorizationRequest,
    rule::{Facts, Judged, Rule, Ruled, Then, judge, largest_passing, rules_of},
    settling::book_listed,
    time::Timestamp,
    window::{Spend, Tally, Uses},
    would_pass::would_pass,
};

/// Answers a question on a card that charges no budget. Nothing changes: the decision takes effect when it is applied.
#[must_use]
pub fn decide(card: &Card, policy: &CardPolicy, request: &AuthorizationRequest) -> Decision {
    decide_charging(card, &[], policy, request)
}

/// Answers a question on a card that charges these accounts of budgets: all of them must have room for it, as must the card.
#[must_use]
pub fn decide_charging(
    card: &Card,
    charged: &[Charged<'_>],
    policy: &CardPolicy,
    request: &AuthorizationRequest,
) -> Decision {
    let latest = charged.iter().map(|one| one.budget.time).fold(card.time, Timestamp::max);
    let moment = Moment { at: latest.max(request.received_at), has_ledger: true, without: None };
    let decision = decide_at(card, charged, policy, request, moment);
    match decision.reason {
        Reason::SpendingLimit | Reason::VelocityLimit | Reason::Rule
            if decision.outcome == Outcome::Declined =>
        {
            let again = |at: Timestamp, without: Option<&str>| {
                decide_at(card, charged, policy, request, Moment { at, has_ledger: true, without }).outcome
            };
            Decision { would_pass: would_pass(card, charged, policy, &decision, again), ..decision }
        }
        Reason::Approved
        | Reason::SpendingLimit
        | Reason::VelocityLimit
        | Reason::CategoryBlocked
        | Reason::CategoryNotAllowed
        | Reason::CountryBlocked
        | Reason::CountryNotAllowed
        | Reason::PresenceBlocked
        | Reason::MerchantBlocked
        | Reason::MerchantNotAllowed
        | Reason::Rule
        | Reason::CardPaused
        | Reason::UnknownGroup
        | Reason::InsufficientBalance
        | Reason::BudgetPaused
        | Reason::CurrencyMismatch
        | Reason::ContractViolation
        | Reason::StandInOverload
        | Reason::StandInDeadline
        | Reason::StandInJournal => decision,
    }
}

/// What the policy answers where the ledger cannot be asked: as on a card without a history, but for what rules say of that.
#[must_use]
pub fn decide_without_ledger(policy: &CardPolicy, request: &AuthorizationRequest) -> Decision {
    let moment = Moment { at: request.received_at, has_ledger: false, without: None };
    decide_at(&Card::default(), &[], policy, request, moment)
}

/// When a request is decided, and on what.
#[derive(Clone, Copy)]
struct Moment<'a> {
    at: Timestamp,
    /// Whether the card is as the ledger knows it.
    has_ledger: bool,
    /// A rule that is left out.
    without: Option<&'a str>,
}

fn decide_at(
    card: &Card,
    charged: &[Charged<'_>],
    policy: &CardPolicy,
    request: &AuthorizationRequest,
    moment: Moment<'_>,
) -> Decision {
    let Moment { at, has_ledger, without } = moment;
    let declined = Decision {
        id: DecisionId::of(&request.authorization, request.question()),
        at,
        outcome: Outcome::Declined,
        granted: 0,
        reason: Reason::ContractViolation,
        violation: None,
        limits: Vec::new(),
        largest_approvable: Some(0),
        would_pass: None,
        challenge: false,
        ruled: None,
        policy: policy.version.clone(),
        source: Source::Policy,
        answer_by: AnswerBy::Direct,
        stages: Stages::default(),
        turn: 0,
    };
    let asked = match request.asked {
        Ok(asked) => asked,
        Err(violation) => return Decision { violation: Some(violation), ..declined },
    };
    let mut limits = checks(card, policy, request, asked, at);
    limits.extend(shared_checks(card, charged, request, asked, at));
    let reason = blocked(card, policy, request, asked).or_else(|| budgets_block(charged, request, asked));
    if let Some(reason) = reason {
        let challenge = policy.challenge_on.contains(&reason);
        return Decision { reason, limits, challenge, ..declined };
    }
    let home = policy.home_country.as_ref();
    let facts = Facts { limits: &limits, home, has_ledger, ..Facts::new(card, request, asked, at) };
    if let Some((reason, ruled)) = listed(policy, &facts) {
        let challenge = policy.challenge_on.contains(&reason);
        return Decision { reason, ruled: Some(ruled), challenge, limits, ..declined };
    }
    if let Some((rule, until)) = blocking(card, policy, at).filter(|(rule, _)| without != Some(&*rule.name)) {
        let ruled = Some(Box::new(Ruled::of_block(rule, until)));
        return Decision { reason: Reason::Rule, ruled, limits, ..declined };
    }
    let judged = judge(&policy.rules, policy.score_limit, &facts, without);
    let left = largest_approvable(&limits);
    // What would have passed, of less money.
    let passing = || {
        let most = left.unwrap_or(i64::MAX).min(asked.amount.saturating_sub(1));
        // What a pump asks for is not what it holds.
        let largest = largest_passing(&policy.rules, policy.score_limit, &facts, most)
            .filter(|most| *most >= request.cashback && !request.is_pump_check());
        Some(largest.unwrap_or(0))
    };
    if let Some(rule) = judged.declined_by {
        let (largest_approvable, ruled) = (passing(), Ruled::of(&judged, Some(rule), &facts));
        let challenge = rule.then == Then::Challenge;
        return Decision { reason: rule.reason, largest_approvable, challenge, ruled, limits, ..declined };
    }
    let cap = binding_cap(&judged, left);
    let largest_approvable = cap.map_or(left, |(most, _)| Some(most));
    let verdict = weigh(policy, request, asked, &limits, largest_approvable, &judged);
    let challenge = verdict.outcome == Outcome::Declined && policy.challenge_on.contains(&verdict.reason);
    let decisive = cap.filter(|_| verdict.reason == Reason::Rule).map(|(_, rule)| rule);
    let largest_approvable = match (verdict.outcome, largest_approvable) {
        // What limits and caps leave may be what another rule declines, and a cap may not hold for less.
        (Outcome::Declined, Some(_)) if !policy.rules.is_empty() && !request.is_pump_check() => passing(),
        (Outcome::Declined | Outcome::Partial | Outcome::Approved, largest) => largest,
    };
    Decision {
        ruled: Ruled::of(&judged, decisive, &facts),
        outcome: verdict.outcome,
        granted: verdict.granted,
        reason: verdict.reason,
        limits,
        largest_approvable,
        challenge,
        ..declined
    }
}

/// The cap that is tighter than all limits.
fn binding_cap<'a>(judged: &Judged<'a>, left: Option<i64>) -> Option<(i64, &'a Rule)> {
    judged.cap.filter(|(most, _)| left.is_none_or(|left| *most < left))
}

struct Verdict {
    outcome: Outcome,
    granted: i64,
    reason: Reason,
}

/// How much of what is asked fits the limits.
fn weigh(
    policy: &CardPolicy,
    request: &AuthorizationRequest,
    asked: Money,
    limits: &[LimitCheck],
    largest_approvable: Option<i64>,
    judged: &Judged<'_>,
) -> Verdict {
    let full = request.held_if_approved();
    if largest_approvable.is_none_or(|largest| full <= largest) && !is_count_used_up(limits) {
        return Verdict { outcome: Outcome::Approved, granted: full, reason: Reason::Approved };
    }
    let reason = match (is_count_used_up(limits), binding_cap(judged, self::largest_approvable(limits))) {
        (true, _) => Reason::VelocityLimit,
        (false, Some(_)) => Reason::Rule,
        (false, None) if tightest(limits).is_some_and(|check| check.is_balance) => {
            Reason::InsufficientBalance
        }
        (false, None) => Reason::SpendingLimit,
    };
    // What a pump asks for is the least that it can use; elsewhere anything above the cash-back helps.
    let pump_asks = if request.is_pump_check() { asked.amount } else { 1 };
    let least = pump_asks.max(request.cashback).max(1);
    match largest_approvable {
        Some(largest)
            if request.is_amount_controllable
                && (policy.partial_approvals || judged.may_be_partial)
                && (least..full).contains(&largest) =>
        {
            Verdict { outcome: Outcome::Partial, granted: largest, reason }
        }
        Some(_) | None => Verdict { outcome: Outcome::Declined, granted: 0, reason },
    }
}

/// The first control that stands against the purchase, whatever its amount.
fn blocked(card: &Card, policy: &CardPolicy, request: &AuthorizationRequest, asked: Money) -> Option<Reason> {
    if policy.paused || request.is_paused {
        return Some(Reason::CardPaused);
    }
    if policy.unknown_group == Some(UnknownGroup::Decline) {
        return Some(Reason::UnknownGroup);
    }
    if !is_currency_right(card, policy, request, asked) {
        return Some(Reason::CurrencyMismatch);
    }
    None
}

/// The first list that declines the purchase, whatever its amount. A confirmed challenge lifts those that ask for one.
fn listed(policy: &CardPolicy, facts: &Facts<'_>) -> Option<(Reason, Box<Ruled>)> {
    let request = facts.request;
    let is_lifted = |reason: Reason| {
        request.verified_by_fraud_challenge
            && reason.can_be_lifted_by_challenge()
            && policy.challenge_on.contains(&reason)
    };
    let decline = |rules: &[Rule]| {
        let rule = rules.iter().find(|rule| !is_lifted(rule.reason) && rule.when.holds(facts))?;
        Some((rule.reason, Box::new(Ruled::of_list(rule, facts))))
    };
    decline(&policy.lists).or_else(|| {
        let mirrored = request.stripe_controls.as_deref().filter(|_| policy.mirror_stripe_controls)?;
        decline(&rules_of(mirrored))
    })
}

/// The rule that declines all requests of the card now, as long as the policy has it.
fn blocking<'a>(card: &Card, policy: &'a CardPolicy, at: Timestamp) -> Option<(&'a Rule, Timestamp)> {
    let (name, until) = card.blocked.as_ref().filter(|(_, until)| *until > at)?;
    let rule = policy.rules.iter().find(|rule| rule.name == *name)?;
    matches!(rule.then, Then::Block(_)).then_some((rule, *until))
}

/// Currencies are compared before amounts: the card has one, and some limit must name it.
fn is_currency_right(card: &Card, policy: &CardPolicy, request: &AuthorizationRequest, asked: Money) -> bool {
    let own = request.card_currency.or(card.currency);
    if own.is_some_and(|own| own != asked.currency) {
        return false;
    }
    let mut named = policy.controls.spending_limits.iter().filter_map(|limit| match limit.window.measure {
        Measure::Amount(currency) => Some(currency),
        Measure::Count => None,
    });
    let has_no_amounts = named.clone().next().is_none();
    policy.other_currencies_allowed
        || has_no_amounts
        || named.any(|currency| currency.is_none_or(|currency| currency == asked.currency))
}

/// Looks at every limit that counts this purchase: what it holds now, and what it would hold with the purchase.
fn checks(
    card: &Card,
    policy: &CardPolicy,
    request: &AuthorizationRequest,
    asked: Money,
    at: Timestamp,
) -> Vec<LimitCheck> {
    let full = request.held_if_approved();
    let own = request.card_currency.or(card.currency).or(Some(asked.currency));
    let change = Change::of(card, request, at, card.refunds_restore);
    limits_in_force(policy, request.stripe_controls.as_deref())
        .filter(|limit| limit.window.admits(&request.merchant, Some(asked.currency), own))
        .map(|limit| {
            let tally = card.tallies.iter().find(|tally| tally.is_of(&limit.window));
            check(limit, tally, change.as_ref(), full, (own, asked.currency), at)
        })
        .collect()
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

/// What is left of the tightest amount limit; nothing where a count is used up.
fn largest_approvable(limits: &[LimitCheck]) -> Option<i64> {
    let tightest = tightest(limits).map(|check| check.max.saturating_sub(check.before).max(0));
    if is_count_used_up(limits) { Some(0) } else { tightest }
}

/// The amount limit, or the balance, that leaves least.
fn tightest(limits: &[LimitCheck]) -> Option<&LimitCheck> {
    let amounts = limits.iter().filter(|check| check.measure != Measure::Count);
    amounts.min_by_key(|check| check.max.saturating_sub(check.before).max(0))
}

/// Whether one more authorization would be too many. An increment is none.
fn is_count_used_up(limits: &[LimitCheck]) -> bool {
    limits
        .iter()
        .any(|check| check.measure == Measure::Count && check.after > check.max && check.after > check.before)
}

#[cfg(test)]
pub(super) mod tests;
