//! How accounts leave memory: when there is nothing to do for them, behind a snapshot.

use std::collections::BTreeSet;

use super::{Effect, Ledger, member::Slot, message::Caller};
use crate::clock::Instant;

impl<C: Caller> Ledger<C> {
    /// Has the accounts leave for which there is nothing to do, behind a snapshot if anything was written since the last:
    /// those that had no work since `unused_since`; all of them, where that is none and none has anything to do.
    pub(super) fn prepare_to_leave(&mut self, unused_since: Option<Instant>) {
        if unused_since.is_none() && self.is_busy() {
            return;
        }
        let busy = self.slots_waited_for();
        let idle = self.members.iter().filter(|(at, member)| {
            let is_used = unused_since.is_some_and(|since| member.used_at > since);
            !is_used && !busy.contains(at) && !member.is_busy() && !member.is_leaving
        });
        let idle: Vec<Slot> = idle.map(|(at, _)| at).collect();
        for at in &idle {
            self.members[*at].is_leaving = true;
        }
        let (changed, unchanged): (Vec<Slot>, Vec<Slot>) =
            idle.into_iter().partition(|at| self.members[*at].entries_since_snapshot > 0);
        self.leaving.extend(changed);
        self.leave(unchanged);
    }

    /// Takes those of the accounts out of memory that leave, unless something came up. With the last one the ledger goes.
    pub(super) fn leave(&mut self, accounts: Vec<Slot>) {
        if !accounts.iter().any(|at| self.members[*at].is_leaving) {
            return;
        }
        let busy = self.slots_waited_for();
        for at in accounts {
            let member = &mut self.members[at];
            if std::mem::take(&mut member.is_leaving) && !member.is_busy() && !busy.contains(&at) {
                self.members.remove(at);
            }
        }
        if self.members.len() == 0 && !self.is_busy() {
            self.effects.push(Effect::Leave);
        }
    }

    /// The accounts with entries that are not durable, or with work that waits, perhaps until another account is read.
    fn slots_waited_for(&self) -> BTreeSet<Slot> {
        let mut slots = self.slots_in_use();
        for (_, member) in self.members.iter() {
            slots.extend(member.work_waits_for());
        }
        slots
    }

    /// The accounts with entries that are not durable.
    pub(super) fn slots_in_use(&self) -> BTreeSet<Slot> {
        let in_flight = self.in_flight.iter().flat_map(|in_flight| &in_flight.rows);
        let mut slots: BTreeSet<Slot> = in_flight.map(|row| row.at).collect();
        slots.extend(self.next.slots());
        slots.extend(self.unrecorded.slots());
        slots
    }
}
