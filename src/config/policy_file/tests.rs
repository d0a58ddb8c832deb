use super::*;
use crate::domain::{CardId, ConnectedAccountId};

/// The file has exactly these mistakes: `line:column severity path | found | advice`, each by parts of its text.
#[track_caller]
fn check(text: &str, expected: &[(&str, Severity, &str)]) {
    let mistakes = read(text).map_or_else(|mistakes| mistakes, |parsed| parsed.mistakes);
    let shown: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
    let excerpt: String = text.chars().take(300).collect();
    assert_eq!(mistakes.len(), expected.len(), "{excerpt}\n{shown:#?}");
    for ((mistake, shown), (place, severity, part)) in mistakes.iter().zip(&shown).zip(expected) {
        let found_place = format!("{}:{}", mistake.place.line, mistake.place.column);
        assert_eq!((found_place.as_str(), mistake.severity), (*place, *severity), "{excerpt}\n{shown}");
        assert!(shown.contains(part), "`{shown}` has no `{part}`");
    }
}

/// One line under `default`, which begins at line 3, column 3.
#[track_caller]
fn check_line(line: &str, expected: &[(&str, Severity, &str)]) {
    check(&format!("version: 1\ndefault:\n  {line}\n"), expected);
}

/// Limits of `default`, one a line from line 4.
#[track_caller]
fn check_limits(limits: &[&str], expected: &[(&str, Severity, &str)]) {
    let lines = limits.join("\n    - ");
    check(&format!("version: 1\ncurrency: usd\ndefault:\n  spending_limits:\n    - {lines}\n"), expected);
}

use Severity::{Error, Ineffective, Warning};

#[test]
fn a_whole_file_is_read() {
    let text = include_str!("../../../docs/policy.example.yaml");
    let parsed = read(text).unwrap_or_else(|mistakes| panic!("{mistakes:#?}"));
    assert_eq!(parsed.mistakes, []);
    assert_eq!(parsed.policy.version().as_str(), &hex::encode(Sha256::digest(text))[..12]);
    let travelling = parsed.policy.for_card(None, Some("travel"));
    assert!(travelling.controls.countries.allowed.is_some());
    let card = parsed.policy.for_card(CardId::new("ic_1MytUz2eZvKYlo2CZCn5fuvZ").as_ref(), None);
    assert!(card.paused);
    assert!(!card.controls.spending_limits.is_empty(), "a card keeps the default's limits");
}

#[test]
fn a_connected_account_is_a_layer_between_default_and_group() {
    let text = "\
version: 1
currency: usd
home_country: US
default: {spending_limits: [{amount: 100, interval: daily}], refunds_restore: true}
accounts:
  acct_a: {spending_limits: [{amount: 200, interval: daily}], partial_approvals: false}
groups:
  travel: {spending_limits: [{amount: 300, interval: daily}]}
  quiet: {refunds_restore: false}
cards:
  ic_1: {spending_limits: [{amount: 400, interval: daily}]}
";
    let policy = read(text).unwrap().policy;
    let (acct_a, acct_b) = (ConnectedAccountId::new("acct_a"), ConnectedAccountId::new("acct_b"));
    let card = CardId::new("ic_1");
    let check = |account: &Option<ConnectedAccountId>,
                 card: Option<&CardId>,
                 group: Option<&str>,
                 max,
                 partial,
                 restore| {
        let found = policy.for_card_of(account.as_ref(), card, group);
        let seen = (found.controls.spending_limits[0].max, found.partial_approvals, found.refunds_restore);
        assert_eq!(seen, (max, partial, restore), "{account:?} {card:?} {group:?}");
        assert!(found.home_country.is_some());
    };
    check(&None, None, None, 100, true, true);
    check(&acct_b, None, None, 100, true, true);
    check(&acct_a, None, None, 200, false, true);
    check(&acct_a, None, Some("travel"), 300, false, true);
    check(&acct_a, None, Some("quiet"), 200, false, false);
    check(&acct_b, None, Some("quiet"), 100, true, false);
    check(&acct_a, None, Some("unknown"), 200, false, true);
    check(&acct_a, card.as_ref(), Some("quiet"), 400, false, false);
    check(&None, card.as_ref(), None, 400, true, true);
}

#[test]
fn an_account_goes_by_its_id_and_its_mistakes_are_told() {
    check(
        "version: 1\naccounts: {acme: {paused: true}}\n",
        &[("2:12", Error, "no id of a connected account")],
    );
    check("version: 1\naccounts:\n  acct_a: {}\n", &[("3:11", Ineffective, "it has no settings")]);
    let idle = "version: 1\naccounts:\n  acct_a: {spending_limits: [{amount: 5, interval: daily}, {amount: 9, interval: daily}]}\n";
    check(idle, &[("3:60", Ineffective, "never")]);
}

#[test]
fn what_a_card_gets_reads_as_sentences() {
    let text = "\
version: 1
lists: {trusted: ['001']}
currency: usd
time_zone: Europe/Berlin
default:
  spending_limits:
    - {amount: 50000, interval: daily}
    - {amount: 20000, interval: weekly, categories: [eating_places_restaurants], time_zone: UTC}
    - {count: 10, interval: rolling(1h)}
    - {amount: 4000, currency: jpy, interval: per_authorization}
  blocked_categories: [betting_casino_gambling]
  blocked_card_presences: [not_present]
  challenge_on: [category_blocked]
  partial_approvals: false
  rules:
    - {name: no-cash, when: 'cash > 0 && !(merchant.id in list(\"trusted\"))', then: decline, message: No cash.}
    - {name: night, when: hour < 6, then: {cap: 5000}}
    - {name: all, when: 'true', then: {tag: {team: a}}}
cards:
  ic_1: {rules: [], paused: true, spending_limits: [{amount: 7, interval: all_time}], other_currencies: allow}
";
    let policy = read(text).unwrap().policy;
    let default = [
        "at most 500.00 USD a day (Europe/Berlin)",
        "at most 200.00 USD a week from Sunday (UTC) in eating_places_restaurants",
        "at most 10 approvals in any 1h",
        "at most 4000 JPY an authorization",
        "no categories betting_casino_gambling",
        "no card presences not_present",
        "currencies that no amount limit names are declined",
        "sends a fraud challenge by text message on category_blocked",
        "rule no-cash: decline when cash > 0 && !(merchant.id in list(\"trusted\")) (\"No cash.\")",
        "rule night: approve at most 5000 minor units when hour(\"Europe/Berlin\") < 6",
        "rule all: tag the reply with team=\"a\" when true",
        "never approves in part",
    ];
    assert_eq!(outline(&policy.for_card(None, None)), default);
    let card = outline(&policy.for_card(CardId::new("ic_1").as_ref(), None));
    assert_eq!(card[..2], ["paused: everything is declined", "at most 0.07 USD in the life of the card"]);
    assert!(card.contains(&"currencies that no amount limit names are not limited by amount".to_owned()));
}

#[test]
fn names_that_mean_nothing_are_answered_with_the_nearest() {
    check_line(
        "spending_limit: []",
        &[("3:3", Error, "unknown key `spending_limit`; did you mean `spending_limits`?")],
    );
    check_line("zzz: 1", &[("3:3", Error, "the keys here are spending_limits, allowed_categories")]);
    check_line(
        "blocked_categories: [fast_food_restaurant, casino, '5814', taxicabs_limousines]",
        &[
            (
                "3:24",
                Error,
                "default.blocked_categories[0]: unknown category `fast_food_restaurant`; did you mean `fast_food_restaurants`?",
            ),
            ("3:46", Error, "did you mean `betting_casino_gambling`?"),
            ("3:54", Error, "did you mean `fast_food_restaurants`?"),
        ],
    );
    check_line(
        "allowed_merchant_countries: [US, UK, QQ]",
        &[
            ("3:36", Error, "unknown country `UK`; did you mean `GB`?"),
            ("3:40", Error, "unknown country `QQ`; use two letters"),
        ],
    );
    check_line("blocked_card_presences: [not-present]", &[("3:28", Error, "did you mean `not_present`?")]);
    check_line(
        "challenge_on: [country_block, approved]",
        &[
            ("3:18", Error, "did you mean `country_blocked`?"),
            ("3:33", Error, "unknown decline reason `approved`"),
        ],
    );
    check_line("other_currencies: alow", &[("3:21", Error, "did you mean `allow`?")]);
    check(
        "version: 1\ntime_zone: Europe/Berln\ncurrency: euro\ndefault: {paused: false}\n",
        &[
            ("2:12", Error, "unknown time zone `Europe/Berln`; did you mean `Europe/Berlin`?"),
            ("3:11", Error, "unknown currency `euro`; did you mean `eur`?"),
        ],
    );
    check_limits(
        &["{amount: 1, interval: dialy}", "{amount: 1, interval: rolling(1y)}", "{amount: 1, interval: x}"],
        &[
            ("5:29", Error, "unknown interval `dialy`; did you mean `daily`?"),
            ("6:29", Error, "write whole seconds, minutes, hours or days"),
            ("7:29", Error, "use per_authorization, daily"),
        ],
    );
}

#[test]
fn norway_is_a_country_and_lower_case_is_fine() {
    let parsed = read("version: 1\ndefault: {allowed_merchant_countries: [NO, us, ON]}\n");
    let mistakes = parsed.unwrap_err();
    assert_eq!(mistakes.len(), 1, "only ON is none: {mistakes:?}");
    assert!(read("version: 1\ndefault: {allowed_merchant_countries: [NO, us]}\n").is_ok());
}

#[test]
fn amounts_are_whole_minor_units() {
    let at = |value: &str, part: &'static str| {
        check_limits(&[&format!("{{amount: {value}, interval: daily}}")], &[("5:16", Error, part)]);
    };
    at("-5", "`-5` is below zero; write minor units");
    at("0", "a limit of 0; to let nothing through, use `paused: true`");
    at("500.00", "`500.00` is no whole number; write minor units as a whole number: 500.00 USD is `50000`");
    at("5e4", "is no whole number");
    at(".inf", "is no whole number");
    at("1000000000000001", "is too large; 1000000000000000 is the most");
    at("99999999999999999999999", "is no whole number");
    at("50_000", "`50_000` is a text; write it as `50000`");
    at("'50000'", "write it as `50000`, without quotes");
    at("lots", "expected a whole number, found `lots`");
    at("[5]", "expected a whole number, found a list");
    at("true", "expected a whole number, found `true`");
    check_limits(&["{count: 0, interval: daily}"], &[("5:15", Error, "a limit of 0")]);
    check_limits(&["{amount: 1000000000000000, interval: daily}"], &[]);
}

#[test]
fn a_limit_needs_what_it_limits_and_when() {
    check_limits(&["{interval: daily}"], &[("5:7", Error, "a limit of nothing; add `amount`")]);
    check_limits(&["{amount: 5}"], &[("5:7", Error, "a limit without a window; add `interval`")]);
    check_limits(&["{amout: 5, interval: daily}"], &[("5:8", Error, "did you mean `amount`?")]);
    check_limits(
        &["{amount: 5, count: 5, interval: daily}"],
        &[("5:26", Error, "either `amount` or `count`")],
    );
    check_limits(
        &["{count: 5, currency: usd, interval: daily}"],
        &[("5:28", Error, "a `count` has no currency")],
    );
    check_limits(&["{amount: 5, interval: daily, categories: []}"], &[("5:48", Error, "count nothing")]);
    check_limits(
        &["{amount: 5, interval: rolling(1h), time_zone: Asia/Tokyo}"],
        &[("5:53", Warning, "does nothing")],
    );
    check_limits(&["daily"], &[("5:7", Error, "expected a mapping, found `daily`")]);
}

#[test]
fn values_of_the_wrong_kind_say_what_was_found() {
    check_line(
        "paused: yes",
        &[("3:11", Error, "default.paused: expected a boolean, found `yes`; write `true` or `false`")],
    );
    check_line("paused:", &[("3:3", Error, "`paused` has no value; give it a value, or remove the key")]);
    check_line(
        "blocked_categories: bakeries",
        &[("3:23", Error, "expected a list, found `bakeries`; put it into brackets")],
    );
    check_line("blocked_categories: [{a: b}]", &[("3:24", Error, "expected a text, found a mapping")]);
    check("version: 1\ndefault: []\n", &[("2:10", Error, "expected a mapping, found a list")]);
    check("- 1\n", &[("1:1", Error, "expected a mapping, found a list")]);
}

#[test]
fn network_ids_are_quoted_so_that_no_digit_is_lost() {
    check_line("blocked_merchants: ['0123', \"456\", net_test_123456789]", &[]);
    check_line(
        "blocked_merchants: [0123, 456]",
        &[
            (
                "3:23",
                Error,
                "the network id `0123` is a bare number; put it in quotes, so that every digit counts: \"0123\"",
            ),
            ("3:29", Error, "\"456\""),
        ],
    );
    check_line("blocked_merchants: ['1 2']", &[("3:23", Error, "is no network id")]);
    for name in ["STARBUCKS", "a b", "UBER *TRIP 12", "BIG-BOY-HMLTON-A", "Café"] {
        let line = format!("blocked_merchants: [\"{name}\"]");
        check_line(
            &line,
            &[("3:23", Error, "is a merchant's name, and no network id; use `merchant_data.network_id`")],
        );
    }
    check_line("allowed_merchants: ['7-ELEVEN']", &[("3:23", Warning, "looks like a merchant's name")]);
}

#[test]
fn allowed_and_blocked_exclude_each_other_in_one_layer_only() {
    let line = "allowed_categories: [bakeries]\n  blocked_categories: [caterers]";
    check_line(
        line,
        &[("4:23", Error, "`allowed_categories` and `blocked_categories` stand in one layer; keep one")],
    );
    check_line(
        "allowed_card_presences: [present]\n  blocked_card_presences: [present]",
        &[("4:27", Error, "stand in one layer")],
    );
    let layers = "allowed_merchant_countries: [US]\ngroups:\n  a: {blocked_merchant_countries: [CA]}";
    check_line(layers, &[]);
    check_line("allowed_merchants: []", &[("3:22", Error, "an empty list would allow nothing")]);
    check_line("blocked_merchants: []", &[]);
    check_line("blocked_categories: [bakeries, bakeries]", &[("3:34", Warning, "stands in the list twice")]);
}

#[test]
fn the_version_of_the_format_is_needed() {
    check(
        "default: {paused: true}\n",
        &[("1:1", Error, "version: the version of the format is missing; add `version: 1`")],
    );
    check("version: 2\ndefault: {paused: true}\n", &[("1:10", Error, "unknown version `2`")]);
    check("", &[("1:1", Error, "missing")]);
    check("version: 1\n", &[("1:1", Warning, "nothing is limited and nothing is blocked")]);
}

#[test]
fn cards_go_by_their_id_and_layers_say_something() {
    check(
        "version: 1\ncards:\n  card_1: {paused: true}\n  ich_1: {paused: true}\n  ic_1: {}\n",
        &[
            (
                "3:3",
                Error,
                "cards.card_1: no card id; cards go by their id at Stripe, which begins with `ic_`",
            ),
            ("4:3", Error, "no card id"),
            ("5:9", Ineffective, "cards.ic_1: it has no settings"),
        ],
    );
    check(
        "version: 1\ngroups:\n  travel:\n  2024: {paused: true}\n",
        &[("3:9", Ineffective, "it has no settings")],
    );
    check("version: 1\ngroups: {'': {paused: true}}\n", &[("2:10", Error, "a group without a name")]);
    check("version: 1\ndefault:\ngroups:\ncards:\n  ic_1: {paused: true}\n", &[]);
}

#[test]
fn a_limit_that_another_always_beats_never_binds() {
    let beaten = |limits: [&str; 2], place: &str| {
        check_limits(&limits, &[(place, Ineffective, "it can never bind: line")]);
    };
    let both_bind = |limits: [&str; 2]| check_limits(&limits, &[]);
    beaten(["{amount: 60000, interval: daily}", "{amount: 50000, interval: monthly}"], "5:7");
    beaten(["{amount: 500, interval: monthly}", "{amount: 500, interval: daily}"], "6:7");
    both_bind(["{amount: 500, interval: daily}", "{amount: 501, interval: monthly}"]);
    beaten(["{amount: 600, interval: per_authorization}", "{amount: 500, interval: daily}"], "5:7");
    both_bind(["{amount: 500, interval: per_authorization}", "{amount: 500, interval: daily}"]);
    beaten(["{count: 50, interval: rolling(1h)}", "{count: 10, interval: rolling(24h)}"], "5:7");
    both_bind(["{count: 10, interval: rolling(1h)}", "{count: 50, interval: rolling(24h)}"]);
    beaten(["{amount: 5, interval: daily}", "{amount: 6, interval: daily}"], "6:7");
    beaten(["{amount: 5, interval: daily}", "{amount: 5, interval: daily}"], "6:7");
    beaten(["{amount: 5, interval: daily}", "{amount: 5, interval: rolling(24h)}"], "5:7");
    both_bind([
        "{amount: 5, interval: daily, time_zone: Europe/Berlin}",
        "{amount: 5, interval: rolling(24h)}",
    ]);
    beaten(
        ["{amount: 5, interval: daily, time_zone: Europe/Berlin}", "{amount: 5, interval: rolling(25h)}"],
        "5:7",
    );
    both_bind(["{amount: 7, interval: weekly}", "{amount: 6, interval: monthly}"]);
    both_bind(["{amount: 7, interval: daily, time_zone: Asia/Tokyo}", "{amount: 6, interval: monthly}"]);
    beaten(["{amount: 7, interval: daily, time_zone: UTC}", "{amount: 6, interval: monthly}"], "5:7");
    both_bind(["{amount: 7, currency: eur, interval: daily}", "{amount: 6, interval: monthly}"]);
    both_bind(["{count: 7, interval: daily}", "{amount: 6, interval: monthly}"]);
    beaten(["{amount: 7, interval: daily, categories: [bakeries]}", "{amount: 6, interval: daily}"], "5:7");
    both_bind(["{amount: 7, interval: daily}", "{amount: 6, interval: daily, categories: [bakeries]}"]);
    beaten(
        [
            "{amount: 7, interval: yearly, merchants: ['1']}",
            "{amount: 6, interval: all_time, merchants: ['2', '1']}",
        ],
        "5:7",
    );
}

#[test]
fn a_limit_on_what_is_blocked_never_binds() {
    let text = "\
version: 1
default:
  blocked_categories: [bakeries]
  spending_limits:
    - {amount: 5, interval: daily, categories: [bakeries]}
    - {amount: 5, interval: daily, categories: [bakeries, caterers]}
groups:
  a:
    allowed_merchants: ['1']
    spending_limits: [{count: 5, interval: daily, merchants: ['2']}]
";
    check(
        text,
        &[
            ("5:7", Ineffective, "all that it counts is blocked"),
            (
                "10:23",
                Ineffective,
                "groups.a.spending_limits[0]: it can never bind: all that it counts is blocked",
            ),
        ],
    );
}

#[test]
fn a_text_message_lifts_lists_but_never_limits() {
    check_line(
        "challenge_on: [country_blocked, spending_limit]",
        &[("3:35", Warning, "cannot lift `spending_limit`")],
    );
}

#[test]
fn all_mistakes_come_at_once_in_the_order_of_the_file() {
    let text = "\
version: 1
curency: usd
default:
  paused: maybe
  paused: true
groups:
  a: {allowed_categories: [nope_nope_nope]}
cards:
  x: {}
";
    check(
        text,
        &[
            ("2:1", Error, "did you mean `currency`?"),
            ("4:11", Error, "expected a boolean, found `maybe`"),
            ("5:3", Error, "`paused` stands here a second time; remove it, or the one in line 4"),
            ("7:28", Error, "unknown category `nope_nope_nope`; the categories are listed at"),
            ("9:3", Error, "no card id"),
            ("9:6", Ineffective, "it has no settings"),
        ],
    );
}

#[test]
fn broken_yaml_is_told_with_its_place() {
    check("version: 1\ndefault: [1, 2\nb: 3\n", &[("3:2", Error, "correct the YAML here")]);
    check("a: b: c\n", &[("1:5", Error, "mapping values are not allowed")]);
    check("version: 1\n---\nversion: 1\n", &[("3:1", Error, "correct the YAML here")]);
    check("a: *nope\n", &[("1:4", Error, "correct the YAML here")]);
    check("a: &a [*a]\n", &[("1:8", Error, "correct the YAML here")]);
    check(&"[".repeat(200_000), &[("1:33", Error, "correct the YAML here")]);
    check(&"- ".repeat(20_000), &[("1:65", Error, "correct the YAML here")]);
}

#[test]
fn a_file_that_is_no_text_is_told_with_its_place() {
    let mistakes = read_bytes(b"version: 1\n# \xc3\xa9\xff\n").unwrap_err();
    assert_eq!(mistakes[0].to_string(), "line 2, column 4: this byte is no UTF-8; save the file as UTF-8");
    assert!(read_bytes("version: 1 # é\n".as_bytes()).is_ok());
}

#[test]
fn anchors_and_merges_work_and_a_mistake_in_them_is_told_once_where_it_stands() {
    let text = "\
version: 1
default:
  spending_limits: &limits
    - {amount: 5, interval: daily}
groups:
  a: &a {spending_limits: *limits, blocked_categories: [nope_nope_nope]}
  b: {<<: *a, paused: true}
";
    check(text, &[("6:57", Error, "unknown category")]);
    let fine = read(&text.replace("nope_nope_nope", "bakeries")).unwrap().policy;
    let merged = fine.for_card(None, Some("b"));
    assert!(merged.paused && merged.controls.categories.blocked.is_some());
}

#[test]
fn an_alias_bomb_and_an_oversized_file_are_refused() {
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let alias = format!("*a{}", level - 1);
        let line = format!("a{level}: &a{level} [{}]\n", [alias.as_str(); 9].join(", "));
        bomb.push_str(&line);
    }
    let mistakes = read(&bomb).unwrap_err();
    assert_eq!(mistakes.len(), 1);
    let large = format!("version: 1\n#{}", "x".repeat(FILE_BYTES_MAX));
    check(&large, &[("1:1", Error, "1048576 are the most")]);
    let limits = vec!["{amount: 5, interval: daily}"; 101];
    check_limits(&limits, &[("5:5", Error, "101 limits; 100 are the most")]);
}

#[test]
fn a_large_file_full_of_mistakes_is_told_in_part() {
    let names = "nope_nope_nope, ".repeat(60_000);
    let mistakes = read(&format!("version: 1\ndefault: {{blocked_categories: [{names}]}}\n")).unwrap_err();
    assert_eq!(mistakes.len(), Findings::MISTAKES_MAX);
}

#[test]
fn a_crowd_of_warnings_hides_no_error() {
    let twice = "bakeries, ".repeat(1_000);
    let text = format!("version: 1\ndefault:\n  blocked_categories: [{twice}]\n  paused: maybe\n");
    let mistakes = read(&text).unwrap_err();
    assert_eq!(mistakes.last().map(|mistake| mistake.severity), Some(Error));
    assert_eq!(mistakes.len(), Findings::MISTAKES_MAX + 1);
}

proptest::proptest! {
    #[test]
    fn no_text_breaks_the_reader(text in "[a-z_:{}\\[\\]&*<\"' 0-9\n#|>!-]{0,200}") {
        let _ = read(&text);
    }

    #[test]
    fn no_text_breaks_a_value(value in "\\PC{0,40}") {
        let _ = read(&format!("version: 1\ndefault:\n  spending_limits: [{{amount: {value}, interval: {value}}}]\n"));
        let _ = read(&format!("version: 1\ncards:\n  {value}: {{blocked_merchants: [{value}]}}\n"));
    }
}

/// One rule of `default`, whose condition begins at line 5, column 13.
#[track_caller]
fn check_rule(when: &str, then: &str, expected: &[(&str, Severity, &str)]) {
    let text = format!(
        "version: 1\nlists: {{trusted: [\"001\"]}}\ndefault:\n  rules:\n    - when: {when}\n      name: r\n      then: {then}\n"
    );
    let unused = ("2:9", Warning, "no rule looks into this list");
    let expected: Vec<_> =
        if when.contains("trusted\")") { expected.to_vec() } else { [&[unused][..], expected].concat() };
    check(&text, &expected);
}

#[test]
fn rules_are_compiled_with_their_mistakes_in_their_place() {
    check_rule("'cash > 0 && merchant.country != \"US\"'", "decline", &[]);
    check_rule("merchant.id in list(\"trusted\")", "allow", &[]);
    check_rule("true", "{tag: {team: a}}", &[]);
    check_rule("amount > 5", "{cap: 100}", &[]);
    check_rule("amount > 5", "{cap: remaining}", &[]);
    let amout = "default.rules[0].when: unknown input `amout`; did you mean `amount`?";
    check_rule("cash > 0 && amout > 5", "flag", &[("5:25", Error, amout)]);
    check_rule("'cash > 0 && amout > 5'", "flag", &[("5:26", Error, amout)]);
    check_rule("\"currency == \\\"usd\\\" && amout > 5\"", "flag", &[("5:37", Error, amout)]);
    check_rule("'currency == ''usd'' && amout > 5'", "flag", &[("5:37", Error, amout)]);
    check_rule(">\n        cash > 0\n        && amout > 5", "flag", &[("7:12", Error, amout)]);
    check_rule("|\n        cash > 0 &&\n        amout > 5", "flag", &[("7:9", Error, amout)]);
    check_rule("cash > 0\n        && amout > 5", "flag", &[("6:12", Error, amout)]);
    check_rule("amount >", "flag", &[("5:21", Error, "expected a value, found the end of the condition")]);
    check_rule("''", "flag", &[("5:14", Error, "an empty condition")]);
    check_rule("5", "flag", &[("5:13", Error, "expected a text, found `5`")]);
    check_rule("present", "declin", &[("7:13", Error, "unknown outcome `declin`; did you mean `decline`?")]);
    check_rule(
        "present",
        "{reserve: +20%}",
        &[("7:13", Error, "`reserve` is not an outcome of this version")],
    );
    for then in ["{score: 5}", "{score: -5}", "{block: 10m}"] {
        check_rule("present", then, &[]);
        check_rule("present", &format!("{then}\n      on_stand_in: {{approve_to: 2000}}"), &[]);
    }
    check_rule("present", "{score: many}", &[("7:21", Error, "expected a score, found `many`")]);
    check_rule(
        "present",
        "{block: soon}",
        &[("7:21", Error, "`soon` is no duration; write one such as `10m`")],
    );
    check_rule(
        "present",
        "decline\n      on_stand_in: approve",
        &[(
            "8:20",
            Error,
            "expected a word of decline and skip, found `approve`; use decline, skip or {approve_to: 2000}",
        )],
    );
    check_rule("is_abroad", "flag", &[("5:13", Error, "add `home_country: US` to the policy")]);
    check_rule("present", "{cap: 0}", &[("7:19", Error, "a limit of 0")]);
    check_rule("present", "{cap: 5, tag: {a: b}}", &[("7:13", Error, "expected one outcome, found 2")]);
    check_rule("present", "[decline]", &[("7:13", Error, "expected an outcome, found a list")]);
    check_rule("present", "{tag: {tollgate_x: a}}", &[("7:20", Error, "not a key of Stripe's metadata")]);
    check_rule("present", "{tag: {a: 5}}", &[("7:23", Error, "expected a text, found `5`")]);
    check_rule("present", "{tag: {}}", &[("7:19", Error, "a tag without a key")]);
}

#[test]
fn rules_of_one_layer_are_held_against_each_other() {
    let check_rules = |rules: &str, expected: &[(&str, Severity, &str)]| {
        check(&format!("version: 1\ndefault:\n  rules:\n{rules}"), expected);
    };
    check_rules("    - {name: a, when: present}\n", &[("4:7", Error, "a rule without `then`")]);
    check_rules(
        "    - {name: a b, when: present, then: flag}\n",
        &[("4:14", Error, "`a b` is not a name for a rule")],
    );
    check_rules(
        "    - {name: a, when: present, then: flag}\n    - {name: a, when: '!present', then: flag}\n",
        &[("5:14", Error, "a second rule of the name `a`; the first is in line 4")],
    );
    check_rules(
        "    - {name: a, when: 'true', then: allow}\n    - {name: b, when: present, then: flag}\n    - {name: c, when: present, then: decline}\n",
        &[("6:7", Ineffective, "the rule in line 4 always decides before it")],
    );
    check_rules(
        "    - {name: a, when: present, then: flag, message: hello}\n",
        &[("4:53", Warning, "this sentence is never shown")],
    );
    let many = "    - {name: a, when: present, then: flag}\n".repeat(1_001);
    check_rules(&many, &[("4:5", Error, "1001 rules; 1000 are the most")]);
    let tags: Vec<String> = (0..48).map(|n| format!("k{n}: v")).collect();
    check_rules(
        &format!("    - {{name: a, when: present, then: {{tag: {{{}}}}}}}\n", tags.join(", ")),
        &[("4:7", Error, "more than 47 keys of tags in one layer")],
    );
}

#[test]
fn the_entries_of_a_list_are_what_rules_look_for_in_it() {
    let check_list = |entries: &str, when: &str, expected: &[(&str, Severity, &str)]| {
        let rule = format!("{{name: a, when: '{when}', then: flag}}");
        check(&format!("version: 1\nlists: {{places: {entries}}}\ndefault: {{rules: [{rule}]}}\n"), expected);
    };
    check_list("[US, GB]", "merchant.country in list(\"places\")", &[]);
    check_list(
        "[US, UK]",
        "merchant.country in list(\"places\")",
        &[("2:22", Error, "unknown country \"UK\"; did you mean \"GB\"?")],
    );
    check_list(
        "[bakeries, casino]",
        "category in list(\"places\")",
        &[("2:28", Error, "did you mean \"betting_casino_gambling\"?")],
    );
    check_list("[001]", "merchant.id in list(\"places\")", &[]);
    check_list(
        "[123]",
        "merchant.id in list(\"places\")",
        &[("2:18", Error, "expected a text, found `123`; put the entry in quotes")],
    );
    check_list(
        "[US, US]",
        "merchant.country in list(\"places\")",
        &[("2:22", Warning, "\"US\" is in the list twice")],
    );
    check_list("[US]", "present", &[("2:9", Warning, "no rule looks into this list")]);
    check_list(
        "[US]",
        "merchant.country in list(\"place\")",
        &[
            ("2:9", Warning, "no rule looks"),
            ("3:61", Error, "unknown list \"place\"; did you mean `places`?"),
        ],
    );
}

#[test]
fn the_schema_has_exactly_the_keys_that_are_read() {
    let schema: serde_json::Value = serde_json::from_str(&json_schema()).unwrap();
    let check_keys = |properties: &serde_json::Value, file: &str| {
        let mut keys: Vec<&str> =
            properties["properties"].as_object().unwrap().keys().map(String::as_str).collect();
        let mistakes = read(file).unwrap_err();
        let advice =
            mistakes.iter().find_map(|mistake| mistake.advice.strip_prefix("the keys here are ")).unwrap();
        let mut read: Vec<&str> = advice.split(", ").collect();
        keys.sort_unstable();
        read.sort_unstable();
        assert_eq!(keys, read);
        assert_eq!(properties["additionalProperties"], false);
    };
    check_keys(&schema, "zzzzzz: 1\n");
    check_keys(&schema["definitions"]["Layer"], "default: {zzzzzz: 1}\n");
    check_keys(&schema["definitions"]["Rule"], "default: {rules: [{zzzzzz: 1}]}\n");
    check_keys(&schema["definitions"]["SpendingLimit"], "default: {spending_limits: [{zzzzzz: 1}]}\n");
    assert!(!json_schema().contains("null"), "an empty rule is a mistake");
    assert_eq!(schema["required"], serde_json::json!(["version"]));
    assert_eq!(schema["definitions"]["Category"]["enum"].as_array().unwrap().len(), 295);
}
