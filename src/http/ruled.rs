//! What the rules of a policy had to do with a decision, as JSON.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::domain::rule::{Marks, Ruled, Traced};

/// What rules had to do with a decision; absent where they said nothing.
#[derive(Serialize)]
pub(super) struct RuledBody {
    rule: Option<String>,
    message: Option<String>,
    conditions: Vec<ConditionBody>,
    tags: BTreeMap<String, String>,
    flags: Vec<String>,
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
        }
    }
}
