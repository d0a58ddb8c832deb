//! How far an endpoint has the events of the journal: the end of its chain there.

use std::{sync::Arc, time::Duration};

use super::{account, endpoint::Endpoint};
use crate::{
    clock,
    domain::{Account, Delivered, Event},
    journal::{Append, EntryId, Head, Journal, LookBack, Outcome, Reach, Row, record},
    ledger,
};

/// The pause before an append of unknown outcome is repeated.
const PAUSE: Duration = Duration::from_millis(200);

/// The end of an endpoint's chain.
pub(super) struct Cursor {
    journal: Arc<dyn Journal>,
    endpoint: Arc<str>,
    account: Account,
    head: Head,
    through: u64,
}

/// Why it was not recorded how far an endpoint has its events.
#[derive(Debug)]
pub(super) enum NotSaved {
    /// Another node recorded it: it delivers to this endpoint.
    Overtaken,
    /// The journal does not take it.
    Failed(String),
}

impl Cursor {
    /// Finds how far the endpoint is. One that is new gets what happens from now on.
    pub(super) async fn open(journal: &Arc<dyn Journal>, endpoint: &Endpoint) -> Result<Self, String> {
        let account = account(endpoint);
        let entries = journal.load(&account, Reach::Last(1)).await.map_err(|cause| cause.to_string())?;
        let mut cursor = Self {
            journal: Arc::clone(journal),
            endpoint: Arc::clone(&endpoint.name),
            account,
            head: Head::default(),
            through: 0,
        };
        if let Some(last) = entries.last() {
            cursor.head = Head { seq: last.seq, id: last.id };
            for event in ledger::read(last).map_err(|cause| cause.to_string())? {
                if let Event::Delivered(delivered) = event {
                    cursor.through = delivered.through;
                }
            }
            return Ok(cursor);
        }
        let what =
            LookBack { account: None, from: LookBack::END, look_max: 1, entries_max: 1, texts: Vec::new() };
        let page = journal.look_back(&what).await.map_err(|cause| cause.to_string())?;
        let end = page.entries.first().map_or(0, |newest| newest.lsn);
        match cursor.save(end).await {
            Ok(()) => Ok(cursor),
            Err(NotSaved::Overtaken) => Err("another node delivers to this endpoint".to_owned()),
            Err(NotSaved::Failed(cause)) => Err(cause),
        }
    }

    /// The last entry of which nothing is to be sent any more.
    pub(super) const fn through(&self) -> u64 {
        self.through
    }

    /// Records it.
    pub(super) async fn save(&mut self, through: u64) -> Result<(), NotSaved> {
        let delivered = Delivered { endpoint: Arc::clone(&self.endpoint), through, at: clock::now() };
        let row = Row {
            account: self.account.clone(),
            head: self.head,
            is_snapshot: false,
            mentions: Vec::new(),
            body: record::encode([&Event::Delivered(delivered)]),
        };
        let id = EntryId::new(fastrand::u64(1..));
        let append: Arc<[Append]> = Arc::from([Append::one(id, row)]);
        loop {
            match self.journal.append(Arc::clone(&append)).await.first() {
                Some(Outcome::Durable { .. }) => {
                    self.head = Head { seq: self.head.seq.saturating_add(1), id };
                    self.through = through;
                    return Ok(());
                }
                Some(Outcome::Conflict) => return Err(NotSaved::Overtaken),
                Some(Outcome::Rejected | Outcome::Expired) => {
                    return Err(NotSaved::Failed("the journal does not take it".to_owned()));
                }
                Some(Outcome::Unknown) | None => clock::sleep(PAUSE).await,
            }
        }
    }
}
