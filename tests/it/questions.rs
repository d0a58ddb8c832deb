//! Questions for tests to ask: authorization requests as the parser makes them, with everything that a test does not
//! care about filled in.

use std::{sync::Arc, time::Duration};

use tollgate::{
    actors::Arrival,
    clock,
    domain::{
        AuthorizationId, AuthorizationRequest, AuthorizationSeen, AuthorizationStatus, CardId, Category,
        Currency, EventId, Fact, HistoryEntry, Interval, Limit, Measure, Merchant, Money, Observation,
        Overrides, Policy, PolicyVersion, Subject, Timestamp, Told, Window, Zone,
    },
};

/// A card's id.
pub(crate) fn card(name: &str) -> CardId {
    CardId::new(&format!("ic_{name}")).unwrap()
}

/// A question of `amount` cents on a card: authorization and event are named after `name`.
pub(crate) fn question(card_name: &str, name: &str, amount: i64) -> AuthorizationRequest {
    AuthorizationRequest {
        event: EventId::new(&format!("evt_{name}")).unwrap(),
        authorization: AuthorizationId::new(&format!("iauth_{name}")).unwrap(),
        card: Some(card(card_name)),
        card_currency: Some(Currency::USD),
        replacement_for: None,
        cardholder: None,
        is_paused: false,
        group: None,
        received_at: clock::now(),
        created: Timestamp::from_seconds(1_785_500_000),
        history_entries: 0,
        approved_before: 0,
        asked: Ok(Money::new(amount, Currency::USD)),
        is_amount_controllable: false,
        cashback: 0,
        merchant: Merchant {
            category: Category::named("fast_food_restaurants").unwrap(),
            ..Merchant::default()
        },
        card_presence: None,
        verified_by_fraud_challenge: false,
        livemode: false,
        connected_account: None,
        details: tollgate::domain::Details::default(),
        stripe_controls: None,
        told: Told::default(),
    }
}

/// What Stripe says of the authorization of [`question`], after its first request.
pub(crate) fn told(card_name: &str, name: &str, amount: i64, approved: bool, reason: &str) -> Observation {
    let asked = question(card_name, name, amount);
    let created = Timestamp::from_seconds(clock::now().as_seconds());
    Observation {
        event: EventId::new(&format!("evt_{name}_created")).unwrap(),
        created,
        received_at: clock::now(),
        livemode: false,
        connected_account: None,
        subject: Subject::Card(card(card_name)),
        replacement_for: None,
        fact: Fact::Authorization(Box::new(AuthorizationSeen {
            holder: None,
            differs: false,
            id: asked.authorization,
            is_update: false,
            created: asked.created,
            amount: Money::new(amount, Currency::USD),
            amount_before: None,
            approved,
            status: if approved { AuthorizationStatus::Pending } else { AuthorizationStatus::Closed },
            history: vec![HistoryEntry { amount, approved, created, reason: reason.into() }],
            transactions: 0,
            listed: Vec::new(),
            merchant: asked.merchant,
        })),
    }
}

/// An arrival now, to be answered within so long.
pub(crate) fn arrival(within: Duration) -> Arrival {
    let received = clock::instant();
    Arrival { received, deadline: received.checked_add(within).unwrap(), verify_us: 0, parse_us: 0 }
}

/// A policy of limits on amounts, for every card.
pub(crate) fn policy(version: &str, limits: &[(&str, i64)]) -> Arc<Policy> {
    let limits = limits.iter().map(|(interval, max)| Limit {
        max: *max,
        window: Arc::new(Window {
            measure: Measure::Amount(None),
            interval: Interval::parse(interval).unwrap(),
            time_zone: Zone::UTC,
            categories: None,
            merchants: None,
            occurrence: tollgate::domain::Occurrence::Approval,
        }),
    });
    let default = Overrides { spending_limits: Some(limits.collect()), ..Overrides::default() };
    let (groups, cards) = Default::default();
    Arc::new(Policy::new(PolicyVersion::new(version), &default, &groups, cards))
}
