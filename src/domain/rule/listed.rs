//! The lists of `spending_controls` as rules: what is blocked and what is not allowed declines, each with a reason of its own.

use std::{collections::BTreeSet, sync::Arc};

use super::{
    condition::{Condition, Word, Words},
    input::{Flag, Reads, WordInput},
    judge::{Rule, Then},
    list::List,
};
use crate::domain::{
    controls::{Controls, Lists},
    decision::Reason,
    ids::NetworkId,
    merchant::{CardPresence, Category, Country},
};

/// More words than this are looked up by their hash.
const SEARCHED_MAX: usize = 8;

/// The rules of these lists, in the order in which they decide.
pub(in crate::domain) fn rules_of(controls: &Controls) -> Arc<[Rule]> {
    let Controls { categories, countries, presences, merchants, .. } = controls;
    let mut rules = Vec::new();
    add(&mut rules, categories, ("categories", Reason::CategoryBlocked, Reason::CategoryNotAllowed), |set| {
        words(WordInput::Category, "categories", set.iter().map(Category::as_str))
    });
    add(
        &mut rules,
        countries,
        ("merchant_countries", Reason::CountryBlocked, Reason::CountryNotAllowed),
        |set| words(WordInput::MerchantCountry, "merchant_countries", set.iter().map(Country::as_str)),
    );
    add(&mut rules, presences, ("card_presences", Reason::PresenceBlocked, Reason::PresenceBlocked), |set| {
        Condition::Any(set.iter().map(|presence| is_presence(*presence)).collect())
    });
    add(&mut rules, merchants, ("merchants", Reason::MerchantBlocked, Reason::MerchantNotAllowed), |set| {
        words(WordInput::MerchantId, "merchants", set.iter().map(NetworkId::as_str))
    });
    rules.into()
}

/// The rules of the lists of one kind. A value that is not known is on no list. Of what is blocked and not allowed too, the
/// first is the reason, also where it is lifted.
fn add<T>(
    rules: &mut Vec<Rule>,
    lists: &Lists<T>,
    (what, blocked, not_allowed): (&str, Reason, Reason),
    is_on: impl Fn(&BTreeSet<T>) -> Condition,
) {
    let mut add = |prefix: &str, when: Condition, reason: Reason| {
        let name = format!("{prefix}_{what}").into();
        rules.push(Rule::new(name, when, Then::Decline, None).with_reason(reason));
    };
    if let Some(blocked_list) = lists.blocked.as_deref().filter(|list| !list.is_empty()) {
        add("blocked", is_on(blocked_list), blocked);
    }
    if let Some(allowed) = lists.allowed.as_deref() {
        let mut parts = vec![Condition::Not(Box::new(is_on(allowed)))];
        if let Some(blocked_list) = lists.blocked.as_deref().filter(|list| !list.is_empty()) {
            parts.push(Condition::Not(Box::new(is_on(blocked_list))));
        }
        add("allowed", Condition::All(parts.into()), not_allowed);
    }
}

fn words<'a>(input: WordInput, name: &str, words: impl ExactSizeIterator<Item = &'a str>) -> Condition {
    let of_list = words.len() > SEARCHED_MAX;
    let words: Vec<Box<str>> = words.map(Box::from).collect();
    let words = if of_list { Words::Named(Arc::new(List::new(name, words))) } else { Words::these(words) };
    Condition::Is(Word::Input(input), words)
}

fn is_presence(presence: CardPresence) -> Condition {
    let present = Condition::Flag(Flag::Present);
    match presence {
        CardPresence::Present => present,
        CardPresence::NotPresent => {
            let parts = [Condition::Has(Reads::Flag(Flag::Present)), Condition::Not(Box::new(present))];
            Condition::All(Box::new(parts))
        }
    }
}
