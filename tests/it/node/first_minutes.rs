//! The first minutes with a node: what it says when it starts, a purchase by command line, an event to paste, and how
//! Ctrl-C ends it.

use std::process::{Command, Output};

use rustix::process::Signal;

use crate::{
    client::{Client, post},
    deliveries::{SECRET, Verdict, purchase},
    process::{Node, Site},
};

/// `tollgate purchase` against this node, which decides without a look at the environment.
async fn buy(site: &Site, node: &Node, arguments: &[&str]) -> (Option<i32>, String) {
    let (webhook, admin) = (node.webhook.to_string(), node.admin.to_string());
    let all = [&["purchase"], arguments, &["--node", &webhook, "--admin", &admin]].concat();
    let Output { status, stdout, stderr } = site.run(&all, &[]).await;
    let text = [stdout, stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
    (status.code(), text)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purchase_by_command_line_shows_the_decision_and_why() {
    let site = Site::new(&[]);
    let node = site.start().await;
    let check = async |arguments: &[&str], code: i32, parts: &[&str]| {
        let (found, text) = buy(&site, &node, arguments).await;
        assert_eq!(found, Some(code), "{arguments:?}: {text}");
        for part in parts {
            assert!(text.contains(part), "{arguments:?}: no `{part}` in\n{text}");
        }
    };
    check(
        &["25.00", "--card", "ic_one", "--merchant-category", "book_stores"],
        0,
        &[
            "    25.00  book_stores                      approved\n",
            "25.00 of the 500.00 USD",
            " on ic_one\n",
        ],
    )
    .await;
    check(
        &["480", "--card", "ic_one", "--merchant-category", "7995"],
        0,
        &["betting_casino_gambling", "declined: spending_limit\n", "would have been approved"],
    )
    .await;
    check(&["480", "--card", "ic_one", "--partial"], 0, &["approved in part: 475.00\n"]).await;
    check(&["25.001"], 1, &["the amount 25.001: expected one such as 25.00 USD"]).await;
    check(&["25.00", "--secret", "whsec_of_somebody"], 1, &["400, no decision"]).await;

    let closed = format!("127.0.0.1:{}", node.admin.port());
    drop(node.stop().await);
    let Output { status, stderr, .. } = site.run(&["purchase", "25.00", "--node", &closed], &[]).await;
    let text = String::from_utf8(stderr).unwrap();
    assert_eq!(status.code(), Some(1));
    assert!(
        text.contains(&format!("no node answers at {closed}")) && text.contains("tollgate serve"),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn sign_makes_an_event_that_a_node_decides_on() {
    let site = Site::new(&[]);
    let node = site.start().await;
    let url = format!("http://{}/webhook", node.webhook);
    let command = site.run(&["sign", "--curl", &url], &[]).await;
    let command = String::from_utf8(command.stdout).unwrap();
    let words: Vec<&str> = command.split('\'').collect();
    let [_, to, _, signature, _, _, _, event, _] = words[..] else { panic!("{command}") };
    assert_eq!(to, url);
    let request = post("/webhook", &format!("{signature}\r\n"), event.as_bytes());
    let reply = Client::connect(node.webhook).await.exchange(request).await;
    assert_eq!((reply.status, &reply.json()["approved"]), (200, &true.into()), "{reply:?}");

    let by_default = site.run(&["sign"], &[("TOLLGATE_LISTEN", "0.0.0.0:4242")]).await;
    let by_default = String::from_utf8(by_default.stdout).unwrap();
    assert!(by_default.starts_with("curl -i 'http://127.0.0.1:4242/webhook' "), "{by_default}");
}

#[tokio::test]
async fn the_line_of_a_start_says_what_holds() {
    let site = Site::new(&[]);
    for is_new in [true, false] {
        let mut process = site.launch();
        let ready = process.logged("ready").await;
        let journal = format!("sqlite:{}", site.journal().canonicalize().unwrap().display());
        assert_eq!((&ready["journal"], &ready["journal_is_new"]), (&journal.into(), &is_new.into()));
        let policy = ready["policy"].as_str().unwrap();
        assert!(policy.len() == 12 && policy.bytes().all(|byte| byte.is_ascii_hexdigit()), "{policy}");
        assert_eq!(ready["secrets"], 1);
        assert_eq!(ready["secret_is_made"], false);
        assert!(ready["version"].as_str().unwrap().starts_with(env!("CARGO_PKG_VERSION")));
        assert!(!process.log().contains(SECRET));
        process.signal(Signal::TERM);
        assert_eq!(process.ended().await.code, Some(0));
    }
}

#[tokio::test]
async fn the_second_ctrl_c_ends_a_node_at_once() {
    // Longer than this test may take.
    let site = Site::new(&[("TOLLGATE_DRAIN_DELAY", "1h")]);
    let mut node = site.start().await;
    assert!(Verdict::of(&node.deliver(&purchase("ic_c", "iauth_c", 100)).await).approved);
    node.process.signal(Signal::INT);
    node.process.logged("stopping in order; press Ctrl-C again to stop at once").await;
    node.process.signal(Signal::INT);
    assert_eq!(node.process.ended().await.code, Some(130));
    assert_eq!(site.start().await.authorization("iauth_c").await["approved"], true);
}

#[test]
fn a_command_is_called_as_the_readme_calls_it() {
    let help = Command::new(env!("CARGO_BIN_EXE_tollgate")).arg("--help").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    for command in ["serve", "demo", "check", "purchase", "sign", "reconcile", "config", "metrics"] {
        assert!(help.contains(&format!("  {command} ")), "no `{command}` in\n{help}");
    }
}
