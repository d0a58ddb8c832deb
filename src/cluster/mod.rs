//! Which node answers for a card, and getting its answer. One node is a cluster of one: every card is its own. Who owns
//! a card is a hint; the journal is the authority, so that nothing here can cause an overspend.

mod settings;
mod placement;
mod view;
mod membership;
mod member;
mod identity;
mod wire;
mod tls;
mod connection;
mod gate;
mod link;
mod peer;

use std::{sync::Arc, time::Duration};

use tokio::sync::{Semaphore, watch};

pub use crate::actors::{
    Arrival, AuthorizationView, BudgetView, CardView, Cause, Claim, DecisionFilter, DecisionPage,
    DecisionView, EntryView, HoldView, LimitView, MovementView, NotAPlace, NotBooked, NotOperated, Order,
    Place, Target, TimedAnswer, UnconfirmedView, Was, Wish,
};
pub use crate::journal::{NotRecorded, PolicyChange, PolicyChanged, postgres::Status as JournalStatus};
use crate::{
    actors::{CLAIM_WITHIN, Directory, Undecided},
    clock::{self, Instant},
    domain::{
        Account, Answer, AuthorizationId, AuthorizationRequest, CardId, CardholderId, Observation, Policy,
        PolicyRecord, State, Timestamp,
    },
    journal::postgres::{Database, Status},
    metrics::{Claimed, Forward, Metrics, Route, Shed},
    trial::Trials,
};
pub use connection::{Connection, Local, NotConnected, Turn};
pub use gate::Gate;
pub use identity::{Identity, Unusable, chain_from_pem, key_from_pem, roots_from_pem};
pub use member::{Fingerprint, Member, NotAFingerprint};
pub use membership::{BEAT_EVERY, DEAD_AFTER, Membership, NotJoined};
use peer::{Patience, Peer};
pub use placement::Placement;
pub use settings::{Peers, Settings};
use view::View;
pub use wire::{Hello, Message, PeerReply, Sealed};

/// The nodes that share a journal, as this node sees them. Cheap to clone.
#[derive(Clone)]
pub struct Cluster {
    here: Directory,
    shared: Arc<Shared>,
}

struct Shared {
    node_id: String,
    forward_within: Duration,
    /// As many requests may be with other nodes as may be inside this one.
    places: Semaphore,
    view: watch::Receiver<Arc<View>>,
    journal: Option<watch::Receiver<Status>>,
    metrics: Arc<Metrics>,
}

/// A node in a cluster, as operators see it.
#[derive(Clone, Debug)]
pub struct NodeView {
    /// Its name.
    pub node: String,
    /// The members as it sees them, in the order of their names; none for a cluster of one.
    pub members: Vec<MemberView>,
    /// Cards in its memory.
    pub cards_resident: usize,
    /// Appends that lost their place to another node.
    pub conflicts: u64,
    /// How the database of the journal is; nothing where it is in none.
    pub journal: Option<Status>,
}

/// A member, as another one sees it.
#[derive(Clone, Debug)]
pub struct MemberView {
    /// What it says of itself.
    pub member: Member,
    /// The part of all cards that it owns, from 0 to 1, counted on a sample.
    pub share: f64,
    /// How this node gets to it; nothing where it is this node.
    pub way: Option<WayView>,
}

/// The way to another member.
#[derive(Clone, Copy, Debug)]
pub struct WayView {
    /// Open connections.
    pub connections: usize,
    /// Requests that it was forwarded and answered.
    pub answered: u64,
    /// Requests that it was forwarded and did not answer; they were decided elsewhere.
    pub failed: u64,
}

impl Cluster {
    /// A cluster of one.
    #[must_use]
    pub fn of_one(
        here: Directory,
        settings: &Settings,
        database: Option<&Database>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let view = watch::channel(Arc::default()).1;
        Self::new(here, settings, view, database.map(Database::status), metrics)
    }

    /// Becomes a member of the cluster whose nodes share the journal in this database, where others reach this one at
    /// `address`. The gate lets them in.
    ///
    /// # Errors
    /// [`NotJoined`]: another node has this one's name, or the database is not there.
    pub async fn join(
        here: Directory,
        settings: &Settings,
        address: String,
        database: Arc<Database>,
        metrics: Arc<Metrics>,
    ) -> Result<(Self, Membership, Gate), NotJoined> {
        let given = settings.peers.as_ref().and_then(|peers| peers.identity.clone());
        let identity = given.map_or_else(Identity::generate, Ok).map_err(NotJoined::NoKey)?;
        let member = Member {
            node: settings.node_id.clone(),
            incarnation: i64::try_from(fastrand::u64(..) >> 1).unwrap_or(i64::MAX),
            address,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            key: identity.fingerprint(),
        };
        let hello = Hello {
            journal: String::new(),
            lineage: None,
            node: member.node.clone(),
            incarnation: member.incarnation,
            version: member.version.clone(),
        };
        let local = Local::new(identity, hello, Arc::clone(&metrics)).map_err(NotJoined::NoKey)?;
        let local = Arc::new(local);
        local.informs(Arc::clone(&database));
        let status = database.status();
        let (membership, view, trusted) = Membership::join(database, member, Arc::clone(&local)).await?;
        Ok((Self::new(here, settings, view, Some(status), metrics), membership, Gate::new(local, trusted)))
    }

    fn new(
        here: Directory,
        settings: &Settings,
        view: watch::Receiver<Arc<View>>,
        journal: Option<watch::Receiver<Status>>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let (node_id, forward_within) = (settings.node_id.clone(), settings.forward_within);
        let places = Semaphore::new(here.in_flight_max().min(Semaphore::MAX_PERMITS));
        let shared = Shared { node_id, forward_within, places, view, journal, metrics };
        Self { here, shared: Arc::new(shared) }
    }

    /// The answer to a request, by the deadline of its arrival, and who has decided it.
    pub async fn answer(
        &self,
        request: Arc<AuthorizationRequest>,
        arrival: Arrival,
        sealed: Sealed,
    ) -> (TimedAnswer, Route) {
        let account = self.here.root_of(&request);
        match self.ask_owner(&account, arrival, sealed).await {
            Some(PeerReply::Answer(answer)) => (answer.into(), Route::Forwarded),
            Some(PeerReply::Undecided(cause)) => {
                let undecided = Undecided { request, cause, is_declined: false };
                (self.stand_in(&account, &undecided, arrival.deadline).await, Route::Forwarded)
            }
            Some(PeerReply::Booked | PeerReply::WrongAccount) | None => {
                (self.ask_here(request, &account, arrival).await, Route::Local)
            }
        }
    }

    async fn ask_here(
        &self,
        request: Arc<AuthorizationRequest>,
        account: &Account,
        arrival: Arrival,
    ) -> TimedAnswer {
        if self.arbiter(account).is_none() {
            return self.here.ask(request, arrival).await;
        }
        let claim = async |claim| self.claim(account, claim, arrival.deadline).await;
        // A box, so that requests which are decided where they belong do not carry the room for this.
        Box::pin(self.here.ask_with(request, arrival, claim)).await
    }

    async fn stand_in(&self, account: &Account, undecided: &Undecided, deadline: Instant) -> TimedAnswer {
        if self.arbiter(account).is_none() {
            return self.here.stand_in(undecided);
        }
        let claim = async |claim| self.claim(account, claim, deadline).await;
        Box::pin(self.here.stand_in_with(undecided, claim)).await
    }

    /// The node that is asked before a request of this account is answered; nothing where it is this one.
    fn arbiter(&self, account: &Account) -> Option<Arc<Peer>> {
        self.shared.view.borrow().arbiter(account)
    }

    /// The first answer that the arbiter of the account was told. It is looked for anew: it may have gone meanwhile.
    async fn claim(&self, account: &Account, claim: Claim, deadline: Instant) -> Option<Answer> {
        let Some(arbiter) = self.arbiter(account) else { return Some(self.here.agree(claim)) };
        let now = clock::instant();
        let until = now.checked_add(CLAIM_WITHIN).unwrap_or(now).min(deadline);
        let answer = claim.answer.clone();
        let first = arbiter.claim(claim, until).await;
        let result = match &first {
            Some(first) if *first == answer => Claimed::Agreed,
            Some(_) => Claimed::Overruled,
            None => Claimed::Unanswered,
        };
        self.shared.metrics.cluster.claims.get(result).increment(1);
        first
    }

    /// What another node is about to answer, for this one as the arbiter: the answer that it was told first.
    #[must_use]
    pub fn agree(&self, claim: Claim) -> Answer {
        self.here.agree(claim)
    }

    /// Books what Stripe says; returns when it is durable.
    ///
    /// # Errors
    /// [`NotBooked`]: Stripe has to deliver the event again.
    pub async fn book(
        &self,
        observation: Observation,
        arrival: Arrival,
        sealed: Sealed,
    ) -> Result<(), NotBooked> {
        match self.ask_owner(&self.here.root_of_fact(&observation).await, arrival, sealed).await {
            Some(PeerReply::Booked) => Ok(()),
            Some(PeerReply::Undecided(cause)) => Err(cause.into()),
            Some(PeerReply::WrongAccount) => Err(NotBooked::WrongAccount),
            Some(PeerReply::Answer(_)) | None => self.here.book(observation, arrival).await,
        }
    }

    /// The answer to a request that another node forwards: it goes no further, and nobody stands in.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn answer_peer(
        &self,
        request: Arc<AuthorizationRequest>,
        arrival: Arrival,
    ) -> Result<TimedAnswer, Cause> {
        let account = request.account();
        match self.here.decide(Arc::clone(&request), arrival).await {
            Ok(timed) if self.arbiter(&account).is_none() => Ok(timed),
            Ok(timed) => {
                let claim = async |claim| self.claim(&account, claim, arrival.deadline).await;
                Ok(Box::pin(self.here.confirm(&request, timed, claim)).await)
            }
            Err(undecided) => Err(undecided.cause),
        }
    }

    /// Books what another node forwards.
    ///
    /// # Errors
    /// [`NotBooked`].
    pub async fn book_peer(&self, observation: Observation, arrival: Arrival) -> Result<(), NotBooked> {
        self.here.book(observation, arrival).await
    }

    /// What the owner of an account says, if that is another node and it says it in time. Nothing: decide here. The
    /// journal keeps that safe, also if the owner decides at the same time.
    async fn ask_owner(&self, account: &Account, arrival: Arrival, sealed: Sealed) -> Option<PeerReply> {
        let owner = self.elsewhere(account)?;
        // A box, so that requests which are decided here do not carry the room for this.
        Box::pin(self.forward(&owner, arrival, sealed)).await
    }

    fn elsewhere(&self, account: &Account) -> Option<Arc<Peer>> {
        self.shared.view.borrow().owner(account)?.peer.clone()
    }

    async fn forward(&self, owner: &Peer, arrival: Arrival, sealed: Sealed) -> Option<PeerReply> {
        let shared = &self.shared;
        let Ok(_place) = shared.places.try_acquire() else {
            shared.metrics.decisions.shed.get(Shed::InFlight).increment(1);
            return Some(PeerReply::Undecided(Cause::Overload));
        };
        let now = clock::instant();
        // Half of the time that is left stays for deciding here.
        let left = arrival.deadline.saturating_duration_since(now).div_f64(2.0);
        let after = |span: Duration| now.checked_add(span).unwrap_or(now);
        let patience = Patience { silent: after(shared.forward_within.min(left)), living: after(left) };
        let heard = owner.ask(sealed, patience).await;
        if let Ok(heard) = &heard {
            shared.metrics.cluster.hop_duration.record(heard.hop);
        }
        let reply = heard.map(|heard| heard.reply);
        let result = match reply {
            Ok(PeerReply::Answer(_) | PeerReply::Booked | PeerReply::WrongAccount) => Forward::Answered,
            Ok(PeerReply::Undecided(_)) => Forward::Undecided,
            Err(result) => result,
        };
        shared.metrics.cluster.forwards.get(result).increment(1);
        match reply {
            // Too late for it, or without its database: this node may do better. Overload would only go round.
            Ok(PeerReply::Undecided(Cause::Deadline | Cause::Journal)) | Err(_) => None,
            Ok(reply) => Some(reply),
        }
    }

    /// Whether this node is the one that owns an account.
    #[must_use]
    pub fn is_owner(&self, account: &Account) -> bool {
        self.elsewhere(account).is_none()
    }

    /// The name of the node that owns a card.
    #[must_use]
    pub fn owner(&self, card: &CardId) -> String {
        let view = self.shared.view.borrow();
        let owner = view.owner(&Account::from(card)).map(|known| known.member.node.clone());
        owner.unwrap_or_else(|| self.shared.node_id.clone())
    }

    /// This node and the members as it sees them.
    #[must_use]
    pub fn node(&self) -> NodeView {
        let view = Arc::clone(&self.shared.view.borrow());
        let members = view.members.iter().zip(view.placement.shares()).map(|(known, share)| MemberView {
            member: known.member.clone(),
            share,
            way: known.peer.as_ref().map(|peer| {
                let [answered, failed] = peer.told();
                WayView { connections: peer.links(), answered, failed }
            }),
        });
        NodeView {
            node: self.shared.node_id.clone(),
            members: members.collect(),
            cards_resident: self.here.resident(),
            conflicts: self.here.conflicts(),
            journal: self.shared.journal.as_ref().map(|status| status.borrow().clone()),
        }
    }

    /// The policy in force.
    #[must_use]
    pub fn policy(&self) -> Arc<Policy> {
        self.here.policy()
    }

    /// What is tried beside the policy in force.
    #[must_use]
    pub fn trials(&self) -> &Trials {
        self.here.trials()
    }

    /// Every budget of the policy at the time `now`.
    ///
    /// # Errors
    /// Why the journal cannot be read.
    pub async fn budgets(&self, now: Timestamp) -> Result<Vec<BudgetView>, String> {
        self.here.budgets(now).await
    }

    /// One budget at the time `now`, or the account of a template for `key`.
    ///
    /// # Errors
    /// Why the journal cannot be read.
    pub async fn budget(
        &self,
        name: &str,
        key: Option<&str>,
        now: Timestamp,
    ) -> Result<Option<BudgetView>, String> {
        self.here.budget(name, key, now).await
    }

    /// Carries out what an operator asks for; returns when that is durable.
    ///
    /// # Errors
    /// [`NotOperated`].
    pub async fn operate(&self, target: &Target, order: Order, now: Timestamp) -> Result<(), NotOperated> {
        self.here.operate(target, order, now).await
    }

    /// The books of a card at the time `now`.
    ///
    /// # Errors
    /// Why the journal cannot be read.
    pub async fn card(&self, id: &CardId, now: Timestamp) -> Result<Option<CardView>, String> {
        self.here.card(id, now).await
    }

    /// What a cardholder's events said last; `None` for one of whom none came.
    ///
    /// # Errors
    /// A sentence that says why the journal cannot be read.
    pub async fn cardholder(&self, id: &CardholderId) -> Result<Option<State>, String> {
        self.here.cardholder(id).await
    }

    /// The answers that Stripe has not confirmed in good time, oldest first: those that this node gave.
    #[must_use]
    pub fn unconfirmed(&self, now: Timestamp) -> Vec<UnconfirmedView> {
        self.here.unconfirmed(now)
    }

    /// The authorization of a decision, an event, or a transaction.
    ///
    /// # Errors
    /// Why the journal cannot be read.
    pub async fn authorization_of(&self, id: &str) -> Result<Option<AuthorizationId>, String> {
        self.here.authorization_of(id).await
    }

    /// The policies that nodes have put in force, oldest first.
    ///
    /// # Errors
    /// Why the journal cannot be read.
    pub async fn policies(&self) -> Result<Vec<PolicyRecord>, String> {
        self.here.policies().await
    }

    /// Records what an operator does with a policy.
    ///
    /// # Errors
    /// [`NotRecorded`]: nothing has changed.
    pub async fn change_policy(
        &self,
        change: &PolicyChange<'_>,
        now: Timestamp,
    ) -> Result<PolicyChanged, NotRecorded> {
        self.here.change_policy(&self.shared.node_id, change, now).await
    }

    /// A page of decisions, newest first, behind the place `cursor`.
    ///
    /// # Errors
    /// Why the journal cannot be read.
    pub async fn decisions(
        &self,
        filter: &DecisionFilter,
        cursor: Option<Place>,
        limit: usize,
    ) -> Result<DecisionPage, String> {
        self.here.decisions(filter, cursor, limit).await
    }

    /// The decisions that were recorded behind the place `after`, oldest first.
    ///
    /// # Errors
    /// Why the journal cannot be read.
    pub async fn decisions_after(
        &self,
        filter: &DecisionFilter,
        after: Option<Place>,
        limit: usize,
    ) -> Result<DecisionPage, String> {
        self.here.decisions_after(filter, after, limit).await
    }

    /// The books of an authorization.
    ///
    /// # Errors
    /// Why the journal cannot be read.
    pub async fn authorization(&self, id: &AuthorizationId) -> Result<Option<AuthorizationView>, String> {
        self.here.authorization(id).await
    }
}
