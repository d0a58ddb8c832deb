//! The exact sentences, each of a real decision.

use super::*;
use crate::domain::{
    AnswerBy, CardPresence, Category, Country, Overrides, PolicyVersion, Stages, Violation,
    decide::{
        decide,
        tests::{NOON, at, card_with, limits, policy_of, question},
    },
};

/// Decides under `default` with `spent` before, and explains.
#[allow(clippy::needless_pass_by_value, reason = "a story is one line")]
fn check(
    default: Overrides,
    spent: &[(&str, i64, &str)],
    ask: impl FnOnce(&mut AuthorizationRequest),
    sentence: &str,
) {
    let policy = policy_of(&default);
    let card = card_with(&policy, spent);
    let mut request = question(4_000, "usd");
    ask(&mut request);
    assert_eq!(explain(&request, &decide(&card, &policy, &request)), sentence);
}

fn limited(text: &str) -> Overrides {
    Overrides { spending_limits: Some(limits(text)), ..Overrides::default() }
}

const SPENT: [(&str, i64, &str); 2] =
    [("2026-11-22T09:00:00Z", 40_000, ""), ("2026-11-22T11:15:30Z", 8_000, "")];

#[test]
fn a_limit_says_what_is_spent_what_would_have_passed_and_when_it_resets() {
    let limit = |text: &str, sentence: &str| check(limited(text), &SPENT, |_| {}, sentence);
    limit(
        "50000 daily",
        "declined: 480.00 of the 500.00 USD daily limit is used; at most 20.00 would have been approved; resets 2026-11-23T00:00Z",
    );
    limit(
        "50000 weekly",
        "declined: 480.00 of the 500.00 USD weekly limit is used; at most 20.00 would have been approved; resets 2026-11-29T00:00Z",
    );
    limit(
        "50000 monthly in Asia/Kathmandu",
        "declined: 480.00 of the 500.00 USD monthly limit is used; at most 20.00 would have been approved; resets 2026-11-30T18:15Z",
    );
    limit(
        "50000 yearly",
        "declined: 480.00 of the 500.00 USD yearly limit is used; at most 20.00 would have been approved; resets 2027-01-01T00:00Z",
    );
    limit(
        "50000 all_time",
        "declined: 480.00 of the 500.00 USD lifetime limit is used; at most 20.00 would have been approved",
    );
    limit(
        "3000 per_authorization",
        "declined: 0.00 of the 30.00 USD per-authorization limit is used; at most 30.00 would have been approved",
    );
    limit(
        "9000 rolling(1h)",
        "declined: 80.00 of the 90.00 USD rolling 1h limit is used; at most 10.00 would have been approved; usage starts to drop at 2026-11-22T12:15:30Z",
    );
    limit("2x daily", "declined: 2 of the 2 approvals per day are used; resets 2026-11-23T00:00Z");
    limit(
        "1x rolling(1h)",
        "declined: 1 of the 1 approvals in 1h are used; usage starts to drop at 2026-11-22T12:15:30Z",
    );
    // The tightest is named; a limit that was passed by force leaves nothing.
    limit(
        "50000 daily, 49000 weekly",
        "declined: 480.00 of the 490.00 USD weekly limit is used; at most 10.00 would have been approved; resets 2026-11-29T00:00Z",
    );
    limit(
        "40000 daily",
        "declined: 480.00 of the 400.00 USD daily limit is used; at most 0.00 would have been approved; resets 2026-11-23T00:00Z",
    );
}

#[test]
fn amounts_are_written_as_their_currency_is() {
    let in_currency = |currency: &str, amount: i64, text: &str, sentence: &str| {
        let policy = policy_of(&limited(text));
        let request = question(amount, currency);
        let card = card_with(&policy, &[]);
        assert_eq!(explain(&request, &decide(&card, &policy, &request)), sentence);
    };
    in_currency(
        "jpy",
        4_000,
        "3000 per_authorization",
        "declined: 0 of the 3000 JPY per-authorization limit is used; at most 3000 would have been approved",
    );
    in_currency(
        "kwd",
        4_000,
        "3250 per_authorization",
        "declined: 0.000 of the 3.250 KWD per-authorization limit is used; at most 3.250 would have been approved",
    );
    in_currency(
        "jpy",
        4_000,
        "5000 per_authorization",
        "approved: 4000 JPY; 4000 of the 5000 JPY per-authorization limit is used",
    );
    in_currency("kwd", 4_000, "", "approved: 4.000 KWD; no limit on amounts applies");
}

#[test]
fn every_control_has_its_sentence() {
    let plain = |_: &mut AuthorizationRequest| {};
    let base = Overrides::default;
    let us = || Some([Country::new("US").unwrap()].into());
    let food = || Some([Category::named("fast_food_restaurants").unwrap()].into());
    let bakeries = || Some([Category::named("bakeries").unwrap()].into());
    let present = || Some([CardPresence::Present].into());
    let id = |text: &str| Some([crate::domain::NetworkId::new(text).unwrap()].into());
    let told = |policy: Overrides, sentence: &str| check(policy, &[], plain, sentence);
    told(Overrides { paused: Some(true), ..base() }, "declined: the card is paused");
    told(
        Overrides { blocked_categories: food(), ..base() },
        "declined: the merchant category fast_food_restaurants is blocked",
    );
    told(
        Overrides { allowed_categories: bakeries(), ..base() },
        "declined: the merchant category fast_food_restaurants is not among the allowed ones",
    );
    check(
        Overrides { allowed_categories: bakeries(), ..base() },
        &[],
        |r| r.merchant.category = Category::Missing,
        "declined: the merchant category (none given) is not among the allowed ones",
    );
    told(
        Overrides { blocked_merchant_countries: us(), ..base() },
        "declined: merchants in the country US are blocked",
    );
    told(
        Overrides { allowed_merchant_countries: Some([Country::new("CA").unwrap()].into()), ..base() },
        "declined: the merchant's country (US) is not among the allowed ones",
    );
    told(
        Overrides { blocked_card_presences: present(), ..base() },
        "declined: purchases with card presence present are not allowed",
    );
    check(
        Overrides { allowed_card_presences: present(), ..base() },
        &[],
        |r| r.card_presence = None,
        "declined: purchases with card presence unknown are not allowed",
    );
    told(
        Overrides { blocked_merchants: id("0042"), ..base() },
        "declined: the merchant with network id 0042 is blocked",
    );
    told(
        Overrides { allowed_merchants: id("42"), ..base() },
        "declined: the merchant with network id 0042 is not among the allowed ones",
    );
    told(
        limited("900 eur daily"),
        "declined: USD is not the card's currency, or no limit of the policy names it",
    );
    check(
        limited("900 daily"),
        &[],
        |r| r.asked = Err(Violation::NoCard),
        "declined: the request names no card (`card.id`)",
    );
    let challenge = Overrides { challenge_on: Some([Reason::CountryBlocked].into()), ..base() };
    told(
        Overrides { blocked_merchant_countries: us(), ..challenge },
        "declined: merchants in the country US are blocked; a text message asks the cardholder to confirm the purchase",
    );
}

#[test]
fn an_approval_says_what_is_spent_with_it() {
    check(
        limited("60000 daily"),
        &SPENT,
        |_| {},
        "approved: 40.00 USD; 520.00 of the 600.00 USD daily limit is used",
    );
    check(limited("9x daily"), &SPENT, |_| {}, "approved: 40.00 USD; no limit on amounts applies");
    check(
        limited("50000 daily"),
        &SPENT,
        |r| r.is_amount_controllable = true,
        "approved in part: 20.00 USD; 480.00 of the 500.00 USD daily limit is used; resets 2026-11-23T00:00Z",
    );
}

#[test]
fn a_stand_in_says_why_nobody_asked_the_books() {
    use Outcome::{Approved, Declined};
    let check = |source, outcome, reason, sentence: &str| {
        let request = question(4_000, "usd");
        let decision = Decision {
            turn: 0,
            id: crate::domain::DecisionId::of(&request.authorization, request.question()),
            at: at(NOON),
            outcome,
            granted: 0,
            reason,
            violation: None,
            limits: Vec::new(),
            largest_approvable: None,
            would_pass: None,
            challenge: false,
            ruled: None,
            excepted: None,
            policy: PolicyVersion::stand_in(),
            source,
            answer_by: AnswerBy::Direct,
            stages: Stages::default(),
        };
        assert_eq!(explain(&request, &decision), sentence);
    };
    let prefix = "by stand-in, without the ledger";
    let stand_in = Source::StandIn;
    check(
        stand_in,
        Declined,
        Reason::StandInOverload,
        &format!("declined {prefix}: the node was overloaded"),
    );
    check(
        stand_in,
        Declined,
        Reason::StandInDeadline,
        &format!("declined {prefix}: no decision was possible in time"),
    );
    check(
        stand_in,
        Approved,
        Reason::StandInJournal,
        &format!("approved {prefix}: the journal was unavailable"),
    );
    check(
        Source::Forced,
        Approved,
        Reason::Approved,
        "approved by Stripe or the network, not by this policy",
    );
}

#[test]
fn no_decision_is_without_a_sentence() {
    // Decisions read back from a journal may lack what a fresh one has.
    for reason in Reason::ALL {
        for outcome in Outcome::ALL {
            for source in Source::ALL {
                let request = question(4_000, "usd");
                let policy = policy_of(&Overrides::default());
                let decision = Decision {
                    outcome,
                    reason,
                    source,
                    limits: Vec::new(),
                    largest_approvable: None,
                    ..decide(&card_with(&policy, &[]), &policy, &request)
                };
                assert!(explain(&request, &decision).len() > 10, "{outcome:?} {reason:?} {source:?}");
            }
        }
    }
}
