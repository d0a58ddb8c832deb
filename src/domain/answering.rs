//! How an answer reaches Stripe: with the reply to the webhook, or over the API before it. Never both.

use super::ids::{AuthorizationId, hash_of};

/// The way of one answer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub enum AnswerBy {
    /// The reply to the webhook is the decision.
    #[default]
    Direct,
    /// `POST …/approve` or `…/decline`, and then a reply that decides nothing. Stripe's older way.
    Api,
}

impl AnswerBy {
    /// The word in the admin API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Api => "api",
        }
    }

    /// Reads [`AnswerBy::as_str`].
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        [Self::Direct, Self::Api].into_iter().find(|way| way.as_str() == text)
    }
}

/// Which answers take which way. The same authorization always takes the same, so that traffic can be shifted bit by
/// bit.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Answering {
    /// How many in a hundred authorizations are answered over the API.
    api_percent: u8,
}

impl Answering {
    /// All with the reply.
    pub const DIRECT: Self = Self { api_percent: 0 };
    /// All over the API.
    pub const API: Self = Self { api_percent: 100 };

    /// So many in a hundred with the reply to the webhook, the others over the API.
    #[must_use]
    pub const fn split(direct_percent: u8) -> Option<Self> {
        match 100_u8.checked_sub(direct_percent) {
            Some(api_percent) => Some(Self { api_percent }),
            None => None,
        }
    }

    /// Whether any answer goes over the API.
    #[must_use]
    pub const fn uses_api(self) -> bool {
        self.api_percent > 0
    }

    /// The way of an answer. One that asks the cardholder goes with the reply: the API has no words for that.
    #[must_use]
    pub fn way(self, authorization: &AuthorizationId, challenge: bool) -> AnswerBy {
        let place = || hash_of(authorization.as_str()) % 100;
        let is_over_api = self.uses_api() && !challenge && place() < u64::from(self.api_percent);
        if is_over_api { AnswerBy::Api } else { AnswerBy::Direct }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn authorizations() -> impl Iterator<Item = AuthorizationId> {
        (0..10_000).map(|number| AuthorizationId::new(&format!("iauth_1Pgag4B7WZ01zgk{number}")).unwrap())
    }

    #[test]
    fn a_split_takes_its_share_and_grows_without_moving_anyone_back() {
        let mut before = BTreeSet::new();
        for (direct_percent, expected) in
            [(0, 0), (1, 100), (10, 1_000), (50, 5_000), (99, 9_900), (100, 10_000)]
        {
            let split = Answering::split(direct_percent).unwrap();
            let direct: BTreeSet<AuthorizationId> =
                authorizations().filter(|id| split.way(id, false) == AnswerBy::Direct).collect();
            assert!(direct.len().abs_diff(expected) < 150, "{direct_percent}: {}", direct.len());
            assert!(direct.is_superset(&before));
            before = direct;
        }
        assert_eq!(Answering::split(101), None);
        assert_eq!(Answering::split(0), Some(Answering::API));
        assert_eq!(Answering::split(100), Some(Answering::DIRECT));
    }

    #[test]
    fn the_way_is_stable() {
        let id = AuthorizationId::new("iauth_1").unwrap();
        let ways: Vec<AnswerBy> =
            (0..=100).map(|percent| Answering::split(percent).unwrap().way(&id, false)).collect();
        let switches = ways.windows(2).filter(|two| two[0] != two[1]).count();
        assert_eq!(switches, 1, "an authorization changes sides once");
        assert_eq!(Answering::API.way(&id, true), AnswerBy::Direct);
        assert!(!Answering::DIRECT.uses_api() && Answering::API.uses_api());
    }
}
