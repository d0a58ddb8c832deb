//! Changes of balances by operators: what a body asks for, and what becomes of it.

use std::sync::Arc;

use hyper::StatusCode;

use super::{
    super::{
        bodies::{AvailableBody, CreditBody},
        reply::error,
        server::Reply,
    },
    Admin, Books,
    change::Change,
    found,
    routes::Call,
};
use crate::{
    clock,
    cluster::{BalanceChange, NotCredited},
    domain::{Currency, Timestamp},
    metrics::AdminRefusal,
};

impl<B: Books> Admin<B> {
    /// Changes a balance as the body says, and replies with the budget.
    pub(super) async fn change_balance(
        &self,
        books: &B,
        call: Call,
        parameter: &str,
        change: &Change,
    ) -> Reply {
        let read = BalanceRequest::read(call, &change.body)
            .and_then(|request| Ok((change.attribution(request.reason.as_deref())?, request)));
        let (attribution, request) = match read {
            Ok(read) => read,
            Err(message) => return self.refuse(AdminRefusal::BadParameter, &message),
        };
        let account = budget_of(parameter);
        let by = Arc::clone(&attribution.by);
        match books.credit(account, request.balance, request.currency, attribution).await {
            Ok(()) => {
                tracing::info!(
                    budget = account.0,
                    key = account.1,
                    %by,
                    "the balance of a budget was changed"
                );
                found(books.budget(account.0, account.1).await, "budget")
            }
            Err(cause) => {
                let (status, code) = match cause {
                    NotCredited::NoBalance(_) => (StatusCode::NOT_FOUND, "no_balance"),
                    NotCredited::Currency { .. } => (StatusCode::BAD_REQUEST, "bad_parameter"),
                    NotCredited::IdInUse(_) => (StatusCode::CONFLICT, "id_in_use"),
                    NotCredited::NotNow => (StatusCode::SERVICE_UNAVAILABLE, "not_recorded"),
                };
                error(status, code, &cause.to_string())
            }
        }
    }
}

/// The longest id of a credit.
const CREDIT_ID_CHARACTERS_MAX: usize = 64;
/// The name and the key of a budget in a path.
pub(super) fn budget_of(parameter: &str) -> (&str, Option<&str>) {
    parameter.split_once('/').map_or((parameter, None), |(name, key)| (name, Some(key)))
}

/// What a body asks to change of a balance.
struct BalanceRequest {
    balance: BalanceChange,
    currency: Currency,
    reason: Option<String>,
}

impl BalanceRequest {
    fn read(call: Call, body: &[u8]) -> Result<Self, String> {
        let (balance, currency, reason) = if call == Call::Credit {
            let CreditBody { id, amount, currency, reason } =
                serde_json::from_slice(body).map_err(|error| {
                    format!("expected {{\"id\", \"amount\", \"currency\", \"reason\"}}: {error}")
                })?;
            let is_usable = (1..=CREDIT_ID_CHARACTERS_MAX).contains(&id.len())
                && id.bytes().all(|byte| byte.is_ascii_graphic());
            if !is_usable {
                return Err(format!(
                    "expected an `id` of 1 to {CREDIT_ID_CHARACTERS_MAX} visible ASCII characters"
                ));
            }
            (BalanceChange::Credit { id, amount }, currency, reason)
        } else {
            let AvailableBody { amount, currency, as_of, reason } =
                serde_json::from_slice(body).map_err(|error| {
                    format!("expected {{\"amount\", \"currency\", \"as_of\", \"reason\"}}: {error}")
                })?;
            let as_of = Timestamp::parse(&as_of)
                .filter(|as_of| *as_of <= clock::now())
                .ok_or("expected `as_of` as a time of the past, such as 2026-11-22T10:00:00Z")?;
            (BalanceChange::Statement { available: amount, as_of }, currency, reason)
        };
        let currency = currency.parse().map_err(|_| "expected a `currency` such as usd".to_owned())?;
        Ok(Self { balance, currency, reason })
    }
}
