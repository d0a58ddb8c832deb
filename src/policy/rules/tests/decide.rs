//! Rules as stories: which of them decides, what a cap gives, what tags and flags say, and that limits hold all the same.
#![allow(clippy::arithmetic_side_effects, reason = "a test that overflows fails, as it should")]

use std::time::Duration;

use super::*;
use crate::domain::{
    Account, Card, CardPolicy, Decided, Decision, Event, Interval, Limit, LimitCheck, Measure, Outcome,
    PolicyVersion, Reason, Window, decide, decide_without_ledger, explain,
    rule::{Cap, OnStandIn, Rule, Then},
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
            occurrence: crate::domain::Occurrence::Approval,
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
        "score" => Then::Score(rest.parse().unwrap()),
        "block" => Then::Block(crate::domain::parse_span(rest).unwrap()),
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
        let rules = conditions.iter().zip(outcomes).enumerate().map(|(place, (pair, then))| format!("r{place}: {} => {then}", pair.ours));
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
        let would_pass = declined.would_pass.map(|would_pass| *would_pass).unwrap_or_default();
        if let Some(at) = would_pass.at {
            let outcome = |received_at: Timestamp| {
                decide(&Card::default(), &policy, &AuthorizationRequest { received_at, ..request.clone() }).outcome
            };
            proptest::prop_assert_eq!(outcome(at), Approved, "at {} of {:?}", at, rules);
            let before = Timestamp::from_micros(at.as_micros() - 1);
            proptest::prop_assert_ne!(outcome(before), Approved, "at {} of {:?}", before, rules);
        }
        if let Some(without) = would_pass.without {
            let rest: Vec<&str> =
                rules.iter().map(String::as_str).filter(|rule| !rule.starts_with(&format!("{without}:"))).collect();
            let policy = self::policy(&rest, limit);
            proptest::prop_assert_eq!(decide(&Card::default(), &policy, &request).outcome, Approved, "without {} of {:?}", without, rules);
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
    assert_eq!(
        sentence,
        "declined: Not with often. (rule often: count(1h) = 2); the same request passes from 2026-11-22T05:30Z"
    );
    // A decline counts nothing; the first purchase leaves the window after exactly an hour.
    assert_eq!(ask(&mut card, 59, 100).0.as_deref(), Some("often"));
    assert_eq!(ask(&mut card, 60, 70_000).0, None, "30,000 and 70,000 are 100,000");
    let (rule, sentence) = ask(&mut card, 180, 1);
    assert_eq!(rule.as_deref(), Some("much"));
    assert_eq!(
        sentence,
        "declined: Not with much. (rule much: sum(daily) = 1000.00 USD, amount = 0.01 USD); the same request passes from 2026-11-22T23:00Z"
    );
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

#[test]
fn scores_add_up_and_decline_above_the_limit() {
    let rules = ["a: present => score 60", "b: amount > 100 => score 40", "c: amount > 44000 => score 1"];
    check(&rules[..2], None, plain, ok());
    check(&rules, None, plain, (Declined, 0, Reason::Rule, "c"));
    check(&["a: present => score 60", "ok: present => allow", "b: present => score 60"], None, plain, ok());
    check(
        &["a: present => score 160", "b: present => score -60"],
        None,
        plain,
        (Declined, 0, Reason::Rule, "a"),
    );
    let (request, decision) = decided(&rules, None, plain);
    assert_eq!(
        explain(&request, &decision),
        "declined: the rule c matches (score 101 of a 60 + b 40 + c 1); at most 440.00 USD would have passed"
    );
    let (request, decision) =
        decided(&["a: present => score 60", "stop: amount > 1 => decline"], None, plain);
    let sentence = explain(&request, &decision);
    assert!(sentence.starts_with("declined: Not with stop. (rule stop: amount = 450.00 USD)"), "{sentence}");
    // The addends of an approval are kept too.
    let (_, approved) = decided(&rules[..2], None, plain);
    let scores = approved.ruled.unwrap().scores;
    assert_eq!(scores, [("a".into(), 60), ("b".into(), 40)]);
}

fn ok() -> (Outcome, i64, Reason, &'static str) {
    (Approved, 45_000, Reason::Approved, "")
}

#[test]
fn a_block_declines_all_requests_of_the_card_until_it_ends() {
    let policy = policy(&["pause: amount > 44000 => block 10m", "t: present => tag k=v"], None);
    let mut card = Card::default();
    let ask = |card: &mut Card, seconds: u64, amount: i64, policy: &CardPolicy| {
        let mut request = purchase();
        request.authorization = AuthorizationId::new(&format!("iauth_{seconds}")).unwrap();
        request.asked = Ok(Money::new(amount, "usd".parse().unwrap()));
        request.received_at = request.received_at.plus(Duration::from_secs(seconds));
        let decision = decide(card, policy, &request);
        card.apply(&Event::Decided(Box::new(Decided {
            request: Arc::new(request.clone()),
            decision: decision.clone(),
        })));
        (decision.outcome, explain(&request, &decision))
    };
    assert_eq!(ask(&mut card, 0, 100, &policy).0, Approved);
    assert_eq!(ask(&mut card, 1, 45_000, &policy).0, Declined);
    let (outcome, sentence) = ask(&mut card, 600, 100, &policy);
    assert_eq!(outcome, Declined);
    assert_eq!(
        sentence,
        "declined: the rule pause matches (all requests of the card are declined until 2026-11-22T04:40:01Z); the same request passes from 2026-11-22T04:40:01Z"
    );
    assert_eq!(ask(&mut card, 601, 100, &policy).0, Approved);
    // A policy without the rule lifts it.
    assert_eq!(ask(&mut card, 700, 45_000, &policy).0, Declined);
    assert_eq!(ask(&mut card, 701, 100, &CardPolicy::permissive(PolicyVersion::new("other"))).0, Approved);
}

#[test]
fn a_rule_says_what_it_declines_without_the_ledger() {
    let decided = |rule: &str, on_stand_in: Option<OnStandIn>, ask: fn(&mut AuthorizationRequest)| {
        let mut policy = policy(&[], None);
        policy.rules = [self::rule(rule).with_stand_in(on_stand_in)].into();
        let mut request = purchase();
        ask(&mut request);
        // With the ledger the rule is what it is.
        assert_eq!(decide(&Card::default(), &policy, &request).outcome, Approved, "{rule}");
        decide_without_ledger(&policy, &request).outcome
    };
    let history = "often: count(1h) >= 2 => decline";
    assert_eq!(decided(history, None, plain), Approved);
    assert_eq!(decided(history, Some(OnStandIn::Skip), plain), Approved);
    assert_eq!(decided(history, Some(OnStandIn::Decline), plain), Declined);
    assert_eq!(decided(history, Some(OnStandIn::ApproveTo(45_000)), plain), Approved);
    assert_eq!(decided(history, Some(OnStandIn::ApproveTo(44_999)), plain), Declined);
    // What needs no ledger is evaluated, unless an input is missing.
    let present = "there: cash > 0 => decline";
    assert_eq!(decided(present, Some(OnStandIn::Decline), plain), Approved);
    let risk = "risk: has(fraud.score) && fraud.score > 9000 => decline";
    assert_eq!(decided(risk, Some(OnStandIn::Decline), plain), Declined);
    assert_eq!(
        decided(risk, Some(OnStandIn::Decline), |request| request.details.risk.fraud_score = Some(1)),
        Approved
    );
}

#[test]
fn a_decline_says_when_and_without_which_rule_it_would_have_passed() {
    let would_pass = |rules: &[&str]| {
        let (_, decision) = decided(rules, None, plain);
        let found = decision.would_pass.map(|would_pass| *would_pass).unwrap_or_default();
        (
            found.at.map(|at| at.to_string()).unwrap_or_default(),
            found.without.as_deref().unwrap_or_default().to_owned(),
        )
    };
    let check = |rules: &[&str], at: &str, without: &str| {
        assert_eq!(would_pass(rules), (at.to_owned(), without.to_owned()), "{rules:?}");
    };
    check(&["night: hour < 6 => decline"], "2026-11-22T05:00:00Z", "night");
    check(&["sunday: weekday == \"sunday\" => decline"], "2026-11-22T23:00:00Z", "sunday");
    check(&["until: date < \"2026-11-25\" => decline"], "2026-11-24T23:00:00Z", "until");
    check(&["a: present => decline"], "", "a");
    check(&["a: present => decline", "b: amount > 1 => decline"], "", "");
    check(&["night: hour < 6 => decline", "b: amount > 1 => decline"], "", "");
}

#[test]
fn a_rule_sees_what_is_left_of_a_budget() {
    let check = |account: &str, measure, before, max| LimitCheck {
        account: Some(Account::budget(account, Some("ich_1"))),
        is_balance: false,
        measure,
        interval: Interval::Daily,
        before,
        after: before,
        max,
        resets_at: None,
        owners: None,
        lifted: None,
    };
    let usd = Measure::Amount(Some("usd".parse().unwrap()));
    let limits = [
        check("engineering", usd, 80_999, 100_000),
        check("engineering", usd, 5_000, 90_000),
        check("engineering", Measure::Count, 9, 10),
        check("marketing", usd, 500, 500),
    ];
    let request = purchase();
    let of = |limits| Facts { limits, ..facts(&request) };
    let holds = |text: &str, limits| compiled(text).unwrap().holds(&of(limits));
    assert!(holds("budget(\"engineering\").remaining == 19001", &limits));
    assert!(holds("budget(\"engineering\").used_share == 90", &limits));
    assert!(holds("budget(\"engineering\").used_share == 80", &limits[..2]));
    // Of nothing everything is used; a budget that is not charged has no limit.
    let of_nothing = [check("engineering", usd, 0, 0)];
    assert!(holds("budget(\"engineering\").used_share == 100", &of_nothing));
    assert!(holds(
        "budget(\"engineering\").used_share == 0 && budget(\"engineering\").remaining > 1000000",
        &[]
    ));
    let condition = compiled("budget(\"engineering\").remaining < amount").unwrap();
    let shown: Vec<String> = trace(&condition, &of(&limits)).into_iter().map(|part| part.value).collect();
    assert_eq!(shown, ["budget(\"engineering\").remaining = 190.01 USD, amount = 450.00 USD"]);
    assert_eq!(condition.to_string(), "budget(\"engineering\").remaining < amount");
}
