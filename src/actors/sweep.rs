//! Sweeping: cards that nobody asks about let go of their actors, and then of their memory.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use dashmap::Entry as SlotEntry;

use super::{
    Directory,
    card::Message,
    directory::{FAILURES_WITHIN, Shared},
    lease::{Occupant, Slot},
};
use crate::{
    clock::{self, Instant},
    domain::Account,
    metrics::Passivation,
};

/// Only a card that was asked for this lately can have a queue worth counting: the others' places are not looked at,
/// since each look follows a pointer.
const QUEUED_MS: u64 = 2_000;

impl Directory {
    /// Sends idle cards away, and the longest unused of those over the bound; runs until the directory is dropped.
    pub async fn sweep(self) {
        let idle_after = self.shared().settings.card_idle_after;
        let every = idle_after.div_f64(4.0).clamp(Duration::from_millis(5), Duration::from_secs(1));
        let mut ticks = tokio::time::interval(every);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.sweep_once(clock::instant());
        }
    }

    fn sweep_once(&self, now: Instant) {
        let shared = &self.shared();
        let now_ms = shared.milliseconds(now);
        let unused_ms = |slot: &Slot| now_ms.saturating_sub(slot.used_at_ms.load(Ordering::Relaxed));
        let (idle_ms, rest_ms) =
            (milliseconds(shared.settings.card_idle_after), milliseconds(shared.settings.card_rests_after));
        let (mut in_use, mut actors, mut longest) = (0_u32, 0_u32, 0_usize);
        let mut idle = Vec::new();
        for slot in &shared.slots {
            if unused_ms(&slot) >= idle_ms {
                idle.push(slot.key().clone());
                continue;
            }
            in_use = in_use.saturating_add(1);
            let Some(actor) = slot.actor() else { continue };
            actors = actors.saturating_add(1);
            if unused_ms(&slot) >= rest_ms {
                drop(actor.cast(Message::Rest));
            } else if unused_ms(&slot) <= QUEUED_MS {
                longest = longest.max(slot.place.queued.load(Ordering::Relaxed));
            }
        }
        for account in idle {
            shared.send_away(&account, Passivation::Idle);
        }
        let cards = &shared.metrics.cards;
        cards.actors.set(f64::from(actors));
        cards.queue_longest.set(f64::from(u32::try_from(longest).unwrap_or(u32::MAX)));
        let surplus =
            usize::try_from(in_use).unwrap_or(usize::MAX).saturating_sub(shared.settings.cards_resident_max);
        if surplus > 0 {
            self.relieve(surplus);
        }
        let overdue =
            shared.unconfirmed.count_since_before(clock::now().minus(shared.settings.unconfirmed_after));
        shared.metrics.decisions.unconfirmed.set(f64::from(u32::try_from(overdue).unwrap_or(u32::MAX)));
        shared.cardholders.sweep(now);
        shared.failures.retain(|_, failures| now.duration_since(failures.since) < FAILURES_WITHIN);
    }

    /// Sends so many cards away that were not asked for the longest.
    fn relieve(&self, surplus: usize) {
        let slots = self.shared().slots.iter();
        let mut cards: Vec<_> =
            slots.map(|slot| (slot.used_at_ms.load(Ordering::Relaxed), slot.key().clone())).collect();
        cards.sort_unstable_by_key(|(used_at_ms, _)| *used_at_ms);
        for (_, account) in cards.iter().take(surplus) {
            self.shared().send_away(account, Passivation::Pressure);
        }
    }

    /// Cards in memory without an actor.
    #[must_use]
    pub fn resting(&self) -> usize {
        self.shared().slots.iter().filter(|slot| slot.actor().is_none()).count()
    }
}

impl Shared {
    /// Lets a card leave memory, behind a snapshot if anything was written since the last: writing is for its actor.
    fn send_away(self: &Arc<Self>, account: &Account, cause: Passivation) {
        let SlotEntry::Occupied(mut slot) = self.slots.entry(account.clone()) else { return };
        if matches!(&slot.get().occupant, Occupant::Resting(folded) if folded.entries_since_snapshot == 0) {
            slot.remove();
            self.one_less_resident();
            self.metrics.cards.passivations.get(cause).increment(1);
        } else if self.wake(account, slot.get_mut()).is_ok()
            && let Some(actor) = slot.get().actor()
        {
            drop(actor.cast(Message::Passivate(cause)));
        }
    }
}

fn milliseconds(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
