//! The thread that owns the writing connection: it judges appends against the heads, and commits whatever is queued in
//! one transaction.

use std::{
    mem,
    path::Path,
    sync::{Arc, atomic::Ordering},
    thread::{self, JoinHandle},
    time::Duration,
};

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};
use tracing::warn;

use super::{
    Shared, Vitals, beside,
    draft::{Draft, Judged, Places, Verdict},
    heads::Heads,
    index::Lookup,
    mark::Point,
    opening::Tip,
    recent::{self, GENERATION_ENTRIES, Place},
    schema,
    upkeep::{self, Bell},
};
use crate::{
    clock,
    domain::{Account, Timestamp},
    journal::{Append, OpenError, Outcome},
};

/// How much the write-ahead log grows before upkeep folds it, in bytes.
const FOLD_AFTER_BYTES: u64 = 8 * 1024 * 1024;
/// How large it may become before the writer itself cuts it down, in pages of 4 KiB: 64 MiB.
const WAL_PAGES_MAX: u64 = 16 * 1024;
/// What a commit adds to the log besides its rows: the page that was not full before, and an inner page.
const COMMIT_BYTES: u64 = 2 * 4096;
/// SQLite's own.
const PAGE_BYTES: u64 = 4096;
/// How long a batch waits for the index to catch up, before it is rejected.
const ROOM_WITHIN: Duration = Duration::from_millis(500);

/// What the writer is asked to do.
pub(super) enum Command {
    Append(Work),
    /// Put everything away, and answer when the files are let go.
    Close(oneshot::Sender<()>),
}

/// One batch, and who waits for it.
pub(super) struct Work {
    pub(super) batch: Arc<[Append]>,
    pub(super) reply: oneshot::Sender<Vec<Outcome>>,
}

pub(super) struct Writer {
    journal: Connection,
    index: Lookup,
    heads: Heads,
    tip: Tip,
    batch_max: usize,
    shared: Arc<Shared>,
    /// Bytes in the log, about, and how many shall be there before upkeep is asked to fold it.
    wal_bytes: u64,
    fold_at_bytes: u64,
}

/// Why a transaction did not go through.
enum Failure {
    /// Nothing is written, certainly, and the journal goes on.
    NotWritten(rusqlite::Error),
    /// Nobody knows.
    Fatal(String),
}

impl Writer {
    pub(super) fn new(
        path: &Path,
        journal: Connection,
        tip: Tip,
        batch_max: usize,
        shared: Arc<Shared>,
    ) -> Result<Self, OpenError> {
        let index =
            Lookup::open(&beside(path, "-index")).map_err(OpenError::sql(path, "open the index of"))?;
        let heads = Heads::default();
        Ok(Self {
            journal,
            index,
            heads,
            tip,
            batch_max,
            shared,
            wal_bytes: 0,
            fold_at_bytes: FOLD_AFTER_BYTES,
        })
    }

    /// Starts the thread.
    pub(super) fn start(
        self,
        path: &Path,
        inbox: mpsc::Receiver<Command>,
        upkeep: JoinHandle<()>,
        bell: Bell,
    ) -> Result<(), OpenError> {
        let thread = thread::Builder::new().name("journal-writer".into());
        let thread = thread.spawn(move || self.run(inbox, upkeep, bell));
        thread.map(drop).map_err(OpenError::io(path, "start the writer of"))
    }

    fn run(mut self, mut inbox: mpsc::Receiver<Command>, upkeep: JoinHandle<()>, bell: Bell) {
        // If this thread ends by a panic, nobody knows what it wrote.
        let mut last_will = LastWill { vitals: Arc::clone(&self.shared.vitals), is_orderly: false };
        let closing = self.serve(&mut inbox, &bell);
        inbox.close();
        while let Some(Command::Append(work)) = inbox.blocking_recv() {
            let refusals = vec![self.shared.vitals.refusal(); work.batch.len()];
            // Whoever went away needs no refusal.
            let _ = work.reply.send(refusals);
        }
        // The bell's end lets upkeep put everything away.
        drop((inbox, bell));
        if upkeep.join().is_err() {
            self.shared.vitals.die("its upkeep panicked".into());
        }
        self.put_away();
        last_will.is_orderly = true;
        drop(last_will);
        if let Some(reply) = closing {
            // Nobody waits: nobody is told.
            let _ = reply.send(());
        }
    }

    /// Commits until told to close, or until nobody can ask any more.
    fn serve(&mut self, inbox: &mut mpsc::Receiver<Command>, bell: &Bell) -> Option<oneshot::Sender<()>> {
        let mut works = Vec::new();
        loop {
            let mut next = inbox.blocking_recv();
            let mut appends = 0_usize;
            let closing = loop {
                match next {
                    Some(Command::Append(work)) => {
                        appends = appends.saturating_add(work.batch.len());
                        works.push(work);
                    }
                    Some(Command::Close(reply)) => break Some(Some(reply)),
                    None => break Some(None),
                }
                if appends >= self.batch_max {
                    break None;
                }
                match inbox.try_recv() {
                    Ok(command) => next = Some(command),
                    Err(_) => break None,
                }
            };
            if !works.is_empty() {
                self.answer(mem::take(&mut works), bell);
                self.look_after_log(bell);
            }
            if let Some(reply) = closing {
                return reply;
            }
        }
    }

    /// Commits what `works` bring, and answers them.
    fn answer(&mut self, works: Vec<Work>, bell: &Bell) {
        let all = |outcome| works.iter().map(|work| vec![outcome; work.batch.len()]).collect::<Vec<_>>();
        let outcomes = if self.shared.vitals.is_dead() {
            all(Outcome::Unknown)
        } else if self.shared.recent.wait_for_room(ROOM_WITHIN) {
            self.commit(&works, bell).unwrap_or_else(|cause| {
                self.shared.vitals.die(cause);
                all(Outcome::Unknown)
            })
        } else {
            warn!("the journal's index does not catch up: appends are rejected");
            all(Outcome::Rejected)
        };
        for (work, outcomes) in works.into_iter().zip(outcomes) {
            // Whoever went away learns it from the journal.
            let _ = work.reply.send(outcomes);
        }
    }

    /// One transaction. An error is one after which nobody knows what is on the disk.
    fn commit(&mut self, works: &[Work], bell: &Bell) -> Result<Vec<Vec<Outcome>>, String> {
        let first = self.tip.point.lsn.saturating_add(1);
        // The log never goes back in time, even if the clock does.
        let at = clock::now().max(self.tip.at);
        let mut draft = Draft { at, first, next: first, rows: Vec::new() };
        let mut judged = Vec::with_capacity(works.len());
        for work in works {
            let batch_first = draft.next;
            let of_batch: Result<Vec<Judged>, String> =
                work.batch.iter().map(|append| self.judge(append, batch_first, &mut draft)).collect();
            judged.push(of_batch?);
        }
        let is_written = match self.write(&draft) {
            Ok(()) => true,
            Err(Failure::NotWritten(error)) => {
                warn!(%error, entries = draft.rows.len(), "the journal could not write: appends are rejected");
                draft.rows.iter().for_each(|(row, _)| self.heads.forget(&row.account));
                false
            }
            Err(Failure::Fatal(cause)) => return Err(cause),
        };
        if is_written && !draft.rows.is_empty() {
            self.publish(&draft, bell)?;
        }
        let outcome = |(verdict, falls)| {
            Ok(match verdict {
                _ if falls && !is_written => Outcome::Rejected,
                Verdict::Accepted => Outcome::Durable { at },
                Verdict::Repeated(lsn) => Outcome::Durable { at: self.written_at(lsn)? },
                Verdict::Conflict => Outcome::Conflict,
                Verdict::Rejected => Outcome::Rejected,
            })
        };
        judged.into_iter().map(|of_batch| of_batch.into_iter().map(outcome).collect()).collect()
    }

    /// Holds an append against the heads of its chains, as drafted so far, and drafts its rows where all of them fit.
    fn judge<'a>(
        &mut self,
        append: &'a Append,
        batch_first: u64,
        draft: &mut Draft<'a>,
    ) -> Result<Judged, String> {
        let places: Result<Places, String> = append.accounts().map(|account| self.place(account)).collect();
        let mut places = places?;
        let judged = draft.judge(append, &mut places, batch_first);
        if matches!(judged.0, Verdict::Accepted) {
            for (account, place) in append.accounts().zip(places) {
                self.heads.put(account, place);
            }
        }
        Ok(judged)
    }

    /// Where the chain of an account ends, as drafted so far.
    fn place(&mut self, account: &Account) -> Result<Place, String> {
        if let Some(place) = self.heads.get(account) {
            return Ok(place);
        }
        let place = match self.shared.recent.place(account) {
            Some(place) => place,
            None => self.indexed(account)?,
        };
        if place != Place::default() {
            self.heads.put(account, place);
        }
        Ok(place)
    }

    fn indexed(&self, account: &Account) -> Result<Place, String> {
        let place = self.index.place(account).map_err(|error| format!("cannot read its index: {error}"))?;
        Ok(place.unwrap_or_default())
    }

    fn written_at(&self, lsn: u64) -> Result<Timestamp, String> {
        schema::written_at(&self.journal, lsn).map_err(|error| format!("cannot read entry {lsn}: {error}"))
    }

    fn write(&self, draft: &Draft<'_>) -> Result<(), Failure> {
        if draft.rows.is_empty() {
            return Ok(());
        }
        insert(&self.journal, draft).map_err(|error| self.undo(error))
    }

    /// Takes a failed transaction back, and tells whether that is certain.
    fn undo(&self, error: rusqlite::Error) -> Failure {
        if !upkeep::may_pass(&error) {
            return Failure::Fatal(format!("cannot commit: {error}"));
        }
        if !self.journal.is_autocommit()
            && let Err(rollback) = self.journal.execute_batch("ROLLBACK")
        {
            return Failure::Fatal(format!("cannot commit: {error}; nor roll back: {rollback}"));
        }
        match schema::last_lsn(&self.journal) {
            Ok(last) if last == self.tip.point.lsn => Failure::NotWritten(error),
            Ok(last) => {
                Failure::Fatal(format!("cannot commit: {error}; yet the journal ends at entry {last}"))
            }
            Err(unread) => Failure::Fatal(format!("cannot commit: {error}; nor read: {unread}")),
        }
    }

    /// Makes known what is durable: to the mark, to readers, to upkeep.
    fn publish(&mut self, draft: &Draft<'_>, bell: &Bell) -> Result<(), String> {
        let mut point = self.tip.point;
        let mut chain_before = point.chain;
        let mut mentions = Vec::with_capacity(draft.rows.len());
        let mut bytes = COMMIT_BYTES;
        for (row, stored) in &draft.rows {
            chain_before = point.chain;
            point = Point { lsn: stored.lsn, chain: point.chain.after(stored) };
            mentions.extend(row.mentions.iter().map(|id| (recent::hash(id.as_str()), stored.lsn)));
            bytes = bytes.saturating_add(stored.bytes());
        }
        self.shared.mark.write(point).map_err(|error| format!("cannot write its mark: {error}"))?;
        self.tip = Tip { point, at: draft.at };
        self.wal_bytes = self.wal_bytes.saturating_add(bytes);
        let waiting = self.shared.recent.add(|generation| {
            for (row, stored) in &draft.rows {
                let head = row.next_head(stored.id);
                generation.add(row.account.clone(), Place { lsn: stored.lsn, head });
            }
            generation.mentions.extend(mentions);
            generation.last = Some(Point { lsn: point.lsn, chain: chain_before });
        });
        if waiting >= GENERATION_ENTRIES {
            bell.ring();
        }
        Ok(())
    }

    /// Keeps the write-ahead log from growing: upkeep folds what is there, and this thread, between two commits, the
    /// little that came meanwhile, so that the log starts over. Readers in the way make it wait for another time.
    fn look_after_log(&mut self, bell: &Bell) {
        if self.wal_bytes >= self.fold_at_bytes {
            self.fold_at_bytes = u64::MAX;
            self.shared.fold_wanted.store(true, Ordering::Relaxed);
            bell.ring();
        }
        if !self.shared.fold_ready.swap(false, Ordering::Relaxed) || self.shared.vitals.is_dead() {
            return;
        }
        let mut wal = schema::checkpoint(&self.journal);
        if wal.as_ref().is_ok_and(|wal| !wal.is_folded() && wal.pages > WAL_PAGES_MAX) {
            wal = schema::checkpoint_and_truncate(&self.journal);
        }
        match upkeep::tolerate("fold the journal's log", wal) {
            Ok(wal) => {
                let left = wal.filter(|wal| !wal.is_folded()).map_or(0, |wal| wal.pages);
                self.wal_bytes = left.saturating_mul(PAGE_BYTES);
                self.fold_at_bytes = self.wal_bytes.saturating_add(FOLD_AFTER_BYTES);
            }
            Err(cause) => self.shared.vitals.die(cause),
        }
    }

    /// Leaves one file with everything in it, and a synced mark. A dead journal is left as it is.
    fn put_away(self) {
        if self.shared.vitals.is_dead() {
            return;
        }
        let folded = schema::checkpoint_and_truncate(&self.journal)
            .and_then(|_| schema::tidy_at_close(&self.journal))
            .and_then(|()| self.journal.close().map_err(|(_, error)| error));
        if let Err(error) = folded {
            warn!(%error, "the journal's log was not folded; that is done at the next start");
        }
        if let Err(error) = self.shared.mark.sync() {
            warn!(%error, "the journal's mark was not synced");
        }
    }
}

fn insert(journal: &Connection, draft: &Draft<'_>) -> rusqlite::Result<()> {
    journal.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
    let mut insert = schema::insert(journal)?;
    for (_, stored) in &draft.rows {
        stored.write(&mut insert)?;
    }
    journal.prepare_cached("COMMIT")?.execute([])?;
    Ok(())
}

/// Tells of the writer's end where it could not do so itself.
struct LastWill {
    vitals: Arc<Vitals>,
    is_orderly: bool,
}

impl Drop for LastWill {
    fn drop(&mut self) {
        if !self.is_orderly {
            self.vitals.die("its writer panicked".into());
        }
    }
}

#[cfg(test)]
mod tests;
