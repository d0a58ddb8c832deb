//! The client of Stripe's API against the stub: lists in pages, limits, failures that pass and failures that do not.
#![allow(clippy::arithmetic_side_effects, reason = "a test that overflows fails, as it should")]

use std::{ops::Range, time::Duration};

use serde_json::json;
use tollgate::{
    clock,
    domain::{CardId, ConnectedAccountId, Timestamp},
    stripe::{
        ApiVersion,
        api::{Api, ApiKey, BaseUrl, Failure, Filter, GaveUp, Listing, Settings},
    },
};
use tollgate_loadtest::stripe_api::{Effect, Fault, StripeApi};

/// The key of the tests' account.
pub(crate) const KEY: &str = "sk_test_of_the_tests";

fn settings(base: &str) -> Settings {
    let settings = Settings::new(ApiKey::new(KEY).unwrap());
    Settings { base: BaseUrl::new(base).unwrap(), requests_per_second_max: 1_000, ..settings }
}

/// A stub with so many authorizations, and a client of it.
async fn with_authorizations(count: i64) -> (StripeApi, Api) {
    let stub = StripeApi::start(KEY).await.unwrap();
    for number in 0..count {
        stub.put(json!({
            "id": format!("iauth_{number:04}"), "object": "issuing.authorization", "created": 1_000 + number / 7,
            "card": {"id": format!("ic_{}", number % 2)},
        }))
        .unwrap();
    }
    let api = Api::new(&settings(&stub.base_url()));
    (stub, api)
}

/// Every id of a list, in its order.
async fn ids(api: &Api, filter: Filter) -> Result<Vec<String>, GaveUp> {
    let mut pages = api.list(Listing::Authorizations, filter);
    let mut ids = Vec::new();
    while let Some(page) = pages.next().await? {
        ids.extend(page.objects.into_iter().map(|object| object.id));
    }
    Ok(ids)
}

#[tokio::test]
async fn a_long_list_is_read_whole_newest_first_in_pages_of_a_hundred() {
    let (stub, api) = with_authorizations(250).await;
    let expected: Vec<String> = (0..250).rev().map(|number| format!("iauth_{number:04}")).collect();
    assert_eq!(ids(&api, Filter::default()).await.unwrap(), expected);
    let calls = stub.calls();
    let after: Vec<Option<&str>> = calls.iter().map(|call| call.parameter("starting_after")).collect();
    assert_eq!(after, [None, Some("iauth_0150"), Some("iauth_0050")]);
    assert!(calls.iter().all(|call| call.parameter("limit") == Some("100")));
    assert_eq!(calls[0].api_version.as_deref(), Some(ApiVersion::default().as_str()));
}

#[tokio::test]
async fn a_page_that_is_too_large_is_read_in_smaller_pages() {
    let (stub, api) = with_authorizations(0).await;
    let receipt = "x".repeat(1 << 20);
    for number in 0..40 {
        let authorization = json!({
            "id": format!("iauth_{number:04}"), "object": "issuing.authorization", "created": 1_000 + number,
            "card": {"id": "ic_1"}, "receipt": receipt,
        });
        stub.put(authorization).unwrap();
    }
    let expected: Vec<String> = (0..40).rev().map(|number| format!("iauth_{number:04}")).collect();
    assert_eq!(ids(&api, Filter::default()).await.unwrap(), expected);
    let calls = stub.calls();
    let limits: Vec<&str> = calls.iter().filter_map(|call| call.parameter("limit")).collect();
    assert_eq!(limits[..3], ["100", "25", "6"]);
    assert!(limits[3..].iter().all(|limit| *limit == "6"), "{limits:?}");
}

#[tokio::test]
async fn a_list_is_narrowed_by_time_and_card() {
    let (_stub, api) = with_authorizations(40).await;
    let at = |seconds| Some(Timestamp::from_seconds(seconds));
    let filter = Filter { from: at(1_001), to: at(1_002), card: CardId::new("ic_1") };
    let expected: Vec<String> =
        (7..21).rev().filter(|number| number % 2 == 1).map(|number| format!("iauth_{number:04}")).collect();
    assert_eq!(ids(&api, filter).await.unwrap(), expected);
}

#[tokio::test]
async fn one_authorization_is_there_or_not() {
    let (stub, api) = with_authorizations(1).await;
    let found = async |id: &str| api.object(Listing::Authorizations, id).await.unwrap();
    let page = found("iauth_0000").await.unwrap();
    assert_eq!(page.objects[0].id, "iauth_0000");
    assert!(clock::now().since(page.read_at) < Duration::from_mins(1), "by the server's clock");
    assert!(found("iauth_other").await.is_none());
    assert!(found("../../v1/events?limit=1").await.is_none());
    assert_eq!(stub.calls().last().unwrap().path.matches('/').count(), 4, "an id cannot become a path");
}

#[tokio::test]
async fn a_connected_account_has_books_of_its_own() {
    let (stub, api) = with_authorizations(1).await;
    let object = json!({"id": "iauth_theirs", "object": "issuing.authorization", "created": 1});
    stub.put_for("acct_1", object).unwrap();
    let of = |account: &str| api.clone().of_account(ConnectedAccountId::new(account));
    assert_eq!(ids(&of("acct_1"), Filter::default()).await.unwrap(), ["iauth_theirs"]);
    let refused = ids(&of("acct_2"), Filter::default()).await.unwrap_err();
    assert_eq!(refused, GaveUp { attempts: 1, failure: Failure::Unauthorized { status: 403 } });
}

/// What passes is waited out: the list comes whole, after so much time and not much more.
async fn waits_out(fault: Fault, seconds: Range<f64>) {
    let (stub, api) = with_authorizations(150).await;
    let (effect, times) = (fault.effect, fault.times);
    stub.plan(fault);
    let started = clock::instant();
    assert_eq!(ids(&api, Filter::default()).await.unwrap().len(), 150, "{effect:?}");
    let taken = clock::instant().duration_since(started).as_secs_f64();
    assert!(seconds.contains(&taken), "{effect:?}: {taken} s, expected {seconds:?}");
    assert_eq!(stub.calls().len(), times + 2, "{effect:?}");
}

#[tokio::test(start_paused = true)]
async fn what_passes_is_waited_out() {
    // The pauses: 0.25 to 0.5 s, 0.5 to 1 s, 1 to 2 s.
    waits_out(Fault::times("", 3, Effect::ServerError(500)), 1.75..3.6).await;
    waits_out(Fault::times("", 2, Effect::ServerError(409)), 0.75..1.6).await;
    waits_out(Fault::once("", Effect::RateLimited { retry_after: None }), 0.25..0.6).await;
    waits_out(Fault::once("", Effect::RateLimited { retry_after: Some(7) }), 7.0..7.1).await;
    waits_out(Fault::times("", 2, Effect::DropBefore), 0.75..1.6).await;
    // Nothing for thirty seconds, and then a pause.
    waits_out(Fault::once("", Effect::Hang), 30.25..30.6).await;
}

#[tokio::test(start_paused = true)]
async fn what_does_not_pass_is_given_up_in_the_end() {
    let (stub, api) = with_authorizations(1).await;
    stub.plan(Fault::always("", Effect::ServerError(503)));
    let gave_up = ids(&api, Filter::default()).await.unwrap_err();
    assert_eq!(gave_up, GaveUp { attempts: 8, failure: Failure::Unavailable { status: 503 } });
    assert_eq!(stub.calls().len(), 8);
    assert!(gave_up.to_string().starts_with("given up after 8 attempts: Stripe failed (503)"), "{gave_up}");
}

#[tokio::test]
async fn what_cannot_pass_is_not_tried_again() {
    let (stub, _) = with_authorizations(1).await;
    let wrong = Settings { key: ApiKey::new("sk_test_wrong").unwrap(), ..settings(&stub.base_url()) };
    let refused = ids(&Api::new(&wrong), Filter::default()).await.unwrap_err();
    assert_eq!(refused, GaveUp { attempts: 1, failure: Failure::Unauthorized { status: 401 } });
    assert!(refused.to_string().contains("STRIPE_API_KEY") && !refused.to_string().contains("sk_test"));
}

#[tokio::test(start_paused = true)]
async fn an_address_where_nobody_is_says_so() {
    let stub = StripeApi::start(KEY).await.unwrap();
    let base = stub.base_url();
    drop(stub);
    // The port is free again when the stub's task has ended.
    tokio::task::yield_now().await;
    let gave_up = ids(&Api::new(&settings(&base)), Filter::default()).await.unwrap_err();
    assert!(matches!(gave_up.failure, Failure::Unreachable { .. }), "{gave_up:?}");
    assert!(gave_up.to_string().contains("STRIPE_API_BASE"), "{gave_up}");
}

#[tokio::test(start_paused = true)]
async fn no_more_calls_go_out_a_second_than_allowed() {
    let (stub, _) = with_authorizations(250).await;
    let slow = Settings { requests_per_second_max: 2, ..settings(&stub.base_url()) };
    let started = clock::instant();
    assert_eq!(ids(&Api::new(&slow), Filter::default()).await.unwrap().len(), 250);
    assert!(
        clock::instant().duration_since(started) >= Duration::from_secs(1),
        "three calls, half a second apart"
    );
}
