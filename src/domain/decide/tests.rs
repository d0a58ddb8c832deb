//! Decisions as stories: a policy, what was spent before, a question, and the answer that must come.

mod controls;

use std::{collections::BTreeMap, sync::Arc};

use super::*;
use crate::domain::{
    AuthorizationId, CardId, CardPresence, Category, Controls, Country, Currency, Decided, Details, Event,
    EventId, Interval, Limit, Merchant, NetworkId, Occurrence, Overrides, Policy, PolicyVersion, Told,
    Window, Zone, limits_in_force,
};

/// Questions come at this time, unless they say otherwise. It is a Sunday.
pub(in crate::domain) const NOON: &str = "2026-11-22T12:00:00Z";

pub(in crate::domain) fn at(text: &str) -> Timestamp {
    Timestamp::parse(text).unwrap()
}

/// A question of `amount` minor units of `currency` about the authorization `iauth_1`.
pub(in crate::domain) fn question(amount: i64, currency: &str) -> AuthorizationRequest {
    let currency = currency.parse().unwrap();
    AuthorizationRequest {
        event: EventId::new("evt_1").unwrap(),
        authorization: AuthorizationId::new("iauth_1").unwrap(),
        card: CardId::new("ic_1"),
        card_currency: Some(currency),
        replacement_for: None,
        cardholder: None,
        is_paused: false,
        group: None,
        received_at: at(NOON),
        created: at(NOON),
        history_entries: 0,
        approved_before: 0,
        asked: Ok(Money::new(amount, currency)),
        is_amount_controllable: false,
        cashback: 0,
        merchant: Merchant {
            category: Category::named("fast_food_restaurants").unwrap(),
            country: Country::new("US"),
            network_id: NetworkId::new("0042"),
        },
        card_presence: Some(CardPresence::Present),
        verified_by_fraud_challenge: false,
        livemode: false,
        connected_account: None,
        details: Details::default(),
        stripe_controls: None,
        told: Told::default(),
    }
}

/// Reads limits such as `50000 daily, 3x rolling(1h), 4000 eur per_authorization, 900 weekly for bakeries,
/// 900 weekly at 0042, 100 daily in Europe/Berlin`.
pub(in crate::domain) fn limits(text: &str) -> Vec<Limit> {
    text.split(", ").filter(|limit| !limit.is_empty()).map(limit).collect()
}

fn limit(text: &str) -> Limit {
    let mut words = text.split(' ').peekable();
    let height = words.next().unwrap();
    let (max, mut measure) = match height.strip_suffix('x') {
        Some(count) => (count, Measure::Count),
        None => (height, Measure::Amount(None)),
    };
    let mut next = words.next().unwrap();
    if let Ok(currency) = next.parse::<Currency>() {
        measure = Measure::Amount(Some(currency));
        next = words.next().unwrap();
    }
    let interval = Interval::parse(next).unwrap();
    let (mut time_zone, mut categories, mut merchants) = (Zone::UTC, None, None);
    while let Some(word) = words.next() {
        let name = words.next().unwrap();
        match word {
            "for" => categories = Some([Category::named(name).unwrap()].into()),
            "at" => merchants = Some([NetworkId::new(name).unwrap()].into()),
            "in" => time_zone = Zone::new(name).unwrap(),
            _ => panic!("what is `{word}`?"),
        }
    }
    let window =
        Window { measure, interval, time_zone, categories, merchants, occurrence: Occurrence::Approval };
    Limit { max: max.parse().unwrap(), window: Arc::new(window) }
}

pub(in crate::domain) fn policy_of(default: &Overrides) -> Arc<CardPolicy> {
    Policy::new(PolicyVersion::new("test"), default, &BTreeMap::new(), BTreeMap::new()).for_card(None, None)
}

/// A card whose books have these purchases: the time of each, the amount, and where it was made if not at the usual
/// place. All were asked and approved.
pub(in crate::domain) fn card_with(policy: &CardPolicy, spent: &[(&str, i64, &str)]) -> Card {
    let mut card = Card::default();
    let windows = policy.controls.spending_limits.iter().map(|limit| &limit.window);
    card.adopt(windows, policy.refunds_restore, at("2026-01-01T00:00:00Z")).unwrap();
    for (number, (moment, amount, place)) in spent.iter().enumerate() {
        let mut request = question(*amount, "usd");
        request.authorization = AuthorizationId::new(&format!("iauth_before_{number}")).unwrap();
        request.event = EventId::new(&format!("evt_before_{number}")).unwrap();
        request.received_at = at(moment);
        if let Some(category) = Category::named(place) {
            request.merchant.category = category;
        } else if !place.is_empty() {
            request.merchant.network_id = NetworkId::new(place);
        }
        approve(&mut card, request, *amount);
    }
    card
}

fn approve(card: &mut Card, request: AuthorizationRequest, granted: i64) {
    let permissive = CardPolicy::permissive(PolicyVersion::new("before"));
    let decision = Decision { granted, ..decide(card, &permissive, &request) };
    assert_eq!(decision.outcome, Outcome::Approved, "{decision:?}");
    card.apply(&Event::Decided(Box::new(Decided { request: Arc::new(request), decision })));
}

/// One decision under `default`, with `spent` before it.
#[allow(clippy::needless_pass_by_value, reason = "a story is one line")]
fn check(
    default: Overrides,
    spent: &[(&str, i64, &str)],
    ask: impl FnOnce(&mut AuthorizationRequest),
    expected: (Outcome, i64, Reason),
) -> Decision {
    let policy = policy_of(&default);
    let mut card = card_with(&policy, spent);
    let mut request = question(1_000, "usd");
    ask(&mut request);
    let windows = || limits_in_force(&policy, request.stripe_controls.as_deref()).map(|limit| &limit.window);
    card.adopt(windows(), policy.refunds_restore, request.received_at).unwrap();
    let decision = decide(&card, &policy, &request);
    assert_eq!((decision.outcome, decision.granted, decision.reason), expected, "{default:?}\n{request:?}");
    assert_eq!(decide(&card, &policy, &request), decision, "the same input gives the same output");
    decision
}

fn limited(text: &str) -> Overrides {
    Overrides { spending_limits: Some(limits(text)), ..Overrides::default() }
}

const OK: fn(i64) -> (Outcome, i64, Reason) = |granted| (Outcome::Approved, granted, Reason::Approved);
const NO: fn(Reason) -> (Outcome, i64, Reason) = |reason| (Outcome::Declined, 0, reason);
const PART: fn(i64) -> (Outcome, i64, Reason) = |granted| (Outcome::Partial, granted, Reason::SpendingLimit);

fn amount(amount: i64) -> impl FnOnce(&mut AuthorizationRequest) {
    move |request| request.asked = Ok(Money::new(amount, Currency::USD))
}

#[test]
fn a_limit_holds_in_its_window() {
    let limit = |text: &str, spent: &[(&str, i64, &str)], largest: i64| {
        check(limited(text), spent, amount(largest), OK(largest));
        let decision = check(limited(text), spent, amount(largest + 1), NO(Reason::SpendingLimit));
        assert_eq!(decision.largest_approvable, Some(largest));
    };
    limit("5000 per_authorization", &[("2026-11-22T11:00:00Z", 4_000, "")], 5_000);
    // Midnight of the zone begins the day.
    limit("5000 daily", &[("2026-11-21T23:59:59Z", 4_000, "")], 5_000);
    limit("5000 daily", &[("2026-11-22T00:00:00Z", 4_000, "")], 1_000);
    limit("5000 daily in Europe/Berlin", &[("2026-11-21T23:00:00Z", 4_000, "")], 1_000);
    // Sunday begins the week.
    limit("5000 weekly", &[("2026-11-21T23:59:59Z", 4_000, ""), ("2026-11-22T00:00:00Z", 500, "")], 4_500);
    limit("5000 monthly", &[("2026-10-31T23:59:59Z", 4_000, ""), ("2026-11-01T00:00:00Z", 700, "")], 4_300);
    limit("5000 yearly", &[("2026-01-01T00:00:00Z", 4_000, "")], 1_000);
    limit("5000 all_time", &[("2026-01-01T00:00:00Z", 4_000, ""), ("2026-11-22T00:00:00Z", 1, "")], 999);
    // A sliding hour counts less than an hour ago, not an hour ago.
    limit(
        "5000 rolling(1h)",
        &[("2026-11-22T11:00:00Z", 4_000, ""), ("2026-11-22T11:00:00.000001Z", 9, "")],
        4_991,
    );
    // All of them must hold: the tightest counts.
    limit("5000 daily, 3000 per_authorization, 9000 weekly", &[("2026-11-22T09:00:00Z", 2_500, "")], 2_500);
    // Only what the filter names is counted and stopped.
    limit("5000 daily for fast_food_restaurants", &[("2026-11-22T09:00:00Z", 4_000, "bakeries")], 5_000);
    limit(
        "5000 daily at 0042",
        &[("2026-11-22T09:00:00Z", 4_000, "42"), ("2026-11-22T09:00:00Z", 1, "")],
        4_999,
    );
    check(limited("0 daily for bakeries, 0 daily at 42"), &[], amount(9_999), OK(9_999));
    // A limit of nothing lets nothing pass; no limit lets everything pass.
    limit("0 daily", &[], 0);
    let decision = check(limited(""), &[], amount(999_999), OK(999_999));
    assert_eq!((decision.largest_approvable, decision.limits), (None, Vec::new()));
}

#[test]
fn a_count_holds_in_its_window_and_comes_before_amounts() {
    let spent = [("2026-11-22T11:30:00Z", 10, ""), ("2026-11-22T11:40:00Z", 10, "")];
    check(limited("3x rolling(1h)"), &spent, amount(1), OK(1));
    check(limited("2x rolling(1h)"), &spent, amount(1), NO(Reason::VelocityLimit));
    check(limited("2x rolling(10m)"), &spent, amount(1), OK(1));
    check(limited("0x all_time"), &[], amount(0), NO(Reason::VelocityLimit));
    let decision = check(limited("2x daily, 5 daily"), &spent, amount(1), NO(Reason::VelocityLimit));
    assert_eq!(decision.largest_approvable, Some(0), "no amount passes where a count is used up");
    // A count is no room for a part.
    check(
        limited("2x daily, 500 daily"),
        &spent,
        |r| r.is_amount_controllable = true,
        NO(Reason::VelocityLimit),
    );
}

#[test]
fn an_increment_is_asked_on_top_of_what_was_approved() {
    let increment = |text: &str, granted: i64, asked: i64, expected| {
        let policy = policy_of(&limited(text));
        let mut card = card_with(&policy, &[]);
        approve(&mut card, question(granted, "usd"), granted);
        let mut request = question(asked, "usd");
        (request.history_entries, request.approved_before) = (1, granted);
        request.event = EventId::new("evt_2").unwrap();
        let decision = decide(&card, &policy, &request);
        assert_eq!((decision.outcome, decision.granted, decision.reason), expected, "{decision:?}");
        let check = &decision.limits[0];
        match check.measure {
            Measure::Amount(_) => assert_eq!((check.before, check.after), (granted, granted + asked)),
            Measure::Count => assert_eq!((check.before, check.after), (1, 1)),
        }
    };
    increment("5000 per_authorization", 4_200, 800, OK(800));
    increment("5000 per_authorization", 4_200, 801, NO(Reason::SpendingLimit));
    increment("5000 daily", 4_200, 800, OK(800));
    increment("5000 daily", 4_200, 801, NO(Reason::SpendingLimit));
    increment("2x per_authorization", 4_200, 800, OK(800));
    // Velocity counts authorizations, and an increment is none.
    increment("1x per_authorization", 4_200, 800, OK(800));
    increment("1x daily", 4_200, 800, OK(800));
}

#[test]
fn an_increment_whose_first_request_never_came_counts_what_was_approved_before() {
    let unseen = |r: &mut AuthorizationRequest| (r.history_entries, r.approved_before) = (1, 4_200);
    for text in ["5200 daily", "5200 per_authorization", "2x daily"] {
        let decision = check(limited(text), &[], unseen, OK(1_000));
        assert!(decision.limits[0].before > 0, "{text}");
    }
    check(limited("5199 daily"), &[], unseen, NO(Reason::SpendingLimit));
    check(limited("5199 per_authorization"), &[], unseen, NO(Reason::SpendingLimit));
    check(limited("1x daily"), &[], unseen, OK(1_000));
    // The top-level amount of a first request is of nobody's approval.
    check(limited("1000 daily"), &[], |r| r.approved_before = 4_200, OK(1_000));
}

#[test]
fn a_controllable_amount_is_approved_in_part_but_never_below_the_cash_back() {
    let spent = [("2026-11-22T09:00:00Z", 4_400, "")];
    let ask = |cashback: i64| {
        move |r: &mut AuthorizationRequest| (r.is_amount_controllable, r.cashback) = (true, cashback)
    };
    let decision = check(limited("5000 daily"), &spent, ask(0), PART(600));
    assert_eq!(decision.answer(true).amount, Some(600));
    assert_eq!(decision.largest_approvable, Some(600));
    check(limited("5000 daily"), &spent, ask(600), PART(600));
    check(limited("5000 daily"), &spent, ask(601), NO(Reason::SpendingLimit));
    check(limited("4400 daily"), &spent, ask(0), NO(Reason::SpendingLimit));
    check(limited("4000 daily"), &spent, ask(0), NO(Reason::SpendingLimit));
    check(limited("5000 daily"), &spent, |_| {}, NO(Reason::SpendingLimit));
    let off = Overrides { partial_approvals: Some(false), ..limited("5000 daily") };
    check(off, &spent, ask(0), NO(Reason::SpendingLimit));
    // A full approval names its amount where Stripe lets us choose it, and nowhere else.
    let decision = check(limited("9000 daily"), &spent, ask(0), OK(1_000));
    assert_eq!((decision.answer(true).amount, decision.answer(false).amount), (Some(1_000), None));
}

#[test]
fn a_fuel_pump_holds_a_hundred_units_for_a_question_of_one() {
    let pump = |amount: i64, currency: &str, is_controllable: bool| {
        let asked = question(amount, currency);
        move |r: &mut AuthorizationRequest| {
            (r.asked, r.card_currency, r.is_amount_controllable) =
                (asked.asked, asked.card_currency, is_controllable);
            r.merchant.category = Category::of(None, Some("5542"));
        }
    };
    check(limited("10000 daily"), &[], pump(100, "usd", false), OK(10_000));
    check(limited("9999 daily"), &[], pump(100, "usd", false), NO(Reason::SpendingLimit));
    let decision = check(limited("5000 daily"), &[], pump(100, "usd", true), PART(5_000));
    assert_eq!(decision.answer(true).amount, Some(5_000));
    check(limited("10000 daily"), &[], pump(100, "usd", true), OK(10_000));
    // The least that a pump can use is what it asks for.
    check(limited("100 daily"), &[], pump(100, "usd", true), PART(100));
    check(limited("99 daily"), &[], pump(100, "usd", true), NO(Reason::SpendingLimit));
    check(limited("100 daily"), &[], pump(1, "jpy", false), OK(100));
    check(limited("99 daily"), &[], pump(1, "jpy", false), NO(Reason::SpendingLimit));
    check(limited("100000 daily"), &[], pump(1_000, "kwd", false), OK(100_000));
    // More than one unit is what it says; a card check of nothing holds nothing.
    check(limited("5000 daily"), &[], pump(4_000, "usd", false), OK(4_000));
    check(limited("5000 daily"), &[], pump(0, "usd", true), OK(0));
}

#[test]
fn a_question_of_nothing_passes_where_controls_and_counts_let_it() {
    let spent = [("2026-11-22T09:00:00Z", 6_000, "")];
    let decision = check(limited("5000 daily"), &spent, amount(0), OK(0));
    assert_eq!(decision.answer(true).amount, None, "Stripe takes no amount of zero");
    check(limited("1x daily"), &spent, amount(0), NO(Reason::VelocityLimit));
    check(Overrides { paused: Some(true), ..Overrides::default() }, &[], amount(0), NO(Reason::CardPaused));
}

#[test]
fn a_check_tells_its_numbers_before_and_after() {
    let spent = [("2026-11-22T09:00:00Z", 4_500, ""), ("2026-11-22T11:15:30Z", 100, "")];
    let text = "5000 daily, 9x rolling(1h), 800 per_authorization, 9000 all_time, 1 daily for bakeries";
    let decision = check(limited(text), &spent, amount(700), NO(Reason::SpendingLimit));
    let told: Vec<(String, i64, i64, i64, Option<String>)> = decision
        .limits
        .iter()
        .map(|one| {
            let resets = one.resets_at.map(|at| at.to_string());
            (format!("{} {}", one.measure.as_str(), one.interval), one.before, one.after, one.max, resets)
        })
        .collect();
    let row = |name: &str, before, after, max, resets: Option<&str>| {
        (name.to_owned(), before, after, max, resets.map(ToOwned::to_owned))
    };
    assert_eq!(
        told,
        [
            row("amount daily", 4_600, 5_300, 5_000, Some("2026-11-23T00:00:00Z")),
            row("count rolling(1h)", 1, 2, 9, Some("2026-11-22T12:15:30Z")),
            row("amount per_authorization", 0, 700, 800, None),
            row("amount all_time", 4_600, 5_300, 9_000, None),
        ]
    );
    assert_eq!(decision.largest_approvable, Some(400));
    assert!(
        decision
            .limits
            .iter()
            .all(|one| one.measure == Measure::Count || one.currency() == Some(Currency::USD))
    );
}

#[test]
fn time_never_goes_back_whatever_a_clock_says() {
    let policy = policy_of(&limited("5000 daily"));
    let card = card_with(&policy, &[("2026-11-22T00:00:01Z", 4_500, "")]);
    let mut request = question(1_000, "usd");
    request.received_at = at("2026-11-21T23:59:59Z");
    let decision = decide(&card, &policy, &request);
    assert_eq!((decision.at, decision.reason), (at("2026-11-22T00:00:01Z"), Reason::SpendingLimit));
}
