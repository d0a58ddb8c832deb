//! The books as people see them: read from the journal, so that only what is durable is shown, and any node can show
//! any card. No actor is asked or woken.

use std::{collections::BTreeSet, sync::Arc};

use super::{Directory, recall::recall};
use crate::{
    domain::{
        Account, Authorization, AuthorizationId, CardId, CardholderId, Category, ConnectedAccountId,
        Currency, Decided, Event, Exception, Exceptions, Interval, Lifted, Limit, Measure, Mention,
        NetworkId, PolicyRecord, PolicyVersion, Source, State, Tally, Timestamp, Totals, Transaction,
        TransactionId, limits_in_force,
    },
    journal::{Entry, NotRecorded, Policies, PolicyChange, PolicyChanged, Reach, record},
    ledger::{self, Folded, NotFolded, decided_in},
};

/// How many of a card's last entries are looked through for recent decisions.
const RECENT_ENTRIES: usize = 20;

/// A card.
#[derive(Clone, Debug)]
pub struct CardView {
    /// Which card.
    pub card: CardId,
    /// The card that it replaces: these are the books of the first card of that chain.
    pub replacement_for: Option<CardId>,
    /// How many entries its books have.
    pub version: u64,
    /// Its currency, if any amount was seen.
    pub currency: Option<Currency>,
    /// Minor units held now.
    pub held: i64,
    /// What it came to in its life.
    pub totals: Totals,
    /// The policy in force for it.
    pub policy: PolicyVersion,
    /// The group that it joined.
    pub group: Option<String>,
    /// Whether the policy in force has that group.
    pub group_in_policy: Option<bool>,
    /// What its own events said last.
    pub state: Option<State>,
    /// Every limit in force, with what is used of it.
    pub limits: Vec<LimitView>,
    /// Open holds.
    pub holds: Vec<HoldView>,
    /// Captures and refunds that belong to no authorization, as far back as windows reach.
    pub unlinked: Vec<(TransactionId, Transaction)>,
    /// What operators have made an exception of, as long as it is in force.
    pub exceptions: Vec<Exception>,
    /// Whether everything is declined: by the policy, or by an operator.
    pub is_paused: bool,
    /// The budgets that it charged last.
    pub budgets: Vec<Account>,
    /// The last decisions, newest first.
    pub recent: Vec<DecisionView>,
}

/// A limit, now.
#[derive(Clone, Debug)]
pub struct LimitView {
    /// Amount or count.
    pub measure: Measure,
    /// The window.
    pub interval: Interval,
    /// Its categories, where it has a filter.
    pub categories: Option<Vec<String>>,
    /// Its merchants, where it has a filter.
    pub merchants: Option<Vec<String>>,
    /// Its height, with all that lifts it.
    pub max: i64,
    /// What of its height is not the policy's.
    pub lifted: Lifted,
    /// Held and captured, or approvals.
    pub used: i64,
    /// When the window begins anew, or gives back next.
    pub resets_at: Option<Timestamp>,
}

/// Money that is reserved.
#[derive(Clone, Debug)]
pub struct HoldView {
    /// For which authorization.
    pub authorization: AuthorizationId,
    /// Minor units.
    pub amount: i64,
    /// Since when.
    pub since: Timestamp,
}

/// An authorization.
#[derive(Clone, Debug)]
pub struct AuthorizationView {
    /// Which authorization.
    pub authorization: AuthorizationId,
    /// Its card; none where the request named none.
    pub card: Option<CardId>,
    /// All that is known of it.
    pub record: Authorization,
    /// One decision for each question, oldest first.
    pub decisions: Vec<DecisionView>,
    /// Everything that was booked, in the order of the journal.
    pub history: Vec<EntryView>,
}

/// One thing that was booked.
#[derive(Clone, Debug)]
pub struct EntryView {
    /// Its entry's place in the card's books.
    pub seq: u64,
    /// When it was written.
    pub written_at: Timestamp,
    /// What it is.
    pub event: Event,
}

/// A decision, with the time at which it was durable.
#[derive(Clone, Debug)]
pub struct DecisionView {
    /// The question and the answer.
    pub decided: Decided,
    /// When its entry was written.
    pub written_at: Timestamp,
}

/// The chain of a card.
pub(super) struct CardChain {
    pub(super) account: Account,
    pub(super) folded: Folded,
    /// Whether anything was ever recorded of the card.
    pub(super) is_known: bool,
    /// The card that it replaces.
    pub(super) replacement_for: Option<CardId>,
    pub(super) group: Option<Arc<str>>,
    /// The connected account that it belongs to.
    pub(super) of: Option<ConnectedAccountId>,
    pub(super) state: Option<State>,
}

/// Entries that are read at once to find the first event of Stripe's: a journal begins with policies.
const LIVEMODE_ENTRIES: usize = 64;

impl Directory {
    /// The books of a card at the time `now`; `None` for a card that has none.
    ///
    /// # Errors
    /// A sentence that says why the journal cannot be read.
    pub async fn card(&self, id: &CardId, now: Timestamp) -> Result<Option<CardView>, String> {
        self.card_view(id, now).await.map_err(|cause| cause.to_string())
    }

    /// The books of an authorization; `None` for one that was never heard of.
    ///
    /// # Errors
    /// A sentence that says why the journal cannot be read.
    pub async fn authorization(&self, id: &AuthorizationId) -> Result<Option<AuthorizationView>, String> {
        self.authorization_view(id).await.map_err(|cause| cause.to_string())
    }

    /// What a cardholder's events said last; `None` for one of whom none came.
    ///
    /// # Errors
    /// A sentence that says why the journal cannot be read.
    pub async fn cardholder(&self, id: &CardholderId) -> Result<Option<State>, String> {
        let entries = self.shared().load(&Account::from(id), Reach::Snapshot).await;
        let folded = entries.and_then(|entries| ledger::fold(&entries));
        let standing = folded.map_err(|cause| cause.to_string())?.card.standing;
        Ok(standing.map(|standing| standing.state))
    }

    /// The policies that nodes have put in force, and what operators did with policies; oldest first.
    ///
    /// # Errors
    /// A sentence that says why the journal cannot be read.
    pub async fn policies(&self) -> Result<Vec<PolicyRecord>, String> {
        Policies::new(Arc::clone(&self.shared().journal), "").all().await.map_err(|cause| cause.to_string())
    }

    /// Records on the node of this name what an operator does with a policy.
    ///
    /// # Errors
    /// [`NotRecorded`]: nothing has changed.
    pub async fn change_policy(
        &self,
        node: &str,
        change: &PolicyChange<'_>,
        now: Timestamp,
    ) -> Result<PolicyChanged, NotRecorded> {
        Policies::new(Arc::clone(&self.shared().journal), node).change(change, now).await
    }

    /// Whether the first event in the books moved real money; `None` where there is none yet.
    ///
    /// # Errors
    /// A sentence that says why the journal cannot be read.
    pub async fn livemode(&self) -> Result<Option<bool>, String> {
        let mut after = 0;
        loop {
            let entries = self
                .shared()
                .journal
                .scan(after, LIVEMODE_ENTRIES)
                .await
                .map_err(|cause| cause.to_string())?;
            let Some(last) = entries.last() else { return Ok(None) };
            after = last.lsn;
            for entry in &entries {
                let events = ledger::read(entry).map_err(|cause| cause.to_string())?;
                if let Some(livemode) = events.iter().find_map(livemode_of) {
                    return Ok(Some(livemode));
                }
            }
        }
    }

    /// The chain in which the purchases on a card are, which is that of the first of the cards that replace each other.
    pub(super) async fn chain_of(&self, id: &CardId) -> Result<CardChain, NotFolded> {
        let shared = self.shared();
        let mut account = Account::from(id);
        let mut folded = ledger::fold(&shared.load(&account, Reach::Snapshot).await?)?;
        let is_known = folded.head.seq > 0;
        let replacement_for = folded.card.joined.as_ref().map(|joined| joined.card.clone());
        let (group, of) = (folded.card.group.clone(), folded.card.connected_account.clone());
        let state = folded.card.standing.take().map(|standing| standing.state);
        let mut passed = BTreeSet::from([account.clone()]);
        while let Some(joined) = folded.card.joined.take() {
            account = Account::from(&joined.card);
            if !passed.insert(account.clone()) {
                break;
            }
            folded = ledger::fold(&shared.load(&account, Reach::Snapshot).await?)?;
        }
        Ok(CardChain { account, folded, is_known, replacement_for, group, of, state })
    }

    async fn card_view(&self, id: &CardId, now: Timestamp) -> Result<Option<CardView>, NotFolded> {
        let shared = self.shared();
        let chain = self.chain_of(id).await?;
        let CardChain { account, mut folded, is_known, replacement_for, group, of, state } = chain;
        if !is_known {
            return Ok(None);
        }
        let policy = shared.policy.borrow().for_card_of(of.as_ref(), Some(id), group.as_deref());
        let windows = || policy.controls.spending_limits.iter().map(|limit| &limit.window);
        if folded.card.adopt(windows(), policy.refunds_restore, now).is_err() {
            let history = shared.load(&account, Reach::Genesis).await?;
            folded = ledger::fold_history(&history, windows(), policy.refunds_restore)?;
        }
        let Folded { card, head, .. } = folded;
        let limits = limits_in_force(&policy, None).map(|limit| {
            let tally = card.tallies.iter().find(|tally| tally.is_of(&limit.window));
            limit_view(limit, tally, &card.exceptions, card.currency, now)
        });
        let limits = limits.collect();
        let holds = card.authorizations.iter().filter(|(_, record)| record.hold() > 0);
        let holds = holds.map(|(authorization, record)| HoldView {
            authorization: authorization.clone(),
            amount: record.hold(),
            since: record.since(),
        });
        let mut holds: Vec<HoldView> = holds.collect();
        holds.sort_by(|a, b| (a.since, a.authorization.as_str()).cmp(&(b.since, b.authorization.as_str())));
        let unlinked = card.unlinked.iter().map(|(id, one)| (id.clone(), one.transaction.clone())).collect();
        let mut recent = decisions(&shared.load(&account, Reach::Last(RECENT_ENTRIES)).await?, None)?;
        recent.reverse();
        recent.truncate(RECENT_ENTRIES);
        Ok(Some(CardView {
            card: id.clone(),
            replacement_for,
            version: head.seq,
            currency: card.currency,
            held: card.held(),
            totals: card.totals(),
            policy: policy.version.clone(),
            group_in_policy: group.as_ref().map(|_| policy.unknown_group.is_none()),
            group: group.as_deref().map(ToOwned::to_owned),
            state,
            limits,
            holds,
            unlinked,
            is_paused: policy.paused || card.exceptions.is_paused(Some(id), now),
            exceptions: card.exceptions.in_force(now),
            budgets: card.charges.to_vec(),
            recent,
        }))
    }

    async fn authorization_view(&self, id: &AuthorizationId) -> Result<Option<AuthorizationView>, NotFolded> {
        let journal = &*self.shared().journal;
        let mention = Mention::from(id);
        let mut entries = journal.find(&mention).await?;
        let Some(account) = ledger::account_of(id, &entries)? else { return Ok(None) };
        let recalled = recall(journal, &account, vec![mention]).await?;
        let record = recalled.authorizations.into_iter().find(|(known, _)| known == id);
        let Some((_, record)) = record else { return Ok(None) };
        entries.retain(|entry| entry.account == account);
        Ok(Some(AuthorizationView {
            authorization: id.clone(),
            card: card_of(&entries, id)?,
            record,
            decisions: decisions(&entries, Some(id))?,
            history: history(&entries, id)?,
        }))
    }
}

/// A limit with what `tally` says is used of it, in the currency `own` where it names none.
pub(super) fn limit_view(
    limit: &Limit,
    tally: Option<&Tally>,
    exceptions: &Exceptions,
    own: Option<Currency>,
    now: Timestamp,
) -> LimitView {
    let window = &limit.window;
    let lifted = exceptions.raised(window, now);
    LimitView {
        measure: match window.measure {
            Measure::Amount(currency) => Measure::Amount(currency.or(own)),
            Measure::Count => Measure::Count,
        },
        interval: window.interval,
        categories: window.categories.as_ref().map(|list| texts(list.iter().map(Category::as_str))),
        merchants: window.merchants.as_ref().map(|list| texts(list.iter().map(NetworkId::as_str))),
        max: limit.max.saturating_add(lifted.sum()),
        lifted,
        used: tally.map_or(0, |tally| tally.used(now)),
        resets_at: tally.and_then(|tally| tally.resets_at(now)),
    }
}

/// The card that the authorization is on, from the first word of it.
fn card_of(entries: &[Entry], id: &AuthorizationId) -> Result<Option<CardId>, NotFolded> {
    for entry in entries {
        let events = ledger::read(entry)?;
        let mut spoken = events.iter().filter(|event| record::authorization_of(event) == Some(id));
        let card = spoken.find_map(|event| match event {
            Event::Observed(observation) => observation.card().cloned(),
            event => decided_in(event).and_then(|decided| decided.request.card.clone()),
        });
        if card.is_some() {
            return Ok(card);
        }
    }
    Ok(None)
}

/// The decisions in these entries, oldest first. A stand-in's answer takes the place of the decision that it voids.
fn decisions(entries: &[Entry], of: Option<&AuthorizationId>) -> Result<Vec<DecisionView>, NotFolded> {
    let mut decisions: Vec<DecisionView> = Vec::new();
    for entry in entries {
        for event in ledger::read(entry)? {
            let Some(decided) =
                decided_in(&event).filter(|d| of.is_none_or(|id| *id == d.request.authorization))
            else {
                continue;
            };
            if matches!(event, Event::StoodIn(_)) {
                decisions.retain(|known| {
                    known.decided.decision.id != decided.decision.id
                        || known.decided.decision.source == Source::StandIn
                });
            }
            if !decisions.iter().any(|known| known.decided.decision.id == decided.decision.id) {
                decisions.push(DecisionView { decided: decided.clone(), written_at: entry.at });
            }
        }
    }
    Ok(decisions)
}

/// Everything that these entries say of an authorization.
fn history(entries: &[Entry], of: &AuthorizationId) -> Result<Vec<EntryView>, NotFolded> {
    let mut history = Vec::new();
    for entry in entries {
        let events = ledger::read(entry)?.into_iter();
        let spoken = events.filter(|event| record::authorization_of(event) == Some(of));
        history.extend(spoken.map(|event| EntryView { seq: entry.seq, written_at: entry.at, event }));
    }
    Ok(history)
}

fn texts<'a>(items: impl Iterator<Item = &'a str>) -> Vec<String> {
    items.map(ToOwned::to_owned).collect()
}

/// Whether an event is about real money, where it says so.
fn livemode_of(event: &Event) -> Option<bool> {
    match event {
        Event::Decided(decided) | Event::StoodIn(decided) => Some(decided.request.livemode),
        Event::Observed(observation) => Some(observation.livemode),
        Event::Recalled(_)
        | Event::Joined(_)
        | Event::Carried(_)
        | Event::Controls(_)
        | Event::Charges(_)
        | Event::Command(_)
        | Event::Budget(_)
        | Event::Policy(_)
        | Event::Delivered(_)
        | Event::Snapshot(_) => None,
    }
}
