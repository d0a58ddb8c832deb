//! What a user sets, and what he is told when it cannot be: every mistake at once, exit codes that tell causes apart, and
//! secrets that are nowhere to be read.

use std::{fs, net::TcpListener, os::unix::fs::PermissionsExt as _};

use rustix::process::Signal;

use crate::{
    client::{Client, post, request},
    deliveries::{Verdict, purchase, signature, signed_with},
    process::{Node, Site, within},
};

const EX_UNAVAILABLE: i32 = 69;
const EX_CONFIG: i32 = 78;

async fn status(node: &Node, secret: &str) -> u16 {
    let body = purchase("ic_settings", "iauth_settings", 100);
    node.connect().await.exchange(signed_with(secret, &body)).await.status
}

#[tokio::test]
async fn every_mistake_is_told_at_once_with_what_was_expected() {
    let site = Site::new(&[
        ("TOLLGATE_ANSWER_WITHIN", "3s"),
        ("TOLLGATE_CARD_LIMIT_DALY", "5000"),
        ("TOLLGATE_IN_FLIGHT_MAX", "lots"),
        ("TOLLGATE_STAND_IN", "shrug"),
        ("TOLLGATE_ADMIN_LISTEN", "0.0.0.0:0"),
        ("TOLLGATE_JOURNAL", "postgres://me:hunter2@db:port/tollgate"),
        ("STRIPE_WEBHOOK_SECRET", "sk_live_an_api_key"),
    ]);
    let ending = site.refuses_to_start().await;
    assert_eq!(ending.code, Some(EX_CONFIG), "{}", ending.log);
    for line in [
        "TOLLGATE_ANSWER_WITHIN=3s: expected a time from 1ms to 1s 900ms",
        "TOLLGATE_CARD_LIMIT_DALY: unknown setting; did you mean TOLLGATE_CARD_LIMIT_DAILY?",
        "TOLLGATE_IN_FLIGHT_MAX=lots: expected a whole number from 1 to 1000000, for example `20_000`",
        "TOLLGATE_STAND_IN=shrug: expected `decline`",
        "TOLLGATE_ADMIN_LISTEN=0.0.0.0:0: an admin port that others can reach needs TOLLGATE_ADMIN_TOKEN",
        "expected a loopback address without it, for example `127.0.0.1:9464`",
        "TOLLGATE_JOURNAL=postgres://(not shown)@db:port/tollgate: expected",
        "STRIPE_WEBHOOK_SECRET=(not shown): expected signing secrets",
    ] {
        assert!(ending.log.contains(line), "no `{line}` in\n{}", ending.log);
    }
    for secret in ["hunter2", "sk_live_an_api_key"] {
        assert!(!ending.log.contains(secret), "{}", ending.log);
    }
    assert!(!site.path("data").exists(), "it made a journal all the same");

    let mut site = Site::new(&[("TOLLGATE_POLICY", "policy.yaml")]);
    for (policy, message) in [
        (None, "TOLLGATE_POLICY=policy.yaml: the file cannot be read"),
        (Some("version: 1\ndefault:\n  payused: true\n"), "did you mean `paused`"),
    ] {
        if let Some(policy) = policy {
            fs::write(site.path("policy.yaml"), policy).unwrap();
        }
        let ending = site.refuses_to_start().await;
        assert_eq!(ending.code, Some(EX_CONFIG), "{}", ending.log);
        assert!(ending.log.contains(message), "no `{message}` in\n{}", ending.log);
    }
    site.set("TOLLGATE_CARD_LIMIT_DAILY", "5000");
    let ending = site.refuses_to_start().await;
    assert!(ending.log.contains("move TOLLGATE_CARD_LIMIT_DAILY into its"), "{}", ending.log);
}

#[tokio::test]
async fn a_port_that_is_taken_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for name in ["TOLLGATE_LISTEN", "TOLLGATE_ADMIN_LISTEN"] {
        let ending = Site::new(&[(name, &address)]).refuses_to_start().await;
        assert_eq!(ending.code, Some(EX_UNAVAILABLE), "{}", ending.log);
        let message = format!("{name} cannot listen on {address}");
        assert!(ending.log.contains(&message), "no `{message}` in\n{}", ending.log);
    }
}

#[tokio::test]
async fn without_a_secret_and_a_terminal_nothing_starts() {
    for settings in [&[][..], &[("TOLLGATE_LIVEMODE", "true")]] {
        let mut site = Site::new(settings);
        site.unset("STRIPE_WEBHOOK_SECRET");
        let ending = site.refuses_to_start().await;
        assert_eq!(ending.code, Some(EX_CONFIG), "{}", ending.log);
        assert!(ending.log.contains("STRIPE_WEBHOOK_SECRET: expected"), "{}", ending.log);
        assert!(!ending.log.contains("whsec_"), "{}", ending.log);
        assert!(!site.path("data").exists(), "it made a journal all the same");
    }
}

#[tokio::test]
async fn what_the_process_makes_is_readable_by_its_own_user_alone() {
    let site = Site::new(&[]);
    let node = site.start().await;
    assert_eq!(node.deliver(&purchase("ic_settings", "iauth_files", 100)).await.status, 200);
    let mut seen = 0;
    for path in [site.path("data"), site.journal()].into_iter().chain(
        ["-wal", "-shm", "-mark", "-index"].map(|suffix| site.path(&format!("data/tollgate.db{suffix}"))),
    ) {
        let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        let expected = if path.is_dir() { 0o700 } else { 0o600 };
        assert_eq!(mode, expected, "{} has the mode {mode:o}", path.display());
        seen += 1;
    }
    assert_eq!(seen, 6);
}

#[tokio::test]
async fn a_journal_in_memory_is_warned_of_at_start() {
    let site = Site::new(&[("TOLLGATE_JOURNAL", "memory:")]);
    let node = site.start().await;
    let log = node.stop().await;
    let line = log.lines().find(|line| line.contains("TOLLGATE_JOURNAL=memory:"));
    assert!(line.is_some_and(|line| line.contains("\"level\":\"WARN\"")), "{log}");
}

#[tokio::test]
async fn several_secrets_count_and_a_signature_may_be_of_several() {
    let mut site = Site::new(&[("STRIPE_WEBHOOK_SECRET", "whsec_sync, whsec_regular,whsec_before")]);
    let node = site.start().await;
    for (secret, expected) in
        [("whsec_sync", 200), ("whsec_regular", 200), ("whsec_before", 200), ("whsec_stranger", 400)]
    {
        assert_eq!(status(&node, secret).await, expected, "{secret}");
    }
    // While a secret is rolled Stripe signs with both; either place will do.
    let body = purchase("ic_settings", "iauth_rolling", 100);
    let header = |secret: &str| signature(secret, &body).trim_end().to_owned();
    for [first, second] in [["whsec_stranger", "whsec_sync"], ["whsec_sync", "whsec_stranger"]] {
        let second = header(second).split_once(",v1=").unwrap().1.to_owned();
        let both = format!("{},v1={second}\r\n", header(first));
        let response = node.connect().await.exchange(post("/webhook", &both, &body)).await;
        assert_eq!(response.status, 200, "{}", response.body);
    }
    node.stop().await;

    // From a file, as orchestrators hand them over; and from one that is not there.
    site.unset("STRIPE_WEBHOOK_SECRET");
    site.set("STRIPE_WEBHOOK_SECRET_FILE", "secrets");
    let ending = site.refuses_to_start().await;
    assert_eq!(ending.code, Some(EX_CONFIG));
    assert!(ending.log.contains("STRIPE_WEBHOOK_SECRET_FILE"), "{}", ending.log);
    fs::write(site.path("secrets"), "whsec_in_a_file\nwhsec_in_the_next_line\n").unwrap();
    let node = site.start().await;
    assert_eq!(status(&node, "whsec_in_a_file").await, 200);
    assert_eq!(status(&node, "whsec_in_the_next_line").await, 200);
    assert_eq!(status(&node, "whsec_sync").await, 400);
    let log = node.stop().await;
    assert!(!log.contains("whsec_"), "{log}");
}

#[tokio::test]
async fn the_books_are_shown_to_the_token_alone() {
    let token = "a-token-of-some-length";
    let mut site = Site::new(&[("TOLLGATE_ADMIN_TOKEN", token)]);
    let mut node = site.start().await;
    assert!(Verdict::of(&node.deliver(&purchase("ic_t", "iauth_t", 100)).await).approved);
    for path in ["/v1/cards/ic_t", "/v1/authorizations/iauth_t", "/v1/cards/ic_unknown", "/v1/unconfirmed"] {
        let refused = node.get(path).await;
        assert_eq!((refused.status, refused.code().as_str()), (401, "unauthorized"), "{path}");
        assert!(!refused.body.contains("iauth_t"));
    }
    for open in ["/livez", "/readyz", "/metrics"] {
        assert_eq!(node.get(open).await.status, 200, "{open}");
    }
    node.token = Some(token.to_owned());
    assert_eq!(node.card("ic_t").await["card"], "ic_t");
    node.token = Some(format!("{token}x"));
    assert_eq!(node.get("/v1/cards/ic_t").await.status, 401);
    let log = node.stop().await;
    assert!(!log.contains(token), "{log}");

    // On an address that others reach, metrics need it too.
    site.set("TOLLGATE_ADMIN_LISTEN", "0.0.0.0:0");
    let mut node = site.start().await;
    assert_eq!(node.get("/metrics").await.status, 401);
    node.token = Some(token.to_owned());
    assert_eq!(node.get("/metrics").await.status, 200);
    assert_eq!(node.card("ic_t").await["card"], "ic_t");
}

#[tokio::test]
async fn a_hangup_without_a_policy_file_ends_nothing() {
    let site = Site::new(&[]);
    let mut node = site.start().await;
    node.process.signal(Signal::HUP);
    node.process.logged("no policy file to reload").await;
    assert!(Verdict::of(&node.deliver(&purchase("ic_h", "iauth_h", 100)).await).approved);
    assert_eq!(node.get("/livez").await.status, 200);
    node.stop().await;
}

#[tokio::test]
async fn tokens_of_a_file_have_names_and_roles_and_change_while_the_node_runs() {
    let site = Site::new(&[("TOLLGATE_ADMIN_TOKENS_FILE", "tokens")]);
    let new = async |name: &str, role: &str| {
        let made = site.run(&["token", name, role], &[]).await;
        let [line, told] = [made.stdout, made.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
        let token = told.lines().last().unwrap().to_owned();
        assert!(line.starts_with(&format!("{name} {role} sha256:")) && !line.contains(&token), "{line}");
        (token, line)
    };
    let (alice, line_of_alice) = new("alice", "viewer").await;
    let (bob, line_of_bob) = new("bob@example.com", "operator").await;
    fs::write(site.path("tokens"), format!("# who may what\n{line_of_alice}")).unwrap();
    let mut node = site.start().await;
    let status = async |node: &Node, method: &str, path: &str| {
        let token = node.token.as_ref().unwrap();
        let headers = format!("authorization: Bearer {token}\r\ntollgate-reason: looking\r\n");
        Client::connect(node.admin).await.exchange(request(method, path, &headers)).await.status
    };
    assert_eq!(node.get("/v1/node").await.status, 401);
    node.token = Some(alice.clone());
    assert_eq!(status(&node, "GET", "/v1/node").await, 200);
    assert_eq!(status(&node, "PUT", "/v1/log").await, 403);
    node.token = Some(bob.clone());
    assert_eq!(status(&node, "GET", "/v1/node").await, 401);
    // Alice goes, bob comes, and a mistake changes nothing.
    fs::write(site.path("tokens"), &line_of_bob).unwrap();
    node.process.logged("the file of tokens was read").await;
    within("the new token", async { while status(&node, "GET", "/v1/node").await != 200 {} }).await;
    assert_eq!(status(&node, "PUT", "/v1/log").await, 400, "an empty filter");
    node.token = Some(alice.clone());
    assert_eq!(status(&node, "GET", "/v1/node").await, 401);
    fs::write(site.path("tokens"), format!("{line_of_alice}\nbob admin {bob}\n")).unwrap();
    node.process.logged("the file of tokens cannot be used; the tokens stay as they are").await;
    assert_eq!(status(&node, "GET", "/v1/node").await, 401);
    let log = node.stop().await;
    assert!(!log.contains(&alice) && !log.contains(&bob), "{log}");
    let ending = site.refuses_to_start().await;
    assert_eq!(ending.code, Some(EX_CONFIG));
    assert!(
        ending.log.contains("TOLLGATE_ADMIN_TOKENS_FILE=tokens: line 3: expected `sha256:`"),
        "{}",
        ending.log
    );
    assert!(!ending.log.contains(&bob), "{}", ending.log);
}
