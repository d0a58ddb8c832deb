//! Who is there: a table of heartbeats in the journal's database, so that there is no second system to run. Whoever has
//! not beaten for two seconds by the database's clock is dead to all. What is believed here is a hint: a node that is
//! wrong about it loses its appends, and nothing else.

use std::{io, sync::Arc, time::Duration};

use tokio::{
    sync::{Notify, watch},
    task::JoinHandle,
};
use tokio_postgres::{Row, types::ToSql};

use super::{
    connection::Local,
    member::{Fingerprint, Member},
    view::View,
};
use crate::{
    clock::{self, Instant, sleep, timeout},
    journal::postgres::{Database, Session},
};

/// How often a node says that it is there.
pub const BEAT_EVERY: Duration = Duration::from_millis(500);

/// A node that has not said so for this long is dead to the others: the time that `CLAIM` and `MEMBERS` name.
pub const DEAD_AFTER: Duration = Duration::from_secs(2);

/// How long the database may take for one beat, connecting included.
const BEAT_WITHIN: Duration = Duration::from_secs(1);

/// How long a starting node waits for an earlier run of the same name to be dead: after a kill its row lives on.
const CLAIM_WITHIN: Duration = Duration::from_secs(4);

/// A heartbeat is worth nothing after a crash: it waits for no disk, and for no standby.
const SETTINGS: &str = "SET synchronous_commit = off; SET statement_timeout = '1s'";

/// Takes the name, or keeps it. No row: another run of this name is alive.
const CLAIM: &str = "
INSERT INTO tollgate.member AS known (node, incarnation, address, version, key, beat_at)
VALUES ($1, $2, $3, $4, $5, clock_timestamp())
ON CONFLICT (node) DO UPDATE SET incarnation = excluded.incarnation, address = excluded.address,
    version = excluded.version, key = excluded.key, beat_at = excluded.beat_at
WHERE known.incarnation = excluded.incarnation OR known.beat_at < clock_timestamp() - interval '2 seconds'";

/// All rows, which of their nodes are alive, and which may be: a node that is cut off from the database is trusted, and owns
/// nothing.
const MEMBERS: &str = "
SELECT node, incarnation, address, version, key, beat_at >= clock_timestamp() - interval '2 seconds',
    beat_at >= clock_timestamp() - interval '1 minute'
FROM tollgate.member";

const JOURNAL: &str = "SELECT uuid FROM tollgate.journal";

const LEAVE: &str = "DELETE FROM tollgate.member WHERE node = $1 AND incarnation = $2";

/// What has not beaten for a day is not shown to anybody who looks into the table.
const FORGET: &str = "DELETE FROM tollgate.member WHERE beat_at < clock_timestamp() - interval '1 day'";

/// Why a node did not become a member.
#[derive(Debug, thiserror::Error)]
pub enum NotJoined {
    /// Somebody else has its name.
    #[error(
        "TOLLGATE_NODE_ID={node}: another node of this name is alive at {address}; give each node a name of its own"
    )]
    NameInUse {
        /// The name.
        node: String,
        /// Where the other one is reached.
        address: String,
    },
    /// The database does not take the heartbeat.
    #[error("the cluster's members cannot be read from the journal's database: {0}")]
    Unreachable(String),
    /// It has no key to prove itself by.
    #[error("expected a key to prove this node by to the others, found none: {0}")]
    NoKey(io::Error),
}

/// How long a node that has left still answers its peers: until all of them have seen it, and what they had sent before
/// is answered.
const LEFT_FOR: Duration = BEAT_EVERY.saturating_mul(2);

/// This node's place among the members. Dropped, it is kept until the process ends.
pub struct Membership {
    leave: Arc<Notify>,
    beating: JoinHandle<()>,
}

impl Membership {
    pub(super) async fn join(
        database: Arc<Database>,
        here: Member,
        local: Arc<Local>,
    ) -> Result<(Self, watch::Receiver<Arc<View>>, watch::Receiver<Arc<[Member]>>), NotJoined> {
        let (heart, view) = Heart::join(database, here, local).await?;
        let trusted = heart.trusted.subscribe();
        let leave = Arc::<Notify>::default();
        let beating = tokio::spawn(heart.run(Arc::clone(&leave)));
        Ok((Self { leave, beating }, view, trusted))
    }

    /// Leaves the members, and returns when they know: from then on they ask others.
    pub async fn leave(self) {
        self.leave.notify_one();
        // A heart that has stopped has left already.
        let _ = self.beating.await;
        sleep(LEFT_FOR).await;
    }
}

/// One beat that was not heard.
enum Missed {
    NameInUse { address: String },
    Lost(String),
}

/// What says that this node is there.
struct Heart {
    database: Arc<Database>,
    here: Member,
    /// A connection of its own: a heartbeat does not wait behind a batch.
    session: Option<Session>,
    view: watch::Sender<Arc<View>>,
    /// Every row of the table.
    trusted: watch::Sender<Arc<[Member]>>,
    /// Those of which the nodes may be there.
    nodes: Vec<Member>,
    heard: Instant,
    local: Arc<Local>,
    is_missing: bool,
}

impl Heart {
    /// Becomes a member, once no earlier run of the same name is alive.
    async fn join(
        database: Arc<Database>,
        here: Member,
        local: Arc<Local>,
    ) -> Result<(Self, watch::Receiver<Arc<View>>), NotJoined> {
        let (view, seen) = watch::channel(Arc::default());
        let started = clock::instant();
        let trusted = watch::Sender::new(Arc::default());
        let (session, is_missing) = (None, false);
        let nodes = Vec::new();
        let mut heart =
            Self { database, here, session, view, trusted, nodes, heard: started, local, is_missing };
        let give_up_at = started.checked_add(CLAIM_WITHIN).unwrap_or(started);
        loop {
            let missed = match heart.beat().await {
                Ok(()) => return Ok((heart, seen)),
                Err(missed) => missed,
            };
            if clock::instant() >= give_up_at {
                return Err(match missed {
                    Missed::NameInUse { address } => NotJoined::NameInUse { node: heart.here.node, address },
                    Missed::Lost(cause) => NotJoined::Unreachable(cause),
                });
            }
            sleep(BEAT_EVERY).await;
        }
    }

    /// Beats until told to leave, and leaves.
    async fn run(mut self, leave: Arc<Notify>) {
        loop {
            tokio::select! {
                biased;
                () = leave.notified() => break,
                () = sleep(BEAT_EVERY) => {}
            }
            match self.beat().await {
                Ok(()) if std::mem::take(&mut self.is_missing) => {
                    tracing::info!("this node is a member of the cluster again");
                }
                Ok(()) => {}
                Err(missed) => self.missed(&missed),
            }
        }
        self.leave().await;
    }

    async fn beat(&mut self) -> Result<(), Missed> {
        let beaten = timeout(BEAT_WITHIN, self.exchange()).await;
        let beaten = beaten.unwrap_or_else(|_| Err(Missed::Lost("no answer within a second".to_owned())));
        match beaten {
            Ok(rows) => {
                self.heard = clock::instant();
                self.nodes = rows.nodes;
                self.publish(&rows.members);
                Ok(())
            }
            Err(missed) => {
                if matches!(missed, Missed::Lost(_)) {
                    self.session = None;
                }
                Err(missed)
            }
        }
    }

    async fn exchange(&mut self) -> Result<Rows, Missed> {
        // A connection to the server of before a failover is a connection to nobody.
        let in_force = self.database.lineage();
        let is_used = |session: &mut Session| !session.client().is_closed() && session.lineage() == in_force;
        let session = match self.session.take_if(is_used) {
            Some(session) => session,
            None => self.connect().await?,
        };
        let client = self.session.insert(session).client();
        let Member { node, incarnation, address, version, key } = &self.here;
        let claim: [&(dyn ToSql + Sync); 5] = [node, incarnation, address, version, &key.to_string()];
        let claimed = client.execute(CLAIM, &claim).await.map_err(lost)?;
        let rows = client.query(MEMBERS, &[]).await.map_err(lost)?;
        let rows: Vec<Seen> = rows.iter().map(seen).collect::<Result<_, _>>().map_err(lost)?;
        let trusted: Arc<[Member]> = rows.iter().map(|seen| seen.member.clone()).collect();
        self.trusted.send_if_modified(|before| {
            let is_new = **before != *trusted;
            *before = trusted;
            is_new
        });
        let of = |counts: fn(&Seen) -> bool| {
            rows.iter().filter(|seen| counts(seen)).map(|seen| seen.member.clone()).collect::<Vec<_>>()
        };
        let (members, nodes) = (of(|seen| seen.is_alive), of(|seen| seen.may_be_there));
        if claimed == 0 {
            let other = members.into_iter().find(|member| member.node == *node);
            return Err(Missed::NameInUse { address: other.map(|other| other.address).unwrap_or_default() });
        }
        Ok(Rows { members, nodes })
    }

    async fn connect(&self) -> Result<Session, Missed> {
        let session = self.database.connect().await.map_err(|misfit| Missed::Lost(misfit.to_string()))?;
        session.client().batch_execute(SETTINGS).await.map_err(lost)?;
        session.client().execute(FORGET, &[]).await.map_err(lost)?;
        let journal = session.client().query_one(JOURNAL, &[]).await.map_err(lost)?;
        self.local.appends_to(journal.try_get(0).map_err(lost)?, session.lineage());
        Ok(session)
    }

    /// To the others this node is dead by now, or another has its name: so it is to itself. What it is asked goes to
    /// those who can reach the database, if it knows any.
    fn missed(&mut self, missed: &Missed) {
        if !std::mem::replace(&mut self.is_missing, true) {
            match missed {
                Missed::NameInUse { address } => tracing::error!(
                    address,
                    "another node has taken the name of this one: give each node a TOLLGATE_NODE_ID of its own"
                ),
                Missed::Lost(cause) => {
                    tracing::warn!(%cause, "the database does not hear this node; it goes on with what it knows");
                }
            }
        }
        let is_dead = clock::instant().saturating_duration_since(self.heard) >= DEAD_AFTER;
        if is_dead || matches!(missed, Missed::NameInUse { .. }) {
            self.step_back();
        }
    }

    async fn leave(mut self) {
        self.step_back();
        if let Some(session) = &self.session {
            let (node, incarnation) = (&self.here.node, &self.here.incarnation);
            // Otherwise the others find out in two seconds.
            let _ = timeout(BEAT_WITHIN, session.client().execute(LEAVE, &[node, incarnation])).await;
        }
    }

    fn step_back(&mut self) {
        let view = Arc::clone(&self.view.borrow());
        let others = view.members.iter().map(|known| known.member.clone());
        let others: Vec<Member> = others.filter(|member| *member != self.here).collect();
        self.publish(&others);
    }

    fn publish(&self, members: &[Member]) {
        let before = Arc::clone(&self.view.borrow());
        let is_known = before.is_of(members);
        if is_known && before.has_nodes(&self.nodes, &self.here) {
            return;
        }
        let view = View::of(members, &self.nodes, &self.here, &self.local, &before);
        self.view.send_replace(Arc::new(view));
        if is_known {
            return;
        }
        let names: Vec<&str> = members.iter().map(|member| member.node.as_str()).collect();
        tracing::info!(members = names.join(","), "the members of the cluster");
        self.local.metrics.cluster.members.set(f64::from(u32::try_from(members.len()).unwrap_or(u32::MAX)));
    }
}

/// Who is in the table.
struct Rows {
    /// Those that are alive.
    members: Vec<Member>,
    /// Those that may be.
    nodes: Vec<Member>,
}

/// A row of the table.
struct Seen {
    member: Member,
    is_alive: bool,
    may_be_there: bool,
}

fn seen(row: &Row) -> Result<Seen, tokio_postgres::Error> {
    let key: String = row.try_get(4)?;
    // A key that is none is nobody's.
    let key = key.parse().unwrap_or_else(|_| Fingerprint::of(&[]));
    let (node, incarnation) = (row.try_get(0)?, row.try_get(1)?);
    let (address, version) = (row.try_get(2)?, row.try_get(3)?);
    let member = Member { node, incarnation, address, version, key };
    Ok(Seen { member, is_alive: row.try_get(5)?, may_be_there: row.try_get(6)? })
}

#[allow(clippy::needless_pass_by_value, reason = "for `map_err`")]
fn lost(error: tokio_postgres::Error) -> Missed {
    Missed::Lost(error.to_string())
}
