//! What a decision costs on a card with few and with many purchases behind it: deciding alone, and deciding with
//! booking and writing the journal's entry.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "a benchmark stops at the first surprise; criterion writes the functions"
)]

mod purchases;

use std::{collections::BTreeMap, hint::black_box, sync::Arc, time::Duration};

use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use purchases::{card, policy, question};
use tollgate::{
    domain::{
        CardPolicy, Decided, Event, Zone, decide,
        rule::{List, Rule, Then},
    },
    journal::record,
    policy::rules::{Context, compile},
};

const PURCHASES: [u32; 3] = [10, 1_000, 100_000];

fn decisions(criterion: &mut Criterion) {
    let policy = policy();
    let mut group = criterion.benchmark_group("domain/decide");
    for purchases in PURCHASES {
        let card = card(&policy, purchases);
        let request = question(purchases);
        group.bench_with_input(BenchmarkId::from_parameter(purchases), &request, |bencher, request| {
            bencher.iter(|| decide(black_box(&card), &policy, black_box(request)));
        });
    }
    group.finish();
}

/// Deciding with so many rules, none of which matches, and eight sums for them.
fn rules(criterion: &mut Criterion) {
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
    let lists = ["trusted"].map(|name| {
        let entries = (0..100_000).map(|number| format!("{number:012}").into_boxed_str());
        (name.into(), Arc::new(List::new(name, entries)))
    });
    let (zone, lists) = (Zone::UTC, BTreeMap::from(lists));
    let context = Context { time_zone: &zone, lists: &lists, has_home: false };
    let mut group = criterion.benchmark_group("domain/decide_with_rules");
    for count in [0, 1, 8, 200] {
        let rules = conditions.iter().cycle().take(count).map(|text| {
            Rule::new("rule".into(), compile(text, context).unwrap().condition, Then::Decline, None)
        });
        let policy = CardPolicy { rules: rules.collect(), ..CardPolicy::clone(&policy()) };
        let card = card(&policy, 1_000);
        let request = question(1_000);
        assert_eq!(decide(&card, &policy, &request).ruled, None);
        group.bench_with_input(BenchmarkId::from_parameter(count), &request, |bencher, request| {
            bencher.iter(|| decide(black_box(&card), &policy, black_box(request)));
        });
    }
    group.finish();
}

/// One decision after another on the same books, each booked and encoded as the card actor does.
fn whole_entries(criterion: &mut Criterion) {
    let policy = policy();
    let mut group = criterion.benchmark_group("domain/decide_apply_encode");
    for purchases in PURCHASES {
        let mut card = card(&policy, purchases);
        let mut number = purchases;
        group.bench_function(BenchmarkId::from_parameter(purchases), |bencher| {
            bencher.iter_batched(
                || {
                    number = number.saturating_add(1);
                    Arc::new(question(number))
                },
                |request| {
                    let decision = decide(&card, &policy, &request);
                    let event = Event::Decided(Box::new(Decided { request, decision }));
                    card.apply(&event);
                    record::encode([&event])
                },
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    targets = decisions, rules, whole_entries
}
criterion_main!(benches);
