//! Traffic on several nodes as a balancer brings it, and the account that is kept of it apart from the nodes: what was
//! asked, what was answered, and how long it took.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{sync::watch, task::JoinSet, time::timeout};
use tollgate::clock::{self, Instant};

use super::Cluster;
use crate::{
    client::{Client, Response},
    deliveries::{SECRET, Verdict, purchase, signed_with_all},
    process::within,
};

const BUYERS: usize = 8;
const CARDS: usize = 60;
/// What a card may spend. Some cards reach it early and some late, so that an overspend would show whenever it happens.
const LIMIT: i64 = 5_000;
/// When a buyer gives a question up. Stripe waits for two seconds; on a machine that is busy with other tests that would
/// be about the machine.
const PATIENCE: Duration = Duration::from_secs(8);
const ANSWER_WITHIN: Duration = Duration::from_millis(1_200);
/// What the machine may add to the node's deadline before an answer counts as late: machines that test are slow.
const NOISE: Duration = Duration::from_secs(3);

/// The settings of nodes under this load.
pub(super) const SETTINGS: [(&str, &str); 3] = [
    ("TOLLGATE_CARD_LIMIT_ALL_TIME", "5000"),
    ("TOLLGATE_ANSWER_WITHIN", "1200ms"),
    // Declines are told as they come; what the nodes say of themselves is looked at.
    ("TOLLGATE_LOG", "info,tollgate::http::webhook=warn"),
];

/// Running traffic.
pub(super) struct Load {
    account: Arc<Account>,
    buyers: JoinSet<()>,
}

/// What the outside world knows.
pub(super) struct Account {
    seed: u64,
    targets: Mutex<Vec<SocketAddr>>,
    secrets: Mutex<Vec<&'static str>>,
    stop: AtomicBool,
    /// Answered questions, by authorization.
    asked: Mutex<BTreeMap<String, Asked>>,
    /// Questions that buyers have given up waiting for.
    given_up: Mutex<Vec<(String, Vec<u8>)>>,
    answers: watch::Sender<usize>,
    turned_away: AtomicUsize,
}

/// A question and its answer.
#[derive(Clone)]
pub(super) struct Asked {
    pub(super) card: String,
    pub(super) amount: i64,
    pub(super) body: Vec<u8>,
    pub(super) reply: String,
    pub(super) verdict: Verdict,
    pub(super) sent: Instant,
    pub(super) took: Duration,
    /// How many times a node was asked until one took it.
    pub(super) tries: usize,
}

impl Asked {
    pub(super) fn is_stand_in(&self) -> bool {
        self.verdict.reason.starts_with("stand_in")
    }
}

impl Load {
    /// Buyers that ask whichever node the balancer gives them, until told to stop.
    pub(super) fn start(cluster: &Cluster) -> Self {
        let seed = fastrand::u64(..);
        println!("seed {seed}");
        let account = Arc::new(Account {
            seed,
            targets: Mutex::new(cluster.targets()),
            secrets: Mutex::new(vec![SECRET]),
            stop: AtomicBool::new(false),
            asked: Mutex::default(),
            given_up: Mutex::default(),
            answers: watch::Sender::new(0),
            turned_away: AtomicUsize::new(0),
        });
        let mut buyers = JoinSet::new();
        for n in 0..BUYERS {
            let random = fastrand::Rng::with_seed(seed.wrapping_add(u64::try_from(n).unwrap()));
            buyers.spawn(Buyer { n, random, client: None, account: Arc::clone(&account) }.buy());
        }
        Self { account, buyers }
    }

    /// How many questions were answered so far.
    pub(super) fn answers(&self) -> usize {
        *self.account.answers.borrow()
    }

    /// The balancer sends to these nodes from now on.
    pub(super) fn aim(&self, targets: Vec<SocketAddr>) {
        *self.account.targets.lock().unwrap() = targets;
    }

    /// Stripe signs with all of these from now on.
    pub(super) fn sign_with(&self, secrets: &[&'static str]) {
        *self.account.secrets.lock().unwrap() = secrets.to_vec();
    }

    /// Lets the traffic go on for so long, and until at least `answers` more have come.
    pub(super) async fn go_on(&self, time: Duration, answers: usize) {
        let since = clock::instant();
        let mut seen = self.account.answers.subscribe();
        let enough = *seen.borrow() + answers;
        within("the traffic goes on", async {
            while since.elapsed() < time || *seen.borrow_and_update() < enough {
                // Whether there is an answer or not: the time is over some day.
                let _ = timeout(Duration::from_millis(50), seen.changed()).await;
            }
        })
        .await;
    }

    /// Ends the traffic, and gives the account of it.
    pub(super) async fn stop(mut self) -> Arc<Account> {
        self.account.stop.store(true, Ordering::SeqCst);
        within("the buyers go home", async {
            while let Some(ended) = self.buyers.join_next().await {
                ended.unwrap();
            }
        })
        .await;
        self.account
    }
}

struct Buyer {
    n: usize,
    random: fastrand::Rng,
    client: Option<(SocketAddr, Client)>,
    account: Arc<Account>,
}

impl Buyer {
    async fn buy(mut self) {
        for question in 0.. {
            if self.account.stop.load(Ordering::SeqCst) {
                return;
            }
            // Some cards are used more than others.
            let card = self.random.usize(..CARDS).min(self.random.usize(..CARDS));
            let card = format!("ic_of_a_cluster_{card}");
            let authorization = format!("iauth_{:x}_{}_{question}", self.account.seed, self.n);
            let amount = self.random.i64(50..400);
            let body = purchase(&card, &authorization, amount);
            let sent = clock::instant();
            match self.ask(&body).await {
                Some((response, tries)) => {
                    let (verdict, took) = (Verdict::of(&response), sent.elapsed());
                    let asked =
                        Asked { card, amount, body, reply: response.body, verdict, sent, took, tries };
                    self.account.asked.lock().unwrap().insert(authorization, asked);
                    self.account.answers.send_modify(|answers| *answers += 1);
                }
                None => self.account.given_up.lock().unwrap().push((authorization, body)),
            }
        }
    }

    /// One question as a balancer brings it: where a node does not take it or breaks off, another is asked, as
    /// long as the buyer waits.
    /// The answer, and how many tries it took.
    async fn ask(&mut self, body: &[u8]) -> Option<(Response, usize)> {
        let since = clock::instant();
        let mut tries = 0;
        while let Some(left) = PATIENCE.checked_sub(since.elapsed()) {
            tries += 1;
            let asked = timeout(left, self.try_once(body)).await;
            match asked {
                Ok(Some(response)) => return Some((response, tries)),
                Ok(None) => {
                    self.account.turned_away.fetch_add(1, Ordering::SeqCst);
                    tokio::task::yield_now().await;
                }
                Err(_) => {
                    self.client = None;
                    return None;
                }
            }
        }
        None
    }

    async fn try_once(&mut self, body: &[u8]) -> Option<Response> {
        let targets = self.account.targets.lock().unwrap().clone();
        let target = *self.random.choice(&targets)?;
        // Every few questions another node: a balancer's connections outlive a question, and do not last for ever.
        let kept = self.client.take().filter(|(known, _)| targets.contains(known) && self.random.u8(..4) > 0);
        let (target, mut client) = match kept {
            Some(kept) => kept,
            None => (target, Client::try_connect(target).await.ok()?),
        };
        let response = client.try_exchange(&self.account.signed(body)).await.ok()?;
        if response.header("connection") != Some("close") {
            self.client = Some((target, client));
        }
        Some(response)
    }
}

impl Account {
    fn signed(&self, body: &[u8]) -> Vec<u8> {
        signed_with_all(&self.secrets.lock().unwrap(), body)
    }

    pub(super) fn asked(&self) -> BTreeMap<String, Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// How often a node did not take a question, or broke off, so that another was asked.
    pub(super) fn turned_away(&self) -> usize {
        self.turned_away.load(Ordering::SeqCst)
    }

    /// How many questions nobody answered.
    pub(super) fn given_up(&self) -> usize {
        self.given_up.lock().unwrap().len()
    }

    /// Holds everything that was promised against what the world knows.
    pub(super) async fn audit(&self, cluster: &Cluster) {
        let asked = self.asked();
        self.print(&asked);
        let late = asked.values().filter(|one| one.took > ANSWER_WITHIN + NOISE);
        let late: Vec<Duration> = late.map(|one| one.took).collect();
        assert!(late.is_empty(), "answers came after their deadline: {late:?}");
        within("the stand-in's answers are booked", async {
            while !Self::is_booked(cluster, &asked) {
                tokio::task::yield_now().await;
            }
        })
        .await;
        self.ask_again(cluster, &asked).await;
        self.count(cluster, &asked).await;
    }

    /// Whether every answer is in the journal, as it was given. A decision is there before it is told; what the stand-in
    /// said, as soon as that can be.
    pub(super) fn is_booked(cluster: &Cluster, asked: &BTreeMap<String, Asked>) -> bool {
        let rows = "SELECT \"authorization\", decision, outcome, reason FROM tollgate.decisions ORDER BY lsn";
        let journal = cluster.server.sql(rows);
        let mut booked: BTreeMap<&str, Vec<[&str; 3]>> = BTreeMap::new();
        for row in journal.lines() {
            let columns: Vec<&str> = row.split('|').collect();
            booked.entry(columns[0]).or_default().push([columns[1], columns[2], columns[3]]);
        }
        let mut is_all_there = true;
        for (authorization, asked) in asked {
            let outcome = if asked.verdict.approved { "approved" } else { "declined" };
            let told = [asked.verdict.decision.as_str(), outcome, asked.verdict.reason.as_str()];
            let booked = booked.get(authorization.as_str()).map(Vec::as_slice).unwrap_or_default();
            match booked {
                [only] if *only == told => {}
                // A decision that turned durable after the stand-in had answered is void.
                [_, last] if asked.is_stand_in() && *last == told => {}
                _ if asked.is_stand_in() && booked.len() < 2 => is_all_there = false,
                _ => panic!("{authorization} was told {told:?}, and the journal has {booked:?}"),
            }
        }
        is_all_there
    }

    /// The same question gets the same answer, whichever node is asked.
    async fn ask_again(&self, cluster: &Cluster, asked: &BTreeMap<String, Asked>) {
        let mut clients = Vec::new();
        for target in cluster.targets() {
            clients.push(Client::connect(target).await);
        }
        let nodes = clients.len();
        let step = (asked.len() / 150).max(1);
        for (n, (authorization, asked)) in asked.iter().step_by(step).enumerate() {
            let again = clients[n % nodes].exchange(self.signed(&asked.body)).await;
            assert_eq!(again.body, asked.reply, "{authorization}");
        }
        // What was given up may be asked again too, and is then decided once.
        let given_up = self.given_up.lock().unwrap().clone();
        for (authorization, body) in &given_up {
            let verdicts = [0, 1].map(|n| n % nodes);
            let first = clients[verdicts[0]].exchange(self.signed(body)).await.body;
            assert_eq!(first, clients[verdicts[1]].exchange(self.signed(body)).await.body, "{authorization}");
        }
    }

    /// No card is over its limit, and what was approved is in its books.
    async fn count(&self, cluster: &Cluster, asked: &BTreeMap<String, Asked>) {
        let node = cluster.running().last().expect("a node runs");
        let mut exhausted = 0;
        for card in 0..CARDS {
            let card = format!("ic_of_a_cluster_{card}");
            let approved = asked.values().filter(|one| one.card == card && one.verdict.approved);
            let approved: i64 = approved.map(|one| one.amount).sum();
            assert!(approved <= LIMIT, "{card}: {approved} were approved");
            let response = node.get(&format!("/v1/cards/{card}")).await;
            if response.status == 404 {
                assert_eq!(approved, 0, "{card} is forgotten");
                continue;
            }
            let book = response.json();
            let used = book["limits"][0]["used"].as_i64().unwrap();
            assert!((approved..=LIMIT).contains(&used), "{card}: {used} used, {approved} acknowledged");
            assert_eq!(book["overrun"], 0, "{card}");
            exhausted += usize::from(LIMIT - used < 400);
        }
        println!("{exhausted} of {CARDS} cards reached their limit");
        let approved = asked.values().filter(|one| one.verdict.approved).count();
        assert!(approved > 100, "only {approved} were approved");
    }

    fn print(&self, asked: &BTreeMap<String, Asked>) {
        let mut took: Vec<Duration> = asked.values().map(|one| one.took).collect();
        took.sort();
        let at = |part: usize| took[(took.len() * part / 1_000).min(took.len() - 1)];
        println!(
            "{} answered, {} approved, {} by the stand-in, {} turned away, {} given up; p50 {:?}, p99 {:?}, longest {:?}",
            asked.len(),
            asked.values().filter(|one| one.verdict.approved).count(),
            asked.values().filter(|one| one.is_stand_in()).count(),
            self.turned_away(),
            self.given_up(),
            at(500),
            at(990),
            at(1_000),
        );
    }
}
