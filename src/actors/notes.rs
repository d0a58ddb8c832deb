//! What a ledger notes, counted and logged.

use std::sync::{Arc, atomic::Ordering};

use super::directory::Shared;
use crate::{
    domain::{Account, AuthorizationRequest, Outcome, Reason, Source, Violation},
    ledger::{Note, StripeWord},
    metrics::{Agrees, JournalFailure, Shed},
};

pub(super) fn take(shared: &Arc<Shared>, account: &Account, note: Note) {
    let metrics = &shared.metrics;
    match note {
        Note::Loaded => {}
        Note::NotLoaded(cause) => {
            metrics.journal.errors.get(JournalFailure::Load).increment(1);
            tracing::error!(%account, %cause, "the card cannot be loaded from the journal");
        }
        Note::NotReloaded(cause) => {
            tracing::error!(%account, %cause, "the card cannot be reloaded from the journal");
        }
        Note::NotFound(cause) => {
            tracing::error!(%account, %cause, "the journal cannot look up what was evicted from memory");
        }
        Note::RepeatedFromMemory(cause) => {
            tracing::debug!(%account, %cause, "an answer is repeated from memory");
        }
        Note::NotCarriedOver(cause) => tracing::warn!(
            %account,
            %cause,
            "the entries of a replacement card cannot be copied to its predecessor; trying again"
        ),
        Note::WrongAccount => {
            metrics.webhook.violations.get([Violation::WrongAccount.as_str()]).increment(1);
            tracing::warn!(
                %account,
                "an event names another connected account than its card's: it is not recorded for the card"
            );
        }
        Note::QueueFull => metrics.decisions.shed.get(Shed::CardQueue).increment(1),
        Note::PendingFull => metrics.decisions.shed.get(Shed::CardPending).increment(1),
        Note::Repeated => metrics.decisions.repeats.increment(1),
        Note::UnknownGroup(request) => unknown_group(shared, &request),
        Note::Overrun => metrics.decisions.overruns.increment(1),
        Note::BudgetShare { percent, used, max } => tracing::warn!(
            budget = account.as_str(),
            percent,
            used,
            max,
            "a budget has reached a share of a limit that its policy warns at"
        ),
        Note::Stripe(word) => stripe(shared, &word),
        Note::Conflict => {
            shared.conflicts.fetch_add(1, Ordering::Relaxed);
            metrics.journal.conflicts.increment(1);
        }
        Note::Rejected => metrics.journal.errors.get(JournalFailure::Rejected).increment(1),
        Note::NoSnapshot(authorizations) => tracing::warn!(
            %account,
            authorizations,
            "a card is too large for a snapshot and will take longer to load: holds that are never captured, reversed or \
             expired make it grow"
        ),
        Note::Cycle => tracing::error!(
            %account,
            "cards replace each other in a cycle: their purchases are recorded on this one"
        ),
        Note::CycleTooLong => tracing::error!(
            %account,
            "expected at most 64 cards that replace each other in a cycle, found more: the event is not recorded"
        ),
    }
}

/// A misspelled group would quietly get the default.
fn unknown_group(shared: &Shared, request: &AuthorizationRequest) {
    shared.metrics.decisions.unknown_groups.increment(1);
    if let Some(held_back) = shared.unknown_groups.turn(request.received_at) {
        tracing::warn!(
            card = request.card.as_ref().map(tracing::field::display),
            group = request.group.as_deref(),
            held_back,
            "the policy lacks the group of a card: correct `tollgate_group` in its metadata, or add the group"
        );
    }
}

/// What Stripe did with a decision; a disagreement is worth a line.
fn stripe(shared: &Shared, word: &StripeWord) {
    let decisions = &shared.metrics.decisions;
    let agrees = match word.agrees {
        Some(true) => Agrees::Yes,
        Some(false) => Agrees::No,
        None => Agrees::Unasked,
    };
    decisions.stripe_outcomes.get([&*word.reason, agrees.as_str()]).increment(1);
    if word.is_forced {
        let words = [Outcome::Approved.as_str(), Reason::Approved.as_str(), Source::Forced.as_str()];
        decisions.made.get(words).increment(1);
    }
    if let (Agrees::No, Some((decision, ours))) = (agrees, word.ours) {
        tracing::warn!(
            authorization = %word.authorization,
            %decision,
            ours = ours.as_str(),
            approved = word.approved,
            reason = &*word.reason,
            "Stripe's outcome differs from the decision: the ledger follows Stripe"
        );
    }
}
