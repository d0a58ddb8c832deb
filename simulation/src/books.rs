//! The ledger at the end, as the admin API tells it, read before the auditor asks.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use tollgate::{
    cluster::Cluster,
    domain::{AuthorizationId, CardId},
    http::Books,
};
use tollgate_loadtest::admin;

/// What the admin API answers, by path.
#[derive(Default)]
pub(crate) struct Read(BTreeMap<String, Value>);

impl Read {
    pub(crate) async fn card(&mut self, cluster: &Cluster, id: &str) {
        let body = Books::card(cluster, CardId::new(id).unwrap()).await;
        self.keep(format!("/v1/cards/{id}"), body.ok().flatten());
    }

    pub(crate) async fn authorization(&mut self, cluster: &Cluster, id: &str) {
        let body = Books::authorization(cluster, AuthorizationId::new(id).unwrap()).await;
        self.keep(format!("/v1/authorizations/{id}"), body.ok().flatten());
    }

    fn keep(&mut self, path: String, body: Option<impl Serialize>) {
        if let Some(body) = body {
            self.0.insert(path, serde_json::to_value(body).unwrap());
        }
    }
}

impl admin::Books for Read {
    fn read(&mut self, path: &str) -> Result<Option<Value>, String> {
        Ok(self.0.get(path).cloned())
    }
}
