//! A journal in a file whose disk is full, whose files another process writes to, whose system calls fail.

use std::{path::Path, process::Command, sync::Arc, time::Duration};

use rusqlite::Connection;
use tollgate::{
    domain::Account,
    journal::{Committer, CommitterSettings, Journal, OpenError, Outcome, Reach, Urgency},
};

use super::{Writer, append_one, bodies, child, fill, is_durable, open};

#[tokio::test]
async fn a_write_lock_held_by_a_person_rejects_appends_until_it_is_let_go() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.db");
    let journal = open(&path).unwrap();
    let mut writer = Writer::new("locked");
    fill(&journal, &mut writer, 3).await;
    let shell = Connection::open(&path).unwrap();
    shell.execute_batch("BEGIN IMMEDIATE").unwrap();
    let known = writer.clone();
    assert_eq!(append_one(&journal, writer.next("[]")).await, Outcome::Rejected);
    shell.execute_batch("ROLLBACK").unwrap();
    writer = known;
    assert!(is_durable(append_one(&journal, writer.next("[]")).await));
    assert_eq!(bodies(&journal, &writer.account, Reach::Genesis).await.len(), 4);
    drop(shell);
    journal.close().await;
}

#[tokio::test]
async fn a_foreign_write_to_the_journal_kills_it_and_nothing_more_is_answered() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.db");
    let journal = open(&path).unwrap();
    let mut writer = Writer::new("foreign");
    fill(&journal, &mut writer, 3).await;
    let shell = Connection::open(&path).unwrap();
    shell
        .execute_batch("INSERT INTO entry SELECT 4, 'x', 1, 1, 0, 0, at, 0, '', '[]' FROM entry LIMIT 1")
        .unwrap();
    assert_eq!(append_one(&journal, writer.next("[]")).await, Outcome::Unknown);
    let fatal = journal.fatal().await.to_string();
    assert!(fatal.contains("cannot commit"), "{fatal}");
    assert_eq!(append_one(&journal, Writer::new("later").next("[]")).await, Outcome::Unknown);
    journal.close().await;
    // Its files are as they were, and what was answered is in them.
    drop(shell);
    let journal = open(&path).unwrap();
    assert_eq!(bodies(&journal, &writer.account, Reach::Genesis).await.len(), 3);
    journal.close().await;
}

/// Appends in the file `path` until an outcome is not durable; says what it knows, line by line.
async fn append_until_refused(path: &Path) {
    let journal = open(path).unwrap();
    let mut writer = Writer::new("refused");
    let body = format!("[{:?}]", "x".repeat(4000));
    loop {
        match append_one(&journal, writer.next(&body)).await {
            Outcome::Durable { .. } => child::say(&format!("durable {} {}", writer.account, writer.head.seq)),
            outcome => break child::say(&format!("refused {outcome:?}")),
        }
    }
    let known = writer.head.seq - 1;
    assert_eq!(bodies(&journal, &writer.account, Reach::Genesis).await.len() as u64, known, "reads go on");
    if let Ok(ballast) = std::fs::metadata(path.with_file_name("ballast")) {
        assert!(ballast.len() > 0);
        std::fs::remove_file(path.with_file_name("ballast")).unwrap();
        let mut other = Writer::new("refused_no_more");
        assert!(is_durable(append_one(&journal, other.next(&body)).await));
        child::say("recovered");
        journal.close().await;
        let journal = open(path).unwrap();
        assert_eq!(bodies(&journal, &writer.account, Reach::Genesis).await.len() as u64, known);
        assert_eq!(bodies(&journal, &other.account, Reach::Genesis).await.len(), 1);
        journal.close().await;
        child::say("reopened");
    } else {
        child::say(&journal.fatal().await.to_string());
    }
}

/// The child of the full disk below. Alone, it runs itself once more under a limit on file sizes, where writes fail.
#[tokio::test]
async fn appends_until_refused() {
    if let Some(path) = child::path() {
        append_until_refused(&path).await;
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let said = child::run(
        "journal::sqlite_faults::appends_until_refused",
        &directory.path().join("a.db"),
        |child| {
            let mut limited = Command::new("sh");
            limited.args(["-c", "trap '' XFSZ; ulimit -f 2000; exec \"$@\"", "sh"]).arg(child.get_program());
            limited.args(child.get_args());
            limited
        },
    );
    let durable = said.iter().filter(|line| line.starts_with("durable")).count();
    assert!(durable > 20, "{said:?}");
    assert!(said.contains(&"refused Unknown".to_owned()), "{said:?}");
    assert!(said.last().unwrap().contains("the journal has died: cannot commit"), "{said:?}");

    // Every acknowledged entry is there when the limit is gone.
    let (account, seq) = last_durable(&said);
    let journal = open(&directory.path().join("a.db")).unwrap();
    let there = bodies(&journal, &account, Reach::Genesis).await.len() as u64;
    assert!(there == seq || there == seq + 1, "{there} of {seq}");
    journal.close().await;
}

fn last_durable(said: &[String]) -> (Account, u64) {
    let last = said.iter().rev().find_map(|line| line.strip_prefix("durable ")).unwrap();
    let (account, seq) = last.split_once(' ').unwrap();
    (Account::new(account).unwrap(), seq.parse().unwrap())
}

#[tokio::test]
async fn a_full_disk_rejects_appends_until_there_is_room_again() {
    let directory = tempfile::tempdir().unwrap();
    let disk = directory.path().join("disk");
    std::fs::create_dir(&disk).unwrap();
    let mount = "mount -t tmpfs -o size=3m tmpfs \"$1\" && head -c 1000000 /dev/zero > \"$1/ballast\"";
    let in_namespace = |script: &str| {
        let mut shell = Command::new("unshare");
        shell.args(["--user", "--map-root-user", "--mount", "sh", "-c", script, "sh"]).arg(&disk);
        shell
    };
    let can_mount = in_namespace(mount).output().is_ok_and(|output| output.status.success());
    if !can_mount {
        println!("no small disk can be mounted here; the full database of the unit tests stands for it");
        return;
    }
    let said = child::run("journal::sqlite_faults::appends_until_refused", &disk.join("a.db"), |child| {
        let mut mounted = in_namespace(&format!("{mount} && shift && exec \"$@\""));
        mounted.arg(child.get_program()).args(child.get_args());
        mounted
    });
    assert!(said.iter().filter(|line| line.starts_with("durable")).count() > 20, "{said:?}");
    let after: Vec<&str> =
        said.iter().skip_while(|line| line.starts_with("durable")).map(String::as_str).collect();
    assert_eq!(after, ["refused Rejected", "recovered", "reopened"]);
}

#[tokio::test]
async fn the_log_is_folded_while_it_serves_and_the_index_keeps_up() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.db");
    let journal = Arc::new(open(&path).unwrap());
    let observer = Arc::new(|_: usize, _: Duration| {});
    let committer = Arc::new(Committer::new(journal.clone(), CommitterSettings::default(), observer));
    let mut writers: Vec<Writer> = (0..400).map(|n| Writer::new(&format!("folded{n}"))).collect();
    let spoken_of = super::mention("folded");
    let body = format!("[{:?}]", "x".repeat(900));
    // 40,000 entries, 36 MB: more than one generation of the index, and several times what starts a checkpoint.
    for round in 0..100 {
        for writer in &mut writers {
            let mut append = writer.next(&body);
            if round == 3 {
                append.rows[0].mentions = vec![spoken_of.clone()];
            }
            committer.submit(append, Urgency::Now, Box::new(|outcome| assert!(is_durable(outcome))));
        }
        committer.flush().await;
    }
    let folded_bytes = std::fs::metadata(&path).unwrap().len();
    assert!(folded_bytes > 6 * 1024 * 1024, "upkeep folded while it served: {folded_bytes}");
    assert_eq!(journal.find(&spoken_of).await.unwrap().len(), 400);
    for writer in &writers {
        assert_eq!(bodies(&*journal, &writer.account, Reach::Genesis).await.len(), 100);
    }
    committer.close().await;
    let refusal = open(&path).err().unwrap();
    assert!(matches!(refusal, OpenError::InUse { .. }));
    journal.close().await;
}
