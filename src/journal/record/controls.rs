//! Stripe's `spending_controls` of a card, on disk.

use std::{collections::BTreeSet, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{Text, Unreadable, field, tally::WindowRecord};
use crate::domain::{CardPresence, Category, Controls, Country, Limit, Lists, NetworkId};

#[derive(Serialize, Deserialize)]
pub(super) struct ControlsRecord<'a> {
    #[serde(borrow, skip_serializing_if = "Vec::is_empty", default)]
    limits: Vec<(i64, WindowRecord<'a>)>,
    #[serde(borrow, skip_serializing_if = "ListsRecord::is_empty", default)]
    categories: ListsRecord<'a>,
    #[serde(borrow, skip_serializing_if = "ListsRecord::is_empty", default)]
    countries: ListsRecord<'a>,
    #[serde(borrow, skip_serializing_if = "ListsRecord::is_empty", default)]
    presences: ListsRecord<'a>,
    #[serde(borrow, skip_serializing_if = "ListsRecord::is_empty", default)]
    merchants: ListsRecord<'a>,
}

#[derive(Serialize, Deserialize, Default)]
struct ListsRecord<'a> {
    #[serde(borrow, skip_serializing_if = "Option::is_none", default)]
    allowed: Option<Vec<Text<'a>>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none", default)]
    blocked: Option<Vec<Text<'a>>>,
}

impl<'a> From<&'a Controls> for ControlsRecord<'a> {
    fn from(controls: &'a Controls) -> Self {
        let Controls { spending_limits, categories, countries, presences, merchants } = controls;
        Self {
            limits: spending_limits
                .iter()
                .map(|limit| (limit.max, WindowRecord::from(&*limit.window)))
                .collect(),
            categories: ListsRecord::of(categories, |category| category.as_str()),
            countries: ListsRecord::of(countries, |country| country.as_str()),
            presences: ListsRecord::of(presences, |presence| presence.as_str()),
            merchants: ListsRecord::of(merchants, |merchant| merchant.as_str()),
        }
    }
}

impl ControlsRecord<'_> {
    pub(super) fn into_controls(self) -> Result<Controls, Unreadable> {
        let limit = |(max, window): (i64, WindowRecord<'_>)| {
            window.into_window().map(|window| Limit { max, window: Arc::new(window) })
        };
        Ok(Controls {
            spending_limits: self.limits.into_iter().map(limit).collect::<Result<_, _>>()?,
            categories: self
                .categories
                .into_lists("categories", |name| Some(Category::of(Some(name), None)))?,
            countries: self.countries.into_lists("countries", Country::new)?,
            presences: self.presences.into_lists("presences", CardPresence::new)?,
            merchants: self.merchants.into_lists("merchants", NetworkId::new)?,
        })
    }
}

impl<'a> ListsRecord<'a> {
    fn of<T>(lists: &'a Lists<T>, text: impl Fn(&'a T) -> &'a str) -> Self {
        let list = |list: &'a Option<Arc<BTreeSet<T>>>| {
            list.as_ref().map(|list| list.iter().map(|one| Text::Borrowed(text(one))).collect())
        };
        Self { allowed: list(&lists.allowed), blocked: list(&lists.blocked) }
    }

    const fn is_empty(&self) -> bool {
        self.allowed.is_none() && self.blocked.is_none()
    }

    fn into_lists<T: Ord>(
        self,
        name: &'static str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<Lists<T>, Unreadable> {
        let list = |list: Option<Vec<Text<'_>>>| {
            let read = |list: Vec<Text<'_>>| {
                list.iter()
                    .map(|text| field(name, text, &parse))
                    .collect::<Result<BTreeSet<T>, _>>()
                    .map(Arc::new)
            };
            list.map(read).transpose()
        };
        Ok(Lists { allowed: list(self.allowed)?, blocked: list(self.blocked)? })
    }
}
