//! Every metric, declared once: name, type, unit, labels, meaning, and what good looks like. How that is written down
//! for people is not here.

use super::label::{
    Agrees, Bound, Cut, Done, Export, Forward, JournalFailure, Label, LimitMeasure, LimitWindow, Listener,
    Passivation, PeerRefusal, Refusal, Reload, Route, STRIPE_REASONS, SecretSlot, Shed, Stage, Vocabulary,
    Way, WebhookResult,
};

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
            Self::Count | Self::Info => &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0],
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
}

impl Values {
    /// The values; none for [`Values::Current`].
    #[must_use]
    pub fn list<'a>(&self, words: &'a Vocabulary) -> &'a [&'static str] {
        match self {
            Self::Here(list) => list,
            Self::Words(list) => list(words),
            Self::Current => &[],
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
        let values = self.labels.iter().map(|(_, values)| values.list(words).len().max(1));
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
    "At the door" {
        WEBHOOK_REQUESTS = Counter Count "tollgate_webhook_requests_total" ["event": EVENTS, "result": here::<WebhookResult>()]
            "requests to the webhook, by what they carried and what became of them", "`answered`, `booked` and `acknowledged` only";
        WEBHOOK_BODY = Histogram Bytes "tollgate_webhook_body_bytes" []
            "size of the bodies that were read", "4 to 8 KiB";
        SIGNATURE_FAILURES_TOTAL = Counter Count "tollgate_signature_failures_total" ["cause": SIGNATURE_FAILURES]
            "requests without a valid signature", "0; a steady rate means a wrong secret, or a stranger";
        SECRETS_USED = Counter Count "tollgate_signature_secrets_used_total" ["slot": here::<SecretSlot>()]
            "valid signatures, by place of the secret in the setting", "an old secret's slot stands still before it is removed";
        REFUSED = Counter Count "tollgate_signed_requests_refused_total" ["cause": here::<Refusal>()]
            "requests with a valid signature that were refused with a 4xx; for `body_too_large`, `body_late` and `body_broken` only the signature's form and time could be checked", "0; see the runbook TollgateSignedRefused";
        MALFORMED = Counter Count "tollgate_malformed_events_total" ["cause": MALFORMED_CAUSES]
            "signed bodies that are no event", "0";
        VIOLATIONS_TOTAL = Counter Count "tollgate_contract_violations_total" ["kind": VIOLATIONS]
            "authorization requests that break Stripe's contract, all declined", "0; `legacy_shape`: raise the endpoint's API version";
        UNBOOKED = Counter Count "tollgate_unbooked_events_total" ["cause": UNBOOKED_CAUSES]
            "events that were acknowledged without an entry in the books", "`not_ours` only; anything else is missing in the books";
        IN_FLIGHT = Gauge Count "tollgate_in_flight_requests" []
            "webhook requests being answered", "far below the `in_flight` capacity";
    }
    "Answers" {
        DECISIONS = Counter Count "tollgate_decisions_total" ["outcome": OUTCOMES, "reason": REASONS, "source": SOURCES]
            "decisions, one for each question", "source `policy`; `stand_in` is an incident";
        LIMIT_DECLINES = Counter Count "tollgate_limit_declines_total" ["measure": here::<LimitMeasure>(), "window": here::<LimitWindow>()]
            "declines by limits, by the first of the limits that stood in the way", "follows the policy; a jump after a change of the policy is worth a look";
        DECISION_DURATION = Histogram Seconds "tollgate_decision_duration_seconds" ["outcome": OUTCOMES, "route": here::<Route>()]
            "from the headers of a request to its reply", "99.9 % within 0.5 s, all within 1.5 s";
        STAGE_DURATION = Histogram Seconds "tollgate_stage_duration_seconds" ["stage": here::<Stage>()]
            "each part of a request's walk", "`commit` is the longest, a few milliseconds";
        ANSWER_WITHIN = Gauge Seconds "tollgate_answer_within_seconds" []
            "the time that answers get, `TOLLGATE_ANSWER_WITHIN`", "well below Stripe's 2 seconds";
        ANSWERS = Counter Count "tollgate_answers_total" ["way": here::<Way>()]
            "answers to authorization requests, repeated ones included, by how they went to Stripe", "`fallback`: 0";
        UNKNOWN_GROUPS = Counter Count "tollgate_unknown_group_requests_total" []
            "authorization requests of cards whose `tollgate_group` the policy lacks", "0; see the runbook TollgateUnknownGroup";
        REPEATS = Counter Count "tollgate_repeated_questions_total" []
            "questions that were answered before and got the same answer again", "few";
        FLAGS = Counter Count "tollgate_flagged_answers_total" []
            "answers that a rule with `then: flag` asks somebody to look at, repeated ones included", "as the rules mean it";
        STRIPE_OUTCOMES = Counter Count "tollgate_stripe_outcomes_total" ["reason": Values::Here(STRIPE_REASONS), "agrees": here::<Agrees>()]
            "what Stripe says it did, by its reason, and whether that was our answer", "`agrees=\"false\"` and `webhook_timeout`: 0";
        UNCONFIRMED = Gauge Count "tollgate_unconfirmed_decisions" []
            "answers that Stripe has not spoken of for `TOLLGATE_UNCONFIRMED_AFTER`", "0";
        OVERRUNS = Counter Count "tollgate_overruns_total" []
            "times that Stripe or a merchant took more than the policy had granted", "few: forced captures, tips, stand-in approvals";
        SHED = Counter Count "tollgate_requests_shed_total" ["cause": here::<Shed>()]
            "work that was turned away or answered by the stand-in", "0";
    }
    "Connections" {
        CONNECTIONS = Gauge Count "tollgate_connections" ["listener": here::<Listener>()]
            "open connections", "far below the `connections` capacity";
        CONNECTIONS_ACCEPTED = Counter Count "tollgate_connections_accepted_total" ["listener": here::<Listener>()]
            "connections that were opened", "grows slowly: clients keep connections alive";
        CONNECTIONS_CUT = Counter Count "tollgate_connections_cut_total" ["listener": here::<Listener>(), "cause": here::<Cut>()]
            "connections that were not closed by their client", "`idle` only";
        ACCEPT_ERRORS = Counter Count "tollgate_accept_errors_total" ["listener": here::<Listener>()]
            "failures to take a connection, such as for want of file descriptors", "0";
    }
    "Cards in memory" {
        CARDS_RESIDENT = Gauge Count "tollgate_cards_resident" []
            "cards in memory", "below the `cards_resident` capacity";
        CARD_ACTORS = Gauge Count "tollgate_card_actors" []
            "cards in memory that have an actor, looked at once a second; the others rest", "cards that were asked for in the last seconds";
        QUEUE_LONGEST = Gauge Count "tollgate_card_queue_longest" []
            "requests waiting at the card where most wait, looked at once a second", "a few; at the `card_queue` capacity requests are turned away";
        HOLDS_OPEN = Gauge Count "tollgate_holds_open" []
            "authorizations that hold money, on the cards in this node's memory; a card that has left it is not counted, and in a cluster one that has changed its owner may be in two memories for a while", "follows the traffic; captures, reversals and expiries that do not come make it grow";
        ACTIVATIONS = Counter Count "tollgate_card_activations_total" ["result": here::<Done>()]
            "cards that were folded from the journal", "`failed`: 0";
        ACTIVATION_DURATION = Histogram Seconds "tollgate_card_activation_duration_seconds" []
            "time to fold a card from the journal", "milliseconds";
        PASSIVATIONS = Counter Count "tollgate_card_passivations_total" ["cause": here::<Passivation>()]
            "cards that left memory", "`idle`; `pressure` means too small a `cards_resident`; `failure`: 0";
    }
    "The journal" {
        COMMIT_DURATION = Histogram Seconds "tollgate_journal_commit_duration_seconds" []
            "one group commit, until it is durable", "p99 below 10 ms";
        BATCH_ENTRIES = Histogram Count "tollgate_journal_batch_entries" []
            "entries in a group commit", "grows with the load, and stays below the `journal_batch` capacity";
        APPENDED_BYTES = Counter Bytes "tollgate_journal_appended_bytes_total" []
            "bytes of the entries that became durable", "about 500 a decision";
        JOURNAL_ERRORS = Counter Count "tollgate_journal_errors_total" ["kind": here::<JournalFailure>()]
            "what the journal refused or could not read", "0";
        JOURNAL_CONFLICTS = Counter Count "tollgate_journal_conflicts_total" []
            "appends that another writer was faster than", "0 on one node; few in a cluster, when cards change their owner";
        JOURNAL_EXPIRED = Counter Count "tollgate_journal_expired_total" []
            "appends that were not written, since they could not have become durable in time", "0; more means that the journal is slower than the load needs";
        JOURNAL_OLDEST = Gauge Seconds "tollgate_journal_oldest_append_seconds" []
            "how long the oldest append has been waiting to be durable, looked at once a second", "milliseconds; seconds mean that the journal hangs";
        JOURNAL_WAIT = Gauge Seconds "tollgate_journal_expected_wait_seconds" []
            "how long a decision would wait that is made now, by the commits measured last, looked at once a second", "milliseconds; above half of `TOLLGATE_ANSWER_WITHIN` requests are answered by the stand-in at once";
        JOURNAL_UNKNOWN = Counter Count "tollgate_journal_unknown_total" []
            "appends whose fate was unclear, and which were repeated", "0";
    }
    "The cluster" {
        FORWARDS = Counter Count "tollgate_forwards_total" ["result": here::<Forward>()]
            "requests that were forwarded to the node that owns the card; what it did not answer was decided here", "`answered` only, but for a moment when a node goes";
        HOP_DURATION = Histogram Seconds "tollgate_hop_duration_seconds" []
            "how much longer a forwarded request took than it took the owner: there and back, and what its messages waited at either end", "p99 below 2 ms; more is the network's, or a node is short of processor";
        PEER_REFUSALS = Counter Count "tollgate_peer_connections_refused_total" ["cause": here::<PeerRefusal>()]
            "connections between nodes that were turned away, by the node that was called or by the one that called", "0, but for a few `other_server`, `rejected` and `broken` when a node is restarted; `impostor` and `unknown_key` are somebody who is no member";
        MEMBERS = Gauge Count "tollgate_members" []
            "nodes that this one believes to be alive, itself included; 0 for a node that is alone by its settings", "the number of nodes that you run, and the same on every node";
    }
    "Policy and node" {
        POLICY_RELOADS = Counter Count "tollgate_policy_reloads_total" ["result": here::<Reload>()]
            "new contents of the policy file", "`refused`: 0";
        POLICY_LOADED = Gauge Seconds "tollgate_policy_loaded_timestamp_seconds" []
            "when the policy in force was loaded", "the last change that you made";
        POLICY_INFO = Gauge Info "tollgate_policy_info" ["version": Values::Current]
            "the policy in force", "the same on every node";
        CAPACITY = Gauge Count "tollgate_capacity" ["bound": here::<Bound>()]
            "the bounds in force, in the unit of their name", "use stays far below";
        READY = Gauge Count "tollgate_ready" []
            "1 while the node wants traffic", "1";
        SPANS = Counter Count "tollgate_trace_spans_total" ["result": here::<Export>()]
            "decisions for the collector of `TOLLGATE_TRACES_ENDPOINT`, by what became of them", "`dropped`: 0";
        BUILD_INFO = Gauge Info "tollgate_build_info" ["version": Values::Current]
            "the program", "the same on every node";
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
            "time in which worker threads ran tasks", "a rate below 0.8 for each worker";
        TOKIO_LATE = Histogram Seconds "tokio_wake_delay_seconds" []
            "how late a timer of the runtime fires, looked at ten times a second", "a millisecond or two, the timer's own grain; more means that tasks wait for a worker";
        TOKIO_TASKS = Gauge Count "tokio_alive_tasks" []
            "tasks of the runtime", "connections and resident cards, and a few";
        TOKIO_QUEUE = Gauge Count "tokio_global_queue_depth" []
            "tasks that wait in the runtime's shared queue", "near 0";
    }
}
