//! What a node appends, on its way to the trial beside it: a queue with a bound, which the reply's path never waits for.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use metrics::Counter;
use tokio::sync::{mpsc, oneshot};

use crate::{domain::Timestamp, journal::Append};

/// Takes what is durable. Off, it takes nothing, and costs one look.
pub struct Feed {
    is_on: AtomicBool,
    queue: mpsc::Sender<Fed>,
    dropped: Counter,
    /// Those that no finding speaks of yet.
    dropped_lately: AtomicU64,
}

/// What the trial is given.
pub(super) enum Fed {
    /// An append that is durable, and when it was written.
    Appended(Box<Append>, Timestamp),
    /// Record what was found so far, then say so.
    Finish(oneshot::Sender<()>),
}

impl Feed {
    pub(super) fn new(entries_max: usize, dropped: Counter) -> (Self, mpsc::Receiver<Fed>) {
        let (queue, fed) = mpsc::channel(entries_max.max(1));
        (Self { is_on: AtomicBool::new(false), queue, dropped, dropped_lately: AtomicU64::new(0) }, fed)
    }

    /// Whether there is a trial.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.is_on.load(Ordering::Relaxed)
    }

    /// Gives an append that is durable. Without room in the queue it is dropped and counted: its accounts are read from the
    /// journal again.
    pub fn give(&self, append: Append, at: Timestamp) {
        if self.queue.try_send(Fed::Appended(Box::new(append), at)).is_err() {
            self.dropped.increment(1);
            self.dropped_lately.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many were dropped since the last call.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped_lately.swap(0, Ordering::Relaxed)
    }

    pub(super) fn turn(&self, is_on: bool) {
        self.is_on.store(is_on, Ordering::Relaxed);
    }

    /// Returns when all that was given is compared and recorded.
    pub(super) async fn finish(&self) {
        let (done, finished) = oneshot::channel();
        if self.queue.send(Fed::Finish(done)).await.is_ok() {
            // A worker that has ended has nothing to record.
            let _ = finished.await;
        }
    }
}
