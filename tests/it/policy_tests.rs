//! `tollgate test`: what passes, what fails and how that is shown, and the first set of tests from a journal.
#![allow(clippy::unwrap_used, reason = "a test fails where it cannot go on")]

use std::fs;

use crate::{
    deliveries::purchase_in,
    process::{Node, Site},
};

const POLICY: &str = "\
version: 1
currency: usd
default:
  spending_limits: [{amount: 10000, interval: all_time}]
  rules:
    - {name: no-cash, when: cash > 0, then: decline, message: No cash.}
    - {name: large, when: amount > 4000, then: {tag: {size: large, team: a}}}
    - {name: watch, when: amount > 4000, then: flag}
    - {name: pace, when: count(10m) >= 2, then: challenge}
";

/// Runs the tests: exit code, standard output, standard error.
async fn tested(site: &Site, policy: &str, more: &[&str]) -> (i32, String, String) {
    fs::write(site.path("policy.yaml"), policy).unwrap();
    let arguments: Vec<&str> = ["test", "policy.yaml"].iter().chain(more).copied().collect();
    let output = site.run(&arguments, &[]).await;
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// One test under `tests`, in the flow style.
async fn check(test: &str, passes: bool) -> String {
    let site = Site::new(&[]);
    let (code, out, err) = tested(&site, &format!("{POLICY}tests:\n  - {{name: it, {test}}}\n"), &[]).await;
    assert_eq!(code, i32::from(!passes), "{test}: {out}{err}");
    out
}

#[tokio::test]
async fn a_test_passes_if_everything_that_it_expects_is_so() {
    for test in [
        "request: {amount: 1}, expect: {outcome: approved, reason: approved, amount: 1, rule: none}",
        "request: {amount: 1, cash: 1}, expect: {outcome: declined, reason: rule, rule: no-cash, message: No cash.}",
        "request: {amount: 4001}, expect: {tags: {team: a, size: large}, flags: [watch]}",
        "request: {amount: 3999}, expect: {tags: {}, flags: []}",
        "request: {amount: 10001}, expect: {reason: spending_limit, largest_approvable: 10000}",
        "request: {amount: 10001, amount_controllable: true}, expect: {outcome: partial, amount: 10000}",
        "history: [{ago: 11m, amount: 5, times: 2}], request: {amount: 1}, expect: {outcome: approved}",
        "history: [{ago: 9m, amount: 5, times: 2}], request: {amount: 1}, expect: {rule: pace, challenge: true}",
        "history: [{ago: 9m, amount: 5, times: 9, outcome: declined}], request: {amount: 1}, expect: {outcome: approved}",
        "history: [{ago: 9m, amount: 5, times: 2}], request: {amount: 1, verified_by_challenge: true}, expect: {outcome: approved}",
        "history: [{at: '2026-01-15T11:00:00Z', amount: 9000}], request: {amount: 1001}, expect: {outcome: declined}",
        "history: [{ago: 1h, amount: 9000, outcome: partial, granted: 4000}], request: {amount: 1001}, expect: {outcome: approved}",
        "history: [{ago: 1h, amount: 4000, authorization: a}], request: {amount: 100, authorization: a}, expect: {outcome: approved}",
        "request: {at: '2026-01-15T11:00:00Z', amount: 100, card: {id: ic_1, type: virtual}, card.age: 7d}, expect: {outcome: approved}",
    ] {
        let shown = check(test, true).await;
        assert_eq!(shown, "ok    it\n\n1 passed, 0 failed\n");
    }
}

#[tokio::test]
async fn a_test_that_fails_is_shown_with_what_was_found_and_why() {
    let shown = check(
        "request: {amount: 10001}, expect: {outcome: declined, reason: velocity_limit, amount: 0}",
        false,
    )
    .await;
    let expected = "\
FAIL  it (policy.yaml:11)
        outcome: declined
      - reason: velocity_limit
      + reason: spending_limit
        amount: 0
      declined: 0.00 of the 100.00 USD lifetime limit is used; at most 100.00 would have been approved

0 passed, 1 failed
";
    assert_eq!(shown, expected);
    check("request: {amount: 4001}, expect: {tags: {size: large}}", false).await;
    check("request: {amount: 1}, expect: {rule: pace}", false).await;
}

#[tokio::test]
async fn mistakes_are_shown_with_their_place_and_what_to_do() {
    for (test, place, advice) in [
        ("request: {amunt: 1}, expect: {outcome: approved}", "11:26", "did you mean `amount`?"),
        (
            "request: {merchant: {countri: US}}, expect: {outcome: approved}",
            "11:37",
            "did you mean `merchant.country`?",
        ),
        (
            "request: {amount: 1, merchant.country: UK}, expect: {outcome: approved}",
            "11:55",
            "did you mean \"GB\"?",
        ),
        ("request: {amount: 1, hour: 3}, expect: {outcome: approved}", "11:43", "it follows from `at`"),
        ("request: {currency: usd}, expect: {outcome: approved}", "11:25", "add it, in minor units"),
        ("request: {amount: 20.00}, expect: {outcome: approved}", "11:34", "20.00 USD is `2000`"),
        ("request: {amount: 1}, expect: {outcome: aproved}", "11:56", "did you mean `approved`?"),
        (
            "request: {amount: 1}, expect: {reason: daily_limit}",
            "11:55",
            "write one of approved, spending_limit",
        ),
        ("request: {amount: 1}, expect: {}", "11:46", "add `outcome: approved`"),
        ("request: {amount: 1}", "11:5", "a test has `name`, `request` and `expect`"),
        (
            "history: [{amount: 1}], request: {amount: 1}, expect: {rule: none}",
            "11:26",
            "add `ago`, such as `ago: 5m`",
        ),
        (
            "history: [{amount: 1, ago: soon}], request: {amount: 1}, expect: {rule: none}",
            "11:43",
            "write one such as `90s`",
        ),
    ] {
        let site = Site::new(&[]);
        let policy = format!("{POLICY}tests:\n  - {{name: it, {test}}}\n");
        let (code, out, _) = tested(&site, &policy, &[]).await;
        assert_eq!(code, 78, "{test}: {out}");
        assert_eq!(out.matches("error: ").count(), 1, "{test}: {out}");
        assert!(out.contains(&format!("policy.yaml:{place}")) && out.contains(advice), "{test}: {out}");
    }
}

/// A mistake in a test is no reason for a node to go on without a policy.
#[tokio::test]
async fn a_node_takes_a_policy_whose_tests_have_mistakes() {
    let site = Site::new(&[("TOLLGATE_POLICY", "policy.yaml")]);
    fs::write(site.path("policy.yaml"), format!("{POLICY}tests: [{{name: 3}}]\n")).unwrap();
    site.start().await.stop().await;
    let checked = site.run(&["check", "policy.yaml"], &[]).await;
    assert_eq!(checked.status.code(), Some(1));
}

#[tokio::test]
async fn without_tests_nothing_passes() {
    let site = Site::new(&[]);
    let (code, out, err) = tested(&site, POLICY, &[]).await;
    assert_eq!((code, out.as_str()), (78, ""));
    assert!(err.contains("policy.yaml has no tests"), "{err}");
}

#[tokio::test]
async fn tests_stand_beside_the_policy_and_are_reported_to_ci() {
    let site = Site::new(&[]);
    let tests = "\
tests:
  - {name: small <1>, request: {amount: 1}, expect: {outcome: approved}}
  - {name: cash, request: {amount: 2, cash: 2}, expect: {outcome: approved}}
";
    fs::write(site.path("policy.tests.yaml"), tests).unwrap();
    let (code, out, _) = tested(&site, POLICY, &["--junit", "report.xml"]).await;
    assert_eq!(code, 1, "{out}");
    assert!(out.contains("FAIL  cash (policy.tests.yaml:3)"), "{out}");
    let report = fs::read_to_string(site.path("report.xml")).unwrap();
    let expected = "\
<?xml version=\"1.0\" encoding=\"UTF-8\"?>
<testsuites tests=\"2\" failures=\"1\">
<testsuite name=\"tollgate test\" tests=\"2\" failures=\"1\">
<testcase name=\"small &lt;1&gt;\" classname=\"policy.tests.yaml\" file=\"policy.tests.yaml\" line=\"2\"/>
<testcase name=\"cash\" classname=\"policy.tests.yaml\" file=\"policy.tests.yaml\" line=\"3\"><failure message=\"declined: No cash. (rule no-cash: cash = 0.02 USD)\">- outcome: approved
+ outcome: declined</failure></testcase>
</testsuite>
</testsuites>
";
    assert_eq!(report, expected);
    let (code, _, _) = tested(&site, POLICY, &["--tests", "nowhere.yaml"]).await;
    assert_eq!(code, 78);
}

async fn bought(node: &Node, authorization: &str, amount: i64, cash: i64) {
    let mut request = purchase_in("usd", "ic_one", authorization, amount);
    request["data"]["object"]["pending_request"]["amount_details"]["cashback_amount"] = cash.into();
    let response = node.deliver(request.to_string().as_bytes()).await;
    assert_eq!(response.status, 200, "{}", response.body);
}

#[tokio::test]
async fn a_first_set_of_tests_repeats_the_last_day_of_a_journal() {
    let site = Site::new(&[("TOLLGATE_POLICY", "policy.yaml")]);
    fs::write(site.path("policy.yaml"), POLICY).unwrap();
    let node = site.start().await;
    bought(&node, "iauth_1", 2_000, 0).await;
    bought(&node, "iauth_2", 700, 700).await;
    bought(&node, "iauth_3", 9_000, 0).await;
    bought(&node, "iauth_4", 5_000, 0).await;
    bought(&node, "iauth_5", 10, 0).await;
    let (code, out, err) = tested(&site, POLICY, &["--init"]).await;
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.contains("policy.tests.yaml: 5 tests of 4 kinds of decisions"), "{out}");
    // They pass, and catch a policy that decides otherwise.
    let (code, out, _) = tested(&site, POLICY, &[]).await;
    assert!(code == 0 && out.contains("5 passed, 0 failed"), "{out}");
    let (code, out, _) = tested(&site, &POLICY.replace("10000", "4000"), &[]).await;
    assert!(code == 1 && out.contains("+ reason: spending_limit"), "{out}");
    let tests = fs::read_to_string(site.path("policy.tests.yaml")).unwrap();
    assert!(!tests.contains("cardholder") && !tests.contains("ic_one"), "{tests}");
    // Nothing is overwritten.
    let (code, _, err) = tested(&site, POLICY, &["--init"]).await;
    assert!(code == 78 && err.contains("policy.tests.yaml exists"), "{err}");
    node.stop().await;
}

/// The files of lists are part of the policy: of its version, of what is watched, and of what the journal holds.
#[tokio::test]
async fn a_list_may_be_in_a_file_beside_the_policy() {
    const LISTED: &str = "\
version: 1
currency: usd
lists: {trusted: {file: lists/trusted.txt}}
default:
  rules: [{name: unknown, when: '!(merchant.id in list(\"trusted\"))', then: decline}]
tests:
  - {name: in the file, request: {amount: 1, merchant.id: '000000099999'}, expect: {outcome: approved}}
  - {name: not in it, request: {amount: 1, merchant.id: '000000100000'}, expect: {rule: unknown}}
";
    let site = Site::new(&[("TOLLGATE_POLICY", "policy.yaml")]);
    fs::create_dir(site.path("lists")).unwrap();
    let entries: Vec<String> = (0..100_000).map(|number| format!("{number:012}")).collect();
    let write = |entries: &[String]| {
        let text = format!("# trusted merchants\n\n{}", entries.join("\n"));
        fs::write(site.path("lists/new.txt"), text).unwrap();
        fs::rename(site.path("lists/new.txt"), site.path("lists/trusted.txt")).unwrap();
    };
    let (code, _, err) = tested(&site, LISTED, &[]).await;
    assert!(code == 78 && err.contains("its list file lists/trusted.txt: No such file"), "{err}");
    write(&entries);
    let (code, out, err) = tested(&site, LISTED, &[]).await;
    assert_eq!(code, 0, "{out}{err}");
    let mut node = site.start().await;
    bought(&node, "iauth_1", 100, 0).await;
    // The merchant of the purchases joins the list; the node sees it.
    write(&["1234567890".to_owned()]);
    node.process.signal(rustix::process::Signal::HUP);
    node.process.logged("a new policy is in force").await;
    bought(&node, "iauth_2", 100, 0).await;
    for (id, expected) in [("iauth_1", "declined"), ("iauth_2", "approved")] {
        assert_eq!(node.authorization(id).await["decisions"][0]["outcome"], expected, "{id}");
    }
    node.stop().await;
    // The journal has both lists.
    let replayed = crate::process::replayed(&site.journal()).await;
    let report = String::from_utf8(replayed.stdout).unwrap();
    assert!(report.contains("2 of 2 answers") && report.contains("2 policies"), "{report}");
    write(&vec!["x".repeat(100); 100_001]);
    let (code, _, err) = tested(&site, LISTED, &[]).await;
    assert!(code == 78 && err.contains("have more than 4194304 bytes"), "{err}");
}
