//! A synchronous standby, there and away: nothing is told before it has it, whoever cancels the waiting.

use std::{sync::Arc, time::Duration};

use tokio::task::JoinHandle;
use tollgate::journal::{
    Append, Entry, Journal, Outcome, Postgres, Reach, Unavailable,
    postgres::{Options, Session},
};

use super::{super::Writer, number, session};
use crate::{
    journal::{append_one, is_durable},
    postgres::{Server, Stop},
    process::within,
};

struct Pair {
    primary: Server,
    standby: Server,
    control: Session,
    journal: Arc<Postgres>,
}

impl Pair {
    /// A primary, and a standby without which nothing is durable.
    async fn start() -> Option<Self> {
        let primary = Server::start().await?;
        let standby = primary.standby("second").await;
        let journal = Arc::new(Postgres::open(&primary.url()).await.unwrap());
        primary.configure("synchronous_standby_names = 'second'");
        primary.reload();
        let pair = Self { control: session(&primary).await, primary, standby, journal };
        pair.until("SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'", 1).await;
        Some(pair)
    }

    async fn until(&self, sql: &str, wanted: i64) {
        within(sql, async { while number(&self.control, sql).await != wanted {} }).await;
    }

    /// How many backends wait for the standby.
    async fn until_waiting(&self, backends: i64) {
        self.until("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'", backends).await;
    }

    fn append(&self, append: &Append) -> JoinHandle<Outcome> {
        let (journal, append) = (Arc::clone(&self.journal), append.clone());
        tokio::spawn(async move { append_one(&*journal, append).await })
    }

    fn load(&self, writer: &Writer) -> JoinHandle<Result<Vec<Entry>, Unavailable>> {
        let (journal, account) = (Arc::clone(&self.journal), writer.account.clone());
        tokio::spawn(async move { journal.load(&account, Reach::Genesis).await })
    }

    /// What everybody sees who does not wait.
    async fn visible(&self) -> i64 {
        number(&self.control, "SELECT count(*) FROM tollgate.entry").await
    }
}

#[tokio::test]
async fn nothing_is_told_before_the_standby_has_it() {
    let Some(mut pair) = Pair::start().await else { return };
    let mut writer = Writer::new("waits");
    assert!(is_durable(append_one(&*pair.journal, writer.next("[1]")).await));

    pair.standby.stop(Stop::Fast).await;
    let waiting = pair.append(&writer.next("[2]"));
    pair.until_waiting(1).await;
    assert_eq!(pair.visible().await, 1);
    assert!(!waiting.is_finished());
    pair.standby.restart().await;
    assert!(is_durable(within("the standby has it", waiting).await.unwrap()));
}

#[tokio::test]
async fn a_wait_that_was_cancelled_is_no_commit() {
    let Some(mut pair) = Pair::start().await else { return };
    for (n, end) in ["pg_cancel_backend", "pg_terminate_backend"].into_iter().enumerate() {
        let mut writer = Writer::new("cancelled");
        let append = writer.next("[1]");
        pair.standby.stop(Stop::Fast).await;
        let first = pair.append(&append);
        pair.until_waiting(1).await;
        let cancel = format!("SELECT count({end}(pid)) FROM pg_stat_activity WHERE wait_event = 'SyncRep'");
        assert_eq!(number(&pair.control, &cancel).await, 1);
        assert_eq!(within("the cancelled one is told", first).await.unwrap(), Outcome::Unknown, "{end}");
        let visible = i64::try_from(n + 1).unwrap();
        pair.until("SELECT count(*) FROM tollgate.entry", visible).await;

        // Everybody can see it, and it could still be lost: whoever repeats it waits, and whoever reads it.
        let (second, load) = (pair.append(&append), pair.load(&writer));
        pair.until_waiting(2).await;
        assert!(!second.is_finished() && !load.is_finished());
        assert_eq!(pair.visible().await, visible, "once");
        pair.standby.restart().await;
        assert!(is_durable(within("the standby has it", second).await.unwrap()), "{end}");
        let loaded = within("the standby has it", load).await.unwrap();
        assert!(loaded.map_or(true, |entries| entries.len() == 1), "or too late, where the standby is slow");
        let entries = pair.journal.load(&writer.account, Reach::Genesis).await.unwrap();
        assert_eq!(entries.len(), 1);
        let on_standby = format!("SELECT count(*) FROM tollgate.entry WHERE account = '{}'", writer.account);
        assert_eq!(pair.standby.sql(&on_standby), "1");
    }
}

#[tokio::test]
async fn without_its_standby_the_journal_cannot_be_read_and_says_so() {
    let Some(mut pair) = Pair::start().await else { return };
    let mut writer = Writer::new("unread");
    assert!(is_durable(append_one(&*pair.journal, writer.next("[1]")).await));
    pair.standby.stop(Stop::Fast).await;
    let started = tokio::time::Instant::now();
    let refused = pair.load(&writer).await.unwrap().unwrap_err();
    assert!(refused.to_string().contains("did not answer within 5s"), "{refused}");
    assert!(started.elapsed() >= Duration::from_secs(5));
}

#[tokio::test]
async fn two_copies_are_demanded_at_the_start_and_while_it_runs() {
    let Some(pair) = Pair::start().await else { return };
    let options = || Options { copies: 2, ..Options::default() };
    let journal = Postgres::open_with(&pair.primary.url(), options()).await.unwrap();
    let mut writer = Writer::new("copied");
    assert!(is_durable(append_one(&journal, writer.next("[1]")).await));
    assert_eq!(journal.database().status().borrow().copies, 2);

    // An operator, or Patroni, lets commits go without the standby: nothing is decided on one copy.
    pair.primary.configure("synchronous_standby_names = ''");
    pair.primary.reload();
    let second = writer.next("[2]");
    let refused = async { while append_one(&journal, second.clone()).await != Outcome::Rejected {} };
    let before = pair.visible().await;
    within("it is noticed", refused).await;
    assert!(pair.visible().await <= before + 1);
    let refusal = Postgres::open_with(&pair.primary.url(), options()).await.err().expect("it was opened");
    assert!(refusal.to_string().contains("TOLLGATE_JOURNAL_COPIES=2"), "{refusal}");

    pair.primary.configure("synchronous_standby_names = 'second'");
    pair.primary.reload();
    let third = async {
        let mut outcome = Outcome::Rejected;
        while !is_durable(outcome) {
            outcome = append_one(&journal, second.clone()).await;
        }
    };
    within("entries are taken again", third).await;
}
