//! A standby takes over: what a connection learns of it, and what the journal makes of it.

use std::sync::Arc;

use tokio::task::JoinHandle;
use tollgate::{
    clock,
    journal::{Append, Lineage, OpenError, Outcome, Postgres, Reach, postgres::Misfit},
};

use super::{super::Writer, session};
use crate::{
    cluster::proxy::Proxy,
    journal::{append_one, bodies, is_durable},
    postgres::{Server, Stop},
    process::within,
};

#[tokio::test]
async fn a_promoted_standby_is_the_same_system_on_the_next_timeline() {
    let Some(mut primary) = Server::start().await else { return };
    primary.sql("CREATE ROLE app LOGIN");
    primary.used_by("app", "postgres");
    let standby = primary.standby("second").await;
    let before = session(&primary).await.lineage();
    assert_eq!(before.system.to_string(), primary.sql("SELECT system_identifier FROM pg_control_system()"));
    assert_eq!(before.timeline, 1);
    primary.stop(Stop::Fast).await;
    standby.promote().await;
    assert_eq!(session(&standby).await.lineage(), Lineage { timeline: 2, ..before });
}

fn append(journal: &Arc<Postgres>, append: &Append) -> JoinHandle<Outcome> {
    let (journal, append) = (Arc::clone(journal), append.clone());
    tokio::spawn(async move { append_one(&*journal, append).await })
}

/// Repeats an append as the committer does.
async fn until_durable(journal: &Postgres, append: &Append) {
    let repeated = async { while !is_durable(append_one(journal, append.clone()).await) {} };
    within("the append is durable", repeated).await;
}

/// The primary falls silent in the middle of an append, and its standby takes over. The journal is reached at `url`;
/// `turn` leads that to the standby, where that takes something.
async fn survives_silence(primary: &Server, standby: &Server, url: &str, turn: impl FnOnce()) {
    let journal = Arc::new(Postgres::open(url).await.unwrap());
    let mut writer = Writer::new("silent");
    assert!(is_durable(append_one(&*journal, writer.next("[1]")).await));
    primary.followed_by(standby).await;
    primary.freeze();
    let second = writer.next("[2]");
    let in_doubt = append(&journal, &second);
    standby.promote().await;
    turn();
    let reachable = clock::instant();
    let outcome = within("the append has an end", in_doubt).await.unwrap();
    assert!(matches!(outcome, Outcome::Unknown | Outcome::Rejected), "{outcome:?}");
    until_durable(&journal, &second).await;
    println!("durable again {:?} after the promotion", reachable.elapsed());
    assert!(is_durable(append_one(&*journal, writer.next("[3]")).await));
    assert_eq!(bodies(&*journal, &writer.account, Reach::Genesis).await, ["[1]", "[2]", "[3]"]);
    assert_eq!(journal.database().lineage().timeline, 2);

    // It comes back, writable, and knows of nothing.
    primary.thaw();
    primary.says("SELECT pg_is_in_recovery()", "f").await;
    for body in ["[4]", "[5]"] {
        assert!(is_durable(append_one(&*journal, writer.next(body)).await));
    }
    assert_eq!(standby.sql("SELECT count(*) FROM tollgate.entry"), "5");
    assert_eq!(journal.database().lineage().timeline, 2);
}

#[tokio::test]
async fn a_primary_that_falls_silent_is_left_for_the_standby_that_was_promoted() {
    let Some(primary) = Server::start().await else { return };
    let standby = primary.standby("second").await;
    survives_silence(&primary, &standby, &primary.url_with(&standby), || {}).await;
    // A node that starts now finds both writable.
    let journal = Postgres::open(&primary.url_with(&standby)).await.unwrap();
    assert_eq!(journal.database().lineage().timeline, 2);
}

#[tokio::test]
async fn sessions_that_a_proxy_keeps_with_a_silent_primary_come_to_an_end() {
    let Some(primary) = Server::start().await else { return };
    let standby = primary.standby("second").await;
    let proxy = Proxy::open().await;
    proxy.lead_to(([127, 0, 0, 1], primary.port()).into());
    let url = Server::url_at(proxy.address.port());
    let to = ([127, 0, 0, 1], standby.port()).into();
    survives_silence(&primary, &standby, &url, || proxy.lead_to(to)).await;
}

#[tokio::test]
async fn a_standby_that_is_promoted_beside_a_living_primary_is_found() {
    let Some(primary) = Server::start().await else { return };
    let standby = primary.standby("second").await;
    let journal = Postgres::open(&primary.url_with(&standby)).await.unwrap();
    let mut writer = Writer::new("split");
    assert!(is_durable(append_one(&journal, writer.next("[1]")).await));
    primary.followed_by(&standby).await;
    standby.promote().await;
    within("it is found", async {
        while journal.database().lineage().timeline < 2 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    until_durable(&journal, &writer.next("[2]")).await;
    assert_eq!(standby.sql("SELECT count(*) FROM tollgate.entry"), "2");
    assert_eq!(primary.sql("SELECT count(*) FROM tollgate.entry"), "1");
}

#[tokio::test]
async fn what_another_node_has_seen_of_a_failover_counts() {
    let Some(primary) = Server::start().await else { return };
    let journal = Postgres::open(&primary.url()).await.unwrap();
    let mut writer = Writer::new("informed");
    assert!(is_durable(append_one(&journal, writer.next("[1]")).await));
    let database = journal.database();
    database.saw(Lineage { timeline: 2, ..database.lineage() });
    assert_eq!(append_one(&journal, writer.next("[2]")).await, Outcome::Rejected);
    let refusal = within("it is refused", async {
        loop {
            match database.connect().await {
                Err(refusal) if refusal.to_string().contains("before the failover") => break refusal,
                _ => tokio::task::yield_now().await,
            }
        }
    })
    .await;
    assert!(refusal.to_string().contains("/1, and this node has seen"), "{refusal}");
}

#[tokio::test]
async fn hosts_of_which_none_can_be_used_are_refused_for_the_nearest_reason() {
    let Some(primary) = Server::start().await else { return };
    let standby = primary.standby("second").await;
    let url = format!("postgres://postgres@127.0.0.1:1,127.0.0.1:{}/postgres", standby.port());
    let refusal = Postgres::open(&url).await.err().expect("it was opened");
    assert!(matches!(&refusal, OpenError::Database { misfit: Misfit::Standby, .. }), "{refusal}");
}
