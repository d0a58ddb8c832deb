//! What a support agent reads out, as the books tell it.

use serde_json::Value;

use crate::{
    deliveries::{Verdict, purchase_in},
    process::{Node, Site},
};

#[tokio::test]
async fn a_decline_says_what_is_spent_what_would_have_passed_and_when_it_resets() {
    let site = Site::new(&[("TOLLGATE_CARD_LIMIT_DAILY", "50000")]);
    let node = site.start().await;
    let declined = second_of_the_same_day(&node, "usd", [48_000, 2_100]).await;
    let at = declined["at"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    let today = at.to_zoned(jiff::tz::TimeZone::UTC).date();
    let expected = format!(
        "declined: 480.00 of the 500.00 USD daily limit is used; at most 20.00 would have been approved; resets {}T00:00Z",
        today.tomorrow().unwrap()
    );
    assert_eq!(declined["explanation"], *expected);
    assert_eq!((&declined["outcome"], &declined["reason"]), (&"declined".into(), &"spending_limit".into()));
    assert_eq!(
        (declined["largest_approvable"].as_i64(), declined["amount"].as_i64()),
        (Some(2_000), Some(0))
    );
    let limit = &declined["limits"][0];
    let numbers = ["before", "after", "max"].map(|key| limit[key].as_i64().unwrap());
    assert_eq!((numbers, limit["window"].as_str()), ([48_000, 50_100, 50_000], Some("daily")));
}

#[tokio::test]
async fn amounts_are_written_as_their_currency_is() {
    let site = Site::new(&[("TOLLGATE_CARD_LIMIT_ALL_TIME", "50000")]);
    let node = site.start().await;
    for (currency, expected) in [
        (
            "jpy",
            "declined: 48000 of the 50000 JPY lifetime limit is used; at most 2000 would have been approved",
        ),
        (
            "kwd",
            "declined: 48.000 of the 50.000 KWD lifetime limit is used; at most 2.000 would have been approved",
        ),
        (
            "usd",
            "declined: 480.00 of the 500.00 USD lifetime limit is used; at most 20.00 would have been approved",
        ),
    ] {
        let declined = second_of_the_same_day(&node, currency, [48_000, 2_100]).await;
        assert_eq!(declined["explanation"], expected, "{currency}");
        assert_eq!(declined["currency"], currency);
    }
}

#[tokio::test]
async fn an_approval_says_what_is_left_to_say() {
    let site = Site::new(&[("TOLLGATE_CARD_LIMIT_ALL_TIME", "50000")]);
    let node = site.start().await;
    let approved = second_of_the_same_day(&node, "usd", [48_000, 2_000]).await;
    assert_eq!(
        approved["explanation"],
        "approved: 20.00 USD; 500.00 of the 500.00 USD lifetime limit is used"
    );
    assert_eq!((&approved["outcome"], &approved["source"]), (&"approved".into(), &"policy".into()));
}

/// Asks for two amounts on a fresh card, between two midnights. The second decision, as the books tell it.
async fn second_of_the_same_day(node: &Node, currency: &str, amounts: [i64; 2]) -> Value {
    for card in ["before", "after"] {
        let mut decided = Vec::new();
        for (n, amount) in amounts.into_iter().enumerate() {
            let authorization = format!("iauth_{currency}_{card}_{n}");
            let question = purchase_in(currency, &format!("ic_{currency}_{card}"), &authorization, amount);
            let verdict = Verdict::of(&node.deliver(question.to_string().as_bytes()).await);
            let decision = node.authorization(&authorization).await["decisions"][0].clone();
            assert_eq!(decision["id"], *verdict.decision);
            assert_eq!(decision["reason"], *verdict.reason);
            decided.push(decision);
        }
        let day = |n: usize| decided[n]["at"].as_str().unwrap()[..10].to_owned();
        if day(0) == day(1) {
            return decided.pop().unwrap();
        }
    }
    panic!("two midnights in a row");
}
