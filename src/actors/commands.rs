//! What operators do to cards and budgets: what is asked for is held against the policy and the ledger, and recorded once.

use std::{collections::BTreeSet, fmt};

use tokio::sync::oneshot;

use super::{Cause, Directory, NotBooked, reply::Reply};
use crate::{
    clock::{self, timeout_at},
    domain::{
        Account, Action, Attribution, Budget, BudgetEvent, CardId, Command, Currency, EXCEPTIONS_MAX, Event,
        Exceptions, Grant, Interval, Limit, Measure, Raise, Tally, Timestamp,
    },
    journal::{Entry, Reach, record},
    ledger::{self, Folded, Hops, NotFolded, Operation, Work},
};

/// How long an operator waits until a command is durable.
const RECORDED_WITHIN: std::time::Duration = std::time::Duration::from_secs(5);

/// What an operator asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Order {
    /// The operator's id for it: repeated, it counts once.
    pub id: String,
    /// Who, and why.
    pub attribution: Attribution,
    /// What.
    pub wish: Wish,
}

/// What an operator wants done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Wish {
    /// A balance that is higher or lower by so much.
    Credit {
        /// Minor units; below zero where it takes away.
        amount: i64,
        /// The currency of the balance.
        currency: Currency,
    },
    /// A balance of which so much was available at a time. What happened after it counts on.
    Statement {
        /// Minor units.
        available: i64,
        /// The currency of the balance.
        currency: Currency,
        /// When.
        as_of: Timestamp,
    },
    /// A higher limit.
    Raise {
        /// Minor units or approvals.
        by: i64,
        /// Which limits: amount or count, in which currency.
        measure: Measure,
        /// Which limits: their window; it may be left out where there is only one.
        interval: Option<Interval>,
        /// When it ends; without it, at the end of the window.
        until: Option<Timestamp>,
    },
    /// A purchase that may pass the limits, once.
    Grant(Grant),
    /// Everything declined.
    Pause {
        /// Until when; without it, until it is resumed.
        until: Option<Timestamp>,
    },
    /// Purchases again, after a pause.
    Resume,
}

/// The account that an operator names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Target {
    /// A card.
    Card(CardId),
    /// A budget, or one account of a template.
    Budget {
        /// The name in the policy.
        name: String,
        /// Which account of a template.
        key: Option<String>,
    },
}

/// Why an order was not carried out.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NotOperated {
    /// The policy has no such budget.
    #[error("the policy in force has no budget of this name")]
    NoBudget,
    /// The budget has no balance.
    #[error("expected a prepaid budget of the policy in force, found one without `prepaid: true`")]
    NoBalance,
    /// The account has no such limit, or there is no time at which a raise of it would end.
    #[error("{0}")]
    NoLimit(String),
    /// The balance is kept in another currency.
    #[error("expected an amount in {expected}, found one in {found}")]
    Currency {
        /// That of the balance.
        expected: Currency,
        /// That of the order.
        found: Currency,
    },
    /// It would be over before it begins.
    #[error("expected `until` as a time to come, found {0}")]
    Past(Timestamp),
    /// The id was used for something else.
    #[error("the id was used for this account before, for {0}; use another id")]
    IdInUse(Box<Was>),
    /// The account has as many exceptions as it may have.
    #[error(
        "the account has {EXCEPTIONS_MAX} exceptions in force, and may have no more: wait until one ends"
    )]
    TooMany,
    /// It could not be recorded now.
    #[error("the change could not be recorded now; repeat it as it is, and it counts once")]
    NotNow,
}

/// What an id was used for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Was(pub Command);

impl fmt::Display for Was {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0.action {
            Action::Credit { amount, .. } => write!(f, "a credit of {amount}"),
            Action::Raise(raise) => write!(f, "a raise by {} until {}", raise.by, raise.until),
            Action::Grant(grant) => write!(f, "a grant of {} until {}", grant.amount, grant.until),
            Action::Pause { until: Some(until) } => write!(f, "a pause until {until}"),
            Action::Pause { until: None } => f.write_str("a pause"),
            Action::Resume => f.write_str("the end of a pause"),
        }?;
        write!(f, " by {}", self.0.attribution.by)
    }
}

/// The account of a target, as the ledger has it.
struct Found {
    account: Account,
    /// Where it is decided.
    root: Account,
    card: Option<CardId>,
    limits: Vec<Limit>,
    prepaid: Option<Currency>,
    exceptions: Exceptions,
}

impl Directory {
    /// Carries out an order; returns when that is durable. A repeated one changes nothing.
    ///
    /// # Errors
    /// [`NotOperated`].
    pub async fn operate(&self, target: &Target, order: Order, now: Timestamp) -> Result<(), NotOperated> {
        let found = self.find(target).await?;
        let is_statement = matches!(order.wish, Wish::Statement { .. });
        let ends_with_window = matches!(order.wish, Wish::Raise { until: None, .. });
        let command = self.command(&found, order, now).await?;
        let is_same = |known: &Command| is_statement || is_same(known, &command, ends_with_window);
        if let Some(known) = self.recorded(&found.account, &command.id).await.map_err(unrecorded)? {
            return if is_same(&known) { Ok(()) } else { Err(NotOperated::IdInUse(Box::new(Was(known)))) };
        }
        let lasts = !matches!(command.action, Action::Credit { .. } | Action::Resume);
        if lasts && found.exceptions.iter().filter(|one| one.holds(now)).count() >= EXCEPTIONS_MAX {
            return Err(NotOperated::TooMany);
        }
        let (root, account) = (found.root.clone(), found.account.clone());
        self.record(root, account, command.clone()).await.map_err(|_| NotOperated::NotNow)?;
        // Another order of this id may have been recorded meanwhile.
        match self.recorded(&found.account, &command.id).await.map_err(unrecorded)? {
            Some(known) if !is_same(&known) => Err(NotOperated::IdInUse(Box::new(Was(known)))),
            Some(_) | None => Ok(()),
        }
    }

    async fn find(&self, target: &Target) -> Result<Found, NotOperated> {
        let policy = self.policy();
        match target {
            Target::Card(card) => {
                let chain = self.chain_of(card).await.map_err(unrecorded)?;
                let Folded { card: state, .. } = chain.folded;
                let root = policy.budgets().root(&state.charges);
                let root = root.or_else(|| self.shared().known_root(&chain.account));
                Ok(Found {
                    root: root.unwrap_or_else(|| chain.account.clone()),
                    account: chain.account,
                    card: Some(card.clone()),
                    limits: policy
                        .for_card_of(chain.of.as_ref(), Some(card), chain.group.as_deref())
                        .controls
                        .spending_limits
                        .clone(),
                    prepaid: None,
                    exceptions: state.exceptions,
                })
            }
            Target::Budget { name, key } => {
                let budget = policy.budgets().get(name).ok_or(NotOperated::NoBudget)?;
                let account = Account::budget_of_key(name, key.as_deref());
                let root = policy.budgets().root(std::slice::from_ref(&account));
                let entries = self.shared().load(&account, Reach::Snapshot).await.map_err(unrecorded)?;
                let folded = ledger::fold(&entries).map_err(unrecorded)?;
                Ok(Found {
                    root: root.unwrap_or_else(|| account.clone()),
                    account,
                    card: None,
                    limits: budget.limits.clone(),
                    prepaid: budget.prepaid,
                    exceptions: folded.budget.exceptions,
                })
            }
        }
    }

    /// The command that an order comes to.
    async fn command(&self, found: &Found, order: Order, now: Timestamp) -> Result<Command, NotOperated> {
        let Order { mut id, attribution, wish } = order;
        let mut at = now;
        let action = match wish {
            Wish::Credit { amount, currency } => {
                is_of_balance(found, currency)?;
                Action::Credit { amount, currency }
            }
            Wish::Statement { available, currency, as_of } => {
                is_of_balance(found, currency)?;
                let history = self.shared().load(&found.account, Reach::Genesis).await;
                let balance = history.and_then(|entries| balance_at(&entries, as_of)).map_err(unrecorded)?;
                (id, at) = (format!("statement-{}", as_of.as_micros()), as_of);
                Action::Credit { amount: available.saturating_sub(balance), currency }
            }
            Wish::Raise { by, measure, interval, until } => {
                Action::Raise(raise(&found.limits, (by, measure, interval), until, now)?)
            }
            Wish::Grant(grant) => Action::Grant(grant),
            Wish::Pause { until } => Action::Pause { until },
            Wish::Resume => Action::Resume,
        };
        let until = match &action {
            Action::Raise(raise) => Some(raise.until),
            Action::Grant(grant) => Some(grant.until),
            Action::Pause { until } => *until,
            Action::Credit { .. } | Action::Resume => None,
        };
        if let Some(until) = until.filter(|until| *until <= now) {
            return Err(NotOperated::Past(until));
        }
        Ok(Command { id: id.into(), card: found.card.clone(), at, attribution, action, turn: 0 })
    }

    /// The command of this id, where it is in the journal.
    async fn recorded(&self, account: &Account, id: &str) -> Result<Option<Command>, NotFolded> {
        let Some(mention) = record::command_mention(id) else { return Ok(None) };
        let entries = self.shared().journal.find(&mention).await?;
        for entry in entries.iter().filter(|entry| entry.account == *account) {
            let events = ledger::read(entry)?;
            let mut commands = events.iter().filter_map(Event::command);
            if let Some(known) = commands.find(|command| *command.id == *id) {
                return Ok(Some(known.clone()));
            }
        }
        Ok(None)
    }

    async fn record(&self, root: Account, account: Account, command: Command) -> Result<(), NotBooked> {
        let (reply, recorded) = oneshot::channel();
        let operation = Operation { command, hops: Hops::default(), caller: Reply::Receipt(reply) };
        self.shared().send(root, account, |_| Work::Operation(Box::new(operation)))?;
        let now = clock::instant();
        let until = now.checked_add(RECORDED_WITHIN).unwrap_or(now);
        match timeout_at(until, recorded).await {
            Ok(Ok(recorded)) => recorded,
            Ok(Err(_)) => Err(NotBooked::Now(Cause::Journal)),
            Err(_) => Err(NotBooked::Now(Cause::Deadline)),
        }
    }
}

/// Whether two commands of one id are the same order, whoever repeats it and whatever is noted. The end of a window may have been
/// another one the first time.
fn is_same(known: &Command, asked: &Command, ends_with_window: bool) -> bool {
    let mut action = asked.action.clone();
    if let (Action::Raise(known), Action::Raise(asked)) = (&known.action, &mut action)
        && ends_with_window
    {
        asked.until = known.until;
    }
    known.action == action && known.card == asked.card
}

fn is_of_balance(found: &Found, currency: Currency) -> Result<(), NotOperated> {
    let expected = found.prepaid.ok_or(NotOperated::NoBalance)?;
    if expected == currency { Ok(()) } else { Err(NotOperated::Currency { expected, found: currency }) }
}

/// The raise of those of these limits that are meant.
fn raise(
    limits: &[Limit],
    (by, measure, interval): (i64, Measure, Option<Interval>),
    until: Option<Timestamp>,
    now: Timestamp,
) -> Result<Raise, NotOperated> {
    let kind = match measure {
        Measure::Amount(_) => "amounts",
        Measure::Count => "approvals",
    };
    let wanted = |interval: Interval| Raise { by, measure, interval, until: Timestamp::MAX };
    let of_measure = limits.iter().filter(|limit| wanted(limit.window.interval).is_of(&limit.window));
    let windows: BTreeSet<Interval> = of_measure.map(|limit| limit.window.interval).collect();
    let listed = windows.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let listed = if listed.is_empty() { "none".to_owned() } else { listed };
    let interval = match (interval, windows.first()) {
        (Some(interval), _) if windows.contains(&interval) => interval,
        (None, Some(only)) if windows.len() == 1 => *only,
        (Some(interval), _) => {
            let message = format!(
                "expected the `interval` of a limit on {kind} of this account ({listed}), found {interval}"
            );
            return Err(NotOperated::NoLimit(message));
        }
        (None, _) => {
            let message = format!("expected the `interval` of a limit on {kind} of this account: {listed}");
            return Err(NotOperated::NoLimit(message));
        }
    };
    let meant = || limits.iter().filter(|limit| wanted(interval).is_of(&limit.window));
    let currencies: BTreeSet<Option<Currency>> = meant()
        .map(|limit| match limit.window.measure {
            Measure::Amount(currency) => currency,
            Measure::Count => None,
        })
        .collect();
    let measure = match measure {
        Measure::Amount(None) if currencies.len() > 1 => {
            let message = "expected `currency`, since the account has such limits in several currencies";
            return Err(NotOperated::NoLimit(message.to_owned()));
        }
        Measure::Amount(None) => Measure::Amount(currencies.first().copied().flatten()),
        named @ (Measure::Amount(Some(_)) | Measure::Count) => named,
    };
    let end_of = |limit: &Limit| Tally::new(&limit.window, false, now)?.period.map(|(_, end)| end);
    let until = until.or_else(|| meant().filter_map(end_of).min()).ok_or_else(|| {
        NotOperated::NoLimit(format!("expected `until`, since a window that is {interval} has no end"))
    })?;
    Ok(Raise { by, measure, interval, until })
}

fn unrecorded(cause: impl fmt::Display) -> NotOperated {
    tracing::error!(%cause, "the ledger cannot be read");
    NotOperated::NotNow
}

/// What was available at a time, by all that had happened then.
fn balance_at(entries: &[Entry], at: Timestamp) -> Result<i64, NotFolded> {
    let mut budget = Budget::default();
    for entry in entries {
        for event in ledger::read(entry)? {
            let Event::Budget(event) = event else { continue };
            let is_by_then = match &*event {
                BudgetEvent::Leg(leg) => leg.at <= at,
                BudgetEvent::Command(command) => command.at <= at,
                BudgetEvent::Warned(_) | BudgetEvent::Snapshot(_) => false,
            };
            if is_by_then {
                budget.apply(&event);
            }
        }
    }
    Ok(budget.available())
}
