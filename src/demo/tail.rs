//! `tollgate tail`: the decisions of a node and its cluster as they are recorded, one line each. The node is found by the
//! settings, or by an option; a node that goes and comes back is followed from where it was left.

use std::{
    io::{self, Write},
    net::SocketAddr,
    time::Duration,
};

use anstyle::{AnsiColor, Style};
use hyper::{StatusCode, header::HeaderValue};
use serde::Deserialize;

use super::{Failure, connection::Connection, purchase::address};
use crate::{
    cli::{Verdict, check::Colours, tail::TailOptions, tell_problems},
    clock,
    config::Load,
    domain::{Currency, Money},
    http,
};

/// How long the node keeps a request open. Less than a connection waits for a reply.
const WAIT_SECONDS: u64 = 8;

/// How long a node that does not answer is left alone.
const PAUSE: Duration = Duration::from_secs(1);

/// Decisions in one reply.
const PAGE: u16 = 200;

/// Shows the last decisions that `options` select, and follows what is recorded next. `load` reads the settings, for what
/// `options` leave out.
///
/// # Errors
/// The output cannot be written, or the system has no threads for us.
pub fn run(
    options: &TailOptions,
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
    let followed =
        address(options.admin.as_deref(), settings.http.admin_listen, "--admin").and_then(|admin| {
            let bearer = settings.http.admin_token.as_ref().map(http::Token::bearer);
            let mut tail = Tail { admin, bearer, filter: filter(options), colours, out };
            runtime.block_on(tail.run(options, err))
        });
    match followed {
        Ok(()) => Ok(Verdict::Done),
        Err(Failure::Output(error)) => Err(error),
        Err(Failure::Unexpected(what) | Failure::Missing(what)) => {
            writeln!(err, "tollgate: {what}")?;
            Ok(Verdict::Failed)
        }
    }
}

/// What is looked at of `GET /v1/decisions`.
#[derive(Deserialize)]
struct Decisions {
    decisions: Vec<Decision>,
    next: Option<String>,
}

#[derive(Deserialize)]
struct Decision {
    id: String,
    at: String,
    authorization: String,
    card: Option<String>,
    category: Option<String>,
    country: Option<String>,
    outcome: String,
    source: String,
    asked: Option<i64>,
    currency: Option<String>,
    explanation: String,
}

struct Tail<'a> {
    admin: SocketAddr,
    bearer: Option<HeaderValue>,
    /// Parameters of the query.
    filter: String,
    colours: Colours,
    out: &'a mut dyn Write,
}

impl Tail<'_> {
    async fn run(&mut self, options: &TailOptions, err: &mut dyn Write) -> Result<(), Failure> {
        let mut connection = Connection::open(self.admin).await.map_err(|cause| {
            let admin = self.admin;
            Failure::Unexpected(format!(
                "no node answers at {admin}: {cause}; start `tollgate serve`, or see --admin"
            ))
        })?;
        // Before the last ones are read: what is recorded meanwhile is found twice, and shown once.
        let mut next = self.get(&mut connection, "after=now").await?.next;
        let shown = self.show_last(&mut connection, options.last).await?;
        if options.no_follow {
            return Ok(());
        }
        loop {
            let after =
                format!("after={}&wait={WAIT_SECONDS}&limit={PAGE}", next.as_deref().unwrap_or("now"));
            match self.get(&mut connection, &after).await {
                Ok(found) => {
                    for decision in found.decisions.iter().filter(|decision| !shown.contains(&decision.id)) {
                        self.show(decision)?;
                    }
                    next = found.next.or(next);
                }
                Err(cause) => {
                    writeln!(err, "tollgate: {cause}; trying again")?;
                    connection = self.again().await;
                }
            }
        }
    }

    /// Connects again, for as long as it takes.
    async fn again(&self) -> Connection {
        loop {
            clock::sleep(PAUSE).await;
            if let Ok(connection) = Connection::open(self.admin).await {
                return connection;
            }
        }
    }

    /// Shows the last decisions, oldest first. Their ids.
    async fn show_last(&mut self, connection: &mut Connection, last: u16) -> Result<Vec<String>, Failure> {
        if last == 0 {
            return Ok(Vec::new());
        }
        let found = self.get(connection, &format!("limit={}", last.min(PAGE))).await?;
        for decision in found.decisions.iter().rev() {
            self.show(decision)?;
        }
        Ok(found.decisions.into_iter().map(|decision| decision.id).collect())
    }

    async fn get(&self, connection: &mut Connection, parameters: &str) -> Result<Decisions, Failure> {
        let path = format!("/v1/decisions?{parameters}{}", self.filter);
        let reply = connection.get_with(&path, self.bearer.clone()).await?;
        if reply.status != StatusCode::OK {
            let body = String::from_utf8_lossy(&reply.body);
            return Err(Failure::Unexpected(format!(
                "GET {path}: expected 200, found {}: {}",
                reply.status,
                body.trim()
            )));
        }
        reply.json()
    }

    fn show(&mut self, decision: &Decision) -> Result<(), Failure> {
        let colour = match decision.outcome.as_str() {
            "approved" => AnsiColor::BrightGreen,
            "partial" => AnsiColor::BrightYellow,
            _ => AnsiColor::BrightRed,
        };
        let style = match self.colours {
            Colours::On => colour.on_default(),
            Colours::Off => Style::new(),
        };
        writeln!(self.out, "{}", line(decision, style))?;
        self.out.flush()?;
        Ok(())
    }
}

/// A decision as one line: when, what, how much, where, why.
fn line(decision: &Decision, style: Style) -> String {
    let Decision {
        id: _,
        at,
        authorization,
        card,
        category,
        country,
        outcome,
        source,
        asked,
        currency,
        explanation,
    } = decision;
    let when = at.get(..19).unwrap_or(at).replace('T', " ");
    let currency = currency.as_deref().and_then(|code| code.parse::<Currency>().ok());
    let amount = match (asked, currency) {
        (Some(asked), Some(currency)) => Money::new(*asked, currency).to_string(),
        (Some(asked), None) => asked.to_string(),
        (None, _) => "no amount".to_owned(),
    };
    let place: Vec<String> = [category.as_ref().map(|name| name.replace('_', " ")), country.clone()]
        .into_iter()
        .flatten()
        .collect();
    let by = if source == "policy" { String::new() } else { format!(" by {}", source.replace('_', "-")) };
    let sentence = explanation
        .split_once(": ")
        .filter(|(start, _)| start == outcome)
        .map_or(&**explanation, |(_, rest)| rest);
    let card = card.as_deref().unwrap_or("no card");
    format!(
        "{when} {style}{outcome:<8}{style:#}{by} {amount:>14}  {authorization} {card}  {}: {sentence}",
        place.join(", ")
    )
}

/// What `options` select, as parameters of the query behind others.
fn filter(options: &TailOptions) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    let pairs = [
        ("outcome", options.outcome.map(|outcome| outcome.as_str().to_owned())),
        ("reason", options.reason.map(|reason| reason.as_str().to_owned())),
        ("card", options.card.as_ref().map(ToString::to_string)),
        ("group", options.group.clone()),
    ];
    for (name, value) in pairs {
        query.extend_pairs(value.map(|value| (name, value)));
    }
    let query = query.finish();
    if query.is_empty() { query } else { format!("&{query}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decision_is_one_line() {
        let mut decision = Decision {
            id: "dec_1".into(),
            at: "2026-11-22T10:00:03.123456Z".into(),
            authorization: "iauth_1".into(),
            card: Some("ic_1".into()),
            category: Some("fast_food_restaurants".into()),
            country: Some("US".into()),
            outcome: "declined".into(),
            source: "policy".into(),
            asked: Some(2_100),
            currency: Some("usd".into()),
            explanation: "declined: 480.00 of the 500.00 USD daily limit is used".into(),
        };
        assert_eq!(
            line(&decision, Style::new()),
            "2026-11-22 10:00:03 declined      21.00 USD  iauth_1 ic_1  fast food restaurants, US: 480.00 of the 500.00 USD daily limit is used"
        );
        decision.source = "stand_in".into();
        decision.asked = None;
        assert!(line(&decision, Style::new()).contains("declined by stand-in      no amount"));
    }
}
