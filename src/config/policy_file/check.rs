//! From the shape of a policy file to a policy: values are held against each other, layer by layer.

use std::{collections::BTreeSet, sync::Arc};

use super::{
    budgets,
    conflicts::{self, Effective},
    lists::ListsInUse,
    mistake::{Findings, Located, Place, Severity},
    rules,
    scalars::{self, OtherCurrencies},
    shape::{Layer, List, PolicyFile, SpendingLimit},
};
use crate::domain::{
    BudgetPolicy, Category, Currency, Interval, Layers, Limit, Measure, NetworkId, Occurrence, Overrides,
    Policy, PolicyVersion, Reason, UnknownGroup, Window, Zone,
};

/// A limit, and where it stands.
pub(super) type LocatedLimit = Located<Limit>;

/// Makes a policy of `file`. What is wrong is noted; the policy is whole only where no error was noted.
pub(super) fn policy(file: PolicyFile, version: PolicyVersion, findings: &mut Findings) -> Policy {
    if file.version.is_none() {
        let advice = "add `version: 1`";
        findings.note(
            Severity::Error,
            Place::START,
            "version",
            "the version of the format is missing",
            advice,
        );
    }
    let mut base = Base {
        lists: ListsInUse::new(file.lists),
        currency: file.currency.map(|currency| currency.value),
        time_zone: file.time_zone.map_or(Zone::UTC, |zone| zone.value),
        has_home: file.home_country.is_some(),
        budgets: Vec::new(),
    };
    base.budgets = budgets::compiled(file.budgets, &base, findings);
    let default = file.default.map(|layer| base.overrides(layer, &Overrides::default(), findings));
    let default = default.unwrap_or_default();
    let mut layers = Layers { default, ..Layers::default() };
    for (id, layer) in file.accounts {
        layers.accounts.insert(id.value, base.overrides(layer, &layers.default, findings));
    }
    for (name, layer) in file.groups {
        layers.groups.insert(Arc::from(name.value), base.overrides(layer, &layers.default, findings));
    }
    for (id, layer) in file.cards {
        layers.cards.insert(id.value, base.overrides(layer, &layers.default, findings));
    }
    std::mem::take(&mut base.lists).check(findings);
    if findings.is_empty() && layers == Layers::default() {
        warn_of_no_limits(findings);
    }
    let unknown_group = match file.unknown_group {
        Some(scalars::UnknownGroup::Decline) => UnknownGroup::Decline,
        Some(scalars::UnknownGroup::Default) | None => UnknownGroup::Default,
    };
    let home = file.home_country.map(|country| country.value);
    Policy::with_budgets(version, base.budgets, layers)
        .with_unknown_group(unknown_group)
        .with_home_country(home)
}

/// A policy in which nothing could ever be declined is most likely an empty or half-written file.
fn warn_of_no_limits(findings: &mut Findings) {
    let advice = "add `spending_limits` under `default`";
    findings.note(Severity::Warning, Place::START, "", "nothing is limited and nothing is blocked", advice);
}

/// What holds for limits that do not say it themselves.
pub(super) struct Base {
    lists: ListsInUse,
    pub(super) currency: Option<Currency>,
    time_zone: Zone,
    has_home: bool,
    budgets: Vec<BudgetPolicy>,
}

impl Base {
    fn overrides(&mut self, layer: Located<Layer>, below: &Overrides, findings: &mut Findings) -> Overrides {
        let layer = layer.value;
        refuse_both(&layer, findings);
        warn_of_challenges(layer.challenge_on.as_ref(), findings);
        let limits: Option<Vec<LocatedLimit>> = layer
            .spending_limits
            .map(|limits| limits.into_iter().filter_map(|limit| self.limit(limit, findings)).collect());
        let mut overrides = Overrides {
            spending_limits: None,
            allowed_categories: set(layer.allowed_categories, Meaning::Allowed, findings),
            blocked_categories: set(layer.blocked_categories, Meaning::Other, findings),
            allowed_merchant_countries: set(layer.allowed_merchant_countries, Meaning::Allowed, findings),
            blocked_merchant_countries: set(layer.blocked_merchant_countries, Meaning::Other, findings),
            allowed_card_presences: set(layer.allowed_card_presences, Meaning::Allowed, findings),
            blocked_card_presences: set(layer.blocked_card_presences, Meaning::Other, findings),
            allowed_merchants: set(layer.allowed_merchants, Meaning::Allowed, findings),
            blocked_merchants: set(layer.blocked_merchants, Meaning::Other, findings),
            challenge_on: set(layer.challenge_on, Meaning::Other, findings),
            partial_approvals: layer.partial_approvals,
            refunds_restore: layer.refunds_restore,
            paused: layer.paused,
            other_currencies_allowed: layer.other_currencies.map(|choice| match choice {
                OtherCurrencies::Allow => true,
                OtherCurrencies::Decline => false,
            }),
            mirror_stripe_controls: layer.mirror_stripe_controls,
            score_limit: layer.score_limit,
            budgets: layer.budgets.map(|named| budgets::layer_names(named, &self.budgets, findings)),
            rules: layer.rules.map(|rules| {
                let budgets: Vec<_> = self.budgets.iter().map(|budget| Arc::clone(&budget.name)).collect();
                let (time_zone, has_home) = (&self.time_zone, self.has_home);
                let around = rules::Around { time_zone, has_home, budgets: &budgets };
                rules::compiled(rules, around, &mut self.lists, findings)
            }),
        };
        if let Some(limits) = limits {
            conflicts::note_idle_limits(&limits, &Effective::of(&overrides, below), findings);
            overrides.spending_limits = Some(limits.into_iter().map(|limit| limit.value).collect());
        }
        overrides
    }

    /// The limit; none where a mistake left a hole.
    pub(super) fn limit(
        &self,
        entry: Located<SpendingLimit>,
        findings: &mut Findings,
    ) -> Option<LocatedLimit> {
        let limit = &entry.value;
        if let (Some(_), Some(count)) = (&limit.amount, &limit.count) {
            let advice = "keep one, or write two limits";
            findings.at(Severity::Error, count, "a limit has either `amount` or `count`", advice);
        }
        if let (Some(_), Some(currency)) = (&limit.count, &limit.currency) {
            findings.at(Severity::Error, currency, "a `count` has no currency", "remove `currency`");
        }
        let interval = limit.interval.as_ref().map(|interval| interval.value)?;
        if let Some(zone) = limit.time_zone.as_ref().filter(|_| !is_calendar(interval)) {
            let found = format!("a time zone does nothing for `{interval}`");
            findings.at(Severity::Warning, zone, found, "remove `time_zone`");
        }
        let (max, measure) = match (&limit.amount, &limit.count) {
            (Some(amount), _) => {
                let currency = limit.currency.as_ref().map(|currency| currency.value);
                (amount.value.0, Measure::Amount(currency.or(self.currency)))
            }
            (None, Some(count)) => (count.value.0, Measure::Count),
            (None, None) => return None,
        };
        let zone = limit.time_zone.as_ref().map_or(&self.time_zone, |zone| &zone.value);
        let time_zone = if is_calendar(interval) { zone.clone() } else { Zone::UTC };
        Some(entry.map(|limit| {
            let categories: Option<BTreeSet<Category>> = set(limit.categories, Meaning::Filter, findings);
            let merchants: Option<BTreeSet<NetworkId>> = set(limit.merchants, Meaning::Filter, findings);
            Limit {
                max,
                window: Arc::new(Window {
                    measure,
                    interval,
                    time_zone,
                    categories,
                    merchants,
                    occurrence: Occurrence::Approval,
                }),
            }
        }))
    }
}

/// Whether a window begins at a midnight.
const fn is_calendar(interval: Interval) -> bool {
    match interval {
        Interval::Daily | Interval::Weekly | Interval::Monthly | Interval::Yearly => true,
        Interval::PerAuthorization | Interval::AllTime | Interval::Rolling(_) => false,
    }
}

/// What an empty list would mean.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Meaning {
    /// Nothing passes: nobody means that.
    Allowed,
    /// The limit counts nothing: nobody means that either.
    Filter,
    /// The list of the layer below is taken back.
    Other,
}

fn set<T: Ord + std::fmt::Debug>(
    list: Option<List<T>>,
    meaning: Meaning,
    findings: &mut Findings,
) -> Option<BTreeSet<T>> {
    let list = list?;
    if list.value.is_empty() {
        match meaning {
            Meaning::Allowed => {
                findings.at(
                    Severity::Error,
                    &list,
                    "an empty list would allow nothing",
                    "use `paused: true`",
                );
            }
            Meaning::Filter => {
                findings.at(
                    Severity::Error,
                    &list,
                    "an empty list would count nothing",
                    "remove it to count all",
                );
            }
            Meaning::Other => {}
        }
    }
    let mut set = BTreeSet::new();
    for item in list.value {
        if set.contains(&item.value) {
            let found = format!("`{:?}` stands in the list twice", item.value);
            findings.at(Severity::Warning, &item, found, "remove it");
        }
        set.insert(item.value);
    }
    Some(set)
}

fn refuse_both(layer: &Layer, findings: &mut Findings) {
    fn both<A, B>(allowed: Option<&List<A>>, blocked: Option<&List<B>>, what: &str, findings: &mut Findings) {
        if let (Some(allowed), Some(blocked)) = (allowed, blocked) {
            let found = format!("`allowed_{what}` and `blocked_{what}` stand in one layer");
            let advice = format!(
                "keep one: with the allowed ones of line {} all others are blocked already",
                allowed.place.line
            );
            findings.at(Severity::Error, blocked, found, advice);
        }
    }
    let Layer {
        allowed_categories,
        blocked_categories,
        allowed_merchant_countries,
        blocked_merchant_countries,
        allowed_card_presences,
        blocked_card_presences,
        allowed_merchants,
        blocked_merchants,
        ..
    } = layer;
    both(allowed_categories.as_ref(), blocked_categories.as_ref(), "categories", findings);
    both(
        allowed_merchant_countries.as_ref(),
        blocked_merchant_countries.as_ref(),
        "merchant_countries",
        findings,
    );
    both(allowed_card_presences.as_ref(), blocked_card_presences.as_ref(), "card_presences", findings);
    both(allowed_merchants.as_ref(), blocked_merchants.as_ref(), "merchants", findings);
}

fn warn_of_challenges(reasons: Option<&List<Reason>>, findings: &mut Findings) {
    let all = reasons.into_iter().flat_map(|reasons| &reasons.value);
    for reason in all.filter(|reason| !reason.value.can_be_lifted_by_challenge()) {
        let found = format!("a text message cannot lift `{}`", reason.value);
        let advice = "no challenge would ever be sent: remove it";
        findings.at(Severity::Warning, reason, found, advice);
    }
}
