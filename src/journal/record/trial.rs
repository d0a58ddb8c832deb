//! Candidates and what was found of them, on disk.

use serde::{Deserialize, Serialize};

use super::Text;
use crate::domain::{Attribution, Candidate, PolicyVersion, ShadowFound, ShadowRecord, Timestamp};

#[derive(Serialize, Deserialize)]
pub(super) struct ShadowForm<'a> {
    at: i64,
    #[serde(borrow)]
    by: Text<'a>,
    #[serde(borrow)]
    reason: Text<'a>,
    /// Absent, with the text, where no candidate is tried any more.
    #[serde(borrow, skip_serializing_if = "Option::is_none", default)]
    version: Option<Text<'a>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none", default)]
    text: Option<Text<'a>>,
}

impl<'a> From<&'a ShadowRecord> for ShadowForm<'a> {
    fn from(
        ShadowRecord { candidate, at, attribution: Attribution { by, reason } }: &'a ShadowRecord,
    ) -> Self {
        Self {
            at: at.as_micros(),
            by: (&**by).into(),
            reason: (&**reason).into(),
            version: candidate.as_ref().map(|candidate| candidate.version.as_str().into()),
            text: candidate.as_ref().map(|candidate| (&*candidate.text).into()),
        }
    }
}

impl ShadowForm<'_> {
    pub(super) fn into_record(self) -> ShadowRecord {
        let candidate = self.version.zip(self.text);
        ShadowRecord {
            candidate: candidate.map(|(version, text)| Candidate {
                version: PolicyVersion::new(&version),
                text: text.as_ref().into(),
            }),
            at: Timestamp::from_micros(self.at),
            attribution: Attribution { by: self.by.as_ref().into(), reason: self.reason.as_ref().into() },
        }
    }
}

#[derive(Serialize, Deserialize)]
pub(super) struct FoundForm<'a> {
    #[serde(borrow)]
    node: Text<'a>,
    #[serde(borrow)]
    candidate: Text<'a>,
    at: i64,
    /// JSON as text.
    #[serde(borrow)]
    findings: Text<'a>,
}

impl<'a> From<&'a ShadowFound> for FoundForm<'a> {
    fn from(ShadowFound { node, candidate, at, findings }: &'a ShadowFound) -> Self {
        Self {
            node: (&**node).into(),
            candidate: candidate.as_str().into(),
            at: at.as_micros(),
            findings: (&**findings).into(),
        }
    }
}

impl FoundForm<'_> {
    pub(super) fn into_found(self) -> ShadowFound {
        ShadowFound {
            node: self.node.as_ref().into(),
            candidate: PolicyVersion::new(&self.candidate),
            at: Timestamp::from_micros(self.at),
            findings: self.findings.as_ref().into(),
        }
    }
}
