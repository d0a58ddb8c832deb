//! Stripe's test helpers against a real node: an authorization that is made by a call is decided by the node, and what
//! becomes of it by further calls is in the node's books.

use serde_json::Value;
use tollgate_loadtest::{
    signature::Signer,
    stripe_api::{Endpoint, StripeApi},
};

use crate::{
    client::{Client, Response, post},
    deliveries::SECRET,
    process::{Node, Site},
    stripe_api::KEY,
};

struct Stripe {
    api: StripeApi,
    node: Node,
    _site: Site,
}

impl Stripe {
    /// Stripe's API, and a node with these settings behind it.
    async fn start(settings: &[(&str, &str)]) -> Self {
        let site = Site::new(settings);
        let node = site.start().await;
        let (address, host) = (node.webhook, node.webhook.to_string());
        let endpoint = Endpoint { address, host, path: "/webhook".to_owned(), signer: Signer::new(SECRET) };
        let api = StripeApi::listen("127.0.0.1:0".parse().unwrap(), KEY, Some(endpoint)).await.unwrap();
        Self { api, node, _site: site }
    }

    async fn call(&self, path: &str, form: &str) -> Response {
        let headers = format!("authorization: Bearer {KEY}\r\n");
        let path = format!("/v1/test_helpers/issuing/{path}");
        Client::connect(self.api.address()).await.exchange(post(&path, &headers, form.as_bytes())).await
    }

    /// A call that must be done.
    async fn done(&self, path: &str, form: &str) -> Value {
        let response = self.call(path, form).await;
        assert_eq!(response.status, 200, "{path} {form}: {}", response.body);
        response.json()
    }

    async fn authorized(&self, form: &str) -> (String, Value) {
        let authorization = self.done("authorizations", form).await;
        (authorization["id"].as_str().unwrap().to_owned(), authorization)
    }

    /// Waits until the node's books say this of an authorization.
    async fn booked(&self, id: &str, status: &str, held: i64, captured: i64) {
        let path = format!("/v1/authorizations/{id}");
        let is_so = |books: &Value| {
            books["status"] == status && books["held"] == held && books["captured"] == captured
        };
        self.node.eventually(&path, is_so).await;
    }
}

#[tokio::test]
async fn an_authorization_that_a_call_makes_is_decided_and_followed_to_its_end() {
    let stripe = Stripe::start(&[("TOLLGATE_CARD_LIMIT_ALL_TIME", "10000")]).await;
    let form = "card=ic_helped&amount=3000&merchant_data[category]=bakeries&merchant_data[name]=A+BAKERY";
    let (id, first) = stripe.authorized(form).await;
    assert_eq!(
        (&first["approved"], &first["status"], &first["amount"]),
        (&true.into(), &"pending".into(), &3_000.into())
    );
    assert_eq!(first["request_history"][0]["reason"], "webhook_approved");
    assert_eq!(first["metadata"]["tollgate_reason"], "approved");
    assert_eq!(
        (&first["merchant_data"]["name"], &first["merchant_data"]["category_code"]),
        (&"A BAKERY".into(), &"5462".into())
    );
    stripe.booked(&id, "pending", 3_000, 0).await;
    let more = stripe.done(&format!("authorizations/{id}/increment"), "increment_amount=2000").await;
    assert_eq!((&more["amount"], more["request_history"].as_array().unwrap().len()), (&5_000.into(), 2));
    stripe.booked(&id, "pending", 5_000, 0).await;
    // A declined increment leaves what was approved before.
    let refused = stripe.done(&format!("authorizations/{id}/increment"), "increment_amount=6000").await;
    assert_eq!((&refused["approved"], &refused["amount"]), (&true.into(), &5_000.into()));
    assert_eq!(refused["request_history"][2]["reason"], "webhook_declined");
    assert_eq!(refused["metadata"]["tollgate_reason"], "spending_limit");
    stripe.done(&format!("authorizations/{id}/reverse"), "reverse_amount=1000").await;
    stripe.booked(&id, "pending", 4_000, 0).await;
    let part = "capture_amount=1500&close_authorization=false";
    stripe.done(&format!("authorizations/{id}/capture"), part).await;
    stripe.booked(&id, "pending", 2_500, 1_500).await;
    let closed = stripe.done(&format!("authorizations/{id}/capture"), "").await;
    assert_eq!(closed["status"], "closed");
    stripe.booked(&id, "closed", 0, 4_000).await;
    let capture = closed["transactions"][0]["id"].as_str().unwrap();
    let refunded = stripe.done(&format!("transactions/{capture}/refund"), "refund_amount=500").await;
    assert_eq!((&refunded["id"], &refunded["amount"]), (&capture.into(), &(-1_500).into()));
    stripe.node.eventually(&format!("/v1/authorizations/{id}"), |books| books["refunded"] == 500).await;
    let again = stripe.call(&format!("authorizations/{id}/expire"), "").await;
    assert_eq!(again.status, 400);
    assert!(again.body.contains("is approved and closed"), "{}", again.body);
}

#[tokio::test]
async fn what_is_not_captured_is_reversed_or_expires_and_what_is_forced_counts() {
    let stripe = Stripe::start(&[("TOLLGATE_CARD_LIMIT_ALL_TIME", "20000")]).await;
    let (reversed, _) = stripe.authorized("card=ic_helped&amount=3000").await;
    stripe.done(&format!("authorizations/{reversed}/reverse"), "").await;
    stripe.booked(&reversed, "reversed", 0, 0).await;
    let (expired, _) = stripe.authorized("card=ic_helped&amount=3000").await;
    stripe.done(&format!("authorizations/{expired}/expire"), "").await;
    stripe.booked(&expired, "expired", 0, 0).await;
    // A pump asks for one unit and holds a hundred, until it tells what went into the tank.
    let pump = "card=ic_helped&amount=100&merchant_data[category]=automated_fuel_dispensers";
    let (fuel, held) = stripe.authorized(pump).await;
    assert_eq!(held["amount"], 10_000);
    stripe.booked(&fuel, "pending", 10_000, 0).await;
    stripe.done(&format!("authorizations/{fuel}/finalize_amount"), "final_amount=4200").await;
    stripe.booked(&fuel, "pending", 4_200, 0).await;
    stripe.done("transactions/create_force_capture", "card=ic_helped&amount=700").await;
    stripe.node.eventually("/v1/cards/ic_helped", |books| books["captured"] == 700).await;
    stripe.done("transactions/create_unlinked_refund", "card=ic_helped&amount=300").await;
    stripe.node.eventually("/v1/cards/ic_helped", |books| books["refunded"] == 300).await;
}

#[tokio::test]
async fn a_call_that_is_wrong_says_so_and_one_that_nobody_answers_is_declined() {
    let stripe = Stripe::start(&[]).await;
    let check = async |path: &str, form: &str, status: u16, word: &str| {
        let response = stripe.call(path, form).await;
        assert_eq!(response.status, status, "{}", response.body);
        assert!(response.body.contains(word), "{}", response.body);
    };
    check("authorizations", "amount=5", 400, "card").await;
    check("authorizations", "card=ic_1&amount=much", 400, "parameter_invalid_integer").await;
    check("authorizations", "card=ic_1&colour=red", 400, "parameter_unknown").await;
    check("authorizations/iauth_nobody/expire", "", 404, "No such issuing authorization").await;
    check("authorizations/iauth_nobody/fraud_challenges/respond", "confirmed=true", 404, "Unrecognized")
        .await;
    let Stripe { api, node, .. } = stripe;
    drop(node);
    let headers = format!("authorization: Bearer {KEY}\r\n");
    let call = post("/v1/test_helpers/issuing/authorizations", &headers, b"card=ic_1&amount=5");
    let unheard = Client::connect(api.address()).await.exchange(call).await.json();
    assert_eq!((&unheard["approved"], &unheard["status"]), (&false.into(), &"closed".into()));
    assert_eq!(unheard["request_history"][0]["reason"], "webhook_timeout");
}
