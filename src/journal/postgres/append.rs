//! Appending to PostgreSQL: what of a batch goes into one statement, and what each row is told.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio_postgres::{
    Error, Row as Found,
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
    journal::{Append, EntryId, Outcome, Row, vitals::Vitals},
};

/// How long an append waits for a database that is away, before it is rejected: a connection that was cut is made again
/// within this, and whoever asks is not kept waiting for longer.
const PATIENCE: Duration = Duration::from_millis(250);
/// How many bytes of bodies one statement takes, besides the first.
const STATEMENT_BYTES_MAX: usize = 32 * 1024 * 1024;

/// How often a statement is tried of which other writers would leave a part of a group. Each try takes one more of them,
/// who came while it ran.
const TRIES_MAX: usize = 8;
/// The SQLSTATE of `tollgate.torn()`.
const TORN: &str = "TG001";

/// When each of the written rows was written, by account.
type Written = HashMap<String, Timestamp>;

/// Writes what fits, in as few statements as can be: one, unless the batch is huge or names an account twice.
pub(super) async fn append(pool: Arc<Pool>, vitals: Arc<Vitals>, batch: Arc<[Append]>) -> Vec<Outcome> {
    let mut outcomes: Vec<Option<Outcome>> = batch.iter().map(judge_alone).collect();
    loop {
        let places = choose(&batch, &mut outcomes);
        if places.is_empty() {
            break;
        }
        let chosen: Vec<&Append> = places.iter().filter_map(|place| batch.get(*place)).collect();
        let told = match pool.take(PATIENCE).await {
            // A connection from before its death still leads somewhere; nobody knows any more where.
            Ok(_) if vitals.is_dead() => vec![vitals.refusal(); chosen.len()],
            Ok(lease) => {
                let ring = lease.ring();
                let _under_way = ring.under_way();
                let lineage = lease.connection.session.lineage();
                let outcomes = write(lease, &chosen).await;
                ring.note(&batch, &places, outcomes, lineage)
            }
            Err(NotTaken::Closed) => vec![vitals.refusal(); chosen.len()],
            Err(NotTaken::Unreachable(_)) => {
                debug!(appends = chosen.len(), "the journal's database is away: appends are rejected");
                vec![vitals.refusal(); chosen.len()]
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
    let is_beyond_numbers = |row: &Row| i64::try_from(row.head.seq).map_or(true, |seq| seq == i64::MAX);
    if append.rows.iter().any(is_beyond_numbers) {
        Some(Outcome::Conflict)
    } else if !append.is_writable() || append.rows.iter().any(|row| row.body.contains('\0')) {
        Some(Outcome::Rejected)
    } else {
        None
    }
}

/// The places of the next statement's appends: each account once, each id once. An append behind an entry of its own
/// batch is a conflict, and unknown with it.
fn choose(batch: &[Append], outcomes: &mut [Option<Outcome>]) -> Vec<usize> {
    let mut chosen = Vec::with_capacity(batch.len());
    let mut accounts: HashMap<&str, Option<Outcome>> = HashMap::with_capacity(batch.len());
    let mut ids: HashSet<EntryId> = HashSet::with_capacity(batch.len());
    let mut bytes = 0_usize;
    for ((place, append), outcome) in batch.iter().enumerate().zip(outcomes) {
        if outcome.is_none() {
            let mut is_first = ids.insert(append.id);
            let mut before = None;
            for account in append.accounts() {
                match accounts.get(account.as_str()) {
                    Some(Some(Outcome::Durable { .. })) => before = Some(Outcome::Conflict),
                    Some(Some(Outcome::Unknown)) => before = before.or(Some(Outcome::Unknown)),
                    Some(None) => is_first = false,
                    Some(Some(Outcome::Conflict | Outcome::Rejected | Outcome::Expired)) | None => {}
                }
            }
            if before.is_some() {
                *outcome = before;
            } else if is_first {
                bytes = bytes.saturating_add(append.bytes());
                if chosen.is_empty() || bytes <= STATEMENT_BYTES_MAX {
                    chosen.push(place);
                }
            }
        }
        for account in append.accounts() {
            // What was written stays what later ones of the account are held against.
            let known = accounts.entry(account.as_str()).or_insert(*outcome);
            if !matches!(known, Some(Outcome::Durable { .. })) {
                *known = *outcome;
            }
        }
    }
    chosen
}

/// One statement on a connection of its own.
async fn write(lease: Lease, appends: &[&Append]) -> Vec<Outcome> {
    let all = |outcome| vec![outcome; appends.len()];
    match lease.answer(put(&lease.connection, appends, Intent::New)).await {
        Some(Ok(Put { outcomes, is_clean })) => {
            if is_clean {
                lease.give_back();
            } else {
                lease.suspect();
            }
            outcomes
        }
        Some(Err(error)) => {
            warn!(appends = appends.len(), error = told(&error), "the journal could not append");
            lease.suspect();
            let outcome = what_is_known(&error);
            if outcome == Outcome::Rejected {
                lease.give_back();
            }
            all(outcome)
        }
        None => {
            warn!(
                appends = appends.len(),
                "an append has ended without an answer: its connection is given up"
            );
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

/// What became of a statement's appends, and whether the connection is as it was.
pub(super) struct Put {
    pub(super) outcomes: Vec<Outcome>,
    is_clean: bool,
}

/// Writes appends in one statement. Those that did not go in may be there already, from an earlier try.
pub(super) async fn put(connection: &Connection, appends: &[&Append], intent: Intent) -> Result<Put, Error> {
    let all = |outcome| Put { outcomes: vec![outcome; appends.len()], is_clean: false };
    let written = match intent {
        Intent::New => insert_whole(connection, appends).await?,
        Intent::GiveBack => insert(connection, appends, intent).await?,
    };
    if connection.session.take_warning() {
        // The commit may have been told before the standbys had it. Whoever repeats it waits for them.
        return Ok(all(Outcome::Unknown));
    }
    if written.contains_key("") {
        debug!(
            appends = appends.len(),
            "the server is not what it was when this connection was made: nothing goes in"
        );
        return Ok(all(Outcome::Rejected));
    }
    let missing: Vec<&Append> =
        appends.iter().copied().filter(|append| outcome_of(append, &written).is_none()).collect();
    let found = if missing.is_empty() { Some(Written::new()) } else { find_own(connection, &missing).await };
    let is_clean = found.is_some();
    let otherwise = if is_clean { Outcome::Conflict } else { Outcome::Unknown };
    let found = found.unwrap_or_default();
    let outcome = |append: &&Append| {
        outcome_of(append, &written).or_else(|| outcome_of(append, &found)).unwrap_or(otherwise)
    };
    Ok(Put { outcomes: appends.iter().map(outcome).collect(), is_clean })
}

/// Durable where all rows are there.
fn outcome_of(append: &Append, written: &Written) -> Option<Outcome> {
    let mut times = append.accounts().map(|account| written.get(account.as_str()));
    let first = times.next()??;
    times.all(|at| at.is_some()).then_some(Outcome::Durable { at: *first })
}

/// The statement, again for as long as another writer takes a place of a group while it runs. Each time that writer's
/// entry is there for all to see, and the group is left out the next time.
async fn insert_whole(connection: &Connection, appends: &[&Append]) -> Result<Written, Error> {
    for _ in 1..TRIES_MAX {
        match insert(connection, appends, Intent::New).await {
            Err(error) if is_torn(&error) => debug!("another writer has taken a place of a group: once more"),
            ended => return ended,
        }
    }
    insert(connection, appends, Intent::New).await
}

async fn insert(connection: &Connection, appends: &[&Append], intent: Intent) -> Result<Written, Error> {
    let Places { accounts, seqs, ids, prevs } = Places::of(appends);
    let rows = || appends.iter().flat_map(|append| &append.rows);
    let snapshots: Vec<bool> = rows().map(|row| row.is_snapshot).collect();
    let mentions: Vec<String> = rows().map(|row| joined(&row.mentions)).collect();
    let bodies: Vec<&str> = rows().map(|row| row.body.as_str()).collect();
    let is_given_back = intent == Intent::GiveBack;
    let of_groups: Vec<bool> =
        appends.iter().flat_map(|append| append.rows.iter().map(|_| append.rows.len() > 1)).collect();
    // What was said on this connection before is none of this statement's.
    connection.session.take_warning();
    let written = connection
        .session
        .client()
        .query(
            &connection.statements.append,
            &[&accounts, &seqs, &ids, &prevs, &snapshots, &mentions, &bodies, &is_given_back, &of_groups],
        )
        .await?;
    written.iter().map(place_and_time).collect()
}

/// Which rows of the appends are there already, and where the settings want them to be. Nothing where that is not known.
async fn find_own(connection: &Connection, appends: &[&Append]) -> Option<Written> {
    let look = async {
        let own: Written =
            own(connection, appends).await?.iter().map(place_and_time).collect::<Result<_, _>>()?;
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

/// Which rows of the appends are there already: a row each, with account, time and id.
async fn own(connection: &Connection, appends: &[&Append]) -> Result<Vec<Found>, Error> {
    let Places { accounts, seqs, ids, prevs } = Places::of(appends);
    let client = connection.session.client();
    client.query(&connection.statements.own, &[&accounts, &seqs, &ids, &prevs]).await
}

/// The ids of those of the appends that are there, with all their rows.
pub(super) async fn there(connection: &Connection, appends: &[&Append]) -> Result<HashSet<EntryId>, Error> {
    let own = own(connection, appends).await?;
    let place = |row: &Found| Ok((row.try_get(0)?, EntryId::new(row.try_get::<_, i64>(2)?.cast_unsigned())));
    let own: HashSet<(String, EntryId)> = own.iter().map(place).collect::<Result<_, Error>>()?;
    let is_there =
        |append: &&&Append| append.accounts().all(|account| own.contains(&(account.to_string(), append.id)));
    Ok(appends.iter().filter(is_there).map(|append| append.id).collect())
}

/// Where each row of some appends wants to go: a column each.
struct Places<'a> {
    accounts: Vec<&'a str>,
    seqs: Vec<i64>,
    ids: Vec<i64>,
    prevs: Vec<i64>,
}

impl<'a> Places<'a> {
    fn of(appends: &[&'a Append]) -> Self {
        let capacity = appends.iter().map(|append| append.rows.len()).fold(0, usize::saturating_add);
        let mut places = Self {
            accounts: Vec::with_capacity(capacity),
            seqs: Vec::with_capacity(capacity),
            ids: Vec::with_capacity(capacity),
            prevs: Vec::with_capacity(capacity),
        };
        for append in appends {
            for row in &append.rows {
                places.accounts.push(row.account.as_str());
                places.seqs.push(row.head.seq.cast_signed());
                places.ids.push(append.id.get().cast_signed());
                places.prevs.push(row.head.id.get().cast_signed());
            }
        }
        places
    }
}

fn place_and_time(row: &Found) -> Result<(String, Timestamp), Error> {
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
    let is_worth_repeating = is_torn(error)
        || [SqlState::T_R_SERIALIZATION_FAILURE, SqlState::T_R_DEADLOCK_DETECTED].contains(told.code());
    if is_over && !is_in_doubt && !is_worth_repeating { Outcome::Rejected } else { Outcome::Unknown }
}

/// Whether a statement has failed since it would have written a part of a group.
pub(super) fn is_torn(error: &Error) -> bool {
    error.code().is_some_and(|code| code.code() == TORN)
}
