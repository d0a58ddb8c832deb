//! Events as Stripe sends them, and what the engine reads in each: one line an event.

use std::{fmt::Write as _, fs, path::PathBuf};

use tollgate::{
    domain::{AuthorizationRequest, Fact, Observation, Timestamp},
    stripe::{Incoming, Reading, read},
};

pub(crate) fn fixture(name: &str) -> Vec<u8> {
    let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "tests/fixtures/stripe", name].iter().collect();
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

pub(crate) fn fixture_names() -> Vec<String> {
    let folder: PathBuf = [env!("CARGO_MANIFEST_DIR"), "tests/fixtures/stripe"].iter().collect();
    let mut names: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

const RECEIVED_AT: Timestamp = Timestamp::from_micros(1_790_000_001_000_042);

#[test]
fn every_fixture_is_read_as_what_it_is() {
    let check = |name: &str, expected: &str| {
        let incoming = read(&fixture(&format!("{name}.json")), RECEIVED_AT, &Reading::default())
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(told(&incoming), expected, "{name}");
    };
    check(
        "request-01-purchase",
        "request iauth_composed0001 on ic_1Pgag5B7WZ01zgkWephORn8N asks 42.00 USD, before 0 in 0, at computer_software_stores US 1234567890, not_present",
    );
    check(
        "request-02-foreign-currency",
        "request iauth_composed0002 on ic_1Pgag5B7WZ01zgkWephORn8N asks 4.00 USD, before 0 in 0, at taxicabs_limousines GB 1234567890, not_present",
    );
    check(
        "request-03-increment",
        "request iauth_composed0003 on ic_1Pgag5B7WZ01zgkWephORn8N asks 8.00 USD, before 4200 in 1, at hotels_motels_and_resorts US 1234567890, not_present",
    );
    check(
        "request-04-fuel-dispenser-controllable",
        "request iauth_composed0004 on ic_1Pgag5B7WZ01zgkWephORn8N asks 1.00 USD controllable, before 0 in 0, at automated_fuel_dispensers US 1234567890, present",
    );
    check(
        "request-05-cashback-controllable",
        "request iauth_composed0005 on ic_1Pgag5B7WZ01zgkWephORn8N asks 60.00 USD controllable cash 2000, before 0 in 0, at grocery_stores_supermarkets US 1234567890, present",
    );
    check(
        "request-06-atm",
        "request iauth_composed0006 on ic_1Pgag5B7WZ01zgkWephORn8N asks 203.00 USD, before 0 in 0, at automated_cash_disburse US 1234567890, present",
    );
    check(
        "request-07-connect-minimal",
        "request iauth_minimal on ic_minimal asks 42.50 EUR, before 0 in 0, at florists NL -, not_present, for acct_florist",
    );
    check(
        "request-08-pending-request-null",
        "request iauth_nothingasked on ic_nothingasked breaks the contract: no_amount",
    );
    check("request-09-legacy-2018", "request iauth_legacy on ic_legacy breaks the contract: legacy_shape");
    check(
        "request-10-private-preview",
        "request iauth_preview on ic_preview asks 77.00 USD, before 0 in 0, at computer_software_stores US 0042133700, present, challenged, live",
    );
    check(
        "request-11-spending-controls",
        "request iauth_controlled on ic_controlled of travel asks 12.00 USD, before 0 in 0, at book_stores US 0042133700, not_present",
    );
    check(
        "request-12-card-as-id",
        "request iauth_plain on ic_plain asks 5.00 USD, before 1500 in 2, at book_stores US 0042133700, present",
    );
    check(
        "authorization-created-approved",
        "created iauth_approved on ic_approved: 88.00 USD approved pending, 0 transactions, history 8800 yes webhook_approved @1790000003",
    );
    check(
        "authorization-created-declined-by-stripe",
        "created iauth_fraud on ic_fraud: 640.00 USD rejected closed, 0 transactions, history 64000 no suspected_fraud @1789999999",
    );
    check(
        "authorization-updated-reversed",
        "updated iauth_reversed on ic_reversed: 0.00 USD approved reversed, 0 transactions, history",
    );
    check(
        "authorization-updated-history-newest-first",
        "updated iauth_tour on ic_tour: 30.00 USD approved closed, 2 transactions, history 2000 yes unknown @1790000100 1000 yes network_fallback @1790000200 900 no webhook_timeout @1790000300",
    );
    check("authorization-updated-legacy-2018", "issuing_authorization.updated not booked: legacy_shape");
    check(
        "transaction-created-capture",
        "created ipi_capture on ic_capture: capture -12345 -, iauth_capture @1790086400",
    );
    check(
        "transaction-created-refund",
        "created ipi_refund on ic_refund: refund 2500 usd, iauth_refund @1790086400",
    );
    check(
        "transaction-created-force-capture",
        "created ipi_forced on ic_forced: capture -990 usd, - @1790086400",
    );
    check(
        "transaction-receipt-updated",
        "updated ipi_receipt on ic_receipt: capture -4000 usd, iauth_receipt @1790086400",
    );
    check("transaction-created-without-card", "issuing_transaction.created not booked: no_card");
    check("card-created-replacement", "created card ic_new in eur, inactive, replaces ic_old");
    check("card-updated-canceled", "updated card ic_gone, inactive");
    check("token-created", "issuing_token.created names ic_watch");
    check("cardholder-updated", "updated cardholder ich_margaret, active");
    check("dispute-created", "issuing_dispute not booked: not_ours");
}

/// An event in one line.
fn told(incoming: &Incoming) -> String {
    match incoming {
        Incoming::Request(request) => told_request(request),
        Incoming::Observation(observation) => told_observation(observation),
        Incoming::Acknowledged { kind, cause, .. } => {
            format!("{} not booked: {}", kind.as_str(), cause.as_str())
        }
    }
}

fn told_request(request: &AuthorizationRequest) -> String {
    let mut line = format!("request {} on ", request.authorization);
    line += request.card.as_ref().map_or("no card", |card| card.as_str());
    if let Some(group) = &request.group {
        write!(line, " of {group}").unwrap();
    }
    let asked = match request.asked {
        Ok(asked) => asked,
        Err(violation) => return format!("{line} breaks the contract: {}", violation.as_str()),
    };
    write!(line, " asks {asked}").unwrap();
    if request.is_amount_controllable {
        line += " controllable";
    }
    if request.cashback > 0 {
        write!(line, " cash {}", request.cashback).unwrap();
    }
    write!(line, ", before {} in {}", request.approved_before, request.history_entries).unwrap();
    let merchant = &request.merchant;
    let country = merchant.country.map_or("-".to_owned(), |country| country.to_string());
    let network_id = merchant.network_id.as_ref().map_or("-", |id| id.as_str());
    write!(line, ", at {} {country} {network_id}", merchant.category.as_str()).unwrap();
    write!(line, ", {}", request.card_presence.map_or("-", |presence| presence.as_str())).unwrap();
    for (told, text) in [(request.verified_by_fraud_challenge, ", challenged"), (request.livemode, ", live")]
    {
        line += if told { text } else { "" };
    }
    if let Some(account) = &request.connected_account {
        write!(line, ", for {account}").unwrap();
    }
    line
}

fn told_observation(observation: &Observation) -> String {
    let card = &observation.subject;
    let word = |is_update| if is_update { "updated" } else { "created" };
    match &observation.fact {
        Fact::Authorization(seen) => {
            let approved = if seen.approved { "approved" } else { "rejected" };
            let mut line =
                format!("{} {} on {card}: {} {approved}", word(seen.is_update), seen.id, seen.amount);
            write!(line, " {}, {} transactions, history", seen.status, seen.transactions).unwrap();
            for entry in &seen.history {
                let approved = if entry.approved { "yes" } else { "no" };
                let (amount, at) = (entry.amount, entry.created.as_seconds());
                write!(line, " {amount} {approved} {} @{at}", entry.reason).unwrap();
            }
            line
        }
        Fact::Transaction(seen) => {
            let currency = seen.currency.map_or("-".to_owned(), |currency| currency.to_string());
            let authorization = seen.authorization.as_ref().map_or("-", |id| id.as_str());
            let head = format!("{} {} on {card}: {}", word(seen.is_update), seen.id, seen.kind.as_str());
            format!("{head} {} {currency}, {authorization} @{}", seen.amount, seen.created.as_seconds())
        }
        Fact::Card(seen) => {
            let mut line = format!("{} card {card}", word(seen.is_update));
            if let Some(group) = &seen.group {
                write!(line, " of {group}").unwrap();
            }
            if let Some(currency) = seen.currency {
                write!(line, " in {currency}").unwrap();
            }
            line += if seen.is_active { ", active" } else { ", inactive" };
            if let Some(old) = &observation.replacement_for {
                write!(line, ", replaces {old}").unwrap();
            }
            line
        }
        Fact::Cardholder(seen) => {
            let group = seen.group.as_ref().map(|group| format!(" of {group}")).unwrap_or_default();
            let status = if seen.is_active { "active" } else { "inactive" };
            format!("{} cardholder {card}{group}, {status}", word(seen.is_update))
        }
        Fact::Other(event_type) => format!("{} names {card}", event_type.as_str()),
    }
}
