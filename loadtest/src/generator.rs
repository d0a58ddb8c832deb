//! Plays Stripe: asks when questions are due, waits no longer than Stripe waits, tells what became of each, and lets the
//! auditor see all of it. One thread, one loop: what is due is done, then it waits for sockets or for what is due next.

mod alarm;
pub mod api;
mod deliveries;
mod measures;
mod pacer;
mod pool;
mod questions;
mod reply;
pub mod saturate;

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
    io,
    net::SocketAddr,
    rc::Rc,
    time::Duration,
};

use api::Api;
use deliveries::Event;
use measures::Measures;
use pacer::Pacer;
use pool::{Pool, Ticket};
use questions::{Asking, Tale};

use crate::{
    audit::Auditor,
    clock::{self, Clock},
    events::Writer,
    population::Population,
    record::{Deliveries, Generator, Latency, Outcomes, Second, Stage},
    scenario::Scenario,
    signature::Signer,
};

/// How much of what is due is done before sockets are looked at again.
const DONE_AT_ONCE: usize = 32;

/// Where a node takes webhooks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Target {
    /// Its address.
    pub address: SocketAddr,
    /// What requests call it.
    pub host: String,
    /// The path of the webhook.
    pub path: String,
}

/// What signs requests: the endpoint for questions and the regular one have a secret each.
#[derive(Clone)]
pub struct Secrets {
    /// Of `issuing_authorization.request`.
    pub questions: Signer,
    /// Of all other events.
    pub events: Signer,
}

/// What is played, and against what.
#[derive(Clone, Copy)]
pub struct Scene<'a> {
    /// What.
    pub scenario: &'a Scenario,
    /// Where it goes to.
    pub targets: &'a [Target],
    /// What signs it.
    pub secrets: &'a Secrets,
    /// What writes events.
    pub writer: &'a Writer,
    /// Stripe's API, where it has a part.
    pub api: Option<&'a Api>,
    /// The time.
    pub clock: Clock,
}

/// How it goes, told once a second.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Progress {
    /// Seconds since the start.
    pub at_s: u64,
    /// How long questions are asked.
    pub of_s: f64,
    /// The last second.
    pub second: Second,
    /// Its median.
    pub p50_us: u64,
    /// Its 99 in 100.
    pub p99_us: u64,
    /// All questions so far.
    pub outcomes: Outcomes,
    /// Stories that are not at their end.
    pub open: usize,
}

/// What was measured, and the auditor with all that it saw.
pub struct Played {
    /// How long it took, in seconds.
    pub seconds: f64,
    /// How questions ended.
    pub outcomes: Outcomes,
    /// How long they took.
    pub latency: Latency,
    /// What became of events.
    pub deliveries: Deliveries,
    /// Each second.
    pub seconds_each: Vec<Second>,
    /// Each stage.
    pub stages: Vec<Stage>,
    /// The generator's own cost.
    pub generator: Generator,
    /// The histograms, as an `.hlog`.
    pub hlog: Vec<u8>,
    /// The auditor.
    pub auditor: Auditor,
    /// Events that were never delivered: only Stripe's API knows what they tell.
    pub lost: Vec<u64>,
    measures: Measures,
}

impl Played {
    /// From one moment on, how long it took until the last question before another moment that was not answered had
    /// ended.
    #[must_use]
    pub fn normal_after_us(&self, from_us: u64, to_us: u64) -> u64 {
        self.measures.normal_after_us(from_us, to_us)
    }

    /// The same for the last question that was not decided: the stand-in's answers do not count.
    #[must_use]
    pub fn decided_after_us(&self, from_us: u64, to_us: u64) -> u64 {
        self.measures.decided_after_us(from_us, to_us)
    }
}

/// Something to be done at a moment.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Due {
    /// The next turn of a story.
    Turn(u64),
    /// A question once more.
    Repeat(u64),
    /// An event leaves.
    Deliver(u64),
    /// Nobody waits longer for this reply.
    GiveUp(Ticket),
}

/// A request on its way.
struct Exchange {
    what: What,
    due_us: u64,
    left_us: u64,
    /// The node that it went to.
    target: usize,
}

/// What goes out, and how long its reply is waited for.
#[derive(Clone, Copy)]
struct Request<'a> {
    signature: Option<&'a str>,
    body: &'a [u8],
    give_up_us: u64,
}

enum What {
    Ask(Asking),
    Deliver(u64),
    Forged(&'static str),
}

/// A scenario while it is played.
struct Play<'a> {
    scenario: &'a Scenario,
    targets: &'a [Target],
    secrets: &'a Secrets,
    writer: &'a Writer,
    api: Option<&'a Api>,
    clock: Clock,
    population: Population,
    pool: Pool<Exchange>,
    heap: BinaryHeap<Reverse<(u64, Due)>>,
    tales: HashMap<u64, Tale>,
    repeats: HashMap<u64, Asking>,
    events: HashMap<u64, Event>,
    /// Deliveries on their way.
    delivering: usize,
    /// Events that Stripe never delivers.
    lost: Vec<u64>,
    auditor: Auditor,
    measures: Measures,
    told: Deliveries,
    random: fastrand::Rng,
    stories: u64,
    event_count: u64,
    repeat_count: u64,
    transactions: u64,
    turn_of: usize,
}

/// Plays a scenario from its start to the end of its last story. The auditor sees all of it, and knows the limits.
///
/// # Errors
/// The system has no sockets for us.
pub fn play(scene: Scene<'_>, auditor: Auditor, mut tell: impl FnMut(&Progress)) -> io::Result<Played> {
    let Scene { scenario, targets, secrets, writer, api, clock } = scene;
    let mut pacer = Pacer::new(scenario);
    let addresses: Vec<SocketAddr> = targets.iter().map(|target| target.address).collect();
    let mut play = Play {
        scenario,
        targets,
        secrets,
        writer,
        api,
        clock,
        population: Population::new(scenario.cards, &scenario.questions).sharing(scenario.budgets),
        pool: Pool::new(&addresses, scenario.connections)?,
        heap: BinaryHeap::new(),
        tales: HashMap::new(),
        repeats: HashMap::new(),
        events: HashMap::new(),
        delivering: 0,
        lost: Vec::new(),
        auditor,
        measures: Measures::new(pacer.stages(), scenario.stripe.deadline_ms),
        told: Deliveries::default(),
        random: fastrand::Rng::with_seed(!scenario.seed),
        stories: 0,
        event_count: 0,
        repeat_count: 0,
        transactions: 0,
        turn_of: 0,
    };
    let asked_us = clock::us(Duration::from_secs_f64(scenario.duration_s));
    let drained_us = asked_us.saturating_add(clock::us(Duration::from_secs_f64(scenario.drain_s)));
    let mut own = OwnCost::new(&pacer);
    let mut told_s = 0;
    loop {
        let now_us = clock.now_us();
        own.passes(now_us, &mut play.measures);
        play.do_what_is_due(&mut pacer, now_us);
        while let Some(done) = play.pool.done() {
            play.finish(done);
        }
        let second = now_us.checked_div(1_000_000).unwrap_or_default();
        if second > told_s {
            told_s = second;
            tell(&play.progress(now_us, second));
        }
        let is_over = pacer.next().is_none() && play.tales.is_empty() && play.events.is_empty();
        let is_drained = now_us > drained_us;
        if (is_over && now_us >= asked_us) || is_drained {
            break;
        }
        let next_us = [pacer.next().map(|(us, _)| us), play.heap.peek().map(|Reverse((us, _))| *us)];
        let next_us = next_us.into_iter().flatten().min().unwrap_or(u64::MAX);
        let began_us = clock.now_us();
        play.pool.wait(began_us, next_us)?;
        if next_us > began_us {
            own.idle_us = own.idle_us.saturating_add(clock.now_us().saturating_sub(began_us));
        }
        play.pool.advance();
    }
    own.passes(u64::MAX, &mut play.measures);
    play.end(&own, now_seconds(clock))
}

impl Play<'_> {
    /// Does some of what is due: where that is more, replies are read in between, so that a generator that is behind
    /// does not find every connection in use that has its reply.
    fn do_what_is_due(&mut self, pacer: &mut Pacer, now_us: u64) {
        for _ in 0..DONE_AT_ONCE {
            let Some((due_us, stage)) = pacer.next().filter(|(due_us, _)| *due_us <= now_us) else { break };
            pacer.advance();
            self.begin(due_us, stage);
        }
        for _ in 0..DONE_AT_ONCE {
            if self.heap.peek().is_none_or(|Reverse((due_us, _))| *due_us > now_us) {
                break;
            }
            let Some(Reverse((due_us, due))) = self.heap.pop() else { break };
            match due {
                Due::Turn(story) => self.turn(story, due_us),
                Due::Repeat(repeat) => self.repeat(repeat),
                Due::Deliver(event) => self.deliver(event, due_us),
                Due::GiveUp(ticket) => {
                    if let Some(exchange) = self.pool.give_up(ticket) {
                        self.gave_up(exchange);
                    }
                }
            }
        }
    }

    /// Something ended by itself.
    fn finish(&mut self, done: pool::Done<Exchange>) {
        let Exchange { what, due_us, left_us, target } = done.tag;
        match what {
            What::Ask(asking) => self.answered(asking, due_us, left_us, target, done.result),
            What::Deliver(event) => {
                let is_taken = done.result.is_ok_and(|reply| (200..300).contains(&reply.status));
                self.delivered(event, due_us, is_taken);
            }
            What::Forged(what) => match done.result {
                Ok(reply) if reply.status == 400 => {
                    let refused = &mut self.measures.outcomes.forged_refused;
                    *refused = refused.saturating_add(1);
                }
                Ok(reply) => self.auditor.forgery_answered(what, &reply.body),
                Err(_) => {}
            },
        }
    }

    /// Something was waited for in vain.
    fn gave_up(&mut self, exchange: Exchange) {
        match exchange.what {
            What::Ask(asking) => self.unanswered(&asking, exchange.due_us, measures::Ending::Late),
            What::Deliver(event) => self.delivered(event, exchange.due_us, false),
            What::Forged(_) => {}
        }
    }

    fn later(&mut self, us: u64, due: Due) {
        self.heap.push(Reverse((us, due)));
    }

    /// Turns to the next node, but the one that failed. False where no connection to it is free: looked at first, since
    /// a body costs more to write and to sign than to send.
    fn has_room(&mut self, failed_at: Option<usize>) -> bool {
        let next = |turn: usize| turn.saturating_add(1).checked_rem(self.targets.len()).unwrap_or_default();
        self.turn_of = next(self.turn_of);
        if failed_at == Some(self.turn_of) {
            self.turn_of = next(self.turn_of);
        }
        self.pool.is_free(self.turn_of)
    }

    /// Sends a body to the node whose turn it is, and that has room.
    fn send(&mut self, what: What, due_us: u64, left_us: u64, request: Request<'_>) {
        let Some(target) = self.targets.get(self.turn_of) else { return };
        let Request { signature, body, give_up_us } = request;
        let exchange = Exchange { what, due_us, left_us, target: self.turn_of };
        let write = |out: &mut Vec<u8>| write_request(out, target, signature, body);
        if let Ok(ticket) = self.pool.send(self.turn_of, exchange, write) {
            self.later(give_up_us, Due::GiveUp(ticket));
        }
    }

    fn progress(&self, now_us: u64, at_s: u64) -> Progress {
        let (second, p50_us, p99_us) = self.measures.last_second(now_us);
        Progress {
            at_s,
            of_s: self.scenario.duration_s,
            second,
            p50_us,
            p99_us,
            outcomes: self.measures.outcomes.clone(),
            open: self.tales.len(),
        }
    }

    fn end(self, own: &OwnCost, seconds: f64) -> io::Result<Played> {
        let mut deliveries = self.told;
        deliveries.undelivered = u64::try_from(self.events.len()).unwrap_or(u64::MAX);
        deliveries.latency = self.measures.deliveries.latency();
        let generator = Generator {
            cpu: (clock::own_cpu_seconds() - own.cpu_at_start) / seconds,
            busy: 1.0 - Duration::from_micros(own.idle_us).as_secs_f64() / seconds,
            lateness: self.measures.lateness.latency(),
            connections_max: self.pool.most_open(),
        };
        Ok(Played {
            seconds,
            outcomes: self.measures.outcomes.clone(),
            latency: self.measures.latency(),
            deliveries,
            seconds_each: self.measures.seconds(),
            stages: self.measures.stages(),
            generator,
            hlog: self
                .measures
                .hlog(&format!("scenario {}, seed {}", self.scenario.name, self.scenario.seed))?,
            auditor: self.auditor,
            lost: self.lost,
            measures: self.measures,
        })
    }
}

/// What the generator itself takes.
struct OwnCost {
    idle_us: u64,
    cpu_at_start: f64,
    cpu_at_stage: f64,
    /// Where stages end, the last one first.
    ends: Vec<(usize, u64, f64)>,
}

impl OwnCost {
    fn new(pacer: &Pacer) -> Self {
        let cpu = clock::own_cpu_seconds();
        let ends = pacer.stages().iter().enumerate().rev().map(|(stage, span)| {
            (stage, clock::us(Duration::from_secs_f64(span.to_s)), span.to_s - span.from_s)
        });
        Self { idle_us: 0, cpu_at_start: cpu, cpu_at_stage: cpu, ends: ends.collect() }
    }

    /// Notes the CPU of the stages that have ended.
    fn passes(&mut self, now_us: u64, measures: &mut Measures) {
        while let Some((stage, _, seconds)) = self.ends.pop_if(|(_, end_us, _)| *end_us <= now_us) {
            let cpu = clock::own_cpu_seconds();
            measures.stage_cpu(stage, (cpu - self.cpu_at_stage) / seconds);
            self.cpu_at_stage = cpu;
        }
    }
}

fn now_seconds(clock: Clock) -> f64 {
    Duration::from_micros(clock.now_us()).as_secs_f64()
}

fn write_request(out: &mut Vec<u8>, target: &Target, signature: Option<&str>, body: &[u8]) {
    out.extend_from_slice(b"POST ");
    out.extend_from_slice(target.path.as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\nhost: ");
    out.extend_from_slice(target.host.as_bytes());
    out.extend_from_slice(
        b"\r\naccept: */*; q=0.5, application/xml\r\ncache-control: no-cache\r\n\
        content-type: application/json; charset=utf-8\r\n\
        user-agent: Stripe/1.0 (+https://stripe.com/docs/webhooks)\r\ncontent-length: ",
    );
    out.extend_from_slice(itoa::Buffer::new().format(body.len()).as_bytes());
    if let Some(signature) = signature {
        out.extend_from_slice(b"\r\nstripe-signature: ");
        out.extend_from_slice(signature.as_bytes());
    }
    out.extend_from_slice(b"\r\n\r\n");
    out.extend_from_slice(body);
}

/// A body that several requests share.
type Body = Rc<[u8]>;

#[cfg(test)]
mod tests;
