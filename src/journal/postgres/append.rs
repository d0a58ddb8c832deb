//! Appending to PostgreSQL: what of a batch goes into one statement, and what each row is told.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio_postgres::{
    Error, Row,
    error::{Severity, SqlState},
};
use tracing::{debug, warn};

use super::{
    database::Connection,
    misfit::told,
    pool::{Lease, NotTaken, Pool},
    timestamp,
};
use crate::{
    domain::{Mention, Timestamp},
    journal::{Append, EntryId, Outcome, vitals::Vitals},
};

/// How long an append waits for a database that is away, before it is rejected: a connection that was cut is made again
/// within this, and whoever asks is not kept waiting for longer.
const PATIENCE: Duration = Duration::from_millis(250);
/// How many bytes of bodies one statement takes, besides the first.
const STATEMENT_BYTES_MAX: usize = 32 * 1024 * 1024;

/// When each of the written rows was written, by account.
type Written = HashMap<String, Timestamp>;

/// Writes what fits, in as few statements as can be: one, unless the batch is huge or names an account twice.
pub(super) async fn append(pool: Arc<Pool>, vitals: Arc<Vitals>, batch: Arc<[Append]>) -> Vec<Outcome> {
    let mut outcomes: Vec<Option<Outcome>> = batch.iter().map(judge_alone).collect();
    loop {
        let chosen = choose(&batch, &mut outcomes);
        if chosen.is_empty() {
            break;
        }
        let rows: Vec<&Append> = chosen.values().copied().collect();
        let places: Vec<usize> = chosen.keys().map(|(_, place)| *place).collect();
        let told = match pool.take(PATIENCE).await {
            // A connection from before its death still leads somewhere; nobody knows any more where.
            Ok(_) if vitals.is_dead() => vec![vitals.refusal(); rows.len()],
            Ok(lease) => {
                let ring = lease.ring();
                let _under_way = ring.under_way();
                let lineage = lease.connection.session.lineage();
                let outcomes = write(lease, &rows).await;
                ring.note(&batch, &places, outcomes, lineage)
            }
            Err(NotTaken::Closed) => vec![vitals.refusal(); rows.len()],
            Err(NotTaken::Unreachable(_)) => {
                debug!(entries = rows.len(), "the journal's database is away: appends are rejected");
                vec![vitals.refusal(); rows.len()]
            }
        };
        for (place, outcome) in places.into_iter().zip(told) {
            if let Some(slot) = outcomes.get_mut(place) {
                *slot = Some(outcome);
            }
        }
    }
    outcomes.into_iter().map(|outcome| outcome.unwrap_or(Outcome::Unknown)).collect()
}

/// What can be told of an append without asking.
fn judge_alone(append: &Append) -> Option<Outcome> {
    let is_beyond_numbers = i64::try_from(append.head.seq).map_or(true, |seq| seq == i64::MAX);
    if is_beyond_numbers {
        Some(Outcome::Conflict)
    } else if !append.is_writable() || append.body.contains('\0') {
        Some(Outcome::Rejected)
    } else {
        None
    }
}

/// The next statement's rows, sorted by account, each account once. What comes behind an entry of its own batch is a
/// conflict, and unknown with it.
fn choose<'a>(
    batch: &'a [Append],
    outcomes: &mut [Option<Outcome>],
) -> BTreeMap<(&'a str, usize), &'a Append> {
    let mut chosen = BTreeMap::new();
    let mut accounts: HashMap<&str, Option<Outcome>> = HashMap::with_capacity(batch.len());
    let mut bytes = 0_usize;
    for ((place, append), outcome) in batch.iter().enumerate().zip(outcomes) {
        let account = append.account.as_str();
        let before = accounts.get(account).copied();
        if outcome.is_none() {
            match before {
                Some(Some(Outcome::Durable { .. })) => *outcome = Some(Outcome::Conflict),
                Some(Some(Outcome::Unknown)) => *outcome = Some(Outcome::Unknown),
                Some(None) => {}
                Some(Some(Outcome::Conflict | Outcome::Rejected | Outcome::Expired)) | None => {
                    bytes = bytes.saturating_add(append.body.len());
                    if chosen.is_empty() || bytes <= STATEMENT_BYTES_MAX {
                        chosen.insert((account, place), append);
                    }
                }
            }
        }
        // What was written stays what later ones of the account are held against.
        if !matches!(before, Some(Some(Outcome::Durable { .. }))) {
            accounts.insert(account, *outcome);
        }
    }
    chosen
}

/// One statement on a connection of its own.
async fn write(lease: Lease, rows: &[&Append]) -> Vec<Outcome> {
    let all = |outcome| vec![outcome; rows.len()];
    match lease.answer(put(&lease.connection, rows, Intent::New)).await {
        Some(Ok(Put { outcomes, is_clean })) => {
            if is_clean {
                lease.give_back();
            } else {
                lease.suspect();
            }
            outcomes
        }
        Some(Err(error)) => {
            warn!(entries = rows.len(), error = told(&error), "the journal could not append");
            lease.suspect();
            let outcome = what_is_known(&error);
            if outcome == Outcome::Rejected {
                lease.give_back();
            }
            all(outcome)
        }
        None => {
            warn!(entries = rows.len(), "an append has ended without an answer: its connection is given up");
            all(Outcome::Unknown)
        }
    }
}

/// Why entries are appended.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Intent {
    /// They are new.
    New,
    /// The database has had them, and has lost them: they go in although nothing new does.
    GiveBack,
}

/// What became of a statement's rows, and whether the connection is as it was.
pub(super) struct Put {
    pub(super) outcomes: Vec<Outcome>,
    is_clean: bool,
}

/// Appends rows in one statement. Those that did not go in may be there already, from an earlier try.
pub(super) async fn put(connection: &Connection, rows: &[&Append], intent: Intent) -> Result<Put, Error> {
    let all = |outcome| Put { outcomes: vec![outcome; rows.len()], is_clean: false };
    let written = insert(connection, rows, intent).await?;
    if connection.session.take_warning() {
        // The commit may have been told before the standbys had it. Whoever repeats it waits for them.
        return Ok(all(Outcome::Unknown));
    }
    if written.contains_key("") {
        debug!(
            entries = rows.len(),
            "the server is not what it was when this connection was made: nothing goes in"
        );
        return Ok(all(Outcome::Rejected));
    }
    let missing: Vec<&Append> =
        rows.iter().copied().filter(|append| !written.contains_key(append.account.as_str())).collect();
    let found = if missing.is_empty() { Some(Written::new()) } else { find_own(connection, &missing).await };
    let is_clean = found.is_some();
    let otherwise = if is_clean { Outcome::Conflict } else { Outcome::Unknown };
    let found = found.unwrap_or_default();
    let outcome = |append: &&Append| {
        outcome_of(append, &written).or_else(|| outcome_of(append, &found)).unwrap_or(otherwise)
    };
    Ok(Put { outcomes: rows.iter().map(outcome).collect(), is_clean })
}

fn outcome_of(append: &Append, written: &Written) -> Option<Outcome> {
    written.get(append.account.as_str()).map(|at| Outcome::Durable { at: *at })
}

async fn insert(connection: &Connection, rows: &[&Append], intent: Intent) -> Result<Written, Error> {
    let Places { accounts, seqs, ids, prevs } = Places::of(rows);
    let snapshots: Vec<bool> = rows.iter().map(|append| append.is_snapshot).collect();
    let mentions: Vec<String> = rows.iter().map(|append| joined(&append.mentions)).collect();
    let bodies: Vec<&str> = rows.iter().map(|append| append.body.as_str()).collect();
    let is_given_back = intent == Intent::GiveBack;
    // What was said on this connection before is none of this statement's.
    connection.session.take_warning();
    let written = connection
        .session
        .client()
        .query(
            &connection.statements.append,
            &[&accounts, &seqs, &ids, &prevs, &snapshots, &mentions, &bodies, &is_given_back],
        )
        .await?;
    written.iter().map(place_and_time).collect()
}

/// Which of the appends are there already, and where the settings want them to be. Nothing where that is not known.
async fn find_own(connection: &Connection, rows: &[&Append]) -> Option<Written> {
    let look = async {
        let own: Written =
            own(connection, rows).await?.iter().map(place_and_time).collect::<Result<_, _>>()?;
        if !own.is_empty() {
            connection.session.client().query(&connection.statements.settle, &[]).await?;
        }
        Ok::<_, Error>(own)
    };
    match look.await {
        Ok(_) if connection.session.take_warning() => None,
        Ok(own) => Some(own),
        Err(error) => {
            warn!(error = told(&error), "the journal could not look for entries of its own");
            None
        }
    }
}

/// Which of the appends are there already: a row each, with account, time and id.
async fn own(connection: &Connection, rows: &[&Append]) -> Result<Vec<Row>, Error> {
    let Places { accounts, seqs, ids, prevs } = Places::of(rows);
    let client = connection.session.client();
    client.query(&connection.statements.own, &[&accounts, &seqs, &ids, &prevs]).await
}

/// The ids of those of the appends that are there.
pub(super) async fn there(connection: &Connection, rows: &[&Append]) -> Result<HashSet<EntryId>, Error> {
    let own = own(connection, rows).await?;
    own.iter().map(|row| row.try_get::<_, i64>(2).map(|id| EntryId::new(id.cast_unsigned()))).collect()
}

/// Where each append wants to go: a column each.
struct Places<'a> {
    accounts: Vec<&'a str>,
    seqs: Vec<i64>,
    ids: Vec<i64>,
    prevs: Vec<i64>,
}

impl<'a> Places<'a> {
    fn of(rows: &[&'a Append]) -> Self {
        Self {
            accounts: rows.iter().map(|append| append.account.as_str()).collect(),
            seqs: rows.iter().map(|append| append.head.seq.cast_signed()).collect(),
            ids: rows.iter().map(|append| append.id.get().cast_signed()).collect(),
            prevs: rows.iter().map(|append| append.head.id.get().cast_signed()).collect(),
        }
    }
}

fn place_and_time(row: &Row) -> Result<(String, Timestamp), Error> {
    Ok((row.try_get(0)?, timestamp(row.try_get::<_, SystemTime>(1)?)))
}

/// Ids with a space between them; no id has one in it.
fn joined(mentions: &[Mention]) -> String {
    mentions.iter().map(Mention::as_str).collect::<Vec<_>>().join(" ")
}

/// What an error says of the statement. It was one transaction: where the server says that it failed, nothing of it is
/// written. Where the connection ended, or the server ends it, it may have been committed before.
fn what_is_known(error: &Error) -> Outcome {
    let Some(told) = error.as_db_error() else { return Outcome::Unknown };
    let is_over = matches!(told.parsed_severity(), Some(Severity::Error));
    let is_in_doubt = told.code().code().starts_with("08")
        || *told.code() == SqlState::T_R_STATEMENT_COMPLETION_UNKNOWN
        || *told.code() == SqlState::TRANSACTION_RESOLUTION_UNKNOWN;
    // It may do better the next time: whoever is told "unknown" repeats it.
    let is_worth_repeating =
        [SqlState::T_R_SERIALIZATION_FAILURE, SqlState::T_R_DEADLOCK_DETECTED].contains(told.code());
    if is_over && !is_in_doubt && !is_worth_repeating { Outcome::Rejected } else { Outcome::Unknown }
}
