//! Who may talk to this node as another node: whoever proves the key of a row of the member table. A row counts as long as
//! it is there, whether or not its node is alive to the database at this moment: one that is cut off from the database asks
//! others.

use std::{sync::Arc, time::Duration};

use tokio::{net::TcpStream, sync::watch};

use super::{
    connection::{Connection, Local, NotConnected},
    member::{Fingerprint, Member},
};
use crate::clock::timeout;

/// How long the key of a node that has just started may take to come from the member table: two beats.
const KNOWN_WITHIN: Duration = Duration::from_secs(1);

/// Lets members in.
#[derive(Clone)]
pub struct Gate {
    local: Arc<Local>,
    members: watch::Receiver<Arc<[Member]>>,
}

impl Gate {
    /// Of the node `local`, for these rows of the member table.
    #[must_use]
    pub const fn new(local: Arc<Local>, members: watch::Receiver<Arc<[Member]>>) -> Self {
        Self { local, members }
    }

    /// A connection whose other side is a member that shares this node's journal.
    ///
    /// # Errors
    /// Why it is turned away.
    pub async fn admit(&self, stream: TcpStream) -> Result<Connection, NotConnected> {
        Connection::accept(&self.local, stream, async |key| self.member(key).await).await
    }

    async fn member(&self, key: Fingerprint) -> Option<Member> {
        let mut members = self.members.clone();
        let find = |members: &Arc<[Member]>| members.iter().find(|member| member.key == key).cloned();
        let known = timeout(KNOWN_WITHIN, members.wait_for(|members| find(members).is_some())).await;
        find(&*known.ok()?.ok()?)
    }
}
