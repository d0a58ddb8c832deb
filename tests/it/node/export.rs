//! `tollgate export`: every decision and capture once, while the node runs, over as many exports as it takes.

use crate::{
    deliveries::{capture, purchase},
    process::{Node, Site},
};

/// The lines of an export, without the names of the columns; each as its fields.
async fn exported(site: &Site, arguments: &[&str], columns: &str) -> Vec<Vec<String>> {
    let output = site.run(&[&["export"], arguments].concat(), &[]).await;
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{told}");
    let text = String::from_utf8(output.stdout).unwrap();
    let (header, lines) = text.split_once('\n').unwrap();
    assert!(header.starts_with(columns), "{header}");
    let fields = |line: &str| line.split(',').map(str::to_owned).collect();
    let lines: Vec<Vec<String>> = lines.lines().map(fields).collect();
    assert!(told.starts_with(&format!("{} lines; ", lines.len())), "{told}");
    lines
}

async fn buys(node: &Node, name: &str, amount: i64) {
    let answer = node.deliver(&purchase("ic_exported", &format!("iauth_{name}"), amount)).await;
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn everything_is_exported_once() {
    let site = Site::new(&[("TOLLGATE_CARD_LIMIT_ALL_TIME", "1000")]);
    let node = site.start().await;
    buys(&node, "first", 900).await;
    buys(&node, "second", 200).await;
    let decisions = ["--table", "decisions", "--cursor-file", "cursor"];
    let columns = "cursor,recorded_at,decision,decided_at,event,authorization,card,cardholder,account,group,outcome,reason,";
    let lines = exported(&site, &decisions, columns).await;
    let seen: Vec<(&str, &str, &str)> =
        lines.iter().map(|line| (&*line[5], &*line[10], &*line[11])).collect();
    let expected = [("iauth_first", "approved", "approved"), ("iauth_second", "declined", "spending_limit")];
    assert_eq!(seen, expected);
    assert!(lines[1].last().unwrap().starts_with("declined: "), "{lines:?}");

    // Only what is new, behind the cursor in the file or on the command line.
    assert_eq!(exported(&site, &decisions, columns).await.len(), 0);
    buys(&node, "third", 50).await;
    assert_eq!(node.deliver(&capture("ic_exported", "iauth_first", 900)).await.status, 200);
    let behind = exported(&site, &["--after", &lines[0][0]], columns).await;
    let names: Vec<&str> = behind.iter().map(|line| &*line[5]).collect();
    assert_eq!(names, ["iauth_second", "iauth_third"]);
    let new = exported(&site, &decisions, columns).await;
    assert_eq!(new.iter().map(|line| &*line[5]).collect::<Vec<_>>(), ["iauth_third"]);

    let captured =
        exported(&site, &["--table", "transactions"], "cursor,recorded_at,transaction,created,event,").await;
    assert_eq!(captured.len(), 1);
    assert_eq!((&*captured[0][6], &*captured[0][7]), ("capture", "-900"));
    assert_eq!((&*captured[0][9], &*captured[0][11]), ("ic_exported", "iauth_first"));
    assert_eq!(exported(&site, &["--table", "credits"], "cursor,recorded_at,budget,id,").await.len(), 0);

    let wrong = site.run(&["export", "--after", "yesterday"], &[]).await;
    assert_eq!(wrong.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("expected the `cursor` of a line"));
    node.stop().await;
}
