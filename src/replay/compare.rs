//! A journal under another policy, in two worlds: *as it happened*, each request on the history that there was; and *as it would
//! have gone*, on a history in which the other policy has decided everything before as well.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use super::{
    chain::{Chains, Ended, Undecided},
    order::{Read, in_order},
    report::{Change, Changed, Fate, Fates, Report, cause},
    verify::is_carried,
};
use crate::{
    cli::Cards,
    domain::{
        Account, AuthorizationId, AuthorizationStatus, Decided, Decision, Event, Fact, Observation, Outcome,
        Policy, Source, Timestamp, TransactionKind,
    },
};

/// Which requests are counted. All others only make the history.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Only those since then.
    pub since: Option<Timestamp>,
    /// Only those on these cards.
    pub cards: Option<Cards>,
}

/// One pass over a journal, as [`super::Pass`] is one: some cards may need a second one.
pub struct Comparison {
    candidate: Arc<Policy>,
    selection: Selection,
    worlds: Worlds,
    with_history: HashSet<Account>,
    fates: Fates,
    report: Report,
}

/// All accounts in both worlds.
struct Worlds {
    as_it_happened: Chains,
    as_it_would_have_gone: Chains,
    /// Authorizations that hold another amount in the second world: what Stripe said of them did not happen there.
    departed: HashMap<AuthorizationId, Departed>,
}

/// What became of an authorization in the world in which the candidate decided.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Departed {
    /// It was declined: nothing more is heard of it.
    Declined,
    /// It holds another amount than Stripe reports.
    Held,
}

impl Comparison {
    /// A comparison with `candidate`.
    #[must_use]
    pub fn new(candidate: Arc<Policy>, selection: Selection) -> Self {
        Self {
            report: Report::new(candidate.version().as_str()),
            candidate,
            selection,
            worlds: Worlds::new(&HashSet::new()),
            with_history: HashSet::new(),
            fates: Fates::default(),
        }
    }

    /// Takes the entries of the next append, with their events.
    pub(super) fn take(&mut self, group: &[Read]) {
        let are_carried: Vec<bool> = group.iter().map(|(_, events)| is_carried(events)).collect();
        for (place, event) in in_order(group) {
            if let (Some((entry, _)), Some(is_carried)) = (group.get(place), are_carried.get(place)) {
                self.event(&entry.account, event, *is_carried);
            }
        }
    }

    /// Ends the pass.
    #[must_use]
    pub fn end(self) -> Ended<Self, Report> {
        let Self { candidate, selection, mut with_history, worlds, fates, mut report } = self;
        let missed = worlds.missed();
        if missed.is_empty() {
            report.settle(&fates);
            return Ended::Found(Box::new(report));
        }
        with_history.extend(missed);
        let worlds = Worlds::new(&with_history);
        Ended::Again(Self { worlds, with_history, ..Self::new(candidate, selection) })
    }

    fn event(&mut self, account: &Account, event: &Event, is_carried: bool) {
        if let Event::Observed(observation) = event {
            self.fates.observed(observation);
        }
        let worlds = &mut self.worlds;
        let gone = match event {
            Event::Decided(decided) if decided.decision.source == Source::Policy && !is_carried => {
                let Ok(both) = worlds.decide(account, &self.candidate, decided) else { return };
                let gone = both.gone.clone();
                if self.selection.has(decided) {
                    self.report.count(decided, both, &mut self.fates);
                }
                gone.map(|decision| {
                    worlds.depart(decided, &decision);
                    Event::Decided(Box::new(Decided { request: Arc::clone(&decided.request), decision }))
                })
            }
            other => worlds.remains(other).then(|| other.clone()),
        };
        worlds.as_it_happened.apply(account, event);
        if let Some(gone) = gone {
            worlds.as_it_would_have_gone.apply(account, &gone);
        }
    }
}

impl Selection {
    fn has(&self, decided: &Decided) -> bool {
        let Decided { request, decision } = decided;
        self.since.is_none_or(|since| decision.at >= since)
            && match &self.cards {
                None => true,
                Some(Cards::One(id)) => request.card.as_ref().is_some_and(|card| card.as_str() == id),
                Some(Cards::Group(name)) => request.group.as_deref() == Some(name.as_str()),
            }
    }
}

/// The candidate's decisions on one request.
pub(super) struct Both {
    /// As it happened.
    pub(super) happened: Decision,
    /// As it would have gone; none for an increment of what was declined there.
    pub(super) gone: Option<Decision>,
}

impl Worlds {
    fn new(with_history: &HashSet<Account>) -> Self {
        Self {
            as_it_happened: Chains::new(with_history.clone(), true),
            as_it_would_have_gone: Chains::new(with_history.clone(), true),
            departed: HashMap::new(),
        }
    }

    fn missed(&self) -> HashSet<Account> {
        self.as_it_happened.missed.union(&self.as_it_would_have_gone.missed).cloned().collect()
    }

    /// The candidate's decisions.
    ///
    /// # Errors
    /// [`Undecided::NeedsHistory`].
    fn decide(
        &mut self,
        account: &Account,
        candidate: &Policy,
        decided: &Decided,
    ) -> Result<Both, Undecided> {
        let request = &decided.request;
        // Controls that the journal does not hold were not mirrored then: the request goes without them.
        let bare = || {
            let mut bare = request.as_ref().clone();
            bare.details.controls = None;
            Arc::new(bare)
        };
        let in_world = |world: &mut Chains| match world.decide(account, candidate, request) {
            Err(Undecided::NoControls) => world.decide(account, candidate, &bare()),
            other => other,
        };
        let happened = match in_world(&mut self.as_it_happened) {
            Err(Undecided::NoControls) => decided.decision.clone(),
            other => other?,
        };
        let gone = match self.departed.get(&request.authorization) {
            Some(Departed::Declined) => None,
            Some(Departed::Held) | None => match in_world(&mut self.as_it_would_have_gone) {
                Err(Undecided::NoControls) => None,
                other => Some(other?),
            },
        };
        Ok(Both { happened, gone })
    }

    /// Remembers where the second world parts with the first.
    fn depart(&mut self, decided: &Decided, gone: &Decision) {
        let Decided { request, decision } = decided;
        if gone.granted == decision.granted && gone.outcome == decision.outcome {
            return;
        }
        let is_first = request.history_entries == 0;
        let departed =
            if gone.outcome == Outcome::Declined && is_first { Departed::Declined } else { Departed::Held };
        self.departed.insert(request.authorization.clone(), departed);
    }

    /// Whether an event happens in the second world too.
    fn remains(&self, event: &Event) -> bool {
        let is_departed = |id: &AuthorizationId| self.departed.contains_key(id);
        match event {
            Event::Observed(observation) => match &observation.fact {
                Fact::Authorization(seen) => !is_departed(&seen.id),
                Fact::Transaction(seen) => !seen.authorization.as_ref().is_some_and(is_departed),
                Fact::Card(_) | Fact::Cardholder(_) | Fact::Other(_) => true,
            },
            Event::StoodIn(decided) | Event::Decided(decided) => !is_departed(&decided.request.authorization),
            Event::Recalled(recalled) => !recalled.authorizations.iter().any(|(id, _)| is_departed(id)),
            Event::Joined(_)
            | Event::Carried(_)
            | Event::Controls(_)
            | Event::Charges(_)
            | Event::Command(_)
            | Event::Budget(_)
            | Event::Policy(_)
            | Event::Delivered(_)
            | Event::Snapshot(_) => true,
        }
    }
}

impl Fates {
    /// Learns what became of an authorization whose answer would change.
    fn observed(&mut self, observation: &Observation) {
        match &observation.fact {
            Fact::Authorization(seen) => {
                if let Some(fate) = self.of(&seen.id) {
                    match seen.status {
                        AuthorizationStatus::Reversed => fate.became = Fate::Reversed,
                        AuthorizationStatus::Expired => fate.became = Fate::Expired,
                        AuthorizationStatus::Pending | AuthorizationStatus::Closed => {}
                    }
                }
            }
            Fact::Transaction(seen) => {
                if let Some(fate) = seen.authorization.as_ref().and_then(|id| self.of(id)) {
                    match seen.kind {
                        TransactionKind::Capture => fate.became = Fate::Captured,
                        TransactionKind::Refund => fate.became = Fate::Refunded,
                    }
                }
            }
            Fact::Card(_) | Fact::Cardholder(_) | Fact::Other(_) => {}
        }
    }
}

/// What would change for one request.
pub(super) fn change(recorded: &Decision, candidate: &Decision) -> Option<Change> {
    match (recorded.outcome, candidate.outcome) {
        (Outcome::Approved | Outcome::Partial, Outcome::Declined) if candidate.challenge => {
            Some(Change::NewlyChallenged)
        }
        (Outcome::Approved | Outcome::Partial, Outcome::Declined) => Some(Change::NewlyDeclined),
        (Outcome::Declined, Outcome::Approved | Outcome::Partial) => Some(Change::NewlyApproved),
        (Outcome::Declined, Outcome::Declined) => {
            (candidate.challenge && !recorded.challenge).then_some(Change::NewlyChallenged)
        }
        (Outcome::Approved | Outcome::Partial, Outcome::Approved | Outcome::Partial) => {
            (recorded.granted != candidate.granted).then_some(Change::OtherAmount)
        }
    }
}

impl Changed {
    /// One request whose answer would change.
    pub(super) fn of(decided: &Decided, candidate: &Decision, change: Change) -> Self {
        let Decided { request, decision } = decided;
        let asked = request.asked.ok();
        Self {
            change,
            at: decision.at.to_string(),
            authorization: request.authorization.to_string(),
            card: request.card.as_ref().map(ToString::to_string),
            amount: asked.map_or(0, |asked| asked.amount),
            currency: asked.map(|asked| asked.currency.to_string()),
            category: request.merchant.category.as_str().to_owned(),
            country: request.merchant.country.map(|country| country.to_string()),
            before: crate::domain::explain(request, decision),
            after: crate::domain::explain(request, candidate),
            cause: cause(candidate),
            would_have_passed_with: candidate
                .largest_approvable
                .filter(|largest| *largest > 0 && candidate.outcome == Outcome::Declined),
        }
    }
}
