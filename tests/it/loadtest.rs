//! The load test against the real binary: an honest node has no violation, and each kind of violation is seen where a
//! proxy between Stripe and the node breaks a promise.

use std::{fs, net::TcpStream, os::unix::fs::PermissionsExt as _, path::Path, thread};

use tollgate_loadtest::{
    generator::Target,
    liar::{Liar, Lie},
    nodes::Nodes,
    record::Record,
    run::{Against, Options, run},
    scenario::{Act, Disturbance, Limits, Lives, Scenario},
};

use crate::{
    journal::child,
    postgres::{is_installed, open_directory},
    process::{all_have_gone_from, at_work_in},
};

const SECRET: &str = "whsec_of_the_tests";

pub(crate) fn scenario(name: &str, rate: f64, duration_s: f64) -> Scenario {
    let mut scenario = Scenario::load(name).unwrap();
    scenario.rate = rate;
    scenario.duration_s = duration_s;
    // What is promised does not depend on how busy the machine is; how long it takes does.
    scenario.objectives.p99_ms = None;
    scenario.objectives.unanswered_max = 1.0;
    scenario.objectives.stand_in_max = 1.0;
    scenario.objectives.normal_within_s = None;
    scenario
}

pub(crate) fn play(scenario: Scenario, against: Against, directory: &Path) -> Record {
    let options = Options {
        scenario,
        against,
        repeats: 1,
        directory: directory.join("record"),
        command: String::new(),
    };
    run(&options, |_| {}).unwrap_or_else(|failure| panic!("{failure}"))
}

fn against_a_node(scenario: Scenario) -> Record {
    let directory = tempfile::tempdir().unwrap();
    let binary = env!("CARGO_BIN_EXE_tollgate").into();
    play(scenario, Against::Local { count: 1, binary, upgrade_from: None }, directory.path())
}

pub(crate) fn honest(record: &Record) {
    let verdict = &record.verdict;
    assert!(verdict.summary.starts_with("0 violations in "), "{verdict:?} {:?}", record.runs[0].audit);
    assert!(verdict.passed && verdict.decisions > 50, "{verdict:?}");
    let audit = &record.runs[0].audit;
    assert!(audit.cards_compared > Some(5) && audit.authorizations_compared > Some(50), "{audit:?}");
}

#[test]
fn a_node_has_no_violation_whatever_becomes_of_its_authorizations() {
    let mut scenario = scenario("lifecycle", 40.0, 3.0);
    scenario.cards = 20;
    // On a busy machine nothing is given up but what nobody answers.
    scenario.stripe.deadline_ms = 30_000;
    scenario.limits.all_time = Some(20_000);
    scenario.stripe.forged_questions = 0.1;
    let record = against_a_node(scenario);
    honest(&record);
    let outcomes = &record.runs[0].outcomes;
    assert!(outcomes.approved > 20 && outcomes.declined > 0, "{outcomes:?}");
    assert!(outcomes.duplicates > 0 && outcomes.forged_refused > 0, "{outcomes:?}");
    assert_eq!(record.runs[0].deliveries.undelivered, 0);
}

#[test]
fn answers_over_the_api_and_events_that_never_came_are_audited_like_all_others() {
    let mut scenario = scenario("over-the-api", 50.0, 2.0);
    scenario.cards = 20;
    let record = against_a_node(scenario);
    honest(&record);
    let deliveries = &record.runs[0].deliveries;
    assert!(deliveries.latency.count < deliveries.events, "some are lost: {deliveries:?}");
}

#[test]
fn a_soak_sees_what_a_node_uses_and_reads_no_metrics() {
    let mut scenario = scenario("soak", 40.0, 3.0);
    scenario.cards = 10;
    scenario.objectives.memory_growth_max = None;
    let record = against_a_node(scenario);
    honest(&record);
    let samples = &record.runs[0].nodes[0].samples;
    let last = samples.last().unwrap();
    assert!(samples.len() > 2 && last.memory_bytes > 5e6 && last.cpu_seconds > 0.0, "{samples:?}");
    assert!(samples.iter().all(|one| one.cards_resident == 0.0 && one.journal_batches == 0.0), "{samples:?}");
}

#[test]
fn nothing_that_was_acknowledged_is_missing_after_a_kill() {
    let mut scenario = scenario("node-kill", 60.0, 3.0);
    scenario.cards = 20;
    scenario.disturbances = vec![
        Disturbance { at: 0.3, act: Act::Kill, node: 0, away_ms: 10, astray_ms: 0 },
        Disturbance { at: 0.7, act: Act::Terminate, node: 0, away_ms: 10, astray_ms: 0 },
    ];
    let record = against_a_node(scenario);
    honest(&record);
    let marks: Vec<&str> = record.runs[0].marks.iter().map(|mark| &*mark.what).collect();
    assert_eq!(marks, ["kill", "start", "ready", "terminate", "start", "ready"]);
}

#[tokio::test]
async fn nodes_of_a_load_test_that_is_killed_end_with_it_and_so_does_their_database() {
    if let Some(directory) = child::path() {
        let limits = Limits { daily: Some(1_000), ..Limits::default() };
        let binary = Path::new(env!("CARGO_BIN_EXE_tollgate"));
        let nodes = Nodes::start(2, binary, &directory.join("nodes"), SECRET, &limits, None, &[]).unwrap();
        child::say("started");
        loop {
            assert_eq!(nodes.count(), 2);
            thread::park();
        }
    }
    if !is_installed() {
        return;
    }
    let directory = open_directory();
    let test = "loadtest::nodes_of_a_load_test_that_is_killed_end_with_it_and_so_does_their_database";
    let mut killed = child::start(test, directory.path(), |command| command);
    assert_eq!(child::lines(&mut killed).next().as_deref(), Some("started"));
    assert!(at_work_in(directory.path()) > 3, "two nodes, a server and its processes");
    killed.kill().unwrap();
    killed.wait().unwrap();
    all_have_gone_from(directory.path()).await;
}

#[test]
fn another_node_takes_over_from_one_that_is_killed_or_restarted() {
    if !is_installed() {
        return;
    }
    let mut scenario = scenario("node-kill", 60.0, 4.0);
    scenario.cards = 20;
    // On a busy machine nothing is given up but what nobody answers.
    scenario.stripe.deadline_ms = 30_000;
    scenario.disturbances = vec![
        Disturbance { at: 0.3, act: Act::Kill, node: 0, away_ms: 300, astray_ms: 0 },
        Disturbance { at: 0.6, act: Act::Terminate, node: 1, away_ms: 300, astray_ms: 0 },
    ];
    let directory = open_directory();
    let binary = env!("CARGO_BIN_EXE_tollgate").into();
    let record = play(scenario, Against::Local { count: 3, binary, upgrade_from: None }, directory.path());
    honest(&record);
    let run = &record.runs[0];
    assert_eq!((record.setup.targets.len(), run.nodes.len()), (3, 3));
    let marks: Vec<(&str, Option<usize>)> = run.marks.iter().map(|mark| (&*mark.what, mark.node)).collect();
    let whats = ["kill", "start", "ready", "terminate", "start", "ready"];
    assert_eq!(marks, std::iter::zip(whats, [0, 0, 0, 1, 1, 1].map(Some)).collect::<Vec<_>>());
    assert!(run.marks[0].normal_after_s.is_some() && run.marks[3].normal_after_s.is_some());
    // Whoever finds a node gone asks another, and is answered: nobody waits for it to come back.
    let outcomes = &run.outcomes;
    assert!(outcomes.retried > 0 && outcomes.failed == 0 && outcomes.dropped == 0, "{outcomes:?}");
    assert_eq!(run.deliveries.undelivered, 0);
    // The database has gone with the nodes.
    let database = record.setup.journal.strip_prefix("postgres://tollgate@").unwrap();
    let gone = TcpStream::connect(database.trim_end_matches("/postgres")).unwrap_err();
    assert_eq!(gone.kind(), std::io::ErrorKind::ConnectionRefused);
    assert!(!directory.path().join("record/nodes/postgres").exists());
    let html = fs::read_to_string(directory.path().join("record/report.html")).unwrap();
    assert!(html.contains("kill node 0"), "the report marks what was done");
}

#[test]
fn nodes_go_on_with_a_standby_when_their_primary_dies() {
    if !is_installed() {
        return;
    }
    let mut scenario = scenario("database-failover", 40.0, 10.0);
    scenario.cards = 20;
    scenario.drain_s = 60.0;
    // What starved nodes answer to duplicates at the same moment is another matter.
    scenario.stripe.duplicated_questions = 0.0;
    // On a busy machine nothing is given up but what is never answered.
    scenario.stripe.deadline_ms = 30_000;
    let directory = open_directory();
    let binary = env!("CARGO_BIN_EXE_tollgate").into();
    let record = play(scenario, Against::Local { count: 2, binary, upgrade_from: None }, directory.path());
    honest(&record);
    assert!(record.setup.journal.contains("target_session_attrs=read-write"), "{}", record.setup.journal);
    let run = &record.runs[0];
    let marks: Vec<(&str, Option<usize>)> = run.marks.iter().map(|mark| (&*mark.what, mark.node)).collect();
    assert_eq!(marks, [("database-kill", None), ("database-promote", None)]);
    assert!(run.marks[0].normal_after_s.is_some_and(|after_s| after_s > 0.0), "nothing was missed of it");
    assert_eq!(run.deliveries.undelivered, 0);
    let html = fs::read_to_string(directory.path().join("record/report.html")).unwrap();
    assert!(html.contains("database-kill the database"), "the report marks what was done");
}

#[test]
fn nodes_are_upgraded_one_after_another_while_purchases_are_audited() {
    if !crate::postgres::is_installed() {
        return;
    }
    let mut scenario = scenario("rolling-restart", 40.0, 8.0);
    scenario.cards = 20;
    // What starved nodes say of one question at the same moment is another matter.
    scenario.stripe.duplicated_questions = 0.0;
    // On a busy machine nothing is given up but what nobody answers.
    scenario.stripe.deadline_ms = 30_000;
    // One after another, however long each takes.
    scenario.disturbances.iter_mut().for_each(|disturbance| disturbance.at /= 4.0);
    let directory = tempfile::tempdir().unwrap();
    // Where this is root, PostgreSQL is somebody else, who has to get there.
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let new = Path::new(env!("CARGO_BIN_EXE_tollgate"));
    let old = directory.path().join("tollgate-of-before");
    fs::copy(new, &old).unwrap();
    let against = Against::Local { count: 3, binary: new.to_owned(), upgrade_from: Some(old.clone()) };
    let record = play(scenario, against, directory.path());
    honest(&record);
    let run = &record.runs[0];
    let programs = [&*old, new].map(|program| program.canonicalize().unwrap().display().to_string());
    assert_eq!(run.nodes.len(), 3);
    for node in &run.nodes {
        assert_eq!(node.programs, programs);
    }
    let outcomes = &run.outcomes;
    assert!(outcomes.failed == 0 && outcomes.dropped == 0, "{outcomes:?}");
    assert_eq!(run.deliveries.undelivered, 0);
    let html = fs::read_to_string(directory.path().join("record/report.html")).unwrap();
    assert!(html.contains(&programs.join(", then ")), "the report says what they were");
}

#[test]
fn an_upgrade_needs_a_scenario_that_starts_nodes_again() {
    let directory = tempfile::tempdir().unwrap();
    let [binary, old] = ["/nowhere/new", "/nowhere/old"].map(Into::into);
    let options = Options {
        scenario: Scenario::load("smoke").unwrap(),
        against: Against::Local { count: 1, binary, upgrade_from: Some(old) },
        repeats: 1,
        directory: directory.path().to_owned(),
        command: String::new(),
    };
    let cause = run(&options, |_| {}).unwrap_err().to_string();
    assert!(cause.contains("such as rolling-restart"), "{cause}");
}

const NO_LIVES: Lives = Lives {
    held: 0.0,
    captured: 0.0,
    captured_in_part: 0.0,
    over_captured: 0.0,
    captured_twice: 0.0,
    reversed: 0.0,
    reversed_in_part: 0.0,
    expired: 0.0,
    expired_then_captured: 0.0,
    refunded: 0.0,
    refund_reversed: 0.0,
};

/// Plays with a liar in between, and looks which kinds of violations are found.
#[track_caller]
fn check(lie: Lie, expected: &[&str]) {
    check_in("smoke", lie, expected);
}

/// The same where cards share budgets, and their own limits are so high that none of them is reached.
#[track_caller]
fn check_shared(lie: Lie, expected: &[&str]) -> Vec<String> {
    check_in("budgets", lie, expected)
}

/// What the violations were, in words.
#[track_caller]
fn check_in(name: &str, lie: Lie, expected: &[&str]) -> Vec<String> {
    let mut scenario = scenario(name, 60.0, 2.0);
    scenario.disturbances.clear();
    if let Some(budgets) = &mut scenario.budgets {
        (budgets.departments, budgets.customers, budgets.credits) = (2, 1, 1);
        (budgets.department_daily, budgets.company_all_time, budgets.credit) = if lie == Lie::Approves {
            (20_000, 30_000, 5_000)
        } else {
            (100_000_000, 100_000_000, 100_000_000)
        };
    }
    scenario.cards = 10;
    scenario.stripe.duplicated_questions = if lie == Lie::ChangesItsMind { 0.3 } else { 0.0 };
    scenario.stripe.forged_questions = if lie == Lie::TakesForgeries { 0.2 } else { 0.0 };
    scenario.questions.controllable = 0.3;
    // Twice what a pump asks for is less than what it may get.
    scenario.questions.fuel = 0.0;
    // On a busy machine nothing is late but what is meant to be.
    scenario.stripe.deadline_ms = if lie == Lie::HidesTimeouts { 1_000 } else { 30_000 };
    if lie == Lie::Approves {
        if scenario.budgets.is_none() {
            scenario.limits.all_time = Some(5_000);
        }
        // What is released may or may not be known; what is held is.
        scenario.lives = Lives { held: 1.0, ..NO_LIVES };
    } else {
        scenario.lives.held = 0.0;
        scenario.limits.all_time = Some(10_000_000);
        scenario.limits.per_authorization = Some(1_000_000);
    }
    let directory = tempfile::tempdir().unwrap();
    let binary = Path::new(env!("CARGO_BIN_EXE_tollgate"));
    let mut more = vec![("TOLLGATE_ANSWER_WITHIN", "1900ms".to_owned())];
    let mut limits = scenario.limits;
    if let Some(budgets) = &scenario.budgets {
        let path = directory.path().join("policy.yaml");
        fs::write(&path, budgets.policy(&limits)).unwrap();
        more.push(("TOLLGATE_POLICY", path.display().to_string()));
        limits = Limits::default();
    }
    let nodes =
        Nodes::start(1, binary, &directory.path().join("nodes"), SECRET, &limits, None, &more).unwrap();
    let liar = Liar::start(nodes.webhooks().next().unwrap(), lie).unwrap();
    let of_admin = Liar::start(nodes.admins().next().unwrap(), lie).unwrap();
    let target =
        Target { address: liar.address(), host: liar.address().to_string(), path: "/webhook".to_owned() };
    let against = Against::There {
        targets: vec![target],
        admins: vec![of_admin.address()],
        token: None,
        secrets: SECRET.to_owned(),
    };
    let record = play(scenario, against, directory.path());
    let audit = &record.runs[0].audit;
    let found: Vec<&str> = audit.violations.keys().map(|kind| &**kind).collect();
    assert_eq!(found, expected, "{:#?} {:?}", audit.examples, record.runs[0].outcomes);
    assert!(!record.verdict.passed);
    audit.examples.clone()
}

// What the node decided is also missing wherever Stripe was told something else.

#[test]
fn an_approval_above_a_limit_is_found() {
    check(Lie::Approves, &["decision_missing", "over_limit"]);
}

#[test]
fn a_decline_with_room_is_found() {
    check(Lie::Declines, &["decision_missing", "declined_with_room"]);
}

#[test]
fn an_amount_that_nobody_asked_for_is_found() {
    check(Lie::Doubles, &["wrong_amount"]);
}

#[test]
fn a_duplicate_that_is_answered_differently_is_found() {
    check(Lie::ChangesItsMind, &["answered_differently"]);
}

#[test]
fn an_answer_that_counts_although_it_came_too_late_is_found() {
    check(Lie::HidesTimeouts, &["books_differ", "late_answer_counted"]);
}

#[test]
fn books_that_differ_at_the_end_are_found() {
    check(Lie::HidesTransactions, &["books_differ"]);
}

#[test]
fn a_remaining_amount_that_differs_at_the_end_is_found() {
    check(Lie::UnderstatesWhatRemains, &["books_differ"]);
}

#[test]
fn a_decision_that_is_missing_at_the_end_is_found() {
    check(Lie::Invents, &["decision_missing"]);
}

#[test]
fn an_approval_above_what_cards_share_is_found() {
    let examples = check_shared(Lie::Approves, &["decision_missing", "over_limit"]);
    let is_shared = |example: &&String| {
        ["(department/", "(company)", "(customer/"].iter().any(|name| example.contains(name))
    };
    assert!(
        examples.iter().filter(|one| one.starts_with("over_limit")).all(|one| is_shared(&one)),
        "{examples:?}"
    );
}

#[test]
fn a_decline_with_room_in_all_that_cards_share_is_found() {
    check_shared(Lie::Declines, &["decision_missing", "declined_with_room"]);
}

#[test]
fn a_budget_that_differs_from_the_sum_over_its_cards_is_found() {
    let examples = check_shared(Lie::UnderstatesBudgets, &["books_differ"]);
    assert!(examples.iter().any(|one| one.contains("budget company: ")), "{examples:?}");
    assert!(examples.iter().any(|one| one.contains("budget customer/c0: ")), "{examples:?}");
}

#[test]
fn a_leg_that_is_missing_from_a_decision_is_found() {
    let examples = check_shared(Lie::ForgetsALeg, &["books_differ"]);
    assert!(examples.iter().all(|one| one.contains("expected the legs")), "{examples:?}");
}

/// A node whose policy lacks the company: the departments' limits hold, and the company's does not.
#[test]
fn a_node_that_does_not_charge_a_budget_is_found() {
    let directory = tempfile::tempdir().unwrap();
    let other = directory.path().join("tollgate");
    let binary = env!("CARGO_BIN_EXE_tollgate");
    let script = format!(
        "#!/bin/sh\nsed 's/parent: company, //' \"$TOLLGATE_POLICY\" > {0}/other.yaml\n\
         TOLLGATE_POLICY={0}/other.yaml exec {binary} \"$@\"\n",
        directory.path().display()
    );
    fs::write(&other, script).unwrap();
    fs::set_permissions(&other, fs::Permissions::from_mode(0o755)).unwrap();
    let record =
        play(shared(), Against::Local { count: 1, binary: other, upgrade_from: None }, directory.path());
    let audit = &record.runs[0].audit;
    let found: Vec<&str> = audit.violations.keys().map(|kind| &**kind).collect();
    assert_eq!(found, ["books_differ", "over_limit"], "{audit:?}");
    assert!(audit.examples.iter().any(|one| one.contains("of 60000 (company)")), "{audit:?}");
}

/// Cards that share two departments of a company, which runs out of money, and two balances.
fn shared() -> Scenario {
    let mut scenario = scenario("budgets", 60.0, 4.0);
    scenario.cards = 40;
    scenario.disturbances.clear();
    // On a busy machine nothing is given up but what nobody answers.
    scenario.stripe.deadline_ms = 30_000;
    let budgets = scenario.budgets.as_mut().unwrap();
    (budgets.departments, budgets.department_daily, budgets.company_all_time) = (2, 45_000, 60_000);
    (budgets.customers, budgets.credits, budgets.credit) = (2, 3, 8_000);
    scenario
}

#[test]
fn money_that_cards_share_is_spent_once_and_each_account_is_the_sum_over_its_cards() {
    let record = against_a_node(shared());
    honest(&record);
    let run = &record.runs[0];
    assert_eq!(run.audit.budgets_compared, Some(5), "{:?}", run.audit);
    assert_eq!(run.credits.unwrap().count, 6);
    let reasons = &run.outcomes.reasons;
    let limits = reasons.get("spending_limit").zip(reasons.get("insufficient_balance"));
    assert!(limits.is_some() && run.outcomes.partial > 0, "{:?}", run.outcomes);
}

#[test]
fn money_that_cards_share_is_spent_once_by_three_nodes_of_which_one_is_killed() {
    if !is_installed() {
        return;
    }
    let mut scenario = shared();
    scenario.stripe.retry = true;
    scenario.duration_s = 6.0;
    // What starved nodes say of one question at the same moment is another matter.
    scenario.stripe.duplicated_questions = 0.0;
    // A transaction that is the first to name its card charges no budget: a known gap.
    scenario.questions.forced = 0.0;
    scenario.disturbances =
        vec![Disturbance { at: 0.4, act: Act::Kill, node: 0, away_ms: 300, astray_ms: 0 }];
    let directory = open_directory();
    let binary = env!("CARGO_BIN_EXE_tollgate").into();
    let record = play(scenario, Against::Local { count: 3, binary, upgrade_from: None }, directory.path());
    honest(&record);
    let run = &record.runs[0];
    assert_eq!(run.audit.budgets_compared, Some(5), "{:?}", run.audit);
    assert_eq!(run.deliveries.undelivered, 0);
    let html = fs::read_to_string(directory.path().join("record/report.html")).unwrap();
    assert!(html.contains("accounts that cards share compared with the sums over their cards"), "{html}");
}

/// A node whose journal is in its memory, whatever it is told, forgets with every kill.
#[test]
fn what_was_acknowledged_and_is_missing_after_a_kill_is_found() {
    let directory = tempfile::tempdir().unwrap();
    let forgetful = directory.path().join("tollgate");
    let binary = env!("CARGO_BIN_EXE_tollgate");
    fs::write(&forgetful, format!("#!/bin/sh\nTOLLGATE_JOURNAL=memory: exec {binary} \"$@\"\n")).unwrap();
    fs::set_permissions(&forgetful, fs::Permissions::from_mode(0o755)).unwrap();
    let mut scenario = scenario("node-kill", 60.0, 3.0);
    scenario.cards = 20;
    scenario.disturbances = vec![Disturbance { at: 0.6, act: Act::Kill, node: 0, away_ms: 10, astray_ms: 0 }];
    let record =
        play(scenario, Against::Local { count: 1, binary: forgetful, upgrade_from: None }, directory.path());
    let audit = &record.runs[0].audit;
    assert!(audit.violations.get("decision_missing").is_some_and(|found| *found > 10), "{audit:?}");
    assert!(!record.verdict.passed);
}

#[test]
fn a_forgery_that_is_answered_is_found() {
    check(Lie::TakesForgeries, &["forgery_answered"]);
}
