//! Whoever plays Stripe, and an operator besides: events by way of a balancer, questions to `/v1`, and the shapes of what
//! comes back.

use std::net::SocketAddr;

use hyper::StatusCode;
use serde::{Deserialize, de::DeserializeOwned};

use super::{
    Failure,
    balancer::{Balancer, Targets},
    connection::{Connection, Reply},
};
use crate::stripe::Secret;

/// Who asks nodes as Stripe does, and one of them for its books.
pub(super) struct Client {
    pub(super) stripe: Balancer,
    admin: Connection,
}

impl Client {
    /// Asks these nodes, and the books at `admin`.
    pub(super) async fn connect(
        targets: Targets,
        admin: SocketAddr,
        secret: &Secret,
    ) -> Result<Self, Failure> {
        Ok(Self { stripe: Balancer::new(targets, secret, 0), admin: Connection::open(admin).await? })
    }

    /// Asks another node for its books from now on.
    pub(super) async fn read_at(&mut self, admin: SocketAddr) -> Result<(), Failure> {
        self.admin = Connection::open(admin).await?;
        Ok(())
    }

    /// Somebody who asks only the node at this address.
    pub(super) fn at(&self, webhook: SocketAddr) -> Balancer {
        self.stripe.of_one(webhook)
    }

    /// Posts an event, signed.
    pub(super) async fn deliver(&mut self, event: Vec<u8>) -> Result<Reply, Failure> {
        self.stripe.deliver(event).await
    }

    /// Posts an event that is signed with another secret.
    pub(super) async fn forge(&mut self, event: Vec<u8>, secret: &Secret) -> Result<Reply, Failure> {
        self.stripe.post(event, secret).await
    }

    /// What the books say of an authorization.
    pub(super) async fn authorization(&mut self, id: &str) -> Result<Authorization, Failure> {
        self.look_up(&format!("/v1/authorizations/{id}")).await
    }

    /// What the books say of a card.
    pub(super) async fn card(&mut self, id: &str) -> Result<Card, Failure> {
        self.look_up(&format!("/v1/cards/{id}")).await
    }

    async fn look_up<T: DeserializeOwned>(&mut self, path: &str) -> Result<T, Failure> {
        let reply = self.admin.get(path).await?;
        if reply.status != StatusCode::OK {
            return Err(Failure::Unexpected(format!("GET {path}: expected 200, found {}", reply.status)));
        }
        reply.json()
    }
}

/// The body of a decision.
#[derive(Deserialize, Debug)]
pub(super) struct Answer {
    pub(super) approved: bool,
    pub(super) amount: Option<i64>,
    pub(super) metadata: Metadata,
}

#[derive(Deserialize, Debug)]
pub(super) struct Metadata {
    #[serde(rename = "tollgate_reason")]
    pub(super) reason: String,
}

impl Answer {
    /// Whether it was given without the books.
    pub(super) fn is_stand_in(&self) -> bool {
        self.metadata.reason.starts_with("stand_in")
    }
}

/// What is looked at of `GET /v1/authorizations/{id}`.
#[derive(Deserialize)]
pub(super) struct Authorization {
    pub(super) status: String,
    pub(super) held: i64,
    pub(super) captured: i64,
    pub(super) decisions: Vec<Decision>,
}

#[derive(Deserialize)]
pub(super) struct Decision {
    pub(super) explanation: String,
}

/// What is looked at of `GET /v1/cards/{id}`.
#[derive(Deserialize)]
pub(super) struct Card {
    /// The node that it belongs to.
    pub(super) owner: String,
    pub(super) limits: Vec<Limit>,
}

#[derive(Deserialize)]
pub(super) struct Limit {
    /// `amount` or `count`.
    #[serde(rename = "limit")]
    pub(super) measure: String,
    pub(super) window: String,
    pub(super) max: i64,
    pub(super) used: i64,
    pub(super) remaining: i64,
    pub(super) resets_at: Option<String>,
}

/// What is looked at of `GET /v1/node`.
#[derive(Deserialize)]
pub(super) struct Cluster {
    pub(super) members: Vec<Member>,
    pub(super) forwards: Forwards,
}

#[derive(Deserialize)]
pub(super) struct Member {
    pub(super) node: String,
    /// The part of all cards that it owns.
    pub(super) share: f64,
    /// Nothing where it is the node that tells this.
    pub(super) connections: Option<usize>,
}

/// Questions that were brought to their cards' owners.
#[derive(Deserialize)]
pub(super) struct Forwards {
    pub(super) answered: u64,
}
