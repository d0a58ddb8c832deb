//! A card that replaces another joins its books: both then count against the same limits, in one place, one question
//! after another. The card's own books keep what is said of the card itself, and the way to the others.
//!
//! The way is durable before the first purchase goes it. What was booked here before the replacement was known is
//! carried over first, entry by entry, so that a crash in between books nothing twice and loses nothing.

use std::{sync::Arc, time::Duration};

use tokio::sync::oneshot;

use super::{Carry, Cause, Desk, Hops, Looked, Message, StoodIn, Work};
use crate::{
    actors::{
        NotBooked,
        batch::{Batch, Reply},
        books::{self, NotFolded},
        directory::{Bound, Shared},
    },
    clock,
    domain::{Account, CardId, Carried, Event, Fact, Joined, Mention},
    journal::{Entry, Reach, Unavailable},
};

/// How many entries are carried over at once.
const ENTRIES_AT_ONCE: usize = 256;
/// How long a card waits before it tries again to carry over what was booked on it.
const PAUSE: Duration = Duration::from_millis(500);
/// How many replacements a message follows. Only a circle has more: then the smallest card in it keeps the message, the same
/// for all of them.
const HOPS_MAX: u8 = 64;

impl Desk {
    /// The message, if it is for these books. Purchases on a card that replaces another are not.
    pub(super) fn kept(&mut self, message: Message) -> Option<Message> {
        if self.card.joined.is_none()
            && let Some(replaced) = message.replacement_for(&self.account)
        {
            let replaced = replaced.clone();
            self.join(replaced);
        }
        let Some(joined) = &self.card.joined else { return Some(message) };
        if !message.is_of_purchases() || message.stays_in_circle(&self.account) {
            return Some(message);
        }
        if let Some(waiting) = &mut self.joining {
            waiting.push(message);
        } else {
            let account = Account::from(&joined.card);
            self.hand_on(message, &account);
        }
        None
    }

    /// Books what was booked on another card.
    pub(super) fn carry(&mut self, carry: Carry, looked: Looked) {
        self.lease.leave_queue();
        self.leaving = None;
        // What was carried before, and the word of it was lost, is not carried again.
        let known = self.card.carried_through(&carry.from);
        if looked == Looked::Not {
            let new = carry.entries.iter().filter(|(seq, _)| *seq > known).flat_map(|(_, events)| events);
            let evicted: Vec<Mention> = new.flat_map(|event| self.card.evicted_of_event(event)).collect();
            if !evicted.is_empty() {
                return self.look_up(Work::Carry(Box::new(carry)), evicted);
            }
        }
        let Carry { from, entries, reply, .. } = carry;
        let through = entries.last().map_or(0, |(seq, _)| *seq);
        let new = entries.into_iter().filter(|(seq, _)| *seq > known);
        let carried = Carried { from, through, events: new.flat_map(|(_, events)| events).collect() };
        self.record(Event::Carried(Box::new(carried)), Some(Reply::Booked(reply)));
    }

    /// The way to the other books is durable.
    pub(super) fn joined(&mut self) {
        match &self.card.joined {
            Some(joined) if joined.is_carried => self.go_on(),
            Some(joined) => {
                self.joining.get_or_insert_default();
                self.carry_over(joined.card.clone());
            }
            None => {}
        }
    }

    pub(super) fn carried_over(&mut self, result: Result<(), NotFolded>) {
        let Some(joined) = self.card.joined.clone().filter(|joined| !joined.is_carried) else { return };
        match result {
            Ok(()) => {
                self.record(Event::Joined(Joined { is_carried: true, ..joined }), None);
            }
            Err(cause) => {
                tracing::warn!(
                    account = %self.account,
                    %cause,
                    "the entries of a replacement card cannot be copied to its predecessor; trying again"
                );
                let myself = self.myself.clone();
                let (shared, account) = (Arc::clone(&self.shared), self.account.clone());
                tokio::spawn(async move {
                    tokio::time::sleep(PAUSE).await;
                    let result = carry_over(&shared, &account, &joined.card).await;
                    drop(myself.cast(Message::CarriedOver(result)));
                });
            }
        }
    }

    /// The way was not taken after all: those who wait for it are turned away.
    pub(super) fn stay(&mut self) {
        if self.card.joined.is_none()
            && let Some(waiting) = self.joining.take()
        {
            self.turn_away(waiting);
        }
    }

    /// Tells work that it cannot be done now. Answers that were given without the books stay owed.
    pub(super) fn turn_away(&mut self, work: Vec<Message>) {
        let mut owed = Batch::default();
        for message in work {
            match message {
                Message::Ask(ask) => ask.reply.give_up(Cause::Journal),
                Message::Book(book) => Reply::Booked(book.reply).give_up(Cause::Journal),
                Message::Carry(carry) => Reply::Booked(carry.reply).give_up(Cause::Journal),
                Message::StoodIn(stood_in) => {
                    let StoodIn { decided, backlog, .. } = *stood_in;
                    owed.push(Event::StoodIn(Box::new(decided)), backlog.map(Reply::StoodIn));
                }
                Message::CarriedOver(_)
                | Message::Loaded(_)
                | Message::Found(..)
                | Message::Committed(..)
                | Message::Reconciled(..)
                | Message::Rest
                | Message::BookOwed
                | Message::Passivate(_) => continue,
            }
            self.lease.leave_queue();
        }
        self.owe(owed);
    }

    /// An event of an append that has lost its place to the card's step into other books. Stripe delivers facts again,
    /// and the stand-in answers questions; what only this node knows goes on.
    pub(super) fn gone_elsewhere(&mut self, event: Event, replies: Vec<Reply>) {
        match event {
            Event::StoodIn(decided) => {
                let mut backlog = None;
                for reply in replies {
                    if let Reply::StoodIn(place) = reply {
                        backlog = Some(place);
                    }
                }
                self.lease.join_queue();
                self.work(Message::StoodIn(Box::new(StoodIn {
                    decided: *decided,
                    hops: Hops::default(),
                    backlog,
                })));
            }
            Event::Observed(observation) if !is_of_purchases(&observation.fact) => {
                let place = self.record(Event::Observed(observation), None);
                for reply in replies {
                    self.next.join(place, reply);
                }
            }
            Event::Joined(joined) if joined.is_carried && !self.is_carried() => {
                self.record(Event::Joined(joined), None);
            }
            Event::Decided(_)
            | Event::Observed(_)
            | Event::Recalled(_)
            | Event::Joined(_)
            | Event::Carried(_)
            | Event::Controls(_)
            | Event::Policy(_)
            | Event::Snapshot(_) => {
                for reply in replies {
                    reply.give_up(Cause::Journal);
                }
            }
        }
    }

    fn join(&mut self, card: CardId) {
        self.joining = Some(Vec::new());
        let step = self.step_to(card);
        self.record(Event::Joined(step), None);
    }

    /// The step into the books of `card`: with nothing to carry it is the last.
    pub(super) fn step_to(&self, card: CardId) -> Joined {
        Joined { card, is_carried: !self.card.has_purchases() }
    }

    fn is_carried(&self) -> bool {
        self.card.joined.as_ref().is_some_and(|joined| joined.is_carried)
    }

    fn carry_over(&self, replaced: CardId) {
        let (myself, shared, account) = (self.myself.clone(), Arc::clone(&self.shared), self.account.clone());
        tokio::spawn(async move {
            let result = carry_over(&shared, &account, &replaced).await;
            drop(myself.cast(Message::CarriedOver(result)));
        });
    }

    /// Hands on what has waited.
    fn go_on(&mut self) {
        for message in self.joining.take().unwrap_or_default() {
            self.work(message);
        }
    }

    /// Sends work on to other books.
    pub(super) fn hand_on(&self, mut message: Message, account: &Account) {
        let hops = match &mut message {
            Message::Ask(ask) => &mut ask.hops,
            Message::Book(book) => &mut book.hops,
            Message::StoodIn(stood_in) => &mut stood_in.hops,
            Message::Carry(carry) => &mut carry.hops,
            _ => return,
        };
        hops.count = hops.count.saturating_add(1);
        if hops.least.as_ref().is_none_or(|least| self.account < *least) {
            hops.least = Some(self.account.clone());
        }
        let is_lost = hops.count == u8::MAX;
        self.lease.leave_queue();
        // An answer that Stripe has already must not be lost for want of a place.
        let bound = if matches!(message, Message::StoodIn(_)) { Bound::Sender } else { Bound::CardQueue };
        let reached = if is_lost {
            tracing::error!(account = %self.account, "expected at most {HOPS_MAX} cards that replace each other in a cycle, found more: the event is not recorded");
            Err(Cause::Journal)
        } else {
            self.shared.reach(account, bound, clock::instant())
        };
        match (reached, message) {
            (Ok(actor), message) => drop(actor.cast(message)),
            (Err(cause), Message::Ask(ask)) => ask.reply.give_up(cause),
            (Err(cause), Message::Book(book)) => Reply::Booked(book.reply).give_up(cause),
            (Err(cause), Message::Carry(carry)) => Reply::Booked(carry.reply).give_up(cause),
            (Err(_), _) => {}
        }
    }
}

impl Message {
    /// The card that the card of these books replaces, where the message tells.
    fn replacement_for(&self, own: &Account) -> Option<&CardId> {
        let is_own = |card: &CardId| card.as_str() == own.as_str();
        let (card, replaced) = match self {
            Self::Ask(ask) => (ask.request.card.as_ref(), &ask.request.replacement_for),
            Self::StoodIn(stood_in) => {
                let request = &stood_in.decided.request;
                (request.card.as_ref(), &request.replacement_for)
            }
            Self::Book(book) => (book.observation.card(), &book.observation.replacement_for),
            _ => return None,
        };
        let replaced = replaced.as_ref().filter(|replaced| !is_own(replaced))?;
        card.is_some_and(is_own).then_some(replaced)
    }

    /// Whether it has been handed on in a circle, of whose cards `own` is the smallest.
    fn stays_in_circle(&self, own: &Account) -> bool {
        let hops = match self {
            Self::Ask(ask) => &ask.hops,
            Self::Book(book) => &book.hops,
            Self::StoodIn(stood_in) => &stood_in.hops,
            Self::Carry(carry) => &carry.hops,
            _ => return false,
        };
        let stays = hops.count > HOPS_MAX && hops.least.as_ref() == Some(own);
        if stays {
            tracing::error!(account = %own, "cards replace each other in a cycle: their purchases are recorded on this one");
        }
        stays
    }

    /// Whether it concerns what is bought with a card, rather than the card.
    fn is_of_purchases(&self) -> bool {
        match self {
            Self::Book(book) => is_of_purchases(&book.observation.fact),
            _ => true,
        }
    }
}

fn is_of_purchases(fact: &Fact) -> bool {
    match fact {
        Fact::Authorization(_) | Fact::Transaction(_) | Fact::Other(_) => true,
        Fact::Card(_) | Fact::Cardholder(_) => false,
    }
}

/// Brings everything that was booked on a card to the books of the card that it replaces.
async fn carry_over(shared: &Arc<Shared>, account: &Account, replaced: &CardId) -> Result<(), NotFolded> {
    let Some(from) = CardId::new(account.as_str()) else { return Ok(()) };
    let entries = shared.load(account, Reach::Genesis).await?;
    for entries in entries.chunks(ENTRIES_AT_ONCE) {
        let (reply, booked) = oneshot::channel();
        let entries = entries.iter().map(|entry| Ok((entry.seq, purchases(entry)?)));
        let entries = entries.collect::<Result<_, NotFolded>>()?;
        let actor = shared
            .reach(&Account::from(replaced), Bound::Sender, clock::instant())
            .map_err(|cause| not_now(cause.into()))?;
        drop(actor.cast(Message::Carry(Box::new(Carry {
            from: from.clone(),
            entries,
            hops: Hops::default(),
            reply,
        }))));
        booked.await.unwrap_or(Err(Cause::Journal.into())).map_err(not_now)?;
    }
    Ok(())
}

fn not_now(cause: NotBooked) -> NotFolded {
    Unavailable(cause.to_string()).into()
}

/// The events of an entry that are about purchases.
fn purchases(entry: &Entry) -> Result<Vec<Event>, NotFolded> {
    let purchases = books::read(entry)?.into_iter().filter(|event| match event {
        Event::Decided(_) | Event::StoodIn(_) => true,
        Event::Observed(observation) => is_of_purchases(&observation.fact),
        Event::Recalled(_)
        | Event::Joined(_)
        | Event::Carried(_)
        | Event::Controls(_)
        | Event::Policy(_)
        | Event::Snapshot(_) => false,
    });
    Ok(purchases.collect())
}
