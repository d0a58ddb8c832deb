//! A policy that was put in force, on disk.

use serde::{Deserialize, Serialize};

use super::Text;
use crate::domain::{PolicyRecord, PolicyVersion, Timestamp};

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
}

impl<'a> From<&'a PolicyRecord> for PolicyForm<'a> {
    fn from(PolicyRecord { version, at, node, origin, text }: &'a PolicyRecord) -> Self {
        Self {
            version: version.as_str().into(),
            at: at.as_micros(),
            node: (&**node).into(),
            origin: (&**origin).into(),
            text: text.as_deref().map(Into::into),
        }
    }
}

impl PolicyForm<'_> {
    pub(super) fn into_record(self) -> PolicyRecord {
        PolicyRecord {
            version: PolicyVersion::new(&self.version),
            at: Timestamp::from_micros(self.at),
            node: self.node.as_ref().into(),
            origin: self.origin.as_ref().into(),
            text: self.text.as_deref().map(Into::into),
        }
    }
}
