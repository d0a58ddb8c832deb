//! Whether the node takes traffic, as `/readyz` reports it.

use std::sync::{
    Arc,
    atomic::{AtomicU8, Ordering},
};

use hyper::StatusCode;

use super::{reply::json, server::Reply};
use crate::metrics::Metrics;

/// Whether the node wants traffic. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Readiness {
    state: Arc<AtomicU8>,
    metrics: Arc<Metrics>,
}

const STARTING: u8 = 0;
const READY: u8 = 1;
const DRAINING: u8 = 2;
const RESTORING: u8 = 3;

impl Readiness {
    /// A node that is still starting.
    #[must_use]
    pub fn starting(metrics: Arc<Metrics>) -> Self {
        Self { state: Arc::new(AtomicU8::new(STARTING)), metrics }
    }

    /// Traffic may come.
    pub fn ready(&self) {
        self.state.store(READY, Ordering::Release);
        self.metrics.node.ready.set(1.0);
    }

    /// Traffic should go elsewhere while the journal is given back what it lacks; or not any more.
    pub fn restoring(&self, is_restoring: bool) {
        let (before, after) = if is_restoring { (READY, RESTORING) } else { (RESTORING, READY) };
        // A node that drains goes on draining.
        let turned = self.state.compare_exchange(before, after, Ordering::AcqRel, Ordering::Acquire);
        if turned.is_ok() {
            self.metrics.node.ready.set(if is_restoring { 0.0 } else { 1.0 });
        }
    }

    /// Traffic should go elsewhere.
    pub fn draining(&self) {
        self.state.store(DRAINING, Ordering::Release);
        self.metrics.node.ready.set(0.0);
    }

    /// The word for it.
    pub(super) fn word(&self) -> &'static str {
        match self.state.load(Ordering::Acquire) {
            READY => "ready",
            STARTING => "starting",
            RESTORING => "restoring",
            _ => "draining",
        }
    }

    /// Whether the node is about to end.
    pub(super) fn is_draining(&self) -> bool {
        self.state.load(Ordering::Acquire) == DRAINING
    }

    /// The reply to `GET /readyz`.
    pub(super) fn reply(&self) -> Reply {
        let word = self.word();
        let status = if word == "ready" { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        json(status, format!(r#"{{"status":"{word}"}}"#))
    }
}
