//! What happens to one authorization, from the first question to the last refund: drawn from the seed and the story's
//! number alone, so that the same seed tells the same stories however fast they are told.

use std::collections::VecDeque;

use crate::{
    authorization::{Authorization, Purchase, Transaction},
    population::{self, FUEL_DISPENSER, Population},
    scenario::{Life, Scenario},
};

/// One authorization's story, and how far it is told.
#[derive(Clone, Debug)]
pub struct Story {
    /// Stripe's books for it.
    pub authorization: Authorization,
    /// How it begins.
    pub opening: Opening,
    /// The merchant takes the money even where it was declined, with an authorization and without.
    forced: bool,
    steps: VecDeque<Step>,
    random: fastrand::Rng,
}

/// How a story begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Opening {
    /// With a question.
    Asked,
    /// Stripe declines it without a question.
    DeclinedBefore,
    /// The network approves it without a question.
    NetworkFallback,
}

/// What comes next, drawn ahead; amounts are in thousandths of what is held then.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    Increment(i64),
    Finalize(i64),
    Reverse(i64),
    Expire,
    Capture { thousandths: i64, closes: bool },
    ForceUnlinked(i64),
    Refund { thousandths: i64, is_linked: bool },
    TakeRefundBack,
}

/// What a step leads to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Turn {
    /// Stripe asks for so much more.
    Ask(i64),
    /// The authorization changed: an `.updated` tells it.
    Updated,
    /// Money moved: a transaction tells it, and an `.updated` too where it names the authorization.
    Settled(Transaction),
    /// That was all.
    End,
}

/// What was said to a question.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Approved, with so much held.
    Approved(i64),
    /// Declined.
    Declined,
    /// Nothing that counts: the account's settings decide.
    Default {
        /// `webhook_timeout` or `webhook_error`.
        reason: &'static str,
        /// The setting.
        approves: bool,
    },
}

impl Story {
    /// The story of this number.
    #[must_use]
    pub fn draw(number: u64, scenario: &Scenario, population: &Population, now: i64) -> Self {
        let mut random = fastrand::Rng::with_seed(scenario.seed.rotate_left(32) ^ number);
        let purchase = purchase(number, scenario, population, &mut random);
        let opening = match random.f64() {
            at if at < scenario.questions.declined_before => Opening::DeclinedBefore,
            at if at < scenario.questions.declined_before + scenario.questions.network_fallback => {
                Opening::NetworkFallback
            }
            _ => Opening::Asked,
        };
        let steps = steps(scenario, &purchase, opening, &mut random);
        let forced = random.f64() < scenario.questions.forced;
        let authorization = Authorization::new(number, purchase, now);
        Self { authorization, opening, forced, steps, random }
    }

    /// Begins a story without a question.
    pub fn begin_without_question(&mut self, now: i64) {
        let asked = self.authorization.purchase.amount;
        if self.opening == Opening::NetworkFallback {
            let held = self.authorization.purchase.held_for(asked);
            self.authorization.decided(asked, Some(held), "network_fallback", now);
        } else {
            self.authorization.decided(asked, None, "spending_controls", now);
            self.steps.clear();
        }
    }

    /// A question was decided. True if Stripe took the answer.
    pub fn decided(&mut self, asked: i64, verdict: Verdict, now: i64) {
        let was_approved = self.authorization.approved;
        match verdict {
            Verdict::Approved(granted) => {
                self.authorization.decided(asked, Some(granted), "webhook_approved", now);
            }
            Verdict::Declined => self.authorization.decided(asked, None, "webhook_declined", now),
            Verdict::Default { reason, approves } => {
                let granted = approves.then(|| self.authorization.purchase.held_for(asked));
                self.authorization.decided(asked, granted, reason, now);
                // Whoever was not asked in time is not asked for more.
                self.steps.retain(|step| !matches!(step, Step::Increment(_)));
            }
        }
        if !was_approved && !self.authorization.approved {
            self.steps.clear();
            if self.forced {
                self.steps.push_back(Step::Capture { thousandths: 1_000, closes: true });
                self.steps.push_back(Step::ForceUnlinked(self.authorization.purchase.amount));
            }
        }
    }

    /// What comes next.
    pub fn turn(&mut self, transactions: &mut u64, now: i64) -> Turn {
        let Some(step) = self.steps.pop_front() else { return Turn::End };
        let authorization = &mut self.authorization;
        let open = authorization.amount.saturating_sub(authorization.captured()).max(0);
        let part =
            |thousandths: i64| open.saturating_mul(thousandths).checked_div(1_000).unwrap_or_default().max(1);
        match step {
            Step::Increment(amount) => return Turn::Ask(amount),
            Step::Finalize(thousandths) => authorization.finalized(part(thousandths)),
            Step::Reverse(thousandths) => authorization.reversed(part(thousandths)),
            Step::Expire => authorization.expired(),
            Step::Capture { thousandths, closes } => {
                let amount = part(thousandths).saturating_neg();
                return self.settle(transactions, false, amount, true, closes, now);
            }
            Step::ForceUnlinked(amount) => {
                return self.settle(transactions, false, amount.saturating_neg(), false, false, now);
            }
            Step::Refund { thousandths, is_linked } => {
                let captured = authorization.captured();
                let amount =
                    captured.saturating_mul(thousandths).checked_div(1_000).unwrap_or_default().max(1);
                return self.settle(transactions, true, amount, is_linked, false, now);
            }
            Step::TakeRefundBack => {
                let refund = authorization.transactions.iter().rev().find(|one| one.is_refund);
                let amount = refund.map_or(-1, |refund| refund.amount.saturating_neg());
                return self.settle(transactions, true, amount, true, false, now);
            }
        }
        Turn::Updated
    }

    /// Another random draw of this story: for the order of its deliveries.
    pub const fn random(&mut self) -> &mut fastrand::Rng {
        &mut self.random
    }

    fn settle(
        &mut self,
        transactions: &mut u64,
        is_refund: bool,
        amount: i64,
        is_linked: bool,
        closes: bool,
        now: i64,
    ) -> Turn {
        *transactions = transactions.saturating_add(1);
        let transaction = Transaction { number: *transactions, is_refund, amount, is_linked, created: now };
        if is_linked {
            self.authorization.settled(transaction, closes);
        }
        Turn::Settled(transaction)
    }
}

fn purchase(
    number: u64,
    scenario: &Scenario,
    population: &Population,
    random: &mut fastrand::Rng,
) -> Purchase {
    let questions = &scenario.questions;
    let card = population.card(number, random);
    let is_fuel = random.f64() < questions.fuel;
    let merchant = if is_fuel { &FUEL_DISPENSER } else { population::merchant(random) };
    let amount = population::amount(questions.median_amount, random);
    let has_cash_back = !is_fuel && merchant.is_present && random.f64() < questions.cash_back;
    let cashback = has_cash_back.then(|| amount.checked_div(3).unwrap_or_default().max(1));
    let is_controllable = random.f64() < questions.controllable;
    let is_foreign = random.f64() < questions.foreign;
    let method = match random.u8(..10) {
        _ if !merchant.is_present => "online",
        0..=5 => "contactless",
        6 | 7 => "chip",
        8 => "swipe",
        _ => "keyed_in",
    };
    let wallet = (method == "contactless" && random.bool()).then_some("apple_pay");
    let merchant_currency =
        if is_foreign { ("cad", random.i64(1_200..1_500)) } else { (card.currency, 1_000) };
    let mut purchase = Purchase {
        card,
        merchant,
        amount,
        is_controllable,
        cashback,
        method,
        wallet,
        merchant_currency,
        risk_score: random.u8(1..=99),
    };
    if is_fuel {
        purchase.amount = purchase.unit();
    }
    purchase
}

/// What will become of it, if it is approved.
fn steps(
    scenario: &Scenario,
    purchase: &Purchase,
    opening: Opening,
    random: &mut fastrand::Rng,
) -> VecDeque<Step> {
    let mut steps = VecDeque::new();
    let is_fuel = purchase.merchant.is_fuel_dispenser();
    if !is_fuel && opening == Opening::Asked && random.f64() < scenario.questions.incremented {
        let share = |random: &mut fastrand::Rng| {
            purchase.amount.saturating_mul(random.i64(50..500)).checked_div(1_000).unwrap_or_default().max(1)
        };
        for _ in 0..random.u8(1..=3) {
            steps.push_back(Step::Increment(share(random)));
        }
    }
    if is_fuel {
        steps.push_back(Step::Finalize(random.i64(150..1_000)));
    }
    let whole = Step::Capture { thousandths: 1_000, closes: true };
    match life(scenario, random) {
        Life::Held => {}
        Life::Captured => steps.push_back(whole),
        Life::CapturedInPart => {
            steps.push_back(Step::Capture { thousandths: random.i64(300..950), closes: true });
        }
        Life::OverCaptured => {
            steps.push_back(Step::Capture { thousandths: random.i64(1_010..1_250), closes: true });
        }
        Life::CapturedTwice => {
            steps.push_back(Step::Capture { thousandths: random.i64(200..800), closes: false });
            steps.push_back(whole);
        }
        Life::Reversed => steps.push_back(Step::Reverse(1_000)),
        Life::ReversedInPart => steps.push_back(Step::Reverse(random.i64(100..900))),
        Life::Expired => steps.push_back(Step::Expire),
        Life::ExpiredThenCaptured => steps.extend([Step::Expire, whole]),
        Life::Refunded => {
            let refund = Step::Refund { thousandths: random.i64(100..=1_000), is_linked: random.u8(..5) > 0 };
            steps.extend([whole, refund]);
        }
        Life::RefundReversed => {
            let refund = Step::Refund { thousandths: random.i64(100..=1_000), is_linked: true };
            steps.extend([whole, refund, Step::TakeRefundBack]);
        }
    }
    steps
}

fn life(scenario: &Scenario, random: &mut fastrand::Rng) -> Life {
    let weights = scenario.lives.weights();
    let mut rest = random.f64() * weights.iter().map(|(_, weight)| weight).sum::<f64>();
    for (life, weight) in weights {
        if rest < weight {
            return life;
        }
        rest -= weight;
    }
    Life::Held
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authorization::Status;

    fn scenario() -> Scenario {
        let mut scenario = Scenario::load("lifecycle").unwrap();
        scenario.seed = 42;
        scenario
    }

    /// Tells a story to its end, with every question approved or none.
    fn told(number: u64, approve: bool) -> (Story, Vec<Turn>) {
        let scenario = scenario();
        let population = Population::new(scenario.cards, &scenario.questions);
        let mut story = Story::draw(number, &scenario, &population, 1_000);
        let verdict = |asked| if approve { Verdict::Approved(asked) } else { Verdict::Declined };
        let (mut transactions, mut turns) = (0, Vec::new());
        if story.opening == Opening::Asked {
            let asked = story.authorization.purchase.amount;
            story.decided(asked, verdict(asked), 1_000);
        } else {
            story.begin_without_question(1_000);
        }
        loop {
            let turn = story.turn(&mut transactions, 1_001);
            turns.push(turn);
            match turn {
                Turn::Ask(asked) => story.decided(asked, verdict(asked), 1_001),
                Turn::End => return (story, turns),
                Turn::Updated | Turn::Settled(_) => {}
            }
        }
    }

    #[test]
    fn the_same_seed_tells_the_same_stories() {
        for number in 0..200 {
            assert_eq!(told(number, true).1, told(number, true).1);
        }
        let differ = (0..200).filter(|number| told(*number, true).1 != told(number + 1, true).1).count();
        assert!(differ > 100, "only {differ} stories differ from the next");
    }

    #[test]
    fn every_kind_of_ending_occurs() {
        let ends: Vec<Story> = (0..2_000).map(|number| told(number, true).0).collect();
        for status in [Status::Pending, Status::Closed, Status::Reversed, Status::Expired] {
            assert!(ends.iter().any(|story| story.authorization.status == status), "{status:?}");
        }
        let has = |what: &str, is_so: fn(&Authorization) -> bool| {
            assert!(ends.iter().any(|story| is_so(&story.authorization)), "no story has {what}");
        };
        has("an over-capture", |one| one.captured() > one.amount);
        has("two captures", |one| one.transactions.iter().filter(|one| !one.is_refund).count() == 2);
        has("a late capture", |one| one.status == Status::Closed && one.captured() > 0);
        has("a refund taken back", |one| one.transactions.iter().any(|one| one.is_refund && one.amount < 0));
        has("three increments", |one| one.history.len() == 4);
        has("an approval by the network", |one| {
            one.history.iter().any(|entry| entry.reason == "network_fallback")
        });
        let forced = (0..2_000).map(|number| told(number, false).0.authorization);
        assert!(forced.into_iter().any(|one| !one.approved && one.captured() > 0), "nothing was forced");
    }
}
