//! Who is there: a table of heartbeats in the journal's database, so that there is no second system to run. Whoever has
//! not beaten for two seconds by the database's clock is dead to all. What is believed here is a hint: a node that is
//! wrong about it loses its appends, and nothing else.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{Notify, watch},
    task::JoinHandle,
};

use super::view::{Member, View};
use crate::{
    clock::{self, Instant, sleep, timeout},
    journal::postgres::{Address, Session},
    metrics::Metrics,
};

/// How often a node says that it is there.
pub const BEAT_EVERY: Duration = Duration::from_millis(500);

/// A node that has not said so for this long is dead to the others: the time that `CLAIM` and `LIVING` name.
pub const DEAD_AFTER: Duration = Duration::from_secs(2);

/// How long the database may take for one beat, connecting included.
const BEAT_WITHIN: Duration = Duration::from_secs(1);

/// How long a starting node waits for an earlier run of the same name to be dead: after a kill its row lives on.
const CLAIM_WITHIN: Duration = Duration::from_secs(4);

/// A heartbeat is worth nothing after a crash: it waits for no disk, and for no standby.
const SETTINGS: &str = "SET synchronous_commit = off; SET statement_timeout = '1s'";

/// Takes the name, or keeps it. No row: another run of this name is alive.
const CLAIM: &str = "
INSERT INTO tollgate.member AS known (node, incarnation, address, version, beat_at)
VALUES ($1, $2, $3, $4, clock_timestamp())
ON CONFLICT (node) DO UPDATE SET incarnation = excluded.incarnation, address = excluded.address,
    version = excluded.version, beat_at = excluded.beat_at
WHERE known.incarnation = excluded.incarnation OR known.beat_at < clock_timestamp() - interval '2 seconds'";

const LIVING: &str = "
SELECT node, incarnation, address, version FROM tollgate.member
WHERE beat_at >= clock_timestamp() - interval '2 seconds'";

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
        database: &str,
        here: Member,
        metrics: Arc<Metrics>,
    ) -> Result<(Self, watch::Receiver<Arc<View>>), NotJoined> {
        let (heart, view) = Heart::join(database, here, metrics).await?;
        let leave = Arc::<Notify>::default();
        let beating = tokio::spawn(heart.run(Arc::clone(&leave)));
        Ok((Self { leave, beating }, view))
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
    database: Address,
    here: Member,
    /// A connection of its own: a heartbeat does not wait behind a batch.
    session: Option<Session>,
    view: watch::Sender<Arc<View>>,
    heard: Instant,
    metrics: Arc<Metrics>,
    is_missing: bool,
}

impl Heart {
    /// Becomes a member, once no earlier run of the same name is alive.
    async fn join(
        database: &str,
        here: Member,
        metrics: Arc<Metrics>,
    ) -> Result<(Self, watch::Receiver<Arc<View>>), NotJoined> {
        let database = Address::new(database).map_err(|misfit| NotJoined::Unreachable(misfit.to_string()))?;
        let (view, seen) = watch::channel(Arc::default());
        let started = clock::instant();
        let mut heart =
            Self { database, here, session: None, view, heard: started, metrics, is_missing: false };
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
                    tracing::info!("the cluster hears this node again");
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
            Ok(members) => {
                self.heard = clock::instant();
                self.publish(members);
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

    async fn exchange(&mut self) -> Result<Vec<Member>, Missed> {
        let session = match self.session.take_if(|session| !session.client().is_closed()) {
            Some(session) => session,
            None => self.connect().await?,
        };
        let client = self.session.insert(session).client();
        let Member { node, incarnation, address, version } = &self.here;
        let claimed = client.execute(CLAIM, &[node, incarnation, address, version]).await.map_err(lost)?;
        let living = client.query(LIVING, &[]).await.map_err(lost)?;
        let members: Vec<Member> = living
            .iter()
            .map(|row| {
                Ok(Member {
                    node: row.try_get(0)?,
                    incarnation: row.try_get(1)?,
                    address: row.try_get(2)?,
                    version: row.try_get(3)?,
                })
            })
            .collect::<Result<_, _>>()
            .map_err(lost)?;
        if claimed == 0 {
            let other = members.into_iter().find(|member| member.node == *node);
            return Err(Missed::NameInUse { address: other.map(|other| other.address).unwrap_or_default() });
        }
        Ok(members)
    }

    async fn connect(&self) -> Result<Session, Missed> {
        let session = self.database.connect().await.map_err(|misfit| Missed::Lost(misfit.to_string()))?;
        session.client().batch_execute(SETTINGS).await.map_err(lost)?;
        session.client().execute(FORGET, &[]).await.map_err(lost)?;
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
        self.publish(others.filter(|member| *member != self.here).collect());
    }

    fn publish(&self, members: Vec<Member>) {
        let before = Arc::clone(&self.view.borrow());
        if before.is_of(&members) {
            return;
        }
        let names: Vec<&str> = members.iter().map(|member| member.node.as_str()).collect();
        tracing::info!(members = names.join(","), "the members of the cluster");
        self.metrics.cluster.members.set(f64::from(u32::try_from(members.len()).unwrap_or(u32::MAX)));
        self.view.send_replace(Arc::new(View::of(members, &self.here, &before)));
    }
}

#[allow(clippy::needless_pass_by_value, reason = "for `map_err`")]
fn lost(error: tokio_postgres::Error) -> Missed {
    Missed::Lost(error.to_string())
}
