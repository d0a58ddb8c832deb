//! Budgets: accounts that many cards charge. What the policy says of one, what is used of it, and what each authorization
//! on each card uses. A budget keeps no authorizations: each change of one comes with what it used before and after.

use std::{collections::BTreeMap, fmt, sync::Arc};

use smol_str::SmolStr;

use super::{
    card::NeedsHistory,
    exception::{Action, Command, Exceptions},
    ids::{Account, CardholderId, ConnectedAccountId, Mention},
    money::Currency,
    policy::{Interval, Limit, Measure, Window},
    request::AuthorizationRequest,
    rule::MetadataKey,
    time::Timestamp,
    warned::Warned,
    window::{Spend, Tally, Uses},
};

/// What the policy says of a budget.
#[derive(Clone, PartialEq, Debug)]
pub struct BudgetPolicy {
    /// Its name in the policy.
    pub name: Arc<str>,
    /// The budget above it, which is charged with it.
    pub parent: Option<Arc<str>>,
    /// What there is one account each for; without it there is one.
    pub per: Option<Per>,
    /// All of them must hold. Amounts name their currency.
    pub limits: Vec<Limit>,
    /// The currency of its balance, where it has one: nothing is approved beyond what was credited.
    pub prepaid: Option<Currency>,
    /// Who can raise it.
    pub owners: Vec<Arc<str>>,
    /// Shares of a limit, in percent, at whose crossing a warning is due.
    pub warn_at: Vec<u8>,
    /// Whether a refund gives its amount back to the limits. A balance gets it back in any case.
    pub refunds_restore: bool,
    /// Whether purchases in a currency that no amount of it names pass.
    pub other_currencies_allowed: bool,
    /// Whether everything is declined that charges it.
    pub paused: bool,
}

/// What a template of budgets has one account each for.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Per {
    /// Each cardholder.
    Cardholder,
    /// Each connected account.
    Account,
    /// Each value of an entry of metadata.
    Metadata(MetadataKey),
}

impl Per {
    /// Reads `cardholder`, `account`, `card.metadata.KEY` or `cardholder.metadata.KEY`.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        match text {
            "cardholder" => Some(Self::Cardholder),
            "account" => Some(Self::Account),
            _ => MetadataKey::named(text).map(Self::Metadata),
        }
    }

    fn of<'a>(&self, holder: &Holder<'a>) -> Option<&'a str> {
        match self {
            Self::Cardholder => holder.cardholder.map(CardholderId::as_str),
            Self::Account => holder.connected_account.map(ConnectedAccountId::as_str),
            Self::Metadata(key) => {
                let mut entries = holder.metadata.iter();
                entries.find_map(|(known, value)| (known == key).then_some(value.as_str()))
            }
        }
    }
}

impl fmt::Display for Per {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cardholder => f.write_str("cardholder"),
            Self::Account => f.write_str("account"),
            Self::Metadata(key) => write!(f, "{key}"),
        }
    }
}

/// Whose card it is: what the accounts of templates follow from.
#[derive(Clone, Copy, Debug, Default)]
pub struct Holder<'a> {
    /// The cardholder.
    pub cardholder: Option<&'a CardholderId>,
    /// The connected account.
    pub connected_account: Option<&'a ConnectedAccountId>,
    /// The entries of metadata that the policy names.
    pub metadata: &'a [(MetadataKey, SmolStr)],
}

impl<'a> From<&'a AuthorizationRequest> for Holder<'a> {
    fn from(request: &'a AuthorizationRequest) -> Self {
        Self {
            cardholder: request.cardholder.as_ref(),
            connected_account: request.connected_account.as_ref(),
            metadata: &request.details.metadata,
        }
    }
}

impl BudgetPolicy {
    /// The account that a card of `holder` charges. Cards without the key of a template share one account.
    #[must_use]
    pub fn account(&self, holder: &Holder<'_>) -> Account {
        Account::budget(&self.name, self.per.as_ref().and_then(|per| per.of(holder)))
    }

    /// The windows that an account of it keeps sums of.
    pub fn windows(&self) -> impl Iterator<Item = &Arc<Window>> {
        self.limits.iter().map(|limit| &limit.window)
    }
}

/// The state of one account of a budget.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Budget {
    /// The latest time of anything that charged it.
    pub time: Timestamp,
    /// The running sums of the windows in force.
    pub tallies: Vec<Tally>,
    /// Whether the sums count refunds as given back.
    pub refunds_restore: bool,
    /// What all authorizations together come to now.
    pub sums: Sums,
    /// What was credited, in minor units; less what was taken away again.
    pub credits: i64,
    /// What operators have done to it.
    pub exceptions: Exceptions,
    /// Whether anything ever charged it.
    pub is_used: bool,
    /// The last warning of each of its limits.
    pub warned: Vec<Warned>,
}

/// Minor units, of one authorization or of all.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Sums {
    /// Held and not captured.
    pub held: i64,
    /// Captured.
    pub captured: i64,
    /// Refunded.
    pub refunded: i64,
}

impl Sums {
    /// What is taken of a balance.
    #[must_use]
    pub const fn used(self) -> i64 {
        self.held.saturating_add(self.captured).saturating_sub(self.refunded)
    }

    fn exchanged(self, before: Self, after: Self) -> Self {
        let put = |sum: i64, before: i64, after: i64| sum.saturating_add(after).saturating_sub(before);
        Self {
            held: put(self.held, before.held, after.held),
            captured: put(self.captured, before.captured, after.captured),
            refunded: put(self.refunded, before.refunded, after.refunded),
        }
    }
}

/// What happens to a budget.
#[allow(clippy::large_enum_variant, reason = "events keep it in a box, and it is nearly always a leg")]
#[derive(Clone, PartialEq, Debug)]
pub enum BudgetEvent {
    /// An authorization, or a transaction without one, uses something else of it than before.
    Leg(Leg),
    /// An operator does something to it.
    Command(Command),
    /// A share of a limit was reached at which the policy warns.
    Warned(Warned),
    /// The whole state after everything before it.
    Snapshot(Budget),
}

/// What one authorization, or one capture or refund without one, uses of a budget from now on.
#[derive(Clone, PartialEq, Debug)]
pub struct Leg {
    /// The authorization or transaction.
    pub of: Mention,
    /// The chain of the card.
    pub card: Account,
    /// When it was recorded.
    pub at: Timestamp,
    /// The place of its cause among the events of its append.
    pub turn: u32,
    /// What it used until now.
    pub before: Side,
    /// What it uses from now on.
    pub after: Side,
}

/// What an authorization uses of a budget.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Side {
    /// The currency of the amounts.
    pub currency: Option<Currency>,
    /// Of the windows, refunds aside.
    pub spends: Vec<Spend>,
    /// Of windows to which refunds give back, where that is something else.
    pub restored: Option<Vec<Spend>>,
    /// Money that came in without an authorization.
    pub incoming: Option<Spend>,
    /// What it comes to.
    pub sums: Sums,
}

impl Side {
    /// Whether nothing is counted of it.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        self.spends.is_empty()
            && self.restored.is_none()
            && self.incoming.is_none()
            && self.sums == Sums::default()
    }

    fn uses(&self, refunds_restore: bool) -> Uses<'_> {
        let spends = self.restored.as_ref().filter(|_| refunds_restore).unwrap_or(&self.spends);
        Uses { spends, currency: self.currency }
    }
}

/// How many warnings an account remembers: more than a budget has limits.
const WARNED_MAX: usize = 64;

impl Budget {
    /// Applies an event. What happened, happened: this cannot fail.
    pub fn apply(&mut self, event: &BudgetEvent) {
        match event {
            BudgetEvent::Leg(leg) => self.charge(leg),
            BudgetEvent::Command(command) => {
                let is_new = self.exceptions.apply(command);
                if let Action::Credit { amount, .. } = command.action
                    && is_new
                {
                    self.credits = self.credits.saturating_add(amount);
                }
            }
            BudgetEvent::Warned(warned) => {
                self.warned.retain(|known| known.limit != warned.limit);
                self.warned.push(warned.clone());
                let surplus = self.warned.len().saturating_sub(WARNED_MAX);
                self.warned.drain(..surplus);
            }
            BudgetEvent::Snapshot(budget) => self.clone_from(budget),
        }
    }

    /// Whether this was warned of already: this share of the limit or a higher one, at the same height and in the same window.
    #[must_use]
    pub fn has_warned(&self, of: &Warned) -> bool {
        self.warned.iter().any(|known| known.covers(of))
    }

    /// What may still be spent of its balance.
    #[must_use]
    pub const fn available(&self) -> i64 {
        self.credits.saturating_sub(self.sums.used())
    }

    /// Keeps sums for exactly these windows from now on.
    ///
    /// # Errors
    /// [`NeedsHistory`] for a new window of an account that was charged before; the account is unchanged then.
    pub fn adopt<'a>(
        &mut self,
        windows: impl Iterator<Item = &'a Arc<Window>>,
        refunds_restore: bool,
        now: Timestamp,
    ) -> Result<(), NeedsHistory> {
        let now = now.max(self.time);
        let count = |tally| if self.is_used { Err(NeedsHistory) } else { Ok(tally) };
        let tallies = Tally::of_windows(&self.tallies, windows, refunds_restore, now, count)?;
        self.tallies = tallies;
        self.refunds_restore = refunds_restore;
        Ok(())
    }

    /// Whether it keeps sums for all of these windows, counted that way.
    pub fn keeps<'a>(
        &self,
        mut windows: impl Iterator<Item = &'a Arc<Window>>,
        refunds_restore: bool,
    ) -> bool {
        self.refunds_restore == refunds_restore
            && windows.all(|window| {
                window.interval == Interval::PerAuthorization
                    || self.tallies.iter().any(|tally| tally.is_of(window))
            })
    }

    fn charge(&mut self, leg: &Leg) {
        self.is_used = true;
        self.move_on(leg.at);
        let Leg { before, after, .. } = leg;
        self.sums = self.sums.exchanged(before.sums, after.sums);
        for tally in &mut self.tallies {
            let restores = tally.refunds_restore;
            tally.exchange(before.uses(restores), after.uses(restores), None);
            for (side, sign) in [(before, -1), (after, 1)] {
                if let Some(spend) = side.incoming.as_ref().filter(|_| restores)
                    && tally.window.measure != Measure::Count
                    && tally.window.admits(&spend.merchant, side.currency, None)
                {
                    tally.restore(spend.at, spend.amount.saturating_mul(sign));
                }
            }
        }
    }

    fn move_on(&mut self, now: Timestamp) {
        self.time = self.time.max(now);
        self.exceptions.expire(self.time);
        for tally in &mut self.tallies {
            tally.advance(self.time);
        }
    }
}

/// A budget account that a request charges, as it is.
#[derive(Clone, Copy, Debug)]
pub struct Charged<'a> {
    /// The account.
    pub account: &'a Account,
    /// What the policy says of it; none for one that it no longer has.
    pub policy: Option<&'a BudgetPolicy>,
    /// Its state.
    pub budget: &'a Budget,
    /// Whether the authorization charges it already.
    pub is_counted: bool,
}

/// The budgets of a policy, and which of them are decided together.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Budgets {
    by_name: BTreeMap<Arc<str>, Arc<BudgetPolicy>>,
    roots: BTreeMap<Arc<str>, Root>,
}

/// Where the accounts of a budget are decided: budgets that some card charges together share one place, as do those of one
/// tree.
#[derive(Clone, PartialEq, Debug)]
struct Root {
    /// The first budget of those that are decided together.
    name: Arc<str>,
    /// Whether there is one place for each key: all of them are templates of the same kind.
    is_keyed: bool,
}

impl Budgets {
    /// These budgets, of which each of `together` is charged by the cards of one layer.
    #[must_use]
    pub fn new<'a>(
        budgets: impl IntoIterator<Item = BudgetPolicy>,
        together: impl IntoIterator<Item = &'a [Arc<str>]>,
    ) -> Self {
        let budgets = budgets.into_iter().map(|budget| (Arc::clone(&budget.name), Arc::new(budget)));
        let by_name: BTreeMap<Arc<str>, Arc<BudgetPolicy>> = budgets.collect();
        let mut groups: BTreeMap<Arc<str>, Arc<str>> =
            by_name.keys().map(|name| (Arc::clone(name), Arc::clone(name))).collect();
        let mut unite = |one: &Arc<str>, other: &Arc<str>| {
            let (Some(one), Some(other)) = (groups.get(one).cloned(), groups.get(other).cloned()) else {
                return;
            };
            let (least, most) = if one <= other { (one, other) } else { (other, one) };
            for group in groups.values_mut().filter(|group| **group == most) {
                group.clone_from(&least);
            }
        };
        for budget in by_name.values() {
            if let Some(parent) = &budget.parent {
                unite(&budget.name, parent);
            }
        }
        for names in together {
            if let Some((first, rest)) = names.split_first() {
                for name in rest {
                    unite(first, name);
                }
            }
        }
        let roots = groups.iter().map(|(name, group)| {
            let members = || by_name.values().filter(|budget| groups.get(&budget.name) == Some(group));
            let first = members().next().and_then(|budget| budget.per.as_ref());
            let is_keyed = first.is_some() && members().all(|budget| budget.per.as_ref() == first);
            (Arc::clone(name), Root { name: Arc::clone(group), is_keyed })
        });
        let roots = roots.collect();
        Self { by_name, roots }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// Each budget, by its name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<BudgetPolicy>> {
        self.by_name.values()
    }

    /// The budget of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Arc<BudgetPolicy>> {
        self.by_name.get(name)
    }

    /// The budget whose account this is.
    #[must_use]
    pub fn of(&self, account: &Account) -> Option<&Arc<BudgetPolicy>> {
        account.as_budget().and_then(|(name, _)| self.get(name))
    }

    /// The accounts that cards of `holder` charge whose layer names these budgets: those, and all above them.
    #[must_use]
    pub fn charged(&self, named: &[Arc<str>], holder: &Holder<'_>) -> Arc<[Account]> {
        let mut accounts: Vec<Account> = Vec::new();
        for name in named {
            let mut next = self.get(name);
            // A circle ends at what is there already.
            while let Some(budget) = next {
                let account = budget.account(holder);
                if accounts.contains(&account) {
                    break;
                }
                accounts.push(account);
                next = budget.parent.as_ref().and_then(|parent| self.get(parent));
            }
        }
        accounts.into()
    }

    /// Where a card that charges these accounts is decided; none where it charges none.
    #[must_use]
    pub fn root(&self, charged: &[Account]) -> Option<Account> {
        let (name, key) = charged.iter().find_map(Account::as_budget)?;
        let root = self.roots.get(name)?;
        Some(Account::budget_of_key(&root.name, key.filter(|_| root.is_keyed)))
    }

    /// The budgets that are decided in one place, where that place is one for all of their keys; each list is of more than one
    /// account.
    pub fn shared_places(&self) -> impl Iterator<Item = Vec<&Arc<BudgetPolicy>>> {
        let mut places: BTreeMap<&Arc<str>, Vec<&Arc<BudgetPolicy>>> = BTreeMap::new();
        for (name, root) in self.roots.iter().filter(|(_, root)| !root.is_keyed) {
            places.entry(&root.name).or_default().extend(self.get(name));
        }
        places
            .into_values()
            .filter(|place| place.len() > 1 || place.iter().any(|budget| budget.per.is_some()))
    }

    /// The keys of metadata that templates need, which have to be read.
    pub fn metadata(&self) -> impl Iterator<Item = &MetadataKey> {
        self.iter().filter_map(|budget| match &budget.per {
            Some(Per::Metadata(key)) => Some(key),
            Some(Per::Cardholder | Per::Account) | None => None,
        })
    }
}
