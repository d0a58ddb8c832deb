//! The end of an audit: a node's books, as its admin API tells them, beside Stripe's. All cards are compared; of the
//! authorizations those that could go wrong most easily, and some of the others.
#![allow(clippy::indexing_slicing, reason = "a JSON value that lacks a name gives null for it")]

use serde_json::Value;

use super::{Auditor, Expected, Kind, Position};
use crate::{
    admin::Books,
    budgets::{Account, Share},
    events::{Id, Writer},
    record,
};

/// How many authorizations are compared, beside those that must be.
const SAMPLE: usize = 2_000;

/// How many of those that must be compared are.
const SUSPECTS_MAX: usize = 20_000;

/// How long before a kill an answer is one that could get lost.
const BEFORE_KILL_US: u64 = 2_000_000;

impl Auditor {
    /// Compares, and says what was found over the whole run. `kills_us` is when nodes ended without warning.
    ///
    /// # Errors
    /// The books cannot be read: why.
    pub fn close(
        mut self,
        admin: Option<&mut impl Books>,
        ids: &Writer,
        kills_us: &[u64],
    ) -> Result<record::Audit, String> {
        let mut audit = record::Audit::default();
        if let Some(shared) = &mut self.shared {
            shared.hear();
        }
        self.calm_all();
        // Without one, the verdict warns.
        if let Some(admin) = admin {
            audit.cards_compared = Some(self.compare_cards(admin, ids, &mut audit.notes)?);
            if self.shared.is_some() {
                audit.budgets_compared = Some(self.compare_budgets(admin, &mut audit.notes)?);
            }
            audit.authorizations_compared = Some(self.compare_authorizations(admin, ids, kills_us)?);
        }
        audit.decisions = self.decisions;
        audit.ambiguous = self.ambiguous;
        audit.violations =
            self.findings.counts().iter().map(|(kind, count)| (kind.as_str().to_owned(), *count)).collect();
        audit.examples = self.findings.examples().collect();
        Ok(audit)
    }

    fn compare_cards(
        &mut self,
        admin: &mut impl Books,
        ids: &Writer,
        notes: &mut Vec<String>,
    ) -> Result<u64, String> {
        let (mut compared, mut unsettled) = (0_u64, 0_u64);
        let mut numbers: Vec<u64> = self.cards.keys().copied().collect();
        numbers.sort_unstable();
        for number in numbers {
            let Some(card) = self.cards.get(&number) else { continue };
            if !card.open.is_empty() {
                unsettled = unsettled.saturating_add(1);
                continue;
            }
            let ours = card.settled;
            let id = ids.id(Id::Card, number);
            let Some(theirs) = admin.read(&format!("/v1/cards/{id}"))? else {
                if ours != Position::default() {
                    self.findings.found(
                        Kind::BooksDiffer,
                        format!("card {id}: Stripe has {ours:?}, the node nothing"),
                    );
                }
                continue;
            };
            compared = compared.saturating_add(1);
            if position(&theirs) != ours {
                let what = format!("card {id}: Stripe has {ours:?}, the node {:?}", position(&theirs));
                self.findings.found(Kind::BooksDiffer, what);
            }
            self.compare_limits(&id, ours.used(), &theirs)?;
        }
        if unsettled > 0 {
            notes.push(format!(
                "{unsettled} cards were not compared: something about them was still on its way"
            ));
        }
        Ok(compared)
    }

    /// The limits must be those that we judge by, and what remains of them must be what our books say.
    fn compare_limits(&mut self, card: &str, used: i64, theirs: &Value) -> Result<(), String> {
        let named = [
            ("per_authorization", self.limits.per_authorization),
            ("daily", self.limits.daily),
            ("all_time", self.limits.all_time),
        ];
        let ours: Vec<(&str, i64)> = named.into_iter().filter_map(|(name, max)| Some((name, max?))).collect();
        let listed = theirs["limits"].as_array().cloned().unwrap_or_default();
        let mut found: Vec<(String, i64)> = Vec::new();
        for limit in &listed {
            let window = limit["window"].as_str().unwrap_or_default();
            found.push((window.to_owned(), limit["max"].as_i64().unwrap_or_default()));
            let is_whole_card = window != "per_authorization";
            let max = limit["max"].as_i64().unwrap_or_default();
            let expected = (used, max.saturating_sub(used).max(0));
            let told = (limit["used"].as_i64().unwrap_or(-1), limit["remaining"].as_i64().unwrap_or(-1));
            if is_whole_card && told != expected {
                let what = format!(
                    "card {card}, {window}: used and remaining are {expected:?}, the node has {told:?}"
                );
                self.findings.found(Kind::BooksDiffer, what);
            }
        }
        let mut expected: Vec<(String, i64)> =
            ours.iter().map(|(name, max)| ((*name).to_owned(), *max)).collect();
        expected.sort();
        found.sort();
        if expected == found {
            return Ok(());
        }
        Err(format!(
            "expected a node whose limits on card {card} are {expected:?}, found {found:?}: give the scenario the \
             limits of the node's policy, or the other way round"
        ))
    }

    /// What cards share: each account is the sum over its cards, and a balance what was credited beside that.
    fn compare_budgets(&mut self, admin: &mut impl Books, notes: &mut Vec<String>) -> Result<u64, String> {
        let (mut compared, mut unsettled) = (0_u64, 0_u64);
        let Some(shared) = &self.shared else { return Ok(0) };
        for (account, members) in shared.accounts() {
            let cards = members.iter().filter_map(|number| self.cards.get(number));
            let is_settled = cards.clone().all(|card| card.open.is_empty());
            let credited = match account {
                Account::Customer(customer) => shared.credited(customer),
                Account::Company | Account::Department(_) => Some(0),
            };
            let Some(credited) = credited.filter(|_| is_settled) else {
                unsettled = unsettled.saturating_add(1);
                continue;
            };
            let ours = cards.fold(Position::default(), |sum, card| sum.plus(card.settled));
            let path = format!("/v1/budgets/{}", account.name());
            let theirs = admin.read(&path)?.ok_or_else(|| {
                format!(
                    "expected a node whose policy has the budgets of the scenario, found one without {path}"
                )
            })?;
            compared = compared.saturating_add(1);
            let mut differ = |what: String| {
                self.findings.found(Kind::BooksDiffer, format!("budget {}: {what}", account.name()));
            };
            if position(&theirs) != ours {
                differ(format!("its cards have {ours:?} together, the node {:?}", position(&theirs)));
            }
            let told = |value: &Value, name: &str| value[name].as_i64().unwrap_or(i64::MIN);
            let (what, expected, found) = if let Some(max) = shared.budgets.limit(account) {
                let limit = &theirs["limits"][0];
                let found = [told(limit, "max"), told(limit, "used"), told(limit, "remaining")];
                let left = max.saturating_sub(ours.used()).max(0);
                ("limit, used and remaining", [max, ours.used(), left], found)
            } else {
                let found = [told(&theirs, "credits"), told(&theirs, "available"), 0];
                ("credited and available", [credited, credited.saturating_sub(ours.net()), 0], found)
            };
            if found != expected {
                differ(format!("{what} are {expected:?}, the node has {found:?}"));
            }
        }
        if unsettled > 0 {
            notes.push(format!(
                "{unsettled} budgets were not compared: something about their cards was still on its way"
            ));
        }
        Ok(compared)
    }

    fn compare_authorizations(
        &mut self,
        admin: &mut impl Books,
        ids: &Writer,
        kills_us: &[u64],
    ) -> Result<u64, String> {
        let is_suspect = |expected: &Expected| {
            expected.was_late
                || expected.acknowledged.iter().any(|one| {
                    kills_us.iter().any(|kill_us| {
                        (kill_us.saturating_sub(BEFORE_KILL_US)..=*kill_us).contains(&one.at_us)
                    })
                })
        };
        let (suspects, others): (Vec<Expected>, Vec<Expected>) =
            std::mem::take(&mut self.expected).into_iter().partition(is_suspect);
        let every = others.len().div_ceil(SAMPLE).max(1);
        let chosen = suspects.iter().take(SUSPECTS_MAX).chain(others.iter().step_by(every));
        let mut compared = 0_u64;
        for expected in chosen {
            let id = ids.id(Id::Authorization, expected.authorization);
            let theirs = admin.read(&format!("/v1/authorizations/{id}"))?;
            compared = compared.saturating_add(1);
            self.compare_authorization(&id, expected, theirs.as_ref());
        }
        Ok(compared)
    }

    fn compare_authorization(&mut self, id: &str, expected: &Expected, theirs: Option<&Value>) {
        let decisions =
            theirs.and_then(|theirs| theirs["decisions"].as_array()).map_or(&[][..], Vec::as_slice);
        for acknowledged in &expected.acknowledged {
            let is_there = decisions.iter().any(|decision| {
                let is_approval = decision["outcome"] != "declined";
                let is_same = acknowledged.decision.as_ref().is_none_or(|id| decision["id"] == id.as_str());
                is_same && is_approval == acknowledged.granted.is_some()
            });
            if !is_there {
                let what = format!(
                    "authorization {id}: {acknowledged:?} is not among its {} decisions",
                    decisions.len()
                );
                self.findings.found(Kind::DecisionMissing, what);
            }
        }
        if let Some(share) = expected.share {
            self.compare_legs(id, share, decisions);
        }
        let Some(theirs) = theirs else {
            if expected.acknowledged.is_empty() {
                self.findings
                    .found(Kind::BooksDiffer, format!("authorization {id}: the node does not know it"));
            }
            return;
        };
        let (ours, booked) = (expected.position, position(theirs));
        let is_decided_alike = booked.held == ours.held
            && theirs["status"] == expected.status.as_str()
            && theirs["approved"] == expected.approved;
        if !is_decided_alike || booked != ours {
            let is_late = expected.was_late && !is_decided_alike;
            let kind = if is_late { Kind::LateAnswerCounted } else { Kind::BooksDiffer };
            let what = format!(
                "authorization {id}: Stripe has {:?}, {}, approved {}; the node has {:?}, {}, approved {}",
                ours,
                expected.status.as_str(),
                expected.approved,
                booked,
                theirs["status"],
                theirs["approved"],
            );
            self.findings.found(kind, what);
        }
    }
}

impl Auditor {
    /// What was approved by the policy was looked at on the card and on all accounts that it shares.
    fn compare_legs(&mut self, id: &str, share: Share, decisions: &[Value]) {
        let shared = share.accounts().into_iter().map(|account| format!("budget:{}", account.name()));
        let expected: Vec<String> = std::iter::once("card".to_owned()).chain(shared).collect();
        let by_policy = decisions
            .iter()
            .filter(|decision| decision["source"] == "policy" && decision["outcome"] != "declined");
        for decision in by_policy {
            let legs = decision["legs"].as_array().map_or(&[][..], Vec::as_slice);
            if legs.len() != expected.len()
                || !legs.iter().zip(&expected).all(|(leg, one)| *leg == one.as_str())
            {
                let what = format!("authorization {id}: expected the legs {expected:?}, found {legs:?}");
                self.findings.found(Kind::BooksDiffer, what);
            }
        }
    }
}

fn position(books: &Value) -> Position {
    let amount = |name: &str| books[name].as_i64().unwrap_or(i64::MIN);
    Position { held: amount("held"), captured: amount("captured"), refunded: amount("refunded") }
}
