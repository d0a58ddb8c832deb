//! What Stripe's wire costs: checking the signature of an event, reading it, writing a reply.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "a benchmark stops at the first surprise; criterion writes the functions"
)]

use std::{hint::black_box, time::Duration};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use tollgate::{
    domain::{Answer, AnswerBy, DecisionId, Outcome, Reason, Source, Timestamp},
    stripe::{Reader, Reading, Secret, Verifier, decision_body, sign},
};

const PRETTY: &[u8] = include_bytes!("../tests/fixtures/stripe/request-01-purchase.json");
const NOW: Timestamp = Timestamp::from_seconds(1_785_500_000);

fn compact() -> Vec<u8> {
    let event: serde_json::Value = serde_json::from_slice(PRETTY).unwrap();
    event.to_string().into_bytes()
}

fn verify(criterion: &mut Criterion) {
    let secret = Secret::new("whsec_of_the_benchmark").unwrap();
    let body = compact();
    let header = sign(&secret, NOW.as_seconds(), &body);
    let verifier = Verifier::new(&[secret], Duration::from_mins(5));
    let mut group = criterion.benchmark_group("stripe/verify");
    group.throughput(Throughput::Bytes(u64::try_from(body.len()).unwrap()));
    group.bench_function("compact", |bencher| {
        bencher.iter(|| verifier.verify(Some(black_box(header.as_bytes())), black_box(&body), NOW).unwrap());
    });
    group.finish();
}

fn read(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("stripe/read");
    for (name, body, mirror_stripe_controls) in [
        ("compact", compact(), false),
        ("pretty", PRETTY.to_vec(), false),
        ("compact_mirrored", compact(), true),
    ] {
        let mut reader = Reader::default();
        group.throughput(Throughput::Bytes(u64::try_from(body.len()).unwrap()));
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                reader
                    .read(black_box(&body), NOW, &Reading { mirror_stripe_controls, ..Reading::default() })
                    .unwrap()
            });
        });
    }
    group.finish();
}

fn reply(criterion: &mut Criterion) {
    let answer = Answer {
        decision: DecisionId::parse("dec_123456789abcdef0").unwrap(),
        outcome: Outcome::Declined,
        amount: None,
        reason: Reason::SpendingLimit,
        challenge: false,
        source: Source::Policy,
        by: AnswerBy::Direct,
        marks: None,
    };
    criterion
        .bench_function("stripe/reply", |bencher| bencher.iter(|| decision_body(black_box(&answer), true)));
}

criterion_group!(benches, verify, read, reply);
criterion_main!(benches);
