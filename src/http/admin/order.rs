//! What operators do to cards and budgets: what a body asks for, and what becomes of it.

use hyper::StatusCode;
use serde::de::DeserializeOwned;

use super::{
    super::{
        bodies::{AvailableBody, CreditBody, GrantBody, PauseBody, RaiseBody, ResumeBody},
        reply::error,
        server::Reply,
    },
    Admin, Books,
    change::Change,
    found,
    routes::{Operate, Route},
};
use crate::{
    clock,
    cluster::{NotOperated, Order, Target, Wish},
    domain::{AMOUNT_MAX, CardId, Currency, Grant, Interval, Measure, NetworkId, Timestamp},
    metrics::AdminRefusal,
};

impl<B: Books> Admin<B> {
    /// Carries out what the body asks for, and replies with the card or the budget.
    pub(super) async fn operate(
        &self,
        books: &B,
        (route, operate): (&Route, Operate),
        parameter: &str,
        change: &Change,
    ) -> Reply {
        let (target, order) =
            match target_of(route, parameter).and_then(|target| Ok((target, read(operate, change)?))) {
                Ok(asked) => asked,
                Err(message) => return self.refuse(AdminRefusal::BadParameter, &message),
            };
        let (id, by) = (order.id.clone(), order.attribution.by.clone());
        match books.operate(&target, order).await {
            Ok(()) => {
                tracing::info!(target = parameter, ?operate, id, %by, "an operator's change was recorded");
                match target {
                    Target::Card(card) => found(books.card(card).await, "card"),
                    Target::Budget { name, key } => {
                        found(books.budget(&name, key.as_deref()).await, "budget")
                    }
                }
            }
            Err(cause) => {
                let (status, code) = match cause {
                    NotOperated::NoBudget => (StatusCode::NOT_FOUND, "not_found"),
                    NotOperated::NoBalance => (StatusCode::NOT_FOUND, "no_balance"),
                    NotOperated::Currency { .. } | NotOperated::NoLimit(_) | NotOperated::Past(_) => {
                        (StatusCode::BAD_REQUEST, "bad_parameter")
                    }
                    NotOperated::IdInUse(_) => (StatusCode::CONFLICT, "id_in_use"),
                    NotOperated::TooMany => (StatusCode::CONFLICT, "too_many_exceptions"),
                    NotOperated::NotNow => (StatusCode::SERVICE_UNAVAILABLE, "not_recorded"),
                };
                error(status, code, &cause.to_string())
            }
        }
    }
}

/// The longest id of an order.
const ID_CHARACTERS_MAX: usize = 64;

/// The name and the key of a budget in a path.
pub(super) fn budget_of(parameter: &str) -> (&str, Option<&str>) {
    parameter.split_once('/').map_or((parameter, None), |(name, key)| (name, Some(key)))
}

fn target_of(route: &Route, parameter: &str) -> Result<Target, String> {
    if route.path.starts_with("/v1/cards/") {
        let card = CardId::new(parameter).filter(|card| card.as_str().starts_with("ic_"));
        return card.map(Target::Card).ok_or_else(|| "expected the id of a card: ic_…".to_owned());
    }
    let (name, key) = budget_of(parameter);
    Ok(Target::Budget { name: name.to_owned(), key: key.map(ToOwned::to_owned) })
}

fn read(operate: Operate, change: &Change) -> Result<Order, String> {
    let body = &change.body[..];
    let (id, reason, wish) = match operate {
        Operate::Credit => {
            let CreditBody { id, amount, currency, note } =
                parsed(body, "`id`, `amount`, `currency`, and perhaps `note`")?;
            (id, note, Wish::Credit { amount, currency: currency_of(&currency)? })
        }
        Operate::SetAvailable => {
            let AvailableBody { amount, currency, as_of, note } =
                parsed(body, "`amount`, `currency`, `as_of`, and perhaps `note`")?;
            let as_of = Timestamp::parse(&as_of)
                .filter(|as_of| *as_of <= clock::now())
                .ok_or("expected `as_of` as a time of the past, such as 2026-11-22T10:00:00Z")?;
            let wish = Wish::Statement { available: amount, currency: currency_of(&currency)?, as_of };
            ("statement".to_owned(), note, wish)
        }
        Operate::Raise => raise(body)?,
        Operate::Grant => grant(body)?,
        Operate::Pause => {
            let PauseBody { id, until, reason } = parsed(body, "`id`, `reason`, and perhaps `until`")?;
            (id, reason, Wish::Pause { until: until.map(|until| time_of(&until)).transpose()? })
        }
        Operate::Resume => {
            let ResumeBody { id, reason } = parsed(body, "`id` and `reason`")?;
            (id, reason, Wish::Resume)
        }
    };
    let is_usable =
        (1..=ID_CHARACTERS_MAX).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic());
    if !is_usable {
        return Err(format!("expected an `id` of 1 to {ID_CHARACTERS_MAX} visible ASCII characters"));
    }
    let attribution = match operate {
        Operate::Credit | Operate::SetAvailable => change.noted(reason.as_deref()),
        Operate::Raise | Operate::Grant | Operate::Pause | Operate::Resume => {
            change.attribution(reason.as_deref())
        }
    };
    Ok(Order { id, attribution: attribution?, wish })
}

fn raise(body: &[u8]) -> Result<(String, Option<String>, Wish), String> {
    let RaiseBody { id, amount, count, currency, interval, until, reason } =
        parsed(body, "`id`, `amount` or `count`, `reason`, and perhaps `interval`, `currency`, and `until`")?;
    let (raised, measure) = match (amount, count, currency) {
        (Some(amount), None, currency) => {
            let currency = currency.map(|currency| currency_of(&currency)).transpose()?;
            (amount, Measure::Amount(currency))
        }
        (None, Some(count), None) => (count, Measure::Count),
        _ => return Err("expected either `amount`, perhaps with `currency`, or `count`".to_owned()),
    };
    let interval = interval.map(|text| {
        Interval::parse(&text).ok_or("expected `interval` as in the policy, such as daily or rolling(24h)")
    });
    let wish = Wish::Raise {
        by: above_zero(raised)?,
        measure,
        interval: interval.transpose()?,
        until: until.map(|until| time_of(&until)).transpose()?,
    };
    Ok((id, reason, wish))
}

fn grant(body: &[u8]) -> Result<(String, Option<String>, Wish), String> {
    let GrantBody { id, amount, currency, merchant, until, reason } =
        parsed(body, "`id`, `amount`, `currency`, `until`, `reason`, and perhaps `merchant`")?;
    let merchant = merchant.map(|id| {
        NetworkId::new(&id).ok_or("expected `merchant` as the id of a merchant at the card network")
    });
    let grant = Grant {
        amount: above_zero(amount)?,
        currency: currency_of(&currency)?,
        merchant: merchant.transpose()?,
        until: time_of(&until)?,
    };
    Ok((id, reason, Wish::Grant(grant)))
}

fn parsed<T: DeserializeOwned>(body: &[u8], fields: &str) -> Result<T, String> {
    serde_json::from_slice(body).map_err(|error| format!("expected a JSON object with {fields}: {error}"))
}

fn currency_of(text: &str) -> Result<Currency, String> {
    text.parse().map_err(|_| "expected a `currency` such as usd".to_owned())
}

fn time_of(text: &str) -> Result<Timestamp, String> {
    Timestamp::parse(text).ok_or_else(|| "expected `until` as a time such as 2026-11-27T00:00:00Z".to_owned())
}

fn above_zero(amount: i64) -> Result<i64, String> {
    let is_usable = (1..=AMOUNT_MAX).contains(&amount);
    is_usable
        .then_some(amount)
        .ok_or_else(|| format!("expected a number of 1 to {AMOUNT_MAX}, found {amount}"))
}
