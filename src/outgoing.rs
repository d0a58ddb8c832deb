//! Outgoing webhooks: what happened, as events for the endpoints of a file. Events follow from the entries of the journal,
//! so none is lost: each endpoint has a chain of its own there that says how far it has them. Nothing here is on the path of
//! a request.

mod endpoint;
mod notice;
mod body;
mod queue;
mod cursor;
mod transport;
mod follower;

use std::sync::Arc;

use tokio::{
    sync::watch,
    task::{JoinHandle, JoinSet},
};

use crate::{
    cluster::Cluster,
    domain::Account,
    http::{EndpointState, EndpointStatus, EndpointsHere},
    journal::Journal,
    metrics::Metrics,
};

pub use body::test_body;
pub use endpoint::{Endpoint, Endpoints, Filter, Format, Kind, Url};
pub use transport::{Refused, SIGNATURE_HEADER, Transport};

use follower::Follower;

/// What deliveries need of a node. Cheap to clone.
#[derive(Clone)]
pub struct Parts {
    /// Where events come from, and where it is recorded how far each endpoint has them.
    pub journal: Arc<dyn Journal>,
    /// Which node delivers to an endpoint, and the details of an authorization.
    pub cluster: Cluster,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// What operators see.
    pub here: Arc<EndpointsHere>,
}

/// The deliveries of a node, running.
pub struct Outgoing {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Outgoing {
    /// Delivers to these endpoints, and to others when the file says so.
    #[must_use]
    pub fn start(parts: Parts, endpoints: watch::Receiver<Arc<Endpoints>>) -> Self {
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(run(parts, endpoints, stopped));
        Self { stop, task }
    }

    /// Ends deliveries in order: what an endpoint has is recorded, so that nothing is repeated without need.
    pub async fn stop(self) {
        let _ = self.stop.send(true);
        // A task that has failed delivers nothing any more.
        let _ = self.task.await;
    }
}

/// Runs one follower for each endpoint; all of them anew when the file changes.
async fn run(parts: Parts, mut endpoints: watch::Receiver<Arc<Endpoints>>, mut stop: watch::Receiver<bool>) {
    loop {
        let now = Arc::clone(&endpoints.borrow_and_update());
        parts.here.keep(now.0.iter().map(|endpoint| status(endpoint)));
        let (end, ended) = watch::channel(false);
        let mut followers = JoinSet::new();
        for endpoint in &now.0 {
            followers.spawn(Follower::new(parts.clone(), Arc::clone(endpoint)).run(ended.clone()));
        }
        let is_over = tokio::select! {
            _ = stop.wait_for(|stop| *stop) => true,
            // A file that is no longer watched does not change.
            Ok(()) = endpoints.changed() => false,
        };
        let _ = end.send(true);
        while followers.join_next().await.is_some() {}
        if is_over {
            return;
        }
        tracing::info!("the file of outgoing webhooks has changed: deliveries go on with it");
    }
}

/// The chain of an endpoint.
fn account(endpoint: &Endpoint) -> Account {
    Account::endpoint(&endpoint.name)
}

/// An endpoint of which nothing is known yet.
fn status(endpoint: &Endpoint) -> EndpointStatus {
    EndpointStatus {
        name: endpoint.name.to_string(),
        host: endpoint.url.host().to_owned(),
        format: endpoint.format.as_str(),
        state: EndpointState::Starting,
        delivered: 0,
        failed: 0,
        given_up: 0,
        waiting: 0,
        oldest: None,
        last_failure: None,
    }
}
