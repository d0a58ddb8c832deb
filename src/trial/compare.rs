//! A journal under another policy, in two worlds: *as it happened*, each request on the history that there was; and *as it would
//! have gone*, on a history in which the other policy has decided everything before as well.

use std::{collections::HashSet, sync::Arc};

use super::{
    chain::{Chains, Ended, Undecided},
    order::{Read, in_order, is_carried},
    recent::Recent,
    report::{Change, Changed, Fate, Fates, Report, cause},
};
use crate::domain::{
    Account, AuthorizationId, AuthorizationRequest, AuthorizationStatus, Budget, Card, Decided, Decision,
    Event, Fact, Observation, Outcome, Policy, Source, Timestamp, TransactionKind,
};

/// Which requests are counted. All others only make the history.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Only those since then.
    pub since: Option<Timestamp>,
    /// Only those on this card.
    pub card: Option<String>,
    /// Only those on cards that were members of this group.
    pub group: Option<String>,
}

/// A candidate beside the policies that decided: one pass over a journal, of which some cards may need a second one; or the
/// appends of a running node, with the accounts that it was given.
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
    departed: Recent<AuthorizationId, Departed>,
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
            fates: Fates::new(usize::MAX),
        }
    }

    /// A comparison beside a running node: it knows the accounts that it is given, and follows what becomes of this many
    /// authorizations.
    pub(super) fn live(candidate: Arc<Policy>, followed_max: usize) -> Self {
        Self {
            worlds: Worlds::partial(followed_max),
            fates: Fates::new(followed_max),
            ..Self::new(candidate, Selection::default())
        }
    }

    /// The candidate.
    pub(super) const fn candidate(&self) -> &Arc<Policy> {
        &self.candidate
    }

    /// Whether an account is known.
    pub(super) fn has(&self, account: &Account) -> bool {
        self.worlds.as_it_happened.has(account)
    }

    /// Takes an account in, with the state that it has: so it happened, and so it would have gone until now.
    pub(super) fn enter(&mut self, account: &Account, card: &Card, budget: &Budget) {
        for world in self.worlds.both() {
            world.enter(account.clone(), card.clone(), budget.clone());
        }
    }

    /// Forgets an account.
    pub(super) fn leave(&mut self, account: &Account) {
        for world in self.worlds.both() {
            world.leave(account);
        }
    }

    /// The accounts without whose state, or without whose history, the requests of an append cannot be decided; each with its
    /// request.
    pub(super) fn lacks(&mut self, group: &[Read]) -> Vec<(Account, Arc<AuthorizationRequest>)> {
        let mut lacking = Vec::new();
        for (entry, events) in group {
            for event in events {
                if let Event::Decided(decided) = event
                    && decided.decision.source == Source::Policy
                    && !is_carried(events)
                {
                    let accounts = self.worlds.lacks(&entry.account, &self.candidate, decided);
                    lacking
                        .extend(accounts.into_iter().map(|account| (account, Arc::clone(&decided.request))));
                }
            }
        }
        lacking
    }

    /// What was found since the last call.
    pub(super) fn found(&mut self) -> Report {
        self.report.next()
    }

    /// Forgets the accounts whose history turned out to be needed, and returns how many there were.
    pub(super) fn forget_missed(&mut self) -> usize {
        let missed = self.worlds.missed();
        for account in &missed {
            self.leave(account);
        }
        for world in self.worlds.both() {
            world.missed.clear();
        }
        missed.len()
    }

    /// Takes the entries of the next append, with their events.
    pub(crate) fn take(&mut self, group: &[Read]) {
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
        let Self { candidate, selection, mut with_history, worlds, mut report, .. } = self;
        let missed = worlds.missed();
        if missed.is_empty() {
            report.settle();
            return Ended::Found(Box::new(report));
        }
        with_history.extend(missed);
        let worlds = Worlds::new(&with_history);
        Ended::Again(Self { worlds, with_history, ..Self::new(candidate, selection) })
    }

    fn event(&mut self, account: &Account, event: &Event, is_carried: bool) {
        if let Event::Observed(observation) = event {
            self.fates.observed(observation, &mut self.report);
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
            && self
                .card
                .as_ref()
                .is_none_or(|id| request.card.as_ref().is_some_and(|card| card.as_str() == id))
            && self.group.as_ref().is_none_or(|name| request.group.as_deref() == Some(name.as_str()))
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
            departed: Recent::new(usize::MAX),
        }
    }

    fn partial(followed_max: usize) -> Self {
        Self {
            as_it_happened: Chains::partial(),
            as_it_would_have_gone: Chains::partial(),
            departed: Recent::new(followed_max),
        }
    }

    fn both(&mut self) -> [&mut Chains; 2] {
        [&mut self.as_it_happened, &mut self.as_it_would_have_gone]
    }

    /// The accounts that a request needs and that are not there, or not with the windows that the candidate has.
    fn lacks(&mut self, account: &Account, candidate: &Policy, decided: &Decided) -> Vec<Account> {
        let request = &decided.request;
        let mut lacking = Vec::new();
        for world in self.both() {
            if !world.has(account) {
                return vec![account.clone()];
            }
            let charged = world.charged(account, candidate, request);
            lacking.extend(charged.iter().filter(|budget| !world.has(budget)).cloned());
        }
        if lacking.is_empty() {
            for world in self.both() {
                // The controls may stand in the same entry.
                if world
                    .prepare(account, candidate, request)
                    .is_err_and(|cause| cause == Undecided::NoControls)
                {
                    let _ = world.prepare(account, candidate, &bare(request));
                }
                lacking.extend(world.missed.drain());
            }
        }
        lacking.sort_unstable();
        lacking.dedup();
        lacking
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
        let in_world = |world: &mut Chains| match world.decide(account, candidate, request) {
            Err(Undecided::NoControls) => world.decide(account, candidate, &bare(request)),
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

/// A request without the controls that it carried: those that the journal does not hold were not mirrored then.
fn bare(request: &AuthorizationRequest) -> Arc<AuthorizationRequest> {
    let mut bare = request.clone();
    bare.details.controls = None;
    Arc::new(bare)
}

impl Fates {
    /// Learns what became of an authorization whose answer would change.
    fn observed(&mut self, observation: &Observation, report: &mut Report) {
        let became = match &observation.fact {
            Fact::Authorization(seen) => match seen.status {
                AuthorizationStatus::Reversed => Some((&seen.id, Fate::Reversed)),
                AuthorizationStatus::Expired => Some((&seen.id, Fate::Expired)),
                AuthorizationStatus::Pending | AuthorizationStatus::Closed => None,
            },
            Fact::Transaction(seen) => seen.authorization.as_ref().map(|id| match seen.kind {
                TransactionKind::Capture => (id, Fate::Captured),
                TransactionKind::Refund => (id, Fate::Refunded),
            }),
            Fact::Card(_) | Fact::Cardholder(_) | Fact::Other(_) => None,
        };
        if let Some((id, fate)) = became {
            self.became(id, fate, report);
        }
    }
}

/// What would change for one request.
pub(crate) fn change(recorded: &Decision, candidate: &Decision) -> Option<Change> {
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
