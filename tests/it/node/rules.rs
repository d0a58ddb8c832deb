//! Rules of a policy file, from the request to the reply, the journal and the API.

use serde_json::{Value, json};

use crate::{
    deliveries::{Verdict, purchase_in},
    process::Site,
};

const POLICY: &str = r#"
version: 1
currency: usd
lists: {trusted: ["001234567890"]}
default:
  spending_limits: [{amount: 50000, interval: all_time}]
  rules:
    - {name: mark, when: 'amount > 1000', then: {tag: {size: "large \"one\""}}}
    - {name: look, when: 'amount > 2000', then: flag}
    - name: no-cash
      when: cash > 0 && !(merchant.id in list("trusted"))
      then: decline
      message: Cash is available at trusted merchants only.
"#;

#[tokio::test]
async fn a_rule_declines_with_its_name_and_sentence_in_the_reply_and_in_the_books() {
    let site = Site::new(&[("TOLLGATE_POLICY", "policy.yaml")]);
    std::fs::write(site.path("policy.yaml"), POLICY).unwrap();
    let node = site.start().await;
    let cash = |authorization: &str, amount: i64| {
        let mut event = purchase_in("usd", "ic_rules", authorization, amount);
        event["data"]["object"]["pending_request"]["amount_details"] =
            json!({"cashback_amount": 500, "atm_fee": null});
        event
    };
    let declined = node.deliver(cash("iauth_cash", 3_000).to_string().as_bytes()).await;
    let reply: Value = declined.json();
    assert_eq!(reply["approved"], false);
    let metadata = &reply["metadata"];
    assert_eq!(
        (&metadata["tollgate_reason"], &metadata["tollgate_rule"], &metadata["size"]),
        (&"rule".into(), &"no-cash".into(), &"large \"one\"".into())
    );
    let decision = node.authorization("iauth_cash").await["decisions"][0].clone();
    assert_eq!(
        decision["explanation"],
        "declined: Cash is available at trusted merchants only. (rule no-cash: cash = 5.00 USD, merchant.id = 1234567890)"
    );
    assert_eq!((&decision["reason"], &decision["rule"]), (&"rule".into(), &"no-cash".into()));
    assert_eq!(
        decision["conditions"],
        json!([
            {"condition": "cash > 0", "value": "cash = 5.00 USD", "holds": true},
            {"condition": "!(merchant.id in list(\"trusted\"))", "value": "merchant.id = 1234567890", "holds": true},
        ])
    );
    assert_eq!(
        (&decision["tags"], &decision["flags"]),
        (&json!({"size": "large \"one\""}), &json!(["look"]))
    );
    let plain = purchase_in("usd", "ic_rules", "iauth_plain", 900).to_string();
    let approved = Verdict::of(&node.deliver(plain.as_bytes()).await);
    assert_eq!(approved.reason, "approved");
    assert!(node.authorization("iauth_plain").await["decisions"][0].get("rule").is_none());
    // The same answer, byte for byte, also from the journal of before.
    let again = node.deliver(cash("iauth_cash", 3_000).to_string().as_bytes()).await;
    assert_eq!(again.body, declined.body);
    node.stop().await;
    let node = site.start().await;
    let again = node.deliver(cash("iauth_cash", 3_000).to_string().as_bytes()).await;
    assert_eq!(again.body, declined.body);
    assert!((node.metric("tollgate_flagged_answers_total").await - 1.0).abs() < f64::EPSILON);
}
