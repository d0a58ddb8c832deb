//! What the policy does to cards, and whether Stripe does as it was told.

use crate::board::{
    Board,
    Kind::{Bars, Lines, Number, Stacked, Table},
    Panel,
};

pub(super) fn board() -> Board {
    Board {
        file: "cards-and-policy",
        title: "Tollgate: cards and policy",
        description: "Why cards are declined, which limits bind, and whether Stripe does as it was told.",
        rows: vec![
            ("Reasons", vec![reasons(), limits(), declines_by_limit(), stand_ins()]),
            ("Stripe", vec![agreement(), disagreements(), overruns(), unconfirmed(), repeats()]),
            ("Events", vec![events(), unbooked(), violations(), malformed()]),
            ("Policy and secrets", vec![policies(), reloads(), secrets(), signatures()]),
        ],
    }
}

fn reasons() -> Panel {
    Panel::new(
        Bars,
        "Why questions were declined",
        "none",
        [
            "Declines in the time shown, by reason.",
            "What the policy means to decline.",
            "An explanation of any single decision: GET /v1/authorizations/{id} on the admin port.",
        ],
        &[(
            "sort_desc(sum by (reason) (increase(tollgate_decisions_total{@, outcome=\"declined\", source=~\"policy|stand_in\"}[$__range])))",
            "{{reason}}",
        )],
    )
}

fn limits() -> Panel {
    Panel::new(
        Bars,
        "Limits that declined most",
        "none",
        [
            "Declines in the time shown, by the first limit that stood in the way.",
            "The limits that are meant to bind.",
            "A limit that declines far more than yesterday is set wrong, or a card is being drained: GET /v1/cards/{id}.",
        ],
        &[(
            "topk(8, sum by (measure, window) (increase(tollgate_limit_declines_total{@}[$__range])))",
            "{{window}} {{measure}}",
        )],
    )
}

fn declines_by_limit() -> Panel {
    Panel::new(
        Stacked,
        "Declines by limit",
        "reqps",
        [
            "Declines a second, by the first limit that stood in the way.",
            "Steady through the day; calendar limits rise towards the end of their window.",
            "A step follows a change of the policy: compare with its reloads below.",
        ],
        &[("sum by (measure, window) (rate(tollgate_limit_declines_total{@}[@]))", "{{window}} {{measure}}")],
    )
}

fn stand_ins() -> Panel {
    Panel::new(
        Stacked,
        "Answers of the stand-in",
        "reqps",
        [
            "Questions answered without the books, by cause.",
            "0.",
            "overload: more than the node takes. deadline: too slow. journal: it cannot be written. See TollgateStandIn.",
        ],
        &[(
            "sum by (reason, outcome) (rate(tollgate_decisions_total{@, source=\"stand_in\", reason=~\"stand_in_overload|stand_in_deadline|stand_in_journal\"}[@]))",
            "{{reason}}, {{outcome}}",
        )],
    )
}

fn agreement() -> Panel {
    Panel::new(
        Number,
        "Stripe did as we answered",
        "percentunit",
        [
            "Of what Stripe says it did with our answers in the time shown, the share that is what we answered.",
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
        "Unconfirmed answers",
        "none",
        [
            "Answers that Stripe has not spoken of for TOLLGATE_UNCONFIRMED_AFTER.",
            "0.",
            "The endpoint may not be subscribed to issuing_authorization.created and .updated; see TollgateUnconfirmed.",
        ],
        &[("sum(tollgate_unconfirmed_decisions{@})", "unconfirmed")],
    )
    .wide(6)
    .steps(&[(None, "green"), (Some(1.0), "orange"), (Some(10.0), "red")])
}

fn repeats() -> Panel {
    Panel::new(
        Number,
        "Repeated questions",
        "none",
        [
            "Questions in the time shown that were asked before and got the same answer again.",
            "Few.",
            "Many: Stripe gave up waiting for the first answer. Look at the time to answer on the overview.",
        ],
        &[("sum(increase(tollgate_repeated_questions_total{@}[$__range]))", "repeated")],
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
            "Times in the time shown that Stripe or a merchant took more than the policy had granted.",
            "Few: tips, forced captures, answers of the stand-in.",
            "They count in their limits. GET /v1/cards/{id} shows a card's overrun.",
        ],
        &[("sum(increase(tollgate_overruns_total{@}[$__range]))", "overruns")],
    )
    .wide(6)
    .steps(&[(None, "blue")])
}

fn disagreements() -> Panel {
    Panel::new(
        Lines,
        "What Stripe did otherwise",
        "reqps",
        [
            "Outcomes that are not our answer, and those that we were never asked about, by Stripe's reason.",
            "Nothing where agrees is false; unasked only where Stripe decides before it asks.",
            "webhook_timeout and webhook_error: our answer did not arrive. Others: Stripe's own checks came first.",
        ],
        &[(
            "sum by (reason, agrees) (rate(tollgate_stripe_outcomes_total{@, agrees=~\"false|unasked\"}[@]))",
            "{{reason}}, agrees={{agrees}}",
        )],
    )
    .wide(24)
}

fn events() -> Panel {
    Panel::new(
        Stacked,
        "Events booked",
        "reqps",
        [
            "Events that were booked, by type; one that Stripe delivers again counts again.",
            "Follows the traffic: about as many .created as approvals.",
            "One type missing: the endpoint is not subscribed to it. tollgate reconcile books what was missed.",
        ],
        &[("sum by (event) (rate(tollgate_webhook_requests_total{@, result=\"booked\"}[@]))", "{{event}}")],
    )
}

fn unbooked() -> Panel {
    Panel::new(
        Lines,
        "Events not booked",
        "reqps",
        [
            "Events that were acknowledged and are not in the books, by cause.",
            "not_ours only.",
            "See the runbook TollgateEventsLost.",
        ],
        &[("sum by (cause) (rate(tollgate_unbooked_events_total{@}[@]))", "{{cause}}")],
    )
}

fn violations() -> Panel {
    Panel::new(
        Lines,
        "Broken contract",
        "reqps",
        [
            "Questions that cannot be understood, and were declined, by what is wrong with them.",
            "0.",
            "See the runbook TollgateContractBroken.",
        ],
        &[("sum by (kind) (rate(tollgate_contract_violations_total{@}[@]))", "{{kind}}")],
    )
}

fn malformed() -> Panel {
    Panel::new(
        Lines,
        "Signed bodies that are no event",
        "reqps",
        [
            "Bodies with a valid signature that could not be read, by cause.",
            "0.",
            "Somebody else signs with this secret, or a proxy changes bodies.",
        ],
        &[("sum by (cause) (rate(tollgate_malformed_events_total{@}[@]))", "{{cause}}")],
    )
}

fn policies() -> Panel {
    Panel::new(
        Table,
        "Policy in force",
        "none",
        [
            "The version of the policy on each node, and for how long it has been in force.",
            "The same version everywhere, as old as your last change.",
            "See the runbooks TollgatePoliciesDiffer and TollgatePolicyRefused.",
        ],
        &[
            ("max by (instance, version) (tollgate_policy_info{@})", "in force"),
            ("max by (instance) (time() - tollgate_policy_loaded_timestamp_seconds{@})", "for (s)"),
        ],
    )
    .steps(&[(None, "text")])
}

fn reloads() -> Panel {
    Panel::new(
        Lines,
        "Reloads of the policy",
        "none",
        [
            "New contents of the policy file, by what came of them.",
            "One for each change of yours, none refused.",
            "refused: tollgate check shows the mistakes; the policy before stays in force.",
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
            "Valid signatures, by the place of the secret in STRIPE_WEBHOOK_SECRET.",
            "After rolling a secret, the old one's slot falls to 0.",
            "Remove a secret from the setting only when its slot stands still.",
        ],
        &[("sum by (slot) (rate(tollgate_signature_secrets_used_total{@}[@]))", "slot {{slot}}")],
    )
}

fn signatures() -> Panel {
    Panel::new(
        Lines,
        "Signatures that fail",
        "reqps",
        [
            "Requests without a valid signature, by cause.",
            "0.",
            "mismatch: a wrong secret. A time out of tolerance: the clock. No header: a stranger. See TollgateSignaturesFail.",
        ],
        &[("sum by (cause) (rate(tollgate_signature_failures_total{@}[@]))", "{{cause}}")],
    )
}
