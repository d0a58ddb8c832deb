//! The record of one authorization: what we answered, what Stripe said of it, what was captured and refunded. What
//! follows from that for holds and windows is in `worth`.

use std::sync::Arc;

use super::{
    card::Totals,
    decision::{Answer, Outcome, Source},
    event::Decided,
    ids::{Account, EventId, TransactionId},
    merchant::Merchant,
    money::Currency,
    observed::{AuthorizationSeen, AuthorizationStatus, HistoryEntry, TransactionSeen},
    request::{AuthorizationRequest, Question},
    time::Timestamp,
    transaction::{Transaction, Transactions},
};
use crate::planted::{self, Planted};

/// Everything that is known of one authorization.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Authorization {
    /// When Stripe created it.
    pub created: Timestamp,
    /// The currency of its amounts.
    pub currency: Option<Currency>,
    /// Where the card was used, as the first message said that knew.
    pub merchant: Merchant,
    /// Our answers, in the order they were given.
    pub answers: Vec<Answered>,
    /// The snapshot of Stripe's with the most progress.
    pub seen: Option<Box<Seen>>,
    /// What the latest increment embedded of the authorization, as it was before that increment.
    pub embedded: Option<Box<Embedded>>,
    /// Captures and refunds, each in its latest version.
    pub transactions: Transactions,
    /// The budgets that it charges: those that its card charged when it was first counted.
    pub charges: Arc<[Account]>,
}

/// One question with the answer that was given.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answered {
    /// What was asked.
    pub question: Question,
    /// The event that asked it first.
    pub event: EventId,
    /// The time that counts for windows: that of the request, or a later one that the card had seen before.
    pub at: Timestamp,
    /// When the node that Stripe asked received the request.
    pub received_at: Timestamp,
    /// Minor units that the answer reserved.
    pub granted: i64,
    /// What went back.
    pub answer: Answer,
    /// Where this request said that the card was used, if the first one said something else.
    pub merchant: Option<Box<Merchant>>,
    /// Minor units that were captured when it was answered. They released holds of before, not this one.
    pub captured: i64,
    /// Nothing was in force when it was asked: the hold was released, and this one begins anew.
    pub reopens: bool,
}

/// A snapshot of Stripe's.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Seen {
    /// Which of two snapshots is the later word.
    pub progress: Progress,
    /// Approved in total, or rejected.
    pub amount: i64,
    /// What that was before, where the event says that it changed.
    pub amount_before: Option<i64>,
    /// Whether it stands.
    pub approved: bool,
    /// Where it is in its life.
    pub status: AuthorizationStatus,
    /// Every decided request, oldest first.
    pub history: Vec<HistoryEntry>,
    /// The time that counts for windows: Stripe's clock may be ahead of ours, and nothing counts later than it is received.
    pub at: Timestamp,
    /// How many answers had been given when the snapshot came.
    pub after: u32,
}

/// An authorization as an increment embeds it: pending, and without the increment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Embedded {
    /// How many requests had been decided.
    pub history_entries: u32,
    /// When Stripe created the event; of two with equal history the later one counts.
    pub created: Timestamp,
    /// Minor units in force, by the request's top-level amount.
    pub amount: i64,
    /// Every decided request, oldest first.
    pub history: Vec<HistoryEntry>,
    /// The time that counts for windows.
    pub at: Timestamp,
    /// How many answers had been given when it came.
    pub after: u32,
}

/// What became of one request at Stripe, beside what we answered to it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StripeOutcome<'a> {
    /// Stripe's word.
    pub entry: &'a HistoryEntry,
    /// Our answer; none where the request never reached us.
    pub ours: Option<&'a Answered>,
}

impl StripeOutcome<'_> {
    /// Whether Stripe, the network or the account's settings approved what we had not.
    #[must_use]
    pub fn is_forced(&self) -> bool {
        self.entry.approved && self.agrees() != Some(true)
    }

    /// Whether Stripe did what we said; `None` where nobody asked us.
    #[must_use]
    pub fn agrees(&self) -> Option<bool> {
        self.ours.map(|ours| ours.is_approval() == self.entry.approved)
    }
}

/// How far an authorization had come when a snapshot was taken. Arrival does not matter, nor does the time of the
/// event, unless all else is equal. The order of the fields is the order of comparison.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Progress {
    /// Decided requests. An authorization that was released can be approved again, so this goes before the status. Old
    /// objects list none although they were approved: at least one was.
    pub history_entries: u32,
    /// Without another decided request nothing goes back to pending.
    pub is_terminal: bool,
    /// Listed transactions.
    pub transactions: u32,
    /// `.updated` goes over `.created`.
    pub is_update: bool,
    /// The later event goes over the earlier.
    pub created: Timestamp,
    /// Two events of one second, neither of which says what was before: one of them has to go first, everywhere the same
    /// one.
    pub event: EventId,
}

impl Authorization {
    /// The answer that was given to this question before.
    #[must_use]
    pub fn answer_to(&self, request: &AuthorizationRequest) -> Option<&Answered> {
        let question = request.question();
        let mut given = self.answers.iter().rev();
        given.find(|answered| answered.question == question || answered.event == request.event)
    }

    /// Books a question with its answer. The first answer stands, unless a stand-in's takes its place: Stripe has
    /// that one.
    pub fn answered(&mut self, decided: &Decided) {
        let Decided { request, decision } = decided;
        let answer = decision.answer(request.is_amount_controllable);
        let question = request.question();
        if let Some(before) = self.answers.iter_mut().find(|given| given.question == question) {
            if before.answer.source == Source::Policy && answer.source == Source::StandIn {
                (before.granted, before.answer) = (decision.granted, answer);
                (before.event, before.received_at) = (request.event.clone(), request.received_at);
            }
            return;
        }
        let answered = Answered::new(request, decision.at, decision.granted, answer);
        self.push_answer(request, answered);
    }

    /// Takes what a request tells of the authorization itself, before it is answered.
    pub(super) fn asked(&mut self, request: &AuthorizationRequest, at: Timestamp) {
        if self.created == Timestamp::default() {
            self.created = request.created;
        }
        if self.answers.is_empty() {
            self.merchant = request.merchant.clone();
        }
        self.currency = request.asked.ok().map(|asked| asked.currency).or(self.currency);
        let told = &request.told;
        let tells_nothing = request.approved_before == 0 && told.history.is_empty();
        let order = (request.history_entries, told.at);
        let is_known = self.embedded.as_deref().is_some_and(|known| known.order() >= order);
        if request.history_entries == 0 || tells_nothing || is_known {
            return;
        }
        self.embedded = Some(Box::new(Embedded {
            history_entries: request.history_entries,
            created: told.at,
            amount: request.approved_before,
            history: until(&told.history, at),
            at,
            after: self.answers_given(),
        }));
    }

    /// Takes a snapshot of Stripe's, if it is the later word.
    pub fn observed(
        &mut self,
        seen: &AuthorizationSeen,
        created: Timestamp,
        received_at: Timestamp,
        event: &EventId,
    ) {
        if self.created == Timestamp::default() {
            self.created = seen.created;
        }
        let told = u32::try_from(seen.history.len()).unwrap_or(u32::MAX);
        let progress = Progress {
            history_entries: told.max(u32::from(seen.approved)),
            is_terminal: seen.status.is_terminal(),
            transactions: seen.transactions,
            is_update: seen.is_update,
            created,
            event: event.clone(),
        };
        let is_older = self.seen.as_ref().is_some_and(|known| !known.is_before(seen, &progress));
        if is_older != (planted::is(Planted::OldestWins) && self.seen.is_some()) {
            return;
        }
        let is_ignored = |known: &Seen| {
            (planted::is(Planted::ReversalIgnored) && known.amount > seen.amount.amount)
                || (planted::is(Planted::TerminalForEver) && known.status.is_terminal())
        };
        if self.seen.as_deref().is_some_and(is_ignored) {
            return;
        }
        // The question knows best where the card was used, then the snapshot, then the transactions.
        if self.answers.is_empty() {
            self.merchant = seen.merchant.clone();
            self.currency = Some(seen.amount.currency);
        }
        self.seen = Some(Box::new(Seen {
            progress,
            amount: seen.amount.amount,
            amount_before: seen.amount_before,
            approved: seen.approved,
            status: seen.status,
            history: until(&seen.history, created.min(received_at)),
            at: created.min(received_at),
            after: self.answers_given(),
        }));
    }

    /// Takes a capture or refund, if it is a later version than the known one.
    pub fn settled(&mut self, seen: &TransactionSeen, transaction: Transaction) {
        if self.book(&seen.id, transaction) {
            let is_first = self.transactions.iter().next().is_some_and(|(first, _)| *first == seen.id);
            if self.answers.is_empty() && self.seen.is_none() && is_first {
                self.merchant = seen.merchant.clone();
                self.currency = seen.currency;
            }
        }
    }

    /// Puts a transaction in the place of its earlier version. False if a later one, or the same, is there.
    pub(super) fn book(&mut self, id: &TransactionId, transaction: Transaction) -> bool {
        if self.transactions.get(id).is_some_and(|known| known.version >= transaction.version) {
            return false;
        }
        self.transactions.insert(id.clone(), transaction);
        true
    }

    /// What became of each request that Stripe tells of, oldest first.
    pub fn outcomes(&self) -> impl Iterator<Item = StripeOutcome<'_>> {
        let history = self.seen.as_deref().map_or(&[][..], |seen| &seen.history);
        let entries = history.iter().enumerate();
        entries.map(|(index, entry)| StripeOutcome {
            entry,
            ours: self.answer_behind(index, entry).map(|(_, answered)| answered),
        })
    }

    /// Minor units captured.
    #[must_use]
    pub fn captured(&self) -> i64 {
        sum(self.transactions.values().map(Transaction::captured))
    }

    /// Minor units refunded.
    #[must_use]
    pub fn refunded(&self) -> i64 {
        sum(self.transactions.values().map(Transaction::refunded))
    }

    /// Whether nothing is known of it after all.
    #[must_use]
    pub fn is_bare(&self) -> bool {
        self.answers.is_empty() && self.seen.is_none() && self.transactions.is_empty()
    }

    /// What it came to.
    #[must_use]
    pub fn totals(&self) -> Totals {
        Totals { captured: self.captured(), refunded: self.refunded(), overrun: self.overrun() }
    }

    /// When anything was last asked or told.
    #[must_use]
    pub fn last_at(&self) -> Timestamp {
        let asked = self.answers.last().map(|answered| answered.at);
        let told = self.seen.as_deref().map(|seen| seen.at);
        let settled = self.transactions.values().map(|transaction| transaction.version.created).max();
        [asked, told, settled].into_iter().flatten().max().unwrap_or_default()
    }

    /// Whether it can be let go: nothing is held, and nothing more is expected.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.hold() == 0 && (self.status().is_terminal() || self.captured() > 0)
    }

    fn answers_given(&self) -> u32 {
        u32::try_from(self.answers.len()).unwrap_or(u32::MAX)
    }
}

impl Answered {
    pub(super) fn new(request: &AuthorizationRequest, at: Timestamp, granted: i64, answer: Answer) -> Self {
        Self {
            question: request.question(),
            event: request.event.clone(),
            at,
            received_at: request.received_at,
            granted,
            answer,
            merchant: None,
            captured: 0,
            reopens: false,
        }
    }

    pub(super) fn is_approval(&self) -> bool {
        match self.answer.outcome {
            Outcome::Approved | Outcome::Partial => true,
            Outcome::Declined => false,
        }
    }
}

impl Seen {
    /// Whether another snapshot is the later word. Of two of one second, it is the one whose amount before is the amount of
    /// the other.
    fn is_before(&self, other: &AuthorizationSeen, progress: &Progress) -> bool {
        let known = &self.progress;
        let is_same_second = Progress { event: progress.event.clone(), ..known.clone() } == *progress;
        let follows = other.amount_before == Some(self.amount);
        let leads = self.amount_before == Some(other.amount.amount);
        if is_same_second && known.event != progress.event && follows != leads {
            return follows;
        }
        known < progress
    }
}

impl Embedded {
    const fn order(&self) -> (u32, Timestamp) {
        (self.history_entries, self.created)
    }
}

/// Stripe's clock may be ahead of ours; nothing counts later than it is.
fn until(history: &[HistoryEntry], latest: Timestamp) -> Vec<HistoryEntry> {
    let capped = |entry: &HistoryEntry| HistoryEntry { created: entry.created.min(latest), ..entry.clone() };
    history.iter().map(capped).collect()
}

pub(super) fn sum(amounts: impl Iterator<Item = i64>) -> i64 {
    amounts.fold(0, i64::saturating_add)
}
