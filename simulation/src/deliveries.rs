//! Events on their way, and what befalls the nodes meanwhile. What is told when, and what a request gets, is in `stripe.rs`.

use std::{rc::Rc, time::Duration};

use tokio::time::{Instant, sleep};
use tollgate::{
    actors::Arrival,
    journal::Gate,
    stripe::{self, Incoming, Reading},
};
use tollgate_loadtest::events::Subject;

use crate::{
    nodes::WITHIN,
    stripe::{Done, Due, Event, Play},
};

/// After so many failed deliveries of one event something is wrong with the simulation.
const TRIES_MAX: u32 = 60;

impl Play {
    /// Stripe makes an event, and delivers it once or twice, soon or late.
    pub(crate) fn emit(&mut self, number: u64, subject: Subject) {
        let body = self.written(number, subject);
        let event = self.event_count;
        let Some(tale) = self.tales.get(&number) else { return };
        let authorization = &tale.story.authorization;
        match &subject {
            Subject::Transaction(transaction) => {
                self.auditor.told_transaction(event, authorization, transaction);
            }
            Subject::Created | Subject::Updated | Subject::Request(_) => {
                self.auditor.told(event, subject == Subject::Updated, authorization);
            }
        }
        let stripe = &self.plan.scenario.stripe;
        let (step_us, random) = (stripe.step_ms * 1_000, &mut self.plan.random);
        let mut wait_us = random.u64(1_000..20_000);
        if random.f64() < stripe.unordered_events {
            wait_us += random.u64(..step_us * 3);
        }
        if random.f64() < stripe.late_events {
            wait_us += step_us * random.u64(5..10);
        }
        let copies = if random.f64() < stripe.duplicated_events { 2 } else { 1 };
        let again_us = random.u64(..step_us * 2);
        self.later(wait_us, Due::Deliver(event));
        if copies == 2 {
            self.later(wait_us + again_us, Due::Deliver(event));
        }
        let told = self.tales.get(&number).map(|tale| {
            let one = &tale.story.authorization;
            let what = match subject {
                Subject::Request(_) | Subject::Created => "created",
                Subject::Updated => "updated",
                Subject::Transaction(_) => "transaction",
            };
            let (amount, requests, status) = (one.amount, one.history.len(), one.status.as_str());
            format!(
                "Stripe makes event {event}: {number} {what}, amount {amount}, {requests} requests, {status}"
            )
        });
        if let Some(told) = told {
            self.tell(&told);
        }
        self.events.insert(event, Event { body, copies, failures: 0, is_acknowledged: false });
    }

    pub(crate) fn deliver(&mut self, event: u64) {
        let Some(known) = self.events.get(&event) else { return };
        let body = Rc::clone(&known.body);
        let node = self.plan.random.usize(..self.nodes.count());
        let received_at = self.received_at(node);
        let read = stripe::read(&body, received_at, &Reading { has_budgets: true, ..Reading::default() });
        let Ok(Incoming::Observation(observation)) = read else {
            panic!("the load test's events are events")
        };
        self.tell(&format!("event {event} to node {node}"));
        let now_us = self.now_us();
        self.auditor.left(event, now_us);
        let to = self.nodes.get(node);
        let (directory, life, done) = (to.directory.clone(), to.life, self.done.clone());
        tokio::spawn(async move {
            let received = Instant::now();
            let arrival = Arrival { received, deadline: received + WITHIN, verify_us: 0, parse_us: 0 };
            let is_taken = directory.book(*observation, arrival).await.is_ok();
            let _ = done.send(Done::Recorded { event, node, life, is_taken }).await;
        });
        self.delivering += 1;
    }

    pub(crate) fn delivered(&mut self, event: u64, is_taken: bool) {
        let now_us = self.now_us();
        let Some(known) = self.events.get_mut(&event) else { return };
        known.copies = known.copies.saturating_sub(1);
        if is_taken {
            if !known.is_acknowledged {
                known.is_acknowledged = true;
                self.auditor.acknowledged(event, now_us);
                self.tell(&format!("event {event} is recorded"));
            }
        } else if known.copies == 0 && !known.is_acknowledged {
            known.copies = 1;
            known.failures += 1;
            let failures = known.failures;
            assert!(failures < TRIES_MAX, "seed {}: event {event} is never taken", self.plan.seed);
            self.later(100_000 * u64::from(failures), Due::Deliver(event));
        }
    }

    /// Something befalls one of the nodes.
    pub(crate) fn trouble(&mut self) {
        let node = self.plan.random.usize(..self.nodes.count());
        match self.plan.random.u8(..4) {
            0 if self.plan.restarts => {
                self.tell(&format!("node {node} hangs, and another takes its place"));
                self.nodes.replace(&mut self.plan, node);
            }
            1 if self.plan.commit_us.1 > 1_000 => {
                let gate: Gate = self.nodes.get(node).journal.hold_next();
                let stall = Duration::from_millis(self.plan.random.u64(1..2_500));
                self.tell(&format!("the next append of node {node} takes {} ms", stall.as_millis()));
                tokio::spawn(async move {
                    sleep(stall).await;
                    gate.open();
                });
            }
            _ => self.nodes.change_pace(&mut self.plan, node),
        }
        if self.begun < self.plan.stories {
            let wait_us = self.plan.random.u64(10_000..2_000_000);
            self.later(wait_us, Due::Trouble);
        }
    }

    pub(crate) fn written(&mut self, number: u64, subject: Subject) -> Rc<[u8]> {
        self.event_count += 1;
        let now = self.stripe_now();
        let authorization = &self.tales.get(&number).expect("it is being told").story.authorization;
        self.writer.event(self.event_count, subject, authorization, now).into()
    }
}
