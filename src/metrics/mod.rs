//! What the node tells about itself in numbers. Rooms tell metrics; metrics never ask, and never decide anything.

mod catalogue;
mod histogram;
mod label;
mod named;
mod page;
mod process;
mod resolve;
mod series;

#[cfg(test)]
mod tests;

use std::{
    fmt::Write,
    sync::{Mutex, PoisonError},
};

use metrics::{Counter, Gauge};
use metrics_exporter_prometheus::PrometheusHandle;

pub use catalogue::{FAMILIES, Family, Kind, Unit, Values};
pub use histogram::Histogram;
pub use label::{
    AdminRefusal, Agrees, Bound, Claimed, Cut, Delivery, Done, Endpoint, Export, Forward, JournalFailure,
    JournalPhase, Label, Labels, LimitMeasure, LimitWindow, Listener, Passivation, PeerRefusal, Refusal,
    Reload, Route, STRIPE_REASONS, SecretSlot, Shed, Stage, TrialChange, Vocabulary, Way, WebhookResult,
    World,
};
pub use named::{NAMES_MAX, Named};
pub use page::{markdown, overview};
pub use series::{Series, Worded};

/// A handle for every series, made when the node starts. Telling one is an atomic addition or two.
pub struct Metrics {
    /// Stripe's requests at the door.
    pub webhook: Webhook,
    /// Connections of both listeners.
    pub sockets: Sockets,
    /// Questions and their answers.
    pub decisions: Decisions,
    /// What many cards share.
    pub budgets: Budgets,
    /// The nodes that share a journal.
    pub cluster: Cluster,
    /// Cards in memory.
    pub cards: Cards,
    /// Making entries durable.
    pub journal: Journal,
    /// Events for the endpoints of outgoing webhooks.
    pub outgoing: Outgoing,
    /// The policy in force.
    pub policy: Policy,
    /// The candidate beside it.
    pub shadow: Shadow,
    /// The node as a whole.
    pub node: Node,
    exporter: PrometheusHandle,
    /// Family by family.
    histograms: Vec<Exported>,
}

/// A histogram with the name and labels that it is exported by.
struct Exported {
    family: &'static Family,
    labels: String,
    histogram: Histogram,
}

/// Stripe's requests at the door.
pub struct Webhook {
    /// `tollgate_webhook_requests_total`: event, result.
    pub requests: Worded<2, Counter>,
    /// `tollgate_webhook_body_bytes`
    pub body_bytes: Histogram,
    /// `tollgate_signature_failures_total`
    pub signature_failures: Worded<1, Counter>,
    /// `tollgate_signature_secrets_used_total`
    pub secrets_used: Series<SecretSlot, Counter>,
    /// `tollgate_signed_requests_refused_total`
    pub refused: Series<Refusal, Counter>,
    /// `tollgate_malformed_events_total`
    pub malformed: Worded<1, Counter>,
    /// `tollgate_contract_violations_total`
    pub violations: Worded<1, Counter>,
    /// `tollgate_in_flight_requests`
    pub in_flight: Gauge,
    /// `tollgate_unbooked_events_total`
    pub unbooked: Worded<1, Counter>,
}

/// Connections of both listeners.
pub struct Sockets {
    /// `tollgate_connections`
    pub open: Series<Listener, Gauge>,
    /// `tollgate_connections_accepted_total`
    pub accepted: Series<Listener, Counter>,
    /// `tollgate_connections_cut_total`
    pub cut: Series<(Listener, Cut), Counter>,
    /// `tollgate_admin_requests_refused_total`
    pub admin_refused: Series<AdminRefusal, Counter>,
    /// `tollgate_accept_errors_total`
    pub accept_errors: Series<Listener, Counter>,
}

/// Questions and their answers.
pub struct Decisions {
    /// `tollgate_decisions_total`: outcome, reason, source.
    pub made: Worded<3, Counter>,
    /// `tollgate_limit_declines_total`
    pub limits: Series<(LimitMeasure, LimitWindow), Counter>,
    /// `tollgate_decision_duration_seconds`: outcome, route.
    pub duration: Worded<2, Histogram>,
    /// `tollgate_answers_total`
    pub answers: Series<Way, Counter>,
    /// `tollgate_stage_duration_seconds`
    pub stages: Series<Stage, Histogram>,
    /// `tollgate_unknown_group_requests_total`
    pub unknown_groups: Counter,
    /// `tollgate_repeated_questions_total`
    pub repeats: Counter,
    /// `tollgate_flagged_answers_total`
    pub flags: Counter,
    /// `tollgate_stripe_outcomes_total`: reason, agrees.
    pub stripe_outcomes: Worded<2, Counter>,
    /// `tollgate_unconfirmed_decisions`
    pub unconfirmed: Gauge,
    /// `tollgate_overruns_total`
    pub overruns: Counter,
    /// `tollgate_requests_shed_total`
    pub shed: Series<Shed, Counter>,
}

/// What many cards share, by the name of the budget.
pub struct Budgets {
    /// `tollgate_budget_declines_total`
    pub declines: Named,
    /// `tollgate_budget_used_ratio`
    pub used: Named,
    /// `tollgate_budget_held_ratio`
    pub held: Named,
    /// `tollgate_budget_warn_ratio`
    pub warn: Named,
    /// `tollgate_budget_accounts_resident`
    pub accounts: Named,
}

/// The nodes that share a journal.
pub struct Cluster {
    /// `tollgate_forwards_total`
    pub forwards: Series<Forward, Counter>,
    /// `tollgate_claims_total`
    pub claims: Series<Claimed, Counter>,
    /// `tollgate_hop_duration_seconds`
    pub hop_duration: Histogram,
    /// `tollgate_peer_connections_refused_total`
    pub refused: Series<PeerRefusal, Counter>,
    /// `tollgate_members`
    pub members: Gauge,
}

/// Cards in memory.
pub struct Cards {
    /// `tollgate_cards_resident`
    pub resident: Gauge,
    /// `tollgate_card_queue_longest`
    pub queue_longest: Gauge,
    /// `tollgate_holds_open`
    pub holds_open: Gauge,
    /// `tollgate_card_activations_total`
    pub activations: Series<Done, Counter>,
    /// `tollgate_card_activation_duration_seconds`
    pub activation_duration: Histogram,
    /// `tollgate_card_passivations_total`
    pub passivations: Series<Passivation, Counter>,
}

/// Making entries durable.
pub struct Journal {
    /// `tollgate_journal_commit_duration_seconds`
    pub commit_duration: Histogram,
    /// `tollgate_journal_batch_entries`
    pub batch_entries: Histogram,
    /// `tollgate_journal_appended_bytes_total`
    pub appended_bytes: Counter,
    /// `tollgate_journal_errors_total`
    pub errors: Series<JournalFailure, Counter>,
    /// `tollgate_journal_conflicts_total`
    pub conflicts: Counter,
    /// `tollgate_journal_expired_total`
    pub expired: Counter,
    /// `tollgate_journal_oldest_append_seconds`
    pub oldest_append: Gauge,
    /// `tollgate_journal_expected_wait_seconds`
    pub expected_wait: Gauge,
    /// `tollgate_journal_unknown_total`
    pub unknown: Counter,
    /// `tollgate_journal_phase`
    pub phase: Series<JournalPhase, Gauge>,
    /// `tollgate_journal_timeline`
    pub timeline: Gauge,
    /// `tollgate_journal_standbys`
    pub standbys: Gauge,
    /// `tollgate_journal_copies`
    pub copies: Gauge,
    /// `tollgate_journal_restored_entries_total`
    pub restored: Counter,
    /// `tollgate_journal_lost_entries_total`
    pub lost: Counter,
    /// `tollgate_journal_refused_primaries_total`
    pub refused: Counter,
}

/// Events for the endpoints of outgoing webhooks.
pub struct Outgoing {
    /// `tollgate_outgoing_deliveries_total`
    pub deliveries: Series<Delivery, Counter>,
    /// `tollgate_outgoing_delivery_duration_seconds`
    pub duration: Histogram,
    /// `tollgate_outgoing_endpoints`
    pub endpoints: Series<Endpoint, Gauge>,
    /// `tollgate_outgoing_oldest_event_seconds`
    pub oldest: Gauge,
}

/// The policy in force.
pub struct Policy {
    /// `tollgate_policy_reloads_total`
    pub reloads: Series<Reload, Counter>,
    /// `tollgate_policy_loaded_timestamp_seconds`
    pub loaded: Gauge,
    version: Mutex<Option<String>>,
}

/// The candidate beside the policy in force.
pub struct Shadow {
    /// `tollgate_shadow_candidate`
    pub candidate: Gauge,
    /// `tollgate_shadow_requests_total`
    pub requests: Counter,
    /// `tollgate_shadow_changes_total`
    pub changes: Series<(World, TrialChange), Counter>,
    /// `tollgate_shadow_dropped_total`
    pub dropped: Counter,
    /// `tollgate_shadow_restarted_accounts_total`
    pub restarted: Counter,
    /// `tollgate_shadow_queue_appends`
    pub queue: Gauge,
    /// `tollgate_shadow_accounts`
    pub accounts: Gauge,
}

/// The node as a whole.
pub struct Node {
    /// `tollgate_ready`
    pub ready: Gauge,
    /// `tollgate_capacity`
    pub capacity: Series<Bound, Gauge>,
    /// `tollgate_answer_within_seconds`
    pub answer_within: Gauge,
    /// `tollgate_trace_spans_total`
    pub spans: Series<Export, Counter>,
    /// `tokio_wake_delay_seconds`
    pub wake_delay: Histogram,
}

impl Policy {
    /// Names the policy in force, and when it was loaded, in seconds after the epoch. The name is a label with one
    /// series at a time: the one before ends.
    pub fn in_force(&self, version: &str, loaded_seconds: f64) {
        self.loaded.set(loaded_seconds);
        *self.version.lock().unwrap_or_else(PoisonError::into_inner) = Some(version.to_owned());
    }
}

impl Budgets {
    /// The policy in force declares these.
    pub fn in_force<'a>(&self, names: impl Iterator<Item = &'a str>) {
        let names: Vec<&str> = names.collect();
        for family in self.families() {
            family.name(names.iter().copied());
        }
    }

    const fn families(&self) -> [&Named; 5] {
        [&self.declines, &self.used, &self.held, &self.warn, &self.accounts]
    }
}

impl Metrics {
    /// Makes every series of the catalogue, at zero. Each node has its own: nothing here is global.
    #[must_use]
    pub fn new(words: &Vocabulary) -> Self {
        resolve::all(words)
    }

    /// Everything, in Prometheus' text format. Takes a millisecond or so: call it where blocking is fine.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = self.exporter.render();
        let mut previous = "";
        for Exported { family, labels, histogram } in &self.histograms {
            if family.name != previous {
                begin(&mut text, family);
            }
            previous = family.name;
            histogram.write(&mut text, family.name, labels);
        }
        for named in self.budgets.families() {
            named.write(&mut text);
        }
        for (family, value) in process::read() {
            begin(&mut text, family);
            let _ = writeln!(text, "{} {value}\n", family.name);
        }
        begin(&mut text, &catalogue::BUILD_INFO);
        let _ =
            writeln!(text, "{}{{version=\"{}\"}} 1\n", catalogue::BUILD_INFO.name, env!("CARGO_PKG_VERSION"));
        begin(&mut text, &catalogue::POLICY_INFO);
        let version = self.policy.version.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(version) = version {
            let version = version.replace('\\', r"\\").replace('"', "\\\"").replace('\n', "\\n");
            let _ = writeln!(text, "{}{{version=\"{version}\"}} 1", catalogue::POLICY_INFO.name);
        }
        text
    }
}

fn begin(text: &mut String, family: &Family) {
    let Family { name, meaning, kind, .. } = family;
    let _ = writeln!(text, "# HELP {name} {meaning}\n# TYPE {name} {}", kind.as_str());
}
