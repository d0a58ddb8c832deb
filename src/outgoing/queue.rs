//! What an endpoint has not got yet, and what is sent next: retries, pauses, and how far everything is delivered. No I/O, no
//! clock.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use super::notice::Notice;
use crate::{clock::Instant, domain::Timestamp, stripe::api::Patience};

/// How many events are with one endpoint at the same time.
const AT_ONCE_MAX: usize = 8;

/// How many events are kept in memory for one endpoint.
const KEPT_MAX: usize = 256;

/// An event that an endpoint has not taken by then is given up, as Stripe does after three days.
pub(super) const GIVE_UP_AFTER: Duration = Duration::from_hours(72);

/// Pauses between attempts, from a second to ten minutes.
const PATIENCE: Patience =
    Patience { attempts_max: u32::MAX, first: Duration::from_secs(1), longest: Duration::from_mins(10) };

/// The events of one endpoint, in the order of the journal.
pub(super) struct Queue {
    events: VecDeque<Event>,
    /// The number of the first of them.
    first: u64,
    /// Nothing is to be sent of the entries up to this one but what is kept here.
    scanned: u64,
    /// Attempts in a row that failed.
    failures: u32,
    /// Until then nothing is sent.
    paused_until: Option<Instant>,
    sent: usize,
    /// Whether an event came to its end since this was last forgotten.
    has_ended: bool,
}

struct Event {
    lsn: u64,
    notice: Arc<Notice>,
    state: State,
}

enum State {
    Waiting { attempts: u32, due: Option<Instant> },
    Sent { attempts: u32 },
    Done,
}

/// An event to be sent.
pub(super) struct Sending {
    pub(super) number: u64,
    pub(super) notice: Arc<Notice>,
}

/// What becomes of an event whose delivery failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Next {
    /// It is sent again after a pause.
    Again(Duration),
    /// It is given up.
    GivenUp,
}

impl Queue {
    /// For an endpoint that has everything up to this entry.
    pub(super) const fn new(through: u64) -> Self {
        Self {
            events: VecDeque::new(),
            first: 0,
            scanned: through,
            failures: 0,
            paused_until: None,
            sent: 0,
            has_ended: false,
        }
    }

    /// Where to read on in the journal.
    pub(super) const fn scanned(&self) -> u64 {
        self.scanned
    }

    /// Whether more is to be read.
    pub(super) fn has_room(&self) -> bool {
        self.events.len() < KEPT_MAX
    }

    /// The journal was read up to this entry, with these events.
    pub(super) fn read(&mut self, through: u64, events: impl IntoIterator<Item = (u64, Arc<Notice>)>) {
        let waiting = || State::Waiting { attempts: 0, due: None };
        self.events.extend(events.into_iter().map(|(lsn, notice)| Event { lsn, notice, state: waiting() }));
        self.scanned = self.scanned.max(through);
    }

    /// The next event to send, if one may be sent now. While the endpoint fails, one at a time is, and the one with the fewest
    /// attempts: an event that an endpoint never takes holds back no other.
    pub(super) fn next(&mut self, now: Instant) -> Option<Sending> {
        if self.sent >= self.at_once_max() || self.paused_until.is_some_and(|until| now < until) {
            return None;
        }
        let candidates = self.events.iter().enumerate().filter_map(|(place, event)| match event.state {
            State::Waiting { attempts, due } if due.is_none_or(|due| due <= now) => Some((attempts, place)),
            State::Waiting { .. } | State::Sent { .. } | State::Done => None,
        });
        let (attempts, place) = candidates.min()?;
        let event = self.events.get_mut(place)?;
        event.state = State::Sent { attempts: attempts.saturating_add(1) };
        self.sent = self.sent.saturating_add(1);
        let number = self.first.saturating_add(u64::try_from(place).unwrap_or(u64::MAX));
        Some(Sending { number, notice: Arc::clone(&event.notice) })
    }

    /// How many events may be with the endpoint now. While it fails, one.
    const fn at_once_max(&self) -> usize {
        if self.failures > 0 { 1 } else { AT_ONCE_MAX }
    }

    /// The earliest time at which an event may be sent that waits for it; nothing where a reply has to come first.
    pub(super) fn due(&self) -> Option<Instant> {
        if self.sent >= self.at_once_max() {
            return None;
        }
        let dues = self.events.iter().filter_map(|event| match event.state {
            State::Waiting { due, .. } => due.or(self.paused_until),
            State::Sent { .. } | State::Done => None,
        });
        let paused = self.paused_until;
        dues.min().map(|due| paused.map_or(due, |paused| paused.max(due)))
    }

    /// The endpoint has an event.
    pub(super) fn taken(&mut self, number: u64) {
        self.failures = 0;
        self.paused_until = None;
        self.end(number);
    }

    /// The endpoint did not take an event.
    pub(super) fn failed(
        &mut self,
        number: u64,
        (now, time): (Instant, Timestamp),
        random: f64,
        retry_after: Option<Duration>,
    ) -> Next {
        self.failures = self.failures.saturating_add(1);
        let pause = PATIENCE.pause(self.failures, random, retry_after);
        self.paused_until = now.checked_add(pause);
        let Some(event) = self.at(number) else { return Next::GivenUp };
        let State::Sent { attempts } = event.state else { return Next::GivenUp };
        if time.since(event.notice.at) > GIVE_UP_AFTER {
            self.end(number);
            return Next::GivenUp;
        }
        let own = PATIENCE.pause(attempts, random, retry_after);
        event.state = State::Waiting { attempts, due: now.checked_add(own) };
        self.sent = self.sent.saturating_sub(1);
        Next::Again(own)
    }

    /// The last entry of which nothing is to be sent any more.
    pub(super) fn through(&self) -> u64 {
        self.events.front().map_or(self.scanned, |event| event.lsn.saturating_sub(1))
    }

    /// How many events the endpoint has not got, of those that were read.
    pub(super) fn waiting(&self) -> usize {
        self.events.iter().filter(|event| !matches!(event.state, State::Done)).count()
    }

    /// When the oldest of them happened.
    pub(super) fn oldest(&self) -> Option<Timestamp> {
        self.events.front().map(|event| event.notice.at)
    }

    /// Whether the last attempts failed.
    pub(super) const fn is_failing(&self) -> bool {
        self.failures >= 2
    }

    /// Whether events were taken or given up since [`Self::forget_ended`].
    pub(super) const fn has_ended(&self) -> bool {
        self.has_ended
    }

    pub(super) const fn forget_ended(&mut self) {
        self.has_ended = false;
    }

    fn at(&mut self, number: u64) -> Option<&mut Event> {
        let place = usize::try_from(number.checked_sub(self.first)?).ok()?;
        self.events.get_mut(place)
    }

    fn end(&mut self, number: u64) {
        let Some(event) = self.at(number) else { return };
        event.state = State::Done;
        self.has_ended = true;
        self.sent = self.sent.saturating_sub(1);
        while self.events.pop_front_if(|event| matches!(event.state, State::Done)).is_some() {
            self.first = self.first.saturating_add(1);
        }
    }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, reason = "a test that overflows fails, as it should")]
mod tests {
    use super::*;
    use crate::{
        clock,
        domain::{Account, Warned},
        outgoing::{endpoint::Kind, notice::Subject},
    };

    const HOUR: Duration = Duration::from_hours(1);

    /// A queue, and what time it is.
    struct Story {
        queue: Queue,
        now: Instant,
        time: Timestamp,
    }

    impl Story {
        /// Entries 11, 12, … with one event each, for an endpoint that has everything up to entry 10.
        fn with(events: u64) -> Self {
            let mut queue = Queue::new(10);
            let time = Timestamp::from_seconds(1_000_000);
            let warned =
                |lsn| Warned { at: time, limit: None, window_from: None, percent: 80, used: lsn, max: 100 };
            let notice = |lsn: u64| Notice {
                id: lsn.to_string(),
                kind: Kind::Warned,
                at: time,
                livemode: None,
                subject: Subject::Budget(Account::budget("eng", None), warned(i64::try_from(lsn).unwrap())),
            };
            queue.read(10 + events, (11..=10 + events).map(|lsn| (lsn, Arc::new(notice(lsn)))));
            Self { queue, now: clock::instant(), time }
        }

        /// The entries whose events are sent now.
        fn sends(&mut self) -> Vec<(u64, u64)> {
            let mut sent = Vec::new();
            while let Some(sending) = self.queue.next(self.now) {
                sent.push((sending.number, sending.notice.id.parse().unwrap()));
            }
            sent
        }

        fn lsns(&mut self) -> Vec<u64> {
            self.sends().into_iter().map(|(_, lsn)| lsn).collect()
        }

        fn fails(&mut self, number: u64) -> Next {
            self.queue.failed(number, (self.now, self.time), 1.0, None)
        }

        fn passes(&mut self, span: Duration) {
            self.now += span;
            self.time = self.time.plus(span);
        }
    }

    #[test]
    fn a_few_are_sent_at_once_and_what_is_recorded_is_behind_all_that_were_taken() {
        let mut story = Story::with(10);
        assert_eq!(story.lsns(), [11, 12, 13, 14, 15, 16, 17, 18]);
        assert_eq!(story.queue.through(), 10);
        story.queue.taken(1);
        assert_eq!((story.queue.through(), story.lsns()), (10, vec![19]));
        story.queue.taken(0);
        assert_eq!((story.queue.through(), story.lsns()), (12, vec![20]));
        for number in 2..10 {
            story.queue.taken(number);
        }
        assert_eq!((story.queue.through(), story.queue.waiting(), story.queue.oldest()), (20, 0, None));
        assert_eq!(story.queue.due(), None);
    }

    #[test]
    fn a_failing_endpoint_gets_one_at_a_time_later_and_later() {
        let mut story = Story::with(20);
        for (number, _) in story.sends() {
            story.fails(number);
        }
        assert!(story.queue.is_failing());
        assert!(story.lsns().is_empty());
        let mut pauses = Vec::new();
        for _ in 0..4 {
            let due = story.queue.due().unwrap();
            pauses.push(due - story.now);
            story.passes(due - story.now);
            let [(number, _)] = story.sends()[..] else { panic!("one at a time") };
            story.fails(number);
        }
        assert!(pauses.windows(2).all(|pair| pair[1] >= pair[0]), "{pauses:?}");
        assert!(pauses.last().unwrap() <= &Duration::from_mins(10), "{pauses:?}");
        // One that is taken ends the pause for all.
        story.passes(HOUR);
        let [(number, _)] = story.sends()[..] else { panic!("one at a time") };
        story.queue.taken(number);
        assert_eq!(story.lsns().len(), 8);
    }

    #[test]
    fn an_event_that_is_never_taken_holds_back_no_other_and_is_given_up_after_three_days() {
        let mut story = Story::with(3);
        let sent = story.sends();
        assert_eq!(sent, [(0, 11), (1, 12), (2, 13)]);
        assert_eq!(story.fails(0), Next::Again(Duration::from_secs(1)));
        story.queue.taken(1);
        story.queue.taken(2);
        assert_eq!((story.queue.through(), story.queue.waiting()), (10, 1));
        story.queue.read(15, []);
        for _ in 0..100 {
            story.passes(HOUR);
            let [(number, lsn)] = story.sends()[..] else { break };
            assert_eq!((number, lsn), (0, 11));
            if story.fails(number) == Next::GivenUp {
                break;
            }
        }
        assert_eq!((story.queue.through(), story.queue.waiting()), (15, 0));
        assert_eq!(story.time.since(Timestamp::from_seconds(1_000_000)), GIVE_UP_AFTER + HOUR);
    }

    #[test]
    fn an_endpoint_may_say_when_it_wants_the_next_one() {
        let mut story = Story::with(1);
        story.sends();
        let now = (story.now, story.time);
        assert_eq!(
            story.queue.failed(0, now, 0.5, Some(Duration::from_mins(1))),
            Next::Again(Duration::from_mins(1))
        );
        story.passes(Duration::from_secs(59));
        assert!(story.lsns().is_empty());
        story.passes(Duration::from_secs(1));
        assert_eq!(story.lsns(), [11]);
    }

    #[test]
    fn no_more_is_read_than_is_kept() {
        let story = Story::with(u64::try_from(KEPT_MAX).unwrap());
        assert!(!story.queue.has_room());
        assert!(Story::with(5).queue.has_room());
    }
}
