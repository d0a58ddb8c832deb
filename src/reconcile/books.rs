//! Our side: a node's books, asked and told over its own ports. Where a node runs on the journal, it is that one; else
//! one is started for as long as this takes, on ports that nobody knows.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use http_body_util::{BodyExt as _, Full};
use hyper::{
    Method, Request, StatusCode,
    body::Bytes,
    header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue},
};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde::{Deserialize, de::DeserializeOwned};

use super::difference::TransactionState;
use crate::{
    cli::serve::one_run_secret,
    clock,
    config::Settings,
    domain::{AuthorizationId, CardId, CardholderId, State, TransactionId, TransactionKind},
    journal::{self, Location, OpenError},
    node::{Node, NotStarted},
    stripe::{self, SIGNATURE_HEADER, Secret, api::Patience},
};

/// From a request to the last byte of its answer, at most.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// A node that is busy is asked again.
const PATIENCE: Patience =
    Patience { attempts_max: 6, first: Duration::from_millis(100), longest: Duration::from_secs(5) };

/// A node's books.
pub(super) struct Books {
    client: Client<HttpConnector, Full<Bytes>>,
    webhook: SocketAddr,
    admin: SocketAddr,
    bearer: Option<HeaderValue>,
    secret: Secret,
    /// The node, where it is our own.
    own: Option<Node>,
}

/// Why the books cannot be asked or told.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotReached {
    /// No node of our own either.
    #[error(transparent)]
    NotStarted(#[from] NotStarted),
    /// There is nothing to reconcile.
    #[error(
        "expected a journal at {location}, found none, and none is made here; run this with the settings of the node, \
         in the directory where it runs"
    )]
    NoJournal {
        /// Where it was looked for, as an absolute path if it is one.
        location: String,
    },
    /// The journal cannot be looked for.
    #[error(transparent)]
    Journal(#[from] OpenError),
    /// Nobody knows how to reach the running node.
    #[error("a node has this journal, and {name} is needed to reach it: {expected}")]
    Nowhere {
        /// The setting.
        name: &'static str,
        /// What it should be.
        expected: &'static str,
    },
    /// Nobody answers there.
    #[error(
        "the node at {address} cannot be reached: {cause}; run this with the settings of the running node"
    )]
    Silent {
        /// Where.
        address: SocketAddr,
        /// What the system says.
        cause: String,
    },
    /// It answers something else.
    #[error("the node at {address} answered {status} ({code}) to {request}")]
    Refused {
        /// Where.
        address: SocketAddr,
        /// With what.
        status: StatusCode,
        /// The error's code, or `no code`.
        code: String,
        /// To what.
        request: String,
    },
    /// Its answer cannot be read.
    #[error("the node at {address} answered nothing that this build can read: run the same version")]
    Unreadable {
        /// Where.
        address: SocketAddr,
    },
}

impl NotReached {
    /// Codes of errors that say something about the event that was sent, and nothing about the next one.
    const OF_ONE_EVENT: [&str; 4] = ["body_too_large", "body_late", "malformed", "wrong_account"];

    /// Whether other objects may still be reconciled.
    pub(super) fn is_of_one_object(&self) -> bool {
        match self {
            Self::Refused { code, .. } => {
                self.is_unavailable() || Self::OF_ONE_EVENT.contains(&code.as_str())
            }
            Self::NotStarted(_)
            | Self::NoJournal { .. }
            | Self::Journal(_)
            | Self::Nowhere { .. }
            | Self::Silent { .. }
            | Self::Unreadable { .. } => false,
        }
    }

    /// Whether the node is there and cannot do this now: for one account, or for all.
    pub(super) fn is_unavailable(&self) -> bool {
        matches!(self, Self::Refused { status: StatusCode::SERVICE_UNAVAILABLE, .. })
    }
}

/// What the books have of an authorization.
#[derive(Debug)]
pub(super) struct Ours {
    pub(super) status: String,
    pub(super) approved: bool,
    pub(super) held: i64,
    pub(super) transactions: Vec<TransactionState>,
}

impl Books {
    /// Finds the running node, or starts one.
    pub(super) async fn open(settings: Settings) -> Result<Self, NotReached> {
        let own =
            if settings.journal.location.outlives_its_process() { own_node(&settings).await? } else { None };
        let bearer = settings.http.admin_bearer();
        let client = Client::builder(TokioExecutor::new()).build_http();
        if let Some((node, secret)) = own {
            let (webhook, admin) = (node.webhook(), node.admin());
            return Ok(Self { client, webhook, admin, bearer, secret, own: Some(node) });
        }
        let expected = "set it as the running node has it";
        let secret = settings.stripe.secrets.into_iter().next();
        let secret = secret.ok_or(NotReached::Nowhere { name: "STRIPE_WEBHOOK_SECRET", expected })?;
        let webhook = reachable("TOLLGATE_LISTEN", settings.http.listen)?;
        let admin = reachable("TOLLGATE_ADMIN_LISTEN", settings.http.admin_listen)?;
        Ok(Self { client, webhook, admin, bearer, secret, own: None })
    }

    /// What the books have of an authorization; nothing where it was never heard of.
    pub(super) async fn authorization(&self, id: &AuthorizationId) -> Result<Option<Ours>, NotReached> {
        let body: Option<AuthorizationBody> = self.look_up(&format!("/v1/authorizations/{id}")).await?;
        let Some(body) = body else { return Ok(None) };
        // Without a card there is nothing but a question that broke the contract.
        let card = body.card.as_deref().and_then(CardId::new);
        let transactions = card.map_or_else(Vec::new, |card| states(body.transactions, &card, Some(id)));
        Ok(Some(Ours { status: body.status, approved: body.approved, held: body.held, transactions }))
    }

    /// The transactions of a card that belong to no authorization; nothing where the card was never heard of.
    pub(super) async fn unlinked(&self, card: &CardId) -> Result<Option<Vec<TransactionState>>, NotReached> {
        let body: Option<CardBody> = self.look_up(&format!("/v1/cards/{card}")).await?;
        Ok(body.map(|body| states(body.unlinked, card, None)))
    }

    /// What the books would take a card for until its next request: what its own events said last, and without any an
    /// active card of the group that its last request had. Nothing where the card was never heard of.
    pub(super) async fn card(&self, card: &CardId) -> Result<Option<State>, NotReached> {
        let body: Option<CardBody> = self.look_up(&format!("/v1/cards/{card}")).await?;
        Ok(body.map(|body| match body.state {
            Some(state) => state.into(),
            None => State { is_active: true, group: body.group.map(Into::into) },
        }))
    }

    /// What a cardholder's events said last; nothing where none came.
    pub(super) async fn cardholder(&self, cardholder: &CardholderId) -> Result<Option<State>, NotReached> {
        let body: Option<CardholderBody> = self.look_up(&format!("/v1/cardholders/{cardholder}")).await?;
        Ok(body.map(|body| body.state.into()))
    }

    /// Delivers an event as Stripe would. When this returns, it is booked.
    pub(super) async fn deliver(&self, event: Vec<u8>) -> Result<(), NotReached> {
        let event = Bytes::from(event);
        let uri = format!("http://{}/webhook", self.webhook);
        let request = || {
            let signature = stripe::sign(&self.secret, clock::now().as_seconds(), &event);
            Request::builder()
                .method(Method::POST)
                .uri(&uri)
                .header(CONTENT_TYPE, stripe::CONTENT_TYPE)
                .header(SIGNATURE_HEADER, signature)
                .body(Full::from(event.clone()))
        };
        let (status, body) = self.persist(self.webhook, request).await?;
        if status.is_success() { Ok(()) } else { Err(refused(self.webhook, status, &body, "an event")) }
    }

    /// Ends what was started.
    pub(super) async fn close(self) {
        if let Some(node) = self.own {
            node.stop().await;
        }
    }

    async fn look_up<T: DeserializeOwned>(&self, path: &str) -> Result<Option<T>, NotReached> {
        let uri = format!("http://{}{path}", self.admin);
        let request = || {
            let request = Request::get(&uri);
            let request = match &self.bearer {
                Some(bearer) => request.header(AUTHORIZATION, bearer),
                None => request,
            };
            request.body(Full::default())
        };
        let (status, body) = self.persist(self.admin, request).await?;
        match status {
            StatusCode::OK => serde_json::from_slice(&body)
                .map(Some)
                .map_err(|_| NotReached::Unreadable { address: self.admin }),
            StatusCode::NOT_FOUND => Ok(None),
            status => Err(refused(self.admin, status, &body, path)),
        }
    }

    /// Asks again while the node is too busy.
    async fn persist(
        &self,
        address: SocketAddr,
        request: impl Fn() -> hyper::http::Result<Request<Full<Bytes>>>,
    ) -> Result<(StatusCode, Bytes), NotReached> {
        let silent = |cause: String| NotReached::Silent { address, cause };
        let mut attempts = 0_u32;
        loop {
            attempts = attempts.saturating_add(1);
            let request = request().map_err(|error| silent(error.to_string()))?;
            let exchange = async {
                let response =
                    self.client.request(request).await.map_err(|error| silent(error.to_string()))?;
                let (head, body) = response.into_parts();
                let body = body.collect().await.map_err(|error| silent(error.to_string()))?;
                Ok((head.status, body.to_bytes()))
            };
            let answered = clock::timeout(ANSWER_WITHIN, exchange).await;
            let (status, body) = answered.unwrap_or_else(|_| Err(silent("no answer in time".to_owned())))?;
            if status != StatusCode::SERVICE_UNAVAILABLE || attempts >= PATIENCE.attempts_max {
                return Ok((status, body));
            }
            clock::sleep(PATIENCE.pause(attempts, fastrand::f64(), None)).await;
        }
    }
}

/// A node of our own, with a secret of its own; none where another process has the journal.
async fn own_node(settings: &Settings) -> Result<Option<(Node, Secret)>, NotReached> {
    let location = &settings.journal.location;
    if !journal::exists(location).await? {
        let location = match location {
            Location::Sqlite(path) => {
                format!("sqlite:{}", std::path::absolute(path).unwrap_or_else(|_| path.clone()).display())
            }
            Location::Memory | Location::Postgres(_) => location.to_string(),
        };
        return Err(NotReached::NoJournal { location });
    }
    let mut settings = settings.clone();
    let secret = one_run_secret();
    settings.stripe.secrets = vec![secret.clone()];
    settings.http.listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    settings.http.admin_listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    settings.drain_delay = Duration::ZERO;
    match Node::start(settings).await {
        Ok(node) => Ok(Some((node, secret))),
        Err(cause) if cause.is_in_use() => Ok(None),
        Err(cause) => Err(cause.into()),
    }
}

/// The address by which this machine reaches a listener of its own.
fn reachable(name: &'static str, listen: SocketAddr) -> Result<SocketAddr, NotReached> {
    if listen.port() == 0 {
        return Err(NotReached::Nowhere { name, expected: "it must name the port" });
    }
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    Ok(SocketAddr::new(ip, listen.port()))
}

fn refused(address: SocketAddr, status: StatusCode, body: &[u8], request: &str) -> NotReached {
    #[derive(Deserialize)]
    struct Body {
        error: Code,
    }
    #[derive(Deserialize)]
    struct Code {
        code: String,
    }
    let code = serde_json::from_slice::<Body>(body).map(|body| body.error.code);
    let code = code.unwrap_or_else(|_| "no code".to_owned());
    NotReached::Refused { address, status, code, request: request.to_owned() }
}

/// What is looked at of `GET /v1/authorizations/{id}`.
#[derive(Deserialize)]
struct AuthorizationBody {
    card: Option<String>,
    status: String,
    approved: bool,
    held: i64,
    transactions: Vec<TransactionBody>,
}

/// What is looked at of `GET /v1/cards/{id}`.
#[derive(Deserialize)]
struct CardBody {
    group: Option<String>,
    state: Option<StateBody>,
    unlinked: Vec<TransactionBody>,
}

/// What is looked at of `GET /v1/cardholders/{id}`.
#[derive(Deserialize)]
struct CardholderBody {
    state: StateBody,
}

#[derive(Deserialize)]
struct StateBody {
    active: bool,
    group: Option<String>,
}

impl From<StateBody> for State {
    fn from(body: StateBody) -> Self {
        Self { is_active: body.active, group: body.group.map(Into::into) }
    }
}

#[derive(Deserialize)]
struct TransactionBody {
    id: String,
    #[serde(rename = "type")]
    kind: String,
    amount: i64,
}

fn states(
    transactions: Vec<TransactionBody>,
    card: &CardId,
    authorization: Option<&AuthorizationId>,
) -> Vec<TransactionState> {
    let state = |body: TransactionBody| {
        Some(TransactionState {
            id: TransactionId::new(&body.id)?,
            card: card.clone(),
            authorization: authorization.cloned(),
            kind: TransactionKind::new(&body.kind)?,
            amount: body.amount,
        })
    };
    transactions.into_iter().filter_map(state).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_on_all_addresses_is_reached_on_this_machine() {
        let check = |listen: &str, expected: Option<&str>| {
            let found = reachable("TOLLGATE_LISTEN", listen.parse().unwrap());
            assert_eq!(found.ok(), expected.map(|text| text.parse().unwrap()), "{listen}");
        };
        check("0.0.0.0:4242", Some("127.0.0.1:4242"));
        check("[::]:4242", Some("[::1]:4242"));
        check("10.0.0.5:4242", Some("10.0.0.5:4242"));
        check("127.0.0.1:0", None);
    }
}
