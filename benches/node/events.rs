//! Requests as Stripe sends them, signed and framed ahead of the clock. No authorization and no event occurs twice in a
//! run.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;
use tollgate::stripe::{Secret, sign};

const PURCHASE: &str = include_str!("../../tests/fixtures/stripe/request-01-purchase.json");

/// The secret of this benchmark's nodes.
pub(crate) const SECRET: &str = "whsec_of_the_benchmark_and_of_nothing_else";

/// Which cards are asked about.
#[derive(Clone, Copy)]
pub(crate) enum Cards {
    /// Any of so many.
    Many(usize),
    /// The same, each as often as any other.
    InTurn(usize),
    /// Each of so many others, one after another.
    EachOnce(usize),
    /// Only this one, which the others are none of.
    Hot(usize),
}

/// Whole requests, one behind the other.
pub(crate) struct Events {
    bytes: Vec<u8>,
    ends: Vec<usize>,
    cards: Vec<usize>,
}

impl Events {
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(crate) fn get(&self, place: usize) -> &[u8] {
        let start = place.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.bytes[start..self.ends[place]]
    }

    /// The card that a request is about.
    pub(crate) fn card(&self, place: usize) -> String {
        format!("ic_{:0DIGITS$}", self.cards[place])
    }
}

/// Writes requests from a template, whose ids it replaces in place.
pub(crate) struct Writer {
    secret: Secret,
    template: Vec<u8>,
    event_at: usize,
    authorization_at: usize,
    card_at: usize,
    /// The digits of the cardholder, where each card has one of its own.
    cardholder_at: Vec<usize>,
    written: u64,
    random: fastrand::Rng,
}

/// As many as in Stripe's own ids.
const DIGITS: usize = 24;

impl Writer {
    pub(crate) fn new() -> Self {
        let id = |prefix: &str, digit: &str| format!("{prefix}_{}", digit.repeat(DIGITS));
        let (event, authorization, card) = (id("evt", "1"), id("iauth", "2"), id("ic", "3"));
        let cardholder = id("ich", "4");
        let mut purchase: Value = serde_json::from_str(PURCHASE).unwrap();
        purchase["id"] = event.as_str().into();
        purchase["data"]["object"]["id"] = authorization.as_str().into();
        purchase["data"]["object"]["card"]["id"] = card.as_str().into();
        purchase["data"]["object"]["card"]["cardholder"]["id"] = cardholder.as_str().into();
        purchase["data"]["object"]["cardholder"] = cardholder.as_str().into();
        let template = purchase.to_string();
        let digits_of = |id: &str| template.find(id).unwrap() + id.len() - DIGITS;
        Self {
            secret: Secret::new(SECRET).unwrap(),
            event_at: digits_of(&event),
            authorization_at: digits_of(&authorization),
            card_at: digits_of(&card),
            cardholder_at: Vec::new(),
            template: template.into_bytes(),
            written: 0,
            random: fastrand::Rng::with_seed(1),
        }
    }

    /// From here on no two cards have the same cardholder.
    pub(crate) fn give_each_card_a_cardholder(&mut self) {
        let template = String::from_utf8(self.template.clone()).unwrap();
        self.cardholder_at = template.match_indices("ich_").map(|(at, prefix)| at + prefix.len()).collect();
        assert_eq!(self.cardholder_at.len(), 2);
    }

    /// How long a body is.
    pub(crate) fn body_bytes(&self) -> usize {
        self.template.len()
    }

    /// The next requests.
    pub(crate) fn write(&mut self, requests: usize, cards: Cards) -> Events {
        let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs().cast_signed();
        let mut events = Events {
            bytes: Vec::with_capacity(requests * (self.template.len() + 512)),
            ends: Vec::with_capacity(requests),
            cards: Vec::with_capacity(requests),
        };
        for place in 0..requests {
            self.written += 1;
            let card = match cards {
                Cards::Many(cards) => self.random.usize(..cards),
                Cards::InTurn(cards) => place % cards,
                Cards::EachOnce(cards) => 1_000_000 + place % cards,
                Cards::Hot(card) => 100_000_000 + card,
            };
            write_digits(&mut self.template[self.event_at..], self.written);
            write_digits(&mut self.template[self.authorization_at..], self.written);
            write_digits(&mut self.template[self.card_at..], card as u64);
            for at in &self.cardholder_at {
                write_digits(&mut self.template[*at..], card as u64);
            }
            let header = sign(&self.secret, seconds, &self.template);
            let length = self.template.len();
            let head = format!(
                "POST /webhook HTTP/1.1\r\nhost: 127.0.0.1\r\naccept: */*; q=0.5, application/xml\r\n\
                 cache-control: no-cache\r\ncontent-type: application/json; charset=utf-8\r\n\
                 user-agent: Stripe/1.0 (+https://stripe.com/docs/webhooks)\r\nstripe-signature: {header}\r\n\
                 content-length: {length}\r\n\r\n"
            );
            events.bytes.extend_from_slice(head.as_bytes());
            events.bytes.extend_from_slice(&self.template);
            events.ends.push(events.bytes.len());
            events.cards.push(card);
        }
        events
    }
}

fn write_digits(place: &mut [u8], number: u64) {
    place[..DIGITS].copy_from_slice(format!("{number:0DIGITS$}").as_bytes());
}
