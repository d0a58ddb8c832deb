//! `tollgate raise`, `grant`, `pause` and `resume`: a change by an operator, at a node that runs already. The node is found by
//! the settings, or by an option.

use std::io::{self, Write};

use hyper::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Failure,
    connection::Connection,
    purchase::{address, amount},
};
use crate::{
    cli::{
        Verdict,
        order::{GrantOptions, OrderOptions, PauseOptions, RaiseOptions, ResumeOptions, Target, Until},
        tell_problems,
    },
    clock,
    config::{Load, Settings},
    domain::{Currency, Money},
    http,
};

/// Raises limits.
///
/// # Errors
/// The output cannot be written, or the system has no threads for us.
pub fn raise(
    options: &RaiseOptions,
    load: Load,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<Verdict> {
    let RaiseOptions { target, amount: text, count, currency, interval, until, order } = options;
    let by = match text.as_deref().map(|text| amount(text, *currency)).transpose() {
        Ok(Some(amount)) => json!({"amount": amount, "currency": currency.as_str()}),
        Ok(None) => json!({"count": count}),
        Err(failure) => return failed(failure, err),
    };
    let interval = interval.map(|interval| interval.to_string());
    let body = joined(by, &json!({"interval": interval, "until": until.map(time)}));
    run(&format!("{}/raises", path(target)), body, order, load, out, err)
}

/// Grants a purchase.
///
/// # Errors
/// As for [`raise`].
pub fn grant(
    options: &GrantOptions,
    load: Load,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<Verdict> {
    let GrantOptions { card, amount: text, currency, merchant, until, order } = options;
    let body = match amount(text, *currency) {
        Ok(amount) => json!({
            "amount": amount, "currency": currency.as_str(), "until": time(*until),
            "merchant": merchant.as_ref().map(ToString::to_string),
        }),
        Err(failure) => return failed(failure, err),
    };
    run(&format!("/v1/cards/{card}/grants"), body, order, load, out, err)
}

/// Pauses a card or a budget.
///
/// # Errors
/// As for [`raise`].
pub fn pause(
    options: &PauseOptions,
    load: Load,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<Verdict> {
    let body = json!({"until": options.until.map(time)});
    run(&format!("{}/pause", path(&options.target)), body, &options.order, load, out, err)
}

/// Ends pauses.
///
/// # Errors
/// As for [`raise`].
pub fn resume(
    options: &ResumeOptions,
    load: Load,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<Verdict> {
    run(&format!("{}/resume", path(&options.target)), json!({}), &options.order, load, out, err)
}

fn path(target: &Target) -> String {
    match target {
        Target::Card(card) => format!("/v1/cards/{card}"),
        Target::Budget(name) => format!("/v1/budgets/{name}"),
    }
}

fn time(until: Until) -> String {
    match until {
        Until::At(at) => at,
        Until::In(span) => clock::now().plus(span),
    }
    .to_string()
}

/// Both objects in one.
fn joined(one: Value, other: &Value) -> Value {
    let (Value::Object(mut fields), Value::Object(others)) = (one, other) else { return Value::Null };
    fields.extend(others.clone());
    Value::Object(fields)
}

fn run(
    path: &str,
    body: Value,
    order: &OrderOptions,
    load: Load,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<Verdict> {
    let settings = match load() {
        Ok(loaded) => loaded.settings,
        Err(problems) => return tell_problems(&problems, err),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match runtime.block_on(send(path, body, order, &settings, out)) {
        Ok(()) => Ok(Verdict::Done),
        Err(failure) => failed(failure, err),
    }
}

fn failed(failure: Failure, err: &mut dyn Write) -> io::Result<Verdict> {
    match failure {
        Failure::Output(error) => Err(error),
        Failure::Unexpected(what) | Failure::Missing(what) => {
            writeln!(err, "tollgate: {what}")?;
            Ok(Verdict::Failed)
        }
    }
}

/// What is looked at of a card or a budget.
#[derive(Deserialize)]
struct Changed {
    exceptions: Vec<Exception>,
    paused: bool,
}

#[derive(Deserialize)]
struct Exception {
    id: String,
    kind: String,
    until: Option<String>,
    amount: Option<i64>,
    count: Option<i64>,
    currency: Option<String>,
    window: Option<String>,
}

#[derive(Deserialize)]
struct Refused {
    error: Problem,
}

#[derive(Deserialize)]
struct Problem {
    message: String,
}

async fn send(
    path: &str,
    body: Value,
    order: &OrderOptions,
    settings: &Settings,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let admin = address(order.admin.as_deref(), settings.http.admin_listen, "--admin")?;
    let id = order.id.clone().unwrap_or_else(|| format!("cli-{:016x}", fastrand::u64(..)));
    let body = joined(body, &json!({"id": id, "reason": order.reason}));
    let mut connection = Connection::open(admin).await.map_err(|cause| {
        Failure::Unexpected(format!(
            "no node answers at {admin}: {cause}; start `tollgate serve`, or see --admin"
        ))
    })?;
    let bearer = settings.http.admin_token.as_ref().map(http::Token::bearer);
    let reply = connection.post_json(path, body.to_string().into_bytes(), bearer).await?;
    if reply.status != StatusCode::OK {
        let message = reply.json::<Refused>().map_or_else(|_| String::new(), |refused| refused.error.message);
        return Err(Failure::Unexpected(format!("{} from {path}: {message}", reply.status.as_u16())));
    }
    let changed: Changed = reply.json()?;
    let made = changed.exceptions.iter().find(|exception| exception.id == id);
    let line = match made {
        Some(exception) => line(exception),
        None if changed.paused => "recorded; it is still paused".to_owned(),
        None => "recorded; it is not paused".to_owned(),
    };
    writeln!(out, "{line} (id {id})").map_err(Failure::Output)
}

fn line(exception: &Exception) -> String {
    let Exception { kind, until, amount, count, currency, window, .. } = exception;
    let currency = currency.as_deref().and_then(|code| code.parse::<Currency>().ok());
    let size = match (amount, currency, count) {
        (Some(amount), Some(currency), _) => format!(" of {}", Money::new(*amount, currency)),
        (Some(amount), None, _) => format!(" of {amount}"),
        (None, _, Some(count)) => format!(" of {count} approvals"),
        (None, _, None) => String::new(),
    };
    let window = window.as_ref().map(|window| format!(", {window}")).unwrap_or_default();
    let end = until.as_deref().map_or("until it is resumed".to_owned(), |until| format!("until {until}"));
    format!("{kind}{size}{window}, {end}")
}
