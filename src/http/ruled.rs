//! What the rules of a policy had to do with a decision, as JSON.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::domain::{
    WouldPass,
    rule::{Marks, Ruled, Traced},
};

/// What rules had to do with a decision; absent where they said nothing.
#[derive(Serialize)]
pub(super) struct RuledBody {
    rule: Option<String>,
    message: Option<String>,
    conditions: Vec<ConditionBody>,
    tags: BTreeMap<String, String>,
    flags: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    scores: Vec<ScoreBody>,
    #[serde(skip_serializing_if = "Option::is_none")]
    blocks_until: Option<String>,
}

#[derive(Serialize)]
struct ScoreBody {
    rule: String,
    score: i64,
}

/// With what else a declined request would have passed.
#[derive(Serialize)]
pub(super) struct WouldPassBody {
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    without_rule: Option<String>,
}

impl From<&WouldPass> for WouldPassBody {
    fn from(would_pass: &WouldPass) -> Self {
        let WouldPass { at, without } = would_pass;
        Self { at: at.map(|at| at.to_string()), without_rule: without.as_deref().map(ToOwned::to_owned) }
    }
}

#[derive(Serialize)]
struct ConditionBody {
    condition: String,
    value: String,
    holds: bool,
}

impl From<&Ruled> for RuledBody {
    fn from(ruled: &Ruled) -> Self {
        let Marks { rule, tags, flags } = &*ruled.marks;
        let condition = |traced: &Traced| ConditionBody {
            condition: traced.condition.clone(),
            value: traced.value.clone(),
            holds: traced.holds,
        };
        Self {
            rule: rule.as_deref().map(ToOwned::to_owned),
            message: ruled.message.as_deref().map(ToOwned::to_owned),
            conditions: ruled.conditions.iter().map(condition).collect(),
            tags: tags.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect(),
            flags: flags.iter().map(ToString::to_string).collect(),
            scores: ruled
                .scores
                .iter()
                .map(|(rule, score)| ScoreBody { rule: rule.to_string(), score: *score })
                .collect(),
            blocks_until: ruled.blocks_until.map(|until| until.to_string()),
        }
    }
}
