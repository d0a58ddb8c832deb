//! Which policy is in force: the node's own, from a file or from settings, or the newest one in the journal. Each is in the journal
//! before it decides.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{Notify, watch},
    task::{JoinHandle, spawn_blocking},
};

use super::NotStarted;
use crate::{
    clock,
    config::{
        PolicySource, PolicyWatch, Reload, Settings, poke_on_hangup,
        policy_file::{self, Severity},
    },
    domain::{Policy, PolicyRecord, PolicyStep},
    http::{PolicyPort, ReadPolicy},
    journal::Policies,
    metrics::{self, Metrics},
};

/// How often a node looks whether the journal has a newer policy.
const FOLLOW_EVERY: Duration = Duration::from_millis(500);

/// The pause before a policy that could not be recorded is tried again.
const PAUSE: Duration = Duration::from_secs(1);

/// What the admin API has to know of policies.
pub(super) fn port(settings: &Settings) -> PolicyPort {
    let own = match &settings.policy_source {
        PolicySource::File(_) => Some("a policy file (TOLLGATE_POLICY)"),
        PolicySource::Environment(_) => Some("limits in TOLLGATE_CARD_*"),
        PolicySource::Journal(_) => None,
    };
    PolicyPort { read, own, needs_approval: settings.policy_needs_approval }
}

/// Reads a text as `tollgate check` does: what never does anything is a mistake.
fn read(text: &[u8]) -> Result<ReadPolicy, Vec<String>> {
    let parsed = policy_file::read_bytes(text)
        .map_err(|mistakes| mistakes.iter().map(ToString::to_string).collect::<Vec<_>>())?;
    let (warnings, mistakes): (Vec<_>, Vec<_>) =
        parsed.mistakes.iter().partition(|mistake| mistake.severity == Severity::Warning);
    let texts = |found: Vec<&policy_file::Mistake>| found.iter().map(ToString::to_string).collect();
    if mistakes.is_empty() {
        Ok(ReadPolicy { policy: parsed.policy, warnings: texts(warnings) })
    } else {
        Err(texts(mistakes))
    }
}

/// The policy in force, now and from now on.
pub(super) async fn in_force(
    source: &PolicySource,
    policies: Policies,
    metrics: &Arc<Metrics>,
    background: &mut Vec<JoinHandle<()>>,
) -> Result<watch::Receiver<Arc<Policy>>, NotStarted> {
    let poke = Arc::new(Notify::new());
    background.push(tokio::spawn(poke_on_hangup(Arc::clone(&poke))?));
    let (read, origin, step) = match source {
        PolicySource::Environment(policy) => {
            background.push(tokio::spawn(tell_of_pokes(poke)));
            (watch::channel(Arc::clone(policy)).1, "environment".to_owned(), PolicyStep::Own)
        }
        PolicySource::File(path) => {
            let told = Arc::clone(metrics);
            let observe = move |reload: &Reload| match reload {
                Reload::Published(_) => told.policy.reloads.get(metrics::Reload::Loaded).increment(1),
                Reload::Refused => told.policy.reloads.get(metrics::Reload::Refused).increment(1),
            };
            let (watch, policy) = PolicyWatch::open(path, Box::new(observe)).await?;
            background.push(tokio::spawn(watch.run(poke, std::future::pending())));
            (policy, path.display().to_string(), PolicyStep::Own)
        }
        PolicySource::Journal(default) => {
            background.push(tokio::spawn(tell_of_pokes(poke)));
            let (follower, policy) = Follower::start(policies.clone(), default, Arc::clone(metrics)).await?;
            background.push(tokio::spawn(follower.run()));
            (policy, "journal".to_owned(), PolicyStep::Followed)
        }
    };
    put_in_force(read, policies, origin, step, metrics, background).await
}

/// Publishes the newest policy in the journal.
struct Follower {
    policies: Policies,
    /// How many entries of the chain of policies were looked at.
    seen: u64,
    publish: watch::Sender<Arc<Policy>>,
    metrics: Arc<Metrics>,
}

impl Follower {
    async fn start(
        policies: Policies,
        default: &Arc<Policy>,
        metrics: Arc<Metrics>,
    ) -> Result<(Self, watch::Receiver<Arc<Policy>>), NotStarted> {
        let seen = policies.length().await?;
        let policy = newest(&policies).await?.unwrap_or_else(|| Arc::clone(default));
        let (publish, policy) = watch::channel(policy);
        Ok((Self { policies, seen, publish, metrics }, policy))
    }

    async fn run(mut self) {
        loop {
            clock::sleep(FOLLOW_EVERY).await;
            // A journal that is away cannot take an answer either, and says so itself.
            let Ok(length) = self.policies.length().await else { continue };
            if length == self.seen {
                continue;
            }
            match newest(&self.policies).await {
                Ok(newest) => {
                    self.seen = length;
                    if let Some(newest) = newest
                        && newest.version() != self.publish.borrow().version()
                    {
                        self.metrics.policy.reloads.get(metrics::Reload::Loaded).increment(1);
                        self.publish.send_replace(newest);
                    }
                }
                Err(NotStarted::Unrecorded(cause)) => {
                    tracing::warn!(%cause, "the newest policy cannot be read now; the policy stays as it is");
                }
                Err(cause) => {
                    self.seen = length;
                    self.metrics.policy.reloads.get(metrics::Reload::Refused).increment(1);
                    tracing::error!(%cause, "the newest policy in the journal cannot be used; the policy stays as it is");
                }
            }
        }
    }
}

/// The newest policy in the journal, if there is one.
async fn newest(policies: &Policies) -> Result<Option<Arc<Policy>>, NotStarted> {
    let records = policies.all().await?;
    let Some(newest) = PolicyRecord::newest(&records) else { return Ok(None) };
    let version = newest.version.as_str().to_owned();
    let unusable = |why: String| NotStarted::UnusablePolicy { version: version.clone(), why };
    let text = PolicyRecord::text_of(&records, &newest.version)
        .cloned()
        .ok_or_else(|| unusable("its text is not there".to_owned()))?;
    // A large text takes a while to read: not on a thread that decides.
    let parsed = spawn_blocking(move || policy_file::read(&text)).await;
    match parsed {
        Ok(Ok(parsed)) => Ok(Some(Arc::new(parsed.policy))),
        Ok(Err(mistakes)) => Err(unusable(mistakes.first().map_or_else(String::new, ToString::to_string))),
        Err(_) => Err(unusable("reading it was broken off".to_owned())),
    }
}

/// Names the policy in force, and its budgets, in metrics.
fn told(metrics: &Metrics, policy: &Policy) {
    metrics.policy.in_force(policy.version().as_str(), seconds_now());
    metrics.budgets.in_force(policy.budgets().iter().map(|budget| &*budget.name));
}

/// Puts each policy that was read in force, once the journal has it.
async fn put_in_force(
    mut read: watch::Receiver<Arc<Policy>>,
    policies: Policies,
    origin: String,
    step: PolicyStep,
    metrics: &Arc<Metrics>,
    background: &mut Vec<JoinHandle<()>>,
) -> Result<watch::Receiver<Arc<Policy>>, NotStarted> {
    let first = Arc::clone(&read.borrow_and_update());
    warn_of_newer(&policies, &first).await?;
    policies.put_in_force(&first, &origin, &step, clock::now()).await?;
    told(metrics, &first);
    let (publish, in_force) = watch::channel(first);
    let metrics = Arc::clone(metrics);
    background.push(tokio::spawn(async move {
        while read.changed().await.is_ok() {
            loop {
                let next = Arc::clone(&read.borrow_and_update());
                let version = next.version().clone();
                match policies.put_in_force(&next, &origin, &step, clock::now()).await {
                    Ok(()) => {
                        told(&metrics, &next);
                        publish.send_replace(next);
                        tracing::info!(version = version.as_str(), "a new policy is in force");
                        break;
                    }
                    Err(cause) => {
                        tracing::warn!(version = version.as_str(), %cause, "the new policy is not in force yet");
                        clock::sleep(PAUSE).await;
                    }
                }
            }
        }
    }));
    Ok(in_force)
}

/// A node that starts with an older policy than the journal has says so.
async fn warn_of_newer(policies: &Policies, own: &Policy) -> Result<(), NotStarted> {
    let records = policies.all().await?;
    let Some(newest) = PolicyRecord::newest(&records) else { return Ok(()) };
    let is_old = records.iter().any(|record| record.version == *own.version());
    if is_old && newest.version != *own.version() {
        let by = newest.step.attribution().map_or(&*newest.node, |attribution| &*attribution.by);
        tracing::warn!(
            version = own.version().as_str(),
            newest = newest.version.as_str(),
            at = %newest.at,
            by,
            "this node's own policy is older than the newest in the journal, and is in force here all the same"
        );
    }
    Ok(())
}

/// Without a file a hangup has nothing to reload, and must not end the node either.
async fn tell_of_pokes(poke: Arc<Notify>) {
    loop {
        poke.notified().await;
        tracing::info!("no policy file to reload");
    }
}

fn seconds_now() -> f64 {
    f64::from(u32::try_from(clock::now().as_seconds()).unwrap_or(u32::MAX))
}
