//! An event as it is sent: a JSON object with what the admin API would show, or a message for Slack.

use serde::Serialize;
use serde_json::{Value, json};

use super::{
    endpoint::{Endpoint, Format, Kind},
    notice::{Difference, Notice, Subject, id},
};
use crate::{
    domain::{Currency, Measure, Money, PolicyRecord, PolicyVersion, Timestamp, Warned},
    http::{Rfc3339, bodies::DecisionBody},
};

/// An event.
#[derive(Serialize)]
struct EventBody<'a> {
    id: &'a str,
    #[serde(rename = "type")]
    kind: &'static str,
    at: Rfc3339,
    /// Absent where an event is not about a request.
    #[serde(skip_serializing_if = "Option::is_none")]
    livemode: Option<bool>,
    data: Value,
}

/// The body of an event for this endpoint.
pub(super) fn body(endpoint: &Endpoint, notice: &Notice) -> String {
    let Notice { id, kind, at, livemode, subject } = notice;
    match endpoint.format {
        Format::Json => {
            let body = EventBody {
                id,
                kind: kind.as_str(),
                at: Rfc3339(*at),
                livemode: *livemode,
                data: data(subject),
            };
            // No map of ours has keys that are no strings.
            serde_json::to_string(&body).unwrap_or_default()
        }
        Format::Slack => message(&text(*kind, subject, *livemode)),
    }
}

/// The body of an event that says nothing, to try an endpoint out.
#[must_use]
pub fn test_body(endpoint: &Endpoint, at: Timestamp) -> String {
    let id = id(Kind::Test, &format!("{} {}", endpoint.name, at.as_micros()));
    match endpoint.format {
        Format::Json => {
            let data = json!({"endpoint": &*endpoint.name});
            let body =
                EventBody { id: &id, kind: Kind::Test.as_str(), at: Rfc3339(at), livemode: None, data };
            serde_json::to_string(&body).unwrap_or_default()
        }
        Format::Slack => message(&format!("*Test* of the endpoint {} of Tollgate", escaped(&endpoint.name))),
    }
}

fn data(subject: &Subject) -> Value {
    match subject {
        Subject::Decision(view) => json!({"decision": DecisionBody::from(&**view)}),
        Subject::Difference(difference) => {
            let Difference { authorization, decision, approved, reason, at } = &**difference;
            json!({
                "authorization": authorization.as_str(),
                "decision": DecisionBody::from(decision),
                "stripe": {"approved": approved, "reason": reason, "at": Rfc3339(*at)},
            })
        }
        Subject::Budget(account, warned) => {
            let (name, key) = account.as_budget().unwrap_or((account.as_str(), None));
            let window = warned.limit.as_deref();
            json!({
                "account": account.as_str(),
                "budget": name,
                "key": key,
                "percent": warned.percent,
                "limit": window.map_or("balance", |window| window.measure.as_str()),
                "currency": currency(warned).map(|currency| currency.to_string()),
                "window": window.map(|window| window.interval.to_string()),
                "window_from": warned.window_from.map(Rfc3339),
                "used": warned.used,
                "max": warned.max,
            })
        }
        Subject::Policy(record, before) => {
            let PolicyRecord { version, at, node, origin, text: _, step } = record;
            let attribution = step.attribution();
            json!({
                "version": version.as_str(),
                "before": before.as_ref().map(PolicyVersion::as_str),
                "at": Rfc3339(*at),
                "node": &**node,
                "origin": &**origin,
                "by": attribution.map(|one| &*one.by),
                "reason": attribution.map(|one| &*one.reason),
            })
        }
    }
}

fn currency(warned: &Warned) -> Option<Currency> {
    match warned.limit.as_ref()?.measure {
        Measure::Amount(currency) => currency,
        Measure::Count => None,
    }
}

/// <https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks>
fn message(text: &str) -> String {
    json!({"text": text}).to_string()
}

fn text(kind: Kind, subject: &Subject, livemode: Option<bool>) -> String {
    let mode = if livemode == Some(false) { " (test mode)" } else { "" };
    match subject {
        Subject::Decision(view) => {
            let decision = DecisionBody::from(&**view);
            let title = match kind {
                Kind::Flagged => format!("Flagged by {}", flags(&decision)),
                Kind::StandIn => format!("Stand-in decision: {}", decision.outcome),
                Kind::Declined | Kind::Differed | Kind::Warned | Kind::PolicyChanged | Kind::Test => {
                    "Declined".to_owned()
                }
            };
            format!("*{}*{mode} {}{}", escaped(&title), escaped(&decision.explanation), whose(&decision))
        }
        Subject::Difference(difference) => {
            let decision = DecisionBody::from(&difference.decision);
            let did = if difference.approved { "approved" } else { "declined" };
            let (outcome, reason) = (decision.outcome, escaped(&difference.reason));
            format!(
                "*Stripe {did} what was {outcome} here*{mode} Stripe's reason is {reason}.{}",
                whose(&decision)
            )
        }
        Subject::Budget(account, warned) => {
            let amount = |amount: i64| {
                currency(warned)
                    .map_or_else(|| amount.to_string(), |currency| Money::new(amount, currency).to_string())
            };
            let (used, max) = (amount(warned.used), amount(warned.max));
            let what = warned.limit.as_deref().map_or_else(
                || "of its balance are used".to_owned(),
                |window| match window.measure {
                    Measure::Amount(_) => format!("({}) are used", window.interval),
                    Measure::Count => format!("approvals ({}) are used", window.interval),
                },
            );
            let budget = account.as_str().trim_start_matches("budget:");
            format!("*Budget {} at {} %* {used} of {max} {what}.", escaped(budget), warned.percent)
        }
        Subject::Policy(record, before) => {
            let (version, node) = (escaped(record.version.as_str()), escaped(&record.node));
            let origin = escaped(&record.origin);
            let before = before
                .as_ref()
                .map_or_else(String::new, |before| format!(", after {}", escaped(before.as_str())));
            let by = record.step.attribution().map_or_else(String::new, |one| {
                format!(" By {}: {}", escaped(&one.by), escaped(&one.reason))
            });
            format!("*Policy {version} is in force*{before}, from {origin}, on node {node}.{by}")
        }
    }
}

fn flags(decision: &DecisionBody) -> String {
    decision.rule.as_ref().map(|rule| rule.flags.join(", ")).unwrap_or_default()
}

/// The card and the authorization, behind a sentence.
fn whose(decision: &DecisionBody) -> String {
    let card = decision.card.as_deref().unwrap_or("none");
    format!(" Card `{}`, authorization `{}`.", escaped(card), escaped(&decision.authorization))
}

/// What Slack would take for markup of its own.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_slack_would_take_for_markup_is_escaped() {
        assert_eq!(escaped("<!channel> & co"), "&lt;!channel&gt; &amp; co");
    }

    #[test]
    fn an_event_has_the_same_id_each_time_and_another_for_each_kind() {
        assert_eq!(id(Kind::Declined, "dec_1"), id(Kind::Declined, "dec_1"));
        assert_ne!(id(Kind::Declined, "dec_1"), id(Kind::Flagged, "dec_1"));
        assert_eq!(id(Kind::Declined, "dec_1").len(), 36);
    }
}
