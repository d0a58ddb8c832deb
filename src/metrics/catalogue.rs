//! Every metric, declared once: name, type, unit, labels, meaning, and what good looks like. How that is written down
//! for people is not here.

use super::label::{
    AdminRefusal, Agrees, Bound, Claimed, Cut, Delivery, Done, Endpoint, Export, Forward, JournalFailure,
    JournalPhase, Label, LimitMeasure, LimitWindow, Listener, Passivation, PeerRefusal, Refusal, Reload,
    Route, STRIPE_REASONS, SecretSlot, Shed, Stage, TrialChange, Vocabulary, Way, WebhookResult, World,
};
use super::named::NAMES_MAX;

/// One metric with all its series.
#[derive(Debug)]
pub struct Family {
    /// What it belongs to.
    pub section: &'static str,
    /// The whole name, prefix and unit included.
    pub name: &'static str,
    /// How it counts.
    pub kind: Kind,
    /// What it counts.
    pub unit: Unit,
    /// Names and values of its labels.
    pub labels: &'static [(&'static str, Values)],
    /// What it tells.
    pub meaning: &'static str,
    /// What good looks like.
    pub good: &'static str,
}

/// How a metric counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Only upwards.
    Counter,
    /// Up and down.
    Gauge,
    /// How often, by size.
    Histogram,
}

/// What a metric counts: base units only.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unit {
    /// Time.
    Seconds,
    /// Memory or traffic.
    Bytes,
    /// Things; the name says which.
    Count,
    /// A share, of which 1 is the whole.
    Ratio,
    /// Always 1; the labels say it.
    Info,
}

impl Unit {
    /// The word in documentation.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Seconds => "seconds",
            Self::Bytes => "bytes",
            Self::Count => "count",
            Self::Ratio => "ratio",
            Self::Info => "always 1",
        }
    }

    /// The upper ends of a histogram's buckets. The service levels are 0.5 and 1.5 s: readers of a whole second
    /// would meet `le="1"` in one version of Prometheus and `le="1.0"` in the next.
    #[must_use]
    pub const fn buckets(self) -> &'static [f64] {
        match self {
            Self::Seconds => &[
                0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 1.5, 2.0, 5.0,
            ],
            Self::Bytes => &[
                1024.0,
                2048.0,
                4096.0,
                8192.0,
                16384.0,
                32768.0,
                65536.0,
                131_072.0,
                262_144.0,
                524_288.0,
                1_048_576.0,
            ],
            Self::Count | Self::Ratio | Self::Info => {
                &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0]
            }
        }
    }
}

/// The closed set of a label's values.
#[derive(Clone, Copy, Debug)]
pub enum Values {
    /// Known here.
    Here(&'static [&'static str]),
    /// Owned by another room.
    Words(fn(&Vocabulary) -> &[&'static str]),
    /// One series at a time, with the value of the moment.
    Current,
    /// The names of budgets that the policy in force declares, at most [`NAMES_MAX`], and `other`.
    Budgets,
}

impl Values {
    /// The values; none where they are not known before the program runs.
    #[must_use]
    pub fn list<'a>(&self, words: &'a Vocabulary) -> &'a [&'static str] {
        match self {
            Self::Here(list) => list,
            Self::Words(list) => list(words),
            Self::Current | Self::Budgets => &[],
        }
    }
}

impl Kind {
    /// The word in Prometheus' text format.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

impl Family {
    /// How many series it has at most.
    #[must_use]
    pub fn series(&self, words: &Vocabulary) -> usize {
        // Each bucket, and the sum, the count, and the bucket without an end.
        let each = match self.kind {
            Kind::Counter | Kind::Gauge => 1,
            Kind::Histogram => self.unit.buckets().len().saturating_add(3),
        };
        let values = self.labels.iter().map(|(_, values)| match values {
            Values::Budgets => NAMES_MAX.saturating_add(1),
            Values::Here(_) | Values::Words(_) | Values::Current => values.list(words).len().max(1),
        });
        values.fold(each, usize::saturating_mul)
    }
}

const EVENTS: Values = Values::Words(|words| &words.events);
const OUTCOMES: Values = Values::Words(|words| &words.outcomes);
const REASONS: Values = Values::Words(|words| &words.reasons);
const SOURCES: Values = Values::Words(|words| &words.sources);
const VIOLATIONS: Values = Values::Words(|words| &words.violations);
const SIGNATURE_FAILURES: Values = Values::Words(|words| &words.signature_failures);
const MALFORMED_CAUSES: Values = Values::Words(|words| &words.malformed);

const UNBOOKED_CAUSES: Values = Values::Words(|words| &words.unbooked);

const fn here<L: Label>() -> Values {
    Values::Here(L::WORDS)
}

macro_rules! families {
    ($($section:literal {
        $($id:ident = $kind:ident $unit:ident $name:literal [$($label:literal: $values:expr),*] $meaning:literal, $good:literal;)+
    })+) => {
        $($(pub(super) const $id: Family = Family {
            section: $section,
            name: $name,
            kind: Kind::$kind,
            unit: Unit::$unit,
            labels: &[$(($label, $values)),*],
            meaning: $meaning,
            good: $good,
        };)+)+

        /// Every family, in the order of a request's walk.
        pub const FAMILIES: &[&Family] = &[$($(&$id),+),+];
    };
}

families! {
    "Webhook" {
        WEBHOOK_REQUESTS = Counter Count "tollgate_webhook_requests_total" ["event": EVENTS, "result": here::<WebhookResult>()]
            "requests to the webhook, by event type and result", "only `answered`, `booked`, and `acknowledged`";
        WEBHOOK_BODY = Histogram Bytes "tollgate_webhook_body_bytes" []
            "size of request bodies", "4 to 8 KiB";
        SIGNATURE_FAILURES_TOTAL = Counter Count "tollgate_signature_failures_total" ["cause": SIGNATURE_FAILURES]
            "requests without a valid signature", "0; a steady rate means a wrong secret, or requests that are not from Stripe";
        SECRETS_USED = Counter Count "tollgate_signature_secrets_used_total" ["slot": here::<SecretSlot>()]
            "valid signatures, by position of the secret in the setting", "no increase for an old secret before you remove it";
        REFUSED = Counter Count "tollgate_signed_requests_refused_total" ["cause": here::<Refusal>()]
            "requests with a valid signature that were refused with a 4xx; for `body_too_large`, `body_late`, and `body_broken` only the form and time of the signature were checked", "0; see the runbook TollgateSignedRefused";
        MALFORMED = Counter Count "tollgate_malformed_events_total" ["cause": MALFORMED_CAUSES]
            "signed bodies that are not an event", "0";
        VIOLATIONS_TOTAL = Counter Count "tollgate_contract_violations_total" ["kind": VIOLATIONS]
            "authorization requests that violate Stripe's contract, all declined", "0; `legacy_shape`: raise the endpoint's API version";
        UNBOOKED = Counter Count "tollgate_unbooked_events_total" ["cause": UNBOOKED_CAUSES]
            "events that were acknowledged and not recorded", "only `not_ours`; other causes are missing in the ledger";
        IN_FLIGHT = Gauge Count "tollgate_in_flight_requests" []
            "webhook requests in progress", "far below the `in_flight` capacity";
    }
    "Decisions" {
        DECISIONS = Counter Count "tollgate_decisions_total" ["outcome": OUTCOMES, "reason": REASONS, "source": SOURCES]
            "decisions, one for each authorization request", "source `policy`; `stand_in` is an incident";
        LIMIT_DECLINES = Counter Count "tollgate_limit_declines_total" ["measure": here::<LimitMeasure>(), "window": here::<LimitWindow>()]
            "declines by limits, by the first limit that was exceeded", "follows the policy; look at a jump after a policy change";
        DECISION_DURATION = Histogram Seconds "tollgate_decision_duration_seconds" ["outcome": OUTCOMES, "route": here::<Route>()]
            "time from the headers of a request to its reply", "99.9 % within 0.5 s, all within 1.5 s";
        STAGE_DURATION = Histogram Seconds "tollgate_stage_duration_seconds" ["stage": here::<Stage>()]
            "time of each stage of a request", "`commit` is the longest: a few milliseconds";
        ANSWER_WITHIN = Gauge Seconds "tollgate_answer_within_seconds" []
            "the deadline for answers, `TOLLGATE_ANSWER_WITHIN`", "well below Stripe's 2 seconds";
        ANSWERS = Counter Count "tollgate_answers_total" ["way": here::<Way>()]
            "answers to authorization requests, duplicates included, by how they were sent to Stripe", "`fallback`: 0";
        UNKNOWN_GROUPS = Counter Count "tollgate_unknown_group_requests_total" []
            "authorization requests of cards whose `tollgate_group` the policy lacks", "0; see the runbook TollgateUnknownGroup";
        REPEATS = Counter Count "tollgate_repeated_questions_total" []
            "duplicate requests, which got the same answer again", "few";
        FLAGS = Counter Count "tollgate_flagged_answers_total" []
            "answers that a rule with `then: flag` marks for review, duplicates included", "as the rules intend";
        STRIPE_OUTCOMES = Counter Count "tollgate_stripe_outcomes_total" ["reason": Values::Here(STRIPE_REASONS), "agrees": here::<Agrees>()]
            "outcomes that Stripe reported, by its reason, and whether they agree with the decision", "`agrees=\"false\"` and `webhook_timeout`: 0";
        UNCONFIRMED = Gauge Count "tollgate_unconfirmed_decisions" []
            "decisions that Stripe has not confirmed within `TOLLGATE_UNCONFIRMED_AFTER`", "0";
        OVERRUNS = Counter Count "tollgate_overruns_total" []
            "times that Stripe or a merchant exceeded the approved amount", "few: force captures, tips, stand-in approvals";
        SHED = Counter Count "tollgate_requests_shed_total" ["cause": here::<Shed>()]
            "requests that were refused or got a stand-in decision because a limit was reached", "0";
    }
    "Budgets" {
        BUDGET_DECLINES = Counter Count "tollgate_budget_declines_total" ["budget": Values::Budgets]
            "declines by limits and balances of budgets, by the budget whose limit was the tightest", "as the limits intend; owners see it before cardholders call";
        BUDGET_USED = Gauge Ratio "tollgate_budget_used_ratio" ["budget": Values::Budgets]
            "usage of the limit, or balance, of which the largest share is used, sampled once a second: of budgets without `per`, on the node that has them in memory", "below 1; above it only by money that Stripe or a merchant forces";
        BUDGET_HELD = Gauge Ratio "tollgate_budget_held_ratio" ["budget": Values::Budgets]
            "open holds as a share of the smallest limit on amounts, or of the balance, sampled with `tollgate_budget_used_ratio`", "falls when purchases are captured; holds that stay keep a budget from being used";
        BUDGET_WARN = Gauge Ratio "tollgate_budget_warn_ratio" ["budget": Values::Budgets]
            "the highest share below 100 % in the `warn_at` of the policy, of budgets that are in memory", "above `tollgate_budget_used_ratio`";
        BUDGET_ACCOUNTS = Gauge Count "tollgate_budget_accounts_resident" ["budget": Values::Budgets]
            "accounts of a budget in memory, one for each key of a template, sampled once a second", "as many as are in use";
    }
    "Connections" {
        CONNECTIONS = Gauge Count "tollgate_connections" ["listener": here::<Listener>()]
            "open connections", "far below the `connections` capacity";
        CONNECTIONS_ACCEPTED = Counter Count "tollgate_connections_accepted_total" ["listener": here::<Listener>()]
            "connections accepted", "grows slowly: clients keep connections alive";
        CONNECTIONS_CUT = Counter Count "tollgate_connections_cut_total" ["listener": here::<Listener>(), "cause": here::<Cut>()]
            "connections that the node closed before the client did", "only `idle`; `evicted`: the connection limit is too low, or a client opens many";
        ADMIN_REFUSED = Counter Count "tollgate_admin_requests_refused_total" ["cause": here::<AdminRefusal>()]
            "requests to the admin port that were refused", "0; `unauthorized`: a scraper with an old token, or another caller; `wrong_host`: a web page that tries to read the ledger, or a proxy that sends its own name";
        ACCEPT_ERRORS = Counter Count "tollgate_accept_errors_total" ["listener": here::<Listener>()]
            "failures to accept a connection, for example without free file descriptors", "0";
    }
    "Cards in memory" {
        CARDS_RESIDENT = Gauge Count "tollgate_cards_resident" []
            "cards in memory", "below the `cards_resident` capacity";
        QUEUE_LONGEST = Gauge Count "tollgate_card_queue_longest" []
            "requests that wait for one card to be read from the journal, the most since the last sample, once a second", "a few; at the `card_queue` capacity requests are refused";
        HOLDS_OPEN = Gauge Count "tollgate_holds_open" []
            "authorizations with an open hold, on the cards in this node's memory; evicted cards are not counted, and a card that changed its owner may be counted by two nodes for a while", "follows the traffic; it grows if captures, reversals, and expiries do not arrive";
        ACTIVATIONS = Counter Count "tollgate_card_activations_total" ["result": here::<Done>()]
            "cards loaded from the journal", "`failed`: 0";
        ACTIVATION_DURATION = Histogram Seconds "tollgate_card_activation_duration_seconds" []
            "time to load a card from the journal", "milliseconds";
        PASSIVATIONS = Counter Count "tollgate_card_passivations_total" ["cause": here::<Passivation>()]
            "cards evicted from memory", "`idle`; `pressure` means too small a `cards_resident`; `failure`: 0";
    }
    "The journal" {
        COMMIT_DURATION = Histogram Seconds "tollgate_journal_commit_duration_seconds" []
            "one group commit, until it is durable", "p99 below 10 ms";
        BATCH_ENTRIES = Histogram Count "tollgate_journal_batch_entries" []
            "entries in a group commit", "grows with the load, and stays below the `journal_batch` capacity";
        APPENDED_BYTES = Counter Bytes "tollgate_journal_appended_bytes_total" []
            "bytes of durable entries", "about 500 per decision";
        JOURNAL_ERRORS = Counter Count "tollgate_journal_errors_total" ["kind": here::<JournalFailure>()]
            "appends that the journal rejected, and reads that failed", "0";
        JOURNAL_CONFLICTS = Counter Count "tollgate_journal_conflicts_total" []
            "appends that another node overtook", "0 on one node; few in a cluster, when cards change owners";
        JOURNAL_EXPIRED = Counter Count "tollgate_journal_expired_total" []
            "appends that were not written because they could not become durable in time", "0; more means that the journal is too slow for the load";
        JOURNAL_OLDEST = Gauge Seconds "tollgate_journal_oldest_append_seconds" []
            "age of the oldest append that is not durable, sampled once a second", "milliseconds; seconds mean that the journal hangs";
        JOURNAL_WAIT = Gauge Seconds "tollgate_journal_expected_wait_seconds" []
            "expected wait of a new decision for the journal, from the last commits, sampled once a second", "milliseconds; above two thirds of `TOLLGATE_ANSWER_WITHIN` requests get stand-in decisions at once";
        JOURNAL_UNKNOWN = Counter Count "tollgate_journal_unknown_total" []
            "appends with an unknown outcome, which were repeated", "0";
        JOURNAL_PHASE = Gauge Count "tollgate_journal_phase" ["phase": here::<JournalPhase>()]
            "1 for what the journal's database is now: it takes entries, a new timeline waits for what it lacks, or no server can be used", "`open`: 1; the others only during a failover";
        JOURNAL_TIMELINE = Gauge Count "tollgate_journal_timeline" []
            "the highest timeline of PostgreSQL that was seen; 0 for a journal in a file", "the same on every node; one more after each failover";
        JOURNAL_STANDBYS = Gauge Count "tollgate_journal_standbys" []
            "standbys that are connected to the primary", "as many as you run";
        JOURNAL_COPIES = Gauge Count "tollgate_journal_copies" []
            "servers that have an entry before it is acknowledged, the primary included", "2 or more, where a failover must lose nothing by itself";
        JOURNAL_RESTORED = Counter Count "tollgate_journal_restored_entries_total" []
            "acknowledged entries that a new primary lacked, and that this node gave back", "0; more means that a standby was promoted that was behind";
        JOURNAL_LOST = Counter Count "tollgate_journal_lost_entries_total" []
            "acknowledged entries that a new primary lacked, and that are lost", "0: a person must look";
        JOURNAL_REFUSED = Counter Count "tollgate_journal_refused_primaries_total" []
            "times that only a primary of before a failover was found, and refused", "0";
    }
    "The cluster" {
        FORWARDS = Counter Count "tollgate_forwards_total" ["result": here::<Forward>()]
            "requests forwarded to the owner of the card; without an answer from it, this node decided", "only `answered`, except for a moment when a node stops";
        CLAIMS = Counter Count "tollgate_claims_total" ["result": here::<Claimed>()]
            "answers about which this node asked the arbiter of the account before they left", "`unanswered` 0, except for a moment when a node stops: only then two nodes may answer one request differently";
        HOP_DURATION = Histogram Seconds "tollgate_hop_duration_seconds" []
            "time that forwarding added to a request: the network in both directions, and queues at both nodes", "p99 below 2 ms; above that the network is slow, or a node is short of CPU";
        PEER_REFUSALS = Counter Count "tollgate_peer_connections_refused_total" ["cause": here::<PeerRefusal>()]
            "refused connections between nodes, on either side", "0, except for a few `other_server`, `rejected`, and `broken` when a node restarts; `impostor` and `unknown_key` are not members";
        MEMBERS = Gauge Count "tollgate_members" []
            "members of the cluster as this node sees it, itself included; 0 without a cluster", "the number of nodes that you run, and the same on every node";
    }
    "Outgoing webhooks" {
        DELIVERIES = Counter Count "tollgate_outgoing_deliveries_total" ["result": here::<Delivery>()]
            "attempts to deliver an event to an endpoint of `TOLLGATE_WEBHOOKS`, by result; `given_up` after three days of attempts", "`failed` seldom, `given_up` 0";
        DELIVERY_DURATION = Histogram Seconds "tollgate_outgoing_delivery_duration_seconds" []
            "time of an attempt to deliver an event, until the endpoint has replied", "below a second; the limit is 10 s";
        ENDPOINTS = Gauge Count "tollgate_outgoing_endpoints" ["state": here::<Endpoint>()]
            "endpoints to which this node delivers events", "`failing`: 0; see the runbook TollgateEndpointFailing";
        OLDEST_EVENT = Gauge Seconds "tollgate_outgoing_oldest_event_seconds" []
            "age of the oldest event that an endpoint of this node has not taken; 0 if there is none", "seconds";
    }
    "Shadow" {
        SHADOW_CANDIDATE = Gauge Count "tollgate_shadow_candidate" []
            "whether this node tries a policy beside the one in force", "1 during a trial, on every node";
        SHADOW_REQUESTS = Counter Count "tollgate_shadow_requests_total" []
            "decisions of this node that the candidate has decided too", "the rate of decisions, while a candidate is tried";
        SHADOW_CHANGES = Counter Count "tollgate_shadow_changes_total" ["world": here::<World>(), "change": here::<TrialChange>()]
            "answers that the candidate would change, on the history that there was (`happened`) and on the one that it would have made (`gone`)",
            "what you expect of the candidate";
        SHADOW_DROPPED = Counter Count "tollgate_shadow_dropped_total" []
            "appends that were not compared with the candidate: the queue was full, or an account could not be read", "0";
        SHADOW_RESTARTED = Counter Count "tollgate_shadow_restarted_accounts_total" []
            "accounts on which the candidate began again from their state, after an append of another node or a dropped one",
            "near 0 on one node";
        SHADOW_QUEUE = Gauge Count "tollgate_shadow_queue_appends" []
            "appends that wait to be compared with the candidate", "what is appended in half a second";
        SHADOW_ACCOUNTS = Gauge Count "tollgate_shadow_accounts" []
            "accounts of the candidate in memory", "below `TOLLGATE_CARDS_RESIDENT_MAX`";
    }
    "Policy and node" {
        POLICY_RELOADS = Counter Count "tollgate_policy_reloads_total" ["result": here::<Reload>()]
            "new policies, from the file or the journal", "`refused`: 0";
        POLICY_LOADED = Gauge Seconds "tollgate_policy_loaded_timestamp_seconds" []
            "when the policy in force was loaded", "your last change";
        POLICY_INFO = Gauge Info "tollgate_policy_info" ["version": Values::Current]
            "the policy in force", "the same on every node";
        CAPACITY = Gauge Count "tollgate_capacity" ["bound": here::<Bound>()]
            "the limits in force, in the unit of their name", "usage stays far below";
        READY = Gauge Count "tollgate_ready" []
            "1 while the node is ready for traffic", "1";
        SPANS = Counter Count "tollgate_trace_spans_total" ["result": here::<Export>()]
            "spans for the collector at `TOLLGATE_TRACES_ENDPOINT`, by result", "`dropped`: 0";
        BUILD_INFO = Gauge Info "tollgate_build_info" ["version": Values::Current]
            "the version of the program", "the same on every node";
    }
    "Process and runtime" {
        PROCESS_START = Gauge Seconds "process_start_time_seconds" []
            "when the process started", "as you expect";
        PROCESS_CPU = Counter Seconds "process_cpu_seconds_total" []
            "CPU time used", "a rate below the number of cores";
        PROCESS_MEMORY = Gauge Bytes "process_resident_memory_bytes" []
            "memory in use", "about 10 KiB for each resident card";
        PROCESS_FDS = Gauge Count "process_open_fds" []
            "open file descriptors", "below `process_max_fds`";
        PROCESS_FDS_MAX = Gauge Count "process_max_fds" []
            "how many file descriptors the process may open", "above the `connections` capacity by 100";
        PROCESS_THREADS = Gauge Count "process_threads" []
            "threads", "steady";
        TOKIO_WORKERS = Gauge Count "tokio_workers" []
            "worker threads of the runtime", "the number of cores";
        TOKIO_BUSY = Counter Seconds "tokio_worker_busy_seconds_total" []
            "time that worker threads spent running tasks", "a rate below 0.8 for each worker";
        TOKIO_LATE = Histogram Seconds "tokio_wake_delay_seconds" []
            "how late a timer of the runtime fires, sampled ten times a second", "1 to 2 ms, the resolution of the timer; more means that tasks wait for a worker";
        TOKIO_TASKS = Gauge Count "tokio_alive_tasks" []
            "tasks of the runtime", "connections and resident cards, and a few";
        TOKIO_QUEUE = Gauge Count "tokio_global_queue_depth" []
            "tasks waiting in the shared queue of the runtime", "near 0";
    }
}
