//! The one declaration of what the admin port serves beside the console: requests are routed by it, their parameters are
//! checked by it, and `docs/openapi.json` and `docs/admin-api.md` are generated from it.

use schemars::{JsonSchema, Schema, SchemaGenerator};

use super::super::{
    bodies::{
        AuthorizationBody, BudgetBody, BudgetsBody, CardBody, CardholderBody, DecisionsBody, InForceBody,
        NodeBody, PoliciesBody, PolicyBody, PolicyChangeBody, UnconfirmedListBody,
    },
    slow::SlowBody,
    token::Role,
};
use super::shapes::{ErrorBody, LogBody, StatusBody};
use crate::domain::{Outcome, Reason, Source};

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
    Credit,
    SetAvailable,
    Unconfirmed,
    Policy,
    PutPolicy,
    Policies,
    PolicyVersion,
    Node,
    Slow,
    Log,
    SetLog,
    OpenApi,
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

/// The body of a request.
pub(in crate::http) struct Payload {
    pub(in crate::http) about: &'static str,
    pub(in crate::http) media_type: &'static str,
    pub(in crate::http) bytes_max: usize,
}

impl Payload {
    /// A small object.
    const fn json(about: &'static str) -> Self {
        Self { about, media_type: "application/json", bytes_max: 4_096 }
    }
}

/// A parameter of the query.
pub(in crate::http) struct Parameter {
    pub(in crate::http) name: &'static str,
    pub(in crate::http) kind: Kind,
    pub(in crate::http) about: &'static str,
}

/// What the value of a parameter may be.
#[derive(Clone, Copy)]
pub(in crate::http) enum Kind {
    /// One of these words.
    Word(fn() -> Vec<&'static str>),
    /// The id of a thing of Stripe's.
    Id,
    /// Any text.
    Text,
    /// A time, or how long ago.
    Time,
    /// A whole number between two others.
    Number(u64, u64),
    /// A cursor of an earlier reply.
    Cursor,
    /// A cursor of an earlier reply, or `now`.
    CursorOrNow,
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

/// Every route, in the order of the documentation.
pub(in crate::http) static ROUTES: [Route; 21] = [
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
        about: "The budgets of the policy in force, with what is used of each. Of a template, the account of cards \
                without its key; `/v1/budgets/{name}/{key}` has each of the others.",
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
        path_parameter: "The name in the policy; of a template, followed by `/` and the key",
        reply: Shape::of::<BudgetBody>(),
        ..NONE
    },
    Route {
        call: Call::Credit,
        method: "POST",
        path: "/v1/budgets/{name}/credits",
        summary: "Credit a balance",
        about: "Adds to the balance of a prepaid budget, or takes away with a negative amount. The reply comes when that is \
                durable. A repeated request with the same id changes nothing; the same id with another amount is refused \
                with 409.",
        path_parameter: "The name in the policy; of a template, followed by `/` and the key",
        role: Some(Role::Operator),
        body: Some(Payload::json("JSON with `id`, `amount`, `currency`, and `reason`")),
        reply: Shape::of::<BudgetBody>(),
        ..NONE
    },
    Route {
        call: Call::SetAvailable,
        method: "PUT",
        path: "/v1/budgets/{name}/available",
        summary: "State a balance",
        about: "For a balance that another system keeps: so much was available at `as_of`. Holds, captures, refunds and \
                credits after that time count on. The reply comes when that is durable.",
        path_parameter: "The name in the policy; of a template, followed by `/` and the key",
        role: Some(Role::Operator),
        body: Some(Payload::json("JSON with `amount`, `currency`, `as_of`, and `reason`")),
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
        parameters: &[
            Parameter {
                name: "dry_run",
                kind: Kind::Word(|| vec!["true", "false"]),
                about: "Only read and compare the policy",
            },
            Parameter {
                name: "replaces",
                kind: Kind::Text,
                about: "The version that it changes; refused with 409 if another one is the newest",
            },
        ],
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

/// The parameters of a search for decisions.
pub(in crate::http) const DECISIONS: [Parameter; 13] = [
    Parameter {
        name: "outcome",
        kind: Kind::Word(|| Outcome::ALL.map(Outcome::as_str).into()),
        about: "The outcome",
    },
    Parameter {
        name: "reason",
        kind: Kind::Word(|| Reason::ALL.map(Reason::as_str).into()),
        about: "The reason",
    },
    Parameter {
        name: "source",
        kind: Kind::Word(|| Source::ALL.map(Source::as_str).into()),
        about: "What decided: the policy, the stand-in, or Stripe and the network",
    },
    Parameter { name: "card", kind: Kind::Id, about: "The card of the request, `ic_…`" },
    Parameter { name: "cardholder", kind: Kind::Id, about: "The cardholder of the request, `ich_…`" },
    Parameter { name: "group", kind: Kind::Text, about: "The group of the card when it was decided" },
    Parameter { name: "since", kind: Kind::Time, about: "Recorded at this time or later" },
    Parameter { name: "until", kind: Kind::Time, about: "Recorded before this time" },
    Parameter {
        name: "min_amount",
        kind: Kind::Number(0, 1 << 53),
        about: "The least requested amount, in minor units of any currency",
    },
    Parameter {
        name: "cursor",
        kind: Kind::Cursor,
        about: "Continue behind this place: `next` of the page before",
    },
    Parameter {
        name: "limit",
        kind: Kind::Number(1, 200),
        about: "The largest number of decisions in the reply; 50 without it",
    },
    Parameter {
        name: "after",
        kind: Kind::CursorOrNow,
        about: "Only what was recorded after this place, oldest first: `now`, or `next` of the reply before",
    },
    Parameter {
        name: "wait",
        kind: Kind::Number(0, 30),
        about: "With `after`: the number of seconds to wait for a decision; 0 without it",
    },
];

/// What is at a path.
pub(in crate::http) enum Found<'a> {
    /// A route, with the parameter in the path.
    Route(&'static Route, &'a str),
    /// Routes of other methods: those that there are.
    OtherMethod(&'static str),
    /// Nothing.
    Nothing,
}

/// Finds the route of a request. A HEAD is a GET.
pub(in crate::http) fn find<'a>(method: &str, path: &'a str) -> Found<'a> {
    let method = if method == "HEAD" { "GET" } else { method };
    let mut others = None;
    for route in &ROUTES {
        let Some(parameter) = parameter_of(route, path) else { continue };
        if route.method == method {
            return Found::Route(route, parameter);
        }
        others = Some(path);
    }
    others.map_or(Found::Nothing, |path| Found::OtherMethod(allowed(path)))
}

/// The methods of a path, as `Allow` has them.
fn allowed(path: &str) -> &'static str {
    let has = |method: &str| {
        ROUTES.iter().any(|route| route.method == method && parameter_of(route, path).is_some())
    };
    match (has("GET"), has("PUT"), has("POST")) {
        (true, true, _) => "GET, HEAD, PUT",
        (false, true, _) => "PUT",
        (false, _, true) => "POST",
        (true, ..) | (false, false, false) => "GET, HEAD",
    }
}

/// The last segment of `path`, if it is the route's: empty where the route's path has no parameter.
fn parameter_of<'a>(route: &Route, path: &'a str) -> Option<&'a str> {
    match route.path.split_once('{') {
        None => (path == route.path).then_some(""),
        Some((start, rest)) => {
            let (name, end) = rest.split_once('}')?;
            let parameter = path.strip_prefix(start)?.strip_suffix(end)?;
            let segments_max = if name == BUDGET { 2 } else { 1 };
            let segments = parameter.split('/').count();
            let is_whole =
                segments <= segments_max && parameter.split('/').all(|segment| !segment.is_empty());
            // What ends a longer route is no key of a budget.
            let is_longer = end.is_empty()
                && name == BUDGET
                && ["credits", "available"].iter().any(|word| parameter.ends_with(&format!("/{word}")));
            (is_whole && !is_longer || segments == 1 && parameter.is_empty() && name != BUDGET)
                .then_some(parameter)
        }
    }
}

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
        check("GET", "/v1/cards", None);
        check("GET", "/v1/cards/a/b", None);
        check("GET", "/v1", None);
        assert!(matches!(find("POST", "/v1/log"), Found::OtherMethod("GET, HEAD, PUT")));
        assert!(matches!(find("POST", "/v1/node"), Found::OtherMethod("GET, HEAD")));
        assert!(matches!(find("GET", "/nowhere"), Found::Nothing));
    }

    #[test]
    fn every_call_has_one_route() {
        for route in &ROUTES {
            let same = ROUTES.iter().filter(|other| other.call == route.call).count();
            assert_eq!(same, 1, "{:?}", route.call);
            assert_eq!(route.path.contains('{'), !route.path_parameter.is_empty(), "{}", route.path);
        }
    }
}
