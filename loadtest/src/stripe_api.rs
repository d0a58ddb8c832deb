//! A stub of Stripe's API: a small local HTTP server with Stripe's paths, field names and error shapes, as far as a
//! decision engine needs them. It fails on command.
//!
//! Served are `/v1/issuing/authorizations` (list, get, update, `/approve`, `/decline`), `/v1/issuing/transactions` and
//! `/v1/events` (list, get), `/v1/balance`, and the test helpers below `/v1/test_helpers/issuing`, which alone send webhooks:
//! `authorizations` (create, `/increment`, `/reverse`, `/expire`, `/capture`, `/finalize_amount`,
//! `/fraud_challenges/respond`), `transactions` (`/create_force_capture`, `/create_unlinked_refund`, `/refund`) and
//! `fund_balance`. Sources: <https://docs.stripe.com/api/issuing/authorizations>,
//! <https://docs.stripe.com/api/errors>, <https://docs.stripe.com/api/idempotent_requests>.

mod balance;
mod books;
mod challenges;
mod endpoint;
mod fault;
mod form;
mod problem;
mod query;
mod server;
mod test_helpers;

use std::{
    collections::VecDeque,
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde_json::Value;
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};

use books::Books;
pub use books::NotKept;
pub use endpoint::Endpoint;
use fault::Faults;
pub use fault::{Effect, Fault};
use server::Replays;

/// How many of the last calls are remembered.
const CALLS_KEPT_MAX: usize = 10_000;

/// A running stub. Dropped, it stops.
pub struct StripeApi {
    address: SocketAddr,
    state: Arc<State>,
    serving: JoinHandle<()>,
}

/// A call that reached the stub, as it was made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Call {
    /// `GET` or `POST`.
    pub method: String,
    /// Without the query.
    pub path: String,
    /// The query of a GET, the form of a POST, decoded.
    pub parameters: Vec<(String, String)>,
    /// `Idempotency-Key`.
    pub idempotency_key: Option<String>,
    /// `Stripe-Account`.
    pub account: Option<String>,
    /// `Stripe-Version`.
    pub api_version: Option<String>,
    /// What was answered; nothing where the connection was dropped or left hanging.
    pub status: Option<u16>,
}

impl Call {
    /// The value of the first parameter of this name.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// What the server's tasks share.
struct State {
    secret_key: String,
    books: Mutex<Books>,
    faults: Mutex<Faults>,
    replays: Mutex<Replays>,
    /// Where the test helpers' events go.
    endpoint: Option<Arc<Endpoint>>,
    desk: test_helpers::Desk,
    calls: Mutex<VecDeque<Call>>,
    calls_total: watch::Sender<u64>,
}

impl StripeApi {
    /// Serves whoever has `secret_key`, on a free port of this machine.
    ///
    /// # Errors
    /// The system has no port.
    pub async fn start(secret_key: &str) -> io::Result<Self> {
        Self::listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), secret_key, None).await
    }

    /// Serves whoever has `secret_key`, on `address`. What the test helpers do is asked and told at `endpoint`; without one
    /// they approve, as Stripe does.
    ///
    /// # Errors
    /// The address is not to be had.
    pub async fn listen(
        address: SocketAddr,
        secret_key: &str,
        endpoint: Option<Endpoint>,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let state = Arc::new(State {
            secret_key: secret_key.to_owned(),
            books: Mutex::default(),
            faults: Mutex::default(),
            replays: Mutex::default(),
            endpoint: endpoint.map(Arc::new),
            desk: test_helpers::Desk::default(),
            calls: Mutex::default(),
            calls_total: watch::Sender::new(0),
        });
        let serving = tokio::spawn(server::serve(listener, Arc::clone(&state)));
        Ok(Self { address, state, serving })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// What stands before `/v1`.
    #[must_use]
    pub fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Puts an object into the platform's own books, in place of one with the same id. Its field `object` says what
    /// it is: `issuing.authorization`, `issuing.transaction` or `event`.
    ///
    /// # Errors
    /// It is something else, or has no id.
    pub fn put(&self, object: Value) -> Result<(), NotKept> {
        lock(&self.state.books).put(None, object)
    }

    /// Puts an object into the books of a connected account; see [`StripeApi::put`].
    ///
    /// # Errors
    /// It is something else, or has no id.
    pub fn put_for(&self, account: &str, object: Value) -> Result<(), NotKept> {
        lock(&self.state.books).put(Some(account), object)
    }

    /// The object of this id in the platform's own books, as it is now.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<Value> {
        lock(&self.state.books).get(None, id).cloned()
    }

    /// Lets the next calls fail as `fault` says. Faults are used up in the order in which they were planned.
    pub fn plan(&self, fault: Fault) {
        lock(&self.state.faults).plan(fault);
    }

    /// Forgets the faults that were planned and not used up.
    pub fn heal(&self) {
        lock(&self.state.faults).clear();
    }

    /// The last calls, oldest first.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        lock(&self.state.calls).iter().cloned().collect()
    }

    /// The last calls to paths that end with `suffix`.
    #[must_use]
    pub fn calls_to(&self, suffix: &str) -> Vec<Call> {
        self.calls().into_iter().filter(|call| call.path.ends_with(suffix)).collect()
    }

    /// Waits until so many calls have come since the start.
    pub async fn called(&self, calls: u64) {
        // The sender lives as long as this: waiting cannot fail.
        let _ = self.state.calls_total.subscribe().wait_for(|total| *total >= calls).await;
    }
}

impl Drop for StripeApi {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl State {
    /// Remembers a call.
    fn record(&self, call: Call) {
        let mut calls = lock(&self.calls);
        if calls.len() >= CALLS_KEPT_MAX {
            calls.pop_front();
        }
        calls.push_back(call);
        drop(calls);
        self.calls_total.send_modify(|total| *total = total.saturating_add(1));
    }
}

/// A call that panicked leaves its books as they are.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
