//! `tollgate purchase`: one signed authorization request to a node that runs already, and its decision as the demo shows
//! it. The node is found by the settings, or by options.

use std::{
    io::{self, Write},
    net::{SocketAddr, ToSocketAddrs as _},
};

use hyper::StatusCode;
use serde::Deserialize;

use super::{
    Failure,
    connection::{Connection, Reply},
    page::{Mark, Page},
};
use crate::{
    cli::{
        PurchaseOptions, Verdict,
        check::Colours,
        sign::{NO_SECRET, reachable},
        tell_problems,
    },
    clock,
    config::{Load, Settings},
    domain::{Currency, Money},
    http,
    stripe::{self, Merchant, Purchase, Secret},
};

/// Sends the request that `options` describe. `load` reads the settings, for what `options` leave out. Exit code 0 where
/// the node decides, whatever it decides.
///
/// # Errors
/// The output cannot be written, or the system has no threads for us.
pub fn run(
    options: &PurchaseOptions,
    load: Load,
    colours: Colours,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<Verdict> {
    let settings = match load() {
        Ok(loaded) => loaded.settings,
        Err(problems) => return tell_problems(&problems, err),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match runtime.block_on(purchase(options, &settings, &mut Page::new(out, colours))) {
        Ok(verdict) => Ok(verdict),
        Err(Failure::Output(error)) => Err(error),
        Err(Failure::Unexpected(what) | Failure::Missing(what)) => {
            writeln!(err, "tollgate: {what}")?;
            Ok(Verdict::Failed)
        }
    }
}

async fn purchase(
    options: &PurchaseOptions,
    settings: &Settings,
    page: &mut Page<'_>,
) -> Result<Verdict, Failure> {
    let amount = amount(&options.amount, options.currency)?;
    let secret = options.secret.as_ref().or(settings.stripe.secrets.first());
    let secret = secret.ok_or_else(|| Failure::Missing(NO_SECRET.to_owned()))?;
    let node = address(options.node.as_deref(), settings.http.listen, "--node")?;
    let admin = address(options.admin.as_deref(), settings.http.admin_listen, "--admin")?;

    let authorization = stripe::new_authorization_id();
    let purchase = Purchase {
        card: options.card.as_str(),
        authorization: &authorization,
        merchant: Merchant {
            country: options.merchant_country.as_str(),
            network_id: options.merchant.as_str(),
            ..Merchant::named("EXAMPLE", options.merchant_category.as_str())
        },
        amount,
        currency: options.currency,
        is_amount_controllable: options.partial,
        ..Purchase::EXAMPLE
    };
    let reply = send(&purchase, secret, node).await?;
    let explained = explain(&purchase, admin, settings).await;
    show(&purchase, &reply, explained.as_ref().ok(), page)?;
    if reply.status != StatusCode::OK {
        return Ok(Verdict::Failed);
    }
    if let Err(cause) = &explained {
        page.why(&format!("the node's admin port at {admin} did not explain it: {cause}; see --admin"))?;
    }
    page.why(&format!("{authorization} on {}", purchase.card))?;
    Ok(Verdict::Done)
}

async fn send(purchase: &Purchase<'_>, secret: &Secret, node: SocketAddr) -> Result<Reply, Failure> {
    let unreachable = |cause: Failure| {
        Failure::Unexpected(format!(
            "no node answers at {node}: {cause}; start `tollgate serve`, or see --node"
        ))
    };
    let event = purchase.event(&purchase.event_id());
    let signature = stripe::sign(secret, clock::now().as_seconds(), &event);
    let mut connection = Connection::open(node).await.map_err(unreachable)?;
    connection.post(event, &signature).await.map_err(unreachable)
}

/// What is looked at of a decision's reply.
#[derive(Deserialize)]
struct Answer {
    approved: bool,
    amount: Option<i64>,
}

/// What is looked at of `GET /v1/authorizations/{id}`.
#[derive(Deserialize)]
struct Explained {
    decisions: Vec<Explanation>,
}

#[derive(Deserialize)]
struct Explanation {
    reason: String,
    explanation: String,
}

async fn explain(
    purchase: &Purchase<'_>,
    admin: SocketAddr,
    settings: &Settings,
) -> Result<Explanation, Failure> {
    let mut connection = Connection::open(admin).await?;
    let bearer = settings.http.admin_token.as_ref().map(http::Token::bearer);
    let path = format!("/v1/authorizations/{}", purchase.authorization);
    let reply = connection.get_with(&path, bearer).await?;
    if reply.status != StatusCode::OK {
        return Err(Failure::Unexpected(format!("GET {path}: expected 200, found {}", reply.status)));
    }
    let explained: Explained = reply.json()?;
    let last = explained.decisions.into_iter().next_back();
    last.ok_or_else(|| Failure::Unexpected(format!("GET {path}: expected a decision, found none")))
}

/// The line of a decision, and its explanation below it.
fn show(
    purchase: &Purchase<'_>,
    reply: &Reply,
    explained: Option<&Explanation>,
    page: &mut Page<'_>,
) -> Result<(), Failure> {
    let plain = |amount: i64| {
        let money = Money::new(amount, purchase.currency).to_string();
        money.split(' ').next().unwrap_or_default().to_owned()
    };
    let requested = plain(purchase.amount);
    let what = purchase.merchant.category;
    if reply.status != StatusCode::OK {
        let body = String::from_utf8_lossy(&reply.body);
        let outcome = format!("{}, no decision", reply.status.as_u16());
        page.row(&Mark::No, &requested, what, &outcome)?;
        return page.why(body.trim());
    }
    let answer: Answer = reply.json()?;
    let (mark, outcome) = match (answer.approved, answer.amount) {
        (true, Some(granted)) => (Mark::Part, format!("approved in part: {}", plain(granted))),
        (true, None) => (Mark::Yes, "approved".to_owned()),
        (false, _) => {
            let reason = explained.map_or(String::new(), |explained| format!(": {}", explained.reason));
            (Mark::No, format!("declined{reason}"))
        }
    };
    page.row(&mark, &requested, what, &outcome)?;
    explained.map_or(Ok(()), |explained| page.why(&explained.explanation))
}

/// The address that an option names, or else the one that the settings have.
pub(super) fn address(given: Option<&str>, listen: SocketAddr, option: &str) -> Result<SocketAddr, Failure> {
    let Some(text) = given else { return Ok(reachable(listen)) };
    let found = text.to_socket_addrs().ok().and_then(|mut addresses| addresses.next());
    let expected = || format!("{option} {text}: expected a host and a port such as 127.0.0.1:4242");
    found.ok_or_else(|| Failure::Unexpected(expected()))
}

/// `25.00` in minor units of this currency.
pub(super) fn amount(text: &str, currency: Currency) -> Result<i64, Failure> {
    let digits = usize::try_from(currency.decimals()).unwrap_or(0);
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let is_amount = !whole.is_empty() && is_number(whole) && is_number(part) && part.len() <= digits;
    let minor = is_amount.then(|| format!("{whole}{part:0<digits$}").parse().ok()).flatten();
    let example = Money::new(currency.unit().saturating_mul(25), currency);
    let expected = || format!("the amount {text}: expected one such as {example}, without the currency");
    minor.ok_or_else(|| Failure::Unexpected(expected()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_amount_is_written_as_its_currency_is() {
        let check = |text: &str, currency: &str, expected: Option<i64>| {
            assert_eq!(amount(text, currency.parse().unwrap()).ok(), expected, "{text} {currency}");
        };
        check("25.00", "usd", Some(2_500));
        check("25", "usd", Some(2_500));
        check("0.5", "usd", Some(50));
        check("500", "jpy", Some(500));
        check("1.25", "kwd", Some(1_250));
        check("25.001", "usd", None);
        check("5.0", "jpy", None);
        check(".50", "usd", None);
        check("-1", "usd", None);
        check("25 USD", "usd", None);
        check("", "usd", None);
        check("99999999999999999999", "usd", None);
    }
}
