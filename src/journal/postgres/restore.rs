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
    epoch::{self, Look},
    ring::Batch,
    statements::Statements,
};
use crate::{
    clock::{self, Instant},
    domain::Mention,
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
/// How long the entries of others may be waited for, without one more entry of any writer going in. Only writers that wait for
/// each other, all behind an entry of a dead one, wait as long: one that is slow is not to cost what it could give back.
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
    acknowledged: usize,
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
        step(epoch::beat(session, &self.writer, restored)).await?;
        Box::pin(self.make_good(session, restored)).await?;
        step(epoch::beat(session, &self.writer, lineage)).await?;
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
            step(epoch::beat(session, &self.writer, lineage)).await?;
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
            entries = missing.acknowledged,
            authorizations = named(&missing.pending),
            "the journal's database lacks entries that were already answered for"
        );
        match self.options.loss {
            Loss::Restore => self.give_back(session, restored, &connection, missing).await,
            Loss::Accept => {
                error!(
                    entries = missing.acknowledged,
                    "they are given up, as TOLLGATE_JOURNAL_LOSS=accept says"
                );
                self.count_lost(missing.acknowledged);
                self.ring.forget(missing.pending.get(..missing.acknowledged).unwrap_or(&missing.pending));
                Ok(())
            }
            Loss::Stop => {
                let cause = format!(
                    "{} entries that were answered for are missing at {}, and TOLLGATE_JOURNAL_LOSS=stop",
                    missing.acknowledged,
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
        let Missing { mut pending, acknowledged } = missing;
        let ours: HashSet<_> = pending.iter().take(acknowledged).map(|append| append.id).collect();
        let mut moved_at = clock::instant();
        // The others had nothing more to give back before this round.
        let mut was_alone = false;
        let mut progress = None;
        loop {
            let before = pending.len();
            pending = Box::pin(give_back_once(connection, &pending)).await?;
            step(epoch::beat(session, &self.writer, restored)).await?;
            if !pending.iter().any(|append| ours.contains(&append.id)) {
                break;
            }
            if pending.len() < before {
                // What stands behind it may go in now, here or at another node.
                moved_at = clock::instant();
                was_alone = false;
                continue;
            }
            let look = step(Look::at(session)).await?;
            if progress.replace(look.progress()) != Some(look.progress()) {
                moved_at = clock::instant();
            }
            let is_alone =
                look.writers.iter().all(|writer| *writer == self.writer || look.has_restored(writer));
            if moved_at.elapsed() >= STALLED_AFTER || was_alone {
                break;
            }
            was_alone = is_alone;
            clock::sleep(TRY_EVERY).await;
        }
        pending.retain(|append| ours.contains(&append.id));
        self.count_restored(acknowledged.saturating_sub(pending.len()));
        if acknowledged == 0 {
        } else if pending.is_empty() {
            warn!(entries = acknowledged, "what the database lacked was given back: nothing is lost");
        } else {
            error!(
                entries = pending.len(),
                of = acknowledged,
                authorizations = named(&pending),
                "entries that were already answered for are lost: what they stood behind is gone"
            );
            self.count_lost(pending.len());
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

async fn put(connection: &Connection, rows: &[&Append]) -> Result<Vec<Outcome>, Misfit> {
    let put = append::put(connection, rows, Intent::GiveBack);
    match clock::timeout(GIVE_BACK_WITHIN, put).await {
        Ok(done) => done.map(|put| put.outcomes).map_err(|cause| Misfit::of(&cause)),
        Err(_) => Err(Misfit::Silent(GIVE_BACK_WITHIN)),
    }
}

/// The ids of those of these entries that are there.
async fn there(connection: &Connection, entries: &[&Append]) -> Result<HashSet<EntryId>, Misfit> {
    let mut there = HashSet::with_capacity(entries.len());
    for entries in entries.chunks(ENTRIES_MAX) {
        there.extend(step(append::there(connection, entries)).await?);
    }
    Ok(there)
}

/// Appends what can go in now, in one transaction: each entry has to be there before the one behind it goes in, and the
/// disks are waited for once. What is left, in its order: entries that stand behind others which are not there.
async fn give_back_once(connection: &Connection, pending: &[Append]) -> Result<Vec<Append>, Misfit> {
    let client = connection.session.client();
    step(client.batch_execute("BEGIN")).await?;
    let left = Box::pin(put_all(connection, pending)).await?;
    let commit = clock::timeout(GIVE_BACK_WITHIN, client.batch_execute("COMMIT"));
    commit.await.map_err(|_| Misfit::Silent(GIVE_BACK_WITHIN))?.map_err(|cause| Misfit::of(&cause))?;
    if connection.session.take_warning() { Err(in_doubt()) } else { Ok(left) }
}

/// A commit may have been reported before the standbys had it. Whoever tries again waits for them.
fn in_doubt() -> Misfit {
    Misfit::Refused("does not say whether it took entries back".to_owned())
}

async fn put_all(connection: &Connection, pending: &[Append]) -> Result<Vec<Append>, Misfit> {
    let mut left = Vec::new();
    let mut blocked: HashSet<&str> = HashSet::new();
    for rows in layers(pending) {
        let (behind, next): (Vec<_>, Vec<_>) =
            rows.into_iter().partition(|append| blocked.contains(append.account.as_str()));
        left.extend(behind.into_iter().cloned());
        for rows in next.chunks(ENTRIES_MAX) {
            for (append, outcome) in rows.iter().zip(put(connection, rows).await?) {
                match outcome {
                    Outcome::Durable { .. } => {}
                    Outcome::Conflict | Outcome::Rejected | Outcome::Expired => {
                        blocked.insert(append.account.as_str());
                        left.push((*append).clone());
                    }
                    Outcome::Unknown => return Err(in_doubt()),
                }
            }
        }
    }
    Ok(left)
}

/// The appends in layers that keep their order within each account, each account once in each: first the first of each
/// account, then the second of each, and so on.
fn layers(pending: &[Append]) -> Vec<Vec<&Append>> {
    let mut layers: Vec<Vec<&Append>> = Vec::new();
    let mut seen: HashMap<&str, usize> = HashMap::new();
    for append in pending {
        let layer = seen.entry(append.account.as_str()).or_default();
        match layers.get_mut(*layer) {
            Some(rows) => rows.push(append),
            None => layers.push(vec![append]),
        }
        *layer = layer.saturating_add(1);
    }
    layers
}

/// The mentions that these entries speak of, as far as a log line has room.
fn named(appends: &[Append]) -> String {
    let all: Vec<&str> = appends.iter().flat_map(|append| &append.mentions).map(Mention::as_str).collect();
    let more = all.len().saturating_sub(NAMED_MAX);
    let named = all.iter().take(NAMED_MAX).copied().collect::<Vec<_>>().join(" ");
    if more == 0 { named } else { format!("{named} and {more} more") }
}
