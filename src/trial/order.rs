//! The events of a journal in the order in which they came about. Entries that were appended together have one id: of several
//! accounts, each decision was made on what those before it, and commands of operators, had left of the budgets.

use std::collections::{HashMap, VecDeque};

use crate::{
    domain::{BudgetEvent, Event},
    journal::{Entry, EntryId},
};

/// How many entries of other appends may stand between those of one: more than all that a database takes at once.
const APART_MAX: u64 = 16_384;

/// An entry with its events.
pub(crate) type Read = (Entry, Vec<Event>);

/// Entries that may not be all of their append yet.
#[derive(Default)]
pub(crate) struct Groups {
    waiting: VecDeque<Vec<Read>>,
    /// Where the append of an id is, counted from the first one ever.
    places: HashMap<EntryId, usize>,
    gone: usize,
}

impl Groups {
    /// Takes the next entry, and gives back appends that are whole, in order.
    pub(crate) fn take(&mut self, read: Read) -> Vec<Vec<Read>> {
        let lsn = read.0.lsn;
        if self.waiting.is_empty() && !read.1.iter().any(is_shared) {
            return vec![vec![read]];
        }
        let next = self.gone.saturating_add(self.waiting.len());
        let place = *self.places.entry(read.0.id).or_insert(next);
        match self.waiting.get_mut(place.saturating_sub(self.gone)) {
            Some(group) => group.push(read),
            None => self.waiting.push_back(vec![read]),
        }
        let mut whole = Vec::new();
        while let Some(group) = self.waiting.pop_front_if(|group| is_whole(group, lsn)) {
            self.forget(&group);
            whole.push(group);
        }
        whole
    }

    /// The rest, at the end of the journal.
    pub(crate) fn end(&mut self) -> Vec<Vec<Read>> {
        self.places.clear();
        std::mem::take(&mut self.waiting).into()
    }

    fn forget(&mut self, group: &[Read]) {
        self.gone = self.gone.saturating_add(1);
        if let Some((entry, _)) = group.first() {
            self.places.remove(&entry.id);
        }
    }
}

fn is_whole(group: &[Read], lsn: u64) -> bool {
    group.first().is_none_or(|(first, _)| lsn > first.lsn.saturating_add(APART_MAX))
}

/// Whether the events are what a replaced card brings along: they were decided on its own chain.
pub(crate) fn is_carried(events: &[Event]) -> bool {
    events.iter().any(|event| matches!(event, Event::Carried(_)))
}

/// Whether an event is of accounts that share an append.
fn is_shared(event: &Event) -> bool {
    match event {
        Event::Charges(_) | Event::Budget(_) => true,
        Event::Decided(_)
        | Event::StoodIn(_)
        | Event::Observed(_)
        | Event::Recalled(_)
        | Event::Joined(_)
        | Event::Carried(_)
        | Event::Controls(_)
        | Event::Command(_)
        | Event::Policy(_)
        | Event::Delivered(_)
        | Event::Snapshot(_) => false,
    }
}

/// The events of one append in order, each with the place of its entry.
pub(crate) fn in_order(group: &[Read]) -> Vec<(usize, &Event)> {
    let mut keyed: Vec<((u32, bool), usize, &Event)> = Vec::new();
    for (place, (_, events)) in group.iter().enumerate() {
        let mut key = (0, false);
        for event in events {
            match event {
                Event::Decided(decided) => key = (decided.decision.turn, false),
                Event::Budget(event) => match &**event {
                    BudgetEvent::Leg(leg) => key = (leg.turn, true),
                    BudgetEvent::Command(command) => key = (command.turn, false),
                    BudgetEvent::Warned(_) | BudgetEvent::Snapshot(_) => {}
                },
                Event::StoodIn(_)
                | Event::Observed(_)
                | Event::Recalled(_)
                | Event::Joined(_)
                | Event::Carried(_)
                | Event::Controls(_)
                | Event::Charges(_)
                | Event::Command(_)
                | Event::Policy(_)
                | Event::Delivered(_)
                | Event::Snapshot(_) => {}
            }
            keyed.push((key, place, event));
        }
    }
    if group.len() > 1 {
        // Stable: the events of an entry stay in their order.
        keyed.sort_by_key(|(key, ..)| *key);
    }
    keyed.into_iter().map(|(_, place, event)| (place, event)).collect()
}
