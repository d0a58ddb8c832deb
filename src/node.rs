//! The composition root: the only file that knows every room. It starts them in the order in which they stand on each
//! other, and ends them in the order that loses nothing.

mod policies;
mod trials;

use std::{
    io,
    net::SocketAddr,
    path::Path,
    sync::{Arc, OnceLock},
    time::Duration,
};

use tokio::{
    net::{TcpListener, TcpSocket},
    sync::{Notify, watch},
    task::JoinHandle,
};

use crate::{
    actors::{Directory, Parts},
    clock,
    cluster::{Cluster, Gate, Membership},
    config::{LoadError, Settings, poke_on_hangup, watch_tokens, webhooks_file::watch_endpoints},
    domain::Policy,
    http::{
        self, Admin, Drain, EndpointsHere, Guard, Readiness, SessionKey, Slow, Spans, Unguarded, Webhook,
    },
    journal::{
        self, Committer, CommitterSettings, Fatal, Journal, NotRecorded, Observer, OpenError, Opened,
        Policies,
        postgres::{Database, Phase, Status},
    },
    metrics::{Bound, JournalPhase, Listener, Metrics},
    outgoing::{self, Endpoints, Outgoing},
};
use trials::trials;

pub use crate::cluster::NotJoined;

/// A running node. Dropped, it stops without order; see [`Node::stop`].
pub struct Node {
    webhook: SocketAddr,
    admin: SocketAddr,
    peers: Option<SocketAddr>,
    readiness: Readiness,
    drain: Drain,
    drain_delay: Duration,
    listeners: Vec<JoinHandle<()>>,
    /// None for a cluster of one.
    membership: Option<Membership>,
    directory: Directory,
    /// None where no events are sent.
    outgoing: Option<Outgoing>,
    journal: Arc<dyn Journal>,
    background: Vec<JoinHandle<()>>,
}

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
pub enum NotStarted {
    /// The journal cannot be used.
    #[error(transparent)]
    Journal(#[from] OpenError),
    /// A file that a setting names cannot be used.
    #[error(transparent)]
    File(#[from] LoadError),
    /// The policy cannot be put in force.
    #[error("the policy cannot be recorded, and so not be put in force: {0}")]
    Unrecorded(#[from] NotRecorded),
    /// The newest policy in the journal cannot be used.
    #[error("policy {version}, the newest in the journal, cannot be read by this version of Tollgate: {why}")]
    UnusablePolicy {
        /// Which policy.
        version: String,
        /// Its first mistake.
        why: String,
    },
    /// The cluster does not take this node.
    #[error(transparent)]
    Cluster(#[from] NotJoined),
    /// Others could read the books.
    #[error(transparent)]
    Unguarded(#[from] Unguarded),
    /// An address is taken or not ours.
    #[error("{name} cannot listen on {address}: {cause}; is another process there? See {name}")]
    Listen {
        /// The setting.
        name: &'static str,
        /// Its value.
        address: SocketAddr,
        /// What the system says.
        cause: io::Error,
    },
    /// The system refuses something else that a node needs.
    #[error("the node cannot start: {0}")]
    System(#[from] io::Error),
}

impl NotStarted {
    /// Whether another process has the journal.
    #[must_use]
    pub const fn is_in_use(&self) -> bool {
        matches!(self, Self::Journal(OpenError::InUse { .. }))
    }
}

impl Node {
    /// Starts a node. When this returns, it answers.
    ///
    /// # Errors
    /// [`NotStarted`] says what to do.
    pub async fn start(mut settings: Settings) -> Result<Self, NotStarted> {
        let metrics = Arc::new(Metrics::new(&http::vocabulary()));
        if settings.http.admin_token.as_ref().is_some_and(http::Token::is_short) {
            tracing::warn!("TOLLGATE_ADMIN_TOKEN is short, and soon guessed: use 16 characters or more");
        }
        let mut background = Vec::new();
        let guard = guard(&settings, &mut background)?;
        let webhook_socket = reserve("TOLLGATE_LISTEN", settings.http.listen)?;
        let admin_listener = listen("TOLLGATE_ADMIN_LISTEN", settings.http.admin_listen).await?;
        let (webhook, admin) = (webhook_socket.local_addr()?, admin_listener.local_addr()?);
        let peer_listener = match &settings.cluster.peers {
            Some(peers) => Some(listen("TOLLGATE_PEER_LISTEN", peers.listen).await?),
            None => None,
        };

        let peers = peer_listener.as_ref().map(TcpListener::local_addr).transpose()?;

        tell_capacities(&settings, &metrics);
        let readiness = Readiness::starting(Arc::clone(&metrics));
        let (drain, stop) = Drain::new();
        let (books, slow) = (Arc::new(OnceLock::new()), Arc::new(Slow::default()));
        let endpoints_here = Arc::new(EndpointsHere::default());
        let operators = Admin::new(
            Arc::clone(&books),
            guard,
            readiness.clone(),
            Arc::clone(&metrics),
            (Arc::clone(&slow), Arc::clone(&endpoints_here)),
            policies::port(&settings),
        );
        let (admin_bounds, told) = (settings.http.admin_bounds(), Arc::clone(&metrics));
        let serving = http::run(admin_listener, Listener::Admin, operators, admin_bounds, told, stop.clone());
        let mut listeners = vec![tokio::spawn(serving)];
        tracing::info!(admin = %format_args!("http://{admin}"), "starting: probes and metrics are answered");
        let endpoints = endpoints(settings.webhooks.as_deref(), &mut background).await?;
        let Opened { journal, database } = journal::open(&settings.journal).await?;
        let recorded = Policies::new(Arc::clone(&journal), &settings.cluster.node_id);
        let policy = policies::in_force(&settings.policy_source, recorded, &metrics, &mut background).await?;
        let directory = directory(&settings, &journal, policy, &metrics, &mut background).await?;
        if settings.http.livemode.is_none() {
            settings.http.livemode = directory.livemode().await.map_err(io::Error::other)?;
        }
        let status = database.as_ref().map(|database| database.status());
        let (cluster, joined) =
            join(&settings, directory.clone(), peer_listener.as_ref(), database, Arc::clone(&metrics))
                .await?;
        // Nobody else sets them: there is one start.
        let _ = books.set(cluster.clone());
        let (journal_read, told, here) = (Arc::clone(&journal), Arc::clone(&metrics), endpoints_here);
        let parts = outgoing::Parts { journal: journal_read, cluster: cluster.clone(), metrics: told, here };
        let outgoing = endpoints.map(|endpoints| Outgoing::start(parts, endpoints));
        let verifier = settings.stripe.verifier();
        let spans = settings.http.collector.clone().map(|collector| {
            let (spans, exporter) = Spans::to(collector, &settings.cluster.node_id, &metrics);
            background.push(tokio::spawn(exporter.run()));
            spans
        });
        let service = Webhook::new(
            cluster.clone(),
            verifier,
            Arc::clone(&metrics),
            Arc::clone(&slow),
            spans,
            &settings.http,
            &settings.stripe,
        );
        let bounds = settings.http.bounds;
        let mut membership = None;
        if let (Some(peer_listener), Some((joined, gate))) = (peer_listener, joined) {
            let (peers, told) = (service.for_peers(), Arc::clone(&metrics));
            membership = Some(joined);
            listeners.push(tokio::spawn(http::run_peers(
                peer_listener,
                gate,
                peers,
                bounds,
                told,
                stop.clone(),
            )));
        }
        let told_status = Arc::clone(&metrics);
        // Last of all: until now connections were refused, so that a load balancer went elsewhere at once.
        let webhook_listener = listen_on("TOLLGATE_LISTEN", webhook_socket, settings.http.listen)?;
        let serving = http::run(webhook_listener, Listener::Webhook, service, bounds, metrics, stop);
        listeners.push(tokio::spawn(serving));
        readiness.ready();
        let tell = |status| tokio::spawn(tell_status(status, readiness.clone(), told_status));
        background.extend(status.map(tell));
        Ok(Self {
            webhook,
            admin,
            peers,
            readiness,
            drain,
            drain_delay: settings.drain_delay,
            listeners,
            membership,
            directory,
            outgoing,
            journal,
            background,
        })
    }

    /// Where the webhook is served.
    #[must_use]
    pub const fn webhook(&self) -> SocketAddr {
        self.webhook
    }

    /// Where operators are served.
    #[must_use]
    pub const fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// Where other nodes are served, if there may be any.
    #[must_use]
    pub const fn peers(&self) -> Option<SocketAddr> {
        self.peers
    }

    /// The policy in force.
    #[must_use]
    pub fn policy(&self) -> Arc<Policy> {
        self.directory.policy()
    }

    /// Serves until `stop` is done, then ends in order: readiness goes off, traffic goes elsewhere, what is in flight
    /// is answered, the journal is closed.
    ///
    /// # Errors
    /// [`Fatal`]: the journal has died. Nothing may be answered any more; the process must end at once.
    pub async fn run(self, stop: impl Future<Output = ()>) -> Result<(), Fatal> {
        let journal = Arc::clone(&self.journal);
        let serve = async {
            stop.await;
            self.stop().await;
        };
        tokio::select! {
            biased;
            fatal = journal.fatal() => Err(fatal),
            () = serve => Ok(()),
        }
    }

    /// Ends in order.
    pub async fn stop(self) {
        self.readiness.draining();
        self.drain.leave();
        tracing::info!(
            delay_ms = self.drain_delay.as_millis(),
            "draining: not ready, still answering requests"
        );
        tokio::time::sleep(self.drain_delay).await;
        if let Some(membership) = self.membership {
            membership.leave().await;
        }
        self.drain.stop();
        for listener in self.listeners {
            // A listener's task that has failed has nothing in flight any more.
            let _ = listener.await;
        }
        self.directory.trials().finish().await;
        self.directory.flush().await;
        if let Some(outgoing) = self.outgoing {
            outgoing.stop().await;
        }
        for task in &self.background {
            task.abort();
        }
        self.journal.close().await;
        tracing::info!("stopped: everything that was answered is in the journal");
    }
}

/// Knows who sends requests to the admin port; reads the file of tokens again when it changes.
fn guard(settings: &Settings, background: &mut Vec<JoinHandle<()>>) -> Result<Guard, NotStarted> {
    let http = &settings.http;
    let admin = http.admin_token.as_ref().map(http::Token::of_admin);
    let tokens = match (&http.admin_token_file, admin) {
        (Some(file), admin) => {
            let (tokens, reread) = watch_tokens(file, admin);
            background.push(tokio::spawn(reread));
            Some(tokens)
        }
        (None, Some(admin)) => Some(watch::channel([admin].into()).1),
        (None, None) => None,
    };
    // Nodes with the same signing secret know each other's sessions.
    let key = settings.stripe.secrets.first().map(|secret| secret.derive("sessions of the console"));
    let sessions = key.as_ref().and_then(SessionKey::new);
    Ok(Guard::new(http.admin_listen.ip(), tokens, sessions)?)
}

/// What writes to the journal.
fn committer(settings: &Settings, journal: &Arc<dyn Journal>, metrics: &Arc<Metrics>) -> Committer {
    let committer_settings = CommitterSettings {
        batch_max: settings.journal.batch_max,
        batches_in_flight_max: settings.journal.location.batches_in_flight_max(),
        another_batch_from: settings.journal.location.another_batch_from(),
        queue_max: settings.actors.cards_resident_max,
        answer_within: settings.http.answer_within,
    };
    let told: Arc<dyn Observer> = Arc::new(Told(Arc::clone(metrics)));
    Committer::new(Arc::clone(journal), committer_settings, told)
}

/// The card actors on an open journal, and the tasks that look after them.
async fn directory(
    settings: &Settings,
    journal: &Arc<dyn Journal>,
    policy: watch::Receiver<Arc<Policy>>,
    metrics: &Arc<Metrics>,
    background: &mut Vec<JoinHandle<()>>,
) -> Result<Directory, NotStarted> {
    let (journal, metrics) = (Arc::clone(journal), Arc::clone(metrics));
    let committer = Arc::new(committer(settings, &journal, &metrics));
    let trials = trials(settings, (&journal, &committer), &metrics, background).await?;
    let parts = Parts { journal, committer, trials, policy, metrics: Arc::clone(&metrics) };
    let directory = Directory::new(settings.actors.clone(), parts);
    background.push(tokio::spawn(directory.clone().sweep()));
    background.push(tokio::spawn(directory.clone().look_back()));
    background.push(tokio::spawn(tell_delays(metrics)));
    Ok(directory)
}

/// Joins the nodes that share the journal, if this is to be one of several.
async fn join(
    settings: &Settings,
    directory: Directory,
    listener: Option<&TcpListener>,
    database: Option<Arc<Database>>,
    metrics: Arc<Metrics>,
) -> Result<(Cluster, Option<(Membership, Gate)>), NotStarted> {
    let (Some(peers), Some(listener), Some(database)) = (&settings.cluster.peers, listener, &database) else {
        let cluster = Cluster::of_one(directory, &settings.cluster, database.as_deref(), metrics);
        return Ok((cluster, None));
    };
    let address = match &peers.address {
        Some(address) => address.clone(),
        None => listener.local_addr()?.to_string(),
    };
    let (cluster, membership, gate) =
        Cluster::join(directory, &settings.cluster, address, Arc::clone(database), metrics).await?;
    Ok((cluster, Some((membership, gate))))
}

/// Takes an address without answering there: connections to it are refused until [`listen_on`].
fn reserve(name: &'static str, address: SocketAddr) -> Result<TcpSocket, NotStarted> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
    let reserve = |socket: TcpSocket| {
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        Ok(socket)
    };
    socket.and_then(reserve).map_err(|cause| NotStarted::Listen { name, address, cause })
}

fn listen_on(name: &'static str, socket: TcpSocket, address: SocketAddr) -> Result<TcpListener, NotStarted> {
    socket.listen(BACKLOG).map_err(|cause| NotStarted::Listen { name, address, cause })
}

/// Connections that the system holds for us until they are accepted, as many as tokio's own listeners have.
const BACKLOG: u32 = 1_024;

async fn listen(name: &'static str, address: SocketAddr) -> Result<TcpListener, NotStarted> {
    TcpListener::bind(address).await.map_err(|cause| NotStarted::Listen { name, address, cause })
}

/// The endpoints of outgoing webhooks, if there is a file of them, and the task that looks for a new one.
async fn endpoints(
    path: Option<&Path>,
    background: &mut Vec<JoinHandle<()>>,
) -> Result<Option<watch::Receiver<Arc<Endpoints>>>, NotStarted> {
    let Some(path) = path else { return Ok(None) };
    let poke = Arc::new(Notify::new());
    let (endpoints, reread) = watch_endpoints(path, Arc::clone(&poke)).await?;
    background.push(tokio::spawn(poke_on_hangup(poke)?));
    background.push(tokio::spawn(reread));
    Ok(Some(endpoints))
}

/// Tells the bounds in force, so that use can be seen against them.
fn tell_capacities(settings: &Settings, metrics: &Metrics) {
    let (http, actors) = (&settings.http, &settings.actors);
    metrics.node.answer_within.set(http.answer_within.as_secs_f64());
    for (bound, capacity) in [
        (Bound::BodyBytes, http.body_bytes_max),
        (Bound::HeaderBytes, http.bounds.header_bytes_max),
        (Bound::Connections, http.bounds.connections_max),
        (Bound::InFlight, actors.in_flight_max),
        (Bound::CardQueue, actors.card_queue_max),
        (Bound::CardsResident, actors.cards_resident_max),
        (Bound::Loads, actors.loads_max),
        (Bound::JournalBatch, settings.journal.batch_max),
        (Bound::JournalRestoreBytes, settings.journal.restore_bytes_max),
    ] {
        metrics.node.capacity.get(bound).set(f64::from(u32::try_from(capacity).unwrap_or(u32::MAX)));
    }
}

/// Looks how late timers fire: as late as any task that is ready and waits for a worker.
async fn tell_delays(metrics: Arc<Metrics>) {
    const EVERY: Duration = Duration::from_millis(100);
    loop {
        let asleep = clock::instant();
        clock::sleep(EVERY).await;
        metrics.node.wake_delay.record(clock::instant().duration_since(asleep).saturating_sub(EVERY));
    }
}

/// Says how the journal's database is, and takes the node out of traffic while what it lacks is given back.
async fn tell_status(mut status: watch::Receiver<Status>, readiness: Readiness, metrics: Arc<Metrics>) {
    let mut before: Option<Status> = None;
    loop {
        let now = status.borrow_and_update().clone();
        let journal = &metrics.journal;
        for (phase, label) in [
            (Phase::Open, JournalPhase::Open),
            (Phase::Restoring, JournalPhase::Restoring),
            (Phase::Away, JournalPhase::Away),
        ] {
            journal.phase.get(label).set(if now.phase == phase { 1.0 } else { 0.0 });
        }
        journal.timeline.set(f64::from(now.lineage.timeline));
        journal.standbys.set(f64::from(now.standbys));
        journal.copies.set(f64::from(now.copies));
        journal.restored.absolute(now.restored);
        journal.lost.absolute(now.lost);
        journal.refused.absolute(now.refused);
        match now.phase {
            Phase::Restoring => readiness.restoring(true),
            Phase::Open => readiness.restoring(false),
            // The stand-in answers, and no other node would do better.
            Phase::Away => {}
        }
        let class = (now.lineage, now.standbys, now.copies);
        if before.as_ref().is_none_or(|before| (before.lineage, before.standbys, before.copies) != class) {
            tracing::info!(
                timeline = now.lineage.timeline,
                standbys = now.standbys,
                copies = now.copies,
                "an entry is acknowledged when {} of the journal's servers has it",
                if now.copies > 1 { "more than one" } else { "one" }
            );
        }
        before = Some(now);
        if status.changed().await.is_err() {
            return;
        }
    }
}

/// Tells the metrics how commits go.
struct Told(Arc<Metrics>);

impl Observer for Told {
    fn on_commit(&self, batch_entries: usize, took: Duration) {
        self.0.journal.batch_entries.record(f64::from(u32::try_from(batch_entries).unwrap_or(u32::MAX)));
        self.0.journal.commit_duration.record(took);
    }

    fn on_expired(&self, appends: usize) {
        self.0.journal.expired.increment(u64::try_from(appends).unwrap_or(u64::MAX));
    }

    fn on_unknown(&self, appends: usize) {
        self.0.journal.unknown.increment(u64::try_from(appends).unwrap_or(u64::MAX));
    }
}
