//! What a question has to be told of its card before it is decided, and whether it is this card's at all.

use std::sync::Arc;

use super::{Ask, Desk, Message};
use crate::{
    actors::directory::Bound,
    domain::{ConnectedAccountId, Violation},
};

impl Desk {
    /// Completes a question by what the card's own events have said.
    pub(super) fn complete(&self, ask: &mut Ask) {
        if let Some(standing) = &self.card.standing
            && ask.request.is_behind_card(standing)
            && ask.request.card.as_ref().is_some_and(|card| card.as_str() == self.account.as_str())
        {
            Arc::make_mut(&mut ask.request).heed_card(standing);
        }
    }

    pub(super) fn is_of_account(&self, named: Option<&ConnectedAccountId>) -> bool {
        let is_of = self.card.is_of(named);
        if !is_of {
            let word = Violation::WrongAccount.as_str();
            self.shared.metrics.webhook.violations.get([word]).increment(1);
            tracing::warn!(
                account = %self.account,
                "an event names another connected account than its card's: it is not recorded for the card"
            );
        }
        is_of
    }

    /// A question of another account is declined, and booked apart from the card.
    pub(super) fn ask_elsewhere(&self, mut ask: Box<Ask>) {
        Arc::make_mut(&mut ask.request).asked = Err(Violation::WrongAccount);
        let account = ask.request.account();
        match self.shared.reach(&account, Bound::CardQueue, ask.queued_at) {
            Ok(actor) => drop(actor.cast(Message::Ask(ask))),
            Err(cause) => ask.reply.give_up(cause),
        }
    }
}
