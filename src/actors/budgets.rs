//! Budgets as people see them. They are read from the journal, so that only what is durable is
//! shown, and any node can show any budget.

use std::sync::Arc;

use super::{
    Directory,
    views::{LimitView, limit_view},
};
use crate::{
    domain::{Account, Budget, BudgetEvent, BudgetPolicy, Command, Event, Exception, Leg, Sums, Timestamp},
    journal::{Entry, Reach},
    ledger::{self, NotFolded},
};

/// How many of the latest movements are shown.
const MOVEMENTS: usize = 50;
/// How many entries at the end of a chain are looked through for them.
const MOVEMENT_ENTRIES: usize = 64;

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
    /// What operators have made an exception of, as long as it is in force.
    pub exceptions: Vec<Exception>,
    /// Whether everything is declined that charges it: by the policy, or by an operator.
    pub is_paused: bool,
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
    /// An operator did something to it.
    Command(Command),
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
            limit_view(limit, tally, &budget.exceptions, None, now)
        });
        let all = self.policy();
        let below = all.budgets().iter().filter(|child| child.parent.as_ref() == Some(&policy.name));
        Ok(BudgetView {
            limits: limits.collect(),
            is_paused: policy.paused || budget.exceptions.is_paused(None, now),
            exceptions: budget.exceptions.in_force(now),
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
                BudgetEvent::Command(command) => movements.push(MovementView::Command(command)),
                BudgetEvent::Warned(_) | BudgetEvent::Snapshot(_) => {}
            }
        }
    }
    movements.reverse();
    movements.truncate(MOVEMENTS);
    Ok(movements)
}
