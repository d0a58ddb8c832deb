//! The decision: a pure function of the card's books, the policy and the question.

use super::{
    answering::AnswerBy,
    authorization::Authorization,
    card::Card,
    decision::{Decision, LimitCheck, Outcome, Reason, Source, Stages},
    ids::DecisionId,
    merchant::Category,
    money::Money,
    policy::{CardPolicy, Controls, Interval, Limit, Listed, Measure, UnknownGroup},
    request::AuthorizationRequest,
    rule::{Facts, Judged, Rule, Ruled, Then, judge},
    time::Timestamp,
};

/// A fuel dispenser that asks for one unit of currency holds this many if it is approved
/// (<https://docs.stripe.com/issuing/purchases/authorizations#fuel-dispenser-transactions>).
const FUEL_HOLD_UNITS: i64 = 100;

/// Answers a question. Nothing changes: the decision takes effect when it is applied to the books.
#[must_use]
pub fn decide(card: &Card, policy: &CardPolicy, request: &AuthorizationRequest) -> Decision {
    let at = card.time.max(request.received_at);
    let declined = Decision {
        id: DecisionId::of(&request.authorization, request.question()),
        at,
        outcome: Outcome::Declined,
        granted: 0,
        reason: Reason::ContractViolation,
        violation: None,
        limits: Vec::new(),
        largest_approvable: Some(0),
        challenge: false,
        ruled: None,
        policy: policy.version.clone(),
        source: Source::Policy,
        answer_by: AnswerBy::Direct,
        stages: Stages::default(),
    };
    let asked = match request.asked {
        Ok(asked) => asked,
        Err(violation) => return Decision { violation: Some(violation), ..declined },
    };
    let limits = checks(card, policy, request, asked, at);
    if let Some(reason) = blocked(card, policy, request, asked) {
        let challenge = policy.challenge_on.contains(&reason);
        return Decision { reason, limits, challenge, ..declined };
    }
    let facts = Facts { request, asked, at };
    let judged = judge(&policy.rules, &facts);
    if let Some(rule) = judged.declined_by {
        let ruled = Ruled::of(&judged, Some(rule), &facts);
        return Decision {
            reason: Reason::Rule,
            limits,
            challenge: rule.then == Then::Challenge,
            ruled,
            ..declined
        };
    }
    let left = largest_approvable(&limits);
    let cap = binding_cap(&judged, left);
    let largest_approvable = cap.map_or(left, |(most, _)| Some(most));
    let verdict = weigh(policy, request, asked, &limits, largest_approvable, &judged);
    let challenge = verdict.outcome == Outcome::Declined && policy.challenge_on.contains(&verdict.reason);
    let decisive = cap.filter(|_| verdict.reason == Reason::Rule).map(|(_, rule)| rule);
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
    let full = held_if_approved(&request.merchant.category, asked);
    if largest_approvable.is_none_or(|largest| full <= largest) && !is_count_used_up(limits) {
        return Verdict { outcome: Outcome::Approved, granted: full, reason: Reason::Approved };
    }
    let reason = match (is_count_used_up(limits), binding_cap(judged, self::largest_approvable(limits))) {
        (true, _) => Reason::VelocityLimit,
        (false, Some(_)) => Reason::Rule,
        (false, None) => Reason::SpendingLimit,
    };
    // What a pump asks for is the least that it can use; elsewhere anything above the cash-back helps.
    let pump_asks = if full == asked.amount { 1 } else { asked.amount };
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

/// What will really be held for a question: a fuel dispenser asks for one unit and holds a hundred.
#[must_use]
pub fn held_if_approved(category: &Category, asked: Money) -> i64 {
    let unit = asked.currency.unit();
    if category.is_fuel_dispenser() && (1..=unit).contains(&asked.amount) {
        unit.saturating_mul(FUEL_HOLD_UNITS)
    } else {
        asked.amount
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
    let lifted = |reason: &Reason| {
        request.verified_by_fraud_challenge
            && reason.can_be_lifted_by_challenge()
            && policy.challenge_on.contains(reason)
    };
    let mirrored = request.stripe_controls.as_deref().filter(|_| policy.mirror_stripe_controls);
    [Some(&policy.controls), mirrored]
        .into_iter()
        .flatten()
        .flat_map(|controls| listed(controls, request))
        .find(|reason| !lifted(reason))
}

/// Every list that stands against the purchase.
fn listed(controls: &Controls, request: &AuthorizationRequest) -> impl Iterator<Item = Reason> {
    let merchant = &request.merchant;
    let category = match &merchant.category {
        Category::Missing => None,
        named @ (Category::Known(_) | Category::Unknown(_)) => Some(named),
    };
    let reason = |listed, blocked, not_allowed| match listed {
        Listed::Pass => None,
        Listed::Blocked => Some(blocked),
        Listed::NotAllowed => Some(not_allowed),
    };
    [
        reason(controls.categories.verdict(category), Reason::CategoryBlocked, Reason::CategoryNotAllowed),
        reason(
            controls.countries.verdict(merchant.country.as_ref()),
            Reason::CountryBlocked,
            Reason::CountryNotAllowed,
        ),
        reason(
            controls.presences.verdict(request.card_presence.as_ref()),
            Reason::PresenceBlocked,
            Reason::PresenceBlocked,
        ),
        reason(
            controls.merchants.verdict(merchant.network_id.as_ref()),
            Reason::MerchantBlocked,
            Reason::MerchantNotAllowed,
        ),
    ]
    .into_iter()
    .flatten()
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

/// Looks at every limit that counts this purchase.
fn checks(
    card: &Card,
    policy: &CardPolicy,
    request: &AuthorizationRequest,
    asked: Money,
    at: Timestamp,
) -> Vec<LimitCheck> {
    let known = card.authorizations.get(&request.authorization);
    let unseen = known.map_or(request.approved_before_if_unknown(), |known| known.unseen_before(request));
    let told = |refunds_restore| known.and_then(|known| known.told_before(request, refunds_restore));
    let (told, told_of_authorization) = (told(card.refunds_restore), told(false));
    let full = held_if_approved(&request.merchant.category, asked);
    let own = request.card_currency.or(card.currency).or(Some(asked.currency));
    limits_in_force(policy, request.stripe_controls.as_deref())
        .filter(|limit| limit.window.admits(&request.merchant, Some(asked.currency), own))
        .map(|limit| {
            let tally = card.tallies.iter().find(|tally| tally.is_of(&limit.window));
            let measure = limit.window.measure;
            let (used, told) = match limit.window.interval {
                Interval::PerAuthorization => (used_by(known, measure), told_of_authorization),
                Interval::Daily
                | Interval::Weekly
                | Interval::Monthly
                | Interval::Yearly
                | Interval::AllTime
                | Interval::Rolling(_) => (
                    tally.map_or(0, |tally| tally.used(at)),
                    told.filter(|told| tally.is_some_and(|tally| tally.counts(told.at, at))),
                ),
            };
            let counted = known
                .is_some_and(|known| limit.window.admits(&known.merchant, known.currency, card.currency));
            let told = told.filter(|_| counted).map_or(0, |told| measure.of(&told));
            let asks = match measure {
                Measure::Amount(_) => full,
                Measure::Count => 1,
            };
            let used = used.saturating_sub(told.min(asks));
            let (measure, before, adds) = match measure {
                Measure::Amount(_) => {
                    (Measure::Amount(Some(asked.currency)), used.saturating_add(unseen), full)
                }
                Measure::Count => (Measure::Count, used.saturating_add(i64::from(unseen > 0)), 1),
            };
            LimitCheck {
                measure,
                interval: limit.window.interval,
                before,
                after: before.saturating_add(adds),
                max: limit.max,
                resets_at: tally.and_then(|tally| tally.resets_at(at)),
            }
        })
        .collect()
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

/// What an authorization with all its increments uses already.
fn used_by(authorization: Option<&Authorization>, measure: Measure) -> i64 {
    let spends = authorization.map(|known| known.spends(false)).unwrap_or_default();
    spends.iter().fold(0, |sum: i64, spend| sum.saturating_add(measure.of(spend)))
}

/// What is left of the tightest amount limit; nothing where a count is used up.
fn largest_approvable(limits: &[LimitCheck]) -> Option<i64> {
    let amounts = limits.iter().filter(|check| check.measure != Measure::Count);
    let tightest = amounts.map(|check| check.max.saturating_sub(check.before).max(0)).min();
    if is_count_used_up(limits) { Some(0) } else { tightest }
}

fn is_count_used_up(limits: &[LimitCheck]) -> bool {
    limits.iter().any(|check| check.measure == Measure::Count && check.after > check.max)
}

impl AuthorizationRequest {
    /// What Stripe has approved before, where these books know nothing of the authorization.
    fn approved_before_if_unknown(&self) -> i64 {
        if self.history_entries == 0 { 0 } else { self.approved_before.max(0) }
    }
}

#[cfg(test)]
pub(super) mod tests;
