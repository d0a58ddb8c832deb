//! Questions, answers and facts of one card, as the engine takes them.

use std::sync::Arc;

use tollgate::domain::{
    AnswerBy, AuthorizationId, AuthorizationRequest, AuthorizationSeen, AuthorizationStatus, CardId,
    Category, Currency, Decided, Decision, DecisionId, Event, EventId, Fact, HistoryEntry, ListedTransaction,
    Merchant, Money, NetworkId, Observation, Outcome, PolicyVersion, Reason, Source, Stages, Subject,
    Timestamp, Told, TransactionId, TransactionKind, TransactionSeen,
};

pub(super) fn card() -> CardId {
    CardId::new("ic_1").unwrap()
}

pub(super) fn authorization(name: &str) -> AuthorizationId {
    AuthorizationId::new(&format!("iauth_{name}")).unwrap()
}

pub(super) fn transaction(name: &str) -> TransactionId {
    TransactionId::new(&format!("ipi_{name}")).unwrap()
}

pub(super) fn event(number: usize) -> EventId {
    EventId::new(&format!("evt_{number:06}")).unwrap()
}

pub(super) fn at(text: &str) -> Timestamp {
    Timestamp::parse(text).unwrap()
}

pub(super) fn merchant(category: &str, network_id: Option<&str>) -> Merchant {
    let network_id = network_id.map(|id| NetworkId::new(id).unwrap());
    Merchant { category: Category::of(Some(category), None), country: None, network_id }
}

/// A question of dollars with nothing special about it.
pub(super) fn question(
    number: usize,
    id: &AuthorizationId,
    amount: i64,
    now: Timestamp,
) -> AuthorizationRequest {
    AuthorizationRequest {
        event: event(number),
        authorization: id.clone(),
        card: Some(card()),
        card_currency: Some(Currency::USD),
        replacement_for: None,
        cardholder: None,
        is_paused: false,
        group: None,
        received_at: now,
        created: Timestamp::from_seconds(now.as_seconds()),
        history_entries: 0,
        approved_before: 0,
        asked: Ok(Money::new(amount, Currency::USD)),
        is_amount_controllable: false,
        cashback: 0,
        merchant: merchant("fast_food_restaurants", None),
        card_presence: None,
        verified_by_fraud_challenge: false,
        livemode: false,
        connected_account: None,
        details: tollgate::domain::Details::default(),
        stripe_controls: None,
        told: Told::default(),
    }
}

/// An answer that the test has chosen; `None` declines.
pub(super) fn answer(request: &AuthorizationRequest, granted: Option<i64>, source: Source) -> Decision {
    let asked = request.asked.map_or(0, |asked| asked.amount);
    Decision {
        turn: 0,
        id: DecisionId::of(&request.authorization, request.question()),
        at: request.received_at,
        outcome: match granted {
            Some(granted) if granted < asked => Outcome::Partial,
            Some(_) => Outcome::Approved,
            None => Outcome::Declined,
        },
        granted: granted.unwrap_or(0),
        reason: if granted.is_some() { Reason::Approved } else { Reason::SpendingLimit },
        violation: request.asked.err(),
        limits: Vec::new(),
        largest_approvable: None,
        would_pass: None,
        challenge: false,
        ruled: None,
        excepted: None,
        policy: PolicyVersion::new("test"),
        source,
        answer_by: AnswerBy::Direct,
        stages: Stages::default(),
    }
}

pub(super) fn decided(request: AuthorizationRequest, decision: Decision) -> Event {
    let is_stand_in = decision.source == Source::StandIn;
    let decided = Box::new(Decided { request: Arc::new(request), decision });
    if is_stand_in { Event::StoodIn(decided) } else { Event::Decided(decided) }
}

pub(super) fn observed(number: usize, now: Timestamp, fact: Fact) -> Event {
    Event::Observed(Box::new(Observation {
        event: event(number),
        created: Timestamp::from_seconds(now.as_seconds()),
        received_at: now,
        livemode: false,
        connected_account: None,
        subject: Subject::Card(card()),
        replacement_for: None,
        fact,
    }))
}

pub(super) fn entry(amount: i64, approved: bool, reason: &str, now: Timestamp) -> HistoryEntry {
    let created = Timestamp::from_seconds(now.as_seconds());
    HistoryEntry { amount, approved, created, reason: reason.into() }
}

/// What a snapshot says beyond its authorization and its merchant.
#[derive(Clone, Debug)]
pub(super) struct Snapshot {
    pub(super) amount: i64,
    pub(super) approved: bool,
    pub(super) status: AuthorizationStatus,
    pub(super) history: Vec<HistoryEntry>,
    pub(super) transactions: u32,
    pub(super) listed: Vec<ListedTransaction>,
}

pub(super) fn snapshot(
    id: &AuthorizationId,
    is_update: bool,
    created: Timestamp,
    told: &Snapshot,
    merchant: &Merchant,
) -> Fact {
    Fact::Authorization(Box::new(AuthorizationSeen {
        holder: None,
        differs: false,
        id: id.clone(),
        is_update,
        created: Timestamp::from_seconds(created.as_seconds()),
        amount: Money::new(told.amount, Currency::USD),
        amount_before: None,
        approved: told.approved,
        status: told.status,
        history: told.history.clone(),
        transactions: told.transactions,
        listed: told.listed.clone(),
        merchant: merchant.clone(),
    }))
}

/// A capture (negative) or refund (positive), as Stripe signs it.
pub(super) fn settled(
    id: &TransactionId,
    is_update: bool,
    created: Timestamp,
    (kind, amount): (TransactionKind, i64),
    authorization: Option<&AuthorizationId>,
    merchant: &Merchant,
) -> Fact {
    Fact::Transaction(Box::new(TransactionSeen {
        id: id.clone(),
        is_update,
        created: Timestamp::from_seconds(created.as_seconds()),
        kind,
        amount,
        currency: Some(Currency::USD),
        authorization: authorization.cloned(),
        merchant: merchant.clone(),
    }))
}
