//! Who waits for the reply of a card's actor: until a deadline, with a place among the requests. What is asked is not here.

use std::mem;

use tokio::{runtime::Handle, sync::oneshot, time::timeout_at};

use super::{Cause, places::Permit};
use crate::clock::Instant;

/// One that waits. An asker whose client goes away was told nothing, least of all by the stand-in: its reply is waited for
/// all the same, so that what was decided for it stands, and is what whoever asks again is told.
pub(super) struct Asker<T: Send + 'static> {
    reply: oneshot::Receiver<T>,
    /// None when nothing is waited for any more.
    permit: Option<Permit>,
}

impl<T, E> Asker<Result<T, E>>
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
            // The actor ended without a word.
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

impl<T: Send + 'static> Drop for Asker<T> {
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
