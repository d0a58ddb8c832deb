//! What a replay found, as data: what is counted, and how. Its text and its page are elsewhere.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;

use super::compare::{Both, change};
use crate::domain::{AuthorizationId, Decided, Decision, Outcome, Reason};

/// Changed requests that are shown with both explanations.
const EXAMPLES_MAX: usize = 20;
/// Of them, those with the same change and the same cause.
const ALIKE_MAX: usize = 4;
/// Cards, categories and countries that are listed, the most affected first.
const LISTED_MAX: usize = 10;
/// A decline that would have passed with at most this share less is a near miss, in hundredths of the amount.
const NEAR_PERCENT: i64 = 10;

/// How an answer would change.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
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
#[derive(Clone, Debug, Serialize)]
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
    /// Cards with the most declines that are new, as it happened.
    pub most_affected_cards: Vec<(String, u64)>,
    /// Categories with the most declines that are new.
    pub most_affected_categories: Vec<(String, u64)>,
    /// Countries with the most declines that are new.
    pub most_affected_countries: Vec<(String, u64)>,
}

/// The changes in one world.
#[derive(Clone, Debug, Default, Serialize)]
pub struct World {
    /// Answers that stay as they are.
    pub same: u64,
    /// By kind of change.
    pub changes: BTreeMap<Change, Money>,
    /// New declines by the candidate's reason; those by a rule, as `rule NAME`.
    pub newly_declined_by: BTreeMap<String, Money>,
}

/// How many requests, and how much was asked, by currency in minor units.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Money {
    /// Requests.
    pub count: u64,
    /// Minor units by currency.
    pub amount: BTreeMap<String, i64>,
}

impl Money {
    fn add(&mut self, amount: i64, currency: Option<&str>) {
        self.count = self.count.saturating_add(1);
        if let Some(currency) = currency {
            let sum = self.amount.entry(currency.to_owned()).or_default();
            *sum = sum.saturating_add(amount);
        }
    }
}

/// One request whose answer would change.
#[derive(Clone, Debug, Serialize)]
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
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
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
#[derive(Default)]
pub(super) struct Fates(HashMap<AuthorizationId, Followed>);

/// One that is followed.
pub(super) struct Followed {
    pub(super) became: Fate,
    amount: i64,
    currency: Option<String>,
}

impl Fates {
    pub(super) fn of(&mut self, id: &AuthorizationId) -> Option<&mut Followed> {
        self.0.get_mut(id)
    }

    fn follow(&mut self, id: &AuthorizationId, amount: i64, currency: Option<String>) {
        let followed = self.0.entry(id.clone());
        let followed = followed.or_insert(Followed { became: Fate::Open, amount: 0, currency });
        followed.amount = followed.amount.saturating_add(amount);
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
            examples: Vec::new(),
            near_misses: Vec::new(),
            became: BTreeMap::new(),
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
        let Some(change) = change(&decided.decision, &happened) else { return };
        let changed = Changed::of(decided, &happened, change);
        if change == Change::NewlyDeclined {
            let count = |counts: &mut HashMap<String, u64>, key: &str| {
                let count = counts.entry(key.to_owned()).or_default();
                *count = count.saturating_add(1);
            };
            count(&mut self.cards, changed.card.as_deref().unwrap_or_default());
            count(&mut self.categories, &changed.category);
            count(&mut self.countries, changed.country.as_deref().unwrap_or("unknown"));
            fates.follow(&decided.request.authorization, changed.amount, changed.currency.clone());
            let is_near = changed.would_have_passed_with.is_some_and(|most| {
                most.saturating_mul(100) >= changed.amount.saturating_mul(100 - NEAR_PERCENT)
            });
            if is_near {
                keep(&mut self.near_misses, &changed);
            }
        }
        keep(&mut self.examples, &changed);
    }

    /// Ends the count.
    pub(super) fn settle(&mut self, fates: &Fates) {
        for followed in fates.0.values() {
            self.became
                .entry(followed.became)
                .or_default()
                .add(followed.amount, followed.currency.as_deref());
        }
        self.most_affected_cards = most(&self.cards);
        self.most_affected_categories = most(&self.categories);
        self.most_affected_countries = most(&self.countries);
    }

    /// A figure by its name in `--fail-if`: a change with `_count` or `_share` behind it, as it happened.
    #[must_use]
    pub fn figure(&self, name: &str) -> Option<f64> {
        let number = |count: u64| f64::from(u32::try_from(count).unwrap_or(u32::MAX));
        Change::ALL.into_iter().find_map(|change| {
            let count = self.as_it_happened.changes.get(&change).map_or(0, |money| money.count);
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
fn keep(examples: &mut Vec<Changed>, changed: &Changed) {
    let is_alike = |known: &&Changed| known.change == changed.change && known.cause == changed.cause;
    if examples.len() < EXAMPLES_MAX && examples.iter().filter(is_alike).count() < ALIKE_MAX {
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
fn most(counts: &HashMap<String, u64>) -> Vec<(String, u64)> {
    let mut sorted: Vec<(String, u64)> = counts.iter().map(|(key, count)| (key.clone(), *count)).collect();
    sorted.sort_by(|(one, ones), (other, others)| others.cmp(ones).then_with(|| one.cmp(other)));
    sorted.truncate(LISTED_MAX);
    sorted
}
