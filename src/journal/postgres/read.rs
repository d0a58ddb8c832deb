//! Reading from PostgreSQL: an account's entries, those that speak of one thing, everybody's.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio_postgres::{Client, Error, Row, Statement, types::ToSql};

use super::{
    Session,
    database::Connection,
    misfit::told,
    pool::{NotTaken, Pool},
    statements::Scanning,
    timestamp,
};
use crate::{
    clock,
    domain::{Account, Mention},
    journal::{Entry, EntryId, LookBack, LookedBack, Reach, Unavailable, look_back::Looking},
};

/// How long a reading waits for a database that is away.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long a reading may take, with its waiting.
const READ_WITHIN: Duration = Duration::from_secs(5);
/// How long a scan waits before it looks again whether the appends that it met are through.
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// What is to be read.
pub(super) enum Reading {
    Load(Account, Reach),
    Find(Mention),
    Scan { after: u64, entries_max: usize },
    LookBack(LookBack),
}

/// Reads, on a task of its own: a reader who goes away, or waits no longer, leaves the connection to whoever comes
/// next, when its answer has come.
pub(super) async fn read(pool: Arc<Pool>, reading: Reading) -> Result<Vec<Entry>, Unavailable> {
    read_rows(pool, reading).await?.iter().map(entry).collect()
}

/// A page of entries, newest first.
pub(super) async fn look_back(pool: Arc<Pool>, what: &LookBack) -> Result<LookedBack, Unavailable> {
    let rows = read_rows(pool, Reading::LookBack(what.clone())).await?;
    if what.account.is_some() {
        let entries: Vec<Entry> = rows.iter().map(entry).collect::<Result<_, _>>()?;
        let mut looking = Looking::new(what);
        let older = entries.iter().skip(1).map(|entry| Some(entry.lsn)).chain([None]);
        for (entry, next) in entries.iter().zip(older) {
            if !looking.goes_on() {
                break;
            }
            if looking.look(entry.at, &entry.body, next) {
                looking.take(entry.clone());
            }
        }
        return Ok(looking.page());
    }
    // An entry of nulls says that none was found.
    let failed = |error: Error| Unavailable(told(&error));
    let is_entry = |row: &&Row| row.try_get::<_, Option<i64>>(0).is_ok_and(|lsn| lsn.is_some());
    let entries: Vec<Entry> = rows.iter().filter(is_entry).map(entry).collect::<Result<_, _>>()?;
    let mut floor = None;
    if let Some(row) = rows.first() {
        let lsn = row.try_get::<_, i64>(8).map_err(failed)?.cast_unsigned();
        floor = row.try_get::<_, Option<SystemTime>>(9).map_err(failed)?.map(|at| (lsn, timestamp(at)));
    }
    let is_full = entries.len() >= what.entries_max;
    let last = entries.last().map(|entry| (entry.lsn, entry.at));
    let reached = if is_full { last } else { floor };
    Ok(LookedBack {
        next: reached.and_then(|(lsn, _)| lsn.checked_sub(1)).filter(|next| *next > 0),
        reached: reached.or(last).map(|(_, at)| at),
        entries,
    })
}

/// See [`read`].
async fn read_rows(pool: Arc<Pool>, reading: Reading) -> Result<Vec<Row>, Unavailable> {
    let read = tokio::spawn(async move {
        let lease = pool.take(PATIENCE).await.map_err(|not_taken| match not_taken {
            NotTaken::Closed => Unavailable("it is closed".into()),
            NotTaken::Unreachable(cause) => Unavailable(format!("its database {cause}")),
        })?;
        let Some(rows) = lease.answer(answer(&lease.connection, &reading)).await else {
            return Err(Unavailable("its database has not answered, and will not".into()));
        };
        let is_in_doubt = lease.connection.session.take_warning();
        let rows = rows.map_err(|error| {
            lease.suspect();
            Unavailable(told(&error))
        })?;
        lease.give_back();
        if is_in_doubt {
            return Err(Unavailable("its database does not know whether a standby has what was read".into()));
        }
        Ok(rows)
    });
    match clock::timeout(READ_WITHIN, read).await {
        Ok(Ok(read)) => read,
        Ok(Err(panicked)) => Err(Unavailable(panicked.to_string())),
        Err(_) => Err(Unavailable(format!("its database did not answer within {READ_WITHIN:?}"))),
    }
}

async fn answer(connection: &Connection, reading: &Reading) -> Result<Vec<Row>, Error> {
    let statements = &connection.statements;
    match reading {
        Reading::Load(account, Reach::Snapshot) => {
            settled(connection, &statements.load_snapshot, &[&account.as_str()]).await
        }
        Reading::Load(account, Reach::Genesis) => {
            settled(connection, &statements.load_last, &[&account.as_str(), &i64::MAX]).await
        }
        Reading::Load(account, Reach::Last(entries)) => {
            let entries = limit((*entries).max(1));
            settled(connection, &statements.load_last, &[&account.as_str(), &entries]).await
        }
        Reading::Find(mention) => settled(connection, &statements.find, &[&mention.as_str()]).await,
        Reading::LookBack(what) => {
            let from = i64::try_from(what.from).unwrap_or(i64::MAX);
            if let Some(account) = &what.account {
                // One more than is looked at: where to look on.
                let rows_max = limit(what.look_max.saturating_add(1));
                return settled(
                    connection,
                    &statements.look_back_chain,
                    &[&account.as_str(), &from, &rows_max],
                )
                .await;
            }
            let text = |place: usize| what.texts.get(place).map_or("", String::as_str);
            let (look_max, entries_max) = (limit(what.look_max.max(1)), limit(what.entries_max));
            let (first, second, third, fourth) = (text(0), text(1), text(2), text(3));
            let parameters: [&(dyn ToSql + Sync); 7] =
                [&from, &look_max, &first, &second, &third, &fourth, &entries_max];
            settled(connection, &statements.look_back, &parameters).await
        }
        Reading::Scan { after, entries_max } => {
            let last = last_lsn_in_order(connection.session.client(), &statements.scanning).await?;
            let after = i64::try_from(*after).unwrap_or(i64::MAX);
            settled(connection, &statements.scanning.scan, &[&after, &last, &limit(*entries_max)]).await
        }
    }
}

/// Entries of all accounts, on a connection that only reads.
pub(super) async fn scan(
    session: &Session,
    scanning: &Scanning,
    after: u64,
    entries_max: usize,
) -> Result<Vec<Entry>, Unavailable> {
    let answer = async {
        let client = session.client();
        let last = last_lsn_in_order(client, scanning).await?;
        let after = i64::try_from(after).unwrap_or(i64::MAX);
        client.query(&scanning.scan, &[&after, &last, &limit(entries_max)]).await
    };
    let rows = answer.await.map_err(|error: Error| Unavailable(told(&error)))?;
    rows.iter().map(entry).collect()
}

/// The rows, when everything that was visible is durable on the standbys too. Both questions go out together.
async fn settled(
    connection: &Connection,
    statement: &Statement,
    parameters: &[&(dyn ToSql + Sync)],
) -> Result<Vec<Row>, Error> {
    let client = connection.session.client();
    let (rows, settled) = tokio::join!(
        biased;
        client.query(statement, parameters),
        client.query(&connection.statements.settle, &[]),
    );
    settled?;
    rows
}

/// The last log sequence number before which nothing is missing that may still come: numbers are given before their
/// entries are committed, and commits overtake each other.
async fn last_lsn_in_order(client: &Client, scanning: &Scanning) -> Result<i64, Error> {
    let last: i64 = client.query_one(&scanning.last_lsn, &[]).await?.try_get(0)?;
    let under_way = async || -> Result<Vec<String>, Error> {
        let rows = client.query(&scanning.appending, &[]).await?;
        rows.iter().map(|row| row.try_get(0)).collect()
    };
    let mut met = under_way().await?;
    while !met.is_empty() {
        clock::sleep(LOOK_AGAIN).await;
        let still = under_way().await?;
        met.retain(|append| still.contains(append));
    }
    Ok(last)
}

fn limit(entries: usize) -> i64 {
    i64::try_from(entries).unwrap_or(i64::MAX)
}

fn entry(row: &Row) -> Result<Entry, Unavailable> {
    let read = || -> Result<Option<Entry>, Error> {
        let number = |column| row.try_get::<_, i64>(column).map(i64::cast_unsigned);
        let Some(account) = Account::new(row.try_get(1)?) else { return Ok(None) };
        Ok(Some(Entry {
            lsn: number(0)?,
            account,
            seq: number(2)?,
            id: EntryId::new(number(3)?),
            prev: EntryId::new(number(4)?),
            at: timestamp(row.try_get::<_, SystemTime>(5)?),
            is_snapshot: row.try_get(6)?,
            body: row.try_get(7)?,
        }))
    };
    match read() {
        Ok(Some(entry)) => Ok(entry),
        Ok(None) => Err(Unavailable("an entry has an account that cannot be one".into())),
        Err(error) => Err(Unavailable(told(&error))),
    }
}
