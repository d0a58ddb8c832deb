//! Stripe's API, as a client: what is read for a back-fill, and the legacy way to answer. What the objects mean is the
//! event reader's to say.
//!
//! Every call is bounded: in its time, in the bytes of its answer, in its attempts, and, for a back-fill, in calls a
//! second. Sources: <https://docs.stripe.com/api/errors>, <https://docs.stripe.com/rate-limits>,
//! <https://docs.stripe.com/api/idempotent_requests>, <https://docs.stripe.com/api/pagination>.

mod settings;
mod failure;
mod patience;
mod transport;
mod list;
mod answer;

use std::sync::Arc;

pub use answer::Resolution;
pub use failure::{Failure, GaveUp};
pub use list::{Filter, Listing, Object, Page, Pages};
pub use patience::Patience;
pub use settings::{ApiKey, BaseUrl, Roots, Settings};
pub use transport::{HttpsClient, https_client};

use crate::{clock, domain::ConnectedAccountId};
use patience::Pace;
use transport::{Call, Reply, Transport};

/// A client of Stripe's API. Cheap to clone; all clones share their connections.
#[derive(Clone)]
pub struct Api {
    shared: Arc<Shared>,
    /// The connected account that lists are read from.
    account: Option<ConnectedAccountId>,
}

struct Shared {
    transport: Transport,
    patience: Patience,
    pace: Pace,
}

impl Api {
    /// A client for these settings. Nothing is sent yet.
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        let shared = Shared {
            transport: Transport::new(settings),
            patience: settings.patience,
            pace: Pace::new(settings.requests_per_second_max),
        };
        Self { shared: Arc::new(shared), account: None }
    }

    /// The same client, reading what belongs to a connected account.
    #[must_use]
    pub fn of_account(self, account: Option<ConnectedAccountId>) -> Self {
        Self { account, ..self }
    }

    /// The connected account that this client reads from.
    #[must_use]
    pub const fn account(&self) -> Option<&ConnectedAccountId> {
        self.account.as_ref()
    }

    /// A list, page by page, newest first.
    #[must_use]
    pub fn list(&self, listing: Listing, filter: Filter) -> Pages<'_> {
        Pages::new(self, listing, filter)
    }

    /// One object of a list as it is now; nothing where Stripe knows none of this id.
    ///
    /// # Errors
    /// [`GaveUp`] says why, and what to do.
    pub async fn object(&self, listing: Listing, id: &str) -> Result<Option<Page>, GaveUp> {
        let path = format!("{}/{}", listing.path(), list::path_segment(id));
        match self.get(path).await {
            Ok(reply) => Ok(Some(Page::single(&reply)?)),
            Err(GaveUp { failure: Failure::Missing { .. }, .. }) => Ok(None),
            Err(gave_up) => Err(gave_up),
        }
    }

    /// Reads `path`, in good time and not too often, again and again where that may help.
    async fn get(&self, path: String) -> Result<Reply, GaveUp> {
        let call = Call::get(path, self.account.as_ref());
        let patience = self.shared.patience;
        let mut attempts = 0_u32;
        loop {
            self.shared.pace.turn().await;
            attempts = attempts.saturating_add(1);
            let failure = match self.shared.transport.exchange(&call).await {
                Ok(reply) => return Ok(reply),
                Err(failure) => failure,
            };
            if attempts >= patience.attempts_max || !failure.may_pass() {
                return Err(GaveUp { attempts, failure });
            }
            let pause = patience.pause(attempts, fastrand::f64(), failure.retry_after());
            tracing::warn!(
                attempts,
                pause_ms = pause.as_millis(),
                "Stripe's API did not answer as hoped, trying again: {failure}"
            );
            clock::sleep(pause).await;
        }
    }
}
