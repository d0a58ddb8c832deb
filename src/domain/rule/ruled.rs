//! What the rules of a policy had to do with a decision, as it is kept with the decision.

use std::sync::Arc;

use super::{
    facts::Facts,
    judge::{Judged, Rule, Tag, Then},
    trace::{Traced, trace},
};
use crate::domain::time::Timestamp;

/// What the rules had to do with a decision.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Ruled {
    /// The rule that decided, tags and flags.
    pub marks: Arc<Marks>,
    /// The sentence for the cardholder of the rule that decided.
    pub message: Option<Arc<str>>,
    /// Each part of that rule's condition that was looked at, with its values.
    pub conditions: Vec<Traced>,
    /// What each rule added to the request's score.
    pub scores: Vec<(Arc<str>, i64)>,
    /// Until when the rule that decided declines all requests of the card.
    pub blocks_until: Option<Timestamp>,
}

/// What the rules say of an answer beyond its reason.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Marks {
    /// The rule that decided.
    pub rule: Option<Arc<str>>,
    /// The tags of all rules that matched; of two with one key, that of the earlier rule.
    pub tags: Vec<Tag>,
    /// The rules that ask somebody to look at it.
    pub flags: Vec<Arc<str>>,
}

impl Marks {
    /// Itself, unless it is empty.
    #[must_use]
    pub fn some(self: &Arc<Self>) -> Option<Arc<Self>> {
        let is_empty = self.rule.is_none() && self.tags.is_empty() && self.flags.is_empty();
        (!is_empty).then(|| Arc::clone(self))
    }
}

impl Ruled {
    /// What is kept where `decisive` made the decision, or none of the rules did. Nothing where they said nothing.
    pub(in crate::domain) fn of(
        judged: &Judged<'_>,
        decisive: Option<&Rule>,
        facts: &Facts<'_>,
    ) -> Option<Box<Self>> {
        if decisive.is_none() && judged.marked_by.is_empty() && judged.scored_by.is_empty() {
            return None;
        }
        let mut tags: Vec<Tag> = Vec::new();
        let mut flags = Vec::new();
        for rule in &judged.marked_by {
            match &rule.then {
                Then::Tag(new) => {
                    for (key, value) in new {
                        if tags.iter().all(|(known, _)| known != key) {
                            tags.push((Arc::clone(key), Arc::clone(value)));
                        }
                    }
                }
                Then::Flag => flags.push(Arc::clone(&rule.name)),
                Then::Decline
                | Then::Challenge
                | Then::Cap(_)
                | Then::Allow
                | Then::Score(_)
                | Then::Block(_) => {}
            }
        }
        Some(Box::new(Self {
            marks: Arc::new(Marks { rule: decisive.map(|rule| Arc::clone(&rule.name)), tags, flags }),
            message: decisive.and_then(|rule| rule.message.clone()),
            conditions: decisive.map(|rule| trace(&rule.when, facts)).unwrap_or_default(),
            scores: judged.scored_by.iter().map(|rule| (Arc::clone(&rule.name), rule.score())).collect(),
            blocks_until: decisive.and_then(|rule| match rule.then {
                Then::Block(span) => Some(facts.at.plus(span)),
                Then::Decline
                | Then::Challenge
                | Then::Cap(_)
                | Then::Allow
                | Then::Tag(_)
                | Then::Flag
                | Then::Score(_) => None,
            }),
        }))
    }

    /// What is kept where a list declined: what it saw.
    pub(in crate::domain) fn of_list(rule: &Rule, facts: &Facts<'_>) -> Self {
        let seen = trace(&rule.when, facts);
        let mut values: Vec<&str> = seen.iter().map(|part| part.value.as_str()).collect();
        values.dedup();
        let listed =
            Traced { condition: rule.name.as_ref().to_owned(), value: values.join(", "), holds: true };
        Self { conditions: vec![listed], ..Self::default() }
    }

    /// What is kept of a request that comes while its card is blocked by `rule`.
    pub(in crate::domain) fn of_block(rule: &Rule, until: Timestamp) -> Self {
        let since = Traced {
            condition: "blocked".to_owned(),
            value: format!("all requests of the card are declined until {until}"),
            holds: true,
        };
        Self {
            marks: Arc::new(Marks { rule: Some(Arc::clone(&rule.name)), ..Marks::default() }),
            message: rule.message.clone(),
            conditions: vec![since],
            ..Self::default()
        }
    }
}
