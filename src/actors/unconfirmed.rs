//! The newest answers, so that one request gets one answer without a look into the ledger; and which of them Stripe has not
//! spoken of yet. Usually its `.created` or `.updated` follows within seconds; an answer that stays unconfirmed was perhaps
//! never received.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use dashmap::{DashMap, Entry};
use foldhash::fast::RandomState;

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

/// An answer to a request, which a node is about to give, or has given.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Claim {
    /// Which decision it is, and of what.
    pub view: UnconfirmedView,
    /// The answer.
    pub answer: Answer,
}

impl Claim {
    pub(super) fn of(request: &AuthorizationRequest, answer: &Answer) -> Self {
        let view = UnconfirmedView {
            decision: DecisionId::of(&request.authorization, request.question()),
            authorization: request.authorization.clone(),
            card: request.card.clone(),
            at: request.received_at,
        };
        Self { view, answer: answer.clone() }
    }
}

/// An answer, and of which decision it is.
struct Answered {
    view: UnconfirmedView,
    answer: Answer,
    /// Whether Stripe has spoken of it, or another node waits for that. It is kept for duplicates even so, as long as there
    /// is room.
    is_confirmed: bool,
}

impl Answered {
    const fn new(view: UnconfirmedView, answer: Answer) -> Self {
        Self { view, answer, is_confirmed: false }
    }
}

/// The newest answers, as many as there is room for: those that wait for Stripe's word first.
pub(super) struct Unconfirmed {
    waiting: DashMap<DecisionId, Answered, RandomState>,
    waiting_max: usize,
    order: Mutex<Order>,
    /// What was confirmed while the past is still being looked through.
    meanwhile: Mutex<HashSet<DecisionId>>,
    is_looking_back: AtomicBool,
}

/// The ids of answers, oldest first; some of them have gone since.
#[derive(Default)]
struct Order {
    waiting: VecDeque<DecisionId>,
    confirmed: VecDeque<DecisionId>,
}

impl Unconfirmed {
    pub(super) fn new(waiting_max: usize) -> Self {
        Self {
            waiting: DashMap::default(),
            waiting_max: waiting_max.max(1),
            order: Mutex::default(),
            meanwhile: Mutex::default(),
            is_looking_back: AtomicBool::new(false),
        }
    }

    /// A new one is here: if there are too many now, the oldest one goes of those that are confirmed, or else of all.
    fn came(&self, id: DecisionId) {
        let mut order = self.order();
        order.waiting.push_back(id);
        while self.waiting.len() > self.waiting_max
            && let Some(oldest) = order.confirmed.pop_front().or_else(|| order.waiting.pop_front())
        {
            self.waiting.remove(&oldest);
        }
        // What was confirmed leaves its id behind.
        if order.waiting.len() > self.waiting_max.saturating_mul(2) {
            order.waiting.retain(|id| self.waiting.get(id).is_some_and(|known| !known.is_confirmed));
        }
    }

    fn order(&self) -> MutexGuard<'_, Order> {
        self.order.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An answer is about to leave, unless another one to the same request is known. The first one stands, whoever has
    /// given it: the other comes back, and leaves in its place. Of two decisions the ledger knows which one counts.
    pub(super) fn agree(&self, view: UnconfirmedView, answer: &Answer) -> Result<(), Answer> {
        let decision = view.decision;
        match self.waiting.entry(decision) {
            Entry::Occupied(mut known) => {
                let before = &known.get().answer;
                if before != answer && [before.source, answer.source].contains(&Source::StandIn) {
                    return Err(before.clone());
                }
                known.get_mut().answer = answer.clone();
                return Ok(());
            }
            Entry::Vacant(place) => drop(place.insert(Answered::new(view, answer.clone()))),
        }
        self.came(decision);
        Ok(())
    }

    /// This is the answer, whatever was known of it.
    pub(super) fn set(&self, view: UnconfirmedView, answer: Answer) {
        let decision = view.decision;
        if self.waiting.insert(decision, Answered::new(view, answer)).is_none() {
            self.came(decision);
        }
    }

    /// One of before the start: it takes no other's room.
    fn was(&self, decision: DecisionId, answered: Answered) {
        if self.waiting.len() < self.waiting_max
            && let Entry::Vacant(place) = self.waiting.entry(decision)
        {
            drop(place.insert(answered));
            self.order().waiting.push_back(decision);
        }
    }

    /// Another node watches for Stripe's confirmation of it.
    pub(super) fn hand_over(&self, decision: DecisionId) {
        self.settle(decision);
    }

    /// The stand-in's answer that has left in place of this decision.
    pub(super) fn in_place_of(&self, decided: &Answer) -> Option<Answer> {
        let known = self.waiting.get(&decided.decision)?;
        (known.answer.source == Source::StandIn && decided.source == Source::Policy)
            .then(|| known.answer.clone())
    }

    /// What this question was answered, as far as it is known without the books.
    pub(super) fn answer_to(&self, request: &AuthorizationRequest) -> Option<Answer> {
        let decision = DecisionId::of(&request.authorization, request.question());
        self.waiting.get(&decision).map(|known| known.answer.clone())
    }

    /// Stripe spoke of it.
    pub(super) fn confirmed(&self, decision: DecisionId) {
        self.settle(decision);
        if self.is_looking_back.load(Ordering::Acquire) {
            self.meanwhile.lock().unwrap_or_else(PoisonError::into_inner).insert(decision);
        }
    }

    /// Nobody waits for Stripe's word of it any more.
    fn settle(&self, decision: DecisionId) {
        let known = self.waiting.get_mut(&decision);
        if known.is_some_and(|mut known| !std::mem::replace(&mut known.is_confirmed, true)) {
            self.order().confirmed.push_back(decision);
        }
    }

    /// How many wait since before `floor`.
    pub(super) fn count_since_before(&self, floor: Timestamp) -> usize {
        self.waiting.iter().filter(|one| !one.is_confirmed && one.view.at < floor).count()
    }

    /// Those that wait since before `floor`, oldest first.
    pub(super) fn since_before(&self, floor: Timestamp) -> Vec<UnconfirmedView> {
        let waiting = self.waiting.iter().filter(|one| !one.is_confirmed && one.view.at < floor);
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
        let floor = clock::now().minus(LOOK_BACK);
        let found = past(&*self.shared().journal, floor, unconfirmed.waiting_max).await;
        unconfirmed.is_looking_back.store(false, Ordering::Release);
        let meanwhile =
            std::mem::take(&mut *unconfirmed.meanwhile.lock().unwrap_or_else(PoisonError::into_inner));
        match found {
            Ok(found) => {
                let Past { waiting, confirmed } = found;
                for (decision, answered) in waiting {
                    unconfirmed.was(decision, answered);
                    if meanwhile.contains(&decision) {
                        unconfirmed.confirmed(decision);
                    }
                }
                for (decision, answered) in confirmed.into_iter().rev() {
                    unconfirmed.was(decision, answered);
                    unconfirmed.confirmed(decision);
                }
            }
            Err(cause) => {
                tracing::warn!(%cause, "answers of before the start are not watched for confirmation");
            }
        }
    }
}

/// Answers of before the start.
#[derive(Default)]
struct Past {
    waiting: HashMap<DecisionId, Answered>,
    /// The newest of those that are confirmed, oldest first.
    confirmed: VecDeque<(DecisionId, Answered)>,
}

/// What the journal has of answers since `floor`, with so many confirmed ones at most.
async fn past(journal: &dyn Journal, floor: Timestamp, confirmed_max: usize) -> Result<Past, NotFolded> {
    let Past { mut waiting, mut confirmed } = Past::default();
    let mut after = first_since(journal, floor).await?;
    loop {
        let entries = journal.scan(after, PAGE_ENTRIES).await?;
        let Some(last) = entries.last() else { return Ok(Past { waiting, confirmed }) };
        after = last.lsn;
        for entry in &entries {
            for event in ledger::read(entry)? {
                match event {
                    Event::Decided(decided) | Event::StoodIn(decided) => {
                        let answer = decided.decision.answer(decided.request.is_amount_controllable);
                        let view = view(&decided);
                        waiting.insert(view.decision, Answered::new(view, answer));
                    }
                    Event::Observed(observation) => {
                        if let Fact::Authorization(seen) = &observation.fact {
                            for (index, told) in (0_u32..).zip(&seen.history) {
                                let question = Question {
                                    history_entries: index,
                                    amount: told.amount,
                                    approved_before: 0,
                                };
                                let decision = DecisionId::of(&seen.id, question);
                                confirmed.extend(waiting.remove(&decision).map(|one| (decision, one)));
                            }
                        }
                    }
                    Event::Recalled(_)
                    | Event::Joined(_)
                    | Event::Carried(_)
                    | Event::Controls(_)
                    | Event::Charges(_)
                    | Event::Command(_)
                    | Event::Budget(_)
                    | Event::Policy(_)
                    | Event::Delivered(_)
                    | Event::Snapshot(_) => {}
                }
            }
        }
        let surplus = confirmed.len().saturating_sub(confirmed_max);
        drop(confirmed.drain(..surplus));
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

pub(super) fn view(decided: &Decided) -> UnconfirmedView {
    UnconfirmedView {
        decision: decided.decision.id,
        authorization: decided.request.authorization.clone(),
        card: decided.request.card.clone(),
        at: decided.decision.at,
    }
}
