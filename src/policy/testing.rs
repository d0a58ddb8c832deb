//! Tests of a policy: a request on a history, and what is expected of the decision. Reading them from a file is elsewhere.

mod given;

use std::sync::Arc;

pub use given::{Given, NotGiven, blank, given, set};

use crate::domain::{
    Account, AnswerBy, AuthorizationRequest, Budget, BudgetEvent, Card, Charged, Decided, Decision,
    DecisionId, Event, Holder, Leg, Move, Moves, Outcome, Policy, PolicyVersion, Reason, Source, Stages,
    Timestamp, decide_charging, explain, windows_in_force,
};

/// One test.
#[derive(Clone, PartialEq, Debug)]
pub struct PolicyTest {
    /// Its name.
    pub name: Box<str>,
    /// The line of its file that it begins in.
    pub line: usize,
    /// What was decided before on the same card.
    pub history: Vec<Past>,
    /// The request.
    pub request: AuthorizationRequest,
    /// What the decision has to say, in the order of the report.
    pub expected: Vec<(Field, String)>,
}

/// A request of the past, and its answer.
#[derive(Clone, PartialEq, Debug)]
pub struct Past {
    /// The request.
    pub request: AuthorizationRequest,
    /// The answer.
    pub outcome: Outcome,
    /// Minor units that it holds, or that were captured of it.
    pub granted: i64,
}

/// What a test may expect of a decision.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Field {
    /// Approved, partial or declined.
    Outcome,
    /// Why.
    Reason,
    /// The rule that decided.
    Rule,
    /// The approved amount.
    Amount,
    /// Whether the cardholder is asked by text message.
    Challenge,
    /// The sentence for the cardholder.
    Message,
    /// The largest amount that would have passed.
    LargestApprovable,
    /// The metadata of the reply.
    Tags,
    /// The rules that flag it.
    Flags,
}

impl Field {
    /// Every field, in the order of reports.
    pub const ALL: [Self; 9] = [
        Self::Outcome,
        Self::Reason,
        Self::Rule,
        Self::Amount,
        Self::Challenge,
        Self::Message,
        Self::LargestApprovable,
        Self::Tags,
        Self::Flags,
    ];

    /// The key in a file.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Outcome => "outcome",
            Self::Reason => "reason",
            Self::Rule => "rule",
            Self::Amount => "amount",
            Self::Challenge => "challenge",
            Self::Message => "message",
            Self::LargestApprovable => "largest_approvable",
            Self::Tags => "tags",
            Self::Flags => "flags",
        }
    }

    /// What a decision says of it.
    #[must_use]
    pub fn of(self, decision: &Decision) -> String {
        let ruled = decision.ruled.as_deref();
        match self {
            Self::Outcome => decision.outcome.as_str().to_owned(),
            Self::Reason => decision.reason.as_str().to_owned(),
            Self::Rule => ruled.and_then(|ruled| ruled.marks.rule.as_deref()).unwrap_or(NONE).to_owned(),
            Self::Amount => decision.granted.to_string(),
            Self::Challenge => decision.challenge.to_string(),
            Self::Message => ruled.and_then(|ruled| ruled.message.as_deref()).unwrap_or(NONE).to_owned(),
            Self::LargestApprovable => {
                decision.largest_approvable.map_or_else(|| NONE.to_owned(), |most| most.to_string())
            }
            Self::Tags => {
                let tags = ruled.map(|ruled| ruled.marks.tags.as_slice()).unwrap_or_default();
                mapping(tags.iter().map(|(key, value)| (&**key, &**value)))
            }
            Self::Flags => {
                let flags = ruled.map(|ruled| ruled.marks.flags.as_slice()).unwrap_or_default();
                sequence(flags.iter().map(|flag| &**flag))
            }
        }
    }
}

/// What a field shows that has no value.
pub const NONE: &str = "none";

/// Keys and values as YAML writes them in one line, in the order of the keys.
#[must_use]
pub fn mapping<'a>(entries: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let mut entries: Vec<String> = entries.map(|(key, value)| format!("{key}: {value}")).collect();
    entries.sort_unstable();
    format!("{{{}}}", entries.join(", "))
}

/// Items as YAML writes them in one line.
#[must_use]
pub fn sequence<'a>(items: impl Iterator<Item = &'a str>) -> String {
    format!("[{}]", items.collect::<Vec<_>>().join(", "))
}

/// What came of a test.
#[derive(Clone, PartialEq, Debug)]
pub struct Ran {
    /// The decision.
    pub decision: Decision,
    /// Its explanation.
    pub explanation: String,
    /// What was expected, with what was found: `None` if it is the same.
    pub fields: Vec<(Field, String, Option<String>)>,
}

impl Ran {
    /// Whether everything is as expected.
    #[must_use]
    pub fn is_passed(&self) -> bool {
        self.fields.iter().all(|(_, _, found)| found.is_none())
    }
}

/// Runs a test against a policy.
#[must_use]
pub fn run(policy: &Policy, test: &PolicyTest) -> Ran {
    let request = &test.request;
    let budgets = policy.budgets();
    let policy = policy.for_card_of(
        request.connected_account.as_ref(),
        request.card.as_ref(),
        request.group.as_deref(),
    );
    let mut card =
        Card { charges: budgets.charged(&policy.budgets, &Holder::from(request)), ..Card::default() };
    let mut states: Vec<(Account, Budget)> =
        card.charges.iter().map(|account| (account.clone(), Budget::default())).collect();
    for (account, budget) in &mut states {
        if let Some(of_budget) = budgets.of(account) {
            // An empty budget has its whole history.
            let _ = budget.adopt(of_budget.windows(), of_budget.refunds_restore, Timestamp::default());
        }
    }
    for past in &test.history {
        let mut moves = Moves::new();
        card.apply_moving(&past.event(), &mut moves);
        for Move { of, before, after, .. } in moves {
            for (_, budget) in &mut states {
                let (of, before, after) = (of.clone(), before.clone(), after.clone());
                let leg =
                    Leg { of, card: request.account(), at: past.request.received_at, turn: 0, before, after };
                budget.apply(&BudgetEvent::Leg(leg));
            }
        }
    }
    // Nothing was evicted, so that every window reaches back far enough.
    let _ = card.adopt(windows_in_force(&policy, None), policy.refunds_restore, request.received_at);
    let is_counted = card.authorizations.contains_key(&request.authorization);
    let charged = states.iter().map(|(account, budget)| Charged {
        account,
        policy: budgets.of(account).map(|policy| &**policy),
        budget,
        is_counted,
    });
    let decision = decide_charging(&card, &charged.collect::<Vec<_>>(), &policy, request);
    let fields = test.expected.iter().map(|(field, expected)| {
        let found = Some(field.of(&decision)).filter(|found| found != expected);
        (*field, expected.clone(), found)
    });
    Ran { fields: fields.collect(), explanation: explain(request, &decision), decision }
}

impl Past {
    fn event(&self) -> Event {
        let Self { request, outcome, granted } = self;
        let decision = Decision {
            id: DecisionId::of(&request.authorization, request.question()),
            at: request.received_at,
            outcome: *outcome,
            granted: *granted,
            reason: if *outcome == Outcome::Declined { Reason::Rule } else { Reason::Approved },
            violation: None,
            limits: Vec::new(),
            largest_approvable: None,
            would_pass: None,
            challenge: false,
            ruled: None,
            excepted: None,
            policy: PolicyVersion::new("test"),
            source: Source::Policy,
            answer_by: AnswerBy::Direct,
            stages: Stages::default(),
            turn: 0,
        };
        Event::Decided(Box::new(Decided { request: Arc::new(request.clone()), decision }))
    }
}
