//! Deliveries to the regular endpoint: at least once, in no order, until they are acknowledged. Questions are not here.

use super::{Body, Due, Play, Request, What};
use crate::{clock, events::Subject};

/// How long Stripe waits for an event to be acknowledged.
const PATIENCE_US: u64 = 10_000_000;

/// The first wait before an event is delivered again; each further one is twice as long.
const RETRY_US: u64 = 100_000;

/// The longest such wait: Stripe's own are hours.
const RETRY_US_MAX: u64 = 2_000_000;

/// An event until it is acknowledged.
pub(super) struct Event {
    body: Body,
    /// Deliveries that are planned or on their way.
    copies: usize,
    failures: u32,
    is_acknowledged: bool,
}

impl Play<'_> {
    /// Stripe makes an event about an authorization as it is now, and plans its delivery.
    pub(super) fn emit(&mut self, number: u64, subject: Subject, now_us: u64) {
        let Some(tale) = self.tales.get_mut(&number) else { return };
        self.event_count = self.event_count.saturating_add(1);
        let event = self.event_count;
        let authorization = &tale.story.authorization;
        let body = self.writer.event(event, subject, authorization, clock::unix_seconds());
        match subject {
            Subject::Created => self.auditor.told(event, false, authorization),
            Subject::Updated => self.auditor.told(event, true, authorization),
            Subject::Transaction(transaction) => {
                self.auditor.told_transaction(event, authorization, &transaction);
            }
            Subject::Request(_) => return,
        }
        if let Some(api) = self.api {
            api.tells(&body);
        }
        self.told.events = self.told.events.saturating_add(1);
        let stripe = &self.scenario.stripe;
        if tale.story.random().f64() < stripe.lost_events {
            self.lost.push(event);
            return;
        }
        let step_us = stripe.step_ms.saturating_mul(1_000).max(1);
        let random = tale.story.random();
        let mut wait_us = random.u64(1_000..20_000);
        if random.f64() < stripe.unordered_events {
            wait_us = wait_us.saturating_add(random.u64(..step_us.saturating_mul(3)));
        }
        if random.f64() < stripe.late_events {
            wait_us = wait_us.saturating_add(step_us.saturating_mul(random.u64(5..10)));
        }
        let twice = random.f64() < stripe.duplicated_events;
        let again_us = random.u64(..step_us.saturating_mul(2));
        self.later(now_us.saturating_add(wait_us), Due::Deliver(event));
        if twice {
            self.later(now_us.saturating_add(wait_us).saturating_add(again_us), Due::Deliver(event));
        }
        let copies = if twice { 2 } else { 1 };
        self.events.insert(event, Event { body: body.into(), copies, failures: 0, is_acknowledged: false });
    }

    /// An event leaves.
    pub(super) fn deliver(&mut self, event: u64, due_us: u64) {
        const NO_CONNECTION_WAIT_US: u64 = 10_000;
        let Some(known) = self.events.get(&event) else { return };
        // Half of the connections are for questions, which cannot wait.
        let most = self.scenario.connections.saturating_mul(self.targets.len()).div_ceil(2);
        let body = Body::clone(&known.body);
        if self.delivering >= most || !self.has_room(None) {
            return self
                .later(self.clock.now_us().saturating_add(NO_CONNECTION_WAIT_US), Due::Deliver(event));
        }
        let signature = self.secrets.events.header(clock::unix_seconds(), &body);
        let left_us = self.clock.now_us();
        let give_up_us = left_us.saturating_add(PATIENCE_US);
        let request = Request { signature: Some(&signature), body: &body, give_up_us };
        self.send(What::Deliver(event), due_us, left_us, request);
        self.delivering = self.delivering.saturating_add(1);
        self.auditor.left(event, left_us);
        self.told.attempts = self.told.attempts.saturating_add(1);
    }

    /// A delivery was acknowledged, or was not.
    pub(super) fn delivered(&mut self, event: u64, due_us: u64, is_taken: bool) {
        let now_us = self.clock.now_us();
        self.delivering = self.delivering.saturating_sub(1);
        let Some(known) = self.events.get_mut(&event) else { return };
        known.copies = known.copies.saturating_sub(1);
        if is_taken {
            if !known.is_acknowledged {
                known.is_acknowledged = true;
                self.auditor.acknowledged(event, now_us);
            }
            self.measures.delivered(now_us.saturating_sub(due_us), now_us);
        } else {
            self.told.failed = self.told.failed.saturating_add(1);
            if !known.is_acknowledged && known.copies == 0 {
                known.copies = 1;
                known.failures = known.failures.saturating_add(1);
                let wait_us = RETRY_US.saturating_mul(1_u64.checked_shl(known.failures).unwrap_or(u64::MAX));
                return self.later(now_us.saturating_add(wait_us.min(RETRY_US_MAX)), Due::Deliver(event));
            }
        }
        if known.copies == 0 {
            self.events.remove(&event);
        }
    }
}
