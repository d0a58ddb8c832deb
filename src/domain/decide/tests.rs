//! Decisions as stories: a policy, what was spent before, a question, and the answer that must come.

use std::{collections::BTreeMap, sync::Arc};

use super::*;
use crate::domain::{
    AuthorizationId, CardId, CardPresence, CardSeen, Country, Currency, Decided, Event, EventId, Fact, Lists,
    Merchant, NetworkId, Observation, Overrides, Policy, PolicyVersion, Violation, Window, Zone,
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
        stripe_controls: None,
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
    let window = Window { measure, interval, time_zone, categories, merchants };
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

#[allow(clippy::unnecessary_wraps, reason = "as a layer of a policy has it")]
fn list<T: Ord>(one: Option<T>) -> Option<std::collections::BTreeSet<T>> {
    Some(one.into_iter().collect())
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
fn every_control_declines_with_its_own_reason() {
    let with = |set: fn(&mut Overrides)| {
        let mut overrides = Overrides::default();
        set(&mut overrides);
        overrides
    };
    let plain = |_: &mut AuthorizationRequest| {};
    let bakeries = || Category::named("bakeries");
    check(with(|p| p.paused = Some(true)), &[], plain, NO(Reason::CardPaused));
    let fast_food = with(|p| p.blocked_categories = list(Category::named("fast_food_restaurants")));
    check(fast_food, &[], plain, NO(Reason::CategoryBlocked));
    check(with(|p| p.blocked_categories = list(Category::named("bakeries"))), &[], plain, OK(1_000));
    let only_bakeries = with(|p| p.allowed_categories = list(Category::named("bakeries")));
    check(only_bakeries.clone(), &[], plain, NO(Reason::CategoryNotAllowed));
    check(only_bakeries.clone(), &[], |r| r.merchant.category = bakeries().unwrap(), OK(1_000));
    check(only_bakeries, &[], |r| r.merchant.category = Category::Missing, NO(Reason::CategoryNotAllowed));
    check(
        with(|p| p.blocked_merchant_countries = list(Country::new("US"))),
        &[],
        plain,
        NO(Reason::CountryBlocked),
    );
    let only_canada = with(|p| p.allowed_merchant_countries = list(Country::new("CA")));
    check(only_canada.clone(), &[], plain, NO(Reason::CountryNotAllowed));
    check(only_canada, &[], |r| r.merchant.country = None, NO(Reason::CountryNotAllowed));
    check(
        with(|p| p.blocked_merchant_countries = list(Country::new("US"))),
        &[],
        |r| r.merchant.country = None,
        OK(1_000),
    );
    let present = || list(Some(CardPresence::Present));
    check(
        Overrides { blocked_card_presences: present(), ..Overrides::default() },
        &[],
        plain,
        NO(Reason::PresenceBlocked),
    );
    let only_present = Overrides { allowed_card_presences: present(), ..Overrides::default() };
    check(only_present.clone(), &[], plain, OK(1_000));
    check(
        only_present.clone(),
        &[],
        |r| r.card_presence = Some(CardPresence::NotPresent),
        NO(Reason::PresenceBlocked),
    );
    check(only_present, &[], |r| r.card_presence = None, NO(Reason::PresenceBlocked));
    check(
        with(|p| p.blocked_merchants = list(NetworkId::new("0042"))),
        &[],
        plain,
        NO(Reason::MerchantBlocked),
    );
    // A leading zero makes another merchant.
    check(with(|p| p.blocked_merchants = list(NetworkId::new("42"))), &[], plain, OK(1_000));
    check(
        with(|p| p.allowed_merchants = list(NetworkId::new("42"))),
        &[],
        plain,
        NO(Reason::MerchantNotAllowed),
    );
    for violation in Violation::ALL {
        let decision =
            check(limited("5000 daily"), &[], |r| r.asked = Err(violation), NO(Reason::ContractViolation));
        assert_eq!(decision.violation, Some(violation));
    }
}

#[test]
fn a_card_that_stripe_says_is_inactive_is_paused() {
    let policy = policy_of(&Overrides::default());
    let mut card = card_with(&policy, &[]);
    for (number, (is_active, expected)) in
        [(false, Reason::CardPaused), (true, Reason::Approved)].into_iter().enumerate()
    {
        let seen =
            CardSeen { is_update: true, is_active, currency: None, group: None, replacement_for: None };
        card.apply(&Event::Observed(Box::new(Observation {
            event: EventId::new(&format!("evt_card_{number}")).unwrap(),
            created: Timestamp::from_seconds(at(NOON).as_seconds() + i64::try_from(number).unwrap()),
            received_at: at("2026-11-22T12:01:00Z"),
            livemode: false,
            connected_account: None,
            card: CardId::new("ic_1").unwrap(),
            fact: Fact::Card(Box::new(seen)),
        })));
        assert_eq!(decide(&card, &policy, &question(1_000, "usd")).reason, expected);
    }
}

#[test]
fn a_cards_settings_go_over_its_groups_and_those_over_the_default_key_by_key() {
    let default = Overrides {
        blocked_categories: list(Category::named("betting_casino_gambling")),
        partial_approvals: Some(false),
        ..limited("50000 daily")
    };
    let travel = Overrides { allowed_merchant_countries: list(Country::new("CA")), ..limited("9000 daily") };
    let single = Overrides { paused: Some(false), partial_approvals: Some(true), ..limited("700 daily") };
    let stopped = Overrides { paused: Some(true), ..Overrides::default() };
    let card = |name: &str| CardId::new(name).unwrap();
    let policy = Policy::new(
        PolicyVersion::new("layers"),
        &default,
        &BTreeMap::from([("travel".into(), travel)]),
        BTreeMap::from([(card("ic_single"), single), (card("ic_stopped"), stopped)]),
    );
    let told = |id: &str, group: Option<&str>| {
        let policy = policy.for_card(CardId::new(id).as_ref(), group);
        let Lists { allowed, .. } = &policy.controls.countries;
        assert!(policy.controls.categories.blocked.is_some(), "nobody has overridden the default's list");
        let max = policy.controls.spending_limits.iter().map(|limit| limit.max).collect::<Vec<_>>();
        (max, allowed.is_some(), policy.paused, policy.partial_approvals)
    };
    assert_eq!(told("ic_1", None), (vec![50_000], false, false, false));
    assert_eq!(told("ic_1", Some("no such group")), (vec![50_000], false, false, false));
    assert_eq!(told("ic_1", Some("travel")), (vec![9_000], true, false, false));
    assert_eq!(told("ic_single", Some("travel")), (vec![700], true, false, true));
    assert_eq!(told("ic_single", None), (vec![700], false, false, true));
    assert_eq!(told("ic_stopped", Some("travel")), (vec![9_000], true, true, false));
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
            Measure::Count => assert_eq!((check.before, check.after), (1, 2)),
        }
    };
    increment("5000 per_authorization", 4_200, 800, OK(800));
    increment("5000 per_authorization", 4_200, 801, NO(Reason::SpendingLimit));
    increment("5000 daily", 4_200, 800, OK(800));
    increment("5000 daily", 4_200, 801, NO(Reason::SpendingLimit));
    increment("2x per_authorization", 4_200, 800, OK(800));
    increment("1x per_authorization", 4_200, 800, NO(Reason::VelocityLimit));
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
    check(limited("1x daily"), &[], unseen, NO(Reason::VelocityLimit));
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
fn currencies_are_compared_before_amounts() {
    let euros = |own: Option<&str>| {
        let own = own.map(|own| own.parse().unwrap());
        move |r: &mut AuthorizationRequest| {
            *r = AuthorizationRequest { card_currency: own, ..question(1_000, "eur") };
        }
    };
    check(limited(""), &[], euros(Some("usd")), NO(Reason::CurrencyMismatch));
    check(limited("5000 usd daily"), &[], euros(Some("eur")), NO(Reason::CurrencyMismatch));
    check(limited("5000 usd daily"), &[], euros(None), NO(Reason::CurrencyMismatch));
    check(limited("5000 usd daily, 900 eur daily"), &[], euros(Some("eur")), NO(Reason::SpendingLimit));
    check(limited("1 usd daily, 1000 eur daily"), &[], euros(Some("eur")), OK(1_000));
    check(limited("5000 daily"), &[], euros(Some("eur")), OK(1_000));
    check(limited("9x daily"), &[], euros(Some("eur")), OK(1_000));
    let other = Overrides { other_currencies_allowed: Some(true), ..limited("5000 usd daily") };
    check(other.clone(), &[], euros(Some("eur")), OK(1_000));
    check(other, &[], euros(Some("usd")), NO(Reason::CurrencyMismatch));
    // A card whose books are in dollars does not become one of euros by a question that does not say.
    check(
        limited("5000 daily"),
        &[("2026-11-22T09:00:00Z", 10, "")],
        euros(None),
        NO(Reason::CurrencyMismatch),
    );
}

#[test]
fn a_passed_challenge_lifts_the_lists_that_challenge_and_never_a_limit() {
    let challenging =
        |reason: Reason, base: Overrides| Overrides { challenge_on: list(Some(reason)), ..base };
    let us = || Overrides { blocked_merchant_countries: list(Country::new("US")), ..limited("900 daily") };
    let verified = |amount: i64| {
        move |r: &mut AuthorizationRequest| {
            r.asked = Ok(Money::new(amount, Currency::USD));
            r.verified_by_fraud_challenge = true;
        }
    };
    let decision =
        check(challenging(Reason::CountryBlocked, us()), &[], amount(900), NO(Reason::CountryBlocked));
    assert!(decision.challenge && decision.answer(false).challenge);
    assert!(!check(us(), &[], amount(900), NO(Reason::CountryBlocked)).challenge);
    let decision = check(challenging(Reason::CountryBlocked, us()), &[], verified(900), OK(900));
    assert!(!decision.challenge);
    check(challenging(Reason::CountryBlocked, us()), &[], verified(901), NO(Reason::SpendingLimit));
    check(us(), &[], verified(900), NO(Reason::CountryBlocked));
    check(challenging(Reason::CategoryBlocked, us()), &[], verified(900), NO(Reason::CountryBlocked));
    // A limit may ask the cardholder, but yes does not raise it.
    let decision = check(
        challenging(Reason::SpendingLimit, limited("900 daily")),
        &[],
        verified(901),
        NO(Reason::SpendingLimit),
    );
    assert!(decision.challenge);
    let paused = Overrides { paused: Some(true), ..Overrides::default() };
    check(challenging(Reason::CardPaused, paused), &[], verified(1), NO(Reason::CardPaused));
    // Who is approved, in whole or in part, is not asked.
    let part = |r: &mut AuthorizationRequest| r.is_amount_controllable = true;
    assert!(!check(challenging(Reason::SpendingLimit, limited("900 daily")), &[], part, PART(900)).challenge);
}

#[test]
fn stripes_own_controls_count_only_where_the_policy_mirrors_them() {
    let controls = |text: &str, blocked: Option<Category>| {
        let categories = Lists { allowed: None, blocked: blocked.map(|one| Arc::new([one].into())) };
        let stripe = Arc::new(Controls { spending_limits: limits(text), categories, ..Controls::default() });
        move |r: &mut AuthorizationRequest| r.stripe_controls = Some(stripe)
    };
    let mirror = |text: &str| Overrides { mirror_stripe_controls: Some(true), ..limited(text) };
    let spent = [("2026-11-22T09:00:00Z", 4_500, "")];
    let fast_food = || Category::named("fast_food_restaurants");
    check(mirror("9000 daily"), &spent, controls("5000 daily", None), NO(Reason::SpendingLimit));
    check(mirror("9000 daily"), &spent, controls("5500 daily", None), OK(1_000));
    check(mirror("5000 daily"), &spent, controls("5500 daily", None), NO(Reason::SpendingLimit));
    check(limited("9000 daily"), &spent, controls("5000 daily", None), OK(1_000));
    check(mirror(""), &[], controls("", fast_food()), NO(Reason::CategoryBlocked));
    check(limited(""), &[], controls("", fast_food()), OK(1_000));
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
