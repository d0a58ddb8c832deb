//! `kill -9` of a process that appends: whatever it had acknowledged is there, and nothing stands in the way of its
//! successor.

use std::{collections::HashMap, path::Path, sync::Arc, time::Duration};

use tollgate::{
    domain::Account,
    journal::{Committer, CommitterSettings, Head, Journal, OpenError, Reach, Urgency},
};

use super::{Writer, child, is_durable, open};

const ACCOUNTS: usize = 40;

/// Appends to forty accounts at once, each as fast as it is answered, until killed. Says every acknowledged entry.
async fn append_until_killed(path: &Path) {
    let journal = Arc::new(open(path).unwrap());
    let observer = Arc::new(|_: usize, _: Duration| {});
    let committer = Arc::new(Committer::new(journal.clone(), CommitterSettings::default(), observer));
    for n in 0..ACCOUNTS {
        let account = Account::new(&format!("ic_killed_{n}")).unwrap();
        let chain = journal.load(&account, Reach::Snapshot).await.unwrap();
        let head = chain.last().map(|last| Head { seq: last.seq, id: last.id }).unwrap_or_default();
        go_on(&committer, Writer { account, head });
    }
    std::future::pending::<()>().await;
}

fn go_on(committer: &Arc<Committer>, mut writer: Writer) {
    let append = writer.next(&format!("[{:?}]", "x".repeat(200)));
    let next = Arc::clone(committer);
    let done = move |outcome| {
        assert!(is_durable(outcome));
        child::say(&format!("{} {} {}", writer.account, writer.head.seq, writer.head.id.get()));
        go_on(&next, writer);
    };
    committer.submit(append, Urgency::Now, Box::new(done));
}

#[tokio::test]
async fn what_was_acknowledged_before_a_kill_is_there_after_it() {
    if let Some(path) = child::path() {
        append_until_killed(&path).await;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("killed.db");
    let mut acknowledged: HashMap<(Account, u64), u64> = HashMap::new();
    for round in 0..6 {
        let mut process = child::start(
            "journal::sqlite_crash::what_was_acknowledged_before_a_kill_is_there_after_it",
            &path,
            |child| child,
        );
        let mut lines = child::lines(&mut process);
        let mut note = |line: String| {
            let mut words = line.split(' ');
            let account = Account::new(words.next().unwrap()).unwrap();
            let mut number = || words.next().unwrap().parse::<u64>().unwrap();
            let (seq, id) = (number(), number());
            assert_eq!(acknowledged.insert((account, seq), id), None, "acknowledged twice");
        };
        // Killed at some other moment in each round.
        lines.by_ref().take(200 + 377 * round).for_each(&mut note);
        if round == 0 {
            assert!(matches!(open(&path), Err(OpenError::InUse { .. })), "another process has it");
        }
        process.kill().unwrap();
        lines.for_each(&mut note);
        process.wait().unwrap();

        let journal = open(&path).unwrap();
        let mut found: HashMap<(Account, u64), u64> = HashMap::new();
        for n in 0..ACCOUNTS {
            let account = Account::new(&format!("ic_killed_{n}")).unwrap();
            let chain = journal.load(&account, Reach::Genesis).await.unwrap();
            assert!(chain.iter().zip(1..).all(|(entry, seq)| entry.seq == seq));
            found.extend(chain.iter().map(|entry| ((account.clone(), entry.seq), entry.id.get())));
        }
        for (place, id) in &acknowledged {
            assert_eq!(found.get(place), Some(id), "{place:?} was acknowledged");
        }
        assert!(found.len() - acknowledged.len() <= ACCOUNTS * (round + 1), "more than was in flight");
        journal.close().await;
    }
    assert!(acknowledged.len() > 200 * 6);
}
