//! The room that answers over sockets, with real sockets and a desk that the test holds.
#![allow(clippy::arithmetic_side_effects, reason = "a test that overflows fails, as it should")]

mod webhook;
mod connections;
mod drain;
mod admin;
mod console;
mod peers;

use std::{
    future::Future,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    net::TcpListener,
    sync::{Semaphore, watch},
    task::JoinHandle,
};
use tollgate::{
    clock,
    cluster::{
        Arrival, Cause, Claim, DecisionFilter, Gate, Hello, Identity, Local, Member, NotBooked, NotOperated,
        NotRecorded, Order, Place, PolicyChange, PolicyChanged, Sealed, Target, TimedAnswer,
    },
    domain::{
        Answer, AnswerBy, Attribution, AuthorizationId, AuthorizationRequest, CardId, CardholderId,
        DecisionId, Observation, Outcome, Reason, Source,
    },
    http::{
        Admin, Books, Desk, Drain, Guard, NamedToken, PolicyPort, Readiness, SessionKey, Settings, Slow,
        Token, Unreadable, Webhook,
        bodies::{
            AuthorizationBody, BudgetBody, BudgetsBody, CardBody, CardholderBody, DecisionsBody, InForceBody,
            NodeBody, PoliciesBody, PolicyBody, ShadowBody, StateBody, UnconfirmedListBody,
        },
        run, run_peers, vocabulary,
    },
    metrics::{Listener, Metrics, Route},
    stripe::{self, Reading, Secret, sign},
    trial::NotSet,
};

use crate::client::post;

const SECRET: &str = "whsec_of_the_tests";
const TOKEN: &str = "operators-only-0123456789";
const PURCHASE: &[u8] = include_bytes!("../fixtures/stripe/request-01-purchase.json");
const CAPTURE: &[u8] = include_bytes!("../fixtures/stripe/transaction-created-capture.json");

/// A desk that does what the test says, and remembers what it was brought.
#[derive(Clone)]
struct Stub(Arc<State>);

struct State {
    answer: Mutex<Answer>,
    asked: Mutex<Vec<(AuthorizationRequest, Arrival)>>,
    booked: Mutex<Vec<Observation>>,
    refuses_to_book: AtomicBool,
    open: watch::Sender<bool>,
    /// One permit for each question that has come.
    came: Semaphore,
}

impl Stub {
    fn new() -> Self {
        let answer = Answer {
            decision: DecisionId::parse("dec_0000000000000007").unwrap(),
            outcome: Outcome::Approved,
            amount: None,
            reason: Reason::Approved,
            challenge: false,
            source: Source::Policy,
            by: AnswerBy::Direct,
            marks: None,
        };
        Self(Arc::new(State {
            answer: Mutex::new(answer),
            asked: Mutex::default(),
            booked: Mutex::default(),
            refuses_to_book: AtomicBool::new(false),
            open: watch::Sender::new(true),
            came: Semaphore::new(0),
        }))
    }

    /// From now on questions wait for [`Stub::open`].
    fn close(&self) {
        self.0.open.send_replace(false);
    }

    fn open(&self) {
        self.0.open.send_replace(true);
    }

    /// Waits until `questions` more have come.
    async fn came(&self, questions: u32) {
        self.0.came.acquire_many(questions).await.unwrap().forget();
    }

    fn arrivals(&self) -> Vec<Arrival> {
        self.0.asked.lock().unwrap().iter().map(|(_, arrival)| *arrival).collect()
    }

    fn asked(&self) -> usize {
        self.0.asked.lock().unwrap().len()
    }
}

impl Desk for Stub {
    async fn answer(
        &self,
        request: Arc<AuthorizationRequest>,
        arrival: Arrival,
        _: Sealed,
    ) -> (TimedAnswer, Route) {
        (self.decide(request, arrival).await, Route::Local)
    }

    async fn book(&self, observation: Observation, _: Arrival, _: Sealed) -> Result<(), NotBooked> {
        self.write(observation)
    }

    async fn answer_peer(
        &self,
        request: Arc<AuthorizationRequest>,
        arrival: Arrival,
    ) -> Result<TimedAnswer, Cause> {
        Ok(self.decide(request, arrival).await)
    }

    async fn book_peer(&self, observation: Observation, _: Arrival) -> Result<(), NotBooked> {
        self.write(observation)
    }

    fn agree(&self, claim: Claim) -> Answer {
        claim.answer
    }

    fn reading(&self) -> Reading {
        Reading::default()
    }
}

impl Stub {
    async fn decide(&self, request: Arc<AuthorizationRequest>, arrival: Arrival) -> TimedAnswer {
        self.0.asked.lock().unwrap().push((Arc::unwrap_or_clone(request), arrival));
        self.0.came.add_permits(1);
        self.0.open.subscribe().wait_for(|open| *open).await.unwrap();
        let answer = self.0.answer.lock().unwrap().clone();
        answer.into()
    }

    fn write(&self, observation: Observation) -> Result<(), NotBooked> {
        if self.0.refuses_to_book.load(Ordering::SeqCst) {
            return Err(NotBooked::Now(Cause::Journal));
        }
        self.0.booked.lock().unwrap().push(observation);
        Ok(())
    }
}

/// Knows one card and one authorization, and one of each that it cannot read.
struct OneCard;

impl Books for OneCard {
    async fn card(&self, card: CardId) -> Result<Option<CardBody>, Unreadable> {
        match card.as_str() {
            "ic_known" => Ok(Some(CardBody { card: "ic_known".to_owned(), ..CardBody::default() })),
            "ic_broken" => Err(Unreadable),
            _ => Ok(None),
        }
    }

    async fn cardholder(&self, cardholder: CardholderId) -> Result<Option<CardholderBody>, Unreadable> {
        let state = StateBody { active: true, group: None };
        let body = CardholderBody { cardholder: cardholder.to_string(), state };
        Ok((cardholder.as_str() == "ich_known").then_some(body))
    }

    async fn authorization(
        &self,
        authorization: AuthorizationId,
    ) -> Result<Option<AuthorizationBody>, Unreadable> {
        match authorization.as_str() {
            "iauth_known" => {
                let authorization = "iauth_known".to_owned();
                Ok(Some(AuthorizationBody { authorization, ..AuthorizationBody::default() }))
            }
            "iauth_broken" => Err(Unreadable),
            _ => Ok(None),
        }
    }

    async fn decisions(
        &self,
        _: DecisionFilter,
        cursor: Option<Place>,
        _: usize,
    ) -> Result<DecisionsBody, Unreadable> {
        Ok(DecisionsBody { next: cursor.map(|place| place.to_string()), ..DecisionsBody::default() })
    }

    /// Nothing is ever recorded.
    async fn decisions_after(
        &self,
        _: DecisionFilter,
        after: Option<Place>,
        _: usize,
    ) -> Result<DecisionsBody, Unreadable> {
        let next = after.map_or_else(|| "7".to_owned(), |place| place.to_string());
        Ok(DecisionsBody { next: Some(next), ..DecisionsBody::default() })
    }

    async fn authorization_of(&self, id: String) -> Result<Option<AuthorizationId>, Unreadable> {
        Ok(AuthorizationId::new("iauth_known").filter(|_| id == "evt_known"))
    }

    async fn budgets(&self) -> Result<BudgetsBody, Unreadable> {
        Ok(BudgetsBody::default())
    }

    async fn budget(&self, _: &str, _: Option<&str>) -> Result<Option<BudgetBody>, Unreadable> {
        Ok(None)
    }

    async fn operate(&self, _: &Target, _: Order) -> Result<(), NotOperated> {
        Err(NotOperated::NotNow)
    }

    async fn change_policy(&self, _: PolicyChange<'_>) -> Result<PolicyChanged, NotRecorded> {
        Err(NotRecorded::Refused)
    }

    async fn policies(&self) -> Result<PoliciesBody, Unreadable> {
        Ok(PoliciesBody::default())
    }

    async fn policy_version(&self, _: String) -> Result<Option<PolicyBody>, Unreadable> {
        Ok(None)
    }

    fn policy_in_force(&self) -> InForceBody {
        InForceBody { version: "known".to_owned(), text: String::new() }
    }

    fn unconfirmed(&self) -> UnconfirmedListBody {
        UnconfirmedListBody::default()
    }

    async fn shadow(&self) -> Result<ShadowBody, Unreadable> {
        Ok(ShadowBody::default())
    }

    async fn set_shadow(&self, _: Option<&str>, _: Attribution) -> Result<(), NotSet> {
        Err(NotSet::Nothing)
    }

    async fn node(&self) -> NodeBody {
        NodeBody { node: "node-a".to_owned(), ..NodeBody::default() }
    }
}

/// A running room.
struct Room {
    webhook: SocketAddr,
    admin: SocketAddr,
    peers: SocketAddr,
    /// The node as another one knows it, and that other one.
    here: Member,
    other: Arc<Local>,
    desk: Stub,
    books: Arc<OnceLock<OneCard>>,
    metrics: Arc<Metrics>,
    readiness: Readiness,
    drain: Drain,
    serving: Vec<JoinHandle<()>>,
}

impl Room {
    async fn open() -> Self {
        Self::with(|_| ()).await
    }

    async fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = Settings { admin_token: Token::new(TOKEN), ..Settings::default() };
        // Long enough for a busy machine: a test that is about a deadline sets its own.
        settings.bounds.head_within = Duration::from_mins(1);
        settings.bounds.body_within = Duration::from_mins(1);
        change(&mut settings);
        let room = Self::guarded(settings, IpAddr::V4(Ipv4Addr::LOCALHOST)).await;
        room.start();
        room
    }

    /// With an admin API that believes to be on `admin_address`, and that does not know the ledger yet.
    async fn guarded(settings: Settings, admin_address: IpAddr) -> Self {
        let metrics = Arc::new(Metrics::new(&vocabulary()));
        let desk = Stub::new();
        let stripe = stripe::Settings::new(vec![Secret::new(SECRET).unwrap()]);
        let slow = Arc::new(Slow::default());
        let told = || Arc::clone(&metrics);
        let webhook = Webhook::new(
            desk.clone(),
            stripe.verifier(),
            told(),
            Arc::clone(&slow),
            None,
            &settings,
            &stripe,
        );
        let admin = settings.admin_token.as_ref().map(Token::of_admin);
        let others = settings.admin_token_file.iter().flat_map(|file| file.tokens.clone());
        let tokens: Arc<[NamedToken]> = admin.into_iter().chain(others).collect();
        let tokens = (!tokens.is_empty()).then(|| watch::channel(tokens).1);
        let guard = Guard::new(admin_address, tokens, SessionKey::new(&[7; 32])).unwrap();
        let readiness = Readiness::starting(Arc::clone(&metrics));
        let books = Arc::new(OnceLock::new());
        let policies = PolicyPort { read: |_| Err(Vec::new()), own: None, needs_approval: false };
        let admin = Admin::new(
            Arc::clone(&books),
            guard,
            readiness.clone(),
            told(),
            (slow, Arc::default()),
            policies,
        );
        let (drain, stop) = Drain::new();
        let [webhook_socket, admin_socket, peer_socket] = listeners().await;
        let [webhook_address, admin_address, peers] =
            [&webhook_socket, &admin_socket, &peer_socket].map(|socket| socket.local_addr().unwrap());
        let (local, here) = node("node-a", peers);
        let (other, member) = node("node-b", peers);
        let gate = Gate::new(local, watch::channel(Arc::from([member])).1);
        let serving = vec![
            tokio::spawn(run_peers(
                peer_socket,
                gate,
                webhook.for_peers(),
                settings.bounds,
                told(),
                stop.clone(),
            )),
            tokio::spawn(run(
                webhook_socket,
                Listener::Webhook,
                webhook,
                settings.bounds,
                told(),
                stop.clone(),
            )),
            tokio::spawn(run(admin_socket, Listener::Admin, admin, settings.admin_bounds(), told(), stop)),
        ];
        Self {
            webhook: webhook_address,
            admin: admin_address,
            peers,
            here,
            other,
            desk,
            books,
            metrics,
            readiness,
            drain,
            serving,
        }
    }

    /// From now on the admin port knows the ledger.
    fn start(&self) {
        assert!(self.books.set(OneCard).is_ok(), "started twice");
    }

    /// Waits until every connection has ended.
    async fn ended(self) {
        for serving in self.serving {
            tokio::time::timeout(Duration::from_secs(20), serving).await.expect("still serving").unwrap();
        }
    }

    /// The value of one series.
    fn metric(&self, series: &str) -> String {
        let text = self.metrics.render();
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("{series} is not in\n{text}")).to_owned()
    }
}

/// A node with a key of its own, and its row in the member table.
fn node(name: &str, address: SocketAddr) -> (Arc<Local>, Member) {
    let identity = Identity::generate().unwrap();
    let (node, version) = (name.to_owned(), "1.0.0".to_owned());
    let (address, key) = (address.to_string(), identity.fingerprint());
    let member = Member { node: node.clone(), incarnation: 1, address, version: version.clone(), key };
    let hello = Hello { journal: "journal".to_owned(), lineage: None, node, incarnation: 1, version };
    let local = Local::new(identity, hello, Arc::new(Metrics::new(&vocabulary()))).unwrap();
    (Arc::new(local), member)
}

async fn listeners() -> [TcpListener; 3] {
    let listener = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    [listener().await.unwrap(), listener().await.unwrap(), listener().await.unwrap()]
}

/// The line of the signature's header for `body`, signed now.
fn signed_header(body: &[u8]) -> String {
    let signature = sign(&Secret::new(SECRET).unwrap(), clock::now().as_seconds(), body);
    format!("stripe-signature: {signature}\r\n")
}

/// A delivery of Stripe's, signed now.
fn delivery(body: &[u8]) -> Vec<u8> {
    post("/webhook", &signed_header(body), body)
}

/// Asks again and again until `is_so`, a moment between two looks; for what the other side does on its own.
async fn eventually(what: &str, is_so: impl Fn() -> bool) {
    let look = async {
        while !is_so() {
            tokio::task::yield_now().await;
        }
    };
    within(what, look).await;
}

async fn within<T>(what: &str, work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), work)
        .await
        .unwrap_or_else(|_| panic!("not in time: {what}"))
}
