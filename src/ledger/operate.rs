//! What operators do to a card or a budget: recorded once, in the order it came among the decisions.

use super::{Effect, Given, Ledger, Operation, batch::Waiting, member::Slot, message::Caller};
use crate::domain::{BudgetEvent, Command, Event};

impl<C: Caller> Ledger<C> {
    /// Records a command, once.
    pub(super) fn operate(&mut self, given: &Given<'_>, at: Slot, operation: Operation<C>) {
        let Operation { command, caller, .. } = operation;
        if self.is_known(at, &command) {
            let in_flight = self.in_flight.as_mut().map(|in_flight| &mut in_flight.batch);
            for batch in in_flight.into_iter().chain([&mut self.next]) {
                if let Some(place) = batch.place_of_command(at, &command.id) {
                    return batch.join(place, Waiting::Receipt(caller));
                }
            }
            return self.effects.push(Effect::Receipt(caller));
        }
        let event = if self.members[at].is_budget() {
            Event::Budget(Box::new(BudgetEvent::Command(command)))
        } else {
            Event::Command(Box::new(command))
        };
        self.record(given, at, event, Some(Waiting::Receipt(caller)));
    }

    /// Whether a command of this id is among the latest of the account.
    pub(super) fn is_known(&self, at: Slot, command: &Command) -> bool {
        let member = &self.members[at];
        let exceptions = if member.is_budget() { &member.budget.exceptions } else { &member.card.exceptions };
        exceptions.has(&command.id)
    }
}
