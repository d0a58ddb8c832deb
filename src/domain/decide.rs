//! The decision: a pure function of the card's books, the policy and the question.

use super::{
    answering::AnswerBy,
    budget::Charged,
    budget_checks::{budgets_block, shared_checks},
    card::Card,
    decision::{Decision, LimitCheck, Outcome, Reason, Source, Stages},
    exception::{Excepted, Granted},
    ids::DecisionId,
    limit_checks::checks,
    money::Money,
    policy::{CardPolicy, Measure, UnknownGroup},
    request::AuthorizationRequest,
    rule::{Facts, Judged, Rule, Ruled, Then, judge, largest_passing, rules_of},
    time::Timestamp,
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
    let moment = Moment { at: latest.max(request.received_at), has_ledger: true, without: None, grant: None };
    let decision = decide_at(card, charged, policy, request, moment);
    let granted = granted(card, request, &decision, |grant| {
        decide_at(card, charged, policy, request, Moment { grant: Some(grant), ..moment })
    });
    if let Some(granted) = granted {
        return granted;
    }
    let is_paused = decision.excepted.is_some();
    match decision.reason {
        Reason::SpendingLimit | Reason::VelocityLimit | Reason::Rule
            if decision.outcome == Outcome::Declined =>
        {
            explained(card, charged, policy, request, decision)
        }
        Reason::CardPaused | Reason::BudgetPaused if is_paused => {
            explained(card, charged, policy, request, decision)
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

/// A declined request, with what else than less money would have passed.
fn explained(
    card: &Card,
    charged: &[Charged<'_>],
    policy: &CardPolicy,
    request: &AuthorizationRequest,
    declined: Decision,
) -> Decision {
    let again = |at: Timestamp, without: Option<&str>| {
        decide_at(card, charged, policy, request, Moment { at, has_ledger: true, without, grant: None })
            .outcome
    };
    Decision { would_pass: would_pass(card, charged, policy, &declined, again), ..declined }
}

/// The approval by a grant, where limits alone stand against the whole of what is asked.
fn granted<'a>(
    card: &'a Card,
    request: &'a AuthorizationRequest,
    without: &Decision,
    with: impl Fn(Granted<'a>) -> Decision,
) -> Option<Decision> {
    let is_limited = matches!(without.reason, Reason::SpendingLimit | Reason::VelocityLimit);
    let asked = request.asked.ok().filter(|_| is_limited && without.outcome != Outcome::Approved)?;
    card.exceptions.grants(request, asked, without.at).find_map(|grant| {
        let decision = with(grant);
        let excepted = Some(Box::new(grant.excepted()));
        (decision.outcome == Outcome::Approved).then_some(Decision { excepted, ..decision })
    })
}

/// What the policy answers where the ledger cannot be asked: as on a card without a history, but for what rules say of that.
#[must_use]
pub fn decide_without_ledger(policy: &CardPolicy, request: &AuthorizationRequest) -> Decision {
    let moment = Moment { at: request.received_at, has_ledger: false, without: None, grant: None };
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
    /// A grant that lifts the limits.
    grant: Option<Granted<'a>>,
}

fn decide_at(
    card: &Card,
    charged: &[Charged<'_>],
    policy: &CardPolicy,
    request: &AuthorizationRequest,
    moment: Moment<'_>,
) -> Decision {
    let Moment { at, has_ledger, without, grant } = moment;
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
        excepted: None,
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
    let mut limits = checks(card, policy, request, asked, (at, grant));
    limits.extend(shared_checks(card, charged, request, asked, (at, grant)));
    let blocked = blocked(card, policy, request, (asked, at));
    if let Some((reason, excepted)) = blocked.or_else(|| budgets_block(charged, request, (asked, at))) {
        let challenge = policy.challenge_on.contains(&reason);
        return Decision { reason, limits, challenge, excepted, ..declined };
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
fn blocked(
    card: &Card,
    policy: &CardPolicy,
    request: &AuthorizationRequest,
    (asked, at): (Money, Timestamp),
) -> Option<(Reason, Option<Box<Excepted>>)> {
    if policy.paused || request.is_paused {
        return Some((Reason::CardPaused, None));
    }
    if let Some(until) = card.exceptions.paused(request.card.as_ref(), at) {
        return Some((Reason::CardPaused, Some(Box::new(Excepted::Paused { account: None, until }))));
    }
    if policy.unknown_group == Some(UnknownGroup::Decline) {
        return Some((Reason::UnknownGroup, None));
    }
    if !is_currency_right(card, policy, request, asked) {
        return Some((Reason::CurrencyMismatch, None));
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
