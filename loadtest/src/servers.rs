//! The database of nodes: servers of our own, or those that Patroni watches over. Dropped, they end.

use std::path::Path;

use crate::{
    patroni::Patroni,
    postgres::{Database, NoServer},
    scenario::{DatabaseAct, Standby},
};

/// PostgreSQL, however it is run.
pub(crate) enum Servers {
    /// One server, or a primary with a standby, of which the scenario says when it takes over.
    Own(Database),
    /// Patroni decides.
    Patroni(Patroni),
}

impl Servers {
    /// Starts fresh servers in `directory`, which is there.
    pub(crate) fn start(directory: &Path, standby: Option<Standby>) -> Result<Self, NoServer> {
        match standby {
            Some(Standby::Patroni) => Patroni::start(directory).map(Self::Patroni),
            None | Some(Standby::Synchronous | Standby::Asynchronous) => {
                Database::start(directory, standby).map(Self::Own)
            }
        }
    }

    /// The address of the database, as `TOLLGATE_JOURNAL` takes it.
    pub(crate) fn url(&self) -> String {
        match self {
            Self::Own(database) => database.url(),
            Self::Patroni(patroni) => patroni.url(),
        }
    }

    /// The address of the first primary alone.
    pub(crate) fn url_of_first(&self) -> String {
        match self {
            Self::Own(database) => database.url_of_first(),
            Self::Patroni(patroni) => patroni.url_of_first(),
        }
    }

    /// Does this to the servers.
    pub(crate) fn befall(&mut self, act: DatabaseAct) -> Result<(), NoServer> {
        match self {
            Self::Own(database) => database.befall(act),
            Self::Patroni(patroni) => {
                patroni.befall(act);
                Ok(())
            }
        }
    }
}
