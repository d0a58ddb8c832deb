use std::fs;

use super::*;

/// What `tollgate check` writes for a file of this content, and its verdict.
fn check(text: &str, card: Option<&str>, group: Option<&str>, colours: Colours) -> (Verdict, String) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("policy.yaml");
    fs::write(&path, text).unwrap();
    let options = CheckOptions {
        policy: Some(path.clone()),
        card: card.map(str::to_owned),
        group: group.map(str::to_owned),
        ..CheckOptions::default()
    };
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let verdict = run(&options, colours, &mut io::empty(), &mut out, &mut err).unwrap();
    assert_eq!(err, b"");
    (verdict, String::from_utf8(out).unwrap().replace(&path.display().to_string(), "policy.yaml"))
}

const GOOD: &str = "\
version: 1
currency: usd
default:
  spending_limits: [{amount: 50000, interval: daily}]
groups:
  travel: {allowed_merchant_countries: [US, CA]}
cards:
  ic_1: {paused: true}
";

#[test]
fn a_mistake_is_shown_in_its_line() {
    let text = "version: 1\ndefault:\n  blocked_categories: [fast_food]\n";
    let expected = "\
error: unknown category `fast_food`
 --> policy.yaml:3:24 (default.blocked_categories[0])
  |
3 |   blocked_categories: [fast_food]
  |                        ^^^^^^^^^
  = did you mean `fast_food_restaurants`?

1 mistake in policy.yaml
";
    assert_eq!(check(text, None, None, Colours::Off), (Verdict::Failed, expected.to_owned()));
}

#[test]
fn what_cards_get_is_shown_for_a_good_file() {
    let (verdict, shown) = check(GOOD, None, None, Colours::Off);
    assert_eq!(verdict, Verdict::Done);
    let (head, cards) = shown.split_once("\n\n").unwrap();
    assert!(head.starts_with("policy.yaml is good: policy "), "{head}");
    let expected = "\
every card
  at most 500.00 USD a day (UTC)
  currencies that no amount limit names are declined

each card of group travel
  at most 500.00 USD a day (UTC)
  only merchant countries CA, US
  currencies that no amount limit names are declined

card ic_1, in no group
  paused: everything is declined
  at most 500.00 USD a day (UTC)
  currencies that no amount limit names are declined

";
    assert_eq!(cards, expected);
}

#[test]
fn one_card_in_its_group_is_shown_alone() {
    let (verdict, shown) = check(GOOD, Some("ic_1"), Some("travel"), Colours::Off);
    assert_eq!(verdict, Verdict::Done);
    let (_, card) = shown.split_once("\n\n").unwrap();
    assert!(card.starts_with("card ic_1 in group travel\n  paused"), "{card}");
    assert!(card.contains("only merchant countries CA, US") && !card.contains("every card"), "{card}");

    let (_, strangers) = check(GOOD, Some("ic_2"), Some("sales"), Colours::Off);
    assert!(strangers.contains("there is no group sales"), "{strangers}");
    assert!(strangers.contains("the file does not name ic_2"), "{strangers}");
    let (_, group) = check(GOOD, None, Some("travel"), Colours::Off);
    assert!(group.contains("each card of group travel") && !group.contains("ic_1"), "{group}");
}

#[test]
fn cards_of_a_group_that_is_not_there_get_the_default_or_nothing() {
    let check = |more: &str, expected: [&str; 2]| {
        let text = format!("{GOOD}{more}");
        let (verdict, shown) = check(&text, None, Some("travle"), Colours::Off);
        assert_eq!(verdict, Verdict::Done);
        for words in expected {
            assert!(shown.contains(words), "{words} is not in {shown}");
        }
    };
    check("", ["there is no group travle: its cards get the default", "at most 500.00 USD a day"]);
    let decline =
        ["there is no group travle: its cards are declined", "unknown_group: everything is declined"];
    check("unknown_group: decline\n", decline);
    let (_, all) = self::check(&format!("{GOOD}unknown_group: decline\n"), None, None, Colours::Off);
    assert!(all.contains("each card of any other group\n  unknown_group: everything is declined"), "{all}");
}

#[test]
fn a_limit_that_never_binds_fails_and_a_warning_does_not() {
    let limits = "[{amount: 9, interval: daily}, {amount: 8, interval: monthly}]";
    let idle = GOOD.replace("[{amount: 50000, interval: daily}]", limits);
    let (verdict, shown) = check(&idle, None, None, Colours::Off);
    assert_eq!(verdict, Verdict::Failed);
    assert!(
        shown.starts_with("error: it can never bind: line 4 has at most 0.08 USD a month (UTC)"),
        "{shown}"
    );

    let odd = GOOD.replace("{paused: true}", "{paused: true, challenge_on: [velocity_limit]}");
    let (verdict, shown) = check(&odd, None, None, Colours::Off);
    assert_eq!(verdict, Verdict::Done);
    assert!(shown.starts_with("warning: a text message cannot lift"), "{shown}");
    assert!(shown.contains("is good"), "{shown}");
}

#[test]
fn colours_are_there_only_where_they_are_wanted() {
    let text = "version: 1\nx: 1\n";
    assert!(check(text, None, None, Colours::On).1.contains('\u{1b}'));
    assert!(!check(text, None, None, Colours::Off).1.contains('\u{1b}'));
}

#[test]
fn long_lines_are_cut_and_controls_are_not_passed_on() {
    let check = |line: &str, column, width, expected_indent, expected_width| {
        let (text, indent, width) = excerpt(line, column, width);
        assert!(text.chars().count() <= 120 && !text.contains('\t'));
        assert_eq!((indent, width), (expected_indent, expected_width), "{text}");
    };
    check("\tabc", 2, 3, 1, 3);
    check("abc", 2, 99, 1, 2);
    check("abc", 99, 1, 98, 1);
    check("", 1, 1, 0, 1);
    check(&"x".repeat(1_000), 500, 10, 60, 10);
    check("é\u{7}ü", 3, 1, 2, 1);
    let (text, _, _) = excerpt("a\u{1b}[31mb", 1, 1);
    assert_eq!(text, "a [31mb");
}

#[test]
fn standard_input_is_checked_like_a_file_and_programs_get_json() {
    let run = |text: &str| {
        let options =
            CheckOptions { policy: Some(STANDARD_INPUT.into()), json: true, ..CheckOptions::default() };
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let verdict = run(&options, Colours::On, &mut text.as_bytes(), &mut out, &mut err).unwrap();
        assert_eq!(err, b"");
        (verdict, serde_json::from_slice::<serde_json::Value>(&out).unwrap())
    };
    let (verdict, found) = run(GOOD);
    assert_eq!(
        (verdict, &found["is_good"], &found["file"]),
        (Verdict::Done, &true.into(), &"standard input".into())
    );
    assert_eq!(
        (found["mistakes"].as_array().unwrap().len(), found["cards"].as_array().unwrap().len()),
        (0, 3)
    );
    assert_eq!(found["cards"][0]["gets"][0], "at most 500.00 USD a day (UTC)");

    let (verdict, found) = run("version: 1\ndefault:\n  blocked_categories: [fast_food]\n");
    assert_eq!(
        (verdict, &found["is_good"], &found["policy"]),
        (Verdict::Failed, &false.into(), &serde_json::Value::Null)
    );
    let mistake = &found["mistakes"][0];
    assert_eq!(
        (&mistake["line"], &mistake["column"], &mistake["severity"]),
        (&3.into(), &24.into(), &"error".into())
    );
    assert_eq!(mistake["advice"], "did you mean `fast_food_restaurants`?");
    assert_eq!(found["cards"], serde_json::json!([]));
}
