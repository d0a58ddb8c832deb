//! Purchases and the books of a card after many of them, for benches of deciding.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tollgate::{
    domain::{
        AuthorizationId, AuthorizationRequest, AuthorizationSeen, AuthorizationStatus, Card, CardId,
        CardPolicy, Category, Currency, Decided, Event, EventId, Fact, HistoryEntry, Interval, Limit,
        Measure, Merchant, Money, Observation, Overrides, Policy, PolicyVersion, Subject, Timestamp, Told,
        TransactionId, TransactionKind, TransactionSeen, Window, Zone, decide,
        rule::{List, Rule, Then},
        windows_in_force,
    },
    policy::rules::{Context, compile},
};

/// All that limits can be: a calendar in a zone, a sliding window that holds every purchase, a count, a filter.
pub(crate) fn policy() -> Arc<CardPolicy> {
    let window = |measure, interval: &str, category: Option<&str>| {
        Arc::new(Window {
            measure,
            interval: Interval::parse(interval).unwrap(),
            time_zone: Zone::new("Europe/Berlin").unwrap(),
            categories: category.map(|name| [Category::named(name).unwrap()].into()),
            merchants: None,
            occurrence: tollgate::domain::Occurrence::Approval,
        })
    };
    let limits = [
        window(Measure::Amount(None), "daily", None),
        window(Measure::Amount(None), "monthly", Some("fast_food_restaurants")),
        window(Measure::Amount(None), "rolling(365d)", None),
        window(Measure::Count, "rolling(24h)", None),
        window(Measure::Amount(None), "per_authorization", None),
    ];
    let limits = limits.map(|window| Limit { max: 1_000_000_000, window });
    let default = Overrides { spending_limits: Some(limits.into()), ..Overrides::default() };
    let (groups, cards) = Default::default();
    Policy::new(PolicyVersion::new("bench"), &default, &groups, cards).for_card(None, None)
}

/// The same with so many rules, none of which matches, that look into eight windows.
#[allow(dead_code, reason = "not every bench decides by rules")]
pub(crate) fn policy_with_rules(count: usize) -> Arc<CardPolicy> {
    let conditions = [
        "cash > 0 && merchant.country != \"US\"",
        "category in [\"betting_casino_gambling\", \"wires_money_orders\"]",
        "merchant.id in list(\"trusted\")",
        "amount > 30000 && !present",
        "has(mcc) && mcc in [6010, 6011]",
        "count(10m) >= 30 || count(1h) >= 40 || count(7d) > 9000 || count(30d) > 9000",
        "sum(1h) > 9000000 || sum(2h) > 9000000 || sum(7d) > 90000000 || sum(30d) > 90000000",
        "method == \"swipe\" && amount > 500",
    ];
    let entries = (0..100_000).map(|number| format!("{number:012}").into_boxed_str());
    let lists = BTreeMap::from([("trusted".into(), Arc::new(List::new("trusted", entries)))]);
    let context = Context { time_zone: &Zone::UTC, lists: &lists, budgets: &[], has_home: false };
    let rules =
        conditions.iter().cycle().take(count).map(|text| {
            Rule::new("rule".into(), compile(text, context).unwrap().condition, Then::Decline, None)
        });
    Arc::new(CardPolicy { rules: rules.collect(), ..CardPolicy::clone(&policy()) })
}

pub(crate) fn question(number: u32) -> AuthorizationRequest {
    let at = Timestamp::from_seconds(1_785_500_000).plus(Duration::from_mins(5).saturating_mul(number));
    AuthorizationRequest {
        event: EventId::new(&format!("evt_1NKkcLFk9ZxCMkXh{number:08}")).unwrap(),
        authorization: AuthorizationId::new(&format!("iauth_1NKkcLFk9ZxCMkXh{number:08}")).unwrap(),
        card: CardId::new("ic_1NKkcLFk9ZxCMkXhB1d5y8Ws"),
        card_currency: Some(Currency::USD),
        replacement_for: None,
        cardholder: None,
        is_paused: false,
        group: None,
        received_at: at,
        created: at,
        history_entries: 0,
        approved_before: 0,
        asked: Ok(Money::new(1_000, Currency::USD)),
        is_amount_controllable: false,
        cashback: 0,
        merchant: Merchant {
            category: Category::named("fast_food_restaurants").unwrap(),
            ..Merchant::default()
        },
        card_presence: None,
        verified_by_fraud_challenge: false,
        livemode: true,
        connected_account: None,
        details: tollgate::domain::Details::default(),
        stripe_controls: None,
        told: Told::default(),
    }
}

/// The books after so many purchases: each approved, captured later, and let go as a card actor does.
pub(crate) fn card(policy: &CardPolicy, purchases: u32) -> Card {
    let mut card = Card::default();
    card.adopt(windows_in_force(policy, None), false, Timestamp::default()).unwrap();
    for number in 0..purchases {
        let request = Arc::new(question(number));
        let decision = decide(&card, policy, &request);
        let (id, at) = (request.authorization.clone(), request.received_at);
        card.apply(&Event::Decided(Box::new(Decided { request, decision })));
        for event in captured(id, at, number) {
            card.apply(&event);
        }
        if number.is_multiple_of(64) {
            card.forget(card.time);
        }
    }
    card
}

/// The whole amount is captured.
pub(crate) fn captured(id: AuthorizationId, at: Timestamp, number: u32) -> [Event; 2] {
    let history =
        HistoryEntry { amount: 1_000, approved: true, created: at, reason: "webhook_approved".into() };
    let seen = AuthorizationSeen {
        holder: None,
        differs: false,
        id: id.clone(),
        is_update: true,
        created: at,
        amount: Money::new(1_000, Currency::USD),
        amount_before: None,
        approved: true,
        status: AuthorizationStatus::Closed,
        history: vec![history],
        transactions: 1,
        listed: Vec::new(),
        merchant: Merchant::default(),
    };
    let transaction = TransactionSeen {
        id: TransactionId::new(&format!("ipi_{number}")).unwrap(),
        is_update: false,
        created: at,
        kind: TransactionKind::Capture,
        amount: -1_000,
        currency: Some(Currency::USD),
        authorization: Some(id),
        merchant: Merchant::default(),
    };
    [Fact::Transaction(Box::new(transaction)), Fact::Authorization(Box::new(seen))].map(|fact| {
        Event::Observed(Box::new(Observation {
            event: EventId::new(&format!("evt_captured_{number}")).unwrap(),
            created: at,
            received_at: at,
            livemode: true,
            connected_account: None,
            subject: Subject::Card(CardId::new("ic_1NKkcLFk9ZxCMkXhB1d5y8Ws").unwrap()),
            replacement_for: None,
            fact,
        }))
    })
}
