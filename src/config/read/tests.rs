use std::time::Duration;

use super::*;
use crate::{
    actors::StandInRule,
    config::{Default, SETTINGS, Section, Source, find},
    domain::Answering,
    journal::Location,
};

fn load(pairs: &[(&str, &str)]) -> Result<Loaded, Vec<String>> {
    let pairs = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let files = |path: &str| match path {
        "/run/secrets/token" => Ok("a-token\n".to_owned()),
        "/run/secrets/stripe" => Ok("whsec_a\nwhsec_b\n".to_owned()),
        "/etc/ssl/proxy-ca.pem" => Ok(include_str!("../../../tests/fixtures/authority.pem").to_owned()),
        "p.yaml" | "/etc/tollgate/policy.yaml" | "/etc/tollgate/next.yaml" => Ok("version: 1\n".to_owned()),
        "/etc/tollgate/webhooks.yaml" => Ok("version: 1\nendpoints: {}\n".to_owned()),
        "/etc/tollgate/tokens" => Ok(format!("alice admin sha256:{}\n", "0".repeat(64))),
        "/run/secrets/quoted" => Ok("\"whsec_a\"\n".to_owned()),
        "/run/secrets/journal" => Ok("postgres://me:hunter2@db/tollgate\n".to_owned()),
        "/run/secrets/empty" => Ok("\n".to_owned()),
        _ => Err(io::Error::from(io::ErrorKind::NotFound)),
    };
    read(pairs, files).map_err(|problems| problems.iter().map(ToString::to_string).collect())
}

/// The pairs give exactly these problems, each recognised by a part of its text.
#[track_caller]
fn check(pairs: &[(&str, &str)], expected: &[&str]) {
    let problems = load(pairs).map_or_else(|problems| problems, |_| Vec::new());
    assert_eq!(problems.len(), expected.len(), "{problems:#?}");
    for (problem, part) in problems.iter().zip(expected) {
        assert!(problem.contains(part), "`{problem}` has no `{part}`");
    }
}

fn limits(loaded: &Loaded) -> Vec<String> {
    let policy = match &loaded.settings.policy_source {
        PolicySource::Environment(policy) | PolicySource::Journal(policy) => policy,
        PolicySource::File(_) => panic!("a file"),
    };
    assert!(policy.text().starts_with("# The limits that environment variables give"), "{}", policy.text());
    let limits = &policy.for_card(None, None).controls.spending_limits;
    limits
        .iter()
        .map(|limit| format!("{} {} {}", limit.window.measure.as_str(), limit.max, limit.window.interval))
        .collect()
}

#[test]
fn nothing_set_gives_the_documented_defaults() {
    let settings = load(&[]).unwrap().settings;
    assert_eq!(settings.http.listen.to_string(), "127.0.0.1:4242");
    assert_eq!(settings.http.admin_listen.to_string(), "127.0.0.1:9464");
    assert_eq!(settings.http.answer_within, Duration::from_millis(1_200));
    assert_eq!(settings.http.body_bytes_max, 1_048_576);
    assert_eq!(settings.stripe.signature_tolerance, Duration::from_mins(5));
    assert_eq!(settings.stripe.api_version.as_str(), "2022-08-01");
    assert!(settings.stripe.secrets.is_empty());
    assert!(settings.stripe.reply_metadata);
    assert_eq!(settings.actors.stand_in.overload, StandInRule::Decline);
    assert_eq!(settings.actors.cards_resident_max, 100_000);
    assert_eq!(settings.journal.location, Location::Sqlite("./data/tollgate.db".into()));
    assert_eq!(settings.journal.batch_max, 512);
    assert_eq!(settings.drain_delay, Duration::from_secs(5));
    assert_eq!(settings.log.format, log::Settings::default().format);
}

#[test]
fn every_setting_is_read_once_and_every_example_is_accepted() {
    let loaded = load(&[]).unwrap();
    let read: Vec<&str> = loaded.effective.iter().map(|one| one.setting.name).collect();
    let table: Vec<&str> = SETTINGS.iter().map(|setting| setting.name).collect();
    assert_eq!(read, table);
    for setting in SETTINGS.iter().filter(|setting| setting.section != Section::Cluster) {
        let fine = load(&[
            ("STRIPE_API_KEY", "sk_test_x"),
            ("TOLLGATE_ADMIN_TOKENS_FILE", "/etc/tollgate/tokens"),
            (setting.name, setting.example),
        ]);
        assert!(fine.is_ok(), "{}: {fine:?}", setting.name);
    }
}

#[test]
fn all_problems_come_at_once_each_with_value_expectation_and_example() {
    check(
        &[
            ("TOLLGATE_ANSWER_WITHIN", "5s"),
            ("TOLLGATE_IN_FLIGHT_MAX", "many"),
            ("TOLLGATE_JOURNAL", "postgres://me:secret@db:port/x"),
            ("TOLLGATE_LISTN", "127.0.0.1:1"),
            ("TOLLGATE_STAND_IN", "approve"),
            ("TOLLGATE_SOMETHING_ELSE", "1"),
        ],
        &[
            "TOLLGATE_ANSWER_WITHIN=5s: expected a time from 1ms to 1s 900ms with a unit (ms, s, m, h), for example `1500ms`",
            "TOLLGATE_STAND_IN=approve: expected `decline`, or `approve:`",
            "TOLLGATE_IN_FLIGHT_MAX=many: expected a whole number from 1 to 1000000",
            "TOLLGATE_JOURNAL=postgres://(not shown)@db:port/x: expected `sqlite:` and",
            "TOLLGATE_LISTN: unknown setting; did you mean TOLLGATE_LISTEN?",
            "TOLLGATE_SOMETHING_ELSE: unknown setting",
        ],
    );
}

#[test]
fn answers_over_the_api_need_a_key_and_a_live_key_needs_encryption() {
    let answering = |text: &str| load(&[("TOLLGATE_ANSWER_BY", text), ("STRIPE_API_KEY", "sk_test_x")]);
    for (text, expected) in [
        ("direct", Some(Answering::DIRECT)),
        ("api", Some(Answering::API)),
        ("split:0", Some(Answering::API)),
        ("split:100", Some(Answering::DIRECT)),
        ("split:10", Answering::split(10)),
        ("split:101", None),
        ("split", None),
        ("split:ten", None),
        ("API", None),
    ] {
        assert_eq!(answering(text).ok().map(|loaded| loaded.settings.actors.answering), expected, "{text}");
    }
    for text in ["api", "split:99"] {
        check(
            &[("TOLLGATE_ANSWER_BY", text)],
            &["TOLLGATE_ANSWER_BY: answers over the API need STRIPE_API_KEY"],
        );
    }
    let base = ("STRIPE_API_BASE", "http://127.0.0.1:1");
    check(&[base, ("STRIPE_API_KEY", "sk_live_x")], &["STRIPE_API_BASE: a live key goes over https:// only"]);
    check(
        &[("STRIPE_API_KEY", "whsec_secret")],
        &["STRIPE_API_KEY=(not shown): expected a secret or restricted key"],
    );
    let api = load(&[base, ("STRIPE_API_KEY", "sk_test_x"), ("STRIPE_API_VERSION", "2026-07-29.dahlia")]);
    let api = api.unwrap().settings.stripe.api.unwrap();
    assert_eq!((api.base.as_str(), api.version.as_str()), ("http://127.0.0.1:1", "2026-07-29.dahlia"));
}

#[test]
fn a_value_out_of_range_is_refused_at_either_end() {
    for (name, too_small, least, most, too_large) in [
        ("TOLLGATE_ANSWER_WITHIN", "999us", "1ms", "1900ms", "1901ms"),
        ("TOLLGATE_BODY_BYTES_MAX", "16383", "16KiB", "16MiB", "17MiB"),
        ("TOLLGATE_CARD_QUEUE_MAX", "0", "1", "100_000", "100_001"),
        ("TOLLGATE_CARD_LIMIT_DAILY", "0", "1", "1000000000000000", "1000000000000001"),
    ] {
        for (value, fine) in [(too_small, false), (least, true), (most, true), (too_large, false)] {
            assert_eq!(load(&[(name, value)]).is_ok(), fine, "{name}={value}");
        }
    }
}

#[test]
fn secrets_are_never_shown_and_may_come_from_files() {
    let loaded = load(&[
        ("STRIPE_WEBHOOK_SECRET", "whsec_topsecret, whsec_older"),
        ("TOLLGATE_ADMIN_TOKEN_FILE", "/run/secrets/token"),
    ])
    .unwrap();
    let secrets: Vec<&str> = loaded.settings.stripe.secrets.iter().map(Secret::reveal).collect();
    assert_eq!(secrets, ["whsec_topsecret", "whsec_older"]);
    assert!(loaded.settings.http.admin_token.is_some());
    let token = loaded.effective.iter().find(|one| one.setting.name == "TOLLGATE_ADMIN_TOKEN").unwrap();
    assert_eq!(token.source, Source::File);
    let shown = format!(
        "{loaded:?}{}{}",
        crate::config::overview(&loaded.effective),
        crate::config::json(&loaded.effective)
    );
    assert!(!shown.contains("topsecret") && !shown.contains("a-token"));

    let by_file = load(&[("STRIPE_WEBHOOK_SECRET_FILE", "/run/secrets/stripe")]).unwrap();
    assert_eq!(by_file.settings.stripe.secrets.len(), 2);
}

#[test]
fn the_journal_may_come_from_a_file_and_its_password_is_not_shown() {
    let loaded = load(&[("TOLLGATE_JOURNAL_FILE", "/run/secrets/journal")]).unwrap();
    let Location::Postgres(url) = &loaded.settings.journal.location else { panic!("another journal") };
    assert_eq!(url, "postgres://me:hunter2@db/tollgate");
    let journal = loaded.effective.iter().find(|one| one.setting.name == "TOLLGATE_JOURNAL").unwrap();
    assert_eq!(journal.source, Source::File);
    let shown = format!("{loaded:?}{}", crate::config::overview(&loaded.effective));
    assert!(shown.contains("postgres://(not shown)@db/tollgate") && !shown.contains("hunter2"), "{shown}");
    check(
        &[("TOLLGATE_JOURNAL", "memory:"), ("TOLLGATE_JOURNAL_FILE", "/run/secrets/journal")],
        &["TOLLGATE_JOURNAL_FILE: TOLLGATE_JOURNAL is set as well"],
    );
    check(&[("TOLLGATE_JOURNAL_FILE", "/nowhere")], &["TOLLGATE_JOURNAL_FILE=/nowhere: the file cannot"]);
    check(&[("TOLLGATE_JOURNAL_FILE", "/run/secrets/token")], &["TOLLGATE_JOURNAL=(not shown): expected"]);
}

#[test]
fn a_bad_secret_is_refused_without_being_shown() {
    check(
        &[("STRIPE_WEBHOOK_SECRET", "sk_live_abc")],
        &["STRIPE_WEBHOOK_SECRET=(not shown): expected signing"],
    );
    check(&[("STRIPE_WEBHOOK_SECRET", "whsec_a,,whsec_b")], &["STRIPE_WEBHOOK_SECRET=(not shown)"]);
    check(&[("TOLLGATE_ADMIN_TOKEN", "two words")], &["TOLLGATE_ADMIN_TOKEN=(not shown): expected visible"]);
    check(
        &[("TOLLGATE_ADMIN_TOKEN", "x"), ("TOLLGATE_ADMIN_TOKEN_FILE", "/run/secrets/token")],
        &["TOLLGATE_ADMIN_TOKEN_FILE: TOLLGATE_ADMIN_TOKEN is set as well"],
    );
    check(
        &[("TOLLGATE_ADMIN_TOKEN_FILE", "/nowhere")],
        &["TOLLGATE_ADMIN_TOKEN_FILE=/nowhere: the file cannot"],
    );
    check(
        &[("TOLLGATE_ADMIN_TOKEN_FILE", "s3cret")],
        &["TOLLGATE_ADMIN_TOKEN_FILE=(not shown): the file cannot"],
    );
    check(&[("TOLLGATE_ADMIN_TOKEN_FILE", "/run/secrets/empty")], &["it is empty"]);
    check(
        &[("STRIPE_API_CA", "/run/secrets/empty")],
        &["STRIPE_API_CA=/run/secrets/empty: expected the path of a PEM"],
    );
    check(&[("STRIPE_API_CA", "/nowhere")], &["STRIPE_API_CA=/nowhere: the file cannot"]);
}

#[test]
fn an_admin_port_that_others_can_reach_needs_a_token() {
    let open = ("TOLLGATE_ADMIN_LISTEN", "0.0.0.0:9464");
    check(&[open], &["needs TOLLGATE_ADMIN_TOKEN"]);
    check(&[open, ("TOLLGATE_ADMIN_TOKEN", "x")], &[]);
    check(&[("TOLLGATE_ADMIN_LISTEN", "[::1]:9464")], &[]);
    check(&[("TOLLGATE_ADMIN_LISTEN", "127.0.0.1:4242")], &["the webhook listens there already"]);
    check(&[("TOLLGATE_ADMIN_LISTEN", "127.0.0.1:0"), ("TOLLGATE_LISTEN", "127.0.0.1:0")], &[]);
}

#[test]
fn a_cluster_needs_names_addresses_and_a_database() {
    let [journal, listen] =
        [("TOLLGATE_JOURNAL", "postgres://db/tollgate"), ("TOLLGATE_PEER_LISTEN", "10.0.0.5:4243")];
    let [name, anywhere] = [("TOLLGATE_NODE_ID", "node-a"), ("TOLLGATE_PEER_LISTEN", "0.0.0.0:4243")];
    let address = ("TOLLGATE_PEER_ADDRESS", "tollgate-a.internal:4243");
    let settings = load(&[journal, name, anywhere, address]).unwrap().settings;
    let peers = settings.cluster.peers.unwrap();
    assert_eq!((peers.listen.port(), peers.address.as_deref()), (4_243, Some(address.1)));
    assert_eq!(
        (settings.cluster.node_id.as_str(), settings.cluster.forward_within.as_millis()),
        ("node-a", 300)
    );
    assert!(settings.actors.is_journal_shared);
    let settings = load(&[journal, name, listen]).unwrap().settings;
    assert_eq!(settings.cluster.peers.unwrap().address, None);
    let alone = load(&[journal]).unwrap().settings.cluster.peers;
    assert!(alone.is_none(), "one node on PostgreSQL is no cluster");

    check(&[name, listen], &["share a PostgreSQL journal, and sqlite:./data/tollgate.db is of one node"]);
    check(&[journal, listen], &["needs a TOLLGATE_NODE_ID of its own"]);
    check(&[journal, name, anywhere], &["set TOLLGATE_PEER_ADDRESS to its own address"]);
    check(&[journal, name, address], &["without TOLLGATE_PEER_LISTEN"]);
    check(
        &[name, ("TOLLGATE_PEER_LISTEN", "here"), ("TOLLGATE_PEER_ADDRESS", "tollgate-a")],
        &[
            "TOLLGATE_PEER_LISTEN=here: expected an IP address",
            "TOLLGATE_PEER_ADDRESS=tollgate-a",
            "PostgreSQL",
        ],
    );
    check(&[("TOLLGATE_FORWARD_WITHIN", "5s")], &["TOLLGATE_FORWARD_WITHIN=5s"]);
}

#[test]
fn the_environment_gives_a_policy_and_without_one_the_journal_does() {
    let source = |pairs: &[(&str, &str)]| load(pairs).unwrap().settings.policy_source;
    assert!(matches!(source(&[]), PolicySource::Journal(_)));
    assert!(matches!(source(&[("TOLLGATE_CARD_LIMIT_DAILY", "1")]), PolicySource::Environment(_)));
    assert!(matches!(source(&[("TOLLGATE_POLICY", "p.yaml")]), PolicySource::File(_)));
    let two = [("TOLLGATE_POLICY_APPROVALS", "2"), ("TOLLGATE_ADMIN_TOKEN", "x")];
    check(&two, &["two operators need tokens of their own"]);
    assert_eq!(limits(&load(&[]).unwrap()), ["amount 50000 daily"]);
    let Some(Default::Unset(told)) = find("TOLLGATE_CARD_LIMIT_DAILY").map(|setting| setting.default) else {
        panic!("it depends on the others")
    };
    assert!(told.starts_with(DAILY_DEFAULT), "the documentation tells another default");
    let monthly = [("TOLLGATE_CARD_LIMIT_MONTHLY", "100_000"), ("TOLLGATE_CARD_VELOCITY", "10/1h,50/24h")];
    assert_eq!(
        limits(&load(&monthly).unwrap()),
        ["amount 100000 monthly", "count 10 rolling(1h)", "count 50 rolling(24h)"]
    );
    assert_eq!(limits(&load(&[("TOLLGATE_CARD_VELOCITY", "3/10m")]).unwrap()), ["count 3 rolling(10m)"]);
}

#[test]
fn a_policy_file_and_limits_exclude_each_other() {
    let file = ("TOLLGATE_POLICY", "p.yaml");
    let source = load(&[file]).unwrap().settings.policy_source;
    assert!(matches!(source, PolicySource::File(path) if path.as_os_str() == "p.yaml"));
    check(
        &[file, ("TOLLGATE_CARD_LIMIT_DAILY", "5"), ("TOLLGATE_CARD_VELOCITY", "1/1h")],
        &["move TOLLGATE_CARD_LIMIT_DAILY, TOLLGATE_CARD_VELOCITY into its `default.spending_limits`"],
    );
}

#[test]
fn a_policy_file_that_cannot_be_read_is_a_mistake_beside_the_others() {
    check(
        &[("TOLLGATE_POLICY", "nowhere.yaml"), ("TOLLGATE_LISTEN", "here")],
        &[
            "TOLLGATE_POLICY=nowhere.yaml: the file cannot be read: entity not found; expected the path of a policy file, for example `/etc/tollgate/policy.yaml`",
            "TOLLGATE_LISTEN=here: expected",
        ],
    );
}

#[test]
fn what_others_set_is_left_alone_and_empty_means_not_set() {
    check(
        &[
            ("STRIPE_SECRET_KEY", "sk_test_1"),
            ("PATH", "/bin"),
            ("TOLLGATE_LISTEN", ""),
            ("TOLLGATE_SERVICE_HOST", "10.0.0.1"),
            ("TOLLGATE_SERVICE_PORT_HTTP", "4242"),
            ("TOLLGATE_PORT", "tcp://10.0.0.1:4242"),
            ("TOLLGATE_PORT_4242_TCP_ADDR", "10.0.0.1"),
        ],
        &[],
    );
    check(&[("TOLLGATE_PORT", "4242")], &["TOLLGATE_PORT: unknown setting"]);
}

#[test]
fn a_name_that_was_meant_to_be_ours_is_a_mistake_with_the_nearest_name() {
    for (name, meant) in [
        ("STRIPE_WEBHOOK_SECRETS", "STRIPE_WEBHOOK_SECRET"),
        ("STRIPE_WEBHOOKS_SECRET", "STRIPE_WEBHOOK_SECRET"),
        ("STRIPE_WEBHOK_SECRET", "STRIPE_WEBHOOK_SECRET"),
        ("STRIPE_WEBHOOK_SIGNING_SECRET", "STRIPE_WEBHOOK_SECRET"),
        ("STRIPE_ENDPOINT_SECRET", "STRIPE_WEBHOOK_SECRET"),
        ("STRIPE_SIGNING_SECRET", "STRIPE_WEBHOOK_SECRET"),
        ("STRIPE_SECRET_WEBHOOK", "STRIPE_WEBHOOK_SECRET"),
        ("STRIPE_WEBHOOK_SECRET_2", "STRIPE_WEBHOOK_SECRET"),
        ("STRIPE_WEBHOOK_SECRET_FILES", "STRIPE_WEBHOOK_SECRET"),
        ("stripe_webhook_secret", "STRIPE_WEBHOOK_SECRET"),
        ("STRIP_WEBHOOK_SECRET", "STRIPE_WEBHOOK_SECRET"),
        ("STRIPE_APIKEY", "STRIPE_API_KEY"),
        ("STRIPE_API_KEYS", "STRIPE_API_KEY"),
        ("STRIPE_API_VERSIONS", "STRIPE_API_VERSION"),
        ("STRIPE_VERSION_API", "STRIPE_API_VERSION"),
        ("TOLGATE_POLICY", "TOLLGATE_POLICY"),
        ("TOLLGATE-JOURNAL", "TOLLGATE_JOURNAL"),
        ("tollgate_card_limit_daily", "TOLLGATE_CARD_LIMIT_DAILY"),
    ] {
        check(&[(name, "x")], &[&format!("{name}: unknown setting; did you mean {meant}?")]);
    }
    for name in [
        "STRIPE_SECRET_KEY",
        "STRIPE_PUBLISHABLE_KEY",
        "STRIPE_ACCOUNT_ID",
        "STRIPE_DEVICE_NAME",
        "STRIPE_CLIENT_SECRET",
        "STRIPE_PRICE_ID",
        "GITHUB_WEBHOOK_SECRET",
        "KUBERNETES_SERVICE_HOST",
    ] {
        check(&[(name, "x")], &[]);
    }
}

#[test]
fn a_value_with_quotes_around_it_is_refused_by_name() {
    for (name, value) in [
        ("STRIPE_WEBHOOK_SECRET", "\"whsec_a\""),
        ("STRIPE_WEBHOOK_SECRET", "'whsec_a'"),
        ("STRIPE_WEBHOOK_SECRET", "'whsec_a','whsec_b'"),
        ("STRIPE_WEBHOOK_SECRET", "whsec_a,\"whsec_b\""),
        ("STRIPE_WEBHOOK_SECRET", "\"whsec_a"),
        ("STRIPE_API_KEY", "\"sk_test_x\""),
        ("STRIPE_API_VERSION", "\"2022-08-01\""),
        ("TOLLGATE_ADMIN_TOKEN", "'a-long-token'"),
        ("TOLLGATE_JOURNAL", "\"sqlite:./x.db\""),
        ("TOLLGATE_NODE_ID", "'node-a'"),
        ("TOLLGATE_CARD_LIMIT_DAILY", "\"500\""),
        ("STRIPE_WEBHOOK_SECRET_FILE", "\"/run/secrets/stripe\""),
        ("STRIPE_WEBHOOK_SECRET_FILE", "/run/secrets/quoted"),
    ] {
        check(&[(name, value)], &[&format!("{name}: expected a value without quotes around it")]);
    }
    check(&[("STRIPE_WEBHOOK_SECRET", " whsec_a\r")], &[]);
}

#[test]
fn words_are_read_exactly() {
    let json = load(&[("TOLLGATE_LOG_FORMAT", "json"), ("TOLLGATE_REPLY_METADATA", "false")]).unwrap();
    assert_eq!(json.settings.log.format, log::Format::Json);
    assert!(!json.settings.stripe.reply_metadata);
    check(
        &[("TOLLGATE_LOG_FORMAT", "JSON"), ("TOLLGATE_REPLY_METADATA", "yes")],
        &["expected `true` or `false`", "expected `pretty` or `json`, for example `json`"],
    );
}
