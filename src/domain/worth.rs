//! What an authorization is worth: what is held of it, and what it uses of each window. A function of its record alone,
//! so that it does not matter in which order the facts came.
//!
//! - The *word* is the newest that Stripe said of the whole: a snapshot, or what an increment embeds. It tells which
//!   requests were decided, and how much is in force.
//! - An *approval* is a request that stands: one that the word covers and tells as approved, or one that we approved and
//!   the word does not cover yet. The latter is held in full, whatever the word's status.
//! - Money is laid into the approvals from the newest to the oldest, each up to what it was for. So a new approval
//!   changes no other window than its own, and what is given back is given back to the oldest. What is over belongs to the
//!   newest approval that the word covers.
//! - A refund gives back what was captured, never what is held, and no more than that.

use super::{
    answering::AnswerBy,
    authorization::{Answered, Authorization, Embedded, Seen, sum},
    decision::{Answer, Outcome, Reason, Source},
    ids::DecisionId,
    merchant::Merchant,
    observed::{AuthorizationStatus, HistoryEntry},
    request::AuthorizationRequest,
    time::Timestamp,
    window::Spend,
};

/// The newest that Stripe said of an authorization.
#[derive(Clone, Copy)]
struct Word<'a> {
    by: By<'a>,
    /// Minor units in force while it is pending.
    amount: i64,
    /// Holds what is not captured.
    is_pending: bool,
    is_approved: bool,
    /// The decided requests that it tells, oldest first.
    history: &'a [HistoryEntry],
    /// The time that counts where nothing else does.
    at: Timestamp,
}

#[derive(Clone, Copy)]
enum By<'a> {
    Snapshot(&'a Seen),
    Request(&'a Embedded),
}

/// A request that stands.
#[derive(Clone, Copy)]
struct Approval<'a> {
    at: Timestamp,
    amount: i64,
    merchant: &'a Merchant,
    /// Which of our answers it is.
    answer: Option<usize>,
}

/// The approvals in order, oldest first: those that the word covers, and behind them those that it does not.
struct Approvals<'a> {
    all: Vec<Approval<'a>>,
    /// How many the word covers.
    covered: usize,
}

impl Authorization {
    /// Minor units held and not captured yet.
    #[must_use]
    pub fn hold(&self) -> i64 {
        let word = self.word();
        let captured = self.captured();
        let mut rest: Option<(i64, i64)> = None;
        for (_, answered) in self.uncovered(word.as_ref()) {
            let before = answered.captured.min(captured);
            let open = match rest {
                None => self.in_force(word.as_ref(), before),
                Some((open, by_then)) => less(open, before.saturating_sub(by_then)),
            };
            rest = Some((open.saturating_add(answered.granted), before));
        }
        match rest {
            None => self.in_force(word.as_ref(), captured),
            Some((open, by_then)) => less(open, captured.saturating_sub(by_then)),
        }
    }

    /// Where it stands: pending while an approval of ours waits for Stripe's word, else by that word.
    #[must_use]
    pub fn status(&self) -> AuthorizationStatus {
        let word = self.word();
        if self.uncovered(word.as_ref()).next().is_some() {
            return AuthorizationStatus::Pending;
        }
        match word.map(|word| (word.by, word.is_approved)) {
            Some((By::Snapshot(seen), _)) => seen.status,
            Some((By::Request(_), true)) => AuthorizationStatus::Pending,
            Some((By::Request(_), false)) | None => AuthorizationStatus::Closed,
        }
    }

    /// Whether it stands: by an approval of ours that waits for Stripe's word, else by that word.
    #[must_use]
    pub fn is_approved(&self) -> bool {
        let word = self.word();
        self.uncovered(word.as_ref()).next().is_some()
            || word
                .is_some_and(|word| word.is_approved || (word.is_pending && !self.covered(&word).is_empty()))
    }

    /// Minor units held or captured beyond what the policy granted: stand-in approvals, forced holds, over-captures.
    #[must_use]
    pub fn overrun(&self) -> i64 {
        let granted = |answers: &[Answered]| {
            let by_policy = answers.iter().filter(|answered| answered.answer.source == Source::Policy);
            sum(by_policy.map(|answered| answered.granted))
        };
        // What was released before a new beginning is granted no more, but for what had been captured of it.
        let anew = self.answers.iter().rposition(|answered| answered.reopens).unwrap_or(0);
        let (before, since) = self.answers.split_at_checked(anew).unwrap_or_default();
        let captured_before = since.first().map_or(0, |answered| answered.captured);
        let granted = granted(before).min(captured_before).saturating_add(granted(since));
        less(self.hold().saturating_add(self.captured()), granted)
    }

    /// When money was first held or taken: the time of the first approval, or of what was forced.
    #[must_use]
    pub fn since(&self) -> Timestamp {
        let first = self.approvals().all.first().map(|approval| approval.at);
        first.unwrap_or_else(|| self.forced_at(None))
    }

    /// What the windows count of it.
    #[must_use]
    pub fn spends(&self, refunds_restore: bool) -> Vec<Spend> {
        self.shares(refunds_restore).into_iter().map(|(spend, _)| spend).collect()
    }

    /// This authorization as it would be with the request approved in full at the time `at`.
    #[must_use]
    pub(super) fn with_approval(mut self, request: &AuthorizationRequest, at: Timestamp) -> Self {
        let answer = Answer {
            decision: DecisionId::of(&request.authorization, request.question()),
            outcome: Outcome::Approved,
            amount: None,
            reason: Reason::Approved,
            challenge: false,
            source: Source::Policy,
            by: AnswerBy::Direct,
            marks: None,
        };
        let answered = Answered::new(request, at, request.held_if_approved(), answer);
        self.push_answer(request, answered);
        self
    }

    /// Adds an answer to a request that was not answered before.
    pub(super) fn push_answer(&mut self, request: &AuthorizationRequest, answered: Answered) {
        self.asked(request, answered.at);
        let is_elsewhere = self.merchant != request.merchant;
        let answered = Answered {
            merchant: is_elsewhere.then(|| Box::new(request.merchant.clone())),
            captured: self.captured(),
            ..answered
        };
        if self.answers.is_empty() {
            // Most have one answer for ever; a vector that grows by itself would make room for four.
            self.answers.reserve_exact(1);
        }
        let reopens = self.word().is_some_and(|word| match word.by {
            By::Snapshot(seen) => seen.status.is_terminal() && !word.covers(self.answers.len(), &answered),
            By::Request(embedded) => embedded.amount == 0,
        });
        self.answers.push(Answered { reopens, ..answered });
    }

    /// What is counted of the last answer.
    pub(super) fn own_spend(&self, refunds_restore: bool) -> Option<Spend> {
        let last = self.answers.len().checked_sub(1);
        let mut shares = self.shares(refunds_restore).into_iter();
        shares.find_map(|(spend, answer)| (answer == last).then_some(spend))
    }

    /// Each approval with its share of what is held and captured, and which of our answers it is.
    fn shares(&self, refunds_restore: bool) -> Vec<(Spend, Option<usize>)> {
        let captured = self.captured();
        let kept = if refunds_restore { less(captured, self.refunded()) } else { captured };
        let mut rest = self.hold().saturating_add(kept);
        let Approvals { all, covered } = self.approvals();
        let spend = |approval: &Approval<'_>| {
            let (at, merchant) = (approval.at, approval.merchant.clone());
            (Spend { at, amount: 0, count: 0, merchant }, approval.answer)
        };
        let mut shares: Vec<_> = all.iter().map(spend).collect();
        for ((share, _), approval) in shares.iter_mut().zip(&all).rev() {
            share.amount = approval.amount.min(rest);
            rest = rest.saturating_sub(share.amount);
        }
        if let Some((oldest, _)) = shares.first_mut() {
            oldest.count = 1;
        }
        // Captured before the first approval of all: that one has nothing to do with it.
        let before = all.first().and_then(|first| self.answer(first)).map_or(0, |first| first.captured);
        let apart = if covered > 0 { 0 } else { rest.min(before) };
        let newest_covered = covered.saturating_sub(1);
        if let Some((share, _)) = shares.get_mut(newest_covered) {
            share.amount = share.amount.saturating_add(rest.saturating_sub(apart));
            rest = apart;
        }
        if rest > 0 {
            let at = self.forced_at(all.first().and_then(|first| first.answer));
            let merchant = self.merchant.clone();
            shares.insert(0, (Spend { at, amount: rest, count: 0, merchant }, None));
        }
        shares
    }

    fn approvals(&self) -> Approvals<'_> {
        let word = self.word();
        let mut all = word.as_ref().map(|word| self.covered(word)).unwrap_or_default();
        let covered = all.len();
        all.extend(self.uncovered(word.as_ref()).map(|(place, answered)| self.approval(place, answered)));
        Approvals { all, covered }
    }

    fn approval<'a>(&'a self, place: usize, answered: &'a Answered) -> Approval<'a> {
        Approval {
            at: answered.at,
            amount: answered.granted,
            merchant: answered.merchant.as_deref().unwrap_or(&self.merchant),
            answer: Some(place),
        }
    }

    /// What Stripe said last: the snapshot with the most progress, unless an increment was asked later.
    fn word(&self) -> Option<Word<'_>> {
        let seen = self.seen.as_deref();
        let embedded = self.embedded.as_deref().filter(|embedded| {
            seen.is_none_or(|seen| {
                let told = seen.progress.history_entries;
                embedded.history_entries > told
                    || (embedded.history_entries == told
                        && !seen.status.is_terminal()
                        && embedded.created >= seen.progress.created)
            })
        });
        let Some(embedded) = embedded else {
            return seen.map(|seen| Word {
                by: By::Snapshot(seen),
                amount: seen.amount,
                is_pending: !seen.status.is_terminal(),
                is_approved: seen.approved,
                history: &seen.history,
                at: seen.at,
            });
        };
        let told = seen.map_or(&[][..], |seen| &seen.history);
        let history = if embedded.history.len() >= told.len() { &embedded.history } else { told };
        // The amount of an authorization of which nothing was approved is what was rejected.
        let is_approved =
            if history.is_empty() { embedded.amount > 0 } else { history.iter().any(|entry| entry.approved) };
        Some(Word {
            by: By::Request(embedded),
            amount: embedded.amount,
            is_pending: true,
            is_approved,
            history,
            at: embedded.at,
        })
    }

    /// Minor units that the word holds, where so much was captured.
    fn in_force(&self, word: Option<&Word<'_>>, captured: i64) -> i64 {
        let Some(word) = word.filter(|word| word.is_pending) else { return 0 };
        let covered = self.covered(word);
        // A declined increment may be told as `approved: false`; what was approved before is held all the same.
        let amount =
            if word.is_approved { word.amount } else { sum(covered.iter().map(|approval| approval.amount)) };
        let open = less(amount, captured);
        // After a new beginning nobody says whether the amount still has in it what was captured before that.
        let reopened = covered.iter().rposition(|approval| self.answer(approval).is_some_and(|a| a.reopens));
        let Some(since) = reopened.and_then(|place| covered.get(place..)) else { return open };
        let settled = since.first().and_then(|approval| self.answer(approval)).map_or(0, |a| a.captured);
        let captured_since = less(captured, settled);
        let approved_since = sum(since.iter().map(|approval| approval.amount));
        less(amount, captured_since).min(open.max(less(approved_since, captured_since)))
    }

    fn answer(&self, approval: &Approval<'_>) -> Option<&Answered> {
        approval.answer.and_then(|place| self.answers.get(place))
    }

    /// The approvals that the word covers, oldest first.
    fn covered(&self, word: &Word<'_>) -> Vec<Approval<'_>> {
        let mut covered = Vec::with_capacity(word.history.len().max(1));
        for (index, entry) in word.history.iter().enumerate().filter(|(_, entry)| entry.approved) {
            let ours =
                self.answer_behind(index, entry).filter(|(place, answered)| word.covers(*place, answered));
            let approval = ours.map(|(place, answered)| self.approval(place, answered));
            let amount =
                ours.filter(|(_, answered)| answered.is_approval()).map_or(entry.amount, |(_, a)| a.granted);
            covered.push(match approval {
                Some(approval) => Approval { amount, ..approval },
                None => Approval { at: entry.created, amount, merchant: &self.merchant, answer: None },
            });
        }
        // Answers that it covers without telling of them.
        let told = u32::try_from(word.history.len()).unwrap_or(u32::MAX);
        let untold = self.answers.iter().enumerate().filter(|(place, answered)| {
            answered.is_approval()
                && (answered.question.history_entries >= told)
                && word.covers(*place, answered)
        });
        covered.extend(untold.map(|(place, answered)| self.approval(place, answered)));
        if covered.is_empty() && word.is_approved && word.amount > 0 {
            covered.push(Approval {
                at: word.at,
                amount: word.amount,
                merchant: &self.merchant,
                answer: None,
            });
        }
        covered.sort_by_key(|approval| approval.at);
        covered
    }

    /// Approvals of ours that the word does not cover yet.
    fn uncovered<'a>(&'a self, word: Option<&Word<'a>>) -> impl Iterator<Item = (usize, &'a Answered)> {
        let word = word.copied();
        self.answers.iter().enumerate().filter(move |(place, answered)| {
            answered.is_approval() && !word.is_some_and(|word| word.covers(*place, answered))
        })
    }

    /// Our answer to the request that became this entry of the history.
    pub(super) fn answer_behind(&self, index: usize, entry: &HistoryEntry) -> Option<(usize, &Answered)> {
        let index = u32::try_from(index).ok()?;
        let asked = |(_, answered): &(usize, &Answered)| {
            answered.question.history_entries == index && answered.question.approved_before == 0
        };
        let answers = || self.answers.iter().enumerate().filter(asked);
        let exact = answers().find(|(_, one)| one.question.amount == entry.amount);
        exact.or_else(|| answers().next())
    }

    /// The time that counts where money moved without an approval, or before the answer that was the first approval.
    fn forced_at(&self, first_approval: Option<usize>) -> Timestamp {
        let asked = self.answers.first().filter(|_| first_approval != Some(0)).map(|answered| answered.at);
        let settled = || self.transactions.values().map(|transaction| transaction.at).min();
        let told = || self.seen.as_deref().map(|seen| seen.at);
        asked.or_else(settled).or_else(told).unwrap_or(self.created)
    }
}

impl Word<'_> {
    /// Whether it was said after this answer, or knows of it.
    fn covers(&self, place: usize, answered: &Answered) -> bool {
        match self.by {
            By::Snapshot(seen) => seen.covers(place, answered),
            By::Request(embedded) => {
                is_before(place, embedded.after)
                    && answered.question.history_entries < embedded.history_entries
            }
        }
    }
}

impl Seen {
    fn covers(&self, place: usize, answered: &Answered) -> bool {
        let is_earlier = answered.at.as_seconds() < self.progress.created.as_seconds();
        let question = answered.question;
        if !self.history.is_empty() {
            let index = usize::try_from(question.history_entries).unwrap_or(usize::MAX);
            let is_told = |entry: &HistoryEntry| {
                question.approved_before == 0 && [question.amount, answered.granted].contains(&entry.amount)
            };
            let entry = self.history.get(index);
            return entry.is_some_and(|entry| is_before(place, self.after) || is_earlier || is_told(entry));
        }
        // Old objects list no history. One that shows what was in force before the answer is from before it.
        let before = question.approved_before;
        let is_later = is_before(place, self.after) && (before == 0 || self.amount != before);
        let is_first = place == 0 && self.after == 0 && before == 0 && self.amount == answered.granted;
        (self.approved || self.status.is_terminal()) && (is_earlier || is_later || is_first)
    }
}

/// Whether the answer at `place` was among the first `count`.
fn is_before(place: usize, count: u32) -> bool {
    u32::try_from(place).is_ok_and(|place| place < count)
}

/// What is left of an amount, never below nothing.
fn less(amount: i64, gone: i64) -> i64 {
    amount.saturating_sub(gone).max(0)
}
