//! Decisions as spans for a collector of OpenTelemetry, where one is set: those of requests whose `traceparent` says that
//! their trace is kept. OTLP over HTTP as JSON, <https://opentelemetry.io/docs/specs/otlp/>. Answers never wait for it:
//! what the collector does not take in time is left out, and counted.

use std::{sync::Arc, time::Duration};

use http_body_util::Full;
use hyper::{
    Method, Request, Uri,
    body::Bytes,
    header::{CONTENT_TYPE, HeaderValue},
};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::{slow::DecisionTimes, trace::TraceParent};
use crate::{
    clock,
    log::Seldom,
    metrics::{Export, Metrics},
};

/// How many spans wait at most.
const WAITING_MAX: usize = 2_048;
/// How many go at once at most.
const BATCH_MAX: usize = 512;
/// How long the collector may take.
const EXPORT_WITHIN: Duration = Duration::from_secs(5);

/// Where spans go: a collector's address.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Collector(Uri);

impl Collector {
    /// Takes `http://`, a host and a port, of a collector nearby: what leaves is not encrypted.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let uri: Uri = text.strip_suffix('/').unwrap_or(text).parse().ok()?;
        let authority = uri.authority()?.as_str();
        let is_plain = uri.scheme_str() == Some("http") && !authority.contains('@') && uri.path() == "/";
        let traces = format!("http://{authority}/v1/traces");
        if is_plain && uri.query().is_none() { traces.parse().ok().map(Self) } else { None }
    }
}

/// Takes spans. Cheap to clone.
#[derive(Clone)]
pub struct Spans {
    queue: mpsc::Sender<(TraceParent, DecisionTimes)>,
    metrics: Arc<Metrics>,
}

/// Brings them to the collector.
pub struct Exporter {
    collector: Collector,
    node_id: String,
    queue: mpsc::Receiver<(TraceParent, DecisionTimes)>,
    metrics: Arc<Metrics>,
    odd: Seldom,
}

impl Spans {
    /// For this collector. `Exporter::run` has to be run beside it.
    #[must_use]
    pub fn to(collector: Collector, node_id: &str, metrics: &Arc<Metrics>) -> (Self, Exporter) {
        let (sender, queue) = mpsc::channel(WAITING_MAX);
        let told = || Arc::clone(metrics);
        let exporter = Exporter {
            collector,
            node_id: node_id.to_owned(),
            queue,
            metrics: told(),
            odd: Seldom::default(),
        };
        (Self { queue: sender, metrics: told() }, exporter)
    }

    /// Takes a decision, if its trace is kept and there is room.
    pub(super) fn tell(&self, trace: TraceParent, write: impl FnOnce() -> DecisionTimes) {
        if !trace.is_sampled() {
            return;
        }
        match self.queue.try_reserve() {
            Ok(place) => place.send((trace, write())),
            Err(_) => self.metrics.node.spans.get(Export::Dropped).increment(1),
        }
    }
}

impl Exporter {
    /// Sends what is there, again and again, until nobody can tell of more. There is no timer: the next batch is what
    /// came during this one.
    pub async fn run(mut self) {
        let client = Client::builder(TokioExecutor::new()).build_http();
        let mut batch = Vec::with_capacity(BATCH_MAX);
        while self.queue.recv_many(&mut batch, BATCH_MAX).await > 0 {
            let count = u64::try_from(batch.len()).unwrap_or(u64::MAX);
            let body = body(&self.node_id, &batch);
            batch.clear();
            let is_taken = clock::timeout(EXPORT_WITHIN, self.send(&client, body)).await.unwrap_or(false);
            if !is_taken && let Some(held_back) = self.odd.turn(clock::now()) {
                tracing::warn!(
                    held_back,
                    "the collector of TOLLGATE_TRACES_ENDPOINT does not take spans: they are left out"
                );
            }
            let result = if is_taken { Export::Exported } else { Export::Dropped };
            self.metrics.node.spans.get(result).increment(count);
        }
    }

    /// Whether the collector has taken it.
    async fn send(&self, client: &Client<HttpConnector, Full<Bytes>>, body: Vec<u8>) -> bool {
        let mut request = Request::new(Full::from(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.collector.0.clone();
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        client.request(request).await.is_ok_and(|response| response.status().is_success())
    }
}

/// Spans as the protocol has them in JSON: ids in base 16, whole numbers as text.
fn body(node_id: &str, batch: &[(TraceParent, DecisionTimes)]) -> Vec<u8> {
    let spans: Vec<Value> = batch.iter().map(|(trace, times)| span(*trace, times)).collect();
    let resource = attributes(vec![
        ("service.name", json!({"stringValue": "tollgate"})),
        ("service.instance.id", json!({"stringValue": node_id})),
        ("service.version", json!({"stringValue": env!("CARGO_PKG_VERSION")})),
    ]);
    let scope = json!({"name": "tollgate", "version": env!("CARGO_PKG_VERSION")});
    let scoped = json!([{"scope": scope, "spans": spans}]);
    let all = json!({"resourceSpans": [{"resource": {"attributes": resource}, "scopeSpans": scoped}]});
    all.to_string().into_bytes()
}

fn span(trace: TraceParent, times: &DecisionTimes) -> Value {
    let began = i128::from(times.at.0.as_micros());
    let ended = began.saturating_add(i128::from(times.taken_us));
    let nanos = |micros: i128| micros.saturating_mul(1_000).to_string();
    let text = |value: &str| json!({"stringValue": value});
    let whole = |value: u32| json!({"intValue": value.to_string()});
    let stages = &times.stage_us;
    let told = vec![
        ("tollgate.decision", text(&times.decision)),
        ("tollgate.event", text(&times.event)),
        ("tollgate.authorization", text(&times.authorization)),
        ("tollgate.card", text(times.card.as_deref().unwrap_or(""))),
        ("tollgate.outcome", text(times.outcome)),
        ("tollgate.reason", text(times.reason)),
        ("tollgate.source", text(times.source)),
        ("tollgate.verify_us", whole(stages.verify)),
        ("tollgate.parse_us", whole(stages.parse)),
        ("tollgate.route_us", whole(stages.route)),
        ("tollgate.queue_us", whole(stages.queue)),
        ("tollgate.decide_us", whole(stages.decide)),
        ("tollgate.commit_us", whole(stages.commit)),
        ("tollgate.respond_us", whole(stages.respond)),
    ];
    json!({
        "traceId": trace.to_string(),
        "parentSpanId": trace.parent(),
        "spanId": format!("{:016x}", fastrand::u64(1..)),
        "name": "authorization request",
        // A server's.
        "kind": 2,
        "startTimeUnixNano": nanos(began),
        "endTimeUnixNano": nanos(ended),
        "attributes": attributes(told),
    })
}

fn attributes(pairs: Vec<(&str, Value)>) -> Value {
    pairs.into_iter().map(|(key, value)| json!({"key": key, "value": value})).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_collector_is_a_plain_address() {
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(Collector::new(text).map(|it| it.0.to_string()).as_deref(), expected, "{text}");
        };
        check("http://127.0.0.1:4318", Some("http://127.0.0.1:4318/v1/traces"));
        check("http://collector:4318/", Some("http://collector:4318/v1/traces"));
        check("https://collector:4318", None);
        check("http://user:password@collector:4318", None);
        check("http://collector:4318/v1/traces", None);
        check("http://collector:4318/?a=b", None);
        check("127.0.0.1:4318", None);
        check("", None);
    }
}
