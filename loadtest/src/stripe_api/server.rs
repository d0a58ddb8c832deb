//! Sockets and routes: who may call, which fault strikes, what is done, and how it is answered.

use std::{
    collections::HashMap,
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{
    HeaderMap, Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{net::TcpListener, task::JoinSet};

use super::{
    Call, Effect, State, balance,
    books::{Given, Kind, Verdict},
    lock,
    problem::Problem,
    test_helpers,
};

/// The largest body of a call, in bytes.
const BODY_BYTES_MAX: usize = 64 * 1024;
/// How many idempotency keys are remembered; then all are forgotten, as Stripe forgets them after a day.
const REPLAYS_KEPT_MAX: usize = 100_000;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const IDEMPOTENT_REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");
const REQUEST_ID: HeaderName = HeaderName::from_static("request-id");
const STRIPE_ACCOUNT: HeaderName = HeaderName::from_static("stripe-account");
const STRIPE_VERSION: HeaderName = HeaderName::from_static("stripe-version");

/// What was answered under an idempotency key: to which call, and what.
pub(super) type Replays = HashMap<String, (Vec<(String, String)>, String, Answered)>;

/// A call's result.
pub(super) type Answered = Result<Value, Problem>;

/// Serves until its task is aborted; its connections end with it.
pub(super) async fn serve(listener: TcpListener, state: Arc<State>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let state = Arc::clone(&state);
        let _ = stream.set_nodelay(true);
        connections.spawn(async move {
            let service = service_fn(|request| handle(&state, request));
            // A connection that breaks, or is broken on command, concerns nobody else.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
        while connections.try_join_next().is_some() {}
    }
}

/// Answers one call. An error drops the connection.
async fn handle(state: &State, request: Request<Incoming>) -> io::Result<Response<Full<Bytes>>> {
    let (head, body) = request.into_parts();
    let body = Limited::new(body, BODY_BYTES_MAX).collect().await.map_err(io::Error::other)?.to_bytes();
    let text = |name: &HeaderName| head.headers.get(name).and_then(|value| value.to_str().ok());
    let encoded: &[u8] = match head.method {
        Method::POST => &body,
        _ => head.uri.query().unwrap_or_default().as_bytes(),
    };
    let mut call = Call {
        method: head.method.to_string(),
        path: head.uri.path().to_owned(),
        parameters: form_urlencoded::parse(encoded).into_owned().collect(),
        idempotency_key: text(&IDEMPOTENCY_KEY).map(ToOwned::to_owned),
        account: text(&STRIPE_ACCOUNT).map(ToOwned::to_owned),
        api_version: text(&STRIPE_VERSION).map(ToOwned::to_owned),
        status: None,
    };
    let effect = lock(&state.faults).take(&call.path);
    let (answered, is_replay) = match effect {
        Some(Effect::DropBefore) => return Err(dropped(state, call)),
        Some(Effect::Hang) => {
            state.record(call);
            std::future::pending::<()>().await;
            return Err(io::ErrorKind::TimedOut.into());
        }
        Some(Effect::RateLimited { retry_after }) => (Err(Problem::rate_limited(retry_after)), false),
        Some(Effect::ServerError(status)) => (Err(Problem::server(status)), false),
        Some(Effect::TooLate) => (Err(Problem::too_late("")), false),
        Some(Effect::Delay(span)) => {
            tokio::time::sleep(span).await;
            admitted(state, &head.headers, &call).await
        }
        Some(Effect::DropAfter) => {
            let _ = admitted(state, &head.headers, &call).await;
            return Err(dropped(state, call));
        }
        None => admitted(state, &head.headers, &call).await,
    };
    let mut response = response(&answered);
    call.status = Some(response.status().as_u16());
    let headers = response.headers_mut();
    for name in [&IDEMPOTENCY_KEY, &STRIPE_VERSION] {
        headers.extend(head.headers.get(name).map(|value| (name.clone(), value.clone())));
    }
    if is_replay {
        headers.insert(IDEMPOTENT_REPLAYED, HeaderValue::from_static("true"));
    }
    state.record(call);
    Ok(response)
}

fn dropped(state: &State, call: Call) -> io::Error {
    state.record(call);
    io::ErrorKind::ConnectionAborted.into()
}

/// Does what is asked, for whoever has the key; says whether it was done before.
async fn admitted(state: &State, headers: &HeaderMap, call: &Call) -> (Answered, bool) {
    if !is_authorized(&state.secret_key, headers) {
        return (Err(Problem::unauthorized()), false);
    }
    if let Some(account) = call.account.as_deref().filter(|account| !lock(&state.books).knows(account)) {
        return (Err(Problem::no_such_account(account)), false);
    }
    let key = call.idempotency_key.as_ref().filter(|_| call.method == "POST");
    let replay = |replays: &Replays| {
        let (parameters, path, answered) = replays.get(key?)?;
        let is_same = *parameters == call.parameters && *path == call.path;
        Some(if is_same { (answered.clone(), true) } else { (Err(Problem::other_parameters()), false) })
    };
    let remember = |replays: &mut Replays, answered: &Answered| {
        if replays.len() >= REPLAYS_KEPT_MAX {
            replays.clear();
        }
        let kept = (call.parameters.clone(), call.path.clone(), answered.clone());
        replays.extend(key.map(|key| (key.clone(), kept)));
    };
    if call.path.starts_with(test_helpers::PATH) {
        if let Some(replay) = replay(&lock(&state.replays)) {
            return replay;
        }
        let answered = test_helpers::serve(state, call).await;
        remember(&mut lock(&state.replays), &answered);
        return (answered, false);
    }
    // Held meanwhile, so that two calls with one key are done once.
    let mut replays = lock(&state.replays);
    if let Some(replay) = replay(&replays) {
        return replay;
    }
    let answered = route(state, call);
    remember(&mut replays, &answered);
    (answered, false)
}

/// The key comes as a bearer token, or as the user of basic authentication without a password.
fn is_authorized(secret_key: &str, headers: &HeaderMap) -> bool {
    let Some(given) = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()) else { return false };
    match given.split_once(' ') {
        Some(("Bearer", key)) => key == secret_key,
        Some(("Basic", encoded)) => encoded == base64(format!("{secret_key}:").as_bytes()),
        _ => false,
    }
}

fn route(state: &State, call: &Call) -> Answered {
    let account = call.account.as_deref();
    let mut books = lock(&state.books);
    if (call.method.as_str(), call.path.as_str()) == ("GET", "/v1/balance") {
        return Ok(balance::told(books.available(account)));
    }
    let Some((kind, rest)) = Kind::at(&call.path) else { return Err(unknown(call)) };
    match (call.method.as_str(), kind, rest.split_once('/')) {
        ("GET", kind, None) if rest.is_empty() => books.list(account, kind, &call.parameters),
        ("GET", kind, None) => books.find(account, kind, rest),
        ("POST", Kind::Authorization, None) if !rest.is_empty() => {
            books.update(account, rest, &given(&call.parameters)?)
        }
        ("POST", Kind::Authorization, Some((id, "approve"))) => {
            books.answer(account, id, Verdict::APPROVAL, &given(&call.parameters)?)
        }
        ("POST", Kind::Authorization, Some((id, "decline"))) => {
            let given = given(&call.parameters)?;
            if given.amount.is_some() {
                let message = "Received unknown parameter: amount";
                return Err(Problem::parameter("parameter_unknown", "amount", message));
            }
            books.answer(account, id, Verdict::DECLINE, &given)
        }
        _ => Err(unknown(call)),
    }
}

fn unknown(call: &Call) -> Problem {
    Problem::unknown_path(&call.method, &call.path)
}

/// Reads the form of an answer.
fn given(parameters: &[(String, String)]) -> Result<Given, Problem> {
    let mut given = Given::default();
    for (name, value) in parameters {
        let key = name.strip_prefix("metadata[").and_then(|rest| rest.strip_suffix(']'));
        match (name.as_str(), key) {
            (_, Some(key)) => given.metadata.push((key.to_owned(), value.clone())),
            ("amount", None) => {
                let amount = value.parse().ok().filter(|amount| *amount > 0);
                given.amount = Some(amount.ok_or_else(|| {
                    let message = format!("Invalid positive integer: {value}");
                    Problem::parameter("parameter_invalid_integer", "amount", &message)
                })?);
            }
            (name, None) if name.starts_with("expand[") => {}
            (name, None) => {
                let message = format!("Received unknown parameter: {name}");
                return Err(Problem::parameter("parameter_unknown", name, &message));
            }
        }
    }
    Ok(given)
}

fn response(answered: &Answered) -> Response<Full<Bytes>> {
    static CALLS: AtomicU64 = AtomicU64::new(0);
    let (status, body, retry_after) = match answered {
        Ok(body) => (StatusCode::OK, body, None),
        Err(problem) => (problem.status, &problem.body, problem.retry_after),
    };
    let mut response = Response::new(Full::new(Bytes::from(body.to_string())));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let number = CALLS.fetch_add(1, Ordering::Relaxed);
    if let Ok(id) = HeaderValue::from_str(&format!("req_{number:014}")) {
        headers.insert(REQUEST_ID, id);
    }
    headers.extend(retry_after.map(|seconds| (RETRY_AFTER, HeaderValue::from(seconds))));
    response
}

/// RFC 4648, section 4: one header needs it, and no library is worth that.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let at = |place: usize| u32::from(three.get(place).copied().unwrap_or(0));
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for place in 0..4_usize {
            let sextet = usize::try_from(bits >> (18_usize.saturating_sub(place.saturating_mul(6))) & 63);
            let letter = sextet.ok().and_then(|sextet| ALPHABET.get(sextet)).copied();
            text.push(if place <= three.len() { letter.map_or('=', char::from) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_as_a_bearer_or_as_a_basic_user() {
        let check = |value: &str, expected: bool| {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, value.parse().unwrap());
            assert_eq!(is_authorized("sk_test_1", &headers), expected, "{value}");
        };
        check("Bearer sk_test_1", true);
        check("Bearer sk_test_2", false);
        check("Basic c2tfdGVzdF8xOg==", true);
        check("Basic c2tfdGVzdF8x", false);
        check("sk_test_1", false);
        assert!(!is_authorized("sk_test_1", &HeaderMap::new()));
    }

    #[test]
    fn base64_is_as_the_rfc_has_it() {
        for (plain, encoded) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")]
        {
            assert_eq!(base64(plain.as_bytes()), encoded);
        }
    }
}
