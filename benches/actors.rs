//! What a card costs in memory, without HTTP and without a disk: the round trip of a question, waking a card from its
//! journal, alone and under a budget that many cards share, and the bytes that an idle card takes.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    clippy::print_stdout,
    reason = "a benchmark stops at the first surprise, and prints; criterion writes the functions"
)]

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use tokio::{runtime::Runtime, sync::watch, task::JoinSet};
use tollgate::{
    actors::{Arrival, Directory, Parts, Settings},
    clock,
    config::policy_file,
    domain::{
        Account, AuthorizationId, AuthorizationRequest, CardId, Category, Currency, Event, EventId, Fact,
        Interval, Limit, Measure, Mention, Merchant, Money, Observation, Outcome as Answered, Overrides,
        Policy, PolicyVersion, Subject, Timestamp, Told, TransactionId, TransactionKind, TransactionSeen,
        Window, Zone,
    },
    journal::{
        Append, Committer, CommitterSettings, Entry, Fatal, Journal, LookBack, LookedBack, Memory, Outcome,
        Pending, Reach, Scan, Unavailable, record,
    },
    metrics::Metrics,
    trial::Trials,
};

/// Questions on their way at once.
const CONCURRENT: usize = 64;
/// Purchases of a card whose memory is measured.
const PURCHASES: usize = 10;
/// Long enough for every answer.
const SOON: Duration = Duration::from_secs(20);

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

static QUESTIONS: AtomicU64 = AtomicU64::new(0);

/// A question that was never asked before, as of `at`.
fn question(card: usize, at: Timestamp) -> AuthorizationRequest {
    let number = QUESTIONS.fetch_add(1, Ordering::Relaxed);
    AuthorizationRequest {
        event: EventId::new(&format!("evt_1PgbTKB7WZ01zgkW{number:08}")).unwrap(),
        authorization: authorization(number),
        card: CardId::new(&card_id(card)),
        card_currency: Some(Currency::USD),
        replacement_for: None,
        cardholder: None,
        is_paused: false,
        group: None,
        received_at: at,
        created: at,
        history_entries: 0,
        approved_before: 0,
        asked: Ok(Money::new(4_200, Currency::USD)),
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

fn authorization(number: u64) -> AuthorizationId {
    AuthorizationId::new(&format!("iauth_1PgbTKB7WZ01zgkW{number:08}")).unwrap()
}

fn card_id(card: usize) -> String {
    format!("ic_1Pgag5B7WZ01zgkW{card:08}")
}

/// The capture of all that `request` asked for.
fn capture(request: &AuthorizationRequest) -> Observation {
    let number = QUESTIONS.fetch_add(1, Ordering::Relaxed);
    Observation {
        event: EventId::new(&format!("evt_1PgbTKB7WZ01zgkW{number:08}")).unwrap(),
        created: request.received_at,
        received_at: request.received_at,
        livemode: false,
        connected_account: None,
        subject: Subject::Card(request.card.clone().unwrap()),
        replacement_for: None,
        fact: Fact::Transaction(Box::new(TransactionSeen {
            id: TransactionId::new(&format!("ipi_1PgbTKB7WZ01zgkW{number:08}")).unwrap(),
            is_update: false,
            created: request.received_at,
            kind: TransactionKind::Capture,
            amount: -4_200,
            currency: Some(Currency::USD),
            authorization: Some(request.authorization.clone()),
            merchant: request.merchant.clone(),
        })),
    }
}

/// A calendar limit and a sliding count, of a height that nothing meets.
fn policy() -> Arc<Policy> {
    let limit = |measure, interval| Limit {
        max: i64::MAX,
        window: Arc::new(Window {
            measure,
            interval: Interval::parse(interval).unwrap(),
            time_zone: Zone::UTC,
            categories: None,
            merchants: None,
            occurrence: tollgate::domain::Occurrence::Approval,
        }),
    };
    let limits = vec![limit(Measure::Amount(None), "daily"), limit(Measure::Count, "rolling(24h)")];
    let default = Overrides { spending_limits: Some(limits), ..Overrides::default() };
    let (groups, cards) = Default::default();
    Arc::new(Policy::new(PolicyVersion::new("bench"), &default, &groups, cards))
}

/// The same limits, also on a budget that all cards share.
fn shared_policy() -> Arc<Policy> {
    const LIMITS: &str = "spending_limits: [{amount: 1000000000000000, interval: daily}, \
                          {count: 1000000000000000, interval: rolling(24h)}]";
    let text = format!(
        "version: 1\ncurrency: usd\nbudgets: {{all: {{{LIMITS}}}}}\ndefault: {{budgets: [all], {LIMITS}}}\n"
    );
    Arc::new(policy_file::read(&text).unwrap().policy)
}

fn arrival() -> Arrival {
    let received = clock::instant();
    Arrival { received, deadline: received + SOON, verify_us: 0, parse_us: 0 }
}

/// A directory on `journal`. Must be called on a runtime.
fn directory(journal: Arc<dyn Journal>, settings: Settings) -> Directory {
    directory_with(journal, settings, policy())
}

fn directory_with(journal: Arc<dyn Journal>, settings: Settings, policy: Arc<Policy>) -> Directory {
    let told = |_: usize, _: Duration| {};
    let parts = Parts {
        committer: Arc::new(Committer::new(
            Arc::clone(&journal),
            CommitterSettings::default(),
            Arc::new(told),
        )),
        trials: Trials::default(),
        journal,
        policy: watch::channel(policy).1,
        metrics: Arc::new(Metrics::new(&tollgate::http::vocabulary())),
    };
    Directory::new(settings, parts)
}

async fn ask(directory: &Directory, request: AuthorizationRequest) {
    let answer = directory.ask(request, arrival()).await.answer;
    assert_eq!(answer.outcome, Answered::Approved, "{answer:?}");
}

/// Whether this is a measurement, rather than a test that the measurement works.
fn is_measured() -> bool {
    std::env::args().any(|argument| argument == "--bench")
}

/// Asks each of `cards` so often, from several tasks at once.
async fn ask_all(directory: &Directory, questions: usize, cards: usize) {
    let mut askers = JoinSet::new();
    for asker in 0..CONCURRENT {
        let directory = directory.clone();
        askers.spawn(async move {
            for place in (asker..questions).step_by(CONCURRENT) {
                ask(&directory, question(place % cards, clock::now())).await;
            }
        });
    }
    askers.join_all().await;
}

fn round_trip(criterion: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    let mut group = criterion.benchmark_group("actors/ask");
    for cards in [1, 10_000] {
        // The one card is another one now and then: no card has a hundred thousand open holds.
        const ONE_FOR: usize = 10_000;
        let directory = runtime.block_on(async {
            directory(Arc::new(Blank::default()), Settings { card_queue_max: 1_000, ..Settings::default() })
        });
        let all_awake = if is_measured() { cards } else { 1 };
        runtime.block_on(ask_all(&directory, all_awake, cards));
        group.throughput(criterion::Throughput::Elements(u64::try_from(CONCURRENT).unwrap()));
        let (mut next, mut asked) = (0, 0);
        group.bench_function(BenchmarkId::new("64 at once, cards", cards), |bencher| {
            bencher.to_async(&runtime).iter(|| {
                let mut askers = JoinSet::new();
                for _ in 0..CONCURRENT {
                    // Coprime to the number of cards, so that all have their turn.
                    next = if cards == 1 { asked / ONE_FOR } else { (next + 7_919) % cards };
                    asked += 1;
                    let (directory, request) = (directory.clone(), question(next, clock::now()));
                    askers.spawn(async move { ask(&directory, request).await });
                }
                askers.join_all()
            });
        });
    }
    group.finish();
}

/// An event about what was decided: the capture of each of the questions that [`round_trip`] asks.
fn booking(criterion: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    let cards = if is_measured() { 10_000 } else { 1 };
    let directory = runtime.block_on(async {
        directory(Arc::new(Blank::default()), Settings { card_queue_max: 1_000, ..Settings::default() })
    });
    runtime.block_on(ask_all(&directory, cards, cards));
    let mut group = criterion.benchmark_group("actors/book");
    group.throughput(criterion::Throughput::Elements(u64::try_from(CONCURRENT).unwrap()));
    let mut next = 0;
    group.bench_function(BenchmarkId::new("64 at once, cards", cards), |bencher| {
        bencher.iter_custom(|iterations| {
            let mut taken = Duration::ZERO;
            for _ in 0..iterations {
                let requests: Vec<AuthorizationRequest> = (0..CONCURRENT)
                    .map(|_| {
                        next = (next + 7_919) % cards;
                        question(next, clock::now())
                    })
                    .collect();
                taken += runtime.block_on(async {
                    for request in &requests {
                        ask(&directory, request.clone()).await;
                    }
                    let started = clock::instant();
                    let mut tellers = JoinSet::new();
                    for request in requests {
                        let directory = directory.clone();
                        tellers.spawn(async move { directory.book(capture(&request), arrival()).await });
                    }
                    assert!(tellers.join_all().await.iter().all(Result::is_ok));
                    started.elapsed()
                });
            }
            taken
        });
    });
    group.finish();
}

/// Most of a card's history has settled: its snapshot holds what is open, and the last day.
fn activation(criterion: &mut Criterion) {
    const OPEN: usize = 10;
    let runtime = Runtime::new().unwrap();
    let mut group = criterion.benchmark_group("actors/activation");
    let histories = if is_measured() { [10, 1_000, 100_000] } else { [10, 100, 200] };
    for history in histories {
        let idle_after = Duration::from_millis(1);
        let settings = Settings { card_idle_after: idle_after, ..Settings::default() };
        let journal: Arc<dyn Journal> = Arc::new(Memory::new());
        let (directory, last) = runtime.block_on(async {
            let directory = directory(Arc::clone(&journal), settings);
            let mut last = None;
            for place in 0..history {
                let minutes = u64::try_from(history - place).unwrap();
                let request = question(0, clock::now().minus(Duration::from_mins(minutes)));
                ask(&directory, request.clone()).await;
                if place + OPEN < history {
                    directory.book(capture(&request), arrival()).await.unwrap();
                }
                last = Some(request);
            }
            tokio::spawn(directory.clone().sweep());
            (directory, last.unwrap())
        });
        let past = runtime.block_on(tell_size(&*journal, &directory, history));
        if history > 10 {
            // What ten take is in the memory that was freed before; `memory` has measured it.
            tell_memory(&runtime, past, history);
        }
        group.bench_function(BenchmarkId::new("authorizations before", history), |bencher| {
            bencher.to_async(&runtime).iter_custom(|iterations| {
                let (directory, last) = (directory.clone(), last.clone());
                async move {
                    let mut taken = Duration::ZERO;
                    for _ in 0..iterations {
                        while directory.resident() > 0 {
                            tokio::task::yield_now().await;
                        }
                        let started = clock::instant();
                        // Asked before: the answer waits for the books, and for nothing else.
                        ask(&directory, last.clone()).await;
                        taken += started.elapsed();
                    }
                    taken
                }
            });
        });
    }
    group.finish();
}

/// The first question for one card of a root, of which nothing is in memory: with few cards under it, and with many.
fn activation_of_a_root(criterion: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    let mut group = criterion.benchmark_group("actors/activation of a root");
    for cards in if is_measured() { [10, 10_000] } else { [2, 20] } {
        let settings = Settings { card_idle_after: Duration::from_millis(1), ..Settings::default() };
        let directory = runtime.block_on(async {
            let directory = directory_with(Arc::new(Memory::new()), settings, shared_policy());
            ask_all(&directory, cards, cards).await;
            tokio::spawn(directory.clone().sweep());
            directory
        });
        let mut most = 0;
        group.bench_function(BenchmarkId::new("idle cards under it", cards), |bencher| {
            bencher.iter_custom(|iterations| {
                let mut taken = Duration::ZERO;
                for _ in 0..iterations {
                    taken += runtime.block_on(async {
                        while directory.resident() > 0 {
                            tokio::task::yield_now().await;
                        }
                        let started = clock::instant();
                        ask(&directory, question(0, clock::now())).await;
                        most = most.max(directory.resident());
                        started.elapsed()
                    });
                }
                taken
            });
        });
        assert!(most <= 2, "the card and the budget are read, found {most} accounts in memory");
    }
    group.finish();
}

/// What waking the card reads, and how much of it is kept. The bytes are those of the snapshot, which is all that is.
async fn tell_size(journal: &dyn Journal, directory: &Directory, history: usize) -> Vec<Entry> {
    while directory.resident() > 0 {
        tokio::task::yield_now().await;
    }
    let entries =
        journal.load(&Account::from(&CardId::new(&card_id(0)).unwrap()), Reach::Snapshot).await.unwrap();
    let bytes: usize = entries.iter().map(|entry| entry.body.len()).sum();
    let events = entries.iter().flat_map(|entry| record::decode(&entry.body).unwrap());
    let kept = events.filter_map(|event| match event {
        Event::Snapshot(card) => Some(card.authorizations.len()),
        _ => None,
    });
    let kept = kept.last().unwrap_or(0);
    println!(
        "actors/activation: after {history} authorizations {} entries of {bytes} bytes are read; {kept} authorizations are kept",
        entries.len()
    );
    entries
}

/// What cards with this past take in memory once they are awake.
fn tell_memory(runtime: &Runtime, past: Vec<Entry>, history: usize) {
    let cards = if is_measured() { 500 } else { 2 };
    let before = resident_bytes();
    let directory = runtime.block_on(async {
        let directory = directory(Arc::new(Blank { past }), Settings::default());
        for card in 0..cards {
            ask(&directory, question(card, clock::now())).await;
        }
        directory
    });
    assert_eq!(directory.resident(), cards);
    let each = resident_bytes().saturating_sub(before) / cards;
    println!(
        "actors/activation: after {history} authorizations an awake card takes {each} bytes, over {cards} cards"
    );
}

/// Of this process.
fn resident_bytes() -> usize {
    let statm = fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

/// Not a time, so that criterion has no part in it.
fn memory(_: &mut Criterion) {
    let cards = if is_measured() { 20_000 } else { 100 };
    let runtime = Runtime::new().unwrap();
    // What is measured is kept, so that the next one takes memory of its own.
    let mut kept = Vec::new();
    for (what, policy, more) in [("alone", policy(), 0), ("under one budget", shared_policy(), 1)] {
        let before = resident_bytes();
        let directory = runtime.block_on(async {
            let directory = directory_with(Arc::new(Blank::default()), Settings::default(), policy);
            ask_all(&directory, cards * PURCHASES, cards).await;
            directory
        });
        assert_eq!(directory.resident(), cards + more);
        let each = resident_bytes().saturating_sub(before) / cards;
        println!("actors/memory: {each} bytes a card with {PURCHASES} purchases, {what}, over {cards} cards");
        kept.push(directory);
    }
}

/// A journal that keeps nothing, so that only cards take memory. It has the same past for each of them.
#[derive(Default)]
struct Blank {
    past: Vec<Entry>,
}

impl Scan for Blank {
    fn scan(&self, _: u64, _: usize) -> Pending<'_, Result<Vec<Entry>, Unavailable>> {
        Box::pin(async { Ok(Vec::new()) })
    }
}

impl Journal for Blank {
    fn append(&self, batch: Arc<[Append]>) -> Pending<'_, Vec<Outcome>> {
        let at = clock::now();
        Box::pin(async move { vec![Outcome::Durable { at }; batch.len()] })
    }

    fn load<'a>(&'a self, account: &'a Account, _: Reach) -> Pending<'a, Result<Vec<Entry>, Unavailable>> {
        let entries = self.past.iter().map(|entry| Entry { account: account.clone(), ..entry.clone() });
        Box::pin(std::future::ready(Ok(entries.collect())))
    }

    fn find<'a>(&'a self, _: &'a Mention) -> Pending<'a, Result<Vec<Entry>, Unavailable>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn look_back<'a>(&'a self, _: &'a LookBack) -> Pending<'a, Result<LookedBack, Unavailable>> {
        Box::pin(async { Ok(LookedBack::default()) })
    }

    fn fatal(&self) -> Pending<'_, Fatal> {
        Box::pin(std::future::pending())
    }

    fn close(&self) -> Pending<'_, ()> {
        Box::pin(async {})
    }
}

criterion_group!(benches, memory, round_trip, booking, activation, activation_of_a_root);
criterion_main!(benches);
