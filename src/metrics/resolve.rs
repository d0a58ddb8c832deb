//! From the catalogue to handles: every series is made once, at zero, so that a graph shows 0 and not nothing.

use std::{cell::RefCell, sync::Mutex};

use metrics::{Counter, Gauge, Key, KeyName, Label as Pair, Level, Metadata, Recorder};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusRecorder};

use super::{
    Budgets, Cards, Cluster, Decisions, Exported, Family, Histogram, Journal, Kind, Metrics, Node, Outgoing,
    Policy, Shadow, Sockets, Webhook, catalogue as family,
    label::{Labels, Vocabulary},
    named::Named,
    series::{Series, Worded},
};

const METADATA: Metadata<'static> = Metadata::new("tollgate", Level::INFO, None);

/// Every handle there is.
pub(super) fn all(words: &Vocabulary) -> Metrics {
    let recorder = PrometheusBuilder::new().build_recorder();
    let resolver = Resolver { recorder, words, histograms: RefCell::default() };
    Metrics {
        webhook: resolver.webhook(),
        sockets: Sockets {
            open: resolver.series(&family::CONNECTIONS),
            accepted: resolver.series(&family::CONNECTIONS_ACCEPTED),
            cut: resolver.series(&family::CONNECTIONS_CUT),
            admin_refused: resolver.series(&family::ADMIN_REFUSED),
            accept_errors: resolver.series(&family::ACCEPT_ERRORS),
        },
        decisions: resolver.decisions(),
        budgets: Budgets {
            declines: Named::new(&family::BUDGET_DECLINES),
            used: Named::new(&family::BUDGET_USED),
            held: Named::new(&family::BUDGET_HELD),
            warn: Named::new(&family::BUDGET_WARN),
            accounts: Named::new(&family::BUDGET_ACCOUNTS),
        },
        cluster: Cluster {
            forwards: resolver.series(&family::FORWARDS),
            claims: resolver.series(&family::CLAIMS),
            hop_duration: resolver.single(&family::HOP_DURATION),
            refused: resolver.series(&family::PEER_REFUSALS),
            members: resolver.single(&family::MEMBERS),
        },
        cards: Cards {
            resident: resolver.single(&family::CARDS_RESIDENT),
            queue_longest: resolver.single(&family::QUEUE_LONGEST),
            holds_open: resolver.single(&family::HOLDS_OPEN),
            activations: resolver.series(&family::ACTIVATIONS),
            activation_duration: resolver.single(&family::ACTIVATION_DURATION),
            passivations: resolver.series(&family::PASSIVATIONS),
        },
        journal: Journal {
            commit_duration: resolver.single(&family::COMMIT_DURATION),
            batch_entries: resolver.single(&family::BATCH_ENTRIES),
            appended_bytes: resolver.single(&family::APPENDED_BYTES),
            errors: resolver.series(&family::JOURNAL_ERRORS),
            conflicts: resolver.single(&family::JOURNAL_CONFLICTS),
            expired: resolver.single(&family::JOURNAL_EXPIRED),
            oldest_append: resolver.single(&family::JOURNAL_OLDEST),
            expected_wait: resolver.single(&family::JOURNAL_WAIT),
            unknown: resolver.single(&family::JOURNAL_UNKNOWN),
            phase: resolver.series(&family::JOURNAL_PHASE),
            timeline: resolver.single(&family::JOURNAL_TIMELINE),
            standbys: resolver.single(&family::JOURNAL_STANDBYS),
            copies: resolver.single(&family::JOURNAL_COPIES),
            restored: resolver.single(&family::JOURNAL_RESTORED),
            lost: resolver.single(&family::JOURNAL_LOST),
            refused: resolver.single(&family::JOURNAL_REFUSED),
        },
        outgoing: Outgoing {
            deliveries: resolver.series(&family::DELIVERIES),
            duration: resolver.single(&family::DELIVERY_DURATION),
            endpoints: resolver.series(&family::ENDPOINTS),
            oldest: resolver.single(&family::OLDEST_EVENT),
        },
        policy: Policy {
            reloads: resolver.series(&family::POLICY_RELOADS),
            loaded: resolver.single(&family::POLICY_LOADED),
            version: Mutex::new(None),
        },
        shadow: Shadow {
            candidate: resolver.single(&family::SHADOW_CANDIDATE),
            requests: resolver.single(&family::SHADOW_REQUESTS),
            changes: resolver.series(&family::SHADOW_CHANGES),
            dropped: resolver.single(&family::SHADOW_DROPPED),
            restarted: resolver.single(&family::SHADOW_RESTARTED),
            queue: resolver.single(&family::SHADOW_QUEUE),
            accounts: resolver.single(&family::SHADOW_ACCOUNTS),
        },
        node: Node {
            ready: resolver.single(&family::READY),
            capacity: resolver.series(&family::CAPACITY),
            answer_within: resolver.single(&family::ANSWER_WITHIN),
            spans: resolver.series(&family::SPANS),
            wake_delay: resolver.single(&family::TOKIO_LATE),
        },
        exporter: resolver.recorder.handle(),
        histograms: resolver.histograms.into_inner(),
    }
}

struct Resolver<'a> {
    recorder: PrometheusRecorder,
    words: &'a Vocabulary,
    /// Ours: the exporter knows nothing of them.
    histograms: RefCell<Vec<Exported>>,
}

impl Resolver<'_> {
    fn webhook(&self) -> Webhook {
        Webhook {
            requests: self.worded(&family::WEBHOOK_REQUESTS),
            body_bytes: self.single(&family::WEBHOOK_BODY),
            signature_failures: self.worded(&family::SIGNATURE_FAILURES_TOTAL),
            secrets_used: self.series(&family::SECRETS_USED),
            refused: self.series(&family::REFUSED),
            malformed: self.worded(&family::MALFORMED),
            violations: self.worded(&family::VIOLATIONS_TOTAL),
            in_flight: self.single(&family::IN_FLIGHT),
            unbooked: self.worded(&family::UNBOOKED),
        }
    }

    fn decisions(&self) -> Decisions {
        Decisions {
            made: self.worded(&family::DECISIONS),
            limits: self.series(&family::LIMIT_DECLINES),
            duration: self.worded(&family::DECISION_DURATION),
            answers: self.series(&family::ANSWERS),
            stages: self.series(&family::STAGE_DURATION),
            unknown_groups: self.single(&family::UNKNOWN_GROUPS),
            repeats: self.single(&family::REPEATS),
            flags: self.single(&family::FLAGS),
            stripe_outcomes: self.worded(&family::STRIPE_OUTCOMES),
            unconfirmed: self.single(&family::UNCONFIRMED),
            overruns: self.single(&family::OVERRUNS),
            shed: self.series(&family::SHED),
        }
    }

    fn single<H: Handle>(&self, family: &'static Family) -> H {
        self.describe(family);
        H::register(self, family, Vec::new())
    }

    fn series<L: Labels, H: Handle>(&self, family: &'static Family) -> Series<L, H> {
        Series::new(self.rows(family), H::nowhere())
    }

    fn worded<const N: usize, H: Handle>(&self, family: &'static Family) -> Worded<N, H> {
        let words = std::array::from_fn(|place| {
            family.labels.get(place).map(|(_, values)| values.list(self.words).to_vec()).unwrap_or_default()
        });
        Worded::new(words, self.rows(family), H::nowhere())
    }

    /// A handle for each combination of values, the last label counting fastest.
    fn rows<H: Handle>(&self, family: &'static Family) -> Vec<H> {
        self.describe(family);
        let rows = family.labels.iter().fold(vec![Vec::new()], |rows, (name, values)| {
            let values = values.list(self.words);
            let longer = |row: &Vec<Pair>, value: &'static str| {
                row.iter().cloned().chain([Pair::from_static_parts(name, value)]).collect::<Vec<_>>()
            };
            rows.iter()
                .flat_map(|row| values.iter().map(|value| longer(row, value)).collect::<Vec<_>>())
                .collect()
        });
        rows.into_iter().map(|row| H::register(self, family, row)).collect()
    }

    fn describe(&self, family: &'static Family) {
        let (name, meaning) = (KeyName::from_const_str(family.name), family.meaning.into());
        match family.kind {
            Kind::Counter => self.recorder.describe_counter(name, None, meaning),
            Kind::Gauge => self.recorder.describe_gauge(name, None, meaning),
            Kind::Histogram => {}
        }
    }
}

/// What the three kinds of handles have in common.
trait Handle {
    fn register(resolver: &Resolver<'_>, family: &'static Family, labels: Vec<Pair>) -> Self;
    fn nowhere() -> Self;
}

impl Handle for Counter {
    fn register(resolver: &Resolver<'_>, family: &'static Family, labels: Vec<Pair>) -> Self {
        resolver.recorder.register_counter(&Key::from_parts(family.name, labels), &METADATA)
    }

    fn nowhere() -> Self {
        Self::noop()
    }
}

impl Handle for Gauge {
    fn register(resolver: &Resolver<'_>, family: &'static Family, labels: Vec<Pair>) -> Self {
        resolver.recorder.register_gauge(&Key::from_parts(family.name, labels), &METADATA)
    }

    fn nowhere() -> Self {
        Self::noop()
    }
}

impl Handle for Histogram {
    fn register(resolver: &Resolver<'_>, family: &'static Family, labels: Vec<Pair>) -> Self {
        let histogram = Self::new(family.unit.buckets());
        // The words of our own labels need no escapes.
        let pairs: Vec<String> =
            labels.iter().map(|pair| format!("{}=\"{}\"", pair.key(), pair.value())).collect();
        let exported = Exported { family, labels: pairs.join(","), histogram: histogram.clone() };
        resolver.histograms.borrow_mut().push(exported);
        histogram
    }

    fn nowhere() -> Self {
        Self::new(&[])
    }
}
