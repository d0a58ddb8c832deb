//! A proxy between Stripe and a node that breaks one promise on purpose: the proof that the auditor can fail a run. For
//! tests; an honest load test has nothing to do with it.
#![allow(clippy::indexing_slicing, reason = "a JSON value that lacks a name gives null for it")]

use std::{
    collections::HashSet,
    convert::Infallible,
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError, mpsc::sync_channel},
    thread,
};

use http_body_util::{BodyExt as _, Full};
use hyper::{
    Request, Response, StatusCode,
    body::{Bytes, Incoming},
    client, header,
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::oneshot,
};

/// How it lies, about every third authorization.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lie {
    /// Declines become approvals.
    Approves,
    /// Approvals become declines.
    Declines,
    /// Approvals name twice the amount.
    Doubles,
    /// The second answer to a question is another one.
    ChangesItsMind,
    /// The answer never comes, and what Stripe decided instead never gets to the node.
    HidesTimeouts,
    /// Captures and refunds never get to the node.
    HidesTransactions,
    /// The approval is invented: the node is never asked.
    Invents,
    /// Bad signatures are as good as any.
    TakesForgeries,
    /// Before an admin API: what remains of a limit is told as one less.
    UnderstatesWhatRemains,
    /// The same of budgets and their balances only.
    UnderstatesBudgets,
    /// Before an admin API: decisions lack the last account that was looked at.
    ForgetsALeg,
}

/// The running proxy. Dropped, it stops.
pub struct Liar {
    address: SocketAddr,
    _stop: oneshot::Sender<()>,
}

struct Scheme {
    node: SocketAddr,
    lie: Lie,
    /// Questions that were answered: the bodies of their events without what differs from one event to the next.
    answered: Mutex<HashSet<String>>,
    /// Authorizations whose answer never came.
    hidden: Mutex<HashSet<String>>,
}

impl Liar {
    /// Stands before a node.
    ///
    /// # Errors
    /// The system has no port or no thread for it.
    pub fn start(node: SocketAddr, lie: Lie) -> io::Result<Self> {
        let (stop, stopped) = oneshot::channel::<()>();
        let (tell, told) = sync_channel(1);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        thread::spawn(move || {
            runtime.block_on(async {
                let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
                let _ = tell.try_send(listener.as_ref().ok().and_then(|listener| listener.local_addr().ok()));
                let scheme = Scheme { node, lie, answered: Mutex::default(), hidden: Mutex::default() };
                if let Ok(listener) = listener {
                    tokio::select! {
                        () = serve(listener, Arc::new(scheme)) => {}
                        _ = stopped => {}
                    }
                }
            });
        });
        let address = told.recv().ok().flatten().ok_or_else(|| io::Error::other("the proxy has no port"))?;
        Ok(Self { address, _stop: stop })
    }

    /// Where it takes webhooks.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

async fn serve(listener: TcpListener, scheme: Arc<Scheme>) {
    while let Ok((stream, _)) = listener.accept().await {
        let scheme = Arc::clone(&scheme);
        let _ = stream.set_nodelay(true);
        tokio::spawn(async move {
            let service = service_fn(|request| {
                let scheme = Arc::clone(&scheme);
                async move { Ok::<_, Infallible>(scheme.answer(request).await) }
            });
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

impl Scheme {
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        let event: Value = serde_json::from_slice(&body).unwrap_or_default();
        let object = &event["data"]["object"];
        let kind = event["type"].as_str().unwrap_or_default();
        let authorization = match kind {
            "issuing_transaction.created" => object["authorization"].as_str(),
            _ => object["id"].as_str(),
        };
        let authorization = authorization.unwrap_or_default().to_owned();
        let is_question = kind == "issuing_authorization.request";
        let is_chosen = authorization.bytes().last().is_some_and(|digit| digit.is_multiple_of(3));
        if is_chosen {
            let hides = match self.lie {
                Lie::HidesTransactions => {
                    kind == "issuing_transaction.created"
                        || (!is_question && !object["transactions"].as_array().is_none_or(Vec::is_empty))
                }
                Lie::HidesTimeouts => !is_question && lock(&self.hidden).contains(&authorization),
                _ => false,
            };
            if hides {
                return reply(&json!({"received": true}));
            }
            if is_question && self.lie == Lie::Invents {
                return reply(&json!({"approved": true}));
            }
        }
        let path = head.uri.path().to_owned();
        let forwarded = Request::from_parts(head, Full::new(body));
        let Ok(answer) = forward(self.node, forwarded).await else {
            let mut failed = Response::new(Full::default());
            *failed.status_mut() = StatusCode::BAD_GATEWAY;
            return failed;
        };
        match self.lie {
            Lie::UnderstatesWhatRemains => return changed(answer, understate).await,
            Lie::UnderstatesBudgets if path.starts_with("/v1/budgets/") => {
                return changed(answer, understate).await;
            }
            Lie::ForgetsALeg if path.starts_with("/v1/authorizations/") => {
                return changed(answer, forget_a_leg).await;
            }
            _ => {}
        }
        let was_refused = answer.status() == StatusCode::BAD_REQUEST;
        if was_refused && self.lie == Lie::TakesForgeries {
            return reply(&json!({"approved": true}));
        }
        if !is_question || !is_chosen || was_refused {
            return answer;
        }
        let question = format!("{authorization} {} {}", object["request_history"], object["pending_request"]);
        self.twist(answer, authorization, question, object).await
    }

    /// The lie about the answer to a question.
    async fn twist(
        &self,
        answer: Response<Full<Bytes>>,
        authorization: String,
        question: String,
        object: &Value,
    ) -> Response<Full<Bytes>> {
        let (head, body) = answer.into_parts();
        let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        let mut said: Value = serde_json::from_slice(&body).unwrap_or_default();
        let is_first = lock(&self.answered).insert(question);
        match self.lie {
            Lie::Approves => said = json!({"approved": true}),
            Lie::Declines => said = json!({"approved": false}),
            Lie::Doubles
                if said["approved"] == true
                    && object["pending_request"]["is_amount_controllable"] == true =>
            {
                let asked = object["pending_request"]["amount"].as_i64().unwrap_or_default();
                said["amount"] = asked.saturating_mul(2).into();
            }
            Lie::ChangesItsMind if !is_first => said["metadata"]["tollgate_decision"] = "dec_another".into(),
            Lie::HidesTimeouts => {
                lock(&self.hidden).insert(authorization);
                return std::future::pending().await;
            }
            Lie::Doubles
            | Lie::ChangesItsMind
            | Lie::HidesTransactions
            | Lie::Invents
            | Lie::TakesForgeries
            | Lie::UnderstatesWhatRemains
            | Lie::UnderstatesBudgets
            | Lie::ForgetsALeg => return Response::from_parts(head, Full::new(body)),
        }
        reply(&said)
    }
}

/// What an admin API says, with something else in it.
async fn changed(answer: Response<Full<Bytes>>, change: fn(&mut Value)) -> Response<Full<Bytes>> {
    let (head, body) = answer.into_parts();
    let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    match serde_json::from_slice::<Value>(&body) {
        Ok(mut told) if head.status == StatusCode::OK => {
            change(&mut told);
            reply(&told)
        }
        _ => Response::from_parts(head, Full::new(body)),
    }
}

/// Less is left of limits and balances than there is.
fn understate(told: &mut Value) {
    let less = |value: &mut Value| *value = value.as_i64().unwrap_or_default().saturating_sub(1).into();
    for limit in told.get_mut("limits").and_then(Value::as_array_mut).into_iter().flatten() {
        less(&mut limit["remaining"]);
    }
    if let Some(available) = told.get_mut("available").filter(|available| available.is_i64()) {
        less(available);
    }
}

fn forget_a_leg(told: &mut Value) {
    for decision in told.get_mut("decisions").and_then(Value::as_array_mut).into_iter().flatten() {
        decision.get_mut("legs").and_then(Value::as_array_mut).map(Vec::pop);
    }
}

/// What the node itself answers.
async fn forward(node: SocketAddr, request: Request<Full<Bytes>>) -> io::Result<Response<Full<Bytes>>> {
    let stream = TcpStream::connect(node).await?;
    let (mut sender, connection) =
        client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    tokio::spawn(connection);
    let (head, body) = sender.send_request(request).await.map_err(io::Error::other)?.into_parts();
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    Ok(Response::from_parts(head, Full::new(body)))
}

fn reply(body: &Value) -> Response<Full<Bytes>> {
    let mut reply = Response::new(Full::new(Bytes::from(body.to_string())));
    let headers = reply.headers_mut();
    headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    headers.insert("stripe-version", header::HeaderValue::from_static("2022-08-01"));
    reply
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
