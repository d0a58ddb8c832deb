//! What nodes say to each other: Stripe's requests as they came, and what the owner of the card says to them. Old and new
//! versions run side by side during an upgrade: kinds of messages and fields are added, and never change their meaning.

use std::{io, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use tokio_util::bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

use crate::{
    actors::{Cause, Claim, UnconfirmedView},
    domain::{
        Answer, AnswerBy, AuthorizationId, CardId, DecisionId, Outcome, Reason, Source, Timestamp,
        rule::Marks,
    },
};

/// A request as it came, for its owner to verify again. Its signature is all that makes it believed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sealed {
    /// The header with its signature, if there is one.
    pub signature: Option<Bytes>,
    /// When it was received, by the clock of the node that was asked: its owner decides windows by this time, so that a
    /// decision and what is answered in its place are known to be about one and the same delivery.
    pub received_at: Timestamp,
    /// Its body, byte for byte.
    pub body: Bytes,
}

/// What both sides say first, each of itself. Fields are added; a version passes over those that it does not know.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Hello {
    /// The identity of the journal that it appends to.
    pub journal: String,
    /// The lineage of the database that has it, as text; nothing where this is not known yet.
    pub lineage: Option<String>,
    /// Its name.
    pub node: String,
    /// The number of this run of it.
    pub incarnation: i64,
    /// The version that it runs.
    pub version: String,
}

/// A message between two nodes.
#[derive(PartialEq, Eq, Debug)]
pub enum Message {
    /// The first one of each side.
    Hello(Hello),
    /// From a node that was asked to the card's owner. It goes no further: there is at most one hop.
    Request {
        /// By which its reply is known; the connection's own.
        id: u64,
        /// What was asked.
        sealed: Sealed,
        /// How long the node that was asked waits, in whole milliseconds.
        within: Duration,
    },
    /// From a node that is about to answer to the arbiter of the account.
    Claim {
        /// By which its reply is known; the connection's own.
        id: u64,
        /// The answer.
        claim: Box<Claim>,
    },
    /// What the owner or the arbiter says to it.
    Reply {
        /// That of the request or claim.
        id: u64,
        /// What came of it. Nothing where the owner does not believe it, or one of both does not know a word of the other.
        reply: Option<PeerReply>,
        /// How long that took the owner, in whole microseconds.
        took: Duration,
    },
    /// To be said back at once.
    Ping,
    /// Whoever says it answers what it was asked, and wants to be asked no more.
    Leaving,
}

/// The first byte of a message.
mod kind {
    pub(super) const HELLO: u8 = b'H';
    pub(super) const REQUEST: u8 = b'Q';
    pub(super) const CLAIM: u8 = b'C';
    pub(super) const REPLY: u8 = b'R';
    pub(super) const PING: u8 = b'P';
    pub(super) const LEAVING: u8 = b'L';
}

/// What stands before the body in a request: room for a few more fields and a signature of several schemes.
const HEAD_BYTES: usize = 512;

/// What stands before the JSON of a reply.
const REPLY_HEAD_BYTES: usize = 1 + 8 + 4;

/// In a request, between its id and its body.
#[derive(Serialize, Deserialize)]
struct Head {
    signature: Option<String>,
    received_at_us: i64,
    within_ms: u64,
}

impl Message {
    /// As bytes: the kind; a hello as JSON; for all others the id, then a claim as JSON; or a request's head as JSON with its length before it, and
    /// the body; or how long a reply took, and the reply as JSON.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut bytes = BytesMut::new();
        match self {
            Self::Hello(hello) => {
                bytes.put_u8(kind::HELLO);
                bytes.put_slice(&json(hello));
            }
            Self::Request { id, sealed, within } => {
                bytes.reserve(HEAD_BYTES.saturating_add(sealed.body.len()));
                let head = Head {
                    // What is no text in it is no part of what Stripe signs by.
                    signature: sealed
                        .signature
                        .as_ref()
                        .map(|text| String::from_utf8_lossy(text).into_owned()),
                    received_at_us: sealed.received_at.as_micros(),
                    within_ms: u64::try_from(within.as_millis()).unwrap_or(u64::MAX),
                };
                let head = json(&head);
                bytes.put_u8(kind::REQUEST);
                bytes.put_u64(*id);
                bytes.put_u32(u32::try_from(head.len()).unwrap_or(u32::MAX));
                bytes.put_slice(&head);
                bytes.put_slice(&sealed.body);
            }
            Self::Claim { id, claim } => {
                let Claim { view, answer } = &**claim;
                bytes.put_u8(kind::CLAIM);
                bytes.put_u64(*id);
                bytes.put_slice(&json(&ClaimBody {
                    authorization: view.authorization.to_string(),
                    card: view.card.as_ref().map(ToString::to_string),
                    at_us: view.at.as_micros(),
                    answer: AnswerBody::of(answer),
                }));
            }
            Self::Reply { id, reply, took } => {
                let reply = reply.as_ref().map_or_else(|| json(&Reply::Refused), PeerReply::encode);
                bytes.reserve(reply.len().saturating_add(REPLY_HEAD_BYTES));
                bytes.put_u8(kind::REPLY);
                bytes.put_u64(*id);
                bytes.put_u32(u32::try_from(took.as_micros()).unwrap_or(u32::MAX));
                bytes.put_slice(&reply);
            }
            Self::Ping => bytes.put_u8(kind::PING),
            Self::Leaving => bytes.put_u8(kind::LEAVING),
        }
        bytes.freeze()
    }

    /// Reads what a node wrote; nothing where it is of a kind that a later version has added.
    ///
    /// # Errors
    /// No node has written this.
    pub fn decode(bytes: Bytes) -> io::Result<Option<Self>> {
        match bytes.first() {
            Some(&(kind::HELLO | kind::REQUEST | kind::CLAIM | kind::REPLY | kind::PING | kind::LEAVING)) => {
                let message = Self::read(bytes);
                message
                    .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "not a node's message"))
                    .map(Some)
            }
            _ => Ok(None),
        }
    }

    fn read(mut bytes: Bytes) -> Option<Self> {
        Some(match bytes.try_get_u8().ok()? {
            kind::HELLO => Self::Hello(serde_json::from_slice(&bytes).ok()?),
            kind::REQUEST => {
                let id = bytes.try_get_u64().ok()?;
                let head_bytes = usize::try_from(bytes.try_get_u32().ok()?).ok()?;
                let head: Head = serde_json::from_slice(bytes.get(..head_bytes)?).ok()?;
                let sealed = Sealed {
                    signature: head.signature.map(Bytes::from),
                    received_at: Timestamp::from_micros(head.received_at_us),
                    body: bytes.slice(head_bytes..),
                };
                Self::Request { id, sealed, within: Duration::from_millis(head.within_ms) }
            }
            kind::CLAIM => {
                let id = bytes.try_get_u64().ok()?;
                let body: ClaimBody = serde_json::from_slice(&bytes).ok()?;
                let answer = body.answer.read()?;
                let view = UnconfirmedView {
                    decision: answer.decision,
                    authorization: AuthorizationId::new(&body.authorization)?,
                    card: match body.card {
                        Some(card) => Some(CardId::new(&card)?),
                        None => None,
                    },
                    at: Timestamp::from_micros(body.at_us),
                };
                Self::Claim { id, claim: Box::new(Claim { view, answer }) }
            }
            kind::REPLY => {
                let id = bytes.try_get_u64().ok()?;
                let took = Duration::from_micros(bytes.try_get_u32().ok()?.into());
                Self::Reply { id, reply: PeerReply::decode(&bytes), took }
            }
            kind::PING => Self::Ping,
            _ => Self::Leaving,
        })
    }
}

/// Text and numbers always have a JSON form.
fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}

/// What an owner says to the node that has forwarded a request.
#[derive(Clone, PartialEq, Eq, Debug)]
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
    Refused,
}

#[derive(Serialize, Deserialize)]
struct ClaimBody {
    authorization: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    card: Option<String>,
    at_us: i64,
    answer: AnswerBody,
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
    /// The rule that decided.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    rule: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    tags: Vec<(String, String)>,
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    flags: Vec<String>,
}

impl AnswerBody {
    fn of(answer: &Answer) -> Self {
        let Marks { rule, tags, flags } = answer.marks.as_deref().cloned().unwrap_or_default();
        Self {
            decision: answer.decision.to_string(),
            outcome: answer.outcome.as_str().to_owned(),
            amount: answer.amount,
            reason: answer.reason.as_str().to_owned(),
            challenge: answer.challenge,
            source: answer.source.as_str().to_owned(),
            by: answer.by.as_str().to_owned(),
            rule: rule.as_deref().map(ToOwned::to_owned),
            tags: tags.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect(),
            flags: flags.iter().map(ToString::to_string).collect(),
        }
    }

    /// Nothing where this version does not know one of the words.
    fn read(&self) -> Option<Answer> {
        Some(Answer {
            decision: DecisionId::parse(&self.decision)?,
            outcome: Outcome::new(&self.outcome)?,
            amount: self.amount,
            reason: Reason::new(&self.reason)?,
            challenge: self.challenge,
            source: Source::new(&self.source)?,
            by: AnswerBy::new(&self.by)?,
            marks: self.marks(),
        })
    }

    fn marks(&self) -> Option<Arc<Marks>> {
        let marks = Marks {
            rule: self.rule.as_deref().map(Arc::from),
            tags: self.tags.iter().map(|(key, value)| (key.as_str().into(), value.as_str().into())).collect(),
            flags: self.flags.iter().map(|flag| flag.as_str().into()).collect(),
        };
        Arc::new(marks).some()
    }
}

impl PeerReply {
    /// As JSON.
    fn encode(&self) -> Vec<u8> {
        let reply = match self {
            Self::Answer(answer) => Reply::Answer(AnswerBody::of(answer)),
            Self::Booked => Reply::Booked,
            Self::WrongAccount => Reply::WrongAccount,
            Self::Undecided(cause) => Reply::Undecided(cause.as_str().to_owned()),
        };
        json(&reply)
    }

    /// Reads what a node wrote; nothing where it refused, or this version does not know one of the words.
    fn decode(json: &[u8]) -> Option<Self> {
        match serde_json::from_slice(json).ok()? {
            Reply::Answer(body) => body.read().map(Self::Answer),
            Reply::Booked => Some(Self::Booked),
            Reply::WrongAccount => Some(Self::WrongAccount),
            Reply::Refused => None,
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
            marks: Some(Arc::new(Marks {
                rule: Some("night-cap".into()),
                tags: vec![("trip".into(), "Köln \"\u{7}".into())],
                flags: vec!["odd".into()],
            })),
        };
        let plain = Answer {
            amount: None,
            by: AnswerBy::Direct,
            source: Source::StandIn,
            marks: None,
            ..answer.clone()
        };
        let undecided = Cause::ALL.map(PeerReply::Undecided);
        let replies = [
            PeerReply::Answer(answer),
            PeerReply::Answer(plain.clone()),
            PeerReply::Booked,
            PeerReply::WrongAccount,
        ];
        let sealed = |signature| Sealed {
            signature,
            received_at: Timestamp::from_micros(1_795_341_600_123_456),
            body: Bytes::from_static(b"{\"any\": \"bytes\xff\"}"),
        };
        let request = |signature| Message::Request {
            id: u64::MAX,
            sealed: sealed(signature),
            within: Duration::from_millis(600),
        };
        let hello = Message::Hello(Hello {
            journal: "0123456789abcdef0123456789abcdef".to_owned(),
            lineage: Some("7713954966115689511/3".to_owned()),
            node: "node-a".to_owned(),
            incarnation: i64::MAX,
            version: "1.2.3".to_owned(),
        });
        let claim = |card: Option<&str>| Message::Claim {
            id: 9,
            claim: Box::new(Claim {
                view: UnconfirmedView {
                    decision: plain.decision,
                    authorization: AuthorizationId::new("iauth_1").unwrap(),
                    card: card.and_then(CardId::new),
                    at: Timestamp::from_micros(1_795_341_600_123_456),
                },
                answer: plain.clone(),
            }),
        };
        let claims = [claim(None), claim(Some("ic_1"))];
        let messages =
            [hello, Message::Ping, Message::Leaving, request(None), request(Some("t=1,v1=00".into()))];
        let took = Duration::from_micros(1_234);
        let replies = replies.into_iter().chain(undecided).map(Some).chain([None]);
        let replies = replies.map(|reply| Message::Reply { id: 7, reply, took });
        for message in replies.chain(messages).chain(claims) {
            assert_eq!(Message::decode(message.encode()).unwrap(), Some(message));
        }
    }

    #[test]
    fn what_no_node_has_written_is_an_error_and_what_a_later_one_may_is_passed_over() {
        let check = |bytes: &'static [u8], is_passed_over: bool| {
            let read = Message::decode(Bytes::from_static(bytes));
            assert_eq!(read.ok(), is_passed_over.then_some(None), "{bytes:?}");
        };
        check(b"Z a later kind", true);
        check(b"", true);
        check(b"Q", false);
        check(b"Q\0\0\0\0\0\0\0\x01", false);
        check(b"Q\0\0\0\0\0\0\0\x01\0\0\0\x09{}", false);
        check(b"Q\0\0\0\0\0\0\0\x01\0\0\0\x02{}", false);
        check(b"Q\0\0\0\0\0\0\0\x01\xff\xff\xff\xff{}", false);
        check(b"H{}", false);
        check(b"R\0\0", false);
        check(b"R\0\0\0\0\0\0\0\x01\0\0", false);
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
