//! Whether a journal lives: the first cause of its death, and who waits for it.

use std::future;

use tokio::sync::watch;
use tracing::error;

use super::{Fatal, Outcome};

/// Whether the journal lives.
pub(super) struct Vitals {
    death: watch::Sender<Option<Fatal>>,
}

impl Vitals {
    pub(super) fn new() -> Self {
        Self { death: watch::Sender::new(None) }
    }

    /// The first cause counts.
    pub(super) fn die(&self, cause: String) {
        self.death.send_if_modified(|death| {
            let is_first = death.is_none();
            if is_first {
                error!(cause, "the journal has died; nothing more is answered from it");
                *death = Some(Fatal(cause));
            }
            is_first
        });
    }

    pub(super) fn is_dead(&self) -> bool {
        self.death.borrow().is_some()
    }

    /// What an append is told that nobody looks at any more.
    pub(super) fn refusal(&self) -> Outcome {
        if self.is_dead() { Outcome::Unknown } else { Outcome::Rejected }
    }

    pub(super) async fn died(&self) -> Fatal {
        let mut death = self.death.subscribe();
        let fatal = death.wait_for(Option::is_some).await.ok().and_then(|death| death.clone());
        match fatal {
            Some(fatal) => fatal,
            None => future::pending().await,
        }
    }
}
