//! Sockets, routes, replies. What an event means, who decides and how it becomes durable is not here: this room knows
//! the signature's check, the event's reader, and a desk to bring questions to.

mod socket;
mod seats;
mod server;
mod peers;
mod reply;
mod body;
pub mod bodies;
mod trace;
mod slow;
mod endpoints;
mod spans;
mod webhook;
mod readiness;
mod admin;
mod token;
mod session;
mod guard;
mod console;
mod books;
mod vocabulary;

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use hyper::header::HeaderValue;

pub use admin::{Admin, Books, PolicyPort, ReadPolicy, Unreadable, admin_api_page, openapi};
pub use endpoints::{EndpointState, EndpointStatus, EndpointsHere};
pub use guard::{Guard, Unguarded};
pub use peers::run_peers;
pub use readiness::Readiness;
pub use reply::Rfc3339;
pub use server::{Bounds, Drain, Reply, Respond, Stop, run};
pub use session::SessionKey;
pub use slow::Slow;
pub use spans::{Collector, Spans};
pub use token::{Caller, NamedToken, Role, Token, TokenFile, TokenHash, Tokens};
pub use vocabulary::vocabulary;
pub use webhook::{Desk, PeerDoor, Webhook};

/// What the room is told at start.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where Stripe's webhook is served.
    pub listen: SocketAddr,
    /// Where operators are served. Anything but a loopback address needs a token.
    pub admin_listen: SocketAddr,
    /// What a request under `/v1` may bring, for everything.
    pub admin_token: Option<Token>,
    /// What else it may bring.
    pub admin_token_file: Option<TokenFile>,
    /// From the headers of a request to its answer, at most.
    pub answer_within: Duration,
    /// The largest body of a webhook request, in bytes.
    pub body_bytes_max: usize,
    /// Whether real money moves here, and only that; where nothing is said, the first event decides.
    pub livemode: Option<bool>,
    /// What connections to the webhook are held to.
    pub bounds: Bounds,
    /// Where decisions go as spans of their traces, if anywhere.
    pub collector: Option<Collector>,
}

impl Settings {
    /// Enough for a few scrapers, probes and people.
    const ADMIN_CONNECTIONS_MAX: usize = 256;

    /// What a request under `/v1` brings as `Authorization`, if it has to.
    #[must_use]
    pub fn admin_bearer(&self) -> Option<HeaderValue> {
        self.admin_token.as_ref().map(Token::bearer)
    }

    /// What connections of operators are held to.
    #[must_use]
    pub fn admin_bounds(&self) -> Bounds {
        Bounds { connections_max: Self::ADMIN_CONNECTIONS_MAX, ..self.bounds }
    }
}

/// Stripe's own samples listen on 4242; 9464 is where exporters of metrics usually are.
impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 4242)),
            admin_listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 9464)),
            admin_token: None,
            admin_token_file: None,
            answer_within: Duration::from_millis(1_200),
            body_bytes_max: 1024 * 1024,
            livemode: None,
            bounds: Bounds::default(),
            collector: None,
        }
    }
}
