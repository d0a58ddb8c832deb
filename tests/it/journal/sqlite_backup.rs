//! A copy of a running journal, as docs/journal-format.md says to make one: it ends although entries go on being written, and
//! has everything that was durable before it began.

use std::{
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
};

use rusqlite::Connection;
use tollgate::{
    clock,
    journal::{Journal as _, Reach, Sqlite},
};

use super::{Writer, append_one, bodies, fill, is_durable, open};
use crate::process::within;

/// What an operator has after some months: 100 MB.
const ACCOUNTS: usize = 25;
const ENTRIES_EACH: usize = 4;
const ENTRY_BYTES: usize = 1_000_000;

/// Runs the documented command, from another process' point of view: over a connection of its own.
fn copy(from: &Path, to: &Path) {
    let command = format!("VACUUM INTO '{}'", to.display());
    Connection::open(from).unwrap().execute_batch(&command).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_of_100_mb_ends_while_entries_are_written_and_has_all_from_before() {
    let directory = tempfile::tempdir().unwrap();
    let (path, copied) = (directory.path().join("tollgate.db"), directory.path().join("copy.db"));
    let journal = open(&path).unwrap();
    let body = format!("[\"{}\"]", "x".repeat(ENTRY_BYTES));
    let mut writers: Vec<Writer> = (0..ACCOUNTS).map(|n| Writer::new(&format!("before_{n}"))).collect();
    for _ in 0..ENTRIES_EACH {
        let batch: Vec<_> = writers.iter_mut().map(|writer| writer.next(&body)).collect();
        assert!(journal.append(batch.into()).await.into_iter().all(is_durable));
    }

    let is_copied = AtomicBool::new(false);
    let mut busy = Writer::new("meanwhile");
    let copying = async {
        let (from, to) = (path.clone(), copied.clone());
        let started = clock::instant();
        tokio::task::spawn_blocking(move || copy(&from, &to)).await.unwrap();
        println!("copied in {:?}", clock::instant().duration_since(started));
        is_copied.store(true, Ordering::SeqCst);
    };
    let writing = async {
        let mut written = 0;
        while !is_copied.load(Ordering::SeqCst) {
            written += fill(&journal, &mut busy, 1).await.len();
        }
        written
    };
    let (written, ()) = within("the copy ends", async { tokio::join!(writing, copying) }).await;
    assert!(written > 0, "nothing was written meanwhile");
    assert_eq!(bodies(&journal, &busy.account, Reach::Genesis).await.len(), written, "nothing is lost");
    journal.close().await;

    let copy = Sqlite::open(&copied, 512, true).unwrap();
    for writer in &writers {
        assert!(bodies(&copy, &writer.account, Reach::Genesis).await == vec![body.clone(); ENTRIES_EACH]);
    }
    assert!(bodies(&copy, &busy.account, Reach::Genesis).await.len() <= written);
    assert!(is_durable(append_one(&copy, writers[0].next("[]")).await), "it goes on from there");
    copy.close().await;
}
