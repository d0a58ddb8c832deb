//! The whole journal for a program that reads it from end to end, beside the nodes that write it. It is no writer: nodes do
//! not wait for it, and the server refuses whatever would change something.

use super::{Address, Misfit, Session, read, schema, statements::Scanning};
use crate::journal::{Entry, OpenError, Pending, Scan, Unavailable};

/// From here on nothing is changed over this connection.
const READ_ONLY: &str = "SET default_transaction_read_only = on";

/// A journal in a PostgreSQL database, to be read.
pub struct Reader {
    session: Session,
    scanning: Scanning,
}

impl Reader {
    /// Opens the journal in the database at `url`. Nothing is made there.
    ///
    /// # Errors
    /// [`OpenError`] says what was found, what was expected, and what to do. The URL is not repeated.
    pub async fn open(url: &str) -> Result<Self, OpenError> {
        let address = Address::new(url)
            .map_err(|misfit| OpenError::Database { address: "postgres://…".into(), misfit })?;
        Self::at(&address)
            .await
            .map_err(|misfit| OpenError::Database { address: address.to_string(), misfit })
    }

    async fn at(address: &Address) -> Result<Self, Misfit> {
        let session = address.connect().await?;
        let failed = |cause| Misfit::of(&cause);
        session.client().batch_execute(READ_ONLY).await.map_err(failed)?;
        schema::readable(&session).await?;
        let scanning = Scanning::prepare(&session).await.map_err(failed)?;
        Ok(Self { session, scanning })
    }
}

impl Scan for Reader {
    fn scan(&self, after: u64, entries_max: usize) -> Pending<'_, Result<Vec<Entry>, Unavailable>> {
        Box::pin(read::scan(&self.session, &self.scanning, after, entries_max))
    }
}
