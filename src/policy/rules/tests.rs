//! The language: what it refuses and how it says so, what it means, and that CEL means the same.

mod decide;
mod history;
mod oracle;

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    sync::{Arc, LazyLock},
};

use super::*;
use crate::domain::{
    AuthorizationId, AuthorizationRequest, Card, CardPresence, Category, Country, Details, EventId, Merchant,
    Money, NetworkId, Timestamp, Told, Zone,
    rule::{Condition, Facts, INPUTS, List, MetadataKey, trace},
};

/// A Sunday, half past five in the morning in Berlin.
const NOW: &str = "2026-11-22T04:30:00Z";

fn lists() -> BTreeMap<Arc<str>, Arc<List>> {
    let list = |name: &str, entries: &[&str]| {
        (Arc::from(name), Arc::new(List::new(name, entries.iter().map(|entry| Box::from(*entry)))))
    };
    BTreeMap::from([list("trusted", &["001", "002"]), list("risky", &["betting_casino_gambling"])])
}

fn compiled(text: &str) -> Result<Condition, Vec<RuleError>> {
    let zone = Zone::new("Europe/Berlin").unwrap();
    let budgets = [Arc::from("engineering")];
    compile(text, Context { time_zone: &zone, lists: &lists(), budgets: &budgets, has_home: true })
        .map(|compiled| compiled.condition)
}

/// A purchase of 450.00 USD at a bakery in Britain.
fn purchase() -> AuthorizationRequest {
    AuthorizationRequest {
        event: EventId::new("evt_1").unwrap(),
        authorization: AuthorizationId::new("iauth_1").unwrap(),
        card: None,
        card_currency: None,
        replacement_for: None,
        cardholder: None,
        is_paused: false,
        group: Some("travel".into()),
        received_at: Timestamp::parse(NOW).unwrap(),
        created: Timestamp::default(),
        history_entries: 0,
        approved_before: 0,
        asked: Ok(Money::new(45_000, "usd".parse().unwrap())),
        is_amount_controllable: false,
        cashback: 0,
        merchant: Merchant {
            category: Category::named("bakeries").unwrap(),
            country: Country::new("GB"),
            network_id: NetworkId::new("001"),
        },
        card_presence: Some(CardPresence::Present),
        verified_by_fraud_challenge: false,
        livemode: false,
        connected_account: None,
        details: Details {
            metadata: [("card.metadata.tier", "gold"), ("cardholder.metadata.any key", "7")]
                .map(|(name, value)| (MetadataKey::named(name).unwrap(), value.into()))
                .to_vec(),
            ..Details::default()
        },
        stripe_controls: None,
        told: Told::default(),
    }
}

fn facts(request: &AuthorizationRequest) -> Facts<'_> {
    static CARD: LazyLock<Card> = LazyLock::new(Card::default);
    static HOME: LazyLock<Country> = LazyLock::new(|| Country::new("US").unwrap());
    Facts { home: Some(&HOME), ..Facts::new(&CARD, request, request.asked.unwrap(), request.received_at) }
}

#[test]
#[allow(
    clippy::disallowed_methods,
    reason = "a switch for whoever runs the tests, as of `tests/it/generated.rs`"
)]
fn wrong_rules_are_refused_with_their_place_and_what_to_do() {
    let corpus = include_str!("tests/wrong.txt");
    let mut found = String::new();
    for rule in corpus.lines().filter(|line| !line.starts_with("  ")) {
        writeln!(found, "{rule}").unwrap();
        for error in compiled_in_utc(rule).expect_err(rule) {
            writeln!(found, "  {error}").unwrap();
        }
    }
    if std::env::var_os("UPDATE_GENERATED").is_some() {
        std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/src/policy/rules/tests/wrong.txt"), &found)
            .unwrap();
        return;
    }
    assert!(corpus.lines().filter(|line| !line.starts_with("  ")).count() >= 100);
    for (found, expected) in found.lines().zip(corpus.lines()) {
        assert_eq!(found, expected);
    }
    assert_eq!(found, corpus);
}

/// As the corpus is written: with one list.
fn compiled_in_utc(text: &str) -> Result<Compiled, Vec<RuleError>> {
    let lists = BTreeMap::from([(Arc::from("trusted"), Arc::new(List::new("trusted", ["001".into()])))]);
    compile(
        text,
        Context {
            time_zone: &Zone::UTC,
            lists: &lists,
            budgets: &[Arc::from("engineering")],
            has_home: false,
        },
    )
}

#[test]
fn nothing_is_no_condition() {
    for text in ["", "   ", "\n"] {
        let errors = compiled(text).unwrap_err();
        assert!(errors[0].to_string().contains("an empty condition"), "{errors:?}");
    }
}

#[test]
fn conditions_are_bounded() {
    let check = |text: String, part: &str| match (compiled(&text), part) {
        (Ok(_), "") => {}
        (Err(errors), part) if !part.is_empty() => {
            assert!(errors[0].to_string().contains(part), "{errors:?}");
        }
        (result, _) => panic!("{text}: {result:?}"),
    };
    let nested = |depth: usize| format!("{}present{}", "(".repeat(depth), ")".repeat(depth));
    check(nested(NESTING_MAX), "");
    check(nested(NESTING_MAX + 1), "more than 32 parts inside each other");
    check(nested(100_000), "more than 32 parts inside each other");
    check(format!("{}present", "!".repeat(100_000)), "more than 32 parts inside each other");
    let long = |parts: usize| vec!["present"; parts].join(" && ");
    check(long(NODES_MAX - 1), "");
    check(long(NODES_MAX), "more than 256 parts");
    check(format!("amount > {}", vec!["1"; 100_000].join(" + ")), "more than 256 parts");
}

#[test]
fn conditions_mean_what_they_say() {
    let check = |text: &str, expected: bool| {
        let condition = compiled(text).unwrap_or_else(|errors| panic!("{text}: {errors:?}"));
        let request = purchase();
        assert_eq!(condition.holds(&facts(&request)), expected, "{text}");
        let traced = trace(&condition, &facts(&request));
        assert!(!traced.is_empty(), "{text}");
        let shown = condition.to_string();
        assert_eq!(compiled(&shown).as_ref(), Ok(&condition), "{text} is shown as {shown}");
    };
    check("amount > 30000", true);
    check("amount >= 45000 && amount <= 45000", true);
    check("45000 < amount", false);
    check("amount + 5000 == 50000", true);
    check("amount - cash - 1 < 45000 / 1", true);
    check("-amount < -44999", true);
    check("amount * 2 > 89999 && 2 * amount < 90001", true);
    check("1 + 2 * 3 == amount / 6000", true);
    check("(1 + 2) * 3 == amount / 6000", false);
    check("amount in [1, 45000]", true);
    check("count(24h) == 0 && sum(daily) + amount == 45000 && count(all_time) < 1", true);
    check("total == amount", true);
    check("attempts(1h) + declines(daily) + distinct(merchant.id, 7d) == 0", true);
    check("is_first(merchant.country) && is_first(category) && is_first(merchant.id)", true);
    check("since_last(approval) > 3650d && since_last(attempt) > 3650d", true);
    check("remaining(daily) > amount && remaining(per_authorization) == remaining(24h)", true);
    check("is_abroad && home_country == \"US\" && merchant.country != home_country", true);
    check("hold == amount", true);
    check("card.metadata.tier == \"gold\" && cardholder.metadata[\"any key\"].starts_with(\"7\")", true);
    check("has(card.metadata.tier) && !has(cardholder.metadata.tier) && card.metadata.other != \"x\"", true);
    check("card.metadata.tier in [\"gold\", \"silver\"] && !(card.metadata.tier in list(\"trusted\"))", true);
    check("merchant.country != \"US\" && merchant.country == 'GB'", true);
    check("merchant.country in [\"US\", \"GB\"]", true);
    check("!(merchant.country in [\"US\", \"GB\"])", false);
    check("merchant.id in list(\"trusted\")", true);
    check("list(\"trusted\").contains(merchant.id)", true);
    check("category in list(\"risky\")", false);
    check("category.starts_with(\"bak\") && category.contains(\"ker\")", true);
    check("hour == 5", true);
    check("hour(\"UTC\") == 4", true);
    check("weekday == \"sunday\" && weekday(\"America/New_York\") != \"sunday\"", true);
    check("weekday(\"Pacific/Honolulu\") == \"saturday\"", true);
    check(
        "date == \"2026-11-22\" && date < \"2026-12-01\" && date(\"Pacific/Honolulu\") == \"2026-11-21\"",
        true,
    );
    check("date in [\"2026-11-22\", \"2026-12-24\"]", true);
    check("present == true && livemode == false && is_increment != true", true);
    check("true || amount > 5", true);
    check("!present || !!present && !livemode", true);
    check("group == \"travel\"", true);
    check("has(merchant.country) && !has(merchant.id)", false);
    check("cash > 0 || merchant.country != \"US\" && amount > 10", true);
    check("(cash > 0 || merchant.country != \"US\") && amount > 100000", false);
}

#[test]
fn an_unknown_value_equals_nothing() {
    let mut request = purchase();
    request.merchant = Merchant::default();
    request.card_presence = None;
    let check = |text: &str, expected: bool| {
        assert_eq!(compiled(text).unwrap().holds(&facts(&request)), expected, "{text}");
    };
    check("merchant.country == \"US\"", false);
    check("merchant.country != \"US\"", true);
    check("merchant.country in [\"US\"]", false);
    check("category.contains(\"a\")", false);
    check("merchant.id in list(\"trusted\")", false);
    check("has(category) || has(merchant.id) || has(present) || present", false);
}

#[test]
fn a_trace_has_what_was_looked_at_with_its_values() {
    let request = purchase();
    let shown = |text: &str| -> Vec<String> {
        let condition = compiled(text).unwrap();
        let traced = trace(&condition, &facts(&request));
        traced.iter().map(|part| format!("{} [{}] {}", part.condition, part.value, part.holds)).collect()
    };
    assert_eq!(
        shown("amount > 30000 && merchant.country != \"US\" && !(hour > 5 || present)"),
        [
            "amount > 30000 [amount = 450.00 USD] true",
            "merchant.country != \"US\" [merchant.country = GB] true",
            "hour(\"Europe/Berlin\") > 5 [hour(\"Europe/Berlin\") = 5] false",
            "present [present = true] true",
        ]
    );
    // What was not reached is not there.
    assert_eq!(shown("cash > 0 && amount > 30000"), ["cash > 0 [cash = 0.00 USD] false"]);
    assert_eq!(
        shown("amount - cash > 1"),
        ["(amount - cash) > 1 [amount = 450.00 USD, cash = 0.00 USD] true"]
    );
}

#[test]
fn every_example_of_the_reference_compiles() {
    let examples = INPUTS.iter().map(|input| (input.name, input.example));
    let functions = FUNCTIONS.iter().map(|function| (function.name, function.example));
    for (name, example) in examples.chain(functions) {
        assert!(example.contains(name), "the example of {name} is {example}");
        let compiled = compiled(example).unwrap_or_else(|errors| panic!("{example}: {errors:?}"));
        let request = purchase();
        let _ = compiled.holds(&facts(&request));
    }
}
