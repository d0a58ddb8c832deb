//! The service levels: what is promised, and which share of what counts as broken.

/// One promise.
#[derive(Clone, Copy, Debug)]
pub struct Objective {
    /// The value of the label `slo`.
    pub name: &'static str,
    /// The promise, for people.
    pub promise: &'static str,
    /// Which share may be broken, over thirty days.
    pub budget: f64,
    /// What is counted, as a selector.
    all: &'static str,
    /// What of it keeps the promise.
    good: &'static str,
    /// The alert that tells of it.
    pub alert: &'static str,
}

/// Every promise that is watched.
pub const OBJECTIVES: [Objective; 4] = [
    Objective {
        name: "answered_fast",
        promise: "99.95 % of answers within 0.5 s",
        budget: 0.0005,
        all: "tollgate_decision_duration_seconds_count",
        good: r#"tollgate_decision_duration_seconds_bucket{le="0.5"}"#,
        alert: "TollgateAnswersSlow",
    },
    Objective {
        name: "answered_in_time",
        promise: "99.99 % of answers within 1.5 s",
        budget: 0.0001,
        all: "tollgate_decision_duration_seconds_count",
        good: r#"tollgate_decision_duration_seconds_bucket{le="1.5"}"#,
        alert: "TollgateAnswersLate",
    },
    Objective {
        name: "decided_by_policy",
        promise: "99.99 % of requests decided by the policy, not by stand-in",
        budget: 0.0001,
        all: r#"tollgate_decisions_total{source=~"policy|stand_in"}"#,
        good: r#"tollgate_decisions_total{source="policy"}"#,
        alert: "TollgateStandIn",
    },
    Objective {
        name: "agreed_by_stripe",
        promise: "99.9 % of decisions carried out by Stripe",
        budget: 0.001,
        // Where Stripe never heard an answer we count as not asked; a timeout and an error of the webhook are ours.
        all: r#"(tollgate_stripe_outcomes_total{agrees=~"true|false"} or tollgate_stripe_outcomes_total{agrees="unasked", reason=~"webhook_timeout|webhook_error"})"#,
        good: r#"tollgate_stripe_outcomes_total{agrees="true"}"#,
        alert: "TollgateStripeDisagrees",
    },
];

impl Objective {
    /// The share that broke the promise, over a window such as `5m`.
    #[must_use]
    pub fn error_ratio(&self, window: &str) -> String {
        let (good, all) = (sum("rate", self.good, window), sum("rate", self.all, window));
        format!("1 - {good} / {all}")
    }

    /// How many broke the promise, over a window such as `1h`.
    #[must_use]
    pub fn errors(&self, window: &str) -> String {
        let (good, all) = (sum("increase", self.good, window), sum("increase", self.all, window));
        format!("{all} - {good}")
    }
}

/// A sum of a selector's rates, or of those of several selectors in `(… or …)`.
fn sum(function: &str, selector: &str, window: &str) -> String {
    let parts = selector.trim_start_matches('(').trim_end_matches(')').split(" or ");
    let parts: Vec<String> = parts.map(|one| format!("{function}({one}[{window}])")).collect();
    format!("sum by (job) ({})", parts.join(" or "))
}
