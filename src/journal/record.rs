//! The form of events on disk: a JSON array whose first element is the version of the form, the rest one object for
//! each event. Only the fields that are listed here are ever written; `docs/journal-format.md` draws them.

mod authorization;
mod budget;
mod card;
mod command;
mod controls;
mod decided;
mod delivered;
mod details;
mod object;
mod observed;
mod policy;
mod ruled;
mod tally;
mod trial;

use std::{borrow::Cow, cell::RefCell, fmt, marker::PhantomData, ops::Deref, sync::Arc};

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, SeqAccess, Visitor},
};

use crate::domain::{
    Account, AuthorizationId, BudgetEvent, Event, Fact, ListedTransaction, Mention, PolicyEvent,
};

/// The version of the form that this build writes. It reads this one and all before it.
const VERSION: u32 = 1;

/// Room for writing that a thread keeps: enough for a decision, and for the snapshot of a usual card.
const KEPT_BYTES_MAX: usize = 64 * 1024;

/// An entry's body that cannot be read back.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// It is no JSON of the expected form.
    #[error("expected a journal entry of form {VERSION}, found: {0}")]
    Form(#[from] serde_json::Error),
    /// A newer build wrote it.
    #[error("the journal entry has form {0}, this build reads up to {VERSION}: run a newer build")]
    Newer(u32),
    /// A field has a value that no build writes.
    #[error("the journal entry's `{field}` is `{found}`, which no build writes")]
    Field {
        /// Which field.
        field: &'static str,
        /// The beginning of what was found.
        found: String,
    },
}

/// Writes events as a body. It is written into room that the thread keeps, and takes no more than it needs: appends wait,
/// and a journal in memory keeps them for good.
#[must_use]
pub fn encode<'a>(events: impl IntoIterator<Item = &'a Event>) -> String {
    thread_local! {
        static ROOM: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    }
    ROOM.with_borrow_mut(|body| {
        write_all(body, events);
        let text = str::from_utf8(body).unwrap_or_default().to_owned();
        body.clear();
        body.shrink_to(KEPT_BYTES_MAX);
        text
    })
}

fn write_all<'a>(body: &mut Vec<u8>, events: impl IntoIterator<Item = &'a Event>) {
    body.push(b'[');
    body.extend_from_slice(itoa::Buffer::new().format(VERSION).as_bytes());
    for event in events {
        body.push(b',');
        write(body, event);
    }
    body.push(b']');
}

/// Reads a body back.
///
/// # Errors
/// [`Unreadable`] says what was expected and what was found.
pub fn decode(body: &str) -> Result<Vec<Event>, Unreadable> {
    serde_json::from_str::<Body>(body)?.0
}

/// The events of a body, read in one pass.
struct Body(Result<Vec<Event>, Unreadable>);

impl<'de> Deserialize<'de> for Body {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(BodyVisitor)
    }
}

struct BodyVisitor;

impl<'de> Visitor<'de> for BodyVisitor {
    type Value = Body;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array that begins with the version of its form")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Body, A::Error> {
        let mut events = Ok(Vec::new());
        if let Some(version) = elements.next_element::<u32>()?.filter(|version| *version > VERSION) {
            events = Err(Unreadable::Newer(version));
        }
        // What comes behind something unreadable is passed over.
        while let Ok(read) = &mut events {
            match elements.next_element::<EventRecord<'_>>()?.map(EventRecord::into_event) {
                Some(Ok(event)) => read.push(event),
                Some(Err(cause)) => events = Err(cause),
                None => return Ok(Body(events)),
            }
        }
        while elements.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Body(events))
    }
}

/// What an event speaks of: an authorization, captures and refunds. What was recalled is not: it follows from other
/// entries.
#[must_use]
pub fn mentions_of(event: &Event) -> Vec<Mention> {
    match event {
        Event::Carried(carried) => carried.events.iter().flat_map(mentions_of).collect(),
        Event::Decided(decided) | Event::StoodIn(decided) => {
            with_listed(&decided.request.authorization, &decided.request.told.transactions)
        }
        Event::Observed(observation) => match &observation.fact {
            Fact::Authorization(seen) => with_listed(&seen.id, &seen.listed),
            Fact::Transaction(seen) => {
                let authorization = seen.authorization.as_ref().map(Mention::from);
                authorization.into_iter().chain([Mention::from(&seen.id)]).collect()
            }
            Fact::Card(_) | Fact::Cardholder(_) | Fact::Other(_) => Vec::new(),
        },
        // A leg follows from an event of a card, which speaks of it.
        Event::Budget(event) => match &**event {
            BudgetEvent::Command(command) => command_mention(&command.id).into_iter().collect(),
            BudgetEvent::Leg(_) | BudgetEvent::Warned(_) | BudgetEvent::Snapshot(_) => Vec::new(),
        },
        Event::Command(command) => command_mention(&command.id).into_iter().collect(),
        Event::Recalled(_)
        | Event::Joined(_)
        | Event::Controls(_)
        | Event::Charges(_)
        | Event::Policy(_)
        | Event::Delivered(_)
        | Event::Snapshot(_) => Vec::new(),
    }
}

/// How a command of an operator is found in the journal.
#[must_use]
pub fn command_mention(id: &str) -> Option<Mention> {
    Mention::new(&format!("command:{id}"))
}

fn with_listed(authorization: &AuthorizationId, listed: &[ListedTransaction]) -> Vec<Mention> {
    let listed = listed.iter().map(|one| Mention::from(&one.id));
    [Mention::from(authorization)].into_iter().chain(listed).collect()
}

/// The one authorization that an event speaks of.
#[must_use]
pub fn authorization_of(event: &Event) -> Option<&AuthorizationId> {
    match event {
        Event::Decided(decided) | Event::StoodIn(decided) => Some(&decided.request.authorization),
        Event::Observed(observation) => match &observation.fact {
            Fact::Authorization(seen) => Some(&seen.id),
            Fact::Transaction(seen) => seen.authorization.as_ref(),
            Fact::Card(_) | Fact::Cardholder(_) | Fact::Other(_) => None,
        },
        Event::Recalled(_)
        | Event::Joined(_)
        | Event::Carried(_)
        | Event::Controls(_)
        | Event::Charges(_)
        | Event::Command(_)
        | Event::Budget(_)
        | Event::Policy(_)
        | Event::Delivered(_)
        | Event::Snapshot(_) => None,
    }
}

/// Writes one event as [`EventRecord`] reads it.
fn write(body: &mut Vec<u8>, event: &Event) {
    if let Event::Carried(carried) = event {
        for event in &carried.events {
            write(body, event);
            body.push(b',');
        }
    }
    let kind = match event {
        Event::Decided(_) => "decided",
        Event::StoodIn(_) => "stood_in",
        Event::Observed(_) => "observed",
        Event::Recalled(_) => "recalled",
        Event::Joined(_) => "joined",
        Event::Carried(_) => "carried",
        Event::Controls(_) => "controls",
        Event::Charges(_) => "charges",
        Event::Command(_) => "command",
        Event::Budget(event) => budget::kind(event),
        Event::Policy(event) => match &**event {
            PolicyEvent::InForce(_) => "policy",
            PolicyEvent::Shadow(_) => "shadow",
            PolicyEvent::Found(_) => "shadow_found",
        },
        Event::Delivered(_) => "delivered",
        Event::Snapshot(_) => "snapshot",
    };
    for part in ["{\"", kind, "\":"] {
        body.extend_from_slice(part.as_bytes());
    }
    // Writing to memory cannot fail, and no map of ours has keys that are no strings.
    let _ = match event {
        Event::Decided(decided) | Event::StoodIn(decided) => {
            decided::write(body, decided);
            Ok(())
        }
        Event::Observed(observation) => {
            serde_json::to_writer(&mut *body, &observed::ObservedRecord::from(&**observation))
        }
        Event::Recalled(recalled) => {
            serde_json::to_writer(&mut *body, &card::RecalledRecord::from(&**recalled))
        }
        Event::Joined(joined) => serde_json::to_writer(&mut *body, &card::JoinedRecord::from(joined)),
        Event::Carried(carried) => serde_json::to_writer(&mut *body, &card::CarriedRecord::from(&**carried)),
        Event::Controls(controls) => {
            serde_json::to_writer(&mut *body, &controls::ControlsRecord::from(&**controls))
        }
        Event::Charges(charges) => {
            serde_json::to_writer(&mut *body, &charges.iter().map(Account::as_str).collect::<Vec<_>>())
        }
        Event::Command(command) => {
            serde_json::to_writer(&mut *body, &command::CommandRecord::from(&**command))
        }
        Event::Budget(event) => budget::write(body, event),
        Event::Policy(event) => match &**event {
            PolicyEvent::InForce(record) => {
                serde_json::to_writer(&mut *body, &policy::PolicyForm::from(record))
            }
            PolicyEvent::Shadow(record) => {
                serde_json::to_writer(&mut *body, &trial::ShadowForm::from(record))
            }
            PolicyEvent::Found(found) => serde_json::to_writer(&mut *body, &trial::FoundForm::from(found)),
        },
        Event::Delivered(delivered) => {
            serde_json::to_writer(&mut *body, &delivered::DeliveredRecord::from(delivered))
        }
        Event::Snapshot(card) => serde_json::to_writer(&mut *body, &card::CardRecord::from(&**card)),
    };
    body.push(b'}');
}

/// One event on disk, as it is read.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum EventRecord<'a> {
    #[serde(borrow)]
    Decided(Box<decided::DecidedRecord<'a>>),
    #[serde(borrow)]
    StoodIn(Box<decided::DecidedRecord<'a>>),
    #[serde(borrow)]
    Observed(Box<observed::ObservedRecord<'a>>),
    #[serde(borrow)]
    Recalled(Box<card::RecalledRecord<'a>>),
    #[serde(borrow)]
    Joined(card::JoinedRecord<'a>),
    #[serde(borrow)]
    Carried(card::CarriedRecord<'a>),
    #[serde(borrow)]
    Controls(controls::ControlsRecord<'a>),
    #[serde(borrow)]
    Charges(Vec<Text<'a>>),
    #[serde(borrow)]
    Leg(Box<budget::LegRecord<'a>>),
    #[serde(borrow)]
    Command(Box<command::CommandRecord<'a>>),
    #[serde(borrow)]
    BudgetCommand(Box<command::CommandRecord<'a>>),
    #[serde(borrow)]
    Warned(budget::WarnedRecord<'a>),
    #[serde(borrow)]
    Budget(Box<budget::BudgetRecord<'a>>),
    #[serde(borrow)]
    Policy(policy::PolicyForm<'a>),
    #[serde(borrow)]
    Delivered(delivered::DeliveredRecord<'a>),
    #[serde(borrow)]
    Shadow(trial::ShadowForm<'a>),
    #[serde(borrow)]
    ShadowFound(trial::FoundForm<'a>),
    #[serde(borrow)]
    Snapshot(Box<card::CardRecord<'a>>),
}

impl EventRecord<'_> {
    fn into_event(self) -> Result<Event, Unreadable> {
        Ok(match self {
            Self::Decided(record) => Event::Decided(Box::new(record.into_decided()?)),
            Self::StoodIn(record) => Event::StoodIn(Box::new(record.into_decided()?)),
            Self::Observed(record) => Event::Observed(Box::new(record.into_observation()?)),
            Self::Recalled(record) => Event::Recalled(Box::new(record.into_recalled()?)),
            Self::Joined(record) => Event::Joined(record.into_joined()?),
            Self::Carried(record) => Event::Carried(Box::new(record.into_carried()?)),
            Self::Controls(record) => Event::Controls(Arc::new(record.into_controls()?)),
            Self::Charges(accounts) => Event::Charges(budget::charges(&accounts)?),
            Self::Leg(record) => Event::Budget(Box::new(BudgetEvent::Leg(record.into_leg()?))),
            Self::Command(record) => Event::Command(Box::new(record.into_command()?)),
            Self::BudgetCommand(record) => {
                Event::Budget(Box::new(BudgetEvent::Command(record.into_command()?)))
            }
            Self::Warned(record) => Event::Budget(Box::new(BudgetEvent::Warned(record.into_warned()?))),
            Self::Budget(record) => Event::Budget(Box::new(BudgetEvent::Snapshot(record.into_budget()?))),
            Self::Policy(record) => Event::Policy(Box::new(PolicyEvent::InForce(record.into_record()?))),
            Self::Delivered(record) => Event::Delivered(record.into_delivered()),
            Self::Shadow(record) => Event::Policy(Box::new(PolicyEvent::Shadow(record.into_record()))),
            Self::ShadowFound(found) => Event::Policy(Box::new(PolicyEvent::Found(found.into_found()))),
            Self::Snapshot(record) => Event::Snapshot(Box::new(record.into_card()?)),
        })
    }
}

/// Text of a record: borrowed when written.
type Text<'a> = Cow<'a, str>;

/// Text of a record that is read often: borrowed unless it has escapes. Serde borrows a `Cow` only where it is a field by
/// itself.
#[derive(Default)]
struct Borrowed<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Borrowed<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(BorrowedVisitor(PhantomData))
    }
}

struct BorrowedVisitor<'a>(PhantomData<&'a str>);

impl<'de: 'a, 'a> Visitor<'de> for BorrowedVisitor<'a> {
    type Value = Borrowed<'a>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Borrowed<'a>, E> {
        Ok(Borrowed(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Borrowed<'a>, E> {
        Ok(Borrowed(Cow::Owned(text.to_owned())))
    }
}

impl AsRef<str> for Borrowed<'_> {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl Deref for Borrowed<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

/// Reads a field that must be one of its type's own words.
fn field<T>(field: &'static str, text: &str, parse: impl FnOnce(&str) -> Option<T>) -> Result<T, Unreadable> {
    parse(text).ok_or_else(|| Unreadable::Field { field, found: text.chars().take(40).collect() })
}

/// Reads a field that may be missing.
fn optional<T>(
    name: &'static str,
    text: Option<&impl AsRef<str>>,
    parse: impl FnOnce(&str) -> Option<T>,
) -> Result<Option<T>, Unreadable> {
    text.map(|text| field(name, text.as_ref(), parse)).transpose()
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands fields by reference")]
fn is_false(value: &bool) -> bool {
    !*value
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands fields by reference")]
fn is_zero(value: &i64) -> bool {
    *value == 0
}

#[cfg(test)]
mod tests;
