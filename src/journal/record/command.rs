//! What operators do to accounts, on disk: each command, and the exceptions that are in force in a snapshot.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{
    Text, Unreadable,
    decided::{currency_text, interval_text},
    field, is_false,
    object::Object,
    optional,
};
use crate::domain::{
    Account, Action, Attribution, CardId, Command, Currency, DecisionId, Excepted, Exception, Exceptions,
    Grant, Interval, Measure, NetworkId, Raise, Timestamp, Use,
};

/// A command.
#[derive(Serialize, Deserialize)]
pub(super) struct CommandRecord<'a> {
    id: Text<'a>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    card: Option<Text<'a>>,
    at: i64,
    by: Text<'a>,
    reason: Text<'a>,
    #[serde(borrow)]
    action: ActionRecord<'a>,
    #[serde(skip_serializing_if = "is_first", default)]
    turn: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum ActionRecord<'a> {
    Credit {
        amount: i64,
        currency: Text<'a>,
    },
    Raise {
        by: i64,
        #[serde(skip_serializing_if = "is_false", default)]
        count: bool,
        #[serde(skip_serializing_if = "Option::is_none", default)]
        currency: Option<Text<'a>>,
        interval: Text<'a>,
        until: i64,
    },
    Grant {
        amount: i64,
        currency: Text<'a>,
        #[serde(skip_serializing_if = "Option::is_none", default)]
        merchant: Option<Text<'a>>,
        until: i64,
    },
    Pause {
        #[serde(skip_serializing_if = "Option::is_none", default)]
        until: Option<i64>,
    },
    Resume {},
}

/// The exceptions of an account, and the ids of its latest commands.
#[derive(Serialize, Deserialize)]
pub(super) struct ExceptionsRecord<'a> {
    #[serde(borrow, skip_serializing_if = "Vec::is_empty", default)]
    list: Vec<ExceptionRecord<'a>>,
    ids: Vec<Text<'a>>,
}

#[derive(Serialize, Deserialize)]
struct ExceptionRecord<'a> {
    #[serde(borrow)]
    command: CommandRecord<'a>,
    /// Decisions that needed it, and whether each was an account check.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    uses: Vec<(Text<'a>, bool)>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands fields by reference")]
const fn is_first(turn: &u32) -> bool {
    *turn == 0
}

fn currency_of(text: &str) -> Option<Currency> {
    text.parse().ok()
}

impl<'a> From<&'a Command> for CommandRecord<'a> {
    fn from(command: &'a Command) -> Self {
        Self {
            id: (&*command.id).into(),
            card: command.card.as_ref().map(|card| card.as_str().into()),
            at: command.at.as_micros(),
            by: (&*command.attribution.by).into(),
            reason: (&*command.attribution.reason).into(),
            action: ActionRecord::from(&command.action),
            turn: command.turn,
        }
    }
}

impl<'a> From<&'a Action> for ActionRecord<'a> {
    fn from(action: &'a Action) -> Self {
        match action {
            Action::Credit { amount, currency } => {
                Self::Credit { amount: *amount, currency: currency_text(*currency) }
            }
            Action::Raise(Raise { by, measure, interval, until }) => {
                let (count, currency) = match measure {
                    Measure::Count => (true, None),
                    Measure::Amount(currency) => (false, currency.map(currency_text)),
                };
                let (interval, until) = (interval_text(*interval), until.as_micros());
                Self::Raise { by: *by, count, currency, interval, until }
            }
            Action::Grant(Grant { amount, currency, merchant, until }) => Self::Grant {
                amount: *amount,
                currency: currency_text(*currency),
                merchant: merchant.as_ref().map(|merchant| merchant.as_str().into()),
                until: until.as_micros(),
            },
            Action::Pause { until } => Self::Pause { until: until.map(Timestamp::as_micros) },
            Action::Resume => Self::Resume {},
        }
    }
}

impl CommandRecord<'_> {
    pub(super) fn into_command(self) -> Result<Command, Unreadable> {
        Ok(Command {
            id: Arc::from(&*self.id),
            card: optional("card", self.card.as_ref(), CardId::new)?,
            at: Timestamp::from_micros(self.at),
            attribution: Attribution { by: Arc::from(&*self.by), reason: Arc::from(&*self.reason) },
            action: self.action.into_action()?,
            turn: self.turn,
        })
    }
}

impl ActionRecord<'_> {
    fn into_action(self) -> Result<Action, Unreadable> {
        Ok(match self {
            Self::Credit { amount, currency } => {
                Action::Credit { amount, currency: field("currency", &currency, currency_of)? }
            }
            Self::Raise { by, count, currency, interval, until } => {
                let currency = optional("currency", currency.as_ref(), currency_of)?;
                Action::Raise(Raise {
                    by,
                    measure: if count { Measure::Count } else { Measure::Amount(currency) },
                    interval: field("interval", &interval, Interval::parse)?,
                    until: Timestamp::from_micros(until),
                })
            }
            Self::Grant { amount, currency, merchant, until } => Action::Grant(Grant {
                amount,
                currency: field("currency", &currency, currency_of)?,
                merchant: optional("merchant", merchant.as_ref(), NetworkId::new)?,
                until: Timestamp::from_micros(until),
            }),
            Self::Pause { until } => Action::Pause { until: until.map(Timestamp::from_micros) },
            Self::Resume {} => Action::Resume,
        })
    }
}

impl<'a> ExceptionsRecord<'a> {
    /// None where there was never a command.
    pub(super) fn of(exceptions: &'a Exceptions) -> Option<Self> {
        let exception = |one: &'a Exception| ExceptionRecord {
            command: CommandRecord::from(&one.command),
            uses: one.uses.iter().map(|used| (used.decision.to_string().into(), used.is_check)).collect(),
        };
        (!exceptions.is_empty()).then(|| Self {
            list: exceptions.iter().map(exception).collect(),
            ids: exceptions.ids().map(|id| (&**id).into()).collect(),
        })
    }
}

/// What a snapshot has.
pub(super) fn exceptions(record: Option<ExceptionsRecord<'_>>) -> Result<Exceptions, Unreadable> {
    record.map_or_else(|| Ok(Exceptions::default()), ExceptionsRecord::into_exceptions)
}

impl ExceptionsRecord<'_> {
    fn into_exceptions(self) -> Result<Exceptions, Unreadable> {
        let exception = |one: ExceptionRecord<'_>| {
            let read = |(decision, is_check): &(Text<'_>, bool)| {
                field("uses", decision, DecisionId::parse)
                    .map(|decision| Use { decision, is_check: *is_check })
            };
            let uses = one.uses.iter().map(read).collect::<Result<_, _>>()?;
            Ok(Exception { command: one.command.into_command()?, uses })
        };
        let list = self.list.into_iter().map(exception).collect::<Result<_, Unreadable>>()?;
        Ok(Exceptions::new(list, self.ids.iter().map(|id| Arc::from(&**id)).collect()))
    }
}

/// A grant that a decision passed by, its amount, and whether it is an account check.
pub(super) type GrantRecord<'a> = (Text<'a>, i64, bool);

/// The budget that is paused, or none for the card; and until when.
pub(super) type PauseRecord<'a> = (Option<Text<'a>>, Option<i64>);

/// Writes what exceptions had to do with a decision, as [`excepted`] reads it.
pub(super) fn write_excepted(record: &mut Object<'_>, excepted: Option<&Excepted>) {
    match excepted {
        Some(Excepted::Granted { id, amount, is_check }) => {
            record.serialized("grant", &(&**id, amount, is_check));
        }
        Some(Excepted::Paused { account, until }) => {
            let until = until.map(Timestamp::as_micros);
            record.serialized("pause", &(account.as_ref().map(Account::as_str), until));
        }
        None => {}
    }
}

/// What exceptions had to do with a decision.
pub(super) fn excepted(
    grant: Option<GrantRecord<'_>>,
    pause: Option<PauseRecord<'_>>,
) -> Result<Option<Box<Excepted>>, Unreadable> {
    let excepted = match (grant, pause) {
        (Some((id, amount, is_check)), _) => Excepted::Granted { id: Arc::from(&*id), amount, is_check },
        (None, Some((account, until))) => Excepted::Paused {
            account: optional("pause", account.as_ref(), Account::new)?,
            until: until.map(Timestamp::from_micros),
        },
        (None, None) => return Ok(None),
    };
    Ok(Some(Box::new(excepted)))
}
