//! The inbox of a shard: what comes while its actor is at work is taken in one turn, so that a batch of results or of
//! requests costs one message, and one wake.

use std::{
    mem,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use ractor::ActorRef;

/// There is something in the inbox.
pub(super) struct Arrived;

/// Sends messages to one actor. Cheap to clone.
pub(super) struct Inbox<M>(Arc<Queue<M>>);

struct Queue<M> {
    /// None when the actor has ended.
    messages: Mutex<Option<Vec<M>>>,
    /// Set before there is anybody who could send.
    actor: OnceLock<ActorRef<Arrived>>,
}

impl<M> Clone for Inbox<M> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<M> Default for Inbox<M> {
    fn default() -> Self {
        Self(Arc::new(Queue { messages: Mutex::new(Some(Vec::new())), actor: OnceLock::new() }))
    }
}

impl<M> Inbox<M> {
    /// This actor takes what is sent from now on.
    pub(super) fn belongs_to(&self, actor: ActorRef<Arrived>) {
        let _ = self.0.actor.set(actor);
    }

    /// Sends a message. Where the actor has ended it is dropped: a caller sees its reply dropped.
    pub(super) fn send(&self, message: M) {
        let mut messages = self.messages();
        let Some(waiting) = &mut *messages else { return };
        waiting.push(message);
        // With more than one the actor knows already, and has not looked yet.
        let is_first = waiting.len() == 1;
        drop(messages);
        if is_first && let Some(actor) = self.0.actor.get() {
            // One that ends closes its inbox.
            let _ = actor.cast(Arrived);
        }
    }

    /// Takes all messages in the order of their coming, in exchange for an empty list.
    pub(super) fn take(&self, empty: Vec<M>) -> Vec<M> {
        self.messages().as_mut().map(|messages| mem::replace(messages, empty)).unwrap_or_default()
    }

    /// The actor ends: what is here is dropped, and what is sent from now on.
    pub(super) fn close(&self) {
        let unread = self.messages().take();
        drop(unread);
    }

    /// The number of its actor.
    pub(super) fn number(&self) -> u64 {
        self.0.actor.get().map_or(0, |actor| actor.get_id().pid())
    }

    /// Whether both are of one actor.
    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    fn messages(&self) -> MutexGuard<'_, Option<Vec<M>>> {
        self.0.messages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use ractor::{Actor, ActorProcessingErr, ActorRuntime};

    use super::*;

    /// Passes on what it takes, each time as one list.
    struct Taker;

    type Taken = mpsc::SyncSender<Vec<u32>>;

    impl Actor for Taker {
        type Msg = Arrived;
        type State = (Inbox<u32>, Taken);
        type Arguments = (Inbox<u32>, Taken);

        async fn pre_start(
            &self,
            _: ActorRef<Arrived>,
            state: Self::Arguments,
        ) -> Result<Self::State, ActorProcessingErr> {
            Ok(state)
        }

        async fn handle(
            &self,
            _: ActorRef<Arrived>,
            _: Arrived,
            (inbox, taken): &mut Self::State,
        ) -> Result<(), ActorProcessingErr> {
            Ok(taken.send(inbox.take(Vec::new()))?)
        }
    }

    #[tokio::test]
    async fn what_comes_before_the_actor_looks_is_one_message_in_order() {
        let (taken, lists) = mpsc::sync_channel(10);
        let inbox = Inbox::default();
        let (actor, ended) =
            ActorRuntime::<Taker>::spawn_instant(None, Taker, (inbox.clone(), taken)).unwrap();
        inbox.belongs_to(actor.clone());
        for numbers in [0..100, 100..101, 200..203] {
            // The actor's task does not run before this one waits.
            numbers.clone().for_each(|number| inbox.send(number));
            let list = loop {
                match lists.try_recv() {
                    Ok(list) => break list,
                    Err(_) => tokio::task::yield_now().await,
                }
            };
            assert_eq!(list, numbers.collect::<Vec<_>>());
        }
        actor.drain().unwrap();
        ended.await.unwrap().unwrap().await.unwrap();
        assert!(lists.try_recv().is_err(), "each round was one message");
    }

    #[test]
    fn an_inbox_that_is_closed_drops_what_is_in_it_and_what_comes() {
        let inbox = Inbox::default();
        let message = Arc::new(());
        inbox.send(Arc::clone(&message));
        assert_eq!(Arc::strong_count(&message), 2);
        inbox.close();
        assert_eq!(Arc::strong_count(&message), 1, "what waited is dropped");
        inbox.clone().send(Arc::clone(&message));
        assert_eq!(Arc::strong_count(&message), 1, "what comes is dropped");
        assert!(inbox.take(Vec::new()).is_empty());
    }
}
