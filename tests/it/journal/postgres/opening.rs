//! Opening a journal in PostgreSQL: who may, what is refused, and with which words.

use std::sync::Arc;

use tokio::task::JoinSet;
use tollgate::journal::{
    Journal, Location, OpenError, Outcome, Postgres, Reach, open_to_scan, postgres::Misfit,
};

use super::{super::Writer, number, session};
use crate::{
    journal::{all, append_one, is_durable},
    postgres::{Server, Stop},
    process::within,
};

/// Why the journal at `url` was not opened, in words that repeat no password.
async fn refusal(url: &str) -> Misfit {
    let refusal = Postgres::open(url).await.err().expect("it was opened");
    let text = format!("{refusal} {refusal:?}");
    assert!(!text.contains("hunter2"), "{text}");
    match refusal {
        OpenError::Database { misfit, .. } => misfit,
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn nodes_that_start_at_once_share_one_journal() {
    let Some(server) = Server::start().await else { return };
    let mut nodes = JoinSet::new();
    for _ in 0..8 {
        let url = server.url();
        nodes.spawn(async move { Arc::new(Postgres::open(&url).await.unwrap()) });
    }
    let nodes = nodes.join_all().await;
    assert_eq!(server.sql("SELECT count(*), max(format) FROM tollgate.journal"), "1|1");
    let mut writer = Writer::new("shared");
    for (n, node) in nodes.iter().enumerate() {
        assert!(is_durable(append_one(&**node, writer.next(&format!("[{n}]"))).await));
    }
    for node in &nodes {
        assert_eq!(all(&**node).await.len(), 8);
    }
}

#[tokio::test]
async fn a_server_that_is_no_journal_is_refused_with_what_to_do() {
    let Some(mut server) = Server::start().await else { return };
    let url = server.url();
    server.sql("CREATE DATABASE bytes ENCODING 'SQL_ASCII' TEMPLATE template0");
    let at = |name: &str| format!("{}/{name}", url.rsplit_once('/').unwrap().0);

    assert!(matches!(refusal(&at("nowhere")).await, Misfit::Unreachable(cause) if cause.contains("3D000")));
    assert!(matches!(refusal(&at("bytes")).await, Misfit::Unsafe { setting: "server_encoding", .. }));
    let unreachable = refusal("postgres://me:hunter2@127.0.0.1:1/x").await;
    assert!(matches!(&unreachable, Misfit::Unreachable(cause) if cause.contains("refused")), "{unreachable}");
    assert!(matches!(refusal("postgres://me:hunter2@127.0.0.1:port/x").await, Misfit::Url));
    assert!(matches!(refusal(&format!("{url}?sslmode=require")).await, Misfit::Unreachable(_)));

    server.sql("CREATE SCHEMA tollgate; CREATE TABLE tollgate.entry (n int)");
    assert!(matches!(refusal(&url).await, Misfit::NotAJournal(_)));
    server.sql("DROP SCHEMA tollgate CASCADE");
    Postgres::open(&url).await.unwrap().close().await;
    server.sql("UPDATE tollgate.journal SET format = 99");
    assert!(matches!(refusal(&url).await, Misfit::Later { found: 99, known: 1 }));
    server.sql("UPDATE tollgate.journal SET format = 1");

    let standby = server.standby("second").await;
    assert!(matches!(refusal(&standby.url()).await, Misfit::Standby));
    for setting in ["fsync", "full_page_writes"] {
        server.configure(&format!("{setting} = off"));
        server.stop(Stop::Fast).await;
        server.restart().await;
        let found = refusal(&url).await;
        assert!(matches!(&found, Misfit::Unsafe { setting: of, .. } if *of == setting), "{found}");
        assert!(found.to_string().contains("Set it to on"), "{found}");
        server.configure(&format!("{setting} = on"));
    }
    server.stop(Stop::Fast).await;
    server.restart().await;
    Postgres::open(&url).await.unwrap().close().await;
}

#[tokio::test]
async fn a_role_of_its_own_is_enough_and_its_weak_settings_do_not_count() {
    let Some(server) = Server::start().await else { return };
    server.sql("CREATE ROLE app LOGIN PASSWORD 'hunter2'");
    server.sql("CREATE DATABASE app OWNER app");
    server.sql("ALTER ROLE app SET synchronous_commit = off");
    server.sql("ALTER ROLE app SET default_transaction_isolation = serializable");
    let url = format!("postgres://app:hunter2@127.0.0.1:{}/app", server.port());
    let journal = Postgres::open(&url).await.unwrap();
    super::super::conformance::check(Arc::new(journal)).await;
    let session = tollgate::journal::postgres::Address::new(&url).unwrap().connect().await.unwrap();
    for (setting, wanted) in
        [("synchronous_commit", "on"), ("default_transaction_isolation", "read committed")]
    {
        let row = session.client().query_one(&format!("SHOW {setting}"), &[]).await.unwrap();
        assert_eq!(row.get::<_, String>(0), wanted);
    }
}

#[tokio::test]
async fn a_database_that_holds_another_journal_now_is_fatal() {
    let Some(mut server) = Server::start().await else { return };
    let journal = Postgres::open(&server.url()).await.unwrap();
    let mut writer = Writer::new("before");
    assert!(is_durable(append_one(&journal, writer.next("[1]")).await));
    server.sql("UPDATE tollgate.journal SET uuid = 'another'");
    server.stop(Stop::Fast).await;
    server.restart().await;
    let mut outcome = append_one(&journal, writer.next("[2]")).await;
    while outcome == Outcome::Rejected {
        outcome = append_one(&journal, writer.next("[2]")).await;
    }
    assert_eq!(outcome, Outcome::Unknown);
    let fatal = within("it dies", journal.fatal()).await;
    assert!(fatal.to_string().contains("another journal"), "{fatal}");
    assert_eq!(append_one(&journal, writer.next("[3]")).await, Outcome::Unknown);
    assert!(journal.load(&writer.account, Reach::Genesis).await.is_err());
}

#[tokio::test]
async fn people_can_query_decisions() {
    let Some(server) = Server::start().await else { return };
    let journal = Postgres::open(&server.url()).await.unwrap();
    let mut writer = Writer::new("queried");
    let decided = r#"{"decided":{"asked":500,"at":1785500000000000,"id":"dec_1"}}"#;
    append_one(&journal, writer.next(&format!(r#"[1,{decided},{{"observed":{{"type":"x"}}}}]"#))).await;
    append_one(&journal, writer.next(r#"[1,{"snapshot":{"version":3}},{"stood_in":{"asked":7}}]"#)).await;
    let rows = server.sql(
        "SELECT lsn, card, seq, source, asked, decision, extract(year FROM decided_at)
         FROM tollgate.decisions ORDER BY lsn",
    );
    let account = &writer.account;
    assert_eq!(rows, format!("1|{account}|1|policy|500|dec_1|2026\n2|{account}|2|stand_in|7||"));
    assert_eq!(server.sql("SELECT count(DISTINCT kind) FROM tollgate.events"), "4");
}

#[tokio::test]
async fn nothing_is_found_by_looking_at_everything() {
    let Some(server) = Server::start().await else { return };
    let journal = Postgres::open(&server.url()).await.unwrap();
    let (mut writer, spoken_of) = (Writer::new("plans"), super::super::mention("plans"));
    let mut append = writer.next("[]");
    append.rows[0].mentions = vec![spoken_of.clone()];
    append_one(&journal, append).await;
    journal.close().await;

    let control = session(&server).await;
    let scans = "SELECT coalesce(sum(seq_scan), 0)::bigint FROM pg_stat_user_tables
        WHERE schemaname = 'tollgate' AND relname IN ('entry', 'mention')";
    // What a connection did is counted when it is gone.
    let are_gone = async || {
        let others = "SELECT count(*) FROM pg_stat_activity
            WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()";
        within("the others are gone", async { while number(&control, others).await != 0 {} }).await;
    };
    are_gone().await;
    let before = number(&control, scans).await;
    // Tables as small as these would be read whole, if it were left to the planner.
    let journal = Postgres::open(&server.url()).await.unwrap();
    for _ in 0..20 {
        assert!(is_durable(append_one(&journal, writer.next("[]")).await));
        assert_eq!(journal.find(&spoken_of).await.unwrap().len(), 1);
        journal.load(&writer.account, Reach::Snapshot).await.unwrap();
        journal.load(&writer.account, Reach::Last(2)).await.unwrap();
    }
    journal.close().await;
    are_gone().await;
    assert_eq!(number(&control, scans).await, before);
}

#[tokio::test]
async fn a_reader_sees_all_that_is_written_and_is_no_writer() {
    let Some(server) = Server::start().await else { return };
    let location: Location = server.url().parse().unwrap();
    let none = open_to_scan(&location).await.err().expect("it was opened");
    assert!(matches!(&none, OpenError::Database { misfit: Misfit::NoJournal, .. }), "{none}");
    assert_eq!(server.sql("SELECT to_regnamespace('tollgate')"), "", "something was made");

    let journal = Postgres::open(&server.url()).await.unwrap();
    let mut writer = Writer::new("read");
    for n in 0..5 {
        assert!(is_durable(append_one(&journal, writer.next(&format!("[{n}]"))).await));
    }
    let reader = open_to_scan(&location).await.unwrap();
    let entries = reader.scan(0, 3).await.unwrap();
    let rest = reader.scan(entries[2].lsn, 10).await.unwrap();
    let bodies: Vec<&str> = entries.iter().chain(&rest).map(|entry| &*entry.body).collect();
    assert_eq!(bodies, ["[0]", "[1]", "[2]", "[3]", "[4]"]);
    // The node is the only writer that a failover would wait for.
    assert_eq!(server.sql("SELECT count(*) FROM tollgate.writer"), "1");
    drop(journal);
    assert_eq!(reader.scan(0, 10).await.unwrap().len(), 5);
}
