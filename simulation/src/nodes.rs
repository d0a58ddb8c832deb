//! The nodes: each a directory of its own on the journal that all share, behind a disk or database that fails.

use std::{sync::Arc, time::Duration};

use tokio::sync::watch;
use tollgate::{
    actors::{Directory, Parts, Settings},
    cluster::{self, Cluster},
    domain::{Interval, Layers, Limit, Measure, Occurrence, Overrides, Policy, PolicyVersion, Window, Zone},
    http,
    journal::{Committer, CommitterSettings, Faulty, Journal, Memory, Pace, Script},
    metrics::Metrics,
    trial::Trials,
};
use tollgate_loadtest::scenario::Limits;

use crate::{Plan, budgets::Budgets};

/// How long a node may take for an answer.
pub(crate) const WITHIN: Duration = Duration::from_millis(1_200);

/// All nodes, and what they share.
pub(crate) struct Nodes {
    pub(crate) memory: Arc<Memory>,
    pub(crate) policy: Arc<Policy>,
    all: Vec<Node>,
    settings: Settings,
}

/// One of them.
pub(crate) struct Node {
    pub(crate) directory: Directory,
    pub(crate) journal: Arc<Faulty>,
    /// How often it was replaced: what was asked of one before has no answer.
    pub(crate) life: u32,
    /// How far its clock is off.
    pub(crate) skew_ms: i64,
}

impl Nodes {
    pub(crate) fn start(plan: &mut Plan) -> Self {
        let mut nodes = Self {
            memory: Arc::new(Memory::new()),
            policy: policy(&plan.scenario.limits, plan.budgets),
            all: Vec::new(),
            settings: Settings {
                is_journal_shared: plan.nodes > 1 || plan.restarts,
                card_idle_after: plan.idle_after,
                cards_resident_max: plan.resident_max,
                ..Settings::default()
            },
        };
        for number in 0..plan.nodes {
            let node = nodes.node(plan, number, 0);
            nodes.all.push(node);
        }
        nodes
    }

    fn node(&self, plan: &mut Plan, number: usize, life: u32) -> Node {
        let seed = plan.seed ^ (u64::try_from(number).unwrap() << 32) ^ (u64::from(life) << 48);
        let memory: Arc<dyn Journal> = self.memory.clone();
        let journal = Arc::new(Faulty::new(memory, Script::seeded(seed, plan.odds)));
        journal.slow_down(pace(plan));
        let skew_ms = if plan.skew_ms == 0 { 0 } else { plan.random.i64(-plan.skew_ms..=plan.skew_ms) };
        let faulty: Arc<dyn Journal> = journal.clone();
        let directory = self.directory(faulty);
        tokio::spawn(directory.clone().look_back());
        Node { directory, journal, life, skew_ms }
    }

    fn directory(&self, journal: Arc<dyn Journal>) -> Directory {
        let metrics = Arc::new(Metrics::new(&http::vocabulary()));
        let ignored = |_: usize, _: Duration| {};
        let parts = Parts {
            committer: Arc::new(Committer::new(
                Arc::clone(&journal),
                CommitterSettings::default(),
                Arc::new(ignored),
            )),
            trials: Trials::default(),
            journal,
            policy: watch::channel(Arc::clone(&self.policy)).1,
            metrics,
        };
        Directory::new(self.settings.clone(), parts)
    }

    pub(crate) fn get(&self, number: usize) -> &Node {
        &self.all[number]
    }

    pub(crate) const fn count(&self) -> usize {
        self.all.len()
    }

    /// A new process takes the place of this node. The old one is not told: it goes on writing, as one that hung does when
    /// it wakes, but nobody hears it any more.
    pub(crate) fn replace(&mut self, plan: &mut Plan, number: usize) {
        let life = self.all[number].life + 1;
        self.all[number] = self.node(plan, number, life);
    }

    /// The disk of a node is as slow or as fast as this from now on.
    pub(crate) fn change_pace(&self, plan: &mut Plan, number: usize) {
        self.all[number].journal.slow_down(pace(plan));
    }

    /// Nothing fails any more.
    pub(crate) fn heal(&self) {
        for node in &self.all {
            node.journal.heal();
            node.journal.slow_down(Pace::default());
        }
    }

    /// What a node that has just started says of the ledger.
    pub(crate) fn reader(&self) -> Cluster {
        let directory = self.directory(self.memory.clone());
        let settings =
            cluster::Settings { node_id: "reader".to_owned(), peers: None, forward_within: WITHIN };
        Cluster::of_one(directory, &settings, None, Arc::new(Metrics::new(&http::vocabulary())))
    }
}

fn pace(plan: &mut Plan) -> Pace {
    let (least, most) = plan.commit_us;
    Pace { batch: Duration::from_micros(plan.random.u64(least..most)), append: Duration::ZERO }
}

fn policy(limits: &Limits, budgets: Budgets) -> Arc<Policy> {
    let named = [
        ("per_authorization", limits.per_authorization),
        ("daily", limits.daily),
        ("all_time", limits.all_time),
    ];
    let limits = named.into_iter().filter_map(|(interval, max)| {
        let interval = Interval::parse(interval)?;
        let (measure, time_zone) = (Measure::Amount(None), Zone::UTC);
        let window = Window {
            measure,
            interval,
            time_zone,
            categories: None,
            merchants: None,
            occurrence: Occurrence::Approval,
        };
        Some(Limit { max: max?, window: Arc::new(window) })
    });
    let budgets = budgets.policies();
    let named = budgets.iter().any(|budget| &*budget.name == "person").then(|| Arc::from(["person".into()]));
    let default =
        Overrides { spending_limits: Some(limits.collect()), budgets: named, ..Overrides::default() };
    Arc::new(Policy::with_budgets(
        PolicyVersion::new("simulation"),
        budgets,
        Layers { default, ..Layers::default() },
    ))
}
