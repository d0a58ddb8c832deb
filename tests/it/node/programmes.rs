//! Several programmes on one machine: a process for each, with its own secrets, mode, stand-in, policy, and journal.

use crate::{
    client::Response,
    deliveries::{Verdict, purchase, purchase_in, signed_with},
    process::{Node, Site},
};

async fn deliver(node: &Node, secret: &str, body: &[u8]) -> Response {
    node.connect().await.exchange(signed_with(secret, body)).await
}

#[tokio::test]
async fn programmes_share_a_machine_and_nothing_else() {
    let site = |secret: &str, live: &str, limit: &str, stand_in: &str| {
        Site::new(&[
            ("STRIPE_WEBHOOK_SECRET", secret),
            ("TOLLGATE_LIVEMODE", live),
            ("TOLLGATE_CARD_LIMIT_ALL_TIME", limit),
            ("TOLLGATE_STAND_IN", stand_in),
        ])
    };
    let fuel = site("whsec_fuel", "false", "1000", "decline");
    let travel = site("whsec_travel", "true", "5000", "approve:2000x1");
    let (fuel, travel) = (fuel.start().await, travel.start().await);
    let test = purchase("ic_both", "iauth_both", 900);
    let mut live = purchase_in("usd", "ic_both", "iauth_both", 4_000);
    live["livemode"] = true.into();
    let live = live.to_string().into_bytes();
    // Each knows its own secret and its own mode alone.
    assert_eq!(deliver(&fuel, "whsec_travel", &test).await.status, 400);
    assert_eq!(deliver(&travel, "whsec_fuel", &live).await.status, 400);
    assert!(deliver(&fuel, "whsec_fuel", &live).await.status >= 400);
    assert!(deliver(&travel, "whsec_travel", &test).await.status >= 400);
    // The same ids are two cards with two limits.
    assert!(Verdict::of(&deliver(&fuel, "whsec_fuel", &test).await).approved);
    assert!(Verdict::of(&deliver(&travel, "whsec_travel", &live).await).approved);
    assert_eq!(fuel.card("ic_both").await["limits"][0]["used"], 900);
    assert_eq!(travel.card("ic_both").await["limits"][0]["used"], 4_000);
    for node in [&fuel, &travel] {
        let approved = node.metric("tollgate_decisions_total{outcome=\"approved\"").await;
        assert!((approved - 1.0).abs() < 0.5, "{approved}");
    }
    fuel.stop().await;
    travel.stop().await;
}
