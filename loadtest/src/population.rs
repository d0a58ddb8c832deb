//! The people with cards and the shops that they go to: who buys how often, where, and for how much. All of it follows
//! from a seed.

use crate::{
    budgets::{Budgets, Share},
    scenario::Questions,
};

/// A card.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Card {
    /// Counted from 0.
    pub number: u64,
    /// Of all its amounts.
    pub currency: &'static str,
    /// What it shares with other cards.
    pub share: Option<Share>,
}

/// A shop.
#[derive(Debug)]
#[allow(missing_docs, reason = "the fields are those of Stripe's `merchant_data`")]
pub struct Merchant {
    pub category: &'static str,
    pub category_code: &'static str,
    pub name: &'static str,
    pub city: &'static str,
    pub country: &'static str,
    pub postal_code: &'static str,
    pub network_id: &'static str,
    /// Where it is bought in person, rather than online.
    pub is_present: bool,
}

impl Merchant {
    /// Whether it is a pump.
    #[must_use]
    pub fn is_fuel_dispenser(&self) -> bool {
        self.category_code == FUEL_DISPENSER.category_code
    }
}

macro_rules! merchants {
    ($($category:literal $code:literal $name:literal $city:literal $country:literal $postal:literal $id:literal $present:literal;)*) => {
        [$(Merchant {
            category: $category,
            category_code: $code,
            name: $name,
            city: $city,
            country: $country,
            postal_code: $postal,
            network_id: $id,
            is_present: $present,
        }),*]
    };
}

/// The shops, none of which exists.
static MERCHANTS: [Merchant; 16] = merchants![
    "grocery_stores_supermarkets" "5411" "GREENBASKET 0117" "Springfield" "US" "01101" "100000000117" true;
    "grocery_stores_supermarkets" "5411" "MARCHE DU COIN" "Lyon" "FR" "69002" "100000000218" true;
    "eating_places_restaurants" "5812" "THE BLUE PLATE" "Denver" "US" "80202" "100000000319" true;
    "fast_food_restaurants" "5814" "QUICKBITE 88" "Austin" "US" "78701" "100000000420" true;
    "bakeries" "5462" "MORNING LOAF" "Portland" "US" "97209" "100000000521" true;
    "computer_software_stores" "5734" "CLOUDPARTS.EXAMPLE" "San Francisco" "US" "94107" "100000000622" false;
    "electronics_stores" "5732" "VOLT AND WIRE" "Berlin" "DE" "10117" "100000000723" false;
    "airlines_air_carriers" "4511" "SKYLANE 016221" "Chicago" "US" "60601" "100000000824" false;
    "hotels_motels_and_resorts" "7011" "HARBOUR INN" "London" "GB" "SE1 9SG" "100000000925" true;
    "car_rental_agencies" "7512" "ROADWISE RENTALS" "Phoenix" "US" "85001" "100000001026" true;
    "taxicabs_limousines" "4121" "CITYCAB 4410" "New York" "US" "10001" "100000001127" false;
    "commuter_transport_and_ferries" "4111" "METRO TICKETS" "Tokyo" "JP" "100-0005" "100000001228" true;
    "drug_stores_and_pharmacies" "5912" "WELLCARE PHARMACY" "Toronto" "CA" "M5H 2N2" "100000001329" true;
    "book_stores" "5942" "SECOND CHAPTER" "Dublin" "IE" "D02" "100000001430" false;
    "telecommunication_services" "4814" "HELLOTEL" "Boston" "US" "02108" "100000001531" false;
    "automated_cash_disburse" "6011" "CORNER BANK ATM 3" "Springfield" "US" "01101" "100000001632" true;
];

/// A pump: it asks for one unit of currency, and holds a hundred.
pub static FUEL_DISPENSER: Merchant = Merchant {
    category: "automated_fuel_dispensers",
    category_code: "5542",
    name: "PUMPWELL 12",
    city: "Tulsa",
    country: "US",
    postal_code: "74103",
    network_id: "100000001733",
    is_present: true,
};

/// All cards, with how often each is used.
pub struct Population {
    /// Where each card ends on a scale from 0 to the last; empty where all are used equally.
    popularity: Vec<f64>,
    cards: usize,
    each_once: bool,
    budgets: Option<Budgets>,
}

impl Population {
    /// So many cards.
    #[must_use]
    pub fn new(cards: usize, questions: &Questions) -> Self {
        let mut popularity = Vec::new();
        if questions.zipf > 0.0 && !questions.each_card_once {
            let (mut sum, mut rank) = (0.0_f64, 0.0_f64);
            popularity.extend((0..cards).map(|_| {
                rank += 1.0;
                sum += rank.powf(-questions.zipf);
                sum
            }));
        }
        Self { popularity, cards, each_once: questions.each_card_once, budgets: None }
    }

    /// The same with cards that share budgets. Those are all in dollars.
    #[must_use]
    pub fn sharing(self, budgets: Option<Budgets>) -> Self {
        Self { budgets, ..self }
    }

    /// The card of the story of this number.
    pub fn card(&self, story: u64, random: &mut fastrand::Rng) -> Card {
        let cards = u64::try_from(self.cards).unwrap_or(u64::MAX).max(1);
        let number = match self.popularity.last() {
            _ if self.each_once => story.checked_rem(cards).unwrap_or_default(),
            Some(whole) => {
                let drawn = random.f64() * whole;
                let place = self.popularity.partition_point(|end| *end <= drawn);
                u64::try_from(place).unwrap_or_default().min(cards.saturating_sub(1))
            }
            None => random.u64(..cards),
        };
        // What a card is follows from its number alone.
        let currency = match number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 59 {
            0..=26 => "usd",
            27..=29 => "eur",
            30 => "gbp",
            _ => "jpy",
        };
        let share = self.budgets.map(|budgets| budgets.share(number));
        Card { number, currency: if share.is_some() { "usd" } else { currency }, share }
    }
}

/// A shop that is not a pump.
pub fn merchant(random: &mut fastrand::Rng) -> &'static Merchant {
    let place = random.usize(..MERCHANTS.len());
    MERCHANTS.get(place).unwrap_or(&FUEL_DISPENSER)
}

/// The first shop of a category, if there is one; the pump is one.
#[must_use]
pub fn shop(category: &str) -> Option<&'static Merchant> {
    let mut shops = MERCHANTS.iter().chain([&FUEL_DISPENSER]);
    shops.find(|shop| shop.category == category)
}

/// Always the same shop, where it does not matter which.
#[must_use]
pub fn any_shop() -> &'static Merchant {
    MERCHANTS.first().unwrap_or(&FUEL_DISPENSER)
}

/// An amount: most are near the median, a few are many times as large.
#[allow(
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "a draw"
)]
pub fn amount(median: i64, random: &mut fastrand::Rng) -> i64 {
    const SPREAD: f64 = 0.9;
    // Twelve even draws come close enough to a bell.
    let bell: f64 = (0..12).map(|_| random.f64()).sum::<f64>() - 6.0;
    ((median as f64 * (SPREAD * bell).exp()).round() as i64).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uses(questions: &Questions) -> Vec<u32> {
        let population = Population::new(100, questions);
        let mut random = fastrand::Rng::with_seed(7);
        let mut uses = vec![0; 100];
        for story in 0..10_000 {
            let card = usize::try_from(population.card(story, &mut random).number).unwrap();
            uses[card] = 1_u32.saturating_add(uses[card]);
        }
        uses
    }

    #[test]
    fn the_first_cards_are_used_most_and_all_are_used() {
        let uses = uses(&Questions { zipf: 1.0, ..Questions::default() });
        // The first of a hundred has one part in 5.19 = 1/1 + 1/2 + … + 1/100.
        assert!((1_750..2_100).contains(&uses[0]), "{}", uses[0]);
        assert!((800..1_150).contains(&uses[1]), "{}", uses[1]);
        assert!(uses.iter().all(|uses| *uses > 0), "{uses:?}");
    }

    #[test]
    fn each_card_is_used_once_before_any_is_again() {
        let uses = uses(&Questions { each_card_once: true, ..Questions::default() });
        assert!(uses.iter().all(|uses| *uses == 100), "{uses:?}");
    }

    #[test]
    fn half_of_the_amounts_are_below_the_median() {
        let mut random = fastrand::Rng::with_seed(7);
        let amounts: Vec<i64> = (0..10_000).map(|_| amount(2_500, &mut random)).collect();
        let below = amounts.iter().filter(|amount| **amount < 2_500).count();
        assert!((4_800..5_200).contains(&below), "{below}");
        assert!(amounts.iter().any(|amount| *amount > 12_500) && amounts.iter().all(|amount| *amount > 0));
    }
}
