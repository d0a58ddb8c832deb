//! Events that are odd, broken or hostile: what is still read, what is declined, what is refused.

use tollgate::{
    domain::rule::{MetadataKey, MetadataKeys},
    domain::{AuthorizationRequest, Fact, Timestamp, Violation},
    stripe::{Incoming, Kind, Malformed, Reading, Unbooked, read},
};

use crate::stripe_fixtures::{fixture, fixture_names};

const RECEIVED_AT: Timestamp = Timestamp::from_micros(1_790_000_001_000_042);

fn read_plainly(body: &[u8]) -> Result<Incoming, Malformed> {
    let mut incoming = read(body, RECEIVED_AT, &Reading::default())?;
    // Bodies that say the same in other bytes are compared.
    if let Incoming::Request(request) = &mut incoming {
        assert_eq!(std::mem::take(&mut request.details.body_hash), twox_hash::XxHash3_64::oneshot(body));
    }
    Ok(incoming)
}

/// A purchase with one part of it replaced.
fn with(pointer: &str, value: &str) -> Vec<u8> {
    let mut event: serde_json::Value =
        serde_json::from_slice(&fixture("request-05-cashback-controllable.json")).unwrap();
    *event.pointer_mut(pointer).unwrap() = serde_json::Value::String("<here>".to_owned());
    event.to_string().replace("\"<here>\"", value).into_bytes()
}

/// A purchase with one field left out.
fn without(parent: &str, key: &str) -> Vec<u8> {
    let mut event: serde_json::Value =
        serde_json::from_slice(&fixture("request-05-cashback-controllable.json")).unwrap();
    event.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(key).unwrap();
    event.to_string().into_bytes()
}

#[test]
fn a_request_that_breaks_the_contract_is_told_apart_and_cannot_be_decided() {
    let pending = |key: &str| format!("/data/object/pending_request/{key}");
    let check = |body: Vec<u8>, expected: Violation| match read_plainly(&body) {
        Ok(Incoming::Request(request)) => {
            assert_eq!(request.asked, Err(expected), "{}", String::from_utf8_lossy(&body));
            assert_eq!(request.card.is_none(), expected == Violation::NoCard);
        }
        other => panic!("{expected:?}: {other:?}"),
    };
    for amount in ["null", "\"2000\"", "20.5", "true", "[2000]", "{}", "1e-3", "0.1"] {
        check(with(&pending("amount"), amount), Violation::NoAmount);
    }
    for amount in ["-1", "-1.0", "-1e15", "-9223372036854775808", "-1e300", "-99999999999999999999999"] {
        check(with(&pending("amount"), amount), Violation::NegativeAmount);
    }
    for amount in [
        "1000000000000001",
        "9223372036854775807",
        "18446744073709551615",
        "1e16",
        "1e300",
        "99999999999999999999999",
    ] {
        check(with(&pending("amount"), amount), Violation::AmountTooLarge);
    }
    for currency in ["null", "\"\"", "\"us\"", "\"us1\"", "840", "[\"usd\"]"] {
        check(with(&pending("currency"), currency), Violation::NoCurrency);
    }
    for controllable in ["\"true\"", "1", "0", "{}"] {
        check(with(&pending("is_amount_controllable"), controllable), Violation::NoControllable);
    }
    for card in ["null", "\"\"", "{}", "17", "{\"id\":null}", "{\"id\":\"ic 1\"}", "\"ic\\u0000\"", "[]"] {
        check(with("/data/object/card", card), Violation::NoCard);
    }
    for request in ["null", "{}", "[]", "\"2000\"", "2000"] {
        check(with("/data/object/pending_request", request), Violation::NoAmount);
    }
    check(without("/data/object", "pending_request"), Violation::NoAmount);
    check(without("/data/object", "card"), Violation::NoCard);
    check(without("/data/object/pending_request", "currency"), Violation::NoCurrency);
}

#[test]
fn a_request_may_be_odd_and_still_be_decided() {
    let check = |body: Vec<u8>, expected: &dyn Fn(&AuthorizationRequest) -> bool| match read_plainly(&body) {
        Ok(Incoming::Request(request)) => {
            assert!(expected(&request), "{}\n{request:?}", String::from_utf8_lossy(&body));
        }
        other => panic!("{other:?}"),
    };
    let pending = |key: &str| format!("/data/object/pending_request/{key}");
    for (written, amount) in [
        ("0", 0),
        ("-0", 0),
        ("-0.0", 0),
        ("2000.0", 2_000),
        ("2e3", 2_000),
        ("1000000000000000", 1_000_000_000_000_000),
    ] {
        check(with(&pending("amount"), written), &|request| request.asked.unwrap().amount == amount);
    }
    check(with(&pending("currency"), "\"EUR\""), &|request| {
        request.asked.unwrap().currency.as_str() == "eur"
    });
    check(with(&pending("is_amount_controllable"), "null"), &|request| !request.is_amount_controllable);
    check(without("/data/object/pending_request", "is_amount_controllable"), &|request| {
        request.asked.is_ok() && !request.is_amount_controllable
    });
    for (cashback, expected) in
        [("null", 0), ("-5", 0), ("1e300", 1_000_000_000_000_000), ("12.5", 0), ("12.0", 12)]
    {
        let pointer = "/data/object/pending_request/amount_details/cashback_amount";
        check(with(pointer, cashback), &|request| request.cashback == expected);
    }
    for (history, expected) in [("null", 0), ("\"x\"", 0), ("[]", 0), ("[{},null,{}]", 3)] {
        check(with("/data/object/request_history", history), &|request| request.history_entries == expected);
    }
    for (before, expected) in [("null", 0), ("-7", 0), ("7.0", 7), ("\"7\"", 0)] {
        check(with("/data/object/amount", before), &|request| request.approved_before == expected);
    }
    check(with("/data/object/card", "\"ic_only\""), &|request| {
        request.card.as_ref().unwrap().as_str() == "ic_only" && request.card_currency.is_none()
    });
    check(with("/data/object/merchant_data", "null"), &|request| {
        request.merchant.category.as_str().is_empty()
    });
    check(without("", "object"), &|request| request.asked.is_ok());
    check(with("/request", "\"req_text\""), &|request| request.asked.is_ok());
    check(with("/api_version", "7"), &|request| request.asked.is_ok());
    check(with("/data/object/card/cardholder", "\"ich_text\""), &|request| request.asked.is_ok());
    let names = [
        ("\"travel\"", Some("travel")),
        ("\"\"", None),
        ("7", None),
        ("\"Zürich \\u2713\"", Some("Zürich ✓")),
    ];
    for (name, expected) in names {
        let metadata = format!("{{\"tollgate_group\":{name}}}");
        check(with("/data/object/card/metadata", &metadata), &|request| request.group.as_deref() == expected);
        check(with("/data/object/card/cardholder/metadata", &metadata), &|request| {
            request.group.as_deref() == expected
        });
    }
}

#[test]
fn a_body_that_is_no_event_is_refused() {
    let check = |body: &[u8], expected: Malformed| {
        assert_eq!(
            read_plainly(body),
            Err(expected),
            "{}",
            String::from_utf8_lossy(body.get(..80).unwrap_or(body))
        );
    };
    for body in [
        "",
        " ",
        "null",
        "[]",
        "7",
        "\"event\"",
        "{",
        "{\"id\":}",
        "{} {}",
        "{'id':1}",
        "\u{feff}{}",
        "{\"id\":\"\\ud800\"}",
        "{\"a\":01}",
        "{\"a\":1e400}",
    ] {
        check(body.as_bytes(), Malformed::NotJson);
    }
    check(b"{\"id\":\"\xff\"}", Malformed::NotUtf8);
    check(b"{\"id\":\"\xed\xa0\x80\"}", Malformed::NotUtf8);
    check("[".repeat(200_000).as_bytes(), Malformed::TooDeep);
    check("{\"a\":".repeat(200_000).as_bytes(), Malformed::TooDeep);
    check(("[".repeat(200_000) + &"]".repeat(200_000)).as_bytes(), Malformed::TooDeep);
    for object in ["\"v2.core.event\"", "\"list\"", "7", "{}"] {
        check(&with("/object", object), Malformed::NotAnEvent);
    }
    for event_type in ["null", "\"\"", "7"] {
        check(&with("/type", event_type), Malformed::NoType);
    }
    check(&without("", "type"), Malformed::NoType);
    for object in ["null", "[]", "\"iauth_1\""] {
        check(&with("/data/object", object), Malformed::NoObject);
    }
    check(&with("/data", "null"), Malformed::NoObject);
    check(&without("", "data"), Malformed::NoObject);
    for id in ["null", "\"\"", "7", "\"evt 1\""] {
        check(&with("/id", id), Malformed::NoEventId);
        check(&with("/data/object/id", id), Malformed::NoAuthorizationId);
    }
    check(&with("/id", &format!("\"{}\"", "e".repeat(256))), Malformed::NoEventId);
}

#[test]
fn nesting_is_read_to_sixty_four_levels_and_no_deeper() {
    let nested = |levels: usize| {
        let value = "[".repeat(levels) + &"]".repeat(levels);
        with("/data/object/fleet", &value)
    };
    assert!(read_plainly(&nested(50)).is_ok());
    assert_eq!(read_plainly(&nested(64)), Err(Malformed::TooDeep));
}

#[test]
fn an_observation_that_cannot_be_booked_is_acknowledged_with_its_cause() {
    let check = |name: &str, pointer: &str, value: &str, expected: Unbooked| {
        let mut event: serde_json::Value = serde_json::from_slice(&fixture(name)).unwrap();
        *event.pointer_mut(pointer).unwrap() = serde_json::from_str(value).unwrap();
        match read_plainly(event.to_string().as_bytes()) {
            Ok(Incoming::Acknowledged { cause, event, .. }) => {
                assert_eq!(cause, expected, "{name} {pointer}");
                assert_eq!(event.is_none(), expected == Unbooked::NoEventId);
                assert_eq!(cause.is_loss(), expected != Unbooked::NotOurs);
            }
            other => panic!("{name} {pointer}: {other:?}"),
        }
    };
    let authorization = "authorization-created-declined-by-stripe.json";
    check(authorization, "/id", "null", Unbooked::NoEventId);
    check(authorization, "/data/object/id", "null", Unbooked::NoId);
    check(authorization, "/data/object/card", "null", Unbooked::NoCard);
    check(authorization, "/data/object/amount", "null", Unbooked::NoAmount);
    check(authorization, "/data/object/amount", "-1", Unbooked::NoAmount);
    check(authorization, "/data/object/amount", "1e300", Unbooked::NoAmount);
    check(authorization, "/data/object/status", "\"on_the_moon\"", Unbooked::NoStatus);
    check(authorization, "/data/object/approved", "null", Unbooked::NoApproval);
    let bare = "authorization-created-approved.json";
    check(bare, "/data/object/id", "7", Unbooked::NoId);
    let transaction = "transaction-created-refund.json";
    check(transaction, "/data/object/amount", "\"2500\"", Unbooked::NoAmount);
    check(transaction, "/data/object/id", "null", Unbooked::NoId);
    check(transaction, "/data/object/card", "null", Unbooked::NoCard);
    check(transaction, "/data/object/type", "\"chargeback\"", Unbooked::NoTransactionKind);
    check("card-updated-canceled.json", "/data/object/status", "null", Unbooked::NoStatus);
    check("card-updated-canceled.json", "/data/object/id", "null", Unbooked::NoId);
    check("token-created.json", "/data/object/card", "null", Unbooked::NotOurs);
    // Of a cardholder only what makes or changes one is read; this type is one that fuzzing has made up.
    check("cardholder-updated.json", "/type", "\"issuing_cardholder.r.updated\"", Unbooked::NotOurs);
    // Cards of Stripe's other products are not ours.
    check("token-created.json", "/type", "\"payment_method.attached\"", Unbooked::NotOurs);
    check("token-created.json", "/type", "\"Something Else\"", Unbooked::NotOurs);
}

#[test]
fn thin_events_are_known_by_their_type_alone() {
    let check = |event_type: &str, expected: &str| {
        let body = format!(
            r#"{{"id":"evt_thin","object":"v2.core.event","type":"{event_type}","created":"2026-11-22T10:00:00.000Z",
                "livemode":false,"related_object":null}}"#
        );
        let read = read_plainly(body.as_bytes()).unwrap();
        let Incoming::Acknowledged { event, kind, cause: Unbooked::NotOurs } = read else {
            panic!("{read:?}")
        };
        assert_eq!((event.unwrap().as_str(), kind.as_str()), ("evt_thin", expected));
    };
    for signal in ["timeout", "errors"] {
        for state in ["firing", "resolved"] {
            let event_type = format!("v2.core.health.issuing_authorization_request_{signal}.{state}");
            check(&event_type, &event_type);
        }
    }
    let failure = "v2.core.health.event_generation_failure.resolved";
    check(failure, failure);
    check("v2.core.health.payment_method_error.firing", "v2");
    check("v1.billing.meter.no_meter_found", "other");
    assert_eq!(read_plainly(br#"{"id":"evt_1","object":"v2.core.event"}"#), Err(Malformed::NoType));
    assert_eq!(
        read_plainly(br#"{"id":"evt_1","object":"v2.core.other","type":"v2.x"}"#),
        Err(Malformed::NotAnEvent)
    );
}

#[test]
fn a_question_about_3d_secure_is_refused_in_so_many_words() {
    let mut event: serde_json::Value = serde_json::from_slice(&fixture("request-01-purchase.json")).unwrap();
    event["type"] = "issuing_authentication.decision".into();
    let refused = read_plainly(event.to_string().as_bytes()).unwrap_err();
    assert_eq!(refused, Malformed::AuthenticationDecision);
    assert!(refused.to_string().contains("remove this endpoint from the 3-D Secure settings"));
}

#[test]
fn an_authorization_without_a_currency_takes_it_from_where_it_must_be_the_same() {
    let check = |changes: &[(&str, &str)], expected: Option<&str>| {
        let mut event: serde_json::Value =
            serde_json::from_slice(&fixture("authorization-created-approved.json")).unwrap();
        for (key, value) in changes {
            event["data"]["object"][*key] = serde_json::from_str(value).unwrap();
        }
        let found = match read_plainly(event.to_string().as_bytes()).unwrap() {
            Incoming::Observation(observation) => match observation.fact {
                Fact::Authorization(seen) => Some(seen.amount.currency.to_string()),
                fact => panic!("{fact:?}"),
            },
            Incoming::Acknowledged { cause: Unbooked::NoCurrency, .. } => None,
            other => panic!("{other:?}"),
        };
        assert_eq!(found.as_deref(), expected, "{changes:?}");
    };
    check(&[], Some("usd"));
    check(&[("merchant_currency", "\"gbp\"")], Some("gbp"));
    check(&[("merchant_amount", "7000")], None);
    check(&[("request_history", r#"[{"currency":"chf"}]"#)], Some("chf"));
    check(
        &[("card", r#"{"id":"ic_1","currency":"eur"}"#), ("request_history", r#"[{"currency":"chf"}]"#)],
        Some("eur"),
    );
    check(&[("currency", "\"JPY\""), ("card", r#"{"id":"ic_1","currency":"eur"}"#)], Some("jpy"));
}

/// A fixture with one field written a second time, as null.
fn twice(name: &str, parent: &str, key: &str) -> Vec<u8> {
    let mut event: serde_json::Value = serde_json::from_slice(&fixture(name)).unwrap();
    let object = event.pointer_mut(parent).unwrap().as_object_mut().unwrap();
    assert!(object.contains_key(key), "{name} has no {parent}/{key}");
    object.insert("<again>".to_owned(), serde_json::Value::Null);
    event.to_string().replace("<again>", key).into_bytes()
}

#[test]
fn no_field_may_occur_twice_in_one_object() {
    let refused = |name: &str, parent: &str, keys: &[&str]| {
        for key in keys {
            assert_eq!(
                read_plainly(&twice(name, parent, key)),
                Err(Malformed::DuplicateKey),
                "{parent}/{key}"
            );
        }
    };
    let name = "request-05-cashback-controllable.json";
    refused(name, "", &["id", "object", "type", "created", "livemode", "data"]);
    refused(name, "/data", &["object"]);
    refused(
        name,
        "/data/object",
        &["id", "amount", "card", "pending_request", "request_history", "merchant_data"],
    );
    refused(
        name,
        "/data/object",
        &["authorization_method", "card_presence", "created", "verified_by_fraud_challenge"],
    );
    refused(
        name,
        "/data/object/pending_request",
        &["amount", "currency", "is_amount_controllable", "amount_details"],
    );
    refused(name, "/data/object/pending_request/amount_details", &["cashback_amount"]);
    refused(name, "/data/object/merchant_data", &["category", "category_code", "country", "network_id"]);
    refused(name, "/data/object/card", &["id", "currency", "metadata", "cardholder"]);
    refused("request-07-connect-minimal.json", "", &["account"]);
    refused("request-11-spending-controls.json", "/data/object/card/metadata", &["tollgate_group"]);
    refused(
        "transaction-created-refund.json",
        "/data/object",
        &["id", "amount", "authorization", "card", "type"],
    );
    refused("transaction-created-refund.json", "/data/object/authorization", &["id"]);
    refused(
        "authorization-created-declined-by-stripe.json",
        "/data/object",
        &["amount", "approved", "status"],
    );
    refused(
        "authorization-created-declined-by-stripe.json",
        "/data/object/request_history/0",
        &["amount", "reason"],
    );
    refused("card-updated-canceled.json", "/data/object", &["id", "status"]);
    refused("token-created.json", "/data/object", &["card"]);

    // Nor one that is not read, nor one that only an object of somebody else's making has.
    refused(name, "", &["api_version"]);
    refused(name, "/data/object", &["wallet", "verification_data"]);
    refused(name, "/data/object/card", &["brand"]);
    refused(name, "/data/object/card/cardholder", &["email"]);
    refused(name, "/data/object/card/cardholder/billing/address", &["city"]);
    refused(name, "/data/object/merchant_data", &["name"]);
    // An escaped key is the same key.
    let escaped = String::from_utf8(twice(name, "", "type")).unwrap().replacen(
        "\"type\":null",
        "\"\\u0074ype\":null",
        1,
    );
    assert!(escaped.contains("\\u0074"));
    assert_eq!(read_plainly(escaped.as_bytes()), Err(Malformed::DuplicateKey));
}

#[test]
fn one_of_many_fields_that_occurs_twice_is_found() {
    let body = |names: &[u32]| {
        let fields: Vec<String> = names.iter().map(|name| format!("\"n{name}\":0")).collect();
        format!("{{\"object\":\"event\",\"metadata\":{{{}}}}}", fields.join(","))
    };
    for many in [2, 63, 64, 65, 128, 129, 20_000] {
        let mut names: Vec<u32> = (0..many).collect();
        assert_eq!(read_plainly(body(&names).as_bytes()), Err(Malformed::NoType), "{many} once");
        for (first, again) in [(0, many - 1), (many / 2, many - 1), (0, many / 2)] {
            names[usize::try_from(again).unwrap()] = first;
            let expected = if first == again { Malformed::NoType } else { Malformed::DuplicateKey };
            assert_eq!(read_plainly(body(&names).as_bytes()), Err(expected), "{many}: {first} at {again}");
            names[usize::try_from(again).unwrap()] = again;
        }
    }
}

#[test]
fn only_the_metadata_that_the_policy_names_is_read() {
    let mut event: serde_json::Value = serde_json::from_slice(&fixture("request-01-purchase.json")).unwrap();
    let card = &mut event["data"]["object"]["card"];
    card["metadata"] = serde_json::json!({"tier": "gold", "nickname": "Jenny", "long": "x".repeat(600)});
    card["cardholder"]["metadata"] = serde_json::json!({"tier": "blue", "cost center": "7", "number": 5});
    let names =
        ["card.metadata.tier", "card.metadata.long", "card.metadata.none", "cardholder.metadata.cost center"];
    let keys = names.map(|name| MetadataKey::named(name).unwrap());
    let reading = Reading { metadata: MetadataKeys::of(keys.iter()), ..Reading::default() };
    let read_with = |reading: &Reading| match read(event.to_string().as_bytes(), RECEIVED_AT, reading) {
        Ok(Incoming::Request(request)) => request.details.metadata,
        other => panic!("no request: {other:?}"),
    };
    let found: Vec<(String, String)> =
        read_with(&reading).iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
    let expected = [
        ("card.metadata.long", "x".repeat(500)),
        ("card.metadata.tier", "gold".to_owned()),
        ("cardholder.metadata[\"cost center\"]", "7".to_owned()),
    ];
    assert_eq!(found, expected.map(|(key, value)| (key.to_owned(), value)));
    assert_eq!(read_with(&Reading::default()), []);
}

#[test]
fn mirrored_controls_are_the_cards_with_the_lists_of_its_cardholder() {
    let body = fixture("request-11-spending-controls.json");
    let Ok(Incoming::Request(request)) =
        read(&body, RECEIVED_AT, &Reading { mirror_stripe_controls: true, ..Reading::default() })
    else {
        panic!("no request");
    };
    let controls = request.stripe_controls.unwrap();
    assert_eq!(
        format!("{:?}", controls.spending_limits),
        "[Limit { max: 50000, window: Window { measure: Amount(Some(usd)), interval: daily, time_zone: UTC, categories: None, merchants: None, occurrence: Approval } }, \
          Limit { max: 20000, window: Window { measure: Amount(Some(usd)), interval: weekly, time_zone: UTC, categories: Some({book_stores}), merchants: None, occurrence: Approval } }, \
          Limit { max: 3000, window: Window { measure: Amount(Some(usd)), interval: per_authorization, time_zone: UTC, categories: None, merchants: None, occurrence: Approval } }]"
    );
    assert_eq!(format!("{:?}", controls.categories), "Lists { allowed: Some({book_stores}), blocked: None }");
    assert_eq!(format!("{:?}", controls.countries), "Lists { allowed: None, blocked: Some({KP, RU}) }");
    assert_eq!(format!("{:?}", controls.presences), "Lists { allowed: Some({not_present}), blocked: None }");
    assert!(
        matches!(read_plainly(&body), Ok(Incoming::Request(request)) if request.stripe_controls.is_none())
    );
}

#[test]
fn nothing_personal_leaves_the_parser() {
    let personal = [
        "Rosen",
        "Jenny",
        "Margaret",
        "Example",
        "@example",
        "Fake St",
        "Evergreen",
        "90210",
        "97209",
        "97403",
        "4242",
        "9424",
        "1881",
        "+1",
        "5550123",
        "203.0.113",
        "Springfield",
        "Portland",
        "POWER READS",
        "GROCER",
    ];
    for name in fixture_names() {
        for mirror_stripe_controls in [false, true] {
            let incoming =
                read(&fixture(&name), RECEIVED_AT, &Reading { mirror_stripe_controls, ..Reading::default() })
                    .unwrap();
            let shown = format!("{incoming:?}");
            for text in personal {
                assert!(!shown.contains(text), "{name} shows {text}: {shown}");
            }
        }
    }
}

#[test]
fn kinds_are_a_closed_list_of_labels() {
    for kind in Kind::ALL {
        assert_eq!(Kind::of(kind.as_str()), kind);
    }
    assert_eq!(Kind::of("issuing_dispute.funds_reinstated"), Kind::Dispute);
    assert_eq!(Kind::of("issuing_token.updated"), Kind::Token);
    assert_eq!(Kind::of("issuing_authorization.imagined"), Kind::Other);
    for name in fixture_names() {
        let body = fixture(&name);
        let event: serde_json::Value = serde_json::from_slice(&body).unwrap();
        let by_type = Kind::of(event["type"].as_str().unwrap());
        let expected =
            if by_type == Kind::TransactionReceiptUpdated { Kind::TransactionUpdated } else { by_type };
        assert_eq!(read_plainly(&body).unwrap().kind(), expected, "{name}");
    }
}

#[test]
fn a_large_body_is_read_like_a_small_one() {
    let padding = format!("\"{}\"", "x".repeat(200_000));
    let large = with("/data/object/wallet", &padding);
    let small = with("/data/object/wallet", "null");
    for body in [&small, &large, &small] {
        assert_eq!(read_plainly(body).unwrap(), read_plainly(&small).unwrap());
    }
}
