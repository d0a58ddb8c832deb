//! Budgets as people see them, and what operators do to them. They are read from the journal, so that only what is durable is
//! shown, and any node can show any budget.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::{
    Cause, Directory, NotBooked,
    reply::Reply,
    views::{LimitView, limit_view},
};
use crate::{
    clock::{self, timeout_at},
    domain::{
        Account, Attribution, Budget, BudgetEvent, BudgetPolicy, Credit, Currency, Event, Leg, Sums,
        Timestamp,
    },
    journal::{Entry, Reach, record},
    ledger::{self, NotFolded, Operation, Work},
};

/// How many of the latest movements are shown.
const MOVEMENTS: usize = 50;
/// How many entries at the end of a chain are looked through for them.
const MOVEMENT_ENTRIES: usize = 64;
/// How long an operator waits until what he did is durable.
const RECORDED_WITHIN: std::time::Duration = std::time::Duration::from_secs(5);

/// A budget, or one account of a template.
#[derive(Clone, Debug)]
pub struct BudgetView {
    /// What the policy says of it.
    pub policy: Arc<BudgetPolicy>,
    /// Which account of a template.
    pub key: Option<String>,
    /// How many entries its chain has.
    pub version: u64,
    /// What all authorizations come to now.
    pub sums: Sums,
    /// What was credited, where it is prepaid.
    pub credits: i64,
    /// Every limit, with what is used of it.
    pub limits: Vec<LimitView>,
    /// The budgets below it.
    pub children: Vec<Arc<str>>,
    /// What changed it last, newest first.
    pub movements: Vec<MovementView>,
}

impl BudgetView {
    /// What is left of the balance, where there is one.
    #[must_use]
    pub fn available(&self) -> Option<i64> {
        self.policy.prepaid.map(|_| self.credits.saturating_sub(self.sums.used()))
    }
}

/// A change of a budget.
#[derive(Clone, Debug)]
pub enum MovementView {
    /// An authorization or transaction uses something else than before.
    Leg(Box<Leg>),
    /// An operator changed the balance.
    Credit(Credit),
}

/// A change of a balance that an operator asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum BalanceChange {
    /// By so much, once for each id.
    Credit {
        /// The operator's id for it.
        id: String,
        /// Minor units; below zero where it takes away.
        amount: i64,
    },
    /// So that so much was available at that time. What happened after it counts on.
    Statement {
        /// Minor units.
        available: i64,
        /// When.
        as_of: Timestamp,
    },
}

/// Why a balance was not changed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NotCredited {
    /// The policy has no such budget, or it has no balance.
    #[error("expected a prepaid budget of the policy in force, found {0}")]
    NoBalance(&'static str),
    /// The balance is kept in another currency.
    #[error("expected an amount in {expected}, found one in {found}")]
    Currency {
        /// That of the balance.
        expected: Currency,
        /// That of the change.
        found: Currency,
    },
    /// The id was used for another amount.
    #[error("this id was used for a credit of {0} before; use another id for another credit")]
    IdInUse(i64),
    /// It could not be recorded now.
    #[error("the change could not be recorded now; repeat it as it is, and it counts once")]
    NotNow,
}

impl Directory {
    /// Every budget of the policy. Of a template, the account of cards without its key.
    ///
    /// # Errors
    /// A sentence that says why the journal cannot be read.
    pub async fn budgets(&self, now: Timestamp) -> Result<Vec<BudgetView>, String> {
        let policies: Vec<Arc<BudgetPolicy>> = self.policy().budgets().iter().cloned().collect();
        let mut views = Vec::with_capacity(policies.len());
        for policy in policies {
            let view = self.view(policy, None, now).await.map_err(|cause| cause.to_string())?;
            views.push(view);
        }
        Ok(views)
    }

    /// The budget of this name, or the account of a template for `key`; none where the policy has none of that name.
    ///
    /// # Errors
    /// A sentence that says why the journal cannot be read.
    pub async fn budget(
        &self,
        name: &str,
        key: Option<&str>,
        now: Timestamp,
    ) -> Result<Option<BudgetView>, String> {
        let Some(policy) = self.policy().budgets().get(name).cloned() else { return Ok(None) };
        self.view(policy, key, now).await.map(Some).map_err(|cause| cause.to_string())
    }

    async fn view(
        &self,
        policy: Arc<BudgetPolicy>,
        key: Option<&str>,
        now: Timestamp,
    ) -> Result<BudgetView, NotFolded> {
        let account = Account::budget_of_key(&policy.name, key);
        let (budget, version) = self.read_budget(&account, &policy).await?;
        let recent = self.shared().load(&account, Reach::Last(MOVEMENT_ENTRIES)).await?;
        let limits = policy.limits.iter().map(|limit| {
            let tally = budget.tallies.iter().find(|tally| tally.is_of(&limit.window));
            limit_view(limit, tally, None, now)
        });
        let all = self.policy();
        let below = all.budgets().iter().filter(|child| child.parent.as_ref() == Some(&policy.name));
        Ok(BudgetView {
            limits: limits.collect(),
            children: below.map(|child| Arc::clone(&child.name)).collect(),
            key: key.map(ToOwned::to_owned),
            version,
            sums: budget.sums,
            credits: budget.credits,
            movements: movements(&recent)?,
            policy,
        })
    }

    async fn read_budget(
        &self,
        account: &Account,
        policy: &BudgetPolicy,
    ) -> Result<(Budget, u64), NotFolded> {
        let entries = self.shared().load(account, Reach::Snapshot).await?;
        let mut folded = ledger::fold_budget(&entries, policy)?;
        if !folded.budget.keeps(policy.windows(), policy.refunds_restore) {
            let history = self.shared().load(account, Reach::Genesis).await?;
            folded = ledger::fold_budget_history(&history, policy)?;
        }
        Ok((folded.budget, folded.head.seq))
    }

    /// Changes a balance; returns when that is durable. A repeated credit changes nothing.
    ///
    /// # Errors
    /// [`NotCredited`].
    pub async fn credit(
        &self,
        (name, key): (&str, Option<&str>),
        change: BalanceChange,
        currency: Currency,
        attribution: Attribution,
        now: Timestamp,
    ) -> Result<(), NotCredited> {
        let policy = self.policy();
        let budget = policy.budgets().get(name).ok_or(NotCredited::NoBalance("none of that name"))?;
        let expected = budget.prepaid.ok_or(NotCredited::NoBalance("one without `prepaid: true`"))?;
        if expected != currency {
            return Err(NotCredited::Currency { expected, found: currency });
        }
        let account = Account::budget_of_key(name, key);
        let (id, amount, at) = match change {
            BalanceChange::Credit { id, amount } => (id, amount, now),
            BalanceChange::Statement { available, as_of } => {
                let history = self.shared().load(&account, Reach::Genesis).await;
                let balance = history.and_then(|entries| balance_at(&entries, as_of)).map_err(unrecorded)?;
                (format!("statement-{}", as_of.as_micros()), available.saturating_sub(balance), as_of)
            }
        };
        if let Some(known) = self.credited(&account, &id).await.map_err(unrecorded)? {
            return if known == amount || id.starts_with("statement-") {
                Ok(())
            } else {
                Err(NotCredited::IdInUse(known))
            };
        }
        let credit = Credit { id: id.into(), amount, currency, at, attribution };
        self.operate(account, credit).await.map_err(|_| NotCredited::NotNow)
    }

    /// The amount of the credit of this id, where it is in the journal.
    async fn credited(&self, account: &Account, id: &str) -> Result<Option<i64>, NotFolded> {
        let Some(mention) = record::credit_mention(id) else { return Ok(None) };
        for entry in
            self.shared().journal.find(&mention).await?.iter().filter(|entry| entry.account == *account)
        {
            for event in ledger::read(entry)? {
                if let Event::Budget(event) = event
                    && let BudgetEvent::Credit(credit) = *event
                    && *credit.id == *id
                {
                    return Ok(Some(credit.amount));
                }
            }
        }
        Ok(None)
    }

    async fn operate(&self, account: Account, credit: Credit) -> Result<(), NotBooked> {
        let shared = self.shared();
        let (reply, recorded) = oneshot::channel();
        let root =
            self.policy().budgets().root(std::slice::from_ref(&account)).unwrap_or_else(|| account.clone());
        let operation = Operation { credit, caller: Reply::Receipt(reply) };
        shared.send(root, account, |_| Work::Operation(Box::new(operation)))?;
        let now = clock::instant();
        let until = now.checked_add(RECORDED_WITHIN).unwrap_or(now);
        match timeout_at(until, recorded).await {
            Ok(Ok(recorded)) => recorded,
            Ok(Err(_)) => Err(NotBooked::Now(Cause::Journal)),
            Err(_) => Err(NotBooked::Now(Cause::Deadline)),
        }
    }
}

fn unrecorded(cause: impl std::fmt::Display) -> NotCredited {
    tracing::error!(%cause, "the ledger cannot be read");
    NotCredited::NotNow
}

/// What was available at a time, by all that had happened then.
fn balance_at(entries: &[Entry], at: Timestamp) -> Result<i64, NotFolded> {
    let mut budget = Budget::default();
    for entry in entries {
        for event in ledger::read(entry)? {
            let Event::Budget(event) = event else { continue };
            let is_by_then = match &*event {
                BudgetEvent::Leg(leg) => leg.at <= at,
                BudgetEvent::Credit(credit) => credit.at <= at,
                BudgetEvent::Snapshot(_) => false,
            };
            if is_by_then {
                budget.apply(&event);
            }
        }
    }
    Ok(budget.available())
}

/// What these entries changed, newest first.
fn movements(entries: &[Entry]) -> Result<Vec<MovementView>, NotFolded> {
    let mut movements = Vec::new();
    for entry in entries {
        for event in ledger::read(entry)? {
            let Event::Budget(event) = event else { continue };
            match *event {
                // A request that was declined changes nothing.
                BudgetEvent::Leg(leg) if leg.before == leg.after => {}
                BudgetEvent::Leg(leg) => movements.push(MovementView::Leg(Box::new(leg))),
                BudgetEvent::Credit(credit) => movements.push(MovementView::Credit(credit)),
                BudgetEvent::Snapshot(_) => {}
            }
        }
    }
    movements.reverse();
    movements.truncate(MOVEMENTS);
    Ok(movements)
}
