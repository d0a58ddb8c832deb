//! Budgets of a policy file: read, and held against each other.

use std::{collections::BTreeMap, sync::Arc};

use schemars::JsonSchema;

use super::{
    check::{Base, LocatedLimit},
    fields::{At, Fields, items},
    mistake::{Findings, Located, Severity},
    node::Value,
    outline::limit_text,
    scalars::{self, OtherCurrencies},
    shape::{List, SpendingLimit, spending_limits},
};
use crate::{
    domain::{BudgetPolicy, Interval, Limit, Measure, Per},
    policy::nearest::nearest,
};

/// More budgets above one another than this would make each decision slow.
pub(super) const DEPTH_MAX: usize = 8;
/// More budgets than this in one layer, likewise.
const NAMED_MAX: usize = 8;
const NAME_CHARACTERS_MAX: usize = 64;

/// Money that many cards share: all of their purchases count against its limits, beside those of each card.
#[derive(Debug, Default, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct Budget {
    /// All of them must hold, over all cards that charge the budget. Amounts need a currency: here, or `currency` beside
    /// `version`.
    pub(super) spending_limits: Option<Vec<Located<SpendingLimit>>>,
    /// The budget above this one: what is charged here is charged there as well.
    pub(super) parent: Option<Located<String>>,
    /// What there is one account each for: `cardholder`, `account` (the connected account), `card.metadata.KEY` or
    /// `cardholder.metadata.KEY`. Without it all cards that name the budget share one.
    #[schemars(with = "Option<String>")]
    pub(super) per: Option<Located<Per>>,
    /// Whether it has a balance: purchases take from what was credited by the admin API, and refunds give back. Needs
    /// `currency` beside `version`. False by default.
    pub(super) prepaid: Option<Located<bool>>,
    /// Who can raise it; a decline names them.
    pub(super) owners: Option<List<String>>,
    /// Shares of its limits in percent: crossing one is logged and counted. An approval crosses it, or what a network forces.
    pub(super) warn_at: Option<List<i64>>,
    /// Whether a refund gives its amount back to the limits. False by default; a balance gets it back in any case.
    pub(super) refunds_restore: Option<bool>,
    /// What happens in a currency that no amount of it names. Declined by default.
    pub(super) other_currencies: Option<OtherCurrencies>,
    /// Whether everything is declined that charges it. False by default.
    pub(super) paused: Option<bool>,
}

/// A budget with its name.
pub(super) type NamedBudget = (Located<String>, Located<Budget>);

pub(super) fn budgets(at: At<'_>, findings: &mut Findings) -> Option<Vec<NamedBudget>> {
    let entries = Fields::open(at, findings)?.each();
    let budgets = entries.filter_map(|(key, path, node)| {
        let name = Located { value: key.name.clone(), place: key.place, path: path.clone() };
        if !is_name(&name.value) {
            let advice = format!(
                "use lower-case letters, digits, `-` and `_`, {NAME_CHARACTERS_MAX} at most; a title for people goes into a comment"
            );
            findings.at(Severity::Error, &name, "a budget with an unusable name", advice);
        }
        budget(At { node, path: &path }, findings).map(|budget| (name, budget))
    });
    Some(budgets.collect())
}

fn budget(at: At<'_>, findings: &mut Findings) -> Option<Located<Budget>> {
    let mut fields = Fields::open(at, findings)?;
    let budget = Budget {
        spending_limits: fields.read("spending_limits", findings, spending_limits),
        parent: fields.read("parent", findings, name),
        per: fields.read("per", findings, per),
        prepaid: fields.read("prepaid", findings, |at, findings| {
            scalars::switch(at, findings).map(|value| at.located(value))
        }),
        owners: fields.read("owners", findings, |at, findings| names_of(at, findings, word)),
        warn_at: fields.read("warn_at", findings, |at, findings| names_of(at, findings, percent)),
        refunds_restore: fields.read("refunds_restore", findings, scalars::switch),
        other_currencies: fields.read("other_currencies", findings, scalars::other_currencies),
        paused: fields.read("paused", findings, scalars::switch),
    };
    fields.finish(findings);
    Some(at.located(budget))
}

/// The names of budgets in a layer.
pub(super) fn named(at: At<'_>, findings: &mut Findings) -> Option<List<String>> {
    let named = names_of(at, findings, word)?;
    if named.value.len() > NAMED_MAX {
        at.refuse(
            findings,
            format!("{} budgets", named.value.len()),
            format!("{NAMED_MAX} are the most in one layer"),
        );
    }
    Some(named)
}

fn names_of<T>(at: At<'_>, findings: &mut Findings, item: super::fields::Read<T>) -> Option<List<T>> {
    let items = items(at, findings, item)?;
    items.into_iter().collect::<Option<Vec<_>>>().map(|items| at.located(items))
}

fn name(at: At<'_>, findings: &mut Findings) -> Option<Located<String>> {
    word(at, findings).map(|name| at.located(name))
}

fn word(at: At<'_>, findings: &mut Findings) -> Option<String> {
    if let Value::Text(text) = &at.node.value
        && !text.trim().is_empty()
    {
        return Some(text.clone());
    }
    at.refuse(findings, format!("expected a name, found {}", at.node.found()), "write it as text");
    None
}

fn percent(at: At<'_>, findings: &mut Findings) -> Option<i64> {
    if let Value::Number(number) = at.node.value
        && (1..=100).contains(&number)
    {
        return Some(number);
    }
    at.refuse(
        findings,
        format!("expected a share in percent, found {}", at.node.found()),
        "write 1 to 100, such as 80",
    );
    None
}

fn per(at: At<'_>, findings: &mut Findings) -> Option<Located<Per>> {
    let text = word(at, findings)?;
    let per = Per::new(&text);
    if per.is_none() {
        let advice = "write `cardholder`, `account`, `card.metadata.KEY` or `cardholder.metadata.KEY`";
        at.refuse(findings, format!("one account per `{text}` is not possible"), advice);
    }
    per.map(|per| at.located(per))
}

fn is_name(text: &str) -> bool {
    let is_usable = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_');
    !text.is_empty() && text.len() <= NAME_CHARACTERS_MAX && text.bytes().all(is_usable)
}

/// Makes budgets of what was read. What is wrong is noted.
pub(super) fn compiled(written: Vec<NamedBudget>, base: &Base, findings: &mut Findings) -> Vec<BudgetPolicy> {
    let parents: BTreeMap<String, Option<Located<String>>> =
        written.iter().map(|(name, budget)| (name.value.clone(), budget.value.parent.clone())).collect();
    for (name, budget) in &written {
        check_parents(name, budget.value.parent.as_ref(), &parents, findings);
    }
    let policies: Vec<(Located<String>, BudgetPolicy)> =
        written.into_iter().map(|(name, budget)| compile(name, budget, base, findings)).collect();
    for (name, child) in &policies {
        let parent = child
            .parent
            .as_ref()
            .and_then(|parent| policies.iter().find(|(name, _)| *name.value == **parent));
        if let Some((_, parent)) = parent {
            compare(name, child, parent, findings);
        }
    }
    policies.into_iter().map(|(_, policy)| policy).collect()
}

fn compile(
    name: Located<String>,
    budget: Located<Budget>,
    base: &Base,
    findings: &mut Findings,
) -> (Located<String>, BudgetPolicy) {
    let Budget {
        spending_limits,
        parent,
        per,
        prepaid,
        owners,
        warn_at,
        refunds_restore,
        other_currencies,
        paused,
    } = budget.value;
    let limits: Vec<LocatedLimit> =
        spending_limits.into_iter().flatten().filter_map(|limit| base.limit(limit, findings)).collect();
    for limit in &limits {
        if limit.value.window.measure == Measure::Amount(None) {
            let advice =
                "add `currency` here or beside `version`: cards of several currencies may charge a budget";
            findings.at(Severity::Error, limit, "an amount without a currency", advice);
        }
        if limit.value.window.interval == Interval::PerAuthorization
            && limit.value.window.measure == Measure::Count
        {
            let advice = "count in a window of time, or limit the amount of each authorization";
            findings.at(Severity::Error, limit, "a count of each authorization", advice);
        }
    }
    let prepaid = prepaid.filter(|prepaid| prepaid.value).and_then(|prepaid| {
        if base.currency.is_none() {
            let advice = "add `currency` beside `version`";
            findings.at(Severity::Error, &prepaid, "a balance without a currency", advice);
        }
        base.currency
    });
    if limits.is_empty() && prepaid.is_none() && paused != Some(true) {
        let advice = "add `spending_limits`, or `prepaid: true`; it counts what is spent, and limits nothing";
        findings.at(Severity::Warning, &name, "a budget without a limit", advice);
    }
    let policy = BudgetPolicy {
        name: Arc::from(name.value.as_str()),
        parent: parent.map(|parent| Arc::from(parent.value)),
        per: per.map(|per| per.value),
        limits: limits.into_iter().map(|limit| limit.value).collect(),
        prepaid,
        owners: owners
            .into_iter()
            .flat_map(|owners| owners.value)
            .map(|owner| Arc::from(owner.value))
            .collect(),
        warn_at: warn_at
            .into_iter()
            .flat_map(|shares| shares.value)
            .filter_map(|share| u8::try_from(share.value).ok())
            .collect(),
        refunds_restore: refunds_restore.unwrap_or(false),
        other_currencies_allowed: matches!(other_currencies, Some(OtherCurrencies::Allow)),
        paused: paused.unwrap_or(false),
    };
    (name, policy)
}

fn check_parents(
    name: &Located<String>,
    parent: Option<&Located<String>>,
    parents: &BTreeMap<String, Option<Located<String>>>,
    findings: &mut Findings,
) {
    let Some(first) = parent else { return };
    if !parents.contains_key(&first.value) {
        let advice = match nearest(&first.value, parents.keys().map(String::as_str)) {
            Some(known) => format!("did you mean `{known}`?"),
            None => "declare it under `budgets`".to_owned(),
        };
        return findings.at(Severity::Error, first, format!("there is no budget `{}`", first.value), advice);
    }
    let mut chain = vec![name.value.as_str()];
    let mut next = Some(first);
    while let Some(above) = next {
        if chain.contains(&above.value.as_str()) {
            if above.value == name.value {
                chain.push(&above.value);
                let found = format!("a circle of budgets: {}", chain.join(" → "));
                findings.at(Severity::Error, first, found, "remove one `parent`");
            }
            return;
        }
        chain.push(&above.value);
        next = parents.get(&above.value).and_then(Option::as_ref);
    }
    if chain.len() > DEPTH_MAX {
        let found = format!("{} budgets above one another", chain.len());
        findings.at(Severity::Error, first, found, format!("{DEPTH_MAX} are the most"));
    }
}

/// What is odd about a budget and the one above it.
fn compare(name: &Located<String>, child: &BudgetPolicy, parent: &BudgetPolicy, findings: &mut Findings) {
    if parent.per.is_some() && parent.per != child.per {
        let found = format!(
            "`{}` is one account, and `{}` above it is one for each {}",
            child.name,
            parent.name,
            per_text(parent)
        );
        let advice = "cards with different keys then share this budget and not the one above it; is it the other way round?";
        findings.at(Severity::Warning, name, found, advice);
    }
    for limit in &child.limits {
        let same = |above: &&Limit| above.window == limit.window;
        if let Some(above) = parent.limits.iter().find(same)
            && child.per == parent.per
            && limit.max > above.max
        {
            let found =
                format!("{}, more than `{}` above it: {}", limit_text(limit), parent.name, limit_text(above));
            findings.at(Severity::Warning, name, found, "the one above always holds; this limit never does");
        }
    }
}

fn per_text(budget: &BudgetPolicy) -> String {
    budget.per.as_ref().map_or_else(|| "all cards".to_owned(), ToString::to_string)
}

/// The names of a layer, held against the budgets that there are.
pub(super) fn layer_names(
    named: List<String>,
    budgets: &[BudgetPolicy],
    findings: &mut Findings,
) -> Arc<[Arc<str>]> {
    let mut kept: Vec<Arc<str>> = Vec::new();
    for name in named.value {
        if !budgets.iter().any(|budget| *budget.name == *name.value) {
            let advice = match nearest(&name.value, budgets.iter().map(|budget| &*budget.name)) {
                Some(known) => format!("did you mean `{known}`?"),
                None => "declare it under `budgets`".to_owned(),
            };
            findings.at(Severity::Error, &name, format!("there is no budget `{}`", name.value), advice);
        }
        if kept.iter().any(|known| **known == *name.value) {
            findings.at(
                Severity::Warning,
                &name,
                format!("`{}` stands in the list twice", name.value),
                "remove it",
            );
            continue;
        }
        kept.push(Arc::from(name.value));
    }
    kept.into()
}

/// The tree of budgets, a line each; and what follows from budgets that are decided in one place.
#[must_use]
pub fn tree(policy: &crate::domain::Policy) -> Vec<String> {
    let budgets = policy.budgets();
    let mut lines = Vec::new();
    let mut add = |budget: &BudgetPolicy, depth: usize| {
        let indent = "  ".repeat(depth);
        let per = budget.per.as_ref().map(|per| format!(", one for each {per}")).unwrap_or_default();
        let owners = if budget.owners.is_empty() {
            String::new()
        } else {
            format!(" (owners: {})", budget.owners.join(", "))
        };
        lines.push(format!("{indent}{}{per}{owners}", budget.name));
        let currency = budget.prepaid.map(|currency| currency.to_string());
        lines.extend(currency.map(|currency| {
            format!("{indent}    prepaid: what was credited in {}", currency.to_uppercase())
        }));
        lines.extend(budget.limits.iter().map(|limit| format!("{indent}    {}", limit_text(limit))));
        if budget.paused {
            lines.push(format!("{indent}    paused: everything is declined that charges it"));
        }
    };
    let mut open: Vec<(&Arc<str>, usize)> =
        budgets.iter().filter(|budget| budget.parent.is_none()).map(|budget| (&budget.name, 0)).collect();
    open.reverse();
    while let Some((name, depth)) = open.pop() {
        let Some(budget) = budgets.get(name) else { continue };
        add(budget, depth);
        let mut children: Vec<_> = budgets
            .iter()
            .filter(|child| child.parent.as_ref() == Some(name))
            .map(|child| (&child.name, depth.saturating_add(1)))
            .collect();
        children.reverse();
        open.append(&mut children);
    }
    for place in budgets.shared_places() {
        let names: Vec<&str> = place.iter().map(|budget| &*budget.name).collect();
        lines.push(format!(
            "all cards that charge {} are decided in one place, as many a second as one busy card; the figure is in docs/performance.md",
            names.join(", ")
        ));
    }
    lines
}
