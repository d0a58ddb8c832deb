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

const NO_LIMIT: &str = "no such limit";
const NO_CLUSTER: &str = "one node";

/// Every setting, in the order of the documentation.
pub static SETTINGS: [Setting; 52] = [
    secret(
        Section::Stripe,
        "STRIPE_WEBHOOK_SECRET",
        Kind::Text("signing secrets (`whsec_…`) with commas between them; an API key is none"),
        "on a terminal, and without `TOLLGATE_LIVEMODE=true`, one is made for this run and printed; otherwise one is needed",
        "whsec_live_endpoint,whsec_live_endpoint_before_rolling",
        "Signing secrets, all tried: of the synchronous endpoint, of the regular one, and the old ones while rolling.",
    ),
    setting(
        Section::Stripe,
        "STRIPE_API_VERSION",
        Kind::Text("an API version: a date, perhaps with a release name"),
        "2022-08-01",
        "2026-07-29.dahlia",
        "The `Stripe-Version` header of replies and of calls to Stripe's API. Stripe ignores a reply with a version that it does not know.",
    ),
    secret(
        Section::Stripe,
        "STRIPE_API_KEY",
        Kind::Text("a secret or restricted key (`sk_…`, `rk_…`)"),
        "Stripe's API is not called",
        "rk_live_with_access_to_issuing",
        "The key to Stripe's API, for `tollgate reconcile` and for answers over the API. A restricted key needs to read Issuing and events, and to write authorizations where answers go over the API.",
    ),
    setting(
        Section::Stripe,
        "STRIPE_API_BASE",
        Kind::Text("`https://` and a host, or, with a test key, `http://`"),
        "https://api.stripe.com",
        "http://127.0.0.1:12111",
        "Where Stripe's API is.",
    ),
    optional(
        Section::Stripe,
        "STRIPE_API_CA",
        Kind::Text("the path of a PEM file with certificates"),
        "the authorities that browsers trust",
        "/etc/ssl/proxy-ca.pem",
        "The certificate authorities that Stripe's API is believed by, in place of the built-in ones: for a proxy that opens what goes out.",
    ),
    setting(
        Section::Stripe,
        "TOLLGATE_API_CALLS_PER_SECOND",
        Kind::Count { min: 1, max: 1_000 },
        "20",
        "50",
        "How many calls `tollgate reconcile` makes a second at most. Stripe allows about 25 with a test key and 100 with a live one, all programs together.",
    ),
    setting(
        Section::Stripe,
        "TOLLGATE_ANSWER_BY",
        Kind::Text("`direct`, `api`, or `split:` with 0 to 100, how many in a hundred are answered directly"),
        "direct",
        "split:10",
        "How answers go to Stripe: `direct`, as the reply to the webhook; `api`, Stripe's older way, by approving or declining over its API before the reply; `split:10` answers 10 in 100 authorizations directly, always the same ones, and the rest over the API. Where the API does not take an answer in time, the reply is the answer.",
    ),
    setting(
        Section::Stripe,
        "TOLLGATE_SIGNATURE_TOLERANCE",
        Kind::Span { min: SECOND, max: HOUR },
        "300s",
        "300s",
        "How far a signature's time may be from this machine's clock, either way.",
    ),
    setting(
        Section::Stripe,
        "TOLLGATE_REPLY_METADATA",
        Kind::Switch,
        "true",
        "false",
        "Whether a reply carries the decision's id and reason; Stripe keeps them in the authorization's metadata.",
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
        "The policy file. It is read again when it changes; see `tollgate check`.",
    ),
    optional(
        Section::Policy,
        "TOLLGATE_CARD_LIMIT_PER_AUTHORIZATION",
        Kind::Amount,
        NO_LIMIT,
        "20_000",
        "The most that one authorization with all its increments may hold, on every card, in the card's currency.",
    ),
    optional(
        Section::Policy,
        "TOLLGATE_CARD_LIMIT_DAILY",
        Kind::Amount,
        "50000 where neither a policy nor any other limit is given",
        "50_000",
        "The most that a card may spend a day (UTC).",
    ),
    optional(
        Section::Policy,
        "TOLLGATE_CARD_LIMIT_WEEKLY",
        Kind::Amount,
        NO_LIMIT,
        "200_000",
        "The most that a card may spend a week, from Sunday (UTC).",
    ),
    optional(
        Section::Policy,
        "TOLLGATE_CARD_LIMIT_MONTHLY",
        Kind::Amount,
        NO_LIMIT,
        "500_000",
        "The most that a card may spend a calendar month (UTC).",
    ),
    optional(
        Section::Policy,
        "TOLLGATE_CARD_LIMIT_YEARLY",
        Kind::Amount,
        NO_LIMIT,
        "5_000_000",
        "The most that a card may spend a calendar year (UTC).",
    ),
    optional(
        Section::Policy,
        "TOLLGATE_CARD_LIMIT_ALL_TIME",
        Kind::Amount,
        NO_LIMIT,
        "10_000_000",
        "The most that a card may spend in its life.",
    ),
    optional(
        Section::Policy,
        "TOLLGATE_CARD_VELOCITY",
        Kind::Text("counts and spans of s, m, h or d, with commas between them"),
        NO_LIMIT,
        "10/1h,50/24h",
        "How many approvals a card gets in sliding windows.",
    ),
    setting(
        Section::Http,
        "TOLLGATE_LISTEN",
        Kind::Address,
        "127.0.0.1:4242",
        "0.0.0.0:4242",
        "Where `POST /webhook` is answered, and nothing else.",
    ),
    setting(
        Section::Http,
        "TOLLGATE_ANSWER_WITHIN",
        Kind::Span { min: millis(1), max: millis(1_900) },
        "1200ms",
        "1500ms",
        "How long after its headers were read a verified request is answered at the latest. Stripe waits 2 seconds, the network's way included.",
    ),
    optional(
        Section::Http,
        "TOLLGATE_LIVEMODE",
        Kind::Text("`true` or `false`"),
        "what the first event in the books says, and then no other",
        "true",
        "Whether real money moves here. Events of the other mode are refused.",
    ),
    setting(
        Section::Http,
        "TOLLGATE_CONNECTIONS_MAX",
        Kind::Count { min: 1, max: 1_000_000 },
        "16_384",
        "5_000",
        "Open connections on the webhook's port. The system's limit of open files must be higher.",
    ),
    setting(
        Section::Http,
        "TOLLGATE_HEADER_BYTES_MAX",
        Kind::Bytes { min: 8 << 10, max: 1 << 20 },
        "32KiB",
        "64KiB",
        "All headers of one request.",
    ),
    setting(
        Section::Http,
        "TOLLGATE_BODY_BYTES_MAX",
        Kind::Bytes { min: 16 << 10, max: 16 << 20 },
        "1MiB",
        "4MiB",
        "The body of one request. Most events have 4 to 8 KiB; an authorization that lists captures with long receipts has hundreds of KiB. A proxy in front needs the same limit.",
    ),
    setting(
        Section::Http,
        "TOLLGATE_HEADER_READ_TIMEOUT",
        Kind::Span { min: millis(10), max: MINUTE },
        "5s",
        "2s",
        "How long a request's headers may take, from their first byte.",
    ),
    setting(
        Section::Http,
        "TOLLGATE_IDLE_TIMEOUT",
        Kind::Span { min: millis(10), max: HOUR },
        "90s",
        "75s",
        "How long a connection may wait for its next request. Behind a load balancer: longer than its own idle time, so that it never sends into a closing connection.",
    ),
    setting(
        Section::Http,
        "TOLLGATE_BODY_READ_TIMEOUT",
        Kind::Span { min: millis(10), max: MINUTE },
        "1s",
        "2s",
        "How long a body may take after its headers.",
    ),
    setting(
        Section::Http,
        "TOLLGATE_WRITE_TIMEOUT",
        Kind::Span { min: millis(10), max: MINUTE },
        "5s",
        "2s",
        "How long a reply may find no room at its client.",
    ),
    setting(
        Section::Http,
        "TOLLGATE_DRAIN_TIMEOUT",
        Kind::Span { min: millis(10), max: HOUR },
        "5s",
        "10s",
        "How long what is in flight may take when the node ends, after `TOLLGATE_DRAIN_DELAY`.",
    ),
    setting(
        Section::Overload,
        "TOLLGATE_STAND_IN",
        Kind::Text(
            "`decline`, or `approve:` with the most minor units and how often, such as `approve:5000x3`, or one of them for each of overload, deadline and journal",
        ),
        "decline",
        "overload=decline,deadline=approve:2000x3,journal=decline",
        "What is answered where a decision cannot be made: more work than fits, too late, or no journal. `approve:5000x3` approves up to 5000 minor units of the request's currency, at most 3 requests of a card in a day (UTC) by each node; without `x` it is 3. What needs no ledger is checked: the policy's lists and limits on an empty history, a paused or inactive card, the currency; and what was declined in memory stays declined. A cause that is not named is declined.",
    ),
    setting(
        Section::Overload,
        "TOLLGATE_IN_FLIGHT_MAX",
        Kind::Count { min: 1, max: 1_000_000 },
        "10_000",
        "20_000",
        "Requests inside the node. One more is answered by stand-in.",
    ),
    setting(
        Section::Overload,
        "TOLLGATE_CARD_QUEUE_MAX",
        Kind::Count { min: 1, max: 100_000 },
        "64",
        "256",
        "Requests waiting at one card. One more is answered by stand-in.",
    ),
    setting(
        Section::Overload,
        "TOLLGATE_CARD_IDLE_AFTER",
        Kind::Span { min: millis(1), max: Duration::from_hours(168) },
        "5m",
        "1h",
        "How long a card without requests stays in memory.",
    ),
    setting(
        Section::Overload,
        "TOLLGATE_CARDS_RESIDENT_MAX",
        Kind::Count { min: 1, max: 100_000_000 },
        "100_000",
        "1_000_000",
        "Cards in memory, some 10 KB each. Above it the longest idle ones leave.",
    ),
    setting(
        Section::Overload,
        "TOLLGATE_LOADS_MAX",
        Kind::Count { min: 1, max: 10_000 },
        "64",
        "128",
        "Cards that are read from the journal at the same time.",
    ),
    setting(
        Section::Overload,
        "TOLLGATE_UNCONFIRMED_AFTER",
        Kind::Span { min: millis(1), max: Duration::from_hours(168) },
        "15m",
        "5m",
        "An answer that no event of Stripe's has spoken of for so long shows up in `/v1/unconfirmed` and in a gauge.",
    ),
    setting(
        Section::Overload,
        "TOLLGATE_UNCONFIRMED_MAX",
        Kind::Count { min: 1, max: 10_000_000 },
        "100_000",
        "10_000",
        "Answers that are watched for Stripe's confirmation; more than that are not watched.",
    ),
    setting(
        Section::Journal,
        "TOLLGATE_JOURNAL",
        Kind::Text(
            "`sqlite:` with the path of a file, `postgres://USER:PASSWORD@HOST:PORT/DATABASE`, or `memory:`",
        ),
        "sqlite:./data/tollgate.db",
        "sqlite:/var/lib/tollgate/tollgate.db",
        "Where decisions are kept. `memory:` forgets everything at exit. A database may be reached over TLS: `?sslmode=require`, and `sslrootcert=` with the PEM file of its authority where that is no public one.",
    ),
    setting(
        Section::Journal,
        "TOLLGATE_JOURNAL_BATCH_MAX",
        Kind::Count { min: 1, max: 65_536 },
        "512",
        "1_024",
        "Appends in one commit.",
    ),
    setting(
        Section::Admin,
        "TOLLGATE_ADMIN_LISTEN",
        Kind::Address,
        "127.0.0.1:9464",
        "0.0.0.0:9464",
        "Where `/livez`, `/readyz`, `/metrics` and `/v1` are served. Anything but a loopback address needs a token.",
    ),
    secret(
        Section::Admin,
        "TOLLGATE_ADMIN_TOKEN",
        Kind::Text("visible ASCII characters without spaces"),
        "`/v1` is open, on a loopback address only",
        "a-long-random-text",
        "What callers of `/v1` send as `Authorization: Bearer …`.",
    ),
    setting(
        Section::Log,
        "TOLLGATE_LOG",
        Kind::Text("`error`, `warn`, `info`, `debug`, `trace` or `off`, or directives"),
        "info",
        "info,tollgate::journal=debug",
        "What is logged. Declines are `info`, approvals `debug`.",
    ),
    optional(
        Section::Log,
        "TOLLGATE_LOG_FORMAT",
        Kind::Word(&["pretty", "json"]),
        "`pretty` on a terminal, else `json`",
        "json",
        "How log lines look.",
    ),
    optional(
        Section::Log,
        "TOLLGATE_TRACES_ENDPOINT",
        Kind::Text("`http://`, a host and a port, without a path"),
        "no spans are sent",
        "http://127.0.0.1:4318",
        "An OpenTelemetry collector that takes OTLP over HTTP as JSON. It gets a span for each decision whose request has a `traceparent` that is sampled.",
    ),
    setting(
        Section::Log,
        "TOLLGATE_DRAIN_DELAY",
        Kind::Span { min: Duration::ZERO, max: HOUR },
        "5s",
        "15s",
        "How long requests are still taken after SIGTERM has turned `/readyz` off, so that the load balancer sees it first.",
    ),
    setting(
        Section::Cluster,
        "TOLLGATE_NODE_ID",
        Kind::Text("1 to 64 letters, digits, `-`, `_` or `.`"),
        "local",
        "node-a",
        "The name of this node, shown as the owner of a card. In a cluster each node has its own, the same after a restart.",
    ),
    optional(
        Section::Cluster,
        "TOLLGATE_PEER_LISTEN",
        Kind::Address,
        NO_CLUSTER,
        "10.0.0.5:4243",
        "Where other nodes are answered, by TLS in which both sides prove the keys that the member table has of them. With it the node joins the cluster of those that share its PostgreSQL journal.",
    ),
    optional(
        Section::Cluster,
        "TOLLGATE_PEER_ADDRESS",
        Kind::Text("a host or an IP address, and a port"),
        "`TOLLGATE_PEER_LISTEN`",
        "tollgate-a.internal:4243",
        "Where other nodes reach this one, where that is not the address that it listens on.",
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
        "How long the node that owns a card may take for a forwarded request, and at most half of the time that is left. After that the node that was asked decides. An owner that answers others meanwhile is slow, and not gone: it may take the half in any case.",
    ),
];
