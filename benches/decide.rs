//! What a decision costs on a card with few and with many purchases behind it: deciding alone, and deciding with
//! booking and writing the journal's entry.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "a benchmark stops at the first surprise; criterion writes the functions"
)]

mod purchases;

use std::{hint::black_box, sync::Arc, time::Duration};

use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use purchases::{card, policy, policy_with_rules, question};
use tollgate::{
    domain::{Decided, Event, decide},
    journal::record,
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
    let mut group = criterion.benchmark_group("domain/decide_with_rules");
    for count in [0, 1, 8, 200] {
        let policy = policy_with_rules(count);
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
