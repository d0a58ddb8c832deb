//! A journal that fails on purpose, around any other one: for the tests of everything that must survive its failures.
//! Nothing outside tests uses it.

use std::{
    collections::VecDeque,
    fmt, iter,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::watch, time};

use super::{
    Append, Entry, EntryId, Fatal, Journal, LookBack, LookedBack, Outcome, Pending, Reach, Row, Scan,
    Unavailable,
};
use crate::domain::{Account, Mention};

/// A journal whose appends and loads fail as a [`Script`] says. For tests.
///
/// Only appends count for the script; what it does not mention goes through to the inner journal.
pub struct Faulty {
    inner: Arc<dyn Journal>,
    script: Mutex<Script>,
    pace: Mutex<Pace>,
    death: watch::Sender<Option<Fatal>>,
}

/// What happens to the next append.
#[derive(Clone, Debug)]
pub enum Fault {
    /// Nothing: it goes through.
    None,
    /// Fails before: nothing is written, and the journal knows it.
    Rejected,
    /// The connection is lost before anything is written.
    LostBefore,
    /// The connection is lost after everything is written.
    LostAfter,
    /// The first so many appends of the batch go through; the rest is not written, and certainly so.
    HalfRejected(usize),
    /// The first so many appends of the batch are written, no more; the connection is lost.
    HalfLost(usize),
    /// Another node writes an entry behind the head that one row of each append of the batch expects, and wins.
    Overtaken(Foreign),
    /// Nothing is written before the gate opens; then comes the inner fault.
    HeldBefore(Gate, Box<Fault>),
    /// The inner fault happens at once, but is not answered before the gate opens.
    HeldAfter(Gate, Box<Fault>),
    /// The inner fault comes so much later, on tokio's clock, which a test may pause.
    Delayed(Duration, Box<Fault>),
}

/// An entry of another node.
#[derive(Clone, Debug)]
pub struct Foreign {
    /// A JSON array; see `record`.
    pub body: String,
    /// What the body speaks of.
    pub mentions: Vec<Mention>,
}

impl Default for Foreign {
    /// An entry in which nothing happened.
    fn default() -> Self {
        Self { body: "[]".into(), mentions: Vec::new() }
    }
}

/// The faults to come: first those that are written down, one for each append; then those that are drawn.
#[derive(Clone, Debug, Default)]
pub struct Script {
    next: VecDeque<Fault>,
    drawn: Option<(fastrand::Rng, Odds)>,
    failing_loads: usize,
}

/// How many of a hundred appends (or loads) meet which fault. What is left goes through.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Odds {
    /// [`Fault::Rejected`], and [`Fault::HalfRejected`] somewhere in the batch.
    pub rejected: u8,
    /// [`Fault::LostBefore`].
    pub lost_before: u8,
    /// [`Fault::LostAfter`].
    pub lost_after: u8,
    /// [`Fault::HalfLost`] somewhere in the batch.
    pub half_lost: u8,
    /// [`Fault::Overtaken`] by an entry in which nothing happened.
    pub overtaken: u8,
    /// Loads, finds and scans that fail.
    pub unreadable: u8,
}

impl Odds {
    /// No faults.
    pub const NONE: Self =
        Self { rejected: 0, lost_before: 0, lost_after: 0, half_lost: 0, overtaken: 0, unreadable: 0 };

    /// Some of everything.
    pub const ROUGH: Self =
        Self { rejected: 8, lost_before: 8, lost_after: 8, half_lost: 8, overtaken: 4, unreadable: 4 };
}

/// How slow a disk is, on tokio's clock, which a test may pause.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Pace {
    /// What each batch takes, whatever is in it.
    pub batch: Duration,
    /// What each append of it takes.
    pub append: Duration,
}

impl Pace {
    fn of_batch(self, appends: usize) -> Duration {
        let appends = u32::try_from(appends).unwrap_or(u32::MAX);
        self.batch.saturating_add(self.append.saturating_mul(appends))
    }
}

impl Script {
    /// These faults, one for each append; afterwards everything goes through.
    #[must_use]
    pub fn of(faults: impl IntoIterator<Item = Fault>) -> Self {
        Self { next: faults.into_iter().collect(), ..Self::default() }
    }

    /// Faults drawn with these odds. The same seed draws the same faults for the same calls.
    #[must_use]
    pub fn seeded(seed: u64, odds: Odds) -> Self {
        Self { drawn: Some((fastrand::Rng::with_seed(seed), odds)), ..Self::default() }
    }

    fn fault(&mut self, batch_len: usize) -> Fault {
        if let Some(fault) = self.next.pop_front() {
            return fault;
        }
        let Some((rng, odds)) = &mut self.drawn else { return Fault::None };
        let mut lot = rng.u8(..100);
        let mut hits = |odds: u8| {
            let hit = lot < odds;
            lot = lot.saturating_sub(odds);
            hit
        };
        if hits(odds.rejected) {
            let written = rng.usize(..=batch_len);
            if written == 0 { Fault::Rejected } else { Fault::HalfRejected(written) }
        } else if hits(odds.lost_before) {
            Fault::LostBefore
        } else if hits(odds.lost_after) {
            Fault::LostAfter
        } else if hits(odds.half_lost) {
            Fault::HalfLost(rng.usize(..=batch_len))
        } else if hits(odds.overtaken) {
            Fault::Overtaken(Foreign::default())
        } else {
            Fault::None
        }
    }

    fn fails_to_read(&mut self) -> bool {
        if self.failing_loads > 0 {
            self.failing_loads = self.failing_loads.saturating_sub(1);
            return true;
        }
        self.drawn.as_mut().is_some_and(|(rng, odds)| rng.u8(..100) < odds.unreadable)
    }
}

impl Faulty {
    /// Wraps a journal.
    #[must_use]
    pub fn new(inner: Arc<dyn Journal>, script: Script) -> Self {
        Self { inner, script: Mutex::new(script), pace: Mutex::default(), death: watch::Sender::new(None) }
    }

    /// Lets the next append that the script does not mention yet meet `fault`.
    pub fn then(&self, fault: Fault) {
        self.script().next.push_back(fault);
    }

    /// Lets the next append meet a gate, behind which it goes through. Gives the gate.
    #[must_use]
    pub fn hold_next(&self) -> Gate {
        let gate = Gate::new();
        self.then(Fault::HeldBefore(gate.clone(), Box::new(Fault::None)));
        gate
    }

    /// Lets the next so many loads, finds and scans fail.
    pub fn fail_loads(&self, loads: usize) {
        self.script().failing_loads = loads;
    }

    /// Makes every append from now on as slow as this.
    pub fn slow_down(&self, pace: Pace) {
        *self.pace.lock().unwrap_or_else(PoisonError::into_inner) = pace;
    }

    /// Ends all faults, drawn and written down.
    pub fn heal(&self) {
        *self.script() = Script::default();
    }

    /// Dies, as after a failed sync: every append from now on is `Unknown`, and [`Journal::fatal`] resolves.
    pub fn die(&self, reason: &str) {
        self.death.send_replace(Some(Fatal(reason.into())));
    }

    fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn meet(&self, batch: Arc<[Append]>, fault: Fault) -> Pending<'_, Vec<Outcome>> {
        Box::pin(async move {
            let all = batch.len();
            match fault {
                Fault::None => self.inner.append(batch).await,
                Fault::Rejected => vec![Outcome::Rejected; all],
                Fault::LostBefore => vec![Outcome::Unknown; all],
                Fault::LostAfter => {
                    self.inner.append(batch).await;
                    vec![Outcome::Unknown; all]
                }
                Fault::HalfRejected(written) => {
                    let half = batch.iter().take(written).cloned().collect();
                    let outcomes = self.inner.append(half).await.into_iter();
                    outcomes.chain(iter::repeat(Outcome::Rejected)).take(all).collect()
                }
                Fault::HalfLost(written) => {
                    self.inner.append(batch.iter().take(written).cloned().collect()).await;
                    vec![Outcome::Unknown; all]
                }
                Fault::Overtaken(foreign) => {
                    self.inner
                        .append(batch.iter().filter_map(|append| foreign.ahead_of(append)).collect())
                        .await;
                    self.inner.append(batch).await
                }
                Fault::HeldBefore(gate, fault) => {
                    gate.pass().await;
                    self.meet(batch, *fault).await
                }
                Fault::HeldAfter(gate, fault) => {
                    let outcomes = self.meet(batch, *fault).await;
                    gate.pass().await;
                    outcomes
                }
                Fault::Delayed(span, fault) => {
                    time::sleep(span).await;
                    self.meet(batch, *fault).await
                }
            }
        })
    }

    async fn read<T>(
        &self,
        read: impl Future<Output = Result<T, Unavailable>> + Send,
    ) -> Result<T, Unavailable> {
        let fails = self.script().fails_to_read();
        if fails { Err(Unavailable("it fails on purpose".into())) } else { read.await }
    }
}

impl Foreign {
    /// The other node's entry at the place that a row of `append` wants: one of them, so that the others still fit. Its
    /// id differs, and both are the same at each run.
    fn ahead_of(&self, append: &Append) -> Option<Append> {
        let rows = u64::try_from(append.rows.len()).ok()?;
        let row = append.rows.get(usize::try_from(append.id.get().checked_rem(rows)?).ok()?)?;
        let foreign = Row {
            account: row.account.clone(),
            head: row.head,
            is_snapshot: false,
            mentions: self.mentions.clone(),
            body: self.body.clone(),
        };
        Some(Append::one(EntryId::new(append.id.get().wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1), foreign))
    }
}

impl Scan for Faulty {
    fn scan(&self, after: u64, entries_max: usize) -> Pending<'_, Result<Vec<Entry>, Unavailable>> {
        Box::pin(self.read(self.inner.scan(after, entries_max)))
    }
}

impl Journal for Faulty {
    fn append(&self, batch: Arc<[Append]>) -> Pending<'_, Vec<Outcome>> {
        if self.death.borrow().is_some() {
            return Box::pin(std::future::ready(vec![Outcome::Unknown; batch.len()]));
        }
        let fault = self.script().fault(batch.len());
        let takes = self.pace.lock().unwrap_or_else(PoisonError::into_inner).of_batch(batch.len());
        if takes.is_zero() {
            return self.meet(batch, fault);
        }
        Box::pin(async move {
            time::sleep(takes).await;
            self.meet(batch, fault).await
        })
    }

    fn load<'a>(
        &'a self,
        account: &'a Account,
        reach: Reach,
    ) -> Pending<'a, Result<Vec<Entry>, Unavailable>> {
        Box::pin(self.read(self.inner.load(account, reach)))
    }

    fn find<'a>(&'a self, mention: &'a Mention) -> Pending<'a, Result<Vec<Entry>, Unavailable>> {
        Box::pin(self.read(self.inner.find(mention)))
    }

    fn look_back<'a>(&'a self, what: &'a LookBack) -> Pending<'a, Result<LookedBack, Unavailable>> {
        Box::pin(self.read(self.inner.look_back(what)))
    }

    fn fatal(&self) -> Pending<'_, Fatal> {
        Box::pin(async {
            let mut death = self.death.subscribe();
            let own = async {
                match death.wait_for(Option::is_some).await.ok().and_then(|death| death.clone()) {
                    Some(fatal) => fatal,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                fatal = own => fatal,
                fatal = self.inner.fatal() => fatal,
            }
        })
    }

    fn is_in_trouble(&self) -> bool {
        self.inner.is_in_trouble()
    }

    fn close(&self) -> Pending<'_, ()> {
        self.inner.close()
    }
}

/// A place where an append waits until a test lets it go on. Clones are the same gate.
#[derive(Clone)]
pub struct Gate(Arc<watch::Sender<(usize, bool)>>);

impl Gate {
    /// A closed gate.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(watch::Sender::new((0, false))))
    }

    /// Lets everything through, from now on.
    pub fn open(&self) {
        self.0.send_modify(|(_, is_open)| *is_open = true);
    }

    /// Returns when an append has come to the gate.
    pub async fn arrived(&self) {
        let mut state = self.0.subscribe();
        // The sender lives as long as `self`.
        let _ = state.wait_for(|(arrivals, _)| *arrivals > 0).await;
    }

    async fn pass(&self) {
        let mut state = self.0.subscribe();
        self.0.send_modify(|(arrivals, _)| *arrivals = arrivals.saturating_add(1));
        let _ = state.wait_for(|(_, is_open)| *is_open).await;
    }
}

impl Default for Gate {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Gate")
    }
}
