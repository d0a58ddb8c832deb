//! What the rules of a policy had to do with a decision, on disk. Most decisions have nothing of it.

use std::{borrow::Cow, sync::Arc};

use serde::{Deserialize, Serialize};

use super::Text;
use crate::domain::{
    Timestamp,
    rule::{Marks, Ruled, Traced},
};

#[derive(Serialize, Deserialize)]
pub(super) struct RuledRecord<'a> {
    #[serde(flatten, borrow)]
    marks: MarksRecord<'a>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    message: Option<Text<'a>>,
    /// Condition, values, whether it held.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    conditions: Vec<(Text<'a>, Text<'a>, bool)>,
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    scores: Vec<(Text<'a>, i64)>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    blocks_until: Option<i64>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct MarksRecord<'a> {
    #[serde(skip_serializing_if = "Option::is_none", default)]
    rule: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    tags: Vec<(Text<'a>, Text<'a>)>,
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    flags: Vec<Text<'a>>,
}

impl<'a> From<&'a Ruled> for RuledRecord<'a> {
    fn from(ruled: &'a Ruled) -> Self {
        let Ruled { marks, message, conditions, scores, blocks_until } = ruled;
        let part = |traced: &'a Traced| {
            let Traced { condition, value, holds } = traced;
            (Cow::Borrowed(condition.as_str()), Cow::Borrowed(value.as_str()), *holds)
        };
        Self {
            marks: MarksRecord::from(&**marks),
            message: message.as_deref().map(Cow::Borrowed),
            conditions: conditions.iter().map(part).collect(),
            scores: scores.iter().map(|(rule, score)| (Cow::Borrowed(&**rule), *score)).collect(),
            blocks_until: blocks_until.map(Timestamp::as_micros),
        }
    }
}

impl RuledRecord<'_> {
    pub(super) fn into_ruled(self) -> Ruled {
        let part = |(condition, value, holds): (Text<'_>, Text<'_>, bool)| Traced {
            condition: condition.into_owned(),
            value: value.into_owned(),
            holds,
        };
        Ruled {
            marks: Arc::new(self.marks.into_marks()),
            message: self.message.as_deref().map(Arc::from),
            conditions: self.conditions.into_iter().map(part).collect(),
            scores: self.scores.iter().map(|(rule, score)| (Arc::from(&**rule), *score)).collect(),
            blocks_until: self.blocks_until.map(Timestamp::from_micros),
        }
    }
}

impl<'a> From<&'a Marks> for MarksRecord<'a> {
    fn from(marks: &'a Marks) -> Self {
        let Marks { rule, tags, flags } = marks;
        Self {
            rule: rule.as_deref().map(Cow::Borrowed),
            tags: tags.iter().map(|(key, value)| (Cow::Borrowed(&**key), Cow::Borrowed(&**value))).collect(),
            flags: flags.iter().map(|flag| Cow::Borrowed(&**flag)).collect(),
        }
    }
}

impl MarksRecord<'_> {
    pub(super) fn into_marks(self) -> Marks {
        Marks {
            rule: self.rule.as_deref().map(Arc::from),
            tags: self.tags.iter().map(|(key, value)| (Arc::from(&**key), Arc::from(&**value))).collect(),
            flags: self.flags.iter().map(|flag| Arc::from(&**flag)).collect(),
        }
    }
}
