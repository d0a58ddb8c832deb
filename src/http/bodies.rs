//! The bodies of the admin API: what each reply has, by name and type. The OpenAPI document is generated from these types, and
//! the console shows them. Amounts are minor units, times RFC 3339 in UTC, currencies lower case.

mod ruled;
mod decision;
mod authorization;
mod exception;
mod budget;
mod card;
mod policy;
mod shadow;
mod node;

use schemars::{Schema, SchemaGenerator, json_schema};

pub use authorization::{AuthorizationBody, EntryBody, OutcomeBody, TransactionBody};
pub use budget::{AvailableBody, BudgetBody, BudgetsBody, CreditBody, MovementBody};
pub use card::{CardBody, CardholderBody, HoldBody, LimitBody, StateBody};
pub use decision::{
    CheckBody, DecisionBody, DecisionsBody, StagesBody, UnconfirmedBody, UnconfirmedListBody,
};
pub use exception::{ExceptionBody, GrantBody, PauseBody, RaiseBody, ResumeBody};
pub use node::{ForwardsBody, JournalBody, MemberBody, NodeBody};
pub(in crate::http) use policy::diff;
pub use policy::{InForceBody, PoliciesBody, PolicyBody, PolicyChangeBody, PolicyVersionBody};
pub use ruled::{ConditionBody, RuledBody, ScoreBody, WouldPassBody};
pub(in crate::http) use shadow::SetShadowBody;
pub use shadow::{ShadowBody, ShadowNodeBody};

use crate::domain::{Outcome, Reason, Source};

/// The words of an outcome.
fn outcomes(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "enum": Outcome::ALL.map(Outcome::as_str)})
}

/// The words of a reason.
fn reasons(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "enum": Reason::ALL.map(Reason::as_str)})
}

/// The words of a source.
fn sources(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "enum": Source::ALL.map(Source::as_str)})
}
