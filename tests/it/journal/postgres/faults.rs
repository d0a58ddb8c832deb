//! Random operations while backends are ended, the server dies, and connections are cut: the model holds.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tollgate::journal::{Committer, CommitterSettings, Journal, Outcome, Postgres, Reach, Urgency};

use super::{
    super::{Writer, random},
    number,
    proxy::Proxy,
    session,
};
use crate::{
    journal::{append_one, bodies, is_durable},
    postgres::{Server, Stop},
    process::within,
};

/// Random operations, again and again, until `chaos` is over. How often each outcome came: unknown, rejected.
async fn survives(journal: &Arc<dyn Journal>, chaos: impl Future<Output = ()>) -> (usize, usize) {
    let is_over = AtomicBool::new(false);
    let chaos = async {
        chaos.await;
        is_over.store(true, Ordering::SeqCst);
    };
    let load = async {
        let (mut unknown, mut rejected, mut durable) = (0, 0, 0);
        while !is_over.load(Ordering::SeqCst) || durable < 100 {
            let (_, seen) = random::check(Arc::clone(journal), fastrand::u64(..), 60).await;
            let of = |outcome: &str| seen.get(outcome).copied().unwrap_or(0);
            unknown += of("unknown");
            rejected += of("rejected");
            durable += of("durable");
        }
        println!("{durable} durable, {unknown} unknown, {rejected} rejected");
        (unknown, rejected)
    };
    let (met, ()) = within("the operations agree with the model", async { tokio::join!(load, chaos) }).await;
    met
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_operations_agree_with_the_model_while_backends_are_ended() {
    let Some(server) = Server::start().await else { return };
    let journal: Arc<dyn Journal> = Arc::new(Postgres::open(&server.url()).await.unwrap());
    let control = session(&server).await;
    // Somewhere in their statement, before their commit or behind it.
    let end_appending = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
        WHERE state = 'active' AND query LIKE 'WITH guard%'";
    let chaos = async {
        let mut ended = 0;
        while ended < 40 {
            ended += number(&control, end_appending).await;
        }
    };
    let (unknown, _) = survives(&journal, chaos).await;
    assert!(unknown > 0, "no backend was ended while it appended");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_operations_agree_with_the_model_while_the_server_dies() {
    let Some(mut server) = Server::start().await else { return };
    let journal: Arc<dyn Journal> = Arc::new(Postgres::open(&server.url()).await.unwrap());
    let (witness, deaths) = (Writer::new("witness"), [Stop::Kill, Stop::Immediate, Stop::Kill, Stop::Fast]);
    let mut writer = witness.clone();
    let mut written = Vec::new();
    let chaos = async {
        for how in deaths {
            while !is_durable(append_one(&*journal, Writer::new("is_back").next("[]")).await) {}
            // An append is under way when the server dies: it waits for somebody who has its place and says nothing.
            let append = writer.next(&format!("[{}]", written.len()));
            let control = session(&server).await;
            let squat = format!(
                "BEGIN; INSERT INTO tollgate.entry (account, seq, id, prev, is_snapshot, mentions, body)
                    VALUES ('{}', {}, 1, 1, false, '', '[]')",
                append.rows[0].account,
                append.rows[0].head.seq + 1
            );
            control.client().batch_execute(&squat).await.unwrap();
            let (of_task, one) = (Arc::clone(&journal), append.clone());
            let first = tokio::spawn(async move { append_one(&*of_task, one).await });
            let waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'transactionid' AND NOT granted";
            while number(&control, waiting).await == 0 {}
            server.stop(how).await;
            server.restart().await;
            let mut outcome = first.await.unwrap();
            // An orderly end lets the other one go first, and there is time to commit.
            assert!(outcome == Outcome::Unknown || matches!(how, Stop::Fast), "{outcome:?}");
            while !is_durable(outcome) {
                assert_ne!(outcome, Outcome::Conflict, "nobody else writes there");
                outcome = append_one(&*journal, append.clone()).await;
            }
            written.push(append.rows[0].body.clone());
        }
    };
    Box::pin(survives(&journal, chaos)).await;
    assert_eq!(bodies(&*journal, &witness.account, Reach::Genesis).await, written);
    assert_eq!(written.len(), deaths.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_operations_agree_with_the_model_while_connections_are_cut() {
    let Some(server) = Server::start().await else { return };
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut rng = fastrand::Rng::with_seed(seed);
    // Many end while they are being made; the others anywhere in a statement, or in its answer.
    let draw = move || {
        let bytes = rng.u64(0..60_000);
        if rng.bool() { (bytes, u64::MAX) } else { (u64::MAX, bytes) }
    };
    let proxy = Proxy::start(server.port(), draw).await;
    // The schema is made on the straight way; a node that cannot even start is another story.
    Postgres::open(&server.url()).await.unwrap().close().await;
    let journal = loop {
        if let Ok(journal) = Postgres::open(&Server::url_at(proxy.port)).await {
            break Arc::new(journal) as Arc<dyn Journal>;
        }
    };
    let chaos = async {
        proxy.cut(15).await;
    };
    let (unknown, _) = survives(&journal, chaos).await;
    assert!(unknown > 0, "no append was cut off");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_committer_gets_everything_in_once_whatever_the_server_does() {
    let Some(mut server) = Server::start().await else { return };
    let journal: Arc<dyn Journal> = Arc::new(Postgres::open(&server.url()).await.unwrap());
    let settings = CommitterSettings {
        batch_max: 64,
        batches_in_flight_max: 4,
        another_batch_from: 1,
        ..CommitterSettings::default()
    };
    let committer = Arc::new(Committer::new(Arc::clone(&journal), settings, Arc::new(|_, _: Duration| {})));
    let mut writers: Vec<Writer> = (0..64).map(|n| Writer::new(&format!("committed{n}"))).collect();
    let mut told = vec![Vec::new(); writers.len()];
    for round in 0..12 {
        let (tell, mut hear) = tokio::sync::mpsc::channel(writers.len());
        for (n, writer) in writers.iter_mut().enumerate() {
            let append = writer.clone().next(&format!("[{round}]"));
            let (tell, then) = (tell.clone(), append.clone());
            committer.submit(
                append,
                Urgency::Now,
                Box::new(move |outcome| {
                    tell.try_send((n, then.clone(), outcome)).unwrap();
                }),
            );
        }
        drop(tell);
        if round % 4 == 2 {
            server.stop(Stop::Kill).await;
            server.restart().await;
        }
        while let Some((n, append, outcome)) = within("an outcome", hear.recv()).await {
            assert_ne!(outcome, Outcome::Unknown);
            if is_durable(outcome) {
                let row = &append.rows[0];
                writers[n].head = tollgate::journal::Head { seq: row.head.seq + 1, id: append.id };
                told[n].push(row.body.clone());
            } else {
                assert_eq!(outcome, Outcome::Rejected, "nobody else writes there");
            }
        }
    }
    for (writer, told) in writers.iter().zip(told) {
        assert_eq!(bodies(&*journal, &writer.account, Reach::Genesis).await, told);
    }
}
