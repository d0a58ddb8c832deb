//! Deliveries to one endpoint: the journal is read on, what an endpoint wants is sent and sent again, and it is recorded how
//! far the endpoint is. On a cluster the node that owns the endpoint's name delivers.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    task::{JoinSet, yield_now},
};

use super::{
    Parts, account,
    body::body,
    cursor::{Cursor, NotSaved},
    endpoint::Endpoint,
    notice::{may_have, notices},
    queue::{Next, Queue},
    transport::{Refused, Transport},
};
use crate::{
    clock::{self, Instant},
    http::EndpointState,
    journal::Entry,
    metrics::Delivery,
};

/// How often the journal is looked at for something new.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How often it is recorded at most how far an endpoint is: so much is repeated after a crash.
const SAVE_EVERY: Duration = Duration::from_secs(2);
/// How long recording it may take when deliveries end.
const SAVE_WITHIN: Duration = Duration::from_secs(2);
/// After so many entries without an event it is recorded too, so that they are not read again.
const ENTRIES_UNSAVED_MAX: u64 = 10_000;
/// Entries in one read.
const READ_ENTRIES: usize = 512;
/// Entries between which others get the processor.
const TURN_ENTRIES: usize = 32;
/// The pause after the journal could not be read.
const PAUSE: Duration = Duration::from_secs(2);

/// Delivers to one endpoint.
pub(super) struct Follower {
    parts: Parts,
    endpoint: Arc<Endpoint>,
    transport: Arc<Transport>,
}

/// Why deliveries on this node pause.
enum Paused {
    /// They are over.
    Stopped,
    /// Another node delivers.
    Elsewhere,
    /// The journal cannot be used.
    Journal(String),
}

/// Deliveries under way.
struct Running {
    cursor: Cursor,
    queue: Queue,
    sent: JoinSet<(u64, Duration, Result<(), Refused>)>,
    looked: Option<Instant>,
    saved: Instant,
    /// Whether the last read found as much as it may.
    is_behind: bool,
}

impl Follower {
    pub(super) fn new(parts: Parts, endpoint: Arc<Endpoint>) -> Self {
        let transport = Arc::new(Transport::new(endpoint.roots.as_ref()));
        Self { parts, endpoint, transport }
    }

    /// Delivers until `stop` says so.
    pub(super) async fn run(self, mut stop: watch::Receiver<bool>) {
        loop {
            let paused = if self.is_owner() { self.deliver(&mut stop).await } else { Paused::Elsewhere };
            match paused {
                Paused::Stopped => return,
                Paused::Elsewhere => self.is_now(EndpointState::Elsewhere),
                Paused::Journal(cause) => {
                    let endpoint = &*self.endpoint.name;
                    tracing::warn!(endpoint, %cause, "deliveries pause: the journal cannot be used");
                }
            }
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return,
                () = clock::sleep(PAUSE) => {}
            }
        }
    }

    fn is_owner(&self) -> bool {
        self.parts.cluster.is_owner(&account(&self.endpoint))
    }

    async fn deliver(&self, stop: &mut watch::Receiver<bool>) -> Paused {
        let cursor = match Cursor::open(&self.parts.journal, &self.endpoint).await {
            Ok(cursor) => cursor,
            Err(cause) => return Paused::Journal(cause),
        };
        let queue = Queue::new(cursor.through());
        let (sent, saved) = (JoinSet::new(), clock::instant());
        let mut running = Running { cursor, queue, sent, looked: None, saved, is_behind: false };
        let paused = self.go_on(&mut running, stop).await;
        // What is under way now is repeated later.
        running.sent.abort_all();
        let through = running.queue.through();
        if through > running.cursor.through() && !matches!(paused, Paused::Journal(_)) {
            let _ = clock::timeout(SAVE_WITHIN, running.cursor.save(through)).await;
        }
        paused
    }

    async fn go_on(&self, running: &mut Running, stop: &mut watch::Receiver<bool>) -> Paused {
        loop {
            if *stop.borrow() {
                return Paused::Stopped;
            }
            if !self.is_owner() {
                return Paused::Elsewhere;
            }
            while let Some(Ok(sent)) = running.sent.try_join_next() {
                self.take(&mut running.queue, sent);
            }
            if let Err(cause) = self.look(running).await {
                return Paused::Journal(cause);
            }
            while let Some(sending) = running.queue.next(clock::instant()) {
                let (endpoint, transport) = (Arc::clone(&self.endpoint), Arc::clone(&self.transport));
                running.sent.spawn(async move {
                    let started = clock::instant();
                    let body = body(&endpoint, &sending.notice);
                    let sent = transport.send(&endpoint, body, clock::now()).await;
                    (sending.number, clock::instant().saturating_duration_since(started), sent)
                });
            }
            match self.save(running).await {
                Ok(()) => {}
                Err(NotSaved::Overtaken) => return Paused::Elsewhere,
                Err(NotSaved::Failed(cause)) => return Paused::Journal(cause),
            }
            self.show(running);
            if running.is_behind && running.queue.has_room() {
                yield_now().await;
                continue;
            }
            let wake = running.wake();
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return Paused::Stopped,
                Some(Ok(sent)) = running.sent.join_next() => self.take(&mut running.queue, sent),
                () = clock::sleep_until(wake) => {}
            }
        }
    }

    /// Reads on in the journal, if it is time and there is room.
    async fn look(&self, running: &mut Running) -> Result<(), String> {
        let now = clock::instant();
        let is_time = running.looked.is_none_or(|looked| now.saturating_duration_since(looked) >= LOOK_EVERY);
        if !running.queue.has_room() || !(is_time || running.is_behind) {
            return Ok(());
        }
        running.looked = Some(now);
        let after = running.queue.scanned();
        let entries =
            self.parts.journal.scan(after, READ_ENTRIES).await.map_err(|cause| cause.to_string())?;
        running.is_behind = entries.len() >= READ_ENTRIES;
        let Some(last) = entries.last().map(|entry| entry.lsn) else { return Ok(()) };
        for (place, entry) in entries.iter().enumerate() {
            if place % TURN_ENTRIES == TURN_ENTRIES - 1 {
                yield_now().await;
            }
            if may_have(entry, &self.endpoint) {
                self.read(running, entry).await?;
            }
        }
        running.queue.read(last, []);
        Ok(())
    }

    async fn read(&self, running: &mut Running, entry: &Entry) -> Result<(), String> {
        let found = notices(entry, &self.endpoint, &self.parts.cluster).await?;
        let through = entry.lsn.saturating_sub(1);
        running.queue.read(through, found.into_iter().map(|notice| (entry.lsn, Arc::new(notice))));
        Ok(())
    }

    /// What came of a delivery.
    fn take(&self, queue: &mut Queue, (number, took, sent): (u64, Duration, Result<(), Refused>)) {
        let outgoing = &self.parts.metrics.outgoing;
        outgoing.duration.record(took);
        let endpoint = &*self.endpoint.name;
        let refused = match sent {
            Ok(()) => {
                outgoing.deliveries.get(Delivery::Delivered).increment(1);
                if queue.is_failing() {
                    tracing::info!(endpoint, "an endpoint of outgoing webhooks takes events again");
                }
                queue.taken(number);
                return self.parts.here.update(endpoint, |status| {
                    status.delivered = status.delivered.saturating_add(1);
                });
            }
            Err(refused) => refused,
        };
        outgoing.deliveries.get(Delivery::Failed).increment(1);
        let was_failing = queue.is_failing();
        let now = (clock::instant(), clock::now());
        let next = queue.failed(number, now, fastrand::f64(), refused.retry_after);
        if queue.is_failing() && !was_failing {
            tracing::warn!(endpoint, cause = %refused, "an endpoint of outgoing webhooks does not take events");
        }
        if next == Next::GivenUp {
            outgoing.deliveries.get(Delivery::GivenUp).increment(1);
            tracing::error!(endpoint, cause = %refused, "an event is given up after three days of attempts");
        }
        self.parts.here.update(endpoint, |status| {
            status.failed = status.failed.saturating_add(1);
            if next == Next::GivenUp {
                status.given_up = status.given_up.saturating_add(1);
            }
            status.last_failure = Some(refused.cause.clone());
        });
    }

    /// Records how far the endpoint is, if that is worth it.
    async fn save(&self, running: &mut Running) -> Result<(), NotSaved> {
        let (saved, through) = (running.cursor.through(), running.queue.through());
        let now = clock::instant();
        let is_time = now.saturating_duration_since(running.saved) >= SAVE_EVERY;
        let is_far = through.saturating_sub(saved) >= ENTRIES_UNSAVED_MAX;
        if through <= saved || !is_time || !(running.queue.has_ended() || is_far) {
            return Ok(());
        }
        running.saved = now;
        running.queue.forget_ended();
        running.cursor.save(through).await
    }

    fn is_now(&self, state: EndpointState) {
        self.parts.here.update(&self.endpoint.name, |status| {
            status.state = state;
            status.waiting = 0;
            status.oldest = None;
        });
        self.parts.here.count(&self.parts.metrics, clock::now());
    }

    /// Shows operators how it goes.
    fn show(&self, running: &Running) {
        let queue = &running.queue;
        let is_failing = queue.is_failing();
        self.parts.here.update(&self.endpoint.name, |status| {
            status.state = if is_failing { EndpointState::Failing } else { EndpointState::Up };
            status.waiting = queue.waiting();
            status.oldest = queue.oldest().map(crate::http::Rfc3339);
        });
        self.parts.here.count(&self.parts.metrics, clock::now());
    }
}

impl Running {
    /// When there is something to do at the latest.
    fn wake(&self) -> Instant {
        let now = clock::instant();
        // Without room nothing is read.
        let looked = self.looked.filter(|_| self.queue.has_room()).unwrap_or(now);
        let look = looked.checked_add(LOOK_EVERY).unwrap_or(now);
        self.queue.due().map_or(look, |due| look.min(due.max(now)))
    }
}
