//! What operators do to accounts beside the policy: commands, with who, why and when. Most of them make exceptions, which end
//! by themselves. What an exception changes in a decision is in `decide` and `budget_checks`.

use std::sync::Arc;

use super::{
    attribution::Attribution,
    ids::{Account, CardId, DecisionId, NetworkId},
    money::{Currency, Money},
    policy::{Interval, Measure, Window},
    request::AuthorizationRequest,
    time::Timestamp,
};

/// What an operator does to an account, once.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Command {
    /// The operator's id for it: repeated, it counts once.
    pub id: Arc<str>,
    /// The card that it names, where it is for one: the ledger of a card may be that of several, which replace each other.
    pub card: Option<CardId>,
    /// When it was recorded; of a statement of a balance, the time of the statement.
    pub at: Timestamp,
    /// Who, and why.
    pub attribution: Attribution,
    /// What.
    pub action: Action,
    /// Its place among the events of its append, where that is of several accounts.
    pub turn: u32,
}

/// What a command does.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action {
    /// Changes the balance of a prepaid budget.
    Credit {
        /// Minor units; below zero where it takes away.
        amount: i64,
        /// The currency of the balance.
        currency: Currency,
    },
    /// Raises limits of the account for a while.
    Raise(Raise),
    /// Lets one purchase pass the limits.
    Grant(Grant),
    /// Declines everything.
    Pause {
        /// Until when; none until it is resumed.
        until: Option<Timestamp>,
    },
    /// Ends what [`Action::Pause`] began.
    Resume,
}

/// A limit that is higher for a while.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Raise {
    /// Minor units or approvals, above zero.
    pub by: i64,
    /// Amount or count. Without a currency, amounts of each.
    pub measure: Measure,
    /// The window of the limits.
    pub interval: Interval,
    /// When it ends.
    pub until: Timestamp,
}

impl Raise {
    /// Whether it raises the limits of this window.
    #[must_use]
    pub fn is_of(&self, window: &Window) -> bool {
        self.interval == window.interval
            && match (self.measure, window.measure) {
                (Measure::Count, Measure::Count) => true,
                (Measure::Amount(one), Measure::Amount(other)) => {
                    one.is_none() || other.is_none() || one == other
                }
                (Measure::Amount(_), Measure::Count) | (Measure::Count, Measure::Amount(_)) => false,
            }
    }
}

/// One purchase that may pass the limits.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Grant {
    /// By how much each limit on amounts is higher for it, in minor units.
    pub amount: i64,
    /// Their currency, and that of the purchase.
    pub currency: Currency,
    /// Only at this merchant.
    pub merchant: Option<NetworkId>,
    /// When it ends, used or not.
    pub until: Timestamp,
}

/// A command that changes decisions, as long as it is in force.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Exception {
    /// The command.
    pub command: Command,
    /// The decisions that needed it, where it is a grant.
    pub uses: Vec<Use>,
}

/// A decision that needed a grant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Use {
    /// The decision.
    pub decision: DecisionId,
    /// Whether it was an account check, which does not use the grant up.
    pub is_check: bool,
}

/// So many account checks pass with one grant.
const CHECKS_MAX: usize = 3;
/// So many exceptions may be in force for one account.
pub const EXCEPTIONS_MAX: usize = 64;
/// How many ids of commands an account remembers. An older one is found in the journal.
pub const COMMANDS_KEPT_MAX: usize = 256;

impl Exception {
    /// When it ends; none for a pause without an end.
    #[must_use]
    pub const fn until(&self) -> Option<Timestamp> {
        match &self.command.action {
            Action::Raise(raise) => Some(raise.until),
            Action::Grant(grant) => Some(grant.until),
            Action::Pause { until } => *until,
            Action::Credit { .. } | Action::Resume => None,
        }
    }

    /// Whether it is in force at this time.
    #[must_use]
    pub fn holds(&self, at: Timestamp) -> bool {
        self.until().is_none_or(|until| at < until)
    }

    /// Whether it is a grant that a purchase has used up.
    #[must_use]
    pub fn is_used_up(&self) -> bool {
        self.uses.iter().any(|one| !one.is_check)
    }
}

/// What operators have done to an account, as far as it still matters. Most accounts have nothing.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Exceptions(Option<Arc<Known>>);

#[derive(Clone, PartialEq, Debug, Default)]
struct Known {
    list: Vec<Exception>,
    /// The ids of the latest commands, oldest first.
    ids: Vec<Arc<str>>,
}

impl Exceptions {
    /// These exceptions, after commands of these ids.
    #[must_use]
    pub fn new(list: Vec<Exception>, ids: Vec<Arc<str>>) -> Self {
        Self((!list.is_empty() || !ids.is_empty()).then(|| Arc::new(Known { list, ids })))
    }

    /// Whether there was never a command.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Each exception, oldest first; of those that have ended, some may still be there.
    pub fn iter(&self) -> impl Iterator<Item = &Exception> {
        self.0.iter().flat_map(|known| &known.list)
    }

    /// The exceptions that are in force at the time `now`, oldest first. A grant that is used up is none.
    #[must_use]
    pub fn in_force(&self, now: Timestamp) -> Vec<Exception> {
        self.iter().filter(|one| one.holds(now) && !one.is_used_up()).cloned().collect()
    }

    /// Whether everything is declined at the time `now`, on this card where the account is that of cards.
    #[must_use]
    pub fn is_paused(&self, card: Option<&CardId>, now: Timestamp) -> bool {
        self.paused(card, now).is_some()
    }

    /// The ids of the latest commands, oldest first.
    pub fn ids(&self) -> impl Iterator<Item = &Arc<str>> {
        self.0.iter().flat_map(|known| &known.ids)
    }

    /// Whether a command of this id is among the latest.
    #[must_use]
    pub fn has(&self, id: &str) -> bool {
        self.ids().any(|known| **known == *id)
    }

    /// Takes a command. False: it was taken before.
    pub fn apply(&mut self, command: &Command) -> bool {
        if self.has(&command.id) {
            return false;
        }
        let known = Arc::make_mut(self.0.get_or_insert_default());
        known.ids.push(Arc::clone(&command.id));
        let surplus = known.ids.len().saturating_sub(COMMANDS_KEPT_MAX);
        known.ids.drain(..surplus);
        match &command.action {
            Action::Raise(_) | Action::Grant(_) | Action::Pause { .. } => {
                known.list.push(Exception { command: command.clone(), uses: Vec::new() });
            }
            Action::Resume => known.list.retain(|one| {
                !matches!(one.command.action, Action::Pause { .. }) || one.command.card != command.card
            }),
            Action::Credit { .. } => {}
        }
        true
    }

    /// Drops what has ended by the time `now`.
    pub fn expire(&mut self, now: Timestamp) {
        if self.iter().any(|one| !one.holds(now))
            && let Some(known) = &mut self.0
        {
            Arc::make_mut(known).list.retain(|one| one.holds(now));
        }
    }

    /// By how much the limits of `window` are higher at the time `at`.
    #[must_use]
    pub fn raised(&self, window: &Window, at: Timestamp) -> Lifted {
        let mut lifted = Lifted::default();
        for one in self.iter().filter(|one| one.holds(at)) {
            if let Action::Raise(raise) = &one.command.action
                && raise.is_of(window)
            {
                lifted.raised = lifted.raised.saturating_add(raise.by);
                lifted.until = Some(lifted.until.map_or(raise.until, |until| until.min(raise.until)));
            }
        }
        lifted
    }

    /// Whether everything is declined at the time `at`, on this card where the account is that of cards; and until when.
    #[allow(clippy::option_option, reason = "not paused, and paused without an end, are different things")]
    pub(super) fn paused(&self, card: Option<&CardId>, at: Timestamp) -> Option<Option<Timestamp>> {
        let pauses = self.iter().filter(|one| {
            matches!(one.command.action, Action::Pause { .. })
                && one.holds(at)
                && one.command.card.as_ref().is_none_or(|named| Some(named) == card)
        });
        // The one that ends last; one without an end outlasts all.
        pauses.map(Exception::until).max_by_key(|until| until.unwrap_or(Timestamp::MAX))
    }

    /// The grants that may let this request pass, oldest first.
    pub(super) fn grants<'a>(
        &'a self,
        request: &'a AuthorizationRequest,
        asked: Money,
        at: Timestamp,
    ) -> impl Iterator<Item = Granted<'a>> {
        let is_check = request.held_if_approved() <= asked.currency.unit();
        self.iter().filter_map(move |one| {
            let Action::Grant(grant) = &one.command.action else { return None };
            let is_meant = one.command.card.is_none() || one.command.card == request.card;
            let is_there = |wanted: &NetworkId| request.merchant.network_id.as_ref() == Some(wanted);
            let is_open = !one.is_used_up() && (!is_check || one.uses.len() < CHECKS_MAX);
            (is_meant
                && is_open
                && one.holds(at)
                && grant.currency == asked.currency
                && grant.merchant.as_ref().is_none_or(is_there))
            .then_some(Granted { grant, id: &one.command.id, checks: one.uses.len(), is_check })
        })
    }

    /// Notes that a decision needed a grant.
    pub(super) fn use_grant(&mut self, id: &str, used: Use) {
        if let Some(known) = &mut self.0
            && let Some(one) = Arc::make_mut(known).list.iter_mut().find(|one| *one.command.id == *id)
            && !one.uses.iter().any(|known| known.decision == used.decision)
        {
            one.uses.push(used);
        }
    }

    /// A decision was voided: the grant that it needed is as it was before.
    pub(super) fn give_back(&mut self, decision: DecisionId) {
        let is_used = |one: &Exception| one.uses.iter().any(|known| known.decision == decision);
        if self.iter().any(is_used)
            && let Some(known) = &mut self.0
        {
            for one in &mut Arc::make_mut(known).list {
                one.uses.retain(|known| known.decision != decision);
            }
        }
    }
}

/// A grant, as a request may use it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Granted<'a> {
    grant: &'a Grant,
    id: &'a Arc<str>,
    /// Account checks that passed with it before.
    checks: usize,
    is_check: bool,
}

impl Granted<'_> {
    /// By how much it lifts limits of this measure: those on approvals by one, and by one more for each account check that
    /// passed with it.
    pub(super) fn of(&self, measure: Measure) -> i64 {
        match measure {
            Measure::Amount(_) => self.grant.amount,
            Measure::Count => i64::try_from(self.checks).unwrap_or(0).saturating_add(1),
        }
    }

    pub(super) fn excepted(&self) -> Excepted {
        Excepted::Granted { id: Arc::clone(self.id), amount: self.grant.amount, is_check: self.is_check }
    }
}

/// By how much a limit was higher than the policy has it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Lifted {
    /// By raises.
    pub raised: i64,
    /// When the first of them ends.
    pub until: Option<Timestamp>,
    /// By a grant, for this request alone.
    pub granted: i64,
}

impl Lifted {
    /// By all of them together.
    #[must_use]
    pub const fn sum(&self) -> i64 {
        self.raised.saturating_add(self.granted)
    }
}

/// What exceptions had to do with a decision, beside higher limits.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Excepted {
    /// It passed by a grant.
    Granted {
        /// The command.
        id: Arc<str>,
        /// The grant's amount, in minor units.
        amount: i64,
        /// Whether it is an account check, which does not use the grant up.
        is_check: bool,
    },
    /// A pause declined it.
    Paused {
        /// The budget that is paused; none for the card.
        account: Option<Account>,
        /// Until when; none for one without an end.
        until: Option<Timestamp>,
    },
}
