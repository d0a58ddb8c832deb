//! What goes into a ledger and what comes out: messages are what happened, effects are what its shell has to do.

use std::{sync::Arc, time::Duration};

use super::{
    batch::{Waiters, Waiting},
    fold::{Folded, NotFolded},
};
use crate::{
    clock::Instant,
    domain::{
        Account, Answer, AuthorizationId, AuthorizationRequest, BudgetPolicy, CardId, CardPolicy, Command,
        Controls, Decided, DecisionId, Event, Mention, Observation, Outcome, Recalled, Stages,
    },
    journal::{self, Append, EntryId, Head, Urgency},
};

/// Somebody who waits for a reply: a value of the shell that the ledger keeps and gives back. Dropped, nobody waits.
pub trait Caller {
    /// A decision was made for it that is not durable yet.
    fn decided(&self, outcome: Outcome);
}

/// What a ledger is told.
pub enum Message<C> {
    /// Work to do on an account, in the order it came.
    Work(Account, Work<C>),
    /// The account was read from the journal.
    Loaded(Account, Result<Box<Folded>, NotFolded>),
    /// The journal was asked for what this work speaks of.
    Found {
        /// The account that it is for.
        account: Account,
        /// What waited for it.
        work: Work<C>,
        /// The number that came with the question.
        changes: u64,
        /// What the journal has.
        result: Result<Box<Recalled>, NotFolded>,
    },
    /// The append of this id has come to an end.
    Committed(EntryId, journal::Outcome),
    /// The append of this id was taken back before it was written.
    Withdrawn(EntryId),
    /// The accounts were read again, after the append of this id lost its place.
    Reloaded(EntryId, Result<Box<Reloaded>, NotFolded>),
    /// The other chain has what this account's had before it was joined to it, or not yet.
    CarriedOver(Account, Result<(), NotFolded>),
    /// A decision in the chain of this account came too late: a caller has this stand-in decision instead, and so has whoever
    /// else asked.
    Unheard(Account, Box<Decided>),
    /// A pause is over.
    Due(Timer),
    /// All accounts leave memory, if there is nothing to do.
    Leave,
    /// The accounts leave memory that had no work since then, as far as nothing waits for them.
    Sweep(Instant),
}

/// What is asked of a ledger. It may have to wait for a look into the journal.
pub enum Work<C> {
    /// Decide this.
    Request(Box<Request<C>>),
    /// Record what Stripe says.
    Observation(Box<Observed<C>>),
    /// Record a stand-in decision.
    StandIn(Box<StoodIn<C>>),
    /// Record what was recorded on a card that this one replaces.
    Carry(Box<Carry<C>>),
    /// Record what an operator does to a card or a budget.
    Operation(Box<Operation<C>>),
}

/// A request on its way.
pub struct Request<C> {
    /// What is asked.
    pub asked: Arc<AuthorizationRequest>,
    /// The stages before this one.
    pub stages: Stages,
    /// When it was sent here.
    pub queued_at: Instant,
    /// How it came from card to card.
    pub hops: Hops,
    /// Who waits, and until when.
    pub waiting: Waiting<C>,
}

/// An observation on its way.
pub struct Observed<C> {
    /// What Stripe says.
    pub observation: Observation,
    /// How it came from card to card.
    pub hops: Hops,
    /// Who waits until it is durable.
    pub caller: C,
}

/// A stand-in decision on its way into the journal.
pub struct StoodIn<C> {
    /// The decision.
    pub decided: Decided,
    /// How it came from card to card.
    pub hops: Hops,
    /// Held until it is durable; none for one that takes the place of a decision whose answer has not left.
    pub caller: Option<C>,
}

/// What was recorded on a card that was joined to this chain, on its way into it.
pub struct Carry<C> {
    /// The card.
    pub from: CardId,
    /// The events of each entry, by its sequence number in the chain that they come from.
    pub entries: Vec<(u64, Vec<Event>)>,
    /// How it came from card to card.
    pub hops: Hops,
    /// Who waits until it is durable.
    pub caller: C,
}

/// What an operator does to a card or a budget, on its way.
pub struct Operation<C> {
    /// What.
    pub command: Command,
    /// How it came from card to card.
    pub hops: Hops,
    /// Who waits until it is durable.
    pub caller: C,
}

/// How a message came from card to card.
#[derive(Clone, Default)]
pub struct Hops {
    /// Over how many.
    pub count: u8,
    /// The smallest of them.
    pub least: Option<Account>,
}

/// Accounts after a lost place, and whether the append was written after all.
pub struct Reloaded {
    /// Each account.
    pub folded: Vec<(Account, Folded)>,
    /// Whether the append is in the chains.
    pub is_written: bool,
}

/// A pause.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Timer {
    /// Until stand-in decisions that the journal did not take are tried again.
    Record,
    /// Until entries of this account are copied to the other chain again.
    CarryOver(Account),
}

/// What the shell has to do for a ledger, in order.
pub enum Effect<C> {
    /// Have this written, this soon; say [`Message::Committed`].
    Append(Append, Urgency),
    /// Take the append of this id back if it is not on its way yet; then say [`Message::Withdrawn`].
    Withdraw(EntryId),
    /// Read the account from its last snapshot on; say [`Message::Loaded`].
    Load(Account),
    /// Read the account from its first entry on; say [`Message::Loaded`].
    LoadHistory(Account, Box<History>),
    /// Read the accounts again, and look for an append in them; say [`Message::Reloaded`].
    Reload {
        /// The append.
        id: EntryId,
        /// Each account, with the last entry that was known before the append; none for one that it has no entry of.
        heads: Vec<(Account, Option<Head>)>,
    },
    /// Look for these things in the journal, and for all that belongs to them; say [`Message::Found`] with the work.
    Find {
        /// The account that the work is for.
        account: Account,
        /// Which.
        mentions: Vec<Mention>,
        /// What waits for it.
        work: Work<C>,
        /// How often what is in memory had changed.
        changes: u64,
        /// For how long at most; then it counts as not available.
        within: Option<Duration>,
    },
    /// A decision is durable: give its answer to all who wait for it.
    Release(Box<Release<C>>),
    /// Give an answer that may leave already.
    Repeat(C, Answer),
    /// What it asked for is durable.
    Receipt(C),
    /// It gets no decision, and nothing was recorded for it.
    GiveUp(C, Cause),
    /// The event names another connected account than its card's: nothing is recorded, now or later.
    Refuse(C),
    /// This work is for another account.
    HandOn(Account, Work<C>),
    /// Copy what is in the chain of this account to the chain of the card that it replaces; say [`Message::CarriedOver`].
    CarryOver(Account, CardId),
    /// Say [`Message::Due`] after so long.
    Pause(Duration, Timer),
    /// Stripe has spoken of this decision.
    Confirmed(DecisionId),
    /// The account could not be read although the journal is there.
    Failed(Account),
    /// There is nothing to do, and everything is durable: let go of the ledger.
    Leave,
    /// Something of this account to count or to log.
    Note(Account, Note),
}

/// The windows for which a whole history is read.
pub enum History {
    /// Of a card.
    Card {
        /// The policy that has them.
        policy: Arc<CardPolicy>,
        /// Stripe's own limits that it mirrors.
        controls: Option<Arc<Controls>>,
    },
    /// Of a budget.
    Budget(Arc<BudgetPolicy>),
}

/// A durable decision, and those who wait for it.
pub struct Release<C> {
    /// The account in whose chain it is.
    pub account: Account,
    /// The decision.
    pub decided: Decided,
    /// What it answers now: something recorded later may have taken its place.
    pub answer: Answer,
    /// Whether a stand-in decision has taken its place, and was counted then.
    pub is_replaced: bool,
    /// How long it took to become durable, in microseconds.
    pub commit_us: u32,
    /// Who waits. With several of them, all get the same.
    pub waiting: Waiters<C>,
}

/// Why there is no decision.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Cause {
    /// More work than fits.
    Overload,
    /// A decision would have come too late.
    Deadline,
    /// The journal did not take it, or the account could not be read.
    Journal,
}

impl Cause {
    /// Every cause.
    pub const ALL: [Self; 3] = [Self::Overload, Self::Deadline, Self::Journal];

    /// The word in settings and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Overload => "overload",
            Self::Deadline => "deadline",
            Self::Journal => "journal",
        }
    }
}

/// What is worth counting or logging.
#[derive(Debug)]
pub enum Note {
    /// The account was read.
    Loaded,
    /// It could not be read; what waited was given up.
    NotLoaded(NotFolded),
    /// It could not be read again after a lost place.
    NotReloaded(NotFolded),
    /// The journal could not be asked for what was evicted.
    NotFound(NotFolded),
    /// An answer is repeated from memory, since the journal could not be asked.
    RepeatedFromMemory(NotFolded),
    /// Entries could not be copied to the other chain; they are tried again.
    NotCarriedOver(NotFolded),
    /// An event names another connected account than its card's.
    WrongAccount,
    /// More work waits for the account to be read than may.
    QueueFull,
    /// More was decided and is not durable than may be.
    PendingFull,
    /// An answer was given again.
    Repeated,
    /// The policy lacks the group of the card.
    UnknownGroup(Arc<AuthorizationRequest>),
    /// Stripe or a network took more than a limit had left.
    Overrun,
    /// A budget has reached a share of a limit at which a warning is due.
    BudgetShare {
        /// The share, in percent.
        percent: u8,
        /// Used of the limit.
        used: i64,
        /// The limit.
        max: i64,
    },
    /// What Stripe did with a request.
    Stripe(Box<StripeWord>),
    /// Another writer has extended the chain.
    Conflict,
    /// The journal refused an append.
    Rejected,
    /// The account with so many authorizations is too large for a snapshot.
    NoSnapshot(usize),
    /// Cards replace each other in a cycle: their purchases are recorded here.
    Cycle,
    /// They do, and there are more of them than are followed.
    CycleTooLong,
}

/// What Stripe did with a request.
#[derive(Debug)]
pub struct StripeWord {
    /// Which.
    pub authorization: AuthorizationId,
    /// Stripe's reason, by its name of today.
    pub reason: Arc<str>,
    /// Whether Stripe approved it.
    pub approved: bool,
    /// Whether that is what we said; absent where nobody asked us.
    pub agrees: Option<bool>,
    /// Whether it was approved although we had not.
    pub is_forced: bool,
    /// Our decision.
    pub ours: Option<(DecisionId, Outcome)>,
}

impl<C> Work<C> {
    /// How it came from card to card.
    pub(super) const fn hops(&self) -> &Hops {
        match self {
            Self::Request(request) => &request.hops,
            Self::Observation(observed) => &observed.hops,
            Self::StandIn(stood_in) => &stood_in.hops,
            Self::Carry(carry) => &carry.hops,
            Self::Operation(operation) => &operation.hops,
        }
    }

    pub(super) const fn hops_mut(&mut self) -> &mut Hops {
        match self {
            Self::Request(request) => &mut request.hops,
            Self::Observation(observed) => &mut observed.hops,
            Self::StandIn(stood_in) => &mut stood_in.hops,
            Self::Carry(carry) => &mut carry.hops,
            Self::Operation(operation) => &mut operation.hops,
        }
    }
}
