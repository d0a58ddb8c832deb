//! The worker beside a running node: it takes what the node has appended, has it decided by the candidate too, and records what
//! was found. It begins an append a quarter of a second after it was given, when its answers have left, and works on a thread
//! that serves no request.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use tokio::{sync::mpsc, task::spawn_blocking};

use super::{
    compare::Comparison,
    feed::Fed,
    findings::Findings,
    order::Read,
    report::Change,
    trials::{Inner, NotSet},
};
use crate::{
    clock::{self, MissedTickBehavior},
    domain::{
        Account, AuthorizationRequest, Budget, Candidate, Card, PolicyEvent, ShadowFound, Timestamp,
        windows_in_force,
    },
    journal::{Append, Entry, Head, Reach, record},
    ledger::{self, Folded, NotFolded},
    metrics::{TrialChange, World},
};

/// How long an append waits at least: its answers have left by then.
const BEHIND: Duration = Duration::from_millis(250);
/// What was found is recorded, and the chain looked at, at every so manieth turn.
const RECORD_EVERY: u32 = 4;
/// How often accounts of one append are read before it is given up.
const ROUNDS_MAX: u32 = 4;

/// Works for the trials of a node.
pub struct Worker {
    inner: Arc<Inner>,
    queue: mpsc::Receiver<Fed>,
    tried: Option<Box<Tried>>,
    /// What came since the last turn.
    fresh: VecDeque<Group>,
    is_silent: bool,
}

/// A candidate, and what is known of the accounts.
struct Tried {
    comparison: Comparison,
    known: HashMap<Account, Known>,
    turn: u64,
    accounts_max: usize,
    restarted: u64,
}

/// What is known of an account.
struct Known {
    /// The last entry that its state has; none where no entry of it was seen.
    seq: Option<u64>,
    used: u64,
}

/// An append, as it goes through the comparison.
struct Group {
    append: Box<Append>,
    at: Timestamp,
    /// Its entries, once they were taken apart.
    read: Vec<Read>,
    rounds: u32,
}

/// An account that has to be read first.
struct Lack {
    account: Account,
    request: Arc<AuthorizationRequest>,
    /// The entry up to which; none where the append has no entry of it.
    through: Option<Head>,
    before: Timestamp,
}

impl Worker {
    pub(super) fn new(inner: Arc<Inner>, queue: mpsc::Receiver<Fed>) -> Self {
        Self { inner, queue, tried: None, fresh: VecDeque::new(), is_silent: false }
    }

    /// Looks what is tried, so that nothing is missed that is appended from here on.
    pub async fn ready(mut self) -> Self {
        self.follow().await;
        self
    }

    /// Works until it is dropped.
    pub async fn run(mut self) {
        let mut ticks = clock::interval(BEHIND);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let changed = Arc::clone(&self.inner);
        let mut turn = 0_u32;
        loop {
            tokio::select! {
                _ = ticks.tick() => {
                    turn = turn.wrapping_add(1);
                    if turn.is_multiple_of(RECORD_EVERY) {
                        self.record().await;
                        self.follow().await;
                    }
                }
                () = changed.changed.notified() => self.follow().await,
            }
            let due = std::mem::take(&mut self.fresh);
            self.compare(due).await;
            self.drain().await;
        }
    }

    /// Takes what is in the queue: it is compared at the next turn.
    async fn drain(&mut self) {
        while let Ok(fed) = self.queue.try_recv() {
            match fed {
                Fed::Appended(append, at) => {
                    self.fresh.push_back(Group { append, at, read: Vec::new(), rounds: 0 });
                }
                Fed::Finish(done) => {
                    let due = std::mem::take(&mut self.fresh);
                    self.compare(due).await;
                    self.record().await;
                    // A caller that waits no longer needs no word.
                    let _ = done.send(());
                }
            }
            if self.fresh.len() >= self.inner.parts.queue_max {
                return;
            }
        }
        let waiting = u32::try_from(self.fresh.len()).unwrap_or(u32::MAX);
        self.inner.parts.metrics.shadow.queue.set(f64::from(waiting));
    }

    /// Looks which candidate is to be tried.
    async fn follow(&mut self) {
        let chain = match self.inner.chain().await {
            Ok(chain) => chain,
            Err(cause) => return self.tell(&cause, "the candidates of the journal cannot be read"),
        };
        let tried = self.tried.as_ref().map(|tried| tried.comparison.candidate().version());
        let candidate = chain.candidate();
        if tried == candidate.map(|candidate| &candidate.version) {
            return;
        }
        self.record().await;
        self.fresh.clear();
        self.tried = candidate.and_then(|candidate| self.read(candidate));
        let policy = self.tried.as_ref().map(|tried| Arc::clone(tried.comparison.candidate()));
        tracing::info!(
            candidate = policy.as_ref().map(|policy| policy.version().as_str()),
            "another candidate is tried beside the policy in force"
        );
        self.inner.feed.turn(policy.is_some());
        self.inner.parts.metrics.shadow.candidate.set(if policy.is_some() { 1.0 } else { 0.0 });
        self.inner.candidate.send_replace(policy);
    }

    fn read(&mut self, candidate: &Candidate) -> Option<Box<Tried>> {
        match (self.inner.parts.read)(&candidate.text) {
            Ok(policy) => {
                let accounts_max = self.inner.parts.accounts_max;
                Some(Box::new(Tried {
                    comparison: Comparison::live(Arc::new(policy), accounts_max),
                    known: HashMap::new(),
                    turn: 0,
                    accounts_max,
                    restarted: 0,
                }))
            }
            Err(mistakes) => {
                self.tell(
                    &mistakes.join("; "),
                    "the candidate in the journal cannot be read by this version",
                );
                None
            }
        }
    }

    /// Has appends decided by the candidate too, and reads the accounts that it takes.
    async fn compare(&mut self, mut due: VecDeque<Group>) {
        while !due.is_empty() {
            let Some(mut tried) = self.tried.take() else { return };
            let worked = spawn_blocking(move || {
                let lacking = tried.work(&mut due);
                (tried, due, lacking)
            });
            let Ok((tried, rest, lacking)) = worked.await else {
                tracing::error!("comparing with the candidate failed: it begins again");
                self.inner.feed.turn(false);
                return;
            };
            (self.tried, due) = (Some(tried), rest);
            for lack in lacking {
                let folded = self.load(&lack).await;
                let Some(tried) = &mut self.tried else { return };
                match folded {
                    Ok(folded) => tried.enter(&lack, &folded),
                    Err(cause) => {
                        self.tell(&cause.to_string(), "an account cannot be read to be compared");
                        due.pop_front();
                        self.inner.parts.metrics.shadow.dropped.increment(1);
                        break;
                    }
                }
            }
        }
    }

    /// The state of an account before the append, with the windows that the candidate has for it.
    async fn load(&self, lack: &Lack) -> Result<Folded, NotFolded> {
        let Some(tried) = &self.tried else { return Ok(Folded::default()) };
        let candidate = tried.comparison.candidate();
        if lack.through.is_some_and(|head| head.seq == 0) {
            return Ok(Folded::default());
        }
        let entries = self.entries(lack, Reach::Snapshot).await?;
        if let Some(policy) = candidate.budgets().of(&lack.account) {
            let folded = ledger::fold_budget(&entries, policy)?;
            if folded.budget.keeps(policy.windows(), policy.refunds_restore) {
                return Ok(folded);
            }
            return ledger::fold_budget_history(&self.entries(lack, Reach::Genesis).await?, policy);
        }
        let mut folded = ledger::fold(&entries)?;
        let request = &lack.request;
        let policy = candidate.for_card_of(
            request.connected_account.as_ref(),
            request.card.as_ref(),
            request.group.as_deref(),
        );
        let controls = folded.card.stripe_controls.clone().filter(|_| request.details.controls.is_some());
        let windows = || windows_in_force(&policy, controls.as_deref());
        if folded.card.adopt(windows(), policy.refunds_restore, request.received_at).is_ok() {
            return Ok(folded);
        }
        let entries = self.entries(lack, Reach::Genesis).await?;
        ledger::fold_history(&entries, windows(), policy.refunds_restore)
    }

    /// The entries of an account before the append.
    async fn entries(&self, lack: &Lack, reach: Reach) -> Result<Vec<Entry>, NotFolded> {
        let journal = &self.inner.parts.journal;
        let is_before = |entry: &Entry| match lack.through {
            Some(head) => entry.seq <= head.seq,
            None => entry.at < lack.before,
        };
        let mut entries = journal.load(&lack.account, reach).await?;
        // A later snapshot hides what was before.
        if reach == Reach::Snapshot
            && entries.first().is_some_and(|first| first.is_snapshot && !is_before(first))
        {
            entries = journal.load(&lack.account, Reach::Genesis).await?;
        }
        entries.retain(is_before);
        Ok(entries)
    }

    /// Records what was found since the last time.
    async fn record(&mut self) {
        let Some(tried) = &mut self.tried else { return };
        let (report, restarted) = (tried.comparison.found(), std::mem::take(&mut tried.restarted));
        let candidate = tried.comparison.candidate().version().clone();
        let accounts = u32::try_from(tried.known.len()).unwrap_or(u32::MAX);
        let inner = Arc::clone(&self.inner);
        let metrics = &inner.parts.metrics;
        metrics.shadow.accounts.set(f64::from(accounts));
        metrics.shadow.restarted.increment(restarted);
        metrics.shadow.requests.increment(report.requests);
        for (world, counts) in
            [(World::Happened, &report.as_it_happened), (World::Gone, &report.as_it_would_have_gone)]
        {
            for change in Change::ALL {
                metrics.shadow.changes.get((world, label(change))).increment(counts.count_of(change));
            }
        }
        let dropped = self.inner.feed.dropped();
        let part = Findings { report, dropped, restarted };
        if part.is_empty() {
            return;
        }
        let found = |findings: &Findings| {
            PolicyEvent::Found(ShadowFound {
                node: Arc::clone(&inner.parts.node),
                candidate: candidate.clone(),
                at: clock::now(),
                findings: serde_json::to_string(findings).unwrap_or_default().into(),
            })
        };
        let recorded = inner.append(|chain| {
            let is_tried = chain.candidate().is_some_and(|known| known.version == candidate);
            let record = chain.view.record.clone().filter(|_| is_tried);
            Ok(record.map(|record| {
                if chain.entries < SUMMARY_EVERY {
                    return (vec![found(&part)], false);
                }
                let mut sum =
                    chain.view.findings.clone().unwrap_or_else(|| Findings::new(candidate.as_str()));
                sum.add(&part);
                (vec![PolicyEvent::Shadow(record), found(&sum)], true)
            }))
        });
        match recorded.await {
            Ok(()) | Err(NotSet::NotAPolicy(_) | NotSet::Already(_) | NotSet::Nothing) => {
                self.is_silent = false;
            }
            Err(NotSet::NotRecorded(cause)) => {
                self.tell(&cause, "what was found of the candidate could not be recorded, and is lost");
            }
        }
    }

    /// Says once what is wrong, until something worked again.
    fn tell(&mut self, cause: &str, message: &str) {
        if !std::mem::replace(&mut self.is_silent, true) {
            tracing::warn!(cause, "{message}");
        }
    }
}

/// A summary is written instead of the next part after so many entries.
const SUMMARY_EVERY: usize = 64;

impl Tried {
    /// Compares appends in order, until one needs accounts that are not here: those are returned, and it stays the first.
    fn work(&mut self, due: &mut VecDeque<Group>) -> Vec<Lack> {
        while let Some(group) = due.front_mut() {
            if group.read.is_empty() {
                self.turn = self.turn.wrapping_add(1);
                group.take_apart();
                self.leave_behind(group);
            }
            let lacking = self.comparison.lacks(&group.read);
            group.rounds = group.rounds.saturating_add(1);
            if !lacking.is_empty() && group.rounds <= ROUNDS_MAX {
                let heads = |account: &Account| {
                    group.append.rows.iter().find(|row| row.account == *account).map(|row| row.head)
                };
                let lack = |(account, request)| Lack {
                    through: heads(&account),
                    account,
                    request,
                    before: group.at,
                };
                return lacking.into_iter().map(lack).collect();
            }
            if lacking.is_empty() {
                self.comparison.take(&group.read);
            }
            for row in &group.append.rows {
                if self.comparison.has(&row.account) {
                    let known = Known { seq: Some(row.head.seq.saturating_add(1)), used: self.turn };
                    self.known.insert(row.account.clone(), known);
                }
            }
            due.pop_front();
            let missed = self.comparison.forget_missed();
            self.restarted = self.restarted.saturating_add(u64::try_from(missed).unwrap_or(u64::MAX));
            self.make_room();
        }
        Vec::new()
    }

    /// Forgets accounts of which an entry was missed: another node wrote it, or the queue was full.
    fn leave_behind(&mut self, group: &Group) {
        for row in &group.append.rows {
            let seq = self.known.get(&row.account).and_then(|known| known.seq);
            if seq.is_some_and(|seq| seq != row.head.seq) {
                self.known.remove(&row.account);
                self.comparison.leave(&row.account);
                self.restarted = self.restarted.saturating_add(1);
            }
        }
    }

    fn enter(&mut self, lack: &Lack, folded: &Folded) {
        let (card, budget): (&Card, &Budget) = (&folded.card, &folded.budget);
        let was_known = self.comparison.has(&lack.account);
        self.comparison.enter(&lack.account, card, budget);
        // What the candidate has made of it until now is gone.
        self.restarted = self.restarted.saturating_add(u64::from(was_known));
        let seq = (folded.head.seq > 0 || lack.through.is_some()).then_some(folded.head.seq);
        self.known.insert(lack.account.clone(), Known { seq, used: self.turn });
    }

    /// Forgets a quarter of the accounts if there are too many, those that were not used for the longest.
    fn make_room(&mut self) {
        if self.known.len() <= self.accounts_max {
            return;
        }
        let mut used: Vec<u64> = self.known.values().map(|known| known.used).collect();
        let place = used.len().div_euclid(4);
        let (_, oldest, _) = used.select_nth_unstable(place);
        let oldest = *oldest;
        let comparison = &mut self.comparison;
        self.known.retain(|account, known| {
            let stays = known.used > oldest;
            if !stays {
                comparison.leave(account);
            }
            stays
        });
    }
}

impl Group {
    fn take_apart(&mut self) {
        let id = self.append.id;
        let read = self.append.rows.iter().filter_map(|row| {
            // The node has written it in this form.
            let events = record::decode(&row.body).ok()?;
            let entry = Entry {
                lsn: 0,
                account: row.account.clone(),
                seq: row.head.seq.saturating_add(1),
                id,
                prev: row.head.id,
                at: self.at,
                is_snapshot: row.is_snapshot,
                body: String::new(),
            };
            Some((entry, events))
        });
        self.read = read.collect();
    }
}

const fn label(change: Change) -> TrialChange {
    match change {
        Change::NewlyDeclined => TrialChange::NewlyDeclined,
        Change::NewlyApproved => TrialChange::NewlyApproved,
        Change::OtherAmount => TrialChange::OtherAmount,
        Change::NewlyChallenged => TrialChange::NewlyChallenged,
    }
}
