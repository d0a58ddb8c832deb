//! Fraud challenges: the cardholder is asked by text message about a purchase that was declined, and after a yes the same
//! purchase is asked for as verified. Who answers, and who is told, is elsewhere. Sources:
//! <https://docs.stripe.com/issuing/controls/fraud-challenges>,
//! <https://docs.stripe.com/api/issuing/authorizations/test_mode_respond_fraud_challenge>.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

/// The only channel that there is.
const CHANNEL: &str = "sms";
/// How long a shop counts as confirmed.
const CONFIRMED_FOR_SECONDS: i64 = 7 * 24 * 60 * 60;

/// The shops that cardholders have confirmed, card by card, and until when.
#[derive(Default)]
pub(super) struct Confirmed(HashMap<[String; 3], i64>);

impl Confirmed {
    pub(super) fn add(&mut self, authorization: &Value, now: i64) {
        self.0.insert(card_and_shop(authorization), now.saturating_add(CONFIRMED_FOR_SECONDS));
    }

    pub(super) fn has(&self, authorization: &Value, now: i64) -> bool {
        self.0.get(&card_and_shop(authorization)).is_some_and(|until| now < *until)
    }
}

fn card_and_shop(authorization: &Value) -> [String; 3] {
    ["/card/id", "/merchant_data/network_id", "/merchant_data/name"]
        .map(|place| authorization.pointer(place).and_then(Value::as_str).unwrap_or_default().to_owned())
}

/// Sends the challenges that were asked for with a decline.
pub(super) fn send(authorization: &mut Map<String, Value>, channels: &[String]) {
    if channels.iter().any(|channel| channel == CHANNEL) {
        let sent = json!([{"channel": CHANNEL, "status": "pending", "undeliverable_reason": null}]);
        authorization.insert("fraud_challenges".into(), sent);
    }
}

/// Takes the cardholder's response. Whether one was waited for.
pub(super) fn respond(authorization: &mut Value, is_confirmed: bool) -> bool {
    let challenges = authorization.get_mut("fraud_challenges").and_then(Value::as_array_mut);
    let mut waiting =
        challenges.into_iter().flatten().filter(|one| one.get("status") == Some(&"pending".into()));
    let Some(challenge) = waiting.next().and_then(Value::as_object_mut) else { return false };
    challenge.insert("status".into(), if is_confirmed { "verified" } else { "rejected" }.into());
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn declined(card: &str, network_id: &str, channels: &[&str]) -> Value {
        let mut authorization = json!({"card": {"id": card}, "merchant_data": {"network_id": network_id}});
        let channels: Vec<String> = channels.iter().map(|channel| (*channel).to_owned()).collect();
        send(authorization.as_object_mut().unwrap(), &channels);
        authorization
    }

    #[test]
    fn a_challenge_is_responded_to_once() {
        for (is_confirmed, status) in [(true, "verified"), (false, "rejected")] {
            let mut authorization = declined("ic_1", "1", &["sms"]);
            assert_eq!(authorization["fraud_challenges"][0]["status"], "pending");
            assert!(respond(&mut authorization, is_confirmed));
            assert_eq!(authorization["fraud_challenges"][0]["status"], status);
            assert!(!respond(&mut authorization, !is_confirmed), "it has been responded to");
        }
        assert!(!respond(&mut declined("ic_1", "1", &["pigeon"]), true), "nothing was sent");
    }

    #[test]
    fn a_confirmation_is_good_for_one_card_at_one_shop_for_a_week() {
        let mut confirmed = Confirmed::default();
        confirmed.add(&declined("ic_1", "1", &[]), 1_000);
        let check = |card: &str, network_id: &str, now: i64, expected: bool| {
            assert_eq!(
                confirmed.has(&declined(card, network_id, &[]), now),
                expected,
                "{card} {network_id} {now}"
            );
        };
        check("ic_1", "1", 1_000, true);
        check("ic_1", "1", 1_000 + CONFIRMED_FOR_SECONDS - 1, true);
        check("ic_1", "1", 1_000 + CONFIRMED_FOR_SECONDS, false);
        check("ic_2", "1", 1_000, false);
        check("ic_1", "2", 1_000, false);
    }
}
