//! The shape of a policy file: every key with its meaning, from which the JSON schema is made too. Values are read, but
//! not yet held against each other.

use std::collections::BTreeMap;

use schemars::JsonSchema;

use super::{
    budgets::{self, Budget, NamedBudget},
    fields::{At, Fields, Read, items},
    lists::{self, NamedList},
    mistake::{Findings, Located, Severity},
    rules::{self, RuleEntry},
    scalars::{self, Amount, Count, OtherCurrencies, UnknownGroup, Version},
    tests_key::{self, TestEntry},
};
use crate::domain::{
    CardId, CardPresence, Category, ConnectedAccountId, Country, Currency, Interval, NetworkId, Reason, Zone,
};

/// What Tollgate approves and what it declines, for cards of Stripe Issuing. A card's settings go over its group's,
/// those over its connected account's, and those over `default`, key by key.
#[derive(Debug, JsonSchema)]
#[schemars(title = "Tollgate policy", deny_unknown_fields)]
pub(super) struct PolicyFile {
    /// The version of this format: 1.
    #[schemars(required)]
    pub(super) version: Option<Located<Version>>,
    /// The currency of amounts that name none. Without it they are in each card's own currency.
    pub(super) currency: Option<Located<Currency>>,
    /// Where days, weeks, months and years begin, for limits that name no time zone. UTC by default, as at Stripe.
    pub(super) time_zone: Option<Located<Zone>>,
    /// The country that is home (ISO 3166-1 alpha-2), for `is_abroad` in rules.
    pub(super) home_country: Option<Located<Country>>,
    /// Lists by name, for rules to look into: merchant ids, categories, countries, currencies or other words; or
    /// `{file: trusted.txt}`: a file beside the policy with one entry a line.
    #[schemars(with = "Option<BTreeMap<String, super::schema::ListEntries>>")]
    pub(super) lists: Vec<NamedList>,
    /// Budgets by name: limits and balances that many cards share. A layer names those that its cards charge.
    #[schemars(with = "Option<BTreeMap<String, Budget>>")]
    pub(super) budgets: Vec<NamedBudget>,
    /// For every card.
    #[schemars(with = "Option<Layer>")]
    pub(super) default: Option<Located<Layer>>,
    /// For the cards of a connected account (Stripe Connect), by its id (`acct_…`).
    #[schemars(with = "Option<super::schema::Accounts>")]
    pub(super) accounts: Vec<(Located<ConnectedAccountId>, Located<Layer>)>,
    /// For the cards that join a group by `tollgate_group` in the metadata of the card or of its cardholder.
    #[schemars(with = "Option<BTreeMap<String, Layer>>")]
    pub(super) groups: Vec<(Located<String>, Located<Layer>)>,
    /// What a card gets whose `tollgate_group` is not among the groups: what all cards get (`default`), or nothing
    /// (`decline`). `default` by default; either way such cards are logged and counted.
    pub(super) unknown_group: Option<UnknownGroup>,
    /// For single cards, by their id (`ic_…`).
    #[schemars(with = "Option<super::schema::Cards>")]
    pub(super) cards: Vec<(Located<CardId>, Located<Layer>)>,
    /// Examples of what the policy decides, for `tollgate test`. Nodes do not look at them.
    pub(super) tests: Option<Vec<Located<TestEntry>>>,
}

/// Settings of one layer. What is left out is left to the layer below.
#[derive(Debug, Default, JsonSchema)]
#[schemars(deny_unknown_fields, extend("allOf" = super::schema::not_both_lists()))]
pub(super) struct Layer {
    /// All of them must hold. The list replaces that of the layer below as a whole.
    pub(super) spending_limits: Option<Vec<Located<SpendingLimit>>>,
    /// Only merchants of these categories.
    pub(super) allowed_categories: Option<List<Category>>,
    /// No merchant of these categories.
    pub(super) blocked_categories: Option<List<Category>>,
    /// Only merchants in these countries (ISO 3166-1 alpha-2).
    pub(super) allowed_merchant_countries: Option<List<Country>>,
    /// No merchant in these countries (ISO 3166-1 alpha-2).
    pub(super) blocked_merchant_countries: Option<List<Country>>,
    /// Only with the card present, or only without.
    pub(super) allowed_card_presences: Option<List<CardPresence>>,
    /// Not with the card present, or not without.
    pub(super) blocked_card_presences: Option<List<CardPresence>>,
    /// Only these merchants, by their id at the card network (`merchant_data.network_id`), in quotes.
    pub(super) allowed_merchants: Option<List<NetworkId>>,
    /// None of these merchants, by their id at the card network (`merchant_data.network_id`), in quotes.
    pub(super) blocked_merchants: Option<List<NetworkId>>,
    /// Decline reasons for which the cardholder is asked by text message; a confirmed retry passes that rule.
    pub(super) challenge_on: Option<List<Reason>>,
    /// Whether a controllable amount may be approved in part, down to what is left of the tightest limit. True by
    /// default.
    pub(super) partial_approvals: Option<bool>,
    /// Whether a refund gives its amount back to the limits. False by default.
    pub(super) refunds_restore: Option<bool>,
    /// Whether everything is declined. False by default.
    pub(super) paused: Option<bool>,
    /// What happens in a currency that no amount limit names. Declined by default.
    pub(super) other_currencies: Option<OtherCurrencies>,
    /// Whether the `spending_controls` of the card and its cardholder at Stripe are enforced here as well, except for the
    /// cardholder's `spending_limits`: those count over all cards of the cardholder, and Stripe alone enforces them.
    /// False by default.
    pub(super) mirror_stripe_controls: Option<bool>,
    /// Rules, in order: the first that matches and declines, challenges or allows decides; all matching tags and flags
    /// apply. The list replaces that of the layer below as a whole.
    pub(super) rules: Option<Vec<Located<RuleEntry>>>,
    /// The highest score that a request may have: above it, the rules with `score` decline it. 100 by default.
    pub(super) score_limit: Option<i64>,
    /// The budgets that the cards charge, by name; those above them are charged too. The list replaces that of the layer below
    /// as a whole.
    pub(super) budgets: Option<List<String>>,
}

/// A list with the place of its key.
pub(super) type List<T> = Located<Vec<Located<T>>>;

/// A limit of what a card may spend, or of how often, in a window of time.
#[derive(Debug, JsonSchema)]
#[schemars(
    deny_unknown_fields,
    extend("oneOf" = [{"required": ["amount"]}, {"required": ["count"]}])
)]
pub(super) struct SpendingLimit {
    /// The most that may be held and captured, in minor units: cents, for dollars.
    pub(super) amount: Option<Located<Amount>>,
    /// The most approvals.
    pub(super) count: Option<Located<Count>>,
    /// The currency of `amount`.
    pub(super) currency: Option<Located<Currency>>,
    /// The window: a calendar one, one authorization, or a rolling span before each request.
    #[schemars(required)]
    pub(super) interval: Option<Located<Interval>>,
    /// Only purchases of these categories count.
    pub(super) categories: Option<List<Category>>,
    /// Only purchases at these merchants count.
    pub(super) merchants: Option<List<NetworkId>>,
    /// Where a calendar window begins (IANA name).
    pub(super) time_zone: Option<Located<Zone>>,
}

/// Reads the whole file.
pub(super) fn policy_file(at: At<'_>, findings: &mut Findings) -> Option<PolicyFile> {
    let mut fields = Fields::open(at, findings)?;
    let file = PolicyFile {
        version: fields.read("version", findings, scalars::version),
        currency: fields.read("currency", findings, scalars::currency),
        time_zone: fields.read("time_zone", findings, scalars::time_zone),
        home_country: fields.read("home_country", findings, |at, findings| {
            scalars::country(at, findings).map(|country| at.located(country))
        }),
        lists: fields.read_mapping("lists", findings, lists::lists).unwrap_or_default(),
        budgets: fields.read_mapping("budgets", findings, budgets::budgets).unwrap_or_default(),
        default: fields.read_mapping("default", findings, layer),
        accounts: fields.read_mapping("accounts", findings, accounts).unwrap_or_default(),
        groups: fields.read_mapping("groups", findings, groups).unwrap_or_default(),
        unknown_group: fields.read("unknown_group", findings, scalars::unknown_group),
        cards: fields.read_mapping("cards", findings, cards).unwrap_or_default(),
        tests: fields.read("tests", findings, |at, findings| {
            findings.ineffective(|findings| tests_key::tests(at, findings))
        }),
    };
    fields.finish(findings);
    Some(file)
}

/// Reads a file that has nothing but tests.
pub(super) fn tests_file(at: At<'_>, findings: &mut Findings) -> Option<Vec<Located<TestEntry>>> {
    let mut fields = Fields::open(at, findings)?;
    let tests = fields.read("tests", findings, tests_key::tests);
    let has_tests = fields.has("tests");
    if fields.finish(findings) && !has_tests {
        at.refuse(
            findings,
            "a file of tests without `tests`",
            "write `tests: [{name: …, request: …, expect: …}]`",
        );
    }
    tests
}

fn groups(at: At<'_>, findings: &mut Findings) -> Option<Vec<(Located<String>, Located<Layer>)>> {
    let entries = Fields::open(at, findings)?.each();
    let groups = entries.filter_map(|(key, path, node)| {
        let name = Located { value: key.name.clone(), place: key.place, path: path.clone() };
        if name.value.trim().is_empty() {
            findings.at(
                Severity::Error,
                &name,
                "a group without a name",
                "give it the name that cards carry",
            );
        }
        layer(At { node, path: &path }, findings).map(|layer| (name, layer))
    });
    Some(groups.collect())
}

fn accounts(
    at: At<'_>,
    findings: &mut Findings,
) -> Option<Vec<(Located<ConnectedAccountId>, Located<Layer>)>> {
    let entries = Fields::open(at, findings)?.each();
    let accounts = entries.filter_map(|(key, path, node)| {
        let id = ConnectedAccountId::new(&key.name).filter(|id| id.as_str().starts_with("acct_"));
        let layer = layer(At { node, path: &path }, findings);
        let Some(id) = id else {
            let advice = "connected accounts go by their id at Stripe, which begins with `acct_`";
            findings.note(Severity::Error, key.place, &path, "no id of a connected account", advice);
            return None;
        };
        layer.map(|layer| (Located { value: id, place: key.place, path }, layer))
    });
    Some(accounts.collect())
}

fn cards(at: At<'_>, findings: &mut Findings) -> Option<Vec<(Located<CardId>, Located<Layer>)>> {
    let entries = Fields::open(at, findings)?.each();
    let cards = entries.filter_map(|(key, path, node)| {
        let id = CardId::new(&key.name).filter(|id| id.as_str().starts_with("ic_"));
        let layer = layer(At { node, path: &path }, findings);
        let Some(id) = id else {
            let advice =
                "cards go by their id at Stripe, which begins with `ic_`; a group goes under `groups`";
            findings.note(Severity::Error, key.place, &path, "no card id", advice);
            return None;
        };
        layer.map(|layer| (Located { value: id, place: key.place, path }, layer))
    });
    Some(cards.collect())
}

fn layer(at: At<'_>, findings: &mut Findings) -> Option<Located<Layer>> {
    let mut fields = Fields::open(at, findings)?;
    let layer = Layer {
        spending_limits: fields.read("spending_limits", findings, spending_limits),
        allowed_categories: fields.read("allowed_categories", findings, categories),
        blocked_categories: fields.read("blocked_categories", findings, categories),
        allowed_merchant_countries: fields.read("allowed_merchant_countries", findings, countries),
        blocked_merchant_countries: fields.read("blocked_merchant_countries", findings, countries),
        allowed_card_presences: fields.read("allowed_card_presences", findings, presences),
        blocked_card_presences: fields.read("blocked_card_presences", findings, presences),
        allowed_merchants: fields.read("allowed_merchants", findings, merchants),
        blocked_merchants: fields.read("blocked_merchants", findings, merchants),
        challenge_on: fields.read("challenge_on", findings, reasons),
        partial_approvals: fields.read("partial_approvals", findings, scalars::switch),
        refunds_restore: fields.read("refunds_restore", findings, scalars::switch),
        paused: fields.read("paused", findings, scalars::switch),
        other_currencies: fields.read("other_currencies", findings, scalars::other_currencies),
        mirror_stripe_controls: fields.read("mirror_stripe_controls", findings, scalars::switch),
        rules: fields.read("rules", findings, rules::rules),
        score_limit: fields.read("score_limit", findings, rules::score),
        budgets: fields.read("budgets", findings, budgets::named),
    };
    let is_empty = fields.is_empty();
    fields.finish(findings);
    let layer = at.located(layer);
    let is_single = at.path != "default";
    if is_empty && is_single {
        findings.at(Severity::Ineffective, &layer, "it has no settings", "give it some, or remove it");
    }
    Some(layer)
}

/// More limits than this on one card would make each decision slow.
const LIMITS_MAX: usize = 100;

pub(super) fn spending_limits(at: At<'_>, findings: &mut Findings) -> Option<Vec<Located<SpendingLimit>>> {
    let limits = items(at, findings, spending_limit)?;
    if limits.len() > LIMITS_MAX {
        at.refuse(findings, format!("{} limits", limits.len()), format!("{LIMITS_MAX} are the most"));
        return None;
    }
    Some(limits.into_iter().flatten().collect())
}

fn spending_limit(at: At<'_>, findings: &mut Findings) -> Option<SpendingLimit> {
    let mut fields = Fields::open(at, findings)?;
    let limit = SpendingLimit {
        amount: fields.read("amount", findings, scalars::amount),
        count: fields.read("count", findings, scalars::count),
        currency: fields.read("currency", findings, scalars::currency),
        interval: fields.read("interval", findings, scalars::interval),
        categories: fields.read("categories", findings, categories),
        merchants: fields.read("merchants", findings, merchants),
        time_zone: fields.read("time_zone", findings, scalars::time_zone),
    };
    let has_measure = fields.has("amount") || fields.has("count");
    let has_interval = fields.has("interval");
    let lost_filter = fields.has("categories") && limit.categories.is_none()
        || fields.has("merchants") && limit.merchants.is_none();
    // A misspelt key is one mistake, not two.
    let all_known = fields.finish(findings);
    if all_known && !has_measure {
        at.refuse(findings, "a limit of nothing", "add `amount` (minor units) or `count` (approvals)");
    }
    if all_known && !has_interval {
        at.refuse(findings, "a limit without a window", "add `interval`, such as `daily` or `rolling(24h)`");
    }
    // Without its filter it would be another limit, and be compared with the others as such.
    (!lost_filter).then_some(limit)
}

fn categories(at: At<'_>, findings: &mut Findings) -> Option<List<Category>> {
    list(at, findings, scalars::category)
}

fn countries(at: At<'_>, findings: &mut Findings) -> Option<List<Country>> {
    list(at, findings, scalars::country)
}

fn presences(at: At<'_>, findings: &mut Findings) -> Option<List<CardPresence>> {
    list(at, findings, scalars::presence)
}

fn merchants(at: At<'_>, findings: &mut Findings) -> Option<List<NetworkId>> {
    list(at, findings, scalars::network_id)
}

fn reasons(at: At<'_>, findings: &mut Findings) -> Option<List<Reason>> {
    list(at, findings, scalars::reason)
}

/// A list all of whose items can be read. A part of a list would be another rule than the one that was meant.
fn list<T>(at: At<'_>, findings: &mut Findings, item: Read<T>) -> Option<List<T>> {
    let items = items(at, findings, item)?;
    items.into_iter().collect::<Option<Vec<_>>>().map(|items| at.located(items))
}
