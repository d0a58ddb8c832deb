//! The engine under test, by its public inputs: JSON in, answers and the view of a card out.

use std::{sync::Arc, time::Duration};

use tokio::{runtime::Runtime, sync::watch};
use tollgate::{
    actors::{Directory, Parts, Settings},
    config::policy_file,
    domain::{CardId, Timestamp},
    journal::{Committer, CommitterSettings, Journal, Memory},
    metrics::Metrics,
    stripe::{self, Incoming, Reading},
    trial::Trials,
};

use crate::questions::arrival;

const SOON: Duration = Duration::from_secs(20);

pub(super) struct Engine {
    journal: Arc<dyn Journal>,
    policy: String,
    process: Process,
}

/// What a crash takes.
struct Process {
    runtime: Runtime,
    directory: Directory,
}

/// What a card's view says.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Shown {
    pub(super) used: Vec<i64>,
    pub(super) held: i64,
}

impl Engine {
    pub(super) fn new(policy: &str) -> Self {
        let journal: Arc<dyn Journal> = Arc::new(Memory::new());
        let process = Process::start(&journal, policy);
        Self { journal, policy: policy.to_owned(), process }
    }

    /// The outcome of a request; nothing where the answer is not one of the policy.
    pub(super) fn ask(&self, json: &str, now: i64) -> &'static str {
        let Process { runtime, directory } = &self.process;
        runtime.block_on(async {
            let answer = directory.ask(request(json, now), arrival(SOON)).await.answer;
            if answer.source == tollgate::domain::Source::Policy {
                answer.outcome.as_str()
            } else {
                "stand-in"
            }
        })
    }

    /// The process ends while it works on a request, after so many turns of its tasks.
    pub(super) fn crash_while_asked(&mut self, json: &str, now: i64, turns: usize) {
        let Process { runtime, directory } = &self.process;
        runtime.block_on(async {
            let asking = directory.ask(request(json, now), arrival(SOON));
            let turning = async {
                for _ in 0..turns {
                    tokio::task::yield_now().await;
                }
            };
            tokio::select! { biased; () = turning => {}, _ = asking => {} }
        });
        self.crash();
    }

    pub(super) fn book(&self, json: &str, now: i64) {
        let Process { runtime, directory } = &self.process;
        let Ok(Incoming::Observation(observation)) =
            stripe::read(json.as_bytes(), Timestamp::from_seconds(now), &Reading::default())
        else {
            panic!("not a fact: {json}");
        };
        runtime.block_on(async { directory.book(*observation, arrival(SOON)).await.unwrap() });
    }

    /// What has settled leaves memory, and the cards with it.
    pub(super) fn evict(&self) {
        let Process { runtime, directory } = &self.process;
        runtime.block_on(async {
            while directory.resident() > 0 {
                tokio::time::advance(Duration::from_secs(1)).await;
            }
        });
    }

    /// The process ends, and another starts on its journal.
    pub(super) fn crash(&mut self) {
        self.process = Process::start(&self.journal, &self.policy);
    }

    pub(super) fn show(&self, card: &str, now: i64) -> Shown {
        let Process { runtime, directory } = &self.process;
        let card = CardId::new(card).unwrap();
        let view = runtime.block_on(directory.card(&card, Timestamp::from_seconds(now))).unwrap();
        view.map_or(Shown { used: Vec::new(), held: 0 }, |view| Shown {
            used: view.limits.iter().map(|limit| limit.used).collect(),
            held: view.held,
        })
    }
}

fn request(json: &str, now: i64) -> Box<tollgate::domain::AuthorizationRequest> {
    match stripe::read(json.as_bytes(), Timestamp::from_seconds(now), &Reading::default()) {
        Ok(Incoming::Request(request)) => request,
        other => panic!("not a request: {other:?}"),
    }
}

impl Process {
    fn start(journal: &Arc<dyn Journal>, policy: &str) -> Self {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        let policy = policy_file::read(policy).unwrap_or_else(|mistakes| panic!("{mistakes:?}")).policy;
        let directory = runtime.block_on(async {
            let told = |_: usize, _: Duration| {};
            let parts = Parts {
                committer: Arc::new(Committer::new(
                    Arc::clone(journal),
                    CommitterSettings::default(),
                    Arc::new(told),
                )),
                trials: Trials::default(),
                journal: Arc::clone(journal),
                policy: watch::channel(Arc::new(policy)).1,
                metrics: Arc::new(Metrics::new(&tollgate::http::vocabulary())),
            };
            let settings = Settings { card_idle_after: Duration::from_mins(1), ..Settings::default() };
            let directory = Directory::new(settings, parts);
            tokio::spawn(directory.clone().sweep());
            directory
        });
        Self { runtime, directory }
    }
}
