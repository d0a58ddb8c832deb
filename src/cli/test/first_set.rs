//! A first set of tests, from the decisions of the last day of a journal: for each outcome, reason and rule a few requests with
//! the history that their cards had. Only tests that pass are written.

use std::{
    collections::{BTreeMap, HashMap},
    fmt::Write as _,
    fs,
    io::{self, Write},
    path::Path,
    time::Duration,
};

use super::super::{TestOptions, Verdict, tell_problems};
use crate::{
    config::{Loaded, Problem, policy_file::Parsed},
    domain::{
        Account, Authorization, AuthorizationId, AuthorizationRequest, Card, CardId, Currency, Decided,
        Event, Outcome, Policy, Source, Timestamp,
    },
    journal::{Entry, Location, Scan, exists, open_to_scan, record},
    policy::testing::{Field, Given, Past, PolicyTest, blank, given, run, set},
};

/// Tests of one kind: more are repetitions.
const SAME_KIND_MAX: usize = 3;
/// Requests of the past that a test may need; with more, nobody reads it.
const HISTORY_MAX: usize = 30;
/// Entries that are read at once.
const PAGE_ENTRIES: usize = 1_000;
const DAY: Duration = Duration::from_hours(24);
/// What a reader expects to see of a request. Other inputs are written if the policy names them.
const USUAL: [&str; 9] = [
    "amount",
    "currency",
    "cash",
    "category",
    "merchant.country",
    "merchant.id",
    "present",
    "amount_controllable",
    "group",
];

/// Writes the tests to `path`, which must not exist.
pub(super) fn write(
    options: &TestOptions,
    path: &Path,
    parsed: &Parsed,
    load: impl FnOnce() -> Result<Loaded, Vec<Problem>>,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<Verdict> {
    if path.exists() {
        writeln!(
            err,
            "tollgate: {} exists: remove it first, or name another file with --tests",
            path.display()
        )?;
        return Ok(Verdict::BadSettings);
    }
    let location = match (&options.journal, load) {
        (Some(location), _) => location.clone(),
        (None, load) => match load() {
            Ok(loaded) => loaded.settings.journal.location,
            Err(problems) => return tell_problems(&problems, err),
        },
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut found = match runtime.block_on(gathered(&location, parsed)) {
        Ok(found) => found,
        Err(cause) => {
            writeln!(err, "tollgate: {cause}")?;
            return Ok(Verdict::JournalBroken);
        }
    };
    let count: usize = found.kept.values().map(Vec::len).sum();
    if count == 0 {
        writeln!(
            err,
            "tollgate: no test can be written: the last day of {location} has no decision that {} repeats",
            options.policy.display()
        )?;
        return Ok(Verdict::Failed);
    }
    fs::write(path, found.text(parsed.currency))?;
    writeln!(out, "{}: {count} tests of {} kinds of decisions", path.display(), found.kept.len())?;
    if found.left_out > 0 {
        writeln!(
            out,
            "{} decisions were left out: the policy decides them differently, or their card has more history than a test shows",
            found.left_out
        )?;
    }
    Ok(Verdict::Done)
}

/// Outcome, reason and rule.
type Kind = (Outcome, &'static str, String);

#[derive(Default)]
struct FirstSet {
    kept: BTreeMap<Kind, Vec<PolicyTest>>,
    left_out: usize,
    names_of_inputs: String,
    cards: Vec<CardId>,
}

async fn gathered(location: &Location, parsed: &Parsed) -> Result<FirstSet, String> {
    let text = |cause: &dyn std::fmt::Display| cause.to_string();
    if !exists(location).await.map_err(|cause| text(&cause))? {
        return Err(
            "expected a journal, found none; name one with --journal, or set TOLLGATE_JOURNAL".to_owned()
        );
    }
    let journal = open_to_scan(location).await.map_err(|cause| text(&cause))?;
    let mut last = Timestamp::MIN;
    scan(&*journal, |entry, _| last = last.max(entry.at)).await?;
    let mut cards: HashMap<Account, Card> = HashMap::new();
    let mut found = FirstSet {
        names_of_inputs: parsed.policy.text().to_owned(),
        cards: parsed.policy.cards().cloned().collect(),
        ..FirstSet::default()
    };
    scan(&*journal, |entry, events| {
        let card = cards.entry(entry.account.clone()).or_default();
        for event in events {
            if let Event::Decided(decided) = event
                && entry.at >= last.minus(DAY)
                && decided.decision.source == Source::Policy
                && decided.request.history_entries == 0
            {
                found.take(&parsed.policy, card, decided);
            }
            match event {
                // What the snapshot has is here already, and more.
                Event::Snapshot(_) => {}
                Event::Decided(_)
                | Event::StoodIn(_)
                | Event::Observed(_)
                | Event::Recalled(_)
                | Event::Joined(_)
                | Event::Carried(_)
                | Event::Controls(_)
                | Event::Charges(_)
                | Event::Command(_)
                | Event::Budget(_)
                | Event::Policy(_)
                | Event::Delivered(_) => card.apply(event),
            }
        }
    })
    .await?;
    Ok(found)
}

async fn scan(journal: &dyn Scan, mut take: impl FnMut(&Entry, &[Event])) -> Result<(), String> {
    let mut after = 0;
    loop {
        let entries = journal.scan(after, PAGE_ENTRIES).await.map_err(|cause| cause.to_string())?;
        let Some(last) = entries.last() else { return Ok(()) };
        after = last.lsn;
        for entry in &entries {
            let events = record::decode(&entry.body).map_err(|cause| {
                format!("entry {} of {} cannot be read: {cause}", entry.lsn, entry.account)
            })?;
            take(entry, &events);
        }
    }
}

impl FirstSet {
    fn take(&mut self, policy: &Policy, card: &Card, decided: &Decided) {
        let decision = &decided.decision;
        let rule = decision.ruled.as_ref().and_then(|ruled| ruled.marks.rule.as_deref()).unwrap_or_default();
        let kind = (decision.outcome, decision.reason.as_str(), rule.to_owned());
        if self.kept.get(&kind).is_some_and(|kept| kept.len() >= SAME_KIND_MAX) {
            return;
        }
        let test = self.test(card, decided);
        match test.filter(|test| run(policy, test).is_passed()) {
            Some(test) => self.kept.entry(kind).or_default().push(test),
            None => self.left_out = self.left_out.saturating_add(1),
        }
    }

    fn test(&self, card: &Card, decided: &Decided) -> Option<PolicyTest> {
        let Decided { request, decision } = decided;
        let asked = request.asked.ok()?;
        // To the second, as the file has it.
        let at = Timestamp::from_seconds(decision.at.as_seconds());
        let mut again = blank(asked.currency, at)?;
        let values: Vec<_> = given(request)
            .into_iter()
            .filter(|(input, _)| USUAL.contains(&input.name) || self.names_of_inputs.contains(input.name))
            .collect();
        set(&mut again, &values).ok()?;
        again.card = request.card.clone().filter(|card| self.cards.contains(card));
        let mut history = Vec::new();
        for (id, authorization) in card.authorizations.iter() {
            if *id == request.authorization {
                return None;
            }
            history.extend(past(id, authorization, asked.currency, at));
        }
        if history.len() > HISTORY_MAX {
            return None;
        }
        history.sort_by_key(|past| past.request.received_at);
        let rule = Some(Field::Rule).filter(|_| decision.ruled.is_some());
        let fields = [Field::Outcome, Field::Reason, Field::Amount].into_iter().chain(rule);
        let mut expected: Vec<(Field, String)> = fields.map(|field| (field, field.of(decision))).collect();
        expected.sort_unstable();
        let name = format!(
            "{}: {asked} at {} ({})",
            decision.reason.as_str(),
            Some(request.merchant.category.as_str()).filter(|name| !name.is_empty()).unwrap_or("no category"),
            request.authorization
        );
        Some(PolicyTest { name: name.into(), line: 1, history, request: again, expected })
    }

    /// As the file has them.
    fn text(&mut self, currency: Option<Currency>) -> String {
        let mut text = String::from(
            "# Decisions of the last day of a journal, for `tollgate test`. Change what you want to be different.\ntests:\n",
        );
        for test in self.kept.values().flatten() {
            // Writing to a `String` cannot fail.
            let _ = writeln!(text, "  - name: {}", quoted(&test.name));
            if !test.history.is_empty() {
                text.push_str("    history:\n");
            }
            for past in &test.history {
                let at = past.request.received_at;
                let mut entries = vec![format!("at: {}", quoted(&at.to_string()))];
                entries.extend(values(&past.request, currency));
                match past.outcome {
                    Outcome::Approved | Outcome::Partial => {}
                    Outcome::Declined => entries.push("outcome: declined".to_owned()),
                }
                let _ = writeln!(text, "      - {{{}}}", entries.join(", "));
            }
            let at = test.request.received_at;
            let mut entries = vec![format!("at: {}", quoted(&at.to_string()))];
            entries.extend(test.request.card.iter().map(|card| format!("card.id: {card}")));
            entries.extend(values(&test.request, currency));
            let _ = writeln!(text, "    request: {{{}}}", entries.join(", "));
            let expected: Vec<String> =
                test.expected.iter().map(|(field, value)| format!("{}: {value}", field.as_str())).collect();
            let _ = writeln!(text, "    expect: {{{}}}", expected.join(", "));
        }
        text
    }
}

/// What an authorization uses now, as one request; what was declined, as what it was.
fn past(
    id: &AuthorizationId,
    authorization: &Authorization,
    currency: Currency,
    now: Timestamp,
) -> Option<Past> {
    let answered = authorization.answers.first()?;
    let at = Timestamp::from_seconds(answered.at.as_seconds()).min(now);
    let mut request = blank(authorization.currency.unwrap_or(currency), at)?;
    request.authorization = id.clone();
    request.merchant = authorization.merchant.clone();
    let used: i64 = authorization.spends(true).iter().map(|spend| spend.amount).sum();
    let outcome = if answered.granted > 0 { Outcome::Approved } else { Outcome::Declined };
    let (asked, granted) = match outcome {
        Outcome::Approved | Outcome::Partial => (used, used),
        Outcome::Declined => (answered.question.amount, 0),
    };
    if let Ok(money) = &mut request.asked {
        money.amount = asked;
    }
    Some(Past { request, outcome, granted })
}

/// The inputs of a request as entries of a mapping.
fn values(request: &AuthorizationRequest, currency: Option<Currency>) -> Vec<String> {
    let usual = currency.unwrap_or(Currency::USD);
    given(request)
        .into_iter()
        .filter(|(input, value)| input.name != "currency" || *value != Given::Word(usual.as_str().into()))
        .map(|(input, value)| match value {
            Given::Flag(value) => format!("{}: {value}", input.name),
            Given::Number(seconds) if input.name == "card.age" => format!("{}: {seconds}s", input.name),
            Given::Number(number) => format!("{}: {number}", input.name),
            Given::Word(word) => format!("{}: {}", input.name, quoted(&word)),
        })
        .collect()
}

/// A text in quotes unless YAML reads it as the same text without them.
fn quoted(text: &str) -> String {
    let is_plain = text.len() > 3
        && text.starts_with(|letter: char| letter.is_ascii_lowercase())
        && text.chars().all(|letter| letter.is_ascii_lowercase() || letter == '_')
        && !["true", "false", "null"].contains(&text);
    if is_plain { text.to_owned() } else { format!("{text:?}") }
}
