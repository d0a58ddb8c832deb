//! The record of one authorization: what we answered, what Stripe said of it, what was captured and refunded; and
//! what follows from that for holds and windows. What follows is a function of the record alone, so that it does not
//! matter in which order the facts came.

use super::{
    card::Totals,
    decision::{Answer, Outcome, Source},
    event::Decided,
    ids::EventId,
    merchant::Merchant,
    money::Currency,
    observed::{AuthorizationSeen, AuthorizationStatus, HistoryEntry, TransactionSeen},
    request::{AuthorizationRequest, Question},
    time::Timestamp,
    transaction::{Transaction, Transactions},
    window::Spend,
};

/// Everything that is known of one authorization.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Authorization {
    /// When Stripe created it.
    pub created: Timestamp,
    /// The currency of its amounts.
    pub currency: Option<Currency>,
    /// Where the card was used.
    pub merchant: Merchant,
    /// Our answers, in the order they were given.
    pub answers: Vec<Answered>,
    /// Stripe's word with the most progress.
    pub seen: Option<Box<Seen>>,
    /// Captures and refunds, each in its latest version.
    pub transactions: Transactions,
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
}

/// The snapshot of Stripe's with the most progress.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Seen {
    /// Which of two snapshots is the later word.
    pub progress: Progress,
    /// Approved in total, or rejected.
    pub amount: i64,
    /// Whether it stands.
    pub approved: bool,
    /// Where it is in its life.
    pub status: AuthorizationStatus,
    /// Every decided request, oldest first.
    pub history: Vec<HistoryEntry>,
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
    /// Nothing goes back to pending.
    pub is_terminal: bool,
    /// Decided requests. Old objects may list none although they were approved: they count as having told all.
    pub history_entries: u32,
    /// Listed transactions.
    pub transactions: u32,
    /// `.updated` goes over `.created`.
    pub is_update: bool,
    /// The later event goes over the earlier.
    pub created: Timestamp,
    /// Two events of one second: one of them has to go first, everywhere the same one.
    pub event: EventId,
}

impl Authorization {
    /// The answer that was given to this question before.
    #[must_use]
    pub fn answer_to(&self, request: &AuthorizationRequest) -> Option<&Answered> {
        let question = request.question();
        let given = self.answers.iter().filter(|answered| !answered.is_forced());
        given.rev().find(|answered| answered.question == question || answered.event == request.event)
    }

    /// What Stripe has approved before this request and these books have not seen: an earlier request that never
    /// reached us. It is money held all the same.
    #[must_use]
    pub fn unseen_before(&self, request: &AuthorizationRequest) -> i64 {
        let told = self.seen.as_ref().is_some_and(|seen| seen.history_entries() >= request.history_entries);
        if request.history_entries == 0 || told {
            return 0;
        }
        request.approved_before.saturating_sub(self.hold().saturating_add(self.captured())).max(0)
    }

    /// What the books count of this very question already: Stripe's word of the request can come before the request.
    #[must_use]
    pub fn told_before(&self, request: &AuthorizationRequest, refunds_restore: bool) -> Option<Spend> {
        let index = usize::try_from(request.history_entries).ok()?;
        let (before, rest) = self.seen.as_deref()?.history.split_at_checked(index)?;
        let entry = rest.first()?;
        // What was asked here counts at the time of its answer, anything else at Stripe's.
        let is_told =
            |index, entry: &HistoryEntry| entry.approved && self.answer_behind(index, entry).is_none();
        let is_alike = |(index, other): &(usize, &HistoryEntry)| {
            other.created == entry.created && is_told(*index, other)
        };
        let alike_before = before.iter().enumerate().filter(is_alike).count();
        let spends = self.spends(refunds_restore).into_iter();
        let mut alike = spends.filter(|spend| is_told(index, entry) && spend.at == entry.created);
        alike.nth(alike_before)
    }

    /// Books a question with its answer. The first answer stands, unless a stand-in's takes its place: Stripe has
    /// that one.
    pub fn answered(&mut self, decided: &Decided) {
        let Decided { request, decision } = decided;
        if self.created == Timestamp::default() {
            self.created = request.created;
        }
        self.merchant = request.merchant.clone();
        self.currency = request.asked.ok().map(|asked| asked.currency).or(self.currency);
        let unseen = self.unseen_before(request);
        if self.answers.is_empty() {
            // Most have one answer for ever; a vector that grows by itself would make room for four.
            self.answers.reserve_exact(1);
        }
        let question = request.question();
        let answer = decision.answer(request.is_amount_controllable);
        if unseen > 0 {
            let earlier = question.history_entries.saturating_sub(1);
            self.answers.push(Answered {
                question: Question { history_entries: earlier, amount: request.approved_before },
                event: request.event.clone(),
                at: decision.at,
                received_at: request.received_at,
                granted: unseen,
                answer: Answer {
                    source: Source::Forced,
                    outcome: Outcome::Approved,
                    marks: None,
                    ..answer.clone()
                },
            });
        }
        let answered = Answered {
            question,
            event: request.event.clone(),
            at: decision.at,
            received_at: request.received_at,
            granted: decision.granted,
            answer,
        };
        match self.answers.iter_mut().find(|given| !given.is_forced() && given.question == question) {
            Some(before)
                if before.answer.source == Source::Policy && answered.answer.source == Source::StandIn =>
            {
                *before = Answered { at: before.at, ..answered };
            }
            Some(_) => {}
            None => self.answers.push(answered),
        }
    }

    /// Takes a snapshot of Stripe's, if it is the later word.
    pub fn observed(&mut self, seen: &AuthorizationSeen, created: Timestamp, event: &EventId) {
        if self.created == Timestamp::default() {
            self.created = seen.created;
        }
        let told = u32::try_from(seen.history.len()).unwrap_or(u32::MAX);
        let progress = Progress {
            is_terminal: seen.status.is_terminal(),
            history_entries: if told == 0 && seen.approved { u32::MAX } else { told },
            transactions: seen.transactions,
            is_update: seen.is_update,
            created,
            event: event.clone(),
        };
        if self.seen.as_ref().is_some_and(|known| known.progress >= progress) {
            return;
        }
        // The question knows best where the card was used, then the snapshot, then the transactions.
        if self.answers.is_empty() {
            self.merchant = seen.merchant.clone();
            self.currency = Some(seen.amount.currency);
        }
        let history = seen.history.iter();
        self.seen = Some(Box::new(Seen {
            progress,
            amount: seen.amount.amount,
            approved: seen.approved,
            status: seen.status,
            // Stripe's clock may be ahead of ours; nothing counts later than it is.
            history: history
                .map(|entry| HistoryEntry { created: entry.created.min(created), ..entry.clone() })
                .collect(),
        }));
    }

    /// Takes a capture or refund, if it is a later version than the known one.
    pub fn settled(&mut self, seen: &TransactionSeen, transaction: Transaction) {
        if self.transactions.get(&seen.id).is_some_and(|known| known.version >= transaction.version) {
            return;
        }
        self.transactions.insert(seen.id.clone(), transaction);
        let is_first = self.transactions.iter().next().is_some_and(|(first, _)| *first == seen.id);
        if self.answers.is_empty() && self.seen.is_none() && is_first {
            self.merchant = seen.merchant.clone();
            self.currency = seen.currency;
        }
    }

    /// What became of each request that Stripe tells of, oldest first.
    pub fn outcomes(&self) -> impl Iterator<Item = StripeOutcome<'_>> {
        let history = self.seen.as_deref().map_or(&[][..], |seen| &seen.history);
        let entries = history.iter().enumerate();
        entries.map(|(index, entry)| StripeOutcome { entry, ours: self.answer_behind(index, entry) })
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

    /// Minor units held and not captured yet.
    #[must_use]
    pub fn hold(&self) -> i64 {
        if self.is_terminal() {
            return 0;
        }
        let told = match (self.told_by_question(), self.seen.as_deref()) {
            (Some(question), _) => question.question.amount,
            (None, Some(seen)) if seen.approved => seen.amount,
            // A declined increment may be told as `approved: false`; what was approved before is held all the same.
            (None, Some(_)) => sum(self.confirmed().iter().map(|spend| spend.amount)),
            (None, None) => 0,
        };
        let unconfirmed = sum(self.unconfirmed().map(|answered| answered.granted));
        told.saturating_add(unconfirmed).saturating_sub(self.captured()).max(0)
    }

    /// Where it stands: Stripe's word, or else what follows from ours.
    #[must_use]
    pub fn status(&self) -> AuthorizationStatus {
        match self.seen.as_deref() {
            Some(seen) => seen.status,
            None if self.is_approved() => AuthorizationStatus::Pending,
            None => AuthorizationStatus::Closed,
        }
    }

    /// Whether it stands: Stripe's word, or else ours.
    #[must_use]
    pub fn is_approved(&self) -> bool {
        match self.seen.as_deref() {
            Some(seen) if seen.status.is_terminal() => seen.approved,
            Some(seen) => seen.approved || !self.approvals().is_empty(),
            None => self.answers.iter().any(Answered::is_approval),
        }
    }

    /// Minor units held or captured beyond what the policy granted: stand-in approvals, forced holds, over-captures.
    #[must_use]
    pub fn overrun(&self) -> i64 {
        let by_policy = self.answers.iter().filter(|answered| answered.answer.source == Source::Policy);
        let granted = sum(by_policy.map(|answered| answered.granted));
        self.hold().saturating_add(self.captured()).saturating_sub(granted).max(0)
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

    /// When money was first held or taken: the time of the first approval, or of what was forced.
    #[must_use]
    pub fn since(&self) -> Timestamp {
        self.approvals().first().map_or_else(|| self.forced_at(), |spend| spend.at)
    }

    /// When anything was last asked or told.
    #[must_use]
    pub fn last_at(&self) -> Timestamp {
        let asked = self.answers.last().map(|answered| answered.at);
        let told = self.seen.as_deref().map(|seen| seen.progress.created);
        let settled = self.transactions.values().map(|transaction| transaction.version.1).max();
        [asked, told, settled].into_iter().flatten().max().unwrap_or_default()
    }

    /// Whether it can be let go: nothing is held, and nothing more is expected.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.hold() == 0 && (self.status().is_terminal() || self.captured() > 0)
    }

    /// What the windows count of it. Held and captured money is laid into the approvals in order, each up to what
    /// it was for; the last one takes what is over. So a hold stays in the window of its request, a released hold
    /// leaves its window as it was, and an over-capture counts where its purchase counts.
    #[must_use]
    pub fn spends(&self, refunds_restore: bool) -> Vec<Spend> {
        let restored = if refunds_restore { self.refunded() } else { 0 };
        let counted = self.hold().saturating_add(self.captured()).saturating_sub(restored).max(0);
        let mut spends = self.approvals();
        if spends.is_empty() && counted > 0 {
            spends.push(Spend { at: self.forced_at(), amount: 0, count: 0 });
        }
        let mut rest = counted;
        let last = spends.len().saturating_sub(1);
        for (place, spend) in spends.iter_mut().enumerate() {
            let share = if place == last { rest } else { spend.amount.min(rest) };
            spend.amount = share;
            rest = rest.saturating_sub(share);
        }
        spends
    }

    /// Every approval that stands, with what it was for, by the time of its request.
    fn approvals(&self) -> Vec<Spend> {
        let mut approvals = self.confirmed();
        let one = |answered: &Answered| Spend { at: answered.at, amount: answered.granted, count: 1 };
        if let Some(question) = self.told_by_question() {
            let told = self.seen.as_deref().map_or(0, Seen::history_entries);
            let through = question.question.history_entries;
            let between = self.answers.iter().filter(|answered| {
                answered.is_approval() && (told..=through).contains(&answered.question.history_entries)
            });
            approvals.extend(between.map(one));
        }
        approvals.extend(self.unconfirmed().map(one));
        approvals.sort_by_key(|spend| spend.at);
        approvals
    }

    /// The approvals that Stripe's word covers.
    fn confirmed(&self) -> Vec<Spend> {
        let Some(seen) = self.seen.as_deref() else { return Vec::new() };
        let mut confirmed = Vec::with_capacity(seen.history.len().saturating_add(1));
        for (index, entry) in seen.history.iter().enumerate().filter(|(_, entry)| entry.approved) {
            let ours = self.answer_behind(index, entry);
            let granted = ours.filter(|ours| ours.is_approval()).map_or(entry.amount, |ours| ours.granted);
            confirmed.push(Spend {
                at: ours.map_or(entry.created, |ours| ours.at),
                amount: granted,
                count: 1,
            });
        }
        if seen.history.is_empty() && seen.approved {
            let ours = self.answers.iter().filter(|answered| {
                answered.is_approval() && !answered.is_forced() && !self.is_unconfirmed(answered)
            });
            confirmed.extend(ours.map(|ours| Spend { at: ours.at, amount: ours.granted, count: 1 }));
            if confirmed.is_empty() {
                confirmed.push(Spend { at: seen.progress.created, amount: seen.amount, count: 1 });
            }
        }
        confirmed
    }

    /// Our answer to the request that became this entry of the history.
    fn answer_behind(&self, index: usize, entry: &HistoryEntry) -> Option<&Answered> {
        let index = u32::try_from(index).ok()?;
        let asked =
            |answered: &&Answered| !answered.is_forced() && answered.question.history_entries == index;
        let exact = self.answers.iter().filter(asked).find(|one| one.question.amount == entry.amount);
        exact.or_else(|| self.answers.iter().find(asked))
    }

    /// The time that counts where nothing was ever approved, and money moved all the same.
    fn forced_at(&self) -> Timestamp {
        let asked = self.answers.first().map(|answered| answered.at);
        let settled = || self.transactions.values().map(|transaction| transaction.at).min();
        let told = || self.seen.as_deref().map(|seen| seen.progress.created);
        asked.or_else(settled).or_else(told).unwrap_or(self.created)
    }

    /// Approvals of ours that Stripe's word does not cover yet.
    fn unconfirmed(&self) -> impl Iterator<Item = &Answered> {
        let is_open = !self.is_terminal();
        let told = self.told_by_question().map_or(0, |told| told.question.history_entries.saturating_add(1));
        self.answers.iter().filter(move |answered| {
            is_open
                && answered.is_approval()
                && !answered.is_forced()
                && answered.question.history_entries >= told
                && self.is_unconfirmed(answered)
        })
    }

    fn is_unconfirmed(&self, answered: &Answered) -> bool {
        match self.seen.as_deref() {
            None => true,
            // Old objects list no history. They cover the first request, and what was answered before they were made.
            Some(seen) if seen.history.is_empty() && seen.approved => {
                self.answers.first() != Some(answered)
                    && answered.at.as_seconds() > seen.progress.created.as_seconds()
            }
            Some(seen) => answered.question.history_entries >= seen.history_entries(),
        }
    }

    /// The last question that told of earlier approvals these books have not seen, if Stripe's snapshots do not
    /// cover it yet: its amount is what was approved in total until then.
    fn told_by_question(&self) -> Option<&Answered> {
        let told = self.seen.as_deref().map_or(0, Seen::history_entries);
        let forced = self.answers.iter().filter(|answered| answered.is_forced());
        forced
            .max_by_key(|answered| answered.question.history_entries)
            .filter(|answered| !self.is_terminal() && answered.question.history_entries >= told)
    }

    fn is_terminal(&self) -> bool {
        self.seen.as_deref().is_some_and(|seen| seen.status.is_terminal())
    }
}

fn sum(amounts: impl Iterator<Item = i64>) -> i64 {
    amounts.fold(0, i64::saturating_add)
}

impl Answered {
    /// It was not asked here: a later question told of it.
    fn is_forced(&self) -> bool {
        self.answer.source == Source::Forced
    }

    fn is_approval(&self) -> bool {
        match self.answer.outcome {
            Outcome::Approved | Outcome::Partial => true,
            Outcome::Declined => false,
        }
    }
}

impl Seen {
    fn history_entries(&self) -> u32 {
        self.progress.history_entries
    }
}
