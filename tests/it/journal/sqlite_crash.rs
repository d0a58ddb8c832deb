//! `kill -9` of a process that appends, and images of its files: whatever it had acknowledged is there, of no group only a
//! part, and nothing stands in the way of its successor.

use std::{
    collections::{BTreeSet, HashMap},
    fs,
    path::Path,
    sync::Arc,
    time::Duration,
};

use tollgate::{
    domain::Account,
    journal::{Committer, CommitterSettings, EntryId, Head, Journal, OpenError, Reach, Sqlite, Urgency},
};

use super::{Writer, append_one, child, group, is_durable, open};

const ACCOUNTS: usize = 40;

/// Appends to forty accounts at once, two of them in each group, each as fast as it is answered, until killed. Says every
/// acknowledged entry.
async fn append_until_killed(path: &Path) {
    let journal = Arc::new(open(path).unwrap());
    let observer = Arc::new(|_: usize, _: Duration| {});
    let committer = Arc::new(Committer::new(journal.clone(), CommitterSettings::default(), observer));
    for pair in 0..ACCOUNTS / 2 {
        let mut writers =
            [2 * pair, 2 * pair + 1].map(|n| Writer { account: account(n), head: Head::default() });
        for writer in &mut writers {
            let chain = journal.load(&writer.account, Reach::Snapshot).await.unwrap();
            writer.head = chain.last().map(|last| Head { seq: last.seq, id: last.id }).unwrap_or_default();
        }
        go_on(&committer, writers);
    }
    std::future::pending::<()>().await;
}

fn account(n: usize) -> Account {
    Account::new(&format!("ic_killed_{n}")).unwrap()
}

fn go_on(committer: &Arc<Committer>, mut writers: [Writer; 2]) {
    let append = group(&mut writers, &format!("[{:?}]", "x".repeat(200)));
    let next = Arc::clone(committer);
    let done = move |outcome| {
        assert!(is_durable(outcome));
        for writer in &writers {
            child::say(&format!("{} {} {}", writer.account, writer.head.seq, writer.head.id.get()));
        }
        go_on(&next, writers);
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
        let mut partner = Vec::new();
        for n in 0..ACCOUNTS {
            let account = account(n);
            let chain = journal.load(&account, Reach::Genesis).await.unwrap();
            assert!(chain.iter().zip(1..).all(|(entry, seq)| entry.seq == seq));
            let ids: Vec<EntryId> = chain.iter().map(|entry| entry.id).collect();
            if n % 2 == 1 {
                assert_eq!(ids, partner, "both rows of every group are there, or none");
            }
            partner = ids;
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

#[tokio::test]
async fn an_image_whose_log_ends_anywhere_has_every_group_as_a_whole_or_not_at_all() {
    const FILES: [&str; 3] = ["", "-wal", "-mark"];
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, suffix: &str| directory.path().join(format!("{name}{suffix}"));
    // The tables are in the database itself, and all groups in the log.
    let live = file("live.db", "");
    open(&live).unwrap().close().await;
    let journal = open(&live).unwrap();
    let mut writers = ["a", "b", "c"].map(|name| Writer::new(&format!("image_{name}")));
    let mut groups = Vec::new();
    for _ in 0..12 {
        // Three rows of this length do not fit into one page, nor into one frame of the log.
        let one = group(&mut writers, &format!("[{:?}]", "x".repeat(3000)));
        groups.push(one.id);
        assert!(is_durable(append_one(&journal, one).await));
    }
    let image = FILES.map(|suffix| fs::read(file("live.db", suffix)).unwrap());
    journal.close().await;

    let log_bytes = image[1].len();
    let mut lengths = BTreeSet::new();
    for end in (0..log_bytes).step_by(5003).chain([log_bytes]) {
        let cut = format!("cut-{end}.db");
        for (suffix, bytes) in FILES.iter().zip(&image) {
            let bytes = if *suffix == "-wal" { &bytes[..end] } else { &bytes[..] };
            fs::write(file(&cut, suffix), bytes).unwrap();
        }
        let journal = Sqlite::open(&file(&cut, ""), 512, true).unwrap();
        for writer in &writers {
            let chain = journal.load(&writer.account, Reach::Genesis).await.unwrap();
            let ids: Vec<EntryId> = chain.iter().map(|entry| entry.id).collect();
            assert_eq!(ids, groups[..ids.len()]);
            lengths.insert((end, ids.len()));
        }
        journal.close().await;
    }
    let ends: BTreeSet<usize> = lengths.iter().map(|(end, _)| *end).collect();
    assert_eq!(lengths.len(), ends.len(), "three chains of the same length in every image");
    let lengths: BTreeSet<usize> = lengths.into_iter().map(|(_, length)| length).collect();
    assert_eq!(lengths, (0..=12).collect(), "the log was cut behind each group");
}
