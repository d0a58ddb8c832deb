//! The bytes of Stripe's events, with all the fields that they have at full size: written from templates, since a
//! generator that serialised four kilobytes for each request would be its own bottleneck.

mod template;

use template::Template;

use crate::authorization::{Authorization, Entry, Status, Transaction};

/// What an event is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Subject {
    /// Stripe asks for so much more: `issuing_authorization.request`.
    Request(i64),
    /// `issuing_authorization.created`.
    Created,
    /// `issuing_authorization.updated`.
    Updated,
    /// `issuing_transaction.created`.
    Transaction(Transaction),
}

/// Writes events.
pub struct Writer {
    /// Sets the ids of this run apart from those of other runs against the same books.
    run: u64,
    authorization_event: Template,
    transaction_event: Template,
    transaction: Template,
    merchant: Template,
    history_entry: Template,
    pending_request: Template,
    balance_transaction: Template,
}

/// One event that is being written.
#[derive(Clone, Copy)]
struct Scene<'a> {
    event: u64,
    subject: Subject,
    authorization: &'a Authorization,
    now: i64,
}

/// The kinds of ids, by their prefixes.
#[derive(Clone, Copy)]
pub enum Id {
    /// An event.
    Event,
    /// An authorization.
    Authorization,
    /// A card.
    Card,
    /// A cardholder.
    Cardholder,
    /// A transaction.
    Transaction,
    /// A movement of the balance.
    BalanceTransaction,
}

impl Id {
    const fn prefix(self) -> &'static str {
        match self {
            Self::Event => "evt_1",
            Self::Authorization => "iauth_1",
            Self::Card => "ic_1",
            Self::Cardholder => "ich_1",
            Self::Transaction => "ipi_1",
            Self::BalanceTransaction => "txn_1",
        }
    }
}

impl Writer {
    /// A writer for one run; `run` becomes part of every id.
    #[must_use]
    pub fn new(run: u64) -> Self {
        Self {
            run,
            authorization_event: Template::read(include_str!("../templates/authorization_event.json")),
            transaction_event: Template::read(include_str!("../templates/transaction_event.json")),
            transaction: Template::read(include_str!("../templates/transaction.json")),
            merchant: Template::read(include_str!("../templates/merchant.json")),
            history_entry: Template::read(include_str!("../templates/history_entry.json")),
            pending_request: Template::read(include_str!("../templates/pending_request.json")),
            balance_transaction: Template::read(include_str!("../templates/balance_transaction.json")),
        }
    }

    /// An id as long as Stripe's own.
    #[must_use]
    pub fn id(&self, id: Id, number: u64) -> String {
        format!("{}{:010}{number:013}", id.prefix(), self.run)
    }

    /// The event of this number about an authorization as it is now.
    #[must_use]
    pub fn event(&self, event: u64, subject: Subject, authorization: &Authorization, now: i64) -> Vec<u8> {
        const BYTES: usize = 6 * 1024;
        let mut out = Vec::with_capacity(BYTES);
        let scene = Scene { event, subject, authorization, now };
        let template = match subject {
            Subject::Request(_) | Subject::Created | Subject::Updated => &self.authorization_event,
            Subject::Transaction(_) => &self.transaction_event,
        };
        template.write(&mut out, |slot, out| self.fill(slot, out, scene));
        out
    }

    /// What the event itself and the authorization say.
    fn fill(&self, slot: &str, out: &mut Vec<u8>, scene: Scene<'_>) {
        let Scene { event, subject, authorization, now } = scene;
        let purchase = &authorization.purchase;
        match slot {
            "event" => self.write_id(out, Id::Event, event),
            "event_created" => number(out, now),
            "type" => text(
                out,
                match subject {
                    Subject::Request(_) => "issuing_authorization.request",
                    Subject::Created => "issuing_authorization.created",
                    Subject::Updated => "issuing_authorization.updated",
                    Subject::Transaction(_) => "issuing_transaction.created",
                },
            ),
            "previous_attributes" if subject == Subject::Updated => {
                text(out, r#","previous_attributes":{"status":"pending"}"#);
            }
            "previous_attributes" => {}
            "authorization" => self.write_id(out, Id::Authorization, authorization.number),
            "amount" => number(out, authorization.amount),
            "approved" => text(out, if authorization.approved { "true" } else { "false" }),
            "status" => text(out, authorization.status.as_str()),
            "created" => number(out, authorization.created),
            "merchant_amount" => number(out, purchase.at_merchant(authorization.amount)),
            "pending_request" => match subject {
                Subject::Request(asked) => {
                    let asking = |slot: &str, out: &mut Vec<u8>| match slot {
                        "asked" => number(out, asked),
                        // The cash was paid out at first, or not at all.
                        "cashback" if !authorization.history.is_empty() => text(out, "null"),
                        "asked_merchant_amount" => number(out, purchase.at_merchant(asked)),
                        _ => self.fill_purchase(slot, out, scene),
                    };
                    self.pending_request.write(out, asking);
                }
                Subject::Created | Subject::Updated | Subject::Transaction(_) => text(out, "null"),
            },
            "request_history" => listed(out, &authorization.history, |out, entry| {
                self.history_entry.write(out, |slot, out| self.fill_entry(slot, out, scene, entry));
            }),
            "transactions" => {
                let of_event = match &subject {
                    Subject::Transaction(transaction) => std::slice::from_ref(transaction),
                    Subject::Request(_) | Subject::Created | Subject::Updated => &authorization.transactions,
                };
                listed(out, of_event, |out, transaction| {
                    self.transaction
                        .write(out, |slot, out| self.fill_transaction(slot, out, scene, transaction));
                });
            }
            "balance_transactions" => {
                if authorization.approved && authorization.status == Status::Pending {
                    self.balance_transaction.write(out, |slot, out| match slot {
                        "hold_transaction" => {
                            self.write_id(out, Id::BalanceTransaction, authorization.number);
                        }
                        "hold_amount" => number(out, authorization.amount.saturating_neg()),
                        _ => self.fill(slot, out, scene),
                    });
                }
            }
            _ => self.fill_purchase(slot, out, scene),
        }
    }

    /// What is the same in everything about one purchase.
    fn fill_purchase(&self, slot: &str, out: &mut Vec<u8>, scene: Scene<'_>) {
        let purchase = &scene.authorization.purchase;
        match slot {
            "card" => self.write_id(out, Id::Card, purchase.card.number),
            "cardholder" => self.write_id(out, Id::Cardholder, purchase.card.number),
            "shared" => {
                if let Some(share) = purchase.card.share {
                    text(out, &format!(",{share}"));
                }
            }
            "currency" => text(out, purchase.card.currency),
            "cashback" => match purchase.cashback {
                Some(cashback) => number(out, cashback),
                None => text(out, "null"),
            },
            "is_controllable" => text(out, if purchase.is_controllable { "true" } else { "false" }),
            "method" => text(out, purchase.method),
            "presence" => text(out, if purchase.merchant.is_present { "present" } else { "not_present" }),
            "wallet" => match purchase.wallet {
                Some(wallet) => text(out, &format!("\"{wallet}\"")),
                None => text(out, "null"),
            },
            "risk_score" => number(out, i64::from(purchase.risk_score)),
            "merchant_currency" => text(out, purchase.merchant_currency.0),
            "trace" => digits::<6>(out, scene.authorization.number),
            "network_transaction" => digits::<14>(out, scene.authorization.number),
            "merchant" => self.merchant.write(out, |slot, out| fill_merchant(slot, out, scene)),
            unknown => debug_assert!(false, "nothing fills ${unknown}"),
        }
    }

    fn fill_entry(&self, slot: &str, out: &mut Vec<u8>, scene: Scene<'_>, entry: &Entry) {
        match slot {
            "entry_asked" => number(out, entry.asked),
            "entry_merchant_amount" => number(out, scene.authorization.purchase.at_merchant(entry.asked)),
            "entry_approved" => text(out, if entry.approved { "true" } else { "false" }),
            "entry_authorization_code" if entry.approved => {
                text(out, "\"S");
                digits::<6>(out, scene.authorization.number);
                text(out, "\"");
            }
            "entry_authorization_code" => text(out, "null"),
            "entry_created" => number(out, entry.created),
            "entry_reason" => text(out, entry.reason),
            _ => self.fill_purchase(slot, out, scene),
        }
    }

    fn fill_transaction(&self, slot: &str, out: &mut Vec<u8>, scene: Scene<'_>, transaction: &Transaction) {
        match slot {
            "transaction" => self.write_id(out, Id::Transaction, transaction.number),
            "transaction_amount" => number(out, transaction.amount),
            "transaction_merchant_amount" => {
                number(out, scene.authorization.purchase.at_merchant(transaction.amount));
            }
            "transaction_authorization" if transaction.is_linked => {
                text(out, "\"");
                self.write_id(out, Id::Authorization, scene.authorization.number);
                text(out, "\"");
            }
            "transaction_authorization" => text(out, "null"),
            "transaction_created" => number(out, transaction.created),
            "transaction_type" => text(out, if transaction.is_refund { "refund" } else { "capture" }),
            "balance_transaction" => self.write_id(out, Id::BalanceTransaction, transaction.number),
            "processing_date" => {
                let date = jiff::Timestamp::from_second(transaction.created).unwrap_or_default();
                text(out, &date.strftime("%Y-%m-%d").to_string());
            }
            _ => self.fill_purchase(slot, out, scene),
        }
    }

    fn write_id(&self, out: &mut Vec<u8>, id: Id, number: u64) {
        text(out, id.prefix());
        digits::<10>(out, self.run);
        digits::<13>(out, number);
    }
}

fn fill_merchant(slot: &str, out: &mut Vec<u8>, scene: Scene<'_>) {
    let merchant = scene.authorization.purchase.merchant;
    match slot {
        "merchant_category" => text(out, merchant.category),
        "merchant_category_code" => text(out, merchant.category_code),
        "merchant_city" => text(out, merchant.city),
        "merchant_country" => text(out, merchant.country),
        "merchant_name" => text(out, merchant.name),
        "merchant_network_id" => text(out, merchant.network_id),
        "merchant_postal_code" => text(out, merchant.postal_code),
        "trace" => digits::<6>(out, scene.authorization.number),
        unknown => debug_assert!(false, "nothing fills ${unknown}"),
    }
}

fn listed<T>(out: &mut Vec<u8>, items: &[T], mut write: impl FnMut(&mut Vec<u8>, &T)) {
    for (place, item) in items.iter().enumerate() {
        if place > 0 {
            out.push(b',');
        }
        write(out, item);
    }
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(text.as_bytes());
}

fn number(out: &mut Vec<u8>, number: i64) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// The last `N` digits of a number.
fn digits<const N: usize>(out: &mut Vec<u8>, number: u64) {
    let mut digits = [b'0'; N];
    let mut rest = number;
    for digit in digits.iter_mut().rev() {
        *digit =
            b'0'.saturating_add(u8::try_from(rest.checked_rem(10).unwrap_or_default()).unwrap_or_default());
        rest = rest.checked_div(10).unwrap_or_default();
    }
    out.extend_from_slice(&digits);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        population::Population,
        scenario::Scenario,
        story::{Story, Verdict},
    };

    fn read(event: &[u8]) -> serde_json::Value {
        serde_json::from_slice(event).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(event)))
    }

    fn stories() -> impl Iterator<Item = Story> {
        let scenario = Scenario::load("lifecycle").unwrap();
        let population = Population::new(scenario.cards, &scenario.questions);
        (0..200).map(move |number| Story::draw(number, &scenario, &population, 1_790_000_000))
    }

    #[test]
    fn a_question_has_the_size_and_the_fields_of_stripes() {
        let writer = Writer::new(1);
        for story in stories() {
            let asked = story.authorization.purchase.amount;
            let bytes = writer.event(7, Subject::Request(asked), &story.authorization, 1_790_000_001);
            assert!((3_500..6_000).contains(&bytes.len()), "{} bytes", bytes.len());
            let event = read(&bytes);
            let object = &event["data"]["object"];
            assert_eq!(event["id"], writer.id(Id::Event, 7));
            assert_eq!(event["type"], "issuing_authorization.request");
            assert_eq!(object["id"], writer.id(Id::Authorization, story.authorization.number));
            assert_eq!(object["card"]["id"], writer.id(Id::Card, story.authorization.purchase.card.number));
            assert_eq!(object["amount"], 0);
            assert_eq!(object["pending_request"]["amount"], asked);
            assert_eq!(object["pending_request"]["currency"], object["card"]["currency"]);
            assert_eq!(object["request_history"], serde_json::json!([]));
        }
    }

    #[test]
    fn what_happened_is_told_with_its_history_and_its_transactions() {
        let writer = Writer::new(1);
        for mut story in stories() {
            story.decided(500, Verdict::Approved(500), 1_790_000_002);
            let capture = Transaction {
                number: 3,
                is_refund: false,
                amount: -500,
                is_linked: true,
                created: 1_790_000_003,
            };
            story.authorization.settled(capture, true);
            let updated = read(&writer.event(8, Subject::Updated, &story.authorization, 1_790_000_003));
            let object = &updated["data"]["object"];
            assert_eq!(object["status"], "closed");
            assert_eq!(object["request_history"][0]["reason"], "webhook_approved");
            assert_eq!(object["transactions"][0]["amount"], -500);
            assert!(object["pending_request"].is_null());
            assert!(!updated["data"]["previous_attributes"].is_null());
            let told =
                read(&writer.event(9, Subject::Transaction(capture), &story.authorization, 1_790_000_003));
            assert_eq!(told["data"]["object"]["id"], writer.id(Id::Transaction, 3));
            assert_eq!(told["data"]["object"]["authorization"], object["id"]);
            assert_eq!(told["data"]["object"]["card"], object["card"]["id"]);
        }
    }
}
