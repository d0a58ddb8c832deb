//! How an account leaves memory: when there is nothing to do, behind a snapshot.

use super::{Effect, Ledger, message::Caller};

impl<C: Caller> Ledger<C> {
    /// Leaves if there is nothing to do, behind a snapshot if anything was written since the last.
    pub(super) fn prepare_to_leave(&mut self) {
        if self.is_busy() {
            return;
        }
        self.is_leaving = true;
        if self.entries_since_snapshot == 0 {
            return self.leave();
        }
        let snapshot = self.snapshot(&[]);
        self.next.push(snapshot, None);
    }

    /// Leaves, unless something came up.
    pub(super) fn leave(&mut self) {
        self.is_leaving = false;
        if self.next.is_empty() && self.unrecorded.is_empty() {
            self.effects.push(Effect::Leave);
        }
    }
}
