//! Stripe, the network, and what befalls the nodes: one loop over what is due next, on the runtime's own clock.

use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::mpsc,
    time::{Instant, sleep, sleep_until},
};
use tollgate::{
    actors::Arrival,
    domain::{Answer, Outcome, Source, Timestamp},
    journal::Scan as _,
    replay,
    stripe::{self, Incoming, Reading},
};
use tollgate_loadtest::{
    audit::{self, Auditor, Question},
    authorization::Purchase,
    events::{Id, Subject, Writer},
    population::Population,
    story::{Opening, Story, Turn, Verdict},
};

use crate::{
    Plan, Run,
    books::Read,
    budgets::{self, Budgets},
    nodes::{Nodes, WITHIN},
};

/// The second that a run begins in.
const BEGINNING: i64 = 1_790_000_000;
/// Replies that the loop has not looked at yet; more of them wait.
const ON_THEIR_WAY: usize = 1_024;
/// How long Stripe waits for an answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// What comes next.
pub(crate) enum Due {
    /// A story begins.
    Begin,
    /// A story goes on.
    Turn(u64),
    /// An event is delivered.
    Deliver(u64),
    /// A request is sent once more.
    Repeat(Asking),
    /// Something befalls a node.
    Trouble,
}

/// A request on its way.
#[derive(Clone)]
pub(crate) struct Asking {
    pub(crate) question: Question,
    asked: i64,
    pub(crate) is_repeat: bool,
    body: Rc<[u8]>,
}

/// What a node did.
pub(crate) enum Done {
    Answered { asking: usize, node: usize, life: u32, answer: Answer },
    Recorded { event: u64, node: usize, life: u32, is_taken: bool },
}

/// A request that was sent, when it was sent first.
pub(crate) struct First {
    /// The life of the node that is its arbiter.
    pub(crate) arbiter_life: u32,
    pub(crate) source: Option<Source>,
}

pub(crate) struct Tale {
    pub(crate) story: Story,
    pub(crate) asking: usize,
    pub(crate) is_told: bool,
}

pub(crate) struct Event {
    pub(crate) body: Rc<[u8]>,
    pub(crate) copies: u32,
    pub(crate) failures: u32,
    pub(crate) is_acknowledged: bool,
}

pub(crate) struct Play {
    pub(crate) plan: Plan,
    pub(crate) nodes: Nodes,
    pub(crate) began: Instant,
    pub(crate) population: Population,
    pub(crate) writer: Writer,
    pub(crate) auditor: Auditor,
    pub(crate) due: BTreeMap<(u64, u64), Due>,
    pub(crate) order: u64,
    pub(crate) tales: BTreeMap<u64, Tale>,
    pub(crate) asked: BTreeMap<usize, (Asking, u64)>,
    /// What is known of each request that was sent.
    pub(crate) first: BTreeMap<Question, First>,
    pub(crate) events: BTreeMap<u64, Event>,
    pub(crate) begun: u64,
    pub(crate) event_count: u64,
    pub(crate) transactions: u64,
    /// Events that are on their way.
    pub(crate) delivering: usize,
    pub(crate) cards: BTreeSet<u64>,
    pub(crate) run: Run,
    pub(crate) done: mpsc::Sender<Done>,
}

/// Plays a whole run.
pub(crate) async fn play(mut plan: Plan) -> Run {
    let (done, mut results) = mpsc::channel(ON_THEIR_WAY);
    let nodes = Nodes::start(&mut plan);
    let mut game = Play {
        population: Population::new(plan.scenario.cards, &plan.scenario.questions),
        auditor: Auditor::new(plan.scenario.limits),
        run: Run { seed: plan.seed, ..Run::default() },
        plan,
        nodes,
        began: Instant::now(),
        writer: Writer::new(1),
        due: BTreeMap::new(),
        order: 0,
        tales: BTreeMap::new(),
        asked: BTreeMap::new(),
        first: BTreeMap::new(),
        events: BTreeMap::new(),
        begun: 0,
        event_count: 0,
        transactions: 0,
        delivering: 0,
        cards: BTreeSet::new(),
        done,
    };
    game.later(0, Due::Begin);
    game.later(50_000, Due::Trouble);
    loop {
        let next = game.due.first_key_value().map(|((at_us, _), _)| *at_us);
        if next.is_none() && game.asked.is_empty() && game.delivering == 0 {
            break;
        }
        let at = game.began + Duration::from_micros(next.unwrap_or(u64::MAX >> 20));
        tokio::select! {
            biased;
            Some(result) = results.recv() => game.handle(result),
            () = sleep_until(at), if next.is_some() => {
                if let Some((_, due)) = game.due.pop_first() {
                    game.happen(due);
                }
            }
        }
        if game.run.examples.len() > 100 {
            break;
        }
    }
    game.end().await
}

impl Play {
    pub(crate) fn now_us(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).unwrap()
    }

    /// What Stripe's clock says, in seconds.
    pub(crate) fn stripe_now(&self) -> i64 {
        BEGINNING + i64::try_from(self.began.elapsed().as_secs()).unwrap()
    }

    pub(crate) fn later(&mut self, wait_us: u64, due: Due) {
        self.order += 1;
        self.due.insert((self.now_us() + wait_us, self.order), due);
    }

    pub(crate) fn tell(&mut self, line: &str) {
        let now_ms = self.now_us() / 1_000;
        self.run.story.push(format!("{now_ms:>12} ms  {line}"));
    }

    fn happen(&mut self, due: Due) {
        match due {
            Due::Begin => self.begin(),
            Due::Turn(number) => {
                if self.plan.random.u8(..3) == 0 {
                    self.sweep();
                }
                self.turn(number);
            }
            Due::Deliver(event) => self.deliver(event),
            Due::Repeat(asking) => self.send(asking),
            Due::Trouble => self.trouble(),
        }
    }

    /// Lets all nodes send cards away that nobody has asked for.
    fn sweep(&self) {
        for number in 0..self.nodes.count() {
            self.nodes.get(number).directory.sweep_once();
        }
    }

    fn begin(&mut self) {
        self.begun += 1;
        let (number, now) = (self.begun, self.stripe_now());
        let mut story = Story::draw(number, &self.plan.scenario, &self.population, now);
        let opening = story.opening;
        if opening != Opening::Asked {
            story.begin_without_question(now);
        }
        let purchase = story.authorization.purchase;
        self.cards.insert(purchase.card.number);
        self.tales.insert(number, Tale { story, asking: 0, is_told: false });
        if opening == Opening::Asked {
            self.ask(number, purchase.amount);
        } else {
            self.emit(number, Subject::Created);
            self.next_turn(number);
        }
        if self.begun < self.plan.stories {
            // Often several at once, sometimes nothing for a while.
            let wait_us = [0, 0, 100, 5_000, 400_000][self.plan.random.usize(..5)];
            self.later(wait_us, Due::Begin);
        }
    }

    fn ask(&mut self, number: u64, asked: i64) {
        let body = self.written(number, Subject::Request(asked));
        let Some(tale) = self.tales.get_mut(&number) else { return };
        tale.asking += 1;
        let index = tale.story.authorization.history.len();
        let question = Question { authorization: number, index };
        let asking = Asking { question, asked, is_repeat: false, body };
        if tale.story.random().f64() < self.plan.scenario.stripe.duplicated_questions {
            self.plan_repeat(&asking);
        }
        self.send(asking);
    }

    /// The same request comes once more, as the same event or as another one.
    fn plan_repeat(&mut self, asking: &Asking) {
        let number = asking.question.authorization;
        let mut repeat = Asking { is_repeat: true, ..asking.clone() };
        if self.plan.random.bool() {
            repeat.body = self.written(number, Subject::Request(asking.asked));
        }
        if let Some(tale) = self.tales.get_mut(&number) {
            tale.asking += 1;
        }
        let wait_us = [0, 1_000, 100_000, 3_000_000][self.plan.random.usize(..4)];
        self.later(wait_us, Due::Repeat(repeat));
    }

    fn send(&mut self, asking: Asking) {
        let question = asking.question;
        let Some(purchase) = self.purchase(question.authorization) else { return };
        let Some(node) = self.node_for(&asking, purchase.card.number) else {
            return self.asked_no_more(question.authorization);
        };
        let now_us = self.now_us();
        if !asking.is_repeat {
            let arbiter_life = self.nodes.get(self.arbiter(purchase.card.number)).life;
            self.first.insert(question, First { arbiter_life, source: None });
            self.run.requests += 1;
            self.auditor.asked(question, &purchase, asking.asked, now_us);
        }
        let received_at = self.received_at(node);
        let Ok(Incoming::Request(request)) =
            stripe::read(&asking.body, received_at, &Reading { has_budgets: true, ..Reading::default() })
        else {
            panic!("the load test's requests are requests")
        };
        self.tell(&format!(
            "{} {}/{} on card {} for {} to node {node}",
            if asking.is_repeat { "repeat" } else { "ask" },
            question.authorization,
            question.index,
            purchase.card.number,
            asking.asked
        ));
        let to = self.nodes.get(node);
        let (directory, life, done) = (to.directory.clone(), to.life, self.done.clone());
        let arbiter = self.arbiter(purchase.card.number);
        let arbiter = (arbiter != node).then(|| self.nodes.get(arbiter).directory.clone());
        let hop = Duration::from_micros(self.plan.random.u64(50..20_000));
        self.order += 1;
        let asking_number = usize::try_from(self.order).unwrap();
        self.asked.insert(asking_number, (asking, now_us));
        tokio::spawn(async move {
            let received = Instant::now();
            let arrival = Arrival { received, deadline: received + WITHIN, verify_us: 0, parse_us: 0 };
            let timed = match arbiter {
                None => directory.ask(*request, arrival).await,
                Some(arbiter) => {
                    let claim = async |claim| {
                        sleep(hop).await;
                        let first = arbiter.agree(claim);
                        sleep(hop).await;
                        Some(first)
                    };
                    directory.ask_with(*request, arrival, claim).await
                }
            };
            let answer = timed.answer;
            let _ = done.send(Done::Answered { asking: asking_number, node, life, answer }).await;
        });
    }

    fn handle(&mut self, done: Done) {
        match done {
            Done::Answered { asking, node, life, answer } => {
                if let Some((asking, sent_us)) = self.asked.remove(&asking) {
                    let is_late = self.now_us() > sent_us + u64::try_from(PATIENCE.as_micros()).unwrap();
                    if life == self.nodes.get(node).life && !is_late {
                        self.answered(&asking, node, &answer);
                    } else {
                        self.unanswered(&asking);
                    }
                }
            }
            Done::Recorded { event, node, life, is_taken } => {
                self.delivering -= 1;
                let is_taken = is_taken && life == self.nodes.get(node).life;
                self.delivered(event, is_taken);
            }
        }
    }

    fn answered(&mut self, asking: &Asking, node: usize, answer: &Answer) {
        let (question, now_us) = (asking.question, self.now_us());
        let number = question.authorization;
        let Some(purchase) = self.purchase(number) else { return };
        let body = stripe::decision_body(answer, true);
        let full = purchase.held_for(asking.asked);
        let approved = answer.outcome != Outcome::Declined;
        let named = answer.amount.filter(|_| purchase.is_controllable);
        let granted = approved.then(|| named.unwrap_or(full));
        let decision = answer.decision.to_string();
        let heard = audit::Answer {
            granted,
            is_stand_in: answer.source == Source::StandIn,
            decision: Some(&decision),
            reason: Some(answer.reason.as_str()),
            body: Some(&body),
            node,
        };
        self.tell(&format!(
            "{}/{} answered by node {node}: {} {} ({})",
            number,
            question.index,
            answer.outcome.as_str(),
            granted.unwrap_or(0),
            answer.reason.as_str()
        ));
        // The documented gap: a stand-in decision that was given while the arbiter lived is not known to the one after it,
        // before it is recorded.
        let is_gap = asking.is_repeat && !self.has_same_arbiter(&asking.question, purchase.card.number);
        if is_gap {
            self.run.gaps += 1;
        } else {
            self.auditor.answered(question, &purchase, asking.asked, &heard, now_us);
        }
        if let Some(first) = self.first.get_mut(&question).filter(|_| !asking.is_repeat) {
            first.source = Some(answer.source);
        }
        if asking.is_repeat {
            return self.asked_no_more(number);
        }
        self.run.decided += u64::from(answer.source == Source::Policy);
        self.decided(question, asking.asked, granted.map_or(Verdict::Declined, Verdict::Approved));
    }

    /// No answer came: Stripe decides by itself.
    fn unanswered(&mut self, asking: &Asking) {
        let number = asking.question.authorization;
        self.tell(&format!("{}/{} has no answer", number, asking.question.index));
        if asking.is_repeat {
            return self.asked_no_more(number);
        }
        if let Some(purchase) = self.purchase(number) {
            self.auditor.given_up(asking.question, purchase.card.number);
        }
        let verdict = Verdict::Default { reason: "webhook_timeout", approves: false };
        self.decided(asking.question, asking.asked, verdict);
    }

    fn decided(&mut self, question: Question, asked: i64, verdict: Verdict) {
        let (number, now) = (question.authorization, self.stripe_now());
        let Some(tale) = self.tales.get_mut(&number) else { return };
        tale.asking -= 1;
        tale.story.decided(asked, verdict, now);
        self.emit(number, if question.index == 0 { Subject::Created } else { Subject::Updated });
        self.next_turn(number);
    }

    fn turn(&mut self, number: u64) {
        let now = self.stripe_now();
        let Some(tale) = self.tales.get_mut(&number) else { return };
        match tale.story.turn(&mut self.transactions, now) {
            Turn::Ask(asked) => return self.ask(number, asked),
            Turn::Updated => self.emit(number, Subject::Updated),
            Turn::Settled(transaction) => {
                self.emit(number, Subject::Transaction(transaction));
                if transaction.is_linked {
                    self.emit(number, Subject::Updated);
                }
            }
            Turn::End => {
                tale.is_told = true;
                return self.end_if_over(number);
            }
        }
        self.next_turn(number);
    }

    fn next_turn(&mut self, number: u64) {
        let step_us = self.plan.scenario.stripe.step_ms * 1_000;
        let wait_us = self.plan.random.u64(..step_us * 2);
        self.later(wait_us, Due::Turn(number));
    }

    fn asked_no_more(&mut self, number: u64) {
        if let Some(tale) = self.tales.get_mut(&number) {
            tale.asking -= 1;
        }
        self.end_if_over(number);
    }

    fn end_if_over(&mut self, number: u64) {
        if let Some(tale) = self.tales.get(&number)
            && tale.is_told
            && tale.asking == 0
        {
            self.auditor.ended(&tale.story.authorization);
        }
    }

    fn purchase(&self, number: u64) -> Option<Purchase> {
        self.tales.get(&number).map(|tale| tale.story.authorization.purchase)
    }

    pub(crate) fn received_at(&self, node: usize) -> Timestamp {
        let elapsed = i64::try_from(self.began.elapsed().as_micros()).unwrap();
        Timestamp::from_micros(BEGINNING * 1_000_000 + elapsed + self.nodes.get(node).skew_ms * 1_000)
    }

    /// Everything has been told: the ledger has to be Stripe's.
    async fn end(mut self) -> Run {
        self.nodes.heal();
        sleep(Duration::from_secs(10)).await;
        let reader = self.nodes.reader();
        let mut read = Read::default();
        for card in &self.cards {
            read.card(&reader, &self.writer.id(Id::Card, *card)).await;
        }
        for number in self.tales.keys() {
            read.authorization(&reader, &self.writer.id(Id::Authorization, *number)).await;
        }
        let memory = &*self.nodes.memory;
        self.run.entries = u64::try_from(memory.scan(0, usize::MAX >> 1).await.unwrap().len()).unwrap();
        let entries = memory.scan(0, usize::MAX >> 1).await.unwrap();
        if let Some(found) = budgets::disagreement(&entries) {
            self.run.violations.insert("budget_disagrees".to_owned(), 1);
            self.run.examples.push(found);
        }
        let audit = self.auditor.close(Some(&mut read), &self.writer, &[]).expect("everything was read");
        for (kind, count) in audit.violations {
            // The auditor does not know of budgets, which decline as well.
            let is_of_budgets = kind == "declined_with_room" && self.plan.budgets == Budgets::Tight;
            if count > 0 && !is_of_budgets {
                self.run.violations.insert(kind, count);
            }
        }
        self.run.examples.extend(audit.examples);
        let pass = replay::Pass::new([Arc::clone(&self.nodes.policy)]);
        let verified =
            replay::replay(memory, pass, None, |_| {}).await.expect("the journal can be read").verified;
        if !verified.is_equal() {
            self.run.violations.insert("replay_differs".to_owned(), 1);
            self.run.examples.push(format!("{verified:?}"));
        }
        self.run
    }
}
