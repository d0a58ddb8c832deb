//! How long answers take: some connections that ask one question after another, each on its own cards.

use std::time::Duration;

use tokio::task::JoinSet;

use super::{
    Failure,
    client::{Answer, Webhook},
    events::{Merchant, Purchase},
};
use crate::{node::Node, stripe::Secret};

/// How many ask at the same time.
pub(super) const CONNECTIONS: usize = 4;
const CARDS_EACH: usize = 50;
/// As many approvals as the policy allows a card within an hour.
const REQUESTS_PER_CARD: usize = 10;

/// What was measured.
pub(super) struct Burst {
    pub(super) requests: usize,
    /// From the shortest to the longest.
    took: Vec<Duration>,
}

impl Burst {
    /// The time in which half of the answers came, in milliseconds.
    pub(super) fn p50(&self) -> String {
        self.percentile(50)
    }

    /// The time in which 99 of 100 came.
    pub(super) fn p99(&self) -> String {
        self.percentile(99)
    }

    fn percentile(&self, percent: usize) -> String {
        let rank = self.took.len().saturating_mul(percent).div_ceil(100);
        let took = self.took.get(rank.saturating_sub(1)).copied().unwrap_or_default();
        format!("{:.1} ms", took.as_secs_f64() * 1_000.0)
    }
}

/// Asks, and measures from the first byte sent to the last one received.
pub(super) async fn run(node: &Node, secret: &Secret) -> Result<Burst, Failure> {
    let mut askers = JoinSet::new();
    for connection in 0..CONNECTIONS {
        let webhook = Webhook::connect(node, secret).await?;
        askers.spawn(ask(connection, webhook));
    }
    let mut took = Vec::new();
    for measured in askers.join_all().await {
        took.extend(measured?);
    }
    took.sort_unstable();
    Ok(Burst { requests: took.len(), took })
}

async fn ask(connection: usize, mut webhook: Webhook) -> Result<Vec<Duration>, Failure> {
    let mut took = Vec::new();
    for round in 0..REQUESTS_PER_CARD {
        for card in 0..CARDS_EACH {
            let event = event(&format!("{connection}_{card}"), round);
            let reply = webhook.deliver(event).await?;
            let answer: Answer = reply.json()?;
            if !answer.approved {
                return Err(Failure::Unexpected(format!("expected an approval, found {answer:?}")));
            }
            took.push(reply.took);
        }
    }
    Ok(took)
}

fn event(card: &str, round: usize) -> Vec<u8> {
    let purchase = Purchase {
        card: &format!("ic_burst_{card}"),
        authorization: &format!("iauth_burst_{card}_{round}"),
        merchant: Merchant { name: "VENDING", category: "fast_food_restaurants", code: "5814" },
        amount: 100,
        approved_before: 0,
        is_amount_controllable: false,
    };
    purchase.event(&purchase.event_id())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_the_time_that_so_many_did_not_exceed() {
        let burst =
            |count: u64| Burst { requests: 0, took: (1..=count).map(Duration::from_millis).collect() };
        let check = |count: u64, p50: &str, p99: &str| {
            assert_eq!((burst(count).p50(), burst(count).p99()), (format!("{p50} ms"), format!("{p99} ms")));
        };
        check(0, "0.0", "0.0");
        check(1, "1.0", "1.0");
        check(2, "1.0", "2.0");
        check(100, "50.0", "99.0");
        check(2_000, "1000.0", "1980.0");
    }
}
