//! What happens to a budget, and its whole state, on disk.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{
    Text, Unreadable,
    command::{CommandRecord, ExceptionsRecord, exceptions},
    decided::{MerchantRecord, currency_text},
    field, is_false, is_zero, optional,
    tally::{TallyRecord, WindowRecord},
};
use crate::domain::{Account, Budget, BudgetEvent, Leg, Mention, Side, Spend, Sums, Timestamp, Warned};

/// What an authorization uses of a budget from now on.
#[derive(Serialize, Deserialize)]
pub(super) struct LegRecord<'a> {
    of: Text<'a>,
    card: Text<'a>,
    at: i64,
    #[serde(skip_serializing_if = "is_first", default)]
    turn: u32,
    #[serde(borrow, skip_serializing_if = "Option::is_none", default)]
    before: Option<SideRecord<'a>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none", default)]
    after: Option<SideRecord<'a>>,
}

#[derive(Serialize, Deserialize)]
struct SideRecord<'a> {
    #[serde(skip_serializing_if = "Option::is_none", default)]
    currency: Option<Text<'a>>,
    #[serde(borrow, skip_serializing_if = "Vec::is_empty", default)]
    spends: Vec<SpendRecord<'a>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none", default)]
    restored: Option<Vec<SpendRecord<'a>>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none", default)]
    incoming: Option<SpendRecord<'a>>,
    /// Held, captured, refunded.
    sums: (i64, i64, i64),
}

#[derive(Serialize, Deserialize)]
struct SpendRecord<'a> {
    at: i64,
    amount: i64,
    #[serde(skip_serializing_if = "is_zero", default)]
    count: i64,
    #[serde(borrow, flatten)]
    merchant: MerchantRecord<'a>,
}

/// The whole state of an account of a budget.
#[derive(Serialize, Deserialize)]
pub(super) struct BudgetRecord<'a> {
    time: i64,
    #[serde(borrow, skip_serializing_if = "Vec::is_empty", default)]
    tallies: Vec<TallyRecord<'a>>,
    #[serde(skip_serializing_if = "is_false", default)]
    refunds_restore: bool,
    /// Held, captured, refunded.
    sums: (i64, i64, i64),
    #[serde(skip_serializing_if = "is_zero", default)]
    credits: i64,
    #[serde(borrow, skip_serializing_if = "Option::is_none", default)]
    exceptions: Option<ExceptionsRecord<'a>>,
    #[serde(skip_serializing_if = "is_false", default)]
    used: bool,
    #[serde(borrow, skip_serializing_if = "Vec::is_empty", default)]
    warned: Vec<WarnedRecord<'a>>,
}

/// A share of a limit that was reached.
#[derive(Serialize, Deserialize)]
pub(super) struct WarnedRecord<'a> {
    at: i64,
    /// Absent for the balance.
    #[serde(borrow, skip_serializing_if = "Option::is_none", default)]
    limit: Option<WindowRecord<'a>>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    from: Option<i64>,
    percent: u8,
    used: i64,
    max: i64,
}

/// The name of an event on disk.
pub(super) const fn kind(event: &BudgetEvent) -> &'static str {
    match event {
        BudgetEvent::Leg(_) => "leg",
        BudgetEvent::Command(_) => "budget_command",
        BudgetEvent::Warned(_) => "warned",
        BudgetEvent::Snapshot(_) => "budget",
    }
}

pub(super) fn write(body: &mut Vec<u8>, event: &BudgetEvent) -> serde_json::Result<()> {
    match event {
        BudgetEvent::Leg(leg) => serde_json::to_writer(body, &LegRecord::from(leg)),
        BudgetEvent::Command(command) => serde_json::to_writer(body, &CommandRecord::from(command)),
        BudgetEvent::Warned(warned) => serde_json::to_writer(body, &WarnedRecord::from(warned)),
        BudgetEvent::Snapshot(budget) => serde_json::to_writer(body, &BudgetRecord::from(budget)),
    }
}

/// The accounts that a card charges.
pub(super) fn charges(accounts: &[Text<'_>]) -> Result<Arc<[Account]>, Unreadable> {
    accounts.iter().map(|account| field("charges", account, Account::new)).collect()
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands fields by reference")]
const fn is_first(turn: &u32) -> bool {
    *turn == 0
}

fn sums_text(sums: Sums) -> (i64, i64, i64) {
    (sums.held, sums.captured, sums.refunded)
}

const fn sums_of((held, captured, refunded): (i64, i64, i64)) -> Sums {
    Sums { held, captured, refunded }
}

impl<'a> From<&'a Leg> for LegRecord<'a> {
    fn from(leg: &'a Leg) -> Self {
        let side = |side: &'a Side| (!side.is_nothing()).then(|| SideRecord::from(side));
        Self {
            of: leg.of.as_str().into(),
            card: leg.card.as_str().into(),
            at: leg.at.as_micros(),
            turn: leg.turn,
            before: side(&leg.before),
            after: side(&leg.after),
        }
    }
}

impl LegRecord<'_> {
    pub(super) fn into_leg(self) -> Result<Leg, Unreadable> {
        let side = |side: Option<SideRecord<'_>>| side.map(SideRecord::into_side).transpose();
        Ok(Leg {
            of: field("of", &self.of, Mention::new)?,
            card: field("card", &self.card, Account::new)?,
            at: Timestamp::from_micros(self.at),
            turn: self.turn,
            before: side(self.before)?.unwrap_or_default(),
            after: side(self.after)?.unwrap_or_default(),
        })
    }
}

impl<'a> From<&'a Side> for SideRecord<'a> {
    fn from(side: &'a Side) -> Self {
        let spends = |spends: &'a [Spend]| spends.iter().map(SpendRecord::from).collect();
        Self {
            currency: side.currency.map(currency_text),
            spends: spends(&side.spends),
            restored: side.restored.as_deref().map(spends),
            incoming: side.incoming.as_ref().map(SpendRecord::from),
            sums: sums_text(side.sums),
        }
    }
}

impl SideRecord<'_> {
    fn into_side(self) -> Result<Side, Unreadable> {
        let spends = |spends: Vec<SpendRecord<'_>>| spends.into_iter().map(SpendRecord::into_spend).collect();
        Ok(Side {
            currency: optional("currency", self.currency.as_ref(), |text| text.parse().ok())?,
            spends: spends(self.spends)?,
            restored: self.restored.map(spends).transpose()?,
            incoming: self.incoming.map(SpendRecord::into_spend).transpose()?,
            sums: sums_of(self.sums),
        })
    }
}

impl<'a> From<&'a Spend> for SpendRecord<'a> {
    fn from(spend: &'a Spend) -> Self {
        let Spend { at, amount, count, merchant } = spend;
        Self { at: at.as_micros(), amount: *amount, count: *count, merchant: merchant.into() }
    }
}

impl SpendRecord<'_> {
    fn into_spend(self) -> Result<Spend, Unreadable> {
        Ok(Spend {
            at: Timestamp::from_micros(self.at),
            amount: self.amount,
            count: self.count,
            merchant: self.merchant.into_merchant()?,
        })
    }
}

impl<'a> From<&'a Budget> for BudgetRecord<'a> {
    fn from(budget: &'a Budget) -> Self {
        Self {
            time: budget.time.as_micros(),
            tallies: budget.tallies.iter().map(TallyRecord::from).collect(),
            refunds_restore: budget.refunds_restore,
            sums: sums_text(budget.sums),
            credits: budget.credits,
            exceptions: ExceptionsRecord::of(&budget.exceptions),
            used: budget.is_used,
            warned: budget.warned.iter().map(WarnedRecord::from).collect(),
        }
    }
}

impl BudgetRecord<'_> {
    pub(super) fn into_budget(self) -> Result<Budget, Unreadable> {
        Ok(Budget {
            time: Timestamp::from_micros(self.time),
            tallies: self.tallies.into_iter().map(TallyRecord::into_tally).collect::<Result<_, _>>()?,
            refunds_restore: self.refunds_restore,
            sums: sums_of(self.sums),
            credits: self.credits,
            exceptions: exceptions(self.exceptions)?,
            is_used: self.used,
            warned: self.warned.into_iter().map(WarnedRecord::into_warned).collect::<Result<_, _>>()?,
        })
    }
}

impl<'a> From<&'a Warned> for WarnedRecord<'a> {
    fn from(warned: &'a Warned) -> Self {
        let Warned { at, limit, window_from, percent, used, max } = warned;
        Self {
            at: at.as_micros(),
            limit: limit.as_deref().map(WindowRecord::from),
            from: window_from.map(Timestamp::as_micros),
            percent: *percent,
            used: *used,
            max: *max,
        }
    }
}

impl WarnedRecord<'_> {
    pub(super) fn into_warned(self) -> Result<Warned, Unreadable> {
        Ok(Warned {
            at: Timestamp::from_micros(self.at),
            limit: self.limit.map(WindowRecord::into_window).transpose()?.map(Arc::new),
            window_from: self.from.map(Timestamp::from_micros),
            percent: self.percent,
            used: self.used,
            max: self.max,
        })
    }
}
