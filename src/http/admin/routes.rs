//! The one declaration of what the admin port serves beside the console: requests are routed by it, their parameters are
//! checked by it, and `docs/openapi.json` and `docs/admin-api.md` are generated from it.

mod find;

use schemars::{JsonSchema, Schema, SchemaGenerator};

use super::super::{
    bodies::{
        AuthorizationBody, BudgetBody, BudgetsBody, CardBody, CardholderBody, DecisionsBody, InForceBody,
        NodeBody, PoliciesBody, PolicyBody, PolicyChangeBody, ShadowBody, UnconfirmedListBody,
    },
    endpoints::EndpointsBody,
    slow::SlowBody,
    token::Role,
};
use super::{
    parameters::{DECISIONS, PUT_POLICY, Parameter, Payload},
    shapes::{ErrorBody, LogBody, StatusBody},
};
pub(in crate::http) use find::{Found, find};

/// What is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::http) enum Call {
    Live,
    Ready,
    Metrics,
    Decisions,
    Authorization,
    Card,
    Cardholder,
    Budgets,
    Budget,
    Operate(Operate),
    Unconfirmed,
    Policy,
    PutPolicy,
    Policies,
    PolicyVersion,
    Shadow,
    SetShadow,
    Node,
    Slow,
    Webhooks,
    Log,
    SetLog,
    OpenApi,
}

/// What an operator does to a card or a budget.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::http) enum Operate {
    Raise,
    Grant,
    Pause,
    Resume,
    Credit,
    SetAvailable,
}

/// One method on one path.
pub(in crate::http) struct Route {
    pub(in crate::http) call: Call,
    pub(in crate::http) method: &'static str,
    /// The path; one segment may be a parameter, `{id}`. A parameter `{name}` takes a second segment along.
    pub(in crate::http) path: &'static str,
    /// A few words.
    pub(in crate::http) summary: &'static str,
    /// Everything else that a caller has to know.
    pub(in crate::http) about: &'static str,
    /// What the parameter in the path is, where there is one.
    pub(in crate::http) path_parameter: &'static str,
    pub(in crate::http) parameters: &'static [Parameter],
    /// The role that a caller needs, unless the route is open to all.
    pub(in crate::http) role: Option<Role>,
    /// What the body of a request is, where it has one.
    pub(in crate::http) body: Option<Payload>,
    pub(in crate::http) reply: Shape,
}

/// What comes back.
pub(in crate::http) enum Shape {
    /// JSON of a type.
    Json(fn(&mut SchemaGenerator) -> Schema),
    /// The OpenAPI document itself.
    Document,
    /// The text format of Prometheus.
    Prometheus,
}

impl Shape {
    const fn of<T: JsonSchema>() -> Self {
        Self::Json(SchemaGenerator::subschema_for::<T>)
    }
}

const RAISE: Payload = Payload::json(
    "JSON with `id`, `amount` or `count`, `reason`, and perhaps `interval`, `currency`, and `until`",
);
const GRANT: Payload =
    Payload::json("JSON with `id`, `amount`, `currency`, `until`, `reason`, and perhaps `merchant`");
const PAUSE: Payload = Payload::json("JSON with `id`, `reason`, and perhaps `until`");
const RESUME: Payload = Payload::json("JSON with `id` and `reason`");
const BUDGET_PARAMETER: &str = "The name in the policy; of a template, followed by `/` and the key";

/// What may stand behind the name and the key of a budget, and is no key.
const OF_BUDGETS: [&str; 5] = ["credits", "available", "raises", "pause", "resume"];

/// The parameter that may be two segments: the name of a budget, and the key of its account.
const BUDGET: &str = "name";

/// The schema of every error.
pub(in crate::http) fn error_schema(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<ErrorBody>()
}

const NONE: Route = Route {
    call: Call::Live,
    method: "GET",
    path: "",
    summary: "",
    about: "",
    path_parameter: "",
    parameters: &[],
    role: Some(Role::Viewer),
    body: None,
    reply: Shape::of::<StatusBody>(),
};

/// The largest body with a policy: a file of a mebibyte, with all its line breaks escaped.
const POLICY_BYTES_MAX: usize = 3 << 20;

/// Every route, in the order of the documentation.
pub(in crate::http) static ROUTES: [Route; 31] = [
    Route {
        call: Call::Decisions,
        path: "/v1/decisions",
        summary: "Search decisions",
        about: "Newest first. All parameters apply together. With `card`, only the chain of that card is \
                read; otherwise the journal from its end. A page ends after about 40 milliseconds, so a search for \
                something rare returns short or empty pages with `next`: repeat the request with `cursor` set to it. \
                With `after`, the reply has the decisions that were recorded later, oldest first, and `next` is the value \
                for the next `after`; `wait` keeps the request open until there is one. A decision that was voided because \
                the stand-in had answered is listed once, as the stand-in decision; with `after` it can appear first as \
                the decision and later as the stand-in decision.",
        parameters: &DECISIONS,
        reply: Shape::of::<DecisionsBody>(),
        ..NONE
    },
    Route {
        call: Call::Authorization,
        path: "/v1/authorizations/{id}",
        summary: "Show an authorization",
        about: "Its decisions, what Stripe did with each request, captures and refunds, and everything that was recorded.",
        path_parameter: "The authorization, `iauth_…`",
        reply: Shape::of::<AuthorizationBody>(),
        ..NONE
    },
    Route {
        call: Call::Card,
        path: "/v1/cards/{id}",
        summary: "Show a card",
        about: "Its limits with their usage, open holds, and the last decisions. A replacement card shows the account of \
                the card that it replaces.",
        path_parameter: "The card, `ic_…`",
        reply: Shape::of::<CardBody>(),
        ..NONE
    },
    Route {
        call: Call::Operate(Operate::Raise),
        method: "POST",
        path: "/v1/cards/{id}/raises",
        summary: "Raise a limit of a card",
        about: "Limits of this measure and `interval` are higher by so much until `until`, or until the end of their current \
                window. Raises add up. The reply comes when it is durable. A repeated request with the same id changes \
                nothing; the same id for something else is refused with 409.",
        path_parameter: "The card, `ic_…`",
        role: Some(Role::Operator),
        body: Some(RAISE),
        reply: Shape::of::<CardBody>(),
        ..NONE
    },
    Route {
        call: Call::Operate(Operate::Grant),
        method: "POST",
        path: "/v1/cards/{id}/grants",
        summary: "Grant a purchase on a card",
        about: "One purchase on the card may pass the limits of the card and of its budgets by `amount`: docs/policy.md says \
                which and how. The reply comes when it is durable. A repeated request with the same id changes \
                nothing; the same id for something else is refused with 409.",
        path_parameter: "The card, `ic_…`",
        role: Some(Role::Operator),
        body: Some(GRANT),
        reply: Shape::of::<CardBody>(),
        ..NONE
    },
    Route {
        call: Call::Operate(Operate::Pause),
        method: "POST",
        path: "/v1/cards/{id}/pause",
        summary: "Pause a card",
        about: "Everything on the card is declined with `card_paused`, until `until` or until it is resumed. The reply comes when it is durable. A repeated request with the same id changes \
                nothing; the same id for something else is refused with 409.",
        path_parameter: "The card, `ic_…`",
        role: Some(Role::Operator),
        body: Some(PAUSE),
        reply: Shape::of::<CardBody>(),
        ..NONE
    },
    Route {
        call: Call::Operate(Operate::Resume),
        method: "POST",
        path: "/v1/cards/{id}/resume",
        summary: "Resume a card",
        about: "Ends all pauses of the card that were made by this API, not `paused: true` of the policy.",
        path_parameter: "The card, `ic_…`",
        role: Some(Role::Operator),
        body: Some(RESUME),
        reply: Shape::of::<CardBody>(),
        ..NONE
    },
    Route {
        call: Call::Cardholder,
        path: "/v1/cardholders/{id}",
        summary: "Show a cardholder",
        about: "The state and group of a cardholder, from its own events.",
        path_parameter: "The cardholder, `ich_…`",
        reply: Shape::of::<CardholderBody>(),
        ..NONE
    },
    Route {
        call: Call::Budgets,
        path: "/v1/budgets",
        summary: "Budgets",
        about: "The budgets of the policy in force, with what is used of each. Of a template, the account of cards without its key; `/v1/budgets/{name}/{key}` has each of the others.",
        reply: Shape::of::<BudgetsBody>(),
        ..NONE
    },
    Route {
        call: Call::Budget,
        path: "/v1/budgets/{name}",
        summary: "Budget",
        about: "Limits with usage, balance, and the last 50 changes. `/v1/budgets/{name}/{key}` is the account of a template \
                for a key, such as `/v1/budgets/person/ich_1`; a character of the key that is not visible ASCII, and any of \
                `%`, `/`, `?` and `#`, is written as `%20`.",
        path_parameter: BUDGET_PARAMETER,
        reply: Shape::of::<BudgetBody>(),
        ..NONE
    },
    Route {
        call: Call::Operate(Operate::Raise),
        method: "POST",
        path: "/v1/budgets/{name}/raises",
        summary: "Raise a limit of a budget",
        about: "As for a card, for all cards that charge the budget. A balance is not raised: credit it.",
        path_parameter: BUDGET_PARAMETER,
        role: Some(Role::Operator),
        body: Some(RAISE),
        reply: Shape::of::<BudgetBody>(),
        ..NONE
    },
    Route {
        call: Call::Operate(Operate::Pause),
        method: "POST",
        path: "/v1/budgets/{name}/pause",
        summary: "Pause a budget",
        about: "Everything that charges the budget or one below it is declined with `budget_paused`, until `until` or until it \
                is resumed.",
        path_parameter: BUDGET_PARAMETER,
        role: Some(Role::Operator),
        body: Some(PAUSE),
        reply: Shape::of::<BudgetBody>(),
        ..NONE
    },
    Route {
        call: Call::Operate(Operate::Resume),
        method: "POST",
        path: "/v1/budgets/{name}/resume",
        summary: "Resume a budget",
        about: "Ends all pauses of the budget that were made by this API, not `paused: true` of the policy.",
        path_parameter: BUDGET_PARAMETER,
        role: Some(Role::Operator),
        body: Some(RESUME),
        reply: Shape::of::<BudgetBody>(),
        ..NONE
    },
    Route {
        call: Call::Operate(Operate::Credit),
        method: "POST",
        path: "/v1/budgets/{name}/credits",
        summary: "Credit a balance",
        about: "Adds to the balance of a prepaid budget, or takes away with a negative amount. The reply comes when that is \
                durable. A repeated request with the same id changes nothing; the same id with another amount is refused \
                with 409.",
        path_parameter: BUDGET_PARAMETER,
        role: Some(Role::Operator),
        body: Some(Payload::json("JSON with `id`, `amount`, `currency`, and perhaps `note`")),
        reply: Shape::of::<BudgetBody>(),
        ..NONE
    },
    Route {
        call: Call::Operate(Operate::SetAvailable),
        method: "PUT",
        path: "/v1/budgets/{name}/available",
        summary: "State a balance",
        about: "For a balance that another system keeps: so much was available at `as_of`. Holds, captures, refunds and \
                credits after that time count on. The reply comes when that is durable.",
        path_parameter: BUDGET_PARAMETER,
        role: Some(Role::Operator),
        body: Some(Payload::json("JSON with `amount`, `currency`, `as_of`, and perhaps `note`")),
        reply: Shape::of::<BudgetBody>(),
        ..NONE
    },
    Route {
        call: Call::Unconfirmed,
        path: "/v1/unconfirmed",
        summary: "List unconfirmed decisions",
        about: "Decisions of this node for which no later event of Stripe has reported an outcome within \
                `TOLLGATE_UNCONFIRMED_AFTER`.",
        reply: Shape::of::<UnconfirmedListBody>(),
        ..NONE
    },
    Route {
        call: Call::Policy,
        path: "/v1/policy",
        summary: "Show the policy in force",
        about: "The policy by which this node decides now.",
        reply: Shape::of::<InForceBody>(),
        ..NONE
    },
    Route {
        call: Call::PutPolicy,
        method: "PUT",
        path: "/v1/policy",
        summary: "Put a policy",
        about: "The text is read as `tollgate check` reads a file; mistakes are refused with 400, each with line and column. \
                The policy is recorded before the reply, with the name of the token and the reason, and is in force within two \
                seconds on every node that has no policy of its own (docs/policy.md). A node that has one refuses with 409. With \
                `TOLLGATE_POLICY_APPROVALS=2` the first operator proposes it (202), and it is in force when a second one puts the same \
                text.",
        parameters: &PUT_POLICY,
        role: Some(Role::Admin),
        body: Some(Payload {
            about: "The policy as YAML; the files of lists follow it as `GET /v1/policy` shows them",
            media_type: "text/yaml",
            bytes_max: 6 << 20,
        }),
        reply: Shape::of::<PolicyChangeBody>(),
        ..NONE
    },
    Route {
        call: Call::Policies,
        path: "/v1/policies",
        summary: "List policies",
        about: "What nodes and operators did with policies: when, which node, from which file, who, and why.",
        reply: Shape::of::<PoliciesBody>(),
        ..NONE
    },
    Route {
        call: Call::PolicyVersion,
        path: "/v1/policies/{version}",
        summary: "Show a policy",
        about: "The whole text of a policy, and the changes from the one before it.",
        path_parameter: "The version of the policy",
        reply: Shape::of::<PolicyBody>(),
        ..NONE
    },
    Route {
        call: Call::Shadow,
        path: "/v1/shadow",
        summary: "Show what the candidate would change",
        about: "The policy that is tried beside the one in force, who tries it and why, and what all nodes have found: with the \
                sections of the report of `tollgate replay`. Nodes record what they found once a second.",
        reply: Shape::of::<ShadowBody>(),
        ..NONE
    },
    Route {
        call: Call::SetShadow,
        method: "PUT",
        path: "/v1/shadow",
        summary: "Try a policy, or end the trial",
        about: "Every node decides each request under this policy too, after its answer has left and without effect on it. The \
                reply comes when that is durable; all nodes follow within two seconds. With `policy` null the trial ends, and \
                what was found stays until the next one. The candidate that is tried already is refused with 409.",
        role: Some(Role::Operator),
        body: Some(Payload {
            about: "JSON with `policy` (the text of a policy file, or null) and `reason`",
            media_type: "application/json",
            bytes_max: POLICY_BYTES_MAX,
        }),
        reply: Shape::of::<ShadowBody>(),
        ..NONE
    },
    Route {
        call: Call::Node,
        path: "/v1/node",
        summary: "Show the node and its cluster",
        about: "This node, the members of its cluster as it sees them, and the database of the journal.",
        reply: Shape::of::<NodeBody>(),
        ..NONE
    },
    Route {
        call: Call::Slow,
        path: "/v1/slow",
        summary: "List the slowest decisions",
        about: "The slowest decisions of this node in the last hour, with the duration of each stage.",
        reply: Shape::of::<SlowBody>(),
        ..NONE
    },
    Route {
        call: Call::Webhooks,
        path: "/v1/webhooks",
        summary: "List the endpoints of outgoing webhooks",
        about: "How deliveries to each endpoint of `TOLLGATE_WEBHOOKS` go, since this node started. On a cluster one node delivers to an endpoint; on the others its state is `elsewhere`.",
        reply: Shape::of::<EndpointsBody>(),
        ..NONE
    },
    Route {
        call: Call::Log,
        path: "/v1/log",
        summary: "Show the log filter",
        about: "The filter that decides which log lines are written.",
        reply: Shape::of::<LogBody>(),
        ..NONE
    },
    Route {
        call: Call::SetLog,
        method: "PUT",
        path: "/v1/log",
        summary: "Change the log filter",
        about: "The new filter applies until the process ends or the next change.",
        role: Some(Role::Operator),
        body: Some(Payload {
            about: "A filter such as `info,tollgate::http=debug`",
            media_type: "text/plain",
            bytes_max: 1_024,
        }),
        reply: Shape::of::<LogBody>(),
        ..NONE
    },
    Route {
        call: Call::OpenApi,
        path: "/v1/openapi.json",
        summary: "Show this API as an OpenAPI document",
        about: "OpenAPI 3.1. The same document is `docs/openapi.json` of the source.",
        reply: Shape::Document,
        ..NONE
    },
    Route {
        call: Call::Live,
        path: "/livez",
        summary: "Report that the process is alive",
        about: "Needs no token.",
        role: None,
        ..NONE
    },
    Route {
        call: Call::Ready,
        path: "/readyz",
        summary: "Report whether the node takes traffic",
        about: "200 with `ready`, or 503 with `starting`, `restoring`, or `draining`. Needs no token.",
        role: None,
        ..NONE
    },
    Route {
        call: Call::Metrics,
        path: "/metrics",
        summary: "Show all metrics",
        about: "In the text format of Prometheus; docs/metrics.md lists them. Needs no token on a loopback address.",
        reply: Shape::Prometheus,
        ..NONE
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_finds_its_route() {
        let check = |method: &str, path: &str, expected: Option<(Call, &str)>| match find(method, path) {
            Found::Route(route, parameter) => assert_eq!(Some((route.call, parameter)), expected, "{path}"),
            Found::OtherMethod(_) | Found::Nothing => assert_eq!(None, expected, "{path}"),
        };
        check("GET", "/v1/cards/ic_1", Some((Call::Card, "ic_1")));
        check("HEAD", "/v1/cards/ic_1", Some((Call::Card, "ic_1")));
        check("GET", "/v1/policies", Some((Call::Policies, "")));
        check("GET", "/v1/policies/abc", Some((Call::PolicyVersion, "abc")));
        check("PUT", "/v1/log", Some((Call::SetLog, "")));
        check("POST", "/v1/cards/ic_1", None);
        check("POST", "/v1/cards/ic_1/raises", Some((Call::Operate(Operate::Raise), "ic_1")));
        let pause = Some((Call::Operate(Operate::Pause), "person/ich_1"));
        check("POST", "/v1/budgets/person/ich_1/pause", pause);
        check("GET", "/v1/budgets/person/pause", None);
        check("POST", "/v1/budgets/person/grants", None);
        check("GET", "/v1/cards", None);
        check("GET", "/v1/cards/a/b", None);
        check("GET", "/v1", None);
        assert!(matches!(find("POST", "/v1/log"), Found::OtherMethod("GET, HEAD, PUT")));
        assert!(matches!(find("POST", "/v1/node"), Found::OtherMethod("GET, HEAD")));
        assert!(matches!(find("GET", "/nowhere"), Found::Nothing));
    }

    #[test]
    fn every_path_has_one_route_for_a_method() {
        for route in &ROUTES {
            let is_same = |other: &&Route| (other.method, other.path) == (route.method, route.path);
            assert_eq!(ROUTES.iter().filter(is_same).count(), 1, "{} {}", route.method, route.path);
            assert_eq!(route.path.contains('{'), !route.path_parameter.is_empty(), "{}", route.path);
        }
    }
}
