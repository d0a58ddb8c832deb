//! What a replay found, as data: what is counted, and how. Its text and its page are elsewhere.

use std::collections::{BTreeMap, HashMap};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    compare::{Both, change},
    recent::Recent,
};
use crate::domain::{AuthorizationId, Decided, Decision, Outcome, Reason};

/// Changed requests that are shown with both explanations.
const EXAMPLES_MAX: usize = 20;
/// Of them, those with the same change and the same cause.
const ALIKE_MAX: usize = 4;
/// Cards, categories and countries that are listed, the most affected first.
const LISTED_MAX: usize = 10;
/// Differences that are listed; all are counted.
const DIFFERENCES_MAX: usize = 256;
/// As many of them are kept in what is to be added up.
const KEPT_MAX: usize = 1_000;
/// A decline that would have passed with at most this share less is a near miss, in hundredths of the amount.
const NEAR_PERCENT: i64 = 10;

/// How an answer would change.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum Change {
    /// Approved then, declined by the candidate.
    NewlyDeclined,
    /// Declined then, approved by the candidate.
    NewlyApproved,
    /// Another amount is approved.
    OtherAmount,
    /// The cardholder is asked by text message.
    NewlyChallenged,
}

impl Change {
    /// Every change.
    pub const ALL: [Self; 4] =
        [Self::NewlyDeclined, Self::NewlyApproved, Self::OtherAmount, Self::NewlyChallenged];

    /// The name in reports and in `--fail-if`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NewlyDeclined => "newly_declined",
            Self::NewlyApproved => "newly_approved",
            Self::OtherAmount => "other_amount",
            Self::NewlyChallenged => "newly_challenged",
        }
    }
}

/// What a comparison found.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Report {
    /// The candidate's version.
    pub candidate: String,
    /// Requests that were compared.
    pub requests: u64,
    /// On the history that there was.
    pub as_it_happened: World,
    /// On the history that the candidate would have made.
    pub as_it_would_have_gone: World,
    /// Requests that the two worlds decide differently.
    pub worlds_differ: u64,
    /// Increments that would not have come, since their authorization is declined in the second world.
    pub not_asked: u64,
    /// Requests that are decided differently, the first of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub differences: Vec<Difference>,
    /// Changed requests with both explanations, as it happened.
    pub examples: Vec<Changed>,
    /// Declines of the candidate that a little less would have avoided, as it happened.
    pub near_misses: Vec<Changed>,
    /// What became of purchases that the candidate declines, as it happened.
    pub became: BTreeMap<Fate, Money>,
    #[serde(skip)]
    cards: HashMap<String, u64>,
    #[serde(skip)]
    categories: HashMap<String, u64>,
    #[serde(skip)]
    countries: HashMap<String, u64>,
    /// The change and the cause of each example that an earlier part of this report has.
    #[serde(skip)]
    shown: Vec<(Change, String)>,
    #[serde(skip)]
    shown_near: Vec<(Change, String)>,
    /// Cards with the most declines that are new, as it happened.
    pub most_affected_cards: Vec<(String, u64)>,
    /// Categories with the most declines that are new.
    pub most_affected_categories: Vec<(String, u64)>,
    /// Countries with the most declines that are new.
    pub most_affected_countries: Vec<(String, u64)>,
}

/// A request that is decided differently.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Difference {
    /// The decision, as it was recorded.
    pub decision: String,
    /// The authorization.
    pub authorization: String,
    /// How, as it happened.
    pub as_it_happened: Option<Change>,
    /// How, as it would have gone.
    pub as_it_would_have_gone: Option<Change>,
}

/// The changes in one world.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct World {
    /// Answers that stay as they are.
    pub same: u64,
    /// By kind of change.
    pub changes: BTreeMap<Change, Money>,
    /// New declines by the candidate's reason; those by a rule, as `rule NAME`.
    pub newly_declined_by: BTreeMap<String, Money>,
}

/// How many requests, and how much was asked, by currency in minor units.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Money {
    /// Requests. In a part of a report it may be below zero: of purchases that have become something else since.
    pub count: i64,
    /// Minor units by currency.
    pub amount: BTreeMap<String, i64>,
}

impl Money {
    fn add(&mut self, amount: i64, currency: Option<&str>) {
        self.shift(1, amount, currency);
    }

    fn shift(&mut self, count: i64, amount: i64, currency: Option<&str>) {
        self.count = self.count.saturating_add(count);
        if let Some(currency) = currency {
            let sum = self.amount.entry(currency.to_owned()).or_default();
            *sum = sum.saturating_add(amount);
        }
    }

    fn merge(&mut self, other: &Self) {
        self.count = self.count.saturating_add(other.count);
        for (currency, amount) in &other.amount {
            let sum = self.amount.entry(currency.clone()).or_default();
            *sum = sum.saturating_add(*amount);
        }
    }

    fn is_nothing(&self) -> bool {
        self.count == 0 && self.amount.values().all(|amount| *amount == 0)
    }
}

/// One request whose answer would change.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Changed {
    /// How.
    pub change: Change,
    /// When it was decided.
    pub at: String,
    /// The authorization.
    pub authorization: String,
    /// The card.
    pub card: Option<String>,
    /// What was asked, in minor units.
    pub amount: i64,
    /// Of which currency.
    pub currency: Option<String>,
    /// Merchant category.
    pub category: String,
    /// Merchant country.
    pub country: Option<String>,
    /// The recorded answer's explanation.
    pub before: String,
    /// The candidate's explanation.
    pub after: String,
    /// The candidate's reason; with the rule, as `rule NAME`.
    pub cause: String,
    /// The largest amount that the candidate would have approved.
    pub would_have_passed_with: Option<i64>,
}

/// What became of a purchase.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum Fate {
    /// Nothing yet: the hold is open, or its events never came.
    Open,
    /// Captured.
    Captured,
    /// Captured and refunded, at least in part.
    Refunded,
    /// Reversed by the merchant.
    Reversed,
    /// Expired.
    Expired,
}

impl Fate {
    /// The name in reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Captured => "captured",
            Self::Refunded => "refunded",
            Self::Reversed => "reversed",
            Self::Expired => "expired",
        }
    }
}

/// What became of the authorizations that the candidate would have declined.
pub(super) struct Fates(Recent<AuthorizationId, Followed>);

/// One that is followed.
struct Followed {
    became: Fate,
    amount: i64,
    currency: Option<String>,
}

impl Fates {
    /// As many of the newest as `followed_max`.
    pub(super) fn new(followed_max: usize) -> Self {
        Self(Recent::new(followed_max))
    }

    /// One of them, if it is followed, has become something else.
    pub(super) fn became(&mut self, id: &AuthorizationId, fate: Fate, report: &mut Report) {
        let Some(followed) = self.0.get_mut(id).filter(|followed| followed.became != fate) else { return };
        let Followed { became, amount, currency } = followed;
        report.shift(*became, -1, amount.saturating_neg(), currency.as_deref());
        report.shift(fate, 1, *amount, currency.as_deref());
        *became = fate;
    }

    fn follow(&mut self, id: &AuthorizationId, changed: &Changed, report: &mut BTreeMap<Fate, Money>) {
        let (amount, currency) = (changed.amount, changed.currency.clone());
        if let Some(followed) = self.0.get_mut(id) {
            followed.amount = followed.amount.saturating_add(amount);
            report.entry(followed.became).or_default().shift(0, amount, currency.as_deref());
        } else {
            report.entry(Fate::Open).or_default().add(amount, currency.as_deref());
            self.0.insert(id.clone(), Followed { became: Fate::Open, amount, currency });
        }
    }
}

impl Report {
    pub(super) fn new(candidate: &str) -> Self {
        Self {
            candidate: candidate.to_owned(),
            requests: 0,
            as_it_happened: World::default(),
            as_it_would_have_gone: World::default(),
            worlds_differ: 0,
            not_asked: 0,
            differences: Vec::new(),
            examples: Vec::new(),
            near_misses: Vec::new(),
            became: BTreeMap::new(),
            shown: Vec::new(),
            shown_near: Vec::new(),
            cards: HashMap::new(),
            categories: HashMap::new(),
            countries: HashMap::new(),
            most_affected_cards: Vec::new(),
            most_affected_categories: Vec::new(),
            most_affected_countries: Vec::new(),
        }
    }

    /// Counts one request.
    pub(super) fn count(&mut self, decided: &Decided, both: Both, fates: &mut Fates) {
        self.requests = self.requests.saturating_add(1);
        let Both { happened, gone } = both;
        self.as_it_happened.count(decided, &happened);
        match &gone {
            Some(gone) => {
                self.as_it_would_have_gone.count(decided, gone);
                let is_other = gone.outcome != happened.outcome || gone.granted != happened.granted;
                self.worlds_differ = self.worlds_differ.saturating_add(u64::from(is_other));
            }
            None => self.not_asked = self.not_asked.saturating_add(1),
        }
        let as_it_would_have_gone = gone.as_ref().and_then(|gone| change(&decided.decision, gone));
        let change = change(&decided.decision, &happened);
        if change.or(as_it_would_have_gone).is_some() && self.differences.len() < DIFFERENCES_MAX {
            self.differences.push(Difference {
                decision: decided.decision.id.to_string(),
                authorization: decided.request.authorization.to_string(),
                as_it_happened: change,
                as_it_would_have_gone,
            });
        }
        let Some(change) = change else { return };
        let changed = Changed::of(decided, &happened, change);
        if change == Change::NewlyDeclined {
            let count = |counts: &mut HashMap<String, u64>, key: &str| {
                let count = counts.entry(key.to_owned()).or_default();
                *count = count.saturating_add(1);
            };
            count(&mut self.cards, changed.card.as_deref().unwrap_or_default());
            count(&mut self.categories, &changed.category);
            count(&mut self.countries, changed.country.as_deref().unwrap_or("unknown"));
            fates.follow(&decided.request.authorization, &changed, &mut self.became);
            let is_near = changed.would_have_passed_with.is_some_and(|most| {
                most.saturating_mul(100) >= changed.amount.saturating_mul(100 - NEAR_PERCENT)
            });
            if is_near {
                keep(&mut self.near_misses, &mut self.shown_near, &changed);
            }
        }
        keep(&mut self.examples, &mut self.shown, &changed);
    }

    fn shift(&mut self, fate: Fate, count: i64, amount: i64, currency: Option<&str>) {
        self.became.entry(fate).or_default().shift(count, amount, currency);
    }

    /// Ends the count.
    pub(super) fn settle(&mut self) {
        self.became.retain(|_, money| !money.is_nothing());
        self.list(LISTED_MAX);
    }

    fn list(&mut self, listed_max: usize) {
        self.most_affected_cards = most(&self.cards, listed_max);
        self.most_affected_categories = most(&self.categories, listed_max);
        self.most_affected_countries = most(&self.countries, listed_max);
    }

    /// Whether it says nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.requests == 0 && self.became.is_empty()
    }

    /// Begins the next part of a report, and returns this one.
    pub(super) fn next(&mut self) -> Self {
        let mut next = Self::new(&self.candidate);
        next.shown = std::mem::take(&mut self.shown);
        next.shown_near = std::mem::take(&mut self.shown_near);
        let mut part = std::mem::replace(self, next);
        part.list(KEPT_MAX);
        part
    }

    /// Adds a part of it.
    pub(super) fn add(&mut self, part: &Self) {
        self.requests = self.requests.saturating_add(part.requests);
        self.as_it_happened.add(&part.as_it_happened);
        self.as_it_would_have_gone.add(&part.as_it_would_have_gone);
        self.worlds_differ = self.worlds_differ.saturating_add(part.worlds_differ);
        self.not_asked = self.not_asked.saturating_add(part.not_asked);
        let room = DIFFERENCES_MAX.saturating_sub(self.differences.len());
        self.differences.extend(part.differences.iter().take(room).cloned());
        for changed in &part.examples {
            keep(&mut self.examples, &mut self.shown, changed);
        }
        for changed in &part.near_misses {
            keep(&mut self.near_misses, &mut self.shown_near, changed);
        }
        for (fate, money) in &part.became {
            self.became.entry(*fate).or_default().merge(money);
        }
        for (counts, listed) in [
            (&mut self.cards, &part.most_affected_cards),
            (&mut self.categories, &part.most_affected_categories),
            (&mut self.countries, &part.most_affected_countries),
        ] {
            for (key, count) in listed {
                let sum = counts.entry(key.clone()).or_default();
                *sum = sum.saturating_add(*count);
            }
        }
        self.list(KEPT_MAX);
    }

    /// A figure by its name in `--fail-if`: a change with `_count` or `_share` behind it, as it happened.
    #[must_use]
    pub fn figure(&self, name: &str) -> Option<f64> {
        let number = |count: u64| f64::from(u32::try_from(count).unwrap_or(u32::MAX));
        Change::ALL.into_iter().find_map(|change| {
            let count = self.as_it_happened.count_of(change);
            match name.strip_prefix(change.as_str())? {
                "_count" => Some(number(count)),
                "_share" if self.requests == 0 => Some(0.0),
                "_share" => Some(number(count) / number(self.requests)),
                _ => None,
            }
        })
    }
}

impl World {
    /// How many answers would change this way.
    #[must_use]
    pub fn count_of(&self, change: Change) -> u64 {
        self.changes.get(&change).map_or(0, |money| u64::try_from(money.count).unwrap_or(0))
    }

    fn add(&mut self, part: &Self) {
        self.same = self.same.saturating_add(part.same);
        for (change, money) in &part.changes {
            self.changes.entry(*change).or_default().merge(money);
        }
        for (cause, money) in &part.newly_declined_by {
            self.newly_declined_by.entry(cause.clone()).or_default().merge(money);
        }
    }

    fn count(&mut self, decided: &Decided, candidate: &Decision) {
        let asked = decided.request.asked.ok();
        let amount = asked.map_or(0, |asked| asked.amount);
        let currency = asked.as_ref().map(|asked| asked.currency.as_str());
        match change(&decided.decision, candidate) {
            None => self.same = self.same.saturating_add(1),
            Some(change) => {
                self.changes.entry(change).or_default().add(amount, currency);
                if candidate.outcome == Outcome::Declined && change != Change::NewlyApproved {
                    self.newly_declined_by.entry(cause(candidate)).or_default().add(amount, currency);
                }
            }
        }
    }
}

/// Adds an example, unless there are enough, or enough like it.
fn keep(examples: &mut Vec<Changed>, shown: &mut Vec<(Change, String)>, changed: &Changed) {
    let is_alike = |known: &&(Change, String)| known.0 == changed.change && known.1 == changed.cause;
    if shown.len() < EXAMPLES_MAX && shown.iter().filter(is_alike).count() < ALIKE_MAX {
        shown.push((changed.change, changed.cause.clone()));
        examples.push(changed.clone());
    }
}

/// The reason of a decision, with the rule that decided.
pub(super) fn cause(decision: &Decision) -> String {
    let rule = decision.ruled.as_ref().and_then(|ruled| ruled.marks.rule.as_deref());
    match rule {
        Some(rule) if decision.reason == Reason::Rule => format!("rule {rule}"),
        Some(_) | None => decision.reason.as_str().to_owned(),
    }
}

/// The keys with the highest counts, highest first.
fn most(counts: &HashMap<String, u64>, listed_max: usize) -> Vec<(String, u64)> {
    let mut sorted: Vec<(String, u64)> = counts.iter().map(|(key, count)| (key.clone(), *count)).collect();
    sorted.sort_by(|(one, ones), (other, others)| others.cmp(ones).then_with(|| one.cmp(other)));
    sorted.truncate(listed_max);
    sorted
}
