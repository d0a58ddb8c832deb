//! Who waits for a reply, and how they are told: the value that a ledger keeps for a caller, and the caller's end of it.

use std::{
    mem,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::{runtime::Handle, sync::oneshot, time::timeout_at};

use super::{
    Cause, NotBooked, TimedAnswer,
    places::{Backlog, Permit},
};
use crate::{clock::Instant, domain::Outcome, ledger::Caller};

/// One that a ledger keeps until it may be told.
pub(super) enum Reply {
    /// Waits for an answer.
    Answer {
        reply: oneshot::Sender<Result<TimedAnswer, Cause>>,
        /// Whether it was declined in memory, for a stand-in that might approve it.
        is_declined: Option<Arc<AtomicBool>>,
    },
    /// Waits until its event is recorded.
    Receipt(oneshot::Sender<Result<(), NotBooked>>),
    /// The place of a stand-in decision among those that are not recorded yet.
    StandIn { _place: Backlog },
}

impl Caller for Reply {
    fn decided(&self, outcome: Outcome) {
        if let Self::Answer { is_declined: Some(is_declined), .. } = self {
            is_declined.store(outcome == Outcome::Declined, Ordering::Release);
        }
    }
}

impl Reply {
    /// Gives the answer. A caller that has stopped waiting finds it among those that are known.
    pub(super) fn tell(self, answer: TimedAnswer) {
        if let Self::Answer { reply, .. } = self {
            let _ = reply.send(Ok(answer));
        }
    }

    /// What it asked for is durable.
    pub(super) fn receive(self) {
        if let Self::Receipt(reply) = self {
            let _ = reply.send(Ok(()));
        }
    }

    pub(super) fn give_up(self, cause: Cause) {
        // Whoever has stopped waiting has answered for itself.
        match self {
            Self::Answer { reply, .. } => drop(reply.send(Err(cause))),
            Self::Receipt(reply) => drop(reply.send(Err(cause.into()))),
            Self::StandIn { .. } => {}
        }
    }

    pub(super) fn refuse(self) {
        if let Self::Receipt(reply) = self {
            let _ = reply.send(Err(NotBooked::WrongAccount));
        }
    }
}

/// The caller's end. A caller whose client goes away was told nothing, least of all by the stand-in: its reply is waited for
/// all the same, so that what was decided for it stands, and is what whoever asks again is told.
pub(super) struct Awaited<T: Send + 'static> {
    reply: oneshot::Receiver<T>,
    /// None when nothing is waited for any more.
    permit: Option<Permit>,
}

impl<T, E> Awaited<Result<T, E>>
where
    T: Send + 'static,
    E: From<Cause> + Send + 'static,
{
    pub(super) const fn new(permit: Permit, reply: oneshot::Receiver<Result<T, E>>) -> Self {
        Self { reply, permit: Some(permit) }
    }

    /// Waits for the reply until the deadline.
    pub(super) async fn wait(mut self, deadline: Instant) -> Result<T, E> {
        let replied = timeout_at(deadline, &mut self.reply).await;
        self.permit = None;
        match replied {
            // The ledger ended without a word.
            Ok(Err(_)) => Err(Cause::Journal.into()),
            Ok(Ok(replied)) => replied,
            Err(_) => {
                // From here on a reply no longer reaches us, and its sender knows. One may have come just before.
                self.reply.close();
                self.reply.try_recv().unwrap_or_else(|_| Err(Cause::Deadline.into()))
            }
        }
    }
}

impl<T: Send + 'static> Drop for Awaited<T> {
    fn drop(&mut self) {
        if let (Some(permit), Ok(runtime)) = (self.permit.take(), Handle::try_current()) {
            let reply = mem::replace(&mut self.reply, oneshot::channel().1);
            runtime.spawn(async move {
                let _ = reply.await;
                drop(permit);
            });
        }
    }
}
