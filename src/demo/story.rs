//! What is asked in the demo, what happens, and what must come of it. The amounts are cents.

use std::net::SocketAddr;

use hyper::{StatusCode, body::Bytes};

use super::{
    Failure,
    balancer::Balancer,
    client::{Answer, Client},
    connection::Reply,
    page::{Mark, Page, amount},
};
use crate::{
    cli::serve::one_run_secret,
    stripe::{Merchant, Purchase, RECEIVED_BODY},
};

/// The card of the story.
pub(super) const CARD: &str = "ic_demo";

/// How often somebody tries to buy something.
const TRIES: usize = 4;

/// What its windows have used in the end: 42.00 captured, 358.00 held for the hotel, 60.00 for the last one; and the
/// approvals of these, and of the one that was voided.
pub(super) const USED: [(&str, i64); 2] = [("daily", 46_000), ("rolling(1h)", 4)];

/// A purchase, and what must come of it.
#[derive(Clone, Copy)]
pub(super) struct Question {
    pub(super) purchase: Purchase<'static>,
    pub(super) expected: Expected,
    /// Words of the explanation, where it is shown.
    pub(super) because: Option<&'static str>,
}

#[derive(Clone, Copy)]
pub(super) enum Expected {
    Approved,
    Partial(i64),
    Declined(&'static str),
}

/// With which every story begins: two approvals, and two declines.
pub(super) const FIRST: [Question; 4] = [
    Question { purchase: SOFTWARE, expected: Expected::Approved, because: None },
    Question { purchase: HOTEL, expected: Expected::Approved, because: None },
    Question {
        purchase: Purchase {
            authorization: "iauth_hifi",
            merchant: Merchant::named("HIFI WORLD", "electronics_stores"),
            amount: 20_000,
            ..HOTEL
        },
        expected: Expected::Declined("spending_limit"),
        because: Some("at most 148.00 would have been approved"),
    },
    Question {
        purchase: Purchase {
            authorization: "iauth_casino",
            merchant: Merchant::named("LUCKY DICE", "betting_casino_gambling"),
            amount: 2_500,
            ..HOTEL
        },
        expected: Expected::Declined("category_blocked"),
        because: None,
    },
];

/// More on what was approved, and a part of what is asked.
pub(super) const SECOND: [Question; 2] = [
    Question {
        purchase: Purchase { amount: 4_800, approved_before: HOTEL.amount, ..HOTEL },
        expected: Expected::Approved,
        because: None,
    },
    Question {
        purchase: PHARMACY,
        expected: Expected::Partial(PHARMACY_GRANTED),
        because: Some("400.00 of the 500.00 USD daily limit is used"),
    },
];

/// On two cards that share a budget.
pub(super) const SHARED: [Question; 2] = [
    Question {
        purchase: Purchase {
            card: "ic_ada",
            authorization: "iauth_flight",
            merchant: Merchant::named("SKY AIRLINES", "airlines_air_carriers"),
            amount: 30_000,
            ..SOFTWARE
        },
        expected: Expected::Approved,
        because: None,
    },
    Question {
        purchase: Purchase {
            card: "ic_bob",
            authorization: "iauth_train",
            merchant: Merchant::named("RAIL TICKETS", "passenger_railways"),
            amount: 20_000,
            ..SOFTWARE
        },
        expected: Expected::Declined("spending_limit"),
        because: Some("300.00 of the 400.00 USD monthly limit of budget marketing is used"),
    },
];

pub(super) const SOFTWARE: Purchase<'static> = Purchase {
    card: CARD,
    authorization: "iauth_software",
    merchant: Merchant::named("EXAMPLE SAAS", "computer_software_stores"),
    amount: 4_200,
    ..Purchase::EXAMPLE
};

const HOTEL: Purchase<'static> = Purchase {
    authorization: "iauth_hotel",
    merchant: Merchant::named("GRAND HOTEL", "hotels_motels_and_resorts"),
    amount: 31_000,
    ..SOFTWARE
};

const PHARMACY: Purchase<'static> = Purchase {
    authorization: "iauth_pharmacy",
    merchant: Merchant::named("CITY PHARMACY", "drug_stores_and_pharmacies"),
    amount: 15_000,
    is_amount_controllable: true,
    ..SOFTWARE
};

/// What is left of the day when the pharmacy asks.
const PHARMACY_GRANTED: i64 = 10_000;

/// Asked after the restart.
pub(super) const BOOKS: Question = Question {
    purchase: Purchase {
        authorization: "iauth_books",
        merchant: Merchant::named("CORNER BOOKSHOP", "book_stores"),
        amount: 6_000,
        ..SOFTWARE
    },
    expected: Expected::Approved,
    because: Some("460.00 of the 500.00 USD daily limit is used"),
};

/// Left for whoever keeps the node.
pub(super) const YOURS: Purchase<'static> = Purchase {
    authorization: "iauth_yours",
    merchant: Merchant::named("YOUR IDEA", "book_stores"),
    amount: 2_500,
    ..SOFTWARE
};

/// The questions of the story with the replies to them, byte for byte.
#[derive(Default)]
pub(super) struct Told(Vec<(Vec<u8>, Bytes)>);

impl Told {
    /// Asks each of these once.
    pub(super) async fn ask(
        &mut self,
        questions: &[Question],
        client: &mut Client,
        page: &mut Page<'_>,
    ) -> Result<(), Failure> {
        for question in questions {
            self.0.push(question.ask(client, page).await?);
        }
        Ok(())
    }

    /// Stripe delivers the first question again.
    pub(super) async fn repeat_one(&self, client: &mut Client, page: &mut Page<'_>) -> Result<(), Failure> {
        for (event, answer) in self.0.iter().take(1) {
            is_same(&mut client.stripe, event, answer).await?;
        }
        let what = format!("{}, duplicate", SOFTWARE.merchant.name);
        page.row(&Mark::Yes, &amount(SOFTWARE.amount), &what, "same answer, byte for byte")
    }

    /// Stripe delivers every question again.
    pub(super) async fn repeat_all(&self, client: &mut Client, page: &mut Page<'_>) -> Result<(), Failure> {
        self.repeat(&mut client.stripe).await?;
        let what = format!("{} duplicates", self.0.len());
        page.row(&Mark::Yes, "", &what, "same answers, byte for byte")
    }

    /// Every question is asked again at each of these nodes.
    pub(super) async fn repeat_everywhere(
        &self,
        client: &mut Client,
        nodes: &[SocketAddr],
        page: &mut Page<'_>,
    ) -> Result<(), Failure> {
        for node in nodes {
            self.repeat(&mut client.at(*node)).await?;
        }
        let what = format!("{} duplicates, to each node", self.0.len());
        page.row(&Mark::Yes, "", &what, "same answers, byte for byte")
    }

    async fn repeat(&self, stripe: &mut Balancer) -> Result<(), Failure> {
        for (event, answer) in &self.0 {
            is_same(stripe, event, answer).await?;
        }
        Ok(())
    }
}

async fn is_same(stripe: &mut Balancer, event: &[u8], expected: &Bytes) -> Result<(), Failure> {
    let reply = stripe.deliver(event.to_vec()).await?;
    if reply.status == StatusCode::OK && reply.body == *expected {
        return Ok(());
    }
    Err(unexpected("a duplicate request", &String::from_utf8_lossy(expected), &reply))
}

impl Question {
    /// Asks, shows the answer, and compares it. A buyer whom the stand-in declines tries again with another purchase: a
    /// node that waits no longer than Stripe does may be late on a machine that is busy with something else.
    async fn ask(&self, client: &mut Client, page: &mut Page<'_>) -> Result<(Vec<u8>, Bytes), Failure> {
        let mut authorization = self.purchase.authorization.to_owned();
        let mut tries = 1_usize;
        loop {
            let purchase = Purchase { authorization: &authorization, ..self.purchase };
            let event = purchase.event(&purchase.event_id());
            let reply = client.deliver(event.clone()).await?;
            if reply.status != StatusCode::OK || !reply.names_version {
                return Err(unexpected(purchase.merchant.name, "200 with a Stripe-Version", &reply));
            }
            let answer: Answer = reply.json()?;
            if !answer.is_stand_in() || tries == TRIES || purchase.approved_before > 0 {
                self.told(&purchase, &answer, &reply, client, page).await?;
                return Ok((event, reply.body));
            }
            let what = format!("{}{}", purchase.merchant.name, at(&reply));
            page.row(&Mark::No, &amount(purchase.amount), &what, "declined by the stand-in")?;
            authorization = format!("{}_{tries}", self.purchase.authorization);
            tries = tries.saturating_add(1);
        }
    }

    async fn told(
        &self,
        purchase: &Purchase<'_>,
        answer: &Answer,
        reply: &Reply,
        client: &mut Client,
        page: &mut Page<'_>,
    ) -> Result<(), Failure> {
        let (mark, expected) = match self.expected {
            Expected::Approved => (Mark::Yes, (true, None, "approved")),
            Expected::Partial(granted) => (Mark::Part, (true, Some(granted), "spending_limit")),
            Expected::Declined(reason) => (Mark::No, (false, None, reason)),
        };
        if (answer.approved, answer.amount, &*answer.metadata.reason) != expected {
            return Err(unexpected(purchase.merchant.name, &format!("{expected:?}"), reply));
        }
        let is_increment = purchase.approved_before > 0;
        let answered = match self.expected {
            Expected::Approved if is_increment => {
                format!(
                    "approved, {} in total",
                    amount(purchase.approved_before.saturating_add(purchase.amount))
                )
            }
            Expected::Approved => "approved".to_owned(),
            Expected::Partial(granted) => format!("approved in part: {}", amount(granted)),
            Expected::Declined(reason) => format!("declined: {reason}"),
        };
        let asked =
            if is_increment { format!("+{}", amount(purchase.amount)) } else { amount(purchase.amount) };
        let what = match (purchase.is_amount_controllable, is_increment) {
            (true, _) => ", controllable",
            (false, true) => ", increment",
            (false, false) => "",
        };
        let what = if purchase.card == CARD { what.to_owned() } else { format!(", {}{what}", purchase.card) };
        page.row(&mark, &asked, &format!("{}{what}{}", purchase.merchant.name, at(reply)), &answered)?;
        match self.because {
            Some(words) => explain(purchase, words, client, page).await,
            None => Ok(()),
        }
    }
}

/// Who has answered, where there are several.
fn at(reply: &Reply) -> String {
    if reply.by.is_empty() { String::new() } else { format!(", at {}", reply.by) }
}

/// Asks the books why, shows the sentence, and looks for the words that it must have.
async fn explain(
    purchase: &Purchase<'_>,
    words: &str,
    client: &mut Client,
    page: &mut Page<'_>,
) -> Result<(), Failure> {
    let authorization = client.authorization(purchase.authorization).await?;
    let explanation = authorization.decisions.last().map_or("", |decision| &*decision.explanation);
    page.why(explanation)?;
    if explanation.contains(words) {
        return Ok(());
    }
    Err(Failure::Unexpected(format!("expected an explanation with `{words}`, found `{explanation}`")))
}

/// Purchases on two cards that share a budget: what one has spent, the other has not left.
pub(super) async fn share(told: &mut Told, client: &mut Client, page: &mut Page<'_>) -> Result<(), Failure> {
    page.line("")?;
    page.line("Two cards share the budget of marketing, 400.00 a month:")?;
    told.ask(&SHARED, client, page).await
}

/// Somebody asks who does not know the secret.
pub(super) async fn forge(client: &mut Client, page: &mut Page<'_>) -> Result<(), Failure> {
    let purchase = Purchase { authorization: "iauth_forged", ..SOFTWARE };
    let reply = client.forge(purchase.event("evt_forged"), &one_run_secret()).await?;
    if reply.status != StatusCode::BAD_REQUEST || reply.names_version {
        return Err(unexpected("a forged request", "400, and no decision", &reply));
    }
    page.row(&Mark::No, &amount(purchase.amount), "EXAMPLE SAAS, forged", "400 bad signature, no decision")
}

/// Stripe tells what became of two approvals: one was captured, one was voided.
pub(super) async fn settle(client: &mut Client, page: &mut Page<'_>) -> Result<(), Failure> {
    page.line("")?;
    page.line("Later events from Stripe update the ledger:")?;
    book(client, SOFTWARE.captured()).await?;
    let captured = client.authorization(SOFTWARE.authorization).await?;
    let outcome = format!("captured {}, held {}", amount(captured.captured), amount(captured.held));
    let what = format!("{}, captured", SOFTWARE.merchant.name);
    page.row(&Mark::Yes, &amount(SOFTWARE.amount), &what, &outcome)?;
    if (captured.captured, captured.held) != (SOFTWARE.amount, 0) {
        return Err(Failure::Unexpected(format!("the capture was not recorded: {outcome}")));
    }
    book(client, PHARMACY.voided(PHARMACY_GRANTED)).await?;
    let voided = client.authorization(PHARMACY.authorization).await?;
    let outcome = format!("{}, held {}", voided.status, amount(voided.held));
    let what = format!("{}, reversed", PHARMACY.merchant.name);
    page.row(&Mark::Yes, &amount(PHARMACY_GRANTED), &what, &outcome)?;
    if (&*voided.status, voided.held) == ("reversed", 0) {
        Ok(())
    } else {
        Err(Failure::Unexpected(format!("the reversal was not recorded: {outcome}")))
    }
}

async fn book(client: &mut Client, event: Vec<u8>) -> Result<(), Failure> {
    let reply = client.deliver(event).await?;
    let is_received = reply.status == StatusCode::OK && *reply.body == *RECEIVED_BODY;
    if is_received { Ok(()) } else { Err(unexpected("an event", "200, received", &reply)) }
}

/// After the restart the books still stand: what was voided can be spent, and no more.
pub(super) async fn go_on(client: &mut Client, page: &mut Page<'_>) -> Result<(), Failure> {
    BOOKS.ask(client, page).await.map(drop)
}

fn unexpected(what: &str, expected: &str, reply: &Reply) -> Failure {
    let body = String::from_utf8_lossy(&reply.body);
    Failure::Unexpected(format!("{what}: expected {expected}, found {} {body}", reply.status))
}
