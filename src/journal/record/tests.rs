//! Whatever is written is read back as it was, within the size that was promised.

use std::sync::Arc;

use fastrand::Rng;
use smol_str::SmolStr;

use super::*;
use crate::domain::{
    Attribution, AuthorizationRequest, AuthorizationSeen, AuthorizationStatus, Candidate, Card, CardDetails,
    CardId, CardPolicy, CardPresence, CardSeen, CardType, CardholderId, CardholderSeen, CardholderType,
    Carried, Category, Check, Checks, ConnectedAccountId, Controls, Country, Currency, Decided, Details,
    EventId, EventType, Exemption, Feature, FraudWarning, HistoryEntry, Interval, Joined, Limit,
    ListedTransaction, Measure, Merchant, MerchantDetails, Method, Money, NetworkId, Observation, Occurrence,
    Overrides, Policy, PolicyEvent, PolicyRecord, PolicyStep, PolicyVersion, Recalled, Risk, RiskLevel,
    ShadowFound, ShadowRecord, Stages, Subject, ThreeDs, Timestamp, Told, TransactionId, TransactionKind,
    TransactionSeen, Violation, Wallet, Window, WouldPass, Zone, decide,
    rule::{Marks, MetadataKey, Owner, Ruled, Traced},
};

/// The most that a decision on two limits may take in the journal, with ids as long as Stripe's.
const DECISION_BYTES_MAX: usize = 800;

#[test]
fn a_decision_is_short_and_readable() {
    let mut card = Card::default();
    let policy = policy("50000 daily; 20000 per_authorization");
    card.adopt(policy.controls.spending_limits.iter().map(|limit| &limit.window), false, at(0)).unwrap();
    let request = AuthorizationRequest {
        cardholder: CardholderId::new("ich_1NKkcLFk9ZxCMkXhQ4rT7yUe"),
        merchant: merchant("fast_food_restaurants", "US", "1234567890"),
        details: Details {
            merchant: MerchantDetails {
                state: Some("CA".into()),
                postal_prefix: Some("941".into()),
                ..MerchantDetails::default()
            },
            method: Some(Method::Online),
            checks: Checks { cvc: Check::Match, expiry: Check::Match, ..Checks::default() },
            card: CardDetails {
                created_day: Some(20_500),
                card_type: Some(CardType::Virtual),
                ..CardDetails::default()
            },
            cardholder_type: Some(CardholderType::Individual),
            body_hash: 0x9f86_d081_884c_7d65,
            ..Details::default()
        },
        ..question()
    };
    let mut decision = decide(&card, &policy, &request);
    decision.stages = Stages { verify_us: 3, parse_us: 8, route_us: 0, queue_us: 41, decide_us: 2 };
    let body = encode([&Event::Decided(Box::new(Decided { request: Arc::new(request), decision }))]);
    println!("{} bytes: {body}", body.len());
    assert!(body.len() <= DECISION_BYTES_MAX, "{} bytes: {body}", body.len());
}

#[test]
fn events_of_every_kind_are_read_back_as_they_were_written() {
    for seed in 0..400 {
        let mut random = Rng::with_seed(seed);
        let mut card = Card::default();
        let policy = policy("50000 daily; 5 rolling(36h); 200000 monthly; 700 all_time; 900 yearly");
        let others = others();
        let windows = policy.controls.spending_limits.iter().map(|limit| &limit.window).chain(&others);
        card.adopt(windows, random.bool(), at(0)).unwrap();
        let mut events = Vec::new();
        for _ in 0..40 {
            let event = event(&mut random, &card, &policy);
            card.apply(&event);
            events.push(event);
        }
        let back = decode(&encode(&events)).unwrap_or_else(|cause| panic!("seed {seed}: {cause}"));
        assert_eq!(back, events, "seed {seed}");
        for (before, after) in events.iter().zip(&back) {
            assert_eq!(authorization_of(before), authorization_of(after));
            assert_eq!(mentions_of(before), mentions_of(after));
        }
    }
}

#[test]
fn a_body_takes_no_more_room_than_it_needs() {
    let mut random = Rng::with_seed(7);
    let (card, policy) = (Card::default(), policy("50000 daily; 5 rolling(36h)"));
    for _ in 0..100 {
        let body = encode([&event(&mut random, &card, &policy)]);
        assert_eq!(body.capacity(), body.len(), "{body}");
    }
}

#[test]
fn what_is_carried_over_stands_before_the_word_of_it_as_it_was() {
    let mut random = Rng::with_seed(11);
    let (card, policy) = (Card::default(), policy("50000 daily"));
    let events: Vec<Event> = (0..20).map(|_| event(&mut random, &card, &policy)).collect();
    let from = CardId::new("ic_0").unwrap();
    let carried = |events| Event::Carried(Box::new(Carried { from: from.clone(), through: 7, events }));
    let whole = carried(events.clone());
    let back = decode(&encode([&whole])).unwrap();
    assert_eq!(back, events.iter().cloned().chain([carried(Vec::new())]).collect::<Vec<_>>());
    let spoken_of: Vec<_> = events.iter().flat_map(mentions_of).collect();
    assert_eq!(mentions_of(&whole), spoken_of);
}

#[test]
fn a_body_that_no_build_wrote_says_what_is_wrong_with_it() {
    let check = |body: &str, expected: &str| {
        let told = decode(body).expect_err(body).to_string();
        assert!(told.contains(expected), "{body}: {told}");
    };
    check("", "expected a journal entry of form 1");
    check("{}", "expected a journal entry of form 1");
    check("[2]", "form 2, this build reads up to 1");
    check("[-1]", "expected a journal entry of form 1");
    check(r#"[1,{"invented":{}}]"#, "unknown variant");
    check(
        r#"[1,{"observed":{"event":"evt_1","card":"ic_1","created":0,"received_at":0,"other":"NOT A TYPE"}}]"#,
        "`other` is `NOT A TYPE`",
    );
    check(
        r#"[1,{"observed":{"event":"evt 1","card":"ic_1","created":0,"received_at":0,"other":"a.b"}}]"#,
        "`event` is `evt 1`",
    );
    assert_eq!(decode("[1]").unwrap(), Vec::new());
    assert_eq!(decode("[]").unwrap(), Vec::new());
}

#[test]
fn bytes_that_were_damaged_are_refused_and_never_a_crash() {
    let mut random = Rng::with_seed(7);
    let (card, policy) = (Card::default(), policy("50000 daily"));
    let events: Vec<Event> = (0..20).map(|_| event(&mut random, &card, &policy)).collect();
    let body = encode(&events);
    for _ in 0..300 {
        let mut bytes = body.clone().into_bytes();
        let place = random.usize(0..bytes.len());
        match random.u8(0..3) {
            0 if bytes[place].is_ascii() => bytes[place] = random.u8(b' '..=b'~'),
            1 => bytes.truncate(place),
            _ => drop(bytes.remove(place)),
        }
        // What still reads as a body is one; nothing else is asked of it.
        if let Ok(text) = std::str::from_utf8(&bytes) {
            drop(decode(text));
        }
    }
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_seconds(1_795_000_000_i64.saturating_add(seconds))
}

/// `50000 daily`; those that roll are counts.
fn policy(limits: &str) -> Arc<CardPolicy> {
    let limit = |text: &str| {
        let (max, interval) = text.split_once(' ').unwrap();
        let interval = Interval::parse(interval).unwrap();
        let is_count = matches!(interval, Interval::Rolling(_));
        let window = Window {
            measure: if is_count { Measure::Count } else { Measure::Amount(Some(Currency::USD)) },
            interval,
            time_zone: if interval == Interval::Daily {
                Zone::UTC
            } else {
                Zone::new("Europe/Berlin").unwrap()
            },
            categories: is_count.then(|| {
                [Category::named("restaurants"), Category::named("bakeries")].into_iter().flatten().collect()
            }),
            merchants: (interval == Interval::AllTime).then(|| [NetworkId::new("0042").unwrap()].into()),
            occurrence: Occurrence::Approval,
        };
        Limit { max: max.parse().unwrap(), window: Arc::new(window) }
    };
    let default =
        Overrides { spending_limits: Some(limits.split("; ").map(limit).collect()), ..Overrides::default() };
    let (groups, cards) = Default::default();
    Policy::new(PolicyVersion::new("9f86d081"), &default, &groups, cards).for_card(None, None)
}

/// Windows of everything that rules may count.
fn others() -> Vec<Arc<Window>> {
    let occurrences =
        [Occurrence::Attempt, Occurrence::Decline].into_iter().chain(Feature::ALL.map(Occurrence::Different));
    let intervals = ["rolling(36h)", "all_time", "monthly"];
    occurrences
        .flat_map(|occurrence| {
            intervals.map(|interval| {
                Arc::new(Window {
                    measure: Measure::Count,
                    interval: Interval::parse(interval).unwrap(),
                    time_zone: Zone::UTC,
                    categories: None,
                    merchants: None,
                    occurrence,
                })
            })
        })
        .collect()
}

fn merchant(category: &str, country: &str, network_id: &str) -> Merchant {
    Merchant {
        category: Category::of(Some(category), None),
        country: Country::new(country),
        network_id: NetworkId::new(network_id),
    }
}

/// A question with ids as long as Stripe's.
fn question() -> AuthorizationRequest {
    AuthorizationRequest {
        event: EventId::new("evt_1NKkcLFk9ZxCMkXhmK1Qj3Vb").unwrap(),
        authorization: AuthorizationId::new("iauth_1NKkcLFk9ZxCMkXhZ6vXzq0T").unwrap(),
        card: CardId::new("ic_1NKkcLFk9ZxCMkXhB1d5y8Ws"),
        card_currency: Some(Currency::USD),
        replacement_for: None,
        cardholder: None,
        is_paused: false,
        group: None,
        received_at: Timestamp::from_micros(1_795_000_000_123_456),
        created: at(0),
        history_entries: 0,
        approved_before: 0,
        asked: Ok(Money::new(2_000, Currency::USD)),
        is_amount_controllable: false,
        cashback: 0,
        merchant: Merchant::default(),
        card_presence: Some(CardPresence::NotPresent),
        verified_by_fraud_challenge: false,
        livemode: true,
        connected_account: None,
        details: Details::default(),
        stripe_controls: None,
        told: Told { at: at(0), ..Told::default() },
    }
}

fn ruled(random: &mut Rng) -> Ruled {
    let part = Traced {
        condition: "amount > 5".to_owned(),
        value: "amount = \"7\" \u{fc}".to_owned(),
        holds: random.bool(),
    };
    Ruled {
        marks: Arc::new(Marks {
            rule: random.bool().then(|| "no-cash".into()),
            tags: (0..random.u8(0..3)).map(|n| (format!("k{n}").into(), "a \"b\"\n".into())).collect(),
            flags: (0..random.u8(0..3)).map(|n| format!("f{n}").into()).collect(),
        }),
        message: random.bool().then(|| "Not \"here\".".into()),
        conditions: vec![part; random.usize(0..3)],
        scores: (0..random.u8(0..3)).map(|n| (format!("s{n}").into(), random.i64(-9..99))).collect(),
        blocks_until: random.bool().then(|| at(random.i64(0..900_000))),
    }
}

fn event(random: &mut Rng, card: &Card, policy: &CardPolicy) -> Event {
    match random.u8(0..12) {
        0..=3 => {
            let request = request(random);
            let mut decision = decide(card, policy, &request);
            decision.challenge = random.bool();
            decision.ruled = random.bool().then(|| Box::new(ruled(random)));
            decision.would_pass = random.bool().then(|| {
                let at = random.bool().then(|| at(random.i64(0..900_000)));
                Box::new(WouldPass { at, without: Some("no-\"cash".into()) })
            });
            decision.violation = request.asked.err();
            decision.stages =
                Stages { verify_us: random.u32(..), decide_us: random.u32(..), ..Stages::default() };
            let decided = Box::new(Decided { request: Arc::new(request), decision });
            if random.u8(0..4) == 0 { Event::StoodIn(decided) } else { Event::Decided(decided) }
        }
        4..=6 => Event::Observed(Box::new(Observation {
            event: EventId::new(&format!("evt_{}", random.u16(..))).unwrap(),
            created: at(random.i64(0..900_000)),
            received_at: at(random.i64(0..900_000)),
            livemode: random.bool(),
            connected_account: random.bool().then(|| ConnectedAccountId::new("acct_1").unwrap()),
            subject: if random.bool() {
                Subject::Card(CardId::new("ic_1").unwrap())
            } else {
                Subject::Cardholder(CardholderId::new("ich_1").unwrap())
            },
            replacement_for: random.bool().then(|| CardId::new("ic_0").unwrap()),
            fact: fact(random),
        })),
        7 => {
            let card = CardId::new("ic_0").unwrap();
            // Books that are handed on are of no use to the other events here.
            let step = Event::Joined(Joined { card: card.clone(), is_carried: false });
            let (through, events) = (random.u64(1..9), Vec::new());
            let carried = Event::Carried(Box::new(Carried { from: card, through, events }));
            if random.bool() { step } else { carried }
        }
        8 => {
            let records = card.authorizations.iter().map(|(id, one)| (id.clone(), one.clone()));
            let loose = card.unlinked.iter().map(|(id, one)| (id.clone(), one.clone()));
            Event::Recalled(Box::new(Recalled {
                authorizations: records.filter(|_| random.bool()).take(2).collect(),
                unlinked: loose.take(1).collect(),
            }))
        }
        9 => Event::Snapshot(Box::new(card.clone())),
        10 => Event::Controls(Arc::new(controls(random))),
        _ => Event::Policy(Box::new(policy_event(random))),
    }
}

fn policy_event(random: &mut Rng) -> PolicyEvent {
    let version = PolicyVersion::new("9f86d081884c");
    let at = at(random.i64(0..900_000));
    let text = "version: 1\n# \"caf\u{e9}\"\n";
    match random.u8(0..3) {
        0 => PolicyEvent::InForce(PolicyRecord {
            version,
            at,
            node: "node-1".into(),
            origin: "/etc/tollgate/policy.yaml".into(),
            text: random.bool().then(|| text.into()),
            step: match random.u8(..5) {
                0 => PolicyStep::Own,
                1 => PolicyStep::Followed,
                2 => PolicyStep::Put(attribution()),
                3 => PolicyStep::Proposed(attribution()),
                _ => PolicyStep::Approved(attribution()),
            },
        }),
        1 => PolicyEvent::Shadow(ShadowRecord {
            candidate: random.bool().then(|| Candidate { version, text: text.into() }),
            at,
            attribution: attribution(),
        }),
        _ => PolicyEvent::Found(ShadowFound {
            node: "node-1".into(),
            candidate: version,
            at,
            findings: "{\"report\":{}}".into(),
        }),
    }
}

fn attribution() -> Attribution {
    Attribution { by: "alice".into(), reason: "of \"caf\u{e9}s\"".into() }
}

fn controls(random: &mut Rng) -> Controls {
    let mut lists = Controls {
        spending_limits: policy("500 weekly").controls.spending_limits.clone(),
        ..Controls::default()
    };
    if random.bool() {
        lists.categories.blocked = Some(Arc::new([Category::named("bakeries").unwrap()].into()));
        lists.presences.allowed = Some(Arc::new([CardPresence::Present].into()));
    }
    if random.bool() {
        lists.countries.allowed = Some(Arc::new([Country::new("BE").unwrap()].into()));
        lists.merchants.blocked = Some(Arc::new([NetworkId::new("0042").unwrap()].into()));
    }
    lists
}

fn request(random: &mut Rng) -> AuthorizationRequest {
    let violation = Violation::ALL[random.usize(0..Violation::ALL.len())];
    let currency = ["usd", "jpy", "kwd"][random.usize(0..3)].parse().unwrap();
    AuthorizationRequest {
        event: EventId::new(&format!("evt_{}", random.u16(..))).unwrap(),
        authorization: authorization(random),
        card: random.bool().then(|| CardId::new("ic_1").unwrap()),
        card_currency: random.bool().then_some(currency),
        replacement_for: random.bool().then(|| CardId::new("ic_0").unwrap()),
        cardholder: random.bool().then(|| CardholderId::new("ich_1").unwrap()),
        is_paused: random.bool(),
        group: random.bool().then(|| "travel \"and\" \u{e9}\u{1f600}\n".into()),
        received_at: Timestamp::from_micros(at(0).as_micros().saturating_add(random.i64(0..900_000_000_000))),
        created: if random.bool() { at(0) } else { Timestamp::default() },
        history_entries: random.u32(0..4),
        approved_before: random.i64(0..3_000),
        asked: if random.u8(0..6) == 0 {
            Err(violation)
        } else {
            Ok(Money::new(random.i64(0..9_000), currency))
        },
        is_amount_controllable: random.bool(),
        cashback: random.i64(0..2),
        merchant: place(random),
        card_presence: [None, Some(CardPresence::Present), Some(CardPresence::NotPresent)]
            [random.usize(0..3)],
        verified_by_fraud_challenge: random.bool(),
        livemode: random.bool(),
        connected_account: random.bool().then(|| ConnectedAccountId::new("acct_1").unwrap()),
        details: details(random),
        stripe_controls: None,
        told: Told {
            at: at(random.i64(0..3)),
            hold_amount: random.i64(0..3),
            history: history(random),
            transactions: listed(random),
            ..Told::default()
        },
    }
}

fn history(random: &mut Rng) -> Vec<HistoryEntry> {
    let count = random.i64(0..3);
    let entry = |number| HistoryEntry {
        amount: random.i64(0..9_000),
        approved: random.bool(),
        created: at(number),
        reason: ["webhook_approved", "a_reason_of_2031"][random.usize(0..2)].into(),
    };
    (0..count).map(entry).collect()
}

fn listed(random: &mut Rng) -> Vec<ListedTransaction> {
    let count = random.i64(0..3);
    let one = |number| ListedTransaction {
        id: TransactionId::new(&format!("ipi_{}", random.u8(0..9))).unwrap(),
        kind: if random.bool() { TransactionKind::Capture } else { TransactionKind::Refund },
        amount: random.i64(-9_000..9_000),
        created: at(number),
    };
    (0..count).map(one).collect()
}

fn fact(random: &mut Rng) -> Fact {
    match random.u8(0..7) {
        0 | 1 => Fact::Authorization(Box::new(AuthorizationSeen {
            holder: None,
            differs: false,
            id: authorization(random),
            is_update: random.bool(),
            created: at(0),
            amount: Money::new(random.i64(0..9_000), Currency::USD),
            amount_before: random.bool().then(|| random.i64(0..9_000)),
            approved: random.bool(),
            status: AuthorizationStatus::ALL[random.usize(0..4)],
            history: history(random),
            transactions: random.u32(0..3),
            listed: listed(random),
            merchant: place(random),
        })),
        2 | 3 => Fact::Transaction(Box::new(TransactionSeen {
            id: TransactionId::new(&format!("ipi_{}", random.u8(0..9))).unwrap(),
            is_update: random.bool(),
            created: if random.bool() { at(9) } else { Timestamp::default() },
            kind: if random.bool() { TransactionKind::Capture } else { TransactionKind::Refund },
            amount: random.i64(-9_000..9_000),
            currency: random.bool().then_some(Currency::USD),
            authorization: random.bool().then(|| authorization(random)),
            merchant: place(random),
        })),
        4 => Fact::Card(Box::new(CardSeen {
            is_update: random.bool(),
            is_active: random.bool(),
            currency: random.bool().then_some(Currency::USD),
            group: random.bool().then(|| "travel".into()),
            before: None,
        })),
        5 => Fact::Cardholder(Box::new(CardholderSeen {
            is_update: random.bool(),
            is_active: random.bool(),
            group: random.bool().then(|| "travel".into()),
            before: None,
        })),
        _ => Fact::Other(EventType::new("issuing_token.created").unwrap()),
    }
}

fn authorization(random: &mut Rng) -> AuthorizationId {
    AuthorizationId::new(&format!("iauth_{}", random.u8(0..6))).unwrap()
}

fn place(random: &mut Rng) -> Merchant {
    [
        Merchant::default(),
        merchant("restaurants", "be", "0042"),
        merchant("a_category_of_2031", "US", ""),
        merchant("bakeries", "", "42"),
    ][random.usize(0..4)]
    .clone()
}

fn details(random: &mut Rng) -> Details {
    let checks = [Check::Match, Check::Mismatch, Check::NotProvided];
    let mut check = || checks[random.usize(0..3)];
    let checks = Checks { cvc: check(), expiry: check(), address_line1: check(), address_postal: check() };
    let mut maybe = |text: &str| random.bool().then(|| text.into());
    let merchant = MerchantDetails {
        state: maybe("CA"),
        postal_prefix: maybe("941"),
        payment_facilitator: maybe("pf_\"1\""),
        sub_merchant: maybe("0042"),
        counterparty: maybe("cp_1"),
        industry: maybe("ind_1"),
        name: maybe("caf\u{e9} \"au coin\""),
    };
    let entry = |owner| (MetadataKey { owner, key: "a \"key\"".into() }, SmolStr::from("b\u{fc}"));
    Details {
        metadata: Owner::ALL.into_iter().filter(|_| random.bool()).map(entry).collect(),
        merchant_amount: random.bool().then(|| Money::new(random.i64(0..9), "eur".parse().unwrap())),
        atm_fee: random.i64(0..2),
        mcc: random.bool().then_some(742),
        merchant,
        method: random.bool().then(|| Method::new("a_method_of_2031").unwrap()),
        wallet: random.bool().then_some(Wallet::ApplePay),
        tokenized: random.bool(),
        checks,
        three_ds: random.bool().then_some(ThreeDs::AttemptAcknowledged),
        exemption: random.bool().then_some(Exemption::RiskAnalysis),
        risk: Risk {
            fraud: random.bool().then_some(RiskLevel::Highest),
            fraud_score: random.bool().then_some(-7_142),
            card_testing: random.bool().then_some(RiskLevel::Low),
            merchant_dispute: random.bool().then_some(RiskLevel::NotAssessed),
            network: random.bool().then_some(99),
        },
        card: CardDetails {
            created_day: random.bool().then_some(20_000),
            card_type: random.bool().then_some(CardType::Virtual),
            fraud_warning: random.bool().then_some(FraudWarning::CardTestingExposure),
            program: random.bool().then(|| "prog_1".into()),
        },
        cardholder_type: random.bool().then_some(CardholderType::Company),
        controls: random.bool().then(|| random.u64(..)),
        body_hash: random.u64(..),
    }
}
