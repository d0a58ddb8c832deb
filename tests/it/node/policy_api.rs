//! Policies over the admin API: read as `tollgate check` reads them, recorded with who and why, in force at once and after a
//! restart.

use std::fs;

use serde_json::{Value, json};

use crate::{
    client::{Client, Response, request},
    deliveries::{Verdict, purchase},
    process::{Node, Site},
};

fn policy(limit: i64) -> String {
    format!(
        "version: 1\ncurrency: usd\ndefault:\n  spending_limits: [{{amount: {limit}, interval: all_time}}]\n"
    )
}

/// Puts a policy. `query` begins with `?`, or is empty.
pub(crate) async fn put(node: &Node, query: &str, text: &str) -> Response {
    let credentials =
        node.token.as_ref().map(|token| format!("authorization: Bearer {token}\r\n")).unwrap_or_default();
    let headers = format!("{credentials}tollgate-reason: ticket 17\r\ncontent-length: {}\r\n", text.len());
    let head = request("PUT", &format!("/v1/policy{query}"), &headers);
    Client::connect(node.admin).await.exchange([head, text.as_bytes().to_vec()].concat()).await
}

async fn ask(node: &Node, authorization: &str, amount: i64) -> String {
    Verdict::of(&node.deliver(&purchase("ic_p", authorization, amount)).await).reason
}

fn state(response: &Response) -> (u16, Value) {
    (response.status, response.json()["state"].clone())
}

#[tokio::test]
async fn a_policy_that_is_put_decides_and_is_there_after_a_restart() {
    let site = Site::new(&[("TOLLGATE_POLICY_APPROVALS", "1")]);
    let node = site.start().await;
    assert_eq!(ask(&node, "iauth_1", 900).await, "approved");
    let default = node.books("/v1/policy").await["version"].clone();

    // It is read as a file is, and compared.
    let wrong =
        put(&node, "", "version: 1\ndefault:\n  spending_limits: [{amount: 5, interval: dayly}]\n").await;
    assert_eq!((wrong.status, wrong.code().as_str()), (400, "bad_policy"));
    assert!(wrong.body.contains("line 3, column 43") && wrong.body.contains("daily"), "{}", wrong.body);
    let unused = "version: 1\ncurrency: usd\ndefault:\n  spending_limits: [{amount: 5, interval: daily}, {amount: 9, interval: daily}]\n";
    assert_eq!(put(&node, "", unused).await.status, 400, "`tollgate check` fails, too");
    let tried = put(&node, "?dry_run=true", &policy(1_000)).await;
    assert_eq!(state(&tried), (200, json!("dry_run")));
    let diff = tried.json()["diff"].as_str().unwrap().to_owned();
    assert!(diff.contains("\n-    - {amount: 50000, interval: daily}"), "{diff}");
    assert!(diff.contains("\n+  spending_limits: [{amount: 1000, interval: all_time}]"), "{diff}");
    let warned = put(&node, "?dry_run=true", "version: 1\n").await;
    assert!(warned.json()["warnings"][0].as_str().unwrap().contains("nothing is limited"), "{}", warned.body);
    assert_eq!(node.books("/v1/policy").await["version"], default);

    // It is in force when the reply is there.
    let changed = put(&node, "", &policy(1_000)).await;
    assert_eq!(state(&changed), (200, json!("in_force")));
    assert_eq!(changed.json()["before"], default);
    assert_eq!(ask(&node, "iauth_2", 200).await, "spending_limit");
    assert_eq!(state(&put(&node, "", &policy(1_000)).await), (200, json!("unchanged")));
    let listed = node.books("/v1/policies").await["policies"].clone();
    let steps: Vec<&str> =
        listed.as_array().unwrap().iter().map(|one| one["step"].as_str().unwrap()).collect();
    assert_eq!(steps, ["followed", "put", "followed"]);
    assert_eq!((&listed[1]["by"], &listed[1]["reason"]), (&json!("local"), &json!("ticket 17")));
    assert_eq!(listed[1]["origin"], "admin API");

    // Who changes another one than he thinks is refused.
    let stale = put(&node, &format!("?replaces={}", default.as_str().unwrap()), &policy(2_000)).await;
    assert_eq!((stale.status, stale.code().as_str()), (409, "replaced"));
    let version = changed.json()["version"].as_str().unwrap().to_owned();
    let changed = put(&node, &format!("?replaces={version}"), &policy(2_000)).await;
    assert_eq!(state(&changed), (200, json!("in_force")));
    assert_eq!(ask(&node, "iauth_3", 1_100).await, "approved");

    node.stop().await;
    let node = site.start().await;
    assert_eq!(node.books("/v1/policy").await["version"], changed.json()["version"]);
    assert_eq!(node.books("/v1/node").await["policy"], changed.json()["version"]);
    assert_eq!(ask(&node, "iauth_4", 1).await, "spending_limit");
    node.stop().await;
}

#[tokio::test]
async fn a_node_with_a_file_has_its_file_and_says_what_is_newer() {
    let mut site = Site::new(&[("TOLLGATE_POLICY", "policy.yaml")]);
    fs::write(site.path("policy.yaml"), policy(1_000)).unwrap();
    let node = site.start().await;
    let refused = put(&node, "", &policy(2_000)).await;
    assert_eq!((refused.status, refused.code().as_str()), (409, "policy_from_settings"));
    assert!(refused.body.contains("TOLLGATE_POLICY"), "{}", refused.body);
    let of_file = node.books("/v1/policy").await["version"].clone();
    node.stop().await;

    // Not the limit that tests set otherwise.
    site.set("TOLLGATE_POLICY_APPROVALS", "1");
    // Without the file the node goes on with the newest policy, and takes another one.
    site.unset("TOLLGATE_POLICY");
    let node = site.start().await;
    assert_eq!(node.books("/v1/policy").await["version"], of_file);
    assert_eq!(put(&node, "", &policy(2_000)).await.status, 200);
    node.stop().await;

    // With the old file again, the file holds, and the log says what is newer.
    site.set("TOLLGATE_POLICY", "policy.yaml");
    let mut node = site.start().await;
    assert_eq!(node.books("/v1/policy").await["version"], of_file);
    assert!(node.process.log().contains("own policy is older than the newest in the journal"));
    node.process.signal(rustix::process::Signal::HUP);
    node.process.logged("the file has not changed").await;
    node.stop().await;
}

#[tokio::test]
async fn a_second_operator_approves_what_the_first_one_proposes() {
    let mut site = Site::new(&[("TOLLGATE_ADMIN_TOKENS_FILE", "tokens")]);
    let mut lines = String::new();
    let mut tokens = Vec::new();
    for (name, role) in [("alice", "admin"), ("bob", "admin"), ("carol", "operator")] {
        fs::write(site.path("tokens"), format!("x viewer sha256:{}\n", "0".repeat(64))).unwrap();
        let made = site.run(&["token", name, role], &[]).await;
        lines.push_str(&String::from_utf8(made.stdout).unwrap());
        tokens.push(String::from_utf8(made.stderr).unwrap().lines().last().unwrap().to_owned());
    }
    fs::write(site.path("tokens"), lines).unwrap();
    site.set("TOLLGATE_POLICY_APPROVALS", "2");
    let mut node = site.start().await;
    let mut by = async |who: usize, text: &str| {
        node.token = Some(tokens[who].clone());
        let response = put(&node, "", text).await;
        (response.status, response.json()["state"].clone(), node.books("/v1/policy").await["version"].clone())
    };
    let (status, _, default) = by(2, &policy(1_000)).await;
    assert_eq!(status, 403);
    assert_eq!(by(0, &policy(1_000)).await, (202, json!("proposed"), default.clone()));
    assert_eq!(by(0, &policy(1_000)).await, (202, json!("proposed"), default.clone()), "not by herself");
    assert_eq!(by(1, &policy(2_000)).await, (202, json!("proposed"), default.clone()), "another text");
    let (status, state, version) = by(1, &policy(1_000)).await;
    assert_eq!((status, state), (200, json!("in_force")));
    assert_ne!(version, default);
    // What was proposed before another policy came in force is proposed anew.
    assert_eq!(by(0, &policy(2_000)).await, (202, json!("proposed"), version.clone()));
    let (_, state, other) = by(1, &policy(2_000)).await;
    assert_eq!(state, json!("in_force"));
    assert_ne!(other, version);
    let listed = node.books("/v1/policies").await["policies"].clone();
    let steps: Vec<(&str, Option<&str>)> = listed
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["step"].as_str().unwrap(), one["by"].as_str()))
        .rev()
        .collect();
    let expected = [
        ("followed", None),
        ("proposed", Some("alice")),
        ("proposed", Some("bob")),
        ("approved", Some("bob")),
        ("followed", None),
        ("proposed", Some("alice")),
        ("approved", Some("bob")),
        ("followed", None),
    ];
    assert_eq!(steps, expected);
    node.stop().await;
    site.unset("TOLLGATE_ADMIN_TOKENS_FILE");
    let ending = site.refuses_to_start().await;
    assert!(ending.log.contains("two operators need tokens of their own"), "{}", ending.log);
}
