//! What is true of a card from now on. The books of a card are the fold of its events, and nothing else.

use std::sync::Arc;

use super::{
    attribution::Attribution,
    authorization::Authorization,
    budget::BudgetEvent,
    card::{Card, Unlinked},
    controls::Controls,
    decision::Decision,
    exception::Command,
    ids::{Account, AuthorizationId, CardId, TransactionId},
    observed::Observation,
    policy::PolicyVersion,
    request::AuthorizationRequest,
    time::Timestamp,
    trial::{ShadowFound, ShadowRecord},
};

/// One fact in a card's books.
#[derive(Clone, PartialEq, Debug)]
pub enum Event {
    /// A question, and our answer on the books.
    Decided(Box<Decided>),
    /// A question, and the answer that was given in place of a decision. It voids what was decided on the same
    /// question: the stand-in's answer is the one that Stripe has.
    StoodIn(Box<Decided>),
    /// What Stripe says happened.
    Observed(Box<Observation>),
    /// What the books had evicted, and that is spoken of again.
    Recalled(Box<Recalled>),
    /// The card replaces another: its purchases go on in that one's books.
    Joined(Joined),
    /// What was booked on a card before it was known to replace another.
    Carried(Box<Carried>),
    /// The `spending_controls` at Stripe of the card and its cardholder, where the policy mirrors them: from here on the
    /// requests of the chain carry these.
    Controls(Arc<Controls>),
    /// The budgets that the card charges from here on: an authorization charges those in force when it is first counted.
    Charges(Arc<[Account]>),
    /// What an operator does to a card.
    Command(Box<Command>),
    /// What happened to a budget. It stands in the chain of the budget, and changes no card.
    Budget(Box<BudgetEvent>),
    /// What happened to policies. It stands in a chain of its own, and changes no card.
    Policy(Box<PolicyEvent>),
    /// An endpoint has all events up to an entry. It stands in a chain of the endpoint, and changes no card.
    Delivered(Delivered),
    /// The whole state after everything before it.
    Snapshot(Box<Card>),
}

impl Event {
    /// What an operator does, to a card or to a budget.
    #[must_use]
    pub fn command(&self) -> Option<&Command> {
        match self {
            Self::Command(command) => Some(command),
            Self::Budget(event) => match &**event {
                BudgetEvent::Command(command) => Some(command),
                BudgetEvent::Leg(_) | BudgetEvent::Warned(_) | BudgetEvent::Snapshot(_) => None,
            },
            Self::Decided(_)
            | Self::StoodIn(_)
            | Self::Observed(_)
            | Self::Recalled(_)
            | Self::Joined(_)
            | Self::Carried(_)
            | Self::Controls(_)
            | Self::Charges(_)
            | Self::Policy(_)
            | Self::Delivered(_)
            | Self::Snapshot(_) => None,
        }
    }
}

/// How far an endpoint of outgoing webhooks has the events of the journal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Delivered {
    /// The endpoint, by its name.
    pub endpoint: Arc<str>,
    /// The log sequence number of the last entry of which nothing is to be sent any more.
    pub through: u64,
    /// When this was recorded.
    pub at: Timestamp,
}

/// What happens to policies.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PolicyEvent {
    /// One was put in force, or is proposed.
    InForce(PolicyRecord),
    /// A candidate is tried beside it, or none is any more.
    Shadow(ShadowRecord),
    /// What a node found of the candidate.
    Found(ShadowFound),
}

/// A policy that was put in force, or is proposed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PolicyRecord {
    /// Which policy.
    pub version: PolicyVersion,
    /// When.
    pub at: Timestamp,
    /// The node that did it.
    pub node: Arc<str>,
    /// Where the text came from, such as the path of a file.
    pub origin: Arc<str>,
    /// The whole text; absent where an earlier record of this version has it.
    pub text: Option<Arc<str>>,
    /// What was done with it.
    pub step: PolicyStep,
}

/// What is done with a policy.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PolicyStep {
    /// The node puts it in force because its own settings or file say so.
    Own,
    /// The node puts it in force because it is the newest one in the journal.
    Followed,
    /// An operator puts it in force, on every node without a policy of its own.
    Put(Attribution),
    /// An operator proposes it; a second one has to approve it.
    Proposed(Attribution),
    /// A second operator approves what another one proposed: as if it was put.
    Approved(Attribution),
}

impl PolicyStep {
    /// Who did it, and why; nothing where a node did it by itself.
    #[must_use]
    pub const fn attribution(&self) -> Option<&Attribution> {
        match self {
            Self::Own | Self::Followed => None,
            Self::Put(attribution) | Self::Proposed(attribution) | Self::Approved(attribution) => {
                Some(attribution)
            }
        }
    }

    /// Whether nodes without a policy of their own follow it.
    const fn is_followed(&self) -> bool {
        match self {
            Self::Own | Self::Put(_) | Self::Approved(_) => true,
            Self::Followed | Self::Proposed(_) => false,
        }
    }
}

impl PolicyRecord {
    /// The newest policy: that of nodes without one of their own. `records` are oldest first.
    #[must_use]
    pub fn newest(records: &[Self]) -> Option<&Self> {
        records.iter().rev().find(|record| record.step.is_followed())
    }

    /// Who proposed a version, if nothing else became the newest policy since.
    #[must_use]
    pub fn proposal<'a>(records: &'a [Self], version: &PolicyVersion) -> Option<&'a Attribution> {
        let open = records.iter().rev().take_while(|record| !record.step.is_followed());
        open.filter(|record| record.version == *version).find_map(|record| match &record.step {
            PolicyStep::Proposed(attribution) => Some(attribution),
            PolicyStep::Own | PolicyStep::Followed | PolicyStep::Put(_) | PolicyStep::Approved(_) => None,
        })
    }

    /// The text of a version, which its first record has.
    #[must_use]
    pub fn text_of<'a>(records: &'a [Self], version: &PolicyVersion) -> Option<&'a Arc<str>> {
        records.iter().filter(|record| record.version == *version).find_map(|record| record.text.as_ref())
    }
}

/// A question with its answer.
#[derive(Clone, PartialEq, Debug)]
pub struct Decided {
    /// What was asked.
    pub request: Arc<AuthorizationRequest>,
    /// What was answered.
    pub decision: Decision,
}

/// What came back from the journal: everything that belongs together, as its entries tell it.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Recalled {
    /// Records of authorizations.
    pub authorizations: Vec<(AuthorizationId, Authorization)>,
    /// Captures and refunds that name no authorization.
    pub unlinked: Vec<(TransactionId, Unlinked)>,
}

/// The step of a card into the books of the card that it replaces, so that both count against the same limits. Cards
/// of one chain share the books of the first.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Joined {
    /// The card that is replaced.
    pub card: CardId,
    /// Whether that card's books have all that was booked here before.
    pub is_carried: bool,
}

/// What was booked on a card before it joined these books. On disk the events stand before it as they are.
#[derive(Clone, PartialEq, Debug)]
pub struct Carried {
    /// Which card.
    pub from: CardId,
    /// Up to which entry of its own books.
    pub through: u64,
    /// What happened.
    pub events: Vec<Event>,
}
