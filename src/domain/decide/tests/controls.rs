//! Controls as stories: lists, pauses, currencies, challenges, the layers of a policy, and Stripe's own.

use super::*;
use crate::domain::{CardSeen, Fact, Lists, Observation, Subject, Violation};

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
        let seen = CardSeen { is_update: true, is_active, currency: None, group: None, before: None };
        card.apply(&Event::Observed(Box::new(Observation {
            event: EventId::new(&format!("evt_card_{number}")).unwrap(),
            created: Timestamp::from_seconds(at(NOON).as_seconds() + i64::try_from(number).unwrap()),
            received_at: at("2026-11-22T12:01:00Z"),
            livemode: false,
            connected_account: None,
            subject: Subject::Card(CardId::new("ic_1").unwrap()),
            replacement_for: None,
            fact: Fact::Card(Box::new(seen)),
        })));
        let mut question = question(1_000, "usd");
        question.heed_card(card.standing.as_ref().unwrap());
        assert_eq!(decide(&card, &policy, &question).reason, expected);
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

#[allow(clippy::unnecessary_wraps, reason = "as a layer of a policy has it")]
fn list<T: Ord>(one: Option<T>) -> Option<std::collections::BTreeSet<T>> {
    Some(one.into_iter().collect())
}
