//! From entries of the journal to the events that an endpoint gets. What follows from an entry has the same id each time, so
//! that a receiver knows a repeated event.

use sha2::{Digest as _, Sha256};

use super::endpoint::{Endpoint, Kind, Traits};
use crate::{
    cluster::{Cluster, DecisionView},
    domain::{
        Account, AuthorizationId, Decided, Event, Fact, Outcome, PolicyEvent, PolicyRecord, PolicyStep,
        PolicyVersion, Source, Timestamp, Warned,
    },
    journal::Entry,
    ledger,
};

/// Something that happened, for an endpoint.
pub(super) struct Notice {
    /// The same each time that it is sent.
    pub(super) id: String,
    pub(super) kind: Kind,
    pub(super) at: Timestamp,
    /// Whether it is about real money, where it says so.
    pub(super) livemode: Option<bool>,
    pub(super) subject: Subject,
}

/// What an event is about.
pub(super) enum Subject {
    Decision(Box<DecisionView>),
    Difference(Box<Difference>),
    Budget(Account, Warned),
    /// Behind the version that was in force before.
    Policy(PolicyRecord, Option<PolicyVersion>),
}

/// A request of which Stripe did something else than was answered.
pub(super) struct Difference {
    pub(super) authorization: AuthorizationId,
    pub(super) decision: DecisionView,
    pub(super) approved: bool,
    /// Stripe's word for why.
    pub(super) reason: String,
    /// When, by Stripe's clock.
    pub(super) at: Timestamp,
}

impl Notice {
    fn new(kind: Kind, key: &str, at: Timestamp, livemode: Option<bool>, subject: Subject) -> Self {
        Self { id: id(kind, key), kind, at, livemode, subject }
    }

    fn of(kind: Kind, view: &DecisionView) -> Self {
        let Decided { request, decision } = &view.decided;
        let (key, livemode) = (decision.id.to_string(), Some(request.livemode));
        Self::new(kind, &key, decision.at, livemode, Subject::Decision(Box::new(view.clone())))
    }
}

/// `tev_` and 32 hexadecimal digits.
pub(super) fn id(kind: Kind, key: &str) -> String {
    let digest = Sha256::digest(format!("{} {key}", kind.as_str()));
    let digits = hex::encode(digest);
    format!("tev_{}", digits.get(..32).unwrap_or(&digits))
}

/// The text in an entry without which it has no event of this kind: nearly all entries are passed over unread.
const fn mark(kind: Kind) -> Option<&'static str> {
    match kind {
        Kind::Declined => Some("\"outcome\":\"declined\""),
        Kind::Flagged => Some("\"flags\":["),
        Kind::StandIn => Some("{\"stood_in\":"),
        Kind::Differed => Some("\"differs\":true"),
        Kind::Warned => Some("{\"warned\":"),
        Kind::PolicyChanged => Some("{\"policy\":"),
        Kind::Test => None,
    }
}

/// Whether an entry may have events for this endpoint.
pub(super) fn may_have(entry: &Entry, endpoint: &Endpoint) -> bool {
    let wanted = Kind::ALL.into_iter().filter(|kind| endpoint.wants(*kind));
    wanted.filter_map(mark).any(|mark| entry.body.contains(mark))
}

/// The events of an entry that this endpoint gets.
///
/// # Errors
/// Why the journal cannot be read.
pub(super) async fn notices(
    entry: &Entry,
    endpoint: &Endpoint,
    cluster: &Cluster,
) -> Result<Vec<Notice>, String> {
    let events = ledger::read(entry).map_err(|cause| cause.to_string())?;
    // What was copied from the chain of another card has had its events there.
    let is_copy = events.iter().any(|event| matches!(event, Event::Carried(_)));
    let mut found = Vec::new();
    for event in events {
        match event {
            Event::Decided(decided) if !is_copy => {
                found.extend(of_decision(endpoint, view(*decided, entry.at)));
            }
            Event::StoodIn(decided) if !is_copy => {
                let view = view(*decided, entry.at);
                if endpoint.wants(Kind::StandIn) && takes(endpoint, &view.decided) {
                    found.push(Notice::of(Kind::StandIn, &view));
                }
            }
            Event::Observed(observation) if !is_copy => {
                if let Fact::Authorization(seen) = observation.fact
                    && seen.differs
                    && endpoint.wants(Kind::Differed)
                {
                    found.extend(differences(endpoint, cluster, &seen.id).await?);
                }
            }
            Event::Budget(event) => {
                if let crate::domain::BudgetEvent::Warned(warned) = *event {
                    found.extend(of_budget(endpoint, &entry.account, warned));
                }
            }
            Event::Policy(record) if endpoint.wants(Kind::PolicyChanged) => {
                if let PolicyEvent::InForce(record) = *record {
                    found.extend(of_policy(cluster, record).await?);
                }
            }
            Event::Decided(_)
            | Event::StoodIn(_)
            | Event::Observed(_)
            | Event::Recalled(_)
            | Event::Joined(_)
            | Event::Carried(_)
            | Event::Controls(_)
            | Event::Charges(_)
            | Event::Command(_)
            | Event::Policy(_)
            | Event::Delivered(_)
            | Event::Snapshot(_) => {}
        }
    }
    Ok(found)
}

const fn view(decided: Decided, written_at: Timestamp) -> DecisionView {
    DecisionView { decided, written_at }
}

fn of_decision(endpoint: &Endpoint, view: DecisionView) -> impl Iterator<Item = Notice> {
    let decision = &view.decided.decision;
    let is_declined = decision.outcome == Outcome::Declined && decision.source == Source::Policy;
    let is_flagged = decision.ruled.as_ref().is_some_and(|ruled| !ruled.marks.flags.is_empty());
    let is_taken = takes(endpoint, &view.decided);
    let kinds = [(Kind::Declined, is_declined), (Kind::Flagged, is_flagged)];
    let kinds = kinds.map(|(kind, applies)| (applies && is_taken && endpoint.wants(kind)).then_some(kind));
    kinds.into_iter().flatten().map(move |kind| Notice::of(kind, &view))
}

/// Whether a decision passes the filter of an endpoint.
fn takes(endpoint: &Endpoint, decided: &Decided) -> bool {
    let Decided { request, decision } = decided;
    let budgets = decision.limits.iter().filter_map(|limit| limit.account.as_ref());
    endpoint.filter.takes(&Traits {
        budgets: Some(budgets.collect()),
        group: Some(request.group.as_deref().unwrap_or_default()),
        reason: Some(decision.reason),
        amount: request.asked.ok().map(|asked| asked.amount),
    })
}

fn of_budget(endpoint: &Endpoint, account: &Account, warned: Warned) -> Option<Notice> {
    let traits = Traits { budgets: Some(vec![account]), ..Traits::default() };
    if !endpoint.wants(Kind::Warned) || !endpoint.filter.takes(&traits) {
        return None;
    }
    let at = warned.at;
    let key = format!("{account} {} {}", at.as_micros(), warned.percent);
    Some(Notice::new(Kind::Warned, &key, at, None, Subject::Budget(account.clone(), warned)))
}

/// Each node records what it puts in force: one event for all of them.
async fn of_policy(cluster: &Cluster, record: PolicyRecord) -> Result<Option<Notice>, String> {
    if matches!(record.step, PolicyStep::Proposed(_)) {
        return Ok(None);
    }
    let mut records = cluster.policies().await?;
    records.retain(|known| !matches!(known.step, PolicyStep::Proposed(_)));
    let is_it = |known: &PolicyRecord| known.at == record.at && known.node == record.node;
    let place = records.iter().position(is_it).unwrap_or(records.len());
    let before = records.get(..place).unwrap_or_default().last().map(|known| known.version.clone());
    if before.as_ref() == Some(&record.version) {
        return Ok(None);
    }
    let (at, key) = (record.at, format!("{} {} {}", record.version.as_str(), record.node, record.at));
    Ok(Some(Notice::new(Kind::PolicyChanged, &key, at, None, Subject::Policy(record, before))))
}

/// What Stripe did with the requests of an authorization, where that is something else than was answered.
async fn differences(
    endpoint: &Endpoint,
    cluster: &Cluster,
    id: &AuthorizationId,
) -> Result<Vec<Notice>, String> {
    let Some(view) = cluster.authorization(id).await? else { return Ok(Vec::new()) };
    let outcomes = view.record.outcomes().filter(|outcome| outcome.agrees() == Some(false));
    let found = outcomes.filter_map(|outcome| {
        let ours = outcome.ours?.answer.decision;
        let decision = view.decisions.iter().find(|known| known.decided.decision.id == ours)?;
        if !takes(endpoint, &decision.decided) {
            return None;
        }
        let difference = Difference {
            authorization: id.clone(),
            decision: decision.clone(),
            approved: outcome.entry.approved,
            reason: outcome.entry.reason_today().to_owned(),
            at: outcome.entry.created,
        };
        let (key, at) = (format!("{ours} {}", difference.approved), difference.at);
        let livemode = Some(decision.decided.request.livemode);
        Some(Notice::new(Kind::Differed, &key, at, livemode, Subject::Difference(Box::new(difference))))
    });
    Ok(found.collect())
}
