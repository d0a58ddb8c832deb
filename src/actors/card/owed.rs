//! What was answered without the books and the journal did not take. Stripe has those answers, so they are not given up:
//! they count from the start, and go down with the next append, or after a pause by themselves.

use std::time::Duration;

use super::{Cause, Desk, Message, Phase};
use crate::actors::batch::Batch;

/// How long a card without other work waits before it asks the journal again.
const PAUSE: Duration = Duration::from_millis(500);

impl Desk {
    /// Tells everyone that nothing of `batch` was booked, and keeps what has to be booked all the same.
    pub(super) fn give_up(&mut self, batch: Batch, cause: Cause) {
        let owed = batch.give_up(cause);
        self.owe(owed);
        self.stay();
    }

    pub(super) fn owe(&mut self, batch: Batch) {
        if batch.is_empty() {
            return;
        }
        if self.owed.is_empty() {
            self.ask_again_later();
        }
        for event in &batch.events {
            if !self.next.is_empty() {
                self.next.undo.note(&mut self.card, event);
            }
            self.card.apply(event);
        }
        self.owed.extend(batch);
    }

    /// Makes what is owed part of books that were just read.
    pub(super) fn apply_owed(&mut self) {
        for event in &self.owed.events {
            self.card.apply(event);
        }
    }

    /// Puts what is owed before what was decided meanwhile.
    pub(super) fn book_owed(&mut self) {
        if self.owed.is_empty() {
            return;
        }
        match self.phase {
            Phase::Ready => {
                let later = std::mem::take(&mut self.next);
                self.next = std::mem::take(&mut self.owed);
                self.next.extend(later);
            }
            Phase::Loading(_) => self.ask_again_later(),
            Phase::Unread => {
                self.phase = Phase::Loading(Vec::new());
                self.load();
                self.ask_again_later();
            }
        }
    }

    fn ask_again_later(&self) {
        let myself = self.myself.clone();
        tokio::spawn(async move {
            tokio::time::sleep(PAUSE).await;
            // An actor that is gone owes nothing any more.
            drop(myself.cast(Message::BookOwed));
        });
    }
}
