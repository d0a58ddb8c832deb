//! The writer without its thread, so that a test can take its database's room away, and give it back.

use std::{path::Path, slice::from_ref};

use rusqlite::Connection;

use super::{super::opening, *};
use crate::journal::{EntryId, Head, Row};

struct Bench {
    writer: Writer,
    bell: Bell,
    /// Keeps the bell's other end.
    _upkeep: JoinHandle<()>,
}

impl Bench {
    fn open(path: &Path) -> Self {
        let opened = opening::open(path, false).unwrap();
        let shared = Arc::new(Shared {
            recent: Arc::default(),
            mark: opened.mark,
            vitals: Arc::new(Vitals::new()),
            fold_wanted: false.into(),
            fold_ready: false.into(),
        });
        let (upkeep, bell) = upkeep::start(path, opened.index, Arc::clone(&shared)).unwrap();
        let writer = Writer::new(path, opened.journal, opened.tip, 512, shared).unwrap();
        Self { writer, bell, _upkeep: upkeep }
    }

    fn journal(&self) -> &Connection {
        &self.writer.journal
    }

    /// Several batches in one transaction.
    fn commit(&mut self, batches: &[&[Append]]) -> Vec<Vec<Outcome>> {
        let (works, replies): (Vec<Work>, Vec<_>) = batches
            .iter()
            .map(|batch| {
                let (reply, outcomes) = oneshot::channel();
                (Work { batch: (*batch).into(), reply }, outcomes)
            })
            .unzip();
        self.writer.answer(works, &self.bell);
        replies.into_iter().map(|mut outcomes| outcomes.try_recv().unwrap()).collect()
    }

    fn entries(&self) -> i64 {
        self.journal().query_row("SELECT count(*) FROM entry", [], |row| row.get(0)).unwrap()
    }
}

fn append(account: &str, head: Head, id: u64) -> Append {
    let row = Row {
        account: Account::new(account).unwrap(),
        head,
        is_snapshot: false,
        mentions: Vec::new(),
        body: format!("[{:?}]", "x".repeat(5000)),
    };
    Append::one(EntryId::new(id), row)
}

/// The head of the one chain that it extends.
fn head_after(append: &Append) -> Head {
    append.rows[0].next_head(append.id)
}

#[test]
fn a_full_database_rejects_the_whole_transaction_and_the_chains_go_on_as_they_were() {
    let directory = tempfile::tempdir().unwrap();
    let mut bench = Bench::open(&directory.path().join("a.db"));
    let first = append("ic_1", Head::default(), 1);
    assert!(matches!(bench.commit(&[from_ref(&first)])[0][0], Outcome::Durable { .. }));

    let pages: i64 = bench.journal().pragma_query_value(None, "page_count", |row| row.get(0)).unwrap();
    bench.journal().pragma_update_and_check(None, "max_page_count", pages + 3, |_| Ok(())).unwrap();
    let second = append("ic_1", head_after(&first), 2);
    let third = append("ic_1", head_after(&second), 3);
    let misfit = append("ic_1", Head { seq: 7, id: EntryId::new(7) }, 4);
    let others: Vec<Append> =
        (0..9).map(|n| append(&format!("ic_other{n}"), Head::default(), 10 + n)).collect();
    let outcomes = bench.commit(&[from_ref(&first), from_ref(&second), from_ref(&third), &others, &[misfit]]);
    assert!(matches!(outcomes[0][0], Outcome::Durable { .. }), "a repeat of what is in needs no room");
    assert_eq!(outcomes[1..3], [[Outcome::Rejected], [Outcome::Rejected]]);
    assert!(outcomes[3].iter().all(|outcome| *outcome == Outcome::Rejected));
    assert_eq!(outcomes[4], [Outcome::Rejected], "what it was held against did not come to be");
    assert_eq!(bench.entries(), 1);
    assert!(!bench.writer.shared.vitals.is_dead());

    bench.journal().pragma_update_and_check(None, "max_page_count", 1_000_000, |_| Ok(())).unwrap();
    let outcomes = bench.commit(&[&[second], &[third], &others]);
    assert!(outcomes.iter().flatten().all(|outcome| matches!(outcome, Outcome::Durable { .. })));
    assert_eq!(bench.entries(), 12);
}

#[test]
fn batches_that_wait_together_go_down_in_one_transaction() {
    let directory = tempfile::tempdir().unwrap();
    let mut bench = Bench::open(&directory.path().join("a.db"));
    let first = append("ic_1", Head::default(), 1);
    let second = append("ic_1", head_after(&first), 2);
    let outcomes = bench.commit(&[from_ref(&first), from_ref(&second), from_ref(&first), from_ref(&second)]);
    let Outcome::Durable { at } = outcomes[0][0] else { panic!("it fits") };
    assert_eq!(outcomes[1], [Outcome::Durable { at }], "behind what the same transaction writes");
    assert_eq!(outcomes[2], [Outcome::Conflict], "no longer the last of its chain");
    assert_eq!(outcomes[3], [Outcome::Durable { at }], "repeated while it is being written");
    assert_eq!(bench.entries(), 2);
}

#[test]
fn a_group_is_judged_as_a_whole_against_what_the_same_transaction_writes() {
    let directory = tempfile::tempdir().unwrap();
    let mut bench = Bench::open(&directory.path().join("a.db"));
    let rows = |appends: [&Append; 2]| appends.map(|append| append.rows[0].clone()).into_iter().collect();
    let [one, two] = ["ic_1", "ic_2"].map(|account| append(account, Head::default(), 7));
    let first = Append { id: EntryId::new(7), rows: rows([&one, &two]) };
    let [one, three] =
        [("ic_1", head_after(&one)), ("ic_3", Head::default())].map(|(of, head)| append(of, head, 8));
    let second = Append { id: EntryId::new(8), rows: rows([&one, &three]) };
    let stale = Append { id: EntryId::new(9), rows: rows([&append("ic_4", Head::default(), 9), &two]) };
    let last = append("ic_4", Head::default(), 10);
    let outcomes = bench.commit(&[
        from_ref(&first),
        from_ref(&second),
        from_ref(&stale),
        from_ref(&last),
        from_ref(&second),
        from_ref(&first),
    ]);
    let Outcome::Durable { at } = outcomes[0][0] else { panic!("it fits") };
    assert_eq!(outcomes[1], [Outcome::Durable { at }], "behind what the same transaction writes");
    assert_eq!(outcomes[2], [Outcome::Conflict], "one of its rows is too late");
    assert_eq!(outcomes[3], [Outcome::Durable { at }], "the other one of them is not there");
    assert_eq!(outcomes[4], [Outcome::Durable { at }], "repeated while it is being written");
    assert_eq!(outcomes[5], [Outcome::Conflict], "no longer the last of both its chains");
    assert_eq!(bench.entries(), 5);
}
