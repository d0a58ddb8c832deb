//! Room in memory: a card that finds none has the sweep send others away, and waits for that a while. Which ones leave,
//! and how, is the sweep's.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use ractor::ActorRef;
use tokio::{sync::Notify, time::timeout_at};

use super::{
    Cause,
    card::Message,
    directory::{Bound, Shared},
};
use crate::{
    clock::{self, Instant},
    domain::Account,
    metrics::Shed,
};

/// How long a card waits until another one has left memory for it, and at most half of the time that is left.
const ROOM_WITHIN: Duration = Duration::from_millis(500);
/// How long after that it asks for room again: whoever was to leave may have been asked for meanwhile.
const ROOM_AGAIN: Duration = Duration::from_millis(20);

/// Why a card's actor cannot be had.
pub(super) enum Unreached {
    /// There are as many cards in memory as there may be.
    Full,
    /// Something else.
    Because(Cause),
}

impl From<Cause> for Unreached {
    fn from(cause: Cause) -> Self {
        Self::Because(cause)
    }
}

/// Who waits for room, and how they and the sweep wake each other.
#[derive(Default)]
pub(super) struct Room {
    /// A card found none: the sweep is needed now.
    pub(super) is_full: Notify,
    /// A card has left memory.
    has_left: Notify,
    /// Messages for cards that wait.
    waiting: AtomicUsize,
}

impl Room {
    /// For how many there should be room beside the cards in memory.
    pub(super) fn wanted(&self) -> usize {
        self.waiting.load(Ordering::Acquire)
    }

    /// A card has left memory: whoever has waited longest tries again.
    pub(super) fn one_left(&self) {
        self.has_left.notify_one();
    }
}

/// One that waits. Whoever is behind it tries too when it goes: of two cards that left at once, one may have been seen.
struct Waiting<'a>(&'a Room);

impl<'a> Waiting<'a> {
    fn new(room: &'a Room) -> Self {
        room.waiting.fetch_add(1, Ordering::AcqRel);
        Self(room)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::AcqRel);
        self.0.has_left.notify_one();
    }
}

impl Shared {
    /// Like [`Shared::send`], within the places at the card. Where memory is full of cards, one of them is sent away
    /// first, and waited for a while.
    pub(super) async fn send_in_time(
        self: &Arc<Self>,
        account: &Account,
        deadline: Instant,
        message: impl FnOnce(Instant) -> Message,
    ) -> Result<(), Cause> {
        let mut now = clock::instant();
        let patience = ROOM_WITHIN.min(deadline.saturating_duration_since(now).div_f64(2.0));
        let until = now.checked_add(patience).unwrap_or(deadline);
        let mut waiting = None;
        let actor = loop {
            match self.try_reach(account, Bound::CardQueue, now) {
                Err(Unreached::Full) if now < until => {}
                reached => break self.noted(reached)?,
            }
            waiting.get_or_insert_with(|| Waiting::new(&self.room));
            self.room.is_full.notify_one();
            let again = now.checked_add(ROOM_AGAIN).map_or(until, |again| again.min(until));
            let _ = timeout_at(again, self.room.has_left.notified()).await;
            now = clock::instant();
        };
        drop(actor.cast(message(now)));
        Ok(())
    }

    /// Counts a card that is turned away since there is no room for it.
    pub(super) fn noted(
        &self,
        reached: Result<ActorRef<Message>, Unreached>,
    ) -> Result<ActorRef<Message>, Cause> {
        reached.map_err(|unreached| match unreached {
            Unreached::Because(cause) => cause,
            Unreached::Full => {
                self.metrics.decisions.shed.get(Shed::CardsResident).increment(1);
                Cause::Overload
            }
        })
    }
}
