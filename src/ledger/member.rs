//! The accounts of a spend root that are in memory: each with its state, its place in the journal, and what waits for it.

use std::{
    collections::BTreeMap,
    ops::{Index, IndexMut},
    sync::Arc,
};

use super::{History, Work};
use crate::{
    clock::Instant,
    domain::{Account, Budget, Card, CardId, CardPolicy, ConnectedAccountId, Controls, Holder, Policy},
    journal::Head,
};

/// Whether an account is in memory.
pub(super) enum Phase<C> {
    /// It could not be read; the next piece of work tries again.
    Unread,
    /// It is being read; work waits here, in order, each for its own account.
    Loading(Vec<(Slot, Work<C>)>),
    /// It is.
    Ready,
}

/// The policy as an account last saw it.
pub(super) struct InForce {
    pub(super) source: Arc<Policy>,
    pub(super) account: Option<ConnectedAccountId>,
    /// A chain may be that of several cards, each with a policy of its own.
    pub(super) card: Option<CardId>,
    pub(super) group: Option<Arc<str>>,
    pub(super) policy: Arc<CardPolicy>,
    pub(super) mirrored: Option<Arc<Controls>>,
    /// The accounts of budgets that the card charges.
    pub(super) charges: Arc<[Account]>,
}

/// One account.
pub(super) struct Member<C> {
    pub(super) account: Account,
    pub(super) phase: Phase<C>,
    /// The tentative state of a card or cardholder: everything decided, durable or not.
    pub(super) card: Card,
    /// The tentative state of a budget.
    pub(super) budget: Budget,
    pub(super) policy: Option<InForce>,
    /// The last entry known to be durable.
    pub(super) head: Head,
    /// Work that waits for a look into the journal.
    pub(super) lookups: usize,
    /// Counts when records come back, are evicted, or are read anew: what the journal said before is out of date then.
    pub(super) changes: u64,
    /// Work that waits until the chain that this one is linked to may have it.
    pub(super) joining: Option<Vec<Work<C>>>,
    /// A window of the policy reaches back further than what is in memory: the whole history is to be read for it.
    pub(super) history: Option<Box<History>>,
    pub(super) entries_since_snapshot: usize,
    pub(super) events_since_snapshot: usize,
    /// How large the last snapshot was, in events.
    pub(super) snapshot_size: usize,
    /// Whether it is to leave memory when its snapshot is durable.
    pub(super) is_leaving: bool,
    /// When there was work for it last.
    pub(super) used_at: Instant,
    /// In which batch it is recorded already what the card charges.
    pub(super) charges_in: u64,
    /// Open holds, as counted.
    open: usize,
}

impl<C> Member<C> {
    fn new(account: Account, now: Instant) -> Self {
        Self {
            account,
            phase: Phase::Unread,
            card: Card::default(),
            budget: Budget::default(),
            policy: None,
            head: Head::default(),
            lookups: 0,
            changes: 0,
            joining: None,
            history: None,
            entries_since_snapshot: 0,
            events_since_snapshot: 0,
            snapshot_size: 0,
            is_leaving: false,
            used_at: now,
            charges_in: 0,
            open: 0,
        }
    }

    pub(super) const fn is_ready(&self) -> bool {
        matches!(self.phase, Phase::Ready)
    }

    /// Whether its state is that of the journal with all that was recorded since: it is in memory, or still there until its whole
    /// history is read.
    pub(super) const fn has_state(&self) -> bool {
        self.is_ready() || self.history.is_some()
    }

    /// Whether it is the account of a budget.
    pub(super) fn is_budget(&self) -> bool {
        self.account.as_budget().is_some()
    }

    /// Work that waits for it.
    pub(super) fn waiting(&self) -> usize {
        let loading = match &self.phase {
            Phase::Loading(waiting) => waiting.len(),
            Phase::Unread | Phase::Ready => 0,
        };
        let joining = self.joining.as_ref().map_or(0, Vec::len);
        loading.saturating_add(joining).saturating_add(self.lookups)
    }

    /// The accounts whose work waits until this one is read.
    pub(super) fn work_waits_for(&self) -> impl Iterator<Item = Slot> {
        let waiting = match &self.phase {
            Phase::Loading(waiting) => waiting.as_slice(),
            Phase::Unread | Phase::Ready => &[],
        };
        waiting.iter().map(|(of, _)| *of)
    }

    /// Whether it waits for something, or something for it.
    pub(super) const fn is_busy(&self) -> bool {
        self.lookups > 0 || self.joining.is_some() || matches!(self.phase, Phase::Loading(_))
    }
}

impl InForce {
    /// What a card of `holder` in this group gets under `source`.
    pub(super) fn new(
        source: &Arc<Policy>,
        card: Option<&CardId>,
        group: Option<&Arc<str>>,
        holder: &Holder<'_>,
        mirrored: Option<&Arc<Controls>>,
    ) -> Self {
        let policy = source.for_card_of(holder.connected_account, card, group.map(|group| &**group));
        Self {
            charges: source.budgets().charged(&policy.budgets, holder),
            source: Arc::clone(source),
            account: holder.connected_account.cloned(),
            card: card.cloned(),
            group: group.cloned(),
            policy,
            mirrored: mirrored.cloned(),
        }
    }
}

/// Where an account is among the members. It stays there as long as anything of it waits or is on its way.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) struct Slot(usize);

/// The accounts in memory.
pub(super) struct Members<C> {
    slots: Vec<Member<C>>,
    by_account: BTreeMap<Account, Slot>,
    vacant: Vec<Slot>,
    /// Those that may have changed since the holds were counted.
    touched: Vec<Slot>,
    open: usize,
}

impl<C> Members<C> {
    pub(super) fn new() -> Self {
        Self {
            slots: Vec::new(),
            by_account: BTreeMap::new(),
            vacant: Vec::new(),
            touched: Vec::new(),
            open: 0,
        }
    }

    /// Where this account is.
    pub(super) fn find(&self, account: &Account) -> Option<Slot> {
        // Most roots have one account.
        if self.slots.first().is_some_and(|first| first.account == *account) {
            return Some(Slot(0));
        }
        self.by_account.get(account).copied()
    }

    /// Where this account is; one that was not there is unread.
    pub(super) fn find_or_add(&mut self, account: &Account, now: Instant) -> Slot {
        if let Some(slot) = self.find(account) {
            return slot;
        }
        let member = Member::new(account.clone(), now);
        let slot = if let Some(slot) = self.vacant.pop() {
            self[slot] = member;
            slot
        } else {
            self.slots.push(member);
            Slot(self.slots.len().saturating_sub(1))
        };
        self.by_account.insert(account.clone(), slot);
        slot
    }

    /// Takes an account out of memory.
    pub(super) fn remove(&mut self, slot: Slot) {
        let now = self[slot].used_at;
        // No ledger is ever asked for this one.
        let gone = std::mem::replace(&mut self[slot], Member::new(Account::policies(), now));
        self.open = self.open.saturating_sub(gone.open);
        self.by_account.remove(&gone.account);
        self.vacant.push(slot);
    }

    pub(super) fn len(&self) -> usize {
        self.by_account.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Slot, &Member<C>)> {
        self.by_account.values().map(|slot| (*slot, &self[*slot]))
    }

    /// The accounts of budgets.
    pub(super) fn budgets(&self) -> impl Iterator<Item = &Member<C>> {
        let from_first = self.by_account.range(Account::budget_of_key("", None)..);
        from_first.map_while(|(account, at)| account.as_budget().map(|_| &self[*at]))
    }

    /// How many holds are open.
    pub(super) fn open(&mut self) -> usize {
        for slot in std::mem::take(&mut self.touched) {
            let Some(member) = self.slots.get_mut(slot.0) else { continue };
            let open = member.card.authorizations.open();
            self.open = self.open.saturating_add(open).saturating_sub(member.open);
            member.open = open;
        }
        self.open
    }
}

/// A slot is made by these members, and they never become fewer.
#[allow(clippy::indexing_slicing, reason = "see above")]
impl<C> Index<Slot> for Members<C> {
    type Output = Member<C>;

    fn index(&self, slot: Slot) -> &Member<C> {
        &self.slots[slot.0]
    }
}

#[allow(clippy::indexing_slicing, reason = "as for `Index`")]
impl<C> IndexMut<Slot> for Members<C> {
    fn index_mut(&mut self, slot: Slot) -> &mut Member<C> {
        if self.touched.last() != Some(&slot) {
            self.touched.push(slot);
        }
        &mut self.slots[slot.0]
    }
}
