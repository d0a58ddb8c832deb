//! The journal: one suite that every implementation runs, and what only a file has to survive.

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
    reason = "a test that is wrong shall stop"
)]

pub(crate) mod child;
mod groups;
mod conformance;

mod committer;
mod urgency;
mod random;
mod sqlite_reopening;
mod sqlite_backup;
mod sqlite_faults;
mod sqlite_crash;
mod postgres;

use std::{path::Path, sync::Arc};

use tempfile::TempDir;
use tollgate::{
    domain::{Account, Mention},
    journal::{
        Append, Entry, EntryId, Faulty, Head, Journal, Memory, OpenError, Outcome, Postgres, Reach, Row,
        Script, Sqlite,
    },
};

use crate::postgres::Server;

/// A writer of one account that knows where its chain ends.
#[derive(Clone)]
pub(crate) struct Writer {
    pub(crate) account: Account,
    pub(crate) head: Head,
}

impl Writer {
    /// Of a new account, so that suites can share a database.
    pub(crate) fn new(name: &str) -> Self {
        let account = Account::new(&format!("ic_{name}_{:016x}", fastrand::u64(..))).unwrap();
        Self { account, head: Head::default() }
    }

    /// The next append, which the writer takes for written.
    pub(crate) fn next(&mut self, body: &str) -> Append {
        group([self], body)
    }

    fn row(&mut self, id: EntryId, body: &str) -> Row {
        let (account, head) = (self.account.clone(), self.head);
        self.head = Head { seq: head.seq.saturating_add(1), id };
        Row { account, head, is_snapshot: false, mentions: Vec::new(), body: body.into() }
    }
}

/// The next append of all these writers together, which they take for written.
pub(crate) fn group<'a>(writers: impl IntoIterator<Item = &'a mut Writer>, body: &str) -> Append {
    let id = EntryId::new(fastrand::u64(1..));
    Append { id, rows: writers.into_iter().map(|writer| writer.row(id, body)).collect() }
}

/// Something of its own that entries speak of.
pub(crate) fn mention(name: &str) -> Mention {
    Mention::new(&format!("iauth_{name}_{:016x}", fastrand::u64(..))).unwrap()
}

pub(crate) async fn append(journal: &dyn Journal, batch: impl IntoIterator<Item = Append>) -> Vec<Outcome> {
    journal.append(batch.into_iter().collect()).await
}

pub(crate) async fn append_one(journal: &dyn Journal, one: Append) -> Outcome {
    let outcomes = append(journal, [one]).await;
    assert_eq!(outcomes.len(), 1);
    outcomes[0]
}

pub(crate) fn is_durable(outcome: Outcome) -> bool {
    matches!(outcome, Outcome::Durable { .. })
}

pub(crate) async fn bodies(journal: &dyn Journal, account: &Account, reach: Reach) -> Vec<String> {
    journal.load(account, reach).await.unwrap().into_iter().map(|entry| entry.body).collect()
}

/// Everything, in order.
pub(crate) async fn all(journal: &dyn Journal) -> Vec<Entry> {
    journal.scan(0, usize::MAX).await.unwrap()
}

pub(crate) fn open(path: &Path) -> Result<Sqlite, OpenError> {
    Sqlite::open(path, 512, false)
}

/// Appends so many entries, and gives their bodies with the writer that wrote them.
pub(crate) async fn fill(journal: &dyn Journal, writer: &mut Writer, entries: usize) -> Vec<String> {
    let mut written = Vec::new();
    for _ in 0..entries {
        let body = format!("[{:?}]", format!("{:0300}", fastrand::u64(..)));
        assert!(is_durable(append_one(journal, writer.next(&body)).await));
        written.push(body);
    }
    written
}

type Named = (&'static str, Arc<dyn Journal>);

/// Every implementation, with a name for messages. What they are kept in goes when it is dropped.
async fn implementations() -> ((TempDir, Option<Server>), Vec<Named>) {
    let directory = tempfile::tempdir().unwrap();
    let sqlite = |name: &str| Arc::new(open(&directory.path().join(name)).unwrap());
    let mut all: Vec<Named> = vec![
        ("memory", Arc::new(Memory::new())),
        ("sqlite", sqlite("a.db")),
        ("faulty memory", Arc::new(Faulty::new(Arc::new(Memory::new()), Script::default()))),
        ("faulty sqlite", Arc::new(Faulty::new(sqlite("b.db"), Script::default()))),
    ];
    let server = Server::start().await;
    if let Some(server) = &server {
        all.push(("postgres", Arc::new(Postgres::open(&server.url()).await.unwrap())));
    }
    ((directory, server), all)
}

#[tokio::test]
async fn every_implementation_keeps_the_contract() {
    let (_kept, journals) = implementations().await;
    for (name, journal) in journals {
        println!("{name}");
        conformance::check(Arc::clone(&journal)).await;
        groups::check(Arc::clone(&journal)).await;
        journal.close().await;
    }
}

#[tokio::test]
async fn every_implementation_answers_a_repeated_last_entry_with_its_first_time() {
    let (_kept, journals) = implementations().await;
    for (name, journal) in journals {
        let mut writer = Writer::new("repeated");
        let first = writer.next("[1]");
        let outcome = append_one(&*journal, first.clone()).await;
        assert!(is_durable(outcome), "{name}");
        append_one(&*journal, Writer::new("another").next("[]")).await;
        assert_eq!(append_one(&*journal, first).await, outcome, "{name}");
        journal.close().await;
    }
}

#[tokio::test]
async fn a_closed_journal_refuses_everything() {
    let (_kept, journals) = implementations().await;
    for (name, journal) in journals {
        let mut writer = Writer::new("closed");
        assert!(is_durable(append_one(&*journal, writer.next("[]")).await), "{name}");
        journal.close().await;
        journal.close().await;
        assert_eq!(append_one(&*journal, writer.next("[]")).await, Outcome::Rejected, "{name}");
        assert!(journal.load(&writer.account, Reach::Genesis).await.is_err(), "{name}");
        assert!(journal.scan(0, 1).await.is_err(), "{name}");
    }
}

#[tokio::test]
async fn appends_that_meet_a_close_are_definite() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.db");
    let journal = Arc::new(open(&path).unwrap());
    let writers: Vec<Writer> = (0..200).map(|n| Writer::new(&format!("meets{n}"))).collect();
    let appends: Vec<_> = writers
        .iter()
        .map(|writer| {
            let (journal, mut writer) = (Arc::clone(&journal), writer.clone());
            tokio::spawn(async move { append_one(&*journal, writer.next("[]")).await })
        })
        .collect();
    tokio::task::yield_now().await;
    journal.close().await;
    let mut outcomes = Vec::new();
    for append in appends {
        outcomes.push(append.await.unwrap());
    }
    let journal = open(&path).unwrap();
    for (writer, outcome) in writers.iter().zip(outcomes) {
        let written = bodies(&journal, &writer.account, Reach::Genesis).await.len();
        match outcome {
            Outcome::Durable { .. } => assert_eq!(written, 1),
            outcome => assert_eq!((outcome, written), (Outcome::Rejected, 0)),
        }
    }
    journal.close().await;
}
