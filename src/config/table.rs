//! The table of all settings: name, default, range, meaning and example of each. What is not here does not exist.

use std::time::Duration;

use super::setting::{Default, Kind, Section, Setting};

/// The setting of this name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.name == name)
}

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);

const fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// A setting that is not secret and has a default value.
const fn setting(
    section: Section,
    name: &'static str,
    kind: Kind,
    default: &'static str,
    example: &'static str,
    meaning: &'static str,
) -> Setting {
    Setting { name, section, kind, default: Default::Value(default), meaning, example, is_secret: false }
}

/// A setting that may be left out; `without` says what that means.
const fn optional(
    section: Section,
    name: &'static str,
    kind: Kind,
    without: &'static str,
    example: &'static str,
    meaning: &'static str,
) -> Setting {
    Setting { name, section, kind, default: Default::Unset(without), meaning, example, is_secret: false }
}

/// An optional setting that is never shown.
const fn secret(
    section: Section,
    name: &'static str,
    kind: Kind,
    without: &'static str,
    example: &'static str,
    meaning: &'static str,
) -> Setting {
    Setting { name, section, kind, default: Default::Unset(without), meaning, example, is_secret: true }
}

const NO_LIMIT: &str = "no limit";
const NO_CLUSTER: &str = "one node";

/// Every setting, in the order of the documentation.
pub static SETTINGS: [Setting; 52] = [
    secret(
        Section::Stripe,
        "STRIPE_WEBHOOK_SECRET",
        Kind::Text("signing secrets (`whsec_…`), separated by commas; not an API key"),
        "on a terminal, and without `TOLLGATE_LIVEMODE=true`, one is generated for this run and printed; otherwise it is required",
        "whsec_live_endpoint,whsec_live_endpoint_before_rolling",
        "Signing secrets of both webhook endpoints, and the old ones while you roll them. A request is valid under any of them.",
    ),
    setting(
        Section::Stripe,
        "STRIPE_API_VERSION",
        Kind::Text("an API version: a date, optionally with a release name"),
        "2022-08-01",
        "2026-07-29.dahlia",
        "The `Stripe-Version` header of replies and of calls to Stripe's API. Stripe ignores a reply with an unknown version.",
    ),
    secret(
        Section::Stripe,
        "STRIPE_API_KEY",
        Kind::Text("a secret or restricted key (`sk_…`, `rk_…`)"),
        "Stripe's API is not called",
        "rk_live_with_access_to_issuing",
        "The API key for `tollgate reconcile` and for answers over the API. A restricted key needs read access to Issuing and events, and write access to authorizations if answers go over the API.",
    ),
    setting(
        Section::Stripe,
        "STRIPE_API_BASE",
        Kind::Text("`https://` and a host, or, with a test key, `http://`"),
        "https://api.stripe.com",
        "http://127.0.0.1:12111",
        "The address of Stripe's API.",
    ),
    optional(
        Section::Stripe,
        "STRIPE_API_CA",
        Kind::Text("the path of a PEM file with certificates"),
        "the public certificate authorities",
        "/etc/ssl/proxy-ca.pem",
        "Certificate authorities to trust for Stripe's API instead of the public ones, for a proxy that inspects outgoing TLS.",
    ),
    setting(
        Section::Stripe,
        "TOLLGATE_API_CALLS_PER_SECOND",
        Kind::Count { min: 1, max: 1_000 },
        "20",
        "50",
        "The most API calls per second of `tollgate reconcile`. Stripe allows about 25 with a test key and 100 with a live key, for all programs together.",
    ),
    setting(
        Section::Stripe,
        "TOLLGATE_ANSWER_BY",
        Kind::Text("`direct`, `api`, or `split:` with the percentage of direct answers, 0 to 100"),
        "direct",
        "split:10",
        "How answers reach Stripe. `direct`: in the reply to the webhook. `api`: Stripe's older method, a call to its approve or decline API before the reply. `split:10`: 10 % of authorizations directly, always the same ones, and the others over the API. If the API does not accept an answer in time, the reply carries it.",
    ),
    setting(
        Section::Stripe,
        "TOLLGATE_SIGNATURE_TOLERANCE",
        Kind::Span { min: SECOND, max: HOUR },
        "300s",
        "300s",
        "The largest difference between a signature's time and this machine's clock.",
    ),
    setting(
        Section::Stripe,
        "TOLLGATE_REPLY_METADATA",
        Kind::Switch,
        "true",
        "false",
        "Whether a reply includes the decision's id and reason. Stripe stores them in the authorization's metadata.",
    ),
    setting(
        Section::Stripe,
        "TOLLGATE_RECORD_MERCHANT_NAMES",
        Kind::Text("`test_mode`, `always` or `never`"),
        "test_mode",
        "always",
        "When the journal records names of merchants, for rules and replays that look at them. The name of a sole trader is personal, so that live mode has to ask for it.",
    ),
    optional(
        Section::Policy,
        "TOLLGATE_POLICY",
        Kind::Text("the path of a policy file"),
        "the limits below",
        "/etc/tollgate/policy.yaml",
        "The policy file. A change takes effect within two seconds; `tollgate check` validates a file.",
    ),
    optional(
        Section::Policy,
        "TOLLGATE_CARD_LIMIT_PER_AUTHORIZATION",
        Kind::Amount,
        NO_LIMIT,
        "20_000",
        "The limit of one authorization with all its increments, for every card, in the card's currency.",
    ),
    optional(
        Section::Policy,
        "TOLLGATE_CARD_LIMIT_DAILY",
        Kind::Amount,
        "50000 if neither a policy nor another limit is set",
        "50_000",
        "The daily limit of each card (UTC).",
    ),
    optional(
        Section::Policy,
        "TOLLGATE_CARD_LIMIT_WEEKLY",
        Kind::Amount,
        NO_LIMIT,
        "200_000",
        "The weekly limit of each card, from Sunday (UTC).",
    ),
    optional(
        Section::Policy,
        "TOLLGATE_CARD_LIMIT_MONTHLY",
        Kind::Amount,
        NO_LIMIT,
        "500_000",
        "The limit of each card per calendar month (UTC).",
    ),
    optional(
        Section::Policy,
        "TOLLGATE_CARD_LIMIT_YEARLY",
        Kind::Amount,
        NO_LIMIT,
        "5_000_000",
        "The limit of each card per calendar year (UTC).",
    ),
    optional(
        Section::Policy,
        "TOLLGATE_CARD_LIMIT_ALL_TIME",
        Kind::Amount,
        NO_LIMIT,
        "10_000_000",
        "The lifetime limit of each card.",
    ),
    optional(
        Section::Policy,
        "TOLLGATE_CARD_VELOCITY",
        Kind::Text("counts and spans of s, m, h, or d, separated by commas"),
        NO_LIMIT,
        "10/1h,50/24h",
        "The most approvals of each card in rolling windows.",
    ),
    setting(
        Section::Http,
        "TOLLGATE_LISTEN",
        Kind::Address,
        "127.0.0.1:4242",
        "0.0.0.0:4242",
        "The address of `POST /webhook`. Nothing else is served there.",
    ),
    setting(
        Section::Http,
        "TOLLGATE_ANSWER_WITHIN",
        Kind::Span { min: millis(1), max: millis(1_900) },
        "1200ms",
        "1500ms",
        "The deadline for the answer to a verified request, counted from its headers. Stripe waits 2 seconds, including the network.",
    ),
    optional(
        Section::Http,
        "TOLLGATE_LIVEMODE",
        Kind::Text("`true` or `false`"),
        "the mode of the first recorded event",
        "true",
        "Whether this node serves live mode. Events of the other mode are refused.",
    ),
    setting(
        Section::Http,
        "TOLLGATE_CONNECTIONS_MAX",
        Kind::Count { min: 1, max: 1_000_000 },
        "16_384",
        "5_000",
        "The most open connections on the webhook port. The system's limit on open files must be higher.",
    ),
    setting(
        Section::Http,
        "TOLLGATE_HEADER_BYTES_MAX",
        Kind::Bytes { min: 8 << 10, max: 1 << 20 },
        "32KiB",
        "64KiB",
        "The largest size of all headers of a request.",
    ),
    setting(
        Section::Http,
        "TOLLGATE_BODY_BYTES_MAX",
        Kind::Bytes { min: 16 << 10, max: 16 << 20 },
        "1MiB",
        "4MiB",
        "The largest body of a request. Most events have 4 to 8 KiB; an authorization that lists captures with long receipts has hundreds of KiB. A proxy in front needs the same limit.",
    ),
    setting(
        Section::Http,
        "TOLLGATE_HEADER_READ_TIMEOUT",
        Kind::Span { min: millis(10), max: MINUTE },
        "5s",
        "2s",
        "The time limit for receiving headers, counted from their first byte.",
    ),
    setting(
        Section::Http,
        "TOLLGATE_IDLE_TIMEOUT",
        Kind::Span { min: millis(10), max: HOUR },
        "90s",
        "75s",
        "How long a connection may stay idle. Behind a load balancer, set it higher than the balancer's own idle timeout, so that the balancer never uses a connection that the node is closing.",
    ),
    setting(
        Section::Http,
        "TOLLGATE_BODY_READ_TIMEOUT",
        Kind::Span { min: millis(10), max: MINUTE },
        "1s",
        "2s",
        "The time limit for receiving a body after its headers.",
    ),
    setting(
        Section::Http,
        "TOLLGATE_WRITE_TIMEOUT",
        Kind::Span { min: millis(10), max: MINUTE },
        "5s",
        "2s",
        "How long a client may accept no bytes of a reply.",
    ),
    setting(
        Section::Http,
        "TOLLGATE_DRAIN_TIMEOUT",
        Kind::Span { min: millis(10), max: HOUR },
        "5s",
        "10s",
        "The time limit for requests in progress when the node stops, after `TOLLGATE_DRAIN_DELAY`.",
    ),
    setting(
        Section::Overload,
        "TOLLGATE_STAND_IN",
        Kind::Text(
            "`decline`, or `approve:` with an amount in minor units and a number of times, such as `approve:5000x3`, or one of them for each of overload, deadline, and journal",
        ),
        "decline",
        "overload=decline,deadline=approve:2000x3,journal=decline",
        "The stand-in decision: the answer if the node is overloaded, out of time, or without its journal. `approve:5000x3` approves up to 5000 minor units of the request's currency, at most 3 requests of a card per day (UTC) on each node; without `x` it is 3. Everything that needs no ledger is checked: the policy's lists and limits on an empty history, a paused or inactive card, the currency; and a decline that was decided in memory stays declined. A cause that is not named is declined.",
    ),
    setting(
        Section::Overload,
        "TOLLGATE_IN_FLIGHT_MAX",
        Kind::Count { min: 1, max: 1_000_000 },
        "10_000",
        "20_000",
        "The most requests in progress. Further ones get a stand-in decision.",
    ),
    setting(
        Section::Overload,
        "TOLLGATE_CARD_QUEUE_MAX",
        Kind::Count { min: 1, max: 100_000 },
        "64",
        "256",
        "The most requests waiting for one card. Further ones get a stand-in decision.",
    ),
    setting(
        Section::Overload,
        "TOLLGATE_CARD_IDLE_AFTER",
        Kind::Span { min: millis(1), max: Duration::from_hours(168) },
        "5m",
        "1h",
        "How long a card without requests stays in memory before it is evicted.",
    ),
    setting(
        Section::Overload,
        "TOLLGATE_CARDS_RESIDENT_MAX",
        Kind::Count { min: 1, max: 100_000_000 },
        "100_000",
        "1_000_000",
        "The most cards in memory, about 10 KB each. Above it the cards that were idle longest are evicted.",
    ),
    setting(
        Section::Overload,
        "TOLLGATE_LOADS_MAX",
        Kind::Count { min: 1, max: 10_000 },
        "64",
        "128",
        "The most cards that are loaded from the journal at the same time.",
    ),
    setting(
        Section::Overload,
        "TOLLGATE_UNCONFIRMED_AFTER",
        Kind::Span { min: millis(1), max: Duration::from_hours(168) },
        "15m",
        "5m",
        "How long Stripe may take to confirm a decision by an event. After that the decision is listed at `/v1/unconfirmed` and counted by a gauge.",
    ),
    setting(
        Section::Overload,
        "TOLLGATE_UNCONFIRMED_MAX",
        Kind::Count { min: 1, max: 10_000_000 },
        "100_000",
        "10_000",
        "The most decisions that are tracked for confirmation. Further ones are not tracked.",
    ),
    setting(
        Section::Journal,
        "TOLLGATE_JOURNAL",
        Kind::Text("`sqlite:` and a file path, `postgres://USER:PASSWORD@HOST:PORT/DATABASE`, or `memory:`"),
        "sqlite:./data/tollgate.db",
        "sqlite:/var/lib/tollgate/tollgate.db",
        "The journal. `memory:` loses everything at exit. For TLS to a database add `?sslmode=require`, and `sslrootcert=` with a PEM file if its certificate authority is not a public one.",
    ),
    setting(
        Section::Journal,
        "TOLLGATE_JOURNAL_BATCH_MAX",
        Kind::Count { min: 1, max: 65_536 },
        "512",
        "1_024",
        "The most appends in one commit.",
    ),
    setting(
        Section::Admin,
        "TOLLGATE_ADMIN_LISTEN",
        Kind::Address,
        "127.0.0.1:9464",
        "0.0.0.0:9464",
        "The address of `/livez`, `/readyz`, `/metrics`, and `/v1`. An address that is not loopback requires `TOLLGATE_ADMIN_TOKEN`.",
    ),
    secret(
        Section::Admin,
        "TOLLGATE_ADMIN_TOKEN",
        Kind::Text("visible ASCII characters without spaces"),
        "no token; only a loopback address is allowed",
        "a-long-random-text",
        "The token that callers of `/v1` send as `Authorization: Bearer …`.",
    ),
    setting(
        Section::Log,
        "TOLLGATE_LOG",
        Kind::Text("`error`, `warn`, `info`, `debug`, `trace` or `off`, or directives"),
        "info",
        "info,tollgate::journal=debug",
        "The log level, or levels by module. Declines are `info`, approvals `debug`.",
    ),
    optional(
        Section::Log,
        "TOLLGATE_LOG_FORMAT",
        Kind::Word(&["pretty", "json"]),
        "`pretty` on a terminal, otherwise `json`",
        "json",
        "The format of log lines.",
    ),
    optional(
        Section::Log,
        "TOLLGATE_TRACES_ENDPOINT",
        Kind::Text("`http://`, a host and a port, without a path"),
        "no spans are sent",
        "http://127.0.0.1:4318",
        "An OpenTelemetry collector that accepts OTLP over HTTP as JSON. It receives a span for each decision whose request has a sampled `traceparent`.",
    ),
    setting(
        Section::Log,
        "TOLLGATE_DRAIN_DELAY",
        Kind::Span { min: Duration::ZERO, max: HOUR },
        "5s",
        "15s",
        "How long the node still accepts requests after SIGTERM has turned `/readyz` off, so that the load balancer notices first.",
    ),
    setting(
        Section::Cluster,
        "TOLLGATE_NODE_ID",
        Kind::Text("1 to 64 letters, digits, `-`, `_` or `.`"),
        "local",
        "node-a",
        "The name of this node, shown as the owner of a card. In a cluster each node has its own name and keeps it across restarts.",
    ),
    optional(
        Section::Cluster,
        "TOLLGATE_PEER_LISTEN",
        Kind::Address,
        NO_CLUSTER,
        "10.0.0.5:4243",
        "The address for other nodes. Connections use TLS, and both sides prove keys from the member table. With it the node joins the cluster of the nodes that share its PostgreSQL journal.",
    ),
    optional(
        Section::Cluster,
        "TOLLGATE_PEER_ADDRESS",
        Kind::Text("a host or an IP address, and a port"),
        "`TOLLGATE_PEER_LISTEN`",
        "tollgate-a.internal:4243",
        "The address at which other nodes reach this one, if it differs from `TOLLGATE_PEER_LISTEN`.",
    ),
    optional(
        Section::Cluster,
        "TOLLGATE_PEER_CERT",
        Kind::Text("the path of a PEM file with certificates, this node's first"),
        "a key is made at each start",
        "/etc/tollgate/node-a.pem",
        "The certificate by which this node proves its key to other nodes, for TLS servers and clients. Names in it do not matter. Needs `TOLLGATE_PEER_KEY` and `TOLLGATE_PEER_CA`.",
    ),
    optional(
        Section::Cluster,
        "TOLLGATE_PEER_KEY",
        Kind::Text("the path of a PEM file with a private key"),
        "a key is made at each start",
        "/etc/tollgate/node-a.key",
        "The key of `TOLLGATE_PEER_CERT`.",
    ),
    optional(
        Section::Cluster,
        "TOLLGATE_PEER_CA",
        Kind::Text("the path of a PEM file with certificates"),
        "a key in the member table is enough",
        "/etc/tollgate/peers-ca.pem",
        "The authority that has to have signed every node's certificate, besides the key being in the member table: then who can write to the database is no node yet.",
    ),
    setting(
        Section::Cluster,
        "TOLLGATE_FORWARD_WITHIN",
        Kind::Span { min: millis(10), max: millis(1_500) },
        "300ms",
        "200ms",
        "How long the owner of a card may take for a forwarded request, and at most half of the remaining time. After that the node that received the request decides. An owner that answers other requests meanwhile is slow, not down, and always gets half of the remaining time.",
    ),
];
