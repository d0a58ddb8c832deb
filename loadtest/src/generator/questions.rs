//! Questions: when a story has one, how it is sent, and what follows from its answer. Deliveries of events are not here.

use std::rc::Rc;

use super::{
    Body, Due, Play, Request, What,
    api::OverApi,
    measures::Ending,
    pool::Broken,
    reply::{Decision, Metadata, Reply},
};
use crate::{
    audit::{Answer, Question},
    authorization::Purchase,
    clock,
    events::{Id, Subject},
    signature::Forgery,
    story::{Opening, Story, Turn, Verdict},
};

/// Numbers of stories that exist only for a badly signed question.
const FORGED: u64 = 5_000_000_000_000;

/// A question that is later than this does not leave any more: a generator so far behind would only fall further back.
const LATE_US_MAX: u64 = 1_000_000;

/// A story that is being told.
pub(super) struct Tale {
    pub(super) story: Story,
    /// Questions and repeats of them that have no answer yet.
    asking: usize,
    /// No turn comes any more.
    is_told: bool,
}

/// A question on its way, or about to be.
#[derive(Clone)]
pub(super) struct Asking {
    question: Question,
    asked: i64,
    stage: usize,
    is_repeat: bool,
    /// The node to which the connection broke, where it is asked again.
    failed_at: Option<usize>,
    body: Body,
}

impl Play<'_> {
    /// The next question is due: a new story begins, and others that begin without one.
    pub(super) fn begin(&mut self, due_us: u64, stage: usize) {
        loop {
            self.stories = self.stories.saturating_add(1);
            let number = self.stories;
            let now = clock::unix_seconds();
            let mut story = Story::draw(number, self.scenario, &self.population, now);
            let opening = story.opening;
            if opening != Opening::Asked {
                story.begin_without_question(now);
            }
            let asked = story.authorization.purchase.amount;
            self.tales.insert(number, Tale { story, asking: 0, is_told: false });
            if opening == Opening::Asked {
                self.ask(number, asked, due_us, stage);
                break;
            }
            self.emit(number, Subject::Created, due_us);
            self.next_turn(number, due_us);
        }
        if self.random.f64() < self.scenario.stripe.forged_questions {
            self.forge(due_us);
        }
    }

    /// The next turn of a story.
    pub(super) fn turn(&mut self, number: u64, now_us: u64) {
        let Some(tale) = self.tales.get_mut(&number) else { return };
        match tale.story.turn(&mut self.transactions, clock::unix_seconds()) {
            Turn::Ask(asked) => {
                let stage = self.measures.stage_at(now_us);
                self.ask(number, asked, now_us, stage);
                return;
            }
            Turn::Updated => self.emit(number, Subject::Updated, now_us),
            Turn::Settled(transaction) => {
                self.emit(number, Subject::Transaction(transaction), now_us);
                if transaction.is_linked {
                    self.emit(number, Subject::Updated, now_us);
                }
            }
            Turn::End => {
                tale.is_told = true;
                self.end_if_over(number);
                return;
            }
        }
        self.next_turn(number, now_us);
    }

    /// Sends a question that was sent before once more.
    pub(super) fn repeat(&mut self, repeat: u64) {
        let Some(asking) = self.repeats.remove(&repeat) else { return };
        let number = asking.question.authorization;
        let now_us = self.clock.now_us();
        if self.has_room(None) {
            self.send_question(asking, now_us, now_us);
        } else {
            self.asked_no_more(number);
        }
    }

    /// A question has its reply, or none will come.
    pub(super) fn answered(
        &mut self,
        asking: Asking,
        due_us: u64,
        left_us: u64,
        target: usize,
        result: Result<Reply, Broken>,
    ) {
        let now_us = self.clock.now_us();
        let reply = match result {
            Ok(reply) => reply,
            Err(_) if self.scenario.stripe.retry && asking.failed_at.is_none() && !asking.is_repeat => {
                let retried = &mut self.measures.outcomes.retried;
                *retried = retried.saturating_add(1);
                let again = Asking { failed_at: Some(target), ..asking };
                if self.has_room(Some(target)) {
                    self.send_question(again, due_us, left_us);
                } else {
                    self.unanswered(&again, due_us, Ending::Failed);
                }
                return;
            }
            Err(_) => return self.unanswered(&asking, due_us, Ending::Failed),
        };
        let number = asking.question.authorization;
        let over_api = self
            .api
            .filter(|_| self.scenario.stripe.answers_over_api)
            .and_then(|api| api.answer(&self.writer.id(Id::Authorization, number), asking.question.index));
        let direct = reply.decision();
        let body = direct.is_some().then_some(&*reply.body);
        // Where both are given, the answer over the API counts.
        let decision = match &over_api {
            Some(over_api) => Some(Decision::from(over_api)),
            None => direct,
        };
        let Some(decision) = decision else {
            return self.unanswered(&asking, due_us, Ending::Invalid);
        };
        let Some(tale) = self.tales.get_mut(&number) else { return };
        let purchase = tale.story.authorization.purchase;
        let answer = answer(&decision, &purchase, &asking, body, target);
        self.auditor.answered(asking.question, &purchase, asking.asked, &answer, now_us);
        if asking.is_repeat {
            let duplicates = &mut self.measures.outcomes.duplicates;
            *duplicates = duplicates.saturating_add(1);
            return self.asked_no_more(number);
        }
        let ending = match answer.granted {
            granted if answer.is_stand_in => Ending::StandIn { approved: granted.is_some() },
            Some(granted) if granted < purchase.held_for(asking.asked) => Ending::Partial,
            Some(_) => Ending::Approved,
            None => Ending::Declined,
        };
        self.measures.ended(ending, answer.reason, asking.stage, due_us, now_us);
        let verdict = answer.granted.map_or(Verdict::Declined, Verdict::Approved);
        self.decided(asking.question, asking.asked, verdict, now_us);
    }

    /// A question has no valid answer in time: Stripe decides by itself.
    pub(super) fn unanswered(&mut self, asking: &Asking, due_us: u64, ending: Ending) {
        let number = asking.question.authorization;
        if asking.is_repeat {
            return self.asked_no_more(number);
        }
        let now_us = self.clock.now_us();
        self.measures.ended(ending, None, asking.stage, due_us, now_us);
        if let Some(tale) = self.tales.get(&number) {
            self.auditor.given_up(asking.question, tale.story.authorization.purchase.card.number);
        }
        self.decided(asking.question, asking.asked, self.by_default(ending), now_us);
    }

    fn by_default(&self, ending: Ending) -> Verdict {
        let reason = if ending == Ending::Invalid { "webhook_error" } else { "webhook_timeout" };
        Verdict::Default { reason, approves: self.scenario.stripe.timeout_approves }
    }

    /// Stripe asks for so much more.
    fn ask(&mut self, number: u64, asked: i64, due_us: u64, stage: usize) {
        let Some(tale) = self.tales.get_mut(&number) else { return };
        self.event_count = self.event_count.saturating_add(1);
        let question = Question { authorization: number, index: tale.story.authorization.history.len() };
        tale.asking = tale.asking.saturating_add(1);
        let is_repeated = tale.story.random().f64() < self.scenario.stripe.duplicated_questions;
        self.measures.offered(stage, due_us);
        let now_us = self.clock.now_us();
        let late_us = now_us.saturating_sub(due_us);
        self.measures.lateness.record(late_us);
        if late_us > LATE_US_MAX || !self.has_room(None) {
            self.measures.dropped(stage, due_us, now_us);
            if question.index == 0 {
                // Nobody ever heard of it.
                self.tales.remove(&number);
            } else {
                self.decided(question, asked, self.by_default(Ending::Failed), now_us);
            }
            return;
        }
        let Some(tale) = self.tales.get(&number) else { return };
        let (subject, authorization) = (Subject::Request(asked), &tale.story.authorization);
        let body = self.writer.event(self.event_count, subject, authorization, clock::unix_seconds());
        let asking = Asking { question, asked, stage, is_repeat: false, failed_at: None, body: body.into() };
        if let Some(api) = self.api.filter(|_| self.scenario.stripe.answers_over_api) {
            api.asks(&asking.body);
        }
        if is_repeated {
            self.plan_repeat(&asking, now_us);
        }
        self.send_question(asking, due_us, now_us);
    }

    /// The same question comes once more: while the first is on its way, or soon after; as the same event, or as another
    /// one that asks the same.
    fn plan_repeat(&mut self, asking: &Asking, now_us: u64) {
        let Some(tale) = self.tales.get_mut(&asking.question.authorization) else { return };
        tale.asking = tale.asking.saturating_add(1);
        let random = tale.story.random();
        let wait_us = if random.bool() { 0 } else { random.u64(..500_000) };
        let mut repeat = Asking { is_repeat: true, ..asking.clone() };
        if random.bool() {
            self.event_count = self.event_count.saturating_add(1);
            let subject = Subject::Request(asking.asked);
            let now = clock::unix_seconds();
            repeat.body = self.writer.event(self.event_count, subject, &tale.story.authorization, now).into();
        }
        self.repeat_count = self.repeat_count.saturating_add(1);
        self.repeats.insert(self.repeat_count, repeat);
        self.later(now_us.saturating_add(wait_us), Due::Repeat(self.repeat_count));
    }

    /// Sends a question to the node whose turn it is; Stripe's patience began at `since_us`.
    fn send_question(&mut self, asking: Asking, due_us: u64, since_us: u64) {
        let signature = self.secrets.questions.header(clock::unix_seconds(), &asking.body);
        let body = Rc::clone(&asking.body);
        let left_us = self.clock.now_us();
        if let Some(tale) = self.tales.get(&asking.question.authorization)
            && !asking.is_repeat
        {
            let purchase = &tale.story.authorization.purchase;
            self.auditor.asked(asking.question, purchase, asking.asked, left_us);
        }
        let give_up_us = since_us.saturating_add(self.scenario.stripe.deadline_ms.saturating_mul(1_000));
        let request = Request { signature: Some(&signature), body: &body, give_up_us };
        self.send(What::Ask(asking), due_us, since_us, request);
    }

    /// One more question, badly signed, about an authorization that nothing else is about.
    fn forge(&mut self, due_us: u64) {
        if !self.has_room(None) {
            // With every connection in use, there is one attack less.
            return;
        }
        self.event_count = self.event_count.saturating_add(1);
        let number = FORGED.saturating_add(self.event_count);
        let now = clock::unix_seconds();
        let story = Story::draw(number, self.scenario, &self.population, now);
        let subject = Subject::Request(story.authorization.purchase.amount);
        let body = self.writer.event(self.event_count, subject, &story.authorization, now);
        let Some(forgery) = self.random.choice(Forgery::ALL) else { return };
        let signature = self.secrets.questions.forged(now, &body, forgery);
        let what = What::Forged(forgery.as_str());
        let left_us = self.clock.now_us();
        let give_up_us = left_us.saturating_add(self.scenario.stripe.deadline_ms.saturating_mul(1_000));
        let request = Request { signature: signature.as_deref(), body: &body, give_up_us };
        self.send(what, due_us, left_us, request);
    }

    /// Stripe has decided: its books change, and an event tells it.
    fn decided(&mut self, question: Question, asked: i64, verdict: Verdict, now_us: u64) {
        let number = question.authorization;
        let Some(tale) = self.tales.get_mut(&number) else { return };
        tale.asking = tale.asking.saturating_sub(1);
        tale.story.decided(asked, verdict, clock::unix_seconds());
        let subject = if question.index == 0 { Subject::Created } else { Subject::Updated };
        self.emit(number, subject, now_us);
        self.next_turn(number, now_us);
    }

    fn next_turn(&mut self, number: u64, now_us: u64) {
        let Some(tale) = self.tales.get_mut(&number) else { return };
        let step_us = self.scenario.stripe.step_ms.saturating_mul(1_000).max(1);
        let wait_us = tale.story.random().u64(..step_us.saturating_mul(2));
        self.later(now_us.saturating_add(wait_us), Due::Turn(number));
    }

    fn asked_no_more(&mut self, number: u64) {
        if let Some(tale) = self.tales.get_mut(&number) {
            tale.asking = tale.asking.saturating_sub(1);
        }
        self.end_if_over(number);
    }

    fn end_if_over(&mut self, number: u64) {
        if self.tales.get(&number).is_some_and(|tale| tale.is_told && tale.asking == 0)
            && let Some(tale) = self.tales.remove(&number)
        {
            self.auditor.ended(&tale.story.authorization);
        }
    }
}

impl<'a> From<&'a OverApi> for Decision<'a> {
    fn from(over_api: &'a OverApi) -> Self {
        Self {
            approved: over_api.approved,
            amount: over_api.amount,
            metadata: Metadata {
                tollgate_decision: over_api.decision.as_deref(),
                tollgate_reason: over_api.reason.as_deref(),
            },
        }
    }
}

/// What Stripe takes from a decision.
fn answer<'a>(
    decision: &Decision<'a>,
    purchase: &Purchase,
    asking: &Asking,
    body: Option<&'a [u8]>,
    node: usize,
) -> Answer<'a> {
    let full = purchase.held_for(asking.asked);
    let named = decision.amount.filter(|_| purchase.is_controllable);
    let reason = decision.metadata.tollgate_reason;
    Answer {
        granted: decision.approved.then(|| named.unwrap_or(full)),
        is_stand_in: reason.is_some_and(|reason| reason.starts_with("stand_in")),
        decision: decision.metadata.tollgate_decision,
        reason,
        body,
        node,
    }
}
