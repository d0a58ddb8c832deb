//! Deciding a journal again: each answer that a policy gave, from the state and under the policy that it was given on. No
//! I/O: entries go in, in the order of the journal.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    sync::Arc,
};

use crate::{
    config::policy_file,
    domain::{
        Account, Decided, Decision, Event, Policy, PolicyEvent, PolicyRecord, PolicyVersion, Source,
        Timestamp,
    },
    journal::Entry,
    trial::{Chains, Ended, Read, Undecided, in_order, is_carried},
};

/// Differences that a report shows; all are counted.
const DIFFERENCES_SHOWN_MAX: usize = 20;

/// What came of deciding a journal again.
#[derive(Debug, Default)]
pub struct Verified {
    /// Entries that were read.
    pub entries: u64,
    /// Chains with requests in them.
    pub cards: usize,
    /// Policies that were ever in force.
    pub policies: Vec<PolicyVersion>,
    /// Requests that a policy decided.
    pub requests: u64,
    /// How many of them got the same answer again.
    pub equal: u64,
    /// Requests that were answered without the ledger: there is nothing to decide again.
    pub stand_ins: u64,
    /// When the first and the last entry were written.
    pub period: Option<(Timestamp, Timestamp)>,
    /// The first of those that got another answer.
    pub differences: Vec<Difference>,
}

/// A request that got another answer than the journal has.
#[derive(Debug)]
pub struct Difference {
    /// The entry that holds it.
    pub lsn: u64,
    /// The request and its recorded answer.
    pub recorded: Box<Decided>,
    /// What came out instead.
    pub again: Again,
}

/// What came out in place of the recorded answer.
#[derive(Debug)]
pub enum Again {
    /// Another decision.
    Decided(Box<Decision>),
    /// No decision: the journal does not hold the policy.
    NoPolicy,
    /// No decision: the journal does not hold the `spending_controls` that the request carried.
    NoControls,
}

/// A recorded policy that is none.
#[derive(Debug, thiserror::Error)]
#[error("policy {version} in entry {lsn} cannot be read: {mistake}")]
pub struct NotAPolicy {
    /// Its place in the journal.
    pub lsn: u64,
    /// Its version.
    pub version: String,
    /// The first mistake.
    pub mistake: String,
}

/// One pass over a journal. Where a policy has a window that reaches further back than what a card keeps, as happens when a
/// limit is added, the card's whole history is needed: [`Pass::end`] says so, and a second pass keeps it.
#[derive(Default)]
pub struct Pass {
    policies: HashMap<PolicyVersion, Arc<Policy>>,
    chains: Chains,
    with_requests: HashSet<Account>,
    with_history: HashSet<Account>,
    verified: Verified,
}

impl Pass {
    /// A pass over a journal; `policies` are those that it need not hold itself.
    pub fn new(policies: impl IntoIterator<Item = Arc<Policy>>) -> Self {
        let known = policies.into_iter().map(|policy| (policy.version().clone(), policy)).collect();
        Self { policies: known, ..Self::default() }
    }

    /// Takes the entries of the next append, with their events.
    ///
    /// # Errors
    /// [`NotAPolicy`]: it holds a policy that this build cannot read.
    pub(super) fn take(&mut self, group: &[Read]) -> Result<(), NotAPolicy> {
        let Verified { entries, period, .. } = &mut self.verified;
        for (entry, _) in group {
            *entries = entries.saturating_add(1);
            *period = Some((period.map_or(entry.at, |(first, _)| first), entry.at));
        }
        let are_carried: Vec<bool> = group.iter().map(|(_, events)| is_carried(events)).collect();
        for (place, event) in in_order(group) {
            let Some((entry, _)) = group.get(place) else { continue };
            let is_carried = are_carried.get(place).copied().unwrap_or(false);
            match event {
                Event::Policy(event) => {
                    if let PolicyEvent::InForce(record) = &**event {
                        self.learn(entry.lsn, record)?;
                    }
                }
                Event::Decided(decided) if !is_carried => self.check(entry, decided),
                Event::StoodIn(_) => {
                    self.verified.stand_ins = self.verified.stand_ins.saturating_add(1);
                }
                Event::Decided(_)
                | Event::Observed(_)
                | Event::Recalled(_)
                | Event::Joined(_)
                | Event::Carried(_)
                | Event::Controls(_)
                | Event::Charges(_)
                | Event::Command(_)
                | Event::Budget(_)
                | Event::Delivered(_)
                | Event::Snapshot(_) => {}
            }
            self.chains.apply(&entry.account, event);
        }
        Ok(())
    }

    /// Ends the pass.
    #[must_use]
    pub fn end(self) -> Ended<Self, Verified> {
        let Self { policies, with_requests, mut with_history, chains, mut verified } = self;
        if chains.missed.is_empty() {
            verified.cards = with_requests.len();
            verified.policies = policies.into_keys().collect();
            return Ended::Found(Box::new(verified));
        }
        with_history.extend(chains.missed);
        let chains = Chains::new(with_history.clone(), false);
        Ended::Again(Self { policies, chains, with_history, ..Self::default() })
    }

    fn learn(&mut self, lsn: u64, record: &PolicyRecord) -> Result<(), NotAPolicy> {
        let Some(text) = &record.text else { return Ok(()) };
        let parsed = policy_file::read(text).map_err(|mistakes| NotAPolicy {
            lsn,
            version: record.version.as_str().to_owned(),
            mistake: mistakes.first().map(ToString::to_string).unwrap_or_default(),
        })?;
        self.policies.insert(record.version.clone(), Arc::new(parsed.policy));
        Ok(())
    }

    fn check(&mut self, entry: &Entry, decided: &Decided) {
        let Decided { request, decision } = decided;
        if decision.source != Source::Policy {
            return;
        }
        self.with_requests.insert(entry.account.clone());
        let again = match self.policies.get(&decision.policy).cloned() {
            None => Some(Again::NoPolicy),
            Some(policy) => match self.chains.decide(&entry.account, &policy, request) {
                Ok(again) => {
                    // How long it took, and by which way it left, is no part of the answer.
                    let Decision { stages, answer_by, turn, .. } = *decision;
                    let again = Decision { answer_by, stages, turn, ..again };
                    (again != *decision).then(|| Again::Decided(Box::new(again)))
                }
                Err(Undecided::NoControls) => Some(Again::NoControls),
                Err(Undecided::NeedsHistory) => return,
            },
        };
        let Verified { requests, equal, differences, .. } = &mut self.verified;
        *requests = requests.saturating_add(1);
        match again {
            None => *equal = equal.saturating_add(1),
            Some(again) if differences.len() < DIFFERENCES_SHOWN_MAX => {
                let recorded = Box::new(decided.clone());
                differences.push(Difference { lsn: entry.lsn, recorded, again });
            }
            Some(_) => {}
        }
    }
}

impl Verified {
    /// Whether every answer is the recorded one.
    #[must_use]
    pub const fn is_equal(&self) -> bool {
        self.equal == self.requests
    }
}

/// One line: which request, what is recorded, and what came out.
impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Decided { request, decision } = &*self.recorded;
        let said = |decision: &Decision| {
            format!("{} {} ({})", decision.outcome.as_str(), decision.granted, decision.reason.as_str())
        };
        write!(f, "entry {}: {} of {}: ", self.lsn, decision.id, request.authorization)?;
        match &self.again {
            Again::NoPolicy => write!(f, "the journal has no policy {}", decision.policy.as_str()),
            Again::NoControls => f.write_str(
                "the journal has no `spending_controls` with the fingerprint that the request carried",
            ),
            Again::Decided(again) if said(again) == said(decision) => {
                write!(f, "{} both times, with other numbers: {again:?}, not {decision:?}", said(again))
            }
            Again::Decided(again) => write!(f, "recorded {}, now {}", said(decision), said(again)),
        }
    }
}
