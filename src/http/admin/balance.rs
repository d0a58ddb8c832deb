//! Changes of balances by operators: what a body asks for, and what becomes of it.

use hyper::{Request, StatusCode, body::Incoming};

use super::{
    super::{
        bodies::{AvailableBody, CreditBody},
        body,
        reply::{With as _, error},
        server::Reply,
    },
    Admin, Books, found, refusal_of_caller,
    routes::Call,
    starting,
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
        call: Call,
        parameter: &str,
        request: Request<Incoming>,
    ) -> Reply {
        if let Err(refusal) = self.guard.lets_in(request.uri(), request.headers()) {
            return self.refuse(refusal, &refusal_of_caller(refusal)).and_close();
        }
        let Some(books) = self.books.get() else { return starting() };
        let Ok(body) = body::gather(request.into_body(), CHANGE_BYTES_MAX).await else {
            let message =
                format!("expected a JSON object of at most {CHANGE_BYTES_MAX} bytes as the body, at once");
            return self.refuse(AdminRefusal::BadParameter, &message).and_close();
        };
        let change = match Change::read(call, &body) {
            Ok(change) => change,
            Err(message) => return self.refuse(AdminRefusal::BadParameter, &message),
        };
        let account = budget_of(parameter);
        let words = (change.note.as_deref(), change.by.as_deref());
        match books.credit(account, change.balance, change.currency, words).await {
            Ok(()) => {
                tracing::info!(
                    budget = account.0,
                    key = account.1,
                    by = change.by,
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

/// Longer than any change of a balance.
const CHANGE_BYTES_MAX: usize = 4_096;
/// The longest id of a credit.
const CREDIT_ID_CHARACTERS_MAX: usize = 64;
/// The longest note, and the longest name of who changes a balance.
const NOTE_CHARACTERS_MAX: usize = 500;

/// The name and the key of a budget in a path.
pub(super) fn budget_of(parameter: &str) -> (&str, Option<&str>) {
    parameter.split_once('/').map_or((parameter, None), |(name, key)| (name, Some(key)))
}

/// What a body asks to change of a balance.
struct Change {
    balance: BalanceChange,
    currency: Currency,
    note: Option<String>,
    by: Option<String>,
}

impl Change {
    fn read(call: Call, body: &[u8]) -> Result<Self, String> {
        let (balance, currency, note, by) = if call == Call::Credit {
            let CreditBody { id, amount, currency, note, by } = serde_json::from_slice(body).map_err(|error| {
                format!("expected {{\"id\", \"amount\", \"currency\"}} and perhaps \"note\" and \"by\": {error}")
            })?;
            let is_usable = (1..=CREDIT_ID_CHARACTERS_MAX).contains(&id.len())
                && id.bytes().all(|byte| byte.is_ascii_graphic());
            if !is_usable {
                return Err(format!(
                    "expected an `id` of 1 to {CREDIT_ID_CHARACTERS_MAX} visible ASCII characters"
                ));
            }
            (BalanceChange::Credit { id, amount }, currency, note, by)
        } else {
            let AvailableBody { amount, currency, as_of, note, by } =
                serde_json::from_slice(body).map_err(|error| {
                    format!("expected {{\"amount\", \"currency\", \"as_of\"}} and perhaps \"note\" and \"by\": {error}")
                })?;
            let as_of = Timestamp::parse(&as_of)
                .filter(|as_of| *as_of <= clock::now())
                .ok_or("expected `as_of` as a time of the past, such as 2026-11-22T10:00:00Z")?;
            (BalanceChange::Statement { available: amount, as_of }, currency, note, by)
        };
        if [&note, &by].into_iter().flatten().any(|text| text.chars().count() > NOTE_CHARACTERS_MAX) {
            return Err(format!("expected `note` and `by` of at most {NOTE_CHARACTERS_MAX} characters"));
        }
        let currency = currency.parse().map_err(|_| "expected a `currency` such as usd".to_owned())?;
        Ok(Self { balance, currency, note, by })
    }
}
