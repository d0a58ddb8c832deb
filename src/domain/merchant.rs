//! Where a card is used: the merchant as far as a rule can ask about it. Names and addresses never get here.

use std::fmt;

use super::{categories::CATEGORIES, ids::NetworkId};

/// A merchant, or what the network said of it. Everything may be missing.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Merchant {
    /// Stripe's category, by its name or else by the merchant category code.
    pub category: Category,
    /// ISO 3166-1 alpha-2, upper case.
    pub country: Option<Country>,
    /// The merchant's id at the card network.
    pub network_id: Option<NetworkId>,
}

/// A merchant category: one that Stripe documents, or the text that came.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Category {
    /// One of the documented categories, by its place in the sorted table.
    Known(u16),
    /// A category that the table does not have yet.
    Unknown(Box<str>),
    /// Neither category nor code was given.
    #[default]
    Missing,
}

impl Category {
    /// The longest unknown category that is kept, in bytes.
    const UNKNOWN_BYTES_MAX: usize = 64;

    /// What a request says: the category's name if it is a documented one, else what the MCC stands for, else the
    /// name as it came (cut, and only if it looks like a category at all).
    #[must_use]
    pub fn of(name: Option<&str>, code: Option<&str>) -> Self {
        let by_name = name.and_then(Self::named);
        if let Some(known) = by_name.or_else(|| code.and_then(Self::coded)) {
            return known;
        }
        match name {
            Some(text)
                if text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_'))
                    && !text.is_empty() =>
            {
                Self::Unknown(text.chars().take(Self::UNKNOWN_BYTES_MAX).collect())
            }
            _ => Self::Missing,
        }
    }

    /// The documented category of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let place = CATEGORIES.binary_search_by(|(known, _)| (*known).cmp(name)).ok()?;
        u16::try_from(place).ok().map(Self::Known)
    }

    /// The documented category of this four-digit code. Airlines, car rental and hotels have ranges of codes, one
    /// for each company.
    #[must_use]
    pub fn coded(code: &str) -> Option<Self> {
        if code.len() != 4 {
            return None;
        }
        if let Some(place) = CATEGORIES.iter().position(|(_, known)| *known == code) {
            return u16::try_from(place).ok().map(Self::Known);
        }
        match code.parse::<u16>().ok()? {
            3000..=3350 => Self::named("airlines_air_carriers"),
            3351..=3500 => Self::named("car_rental_agencies"),
            3501..=3999 => Self::named("hotels_motels_and_resorts"),
            _ => None,
        }
    }

    /// The name of the category; empty where none was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Known(place) => CATEGORIES.get(usize::from(*place)).map_or("", |(name, _)| name),
            Self::Unknown(name) => name,
            Self::Missing => "",
        }
    }

    /// The usual four-digit code of a documented category.
    #[must_use]
    pub fn usual_code(&self) -> Option<&'static str> {
        match self {
            Self::Known(place) => CATEGORIES.get(usize::from(*place)).map(|(_, code)| *code),
            Self::Unknown(_) | Self::Missing => None,
        }
    }

    /// Whether this is a pump that asks for one unit and then holds a hundred (MCC 5542).
    #[must_use]
    pub fn is_fuel_dispenser(&self) -> bool {
        self.as_str() == "automated_fuel_dispensers"
    }

    /// The names of all documented categories, sorted.
    pub fn names() -> impl Iterator<Item = &'static str> {
        CATEGORIES.iter().map(|(name, _)| *name)
    }
}

impl fmt::Debug for Category {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A country as two upper-case letters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Country([u8; 2]);

impl Country {
    /// Reads two letters; lower case is seen in the wild and taken for upper.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        match text.as_bytes() {
            [a, b] if a.is_ascii_alphabetic() && b.is_ascii_alphabetic() => {
                Some(Self([a.to_ascii_uppercase(), b.to_ascii_uppercase()]))
            }
            _ => None,
        }
    }

    /// The two letters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or("??")
    }
}

impl fmt::Display for Country {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Country {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whether the card itself was at the terminal.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CardPresence {
    /// Chip, contactless or swipe.
    Present,
    /// Online or keyed in.
    NotPresent,
}

impl fmt::Debug for CardPresence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl CardPresence {
    /// Stripe's word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Present => "present",
            Self::NotPresent => "not_present",
        }
    }

    /// Reads Stripe's word.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        [Self::Present, Self::NotPresent].into_iter().find(|presence| presence.as_str() == text)
    }

    /// What an `authorization_method` means; API versions before 2026 have no `card_presence`.
    #[must_use]
    pub fn of_method(method: &str) -> Option<Self> {
        match method {
            "chip" | "contactless" | "swipe" => Some(Self::Present),
            "keyed_in" | "online" => Some(Self::NotPresent),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn categories_are_sorted_so_that_they_can_be_searched() {
        assert!(CATEGORIES.is_sorted_by(|(a, _), (b, _)| a < b));
    }

    #[test]
    fn a_category_is_found_by_name_then_by_code_then_kept_as_it_came() {
        let check = |name, code, expected: &str| assert_eq!(Category::of(name, code).as_str(), expected);
        check(Some("fast_food_restaurants"), Some("5814"), "fast_food_restaurants");
        check(Some("a_category_of_2031"), Some("5542"), "automated_fuel_dispensers");
        check(None, Some("3012"), "airlines_air_carriers");
        check(None, Some("3700"), "hotels_motels_and_resorts");
        check(Some("a_category_of_2031"), None, "a_category_of_2031");
        check(Some("Jenny Rosen"), None, "");
        check(None, None, "");
    }

    #[test]
    fn a_country_may_come_in_lower_case() {
        assert_eq!(Country::new("be"), Country::new("BE"));
        assert_eq!(Country::new("bel"), None);
    }
}
