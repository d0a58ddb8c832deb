//! Stripe's API beside its webhooks: what is asked and told there can be read here, and a node may answer here before it
//! answers the webhook. The API itself is a stub that knows nothing of load.
#![allow(clippy::indexing_slicing, reason = "a JSON value that lacks a name gives null for it")]

use std::{io, sync::mpsc::sync_channel, thread};

use serde_json::Value;
use tokio::sync::oneshot;

use crate::stripe_api::StripeApi;

/// The key that nodes use.
pub const KEY: &str = "sk_test_of_a_load_test";

/// The running API. Dropped, it stops.
pub struct Api {
    stub: StripeApi,
    _stop: oneshot::Sender<()>,
}

/// An answer that came over the API.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct OverApi {
    pub(super) approved: bool,
    pub(super) amount: Option<i64>,
    pub(super) decision: Option<String>,
    pub(super) reason: Option<String>,
}

impl Api {
    /// Serves on a free port of this machine.
    ///
    /// # Errors
    /// The system has no port or no thread for it.
    pub fn start() -> io::Result<Self> {
        let (stop, stopped) = oneshot::channel::<()>();
        let (tell, told) = sync_channel(1);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        thread::spawn(move || {
            runtime.block_on(async {
                let _ = tell.try_send(StripeApi::start(KEY).await);
                let _ = stopped.await;
            });
        });
        let stub = told.recv().map_err(io::Error::other)??;
        Ok(Self { stub, _stop: stop })
    }

    /// What stands before `/v1`.
    #[must_use]
    pub fn base_url(&self) -> String {
        self.stub.base_url()
    }

    /// Stripe asks: until it has an answer, it can be given over the API.
    pub(super) fn asks(&self, event: &[u8]) {
        let mut event: Value = serde_json::from_slice(event).unwrap_or_default();
        let _ = self.stub.put(event["data"]["object"].take());
    }

    /// Something happened: the object is as the event has it, and the event can be read.
    pub(super) fn tells(&self, event: &[u8]) {
        let event: Value = serde_json::from_slice(event).unwrap_or_default();
        let _ = self.stub.put(event["data"]["object"].clone());
        let _ = self.stub.put(event);
    }

    /// The answer to the question at this place of an authorization's history, if it came over the API.
    pub(super) fn answer(&self, authorization: &str, index: usize) -> Option<OverApi> {
        let object = self.stub.get(authorization)?;
        let entry = object["request_history"].get(index)?;
        let text = |name: &str| object["metadata"][name].as_str().map(ToOwned::to_owned);
        Some(OverApi {
            approved: entry["approved"] == true,
            amount: entry["amount"].as_i64(),
            decision: text("tollgate_decision"),
            reason: text("tollgate_reason"),
        })
    }
}
