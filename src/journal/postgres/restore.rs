//! Entering a lineage: whether what this node was told is durable is there, and giving back what is not, before anything
//! new is appended. Entries go back with their own ids behind the very entries that they stood behind.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use tokio_postgres::Error;
use tracing::{error, info, warn};

use super::{
    Loss, Misfit, Session,
    append::{self, Intent},
    database::{Connection, Database, State},
    epoch::{self, Look, Progress},
    ring::Batch,
    statements::Statements,
};
use crate::{
    clock::{self, Instant},
    domain::{Account, Mention},
    journal::{Append, EntryId, Lineage, Outcome},
};

/// How long each statement on the way may take.
const STEP_WITHIN: Duration = Duration::from_secs(1);
/// How long a batch of entries may take to be given back, standbys included.
const GIVE_BACK_WITHIN: Duration = Duration::from_secs(5);
/// How often a lineage that is closed is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How often it is tried whether an entry that another node has to give back has come.
const TRY_EVERY: Duration = Duration::from_millis(5);
/// How long the entries of others may be waited for, without one more entry of any writer going in: one that hangs must not
/// keep the journal closed for ever, and one that is slow is not to cost what it could give back.
const STALLED_AFTER: Duration = Duration::from_secs(10);
/// How long statements that were under way on the server of before may take to notice.
const QUIET_WITHIN: Duration = Duration::from_secs(1);
/// After so many batches in a row that are there as a whole, those before are there too.
const WHOLE_BATCHES: usize = 16;
/// How many authorizations a log line names.
const NAMED_MAX: usize = 50;
/// Entries in one statement.
const ENTRIES_MAX: usize = 512;
/// Batches that are looked for together.
const BATCHES_AT_ONCE: usize = 64;

/// What is missing, and what became of it.
#[derive(Default)]
struct Missing {
    /// In the order in which they were acknowledged; then those of unknown outcome.
    pending: Vec<Append>,
    /// How many of them were acknowledged.
    acknowledged: usize,
}

impl Missing {
    /// Those that were acknowledged.
    fn answered(&self) -> &[Append] {
        self.pending.get(..self.acknowledged).unwrap_or(&self.pending)
    }
}

impl Database {
    /// Takes the server of `session` into use: returns when entries may be appended there.
    pub(super) async fn enter(&self, session: &Arc<Session>) -> Result<Look, Misfit> {
        let lineage = session.lineage();
        let before = self.ring.lineage();
        // Nothing that is written over this connection is worth waiting for a standby.
        step(session.client().batch_execute("SET synchronous_commit = off")).await?;
        let mut look = step(Look::at(session)).await?;
        if !look.takes_entries {
            return Err(Misfit::Standby);
        }
        if before != lineage || look.lineage != lineage || !look.is_open {
            self.turn(State::Restoring(Arc::clone(session)));
        }
        self.saw(lineage);
        self.ring.follow(lineage);
        self.until_quiet().await;
        if look.lineage != lineage {
            step(epoch::begin(session, before, &self.writers())).await?;
        }
        let restored = if before == lineage { lineage } else { before };
        step(epoch::beat(session, &self.writer, restored, Progress::default())).await?;
        Box::pin(self.make_good(session, restored)).await?;
        step(epoch::beat(session, &self.writer, lineage, Progress::default())).await?;
        let mut waits_since: Option<Instant> = None;
        loop {
            look = step(Look::at(session)).await?;
            if look.lineage == lineage && look.is_open {
                self.note_look(&look);
                return Ok(look);
            }
            if lineage.is_before(self.lineage()) || lineage.is_before(look.lineage) {
                self.saw(look.lineage);
                return Err(Misfit::Earlier { found: lineage, known: self.lineage() });
            }
            if waits_since.is_none() {
                waits_since = Some(clock::instant());
                info!(%lineage, "waiting until every node that wrote to the journal before has given back what is missing");
            }
            step(epoch::open(session, self.options.loss == Loss::Accept)).await?;
            step(epoch::beat(session, &self.writer, lineage, Progress::default())).await?;
            clock::sleep(LOOK_EVERY).await;
        }
    }

    /// Until no statement is under way on the server of before: what it answers from now on counts for nothing.
    async fn until_quiet(&self) {
        let started = clock::instant();
        while self.ring.is_busy() && started.elapsed() < QUIET_WITHIN {
            clock::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Looks whether what was acknowledged last is there; if not, does with what is missing as the settings say.
    async fn make_good(&self, session: &Arc<Session>, restored: Lineage) -> Result<(), Misfit> {
        let newest = self.ring.newest();
        // Another node may have gone on behind one of ours that nobody knows the fate of.
        let is_next = restored != session.lineage() && !self.ring.doubtful().is_empty();
        if newest.is_empty() && !is_next {
            return Ok(());
        }
        let connection = Box::pin(self.connection_to(session)).await?;
        let entries: Vec<&Append> = newest.iter().flat_map(Batch::entries).collect();
        let there = there(&connection, &entries).await?;
        if entries.iter().all(|append| there.contains(&append.id)) {
            let missing = Missing { pending: self.ring.doubtful(), acknowledged: 0 };
            return if is_next {
                self.give_back(session, restored, &connection, missing).await
            } else {
                Ok(())
            };
        }
        self.turn(State::Restoring(Arc::clone(session)));
        let missing = self.missing(&connection).await?;
        error!(
            server = %session.target(),
            lineage = %session.lineage(),
            entries = entries_of(missing.answered()),
            authorizations = named(&missing.pending),
            "the journal's database lacks entries that were already answered for"
        );
        match self.options.loss {
            Loss::Restore => self.give_back(session, restored, &connection, missing).await,
            Loss::Accept => {
                let entries = entries_of(missing.answered());
                error!(entries, "they are given up, as TOLLGATE_JOURNAL_LOSS=accept says");
                self.count_lost(entries);
                self.ring.forget(missing.answered());
                Ok(())
            }
            Loss::Stop => {
                let cause = format!(
                    "{} entries that were answered for are missing at {}, and TOLLGATE_JOURNAL_LOSS=stop",
                    entries_of(missing.answered()),
                    session.target()
                );
                self.vitals.die(cause.clone());
                Err(Misfit::Refused(cause))
            }
        }
    }

    /// Everything kept that is not there. It is looked for from the newest on, many batches at once.
    async fn missing(&self, connection: &Connection) -> Result<Missing, Misfit> {
        let mut pending = Vec::new();
        let mut whole = 0_usize;
        let batches = self.ring.all();
        for batches in batches.chunks(BATCHES_AT_ONCE) {
            let entries: Vec<&Append> = batches.iter().flat_map(Batch::entries).collect();
            let there = there(connection, &entries).await?;
            for batch in batches {
                let before = pending.len();
                let absent = batch.entries().rev().filter(|append| !there.contains(&append.id));
                pending.extend(absent.cloned());
                whole = if pending.len() == before { whole.saturating_add(1) } else { 0 };
            }
            if whole >= WHOLE_BATCHES {
                break;
            }
        }
        pending.reverse();
        let acknowledged = pending.len();
        pending.extend(self.ring.doubtful());
        Ok(Missing { pending, acknowledged })
    }

    /// Appends what is missing, again and again: an entry may stand behind one that another node has to give back first.
    async fn give_back(
        &self,
        session: &Session,
        restored: Lineage,
        connection: &Connection,
        missing: Missing,
    ) -> Result<(), Misfit> {
        let entries = entries_of(missing.answered());
        let ours: HashSet<_> = missing.answered().iter().map(|append| append.id).collect();
        let Missing { mut pending, .. } = missing;
        let count = |entries: usize| i64::try_from(entries).unwrap_or(i64::MAX);
        let (all, mut moved) = (pending.len(), (None, clock::instant()));
        // Also what nobody knows the fate of is tried until no node can go on: another's entries may stand behind it.
        while !pending.is_empty() {
            let look = step(Look::at(session)).await?;
            let before = pending.len();
            let left = Box::pin(give_back_once(connection, &pending)).await?;
            let is_in_vain = left.as_ref().is_some_and(|left| left.len() == before);
            pending = left.unwrap_or(pending);
            let tried = is_in_vain.then_some(look.given_back);
            let progress = Progress { given_back: count(all.saturating_sub(pending.len())), tried };
            step(epoch::beat(session, &self.writer, restored, progress)).await?;
            let look = step(Look::at(session)).await?;
            if moved.0 != Some(look.given_back) {
                moved = (Some(look.given_back), clock::instant());
            }
            if (is_in_vain && look.is_settled) || moved.1.elapsed() >= STALLED_AFTER {
                break;
            }
            if is_in_vain {
                clock::sleep(TRY_EVERY).await;
            }
        }
        pending.retain(|append| ours.contains(&append.id));
        let lost = entries_of(&pending);
        self.count_restored(entries.saturating_sub(lost));
        if entries == 0 {
        } else if lost == 0 {
            warn!(entries, "what the database lacked was given back: nothing is lost");
        } else {
            error!(
                entries = lost,
                of = entries,
                authorizations = named(&pending),
                "entries that were already answered for are lost: what they stood behind is gone"
            );
            self.count_lost(lost);
            self.ring.forget(&pending);
        }
        Ok(())
    }

    async fn connection_to(&self, session: &Session) -> Result<Connection, Misfit> {
        let connected = session.target().connect(&self.address).await?;
        if connected.lineage() != session.lineage() {
            return Err(Misfit::Moved);
        }
        let statements = Box::pin(step(Statements::prepare(&connected, self.options.copies))).await?;
        Ok(Connection { session: connected, statements })
    }
}

/// A statement's end, or why there is none.
async fn step<T>(statement: impl Future<Output = Result<T, Error>>) -> Result<T, Misfit> {
    match clock::timeout(STEP_WITHIN, statement).await {
        Ok(done) => done.map_err(|cause| Misfit::of(&cause)),
        Err(_) => Err(Misfit::Silent(STEP_WITHIN)),
    }
}

/// What becomes of these appends; nothing where another node has taken a place of a group while the statement ran.
async fn put(connection: &Connection, appends: &[&Append]) -> Result<Option<Vec<Outcome>>, Misfit> {
    let put = append::put(connection, appends, Intent::GiveBack);
    match clock::timeout(GIVE_BACK_WITHIN, put).await {
        Ok(Ok(put)) => Ok(Some(put.outcomes)),
        Ok(Err(cause)) if append::is_torn(&cause) => Ok(None),
        Ok(Err(cause)) => Err(Misfit::of(&cause)),
        Err(_) => Err(Misfit::Silent(GIVE_BACK_WITHIN)),
    }
}

/// The ids of those of these appends that are there.
async fn there(connection: &Connection, appends: &[&Append]) -> Result<HashSet<EntryId>, Misfit> {
    let mut there = HashSet::with_capacity(appends.len());
    for appends in statements(appends) {
        there.extend(step(append::there(connection, appends)).await?);
    }
    Ok(there)
}

/// Appends what can go in now, in one transaction: each entry has to be there before the one behind it goes in, and the
/// disks are waited for once. Gives what is left, in its order: what stands behind entries which are not there. Nothing
/// where another node came between: then nothing was appended, and what it has written is there the next time.
async fn give_back_once(connection: &Connection, pending: &[Append]) -> Result<Option<Vec<Append>>, Misfit> {
    let client = connection.session.client();
    step(client.batch_execute("BEGIN")).await?;
    let Some(left) = Box::pin(put_all(connection, pending)).await? else {
        step(client.batch_execute("ROLLBACK")).await?;
        return Ok(None);
    };
    let commit = clock::timeout(GIVE_BACK_WITHIN, client.batch_execute("COMMIT"));
    commit.await.map_err(|_| Misfit::Silent(GIVE_BACK_WITHIN))?.map_err(|cause| Misfit::of(&cause))?;
    if connection.session.take_warning() { Err(in_doubt()) } else { Ok(Some(left)) }
}

/// A commit may have been reported before the standbys had it. Whoever tries again waits for them.
fn in_doubt() -> Misfit {
    Misfit::Refused("does not say whether it took entries back".to_owned())
}

async fn put_all(connection: &Connection, pending: &[Append]) -> Result<Option<Vec<Append>>, Misfit> {
    let mut left = Vec::new();
    let mut blocked: HashSet<&str> = HashSet::new();
    for appends in layers(pending) {
        let (behind, next): (Vec<_>, Vec<_>) = appends
            .into_iter()
            .partition(|append| append.accounts().any(|account| blocked.contains(account.as_str())));
        for append in behind {
            blocked.extend(append.accounts().map(Account::as_str));
            left.push(append.clone());
        }
        for appends in statements(&next) {
            let Some(outcomes) = put(connection, appends).await? else { return Ok(None) };
            for (append, outcome) in appends.iter().zip(outcomes) {
                match outcome {
                    Outcome::Durable { .. } => {}
                    Outcome::Conflict | Outcome::Rejected | Outcome::Expired => {
                        blocked.extend(append.accounts().map(Account::as_str));
                        left.push((*append).clone());
                    }
                    Outcome::Unknown => return Err(in_doubt()),
                }
            }
        }
    }
    Ok(Some(left))
}

/// The appends in layers that keep their order within each account, each account once in each: first the first of each
/// account, then the second of each, and so on.
fn layers(pending: &[Append]) -> Vec<Vec<&Append>> {
    let mut layers: Vec<Vec<&Append>> = Vec::new();
    let mut seen: HashMap<&str, usize> = HashMap::new();
    for append in pending {
        let before = append.accounts().filter_map(|account| seen.get(account.as_str())).max();
        let layer = before.copied().unwrap_or_default();
        match layers.get_mut(layer) {
            Some(appends) => appends.push(append),
            None => layers.push(vec![append]),
        }
        seen.extend(append.accounts().map(|account| (account.as_str(), layer.saturating_add(1))));
    }
    layers
}

/// The appends in parts that one statement takes.
fn statements<'s, 'a>(mut appends: &'s [&'a Append]) -> Vec<&'s [&'a Append]> {
    let mut parts = Vec::new();
    while !appends.is_empty() {
        let mut entries = 0_usize;
        let fits = |append: &&&Append| {
            entries = entries.saturating_add(append.rows.len());
            entries <= ENTRIES_MAX
        };
        let (part, later) = appends.split_at(appends.iter().take_while(fits).count().max(1));
        parts.push(part);
        appends = later;
    }
    parts
}

/// How many entries these are.
fn entries_of(appends: &[Append]) -> usize {
    appends.iter().map(|append| append.rows.len()).fold(0, usize::saturating_add)
}

/// The mentions that these entries speak of, as far as a log line has room.
fn named(appends: &[Append]) -> String {
    let rows = appends.iter().flat_map(|append| &append.rows);
    let all: Vec<&str> = rows.flat_map(|row| &row.mentions).map(Mention::as_str).collect();
    let more = all.len().saturating_sub(NAMED_MAX);
    let named = all.iter().take(NAMED_MAX).copied().collect::<Vec<_>>().join(" ");
    if more == 0 { named } else { format!("{named} and {more} more") }
}
