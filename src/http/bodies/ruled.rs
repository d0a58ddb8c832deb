//! What the rules of a policy had to do with a decision, as JSON.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use crate::domain::{
    WouldPass,
    rule::{Marks, Ruled, Traced},
};

/// The part of the policy's rules in a decision.
#[derive(Serialize, JsonSchema, Clone, Debug)]
pub struct RuledBody {
    /// The rule that decided.
    pub rule: Option<String>,
    /// Its sentence for the cardholder.
    pub message: Option<String>,
    /// Each part of its condition, with the values it compared.
    pub conditions: Vec<ConditionBody>,
    /// Metadata of the reply, from matching rules.
    pub tags: BTreeMap<String, String>,
    /// Flags of matching rules.
    pub flags: Vec<String>,
    /// The scores of matching rules.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scores: Vec<ScoreBody>,
    /// The card is blocked by a rule until this time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blocks_until: Option<String>,
}

/// What one rule added to the score of a request.
#[derive(Serialize, JsonSchema, Clone, Debug)]
pub struct ScoreBody {
    /// The rule.
    pub rule: String,
    /// Its score.
    pub score: i64,
}

/// What else would let a declined request pass. Each change is sufficient alone.
#[derive(Serialize, JsonSchema, Clone, Debug)]
pub struct WouldPassBody {
    /// The earliest time at which the same request passes if nothing else happens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    /// The rule without which it passes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub without_rule: Option<String>,
}

impl From<&WouldPass> for WouldPassBody {
    fn from(would_pass: &WouldPass) -> Self {
        let WouldPass { at, without } = would_pass;
        Self { at: at.map(|at| at.to_string()), without_rule: without.as_deref().map(ToOwned::to_owned) }
    }
}

/// One part of a rule's condition.
#[derive(Serialize, JsonSchema, Clone, Debug)]
pub struct ConditionBody {
    /// The text of the part.
    pub condition: String,
    /// The values that it compared.
    pub value: String,
    /// Whether it holds.
    pub holds: bool,
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
