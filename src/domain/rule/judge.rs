//! The rules of a policy on one request: which of them decides, what it may get at most, and what else they say.

use std::{sync::Arc, time::Duration};

use super::{
    condition::{Condition, Needs},
    facts::Facts,
    input::{Input, MetadataKey, Presence, Reads},
};
use crate::domain::{decision::Reason, policy::Window};

/// One rule of a policy.
#[derive(Clone, PartialEq, Debug)]
pub struct Rule {
    /// Its name, which decisions and replies carry.
    pub name: Arc<str>,
    /// When it matches.
    pub when: Condition,
    /// What follows.
    pub then: Then,
    /// The reason of a request that it declines.
    pub reason: Reason,
    /// A sentence for the cardholder.
    pub message: Option<Arc<str>>,
    /// What it says where it cannot be evaluated: without the ledger, or without an input.
    pub on_stand_in: Option<OnStandIn>,
    /// Whether it looks at what only the ledger knows.
    needs_ledger: bool,
    /// The inputs that may be missing.
    optional: Box<[Reads]>,
    /// The windows that its condition looks into: a card keeps a sum for each.
    windows: Box<[Arc<Window>]>,
    /// The entries of metadata that it looks at.
    metadata: Box<[MetadataKey]>,
}

impl Rule {
    /// A rule of this name.
    #[must_use]
    pub fn new(name: Arc<str>, when: Condition, then: Then, message: Option<Arc<str>>) -> Self {
        let mut needs = Needs::default();
        when.needs(&mut needs);
        let windows = needs.windows.into_iter().map(Arc::clone).collect();
        let metadata = needs.metadata.into_iter().cloned().collect();
        let may_be_missing =
            |reads: &Reads| Input::of(*reads).is_some_and(|input| input.presence != Presence::Always);
        let optional = needs.inputs.iter().copied().filter(may_be_missing).collect();
        let needs_ledger = needs.ledger;
        let reason = Reason::Rule;
        Self {
            name,
            when,
            then,
            reason,
            message,
            on_stand_in: None,
            needs_ledger,
            optional,
            windows,
            metadata,
        }
    }

    /// The same rule, with another reason of a decline.
    #[must_use]
    pub(super) fn with_reason(self, reason: Reason) -> Self {
        Self { reason, ..self }
    }

    /// The same rule, with what it says where it cannot be evaluated.
    #[must_use]
    pub fn with_stand_in(self, on_stand_in: Option<OnStandIn>) -> Self {
        Self { on_stand_in, ..self }
    }

    /// The entries of metadata that its condition looks at.
    pub fn metadata(&self) -> impl Iterator<Item = &MetadataKey> {
        self.metadata.iter()
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
    /// Adds to the request's score. Above the policy's limit the request is declined.
    Score(i64),
    /// The request is declined, and all others of the card for so long.
    Block(Duration),
}

/// What a rule says of a request in a stand-in decision, if it cannot be evaluated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OnStandIn {
    /// The request is declined.
    Decline,
    /// The request is declined if it asks for more, in minor units.
    ApproveTo(i64),
    /// Nothing.
    Skip,
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
    /// The rules that add to the score.
    pub scored_by: Vec<&'a Rule>,
}

impl Judged<'_> {
    /// The request's score.
    #[must_use]
    pub fn score(&self) -> i64 {
        self.scored_by.iter().fold(0, |sum: i64, rule| sum.saturating_add(rule.score()))
    }
}

impl Rule {
    /// What it adds to a request's score.
    #[must_use]
    pub const fn score(&self) -> i64 {
        match self.then {
            Then::Score(score) => score,
            Then::Decline
            | Then::Challenge
            | Then::Cap(_)
            | Then::Allow
            | Then::Tag(_)
            | Then::Flag
            | Then::Block(_) => 0,
        }
    }

    /// What it says instead of being evaluated.
    fn in_place(&self, facts: &Facts<'_>) -> Option<OnStandIn> {
        let is_missing = || self.optional.iter().any(|input| !facts.has(*input));
        self.on_stand_in.filter(|_| !facts.has_ledger && (self.needs_ledger || is_missing()))
    }
}

/// Looks at the rules in order, but for the one of the name `without`. The first `decline`, `challenge`, `block` or `allow`
/// that matches ends what others may decide; of the caps before it the smallest holds; scores before it add up, and above
/// `score_limit` the rule that takes them there declines; all tags and flags apply, wherever they are.
#[must_use]
pub fn judge<'a>(
    rules: &'a [Rule],
    score_limit: i64,
    facts: &Facts<'_>,
    without: Option<&str>,
) -> Judged<'a> {
    let mut judged = Judged::default();
    let mut is_settled = false;
    for rule in rules {
        let is_mark = match &rule.then {
            Then::Tag(_) | Then::Flag => true,
            Then::Challenge if facts.request.verified_by_fraud_challenge => continue,
            Then::Decline
            | Then::Challenge
            | Then::Cap(_)
            | Then::Allow
            | Then::Score(_)
            | Then::Block(_) => false,
        };
        if (is_settled && !is_mark) || without.is_some_and(|without| *rule.name == *without) {
            continue;
        }
        if let Some(on_stand_in) = rule.in_place(facts) {
            match on_stand_in {
                OnStandIn::Skip => {}
                OnStandIn::Decline => {
                    judged.declined_by = Some(rule);
                    is_settled = true;
                }
                OnStandIn::ApproveTo(most) => judged.cap_at(most, rule),
            }
            continue;
        }
        if !rule.when.holds(facts) {
            continue;
        }
        match &rule.then {
            Then::Decline | Then::Challenge | Then::Block(_) => {
                judged.declined_by = Some(rule);
                is_settled = true;
            }
            Then::Allow => is_settled = true,
            Then::Cap(cap) => {
                judged.may_be_partial = true;
                if let Cap::Amount(most) = *cap {
                    judged.cap_at(most, rule);
                }
            }
            Then::Score(_) => {
                judged.scored_by.push(rule);
                if judged.score() > score_limit {
                    judged.declined_by = Some(rule);
                    is_settled = true;
                }
            }
            Then::Tag(_) | Then::Flag => judged.marked_by.push(rule),
        }
    }
    judged
}

impl<'a> Judged<'a> {
    fn cap_at(&mut self, most: i64, rule: &'a Rule) {
        if self.cap.is_none_or(|(smallest, _)| most < smallest) {
            self.cap = Some((most, rule));
        }
    }
}
