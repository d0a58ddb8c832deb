//! What goes back to Stripe: the bytes of a decision and of a receipt. Which decision it is was settled elsewhere.
//! Source: <https://docs.stripe.com/issuing/controls/real-time-authorizations>, "respond directly to the webhook".

use std::io::Write as _;

use crate::domain::{Answer, Outcome, rule::Marks};

/// The header that names the API version of a reply; without it a reply is no decision.
pub const STRIPE_VERSION: &str = "stripe-version";

/// The only content type that Stripe takes.
pub const CONTENT_TYPE: &str = "application/json";

/// The reply to an event that asks nothing.
pub const RECEIVED_BODY: &[u8] = br#"{"received":true}"#;

/// Room for the longest reply.
const BODY_BYTES: usize = 192;

/// The body of a decision: the same answer gives the same bytes, always.
///
/// An amount is named only for an approval of more than nothing; Stripe ignores it where the amount is not
/// controllable. A challenge goes only with a decline.
#[must_use]
pub fn decision_body(answer: &Answer, with_metadata: bool) -> Vec<u8> {
    let approved = match answer.outcome {
        Outcome::Approved | Outcome::Partial => true,
        Outcome::Declined => false,
    };
    let mut body = Vec::with_capacity(BODY_BYTES);
    body.extend_from_slice(if approved { br#"{"approved":true"# } else { br#"{"approved":false"# });
    if let Some(amount) = answer.amount.filter(|amount| approved && *amount > 0) {
        body.extend_from_slice(br#","amount":"#);
        body.extend_from_slice(itoa::Buffer::new().format(amount).as_bytes());
    }
    if with_metadata {
        body.extend_from_slice(br#","metadata":{"tollgate_decision":""#);
        // Writing to memory cannot fail.
        let _ = write!(body, "{}", answer.decision);
        body.extend_from_slice(br#"","tollgate_reason":""#);
        body.extend_from_slice(answer.reason.as_str().as_bytes());
        body.push(b'"');
        if let Some(marks) = &answer.marks {
            for (key, value) in marks_metadata(marks) {
                body.push(b',');
                let _ = serde_json::to_writer(&mut body, key);
                body.push(b':');
                let _ = serde_json::to_writer(&mut body, value);
            }
        }
        body.push(b'}');
    }
    if answer.challenge && !approved {
        body.extend_from_slice(br#","send_fraud_challenges":["sms"]"#);
    }
    body.push(b'}');
    body
}

/// What the rules add to the metadata of an answer: the rule that decided, and tags.
pub(in crate::stripe) fn marks_metadata(marks: &Marks) -> impl Iterator<Item = (&str, &str)> {
    let rule = marks.rule.as_deref().map(|name| ("tollgate_rule", name));
    rule.into_iter().chain(marks.tags.iter().map(|(key, value)| (&**key, &**value)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{AnswerBy, DecisionId, Reason, Source};

    fn answer(outcome: Outcome, amount: Option<i64>, reason: Reason, challenge: bool) -> Answer {
        let decision = DecisionId::parse("dec_0000000000abcdef").unwrap();
        let (source, by) = (Source::Policy, AnswerBy::Direct);
        Answer { decision, outcome, amount, reason, challenge, source, by, marks: None }
    }

    #[test]
    fn a_reply_says_what_stripe_reads_and_nothing_else() {
        use Outcome::{Approved, Declined, Partial};
        let check = |outcome, amount, reason, challenge, metadata, expected: &str| {
            let body = decision_body(&answer(outcome, amount, reason, challenge), metadata);
            assert_eq!(String::from_utf8(body).unwrap(), expected);
        };
        let limit = Reason::SpendingLimit;
        check(Approved, None, Reason::Approved, false, false, r#"{"approved":true}"#);
        check(Approved, Some(5_000), Reason::Approved, false, false, r#"{"approved":true,"amount":5000}"#);
        check(Approved, Some(0), Reason::Approved, false, false, r#"{"approved":true}"#);
        check(Approved, Some(-1), Reason::Approved, true, false, r#"{"approved":true}"#);
        check(
            Partial,
            Some(1_200),
            limit,
            false,
            true,
            r#"{"approved":true,"amount":1200,"metadata":{"tollgate_decision":"dec_0000000000abcdef","tollgate_reason":"spending_limit"}}"#,
        );
        check(Declined, Some(1_200), limit, false, false, r#"{"approved":false}"#);
        check(
            Declined,
            None,
            Reason::CountryBlocked,
            true,
            true,
            r#"{"approved":false,"metadata":{"tollgate_decision":"dec_0000000000abcdef","tollgate_reason":"country_blocked"},"send_fraud_challenges":["sms"]}"#,
        );
    }

    #[test]
    fn the_rule_that_decided_and_tags_are_metadata() {
        let tag = |key: &str, value: &str| (key.into(), value.into());
        let marks = Marks {
            rule: Some("no-cash-abroad".into()),
            tags: vec![tag("trip", "K\u{f6}ln \"7\"\u{1}"), tag("team", "a")],
            flags: vec!["odd".into()],
        };
        let declined = answer(Outcome::Declined, None, Reason::Rule, false);
        let answer = Answer { marks: Some(marks.into()), ..declined };
        let read: serde_json::Value = serde_json::from_slice(&decision_body(&answer, true)).unwrap();
        let expected = serde_json::json!({"approved": false, "metadata": {
            "tollgate_decision": "dec_0000000000abcdef", "tollgate_reason": "rule",
            "tollgate_rule": "no-cash-abroad", "trip": "K\u{f6}ln \"7\"\u{1}", "team": "a",
        }});
        assert_eq!(read, expected);
        assert_eq!(decision_body(&answer, false), br#"{"approved":false}"#);
    }

    #[test]
    fn the_longest_reply_is_json_of_under_a_kilobyte() {
        for reason in Reason::ALL {
            for outcome in Outcome::ALL {
                let body = decision_body(&answer(outcome, Some(i64::MAX), reason, true), true);
                assert!(body.len() < 1_024 && body.len() <= BODY_BYTES, "{} bytes", body.len());
                let read: serde_json::Value = serde_json::from_slice(&body).unwrap();
                assert_eq!(read["approved"], outcome != Outcome::Declined);
                assert_eq!(read["metadata"]["tollgate_reason"], reason.as_str());
            }
        }
    }
}
