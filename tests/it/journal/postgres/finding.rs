//! How an authorization is found in a large journal: by a few pages of the index, not by all of them.

use tollgate::journal::{Journal as _, Postgres};

use super::super::{Writer, append_one, mention};
use crate::{journal::is_durable, postgres::Server, process::within};

/// Pages of the index that have been read.
const PAGES: &str = "SELECT coalesce(sum(idx_blks_hit + idx_blks_read), 0) FROM pg_statio_user_indexes
    WHERE relname = 'mention'";

#[tokio::test]
async fn an_authorization_is_found_by_a_few_pages_of_the_index() {
    let Some(server) = Server::start().await else { return };
    let journal = Postgres::open(&server.url()).await.unwrap();
    let (mut writer, wanted) = (Writer::new("found"), mention("wanted"));
    let mut append = writer.next("[1]");
    append.rows[0].mentions = vec![wanted.clone()];
    assert!(is_durable(append_one(&journal, append).await));
    // As if there had been a hundred thousand other authorizations, which the planner knows of.
    server
        .sql("INSERT INTO tollgate.mention SELECT 0, n * 7919, n + 10 FROM generate_series(1, 100000) AS n");
    server.sql("ANALYZE tollgate.mention");
    journal.close().await;
    let journal = Postgres::open(&server.url()).await.unwrap();
    let before: u64 = server.sql(PAGES).parse().unwrap();
    for _ in 0..10 {
        assert_eq!(journal.find(&wanted).await.unwrap().len(), 1);
    }
    journal.close().await;
    // The server counts what a session has read when that ends, or a little later.
    let read = within("the server counts", async {
        loop {
            let now: u64 = server.sql(PAGES).parse().unwrap();
            if now > before {
                return now - before;
            }
        }
    });
    let read = read.await;
    assert!(read < 200, "{read} pages were read for ten searches");
}
