//! A policy that was put in force, on disk.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Text, Unreadable, field};
use crate::domain::{Attribution, PolicyRecord, PolicyStep, PolicyVersion, Timestamp};

#[derive(Serialize, Deserialize)]
pub(super) struct PolicyForm<'a> {
    #[serde(borrow)]
    version: Text<'a>,
    at: i64,
    #[serde(borrow)]
    node: Text<'a>,
    #[serde(borrow)]
    origin: Text<'a>,
    /// Absent where an earlier entry has the text of this version.
    #[serde(borrow, skip_serializing_if = "Option::is_none", default)]
    text: Option<Text<'a>>,
    #[serde(borrow)]
    step: Text<'a>,
    /// Absent where no operator did it.
    #[serde(borrow, skip_serializing_if = "Option::is_none", default)]
    by: Option<Text<'a>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none", default)]
    reason: Option<Text<'a>>,
}

const fn word(step: &PolicyStep) -> &'static str {
    match step {
        PolicyStep::Own => "own",
        PolicyStep::Followed => "followed",
        PolicyStep::Put(_) => "put",
        PolicyStep::Proposed(_) => "proposed",
        PolicyStep::Approved(_) => "approved",
    }
}

impl<'a> From<&'a PolicyRecord> for PolicyForm<'a> {
    fn from(PolicyRecord { version, at, node, origin, text, step }: &'a PolicyRecord) -> Self {
        let attribution = step.attribution();
        Self {
            version: version.as_str().into(),
            at: at.as_micros(),
            node: (&**node).into(),
            origin: (&**origin).into(),
            text: text.as_deref().map(Into::into),
            step: word(step).into(),
            by: attribution.map(|attribution| (&*attribution.by).into()),
            reason: attribution.map(|attribution| (&*attribution.reason).into()),
        }
    }
}

impl PolicyForm<'_> {
    pub(super) fn into_record(self) -> Result<PolicyRecord, Unreadable> {
        let attribution = match (&self.by, &self.reason) {
            (Some(by), Some(reason)) => {
                Some(Attribution { by: Arc::from(&**by), reason: Arc::from(&**reason) })
            }
            (None | Some(_), None) | (None, Some(_)) => None,
        };
        let step = field("step", &self.step, |word| match (word, attribution) {
            ("own", _) => Some(PolicyStep::Own),
            ("followed", _) => Some(PolicyStep::Followed),
            ("put", Some(attribution)) => Some(PolicyStep::Put(attribution)),
            ("proposed", Some(attribution)) => Some(PolicyStep::Proposed(attribution)),
            ("approved", Some(attribution)) => Some(PolicyStep::Approved(attribution)),
            _ => None,
        })?;
        Ok(PolicyRecord {
            version: PolicyVersion::new(&self.version),
            at: Timestamp::from_micros(self.at),
            node: self.node.as_ref().into(),
            origin: self.origin.as_ref().into(),
            text: self.text.as_deref().map(Into::into),
            step,
        })
    }
}
