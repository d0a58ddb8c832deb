use super::*;

const GOOD: &str = r"
version: 1
endpoints:
  finance:
    url: https://example.com/hooks/tollgate
    secret: whsec_a_long_random_text
    events: [budget.warned, decision.declined]
    budgets: [engineering]
    groups: [eng]
    reasons: [spending_limit, rule]
    min_amount: 10000
  ops:
    url: http://127.0.0.1:4000/
    secret: whsec_a_long_random_text
    format: slack
";

#[test]
fn a_file_names_endpoints_with_what_they_get() {
    let (Endpoints(endpoints), mistakes) = read(GOOD.as_bytes()).unwrap();
    assert_eq!(mistakes, []);
    let [finance, ops] = &endpoints[..] else { panic!("{endpoints:?}") };
    assert_eq!(
        (&*finance.name, finance.url.host(), finance.format),
        ("finance", "example.com", Format::Json)
    );
    assert_eq!(finance.events, [Kind::Warned, Kind::Declined]);
    let filter = Filter {
        budgets: vec!["engineering".into()],
        groups: vec!["eng".into()],
        reasons: vec![Reason::SpendingLimit, Reason::Rule],
        min_amount: Some(10_000),
    };
    assert_eq!(finance.filter, filter);
    assert_eq!((ops.format, ops.filter.clone(), ops.events.len()), (Format::Slack, Filter::default(), 0));
    assert!(ops.wants(Kind::StandIn) && !finance.wants(Kind::StandIn));
    assert!(!format!("{endpoints:?}").contains("hooks/tollgate"), "a path may be a secret");
}

/// The lines of the mistakes in a file, and what was found.
fn mistakes(text: &str) -> Vec<(usize, String)> {
    let mistakes = match read(text.as_bytes()) {
        Ok((_, mistakes)) | Err(mistakes) => mistakes,
    };
    mistakes.into_iter().map(|mistake| (mistake.place.line, mistake.found)).collect()
}

#[test]
fn each_mistake_is_found_with_its_line() {
    let check = |lines: &[&str], expected: &[(usize, &str)]| {
        let text = format!("version: 1\nendpoints:\n  one:\n    {}\n", lines.join("\n    "));
        let expected: Vec<(usize, String)> =
            expected.iter().map(|(line, found)| (*line, (*found).to_owned())).collect();
        assert_eq!(mistakes(&text), expected, "{text}");
    };
    let (url, secret) = ("url: https://example.com/", "secret: whsec_a_long_random_text");
    check(&[url, secret], &[]);
    check(&[url], &[(4, "`secret` is missing")]);
    check(&[secret], &[(4, "`url` is missing")]);
    check(&["url: example.com", secret], &[(4, "this is no URL of an endpoint")]);
    check(&["url: http://example.com", secret], &[(4, "events go to another machine without encryption")]);
    check(&[url, "secret: short"], &[(5, "the secret is too short")]);
    check(&[url, secret, "secrets: x"], &[(6, "unknown key `secrets`")]);
    check(&[url, secret, "events: [decision.decline]"], &[(6, "unknown event `decision.decline`")]);
    check(&[url, secret, "events: []"], &[(6, "the list is empty")]);
    check(&[url, secret, "reasons: [limit]"], &[(6, "unknown reason `limit`")]);
    check(&[url, secret, "format: xml"], &[(6, "unknown format `xml`")]);
    check(&[url, secret, "min_amount: 0"], &[(6, "expected a whole number above 0, found `0`")]);
    check(
        &[url, secret, "secret_file: /run/x"],
        &[
            (4, "there are both `secret` and `secret_file`"),
            (6, "this file cannot be read: No such file or directory (os error 2)"),
        ],
    );
    check(&[url, "secret_file: run/x"], &[(5, "this path is relative")]);
    assert_eq!(mistakes("endpoints: {}"), [(1, "`version` is missing".to_owned())]);
    assert_eq!(mistakes("version: 1"), [(1, "`endpoints` is missing".to_owned())]);
    assert_eq!(mistakes("version: 2\nendpoints: {}"), [(1, "unknown version `2`".to_owned())]);
    let name = "version: 1\nendpoints:\n  Ops Team: {url: \"https://a.example\", secret: whsec_a_long_random_text}\n";
    assert_eq!(mistakes(name), [(3, "this cannot be the name of an endpoint".to_owned())]);
}

#[test]
fn a_changed_secret_file_changes_the_content() {
    let directory = tempfile::tempdir().unwrap();
    let (file, secret) = (directory.path().join("webhooks.yaml"), directory.path().join("secret"));
    let text = format!(
        "version: 1\nendpoints:\n  one: {{url: \"https://a.example\", secret_file: {}}}\n",
        secret.display()
    );
    fs::write(&file, text).unwrap();
    fs::write(&secret, "whsec_a_long_random_text\n").unwrap();
    let before = load(&file).unwrap();
    let (Endpoints(endpoints), _) = read(&before).unwrap();
    assert_eq!(endpoints[0].secret.reveal(), "whsec_a_long_random_text");
    fs::write(&secret, "whsec_another_random_text\n").unwrap();
    let after = load(&file).unwrap();
    assert_ne!(before, after);
    assert!(!String::from_utf8(after).unwrap().contains("random"), "the secret is not part of it");
}
