//! An endpoint: where events are sent, how they are signed and written, and which of them. Reading the file is `config`'s.

use std::{fmt, sync::Arc};

use hyper::Uri;

use crate::{
    domain::{Account, Reason},
    stripe::{Secret, api::Roots},
};

/// The endpoints of a file.
#[derive(Clone, Debug, Default)]
pub struct Endpoints(pub Vec<Arc<Endpoint>>);

impl Endpoints {
    /// More than this is a task for a queue behind one endpoint.
    pub const MAX: usize = 16;
}

/// Where events go.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Its name in the file, and in the journal.
    pub name: Arc<str>,
    /// Where it is.
    pub url: Url,
    /// What its events are signed with.
    pub secret: Secret,
    /// How an event is written.
    pub format: Format,
    /// Which events; all kinds if there are none.
    pub events: Vec<Kind>,
    /// Which of those.
    pub filter: Filter,
    /// Whom it trusts for TLS instead of the public authorities.
    pub roots: Option<Roots>,
}

/// What an event must have to be sent. A part applies to events that have what it asks for; others pass.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Filter {
    /// Decisions that one of these budgets was checked for, and warnings of one of them.
    pub budgets: Vec<Arc<str>>,
    /// Decisions for cards of one of these groups.
    pub groups: Vec<Arc<str>>,
    /// Decisions with one of these reasons.
    pub reasons: Vec<Reason>,
    /// Decisions on requests for at least so much, in minor units of any currency.
    pub min_amount: Option<i64>,
}

/// What a filter looks at.
#[derive(Clone, Debug, Default)]
pub(super) struct Traits<'a> {
    /// The accounts of budgets; nothing for an event that is about none.
    pub(super) budgets: Option<Vec<&'a Account>>,
    /// The group of a decision; empty for a card without one.
    pub(super) group: Option<&'a str>,
    pub(super) reason: Option<Reason>,
    pub(super) amount: Option<i64>,
}

impl Endpoint {
    /// Whether it gets events of this kind.
    #[must_use]
    pub fn wants(&self, kind: Kind) -> bool {
        self.events.is_empty() || self.events.contains(&kind)
    }
}

impl Filter {
    pub(super) fn takes(&self, event: &Traits<'_>) -> bool {
        let names = |list: &[Arc<str>], name: &str| list.iter().any(|known| **known == *name);
        let is_of =
            |account: &&&Account| account.as_budget().is_some_and(|(name, _)| names(&self.budgets, name));
        let budget = event.budgets.as_ref().is_none_or(|accounts| accounts.iter().any(|one| is_of(&one)));
        let group = event.group.is_none_or(|group| names(&self.groups, group));
        let reason = event.reason.is_none_or(|reason| self.reasons.contains(&reason));
        let amount = event.amount.is_none_or(|amount| self.min_amount.is_none_or(|least| amount >= least));
        (self.budgets.is_empty() || budget)
            && (self.groups.is_empty() || group)
            && (self.reasons.is_empty() || reason)
            && amount
    }
}

/// What can happen.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Kind {
    /// A request was declined by a limit, a rule, or anything else of the policy.
    Declined,
    /// A rule with `then: flag` matched.
    Flagged,
    /// A request was answered without the ledger.
    StandIn,
    /// Stripe did something else than was answered.
    Differed,
    /// A budget has reached a share of a limit at which its policy warns.
    Warned,
    /// Another policy is in force.
    PolicyChanged,
    /// An operator tries the endpoint out.
    Test,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 7] = [
        Self::Declined,
        Self::Flagged,
        Self::StandIn,
        Self::Differed,
        Self::Warned,
        Self::PolicyChanged,
        Self::Test,
    ];

    /// The word in the file and in events.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Declined => "decision.declined",
            Self::Flagged => "decision.flagged",
            Self::StandIn => "decision.stand_in",
            Self::Differed => "stripe.differed",
            Self::Warned => "budget.warned",
            Self::PolicyChanged => "policy.changed",
            Self::Test => "endpoint.test",
        }
    }

    /// Reads [`Kind::as_str`].
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

/// How an event is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Format {
    /// As a JSON object with everything.
    #[default]
    Json,
    /// As a message for an incoming webhook of Slack, or of what takes the same.
    Slack,
}

impl Format {
    /// Every format.
    pub const ALL: [Self; 2] = [Self::Json, Self::Slack];

    /// The word in the file.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Slack => "slack",
        }
    }

    /// Reads [`Format::as_str`].
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.as_str() == text)
    }
}

/// Where an endpoint is. The path may be a secret, as Slack's is: only the host is ever shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Url(Uri);

impl Url {
    /// Takes `https://` or `http://` with a host, and no user.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let uri: Uri = text.parse().ok()?;
        let authority = uri.authority()?.as_str();
        let is_web = matches!(uri.scheme_str(), Some("https" | "http"));
        (is_web && !authority.contains('@') && !uri.host()?.is_empty()).then_some(Self(uri))
    }

    /// The host.
    #[must_use]
    pub fn host(&self) -> &str {
        self.0.host().unwrap_or_default()
    }

    /// Whether others can read what is sent: it is not encrypted, and goes to another machine.
    #[must_use]
    pub fn is_exposed(&self) -> bool {
        let is_here = matches!(self.host(), "localhost" | "127.0.0.1" | "[::1]");
        self.0.scheme_str() == Some("http") && !is_here
    }

    pub(super) fn uri(&self) -> Uri {
        self.0.clone()
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Url({}://{}/…)", self.0.scheme_str().unwrap_or_default(), self.host())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_has_a_host_and_no_user_and_is_never_shown() {
        for (text, is_url, is_exposed) in [
            ("https://example.com/hooks?a=b", true, false),
            ("http://127.0.0.1:4000/", true, false),
            ("http://[::1]:4000", true, false),
            ("http://hooks.internal/secret", true, true),
            ("https://user:password@example.com", false, false),
            ("ftp://example.com", false, false),
            ("example.com/hooks", false, false),
            ("", false, false),
        ] {
            let url = Url::new(text);
            assert_eq!(url.is_some(), is_url, "{text}");
            assert_eq!(url.is_some_and(|url| url.is_exposed()), is_exposed, "{text}");
        }
        let shown = format!("{:?}", Url::new("https://hooks.example.com/services/T0/secret").unwrap());
        assert_eq!(shown, "Url(https://hooks.example.com/…)");
    }

    #[test]
    fn a_filter_applies_to_what_has_what_it_asks_for() {
        let (eng, person) = (Account::budget("eng", None), Account::budget("person", Some("ich_1")));
        let decision = Traits {
            budgets: Some(vec![&eng, &person]),
            group: Some("field"),
            reason: Some(Reason::SpendingLimit),
            amount: Some(2_000),
        };
        let bare = Traits { group: Some(""), budgets: Some(Vec::new()), ..decision.clone() };
        let warned = Traits { budgets: Some(vec![&eng]), ..Traits::default() };
        let check = |filter: Filter, expected: [bool; 4]| {
            let found = [&decision, &bare, &warned, &Traits::default()].map(|event| filter.takes(event));
            assert_eq!(found, expected, "{filter:?}");
        };
        check(Filter::default(), [true, true, true, true]);
        check(Filter { budgets: vec!["person".into()], ..Filter::default() }, [true, false, false, true]);
        check(Filter { budgets: vec!["eng".into()], ..Filter::default() }, [true, false, true, true]);
        check(Filter { groups: vec!["field".into()], ..Filter::default() }, [true, false, true, true]);
        check(Filter { reasons: vec![Reason::Rule], ..Filter::default() }, [false, false, true, true]);
        check(Filter { min_amount: Some(2_001), ..Filter::default() }, [false, false, true, true]);
        check(Filter { min_amount: Some(2_000), ..Filter::default() }, [true, true, true, true]);
    }
}
