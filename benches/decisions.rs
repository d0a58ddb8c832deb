//! What a page of `/v1/decisions` takes in a journal of a million entries while it is being written, in a file and in
//! PostgreSQL: the newest, a usual filter, one card, one time, and something so rare that the page ends without it.
//!
//! `cargo bench --bench decisions` makes the journals and prints a table.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::as_conversions,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::print_stdout,
    reason = "a bench that is wrong shall stop"
)]

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

#[path = "../tests/it/log.rs"]
#[allow(dead_code, reason = "the bench needs a part of it")]
mod log;
#[path = "../tests/it/needs.rs"]
#[allow(dead_code, reason = "the bench needs a part of it")]
mod needs;
#[path = "../tests/it/postgres.rs"]
#[allow(dead_code, reason = "the bench needs a part of it")]
mod postgres;
#[allow(dead_code, reason = "the bench needs a part of it")]
mod purchases;

use tollgate::{
    actors::{DecisionFilter, Directory, Parts, Settings},
    clock,
    domain::{
        Account, Card, CardId, CardholderId, Decided, Decision, DecisionId, Event, Mention, Money, Outcome,
        Reason, Timestamp, decide, windows_in_force,
    },
    journal::{
        Append, Committer, CommitterSettings, EntryId, Head, Journal, Outcome as Appended, Postgres, Row,
        Sqlite, record,
    },
    metrics::Metrics,
};

const ENTRIES: u32 = 1_000_000;
const CARDS: u32 = 20_000;
const BATCH: usize = 512;
const PAGES: usize = 40;

/// Cards that take turns; each second entry is a capture, one decision of sixteen a decline.
struct Past {
    heads: Vec<Head>,
    turn: u32,
    decision: Decision,
    group: Arc<str>,
}

impl Past {
    fn new() -> Self {
        let policy = purchases::policy();
        let mut card = Card::default();
        card.adopt(windows_in_force(&policy, None), false, Timestamp::default()).unwrap();
        let decision = decide(&card, &policy, &purchases::question(1));
        let heads = vec![Head::default(); usize::try_from(CARDS).unwrap()];
        Self { heads, turn: 0, decision, group: "travel".into() }
    }

    fn next(&mut self) -> Append {
        self.turn += 1;
        let turn = self.turn;
        let number = turn / 2 * 7_919 % CARDS;
        let card = CardId::new(&format!("ic_1NvPyY2eZvKYlo{number:08}")).unwrap();
        let mut request = purchases::question(turn / 2);
        request.card = Some(card.clone());
        request.cardholder = CardholderId::new(&format!("ich_1NvPyY2eZvKYlo{:08}", number / 2));
        request.group = (number.is_multiple_of(3)).then(|| Arc::clone(&self.group));
        let amount = i64::from(turn % 9_973) + 1;
        request.asked = request.asked.map(|asked| Money::new(amount, asked.currency));
        let authorization = request.authorization.clone();
        let event = if turn.is_multiple_of(2) {
            let mut decision = self.decision.clone();
            decision.id = DecisionId::of(&authorization, request.question());
            decision.at = request.received_at;
            if turn.is_multiple_of(32) {
                (decision.outcome, decision.reason) = (Outcome::Declined, Reason::SpendingLimit);
                decision.granted = 0;
            }
            Event::Decided(Box::new(Decided { request: Arc::new(request), decision }))
        } else {
            purchases::captured(authorization.clone(), request.received_at, turn / 2)
                .into_iter()
                .next()
                .unwrap()
        };
        let head = &mut self.heads[usize::try_from(number).unwrap()];
        let row = Row {
            account: Account::from(&card),
            head: *head,
            is_snapshot: false,
            mentions: vec![Mention::from(&authorization)],
            body: record::encode([&event]),
        };
        let id = EntryId::new(fastrand::u64(1..));
        *head = Head { seq: head.seq + 1, id };
        Append::one(id, row)
    }

    async fn write(&mut self, journal: &dyn Journal, entries: usize) {
        // A batch has one append of an account, and the two of a card follow each other.
        for _ in 0..entries.div_ceil(BATCH) {
            let (first, second): (Vec<_>, Vec<_>) =
                (0..BATCH).map(|_| self.next()).enumerate().partition(|(place, _)| place.is_multiple_of(2));
            for half in [second, first] {
                let batch: Arc<[Append]> = half.into_iter().map(|(_, append)| append).collect();
                let outcomes = journal.append(batch).await;
                assert!(outcomes.iter().all(|one| matches!(one, Appended::Durable { .. })), "{outcomes:?}");
            }
        }
    }
}

fn directory(journal: &Arc<dyn Journal>) -> Directory {
    let told = |_: usize, _: Duration| {};
    let committer = Committer::new(Arc::clone(journal), CommitterSettings::default(), Arc::new(told));
    let policy = tollgate::domain::Policy::new(
        tollgate::domain::PolicyVersion::new("bench"),
        &tollgate::domain::Overrides::default(),
        &std::collections::BTreeMap::default(),
        std::collections::BTreeMap::default(),
    );
    let policy = tokio::sync::watch::channel(Arc::new(policy)).1;
    let metrics = Arc::new(Metrics::new(&tollgate::http::vocabulary()));
    Directory::new(
        Settings::default(),
        Parts {
            committer: Arc::new(committer),
            trials: tollgate::trial::Trials::default(),
            journal: Arc::clone(journal),
            policy,
            metrics,
        },
    )
}

async fn measure(name: &str, journal: Arc<dyn Journal>, entries: u32) {
    let mut past = Past::new();
    let started = clock::instant();
    past.write(&*journal, usize::try_from(entries / 2).unwrap()).await;
    let middle = clock::now();
    past.write(&*journal, usize::try_from(entries / 2).unwrap()).await;
    println!("{name}: {} entries in {:.0} s", past.turn, started.elapsed().as_secs_f64());
    let directory = directory(&journal);
    let is_over = Arc::new(AtomicBool::new(false));
    let writes = tokio::spawn({
        let (journal, is_over) = (Arc::clone(&journal), Arc::clone(&is_over));
        async move {
            while !is_over.load(Ordering::Relaxed) {
                past.write(&*journal, BATCH).await;
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
    });
    let card = CardId::new("ic_1NvPyY2eZvKYlo00000042");
    let rare = CardholderId::new("ich_1NvPyY2eZvKYlo00000042");
    let filters = [
        ("the newest 50", DecisionFilter::default()),
        (
            "outcome=declined",
            DecisionFilter { outcome: Some(Outcome::Declined), ..DecisionFilter::default() },
        ),
        ("card=", DecisionFilter { card, ..DecisionFilter::default() }),
        ("until= the middle", DecisionFilter { until: Some(middle), ..DecisionFilter::default() }),
        ("min_amount= one in 100", DecisionFilter { min_amount: Some(9_873), ..DecisionFilter::default() }),
        ("cardholder= one in 10,000", DecisionFilter { cardholder: rare, ..DecisionFilter::default() }),
    ];
    println!(
        "| {name}: a page of 50 | median, ms | slowest of {PAGES}, ms | decisions | entries passed |\n|---|---|---|---|---|"
    );
    for (what, filter) in filters {
        let mut times = Vec::new();
        let mut page = tollgate::actors::DecisionPage::default();
        for _ in 0..PAGES {
            let started = clock::instant();
            page = directory.decisions(&filter, None, 50).await.unwrap();
            times.push(started.elapsed());
        }
        times.sort_unstable();
        let ms = |time: Duration| time.as_secs_f64() * 1_000.0;
        let newest =
            directory.decisions(&DecisionFilter::default(), None, 1).await.unwrap().next.unwrap().lsn;
        let passed = page.next.map_or(0, |next| newest.saturating_sub(next.lsn));
        println!(
            "| {what} | {:.1} | {:.1} | {} | {passed} |",
            ms(times[PAGES / 2]),
            ms(times[PAGES - 1]),
            page.decisions.len()
        );
    }
    is_over.store(true, Ordering::Relaxed);
    writes.await.unwrap();
    journal.close().await;
}

fn main() {
    let is_measured = std::env::args().any(|argument| argument == "--bench");
    let entries = if is_measured { ENTRIES } else { 4_096 };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let path = directory.path().join("bench.db");
        measure("sqlite", Arc::new(Sqlite::open(&path, BATCH, false).unwrap()), entries).await;
        println!("the file has {} MB", fs::metadata(&path).unwrap().len() / 1_000_000);
        let Some(server) = postgres::Server::start().await else { return };
        measure("postgresql", Arc::new(Postgres::open(&server.url()).await.unwrap()), entries).await;
    });
}
