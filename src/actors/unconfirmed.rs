//! Answers that Stripe has not spoken of yet. Usually its `.created` or `.updated` follows within seconds; an answer
//! that stays here was perhaps never heard.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use dashmap::{DashMap, Entry};

use super::Directory;
use crate::{
    clock,
    domain::{
        Answer, AuthorizationId, AuthorizationRequest, CardId, Decided, DecisionId, Event, Fact, Question,
        Source, Timestamp,
    },
    journal::Journal,
    ledger::{self, NotFolded},
};

/// How far back a starting node looks for answers that are still unconfirmed.
const LOOK_BACK: Duration = Duration::from_hours(24);
/// How many entries it looks through, at most: the newest.
const LOOK_BACK_ENTRIES: u64 = 1_000_000;
/// How many it reads at once.
const PAGE_ENTRIES: usize = 512;

/// An answer that Stripe has not spoken of.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UnconfirmedView {
    /// The decision.
    pub decision: DecisionId,
    /// On which authorization.
    pub authorization: AuthorizationId,
    /// On which card; none where the request named none.
    pub card: Option<CardId>,
    /// When it was decided.
    pub at: Timestamp,
}

/// An answer that waits, and what it was; that is not looked up for those of before the start.
struct Answered {
    view: UnconfirmedView,
    answer: Option<Answer>,
}

impl Answered {
    fn of(decided: &Decided) -> Self {
        let answer = decided.decision.answer(decided.request.is_amount_controllable);
        Self { view: view(decided), answer: Some(answer) }
    }
}

/// The answers that wait: the newest, as many as there is room for.
pub(super) struct Unconfirmed {
    waiting: DashMap<DecisionId, Answered>,
    waiting_max: usize,
    /// Their ids, oldest first; some of them were confirmed since.
    order: Mutex<VecDeque<DecisionId>>,
    /// What was confirmed while the past is still being looked through.
    meanwhile: Mutex<HashSet<DecisionId>>,
    is_looking_back: AtomicBool,
}

impl Unconfirmed {
    pub(super) fn new(waiting_max: usize) -> Self {
        Self {
            waiting: DashMap::new(),
            waiting_max: waiting_max.max(1),
            order: Mutex::default(),
            meanwhile: Mutex::default(),
            is_looking_back: AtomicBool::new(false),
        }
    }

    /// An answer left.
    pub(super) fn answered(&self, decided: &Decided) {
        if self.waiting.insert(decided.decision.id, Answered::of(decided)).is_none() {
            self.came(decided.decision.id);
        }
    }

    /// A new one is here: the oldest one goes if there are too many now.
    fn came(&self, id: DecisionId) {
        let mut order = self.order.lock().unwrap_or_else(PoisonError::into_inner);
        order.push_back(id);
        while self.waiting.len() > self.waiting_max
            && let Some(oldest) = order.pop_front()
        {
            self.waiting.remove(&oldest);
        }
        // What was confirmed leaves its id behind.
        if order.len() > self.waiting_max.saturating_mul(2) {
            order.retain(|id| self.waiting.contains_key(id));
        }
    }

    /// The stand-in's answer is about to leave, unless another one of the stand-in's to the same question is known: that
    /// one is given, and leaves instead.
    pub(super) fn stood_in(&self, decided: &Decided) -> Option<Answer> {
        match self.waiting.entry(decided.decision.id) {
            Entry::Occupied(mut known) => {
                let before = known.get().answer.clone().filter(|answer| answer.source == Source::StandIn);
                if before.is_none() {
                    known.insert(Answered::of(decided));
                }
                return before;
            }
            Entry::Vacant(place) => drop(place.insert(Answered::of(decided))),
        }
        self.came(decided.decision.id);
        None
    }

    /// What this question was answered, as far as it is known without the books.
    pub(super) fn answer_to(&self, request: &AuthorizationRequest) -> Option<Answer> {
        self.waiting.get(&DecisionId::of(&request.authorization, request.question()))?.answer.clone()
    }

    /// What the stand-in answered to this question.
    pub(super) fn stand_in_answer_to(&self, request: &AuthorizationRequest) -> Option<Answer> {
        self.answer_to(request).filter(|answer| answer.source == Source::StandIn)
    }

    /// Stripe spoke of it.
    pub(super) fn confirmed(&self, decision: DecisionId) {
        self.waiting.remove(&decision);
        if self.is_looking_back.load(Ordering::Acquire) {
            self.meanwhile.lock().unwrap_or_else(PoisonError::into_inner).insert(decision);
        }
    }

    /// How many wait since before `floor`.
    pub(super) fn count_since_before(&self, floor: Timestamp) -> usize {
        self.waiting.iter().filter(|one| one.view.at < floor).count()
    }

    /// Those that wait since before `floor`, oldest first.
    pub(super) fn since_before(&self, floor: Timestamp) -> Vec<UnconfirmedView> {
        let waiting = self.waiting.iter().filter(|one| one.view.at < floor);
        let mut overdue: Vec<UnconfirmedView> = waiting.map(|one| one.view.clone()).collect();
        overdue.sort_unstable_by_key(|one| (one.at, one.decision));
        overdue
    }
}

impl Directory {
    /// The answers that Stripe has not confirmed in good time, oldest first.
    #[must_use]
    pub fn unconfirmed(&self, now: Timestamp) -> Vec<UnconfirmedView> {
        let shared = self.shared();
        shared.unconfirmed.since_before(now.minus(shared.settings.unconfirmed_after))
    }

    /// Looks through the last day of the journal for answers that were unconfirmed when the node stopped. Runs beside
    /// the traffic.
    pub async fn look_back(self) {
        let unconfirmed = &self.shared().unconfirmed;
        unconfirmed.is_looking_back.store(true, Ordering::Release);
        let found = past(&*self.shared().journal, clock::now().minus(LOOK_BACK)).await;
        unconfirmed.is_looking_back.store(false, Ordering::Release);
        let meanwhile =
            std::mem::take(&mut *unconfirmed.meanwhile.lock().unwrap_or_else(PoisonError::into_inner));
        match found {
            Ok(found) => {
                for (decision, view) in found {
                    if !meanwhile.contains(&decision) && unconfirmed.waiting.len() < unconfirmed.waiting_max {
                        unconfirmed.waiting.entry(decision).or_insert(Answered { view, answer: None });
                    }
                }
            }
            Err(cause) => {
                tracing::warn!(%cause, "answers of before the start are not watched for confirmation");
            }
        }
    }
}

/// What the journal has of unconfirmed answers since `floor`.
async fn past(
    journal: &dyn Journal,
    floor: Timestamp,
) -> Result<HashMap<DecisionId, UnconfirmedView>, NotFolded> {
    let mut waiting = HashMap::new();
    let mut after = first_since(journal, floor).await?;
    loop {
        let entries = journal.scan(after, PAGE_ENTRIES).await?;
        let Some(last) = entries.last() else { return Ok(waiting) };
        after = last.lsn;
        for entry in &entries {
            for event in ledger::read(entry)? {
                match event {
                    Event::Decided(decided) | Event::StoodIn(decided) => {
                        let view = view(&decided);
                        waiting.insert(view.decision, view);
                    }
                    Event::Observed(observation) => {
                        if let Fact::Authorization(seen) = &observation.fact {
                            for (index, told) in (0_u32..).zip(&seen.history) {
                                let question = Question {
                                    history_entries: index,
                                    amount: told.amount,
                                    approved_before: 0,
                                };
                                waiting.remove(&DecisionId::of(&seen.id, question));
                            }
                        }
                    }
                    Event::Recalled(_)
                    | Event::Joined(_)
                    | Event::Carried(_)
                    | Event::Controls(_)
                    | Event::Policy(_)
                    | Event::Snapshot(_) => {}
                }
            }
        }
        tokio::task::yield_now().await;
    }
}

/// The log sequence number before the first entry since `floor`, by halving.
async fn first_since(journal: &dyn Journal, floor: Timestamp) -> Result<u64, NotFolded> {
    let (mut low, mut high) = (0_u64, u64::MAX >> 1);
    let mut last = 0;
    while low < high {
        let middle = low.midpoint(high);
        match journal.scan(middle, 1).await?.first() {
            Some(entry) => {
                last = last.max(entry.lsn);
                if entry.at < floor { low = middle.saturating_add(1) } else { high = middle }
            }
            None => high = middle,
        }
    }
    Ok(low.max(last.saturating_sub(LOOK_BACK_ENTRIES)))
}

fn view(decided: &Decided) -> UnconfirmedView {
    UnconfirmedView {
        decision: decided.decision.id,
        authorization: decided.request.authorization.clone(),
        card: decided.request.card.clone(),
        at: decided.decision.at,
    }
}
