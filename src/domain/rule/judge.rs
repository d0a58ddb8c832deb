//! The rules of a policy on one request: which of them decides, what it may get at most, and what else they say.

use std::sync::Arc;

use super::{condition::Condition, facts::Facts};
use crate::domain::policy::Window;

/// One rule of a policy.
#[derive(Clone, PartialEq, Debug)]
pub struct Rule {
    /// Its name, which decisions and replies carry.
    pub name: Arc<str>,
    /// When it matches.
    pub when: Condition,
    /// What follows.
    pub then: Then,
    /// A sentence for the cardholder.
    pub message: Option<Arc<str>>,
    /// The windows that its condition looks into: a card keeps a sum for each.
    windows: Box<[Arc<Window>]>,
}

impl Rule {
    /// A rule of this name.
    #[must_use]
    pub fn new(name: Arc<str>, when: Condition, then: Then, message: Option<Arc<str>>) -> Self {
        let mut windows = Vec::new();
        when.windows(&mut windows);
        let windows = windows.into_iter().map(Arc::clone).collect();
        Self { name, when, then, message, windows }
    }

    /// The windows that its condition looks into.
    pub fn windows(&self) -> impl Iterator<Item = &Arc<Window>> {
        self.windows.iter()
    }
}

/// What follows where a rule matches.
#[derive(Clone, PartialEq, Debug)]
pub enum Then {
    /// The request is declined.
    Decline,
    /// The request is declined and the cardholder asked by text message; the confirmed retry passes this rule.
    Challenge,
    /// The request gets so much at most, where the reply may approve a smaller amount; else it is declined if it asks
    /// for more.
    Cap(Cap),
    /// Later rules cannot decline, challenge or cap. Lists, limits and a paused card hold as ever.
    Allow,
    /// The reply carries these as metadata.
    Tag(Box<[Tag]>),
    /// Somebody should look at it. It never blocks.
    Flag,
}

/// How much a request may get.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cap {
    /// Minor units of the request's currency.
    Amount(i64),
    /// What the limits leave, also where the policy does not approve in part otherwise.
    Remaining,
}

/// A key and a value of the reply's metadata.
pub type Tag = (Arc<str>, Arc<str>);

/// What the rules say of one request.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Judged<'a> {
    /// The rule that declines it: `decline` or `challenge`.
    pub declined_by: Option<&'a Rule>,
    /// The most that it may get, and the rule that says so.
    pub cap: Option<(i64, &'a Rule)>,
    /// A cap was set: a part may be approved.
    pub may_be_partial: bool,
    /// The rules whose tags and flags apply.
    pub marked_by: Vec<&'a Rule>,
}

/// Looks at the rules in order. The first `decline`, `challenge` or `allow` that matches ends what others may decide;
/// of the caps before it the smallest holds; all tags and flags apply, wherever they are.
#[must_use]
pub fn judge<'a>(rules: &'a [Rule], facts: &Facts<'_>) -> Judged<'a> {
    let mut judged = Judged::default();
    let mut is_settled = false;
    for rule in rules {
        let is_mark = match &rule.then {
            Then::Tag(_) | Then::Flag => true,
            Then::Challenge if facts.request.verified_by_fraud_challenge => continue,
            Then::Decline | Then::Challenge | Then::Cap(_) | Then::Allow => false,
        };
        if (is_settled && !is_mark) || !rule.when.holds(facts) {
            continue;
        }
        match &rule.then {
            Then::Decline | Then::Challenge => {
                judged.declined_by = Some(rule);
                is_settled = true;
            }
            Then::Allow => is_settled = true,
            Then::Cap(cap) => {
                judged.may_be_partial = true;
                if let Cap::Amount(most) = *cap
                    && judged.cap.is_none_or(|(smallest, _)| most < smallest)
                {
                    judged.cap = Some((most, rule));
                }
            }
            Then::Tag(_) | Then::Flag => judged.marked_by.push(rule),
        }
    }
    judged
}
