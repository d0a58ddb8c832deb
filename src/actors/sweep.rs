//! Sweeping: cards that nobody asks about let go of their actors, and then of their memory.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use dashmap::Entry as SlotEntry;
use ractor::ActorRef;

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
/// The least between two sweeps, however many cards wait for room: each looks at every card in memory.
const PAUSE: Duration = Duration::from_millis(5);
/// How many cards are sent to rest or away before requests get their turn again.
const SENT_AT_ONCE: usize = 32;

/// What a look at all cards found to do.
#[derive(Default)]
struct Found {
    /// Nobody has asked about these for a while: their actors may go.
    resting: Vec<ActorRef<Message>>,
    /// Nobody has asked about these for long.
    idle: Vec<Account>,
    /// More than there is room for, beside those that wait for it: the ones that were not asked for the longest.
    surplus: Vec<Account>,
}

impl Directory {
    /// Sends idle cards away, and the longest unused of those over the bound; runs until it is dropped.
    pub async fn sweep(self) {
        let idle_after = self.shared().settings.card_idle_after;
        let every = idle_after.div_f64(4.0).clamp(Duration::from_millis(5), Duration::from_secs(1));
        let mut ticks = tokio::time::interval(every);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = self.shared().room.is_full.notified() => {}
            }
            let shared = Arc::clone(self.shared());
            // A million cards take a while to look at, and requests would wait for it.
            let looked = tokio::task::spawn_blocking(move || shared.look_around(clock::instant()));
            match looked.await {
                Ok(found) => self.send(found).await,
                Err(error) => {
                    tracing::error!(%error, "the sweep for idle cards failed; the next one tries again");
                }
            }
            clock::sleep(PAUSE).await;
        }
    }

    /// Sends them where they shall go, a few at a time.
    async fn send(&self, found: Found) {
        for actors in found.resting.chunks(SENT_AT_ONCE) {
            for actor in actors {
                drop(actor.cast(Message::Rest));
            }
            tokio::task::yield_now().await;
        }
        for (accounts, cause) in [(found.idle, Passivation::Idle), (found.surplus, Passivation::Pressure)] {
            for accounts in accounts.chunks(SENT_AT_ONCE) {
                for account in accounts {
                    self.shared().send_away(account, cause);
                }
                tokio::task::yield_now().await;
            }
        }
    }

    /// Cards in memory without an actor.
    #[must_use]
    pub fn resting(&self) -> usize {
        self.shared().slots.iter().filter(|slot| slot.actor().is_none()).count()
    }
}

impl Shared {
    /// Looks at every card, tells what there are, and finds who shall go.
    fn look_around(&self, now: Instant) -> Found {
        let now_ms = self.milliseconds(now);
        let unused_ms = |slot: &Slot| now_ms.saturating_sub(slot.used_at_ms.load(Ordering::Relaxed));
        let (idle_ms, rest_ms) =
            (milliseconds(self.settings.card_idle_after), milliseconds(self.settings.card_rests_after));
        let (mut in_use, mut actors, mut longest) = (0_u32, 0_u32, 0_usize);
        let mut found = Found::default();
        for slot in &self.slots {
            if unused_ms(&slot) >= idle_ms {
                found.idle.push(slot.key().clone());
                continue;
            }
            in_use = in_use.saturating_add(1);
            let Some(actor) = slot.actor() else { continue };
            actors = actors.saturating_add(1);
            if unused_ms(&slot) >= rest_ms {
                found.resting.push(actor.clone());
            } else if unused_ms(&slot) <= QUEUED_MS {
                longest = longest.max(slot.place.queued.load(Ordering::Relaxed));
            }
        }
        let cards = &self.metrics.cards;
        cards.actors.set(f64::from(actors));
        cards.queue_longest.set(f64::from(u32::try_from(longest).unwrap_or(u32::MAX)));
        let wanted = usize::try_from(in_use).unwrap_or(usize::MAX).saturating_add(self.room.wanted());
        let surplus = wanted.saturating_sub(self.settings.cards_resident_max);
        if surplus > 0 {
            found.surplus = self.longest_unused(surplus, now_ms);
        }
        let overdue =
            self.unconfirmed.count_since_before(clock::now().minus(self.settings.unconfirmed_after));
        self.metrics.decisions.unconfirmed.set(f64::from(u32::try_from(overdue).unwrap_or(u32::MAX)));
        let backlog = self.committer.backlog();
        self.metrics.journal.oldest_append.set(backlog.oldest.as_secs_f64());
        self.metrics.journal.expected_wait.set(backlog.expected_wait.as_secs_f64());
        self.cardholders.sweep(now);
        self.approvals.sweep(clock::now());
        self.failures.retain(|_, failures| now.duration_since(failures.since) < FAILURES_WITHIN);
        found
    }

    /// So many of the cards that are not idle: those that were not asked for the longest.
    fn longest_unused(&self, count: usize, now_ms: u64) -> Vec<Account> {
        let idle_ms = milliseconds(self.settings.card_idle_after);
        let in_use = self.slots.iter().filter_map(|slot| {
            let used_at_ms = slot.used_at_ms.load(Ordering::Relaxed);
            (now_ms.saturating_sub(used_at_ms) < idle_ms).then(|| (used_at_ms, slot.key().clone()))
        });
        let mut cards: Vec<_> = in_use.collect();
        if count < cards.len() {
            cards.select_nth_unstable_by_key(count, |(used_at_ms, _)| *used_at_ms);
        }
        cards.into_iter().take(count).map(|(_, account)| account).collect()
    }

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
