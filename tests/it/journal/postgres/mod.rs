//! The journal in PostgreSQL against real servers: started, killed, cut off, replicated.

mod opening;
mod encryption;
mod pooler;
mod fencing;
mod finding;
mod faults;
mod proxy;
mod replication;
mod failover;
mod loss;
mod failovers;

use tollgate::journal::postgres::{Address, Session};

use crate::postgres::Server;

/// A connection of the test's own.
async fn session(server: &Server) -> Session {
    Address::new(&server.url()).unwrap().connect().await.unwrap()
}

/// One number.
async fn number(session: &Session, sql: &str) -> i64 {
    session.client().query_one(sql, &[]).await.unwrap().get(0)
}
