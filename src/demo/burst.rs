//! How long answers take: buyers who ask one question after another, each with cards of its own, and what they saw.

use std::{collections::BTreeMap, time::Duration};

use tokio::{sync::watch, task::JoinSet};

use super::{
    Failure,
    balancer::{Balancer, Targets},
    client::Answer,
};
use crate::{
    clock::{self, Instant},
    stripe::{Merchant, Purchase, Secret},
};

/// How many ask at the same time.
pub(super) const CONNECTIONS: usize = 4;
const CARDS_EACH: usize = 50;
/// What each asks where only that is measured: as often as its first cards may be used.
pub(super) const QUESTIONS_EACH: usize = 500;
/// As many approvals as the policy allows a card within an hour.
const REQUESTS_PER_CARD: usize = 10;
/// What each purchase costs.
pub(super) const PRICE: i64 = 100;

/// Buyers at work. Dropped, they stop.
pub(super) struct Buyers {
    buying: JoinSet<Result<Seen, Failure>>,
    answers: watch::Sender<usize>,
    is_enough: watch::Sender<bool>,
}

/// What was seen.
#[derive(Default)]
pub(super) struct Seen {
    /// From the quickest to the slowest.
    answered: Vec<Answered>,
    /// How many purchases were approved on each card.
    pub(super) approved: BTreeMap<String, i64>,
}

struct Answered {
    asked: Instant,
    took: Duration,
    is_second_try: bool,
    is_stand_in: bool,
}

impl Buyers {
    /// Lets them ask these nodes, each of them at least so many questions.
    pub(super) fn start(targets: &Targets, secret: &Secret, each_at_least: usize) -> Self {
        let (answers, is_enough) = (watch::Sender::new(0), watch::Sender::new(false));
        let mut buying = JoinSet::new();
        for buyer in 0..CONNECTIONS {
            let balancer = Balancer::new(targets.clone(), secret, buyer);
            buying.spawn(buy(buyer, balancer, each_at_least, answers.clone(), is_enough.subscribe()));
        }
        Self { buying, answers, is_enough }
    }

    /// Waits until so many questions were answered.
    pub(super) async fn until(&mut self, answers: usize) -> Result<(), Failure> {
        let mut count = self.answers.subscribe();
        tokio::select! {
            // It is open as long as this is there.
            _ = count.wait_for(|count| *count >= answers) => Ok(()),
            Some(ended) = self.buying.join_next() => {
                let ended = ended.map_err(Failure::during("buy"))?;
                Err(ended.err().unwrap_or_else(|| Failure::Unexpected("a buyer has gone home early".to_owned())))
            }
        }
    }

    /// Lets each of them ask what it has to, and then no more. What they saw.
    pub(super) async fn finish(mut self) -> Result<Seen, Failure> {
        self.is_enough.send_replace(true);
        let mut all = Seen::default();
        while let Some(seen) = self.buying.join_next().await {
            let mut seen = seen.map_err(Failure::during("buy"))??;
            all.answered.append(&mut seen.answered);
            all.approved.append(&mut seen.approved);
        }
        all.answered.sort_unstable_by_key(|one| one.took);
        Ok(all)
    }
}

impl Seen {
    pub(super) fn requests(&self) -> usize {
        self.answered.len()
    }

    /// The time in which half of the answers came, in milliseconds.
    pub(super) fn p50(&self) -> String {
        self.percentile(50)
    }

    /// The time in which 99 of 100 came.
    pub(super) fn p99(&self) -> String {
        self.percentile(99)
    }

    /// The longest time that one took of those that were waited for within `span` after `start`.
    pub(super) fn longest_around(&self, start: Instant, span: Duration) -> String {
        let was_waited_for = |one: &&Answered| {
            let (sooner, later) = (start.duration_since(one.asked), one.asked.duration_since(start));
            sooner < one.took && later < span
        };
        milliseconds(self.answered.iter().filter(was_waited_for).map(|one| one.took).max())
    }

    /// How many were asked again at another node.
    pub(super) fn second_tries(&self) -> usize {
        self.answered.iter().filter(|one| one.is_second_try).count()
    }

    /// How many were answered without the books.
    pub(super) fn stand_ins(&self) -> usize {
        self.answered.iter().filter(|one| one.is_stand_in).count()
    }

    fn percentile(&self, percent: usize) -> String {
        let rank = self.answered.len().saturating_mul(percent).div_ceil(100);
        milliseconds(self.answered.get(rank.saturating_sub(1)).map(|one| one.took))
    }
}

fn milliseconds(took: Option<Duration>) -> String {
    format!("{:.1} ms", took.unwrap_or_default().as_secs_f64() * 1_000.0)
}

async fn buy(
    buyer: usize,
    mut balancer: Balancer,
    at_least: usize,
    answers: watch::Sender<usize>,
    is_enough: watch::Receiver<bool>,
) -> Result<Seen, Failure> {
    let mut seen = Seen::default();
    let mut group = 0_usize;
    loop {
        for round in 0..REQUESTS_PER_CARD {
            for card in 0..CARDS_EACH {
                let card = format!("{buyer}_{group}_{card}");
                let asked = clock::instant();
                let reply = balancer.deliver(event(&card, round)).await?;
                let answer: Answer = reply.json()?;
                let is_stand_in = answer.is_stand_in();
                if !answer.approved && !is_stand_in {
                    return Err(Failure::Unexpected(format!("expected an approval, found {answer:?}")));
                }
                let approved = seen.approved.entry(card_id(&card)).or_default();
                *approved = approved.saturating_add(i64::from(answer.approved));
                let (took, is_second_try) = (reply.took, reply.is_second_try);
                seen.answered.push(Answered { asked, took, is_second_try, is_stand_in });
                answers.send_modify(|answers| *answers = answers.saturating_add(1));
                if *is_enough.borrow() && seen.answered.len() >= at_least {
                    return Ok(seen);
                }
            }
        }
        group = group.saturating_add(1);
    }
}

fn card_id(card: &str) -> String {
    format!("ic_burst_{card}")
}

fn event(card: &str, round: usize) -> Vec<u8> {
    let purchase = Purchase {
        card: &card_id(card),
        authorization: &format!("iauth_burst_{card}_{round}"),
        merchant: Merchant::named("VENDING", "fast_food_restaurants"),
        amount: PRICE,
        ..Purchase::EXAMPLE
    };
    purchase.event(&purchase.event_id())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn seen(answered: impl IntoIterator<Item = (Instant, Duration)>) -> Seen {
        let answered = answered.into_iter().map(|(asked, took)| Answered {
            asked,
            took,
            is_second_try: false,
            is_stand_in: false,
        });
        Seen { answered: answered.collect(), ..Seen::default() }
    }

    #[test]
    fn a_percentile_is_the_time_that_so_many_did_not_exceed() {
        let now = clock::instant();
        let check = |count: u64, p50: &str, p99: &str| {
            let seen = seen((1..=count).map(|n| (now, Duration::from_millis(n))));
            assert_eq!((seen.p50(), seen.p99()), (format!("{p50} ms"), format!("{p99} ms")));
        };
        check(0, "0.0", "0.0");
        check(1, "1.0", "1.0");
        check(2, "1.0", "2.0");
        check(100, "50.0", "99.0");
        check(2_000, "1000.0", "1980.0");
    }

    #[test]
    fn the_longest_around_a_moment_was_waited_for_then() {
        let now = clock::instant() + 10 * SECOND;
        let check = |asked: Instant, took: Duration, shown: &str| {
            let others =
                [(now - 9 * SECOND, 8 * SECOND), (now + 4 * SECOND, 5 * SECOND), (now, SECOND / 100)];
            let seen = seen(others.into_iter().chain([(asked, took)]));
            assert_eq!(seen.longest_around(now, 3 * SECOND), shown);
        };
        check(now + SECOND, SECOND / 50, "20.0 ms");
        // Asked before, and answered after it.
        check(now - SECOND, 2 * SECOND, "2000.0 ms");
        check(now - 2 * SECOND, SECOND, "10.0 ms");
    }
}
