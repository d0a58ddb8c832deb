//! What an entry costs in the journal: group commits of several sizes, in memory, in a file and in PostgreSQL, and the
//! loading of a chain. Beside criterion's times a table is printed with the CPU time of the whole process, all threads,
//! an entry. PostgreSQL is a server of the bench's own, on this machine; its CPU time is told apart.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    clippy::arithmetic_side_effects,
    clippy::print_stdout,
    reason = "a bench that is wrong shall stop"
)]

use std::{
    fs,
    hint::black_box,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
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

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use tokio::{runtime::Runtime, sync::Notify};
use tollgate::{
    clock,
    domain::{Account, Mention},
    journal::{
        Append, Committer, CommitterSettings, EntryId, Head, Journal, Memory, Outcome, Postgres, Reach, Row,
        Sqlite, Urgency,
        postgres::{ANOTHER_BATCH_FROM, BATCHES_IN_FLIGHT_MAX},
    },
};

const ACCOUNTS: usize = 10_000;
const BATCHES: [usize; 5] = [1, 16, 32, 128, 512];
const BODY_BYTES: usize = 400;

/// Ten thousand cards that take turns in no order, each entry about an authorization of its own.
struct Cards {
    node: usize,
    heads: Vec<(Account, Head)>,
    turn: usize,
    body: String,
}

impl Cards {
    fn new() -> Self {
        Self::of(ACCOUNTS)
    }

    fn of(cards: usize) -> Self {
        Self::of_node(0, cards)
    }

    /// Cards that no other node has.
    fn of_node(node: usize, cards: usize) -> Self {
        let account = |n| Account::new(&format!("ic_1NvPyY2eZvKYlo{node:02}{n:08}")).unwrap();
        let heads = (0..cards).map(|n| (account(n), Head::default())).collect();
        Self { node, heads, turn: 0, body: format!("[{:?}]", "x".repeat(BODY_BYTES - 4)) }
    }

    fn next(&mut self) -> Append {
        self.turn += 1;
        // Coprime to the number of cards, so that all have their turn before one comes again.
        let place = self.turn * 7_919 % self.heads.len();
        let (account, head) = &mut self.heads[place];
        let row = Row {
            account: account.clone(),
            head: *head,
            is_snapshot: self.turn.is_multiple_of(64),
            mentions: vec![
                Mention::new(&format!("iauth_1NvPyY2eZvKYlo{:02}{:08x}", self.node, self.turn)).unwrap(),
            ],
            body: self.body.clone(),
        };
        let id = EntryId::new(fastrand::u64(1..));
        *head = Head { seq: head.seq + 1, id };
        Append::one(id, row)
    }

    fn batch(&mut self, entries: usize) -> Arc<[Append]> {
        (0..entries).map(|_| self.next()).collect()
    }
}

/// A kind of journal, and how to open one in a directory.
type Kind = (&'static str, fn(&Path) -> Arc<dyn Journal>);

const KINDS: [Kind; 2] = [
    ("memory", |_| Arc::new(Memory::new())),
    ("sqlite", |directory| Arc::new(Sqlite::open(&directory.join("bench.db"), 512, false).unwrap())),
];

/// CPU time of all living threads of this process; zero where the system does not tell.
fn cpu() -> Duration {
    let Ok(tasks) = fs::read_dir("/proc/self/task") else { return Duration::ZERO };
    tasks.flatten().filter_map(|task| cpu_of(&task.path())).sum()
}

/// CPU time of one thread.
fn cpu_of(thread: &Path) -> Option<Duration> {
    let stat = fs::read_to_string(thread.join("schedstat")).ok()?;
    stat.split(' ').next()?.parse().ok().map(Duration::from_nanos)
}

/// `cargo test --benches` wants to see it run, not to know what it costs.
fn is_measured() -> bool {
    std::env::args().any(|argument| argument == "--bench")
}

fn append_all(runtime: &Runtime, journal: &dyn Journal, batches: Vec<Arc<[Append]>>) {
    runtime.block_on(async {
        for batch in batches {
            let outcomes = journal.append(batch).await;
            assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Durable { .. })));
        }
    });
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn group_commit(criterion: &mut Criterion) {
    for (kind, open) in KINDS {
        let mut group = criterion.benchmark_group(format!("journal/append/{kind}"));
        for entries in BATCHES {
            let directory = tempfile::tempdir().unwrap();
            let (runtime, journal, mut cards) = (runtime(), open(directory.path()), Cards::new());
            group.throughput(Throughput::Elements(entries as u64));
            group.bench_function(BenchmarkId::from_parameter(entries), |bencher| {
                bencher.iter_custom(|rounds| {
                    let batches = (0..rounds).map(|_| cards.batch(entries)).collect();
                    let started = clock::instant();
                    append_all(&runtime, &*journal, batches);
                    started.elapsed()
                });
            });
            runtime.block_on(journal.close());
        }
        group.finish();
    }
}

fn load(criterion: &mut Criterion) {
    let accounts = if is_measured() { ACCOUNTS } else { 500 };
    for (kind, open) in KINDS {
        let directory = tempfile::tempdir().unwrap();
        let (runtime, journal, mut cards) = (runtime(), open(directory.path()), Cards::of(accounts));
        // Every card gets a chain of 64 entries that are spread over the file.
        let mut plain = |_| {
            let without_snapshot = |mut append: Append| {
                append.rows.iter_mut().for_each(|row| row.is_snapshot = false);
                append
            };
            cards.batch(500).iter().cloned().map(without_snapshot).collect()
        };
        append_all(&runtime, &*journal, (0..accounts * 64 / 500).map(&mut plain).collect());
        criterion.bench_function(&format!("journal/load-64/{kind}"), |bencher| {
            bencher.iter(|| {
                let (account, _) = &cards.heads[fastrand::usize(..accounts)];
                let chain = runtime.block_on(journal.load(account, Reach::Genesis)).unwrap();
                assert_eq!(black_box(chain).len(), 64);
            });
        });
        let mentions: Vec<Mention> = (0..1000)
            .map(|_| fastrand::usize(1..accounts * 64))
            .map(|turn| Mention::new(&format!("iauth_1NvPyY2eZvKYlo00{turn:08x}")).unwrap())
            .collect();
        criterion.bench_function(&format!("journal/find/{kind}"), |bencher| {
            bencher.iter(|| {
                let one = &mentions[fastrand::usize(..mentions.len())];
                assert_eq!(runtime.block_on(journal.find(one)).unwrap().len(), 1);
            });
        });
        runtime.block_on(journal.close());
    }
}

/// So many cards wait in front of the committer at once; each submits again when it was told.
fn through_committer(
    runtime: &Runtime,
    journal: Arc<dyn Journal>,
    [batches_in_flight_max, another_batch_from]: [usize; 2],
    waiting: usize,
    mut cards: Cards,
    entries: usize,
) -> (usize, Vec<Duration>) {
    let commits = Arc::new(AtomicUsize::new(0));
    let took_each = Arc::new(Mutex::new(Vec::new()));
    let (counted, noted) = (Arc::clone(&commits), Arc::clone(&took_each));
    let observer = Arc::new(move |_: usize, took: Duration| {
        counted.fetch_add(1, Ordering::Relaxed);
        noted.lock().unwrap().push(took);
    });
    runtime.block_on(async {
        let settings =
            CommitterSettings { batches_in_flight_max, another_batch_from, ..CommitterSettings::default() };
        let committer = Committer::new(journal, settings, observer);
        let (told, done) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
        let submit = |cards: &mut Cards| {
            let (told, done) = (Arc::clone(&told), Arc::clone(&done));
            let tell = move |outcome| {
                assert!(matches!(outcome, Outcome::Durable { .. }));
                told.fetch_add(1, Ordering::Relaxed);
                done.notify_one();
            };
            committer.submit(cards.next(), Urgency::Now, Box::new(tell));
        };
        let mut submitted = 0;
        while told.load(Ordering::Relaxed) < entries {
            while submitted < entries && submitted - told.load(Ordering::Relaxed) < waiting {
                submit(&mut cards);
                submitted += 1;
            }
            done.notified().await;
        }
        committer.close().await;
    });
    let mut times = std::mem::take(&mut *took_each.lock().unwrap());
    times.sort_unstable();
    (commits.load(Ordering::Relaxed), times)
}

fn report(_: &mut Criterion) {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let scale = if is_measured() { 1 } else { 200 };
    // A filter names criterion's benches; `table` and `server` name none of them, and leave this alone.
    let asked: Vec<&str> = arguments.iter().map(String::as_str).filter(|one| !one.starts_with('-')).collect();
    match asked[..] {
        [] | ["table"] => {}
        ["server"] => return report_postgres(scale),
        _ => return,
    }
    report_opening(200_000 / scale);
    println!(
        "{:<28} {:>10} {:>9} {:>10} {:>28}",
        "journal", "entries/s", "CPU us", "batch", "commit p50/p99/max ms"
    );
    let rates = |entries: usize, wall: Duration, cpu: Duration| {
        (entries as f64 / wall.as_secs_f64(), cpu.as_secs_f64() * 1e6 / entries as f64)
    };
    let rounds = |batch: usize| (200_000 / batch).min(2_000).div_ceil(scale);
    for batch in BATCHES {
        let (directory, mut cards) = (tempfile::tempdir().unwrap(), Cards::new());
        let batches: Vec<_> = (0..rounds(batch)).map(|_| cards.batch(batch)).collect();
        let (started, before) = (clock::instant(), cpu());
        append_bare(directory.path(), &batches);
        let (persec, us) = rates(batches.len() * batch, started.elapsed(), cpu().saturating_sub(before));
        println!("{:<28} {persec:>10.0} {us:>9.2} {batch:>10}", "(bare SQLite table)");
    }
    for (kind, open) in KINDS {
        for batch in BATCHES {
            let directory = tempfile::tempdir().unwrap();
            let (runtime, journal, mut cards) = (runtime(), open(directory.path()), Cards::new());
            let rounds = rounds(batch);
            let batches = (0..rounds).map(|_| cards.batch(batch)).collect();
            let (started, before) = (clock::instant(), cpu());
            append_all(&runtime, &*journal, batches);
            let (persec, us) = rates(rounds * batch, started.elapsed(), cpu().saturating_sub(before));
            println!("{:<28} {persec:>10.0} {us:>9.2} {batch:>10}", format!("{kind}, given batches"));
            runtime.block_on(journal.close());
        }
        for waiting in [16, 32, 64, 256] {
            let directory = tempfile::tempdir().unwrap();
            let (runtime, journal) = (runtime(), open(directory.path()));
            let entries = 50_000 / scale;
            let (started, before) = (clock::instant(), cpu());
            let (commits, times) =
                through_committer(&runtime, Arc::clone(&journal), [1, 1], waiting, Cards::new(), entries);
            let (persec, us) = rates(entries, started.elapsed(), cpu().saturating_sub(before));
            let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
            let commit = format!("{:.2}/{:.2}/{:.1}", at(0.5), at(0.99), at(1.0));
            let seen = entries as f64 / commits as f64;
            println!(
                "{:<28} {persec:>10.0} {us:>9.2} {seen:>10.1} {commit:>28}",
                format!("{kind}, {waiting} cards waiting")
            );
            runtime.block_on(journal.close());
        }
    }
    report_postgres(scale);
}

/// The same through a server, with so many batches on their way at once; then how long a load and a search take.
fn report_postgres(scale: usize) {
    let runtime = runtime();
    let settings = "shared_buffers = 512MB\nmax_wal_size = 4GB\nautovacuum = on";
    let Some(server) = runtime.block_on(postgres::Server::start_with(settings)) else { return };
    let open = || -> Arc<dyn Journal> { Arc::new(runtime.block_on(Postgres::open(&server.url())).unwrap()) };
    println!(
        "{:<40} {:>10} {:>9} {:>10} {:>10} {:>22}",
        "postgres: in flight, another from, waiting",
        "entries/s",
        "CPU us",
        "server us",
        "batch",
        "commit p50/p99/max ms"
    );
    let mut cards = 0;
    // Four statements whatever is in them, one alone, and what a node does.
    let node = [BATCHES_IN_FLIGHT_MAX as usize, ANOTHER_BATCH_FROM];
    let loads =
        [16, 64, 256, 1024].into_iter().flat_map(|waiting| [[4, 1], [1, 1], node].map(|how| (how, waiting)));
    for (how, waiting) in loads {
        let (journal, entries) = (open(), 40_000 / scale);
        server.sql("TRUNCATE tollgate.entry, tollgate.mention");
        let (started, before, server_before) = (clock::instant(), cpu(), server.cpu_ticks());
        let (commits, times) =
            through_committer(&runtime, Arc::clone(&journal), how, waiting, Cards::new(), entries);
        let (wall, own) = (started.elapsed().as_secs_f64(), cpu().saturating_sub(before).as_secs_f64());
        let of_server = (server.cpu_ticks() - server_before) as f64 / 100.0;
        let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
        println!(
            "{:<40} {:>10.0} {:>9.1} {:>10.1} {:>10.1} {:>22}",
            format!("{}, {}, {waiting}", how[0], how[1]),
            entries as f64 / wall,
            own * 1e6 / entries as f64,
            of_server * 1e6 / entries as f64,
            entries as f64 / commits as f64,
            format!("{:.1}/{:.1}/{:.1}", at(0.5), at(0.99), at(1.0)),
        );
        cards = ACCOUNTS.min(entries);
        runtime.block_on(journal.close());
    }
    report_saturation(&server, scale);
    let (journal, mut of_one) = (open(), Cards::new());
    server.sql("TRUNCATE tollgate.entry, tollgate.mention");
    append_all(&runtime, &*journal, (0..cards.div_ceil(500)).map(|_| of_one.batch(500.min(cards))).collect());
    let time = |what: &str, mut ask: Box<dyn FnMut(usize) + '_>| {
        let rounds = 2_000 / scale;
        let mut times: Vec<Duration> = (0..rounds)
            .map(|round| {
                let started = clock::instant();
                ask(round);
                started.elapsed()
            })
            .collect();
        times.sort_unstable();
        let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
        println!("postgres: {what}: p50 {:.2} ms, p99 {:.2} ms", at(0.5), at(0.99));
    };
    let accounts: Vec<Account> = Cards::new().heads.into_iter().map(|(account, _)| account).collect();
    time(
        "load",
        Box::new(|_| {
            let account = &accounts[fastrand::usize(..accounts.len())];
            black_box(runtime.block_on(journal.load(account, Reach::Snapshot)).unwrap());
        }),
    );
    time(
        "find",
        Box::new(|_| {
            let id = format!("iauth_1NvPyY2eZvKYlo00{:08x}", fastrand::usize(1..=cards));
            let id = Mention::new(&id).unwrap();
            assert_eq!(runtime.block_on(journal.find(&id)).unwrap().len(), 1);
        }),
    );
    runtime.block_on(journal.close());
}

/// As many rows as one server takes: nodes are added, each with a thread, connections and cards of its own and many
/// questions waiting, until more of them bring no more rows.
fn report_saturation(server: &postgres::Server, scale: usize) {
    // As many as all statements of a node may carry.
    const WAITING: usize = 4 * 512;
    let how = [BATCHES_IN_FLIGHT_MAX as usize, ANOTHER_BATCH_FROM];
    println!(
        "{:<40} {:>10} {:>15} {:>16} {:>13} {:>14}",
        "postgres, until it takes no more: nodes",
        "rows/s",
        "rows/statement",
        "server us a row",
        "server cores",
        "bench cores"
    );
    let (mut best, mut nodes) = (0.0_f64, 1_usize);
    loop {
        server.sql("TRUNCATE tollgate.entry, tollgate.mention");
        let entries = 40_000 / scale;
        let (started, server_before) = (clock::instant(), server.cpu_ticks());
        let (commits, own) = thread::scope(|threads| {
            let node = |node: usize| {
                let runtime = runtime();
                let journal: Arc<dyn Journal> =
                    Arc::new(runtime.block_on(Postgres::open(&server.url())).unwrap());
                let cards = Cards::of_node(node, ACCOUNTS);
                let (commits, _) =
                    through_committer(&runtime, Arc::clone(&journal), how, WAITING, cards, entries);
                runtime.block_on(journal.close());
                (commits, cpu_of(Path::new("/proc/thread-self")).unwrap_or_default())
            };
            let running: Vec<_> = (0..nodes).map(|number| threads.spawn(move || node(number))).collect();
            let ended = running.into_iter().map(|node| node.join().unwrap());
            ended.fold((0, Duration::ZERO), |(commits, own), (more, time)| (commits + more, own + time))
        });
        let wall = started.elapsed().as_secs_f64();
        let (rows, of_server) =
            ((nodes * entries) as f64, (server.cpu_ticks() - server_before) as f64 / 100.0);
        println!(
            "{nodes:<40} {:>10.0} {:>15.1} {:>16.1} {:>13.2} {:>14.2}",
            rows / wall,
            rows / commits as f64,
            of_server * 1e6 / rows,
            of_server / wall,
            own.as_secs_f64() / wall,
        );
        // Less than a tenth more for twice the nodes; and PostgreSQL lets a hundred connections in.
        if rows / wall < best * 1.1 || nodes == 8 || scale > 1 {
            return;
        }
        (best, nodes) = (rows / wall, nodes * 2);
    }
}

/// The floor: the same rows into a bare table of SQLite, committed by the thread that made them. No chain, no mark, no
/// index, no checkpoint but SQLite's own.
fn append_bare(directory: &Path, batches: &[Arc<[Append]>]) {
    let bare = rusqlite::Connection::open(directory.join("bare.db")).unwrap();
    bare.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(())).unwrap();
    bare.pragma_update(None, "synchronous", "FULL").unwrap();
    bare.execute_batch(
        "CREATE TABLE entry (lsn INTEGER PRIMARY KEY, account TEXT, seq, id, prev, body TEXT)",
    )
    .unwrap();
    let mut insert = bare.prepare("INSERT INTO entry VALUES (NULL, ?1, ?2, ?3, ?4, ?5)").unwrap();
    for batch in batches {
        bare.prepare_cached("BEGIN IMMEDIATE").unwrap().execute([]).unwrap();
        for append in batch.iter() {
            for row in &append.rows {
                let numbers = [row.head.seq, append.id.get(), row.head.id.get()].map(u64::cast_signed);
                insert
                    .execute((row.account.as_str(), numbers[0], numbers[1], numbers[2], &row.body))
                    .unwrap();
            }
        }
        bare.prepare_cached("COMMIT").unwrap().execute([]).unwrap();
    }
}

/// How long a start takes: with an index that is up to date, and with none.
fn report_opening(entries: usize) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("bench.db");
    let (runtime, mut cards) = (runtime(), Cards::new());
    for found in ["to be filled", "indexed", "without index"] {
        let started = clock::instant();
        let journal = Sqlite::open(&path, 512, false).unwrap();
        println!("open {entries} entries, {found}: {:.0} ms", started.elapsed().as_secs_f64() * 1e3);
        if found == "to be filled" {
            append_all(&runtime, &journal, (0..entries / 500).map(|_| cards.batch(500)).collect());
        }
        runtime.block_on(journal.close());
        if found == "indexed" {
            fs::remove_file(directory.path().join("bench.db-index")).unwrap();
        }
    }
}

criterion_group!(benches, report, group_commit, load);
criterion_main!(benches);
