//! What nodes say to each other: the headers that a forwarded request has besides Stripe's own, and what comes back.
//! Old and new versions run side by side during an upgrade: fields are added, and never change their meaning.

use serde::{Deserialize, Serialize};

use crate::{
    actors::Cause,
    domain::{Answer, AnswerBy, DecisionId, Outcome, Reason, Source},
};

/// Names the node that forwards. A request with it goes no further: there is at most one hop. Only the peers' port
/// knows it; on Stripe's port it means nothing.
pub const HOP: &str = "tollgate-hop";

/// How long the node that forwards waits for the answer, in milliseconds.
pub const WITHIN_MS: &str = "tollgate-within-ms";

/// When the node that forwards received the request, in microseconds after 1970 by its clock: the owner decides windows by
/// this time, so that a decision and what is answered in its place are known to be about one and the same delivery.
pub const RECEIVED_AT_US: &str = "tollgate-received-at-us";

/// What an owner says to the node that has forwarded a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PeerReply {
    /// The durable answer to the question.
    Answer(Answer),
    /// What Stripe said is in the books.
    Booked,
    /// It would be booked with another account's money, and never is.
    WrongAccount,
    /// Nothing came of it here; standing in is for the node that was asked.
    Undecided(Cause),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Reply {
    Answer(AnswerBody),
    Booked,
    WrongAccount,
    Undecided(String),
}

#[derive(Serialize, Deserialize)]
struct AnswerBody {
    decision: String,
    outcome: String,
    amount: Option<i64>,
    reason: String,
    challenge: bool,
    source: String,
    by: String,
}

impl PeerReply {
    /// As JSON.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let reply = match self {
            Self::Answer(answer) => Reply::Answer(AnswerBody {
                decision: answer.decision.to_string(),
                outcome: answer.outcome.as_str().to_owned(),
                amount: answer.amount,
                reason: answer.reason.as_str().to_owned(),
                challenge: answer.challenge,
                source: answer.source.as_str().to_owned(),
                by: answer.by.as_str().to_owned(),
            }),
            Self::Booked => Reply::Booked,
            Self::WrongAccount => Reply::WrongAccount,
            Self::Undecided(cause) => Reply::Undecided(cause.as_str().to_owned()),
        };
        // Text and numbers always have a JSON form.
        serde_json::to_vec(&reply).unwrap_or_default()
    }

    /// Reads what a node wrote; nothing where this version does not know one of the words.
    #[must_use]
    pub fn decode(json: &[u8]) -> Option<Self> {
        match serde_json::from_slice(json).ok()? {
            Reply::Answer(body) => Some(Self::Answer(Answer {
                decision: DecisionId::parse(&body.decision)?,
                outcome: Outcome::new(&body.outcome)?,
                amount: body.amount,
                reason: Reason::new(&body.reason)?,
                challenge: body.challenge,
                source: Source::new(&body.source)?,
                by: AnswerBy::new(&body.by)?,
            })),
            Reply::Booked => Some(Self::Booked),
            Reply::WrongAccount => Some(Self::WrongAccount),
            Reply::Undecided(cause) => {
                Cause::ALL.into_iter().find(|known| known.as_str() == cause).map(Self::Undecided)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let answer = Answer {
            decision: DecisionId::parse("dec_0000000000000007").unwrap(),
            outcome: Outcome::Partial,
            amount: Some(1_234),
            reason: Reason::SpendingLimit,
            challenge: true,
            source: Source::Policy,
            by: AnswerBy::Api,
        };
        let plain = Answer { amount: None, by: AnswerBy::Direct, source: Source::StandIn, ..answer };
        let undecided = Cause::ALL.map(PeerReply::Undecided);
        let replies =
            [PeerReply::Answer(answer), PeerReply::Answer(plain), PeerReply::Booked, PeerReply::WrongAccount];
        for reply in replies.into_iter().chain(undecided) {
            assert_eq!(PeerReply::decode(&reply.encode()), Some(reply));
        }
    }

    /// An upgrade runs both: neither may fail at what the other one adds, and neither may guess.
    #[test]
    fn words_of_another_version_are_not_guessed_and_fields_of_it_are_passed_over() {
        let check = |json: &str, is_read: bool| {
            assert_eq!(PeerReply::decode(json.as_bytes()).is_some(), is_read, "{json}");
        };
        let answer = |outcome: &str, more: &str| {
            format!(
                r#"{{"answer":{{"decision":"dec_0000000000000007","outcome":"{outcome}","amount":null,
                "reason":"approved","challenge":false,"source":"policy","by":"direct"{more}}}}}"#
            )
        };
        check(&answer("approved", ""), true);
        check(&answer("approved", r#","later":{"a":1}"#), true);
        check(&answer("postponed", ""), false);
        check(r#"{"undecided":"overload"}"#, true);
        check(r#"{"undecided":"mood"}"#, false);
        check(r#"{"thought_about":true}"#, false);
        check(r#""booked""#, true);
        check("", false);
        check("<html>", false);
    }
}
