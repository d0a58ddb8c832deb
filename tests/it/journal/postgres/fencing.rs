//! What keeps a stale node out: shown closed, and shown open where the fence is missing.

use std::sync::Arc;

use tokio::task::JoinSet;
use tollgate::journal::{Append, Journal, Outcome, Postgres, Reach};

use super::{
    super::{Writer, groups::groups_that_race_for_an_account_are_whole_or_absent},
    number, session,
};
use crate::{
    journal::{append_one, bodies, group, is_durable},
    postgres::Server,
    process::within,
};

/// The sequence number alone, as one might write it.
const NAIVE: &str = "INSERT INTO tollgate.entry (account, seq, id, prev, is_snapshot, mentions, body)
    VALUES ($1, $2::bigint + 1, $3, $4, false, '', $5) ON CONFLICT DO NOTHING";

#[tokio::test]
async fn a_stale_node_gets_in_without_the_fence_and_not_with_it() {
    let Some(server) = Server::start().await else { return };
    let journal = Postgres::open(&server.url()).await.unwrap();
    let session = session(&server).await;
    let naive = async |append: &Append| {
        let row = &append.rows[0];
        let (seq, id) = (row.head.seq.cast_signed(), append.id.get().cast_signed());
        let prev = row.head.id.get().cast_signed();
        let values: [&(dyn tokio_postgres::types::ToSql + Sync); 5] =
            [&row.account.as_str(), &seq, &id, &prev, &row.body];
        session.client().execute(NAIVE, &values).await.unwrap()
    };

    // The owner is at 3; the stale node thinks that it is at 1, and has four entries on their way.
    let mut owner = Writer::new("naive");
    append_one(&journal, owner.next("[1]")).await;
    let mut stale = owner.clone();
    for body in ["[2]", "[3]"] {
        append_one(&journal, owner.next(body)).await;
    }
    let mut written = Vec::new();
    for body in ["[\"a\"]", "[\"b\"]", "[\"c\"]", "[\"d\"]"] {
        written.push(naive(&stale.next(body)).await);
    }
    assert_eq!(written, [0, 0, 1, 1], "the hole: two entries behind a foreign one");
    let chain = bodies(&journal, &owner.account, Reach::Genesis).await;
    assert_eq!(chain, ["[1]", "[2]", "[3]", "[\"c\"]", "[\"d\"]"]);

    let mut owner = Writer::new("fenced");
    append_one(&journal, owner.next("[1]")).await;
    let mut stale = owner.clone();
    for body in ["[2]", "[3]"] {
        append_one(&journal, owner.next(body)).await;
    }
    for body in ["[\"a\"]", "[\"b\"]", "[\"c\"]", "[\"d\"]"] {
        assert_eq!(append_one(&journal, stale.next(body)).await, Outcome::Conflict);
    }
    assert_eq!(bodies(&journal, &owner.account, Reach::Genesis).await, ["[1]", "[2]", "[3]"]);
}

#[tokio::test]
async fn entries_that_race_over_several_connections_make_one_chain() {
    let Some(server) = Server::start().await else { return };
    let nodes: Vec<Arc<Postgres>> = vec![
        Arc::new(Postgres::open(&server.url()).await.unwrap()),
        Arc::new(Postgres::open(&server.url()).await.unwrap()),
    ];
    let first = Writer::new("raced");
    // Each node pipelines ten entries, each behind its own last, without waiting for one answer.
    for round in 0..10 {
        let head = nodes[0].load(&first.account, Reach::Last(1)).await.unwrap();
        let mut tasks = JoinSet::new();
        for (n, node) in nodes.iter().enumerate() {
            let mut writer = first.clone();
            if let Some(last) = head.last() {
                writer.head = tollgate::journal::Head { seq: last.seq, id: last.id };
            }
            for entry in 0..10 {
                let (node, append) = (Arc::clone(node), writer.next(&format!("[{round},{n},{entry}]")));
                tasks.spawn(async move { (append.id, append_one(&*node, append).await) });
            }
        }
        let outcomes = tasks.join_all().await;
        let chain = nodes[1].load(&first.account, Reach::Genesis).await.unwrap();
        for (before, entry) in chain.iter().zip(chain.iter().skip(1)) {
            assert_eq!((entry.seq, entry.prev), (before.seq + 1, before.id));
        }
        for (id, outcome) in outcomes {
            let is_there = chain.iter().any(|entry| entry.id == id);
            assert_eq!(is_durable(outcome), is_there, "{outcome:?}");
        }
        let of_round: Vec<_> =
            chain.iter().filter(|entry| entry.body.starts_with(&format!("[{round},"))).collect();
        let of_one = of_round.iter().all(|entry| entry.body[..4] == of_round[0].body[..4]);
        assert!(!of_round.is_empty() && of_one, "entries of both nodes in one round: {of_round:?}");
    }
}

#[tokio::test]
async fn a_place_of_a_group_that_is_taken_while_its_statement_runs_undoes_all_of_it_and_nothing_else() {
    let Some(server) = Server::start().await else { return };
    let journal = Arc::new(Postgres::open(&server.url()).await.unwrap());
    let (squatter, control) = (session(&server).await, session(&server).await);
    for (end, is_taken) in [("COMMIT", true), ("ROLLBACK", false)] {
        // Sorted by account, so that rows of the group are written before the one that has to wait, and behind it.
        let mut writers = ["a", "b", "c"].map(|name| Writer::new(&format!("{name}_group")));
        let mut beside = Writer::new("z_beside");
        let mut others = ["y_other", "zz_other"].map(Writer::new);
        let batch: Arc<[Append]> =
            [group(&mut writers, "[1]"), beside.next("[2]"), group(&mut others, "[3]")].into();
        let squat = format!(
            "BEGIN; INSERT INTO tollgate.entry (account, seq, id, prev, is_snapshot, mentions, body)
                VALUES ('{}', 1, 1, 0, false, '', '[]')",
            writers[1].account
        );
        squatter.client().batch_execute(&squat).await.unwrap();
        let append = tokio::spawn({
            let (journal, batch) = (Arc::clone(&journal), Arc::clone(&batch));
            async move { journal.append(batch).await }
        });
        let waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'transactionid' AND NOT granted";
        while number(&control, waiting).await == 0 {}
        squatter.client().batch_execute(end).await.unwrap();
        let outcomes = within("the batch has an end", append).await.unwrap();
        assert!(is_durable(outcomes[1]) && is_durable(outcomes[2]), "{outcomes:?}");
        if is_taken {
            assert_eq!(outcomes[0], Outcome::Conflict);
            for (writer, expected) in writers.iter().zip([0, 1, 0]) {
                assert_eq!(bodies(&*journal, &writer.account, Reach::Genesis).await.len(), expected);
            }
        } else {
            assert!(is_durable(outcomes[0]));
        }
        for writer in others.iter().chain([&beside]) {
            assert_eq!(bodies(&*journal, &writer.account, Reach::Genesis).await.len(), 1);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn groups_that_race_over_several_connections_of_two_nodes_are_whole_or_absent() {
    let Some(server) = Server::start().await else { return };
    let mut nodes: Vec<Arc<dyn Journal>> = Vec::new();
    for _ in 0..2 {
        nodes.push(Arc::new(Postgres::open(&server.url()).await.unwrap()));
    }
    let (whole, absent) = groups_that_race_for_an_account_are_whole_or_absent(nodes, 60).await;
    let torn = server.log().matches("another writer has taken a place of a group").count();
    println!("{whole} groups went in, {absent} lost a place, {torn} statements were undone");
    assert!(torn > 0, "no statement met another one");
}
