//! What Stripe signed and the node refuses is a mistake in somebody's set-up: each kind is in the log with what to do, and
//! counted, also while strangers make noise.

use serde_json::json;
use tollgate::{
    clock,
    stripe::{Secret, sign},
};

use crate::{
    client::{post, request},
    deliveries::{SECRET, capture, purchase, signature, signed},
    process::Site,
};

/// The body limit of the site.
const BYTES_MAX: usize = 16 * 1024;

/// One request that is signed and refused.
struct Story {
    cause: &'static str,
    bytes: Vec<u8>,
    status: u16,
    /// What its line in the log says.
    says: &'static [&'static str],
}

fn changed(body: &[u8], change: impl FnOnce(&mut serde_json::Value)) -> Vec<u8> {
    let mut event: serde_json::Value = serde_json::from_slice(body).unwrap();
    change(&mut event);
    signed(event.to_string().as_bytes())
}

fn stories() -> Vec<Story> {
    let body = purchase("ic_refused", "iauth_refused", 100);
    let story = |cause, bytes, status, says| Story { cause, bytes, status, says };
    let mut large = body.clone();
    large.resize(BYTES_MAX + 1, b' ');
    let late = sign(&Secret::new(SECRET).unwrap(), clock::now().as_seconds() - 400, &body);
    let put = String::from_utf8(signed(&body)).unwrap().replacen("POST", "PUT", 1).into_bytes();
    let mut broken = format!("transfer-encoding: chunked\r\n{}", signature(SECRET, &body));
    broken = String::from_utf8(request("POST", "/webhook", &broken)).unwrap() + "zz\r\n";
    vec![
        story(
            "wrong_path",
            post("/stripe/webhook", &signature(SECRET, &body), &body),
            404,
            &["/stripe/webhook", "URL in Stripe's dashboard"],
        ),
        story("wrong_method", put, 405, &["expected POST, found PUT"]),
        story(
            "body_too_large",
            signed(&large),
            413,
            &["16384 bytes", "TOLLGATE_BODY_BYTES_MAX", "not checked"],
        ),
        story("body_broken", broken.into_bytes(), 400, &["the body ended early"]),
        story(
            "wrong_time",
            post("/webhook", &format!("stripe-signature: {late}\r\n"), &body),
            400,
            &["a configured secret fits", "s behind this machine's clock"],
        ),
        story(
            "malformed",
            changed(&body, |event| event["id"] = json!(null)),
            400,
            &["expected an event `id`, found none"],
        ),
        story(
            "wrong_mode",
            changed(&body, |event| event["livemode"] = json!(true)),
            400,
            &["evt_iauth_refused", "issuing_authorization.request", "TOLLGATE_LIVEMODE"],
        ),
        story(
            "wrong_account",
            changed(&capture("ic_connected", "iauth_connected", 100), |event| {
                event["account"] = json!("acct_other");
            }),
            400,
            &["evt_capture_iauth_connected", "issuing_transaction.created"],
        ),
    ]
}

#[tokio::test]
async fn what_stripe_reports_of_our_answers_is_taken_and_told() {
    let site = Site::new(&[]);
    let node = site.start().await;
    let reports = [
        ("issuing_authorization_request_timeout.firing", "WARN", "it decides without our answers"),
        ("issuing_authorization_request_errors.resolved", "INFO", "it gets our answers again"),
        ("event_generation_failure.resolved", "WARN", "an event that will never come"),
    ];
    for (report, ..) in reports {
        let event_type = format!("v2.core.health.{report}");
        let body = json!({"id": format!("evt_{report}"), "object": "v2.core.event", "type": event_type, "livemode": false});
        let body = body.to_string();
        assert_eq!(node.deliver(body.as_bytes()).await.status, 200, "{report}");
        let series =
            format!("tollgate_webhook_requests_total{{event=\"{event_type}\",result=\"acknowledged\"}}");
        assert_eq!(node.metric(&series).await.to_string(), "1", "{report}");
        let unsigned = node.connect().await.exchange(post("/webhook", "", body.as_bytes())).await;
        assert_eq!(unsigned.status, 400, "whoever can reach the port could raise an alert");
        assert_eq!(node.metric(&series).await.to_string(), "1", "{report}");
    }
    let mut decision: serde_json::Value =
        serde_json::from_slice(&purchase("ic_3ds", "iauth_3ds", 1)).unwrap();
    decision["type"] = json!("issuing_authentication.decision");
    let refused = node.deliver(decision.to_string().as_bytes()).await;
    assert_eq!((refused.status, refused.code().as_str()), (400, "malformed"));
    assert!(refused.body.contains("3-D Secure"), "{}", refused.body);
    let counted = "tollgate_malformed_events_total{cause=\"authentication_decision\"}";
    assert_eq!(node.metric(counted).await.to_string(), "1");
    let log = node.stop().await;
    for (report, level, words) in reports {
        let line = log.lines().find(|line| line.contains(&format!("evt_{report}"))).unwrap();
        assert!(line.contains(level) && line.contains(words), "{line}");
    }
    assert!(log.contains("`issuing_authentication.decision` is not decided here"), "{log}");
}

#[tokio::test]
async fn what_is_signed_and_refused_is_logged_and_counted_also_among_strangers() {
    let site = Site::new(&[("TOLLGATE_LIVEMODE", "false"), ("TOLLGATE_BODY_BYTES_MAX", "16KiB")]);
    let node = site.start().await;
    let owned = changed(&purchase("ic_connected", "iauth_connected", 100), |event| {
        event["account"] = json!("acct_own");
    });
    assert_eq!(node.connect().await.exchange(owned).await.status, 200);
    let stories = stories();
    for Story { cause, bytes, status, .. } in &stories {
        for path in ["/webhook", "/elsewhere"] {
            let stranger = node.connect().await.exchange(post(path, "", b"{}")).await;
            assert!(matches!(stranger.status, 400 | 404), "{}", stranger.status);
        }
        let refused = node.connect().await.send_long(bytes).await;
        assert_eq!(refused.status, *status, "{cause}: {}", refused.body);
    }
    for Story { cause, .. } in &stories {
        let series = format!("tollgate_signed_requests_refused_total{{cause=\"{cause}\"}}");
        assert_eq!(node.metric(&series).await.to_string(), "1", "{cause}");
    }
    let all = node.metric("tollgate_signed_requests_refused_total").await;
    assert_eq!(all.to_string(), stories.len().to_string(), "a stranger was counted");

    let log = node.stop().await;
    for Story { cause, says, .. } in &stories {
        let line = log.lines().find(|line| line.contains(&format!("\"cause\":\"{cause}\"")));
        let line = line.unwrap_or_else(|| panic!("no line about {cause} in\n{log}"));
        for words in *says {
            assert!(line.contains(words), "{words:?} is not in {line}");
        }
        assert!(line.contains("refused a signed request") && line.contains("\"level\":\"WARN\""), "{line}");
        assert!(!line.contains("compare STRIPE_WEBHOOK_SECRET"), "{line}");
    }
}
