//! What is tried beside the policy in force: the file of the setting, if there is one, and whatever the journal says.

use std::sync::Arc;

use tokio::{
    sync::{Notify, watch},
    task::JoinHandle,
};

use super::NotStarted;
use crate::{
    config::{PolicyWatch, Settings, poke_on_hangup, policy_file},
    domain::{Attribution, Policy},
    journal::{Committer, Journal},
    metrics::Metrics,
    trial::{NotSet, Parts, Trials},
};

/// What is tried beside the policy in force: the file of the setting, if there is one, and whatever the journal says.
pub(super) async fn trials(
    settings: &Settings,
    (journal, committer): (&Arc<dyn Journal>, &Arc<Committer>),
    metrics: &Arc<Metrics>,
    background: &mut Vec<JoinHandle<()>>,
) -> Result<Trials, NotStarted> {
    let parts = Parts {
        journal: Arc::clone(journal),
        committer: Arc::clone(committer),
        node: settings.cluster.node_id.as_str().into(),
        read: |text| match policy_file::read(text) {
            Ok(parsed) => Ok(parsed.policy),
            Err(mistakes) => Err(mistakes.iter().map(ToString::to_string).collect()),
        },
        metrics: Arc::clone(metrics),
        queue_max: settings.actors.in_flight_max,
        accounts_max: settings.actors.cards_resident_max,
    };
    let (trials, worker) = Trials::new(parts);
    if let Some(path) = &settings.shadow_policy {
        let (watch, mut read) = PolicyWatch::open(path, Box::new(|_| {})).await?;
        let poke = Arc::new(Notify::new());
        background.push(tokio::spawn(poke_on_hangup(Arc::clone(&poke))?));
        background.push(tokio::spawn(watch.run(poke, std::future::pending())));
        let (trials, path) = (trials.clone(), path.display().to_string());
        try_file(&trials, &mut read, &path).await;
        background.push(tokio::spawn(async move {
            while read.changed().await.is_ok() {
                try_file(&trials, &mut read, &path).await;
            }
        }));
    }
    let worker = worker.ready().await;
    background.push(tokio::spawn(worker.run()));
    Ok(trials)
}

/// Has the content of the file of `TOLLGATE_SHADOW_POLICY` tried, unless it is already.
async fn try_file(trials: &Trials, read: &mut watch::Receiver<Arc<Policy>>, path: &str) {
    let policy = Arc::clone(&read.borrow_and_update());
    let attribution = Attribution { by: "TOLLGATE_SHADOW_POLICY".into(), reason: path.into() };
    match trials.set_shadow(Some(policy.text()), attribution).await {
        Ok(()) | Err(NotSet::Already(_)) => {}
        Err(cause) => tracing::warn!(path, %cause, "the file of TOLLGATE_SHADOW_POLICY is not tried"),
    }
}
