//! Rules as stories: which of them decides, what a cap gives, what tags and flags say, and that limits hold all the same.
#![allow(clippy::arithmetic_side_effects, reason = "a test that overflows fails, as it should")]

use std::time::Duration;

use super::*;
use crate::domain::{
    Card, CardPolicy, Decided, Decision, Event, Interval, Limit, Measure, Outcome, PolicyVersion, Reason,
    Window, decide, explain,
    rule::{Cap, Rule, Then},
    windows_in_force,
};

/// Rules such as `no-cash: cash > 0 => decline`, in order.
fn policy(rules: &[&str], limit: Option<i64>) -> CardPolicy {
    let mut policy = CardPolicy::permissive(PolicyVersion::new("test"));
    policy.rules = rules.iter().map(|text| rule(text)).collect();
    policy.controls.spending_limits.extend(limit.map(|max| Limit {
        max,
        window: Arc::new(Window {
            measure: Measure::Amount(None),
            interval: Interval::PerAuthorization,
            time_zone: Zone::UTC,
            categories: None,
            merchants: None,
        }),
    }));
    policy
}

fn rule(text: &str) -> Rule {
    let (name, rest) = text.split_once(": ").unwrap();
    let (when, then) = rest.rsplit_once(" => ").unwrap();
    let (word, rest) = then.split_once(' ').unwrap_or((then, ""));
    let then = match word {
        "decline" => Then::Decline,
        "challenge" => Then::Challenge,
        "allow" => Then::Allow,
        "flag" => Then::Flag,
        "cap" if rest == "remaining" => Then::Cap(Cap::Remaining),
        "cap" => Then::Cap(Cap::Amount(rest.parse().unwrap())),
        "tag" => Then::Tag(
            rest.split(' ')
                .map(|tag| tag.split_once('=').unwrap())
                .map(|(k, v)| (k.into(), v.into()))
                .collect(),
        ),
        other => panic!("what is `{other}`?"),
    };
    let message = matches!(then, Then::Decline).then(|| format!("Not with {name}.").into());
    Rule::new(name.into(), compiled(when).unwrap(), then, message)
}

/// What a purchase of 450.00 USD, changed by `ask`, gets: outcome, granted, reason, rule.
fn decided(
    rules: &[&str],
    limit: Option<i64>,
    ask: impl FnOnce(&mut AuthorizationRequest),
) -> (AuthorizationRequest, Decision) {
    let mut request = purchase();
    ask(&mut request);
    let decision = decide(&Card::default(), &policy(rules, limit), &request);
    (request, decision)
}

#[track_caller]
fn check(
    rules: &[&str],
    limit: Option<i64>,
    ask: impl FnOnce(&mut AuthorizationRequest),
    expected: (Outcome, i64, Reason, &str),
) {
    let (_, decision) = decided(rules, limit, ask);
    let rule = decision.ruled.as_ref().and_then(|ruled| ruled.marks.rule.as_deref()).unwrap_or_default();
    assert_eq!((decision.outcome, decision.granted, decision.reason, rule), expected, "{decision:?}");
}

use Outcome::{Approved, Declined, Partial};

fn plain(_: &mut AuthorizationRequest) {}
fn controllable(request: &mut AuthorizationRequest) {
    request.is_amount_controllable = true;
}

#[test]
fn the_first_rule_that_matches_decides() {
    let ok = (Approved, 45_000, Reason::Approved, "");
    check(&[], None, plain, ok);
    check(&["a: cash > 0 => decline"], None, plain, ok);
    check(&["a: present => decline", "b: present => decline"], None, plain, (Declined, 0, Reason::Rule, "a"));
    check(
        &["a: cash > 0 => decline", "b: present => decline"],
        None,
        plain,
        (Declined, 0, Reason::Rule, "b"),
    );
    check(&["a: present => allow", "b: present => decline"], None, plain, ok);
    check(&["b: present => decline", "a: present => allow"], None, plain, (Declined, 0, Reason::Rule, "b"));
    // Allowing skips rules, and nothing else.
    check(&["a: present => allow"], Some(40_000), plain, (Declined, 0, Reason::SpendingLimit, ""));
    let mut paused = policy(&["a: present => allow"], None);
    paused.paused = true;
    assert_eq!(decide(&Card::default(), &paused, &purchase()).reason, Reason::CardPaused);
}

#[test]
fn a_cap_gives_a_part_where_the_amount_can_be_chosen() {
    let cap = ["cap: present => cap 20000"];
    check(&cap, None, controllable, (Partial, 20_000, Reason::Rule, "cap"));
    check(&cap, None, plain, (Declined, 0, Reason::Rule, "cap"));
    check(&["cap: present => cap 45000"], None, controllable, (Approved, 45_000, Reason::Approved, ""));
    // The tighter of cap and limit is what is named.
    check(&cap, Some(10_000), controllable, (Partial, 10_000, Reason::SpendingLimit, ""));
    check(&cap, Some(30_000), controllable, (Partial, 20_000, Reason::Rule, "cap"));
    // Never below the cash-back.
    let cash_back = |request: &mut AuthorizationRequest| {
        controllable(request);
        request.cashback = 25_000;
    };
    check(&cap, None, cash_back, (Declined, 0, Reason::Rule, "cap"));
    // Of two caps the smaller holds, and a rule behind a cap still declines.
    let two = ["a: present => cap 30000", "b: present => cap 20000"];
    check(&two, None, controllable, (Partial, 20_000, Reason::Rule, "b"));
    let behind = ["a: present => cap 30000", "b: present => decline"];
    check(&behind, None, controllable, (Declined, 0, Reason::Rule, "b"));
    let before = ["a: present => allow", "b: present => cap 30000"];
    check(&before, None, controllable, (Approved, 45_000, Reason::Approved, ""));
}

#[test]
fn what_is_left_may_be_given_by_a_rule_where_the_policy_gives_no_parts() {
    let mut whole = policy(&["left: present => cap remaining"], Some(10_000));
    whole.partial_approvals = false;
    let mut request = purchase();
    request.is_amount_controllable = true;
    let decision = decide(&Card::default(), &whole, &request);
    assert_eq!(
        (decision.outcome, decision.granted, decision.reason),
        (Partial, 10_000, Reason::SpendingLimit)
    );
    whole.rules = Arc::default();
    assert_eq!(decide(&Card::default(), &whole, &request).outcome, Declined);
}

#[test]
fn a_confirmed_retry_passes_the_rule_that_asked() {
    let rules = ["ask: amount > 30000 => challenge", "cash: cash > 0 => decline"];
    let (_, decision) = decided(&rules, None, plain);
    assert_eq!((decision.reason, decision.challenge), (Reason::Rule, true));
    let verified = |request: &mut AuthorizationRequest| request.verified_by_fraud_challenge = true;
    check(&rules, None, verified, (Approved, 45_000, Reason::Approved, ""));
    let with_cash = |request: &mut AuthorizationRequest| {
        verified(request);
        request.cashback = 1;
    };
    check(&rules, None, with_cash, (Declined, 0, Reason::Rule, "cash"));
}

#[test]
fn all_tags_and_flags_that_match_apply_wherever_they_are() {
    let rules = [
        "t1: present => tag trip=britain team=a",
        "stop: amount > 30000 => decline",
        "t2: present => tag team=b level=high",
        "t3: cash > 0 => tag cash=yes",
        "f1: merchant.country == \"GB\" => flag",
        "f2: cash > 0 => flag",
    ];
    let marks = |rules: &[&str]| {
        let (_, decision) = decided(rules, None, plain);
        let answer = decision.answer(false);
        let marks = decision.ruled.map(|ruled| Arc::clone(&ruled.marks));
        assert_eq!(answer.marks, marks, "the reply says what the decision says");
        marks
    };
    let found = marks(&rules).unwrap();
    let tags: Vec<String> = found.tags.iter().map(|(key, value)| format!("{key}={value}")).collect();
    assert_eq!(tags, ["trip=britain", "team=a", "level=high"], "of two with one key the earlier counts");
    assert_eq!((found.rule.as_deref(), &*found.flags[0], found.flags.len()), (Some("stop"), "f1", 1));
    let approved = marks(&["t1: present => tag trip=britain", "f1: present => flag"]).unwrap();
    assert_eq!((approved.rule.as_deref(), approved.tags.len(), approved.flags.len()), (None, 1, 1));
    assert_eq!(marks(&["t3: cash > 0 => tag cash=yes"]), None);
}

#[test]
fn a_decline_by_a_rule_says_what_would_have_passed() {
    let check = |rules: &[&str], limit: Option<i64>, expected: i64| {
        let (_, decision) = decided(rules, limit, plain);
        assert_eq!((decision.outcome, decision.reason), (Declined, Reason::Rule), "{rules:?}");
        assert_eq!(decision.largest_approvable, Some(expected), "{rules:?}");
    };
    check(&["a: amount > 30000 => decline"], None, 30_000);
    check(&["a: amount >= 30000 => decline"], None, 29_999);
    check(&["a: amount > 30000 => decline"], Some(20_000), 20_000);
    check(&["a: present => decline"], None, 0);
    check(&["a: amount == 45000 => decline"], None, 44_999);
    check(&["a: amount in [44999, 45000] => decline"], None, 44_998);
    check(&["a: amount > 30000 => decline", "b: amount * 2 > 50000 && present => decline"], None, 25_000);
    check(&["a: amount > 30000 => decline", "b: present => cap 7000"], None, 7_000);
    check(&["a: amount < 100 => allow", "b: present => decline"], None, 99);
    check(&["a: total + cash > 100 => decline"], None, 100);
    // What a cap leaves may be what another rule declines.
    check(&["a: present => cap 40", "b: amount < 41 => decline"], None, 0);
    check(&["a: present => cap 40", "b: amount > 20 && amount < 41 => decline"], None, 20);
}

proptest::proptest! {
    /// What is said to pass does, and one unit more does not.
    #[test]
    fn the_smallest_change_passes_and_one_unit_less_does_not(
        conditions in proptest::collection::vec(super::oracle::condition(), 1..4),
        outcomes in proptest::collection::vec(proptest::sample::select(&["decline", "challenge", "allow", "cap 40"][..]), 4),
        limit in proptest::option::of(1_i64..300),
        request in super::oracle::request(),
    ) {
        let rules = conditions.iter().zip(outcomes).map(|(pair, then)| format!("r: {} => {then}", pair.ours));
        let rules: Vec<String> = rules.collect();
        let Ok(_) = conditions.iter().map(|pair| compiled(&pair.ours)).collect::<Result<Vec<_>, _>>() else { return Ok(()) };
        let policy = policy(&rules.iter().map(String::as_str).collect::<Vec<_>>(), limit);
        let declined = decide(&Card::default(), &policy, &request);
        let is_declined = declined.outcome == Declined;
        if let Some(largest) = declined.largest_approvable.filter(|largest| is_declined && *largest > 0) {
            let outcome = |amount: i64| {
                let asked = Ok(Money::new(amount, "usd".parse().unwrap()));
                decide(&Card::default(), &policy, &AuthorizationRequest { asked, ..request.clone() }).outcome
            };
            proptest::prop_assert_eq!(outcome(largest), Approved, "{} of {:?}", largest, rules);
            proptest::prop_assert_ne!(outcome(largest + 1), Approved, "{} of {:?}", largest + 1, rules);
        }
    }
}

#[test]
fn counts_and_sums_are_of_the_windows_before_the_request() {
    let rules = ["often: count(1h) >= 2 => decline", "much: sum(daily) + amount > 100000 => decline"];
    let policy = policy(&rules, None);
    let mut card = Card::default();
    let mut number = 0;
    let mut ask = |card: &mut Card, minutes: i64, amount: i64| {
        number += 1;
        let mut request = purchase();
        request.authorization = AuthorizationId::new(&format!("iauth_{number}")).unwrap();
        request.asked = Ok(Money::new(amount, "usd".parse().unwrap()));
        request.received_at = Timestamp::parse("2026-11-22T04:30:00Z")
            .unwrap()
            .plus(Duration::from_mins(minutes.unsigned_abs()));
        card.adopt(windows_in_force(&policy, None), false, request.received_at).unwrap();
        let decision = decide(card, &policy, &request);
        let rule =
            decision.ruled.as_ref().and_then(|ruled| ruled.marks.rule.as_deref().map(ToOwned::to_owned));
        let sentence = explain(&request, &decision);
        card.apply(&Event::Decided(Box::new(Decided { request: Arc::new(request), decision })));
        (rule, sentence)
    };
    assert_eq!(ask(&mut card, 0, 10_000).0, None);
    assert_eq!(ask(&mut card, 10, 20_000).0, None);
    let (rule, sentence) = ask(&mut card, 20, 100);
    assert_eq!(rule.as_deref(), Some("often"));
    assert_eq!(sentence, "declined: Not with often. (rule often: count(1h) = 2)");
    // A decline counts nothing; the first purchase leaves the window after exactly an hour.
    assert_eq!(ask(&mut card, 59, 100).0.as_deref(), Some("often"));
    assert_eq!(ask(&mut card, 60, 70_000).0, None, "30,000 and 70,000 are 100,000");
    let (rule, sentence) = ask(&mut card, 180, 1);
    assert_eq!(rule.as_deref(), Some("much"));
    assert_eq!(sentence, "declined: Not with much. (rule much: sum(daily) = 1000.00 USD, amount = 0.01 USD)");
    // Tomorrow, in Berlin.
    assert_eq!(ask(&mut card, 18 * 60 + 29, 1).0.as_deref(), Some("much"));
    assert_eq!(ask(&mut card, 18 * 60 + 30, 1).0, None);
    // A policy that has the rule only now counts what was before.
    let mut late = Card::default();
    late.clone_from(&card);
    late.adopt(std::iter::empty(), false, late.time).unwrap();
    assert_eq!(ask(&mut late, 18 * 60 + 31, 100_000).0.as_deref(), Some("much"), "one cent is spent today");
}

#[test]
fn a_decision_by_a_rule_is_explained_by_its_sentence_and_values() {
    let explained = |rules: &[&str], ask: fn(&mut AuthorizationRequest)| {
        let (request, decision) = decided(rules, None, ask);
        explain(&request, &decision)
    };
    assert_eq!(
        explained(&["no-cash: cash > 0 && merchant.country != \"US\" => decline"], |request| request
            .cashback =
            2_000),
        "declined: Not with no-cash. (rule no-cash: cash = 20.00 USD, merchant.country = GB)"
    );
    assert_eq!(
        explained(&["ask: amount > 30000 => challenge"], plain),
        "declined: the rule ask matches (amount = 450.00 USD); at most 300.00 USD would have passed; a text message asks the cardholder to confirm the purchase"
    );
    assert_eq!(
        explained(&["night: hour < 6 => cap 5000"], controllable),
        "approved in part: 50.00 USD; the rule night matches (hour(\"Europe/Berlin\") = 5)"
    );
}
