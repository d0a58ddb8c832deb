//! `merchant_data`, reduced to what a rule can ask about. Names, cities, postal codes, terminals and links stay out.

use super::tape::{Value, fields};
use crate::domain::{Category, Country, Merchant, NetworkId};

pub(super) fn read(merchant: Value<'_>) -> Merchant {
    fields!(merchant;
        "category" => category,
        "category_code" => category_code,
        "country" => country,
        "network_id" => network_id,
    );
    Merchant {
        category: Category::of(category.text(), category_code.text()),
        country: country.text().and_then(Country::new),
        network_id: network_id.text().and_then(NetworkId::new),
    }
}
