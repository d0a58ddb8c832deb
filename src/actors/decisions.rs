//! Decisions as people look for them: newest first, in pages that are bounded in time, or oldest first behind a known one.
//! Read from the journal, like all views; an index is used for a card, and the text of entries for everything else.

use std::{fmt, str::FromStr, time::Duration};

use super::{Directory, views::DecisionView};
use crate::{
    clock,
    domain::{
        Account, AuthorizationId, CardId, CardholderId, Decided, Event, Mention, Outcome, Reason, Source,
        Timestamp,
    },
    journal::{Entry, LookBack, LookedBack, Reach, record},
    ledger::{self, NotFolded, decided_in},
};

/// How long a page looks for more, unless it is full. Behind that it ends, with the place to look on.
const LOOK_FOR: Duration = Duration::from_millis(40);

/// How long the search for one id goes on.
const LOOK_FOR_ID: Duration = Duration::from_secs(2);

/// Entries that are looked at in one read: of all accounts, and of one.
const LOOK_ENTRIES: usize = 2_048;
const LOOK_CHAIN_ENTRIES: usize = 128;

/// The clocks of nodes and database are this close, so that an entry's time is in the order of the journal but for so much.
const CLOCKS_APART: Duration = Duration::from_secs(2);

/// Which decisions are looked for: those to which all of this applies.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct DecisionFilter {
    /// Yes, partly, or no.
    pub outcome: Option<Outcome>,
    /// Why.
    pub reason: Option<Reason>,
    /// Who decided.
    pub source: Option<Source>,
    /// The card of the request.
    pub card: Option<CardId>,
    /// The cardholder of the request.
    pub cardholder: Option<CardholderId>,
    /// The group of the card at that time.
    pub group: Option<String>,
    /// Recorded at this time or later.
    pub since: Option<Timestamp>,
    /// Recorded before this time.
    pub until: Option<Timestamp>,
    /// At least this was requested, in minor units of any currency.
    pub min_amount: Option<i64>,
}

/// The place of a decision in the journal, from which a search goes on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Place {
    /// The entry.
    pub lsn: u64,
    /// The event in the entry. What is before it is not looked at yet.
    pub position: usize,
}

/// The whole entry is not looked at yet.
const WHOLE: usize = usize::MAX;

/// A text that names no place.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("expected a cursor of an earlier reply")]
pub struct NotAPlace;

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.position {
            WHOLE => write!(f, "{}", self.lsn),
            position => write!(f, "{}-{position}", self.lsn),
        }
    }
}

impl FromStr for Place {
    type Err = NotAPlace;

    fn from_str(text: &str) -> Result<Self, NotAPlace> {
        let number = |text: &str| text.parse().map_err(|_| NotAPlace);
        match text.split_once('-') {
            Some((lsn, position)) => {
                Ok(Self { lsn: number(lsn)?, position: position.parse().map_err(|_| NotAPlace)? })
            }
            None => Ok(Self { lsn: number(text)?, position: WHOLE }),
        }
    }
}

/// A page of decisions.
#[derive(Clone, Debug, Default)]
pub struct DecisionPage {
    /// The decisions.
    pub decisions: Vec<DecisionView>,
    /// Where to go on; newest first: nothing where all have been looked at. The page may be short, or empty, all the same.
    pub next: Option<Place>,
    /// When the last entry that was looked at was written; nothing where none was.
    pub reached: Option<Timestamp>,
}

impl DecisionFilter {
    /// Whether it applies to a decision that was recorded at `at`.
    fn takes(&self, decided: &Decided, at: Timestamp) -> bool {
        let Decided { request, decision } = decided;
        let Self { outcome, reason, source, card, cardholder, group, min_amount, .. } = self;
        outcome.is_none_or(|outcome| outcome == decision.outcome)
            && reason.is_none_or(|reason| reason == decision.reason)
            && source.is_none_or(|source| source == decision.source)
            && card.as_ref().is_none_or(|card| request.card.as_ref() == Some(card))
            && cardholder.as_ref().is_none_or(|holder| request.cardholder.as_ref() == Some(holder))
            && group.as_ref().is_none_or(|group| request.group.as_deref() == Some(group))
            && self.covers(at)
            && min_amount.is_none_or(|least| request.asked.is_ok_and(|asked| asked.amount >= least))
    }

    /// Whether a decision that was recorded at `at` is in time.
    fn covers(&self, at: Timestamp) -> bool {
        self.since.is_none_or(|since| at >= since) && self.until.is_none_or(|until| at < until)
    }

    /// What the body of an entry contains that may have such a decision, by `docs/journal-format.md`.
    fn texts(&self) -> Vec<String> {
        let field = |key: &str, text: &str| format!("\"{key}\":{}", serde_json::Value::from(text));
        let reason = self.reason.filter(|reason| *reason != Reason::Approved);
        let outcome = self.outcome.map(|outcome| field("outcome", outcome.as_str()));
        let mut texts = vec![outcome.unwrap_or_else(|| "\"outcome\":".to_owned())];
        texts.extend(reason.map(|reason| field("reason", reason.as_str())));
        texts.extend(self.cardholder.as_ref().map(|id| field("cardholder", id.as_str())));
        texts.extend(self.group.as_ref().map(|group| field("group", group)));
        texts.truncate(LookBack::TEXTS_MAX);
        texts
    }
}

impl Directory {
    /// A page of at most `limit` decisions, newest first, behind the place `cursor`.
    ///
    /// # Errors
    /// A sentence that says why the journal cannot be read.
    pub async fn decisions(
        &self,
        filter: &DecisionFilter,
        cursor: Option<Place>,
        limit: usize,
    ) -> Result<DecisionPage, String> {
        let _permit = self.shared().searches.acquire().await.map_err(|closed| closed.to_string())?;
        self.search(filter, cursor, limit).await.map_err(|cause| cause.to_string())
    }

    /// At most `limit` decisions that were recorded behind the place `after`, oldest first; without one, none, and the end of
    /// the journal as the place to go on.
    ///
    /// # Errors
    /// A sentence that says why the journal cannot be read.
    pub async fn decisions_after(
        &self,
        filter: &DecisionFilter,
        after: Option<Place>,
        limit: usize,
    ) -> Result<DecisionPage, String> {
        let _permit = self.shared().searches.acquire().await.map_err(|closed| closed.to_string())?;
        self.follow(filter, after, limit).await.map_err(|cause| cause.to_string())
    }

    /// The authorization of a decision, an event, or a transaction. Transactions have an index; what has none is searched from
    /// the end of the journal for two seconds.
    ///
    /// # Errors
    /// A sentence that says why the journal cannot be read.
    pub async fn authorization_of(&self, id: &str) -> Result<Option<AuthorizationId>, String> {
        let _permit = self.shared().searches.acquire().await.map_err(|closed| closed.to_string())?;
        self.authorization_with(id).await.map_err(|cause| cause.to_string())
    }

    async fn authorization_with(&self, id: &str) -> Result<Option<AuthorizationId>, NotFolded> {
        if let Some(mention) = Mention::new(id) {
            for entry in self.shared().journal.find(&mention).await? {
                let is_it = |event: &&Event| record::mentions_of(event).contains(&mention);
                let events = ledger::read(&entry)?;
                if let Some(found) = events.iter().filter(is_it).find_map(record::authorization_of) {
                    return Ok(Some(found.clone()));
                }
            }
        }
        let started = clock::instant();
        let texts = vec![serde_json::Value::from(id).to_string()];
        let (account, from) = (None, LookBack::END);
        let mut what = LookBack { account, from, look_max: LOOK_ENTRIES, entries_max: 1, texts };
        loop {
            let page = self.shared().journal.look_back(&what).await?;
            for entry in &page.entries {
                let events = ledger::read(entry)?;
                let is_it = |event: &&Event| is_named(event, id);
                if let Some(found) = events.iter().filter(is_it).find_map(record::authorization_of) {
                    return Ok(Some(found.clone()));
                }
            }
            let is_over = clock::instant().saturating_duration_since(started) > LOOK_FOR_ID;
            let Some(next) = page.next.filter(|_| !is_over) else { return Ok(None) };
            what.from = next;
        }
    }

    async fn search(
        &self,
        filter: &DecisionFilter,
        cursor: Option<Place>,
        limit: usize,
    ) -> Result<DecisionPage, NotFolded> {
        let started = clock::instant();
        let account = match &filter.card {
            Some(card) => Some(self.account_of(card).await?),
            None => None,
        };
        let is_chain = account.is_some();
        let from = match (cursor, filter.until) {
            (Some(place), _) => place.lsn,
            (None, Some(until)) if !is_chain => self.last_before(until.plus(CLOCKS_APART)).await?,
            (None, _) => LookBack::END,
        };
        let look_max = if is_chain { LOOK_CHAIN_ENTRIES } else { LOOK_ENTRIES };
        let mut what = LookBack { account, from, look_max, entries_max: limit.max(1), texts: filter.texts() };
        let mut page = DecisionPage::default();
        loop {
            let LookedBack { entries, next, reached } = self.shared().journal.look_back(&what).await?;
            page.reached = reached.or(page.reached);
            for entry in entries.into_iter().filter(|entry| filter.covers(entry.at)) {
                let cursor = cursor.filter(|cursor| cursor.lsn == entry.lsn);
                let events = ledger::read(&entry)?;
                for (position, event) in events.iter().enumerate().rev() {
                    if cursor.is_some_and(|cursor| position >= cursor.position) {
                        continue;
                    }
                    let Some(decided) = decided_in(event).filter(|decided| filter.takes(decided, entry.at))
                    else {
                        continue;
                    };
                    if self.is_the_answer(&entry, event, decided, is_chain).await? {
                        page.decisions.push(DecisionView { decided: decided.clone(), written_at: entry.at });
                    }
                    if page.decisions.len() >= limit {
                        page.next = Some(Place { lsn: entry.lsn, position });
                        page.reached = Some(entry.at);
                        return Ok(page);
                    }
                }
            }
            let is_too_old =
                |since: Timestamp| reached.is_some_and(|reached| reached < since.minus(CLOCKS_APART));
            let Some(next) = next.filter(|_| !filter.since.is_some_and(is_too_old)) else { return Ok(page) };
            if clock::instant().saturating_duration_since(started) > LOOK_FOR {
                page.next = Some(Place { lsn: next, position: WHOLE });
                return Ok(page);
            }
            what.from = next;
        }
    }

    async fn follow(
        &self,
        filter: &DecisionFilter,
        after: Option<Place>,
        limit: usize,
    ) -> Result<DecisionPage, NotFolded> {
        let Some(after) = after else {
            let end = self.newest().await?.map_or(0, |entry| entry.lsn);
            let next = Some(Place { lsn: end, position: WHOLE });
            return Ok(DecisionPage { next, ..DecisionPage::default() });
        };
        let mut page = DecisionPage { next: Some(after), ..DecisionPage::default() };
        let entries = self.shared().journal.scan(after.lsn, LOOK_ENTRIES).await?;
        let texts = filter.texts();
        for entry in entries {
            if page.decisions.len() >= limit {
                break;
            }
            page.next = Some(Place { lsn: entry.lsn, position: WHOLE });
            page.reached = Some(entry.at);
            if !texts.iter().all(|text| entry.body.contains(text.as_str())) {
                continue;
            }
            for event in &ledger::read(&entry)? {
                let decided = decided_in(event).filter(|decided| filter.takes(decided, entry.at));
                if let Some(decided) = decided
                    && self.is_first(&entry, event, decided).await?
                {
                    page.decisions.push(DecisionView { decided: decided.clone(), written_at: entry.at });
                }
            }
        }
        Ok(page)
    }

    /// The account in whose chain the decisions on a card are: its own, or that of the card that it replaces.
    async fn account_of(&self, card: &CardId) -> Result<Account, NotFolded> {
        let mut account = Account::from(card);
        let mut passed = vec![account.clone()];
        loop {
            let entries = self.shared().load(&account, Reach::Snapshot).await?;
            let Some(joined) = ledger::fold(&entries)?.card.joined else { return Ok(account) };
            account = Account::from(&joined.card);
            if passed.contains(&account) {
                return Ok(account);
            }
            passed.push(account.clone());
        }
    }

    /// Whether this event has the answer that holds for its request: the stand-in's, where it voids the decision. A copy in
    /// the chain of another card is none.
    async fn is_the_answer(
        &self,
        entry: &Entry,
        event: &Event,
        decided: &Decided,
        is_chain: bool,
    ) -> Result<bool, NotFolded> {
        let mut same = self.of_the_same_request(decided).await?;
        same.retain(|(found, _)| !is_chain || found.account == entry.account);
        let is_stand_in = |found: &&(Entry, Event)| matches!(found.1, Event::StoodIn(_));
        let answer = same.iter().find(is_stand_in).or_else(|| same.first());
        Ok(answer.is_none_or(|(found, known)| found.lsn == entry.lsn && known == event))
    }

    /// Whether this event is the first of its kind for its request.
    async fn is_first(&self, entry: &Entry, event: &Event, decided: &Decided) -> Result<bool, NotFolded> {
        let same = self.of_the_same_request(decided).await?;
        let kind = std::mem::discriminant(event);
        let first = same.iter().find(|(_, known)| std::mem::discriminant(known) == kind);
        Ok(first.is_none_or(|(found, _)| found.lsn == entry.lsn))
    }

    /// All events with the decision of this id, in the order of the journal, each with its entry.
    async fn of_the_same_request(&self, decided: &Decided) -> Result<Vec<(Entry, Event)>, NotFolded> {
        let id = decided.decision.id;
        let text = format!("\"{id}\"");
        let mention = Mention::from(&decided.request.authorization);
        let mut same = Vec::new();
        for entry in self.shared().journal.find(&mention).await? {
            if entry.body.contains(&text) {
                let events = ledger::read(&entry)?.into_iter();
                let is_it = |event: &Event| decided_in(event).is_some_and(|found| found.decision.id == id);
                same.extend(events.filter(is_it).map(|event| (entry.clone(), event)));
            }
        }
        Ok(same)
    }

    /// The log sequence number of the last entry that was written at `time` or before, by halves.
    async fn last_before(&self, time: Timestamp) -> Result<u64, NotFolded> {
        let Some(newest) = self.newest().await?.filter(|newest| newest.at > time) else {
            return Ok(LookBack::END);
        };
        let (mut low, mut high) = (0, newest.lsn);
        while high.saturating_sub(low) > 1 {
            let middle = low.midpoint(high);
            match self.at_or_before(middle).await? {
                Some(entry) if entry.at > time => high = entry.lsn.clamp(low.saturating_add(1), middle),
                Some(_) | None => low = middle,
            }
        }
        Ok(low)
    }

    async fn newest(&self) -> Result<Option<Entry>, NotFolded> {
        self.at_or_before(LookBack::END).await
    }

    async fn at_or_before(&self, lsn: u64) -> Result<Option<Entry>, NotFolded> {
        let what = LookBack { account: None, from: lsn, look_max: 1, entries_max: 1, texts: Vec::new() };
        Ok(self.shared().journal.look_back(&what).await?.entries.into_iter().next())
    }
}

/// Whether an event has this id, or the decision in it.
fn is_named(event: &Event, id: &str) -> bool {
    match event {
        Event::Observed(seen) => seen.event.as_str() == id,
        Event::Decided(decided) | Event::StoodIn(decided) => {
            decided.decision.id.to_string() == id || decided.request.event.as_str() == id
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
        | Event::Snapshot(_) => false,
    }
}
