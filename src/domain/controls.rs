//! Limits and lists in Stripe's vocabulary of `spending_controls`: what a policy sets, and what Stripe's own controls say.

use std::{collections::BTreeSet, fmt::Write as _, sync::Arc};

use super::{
    ids::{NetworkId, hash_of},
    merchant::{CardPresence, Category, Country},
    policy::Limit,
};

/// Limits and lists in Stripe's vocabulary of `spending_controls`.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Controls {
    /// All of them must hold.
    pub spending_limits: Vec<Limit>,
    /// Merchant categories.
    pub categories: Lists<Category>,
    /// Merchant countries.
    pub countries: Lists<Country>,
    /// Card presences.
    pub presences: Lists<CardPresence>,
    /// Merchants by network id.
    pub merchants: Lists<NetworkId>,
}

/// What is allowed and what is blocked. Both may be set, by different layers; blocked wins.
#[derive(Clone, PartialEq, Debug)]
pub struct Lists<T> {
    /// Everything else is blocked.
    pub allowed: Option<Arc<BTreeSet<T>>>,
    /// These are blocked.
    pub blocked: Option<Arc<BTreeSet<T>>>,
}

impl Controls {
    /// A number that tells these controls from others, the same on every node and in every build.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        let Self { spending_limits, categories, countries, presences, merchants } = self;
        let mut text = String::new();
        // Writing to memory cannot fail.
        let _ = write!(text, "{categories:?}{countries:?}{presences:?}{merchants:?}");
        for Limit { max, window } in spending_limits {
            let _ = write!(text, "{max}{window:?}");
        }
        hash_of(&text)
    }
}

impl<T> Default for Lists<T> {
    fn default() -> Self {
        Self { allowed: None, blocked: None }
    }
}
