//! Stripe's test helpers against a real node: an authorization that is made by a call is decided by the node, and what
//! becomes of it by further calls is in the node's books.

use serde_json::Value;
use tollgate_loadtest::{
    signature::Signer,
    stripe_api::{Endpoint, StripeApi},
};

use crate::{
    client::{Client, Response, post, request},
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
        Self::start_at(Site::new(settings)).await
    }

    async fn start_at(site: Site) -> Self {
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

    async fn get(&self, path: &str) -> Value {
        let call = request("GET", path, &format!("authorization: Bearer {KEY}\r\n"));
        Client::connect(self.api.address()).await.exchange(call).await.json()
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

/// What an authorization says of the one challenge that it has.
fn challenge(authorization: &Value) -> &str {
    let challenges = authorization["fraud_challenges"].as_array().map_or(&[][..], Vec::as_slice);
    match challenges {
        [] => "none",
        [one] => {
            assert_eq!((&one["channel"], &one["undeliverable_reason"]), (&"sms".into(), &Value::Null));
            one["status"].as_str().unwrap()
        }
        many => panic!("expected one challenge, found {many:?}"),
    }
}

#[tokio::test]
async fn a_purchase_that_the_cardholder_confirms_passes_when_it_is_tried_again() {
    let site = Site::new(&[]);
    let policy = "version: 1\ncurrency: usd\ndefault:\n  blocked_merchant_countries: [FR]\n  challenge_on: [country_blocked]\n  \
                  spending_limits: [{amount: 10000, interval: all_time}]\n";
    std::fs::write(site.path("policy.yaml"), policy).unwrap();
    let mut site = site;
    site.set("TOLLGATE_POLICY", &site.path("policy.yaml").display().to_string());
    let stripe = Stripe::start_at(site).await;
    let there = |card: &str, more: &str| format!("card={card}&amount=900&merchant_data[country]=FR{more}");
    // One purchase after another: where, by which card, the reason that the node gives, and what becomes of the challenge,
    // before and after the cardholder's response.
    let story = [
        (there("ic_yes", ""), "country_blocked", "pending", Some((true, "verified"))),
        (there("ic_yes", ""), "approved", "none", None),
        (there("ic_yes", "&merchant_data[name]=ELSEWHERE"), "country_blocked", "pending", None),
        (there("ic_yes", "&merchant_data[category]=bakeries"), "country_blocked", "pending", None),
        // Nobody is asked about a limit, and no answer lifts it.
        ("card=ic_yes&amount=9900&merchant_data[country]=FR".to_owned(), "spending_limit", "none", None),
        (there("ic_no", ""), "country_blocked", "pending", Some((false, "rejected"))),
        (there("ic_no", ""), "country_blocked", "pending", None),
        ("card=ic_no&amount=900&merchant_data[country]=US".to_owned(), "approved", "none", None),
    ];
    for (form, reason, sent, response) in story {
        let (id, told) = stripe.authorized(&form).await;
        assert_eq!(told["metadata"]["tollgate_reason"], reason, "{form}: {told}");
        assert_eq!(challenge(&told), sent, "{form}");
        let respond = format!("authorizations/{id}/fraud_challenges/respond");
        if let Some((is_confirmed, status)) = response {
            let told = stripe.done(&respond, &format!("confirmed={is_confirmed}")).await;
            assert_eq!((challenge(&told), &told["id"]), (status, &id.as_str().into()));
            assert_eq!(stripe.get(&format!("/v1/issuing/authorizations/{id}")).await, told);
        }
        if response.is_some() || sent == "none" {
            let refused = stripe.call(&respond, "confirmed=true").await;
            assert_eq!(refused.status, 400);
            assert!(refused.body.contains("no fraud challenge that waits"), "{}", refused.body);
        }
    }
}

#[tokio::test]
async fn what_the_balance_does_not_have_is_declined_without_asking() {
    let stripe = Stripe::start(&[("TOLLGATE_CARD_LIMIT_ALL_TIME", "100000")]).await;
    let balance = async |expected: Value| {
        let told = stripe.get("/v1/balance").await;
        let available = told["issuing"]["available"].as_array().unwrap().iter();
        let available: Value = available
            .map(|one| (one["currency"].as_str().unwrap().to_owned(), one["amount"].clone()))
            .collect();
        assert_eq!(available, expected, "{told}");
    };
    let reason = |told: &Value| {
        let last = told["request_history"].as_array().unwrap().last().unwrap();
        (
            last["reason"].as_str().unwrap().to_owned(),
            told["approved"] == true,
            told["amount"].as_i64().unwrap(),
        )
    };
    // Who funds nothing does not care.
    let (before, told) = stripe.authorized("card=ic_funded&amount=700").await;
    assert_eq!(reason(&told), ("webhook_approved".to_owned(), true, 700));
    stripe.done(&format!("authorizations/{before}/reverse"), "").await;
    balance(serde_json::json!({})).await;
    let funded = stripe.done("fund_balance", "amount=3000&currency=USD").await;
    assert_eq!((&funded["object"], &funded["currency"]), (&"funding_instructions".into(), &"usd".into()));
    balance(serde_json::json!({"usd": 3_000})).await;
    let (held, told) = stripe.authorized("card=ic_funded&amount=2000").await;
    assert_eq!(reason(&told), ("webhook_approved".to_owned(), true, 2_000));
    balance(serde_json::json!({"usd": 1_000})).await;
    // The node is told of it and was not asked.
    let (short, told) = stripe.authorized("card=ic_funded&amount=1001").await;
    assert_eq!(reason(&told), ("insufficient_funds".to_owned(), false, 1_001));
    assert_eq!((&told["status"], &told["metadata"]), (&"closed".into(), &serde_json::json!({})));
    let path = format!("/v1/authorizations/{short}");
    let books = stripe.node.eventually(&path, |books| books["status"] == "closed").await;
    assert_eq!((&books["held"], &books["decisions"]), (&0.into(), &serde_json::json!([])), "{books}");
    // Nor for more of what is held, which stays.
    let told = stripe.done(&format!("authorizations/{held}/increment"), "increment_amount=1001").await;
    assert_eq!(reason(&told), ("insufficient_funds".to_owned(), true, 2_000));
    let told = stripe.done(&format!("authorizations/{held}/increment"), "increment_amount=1000").await;
    assert_eq!(reason(&told), ("webhook_approved".to_owned(), true, 3_000));
    balance(serde_json::json!({"usd": 0})).await;
    // A pump holds a hundred; another currency has a balance of its own.
    let pump = "card=ic_funded&amount=100&merchant_data[category]=automated_fuel_dispensers";
    let euros = "card=ic_euro&amount=1&currency=eur";
    for form in [pump, euros] {
        assert_eq!(reason(&stripe.authorized(form).await.1).0, "insufficient_funds", "{form}");
    }
    // What is captured is gone, what is not comes back; a merchant may take what is not there.
    stripe.done(&format!("authorizations/{held}/capture"), "capture_amount=1200").await;
    balance(serde_json::json!({"usd": 1_800})).await;
    stripe.done("transactions/create_force_capture", "card=ic_funded&amount=2000").await;
    balance(serde_json::json!({"usd": -200})).await;
    stripe.done("transactions/create_unlinked_refund", "card=ic_funded&amount=500").await;
    stripe.done("fund_balance", "amount=50&currency=eur").await;
    balance(serde_json::json!({"usd": 300, "eur": 50})).await;
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
    check("authorizations/iauth_nobody/close", "", 404, "Unrecognized").await;
    let respond = "authorizations/iauth_nobody/fraud_challenges/respond";
    check(respond, "", 400, "Missing required param: confirmed").await;
    check(respond, "confirmed=perhaps", 400, "parameter_invalid_boolean").await;
    check(respond, "confirmed=true", 404, "No such issuing authorization").await;
    check("fund_balance", "currency=usd", 400, "Missing required param: amount").await;
    check("fund_balance", "amount=100", 400, "Missing required param: currency").await;
    check("fund_balance", "amount=0&currency=usd", 400, "greater than or equal to 1").await;
    check("fund_balance", "amount=100&currency=dollars", 400, "Invalid currency: dollars").await;
    let Stripe { api, node, .. } = stripe;
    drop(node);
    let headers = format!("authorization: Bearer {KEY}\r\n");
    let call = post("/v1/test_helpers/issuing/authorizations", &headers, b"card=ic_1&amount=5");
    let unheard = Client::connect(api.address()).await.exchange(call).await.json();
    assert_eq!((&unheard["approved"], &unheard["status"]), (&false.into(), &"closed".into()));
    assert_eq!(unheard["request_history"][0]["reason"], "webhook_timeout");
}
