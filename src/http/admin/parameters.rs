//! What requests carry beside their path: the parameters of queries, with what the value of each may be, and bodies.

use crate::domain::{Outcome, Reason, Source};

/// A parameter of the query.
pub(in crate::http) struct Parameter {
    pub(in crate::http) name: &'static str,
    pub(in crate::http) kind: Kind,
    pub(in crate::http) about: &'static str,
}

/// What the value of a parameter may be.
#[derive(Clone, Copy)]
pub(in crate::http) enum Kind {
    /// One of these words.
    Word(fn() -> Vec<&'static str>),
    /// The id of a thing of Stripe's.
    Id,
    /// Any text.
    Text,
    /// A time, or how long ago.
    Time,
    /// A whole number between two others.
    Number(u64, u64),
    /// A cursor of an earlier reply.
    Cursor,
    /// A cursor of an earlier reply, or `now`.
    CursorOrNow,
}

/// The body of a request.
pub(in crate::http) struct Payload {
    pub(in crate::http) about: &'static str,
    pub(in crate::http) media_type: &'static str,
    pub(in crate::http) bytes_max: usize,
}

impl Payload {
    /// A small object.
    pub(in crate::http) const fn json(about: &'static str) -> Self {
        Self { about, media_type: "application/json", bytes_max: 4_096 }
    }
}

/// The parameters of a policy that is put.
pub(in crate::http) const PUT_POLICY: [Parameter; 2] = [
    Parameter {
        name: "dry_run",
        kind: Kind::Word(|| vec!["true", "false"]),
        about: "Only read and compare the policy",
    },
    Parameter {
        name: "replaces",
        kind: Kind::Text,
        about: "The version that it changes; refused with 409 if another one is the newest",
    },
];

/// The parameters of a search for decisions.
pub(in crate::http) const DECISIONS: [Parameter; 13] = [
    Parameter {
        name: "outcome",
        kind: Kind::Word(|| Outcome::ALL.map(Outcome::as_str).into()),
        about: "The outcome",
    },
    Parameter {
        name: "reason",
        kind: Kind::Word(|| Reason::ALL.map(Reason::as_str).into()),
        about: "The reason",
    },
    Parameter {
        name: "source",
        kind: Kind::Word(|| Source::ALL.map(Source::as_str).into()),
        about: "What decided: the policy, the stand-in, or Stripe and the network",
    },
    Parameter { name: "card", kind: Kind::Id, about: "The card of the request, `ic_…`" },
    Parameter { name: "cardholder", kind: Kind::Id, about: "The cardholder of the request, `ich_…`" },
    Parameter { name: "group", kind: Kind::Text, about: "The group of the card when it was decided" },
    Parameter { name: "since", kind: Kind::Time, about: "Recorded at this time or later" },
    Parameter { name: "until", kind: Kind::Time, about: "Recorded before this time" },
    Parameter {
        name: "min_amount",
        kind: Kind::Number(0, 1 << 53),
        about: "The least requested amount, in minor units of any currency",
    },
    Parameter {
        name: "cursor",
        kind: Kind::Cursor,
        about: "Continue behind this place: `next` of the page before",
    },
    Parameter {
        name: "limit",
        kind: Kind::Number(1, 200),
        about: "The largest number of decisions in the reply; 50 without it",
    },
    Parameter {
        name: "after",
        kind: Kind::CursorOrNow,
        about: "Only what was recorded after this place, oldest first: `now`, or `next` of the reply before",
    },
    Parameter {
        name: "wait",
        kind: Kind::Number(0, 30),
        about: "With `after`: the number of seconds to wait for a decision; 0 without it",
    },
];
