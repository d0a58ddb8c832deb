//! CEL itself says what a condition means: random conditions on random requests, decided by the `cel` crate and by ours.
#![allow(clippy::arithmetic_side_effects, reason = "a test that overflows fails, as it should")]

use std::collections::BTreeMap;

use cel::{Context as CelContext, Program, Value};
use proptest::prelude::*;

use super::*;

/// A condition as we write it and as CEL does.
#[derive(Clone, Debug)]
pub(super) struct Pair {
    pub(super) ours: String,
    cel: String,
}

fn pair(ours: impl Into<String>, cel: impl Into<String>) -> Pair {
    Pair { ours: ours.into(), cel: cel.into() }
}

fn same(text: impl Into<String>) -> Pair {
    let text = text.into();
    Pair { ours: text.clone(), cel: text }
}

const COUNTRIES: [&str; 3] = ["US", "GB", "DE"];
const CATEGORIES: [&str; 3] = ["bakeries", "book_stores", "betting_casino_gambling"];
const COMPARISONS: [&str; 6] = ["==", "!=", "<", "<=", ">", ">="];

/// An amount: inputs and arithmetic that stays far from the ends of 64 bits.
fn amount() -> impl Strategy<Value = Pair> {
    let leaf =
        prop_oneof![Just(same("amount")), Just(same("total")), Just(same("cash")), Just(same("-amount")),];
    leaf.prop_recursive(3, 8, 2, |inner| {
        let literal = -50_i64..50;
        prop_oneof![
            (inner.clone(), inner.clone(), prop_oneof![Just("+"), Just("-")]).prop_map(|(a, b, op)| pair(
                format!("({} {op} {})", a.ours, b.ours),
                format!("({} {op} {})", a.cel, b.cel)
            )),
            (inner.clone(), literal.clone(), prop_oneof![Just("+"), Just("-"), Just("*")]).prop_map(
                |(a, by, op)| pair(format!("({} {op} {by})", a.ours), format!("({} {op} {by})", a.cel))
            ),
            (inner, literal.prop_filter("not zero", |by| *by != 0))
                .prop_map(|(a, by)| pair(format!("({} / {by})", a.ours), format!("({} / {by})", a.cel))),
        ]
    })
}

fn atom() -> impl Strategy<Value = Pair> {
    let comparison = || prop::sample::select(&COMPARISONS[..]);
    let country = || prop::sample::select(&COUNTRIES[..]);
    let category = || prop::sample::select(&CATEGORIES[..]);
    prop_oneof![
        (amount(), comparison(), -300_i64..300)
            .prop_map(|(a, op, n)| pair(format!("{} {op} {n}", a.ours), format!("{} {op} {n}", a.cel))),
        (amount(), comparison(), amount()).prop_map(|(a, op, b)| pair(
            format!("{} {op} {}", a.ours, b.ours),
            format!("{} {op} {}", a.cel, b.cel)
        )),
        (prop::sample::select(&["==", "!="][..]), country()).prop_map(|(op, country)| pair(
            format!("merchant.country {op} {country:?}"),
            format!("country {op} {country:?}")
        )),
        (country(), country()).prop_map(|(a, b)| pair(
            format!("merchant.country in [{a:?}, {b:?}]"),
            format!("country in [{a:?}, {b:?}]")
        )),
        category().prop_map(|name| same(format!("category == {name:?}"))),
        category().prop_map(|name| pair(
            format!("category.starts_with({:?})", &name[..3]),
            format!("category.startsWith({:?})", &name[..3])
        )),
        category().prop_map(|name| same(format!("category.contains({:?})", &name[2..6]))),
        Just(pair("merchant.id in list(\"trusted\")", "id in [\"001\", \"002\"]")),
        Just(pair("list(\"risky\").contains(category)", "category in [\"betting_casino_gambling\"]")),
        Just(pair("has(merchant.country)", "country != \"\"")),
        Just(pair("has(category)", "category != \"\"")),
        prop::sample::select(&["present", "livemode", "is_increment", "true", "false"][..]).prop_map(same),
        (comparison(), 0_i64..24).prop_map(|(op, n)| same(format!("hour {op} {n}"))),
        prop::collection::vec(0_i64..24, 1..4).prop_map(|hours| same(format!("hour in {hours:?}"))),
        (comparison(), 1..29).prop_map(|(op, day)| pair(
            format!("date {op} \"2026-11-{day:02}\""),
            format!("date {op} 202611{day:02}")
        )),
    ]
}

pub(super) fn condition() -> impl Strategy<Value = Pair> {
    atom().prop_recursive(4, 24, 3, |inner| {
        prop_oneof![
            inner.clone().prop_map(|a| pair(format!("!({})", a.ours), format!("!({})", a.cel))),
            (inner.clone(), inner.clone(), inner.clone(), prop::bool::ANY, prop::bool::ANY).prop_map(
                |(a, b, c, first, second)| {
                    // Without brackets: what binds first is up to the language.
                    let (first, second) = (if first { "&&" } else { "||" }, if second { "&&" } else { "||" });
                    let join = |a: &str, b: &str, c: &str| format!("{a} {first} {b} {second} {c}");
                    pair(join(&a.ours, &b.ours, &c.ours), join(&a.cel, &b.cel, &c.cel))
                }
            ),
            (inner.clone(), inner).prop_map(|(a, b)| pair(
                format!("({} || {})", a.ours, b.ours),
                format!("({} || {})", a.cel, b.cel)
            )),
        ]
    })
}

pub(super) fn request() -> impl Strategy<Value = AuthorizationRequest> {
    let country = prop::option::of(prop::sample::select(&COUNTRIES[..]));
    let category = prop::option::of(prop::sample::select(&CATEGORIES[..]));
    let id = prop::option::of(prop::sample::select(&["001", "003"][..]));
    let numbers = (0_i64..300, 0_i64..100, 0_i64..300, 0_i64..48);
    let flags = (prop::option::of(prop::bool::ANY), prop::bool::ANY, prop::bool::ANY);
    (country, category, id, numbers, flags).prop_map(
        |(country, category, id, (amount, cash, before, hours), (present, livemode, increment))| {
            let mut request = purchase();
            request.merchant = Merchant {
                category: Category::of(category, None),
                country: country.and_then(Country::new),
                network_id: id.and_then(NetworkId::new),
            };
            request.asked = Ok(Money::new(amount, "usd".parse().unwrap()));
            request.cashback = cash;
            request.approved_before = before;
            request.card_presence =
                present.map(|yes| if yes { CardPresence::Present } else { CardPresence::NotPresent });
            request.livemode = livemode;
            request.history_entries = increment.into();
            request.received_at = Timestamp::from_seconds(1_795_320_000 + hours * 3_600);
            request
        },
    )
}

/// The same facts as CEL sees them, worked out here and not by what is tested.
fn cel_context(request: &AuthorizationRequest) -> CelContext<'static, 'static> {
    let mut context = CelContext::default();
    let asked = request.asked.unwrap().amount;
    let local = request.received_at.to_jiff().in_tz("Europe/Berlin").unwrap();
    let numbers = BTreeMap::from([
        ("amount", asked),
        ("cash", request.cashback),
        ("total", asked + request.approved_before),
        ("hour", i64::from(local.hour())),
        ("date", local.strftime("%Y%m%d").to_string().parse().unwrap()),
    ]);
    for (name, number) in numbers {
        context.add_variable(name, number).unwrap();
    }
    let country = request.merchant.country.map_or(String::new(), |country| country.to_string());
    context.add_variable("country", country).unwrap();
    context.add_variable("category", request.merchant.category.as_str().to_owned()).unwrap();
    let id = request.merchant.network_id.as_ref().map_or("", |id| id.as_str()).to_owned();
    context.add_variable("id", id).unwrap();
    context.add_variable("present", request.card_presence == Some(CardPresence::Present)).unwrap();
    context.add_variable("livemode", request.livemode).unwrap();
    context.add_variable("is_increment", request.history_entries > 0).unwrap();
    context
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn cel_means_the_same(pair in condition(), requests in prop::collection::vec(request(), 1..8)) {
        // The bounds are ours alone.
        let condition = match compiled(&pair.ours) {
            Ok(condition) => condition,
            Err(errors) => {
                prop_assert!(errors[0].found.contains("more than"), "{}: {:?}", pair.ours, errors);
                return Ok(());
            }
        };
        let program = Program::compile(&pair.cel).unwrap();
        for request in requests {
            let expected = program.execute(&cel_context(&request));
            prop_assert_eq!(expected, Ok(Value::Bool(condition.holds(&facts(&request)))), "{}", pair.ours);
            let reread = compiled(&condition.to_string());
            prop_assert_eq!(reread.as_ref(), Ok(&condition), "{}", pair.ours);
        }
    }
}
