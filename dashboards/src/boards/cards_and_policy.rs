//! What the policy does to cards, and whether Stripe does as it was told.

use crate::{
    board::{
        Board,
        Kind::{Bars, Lines, Number, Stacked},
        Panel,
    },
    query::{counts_by, rates_by},
};

pub(super) fn board() -> Board {
    Board {
        file: "cards-and-policy",
        title: "Tollgate: cards and policy",
        description: "Why requests are declined, which limits apply, and whether Stripe's outcomes agree with the decisions.",
        rows: vec![
            ("Reasons", vec![reasons(), limits(), declines_by_limit(), stand_ins()]),
            ("Budgets", vec![budgets_used(), budgets_held(), declines_by_budget(), budget_accounts()]),
            ("Stripe", vec![agreement(), overruns(), unconfirmed(), repeats(), disagreements()]),
            ("Events", vec![events(), unbooked(), violations(), malformed()]),
            ("Policy and secrets", vec![policies(), reloads(), secrets(), signatures()]),
        ],
    }
}

fn reasons() -> Panel {
    Panel::new(
        Bars,
        "Reasons for declines",
        "none",
        [
            "Declines in the selected time range, by reason.",
            "The declines that the policy intends.",
            "GET /v1/authorizations/{id} on the admin port explains a decision.",
        ],
        &[(
            &counts_by(
                "reason",
                r#"tollgate_decisions_total{@, outcome="declined", source=~"policy|stand_in"}"#,
            ),
            "{{reason}}",
        )],
    )
}

fn limits() -> Panel {
    Panel::new(
        Bars,
        "Limits with most declines",
        "none",
        [
            "Declines in the selected time range, by the first limit that was exceeded.",
            "The limits that are intended to decline.",
            "A limit that declines far more than yesterday is wrong, or a card is being abused: GET /v1/cards/{id}.",
        ],
        &[(&counts_by("window, measure", "tollgate_limit_declines_total{@}"), "{{window}} {{measure}}")],
    )
}

fn declines_by_limit() -> Panel {
    Panel::new(
        Stacked,
        "Declines by limit",
        "reqps",
        [
            "Declines per second, by the first limit that was exceeded.",
            "Steady through the day; calendar limits decline more toward the end of their window.",
            "A step follows a policy change: compare with the policy reloads below.",
        ],
        &[(&rates_by("window, measure", "tollgate_limit_declines_total{@}"), "{{window}} {{measure}}")],
    )
}

fn stand_ins() -> Panel {
    Panel::new(
        Stacked,
        "Stand-in decisions by cause",
        "reqps",
        [
            "Stand-in decisions per second, by cause.",
            "0.",
            "overload: more requests than the node can take. deadline: too slow. journal: not writable. See TollgateStandIn.",
        ],
        &[(&rates_by("reason, outcome", "tollgate_decisions_total{@, source=\"stand_in\"}"), "{{reason}}")],
    )
}

fn budgets_used() -> Panel {
    Panel::new(
        Lines,
        "Budgets, share used",
        "percentunit",
        [
            "The limit of each budget of which the largest share is used, or its balance. Templates (per) are not shown.",
            "Below 100 %, and below the shares in warn_at until late in the month.",
            "See TollgateBudgetNearlyUsed; GET /v1/budgets/{name} has each limit and its owners.",
        ],
        &[(&or_none("max by (budget) (tollgate_budget_used_ratio{@})"), "{{budget}}")],
    )
}

fn budgets_held() -> Panel {
    Panel::new(
        Lines,
        "Budgets, share held",
        "percentunit",
        [
            "Open holds of each budget, as a share of its smallest limit on amounts or of its balance.",
            "Falls as purchases are captured.",
            "Holds that stay keep money from being spent: reversals or captures do not arrive. GET /v1/cards/{id} has the holds.",
        ],
        &[(&or_none("max by (budget) (tollgate_budget_held_ratio{@})"), "{{budget}}")],
    )
}

fn declines_by_budget() -> Panel {
    Panel::new(
        Stacked,
        "Declines by budget",
        "reqps",
        [
            "Declines per second by limits and balances of budgets, by the budget whose limit was the tightest.",
            "The budgets that are meant to decline.",
            "Ask an owner to raise the limit, or credit the balance: GET /v1/budgets/{name} names them.",
        ],
        &[(&rates_by("budget", "tollgate_budget_declines_total{@}"), "{{budget}}")],
    )
}

fn budget_accounts() -> Panel {
    Panel::new(
        Lines,
        "Accounts of budgets in memory",
        "none",
        [
            "Accounts of each budget in memory: one for each key of a template.",
            "As many as are in use.",
            "They count as cards in memory: compare with the cards_resident capacity.",
        ],
        &[(&or_none("sum by (budget) (tollgate_budget_accounts_resident{@})"), "{{budget}}")],
    )
}

/// The series of a query, or one line at 0 where there are no budgets.
fn or_none(query: &str) -> String {
    format!("{query} or on () label_replace(vector(0), \"budget\", \"none\", \"\", \"\")")
}

fn agreement() -> Panel {
    Panel::new(
        Number,
        "Agreement with Stripe",
        "percentunit",
        [
            "The share of outcomes reported by Stripe that agree with the decision.",
            "100 %.",
            "See the runbook TollgateStripeDisagrees.",
        ],
        &[(
            "sum(increase(tollgate_stripe_outcomes_total{@, agrees=\"true\"}[$__range])) / \
             sum(increase(tollgate_stripe_outcomes_total{@, agrees=~\"true|false\"}[$__range]))",
            "agreed",
        )],
    )
    .wide(6)
    .steps(&[(None, "red"), (Some(0.99), "orange"), (Some(0.999), "green")])
}

fn unconfirmed() -> Panel {
    Panel::new(
        Number,
        "Unconfirmed decisions",
        "none",
        [
            "Decisions that Stripe has not confirmed within TOLLGATE_UNCONFIRMED_AFTER.",
            "0.",
            "The endpoint may lack issuing_authorization.created and .updated; see TollgateUnconfirmed.",
        ],
        &[("sum(tollgate_unconfirmed_decisions{@})", "unconfirmed")],
    )
    .wide(6)
    .steps(&[(None, "green"), (Some(1.0), "orange"), (Some(10.0), "red")])
}

fn repeats() -> Panel {
    Panel::new(
        Number,
        "Duplicate requests",
        "none",
        [
            "Duplicate requests in the selected time range; each got the same answer again.",
            "Few.",
            "Many: Stripe did not receive the first answer in time. Check the time to answer on the overview.",
        ],
        &[("round(sum(increase(tollgate_repeated_questions_total{@}[$__range])))", "repeated")],
    )
    .wide(6)
    .steps(&[(None, "blue")])
}

fn overruns() -> Panel {
    Panel::new(
        Number,
        "Overruns",
        "none",
        [
            "Captures in the selected time range that exceeded the approved amount.",
            "Few: tips, force captures, stand-in approvals.",
            "Overruns count against limits. GET /v1/cards/{id} shows the overrun of a card.",
        ],
        &[("round(sum(increase(tollgate_overruns_total{@}[$__range])))", "overruns")],
    )
    .wide(6)
    .steps(&[(None, "blue")])
}

fn disagreements() -> Panel {
    Panel::new(
        Lines,
        "Disagreements with Stripe",
        "reqps",
        [
            "Outcomes that differ from the decision, and outcomes without a request to Tollgate, by Stripe's reason.",
            "No disagreements. Outcomes without a request only if Stripe decides by itself.",
            "webhook_timeout, webhook_error: the answer did not arrive. Others: Stripe's own checks came first.",
        ],
        &[
            (&rates_by("reason", "tollgate_stripe_outcomes_total{@, agrees=\"false\"}"), "{{reason}}, differs"),
            (&rates_by("reason", "tollgate_stripe_outcomes_total{@, agrees=\"unasked\"}"), "{{reason}}, no request"),
        ],
    )
    .wide(24)
}

fn events() -> Panel {
    Panel::new(
        Stacked,
        "Events recorded",
        "reqps",
        [
            "Events recorded per second, by type. Repeated deliveries count again.",
            "Follows the traffic: about as many .created as approvals.",
            "A type is missing: the endpoint is not subscribed to it. tollgate reconcile records what was missed.",
        ],
        &[(&rates_by("event", "tollgate_webhook_requests_total{@, result=\"booked\"}"), "{{event}}")],
    )
}

fn unbooked() -> Panel {
    Panel::new(
        Lines,
        "Events not recorded",
        "reqps",
        [
            "Events that were acknowledged and not recorded, by cause.",
            "not_ours only.",
            "See the runbook TollgateEventsLost.",
        ],
        &[(&rates_by("cause", "tollgate_unbooked_events_total{@}"), "{{cause}}")],
    )
}

fn violations() -> Panel {
    Panel::new(
        Lines,
        "Contract violations",
        "reqps",
        [
            "Requests that violate Stripe's contract, all declined, by kind.",
            "0.",
            "See the runbook TollgateContractBroken.",
        ],
        &[(&rates_by("kind", "tollgate_contract_violations_total{@}"), "{{kind}}")],
    )
}

fn malformed() -> Panel {
    Panel::new(
        Lines,
        "Malformed events",
        "reqps",
        [
            "Bodies with a valid signature that are not an event, by cause.",
            "0.",
            "Another program signs with this secret, or a proxy changes bodies.",
        ],
        &[(&rates_by("cause", "tollgate_malformed_events_total{@}"), "{{cause}}")],
    )
}

fn policies() -> Panel {
    Panel::table(
        "Policy in force",
        [
            "The policy version of each node, and how long it has been in force.",
            "The same version everywhere, as old as your last change.",
            "See the runbooks TollgatePoliciesDiffer and TollgatePolicyRefused.",
        ],
        &[
            ("max by (instance, version) (tollgate_policy_info{@})", "in force", "none"),
            ("max by (instance) (time() - tollgate_policy_loaded_timestamp_seconds{@})", "for", "s"),
        ],
    )
}

fn reloads() -> Panel {
    Panel::new(
        Lines,
        "Policy reloads",
        "none",
        [
            "Changes of the policy file, by result.",
            "One for each of your changes, none refused.",
            "refused: tollgate check shows the mistakes. The previous policy stays in force.",
        ],
        &[("sum by (result) (increase(tollgate_policy_reloads_total{@}[@]))", "{{result}}")],
    )
}

fn secrets() -> Panel {
    Panel::new(
        Stacked,
        "Signing secrets in use",
        "reqps",
        [
            "Valid signatures, by position of the secret in STRIPE_WEBHOOK_SECRET.",
            "After rolling a secret, the old one's slot falls to 0.",
            "Remove a secret only when its slot stays at 0.",
        ],
        &[(&rates_by("slot", "tollgate_signature_secrets_used_total{@}"), "slot {{slot}}")],
    )
}

fn signatures() -> Panel {
    Panel::new(
        Lines,
        "Signature failures",
        "reqps",
        [
            "Requests without a valid signature, by cause.",
            "0.",
            "mismatch: a wrong secret. timestamp_outside_tolerance: the clock. missing_header: not Stripe. See TollgateSignaturesFail.",
        ],
        &[(&rates_by("cause", "tollgate_signature_failures_total{@}"), "{{cause}}")],
    )
}
