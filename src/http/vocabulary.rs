//! The words of other rooms that labels of metrics are made of: this is the lowest room that knows them all.

use crate::{
    domain::{Outcome, Reason, Source, Violation},
    metrics::Vocabulary,
    stripe::{Kind, Malformed, SignatureError, Unbooked},
};

/// The kind of a request that was turned away before its event could be read.
pub(super) const UNREAD: &str = "unread";

/// Every word that a label can have.
#[must_use]
pub fn vocabulary() -> Vocabulary {
    Vocabulary {
        events: Kind::ALL.into_iter().map(Kind::as_str).chain([UNREAD]).collect(),
        outcomes: Outcome::ALL.map(Outcome::as_str).into(),
        reasons: Reason::ALL.map(Reason::as_str).into(),
        sources: Source::ALL.map(Source::as_str).into(),
        violations: Violation::ALL.map(Violation::as_str).into(),
        signature_failures: SignatureError::ALL.map(SignatureError::as_str).into(),
        malformed: Malformed::ALL.map(Malformed::as_str).into(),
        unbooked: Unbooked::ALL.map(Unbooked::as_str).into(),
    }
}
