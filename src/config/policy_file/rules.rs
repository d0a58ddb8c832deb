//! The rules of a policy file: read, compiled, and held against each other.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use schemars::JsonSchema;

use super::{
    fields::{At, Fields, items},
    lists::ListsInUse,
    mistake::{Findings, Located, Place, Severity},
    node::{Node, Value},
    scalars,
};
use crate::{
    domain::{
        Zone, parse_span,
        rule::{Cap, Condition, OnStandIn, Rule, Tag, Then},
    },
    policy::{
        nearest::nearest,
        rules::{Context, RuleError, compile},
    },
};

/// More rules than this in one layer would make each decision slow.
const RULES_MAX: usize = 1_000;
/// The highest score of one rule.
const SCORE_MAX: i64 = 1_000_000;
/// The longest name of a rule.
const NAME_CHARACTERS_MAX: usize = 64;
/// The longest sentence, and the longest value of a tag: Stripe's bound on metadata.
const TEXT_CHARACTERS_MAX: usize = 500;
/// The longest key of a tag: Stripe's bound.
const KEY_CHARACTERS_MAX: usize = 40;
/// Stripe takes 50 keys; three are ours.
const TAG_KEYS_MAX: usize = 47;

/// A rule: when it matches, and what follows.
#[derive(Debug, JsonSchema)]
#[schemars(deny_unknown_fields, rename = "Rule")]
pub(super) struct RuleEntry {
    /// Its name, which decisions and replies carry: letters, digits, `-`, `_` and `.`.
    #[schemars(required, with = "Option<String>")]
    name: Option<Located<String>>,
    /// When it matches, in the language of docs/policy.md: `cash > 0 && merchant.country != "US"`.
    #[schemars(required, with = "Option<String>")]
    when: Option<When>,
    /// What follows: `decline`, `challenge`, `allow`, `flag`, `{cap: 5000}`, `{cap: remaining}`, `{tag: {key: value}}`,
    /// `{score: 40}`, `{block: 10m}`.
    #[schemars(required, with = "Option<super::schema::Outcome>")]
    then: Option<Located<Then>>,
    /// A sentence for the cardholder, where the rule declines or caps.
    #[schemars(with = "Option<String>")]
    message: Option<Located<String>>,
    /// What the rule says in a stand-in decision if its condition cannot be evaluated there, because it looks at the ledger or
    /// an input is missing: `decline`, `skip`, `{approve_to: 2000}`. Without it the card counts as one without a history.
    #[schemars(with = "Option<super::schema::OnStandIn>")]
    on_stand_in: Option<Located<OnStandIn>>,
}

/// A condition as it is written, with where its characters are in the file.
#[derive(Debug)]
struct When {
    text: String,
    raw: String,
    place: Place,
    path: String,
}

pub(super) fn rules(at: At<'_>, findings: &mut Findings) -> Option<Vec<Located<RuleEntry>>> {
    let rules = items(at, findings, rule)?;
    if rules.len() > RULES_MAX {
        at.refuse(findings, format!("{} rules", rules.len()), format!("{RULES_MAX} are the most"));
        return None;
    }
    Some(rules.into_iter().flatten().collect())
}

fn rule(at: At<'_>, findings: &mut Findings) -> Option<RuleEntry> {
    let mut fields = Fields::open(at, findings)?;
    let rule = RuleEntry {
        name: fields.read("name", findings, name),
        when: fields.read("when", findings, when),
        then: fields.read("then", findings, then),
        message: fields.read("message", findings, message),
        on_stand_in: fields.read("on_stand_in", findings, |at, findings| {
            on_stand_in(at, findings).map(|on_stand_in| at.located(on_stand_in))
        }),
    };
    let missing = ["name", "when", "then"].into_iter().find(|key| !fields.has(key));
    if fields.finish(findings)
        && let Some(missing) = missing
    {
        let advice =
            "a rule has `name`, `when` and `then`, such as {name: no-cash, when: 'cash > 0', then: decline}";
        at.refuse(findings, format!("a rule without `{missing}`"), advice);
    }
    Some(rule)
}

fn name(at: At<'_>, findings: &mut Findings) -> Option<Located<String>> {
    let text = text(at, findings, "a name such as `no-cash-abroad`")?;
    let is_good = !text.is_empty()
        && text.chars().count() <= NAME_CHARACTERS_MAX
        && text.chars().all(|letter| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '.'));
    if !is_good {
        let advice = format!("use letters, digits, `-`, `_` and `.`, {NAME_CHARACTERS_MAX} at most");
        at.refuse(findings, format!("{} is not a name for a rule", at.node.found()), advice);
        return None;
    }
    Some(at.located(text.to_owned()))
}

fn when(at: At<'_>, findings: &mut Findings) -> Option<When> {
    if let Value::Switch(holds) = at.node.value {
        let (text, raw) = (holds.to_string(), at.node.raw.clone());
        return Some(When { text, raw, place: at.node.place, path: at.path.to_owned() });
    }
    let text = text(at, findings, "a condition in quotes, such as 'amount > 30000'")?;
    let Node { raw, place, .. } = at.node;
    Some(When { text: text.to_owned(), raw: raw.clone(), place: *place, path: at.path.to_owned() })
}

fn message(at: At<'_>, findings: &mut Findings) -> Option<Located<String>> {
    let text = bounded(at, findings, "a sentence for the cardholder", TEXT_CHARACTERS_MAX)?;
    Some(at.located(text.to_owned()))
}

/// Outcomes that are one word.
const WORDS: [(&str, Then); 4] = [
    ("decline", Then::Decline),
    ("challenge", Then::Challenge),
    ("allow", Then::Allow),
    ("flag", Then::Flag),
];
/// What this version does not do: said clearly, so that no rule is quietly without effect.
const NOT_YET: [&str; 1] = ["reserve"];
/// For advice.
const OUTCOMES: &str = "use decline, challenge, allow, flag, {cap: 5000}, {cap: remaining}, {tag: {key: value}}, {score: 40} or {block: 10m}";

fn then(at: At<'_>, findings: &mut Findings) -> Option<Located<Then>> {
    let outcome = match &at.node.value {
        Value::Text(word) => match WORDS.into_iter().find(|(known, _)| known == word) {
            Some((_, outcome)) => Some(outcome),
            None => refuse_outcome(at, findings, word),
        },
        Value::Map(entries) => {
            if let [(key, node)] = entries.as_slice() {
                let path = format!("{}.{}", at.path, key.name);
                let inner = At { node, path: &path };
                match key.name.as_str() {
                    "cap" => cap(inner, findings).map(Then::Cap),
                    "tag" => tags(inner, findings).map(Then::Tag),
                    "score" => score(inner, findings).map(Then::Score),
                    "block" => span(inner, findings).map(Then::Block),
                    other => refuse_outcome(at, findings, other),
                }
            } else {
                at.refuse(findings, format!("expected one outcome, found {}", entries.len()), OUTCOMES);
                None
            }
        }
        Value::Null | Value::Switch(_) | Value::Number(_) | Value::OtherNumber | Value::List(_) => {
            at.refuse(findings, format!("expected an outcome, found {}", at.node.found()), OUTCOMES);
            None
        }
    };
    outcome.map(|outcome| at.located(outcome))
}

fn refuse_outcome(at: At<'_>, findings: &mut Findings, word: &str) -> Option<Then> {
    if NOT_YET.contains(&word) {
        at.refuse(findings, format!("`{word}` is not an outcome of this version"), OUTCOMES);
        return None;
    }
    let known = WORDS.iter().map(|(word, _)| *word).chain(["cap", "tag", "score", "block"]);
    let advice = match nearest(word, known) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None => OUTCOMES.to_owned(),
    };
    at.refuse(findings, format!("unknown outcome `{word}`"), advice);
    None
}

/// Points that count against a request, or for it.
pub(super) fn score(at: At<'_>, findings: &mut Findings) -> Option<i64> {
    match at.node.value {
        Value::Number(number) if (-SCORE_MAX..=SCORE_MAX).contains(&number) => Some(number),
        _ => {
            let found = format!("expected a score, found {}", at.node.found());
            at.refuse(findings, found, format!("write a whole number from -{SCORE_MAX} to {SCORE_MAX}"));
            None
        }
    }
}

fn span(at: At<'_>, findings: &mut Findings) -> Option<Duration> {
    let text = text(at, findings, "a duration such as `10m`, `24h`, `7d`")?;
    let span = parse_span(text);
    if span.is_none() {
        at.refuse(findings, format!("`{text}` is no duration"), "write one such as `10m`, `24h`, `7d`");
    }
    span
}

fn on_stand_in(at: At<'_>, findings: &mut Findings) -> Option<OnStandIn> {
    const ADVICE: &str = "use decline, skip or {approve_to: 2000}";
    match &at.node.value {
        Value::Text(word) if word == "decline" => Some(OnStandIn::Decline),
        Value::Text(word) if word == "skip" => Some(OnStandIn::Skip),
        Value::Map(entries) => match entries.as_slice() {
            [(key, node)] if key.name == "approve_to" => {
                let path = format!("{}.approve_to", at.path);
                let amount = scalars::amount(At { node, path: &path }, findings)?;
                Some(OnStandIn::ApproveTo(amount.value.0))
            }
            _ => {
                at.refuse(findings, "expected one of decline, skip and approve_to", ADVICE);
                None
            }
        },
        _ => {
            at.refuse(
                findings,
                format!("expected a word of decline and skip, found {}", at.node.found()),
                ADVICE,
            );
            None
        }
    }
}

fn cap(at: At<'_>, findings: &mut Findings) -> Option<Cap> {
    match &at.node.value {
        Value::Text(word) if word == "remaining" => Some(Cap::Remaining),
        Value::Null
        | Value::Switch(_)
        | Value::Number(_)
        | Value::OtherNumber
        | Value::Text(_)
        | Value::List(_)
        | Value::Map(_) => scalars::amount(at, findings).map(|amount| Cap::Amount(amount.value.0)),
    }
}

fn tags(at: At<'_>, findings: &mut Findings) -> Option<Box<[Tag]>> {
    let entries: Vec<_> = Fields::open(at, findings)?.each().collect();
    if entries.is_empty() {
        at.refuse(findings, "a tag without a key", "write `{tag: {key: value}}`");
        return None;
    }
    let tags = entries.into_iter().map(|(key, path, node)| {
        let inner = At { node, path: &path };
        let is_good = !key.name.is_empty()
            && key.name.chars().count() <= KEY_CHARACTERS_MAX
            && !key.name.contains(['[', ']'])
            && !key.name.starts_with("tollgate_");
        if !is_good {
            let advice = format!(
                "a key has {KEY_CHARACTERS_MAX} characters at most, no brackets, and does not begin with `tollgate_`"
            );
            findings.note(Severity::Error, key.place, &path, "not a key of Stripe's metadata", advice);
        }
        let value = bounded(inner, findings, "a value in quotes", TEXT_CHARACTERS_MAX)?;
        is_good.then(|| (Arc::from(key.name.as_str()), Arc::from(value)))
    });
    let tags: Vec<Option<Tag>> = tags.collect();
    tags.into_iter().collect()
}

fn text<'a>(at: At<'a>, findings: &mut Findings, expected: &str) -> Option<&'a str> {
    if let Value::Text(text) = &at.node.value {
        return Some(text);
    }
    at.refuse(findings, format!("expected a text, found {}", at.node.found()), format!("write {expected}"));
    None
}

fn bounded<'a>(at: At<'a>, findings: &mut Findings, expected: &str, most: usize) -> Option<&'a str> {
    let text = text(at, findings, expected)?;
    let count = text.chars().count();
    if count == 0 || count > most {
        at.refuse(findings, format!("a text of {count} characters"), format!("write 1 to {most}"));
        return None;
    }
    Some(text)
}

/// What else the file says that conditions depend on.
#[derive(Clone, Copy)]
pub(super) struct Around<'a> {
    pub(super) time_zone: &'a Zone,
    pub(super) has_home: bool,
    pub(super) budgets: &'a [Arc<str>],
}

/// Compiles the rules of one layer. What is wrong is noted.
pub(super) fn compiled(
    entries: Vec<Located<RuleEntry>>,
    around: Around<'_>,
    lists: &mut ListsInUse,
    findings: &mut Findings,
) -> Arc<[Rule]> {
    let mut names: BTreeMap<String, usize> = BTreeMap::new();
    let mut keys: BTreeSet<Arc<str>> = BTreeSet::new();
    let mut settled: Option<usize> = None;
    let mut rules = Vec::new();
    for entry in entries {
        let place = entry.place;
        if let Some(name) = &entry.value.name
            && let Some(line) = names.insert(name.value.clone(), place.line)
        {
            let found = format!("a second rule of the name `{}`", name.value);
            findings.at(Severity::Error, name, found, format!("the first is in line {line}: rename one"));
        }
        let Some(rule) = one(&entry.value, around, lists, findings) else { continue };
        let is_mark = match &rule.then {
            Then::Tag(tags) => {
                keys.extend(tags.iter().map(|(key, _)| Arc::clone(key)));
                true
            }
            Then::Flag => true,
            Then::Decline
            | Then::Challenge
            | Then::Cap(_)
            | Then::Allow
            | Then::Score(_)
            | Then::Block(_) => false,
        };
        if let Some(line) = settled.filter(|_| !is_mark) {
            let found = format!("it never does anything: the rule in line {line} always decides before it");
            findings.at(Severity::Ineffective, &entry, found, "move it before that rule, or remove it");
        }
        let always = rule.when == Condition::Always(true);
        if always && matches!(rule.then, Then::Decline | Then::Allow | Then::Block(_)) {
            settled = settled.or(Some(place.line));
        }
        if keys.len() > TAG_KEYS_MAX {
            let found = format!("more than {TAG_KEYS_MAX} keys of tags in one layer");
            findings.at(
                Severity::Error,
                &entry,
                found,
                "Stripe's metadata has no room for more: remove some",
            );
        }
        rules.push(rule);
    }
    rules.into()
}

fn one(
    entry: &RuleEntry,
    Around { time_zone, has_home, budgets }: Around<'_>,
    lists: &mut ListsInUse,
    findings: &mut Findings,
) -> Option<Rule> {
    let RuleEntry { name, when, then, message, on_stand_in } = entry;
    let when = when.as_ref()?;
    let condition = match compile(&when.text, Context { time_zone, lists: &lists.by_name, budgets, has_home })
    {
        Ok(compiled) => {
            lists.used(compiled.lists);
            Some(compiled.condition)
        }
        Err(errors) => {
            for RuleError { span, found, advice } in errors {
                let place = place_in(when, span.start, span.end);
                findings.note(Severity::Error, place, &when.path, found, advice);
            }
            None
        }
    };
    let then = then.as_ref()?;
    if let Some(message) = message {
        match &then.value {
            Then::Decline | Then::Challenge | Then::Cap(_) | Then::Score(_) | Then::Block(_) => {}
            Then::Allow | Then::Tag(_) | Then::Flag => {
                let advice = "remove `message`: only a rule that declines or caps has one";
                findings.at(Severity::Warning, message, "this sentence is never shown", advice);
            }
        }
    }
    let message = message.as_ref().map(|message| message.value.as_str().into());
    let rule = Rule::new(name.as_ref()?.value.as_str().into(), condition?, then.value.clone(), message);
    Some(rule.with_stand_in(on_stand_in.as_ref().map(|on_stand_in| on_stand_in.value)))
}

/// Where the characters `start..end` of a condition are in the file: quotes, escapes and line breaks of YAML are between
/// what is written and what is read.
fn place_in(when: &When, start: usize, end: usize) -> Place {
    let raw: Vec<char> = when.raw.chars().collect();
    let mut cursor = Cursor { raw: &raw, at: 0, line: when.place.line, column: when.place.column };
    match raw.first() {
        Some('\'' | '"') => cursor.step(),
        // The text of a block begins in the next line.
        Some('>' | '|') => {
            cursor.seek(|letter| letter == '\n');
        }
        _ => {}
    }
    let mut letters = when.text.chars();
    for letter in letters.by_ref().take(start) {
        cursor.seek(|found| is_written_as(letter, found));
        if letter == '\'' && raw.first() == Some(&'\'') {
            cursor.step();
        }
        cursor.step();
    }
    if let Some(letter) = letters.next() {
        cursor.seek(|found| is_written_as(letter, found));
    }
    if cursor.at > raw.len() {
        return when.place;
    }
    Place { line: cursor.line, column: cursor.column, width: end.saturating_sub(start).max(1) }
}

/// Whether a character may be written so: a space may be a line break.
fn is_written_as(letter: char, found: char) -> bool {
    letter == found || (letter.is_whitespace() && found.is_whitespace())
}

/// A place in what is written.
struct Cursor<'a> {
    raw: &'a [char],
    at: usize,
    line: usize,
    column: usize,
}

impl Cursor<'_> {
    fn step(&mut self) {
        if self.raw.get(self.at) == Some(&'\n') {
            (self.line, self.column) = (self.line.saturating_add(1), 1);
        } else {
            self.column = self.column.saturating_add(1);
        }
        self.at = self.at.saturating_add(1);
    }

    /// Goes on to the first character that is meant, or to the end.
    fn seek(&mut self, is_meant: impl Fn(char) -> bool) {
        while self.raw.get(self.at).is_some_and(|letter| !is_meant(*letter)) {
            self.step();
        }
    }
}
