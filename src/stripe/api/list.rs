//! Lists, page by page, newest first, and the objects in them, as raw JSON: what they mean is not read here.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Api, Failure, GaveUp, transport::Reply};
use crate::domain::{CardId, Timestamp};

/// Objects a page at first; Stripe gives no more.
const PAGE_OBJECTS_MAX: usize = 100;

/// What can be listed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Listing {
    /// `issuing.authorization`
    Authorizations,
    /// `issuing.transaction`
    Transactions,
    /// `event`, of the type `issuing_authorization.updated`; Stripe keeps them for 30 days.
    AuthorizationUpdates,
    /// `issuing.card`: all of them, since no list tells which changed.
    Cards,
    /// `issuing.cardholder`: all of them.
    Cardholders,
}

impl Listing {
    /// Where the list is.
    #[must_use]
    pub const fn path(self) -> &'static str {
        match self {
            Self::Authorizations => "/v1/issuing/authorizations",
            Self::Transactions => "/v1/issuing/transactions",
            Self::AuthorizationUpdates => "/v1/events",
            Self::Cards => "/v1/issuing/cards",
            Self::Cardholders => "/v1/issuing/cardholders",
        }
    }
}

/// Which objects of a list.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Created then or later, in whole seconds.
    pub from: Option<Timestamp>,
    /// Created then or earlier, in whole seconds.
    pub to: Option<Timestamp>,
    /// Of this card. Events cannot be asked for by card.
    pub card: Option<CardId>,
}

/// A list that is being read.
pub struct Pages<'a> {
    api: &'a Api,
    listing: Listing,
    filter: Filter,
    /// The last object that was read.
    after: Option<String>,
    /// Objects a page: fewer after a page that was too large to be read.
    page_objects: usize,
    is_done: bool,
}

/// Some objects, as they were at one time.
#[derive(Debug)]
pub struct Page {
    /// Newest first.
    pub objects: Vec<Object>,
    /// How many more there were that do not name themselves.
    pub nameless: usize,
    /// When Stripe answered, by its own clock.
    pub read_at: Timestamp,
}

/// One object.
#[derive(Clone, Debug)]
pub struct Object {
    /// Its id.
    pub id: String,
    /// When Stripe created it.
    pub created: Timestamp,
    /// All of it.
    pub json: Box<RawValue>,
}

impl<'a> Pages<'a> {
    pub(super) const fn new(api: &'a Api, listing: Listing, filter: Filter) -> Self {
        Self { api, listing, filter, after: None, page_objects: PAGE_OBJECTS_MAX, is_done: false }
    }

    /// The next page; nothing after the last.
    ///
    /// # Errors
    /// [`GaveUp`] says why, and what to do. The same page is tried again by the next call.
    pub async fn next(&mut self) -> Result<Option<Page>, GaveUp> {
        if self.is_done {
            return Ok(None);
        }
        let reply = loop {
            match self.api.get(self.path()).await {
                Err(GaveUp { failure: Failure::TooLarge { .. }, .. }) if self.page_objects > 1 => {
                    self.page_objects = self.page_objects.div_euclid(4).max(1);
                }
                reply => break reply?,
            }
        };
        let (page, has_more) = Page::read(&reply)?;
        let last = page.objects.last().map(|object| object.id.clone());
        if has_more && (last.is_none() || last == self.after) {
            return Err(Failure::Unreadable { expected: "a page that goes on behind the one before" }.into());
        }
        self.after = last;
        self.is_done = !has_more;
        Ok(Some(page))
    }

    fn path(&self) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair("limit", &self.page_objects.to_string());
        let mut number = |name: &str, at: Option<Timestamp>| {
            if let Some(at) = at {
                query.append_pair(name, &at.as_seconds().to_string());
            }
        };
        let is_of_time = !matches!(self.listing, Listing::Cards | Listing::Cardholders);
        number("created[gte]", self.filter.from.filter(|_| is_of_time));
        number("created[lte]", self.filter.to.filter(|_| is_of_time));
        match (self.listing, &self.filter.card) {
            (Listing::AuthorizationUpdates, _) => {
                query.append_pair("type", "issuing_authorization.updated");
            }
            (Listing::Authorizations | Listing::Transactions, Some(card)) => {
                query.append_pair("card", card.as_str());
            }
            (Listing::Authorizations | Listing::Transactions, None)
            | (Listing::Cards | Listing::Cardholders, _) => {}
        }
        if let Some(after) = &self.after {
            query.append_pair("starting_after", after);
        }
        format!("{}?{}", self.listing.path(), query.finish())
    }
}

impl Page {
    /// Reads one object as a page.
    pub(super) fn single(reply: &Reply) -> Result<Self, Failure> {
        let json: Box<RawValue> = serde_json::from_slice(&reply.body).map_err(|_| NOT_AN_OBJECT)?;
        Ok(Self { objects: vec![Object::read(json)?], nameless: 0, read_at: reply.at })
    }

    fn read(reply: &Reply) -> Result<(Self, bool), Failure> {
        #[derive(Deserialize)]
        struct Body {
            data: Vec<Box<RawValue>>,
            has_more: bool,
        }
        let body: Body = serde_json::from_slice(&reply.body)
            .map_err(|_| Failure::Unreadable { expected: "a list with `data` and `has_more`" })?;
        let listed = body.data.len();
        let objects: Vec<Object> =
            body.data.into_iter().filter_map(|object| Object::read(object).ok()).collect();
        let nameless = listed.saturating_sub(objects.len());
        Ok((Self { objects, nameless, read_at: reply.at }, body.has_more))
    }
}

const NOT_AN_OBJECT: Failure = Failure::Unreadable { expected: "an object with `id` and `created`" };

impl Object {
    /// Takes an object that names itself.
    ///
    /// # Errors
    /// It has no id, or no time.
    pub fn read(json: Box<RawValue>) -> Result<Self, Failure> {
        #[derive(Deserialize)]
        struct Fields {
            id: String,
            created: serde_json::Number,
        }
        let fields: Fields = serde_json::from_str(json.get()).map_err(|_| NOT_AN_OBJECT)?;
        let written = fields.created.to_string();
        // Some senders write whole seconds with a zero fraction.
        let seconds = written.split('.').next().and_then(|whole| whole.parse().ok()).ok_or(NOT_AN_OBJECT)?;
        Ok(Self { id: fields.id, created: Timestamp::from_seconds(seconds), json })
    }
}

/// An id as a part of a path. Ids of Stripe's need no escapes; what came from a command line might.
pub(super) fn path_segment(id: &str) -> String {
    form_urlencoded::byte_serialize(id.as_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_that_does_not_name_itself_is_counted_and_the_others_are_read() {
        let body = br#"{"has_more":false,"data":[{"id":"a","created":2},{"id":7},{"created":1},{"id":"b","created":1}]}"#;
        let reply = Reply { body: body.as_slice().into(), at: Timestamp::default() };
        let (page, has_more) = Page::read(&reply).unwrap();
        let ids: Vec<&str> = page.objects.iter().map(|object| object.id.as_str()).collect();
        assert_eq!((ids, page.nameless, has_more), (vec!["a", "b"], 2, false));
        let broken = Reply { body: br#"{"data":{}}"#.as_slice().into(), at: Timestamp::default() };
        assert!(Page::read(&broken).is_err());
    }
}
