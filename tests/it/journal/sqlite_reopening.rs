//! What a journal in a file is found to be when it is opened again: after an orderly end, after a crash, after its files
//! were lost, cut, spoilt, mixed up or put back. A crash is an image of the files taken while the journal is open.

use std::{
    fs,
    path::{Path, PathBuf},
};

use rusqlite::Connection;
use tollgate::journal::{Finding, Journal, OpenError, Outcome, Reach, Sqlite};

use super::{Writer, all, append_one, bodies, fill, is_durable, mention, open};

const FILES: [&str; 4] = ["", "-wal", "-mark", "-index"];

/// A directory with room for journals.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    PathBuf::from(format!("{}{suffix}", path.display()))
}

/// Copies those files of a journal that exist, as a crash would leave them.
fn image(from: &Path, to: &Path, suffixes: &[&str]) {
    for suffix in suffixes {
        if beside(from, suffix).exists() {
            fs::copy(beside(from, suffix), beside(to, suffix)).unwrap();
        }
    }
}

fn forget(path: &Path, suffixes: &[&str]) {
    for suffix in suffixes {
        // What is not there is forgotten already.
        let _ = fs::remove_file(beside(path, suffix));
    }
}

#[track_caller]
fn finding(path: &Path) -> Finding {
    match open(path) {
        Err(refusal @ OpenError::Loss { .. }) => {
            assert!(refusal.to_string().contains("--accept-journal-loss"), "{refusal}");
            let OpenError::Loss { finding, .. } = refusal else { unreachable!() };
            finding
        }
        Err(other) => panic!("refused for another reason: {other}"),
        Ok(_) => panic!("it was opened"),
    }
}

fn accept(path: &Path) -> Sqlite {
    Sqlite::open(path, 512, true).unwrap()
}

#[tokio::test]
async fn an_orderly_end_leaves_one_file_with_everything_in_it() {
    let place = Place::new();
    let path = place.path("deep/down/tollgate.db");
    let mut writer = Writer::new("orderly");
    let journal = open(&path).unwrap();
    let mut written = fill(&journal, &mut writer, 100).await;
    journal.close().await;
    assert!(!beside(&path, "-wal").exists());
    for _ in 0..3 {
        let journal = open(&path).unwrap();
        assert_eq!(bodies(&journal, &writer.account, Reach::Genesis).await, written);
        written.extend(fill(&journal, &mut writer, 3).await);
        journal.close().await;
    }
}

#[tokio::test]
async fn a_crash_loses_nothing() {
    let place = Place::new();
    let (path, crashed) = (place.path("a.db"), place.path("b.db"));
    let journal = open(&path).unwrap();
    let mut writer = Writer::new("crash");
    let spoken_of = mention("crash");
    let mut one = writer.next("[0]");
    one.rows[0].mentions = vec![spoken_of.clone()];
    append_one(&journal, one.clone()).await;
    let mut written = vec!["[0]".to_owned()];
    written.extend(fill(&journal, &mut writer, 50).await);
    image(&path, &crashed, &FILES);

    let journal = open(&crashed).unwrap();
    assert_eq!(bodies(&journal, &writer.account, Reach::Genesis).await, written);
    assert_eq!(journal.find(&spoken_of).await.unwrap().len(), 1);
    assert_eq!(append_one(&journal, one).await, Outcome::Conflict);
    assert!(is_durable(append_one(&journal, writer.next("[1]")).await));
    journal.close().await;
}

#[tokio::test]
async fn the_index_is_made_again_when_it_is_lost_spoilt_or_anothers() {
    let place = Place::new();
    let (path, other) = (place.path("a.db"), place.path("other.db"));
    let journal = open(&other).unwrap();
    fill(&journal, &mut Writer::new("other"), 10).await;
    journal.close().await;

    let journal = open(&path).unwrap();
    let (mut writer, spoken_of) = (Writer::new("index"), mention("index"));
    let mut one = writer.next("[0]");
    one.rows[0].mentions = vec![mention("before"), spoken_of.clone()];
    append_one(&journal, one).await;
    fill(&journal, &mut writer, 20).await;
    journal.close().await;

    let index = beside(&path, "-index");
    let spoil: [&dyn Fn(); 4] = [
        &|| fs::remove_file(&index).unwrap(),
        &|| fs::write(&index, b"this is no database, and is longer than a header would be").unwrap(),
        &|| assert!(fs::copy(beside(&other, "-index"), &index).unwrap() > 0),
        &|| {
            let foreign = Connection::open(&index).unwrap();
            foreign.execute_batch("UPDATE about SET format = 999").unwrap();
        },
    ];
    for (n, spoil) in spoil.into_iter().enumerate() {
        spoil();
        let journal = open(&path).unwrap();
        assert_eq!(bodies(&journal, &writer.account, Reach::Genesis).await.len(), 21 + n);
        assert_eq!(journal.find(&spoken_of).await.unwrap().len(), 1);
        assert!(is_durable(append_one(&journal, writer.next("[]")).await));
        journal.close().await;
    }
}

#[tokio::test]
async fn an_index_that_lags_behind_catches_up() {
    let place = Place::new();
    let (path, kept) = (place.path("a.db"), place.path("kept.db"));
    let (mut writer, mut later) = (Writer::new("lags"), Writer::new("later"));
    let journal = open(&path).unwrap();
    fill(&journal, &mut writer, 10).await;
    journal.close().await;
    image(&path, &kept, &["-index"]);

    let journal = open(&path).unwrap();
    fill(&journal, &mut writer, 5).await;
    fill(&journal, &mut later, 5).await;
    journal.close().await;
    image(&kept, &path, &["-index"]);

    let journal = open(&path).unwrap();
    assert_eq!(bodies(&journal, &writer.account, Reach::Genesis).await.len(), 15);
    assert_eq!(bodies(&journal, &later.account, Reach::Genesis).await.len(), 5);
    assert!(is_durable(append_one(&journal, writer.next("[]")).await));
    assert!(is_durable(append_one(&journal, later.next("[]")).await));
    journal.close().await;
}

/// A journal as a crash leaves it, with 30 entries of which most are in the write-ahead log only.
async fn crashed(place: &Place) -> (PathBuf, Writer, Vec<String>) {
    let (path, crashed) = (place.path("live.db"), place.path("crashed.db"));
    let mut writer = Writer::new("cut");
    let journal = open(&path).unwrap();
    let mut written = fill(&journal, &mut writer, 10).await;
    journal.close().await;
    let journal = open(&path).unwrap();
    written.extend(fill(&journal, &mut writer, 20).await);
    image(&path, &crashed, &FILES);
    journal.close().await;
    (crashed, writer, written)
}

#[tokio::test]
async fn a_cut_tail_is_refused_unchanged_and_accepted_when_told() {
    let place = Place::new();
    let (path, mut writer, written) = crashed(&place).await;
    let wal = beside(&path, "-wal");
    let whole = fs::read(&wal).unwrap();
    fs::write(&wal, &whole[..whole.len() / 2]).unwrap();

    let Finding::EndsEarly { found, expected } = finding(&path) else { panic!("another finding") };
    assert_eq!(expected, 30);
    assert!((10..30).contains(&found), "{found}");
    assert_eq!(fs::read(&wal).unwrap(), whole[..whole.len() / 2], "what is left is left as it was");

    // The rest was found again.
    fs::write(&wal, &whole).unwrap();
    let journal = open(&path).unwrap();
    assert_eq!(bodies(&journal, &writer.account, Reach::Genesis).await, written);
    journal.close().await;

    // It was not.
    let place = Place::new();
    let (path, ..) = crashed_again(&place, &mut writer).await;
    let wal = beside(&path, "-wal");
    let whole = fs::read(&wal).unwrap();
    fs::write(&wal, &whole[..whole.len() / 2]).unwrap();
    let journal = accept(&path);
    let left = journal.load(&writer.account, Reach::Genesis).await.unwrap();
    assert_eq!(left.len() as u64, all(&journal).await.len() as u64);
    assert!(left.len() < 30);
    assert_eq!(append_one(&journal, writer.next("[]")).await, Outcome::Conflict);
    writer.head = left.last().map(|entry| tollgate::journal::Head { seq: entry.seq, id: entry.id }).unwrap();
    assert!(is_durable(append_one(&journal, writer.next("[]")).await));
    journal.close().await;
    let journal = open(&path).expect("what was accepted once is the truth from then on");
    assert_eq!(bodies(&journal, &writer.account, Reach::Genesis).await.len(), left.len() + 1);
    journal.close().await;
}

async fn crashed_again(place: &Place, writer: &mut Writer) -> (PathBuf, Vec<String>) {
    let (path, again, written) = crashed(place).await;
    *writer = again;
    (path, written)
}

#[tokio::test]
async fn damage_anywhere_in_the_log_is_refused() {
    let place = Place::new();
    let (path, ..) = crashed(&place).await;
    let pristine = place.path("pristine.db");
    image(&path, &pristine, &FILES);
    let wal = beside(&path, "-wal");
    let whole = fs::read(&wal).unwrap();
    for at in (40..whole.len()).step_by(whole.len() / 23) {
        forget(&path, &["", "-wal", "-shm", "-mark", "-index"]);
        image(&pristine, &path, &FILES);
        let mut damaged = whole.clone();
        damaged[at] ^= 0x40;
        fs::write(&wal, &damaged).unwrap();
        let finding = finding(&path);
        assert!(matches!(finding, Finding::EndsEarly { expected: 30, .. }), "at {at}: {finding}");
    }
}

#[tokio::test]
async fn an_older_copy_is_refused_until_it_is_accepted() {
    let place = Place::new();
    let (path, kept) = (place.path("a.db"), place.path("kept.db"));
    let mut writer = Writer::new("older");
    let journal = open(&path).unwrap();
    fill(&journal, &mut writer, 10).await;
    journal.close().await;
    image(&path, &kept, &[""]);
    let journal = open(&path).unwrap();
    fill(&journal, &mut writer, 10).await;
    fill(&journal, &mut Writer::new("newer"), 10).await;
    journal.close().await;
    image(&kept, &path, &[""]);

    assert_eq!(finding(&path), Finding::EndsEarly { found: 10, expected: 30 });
    let journal = accept(&path);
    let left = journal.load(&writer.account, Reach::Genesis).await.unwrap();
    assert_eq!(left.len(), 10);
    let last = left.last().unwrap();
    writer.head = tollgate::journal::Head { seq: last.seq, id: last.id };
    fill(&journal, &mut writer, 5).await;
    journal.close().await;
    let journal = open(&path).unwrap();
    assert_eq!(all(&journal).await.len(), 15);
    journal.close().await;
}

#[tokio::test]
async fn another_history_under_the_same_numbers_is_refused() {
    let place = Place::new();
    let (path, fork) = (place.path("a.db"), place.path("fork.db"));
    let mut writer = Writer::new("forked");
    let journal = open(&path).unwrap();
    fill(&journal, &mut writer, 10).await;
    journal.close().await;
    image(&path, &fork, &["", "-mark"]);
    let mut forked = writer.clone();
    for (path, writer) in [(&path, &mut writer), (&fork, &mut forked)] {
        let journal = open(path).unwrap();
        fill(&journal, writer, 5).await;
        journal.close().await;
    }
    image(&fork, &path, &[""]);
    assert_eq!(finding(&path), Finding::Differs { lsn: 15 });
    let journal = accept(&path);
    assert!(is_durable(append_one(&journal, forked.next("[]")).await), "the fork is the truth now");
    journal.close().await;
}

#[tokio::test]
async fn a_journal_without_its_own_mark_is_refused() {
    let place = Place::new();
    let (path, other) = (place.path("a.db"), place.path("other.db"));
    for path in [&path, &other] {
        let journal = open(path).unwrap();
        fill(&journal, &mut Writer::new("marked"), 7).await;
        journal.close().await;
    }
    let mark = fs::read(beside(&path, "-mark")).unwrap();
    forget(&path, &["-mark"]);
    assert_eq!(finding(&path), Finding::MarkMissing { found: 7 });
    assert_eq!(finding(&path), Finding::MarkMissing { found: 7 }, "and stays refused");
    fs::write(beside(&path, "-mark"), vec![0; 8192]).unwrap();
    assert_eq!(finding(&path), Finding::MarkMissing { found: 7 });
    image(&other, &path, &["-mark"]);
    assert_eq!(finding(&path), Finding::MarkOfAnother);
    fs::write(beside(&path, "-mark"), mark).unwrap();
    open(&path).unwrap().close().await;

    // The database alone, as a backup has it.
    let restored = place.path("restored.db");
    image(&path, &restored, &[""]);
    assert_eq!(finding(&restored), Finding::MarkMissing { found: 7 });
    accept(&restored).close().await;
    let journal = open(&restored).unwrap();
    assert_eq!(all(&journal).await.len(), 7);
    journal.close().await;
}

#[tokio::test]
async fn a_missing_database_is_refused_and_not_put_in_place_of_itself() {
    let place = Place::new();
    let path = place.path("a.db");
    let journal = open(&path).unwrap();
    fill(&journal, &mut Writer::new("gone"), 7).await;
    journal.close().await;
    let away = place.path("away.db");
    fs::rename(&path, &away).unwrap();
    assert_eq!(finding(&path), Finding::EndsEarly { found: 0, expected: 7 });
    assert!(!path.exists());
    fs::rename(&away, &path).unwrap();
    let journal = open(&path).unwrap();
    assert_eq!(all(&journal).await.len(), 7);
    journal.close().await;
    forget(&path, &[""]);
    let journal = accept(&path);
    assert!(all(&journal).await.is_empty());
    journal.close().await;
}

#[tokio::test]
async fn an_empty_journal_needs_no_mark() {
    let place = Place::new();
    let path = place.path("a.db");
    open(&path).unwrap().close().await;
    forget(&path, &["-mark"]);
    open(&path).unwrap().close().await;
    forget(&path, &[""]);
    open(&path).unwrap().close().await;
}

#[tokio::test]
async fn missing_and_changed_entries_are_refused() {
    let check = async |change: &str, wanted: Finding| {
        let place = Place::new();
        let (path, ..) = crashed(&place).await;
        Connection::open(&path).unwrap().execute_batch(change).unwrap();
        assert_eq!(finding(&path), wanted, "{change}");
    };
    check("DELETE FROM entry WHERE lsn = 20", Finding::Gap { missing: 20 }).await;
    check("DELETE FROM entry WHERE lsn = 30", Finding::EndsEarly { found: 29, expected: 30 }).await;
    check("UPDATE entry SET body = '[]' WHERE lsn = 20", Finding::Differs { lsn: 30 }).await;
    check("UPDATE entry SET at = at + 1 WHERE lsn = 30", Finding::Differs { lsn: 30 }).await;
    check("UPDATE entry SET is_snapshot = 1 WHERE lsn = 11", Finding::Differs { lsn: 30 }).await;
}

#[tokio::test]
async fn a_journal_serves_one_process_at_a_time() {
    let place = Place::new();
    let path = place.path("a.db");
    let journal = open(&path).unwrap();
    let refusal = open(&path).err().unwrap();
    assert!(matches!(refusal, OpenError::InUse { .. }), "{refusal}");
    assert!(refusal.to_string().contains("another process"), "{refusal}");
    journal.close().await;
    open(&path).unwrap().close().await;
}

#[tokio::test]
async fn what_is_no_journal_is_left_alone() {
    let place = Place::new();
    let text = place.path("text.db");
    fs::write(&text, "not a database at all, but a text that is longer than the header of one would be")
        .unwrap();
    let foreign = place.path("foreign.db");
    Connection::open(&foreign).unwrap().execute_batch("CREATE TABLE customers (name TEXT)").unwrap();
    let later = place.path("later.db");
    open(&later).unwrap().close().await;
    Connection::open(&later).unwrap().execute_batch("UPDATE journal SET format = 2").unwrap();
    for path in [text, foreign, later] {
        let before = fs::read(&path).unwrap();
        for accept in [false, true] {
            let refusal = Sqlite::open(&path, 512, accept).err().unwrap();
            assert!(matches!(refusal, OpenError::NotAJournal { .. }), "{refusal}");
            assert!(refusal.to_string().contains(path.to_str().unwrap()), "{refusal}");
        }
        assert_eq!(fs::read(&path).unwrap(), before);
    }
}

#[tokio::test]
async fn a_place_that_cannot_be_written_is_refused_with_its_name() {
    let place = Place::new();
    fs::write(place.path("file"), "").unwrap();
    // Not even root can make a file in the last two.
    let places = [place.path("file/a.db"), "/sys/tollgate.db".into(), "/proc/tollgate/a.db".into()];
    for path in places {
        let refusal = open(&path).err().unwrap();
        assert!(matches!(refusal, OpenError::Storage { .. }), "{refusal}");
        assert!(refusal.to_string().contains("can be written"), "{refusal}");
    }
}

#[tokio::test]
async fn people_can_query_decisions_while_it_serves() {
    let place = Place::new();
    let path = place.path("a.db");
    let journal = open(&path).unwrap();
    let mut writer = Writer::new("queried");
    append_one(&journal, writer.next(r#"[1,{"decided":{"asked":500}},{"observed":{"type":"x"}}]"#)).await;
    append_one(&journal, writer.next(r#"[1,{"snapshot":{"version":3}},{"stood_in":{"asked":7}}]"#)).await;
    let shell = Connection::open(&path).unwrap();
    let rows = |sql: &str| -> Vec<(i64, String, i64, String, i64)> {
        let mut query = shell.prepare(sql).unwrap();
        let row =
            |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?));
        query.query_map([], row).unwrap().map(Result::unwrap).collect()
    };
    let account = writer.account.as_str().to_owned();
    let wanted = vec![
        (1, account.clone(), 1, "policy".to_owned(), 500),
        (2, account.clone(), 2, "stand_in".to_owned(), 7),
    ];
    assert_eq!(rows("SELECT lsn, card, seq, source, asked FROM decisions ORDER BY lsn"), wanted);
    let at: String = shell.query_row("SELECT min(at) FROM events", [], |row| row.get(0)).unwrap();
    assert!(tollgate::domain::Timestamp::parse(&at).is_some(), "{at}");
    let kinds: i64 =
        shell.query_row("SELECT count(DISTINCT kind) FROM events", [], |row| row.get(0)).unwrap();
    assert_eq!(kinds, 4);
    drop(shell);
    journal.close().await;
}
